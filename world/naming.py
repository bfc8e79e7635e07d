"""From an icon's name to what it shows, and in which style."""

from __future__ import annotations

import re

# Style words at the end of names; the value is the style they tell of, if any.
WORDS = {
    "outline": "line", "outlined": "line", "line": "line", "linear": "line", "regular": "line",
    "thin": "thin line", "light": "thin line", "bold": "", "stroke": "line", "broken": "line",
    "fill": "solid", "filled": "solid", "solid": "solid", "baseline": "solid", "flat": "",
    "duotone": "duotone", "twotone": "duotone", "duo": "duotone", "remix": "duotone",
    "color": "colour", "colored": "colour", "rounded": "", "round": "", "sharp": "", "alt": "",
    "o": "line", "path": "", "twoline": "duotone", "loop": "", "one": "", "two": "", "three": "",
    "transition": "", "freehand": "", "pixel": "", "emoji": "", "symbol": "", "icon": "",
}  # fmt: skip
_KEEP_ALONE = {"light", "one", "two", "three", "color", "line", "loop", "pixel", "symbol", "emoji"}
# By set: the style of all its icons, when names do not tell.
SETS = {
    "pixel": ("pixelarticons", "pixel", "streamline-pixel", "memory", "dinkie-icons"),
    "freehand": ("streamline-freehand", "streamline-freehand-color", "pepicons-pencil"),
    "duotone": ("uim", "icon-park-twotone", "duo-icons"),
    "solid": ("game-icons", "healthicons", "whh", "maki", "temaki", "pinhead", "fa", "uis",
              "icon-park-solid", "streamline-block", "bxs", "emojione-monotone"),
    "line": ("uil", "uit", "icon-park-outline", "feather", "lucide", "cil"),
}  # fmt: skip
STYLE_OF_SET = {name: style for style, names in SETS.items() for name in names}

# The first name of a line stands for all: they are merged and never each other's negatives.
SYNONYMS = [
    line.split(", ")
    for line in """\
house, home
person, user, account, people person, profile
gear, cog, settings, setting
trash can, trash, bin, delete, rubbish bin, wastebasket, garbage
envelope, mail, email, letter
car, automobile, vehicle car
bicycle, bike, cycling bicycle
airplane, plane, aeroplane, flight, aircraft
mobile phone, smartphone, mobile, cellphone, cell phone, device mobile
magnifying glass, search, magnify, magnifier, magnifying glass tilted left
television, tv, monitor tv, tv screen
picture, image, photo, gallery
light bulb, lightbulb, bulb, idea, lamp bulb
gift, present, wrapped gift, gift box
padlock, lock, locked, lock closed
shopping cart, cart, trolley
speech bubble, chat, comment, message, chat bubble, message bubble, speech balloon
bookmark, bookmarks
calendar, date, calendar blank
clock, time, clock face
eye, visibility, view, show
fire, flame
pen, ballpoint pen, fountain pen
pencil, edit, edit pencil
scissors, cut, scissor
map pin, location, pin, location pin, map marker, place, location on, marker, round pushpin
crown, king crown
trophy, award cup, trophy cup
thumbs up, like, thumb up
thumbs down, dislike, thumb down
bus, autobus
ship, boat, passenger ship
lorry, truck, delivery truck, articulated lorry, local shipping
basket, shopping basket
headphones, headphone, headset, headphone music
microphone, mic, studio microphone
loudspeaker, megaphone, bullhorn
speaker, volume, volume up, sound
camera, photo camera
video camera, videocam, video, camcorder
book, closed book
open book, book open, read book, reading
paintbrush, brush, paint brush
paint palette, palette, artist palette
puzzle piece, puzzle, jigsaw
shield, security shield
umbrella, umbrella closed
sun, sunny, day
moon, night, crescent moon
tree, deciduous tree
flower, blossom
leaf, eco leaf
wrench, spanner
hammer, gavel hammer
skull, death
pill, pills, capsule, medicine pill
syringe, injection, vaccine
stethoscope, medical stethoscope
test tube, testtube
flask, lab flask, beaker, science flask
glasses, eyeglasses, spectacles
t shirt, tshirt, shirt
briefcase, suitcase work, work
suitcase, luggage, baggage
backpack, school bag, bag school
tent, camping, camping tent
dice, game die
game controller, gamepad, controller, video game, game pad, joypad
football, soccer ball, soccer, ball football
credit card, card, payment card
wallet, purse wallet
money bag, moneybag
graduation cap, school, mortarboard, education cap
factory, industry
hospital, hospital building
bank, landmark
printer, print
floppy disk, save, diskette, floppy
laptop, laptop computer, notebook computer
computer, desktop computer, desktop, monitor, screen
keyboard, computer keyboard
computer mouse, mouse device
cat, cat face
dog, dog face
fish, tropical fish
bug, insect, ladybug
globe, world, earth, web globe
compass, navigation compass
link, chain, link chain
paper clip, paperclip, attachment, attach
telephone, phone, call, phone call
battery, battery full
plug, electric plug, power plug
bell, notification, notifications
hourglass, sand timer, sandglass
stopwatch, timer
alarm clock, alarm
bed, hotel bed
couch, sofa
armchair, chair
toilet, wc
shower, bathroom shower
bathtub, bath, tub
knife, kitchen knife
fork and knife, restaurant, utensils, cutlery, fork knife
cup, mug
wine glass, wine, glass wine
beer mug, beer
helicopter, chopper
rocket, launch, rocket launch
anchor, ship anchor
train, railway, locomotive
traffic light, traffic lights, vertical traffic light
flag, flag banner
star, favourite star
heart, red heart
diamond, gem, gem stone
ring, diamond ring
key, old key
door, door closed
window, window frame
ladder, ladders
rainbow, rainbow colors
snowflake, snow flake
water drop, drop, droplet, drip, water
footprints, footprint, foot
paw, paw print, paws, paw prints
feather, quill
guitar, acoustic guitar
piano, musical keyboard
drum, drums
music note, musical note, music, note music
ghost, halloween ghost
robot, bot
brain, mind
tooth, dental tooth, teeth
ear, hearing
hand, raised hand, palm
bone, dog bone
""".splitlines()
]
CANONICAL = {name: line[0] for line in SYNONYMS for name in line}
ALIASES = {line[0]: line for line in SYNONYMS}


