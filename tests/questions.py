"""Random questions with their texts and answers, for tests of span tasks."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from small import PLACES, WORDS

from waystation.tasks.examples import SpanExample


def question(number: int, drawn: random.Random, longest: int = 30) -> SpanExample:
    """A text of words whose answer is the place in it."""
    words = drawn.choices(sorted(set(WORDS) - PLACES), k=drawn.randint(3, longest))
    place = drawn.choice(sorted(PLACES))
    at = drawn.randrange(len(words))
    words[at] = place
    start = sum(len(word) + 1 for word in words[:at])
    return SpanExample(f"q{number}", " ".join(words), "Genf ?", ((place, start),))


def questions(number: int, seed: int = 0, longest: int = 30) -> list[SpanExample]:
    drawn = random.Random(seed)
    return [question(n, drawn, longest) for n in range(number)]


def squad_json(examples: list[SpanExample], title: str = "Towns") -> dict[str, Any]:
    """SQuAD's fields, one passage a question."""
    paragraphs = [
        {
            "context": one.context,
            "qas": [
                {
                    "id": one.id,
                    "question": one.question,
                    "answers": [{"text": text, "answer_start": start} for text, start in one.answers],
                }
            ],
        }
        for one in examples
    ]
    return {"version": "1.1", "data": [{"title": title, "paragraphs": paragraphs}]}


def write_squad(path: Path, number: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(squad_json(questions(number, seed)), ensure_ascii=False), encoding="utf-8")
