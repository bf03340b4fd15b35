"""The only door to transformers: checkpoint folders, tokenizers, and encoders with an active vocabulary."""

from __future__ import annotations

import copy
import json
import os
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from waystation import backbones
from waystation.backbones import SUPPORTED, Backbone
from waystation.errors import InputError
from waystation.models import packing
from waystation.models.encoder import Encoder
from waystation.models.tensors import read_tensor, tensor_shape
from waystation.models.vocabulary import EmbeddingDelta, Rows

WORD_EMBEDDING = "embeddings.word_embeddings.weight"
PREFIXES = ("bert.", "roberta.", "xlm_roberta.", "camembert.", "deberta.", "model.")
TOKENIZERS = ("tokenizer.json", "sentencepiece.bpe.model", "spm.model", "vocab.txt", "vocab.json")
FROM_PADDING = ("roberta", "xlm-roberta", "camembert")
"""``model_type`` of the encoders that count positions from after the padding id."""


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
    pieces = [name for name in TOKENIZERS if name.endswith(".model") and (folder / name).is_file()]
    if pieces and not (folder / "tokenizer.json").is_file():
        needed = {"sentencepiece": "sentencepiece"} | ({"google.protobuf": "protobuf"} if "spm.model" in pieces else {})
        lacking = [package for module, package in needed.items() if not _there(module)]
        if lacking:
            raise InputError(
                f"{folder} has only {pieces[0]}; pip install {' '.join(lacking)} or save a tokenizer.json there"
            )
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True)
    except Exception as error:
        raise InputError(f"no tokenizer could be read from {folder} ({_brief(error)})") from None
    if not tokenizer.is_fast:
        raise InputError(f"{folder} gives no fast tokenizer; save a tokenizer.json there")
    return tokenizer


class Checkpoint:
    """Weights of a checkpoint folder under the encoder's plain names, read when they are asked for."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoConfig

        self.folder = folder
        try:
            self.config = AutoConfig.from_pretrained(folder, local_files_only=True)
        except Exception as error:
            raise InputError(f"{folder}/config.json cannot be read ({_brief(error)})") from None
        if self.config.model_type not in SUPPORTED:
            raise InputError(
                f"{folder}: model_type '{self.config.model_type}' is not supported; give an encoder of the types "
                f"{', '.join(SUPPORTED)}"
            )
        self._where: dict[str, tuple[Path, str]] = {}
        for file in self._files():
            for name in self._names(file):
                self._where[_plain(name)] = (file, name)
        self._loaded: dict[Path, dict[str, torch.Tensor]] = {}
        if self.word_embedding not in self._where:
            raise InputError(
                f"{folder}: no tensor '{self.word_embedding}' in its weights; save an encoder checkpoint there"
            )

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

    def tensor(self, name: str, rows: Rows | None = None) -> torch.Tensor:
        """One tensor by its plain name, float32: the whole of it, or some rows."""
        file, stored = self._where[name]
        if file.suffix == ".safetensors":
            return read_tensor(file, stored, rows)
        if file not in self._loaded:
            self._loaded[file] = self._legacy(file)
        whole = self._loaded[file][stored]
        return (whole if rows is None else whole[torch.from_numpy(rows)]).to(torch.float32)

    def __contains__(self, name: str) -> bool:
        return name in self._where

    @property
    def word_embedding(self) -> str:
        """Plain name of the word embedding."""
        return "embeddings.tok_embeddings.weight" if self.config.model_type == "modernbert" else WORD_EMBEDDING

    @property
    def vocabulary(self) -> int:
        """Rows of the word embedding."""
        file, stored = self._where[self.word_embedding]
        legacy = file.suffix != ".safetensors"
        return (self.tensor(self.word_embedding).shape if legacy else tensor_shape(file, stored))[0]

    @property
    def packable(self) -> bool:
        """Whether many texts can be run as one row of tokens (``models/packing.py``)."""
        return self.config.model_type in packing.MASKLESS

    @property
    def position_offset(self) -> int:
        """The position of the first token: XLM-R counts from after the padding id."""
        return int(self.config.pad_token_id or 0) + 1 if self.config.model_type in FROM_PADDING else 0

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
        frozen: int | None = None,
    ) -> Encoder:
        """The encoder in fp32 with the given embedding rows, from the backbone or from a trained delta.

        ``trained`` holds weights of a trained encoder by plain name; all others are the backbone's. ``frozen``: None,
        or that many lowest blocks, and the embedding, are not trained. Raises InputError where a weight that the
        encoder needs is missing: nothing but a task's head is ever initialised at random.
        """
        from transformers import AutoModel

        config = self._config(len(rows), layers, dropout, attention_dropout)
        if frozen is not None and frozen > config.num_hidden_layers:
            raise InputError(f"frozen: {frozen} blocks, the encoder has {config.num_hidden_layers}; lower it")
        if self.packable:
            packing.register()
            model = AutoModel.from_config(config, add_pooling_layer=False, attn_implementation=packing.PACKED)
        else:
            model = AutoModel.from_config(config)
        source = trained or {}
        wanted = [name for name, _ in model.named_parameters() if name != self.word_embedding]
        missing = [name for name in wanted if name not in source and name not in self]
        if missing:
            raise InputError(
                f"{self.folder}: the weights lack {len(missing)} tensors of the encoder, first '{missing[0]}'"
            )
        for name, parameter in model.named_parameters():
            if name == self.word_embedding:
                weight = delta.apply(rows, self.tensor(name, rows))
            else:
                weight = source[name] if name in source else self.tensor(name)
            if weight.shape != parameter.shape:
                raise InputError(
                    f"{self.folder}: tensor '{name}' is {list(weight.shape)}, its config.json says "
                    f"{list(parameter.shape)}; fetch or save the checkpoint again"
                )
            parameter.data.copy_(weight)  # one at a time: the weights are never in memory twice
        return Encoder(model, self.position_offset, self.packable, frozen)

    def _config(self, rows: int, layers: int | None, dropout: float, attention_dropout: float) -> Any:
        config = copy.deepcopy(self.config)
        if layers is not None:
            if layers > config.num_hidden_layers:
                raise InputError(f"layers: {layers} asked for, {self.folder} has {config.num_hidden_layers}")
            config.num_hidden_layers = layers
            if getattr(config, "layer_types", None):
                config.layer_types = config.layer_types[:layers]
        config.vocab_size = rows
        config.pad_token_id = None  # nothing is padded with a token, and row numbers are our own
        config.dtype = torch.float32
        if config.model_type == "modernbert":
            config.embedding_dropout = config.mlp_dropout = dropout
            config.attention_dropout = attention_dropout
        else:
            config.hidden_dropout_prob = dropout
            config.attention_probs_dropout_prob = attention_dropout
        return config


def _plain(name: str) -> str:
    """The encoder's own name of a stored tensor: no model prefix, today's LayerNorm names."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            name = name[len(prefix) :]
            break
    return name.replace(".gamma", ".weight").replace(".beta", ".bias")


def _there(module: str) -> bool:
    """Whether a module can be imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is absent
        return False


def _brief(error: Exception) -> str:
    """The first line of an error of another library."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
