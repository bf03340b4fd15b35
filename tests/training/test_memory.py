"""Where memory is short: the token budget is halved, blocks are recomputed, and what is learned stays the same."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from accelerate import Accelerator  # noqa: E402
from small import encode, first, model_and_job, outputs  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation.errors import InputError, Stopped  # noqa: E402
from waystation.evaluation.embed import embed  # noqa: E402
from waystation.evaluation.predict import predict  # noqa: E402
from waystation.training import loop, trunk  # noqa: E402

FORMATS = ["tagging", "classification"]
KINDS = ["xlm-roberta", "bert", "deberta-v2", "modernbert"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: tiny_checkpoint(tmp_path_factory.mktemp(kind), kind, layers=3, spread=0.1) for kind in KINDS}


def trained(folder, workspace, format="tagging", kind="xlm-roberta", job=None, prepare=lambda model: None, **recipe):
    """(weights, log) after 6 updates of a model that ``prepare`` may have changed."""
    encoded = encode(format, longest=30, kind=kind)
    model, made = model_and_job(folder, encoded, workspace, job=job, **{"updates": 6, **recipe})
    prepare(model)
    log = loop.train(model, made, Accelerator(cpu=True))
    return {name: value.detach().clone() for name, value in model.state_dict().items()}, log


def assert_equal(found, expected, atol=0.0):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}")


# Out of memory


def limit(tokens):
    """A model that has room for no more tokens than these at once."""

    def prepare(model):
        def check(module, given):
            if len(given[0]) > tokens:
                raise torch.OutOfMemoryError(f"no room for {len(given[0])} tokens")

        model.encoder.register_forward_pre_hook(check)

    return prepare


@pytest.mark.parametrize("kind", ["xlm-roberta", "modernbert"])
def test_predictions_and_embeddings_are_done_in_halves(folders, tmp_path, kind):
    encoded = encode("tagging", longest=20, kind=kind)
    model, job = model_and_job(folders[kind], encoded, tmp_path)
    asked = (model, encoded, first(job).places, first(job).format, outputs("tagging"))
    whole = predict(*asked, tokens_per_micro_batch=200)
    states = embed(model.encoder, encoded, first(job).places, tokens_per_micro_batch=200)
    limit(60)(model)
    assert predict(*asked, tokens_per_micro_batch=200) == whole
    halves = embed(model.encoder, encoded, first(job).places, tokens_per_micro_batch=200)
    np.testing.assert_allclose(halves, states, atol=1e-5)
    limit(5)(model)
    with pytest.raises(InputError, match="memory ran out with a single window; lower max_length"):
        predict(model, encoded, first(job).places, first(job).format, outputs("tagging"), tokens_per_micro_batch=200)


def test_a_trunk_is_written_in_halves(folders, tmp_path):
    encoded = encode("tagging", longest=20)
    model, job = model_and_job(folders["xlm-roberta"], encoded, tmp_path, frozen=2)
    trunk.write(tmp_path / "whole", model.encoder, encoded, first(job).places, 200, torch.device("cpu"))
    sizes, run = [], model.encoder.trunk

    def narrow(tokens, *more):
        sizes.append(len(tokens))
        if len(tokens) > 60:
            raise torch.OutOfMemoryError("no room")
        return run(tokens, *more)

    model.encoder.trunk = narrow
    trunk.write(tmp_path / "halves", model.encoder, encoded, first(job).places, 200, torch.device("cpu"))
    assert max(sizes) > 60
    np.testing.assert_allclose(trunk.load(tmp_path / "halves"), trunk.load(tmp_path / "whole"), atol=1e-5)


@pytest.mark.parametrize("kind", ["xlm-roberta", "modernbert"])
@pytest.mark.parametrize("format", FORMATS)
def test_the_budget_is_halved_until_it_fits(folders, tmp_path, format, kind):
    few, log = trained(folders[kind], tmp_path / "few", format, kind, tokens_per_micro_batch=50)
    assert log.budget == 0, "it always fitted"
    found, halved = trained(
        folders[kind], tmp_path / "many", format, kind, prepare=limit(50), tokens_per_micro_batch=400
    )
    assert halved.budget == 50
    assert_equal(found, few, atol=1e-5)
    np.testing.assert_allclose(halved.losses, log.losses, atol=1e-5)
    assert halved.tokens == log.tokens, "tokens of an update that was redone count once"


@pytest.mark.parametrize("kind", ["deberta-v2", "modernbert"])
def test_where_a_batch_is_padded_its_padding_counts(folders, tmp_path, kind):
    shapes, models = [], []

    def watch(model):
        models.append(model)
        model.encoder.model.register_forward_pre_hook(
            lambda module, given, named: shapes.append(named["input_ids"].shape), with_kwargs=True
        )

    trained(folders[kind], tmp_path, kind=kind, prepare=watch, tokens_per_micro_batch=70)
    updates = len(shapes)
    encoded = encode("tagging", longest=30, kind=kind)
    _, job = model_and_job(folders[kind], encoded, tmp_path)
    predict(models[0], encoded, first(job).places, first(job).format, outputs("tagging"), tokens_per_micro_batch=70)
    for part in (shapes[:updates], shapes[updates:]):
        assert all(count == 1 or count * longest <= 70 for count, longest in part)
        assert any(count > 1 for count, longest in part)


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("call", [1, 2, 3, 8])
def test_an_update_that_failed_midway_leaves_nothing(folders, tmp_path, where, call):
    calls = []

    def prepare(model):
        def fail(*_):
            calls.append(1)
            if len(calls) == call:
                raise torch.OutOfMemoryError("something else took it")

        hook = model.head.register_full_backward_hook if where == "backward" else model.head.register_forward_hook
        hook(fail)

    expected, _ = trained(folders["xlm-roberta"], tmp_path / "whole", tokens_per_micro_batch=40)
    found, log = trained(folders["xlm-roberta"], tmp_path / "cut", prepare=prepare, tokens_per_micro_batch=40)
    assert len(calls) > call and log.budget == 20
    assert_equal(found, expected, atol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_budget_that_was_halved_survives_an_interruption(folders, tmp_path, dropout):
    recipe = {"tokens_per_micro_batch": 400, "dropout": dropout, "attention_dropout": dropout}
    folder, asked = folders["xlm-roberta"], []
    whole, log = trained(folder, tmp_path / "whole", prepare=limit(50), **recipe)
    assert log.budget == 50

    def stop():
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Stopped, match="after update 3 of 6"):
        trained(folder, tmp_path / "cut", job={"should_stop": stop}, prepare=limit(50), **recipe)
    sizes = []

    def watch(model):
        model.encoder.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))

    found, after = trained(folder, tmp_path / "cut", prepare=watch, **recipe)
    assert after.budget == 50 and 25 < max(sizes) <= 50, "nothing fails now, and still it is not tried with more"
    assert after.losses == log.losses
    assert_equal(found, whole)


def test_no_room_for_a_single_window_is_told(folders, tmp_path):
    sizes = []

    def prepare(model):
        model.encoder.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
        limit(2)(model)

    with pytest.raises(InputError, match="single window; lower max_length, or set gradient_checkpointing"):
        trained(folders["xlm-roberta"], tmp_path, prepare=prepare)
    assert len(sizes) < 10, "it gave up soon"


# Gradient checkpointing


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("frozen", [None, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_blocks_learn_the_same(folders, tmp_path, kind, dropout, frozen):
    recipe = {"dropout": dropout, "attention_dropout": dropout, "frozen": frozen}
    results, runs = {}, {}
    for again in (False, True):
        calls = runs[again] = []

        def prepare(model, calls=calls):
            block = model.encoder.blocks[frozen or 0]
            inner = next(module for module in block.modules() if isinstance(module, torch.nn.Linear))
            inner.register_forward_hook(lambda *_: calls.append(1))

        results[again] = trained(
            folders[kind], tmp_path / f"{again}", kind=kind, prepare=prepare, gradient_checkpointing=again, **recipe
        )
    assert len(runs[True]) == 2 * len(runs[False]) > 0, "blocks run forward twice"
    assert_equal(results[True][0], results[False][0], atol=1e-6)
    np.testing.assert_allclose(results[True][1].losses, results[False][1].losses, atol=1e-6)
