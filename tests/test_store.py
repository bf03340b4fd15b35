from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from waystation import store as module
from waystation.errors import InputError
from waystation.records import EXECUTION, IDENTITY, Record, digest
from waystation.store import CLAIM_SECONDS, MANIFEST, Store


class Step(Record):
    """Some step; the store asks for no more than a record."""

    kind: Annotated[Literal["some"], IDENTITY] = "some"
    seed: Annotated[int, IDENTITY] = 0
    device: Annotated[str, EXECUTION] = "cpu"


STEP = Step()
KEY = digest(STEP)

OTHER_PROCESS = """
import os, signal, sys, time
from typing import Annotated, Literal
from waystation import store as module
from waystation.records import EXECUTION, IDENTITY, Record, digest
from waystation.store import Store

class Step(Record):
    kind: Annotated[Literal["some"], IDENTITY] = "some"
    seed: Annotated[int, IDENTITY] = 0
    device: Annotated[str, EXECUTION] = "cpu"

step = Step()
key = digest(step)
store = Store(sys.argv[1])
"""


def elsewhere(store: Store, code: str) -> subprocess.Popen[str]:
    """Run code in another process, with ``store``, ``step`` and ``key`` at hand."""
    text = OTHER_PROCESS + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", text, str(store.root)], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def put(store: Store, step: Step = STEP, content: str = "hello", **details: Any) -> Path:
    with store.building(digest(step)) as folder:
        (folder / "a.txt").write_text(content)
        (folder / "b.bin").write_bytes(b"\0\1")
        store.commit(digest(step), step, folder, details)
    return store.folder(digest(step))


# --- commit, has, manifest, verify


def test_a_new_store_is_empty_and_creates_nothing(store: Store) -> None:
    assert not store.has(KEY) and store.identities() == [] and store.verify() == [] and store.failure(KEY) is None
    store.clean()
    assert not store.root.exists()


def test_what_was_committed_is_there(store: Store) -> None:
    folder = put(store, seconds=1.5)
    assert store.has(KEY) and store.identities() == [KEY] and store.verify() == []
    manifest = store.manifest(KEY)
    assert (manifest["id"], manifest["kind"], manifest["seconds"]) == (KEY, "some", 1.5)
    assert manifest["identity"] == {"kind": "some", "seed": 0}
    assert manifest["step"] == {"kind": "some", "seed": 0, "device": "cpu"}
    assert manifest["files"]["b.bin"]["bytes"] == 2
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "b.bin", MANIFEST]
    assert list((store.root / "building").iterdir()) == []


def test_an_artifact_may_hold_no_file(store: Store) -> None:
    with store.building(KEY) as folder:
        store.commit(KEY, STEP, folder, {})
    assert store.has(KEY) and store.verify() == []


def test_execution_only_fields_share_one_artifact(store: Store) -> None:
    assert put(store, Step(device="cuda"), "first") == put(store, Step(device="cpu"), "second")
    assert (store.folder(KEY) / "a.txt").read_text() == "first"
    assert store.verify() == []


def test_the_key_must_belong_to_the_step(store: Store) -> None:
    with pytest.raises(ValueError, match="identity"), store.building(KEY) as folder:
        store.commit(KEY, Step(seed=1), folder, {})
    assert not store.has(KEY)


def test_building_leaves_nothing_behind_when_the_step_fails(store: Store) -> None:
    with pytest.raises(RuntimeError), store.building(KEY) as folder:
        (folder / "half.bin").write_bytes(b"x")
        raise RuntimeError
    assert list((store.root / "building").iterdir()) == [] and not store.has(KEY)


def test_a_commit_ends_the_workspace_and_the_failure(store: Store) -> None:
    (store.workspace(KEY) / "checkpoint").write_text("x")
    store.fail(KEY, "some step", "it broke")
    assert (store.workspace(KEY) / "checkpoint").exists(), "a workspace outlives a failure"
    put(store)
    assert not (store.root / "work" / KEY).exists() and store.failure(KEY) is None


def test_an_absent_artifact_says_what_to_do(store: Store) -> None:
    with pytest.raises(InputError, match=r"no artifact .*; run the study first"):
        store.manifest(KEY)


# --- verify


def edit_manifest(store: Store, **changes: Any) -> None:
    path = store.folder(KEY) / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_tampered_file_is_named(store: Store) -> None:
    path = put(store) / "a.txt"
    path.write_text("hellO")
    (problem,) = store.verify()
    assert problem.startswith(f"{path}: checksum differs") and "run the study again" in problem


def test_a_missing_file_is_named(store: Store) -> None:
    path = put(store) / "b.bin"
    path.unlink()
    (problem,) = store.verify()
    assert problem.startswith(f"{path}: missing") and "run the study again" in problem


