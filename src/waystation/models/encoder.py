"""The encoder over the active vocabulary, and a task's model: flat tokens in, flat hidden states out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from waystation.errors import InputError
from waystation.models import packing
from waystation.models.fusion import seen_by_blocks
from waystation.models.linear import Linear
from waystation.steps.recipes import Fusion


class Encoder(nn.Module):
    """Texts as one flat row: token places [N] and lengths (sum N) → hidden states [N, H].

    ``packed`` encoders never pad; the others pad for themselves. The embedding and the lowest ``frozen`` blocks (None:
    nothing) are the trunk: not trained, and without dropout. ``seen``: the lengths of what attends to itself, block by
    block, where blocks see more than one text at once (packed encoders only); positions are those of ``lengths``.
    """

    def __init__(self, model: nn.Module, position_offset: int, packed: bool, frozen: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.position_offset, self.packed, self.frozen = position_offset, packed, frozen
        _swap_layers(model)
        for part in self._trunk():
            part.requires_grad_(False)

    @property
    def hidden(self) -> int:
        """Width of the hidden states."""
        return int(self.model.config.hidden_size)  # type: ignore[union-attr, arg-type]

    @property
    def embedding(self) -> nn.Parameter:
        """The active rows of the word embedding [R, H]."""
        weight: nn.Parameter = self.model.get_input_embeddings().weight  # type: ignore[operator]
        return weight

    def weights(self) -> dict[str, torch.Tensor]:
        """All trained weights but the word embedding, by plain name."""
        own = self.embedding
        kept = self.model.named_parameters()
        return {name: value for name, value in kept if value is not own and value.requires_grad}

    def forward(
        self,
        tokens: torch.Tensor,
        lengths: list[int],
        types: torch.Tensor | None = None,
        rows: torch.Tensor | None = None,
        seen: Sequence[list[int]] | None = None,
    ) -> torch.Tensor:
        """Hidden states of the last block: of all tokens [N, H], or of those at ``rows`` [S] → [S, H].

        Raises InputError for ``seen`` in an encoder that is not packed.
        """
        if self.packed:
            return self.top(self.trunk(tokens, lengths, types, seen), lengths, rows, seen)
        if seen is not None:
            kind = self.model.config.model_type  # type: ignore[union-attr]
            raise InputError(
                f"a {kind} encoder cannot read a text beside its translation: its attention knows one text at a time; "
                f"leave fusion out, or take a backbone of the types {', '.join(packing.MASKLESS)}"
            )
        states = self._padded(tokens, lengths, types)
        return states if rows is None else states[rows]

    def trunk(
        self,
        tokens: torch.Tensor,
        lengths: list[int],
        types: torch.Tensor | None = None,
        seen: Sequence[list[int]] | None = None,
    ) -> torch.Tensor:
        """The states [N, H] that the trained blocks read: the embedding where nothing is frozen. Packed encoders only.

        A frozen part builds no graph.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.frozen is None):
            positions = torch.cat([torch.arange(length, device=tokens.device) for length in lengths])
            hidden: torch.Tensor = self.model.embeddings(  # type: ignore[operator]
                input_ids=tokens[None],
                position_ids=(positions + self.position_offset)[None],
                token_type_ids=torch.zeros_like(tokens)[None] if types is None else types[None],
            )
            return self._run(range(self.frozen or 0), hidden, seen or [lengths] * len(self.blocks))[0]

    def top(
        self,
        states: torch.Tensor,
        lengths: list[int],
        rows: torch.Tensor | None = None,
        seen: Sequence[list[int]] | None = None,
    ) -> torch.Tensor:
        """From the states [N, H] that the trained blocks read to those of the last block, as ``forward`` gives them."""
        above, seen = range(self.frozen or 0, len(self.blocks)), seen or [lengths] * len(self.blocks)
        if rows is None or not len(above):
            hidden = self._run(above, states[None], seen)[0]
            return hidden if rows is None else hidden[rows]
        return _rows_of(self.blocks[above[-1]], self._run(above[:-1], states[None], seen), seen[-1], rows)

    @property
    def blocks(self) -> nn.ModuleList:
        """The blocks, lowest first."""
        holder = self.model.encoder.layer if hasattr(self.model, "encoder") else self.model.layers  # type: ignore[union-attr]
        assert isinstance(holder, nn.ModuleList)
        return holder

    def train(self, mode: bool = True) -> Encoder:
        """Like Module.train; what is frozen stays without dropout."""
        super().train(mode)
        for part in self._trunk():
            part.eval()
        return self

    def recompute_activations(self) -> None:
        """Gradient checkpointing: keep no block's activations for the backward pass, compute them again there."""
        model: Any = self.model  # older versions of transformers know the second name alone
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable()

    def _trunk(self) -> Iterator[nn.Module]:
        if self.frozen is not None:
            yield self.model.embeddings  # type: ignore[misc]
            yield from self.blocks[: self.frozen]
            shared = getattr(self.model, "encoder", None)  # DeBERTa's positions, which every block reads
            yield from (getattr(shared, name) for name in ("rel_embeddings", "LayerNorm") if hasattr(shared, name))

    def _run(self, which: range, hidden: torch.Tensor, seen: Sequence[list[int]]) -> torch.Tensor:
        for at in which:
            hidden = self.blocks[at](hidden, None, lengths=seen[at])
        return hidden

    def _padded(self, tokens: torch.Tensor, lengths: list[int], types: torch.Tensor | None) -> torch.Tensor:
        """The same through a padded batch, for encoders with an attention of their own."""
        mask = packing.inside(lengths, tokens.device)
        wide = torch.zeros_like(mask, dtype=torch.long).masked_scatter(mask, tokens)
        more = {}
        if types is not None:
            more["token_type_ids"] = torch.zeros_like(wide).masked_scatter(mask, types)
        output = self.model(input_ids=wide, attention_mask=mask.long(), **more)
        states: torch.Tensor = output.last_hidden_state
        return states[mask]


