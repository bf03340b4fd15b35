"""`waystation import`: predictions from elsewhere are one more chain, scored and compared as the study's own."""

import io
import json
import re
import shutil
from dataclasses import asdict

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

import pyarrow.parquet as pq  # noqa: E402
from every import TARGETS, write_jsonl  # noqa: E402
from rich.console import Console  # noqa: E402

from waystation import gains, plan  # noqa: E402
from waystation.chains import find, imported  # noqa: E402
from waystation.errors import InputError  # noqa: E402
from waystation.exchange.imported import add  # noqa: E402
from waystation.report.page import write  # noqa: E402
from waystation.report.tables import explain  # noqa: E402
from waystation.report.terminal import print_gains  # noqa: E402
from waystation.retention import prune  # noqa: E402
from waystation.store import Store  # noqa: E402


@pytest.fixture
def study(finished, tmp_path):
    """(study, plan, a store of its own)."""
    asked, made, store = finished
    shutil.copytree(store.root, tmp_path / "store")
    return asked, made, Store(tmp_path / "store")


def ours(finished, target, language, chain="names"):
    _, made, store = finished
    folder = store.folder(find(made, f"{chain}+{target}.s0").evaluate)
    return pq.read_table(folder / f"language={language}.parquet").to_pydict()


def write_ours(folder, finished, target, languages=("en", "de"), backwards=True):
    """The study's own predictions as somebody else's: ids and predictions, in another order."""
    for code in languages:
        columns = ours(finished, target, code)
        rows = [
            {"id": own, "prediction": pred, **({"ranking": columns["ranking"][at]} if "ranking" in columns else {})}
            for at, (own, pred) in enumerate(zip(columns["id"], columns["pred"], strict=True))
        ]
        write_jsonl(folder / f"test-{code}.jsonl", rows[::-1] if backwards else rows)
    return folder


@pytest.mark.parametrize("target", TARGETS)
def test_the_same_predictions_are_the_same_scores(finished, study, tmp_path, target):
    asked, made, store = study
    found = add(asked, f"copy+{target}", write_ours(tmp_path / "given" / target, finished, target), store.root)
    assert found.languages == {"en": 12, "de": 9} and found.missing == found.extra == ()
    for code in ("en", "de"):
        stored = pq.read_table(store.folder(found.artifact) / f"language={code}.parquet")
        assert stored.to_pydict() == ours(finished, target, code)
    shown = gains(asked, store.root, made=made)
    rows = {
        name: [row for row in shown.rows if row.intermediate == name and row.target == target]
        for name in ("copy", "names")
    }
    assert rows["copy"] and len(rows["copy"]) == len(rows["names"])
    for one, other in zip(rows["copy"], rows["names"], strict=True):
        assert "fixed system" in one.marks and "fixed system" not in other.marks
        differing: dict = {"intermediate": "", "marks": (), "low": None, "high": None, "estimand": None}
        assert asdict(one) | differing == asdict(other) | differing
        assert one.low <= one.gain <= one.high and "over test examples" in one.estimand and other.low is None
    assert {one.gain for one in shown.averages if one.intermediate == "copy"} == {
        one.gain for one in shown.averages if one.intermediate == "names" and one.target == target
    }
    assert {score.seed for score in shown.scores if score.chain == f"copy+{target}"} == {None}


