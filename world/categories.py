"""Categories that pre-training leaves out (`OUT`) or shows rarely (`RARE`): the streams' tasks."""

from __future__ import annotations

import re

OUT = ("flags", "logos", "files", "coins")
RARE = ("weather", "map", "food", "faces")

# All that these sets draw is of one category; by prefix.
SETS = {
    "flags": ("circle-flags", "flag", "flagpack", "cif"),
    "logos": ("simple-icons", "logos", "streamline-logos", "cib", "fa7-brands", "fa6-brands",
              "fa-brands", "bxl", "nonicons", "thesvg", "thesvg-color", "selfhst", "devicon",
              "devicon-plain", "skill-icons", "unjs", "gcp", "k8s", "academicons", "bitcoin-icons"),
    "files": ("vscode-icons", "material-icon-theme", "file-icons", "catppuccin"),
    "coins": ("token", "token-branded", "cryptocurrency", "cryptocurrency-color"),
    "weather": ("wi", "meteocons"),
    "map": ("maki", "temaki", "pinhead", "roentgen", "osmic", "map", "geo", "gis"),
}  # fmt: skip
_OF_SET = {name: category for category, names in SETS.items() for name in names}

_FOOD = """apple, green apple, red apple, avocado, bacon, bagel, baguette, baguette bread, banana,
bell pepper, beans, bento, bento box, blueberries, bread, bread slice, broccoli, burger, hamburger,
burrito, butter, cake, birthday cake, shortcake, candy, canned food, carrot, cheese, cheese
wedge, cherries, cherry, chestnut, chicken, chicken leg, chili, chocolate, chocolate bar,
coconut, cookie, corn, ear of corn, croissant, cucumber, cupcake, curry rice, custard, dango,
donut, doughnut, dumpling, egg, egg fried, fried egg, eggplant, falafel, fish cake with swirl,
flatbread, fondue, fortune cookie, french fries, fries, fried shrimp, garlic, grapes, grape,
green salad, honey pot, honey, hot dog, hotdog, hot pepper, ice cream, icecream, ice cream
cone, ice pop, kiwi, kiwi fruit, leafy green, lemon, lime, lollipop, mango, meat, meat on
bone, melon, moon cake, mushroom, oden, olive, onion, orange, oyster, pancakes, peach,
peanuts, pear, pie, pineapple, pizza, pizza slice, popcorn, popsicle, potato, poultry leg,
pretzel, pumpkin, ramen, noodles, rice, rice ball, rice cracker, cooked rice, roasted sweet
potato, salad, salt, sandwich, sausage, shallow pan of food, shaved ice, shrimp, soft ice
cream, soup, spaghetti, steak, strawberry, stuffed flatbread, sushi, sweet potato, taco,
tamale, takeout box, tangerine, tomato, waffle, watermelon, beer, beer mug, beer bottle, wine
glass, wine bottle, cocktail, cocktail glass, champagne, champagne bottle, coffee, coffee cup,
hot beverage, tea, tea cup, teacup, teapot, milk, milk bottle, glass of milk, juice, beverage
box, bubble tea, mate, sake, tropical drink, tumbler glass, martini, whiskey, soda, ice, jam,
toast, muffin, macaron, kebab, pasta, acorn, asparagus, beet, cabbage, celery, lettuce,
radish, spinach, turnip, artichoke, peas, ginger, aubergine, durian, papaya, pomegranate,
plum, raspberry, fig, dragon fruit, cranberry, crab, lobster, squid, octopus food, drumstick,
ham, fruit, vegetable, vegetables, noodle, tempura, bowl rice, bowl food, baby bottle food,
cotton candy, candy cane, gingerbread"""
FOOD = {" ".join(name.split()) for name in _FOOD.split(",")}
_WEATHER = re.compile(
    r"\b(rain|rainy|raining|snow|snowy|snowing|snowflake|sleet|hail|thunder|thunderstorm|storm|"
    r"lightning|"
    r"fog|foggy|haze|mist|wind|windy|tornado|hurricane|cyclone|typhoon|drizzle|shower rain|"
    r"cloudy|overcast|"
    r"sunny|sunrise|sunset|forecast|humidity|blizzard|hot weather|frost|weather|sun behind|"
    r"cloud (sun|moon|"
    r"rain|snow|lightning|bolt|fog|hail|drizzle|showers|wind|storm|thunder))\b"
)
_FACE = re.compile(
    r"\b(face|smile|smiley|smiling|sad|angry|happy|laugh|laughing|grin|grinning|cry|crying|"
    r"frown|frowning|"
    r"emotion|neutral|dizzy|surprised|wink|winking|kissing|sick|confused|nervous|annoyed|meh|"
    r"unamused|"
    r"emoji|mood|tongue out|sentiment|excited|expressionless|pensive|astonished|flushed|weary)\b"
)
_ANIMAL_FACE = re.compile(
    r"\b(cat|dog|monkey|cow|pig|horse|tiger|mouse|rabbit|bear|wolf|fox|panda|lion|dragon|"
    r"hamster|frog|koala|"
    r"unicorn|chicken|clock|moon|sun|id|scan|recognition|watch|moose|polar|surface|type|typeface)\b"
)
_EMOJI = {"noto", "noto-v1", "twemoji", "emojione", "fxemoji", "streamline-emojis"}
_FLAG = re.compile(r"^(flag (for|of)\b.*|flag [a-z ]+|[a-z]+ flag|flag .*)$")
_COMMON_FLAG = {"white flag", "black flag", "chequered flag", "crossed flags", "triangular flag"}
_FILE = re.compile(r"^(file|filetype|file type|document|page) ([a-z0-9+#]{1,8})$")
_EXTENSIONS = set(
    "pdf doc docx xls xlsx ppt pptx txt csv json xml yaml yml html css scss sass js jsx ts tsx php "
    "py java sql db zip rar tar gz mp3 mp4 mov avi wav aac m4p flac png jpg jpeg gif svg bmp "
    "tiff "
    "raw ai psd eps exe md mdx sh otf ttf woff webp heic rb cs cpp c rs go vue excel word "
    "powerpoint".split()
)
_COIN = re.compile(
    r"\b(bitcoin|btc|ethereum|eth|litecoin|dogecoin|ripple|monero|tether|usdt|cardano|solana|"
    r"polkadot|"
    r"euro|dollar|yen|yuan|pound sterling|rupee|ruble|won|lira|peso|franc|naira|currency|coin|"
    r"coins|cny|"
    r"usd|eur|jpy|gbp|inr|krw|rub|try|baht|shekel|hryvnia|tenge|dong|real brl)\b"
)


def category(collection: str, noun: str, brands: set[str]) -> str:
    """The category of a drawing, one of `OUT` and `RARE`, or "" for what pre-training may show.

    brands: names of companies and products, so that their logos in mixed sets are found.
    """
    if collection in _OF_SET:
        return _OF_SET[collection]
    if collection in SETS["logos"] or noun in brands or noun.endswith(" logo") or "logo " in noun:
        return "logos"
    if collection in _EMOJI and _FLAG.match(noun) and noun not in _COMMON_FLAG:
        return "flags"
    found = _FILE.match(noun)
    if (found and found[2] in _EXTENSIONS) or noun.startswith("filetype") or noun in _EXTENSIONS:
        return "files"
    if _COIN.search(noun):
        return "coins"
    if noun in FOOD or any(noun.startswith(f"{food} ") for food in ("food", "fruit", "dessert")):
        return "food"
    if _FACE.search(noun) and not _ANIMAL_FACE.search(noun):
        return "faces"
    if _WEATHER.search(noun):
        return "weather"
    return ""
