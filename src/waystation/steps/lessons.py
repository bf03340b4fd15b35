"""What a phase learns from: its tasks and its texts, and the streams of batches that they become."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from waystation import formats
from waystation.formats import encoding
from waystation.formats.encoding import Encoded, Format
from waystation.models.encoder import TaskModel
from waystation.models.mlm import mlm_head
from waystation.models.vocabulary import Rows, active_rows
from waystation.records import derive
from waystation.steps import logits
from waystation.steps.context import Context
from waystation.steps.models import Trained
from waystation.steps.recipes import Fusion, Mixing, Mlm
from waystation.steps.records import Part, TrainStep
from waystation.training.batches import Indices, Sampler, carve, draw_subset, windows_of
from waystation.training.fusing import FusionStream
from waystation.training.losses import criterion
from waystation.training.masking import masking
from waystation.training.mixing import Mixture
from waystation.training.mlm import MlmStream, rows_in_use
from waystation.training.pairing import Pairs, alone, with_translations
from waystation.training.streams import MAIN, Stream, TaskStream

MLM = "mlm"
"""Name of the head and of the stream of masked language modelling."""


@dataclass(frozen=True)
class Lesson:
    """One task of a phase: its examples, those that teach and those held out, and the head that learns.

    With ``fusion`` these are originals, and ``pairs`` those that teach beside all their translations.
    """

    name: str
    part: Part
    head: str
    encoded: Encoded
    learned: Indices
    held: Indices
    fusion: Fusion | None = None
    pairs: Pairs | None = None

    @property
    def drawn(self) -> Indices:
        """The examples that an epoch goes through."""
        every = self.fusion is not None and self.fusion.languages == "every"
        return self.pairs.examples if every and self.pairs is not None else self.learned

    @property
    def format(self) -> Format:
        """The task's format."""
        return formats.get(self.part.format)

    @property
    def outputs(self) -> list[str]:
        """The classes of its head."""
        return self.format.outputs(self.part.labels, self.part.scheme)


def lessons(step: TrainStep, context: Context) -> list[Lesson]:
    """The tasks of a phase, the main one first; none of a phase that reads text alone.

    Validation is carved out first: arms are matched in what they learn.
    """
    if step.format == "mlm":
        return []
    first = Part(
        task=step.task,
        format=step.format,
        labels=step.labels,
        scheme=step.scheme,
        encodings=(step.encoding, *step.also),
        batch=step.recipe.batch,
    )
    found = []
    for at, part in enumerate([first, *step.parts]):
        fusion = None if at or step.recipe.fusion is None else step.recipe.fusion.settled(step.format)
        read = [context.encoded(key) for key in part.encodings]
        encoded = encoding.joined(read)
        number = len(encoded) if fusion is None else len(read[0])  # what else is read are its translations
        learned, held = np.arange(number, dtype=np.int64), np.arange(0, dtype=np.int64)
        if step.recipe.validation is not None:
            learned, held = carve(encoded, learned, step.recipe.validation.fraction, step.seed)
        if not at:
            learned = draw_subset(encoded, step.subset, step.seed, learned)
        own = at if part.shares is None else part.shares
        if fusion is not None:
            for key, other in zip(part.encodings[1:], read[1:], strict=True):
                language = context.store.manifest(key)["identity"]["language"]
                alone(other, read[0], f"'{part.task}' train {language}")
        pairs = None if fusion is None else with_translations(encoded, learned)
        found.append(Lesson(part.task, part, str(own) if own else MAIN, encoded, learned, held, fusion, pairs))
    return found


Texts = dict[str, list[Encoded]]
"""Encodings of plain text by language."""


def texts(step: TrainStep, context: Context) -> Texts:
    """The texts of a phase."""
    found: Texts = {}
    for key in step.texts.values():
        found.setdefault(context.store.manifest(key)["identity"]["language"], []).append(context.encoded(key))
    return found


def rows(step: TrainStep, context: Context, taught: list[Lesson], read: Texts) -> Rows:
    """The rows of the vocabulary that a phase can touch. Raises ValueError where a token is none of them."""
    seen = [window for lesson in taught for window in touched(lesson)]
    seen += [part.tokens for parts in read.values() for part in parts]
    vocabulary = context.checkpoint.vocabulary
    found = active_rows(np.concatenate(seen), vocabulary)
    if not read:
        return found
    mask = context.tokenizer.mask_token_id
    seed = derive(step.seed, MLM, step.phase)
    return found if mask is None else rows_in_use(found, step.recipe.mlm or Mlm(), mask, vocabulary, seed)