def test_it_stays_and_is_shown(finished, study, tmp_path):
    asked, made, store = study
    found = add(asked, "gpt+mood", write_ours(tmp_path / "given", finished, "mood"), store.root)
    freed = prune(store, [made], None, unused=True, dry_run=False)
    assert freed.unused.count == 0 and store.has(found.artifact) and store.verify() == []
    console = Console(width=100, file=io.StringIO())
    shown = gains(asked, store.root, made=made)
    print_gains(console, asked, shown)
    printed = console.file.getvalue()
    assert "gpt [" in printed and "imported predictions of one system" in printed
    assert "95 % intervals, this system against the mean of these runs of the baseline, over test examples" in printed
    assert re.search(r"^gpt, \w+, \w+: .*[+-]\d+\.\d \([+-]\d+\.\d to [+-]\d+\.\d\)", printed, re.MULTILINE)
    page = write(asked, shown, store, made, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "gpt" in page and "fixed system" in page
    freed = prune(store, [plan(asked.model_copy(update={"target": asked.target[:1]}))], None, unused=True, dry_run=True)
    assert found.artifact in freed.listed  # a study without that target does not need it


def test_a_second_import_takes_the_place_of_the_first(finished, study, tmp_path):
    asked, made, store = study
    first = add(asked, "gpt+mood", write_ours(tmp_path / "one", finished, "mood"), store.root)
    assert add(asked, "gpt+mood", tmp_path / "one", store.root).artifact == first.artifact
    columns = ours(finished, "mood", "de")
    write_jsonl(tmp_path / "two" / "test-de.jsonl", [{"id": own, "prediction": "bad"} for own in columns["id"]])
    second = add(asked, "gpt+mood", tmp_path / "two", store.root)
    assert second.missing == ("en",) and [one.evaluate for one in imported(made, store)] == [second.artifact]
    rows = [row for row in gains(asked, store.root, made=made).rows if row.intermediate == "gpt"]
    assert {row.language for row in rows} == {"de"}
    share = 100 * columns["gold"].count("bad") / len(columns["gold"])
    assert next(row.score for row in rows if row.metric == "accuracy") == pytest.approx(share)
    assert not [one for one in gains(asked, store.root, made=made).averages if one.intermediate == "gpt"]


def test_a_system_that_says_the_same_of_all_is_at_the_floor(finished, study, tmp_path):
    asked, made, store = study
    columns = ours(finished, "mood", "de")
    for name, says in (("usual", [max(columns["gold"], key=columns["gold"].count)] * 9), ("right", columns["gold"])):
        rows = [{"id": own, "prediction": one} for own, one in zip(columns["id"], says, strict=True)]
        write_jsonl(tmp_path / name / "test-de.jsonl", rows)
        add(asked, f"{name}+mood", tmp_path / name, store.root, made=made)
    found = [row for row in gains(asked, store.root, made=made).rows if row.metric == "accuracy"]
    marks = {row.intermediate: "at the floor" in row.marks for row in found if row.language == "de"}
    assert marks["usual"] and not marks["right"]
    assert explain("at the floor") and explain("own threshold")


def test_the_official_layouts(finished, study, tmp_path):
    asked, _, store = study
    folder = tmp_path / "submission"
    tags, labels, answers = (ours(finished, target, "de") for target in ("towns", "mood", "places"))
    for target in ("towns", "mood", "places"):
        (folder / target).mkdir(parents=True)
    blocks = ("".join(f"{tag}\n" for tag in sentence) for sentence in tags["pred"])
    (folder / "towns" / "test-de.tsv").write_text("\n".join(blocks), encoding="utf-8")
    (folder / "mood" / "test-de.tsv").write_text("".join(f"{label}\n" for label in labels["pred"]), encoding="utf-8")
    content = json.dumps(dict(zip(answers["id"], answers["pred"], strict=True)))
    (folder / "places" / "test-de.json").write_text(content, encoding="utf-8")
    (folder / "places" / "test-xx.json").write_text("{}", encoding="utf-8")
    for target, columns in (("towns", tags), ("mood", labels), ("places", answers)):
        found = add(asked, f"copy+{target}", folder, store.root)
        stored = pq.read_table(store.folder(found.artifact) / "language=de.parquet").to_pydict()
        assert stored == columns and found.missing == ("en",)
        assert found.extra == (("xx",) if target == "places" else ())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gpt", "--chain gpt: write SYSTEM+TARGET; the study's targets: towns"),
        ("gpt+moods", "write SYSTEM+TARGET (did you mean 'mood'?)"),
        ("names+mood", "'names' is an arm of the study; give the system another name"),
        ("none+mood", "'none' is an arm of the study"),
        ("a b+mood", "'a b' is no name"),
    ],
)
def test_names_that_are_taken_or_wrong(finished, tmp_path, name, says):
    asked, made, store = finished
    with pytest.raises(InputError) as error:
        add(asked, name, tmp_path, store.root, made=made)
    assert says in str(error.value)


def change(rows, format):
    """Ways to spoil predictions, with what is said of them; ``rows`` change in place."""
    first = rows[0]
    yield lambda: rows.pop(), "no prediction for 1 of 9 ids, first '"
    yield lambda: rows.append({**first, "id": first["id"] + "x"}), "(did you mean '"
    yield lambda: rows.append(first), "comes twice; keep one prediction"
    yield lambda: first.pop("prediction"), "jsonl:1: no field 'prediction'"
    wrong = {
        "tagging": [(["O"], "1 tags for"), ("O", "not a list")],
        "classification": [("goood", "'goood' is neither a label of the task")],
        "multilabel": [(["persn"], "(did you mean 'person'?)"), ("person", "not a list")],
        "choice": [
            (7, "'7' is no option: count from 0 to"),
            ("first", "'first' is no option"),
            ("1" * 5000, f"'{'1' * 40}' is no option"),
        ],
        "span": [(["a"], "not a string")],
    }
    for value, says in wrong[format]:
        yield lambda value=value: first.update(prediction=value), says


@pytest.mark.parametrize(("target", "format"), TARGETS.items())
def test_what_does_not_fit_is_named_with_its_line(finished, tmp_path, target, format):
    asked, made, store = finished
    before = store.identities()
    columns = ours(finished, target, "de")

    def rows():
        return [{"id": one, "prediction": pred} for one, pred in zip(columns["id"], columns["pred"], strict=True)]

    for at in range(len(list(change(rows(), format)))):
        given = rows()
        spoil, says = list(change(given, format))[at]
        spoil()
        path = write_jsonl(tmp_path / str(at) / "test-de.jsonl", given)
        with pytest.raises(InputError) as error:
            add(asked, f"gpt+{target}", path.parent, store.root, made=made)
        assert says in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)
    assert store.identities() == before


@pytest.mark.parametrize(
    ("target", "name", "content", "says"),
    [
        ("mood", "test-de.tsv", "good\n", "1 lines for 9 examples; give one for each, in their order"),
        ("towns", "test-de.tsv", "O\nO\n\nO\n", "2 sentences for 9 examples"),
        ("quiz", "test-de.tsv", "1\n", "lines cannot hold predictions of choice; write test-LANG.jsonl"),
        ("mood", "test-de.json", "{}", "JSON of answers by id is for questions"),
        ("mood", "test-xx.tsv", "", "its languages are xx, the target's en, de"),
        ("mood", "pred-de.tsv", "", "no test-LANG.jsonl, .tsv or .json in it, nor in its folder mood"),
    ],
)
def test_files_that_do_not_fit(finished, tmp_path, target, name, content, says):
    asked, made, store = finished
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as error:
        add(asked, f"gpt+{target}", tmp_path, store.root, made=made)
    assert says in str(error.value)
