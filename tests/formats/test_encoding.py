from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tiny import TEXTS, tiny_checkpoint, tiny_tokenizer

from waystation import formats
from waystation.formats import encoding
from waystation.tasks.examples import ClassificationExample, TaggingExample

if TYPE_CHECKING:
    from waystation.formats import choice, classification, multilabel, span, tagging

    # mypy: all modules fulfil their protocol
    _: tuple[encoding.Format, ...] = (tagging, classification, choice)
    __: tuple[encoding.WithCutoff, ...] = (multilabel, span)

ARRAYS = ("tokens", "offsets", "example", "targets", "words", "types", "word")


def encoded(format, kind, texts=TEXTS):
    examples = {
        "tagging": [TaggingExample(f"e{n}", tuple(t.split()), ("O",) * len(t.split())) for n, t in enumerate(texts)],
        "classification": [ClassificationExample(f"e{n}", text, "O", cluster="c") for n, text in enumerate(texts)],
    }[format]
    return formats.get(format).encode(examples, tiny_tokenizer(kind), ["O"], max_length=16, stride=4)


@pytest.mark.parametrize("format", ["tagging", "classification"])
@pytest.mark.parametrize("kind", ["xlm-roberta", "bert"])
@pytest.mark.parametrize("texts", [TEXTS, [""], []])
def test_saved_and_loaded_alike(tmp_path: Path, format, kind, texts):
    before = encoded(format, kind, texts)
    encoding.save(before, tmp_path)
    after = encoding.load(tmp_path, before.stats)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoded.safetensors", "examples.parquet"]
    for name in ARRAYS:
        old, new = getattr(before, name), getattr(after, name)
        assert (old is None) == (new is None)
        if old is not None:
            assert old.dtype == new.dtype and np.array_equal(old, new)
    assert (after.ids, after.clusters, after.gold) == (before.ids, before.clusters, before.gold)
    assert len(after) == len(texts)


def test_arrays_have_the_stated_types():
    made = encoded("tagging", "bert")
    kinds = {name: getattr(made, name).dtype.name for name in ARRAYS}
    assert kinds.pop("offsets") == "int64" and kinds.pop("types") == "uint8"
    assert set(kinds.values()) == {"int32"}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_loaded_arrays_are_memory_mapped(tmp_path: Path):
    encoding.save(encoded("tagging", "xlm-roberta"), tmp_path)
    loaded = encoding.load(tmp_path, {})
    address = loaded.tokens.__array_interface__["data"][0]
    ranges = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    (mapped,) = [r for r in ranges if int(r[0].split("-")[0], 16) <= address < int(r[0].split("-")[1], 16)]
    assert mapped[-1] == str(tmp_path / "encoded.safetensors")


@pytest.mark.parametrize("kind", ["xlm-roberta", "bert"])
def test_tiny_checkpoints_load_and_are_reproducible(tmp_path: Path, kind):
    from transformers import AutoModel, AutoTokenizer

    folders = [tiny_checkpoint(tmp_path / name, kind, layers=1, hidden=16) for name in "ab"]
    weights = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1]
    model, tokenizer = (kind_.from_pretrained(folders[0]) for kind_ in (AutoModel, AutoTokenizer))
    hidden = model(**tokenizer("Anna Smith", return_tensors="pt")).last_hidden_state
    assert hidden.shape == (1, 4, 16) and tokenizer.is_fast
    assert tokenizer("中国")["input_ids"] == tiny_tokenizer(kind)("中国")["input_ids"]
