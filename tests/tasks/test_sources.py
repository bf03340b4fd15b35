import hashlib
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import tiny_checkpoint

from waystation.errors import InputError, ManyProblems
from waystation.plan import plan
from waystation.steps.records import EncodeStep, EvaluateStep, TrainStep
from waystation.study import Study
from waystation.tasks import checks, known, sources
from waystation.tasks.fetching import lock, pieces
from waystation.tasks.reading import readers
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


def test_a_new_field_of_readers_changes_no_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fingerprint names only the reader's fields that are not at their defaults, so it can be written down here."""
    monkeypatch.setattr(readers, "VERSION", 1)
    fill(tmp_path / "notes")
    spelt = task(reader={"kind": "conll", "separator": None, "scheme": "iob2", "where": {}, "names": []})
    assert sources.fingerprint(spelt, "test", "en", tmp_path) == sources.fingerprint(task(), "test", "en", tmp_path)
    assert sources.fingerprint(task(), "test", "en", tmp_path) == (
        "9ada9767664f3953015824d6c5c13af4e70f87b0e1750327575decd411af7603"
    )


ROWS = {
    "format": "classification", "labels": ["a", "b"], "metrics": ["accuracy"],
    "reader": {"kind": "table", "text": "text", "label": "label", "id": "id"},
}  # fmt: skip
TABLE = "id\ttext\tlabel\tlang\n1\tone\ta\teng\n2\ttwo\tb\teng\n3\tdrei\ta\tdeu\n4\tvier\tb\tdeu\n"


def ids(used: Task, folder: Path, language: str = "en") -> list[str]:
    return [example.id for example in sources.read(used, "test", language, folder)]


def test_rows_of_one_language(tmp_path: Path) -> None:
    fill(tmp_path / "notes", {"all.tsv": TABLE})
    test = {"pattern": "all.tsv", "languages": {"en": "eng", "de": "deu"}}
    reader = {**ROWS["reader"], "where": {"lang": "{lang}"}}  # type: ignore[dict-item]
    used = task(**{**ROWS, "reader": reader, "splits": {"test": test}})
    assert (ids(used, tmp_path), ids(used, tmp_path, "de")) == (["1", "2"], ["3", "4"])
    prints = [sources.fingerprint(used, "test", code, tmp_path) for code in ("en", "de")]
    assert len(set(prints)) == 2


@pytest.mark.parametrize("listed", ["2\n4\n", '["2", "4"]', '{"2": "yes", "4": "no"}', "[2, 4]"])
def test_ids_that_alone_are_read_or_not(tmp_path: Path, listed: str) -> None:
    home = fill(tmp_path / "notes", {"all.tsv": TABLE, "ids": listed})

    def narrowed(**how: str) -> Task:
        return task(**{**ROWS, "splits": {"test": {"files": {"en": ["all.tsv"]}, **how}}})

    assert ids(narrowed(only="ids"), tmp_path) == ["2", "4"]
    assert ids(narrowed(without="ids"), tmp_path) == ["1", "3"]
    prints = {sources.fingerprint(narrowed(**how), "test", "en", tmp_path)
              for how in ({}, {"only": "ids"}, {"without": "ids"})}  # fmt: skip
    (home / "ids").write_text("2\n")
    prints.add(sources.fingerprint(narrowed(only="ids"), "test", "en", tmp_path))
    assert len(prints) == 4
    (home / "ids").write_text("2\n5\n")
    with pytest.raises(InputError, match="ids: id '5' is no example's"):
        ids(narrowed(only="ids"), tmp_path)
    assert ids(narrowed(without="ids"), tmp_path) == ["1", "3", "4"]
    (home / "ids").unlink()
    with pytest.raises(InputError, match=r"no file .*ids: put it there"):
        ids(narrowed(only="ids"), tmp_path)


def test_whole_sets_have_their_size(tmp_path: Path) -> None:
    fill(tmp_path / "notes", {"all.tsv": TABLE})

    def sized(rows: Any, **more: Any) -> Task:
        return task(**{**ROWS, "splits": {"test": {"files": {"en": ["all.tsv"]}, "rows": rows, **more}}})

    assert ids(sized(4), tmp_path) == ids(sized({"en": 4, "sw": 9}), tmp_path) == ids(sized({"sw": 9}), tmp_path)
    for rows in (5, {"en": 5}):
        with pytest.raises(InputError, match="'notes', test en: 4 examples, the official split has 5: fetch it again"):
            ids(sized(rows), tmp_path)
    assert len(ids(sized(5, sample=True), tmp_path)) == 4
    left_out = sized(4).model_copy(update={"rename": {"b": None}})
    assert len(ids(left_out, tmp_path)) == 2  # what is left out is in the file all the same


