"""FILTER's encoder: equal to transformers' blocks under masks, and at both its ends to the plain encoder."""

import functools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation.errors import InputError  # noqa: E402
from waystation.models.backbone import Checkpoint  # noqa: E402
from waystation.models.encoder import TaskModel  # noqa: E402
from waystation.models.fusion import seen_by_blocks  # noqa: E402
from waystation.models.vocabulary import EmbeddingDelta  # noqa: E402
from waystation.steps.recipes import Fusion  # noqa: E402

PACKED = ["xlm-roberta", "bert"]
DEPTH = 4
SHAPES = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (0, 4), (3, 1), (4, 0)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {kind: tiny_checkpoint(tmp_path_factory.mktemp(kind), kind, DEPTH, spread=0.15) for kind in PACKED}
    return made | {kind: tiny_checkpoint(tmp_path_factory.mktemp(kind), kind) for kind in ("deberta-v2", "modernbert")}


@functools.cache
def encoder(folder, frozen=None):
    checkpoint = Checkpoint(folder)
    rows, none = np.arange(checkpoint.vocabulary), EmbeddingDelta.none(checkpoint.config.hidden_size)
    return checkpoint.encoder(rows, none, None, 0.0, 0.0, frozen=frozen).train()


def texts(lengths, seed=0):
    return torch.randint(4, 180, (sum(lengths),), generator=torch.Generator().manual_seed(seed))


def fused(own, tokens, lengths, local, number, rows=None):
    seen = seen_by_blocks(lengths, Fusion(local=local, fused=number), len(own.blocks))
    return own(tokens, lengths, None, rows, seen)


def reference(auto, base, tokens, lengths, local, number):
    """One pair after the other through transformers' blocks, what attends to what said by a mask."""
    found = []
    for one, other, part in zip(lengths[::2], lengths[1::2], tokens.split(pair_sizes(lengths)), strict=True):
        positions = torch.cat([torch.arange(one), torch.arange(other)]) + base
        hidden = auto.embeddings(input_ids=part[None], position_ids=positions[None])
        own = torch.arange(one + other) < one
        apart = torch.zeros(1, 1, one + other, one + other).masked_fill(own[:, None] != own, float("-inf"))
        for at, block in enumerate(auto.encoder.layer):
            mask = torch.zeros_like(apart) if local <= at < local + number else apart
            hidden = block(hidden, mask)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        found.append(hidden[0])
    return torch.cat(found)


def pair_sizes(lengths):
    return [one + other for one, other in zip(lengths[::2], lengths[1::2], strict=True)]


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize(("local", "number"), SHAPES)
def test_states_are_those_of_transformers_blocks_under_masks(folders, kind, local, number):
    from transformers import AutoModel

    auto = AutoModel.from_pretrained(folders[kind], attn_implementation="eager").eval()
    lengths = [7, 3, 11, 11, 1, 8]
    tokens = texts(lengths)
    with torch.no_grad():
        own = encoder(folders[kind])
        expected = reference(auto, own.position_offset, tokens, lengths, local, number)
        found = fused(own, tokens, lengths, local, number)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


LENGTHS = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=4)


@settings(max_examples=20)
@given(pairs=LENGTHS, local=st.integers(0, DEPTH), kind=st.sampled_from(PACKED))
def test_without_a_fused_block_both_texts_are_encoded_apart(folders, pairs, local, kind):
    lengths, own = [length for pair in pairs for length in pair], encoder(folders[kind])
    tokens = texts(lengths)
    with torch.no_grad():
        alone = [own(part, [len(part)]) for part in tokens.split(lengths)]
        torch.testing.assert_close(fused(own, tokens, lengths, local, 0), torch.cat(alone), rtol=0, atol=1e-5)


