from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation.report import figures
from waystation.report.figures import Strip, strip_limit, strip_plot

values = st.floats(allow_nan=True, allow_infinity=True)
limits = st.floats(min_value=1e-3, max_value=100)
themes = st.sampled_from(figures.THEMES)


@given(values, limits, themes)
def test_text_can_be_read_on_every_cell(value: float, limit: float, theme: figures.Theme) -> None:
    background = figures.diverging(value, limit, theme)
    assert re.fullmatch("#[0-9a-f]{6}", background)
    assert figures.contrast(figures.ink(background, theme), background) >= figures.READABLE


@given(st.integers(0, 0xFFFFFF), themes)
def test_ink_can_be_read_on_any_colour(colour: int, theme: figures.Theme) -> None:
    background = f"#{colour:06x}"
    assert figures.contrast(figures.ink(background, theme), background) >= figures.READABLE


def test_contrast_of_known_pairs() -> None:
    assert figures.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert figures.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert figures.contrast("#123456", "#123456") == 1


@pytest.mark.parametrize("theme", figures.THEMES)
def test_the_scale_diverges(theme: figures.Theme) -> None:
    scale = figures.SCALES[theme]
    assert figures.diverging(0, 5, theme) == scale.middle
    assert figures.diverging(5, 5, theme) == figures.diverging(50, 5, theme) == scale.above
    assert figures.diverging(-5, 5, theme) == scale.below
    # Blue against orange: the blue channel leads on one side, the red one on the other, for any eye.
    above, below = figures._channels(scale.above), figures._channels(scale.below)
    assert above[2] > above[0] + 60 and below[0] > below[2] + 60


def test_a_cell_has_both_themes_and_nothing_but_colours() -> None:
    style = figures.cell_style(1.5, 5)
    assert re.fullmatch(r"--light:#\w{6};--light-ink:#\w{6};--dark:#\w{6};--dark-ink:#\w{6}", style)


def test_numbers_as_text() -> None:
    assert figures.signed(1.24) == "+1.2"
    assert figures.signed(-1.26) == "−1.3"
    assert figures.signed(-1.26, 2, "-") == "-1.26"
    assert figures.signed(-0.01) == "0.0"
    assert figures.signed(float("nan")) == figures.points(float("inf")) == "n/a"


@given(st.floats(min_value=1e-6, max_value=1e6))
def test_a_nice_limit_is_the_next_round_number(value: float) -> None:
    limit = figures.nice(value)
    assert value * (1 - 1e-6) <= limit <= 1.51 * value


def test_one_outlier_does_not_bleach_the_scale() -> None:
    assert figures.colour_limit([1.0] * 20 + [90.0], least=1) == 1
    assert figures.colour_limit([], least=2) == 2
    assert figures.colour_limit([float("nan")], least=2) == 2


STRIPS = [
    Strip("general", "alpha", {0: 1.0, 1: -2.0}),
    Strip("general", "beta", {0: 0.5}),
    Strip("<b>medical</b>", "a & very long name of a task indeed", {0: 4.0, 1: 6.0}),
]


def test_the_strip_plot_is_well_formed_and_described() -> None:
    drawn = strip_plot("strip-0", "Gains <by> seed", STRIPS, 1.0, strip_limit(STRIPS, 1.0))
    root = ET.fromstring(str(drawn))
    assert root.get("role") == "img"
    names = (root.get("aria-labelledby") or "").split()
    assert [root[0].get("id"), root[1].get("id")] == names
    assert root[0].text == "Gains <by> seed"
    assert "alpha −0.50 (seeds +1.00, −2.00)" in (root[1].text or "")
    circles = [item for item in root.iter() if item.tag == "circle"]
    assert len(circles) == 5
    texts = "".join(root.itertext())
    assert "+5.00" in texts and "a & very long name of a task indeed" in texts and "<b>medical</b>" in texts


@given(st.dictionaries(st.integers(0, 20), st.floats(-100, 100), min_size=1), st.floats(0.1, 10))
def test_every_dot_is_inside_and_on_its_side(by_seed: dict[int, float], delta: float) -> None:
    strips = [Strip("group", "name", by_seed)]
    root = ET.fromstring(str(strip_plot("s", "t", strips, delta, strip_limit(strips, delta))))
    zero = float(next(item for item in root.iter() if item.get("class") == "zero").get("x1") or 0)
    for value, dot in zip(by_seed.values(), (item for item in root.iter() if item.tag == "circle"), strict=True):
        x = float(dot.get("cx") or 0)
        assert 0 < x < figures.WIDTH
        assert (x - zero) * value >= -0.1 * abs(value)


def test_nothing_to_draw_draws_nothing() -> None:
    assert strip_plot("s", "t", [], 1.0, 1.0) == ""
    assert strip_plot("s", "t", [Strip("g", "a", {0: float("nan")})], 1.0, 1.0) == ""
