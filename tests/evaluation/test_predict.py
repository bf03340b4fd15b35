import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from small import LABELS, encode, model_and_job, outputs  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from waystation.errors import Stopped  # noqa: E402
from waystation.evaluation.predict import predict  # noqa: E402
from waystation.training.batches import collate  # noqa: E402

FORMATS = ["tagging", "classification"]


@pytest.fixture(scope="module", params=["xlm-roberta", "bert"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"), kind)


def balance(model, job):
    """Shift the head's bias so that a model as drawn does not say the same of everything."""
    everything = collate(job.encoded, np.arange(len(job.encoded.example)), job.places, job.pad, job.format.per_token)
    with torch.no_grad():
        logits = model.eval()(everything.tokens, everything.mask, everything.types).flatten(0, -2)
        model.head.out.bias -= logits.mean(0)
    model.train()


def predictions(folder, kind, format, tmp_path, dense=False, **more):
    encoded = encode(format, kind=kind, longest=40)
    model, job = model_and_job(folder, encoded, tmp_path, dense=dense, dropout=0.3)
    balance(model, job)
    found = predict(model, encoded, job.places, job.pad, job.format, outputs(format), **more)
    assert model.training
    return encoded, found


@pytest.mark.parametrize("format", FORMATS)
def test_predictions_do_not_depend_on_batches_or_other_rows(folder, kind, format, tmp_path):
    encoded, expected = predictions(folder, kind, format, tmp_path)
    assert len(expected) == len(encoded)
    if format == "tagging":
        assert [len(tags) for tags in expected] == encoded.words.tolist()
        assert len({tag for tags in expected for tag in tags}) > 1
    else:
        assert len(set(expected)) > 1 and set(expected) <= set(LABELS[format])
    for budget in (1, 50, 100_000):
        assert predictions(folder, kind, format, tmp_path, tokens_per_micro_batch=budget)[1] == expected
    assert predictions(folder, kind, format, tmp_path, dense=True)[1] == expected


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
