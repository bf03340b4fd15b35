"""What stays of models, how disk is freed, and that neither ever costs a score. The steps here do next to nothing."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from waystation import retention
from waystation.backbones import Backbone
from waystation.engines import local
from waystation.errors import InputError
from waystation.plan import Plan, plan
from waystation.report.terminal import plan_lines, redone, step_states
from waystation.retention import HEAD, LOG, STATE, WEIGHTS, Freed, prune, remove, strip
from waystation.steps.context import Context
from waystation.store import MANIFEST, PRUNED, Store
from waystation.study import Study

FILES = {"train": (WEIGHTS, HEAD, LOG), "encode": ("encoded",), "evaluate": ("language=en.parquet",)}


def tagging(**tests: str) -> dict[str, Any]:
    return {
        "format": "tagging", "labels": ["PER"], "reader": {"kind": "conll"}, "train": {"en": "a.txt"}, "test": tests,
    }  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("Ana B-PER\n")
    return tmp_path


def made(home: Path, **changes: Any) -> Plan:
    """Two intermediates, one target with two test languages, one seed."""
    content = {
        "study": "s",
        "backbone": "bundled",
        "intermediate": {"a": ["one"], "b": ["two"]},
        "target": ["goal"],
        "languages": ["en"],
        "seeds": 1,
        "tasks": {name: tagging(en="a.txt", de="a.txt") for name in ("one", "two", "goal", "more")},
        **changes,
    }
    (home / "s.yaml").write_text(yaml.safe_dump(content))
    return plan(Study.load(home / "s.yaml"))


@pytest.fixture(autouse=True)
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Labels of the steps begun. Every step reads all that it needs and writes the files of its kind."""
    labels: list[str] = []

    def perform(step: Any, folder: Path, context: Context) -> dict[str, Any]:
        labels.append(f"{step.kind} {step.task if isinstance(step.task, str) else step.task.id}")
        for need in local_needs(step):
            assert context.store.has(need)
            for name in context.store.manifest(need)["files"]:
                assert (context.store.folder(need) / name).read_bytes()
        for name in (*FILES[step.kind], *(STATE if step.kind == "train" and context.keep == "all" else ())):
            (folder / name).write_text(f"{name} {json.dumps(step.model_dump(mode='json'))}")
        return {"stats": {"examples": 1, "words": 1, "tokens": 1}}

    monkeypatch.setattr(local, "_perform", perform)
    return labels


def local_needs(step: Any) -> tuple[str, ...]:
    from waystation.steps.records import needs

    return needs(step)


def run(of: Plan, store: Store, **more: Any) -> local.Summary:
    context = Context(store, Path("unused"), Backbone(id="bundled"), keep=of.study.keep)
    return local.run(of, context, **more)


def models(of: Plan) -> list[str]:
    return [node.id for node in of.nodes.values() if node.step.kind == "train"]


def contents(store: Store) -> set[str]:
    """All files in artifact folders, as kind/name."""
    found = (path for key in store.identities() for path in store.folder(key).iterdir())
    return {f"{Store(store.root).manifest(path.parent.name)['kind']}/{path.name}" for path in found}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store")
    yield opened
    assert opened.verify() == []
    for leftover in ("claims", "building"):
        assert not list((opened.root / leftover).glob("*")), leftover


# --- retention while a study runs


def test_heads_and_logs_and_scores_stay(home: Path, store: Store, begun: list[str]) -> None:
    found = made(home, keep="heads")
    assert run(found, store).ok and len(begun) == len(found.nodes)
    assert contents(store) == {
        f"train/{HEAD}", f"train/{LOG}", f"train/{PRUNED}", f"encode/{MANIFEST}", "encode/encoded",
        f"evaluate/{MANIFEST}", "evaluate/language=en.parquet",
    }  # fmt: skip
    assert store.identities() == sorted(found.nodes)
    for key in models(found):
        assert store.known(key) and not store.has(key)
        assert list(store.manifest(key)["files"]) == [HEAD, LOG]
    begun.clear()
    again = run(found, store)
    assert again.ok and begun == [] and again.reused == len(found.nodes) and again.again == []
    assert set(step_states(found, store).values()) == {"stored", "pruned"}


