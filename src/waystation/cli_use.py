"""Commands that use what a study made: predictions on new text, whole checkpoints; and systems from elsewhere."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from waystation.cli_show import DataOption, JsonOption, StoreOption, show_json, store_app
from waystation.cli_study import ProfileOption, SeedsOption, SetOption, StudyFile, load
from waystation.cli_xtreme import xtreme_app
from waystation.errors import InputError, WaystationError

if TYPE_CHECKING:
    from waystation.engines.local import Summary
    from waystation.plan import Plan
    from waystation.study import Study

ChainName = Annotated[str, typer.Argument(metavar="CHAIN", help="A chain of the study, e.g. bc5cdr+e3c.s0.")]
StudyOption = Annotated[str, typer.Option("--study", metavar="STUDY", help="The study that the chain belongs to.")]
TrainOption = Annotated[bool, typer.Option("--train", help="Train the model first where the store lacks it.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command()(predict)
    app.command("import")(import_)
    app.command()(sweep)
    store_app.command("export")(store_export)
    xtreme_app.command("export")(xtreme_export)


def predict(
    chain: ChainName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL, CoNLL columns or plain lines, by its ending.")],
    study: StudyOption,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Else standard output.")] = None,
    kind: Annotated[
        Literal["jsonl", "conll", "lines"] | None, typer.Option("--as", help="What FILE is, whatever its ending.")
    ] = None,
    train: TrainOption = False,
    store: StoreOption = None,
    data: DataOption = None,
    seeds: SeedsOption = None,
    profile: ProfileOption = None,
    overrides: SetOption = None,
) -> None:
    """Apply a trained chain to new text: a line of JSON for each, with places in characters."""
    loaded, made = _planned(study, profile, overrides, seeds, data)
    if not file.exists():
        raise InputError(f"{file}: no such file; name the texts to predict")
    with nullcontext(sys.stdout) if output is None else _beside(output, file) as out:
        _trained(loaded, made, chain, store, data, train)
        from waystation.exchange.predict import predict as apply

        for one in apply(loaded, chain, file, store, data, kind=kind, made=made):
            out.write(json.dumps(one, ensure_ascii=False) + "\n")


@contextmanager
def _beside(output: Path, source: Path) -> Iterator[TextIO]:
    """A file that takes the place of ``output`` once it is whole; refused before any work where none can be written."""
    target = output.resolve()
    if target.exists() and target.samefile(source):
        raise InputError(f"--output '{output}' is the file that is read; name another")
    if target.exists() and not target.is_file():
        raise InputError(f"--output '{output}': not a file; give the name of one")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        file = temporary.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--output '{output}': no file can be written there: {error.strerror}") from None
    try:
        with file:
            yield file
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def store_export(
    chain: ChainName,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    study: StudyOption,
    adapters: Annotated[
        bool, typer.Option("--adapters", help="The adapters of LoRA and the head alone, for the library peft.")
    ] = False,
    train: TrainOption = False,
    store: StoreOption = None,
    data: DataOption = None,
    seeds: SeedsOption = None,
    profile: ProfileOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a chain's model as a whole transformers checkpoint, which loads without Waystation."""
    loaded, made = _planned(study, profile, overrides, seeds, data)
    _trained(loaded, made, chain, store, data, train)
    from waystation.exchange.checkpoint import export

    facts = export(loaded, chain, folder, store, data, made=made, adapters=adapters)
    if as_json:
        show_json(facts)
    elif adapters:
        base = facts["base_model_name_or_path"]
        typer.echo(f"{folder}: adapters for {facts['class']}; peft.PeftModel loads them on {base}")
    else:
        typer.echo(f"{folder}: {facts['class']}, {facts['format']}; transformers.{facts['auto_class']} loads it")


