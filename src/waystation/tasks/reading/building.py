"""One row of any table to the example of a format: which fields a reader names, and what they must hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from waystation.errors import InputError, suggest
from waystation.scoring.placeholders import hint
from waystation.tasks.examples import (
    ChoiceExample,
    ClassificationExample,
    Example,
    MultilabelExample,
    SpanExample,
    TextExample,
)
from waystation.tasks.reading.fields import Empty, Several, field, joined, listed, name_of, single, texts
from waystation.tasks.reading.rows import Row, Tally, claim, numbered, shown, text_of
from waystation.tasks.reading.squad import answer_in
from waystation.tasks.reading.tagged import tagged
from waystation.tasks.reading.tags import BadRow, Names
from waystation.tasks.task import FormatName, Reader

BLANK_OPTIONS = ("", "n/a")
"""Options, in small letters and without blanks around them, that stand for "there is none"."""

# What every builder is given: the row, the reader, the task's names, the example's id and cluster, and the tally.
_Builder = Callable[[Row, Reader, Names, str, str | None, Tally], Example | None]


def wanted(path: Path, reader: Reader, format: FormatName) -> list[str]:
    """The fields that a reader takes from each row; InputError where it does not name those that the format needs."""
    match format:
        case "tagging" if reader.spans is None:
            if not isinstance(reader.token, str) or not isinstance(reader.tag, str):
                raise _unnamed(path, reader, format, "token and tag")
            named: list[str | None] = [reader.token, reader.tag]
        case "tagging":
            if isinstance(reader.token, str) == (len(texts(reader)) == 1):
                raise _unnamed(path, reader, format, "spans, and either token or one text")
            named = [reader.spans, reader.token if isinstance(reader.token, str) else None, *texts(reader)]
        case "choice":
            if not texts(reader) or not reader.options or reader.label is None:
                raise _unnamed(path, reader, format, "text, options and label")
            listed = (reader.options,) if isinstance(reader.options, str) else reader.options
            keys = reader.keys if isinstance(reader.keys, str) else None
            named = [*texts(reader), reader.question, *listed, keys, reader.label]
        case "span":
            if len(texts(reader)) != 1 or reader.question is None or reader.answers is None:
                raise _unnamed(path, reader, format, "one text, question and answers")
            named = [*texts(reader), reader.question, reader.answers]
        case "mlm":
            if not texts(reader):
                raise _unnamed(path, reader, format, "text")
            named = [*texts(reader)]
        case _:
            if not texts(reader) or reader.label is None:
                raise _unnamed(path, reader, format, "text and label")
            named = [*texts(reader), reader.pair, reader.label]
    return [name for name in dict.fromkeys([*named, reader.id, reader.cluster, *reader.where]) if name is not None]


def _unnamed(path: Path, reader: Reader, format: FormatName, needed: str) -> InputError:
    return InputError(f"{path}: reader {reader.kind} for {format} needs {needed}: name the fields that hold them")


def build(row: Row, reader: Reader, format: FormatName, names: Names, prefix: str, tally: Tally) -> Example | None:
    """The example of one row, or None where the row makes none; the tally's notes count why.

    "left out": its label is renamed to null; "several answers": its label is a list of more than one; "no options": a
    question whose options are an empty list; "empty": no text, where the reader skips these. Raises ``BadRow``.
    """
    tally.rows += 1
    own = f"{prefix}{tally.rows}"
    if reader.id is not None:
        own = text_of(field(row, reader.id), reader.id, numbers=True)
        claim(own, tally)
    try:
        return _BUILDERS[format](row, reader, names, own, _cluster(row, reader, tally), tally)
    except Several:
        tally.notes["several answers"] += 1
    except Empty:
        if not reader.skip_empty:
            raise
        tally.notes["empty"] += 1
    return None


def _cluster(row: Row, reader: Reader, tally: Tally) -> str | None:
    """The cluster that the row itself gives; one that is also a text of the example is numbered by first appearance."""
    if reader.cluster is None:
        return None
    if reader.cluster in (*texts(reader), reader.pair, reader.question):
        return numbered(joined(row, [reader.cluster]), tally)
    cluster = text_of(field(row, reader.cluster), reader.cluster, numbers=True)
    if not cluster.strip():
        raise BadRow(f"cluster '{reader.cluster}' is empty: fill it in")
    return cluster


def _classification(
    row: Row, reader: Reader, names: Names, own: str, cluster: str | None, tally: Tally
) -> ClassificationExample | None:
    text = joined(row, texts(reader))
    pair = None if reader.pair is None else joined(row, [reader.pair])
    assert reader.label is not None
    label = names(name_of(single(field(row, reader.label), reader.label), reader.label, reader.names))
    if label is None:
        tally.notes["left out"] += 1
        return None
    return ClassificationExample(own, text, label, pair, cluster)


def _multilabel(
    row: Row, reader: Reader, names: Names, own: str, cluster: str | None, tally: Tally
) -> MultilabelExample:
    text = joined(row, texts(reader))
    pair = None if reader.pair is None else joined(row, [reader.pair])
    assert reader.label is not None
    labels = [names(name_of(value, reader.label, reader.names)) for value in listed(row, reader.label, reader.split)]
    return MultilabelExample(own, text, names.ordered(label for label in labels if label is not None), pair, cluster)


def _choice(
    row: Row, reader: Reader, names: Names, own: str, cluster: str | None, tally: Tally
) -> ChoiceExample | None:
    text = joined(row, texts(reader))
    question = None if reader.question is None else _asked(joined(row, [reader.question]), reader)
    options, keys = _options(row, reader)
    if not options:
        tally.notes["no options"] += 1
        return None
    assert reader.label is not None
    right = _right(single(field(row, reader.label), reader.label), reader.label, keys, len(options))
    if _is_blank(options[right]):
        raise BadRow(f"the right option, {right} counted from 0, is empty: fill it in, or remove the row")
    kept = [(place, option) for place, option in enumerate(options) if not _is_blank(option)]
    if len(kept) < len(options):
        tally.notes["empty options"] += len(options) - len(kept)
    if len(kept) < 2:
        raise BadRow("only one option is not empty: give at least two, or remove the row")
    answer = [place for place, _ in kept].index(right)
    return ChoiceExample(own, text, tuple(option for _, option in kept), answer, question, cluster)


def _asked(question: str, reader: Reader) -> str:
    if not reader.phrases:
        return question
    if question not in reader.phrases:
        known = ", ".join(reader.phrases)
        raise BadRow(f"question '{question[:60]}' is not among phrases{suggest(question, reader.phrases)}: {known}")
    return reader.phrases[question]


def _options(row: Row, reader: Reader) -> tuple[list[str], list[str] | None]:
    """The options, and the names that they go by, if any."""
    keys = None if reader.keys is None or isinstance(reader.keys, str) else list(reader.keys)
    if isinstance(reader.options, str):
        value = field(row, reader.options)
        if isinstance(value, dict):
            keys, value = list(value), list(value.values())
        elif not isinstance(value, list):
            raise BadRow(f"field '{reader.options}' is {shown(value)}, not a list or object of options: correct it")
        options = [_option(item, reader.options) for item in value]
    else:
        options = [_option(field(row, name), name) for name in reader.options or ()]
    if isinstance(reader.keys, str):
        keys = [text_of(key, reader.keys, numbers=True) for key in listed(row, reader.keys, None)]
    if keys is not None and (len(keys) < len(options) or (isinstance(reader.keys, str) and len(keys) > len(options))):
        raise BadRow(f"{len(options)} options and {len(keys)} keys: give one key for each option")
    return options, keys


def _option(value: Any, name: str) -> str:
    return "" if value is None else text_of(value, name, numbers=True)


def _is_blank(option: str) -> bool:
    return option.strip().lower() in BLANK_OPTIONS


def _right(value: Any, name: str, keys: list[str] | None, count: int) -> int:
    """The place of the right option."""
    label = text_of(value, name, numbers=True).strip()
    if keys is not None:
        if label not in keys[:count]:
            raise BadRow(f"label '{label[:60]}' is none of the options' keys: {', '.join(keys[:count])}{hint(label)}")
        return keys.index(label)
    if not label.isdecimal() or int(label) >= count:
        places = f"no place from 0 to {count - 1}: correct it, or name the options in keys"
        raise BadRow(f"label '{label[:60]}' is {places}{hint(label)}")
    return int(label)


def _span(row: Row, reader: Reader, names: Names, own: str, cluster: str | None, tally: Tally) -> SpanExample:
    (name,) = texts(reader)
    assert reader.question is not None and reader.answers is not None
    context, question = joined(row, [name]), joined(row, [reader.question])
    answers = _answers(field(row, reader.answers), reader.answers)
    if not answers and not reader.unanswerable:
        raise BadRow("the question has no answers: remove it, or set unanswerable: true in the reader")
    found = tuple(answer_in(context, answer, number, tally) for number, answer in enumerate(answers))
    return SpanExample(own, context, question, found, cluster)


def _text(row: Row, reader: Reader, names: Names, own: str, cluster: str | None, tally: Tally) -> TextExample:
    return TextExample(own, joined(row, texts(reader)), cluster)


def _answers(value: Any, name: str) -> list[Row]:
    """Objects of text and answer_start from an object of two lists, or a list of such objects."""
    if isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise BadRow(f"field '{name}' does not hold lists text and answer_start of one length: correct it")
        return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadRow(f"field '{name}' is {shown(value)}, not {{text: [...], answer_start: [...]}}: correct it")
    return value


_BUILDERS: dict[str, _Builder] = {
    "classification": _classification,
    "multilabel": _multilabel,
    "choice": _choice,
    "span": _span,
    "tagging": tagged,
    "mlm": _text,
}
