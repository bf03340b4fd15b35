"""The encode step: examples of one task, split and language become ragged token arrays."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from waystation import formats
from waystation.errors import InputError
from waystation.formats import encoding, mlm, retrieval
from waystation.steps import carry
from waystation.steps.context import Context
from waystation.steps.records import EncodeStep
from waystation.tasks import sources
from waystation.tasks.examples import Example


def perform(step: EncodeStep, folder: Path, context: Context) -> dict[str, Any]:
    """Fill ``folder`` with the encoding; returns details for the manifest.

    Raises InputError where the data changed since planning, is malformed, or is empty.
    """
    language = carry.read_in(step, context)
    content = sources.fingerprint(step.task, step.split, language, context.data)
    if content != step.content:
        raise InputError(
            f"the data of '{step.task.id}' ({step.split}, {language}) changed since the plan was made; run again"
        )
    examples: Iterable[Example] = sources.read(
        step.task, step.split, language, context.data, rename=step.rename, labels=step.labels
    )
    details: dict[str, Any] = {"synthetic": False}
    if step.translation is not None:
        examples, details = carry.carried(step, examples, context)
    if step.format == "retrieval":
        encoded = retrieval.encode(examples, context.tokenizer, step.max_length, step.prefix)
    elif step.format == "mlm":  # of a task of any format
        encoded = mlm.encode(examples, context.tokenizer, step.max_length)
    else:
        form = formats.get(step.format)
        outputs = form.outputs(step.labels, step.scheme)
        if step.translation is None:
            encoded = form.encode(examples, context.tokenizer, outputs, step.max_length, step.stride)
        else:
            encoded = carry.encode(form, list(examples), context.tokenizer, outputs, step)
    if step.format == "span":
        encoded.stats["longest_answer"] = step.task.longest_answer
    if not len(encoded):
        raise InputError(f"task '{step.task.id}' has no examples in split {step.split}, language {step.language}")
    longest, room = int(np.diff(encoded.offsets).max()), context.checkpoint.longest
    if longest > room:
        raise InputError(f"max_length {step.max_length} is more than the {room} tokens the backbone can read; lower it")
    encoding.save(encoded, folder)
    return {
        "stats": encoded.stats | {"examples": len(encoded)},
        "sample": step.sample,
        "source": sources.words(step.task, step.split, language, context.data),
        "clusters": len(set(encoded.clusters) - {None}),
        **details,
    }