def test_a_model_stays_whole_until_its_last_reader_is_done(
    home: Path, store: Store, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``begun`` reads every file of every need; here a reader fails, and what it needs is still there afterwards."""
    found = made(home, keep="heads", target=["goal", "more"])
    perform = local._perform

    def fails(step: Any, folder: Path, context: Context) -> dict[str, Any]:
        if step.kind == "evaluate" and step.task == "more":
            raise InputError("no")
        return perform(step, folder, context)

    monkeypatch.setattr(local, "_perform", fails)
    assert len(run(found, store).failed) == 3
    left = {found.nodes[key].label for key in models(found) if store.has(key)}
    assert left == {"train none+more.s0", "train one+more.s0", "train two+more.s0"}
    monkeypatch.setattr(local, "_perform", perform)
    begun.clear()
    assert run(found, store).ok and begun == ["evaluate more"] * 3
    assert not any(store.has(key) for key in models(found))


def test_what_a_missing_score_needs_is_trained_again(home: Path, store: Store, begun: list[str]) -> None:
    before = made(home, keep="heads")
    run(before, store)
    after = made(home, keep="heads", languages=["en", "de"])  # another test language: all models are needed
    begun.clear()
    states = step_states(after, store)
    assert {after.nodes[key].label for key, state in states.items() if state == "again"} == {
        after.nodes[key].label for key in models(after)
    }
    (line,) = [line for line in plan_lines(after, store, costs_of(after)) if "to do again" in line]
    assert line.startswith("5 steps to do again: the result was pruned (keep: heads)")
    summary = run(after, store)
    assert summary.ok and len(summary.again) == 5 and len(summary.done) == 5 + 1 + 3
    assert redone([]) == []


def test_only_the_pruned_models_that_are_needed_are_trained_again(home: Path, store: Store, begun: list[str]) -> None:
    run(made(home, keep="heads"), store)
    begun.clear()
    summary = run(made(home, keep="heads", target=["goal", "more"]), store)
    assert summary.ok and summary.again == ["train one.s0", "train two.s0"]
    assert sorted(begun) == sorted(
        ["train one", "train two", *["train more"] * 3, *["evaluate more"] * 3, "encode more", "encode more"]
    )


def costs_of(of: Plan) -> Any:
    from waystation.costs import Cost

    return dict.fromkeys(of.nodes, Cost(1, 1, 1, 1))


@pytest.mark.parametrize(("keep", "left"), [("deltas", {WEIGHTS, HEAD, LOG}), ("all", {WEIGHTS, HEAD, LOG, *STATE})])
def test_deltas_and_all_take_nothing(home: Path, store: Store, keep: str, left: set[str]) -> None:
    found = made(home, keep=keep)
    assert run(found, store).ok
    for key in models(found):
        assert store.has(key) and set(store.manifest(key)["files"]) == left
        assert store.manifest(key)["keep"] == keep


def test_a_study_takes_nothing_from_models_that_another_wanted_to_keep(home: Path, store: Store) -> None:
    run(made(home, intermediate={"a": ["one"]}), store)
    found = made(home, keep="heads")
    assert run(found, store).ok
    whole = {found.nodes[key].label for key in models(found) if store.has(key)}
    assert whole == {"train one.s0", "train none+goal.s0", "train one+goal.s0"}


def test_what_an_interrupted_run_left_whole_is_pruned_by_the_next(
    home: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made(home, keep="heads")
    with monkeypatch.context() as broken:
        broken.setattr(retention, "strip", lambda *_: None)
        assert run(found, store).ok
    assert all(store.has(key) for key in models(found))
    assert run(found, store).done == []
    assert not any(store.has(key) for key in models(found))


def test_a_model_pruned_by_another_process_in_the_middle_of_a_run_is_trained_again(
    home: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made(home)
    model = next(node.id for node in found.nodes.values() if node.label == "train two+goal.s0")
    once: list[Any] = []

    def between_two_steps() -> bool:
        if store.has(model) and not once:
            once.append(strip(Store(store.root), model, "heads"))
        return False

    context = Context(store, Path("unused"), Backbone(id="bundled"), should_stop=between_two_steps)
    summary = local.run(found, context)
    assert summary.ok and once[0] > 0
    assert summary.again == ["train two+goal.s0"] and summary.done.count("train two+goal.s0") == 2
    assert len(summary.done) == len(found.nodes) + 1


@pytest.mark.parametrize("attempt", range(3))
def test_processes_that_share_a_study_train_and_prune_each_model_once(
    home: Path, store: Store, begun: list[str], attempt: int
) -> None:
    found, summaries = made(home, keep="heads", target=["goal", "more"], seeds=3), []
    threads = [threading.Thread(target=lambda: summaries.append(run(found, Store(store.root)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(summaries) == 3 and all(summary.ok and not summary.again for summary in summaries)
    done = [label for summary in summaries for label in summary.done]
    assert sorted(done) == sorted(node.label for node in found.nodes.values()) and len(begun) == len(done)
    assert all(len(summary.done) + summary.reused == len(found.nodes) for summary in summaries)
    assert run(found, store).done == []  # takes along what one was looking at while another came to prune it
    assert not any(store.has(key) for key in models(found))


# --- one model


@pytest.fixture
def model(home: Path, store: Store) -> str:
    """A trained model of a finished study, with its full state."""
    found = made(home, keep="all")
    run(found, store)
    return models(found)[0]


def test_levels_nest_and_count_what_they_free(store: Store, model: str) -> None:
    sizes = {path.name: path.stat().st_size for path in store.folder(model).iterdir()}
    assert strip(store, model, "all") == 0
    assert strip(store, model, "deltas", dry_run=True) == sum(sizes[name] for name in STATE)
    assert set(store.manifest(model)["files"]) == {WEIGHTS, HEAD, LOG, *STATE}
    assert strip(store, model, "deltas") == sum(sizes[name] for name in STATE)
    assert store.has(model) and set(store.manifest(model)["files"]) == {WEIGHTS, HEAD, LOG}
    assert strip(store, model, "heads") == sizes[WEIGHTS]
    assert not store.has(model) and set(store.manifest(model)["files"]) == {HEAD, LOG}
    assert strip(store, model, "heads") == strip(store, model, "deltas") == 0
    assert store.verify() == []


def test_damage_to_what_is_left_is_told(store: Store, model: str) -> None:
    strip(store, model, "heads")
    head = store.folder(model) / HEAD
    whole = head.read_bytes()
    head.write_bytes(b"x")
    (problem,) = store.verify()
    assert problem.startswith(f"{head}: checksum differs")
    head.write_bytes(whole)


def test_a_model_in_use_is_left_alone(store: Store, model: str) -> None:
    for reads in ((), (model,)):  # it is being trained; a step that reads it is at work
        claim = store.claim(model if not reads else "f" * 64, reads)
        assert claim is not None
        assert strip(store, model, "heads") is None and remove(store, model) is None
        assert store.has(model) and not (store.folder(model) / PRUNED).exists()
        claim.release()
    assert strip(store, model, "heads")


def test_a_step_that_begins_in_the_last_moment_finds_all_it_needs(
    store: Store, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It claimed itself after the manifest went and before claims were looked for; both orders are then harmless."""
    for take in (strip, remove):
        begun = []
        with monkeypatch.context() as late:
            late.setattr(retention, "sync_folder", lambda _, begun=begun: begun.append(store.claim("f" * 64, [model])))
            arguments = (store, model, "heads") if take is strip else (store, model)
            assert take(*arguments) is None
        assert store.has(model) and store.verify() == []
        assert all((store.folder(model) / name).exists() for name in store.manifest(model)["files"])
        begun[0].release()


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the package catches it."""


@pytest.mark.parametrize("what", ["strip", "remove"])
def test_killed_at_any_moment(store: Store, model: str, what: str, tmp_path: Path) -> None:
    """Every call that changes the disk is the last one, in turn."""
    import os

    finished = False
    moment = 0
    while not finished:
        copy = Store(tmp_path / f"{what}{moment}")
        shutil.copytree(store.root, copy.root)
        calls = 0

        def counted(original: Any, moment: int = moment) -> Any:
            def call(*arguments: Any, **more: Any) -> Any:
                nonlocal calls
                if "claims" not in str(arguments[0]):
                    if calls == moment:
                        raise Killed
                    calls += 1
                return original(*arguments, **more)

            return call

        with pytest.MonkeyPatch.context() as patch:
            for module, name in ((os, "replace"), (os, "unlink"), (os, "rmdir"), (Path, "unlink")):
                patch.setattr(module, name, counted(getattr(module, name)))
            try:
                strip(copy, model, "heads") if what == "strip" else remove(copy, model)
                finished = True
            except Killed:
                moment += 1
        assert [line for line in copy.verify() if "no manifest; debris" not in line] == []
        if copy.has(model):
            assert all((copy.folder(model) / name).exists() for name in copy.manifest(model)["files"])
        prune(copy, [], None, False, False)  # takes away what nothing lists
        assert copy.verify() == []
        if copy.known(model):
            listed = {*copy.manifest(model)["files"], copy.manifest_path(model).name}
            assert {path.name for path in copy.folder(model).iterdir()} == listed
        else:
            assert what == "remove" and not copy.folder(model).exists()
    assert moment >= 3


# --- store prune


def test_debris_of_dead_processes_goes_and_the_living_keep_theirs(home: Path, store: Store, model: str) -> None:
    dead = [store.root / "building" / f"{'e' * 64}.1", store.root / "artifacts" / ("d" * 64), store.workspace(model)]
    for folder in dead:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "x").write_bytes(b"12345")
    stray = store.folder(model) / ".manifest.json.abc"
    stray.write_bytes(b"123")
    begun = store.workspace("c" * 64)
    claim = store.claim("b" * 64)
    assert claim is not None
    with store.building("b" * 64) as alive:
        for dry_run in (True, False):
            found = prune(store, [], None, False, dry_run)
            assert found.debris == Freed(4, 18) and found.models == found.unused == Freed()
            assert [path.exists() for path in (*dead, stray)] == [dry_run] * 4
            assert alive.exists() and begun.exists()
    claim.release()
    assert prune(store, [], None, False, False).debris == Freed()


def test_models_of_a_study_are_stripped_and_those_it_still_reads_are_not(
    home: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = made(home), made(home, target="more")
    run(first, store)
    run(second, store)
    shutil.rmtree(store.folder(first.chains[1].evaluate))
    size = {key: (store.folder(key) / WEIGHTS).stat().st_size for key in models(first) + models(second)}
    goes = [key for key in models(first) if key != first.chains[1].train]
    found = prune(store, [first], "heads", False, dry_run=True)
    assert found.models == Freed(4, sum(size[key] for key in goes)) and all(map(store.has, size))
    assert prune(store, [first], "heads", False, False) == found
    assert {key for key in size if not store.has(key)} == set(goes)
    everything = prune(store, [], "heads", False, False)
    assert everything.models.count == 8 - 4 and not any(map(store.has, size))
    assert run(first, store).ok and run(second, store).ok


def test_what_no_study_needs_is_listed_and_removed_on_request_only(home: Path, store: Store) -> None:
    first, second = made(home), made(home, target="more")
    run(first, store)
    run(second, store)
    store.workspace("a" * 64)
    only_second = set(second.nodes) - set(first.nodes)
    listed = prune(store, [first], None, False, False)
    assert set(listed.listed) == {*only_second, "a" * 64} and listed.unused.count == len(only_second) + 1
    assert listed.listed["a" * 64] == "work that was begun"
    assert {"train more s0", "encode more test en", "evaluate more"} <= set(listed.listed.values())
    assert prune(store, [first, second], None, True, False).unused.count == 1, "both studies' steps stay"
    removed = prune(store, [first], None, True, False)
    assert removed.unused == Freed(len(only_second), listed.unused.bytes)
    assert set(store.identities()) == set(first.nodes)
    assert not (store.root / "work" / ("a" * 64)).exists()
    assert run(first, store).done == [] and run(second, store).ok


OPERATIONS = ["heads", "deltas", "grow", "language", "prune heads", "prune deltas", "unused", "prune first"]


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=st.lists(st.sampled_from(OPERATIONS), max_size=6))
def test_whatever_is_pruned_every_score_can_be_had(
    home: Path, operations: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    changes: dict[str, Any] = {}
    for operation in operations:
        if operation in ("heads", "deltas"):
            assert run(made(home, keep=operation, **changes), store).ok
        elif operation == "grow":
            changes["target"] = ["goal", "more"]
        elif operation == "language":
            changes["languages"] = ["en", "de"]
        else:
            plans = [] if operation.endswith(("heads", "deltas")) else [made(home, **changes)]
            keep: Any = operation.split()[-1] if not plans else "heads" if operation == "prune first" else None
            prune(store, plans, keep, operation == "unused", False)
        assert store.verify() == []
    found = made(home, **changes)
    assert run(found, store).ok and all(store.has(chain.evaluate) for chain in found.chains)
    assert run(found, store).done == []
