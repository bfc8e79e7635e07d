"""Captions, and the class names that CLIP is measured with."""

from __future__ import annotations

from numpy.random import Generator

from .naming import ALIASES

TEMPLATES = (
    "an icon of a {}.", "a drawing of a {}.", "a picture of a {}.", "a pictogram of a {}.",
    "a photo of a {}.", "a simple icon of a {}.", "a symbol of a {}.", "a {}.", "{}",
    "an illustration of a {}.",
)  # fmt: skip
STYLED = (
    "a {style} icon of a {}.", "a {style} drawing of a {}.", "a {}, {style} style.",
    "a {style} picture of a {}.", "a {style} {}.",
)  # fmt: skip
PROMPT = "an icon of a {}."

NOUNS = """house, car, bicycle, airplane, bus, train, ship, lorry, helicopter, rocket, ambulance,
anchor, umbrella, key, padlock, bell, book, calendar, camera, clock, hourglass,
envelope, telephone, mobile phone, laptop, keyboard, printer, television, radio,
microphone, headphones, light bulb, magnifying glass, scissors, pencil, paintbrush,
paint palette, ruler, hammer, wrench, shield, crown, trophy, medal, star, heart, flag,
flower, tree, leaf, cat, dog, fish, bug, paw, skull, ghost, robot, brain, tooth, eye,
hand, gift, shopping cart, shopping bag, basket, wallet, credit card, suitcase,
briefcase, backpack, graduation cap, glasses, watch, t shirt, bed, couch, door, bathtub,
fire, cloud, moon, sun, water drop, mountain, tent, compass, globe, map pin, puzzle
piece, game controller, dice, guitar, music note, syringe, pill, thermometer,
microscope, telescope, atom, hospital, bank, factory, trash can, paper clip, magnet,
battery, gear, thumbs up, scale, feather, ladder, diamond"""
NOUNS = tuple(" ".join(noun.split()) for noun in NOUNS.split(","))  # type: ignore[assignment]


def caption(noun: str, group: str, style: str, r: Generator) -> str:
    """What somebody might write under a drawing: a synonym, perhaps the style, in a template."""
    shown = noun if r.random() < 0.5 else group
    if r.random() < 0.15:
        shown = str(r.choice(ALIASES.get(group, [group])))
    if style and r.random() < 0.35:
        return str(r.choice(STYLED)).replace("{style}", style).replace("{}", shown)
    template = TEMPLATES[0] if r.random() < 0.2 else str(r.choice(TEMPLATES))
    return template.replace("{}", shown)
