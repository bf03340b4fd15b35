"""Attention of packed texts is that of each text alone, and the draw of dropout is as good as torch's own."""

from itertools import groupby
from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from waystation.models import packing  # noqa: E402

HEADS, WIDTH, STEPS = 3, 4, 65536
LENGTHS = st.one_of(
    st.lists(st.integers(1, 12), min_size=1, max_size=8),
    st.lists(st.sampled_from([1, 2, 7]), min_size=1, max_size=12),
    st.tuples(st.integers(1, 12), st.integers(1, 9)).map(lambda pair: [pair[0]] * pair[1]),
)
SEEDS = st.integers(0, 2**31)


def parts(lengths, seed=0):
    """Query, key and value [1, heads, N, D] as transformers hands them over, sharp enough that attention matters.

    In double precision: what is compared is what is computed, not how it is rounded.
    """
    drawn, shape = torch.Generator().manual_seed(seed), (1, sum(lengths), HEADS, WIDTH)
    inputs = [2 * torch.randn(shape, generator=drawn, dtype=torch.float64).transpose(1, 2) for _ in range(3)]
    return [part.requires_grad_() for part in inputs]


def plain(query, key, value, lengths, scale=None, masks=None):
    """Softmax attention, text by text and head by head, [N, heads, D]; ``masks`` [heads, L, L] are multiplied in."""
    scale, out, start = WIDTH**-0.5 if scale is None else scale, [], 0
    for number, length in enumerate(lengths):
        own = slice(start, start + length)
        heads = []
        for head in range(HEADS):
            weights = torch.softmax(query[0, head, own] @ key[0, head, own].T * scale, -1)
            heads.append((weights if masks is None else weights * masks[number][head]) @ value[0, head, own])
        out.append(torch.stack(heads, 1))
        start += length
    return torch.cat(out)


def assert_equal(found, expected, inputs, atol=1e-10):
    """Outputs and gradients; both are functions of the same inputs."""
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
    pull = torch.linspace(-1, 1, expected.numel(), dtype=torch.float64).view(expected.shape)
    pairs = zip(*(torch.autograd.grad((out * pull).sum(), inputs) for out in (found, expected)), strict=True)
    for mine, wanted in pairs:
        torch.testing.assert_close(mine, wanted, rtol=0, atol=atol)


# Attention


@settings(deadline=None)
@given(LENGTHS, SEEDS, st.sampled_from([None, 0.2, 1.0]))
def test_each_text_attends_to_itself_alone(lengths, seed, scaling):
    inputs = parts(lengths, seed)
    found, weights = packing.attend(torch.nn.Module(), *inputs, None, scaling=scaling, lengths=lengths)
    assert weights is None and found.shape == (1, sum(lengths), HEADS, WIDTH)
    assert_equal(found[0], plain(*inputs, lengths, scaling), inputs)


@settings(deadline=None)
@given(LENGTHS, SEEDS, st.sampled_from([None, 0.2]))
def test_padding_for_the_call_alone_is_the_same(lengths, seed, scaling):
    """What runs on a GPU in single precision."""
    inputs = parts(lengths, seed)
    flat = [part[0].transpose(0, 1) for part in inputs]
    found = packing._padded(*flat, lengths, 0.0, scaling)
    assert_equal(found, plain(*inputs, lengths, scaling), inputs)


@settings(deadline=None)
@given(LENGTHS, SEEDS, st.sampled_from([0.1, 0.5, 0.9]), st.sampled_from([None, 0.2]))
def test_attention_with_dropout_is_plain_attention_under_its_mask(lengths, seed, share, scaling):
    inputs = parts(lengths, seed)
    torch.manual_seed(seed)
    found, _ = packing.attend(torch.nn.Module(), *inputs, None, dropout=share, scaling=scaling, lengths=lengths)
    # The same bits, drawn again: one draw for neighbours of equal length.
    torch.manual_seed(seed)
    masks = []
    for length, run in groupby(lengths):
        masks += packing.drop(torch.ones(len(list(run)), HEADS, length, length, dtype=torch.float64), share)
    if sum(length * length for length in lengths) > 60:
        assert len(torch.cat([mask.flatten() for mask in masks]).unique()) == 2, "some are dropped, some are kept"
    assert_equal(found[0], plain(*inputs, lengths, scaling, masks), inputs)


def test_dropout_on_weights_vanishes_with_its_share():
    lengths = [5, 5, 2, 9]
    inputs = parts(lengths)
    torch.manual_seed(0)
    found, _ = packing.attend(torch.nn.Module(), *inputs, None, dropout=1e-5, lengths=lengths)  # 1/65536 is drawn
    assert_equal(found[0], plain(*inputs, lengths), inputs, atol=1e-3)


def test_the_mean_over_many_draws_is_attention_without_dropout():
    lengths = [4, 4, 3]
    inputs = [part.detach() for part in parts(lengths)]
    torch.manual_seed(0)
    draws = [packing.attend(torch.nn.Module(), *inputs, None, dropout=0.3, lengths=lengths)[0][0] for _ in range(4000)]
    stacked = torch.stack(draws)
    error = (stacked.mean(0) - plain(*inputs, lengths)).abs()
    assert (error <= 5 * stacked.std(0) / sqrt(4000) + 1e-9).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: the variable-length kernel needs one")
