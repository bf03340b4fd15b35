from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from waystation import yamlfile
from waystation.errors import InputError, ManyProblems
from waystation.study import Study, shipped

SHIPPED = sorted((Path(__file__).resolve().parent.parent / "studies").glob("*.yaml"))
PROFILES = [
    pytest.param(path, profile, id=f"{path.stem}-{profile}")
    for path in SHIPPED
    for profile in (None, *yaml.safe_load(path.read_text("utf-8")).get("profiles", {}))
]

SMALL = """\
study: small
backbone: bundled
intermediate:
  general: [wnut17]
  medical: [bc5cdr]
target: e3c
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a study file from text, by default the small one with more text below it."""

    def make(more: str = "", text: str = SMALL) -> Path:
        path = tmp_path / "s.yaml"
        path.write_text(text + more, encoding="utf-8")
        return path

    return make


def problems(path: Path, *overrides: str, profile: str | None = None) -> list[str]:
    """The lines of what is wrong with a study file, without its folder."""
    with pytest.raises(InputError) as caught:
        Study.load(path, profile, overrides)
    return [line.removeprefix(f"{path.parent}/") for line in str(caught.value).splitlines()]


def only(path: Path, *overrides: str, profile: str | None = None) -> str:
    found = problems(path, *overrides, profile=profile)
    assert len(found) == 1, found
    return found[0]


# --- reading


def test_a_small_file_is_a_study_with_defaults(write: Any) -> None:
    study = Study.load(write())
    assert study.backbone.id == "bundled" and study.backbone.layers is None
    assert [(group, use.label) for group, use in study.uses()] == [("general", "wnut17"), ("medical", "bc5cdr")]
    assert [use.task for use in study.target] == ["e3c"]
    assert study.seeds == (0, 1, 2) and study.languages == ("all",)
    assert (study.delta, study.alpha, study.source, study.precision) == (1.0, 0.05, "en", "fp32")
    assert study.path is not None and study.path.endswith("s.yaml")


def test_no_stays_norwegian(write: Any) -> None:
    with pytest.raises(ManyProblems, match="no target has test data in 'no'"):
        Study.load(write("languages: [no, es]\n"))


def test_languages_may_be_one_word_an_alias_or_a_group(write: Any) -> None:
    def of(text: str) -> tuple[str, ...]:
        study = Study.load(write(f"languages: {text}\n"))
        return study.languages_of(study.target[0])

    assert of("es") == ("en", "es")
    assert of("[fra, Basque]") == ("en", "fr", "eu")
    assert set(of("all")) == {"en", "es", "fr", "eu"}
    assert of("[es, all]") == of("all")
    assert of("[en]") == ("en",)


def test_a_target_has_languages_of_its_own(write: Any) -> None:
    study = Study.load(
        write("languages: [es, fr]\n", SMALL.replace("target: e3c", "target: [{task: e3c, languages: [eu]}]"))
    )
    assert study.languages_of(study.target[0]) == ("en", "eu")


@pytest.mark.parametrize(("text", "seeds"), [("1", (0,)), ("3", (0, 1, 2)), ("[7, 3]", (7, 3)), ("[5]", (5,))])
def test_seeds_are_a_count_or_a_list(write: Any, text: str, seeds: tuple[int, ...]) -> None:
    assert Study.load(write(f"seeds: {text}\n")).seeds == seeds


def test_the_number_of_seeds_can_be_given_from_outside(write: Any) -> None:
    assert Study.load(write("seeds: [7, 8]\n"), seeds=2).seeds == (0, 1)


@pytest.mark.parametrize("text", ["0", "-2", "[1, 1]", "[]", "1.5", "[a]", "true", "three"])
def test_bad_seeds_are_refused_with_their_line(write: Any, text: str) -> None:
    assert only(write(f"seeds: {text}\n")).startswith("s.yaml:7: field 'seeds")


def test_infinite_numbers_are_refused(write: Any) -> None:
    assert "finite number" in only(write("recipe: {rate: inf}\n"))


# --- recipes


