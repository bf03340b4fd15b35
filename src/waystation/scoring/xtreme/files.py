"""Reading the files of an XTREME submission and of its references."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from waystation.errors import InputError

_T = TypeVar("_T")


def lines(path: Path) -> list[str]:
    """The lines of a file without blanks around them."""
    text = _text(path)
    return [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []


def last_column(path: Path) -> list[str]:
    """The labels of references as they are released: the last of the columns of each line."""
    return [line.rpartition("\t")[2].strip() for line in lines(path)]


def sentences(given: Iterable[str]) -> list[list[str]]:
    """Lines in sentences; empty lines part them, however many."""
    found: list[list[str]] = [[]]
    for line in given:
        if line:
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return found if found[-1] else found[:-1]


def answers(path: Path) -> dict[str, str]:
    """Predicted answers by question id. Raises InputError where an id comes twice, or an answer is no text."""
    found = _json(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: a JSON {type(found).__name__}, not an object: write {{question id: answer, ...}}")
    for name, answer in found.items():
        if not isinstance(answer, str):
            raise InputError(f"{path}: the answer to '{name}' is {shown(answer)}, not a text")
    return found


def references(path: Path) -> list[tuple[str, list[str]]]:
    """Question ids and reference answers of SQuAD's JSON, in order; an id may come twice."""
    found = _json(path)
    try:
        articles = found if isinstance(found, list) else _listed(found, "data")
        passages = [passage for article in articles for passage in _listed(article, "paragraphs")]
        questions = [question for passage in passages for question in _listed(passage, "qas")]
        return [
            (_text_in(one, "id"), [_text_in(answer, "text") for answer in _listed(one, "answers")]) for one in questions
        ]
    except _NotSquad as error:
        raise InputError(f"{path}: not SQuAD's JSON: {error}; give the file as released") from None


class _NotSquad(Exception):
    """What is wrong with a piece of it."""


def _listed(piece: Any, name: str) -> list[Any]:
    return _of_kind(piece, name, list, "list")


def _text_in(piece: Any, name: str) -> str:
    return _of_kind(piece, name, str, "text")


def _of_kind(piece: Any, name: str, kind: type[_T], called: str) -> _T:
    if not isinstance(piece, dict):
        raise _NotSquad(f"{shown(piece)} stands where an object with '{name}' should")
    if name not in piece:
        raise _NotSquad(f"a piece of it lacks '{name}'")
    value = piece[name]
    if not isinstance(value, kind):
        raise _NotSquad(f"'{name}' is {shown(value)}, not a {called}")
    return value


def shown(value: Any) -> str:
    """A value as JSON writes it, cut short."""
    try:
        return json.dumps(value, ensure_ascii=False)[:40]
    except (RecursionError, ValueError):  # nested as deep as it could be read; an integer of thousands of digits
        return f"a {type(value).__name__}"


def _json(path: Path) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(name for at, (name, _) in enumerate(pairs) if name in dict(pairs[:at]))
            raise InputError(f"{path}: '{twice}' comes twice in one object; leave one out")
        return found

    try:
        return json.loads(_text(path), object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets in brackets
        why = "nested too deep" if isinstance(error, RecursionError) else str(error).partition(":")[0]
        raise InputError(f"{path}: not JSON that can be read: {why}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
