"""The engine's own behaviour: what is done, in which order, and what a failure stops. The steps here do nothing."""

import json
import threading
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra 'torch'")

from small import write_study

from waystation import Study, plan
from waystation.engines import local
from waystation.errors import InputError, Stopped, WaystationError
from waystation.steps.context import Context
from waystation.store import Store


@pytest.fixture
def study(tmp_path):
    backbone = tmp_path / "backbone"
    backbone.mkdir()
    (backbone / "config.json").write_text('{"num_hidden_layers": 2}')
    return Study.load(write_study(tmp_path, backbone))


@pytest.fixture
def begun(monkeypatch):
    """Labels of the steps begun; ``begun.wrong[label]`` is raised by that step."""
    return Begun(monkeypatch)


class Begun(list):
    def __init__(self, monkeypatch):
        super().__init__()
        self.wrong = {}
        monkeypatch.setattr(local, "_perform", self.perform)

    def perform(self, step, folder, context):
        label = self.labels[local_id(step)]
        self.append(label)
        if label in self.wrong:
            raise self.wrong[label]
        (folder / "made.json").write_text("{}")
        return {"stats": {"examples": 3}}

    def run(self, study, store, **more):
        made = plan(study)
        self.labels = {node.id: node.label for node in made.nodes.values()}
        retry = more.pop("retry_failed", False)
        on_event = more.pop("on_event", lambda event: None)
        context = Context(store=Store(store), cache=Path("unused"), backbone=study.backbone, **more)
        self.clear()
        return local.run(made, context, on_event, retry)


def local_id(step):
    from waystation.steps.records import step_id

    return step_id(step)


def test_every_step_is_done_once_and_after_what_it_needs(study, begun, tmp_path):
    events = []
    summary = begun.run(study, tmp_path / "store", on_event=events.append)
    made = plan(study)
    assert summary.ok and summary.done == begun and summary.reused == 0
    assert sorted(begun) == sorted(node.label for node in made.nodes.values())
    place = {label: at for at, label in enumerate(begun)}
    for node in made.nodes.values():
        assert all(place[made.nodes[need].label] < place[node.label] for need in node.needs)
    assert [event.node.label for event in events if event.kind == "start"] == begun
    assert [event.node.label for event in events if event.kind == "done"] == begun
    assert events[1].text == "3 examples"
    again = begun.run(study, tmp_path / "store")
    assert again.ok and begun == [] and again.reused == 13


def test_only_what_a_missing_score_needs_is_done(study, begun, tmp_path):
    import shutil

    begun.run(study, tmp_path / "store")
    made = plan(study)
    label = {node.label: node.id for node in made.nodes.values()}
    for name in ("encode mood train en", "train mood.s0", "train names+towns.s0", "evaluate names+towns.s0"):
        shutil.rmtree(tmp_path / "store" / "artifacts" / label[name])
    summary = begun.run(study, tmp_path / "store")
    assert begun == ["train names+towns.s0", "evaluate names+towns.s0"], "the mood chain has its score"
    assert summary.ok


@pytest.mark.parametrize(
    ("error", "shown", "remembered"),
    [
        (WaystationError("the loss is nan"), "the loss is nan", True),
        (ValueError("some\nlong\n story"), "ValueError: some long story", True),
        (InputError("the file is broken"), "the file is broken", False),
        (ModuleNotFoundError(name="sentencepiece"), "'sentencepiece' is missing; pip install", False),
    ],
)
def test_a_failure_stops_only_what_depends_on_it(study, begun, tmp_path, error, shown, remembered):
    store, events = tmp_path / "store", []
    begun.wrong = {"train mood.s0": error}
    summary = begun.run(study, store, on_event=events.append)
    assert not summary.ok
    assert list(summary.failed) == ["train mood.s0"]
    assert shown in summary.failed["train mood.s0"] and "\n" not in summary.failed["train mood.s0"]
    assert summary.skipped == ["train mood+towns.s0", "evaluate mood+towns.s0"]
    assert "evaluate names+towns.s0" in summary.done and len(summary.done) == 10
    assert [event.kind for event in events if event.node.label == "train mood.s0"] == ["start", "failed"]
    assert [event.node.label for event in events if event.kind == "skipped"] == summary.skipped
    for leftover in ("building", "claims"):
        assert not list((store / leftover).iterdir())

    begun.wrong = {}
    again = begun.run(study, store)
    if remembered:
        assert begun == []
        assert "failed before; --retry-failed tries again" in again.failed["train mood.s0"]
        assert again.skipped == summary.skipped
        again = begun.run(study, store, retry_failed=True)
    assert again.ok and begun == ["train mood.s0", "train mood+towns.s0", "evaluate mood+towns.s0"]
    assert begun.run(study, store).ok
    assert not list((store / "failures").glob("*.json"))