def test_recipe_fields_hold_for_both_phases_unless_one_has_its_own(write: Any) -> None:
    text = "recipe:\n  batch: 8\n  updates: 5\n  intermediate: {updates: 7}\n  target: {rate: 1e-5, batch: 4}\n"
    recipe = Study.load(write(text)).recipe
    assert (recipe.intermediate.batch, recipe.intermediate.updates) == (8, 7)
    assert (recipe.target.batch, recipe.target.updates, recipe.target.rate) == (4, 5, 1e-5)
    assert recipe.intermediate.rate == 1e-4


def test_one_use_may_change_the_recipe_of_its_phase(write: Any) -> None:
    text = SMALL.replace("[wnut17]", "[{task: wnut17, recipe: {updates: 9, validation: {every: 3}}}]")
    study = Study.load(write("recipe: {updates: 5, validation: {fraction: 0.3}}\n", text))
    changed, plain = (study.recipe_of(use, "intermediate") for _, use in study.uses())
    assert (changed.updates, plain.updates) == (9, 5)
    assert changed.validation is not None and (changed.validation.fraction, changed.validation.every) == (0.3, 3)


def test_a_mistake_in_the_recipe_of_a_use_is_told_with_its_line(write: Any) -> None:
    text = SMALL.replace(
        "[wnut17]", "\n    - task: wnut17\n      recipe:\n        updates: 9\n        rat: 1\n        clip: -1"
    )
    found = problems(write("", text))
    assert [line.split(":")[1] for line in sorted(found)] == ["8", "9"]
    assert "unknown field 'recipe.rat' (did you mean 'rate'?)" in "".join(found)


def test_a_mistake_in_a_shared_recipe_field_is_told_once(write: Any) -> None:
    line = only(write("recipe:\n  batch: 8\n  updats: 5\n"))
    assert line.startswith("s.yaml:9: unknown field 'recipe.updats' (did you mean 'updates'?)")
    assert only(write("recipe:\n  max_length: 16\n")).startswith("s.yaml:7: field 'recipe': stride 32 must be at most")


# --- profiles and overrides


def test_a_profile_is_merged_deeply(write: Any) -> None:
    more = """\
recipe: {batch: 8, intermediate: {updates: 7, rate: 1e-5}}
match: {by: words, amount: 100}
profiles:
  toy:
    backbone: {layers: 2}
    intermediate: {general: [gum]}
    seeds: 1
    match: {amount: 5}
    recipe: {intermediate: {updates: 3}}
"""
    study = Study.load(write(more), "toy")
    assert (study.backbone.id, study.backbone.layers) == ("bundled", 2)
    assert [use.task for _, use in study.uses()] == ["gum", "bc5cdr"]
    assert study.seeds == (0,)
    assert study.match is not None and (study.match.by, study.match.amount) == ("words", 5)
    recipe = study.recipe.intermediate
    assert (recipe.batch, recipe.updates, recipe.rate) == (8, 3, 1e-5)
    assert Study.load(write(more)).recipe.intermediate.updates == 7


def test_what_a_profile_gets_wrong_is_told_with_the_line_of_the_profile(write: Any) -> None:
    more = (
        "seeds: 3\nprofiles:\n  toy:\n    seeds: 0\n    target: e3\n    intermediate:\n      medical:\n        - nope\n"
    )
    found = problems(write(more), profile="toy")
    assert [line.split(": ")[0] for line in found] == ["s.yaml:10"]
    found = problems(write(more.replace("seeds: 0", "seeds: 1")), profile="toy")
    assert sorted(line.split(": ")[0] for line in found) == ["s.yaml:11", "s.yaml:14"]


@pytest.mark.parametrize("profiles", ["profiles: {toy: {seeds: 1}}\n", "profiles: 3\n", "profiles: [toi]\n", ""])
def test_an_unknown_profile_is_refused(write: Any, profiles: str) -> None:
    line = only(write(profiles), profile="toi")
    assert line.startswith("s.yaml:") and "no profile 'toi'" in line
    assert ("did you mean 'toy'" in line) == ("toy" in profiles)


@pytest.mark.parametrize("content", ["", " 3", " [a]"])
def test_a_profile_must_be_a_mapping(write: Any, content: str) -> None:
    assert "s.yaml:8: profile 'toy' must be a mapping" in only(write(f"profiles:\n  toy:{content}\n"), profile="toy")


