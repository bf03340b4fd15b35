"""Commands about tasks and their files: list the records, fetch, check and show what the files hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waystation.cli_show import DataOption, JsonOption, show_json
from waystation.errors import InputError, WaystationError, suggest

if TYPE_CHECKING:
    from waystation.tasks.task import Task

StudyOption = Annotated[Path | None, typer.Option(help="A study file whose own tasks are meant too.")]
data_app = typer.Typer(help="Fetch, check and show the files of tasks.", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command()(tasks)
    app.add_typer(data_app, name="data")


def _found(names: list[str] | None, study: Path | None) -> list[Task]:
    """The records of named tasks, own ones of the study first."""
    from waystation.study import Study
    from waystation.tasks import known

    own = Study.load(study).tasks if study is not None else {}
    return [known.find(name, own) for name in dict.fromkeys(names or [*own, *known.catalog()])]


def tasks(
    names: Annotated[list[str] | None, typer.Argument(metavar="[TASK]...", help="Show these records in full.")] = None,
    domain: Annotated[str | None, typer.Option(help="Only this domain.")] = None,
    format: Annotated[str | None, typer.Option(help="Only this format.")] = None,
    language: Annotated[str | None, typer.Option(help="Only tasks that test this language.")] = None,
    as_json: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As the page docs/reference/tasks.md.")] = False,
) -> None:
    """List the known tasks; with TASK, the whole record."""
    from waystation import languages as table
    from waystation.tasks import reference

    chosen = _found(names, None)
    for what, asked in (("domain", domain), ("format", format)):
        known = sorted({getattr(task, what) for task in chosen})
        if asked is not None and asked not in known:
            raise InputError(f"--{what} {asked}: no task has it{suggest(asked, known)}: there are {', '.join(known)}")
        chosen = [task for task in chosen if asked is None or getattr(task, what) == asked]
    if language is not None:
        code = table.resolve(language).code
        chosen = [task for task in chosen if code in task.languages("test")]
    if as_json:
        show_json([task.model_dump(mode="json") for task in chosen])
    elif markdown:
        typer.echo(reference.markdown(chosen), nl=False)
    elif names:
        import yaml

        for task in chosen:
            record = {"id": task.id, **task.model_dump(mode="json", exclude_defaults=True)}
            typer.echo(yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=100))
    elif not chosen:
        typer.echo("no task fits", err=True)
    else:
        typer.echo(_ROW.format("task", "format", "domain", "train", "test", "verified", "files", "piece", "licence"))
        for task in chosen:
            typer.echo(_ROW.format(*_columns(task)))


_ROW = "{:<22} {:<14} {:<9} {:<7} {:>4} {:<8} {:<7} {:<5} {}"


def _columns(task: Task) -> list[str]:
    from waystation.tasks.fetching import pieces

    train = ",".join(task.languages("train")) or "-"
    cut = any(part.sample for part in task.splits.values()) or any(
        pieces.is_piece(piece.sha256) for piece in pieces.declared(task)
    )
    return [
        *(task.id, task.format, task.domain, train if len(train) <= 7 else f"{len(task.languages('train'))}"),
        *(str(len(task.languages("test"))), task.verified),
        "parts" if task.parts else task.upstream.kind.split("_")[0] if task.upstream is not None else task.source,
        *("piece" if cut else "", task.licence if len(task.licence) <= 40 else task.licence[:37] + "..."),
    ]


@data_app.command("get")
def data_get(
    names: Annotated[list[str], typer.Argument(metavar="TASK...")],
    piece: Annotated[bool, typer.Option("--piece", help="Make the declared pieces again, in the data folder.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Only look into the cache.")] = False,
    data: DataOption = None,
    study: StudyOption = None,
) -> None:
    """Fetch the files of tasks from where they are published, and write down their checksums in waystation.lock."""
    if offline:
        os.environ["WAYSTATION_OFFLINE"] = "1"
    worst = 0
    for task in _found(names, study):
        try:
            typer.echo(_rebuilt(task, data) if piece else _fetched(task))
        except WaystationError as error:
            worst = max(worst, error.exit_code)
            for line in str(error).splitlines():
                typer.echo(f"error: {line}", err=True)
    if worst:
        raise typer.Exit(worst)


def _fetched(task: Task) -> str:
    from waystation import places
    from waystation.tasks import known
    from waystation.tasks.fetching import upstream

    if task.parts:
        return "\n".join(_fetched(known.find(part)) for part in task.parts)
    if task.source == "mini":
        return f"{task.id}: built in, needs no files"
    entry, fresh = upstream.get(task)
    size = sum(file.bytes for file in entry.files.values()) / 1e6
    return (
        f"{task.id}: {len(entry.files)} files, {size:.1f} MB, {entry.source}@{entry.revision[:12]}, "
        f"{'fetched' if fresh else 'already there'}; locked in {places.lock_file()}"
    )


def _rebuilt(task: Task, data: str | None) -> str:
    from waystation import places
    from waystation.tasks.fetching import pieces

    folder = places.data_folder(data)
    if folder is None:
        raise InputError("pieces are made in the data folder: say --data DIR or set $WAYSTATION_DATA")
    found = pieces.of(task)
    made = sum(pieces.rebuild(piece, folder) for piece in found)
    return f"{task.id}: {made} of {len(found)} pieces made, {len(found) - made} already there, in {folder}"


@data_app.command("check")
def data_check(
    names: Annotated[list[str] | None, typer.Argument(metavar="[TASK]...", help="All at hand by default.")] = None,
    data: DataOption = None,
    study: StudyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every file of tasks and count what is in it: one task in detail, of several a line each."""
    from waystation import places
    from waystation.tasks import checks

    folder = places.data_folder(data)
    chosen = _found(names, study)
    if names and len(chosen) == 1:
        rows = checks.check(chosen[0], folder)
        if as_json:
            show_json(rows)
        else:
            for row in rows:
                typer.echo(_counts(row))
            typer.echo("read from: " + "; ".join(dict.fromkeys(row["source"] for row in rows)))
        return
    found: dict[str, dict[str, Any]] = {}
    for task in chosen:
        try:
            if names or checks.at_hand(task, folder):
                found[task.id] = {"rows": checks.check(task, folder), "problems": []}
        except InputError as error:
            found[task.id] = {"rows": [], "problems": str(error).splitlines()}
        if not as_json and task.id in found:
            _tell(task.id, **found[task.id])
    if as_json:
        show_json(found)
    if any(entry["problems"] for entry in found.values()):
        raise typer.Exit(InputError.exit_code)


