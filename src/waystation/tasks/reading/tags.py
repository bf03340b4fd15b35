"""Names in files to labels of a task, and the ways entities are marked to IOB2. Pure functions of one tag at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from waystation.errors import suggest
from waystation.scoring.placeholders import hint

Scheme = Literal["iob2", "iob1", "io", "plain"]


class BadRow(ValueError):
    """What is wrong with one row, without its place: the reader that knows the place adds ``file:line``."""


@dataclass(frozen=True)
class Names:
    """Maps a name found in a file to a label, by name and never by position; None means "leave out".

    ``then`` is a second step on the result: the labels of another set under which this task is to be read.
    """

    labels: Sequence[str]
    rename: Mapping[str, str | None] = field(default_factory=dict)
    then: Names | None = None

    def __call__(self, name: str) -> str | None:
        """The label of a name; ``BadRow`` for a name that nobody declared."""
        if name in self.rename:
            label = self.rename[name]
        elif name in self._places:
            label = name
        else:
            raise BadRow(self._unknown(name))
        return label if label is None or self.then is None else self.then(label)

    def knows(self, name: str) -> bool:
        """Whether a name is a label or in ``rename``."""
        return name in self.rename or name in self._places

    def ordered(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Labels that names led to, without repeats, in the order of the task's."""
        if self.then is not None:
            return self.then.ordered(labels)
        return tuple(sorted(set(labels), key=self._places.__getitem__))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {label: place for place, label in enumerate(self.labels)}

    def _unknown(self, name: str) -> str:
        name = name if len(name) <= 80 else name[:77] + "..."
        shown = ", ".join(self.labels[:12]) + (", ..." if len(self.labels) > 12 else "")
        near = suggest(name, [*self.labels, *self.rename])
        return (
            f"'{name}' is neither a label of the task ({shown}) nor a name in its rename{near}: "
            f"add it to labels, or to rename (null leaves it out){hint(name)}"
        )


class Iob2:
    """Turns the tags of a sentence, one after the other, into IOB2 over the labels of ``names``.

    - ``iob2``: ``I-X`` without an open entity of type X is a stray tag: it begins an entity, and ``notes`` counts it.
    - ``iob1``: ``I-X`` begins an entity unless one of type X is open; ``B-X`` always does.
    - ``io``: neighbours of one type are one entity, written ``I-X`` or ``X``.
    - ``plain``: the tag is the label.

    A tag that scheme iob2 or iob1 does not know may stand in ``rename`` as it is: a slip of the annotators' is so read.
    Entities are cut by the names in the file, before these are mapped: two types that become one label stay apart.
    """

    def __init__(self, scheme: Scheme, names: Names, notes: Counter[str]) -> None:
        self._scheme = scheme
        self._names = names
        self._notes = notes
        self._open: str | None = None
        self._mapped: dict[str, str | None] = {}

    def end(self) -> None:
        """The sentence is over: no entity goes on into the next."""
        self._open = None

    def __call__(self, tag: str) -> str:
        """The IOB2 tag of the sentence's next tag."""
        if self._scheme == "plain":
            return self._label(tag) or "O"
        if tag == "O":
            self._open = None
            return "O"
        begins, kind = self._split(tag)
        label = self._label(kind)
        if self._open != kind:
            if self._scheme == "iob2" and not begins:
                self._notes["stray"] += 1
            begins = True
        self._open = kind
        return "O" if label is None else f"{'B' if begins else 'I'}-{label}"

    def _label(self, name: str) -> str | None:
        if name not in self._mapped:
            self._mapped[name] = self._names(name)
        return self._mapped[name]

    def _split(self, tag: str) -> tuple[bool, str]:
        """Whether the tag says "begins", and the entity's type."""
        prefix, _, kind = tag.partition("-")
        if self._scheme == "io":
            if prefix == "B" and kind:
                raise BadRow(f"tag '{tag}' has a B-, which scheme io does not know: set scheme to iob1 or iob2")
            return False, kind if prefix == "I" and kind else tag
        if prefix not in ("B", "I") or not kind:
            if tag in self._names.rename:
                return False, tag
            raise BadRow(
                f"tag '{tag}' is not O, B-... or I-... as scheme {self._scheme} wants: "
                f"correct it, or set another scheme (io, plain){hint(tag)}"
            )
        return prefix == "B", kind


def relabel(tags: Sequence[str], names: Names, plain: bool = False) -> tuple[str, ...]:
    """Tags that are already IOB2 (or plain labels) under other names."""
    convert = Iob2("plain" if plain else "iob2", names, Counter())
    return tuple(convert(tag) for tag in tags)
