"""Plan and run a study. (Deciding and growing the plan joins here with sequential looks.)"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from waystation import chains, places
from waystation.engines import local
from waystation.engines.local import Event, Summary
from waystation.plan import Plan, plan
from waystation.steps.context import Context
from waystation.store import Store
from waystation.study import Study


def run(
    study: Study,
    store: str | Path | None = None,
    data: str | Path | None = None,
    *,
    retry_failed: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
    made: Plan | None = None,
) -> Summary:
    """Do all missing steps of a study; returns what was done and what failed.

    SIGTERM and Ctrl-C save the step at work and return with ``summary.stopped`` set; the next run goes on there.
    """
    folder = places.data_folder(data)
    made = made or plan(study, folder)
    stop = threading.Event()
    context = Context(
        store=Store(places.store_folder(store)),
        cache=places.cache_folder(),
        backbone=study.backbone,
        data=folder,
        precision=study.precision,
        keep=study.keep,
        should_stop=stop.is_set,
    )
    with _stopping(stop):
        return local.run(made, context, on_event, retry_failed)


def train(
    study: Study,
    chain: str,
    store: str | Path | None = None,
    data: str | Path | None = None,
    *,
    on_event: Callable[[Event], None] = lambda event: None,
    made: Plan | None = None,
) -> Summary:
    """Train the model of one chain where the store lacks it, once more if only its head was kept; it stays whole."""
    made = made or plan(study, places.data_folder(data))
    whole = study.model_copy(update={"keep": "deltas"})
    ending = chains.only_model(made, chains.find(made, chain))
    return run(whole, store, data, retry_failed=True, on_event=on_event, made=ending)


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """Turn the first SIGTERM or Ctrl-C into the wish to stop; a second Ctrl-C interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
