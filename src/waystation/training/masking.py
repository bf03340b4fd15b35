"""Which tokens of a batch are masked: a pure function of its texts and a generator, whatever the micro-batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from waystation.errors import InputError
from waystation.formats.mlm import OUTSIDE
from waystation.models.vocabulary import Rows
from waystation.steps.recipes import Mlm

Ints = npt.NDArray[np.int32]

MASKED, REPLACED = 0.8, 0.1
"""Of the tokens to be predicted, the shares that are masked and replaced at random; the rest stays (Devlin et al. 2019,
section 3.1)."""


@dataclass(frozen=True)
class Masking:
    """How tokens to be predicted are chosen and hidden.

    ``mask``: id of the mask token; ``others``: ids that a token may be replaced by; ``probability`` of a token, or with
    ``whole_word`` of all tokens of a word together, to be predicted.
    """

    mask: int
    others: Rows
    probability: float
    whole_word: bool

    def __call__(self, tokens: Ints, word: Ints, generator: np.random.Generator) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """What the model is shown of ``tokens`` int32 [T], and which of them it must predict, bool [T].

        ``word`` int32 [T] as ``formats.mlm`` encodes it. At least one token is predicted, unless all are outside words.
        """
        inside = word != OUTSIDE
        starts = inside.copy()  # of the units that are chosen together
        if self.whole_word:
            starts[1:] &= word[1:] != word[:-1]
        unit = np.cumsum(starts) - 1
        units = int(starts.sum())
        drawn = generator.random(units) < self.probability
        if units and not drawn.any():
            drawn[generator.integers(units)] = True
        predicted = inside.copy()
        predicted[inside] = drawn[unit[inside]]
        places = np.flatnonzero(predicted)
        fate = generator.random(len(places))
        shown = tokens.copy()
        shown[places[fate < MASKED]] = self.mask
        replaced = places[(fate >= MASKED) & (fate < MASKED + REPLACED)]
        if len(self.others):
            shown[replaced] = generator.choice(self.others, len(replaced))
        return shown, predicted


def masking(mlm: Mlm, tokenizer: Any, rows: Rows) -> Masking:
    """Masking over the vocabulary rows in use; random tokens are any of them but the special ones.

    Raises InputError where the tokenizer has no mask token.
    """
    if tokenizer.mask_token_id is None:
        raise InputError("the backbone's tokenizer has no mask token, so there is no MLM with it; use another backbone")
    known = rows[rows < len(tokenizer)]
    others = known[~np.isin(known, tokenizer.all_special_ids)]
    return Masking(tokenizer.mask_token_id, others, mlm.probability, mlm.whole_word)
