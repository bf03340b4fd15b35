"""What a target asks, example by example, and the answers of a system from elsewhere, read from its files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waystation.errors import InputError, suggest
from waystation.scoring.labels import Ranked
from waystation.scoring.xtreme import files
from waystation.steps.records import EncodeStep, Retrieval
from waystation.tasks.examples import (
    ChoiceExample,
    ClassificationExample,
    Example,
    MultilabelExample,
    RetrievalExample,
    SpanExample,
    TaggingExample,
)
from waystation.tasks.labels import names_of
from waystation.tasks.reading.rows import complaint, objects, shown, text_of
from waystation.tasks.reading.tags import BadRow, Names

_NUMBER = "[0-9]{1,9}"


@dataclass
class Asked:
    """The test examples of one language, in order. ``room``: words of a sentence, options of a choice, else 0.

    ``pool``: in retrieval the ids among which an answer is looked up.
    """

    ids: list[str] = field(default_factory=list)
    clusters: list[str | None] = field(default_factory=list)
    gold: list[str | list[str]] = field(default_factory=list)
    room: list[int] = field(default_factory=list)
    pool: list[str] = field(default_factory=list)


def asked(examples: Iterable[Example], retrieval: Retrieval | None) -> Asked:
    """What a target asks in one language."""
    found = Asked()
    side = "right" if retrieval is not None and retrieval.direction == "from-english" else "left"
    for one in examples:
        room, gold = 0, ""  # type: int, str | list[str]
        match one:
            case TaggingExample():
                room, gold = len(one.words), list(one.tags)
            case ClassificationExample():
                gold = one.label
            case MultilabelExample():
                gold = list(one.labels)
            case ChoiceExample():
                room, gold = len(one.options), str(one.answer)
            case SpanExample():
                gold = [answer for answer, _ in one.answers]
            case RetrievalExample():
                if one.side != side:
                    found.pool.append(one.id)
                    continue
                gold = one.answer or ""
        found.ids.append(one.id)
        found.clusters.append(one.cluster)
        found.gold.append(gold)
        found.room.append(room)
    return found


def read(path: Path, step: EncodeStep, ask: Asked, retrieval: Retrieval | None) -> list[str | list[str]]:
    """The predictions of a file, one for each example, as they are stored.

    Raises InputError where ids or numbers of lines are not those of the examples, or a prediction is of another kind.
    """
    given = _Given(step, ask)
    if path.suffix == ".jsonl":
        found = _by_id(path, given)
    elif path.suffix == ".json":
        if step.format != "span":
            raise InputError(f"{path}: JSON of answers by id is for questions; {step.format} needs JSONL or lines")
        found = {own: given(own, answer, f"{path}: '{own}'") for own, answer in files.answers(path).items()}
    elif retrieval is not None and retrieval.direction == "mining":
        return _pairs(path, ask)
    else:
        return _in_order(path, given)
    missing = [own for own in ask.ids if own not in found]
    if missing:
        raise InputError(f"{path}: no prediction for {len(missing)} of {len(ask.ids)} ids, {_named(missing)}; add them")
    return [found[own] for own in ask.ids]


class _Given:
    """Turns what a file says about an example into a prediction as it is stored."""

    def __init__(self, step: EncodeStep, ask: Asked) -> None:
        self.ask, self.format, self.plain = ask, step.format, step.scheme == "plain"
        self.places = {own: at for at, own in enumerate(ask.ids)}
        self._pool = set(ask.pool)
        self._labels = step.labels
        self._names = names_of(step.task, Names(step.labels, step.rename))

    def __call__(self, own: str, value: Any, place: str, ranking: Any = None) -> str | list[str]:
        try:
            if own not in self.places:
                raise BadRow(f"the target has no id '{own}'{suggest(own, self.places)}; leave it out")
            return self._checked(self.places[own], value, ranking)
        except BadRow as problem:
            raise complaint(place, problem) from None

    def _checked(self, at: int, value: Any, ranking: Any) -> str | list[str]:
        match self.format:
            case "tagging":
                tags = _texts(value)
                if len(tags) != self.ask.room[at]:
                    raise BadRow(f"{len(tags)} tags for {self.ask.room[at]} words; give one for each")
                return [self._tag(tag) for tag in tags]
            case "multilabel":
                labels = self._set(value)
                return Ranked(labels, labels if ranking is None else self._set(ranking))
            case "choice":
                place = text_of(value, "prediction", numbers=True)
                if not re.fullmatch(_NUMBER, place) or int(place) >= self.ask.room[at]:
                    raise BadRow(f"'{place[:40]}' is no option: count from 0 to {self.ask.room[at] - 1}")
                return str(int(place))
            case "classification":
                label = self._label(text_of(value, "prediction", numbers=True))
                if label is None:
                    raise BadRow(f"'{value}' is a label that the study leaves out; give another")
                return label
            case "retrieval":
                found = text_of(value, "prediction", numbers=True)
                if found and found not in self._pool:
                    raise BadRow(f"'{found}' is no sentence of the other side{suggest(found, self.ask.pool[:1000])}")
                return found
            case _:
                return text_of(value, "prediction")

    def _label(self, name: str) -> str | None:
        return name if name in self._labels else self._names(name)

    def _set(self, value: Any) -> list[str]:
        found = [self._label(name) for name in _texts(value)]
        return list(dict.fromkeys(label for label in found if label is not None))

    def _tag(self, tag: str) -> str:
        if self.plain:
            return self._label(tag) or "O"
        if tag == "O":
            return tag
        mark, _, kind = tag.partition("-")
        if mark not in ("B", "I") or not kind:
            raise BadRow(f"tag '{tag}' is not O, B-... or I-...; correct it")
        label = self._label(kind)
        return "O" if label is None else f"{mark}-{label}"


def _by_id(path: Path, given: _Given) -> dict[str, str | list[str]]:
    found: dict[str, str | list[str]] = {}
    for number, row in objects(path):
        place = f"{path}:{number}"
        for name in ("id", "prediction"):
            if name not in row:
                raise InputError(f"{place}: no field '{name}'{suggest(name, row)}: write {{id, prediction}} per line")
        try:
            own = text_of(row["id"], "id", numbers=True)
        except BadRow as problem:
            raise complaint(place, problem) from None
        if own in found:
            raise InputError(f"{place}: id '{own}' comes twice; keep one prediction")
        found[own] = given(own, row["prediction"], place, row.get("ranking"))
    return found


def _in_order(path: Path, given: _Given) -> list[str | list[str]]:
    """A prediction for each example in the order of the test set, as XTREME's files have them."""
    ask, unit = given.ask, "lines"
    rows: list[Any] = []
    if given.format == "tagging":
        rows, unit = list(files.sentences(files.last_column(path))), "sentences"
    elif given.format in ("classification", "retrieval"):
        rows = list(files.lines(path))
    else:
        raise InputError(f"{path}: lines cannot hold predictions of {given.format}; write test-LANG.jsonl")
    if len(rows) != len(ask.ids):
        raise InputError(f"{path}: {len(rows)} {unit} for {len(ask.ids)} examples; give one for each, in their order")
    if given.format == "retrieval":
        rows = [_numbered(path, number, row, ask.pool) for number, row in enumerate(rows, 1)]
    where = "line" if unit == "lines" else "sentence"
    numbered = enumerate(zip(ask.ids, rows, strict=True), 1)
    return [given(own, row, f"{path}: {where} {number}") for number, (own, row) in numbered]


