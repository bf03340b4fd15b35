import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from waystation.errors import InputError, ManyProblems
from waystation.tasks import known, sources
from waystation.tasks.task import Task

DATA = Path(os.environ.get("WAYSTATION_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture(autouse=True)
def _no_data_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYSTATION_DATA", raising=False)


def task(**changes: Any) -> Task:
    record = {
        "id": "notes", "title": "Notes", "format": "tagging", "labels": ["PER", "LOC"], "metrics": ["entity_f1"],
        "reader": {"kind": "conll"}, "folders": ["other notes"],
        "splits": {
            "train": {"files": {"en": ["train one.txt", "train two.txt"]}},
            "test": {
                "pattern": "test-{lang}.txt", "languages": {"en": "eng", "no": "nob"},
                "readers": {"no": {"kind": "conll", "separator": "\t"}}, "sample": True,
            },
        },
    }  # fmt: skip
    return Task.model_validate({**record, **changes})


FILES = {
    "train one.txt": "Anna B-PER\n\nRome I-LOC\n", "train two.txt": "Li B-PER\n",
    "test-eng.txt": "Bo B-PER\n", "test-nob.txt": "i Oslo\tB-LOC\n",
}  # fmt: skip


def fill(folder: Path, files: dict[str, str] = FILES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_folders_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alias = fill(tmp_path / "data" / "other notes")
    assert sources.folder(task(), tmp_path / "data") == alias
    own = fill(tmp_path / "data" / "notes")
    assert sources.folder(task(), tmp_path / "data") == own
    monkeypatch.setenv("WAYSTATION_DATA", str(tmp_path / "data"))
    assert sources.folder(task(), None) == own
    mine = task(path=str(tmp_path / "elsewhere"))
    assert sources.folder(mine, None) == own  # a path that is not there gives way
    fill(tmp_path / "elsewhere")
    assert sources.folder(mine, None) == tmp_path / "elsewhere"  # a path that is there was meant


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        sources.folder(task(), tmp_path)
    assert str(caught.value) == (
        f"task 'notes': no folder {tmp_path / 'notes'} or {tmp_path / 'other notes'}: put train one.txt, "
        "train two.txt, test-eng.txt and 1 more there, or say --data DIR (or $WAYSTATION_DATA)"
    )
    with pytest.raises(InputError, match=r"no data folder is given: put train one\.txt, .* into DIR/notes/ and say"):
        sources.folder(task(), None)


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("x")
    with pytest.raises(InputError, match="is a file: give the folder"):
        sources.folder(task(), tmp_path)


def test_files(tmp_path: Path) -> None:
    home = fill(tmp_path / "notes")
    assert sources.files(task(), "train", "en", tmp_path) == [home / "train one.txt", home / "train two.txt"]
    assert sources.files(task(), "test", "no", tmp_path) == [home / "test-nob.txt"]


def test_what_is_not_there(tmp_path: Path) -> None:
    home = fill(tmp_path / "notes")
    (home / "test-eng.txt").unlink()
    with pytest.raises(InputError) as caught:
        sources.read(task(), "test", "en", tmp_path)  # at the call, not at the first example
    assert f"notes', test en: no file {home / 'test-eng.txt'}: put it there" in str(caught.value)
    with pytest.raises(InputError, match="'notes' has no split 'validation': it has train, test"):
        sources.files(task(), "validation", "en", tmp_path)
    with pytest.raises(InputError, match="'notes', test: no language 'eu': it has en, no"):
        sources.read(task(), "test", "eu", tmp_path)


def test_reading_files_in_turn(tmp_path: Path) -> None:
    fill(tmp_path / "notes")
    found = list(sources.read(task(), "train", "en", tmp_path))
    assert [example.id for example in found] == ["train/en/1", "train/en/2", "train/en/3"]
    assert [example.words for example in found] == [("Anna",), ("Rome",), ("Li",)]  # type: ignore[union-attr]


def test_a_language_with_its_own_reader(tmp_path: Path) -> None:
    fill(tmp_path / "notes")
    (one,) = sources.read(task(), "test", "no", tmp_path)
    assert one.words == ("i Oslo",)  # type: ignore[union-attr]


def test_under_the_labels_of_another_set(tmp_path: Path) -> None:
    fill(tmp_path / "notes")
    found = list(sources.read(task(), "train", "en", tmp_path, rename={"PER": "WHO", "LOC": None}, labels=["WHO"]))
    assert [example.tags for example in found] == [("B-WHO",), ("O",), ("B-WHO",)]  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"train one\.txt:3: 'LOC' is neither a label of the task \(WHO\)"):
        list(sources.read(task(), "train", "en", tmp_path, rename={"PER": "WHO"}, labels=["WHO"]))
    with pytest.raises(InputError, match=r"rename: 'PERS' is no label of task 'notes' \(did you mean 'PER'\?\)"):
        sources.read(task(), "train", "en", tmp_path, rename={"PERS": "WHO"}, labels=["WHO"])
    with pytest.raises(InputError, match=r"maps 'PER' to 'WOH', which is no label here \(did you mean 'WHO'\?\): WHO"):
        sources.read(task(), "train", "en", tmp_path, rename={"PER": "WOH"}, labels=["WHO"])


def test_own_ids_are_unique_over_files(tmp_path: Path) -> None:
    rows = task(
        format="classification", labels=["a"], metrics=["accuracy"],
        reader={"kind": "table", "text": "t", "label": "l", "id": "i"},
        splits={"train": {"files": {"en": ["1.tsv", "2.tsv"]}}},
    )  # fmt: skip
    fill(tmp_path / "notes", {"1.tsv": "i\tt\tl\n1\tx\ta\n", "2.tsv": "i\tt\tl\n2\tx\ta\n1\ty\ta\n"})
    with pytest.raises(InputError, match=r"2\.tsv:3: id '1' occurs twice"):
        list(sources.read(rows, "train", "en", tmp_path))


def test_fingerprints(tmp_path: Path) -> None:
    home = fill(tmp_path / "notes")

    def now(used: Task, split: Any = "train", language: str = "en", data: Path = tmp_path) -> str:
        return sources.fingerprint(used, split, language, data)

    first = now(task())
    # Where the files lie, what people read, and what other splits do changes nothing.
    fill(tmp_path / "moved" / "other notes")
    assert now(task(), data=tmp_path / "moved") == first
    assert now(task(title="Other", licence="x", folders=[], sensitive=True)) == first
    splits = task().model_dump()["splits"]
    assert now(task(splits={"train": splits["train"]})) == first
    # Everything that changes the examples does.
    assert now(task(labels=["LOC", "PER"])) != first
    assert now(task(rename={"X": "PER"})) != first
    assert now(task(reader={"kind": "conll", "scheme": "iob1"})) != first
    assert len({first, now(task(), "test"), now(task(), "test", "no")}) == 3
    test = now(task(), "test", "no")
    assert now(task(reader={"kind": "conll", "scheme": "iob1"}), "test", "no") == test  # it has a reader of its own
    (home / "train two.txt").write_text("Li B-LOC\n")
    assert now(task()) != first
    assert now(task(), "test", "no") == test


def test_check(tmp_path: Path) -> None:
    fill(tmp_path / "notes")
    train, english, norwegian = sources.check(task(), tmp_path)
    assert train == {
        "split": "train", "language": "en", "examples": 3, "words": 3, "labels": {"PER": 2, "LOC": 1}, "clusters": None,
        "sample": False, "stray": 1, "notes": {},
        "files": [str(tmp_path / "notes" / "train one.txt"), str(tmp_path / "notes" / "train two.txt")],
    }  # fmt: skip
    assert (english["sample"], english["stray"]) == (True, 0)
    assert norwegian["language"] == "no"


def test_check_tells_all_problems(tmp_path: Path) -> None:
    home = fill(tmp_path / "notes")
    (home / "test-eng.txt").write_text("Bo B-PRE\n")
    (home / "test-nob.txt").unlink()
    with pytest.raises(ManyProblems) as caught:
        sources.check(task(), tmp_path)
    one, two = caught.value.problems
    assert "test-eng.txt:1: 'PRE' is neither" in one
    assert "no file" in two


def test_the_built_in_corpus_needs_no_files() -> None:
    record = {"title": "Mini", "format": "tagging", "metrics": ["entity_f1"], "source": "mini"}
    mini = Task.model_validate({
        **record, "id": "mini-ner", "labels": ["ILLNESS", "REMEDY"],
        "splits": {"test": {"files": {"en": [], "de": []}}},
    })  # fmt: skip
    english, german = sources.check(mini, None)
    assert english["examples"] == german["examples"] > 0
    assert english["files"] == []
    prints = {sources.fingerprint(mini, "test", code, None) for code in ("en", "de")}
    assert len(prints) == 2
    rename = {"ILLNESS": "WHO", "REMEDY": None}
    found = sources.read(mini, "test", "en", None, rename=rename, labels=["WHO"])
    assert {tag for example in found for tag in example.tags} == {"O", "B-WHO", "I-WHO"}  # type: ignore[union-attr]


# --- the real files

# pairs, where not 1,000
TATOEBA = {
    "am": 168, "awa": 231, "ceb": 600, "cy": 575, "fo": 262, "gd": 829, "gsw": 117, "hsb": 483, "hy": 742, "jv": 205,
    "ka": 746, "kk": 575, "km": 722, "ml": 687, "mn": 440, "sw": 390, "ta": 307, "te": 234, "th": 548, "tk": 203,
    "yi": 848,
}  # fmt: skip
SIZES: dict[tuple[str, str], int | dict[str, int]] = {
    ("e3c", "train"): 669,
    ("e3c", "test"): {"en": 851, "es": 679, "fr": 605, "eu": 1765},
    ("e3c-documents", "train"): 669,
    ("e3c-documents", "test"): {"en": 851, "es": 679, "fr": 605, "eu": 1765},
    ("bc5cdr", "train"): 4560,
    ("bc5cdr", "test"): 4797,
    ("ncbi-disease", "train"): 5424,
    ("ncbi-disease", "validation"): 923,
    ("ncbi-disease", "test"): 940,
    ("bc2gm", "train"): 2519,
    ("wnut17", "train"): 3394,
    ("wnut17", "validation"): 1009,
    ("wnut17", "test"): 1287,
    ("gum", "train"): 2495,
    ("gum", "test"): 1000,
    ("panx", "train"): 20_000,
    ("panx", "test"): {code: 100 if code in ("gu", "jv", "my", "pa", "qu", "yo") else 300
                       for code in known.find("panx").languages("test")},
    ("sick", "train"): 4500,
    ("sick", "validation"): 500,
    ("sick", "test"): 4927,
    ("healthver", "train"): 1917,
    ("healthver", "test"): 1823,
    ("xnli", "validation"): dict.fromkeys(known.find("xnli").languages("validation"), 600),
    ("xnli", "test"): dict.fromkeys(known.find("xnli").languages("test"), 800),
    ("masakhanews", "train"): 472 + 948,
    ("masakhanews", "test"): {"am": 376, "ha": 637, "ig": 390, "ln": 175, "om": 325, "pcm": 305, "rn": 322, "sw": 476,
                              "ti": 272, "xh": 297, "yo": 411, "fr": 422},
    ("tatoeba", "test"): {code: 2 * TATOEBA.get(code, 1000) for code in known.find("tatoeba").languages("test")},
    ("tico19", "test"): 2 * 512,
    ("bucc2018", "test"): 2716 + 4166,
    ("squad_subset", "train"): 1500,
    ("tydiqa_goldp", "train"): 1500,
    ("xquad", "test"): 426,
    ("mlqa", "test"): {"de": 272, "es": 280, "hi": 329, "zh": 276},
    ("policyqa", "train"): 2745,
    ("policyqa", "test"): 1006,
}  # fmt: skip
STRAY = {("panx", "ja"): 11, ("panx", "zh"): 13}


def real(task_id: str) -> Task:
    """A task whose files are here, or skip."""
    found = known.find(task_id)
    try:
        sources.folder(found, DATA)
    except InputError as problem:
        pytest.skip(f"no real data: {problem}")
    return found


@pytest.mark.data
@pytest.mark.parametrize("task_id", sorted({task_id for task_id, _ in SIZES}))
def test_real_sizes(task_id: str) -> None:
    rows = sources.check(real(task_id), DATA)
    assert {(task_id, row["split"]) for row in rows} == {key for key in SIZES if key[0] == task_id}
    for row in rows:
        expected = SIZES[(task_id, row["split"])]
        assert row["examples"] == (expected if isinstance(expected, int) else expected[row["language"]]), row
        assert row["stray"] == STRAY.get((task_id, row["language"]), 0), row


@pytest.mark.data
def test_every_declared_local_task_is_measured() -> None:
    declared = {task.id for task in known.catalog().values() if task.source == "local" and task.verified == "files"}
    assert declared == {task_id for task_id, _ in SIZES}


@pytest.mark.data
@pytest.mark.parametrize("language", ["en", "es", "fr", "eu"])
def test_e3c_documents_hold_what_the_official_files_hold(language: str) -> None:
    """Sentence by sentence: as many entities, and the same characters inside and outside of them."""

    def marked(task_id: str) -> list[tuple[int, str]]:
        found = []
        for example in sources.read(real(task_id), "test", language, DATA):
            tags, words = example.tags, example.words  # type: ignore[union-attr]
            inside = "".join(word for word, tag in zip(words, tags, strict=True) if tag != "O")
            found.append((sum(tag.startswith("B-") for tag in tags), inside))
        return found

    official, ours = marked("e3c"), marked("e3c-documents")
    assert [count for count, _ in official] == [count for count, _ in ours]
    differ = [(one, two) for one, two in zip(official, ours, strict=True) if one != two]
    assert len(differ) <= 1, differ  # es: "NA" became "nan" in the official file


@pytest.mark.data
def test_xnli_is_parallel() -> None:
    xnli = real("xnli")
    for split in ("validation", "test"):
        facts = [
            [(example.id.rpartition("/")[2], example.cluster, example.label)  # type: ignore[union-attr]
             for example in sources.read(xnli, split, language, DATA)]  # type: ignore[arg-type]
            for language in xnli.languages(split)  # type: ignore[arg-type]
        ]  # fmt: skip
        assert all(one == two for one, two in pairwise(facts)), split


@pytest.mark.data
def test_masakhanews_has_health_everywhere_and_newlines_in_texts() -> None:
    news = real("masakhanews")
    for row in sources.check(news, DATA):
        assert row["labels"]["health"] >= 20
    assert any("\n" in example.text for example in sources.read(news, "test", "xh", DATA))  # type: ignore[union-attr]
