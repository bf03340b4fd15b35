"""Words and their tags from treebanks: Universal Dependencies (CoNLL-U), CCGbank (AUTO files)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from waystation.errors import InputError
from waystation.tasks.examples import TaggingExample
from waystation.tasks.reading.rows import Tally, claim, complaint, lines
from waystation.tasks.reading.tags import BadRow, Iob2, Names
from waystation.tasks.task import FormatName, Reader

_TAGS = {"upos": 3, "xpos": 4}
_LEAF = re.compile(r"\(<L (\S+) \S+ \S+ (\S+) \S+>\)")  # category, two parts of speech, word, category with heads
_NODE = re.compile(r"\(<T \S+ [01] [12]> ")  # category, which child is the head, how many


def conllu(
    path: Path, reader: Reader, format: FormatName, names: Names, prefix: str, tally: Tally
) -> Iterator[TaggingExample]:
    """The words of each tree with their universal or own part of speech; a document is a cluster.

    Multiword tokens (``1-2``) and empty nodes (``1.1``) are passed over: the words are the tree's. Ids are the
    sentences' ``sent_id``, or their number where there is none or an earlier sentence has it.
    https://universaldependencies.org/format.html
    """
    if reader.tag not in _TAGS:
        raise InputError(f"{path}: reader conllu has the tags upos and xpos: set tag to one of them")
    convert = Iob2("plain", names, tally.notes)
    words: list[str] = []
    tags: list[str] = []
    named: str | None = None
    cluster: str | None = None

    def sentence(place: str) -> Iterator[TaggingExample]:
        nonlocal named
        if words:
            tally.rows += 1
            if len(words) > 1 and set(words) == {"_"}:
                raise InputError(f"{place}: the words are left out (_): restore them from the corpus's own text")
            own = f"{prefix}{tally.rows}" if named is None or named in tally.ids else named
            claim(own, tally)
            yield TaggingExample(own, tuple(words), tuple(tags), cluster)
            words.clear()
            tags.clear()
        named = None

    place = str(path)
    for number, line in lines(path):
        place = f"{path}:{number}"
        text = line.rstrip("\n")
        if not text.strip():
            yield from sentence(place)
        elif text.startswith("#"):
            key, _, value = text[1:].partition("=")
            if key.strip() == "sent_id":
                named = value.strip() or None
            elif key.split()[:1] == ["newdoc"]:
                tally.documents += 1
                cluster = value.strip() or f"{prefix}document-{tally.documents}"
        else:
            try:
                found = _word(text.split("\t"), len(words), str(reader.tag))
                if found is not None:
                    words.append(found[0])
                    tags.append(convert(found[1]))
            except BadRow as problem:
                raise complaint(place, problem) from None
    yield from sentence(place)


def _word(cells: list[str], before: int, tag: str) -> tuple[str, str] | None:
    """Form and tag of a line, or None where it is no word of the tree."""
    if len(cells) != 10:
        raise BadRow(f"{len(cells)} columns, CoNLL-U has 10, parted by tabs: correct the line")
    if re.fullmatch(r"\d+-\d+|\d+\.\d+", cells[0]):
        return None
    if cells[0] != str(before + 1):
        raise BadRow(f"word number '{cells[0]}' where {before + 1} is due: correct the first column")
    form, value = cells[1], cells[_TAGS[tag]]
    if not form.strip():
        raise BadRow("the form is empty: fill it in")
    if value == "_":
        raise BadRow(f"no {tag}: this treebank, or this word, is not tagged with it")
    return form, value


def ccgbank(
    path: Path, reader: Reader, format: FormatName, names: Names, prefix: str, tally: Tally
) -> Iterator[TaggingExample]:
    """The words of each derivation with their categories; ids are the derivations', an article (wsj_0001) a cluster.

    Leaves are ``(<L category part-of-speech part-of-speech word category-with-heads>)``.
    """
    convert = Iob2("plain", names, tally.notes)
    own = ""
    for number, line in lines(path):
        text = line.strip()
        try:
            if text.startswith("ID="):
                if own:
                    raise BadRow(f"two ID lines in turn: the derivation of '{own}' is missing")
                own = text.removeprefix("ID=").split(" ")[0]
                claim(own, tally)
            elif text:
                if not own:
                    raise BadRow("a derivation without an ID line before it: add one, or fetch the file again")
                leaves = _leaves(text)
                tally.rows += 1
                tags = tuple(convert(category) for category, _ in leaves)
                yield TaggingExample(own, tuple(word for _, word in leaves), tags, own.rpartition(".")[0] or None)
                own = ""
        except BadRow as problem:
            raise complaint(f"{path}:{number}", problem) from None
    if own:
        raise InputError(f"{path}: the derivation of '{own}', its last, is missing: fetch the file again")


def _leaves(text: str) -> list[tuple[str, str]]:
    """Category and word of each leaf, in order; ``BadRow`` for what is no derivation."""
    leaves = _LEAF.findall(text)
    rest = _NODE.sub("(", _LEAF.sub("", text)).replace(" ", "")
    while "()" in rest:
        rest = rest.replace("()", "")
    if rest or not leaves:
        raise BadRow(f"not a derivation of an AUTO file, from '{text[:40]}' on: fetch the file again")
    return leaves
