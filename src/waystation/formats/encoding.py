"""What every format shares: ragged encodings on disk, and the protocol that a format file fulfils.

An encoding holds no padding: one flat array of tokens with offsets, opened memory-mapped. The unit of training is the
example; an example longer than the window is several windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from waystation.tasks.examples import Example

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""Target of a position that is not scored."""

Reads = Literal["scored", "first", "all"]
"""Which hidden states a head reads: of the words' scored tokens, of each window's first token, or of every token."""

Unit = Literal["token", "window", "example"]
"""What the loss is a mean over. Only where it is the example, the windows of one stay in one micro-batch."""

Gold = str | list[str]
"""A reference or a prediction as stored: a label, the number of an option, one tag per word, the labels of a text (as
``scoring.labels.Ranked`` where predicted), the answers to a question (predicted: one)."""

Logits = Iterable[tuple[int, npt.NDArray[np.float32]]]
"""(window number, logits [S, C] of what the head read of it), in any order."""


@dataclass(frozen=True)
class Encoded:
    """Examples of one task, split and language as flat arrays (T tokens, W windows, E examples).

    ``tokens`` int32 [T]; ``offsets`` int64 [W+1]; ``example`` int32 [W] (non-decreasing); ``targets`` int32, [T] for a
    format scored per token, [W, 2] for spans, [W] else, ``IGNORED`` where not scored; for multilabel uint8 [W, ⌈C/8⌉],
    a bit for each label as numpy packs them; ``words`` int32 [E]; ``types`` uint8 [T] or None; ``ids``, ``clusters``
    and ``gold`` have one entry per example; ``stats`` are counts for people (unknown, truncated); ``word`` int32 [T],
    only for a format scored per token: which word of its example is scored here, -1 where none is (mlm: which word a
    token is part of). Only for spans: ``texts`` that answers are cut from, ``text`` int32 [W] which of them a window
    shows, ``chars`` int32 [T, 2] first character of a token in it and the one after its last, -1 where none is.
    """

    tokens: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    example: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32] | npt.NDArray[np.uint8]
    words: npt.NDArray[np.int32]
    types: npt.NDArray[np.uint8] | None
    ids: list[str]
    clusters: list[str | None]
    gold: list[Gold]
    stats: dict[str, int]
    word: npt.NDArray[np.int32] | None = None
    chars: npt.NDArray[np.int32] | None = None
    text: npt.NDArray[np.int32] | None = None
    texts: list[str] | None = None

    def __len__(self) -> int:
        return len(self.ids)


class Format(Protocol):
    """One format: a module of this package with these functions. S: the rows that its head reads (``reads``)."""

    reads: Reads
    unit: Unit

    def outputs(self, labels: Sequence[str], scheme: str) -> list[str]:
        """The head's classes, in order, for a task's labels (tagging: O, B-X, I-X; plain scheme: the labels)."""

    def encode(
        self, examples: Iterable[Example], tokenizer: Any, outputs: Sequence[str], max_length: int, stride: int
    ) -> Encoded:
        """Encode examples with a fast transformers tokenizer into windows of at most ``max_length`` tokens."""

    def head(self, hidden: int, outputs: int, dropout: float) -> torch.nn.Module:
        """A new head: hidden states [S, H] → logits [S, C]."""

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        """The summed loss of a micro-batch of windows of these ``lengths``; logits [S, C], targets as encoded.

        The loop divides by the units of the whole effective batch.
        """

    def decode(self, encoded: Encoded, logits: Logits, outputs: Sequence[str]) -> list[Gold]:
        """One prediction per example."""

    def counts(self, gold: Gold, pred: Gold) -> list[int]:
        """Sufficient counts of one example, as stored beside each prediction."""


class Softened(Format, Protocol):
    """A format whose loss can be smoothed, and weighted by class where it has classes."""

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        lengths: list[int],
        smoothing: float = 0.0,
        weights: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """As ``Format.loss``; ``weights`` float32 [C]. They do not change what the loop divides by."""


@runtime_checkable
class WithCutoff(Format, Protocol):
    """A format whose predictions depend on a cutoff, which may be tuned on examples held out of the training data."""

    CUTOFF: float

    def decode(self, encoded: Encoded, logits: Logits, outputs: Sequence[str], cutoff: float = ...) -> list[Gold]:
        """One prediction per example, by default at ``CUTOFF``."""

    def tune(self, encoded: Encoded, logits: Logits, outputs: Sequence[str]) -> float | None:
        """The cutoff at which the main metric is best for these examples, of several the nearest to ``CUTOFF``.

        None where it makes no difference to examples of this kind.
        """