def parts(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Task:
    """A task of two parts, known as if the catalog had them."""
    one = task(**{**ROWS, "id": "one", "splits": {"test": {"files": {"en": ["1.tsv"], "de": ["1.tsv"]}}}})
    two = task(**{**ROWS, "id": "two", "labels": ["A"], "rename": {"a": "A", "b": None}, "splits": {
        "test": {"files": {"en": ["2.tsv"]}}, "train": {"files": {"en": ["2.tsv"]}},
    }})  # fmt: skip
    monkeypatch.setattr(known, "catalog", lambda: {"one": one, "two": two})
    record = {"id": "both", "title": "Both", "format": "classification", "labels": ["a", "b"], "rename": {"A": "a"},
              "metrics": ["accuracy"], "parts": ["one", "two"]}  # fmt: skip
    return Task.model_validate({**record, **changes})


def test_parts_are_read_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = parts(monkeypatch)
    fill(tmp_path / "one", {"1.tsv": TABLE})
    home = fill(tmp_path / "two", {"2.tsv": TABLE})
    assert both.all_splits() == ("test",) and both.languages("test") == ("en",)
    assert ids(both, tmp_path) == ["one/1", "one/2", "one/3", "one/4", "two/1", "two/3"]
    labels = [example.label for example in sources.read(both, "test", "en", tmp_path)]  # type: ignore[union-attr]
    assert labels == ["a", "b", "a", "b", "a", "a"]
    used = sources.read(both, "test", "en", tmp_path, rename={"b": None, "a": "x"}, labels=["x"])
    assert [example.id for example in used] == ["one/1", "one/3", "two/1", "two/3"]
    assert sources.words(both, "test", "en", tmp_path) == "files in the data folder"
    assert sources.files(both, "test", "en", tmp_path) == [tmp_path / "one/1.tsv", home / "2.tsv"]
    (row,) = checks.check(both, tmp_path)
    assert (row["examples"], row["labels"], row["notes"]) == (6, {"a": 4, "b": 2}, {"left out": 2})
    before = sources.fingerprint(both, "test", "en", tmp_path)
    (home / "2.tsv").write_text(TABLE + "5\tfive\ta\teng\n")
    assert sources.fingerprint(both, "test", "en", tmp_path) != before
    (home / "2.tsv").unlink()
    with pytest.raises(InputError, match=r"task 'two', test en: no file .*2\.tsv"):
        sources.read(both, "test", "en", tmp_path)


def test_labels_left_open_are_those_of_the_training_files(tmp_path: Path) -> None:
    fill(tmp_path / "notes", {"train": "a\tN\nb\tV\n\nc\tN/N\n", "test": "a\tN\nb\tS\n"})
    splits = {"train": {"files": {"en": ["train"]}}, "test": {"files": {"en": ["test"]}}}
    tags = task(labels=[], open_labels=True, reader={"kind": "conll", "scheme": "plain"}, splits=splits)
    found = sources.resolved(tags, tmp_path)
    assert found.labels == ("N", "N/N", "V", "UNSEEN")
    assert sources.resolved(found, tmp_path) is found
    (example,) = sources.read(found, "test", "en", tmp_path)
    assert example.tags == ("N", "UNSEEN")  # type: ignore[union-attr]
    (example,) = sources.read(found, "test", "en", tmp_path, rename={"UNSEEN": "N"}, labels=["N", "N/N", "V"])
    assert example.tags == ("N", "N")  # type: ignore[union-attr]
    train, test = checks.check(tags, tmp_path)
    assert train["labels"] == {"N": 1, "N/N": 1, "V": 1, "UNSEEN": 0} and test["labels"]["UNSEEN"] == 1
    prints = sources.fingerprint(found, "test", "en", tmp_path)
    (tmp_path / "notes" / "train").write_text("a\tN\nb\tS\n")
    assert sources.fingerprint(sources.resolved(tags, tmp_path), "test", "en", tmp_path) != prints
    entities = task(labels=[], open_labels=True, rename={"PER": "WHO"})
    fill(tmp_path / "notes")
    assert sources.resolved(entities, tmp_path).labels == ("LOC", "WHO", "UNSEEN")
    with pytest.raises(InputError, match="no training data declared, so its labels are unknown"):
        sources.resolved(tags.model_copy(update={"splits": {"test": tags.splits["test"]}}), tmp_path)


def test_a_study_learns_open_labels_when_it_is_planned(tmp_path: Path) -> None:
    fill(tmp_path / "notes", {"train": "a\tN\nb\tV\n", "test": "a\tN\nb\tS\n"})
    table = {
        "format": "tagging", "open_labels": True, "metrics": ["token_accuracy"], "path": str(tmp_path / "notes"),
        "reader": {"kind": "conll", "scheme": "plain"}, "train": {"en": "train"}, "test": {"en": "test"},
    }  # fmt: skip
    content = {
        "study": "open", "backbone": str(tiny_checkpoint(tmp_path / "backbone")), "seeds": 1,
        "intermediate": {"general": ["one"]}, "target": ["two"], "tasks": {"one": table, "two": table},
    }  # fmt: skip
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    made = plan(Study.load(tmp_path / "s.yaml"))
    steps = [node.step for node in made.nodes.values()]
    assert {step.labels for step in steps if isinstance(step, (EncodeStep, TrainStep, EvaluateStep))} == {
        ("N", "V", "UNSEEN")
    }
    assert {step.scheme for step in steps if isinstance(step, TrainStep)} == {"plain"}
    assert made.study.labels_of(made.study.target[0]) == ("N", "V", "UNSEEN")


def test_files_of_a_known_piece_are_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = fill(tmp_path / "notes")
    content = (home / "train two.txt").read_bytes()
    assert not sources.sample(task(), "train", "en", tmp_path)
    monkeypatch.setattr(pieces, "_cut_short", lambda: frozenset([hashlib.sha256(content).hexdigest()]))
    assert sources.sample(task(), "train", "en", tmp_path)
    assert sources.sample(task(), "test", "en", tmp_path)  # says so itself
    train, *_ = checks.check(task(), tmp_path)
    assert train["sample"]


UPSTREAM = {
    "kind": "github", "repo": "o/r", "revision": "1" * 40,
    "splits": {"train": {"files": {"en": ["t.txt"]}}, "test": {"files": {"en": ["a.txt"], "sw": ["b.txt"]}}},
}  # fmt: skip


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """A task with files in the data folder for one split, and upstream for more."""
    monkeypatch.setenv("WAYSTATION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WAYSTATION_LOCK", str(tmp_path / "waystation.lock"))
    return task(splits={"test": {"files": {"en": ["local.txt"]}}}, upstream=UPSTREAM)


def fetch(used: Task, tmp_path: Path) -> None:
    home = tmp_path / "cache" / "data" / used.id / ("1" * 16)
    fill(home, {name: "Up B-PER\n" for name in ("t.txt", "a.txt", "b.txt")})
    entry = lock.Entry(
        kind="github", source="o/r", revision="1" * 40, names={name: (name,) for name in ("t.txt", "a.txt", "b.txt")},
        files={name: lock.content(home / name) for name in ("t.txt", "a.txt", "b.txt")},
    )  # fmt: skip
    lock.write(tmp_path / "waystation.lock", used.id, entry)


def test_the_data_folder_comes_before_upstream(tmp_path: Path, fetched: Task) -> None:
    data = tmp_path / "data"
    assert fetched.all_splits() == ("test", "train") and fetched.languages("test") == ("en", "sw")
    with pytest.raises(InputError, match=r"no folder .*; or `waystation data get notes` fetches the whole set"):
        sources.read(fetched, "test", "en", data)
    with pytest.raises(InputError, match="'notes', test sw: not here: `waystation data get notes` fetches it"):
        sources.read(fetched, "test", "sw", data)
    assert not checks.at_hand(fetched, data)
    fetch(fetched, tmp_path)
    assert sources.origin(fetched, "test", "en", data).words == "o/r@111111111111"
    fill(data / "notes", {"local.txt": "Here B-PER\n"})
    (example,) = sources.read(fetched, "test", "en", data)
    assert example.words == ("Here",)  # type: ignore[union-attr]
    assert sources.origin(fetched, "test", "en", data).words == "files in the data folder"
    (example,) = sources.read(fetched, "test", "sw", data)
    assert example.words == ("Up",)  # type: ignore[union-attr]
    assert [(row["split"], row["language"]) for row in checks.check(fetched, data)] == [
        ("test", "en"), ("test", "sw"), ("train", "en"),
    ]  # fmt: skip
    (tmp_path / "waystation.lock").unlink()
    assert [(row["split"], row["language"]) for row in checks.check(fetched, data)] == [("test", "en")]


def test_equal_files_are_one_identity_wherever_they_are_from(tmp_path: Path, fetched: Task) -> None:
    fetch(fetched, tmp_path)
    before = sources.fingerprint(fetched, "test", "en", tmp_path / "data")
    fill(tmp_path / "data" / "notes", {"local.txt": "Up B-PER\n"})
    assert sources.fingerprint(fetched, "test", "en", tmp_path / "data") == before


def test_files_bound_by_a_licence_say_how_to_get_them(tmp_path: Path) -> None:
    bound = task(source="manual", manual="sign the agreement at example.org, unpack the archive there")
    with pytest.raises(InputError) as caught:
        sources.read(bound, "test", "en", tmp_path)
    assert "put train one.txt" in str(caught.value)
    assert str(caught.value).endswith(": sign the agreement at example.org, unpack the archive there")


def test_check(tmp_path: Path) -> None:
    fill(tmp_path / "notes")
    train, english, norwegian = checks.check(task(), tmp_path)
    assert train == {
        "split": "train", "language": "en", "examples": 3, "words": 3, "labels": {"PER": 2, "LOC": 1}, "clusters": None,
        "sample": False, "stray": 1, "notes": {}, "source": "files in the data folder",
        "files": [str(tmp_path / "notes" / "train one.txt"), str(tmp_path / "notes" / "train two.txt")],
    }  # fmt: skip
    assert (english["sample"], english["stray"]) == (True, 0)
    assert norwegian["language"] == "no"


def test_check_tells_all_problems(tmp_path: Path) -> None:
    home = fill(tmp_path / "notes")
    (home / "test-eng.txt").write_text("Bo B-PRE\n")
    (home / "test-nob.txt").unlink()
    with pytest.raises(ManyProblems) as caught:
        checks.check(task(), tmp_path)
    one, two = caught.value.problems
    assert "test-eng.txt:1: 'PRE' is neither" in one
    assert "no file" in two


def test_the_built_in_corpus_needs_no_files() -> None:
    record = {"title": "Mini", "format": "tagging", "metrics": ["entity_f1"], "source": "mini"}
    mini = Task.model_validate({
        **record, "id": "mini-ner", "labels": ["ILLNESS", "REMEDY"],
        "splits": {"test": {"files": {"en": [], "de": []}}},
    })  # fmt: skip
    english, german = checks.check(mini, None)
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
    ("e3c", "train"): {"en": 669, "es": 455, "fr": 504, "eu": 1361},
    ("e3c", "test"): {"en": 851, "es": 679, "fr": 605, "eu": 1765},
    ("e3c-documents", "train"): {"en": 669, "es": 455, "fr": 504, "eu": 1361},
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
    rows = checks.check(real(task_id), DATA)
    assert {(task_id, row["split"]) for row in rows} == {key for key in SIZES if key[0] == task_id}
    for row in rows:
        expected = SIZES[(task_id, row["split"])]
        assert row["examples"] == (expected if isinstance(expected, int) else expected[row["language"]]), row
        assert row["stray"] == STRAY.get((task_id, row["language"]), 0), row


@pytest.mark.data
def test_every_declared_local_task_is_measured() -> None:
    declared = {task.id for task in known.catalog().values() if task.source == "local" and task.verified == "files"}
    assert declared >= {task_id for task_id, _ in SIZES}  # the others in test_catalog_general.py and _domains.py


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
    for row in checks.check(news, DATA):
        assert row["labels"]["health"] >= 20
    assert any("\n" in example.text for example in sources.read(news, "test", "xh", DATA))  # type: ignore[union-attr]
