"""Reading the files of an XTREME submission and of its references."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from waystation.errors import InputError


def lines(path: Path) -> list[str]:
    """The lines of a file without blanks around them."""
    text = _text(path)
    return [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []


def sentences(path: Path) -> list[list[str]]:
    """The tags of each sentence; empty lines part them, however many."""
    found: list[list[str]] = [[]]
    for line in lines(path):
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
            raise InputError(f"{path}: the answer to '{name}' is {json.dumps(answer)[:40]}, not a text")
    return found


def references(path: Path) -> list[tuple[str, list[str]]]:
    """Question ids and reference answers of SQuAD's JSON, in order; an id may come twice."""
    found = _json(path)
    try:
        return [
            (question["id"], [answer["text"] for answer in question["answers"]])
            for article in (found["data"] if isinstance(found, dict) else found)
            for passage in article["paragraphs"]
            for question in passage["qas"]
        ]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not SQuAD's JSON, a piece of it lacks {error}; give the file as released") from None


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


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
