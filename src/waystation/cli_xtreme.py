"""Commands about XTREME: score a folder of predictions, check one before it is handed in."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

from waystation.cli_show import JsonOption, show_json
from waystation.errors import InputError, ManyProblems

xtreme_app = typer.Typer(help="XTREME's nine tasks: score and check.", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.add_typer(xtreme_app, name="xtreme")


@xtreme_app.command("score")
def xtreme_score(
    predictions: Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="Folder of TASK/test-LANG.tsv or .json.")],
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="The references, in the same layout.")],
    backbone: Annotated[str | None, typer.Option(help="Flag what is far from its published scores.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Score predictions in XTREME's layout: by language, task and group, and over all where nothing is missing."""
    from waystation.scoring.xtreme import published
    from waystation.scoring.xtreme.score import score

    found = score(predictions, labels, backbone)
    if backbone is not None and published.known(backbone) is None:
        known = ", ".join(published.MEANS)
        typer.echo(f"no published scores are known here of '{backbone}', only of {known}", err=True)
    if not found["tasks"]:
        raise ManyProblems([item["reason"] for item in found["refused"]])
    if as_json:
        show_json(found)
        return
    for line in _told(found):
        typer.echo(line)


@xtreme_app.command("check")
def xtreme_check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of TASK/test-LANG.tsv or .json.")],
    labels: Annotated[Path | None, typer.Option(help="Hold it against these references, same layout.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a submission: files, numbers of lines, labels and tags, ids. 1 where something is missing or wrong."""
    from waystation.scoring.xtreme.check import check

    found = check(folder, labels)
    if not found["files"]:
        raise InputError(f"{folder}: no file of a submission; it needs files like {folder / 'xnli' / 'test-sw.tsv'}")
    if as_json:
        show_json(found)
    else:
        for line in found["problems"]:
            typer.echo(line)
        for what, hint in (("missing", ""), ("unchecked", " (sizes not known; give --labels)")):
            files: dict[str, list[str]] = {}
            for name in found[what]:
                task, _, file = name.partition("/")
                files.setdefault(task, []).append(file.partition(".")[0].removeprefix("test-"))
            for task, codes in files.items():
                typer.echo(_wrapped(f"{what}{hint}: {task}: {' '.join(codes)}"))
        typer.echo(f"{len(found['files'])} files, {len(found['missing'])} missing, {len(found['problems'])} problems")
    if found["problems"] or found["missing"]:
        raise typer.Exit(1)


def _told(found: dict[str, Any]) -> list[str]:
    """Tables for people: languages of each task, tasks, groups, then what is missing or worth a look."""
    told, foreign = [], found["without_english"]
    for name, scores in found["tasks"].items():
        beside = found["beside"].get(name, {})
        for metric, points in {**scores, **beside}.items():
            if isinstance(points, dict):
                each = "  ".join(f"{code}\xa0{value:.1f}" for code, value in points.items())  # kept on one line
                told.append(_wrapped(f"{name} {metric}: {each}"))
    told += ["", f"{'task':<16}{'score':>6}{'without en':>12}   means"]
    for name, scores in found["tasks"].items():
        beside = found["beside"].get(name, {})
        means = {**scores, **{key: value for key, value in beside.items() if isinstance(value, float)}}
        shown = "  ".join(
            f"{key.removeprefix('avg_')} {value:.2f}"
            for key, value in means.items()
            if key.startswith("avg_") and key != "avg_metric"
        )
        without = foreign["tasks"].get(name, {}).get("avg_metric")
        told.append(f"{name:<16}{_cell(scores.get('avg_metric'), 6)}{_cell(without, 12)}   {shown}".rstrip())
    for group in ("classification", "tagging", "qa", "retrieval", "all_task"):
        if group in found["overall"] or group in foreign["overall"]:
            overall, without = found["overall"].get(group), foreign["overall"].get(group)
            told.append(f"{group:<16}{_cell(overall, 6)}{_cell(without, 12)}")
    for name, partial in found["partial"].items():
        codes = " ".join(partial["languages"])
        told.append(_wrapped(f"{name}: over {codes} alone {partial.get('avg_metric', float('nan')):.2f}"))
    told += [""] if found["missing"] or found["refused"] or found["flags"] else []
    absent: dict[tuple[str, str], list[str]] = {}
    for item in found["missing"]:
        absent.setdefault((item["task"], item["what"]), []).append(item["language"])
    told += [_wrapped(f"missing: {what} of {task}: {' '.join(codes)}") for (task, what), codes in absent.items()]
    told += [f"not scored: {item['reason']}" for item in found["refused"]]
    told += [f"ignored: {name}" for name in found["ignored"]]
    for name, counts in found["unanswered"].items():
        told.append(f"unanswered: {name}: {'  '.join(f'{code} {count}' for code, count in counts.items())}")
    told += [
        f"flag: {item['task']} {item['language'] or 'mean'} {item['metric']} {item['score']:.1f}: {item['why']}"
        for item in found["flags"]
    ]
    if "all_task" not in found["overall"]:
        told.append("no overall score: it needs all tasks in all languages")
    return told


def _cell(points: float | None, width: int) -> str:
    return f"{'-' if points is None else f'{points:.2f}':>{width}}"


def _wrapped(line: str) -> str:
    folded = textwrap.fill(line, 100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return folded.replace("\xa0", " ")
