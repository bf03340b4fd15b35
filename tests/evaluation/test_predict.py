import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from small import LABELS, encode, first, model_and_job, outputs, padded  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation.errors import Stopped  # noqa: E402
from waystation.evaluation.predict import predict  # noqa: E402
from waystation.training.batches import collate  # noqa: E402

FORMATS = ["tagging", "classification", "multilabel", "choice"]


@pytest.fixture(scope="module", params=["xlm-roberta", "bert", "deberta-v2", "modernbert"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"), kind, spread=0.1)


def balance(model, job):
    """Shift the head's bias so that a model as drawn does not say the same of everything."""
    stream = first(job)
    everything = collate(stream.encoded, np.arange(len(stream.encoded.example)), stream.places, stream.format.reads)
    logits = everything.logits(model.eval(), torch.device("cpu"))
    with torch.no_grad():
        if model.head.out.bias is not None:  # choice has none: scores are compared with one another
            model.head.out.bias -= logits.mean(0)
    model.train()


def predictions(folder, kind, format, tmp_path, dense=False, frozen=None, stored=False, **more):
    encoded = encode(format, kind=kind, longest=40)
    model, job = model_and_job(folder, encoded, tmp_path, format=format, dense=dense, dropout=0.3, frozen=frozen)
    balance(model, job)
    if stored:  # what the trunk makes of each window alone
        windows = [encoded.tokens[a:b] for a, b in zip(encoded.offsets[:-1], encoded.offsets[1:], strict=True)]
        places = [torch.from_numpy(first(job).places[window].astype(np.int64)) for window in windows]
        kinds = torch.zeros(len(encoded.tokens)) if encoded.types is None else torch.from_numpy(encoded.types)
        types = torch.split(kinds.long(), list(map(len, places)))
        with torch.no_grad():
            states = [model.encoder.trunk(own, [len(own)], kind) for own, kind in zip(places, types, strict=True)]
        more["trunk"] = torch.cat(states).numpy()
        model.encoder.trunk = None  # nobody calls it
    found = predict(model, encoded, first(job).places, first(job).format, outputs(format), **more)
    assert model.training
    return encoded, found


@pytest.mark.parametrize("format", FORMATS)
def test_predictions_do_not_depend_on_batches_or_other_rows(folder, kind, format, tmp_path):
    encoded, expected = predictions(folder, kind, format, tmp_path)
    assert len(expected) == len(encoded)
    if format == "tagging":
        assert [len(tags) for tags in expected] == encoded.words.tolist()
        assert len({tag for tags in expected for tag in tags}) > 1
    elif format == "multilabel":
        assert {label for labels in expected for label in labels} == set(LABELS[format])
        assert len(set(map(len, expected))) > 1 and all(len(labels.ranking) == 3 for labels in expected)
    elif format == "choice":
        assert all(int(pred) < number for pred, number in zip(expected, np.bincount(encoded.example), strict=True))
        assert len(set(expected)) > 1
    else:
        assert len(set(expected)) > 1 and set(expected) <= set(LABELS[format])
    for budget in (1, 50, 100_000):
        assert predictions(folder, kind, format, tmp_path, tokens_per_micro_batch=budget)[1] == expected
    assert predictions(folder, kind, format, tmp_path, dense=True)[1] == expected


@pytest.mark.parametrize("kind", ["xlm-roberta", "bert"], indirect=True)
@pytest.mark.parametrize("format", FORMATS)
def test_predictions_from_a_stored_trunk(folder, kind, format, tmp_path):
    for frozen in (0, 1, 2):
        _, expected = predictions(folder, kind, format, tmp_path, frozen=frozen)
        assert predictions(folder, kind, format, tmp_path, frozen=frozen, stored=True)[1] == expected


@pytest.mark.parametrize("format", FORMATS)
def test_predictions_are_the_likeliest_outputs_of_a_padded_batch(folder, kind, format, tmp_path):
    from transformers import AutoModel

    encoded = encode(format, kind=kind, longest=40)
    model, job = model_and_job(folder, encoded, tmp_path, format=format)
    balance(model, job)
    spans = [slice(a, b) for a, b in zip(encoded.offsets[:-1], encoded.offsets[1:], strict=True)]
    auto, head = AutoModel.from_pretrained(folder).eval(), model.head
    tokens, mask = padded([encoded.tokens[span].tolist() for span in spans], auto.config.pad_token_id)
    types = {}
    if encoded.types is not None:
        types["token_type_ids"] = padded([encoded.types[span].tolist() for span in spans], 0)[0]
    with torch.no_grad():
        states = auto(input_ids=tokens, attention_mask=mask, **types).last_hidden_state
        logits = head(states if format == "tagging" else states[:, 0])
        best = logits.argmax(-1).numpy()
    names = outputs(format)
    if format == "classification":
        expected = [names[at] for at in best.tolist()]
    elif format == "multilabel":
        likely = [sorted(zip(row.sigmoid().tolist(), names, strict=True), reverse=True) for row in logits]
        expected = [[label for probability, label in row if probability > 0.5] for row in likely]
    elif format == "choice":
        options = torch.split(logits[:, 0], np.bincount(encoded.example).tolist())
        expected = [str(int(scores.argmax())) for scores in options]
    else:
        expected = [[""] * words for words in encoded.words.tolist()]
        for window, span in enumerate(spans):
            for place, word in enumerate(encoded.word[span].tolist()):
                if word >= 0:
                    expected[encoded.example[window]][word] = names[best[window, place]]
    assert predict(model, encoded, first(job).places, first(job).format, names) == expected


@pytest.mark.parametrize("format", FORMATS)
def test_some_examples_alone(folder, kind, format, tmp_path):
    _, all_of_them = predictions(folder, kind, format, tmp_path)
    for chosen in ([4], [0, 3, 17, 29], list(range(30))):
        _, found = predictions(folder, kind, format, tmp_path, examples=np.array(chosen))
        assert found == [all_of_them[i] for i in chosen]


def test_it_stops_between_micro_batches(folder, kind, tmp_path):
    asked = []

    def stop():
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(Stopped, match="run again"):
        predictions(folder, kind, "tagging", tmp_path, tokens_per_micro_batch=1, should_stop=stop)
