"""Numbers as a reader wants them; a missing one is a dash."""

from __future__ import annotations

DASH = "–"


def percent(share: float | None) -> str:
    """0.8742 -> "87.4 %", with a space that does not break."""
    return DASH if share is None else f"{100 * share:.1f}\u00a0%"


def points(share: float | None, digits: int = 1) -> str:
    """0.042 -> "+4.2", with a true minus sign: a difference of shares in percentage points."""
    if share is None:
        return DASH
    text = f"{100 * share:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def number(value: float | None) -> str:
    """Fewer decimals for larger numbers: 0.00012, 0.123, 1.234, 12.3, 1,234; whole ones as such."""
    if value is None:
        return DASH
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 0.001:
        return f"{value:.3f}"
    return f"{value:.2g}".replace("e-0", "e-").replace("-", "\u2212")


def large(value: int | None) -> str:
    """149620737 -> "149.6 M"."""
    if value is None:
        return DASH
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f}\u00a0{unit}"
    return str(value)


def duration(seconds: float | None) -> str:
    """4000 -> "1 h 7 min"."""
    if seconds is None:
        return DASH
    if seconds < 59.95:  # what rounds to 60.0 s is a minute
        return f"{seconds:.1f}\u00a0s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes}\u00a0min"
    return f"{minutes // 60}\u00a0h {minutes % 60}\u00a0min"


def size(count: float | None) -> str:
    """Bytes in decimal units: 1500000 -> "1.5 MB"."""
    if count is None:
        return DASH
    for scale, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= scale:
            return f"{count / scale:.1f}\u00a0{unit}"
    return f"{count:.0f}\u00a0bytes"
