"""The command line: parse, call, print. Exit codes: 0 done, 1 failed work, 2 bad input."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waystation.errors import InputError, WaystationError

if TYPE_CHECKING:
    from rich.console import Console

    from waystation.plan import Plan
    from waystation.study import Study

app = typer.Typer(
    help="Which stop on the way helps a multilingual encoder, in which languages, by how much?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
store_app = typer.Typer(help="Look at the artifacts on disk.", no_args_is_help=True, rich_markup_mode=None)
data_app = typer.Typer(help="Look at the files of a task.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(store_app, name="store")
app.add_typer(data_app, name="data")

StudyFile = Annotated[str, typer.Argument(metavar="STUDY", help="A study file, or the name of a shipped study.")]
StoreOption = Annotated[
    str | None, typer.Option("--store", help="Folder of artifacts (else $WAYSTATION_STORE, ./.waystation).")
]
DataOption = Annotated[str | None, typer.Option("--data", help="Folder of datasets (else $WAYSTATION_DATA).")]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="Apply a profile of the study file, e.g. toy.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=c", help="Override one field; may be repeated.")
]
SeedsOption = Annotated[int | None, typer.Option("--seeds", min=1, help="Number of seeds instead of the study's.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def load(study: str, profile: str | None, overrides: list[str] | None, seeds: int | None = None) -> Study:
    """A study from a path, or a shipped one by name."""
    from waystation.study import Study, shipped

    path = Path(study)
    if not path.exists() and "/" not in study and not study.endswith((".yaml", ".yml")):
        path = shipped(study)
    return Study.load(path, profile, overrides or (), seeds)


def console() -> Console:
    """A console that is plain and 100 columns wide where nobody watches."""
    from rich.console import Console

    watched = sys.stdout.isatty()
    return Console(no_color=not watched or None, highlight=False, width=None if watched else 100, soft_wrap=not watched)


def show_json(value: Any) -> None:
    """Print JSON for scripts."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


@app.command()
def run(
    study: StudyFile,
    store: StoreOption = None,
    data: DataOption = None,
    seeds: SeedsOption = None,
    profile: ProfileOption = None,
    overrides: SetOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the summary only.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Do failed steps again.")] = False,
) -> None:
    """Run a study: every missing step, then the gains. Killed or stopped, it goes on where it was."""
    loaded = load(study, profile, overrides, seeds)
    made, ok = execute(loaded, store, data, quiet, retry_failed)
    from waystation.analysis.table import gains as compute
    from waystation.report.terminal import print_gains

    print_gains(console(), loaded, compute(loaded, store, data, made=made))
    if not ok:
        raise typer.Exit(1)


def execute(study: Study, store: str | None, data: str | None, quiet: bool, retry_failed: bool) -> tuple[Plan, bool]:
    """Plan and run with live progress; prints the end summary. Returns the plan and whether every score is there."""
    from waystation import places
    from waystation.plan import costs, plan
    from waystation.report.terminal import Progress
    from waystation.rounds import run as run_study
    from waystation.store import Store

    screen = console()
    made = plan(study, places.data_folder(data))
    opened = Store(places.store_folder(store))
    waiting = made.pending(opened.has)
    expected = costs(made, opened) if waiting else {}
    with Progress(screen, made, expected, quiet or not waiting) as progress:
        summary = run_study(study, store, data, retry_failed=retry_failed, on_event=progress, made=made)
    screen.print(
        f"{study.study}: {len(summary.done)} steps done, {summary.reused} found in the store, "
        f"{len(summary.failed)} failed, {len(summary.skipped)} skipped, {summary.seconds:.1f} s"
    )
    for label, message in summary.failed.items():
        typer.echo(f"failed: {label}: {message}", err=True)
    for label in summary.skipped:
        typer.echo(f"skipped: {label}: a step that it needs failed", err=True)
    if summary.stopped:
        typer.echo(f"stopped: {summary.stopped}", err=True)
    return made, summary.ok


@app.command()
def demo(
    data: DataOption = None,
    store: StoreOption = None,
    seeds: SeedsOption = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the report goes.")] = Path("report.html"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q")] = False,
) -> None:
    """The main job on the embedded default; with --data DIR the real clinical question, on a quick profile."""
    from waystation.analysis.table import gains as compute
    from waystation.report.page import write
    from waystation.report.terminal import print_gains
    from waystation.store import Store
    from waystation.study import Study, shipped

    loaded = (
        Study.load(shipped("demo"), seeds=seeds)
        if data is None
        else Study.load(shipped("clinical"), "quick", seeds=seeds)
    )
    made, ok = execute(loaded, store, data, quiet, retry_failed=True)
    found = compute(loaded, store, data, made=made)
    screen = console()
    print_gains(screen, loaded, found)
    extra: dict[str, Any] = {}
    if loaded.demonstration and ok:
        from waystation.tasks.mini import check_key

        means = {
            item.intermediate: item.gain
            for item in found.averages
            if item.over == "zero-shot languages" and item.metric == "entity_f1"
        }
        extra["key"] = check_key(means)
        screen.print("\nThe truth planted in the mini corpus, against what was found:")
        for statement, holds in extra["key"]:
            screen.print(f"  {'found    ' if holds else 'NOT FOUND'}  {statement}")
    from waystation import places

    opened = Store(places.store_folder(store))
    screen.print(f"\nreport: {write(loaded, found, opened, made, output, extra)}")
    if not ok:
        raise typer.Exit(1)


