"""Span: the piece of a text that answers a question (extractive question answering).

A window is the question and a piece of the text, in the tokenizer's own layout for pairs. A text longer than a window
becomes several that overlap by the stride or a little more, so that an answer no longer than that lies whole in one of
them. Where they are cut follows from the text, never from the answer: a test must not give its answers away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from waystation.errors import InputError
from waystation.formats.classification import words_in
from waystation.formats.encoding import Encoded, Gold, Reads, offsets_of, ranges
from waystation.formats.tagging import blanks
from waystation.scoring import metrics
from waystation.tasks.task import Example, SpanExample

Ints = npt.NDArray[np.int64]

reads: Reads = "all"
BATCH = 1000  # texts a call of the tokenizer
BLOCK = 4096  # windows written at once: bounds the memory of index arrays

# As in Phang et al. 2020's released code: sub-tokens of a question and of an answer, candidates for its start and end.
QUESTION, ANSWER, BEST = 64, 30, 20

_SPACES = np.array([code for code in range(0x3001) if chr(code).isspace()], np.uint32)


def outputs(labels: Sequence[str], scheme: str) -> list[str]:
    """Start and end."""
    return ["start", "end"]


def encode(
    examples: Iterable[Example], tokenizer: Any, outputs: Sequence[str], max_length: int, stride: int
) -> Encoded:
    """Encode questions and their texts into windows of at most ``max_length`` tokens.

    A question keeps its first 64 sub-tokens, and at most half of the window. The text of neighbouring windows overlaps
    by at least ``stride`` sub-tokens, or half of the room for it where that is less. ``targets`` int32 [W, 2] are
    the first and the last token of the first answer, or 0 and 0, the window's first token, where it does not lie whole
    in the window. ``stats``: ``tokens`` T; ``windows``; of the examples' questions and texts, whole, ``words`` by
    ``words_in``, ``subtokens`` and the ``unknown`` ones; ``truncated``: questions cut; ``split``: first answers that
    lie whole in no window.
    """
    read, frame = _read(examples), _frame(tokenizer)
    free = max_length - len(frame.before) - len(frame.between) - len(frame.after)
    if free < 2:
        raise InputError(
            f"max_length {max_length} leaves no room for text: {max_length - free} tokens of each window are special"
        )
    questions, texts = _tokenize(read.questions, tokenizer), _tokenize(read.texts, tokenizer)
    whole = np.diff(questions.bounds)[read.question]
    asked = np.minimum(whole, min(QUESTION, free // 2))
    example, first, last = _cut(texts, read.text, free - asked, stride)
    begin, end = _answers(texts, read)
    held = (first <= begin[example]) & (end[example] < last) & (begin <= end)[example]
    answer = np.stack([begin, end], 1)[example]

    question, text = read.question[example], read.text[example]
    lead = len(frame.before) + asked[example] + len(frame.between)  # where a window's text begins
    offsets = offsets_of(lead + last - first + len(frame.after))
    tokens, chars = np.empty(offsets[-1], np.int32), np.full((offsets[-1], 2), -1, np.int32)
    types = np.zeros(len(tokens), np.uint8) if "token_type_ids" in tokenizer.model_input_names else None

    def put(at: Ints, ids: npt.NDArray[np.int32], kinds: npt.NDArray[np.uint8]) -> None:
        tokens[at] = ids
        if types is not None:
            types[at] = kinds

    for low in range(0, len(example), BLOCK):
        these = slice(low, low + BLOCK)
        start, body, size = offsets[:-1][these, None], offsets[:-1][these] + lead[these], (last - first)[these]
        put(start + np.arange(len(frame.before)), frame.before, frame.types[0])
        put(body[:, None] - np.arange(len(frame.between), 0, -1), frame.between, frame.types[2])
        put(offsets[1:][these, None] - np.arange(len(frame.after), 0, -1), frame.after, frame.types[4])
        kept = asked[example[these]]
        pieces = ranges(questions.bounds[question[these]], kept)
        put(ranges(start[:, 0] + len(frame.before), kept), questions.tokens[pieces], frame.types[1])
        pieces = ranges(texts.bounds[text[these]] + first[these], size)
        put(ranges(body, size), texts.tokens[pieces], frame.types[3])
        chars[ranges(body, size)] = texts.chars[pieces]

    words = [np.array([words_in(item) for item in items], np.int64) for items in (read.questions, read.texts)]
    share = asked / np.maximum(1, whole)
    subtokens = whole + np.diff(texts.bounds)[read.text]
    unknown = [_sums(part.tokens == tokenizer.unk_token_id, part.bounds) for part in (questions, texts)]
    return Encoded(
        tokens=tokens,
        offsets=offsets,
        example=example.astype(np.int32),
        targets=np.where(held[:, None], answer + (lead - first)[:, None], 0).astype(np.int32),
        words=(np.round(words[0][read.question] * share) + words[1][read.text]).astype(np.int32),
        types=types,
        ids=read.ids,
        clusters=read.clusters,
        gold=read.gold,
        stats={
            "tokens": len(tokens),
            "words": int((words[0][read.question] + words[1][read.text]).sum()),
            "subtokens": int(subtokens.sum()),
            "unknown": int((unknown[0][read.question] + unknown[1][read.text]).sum()),
            "windows": len(example),
            "truncated": int((asked < whole).sum()),
            "split": len(read.ids) - len(np.unique(example[held])),
        },
        chars=chars,
        text=text.astype(np.int32),
        texts=read.texts,
    )


@dataclass(frozen=True)
class _Read:
    """E examples; ``question``, ``text`` [E] say which of the different questions and texts, ``answer`` [E, 2] where
    the first answer stands (first character, the one after its last)."""

    questions: list[str]
    texts: list[str]
    question: Ints
    text: Ints
    answer: Ints
    ids: list[str]
    clusters: list[str | None]
    gold: list[Gold]


def _read(examples: Iterable[Example]) -> _Read:
    questions: defaultdict[str, int] = defaultdict(count().__next__)  # a new text gets the next number
    texts: defaultdict[str, int] = defaultdict(count().__next__)
    rows: list[tuple[int, int, int, int]] = []
    ids: list[str] = []
    clusters: list[str | None] = []
    gold: list[Gold] = []
    for example in examples:
        assert isinstance(example, SpanExample)
        if not example.answers:
            raise InputError(f"example {example.id} has no answer; add one, or leave it out")
        answer, start = example.answers[0]
        rows.append((questions[example.question], texts[example.context], start, start + len(answer)))
        ids.append(example.id)
        clusters.append(example.cluster)
        gold.append([answer for answer, _ in example.answers])
    table = np.array(rows, np.int64).reshape(-1, 4)
    return _Read(list(questions), list(texts), table[:, 0], table[:, 1], table[:, 2:], ids, clusters, gold)


@dataclass(frozen=True)
class _Frame:
    """The special tokens around a pair, and the types of the five parts of a window."""

    before: npt.NDArray[np.int32]
    between: npt.NDArray[np.int32]
    after: npt.NDArray[np.int32]
    types: list[npt.NDArray[np.uint8]]


def _frame(tokenizer: Any) -> _Frame:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or tokenizer.unk_token_id is None:
        raise InputError("span needs a fast tokenizer (tokenizer.json) with an unknown token; use another backbone")
    # A tokenizer.json may come with truncation or padding switched on.
    backend.no_truncation()
    backend.no_padding()
    sample = backend.encode("a", "a")
    sides = np.array([-1 if side is None else side for side in sample.sequence_ids])
    (q, r), (t, u) = (np.flatnonzero(sides == side)[[0, -1]] for side in (0, 1))
    ids, kinds = np.array(sample.ids, np.int32), np.array(sample.type_ids, np.uint8)
    types = [kinds[:q], kinds[q], kinds[r + 1 : t], kinds[t], kinds[u + 1 :]]
    return _Frame(ids[:q], ids[r + 1 : t], ids[u + 1 :], types)


@dataclass(frozen=True)
class _Pieces:
    """Sub-tokens of V texts: ``tokens`` int32 [n], text v is ``bounds[v]:bounds[v+1]``; ``chars`` int32 [n, 2], the
    characters of the text that each stands for, without blanks; ``head`` bool [n]: whether it begins a word."""

    tokens: npt.NDArray[np.int32]
    bounds: Ints
    chars: npt.NDArray[np.int32]
    head: npt.NDArray[np.bool_]


def _tokenize(texts: list[str], tokenizer: Any) -> _Pieces:
    """Tokenise each different text once: the parts of a pair do not touch each other."""
    backend = tokenizer.backend_tokenizer
    sizes = [np.zeros(0, np.int64)]
    tokens, chars = [np.zeros(0, np.int32)], [np.zeros((0, 2), np.int32)]
    heads = [np.zeros(0, np.bool_)]
    for low in range(0, len(texts), BATCH):
        batch = texts[low : low + BATCH]
        found = backend.encode_batch(batch, add_special_tokens=False)
        size = np.array([len(encoding) for encoding in found], np.int64)
        ids = np.concatenate([np.array(encoding.ids, np.int32) for encoding in found])
        extents = np.concatenate([np.array(encoding.offsets, np.int64).reshape(-1, 2) for encoding in found])
        word = np.concatenate([np.array(encoding.word_ids, np.int64) for encoding in found])
        head = np.ones(len(ids), np.bool_)
        head[1:] = word[1:] != word[:-1]
        head[offsets_of(size)[:-1][size > 0]] = True
        start = np.repeat(offsets_of(np.array([len(text) for text in batch]))[:-1], size)
        sizes.append(size)
        tokens.append(ids)
        chars.append((_trimmed("".join(batch), extents + start[:, None]) - start[:, None]).astype(np.int32))
        heads.append(head)
    flat, extents = np.concatenate(tokens), np.concatenate(chars)
    blank = np.isin(flat, blanks(backend))  # SentencePiece says that a lone ▁ stands for the letter after it
    extents[blank, 1] = extents[blank, 0]
    return _Pieces(flat, offsets_of(np.concatenate(sizes)), extents, np.concatenate(heads))


def _trimmed(text: str, extents: Ints) -> Ints:
    """Extents [n, 2] in a text without the blanks at both ends: SentencePiece counts the blank before a word as its."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    solid, places = ~np.isin(codes, _SPACES), np.arange(len(codes))
    full = extents[extents[:, 0] < extents[:, 1]]
    if solid[full[:, 0]].all() and solid[full[:, 1] - 1].all():
        return extents  # as XLM-R's tokenizer counts
    following = np.minimum.accumulate(np.append(np.where(solid, places, len(codes)), len(codes))[::-1])[::-1]
    preceding = np.maximum.accumulate(np.append(0, np.where(solid, places + 1, 0)))
    start = np.minimum(following[extents[:, 0]], extents[:, 1])
    return np.stack([start, np.maximum(preceding[extents[:, 1]], start)], 1)


