"""Plain text: a text per line, or a paragraph per blank line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from waystation.tasks.examples import TextExample
from waystation.tasks.reading.rows import Tally
from waystation.tasks.reading.rows import lines as numbered_lines
from waystation.tasks.reading.tags import Names
from waystation.tasks.task import FormatName, Reader


def lines(
    path: Path, reader: Reader, format: FormatName, names: Names, prefix: str, tally: Tally
) -> Iterator[TextExample]:
    """Yield the texts of a file without blanks around them; blank lines are passed over.

    With ``reader.paragraphs`` a text goes on up to the next blank line, its lines joined by a blank. Only a line feed
    ends a line: other separators occur inside texts.
    """
    held: list[str] = []
    for _, line in numbered_lines(path, "\n"):
        stripped = line.strip()
        if stripped:
            held.append(stripped)
        if held and not (reader.paragraphs and stripped):
            yield _text(held, prefix, tally)
            held = []
    if held:
        yield _text(held, prefix, tally)


def _text(held: list[str], prefix: str, tally: Tally) -> TextExample:
    tally.rows += 1
    return TextExample(f"{prefix}{tally.rows}", " ".join(held))
