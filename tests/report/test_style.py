"""Colours that can be read, and what paper needs."""

from __future__ import annotations

import re
from pathlib import Path

import holdfast.report

CSS = Path(holdfast.report.__file__).with_name("style.css").read_text(encoding="utf-8")


def test_contrast_in_both_themes() -> None:
    """Text at least 4.5 to 1 on the ground and on cards (WCAG AA), shaded cells included."""
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6});", block))
        for block in re.findall(r":root \{(.*?)\}", CSS, flags=re.S)
    )
    for theme in (light, dark):
        for ground in ("paper", "card"):
            for text in ("ink", "muted", "zero", "tuned", "ensemble", "loss"):
                assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
        for shade in ("heat-right", "heat-wrong"):
            assert contrast(theme["ink"], theme[shade]) >= 4.5, shade


def contrast(first: str, second: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_paper_has_what_is_folded_and_the_light_colours() -> None:
    paper = CSS[CSS.index("@media print") :]
    assert "details::details-content { content-visibility: visible;" in paper
    assert "@media screen and (prefers-color-scheme: dark)" in CSS
    assert "section { break-inside" not in paper, "that leaves half-empty pages"


def test_words_of_tables_stay_whole() -> None:
    tables = CSS[CSS.index("/* tables") : CSS.index("/* pictures */")]
    [anywhere] = [line for line in tables.splitlines() if "overflow-wrap: anywhere" in line]
    assert anywhere.startswith(".plain td .name")  # paths and hashes
