"""Encoding a corpus against tokenizers' own batch encoder: from examples to what training reads, and from texts alone.

The peer gets its texts ready made, cuts them where the engine does, and keeps nothing but the number of its tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import Case, Result, Settings, measure
from benchmarks.workloads import tokenizer
from waystation import formats
from waystation.errors import InputError
from waystation.formats.encoding import Encoded
from waystation.tasks import known, sources
from waystation.tasks.examples import ClassificationExample, Example, SpanExample, TaggingExample

BATCH = 1000  # texts a call of the peer
TARGET = 0.9


class Corpus(NamedTuple):
    """Examples with the classes of their head, and what they are, for people."""

    examples: list[Any]
    outputs: list[str]
    source: str


def corpus(task_id: str, split: str, languages: int, like: Callable[[int], Example]) -> Corpus:
    """Some languages of a catalog task in $WAYSTATION_DATA; else 5000 examples made by ``like`` from their numbers."""
    task = known.find(task_id)
    assert task.reader is not None
    codes = task.languages(split)  # type: ignore[arg-type]
    chosen = codes[:: max(1, len(codes) // languages)][:languages]
    try:
        found = [one for code in chosen for one in sources.read(task, split, code, None)]  # type: ignore[arg-type]
        source = f"{task_id} {split}, languages: {len(chosen)}"
    except InputError:
        found, source = [like(number) for number in range(5000)], "random words"
    outputs = formats.get(task.format).outputs(task.labels, task.reader.scheme)
    return Corpus(found, outputs, source)


def words(seed: int, count: int) -> tuple[str, ...]:
    """Random words, the frequent ones short."""
    drawn = np.random.default_rng(seed).zipf(1.1, count) % 30_000
    return tuple(np.base_repr(word, 26).lower() for word in drawn.tolist())


def tagged(number: int) -> Example:
    """Of PAN-X's length."""
    text = words(number, 3 + number % 12)
    return TaggingExample(str(number), text, ("O",) * len(text))


def paired(number: int) -> Example:
    """Of XNLI's length."""
    text, pair = words(2 * number, 10 + number % 20), words(2 * number + 1, 5 + number % 10)
    return ClassificationExample(str(number), " ".join(text), "neutral", " ".join(pair))


def asked(number: int) -> Example:
    """Of SQuAD's length."""
    text, question = words(2 * number, 60 + number % 140), words(2 * number + 1, 10)
    return SpanExample(str(number), " ".join(text), " ".join(question), ((text[0], 0),))


class Theirs:
    """The batch encoder (``encode_batch`` or ``encode_batch_fast``) on ``texts``, cut as ``truncation`` says."""

    def __init__(self, method: str, texts: Sequence[Any], truncation: Mapping[str, Any], **options: Any) -> None:
        self.backend = tokenizer().backend_tokenizer
        self.encode, self.texts = getattr(self.backend, method), texts
        self.truncation, self.options = truncation, options

    def __call__(self) -> int:
        """How many tokens all windows have."""
        self.backend.enable_truncation(**self.truncation)
        found = 0
        for low in range(0, len(self.texts), BATCH):
            for encoding in self.encode(self.texts[low : low + BATCH], **self.options):
                found += len(encoding)
                if "stride" in self.truncation:
                    found += sum(map(len, encoding.overflowing))
        self.backend.no_truncation()
        return found


def _row(
    name: str,
    format: str,
    given: Corpus,
    texts: Iterable[tuple[str, ...]],
    truncation: Mapping[str, Any],
    settings: Settings,
    within: float = 0.0,
    **options: Any,
) -> Result:
    """``within``: by what part the numbers of tokens may differ, where the two do not cut at the same places."""
    form, ready = formats.get(format), list(texts)
    length, stride = truncation["max_length"], truncation.get("stride", 0)

    def ours() -> int:
        encoded: Encoded = form.encode(given.examples, tokenizer(), given.outputs, length, stride)
        return len(encoded.tokens)

    def same(tokens: Mapping[str, int]) -> None:
        assert max(tokens.values()) <= min(tokens.values()) * (1 + within), tokens

    theirs = {method: Theirs(method, ready, truncation, **options) for method in ("encode_batch", "encode_batch_fast")}
    pieces = [piece for text in ready for piece in text]
    note = (
        f"{given.source}: {len(ready)} examples, {ours()} tokens; "
        f"{len(set(pieces))} of {len(pieces)} {'words' if format == 'tagging' else 'texts'} are different"
    )
    return measure(Case(name, {"encode_batch": TARGET}, ours, theirs, same, note), settings)


def tagging(settings: Settings) -> Result:
    """Sentences in words; the peer's words are cut at the window, and it is told them as such."""
    given = corpus("panx", "test", 10 if settings.quick else 40, tagged)
    texts, truncation = [one.words for one in given.examples], {"max_length": 128, "stride": 32}
    return _row("encoding-tagging", "tagging", given, texts, truncation, settings, 0.001, is_pretokenized=True)


def pairs(settings: Settings) -> Result:
    """Sentence pairs, cut from the longer one first."""
    given = corpus("xnli", "test", 3 if settings.quick else 15, paired)
    texts = [(one.text, one.pair) for one in given.examples]
    truncation = {"max_length": 128, "strategy": "longest_first"}
    return _row("encoding-pairs", "classification", given, texts, truncation, settings)


def span(settings: Settings) -> Result:
    """Questions on passages, which are cut into windows that overlap."""
    given = corpus("squad_subset", "train", 1, asked)
    given = given._replace(examples=given.examples[: 500 if settings.quick else None])
    texts = [(one.question, one.context) for one in given.examples]
    truncation = {"max_length": 384, "stride": 128, "strategy": "only_second"}
    return _row("encoding-span", "span", given, texts, truncation, settings, 0.001)


ROWS = {"encoding-tagging": tagging, "encoding-pairs": pairs, "encoding-span": span}
