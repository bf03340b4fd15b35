"""Zero-shot evaluation against ``Trainer.predict``: the tags of many languages' sentences, from encodings to tags."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np

from benchmarks.harness import Case, Gate, Result, Settings, child, measure
from benchmarks.peers import Way, our_model, our_places, their_model, their_trainer
from benchmarks.workloads import Workload, bundled, features, join, panx
from waystation import formats
from waystation.evaluation.predict import predict
from waystation.formats.encoding import IGNORED, Encoded

TAGS = 7
BATCHES = (8, 16, 32)


def workload(parts: dict[str, Encoded]) -> Workload:
    """All windows of all languages; PAN-X has persons, organisations and places."""
    return Workload("tagging", join(list(parts.values())), TAGS, 8, None, bundled(), "PAN-X test")


class Ours:
    """This engine, language by language."""

    def __init__(self, work: Workload, parts: dict[str, Encoded], model: Any = None) -> None:
        self.model, self.places, self.parts = model or our_model(work, Way()), our_places(work), parts
        self.outputs = [str(tag) for tag in range(work.outputs)]
        self.form = formats.get(work.format)

    def __call__(self) -> list[list[str]]:
        """The tags of every sentence."""
        found: list[Any] = []
        for encoded in self.parts.values():
            found += predict(self.model, encoded, self.places, self.form, self.outputs)
        return found


class Theirs:
    """``Trainer.predict`` over all languages as one dataset, and the likeliest tag of each scored token."""

    def __init__(self, work: Workload, device_batch: int, folder: str, model: Any = None) -> None:
        made = features(work.format, work.encoded, None)
        model = model or their_model(work, Way())
        more = {"per_device_eval_batch_size": device_batch}
        self.trainer, self.windows = their_trainer(work, Way(), model, folder, [0], **more), made

    def __call__(self) -> list[list[str]]:
        """The tags of every window."""
        found = self.trainer.predict(self.windows)
        tags, scored = found.predictions.argmax(-1), found.label_ids != IGNORED
        return [[str(tag) for tag in row[kept].tolist()] for row, kept in zip(tags, scored, strict=True)]


def ours(gate: Gate, work: Workload, parts: dict[str, Encoded]) -> None:
    _repeat(gate, Ours(work, parts), work)


def theirs(gate: Gate, work: Workload, device_batch: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _repeat(gate, Theirs(work, device_batch, folder), work)


def _repeat(gate: Gate, call: Any, work: Workload) -> None:
    tokens = float(np.diff(work.encoded.offsets).sum())
    gate.wait()
    while True:
        call()
        gate(tokens)


def evaluation(settings: Settings) -> Result:
    """The best of three batch sizes counts."""
    source, parts = panx(sentences=6 if settings.quick else 12)
    work = workload(parts)
    with (
        child(ours, work, parts) as our_pass,
        child(theirs, work, 8) as by_8,
        child(theirs, work, 16) as by_16,
        child(theirs, work, 32) as by_32,
    ):
        peers = dict(zip([f"Trainer.predict, batch {size}" for size in BATCHES], (by_8, by_16, by_32), strict=True))
        note = (
            f"{source}: {len(work.encoded)} sentences in {len(parts)} languages, mean {work.lengths.mean():.1f} tokens"
        )
        return measure(Case("evaluation", 3.0, our_pass, peers, note=note), settings)


ROWS = {"evaluation": evaluation}