def offsets_of(lengths: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """[n] lengths → [n+1] offsets."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def ranges(starts: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """start, start + 1, … (as many as its length) for each start, in one flat array."""
    ends = offsets_of(lengths)
    return np.repeat(starts - ends[:-1], lengths) + np.arange(ends[-1])


def joined(parts: Sequence[Encoded]) -> Encoded:
    """Encodings of one task, one after the other: its examples in several languages, or with translations."""
    if len(parts) == 1:
        return parts[0]

    def after(name: str, sizes: Sequence[int]) -> npt.NDArray[Any] | None:
        """A column of numbers that count from the beginning of their part."""
        arrays = [getattr(part, name) for part in parts]
        if any(array is None for array in arrays):
            return None
        before = offsets_of(np.array(sizes))
        return np.concatenate([array + int(start) for array, start in zip(arrays, before[:-1], strict=True)])

    def one(name: str) -> npt.NDArray[Any] | None:
        arrays = [getattr(part, name) for part in parts]
        return None if any(array is None for array in arrays) else np.concatenate(arrays)

    tokens = [len(part.tokens) for part in parts]
    starts = offsets_of(np.array(tokens))[:-1]
    offsets = [part.offsets[1:] + start for part, start in zip(parts, starts, strict=True)]
    texts = [part.texts for part in parts]
    return replace(
        parts[0],
        offsets=np.concatenate([np.zeros(1, np.int64), *offsets]),
        example=after("example", [len(part) for part in parts]).astype(np.int32),  # type: ignore[union-attr]
        text=after("text", [len(part or []) for part in texts]),
        texts=None if texts[0] is None else [text for part in texts for text in part or []],
        **{name: one(name) for name in ("tokens", "targets", "words", "types", "word", "chars")},  # type: ignore[arg-type]
        **{name: [item for part in parts for item in getattr(part, name)] for name in ("ids", "clusters", "gold")},  # type: ignore[arg-type]
        stats={name: sum(part.stats.get(name, 0) for part in parts) for name in parts[0].stats},
    )


def save(encoded: Encoded, folder: Path) -> None:
    """Write ``encoded.safetensors``, ``examples.parquet`` and, for spans, ``texts.parquet`` into a folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    arrays = {name: getattr(encoded, name) for name in ("tokens", "offsets", "example", "targets", "words")}
    optional = {name: getattr(encoded, name) for name in ("types", "word", "chars", "text")}
    arrays |= {name: array for name, array in optional.items() if array is not None}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "encoded.safetensors")
    tagged = any(isinstance(gold, list) for gold in encoded.gold)
    columns = {"id": pa.string(), "cluster": pa.string(), "gold": pa.list_(pa.string()) if tagged else pa.string()}
    rows = (encoded.ids, encoded.clusters, encoded.gold)
    table = pa.table({name: pa.array(row, kind) for (name, kind), row in zip(columns.items(), rows, strict=True)})
    pq.write_table(table, folder / "examples.parquet", compression="zstd")
    if encoded.texts is not None:
        texts = pa.table({"text": pa.array(encoded.texts, pa.string())})
        pq.write_table(texts, folder / "texts.parquet", compression="zstd")


def load(folder: Path, stats: dict[str, int]) -> Encoded:
    """Open an encoding; the arrays stay memory-mapped."""
    import pyarrow.parquet as pq
    from safetensors import safe_open

    with safe_open(folder / "encoded.safetensors", framework="pt") as file:
        arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
    table = pq.read_table(folder / "examples.parquet")
    texts = folder / "texts.parquet"
    return Encoded(
        **{name: arrays[name] for name in ("tokens", "offsets", "example", "targets", "words")},
        types=arrays.get("types"),
        word=arrays.get("word"),
        chars=arrays.get("chars"),
        text=arrays.get("text"),
        texts=pq.read_table(texts)["text"].to_pylist() if texts.exists() else None,
        ids=table["id"].to_pylist(),
        clusters=table["cluster"].to_pylist(),
        gold=table["gold"].to_pylist(),
        stats=stats,
    )
