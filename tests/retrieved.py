"""Own retrieval tasks: sentences and "translations" that keep most of their words, line-aligned or to be mined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from small import WORDS, sentences

PAIRS = 25


def pairs(seed: int) -> list[tuple[str, str]]:
    """Sentences and their "translations", in another order and with three words more."""
    drawn = np.random.default_rng(seed)
    return [
        (" ".join(words), " ".join([*drawn.permutation(words).tolist(), *drawn.choice(WORDS, 3).tolist()]))
        for words in sentences(PAIRS, seed)
    ]


def write(folder: Path, codes: Sequence[str] = ("de", "sw"), mined: Sequence[str] = ("de",)) -> dict[str, Any]:
    """Files and records of the tasks ``pairs`` (the n-th language is ``pairs(n)``) and ``mined`` (from 2 upwards)."""
    folder.mkdir()
    aligned = {}
    for seed, code in enumerate(codes):
        ours, english = zip(*pairs(seed), strict=True)
        for name, texts in ((f"{code}.txt", ours), (f"{code}.en.txt", english)):
            (folder / name).write_text("".join(f"{text}\n" for text in texts), "utf-8")
        aligned[code] = [f"{code}.txt", f"{code}.en.txt"]
    among = {}
    for seed, code in enumerate(mined, 2):
        left = [(f"l{n}", text) for n, (text, _) in enumerate(pairs(seed))]
        right = [(f"r{n}", text) for n, (_, text) in enumerate(pairs(seed)[:15] + pairs(seed + 1))]
        gold = [(f"l{n}", f"r{n}") for n in range(15)]
        among[code] = [f"{code}.tsv", f"{code}.en.tsv", f"{code}.gold.tsv"]
        for name, rows in zip(among[code], (left, right, gold), strict=True):
            (folder / name).write_text("".join("\t".join(row) + "\n" for row in rows), "utf-8")
    own = {"format": "retrieval", "path": folder.name}
    return {
        "pairs": {**own, "reader": {"kind": "parallel"}, "test": aligned},
        "mined": {**own, "reader": {"kind": "mining"}, "test": among},
    }
