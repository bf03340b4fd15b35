"""What every format shares: ragged encodings on disk, and the protocol that a format file fulfils.

An encoding holds no padding: one flat array of tokens with offsets, opened memory-mapped. The unit of training is the
example; an example longer than the window is several windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from waystation.tasks.task import Example

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""Target of a position that is not scored."""

Gold = str | list[str]
"""A reference or a prediction as stored: a label, or one tag per word."""


@dataclass(frozen=True)
class Encoded:
    """Examples of one task, split and language as flat arrays (T tokens, W windows, E examples).

    ``tokens`` int32 [T]; ``offsets`` int64 [W+1]; ``example`` int32 [W] (non-decreasing); ``targets`` int32, [T] for a
    format scored per token, [W] else, ``IGNORED`` where not scored; ``words`` int32 [E]; ``types`` uint8 [T] or None;
    ``ids``, ``clusters`` and ``gold`` have one entry per example; ``stats`` are counts for people (unknown, truncated);
    ``word`` int32 [T], only for a format scored per token: which word of its example is scored here, -1 where none is.
    """

    tokens: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    example: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    words: npt.NDArray[np.int32]
    types: npt.NDArray[np.uint8] | None
    ids: list[str]
    clusters: list[str | None]
    gold: list[Gold]
    stats: dict[str, int]
    word: npt.NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.ids)


class Format(Protocol):
    """One format: a module of this package with these functions."""

    per_token: bool

    def outputs(self, labels: Sequence[str], scheme: str) -> list[str]:
        """The head's classes, in order, for a task's labels (tagging: O, B-X, I-X; plain scheme: the labels)."""

    def encode(
        self, examples: Iterable[Example], tokenizer: Any, outputs: Sequence[str], max_length: int, stride: int
    ) -> Encoded:
        """Encode examples with a fast transformers tokenizer into windows of at most ``max_length`` tokens."""

    def head(self, hidden: int, outputs: int, dropout: float) -> torch.nn.Module:
        """A new head: hidden states [B, L, H] → logits ([B, L, C] per token, [B, C] else)."""

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(summed loss, number of scored units); the loop divides by the units of the whole effective batch."""

    def decode(
        self, encoded: Encoded, logits: Iterable[tuple[int, npt.NDArray[np.float32]]], outputs: Sequence[str]
    ) -> list[Gold]:
        """One prediction per example from (window number, logits [L, C] or [C]) in any order; padding may follow."""

    def counts(self, gold: Gold, pred: Gold) -> list[int]:
        """Sufficient counts of one example, as stored beside each prediction."""


def save(encoded: Encoded, folder: Path) -> None:
    """Write ``encoded.safetensors`` and ``examples.parquet`` into a folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    arrays = {name: getattr(encoded, name) for name in ("tokens", "offsets", "example", "targets", "words")}
    arrays |= {name: array for name in ("types", "word") if (array := getattr(encoded, name)) is not None}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "encoded.safetensors")
    tagged = any(isinstance(gold, list) for gold in encoded.gold)
    columns = {"id": pa.string(), "cluster": pa.string(), "gold": pa.list_(pa.string()) if tagged else pa.string()}
    rows = (encoded.ids, encoded.clusters, encoded.gold)
    table = pa.table({name: pa.array(row, kind) for (name, kind), row in zip(columns.items(), rows, strict=True)})
    pq.write_table(table, folder / "examples.parquet", compression="zstd")


def load(folder: Path, stats: dict[str, int]) -> Encoded:
    """Open an encoding; the arrays stay memory-mapped."""
    import pyarrow.parquet as pq
    from safetensors import safe_open

    with safe_open(folder / "encoded.safetensors", framework="pt") as file:
        arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
    table = pq.read_table(folder / "examples.parquet")
    return Encoded(
        **{name: arrays[name] for name in ("tokens", "offsets", "example", "targets", "words")},
        types=arrays.get("types"),
        word=arrays.get("word"),
        ids=table["id"].to_pylist(),
        clusters=table["cluster"].to_pylist(),
        gold=table["gold"].to_pylist(),
        stats=stats,
    )
