"""One finished study with a target of every format, for all tests here."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    from tiny import tiny_checkpoint

    return tiny_checkpoint(tmp_path_factory.mktemp("backbone"), layers=3, spread=0.1)


@pytest.fixture(scope="session")
def finished(backbone: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(study, plan, store) of a study that ran to its end."""
    from every import write_study

    from waystation import Study, plan, run
    from waystation.store import Store

    folder = tmp_path_factory.mktemp("every")
    study = Study.load(write_study(folder, backbone))
    summary = run(study, folder / "store")
    assert summary.ok, summary
    return study, plan(study), Store(folder / "store")
