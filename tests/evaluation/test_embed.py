from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from waystation.errors import InputError  # noqa: E402
from waystation.evaluation.embed import _batches, embed  # noqa: E402

WORDS = [
    "the",
    "a",
    "slow",
    "green",
    "river",
    "boat",
    "carries",
    "seven",
    "crates",
    "of",
    "pears",
    "past",
    "our",
    "mill",
]
SENTENCES = [
    "a slow boat",
    "",
    "the green river carries seven crates of pears past our mill",
    "pears",
    "our mill",
    "the boat carries pears past the mill",
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", "query:", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def model(request: pytest.FixtureRequest) -> Any:
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        request.param,
        vocab_size=len(WORDS) + 5,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
        pad_token_id=1,
    )
    return AutoModel.from_config(config)  # in training mode, so dropout would show


def one_by_one(sentences: list[str], model: Any, tokenizer: Any, layer: int, pooling: str) -> np.ndarray:
    """No padding at all: each sentence alone."""
    rows = []
    model.eval()
    for sentence in sentences:
        with torch.no_grad():
            ids = torch.tensor([tokenizer(sentence)["input_ids"]])
            states = model(input_ids=ids, output_hidden_states=True).hidden_states[layer][0]
        rows.append((states.mean(0) if pooling == "mean" else states[0]).numpy())
    return np.stack(rows)


@pytest.mark.parametrize("layer", [-1, 3, 0, 2, -2])
@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("budget", [1, 20, 4096])
def test_same_as_one_by_one(model: Any, tokenizer: Any, layer: int, pooling: str, budget: int) -> None:
    found = embed(SENTENCES, model, tokenizer, layer=layer, pooling=pooling, tokens_per_batch=budget)
    assert found.dtype == np.float32
    assert found.shape == (6, 16)
    np.testing.assert_allclose(found, one_by_one(SENTENCES, model, tokenizer, layer, pooling), atol=2e-6)


def test_mode_of_the_model_is_kept(model: Any, tokenizer: Any) -> None:
    model.train()
    model.embeddings.eval()
    embed(SENTENCES, model, tokenizer)
    assert model.training
    assert not model.embeddings.training
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_prefix_and_length(model: Any, tokenizer: Any) -> None:
    prefixed = embed(["a slow boat"], model, tokenizer, prefix="query: ")
    np.testing.assert_array_equal(prefixed, embed(["query: a slow boat"], model, tokenizer))
    assert not np.allclose(prefixed, embed(["a slow boat"], model, tokenizer))
    long = " ".join(["river"] * 100)
    np.testing.assert_array_equal(
        embed([long], model, tokenizer, max_length=10), embed([" ".join(["river"] * 8)], model, tokenizer)
    )


def test_nothing_to_embed(model: Any, tokenizer: Any) -> None:
    found = embed([], model, tokenizer)
    assert found.shape == (0, 16)
    assert found.dtype == np.float32


def test_misuse_is_named(model: Any, tokenizer: Any) -> None:
    with pytest.raises(InputError, match="pooling 'max'"):
        embed(SENTENCES, model, tokenizer, pooling="max")
    for layer in (4, -5):
        with pytest.raises(InputError, match=f"layer {layer}: the model has layers 0"):
            embed(SENTENCES, model, tokenizer, layer=layer)


def test_batches_keep_the_budget() -> None:
    lengths = [3, 50, 7, 7, 0, 12, 3, 9]
    batches = list(_batches(lengths, 24))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= 24
    assert batches[0] == [1], "a sentence longer than the budget goes alone"
