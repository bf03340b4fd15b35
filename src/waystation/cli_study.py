"""What commands about a study share: its argument, the options that change it, and loading it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from waystation.study import Study

StudyFile = Annotated[str, typer.Argument(metavar="STUDY", help="A study file, or the name of a shipped study.")]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="Apply a profile of the study file, e.g. toy.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=c", help="Override one field; may be repeated.")
]
SeedsOption = Annotated[int | None, typer.Option("--seeds", min=1, help="Number of seeds instead of the study's.")]


def load(study: str, profile: str | None, overrides: list[str] | None, seeds: int | None = None) -> Study:
    """A study from a path, or a shipped one by name."""
    from waystation.study import Study, shipped

    path = Path(study)
    if not path.exists() and "/" not in study and not study.endswith((".yaml", ".yml")):
        path = shipped(study)
    return Study.load(path, profile, overrides or (), seeds)