def test_a_wrong_identity_is_named(store: Store) -> None:
    put(store)
    edit_manifest(store, identity={"kind": "some", "seed": 1})
    (problem,) = store.verify()
    assert problem.startswith(str(store.folder(KEY) / MANIFEST)) and "identity" in problem and "remove" in problem


def test_an_artifact_under_another_name_is_named(store: Store) -> None:
    folder = put(store)
    folder.rename(folder.with_name("f" * 64))
    (problem,) = store.verify()
    assert "f" * 64 in problem and "identity" in problem


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "null", "{}", '{"files": 3}', "\x00"])
def test_a_corrupt_manifest_is_named(store: Store, content: str) -> None:
    path = put(store) / MANIFEST
    path.write_text(content)
    (problem,) = store.verify()
    assert problem.startswith(f"{path}: ") and "remove the folder and run the study again" in problem
    with pytest.raises(InputError, match="remove the folder"):
        store.manifest(KEY)


def test_a_manifest_with_senseless_entries_is_named(store: Store) -> None:
    put(store)
    edit_manifest(store, files={"a.txt": 3, "b.bin": {}})
    assert [problem.split(": ")[0].rpartition("/")[2] for problem in store.verify()] == ["a.txt", "b.bin"]


def test_every_problem_of_every_artifact_is_told(store: Store) -> None:
    (put(store) / "a.txt").unlink()
    (put(store, Step(seed=1)) / "a.txt").write_text("x")
    (put(store, Step(seed=2)) / MANIFEST).unlink()
    put(store, Step(seed=3))
    assert len(store.verify()) == 3


# --- debris


def test_a_folder_without_a_manifest_is_debris_and_redone(store: Store) -> None:
    debris = store.folder(KEY)
    debris.mkdir(parents=True)
    (debris / "old.bin").write_text("half")
    assert not store.has(KEY) and store.identities() == []
    (problem,) = store.verify()
    assert "no manifest" in problem
    put(store)
    assert store.has(KEY) and store.verify() == [] and not (debris / "old.bin").exists()


def test_cleaning_removes_debris_and_keeps_artifacts_and_work(store: Store) -> None:
    put(store)
    debris = store.folder("f" * 64)
    debris.mkdir()
    left = store.root / "building" / f"{KEY}.dead"
    left.mkdir(parents=True)
    work = store.workspace("e" * 64)
    store.clean()
    assert store.has(KEY) and not debris.exists() and not left.exists() and work.is_dir()


def test_cleaning_spares_what_a_living_process_builds(store: Store) -> None:
    claim = store.claim(KEY)
    assert claim is not None
    try:
        with store.building(KEY) as folder:
            store.clean()
            assert folder.is_dir()
    finally:
        claim.release()


# --- several processes


