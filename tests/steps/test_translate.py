"""Translations as artifacts, and tasks read through them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

import numpy as np  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from small import write_study  # noqa: E402
from tiny import TEXTS, tiny_checkpoint  # noqa: E402

from waystation import Study, plan  # noqa: E402
from waystation.backbones import Backbone, fingerprint  # noqa: E402
from waystation.costs import costs  # noqa: E402
from waystation.engines import local  # noqa: E402
from waystation.errors import InputError, Stopped  # noqa: E402
from waystation.formats import encoding  # noqa: E402
from waystation.formats.encoding import IGNORED, Encoded  # noqa: E402
from waystation.plan import Plan  # noqa: E402
from waystation.steps import encode, translate  # noqa: E402
from waystation.steps.context import Context  # noqa: E402
from waystation.steps.records import EncodeStep, Step, TranslateStep, needs, step_id  # noqa: E402
from waystation.steps.translation import Translation  # noqa: E402
from waystation.store import Store  # noqa: E402
from waystation.tasks import mini, sources  # noqa: E402
from waystation.tasks.known import find  # noqa: E402
from waystation.tasks.mini import formats as mini_formats  # noqa: E402
from waystation.tasks.task import Task  # noqa: E402
from waystation.tasks.translation import providers  # noqa: E402
from waystation.tasks.translation.fields import fields  # noqa: E402
from waystation.tasks.translation.providers import Identity, translate_step  # noqa: E402

LABELLED = [task for task in mini_formats.TASKS if task != mini_formats.RETRIEVAL]
IDENTITY = Translation(by="identity")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    texts = [*TEXTS, *(text for one in mini.read("mini-span", "train", "en") for text in fields(one).values())]
    return tiny_checkpoint(tmp_path_factory.mktemp("backbone"), texts=texts)


@pytest.fixture
def context(backbone: Path, tmp_path: Path) -> Context:
    return Context(Store(tmp_path / "store"), tmp_path, Backbone(id=str(backbone)), data=tmp_path)


def done(step: Step, context: Context) -> str:
    """Do a step as an engine does it; returns the identity of its artifact."""
    key = step_id(step)
    perform: Any = translate.perform if isinstance(step, TranslateStep) else encode.perform
    with context.store.building(key) as folder:
        context.store.commit(key, step, folder, perform(step, folder, context))
    return key


def encoded(
    context: Context, task: Task, translation: str | None = None, language: str = "en", **more: Any
) -> tuple[dict[str, Any], Encoded]:
    """Manifest and encoding of a task's training examples."""
    step = EncodeStep.model_validate(
        {
            "task": task,
            "content": sources.fingerprint(task, "train", "en", context.data),
            "split": "train",
            "language": language,
            "format": task.format,
            "labels": task.labels,
            "scheme": "plain" if task.format != "tagging" or task.id == "mini-words" else "iob2",
            "tokenizer": fingerprint(context.backbone),
            "max_length": 64,
            "stride": 0 if task.format not in ("tagging", "span") else 16,
            "translation": translation,
            **more,
        }
    )
    assert needs(step) == (() if translation is None else (translation,))
    key = done(step, context)
    manifest = context.store.manifest(key)
    return manifest, encoding.load(context.store.folder(key), manifest["stats"])


def own_task(folder: Path, format: str = "classification") -> Task:
    """A task of four pairs, two of them equal."""
    rows = ["A dog\tAn animal\tyes", "Rain\tSun\tno", "A dog\tAn animal\tyes", "Snow\tA dog\tno"]
    (folder / "train.tsv").write_text("text\tpair\tlabel\n" + "\n".join(rows) + "\n")
    return Task.model_validate(
        {
            "id": "own", "title": "own", "format": format, "labels": ("yes", "no"), "metrics": ("accuracy",),
            "path": str(folder), "splits": {"train": {"files": {"en": ("train.tsv",)}}},
            "reader": {"kind": "table", "text": "text", "pair": "pair", "label": "label"},
        }
    )  # fmt: skip