def test_a_failure_that_was_retried_in_vain_is_remembered_anew(study, begun, tmp_path):
    for number in range(3):
        begun.wrong = {"train mood.s0": WaystationError(f"number {number}")}
        summary = begun.run(study, tmp_path / "store", retry_failed=True)
        assert summary.failed == {"train mood.s0": f"number {number}"}
    assert "number 2" in begun.run(study, tmp_path / "store").failed["train mood.s0"]


def test_the_whole_of_an_unforeseen_error_is_kept(study, begun, tmp_path):
    begun.wrong = {"train mood.s0": ZeroDivisionError("division by zero")}
    for _ in range(2):  # and told again when it is only remembered
        message = begun.run(study, tmp_path / "store").failed["train mood.s0"]
        path = Path(message.partition("details in ")[2].split()[0])
    text = path.read_text()
    assert "Traceback" in text and "ZeroDivisionError" in text


def test_stopped_inside_a_step(study, begun, tmp_path):
    begun.wrong = {"train mood.s0": Stopped("after update 3")}
    summary = begun.run(study, tmp_path / "store")
    assert summary.stopped == "train mood.s0: after update 3"
    assert not summary.ok and not summary.failed and not summary.skipped
    assert begun[-1] == "train mood.s0"
    begun.wrong = {}
    again = begun.run(study, tmp_path / "store")
    assert again.ok and begun[0] == "train mood.s0"


def test_stopped_between_steps(study, begun, tmp_path):
    summary = begun.run(study, tmp_path / "store", should_stop=lambda: len(begun) == 3)
    assert len(summary.done) == 3
    assert summary.stopped == "before encode towns test de; run again to go on"
    assert not list((tmp_path / "store" / "claims").iterdir())
    assert begun.run(study, tmp_path / "store").ok and len(begun) == 10


def test_a_step_that_another_process_holds_is_waited_for(study, begun, tmp_path):
    """The other one dies or is done: its step is taken over or found."""
    store = Store(tmp_path / "store")
    (key,) = (node.id for node in plan(study).nodes.values() if node.label == "train mood.s0")
    claim = store.claim(key)
    kinds = []

    def on_event(event):
        kinds.append(event.kind)
        if event.kind == "waiting":
            claim.release()

    summary = begun.run(study, tmp_path / "store", on_event=on_event)
    assert summary.ok
    assert begun[-3:] == ["train mood.s0", "train mood+towns.s0", "evaluate mood+towns.s0"], "all else came first"
    assert kinds.count("waiting") == 1


def test_asked_to_stop_while_waiting(study, begun, tmp_path):
    store, stop = Store(tmp_path / "store"), threading.Event()
    (key,) = (node.id for node in plan(study).nodes.values() if node.label == "train mood.s0")
    claim = store.claim(key)
    summary = begun.run(
        study, tmp_path / "store", should_stop=stop.is_set, on_event=lambda e: e.kind == "waiting" and stop.set()
    )
    claim.release()
    assert summary.stopped == "before train mood.s0; run again to go on" and len(summary.done) == 10


def test_the_claim_of_a_dead_process_is_taken_over(study, begun, tmp_path):
    import socket
    import subprocess
    import sys

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    store = Store(tmp_path / "store")
    for node in plan(study).nodes.values():
        store.claim(node.id)
        owner = {"host": socket.gethostname(), "pid": gone.pid, "token": "x"}
        (store.root / "claims" / f"{node.id}.json").write_text(json.dumps(owner))
    (store.root / "building" / f"{node.id}.abc").mkdir(parents=True)
    assert begun.run(study, tmp_path / "store").ok
    assert not list((store.root / "building").iterdir())


def test_two_engines_share_the_work(study, begun, tmp_path):
    found = []
    made = plan(study)
    begun.labels = {node.id: node.label for node in made.nodes.values()}

    def work():
        context = Context(store=Store(tmp_path / "store"), cache=Path("unused"), backbone=study.backbone)
        found.append(local.run(made, context))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 3 and all(summary.ok for summary in found)
    assert sorted(label for summary in found for label in summary.done) == sorted(begun.labels.values())
    assert all(len(summary.done) + summary.reused == 13 for summary in found)
    assert Store(tmp_path / "store").verify() == []
