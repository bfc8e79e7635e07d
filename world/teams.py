"""Who drew what: design teams, and which of them are for pre-training, development and test.

A set that derives from another, or has the same author or company, belongs to the same team.
"""

from __future__ import annotations

from typing import Literal

Role = Literal["train", "dev", "test"]

LICENCES = {
    "MIT", "Apache-2.0", "BSD-3-Clause", "ISC", "CC0-1.0", "Unlicense", "OFL-1.1", "CC-BY-3.0",
    "CC-BY-4.0",
}  # fmt: skip

# team -> prefixes of its sets; a set that no line names is a team of its own.
TEAMS = {
    "material": (
        "material-symbols",
        "ic",
        "mdi",
        "line-md",
        "zmdi",
        "noto",
        "gcp",
        "memory",
        "k8s",
    ),
    "microsoft": ("fluent", "codicon"),
    "streamline": ("streamline", "guidance", "covid"),
    "fontawesome": ("fa", "fa6", "fa7", "la"),
    "icons8": ("flat-color-icons", "icons8", "wpf"),
    "iconscout": ("uil", "uim", "uit", "uis"),
    "boxicons": ("boxicons", "bx", "bxs", "bxl"),
    "juge": ("vadivam", "mynaui"),
    "halfmann": ("majesticons", "pixelarticons"),
    "feather": ("lucide", "feather"),
    "heroicons": ("heroicons", "sidekickicons"),
    "ionic": ("ion", "famicons"),
    "iconpark": ("icon-park",),
    "coreui": ("cil", "cib", "cif"),
    "devicon": ("devicon",),
    "cycraft": ("pepicons",),
    "web3": ("token", "cryptocurrency"),
    "thesvg": ("thesvg", "selfhst"),
    "emojione": ("emojione",),
    "glyphs": ("glyphs",),
    "mono": ("mi", "mono-icons"),
    "maps": ("maki", "temaki", "pinhead"),
    "logos": ("logos", "simple-icons"),
    "lineicons": ("lineicons",),
}
_ALONE = ("fad", "fe", "fae", "mingcute", "mage", "material-icon-theme", "flag", "flagpack")

DEV = {
    "emojione", "bi", "cycraft", "mingcute", "iconoir", "ionic", "glyphs", "halfmann", "vaadin",
    "majesticons", "fxemoji", "flagpack", "skill-icons", "lets-icons", "uiw", "healthicons",
    "osmic", "gis",
}  # fmt: skip
TEST = {
    "streamline", "ph", "solar", "twemoji", "boxicons", "iconscout", "circle-flags",
    "heroicons", "fontisto", "grommet-icons", "clarity", "f7", "roentgen", "map",
}  # fmt: skip


def team(name: str) -> str:
    """The team that drew a set: a key of `TEAMS`, or the set's own name."""
    if name in _ALONE:
        return name
    for owner, prefixes in TEAMS.items():
        for prefix in prefixes:
            if name == prefix or name.startswith(prefix + "-"):
                return owner
    return name


def role(owner: str) -> Role:
    """What the drawings of a team are for."""
    return "dev" if owner in DEV else "test" if owner in TEST else "train"