def test_of_two_processes_with_one_step_the_first_wins_and_both_succeed(store: Store) -> None:
    code = """
    with store.building(key) as folder:
        (folder / "a.txt").write_text(str(os.getpid()))
        print("ready", flush=True)
        while not (store.root / "go").exists():
            time.sleep(0.01)
        store.commit(key, step, folder, {"pid": os.getpid()})
    print(store.manifest(key)["pid"], flush=True)
    """
    processes = [elsewhere(store, code) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    (store.root / "go").touch()
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(set(outputs)) == 1
    assert (store.folder(KEY) / "a.txt").read_text() == outputs[0].strip()
    assert store.verify() == [] and list((store.root / "building").iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("moment", ["rename", "replace", "fsync"])
def test_a_process_killed_in_a_commit_leaves_no_artifact(store: Store, moment: str) -> None:
    """rename: all files are written, the folder is not in place; replace: the manifest is half made; fsync: before."""
    code = f"""
    setattr(os, {moment!r}, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with store.building(key) as folder:
        (folder / "a.txt").write_text("half")
        store.commit(key, step, folder, {{}})
    """
    assert elsewhere(store, code).wait(timeout=60) == -9
    assert not store.has(KEY) and store.identities() == [] and store.verify() == []
    assert len(list((store.root / "building").iterdir())) == 1
    store.clean()
    assert list((store.root / "building").iterdir()) == []
    put(store)
    assert store.has(KEY) and store.verify() == []


def test_a_manifest_is_never_seen_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    module.write_json(path, {"a": 1})

    def fails(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        module.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}


# --- claims


def claim_file(store: Store) -> Path:
    return store.root / "claims" / f"{KEY}.json"


def forge(store: Store, age: float = 0.0, **owner: Any) -> Path:
    """A claim as another process would have left it."""
    path = claim_file(store)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": "theirs", **owner}))
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def taken(store: Store) -> bool:
    claim = store.claim(KEY)
    if claim is None:
        return False
    claim.release()
    return True


def test_a_step_is_claimed_once_until_released(store: Store) -> None:
    first = store.claim(KEY)
    assert first is not None and store.claim(KEY) is None
    other = store.claim("f" * 64)
    assert other is not None
    other.release()
    first.release()
    assert not claim_file(store).exists() and taken(store)


def test_another_process_cannot_claim_what_we_hold_and_can_afterwards(store: Store) -> None:
    claim = store.claim(KEY)
    assert claim is not None
    code = "print(store.claim(key) is None)"
    assert elsewhere(store, code).communicate(timeout=60)[0] == "True\n"
    claim.release()
    assert elsewhere(store, code).communicate(timeout=60)[0] == "False\n"


def test_the_claim_of_a_dead_process_is_taken_over_at_once(store: Store) -> None:
    process = elsewhere(store, "store.claim(key); os._exit(0)")
    assert process.wait(timeout=60) == 0 and claim_file(store).exists()
    assert taken(store)
    forge(store, pid=dead_pid())
    assert taken(store)
    assert [path.name for path in claim_file(store).parent.iterdir()] == []


def test_a_claim_of_another_host_holds_until_it_expires(store: Store) -> None:
    forge(store, age=CLAIM_SECONDS - 30, host="elsewhere", pid=dead_pid())
    assert not taken(store)
    forge(store, age=CLAIM_SECONDS + 30, host="elsewhere")
    assert taken(store)


def test_an_expired_claim_is_taken_over_even_where_a_process_has_its_number(store: Store) -> None:
    forge(store, age=CLAIM_SECONDS + 30)
    assert taken(store)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"host": "x", "pid": "many"}'])
def test_a_senseless_claim_holds_for_a_moment_only(store: Store, content: str) -> None:
    path = forge(store)
    path.write_text(content)
    assert not taken(store), "it may be written just now"
    os.utime(path, (time.time() - 10, time.time() - 10))
    assert taken(store)


def test_releasing_a_claim_that_was_taken_over_is_harmless(store: Store) -> None:
    ours = store.claim(KEY)
    assert ours is not None
    forge(store, age=CLAIM_SECONDS + 30, host="elsewhere")
    theirs = store.claim(KEY)
    assert theirs is not None
    ours.release()
    assert claim_file(store).exists() and store.claim(KEY) is None
    theirs.release()
    theirs.release()
    assert not claim_file(store).exists()


def test_a_claim_is_renewed_while_it_is_held(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLAIM_SECONDS", 0.4)
    claim = store.claim(KEY)
    assert claim is not None
    time.sleep(0.8)
    assert store.claim(KEY) is None
    claim.release()


def test_of_two_that_find_the_same_stale_claim_only_one_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = forge(store, pid=dead_pid())
    really = module._abandoned

    def another_is_faster(claim: Path) -> bool:
        stale = really(claim)
        monkeypatch.setattr(module, "_abandoned", really)
        forge(store, token="faster")
        return stale

    monkeypatch.setattr(module, "_abandoned", another_is_faster)
    assert store.claim(KEY) is None
    assert json.loads(path.read_text())["token"] == "faster"


# --- failures


def test_a_failure_is_kept_until_forgotten(store: Store) -> None:
    store.fail(KEY, "train x.s0", "out of memory: ñ")
    assert store.failure(KEY) == "out of memory: ñ" and Store(store.root).failure(KEY) == "out of memory: ñ"
    store.fail(KEY, "train x.s0", "again")
    assert store.failure(KEY) == "again" and store.failure("f" * 64) is None
    store.forget_failure(KEY)
    store.forget_failure(KEY)
    assert store.failure(KEY) is None and not store.has(KEY)


# --- places


def test_a_store_cannot_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"store '.*file' is a file; give a folder with --store"):
        Store(tmp_path / "file")


def test_a_store_may_lie_in_a_folder_with_blanks_and_accents(tmp_path: Path) -> None:
    store = Store(tmp_path / "mi almacén de prueba")
    put(store)
    assert store.has(KEY) and store.verify() == []


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"files": {}}', b"null"])
def test_a_manifest_of_the_wrong_shape_is_one_line(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    path = store.folder("a" * 64) / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(InputError, match="remove the folder and run the study again"):
        store.manifest("a" * 64)


def test_an_unreadable_failure_is_no_failure(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.fail("a" * 64, "train x", "it broke")
    assert store.failure("a" * 64) == "it broke"
    (tmp_path / "failures" / f"{'a' * 64}.json").write_text("{")
    assert store.failure("a" * 64) is None
