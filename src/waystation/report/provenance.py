"""Where the numbers come from: backbone, data, matching, recipes, versions and artifacts, as plain JSON values.

Read from the plan and from the manifests in the store, never guessed: what is not stored yet stays None. Absolute
paths are cut to their last part, so that a report can be passed on without telling where its author keeps files.
"""

from __future__ import annotations

import json
import shlex
import statistics
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from waystation import __version__, backbones, chains
from waystation.analysis.table import Gains
from waystation.chains import Imported
from waystation.errors import InputError
from waystation.plan import Chain, Plan
from waystation.report.tables import Arm, arms, language_name
from waystation.steps.records import EncodeStep, TrainStep
from waystation.store import Store
from waystation.study import Study
from waystation.tasks.task import Task
from waystation.uses import Use

SHORT = 12
"""Digits of an identity or checksum that are shown."""

QUANTITIES = ("updates", "words", "examples", "tokens", "seconds")
"""What intermediates are compared in; ``updates`` stands in the recipe, the others in the manifests."""


def collect(study: Study, found: Gains, store: Store, made: Plan, commands: Iterable[str] = ()) -> dict[str, Any]:
    """Everything that a reader needs to judge where the numbers come from and to get them again."""
    manifests = {
        key: store.manifest(key)
        for key in dict.fromkeys(key for chain in made.chains for key in (*_trained(chain, made), chain.evaluate))
        if store.known(key)
    }
    created = sorted(str(item["created"]) for item in manifests.values())
    return {
        "backbone": _backbone(study, made),
        "datasets": _datasets(study, store, made),
        "matching": matching(study, store, made),
        "recipes": _recipes(study),
        "seeds": list(study.seeds),
        "precision": study.precision,
        "numerics": found.numerics,
        "versions": _versions(),
        "commands": list(commands) or _commands(study),
        "created": {"first": created[0], "last": created[-1]} if created else None,
        "chains": [
            {
                "name": chain.name,
                "trained": [{"id": key[:SHORT], "there": key in manifests} for key in _trained(chain, made)],
                "scores": {"id": chain.evaluate[:SHORT], "there": chain.evaluate in manifests},
            }
            for chain in made.chains
        ],
        "imported": [_imported(one, store) for one in chains.imported(made, store)],
    }


def _imported(one: Imported, store: Store) -> dict[str, Any]:
    """A system from elsewhere: when and from which folder its predictions came, and examples by language."""
    manifest, path = store.manifest(one.evaluate), store.folder(one.evaluate) / chains.IMPORTED
    try:
        source = Path(json.loads(path.read_bytes())["source"]).name
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged; import '{one.name}' again") from None
    return {
        "name": one.name,
        "system": one.intermediate,
        "target": one.target,
        "source": source,
        "created": manifest["created"],
        "content": manifest["step"]["content"][:SHORT],
        "languages": {code: about["n"] for code, about in manifest["languages"].items()},
        "scores": one.evaluate[:SHORT],
    }


def matching(study: Study, store: Store, made: Plan) -> dict[str, Any]:
    """What each intermediate really had (means over the seeds that are trained), and the ratios that remain.

    ``ratio`` of a value is to the smallest of its column; ``primary`` compares the two sides of the primary contrast.
    """
    rows = [_used(arm, store, made) for arm in arms(study)]
    for name in QUANTITIES:
        smallest = min((row[name]["mean"] for row in rows if row[name]), default=0)
        for row in rows:
            if row[name]:
                row[name]["ratio"] = row[name]["mean"] / smallest if smallest else None
    sides = [side.strip() for side in study.primary.split(" - ")] if study.primary else []
    means = {side: _group_means(side, rows) for side in sides}
    ratios = {
        name: means[sides[0]][name] / means[sides[1]][name]
        for name in QUANTITIES
        if len(sides) == 2 and means[sides[0]].get(name) and means[sides[1]].get(name)
    }
    return {
        "by": study.match.by if study.match else None,
        "amount": study.match.amount if study.match else None,
        "rows": rows,
        "primary": {"contrast": study.primary, "ratios": ratios} if ratios else None,
    }


def _used(arm: Arm, store: Store, made: Plan) -> dict[str, Any]:
    found: dict[str, list[float]] = {name: [] for name in QUANTITIES}
    steps = dict(item for chain in made.chains if chain.intermediate == arm.name for item in made.trainings(chain))
    for key, step in steps.items():
        if step.phase != "intermediate":
            continue
        found["updates"].append(step.recipe.updates)
        if store.known(key):
            manifest = store.manifest(key)
            for name in QUANTITIES[1:]:
                if manifest.get(name) is not None:
                    found[name].append(manifest[name])
    row: dict[str, Any] = {"group": arm.group, "intermediate": arm.name}
    for name, values in found.items():
        row[name] = (
            {"mean": statistics.fmean(values), "least": min(values), "most": max(values), "ratio": None}
            if values
            else None
        )
    return row


