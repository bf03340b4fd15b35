"""Span: the piece of a text that answers a question (extractive question answering).

A window is the question and a piece of the text, in the tokenizer's own layout for pairs. A text longer than a window
becomes several that overlap by the stride or a little more, so that an answer no longer than that lies whole in one of
them. Where they are cut follows from the text, never from the answer: a test must not give its answers away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from waystation.errors import InputError
from waystation.formats.classification import words_in
from waystation.formats.encoding import IGNORED, Encoded, Gold, Logits, Reads, Unit, offsets_of, ranges
from waystation.formats.pairs import frame, tokenize
from waystation.formats.tagging import blanks
from waystation.scoring import metrics
from waystation.scoring.answers import mean_f1
from waystation.tasks.examples import Example, SpanExample

Ints = npt.NDArray[np.int64]
Extent = tuple[int, int]
"""First character of a span, and the one after its last."""

Found = tuple[int, Extent]
"""A span, and the window that it was found in."""

reads: Reads = "all"
unit: Unit = "window"

CUTOFF = 0.0
"""A question is left without an answer where none is likelier than the best span by more than this, in logits."""

BATCH = 1000  # texts a call of the tokenizer
BLOCK = 4096  # windows written at once: bounds the memory of index arrays

# As in Phang et al. 2020's released code: sub-tokens of a question and of an answer (unless the task's record says
# otherwise), candidates for its start and end.
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
    in the window, or there is none; ``IGNORED`` in windows of an example whose answer is whole in none of them: they
    would teach that there is no answer. ``stats``: ``tokens`` T; ``windows``; of the examples' questions and texts,
    whole, ``words`` by ``words_in``, ``subtokens`` and the ``unknown`` ones; ``truncated``: questions cut; ``split``:
    first answers that lie whole in no window; ``unanswerable``: questions without an answer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or tokenizer.unk_token_id is None:
        raise InputError("span needs a fast tokenizer (tokenizer.json) with an unknown token; use another backbone")
    special, kinds = frame(backend, 2)
    before, between, after = (len(ids) for ids, _ in special)
    free = max_length - before - between - after
    if free < 2:
        raise InputError(
            f"max_length {max_length} leaves no room for text: {max_length - free} tokens of each window are special"
        )
    read = _read(examples)
    questions = tokenize(read.questions, tokenizer, min(QUESTION, free // 2), left=False)
    texts = _tokenize(read.texts, tokenizer)
    whole, asked = questions.whole[read.question], questions.kept[read.question]
    example, first, last = _cut(texts, read.text, free - asked, stride)
    begin, end = _answers(texts, read)
    held = (first <= begin[example]) & (end[example] < last) & (begin <= end)[example]
    answer = np.stack([begin, end], 1)[example]

    question, text = read.question[example], read.text[example]
    lead = before + asked[example] + between  # where a window's text begins
    offsets = offsets_of(lead + last - first + after)
    tokens, chars = np.empty(offsets[-1], np.int32), np.full((offsets[-1], 2), -1, np.int32)
    types = np.empty(len(tokens), np.uint8)

    for low in range(0, len(example), BLOCK):
        these = slice(low, low + BLOCK)
        start, body, size = offsets[:-1][these], offsets[:-1][these] + lead[these], (last - first)[these]
        for begins, (ids, fixed) in zip((start, body - between, body + size), special, strict=True):
            at = begins[:, None] + np.arange(len(ids))
            tokens[at], types[at] = ids, fixed
        kept = asked[example[these]]
        at = ranges(start + before, kept)
        tokens[at], types[at] = questions.tokens[ranges(questions.start[question[these]], kept)], kinds[0]
        at, pieces = ranges(body, size), ranges(texts.bounds[text[these]] + first[these], size)
        tokens[at], types[at], chars[at] = texts.tokens[pieces], kinds[1], texts.chars[pieces]

    words = [np.array([words_in(item) for item in items], np.int64) for items in (read.questions, read.texts)]
    share = asked / np.maximum(1, whole)
    split = np.array([gold != [] for gold in read.gold], np.bool_)  # first answers that are whole in no window
    split[example[held]] = False
    subtokens = whole + np.diff(texts.bounds)[read.text]
    unknown = np.diff(np.append(0, np.cumsum(texts.tokens == tokenizer.unk_token_id))[texts.bounds])
    return Encoded(
        tokens=tokens,
        offsets=offsets,
        example=example.astype(np.int32),
        targets=np.where(
            held[:, None], answer + (lead - first)[:, None], np.where(split, IGNORED, 0)[example][:, None]
        ).astype(np.int32),
        words=(np.round(words[0][read.question] * share) + words[1][read.text]).astype(np.int32),
        types=types if "token_type_ids" in tokenizer.model_input_names else None,
        ids=read.ids,
        clusters=read.clusters,
        gold=read.gold,
        stats={
            "tokens": len(tokens),
            "words": int((words[0][read.question] + words[1][read.text]).sum()),
            "subtokens": int(subtokens.sum()),
            "unknown": int((questions.unknown[read.question] + unknown[read.text]).sum()),
            "windows": len(example),
            "truncated": int((asked < whole).sum()),
            "split": int(split.sum()),
            "unanswerable": read.gold.count([]),
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
        answer, start = example.answers[0] if example.answers else ("", 0)
        rows.append((questions[example.question], texts[example.context], start, start + len(answer)))
        ids.append(example.id)
        clusters.append(example.cluster)
        gold.append([answer for answer, _ in example.answers])
    table = np.array(rows, np.int64).reshape(-1, 4)
    return _Read(list(questions), list(texts), table[:, 0], table[:, 1], table[:, 2:], ids, clusters, gold)


@dataclass(frozen=True)
class _Pieces:
    """Sub-tokens of V texts: ``tokens`` int32 [n], text v is ``bounds[v]:bounds[v+1]``; ``chars`` int32 [n, 2], the
    characters of the text that each stands for, without blanks; ``head`` bool [n]: whether it begins a word."""

    tokens: npt.NDArray[np.int32]
    bounds: Ints
    chars: npt.NDArray[np.int32]
    head: npt.NDArray[np.bool_]


def _tokenize(texts: list[str], tokenizer: Any) -> _Pieces:
    """Tokenise each different text once, and say which characters each sub-token stands for."""
    backend = tokenizer.backend_tokenizer
    sizes = [np.zeros(0, np.int64)]
    tokens, chars = [np.zeros(0, np.int32)], [np.zeros((0, 2), np.int32)]
    heads = [np.zeros(0, np.bool_)]
    for low in range(0, len(texts), BATCH):
        batch = texts[low : low + BATCH]
        found = backend.encode_batch(batch, add_special_tokens=False)
        size = np.array([len(encoding) for encoding in found], np.int64)
        ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in found), np.int32)
        numbers = chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in found))
        extents = np.fromiter(numbers, np.int64).reshape(-1, 2)
        word = np.fromiter(chain.from_iterable(encoding.word_ids for encoding in found), np.int64)
        head = np.ones(len(ids), np.bool_)
        head[1:] = word[1:] != word[:-1]
        head[offsets_of(size)[:-1][size > 0]] = True
        start = np.repeat(offsets_of(np.array([len(text) for text in batch]))[:-1], size)
        sizes.append(size)
        tokens.append(ids)
        chars.append((_trimmed("".join(batch), extents + start[:, None]) - start[:, None]).astype(np.int32))
        heads.append(head)
    flat, trimmed = np.concatenate(tokens), np.concatenate(chars)
    blank = np.isin(flat, blanks(backend))  # SentencePiece says that a lone ▁ stands for the letter after it
    trimmed[blank, 1] = trimmed[blank, 0]
    return _Pieces(flat, offsets_of(np.concatenate(sizes)), trimmed, np.concatenate(heads))


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
    shift = offsets_of(np.array([len(text) for text in read.texts]))[:-1]  # as if all texts were one
    chars = texts.chars + np.repeat(shift, np.diff(texts.bounds))[:, None]
    low, high = (read.answer + shift[read.text, None]).T
    start = texts.bounds[read.text]
    return np.searchsorted(chars[:, 1], low, "right") - start, np.searchsorted(chars[:, 0], high, "left") - 1 - start


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

    logits [N, 2], targets [B, 2], ``IGNORED`` where a window teaches nothing; lengths of the B windows (sum N).
    """
    rows = torch.split(logits.float(), lengths)
    padded = torch.nn.utils.rnn.pad_sequence(list(rows), True, float("-inf"))  # [B, L, 2]
    return torch.nn.functional.cross_entropy(padded, targets, reduction="sum") / 2


