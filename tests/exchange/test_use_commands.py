"""The commands `predict`, `store export`, `import` and `xtreme export`, as people type them."""

import json
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from every import write_jsonl, write_study  # noqa: E402

import waystation  # noqa: E402
from waystation import Study, run  # noqa: E402
from waystation.cli import main  # noqa: E402


@pytest.fixture(scope="module")
def home(backbone, tmp_path_factory):
    """A folder with study.yaml and its store, which keeps heads alone."""
    folder = tmp_path_factory.mktemp("home")
    study = Study.load(write_study(folder, backbone, ["mood"], keep="heads"))
    assert run(study, folder / "store").ok
    return folder


@pytest.fixture
def call(home, monkeypatch, capsys):
    """Runs a command in that folder: what it prints, or with ``code`` its error."""

    def made(*words, code=0):
        monkeypatch.chdir(home)
        monkeypatch.setattr(sys, "argv", ["waystation", *map(str, words), "--store", "store"])
        try:
            main()
            left = 0
        except SystemExit as end:
            left = int(end.code or 0)
        told = capsys.readouterr()
        assert left == code, told.err
        return told.out if code == 0 else told.err

    return made


CHAIN = ("names+mood.s0", "--study", "study.yaml")


def test_a_pruned_chain_says_what_to_add_and_then_predicts(home, call, tmp_path):
    notes, out = tmp_path / "notes.txt", tmp_path / "out.jsonl"
    notes.write_text("Anna moved\n\nto Geneva .\n", encoding="utf-8")
    told = call("predict", *CHAIN, notes, code=2)
    assert told == "error: chain 'names+mood.s0': only the head was kept of its model; add --train to train it now\n"
    printed = call("predict", *CHAIN, notes, "--train")
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [row["id"] for row in rows] == ["1", "2"] and all("label" in row for row in rows)
    assert call("predict", *CHAIN, notes, "-o", out) == ""
    assert out.read_text(encoding="utf-8") == printed
    study = Study.load(home / "study.yaml")
    assert list(waystation.predict(study, "names+mood.s0", ["Anna moved", "to Geneva ."], home / "store")) == rows
    told = call("store", "export", *CHAIN, tmp_path / "model")
    assert "XLMRobertaForSequenceClassification, classification" in told
    assert (tmp_path / "model" / "config.json").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["predict", "nobody+mood.s0", "study.yaml", "--study", "study.yaml"], "has no chain 'nobody+mood.s0'"),
        (["predict", "none+mood.s0", "nowhere.txt", "--study", "study.yaml"], "nowhere.txt: no such file; name the"),
        (["store", "export", "none+mood.s0", "new", "--study", "study.yaml"], "only the head was kept"),
        (["xtreme", "export", "study.yaml", "new"], "no target that is one of XTREME's tasks"),
        (["import", "study.yaml", "--chain", "gpt+mood", "--predictions", "nowhere"], "nowhere: no test-LANG.jsonl"),
    ],
)
def test_bad_words_are_one_line(call, words, says):
    told = call(*words, code=2)
    assert says in told and told.startswith("error: ") and told.count("\n") == 1


def test_an_earlier_result_stays_until_a_new_one_is_whole(home, call, tmp_path, monkeypatch):
    call("predict", *CHAIN, write_jsonl(tmp_path / "one.jsonl", [{"text": "Anna"}]), "--train", "-o", tmp_path / "out")
    kept = (tmp_path / "out").read_bytes()
    assert kept.count(b"\n") == 1
    bad = write_jsonl(tmp_path / "bad.jsonl", [{"text": "Anna"}, {"text": 3}])
    assert "bad.jsonl:2: field 'text'" in call("predict", *CHAIN, bad, "-o", tmp_path / "out", code=2)
    assert (tmp_path / "out").read_bytes() == kept
    call("predict", *CHAIN, write_jsonl(tmp_path / "two.jsonl", 2 * [{"text": "to"}]), "-o", tmp_path / "out")
    assert (tmp_path / "out").read_bytes().count(b"\n") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "one.jsonl", "out", "two.jsonl"]


def test_where_no_result_can_be_written(call, tmp_path):
    """Told before the model is looked for, which here is not in the store."""
    notes = write_jsonl(tmp_path / "notes.jsonl", [{"text": "Anna"}])
    given = notes.read_bytes()
    (tmp_path / "link").symlink_to(notes)
    for output, says in (
        (notes, "is the file that is read; name another"),
        (tmp_path / "link", "is the file that is read; name another"),
        (tmp_path, "not a file"),
        ("/dev/null", "not a file"),
        (tmp_path / "no" / "x.jsonl", "no file can be written there: No such file or directory"),
    ):
        told = call("predict", "none+mood.s0", notes, "--study", "study.yaml", "-o", output, code=2)
        assert told.startswith(f"error: --output '{output}'") and says in told and told.count("\n") == 1
    assert notes.read_bytes() == given


def test_import_tells_what_came_in(call, tmp_path):
    rows = [{"id": f"classification-3-e{at}", "prediction": "good"} for at in range(9)]
    write_jsonl(tmp_path / "test-de.jsonl", rows)
    write_jsonl(tmp_path / "test-sw.jsonl", rows)
    words = ["import", "study.yaml", "--chain", "gpt+mood", "--predictions", tmp_path]
    first, *more = call(*words).splitlines()
    assert first.startswith("gpt+mood: 1 languages, 9 predictions, stored as ")
    assert more == ["no file for: en", "not tested by the study, left out: sw"]
    found = json.loads(call(*words, "--json"))
    assert found["languages"] == {"de": 9} and found["missing"] == ["en"] and found["extra"] == ["sw"]
    shown = json.loads(call("gains", "study.yaml", "--json"))
    assert {row["language"] for row in shown["rows"] if row["intermediate"] == "gpt"} == {"de"}