@app.command()
def plan(
    study: StudyFile,
    store: StoreOption = None,
    data: DataOption = None,
    seeds: SeedsOption = None,
    profile: ProfileOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the steps, what is already there, and what the rest will cost, before any work."""
    from waystation import places
    from waystation.plan import costs
    from waystation.plan import plan as make
    from waystation.report.terminal import plan_lines
    from waystation.store import Store

    loaded = load(study, profile, overrides, seeds)
    made = make(loaded, places.data_folder(data))
    opened = Store(places.store_folder(store))
    expected = costs(made, opened)
    if as_json:
        waiting = {node.id for node in made.pending(opened.has)}
        show_json(
            {
                "study": loaded.study,
                "steps": [
                    {
                        "id": node.id,
                        "label": node.label,
                        "kind": node.step.kind,
                        "needs": list(node.needs),
                        "state": "missing" if node.id in waiting else "stored" if opened.has(node.id) else "not needed",
                        "tokens": expected[node.id].tokens,
                        "flops": expected[node.id].flops,
                        "seconds": expected[node.id].seconds,
                        "bytes": expected[node.id].bytes,
                    }
                    for node in made.nodes.values()
                ],
                "chains": [
                    {"name": c.name, "group": c.group, "train": c.train, "evaluate": c.evaluate} for c in made.chains
                ],
            }
        )
        return
    for line in plan_lines(made, opened, expected):
        typer.echo(line)


@app.command()
def check(
    study: StudyFile, data: DataOption = None, profile: ProfileOption = None, overrides: SetOption = None
) -> None:
    """Check a study file and that its data is there, without running anything."""
    from waystation import places
    from waystation.plan import plan as make

    loaded = load(study, profile, overrides)
    made = make(loaded, places.data_folder(data))
    typer.echo(f"{study}: fine; {len(made.chains)} chains, {len(made.nodes)} steps")


@app.command()
def gains(
    study: StudyFile,
    store: StoreOption = None,
    data: DataOption = None,
    seeds: SeedsOption = None,
    profile: ProfileOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Show the gain of every intermediate over the baseline, from what the store holds."""
    from waystation.analysis.table import as_csv
    from waystation.analysis.table import gains as compute

    loaded = load(study, profile, overrides, seeds)
    found = compute(loaded, store, data)
    if as_json:
        show_json(found.as_json())
    elif csv:
        typer.echo(as_csv(found), nl=False)
    else:
        from waystation.report.terminal import print_gains

        print_gains(console(), loaded, found)


@app.command()
def report(
    study: StudyFile,
    store: StoreOption = None,
    data: DataOption = None,
    seeds: SeedsOption = None,
    profile: ProfileOption = None,
    overrides: SetOption = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("report.html"),
) -> None:
    """Write the report: one self-contained HTML page."""
    from waystation import places
    from waystation.analysis.table import gains as compute
    from waystation.plan import plan as make
    from waystation.report.page import write
    from waystation.store import Store

    loaded = load(study, profile, overrides, seeds)
    made = make(loaded, places.data_folder(data))
    found = compute(loaded, store, data, made=made)
    typer.echo(str(write(loaded, found, Store(places.store_folder(store)), made, output, {})))


@app.command()
def tasks(
    as_json: JsonOption = False,
    domain: Annotated[str | None, typer.Option(help="Only this domain.")] = None,
    language: Annotated[str | None, typer.Option(help="Only tasks that test this language.")] = None,
) -> None:
    """List the known tasks."""
    from waystation import languages as table
    from waystation.tasks.known import catalog

    code = table.resolve(language).code if language else None
    chosen = [
        task
        for task in catalog().values()
        if (domain is None or task.domain == domain) and (code is None or code in task.languages("test"))
    ]
    if as_json:
        show_json([task.model_dump(mode="json") for task in chosen])
        return
    for task in chosen:
        sample = " [sample]" if any(files.sample for files in task.splits.values()) else ""
        train, test = task.languages("train"), task.languages("test")
        typer.echo(
            f"{task.id:<18} {task.format:<15} {task.domain:<9} train {','.join(train) or '-':<4} "
            f"test {len(test):>2} languages  verified: {task.verified}{sample}  {task.title}"
        )


@app.command()
def languages(
    codes: Annotated[
        list[str] | None, typer.Argument(metavar="[CODE]...", help="Codes, names or groups; all by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List languages: codes, script, family, resource class."""
    from dataclasses import asdict

    from waystation import languages as table

    chosen = [table.resolve(code) for code in table.expand(codes)] if codes else list(table.table().values())
    if as_json:
        show_json([asdict(item) for item in chosen])
        return
    for item in chosen:
        joshi = "-" if item.joshi is None else item.joshi
        typer.echo(
            f"{item.code:<4} {item.iso3:<4} {item.script:<5} Joshi {joshi}  {'XLM-R' if item.xlmr else '     '}  {item.name} ({item.family})"
        )


@app.command()
def backbone(
    name: Annotated[str, typer.Argument(help="bundled, a hub id, or a folder.")] = "bundled",
    layers: Annotated[int | None, typer.Option(help="Keep only the lowest layers.")] = None,
    search: Annotated[
        str | None, typer.Option(metavar="LANG,...", help="Measure sentence search on Tatoeba pairs (needs --data).")
    ] = None,
    pairs: Annotated[int, typer.Option(help="Pairs per language for --search.")] = 300,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Unpack or fetch a backbone and show what it is; with --search, its accuracy in finding translations."""
    from waystation import backbones, places

    chosen = backbones.Backbone(id=name, layers=layers)
    wrong = backbones.problem(chosen)
    if wrong:
        raise InputError(wrong)
    from waystation.evaluation.search import tatoeba
    from waystation.models.backbone import checkpoint_folder

    facts: dict[str, Any] = {
        "id": name,
        "folder": str(checkpoint_folder(chosen, places.cache_folder())),
        "fingerprint": backbones.fingerprint(chosen),
        "seen": chosen.has_seen(),
    }
    if search is not None:
        facts["accuracy"] = tatoeba(chosen, Path(facts["folder"]), places.data_folder(data), search.split(","), pairs)
    if as_json:
        show_json(facts)
        return
    for key, value in facts.items():
        typer.echo(f"{key}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")


@app.command()
def doctor(store: StoreOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Say what of the surroundings works and what to do about the rest."""
    from waystation import doctor as checks

    findings = checks.report(data, store)
    typer.echo(checks.as_json(findings) if as_json else checks.as_text(findings))
    if not checks.healthy(findings):
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON schema of a study file."""
    from waystation.study import Study

    show_json(Study.model_json_schema())


@data_app.command("check")
def data_check(
    task: Annotated[str, typer.Argument(metavar="TASK")], data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Read every file of a task and count what is in it."""
    from waystation import places
    from waystation.tasks import known, sources

    rows = sources.check(known.find(task), places.data_folder(data))
    if as_json:
        show_json(rows)
        return
    for row in rows:
        labels = ", ".join(f"{label} {count}" for label, count in row["labels"].items())
        notes = "".join(
            f" [{note}]"
            for note in (["sample"] if row["sample"] else [])
            + ([f"{row['stray']} stray tags mended"] if row["stray"] else [])
        )
        typer.echo(
            f"{row['split']:<10} {row['language']:<4} {row['examples']:>6} examples {row['words']:>8} words  {labels}{notes}"
        )


@store_app.command("ls")
def store_ls(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List the artifacts of a store."""
    from waystation import places
    from waystation.store import Store

    opened = Store(places.store_folder(store))
    manifests = [opened.manifest(key) for key in opened.keys()]
    rows = [
        {
            "id": item["id"],
            "kind": item["kind"],
            "task": _task_name(item["step"]),
            "seed": item["step"].get("seed"),
            "created": item["created"],
            "bytes": sum(file["bytes"] for file in item["files"].values()),
        }
        for item in manifests
    ]
    if as_json:
        show_json(rows)
        return
    for row in rows:
        seed = "" if row["seed"] is None else f"s{row['seed']}"
        typer.echo(
            f"{row['id'][:12]}  {row['kind']:<9} {row['task']:<22} {seed:<4} {row['bytes'] / 1e6:>8.1f} MB  {row['created']}"
        )
    typer.echo(f"{len(rows)} artifacts, {sum(row['bytes'] for row in rows) / 1e6:.1f} MB in {opened.root}")


def _task_name(step: dict[str, Any]) -> str:
    task = step["task"]
    return f"{task['id']} {step['split']} {step['language']}" if isinstance(task, dict) else str(task)


@store_app.command("verify")
def store_verify(store: StoreOption = None) -> None:
    """Check every artifact against its identity and checksums."""
    from waystation import places
    from waystation.store import Store

    opened = Store(places.store_folder(store))
    problems = opened.verify()
    for problem in problems:
        typer.echo(problem, err=True)
    typer.echo(f"{len(opened.keys())} artifacts checked, {len(problems)} problems")
    if problems:
        raise typer.Exit(1)


def main() -> None:
    """Entry point: one line for every foreseen error, the exit code of its kind."""
    try:
        app()
    except WaystationError as error:
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        typer.echo("interrupted; run again to go on", err=True)
        sys.exit(1)
    except OSError as error:
        typer.echo(f"error: {error.strerror}: {error.filename}" if error.filename else f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
