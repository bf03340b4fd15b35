"""FILTER's training (Fang et al. 2020) as a stream of batches: texts beside their originals, losses on both sides.

| format | translation | original |
|---|---|---|
| classification, multilabel, choice, span | (1 − α) · labels + α · teacher | labels |
| tagging | α · teacher | labels |

Each term is the mean over its own examples, windows or words of the whole batch, so that how the batch is cut does not
matter. The labels of a translated text are copies (span: the answer found in it); its words have none, and stand-ins
are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from waystation.formats.encoding import IGNORED, Format, offsets_of, ranges
from waystation.records import derive
from waystation.training.batches import Indices, Sampler, collate, micro_batches, windows_of
from waystation.training.losses import Criterion
from waystation.training.pairing import Pairs

if TYPE_CHECKING:
    from waystation.models.encoder import TaskModel
    from waystation.steps.recipes import Fusion


@dataclass(frozen=True)
class Taught:
    """A teacher's logits of windows that are numbered through several parts.

    ``parts``: logits float32 [R, C], and offsets int64 [W + 1] of the rows of each window.
    """

    parts: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]

    @cached_property
    def _starts(self) -> Indices:
        return offsets_of(np.array([len(offsets) - 1 for _, offsets in self.parts]))

    def __call__(self, windows: Indices) -> npt.NDArray[np.float32]:
        """The logits of these windows, one after the other: [S, C]."""
        found = []
        for part, window in zip(np.searchsorted(self._starts, windows, "right") - 1, windows.tolist(), strict=True):
            logits, offsets = self.parts[part]
            found.append(logits[slice(*offsets[window - self._starts[part] :][:2])])
        return np.concatenate(found)


class FusionStream:
    """Examples beside their originals; a ``training.streams.Stream`` whose cuts are pairs of windows.

    ``fusion`` is settled. ``sampler`` draws examples of ``pairs``, or with ``languages: one`` originals, each of which
    then comes in one language, its own among them. ``places`` maps vocabulary ids to rows of the model's embedding;
    ``criterion``: the loss of the labels, None the format's own; ``teacher``: where α is above 0.
    """

    def __init__(
        self,
        pairs: Pairs,
        places: npt.NDArray[np.int32],
        format: Format,
        sampler: Sampler,
        fusion: Fusion,
        seed: int,
        name: str = "",
        head: str = "",
        criterion: Criterion | None = None,
        teacher: Taught | None = None,
    ) -> None:
        if (fusion.alpha > 0) != (teacher is not None):
            raise ValueError("self-teaching needs a teacher, and a teacher a weight")
        self.pairs, self.places, self.format, self.sampler = pairs, places, format, sampler
        self.fusion, self.seed, self.name, self.head = fusion, seed, name, head
        self.criterion, self.teacher = criterion or format.loss, teacher
        # in tagging without a teacher a translation helps its original, and has no loss of its own
        self._used = pairs.counted[:, 1] if not any(self._weights(0)) else np.ones(len(pairs.windows), np.bool_)
        order = np.argsort(pairs.originals, kind="stable")
        self._examples, self._originals = pairs.examples[order], pairs.originals[order]
        self._of_turn = lru_cache(1)(self._counted)

    @property
    def size(self) -> int:
        """What an epoch goes through."""
        return len(self.sampler.examples)

    def draw(self, turn: int) -> Indices:
        """The examples of a turn's batch; originals that come in their own language are examples too."""
        drawn = self.sampler(turn)
        if self.fusion.languages == "every":
            return drawn
        low, high = (np.searchsorted(self._originals, drawn, side) for side in ("left", "right"))
        chance = np.random.default_rng(derive(self.seed, "languages", turn)).random(len(drawn))
        return self._examples[low + (chance * (high - low)).astype(np.int64)]

    def cuts(self, drawn: Indices, budget: int, padded: bool) -> list[Indices]:
        """Pairs in micro-batches, where both texts count; options of one example stay together."""
        return micro_batches(self.pairs.index, self._of(drawn), budget, padded, self.format.unit == "example")

    def tokens(self, drawn: Indices) -> int:
        """Real tokens of a batch, of both texts."""
        at = self._of(drawn)
        return int((self.pairs.index.offsets[at + 1] - self.pairs.index.offsets[at]).sum())

    def units(self, drawn: Indices, turn: int) -> int:
        """One: each term of the loss is a mean already."""
        return 1

    def loss(self, model: TaskModel, cut: Indices, turn: int, device: torch.device) -> torch.Tensor:
        """Both sides' parts of the loss, each over what the whole batch has of it."""
        windows, counted = self.pairs.windows[cut], self.pairs.counted[cut]
        batch = collate(self.pairs.encoded, windows.ravel(), self.places, self.format.reads)
        logits, sizes = batch.logits(model, device, self.head, self.fusion), batch.sizes
        begins, total = offsets_of(sizes)[:-1], torch.zeros((), device=device)
        for side, units in enumerate(self._of_turn(turn)):
            chosen = 2 * np.flatnonzero(counted[:, side]) + side
            if not len(chosen):
                continue
            rows = ranges(begins[chosen], sizes[chosen])
            part = logits[torch.from_numpy(rows).to(device)]
            targets = batch.targets[rows if self.format.reads == "scored" else chosen].to(device)
            lengths = [batch.lengths[at] for at in chosen.tolist()]
            labels, soft = self._weights(side)
            if labels:
                total = total + labels / units * self.criterion(part, targets, lengths)
            if soft and self.teacher is not None:
                said = torch.from_numpy(self.teacher(windows[counted[:, side], side])).to(device)
                total = total + soft / units * distilled(self.format, part, said, targets, lengths, self.fusion)
        return total

    def _of(self, drawn: Indices) -> Indices:
        """The pairs of these examples that something is learned from."""
        at = windows_of(self.pairs.index, drawn)
        return at[self._used[at]]

    def _weights(self, side: int) -> tuple[float, float]:
        """Of the labels and of the teacher."""
        if side:
            return 1.0, 0.0
        return 0.0 if self.format.reads == "scored" else 1.0 - self.fusion.alpha, self.fusion.alpha

    def _counted(self, turn: int) -> tuple[int, int]:
        """What the loss of each side is a mean over: examples, windows or scored words of a turn's batch."""
        drawn, encoded = self.draw(turn), self.pairs.encoded
        if self.format.unit == "example":
            return len(drawn), len(drawn)
        at, found = self._of(drawn), []
        for side in (0, 1):
            shown = self.pairs.windows[at, side][self.pairs.counted[at, side]]
            if self.format.unit == "token":
                assert encoded.word is not None
                starts = encoded.offsets[shown]
                shown = np.flatnonzero(encoded.word[ranges(starts, encoded.offsets[shown + 1] - starts)] >= 0)
            found.append(max(1, len(shown)))
        return found[0], found[1]


