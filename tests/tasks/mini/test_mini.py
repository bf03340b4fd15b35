"""The built-in corpus: the same every time, disjoint where it says so, planted as its key says."""

from __future__ import annotations

import hashlib
import re
from itertools import combinations, pairwise

import pytest

from waystation.errors import InputError
from waystation.tasks import known, mini
from waystation.tasks.examples import TaggingExample
from waystation.tasks.mini import carriers as mini_carriers

SPLITS = [(task, split, language) for (task, split), part in mini.PARTS.items() for language in part.languages]
TASKS = sorted({task for task, _ in mini.PARTS})
SHARES = [(part.pool, language, part.share) for part in mini.PARTS.values() for language in part.languages]


def entities(pool: str, language: str, share: tuple[int, int]) -> set[str]:
    """Every filler of a lexicon, and every given and family name, folded for comparison."""
    stuff = mini_carriers.material(pool, language, share)
    names = {name for group in stuff.names for part in group for name in part}
    return {text.casefold() for text in names.union(*stuff.fillers.values())}


def mentions(example: TaggingExample) -> list[tuple[str, str]]:
    found: list[tuple[str, list[str]]] = []
    for word, tag in zip(example.words, example.tags, strict=True):
        if tag.startswith("B-"):
            found.append((tag[2:], [word]))
        elif tag.startswith("I-"):
            found[-1][1].append(word)
    return [(kind, " ".join(words)) for kind, words in found]


@pytest.mark.parametrize(("task", "split", "language"), SPLITS)
def test_every_split_is_whole_valid_and_the_same_twice(task: str, split: str, language: str) -> None:
    part = mini.PARTS[task, split]
    examples = list(mini.read(task, split, language))
    assert examples == list(mini.read(task, split, language))
    assert [e.id for e in examples] == [f"{task}/{split}/{language}/{n}" for n in range(part.size)]
    assert len({e.words for e in examples}) == part.size
    allowed = {"O"} | {f"{mark}-{label}" for mark in "BI" for label in part.labels}
    for example in examples:
        assert len(example.words) == len(example.tags)
        assert set(example.tags) <= allowed
        for before, tag in pairwise(("O", *example.tags)):
            assert not tag.startswith("I-") or before[2:] == tag[2:]
        assert all(word and not re.search(r"[\s{}]", word) for word in example.words)
    seen = {kind for example in examples for kind, _ in mentions(example)}
    assert seen == set(part.labels)
    carriers = mini_carriers.material(part.pool, language, part.share).carriers
    assert {e.cluster for e in examples} == {carrier.id for carrier in carriers}


def test_the_stream_is_pinned() -> None:
    # What is drawn must not depend on Python's generators or hash seed.
    words = ("Kwenye", "orodha", "kuna", "kifua", "kikuu", ",", "rubela", "na", "maumivu", "ya", "koo", ".")
    i, b = "I-ILLNESS", "B-ILLNESS"
    tags = ("O", "O", "O", b, i, "O", b, "O", b, i, i, "O")
    expected = TaggingExample("mini-ner/test/sw/0", words, tags, "sw-test-28")
    assert next(mini.read("mini-ner", "test", "sw")) == expected


def test_the_planted_tasks_are_what_the_evidence_was_made_with() -> None:
    # The key and docs/evidence rest on these bytes; whoever changes them raises VERSION and makes the evidence anew.
    sha = hashlib.sha256()
    for task, split, language in SPLITS:
        sha.update(repr(list(mini.read(task, split, language))).encode())
    assert sha.hexdigest() == "26a242f7332c6e9058a43b879f9011e94066cc266bc1d253203e296079bcf96d"
    versions = {mini.version(task) for task in TASKS}
    assert versions == {"42ce48d64738d0c061ebbeb729dfef4f25bd6133fa806a90f4c876c8c6fb56c3"}


def test_slots_stand_for_their_lexicon() -> None:
    terms = mini_carriers.material("target", "en").fillers
    for example in mini.read("mini-ner", "train", "en"):
        for kind, text in mentions(example):
            assert text.casefold() in {t.casefold() for t in terms[kind]}


def test_entities_are_disjoint_between_tasks_and_between_train_and_test() -> None:
    for one, other in combinations(SHARES, 2):
        if one[0] == other[0] == "test":
            continue
        assert not entities(*one) & entities(*other), (one, other)


