"""What all readers share: the lines and JSON of a file, values that must be texts, and the running tally."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waystation.errors import InputError
from waystation.tasks.reading.tags import BadRow

Row = Mapping[str, Any]


@dataclass
class Tally:
    """What reading has met so far. Files of one split and language share one, so numbers and ids run on.

    ``rows`` counts those that belong to the task, whether or not an example came of them; ``passed_over`` those that
    the reader's ``where`` says do not.
    """

    rows: int = 0
    passed_over: int = 0
    documents: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)
    texts: dict[bytes, int] = field(default_factory=dict)


def complaint(place: str | Path, problem: object) -> InputError:
    """What is wrong, with its place, in one line whatever the data held."""
    return InputError(" ".join(f"{place}: {problem}".splitlines()))


def lines(path: Path, newline: str | None = None) -> Iterator[tuple[int, str]]:
    """Number and text of each line, ``\\n`` at its end.

    Lines end at ``\\n``, ``\\r\\n`` or ``\\r`` and nowhere else, or only at ``newline``; a byte order mark is skipped;
    UTF-8 or nothing.
    """
    try:
        # Bytes that are not UTF-8 come through as lone surrogates, so that the line they stand in can be named.
        file = path.open(encoding="utf-8-sig", errors="surrogateescape", newline=newline)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the path and its permissions") from None
    with file:
        for number, line in enumerate(file, 1):
            if not line.isascii():
                try:
                    line.encode()
                except UnicodeEncodeError as error:
                    byte = ord(line[error.start]) & 0xFF
                    raise InputError(
                        f"{path}:{number}: not UTF-8 (byte 0x{byte:02x} at column {error.start + 1}): "
                        f"save the file as UTF-8"
                    ) from None
            yield number, line


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON object of each line; blank lines are allowed at the end only."""
    blank = 0
    for number, line in lines(path):
        if not line.strip():
            blank = blank or number
            continue
        if blank:
            raise InputError(f"{path}:{blank}: a blank line between objects: remove it")
        try:
            record = _JSON.decode(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}:{number}: not JSON ({_why(error)}): write one object per line") from None
        if not isinstance(record, dict):
            raise InputError(f"{path}:{number}: a JSON {type(record).__name__}, not an object: write {{...}} per line")
        yield number, record


def document(path: Path) -> Any:
    """A file that is one JSON value, held in memory as a whole."""
    try:
        return _JSON.decode("".join(line for _, line in lines(path)))
    except (ValueError, RecursionError) as error:
        place = f"{path}:{error.lineno}" if isinstance(error, json.JSONDecodeError) else str(path)
        raise InputError(f"{place}: not JSON ({_why(error)}): correct it, or fetch the file again") from None


def _constant(name: str) -> None:
    """Bare ``NaN``, which programs write for a missing value, is null; infinities are no values of any field."""
    if name != "NaN":
        raise ValueError(f"{name} is no number")


_JSON = json.JSONDecoder(parse_constant=_constant)


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return "nested too deep" if isinstance(error, RecursionError) else str(error).partition(":")[0]


def claim(own: str, tally: Tally) -> None:
    """Take an id of the file's own; each may occur once."""
    if not own.strip():
        raise BadRow("the id is empty: fill it in, or drop id from the reader")
    if own in tally.ids:
        raise BadRow(f"id '{own[:80]}' occurs twice: make ids unique, or drop id from the reader to number the rows")
    tally.ids.add(own)


def numbered(text: str, tally: Tally) -> str:
    """The number of a text by first appearance: line-parallel translations share it, and no text serves as a name."""
    return str(tally.texts.setdefault(hashlib.sha256(text.encode()).digest(), len(tally.texts) + 1))


def string(row: Row, name: str, numbers: bool = False) -> str:
    """A field that must be a string; ``numbers`` lets whole numbers pass as their digits."""
    return text_of(row.get(name), name, numbers)


def text_of(value: Any, name: str, numbers: bool = False) -> str:
    """A value, of the field ``name``, that must be a string; ``numbers`` lets whole numbers pass as their digits."""
    if isinstance(value, str):
        sound(value, name)
        return value
    if numbers and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise BadRow(f"field '{name}' is {shown(value)}, not a string: write it in quotes")


def shown(value: Any) -> str:
    """A value as JSON writes it, cut short, for a message."""
    return json.dumps(value, default=str)[:40]


def sound(text: str, name: str) -> None:
    """JSON can spell half a character, which no tokenizer and no file takes."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadRow(f"field '{name}' holds half a surrogate pair (\\ud800 to \\udfff): correct it") from None