def add_heads(
    model: TaskModel, step: TrainStep, context: Context, taught: list[Lesson], parent: Trained, used: Rows
) -> str | None:
    """Give the model the heads of all tasks but the first, and of masked language modelling: what is told of the last.

    Seeds name the phase and the place of the task, never the chain.
    """
    for lesson in taught[1:]:
        if lesson.head not in (MAIN, *model.heads):
            torch.manual_seed(derive(step.seed, "head", step.phase, lesson.head))
            new = lesson.format.head(model.encoder.hidden, len(lesson.outputs), step.recipe.dropout)
            model.heads[lesson.head] = new
    if not step.texts:
        return None
    torch.manual_seed(derive(step.seed, "head", step.phase, MLM))
    model.heads[MLM], note = mlm_head(context.checkpoint, used, context.backbone.layers, parent.mlm or None)
    return note


def streams(
    step: TrainStep,
    context: Context,
    taught: list[Lesson],
    read: Texts,
    used: Rows,
    places: npt.NDArray[np.int32],
    states: npt.NDArray[np.float32] | None,
) -> tuple[list[Stream], Mixture | None]:
    """The streams of a phase, and which of them each update is of."""
    recipe, found = step.recipe, list[Stream]()
    for at, lesson in enumerate(taught):
        seed = derive(step.seed, "order", step.phase, *([at] if at else []))
        spread = None if step.subset is None else (recipe.updates, step.subset.passes)
        sampler = Sampler(lesson.drawn, lesson.part.batch, seed, spread)
        loss = criterion(recipe, lesson.format, lesson.outputs, lesson.encoded, lesson.learned)
        task, names = (places, lesson.format, sampler), (lesson.name, lesson.head)
        if lesson.fusion is None or lesson.pairs is None:
            found.append(TaskStream(lesson.encoded, *task, *names, states, loss))
        else:
            teacher = logits.stored(context, step.teacher)
            found.append(FusionStream(lesson.pairs, *task, lesson.fusion, seed, *names, loss, teacher))
    sizes, share = [stream.size for stream in found], None
    if read:
        asked = recipe.mlm or Mlm()
        share, seed = asked.share, derive(step.seed, "order", step.phase, MLM)
        hidden = masking(asked, context.tokenizer, used)
        found.append(MlmStream(read, places, hidden, recipe.batch, asked.smooth, seed, MLM))
    if len(found) == 1:
        return found, None
    seed = derive(step.seed, "mixture", step.phase)
    return found, Mixture(sizes, recipe.mixing or Mixing(), recipe.updates, seed, share)


def epoch(step: TrainStep, taught: list[Lesson]) -> float:
    """Updates that one pass over the examples of all tasks takes."""
    if step.subset is not None:
        return step.recipe.updates / step.subset.passes
    if not taught:
        return 1.0  # of text alone, which is drawn by language
    of_tasks = sum(-(-len(lesson.drawn) // lesson.part.batch) for lesson in taught)
    mlm = step.recipe.mlm.share if step.recipe.mlm is not None and step.texts else 0.0
    return of_tasks / (1 - mlm)


def mean_length(taught: list[Lesson], read: Texts) -> float:
    """Mean tokens of a window."""
    sizes = [len(window) for lesson in taught for window in touched(lesson)]
    of_texts = [(len(part.tokens), len(part.example)) for parts in read.values() for part in parts]
    windows = len(sizes) + sum(number for _, number in of_texts)
    return (sum(sizes) + sum(tokens for tokens, _ in of_texts)) / max(1, windows)


def touched(lesson: Lesson) -> list[npt.NDArray[np.int32]]:
    """The tokens of every window that is trained or validated on."""
    encoded, learned = lesson.encoded, lesson.learned if lesson.pairs is None else lesson.pairs.examples
    windows = windows_of(encoded, np.union1d(learned, lesson.held))
    return [encoded.tokens[a:b] for a, b in zip(encoded.offsets[windows], encoded.offsets[windows + 1], strict=True)]
