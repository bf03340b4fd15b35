"""Tagging: one tag for each word of a sentence that is given in words.

A word is tagged at its first sub-token that carries text: XLM-R's tokenizer starts a Chinese word with a lone ``▁``,
whose state says little. A word without any sub-token becomes the unknown token and is tagged there. A sentence longer
than the window becomes several that overlap; each word is tagged, in training and in evaluation, in one of them only.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from waystation.errors import InputError, suggest
from waystation.formats.encoding import IGNORED, Encoded, Gold, Reads, Unit, offsets_of, ranges
from waystation.scoring import metrics
from waystation.tasks.examples import Example, TaggingExample

Ints = npt.NDArray[np.int64]

reads: Reads = "scored"
unit: Unit = "token"
BATCH = 1000  # distinct words a call of the tokenizer
BLOCK = 4096  # windows written at once: bounds the memory of index arrays


def outputs(labels: Sequence[str], scheme: str) -> list[str]:
    """``O``, then ``B-X`` and ``I-X`` for each label; the labels themselves where the scheme is ``plain``."""
    if scheme == "plain":
        return list(labels)
    return ["O", *(f"{mark}-{label}" for label in labels for mark in "BI")]


def encode(
    examples: Iterable[Example], tokenizer: Any, outputs: Sequence[str], max_length: int, stride: int
) -> Encoded:
    """Encode sentences into windows of at most ``max_length`` tokens that overlap by at most ``stride`` sub-tokens.

    Windows begin and end at words; a word longer than a window is cut. ``stats``: ``tokens`` T; ``windows`` W;
    ``words``; ``subtokens`` of the words, each word counted once and whole (fertility is subtokens / words);
    ``unknown`` sub-tokens among them; ``truncated``: words cut.
    """
    text = _read(examples, outputs)
    before, after = _frame(tokenizer)
    room = max_length - len(before) - len(after)
    if not 0 <= stride < room:
        raise InputError(
            f"stride {stride} does not fit max_length {max_length}: it must lie between 0 and {room - 1}, since"
            f" {len(before) + len(after)} tokens of each window are special"
        )
    pieces = _tokenize(text.vocabulary, tokenizer, room)
    cut = _cut(text.bounds, pieces.length[text.words], room, stride)
    windows = len(cut.example)
    offsets = offsets_of(cut.tokens + len(before) + len(after))
    tokens = np.empty(offsets[-1], np.int32)
    targets, word = np.full(len(tokens), IGNORED, np.int32), np.full(len(tokens), -1, np.int32)
    tokens[offsets[:-1, None] + np.arange(len(before))] = before
    tokens[offsets[1:, None] + np.arange(-len(after), 0)] = after

    for low in range(0, windows, BLOCK):
        these = slice(low, low + BLOCK)
        body = ranges(offsets[:-1][these] + len(before), cut.tokens[these])  # positions of sub-tokens
        held = cut.last[these] - cut.first[these]  # words in each window
        words = ranges(cut.first[these], held)
        codes = text.words[words]
        tokens[body] = pieces.tokens[ranges(pieces.start[codes], pieces.length[codes])]
        window = low + np.repeat(np.arange(len(held)), held)
        scored = cut.home[words] == window
        at = body[(offsets_of(pieces.length[codes])[:-1] + pieces.lead[codes])[scored]]
        targets[at] = text.tags[words[scored]]
        word[at] = (words - text.bounds[cut.example[window]])[scored]

    return Encoded(
        tokens=tokens,
        offsets=offsets,
        example=cut.example.astype(np.int32),
        targets=targets,
        words=np.diff(text.bounds).astype(np.int32),
        types=np.zeros(len(tokens), np.uint8) if "token_type_ids" in tokenizer.model_input_names else None,
        ids=text.ids,
        clusters=text.clusters,
        gold=text.gold,
        stats={
            "tokens": len(tokens),
            "words": len(text.words),
            "subtokens": int(pieces.whole[text.words].sum()),
            "unknown": int(pieces.unknown[text.words].sum()),
            "windows": windows,
            "truncated": int((pieces.whole > pieces.length)[text.words].sum()),
        },
        word=word,
    )


@dataclass(frozen=True)
class _Text:
    """N words of E sentences as numbers: ``words`` and ``tags`` int32 [N], sentence e is ``bounds[e]:bounds[e+1]``."""

    vocabulary: list[str]
    words: npt.NDArray[np.int32]
    tags: npt.NDArray[np.int32]
    bounds: Ints
    ids: list[str]
    clusters: list[str | None]
    gold: list[Gold]


def _read(examples: Iterable[Example], outputs: Sequence[str]) -> _Text:
    number: defaultdict[str, int] = defaultdict(count().__next__)  # a new word gets the next number
    index = {name: at for at, name in enumerate(outputs)}
    words, tags, sizes = array("i"), array("i"), array("q")
    ids: list[str] = []
    clusters: list[str | None] = []
    gold: list[Gold] = []
    for example in examples:
        assert isinstance(example, TaggingExample)
        if len(example.words) != len(example.tags):
            raise InputError(f"example {example.id} has {len(example.words)} words but {len(example.tags)} tags")
        try:
            tags.extend(map(index.__getitem__, example.tags))
        except KeyError as error:
            tag = error.args[0]
            raise InputError(
                f"example {example.id} has the tag '{tag}'{suggest(tag, outputs)}, which is not among the task's tags:"
                f" {', '.join(outputs)}; add its label to the task's labels or rename it"
            ) from None
        words.extend(map(number.__getitem__, example.words))
        sizes.append(len(example.words))
        ids.append(example.id)
        clusters.append(example.cluster)
        gold.append(list(example.tags))
    return _Text(
        vocabulary=list(number),
        words=np.frombuffer(words, np.int32),
        tags=np.frombuffer(tags, np.int32),
        bounds=offsets_of(np.frombuffer(sizes, np.int64)),
        ids=ids,
        clusters=clusters,
        gold=gold,
    )


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that this tokenizer puts before and after one text ([CLS] [SEP], <s> </s>)."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or tokenizer.unk_token_id is None:
        raise InputError("tagging needs a fast tokenizer (tokenizer.json) with an unknown token; use another backbone")
    # A tokenizer.json may come with truncation or padding switched on.
    backend.no_truncation()
    backend.no_padding()
    sample = backend.encode(["a"], is_pretokenized=True)
    text = [at for at, special in enumerate(sample.special_tokens_mask) if not special]
    return sample.ids[: text[0]], sample.ids[text[-1] + 1 :]


@dataclass(frozen=True)
class _Pieces:
    """Sub-tokens of V distinct words. ``tokens`` int32 is flat; all else int64 [V].

    ``start`` in ``tokens``; ``whole``: sub-tokens; ``length``: of them kept; ``lead``: which one bears the tag;
    ``unknown``: how many are the unknown token.
    """

    tokens: npt.NDArray[np.int32]
    start: Ints
    whole: Ints
    length: Ints
    lead: Ints
    unknown: Ints


def _tokenize(vocabulary: list[str], tokenizer: Any, room: int) -> _Pieces:
    """Tokenise each distinct word once: a fast tokenizer given words treats each of them by itself."""
    backend, unknown = tokenizer.backend_tokenizer, tokenizer.unk_token_id
    flat, sizes = array("i"), array("q")
    for low in range(0, len(vocabulary), BATCH):
        batch = [[word] for word in vocabulary[low : low + BATCH]]
        for encoding in backend.encode_batch_fast(batch, is_pretokenized=True, add_special_tokens=False):
            ids = encoding.ids or [unknown]
            flat.extend(ids)
            sizes.append(len(ids))
    tokens, whole = np.frombuffer(flat, np.int32), np.frombuffer(sizes, np.int64)
    if not len(whole):
        return _Pieces(tokens, *[np.zeros(0, np.int64)] * 5)
    bounds = offsets_of(whole)
    start = bounds[:-1]
    inside = np.arange(len(tokens)) - np.repeat(start, whole)
    length = np.minimum(whole, room)
    lead = np.minimum.reduceat(np.where(np.isin(tokens, blanks(backend)), len(tokens), inside), start)
    lead = np.where(lead < length, lead, 0)  # nothing but blanks is left: the first sub-token
    return _Pieces(tokens, start, whole, length, lead, np.add.reduceat((tokens == unknown).astype(np.int64), start))


def blanks(backend: Any) -> list[int]:
    """Sub-tokens that stand for nothing but a blank: SentencePiece's ``▁`` and byte-level BPE's ``Ġ``, where they do.

    The decoder decides: in a WordPiece vocabulary ``Ġ`` is a letter of Maltese.
    """
    found = []
    for mark in "▁Ġ":
        for times in range(1, 9):
            token = backend.token_to_id(mark * times)
            decoded = "" if backend.decoder is None else backend.decoder.decode([mark * times])
            if token is not None and not decoded.strip():
                found.append(token)
    return found


@dataclass(frozen=True)
class _Cut:
    """Sentences cut into windows. ``home`` int64 [N]: the window that a word is tagged in; all else int64 [W].

    Window w of sentence ``example`` holds the words ``first:last`` (numbered through), in all ``tokens`` sub-tokens.
    """

    example: Ints
    first: Ints
    last: Ints
    tokens: Ints
    home: Ints


def _cut(bounds: Ints, lengths: Ints, room: int, stride: int) -> _Cut:
    """Cut sentences (``bounds`` [E+1]) of words (``lengths`` [N] in sub-tokens, none above ``room``) into windows."""
    ends = offsets_of(lengths)
    long = np.flatnonzero(ends[bounds[1:]] - ends[bounds[:-1]] > room)
    spans = {e: _spans(ends[bounds[e] : bounds[e + 1] + 1], room, stride) for e in long.tolist()}
    each = np.ones(len(bounds) - 1, np.int64)
    each[long] = [len(span) for span in spans.values()]
    window = offsets_of(each)  # a sentence's first window
    example = np.repeat(np.arange(len(each)), each)
    first, last, home = bounds[:-1][example], bounds[1:][example], np.repeat(window[:-1], np.diff(bounds))
    for e, span in spans.items():
        first[window[e] : window[e + 1]] = bounds[e] + span[:, 0]
        last[window[e] : window[e + 1]] = bounds[e] + span[:, 1]
        home[bounds[e] : bounds[e + 1]] = window[e] + _homes(ends[bounds[e] : bounds[e + 1] + 1], span)
    return _Cut(example, first, last, ends[last] - ends[first], home)


def _spans(ends: Ints, room: int, stride: int) -> Ints:
    """Windows [n, 2] of one sentence as (first word, word after the last); word i is sub-tokens ends[i]:ends[i+1]."""
    spans, first, words = [], 0, len(ends) - 1
    while True:
        last = int(np.searchsorted(ends, ends[first] + room, "right")) - 1
        spans.append((first, last))
        if last == words:
            return np.array(spans, np.int64)
        # Overlap no more than leaves room for the next word, else the windows would never get on.
        overlap = min(stride, room - (ends[last + 1] - ends[last]))
        first = int(np.searchsorted(ends, ends[last] - overlap, "left"))


def _homes(ends: Ints, spans: Ints) -> Ints:
    """The window [words] of one sentence in which each word has most context, the earlier one of two equals.

    Context is the number of sub-tokens up to the nearer cut; the ends of the sentence itself cut nothing off.
    """
    words = len(ends) - 1
    best, home = np.full(words, -1, np.int64), np.zeros(words, np.int64)
    for window, (first, last) in enumerate(spans.tolist()):
        left = ends[first:last] - ends[first] if first else np.full(last, ends[-1])
        right = ends[last] - ends[first + 1 : last + 1] if last < words else np.full(last - first, ends[-1])
        context = np.minimum(left, right)
        better = first + np.flatnonzero(context > best[first:last])
        best[better], home[better] = context[better - first], window
    return home


class Head(torch.nn.Module):
    """Dropout and a linear layer on every token (Phang et al. 2020).

    Weights N(0, 0.02²), as transformers draws them.
    """

    def __init__(self, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = torch.nn.Dropout(dropout)
        self.out = torch.nn.Linear(hidden, outputs)
        torch.nn.init.normal_(self.out.weight, std=0.02)
        torch.nn.init.zeros_(self.out.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states [S, H] → logits [S, C]."""
        logits: torch.Tensor = self.out(self.dropout(hidden))
        return logits


