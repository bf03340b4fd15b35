"""Checkpoints inside a training step: everything that the next update depends on, as tensors and JSON.

Model, optimizer moments, random state, the number of updates done (which also fixes the rate and the sampler's place)
and what was logged. Written under a new name with a JSON file last; the newest complete one counts.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from waystation.records import file_sha256
from waystation.retention import STATE as FILES
from waystation.store import write_json

STATE, PROGRESS = FILES


@dataclass(frozen=True)
class Saved:
    """A checkpoint as read back."""

    tensors: dict[str, torch.Tensor]
    progress: dict[str, Any]


def save(workspace: Path, update: int, tensors: dict[str, torch.Tensor], progress: dict[str, Any]) -> None:
    """Write a checkpoint after ``update`` updates and drop the older ones."""
    folder = workspace / f"checkpoint-{update:08d}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, folder / STATE)
    write_json(folder / PROGRESS, {**progress, "update": update, "sha256": file_sha256(folder / STATE)})
    for other in workspace.glob("checkpoint-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def copy(workspace: Path, folder: Path) -> None:
    """Copy the files of the newest checkpoint into another folder."""
    newest = max(workspace.glob("checkpoint-*"))
    for name in FILES:
        shutil.copyfile(newest / name, folder / name)


def load(workspace: Path) -> Saved | None:
    """The newest complete checkpoint, or None."""
    for folder in sorted(workspace.glob("checkpoint-*"), reverse=True):
        try:
            progress = json.loads((folder / PROGRESS).read_bytes())
            if progress["sha256"] == file_sha256(folder / STATE):
                return Saved(load_file(folder / STATE), progress)
        except (OSError, ValueError, KeyError):
            continue  # half-written: an older one may be whole
    return None
