import copy

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from waystation.models import linear  # noqa: E402
from waystation.models.linear import Linear  # noqa: E402


@pytest.fixture(params=["as it is here", "without oneDNN"])
def way(request, monkeypatch):
    if request.param != "as it is here":
        monkeypatch.setattr(linear, "onednn", lambda: False)
    elif not linear.onednn():
        pytest.skip("oneDNN's product is not to be had on this machine")
    return request.param


def both(rows, weight, bias, grad, trained=(True, True, True)):
    """Output and gradients, by our layer and in double precision."""
    plain = torch.nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    with torch.no_grad():
        plain.weight.copy_(weight)
        if bias is not None:
            plain.bias.copy_(bias)
    found = []
    for layer, kind in ((Linear.of(copy.deepcopy(plain)), torch.float32), (plain.double(), torch.float64)):
        for part, wanted in zip((layer.weight, layer.bias), trained[1:], strict=True):
            if part is not None:
                part.requires_grad_(wanted).grad = None
        given_ = rows.detach().to(kind).requires_grad_(trained[0])
        out = layer(given_)
        if any(trained):
            out.backward(grad.to(kind))
        grads = [given_.grad, layer.weight.grad, None if bias is None else layer.bias.grad]
        found.append([out.detach(), *grads])
    return found


def assert_same(found, expected, size):
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one.double(), other, rtol=0, atol=1e-6 * size)


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 70), m=st.integers(1, 50), out=st.integers(1, 50), bias=st.booleans(), seed=st.integers(0, 99))
def test_output_and_gradients_are_those_of_the_plain_layer(n, m, out, bias, seed):
    drawn = torch.Generator().manual_seed(seed)
    rows, weight, grad = (torch.randn(shape, generator=drawn) for shape in ((n, m), (out, m), (n, out)))
    given_bias = torch.randn(out, generator=drawn) if bias else None
    assert_same(*both(rows, weight, given_bias, grad), size=8 * max(n, m, out) ** 0.5)


@pytest.mark.parametrize("shape", [(3, 5, 8), (1, 7, 8), (8,), (2, 0, 8), (0, 8)])
def test_any_number_of_dimensions_and_none_of_rows(way, shape):
    torch.manual_seed(1)
    rows, weight, bias = torch.randn(shape), torch.randn(4, 8), torch.randn(4)
    found, expected = both(rows, weight, bias, torch.randn(*shape[:-1], 4))
    assert found[0].shape == (*shape[:-1], 4)
    assert_same(found, expected, 10)


@pytest.mark.parametrize("trained", [(True, False, False), (False, True, True), (False, False, True), (False,) * 3])
def test_only_asked_gradients_are_computed(way, trained):
    torch.manual_seed(2)
    found, expected = both(torch.randn(6, 8), torch.randn(4, 8), torch.randn(4), torch.randn(6, 4), trained)
    assert_same(found, expected, 10)
    assert [grad is not None for grad in found[1:]] == list(trained)


def test_rows_and_gradients_of_any_stride(way):
    torch.manual_seed(3)
    rows, weight = torch.randn(8, 20).T[::2], torch.randn(8, 4).T
    assert_same(*both(rows, weight, None, torch.randn(4, 20).T[::2]), size=10)


def test_the_same_parameters_not_copies():
    plain = torch.nn.Linear(3, 2).eval()
    ours = Linear.of(plain)
    assert ours.weight is plain.weight and ours.bias is plain.bias and not ours.training
    assert ours.state_dict().keys() == plain.state_dict().keys()


def test_other_precisions_go_torchs_way(way):
    layer = Linear.of(torch.nn.Linear(8, 4))
    rows = torch.randn(5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(rows).dtype == torch.bfloat16
    assert layer.double()(rows.double()).dtype == torch.float64


def test_equal_calls_give_equal_bits(way):
    torch.manual_seed(4)
    layer, rows = Linear.of(torch.nn.Linear(96, 64)), torch.randn(130, 96)
    assert all(torch.equal(layer(rows), layer(rows)) for _ in range(5))


def test_where_the_product_is_missing_torchs_is_used(monkeypatch):
    monkeypatch.setattr(linear.platform, "machine", lambda: "arm64")
    linear.onednn.cache_clear()
    try:
        assert not linear.onednn()
    finally:
        monkeypatch.undo()
        linear.onednn.cache_clear()