def decode(encoded: Encoded, logits: Logits, outputs: Sequence[str], cutoff: float = CUTOFF) -> list[Gold]:
    """The likeliest answer to every question: the best span of all its windows by the sum of both logits.

    Empty only where the encoding has questions without an answer, and none is likelier by more than ``cutoff``
    (SQuAD 2.0's rule in Devlin et al. 2019). A window none of whose tokens stands for text offers the whole text, at
    last choice.
    """
    found, none = _decided(encoded, logits, cutoff)
    return ["" if no else _cut_out(encoded, best) for best, no in zip(found, none, strict=True)]


def extents(encoded: Encoded, logits: Logits, cutoff: float = CUTOFF) -> list[Extent]:
    """Where in its text each answer that ``decode`` gives begins and ends; nowhere, (0, 0), where there is none."""
    found, none = _decided(encoded, logits, cutoff)
    return [(0, 0) if no else extent for (_, extent), no in zip(found, none, strict=True)]


def _decided(encoded: Encoded, logits: Logits, cutoff: float) -> tuple[list[Found], list[bool]]:
    """Each example's best span, and whether it is left without an answer all the same."""
    found, lead = _likeliest(encoded, logits)
    return found, [encoded.stats.get("unanswerable", 0) > 0 and value > cutoff for value in lead.tolist()]


