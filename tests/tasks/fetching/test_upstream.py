"""From a local server through the lock file to examples, for every kind of upstream."""

import hashlib
import io
import json
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from serving import Server, serving

from waystation.errors import InputError, WaystationError
from waystation.tasks import sources
from waystation.tasks.fetching import download, upstream
from waystation.tasks.task import Task

OLD, NEW = "1" * 40, "2" * 40
CONLL = b"Anna B-PER\nsleeps O\n\nRome B-LOC\n"


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WAYSTATION_DATA", "WAYSTATION_OFFLINE", "HF_HUB_OFFLINE", "WAYSTATION_LOCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WAYSTATION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(download, "PAUSE", 0.0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as state:
        monkeypatch.setenv("HF_ENDPOINT", state.url)
        monkeypatch.setattr(upstream, "GITHUB", state.url)
        yield state


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


def tagging(kind: str, **changes: Any) -> Task:
    record = {
        "id": "notes", "title": "Notes", "format": "tagging", "labels": ["PER", "LOC"], "metrics": ["entity_f1"],
        "reader": {"kind": "conll"},
        "upstream": {
            "kind": kind, "splits": {"test": {"pattern": "test-{lang}.txt", "languages": {"en": "eng", "sw": "swa"}}},
            **changes,
        },
    }  # fmt: skip
    return Task.model_validate(record)


def pairs(kind: str, **changes: Any) -> Task:
    record = {
        "id": "pairs", "title": "Pairs", "format": "classification", "labels": ["entailment", "contradiction"],
        "metrics": ["accuracy"],
        "reader": {"kind": "parquet", "text": "premise", "pair": "hypothesis", "label": "label",
                   "names": ["entailment", "contradiction"]},
        "upstream": {"kind": kind, "repo": "o/d",
                     "splits": {"test": {"pattern": "{lang}/test", "languages": {"en": "en", "sw": "sw"}}}, **changes},
    }  # fmt: skip
    return Task.model_validate(record)


def parquet(*texts: str) -> bytes:
    """Rows of a classification set as the hub writes them: the label's names stand in the schema's metadata."""
    table = pa.table({
        "premise": list(texts), "hypothesis": [text[::-1] for text in texts],
        "label": pa.array([place % 2 for place in range(len(texts))], pa.int64()),
    })  # fmt: skip
    names = {"label": {"names": ["entailment", "contradiction"], "_type": "ClassLabel"}}
    text = {"dtype": "string", "_type": "Value"}
    features = {"info": {"features": {"premise": text, "hypothesis": text, **names}}}
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), file)
    return file.getvalue()


def lock() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path("waystation.lock").read_text())
    return content


def words(task: Task, language: str = "en") -> list[Any]:
    return [getattr(one, "words", None) or one.text for one in sources.read(task, "test", language, None)]  # type: ignore[union-attr]


def github(server: Server) -> Task:
    for code in ("eng", "swa"):
        server.files[f"/o/r/{OLD}/data set/test-{code}.txt"] = CONLL
    return tagging("github", repo="o/r", revision=OLD, root="data set")


def test_a_piece_of_a_split_is_never_read_beside_the_whole(server: Server, tmp_path: Path) -> None:
    """What trains here would be tested on there."""
    task = github(server)
    here = {"train": {"files": {"en": ["piece.txt"]}, "sample": True, "stands_for": "test"}}
    task = Task.model_validate({**task.model_dump(exclude_unset=True), "splits": here})
    upstream.get(task)
    assert words(task) == [("Anna", "sleeps"), ("Rome",)]
    data = tmp_path / "data"
    (data / "notes").mkdir(parents=True)
    (data / "notes" / "piece.txt").write_bytes(CONLL)
    assert len(list(sources.read(task, "train", "en", data))) == 2
    assert sources.stands_for(task, "train", "en", data) == "test"
    with pytest.raises(InputError, match=r"piece\.txt, which is read as train, is a piece of the official test split"):
        sources.read(task, "test", "en", data)


