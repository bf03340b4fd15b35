from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from finished import Build, Finished, build_study


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Builds a finished study in the test's own folder; see ``build_study`` for what can be asked for."""

    def make(**changes: Any) -> Finished:
        return build_study(tmp_path, **changes)

    return make