def test_overrides_are_read_as_yaml_and_win_over_the_profile(write: Any) -> None:
    path = write("seeds: 5\nprofiles: {toy: {seeds: 2}}\n")
    study = Study.load(path, "toy", ["seeds=[4, 9]", "languages=es", "recipe.target.rate=1e-6", "backbone.layers=3"])
    assert study.seeds == (4, 9) and study.languages == ("es",)
    assert study.recipe.target.rate == 1e-6 and study.recipe.intermediate.rate == 1e-4
    assert (study.backbone.id, study.backbone.layers) == ("bundled", 3)


def test_an_override_may_hold_an_equals_sign_or_nothing(write: Any) -> None:
    assert Study.load(write(), None, ["question=does a=b?"]).question == "does a=b?"
    assert Study.load(write("match: {by: words, amount: 3}\n"), None, ["match="]).match is None


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("seeds", "--set 'seeds' is not of the form field.field=value"),
        ("=3", "not of the form"),
        ("seeds=0", "--set seeds: field 'seeds': seeds must be a count of at least 1"),
        ("seeds=[a]", "--set seeds: field 'seeds.0': Input should be a whole number (given: 'a')"),
        ("seeds=[1", "--set seeds:1: a quote or bracket that opens here is never closed"),
        ("recipe.updats=3", "--set recipe.updats: unknown field 'recipe.updats' (did you mean 'updates'?)"),
        (
            "recipe.target.updates=0",
            "--set recipe.target.updates: field 'recipe.target.updates': Input should be greater",
        ),
        ("foo.bar=1", "--set foo.bar: unknown field 'foo'"),
        ("target=e3d", "--set target: unknown task 'e3d' (did you mean 'e3c'?)"),
        ("backbone.layers=40", "--set backbone.layers"),
        ("target.0.task=e3c", "field 'target': Input should be a list (given: {'0': {'task': 'e3c'}})"),
    ],
)
def test_a_wrong_override_is_told_as_such(write: Any, override: str, says: str) -> None:
    assert says in only(write(), override)


# --- problems


def test_all_problems_are_told_at_once_each_with_its_line(write: Any) -> None:
    text = """\
study: two words
backbone:
  id: bundled
  layer: 2
intermediate:
  general:
    - wnut17
    - task: gum
      labls: {}
  medical: [bc5cdr]
target:
  - task: e3c
    languages: 5
seeds: 0
alpha: 2
recipe:
  updates: many
  target:
    batch: 0
tasks: {own: {labels: [a]}}
"""
    found = problems(write("", text))
    by_line = {int(line.split(":")[1]): line for line in found}
    assert sorted(by_line) == [1, 4, 9, 13, 14, 15, 17, 19, 20]
    assert "(did you mean 'layers'?)" in by_line[4]
    assert "(did you mean 'labels'?)" in by_line[9]
    assert "field 'recipe.updates': Input should be a whole number" in by_line[17]
    assert "field 'tasks.own.format' is missing: add it" in " ".join(found)


def test_all_problems_of_meaning_are_told_at_once_each_with_its_line(write: Any) -> None:
    text = """\
study: s
backbone: xlm-roberta-base
intermediate:
  general:
    - wnut71
    - task: gum
      labels: {persn: X}
  medical:
    - bc5cdr
    - bc5cdr
target:
  - task: e3c
    train: {task: e3d}
  - task: e3c
    name: again
    languages:
      - eu
      - Baskue
  - sick
  - sick
languages:
  - es
  - Frnech
primary: medical - genral
"""
    found = problems(write("", text))
    assert [int(line.split(":")[1]) for line in found] == [2, 5, 7, 10, 13, 18, 20, 23, 24]
    text = "\n".join(found)
    for hint in (
        "'FacebookAI/xlm-roberta-base'", "'wnut17'", "'person'", "`name:`", "'e3c'", "'basque'", "'french'",
        "'general'",
    ):  # fmt: skip
        assert hint in text, hint
    assert text.count("did you mean") == 7


def test_a_union_type_is_one_problem(write: Any) -> None:
    own = "    format: tagging\n    labels: [A]\n    reader: {kind: conll, token: [1]}\n    train: {en: a}\n"
    more = f"tasks:\n  own:\n{own}"
    assert only(write(more)).startswith("s.yaml:11: field 'tasks.own.reader.token': ")


