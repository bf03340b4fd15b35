"""Examples read through a translation: what the encode step takes in the place of those of the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from waystation.errors import InputError
from waystation.formats.encoding import IGNORED, Encoded, Format, offsets_of
from waystation.steps import translate
from waystation.steps.context import Context
from waystation.steps.records import EncodeStep
from waystation.tasks.examples import Example, TaggingExample
from waystation.tasks.translation.carrying import LOST, carry, words_of
from waystation.tasks.translation.fields import Translated
from waystation.tasks.translation.projection import UNKNOWN, Links


def read_in(step: EncodeStep, context: Context) -> str:
    """The language in which the examples of a step are read from their files."""
    if step.translation is None:
        return step.language
    return str(context.store.manifest(step.translation)["identity"]["source"])


def carried(step: EncodeStep, examples: Iterable[Example], context: Context) -> tuple[list[Example], dict[str, Any]]:
    """The examples in the other language, and what the manifest tells: who translated, and how much came along.

    ``recall``: of the answers, the entities, or else the examples, the share that was carried.
    """
    assert step.translation is not None
    manifest = context.store.manifest(step.translation)
    said = translate.read(context.store.folder(step.translation))
    given, notes = list(examples), Counter[str]()
    labelled = not step.unlabelled and step.format != "mlm"
    links = _links(given, said, context) if labelled else {}
    plain = step.scheme == "plain"
    tried = [
        carry(one, said.get(one.id, {}), notes, labelled=labelled, links=links.get(one.id, ()), plain=plain)
        for one in given
    ]
    kept = [one for one in tried if one is not None]
    lost = {why: notes.pop(why) for why in LOST if notes[why]}
    if not kept:
        told = ", ".join(f"{why}: {count}" for why, count in lost.items())
        raise InputError(
            f"no example of '{step.task.id}' {step.split} could be carried into {step.language} through "
            f"{manifest['translated_by']} ({told})"
        )
    found_answers = sum(count for name, count in notes.items() if name.startswith("answers found"))
    recall = {
        "answers": found_answers / max(1, notes["answers"]),
        "entities": notes["entities projected"] / max(1, notes["entities"]),
    }
    measured = next((recall[name] for name in recall if notes[name]), len(kept) / len(given))
    return kept, {
        "synthetic": True,
        "oracle": manifest["oracle"],
        "translated_by": manifest["translated_by"],
        "translated_from": manifest["identity"]["source"],
        "unlabelled": not labelled,
        "carried": {"examples": len(given), "kept": len(kept), "lost": lost, **notes, "recall": round(measured, 4)},
        **({"numerics": context.numerics()} if links else {}),
    }


def _links(examples: Sequence[Example], said: Mapping[str, Translated], context: Context) -> dict[str, Links]:
    """Word alignments of tagged sentences with their translations, by id; of other examples none."""
    tagged = [one for one in examples if isinstance(one, TaggingExample) and one.id in said]
    if not tagged:
        return {}
    from waystation.models.alignment import align

    found = align(
        [(one.words, words_of(said[one.id])) for one in tagged],
        context.checkpoint,
        context.tokenizer,
        context.accelerator.device,
        on_progress=lambda share: context.on_progress(share, "words aligned"),
        should_stop=context.should_stop,
    )
    return {one.id: links for one, links in zip(tagged, found, strict=True)}


def encode(
    form: Format, examples: Sequence[Example], tokenizer: Any, outputs: Sequence[str], step: EncodeStep
) -> Encoded:
    """Encode carried examples: where no tag or no answer is known there is nothing to learn, and gold is empty."""
    # a format wants a tag for each word: the first one stands in for those that are not known
    tagged = [one.tags for one in examples if isinstance(one, TaggingExample)]
    given = [
        replace(one, tags=tuple(tag or outputs[0] for tag in one.tags)) if isinstance(one, TaggingExample) else one
        for one in examples
    ]
    encoded = form.encode(given, tokenizer, outputs, step.max_length, step.stride)
    targets = encoded.targets.copy()
    if encoded.text is not None and step.unlabelled:
        targets[:] = IGNORED
        return replace(encoded, targets=targets, stats=encoded.stats | {"unanswerable": 0})
    if not any(UNKNOWN in tags for tags in tagged):
        return encoded
    assert encoded.word is not None
    unknown = np.array([tag == UNKNOWN for tags in tagged for tag in tags], np.bool_)
    example = np.repeat(encoded.example, np.diff(encoded.offsets))
    scored = np.flatnonzero(encoded.word >= 0)
    word = offsets_of(encoded.words)[example[scored]] + encoded.word[scored]
    targets[scored[unknown[word]]] = IGNORED
    return replace(encoded, targets=targets, gold=[list(tags) for tags in tagged])