def test_entries_of_several_processes_all_stay(server: Server) -> None:
    script = (
        "import sys; from waystation.tasks.fetching import lock; from pathlib import Path\n"
        "for n in range(10): lock.write(Path('waystation.lock'), f'{sys.argv[1]}-{n}', "
        "lock.Entry(kind='github', source='o/r', revision='0' * 40, files={}, names={}))"
    )
    started = [subprocess.Popen([sys.executable, "-c", script, name]) for name in "abc"]
    assert [one.wait() for one in started] == [0, 0, 0]
    assert len(lock()) == 30


# --- GitHub


def test_github(server: Server) -> None:
    task = github(server)
    with pytest.raises(InputError, match="'notes', test en: not here: `waystation data get notes` fetches it"):
        words(task)
    entry, fresh = upstream.get(task)
    assert fresh and lock()["notes"] == entry.model_dump(mode="json")
    assert lock()["notes"]["files"]["data set/test-eng.txt"] == {
        "sha256": hashlib.sha256(CONLL).hexdigest(), "bytes": len(CONLL),
    }  # fmt: skip
    assert words(task) == words(task, "sw") == [("Anna", "sleeps"), ("Rome",)]
    (path,) = sources.files(task, "test", "en", None)
    assert path.is_relative_to(Path("..").resolve() / "cache" / "data" / "notes")
    asked = len(server.requests)
    assert upstream.get(task) == (entry, False)
    assert len(server.requests) == asked


def test_a_pinned_set_needs_no_lock_to_be_read(server: Server) -> None:
    task = github(server)
    upstream.get(task)
    Path("waystation.lock").unlink()
    assert words(task)
    upstream.get(task)
    assert list(lock()) == ["notes"]


def test_a_pointer_to_large_files_is_no_file(server: Server) -> None:
    task = github(server)
    server.files[f"/o/r/{OLD}/data set/test-swa.txt"] = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"
    with pytest.raises(WaystationError, match=r"test-swa\.txt: the repository holds only a pointer to Git LFS"):
        upstream.get(task)
    assert not Path("waystation.lock").exists()


# --- the lock


def test_a_file_that_is_not_what_was_locked(server: Server) -> None:
    task = github(server)
    upstream.get(task)
    (path,) = sources.files(task, "test", "en", None)
    path.write_bytes(CONLL + b"Bo B-PER\n")
    with pytest.raises(InputError) as caught:
        words(task)
    assert hashlib.sha256(CONLL).hexdigest() in str(caught.value)
    assert hashlib.sha256(CONLL + b"Bo B-PER\n").hexdigest() in str(caught.value)
    assert words(task, "sw")
    upstream.get(task)  # fetched again
    assert len(words(task)) == 2
    path.unlink()
    with pytest.raises(InputError, match="is gone: `waystation data get notes` again"):
        words(task)


def test_upstream_that_changed_under_its_commit(server: Server) -> None:
    task = github(server)
    upstream.get(task)
    (path,) = sources.files(task, "test", "en", None)
    path.unlink()
    server.files[f"/o/r/{OLD}/data set/test-eng.txt"] = b"Bo B-PER\n"
    with pytest.raises(InputError, match=r"upstream no longer has what is locked: .*test-eng"):
        upstream.get(task)


def test_record_and_lock_must_agree(server: Server) -> None:
    task = github(server)
    upstream.get(task)
    assert task.upstream is not None
    moved = task.model_copy(update={"upstream": task.upstream.model_copy(update={"revision": NEW})})
    for act in (lambda: words(moved), lambda: upstream.get(moved)):
        with pytest.raises(InputError) as caught:
            act()
        assert f"locked to github o/r@{OLD}" in str(caught.value) and f"github o/r@{NEW}" in str(caught.value)