def import_(
    study: StudyFile,
    chain: Annotated[str, typer.Option("--chain", metavar="SYSTEM+TARGET", help="Its name beside the study's chains.")],
    predictions: Annotated[Path, typer.Option(metavar="DIR", help="test-LANG.jsonl, .tsv or .json for each language.")],
    store: StoreOption = None,
    data: DataOption = None,
    seeds: SeedsOption = None,
    profile: ProfileOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in predictions of a system from elsewhere; `gains` shows it beside the intermediates."""
    from dataclasses import asdict

    from waystation.exchange.imported import add

    loaded, made = _planned(study, profile, overrides, seeds, data)
    found = add(loaded, chain, predictions, store, data, made=made)
    if as_json:
        show_json(asdict(found))
        return
    examples = sum(found.languages.values())
    typer.echo(f"{chain}: {len(found.languages)} languages, {examples} predictions, stored as {found.artifact[:12]}")
    for what, codes in (("no file for", found.missing), ("not tested by the study, left out", found.extra)):
        if codes:
            typer.echo(f"{what}: {', '.join(codes)}")


def xtreme_export(
    study: StudyFile,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    intermediate: Annotated[
        str | None, typer.Option(metavar="NAME", help="For all targets, chosen by you; none is the baseline.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Else the study's first.")] = None,
    references: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Another new folder: the references of these examples.")
    ] = None,
    store: StoreOption = None,
    data: DataOption = None,
    seeds: SeedsOption = None,
    profile: ProfileOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a submission from stored predictions: for each target the intermediate that is best on held-out English."""
    from dataclasses import asdict

    from waystation.exchange.submission import export

    loaded, made = _planned(study, profile, overrides, seeds, data)
    asked: dict[str, Any] = {"intermediate": intermediate, "seed": seed, "references": references}
    found = export(loaded, folder, store, data, made=made, **asked)
    if as_json:
        show_json({name: asdict(choice) for name, choice in found.items()})
        return
    for name, choice in found.items():
        typer.echo(f"{name}: {choice.intermediate}, seed {choice.seed}, {len(choice.languages)} files; {choice.why}")
        for note in choice.notes:
            typer.echo(f"  {note}")


def sweep(
    study: StudyFile,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A retrieval target with `retrieval: {sweep: ...}`.")],
    chain: Annotated[
        str | None, typer.Option(metavar="CHAIN", help="Of this chain's model instead of the baseline's.")
    ] = None,
    store: StoreOption = None,
    data: DataOption = None,
    seeds: SeedsOption = None,
    profile: ProfileOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a retrieval target's scores by layer, pooling and language; does first what the store lacks."""
    from dataclasses import asdict

    from waystation import places
    from waystation.analysis import sweep as sweeps
    from waystation.rounds import run
    from waystation.store import Store

    loaded, made = _planned(study, profile, overrides, seeds, data)
    ending = sweeps.ending(made, target, chain)
    _all_done(run(loaded, store, data, retry_failed=True, on_event=_told, made=ending), f"the sweep of '{target}'")
    found = sweeps.read(ending, Store(places.store_folder(store)))
    if as_json:
        show_json(asdict(found))
        return
    for line in sweeps.lines(found):
        typer.echo(line)


def _planned(
    study: str, profile: str | None, overrides: list[str] | None, seeds: int | None, data: str | None
) -> tuple[Study, Plan]:
    from waystation import places
    from waystation.plan import plan

    loaded = load(study, profile, overrides, seeds)
    return loaded, plan(loaded, places.data_folder(data))


def _trained(study: Study, made: Plan, chain: str, store: str | None, data: str | None, train: bool) -> None:
    """Make sure that the store holds a chain's model; with ``train``, by training what it lacks."""
    from waystation import chains, places
    from waystation.store import Store

    found = chains.find(made, chain)
    if train:
        from waystation.rounds import train as train_one

        _all_done(train_one(study, chain, store, data, on_event=_told, made=made), f"the model of '{chain}'")
    chains.model(made, Store(places.store_folder(store)), found)


def _told(event: Any) -> None:
    if event.kind == "start":
        typer.echo(event.node.label, err=True)


def _all_done(summary: Summary, what: str) -> None:
    """Tell what failed, and end there."""
    for label, message in summary.failed.items():
        typer.echo(f"failed: {label}: {message}", err=True)
    if not summary.ok:
        raise WaystationError(f"{what} could not be made{': ' + (summary.stopped or '')}".rstrip(": "))
