"""Which of XTREME's tasks a target of a study is."""

from __future__ import annotations

from waystation.scoring.xtreme.layout import TASKS, Task
from waystation.uses import Use

OFFICIAL = {
    **{name: name for name in TASKS},
    "udpos_xtreme": "udpos",
    "tydiqa_goldp": "tydiqa",
}
"""Our name of a task → XTREME's. ``udpos_r`` is none of them: other releases of the treebanks, other test sets."""


def official(target: Use) -> Task | None:
    """XTREME's task that a target is by its own name or its task's; None where it is none of them."""
    names = [OFFICIAL[name] for name in (target.label, target.task) if name in OFFICIAL]
    return TASKS[names[0]] if names else None
