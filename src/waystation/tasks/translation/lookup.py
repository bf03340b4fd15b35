"""Translations that somebody made before: files keyed to source rows, parallel corpora, the test set's own other side.

Two kinds: of a text, whatever example it stands in, and of a field of one example, by its id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from waystation import places
from waystation.errors import InputError
from waystation.steps.translation import Translation
from waystation.tasks import sources
from waystation.tasks.examples import RetrievalExample, SpanExample
from waystation.tasks.reading.parallel import ENGLISH
from waystation.tasks.reading.rows import complaint, document, lines, objects
from waystation.tasks.task import Split, Task
from waystation.tasks.translation.fields import Said, fields

ByRow = Mapping[tuple[str, str], Said]
"""(id of an example, field) → its translation."""


@dataclass
class Lookup:
    """Translations by text. Blanks do not count."""

    known: Mapping[str, str]
    block: int = 100_000
    notes: Counter[str] = field(default_factory=Counter)

    def __call__(self, texts: Sequence[str]) -> list[str | None]:
        """The translations of texts, None of those that have none."""
        return [self.known.get(_key(text)) for text in texts]


def _key(text: str) -> str:
    return " ".join(text.replace('"', " ").split())  # whether quoted or not depends on the file


def path_of(translation: Translation, source: str, target: str, data: Path | None) -> Path:
    """The file of precomputed translations of one direction; InputError where it is not there."""
    assert translation.files is not None
    names = {"source": source, "target": target, "lang": source if target == ENGLISH else target}
    name = translation.files
    for key, language in names.items():
        name = name.replace(f"{{{key}}}", translation.spelt(language))
    path = (places.data_folder(data) or Path()) / name
    if not path.is_file():
        raise InputError(
            f"precomputed translations {source} to {target}: no file {path}: put it there, or mend `files`"
        )
    return path


def pairs(path: Path) -> Lookup:
    """XTREME's TSV: as many translations as source texts, and maybe a label; the first translation of a text counts.

    ``notes`` count rows of another shape, which XTREME's files have.
    """
    found = Lookup({})
    known: dict[str, str] = {}
    for _, line in lines(path):
        cells = line.rstrip("\n").split("\t")
        if not 2 <= len(cells) <= 5:
            found.notes["rows of another shape"] += 1
            continue
        half = len(cells) // 2
        for text, said in zip(cells[:half], cells[half:], strict=False):
            if said.strip():
                known.setdefault(_key(text), said.strip())
    if not known:
        raise InputError(f"{path}: no translation in it: give rows of source texts, their translations, and a label")
    return replace(found, known=known)


def squad(path: Path) -> ByRow:
    """SQuAD's JSON in the other language, with the ids of the questions that were translated."""
    found: dict[tuple[str, str], Said] = {}
    try:
        for article in document(path)["data"]:
            for passage in article["paragraphs"]:
                context = Said(passage["context"])
                for asked in passage["qas"]:
                    own = str(asked["id"])
                    found[own, "context"], found[own, "question"] = context, Said(asked["question"])
                    for number, answer in enumerate(asked.get("answers", ())):
                        found[own, f"answers.{number}"] = _said(answer)
    except (KeyError, TypeError, AttributeError) as error:
        raise complaint(path, f"not SQuAD's JSON ({type(error).__name__}: {error}): correct it") from None
    return found


def jsonl(path: Path) -> ByRow:
    """An object per line: ``id``, and the fields of its example; options and answers are lists."""
    found: dict[tuple[str, str], Said] = {}
    for number, row in objects(path):
        if "id" not in row:
            raise InputError(f"{path}:{number}: no field 'id': give the id of the example that was translated")
        for name, value in row.items():
            several = (
                {f"{name}.{at}": item for at, item in enumerate(value)} if isinstance(value, list) else {name: value}
            )
            for key, item in several.items():
                if name != "id":
                    try:
                        found[str(row["id"]), key] = _said(item)
                    except (KeyError, TypeError):
                        raise InputError(f"{path}:{number}: field '{key}' is no text: write it in quotes") from None
    return found


def _said(value: Any) -> Said:
    if isinstance(value, str):
        return Said(value)
    text, start = value["text"], value.get("answer_start")
    if not isinstance(text, str):
        raise TypeError("text is no text")
    return Said(text, start if isinstance(start, int) else None)


def code_of(source: str, target: str, corpus: Task) -> str:
    """The language under which a parallel corpus has this pair; InputError where neither is English."""
    if corpus.format != "retrieval":
        raise InputError(
            f"parallel: '{corpus.id}' is a {corpus.format} task: name a parallel corpus (format retrieval)"
        )
    if ENGLISH not in (source, target):
        raise InputError(f"parallel: '{corpus.id}' pairs languages with English, not {source} with {target}")
    return target if source == ENGLISH else source


def parallel(corpus: Task, split: Split, source: str, target: str, data: Path | None) -> Lookup:
    """The rows of a parallel corpus between a language and English, in either direction."""
    known: dict[str, str] = {}
    waiting: dict[str, str] = {}
    side = "right" if source == ENGLISH else "left"
    for example in sources.read(corpus, split, code_of(source, target, corpus), data):
        assert isinstance(example, RetrievalExample)
        if example.answer is None:
            continue
        if example.answer in waiting:
            other = waiting.pop(example.answer)
            text, said = (example.text, other) if example.side == side else (other, example.text)
            known.setdefault(_key(text), said)
        else:
            waiting[example.id] = example.text
    return Lookup(known)


def oracle(task: Task, split: Split, source: str, target: str, data: Path | None) -> ByRow:
    """The same test set in the other language, row by row."""
    other, own = f"{split}/{target}/", f"{split}/{source}/"
    found: dict[tuple[str, str], Said] = {}
    for example in sources.read(task, split, target, data):
        starts = dict(example.answers) if isinstance(example, SpanExample) else {}
        for name, text in fields(example).items():
            start = starts.get(text) if name.startswith("answers.") else None
            found[example.id.replace(other, own, 1), name] = Said(text, start)
    return found


LAYOUTS: Mapping[str, Callable[[Path], Lookup | ByRow]] = {"pairs": pairs, "squad": squad, "jsonl": jsonl}
"""What reads precomputed translations, by layout."""
