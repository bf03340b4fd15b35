"""The report: one self-contained HTML page, readable offline, in print, on a phone, in light and in dark.

It shows what ``gains`` found and where it comes from. The same store and study give the same bytes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from waystation.analysis.table import Gains
from waystation.plan import Plan
from waystation.report import figures, provenance, tables
from waystation.store import Store, write_bytes
from waystation.study import Study

OPEN_ROWS = 60
"""A table of scores with more rows than this starts folded."""


def write(
    study: Study, found: Gains, store: Store, made: Plan, path: Path, extra: Mapping[str, Any] | None = None
) -> Path:
    """Write the page to ``path`` (its folder is made) and return it. ``extra`` is that of ``render``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, render(study, found, store, made, extra).encode())
    return path


def render(study: Study, found: Gains, store: Store, made: Plan, extra: Mapping[str, Any] | None = None) -> str:
    """The page as text.

    ``extra``: ``key`` (statements about a planted truth, each with whether it holds: [(text, bool), ...]) and
    ``commands`` (the commands that made the numbers; by default those for this study's file).
    """
    given = dict(extra or {})
    every = tables.target_tables(study, found)
    shown = [table for table in every if table.rows]
    main = [table for table in every if table.main]
    everyone = list(dict.fromkeys(arm for table in every for arm in table.arms))
    return (
        _environment()
        .get_template("page.html")
        .render(
            study=study,
            found=found,
            shown=shown,
            main=main,
            arms=everyone,
            groups=tables.by_group(everyone),
            limit=_limit(study, shown),
            plots=_plots(study, main),
            marks=tables.letters(mark for table in shown for arm in table.arms for mark in _all_marks(table, arm)),
            key=given.get("key"),
            made=made,
            tested=max(len(study.languages_of(use)) for use in study.target),
            source=provenance.collect(study, found, store, made, given.get("commands") or ()),
            open_rows=OPEN_ROWS,
        )
    )


def _limit(study: Study, shown: list[tables.TargetTable]) -> float:
    """One colour scale for the whole page, so that a colour means the same gain in every table."""
    return figures.colour_limit((row.gain for table in shown if table.main for row in table.rows.values()), study.delta)


def _plots(study: Study, main: list[tables.TargetTable]) -> dict[str, Markup]:
    """Target → strip plot of the per-seed averages of its main metric."""
    strips = {
        table.target: [
            figures.Strip(arm.group, arm.name, average.by_seed)
            for arm in table.arms
            if (average := table.average(arm)) is not None
        ]
        for table in main
    }
    # One axis for all targets, so that their plots can be compared.
    limit = figures.strip_limit((strip for part in strips.values() for strip in part), study.delta)
    plots = {}
    for at, table in enumerate(main):
        title = f"{table.target}: gain in {table.metric}, averaged over the zero-shot languages, by seed"
        plots[table.target] = figures.strip_plot(f"strip-{at}", title, strips[table.target], study.delta, limit)
    return plots


def _all_marks(table: tables.TargetTable, arm: tables.Arm) -> list[str]:
    single = [mark for language in table.languages for mark in table.own_marks(arm, language)]
    return [*table.marks(arm), *single]


def _short_revision(text: str) -> str:
    """A pinned revision with its commit cut to what is enough to find it."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28}\b", r"\1", text)


@functools.cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("waystation.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "signed": figures.signed,
        "points": figures.points,
        "percent": lambda share: f"{100 * share:.2f} %",
        "whole": lambda value: f"{value:,.0f}",
        "ratio": lambda value: f"× {value:.2f}",
        "moment": lambda text: text.replace("T", " ").replace("+00:00", " UTC"),
        "named": tables.named,
        "revision": _short_revision,
        "language": tables.language_name,
    }
    made.filters.update(filters)
    made.globals |= {
        "cell_style": figures.cell_style,
        "legend": figures.legend,
        "explain": tables.explain,
        "count_of": tables.count_of,
        "seed_range": tables.seed_range,
        "demonstration": tables.DEMONSTRATION,
        "not_yet": tables.NOT_YET,
        "ZERO_SHOT": tables.ZERO_SHOT,
    }
    return made