def head(hidden: int, outputs: int, dropout: float) -> torch.nn.Module:
    """A new head, drawn from torch's global generator."""
    return Head(hidden, outputs, dropout)


def loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    lengths: list[int],
    smoothing: float = 0.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy in fp32 summed over the scored tokens; logits [S, C], targets [S], ``weights`` of the classes [C].

    ``smoothing`` of the target goes to all classes alike (Szegedy et al. 2016, section 7), each with its weight.
    """
    return torch.nn.functional.cross_entropy(
        logits.float(), targets, weights, reduction="sum", label_smoothing=smoothing
    )


def decode(
    encoded: Encoded, logits: Iterable[tuple[int, npt.NDArray[np.float32]]], outputs: Sequence[str]
) -> list[Gold]:
    """The likeliest tag of every word, as it is: mending tag sequences is left to scoring."""
    assert encoded.word is not None
    bounds = offsets_of(encoded.words)
    found = np.full(bounds[-1], -1, np.int64)
    for window, rows in logits:
        word = encoded.word[encoded.offsets[window] : encoded.offsets[window + 1]]
        scored = np.flatnonzero(word >= 0)
        found[bounds[encoded.example[window]] + word[scored]] = rows.argmax(-1)
    if len(found) and found.min() < 0:
        raise ValueError("logits are missing for some windows")
    tags = np.array(outputs, object)[found].tolist()
    return [tags[low:high] for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]


def counts(gold: Gold, pred: Gold) -> list[int]:
    """``scoring.metrics.TAG_COUNTS`` of one sentence."""
    return metrics.counts(gold, pred)
