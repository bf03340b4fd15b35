"""YAML as people mean it: YAML 1.2 scalars, no silent duplicates, and the line of every key.

PyYAML reads YAML 1.1, where ``no`` is False, ``1e-5`` is a string, ``12:30`` is 750 and a date is an object. Here
``no``, ``yes``, ``on`` and ``off`` are strings (``no`` is Norwegian), only ``true`` and ``false`` are booleans,
``1e-5`` is a number, and everything else is the string that was written. Keys are always strings.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from waystation.errors import InputError

Lines = dict[tuple[str | int, ...], int]
"""Line of each key path: ``("target", 0, "id")`` is key ``id`` of the first item of ``target``; ``()`` is the start."""

_CORE = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class _Loader(yaml.SafeLoader):
    """The parser alone: a plain scalar arrives as its text under the tag ``plain``, and ``_scalar`` decides."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """Replace YAML 1.1's guesses; ``implicit[0]`` is true for scalars without quotes and without a tag."""
        if kind is ScalarNode:
            return "plain" if implicit[0] else _CORE + "str"
        return _CORE + ("seq" if kind is SequenceNode else "map")


def load(path: Path) -> tuple[Any, Lines]:
    """Read a YAML file; return its data and the line of each key path."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: check the path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8 (byte 0x{raw[error.start]:02x}): save the file as UTF-8") from None
    return loads(text, str(path))


def loads(text: str, name: str) -> tuple[Any, Lines]:
    """Read YAML from a string; ``name`` stands for the file in messages."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            raise InputError(f"{name}:1: the file holds no YAML: write at least one key")
        lines: Lines = {(): _line(node)}
        return _value(node, (), lines, name, ()), lines
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = ord(error.character) if isinstance(error.character, str) else int(error.character)
        raise InputError(f"{name}:{line}: character U+{code:04X} is not allowed in YAML: remove it") from None
    except yaml.MarkedYAMLError as error:
        raise InputError(_syntax(error, name)) from None
    except RecursionError:
        raise InputError(f"{name}:1: nested too deeply: flatten the lists or mappings") from None


def _syntax(error: yaml.MarkedYAMLError, name: str) -> str:
    problem = " ".join(str(error.problem or error.context or "cannot be parsed").split())
    # What is never closed is best shown where it opens.
    unclosed = "end of stream" in problem or "<stream end>" in problem
    mark = (error.context_mark if unclosed else None) or error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 1
    if unclosed:
        return f"{name}:{line}: a quote or bracket that opens here is never closed: close it"
    if "'\\t'" in problem:
        return f"{name}:{line}: a tab: YAML is indented with spaces"
    if "expected a single document" in str(error.context):
        return f"{name}:{line}: a second document ('---') begins: keep one document in a file"
    if "could not find expected ':'" in problem:
        return f"{name}:{line}: a line without ':': write 'key: value'"
    if "mapping values are not allowed" in problem:
        return f"{name}:{line}: a ':' where no key can stand: check the indentation, or quote the text"
    return f"{name}:{line}: not valid YAML: {problem}: check indentation, brackets and quotes"


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _value(node: Node, path: tuple[str | int, ...], lines: Lines, name: str, above: tuple[Node, ...]) -> Any:
    """The data of a node; ``above`` are its ancestors, so that an alias of one of them is seen."""
    if any(node is parent for parent in above):
        raise InputError(f"{name}:{_line(node)}: this part contains itself through an alias: write it out")
    if isinstance(node, ScalarNode):
        return _scalar(node, name)
    above = (*above, node)
    if isinstance(node, SequenceNode):
        _known_tag(node, "seq", name)
        items = []
        for index, item in enumerate(node.value):
            lines[(*path, index)] = _line(item)
            items.append(_value(item, (*path, index), lines, name, above))
        return items
    assert isinstance(node, MappingNode)
    _known_tag(node, "map", name)
    found: dict[str, Any] = {}
    for key_node, item in node.value:
        if not isinstance(key_node, ScalarNode):
            raise InputError(f"{name}:{_line(key_node)}: a key must be a plain word, not a list or mapping")
        key = str(key_node.value)
        if key == "<<":
            raise InputError(f"{name}:{_line(key_node)}: merge keys ('<<') are not read: write the fields out")
        if key in found:
            first = lines[(*path, key)]
            raise InputError(f"{name}:{_line(key_node)}: key '{key}' is given twice (first in line {first}): keep one")
        lines[(*path, key)] = _line(key_node)
        found[key] = _value(item, (*path, key), lines, name, above)
    return found


def _known_tag(node: Node, kind: str, name: str) -> None:
    if node.tag != _CORE + kind:
        raise InputError(f"{name}:{_line(node)}: tag '{node.tag}' is not read: remove it")


def _scalar(node: ScalarNode, name: str) -> Any:
    text = str(node.value)
    if node.tag != "plain":
        _known_tag(node, "str", name)
        return text
    if text in _WORDS:
        return _WORDS[text]
    try:
        if _INT.fullmatch(text):
            return int(text, 0) if text[1:2] in ("o", "x") else int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    except ValueError:
        raise InputError(f"{name}:{_line(node)}: the number is too long: quote it if it is text") from None
    return text
