"""A trained chain applied to new text, in blocks: labels, tags, answers, with their places in the text given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from waystation import formats
from waystation.evaluation.predict import logits_of
from waystation.exchange import texts
from waystation.exchange.opened import Opened, opened
from waystation.exchange.texts import Kind, Row
from waystation.formats import multilabel, span
from waystation.formats.encoding import Encoded
from waystation.models.vocabulary import lookup
from waystation.plan import Plan
from waystation.scoring.spans import entities
from waystation.steps import models
from waystation.study import Study
from waystation.tasks.reading.documents import words

BLOCK = 256
"""Texts that are encoded and predicted at a time."""

Scores = list[tuple[int, npt.NDArray[np.float32]]]
Found = dict[str, Any]


def predict(
    study: Study,
    chain: str,
    given: str | Path | Iterable[Row | str],
    store: str | Path | None = None,
    data: str | Path | None = None,
    *,
    kind: Kind | None = None,
    made: Plan | None = None,
) -> Iterator[Found]:
    """What the model of a chain says about each text: of a file (``kind`` None: by its ending), or of rows or strings.

    Each result has the text's ``id`` as it was given (else its number, from 1), and by format: tagging ``spans``
    (begin, end, label, text), or ``tags`` where words were given; classification ``label``, multilabel ``labels``, both
    ``probabilities``; choice ``answer``, the option's place from 0, and ``option``; span ``answer``, ``begin`` and
    ``end``, None where there is no answer. Places are characters of the text given. Raises InputError where chain,
    model or a text will not do.
    """
    ready = opened(study, chain, store, data, made)
    if isinstance(given, (str, Path)):
        return _stream(ready, texts.read(Path(given), kind))
    rows = ({"text": row} if isinstance(row, str) else row for row in given)
    return _stream(ready, ((f"text {number}", row) for number, row in enumerate(rows, 1)))


def _stream(given: Opened, rows: Iterator[tuple[str, Row]]) -> Iterator[Found]:
    context, step, encoding = given.context, given.step, given.encoding
    form = formats.get(step.format)
    outputs = form.outputs(step.labels, step.scheme)
    cutoff = context.store.manifest(given.key)["cutoff"]
    # all rows of the embedding: which ones the texts touch is not known before they are read
    vocabulary = np.arange(context.checkpoint.vocabulary, dtype=np.int64)
    model = models.build(context, step, models.read(context, given.key), vocabulary, context.backbone.layers)
    model.to(context.accelerator.device)
    places = lookup(vocabulary, len(vocabulary))
    stats = {}
    if step.format == "span":  # whether the model learned to leave out an answer, how long one may be
        stats = {"unanswerable": given.learned_from()["unanswerable"], "longest_answer": encoding.task.longest_answer}
    done = 0
    while block := list(islice(rows, BLOCK)):
        numbered = enumerate(block, done + 1)
        examples = [texts.example(row, at, step.format, outputs[0], place) for at, (place, row) in numbered]
        encoded = form.encode(examples, context.tokenizer, outputs, encoding.max_length, encoding.stride)
        encoded.stats.update(stats)
        with context.accelerator.autocast():
            # with fusion each text stands beside itself: there is no translation of it
            budget = step.tokens_per_micro_batch
            scores = logits_of(model, encoded, places, form, tokens_per_micro_batch=budget, fusion=step.fusion)
        answers = _answers(given, encoded, scores, outputs, cutoff, [row for _, row in block])
        for number, (_, row), answer in zip(encoded.ids, block, answers, strict=True):
            own = row.get("id")
            yield {"id": number if own is None else own, **answer}
        done += len(block)


def _answers(
    given: Opened, encoded: Encoded, scores: Scores, outputs: Sequence[str], cutoff: float | None, rows: list[Row]
) -> Iterator[Found]:
    step = given.step
    if step.format == "span":
        found = span.extents(encoded, scores, span.CUTOFF if cutoff is None else cutoff)
        for row, (begin, end) in zip(rows, found, strict=True):
            answer = row.get("context", row.get("text"))[begin:end]
            yield {"answer": answer, "begin": begin, "end": end} if answer else _NO_ANSWER
    elif step.format == "multilabel":
        chosen = multilabel.decode(encoded, scores, outputs, multilabel.CUTOFF if cutoff is None else cutoff)
        for labels, row in zip(chosen, _table(scores), strict=True):
            yield {"labels": list(labels), "probabilities": _named(outputs, 1 / (1 + np.exp(-row)))}
    else:
        decoded = formats.get(step.format).decode(encoded, scores, outputs)
        if step.format == "classification":
            for label, row in zip(decoded, _table(scores), strict=True):
                likely = np.exp(row - row.max())
                yield {"label": label, "probabilities": _named(outputs, likely / likely.sum())}
        elif step.format == "choice":
            for place, row in zip(map(int, map(str, decoded)), rows, strict=True):
                yield {"answer": place, "option": row["options"][place]}
        else:
            for tags, row in zip(decoded, rows, strict=True):
                yield {"tags": tags} if "words" in row else {"spans": _spans(row["text"], list(tags), step.scheme)}


_NO_ANSWER: Found = {"answer": "", "begin": None, "end": None}


def _table(scores: Scores) -> npt.NDArray[np.float64]:
    """Logits [E, C] of a format with one window for each example."""
    return np.concatenate([rows for _, rows in sorted(scores, key=lambda one: one[0])]).astype(np.float64)


def _named(outputs: Sequence[str], values: npt.NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(outputs, values.round(6).tolist(), strict=True))


def _spans(text: str, tags: list[str], scheme: str) -> list[Found]:
    """Entities, or in a plain scheme every word, by their places in the text."""
    places = words(text)
    plain = [(tag, at, at + 1) for at, tag in enumerate(tags)]
    found = []
    for label, first, last in plain if scheme == "plain" else entities(tags):
        begin, end = places[first][0], places[last - 1][1]
        found.append({"begin": begin, "end": end, "label": label, "text": text[begin:end]})
    return found
