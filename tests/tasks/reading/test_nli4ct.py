"""Statements on clinical trials with the sections they are about."""

import json
from pathlib import Path
from typing import Any

import pytest

from waystation.errors import InputError
from waystation.tasks.reading.readers import inputs, read_file
from waystation.tasks.reading.tags import Names
from waystation.tasks.task import Reader

LABELS = Names(("Entailment", "Contradiction"))
TRIAL = {"Clinical Trial ID": "NCT1", "Results": ["Outcome: ", "  42 of 50 recovered", " "], "Eligibility": ["Adults"]}
ONE = {"Type": "Single", "Section_id": "Results", "Primary_id": "NCT1", "Statement": "Most recovered.",
       "Label": "Entailment"}  # fmt: skip
TWO = {**ONE, "Type": "Comparison", "Secondary_id": "NCT2", "Label": "Contradiction"}


def write(folder: Path, statements: Any, trials: dict[str, Any] | None = None) -> Path:
    (folder / "CT_json").mkdir(exist_ok=True)
    for name, trial in ({"NCT1": TRIAL, "NCT2": {"Results": ["None recovered"]}} if trials is None else trials).items():
        (folder / "CT_json" / f"{name}.json").write_text(json.dumps(trial))
    path = folder / "dev.json"
    path.write_text(json.dumps(statements))
    return path


def read(path: Path, **fields: Any) -> list[Any]:
    used = Reader.model_validate({"kind": "nli4ct", "premises": "CT_json", **fields})
    return list(read_file(path, used, "classification", LABELS, prefix="test/en/"))


def test_premises_are_whole_sections(tmp_path: Path) -> None:
    one, two = read(write(tmp_path, {"u1": ONE, "u2": TWO}), id="#", cluster="Primary_id")
    assert (one.id, one.cluster, one.pair, one.label) == ("u1", "NCT1", "Most recovered.", "Entailment")
    assert one.text == "Primary trial: Outcome: 42 of 50 recovered"
    assert two.text == "Primary trial: Outcome: 42 of 50 recovered Secondary trial: None recovered"
    assert two.label == "Contradiction"
    assert [example.id for example in read(tmp_path / "dev.json")] == ["test/en/1", "test/en/2"]


def test_trials_are_part_of_what_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, {"u1": ONE})
    used = Reader(kind="nli4ct", premises="CT_json")
    assert [file.name for file in inputs(path, used)] == ["dev.json", "NCT1.json", "NCT2.json"]
    assert inputs(path, Reader(kind="json")) == [path]


@pytest.mark.parametrize(
    ("statement", "trials", "says"),
    [
        ({**ONE, "Primary_id": "NCT9"}, None, ": [u]: no file CT_json/NCT9.json for the trial: add it, or fetch"),
        ({**TWO, "Secondary_id": "NCT9"}, None, ": [u]: no file CT_json/NCT9.json for the trial"),
        ({**ONE, "Primary_id": "../dev"}, None, ": [u]: '../dev' is no name of a trial: correct it"),
        ({**ONE, "Section_id": "Result"}, None, ": [u]: trial NCT1 has no section 'Result' (did you mean 'Results'?)"),
        (
            {**ONE, "Section_id": "Clinical Trial ID"},
            None,
            ": [u]: section 'Clinical Trial ID' of trial NCT1 is no list",
        ),
        ({**ONE, "Label": "Neutral"}, None, ": [u]: 'Neutral' is neither a label of the task"),
        ({**ONE, "Statement": " "}, None, ": [u]: no text in Statement: fill it in"),
        ({"Label": "Entailment"}, None, ": [u]: field 'Primary_id' is null, not a string"),
        (ONE, {"NCT1": []}, ": [u]: CT_json/NCT1.json is a JSON list, not a trial: fetch it again"),
        (1, None, ": [u]: a JSON int, not an object"),
    ],
)
def test_malformed(tmp_path: Path, statement: Any, trials: Any, says: str) -> None:
    path = write(tmp_path, {"u": statement}, trials)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}{says}")


def test_the_folder_of_trials_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, {"u": ONE})
    with pytest.raises(InputError, match="reader nli4ct needs premises: the folder of the trials, as seen from this"):
        read(path, premises=None)
    with pytest.raises(InputError, match=r"dev\.json: no folder .*/trials: put the trials' JSON files there"):
        read(path, premises="trials")
    (tmp_path / "CT_json" / "NCT1.json").write_text("{")
    with pytest.raises(InputError, match=r"NCT1\.json:1: not JSON"):
        read(path)
