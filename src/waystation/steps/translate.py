"""The translate step: every text of a task's examples in another language, as an artifact.

Each different text is translated once, block by block: finished blocks survive an interruption.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from waystation.errors import InputError, Stopped
from waystation.steps.context import Context
from waystation.steps.records import TranslateStep, step_id
from waystation.steps.translation import ORACLE
from waystation.tasks import sources
from waystation.tasks.translation import providers
from waystation.tasks.translation.fields import Said, Translated, fields
from waystation.tasks.translation.lookup import ByRow

FILE = "translations.parquet"
SAME, ENOUGH, LONG = 0.5, 10, 4
"""Translations of a test set are the original where that share of at least that many texts, of that many words, is."""

Asked = tuple[str, str, str]
"""Id of an example, field, text."""


def perform(step: TranslateStep, folder: Path, context: Context) -> dict[str, Any]:
    """Write ``translations.parquet`` into ``folder``: id, field, source (hash), text (or null), start.

    Raises InputError where data or translator changed since planning, nothing was translated, or what is said to be a
    translation of a test set is the original.
    """
    changed = "changed since the plan was made; run again"
    if sources.fingerprint(step.task, step.split, step.source, context.data) != step.content:
        raise InputError(f"the data of '{step.task.id}' ({step.split}, {step.source}) {changed}")
    if providers.fingerprint(step, context.data) != step.provider:
        raise InputError(f"the translator {step.by.words} {changed}")
    examples = list(sources.read(step.task, step.split, step.source, context.data))
    asked = [(example.id, field, text) for example in examples for field, text in fields(example).items()]
    started, notes = time.monotonic(), Counter[str]()
    translator = _open(step, context)
    if isinstance(translator, Mapping):
        said = [translator.get((own, field)) for own, field, _ in asked]
    else:
        different = list(dict.fromkeys(text for _, _, text in asked))
        known = dict(zip(different, _in_blocks(step, translator, different, context, notes), strict=True))
        said = [None if (text := known[source]) is None else Said(text) for _, _, source in asked]
    found = [one if one is not None and one.text.strip() else None for one in said]
    if not any(found):
        raise InputError(
            f"{step.by.words} has no translation of any text of '{step.task.id}' ({step.split}, {step.source} into "
            f"{step.language}): check that it belongs to this task (ids, or source texts)"
        )
    _refuse_the_original(step, found, context)
    write(folder / FILE, asked, found)
    return {
        "synthetic": True,
        "oracle": step.by.by == ORACLE,
        "translated_by": step.by.words,
        "stats": {
            "examples": len(examples),
            "texts": len(asked),
            "different": len({text for _, _, text in asked}),
            "translated": sum(one is not None for one in found),
            **notes,
        },
        "seconds": round(time.monotonic() - started, 3),
        **({"numerics": context.numerics()} if step.by.by == "seq2seq" else {}),
    }


def _open(step: TranslateStep, context: Context) -> providers.ByText | ByRow:
    if step.by.by != "seq2seq":
        return providers.open_translator(step, context.data)
    from waystation.models import seq2seq

    return seq2seq.Translator(step, seq2seq.model_folder(step), context.accelerator.device)


def _in_blocks(
    step: TranslateStep, translator: providers.ByText, texts: Sequence[str], context: Context, notes: Counter[str]
) -> Iterator[str | None]:
    """The translations of different texts, block by block; those of an earlier attempt are taken over."""
    workspace = context.store.workspace(step_id(step))
    for low in range(0, len(texts), translator.block):
        block = texts[low : low + translator.block]
        path = workspace / f"block={low:09}.json"
        kept = _kept(path, block)
        if kept is None:
            if context.should_stop():
                raise Stopped("stopped during translation; run again to go on")
            translator.notes.clear()
            kept = {"source": _hash("\n".join(block)), "said": translator(block), "notes": dict(translator.notes)}
            temporary = path.with_suffix(".part")
            temporary.write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
            os.replace(temporary, path)
        notes.update(kept["notes"])
        context.on_progress((low + len(block)) / len(texts), "")
        yield from kept["said"]


def _kept(path: Path, block: Sequence[str]) -> dict[str, Any] | None:
    """What an earlier attempt made of the same texts, where it is whole."""
    with contextlib.suppress(OSError, ValueError, KeyError):  # absent, or cut off by a power failure
        found: dict[str, Any] = json.loads(path.read_bytes())
        if found["source"] == _hash("\n".join(block)) and len(found["said"]) == len(block):
            return found
    return None


def _refuse_the_original(step: TranslateStep, found: Sequence[Said | None], context: Context) -> None:
    """The other side of a test set that was translated from it is no system's translation."""
    if step.split != "test" or step.by.by in (ORACLE, "identity"):
        return
    if step.language not in step.task.languages("test") or not sources.at_hand(
        step.task, "test", step.language, context.data
    ):
        return
    said = {text for one in found if one is not None and len((text := " ".join(one.text.split())).split()) >= LONG}
    originals = sources.read(step.task, "test", step.language, context.data)
    same = said & {" ".join(text.split()) for example in originals for text in fields(example).values()}
    if len(said) >= ENOUGH and len(same) > SAME * len(said):
        raise InputError(
            f"{step.by.words}: {len(same)} of {len(said)} texts are those of '{step.task.id}' test {step.language} "
            f"itself; what the test set was translated from is an oracle: say `by: {ORACLE}`"
        )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write(path: Path, asked: Sequence[Asked], found: Sequence[Said | None]) -> None:
    """Translations in the order of the source texts; null where there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    hashes = {text: _hash(text) for _, _, text in asked}
    columns = {
        "id": pa.array([own for own, _, _ in asked], pa.string()),
        "field": pa.array([field for _, field, _ in asked], pa.string()),
        "source": pa.array([hashes[text] for _, _, text in asked], pa.string()),
        "text": pa.array([None if one is None else one.text for one in found], pa.string()),
        "start": pa.array([None if one is None else one.start for one in found], pa.int32()),
    }
    pq.write_table(pa.table(columns), path, compression="zstd")


def read(folder: Path) -> dict[str, Translated]:
    """The translations of an artifact: id of an example → field → translation."""
    import pyarrow.parquet as pq

    found: dict[str, dict[str, Said]] = {}
    known: dict[str, str] = {}  # passages stand at many questions
    for batch in pq.ParquetFile(folder / FILE).iter_batches(columns=["id", "field", "text", "start"]):
        for own, field, text, start in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if text is not None:
                found.setdefault(own, {})[field] = Said(known.setdefault(text, text), start)
    return dict(found)
