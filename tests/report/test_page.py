from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from finished import CODES, Build

from waystation.analysis.table import Gains
from waystation.report import figures, page, tables

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Reader(HTMLParser):
    """Collects tags, texts and attributes; checks that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_is_whole_and_loads_nothing(build: Build) -> None:
    made = build(targets=["topics", "clinical"])
    text = page.render(*made.parts)
    reader = Reader(text)
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in reader.tags}
    for _, attributes in reader.tags:
        assert not {"src", "srcset", "data", "action", "poster"} & set(attributes)
        assert attributes.get("href", "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
        assert "url(" not in attributes.get("style", "")
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style and "http" not in style
    assert "https://example.org/topics" in reader.text  # a citation is text


def test_links_lead_somewhere_and_ids_are_unique(build: Build) -> None:
    reader = Reader(page.render(*build(missing=["gamma+topics.s1"], targets=["topics", "clinical"]).parts))
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {attributes["href"][1:] for attributes in reader.all("a")}
    wanted |= {name for _, a in reader.tags for name in a.get("aria-labelledby", "").split()}
    assert wanted <= set(ids)


def test_tables_can_be_understood_without_seeing_them(build: Build) -> None:
    reader = Reader(page.render(*build().parts))
    assert len(reader.all("caption")) == len(reader.all("table")) > 4
    assert all("scope" in attributes for attributes in reader.all("th"))
    assert reader.all("html")[0]["lang"] == "en" and len(reader.all("h1")) == len(reader.all("main")) == 1
    boxes = [a for a in reader.all("div") if a.get("class", "").startswith("box")]
    assert all(a["role"] == "region" and ("aria-labelledby" in a or "aria-label" in a) for a in boxes)
    assert reader.all("a")[0]["class"] == "skip"


def test_every_number_of_every_row_is_there(build: Build) -> None:
    made = build(targets=["topics", "clinical"], missing=["gamma+topics.s1"])
    text = page.render(*made.parts)
    tables_of = {(t.target, t.metric): t for t in tables.target_tables(made.study, made.found)}
    for row in made.found.as_json()["rows"]:
        name = f"{row['target']}, {row['metric']}: every language and intermediate"
        part = text[text.index(name) :]
        part = part[part.index(f"{row['intermediate']} <small>") :]
        part = part[part.index(f"{tables.language_name(row['language'])} <small>{row['language']}</small>") :]
        line = part[: part.index("</tr>")]
        shown = [figures.signed(row["gain"], 2), f"{row['score']:.2f}", f"{row['baseline']:.2f}"]
        cells = re.findall(r"<td[^>]*>([^<]*)</td>", line)
        assert cells[:5] == [*shown, str(row["n"]), str(row["seeds"])]
        assert cells[-1] == ", ".join(row["marks"])
        assert (row["intermediate"], row["language"]) in tables_of[row["target"], row["metric"]].rows
    for average in made.found.averages:
        assert figures.signed(average.gain, 2) in text and f"{average.score:.2f}" in text
        assert all(f"s{seed} {figures.signed(gain, 2)}" in text for seed, gain in average.by_seed.items())


def test_what_users_write_is_never_markup(build: Build) -> None:
    bad = "<script>alert(1)</script> & \"quotes\" 'x' {{ 7 * 7 }}"
    task = {"title": bad, "licence": bad, "citation": bad, "url": "javascript:alert(1)", "notes": bad, "revision": bad}
    made = build(groups={"<i>general": ["alpha"], "b": ["gamma"]}, question=bad, tasks={"topics": task, "alpha": task})
    text = page.render(*made.parts, {"key": [(bad, True)], "commands": [bad]})
    assert "<script" not in text and "<i>general" not in text and "49" not in re.findall(r"\{\{.*?\}\}", text)
    reader = Reader(text)
    assert reader.text.count("<script>alert(1)</script>") >= 6
    assert not any("javascript" in attributes.get("href", "") for _, attributes in reader.tags)


def test_no_verdicts_before_there_are_intervals(build: Build) -> None:
    text = Reader(page.render(*build(missing=["none+topics.s0"]).parts)).text.lower()
    assert "and verdicts, are not computed yet" in text
    assert not re.search(r"\b(help|hurt|significan|confiden|prove[sdn]?\b|p-value|undecided)", text)


def test_the_banner_of_a_demonstration(build: Build) -> None:
    assert tables.DEMONSTRATION in page.render(*build(demonstration=True).parts)
    assert tables.DEMONSTRATION not in page.render(*build().parts)


def test_missing_chains_are_listed(build: Build) -> None:
    made = build(missing=["gamma+topics.s1", "none+topics.s1"])
    text = Reader(page.render(*made.parts)).text
    assert "2 of 8 chains missing" in text and "gamma+topics.s1" in text and "none+topics.s1" in text
    assert "1 of 2 seeds" in text
    assert 'id="missing"' not in page.render(*build().parts)


def test_an_empty_store_still_gives_a_page(build: Build) -> None:
    made = build(missing=[f"{name}+topics.s{seed}" for name in ("none", "alpha", "beta", "gamma") for seed in (0, 1)])
    text = Reader(page.render(*made.parts)).text
    assert "No gains yet" in text and "8 chains of 8 without a score" in text and "4 languages" in text


def test_a_target_tested_in_its_source_language_alone(build: Build) -> None:
    text = Reader(page.render(*build(languages=["en"]).parts)).text
    assert "English" in text and "all languages" in text.lower()


def test_forty_seven_languages(build: Build) -> None:
    made = build(languages=CODES, seeds=1, groups={"general": ["alpha"]}, examples=10)
    reader = Reader(page.render(*made.parts))
    assert "47 languages" in reader.text and "mean of 46" in reader.text
    for code in CODES:
        assert f"{tables.language_name(code)} {code}" in reader.text
    members = next(item for item in made.found.averages if item.over == tables.ZERO_SHOT).members
    assert tables.named(members) in reader.text


def test_matching_and_key(build: Build) -> None:
    text = Reader(page.render(*build().parts, {"key": [("a stands above b", True), ("b above c", False)]})).text
    assert "1,200 words" in text and "medical ÷ general" in text
    assert "Found a stands above b" in text and "Not found b above c" in text
    assert "Nothing was matched" in page.render(*build(match=None).parts)


def test_revisions_are_short_enough_to_read(build: Build) -> None:
    commit = "8196181eacd5d65828d324dcc63970c503aff5e9"
    text = page.render(*build(tasks={"topics": {"revision": f"some/where@{commit}"}}).parts)
    assert "some/where@8196181eacd5<" in text and commit not in text


def test_marks_are_explained(build: Build) -> None:
    task = {"same_source": ["gamma"]}
    made = build(tasks={"topics": task}, backbone={"id": "bundled", "seen": [{"task": "alpha", "how": "labels"}]})
    text = Reader(page.render(*made.parts)).text
    for mark in ("same source", "seen by this backbone"):
        assert mark in text and tables.MARKS[mark] in text
    assert "alpha (labels)" in text


def test_unknown_and_unusual_numbers(build: Build) -> None:
    made = build()
    rows = [dataclasses.replace(row, gain=float("nan"), marks=("a new mark",)) for row in made.found.rows]
    found = Gains("example", False, rows=rows, scores=made.found.scores)
    text = Reader(page.render(made.study, found, made.store, made.made)).text
    assert "n/a" in text and "a new mark" in text


def test_the_same_store_gives_the_same_page(build: Build, tmp_path: Path) -> None:
    made = build()
    path = page.write(*made.parts, tmp_path / "deep" / "report.html")
    assert path.read_text("utf-8") == page.render(*made.parts)
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]


def test_only_light_libraries_are_loaded() -> None:
    code = (
        "import sys, waystation.report.page, waystation.report.terminal; print(*({'torch', 'rich'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


def test_templates_are_short_and_shipped() -> None:
    folder = Path(page.__file__).parent / "templates"
    assert {path.name for path in folder.iterdir()} >= {"page.html", "style.css"}
    assert all(len(path.read_text("utf-8").splitlines()) < 400 for path in folder.iterdir())
