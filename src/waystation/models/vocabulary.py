"""Active vocabulary: only embedding rows that a step's data can touch are held, trained and kept in optimizer state.

A row that no example of the step contains has zero gradient, hence zero Adam moments, and stays what it was (or, where
the recipe decays embeddings, shrinks by the known factor ∏(1 − lr·λ)). So training the rows in use alone is the same
computation as training the whole table. A trained model stores the rows that changed, as a delta on the backbone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

Rows = npt.NDArray[np.int64]


def active_rows(tokens: npt.NDArray[np.int32], vocabulary: int) -> Rows:
    """Sorted vocabulary rows that occur in ``tokens``.

    Raises ValueError where a token id is outside the vocabulary.
    """
    if tokens.size and (int(tokens.min()) < 0 or int(tokens.max()) >= vocabulary):
        raise ValueError(
            f"token id {int(tokens.max())} is outside the vocabulary of {vocabulary} rows: "
            "tokenizer and weights do not match"
        )
    used = np.zeros(vocabulary, dtype=bool)
    used[tokens] = True
    return np.flatnonzero(used).astype(np.int64)


def lookup(rows: Rows, vocabulary: int) -> npt.NDArray[np.int32]:
    """Vocabulary id → place among ``rows`` (-1 for rows that are not active), int32 [vocabulary]."""
    table = np.full(vocabulary, -1, dtype=np.int32)
    table[rows] = np.arange(len(rows), dtype=np.int32)
    return table


@dataclass(frozen=True)
class EmbeddingDelta:
    """The embedding of a trained model relative to its backbone.

    ``rows`` int64 [R] sorted, ``values`` float32 [R, H]; every other row is the backbone's times ``factor``.
    """

    rows: Rows
    values: torch.Tensor
    factor: float = 1.0

    def updated(self, rows: Rows, values: torch.Tensor, factor: float) -> EmbeddingDelta:
        """The delta after a further training step that trained ``rows`` to ``values``, shrinking all others."""
        kept = ~np.isin(self.rows, rows)
        merged = np.concatenate([self.rows[kept], rows])
        stacked = torch.cat([self.values[torch.from_numpy(kept)] * factor, values])
        order = np.argsort(merged, kind="stable")
        return EmbeddingDelta(merged[order], stacked[torch.from_numpy(order)].contiguous(), self.factor * factor)

    def apply(self, rows: Rows, own: torch.Tensor) -> torch.Tensor:
        """Turn the backbone's ``own`` rows (float32 [R, H]) into those of the trained model, in place."""
        if self.factor != 1.0:
            own *= self.factor
        _, here, there = np.intersect1d(rows, self.rows, assume_unique=True, return_indices=True)
        if len(here):
            own[torch.from_numpy(here)] = self.values[torch.from_numpy(there)]
        return own

    @staticmethod
    def none(hidden: int) -> EmbeddingDelta:
        """The delta of the backbone itself."""
        return EmbeddingDelta(np.empty(0, dtype=np.int64), torch.empty(0, hidden))
