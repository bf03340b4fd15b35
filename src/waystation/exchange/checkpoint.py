"""A chain's model as a whole plain transformers checkpoint, or its adapters for peft: both load without Waystation."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from waystation import backbones, formats
from waystation.errors import InputError
from waystation.exchange.opened import Opened, opened
from waystation.models import peft_folder, plain
from waystation.plan import Plan
from waystation.steps import models
from waystation.steps.models import Trained
from waystation.steps.records import AdoptStep, EncodeStep
from waystation.store import write_json
from waystation.study import Study

FACTS = "waystation.json"
"""File of an exported checkpoint that says how it was made."""


def export(
    study: Study,
    chain: str,
    folder: str | Path,
    store: str | Path | None = None,
    data: str | Path | None = None,
    *,
    made: Plan | None = None,
    adapters: bool = False,
) -> dict[str, Any]:
    """Write config, tokenizer and weights of a chain's model into ``folder``, which must be new or empty.

    ``adapters``: config, adapters and head alone, which the library peft loads on the backbone. Returns what
    ``waystation.json`` there says: which class of transformers loads it, labels, how it was trained. Raises InputError
    where the model is not in the store, transformers has no equal head, or adapters are not all that was trained.
    """
    given = opened(study, chain, store, data, made)
    if given.step.fusion is not None:
        raise InputError(
            f"chain '{chain}': its model reads a text beside another (fusion), which no class of transformers does; "
            "`waystation predict` applies it"
        )
    target = Path(folder).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{folder} is not empty: name a new folder")
    above = target.parent
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"{above}: no folder that one may write to; make it first")
    trained = models.read(given.context, given.key)
    if adapters:
        _nothing_else(chain, trained)
    form, backbone = given.step.format, given.context.backbone
    outputs = formats.get(form).outputs(given.step.labels, given.step.scheme)
    # beside the target, then renamed: nobody ever sees half a checkpoint
    building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=above))
    try:
        checkpoint, layers, head = given.context.checkpoint, backbone.layers, trained.head
        base: dict[str, Any] = {}
        if adapters:
            base = _base(given)
            loaded = peft_folder.write(building, checkpoint, base, layers, trained.adapters, head, form, outputs)
        else:
            loaded = plain.write(building, checkpoint, layers, trained.encoder, trained.embedding, head, form, outputs)
        facts = {"class": loaded, "auto_class": plain.AUTO[form], **base, **_facts(given, outputs)}
        write_json(building / FACTS, facts)
        building.chmod(0o755)  # temporary folders are for their owner alone, and so are files of safetensors
        for path in building.glob("*.safetensors"):
            path.chmod((building / FACTS).stat().st_mode)
        if target.exists():
            target.rmdir()
        os.rename(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return facts


def _nothing_else(chain: str, trained: Trained) -> None:
    """Refuse where the adapters do not make the model out of the backbone."""
    if not trained.adapters:
        raise InputError(
            f"chain '{chain}': its model has no adapters; train it with lora and `after: keep` or `stack`, or export "
            "the whole checkpoint"
        )
    if trained.apart or len(trained.embedding.rows) or trained.embedding.factor != 1.0:
        raise InputError(
            f"chain '{chain}': a phase before the adapters changed the encoder itself, so they do not fit the "
            "backbone; export the whole checkpoint"
        )


def _base(given: Opened) -> dict[str, Any]:
    """The backbone as peft names it: a hub id and its commit, or the folder of this machine that holds it."""
    if given.context.backbone.kind == "hub":
        commit = backbones.fingerprint(given.context.backbone)["revision"]
        return {"base_model_name_or_path": given.context.backbone.id, "revision": commit}
    return {"base_model_name_or_path": str(given.context.folder.resolve())}


def _facts(given: Opened, outputs: list[str]) -> dict[str, Any]:
    """How the model was made and what its inputs must look like."""
    made, manifest = given.made, given.context.store.manifest(given.key)
    study, trainings = made.study, made.trainings(given.chain)
    record = backbones.known().get(study.backbone.id)
    trained_on: list[dict[str, Any]] = []
    before = trainings[0][1].parent
    if before is not None and isinstance(adopted := made.nodes[before].step, AdoptStep):
        trained_on.append({"task": adopted.task, "checkpoint": adopted.source})
    for _, step in trainings:
        source = made.nodes[step.encoding].step
        assert isinstance(source, EncodeStep)
        task, code = source.task, source.language
        trained_on.append({"task": task.id, "language": code, "licence": task.licence, "url": task.url})
    return {
        "study": study.study,
        "chain": given.chain.name,
        "artifact": given.key,
        "backbone": study.backbone.id,
        "backbone_licence": "unknown" if record is None else record.licence,
        "layers": study.backbone.layers,
        "format": given.step.format,
        "outputs": outputs,
        "max_length": given.encoding.max_length,
        "stride": given.encoding.stride,
        "seed": given.chain.seed,
        **{name: manifest[name] for name in ("selected_on", "cutoff", "cutoff_on", "numerics")},
        "trained_on": trained_on,
    }
