"""The harness's statistics with a clock of its own, and that both sides of a row do the same work."""

import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from small import encode, outputs  # noqa: E402
from tiny import tiny_checkpoint  # noqa: E402

from benchmarks import evaluation, harness, memory, peers, training, workloads  # noqa: E402
from benchmarks.__main__ import in_quick, rows  # noqa: E402
from benchmarks.harness import Case, Cost, Settings, Spread, measure, stored, table  # noqa: E402


class Clock:
    """Time passes only where a variant says so; half of the processor's time is waited for."""

    def __init__(self):
        self.cpu, self.calls = 0.0, []

    def __call__(self):
        return Cost(self.cpu, 2 * self.cpu)

    def variant(self, name, *seconds):
        """Takes one of ``seconds`` after the other, the last of them for ever."""
        left = list(seconds)

        def call():
            self.calls.append(name)
            self.cpu += left.pop(0) if len(left) > 1 else left[0]
            return name

        return call


def ratios(result):
    return {figure.opponent: figure.ratios["cpu"].median for figure in result.figures}


def test_ratios_are_taken_inside_a_round():
    clock = Clock()
    # the machine gets ten times slower after the second of four rounds: times say nothing, ratios do
    ours, theirs = clock.variant("ours", 9, 1, 1, 10, 10), clock.variant("theirs", 1, 3, 3, 30, 30)
    result = measure(Case("row", 2.5, ours, {"theirs": theirs}), Settings(rounds=4), clock)
    (figure,) = result.figures
    assert figure.ratios == {"cpu": Spread(3, 3, 3), "wall": Spread(3, 3, 3)}, "the warm-up round counts for nothing"
    assert figure.rounds == 4
    assert figure.met


def test_the_order_moves_on_from_round_to_round():
    clock = Clock()
    theirs = {name: clock.variant(name, 1) for name in "ab"}
    measure(Case("row", None, clock.variant("ours", 1), theirs), Settings(rounds=3), clock)
    rounds = [tuple(clock.calls[at : at + 3]) for at in range(0, 12, 3)]
    assert len(rounds) == 4, "one of them to warm up"
    assert len(set(rounds)) == 3
    assert {first for first, *_ in rounds[1:]} == {"ours", "a", "b"}


def test_a_single_target_is_for_the_strongest_opponent():
    clock = Clock()
    theirs = {"slow": clock.variant("slow", 9), "fast": clock.variant("fast", 2)}
    result = measure(Case("row", 3.0, clock.variant("ours", 1), theirs), Settings(rounds=2), clock)
    assert [(figure.opponent, figure.target, figure.met) for figure in result.figures] == [
        ("slow", None, None),
        ("fast", 3.0, False),
    ]
    named = measure(Case("row", {"slow": 3.0}, clock.variant("ours", 1), theirs), Settings(rounds=2), clock)
    assert [figure.met for figure in named.figures] == [True, None]


def test_both_clocks_must_reach_the_target():
    figure = harness.Figure("theirs", 1, {"cpu": Spread(3, 3, 3), "wall": Spread(1, 1, 1)}, {}, {}, target=2.0)
    assert figure.met is False


def test_costs_are_compared_for_each_unit_of_work():
    case = Case("row", None, lambda: Cost(4, 8, work=2), {"theirs": lambda: Cost(5, 5, work=1)})
    (figure,) = measure(case, Settings(rounds=2), Clock()).figures
    assert figure.ratios["cpu"].median == 2.5
    assert figure.ratios["wall"].median == 1.25


def test_what_is_not_the_same_work_is_not_timed():
    def check(found):
        assert found["ours"] == found["theirs"]

    clock = Clock()
    with pytest.raises(AssertionError):
        measure(
            Case("row", 1.0, clock.variant("ours", 1), {"theirs": clock.variant("theirs", 1)}, check),
            Settings(rounds=1),
            clock,
        )
    assert len(clock.calls) == 2, "asked after the first round"


def test_how_many_rounds():
    full, quick = Settings(), Settings(quick=True)
    assert not full.enough(harness.ROUNDS - 1, 1e9)
    assert full.enough(harness.ROUNDS, 0)
    assert not quick.enough(harness.QUICK_ROUNDS, 0)
    assert quick.enough(harness.QUICK_ROUNDS, harness.QUICK_SECONDS)
    assert harness.ROUNDS >= 20


