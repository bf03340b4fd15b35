"""Apertium, a rule-based translator: a program of its own, called for many texts at once.

Each text goes in as a paragraph, so that no sentence is read together with the next one, and comes out as one. Where
the paragraphs that come out are not as many as went in, the texts are sent again in halves. Words that Apertium does
not know come out as they are; they are counted. (Its marks for them are told from stars of the text by sending texts
with such signs of their own without marks, and so uncounted.)
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from waystation import languages
from waystation.backbones import sha256_file
from waystation.errors import InputError, suggest

PACKAGES = {
    "eng-spa": "apertium-eng-spa", "spa-eng": "apertium-eng-spa", "eng-cat": "apertium-eng-cat",
    "cat-eng": "apertium-eng-cat", "en-gl": "apertium-en-gl", "gl-en": "apertium-en-gl", "eu-en": "apertium-eu-en",
}  # fmt: skip
"""Modes with English → the Debian package that holds them."""

MARKS = re.compile(r"[*#@](?=\w)")
"""What stands before a word that Apertium does not know, or could not inflect or transfer."""


@dataclass
class Apertium:
    """One direction of translation. ``unknown`` counts words without a translation."""

    mode: str
    block: int = 1000
    notes: Counter[str] = field(default_factory=Counter)

    def __call__(self, texts: Sequence[str]) -> list[str | None]:
        """The translations of texts, in order; texts are read as one line each."""
        lines = [" ".join(_CONTROL.sub(" ", text).split()) for text in texts]
        marked = [place for place, line in enumerate(lines) if not MARKS.search(line)]
        bare = sorted(set(range(len(lines))) - set(marked))
        found: dict[int, str] = {}
        for places, options in ((marked, ()), (bare, ("-u",))):
            said = self._paragraphs([lines[place] for place in places], options)
            if not options:
                self.notes["unknown words"] += sum(len(MARKS.findall(text)) for text in said)
                said = [MARKS.sub("", text) for text in said]
            found |= dict(zip(places, said, strict=True))
        return [found[place] or None for place in range(len(lines))]

    def _paragraphs(self, lines: Sequence[str], options: tuple[str, ...]) -> list[str]:
        if not lines:
            return []
        output = _run([*options, self.mode], "\n\n".join(lines) + "\n")
        said = [paragraph.strip() for paragraph in output.rstrip("\n").split("\n\n")]
        if len(said) == len(lines):
            return said
        if len(lines) == 1:
            return [" ".join(output.split())]
        half = len(lines) // 2
        return self._paragraphs(lines[:half], options) + self._paragraphs(lines[half:], options)


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")


def mode_of(source: str, target: str, asked: str | None = None) -> str:
    """The installed mode for a direction; InputError that says what to install where there is none."""
    have = modes()
    usual = [f"{source}-{target}", f"{languages.resolve(source).iso3}-{languages.resolve(target).iso3}"]
    for mode in [asked] if asked else usual:
        if mode in have:
            return mode
    package = next((PACKAGES[mode] for mode in usual if mode in PACKAGES), None)
    if asked is not None or package is None:
        near = suggest(asked or usual[-1], have)
        raise InputError(
            f"apertium has no mode '{asked or usual[-1]}'{near}: `apertium -l` lists those that are installed"
        )
    raise InputError(f"apertium cannot translate {source} to {target} here: apt-get install {package}")


def modes() -> tuple[str, ...]:
    """The installed modes, in alphabetical order."""
    return tuple(sorted(path.stem for path in _folder().glob("*.mode")))


def fingerprint(mode: str) -> dict[str, str]:
    """The version of the program, and the digest of the mode and of every data file that it names."""
    path = _folder() / f"{mode}.mode"
    sha = hashlib.sha256(path.read_bytes())
    for name in re.findall(r"'([^']+)'", path.read_text("utf-8")):
        if Path(name).is_file():
            sha.update(f"\n{Path(name).name} {sha256_file(Path(name))}".encode())
    return {"apertium": _version(), "mode": mode, "data": sha.hexdigest()}


def _program() -> str:
    program = shutil.which("apertium")
    if program is None:
        raise InputError(
            "the program apertium is not installed: apt-get install apertium, and a pair such as apertium-eng-spa"
        )
    return program


def _folder() -> Path:
    """Where the modes are, beside the program."""
    return Path(_program()).resolve().parent.parent / "share" / "apertium" / "modes"


@cache
def _version() -> str:
    return _run(["-V"], "").split("\n")[0].removeprefix("Apertium").strip()


def _run(arguments: list[str], text: str) -> str:
    done = subprocess.run(
        [_program(), *arguments],
        input=text.encode(),
        capture_output=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        check=False,
    )
    output = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        said = (done.stderr.decode("utf-8", "replace") or output).strip().splitlines()
        raise InputError(f"apertium {' '.join(arguments)} failed: {said[0] if said else 'no message'}")
    return output