def distilled(
    format: Format,
    student: torch.Tensor,
    teacher: torch.Tensor,
    targets: torch.Tensor,
    lengths: list[int],
    fusion: Fusion,
) -> torch.Tensor:
    """T² · KL(teacher ‖ student) at temperature T in fp32, summed over what the format's loss is summed over.

    Logits [S, C]. Over the classes of each row; multilabel: over yes and no, the mean of the labels; span: over the
    tokens of a window, the mean of start and end; choice: over the options. For a teacher sure of the right class it
    is, at T = 1, the cross-entropy. (Hinton et al. 2015, section 2; Fang et al. 2020)
    """
    own, other = student.float() / fusion.temperature, teacher.float() / fusion.temperature
    several = targets.dim() == 2 and format.reads == "first"
    if several:
        own, other = (torch.stack([logits, torch.zeros_like(logits)], -1).flatten(0, 1) for logits in (own, other))
    groups = lengths if format.reads == "all" else None
    if format.unit == "example":
        begins = torch.nonzero(targets != IGNORED).flatten()
        groups = torch.diff(begins, append=begins.new_tensor([len(targets)])).tolist()
    rows = [(own, other)]
    if groups is not None:
        rows = [(one.T, two.T) for one, two in zip(torch.split(own, groups), torch.split(other, groups), strict=True)]
    total = torch.stack(
        [torch.nn.functional.kl_div(one.log_softmax(-1), two.softmax(-1), reduction="sum") for one, two in rows]
    ).sum()
    return fusion.temperature**2 * total / (student.shape[1] if several or groups is not None else 1)
