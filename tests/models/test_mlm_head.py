"""The MLM head: loaded where a checkpoint has one, its loss that of the plain formula whatever the chunks."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from masked import masked_checkpoint  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation.errors import InputError  # noqa: E402
from waystation.models import mlm  # noqa: E402
from waystation.models.backbone import Checkpoint  # noqa: E402

KINDS = ["xlm-roberta", "bert"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return {kind: masked_checkpoint(tmp_path_factory.mktemp("masked") / kind, kind) for kind in KINDS}


def gradients(loss, *parts):
    return [loss.detach(), *torch.autograd.grad(loss, parts)]


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_the_loss_and_its_gradients_are_those_of_the_plain_formula(monkeypatch, chunk):
    monkeypatch.setattr(mlm, "LOGITS", chunk * 50)
    torch.manual_seed(0)
    head = mlm.MlmHead(16, np.arange(50), torch.nn.functional.gelu, 1e-5)
    torch.nn.init.normal_(head.bias)
    hidden, embedding = torch.randn(7, 16, requires_grad=True), torch.randn(50, 16, requires_grad=True)
    targets, parts = torch.tensor([3, 3, 49, 0, 7, 8, 9]), [hidden, embedding, *head.parameters()]
    found = gradients(head.loss(hidden, embedding, targets) / 5, *parts)
    logits = head(hidden) @ embedding.T + head.bias
    wanted = gradients(torch.nn.functional.cross_entropy(logits, targets, reduction="sum") / 5, *parts)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(head.loss(hidden, embedding, targets), wanted[0] * 5)


def test_large_logits_and_no_token_at_all():
    head = mlm.MlmHead(16, np.arange(50), torch.nn.functional.gelu, 1e-5)
    hidden, embedding = torch.randn(2, 16), 1e4 * torch.randn(50, 16, requires_grad=True)
    assert head.loss(hidden, embedding, torch.tensor([1, 2])).isfinite()
    none = head.loss(hidden[:0], embedding, torch.tensor([], dtype=torch.long))
    none.backward()
    assert none == 0


def test_half_precision_is_close():
    torch.manual_seed(0)
    head = mlm.MlmHead(16, np.arange(50), torch.nn.functional.gelu, 1e-5)
    hidden, embedding = torch.randn(7, 16, requires_grad=True), torch.randn(50, 16, requires_grad=True)
    targets, parts = torch.arange(7), [hidden, embedding, *head.parameters()]
    whole = gradients(head.loss(hidden, embedding, targets), *parts)
    with torch.autocast("cpu", torch.bfloat16):
        half = head.loss(hidden, embedding, targets)
    for one, other in zip(gradients(half, *parts), whole, strict=True):
        assert one.dtype == torch.float32
        assert torch.linalg.vector_norm(one - other) < 0.03 * torch.linalg.vector_norm(other)


def test_a_frozen_embedding_gets_no_gradient():
    head = mlm.MlmHead(16, np.arange(50), torch.nn.functional.gelu, 1e-5)
    hidden, embedding = torch.randn(2, 16, requires_grad=True), torch.randn(50, 16)
    head.loss(hidden, embedding, torch.tensor([1, 2])).backward()
    assert embedding.grad is None and hidden.grad.abs().sum() > 0 and head.bias.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoints_head_is_loaded_for_the_rows_in_use(made, kind):
    folder, model = made[kind]
    rows = np.array([0, 3, 17, 40])
    head, origin = mlm.mlm_head(Checkpoint(folder), rows, None)
    hidden = torch.randn(5, 32)
    with torch.no_grad():
        embedding = model.get_input_embeddings().weight[rows]
        found = head(hidden) @ embedding.T + head.bias
        wanted = (model.lm_head if kind == "xlm-roberta" else model.cls)(hidden)[:, rows]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert origin == mlm.OWN and mlm.mlm_head(Checkpoint(folder), rows, 2)[1] == mlm.OWN
    assert mlm.mlm_head(Checkpoint(folder), rows, 1)[1] == mlm.CUT


def test_a_checkpoint_without_a_head_gets_a_new_one_and_says_so(tmp_path):
    checkpoint = Checkpoint(tiny_checkpoint(tmp_path))
    torch.manual_seed(1)
    head, origin = mlm.mlm_head(checkpoint, np.arange(9), None)
    assert origin == mlm.NEW and "new" in origin and "mostly trains the head" in origin
    assert (
        not head.bias.any()
        and not head.dense.bias.any()
        and float(head.dense.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    )
    torch.manual_seed(1)
    again, _ = mlm.mlm_head(checkpoint, np.arange(9), None)
    torch.testing.assert_close(again.dense.weight, head.dense.weight, rtol=0, atol=0)


def test_the_head_of_the_phase_before_goes_on_whatever_rows_it_had(made):
    checkpoint = Checkpoint(made["bert"][0])
    before, _ = mlm.mlm_head(checkpoint, np.array([1, 5, 9]), None)
    with torch.no_grad():
        for parameter in before.parameters():
            parameter += 1
    head, origin = mlm.mlm_head(checkpoint, np.array([0, 5, 9, 11]), None, before.state_dict())
    assert origin == mlm.BEFORE and head.rows.tolist() == [0, 5, 9, 11]
    own = checkpoint.tensor("cls.predictions.bias", np.array([0, 11]))
    torch.testing.assert_close(head.bias.detach(), torch.stack([own[0], *before.bias[1:], own[1]]).detach())
    torch.testing.assert_close(head.dense.weight, before.dense.weight)


def test_an_unknown_activation_is_refused(tmp_path):
    checkpoint = Checkpoint(tiny_checkpoint(tmp_path, "bert"))
    checkpoint.config.hidden_act = "swish2"
    with pytest.raises(InputError, match="hidden_act 'swish2'"):
        mlm.mlm_head(checkpoint, np.arange(4), None)