def test_quartiles():
    assert Spread.of([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(3, 2, 4)
    assert Spread.of([2.0]) == Spread(2, 2, 2)


def test_the_table_and_the_file_say_the_same():
    clock = Clock()
    theirs = {"a": clock.variant("a", 4), "b": clock.variant("b", 1.5)}
    result = measure(Case("row", {"a": 3.0, "b": 3.0}, clock.variant("ours", 1), theirs), Settings(rounds=3), clock)
    lines = table([result]).splitlines()
    assert "4.00 (4.00–4.00)" in lines[1]
    assert lines[1].endswith("≥ 3     met")
    assert lines[2].endswith("≥ 3     MISSED")
    kept = json.loads(json.dumps(stored([result], {"command": "c"})))
    assert kept["command"] == "c"
    assert [figure["met"] for figure in kept["rows"][0]["figures"]] == [True, False]
    assert kept["rows"][0]["figures"][0]["ratios"]["cpu"] == {"median": 4.0, "low": 4.0, "high": 4.0}


def counting(gate, start):
    gate.wait()
    for work in range(start, start + 3):
        sum(range(200_000))
        gate(float(work))


def test_a_child_works_only_when_told_to(monkeypatch):
    monkeypatch.setattr(harness, "HEAVY", [])
    with harness.child(counting, 5) as unit:
        costs = [unit(), unit()]
        assert [cost.work for cost in costs] == [5.0, 6.0]
        assert all(cost.cpu > 0 and cost.wall > 0 for cost in costs)
        unit()
        with pytest.raises(RuntimeError, match="counting"):
            unit()


# Both sides do the same


class Stop(Exception):
    """Enough steps."""


class Gate:
    """Lets a number of units pass and keeps their work."""

    def __init__(self, units):
        self.units, self.works = units, []

    def __call__(self, work):
        self.works.append(work)
        if len(self.works) == self.units:
            raise Stop


def passes(body, units, *args, **more):
    gate = Gate(units)
    with pytest.raises(Stop):
        body(gate, *args, **more)
    return gate.works


@pytest.fixture(scope="module", params=["xlm-roberta", "bert"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"), kind)


def workload(format, folder, kind, pad_to=None):
    if format == "span":  # of one length: transformers' loss counts what is padded
        return workloads.Workload(
            format, workloads.random_windows(format, np.full(40, 9), 40, 2), 2, 4, pad_to, folder, "random"
        )
    encoded = workloads.join([encode(format, number=40, kind=kind)])
    return workloads.Workload(format, encoded, len(outputs(format)), 4, pad_to, folder, "tiny")


def twins(work, way):
    """Our model and transformers', with the same head."""
    ours, theirs = peers.our_model(work, way), peers.their_model(work, way)
    head = dict(ours.head.named_parameters())
    last = theirs.qa_outputs if work.format == "span" else theirs.classifier
    pairs = {"out": getattr(last, "out_proj", last)}
    if work.format == "classification":
        pairs["dense"] = theirs.base_model.pooler.dense if theirs.base_model.pooler else theirs.classifier.dense
    for name, layer in pairs.items():
        layer.load_state_dict({part: head[f"{name}.{part}"].detach() for part in ("weight", "bias")})
    return ours, theirs


QUIET = peers.Way(dropout=0.0)


@pytest.mark.parametrize(
    ("format", "pad_to", "way"),
    [
        ("tagging", None, QUIET),
        ("tagging", None, replace(QUIET, frozen=1)),
        ("span", 9, QUIET),
        ("classification", 30, QUIET),
        ("classification", 30, replace(QUIET, dynamic=True, attention="eager")),
    ],
)
def test_the_trainer_and_the_engine_learn_the_same(format, pad_to, way, folder, kind):
    work = workload(format, folder, kind, pad_to)
    ours, theirs = twins(work, way)
    before = ours.encoder.embedding.detach().clone()
    works = passes(peers.ours, 3, work, way, model=ours)
    assert works == passes(peers.trainer, 3, work, way, model=theirs)
    assert works[0] == work.lengths[peers.sampler(work)(0)].sum()
    found = {name: value for name, value in theirs.base_model.named_parameters() if not name.startswith("pooler")}
    rows = np.unique(work.encoded.tokens)
    embedding = ours.encoder.embedding
    assert torch.equal(embedding, before) == (way.frozen is not None), "something was learned"
    for name, value in ours.encoder.model.named_parameters():
        wanted = found[name][rows] if value is embedding else found[name]
        apart = (value - wanted).abs()
        # a softmax over tokens does not see what all of them share: that gradient is rounding, and Adam makes it large
        assert apart.mean() < (5e-6 if format == "span" else 1e-7), name


def test_frozen_blocks_stay_in_evaluation_mode(folder, kind):
    model = peers.their_model(workload("tagging", folder, kind), replace(QUIET, frozen=1)).train()
    first, second = model.base_model.encoder.layer
    assert (first.training, second.training) == (False, True)
    assert not any(module.training for module in (*first.modules(), *model.base_model.embeddings.modules()))


def test_grouped_batches_are_the_same_windows_in_fewer_lengths(folder, kind):
    work = workload("tagging", folder, kind)
    plain, grouped = (peers.their_order(work, replace(QUIET, grouped=on)) for on in (False, True))
    batches = [work.lengths[order.reshape(peers.STEPS, work.batch)] for order in (plain, grouped)]
    spread = [np.ptp(lengths, axis=1).mean() for lengths in batches]
    assert spread[1] < 0.8 * spread[0]
    for order in (plain, grouped):
        assert set(order.tolist()) == set(peers.sampler(work).examples.tolist())


def test_features_hold_what_the_encoding_holds(folder, kind):
    work = workload("tagging", folder, kind)
    made = workloads.features("tagging", work.encoded, 24)
    assert {len(feature["input_ids"]) for feature in made} == {24}
    assert sum(sum(feature["attention_mask"]) for feature in made) == len(work.encoded.tokens)
    scored = [label for feature in workloads.features("tagging", work.encoded, None) for label in feature["labels"]]
    assert np.array_equal(np.array(scored) >= 0, work.encoded.word >= 0)


def test_evaluation_finds_the_same_tags(folder, kind, tmp_path):
    parts = {"en": encode("tagging", 20, kind, max_length=64), "de": encode("tagging", 15, kind, max_length=64, seed=1)}
    work = replace(evaluation.workload(parts), folder=folder)
    assert work.outputs == len(outputs("tagging")) + 2, "PAN-X has one type more"
    ours, theirs = twins(work, peers.Way())
    expected = evaluation.Ours(work, parts, ours)()
    assert len(expected) == 35
    assert len({tag for tags in expected for tag in tags}) > 1
    assert evaluation.Theirs(work, 8, str(tmp_path), theirs)() == expected


def test_the_peak_is_charged_with_the_real_tokens_alone(folder, kind):
    work = workload("tagging", folder, kind)
    (charged,) = passes(training.matmuls, 1, work)
    real = work.lengths[peers.sampler(work)(0)].sum()
    assert 0.5 * real < charged < real, "attention is work that the products do not do"


def test_the_peak_does_the_last_block_for_the_rows_that_are_read(folder):
    work = workload("tagging", folder, "xlm-roberta")
    every = np.arange(len(work.encoded))
    assert training.rows_read(work, every) == (work.encoded.word >= 0).sum() < len(work.encoded.tokens)
    assert training.rows_read(replace(work, format="classification"), every) == len(every)
    assert training.rows_read(replace(work, format="span"), every) == len(work.encoded.tokens)


@pytest.mark.parametrize("format", ["tagging", "classification", "span"])
def test_random_windows_can_be_trained_on(format, folder, kind):
    encoded = workloads.random_windows(format, np.array([9, 5, 12, 7]), 20, 3)
    outputs = 2 if format == "span" else 3
    work = workloads.Workload(format, encoded, outputs, 2, None, folder, "random")
    assert passes(peers.ours, 2, work, QUIET) == passes(peers.trainer, 2, work, QUIET)


# The grid


@pytest.mark.parametrize(("behind", "full"), [(1.3, 1), (1.05, 2)])
def test_the_grid_times_its_best_point_in_full(behind, full, monkeypatch):
    def cost(body, way):
        if body is peers.ours:
            return Cost(1, 1)
        slow = 1.0 if way.grouped else 2.0
        slow *= 1.0 if way.attention == "eager" else 1.5
        return Cost(slow * (1.0 if way.device_batch == 16 else behind if way.device_batch == 8 else 1.5), 9)

    @contextmanager
    def child(body, work, way):
        yield lambda: cost(body, way)

    monkeypatch.setattr(training, "child", child)
    work = workloads.Workload("span", workloads.random_windows("span", np.full(64, 9), 40, 2), 2, 32, 9, None, "random")
    figures = training.grid("row", lambda settings: work, 0.0, Settings(rounds=5)).figures
    assert len({figure.opponent for figure in figures}) == 12
    assert [figure.opponent for figure in figures if figure.rounds == 5] == [
        "grouped/16/eager",
        "grouped/8/eager",
    ][:full]
    assert [figure.opponent for figure in figures if figure.target is not None] == ["grouped/16/eager"]


def test_every_row_has_a_name_and_a_quick_run_leaves_few_out():
    every = rows()
    assert len(every) > 20
    grids = [name for name in every if name.startswith("grid-") and name.endswith(training.DROPOUT)]
    assert len(grids) == 3
    assert {name for name in every if not in_quick(name)} == {*grids, "frozen-32"}


# Memory


def hungry(gate, work, way):
    held = np.ones(int(work), np.uint8)
    for _ in range(memory.STEPS):
        gate(float(held[0]))


@pytest.mark.slow
def test_the_peak_is_what_the_steps_need():
    small, large = (memory.peak(hungry, megabytes * 10**6, ()) for megabytes in (1, 101))
    assert 90e6 < (large[1] - large[0]) - (small[1] - small[0]) < 110e6
