from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import TEXTS, Kind, tiny_tokenizer

from waystation import formats
from waystation.errors import InputError
from waystation.formats import encoding, retrieval
from waystation.tasks.examples import RetrievalExample


def pairs(texts: tuple[str, ...] = TEXTS) -> list[RetrievalExample]:
    """Every text with the next one as its translation; the last has none."""
    found = []
    for n, (ours, theirs) in enumerate(pairwise(texts)):
        found.append(RetrievalExample(f"p{n}", ours, "left", f"p{n}/en", "c"))
        found.append(RetrievalExample(f"p{n}/en", theirs, "right", f"p{n}", "c"))
    return [*found, RetrievalExample("last", texts[-1], "left")]


@pytest.fixture(params=["xlm-roberta", "bert", "deberta-v2", "modernbert"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return tiny_tokenizer(request.param)


@pytest.mark.parametrize("prefix", ["", "Anna: "])
def test_each_sentence_is_a_window_of_its_own(tokenizer: Any, prefix: str) -> None:
    examples = pairs()
    made = retrieval.encode(examples, tokenizer, 200, prefix)
    windows = [made.tokens[a:b].tolist() for a, b in zip(made.offsets, made.offsets[1:], strict=False)]
    assert windows == [tokenizer(prefix + one.text)["input_ids"] for one in examples]
    assert made.ids == [one.id for one in examples] and made.clusters == [one.cluster for one in examples]
    assert made.gold == [one.answer or "" for one in examples]
    assert made.targets.tolist() == [0, 1] * (len(TEXTS) - 1) + [0] and made.targets.dtype == np.int32
    assert made.example.tolist() == list(range(len(examples)))
    assert made.stats["truncated"] == 0 and made.stats["windows"] == len(examples)


def test_sentences_are_cut_and_counted(tokenizer: Any) -> None:
    whole, cut = (retrieval.encode(pairs(), tokenizer, length, "") for length in (200, 10))
    lengths = np.diff(whole.offsets)
    assert cut.stats["truncated"] == int((lengths > 10).sum()) > 0
    assert np.diff(cut.offsets).tolist() == np.minimum(lengths, 10).tolist()
    for number, begin in enumerate(cut.offsets[:-1].tolist()):
        end = int(cut.offsets[number + 1])
        assert cut.tokens[begin] == tokenizer.cls_token_id and cut.tokens[end - 1] == tokenizer.sep_token_id
        first = int(whole.offsets[number])
        assert (cut.tokens[begin : end - 1] == whole.tokens[first : first + end - 1 - begin]).all()
    for name in ("words", "subtokens", "unknown"):
        assert cut.stats[name] == whole.stats[name], "fertility speaks of whole sentences"


@pytest.mark.parametrize("kind", ["xlm-roberta", "bert", "deberta-v2"])
def test_fertility_is_that_of_the_language_without_the_prefix(kind: Kind) -> None:
    tokenizer = tiny_tokenizer(kind)
    examples = [RetrievalExample("a", "Anna Smith", "left", "b"), RetrievalExample("b", "☃ Genf Genf", "right", "a")]
    plain, prefixed = (retrieval.encode(examples, tokenizer, 50, prefix).stats for prefix in ("", "London: "))
    assert plain["words"] == prefixed["words"] == 2
    assert plain["subtokens"] == prefixed["subtokens"] == len(tokenizer.tokenize("Anna Smith"))
    assert prefixed["tokens"] == plain["tokens"] + 2 * len(tokenizer.tokenize("London: "))


def test_unknown_tokens_of_the_language_are_counted() -> None:
    tokenizer = tiny_tokenizer("bert")
    examples = [RetrievalExample("a", "Anna ☃", "left", "b"), RetrievalExample("b", "☃ ☃", "right", "a")]
    assert retrieval.encode(examples, tokenizer, 50).stats["unknown"] == 1


def test_saved_and_loaded_alike(tmp_path: Path, tokenizer: Any) -> None:
    before = retrieval.encode(pairs(), tokenizer, 30, "Anna: ")
    encoding.save(before, tmp_path)
    after = encoding.load(tmp_path, before.stats)
    for name in ("tokens", "offsets", "example", "targets", "words"):
        assert np.array_equal(getattr(before, name), getattr(after, name))
    assert (after.ids, after.clusters, after.gold, after.types) == (before.ids, before.clusters, before.gold, None)


def test_the_tokenizer_is_left_without_truncation(tokenizer: Any) -> None:
    retrieval.encode(pairs(), tokenizer, 6)
    assert tokenizer.backend_tokenizer.truncation is None


def test_no_room(tokenizer: Any) -> None:
    with pytest.raises(InputError, match="max_length 2 leaves no room for text: 2 tokens are special or the prefix"):
        retrieval.encode(pairs(), tokenizer, 2)
    with pytest.raises(InputError, match="leaves no room"):
        retrieval.encode(pairs(), tokenizer, 4, "Anna Smith London ")


def test_it_is_no_format_that_learns() -> None:
    with pytest.raises(InputError, match="unknown format 'retrieval'"):
        formats.get("retrieval")