class Recorded(Identity):
    """A translator that remembers what it was asked, in blocks of two."""

    block = 2

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __call__(self, texts):
        self.asked += texts
        self.notes["words"] += len(texts)
        return [None if text == "Snow" else f"¡{text}!" for text in texts]


@pytest.fixture
def recorded(monkeypatch) -> Recorded:
    translator = Recorded()
    monkeypatch.setattr(providers, "open_translator", lambda step, data: translator)
    return translator


def test_each_different_text_is_translated_once(context: Context, recorded: Recorded, tmp_path: Path) -> None:
    task = own_task(tmp_path)
    key = done(translate_step(IDENTITY, task, "train", "en", "es", None), context)
    assert recorded.asked == ["A dog", "An animal", "Rain", "Sun", "Snow"]
    manifest = context.store.manifest(key)
    assert manifest["synthetic"] is True and manifest["oracle"] is False and manifest["translated_by"] == "identity"
    assert manifest["stats"] == {"examples": 4, "texts": 8, "different": 5, "translated": 7, "words": 5}
    table = pq.read_table(context.store.folder(key) / translate.FILE).to_pylist()
    assert [row["text"] for row in table[:3]] == ["¡A dog!", "¡An animal!", "¡Rain!"] and table[6]["text"] is None
    assert [row["field"] for row in table[:3]] == ["text", "pair", "text"]
    assert table[0]["source"] == table[4]["source"] != table[1]["source"]
    said = translate.read(context.store.folder(key))
    assert {own: {name: one.text for name, one in part.items()} for own, part in said.items()} == {
        "train/en/1": {"text": "¡A dog!", "pair": "¡An animal!"},
        "train/en/2": {"text": "¡Rain!", "pair": "¡Sun!"},
        "train/en/3": {"text": "¡A dog!", "pair": "¡An animal!"},
        "train/en/4": {"pair": "¡A dog!"},
    }


def test_finished_blocks_survive_an_interruption(context: Context, recorded: Recorded, tmp_path: Path) -> None:
    step = translate_step(IDENTITY, own_task(tmp_path), "train", "en", "es", None)
    context.should_stop = lambda: len(recorded.asked) >= 2
    with pytest.raises(Stopped):
        done(step, context)
    (block,) = context.store.workspace(step_id(step)).iterdir()
    context.should_stop = lambda: False
    whole = done(step, context)
    assert recorded.asked == ["A dog", "An animal", "Rain", "Sun", "Snow"], "nothing was asked twice"
    assert context.store.manifest(whole)["stats"]["words"] == 5, "what was counted before is kept"
    assert not block.exists(), "the workspace is gone with the commit"


def test_a_torn_block_is_translated_again(context: Context, recorded: Recorded, tmp_path: Path) -> None:
    step = translate_step(IDENTITY, own_task(tmp_path), "train", "en", "es", None)
    context.should_stop = lambda: len(recorded.asked) >= 4
    with pytest.raises(Stopped):
        done(step, context)
    first, second = sorted(context.store.workspace(step_id(step)).iterdir())
    first.write_text(first.read_text()[:-9])
    second.write_text(json.dumps({**json.loads(second.read_text()), "source": "of other texts"}))
    context.should_stop = lambda: False
    done(step, context)
    assert recorded.asked[4:] == ["A dog", "An animal", "Rain", "Sun", "Snow"]


@pytest.mark.parametrize("what", ["data", "translator"])
def test_what_changed_since_the_plan_is_refused(context: Context, tmp_path: Path, what: str) -> None:
    (tmp_path / "es.tsv").write_text("A dog\tUn perro\n")
    by = Translation(by="precomputed", files="{lang}.tsv", layout="pairs")
    step = translate_step(by, own_task(tmp_path), "train", "en", "es", tmp_path)
    (tmp_path / ("train.tsv" if what == "data" else "es.tsv")).write_text("text\tpair\tlabel\nA dog\tx\tyes\n")
    with pytest.raises(InputError, match="changed since the plan was made; run again"):
        done(step, context)


