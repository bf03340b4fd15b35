"""Masked language modelling as a stream of batches: alone, or beside the tasks of a phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from waystation.formats.encoding import IGNORED, Encoded, offsets_of
from waystation.formats.mlm import OUTSIDE
from waystation.models.encoder import TaskModel
from waystation.models.mlm import MlmHead
from waystation.models.vocabulary import Rows
from waystation.records import derive
from waystation.steps.recipes import Mlm
from waystation.training.batches import Indices, collate, micro_batches
from waystation.training.masking import Masking

BLOCK = 4096  # languages drawn at once


def rows_in_use(touched: Rows, mlm: Mlm, mask: int, vocabulary: int, seed: int) -> Rows:
    """Sorted vocabulary rows of an MLM phase, over which its softmax is: all, or those ``touched`` by its texts, the
    mask token's, and ``mlm.sampled`` others drawn with the seed.
    """
    if mlm.softmax == "full":
        return np.arange(vocabulary, dtype=np.int64)
    own = np.union1d(touched, [mask])
    rest = np.setdiff1d(np.arange(vocabulary), own, assume_unique=True)
    generator = np.random.default_rng(derive(seed, "sampled softmax"))
    return np.union1d(own, generator.choice(rest, min(mlm.sampled, len(rest)), replace=False)).astype(np.int64)


class Languages:
    """Which window of which language comes n-th: a pure function of (seed, n).

    A language is drawn with a chance proportional to its number of windows to the power ``smooth`` (Lample and Conneau
    2019, section 3.1); within a language every window comes once before any comes again, each time in a new order.
    """

    def __init__(self, sizes: Sequence[int], smooth: float, seed: int) -> None:
        self.sizes, self.seed = sizes, seed
        weights = np.array(sizes, np.float64) ** smooth
        self.chances = weights / weights.sum()
        self._before = [np.zeros(len(sizes), np.int64)]  # of each language, before each block
        self._drawn = lru_cache(4)(self._draw)
        self._order = lru_cache(2 * len(sizes))(self._shuffled)

    def __call__(self, first: int, number: int) -> list[tuple[int, int]]:
        """(language, window of it) for ``number`` places from ``first`` on."""
        found = []
        for n in range(first, first + number):
            block, place = divmod(n, BLOCK)
            while len(self._before) <= block:
                drawn = self._drawn(len(self._before) - 1)
                self._before.append(self._before[-1] + np.bincount(drawn, minlength=len(self.sizes)))
            drawn = self._drawn(block)
            language = int(drawn[place])
            turn = int(self._before[block][language] + (drawn[:place] == language).sum())
            epoch, at = divmod(turn, self.sizes[language])
            found.append((language, int(self._order(language, epoch)[at])))
        return found

    def _draw(self, block: int) -> npt.NDArray[np.int64]:
        generator = np.random.default_rng(derive(self.seed, "languages", block))
        return generator.choice(len(self.sizes), BLOCK, p=self.chances)

    def _shuffled(self, language: int, epoch: int) -> npt.NDArray[np.int64]:
        generator = np.random.default_rng(derive(self.seed, "windows", language, epoch))
        return generator.permutation(self.sizes[language])


class MlmStream:
    """Windows of text in several languages, some of whose tokens are predicted; a ``training.streams.Stream``.

    ``texts``: encodings (``formats.mlm``) by language; ``places`` maps vocabulary ids to rows of the model's embedding;
    ``batch``: windows in one. The model's head of the name ``name`` is an ``MlmHead``. Cuts are places in the batch.
    """

    def __init__(
        self,
        texts: Mapping[str, Sequence[Encoded]],
        places: npt.NDArray[np.int32],
        masking: Masking,
        batch: int,
        smooth: float,
        seed: int,
        name: str = "mlm",
    ) -> None:
        self.name, self.places, self.masking, self.batch, self.seed = name, places, masking, batch, seed
        self.parts = [part for parts in texts.values() for part in parts]
        held = [[len(part.example) for part in parts] for parts in texts.values()]
        self.starts = offsets_of(np.array([number for numbers in held for number in numbers]))
        sizes = [sum(numbers) for numbers in held]
        self.firsts = offsets_of(np.array(sizes))  # of each language
        self.languages = Languages(sizes, smooth, seed)
        self._masked = lru_cache(1)(self._mask)

    @property
    def size(self) -> int:
        """Windows."""
        return int(self.starts[-1])

    def draw(self, turn: int) -> Indices:
        """The windows of a turn's batch, numbered through all encodings; one may come twice where a text is short."""
        drawn = self.languages(turn * self.batch, self.batch)
        return np.array([self.firsts[language] + window for language, window in drawn], np.int64)

    def cuts(self, drawn: Indices, budget: int, padded: bool) -> list[Indices]:
        """Places in the batch as micro-batches of at most ``budget`` tokens."""
        return micro_batches(self._gathered(drawn), np.arange(len(drawn)), budget, padded)

    def tokens(self, drawn: Indices) -> int:
        """Real tokens of a batch."""
        return len(self._gathered(drawn).tokens)

    def units(self, drawn: Indices, turn: int) -> int:
        """Tokens that are predicted."""
        return max(1, int((self._masked(turn).targets != IGNORED).sum()))

    def loss(self, model: TaskModel, cut: Indices, turn: int, device: torch.device) -> torch.Tensor:
        """Cross-entropy over the rows in use, summed over the tokens that are predicted."""
        batch = collate(self._masked(turn), cut, self.places, "scored")
        types, rows = (None if part is None else part.to(device) for part in (batch.types, batch.rows))
        states = model.encoder(batch.tokens.to(device), batch.lengths, types, rows)
        head = model.heads[self.name]
        assert isinstance(head, MlmHead)
        return head.loss(states, model.encoder.embedding, batch.targets.to(device))

    def _gathered(self, drawn: Indices) -> Encoded:
        """The windows of a batch as an encoding of their own."""
        which = np.searchsorted(self.starts, drawn, side="right") - 1
        spans = []
        for part, window in zip(which.tolist(), (drawn - self.starts[which]).tolist(), strict=True):
            spans.append((self.parts[part], slice(*self.parts[part].offsets[window : window + 2])))
        types = [part.types[span] for part, span in spans if part.types is not None]
        return Encoded(
            tokens=np.concatenate([part.tokens[span] for part, span in spans]),
            offsets=offsets_of(np.array([span.stop - span.start for _, span in spans])),
            example=np.arange(len(spans), dtype=np.int32),
            targets=np.full(len(spans), IGNORED, np.int32),
            words=np.zeros(len(spans), np.int32),
            types=np.concatenate(types) if types else None,
            ids=[],
            clusters=[],
            gold=[],
            stats={},
            word=np.concatenate([part.word[span] for part, span in spans if part.word is not None]),
        )

    def _mask(self, turn: int) -> Encoded:
        """A turn's batch as the model is shown it: scored are the tokens to be predicted, targets are places."""
        whole = self._gathered(self.draw(turn))
        assert whole.word is not None
        generator = np.random.default_rng(derive(self.seed, "masks", turn))
        shown, predicted = self.masking(whole.tokens, whole.word, generator)
        return replace(
            whole,
            tokens=shown,
            targets=np.where(predicted, self.places[whole.tokens], IGNORED).astype(np.int32),
            word=np.where(predicted, whole.word, OUTSIDE).astype(np.int32),
        )
