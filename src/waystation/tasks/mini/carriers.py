"""Sentences of the mini corpus: hand-written carriers with slots, and lexicons that fill them."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import NamedTuple, TypedDict

import yaml

LANGUAGES = ("en", "de", "es", "fr", "ru", "sw")
NAMES = ("PERSON", "PLACE")
TERMS = ("ILLNESS", "REMEDY")
SLOTS: Mapping[str, str | None] = MappingProxyType(
    {
        "PERSON": "PERSON",
        "CITY": "PLACE",
        "LAND": "PLACE",
        "ILLNESS": "ILLNESS",
        "REMEDY": "REMEDY",
        "THING": None,
        "TITLE": None,
        "NUMBER": None,
    }
)
"""Slot → type of the mention that fills it; None for fillers that are no mention (goods, book titles, numbers)."""
FORMATS = "formats.yaml"
"""The data file that only the tasks of ``mini.formats`` use."""


class Carrier(NamedTuple):
    """One hand-written sentence with slots; ``id`` is the cluster of every sentence made from it."""

    id: str
    words: tuple[str, ...]


class Material(NamedTuple):
    """Carriers and lexicon (slot → fillers) of one pool and language. Names are (given, family) groups."""

    carriers: tuple[Carrier, ...]
    names: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    fillers: Mapping[str, tuple[str, ...]]


class Piece(NamedTuple):
    """A word of a carrier (``slot`` None), or what fills a slot of it: one word or more."""

    text: str
    slot: str | None

    @property
    def kind(self) -> str | None:
        """Type of the mention; None for what is no mention."""
        return None if self.slot is None else SLOTS[self.slot]


class Sentence(NamedTuple):
    """A filled carrier, ``cluster`` its id. The text has blanks between words and around punctuation."""

    pieces: tuple[Piece, ...]
    cluster: str

    @property
    def text(self) -> str:
        """The words, with one blank between them."""
        return " ".join(piece.text for piece in self.pieces)

    @property
    def words(self) -> tuple[str, ...]:
        """The words of all pieces."""
        return tuple(self.text.split())

    def tags(self, labels: Sequence[str]) -> tuple[str, ...]:
        """IOB2 tags of the words: mentions of the types in ``labels``."""
        found: list[str] = []
        for piece in self.pieces:
            size = len(piece.text.split())
            found += [f"B-{piece.kind}"] + [f"I-{piece.kind}"] * (size - 1) if piece.kind in labels else ["O"] * size
        return tuple(found)

    def mentions(self) -> Iterator[tuple[str, str, int]]:
        """Type, text and beginning (in characters of the text) of each mention."""
        start = 0
        for piece in self.pieces:
            if piece.kind is not None:
                yield piece.kind, piece.text, start
            start += len(piece.text) + 1


def material(pool: str, language: str, share: tuple[int, int] = (0, 1)) -> Material:
    """Carriers and lexicon of one pool, or the share of it that begins at ``share[0]`` with step ``share[1]``."""
    first, step = share
    document = _document(language)
    lines = document["carriers"][pool].splitlines()
    carriers = [Carrier(f"{language}-{pool}-{n:02}", tuple(line.split())) for n, line in enumerate(lines)]
    return Material(
        tuple(carriers[first::step]),
        tuple((tuple(g["given"][first::step]), tuple(g["family"][first::step])) for g in document["names"][pool]),
        {kind: texts[first::step] for kind, texts in lexicon(pool, language).items()},
    )


def fill(carrier: Carrier, stuff: Material, key: str) -> Sentence:
    """Fill the slots of one carrier. The same key always gives the same sentence."""
    pieces: list[Piece] = []
    used: set[str] = set()
    for position, word in enumerate(carrier.words):
        slot = word[1:-1] if word.startswith("{") else None
        text = word if slot is None else draw(slot, stuff, used, f"{key}/{carrier.id}/{position}")
        if slot is not None:
            used.add(text)
        pieces.append(Piece(text if pieces else text[:1].upper() + text[1:], slot))
    return Sentence(tuple(pieces), carrier.id)


def draw(slot: str, stuff: Material, used: set[str], key: str) -> str:
    """One filler that the sentence does not have yet."""
    if slot == "NUMBER":
        return str(2 + number(key) % 97)
    if slot == "PERSON":
        given, family = stuff.names[number(key, "group") % len(stuff.names)]
        first = given[number(key, "given") % len(given)]
        last = family[number(key, "family") % len(family)]
        # One in three is a full name; the rest a given or a family name alone.
        return (f"{first} {last}", first, last)[number(key, "form") % 3]
    left = [text for text in stuff.fillers[slot] if text not in used]
    return left[number(key) % len(left)]


def number(*key: object) -> int:
    """A number that depends on the key alone: no generator whose stream a Python release could change."""
    return int.from_bytes(hashlib.sha256("\n".join(map(str, key)).encode()).digest()[:8], "big")


class _Document(TypedDict):
    note: str
    names: dict[str, list[dict[str, list[str]]]]
    carriers: dict[str, str]


class Formats(TypedDict):
    """``formats.yaml``: questions by language and kind of mention; parallel carriers, each by language."""

    note: str
    questions: dict[str, dict[str, str]]
    parallel: list[dict[str, str]]


def folder() -> Traversable:
    """Where the data files are."""
    return files("waystation") / "data" / "mini"


@cache
def formats() -> Formats:
    """What ``formats.yaml`` holds."""
    loaded: Formats = yaml.safe_load((folder() / FORMATS).read_text(encoding="utf-8"))
    return loaded


@cache
def _document(language: str) -> _Document:
    loaded: _Document = yaml.safe_load((folder() / f"{language}.yaml").read_text(encoding="utf-8"))
    return loaded


@cache
def lexicon(pool: str, language: str) -> Mapping[str, tuple[str, ...]]:
    """Slot → fillers of one pool in one language, from the two tables; equally long in all languages of "test"."""
    found: dict[str, list[str]] = {}
    for table in ("places.csv", "terms.csv"):
        lines = (folder() / table).read_text(encoding="utf-8").splitlines()
        for row in csv.DictReader(lines):
            if row["pool"] == pool and row[language]:
                found.setdefault(row["kind"], []).append(row[language])
    return MappingProxyType({kind: tuple(texts) for kind, texts in found.items()})