def _cut_out(encoded: Encoded, best: Found) -> str:
    """The answer that lies there."""
    assert encoded.text is not None and encoded.texts is not None
    return str(encoded.texts[encoded.text[best[0]]][slice(*best[1])])


def tune(encoded: Encoded, logits: Logits, outputs: Sequence[str]) -> float | None:
    """The cutoff with the best mean F1 of answers, halfway between two examples; of several the nearest to 0.

    None where every question of the encoding has an answer.
    """
    if not encoded.stats.get("unanswerable"):
        return None
    likeliest, lead = _likeliest(encoded, logits)
    pairs = zip(encoded.gold, (_cut_out(encoded, best) for best in likeliest), strict=True)
    gain = np.array([mean_f1([counts(gold, "")]) - mean_f1([counts(gold, answer)]) for gold, answer in pairs])
    order, edges = np.argsort(lead), np.unique(lead[np.isfinite(lead)])
    cutoffs = np.concatenate([[CUTOFF], edges[:1] - 1, (edges[1:] + edges[:-1]) / 2, edges[-1:] + 1])
    above = np.append(np.cumsum(gain[order][::-1])[::-1], 0)  # gained by leaving out the answers from here on
    score = above[np.searchsorted(lead[order], cutoffs, "right")].round(6)
    best = cutoffs[score == score.max()]
    return float(best[np.abs(best - CUTOFF).argmin()])


def _likeliest(encoded: Encoded, logits: Logits) -> tuple[list[Found], npt.NDArray[np.float64]]:
    """Each example's best span, and by how much the score of no answer is above its: float64 [E].

    That score is the first token's, both logits, in the window where it is lowest.
    """
    assert encoded.chars is not None and encoded.text is not None and encoded.texts is not None
    found: dict[int, tuple[float, int, Extent]] = {}
    none = np.full(len(encoded), np.inf)
    longest = encoded.stats.get("longest_answer", ANSWER)
    for window, rows in logits:
        text, example = encoded.texts[encoded.text[window]], int(encoded.example[window])
        chars = encoded.chars[encoded.offsets[window] : encoded.offsets[window + 1]]
        score, first, last = _best(rows, chars[:, 1] > chars[:, 0], longest)
        extent = int(chars[first, 0]), int(chars[last, 1])
        if score == float("-inf"):
            begin = len(text) - len(text.lstrip())
            extent = begin, begin + len(text.strip())
        candidate = (score, -window, extent)
        found[example] = max(found.get(example, candidate), candidate)
        none[example] = min(none[example], float(rows[0].sum()))
    if len(found) < len(encoded):
        raise ValueError("logits are missing for some examples")
    best = [found[example] for example in range(len(encoded))]
    return [(-window, extent) for _, window, extent in best], none - np.array([score for score, _, _ in best])


def _best(rows: npt.NDArray[np.float32], allowed: npt.NDArray[np.bool_], longest: int) -> tuple[float, int, int]:
    """(sum of logits, first token, last token) of the best span among the likeliest starts and ends."""
    places = np.flatnonzero(allowed)
    if not len(places):
        return float("-inf"), 0, 0
    start, end = (places[np.argsort(-rows[places, side], kind="stable")[:BEST]] for side in (0, 1))
    total = rows[start, 0][:, None] + rows[end, 1]
    apart = end - start[:, None]
    total[(apart < 0) | (apart >= longest)] = -np.inf
    if np.isneginf(total).all():  # none of them go together: the likeliest start decides
        start, end = start[:1], places[(places >= start[0]) & (places < start[0] + longest)]
        total = rows[start, 0][:, None] + rows[end, 1]
    first, last = divmod(int(total.argmax()), len(end))
    return float(total[first, last]), int(start[first]), int(end[last])


def counts(gold: Gold, pred: Gold) -> list[int]:
    """``scoring.answers.SPAN_COUNTS`` of one example."""
    return metrics.counts(gold, pred)
