"""Frozen trunk: what the embedding and the frozen blocks make of each token, computed once and kept on disk.

The trunk has no dropout and does not learn, so its output is a fixed function of a text: every epoch, seed and step
that shares the trunk can read it. The file is memory-mapped: [T, H] float32, a row for each token of an encoding.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open

from waystation.errors import Stopped
from waystation.formats.encoding import Encoded
from waystation.models.encoder import Encoder
from waystation.retention import TRUNK
from waystation.training.batches import Indices, collate, micro_batches
from waystation.training.memory import in_halves

FILE, _NAME = TRUNK, "states"


def size(encoded: Encoded, hidden: int) -> int:
    """Bytes that the states of an encoding take on disk."""
    return 4 * hidden * len(encoded.tokens)


def write(
    path: Path,
    encoder: Encoder,
    encoded: Encoded,
    places: npt.NDArray[np.int32],
    tokens_per_micro_batch: int,
    device: torch.device,
    on_progress: Callable[[float], None] = lambda share: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Run the trunk of a packed encoder over every window and write the states, never holding more than a batch.

    Raises Stopped between batches when asked, OSError where the disk has no room.
    """
    shape = (len(encoded.tokens), encoder.hidden)
    header = json.dumps(
        {_NAME: {"dtype": "F32", "shape": shape, "data_offsets": [0, size(encoded, encoder.hidden)]}}
    ).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        _reserve(file, 8 + len(header) + size(encoded, encoder.hidden))
    states = np.memmap(path, np.float32, "r+", offset=8 + len(header), shape=shape)

    def run(cut: Indices) -> tuple[list[int], npt.NDArray[np.float32]]:
        batch = collate(encoded, cut, places, "all")
        types = None if batch.types is None else batch.types.to(device)
        return batch.lengths, encoder.trunk(batch.tokens.to(device), batch.lengths, types).float().cpu().numpy()

    encoder.eval()
    done = 0
    with torch.inference_mode():
        for cut in micro_batches(encoded, np.arange(len(encoded.example)), tokens_per_micro_batch):
            if should_stop():
                raise Stopped("stopped while the frozen trunk was run; run again to start it anew")
            for some, (lengths, found) in in_halves(cut, run):
                ends = np.cumsum(lengths)
                for window, begin, end in zip(some.tolist(), ends - lengths, ends, strict=True):
                    states[encoded.offsets[window] : encoded.offsets[window + 1]] = found[begin:end]
                done += len(found)
            on_progress(done / max(1, len(states)))
    states.flush()


def _reserve(file: BinaryIO, length: int) -> None:
    """Give a file its length. On a full disk that is an OSError here, not a bus error where the map is written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, length)
    else:
        file.truncate(length)


def load(path: Path) -> npt.NDArray[np.float32]:
    """The states [T, H] of a file that ``write`` made, memory-mapped."""
    with safe_open(path, framework="pt") as file:
        states: npt.NDArray[np.float32] = file.get_tensor(_NAME).numpy()
    return states