@pytest.mark.parametrize(
    ("kind", "dropout"), [(torch.bfloat16, 0.0), (torch.float16, 0.0), (torch.float32, 0.0), (torch.bfloat16, 1e-6)]
)
def test_attention_on_a_gpu(kind, dropout):
    lengths, width = [5, 5, 1, 130, 17], 32
    drawn = [torch.randn(1, HEADS, sum(lengths), width, device="cuda", dtype=kind) for _ in range(3)]
    inputs = [part.requires_grad_() for part in drawn]
    found, _ = packing.attend(torch.nn.Module(), *inputs, None, dropout=dropout, lengths=lengths)
    exact = [part.detach().float().cpu().requires_grad_() for part in inputs]
    expected = plain(*exact, lengths, width**-0.5)
    atol = 1e-5 if kind == torch.float32 else 3e-2
    torch.testing.assert_close(found[0].float().cpu(), expected, rtol=0, atol=atol)
    found.sum().backward()
    expected.sum().backward()
    for mine, wanted in zip(inputs, exact, strict=True):
        torch.testing.assert_close(mine.grad.float().cpu(), wanted.grad, rtol=0, atol=5 * atol)


@given(LENGTHS)
def test_where_a_padded_batch_holds_tokens(lengths):
    mask = packing.inside(lengths)
    assert mask.tolist() == [[at < length for at in range(max(lengths))] for length in lengths]


# Dropout


def exact(share):
    """The probability that is meant: a whole number of 1/65536."""
    return round(share * STEPS) / STEPS


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_the_share_dropped_is_what_was_asked_for(share):
    torch.manual_seed(0)
    number = 400_000
    lost = packing.drop(torch.ones(number), share) == 0
    for part in (lost, *(lost[lane::4] for lane in range(4))):  # four values come from one draw
        expected = len(part) * exact(share)
        assert abs(int(part.sum()) - expected) < 5 * sqrt(expected * (1 - share))
    for distance in (1, 2, 3, 4):  # neighbours have nothing to do with each other
        both = int((lost[distance:] & lost[:-distance]).sum())
        assert abs(both - number * share**2) < 8 * sqrt(number * share**2)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 2.0**-16])
def test_what_is_kept_is_scaled_exactly(share, kind):
    torch.manual_seed(0)
    values = torch.randn(70_000).to(kind)
    before = values.clone()
    found = packing.drop(values, share)
    kept = found != 0
    assert found.dtype == kind and kept.any()
    scale = STEPS / (STEPS - round(share * STEPS))
    assert torch.equal(found[kept], values[kept] * scale)
    assert torch.equal(values, before), "the input is left alone"


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_mean_is_kept(share):
    torch.manual_seed(0)
    number = 1_000_000
    error = float(packing.drop(torch.ones(number), share).double().mean()) - 1
    assert abs(error) < 5 * sqrt(share / (1 - share) / number)


@settings(deadline=None)
@given(st.lists(st.integers(0, 7), min_size=0, max_size=3), st.sampled_from([0.1, 0.5, 0.9]), SEEDS, st.booleans())
def test_any_size_has_the_gradient_of_its_mask(sizes, share, seed, transposed):
    values = torch.rand(sizes, generator=torch.Generator().manual_seed(seed)).add(1)
    if transposed:
        values = values.permute(tuple(reversed(range(len(sizes)))))
    values.requires_grad_()
    torch.manual_seed(seed)
    found = packing.drop(values, share)
    assert found.shape == values.shape
    mask = found.detach() / values.detach()
    pull = torch.randn(values.shape, generator=torch.Generator().manual_seed(1))
    found.backward(pull)
    torch.testing.assert_close(values.grad, pull * mask)
    assert torch.equal(values.grad == 0, found == 0)
    torch.manual_seed(seed)
    assert torch.equal(packing.drop(values, share), found), "the seed decides"
    if values.numel() > 100 and share == 0.5:
        assert not torch.equal(packing.drop(values, share), found), "but every call draws anew"


def test_gradients_are_right_in_double_precision():
    values = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)

    def seeded(given):
        torch.manual_seed(0)
        return packing.drop(given, 0.4)

    assert torch.autograd.gradcheck(seeded, (values,))


def test_nothing_and_everything():
    values = torch.randn(3, 5)
    assert torch.equal(packing.drop(values, 0.0), values)
    assert not packing.drop(values, 1.0).any()


def test_the_module_drops_in_training_alone():
    module, values = packing.Dropout(0.5), torch.randn(9, 11)
    torch.manual_seed(0)
    found = module(values)
    torch.manual_seed(0)
    assert torch.equal(found, packing.drop(values, 0.5)) and not torch.equal(found, values)
    assert module.eval()(values) is values
    assert packing.Dropout(0.0)(values) is values
