"""A translation model of transformers (Marian, M2M100, NLLB, mBART, T5, …), sentence by sentence.

A second door to transformers, for these models alone. Decoding is beam search without sampling, in fp32.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from waystation import backbones
from waystation.errors import InputError
from waystation.steps.records import TranslateStep

SENTENCE = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][\"'»”’)\]])\s+|(?<=[。！？।؟])")
"""Where a text is cut: such models are trained on single sentences."""

GROWTH, ROOM, STEP = 2, 20, 16
"""A translation has at most GROWTH tokens for each of the source's, rounded up to STEP, and ROOM more."""


class Translator:
    """One direction of one model. ``notes`` count sentences, and those that were too long and cut."""

    block = 64

    def __init__(self, step: TranslateStep, folder: Path, device: torch.device) -> None:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        self.by, self.device, self.notes = step.by, device, Counter[str]()
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        except Exception as error:  # the library raises many kinds; all mean the same to the user
            why = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
            raise InputError(
                f"translation model {folder} cannot be opened ({why}): save a translation model there"
            ) from None
        self.model: Any = model.to(device).eval()
        spelt = {"source": self.by.spelt(step.source), "target": self.by.spelt(step.language)}
        self.before = self.by.before
        for key, code in spelt.items():
            self.before = self.before.replace(f"{{{key}}}", code)
        self.forced = None
        if hasattr(self.tokenizer, "src_lang"):
            self._code(spelt["source"])
            self.tokenizer.src_lang = spelt["source"]
            self.forced = self._code(spelt["target"])

    def _code(self, spelt: str) -> int:
        """The token of a language in models that have one for each."""
        known = getattr(self.tokenizer, "lang_code_to_token", None) or {}
        token = self.tokenizer.convert_tokens_to_ids(known.get(spelt, spelt))
        if token is None or token == self.tokenizer.unk_token_id:
            raise InputError(
                f"translation model {self.by.model} has no language '{spelt}': say how it writes it in `spelling`"
            )
        return int(token)

    def __call__(self, texts: Sequence[str]) -> list[str | None]:
        """The translations of texts, in order."""
        parts = [[part for part in SENTENCE.split(text) if part.strip()] for text in texts]
        different = list(dict.fromkeys(part for pieces in parts for part in pieces))
        said = self._sentences(different)
        return [" ".join(said[part] for part in pieces).strip() or None for pieces in parts]

    def _sentences(self, sentences: list[str]) -> dict[str, str]:
        positions = getattr(self.model.config, "max_position_embeddings", None)  # T5 has none
        limit = min(self.by.longest, positions or self.by.longest)
        most = (positions or 1 << 30) - 1
        asked = [self.tokenizer(self.before + text, truncation=False)["input_ids"] for text in sentences]
        self.notes["sentences"] += len(sentences)
        self.notes["sentences cut"] += sum(len(ids) > limit for ids in asked)
        found: dict[str, str] = {}
        # the room for a translation depends on its sentence alone: on what it is batched with nothing may depend
        widths = [STEP * -(-min(limit, len(ids)) // STEP) for ids in asked]
        for batch in _batches(widths, self.by.tokens_per_batch):
            texts = [self.before + sentences[one] for one in batch]
            inputs = self.tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=limit)
            with torch.inference_mode():
                out = self.model.generate(
                    **{name: value.to(self.device) for name, value in inputs.items() if name != "token_type_ids"},
                    num_beams=self.by.beams,
                    do_sample=False,
                    max_new_tokens=min(most, GROWTH * widths[batch[0]] + ROOM),
                    **({} if self.forced is None else {"forced_bos_token_id": self.forced}),
                )
            said = self.tokenizer.batch_decode(out, skip_special_tokens=True)
            found |= {sentences[one]: text.strip() for one, text in zip(batch, said, strict=True)}
        return found


def _batches(widths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Sentences of one width, as many as make up so many ``tokens``, or one; the widest first."""
    order = sorted(range(len(widths)), key=lambda one: -widths[one])
    for width, same in groupby(order, key=widths.__getitem__):
        rest = list(same)
        size = max(1, tokens // width)
        yield from (rest[low : low + size] for low in range(0, len(rest), size))


def model_folder(step: TranslateStep) -> Path:
    """The folder of a step's translation model: as it lies, or fetched from the hub at the step's commit."""
    if "hub" not in step.provider:
        return Path(str(step.by.model))
    from huggingface_hub import snapshot_download

    name, commit = step.provider["hub"], step.provider["revision"]
    patterns = ["*.json", "*.model", "*.txt", "*.spm", "*.safetensors"]
    try:
        folder = Path(
            snapshot_download(name, revision=commit, allow_patterns=patterns, local_files_only=backbones.offline())
        )
        if not any(folder.glob("*.safetensors")):  # the older format only where there is no other
            patterns[-1] = "pytorch_model*.bin"
            folder = Path(
                snapshot_download(name, revision=commit, allow_patterns=patterns, local_files_only=backbones.offline())
            )
        return folder
    except Exception as error:  # the client raises many kinds; all mean the same to the user
        raise InputError(
            f"translation model '{name}' at {commit[:12]} could not be fetched ({type(error).__name__}); "
            "check the network, or give a local folder"
        ) from None
