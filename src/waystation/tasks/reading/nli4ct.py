"""NLI4CT: statements on clinical trials, each with the section of one or two trials that it is about.

The statements are a JSON object by id. A trial is a JSON file of its own with a list of lines per section. The premise
is the whole section, which the task names with each statement, and not the lines that are annotated as evidence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from waystation.errors import InputError, suggest
from waystation.tasks.examples import Example
from waystation.tasks.reading import streams
from waystation.tasks.reading.building import build
from waystation.tasks.reading.rows import Tally, complaint, document, string
from waystation.tasks.reading.tags import BadRow, Names
from waystation.tasks.task import FormatName, Reader

_TRIALS = {"Primary_id": "Primary trial:", "Secondary_id": "Secondary trial:"}
_TEXT = "#premise"


def nli4ct(
    path: Path, reader: Reader, format: FormatName, names: Names, prefix: str, tally: Tally
) -> Iterator[Example]:
    """Yield the statements: the sections' lines are the text, the field Statement the pair, Label the label."""
    folder = trials(path, reader)
    used = reader.model_copy(update={"text": _TEXT, "pair": "Statement", "label": "Label"})
    read = lru_cache(maxsize=1024)(_trial)
    for place, row in streams.json(path, reader, []):
        try:
            parts = []
            for key, lead in _TRIALS.items():
                if key == "Primary_id" or row.get(key) is not None:
                    parts += [lead, *_section(read, folder, string(row, key), string(row, "Section_id"))]
            example = build({_TEXT: " ".join(parts), **row}, used, format, names, prefix, tally)
        except BadRow as problem:
            raise complaint(place, problem) from None
        if example is not None:
            yield example


def trials(path: Path, reader: Reader) -> Path:
    """The folder of the trials' files, beside the statements."""
    if reader.premises is None:
        raise InputError(f"{path}: reader nli4ct needs premises: the folder of the trials, as seen from this file")
    folder = path.parent / reader.premises
    if not folder.is_dir():
        raise InputError(f"{path}: no folder {folder}: put the trials' JSON files there")
    return folder


def _trial(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise BadRow(f"no file {file.parent.name}/{file.name} for the trial: add it, or fetch the data set again")
    found = document(file)
    if not isinstance(found, dict):
        raise BadRow(f"{file.parent.name}/{file.name} is a JSON {type(found).__name__}, not a trial: fetch it again")
    return found


def _section(read: Callable[[Path], dict[str, Any]], folder: Path, trial: str, section: str) -> list[str]:
    """The lines of a trial's section, without blanks around them."""
    if not re.fullmatch(r"\w+", trial):
        raise BadRow(f"'{trial[:40]}' is no name of a trial: correct it")
    found = read(folder / f"{trial}.json")
    if section not in found:
        raise BadRow(f"trial {trial} has no section '{section}'{suggest(section, found)}: {', '.join(found)}")
    lines = found[section]
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise BadRow(f"section '{section}' of trial {trial} is no list of lines: fetch the data set again")
    return [line.strip() for line in lines if line.strip()]
