"""The sweep of a retrieval target as people read it: layer by pooling by language. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from waystation import chains
from waystation.errors import InputError, suggest
from waystation.plan import Chain, Plan
from waystation.plan_steps import Builder
from waystation.steps.records import SweepStep, Swept
from waystation.store import Store
from waystation.study import BASELINE
from waystation.tasks.task import usual_metrics

TABLE = "sweep.json"
"""File of a sweep's artifact: its rows, as ``Row`` has them."""


@dataclass(frozen=True)
class Row:
    """Points of one layer and pooling: by language, and their ``mean``."""

    layer: int
    pooling: str
    scores: dict[str, float]
    mean: float


@dataclass(frozen=True)
class Sweep:
    """All rows of a sweep, the ``best`` of them, and the one that all arms are ``read`` with: the baseline's best."""

    target: str
    chain: str
    metric: str
    rows: list[Row]
    best: Row
    read: Row | None
