"""Which examples of a file belong to a split, and whether a whole split has as many as it should."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from waystation.errors import InputError
from waystation.tasks.examples import Example, RetrievalExample
from waystation.tasks.reading.rows import Tally, lines

LEFT_OUT = ("left out", "empty", "several answers", "no options")
"""Notes of a tally on rows that are in the file and make no example."""


def narrowed(examples: Iterator[Example], only: Path | None = None, without: Path | None = None) -> Iterator[Example]:
    """The examples whose ids the file ``only`` has and the file ``without`` has not.

    Raises InputError where an id of ``only`` is no example's.
    """
    asked, refused = (None if path is None else _ids(path) for path in (only, without))
    if asked is None and refused is None:
        return examples
    return _chosen(examples, only, asked, refused or {})


def _chosen(
    examples: Iterator[Example], only: Path | None, asked: dict[str, None] | None, refused: dict[str, None]
) -> Iterator[Example]:
    waiting = dict(asked or {})
    for example in examples:
        if (asked is None or example.id in asked) and example.id not in refused:
            waiting.pop(example.id, None)
            yield example
    for left in waiting:
        if left not in refused:
            raise InputError(f"{only}: id '{left}' is no example's: check the file and the reader's id")


def _ids(path: Path) -> dict[str, None]:
    """The ids in a file: a JSON list, the keys of a JSON object, or one on each line."""
    text = [line for _, line in lines(path)]
    if text and text[0].lstrip().startswith(("[", "{")):
        try:
            found = json.loads("".join(text))
        except ValueError as error:
            raise InputError(f"{path}: not JSON ({error}): write a list of ids, or one on each line") from None
        return {str(one): None for one in found}
    return {line.strip(): None for line in text if line.strip()}


def counted(examples: Iterator[Example], expected: int | None, tally: Tally, what: str) -> Iterator[Example]:
    """The same examples; InputError at the end where there were not ``expected`` many.

    Pairs of sentences count once, and rows of which the reader makes no example count too.
    """
    found = 0
    for example in examples:
        found += not isinstance(example, RetrievalExample) or example.side == "left"
        yield example
    found += sum(tally.notes[why] for why in LEFT_OUT)
    if expected is not None and found != expected:
        raise InputError(
            f"{what}: {found} examples, the official split has {expected}: fetch it again, or, where the files are "
            f"meant to be fewer, declare them as a task of your own with sample: true"
        )
