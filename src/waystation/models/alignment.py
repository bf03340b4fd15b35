"""Word alignment of a sentence with its translation, from the encoder's own states: no parallel text is needed.

SimAlign's Argmax (Jalili Sabet et al. 2020, section 2.2): each sentence goes through the encoder alone, two sub-tokens
are linked where each is the other's most similar one (cosine of the states after two thirds of the blocks: 8 of 12, the
paper's choice), and two words where any of their sub-tokens are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from waystation.errors import InputError, Stopped
from waystation.models.backbone import Checkpoint
from waystation.models.encoder import Encoder
from waystation.models.vocabulary import EmbeddingDelta, active_rows, lookup

Links = set[tuple[int, int]]
Sentence = tuple[list[int], list[int | None]]
"""Token ids, and for each the number of its word; None for special tokens."""

BATCH = 1000  # sentences a call of the tokenizer


def layer_of(blocks: int) -> int:
    """The block whose states are compared."""
    return max(1, round(2 * blocks / 3))


def align(
    pairs: Sequence[tuple[Sequence[str], Sequence[str]]],
    checkpoint: Checkpoint,
    tokenizer: Any,
    device: torch.device,
    *,
    tokens_per_batch: int = 2048,
    on_progress: Callable[[float], None] = lambda share: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Links]:
    """For each (words, words of the translation) the pairs of word numbers that are linked, in fp32.

    What a sentence has beyond the tokens that the encoder can read is linked to nothing. Raises Stopped when asked.
    """
    sentences = _tokenize([side for pair in pairs for side in pair], tokenizer, checkpoint.longest)
    used = np.concatenate([np.zeros(0, np.int32), *(np.array(ids, np.int32) for ids, _ in sentences)])
    rows = active_rows(used, checkpoint.vocabulary)
    places = lookup(rows, checkpoint.vocabulary)
    depth = layer_of(int(checkpoint.config.num_hidden_layers))
    none = EmbeddingDelta.none(int(checkpoint.config.hidden_size))
    encoder = checkpoint.encoder(rows, none, depth, 0.0, 0.0).to(device).eval()
    sizes = [len(sentences[2 * at][0]) + len(sentences[2 * at + 1][0]) for at in range(len(pairs))]
    found: list[Links] = [set() for _ in pairs]
    batch: list[int] = []
    done = held = 0
    for at in sorted(range(len(pairs)), key=lambda one: -sizes[one]):
        if batch and held + sizes[at] > tokens_per_batch:
            if should_stop():
                raise Stopped("stopped while words were aligned; run again to go on")
            _link(batch, sentences, encoder, places, found)
            done, held, batch = done + len(batch), 0, []
            on_progress(done / len(pairs))
        batch.append(at)
        held += sizes[at]
    if batch:
        _link(batch, sentences, encoder, places, found)
    return found


def _tokenize(sentences: Sequence[Sequence[str]], tokenizer: Any, longest: int) -> list[Sentence]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputError("word alignment needs a fast tokenizer (tokenizer.json); use another backbone")
    backend.no_truncation()
    backend.no_padding()
    found: list[Sentence] = []
    for low in range(0, len(sentences), BATCH):
        batch = [list(words) for words in sentences[low : low + BATCH]]
        for encoding in backend.encode_batch(batch, is_pretokenized=True):
            found.append((encoding.ids[:longest], encoding.word_ids[:longest]))
    return found


@torch.inference_mode()
def _link(batch: list[int], sentences: list[Sentence], encoder: Encoder, places: Any, found: list[Links]) -> None:
    """Fill in the links of some pairs, which go through the encoder together."""
    inside = [sentences[2 * at + side] for at in batch for side in (0, 1)]
    lengths = [len(ids) for ids, _ in inside]
    flat = np.concatenate([places[np.array(ids, np.int64)] for ids, _ in inside]).astype(np.int64)
    states = encoder(torch.from_numpy(flat).to(encoder.embedding.device), lengths).float()
    states = torch.nn.functional.normalize(states, dim=-1)
    ends = list(accumulate(lengths))
    for number, at in enumerate(batch):
        first, second = ends[2 * number] - lengths[2 * number], ends[2 * number]
        own, other = states[first:second], states[second : ends[2 * number + 1]]
        sides = [
            [place for place, word in enumerate(words) if word is not None] for _, words in inside[2 * number :][:2]
        ]
        if not all(sides):
            continue
        similar = own[sides[0]] @ other[sides[1]].T
        there, back = similar.argmax(1).tolist(), similar.argmax(0).tolist()
        for place, to in enumerate(there):
            if back[to] == place:
                one, two = (inside[2 * number + side][1] for side in (0, 1))
                found[at].add((one[sides[0][place]], two[sides[1][to]]))  # type: ignore[arg-type]