def test_translations_of_another_task_are_refused(context: Context, tmp_path: Path) -> None:
    (tmp_path / "es.jsonl").write_text('{"id": "elsewhere/1", "text": "Un perro"}\n')
    by = Translation(by="precomputed", files="{lang}.jsonl", layout="jsonl")
    with pytest.raises(InputError, match="no translation of any text of 'own'"):
        done(translate_step(by, own_task(tmp_path), "train", "en", "es", tmp_path), context)


def test_examples_without_a_translation_are_left_out_and_counted(
    context: Context, recorded: Recorded, tmp_path: Path
) -> None:
    task = own_task(tmp_path)
    key = done(translate_step(IDENTITY, task, "train", "en", "es", None), context)
    manifest, found = encoded(context, task, key, "es")
    assert found.ids == ["train/en/1", "train/en/2", "train/en/3"] and found.gold == ["yes", "no", "yes"]
    assert manifest["carried"] == {"examples": 4, "kept": 3, "lost": {"not translated": 1}, "recall": 0.75}
    assert (manifest["synthetic"], manifest["translated_by"], manifest["translated_from"]) == (True, "identity", "en")
    assert encoded(context, task)[0]["synthetic"] is False


@pytest.mark.parametrize("task_id", LABELLED)
def test_through_the_same_language_the_encoding_is_the_same(context: Context, task_id: str) -> None:
    """Every format through translation, alignment and location of answers; nothing is lost and nothing moves."""
    task = find(task_id)
    key = done(translate_step(IDENTITY, task, "train", "en", "de", None), context)
    manifest, found = encoded(context, task, key, "de")
    _, plain = encoded(context, task)
    assert manifest["carried"]["recall"] > 0.99
    kept = [plain.ids.index(own) for own in found.ids]
    assert len(kept) == len(plain) == manifest["carried"]["kept"]
    if task.format != "tagging":  # translations are tokenised anew, as documents are
        assert np.array_equal(found.tokens, plain.tokens) and np.array_equal(found.targets, plain.targets)
        assert found.gold == plain.gold
    else:
        same = [n for n in kept if len(found.gold[n]) == len(plain.gold[n])]
        assert len(same) > 0.9 * len(kept) and [found.gold[n] for n in same] == [plain.gold[n] for n in same]


@pytest.mark.parametrize("task_id", ["mini-ner", "mini-words", "mini-span-2"])
def test_texts_alone_teach_nothing_but_are_all_there(context: Context, task_id: str) -> None:
    task = find(task_id)
    key = done(translate_step(IDENTITY, task, "train", "en", "de", None), context)
    manifest, found = encoded(context, task, key, "de", unlabelled=True)
    assert manifest["unlabelled"] and manifest["carried"]["kept"] == manifest["carried"]["examples"] == len(found)
    assert (found.targets == IGNORED).all()
    assert not any(any(gold) for gold in found.gold)
    if task.format == "tagging":
        assert found.word is not None and (found.word >= 0).sum() == found.words.sum(), "words have their places"


def test_rows_of_a_parallel_corpus_carry_labels_to_another_language(context: Context, tmp_path: Path) -> None:
    """English sentences of the mini corpus, labelled here; their translations stand in its own parallel corpus."""
    pairs = list(mini.read("mini-retrieval", "test", "sw"))
    english = {one.id: one.text for one in pairs if one.side == "right"}  # type: ignore[union-attr]
    rows = [f"{text}\tx\t{'yes' if n % 2 else 'no'}" for n, text in enumerate(english.values())]
    task = own_task(tmp_path)
    assert task.reader is not None
    task = task.model_copy(update={"reader": task.reader.model_copy(update={"pair": None})})
    (tmp_path / "train.tsv").write_text("text\tpair\tlabel\n" + "\n".join([*rows, "No such row\tx\tno"]) + "\n")
    by = Translation(by="parallel", task="mini-retrieval")
    key = done(translate_step(by, task, "train", "en", "sw", None, corpus=find("mini-retrieval")), context)
    manifest, found = encoded(context, task, key, "sw")
    assert manifest["carried"]["lost"] == {"not translated": 1}
    assert found.gold == ["yes" if n % 2 else "no" for n in range(len(rows))]
    swahili = [one.text for one in pairs if one.side == "left"]  # type: ignore[union-attr]
    tokens = [found.tokens[low:high].tolist() for low, high in zip(found.offsets[:-1], found.offsets[1:], strict=True)]
    assert tokens == context.tokenizer(swahili, truncation=True, max_length=64)["input_ids"]


