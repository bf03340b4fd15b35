"""Sentences of a language and their English translations: line-aligned files, translation memories, mining files.

The language's own sentences are the left side, the English ones the right side. In the text files only a line feed ends
a line, since other separators occur inside sentences. Blanks around a sentence are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, cast
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from waystation import languages
from waystation.errors import InputError
from waystation.tasks.examples import RetrievalExample
from waystation.tasks.reading.rows import Tally, lines
from waystation.tasks.reading.tags import BadRow
from waystation.tasks.task import Reader

ENGLISH = "en"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_CODES = ("bpt", "ept", "it", "ph", "ut")  # elements inside a segment that hold formatting codes, not text


def read(
    paths: Sequence[Path], reader: Reader, language: str, prefix: str = "", tally: Tally | None = None
) -> Iterator[RetrievalExample]:
    """Yield the sentences of both sides of one language; ids are unique over both.

    Ids are ``prefix`` and the number of the pair, or what the file says; that of an English sentence of a pair ends in
    ``/en``. Raises InputError that begins with ``file:line`` for what is malformed.
    """
    if reader.kind not in _KINDS:
        raise InputError(f"{paths[0]}: reader '{reader.kind}' makes no retrieval examples: use {' or '.join(_KINDS)}")
    if language == ENGLISH:
        raise InputError(f"{paths[0]}: English is the other side of every language: leave '{ENGLISH}' out")
    source, wanted = _KINDS[reader.kind]
    if len(paths) != len(wanted):
        raise InputError(
            f"{paths[0]}: reader '{reader.kind}' takes {', '.join(wanted)} of a language, {len(paths)} "
            f"{'file is' if len(paths) == 1 else 'files are'} declared for '{language}': correct pattern or files"
        )
    found = False
    for example in source(paths, reader, language, prefix, Tally() if tally is None else tally):
        found = True
        yield example
    if not found:
        raise InputError(f"{paths[0]}: no sentence in it: check the file and the task's reader")


def _pair(own: str, left: str, right: str, cluster: str | None = None) -> Iterator[RetrievalExample]:
    yield RetrievalExample(own, left, "left", f"{own}/en", cluster)
    yield RetrievalExample(f"{own}/en", right, "right", own, cluster)


def parallel(
    paths: Sequence[Path], reader: Reader, language: str, prefix: str, tally: Tally
) -> Iterator[RetrievalExample]:
    """Two files: line n of one is the translation of line n of the other."""
    for left, right in zip_longest(*map(_sentences, paths)):
        if left is None or right is None:
            longer, shorter = paths if right is None else paths[::-1]
            raise InputError(
                f"{longer}:{(left or right)[0]}: {shorter.name} has no such line: the two files must be line-aligned"
            )
        tally.rows += 1
        yield from _pair(f"{prefix}{tally.rows}", left[1], right[1])


def _sentences(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in lines(path, "\n"):
        if not line.strip():
            raise InputError(f"{path}:{number}: the line is empty: fill it in, or remove it from both files")
        yield number, line.strip()


def tmx(paths: Sequence[Path], reader: Reader, language: str, prefix: str, tally: Tally) -> Iterator[RetrievalExample]:
    """A translation memory (TMX 1.4): the units' segments in the language and in English; others are passed over.

    ``reader.cluster`` names the type of the ``prop`` that says which units belong together.
    """
    for number, unit in _units(paths[0]):
        try:
            yield from _unit(unit, reader, language, prefix, tally)
        except BadRow as problem:
            raise InputError(f"{paths[0]}:{number}: {problem}") from None


def _units(path: Path) -> Iterator[tuple[int, Element]]:
    """Translation units with the line that each begins in."""
    parser: ElementTree.XMLPullParser[Any] = ElementTree.XMLPullParser(("start", "end"))
    begun = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                parser.feed(line)
                for event, element in cast("Iterator[tuple[str, Element]]", parser.read_events()):
                    if element.tag == "tu" and event == "start":
                        begun = number
                    elif element.tag == "tu":
                        yield begun, element
                        element.clear()
            parser.close()
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two: encodings it does not know
        place = f":{error.position[0]}" if isinstance(error, ElementTree.ParseError) else ""
        what = str(error).partition(":")[0]
        raise InputError(f"{path}{place}: not XML ({what}): correct it, or fetch the file again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check the path and its permissions") from None


def _unit(unit: Element, reader: Reader, language: str, prefix: str, tally: Tally) -> Iterator[RetrievalExample]:
    tally.rows += 1
    texts: dict[str, str] = {}
    for variant in unit.iter("tuv"):
        code, segment = _code(variant.get(_LANGUAGE) or variant.get("lang") or ""), variant.find("seg")
        if code in texts:
            raise BadRow(f"the unit has two sentences in '{code}': keep one")
        texts[code] = "" if segment is None else _text(segment).strip()
    for code in (language, ENGLISH):
        if not texts.get(code):
            raise BadRow(f"the unit has no sentence in '{code}' (it has: {', '.join(filter(None, texts)) or 'none'})")
    own = unit.get("tuid") or f"{prefix}{tally.rows}"
    _claim(own, tally)
    cluster = None
    if reader.cluster is not None:
        cluster = next((prop.text for prop in unit.iter("prop") if prop.get("type") == reader.cluster), None)
        if cluster is None or not cluster.strip():
            raise BadRow(f"the unit has no prop of type '{reader.cluster}': add it, or drop cluster from the reader")
    yield from _pair(own, texts[language], texts[ENGLISH], cluster)


def _code(tag: str) -> str:
    """Our code of a language tag (``es-LA`` is es), or the tag itself where nobody knows it."""
    for name in (tag, tag.partition("-")[0]):
        try:
            return languages.resolve(name).code
        except InputError:
            continue
    return tag


def _text(segment: Element) -> str:
    inner = ("" if child.tag in _CODES else _text(child) for child in segment)
    return (segment.text or "") + "".join(text + (child.tail or "") for text, child in zip(inner, segment, strict=True))


def mining(
    paths: Sequence[Path], reader: Reader, language: str, prefix: str, tally: Tally
) -> Iterator[RetrievalExample]:
    """BUCC: two files of id, tab, sentence, and one of gold pairs: the language's id, tab, the English id."""
    *texts, gold = paths
    answers: tuple[dict[str, str], dict[str, str]] = ({}, {})
    waiting: dict[tuple[Literal["left", "right"], str], int] = {}
    for number, line in lines(gold, "\n"):
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != 2 or not all(cells):
            raise InputError(f"{gold}:{number}: not two ids with a tab between them: correct the line")
        for cell, other, known in zip(cells, reversed(cells), answers, strict=True):
            if cell in known:
                raise InputError(f"{gold}:{number}: id '{cell}' is in a second pair: keep one translation of each")
            known[cell] = other
        waiting[("left", cells[0])] = waiting[("right", cells[1])] = number
    if not waiting:
        raise InputError(f"{gold}: no gold pairs in it: without them nothing can be scored")
    sides: tuple[Literal["left", "right"], ...] = ("left", "right")
    for side, path, known in zip(sides, texts, answers, strict=True):
        for number, line in lines(path, "\n"):
            own, _, text = (part.strip() for part in line.partition("\t"))
            try:
                if not own or not text:
                    raise BadRow("not an id, a tab and a sentence: correct the line")
                _claim(own, tally)
            except BadRow as problem:
                raise InputError(f"{path}:{number}: {problem}") from None
            waiting.pop((side, own), None)
            tally.rows += 1
            yield RetrievalExample(own, text, side, known.get(own))
    for (side, own), number in waiting.items():
        raise InputError(f"{gold}:{number}: id '{own}' is not in {texts[side == 'right'].name}: correct one of them")


def _claim(own: str, tally: Tally) -> None:
    if own in tally.ids:
        raise BadRow(f"id '{own}' occurs twice: make ids unique")
    tally.ids.add(own)


_Source = Callable[[Sequence[Path], Reader, str, str, Tally], Iterator[RetrievalExample]]
_KINDS: dict[str, tuple[_Source, tuple[str, ...]]] = {
    "parallel": (parallel, ("the sentences", "the English ones")),
    "tmx": (tmx, ("one file",)),
    "mining": (mining, ("the sentences", "the English ones", "the gold pairs")),
}
"""Reader → what yields its examples, and the files that it takes."""
