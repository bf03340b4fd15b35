from pathlib import Path

import pytest

from waystation import languages
from waystation.errors import InputError
from waystation.scoring import metrics
from waystation.tasks import known
from waystation.tasks.fetching import upstream
from waystation.tasks.task import Task

LOCAL = [task for task in known.catalog().values() if task.source == "local"]
LOCAL_IDS = [task.id for task in LOCAL]


def test_the_catalog_knows_them() -> None:
    expected = {
        "e3c", "e3c-documents", "bc5cdr", "ncbi-disease", "bc2gm", "wnut17", "gum", "panx", "sick", "healthver", "xnli",
        "masakhanews", "tatoeba", "tico19", "bucc2018", "squad_subset", "tydiqa_goldp", "xquad", "mlqa", "policyqa",
    }  # fmt: skip
    assert expected <= set(known.catalog())
    assert known.catalog() is known.catalog()


@pytest.mark.parametrize("task", LOCAL, ids=LOCAL_IDS)
def test_records_are_complete(task: Task) -> None:
    assert task.licence != "unknown"
    assert task.citation
    assert task.url is not None and task.url.startswith("https://")
    if task.verified == "files":
        assert task.revision is not None and len(task.revision.rpartition("@")[2]) == 40
    for name in task.metrics:
        metrics.check(name, task.labels)


@pytest.mark.parametrize("task", LOCAL, ids=LOCAL_IDS)
def test_languages_are_canonical_and_files_named_once(task: Task) -> None:
    used: list[str] = []
    reader = task.main_reader()
    for split, part in task.splits.items():
        assert part.paths(), split
        assert set(part.readers) <= set(part.paths())
        for code, names in part.paths().items():
            assert code in languages.table(), code
            own = part.readers.get(code, reader)
            used += [] if part.only or part.without or (own and own.where) else names
    assert len(used) == len(set(used))


@pytest.mark.parametrize("task", LOCAL, ids=LOCAL_IDS)
def test_clusters_are_declared_where_the_reader_makes_them(task: Task) -> None:
    readers = [task.main_reader(), *([task.upstream.reader] if task.upstream is not None else [])]
    used = [reader for reader in readers if reader is not None]
    assert used
    makes = any(reader.kind in ("documents", "brat", "xmi", "squad") or reader.cluster is not None for reader in used)
    marked = any(reader.kind in ("conll", "conllu", "table") for reader in used)  # documents may be marked in the files
    assert (task.cluster is not None) == makes or (marked and not makes)


def test_parts_are_tasks_of_their_format() -> None:
    for task in known.catalog().values():
        for part in map(known.find, task.parts):
            assert part.format == task.format and not part.parts
            assert {task.rename.get(label, label) for label in part.labels} <= {*task.labels, None}


def test_what_is_upstream_can_be_asked_for() -> None:
    """Every split of a task with an upstream has names there, and languages that the table knows."""
    for task in known.catalog().values():
        for part in upstream.splits(task).values():
            assert part.paths() and all(part.paths().values()), task.id
            assert all(code in languages.table() for code in part.paths()), task.id


def test_facts_a_study_leans_on() -> None:
    assert known.find("e3c").languages("test") == ("en", "es", "fr", "eu")
    assert known.find("e3c").languages("train") == ("en", "es", "fr", "eu")  # for joint training
    assert known.find("xnli").languages("train") == ()
    assert len(known.find("xnli").languages("test")) == 17
    assert known.find("xnli").parallel
    assert len(known.find("panx").languages("test")) == 48
    assert "en" not in known.find("masakhanews").languages("test")
    samples = {(task.id, split) for task in LOCAL for split, part in task.splits.items() if part.sample}
    assert samples >= {
        ("bc2gm", "train"), ("panx", "test"), ("healthver", "train"), ("xnli", "validation"), ("xnli", "test"),
        ("masakhanews", "train"), ("tico19", "test"), ("bucc2018", "test"), ("squad_subset", "train"),
        ("tydiqa_goldp", "train"), ("xquad", "test"), ("mlqa", "test"), ("policyqa", "train"), ("policyqa", "test"),
    }  # fmt: skip


def test_unknown_task() -> None:
    with pytest.raises(InputError) as caught:
        known.find("bc5dcr")
    assert str(caught.value) == "unknown task 'bc5dcr' (did you mean 'bc5cdr'?): `waystation tasks` lists all"


def test_own_tasks_come_first() -> None:
    own = {"notes": known.find("gum"), "e3c": known.find("panx")}
    assert known.find("notes", own).id == "gum"
    assert known.find("e3c", own).id == "panx"
    with pytest.raises(InputError, match="did you mean 'notes'"):
        known.find("note", own)


RECORD = """\
- id: mine
  title: Mine
  format: tagging
  labels: [X]
  metrics: [entity_f1]
  reader: {kind: conll}
  splits:
    train:
      files: {en: [a.txt]}
"""


def test_collect(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(RECORD)
    task = known.collect([path])["mine"]
    assert task.languages("train") == ("en",)
    assert task.languages("test") == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (RECORD + RECORD, "a.yaml:10: task 'mine' is declared twice: rename one"),
        (RECORD.replace("labels", "lables"), "a.yaml:4: lables: Extra inputs are not permitted"),
        (RECORD.replace("kind: conll", "kind: xml"), "a.yaml:6: reader.kind: Input should be 'conll', "),
        (RECORD.replace("files:", "file:"), "a.yaml:9: splits.train.file: Extra inputs are not permitted"),
        (RECORD.replace("[X]", "[X, X]"), "a.yaml:1: Value error, labels must be a non-empty list without repeats"),
        ("id: mine\n", "a.yaml:1: a catalog file is a list of tasks: begin each with '- id: ...'"),
    ],
)
def test_malformed_records(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        known.collect([path])
    assert "\n" not in str(caught.value)
    assert says in str(caught.value)
