"""The local engine: does the steps of a plan one after the other in this process, as many as can be done."""

from __future__ import annotations

import importlib
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waystation.errors import InputError, Stopped, WaystationError
from waystation.plan import Node, Plan
from waystation.retention import KINDS, Retention, reconsider
from waystation.steps.context import Context


@dataclass(frozen=True)
class Event:
    """Something to show: ``kind`` is start, progress, done, failed, skipped or waiting."""

    kind: str
    node: Node
    text: str = ""
    share: float = 0.0


@dataclass
class Summary:
    """What a run did: labels of steps done, failed (with message) and skipped; how many were in the store before.

    ``again``: models that it had to train once more, because only their heads had been kept.
    """

    done: list[str] = field(default_factory=list)
    reused: int = 0
    again: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    stopped: str | None = None
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every score of the study is there."""
        return not self.failed and not self.skipped and self.stopped is None


def run(
    made: Plan, context: Context, on_event: Callable[[Event], None] = lambda event: None, retry_failed: bool = False
) -> Summary:
    """Do every missing step that leads to a missing score. A failed step stops only what depends on it."""
    # Threads that spin while they wait make each other several times slower as soon as the cores are shared with
    # anything else; it must be said before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    store, summary, started = context.store, Summary(), time.monotonic()
    reconsider(store, made)
    waiting = {node.id: node for node in made.pending(store.has)}
    summary.reused = len(made.nodes) - len(waiting)
    lost: set[str] = set()
    store.clean()
    retention = Retention(store, context.keep, made, waiting)
    while waiting and summary.stopped is None:
        progressed = False
        for node in list(waiting.values()):
            if store.has(node.id):
                summary.reused += 1
            elif lost & set(node.needs):
                lost.add(node.id)
                summary.skipped.append(node.label)
                on_event(Event("skipped", node, "a step that it needs failed"))
            elif any(not store.has(need) for need in node.needs):
                continue
            elif context.should_stop():
                summary.stopped = f"before {node.label}; run again to go on"
                break
            else:
                outcome = _attempt(node, made, context, on_event, retry_failed, summary)
                if outcome is None:
                    continue  # another process is at it
                if not outcome:
                    lost.add(node.id)
            progressed = True
            del waiting[node.id]
            if summary.stopped is not None:
                break
            if node.id not in lost:
                retention.done(node)
        if waiting and not progressed and summary.stopped is None:
            # Other processes prune models too: one that we need may be gone, or one that we were to train be done with.
            left = {node.id: node for node in made.pending(store.has) if node.id not in lost}
            gone = [node for key, node in left.items() if key not in waiting]
            over = [node for key, node in waiting.items() if key not in left]
            summary.reused += len(over) - len(gone)
            retention.expect(gone)
            for node in over:
                retention.done(node)
            waiting = left
            if waiting and not gone and not over:
                on_event(Event("waiting", next(iter(waiting.values())), "another process is at work on it"))
                time.sleep(0.5)
    retention.sweep()
    summary.seconds = time.monotonic() - started
    return summary


def _attempt(
    node: Node, made: Plan, context: Context, on_event: Callable[[Event], None], retry_failed: bool, summary: Summary
) -> bool | None:
    """Do one step: True done, False failed, None where another process holds it."""
    store = context.store
    before = store.failure(node.id)
    if before is not None and not retry_failed:
        summary.failed[node.label] = f"{before} (failed before; --retry-failed tries again)"
        on_event(Event("failed", node, summary.failed[node.label]))
        return False
    claim = store.claim(node.id, node.needs)
    if claim is None:
        return None
    try:
        if store.has(node.id) or (store.known(node.id) and not made.wants(node, store.has)):
            summary.reused += 1  # another process was just done with it, and may have pruned it since
            return True
        if not all(map(store.has, node.needs)):
            return None  # another process has just pruned a model
        pruned = store.known(node.id)
        on_event(Event("start", node))
        context.on_progress = lambda share, text: on_event(Event("progress", node, text, share))
        with store.building(node.id) as folder:
            details = _perform(node.step, folder, context)
            if node.step.kind in KINDS:
                details["keep"] = context.keep
            store.commit(node.id, node.step, folder, details)
        summary.done.append(node.label)
        if pruned:
            summary.again.append(node.label)
        on_event(Event("done", node, _line(details)))
        return True
    except Stopped as stop:
        summary.stopped = f"{node.label}: {stop}"
        return False
    except InputError as error:
        # the input may be mended without a trace in the identity (a missing extra, a cache): never remembered
        summary.failed[node.label] = str(error)
    except OSError as error:
        # a full disk or a missing permission passes
        summary.failed[node.label] = f"{error.strerror or error}: {error.filename or store.root}"
    except ModuleNotFoundError as error:
        summary.failed[node.label] = f"the package '{error.name}' is missing; pip install 'waystation[bundled]'"
    except WaystationError as error:
        summary.failed[node.label] = str(error)
        store.fail(node.id, node.label, str(error))
    except Exception as error:
        kept = _keep_traceback(node, context)
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}; details in {kept}"
        summary.failed[node.label] = text
        store.fail(node.id, node.label, text)
    finally:
        claim.release()
    on_event(Event("failed", node, summary.failed[node.label]))
    return False


def _perform(step: Any, folder: Any, context: Context) -> dict[str, Any]:
    details: dict[str, Any] = importlib.import_module(f"waystation.steps.{step.kind}").perform(step, folder, context)
    return details


def _keep_traceback(node: Node, context: Context) -> Path:
    """An unforeseen error is one line for the user; the whole of it is kept for whoever mends it."""
    path = context.store.root / "failures" / f"{node.id}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(traceback.format_exc(), encoding="utf-8")
    return path


def _line(details: dict[str, Any]) -> str:
    parts = []
    if details.get("loss") is not None:
        parts.append(f"loss {details['loss']:.3f}")
    if details.get("stats"):
        parts.append(f"{details['stats']['examples']} examples")
    if details.get("chosen"):
        parts.append("layer {layer}, {pooling}, {mean:.1f} points".format(**details["chosen"]))
    if details.get("seconds"):
        parts.append(f"{details['seconds']:.1f} s")
    return ", ".join(parts)