def _counts(row: dict[str, Any]) -> str:
    labels = ", ".join(f"{label} {count}" for label, count in row["labels"].items())
    marks = ["sample"] if row["sample"] else []
    marks += [f"{row['stray']} stray tags mended"] if row["stray"] else []
    marks += [f"{count} {what}" for what, count in row["notes"].items()]
    return (
        f"{row['split']:<10} {row['language']:<4} {row['examples']:>6} examples "
        f"{row['words']:>8} words  {labels}{''.join(f' [{mark}]' for mark in marks)}"
    )


def _tell(name: str, rows: list[dict[str, Any]], problems: list[str]) -> None:
    if problems:
        typer.echo(f"{name:<22} problems: {len(problems)}")
        for line in problems:
            typer.echo(f"error: {line}", err=True)
        return
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row["split"]] = sizes.get(row["split"], 0) + row["examples"]
    shown = ", ".join(f"{split} {count}" for split, count in sizes.items())
    sample = " [sample]" if any(row["sample"] for row in rows) else ""
    languages = len({row["language"] for row in rows})
    typer.echo(f"{name:<22} fine; languages: {languages}; examples: {shown}{sample}")


@data_app.command("show")
def data_show(
    name: Annotated[str, typer.Argument(metavar="TASK")],
    language: Annotated[str, typer.Argument(metavar="LANG")],
    count: Annotated[int, typer.Option("-n", min=1, help="How many examples.")] = 5,
    split: Annotated[str | None, typer.Option(help="train, validation or test (else the last that has LANG).")] = None,
    data: DataOption = None,
    study: StudyOption = None,
) -> None:
    """Show examples as a reader makes them. Of tasks marked sensitive, ids and labels alone."""
    from itertools import islice

    from waystation import languages, places
    from waystation.tasks import sources
    from waystation.tasks.shown import shown

    (task,) = _found([name], study)
    code = languages.resolve(language).code
    folder = places.data_folder(data)
    having = [
        one for one in ("test", "validation", "train") if one in task.all_splits() and code in task.languages(one)
    ]
    at_hand = [one for one in having if sources.at_hand(task, one, code, folder)]
    chosen: Any = split or [*at_hand, *having, "test"][0]
    for example in islice(sources.read(task, chosen, code, folder), count):
        typer.echo(shown(example, task.sensitive) + "\n")
    if task.sensitive:
        typer.echo(f"texts are not shown: task '{task.id}' is marked sensitive", err=True)
