"""`waystation predict`: a trained chain on new text gives what the study stored for the same text, with its places."""

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

import pyarrow.parquet as pq  # noqa: E402
from every import TARGETS, write_jsonl  # noqa: E402

from waystation.chains import find  # noqa: E402
from waystation.errors import InputError  # noqa: E402
from waystation.exchange import predict as module  # noqa: E402
from waystation.exchange import texts  # noqa: E402
from waystation.exchange.predict import predict  # noqa: E402
from waystation.tasks import sources  # noqa: E402
from waystation.tasks.reading.documents import words  # noqa: E402


def stored(finished, target, language="de"):
    """Columns of the predictions that the study stored, and the examples they are of."""
    _, made, store = finished
    chain = find(made, f"names+{target}.s0")
    columns = pq.read_table(store.folder(chain.evaluate) / f"language={language}.parquet").to_pydict()
    return columns, list(sources.read(made.study.find(target), "test", language, None))


def row(example, format):
    """The example as somebody would give it, without its answer."""
    if format == "tagging":
        return {"id": example.id, "words": list(example.words)}
    if format == "span":
        return {"id": example.id, "context": example.context, "question": example.question}
    more = {"options": list(example.options), "question": example.question} if format == "choice" else {}
    return {"id": example.id, "text": example.text, **more}


@pytest.mark.parametrize(("target", "format"), TARGETS.items())
def test_the_predictions_are_those_of_the_study(finished, tmp_path, monkeypatch, target, format):
    study, made, store = finished
    monkeypatch.setattr(module, "BLOCK", 4)  # several blocks
    columns, examples = stored(finished, target)
    path = write_jsonl(tmp_path / "texts.jsonl", [row(one, format) for one in examples])
    found = list(predict(study, f"names+{target}.s0", path, store.root))
    assert [one["id"] for one in found] == columns["id"]
    name = {"tagging": "tags", "multilabel": "labels", "classification": "label"}.get(format, "answer")
    given = [str(one[name]) if format == "choice" else one[name] for one in found]
    assert given == columns["pred"] and len(set(map(str, given))) > 1
    cutoff = store.manifest(find(made, f"names+{target}.s0").train)["cutoff"]
    assert (cutoff is not None) == (format in ("multilabel", "span"))
    if format == "multilabel":
        for one, ranking in zip(found, columns["ranking"], strict=True):
            assert sorted(one["probabilities"], key=one["probabilities"].get, reverse=True) == ranking
            assert {label for label, share in one["probabilities"].items() if share > cutoff} == set(one["labels"])
    elif format == "classification":
        for one in found:
            assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-5)
            assert max(one["probabilities"], key=one["probabilities"].get) == one["label"]
    elif format == "choice":
        assert [one["option"] for one in found] == [
            example.options[one["answer"]] for one, example in zip(found, examples, strict=True)
        ]
    elif format == "span":
        for one, example in zip(found, examples, strict=True):
            if one["answer"]:
                assert example.context[one["begin"] : one["end"]] == one["answer"]
            else:
                assert one["begin"] is one["end"] is None
        assert "" in columns["pred"]


def test_plain_lines_give_entities_by_their_places(finished, tmp_path):
    study, made, store = finished
    _, examples = stored(finished, "towns")
    whole = [[word for word in one.words if words(word) == [(0, len(word))]] for one in examples]
    lines = ["  " + "  ".join(sentence) for sentence in whole if sentence]
    path = tmp_path / "notes.txt"
    path.write_text("\n\n".join(lines), encoding="utf-8")
    found = list(predict(study, "names+towns.s0", path, store.root, made=made))
    tagged = predict(study, "names+towns.s0", [{"words": line.split()} for line in lines], store.root, made=made)
    assert [one["id"] for one in found] == [str(number) for number in range(1, len(lines) + 1)]
    kinds = set()
    for one, line, wanted in zip(found, lines, tagged, strict=True):
        covered = ["O"] * len(line.split())
        for span in one["spans"]:
            assert line[span["begin"] : span["end"]] == span["text"]
            first = len(line[: span["begin"]].split())
            size = len(span["text"].split())
            covered[first : first + size] = [span["label"]] * size
            kinds.add(span["label"])
        assert covered == [tag.partition("-")[2] or "O" for tag in wanted["tags"]]
    assert kinds


def test_conll_gives_a_tag_for_each_token(finished, tmp_path):
    study, made, store = finished
    columns, _ = stored(finished, "towns")
    source = Path(made.study.find("towns").path) / "test.de.tsv"
    path = tmp_path / "new.conll"
    path.write_text("-DOCSTART- O\n\n" + source.read_text(encoding="utf-8") + "\n\n", encoding="utf-8")
    found = list(predict(study, "names+towns.s0", path, store.root))
    assert [one["tags"] for one in found] == columns["pred"]


