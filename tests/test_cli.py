"""Every command through the real entry point, on a tiny study; every shipped study at toy size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from small import write_study
from tiny import tiny_checkpoint

REPOSITORY = Path(__file__).resolve().parents[1]
ROW_FIELDS = [
    "intermediate", "target", "language", "metric", "score", "baseline", "gain", "low", "high", "n", "seeds",
    "estimand", "verdict", "marks", "share",
]  # fmt: skip


def waystation(*arguments: str, code: int = 0, cwd: Path | None = None) -> str:
    """Run the command line in a process of its own; returns standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "waystation.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"},
        timeout=600,
        check=False,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


def tiny_study(folder: Path) -> Path:
    return write_study(folder, tiny_checkpoint(folder / "backbone"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny study, run once: (study file, store)."""
    folder = tmp_path_factory.mktemp("a study")  # a blank in the path must not matter
    study = tiny_study(folder)
    store = folder / "store"
    printed = waystation("run", str(study), "--store", str(store))
    assert "0 failed" in printed
    return study, store


def at(finished: tuple[Path, Path], *command: str) -> Sequence[str]:
    study, store = finished
    return (*command[:1], str(study), "--store", str(store), *command[1:])


def test_help_is_quick_and_lists_the_commands() -> None:
    waystation("--help")  # compiled files and disk cache
    times = []
    for _ in range(5):
        started = time.perf_counter()
        printed = waystation("--help")
        times.append(time.perf_counter() - started)
    assert {
        "demo",
        "run",
        "plan",
        "check",
        "tasks",
        "languages",
        "gains",
        "report",
        "store",
        "doctor",
        "schema",
    } <= set(printed.split())
    # 0.5 s is the promise on an idle machine; a busy test machine gets leave
    assert min(times) < 1.0


def test_gains_have_the_stable_shape(finished: tuple[Path, Path]) -> None:
    found = json.loads(waystation(*at(finished, "gains", "--json")))
    assert found["contrasts"] == [] and found["missing"] == []
    assert found["rows"]
    for row in found["rows"]:
        assert list(row) == ROW_FIELDS
        assert 0 <= row["score"] <= 100 and 0 <= row["baseline"] <= 100
        assert row["gain"] == pytest.approx(row["score"] - row["baseline"])
        assert row["low"] is row["high"] is row["estimand"] is row["verdict"] is None
        assert row["n"] > 0 and row["seeds"] >= 1
    for average in found["averages"]:
        members = [
            row["gain"]
            for row in found["rows"]
            if (row["intermediate"], row["target"], row["metric"])
            == (average["intermediate"], average["target"], average["metric"])
            and row["language"] in average["members"]
        ]
        assert average["gain"] == pytest.approx(sum(members) / len(average["members"]))


def test_gains_as_csv_and_as_text_carry_the_same_rows(finished: tuple[Path, Path]) -> None:
    rows = json.loads(waystation(*at(finished, "gains", "--json")))["rows"]
    lines = waystation(*at(finished, "gains", "--csv")).splitlines()
    assert lines[0].split(",") == ROW_FIELDS
    assert len(lines) == len(rows) + 1
    text = waystation(*at(finished, "gains"))
    assert max(map(len, text.splitlines())) <= 100
    assert all(row["intermediate"] in text for row in rows)
    assert "\x1b" not in text  # plain where nobody watches


def test_a_finished_study_runs_again_without_doing_anything(finished: tuple[Path, Path]) -> None:
    started = time.perf_counter()
    printed = waystation(*at(finished, "run"))
    assert time.perf_counter() - started < 6.0  # 3 s is the promise on an idle machine
    assert "0 steps done" in printed
    summary = json.loads(waystation(*at(finished, "run", "--json")))
    assert summary["ok"] and summary["done"] == [] and summary["failed"] == {} and summary["reused"] > 0


def test_plan_shows_states_and_costs(finished: tuple[Path, Path]) -> None:
    planned = json.loads(waystation(*at(finished, "plan", "--json")))
    assert {step["state"] for step in planned["steps"]} == {"stored"}
    assert all(step["flops"] > 0 for step in planned["steps"] if step["kind"] != "encode")
    study, _ = finished
    elsewhere = json.loads(waystation("plan", str(study), "--store", str(study.parent / "empty"), "--json"))
    assert {step["state"] for step in elsewhere["steps"]} == {"missing"}
    assert "train" in waystation(*at(finished, "plan"))


def test_more_seeds_add_only_their_own_steps(finished: tuple[Path, Path]) -> None:
    before = {step["id"] for step in json.loads(waystation(*at(finished, "plan", "--json")))["steps"]}
    more = json.loads(waystation(*at(finished, "plan", "--json", "--seeds", "5")))["steps"]
    assert before < {step["id"] for step in more}
    assert {step["id"] for step in more if step["state"] == "stored"} == before


def test_check_reads_all_data(finished: tuple[Path, Path]) -> None:
    study, _ = finished
    assert "fine" in waystation("check", str(study))
    assert json.loads(waystation("check", str(study), "--json"))["examples"] > 0


def test_report_is_one_self_contained_page(finished: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "folder" / "page.html"
    assert str(page) in waystation(*at(finished, "report", "--output", str(page)))
    text = page.read_text("utf-8")
    assert "<script src" not in text and "<link" not in text and 'src="http' not in text
    for row in json.loads(waystation(*at(finished, "gains", "--json")))["rows"]:
        assert row["intermediate"] in text


def test_store_commands(finished: tuple[Path, Path], tmp_path: Path) -> None:
    _, store = finished
    listed = json.loads(waystation("store", "ls", "--store", str(store), "--json"))
    assert {item["kind"] for item in listed} == {"encode", "train", "evaluate"}
    assert "0 problems" in waystation("store", "verify", "--store", str(store))
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(store), str(copy)], check=True)
    victim = next(copy.glob("artifacts/*/delta.safetensors"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"\0")
    assert "1 problems" in waystation("store", "verify", "--store", str(copy), code=1)


def test_pruning_frees_disk_and_costs_no_score(finished: tuple[Path, Path], tmp_path: Path) -> None:
    study, original = finished
    store = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(original), str(store)], check=True)
    (store / "building" / "dead").mkdir(parents=True)
    prune, where = ("store", "prune"), ("--store", str(store))
    rows = json.loads(waystation("gains", str(study), *where, "--json"))

    def size() -> int:
        return sum(path.stat().st_size for path in store.rglob("*.safetensors"))

    before = size()
    shown = json.loads(waystation(*prune, str(study), *where, "--keep", "heads", "--dry-run", "--json"))
    assert shown["dry_run"] and shown["debris"]["count"] == 1 and shown["models"]["count"] > 0
    assert size() == before and (store / "building" / "dead").exists()
    text = waystation(*prune, str(study), *where, "--keep", "heads")
    assert f"{shown['models']['bytes'] / 1e6:.1f} MB  removed" in text
    assert before - size() == shown["models"]["bytes"] and not (store / "building" / "dead").exists()
    assert f"({shown['models']['count']} of them pruned), 0 problems" in waystation("store", "verify", *where)
    assert sum(item["pruned"] for item in json.loads(waystation("store", "ls", *where, "--json"))) > 0
    assert json.loads(waystation("gains", str(study), *where, "--json")) == rows
    planned = json.loads(waystation("plan", str(study), *where, "--json"))
    assert {step["state"] for step in planned["steps"]} == {"stored", "pruned"}
    assert "0 steps done" in waystation("run", str(study), *where)
    # another seed in no study named here
    other = waystation(*prune, str(study), *where, "--set", "seeds=[9]")
    assert "in no plan of these studies; --unused removes them" in other
    assert "unused                0        0.0 MB" in waystation(*prune, str(study), *where)
    waystation(*prune, str(study), *where, "--set", "seeds=[9]", "--unused")
    kinds = {item["kind"] for item in json.loads(waystation("store", "ls", *where, "--json"))}
    assert kinds == {"encode"}, "what both seeds share"


def test_what_runs_keep(tmp_path: Path) -> None:
    study, store = tiny_study(tmp_path), tmp_path / "store"
    waystation("run", str(study), "--store", str(store), "--keep", "heads", "--set", "languages=[en]")
    assert not list(store.glob("artifacts/*/delta.safetensors")) and list(store.glob("artifacts/*/head.safetensors"))
    line = "steps to do again: the result was pruned (keep: heads), and others now need it"
    assert line in waystation("plan", str(study), "--store", str(store))
    assert line in waystation("run", str(study), "--store", str(store), "--quiet")
    assert list(store.glob("artifacts/*/delta.safetensors"))
    waystation("run", str(study), "--keep", "tails", code=2)
    waystation("store", "prune", "--unused", "--store", str(store), code=2)
    waystation("store", "prune", str(tmp_path / "absent.yaml"), "--store", str(store), code=2)


def test_lists_of_tasks_and_languages() -> None:
    tasks = json.loads(waystation("tasks", "--json"))
    assert {
        "e3c",
        "bc5cdr",
        "ncbi-disease",
        "bc2gm",
        "wnut17",
        "gum",
        "panx",
        "sick",
        "healthver",
        "xnli",
        "masakhanews",
    } <= {task["id"] for task in tasks}
    assert "e3c" in waystation("tasks", "--domain", "medical", "--language", "eu")
    assert "e3c" not in waystation("tasks", "--domain", "general")
    assert "Norwegian" in waystation("languages", "no")
    swahili = json.loads(waystation("languages", "swh", "--json"))
    assert swahili[0]["code"] == "sw"


def test_schema_and_doctor() -> None:
    assert "backbone" in json.loads(waystation("schema"))["properties"]
    found = json.loads(waystation("doctor", "--json"))
    assert any(item["name"].lower().startswith("python") for item in found["findings"])


def test_python_does_the_same_as_the_command_line(finished: tuple[Path, Path]) -> None:
    from waystation import Study, gains, plan, run

    study, store = finished
    loaded = Study.load(study)
    assert plan(loaded).chains
    assert run(loaded, store=store).ok
    rows = json.loads(waystation(*at(finished, "gains", "--json")))["rows"]
    assert [row.gain for row in gains(loaded, store=store).rows] == [row["gain"] for row in rows]


def test_a_missing_run_lists_what_is_missing(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    found = json.loads(waystation("gains", str(study), "--store", str(tmp_path / "none"), "--json"))
    assert found["rows"] == [] and found["missing"]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in (REPOSITORY / "studies").glob("*.yaml")))
def test_every_shipped_study_runs_at_toy_size(name: str, tmp_path: Path) -> None:
    printed = waystation("run", f"studies/{name}.yaml", "--profile", "toy", "--store", str(tmp_path), cwd=REPOSITORY)
    assert "0 failed, 0 skipped" in printed
    waystation(
        "report", name, "--profile", "toy", "--store", str(tmp_path), "-o", str(tmp_path / "r.html"), cwd=REPOSITORY
    )


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", ["legal", "all-formats", "xtreme-small"])
def test_studies_that_take_long_can_read_their_data(name: str) -> None:
    data = Path(os.environ.get("WAYSTATION_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (data / "e3c").is_dir():
        pytest.skip(f"no real data in {data}")
    assert ": fine; " in waystation("check", f"studies/{name}.yaml", "--data", str(data), cwd=REPOSITORY)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(("name", "codes"), [("clinical", ["eu"]), ("low-resource", ["sw"])])
def test_real_studies_run_on_real_data(name: str, codes: list[str], tmp_path: Path) -> None:
    data = Path(os.environ.get("WAYSTATION_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (data / "e3c").is_dir():
        pytest.skip(f"no real data in {data}")
    small = [
        "seeds=1", "backbone.layers=1", "match.amount=1000", "recipe.intermediate.updates=2", "recipe.target.updates=2",
        f"languages={codes}",
    ]  # fmt: skip
    options = [part for item in small for part in ("--set", item)]
    printed = waystation(
        "run", f"studies/{name}.yaml", "--data", str(data), "--store", str(tmp_path), *options, cwd=REPOSITORY
    )
    assert "0 failed, 0 skipped" in printed
    rows = json.loads(
        waystation("gains", name, "--data", str(data), "--store", str(tmp_path), *options, "--json", cwd=REPOSITORY)
    )["rows"]
    # of these targets only the clinical one has an English test set
    assert {row["language"] for row in rows} == {*codes, *(["en"] if name == "clinical" else [])}
