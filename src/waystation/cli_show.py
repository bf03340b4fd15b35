"""Commands that only look things up: languages, backbones, surroundings, stored artifacts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waystation.errors import InputError

if TYPE_CHECKING:
    from waystation.retention import Pruned

StoreOption = Annotated[
    str | None, typer.Option("--store", help="Folder of artifacts (else $WAYSTATION_STORE, ./.waystation).")
]
DataOption = Annotated[str | None, typer.Option("--data", help="Folder of datasets (else $WAYSTATION_DATA).")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

store_app = typer.Typer(help="Look at the artifacts on disk.", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    for command in (languages, backbone, doctor, schema):
        app.command()(command)
    app.add_typer(store_app, name="store")


def show_json(value: Any) -> None:
    """Print JSON for scripts."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


def languages(
    codes: Annotated[
        list[str] | None, typer.Argument(metavar="[CODE]...", help="Codes, names or groups; all by default.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this group, e.g. low-resource; may be repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List languages: codes, script, family, resource class, in whose pretraining, in XTREME."""
    from dataclasses import asdict

    from waystation import languages as table

    members = dict.fromkeys(code for name in group or () for code in table.group(name))
    names = [*(codes or ()), *members]
    chosen = [table.resolve(code) for code in table.expand(names)] if names else list(table.table().values())
    if as_json:
        show_json([asdict(item) for item in chosen])
        return
    for item in chosen:
        joshi = "-" if item.joshi is None else f"{item.joshi}{'?' if item.joshi_source == 'assumed' else ''}"
        read = f"{'XLM-R' if item.xlmr else '':<5} {'mBERT' if item.mbert else '':<5}"
        typer.echo(
            f"{item.code:<4} {item.iso3:<4} {item.script:<5} Joshi {joshi:<2} {read} {item.xtreme:<8} "
            f"{item.name} ({item.family})"
        )


def backbone(
    name: Annotated[str, typer.Argument(help="bundled, a hub id, or a folder.")] = "bundled",
    layers: Annotated[int | None, typer.Option(min=1, help="Keep only the lowest layers.")] = None,
    search: Annotated[
        str | None, typer.Option(metavar="LANG,...", help="Measure sentence search on Tatoeba pairs (needs --data).")
    ] = None,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs per language for --search.")] = 300,
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


def doctor(store: StoreOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Say what of the surroundings works and what to do about the rest."""
    from waystation import doctor as checks

    findings = checks.report(data, store)
    typer.echo(checks.as_json(findings) if as_json else checks.as_text(findings))
    if not checks.healthy(findings):
        raise typer.Exit(1)


def schema() -> None:
    """Print the JSON schema of a study file."""
    from waystation.study import Study

    show_json(Study.model_json_schema())


@store_app.command("ls")
def store_ls(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List the artifacts of a store."""
    from waystation import places
    from waystation.store import Store

    opened = Store(places.store_folder(store))
    manifests = [opened.manifest(key) for key in opened.identities()]
    rows = [
        {
            "id": item["id"],
            "kind": item["kind"],
            "task": _task_name(item["step"]),
            "seed": item["step"].get("seed"),
            "created": item["created"],
            "bytes": sum(file["bytes"] for file in item["files"].values()),
            "pruned": not opened.has(item["id"]),
        }
        for item in manifests
    ]
    if as_json:
        show_json(rows)
        return
    for row in rows:
        seed = "" if row["seed"] is None else f"s{row['seed']}"
        typer.echo(
            f"{row['id'][:12]}  {row['kind']:<9} {row['task']:<22} {seed:<4} "
            f"{row['bytes'] / 1e6:>8.1f} MB  {row['created']}{'  pruned' if row['pruned'] else ''}"
        )
    typer.echo(f"{len(rows)} artifacts, {sum(row['bytes'] for row in rows) / 1e6:.1f} MB in {opened.root}")


def _task_name(step: dict[str, Any]) -> str:
    task = step["task"]
    return f"{task['id']} {step['split']} {step['language']}" if isinstance(task, dict) else str(task)


@store_app.command("verify")
def store_verify(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Check every artifact against its identity and checksums."""
    from waystation import places
    from waystation.store import Store

    opened = Store(places.store_folder(store))
    problems, keys = opened.verify(), opened.identities()
    pruned = sum(not opened.has(key) for key in keys)
    if as_json:
        show_json({"artifacts": len(keys), "pruned": pruned, "problems": problems})
        raise typer.Exit(1 if problems else 0)
    for problem in problems:
        typer.echo(problem, err=True)
    shown = f" ({pruned} of them pruned)" if pruned else ""
    typer.echo(f"{len(keys)} artifacts checked{shown}, {len(problems)} problems")
    if problems:
        raise typer.Exit(1)


def show_freed(freed: Pruned, unused: bool, dry_run: bool, as_json: bool) -> None:
    """What ``store prune`` did, or would do."""
    from dataclasses import asdict

    if as_json:
        show_json({"dry_run": dry_run, "unused_removed": unused and not dry_run, **asdict(freed)})
        return
    verb = "would be removed" if dry_run else "removed"
    kinds = [("debris", freed.debris, verb), ("parts of models", freed.models, verb)]
    kinds += [("unused", freed.unused, verb if unused else "in no plan of these studies; --unused removes them")]
    if not unused:
        for key, name in freed.listed.items():
            typer.echo(f"{key[:12]}  {name}")
    for name, kind, did in kinds:
        stayed = f"; {kind.in_use} in use, left alone" if kind.in_use else ""
        typer.echo(f"{name:<16} {kind.count:>6} {kind.bytes / 1e6:>10.1f} MB  {did}{stayed}")