def test_a_missing_field_is_named(write: Any) -> None:
    found = problems(write("", "question: x\n"))
    assert [line.split(": ", 1)[1] for line in found] == [
        f"field '{name}' is missing: add it" for name in ("study", "backbone", "intermediate", "target")
    ]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ("intermediate: {}", "no intermediate task is named"),
        ("intermediate: {general: []}", "no intermediate task is named"),
        ("intermediate: {none: [gum]}", "the group 'none' is the baseline's"),
        (
            "intermediate: {general: [{task: gum, name: none}]}",
            "the name 'none' is taken; give this use another `name:`",
        ),
        ("intermediate: {general: [{task: gum, name: a b}]}", "field 'intermediate.general.0.name'"),
        ("intermediate: {general: [{task: gum, languages: [es]}]}", "belong to a target"),
        ("intermediate: {general: [xnli]}", "task 'xnli' has no training data in 'en'"),
        ("intermediate: {general: [{task: e3c, labels: {CLINENTITY: null}}]}", "every label of 'e3c' is left out"),
        ("intermediate: [gum]", "field 'intermediate': Input should be a mapping"),
        ("intermediate: {general: 3}", "field 'intermediate.general': Input should be a list"),
    ],
)
def test_mistakes_among_the_intermediates(write: Any, changed: str, says: str) -> None:
    text = f"study: s\nbackbone: bundled\n{changed}\ntarget: e3c\n"
    line = only(write("", text))
    assert line.startswith("s.yaml:3: ") and says in line


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("languages: [sw]", "target 'e3c' has none of the languages asked for; it has: en, es, fr, eu"),
        ("languages: []", "has none of the languages asked for"),
        ("source: de", "task 'e3c' has no training data in 'de' (it has: en, es, fr, eu); name a task"),
    ],
)
def test_languages_that_a_target_has_not(write: Any, more: str, says: str) -> None:
    assert says in "\n".join(problems(write(more + "\n")))


# --- primary


@pytest.mark.parametrize("text", ["medical - general", "general - medical", "medical - none"])
def test_a_primary_names_two_groups(write: Any, text: str) -> None:
    assert Study.load(write(f"primary: {text}\n")).primary == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("medical", "must be two different groups joined by ' - '"),
        ("medical-general", "must be two different groups"),
        ("medical - medical", "must be two different groups"),
        ("medical - ", "must be two different groups"),
        ("a - b - c", "must be two different groups"),
        ("medicl - general", "the group 'medicl' (did you mean 'medical'?); groups are: general, medical, none"),
    ],
)
def test_a_primary_that_is_no_contrast_is_refused(write: Any, text: str, says: str) -> None:
    line = only(write(f"primary: '{text}'\n"))
    assert line.startswith("s.yaml:7: ") and says in line


def test_a_primary_of_an_empty_group_is_refused(write: Any) -> None:
    assert "the group 'legal'" in only(
        write("primary: legal - general\n", SMALL.replace("target", "  legal: []\ntarget"))
    )


# --- training a target on another task


def test_a_target_may_be_trained_on_another_task_with_labels_mapped_by_name(write: Any, tmp_path: Path) -> None:
    more = """\
tasks:
  small:
    format: classification
    labels: [yes, no, maybe]
    reader: {kind: table, text: text, label: label}
    train: {en: a.tsv}
"""
    text = (
        "study: s\nbackbone: bundled\nintermediate: {general: [gum]}\n"
        "target:\n  - task: xnli\n    train:\n      task: small\n      labels:\n"
        "        yes: entailment\n        no: contradiction\n"
    )
    study = Study.load(write(more, text + "        maybe: neutral\n"))
    train = study.target[0].train
    assert train is not None and train.labels == {"yes": "entailment", "no": "contradiction", "maybe": "neutral"}
    assert study.labels_of(study.target[0]) == study.find("xnli").labels
    assert Study.load(write(more, text + "        maybe: null\n")).target[0].train is not None
    line = only(write(more, text))
    assert line.startswith("s.yaml:8: label 'maybe' of 'small' has no counterpart among") and "`train: labels:`" in line
    line = only(write(more, text + "        mayb: neutral\n        maybe: null\n"))
    assert line.startswith("s.yaml:11: task 'small' has no label 'mayb' (did you mean 'maybe'?)")


