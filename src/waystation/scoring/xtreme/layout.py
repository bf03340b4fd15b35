"""What an XTREME submission consists of: a file for each task and language, ``TASK/test-LANG.tsv`` or ``.json``.

- labels (``xnli``, ``pawsx``): a label a line
- numbers (``tatoeba``): for each sentence that asks the number, from 0, of the sentence found
- tags (``panx``, ``udpos``): a tag a line, an empty line between sentences
- pairs (``bucc2018``): the ids of two sentences, a tab between
- answers (``xquad``, ``mlqa``, ``tydiqa``): a JSON object of answers by question id; references are SQuAD's JSON
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["labels", "numbers", "tags", "pairs", "answers"]


@dataclass(frozen=True)
class Task:
    """One task: how its files are read, its languages, the labels or tags it has, and official test sizes.

    ``sizes``: lines, sentences or questions by language; "" for all other languages; absent where they are not known.
    """

    name: str
    kind: Kind
    languages: tuple[str, ...]
    labels: tuple[str, ...] = ()
    sizes: tuple[tuple[str, int], ...] = ()

    def file(self, folder: Path, language: str) -> Path:
        """Where the predictions or the references of a language lie."""
        return folder / self.name / f"test-{language}.{'json' if self.kind == 'answers' else 'tsv'}"

    def size(self, language: str) -> int | None:
        """Official number of test items, None where it is not known."""
        sizes = dict(self.sizes)
        return sizes.get(language, sizes.get(""))


def _task(name: str, kind: Kind, languages: str, labels: str = "", sizes: str = "") -> Task:
    pairs = (pair.rpartition(" ") for pair in sizes.split(", ") if pair)
    each = tuple((code, int(size)) for codes, _, size in pairs for code in codes.split() or [""])
    return Task(name, kind, tuple(languages.split()), tuple(labels.split()), each)


TASKS = {
    task.name: task
    for task in (
        _task("pawsx", "labels", "de en es fr ja ko zh", "0 1", "2000"),
        _task(
            *("xnli", "labels", "ar bg de el en es fr hi ru sw th tr ur vi zh"),
            *("contradiction entailment neutral", "5010"),
        ),
        # Sizes of udpos are those of the copy on the hub, but for de, el, fr, ru and zh, where that mixes in others.
        _task(
            *("udpos", "tags"),
            "af ar bg de el en es et eu fa fi fr he hi hu id it ja kk ko mr nl pt ru ta te th tl tr ur vi yo zh",
            "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X",
            "af 425, ar 1680, bg 1116, en 5440, es 3147, et 3760, eu 1799, fa 600, fi 4422, he 491, hi 2684, hu 449, "
            "id 1557, it 3518, ja 2372, kk 1047, ko 4276, mr 47, nl 1471, pt 2681, ta 120, te 146, th 1000, tl 55, "
            "tr 4785, ur 535, vi 800, yo 100",
        ),
        _task(
            *("panx", "tags"),
            "af ar bg bn de el en es et eu fa fi fr he hi hu id it ja jv ka kk ko ml mr ms my nl pt ru sw ta te th tl "
            "tr ur vi yo zh",
            "O B-LOC B-ORG B-PER I-LOC I-ORG I-PER",
            "10000, af bn hi kk ml mr ms sw ta te tl ur 1000, jv my yo 100",
        ),
        _task("xquad", "answers", "ar de el en es hi ru th tr vi zh", "", "1190"),
        _task(
            *("mlqa", "answers", "ar de en es hi vi zh", ""),
            "ar 5335, de 4517, en 11590, es 5253, hi 4918, vi 5495, zh 5137",
        ),
        _task(
            *("tydiqa", "answers", "ar bn en fi id ko ru sw te", ""),
            "ar 921, bn 113, en 440, fi 782, id 565, ko 276, ru 812, sw 499, te 669",
        ),
        _task("bucc2018", "pairs", "de fr ru zh"),
        _task(
            *("tatoeba", "numbers"),
            "af ar bg bn de el es et eu fa fi fr he hi hu id it ja jv ka kk ko ml mr nl pt ru sw ta te th tl tr ur vi "
            "zh",
            "",
            "1000, jv 205, ka 746, kk 575, ml 687, sw 390, ta 307, te 234, th 548",
        ),
    )
}
"""The nine tasks by the names of their folders."""

CHOICE = "choice.json"
"""File of a submission that says how it was made; it belongs to no task."""

GROUPS = {
    "classification": ("pawsx", "xnli"),
    "tagging": ("udpos", "panx"),
    "qa": ("xquad", "mlqa", "tydiqa"),
    "retrieval": ("bucc2018", "tatoeba"),
}
"""Groups of tasks."""
