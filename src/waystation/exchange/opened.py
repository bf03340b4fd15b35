"""A chain of a study opened for use: its steps, its model in the store, the backbone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waystation import chains, places
from waystation.plan import Chain, Plan, plan
from waystation.steps.context import Context
from waystation.steps.records import EncodeStep, EvaluateStep
from waystation.store import Store
from waystation.study import Study


@dataclass(frozen=True)
class Opened:
    """``key``: identity of the model; ``step``: how it is evaluated; ``encoding``: how its test texts are encoded."""

    made: Plan
    chain: Chain
    key: str
    context: Context
    step: EvaluateStep
    encoding: EncodeStep

    def learned_from(self) -> dict[str, Any]:
        """Counts of the encoding that the chain's last training read."""
        _, last = self.made.trainings(self.chain)[-1]
        stats: dict[str, Any] = self.context.store.manifest(last.encoding)["stats"]
        return stats


def opened(
    study: Study, chain: str, store: str | Path | None, data: str | Path | None, made: Plan | None = None
) -> Opened:
    """Open a chain by name.

    Raises InputError where the study has no such chain, nothing was trained for it, or its model is not in the store.
    """
    folder = places.data_folder(data)
    made = made or plan(study, folder)
    artifacts = Store(places.store_folder(store))
    found = chains.find(made, chain)
    key = chains.model(made, artifacts, found)
    context = Context(artifacts, places.cache_folder(), made.study.backbone, folder, precision=made.study.precision)
    first = next(iter(chains.tested(made, found.target).values()))
    return Opened(made, found, key, context, chains.evaluation(made, found), first)