def test_rows_and_strings_from_python(finished):
    study, made, store = finished
    one, two = predict(study, "names+mood.s0", ["Anna moved", {"id": 7, "text": "Anna moved"}], store.root, made=made)
    assert (one["id"], two["id"]) == ("1", 7) and one["probabilities"] == two["probabilities"]
    (nothing,) = predict(study, "names+towns.s0", [" "], store.root, made=made)
    assert nothing == {"id": "1", "spans": []}
    assert list(predict(study, "names+towns.s0", [], store.root, made=made)) == []


@pytest.mark.parametrize("own", ["a7", 7, 1.5, True, ["a", 1], {"page": 3}])
def test_an_id_comes_back_as_it_was_given(finished, tmp_path, own):
    study, made, store = finished
    path = write_jsonl(tmp_path / "texts.jsonl", [{"id": own, "text": "Anna"}, {"id": None, "text": "Anna"}])
    found = predict(study, "names+mood.s0", path, store.root, made=made)
    assert [json.dumps(one["id"]) for one in found] == [json.dumps(own), '"2"']


NODES = ["1-2 vámonos", "1 vamos", "2 nos", "3-4 al", "3 a", "4 el", "5 mar_y_sol", "5.1 x", "", "# a", "1 #"]
REST = "\t_" * 8
TREE = "# text = vámonos al mar\n" + "".join(
    f"{node if node.startswith('# ') or not node else node.replace(' ', chr(9)).replace('_', ' ') + REST}\n"
    for node in NODES
)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("new.conllu", TREE, [["vamos", "nos", "a", "el", "mar y sol"], ["#"]]),
        ("new.conll", TREE, [["vamos", "nos", "a", "el", "mar y sol"], ["#"]]),
        ("new.conll", "# O\nAnna B-PER\n\nzu O\n", [["#", "Anna"], ["zu"]]),
        ("new.conll", "New York\tB-LOC\n10\u00a0000\tO\n\u3000\tO\n\u00a0\n \t\nzu\tO\n", None),
        ("new.conll", " Anna  O\n", [["Anna"]]),
    ],
)
def test_columns_are_read_as_tasks_read_them(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    words = words or [["New York", "10\u00a0000", "\u3000", "\u00a0"], ["zu"]]
    assert [row["words"] for _, row in texts.read(path)] == words


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("Anna\tO\n\tO\n", "new.conll:2: the token is empty"),
        (TREE + "2\tone\n", "no word of CoNLL-U: ten columns"),
    ],
)
def test_a_line_without_a_token_is_named(tmp_path, content, says):
    path = tmp_path / "new.conll"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as error:
        list(texts.read(path))
    assert str(error.value).startswith(f"{path}:") and says in str(error.value)


def test_a_token_that_is_a_blank_of_another_script_has_a_tag(finished, tmp_path):
    study, made, store = finished
    path = tmp_path / "new.conll"
    path.write_text("Anna\n\u3000\n\u00a0x\n", encoding="utf-8")
    (found,) = predict(study, "names+towns.s0", path, store.root, made=made)
    assert len(found["tags"]) == 3


@pytest.mark.parametrize(
    ("target", "rows", "says"),
    [
        (
            "mood",
            [{"txt": "a"}],
            "text 1: no field 'text' (did you mean 'txt'?): classification reads text, maybe pair",
        ),
        ("quiz", [{"text": "a", "options": ["b"]}], "text 1: field 'options' has 1 of them: give two or more"),
        ("quiz", [{"text": "a", "options": "b"}], "text 1: field 'options' is not a list of texts"),
        ("places", [{"context": "a", "question": "b"}, {"context": "a"}], "text 2: no field 'question'"),
        ("towns", [{"words": ["a", 3]}], "text 1: field 'words' is 3, not a string"),
        ("towns", [{"id": ["\ud800"], "words": ["a"]}], "text 1: field 'id' holds half a surrogate pair"),
    ],
)
def test_a_row_that_lacks_something_is_named(finished, target, rows, says):
    study, made, store = finished
    with pytest.raises(InputError) as error:
        list(predict(study, f"names+{target}.s0", rows, store.root, made=made))
    assert str(error.value).startswith(says)


def test_the_line_of_a_file_is_named(finished, tmp_path):
    study, made, store = finished
    path = tmp_path / "texts.jsonl"
    path.write_text(json.dumps({"text": "a"}) + "\n" + json.dumps({"words": ["a"]}) + "\n")
    with pytest.raises(InputError, match=rf"{path}:2: no field 'text'"):
        list(predict(study, "names+mood.s0", path, store.root, made=made))
