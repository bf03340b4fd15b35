"""How much an example is, before any tokenizer has seen it: for plans, where a guess will do."""

from __future__ import annotations

from math import ceil

from waystation.tasks.examples import ChoiceExample, Example, SpanExample, TaggingExample, TextExample, texts_of


def expected_size(example: Example, max_length: int, stride: int) -> tuple[int, float]:
    """(words, tokens of all its windows); sub-tokens are 1.45 per word or one per 3.6 characters, whichever is more."""
    if isinstance(example, TaggingExample):
        words = len(example.words)
        return words, _subtokens(words, sum(map(len, example.words))) + 2
    if isinstance(example, SpanExample):
        return _span(example, max_length, stride)
    if isinstance(example, ChoiceExample):
        return _choice(example, max_length)
    if isinstance(example, TextExample):
        return expected_text_size(example, max_length)
    text = example.text + " " + (getattr(example, "pair", None) or "")
    words = len(text.split())
    return words, min(float(max_length), _subtokens(words, len(text)) + 2)


def expected_text_size(example: Example, max_length: int) -> tuple[int, float]:
    """The same of an example of any format that is read as text alone."""
    sizes = [_measured(text) for text in texts_of(example)]
    pieces = [_subtokens(*size) for size in sizes]
    tokens = sum(piece + 2 * ceil(piece / (max_length - 2)) for piece in pieces)
    return sum(words for words, _ in sizes), tokens


def _choice(example: ChoiceExample, max_length: int) -> tuple[int, float]:
    text = _measured(example.text)
    options = [_measured(f"{example.question or ''} {option}") for option in example.options]
    words = text[0] + sum(words for words, _ in options)
    return words, sum(min(float(max_length), _subtokens(*text) + _subtokens(*option) + 4) for option in options)


def _measured(text: str) -> tuple[int, int]:
    return len(text.split()), len(text)


def _span(example: SpanExample, max_length: int, stride: int) -> tuple[int, float]:
    asked, words = len(example.question.split()), len(example.context.split())
    lead = min(_subtokens(asked, len(example.question)) + 4, max_length / 2)  # stands in every window
    size, room = _subtokens(words, len(example.context)), max_length - lead
    more = max(0.0, (size - room) // max(1.0, room - stride) + 1)  # windows after the first
    return asked + words, lead + size + more * (lead + stride)


def _subtokens(words: int, letters: int) -> float:
    return max(1.45 * words, letters / 3.6)
