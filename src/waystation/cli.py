"""The command line: parse, call, print. Exit codes: 0 done, 1 failed work, 2 bad input."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from waystation import cli_data, cli_show, cli_use, cli_xtreme
from waystation.cli_show import DataOption, JsonOption, StoreOption, show_json
from waystation.cli_study import ProfileOption, SeedsOption, SetOption, StudyFile, load
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
cli_data.add_to(app)
cli_show.add_to(app)
cli_xtreme.add_to(app)
cli_use.add_to(app)


def console() -> Console:
    """A console that is plain and 100 columns wide where nobody watches."""
    from rich.console import Console

    watched = sys.stdout.isatty()
    return Console(no_color=not watched or None, highlight=False, width=None if watched else 100, soft_wrap=not watched)


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
    keep: Annotated[
        Literal["heads", "deltas", "all"] | None, typer.Option(help="What stays of the models trained by this run.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a study: every missing step, then the gains. Killed or stopped, it goes on where it was."""
    loaded = load(study, profile, [*(overrides or ()), *([f"keep={keep}"] if keep else ())], seeds)
    if as_json:
        from dataclasses import asdict

        from waystation.rounds import run as run_study

        summary = run_study(loaded, store, data, retry_failed=retry_failed)
        show_json({"study": loaded.study, "ok": summary.ok, **asdict(summary)})
        raise typer.Exit(0 if summary.ok else 1)
    made, ok = execute(loaded, store, data, quiet, retry_failed)
    from waystation.analysis.table import gains as compute
    from waystation.report.terminal import print_gains

    print_gains(console(), loaded, compute(loaded, store, data, made=made))
    if not ok:
        raise typer.Exit(1)


def report_file(path: Path) -> Path:
    """The file of ``--output``, refused before any work where it cannot be written."""
    above = next((folder for folder in path.absolute().parents if folder.exists()), Path("/"))
    if not path.name or path.is_dir() or not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"--output '{path}': no file can be written there; give the name of a file")
    return path


def command_line() -> str:
    """The command that is running, as one would type it."""
    return shlex.join(["waystation", *sys.argv[1:]])


def execute(study: Study, store: str | None, data: str | None, quiet: bool, retry_failed: bool) -> tuple[Plan, bool]:
    """Plan and run with live progress; prints the end summary. Returns the plan and whether every score is there."""
    from waystation import places
    from waystation.costs import costs
    from waystation.plan import pieces, plan
    from waystation.report.terminal import Progress, redone
    from waystation.rounds import run as run_study
    from waystation.store import Store

    screen = console()
    made = plan(study, places.data_folder(data))
    opened = Store(places.store_folder(store))
    waiting = made.pending(opened.has)
    expected = costs(made, opened) if waiting else {}
    for line in [*pieces(made), *redone([node for node in waiting if opened.known(node.id)])]:
        screen.print(line)
    with Progress(screen, made, expected, quiet or not waiting, done=opened.has) as progress:
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

    report_file(output)
    loaded = (
        Study.load(shipped("demo"), seeds=seeds)
        if data is None
        else Study.load(shipped("clinical"), "quick", seeds=seeds)
    )
    made, ok = execute(loaded, store, data, quiet, retry_failed=True)
    found = compute(loaded, store, data, made=made)
    screen = console()
    print_gains(screen, loaded, found)
    extra: dict[str, Any] = {"commands": [command_line()]}
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
    from waystation.costs import costs
    from waystation.plan import pieces
    from waystation.plan import plan as make
    from waystation.report.terminal import plan_lines, step_states
    from waystation.store import Store

    loaded = load(study, profile, overrides, seeds)
    made = make(loaded, places.data_folder(data))
    opened = Store(places.store_folder(store))
    expected = costs(made, opened)
    if as_json:
        states = step_states(made, opened)
        show_json(
            {
                "study": loaded.study,
                "steps": [
                    {
                        "id": node.id,
                        "label": node.label,
                        "kind": node.step.kind,
                        "needs": list(node.needs),
                        "state": states[node.id],
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
    for line in [*plan_lines(made, opened, expected), *pieces(made)]:
        typer.echo(line)


@app.command()
def check(
    study: StudyFile,
    data: DataOption = None,
    profile: ProfileOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a study file and read all of its data, without running anything."""
    from waystation import places
    from waystation.plan import check_data
    from waystation.plan import plan as make

    loaded = load(study, profile, overrides)
    made = make(loaded, places.data_folder(data))
    examples = check_data(made)
    if as_json:
        show_json({"study": loaded.study, "chains": len(made.chains), "steps": len(made.nodes), "examples": examples})
        return
    typer.echo(f"{study}: fine; {len(made.chains)} chains, {len(made.nodes)} steps, {examples} examples read")


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

    if as_json and csv:
        raise InputError("--json and --csv exclude each other; give one")
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
    report_file(output)
    made = make(loaded, places.data_folder(data))
    found = compute(loaded, store, data, made=made)
    typer.echo(
        str(write(loaded, found, Store(places.store_folder(store)), made, output, {"commands": [command_line()]}))
    )


@cli_show.store_app.command("prune")
def store_prune(
    studies: Annotated[list[str] | None, typer.Argument(metavar="STUDY", help="Whose models are meant.")] = None,
    store: StoreOption = None,
    data: DataOption = None,
    seeds: SeedsOption = None,
    profile: ProfileOption = None,
    overrides: SetOption = None,
    keep: Annotated[Literal["heads", "deltas"] | None, typer.Option(help="Strip models down to this.")] = None,
    unused: Annotated[bool, typer.Option("--unused", help="Remove artifacts that none of the studies needs.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing, show what would go.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Free disk: debris of killed runs; on request parts of models, and what no study named here needs."""
    from waystation import places, retention
    from waystation.plan import plan as make
    from waystation.store import Store

    if unused and not studies:
        raise InputError("--unused removes what none of the studies needs; name at least one study")
    plans = [make(load(name, profile, overrides, seeds), places.data_folder(data)) for name in studies or ()]
    freed = retention.prune(Store(places.store_folder(store)), plans, keep, unused, dry_run)
    cli_show.show_freed(freed, unused, dry_run, as_json)


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
