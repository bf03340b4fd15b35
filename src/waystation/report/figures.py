"""Colours and drawings of the report: pure functions from numbers to colours, style attributes and inline SVG.

The scale runs from orange (below the baseline) over a neutral to blue (above it): these two stay apart in every common
form of colour blindness. A number always stands in the cell as text; colour only repeats it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")

READABLE = 4.5
"""The contrast that WCAG asks of normal text."""


@dataclass(frozen=True)
class Scale:
    """Ends and middle of a diverging scale, and the text colour of its theme."""

    below: str
    middle: str
    above: str
    ink: str


SCALES: dict[Theme, Scale] = {
    "light": Scale(below="#e0893a", middle="#f5f5f2", above="#5f9add", ink="#161b21"),
    "dark": Scale(below="#a4540f", middle="#242a31", above="#2a67ab", ink="#eef1f4"),
}


def luminance(colour: str) -> float:
    """Relative luminance (WCAG) of ``#rrggbb``."""
    parts = [channel / 255 for channel in _channels(colour)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio (WCAG) of two colours: 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def diverging(value: float, limit: float, theme: Theme = "light") -> str:
    """The colour of a value on a scale from −limit to +limit; beyond the limits it stays at the end's colour."""
    scale = SCALES[theme]
    if not math.isfinite(value) or limit <= 0:
        return scale.middle
    share = max(-1.0, min(1.0, value / limit))
    return _mix(scale.middle, scale.above if share > 0 else scale.below, abs(share))


def ink(background: str, theme: Theme = "light") -> str:
    """A text colour that can be read on a background: the theme's own where that suffices, else black or white."""
    own = SCALES[theme].ink
    if contrast(own, background) >= READABLE:
        return own
    # One of the two always reaches 4.58: the product of their contrasts with any colour is 21.
    return max(("#000000", "#ffffff"), key=lambda colour: contrast(colour, background))


def cell_style(value: float, limit: float) -> str:
    """Custom properties of a coloured cell for both themes; the style sheet picks the pair that is in force."""
    parts = []
    for theme in THEMES:
        colour = diverging(value, limit, theme)
        parts += [f"--{theme}:{colour}", f"--{theme}-ink:{ink(colour, theme)}"]
    return ";".join(parts)


def colour_limit(values: Iterable[float], least: float) -> float:
    """A round limit that nine of ten values stay within, so that one outlier does not bleach the rest."""
    sizes = sorted(abs(value) for value in values if math.isfinite(value))
    reached = sizes[math.ceil(0.9 * len(sizes)) - 1] if sizes else 0.0
    return nice(max(reached, least))


STEPS = (1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Ends of a scale; their halves, which are written beside them, are round as well."""


def nice(value: float) -> float:
    """The smallest of ``STEPS`` times a power of ten that is at least ``value``."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in STEPS if step * power >= value * (1 - 1e-9)), 10.0 * power)


def signed(value: float, places: int = 1, minus: str = "−") -> str:
    """A gain as text: with its sign, without one where it rounds to zero."""
    if not math.isfinite(value):
        return "n/a"
    text = f"{abs(value):.{places}f}"
    if float(text) == 0.0:
        return text
    return ("+" if value > 0 else minus) + text


def points(value: float, places: int = 1) -> str:
    """A score as text."""
    return f"{value:.{places}f}" if math.isfinite(value) else "n/a"


def legend(limit: float) -> Markup:
    """The scale as a row of swatches with their values."""
    steps = [-limit, -limit / 2, 0.0, limit / 2, limit]
    places = 1 if limit >= 1 else 2
    swatches = [
        Markup('<span class="swatch gain" style="{}">{}</span>').format(cell_style(value, limit), signed(value, places))
        for value in steps
    ]
    return Markup('<p class="legend"><span>Gain in points</span> {}</p>').format(Markup(" ").join(swatches))


@dataclass(frozen=True)
class Strip:
    """One line of a strip plot: the gain of each seed, drawn around zero."""

    group: str
    label: str
    by_seed: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return sum(self.by_seed.values()) / len(self.by_seed)


WIDTH, LINE, HEADING, RIGHT, LETTER = 580, 26, 26, 62, 7.2


def strip_limit(strips: Iterable[Strip], delta: float) -> float:
    """A round limit that holds every seed and the band of ±``delta``."""
    sizes = [abs(value) for strip in strips for value in strip.by_seed.values() if math.isfinite(value)]
    return nice(1.02 * max(delta, *sizes, 0.0))


def strip_plot(name: str, title: str, strips: Sequence[Strip], delta: float, limit: float) -> Markup:
    """Per-seed gains of every intermediate around zero as inline SVG; ``name`` makes its ids unique on the page.

    A dot is a seed, the bar their mean, the band ±``delta``: the difference that the study calls too small to matter.
    The axis runs from −limit to +limit.
    """
    strips = [strip for strip in strips if strip.by_seed and all(map(math.isfinite, strip.by_seed.values()))]
    if not strips:
        return Markup("")
    left = 24 + LETTER * min(22, max(len(strip.label) for strip in strips))
    middle, half = (left + WIDTH - RIGHT) / 2, (WIDTH - RIGHT - left) / 2 - 6

    def x(value: float) -> str:
        return f"{middle + half * max(-1.0, min(1.0, value / limit)):.1f}"

    drawn: list[Markup] = []
    y, group = 4.0, None
    for strip in strips:
        if strip.group != group:
            group, y = strip.group, y + HEADING
            drawn.append(Markup('<text class="group" x="0" y="{:.0f}">{}</text>').format(y - 8, _short(group)))
        drawn.append(_line(strip, y + LINE / 2, x))
        y += LINE
    bottom = y + 4
    frame = [
        Markup('<rect class="band" x="{}" y="8" width="{:.1f}" height="{:.0f}"/>').format(
            x(-delta), float(x(delta)) - float(x(-delta)), bottom - 8
        ),
        Markup('<line class="zero" x1="{0}" x2="{0}" y1="8" y2="{1:.0f}"/>').format(x(0), bottom),
    ]
    for value in (-limit, -limit / 2, 0.0, limit / 2, limit):
        frame.append(
            Markup('<text class="tick" x="{}" y="{:.0f}">{}</text>').format(
                x(value), bottom + 16, signed(value, 1 if limit >= 1 else 2)
            )
        )
    described = "; ".join(f"{strip.label} {signed(strip.mean, 2)} (seeds {_listed(strip.by_seed)})" for strip in strips)
    return Markup(
        '<svg class="strip" viewBox="0 0 {width} {height:.0f}" role="img" aria-labelledby="{name}-t {name}-d">'
        '<title id="{name}-t">{title}</title><desc id="{name}-d">{desc}</desc>{frame}{drawn}</svg>'
    ).format(
        width=WIDTH,
        height=bottom + 24,
        name=name,
        title=title,
        desc=f"Mean gain and gain of each seed, in points: {described}.",
        frame=Markup("").join(frame),
        drawn=Markup("").join(drawn),
    )


def _line(strip: Strip, y: float, at: Callable[[float], str]) -> Markup:
    dots = [
        Markup('<circle class="{}" cx="{}" cy="{:.1f}" r="4.5"><title>seed {}: {}</title></circle>').format(
            _side(value), at(value), y, seed, signed(value, 2)
        )
        for seed, value in strip.by_seed.items()
    ]
    return Markup(
        '<text class="label" x="14" y="{text:.1f}">{label}<title>{full}</title></text>{dots}'
        '<line class="mean {side}" x1="{mean}" x2="{mean}" y1="{top:.1f}" y2="{end:.1f}"/>'
        '<text class="value" x="{right}" y="{text:.1f}">{value}</text>'
    ).format(
        text=y + 4.5,
        label=_short(strip.label),
        full=strip.label,
        dots=Markup("").join(dots),
        side=_side(strip.mean),
        mean=at(strip.mean),
        top=y - 9,
        end=y + 9,
        right=WIDTH,
        value=signed(strip.mean, 2),
    )


def _side(value: float) -> str:
    return "above" if value > 0 else "below"


def _listed(by_seed: Mapping[int, float]) -> str:
    return ", ".join(signed(value, 2) for value in by_seed.values())


def _short(text: str, most: int = 22) -> Markup:
    return escape(text if len(text) <= most else text[: most - 1] + "…")


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _mix(one: str, other: str, share: float) -> str:
    mixed = (round(a + (b - a) * share) for a, b in zip(_channels(one), _channels(other), strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
