"""The commands about tasks and data, in this process: what they print and how they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from serving import Server, serving
from typer.testing import CliRunner, Result

from waystation.cli import app
from waystation.errors import InputError
from waystation.tasks.fetching import download, upstream

COMMIT = "1" * 40
FILES = {
    "train.tsv": "text\tlabel\nsome words\tgood\nmore words\tbad\n",
    "test-sw.tsv": "text\tlabel\nsiri kubwa\tgood\n",
}
TABLE = {
    "format": "classification", "labels": ["good", "bad"],
    "reader": {"kind": "table", "text": "text", "label": "label"},
    "splits": {"train": {"files": {"en": ["train.tsv"]}}, "test": {"files": {"sw": ["test-sw.tsv"]}}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study with own tasks: ``mine`` with files, ``secret`` likewise, ``afar`` upstream."""
    for name in ("WAYSTATION_DATA", "WAYSTATION_OFFLINE", "HF_HUB_OFFLINE", "WAYSTATION_LOCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WAYSTATION_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "PAUSE", 0.0)
    home = tmp_path / "data" / "mine"
    home.mkdir(parents=True)
    for name, text in FILES.items():
        (home / name).write_text(text)
    afar = {**TABLE, "path": "nowhere", "upstream": {"kind": "github", "repo": "o/r", "revision": COMMIT}}
    own = {
        "mine": {**TABLE, "path": "nowhere"},
        "secret": {**TABLE, "path": str(home), "sensitive": True},
        "afar": afar,
    }
    path = tmp_path / "s.yaml"
    content = {
        "study": "s", "backbone": "bundled", "intermediate": {"general": ["mine"]},
        "target": [{"task": "mine"}], "tasks": own,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as state:
        monkeypatch.setattr(upstream, "GITHUB", state.url)
        state.files |= {f"/o/r/{COMMIT}/{name}": text.encode() for name, text in FILES.items()}
        yield state


def waystation(*arguments: str, code: int = 0) -> Result:
    """A command; foreseen errors end with their own exit code, as ``main`` makes of them."""
    result = CliRunner().invoke(app, list(arguments))
    ended = result.exception.exit_code if isinstance(result.exception, InputError) else result.exit_code
    assert ended == code, (result.output, result.exception)
    return result


def test_check_one_task_in_detail() -> None:
    lines = waystation("data", "check", "mine", "--study", "s.yaml", "--data", "data").output.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "train en 2 examples 4 words good 1, bad 1", "test sw 1 examples 2 words good 1, bad 0",
        "read from: files in the data folder",
    ]  # fmt: skip
    rows = json.loads(waystation("data", "check", "mine", "--study", "s.yaml", "--data", "data", "--json").output)
    assert [row["examples"] for row in rows] == [2, 1]


def test_check_all_that_is_at_hand() -> None:
    printed = waystation("data", "check", "--study", "s.yaml", "--data", "data").output
    assert "mine                   fine; languages: 2; examples: train 2, test 1" in printed
    assert "afar" not in printed and "e3c" not in printed
    assert "mini-ner" in printed


def test_check_tells_the_problems_of_several(tmp_path: Path) -> None:
    (tmp_path / "data/mine/train.tsv").write_text("text\tlabel\nsome words\tgoof\n")
    result = waystation("data", "check", "mine", "afar", "mini-ner", "--study", "s.yaml", "--data", "data", code=2)
    assert "mine                   problems: 1" in result.stdout and "mini-ner               fine" in result.stdout
    assert "train.tsv:2: 'goof' is neither" in result.stderr
    assert "no folder " in result.stderr and "`waystation data get afar`" in result.stderr
    printed = waystation(
        "data", "check", "mine", "mini-ner", "--study", "s.yaml", "--data", "data", "--json", code=2
    ).stdout
    found = json.loads(printed)
    assert found["mine"]["rows"] == [] and len(found["mine"]["problems"]) == 1 and found["mini-ner"]["rows"]


def test_show() -> None:
    printed = waystation("data", "show", "mine", "Swahili", "--study", "s.yaml", "--data", "data").output
    assert printed == "test/sw/1\n  siri kubwa\n  -> good\n\n"
    printed = waystation("data", "show", "mine", "en", "-n", "1", "--study", "s.yaml", "--data", "data").output
    assert "some words" in printed and "more words" not in printed
    error = waystation("data", "show", "mine", "sw", "--split", "train", "--study", "s.yaml", "--data", "data", code=2)
    assert "no language 'sw': it has en" in str(error.exception)


def test_show_of_every_format() -> None:
    for task in ("mini-ner", "mini-topic", "mini-pair", "mini-types"):
        assert len(waystation("data", "show", task, "de", "-n", "2").output.split("\n\n")) == 3


def test_sensitive_texts_are_not_shown(study: Path) -> None:
    result = waystation("data", "show", "secret", "sw", "--study", "s.yaml")
    assert "siri" not in result.output and "kubwa" not in result.output
    assert "test/sw/1" in result.stdout and "-> good" in result.stdout
    assert "'secret' is marked sensitive" in result.stderr


def test_get(server: Server, tmp_path: Path) -> None:
    first = waystation("data", "get", "afar", "--study", "s.yaml").output
    assert "afar: 2 files, 0.0 MB, o/r@111111111111, fetched; locked in" in first
    assert "already there" in waystation("data", "get", "afar", "--offline", "--study", "s.yaml").output
    assert "good 1, bad 1" in waystation("data", "check", "afar", "--study", "s.yaml").output
    assert (tmp_path / "waystation.lock").is_file()


def test_get_goes_on_after_a_failure(server: Server) -> None:
    result = waystation("data", "get", "mine", "afar", "mini-ner", "--study", "s.yaml", code=2)
    assert "error: task 'mine' is not to be had from the network" in result.stderr
    assert "afar: 2 files" in result.stdout and "mini-ner: built in" in result.stdout
    server.files.clear()
    (Path("cache") / "data" / "afar" / COMMIT[:16] / "train.tsv").unlink()
    result = waystation("data", "get", "afar", "--study", "s.yaml", code=1)
    assert "train.tsv: the server says 404 Not Found" in result.stderr


def test_get_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYSTATION_OFFLINE", "")
    result = waystation("data", "get", "afar", "--offline", "--study", "s.yaml", code=2)
    assert "'afar' is not in the cache and offline mode is on" in result.stderr


def test_get_pieces(server: Server, tmp_path: Path) -> None:
    assert "no data folder" in waystation("data", "check", "wnut17", code=2).exception.args[0]  # type: ignore[union-attr]
    result = waystation("data", "get", "wnut17", "--piece", code=2)
    assert "say --data DIR" in result.stderr
    result = waystation("data", "get", "wnut17", "--piece", "--data", "data", code=1)
    assert "404" in result.stderr
    result = waystation("data", "get", "mine", "--piece", "--data", "data", "--study", "s.yaml", code=2)
    assert "no declared pieces" in result.stderr


def test_tasks() -> None:
    listed = waystation("tasks", "--domain", "medical", "--format", "tagging", "--language", "eu").output.splitlines()
    assert listed[0].split() == ["task", "format", "domain", "train", "test", "verified", "files", "piece", "licence"]
    assert any(line.startswith("e3c ") for line in listed)
    found = json.loads(waystation("tasks", "--format", "retrieval", "--json").output)
    assert found and {task["format"] for task in found} == {"retrieval"}
    pieces = {line.split()[0] for line in waystation("tasks").output.splitlines() if " piece " in line}
    assert {"xnli", "xquad"} <= pieces and "wnut17" not in pieces


def test_one_record_in_full() -> None:
    record = yaml.safe_load(waystation("tasks", "e3c").output)
    assert record["id"] == "e3c" and record["labels"] == ["CLINENTITY"]
    assert "folders" not in record


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tasks", "--domain", "legl"], "(did you mean 'legal'?): there are"),
        (["tasks", "--format", "taging"], "(did you mean 'tagging'?): there are"),
        (["tasks", "--language", "basqe"], "did you mean"),
        (["tasks", "e3d"], "did you mean 'e3c'"),
        (["data", "get", "e3d"], "did you mean 'e3c'"),
        (["data", "show", "e3d", "en"], "did you mean 'e3c'"),
        (["data", "check", "e3c", "e3d"], "did you mean 'e3c'"),
    ],
)
def test_nearest_names(arguments: list[str], says: str) -> None:
    assert says in str(waystation(*arguments, code=2).exception)
