"""Texts as one flat row of tokens equal a padded batch of transformers: states, gradients, frozen parts, dropout."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from small import padded  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation.models import packing  # noqa: E402
from waystation.models.backbone import Checkpoint  # noqa: E402
from waystation.models.encoder import TaskModel  # noqa: E402
from waystation.models.vocabulary import EmbeddingDelta  # noqa: E402

PACKED = ["xlm-roberta", "bert"]
KINDS = [*PACKED, "deberta-v2", "modernbert"]
LENGTHS = st.one_of(
    st.lists(st.integers(1, 30), min_size=1, max_size=6),
    st.lists(st.sampled_from([1, 2, 9]), min_size=1, max_size=9),
    st.tuples(st.integers(1, 30), st.integers(1, 6)).map(lambda pair: [pair[0]] * pair[1]),
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: tiny_checkpoint(tmp_path_factory.mktemp(kind), kind, spread=0.15) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def both(request, folders):
    """(kind, our encoder over the whole vocabulary, transformers' own model), both training without dropout."""
    from transformers import AutoModel

    auto = AutoModel.from_pretrained(folders[request.param]).train()
    if hasattr(auto, "pooler"):
        auto.pooler = None
    for module in auto.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return request.param, encoder(folders[request.param]).train(), auto


def encoder(folder, dropout=0.0, attention_dropout=0.0, frozen=None, layers=None):
    checkpoint = Checkpoint(folder)
    rows, none = np.arange(checkpoint.vocabulary), EmbeddingDelta.none(checkpoint.config.hidden_size)
    return checkpoint.encoder(rows, none, layers, dropout, attention_dropout, frozen=frozen)


def texts(lengths, seed=0):
    """Random token ids, none of them the padding of any kind, as one flat row."""
    return torch.randint(4, 180, (sum(lengths),), generator=torch.Generator().manual_seed(seed))


def half_and_half(lengths):
    """Token types of pairs of texts."""
    return torch.tensor([int(at >= length // 2) for length in lengths for at in range(length)])


def reference(auto, tokens, lengths, types=None):
    """transformers' padded batch with its attention mask; the states of the tokens alone."""
    wide, mask = padded([part.tolist() for part in tokens.split(lengths)], auto.config.pad_token_id)
    more = {}
    if types is not None:
        more["token_type_ids"] = padded([part.tolist() for part in types.split(lengths)], 0)[0]
    return auto(input_ids=wide, attention_mask=mask, **more).last_hidden_state[mask.bool()]


def gradients(model, states):
    """The gradient of a fixed random weighting of the states in every parameter, by name."""
    pull = torch.randn(states.shape, generator=torch.Generator().manual_seed(1)) / states.numel() ** 0.5
    model.zero_grad()
    (states * pull).sum().backward()
    return {name: value.grad for name, value in model.named_parameters()}


def assert_same(found, expected):
    """Gradients; None only where both are."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] is None) == (value is None), name
        if value is not None:
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5, msg=lambda text, name=name: name + text)


# One flat row is a padded batch


@settings(deadline=None, max_examples=25)
@given(lengths=LENGTHS, seed=st.integers(0, 99), typed=st.booleans())
@example(lengths=[1], seed=0, typed=False)
@example(lengths=[17], seed=0, typed=True)
@example(lengths=[1] * 9, seed=0, typed=False)
@example(lengths=[30, 1, 30, 1, 12, 12, 12], seed=0, typed=True)
def test_states_and_gradients_are_those_of_a_padded_batch(both, lengths, seed, typed):
    kind, own, auto = both
    assert own.packed == (kind in PACKED)
    tokens, types = texts(lengths, seed), half_and_half(lengths) if typed and kind == "bert" else None
    states, expected = own(tokens, lengths, types), reference(auto, tokens, lengths, types)
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-5)
    assert_same(gradients(own.model, states), gradients(auto, expected))


@pytest.mark.parametrize("frozen", [None, 0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_the_states_of_some_tokens(folders, kind, frozen):
    """What is not asked for is attended to; states and gradients are those of asking for all and taking some."""
    lengths = [7, 3, 11, 3]
    tokens, own = texts(lengths), encoder(folders[kind], frozen=frozen).train()
    for rows in ([0, 7, 10, 21], [], [1, 2, 5, 9, 12, 13, 22], list(range(24))):
        found, expected = own(tokens, lengths, rows=torch.tensor(rows, dtype=torch.long)), own(tokens, lengths)[rows]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        if rows and found.requires_grad:
            assert_same(gradients(own.model, found), gradients(own.model, expected))


def test_the_order_of_the_texts_does_not_matter(both):
    _, own, _ = both
    lengths = [3, 9, 9, 1, 20]
    parts = texts(lengths).split(lengths)
    order = [4, 2, 0, 3, 1]
    with torch.no_grad():
        there = own(torch.cat(parts), lengths).split(lengths)
        back = own(torch.cat([parts[at] for at in order]), [lengths[at] for at in order])
    torch.testing.assert_close(back, torch.cat([there[at] for at in order]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("lengths", [[5, 5, 5, 5], [1, 12, 7, 12, 30]])
def test_no_text_sees_another(both, lengths):
    _, own, _ = both
    tokens = texts(lengths)
    with torch.no_grad():
        before = own(tokens, lengths).split(lengths)
        for changed in range(len(lengths)):
            parts = list(tokens.split(lengths))
            parts[changed] = 183 - parts[changed]
            after = own(torch.cat(parts), lengths).split(lengths)
            same = [torch.equal(mine, other) for mine, other in zip(before, after, strict=True)]
            assert same == [number != changed for number in range(len(lengths))]


def test_a_token_sees_its_whole_text(both):
    """Changing the last token changes every state of its text: by many blocks, where a block sees its neighbours."""
    _, own, _ = both
    tokens = texts([14])
    with torch.no_grad():
        before = own(tokens, [14])
        tokens[-1] = 183 - tokens[-1]
        assert ((own(tokens, [14]) - before).abs().amax(-1) > 1e-5).all()


# Dropout


@pytest.mark.parametrize("kind", KINDS)
def test_every_dropout_is_ours(folders, kind):
    own = encoder(folders[kind], dropout=0.25, attention_dropout=0.125)
    assert not any(isinstance(module, torch.nn.Dropout) for module in own.modules())
    shares = {module.p for module in own.modules() if isinstance(module, packing.Dropout)}
    assert shares == {0.25, 0.125}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shares", [(0.3, 0.0), (0.0, 0.3)], ids=["hidden", "attention"])
def test_dropout_acts_in_training_alone(folders, kind, shares):
    lengths = [7, 7, 3, 11]
    tokens, own = texts(lengths), encoder(folders[kind], *shares)
    with torch.no_grad():
        quiet = encoder(folders[kind]).eval()(tokens, lengths)
        assert torch.equal(own.eval()(tokens, lengths), quiet)
        for rows in (torch.arange(28), torch.arange(0, 28, 3), None):
            draws = []
            for seed in (0, 0, 1):
                torch.manual_seed(seed)
                draws.append(own.train()(tokens, lengths, rows=rows))
            assert torch.equal(draws[0], draws[1])
            for other in (draws[2], quiet if rows is None else quiet[rows]):
                assert ((draws[0] - other).abs().amax(-1) > 1e-4).all(), "every token is touched"


# A frozen trunk


def frozen_cases():
    return [(kind, k) for kind in KINDS for k in (0, 1, 2)]


@pytest.mark.parametrize(("kind", "frozen"), frozen_cases())
def test_nothing_below_is_trained(folders, kind, frozen):
    lengths = [7, 3, 11]
    tokens = texts(lengths)
    own, free = encoder(folders[kind], frozen=frozen).train(), encoder(folders[kind]).train()
    held = {id(value) for part in (own.model.embeddings, *own.blocks[:frozen]) for value in part.parameters()}
    held |= {id(value) for name, value in own.model.named_parameters() if name.startswith(SHARED)}
    names = {name for name, value in own.model.named_parameters() if id(value) not in held}
    assert own.weights().keys() == names
    assert len(names) < len(free.weights()) and all("embeddings." not in f".{name}" for name in names)
    states, expected = own(tokens, lengths), free(tokens, lengths)
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-6)
    if not names:
        assert not states.requires_grad
        return
    found, wanted = gradients(own.model, states), gradients(free.model, expected)
    for name, value in found.items():
        if name not in names:
            assert value is None
        elif wanted[name] is not None:
            torch.testing.assert_close(value, wanted[name], rtol=0, atol=1e-6)


SHARED = ("encoder.rel_embeddings.", "encoder.LayerNorm.")
"""What all of DeBERTa's blocks read: were it trained, the frozen ones would not stay what they are."""


@pytest.mark.parametrize(("kind", "frozen"), frozen_cases())
def test_no_dropout_in_the_trunk(folders, kind, frozen):
    own = encoder(folders[kind], 0.3, 0.3, frozen).train()
    for part in (own.model.embeddings, *own.blocks[:frozen]):
        assert not any(module.training for module in part.modules())
    for part in own.blocks[frozen:]:
        assert all(module.training for module in part.modules())
    own.eval()
    assert not any(module.training for module in own.modules())
    assert TaskModel(own, torch.nn.Linear(32, 2)).train().encoder.blocks[0].training == (frozen == 0)


@pytest.mark.parametrize("frozen", [0, 1, 2])
@pytest.mark.parametrize("kind", PACKED)
def test_the_trunk_can_be_run_before(folders, kind, frozen):
    lengths = [7, 3, 11, 3]
    tokens, types = texts(lengths), half_and_half(lengths) if kind == "bert" else None
    own = encoder(folders[kind], 0.3, 0.3, frozen).train()
    states = own.trunk(tokens, lengths, types)
    assert states.shape == (sum(lengths), 32) and not states.requires_grad
    assert torch.equal(own.trunk(tokens, lengths, types), states), "no dropout"
    torch.manual_seed(0)
    whole = own(tokens, lengths, types)
    torch.manual_seed(0)
    assert torch.equal(own.top(states, lengths), whole)
    # computed for each text alone, as it is stored, and with the head of a task
    alone = [own.trunk(*part) for part in zip(tokens.split(lengths), [[n] for n in lengths], strict=True)]
    if types is None:
        torch.testing.assert_close(torch.cat(alone), states, rtol=0, atol=1e-6)
    model = TaskModel(own, torch.nn.Linear(32, 5)).eval()
    for rows in (None, torch.tensor([0, 7, 10, 23]), torch.tensor([], dtype=torch.long)):
        expected = model(tokens, lengths, types, rows)
        assert expected.shape == (sum(lengths) if rows is None else len(rows), 5)
        torch.testing.assert_close(model(tokens, lengths, types, rows, states), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(expected, model(tokens, lengths, types)[slice(None) if rows is None else rows])