def parse(
    icon: str, collection: str, suffixes: dict[str, str], palette: bool
) -> tuple[str, str] | None:
    """An icon's name -> (plain words, style), or none if it shows a variant nobody asks for.

    The style is "" when neither the name nor the set tells it.
    """
    if "skin-tone" in icon or (re.search(r"-(medium-)?(dark|light)$", icon) and palette):
        return None
    style = STYLE_OF_SET.get(collection, "colour" if palette else "")
    for suffix in sorted(filter(None, suffixes), key=len, reverse=True):
        if icon.endswith("-" + suffix):
            icon = icon[: -len(suffix) - 1]
            style = style or _told(suffix.split("-"))
            break
    else:
        if "" in suffixes:
            style = style or _told(suffixes[""].lower().split())
    icon = re.sub(
        r"^(outline|outlined|baseline|round|sharp|twotone|bold|solid|line|duo)-", "", icon
    )
    icon = re.sub(r"^(emoji|mood|weather|device|brand|food|animal)-(?=[a-z]{3})", r"", icon)
    icon = re.sub(r"(?<=[a-z]{2})\d+$", "", icon)
    words = [w for w in re.split(r"[-_ ]+", icon.lower()) if w]
    while words:
        last = words[-1]
        if re.fullmatch(r"\d+(px)?", last) and len(words) > 1:
            words.pop()
        elif last in WORDS and (len(words) > 1 or last not in _KEEP_ALONE):
            style = style or WORDS[last]
            words.pop()
        else:
            break
    noun = " ".join(words)
    return (noun, style) if 1 < len(noun) <= 40 else None


def _told(words: list[str]) -> str:
    """The first style that words tell of."""
    if "duotone" in words or "duo" in words or "tone" in words:
        return "duotone"
    return next((WORDS[w] for w in words if WORDS.get(w)), "")


def canonical(noun: str) -> str:
    """The name that stands for a noun and its synonyms."""
    return CANONICAL.get(noun, noun)