def test_a_target_cannot_be_trained_on_another_format(write: Any) -> None:
    text = "study: s\nbackbone: bundled\nintermediate: {general: [gum]}\n"
    text += "target:\n  - task: xnli\n    train:\n      task: e3c\n"
    found = problems(write("", text))
    assert any(line.startswith("s.yaml:7: task 'e3c' is tagging, the target is classification") for line in found)


# --- own data


OWN = (
    """\
study: mine
backbone: bundled
intermediate: {general: [mine-too]}
target: {target}
tasks:
  mine:
    path: data/notes
    format: classification
    labels: [yes, no]
    reader: {{kind: table, text: text, label: label}}
    train: {{en: train.tsv}}
    test: {{en: test.tsv, no: [a.tsv, b.tsv]}}
  mine-too:
    format: classification
    labels: [yes, no]
    reader: {{kind: jsonl, text: t, label: l}}
    splits: {{train: {{files: {{en: [x.jsonl]}}}}}}
""".replace("{target}", "mine")
    .replace("{{", "{")
    .replace("}}", "}")
)


def test_own_data_is_a_table_in_the_study_file(write: Any, tmp_path: Path) -> None:
    study = Study.load(write("", OWN))
    mine, other = study.find("mine"), study.find("mine-too")
    assert mine.path == str(tmp_path / "data" / "notes") and other.path == str(tmp_path)
    assert mine.labels == ("yes", "no")
    assert mine.splits["test"].paths() == {"en": ("test.tsv",), "no": ("a.tsv", "b.tsv")}
    assert study.languages_of(study.target[0]) == ("en", "no")
    assert mine.metrics == ("accuracy", "macro_f1")
    assert other.splits["train"].paths() == {"en": ("x.jsonl",)}


def test_own_data_lies_beside_the_study_file_wherever_we_stand(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("", OWN)
    monkeypatch.chdir(tmp_path)
    assert Study.load("s.yaml").find("mine").path == str(tmp_path / "data" / "notes")
    monkeypatch.chdir("/")
    assert Study.load(tmp_path / "s.yaml").find("mine").path == str(tmp_path / "data" / "notes")


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("train: {en: train.tsv}", "train: train.tsv", 11, "field 'tasks.mine.train': Input should be a mapping"),
        ("train: {en: train.tsv}", "train: {en: 3}", 11, "field 'tasks.mine.train.en': Input should be a list"),
        ("train: {en: train.tsv}", "train: {en: [3]}", 11, "field 'tasks.mine.train.en.0': Input should be text"),
        ("train: {en: train.tsv}", "trian: {en: train.tsv}", 11, "unknown field 'tasks.mine.trian'"),
        ("splits: {", "splits: [a] #", 17, "field 'tasks.mine-too.splits': Input should be a mapping"),
        ("splits: {train", "splits: {dev", 17, "'train', 'validation' or 'test'"),
        ("kind: jsonl", "kind: xml", 16, "field 'tasks.mine-too.reader.kind': Input should be 'conll', 'conllu'"),
        ("kind: jsonl", "kid: jsonl", 16, "(did you mean 'kind'?)"),
        ("reader: {kind: jsonl, t", "domain: law #", 13, "a task of files needs a reader"),
        ("labels: [yes, no]\n    reader: {kind: jsonl", "labels: []\n    reader: {kind: jsonl", 13, "non-empty list"),
        ("  mine-too:\n    format: cl", "  mine-too:\n    format: kl", 14, "'tagging', 'classification'"),
        ("  mine-too:", "  Mine Too:", 13, "should match pattern"),
    ],
)  # fmt: skip
def test_mistakes_in_own_data(write: Any, old: str, new: str, line: int, says: str) -> None:
    assert OWN.count(old) == 1
    found = problems(write("", OWN.replace(old, new)))
    assert any(item.startswith(f"s.yaml:{line}: ") and says in item for item in found), found


def test_the_path_of_a_home_that_does_not_exist_is_no_crash(write: Any) -> None:
    assert "~nobody-at-all/x" in only(write("", SMALL.replace("bundled", "~nobody-at-all/x")))
    study = Study.load(write("", OWN.replace("data/notes", "~nobody-at-all/x")))
    assert study.find("mine").path == "~nobody-at-all/x"


