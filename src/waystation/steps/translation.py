"""Who translates the examples of a task, as a study says it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from waystation.records import EXECUTION, IDENTITY, Record

ORACLE = "oracle-translation"

OPTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "precomputed": (("files", "layout"), ("spelling",)),
    "apertium": ((), ("modes",)),
    "seq2seq": (("model",), ("spelling", "revision", "before", "beams", "longest", "tokens_per_batch")),
    "parallel": (("task",), ("split",)),
    ORACLE: ((), ()),
    "identity": ((), ()),
}
"""Who → the options that it must have, and those that it may have."""


class Translation(Record):
    """Who translates: ``by`` and its options. What it is (content of files, versions) stands in the step that asks it.

    ``precomputed``: ``files``, a pattern with {lang} (or {source} and {target}), in the data folder or a whole path.
    ``layout``: ``pairs``, XTREME's TSV of sentence pairs (the source texts, then as many translations, then maybe the
    label; no header), matched by source text; ``squad``, SQuAD's JSON with the ids of the source; ``jsonl``, an object
    per line with ``id`` and fields. ``apertium``: the program; ``modes``: "en-es" → the mode, where not the usual one.
    ``seq2seq``: a translation ``model`` of transformers, a folder or a hub id; ``before`` stands before each sentence
    ("translate {source} to {target}: ", ">>{target}<< "); ``beams``; ``longest`` sentence it reads, in tokens.
    ``parallel``: rows of a parallel corpus (a retrieval task) are looked up by sentence. ``oracle-translation``: the
    test set itself in the other language, where that is the original: an upper bound. ``identity``: nobody, for tests.

    ``spelling``: our code of a language → how files or the model write it.
    """

    by: Annotated[Literal["precomputed", "apertium", "seq2seq", "parallel", "oracle-translation", "identity"], IDENTITY]
    spelling: Annotated[dict[str, str], EXECUTION] = Field(default_factory=dict)
    files: Annotated[str | None, EXECUTION] = None
    layout: Annotated[Literal["pairs", "squad", "jsonl"] | None, IDENTITY] = None
    modes: Annotated[dict[str, str], EXECUTION] = Field(default_factory=dict)
    model: Annotated[str | None, EXECUTION] = None
    revision: Annotated[str | None, EXECUTION] = None
    before: Annotated[str, IDENTITY] = ""
    beams: Annotated[int, IDENTITY] = Field(default=4, ge=1)
    longest: Annotated[int, IDENTITY] = Field(default=256, ge=8)
    tokens_per_batch: Annotated[int, EXECUTION] = Field(default=1024, ge=1)
    task: Annotated[str | None, EXECUTION] = None
    split: Annotated[Literal["train", "validation", "test"], EXECUTION] = "test"

    @model_validator(mode="after")
    def _fits(self) -> Translation:
        wanted, allowed = OPTIONS[self.by]
        for name in wanted:
            if getattr(self, name) is None:
                raise ValueError(f"`by: {self.by}` needs `{name}`")
        for name in sorted(self.model_fields_set - {"by", *wanted, *allowed}):
            if getattr(self, name) != type(self).model_fields[name].get_default(call_default_factory=True):
                fits = ", ".join((*wanted, *allowed)) or "none"
                raise ValueError(f"`{name}` is no option of `by: {self.by}`; its options: {fits}")
        return self

    def spelt(self, language: str) -> str:
        """A language as this translator writes it."""
        return self.spelling.get(language, language)

    @property
    def words(self) -> str:
        """For people."""
        what = self.files or self.model or self.task
        return self.by if what is None else f"{self.by} ({what})"
