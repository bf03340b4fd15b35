"""What training tests share: random small examples, models and jobs on a tiny checkpoint, and a whole tiny study."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tiny import TEXTS, Kind, tiny_tokenizer

from waystation import formats
from waystation.formats.encoding import Encoded
from waystation.models.backbone import Checkpoint
from waystation.models.encoder import TaskModel
from waystation.models.vocabulary import EmbeddingDelta, active_rows, lookup
from waystation.steps.recipes import Recipe
from waystation.tasks.examples import ChoiceExample, ClassificationExample, MultilabelExample, TaggingExample
from waystation.training.batches import Sampler
from waystation.training.loop import Job
from waystation.training.streams import TaskStream

WORDS = sorted({word for text in TEXTS for word in text.split()})
PERSONS = {"Anna", "Smith", "Patient", "patient", "paciente", "Пациент", "Mgonjwa", "मरीज"}
PLACES = {"Geneva", "York", "London", "Genf", "Ginebra", "Женеве", "Genevan", "जिनेवा"}
LABELS: dict[str, tuple[str, ...]] = {
    "tagging": ("PER", "LOC"),
    "classification": ("good", "bad", "so-so"),
    "multilabel": ("person", "place", "long"),
    "choice": (),
}


def sentences(number: int, seed: int = 0, longest: int = 12) -> list[list[str]]:
    drawn = random.Random(seed)
    return [drawn.choices(WORDS, k=drawn.randint(2, longest)) for _ in range(number)]


def tag(word: str) -> str:
    return "B-PER" if word in PERSONS else "B-LOC" if word in PLACES else "O"


def labels(words: list[str]) -> tuple[str, ...]:
    """Of a text with any number of labels: whether it names a person or a place, whether it is long."""
    holds = (not PERSONS.isdisjoint(words), not PLACES.isdisjoint(words), len(words) > 6)
    return tuple(label for label, held in zip(LABELS["multilabel"], holds, strict=True) if held)


def examples(format: str, number: int, seed: int = 0, longest: int = 12, clusters: int = 0) -> list[Any]:
    made: list[Any] = []
    for n, words in enumerate(sentences(number, seed, longest)):
        cluster = f"c{n % clusters}" if clusters else None
        if format == "tagging":
            made.append(TaggingExample(f"e{n}", tuple(words), tuple(map(tag, words)), cluster))
        elif format == "multilabel":
            made.append(MultilabelExample(f"e{n}", " ".join(words), labels(words), cluster=cluster))
        elif format == "choice":
            number = 2 + len(words) % 3
            options = tuple(" ".join(WORDS[n + at : n + 3 * at + 1]) for at in range(number))  # 1, 3, 5, 7 words
            made.append(ChoiceExample(f"e{n}", " ".join(words), options, len(words) % number, "Genf ?", cluster))
        else:
            label = LABELS[format][len(words) % 3]
            made.append(ClassificationExample(f"e{n}", " ".join(words), label, cluster=cluster))
    return made


def outputs(format: str) -> list[str]:
    return formats.get(format).outputs(LABELS[format], "iob2")


def encode(format: str, number: int = 30, kind: Kind = "xlm-roberta", max_length: int = 24, **more: Any) -> Encoded:
    """Random examples, encoded; sentences longer than ``max_length`` become several windows.

    The texts of choices have more room, else what is left of them would make all windows equally long.
    """
    found, length = examples(format, number, **more), max_length * (3 if format == "choice" else 1)
    return formats.get(format).encode(found, tiny_tokenizer(kind), outputs(format), length, 6)


def padded(windows: list[list[int]], filler: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(values, mask), both int64 [B, L]: a batch as transformers takes it, filled up on the right."""
    longest = max(map(len, windows))
    rows = [[*window, *[filler] * (longest - len(window))] for window in windows]
    masks = [[1] * len(window) + [0] * (longest - len(window)) for window in windows]
    return torch.tensor(rows), torch.tensor(masks)