def parallel_test(folder: Path, same: bool) -> Task:
    """A test set in two languages, and a translation of the one that is the other, or is not."""
    rows = {
        code: [f"the {word} is {n} years old today" for n in range(12)]
        for code, word in (("en", "dog"), ("de", "Hund"))
    }
    for code, texts in rows.items():
        (folder / f"{code}.tsv").write_text("text\tlabel\n" + "".join(f"{text}\tyes\n" for text in texts))
    said = rows["en"] if same else [text.replace("dog", "hound") for text in rows["en"]]
    (folder / "made.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in zip(rows["de"], said, strict=True)))
    return Task.model_validate(
        {
            "id": "own", "title": "own", "format": "classification", "labels": ("yes",), "metrics": ("accuracy",),
            "path": str(folder), "parallel": True,
            "splits": {"test": {"files": {"en": ("en.tsv",), "de": ("de.tsv",)}}},
            "reader": {"kind": "table", "text": "text", "label": "label"},
        }
    )  # fmt: skip


def test_the_original_of_a_test_set_is_an_oracle_and_must_be_called_one(context: Context, tmp_path: Path) -> None:
    by = Translation(by="precomputed", files="made.tsv", layout="pairs")
    step = translate_step(by, parallel_test(tmp_path, same=True), "test", "de", "en", tmp_path)
    with pytest.raises(InputError, match=r"12 of 12 texts are those of 'own' test en itself.*`by: oracle-translation`"):
        done(step, context)
    oracle = Translation(by="oracle-translation")
    key = done(translate_step(oracle, parallel_test(tmp_path, same=True), "test", "de", "en", tmp_path), context)
    assert context.store.manifest(key)["oracle"] is True
    said = translate.read(context.store.folder(key))
    assert said["test/de/3"]["text"].text == "the dog is 2 years old today"
    honest = translate_step(by, parallel_test(tmp_path, same=False), "test", "de", "en", tmp_path)
    assert context.store.manifest(done(honest, context))["oracle"] is False


def test_an_engine_does_the_steps_in_order_and_their_cost_is_told(context: Context, tmp_path: Path) -> None:
    study = Study.load(write_study(tmp_path, context.folder))
    made = plan(study)
    task = find("mini-ner")
    translated = translate_step(IDENTITY, task, "train", "en", "sw", None)
    content = {"task": task, "content": translated.content, "split": "train", "format": task.format}
    more = {"labels": task.labels, "scheme": "iob2", "tokenizer": fingerprint(context.backbone)}
    plain = EncodeStep(**content, **more, language="en", max_length=64, stride=16)  # type: ignore[arg-type]
    through = plain.model_copy(update={"language": "sw", "translation": step_id(translated)})
    keys = [made.add(step, step.kind) for step in (translated, plain, through)]
    expected = costs(made, None)
    assert [expected[key].tokens for key in keys[1:]] == [expected[keys[1]].tokens] * 2 and expected[
        keys[1]
    ].tokens > 999
    assert expected[keys[0]].bytes > 999 and expected[keys[2]].flops > expected[keys[1]].flops == 0
    ends = [replace(made.chains[0], evaluate=keys[2])]
    assert [node.id for node in Plan(study, None, made.nodes, ends).pending(context.store.has)] == [keys[0], keys[2]]
    summary = local.run(Plan(study, None, made.nodes, ends), context)
    assert summary.ok and len(summary.done) == 2 and context.store.verify() == []
    again = costs(made, context.store)
    assert again[keys[2]].tokens == context.store.manifest(keys[2])["stats"]["tokens"]
