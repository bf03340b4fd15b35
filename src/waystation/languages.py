"""The language table: codes, names, scripts, families, resource classes, and groups of languages made from them.

One row of ``data/languages.csv`` is one language. Its code is the ISO 639-1 code where there is one, else the
ISO 639-3 code; every other code in use (639-2 and 639-3 codes, codes of one member of a macrolanguage, old codes)
is an alias of exactly one language. One code is not in ISO 639-3: ``ber`` is the ISO 639-2 code of the Berber
languages, kept because Tatoeba uses it.

Columns that need a word:

``joshi``
    Resource class 0 (fewest resources) to 5, from Joshi et al. 2020, "The State and Fate of Linguistic Diversity and
    Inclusion in the NLP World". ``joshi_source`` says how it is known: ``list`` (the published list names the
    language), ``variety`` (the list names only varieties of it, all of this class), ``assumed`` (a natural language
    not looked up in the list or absent from it, taken as 0), empty (no class).
``xlmr``
    1 where XLM-R read the language in pretraining. Its "100 languages" are 93 codes and seven second written
    forms (romanised, Zawgyi, traditional). The CC-100 release holds more (Yoruba, Igbo, Haitian, ...): those
    XLM-R did not read. Bokmål counts as read: it is what the model's ``no`` holds.
``mbert``
    1 where multilingual BERT (cased) read the language's Wikipedia, by the list published with the model.
``xtreme``
    "xtreme" for the 40 languages of XTREME, "xtreme-r" for the ten that XTREME-R adds.
``script``
    The usual script of present-day text, ISO 15924.
``family``
    The top-level family in its customary broad sense (Niger-Congo with Mande, Nilo-Saharan as one).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from waystation.errors import InputError, suggest

LOW_RESOURCE = frozenset({0, 1, 2})
"""The Joshi classes called low-resource unless a study says otherwise."""


@dataclass(frozen=True, slots=True)
class Language:
    """One language; ``aliases`` are all accepted codes and words other than ``code`` and ``name``."""

    code: str
    iso3: str
    name: str
    script: str
    family: str
    joshi: int | None
    xlmr: bool
    aliases: tuple[str, ...]
    joshi_source: str = ""
    mbert: bool = False
    xtreme: str = ""


@cache
def table() -> dict[str, Language]:
    """All languages by code, in the order of the file. Read once and shared: do not change it."""
    # Path and csv, not importlib.resources and a data frame: half the cost, and "no" stays the text "no".
    path = Path(__file__).parent / "data" / "languages.csv"
    with path.open(encoding="utf-8", newline="") as file:
        languages = [_language(row) for row in csv.DictReader(file)]
    return {language.code: language for language in languages}


def _language(row: dict[str, str]) -> Language:
    code = row["iso1"] or row["iso3"]
    codes = (row["iso3"], *row["aliases"].split())
    return Language(
        code=code,
        iso3=row["iso3"],
        name=row["name"],
        script=row["script"],
        family=row["family"],
        joshi=int(row["joshi"]) if row["joshi"] else None,
        xlmr=row["xlmr"] == "1",
        aliases=tuple(alias for alias in codes if alias != code),
        joshi_source=row["joshi_source"],
        mbert=row["mbert"] == "1",
        xtreme=row["xtreme"],
    )


def _key(name: str) -> str:
    """The form in which names are compared: ``zh_TW``, ``ZH-tw`` and `` zh-tw`` are one."""
    return name.strip().casefold().replace("_", "-")


@cache
def _index() -> dict[str, Language]:
    """Every accepted code and name, in comparable form; a test keeps them apart between languages."""
    return {
        _key(name): language
        for language in table().values()
        for name in (language.code, language.name, *language.aliases)
    }


def resolve(code: str) -> Language:
    """The language of a code, alias or English name, in any case; unknown ones raise ``InputError``."""
    language = _index().get(_key(code))
    if language is None:
        hint = suggest(_key(code), _index())
        raise InputError(f"unknown language '{code}'{hint}; `waystation languages` lists all")
    return language


@cache
def groups() -> dict[str, tuple[str, ...]]:
    """All groups and the codes of their members, in the order of the table. Shared: do not change it."""
    found: dict[str, list[str]] = {name: [] for name in ("low-resource", "unseen-by-xlmr", "unseen-by-mbert")}
    found |= {"xtreme": [], "xtreme-r": []}
    found |= {f"joshi-{joshi}": [] for joshi in range(6)}
    for language in table().values():
        if language.joshi in LOW_RESOURCE:
            found["low-resource"].append(language.code)
        if not language.xlmr:
            found["unseen-by-xlmr"].append(language.code)
        if not language.mbert:
            found["unseen-by-mbert"].append(language.code)
        if language.xtreme == "xtreme":
            found["xtreme"].append(language.code)
        if language.xtreme:
            found["xtreme-r"].append(language.code)
        if language.joshi is not None:
            found[f"joshi-{language.joshi}"].append(language.code)
        found.setdefault(f"script-{language.script}", []).append(language.code)
        found.setdefault(f"family-{language.family}", []).append(language.code)
    return {name: tuple(codes) for name, codes in found.items()}


@cache
def _group_index() -> dict[str, tuple[str, ...]]:
    return {_key(name): codes for name, codes in groups().items()}


def is_group(name: str) -> bool:
    """Whether ``name`` names a group of languages."""
    return _key(name) in _group_index()


def group(name: str) -> tuple[str, ...]:
    """The codes of a group's members; unknown groups raise ``InputError``."""
    codes = _group_index().get(_key(name))
    if codes is None:
        hint = suggest(_key(name), _group_index())
        raise InputError(f"unknown language group '{name}'{hint}; `waystation languages` lists all")
    return codes


def expand(names: Iterable[str]) -> tuple[str, ...]:
    """Codes and group names as codes, without repeats, in the order of their first mention."""
    codes: dict[str, None] = {}
    for name in names:
        codes.update(dict.fromkeys(_expand_one(name)))
    return tuple(codes)


def _expand_one(name: str) -> tuple[str, ...]:
    if is_group(name):
        return group(name)
    if _key(name) in _index():
        return (resolve(name).code,)
    # Neither: the nearest name may be of either kind.
    hint = suggest(_key(name), [*_index(), *_group_index()])
    raise InputError(f"unknown language or group '{name}'{hint}; `waystation languages` lists all")
