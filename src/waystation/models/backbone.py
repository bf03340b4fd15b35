"""The only door to transformers: checkpoint folders, tokenizers, and encoders with an active vocabulary."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from waystation import backbones
from waystation.backbones import SUPPORTED, Backbone
from waystation.errors import InputError
from waystation.models.vocabulary import EmbeddingDelta, Rows, gather

WORD_EMBEDDING = "embeddings.word_embeddings.weight"
PREFIXES = ("bert.", "roberta.", "xlm_roberta.", "camembert.", "model.")
TOKENIZERS = ("tokenizer.json", "sentencepiece.bpe.model", "vocab.txt", "vocab.json")


def checkpoint_folder(backbone: Backbone, cache: Path) -> Path:
    """The transformers checkpoint of a backbone: unpacked once (bundled), as it lies (local), or fetched (hub)."""
    wrong = backbones.problem(backbone)
    if wrong:
        raise InputError(wrong)
    if backbone.kind == "local":
        return Path(backbone.id)
    if backbone.kind == "bundled":
        from waystation.models import bundled

        return bundled.ensure(cache)
    from huggingface_hub import snapshot_download

    commit = backbones.fingerprint(backbone)["revision"]
    try:
        for weights in ("*.safetensors", "pytorch_model*.bin"):  # the older format only where there is no other
            patterns = ["*.json", "*.model", "*.txt", weights]
            folder = Path(
                snapshot_download(
                    backbone.id, revision=commit, allow_patterns=patterns, local_files_only=backbones.offline()
                )
            )
            if any(folder.glob(weights)):
                break
        return folder
    except Exception as error:  # the client raises many kinds; all mean the same to the user
        raise InputError(
            f"backbone '{backbone.id}' at {commit[:12]} could not be fetched ({type(error).__name__}); "
            "check the network, or use a local folder or 'bundled'"
        ) from None


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a checkpoint folder."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if not any((folder / name).is_file() for name in TOKENIZERS):  # transformers would make one that knows no word
        raise InputError(f"no tokenizer in {folder} ({', '.join(TOKENIZERS)}); save the checkpoint's tokenizer there")
    if not (folder / "tokenizer.json").is_file() and (folder / "sentencepiece.bpe.model").is_file():
        try:
            import sentencepiece  # noqa: F401
        except ImportError:
            raise InputError(
                f"{folder} has only sentencepiece.bpe.model; "
                "pip install 'waystation[bundled]' or save a tokenizer.json there"
            ) from None
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True)
    except Exception as error:
        raise InputError(f"no tokenizer could be read from {folder} ({_brief(error)})") from None
    if not tokenizer.is_fast:
        raise InputError(f"{folder} gives no fast tokenizer; save a tokenizer.json there")
    return tokenizer


class Checkpoint:
    """Weights of a checkpoint folder under the encoder's plain names, read lazily from memory-mapped files."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoConfig

        self.folder = folder
        try:
            self.config = AutoConfig.from_pretrained(folder, local_files_only=True)
        except Exception as error:
            raise InputError(f"{folder}/config.json cannot be read ({_brief(error)})") from None
        if self.config.model_type not in SUPPORTED:
            raise InputError(
                f"{folder}: model_type '{self.config.model_type}' is not supported; give a BERT- or XLM-R-like encoder "
                f"({', '.join(SUPPORTED)})"
            )
        self._where: dict[str, tuple[Path, str]] = {}
        for file in self._files():
            for name in self._names(file):
                self._where[_plain(name)] = (file, name)
        self._open: dict[Path, Any] = {}
        if WORD_EMBEDDING not in self._where:
            raise InputError(f"{folder}: no tensor '{WORD_EMBEDDING}' in its weights; save an encoder checkpoint there")

    def _files(self) -> list[Path]:
        for index in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
            if (self.folder / index).is_file():
                try:
                    names = json.loads((self.folder / index).read_text("utf-8"))["weight_map"].values()
                except (ValueError, KeyError, TypeError):
                    raise InputError(f"{self.folder / index} lists no weights; fetch or save it again") from None
                return [self.folder / name for name in sorted(set(names))]
        for name in ("model.safetensors", "pytorch_model.bin"):
            if (self.folder / name).is_file():
                return [self.folder / name]
        raise InputError(f"{self.folder} holds neither model.safetensors nor pytorch_model.bin")

    def _names(self, file: Path) -> list[str]:
        from safetensors import SafetensorError, safe_open

        if file.suffix != ".safetensors":
            return list(self._legacy(file))
        try:
            with safe_open(file, framework="pt") as opened:
                return list(opened.keys())
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file} cannot be read ({error}); fetch or save it again") from None

    def _legacy(self, file: Path) -> dict[str, torch.Tensor]:
        try:
            # files from before torch 1.6 are no archives and cannot be memory-mapped
            loaded = torch.load(file, map_location="cpu", mmap=zipfile.is_zipfile(file), weights_only=True)
        except Exception as error:  # unpickling raises many kinds; all mean the same to the user
            raise InputError(f"{file} cannot be read ({_brief(error)}); fetch or save it again") from None
        if not isinstance(loaded, dict):
            raise InputError(f"{file} holds no named weights; fetch or save it again")
        return loaded

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor by its plain name; its pages are read when touched."""
        from safetensors import safe_open

        file, stored = self._where[name]
        if file not in self._open:
            self._open[file] = safe_open(file, framework="pt") if file.suffix == ".safetensors" else self._legacy(file)
        opened = self._open[file]
        tensor: torch.Tensor = opened[stored] if isinstance(opened, dict) else opened.get_tensor(stored)
        return tensor

    def __contains__(self, name: str) -> bool:
        return name in self._where

    @property
    def vocabulary(self) -> int:
        """Rows of the word embedding."""
        return int(self.tensor(WORD_EMBEDDING).shape[0])

    @property
    def pad(self) -> int:
        """The padding id."""
        return int(self.config.pad_token_id or 0)

    @property
    def position_offset(self) -> int:
        """The position of the first token: XLM-R counts from after the padding id."""
        return 0 if self.config.model_type == "bert" else self.pad + 1

    @property
    def longest(self) -> int:
        """Tokens that a window can have."""
        return int(self.config.max_position_embeddings) - self.position_offset

    def encoder(
        self,
        rows: Rows,
        delta: EmbeddingDelta,
        layers: int | None,
        dropout: float,
        attention_dropout: float,
        trained: dict[str, torch.Tensor] | None = None,
    ) -> Encoder:
        """The encoder in fp32 with the given embedding rows, from the backbone or from a trained delta.

        ``trained`` holds every other weight of a trained encoder by plain name. Raises InputError where a weight that
        the encoder needs is missing: nothing but a task's head is ever initialised at random.
        """
        import copy

        from transformers import AutoModel

        config = copy.deepcopy(self.config)
        if layers is not None:
            if layers > config.num_hidden_layers:
                raise InputError(f"layers: {layers} asked for, {self.folder} has {config.num_hidden_layers}")
            config.num_hidden_layers = layers
        config.vocab_size = len(rows)
        config.hidden_dropout_prob = dropout
        config.attention_probs_dropout_prob = attention_dropout
        config.dtype = torch.float32
        model = AutoModel.from_config(config, add_pooling_layer=False, attn_implementation="sdpa")
        source = trained or {}
        weights = {WORD_EMBEDDING: gather(self.tensor(WORD_EMBEDDING), delta, rows)}
        wanted = [name for name, _ in model.named_parameters() if name != WORD_EMBEDDING]
        missing = [name for name in wanted if name not in source and (trained is not None or name not in self)]
        if missing:
            raise InputError(
                f"{self.folder}: the weights lack {len(missing)} tensors of the encoder, first '{missing[0]}'"
            )
        for name in wanted:
            weights[name] = source[name] if name in source else self.tensor(name).to(torch.float32)
        for name, parameter in model.named_parameters():
            if weights[name].shape != parameter.shape:
                raise InputError(
                    f"{self.folder}: tensor '{name}' is {list(weights[name].shape)}, its config.json says "
                    f"{list(parameter.shape)}; fetch or save the checkpoint again"
                )
        model.load_state_dict(weights, strict=False)
        model.to(torch.float32)
        return Encoder(model, self.position_offset)


class Encoder(nn.Module):
    """An encoder over the active vocabulary: token places [B, L] and mask [B, L] → hidden states [B, L, H]."""

    def __init__(self, model: nn.Module, position_offset: int) -> None:
        super().__init__()
        self.model = model
        self.position_offset = position_offset

    @property
    def hidden(self) -> int:
        """Width of the hidden states."""
        return int(self.model.config.hidden_size)  # type: ignore[union-attr, arg-type]

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None = None) -> torch.Tensor:
        """Hidden states of the last block. Positions count from each sequence's start, padding at the end."""
        positions = torch.arange(tokens.shape[1], device=tokens.device) + self.position_offset
        full = bool(mask.all())
        output = self.model(
            input_ids=tokens,
            # without padding no mask is needed, and attention without a mask is several times faster on CPU
            attention_mask=None if full else mask,
            token_type_ids=types,
            position_ids=positions.expand(tokens.shape[0], -1),
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden

    def weights(self) -> dict[str, torch.Tensor]:
        """All weights but the word embedding, by plain name."""
        return {name: value for name, value in self.model.named_parameters() if name != WORD_EMBEDDING}

    @property
    def embedding(self) -> nn.Parameter:
        """The active rows of the word embedding [R, H]."""
        return dict(self.model.named_parameters())[WORD_EMBEDDING]


class TaskModel(nn.Module):
    """Encoder and the head of one task."""

    def __init__(self, encoder: Encoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None = None) -> torch.Tensor:
        """Logits of the head."""
        logits: torch.Tensor = self.head(self.encoder(tokens, mask, types))
        return logits


def _plain(name: str) -> str:
    """The encoder's own name of a stored tensor: no model prefix, today's LayerNorm names."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            name = name[len(prefix) :]
            break
    return name.replace(".gamma", ".weight").replace(".beta", ".bias")


def _brief(error: Exception) -> str:
    """The first line of an error of another library."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