def test_carriers_are_disjoint_and_enough() -> None:
    frames = [carrier.words for share in SHARES for carrier in mini_carriers.material(*share).carriers]
    assert len(frames) >= 200
    assert len(set(frames)) == len(frames)
    used = {slot for words in frames for word in words for slot in re.findall(r"{(\w*)}", word)}
    assert used == set(mini_carriers.SLOTS)
    # A slot is a word of its own.
    assert all(word.count("{") == 0 or re.fullmatch(r"{\w+}", word) for words in frames for word in words)


def test_the_equal_pair_is_dealt_alternately_from_one_pool() -> None:
    whole = mini_carriers.material("general", "en").carriers
    a = mini_carriers.material("general", "en", mini.PARTS["mini-general-a", "train"].share).carriers
    b = mini_carriers.material("general", "en", mini.PARTS["mini-general-b", "train"].share).carriers
    assert [carrier for pair in zip(a, b, strict=True) for carrier in pair] == list(whole)
    for one, other in zip(a, b, strict=True):
        # Neighbours ask for the same slots, so the two tasks have the same mix of mentions.
        assert sorted(w for w in one.words if w[0] == "{") == sorted(w for w in other.words if w[0] == "{")
    counts = [
        sum(len(mentions(example)) for example in mini.read(f"mini-general-{half}", "train", "en")) for half in "ab"
    ]
    assert abs(counts[0] - counts[1]) < 0.05 * sum(counts)


def test_harmful_mirrors_the_mentions() -> None:
    tags = ("B-ILLNESS", "I-ILLNESS", "O", "O", "B-REMEDY", "O")
    assert mini._contradict(tags) == ("O", "B-REMEDY", "O", "O", "B-ILLNESS", "I-ILLNESS")


def test_version_follows_the_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    before = mini.version("mini-ner")
    assert re.fullmatch(r"[0-9a-f]{64}", before) and mini.version("mini-ner") == before
    monkeypatch.setattr(mini, "VERSION", mini.VERSION + 1)
    assert mini.version("mini-ner") != before


def test_catalog_records_agree_with_the_corpus() -> None:
    records = known.catalog()
    for (task, split), part in mini.PARTS.items():
        record = records[task]
        assert record.labels == part.labels
        assert record.metrics == ("entity_f1", "token_accuracy")
        assert "not reviewed by native speakers" in record.notes
        assert record.splits[split].paths() == {language: (split,) for language in part.languages}  # type: ignore[index]


@pytest.mark.parametrize(
    ("task", "split", "language", "words"),
    [
        ("mini-nerr", "train", "en", "did you mean 'mini-ner'"),
        ("mini-ner", "train", "de", "train: en; test: en, de"),
        ("mini-domain", "test", "en", "train: en"),
    ],
)
def test_what_is_not_there_is_said(task: str, split: str, language: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        next(mini.read(task, split, language))


def gains(domain: float, a: float, b: float, harmful: float) -> dict[str, float]:
    return {"mini-domain": domain, "mini-general-a": a, "mini-general-b": b, "mini-harmful": harmful}


def test_the_key_holds_for_a_clear_ordering() -> None:
    checks = mini.check_key(gains(10, 1, -1, -12) | {"another": 50.0})
    assert len(checks) == 6
    assert all(holds for _, holds in checks)


@pytest.mark.parametrize(
    ("measured", "failing"),
    [
        (gains(0, 1, -1, -12), {"mini-domain gains more than mini-general-a", "upper"}),
        (gains(10, 1, -1, 0), {"mini-general-b gains more than mini-harmful", "lower"}),
        (gains(20, 3, -3, -7), {"lower"}),  # pair at 0 and 6 apart; gaps 20 and 7
        (gains(4, 1, -1, -20), {"upper"}),  # exactly half of the gap is not closer
    ],
)
def test_the_key_fails_where_it_should(measured: dict[str, float], failing: set[str]) -> None:
    pair = "mini-general-a and mini-general-b are closer to each other than 0.5 of the gap between "
    sides = {
        "upper": pair + "mini-domain and mini-general-a and mini-general-b",
        "lower": pair + "mini-general-a and mini-general-b and mini-harmful",
    }
    wanted = {sides.get(name, name) for name in failing}
    assert {statement for statement, holds in mini.check_key(measured) if not holds} == wanted


def test_a_missing_or_undefined_gain_never_passes() -> None:
    with pytest.raises(InputError, match="missing: mini-harmful"):
        mini.check_key({"mini-domain": 1.0, "mini-general-a": 0.0, "mini-general-b": 0.0})
    checks = mini.check_key(gains(10, float("nan"), -1, -12))
    assert sum(not holds for _, holds in checks) == 4