@settings(max_examples=20)
@given(pairs=LENGTHS, kind=st.sampled_from(PACKED))
def test_fused_throughout_with_positions_that_go_on_a_pair_is_one_text(folders, pairs, kind):
    lengths, own = [length for pair in pairs for length in pair], encoder(folders[kind])
    together, tokens = [sum(pair) for pair in pairs], texts(lengths)
    seen = seen_by_blocks(lengths, Fusion(local=0, fused=DEPTH), DEPTH)
    with torch.no_grad():
        embedded = encoder(folders[kind], frozen=0).trunk(tokens, together)  # positions over the whole pair
        torch.testing.assert_close(own.top(embedded, lengths, seen=seen), own(tokens, together), rtol=0, atol=1e-5)
        if any(min(pair) > 1 for pair in pairs):  # else the test could not fail
            assert not torch.allclose(own.trunk(tokens, lengths), embedded, atol=1e-3), "positions start anew"


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("frozen", [None, 0, 2, 4])
@pytest.mark.parametrize(("local", "number"), [(1, 2), (3, 1), (0, 4)])
def test_the_states_of_some_tokens_and_what_is_frozen(folders, kind, frozen, local, number):
    """Also where the last block is a fused one, and where fused blocks are frozen."""
    lengths = [7, 3, 11, 3]
    tokens, own, free = texts(lengths), encoder(folders[kind], frozen), encoder(folders[kind])
    whole = fused(free, tokens, lengths, local, number)
    for rows in (torch.tensor([0, 7, 10, 21]), torch.tensor([8, 9, 22]), None):
        found = fused(own, tokens, lengths, local, number, rows)
        expected = whole if rows is None else whole[rows]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize(("local", "number"), SHAPES)
def test_gradients_reach_both_texts_where_blocks_are_fused(folders, kind, local, number):
    """From a state of one text to the embedded tokens of the other, in both directions, and to no other pair."""
    lengths = [5, 6, 4, 7]
    own, seen = encoder(folders[kind]), seen_by_blocks(lengths, Fusion(local=local, fused=number), DEPTH)
    embedded = own.trunk(texts(lengths), lengths).detach().requires_grad_()
    for asked in range(4):
        states = own.top(embedded, lengths, None, seen)
        (gradient,) = torch.autograd.grad(states.split(lengths)[asked].sum(0)[0], embedded)
        reached = [bool((part.abs().amax(-1) > 1e-8).all()) for part in gradient.split(lengths)]
        partner = asked + 1 if asked % 2 == 0 else asked - 1
        assert reached == [at == asked or (at == partner and number > 0) for at in range(4)]


@pytest.mark.parametrize("local", [0, 2])
def test_a_weight_of_a_fused_block_learns_from_both(folders, local):
    lengths = [5, 6]
    own, tokens = encoder(folders["xlm-roberta"]), texts(lengths)
    states = fused(own, tokens, lengths, local, 2)
    key = own.blocks[local].attention.self.key.weight
    gradients = [torch.autograd.grad(part.square().sum(), key, retain_graph=True)[0] for part in states.split(lengths)]
    assert all((gradient.abs() > 1e-8).any() for gradient in gradients)


def test_the_model_takes_pairs(folders):
    """Rows of both slots; the second row here is the original's own first token."""
    own = encoder(folders["xlm-roberta"])
    model, lengths = TaskModel(own, torch.nn.Linear(32, 3)), [7, 3, 11, 4]
    tokens, fusion = texts(lengths), Fusion(local=1, fused=2)
    firsts = torch.tensor([0, 7, 10, 21])
    expected = model.head(fused(own, tokens, lengths, 1, 2))[firsts]
    torch.testing.assert_close(model(tokens, lengths, rows=firsts, fusion=fusion), expected, rtol=0, atol=1e-5)
    below = own.trunk(tokens, lengths)
    torch.testing.assert_close(
        model(tokens, lengths, rows=firsts, states=below, fusion=fusion), expected, rtol=0, atol=1e-5
    )


def test_blocks_that_are_not_there(folders):
    with pytest.raises(InputError, match="3 local and 2 fused blocks, but the encoder has 4"):
        fused(encoder(folders["bert"]), texts([3, 4]), [3, 4], 3, 2)


@pytest.mark.parametrize("kind", ["deberta-v2", "modernbert"])
def test_encoders_with_an_attention_of_their_own_are_refused(folders, kind):
    with pytest.raises(InputError, match=f"a {kind} encoder cannot read a text beside its translation") as caught:
        fused(encoder(folders[kind]), texts([3, 4]), [3, 4], 0, 1)
    assert "\n" not in str(caught.value)
