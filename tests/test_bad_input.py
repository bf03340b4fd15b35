"""Malformed input through the real command line: exit code 2, one line for each problem, where, and what to do."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from waystation.cli import main

STUDY = """\
study: s
backbone: bundled
intermediate:
  general: [one]
  medical: [two]
target: goal
languages: [de]
seeds: 1
tasks:
  one: {format: tagging, labels: [PER], reader: {kind: conll}, path: data, train: {en: one.txt}}
  two: {format: tagging, labels: [PER], reader: {kind: conll}, path: data, train: {en: two.txt}}
  goal:
    format: tagging
    labels: [PER]
    reader: {kind: conll}
    path: data
    train: {en: goal.txt}
    test: {de: de.txt}
"""
TAGGED = "Ana B-PER\nleft O\n\nBo B-PER\n"


def waystation(*arguments: str) -> tuple[int, str, str]:
    """Run the command line in this process: (exit code, standard output, standard error)."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv = mock.patch.object(sys, "argv", ["waystation", *arguments])
    with argv, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = 0 if stop.code is None else int(stop.code)
    return code, out.getvalue(), err.getvalue()


def refused(*arguments: str) -> list[str]:
    """The lines of error of a command that must refuse its input."""
    code, out, err = waystation(*arguments)
    assert code == 2, f"exit {code}\n{out}\n{err}"
    assert "Traceback" not in out + err and out == ""
    lines = err.splitlines()
    assert lines and all(line.startswith("error: ") for line in lines), err
    assert len(set(lines)) == len(lines), "a problem is told once"
    return [line.removeprefix("error: ") for line in lines]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a study and its data; offline, nothing set."""
    for name in ("WAYSTATION_DATA", "WAYSTATION_STORE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WAYSTATION_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(STUDY)
    (tmp_path / "data").mkdir()
    for name in ("one", "two", "goal", "de"):
        (tmp_path / "data" / f"{name}.txt").write_text(TAGGED)
    return tmp_path


def test_the_study_of_these_tests_is_fine() -> None:
    code, out, err = waystation("check", "s.yaml")
    assert (code, err) == (0, "") and out.startswith("s.yaml: fine; 3 chains, ")


def test_blanks_and_accents_in_paths_are_fine(home: Path) -> None:
    folder = home / "mi estudio ñ" / "second level"
    folder.mkdir(parents=True)
    (home / "data").rename(folder / "data")
    (home / "s.yaml").rename(folder / "my study.yaml")
    code, out, err = waystation("check", str(folder / "my study.yaml"))
    assert (code, err) == (0, "") and "fine" in out
    assert waystation("plan", str(folder / "my study.yaml"), "--store", str(home / "a store"))[0] == 0


@dataclass
class Case:
    """A wrong study file: ``old`` of the good one replaced by ``new``; ``says`` must stand in the lines of error."""

    name: str
    old: str
    new: str
    says: list[str]
    options: list[str] = field(default_factory=list)


WHOLE = STUDY
CASES = [
    Case("a list", WHOLE, "- a\n- b\n", ["s.yaml:1: a study is a mapping with the keys study, backbone"]),
    Case("a word", WHOLE, "study\n", ["s.yaml:1: a study is a mapping"]),
    Case("an empty file", WHOLE, "", ["s.yaml:1: the file holds no YAML: write at least one key"]),
    Case("an open bracket", "general: [one]", "general: [one",
         ["s.yaml:5: not valid YAML: expected ',' or ']'", "check indentation, brackets"]),
    Case("a tab", "  general", "\tgeneral", ["s.yaml:4: a tab: YAML is indented with spaces"]),
    Case("a key twice", "seeds: 1", "seeds: 1\nstudy: t", ["s.yaml:9: key 'study' is given twice (first in line 1)"]),
    Case("a line without a colon", "seeds: 1", "seeds 1", ["s.yaml:", "a line without ':': write 'key: value'"]),
    Case("an unknown field", "seeds: 1", "sedes: 1", ["s.yaml:8: unknown field 'sedes' (did you mean 'seeds'?)"]),
    Case("an unknown field without a near one", "seeds: 1", "qqq: 1", ["s.yaml:8: unknown field 'qqq'; fields here: "]),
    Case("an unknown recipe field", "seeds: 1", "recipe: {updats: 1}", ["s.yaml:8: ", "(did you mean 'updates'?)"]),
    Case("a text for a number", "seeds: 1", "delta: much", ["s.yaml:8: field 'delta': Input should be a number"]),
    Case("a number for a text", "study: s", "study: 5", ["s.yaml:1: field 'study': Input should be text (given: 5)"]),
    Case("a list for a mapping", "seeds: 1", "recipe: [1]", ["s.yaml:8: field 'recipe': Input should be a mapping"]),
    Case("a negative number", "seeds: 1", "recipe: {updates: -5}",
         ["s.yaml:8: field 'recipe.updates': ", "(given: -5)"]),
    Case("an infinite number", "seeds: 1", "recipe: {rate: inf}", ["s.yaml:8: field 'recipe.rate': ", "finite"]),
    Case("a share above one", "seeds: 1", "alpha: 5", ["s.yaml:8: field 'alpha': Input should be less than 1"]),
    Case("a stride that is too long", "seeds: 1", "recipe: {max_length: 20}",
         ["s.yaml:8: ", "at most half of max_length"]),
    Case("a missing field", "target: goal\n", "", ["s.yaml:1: field 'target' is missing: add it"]),
    Case("no intermediate", "  general: [one]\n  medical: [two]\n", "  {}\n",
         ["s.yaml:3: no intermediate task is named"]),
    Case("no target", "target: goal", "target: []", ["s.yaml:6: field 'target': "]),
    Case("an unknown task", "[one]", "[on3]",
         ["s.yaml:4: unknown task 'on3' (did you mean 'one'?)", "`waystation tasks`"]),
    Case("an unknown target", "target: goal", "target: gaol", ["s.yaml:6: unknown task 'gaol' (did you mean 'goal'?)"]),
    Case("an unknown language", "[de]", "[Germn]",
         ["s.yaml:7: unknown language or group 'Germn' (did you mean 'german'?)"]),
    Case("a language that the target has not", "[de]", "[sw]", ["s.yaml:6: target 'goal' has none", "it has: de"]),
    Case("a name twice", "[two]", "[one]", ["s.yaml:5: the name 'one' is taken; give this use another `name:`"]),
    Case("an unknown label", "[one]", "[{task: one, labels: {PRE: X}}]",
         ["s.yaml:4: ", "no label 'PRE' (did you mean 'PER'?)"]),
    Case("a metric of another format", "target: goal", "target: [{task: goal, metrics: [accuracy]}]",
         ["s.yaml:6: ", "metric 'accuracy' does not fit 'goal' (tagging); use entity_f1"]),
    Case("no metric", "target: goal", "target: [{task: goal, metrics: []}]", ["s.yaml:6: ", "at least 1 item"]),
    Case("far too many seeds", "seeds: 1", "seeds: 99999999999999999999999", ["s.yaml:8: ", "seeds must be a count"]),
    Case("an unknown group", "seeds: 1", "primary: medcal - general",
         ["s.yaml:8: ", "'medcal' (did you mean 'medical'?)"]),
    Case("no contrast", "seeds: 1", "primary: medical", ["s.yaml:8: primary 'medical' must be two different groups"]),
    Case("no seeds", "seeds: 1", "seeds: 0", ["s.yaml:8: field 'seeds': seeds must be a count of at least 1"]),
    Case("equal seeds", "seeds: 1", "seeds: [4, 4]", ["s.yaml:8: field 'seeds': seeds must differ"]),
    Case("words for seeds", "seeds: 1", "seeds: [a]", ["s.yaml:8: field 'seeds.0': Input should be a whole number"]),
    Case("an unknown reader", "kind: conll}, path: data, train: {en: one", "kind: conl}, path: data, train: {en: one",
         ["s.yaml:10: field 'tasks.one.reader.kind': Input should be 'conll', 'conllu'"]),
    Case("own data without a language", "train: {en: one.txt}", "train: one.txt", ["s.yaml:10: ", "'tasks.one.train'"]),
    Case("a profile that is not there", "seeds: 1", "profiles: {toy: {seeds: 1}}",
         ["s.yaml:8: no profile 'tyo' (did you mean 'toy'?); there are: toy"], ["--profile", "tyo"]),
    Case("a study without profiles", "", "", ["s.yaml:1: no profile 'toy'; there are: none"], ["--profile", "toy"]),
    Case("an override without a value", "", "",
         ["--set 'seeds' is not of the form field.field=value"], ["--set", "seeds"]),
    Case("an override of nothing", "", "", ["--set nope: unknown field 'nope'"], ["--set", "nope=1"]),
    Case("an override of a wrong type", "", "", ["--set seeds: ", "(given: 'x')"], ["--set", "seeds=x"]),
    Case("an override that is not YAML", "", "", ["--set seeds:1: ", "close it"], ["--set", "seeds=[1"]),
    Case("a folder that is not there", "backbone: bundled", "backbone: ./enc",
         ["s.yaml:2: backbone folder './enc' does not"]),
    Case("a folder without a config", "backbone: bundled", "backbone: data", ["s.yaml:2: ", "no config.json; save a"]),
    Case("a hub id without its owner", "backbone: bundled", "backbone: xlm-roberta-base",
         ["s.yaml:2: ", "(did you mean 'FacebookAI/xlm-roberta-base'?)"]),
    Case("a hub id that is not cached", "backbone: bundled", "backbone: some/one",
         ["backbone 'some/one' is not in the hub cache and offline mode is on; fetch it once"]),
    Case("more layers than there are", "backbone: bundled", "backbone: {id: bundled, layers: 13}",
         ["s.yaml:2: layers: 13 asked for", "ask for 12 or fewer"]),
    Case("a home that is not there", "backbone: bundled", "backbone: ~nobody-here/x",
         ["s.yaml:2: backbone folder '~nobody"]),
    Case("a data folder that is not there", "path: data, train: {en: one", "path: dat, train: {en: one",
         ["task 'one': no folder ", "/dat: put one.txt there, or say --data DIR"]),
    Case("a data folder that is a file", "path: data, train: {en: one", "path: s.yaml, train: {en: one",
         ["task 'one': ", "s.yaml is a file: give the folder"]),
    Case("a data file that is not there", "one.txt", "on.txt", ["task 'one', train en: no file ", "put it there"]),
    Case("files of no folder", "[one]", "[bc5cdr]",
         ["task 'bc5cdr' needs files and no data folder is given", "--data DIR"]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
@pytest.mark.parametrize("command", ["check", "plan"])
def test_a_wrong_study_is_refused_in_one_line(home: Path, case: Case, command: str) -> None:
    if case.old:
        assert STUDY.count(case.old) == 1
    (home / "s.yaml").write_text(STUDY.replace(case.old, case.new) if case.old else STUDY, encoding="utf-8")
    lines = refused(command, "s.yaml", *case.options)
    assert len(lines) == 1, lines
    for part in case.says:
        assert part in lines[0]


DATA = [
    ("an empty file", b"", ["one.txt: no examples (it is empty): check the file"]),
    ("blank lines only", b"\n\n\n", ["one.txt: no examples"]),
    ("a line with one column", b"Ana B-PER\nleft\n", ["one.txt:2: 1 column where the lines before have 2: correct it"]),
    ("an unknown tag", b"Ana B-PER\n\nleft B-PRE\n", ["one.txt:3: 'PRE' is neither a label", "(did you mean 'PER'?)"]),
    ("a tag of another scheme", b"Ana PER\n", ["one.txt:1: tag 'PER' is not O, B-... or I-...", "set another scheme"]),
    ("bytes that are not UTF-8", b"Ana B-PER\n\xe9l O\n",
     ["one.txt:2: not UTF-8 (byte 0xe9", "save the file as UTF-8"]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "says"), [pytest.param(*case[1:], id=case[0].replace(" ", "-")) for case in DATA])
def test_wrong_data_is_refused_with_file_and_line(home: Path, content: bytes, says: list[str]) -> None:
    (home / "data" / "one.txt").write_bytes(content)
    (line,) = refused("check", "s.yaml")
    for part in says:
        assert part in line


def test_every_file_that_cannot_be_read_is_told(home: Path) -> None:
    (home / "data" / "one.txt").write_text("Ana X\n")
    (home / "data" / "de.txt").write_text("Ana B-PER\nleft\n")
    lines = refused("check", "s.yaml")
    assert len(lines) == 2 and "de.txt:2: " in lines[0] and "one.txt:1: " in lines[1]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"study: \xff\n", ["s.yaml:1: not UTF-8 (byte 0xff): save the file as UTF-8"]),
        (b"study: s\nquestion: \x07\n", ["s.yaml:2: character U+0007 is not allowed in YAML: remove it"]),
    ],
)
def test_a_study_that_is_no_text_is_refused(home: Path, content: bytes, says: list[str]) -> None:
    (home / "s.yaml").write_bytes(content)
    (line,) = refused("check", "s.yaml")
    assert all(part in line for part in says)


@pytest.mark.parametrize("command", ["check", "plan", "gains", "report", "run"])
@pytest.mark.parametrize(
    ("study", "says"),
    [
        ("nowhere.yaml", "nowhere.yaml: no such file: check the path"),
        ("no/where.yaml", "no/where.yaml: no such file"),
        ("data", "data: cannot be read: Is a directory"),
        ("clinicl", "no study file 'clinicl' (did you mean 'clinical'?); shipped studies: all-formats, clinical, demo"),
        ("s.yaml/x", "s.yaml/x: cannot be read: Not a directory"),
    ],
)
def test_a_study_that_cannot_be_opened_is_refused_by_every_command(command: str, study: str, says: str) -> None:
    (line,) = refused(command, study)
    assert line.startswith(says)


def test_all_problems_of_a_study_are_told_in_one_go(home: Path) -> None:
    (home / "s.yaml").write_text(STUDY.replace("[one]", "[on3]").replace("[de]", "[xx]").replace("goal\n", "gaol\n"))
    assert [line.split(": ")[0] for line in refused("check", "s.yaml")] == ["s.yaml:4", "s.yaml:6", "s.yaml:7"]


@pytest.mark.parametrize("command", ["plan", "gains", "report", "run"])
def test_a_store_that_is_a_file_is_refused(command: str) -> None:
    (line,) = refused(command, "s.yaml", "--store", "s.yaml")
    assert "s.yaml' is a file; give a folder with --store" in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["languages", "xx"], "unknown language or group 'xx'; `waystation languages` lists all"),
        (["languages", "basqe"], "(did you mean 'basque'?)"),
        (["tasks", "--language", "basqe"], "(did you mean 'basque'?)"),
        (["data", "check", "e3d"], "unknown task 'e3d' (did you mean 'e3c'?): `waystation tasks` lists all"),
        (["data", "check", "e3c"], "task 'e3c' needs files and no data folder is given"),
        (["data", "check", "e3c", "--data", "nowhere"], "/nowhere/e3c: put "),
        (["backbone", "xlm-roberta-base"], "(did you mean 'FacebookAI/xlm-roberta-base'?)"),
        (["backbone", "data"], "backbone folder 'data' has no config.json; save a transformers checkpoint there"),
        (["gains", "s.yaml", "--json", "--csv"], "--json and --csv exclude each other"),
        (["report", "s.yaml", "-o", "data"], "--output 'data': no file can be written there"),
        (["run", "s.yaml", "--store", "/dev/null/x"], "/dev/null/x' cannot be made in /dev/null; give another folder"),
        (["store", "ls", "--store", "s.yaml"], "is a file; give a folder with --store"),
        (["store", "verify", "--store", "s.yaml"], "is a file; give a folder with --store"),
    ],
    ids=" ".join,
)
def test_commands_that_look_things_up_refuse_what_is_not_there(arguments: list[str], says: str) -> None:
    (line,) = refused(*arguments)
    assert says in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rnu"], "No such command 'rnu'"),
        (["data", "chekc"], "No such command 'chekc'"),
        (["plan", "s.yaml", "--stroe", "x"], "No such option: --stroe"),
        (["plan"], "Missing argument 'STUDY'"),
        (["plan", "s.yaml", "more"], "unexpected extra argument"),
        (["plan", "s.yaml", "--seeds", "0"], "'--seeds'"),
        (["plan", "s.yaml", "--seeds", "many"], "'--seeds'"),
        (["backbone", "bundled", "--layers", "0"], "'--layers'"),
        (["backbone", "bundled", "--pairs", "-5"], "'--pairs'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_refused_and_points_to_the_help(arguments: list[str], says: str) -> None:
    code, out, err = waystation(*arguments)
    assert code == 2 and "Traceback" not in out + err
    assert says in err and "-h' for help" in err


def test_gains_of_an_empty_store_list_what_is_missing() -> None:
    code, out, err = waystation("gains", "s.yaml", "--store", "empty")
    assert (code, err) == (0, "")
    assert "No gains yet" in out and "Missing: 3 chains (none+goal.s0, one+goal.s0, two+goal.s0)" in out
    code, out, _ = waystation("gains", "s.yaml", "--store", "empty", "--json")
    found: dict[str, Any] = json.loads(out)
    assert code == 0 and found["rows"] == [] and found["missing"] == ["none+goal.s0", "one+goal.s0", "two+goal.s0"]
    assert not Path("empty").exists()


def test_looking_at_an_empty_store_is_fine() -> None:
    code, out, _ = waystation("store", "ls", "--store", "empty")
    assert code == 0 and "0 artifacts" in out
    assert waystation("store", "verify", "--store", "empty")[0] == 0
