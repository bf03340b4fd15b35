"""The gains arranged as people read them, for the page and the terminal alike. Arranges; computes no statistics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from waystation import languages
from waystation.analysis.marks import CHOSEN, FIXED, FLOOR, JOINT, OWN, UPPER
from waystation.analysis.table import Average, Gains, Row, metric_names
from waystation.errors import InputError
from waystation.report.figures import points
from waystation.study import Study

ZERO_SHOT = "zero-shot languages"
ALL = "all languages"
SOURCE = "source language"

MARKS = {
    SOURCE: "the language of the training data; not part of the zero-shot average",
    "seen by this backbone": "the backbone met this data, or translations of its kind, before the study: no evidence",
    "same data": "the intermediate task is the target's own training data or test set: the same training twice",
    "same source": "intermediate and target come from one source, so part of the gain may be memory",
    "sample": "part of the data is a piece of the official set: not comparable with published scores",
    "trained on a piece of the official test set": "the data at hand are part of a test set: never test on that set",
    "trained on a piece of the official validation set": "the data at hand are part of the official validation set",
    "read the test texts": "masked language modelling on the texts of the test, without labels: transductive",
    JOINT: "trained on other languages than the source too: the point of reference, no zero-shot transfer",
    UPPER: "the tests are read in the language that they were written in: no system could, so an upper bound",
    "trained elsewhere": "the intermediate is a checkpoint that was fine-tuned elsewhere, on what is not known here",
    CHOSEN: "its scores chose the layer and the pooling that all languages are read with; in no average",
    FIXED: "imported predictions of one system, without seeds, against the mean of the baseline's seeds",
    FLOOR: "no better than the best constant answer, or than chance: it shows nothing",
    OWN: "the baseline's pairs are cut at the threshold that is best on these very pairs, the system's as it came",
    "other numerics class": "chain and baseline ran on different hardware or library versions",
}
"""What a mark beside a number means."""

DEMONSTRATION = "Demonstration on the built-in mini corpus; its numbers say nothing about the world."

NOT_YET = (
    "Intervals of what was trained here, and verdicts, are not computed yet. The numbers are means over seeds: "
    "a difference seen here may be chance."
)


def explain(mark: str) -> str:
    """What a mark means, in one line."""
    if mark.endswith(" seeds"):
        return "chain and baseline are both there for these seeds only"
    if mark.startswith("checkpoint selected on "):
        return "the checkpoint was the best on examples held out of the training data in this language"
    if mark.startswith("cutoff chosen on "):
        return "labels, or no answer, are predicted at the cutoff that was best on held-out examples in this language"
    if mark.startswith("trained on translations "):
        return "part of the training data is a translation by this translator: synthetic"
    if mark.startswith("reads translated tests "):
        return "the tests are read in translation, or beside one: a translator is part of the system"
    if mark.startswith("layer "):
        return "read by all arms: the best of a sweep with the baseline, in languages that count in no average"
    return MARKS.get(mark, "")


@dataclass(frozen=True)
class Arm:
    """One intermediate in its group."""

    group: str
    name: str


@dataclass
class TargetTable:
    """One target and metric: the rows of each intermediate, by language, and the averages."""

    target: str
    metric: str
    main: bool
    arms: list[Arm]
    languages: list[str]
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    averages: dict[tuple[str, str], Average] = field(default_factory=dict)

    def row(self, arm: Arm, language: str) -> Row | None:
        """The gain of one intermediate in one language, or None where it is missing."""
        return self.rows.get((arm.name, language))

    def average(self, arm: Arm, over: str = ZERO_SHOT) -> Average | None:
        """The mean gain of one intermediate, or None where it is missing."""
        return self.averages.get((arm.name, over))

    def marks(self, arm: Arm) -> tuple[str, ...]:
        """Marks of an intermediate that hold in every language of this target."""
        found = [row for (name, _), row in self.rows.items() if name == arm.name]
        first = found[0].marks if found else ()
        return tuple(mark for mark in first if mark != SOURCE and all(mark in row.marks for row in found))

    def own_marks(self, arm: Arm, language: str) -> tuple[str, ...]:
        """Marks of one number that do not already stand beside its intermediate or its language."""
        row = self.row(arm, language)
        general = {SOURCE, *self.marks(arm)}
        return tuple(mark for mark in row.marks if mark not in general) if row else ()

    def is_source(self, language: str) -> bool:
        """Whether a language is the one of the training data."""
        return any(SOURCE in row.marks for (_, code), row in self.rows.items() if code == language)

    def members(self, over: str) -> tuple[str, ...]:
        """The languages of an average."""
        return next((item.members for (_, name), item in self.averages.items() if name == over), ())

    def overs(self) -> list[str]:
        """Which averages this target has."""
        return [over for over in (ZERO_SHOT, ALL) if self.members(over)]

    def baseline(self, language: str, places: int = 1) -> str:
        """The baseline's score in one language; a range where intermediates are paired over different seeds."""
        return _range([row.baseline for (_, code), row in self.rows.items() if code == language], places)

    def average_baseline(self, over: str = ZERO_SHOT, places: int = 1) -> str:
        """The baseline's mean score."""
        return _range([item.baseline for (_, name), item in self.averages.items() if name == over], places)


