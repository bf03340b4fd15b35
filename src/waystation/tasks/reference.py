"""The page of all tasks, docs/reference/tasks.md: `waystation tasks --markdown` writes it from the records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from waystation.tasks.task import Files, Split, Task

_MOST_LABELS = 30
_HEAD = """\
# Tasks

Every declared task, by format; `waystation tasks --markdown` writes this page from the records. None of the data is
part of Waystation. *Checked* says how far a record was: `files`, read and counted with it; `schema`, read about;
`never`. Files in the data folder come first (`DIR/<task>` or a folder named here), else `waystation data get` fetches
what stands under *upstream*, and writes commits and checksums to the lock file where the record pins none. Sizes are
those of the whole official split, and are checked at load; *piece* marks a split whose files in the data folder are
declared to be less.
"""


def markdown(tasks: Iterable[Task]) -> str:
    """The page, of the tasks that are not built in."""
    formats: dict[str, list[Task]] = {}
    for task in sorted(tasks, key=lambda one: one.id):
        if task.source != "mini":
            formats.setdefault(task.format, []).append(task)
    lines = [_HEAD]
    for name in sorted(formats):
        lines += [f"- {name}: " + ", ".join(f"[{one.id}](#{_anchor(one.id)})" for one in formats[name])]
    for name in sorted(formats):
        lines += ["", f"## {name.capitalize()}"]
        for task in formats[name]:
            lines += ["", f"### {task.id}", "", *_entry(task)]
    return "\n".join(lines) + "\n"


def _anchor(name: str) -> str:
    return "".join(mark for mark in name.lower() if mark.isalnum() or mark in "-_")


def _entry(task: Task) -> Iterator[str]:
    notes = " ".join(task.notes.split()).replace("<", "&lt;")
    yield f"**{task.title.removesuffix('?')}{'?' if task.title.endswith('?') else '.'}** {notes}".rstrip()
    yield ""
    facts = [task.domain, *(f"`{metric}`" for metric in task.metrics)]
    facts += [f"one cluster is one {task.cluster}"] if task.cluster and "," not in task.cluster else []
    yield f"- {', '.join(facts)}" + (", parallel" if task.parallel else "")
    if task.parts:
        yield f"- parts: {', '.join(task.parts)}"
    if task.open_labels:
        yield "- labels: those of the training files"
    elif task.labels:
        shown = ", ".join(task.labels) if len(task.labels) <= _MOST_LABELS else f"{len(task.labels)}"
        yield f"- labels: {shown}"
    for split in task.all_splits():
        yield f"- {split}: {_split(task, split)}"
    if task.source == "manual":
        yield f"- by hand: {' '.join((task.manual or '').split())}"
    elif task.splits:
        folders = ", ".join(f"`{name}`" for name in (task.id, *task.folders))
        yield f"- data folder: {folders}" + (f"; read from {task.revision}" if task.revision else "")
    if task.upstream is not None:
        yield f"- upstream: {_upstream(task)}"
    yield f"- checked: {task.verified}; licence: {task.licence}"
    if task.same_source:
        yield f"- same texts in: {', '.join(task.same_source)}"
    yield f"- {' '.join(task.citation.split())}" + (f" <{task.url}>" if task.url else "")


def _split(task: Task, split: Split) -> str:
    """Languages and official sizes of a split, in the data folder and upstream together."""
    languages = task.languages(split)
    own = task.splits.get(split)
    whole = task.upstream.splits.get(split) if task.upstream is not None else None
    text = f"{len(languages)} languages ({' '.join(languages)})" if len(languages) > 1 else languages[0]
    sizes = _sizes(whole) or _sizes(own)
    if own is not None and whole is not None and (only := [code for code in languages if code not in own.paths()]):
        text += f"; {' '.join(only)} upstream only"
    return text + (f"; {sizes}" if sizes else "") + ("; piece" if own is not None and own.sample else "")


def _sizes(part: Files | None) -> str:
    rows = None if part is None else part.rows
    if isinstance(rows, Mapping):
        if len(set(rows.values())) > 1 or len(rows) < len(part.paths() if part else ()):
            return "sizes " + ", ".join(f"{code} {count:,}" for code, count in rows.items())
        rows = next(iter(rows.values()))
    return "" if rows is None else f"size {rows:,}"


def _upstream(task: Task) -> str:
    source = task.upstream
    assert source is not None
    pin = source.revision or (f"sha256 {source.sha256}" if source.sha256 else "not pinned")
    return f"{source.kind} {source.repo or source.url}, {pin}; checked: {source.verified}"
