"""The head of masked language modelling, tied to the embedding, and its loss in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from waystation.errors import InputError
from waystation.models.backbone import FROM_PADDING, Checkpoint
from waystation.models.linear import onednn, product
from waystation.models.vocabulary import EmbeddingDelta, Rows

LAYOUTS = (
    ("lm_head.dense", "lm_head.layer_norm", ("lm_head.bias", "lm_head.decoder.bias")),
    (
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        ("cls.predictions.bias", "cls.predictions.decoder.bias"),
    ),
)
"""Where checkpoints have the head's layers and its bias: RoBERTa and XLM-R, BERT."""

NEW = "new MLM head: the backbone has none, so a short phase mostly trains the head"
OWN = "the backbone's own MLM head"
CUT = "the backbone's own MLM head, made for its last block, which is cut off"
BEFORE = "the MLM head of the phase before"

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": partial(functional.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
}

LOGITS = 2**25
"""Logits that are in memory at once (128 MiB): over 250,000 rows, those of 134 tokens."""
ROWS = 2**14
"""Rows of the embedding whose gradient is added at once."""


class MlmHead(nn.Module):
    """Dense, activation, layer norm, then the product with the embedding's rows and a bias for each of them.

    As transformers' RobertaLMHead and BertLMPredictionHead. The embedding is given at each call and never the head's
    own; ``rows`` int64 [R]: which vocabulary rows it has.
    """

    def __init__(self, hidden: int, rows: Rows, activation: Callable[[torch.Tensor], torch.Tensor], eps: float) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(hidden, hidden), nn.LayerNorm(hidden, eps=eps)
        nn.init.normal_(self.dense.weight, std=0.02)  # as transformers draws it
        nn.init.zeros_(self.dense.bias)
        self.bias = nn.Parameter(torch.zeros(len(rows)))
        self.rows: torch.Tensor
        self.register_buffer("rows", torch.from_numpy(rows.copy()))
        self.activation = activation

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states [S, H] → what is multiplied with the embedding [S, H]."""
        found: torch.Tensor = self.norm(self.activation(self.dense(hidden)))
        return found

    def loss(self, hidden: torch.Tensor, embedding: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy in fp32 summed over S tokens; ``embedding`` [R, H], ``targets`` int64 [S] are rows of it."""
        found: torch.Tensor = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
            self(hidden), embedding, self.bias, targets, torch.is_grad_enabled()
        )
        return found


class _CrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of rows · embeddingᵀ + bias, some tokens at a time.

    The gradients are made at once, as only their factor is unknown before the backward pass, so no logit is kept.
    """

    @staticmethod
    def forward(
        context: Any,
        rows: torch.Tensor,
        embedding: torch.Tensor,
        bias: torch.Tensor,
        targets: torch.Tensor,
        learning: bool,
    ) -> torch.Tensor:
        total = torch.zeros((), device=rows.device)
        of_rows, of_bias = torch.empty_like(rows), torch.zeros_like(bias)
        of_embedding = torch.zeros_like(embedding) if learning and context.needs_input_grad[1] else None
        size = max(1, LOGITS // len(embedding))
        for low in range(0, len(rows), size):
            some, right = rows[low : low + size], targets[low : low + size, None]
            logits = _times(some, embedding, bias).float()
            total -= logits.gather(1, right).sum()
            highest = logits.amax(1, keepdim=True)
            sums = logits.sub_(highest).exp_().sum(1, keepdim=True)  # in place: there is one such matrix
            total += (highest + sums.log()).sum()
            if not learning:
                continue
            change = logits.div_(sums).scatter_add_(1, right, -torch.ones_like(sums))
            of_rows[low : low + size] = _times(change, embedding.T)
            of_bias += change.sum(0)
            if of_embedding is not None:
                for part, of_part in zip(*(torch.split(one, ROWS) for one in (change.T, of_embedding)), strict=True):
                    of_part += _times(part, some.T)
        context.gradients = of_rows, of_embedding, of_bias
        return total

    @staticmethod
    @once_differentiable
    def backward(context: Any, factor: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradients, context.gradients = context.gradients, None  # changed in place: the largest is a whole embedding
        return (*(None if one is None else one.mul_(factor) for one in gradients), None, None)


def _times(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """rows · weightᵀ + bias, by oneDNN where that can be had."""
    plain = rows.device.type != "cpu" or rows.dtype != torch.float32 or torch.is_autocast_enabled("cpu")
    return functional.linear(rows, weight, bias) if plain or not onednn() else product(rows, weight, bias)


def mlm_head(
    checkpoint: Checkpoint, rows: Rows, layers: int | None, trained: Mapping[str, torch.Tensor] | None = None
) -> tuple[MlmHead, str]:
    """The head over some vocabulary rows, and where it comes from (``NEW``, ``OWN``, ``CUT`` or ``BEFORE``).

    ``trained``: state of a head from an earlier phase, over any rows; else the checkpoint's own, else a new one from
    torch's global generator. ``layers``: how many of the checkpoint's blocks are used.
    """
    config = checkpoint.config
    kind = "gelu" if config.model_type in FROM_PADDING else getattr(config, "hidden_act", "gelu")
    if kind not in ACTIVATIONS:
        raise InputError(f"{checkpoint.folder}: hidden_act '{kind}' of its MLM head is not supported")
    head = MlmHead(int(config.hidden_size), rows, ACTIVATIONS[kind], float(getattr(config, "layer_norm_eps", 1e-5)))
    bias, origin = torch.zeros(len(rows)), NEW
    state: dict[str, torch.Tensor] = {}
    for dense, norm, biases in LAYOUTS:
        named = [name for name in biases if name in checkpoint]
        if f"{dense}.weight" in checkpoint and named:
            bias = checkpoint.tensor(named[0], rows)
            origin = OWN if layers in (None, config.num_hidden_layers) else CUT
            for layer, name in (("dense", dense), ("norm", norm)):
                state |= {f"{layer}.{part}": checkpoint.tensor(f"{name}.{part}") for part in ("weight", "bias")}
    if trained:
        state = {name: value for name, value in trained.items() if name not in ("rows", "bias")}
        before = EmbeddingDelta(trained["rows"].numpy(), trained["bias"][:, None])
        bias, origin = before.apply(rows, bias[:, None])[:, 0], BEFORE
    if state:
        head.load_state_dict({**state, "bias": bias, "rows": head.rows})
    return head, origin
