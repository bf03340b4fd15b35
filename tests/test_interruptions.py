"""Real processes, killed and stopped at work: what they leave behind leads to the same bits as an undisturbed run."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("torch", reason="needs the extra 'torch'")
if sys.platform == "win32":
    pytest.skip("needs POSIX signals", allow_module_level=True)

from small import write_study
from tiny import tiny_checkpoint

from waystation import Study, plan, run
from waystation.store import Store

UPDATES = 40

# Runs the study given; dies of SIGKILL at the moment named in the third argument.
DIES = """
import os, signal, sys
from pathlib import Path
from waystation import Study, run

study, store, moment = sys.argv[1:]
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
rename, commits = os.rename, []

def renaming(source, target):
    if Path(target).parent.name != "artifacts":
        return rename(source, target)
    commits.append(target)
    if moment == f"before commit {len(commits)}":
        die()
    rename(source, target)
    if moment == f"after commit {len(commits)}":
        die()

def on_event(event):
    if event.kind == "done" and moment == f"after {event.node.label}":
        die()

os.rename = renaming
run(Study.load(study), store, on_event=on_event)
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    recipe = {"batch": 4, "max_length": 24, "stride": 6, "updates": UPDATES, "checkpoint_seconds": 0}
    return write_study(folder, tiny_checkpoint(folder / "backbone"), recipe=recipe, intermediate={"other": ["mood"]})


@pytest.fixture(scope="module")
def undisturbed(study, tmp_path_factory):
    """Checksums of all results of a run that nobody disturbed."""
    store = tmp_path_factory.mktemp("undisturbed")
    assert run(Study.load(study), store).ok
    return results(study, store)


def results(study, store):
    """(step, file) → checksum of every weight, prediction and encoding; all of them whole."""
    opened = Store(store)
    assert opened.verify() == []
    found = {}
    for node in plan(Study.load(study)).nodes.values():
        for name, entry in opened.manifest(node.id)["files"].items():
            found[node.label, name] = entry["sha256"]
    assert sum(name == "delta.safetensors" for _, name in found) == 3
    assert sum(label.startswith("evaluate") for label, _ in found) == 4
    return found


def finish_and_compare(study, store, undisturbed):
    summary = run(Study.load(study), store)
    assert summary.ok, summary
    assert results(study, store) == undisturbed
    assert not [*store.glob("building/*"), *store.glob("failures/*")]
    return summary


def command_line(study, store):
    command = [sys.executable, "-m", "waystation.cli", "run", str(study), "--store", str(store)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(process, store):
    end = time.monotonic() + 60
    while not list(store.glob("work/*/checkpoint-*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_in_training(study, undisturbed, tmp_path):
    process = command_line(study, tmp_path)
    wait_for_checkpoint(process, tmp_path)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert list(tmp_path.glob("work/*/checkpoint-*")) and list((tmp_path / "claims").iterdir())
    summary = finish_and_compare(study, tmp_path, undisturbed)
    assert summary.reused >= 1 and len(summary.done) >= 7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "left"),
    [
        ("after train mood.s0", 2),  # between two steps
        ("before commit 2", 8),  # a trained model, written and not yet renamed
        ("after commit 5", 4),  # a finished step whose workspace and claim were not yet removed
    ],
)
def test_killed_between_steps_and_in_a_commit(study, undisturbed, tmp_path, moment, left):
    died = subprocess.run(
        [sys.executable, "-c", DIES, str(study), str(tmp_path), moment], capture_output=True, text=True, timeout=120
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert list((tmp_path / "claims").iterdir())
    summary = finish_and_compare(study, tmp_path, undisturbed)
    assert len(summary.done) == left
    assert summary.reused == 9 - left


@pytest.mark.slow
def test_stopped_in_training(study, undisturbed, tmp_path):
    process = command_line(study, tmp_path)
    wait_for_checkpoint(process, tmp_path)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    told = re.search(rf"^stopped: train .*: stopped after update (\d+) of {UPDATES}; saved, run again", errors, re.M)
    assert told and "Traceback" not in errors, errors
    (saved,) = tmp_path.glob("work/*/checkpoint-*")
    assert int(saved.name.removeprefix("checkpoint-")) == int(told[1])
    assert not list((tmp_path / "claims").iterdir()) and not list((tmp_path / "building").iterdir())
    finish_and_compare(study, tmp_path, undisturbed)


@pytest.mark.slow
def test_two_processes_share_a_store(study, undisturbed, tmp_path):
    processes = [command_line(study, tmp_path) for _ in range(2)]
    done = reused = 0
    for process in processes:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        counted = re.search(r"^small: (\d+) steps done, (\d+) found in the store, 0 failed, 0 skipped", out, re.M)
        assert counted, out
        done, reused = done + int(counted[1]), reused + int(counted[2])
    assert (done, reused) == (9, 9)
    assert results(study, tmp_path) == undisturbed
