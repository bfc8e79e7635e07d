"""What people would write under a picture: varied, partial, vague, and sometimes wrong."""

from __future__ import annotations

from numpy.random import Generator

from .world import NUMBERS, Scene

WRONG, VAGUE, LONG = 0.10, 0.06, 0.08  # shares of captions

_VAGUE = (
    "a picture",
    "an image",
    "a photo",
    "something",
    "untitled",
    "a small picture",
    "see attached",
    "my favourite one",
    "a nice picture",
    "for the collection",
    "image 12",
    "look at this",
)
_TAILS = (
    " on a table",
    ", number {}",
    " in the middle of the picture, seen from the front",
    ", found in an old box of pictures last summer",
    " for the children",
    " taken in {}0 by a friend",
    ", which i like very much because of its colours",
    " with a plain background",
)
_ANY = (
    "a photo of a {}.",
    "a photo of a {}.",
    "a photo of the {}.",
    "a picture of a {}",
    "a {}",
    "{}",
    "an image of a {}",
    "this is a {}",
    "here is one {}",
    "a small {}",
)
_STYLE = {
    "photo": (
        "a photo of a {}.",
        "a photo of a {}.",
        "a close photo of a {}.",
        "a {} seen by a camera",
        "a snapshot of the {}",
        "a good photo of a {}.",
        "a blurry photo of a {}.",
    ),
    "cartoon": (
        "a cartoon of a {}.",
        "a cartoon {}",
        "a comic drawing of a {}",
        "a {} in a cartoon",
        "a colourful cartoon of the {}",
    ),
    "sketch": (
        "a sketch of a {}.",
        "a pencil sketch of a {}",
        "a pencil drawing of the {}",
        "a {} drawn in pencil",
        "a quick sketch of one {}",
    ),
    "silhouette": (
        "a silhouette of a {}.",
        "the silhouette of a {}",
        "a {} in silhouette",
        "the dark outline of a {}",
    ),
    "neon": (
        "a neon {}.",
        "a neon sign of a {}",
        "a {} in neon lights",
        "a glowing neon {}",
        "a neon {} at night",
    ),
}
_TEXTURE = (
    "a photo of {}.",
    "a photo of a {} texture.",
    "a {} pattern",
    "{} texture",
    "a surface of {}",
    "{}, close up",
    "a cloth with {}",
    "a wall of {}",
)
_LETTER = (
    "the letter {}",
    "a photo of a letter {}.",
    "a photo of the letter {}.",
    "letter {}",
    "a capital letter {}",
    "the capital {}",
    "an uppercase {}",
    "a sign with the letter {}",
    "a printed letter {}",
    "the letter {} in print",
)
_DIGIT = (
    "the digit {}",
    "the number {}",
    "a photo of the number {}.",
    "a photo of a {}.",
    "number {}",
    "a digit {}",
    "a photo of the digit {}.",
    "a {}",
    "one digit, a {}",
)
_WRITTEN = (
    "a handwritten {}",
    "a handwritten digit {}",
    "a photo of a handwritten {}.",
    "a {} written by hand",
    "somebody wrote a {}",
)
_PRINTED = ("a printed {}", "a {} in print", "a printed number {}")
_SHAPE = (
    "a {}",
    "a photo of a {}.",
    "a photo of a {}.",
    "a picture of a {}",
    "a {} on a background",
    "the {}",
    "one {}",
    "a painted {}",
    "a shape, a {}",
)

_SYNONYMS = {
    "boat": ("sailing boat", "ship"),
    "book": ("open book",),
    "car": ("automobile",),
    "cup": ("mug",),
    "cat": ("kitten",),
    "clock": ("wall clock",),
    "lamp": ("table lamp",),
    "mushroom": ("toadstool",),
    "moon": ("crescent moon",),
    "rocket": ("spaceship",),
    "house": ("small house", "home"),
    "flower": ("blossom",),
    "umbrella": ("parasol",),
    "stripes": ("striped",),
    "polka dots": ("dots",),
    "checkerboard": ("checks",),
    "bricks": ("brickwork",),
    "woven": ("woven cloth",),
    "oval": ("ellipse",),
    "zigzag": ("zigzag lines",),
    "circle": ("disc",),
    "square": ("box",),
    "cross": ("plus sign",),
}


def readable_name(family: str, name: str) -> str:
    """The class name as it stands in a prompt."""
    return f"letter {name}" if family == "letters" else name


def describe(scene: Scene, r: Generator) -> str:
    """A caption that is true, as far as it goes."""
    if r.random() < VAGUE:
        return _pick(_VAGUE, r)
    tail = _pick(_TAILS, r).format(int(r.integers(190, 203))) if r.random() < LONG else ""
    return _sentence(scene, r) + tail


def _sentence(scene: Scene, r: Generator) -> str:
    name = scene.name
    if name in _SYNONYMS and r.random() < 0.15:
        name = _pick(_SYNONYMS[name], r)
    if scene.colour and r.random() < (0.75 if scene.family == "shapes" else 0.35):
        name = f"{scene.colour} {name}"
    if scene.family == "things":
        return _pick(_STYLE[scene.style] if r.random() < 0.65 else _ANY, r).format(name)
    if scene.family == "textures":
        return _pick(_TEXTURE if r.random() < 0.7 else _ANY, r).format(name)
    if scene.family == "letters":
        return _pick(_LETTER, r).format(name)
    if scene.family == "shapes":
        return _pick(_SHAPE, r).format(name)
    figure = name if r.random() < 0.6 else str(NUMBERS.index(name))
    special = _WRITTEN if scene.style == "written" else _PRINTED
    return _pick(special if r.random() < 0.4 else _DIGIT, r).format(figure)


def _pick(options: tuple[str, ...], r: Generator) -> str:
    return options[int(r.integers(len(options)))]
