"""What is trained and predicted on: real text where the data folder has it, else random tokens of like lengths."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from waystation import formats
from waystation.errors import InputError
from waystation.formats.encoding import IGNORED, Encoded
from waystation.models.backbone import load_tokenizer
from waystation.models.bundled import ensure
from waystation.places import cache_folder
from waystation.tasks import known, sources

PAD = 1
"""The padding id of the bundled backbone and of XLM-R."""

Lengths = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Workload:
    """Windows of one format, each an example of its own, and the model folder that both sides start from.

    ``outputs``: classes of the head; ``pad_to``: the length that transformers' example scripts pad to, None: the
    longest of the batch; ``source``: what the windows are, for people.
    """

    format: str
    encoded: Encoded
    outputs: int
    batch: int
    pad_to: int | None
    folder: Path
    source: str

    @property
    def lengths(self) -> Lengths:
        """Tokens of each window, int64 [W]."""
        return np.diff(self.encoded.offsets)

    @property
    def note(self) -> str:
        """In one line: how much of what."""
        lengths = self.lengths
        rows = len(np.unique(self.encoded.tokens))
        return (
            f"{self.source}: batches of {self.batch} out of {len(lengths)} windows, "
            f"mean {lengths.mean():.1f} tokens, {rows} rows of the vocabulary"
        )


@cache
def pairs(batch: int = 32) -> Workload:
    """Sentence pairs, as run_xnli ships: padded to 128."""
    return _workload("classification", ("xnli", ("validation", "test")), (128, 0), (44.6, 0.4), 3, batch, 128)


@cache
def tagging(batch: int) -> Workload:
    """Sentences with entities, as run_ner ships: padded to the longest of the batch."""
    return _workload("tagging", ("gum", ("train",)), (128, 32), (27.9, 0.6), 23, batch, None)


@cache
def questions(batch: int = 16) -> Workload:
    """Questions on passages, as run_qa ships: windows of 384 with stride 128, all padded to 384."""
    return _workload("span", ("squad_subset", ("train",)), (384, 128), (178.0, 0.35), 2, batch, 384)


@cache
def xlmr_base() -> Workload:
    """8 x 64 random tokens for an encoder of XLM-R base's shape with random weights."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    folder = Path(tempfile.mkdtemp(prefix="xlmr-base-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    config = XLMRobertaConfig(
        vocab_size=250002, max_position_embeddings=514, type_vocab_size=1, bos_token_id=0, eos_token_id=2
    )
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    windows = random_windows("tagging", np.full(2000, 64), 10_000, 23)
    return Workload("tagging", windows, 23, 8, None, folder, "XLM-R base's shape, random weights and tokens")