# --- the schema, and the studies that come along


def accepts(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """The part of JSON schema that pydantic writes."""
    if "$ref" in schema:
        return accepts(root["$defs"][schema["$ref"].rpartition("/")[2]], value, root)
    if "anyOf" in schema and not any(accepts(option, value, root) for option in schema["anyOf"]):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    kinds = {"string": str, "integer": int, "number": (int, float), "array": list, "object": dict, "boolean": bool}
    kind = schema.get("type")
    if kind == "null":
        return value is None
    if kind is not None and (not isinstance(value, kinds[kind]) or (kind in ("integer", "number") and value is True)):
        return False
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        if any(name not in value for name in schema.get("required", [])):
            return False
        for name, item in value.items():
            part = known.get(name, more)
            if part is False or (isinstance(part, dict) and not accepts(part, item, root)):
                return False
    if isinstance(value, list):
        return all(accepts(schema.get("items", {}), item, root) for item in value)
    if isinstance(value, str) and "pattern" in schema:
        return re.search(schema["pattern"], value) is not None
    if isinstance(value, (int, float)):
        return value >= schema.get("minimum", value) and value > schema.get("exclusiveMinimum", value - 1)
    return True


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        here = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return here.union(*(references(item) for item in value.values()))
    return set().union(*(references(item) for item in value)) if isinstance(value, list) else set()


def test_the_schema_is_complete_and_closed() -> None:
    schema = Study.model_json_schema()
    assert references(schema) == {f"#/$defs/{name}" for name in schema["$defs"]}
    assert schema["type"] == "object" and schema["additionalProperties"] is False
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())
    assert set(schema["required"]) == {"study", "backbone", "intermediate", "target"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_schema_accepts_the_shipped_studies(path: Path) -> None:
    schema = Study.model_json_schema()
    assert accepts(schema, yamlfile.load(path)[0], schema)


def test_the_schema_accepts_own_data_and_refuses_mistakes() -> None:
    schema = Study.model_json_schema()
    data, _ = yamlfile.loads(OWN, "x")
    assert accepts(schema, data, schema)
    small, _ = yamlfile.loads(SMALL, "x")
    assert accepts(schema, {**small, "seeds": [1, 2], "languages": "es", "target": [{"task": "e3c"}]}, schema)
    for wrong in ({"seeds": "x"}, {"targt": 1}, {"recipe": {"updats": 3}}, {"backbone": {"layers": 2}}, {"alpha": "x"}):
        assert not accepts(schema, {**small, **wrong}, schema), wrong


def test_there_are_shipped_studies_each_with_a_toy_profile() -> None:
    assert {path.stem for path in SHIPPED} >= {"demo", "clinical", "low-resource"}
    for path in SHIPPED:
        assert "toy" in yaml.safe_load(path.read_text("utf-8"))["profiles"], path.stem


@pytest.mark.parametrize(("path", "profile"), PROFILES)
def test_shipped_studies_load_with_every_profile(path: Path, profile: str | None) -> None:
    study = Study.load(path, profile)
    assert study.study == path.stem and study.question and study.primary
    if profile == "toy":
        assert study.demonstration and len(study.seeds) == 1


def test_a_shipped_study_is_found_by_name() -> None:
    assert shipped("clinical").is_file()
    with pytest.raises(InputError, match=r"no study file 'clinicl' \(did you mean 'clinical'\?\); shipped studies: "):
        shipped("clinicl")


def test_the_error_of_many_problems_holds_them_one_by_one(write: Any) -> None:
    with pytest.raises(ManyProblems) as caught:
        Study.load(write("seeds: 0\nalpha: 3\n"))
    assert len(caught.value.problems) == 2 and caught.value.exit_code == 2


def test_a_study_can_be_made_without_a_file() -> None:
    study = Study.model_validate(
        {"study": "s", "backbone": "bundled", "intermediate": {"g": "gum"}, "target": "e3c", "seeds": 2}
    )
    assert study.problems() == [] and study.seeds == (0, 1)
    assert Study.model_validate(study.model_dump()) == study
