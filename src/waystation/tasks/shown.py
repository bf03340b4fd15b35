"""Examples as text for people."""

from __future__ import annotations

from waystation.tasks.examples import (
    ChoiceExample,
    ClassificationExample,
    Example,
    MultilabelExample,
    RetrievalExample,
    SpanExample,
    TaggingExample,
    TextExample,
)

LONGEST = 400
"""Characters shown of a text."""


def shown(example: Example, sensitive: bool = False) -> str:
    """An example in a few lines: its id, its texts, its labels; without any text where it is ``sensitive``."""
    head = example.id + ("" if example.cluster is None else f"  (cluster {_cut(example.cluster, sensitive)})")
    return "\n".join([head, *(f"  {line}" for line in _lines(example, sensitive))])


def _lines(example: Example, sensitive: bool) -> list[str]:
    match example:
        case TaggingExample():
            return [" ".join(example.tags) if sensitive else _tagged(example.words, example.tags)]
        case ClassificationExample():
            return [*_texts(sensitive, example.text, example.pair), f"-> {example.label}"]
        case MultilabelExample():
            return [*_texts(sensitive, example.text, example.pair), f"-> {', '.join(example.labels) or 'none'}"]
        case ChoiceExample():
            lines = _texts(sensitive, example.text, example.question)
            for place, option in enumerate(example.options):
                lines.append(f"{'->' if place == example.answer else '  '} {place}: {_cut(option, sensitive)}")
            return lines
        case SpanExample():
            answers = [f"{_cut(text, sensitive)} (at {start})" for text, start in example.answers]
            texts = _texts(sensitive, example.context, example.question)
            return [*texts, f"-> {' | '.join(answers) or 'the text does not say'}"]
        case RetrievalExample():
            return [f"{example.side}: {_cut(example.text, sensitive)}", f"-> {example.answer or 'no translation'}"]
        case TextExample():
            return _texts(sensitive, example.text)


def _texts(sensitive: bool, *texts: str | None) -> list[str]:
    return [_cut(text, sensitive) for text in texts if text]


def _cut(text: str, sensitive: bool) -> str:
    if sensitive:
        return f"({len(text)} characters)"
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}... ({len(line)} characters)"


def _tagged(words: tuple[str, ...], tags: tuple[str, ...]) -> str:
    """Entities in brackets with their type; a plain tag stands behind its word."""
    pieces: list[str] = []
    for place, (word, tag) in enumerate(zip(words, tags, strict=True)):
        kind, ends = tag[2:], place + 1 == len(tags) or not tags[place + 1].startswith("I-")
        if tag == "O":
            pieces.append(word)
        elif tag.startswith(("B-", "I-")):
            pieces.append(f"{'[' if tag[0] == 'B' else ''}{word}{f' {kind}]' if ends else ''}")
        else:
            pieces.append(f"{word}/{tag}")
    return " ".join(pieces)