def test_other_entries_stay(server: Server) -> None:
    task = github(server)
    upstream.get(task)
    upstream.get(task.model_copy(update={"id": "other"}))
    assert list(lock()) == ["notes", "other"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not a lock file"),
        ("[]", "not a lock file"),
        ('{"notes": {"kind": "hub"}}', "source: Field required"),
        (json.dumps({"notes": {"kind": "github", "source": "o/r", "revision": OLD, "files": {},
                               "names": {"a": ["../../x"]}}}), "is not among its files"),
        (json.dumps({"notes": {"kind": "github", "source": "o/r", "revision": OLD, "names": {},
                               "files": {"../x": {"sha256": "0" * 64, "bytes": 1}}}}), "leads out of their folder"),
    ],
)  # fmt: skip
def test_malformed_lock_files(server: Server, text: str, says: str) -> None:
    Path("waystation.lock").write_text(text)
    with pytest.raises(InputError) as caught:
        words(github(server))
    assert "waystation.lock: " in str(caught.value) and says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_lock_may_lie_elsewhere(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYSTATION_LOCK", str(tmp_path / "locks" / "data.lock"))
    upstream.get(github(server))
    assert (tmp_path / "locks" / "data.lock").is_file() and not Path("waystation.lock").exists()


# --- archives


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return file.getvalue()


def archive(server: Server, content: bytes, **changes: Any) -> Task:
    server.files["/set.zip"] = content
    return tagging("archive", url=f"{server.url}/set.zip", root="set/", **changes)


GOOD = zipped({"set/test-eng.txt": CONLL, "set/test-swa.txt": CONLL, "set/other.txt": b"x"})


def test_an_archive_is_resumed_unpacked_and_locked(server: Server) -> None:
    server.cuts["/set.zip"] = [50]
    task = archive(server, GOOD)
    entry, _ = upstream.get(task)
    assert server.ranges("/set.zip") == [None, "bytes=50-"]
    assert entry.revision == hashlib.sha256(GOOD).hexdigest()
    assert sorted(entry.files) == ["set/test-eng.txt", "set/test-swa.txt"]
    assert words(task) == [("Anna", "sleeps"), ("Rome",)]
    server.files["/set.zip"] = zipped({"set/test-eng.txt": CONLL, "set/test-swa.txt": b"other"})
    assert upstream.get(task) == (entry, False)
    sources.files(task, "test", "en", None)[0].unlink()
    with pytest.raises(InputError, match=f"has SHA-256 .*, locked is {entry.revision}"):
        upstream.get(task)


def test_archives_side_by_side(server: Server) -> None:
    one, two = zipped({"set/test-eng.txt": CONLL, "set/about": b"1"}), zipped({"set/test-swa.txt": CONLL})
    server.files |= {"/one.zip": one, "/two.zip": two}
    task = tagging("archive", url=[f"{server.url}/one.zip", f"{server.url}/two.zip"], root="set/")
    entry, fetched = upstream.get(task)
    assert fetched and sorted(entry.files) == ["set/test-eng.txt", "set/test-swa.txt"]
    assert words(task) == [("Anna", "sleeps"), ("Rome",)]
    sources.files(task, "test", "sw", None)[0].unlink()
    server.files["/two.zip"] = zipped({"set/test-swa.txt": b"other"})
    with pytest.raises(InputError, match=f"two.zip has SHA-256 .*, locked is {entry.revision}"):
        upstream.get(task)
    with pytest.raises(ValidationError, match="sha256 is that of one archive"):
        tagging("archive", url=["https://a/b.zip", "https://a/c.zip"], sha256="0" * 64)


def test_a_declared_checksum(server: Server) -> None:
    wrong = "0" * 64
    with pytest.raises(WaystationError, match=f"expected {wrong}: it is not used"):
        upstream.get(archive(server, GOOD, sha256=wrong))
    upstream.get(archive(server, GOOD, sha256=hashlib.sha256(GOOD).hexdigest()))


def test_a_hostile_archive_leaves_nothing(server: Server, tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as packed:
        link = tarfile.TarInfo("set/test-eng.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(link)
    with pytest.raises(WaystationError, match=r"member 'set/test-eng\.txt' is refused: it is a link"):
        upstream.get(archive(server, file.getvalue()))
    assert not any(path.is_dir() for path in (tmp_path / "cache/data/notes").iterdir())


def test_an_archive_without_the_file(server: Server) -> None:
    with pytest.raises(InputError, match=r"no file 'set/test-swa\.txt' \(did you mean 'set/test-eng\.txt'\?\)"):
        upstream.get(archive(server, zipped({"set/test-eng.txt": CONLL})))


def test_a_single_file_is_an_archive_of_itself(server: Server) -> None:
    server.files["/test-eng.txt"] = CONLL
    splits = {"test": {"files": {"en": ["test-eng.txt"]}}}
    task = tagging("archive", url=f"{server.url}/test-eng.txt", splits=splits)
    upstream.get(task)
    assert words(task) == [("Anna", "sleeps"), ("Rome",)]


def test_folders_of_files(server: Server) -> None:
    """Readers of folders are given the folder; each of its files is locked."""
    files = {"set/docs/1.txt": b"Anna sleeps.", "set/docs/1.ann": b"T1\tPER 0 4\tAnna\n"}
    task = archive(server, zipped(files), reader={"kind": "brat"}, splits={"test": {"files": {"en": ["docs"]}}})
    entry, _ = upstream.get(task)
    assert sorted(entry.files) == ["set/docs/1.ann", "set/docs/1.txt"]
    (example,) = sources.read(task, "test", "en", None)
    assert example.tags[0] == "B-PER"  # type: ignore[union-attr]
    before = sources.fingerprint(task, "test", "en", None)
    other = archive(server, zipped({**files, "set/docs/1.ann": b"T1\tLOC 0 4\tAnna\n"}), reader={"kind": "brat"},
                    splits={"test": {"files": {"en": ["docs"]}}})  # fmt: skip
    Path("waystation.lock").unlink()
    upstream.get(other)
    assert sources.fingerprint(other, "test", "en", None) != before


# --- the hub


def test_hub_reads_only_the_config_that_was_named(server: Server) -> None:
    server.repo("o/d", OLD, {
        "README.md": b"---\nconfigs:\n- config_name: en\n  data_files: [{split: test, path: english/*.parquet}]\n---\n",
        "english/0.parquet": parquet("one", "two"), "english/1.parquet": parquet("three"),
        "sw/test-00000-of-00001.parquet": parquet("moja"), "other/test-00000-of-00001.parquet": parquet("x"),
    })  # fmt: skip
    task = pairs("hub")
    entry, _ = upstream.get(task)
    assert entry.names == {
        "en/test": ("english/0.parquet", "english/1.parquet"), "sw/test": ("sw/test-00000-of-00001.parquet",),
    }  # fmt: skip
    assert words(task) == ["one", "two", "three"]
    found = list(sources.read(task, "test", "en", None))
    assert [example.label for example in found] == ["entailment", "contradiction", "entailment"]  # type: ignore[union-attr]
    assert words(task, "sw") == ["moja"]


def test_what_is_not_pinned_stays_at_the_locked_commit(server: Server) -> None:
    layout = "{}/test-00000-of-00001.parquet"
    for commit, text in ((OLD, "old"), (NEW, "new")):
        server.repo("o/d", commit, {layout.format(code): parquet(text) for code in ("en", "sw")})
        task = pairs("hub")
        upstream.get(task)
        assert lock()["pairs"]["revision"] == OLD
        assert words(task) == ["old"]
    Path("waystation.lock").unlink()
    with pytest.raises(InputError, match="`waystation data get pairs` fetches it"):
        words(task)  # the cache has it, but nobody said which of the two is meant
    upstream.get(task)
    assert words(task) == ["new"]
    Path("waystation.lock").unlink()
    upstream.get(pairs("hub", revision=OLD))
    assert words(pairs("hub", revision=OLD)) == ["old"]


def test_the_converted_branch(server: Server) -> None:
    server.repo("o/d", NEW, {"script.py": b"raise SystemExit"})
    server.repo("o/d", OLD, {"en/test/0000.parquet": parquet("a"), "en/test/0001.parquet": parquet("b"),
                             "sw/test/0000.parquet": parquet("c"), "sw/train/0000.parquet": parquet("d")},
                revision="refs/convert/parquet")  # fmt: skip
    task = pairs("hub_parquet_branch")
    upstream.get(task)
    assert lock()["pairs"]["revision"] == OLD
    assert words(task) == ["a", "b"] and words(task, "sw") == ["c"]


def test_files_of_a_hub_repository(server: Server) -> None:
    server.repo("o/d", OLD, {"in/test-eng.txt": CONLL, "in/test-swa.txt": CONLL, "in/ids.txt": b"test/en/2\n"})
    splits = {"test": {"files": {"en": ["test-eng.txt"]}, "only": "ids.txt"}}
    task = tagging("hub_files", repo="o/d", root="in", splits=splits)
    upstream.get(task)
    assert words(task) == [("Rome",)]
    assert sorted(lock()["notes"]["files"]) == ["in/ids.txt", "in/test-eng.txt"]


def test_a_spoilt_file_in_the_hub_cache_is_fetched_again(server: Server) -> None:
    server.repo("o/d", OLD, {f"{code}/test.parquet": parquet("a") for code in ("en", "sw")})
    task = pairs("hub")
    upstream.get(task)
    (path,) = sources.files(task, "test", "en", None)
    path.resolve().write_bytes(b"spoilt")
    with pytest.raises(InputError, match="locked is"):
        words(task)
    upstream.get(task)
    assert words(task) == ["a"]


def test_what_the_hub_does_not_have(server: Server) -> None:
    with pytest.raises(WaystationError, match="dataset 'o/d' is not on the hub") as caught:
        upstream.get(pairs("hub"))
    assert caught.value.exit_code == 1
    server.repo("o/d", OLD, {"en/test.parquet": parquet("a"), "swa/test.parquet": parquet("b")})
    with pytest.raises(InputError, match=r"no config 'sw' \(did you mean 'swa'\?\)"):
        upstream.get(pairs("hub"))
    with pytest.raises(WaystationError, match=f"at {NEW[:12]} does not exist"):
        upstream.get(pairs("hub", revision=NEW))
    assert not Path("waystation.lock").exists()


def test_no_hub_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        WaystationError, match=r"dataset 'o/d' could not be fetched \(.*\): check the network"
    ) as caught:
        upstream.get(pairs("hub"))
    assert "\n" not in str(caught.value)


# --- offline


@pytest.mark.parametrize("variable", ["WAYSTATION_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_uses_what_is_there_and_touches_no_network(
    server: Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, variable: str
) -> None:
    server.repo("o/d", OLD, {f"{code}/test.parquet": parquet("a") for code in ("en", "sw")})
    upstream.get(pairs("hub"))
    upstream.get(github(server))
    upstream.get(archive(server, GOOD).model_copy(update={"id": "packed"}))
    request.getfixturevalue("no_network")
    monkeypatch.setenv(variable, "1")
    for _ in range(2):  # with the lock file, and without it
        for task in (pairs("hub"), github(server), archive(server, GOOD).model_copy(update={"id": "packed"})):
            _, fresh = upstream.get(task)
            assert not fresh and words(task)
        Path("waystation.lock").unlink()
    absent = pairs("hub").model_copy(update={"id": "absent"})
    with pytest.raises(InputError, match="'absent' is not in the cache and offline mode is on"):
        upstream.get(absent)


def test_reading_never_touches_the_network(no_network: None) -> None:
    with pytest.raises(InputError, match="`waystation data get pairs` fetches it"):
        words(pairs("hub"))


def test_nothing_to_fetch() -> None:
    record = tagging("github", repo="o/r", revision=OLD).model_dump(exclude={"upstream"})
    local = {**record, "splits": {"test": {"files": {"en": ["a"]}}}}
    with pytest.raises(
        InputError, match="'notes' is not to be had from the network: put its files into the data folder"
    ):
        upstream.get(Task.model_validate(local))
    bound = Task.model_validate({**local, "source": "manual", "manual": "sign at example.org"})
    with pytest.raises(InputError, match=r"'notes' is not to be had from the network: sign at example\.org"):
        upstream.get(bound)
