"""A plain checkpoint gives through transformers alone the logits of our model, adapters through peft."""

from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

import transformers  # noqa: E402
from questions import questions  # noqa: E402
from small import encode, outputs, padded  # noqa: E402
from tiny import tiny_checkpoint, tiny_tokenizer  # noqa: E402

from waystation import formats  # noqa: E402
from waystation.errors import InputError  # noqa: E402
from waystation.evaluation.predict import logits_of  # noqa: E402
from waystation.models import peft_folder, plain  # noqa: E402
from waystation.models.adapters import Adapters, attach, merged  # noqa: E402
from waystation.models.backbone import Checkpoint  # noqa: E402
from waystation.models.encoder import TaskModel  # noqa: E402
from waystation.models.vocabulary import EmbeddingDelta, active_rows, lookup  # noqa: E402
from waystation.steps.recipes import Lora  # noqa: E402

KINDS = ("xlm-roberta", "bert", "deberta-v2")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    made = tmp_path_factory.mktemp("kinds")
    return {kind: Checkpoint(tiny_checkpoint(made / kind, kind, layers=3, spread=0.1)) for kind in KINDS}


def encoded_for(format, kind):
    if format == "span":
        return formats.get("span").encode(questions(6, 3), tiny_tokenizer(kind), ["start", "end"], 32, 8)
    return encode(format, 6, kind)


def ours_and_plain(folder, checkpoint, kind, format):
    """Our model as after training, its classes, and the checkpoint of it in ``folder``."""
    form = formats.get(format)
    classes = ["start", "end"] if format == "span" else outputs(format)
    encoded = encoded_for(format, kind)
    rows = active_rows(encoded.tokens, checkpoint.vocabulary)
    torch.manual_seed(3)
    delta = EmbeddingDelta(rows[::2], torch.randn(len(rows[::2]), checkpoint.config.hidden_size), factor=0.75)
    trained = {
        "encoder.layer.1.output.dense.weight": torch.randn_like(
            checkpoint.tensor("encoder.layer.1.output.dense.weight")
        )
    }
    encoder = checkpoint.encoder(rows, delta, 2, 0.0, 0.0, trained)
    model = TaskModel(encoder, form.head(encoder.hidden, len(classes), 0.0))
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    head = {name: value.detach() for name, value in model.head.state_dict().items()}
    name = plain.write(folder, checkpoint, 2, trained, delta, head, format, classes)
    return model, encoded, lookup(rows, checkpoint.vocabulary), form, classes, name


@pytest.mark.parametrize("format", ["tagging", "classification", "multilabel", "choice", "span"])
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_computes_the_same_logits(checkpoints, tmp_path, kind, format):
    model, encoded, places, form, classes, name = ours_and_plain(tmp_path, checkpoints[kind], kind, format)
    loader = getattr(transformers, plain.AUTO[format])
    loaded, told = loader.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded).__name__ == name
    assert not any(told[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys")), told
    assert loaded.config.num_hidden_layers == 2 and loaded.config.id2label == dict(enumerate(classes))
    compare(model, loaded, encoded, places, form, format)


def compare(model, loaded, encoded, places, form, format):
    """All logits of our model are those of a loaded one."""
    bounds = encoded.offsets.tolist()
    windows = [encoded.tokens[a:b].tolist() for a, b in pairwise(bounds)]
    tokens, mask = padded(windows, loaded.config.pad_token_id)
    more = {}
    if encoded.types is not None:
        kinds = [encoded.types[a:b].tolist() for a, b in pairwise(bounds)]
        more = {"token_type_ids": padded(kinds, 0)[0]}
    if format == "choice":  # [windows, options = 1, tokens]: a score needs no other option
        tokens, mask, more = tokens[:, None], mask[:, None], {key: value[:, None] for key, value in more.items()}
    loaded.eval()
    with torch.inference_mode():
        found = loaded(input_ids=tokens, attention_mask=mask, **more)
    theirs = torch.stack([found.start_logits, found.end_logits], -1) if format == "span" else found.logits
    ours = dict(logits_of(model, encoded, places, form))
    assert sorted(ours) == list(range(len(windows)))
    assert np.ptp(np.concatenate(list(ours.values()))) > 1e-2  # they are not all the same
    for window, rows in ours.items():
        wanted = theirs[window]
        if form.reads == "scored":
            wanted = wanted[np.flatnonzero(encoded.word[bounds[window] : bounds[window + 1]] >= 0)]
        elif form.reads == "all":
            wanted = wanted[: len(windows[window])]
        np.testing.assert_allclose(rows, wanted.reshape(rows.shape), atol=1e-5)


@pytest.mark.parametrize("format", ["tagging", "classification", "multilabel", "choice", "span"])
@pytest.mark.parametrize("kind", KINDS)
def test_peft_computes_the_same_logits(checkpoints, tmp_path, kind, format):
    """Two sets of adapters on top of each other, the second not in the lowest block, on a backbone cut to two."""
    peft = pytest.importorskip("peft", reason="the library peft is not installed")
    checkpoint, form = checkpoints[kind], formats.get(format)
    classes = ["start", "end"] if format == "span" else outputs(format)
    encoded = encoded_for(format, kind)
    rows, none = active_rows(encoded.tokens, checkpoint.vocabulary), EmbeddingDelta.none(checkpoint.config.hidden_size)
    made, shapes = [], [Lora(rank=3, alpha=5), Lora(rank=2, alpha=7, layers=("value", "output", "feed-forward"))]
    torch.manual_seed(3)
    for lora, frozen in zip(shapes, (None, 1), strict=True):
        below = merged(made, checkpoint.tensor)
        encoder = checkpoint.encoder(rows, none, 2, 0.0, 0.0, below, frozen)
        attach(encoder, lora, 0)
        for value in encoder.weights().values():
            torch.nn.init.normal_(value, std=0.15)
        made.append(Adapters(lora, {name: value.detach() for name, value in encoder.weights().items()}))
    model = TaskModel(encoder, form.head(encoder.hidden, len(classes), 0.0))
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    base = {"base_model_name_or_path": str(checkpoint.folder)}
    name = peft_folder.write(tmp_path, checkpoint, base, 2, made, model.head.state_dict(), format, classes)

    config = transformers.AutoConfig.from_pretrained(tmp_path)
    plainly = getattr(transformers, plain.AUTO[format]).from_pretrained(checkpoint.folder, config=config)
    assert type(plainly).__name__ == name
    loaded = peft.PeftModel.from_pretrained(plainly, tmp_path)
    compare(model, loaded, encoded, lookup(rows, checkpoint.vocabulary), form, format)


def test_a_type_without_an_equal_head_is_refused(tmp_path):
    checkpoint = Checkpoint(tiny_checkpoint(tmp_path / "modern", "modernbert"))
    with pytest.raises(InputError, match="normalise before the last layer"):
        plain.write(tmp_path, checkpoint, None, None, EmbeddingDelta.none(32), {}, "tagging", ["O"])
    assert not (tmp_path / "model.safetensors").exists()
