"""What steps need to run and share within one process: places, the open backbone, progress, the wish to stop."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from waystation.backbones import Backbone
from waystation.errors import InputError
from waystation.records import digest
from waystation.steps.records import BY_LANGUAGE, Keep
from waystation.store import Store

if TYPE_CHECKING:
    from accelerate import Accelerator

    from waystation.formats.encoding import Encoded
    from waystation.models.backbone import Checkpoint


@dataclass
class Context:
    """Execution surroundings of steps; nothing in here can change a result beyond the numerics class."""

    store: Store
    cache: Path
    backbone: Backbone
    data: Path | None = None
    precision: str = "fp32"
    keep: Keep = "deltas"
    on_progress: Callable[[float, str], None] = lambda share, text: None
    should_stop: Callable[[], bool] = lambda: False

    @cached_property
    def folder(self) -> Path:
        """The backbone's checkpoint folder (unpacked or fetched at first use)."""
        from waystation.models.backbone import checkpoint_folder

        return checkpoint_folder(self.backbone, self.cache)

    @cached_property
    def tokenizer(self) -> Any:
        """The backbone's fast tokenizer."""
        from waystation.models.backbone import load_tokenizer

        return load_tokenizer(self.folder)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The backbone's weights, opened once."""
        from waystation.models.backbone import Checkpoint

        return Checkpoint(self.folder)

    @cached_property
    def accelerator(self) -> Accelerator:
        """Device, precision and processes."""
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        # a process may run studies of different precision; the library keeps the first one's settings otherwise
        AcceleratorState._reset_state(reset_partial_state=True)
        made = Accelerator(mixed_precision="bf16" if self.precision == "bf16" else "no")
        if made.num_processes > 1:
            # Each process claims steps for itself here; the loop alone knows how to share one.
            raise InputError("a run is one process for now: start it without torchrun or accelerate launch")
        return made

    def encoded(self, key: str) -> Encoded:
        """An encoding of the store, memory-mapped."""
        from waystation.formats import encoding

        return encoding.load(self.store.folder(key), self.store.manifest(key)["stats"])

    @cached_property
    def evaluations(self) -> dict[str, list[str]]:
        """Evaluations that were in the store when first asked, by what is equal in them but the languages."""
        found: dict[str, list[str]] = {}
        for key in self.store.identities():
            manifest: dict[str, Any] = {"kind": None}
            with contextlib.suppress(InputError):  # a damaged one is `store verify`'s affair
                manifest = self.store.manifest(key)
            if manifest["kind"] == "evaluate":
                step = {name: value for name, value in manifest["identity"].items() if name not in BY_LANGUAGE}
                found.setdefault(digest(step), []).append(key)
        return found

    def numerics(self) -> dict[str, Any]:
        """The numerics class: within it results are bit-equal, between classes pairs are flagged."""
        import numpy
        import tokenizers
        import torch
        import transformers

        from waystation.models.linear import onednn

        device = self.accelerator.device
        return {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
            "numpy": numpy.__version__,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
            "products": "oneDNN" if device.type == "cpu" and onednn() else "torch",
            "world": self.accelerator.num_processes,
        }
