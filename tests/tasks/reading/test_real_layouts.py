"""One reader for every layout of the real data, and the sizes that its notes tell of."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from waystation.tasks.examples import MultilabelExample, TaggingExample
from waystation.tasks.reading.readers import read_file
from waystation.tasks.reading.rows import Tally
from waystation.tasks.reading.tags import Names
from waystation.tasks.task import FormatName, Reader

pytestmark = pytest.mark.data
DATA = Path(os.environ.get("WAYSTATION_DATA") or Path(__file__).parents[4] / "shared" / "data")
UPOS = [
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM",
    "VERB", "X",
]  # fmt: skip
PEOPLE = ["PER", "ORG", "LOC"]
LER = [
    "AN", "EUN", "GRT", "GS", "INN", "LD", "LDS", "LIT", "MRK", "ORG", "PER", "RR", "RS", "ST", "STR", "UN", "VO", "VS",
    "VT",
]  # fmt: skip
GUM = [
    "abstract", "animal", "event", "object", "organization", "person", "place", "plant", "quantity", "substance",
    "time",
]  # fmt: skip
FOUR = ["A", "B", "C", "D"]


def conll(separator: str | None = "\t", **more: Any) -> dict[str, Any]:
    return {"kind": "conll", "separator": separator, **more}


def lettered() -> dict[str, Any]:
    """Exam questions: an object of options by letter."""
    return {"kind": "jsonl", "text": "question", "options": "options", "label": "answer_idx", "id": "realidx"}


COPA = {
    "kind": "jsonl", "text": "premise", "question": "question", "options": ["choice1", "choice2"], "label": "label",
    "phrases": {"cause": "What was the cause?", "effect": "What happened as a result?"}, "id": "idx",
}  # fmt: skip
CMMLU = {
    "kind": "table", "separator": ",", "text": "Question", "options": FOUR, "keys": FOUR, "label": "Answer",
}  # fmt: skip
VIMQ = {"kind": "json", "token": "sentence", "split": " ", "spans": "seq_label"}
IGAKU = {
    "kind": "jsonl", "text": "problem_text", "options": "choices", "keys": ["a", "b", "c", "d", "e", "f"],
    "label": "answer", "where": {"text_only": "true"}, "id": "problem_id",
}  # fmt: skip
FRENCH = {"kind": "json", "text": "question", "options": "answers", "label": "correct_answers", "id": "id"}
MRPC = {"kind": "table", "quoting": False, "text": "#1 String", "pair": "#2 String", "label": "Quality"}
PUBMEDQA = {
    "kind": "json", "id": "#", "text": "QUESTION", "pair": "CONTEXTS", "label": "final_decision",
}  # fmt: skip
TJAL = {"kind": "table", "separator": "<=>", "quoting": False, "text": "ementa_text", "label": "decision_label"}
NOTHING: dict[str, str | None] = {}

# What is read: files (a pattern of several is read in turn), format, reader, labels, rename; and what comes of it:
# examples, and the reader's notes.
LAYOUTS: list[tuple[str, FormatName, dict[str, Any], list[str], dict[str, str | None], int, dict[str, int]]] = [
    ("e_ner_edgar/all.csv", "tagging",
     {"kind": "table", "separator": ",", "header": False, "token": "0", "tag": "1", "scheme": "iob1"},
     ["BUSINESS", "COURT", "GOVERNMENT", "LEGISLATION/ACT", "LOCATION", "MISCELLANEOUS", "PERSON"],
     {"P": None, "LOC": "LOCATION"}, 11644, {}),
    ("wikigold/wikigold.conll.txt", "tagging", conll(" ", scheme="io"), [*PEOPLE, "MISC"], NOTHING, 1696, {}),
    ("wnut17/*train*", "tagging", conll(),
     ["corporation", "creative-work", "group", "location", "person", "product"], NOTHING, 3394, {}),
    ("gum_ner/gum-train.conll", "tagging", conll(), GUM, NOTHING, 2495, {}),
    ("gum_ner/gum-test.conll", "tagging", conll(), GUM, NOTHING, 1000, {}),
    ("sec_filings_ner/FIN5.txt", "tagging", conll(" ", scheme="io"), [*PEOPLE, "MISC"], NOTHING, 1164, {}),
    ("sec_filings_ner/FIN3.txt", "tagging", conll(" ", scheme="io"), [*PEOPLE, "MISC"], NOTHING, 303, {}),
    ("german_ler/ler_dev.conll", "tagging", conll(" "), LER, NOTHING, 2000, {}),
    ("german_ler/ler_test.conll", "tagging", conll(" "), LER, NOTHING, 2000, {}),
    ("lener_br/train/*.conll", "tagging", conll(" "),
     ["JURISPRUDENCIA", "LEGISLACAO", "LOCAL", "ORGANIZACAO", "PESSOA", "TEMPO"], NOTHING, 4000, {}),
    ("masakhaner1_amh/test.txt", "tagging", conll(" "), [*PEOPLE, "DATE"], NOTHING, 500, {}),
    ("masakhaner2/*/test.txt", "tagging", conll(" "), [*PEOPLE, "DATE"], NOTHING, 600 * 17, {"stray": 2}),
    ("masakhapos/*/test.txt", "tagging", conll(" ", scheme="plain"), UPOS, NOTHING, 400 * 17, {}),
    ("udpos_xtreme/train-en.tsv", "tagging", conll(scheme="plain"), UPOS, NOTHING, 8000, {}),
    ("pharmaconer_es/dev.txt", "tagging", conll(),
     ["NORMALIZABLES", "NOTNORMALIZABLES", "PROTEINAS"], NOTHING, 1046, {}),
    ("pharmaconer_es/test.txt", "tagging", conll(),
     ["NORMALIZABLES", "NOTNORMALIZABLES", "PROTEINAS"], NOTHING, 3403, {}),
    ("vimq_vi/dev.json", "tagging", VIMQ, ["SYMPTOM_AND_DISEASE", "drug", "medical_procedure"], NOTHING, 1000, {}),
    ("vimq_vi/test.json", "tagging", VIMQ, ["SYMPTOM_AND_DISEASE", "drug", "medical_procedure"], NOTHING, 1000, {}),
    ("vimq_vi/dev.json", "classification", {"kind": "json", "text": "sentence", "label": "sent_label"},
     ["method_diagnosis", "treatment", "severity", "cause"], NOTHING, 1000, {}),
    ("rudrec_ru/rudrec_annotated.json", "tagging",
     {"kind": "jsonl", "text": "text", "spans": "entities", "label": "entity_type", "cluster": "file_name"},
     ["Drugname", "Drugclass", "Drugform", "DI", "ADR", "Finding"], NOTHING, 3000, {}),
    ("cmmlu_zh/medical/test/*.csv", "choice", CMMLU, [], NOTHING, 1709, {}),
    ("cmmlu_zh/legal/test/*.csv", "choice", CMMLU, [], NOTHING, 1129, {}),
    ("cmmlu_zh/general/test/*.csv", "choice", CMMLU, [], NOTHING, 1040, {}),
    ("igakuqa_ja/2022/*.jsonl", "choice", IGAKU, [], NOTHING, 251, {"several answers": 47, "no options": 3}),
    ("frenchmedmcqa/dev.json", "choice", FRENCH, [], NOTHING, 164, {"several answers": 148}),
    ("frenchmedmcqa/test.json", "choice", FRENCH, [], NOTHING, 321, {"several answers": 301}),
    ("medical_mcq_en/medqa_usmle_4opt_test.jsonl", "choice", lettered(), [], NOTHING, 1273, {}),
    ("medical_mcq_en/medmcqa_test.jsonl", "choice", lettered(), [], NOTHING, 1500, {}),
    ("medical_mcq_en/mmlu_medical_test.jsonl", "choice", lettered(), [], NOTHING, 1089, {}),
    ("medical_mcq_en/afrimedqa_test.jsonl", "choice", lettered(), [], NOTHING, 174, {"empty options": 77}),
    ("commonsenseqa/dev_rand_split.jsonl", "choice",
     {"kind": "jsonl", "text": "question", "options": "choices.text", "keys": "choices.label", "label": "answerKey"},
     [], NOTHING, 1221, {}),
    ("cosmosqa/valid.csv", "choice",
     {"kind": "table", "separator": ",", "text": "context", "question": "question", "label": "label", "id": "id",
      "options": ["answer0", "answer1", "answer2", "answer3"]}, [], NOTHING, 1500, {}),
    ("copa_en/train-en.jsonl", "choice", COPA, [], NOTHING, 400, {}),
    ("copa_en/val-en.jsonl", "choice", COPA, [], NOTHING, 100, {}),
    ("xcopa/data/qu/test.qu.jsonl", "choice", COPA, [], NOTHING, 500, {}),
    ("lexglue_samples/case_hold.test1000.jsonl", "choice",
     {"kind": "jsonl", "text": "context", "options": "endings", "label": "label", "id": "id"}, [], NOTHING, 1000, {}),
    ("lexglue_samples/ledgar.test1000.jsonl", "classification",
     {"kind": "jsonl", "text": "text", "label": "label", "id": "id"}, ["lexglue_samples/ledgar.labels.txt"], NOTHING,
     1000, {}),
    ("lexglue_samples/unfair_tos.test1000.jsonl", "multilabel",
     {"kind": "jsonl", "text": "text", "label": "labels", "id": "id"}, ["lexglue_samples/unfair_tos.labels.txt"],
     NOTHING, 1000, {}),
    ("morfitt_fr/test.tsv", "multilabel",
     {"kind": "table", "quoting": False, "text": "abstract", "label": "specialities", "split": "|", "id": "identifier"},
     ["etiology", "genetics", "psychology", "surgery", "physiology", "pharmacology", "microbiology", "immunology",
      "virology", "chemistry", "veterinary", "parasitology"], NOTHING, 700, {}),
    ("pubmedqa/ori_pqal.json", "classification", PUBMEDQA, ["yes", "no", "maybe"], NOTHING, 1000, {}),
    ("tjal_court_decisions_pt/dataset.csv", "classification", TJAL, ["no", "partial", "yes"],
     {"prejudicada": None, "not-cognized": None, "conflito-competencia": None, "nan": None}, 371, {"left out": 29}),
    ("tjal_court_decisions_pt/dataset.csv", "classification", {**TJAL, "where": {"decision_label": ["yes", "no"]}},
     ["no", "yes"], NOTHING, 292, {}),
    ("legalbench_contract_nli/*/train.tsv", "classification",
     {"kind": "table", "quoting": False, "text": "text", "label": "answer"}, ["Yes", "No"], NOTHING, 112, {}),
    ("mrpc/msr-para-train.tsv", "classification", MRPC, ["0", "1"], NOTHING, 3576, {}),
    ("mrpc/msr-para-val.tsv", "classification", {**MRPC, "names": ["different", "same"]}, ["different", "same"],
     NOTHING, 500, {}),
    ("pawsx/dev-ko.tsv", "classification",
     {"kind": "table", "header": False, "quoting": False, "text": "0", "pair": "1", "label": "2"}, ["0", "1"],
     NOTHING, 1000, {}),
    ("nli4ct/train.json", "classification", {"kind": "nli4ct", "premises": "CT_json", "id": "#"},
     ["Entailment", "Contradiction"], NOTHING, 400, {}),
    ("nli4ct/dev.json", "classification", {"kind": "nli4ct", "premises": "CT_json", "cluster": "Primary_id"},
     ["Entailment", "Contradiction"], NOTHING, 200, {}),
    *[(f"ud_conllu/UD_{treebank}/*.conllu", "tagging", {"kind": "conllu", "tag": "upos"}, UPOS, NOTHING, count, {})
      for treebank, count in {
          "English-GUM": 600, "English-PUD": 300, "German-PUD": 300, "Hindi-PUD": 300, "Chinese-PUD": 300,
          "Thai-PUD": 300, "Turkish-PUD": 300, "Basque-BDT": 600, "Tamil-TTB": 120, "Telugu-MTG": 146,
          "Romanian-SiMoNERo": 491, "Czech-CLTT": 338,
      }.items()],
]  # type: ignore[assignment]  # fmt: skip


def files(pattern: str) -> list[Path]:
    found = sorted(DATA.glob(pattern))
    if not found:
        pytest.skip(f"no real data: {DATA / pattern}")
    return found


def declared(labels: list[str]) -> tuple[str, ...]:
    """Labels, or those of the file that stands in their place."""
    if labels and labels[0].endswith(".txt"):
        return tuple((DATA / labels[0]).read_text(encoding="utf-8").splitlines())
    return tuple(labels)


def read(layout: Any) -> tuple[list[Any], Tally]:
    pattern, format, fields, labels, rename, _, _ = layout
    paths, tally = files(pattern), Tally()
    used, names = Reader.model_validate(fields), Names(declared(labels), rename)
    return [example for path in paths for example in read_file(path, used, format, names, tally=tally)], tally


def labels_of(example: Any) -> Iterator[str]:
    match example:
        case TaggingExample():
            yield from (tag.removeprefix("B-") for tag in example.tags if tag != "O" and not tag.startswith("I-"))
        case MultilabelExample():
            yield from example.labels
        case _:
            yield example.label


@pytest.mark.parametrize("layout", LAYOUTS, ids=[f"{one[0].replace('/', '.')}-{one[1]}" for one in LAYOUTS])
def test_sizes(layout: Any) -> None:
    _, format, _, labels, _, count, notes = layout
    found, tally = read(layout)
    assert len(found) == count
    assert {name: number for name, number in tally.notes.items() if name != "overlapping"} == notes
    assert format == "choice" or {label for example in found for label in labels_of(example)} <= {*declared(labels)}
    assert len({example.id for example in found}) == len(found)


def of(pattern: str, format: FormatName) -> tuple[list[Any], Tally]:
    return read(next(layout for layout in LAYOUTS if layout[:2] == (pattern, format)))


def test_tables_of_tokens() -> None:
    found, tally = of("e_ner_edgar/all.csv", "tagging")
    assert sum(len(example.words) for example in found) == 403_621
    assert tally.documents == len({example.cluster for example in found}) == 52
    assert sum(example.words.count(",") for example in found) == 19_898  # written in quotes


def test_spans_that_overlap() -> None:
    for pattern, given, overlapping in (("vimq_vi/dev.json", 1647, 16), ("rudrec_ru/rudrec_annotated.json", 2816, 0)):
        found, tally = of(pattern, "tagging")
        kept = sum(tag.startswith("B-") for example in found for tag in example.tags)
        assert (kept + overlapping, tally.notes["overlapping"]) == (given, overlapping)


def test_answers_and_labels() -> None:
    found, _ = of("pubmedqa/ori_pqal.json", "classification")
    assert Counter(example.label for example in found) == {"yes": 552, "no": 338, "maybe": 110}
    official = json.loads((DATA / "pubmedqa" / "test_ground_truth.json").read_text())
    assert {example.id: example.label for example in found if example.id in official} == official
    found, _ = of("lexglue_samples/unfair_tos.test1000.jsonl", "multilabel")
    assert sum(not example.labels for example in found) == 887
    found, _ = of("medical_mcq_en/afrimedqa_test.jsonl", "choice")
    assert {len(example.options) for example in found} == {4, 5}
    medmcqa = (DATA / "medical_mcq_en" / "medmcqa_test.jsonl").read_text(encoding="utf-8").splitlines()
    found, _ = of("medical_mcq_en/medmcqa_test.jsonl", "choice")
    right = [example.options[example.answer] for example in found]
    assert right == [json.loads(line)["answer"] for line in medmcqa]
    found, _ = of("xcopa/data/qu/test.qu.jsonl", "choice")
    assert {example.question for example in found} == set(COPA["phrases"].values())


def test_premises_of_trials() -> None:
    found, _ = of("nli4ct/dev.json", "classification")
    assert sum("Secondary trial:" in example.text for example in found) == 60  # of type Comparison
    assert Counter(example.label for example in found) == {"Entailment": 100, "Contradiction": 100}


def test_own_tags_of_a_treebank() -> None:
    paths = files("ud_conllu/UD_English-GUM/*.conllu")
    rows = [line.split("\t") for line in paths[0].read_text(encoding="utf-8").splitlines() if "\t" in line]
    words = [cells for cells in rows if cells[0].isdecimal()]
    tags = Names(tuple({cells[4] for cells in words}))
    found: list[Any] = list(read_file(paths[0], Reader(kind="conllu", tag="xpos"), "tagging", tags))
    assert [tag for example in found for tag in example.tags] == [cells[4] for cells in words]
    assert len({example.cluster for example in found}) == 10
    assert found[0].id == "GUM_academic_exposure-1"


def test_brat_holds_every_entity() -> None:
    (folder,) = files("nerel_bio_ru/test")
    lines = [line for file in folder.glob("*.ann") for line in file.read_text(encoding="utf-8").splitlines()]
    kinds = tuple(sorted({line.split("\t")[1].split(" ")[0] for line in lines if line.startswith("T")}))
    assert len(kinds) == 37
    tally = Tally()
    found: list[Any] = list(read_file(folder, Reader(kind="brat"), "tagging", Names(kinds), tally=tally))
    assert len({example.cluster for example in found}) == 77
    kept = sum(tag.startswith("B-") for example in found for tag in example.tags)
    assert kept + tally.notes["overlapping"] + tally.notes["discontinuous"] == 6173


@pytest.mark.parametrize(
    ("folder", "language"), [("English", "en"), ("Spanish", "es"), ("French", "fr"), ("Basque", "eu")]
)
def test_xmi_equals_its_conversion_to_json(folder: str, language: str) -> None:
    (place,) = files(f"e3c/layer1_xml/{folder}")
    others = dict.fromkeys(["ACTOR", "BODYPART", "EVENT", "RML", "TIMEX3"])
    names = Names(("CLINENTITY",), others)
    found: list[Any] = list(read_file(place, Reader(kind="xmi"), "tagging", names))
    converted: list[Any] = []
    for path in files(f"e3c/jsonl/{language}/*.jsonl"):
        converted += read_file(path, Reader(kind="documents"), "tagging", names)
    documents = {example.cluster for example in found}
    assert len(documents) == 16
    assert found == sorted(found, key=lambda example: (example.cluster, int(example.id.rpartition("/")[2])))
    assert {example.id: example for example in found} == {
        example.id: example for example in converted if example.cluster in documents
    }
