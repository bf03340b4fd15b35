import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from accelerate import Accelerator  # noqa: E402
from small import encode, model_and_job  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation.models.backbone import WORD_EMBEDDING, Checkpoint  # noqa: E402
from waystation.models.vocabulary import EmbeddingDelta, active_rows, lookup  # noqa: E402
from waystation.training.loop import train  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def trained(folder, workspace, dense, **recipe):
    """(embedding, all other weights, log, active rows) after 20 updates with dropout on."""
    encoded = encode("tagging", number=12, longest=5)
    model, job = model_and_job(
        folder, encoded, workspace, dense=dense, updates=20, dropout=0.1, weight_decay=0.1, **recipe
    )
    log = train(model, job, Accelerator(cpu=True))
    others = {name: value.detach() for name, value in model.named_parameters() if WORD_EMBEDDING not in name}
    rows = active_rows(encoded.tokens, Checkpoint(folder).vocabulary)
    return model.encoder.embedding.detach(), others, log, torch.from_numpy(rows)


@pytest.mark.parametrize(("clip", "decay"), [(1e9, False), (0.5, False), (1e9, True)])
def test_training_active_rows_equals_training_all(folder, tmp_path, clip, decay):
    recipe = {"clip": clip, "decay_embeddings": decay}
    all_rows, dense, dense_log, rows = trained(folder, tmp_path / "dense", True, **recipe)
    few_rows, active, active_log, _ = trained(folder, tmp_path / "active", False, **recipe)
    assert len(rows) < len(all_rows) / 2
    if clip > 1:  # nothing is clipped: not one bit differs
        assert active_log.losses == dense_log.losses
        assert torch.equal(few_rows, all_rows[rows])
        assert all(torch.equal(active[name], dense[name]) for name in dense)
    else:
        np.testing.assert_allclose(active_log.losses, dense_log.losses, atol=1e-6)
        torch.testing.assert_close(few_rows, all_rows[rows], rtol=0, atol=1e-6)
        for name in dense:
            torch.testing.assert_close(active[name], dense[name], rtol=0, atol=1e-6)
    base = Checkpoint(folder).tensor(WORD_EMBEDDING)
    untouched = torch.ones(len(base), dtype=torch.bool).index_fill(0, rows, False)
    assert not torch.equal(few_rows, base[rows])
    if decay:
        assert 0.9 < active_log.factor < 1
        torch.testing.assert_close(base[untouched] * active_log.factor, all_rows[untouched], rtol=0, atol=1e-6)
    else:
        assert active_log.factor == 1
        assert torch.equal(base[untouched], all_rows[untouched])


@st.composite
def phases(draw):
    """(rows trained, shrink factor of all others) of two phases over a vocabulary of eight."""
    rows = st.sets(st.integers(0, 7), max_size=8).map(lambda chosen: np.array(sorted(chosen), dtype=np.int64))
    return [(draw(rows), draw(st.sampled_from([1.0, 0.9, 0.5]))) for _ in range(2)]


@settings(deadline=None)
@given(phases())
def test_a_delta_over_two_phases_equals_the_whole_table(steps):
    base = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    dense, delta = base.clone(), EmbeddingDelta.none(3)
    for number, (rows, factor) in enumerate(steps):
        values = delta.apply(rows, base[rows])
        torch.testing.assert_close(values, dense[rows])
        values = values * 2 + number  # what training made of these rows
        dense *= factor
        dense[rows] = values
        delta = delta.updated(rows, values, factor)
        assert list(delta.rows) == sorted(set(delta.rows))
        torch.testing.assert_close(delta.apply(np.arange(8), base.clone()), dense)


def test_a_delta_applies_to_rows_in_any_mixture():
    base = torch.arange(12, dtype=torch.float32).reshape(6, 2)
    delta = EmbeddingDelta(np.array([1, 4]), torch.tensor([[10.0, 11.0], [40.0, 41.0]]), 0.5)
    rows = np.array([0, 1, 5])
    assert delta.apply(rows, base[rows]).tolist() == [[0, 0.5], [10, 11], [5, 5.5]]
    assert EmbeddingDelta.none(2).apply(np.array([3]), base[[3]]).tolist() == [[6, 7]]


@given(st.lists(st.integers(0, 8), max_size=12))
def test_rows_are_those_that_occur(tokens):
    rows = active_rows(np.array(tokens, dtype=np.int32), vocabulary=9)
    assert rows.dtype == np.int64 and rows.tolist() == sorted(set(tokens))
    places = lookup(rows, 9)
    assert places.dtype == np.int32 and len(places) == 9
    assert rows[places[tokens]].tolist() == tokens
    assert np.flatnonzero(places < 0).tolist() == sorted(set(range(9)) - set(tokens))


def test_a_token_outside_the_vocabulary_is_refused():
    for tokens in ([3, 9], [-1, 3]):
        with pytest.raises(ValueError, match="outside the vocabulary of 9 rows"):
            active_rows(np.array(tokens, dtype=np.int32), vocabulary=9)