class TaskModel(nn.Module):
    """Encoder and the head of one task; ``heads``: those of further tasks that are trained with it, by name."""

    def __init__(self, encoder: Encoder, head: nn.Module, heads: Mapping[str, nn.Module] | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.heads = nn.ModuleDict(heads)

    def forward(
        self,
        tokens: torch.Tensor,
        lengths: list[int],
        types: torch.Tensor | None = None,
        rows: torch.Tensor | None = None,
        states: torch.Tensor | None = None,
        head: str = "",
        fusion: Fusion | None = None,
    ) -> torch.Tensor:
        """Logits [S, C] of the hidden states at ``rows`` [S] (None: of all), by the head of this name ("": the main).

        ``states`` [N, H]: what the encoder's trunk makes of the tokens, where that is known already. ``fusion``: the
        texts are translations and originals in turn.
        """
        seen = None if fusion is None else seen_by_blocks(lengths, fusion, len(self.encoder.blocks))
        if states is None:
            hidden = self.encoder(tokens, lengths, types, rows, seen)
        else:
            hidden = self.encoder.top(states, lengths, rows, seen)
        logits: torch.Tensor = (self.heads[head] if head else self.head)(hidden)
        return logits


def _rows_of(block: nn.Module, hidden: torch.Tensor, lengths: list[int], rows: torch.Tensor) -> torch.Tensor:
    """What a block makes of some tokens [S, H]: all of them are attended to, the rest is done for these alone."""
    attended = block.attention.self(hidden, None, lengths=lengths)[0]  # type: ignore[operator, union-attr]
    some, before = (part[0].index_select(0, rows)[None] for part in (attended, hidden))
    mixed = block.attention.output(some, before)  # type: ignore[operator, union-attr]
    found: torch.Tensor = block.feed_forward_chunk(mixed)[0]  # type: ignore[operator]
    return found


def _swap_layers(model: nn.Module) -> None:
    """Put our own linear layers and dropout in the place of torch's."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Dropout:
                setattr(module, name, packing.Dropout(child.p))
            elif type(child) is nn.Linear:
                setattr(module, name, Linear.of(child))
