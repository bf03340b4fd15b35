"""What a phase trains on: streams of batches, one update a batch of one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from waystation.formats.encoding import Encoded, Format, ranges
from waystation.models.encoder import TaskModel
from waystation.training.batches import Indices, Sampler, collate, first_windows, micro_batches, windows_of
from waystation.training.losses import Criterion

MAIN = ""
"""Name of a model's main head."""


class Stream(Protocol):
    """A source of batches. Its turns are counted from 0; all of it is a pure function of the turn."""

    @property
    def name(self) -> str:
        """For people, and for what is told of each stream apart."""

    @property
    def size(self) -> int:
        """Training examples, by which samplers weigh it."""

    def draw(self, turn: int) -> Indices:
        """The examples of a turn's batch."""

    def cuts(self, drawn: Indices, budget: int, padded: bool) -> list[Indices]:
        """The windows of these examples in micro-batches of at most ``budget`` tokens (``padded``: of padded ones)."""

    def tokens(self, drawn: Indices) -> int:
        """Real tokens of a batch."""

    def units(self, drawn: Indices, turn: int) -> int:
        """What the loss of a batch is a mean over."""

    def loss(self, model: TaskModel, cut: Indices, turn: int, device: torch.device) -> torch.Tensor:
        """The summed loss of a micro-batch; the loop divides by the units of the whole batch."""


@dataclass(frozen=True)
class TaskStream:
    """Examples of one task in its format.

    ``places`` maps vocabulary ids to rows of the model's embedding; ``head``: which of the model's heads learns;
    ``trunk`` float32 [T, H]: stored states of the frozen trunk; ``criterion``: the loss, None the format's own.
    """

    encoded: Encoded
    places: npt.NDArray[np.int32]
    format: Format
    sampler: Sampler
    name: str = ""
    head: str = MAIN
    trunk: npt.NDArray[np.float32] | None = None
    criterion: Criterion | None = None

    @property
    def size(self) -> int:
        """Training examples."""
        return len(self.sampler.examples)

    def draw(self, turn: int) -> Indices:
        """The examples of a turn's batch."""
        return self.sampler(turn)

    def cuts(self, drawn: Indices, budget: int, padded: bool) -> list[Indices]:
        """Micro-batches; where the loss is of examples, the windows of one stay together."""
        together = self.format.unit == "example"
        return micro_batches(self.encoded, windows_of(self.encoded, drawn), budget, padded, together)

    def tokens(self, drawn: Indices) -> int:
        """Real tokens of a batch."""
        windows = windows_of(self.encoded, drawn)
        return int((self.encoded.offsets[windows + 1] - self.encoded.offsets[windows]).sum())

    def units(self, drawn: Indices, turn: int) -> int:
        """Examples, windows or scored tokens, as the format says."""
        windows = windows_of(self.encoded, drawn)
        if self.format.unit == "window":
            return max(1, len(windows))
        if self.format.unit == "example":
            return max(1, int(first_windows(self.encoded, windows).sum()))
        assert self.encoded.word is not None
        starts, ends = self.encoded.offsets[windows], self.encoded.offsets[windows + 1]
        return max(1, int((self.encoded.word[ranges(starts, ends - starts)] >= 0).sum()))

    def loss(self, model: TaskModel, cut: Indices, turn: int, device: torch.device) -> torch.Tensor:
        """The loss of the format, as the recipe changes it."""
        batch = collate(self.encoded, cut, self.places, self.format.reads, self.trunk)
        logits = batch.logits(model, device, self.head)
        return (self.criterion or self.format.loss)(logits, batch.targets.to(device), batch.lengths)
