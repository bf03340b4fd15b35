"""The task record: what a dataset is as a question, where its files are, how they are read. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from waystation.records import EXECUTION, IDENTITY, Record

Split = Literal["train", "validation", "test"]
FormatName = Literal["tagging", "classification", "multilabel", "choice", "span", "retrieval", "mlm"]
UNLABELLED = ("choice", "span", "retrieval", "mlm")
"""Formats whose tasks have no labels."""
WINDOWED = ("tagging", "span")
"""Formats that cut a long text into windows, by ``stride``; others cut it off."""


def usual_metrics(format: str, plain: bool = False, mined: bool = False) -> tuple[str, ...]:
    """Metrics of a task that names none, the main one first.

    ``plain`` tags hold no entities; ``mined`` pairs are found among sentences most of which have no translation.
    """
    match format:
        case "tagging":
            return ("token_accuracy", "pos_f1_xtreme") if plain else ("entity_f1", "token_accuracy")
        case "span":
            return ("answer_f1", "exact_match")
        case "retrieval":
            return ("mining_f1",) if mined else ("retrieval_accuracy",)
        case "multilabel":
            return ("micro_f1", "macro_f1")
        case "choice":
            return ("accuracy",)
        case "mlm":
            return ()
        case _:
            return ("accuracy", "macro_f1")


ReaderKind = Literal[
    "conll", "conllu", "ccgbank", "table", "jsonl", "json", "parquet", "documents", "brat", "xmi", "nli4ct",
    "squad", "parallel", "tmx", "mining", "lines",
]  # fmt: skip


class Reader(Record):
    """How a file is read. ``kind`` names a reader (docs/reference/readers.md); unused fields stay at their defaults.

    Tagged lines. ``conll``: one token per line; ``separator`` (None: any run of blanks), ``token`` and ``tag`` are
    column numbers (negative from the end); ``scheme`` is how entities are marked; ``-DOCSTART-`` lines begin a new
    cluster. ``conllu``: Universal Dependencies; ``tag`` is "upos" or "xpos"; words are the tree's, so multiword tokens
    give their parts; ``sent_id`` is the id, ``# newdoc`` begins a cluster. ``ccgbank``: AUTO files, the category of
    each leaf.

    Whole documents. ``documents``: JSONL with ``text``, ``sentences`` as [begin, end] and ``entities`` as {begin, end,
    label}; ``brat``: a folder of .txt and .ann; ``xmi``: a folder of UIMA CAS XMI files. Tokenised, one cluster each;
    nested and overlapping entities are flattened by one rule (``documents.py``). ``id`` and ``label`` name the fields
    of the document's id and of an entity's type where they differ from the usual ones; in xmi ``label`` is the element
    of entities, or "element.attribute".

    Rows. ``table`` (TSV, CSV): ``separator`` (None: a tab; several characters without ``quoting``), ``quoting``
    (False: quotes are plain characters), ``header`` (False: columns are named "0", "1", ...). ``jsonl``: an object per
    line. ``json``: one document, ``rows`` the dotted path to its list of objects, or to an object of objects, whose
    keys become the field "#". ``parquet``: numbers of a ClassLabel column become its names. Fields of rows may be
    dotted paths ("answers.text", "choices.0.text"). ``where``: only rows whose field is one of these values, or
    begins with one ("english-*"; numbers and booleans as JSON writes them; "{lang}" is the language as
    ``Files.languages`` spells it). ``names``: what the numbers 0, 1, ... of the label or tag column mean, checked
    against the file's own names where it has them. ``skip_empty``: rows without a text are counted and left out.
    What a row gives, by format:

    - classification: ``text`` (several fields are joined by a blank; a list of texts likewise), ``pair``, ``label``
    - multilabel: the same, ``label`` a list, or one text cut at ``split``
    - choice: ``text``, ``question``, ``options`` (fields, or one field that holds a list, or an object whose keys name
      the options), ``label``: the right option's place from 0, or its name among ``keys`` (names in order, or the
      field that lists them); ``phrases`` spells out values of ``question``
    - span: ``text`` (the passage), ``question``, ``answers``: a field {text: [...], answer_start: [...]}
    - tagging: ``token`` and ``tag`` name fields that hold lists, or texts cut at ``split``; or ``token`` such a field
      and ``spans`` one of [first, last, label] (last included) or {begin, end, label} in tokens; or ``text`` and
      ``spans`` in characters (no end included). A table without ``split`` and ``spans`` has one token per row, as conll
    - mlm: ``text``
    - every format: ``id`` and ``cluster`` optional fields

    ``nli4ct``: statements on clinical trials; premises come from the trials' own files in the folder ``premises``, as
    seen from the statements' file.

    ``squad``: SQuAD's JSON; ``id`` names a question's id (None: questions are numbered), ``cluster`` is "title" for
    the article or "context" for the passage (None: the passage). ``unanswerable``: questions without an answer count
    (SQuAD 2.0); else they are refused.
    ``parallel``: two line-aligned files; ``tmx``: one file of translation units, ``cluster`` the type of a ``prop`` of
    theirs; ``mining``: two files of id, tab, sentence and one of gold pairs of ids.
    ``lines``: plain text, a text per line, or with ``paragraphs`` one up to each blank line.
    """

    kind: Annotated[ReaderKind, IDENTITY]
    separator: Annotated[str | None, IDENTITY] = Field(default=None, min_length=1)
    scheme: Annotated[Literal["iob2", "iob1", "io", "plain"], IDENTITY] = "iob2"
    token: Annotated[int | str, IDENTITY] = 0
    tag: Annotated[int | str, IDENTITY] = -1
    header: Annotated[bool, IDENTITY] = True
    quoting: Annotated[bool, IDENTITY] = True
    rows: Annotated[str | None, IDENTITY] = None
    where: Annotated[dict[str, str | tuple[str, ...]], IDENTITY] = Field(default_factory=dict)
    names: Annotated[tuple[str, ...], IDENTITY] = ()
    skip_empty: Annotated[bool, IDENTITY] = False
    text: Annotated[str | tuple[str, ...] | None, IDENTITY] = None
    pair: Annotated[str | None, IDENTITY] = None
    question: Annotated[str | None, IDENTITY] = None
    phrases: Annotated[dict[str, str], IDENTITY] = Field(default_factory=dict)
    options: Annotated[str | tuple[str, ...] | None, IDENTITY] = None
    keys: Annotated[str | tuple[str, ...] | None, IDENTITY] = None
    label: Annotated[str | None, IDENTITY] = None
    split: Annotated[str | None, IDENTITY] = Field(default=None, min_length=1)
    answers: Annotated[str | None, IDENTITY] = None
    spans: Annotated[str | None, IDENTITY] = None
    unanswerable: Annotated[bool, IDENTITY] = False
    premises: Annotated[str | None, IDENTITY] = None
    paragraphs: Annotated[bool, IDENTITY] = False
    id: Annotated[str | None, IDENTITY] = None
    cluster: Annotated[str | None, IDENTITY] = None


class Files(Record):
    """The files of one split: ``{lang}`` in a pattern stands for each language of ``languages``.

    ``languages`` maps our code to the spelling in the file name; ``files`` names single languages outright. Several
    files (or patterns) are read one after the other, or together where the reader takes several: the language's own
    side first, then the English one. ``readers`` replaces the task's reader for the languages that need another.
    ``only`` and ``without``: a file of ids (JSON list, JSON object's keys, or lines) that alone are read, or not read.
    ``stands_for``: the official split that these files are a piece of, where it is another.
    ``rows``: examples that the whole official split has, for all languages or for each (a mismatch is refused).
    On the hub a name is "config/split" (``hub``) or "data_dir/split" (``hub_parquet_branch``), not a file.
    """

    pattern: Annotated[str | tuple[str, ...] | None, IDENTITY] = None
    languages: Annotated[dict[str, str], IDENTITY] = Field(default_factory=dict)
    files: Annotated[dict[str, tuple[str, ...]], IDENTITY] = Field(default_factory=dict)
    readers: Annotated[dict[str, Reader], IDENTITY] = Field(default_factory=dict)
    only: Annotated[str | None, IDENTITY] = None
    without: Annotated[str | None, IDENTITY] = None
    rows: Annotated[int | dict[str, int] | None, EXECUTION] = None
    sample: Annotated[bool, IDENTITY] = False
    stands_for: Annotated[Split | None, EXECUTION] = None

    def paths(self) -> dict[str, tuple[str, ...]]:
        """Language → relative file names, in the order of declaration."""
        patterns = (self.pattern,) if isinstance(self.pattern, str) else self.pattern
        found = (
            {}
            if patterns is None
            else {code: tuple(one.replace("{lang}", name) for one in patterns) for code, name in self.languages.items()}
        )
        return found | self.files


Url = Annotated[str, Field(pattern=r"^https?://")]


class Upstream(Record):
    """Where the whole set is to be had. Nothing here enters an identity: what was read does, by its content.

    ``hub``: datasets on huggingface.co, by config; ``hub_parquet_branch``: their converted branch, by folder;
    ``hub_files``: files of such a repository; ``github``: files of a repository; ``archive``: a zip or tar at ``url``.
    ``revision`` is a commit (40 hex digits), ``sha256`` an archive's checksum: where it is None, the first load writes
    what it found to the lock file, which later loads must match. ``root`` is a folder before every name. ``reader``
    and ``splits`` stand where the layout differs from the task's own files.
    """

    kind: Annotated[Literal["hub", "hub_parquet_branch", "hub_files", "github", "archive"], EXECUTION]
    repo: Annotated[str | None, EXECUTION] = Field(default=None, pattern=r"^[\w.-]+/[\w.-]+$")
    revision: Annotated[str | None, EXECUTION] = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    url: Annotated[Url | tuple[Url, ...] | None, EXECUTION] = None
    sha256: Annotated[str | None, EXECUTION] = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    root: Annotated[str, EXECUTION] = ""
    reader: Annotated[Reader | None, EXECUTION] = None
    splits: Annotated[dict[Split, Files], EXECUTION] = Field(default_factory=dict)
    verified: Annotated[Literal["files", "schema", "never"], EXECUTION] = "never"

    @model_validator(mode="after")
    def _complete(self) -> Upstream:
        if self.kind == "archive":
            if not self.urls or self.repo is not None or self.revision is not None:
                raise ValueError("an archive has a url and maybe sha256, neither repo nor revision")
            if self.sha256 is not None and len(self.urls) > 1:
                raise ValueError("sha256 is that of one archive")
        elif self.repo is None or self.url is not None or self.sha256 is not None:
            raise ValueError(f"{self.kind} has a repo and maybe a revision, neither url nor sha256")
        if self.kind == "github" and self.revision is None:
            raise ValueError("github needs the revision: a commit of 40 hex digits")
        if self.kind in ("hub", "hub_parquet_branch"):
            names = [name for part in self.splits.values() for one in part.paths().values() for name in one]
            if not names or any("/" not in name for name in names):
                raise ValueError(
                    f'{self.kind} needs splits that name files "config/split": without a config all are mixed'
                )
        return self

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the archives are."""
        return (self.url,) if isinstance(self.url, str) else self.url or ()


class Task(Record):
    """One task of the catalog, or a user's own table in a study file.

    ``splits`` and ``reader`` describe files in the data folder (``DIR/<id>`` or one of ``folders``); where they are not
    there, ``upstream`` says where the whole set is had from. ``source``: "local" files, "manual" ones that a licence
    binds (``manual`` says how to get them), or the built-in "mini" corpus. ``parts``: other tasks of this format and
    these labels, read one after the other; their ids tell them apart. ``open_labels``: the labels are those of the
    training files, found when a study is planned; what only other files hold becomes "UNSEEN". ``longest_answer``: in
    sub-tokens, of those that may be predicted (span). ``same_source``: tasks with the same texts.
    """

    id: Annotated[str, IDENTITY] = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: Annotated[str, EXECUTION]
    format: Annotated[FormatName, IDENTITY]
    domain: Annotated[str, EXECUTION] = "general"
    labels: Annotated[tuple[str, ...], IDENTITY] = ()
    open_labels: Annotated[bool, IDENTITY] = False
    parts: Annotated[tuple[str, ...], IDENTITY] = ()
    rename: Annotated[dict[str, str | None], IDENTITY] = Field(default_factory=dict)
    metrics: Annotated[tuple[str, ...], EXECUTION] = ()
    source: Annotated[Literal["local", "manual", "mini"], IDENTITY] = "local"
    manual: Annotated[str | None, EXECUTION] = None
    folders: Annotated[tuple[str, ...], EXECUTION] = ()
    path: Annotated[str | None, EXECUTION] = None
    reader: Annotated[Reader | None, IDENTITY] = None
    splits: Annotated[dict[Split, Files], IDENTITY] = Field(default_factory=dict)
    upstream: Annotated[Upstream | None, EXECUTION] = None
    longest_answer: Annotated[int, IDENTITY] = Field(default=30, ge=1)
    cluster: Annotated[str | None, EXECUTION] = None
    parallel: Annotated[bool, EXECUTION] = False
    same_source: Annotated[tuple[str, ...], EXECUTION] = ()
    sensitive: Annotated[bool, EXECUTION] = False
    revision: Annotated[str | None, EXECUTION] = None
    licence: Annotated[str, EXECUTION] = "unknown"
    citation: Annotated[str, EXECUTION] = ""
    url: Annotated[str | None, EXECUTION] = None
    verified: Annotated[Literal["files", "schema", "never"], EXECUTION] = "never"
    notes: Annotated[str, EXECUTION] = ""

    @model_validator(mode="after")
    def _consistent(self) -> Task:
        if self.format in UNLABELLED:
            if self.labels or self.rename or self.open_labels:
                raise ValueError(f"{self.format} has no labels: leave labels and rename out")
        elif not (self.labels or self.open_labels) or len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must be a non-empty list without repeats")
        if bool(self.metrics) == (self.format == "mlm"):
            raise ValueError("a task needs metrics; text alone (mlm) has none")
        if any(not label.strip() for label in self.labels) or (self.format == "tagging" and "O" in self.labels):
            raise ValueError("labels must be names; O, the outside of entities, is not one of them")
        if self.parts:
            if self.splits or self.upstream is not None or self.reader is not None:
                raise ValueError("a task of parts has no files of its own: leave splits, reader and upstream out")
            return self
        if not self.splits and (self.upstream is None or not self.upstream.splits):
            raise ValueError("a task needs splits, its own or its upstream's")
        readers = [self.reader, *(part.reader for part in [self.upstream] if part is not None)]
        if self.source != "mini" and not any(readers):
            raise ValueError("a task of files needs a reader")
        if (self.source == "manual") != (self.manual is not None):
            raise ValueError("source: manual and `manual`, which says how to get the files, belong together")
        for old, new in self.rename.items():
            if new is not None and new not in self.labels and not self.open_labels:
                raise ValueError(f"rename maps '{old}' to '{new}', which is not among the labels")
        return self

    def all_splits(self) -> tuple[Split, ...]:
        """Splits of the task's own files first, then upstream's; of parts those that every part has."""
        if self.parts:
            first, *others = (part.all_splits() for part in self._parts())
            return tuple(split for split in first if all(split in other for other in others))
        return tuple(dict.fromkeys([*self.splits, *(self.upstream.splits if self.upstream is not None else ())]))

    def languages(self, split: Split) -> tuple[str, ...]:
        """Languages that a split has: in the task's own files first, then upstream; in every part."""
        if self.parts:
            first, *others = (part.languages(split) for part in self._parts())
            return tuple(code for code in first if all(code in other for other in others))
        found = dict.fromkeys(self.splits[split].paths() if split in self.splits else ())
        if self.upstream is not None and split in self.upstream.splits:
            found |= dict.fromkeys(self.upstream.splits[split].paths())
        return tuple(found)

    def main_reader(self) -> Reader | None:
        """The reader of its own files, else upstream's, else that of its first part; None for the built-in corpus."""
        if self.parts:
            return self._parts()[0].main_reader()
        return self.reader or (self.upstream.reader if self.upstream is not None else None)

    def _parts(self) -> list[Task]:
        from waystation.tasks import known  # which reads records like this one

        return [known.find(part) for part in self.parts]