def _numbered(path: Path, number: int, row: str, pool: Sequence[str]) -> str:
    if not re.fullmatch(_NUMBER, row) or int(row) >= len(pool):
        raise InputError(f"{path}:{number}: '{row[:40]}' is no sentence: count from 0 to {len(pool) - 1}")
    return pool[int(row)]


def _pairs(path: Path, ask: Asked) -> list[str | list[str]]:
    """Mined pairs: the language's id, a tab, the English id."""
    found: dict[str, str] = {}
    ids, pool = set(ask.ids), set(ask.pool)
    for number, line in enumerate(files.lines(path), 1):
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != 2:
            raise InputError(f"{path}:{number}: not two ids with a tab between them: correct the line")
        for own, known in zip(cells, (ids, pool), strict=True):
            if own not in known:
                raise InputError(f"{path}:{number}: the target has no id '{own}'; leave the pair out")
        if cells[0] in found:
            raise InputError(f"{path}:{number}: id '{cells[0]}' is in a second pair; keep one")
        found[cells[0]] = cells[1]
    return [found.get(own, "") for own in ask.ids]


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise BadRow(f"the prediction is {shown(value)}, not a list: write [...]")
    return [text_of(one, "prediction") for one in value]


def _named(names: Sequence[str]) -> str:
    return "first " + ", ".join(f"'{name}'" for name in names[:3])
