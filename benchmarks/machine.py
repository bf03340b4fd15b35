"""On what the figures were made: versions, processor, threads, load."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.harness import Settings

PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "numpy", "seqeval", "scikit-learn", "faiss-cpu")
FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve")


def load() -> list[float]:
    """Mean number of running processes over 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def describe(command: str, settings: Settings) -> dict[str, Any]:
    """What must stand beside every figure."""
    import torch

    model, flags = _processor()
    return {
        "command": command,
        "quick": settings.quick,
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "system": platform.platform(),
        "processor": model,
        "flags": [flag for flag in FLAGS if flag in flags],
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "environment": {name: value for name, value in os.environ.items() if name.startswith(("OMP_", "MKL_"))},
        "load": load(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> tuple[str, set[str]]:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor(), set()
    halves = (line.partition(":") for line in path.read_text().splitlines())
    fields = {name.strip(): value.strip() for name, _, value in halves}
    flags = fields.get("flags") or fields.get("Features") or ""
    return fields.get("model name", platform.machine()), set(flags.split())


def _commit() -> str | None:
    """The commit at hand, marked where files differ from it."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
