from __future__ import annotations

import json
from pathlib import Path

import pytest
from finished import Build, Finished

from waystation import chains
from waystation.errors import InputError
from waystation.exchange.imported import add
from waystation.report import page, provenance
from waystation.steps.records import TrainStep


def test_everything_is_plain_json(build: Build) -> None:
    found = provenance.collect(*build().parts)
    assert json.loads(json.dumps(found)) == found


def test_data_carries_what_its_owner_asks_for(build: Build) -> None:
    made = build(
        tasks={"alpha": {"train": None, "splits": {"train": {"files": {"en": ["train.en.tsv"]}, "sample": True}}}}
    )
    found = {item["task"]: item for item in provenance.collect(*made.parts)["datasets"]}
    assert list(found) == ["topics", "alpha", "beta", "gamma"]
    target = found["topics"]
    assert list(target["splits"]) == ["train", "test"]
    assert list(target["splits"]["test"]["languages"]) == ["en", "de", "sw", "eu"]
    assert target["splits"]["test"]["roles"] == target["splits"]["train"]["roles"] == ["target"]
    assert found["alpha"]["splits"]["train"]["roles"] == ["intermediate"]
    assert found["alpha"]["splits"]["train"]["sample"] and not found["beta"]["splits"]["train"]["sample"]
    assert target["licence"] == "CC BY 4.0" and target["citation"] == "Somebody 2020, On topics"
    assert target["verified"] == "never" and target["independent"]
    full = {node.step.content for node in made.made.nodes.values() if node.step.kind == "encode"}
    for item in found.values():
        for split in item["splits"].values():
            for part in split["languages"].values():
                assert part["examples"] == 40 and part["words"] == 360
                assert any(content.startswith(part["content"]) for content in full)


def test_a_task_used_twice_has_both_roles(build: Build) -> None:
    made = build(groups={"general": ["alpha"], "medical": ["topics"]})
    found = {item["task"]: item for item in provenance.collect(*made.parts)["datasets"]}
    assert found["topics"]["splits"]["train"]["roles"] == ["intermediate", "target"]


def test_chains_lead_to_their_artifacts(build: Build) -> None:
    made = build(missing=["gamma+topics.s1"])
    chains = {item["name"]: item for item in provenance.collect(*made.parts)["chains"]}
    assert len(chains["none+topics.s0"]["trained"]) == 1
    assert len(chains["gamma+topics.s0"]["trained"]) == 2
    assert not chains["gamma+topics.s1"]["scores"]["there"] and chains["gamma+topics.s0"]["scores"]["there"]
    ids = {key[: provenance.SHORT] for key in made.made.nodes}
    for item in chains.values():
        assert all(part["id"] in ids for part in item["trained"] if part["there"])


def imported(build: Build, folder: Path) -> Finished:
    """A study to which the predictions of another system were added, in two of its languages."""
    made = build()
    for code in ("de", "sw"):
        rows = "".join(f"{label}\n" for label in ["yes", "no", "other"] * 2)
        (folder / "answers").mkdir(exist_ok=True)
        (folder / "answers" / f"test-{code}.tsv").write_text(rows, encoding="utf-8")
    add(made.study, "llm+topics", folder / "answers", made.store.root, made=made.made)
    return made


def test_imported_systems_say_where_they_come_from(build: Build, tmp_path: Path) -> None:
    assert provenance.collect(*build().parts)["imported"] == []
    made = imported(build, tmp_path)
    (one,) = chains.imported(made.made, made.store)
    manifest = made.store.manifest(one.evaluate)
    found = provenance.collect(*made.parts)
    assert found["imported"] == [
        {
            "name": "llm+topics", "system": "llm", "target": "topics", "source": "answers",
            "created": manifest["created"], "content": manifest["step"]["content"][: provenance.SHORT],
            "languages": {"de": 6, "sw": 6}, "scores": one.evaluate[: provenance.SHORT],
        }
    ]  # fmt: skip
    assert "llm+topics" not in {chain["name"] for chain in found["chains"]}
    assert str(tmp_path) not in json.dumps(found)


def test_the_page_lists_imported_systems(build: Build, tmp_path: Path) -> None:
    assert "Imported systems" not in page.render(*build().parts)
    made = imported(build, tmp_path)
    text = page.render(*made.parts)
    section = text[text.index("Imported systems") : text.index("<h3>Computation</h3>")]
    (one,) = provenance.collect(*made.parts)["imported"]
    for shown in ("llm+topics", "answers", one["content"], one["scores"], "de 6 examples", "sw 6 examples"):
        assert shown in section


def test_a_damaged_import_is_named(build: Build, tmp_path: Path) -> None:
    made = imported(build, tmp_path)
    (one,) = chains.imported(made.made, made.store)
    (made.store.folder(one.evaluate) / chains.IMPORTED).write_text("{")
    with pytest.raises(InputError, match=r"imported\.json is damaged; import 'llm\+topics' again"):
        provenance.collect(*made.parts)


def test_matching_reads_what_was_really_used(build: Build) -> None:
    made = build()
    match = provenance.matching(made.study, made.store, made.made)
    assert match["by"] == "words" and match["amount"] == 1200
    used: dict[str, list[int]] = {}
    for node in made.made.nodes.values():
        if isinstance(node.step, TrainStep) and node.step.phase == "intermediate":
            used.setdefault(node.step.task, []).append(made.store.manifest(node.id)["words"])
    means = {name: sum(words) / len(words) for name, words in used.items()}
    for row in match["rows"]:
        assert row["words"]["mean"] == pytest.approx(means[row["intermediate"]])
        assert row["words"]["ratio"] == pytest.approx(means[row["intermediate"]] / min(means.values()))
        assert row["updates"]["mean"] == 100 and row["updates"]["ratio"] == 1
    general = (means["alpha"] + means["beta"]) / 2
    assert match["primary"]["ratios"]["words"] == pytest.approx(means["gamma"] / general)


def test_what_is_not_trained_stays_open(build: Build, tmp_path: Path) -> None:
    from waystation.store import Store

    made = build()
    found = provenance.collect(made.study, made.found, Store(tmp_path / "nothing"), made.made)
    assert found["created"] is None
    assert [row["words"] for row in found["matching"]["rows"]] == [None, None, None]
    assert found["datasets"][0]["splits"]["train"]["languages"]["en"]["examples"] is None


def test_the_backbone_is_named_with_what_it_has_seen(build: Build) -> None:
    seen = [{"task": "alpha", "how": "labels"}]
    found = provenance.collect(*build(backbone={"id": "bundled", "layers": 6, "seen": seen}).parts)["backbone"]
    assert found["layers"] == 6 and found["kind"] == "bundled" and found["licence"] == "MIT"
    assert {"task": "alpha", "how": "labels", "here": True} in found["seen"]
    assert any(item["task"] == "mnli" and not item["here"] for item in found["seen"])
    assert "bundled" in found["fingerprint"] and "layers" not in found["fingerprint"]


def test_no_absolute_path_leaves_the_machine(build: Build, tmp_path: Path) -> None:
    found = provenance.collect(*build().parts)
    assert str(tmp_path) not in json.dumps(found)
    assert found["commands"][0] == "waystation run example.yaml"


def test_commands_can_be_given(build: Build) -> None:
    assert provenance.collect(*build().parts, ["waystation demo"])["commands"] == ["waystation demo"]