@cache
def panx(sentences: int, languages: int = 12) -> tuple[str, dict[str, Encoded]]:
    """What it is, and the first ``sentences`` of some languages' test parts as the engine encodes them, by language."""
    chosen = known.find("panx").languages("test")[:: 47 // languages][:languages]
    try:
        whole, source = {code: read("panx", "test", code, 128, 32) for code in chosen}, "PAN-X"
    except InputError:
        whole = {code: random_windows("tagging", _lengths(300, 20.0, 0.6, 128), 10_000, 7) for code in chosen}
        source = "random tokens"
    return source, {code: _first(encoded, sentences) for code, encoded in whole.items()}


@cache
def bundled() -> Path:
    """The embedded backbone, all 12 layers."""
    return ensure(cache_folder())


@cache
def tokenizer() -> Any:
    """The bundled backbone's."""
    return load_tokenizer(bundled())


def read(task_id: str, split: str, language: str, length: int, stride: int) -> Encoded:
    """A part of a catalog task in $WAYSTATION_DATA, as the engine encodes it. InputError where it is not there."""
    task = known.find(task_id)
    assert task.reader is not None
    form = formats.get(task.format)
    examples = sources.read(task, split, language, None)  # type: ignore[arg-type]
    return form.encode(examples, tokenizer(), form.outputs(task.labels, task.reader.scheme), length, stride)


def _workload(
    format: str,
    parts: tuple[str, tuple[str, ...]],
    window: tuple[int, int],
    like: tuple[float, float],
    outputs: int,
    batch: int,
    pad_to: int | None,
) -> Workload:
    """``parts``: task and splits; ``window``: length and stride; ``like``: mean and spread of random lengths."""
    task, splits = parts
    try:
        encoded, source = join([read(task, split, "en", *window) for split in splits]), f"{task} en"
    except InputError:
        encoded = random_windows(format, _lengths(2000, *like, window[0]), 10_000, outputs)
        source = "random tokens"
    return Workload(format, encoded, outputs, batch, pad_to, bundled(), source)


def join(parts: Sequence[Encoded]) -> Encoded:
    """Several encodings as one in which every window is an example: the unit is the same on all sides."""
    offsets = [np.zeros(1, np.int64)]
    for part in parts:
        offsets.append(part.offsets[1:] + offsets[-1][-1])
    windows = sum(len(part.offsets) - 1 for part in parts)
    words = [part.word for part in parts if part.word is not None]
    return replace(
        parts[0],
        tokens=np.concatenate([part.tokens for part in parts]),
        offsets=np.concatenate(offsets),
        targets=np.concatenate([part.targets for part in parts]),
        word=np.concatenate(words) if words else None,
        **_bare(windows),
    )


def _bare(windows: int) -> dict[str, Any]:
    """What an encoding says of examples that are one window each, of which nothing else is known."""
    return {
        "example": np.arange(windows, dtype=np.int32),
        "words": np.ones(windows, np.int32),
        "ids": [str(at) for at in range(windows)],
        "clusters": [None] * windows,
        "gold": [""] * windows,
        **dict.fromkeys(("types", "chars", "text", "texts")),
    }


def random_windows(format: str, lengths: Lengths, vocabulary: int, outputs: int) -> Encoded:
    """Windows of random tokens below ``vocabulary``; targets are random too, each token but first and last a word."""
    draw = np.random.default_rng(0)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    total, windows = int(offsets[-1]), len(lengths)
    bare, word = _bare(windows), None
    if format == "tagging":
        inside = np.ones(total, bool)
        inside[offsets[:-1]] = inside[offsets[1:] - 1] = False
        word = np.where(inside, np.arange(total) - np.repeat(offsets[:-1], lengths) - 1, -1).astype(np.int32)
        bare["words"] = (lengths - 2).astype(np.int32)
        targets = np.where(inside, draw.integers(0, outputs, total), IGNORED)
    elif format == "classification":
        targets = draw.integers(0, outputs, windows)
    else:
        targets = np.sort(draw.integers(1, lengths[:, None], (windows, 2)), axis=1)
    tokens = draw.integers(10, vocabulary, total).astype(np.int32)
    return Encoded(tokens=tokens, offsets=offsets, targets=targets.astype(np.int32), word=word, stats={}, **bare)


def _lengths(number: int, mean: float, spread: float, limit: int) -> Lengths:
    """Log-normal lengths."""
    drawn = np.random.default_rng(0).lognormal(np.log(mean) - spread**2 / 2, spread, number)
    return np.clip(drawn.round(), 4, limit).astype(np.int64)


def _first(encoded: Encoded, examples: int) -> Encoded:
    """The first examples of a tagging encoding."""
    windows = int(np.searchsorted(encoded.example, examples))
    end = int(encoded.offsets[windows])
    assert encoded.word is not None
    return replace(
        encoded,
        tokens=encoded.tokens[:end],
        offsets=encoded.offsets[: windows + 1],
        example=encoded.example[:windows],
        targets=encoded.targets[:end],
        word=encoded.word[:end],
        types=None,
        words=encoded.words[:examples],
        ids=encoded.ids[:examples],
        clusters=encoded.clusters[:examples],
        gold=encoded.gold[:examples],
    )


def features(format: str, encoded: Encoded, pad_to: int | None) -> list[dict[str, Any]]:
    """The windows as transformers' example scripts make them."""
    made = []
    bounds = encoded.offsets.tolist()
    for window, (begin, end) in enumerate(pairwise(bounds)):
        room = 0 if pad_to is None else pad_to - (end - begin)
        found: dict[str, Any] = {
            "input_ids": encoded.tokens[begin:end].tolist() + [PAD] * room,
            "attention_mask": [1] * (end - begin) + [0] * room,
        }
        if format == "tagging":
            assert encoded.word is not None
            found["labels"] = np.where(encoded.word[begin:end] >= 0, encoded.targets[begin:end], IGNORED).tolist()
        elif format == "classification":
            found["label"] = int(encoded.targets[window])
        else:
            found["start_positions"], found["end_positions"] = encoded.targets[window].tolist()
        made.append(found)
    return made