def target_tables(study: Study, found: Gains) -> list[TargetTable]:
    """A table for each target and metric in the order of the study, the main metric of a target first."""
    made: dict[tuple[str, str], TargetTable] = {}
    for use in study.target:
        shown = [*arms(study), *imported(found, use.label)]
        for at, metric in enumerate(metric_names(study, use)):
            made[use.label, metric] = TargetTable(use.label, metric, at == 0, shown, [])
    for row in found.rows:
        table = made[row.target, row.metric]
        table.rows[row.intermediate, row.language] = row
        if row.language not in table.languages:
            table.languages.append(row.language)
    for average in found.averages:
        made[average.target, average.metric].averages[average.intermediate, average.over] = average
    for table in made.values():
        table.languages.sort(key=lambda code: (not table.is_source(code), language_name(code)))
    return list(made.values())


def arms(study: Study) -> list[Arm]:
    """All intermediates in the order of the study."""
    return [Arm(group, use.label) for group, use in study.uses()]


def imported(found: Gains, target: str) -> list[Arm]:
    """Systems whose predictions were imported for a target."""
    names = (row.intermediate for row in found.rows if row.target == target and FIXED in row.marks)
    return [Arm("imported", name) for name in dict.fromkeys(names)]


def intervals(found: Gains) -> list[str]:
    """A line for each imported system, target and metric: its gains with their intervals, by language."""
    told: dict[tuple[str, str, str], list[str]] = {}
    estimands = set()
    for row in found.rows:
        if FIXED in row.marks and row.low is not None and row.high is not None:
            shown = f"{row.language} {row.gain:+.1f} ({row.low:+.1f} to {row.high:+.1f})"
            told.setdefault((row.intermediate, row.target, row.metric), []).append(shown)
            estimands.add(row.estimand)
    lines = [f"{name}, {target}, {metric}: {', '.join(each)}" for (name, target, metric), each in told.items()]
    return [f"95 % intervals, {' / '.join(sorted(map(str, estimands)))}:", *lines] if lines else []


def by_group(items: Sequence[Arm]) -> list[tuple[str, list[Arm]]]:
    """Neighbouring intermediates of one group together."""
    found: dict[str, list[Arm]] = {}
    for arm in items:
        found.setdefault(arm.group, []).append(arm)
    return list(found.items())


def letters(marks: Iterable[str]) -> dict[str, str]:
    """Mark → footnote letter, in the order of first mention."""
    distinct = list(dict.fromkeys(marks))
    return {mark: chr(ord("a") + at) if at < 26 else f"a{at}" for at, mark in enumerate(distinct)}


def language_name(code: str) -> str:
    """English name of a language, or its code where the table does not know it."""
    try:
        return languages.resolve(code).name
    except InputError:
        return code


def named(codes: Iterable[str]) -> str:
    """Languages as text: name and code."""
    return ", ".join(f"{language_name(code)} ({code})" for code in codes)


def seed_range(average: Average) -> tuple[float, float]:
    """Smallest and largest of the per-seed mean gains."""
    return min(average.by_seed.values()), max(average.by_seed.values())


def count_of(number: int, word: str) -> str:
    """``1 chain``, ``2 chains``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _range(values: Sequence[float], places: int) -> str:
    if not values:
        return "n/a"
    low, high = points(min(values), places), points(max(values), places)
    return low if low == high else f"{low} to {high}"
