from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from tiny import TEXTS, Kind, tiny_checkpoint, tiny_tokenizer  # noqa: E402

from waystation.errors import InputError, Stopped  # noqa: E402
from waystation.evaluation.embed import embed, embed_layers  # noqa: E402
from waystation.formats import retrieval  # noqa: E402
from waystation.formats.encoding import Encoded  # noqa: E402
from waystation.models.backbone import Checkpoint  # noqa: E402
from waystation.models.encoder import Encoder  # noqa: E402
from waystation.models.vocabulary import EmbeddingDelta, active_rows, lookup  # noqa: E402
from waystation.tasks.examples import RetrievalExample  # noqa: E402

SENTENCES = [*TEXTS, "Geneva", "Anna " * 30, "Geneva"]
KINDS: list[Kind] = ["xlm-roberta", "bert", "deberta-v2"]


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def folder(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"), kind, layers=3, hidden=16, spread=0.2)


def encoded(kind: Kind) -> Encoded:
    examples = [RetrievalExample(str(n), text, "left") for n, text in enumerate(SENTENCES)]
    return retrieval.encode(examples, tiny_tokenizer(kind), 100)


def built(folder: Path, made: Encoded, layers: int | None) -> tuple[Encoder, npt.NDArray[np.int32]]:
    """An encoder in training mode with dropout, so that any would show, and the places of its rows."""
    checkpoint = Checkpoint(folder)
    rows = active_rows(made.tokens, checkpoint.vocabulary)
    encoder = checkpoint.encoder(rows, EmbeddingDelta.none(16), layers, 0.5, 0.5)
    return encoder.train(), lookup(rows, checkpoint.vocabulary)


def one_by_one(folder: Path, made: Encoded, layer: int, pooling: str) -> npt.NDArray[np.float32]:
    """The library's own hidden states of each window alone."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    rows = []
    for begin, end in zip(made.offsets, made.offsets[1:], strict=False):
        with torch.no_grad():
            tokens = torch.from_numpy(made.tokens[begin:end].astype(np.int64))[None]
            states = model(input_ids=tokens, output_hidden_states=True).hidden_states[layer][0]
        rows.append((states.mean(0) if pooling == "mean" else states[0]).numpy())
    return np.stack(rows)


@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_same_as_the_library_one_by_one(folder: Path, kind: Kind, layer: int, pooling: str) -> None:
    made = encoded(kind)
    encoder, places = built(folder, made, layer)
    assert len(encoder.blocks) == layer, "blocks above the layer are not computed"
    expected = one_by_one(folder, made, layer, pooling)
    for budget in (1, 40, 4096):
        found = embed(encoder, made, places, pooling, tokens_per_micro_batch=budget)
        assert found.dtype == np.float32 and found.shape == (len(SENTENCES), 16)
        np.testing.assert_allclose(found, expected, atol=5e-6)
    assert np.ptp(found, axis=0).min() > 0.01 or pooling == "first", "sentences differ"


READINGS = [(3, "mean"), (1, "first"), (2, "mean"), (1, "mean"), (3, "first")]


@pytest.mark.parametrize("readings", [READINGS, READINGS[1:4], READINGS[3:]], ids=["all", "no last", "last first"])
def test_several_layers_and_poolings_of_one_pass(
    folder: Path, kind: Kind, readings: list[tuple[int, str]], monkeypatch: Any
) -> None:
    made = encoded(kind)
    encoder, places = built(folder, made, None)
    passes: list[int] = []
    forward = Encoder.forward
    monkeypatch.setattr(Encoder, "forward", lambda *given: passes.append(1) or forward(*given))
    found = embed_layers(encoder, made, places, readings, tokens_per_micro_batch=4096)
    assert len(found) == len(readings) and len(passes) == 1
    for vectors, (layer, pooling) in zip(found, readings, strict=True):
        np.testing.assert_allclose(vectors, one_by_one(folder, made, layer, pooling), atol=5e-6)
    assert not any(block._forward_hooks for block in encoder.blocks), "nothing is kept afterwards"


def as_if_last(folder: Path, kind: Kind) -> None:
    """Each layer of one pass is what an encoder that is cut there gives as its last."""
    made = encoded(kind)
    encoder, places = built(folder, made, None)
    found = embed_layers(encoder, made, places, [(layer, "mean") for layer in (1, 2, 3)])
    for layer, vectors in enumerate(found, 1):
        cut, _ = built(folder, made, layer)
        np.testing.assert_allclose(vectors, embed(cut, made, places), atol=5e-6)


def test_the_norm_after_the_last_block_follows_every_layer(tmp_path: Path) -> None:
    as_if_last(tiny_checkpoint(tmp_path, "modernbert", layers=3, hidden=16, spread=0.2), "modernbert")


def test_the_convolution_after_the_first_block_is_part_of_it(tmp_path: Path) -> None:
    """As in DeBERTa-v2-xlarge."""
    from transformers import AutoConfig, AutoModel

    tiny_checkpoint(tmp_path, "deberta-v2", layers=3, hidden=16, spread=0.2)
    config = AutoConfig.from_pretrained(tmp_path)
    config.conv_kernel_size, config.conv_act = 3, "gelu"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        AutoModel.from_config(config).save_pretrained(tmp_path)
    as_if_last(tmp_path, "deberta-v2")


def test_equal_sentences_have_equal_embeddings_up_to_rounding(folder: Path, kind: Kind) -> None:
    made = encoded(kind)
    encoder, places = built(folder, made, None)
    found = embed(encoder, made, places)
    np.testing.assert_allclose(found[len(TEXTS)], found[-1], atol=1e-6)


def test_mode_of_the_encoder_is_kept(folder: Path, kind: Kind) -> None:
    made = encoded(kind)
    encoder, places = built(folder, made, None)
    for mode in (True, False):
        encoder.train(mode)
        embed(encoder, made, places)
        assert encoder.training is mode
    assert not any(parameter.grad is not None for parameter in encoder.parameters())


def test_unknown_pooling(folder: Path, kind: Kind) -> None:
    made = encoded(kind)
    encoder, places = built(folder, made, 1)
    with pytest.raises(InputError, match="pooling 'max' is unknown: use one of mean, first"):
        embed(encoder, made, places, "max")


def test_it_stops_between_micro_batches(folder: Path, kind: Kind) -> None:
    made = encoded(kind)
    encoder, places = built(folder, made, 1)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(Stopped, match="run again"):
        embed(encoder, made, places, tokens_per_micro_batch=1, should_stop=stop)
