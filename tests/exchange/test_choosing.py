"""Which intermediate stands for a target in a submission."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

import yaml  # noqa: E402
from test_submission import write_study  # noqa: E402

from waystation import Study  # noqa: E402
from waystation.errors import InputError  # noqa: E402
from waystation.exchange.choosing import best  # noqa: E402


def study_of(folder, arms, targets=("pawsx", "panx", "tatoeba"), **more):
    path = write_study(folder, "bundled", intermediate={"any": list(arms)}, target=list(targets))
    content = yaml.safe_load(path.read_text())
    for name, changes in more.items():
        content["tasks"][name] |= changes
    path.write_text(yaml.safe_dump(content))
    return Study.load(path)


def pick(study, target, held):
    uses = {use.label: use for use in study.target}
    every = {target: {arm: dict(enumerate(points)) for arm, points in arms.items()} for target, arms in held.items()}
    return best(study, uses[target], list(uses.values()), every)


def test_one_that_has_read_what_was_held_out_does_not_count(tmp_path):
    study = study_of(tmp_path, ("names", "mood", "pawsx"))
    held = {
        "pawsx": {"names": [50, 50], "mood": [60, 60], "pawsx": [90, 90]},
        "panx": {"names": [70, 70], "mood": [30, 30], "pawsx": [80, 80]},
    }
    found = pick(study, "pawsx", held)
    assert (found.intermediate, found.scores) == ("mood", {"names": 50, "mood": 60})
    assert found.left_out == {"pawsx": "has read the data of pawsx (pawsx)"}
    found = pick(study, "panx", held)
    assert (found.intermediate, found.left_out) == ("pawsx", {})
    found = pick(study, "tatoeba", held)  # the mean over panx alone, the same for all
    assert (found.intermediate, found.over) == ("pawsx", ("panx",))
    assert found.left_out == {"pawsx": "pawsx has read the data of pawsx (pawsx)"}


def test_nor_one_with_the_same_texts_under_another_name(tmp_path):
    for name, other in (("mood", "pawsx"), ("pawsx", "mood")):
        study = study_of(tmp_path, ("names", "mood"), **{name: {"same_source": [other]}})
        found = pick(study, "pawsx", {"pawsx": {"names": [50], "mood": [60]}})
        assert (found.intermediate, list(found.left_out)) == ("names", ["mood"])


def test_nor_one_with_the_data_that_the_target_is_trained_on_instead_of_its_own(tmp_path):
    study = study_of(tmp_path, ("names", "mood"), [{"task": "panx", "train": {"task": "names"}}])
    found = pick(study, "panx", {"panx": {"names": [60], "mood": [50]}})
    assert (found.intermediate, list(found.left_out)) == ("mood", ["names"])


def test_where_every_target_is_known_to_some_the_others_are_left(tmp_path):
    study = study_of(tmp_path, ("panx", "mood", "pawsx"))
    held = {name: {"panx": [80], "mood": [10], "pawsx": [80]} for name in ("pawsx", "panx")}
    found = pick(study, "tatoeba", held)
    assert (found.intermediate, found.over) == ("mood", ("pawsx", "panx")) and set(found.left_out) == {"panx", "pawsx"}
    study = study_of(tmp_path, ("panx", "pawsx"))
    for target, asked in (("tatoeba", study), ("panx", study_of(tmp_path, ["panx"]))):
        with pytest.raises(InputError, match=r"no intermediate is new to what was held out: (pawsx|panx) has read"):
            pick(asked, target, held)


def test_the_mean_is_over_the_seeds_that_all_have(tmp_path):
    study = study_of(tmp_path, ("names", "mood"))
    found = pick(study, "pawsx", {"pawsx": {"names": [50, 100], "mood": [60]}})
    assert (found.intermediate, found.seeds, found.scores) == ("mood", (0,), {"names": 50, "mood": 60})
    held = {"pawsx": {"names": {1: 100}, "mood": {0: 60}}}
    with pytest.raises(InputError, match="no seed has all of them; run the study to its end"):
        best(study, study.target[0], study.target, held)


def test_ties_are_written_down(tmp_path):
    study = study_of(tmp_path, ("names", "mood"))
    found = pick(study, "pawsx", {"pawsx": {"names": [60], "mood": [60]}})
    assert (found.intermediate, found.ties) == ("names", ("mood",))


def test_targets_that_are_not_handed_in_do_not_count(tmp_path):
    study = study_of(tmp_path, ("names", "mood"))
    held = {"panx": {"names": {0: 60}, "mood": {0: 50}}, "pawsx": {"names": {0: 10}, "mood": {0: 90}}}
    uses = {use.label: use for use in study.target}
    found = best(study, uses["tatoeba"], [uses["panx"], uses["tatoeba"]], held)
    assert (found.intermediate, found.over) == ("names", ("panx",))
