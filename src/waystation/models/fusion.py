"""FILTER's fusion (Fang et al. 2020): in some blocks a text and its translation attend to one another.

Everything else of the encoder stays: both texts lie in one flat row of tokens, one after the other, and which tokens
attend to which is a matter of the lengths that a block is given. There are no weights of its own.
"""

from __future__ import annotations

from waystation.errors import InputError
from waystation.steps.recipes import Fusion


def seen_by_blocks(lengths: list[int], fusion: Fusion, depth: int) -> list[list[int]]:
    """The lengths that each of ``depth`` blocks sees, for texts whose ``lengths`` are given pair by pair.

    The first ``fusion.local`` blocks see each text alone, the next ``fusion.fused`` see both of a pair as one, all
    others each alone again. Raises InputError where there are fewer blocks.
    """
    last = fusion.local + fusion.fused
    if last > depth:
        raise InputError(
            f"fusion: {fusion.local} local and {fusion.fused} fused blocks, but the encoder has {depth}; lower `fused`"
        )
    pairs = [one + other for one, other in zip(lengths[::2], lengths[1::2], strict=True)]
    return [pairs if fusion.local <= at < last else lengths for at in range(depth)]
