"""Waystation: intermediate-task training for multilingual encoders, evaluated zero-shot in every language.

    from waystation import Study, plan, run, gains

    study = Study.load("studies/clinical.yaml")
    run(study, data="data")
    for row in gains(study, data="data").rows: ...

Nothing heavy is imported here: torch and transformers load when a step runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# ``plan`` is also the name of the module: the function is bound here, once, before anything else can import it.
from waystation.plan import plan
from waystation.study import Study

if TYPE_CHECKING:
    from waystation.analysis.table import gains
    from waystation.exchange.predict import predict
    from waystation.rounds import run

__version__ = "0.1.0"
__all__ = ["Study", "__version__", "gains", "plan", "predict", "run"]


def __getattr__(name: str) -> Any:
    if name == "run":
        from waystation.rounds import run

        return run
    if name == "gains":
        from waystation.analysis.table import gains

        return gains
    if name == "predict":
        from waystation.exchange.predict import predict

        return predict
    raise AttributeError(f"module 'waystation' has no attribute '{name}'")
