"""The rate of every update, against the schedules of torch and transformers and against straight arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from waystation.errors import InputError  # noqa: E402
from waystation.steps.recipes import Recipe, Unfreezing  # noqa: E402
from waystation.training.rates import Cycle, cycle_at, cycles, rate_factor  # noqa: E402


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


@pytest.mark.parametrize(("updates", "warmup"), [(1, 0.0), (10, 0.1), (84, 0.1), (20, 0.0), (7, 0.99)])
def test_linear_rates_are_those_of_transformers(updates, warmup):
    from transformers import get_linear_schedule_with_warmup

    steps = optimizer()
    schedule = get_linear_schedule_with_warmup(steps, round(warmup * updates), updates)
    for update in range(updates):
        assert rate_factor(update, Recipe(updates=updates, warmup=warmup)) == schedule.get_last_lr()[0]
        steps.step()
        schedule.step()


@pytest.mark.parametrize(("updates", "warmup"), [(10, 0.3), (40, 0.1), (100, 0.3), (8, 0.75)])
def test_one_cycle_is_that_of_torch(updates, warmup):
    steps = optimizer()
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        steps, max_lr=1.0, total_steps=updates, pct_start=warmup, cycle_momentum=False
    )
    recipe = Recipe(updates=updates, warmup=warmup, schedule="one-cycle")
    for update in range(updates):
        assert rate_factor(update, recipe) == pytest.approx(schedule.get_last_lr()[0], rel=1e-6, abs=1e-12)
        steps.step()
        schedule.step()


@pytest.mark.parametrize(("updates", "warmup"), [(1, 0.0), (1, 0.9), (2, 0.5), (5, 0.0), (5, 0.9), (7, 0.99)])
def test_a_cycle_too_short_to_rise_or_to_fall_has_its_peak(updates, warmup):
    found = [rate_factor(at, Recipe(updates=updates, warmup=warmup, schedule="one-cycle")) for at in range(updates)]
    top = found.index(1.0)
    assert top == max(0, round(warmup * updates) - 1)
    assert found[: top + 1] == sorted(found[: top + 1]) and found[top:] == sorted(found[top:], reverse=True)
    assert min(found) > 0


# Cycles


def unfrozen(updates, **unfreezing):
    return Recipe(updates=updates, rate=1e-4, warmup=0.2, unfreezing=Unfreezing(**unfreezing))


def test_without_unfreezing_there_is_one_cycle():
    assert cycles(Recipe(updates=7)) == [Cycle(0, 7)]


@pytest.mark.parametrize(
    ("recipe", "epoch", "borders"),
    [
        (unfrozen(90, groups=(1, 2, 3)), None, [0, 30, 60, 90]),
        (unfrozen(10, groups=(1, 2, 3)), None, [0, 3, 7, 10]),
        (unfrozen(100, groups=(1, 2, 3), length=10), None, [0, 10, 20, 100]),
        (unfrozen(100, groups=(2, 4), length=3, unit="epochs"), 12, [0, 36, 100]),
        (unfrozen(100, groups=(2, 4, 6), length=1, unit="epochs"), 12.5, [0, 12, 25, 100]),
    ],
)
def test_the_borders_of_cycles(recipe, epoch, borders):
    assert [cycle.begin for cycle in cycles(recipe, epoch)] == borders[:-1]
    assert [cycle.end for cycle in cycles(recipe, epoch)] == borders[1:]
    assert [cycle.groups for cycle in cycles(recipe, epoch)] == list(recipe.unfreezing.groups)


@given(st.integers(1, 60), st.lists(st.integers(1, 9), min_size=1, max_size=6).map(sorted))
def test_every_update_is_in_one_cycle_that_its_turn_has_come_for(updates, groups):
    recipe = unfrozen(updates, groups=tuple(groups))
    if updates < len(groups):
        with pytest.raises(InputError, match=f"{len(groups)} cycles do not fit into {updates} updates"):
            cycles(recipe)
        return
    found = cycles(recipe)
    asked = [cycle_at(found, update) for update in range(updates)]
    assert list(dict.fromkeys(asked)) == found
    assert [cycle.begin <= update < cycle.end for update, cycle in enumerate(asked)] == [True] * updates
    sizes = [cycle.end - cycle.begin for cycle in found]
    assert sum(sizes) == updates and max(sizes) - min(sizes) <= 1


def test_cycles_longer_than_the_phase_are_refused():
    with pytest.raises(InputError, match=r"3 cycles do not fit into 100 updates, each but the last takes 50; raise"):
        cycles(unfrozen(100, groups=(1, 2, 3), length=2, unit="epochs"), 25)


@pytest.mark.parametrize("schedule", ["linear", "one-cycle"])
def test_each_cycle_is_a_run_of_its_own_with_its_own_peak(schedule):
    recipe = unfrozen(60, groups=(2, 4, 6), length=15, rates=(2e-4, 5e-5, 1e-4))
    recipe = recipe.model_copy(update={"schedule": schedule})
    found = [rate_factor(at, recipe, cycle_at(cycles(recipe), at)) for at in range(60)]
    expected = []
    for length, peak in [(15, 2.0), (15, 0.5), (30, 1.0)]:
        alone = Recipe(updates=length, warmup=0.2, schedule=schedule)
        expected += [peak * rate_factor(at, alone) for at in range(length)]
    assert found == pytest.approx(expected, rel=1e-12)
    assert [max(found[a:b]) for a, b in [(0, 15), (15, 30), (30, 60)]] == pytest.approx([2.0, 0.5, 1.0])