def model_and_job(
    folder: Path,
    encoded: Encoded,
    workspace: Path,
    *,
    format: str | None = None,
    dense: bool = False,
    job: dict[str, Any] | None = None,
    **recipe: Any,
) -> tuple[TaskModel, Job]:
    """A new model over the active (or all) rows and the job to train it; ``recipe`` changes single fields.

    ``format``: classification or tagging unless said otherwise.
    """
    format = format or ("classification" if isinstance(encoded.gold[0], str) else "tagging")
    form, checkpoint = formats.get(format), Checkpoint(folder)
    rows = active_rows(encoded.tokens, checkpoint.vocabulary)
    if dense:
        rows = np.arange(checkpoint.vocabulary)
    used = Recipe(**{"updates": 8, "batch": 5, "rate": 1e-3, "tokens_per_micro_batch": 60, "dropout": 0.0, **recipe})
    none = EmbeddingDelta.none(checkpoint.config.hidden_size)
    encoder = checkpoint.encoder(rows, none, None, used.dropout, used.attention_dropout, frozen=used.frozen)
    torch.manual_seed(7)
    model = TaskModel(encoder, form.head(encoder.hidden, len(outputs(format)), used.dropout))
    settings: dict[str, Any] = {"examples": np.arange(len(encoded)), "order_seed": 1, "trunk": None, **(job or {})}
    passes = settings.pop("passes", None)
    spread = None if passes is None else (used.updates, passes)
    sampler = Sampler(settings.pop("examples"), used.batch, settings.pop("order_seed"), spread)
    trunk = settings.pop("trunk")
    stream = TaskStream(encoded, lookup(rows, checkpoint.vocabulary), form, sampler, trunk=trunk)
    known: dict[str, Any] = {"recipe": used, "workspace": workspace, "dropout_seed": 2, "trunk": trunk is not None}
    return model, Job(**{"streams": [stream], **known, **settings})


def write_tagged(path: Path, number: int, seed: int, longest: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = ("".join(f"{word}\t{tag(word)}\n" for word in words) for words in sentences(number, seed, longest))
    path.write_text("\n".join(blocks), encoding="utf-8")


def write_labelled(path: Path, number: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = (f"{' '.join(words)}\t{LABELS['classification'][len(words) % 3]}\n" for words in sentences(number, seed))
    path.write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")


def write_study(folder: Path, backbone: Path | dict[str, Any], **changes: Any) -> Path:
    """A study with own files: intermediates ``names`` (tagging) and ``mood`` (classification), target ``towns``."""
    for part, number, seed in [("train.en", 40, 1), ("test.en", 12, 2), ("test.de", 12, 3)]:
        write_tagged(folder / "towns" / f"{part}.tsv", number, seed, longest=30)
    write_tagged(folder / "names" / "train.tsv", 40, 4)
    write_labelled(folder / "mood" / "train.tsv", 20, 5)
    tagging = {"format": "tagging", "labels": ["PER", "LOC"], "reader": {"kind": "conll", "separator": "\t"}}
    content: dict[str, Any] = {
        "study": "small",
        "backbone": str(backbone) if isinstance(backbone, Path) else backbone,
        "intermediate": {"entities": ["names"], "other": ["mood"]},
        "target": "towns",
        "seeds": 1,
        "recipe": {"batch": 4, "max_length": 24, "stride": 6, "updates": 4},
        "tasks": {
            "towns": {
                **tagging,
                "path": "towns",
                "train": {"en": "train.en.tsv"},
                "test": {"en": "test.en.tsv", "de": "test.de.tsv"},
            },
            "names": {**tagging, "path": "names", "train": {"en": "train.tsv"}},
            "mood": {
                "format": "classification",
                "labels": list(LABELS["classification"]),
                "reader": {"kind": "table", "text": "text", "label": "label"},
                "path": "mood",
                "train": {"en": "train.tsv"},
            },
        },
        **changes,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def first(job: Job) -> TaskStream:
    """The examples that a job of ``model_and_job`` trains on."""
    (stream,) = job.streams
    assert isinstance(stream, TaskStream)
    return stream
