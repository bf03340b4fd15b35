"""The medical and legal tasks of the catalog: all there, complete, and their readers fit what is published."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from waystation import languages
from waystation.tasks import checks, known, sources
from waystation.tasks.fetching import upstream
from waystation.tasks.labels import UNSEEN
from waystation.tasks.task import Reader, Task

DATA = Path(os.environ.get("WAYSTATION_DATA") or Path(__file__).parents[3] / "shared" / "data")
MEDICAL = [
    "bc5cdr",
    "ncbi-disease",
    "bc2gm",
    "pubmed_qa",
    "pubmed_qa_artificial",
    "medmcqa",
    "medqa_usmle",
    "mmlu_medical",
    "afrimedqa",
    "scifact",
    "healthver",
    "nli4ct",
    "mednli",
    "e3c",
    "e3c-documents",
    "e3c-xmi",
    "pharmaconer",
    "cantemist",
    "distemist",
    "nerel_bio",
    "rudrec",
    "vimq",
    "vimq-intents",
    "morfitt",
    "frenchmedmcqa",
    "head_qa",
    "casimedicos",
    "cmmlu-medical",
    "igakuqa",
    "tico19",
    "simonero",
]
LEGAL = [
    "case_hold",
    "ledgar",
    "unfair_tos",
    "ecthr_a",
    "ecthr_b",
    "scotus",
    "contract_nli",
    "legalbench_contract_nli",
    "cuad",
    "eurlex57k",
    "policyqa",
    "e_ner",
    "sec_filings",
    "in_legal_ner",
    "multi_eurlex",
    "online_tos_unfair",
    "online_tos_topics",
    "covid19_emergency",
    "mapa_coarse",
    "mapa_fine",
    "german_ler",
    "german_ler-coarse",
    "lener_br",
    "legalnero",
    "greek_legal_ner",
    "swiss_judgment",
    "bcd_judgment",
    "bcd_unanimity",
    "tjal_judgment",
    "tjal_unanimity",
    "cmmlu-legal",
    "cltt",
]
TASKS = [known.find(task) for task in (*MEDICAL, *LEGAL)]
IDS = [task.id for task in TASKS]


def readers(task: Task) -> Iterator[Reader]:
    yield from (one for one in (task.reader, task.upstream and task.upstream.reader) if one is not None)


def test_every_task_of_the_two_domains_is_there() -> None:
    for domain, named in (("medical", MEDICAL), ("legal", LEGAL)):
        own = {task.id for task in known.catalog().values() if task.domain == domain and task.source != "mini"}
        assert own == set(named)


@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_records_are_whole(task: Task) -> None:
    assert task.licence != "unknown" and task.citation and task.notes and task.url
    assert (task.revision is not None) == (task.verified == "files")  # what was read has a commit; nothing else has
    assert all(other != task.id and other in known.catalog() for other in task.same_source)
    assert all(code in languages.table() for split in task.all_splits() for code in task.languages(split))
    assert task.source == "manual" or task.upstream is not None or task.id in ("e3c", "e3c-documents", "tico19")
    if task.verified == "never" and task.upstream is not None:
        assert task.upstream.verified == "never" and "nverified" in task.notes


@pytest.mark.parametrize("task", [one for one in TASKS if one.upstream], ids=[one.id for one in TASKS if one.upstream])
def test_upstream_is_complete(task: Task) -> None:
    assert task.upstream is not None
    names = [name for part in upstream.splits(task).values() for files in part.paths().values() for name in files]
    match task.upstream.kind:
        case "hub" | "hub_parquet_branch":
            assert all(re.fullmatch(r"[\w-]+/(train|validation|dev|test)", name) for name in names)
        case "github" | "archive":
            pinned = task.upstream.revision or re.findall("[0-9a-f]{40}", task.upstream.url or "")[0]
            assert task.revision is not None and task.revision.endswith(pinned)
    if task.upstream.kind != "archive":
        assert all(one.kind not in (*upstream.FOLDERS, "nli4ct") for one in readers(task)), "folders need an archive"


@pytest.mark.parametrize("task", TASKS, ids=IDS)
def test_numbers_of_labels_mean_what_the_task_declares(task: Task) -> None:
    for reader in readers(task):
        if reader.names and task.format == "tagging":
            tags = {f"{prefix}-{label}" for label in task.labels for prefix in "BI"}
            assert reader.names[0] == "O" and {*reader.names[1:]} == tags and len(reader.names) == 1 + len(tags)
        elif reader.names:
            assert reader.names == task.labels


def test_facts_that_studies_lean_on() -> None:
    assert all(known.find(task).sensitive for task in ("mednli", "mapa_coarse", "mapa_fine"))
    assert {*known.find("unfair_tos").labels} < {*known.find("online_tos_topics").labels}
    assert len(known.find("ledgar").labels) == 100 and len(known.find("multi_eurlex").labels) == 21
    for task in ("online_tos_unfair", "online_tos_topics", "covid19_emergency", "mapa_coarse", "multi_eurlex", "e3c"):
        assert "en" in known.find(task).languages("train")  # true zero-shot
    fine, coarse = known.find("german_ler"), known.find("german_ler-coarse")
    assert {coarse.rename.get(label, label) for label in fine.labels} == {*coarse.labels}
    shared = [task.id for task in TASKS if "tjal_judgment" in (task.id, *task.same_source)]
    assert shared == ["bcd_judgment", "bcd_unanimity", "tjal_judgment", "tjal_unanimity"]


# Rows as the sources publish them (columns, numbers for names), and the example that the task's record makes of the
# first: its text or words, and its label, tags, labels, right option or answers. ``classes``: names that the schema
# itself declares for a column.
LEXTREME = {"input": "t", "language": "de"}
QUESTION = {"id": "1", "question": "q"}
PUBLISHED: list[tuple[str, dict[str, Any], dict[str, list[str]], Any]] = [
    ("legalnero", {"input": ["a", "b", "c"], "label": [9, 10, 0], "language": "ro"}, {}, ("B-PER", "I-PER", "O")),
    ("greek_legal_ner", {"input": ["a", "b"], "label": [5, 16]}, {}, ("B-LEG-REFS", "B-LOCATION-NAT")),
    ("mapa_coarse", {"tokens": ["a", "b"], "coarse_grained": ["B-TIME", "O"], "language": "de", "file_name": "f"}, {},
     ("B-TIME", "O")),
    ("mapa_fine",
     {"tokens": ["a", "b"], "fine_grained": ["B-FAMILY NAME", "I-FAMILY NAME"], "language": "de", "file_name": "f"}, {},
     ("B-FAMILY NAME", "I-FAMILY NAME")),
    ("online_tos_topics", {**LEXTREME, "label": [8, 0]}, {}, ("Arbitration", "Privacy included")),
    ("online_tos_unfair", {**LEXTREME, "label": 1},
     {"label": ["potentially_unfair", "clearly_unfair", "clearly_fair", "untagged"]}, "clearly_unfair"),
    ("covid19_emergency", {**LEXTREME, "label": [7], "language": "nb"}, {}, ("Government oversight",)),
    ("covid19_emergency", {**LEXTREME, "label": [], "language": "nb"}, {}, ()),
    ("swiss_judgment", {**LEXTREME, "label": 1}, {"label": ["dismissal", "approval"]}, "approval"),
    ("bcd_judgment", {"input": "t", "label": 2}, {"label": ["no", "partial", "yes"]}, "yes"),
    ("bcd_unanimity", {"input": "t", "label": 0}, {"label": ["unanimity", "not-unanimity"]}, "unanimity"),
    ("multi_eurlex", {"text": "t", "labels": [20, 0]}, {}, ("100149", "100155")),
    ("multi_eurlex", {"text": "t", "labels": ["100160"]}, {}, ("100160",)),
    ("ecthr_a", {"text": ["t", "u"], "labels": [1, 0]}, {"labels": ["2", "P1-1"]}, ("2", "P1-1")),
    ("scotus", {"text": "t", "label": 9}, {"label": [str(number) for number in range(1, 14)]}, "federalism"),
    ("ledgar", {"text": "t", "label": 1}, {"label": ["Adjustments", "Agreements"]}, "Agreements"),
    ("unfair_tos", {"text": "t", "labels": [1, 0]}, {"labels": ["Limitation of liability", "Unilateral termination"]},
     ("Limitation of liability", "Unilateral termination")),
    ("case_hold", {"context": "t", "endings": ["a", "b", "c"], "label": 2}, {"label": ["0", "1", "2"]}, 2),
    ("contract_nli", {"premise": "t", "hypothesis": "h", "label": 0},
     {"label": ["contradiction", "entailment", "neutral"]}, "contradiction"),
    ("cuad", {**QUESTION, "context": "some text", "title": "c", "answers": {"text": ["text"], "answer_start": [5]}}, {},
     (("text", 5),)),
    ("cuad", {**QUESTION, "context": "some text", "title": "c", "answers": {"text": [], "answer_start": []}}, {}, ()),
    ("in_legal_ner",
     {"data": {"text": "Mr. Rao spoke."},
      "annotations": [{"result": [{"value": {"start": 4, "end": 7, "text": "Rao", "labels": ["JUDGE"]}}]}]}, {},
     ("O", "O", "B-JUDGE", "O", "O")),
    ("pubmed_qa_artificial",
     {"pubid": 7, "question": "q", "context": {"contexts": ["a", "b"]}, "final_decision": "no", "long_answer": "-"}, {},
     "no"),
    ("medmcqa", {**QUESTION, "opa": "1", "opb": "2", "opc": "3", "opd": "4", "cop": 3}, {"cop": ["a", "b", "c", "d"]},
     3),
    ("medqa_usmle",
     {"id": "x", "sent1": "q", "sent2": "", "ending0": "1", "ending1": "2", "ending2": "3", "ending3": "4", "label": 0},
     {}, 0),
    ("scifact", {"claim_id": 1, "claim": "c", "title": "t", "abstract": ["a", "b"], "verdict": "NEI"}, {}, "NEI"),
    ("head_qa",
     {"qtext": "q", "ra": 5, "answers": [{"aid": 3, "atext": "x"}, {"aid": 5, "atext": "y"}, {"aid": 4, "atext": "z"}]},
     {}, 1),
    ("casimedicos",
     {"full_question": "q", "options": {"1": "a", "2": "b", "3": "c", "4": "d", "5": None}, "correct_option": 3}, {},
     2),
    ("mednli", {"sentence1": "p", "sentence2": "h", "gold_label": "neutral"}, {}, "neutral"),
]  # fmt: skip


def published(task: Task, folder: Path, rows: list[dict[str, Any]], classes: dict[str, list[str]]) -> Task:
    """The task with files in a folder that hold these rows, for every split that it has upstream."""
    reader = (task.upstream.reader if task.upstream is not None else None) or task.reader
    splits = {name: part.model_copy(update={"rows": None}) for name, part in upstream.splits(task).items()}
    splits = splits or task.splits
    for part in splits.values():
        for name in (file for files in part.paths().values() for file in files):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write(folder / name, rows, classes, parquet=reader is not None and reader.kind == "parquet")
    return task.model_copy(update={"splits": splits, "upstream": None, "reader": reader, "path": str(folder)})


def write(path: Path, rows: list[dict[str, Any]], classes: dict[str, list[str]], parquet: bool) -> None:
    if not parquet:
        assert not classes
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {name: {"_type": "ClassLabel", "names": names} for name, names in classes.items()}
    table = pa.Table.from_pylist(rows)
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), str(path)
    )


@pytest.mark.parametrize(
    ("task", "row", "classes", "gold"), PUBLISHED, ids=[f"{index}-{one[0]}" for index, one in enumerate(PUBLISHED)]
)
def test_records_read_what_is_published(
    task: str, row: dict[str, Any], classes: dict[str, list[str]], gold: Any, tmp_path: Path
) -> None:
    used = published(known.find(task), tmp_path, [row], classes)
    split = used.all_splits()[-1]
    language = row.get("language") or used.languages(split)[0]
    (example,) = sources.read(used, split, language, None)
    of = {"tagging": "tags", "classification": "label", "multilabel": "labels", "choice": "answer", "span": "answers"}
    assert getattr(example, of[used.format]) == gold
    if used.cluster is not None:
        assert example.cluster


def test_rows_of_other_languages_are_passed_over(tmp_path: Path) -> None:
    rows = [{**LEXTREME, "label": [number], "language": code} for number, code in enumerate(("de", "en", "it", "en"))]
    task = published(known.find("online_tos_topics"), tmp_path, rows, {})
    found: list[Any] = list(sources.read(task, "test", "en", None))
    assert [example.labels for example in found] == [("Unilateral change",), ("Jurisdiction",)]


def test_concepts_of_the_training_laws_are_the_labels(tmp_path: Path) -> None:
    laws = {"train": [["b", "a"], ["a"]], "test": [["b", "z", "a"], ["z"], ["b"]]}
    task = published(known.find("eurlex57k"), tmp_path, [], {})
    for split, concepts in laws.items():
        rows = [
            {"celex_id": f"{n}", "title": "t", "text": "x", "eurovoc_concepts": one} for n, one in enumerate(concepts)
        ]
        write(tmp_path / "default" / split, rows, {}, parquet=True)
    task = sources.resolved(task, None)
    assert task.labels == ("a", "b", UNSEEN)
    found: list[Any] = list(sources.read(task, "test", "en", None))
    assert [example.labels for example in found] == [("a", "b", UNSEEN), (UNSEEN,), ("b",)]


def test_tags_in_columns_parted_by_blanks(tmp_path: Path) -> None:
    """CANTEMIST on the hub: the word first, the tag last, what lies between is not read."""
    task = published(known.find("cantemist"), tmp_path, [], {})
    text = "un\tcc1\t0_2\tO\ntumor\tcc1\t3_8\tB-MORFOLOGIA_NEOPLASIA\n\nno  O\n"
    (tmp_path / "test.conll").write_text(text.replace("no  O\n", "fin\tcc1\t9_12\tO\n"), encoding="utf-8")
    found: list[Any] = list(sources.read(task, "test", "es", None))
    assert [(example.words, example.tags) for example in found] == [
        (("un", "tumor"), ("O", "B-MORFOLOGIA_NEOPLASIA")), (("fin",), ("O",)),
    ]  # fmt: skip


# Examples of every split and language of the real data, as its notes count them, and how many of the declared labels
# are seen; the first 16 documents a language of e3c-xmi have no count of sentences there.
SIZES: dict[str, dict[str, int]] = {
    "e3c": {
        **{"train en": 669, "train es": 455, "train fr": 504, "train eu": 1361},
        **{"test en": 851, "test es": 679, "test fr": 605, "test eu": 1765},
    },
    "e3c-documents": {
        **{"train en": 669, "train es": 455, "train fr": 504, "train eu": 1361},
        **{"test en": 851, "test es": 679, "test fr": 605, "test eu": 1765},
    },
    "e3c-xmi": {"test en": 428, "test es": 236, "test fr": 222, "test eu": 807},
    "bc5cdr": {"train en": 4560, "test en": 4797},
    "ncbi-disease": {"train en": 5424, "validation en": 923, "test en": 940},
    "bc2gm": {"train en": 2519},
    "pubmed_qa": {"train en": 500, "test en": 500},
    "medmcqa": {"train en": 1500},
    "medqa_usmle": {"test en": 1273},
    "mmlu_medical": {"test en": 1089},
    "afrimedqa": {"test en": 174},
    "healthver": {"train en": 1917, "test en": 1823},
    "nli4ct": {"train en": 400, "validation en": 200},
    "pharmaconer": {"validation es": 1046, "test es": 3403},
    "nerel_bio": {"test ru": 966},
    "rudrec": {"test ru": 3000},
    "vimq": {"validation vi": 1000, "test vi": 1000},
    "vimq-intents": {"validation vi": 1000, "test vi": 1000},
    "morfitt": {"test fr": 700},
    "frenchmedmcqa": {"validation fr": 312 - 148, "test fr": 622 - 301},
    "cmmlu-medical": {"validation zh": 40, "test zh": 1709},
    "igakuqa": {"test ja": 301 - 47 - 3},
    "simonero": {"test ro": 491},
    "case_hold": {"train en": 1000},
    "ledgar": {"train en": 1000},
    "unfair_tos": {"train en": 889, "test en": 111},
    "legalbench_contract_nli": {"train en": 112},
    "policyqa": {"train en": 2745, "test en": 1006},
    "e_ner": {"train en": 11644},
    "sec_filings": {"train en": 1164, "test en": 303},
    "german_ler": {"validation de": 2000, "test de": 2000},
    "german_ler-coarse": {"validation de": 2000, "test de": 2000},
    "lener_br": {"train pt": 4000, "validation pt": 1176, "test pt": 1389},
    "tjal_judgment": {"test pt": 228 + 79 + 64},
    "tjal_unanimity": {"test pt": 220},
    "cmmlu-legal": {"validation zh": 25, "test zh": 1129},
    "cltt": {"test cs": 338},
}
SEEN = {"ledgar": 97, "nerel_bio": 37, "simonero": 15, "cltt": 15}
UNLIKE_UPSTREAM = {"bc2gm", "healthver", "policyqa", "e3c-xmi"}
PIECES = {"medmcqa", "nli4ct", "rudrec", "morfitt", "case_hold", "ledgar", "unfair_tos", "german_ler",
          "german_ler-coarse", "lener_br", "tjal_judgment", "tjal_unanimity"}  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_labels_of_the_real_data(name: str) -> None:
    if not DATA.is_dir():
        pytest.skip(f"no real data: {DATA}")
    task = known.find(name)
    rows = checks.check(task, DATA)
    assert {f"{row['split']} {row['language']}": row["examples"] for row in rows} == SIZES[name]
    if task.labels:
        seen = {label for row in rows for label, count in row["labels"].items() if count}
        assert seen <= {*task.labels} and len(seen) == SEEN.get(name, len(task.labels))
    assert any(row["sample"] for row in rows) == (name in UNLIKE_UPSTREAM | PIECES)
    if name == "e3c-xmi":
        assert {row["clusters"] for row in rows} == {16}


@pytest.mark.data
def test_every_task_that_has_data_is_counted() -> None:
    if not DATA.is_dir():
        pytest.skip(f"no real data: {DATA}")
    assert {task.id for task in TASKS if checks.at_hand(task, DATA)} == {*SIZES, "tico19"}