def _group_means(group: str, rows: list[dict[str, Any]]) -> dict[str, float]:
    means = {}
    for name in QUANTITIES:
        values = [row[name]["mean"] for row in rows if row["group"] == group and row[name]]
        if values:
            means[name] = statistics.fmean(values)
    return means


def _trained(chain: Chain, made: Plan) -> list[str]:
    return [key for key, _ in made.trainings(chain)]


def _backbone(study: Study, made: Plan) -> dict[str, Any]:
    backbone = study.backbone
    known = backbones.known().get(backbone.id)
    name = Path(backbone.id).name if backbone.kind == "local" else backbone.id
    # From the plan, so that a hub id is not resolved again: a report never touches the network.
    stamp: Mapping[str, Any] = next(
        (node.step.backbone for node in made.nodes.values() if isinstance(node.step, TrainStep)), {}
    )
    used = {name for use in _uses(study) for name in use.tasks()}
    return {
        "id": name,
        "title": known.title if known else name,
        "kind": backbone.kind,
        "licence": known.licence if known else "unknown",
        "layers": backbone.layers,
        "fingerprint": _flat(stamp),
        "seen": [{"task": task, "how": how, "here": task in used} for task, how in sorted(backbone.has_seen().items())],
    }


def _flat(stamp: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The fingerprint as name → short text."""
    found: dict[str, str] = {}
    for name, value in stamp.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name} ")
        elif value is not None and name != "layers":
            found[prefix + name] = value[:SHORT] if isinstance(value, str) and len(value) >= 40 else str(value)
    return found


def _datasets(study: Study, store: Store, made: Plan) -> list[dict[str, Any]]:
    """One entry for each task, with the content fingerprint and the size of every split and language."""
    found: dict[str, dict[str, Any]] = {}
    for node in made.nodes.values():
        step = node.step
        if not isinstance(step, EncodeStep) or step.translation is not None:
            continue  # what is translated is listed as it was before
        splits = found.setdefault(step.task.id, _dataset(step.task))["splits"]
        entry = splits.setdefault(
            step.split,
            {"roles": _roles(study, step), "sample": False, "languages": {}},
        )
        entry["sample"] |= step.sample
        if step.language in entry["languages"]:
            continue  # the same data under other labels or another length
        stats = store.manifest(node.id).get("stats", {}) if store.has(node.id) else {}
        entry["languages"][step.language] = {
            "name": language_name(step.language),
            "content": step.content[:SHORT],
            "examples": stats.get("examples"),
            "words": stats.get("words"),
        }
    return list(found.values())


def _dataset(task: Task) -> dict[str, Any]:
    return {
        "task": task.id,
        "title": task.title,
        "format": task.format,
        "domain": task.domain,
        "licence": task.licence,
        "citation": task.citation,
        "url": task.url,
        "revision": task.revision,
        "verified": task.verified,
        "independent": task.cluster is None,
        "notes": task.notes,
        "splits": {},
    }


def _roles(study: Study, step: EncodeStep) -> list[str]:
    """What a task's split does in this study."""
    if step.split == "test":
        return ["target"]
    roles = ["intermediate"] if any(step.task.id in use.tasks() for _, use in study.uses()) else []
    if any(use.trained_on == step.task.id for use in study.target):
        roles.append("target")
    return roles


def _uses(study: Study) -> list[Use]:
    return [*(use for _, use in study.uses()), *study.target]


def _recipes(study: Study) -> dict[str, Any]:
    """Both phases side by side, and what single uses change."""
    return {
        "intermediate": study.recipe.intermediate.model_dump(mode="json"),
        "target": study.recipe.target.model_dump(mode="json"),
        "changed": {use.label: dict(use.recipe) for use in _uses(study) if use.recipe},
    }


def _versions() -> dict[str, str]:
    """What scored and wrote the page; what trained stands in the numerics classes."""
    found = {"waystation": __version__}
    for name in ("numpy", "pyarrow", "pydantic", "jinja2"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commands(study: Study) -> list[str]:
    path = Path(study.path) if study.path else Path(f"{study.study}.yaml")
    name = shlex.quote(str(path.name if path.is_absolute() else path))
    return [f"waystation {verb} {name}" for verb in ("run", "gains", "report")]