def _answers(texts: _Pieces, read: _Read) -> tuple[Ints, Ints]:
    """First and last sub-token of each example's first answer in its text; none where the first is after the last."""
    begin, end = np.empty(len(read.ids), np.int64), np.empty(len(read.ids), np.int64)
    for at, (text, (low, high)) in enumerate(zip(read.text.tolist(), read.answer.tolist(), strict=True)):
        chars = texts.chars[texts.bounds[text] : texts.bounds[text + 1]]
        begin[at] = np.searchsorted(chars[:, 1], low, "right")
        end[at] = np.searchsorted(chars[:, 0], high, "left") - 1
    return begin, end


def _cut(texts: _Pieces, text: Ints, room: Ints, stride: int) -> tuple[Ints, Ints, Ints]:
    """Windows of examples (``text``, ``room`` [E]): example, first sub-token of its text and the one after the last."""
    size = np.diff(texts.bounds)[text]
    known: dict[tuple[int, int], Ints] = {}
    each, spans = np.ones(len(text), np.int64), []
    for at in np.flatnonzero(size > room).tolist():
        key = (int(text[at]), int(room[at]))
        if key not in known:
            head = texts.head[texts.bounds[key[0]] : texts.bounds[key[0] + 1]]
            known[key] = _spans(np.append(np.flatnonzero(head), len(head)), key[1], min(stride, key[1] // 2))
        each[at] = len(known[key])
        spans.append(known[key])
    example = np.repeat(np.arange(len(text)), each)
    first, last = np.zeros(len(example), np.int64), size[example]
    if spans:
        long = (each > 1)[example]
        first[long], last[long] = np.concatenate(spans).T
    return example, first, last


def _spans(edges: Ints, room: int, stride: int) -> Ints:
    """Windows [n, 2] of one text as (first sub-token, the one after the last); ``edges``: where words begin, the end.

    They overlap by ``stride`` or more, and are cut between words as far as that lets them get on: at an edge among the
    last ``slack`` places where they could be cut, else there.
    """
    slack = (room - stride - 1) // 2
    spans, first, size = [], 0, int(edges[-1])
    while True:
        last = _edge(edges, min(first + room, size), slack)
        spans.append((first, last))
        if last == size:
            return np.array(spans, np.int64)
        first = _edge(edges, last - stride, slack)


def _edge(edges: Ints, place: int, slack: int) -> int:
    edge = int(edges[np.searchsorted(edges, place, "right") - 1])
    return edge if edge >= place - slack else place


def _sums(marks: npt.NDArray[np.bool_], offsets: Ints) -> Ints:
    return np.diff(np.append(0, np.cumsum(marks))[offsets])


class Head(torch.nn.Module):
    """A linear layer on every token, without dropout, as transformers' heads for question answering.

    Weights N(0, 0.02²), as transformers draws them.
    """

    def __init__(self, hidden: int, outputs: int) -> None:
        super().__init__()
        self.out = torch.nn.Linear(hidden, outputs)
        torch.nn.init.normal_(self.out.weight, std=0.02)
        torch.nn.init.zeros_(self.out.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states [N, H] → logits [N, 2]."""
        logits: torch.Tensor = self.out(hidden)
        return logits


def head(hidden: int, outputs: int, dropout: float) -> torch.nn.Module:
    """A new head, drawn from torch's global generator."""
    return Head(hidden, outputs)


def loss(logits: torch.Tensor, targets: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """Mean cross-entropy of start and end over each window's tokens, in fp32, summed over windows.

    logits [N, 2], targets [B, 2], lengths of the B windows (sum N).
    """
    rows = torch.split(logits.float(), lengths)
    padded = torch.nn.utils.rnn.pad_sequence(list(rows), True, float("-inf"))  # [B, L, 2]
    return torch.nn.functional.cross_entropy(padded, targets, reduction="sum") / 2


def decode(
    encoded: Encoded, logits: Iterable[tuple[int, npt.NDArray[np.float32]]], outputs: Sequence[str]
) -> list[Gold]:
    """The likeliest answer to every question: the best span of all its windows by the sum of both logits.

    Never empty: a window none of whose tokens stands for text offers the whole text, at last choice.
    """
    assert encoded.chars is not None and encoded.text is not None and encoded.texts is not None
    found: dict[int, tuple[float, int, str]] = {}
    for window, rows in logits:
        text, example = encoded.texts[encoded.text[window]], int(encoded.example[window])
        chars = encoded.chars[encoded.offsets[window] : encoded.offsets[window + 1]]
        score, first, last = _best(rows, chars[:, 1] > chars[:, 0])
        answer = text.strip() if score == float("-inf") else text[chars[first, 0] : chars[last, 1]]
        candidate = (score, -window, answer)
        found[example] = max(found.get(example, candidate), candidate)
    if len(found) < len(encoded):
        raise ValueError("logits are missing for some examples")
    return [found[example][2] for example in range(len(encoded))]


def _best(rows: npt.NDArray[np.float32], allowed: npt.NDArray[np.bool_]) -> tuple[float, int, int]:
    """(sum of logits, first token, last token) of the best span among the likeliest starts and ends."""
    places = np.flatnonzero(allowed)
    if not len(places):
        return float("-inf"), 0, 0
    start, end = (places[np.argsort(-rows[places, side], kind="stable")[:BEST]] for side in (0, 1))
    total = rows[start, 0][:, None] + rows[end, 1]
    apart = end - start[:, None]
    total[(apart < 0) | (apart >= ANSWER)] = -np.inf
    if np.isneginf(total).all():  # none of them go together: the likeliest start decides
        start, end = start[:1], places[(places >= start[0]) & (places < start[0] + ANSWER)]
        total = rows[start, 0][:, None] + rows[end, 1]
    first, last = divmod(int(total.argmax()), len(end))
    return float(total[first, last]), int(start[first]), int(end[last])


def counts(gold: Gold, pred: Gold) -> list[int]:
    """``scoring.answers.SPAN_COUNTS`` of one example."""
    return metrics.counts(gold, pred)
