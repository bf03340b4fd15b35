"""Labels that no record declares: those of the training files, and one for what only other files hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from waystation.tasks.reading.tags import Names
from waystation.tasks.task import Task

UNSEEN = "UNSEEN"
"""Label of what only other files than the training files hold."""


@dataclass(frozen=True)
class Found(Names):
    """Takes every name for a label, and remembers it."""

    found: set[str] = field(default_factory=set)

    def __call__(self, name: str) -> str | None:
        """The name, or what ``rename`` makes of it."""
        label = self.rename.get(name, name)
        if label is None:
            return None
        self.found.add(label)
        return label if self.then is None else self.then(label)

    def knows(self, name: str) -> bool:
        """Every name."""
        return True

    def ordered(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Labels without repeats, in alphabetical order: the task has none of its own yet."""
        return tuple(sorted(set(labels))) if self.then is None else self.then.ordered(labels)


@dataclass(frozen=True)
class Closed(Names):
    """Takes every name that is no label for UNSEEN."""

    def __call__(self, name: str) -> str | None:
        """The label of a name."""
        return super().__call__(name if super().knows(name) else UNSEEN)

    def knows(self, name: str) -> bool:
        """Every name."""
        return True


def names_of(task: Task, then: Names | None = None) -> Names:
    """How names in a task's files become its labels, and these those of ``then``."""
    if not task.open_labels:
        return Names(task.labels, task.rename, then)
    return (Closed if task.labels else Found)(task.labels, task.rename, then)
