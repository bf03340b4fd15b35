"""Tiny checkpoints that have a trained MLM head, as transformers writes them, and text for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny import TEXTS, Kind, tiny_checkpoint, tiny_tokenizer

from waystation.formats import mlm
from waystation.formats.encoding import Encoded
from waystation.tasks.examples import TextExample


def masked_checkpoint(folder: Path, kind: Kind = "xlm-roberta") -> tuple[Path, Any]:
    """A checkpoint with random weights everywhere, and transformers' model of it, in evaluation mode."""
    from transformers import AutoConfig, AutoModelForMaskedLM

    tiny_checkpoint(folder, kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(folder))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.1)
    model.save_pretrained(folder)
    return folder, AutoModelForMaskedLM.from_pretrained(folder).eval()


def encoded_texts(kind: Kind = "xlm-roberta", max_length: int = 16) -> dict[str, list[Encoded]]:
    """Text in three "languages" of different sizes; the first has two sources."""
    parts = {"en": [TEXTS[:2], TEXTS[2:3]], "de": [TEXTS[3:8]], "sw": [TEXTS[8:]]}
    tokenizer = tiny_tokenizer(kind)
    return {
        code: [
            mlm.encode([TextExample(str(n), text) for n, text in enumerate(some)], tokenizer, max_length)
            for some in parts
        ]
        for code, parts in parts.items()
    }
