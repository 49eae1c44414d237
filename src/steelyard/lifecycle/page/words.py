"""Numbers in words, JSON in lines, and the pieces of HTML that a page is made of."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable, Iterable

from steelyard.core import Json

# ---------------------------------------------------------------- numbers in words

MISSING = "–"


def number(value: Json) -> float | None:
    """A finite number, or None for everything else that may stand in its place."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def span_of(value: Json) -> tuple[float, float] | None:
    """Both ends of an interval, or None unless both are finite."""
    low, high = (number(value[0]), number(value[1])) if value else (None, None)
    return None if low is None or high is None else (low, high)


def as_score(value: Json) -> str:
    found = number(value)
    return MISSING if found is None else f"{found:.3f}"


def as_signed(value: Json) -> str:
    found = number(value)
    return MISSING if found is None else f"{round(found, 3) + 0.0:+.3f}".replace("-", "−")


def as_interval(value: Json, form: Callable[[Json], str] = as_score) -> str:
    """Both ends in brackets, or nothing."""
    span = span_of(value)
    return f"[{form(span[0])}, {form(span[1])}]" if span else ""


def as_share(value: Json) -> str:
    found = number(value)
    return MISSING if found is None else f"{found:.1%}"


def as_count(value: Json) -> str:
    found = number(value)
    return MISSING if found is None else f"{found:,.0f}"


def as_p(value: Json) -> str:
    found = number(value)
    return MISSING if found is None else "&lt; 0.001" if found < 0.001 else f"{found:.3f}"


def as_ms(value: Json) -> str:
    found = number(value)
    return MISSING if found is None else f"{found:.1f}" if found < 10 else f"{found:,.0f}"


def as_usd(value: Json) -> str:
    """Two significant digits below a dollar, cents above.

    >>> [as_usd(x) for x in (0, 0.000031, 0.0214, 3.456, 1250)]
    ['$0', '&lt; $0.0001', '$0.021', '$3.46', '$1,250']
    """
    found = number(value)
    if found is None:
        return MISSING
    if 0 < found < 0.0001:
        return "&lt; $0.0001"
    if found >= 1000 or found <= 0:
        return f"${found:,.0f}"
    places = 2 if found >= 0.995 else 1 - math.floor(math.log10(found))
    return f"${found:.{places}f}"


def as_seconds(value: Json) -> str:
    """Tenths below ten seconds, then the two largest units.

    >>> [as_seconds(x) for x in (0, 0.42, 12.3, 372, 4320)]
    ['0 s', '0.4 s', '12 s', '6 min 12 s', '1 h 12 min']
    """
    found = number(value)
    if found is None:
        return MISSING
    if found < 9.95:
        return f"{found:.1f} s" if round(found, 1) else "0 s"
    minutes, seconds = divmod(round(found), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def plural(count: Json, noun: str) -> str:
    """The count with its noun, in the number that fits."""
    return f"{as_count(count)} {noun if count == 1 else noun + 's'}"


# ---------------------------------------------------------------- JSON in lines


def json_lines(value: Json) -> list[str]:
    """The lines of a target or an answer: a text as it stands, an object without its braces.

    >>> json_lines({"name": "Ada", "skills": ["a", "b"]})
    ['name: "Ada"', 'skills: ["a", "b"]']
    """
    if isinstance(value, str):
        return value.splitlines() or ["(empty)"]
    if isinstance(value, dict) and value:
        return [line for key, part in value.items() for line in _entry(key, part)]
    return _pretty(value)


def _pretty(value: Json, room: int = 120) -> list[str]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) <= room and not any(isinstance(part, dict | list) and part for part in inside):
        return [flat]
    if isinstance(value, dict):
        inner = [line for key, part in value.items() for line in _entry(key, part)]
        return ["{", *("  " + line for line in inner), "}"]
    if isinstance(value, list):
        return ["[", *("  " + line for part in value for line in _pretty(part)), "]"]
    return [flat]


def _entry(key: str, value: Json) -> list[str]:
    first, *rest = _pretty(value)
    return [f"{key}: {first}", *rest]


def marked_lines(value: Json, target: Json) -> list[tuple[str, str]]:
    """The lines of an answer, each with the sign of how it differs from the target.

    >>> marked_lines({"name": "Ada", "age": 3}, {"name": "Bob", "city": "Rome"})
    [('≠', 'name: "Ada"'), ('−', 'city: "Rome"'), ('+', 'age: 3')]
    """
    if not (isinstance(value, dict) and isinstance(target, dict)):
        return [(" " if value == target else "≠", line) for line in json_lines(value)]
    marked: list[tuple[str, str]] = []
    for key in [*target, *(key for key in value if key not in target)]:
        if key not in value:
            sign, shown = "−", target[key]
        elif key not in target:
            sign, shown = "+", value[key]
        else:
            sign, shown = " " if value[key] == target[key] else "≠", value[key]
        marked += [(sign, line) for line in _entry(key, shown)]
    return marked


# ---------------------------------------------------------------- pieces of HTML


def esc(value: object) -> str:
    """Text that is safe in element content and in quoted attributes, and can be written as UTF-8.

    >>> esc('<img src="x">')
    '&lt;img src=&quot;x&quot;&gt;'
    """
    return html.escape(str(value).encode("utf-8", "replace").decode("utf-8"))


def name_of(text: object) -> str:
    """A name that may break after its joints."""
    return re.sub(r"([+\-_/])", r"\1<wbr>", esc(text))


def table(caption: str, head: str, rows: Iterable[str], look: str = "") -> str:
    """A table with its caption, which scrolls sideways on its own where the page is narrow."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">'
        f'<table class="{look}"><caption>{caption}</caption><thead>{head}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def heads(words: Iterable[str], look: str = "", more: str = "") -> str:
    """Column headings."""
    cells = (f'<th scope="col" class="{look}"{more}>{word}</th>' for word in words)
    return "".join(cells)


def facts_list(facts: Iterable[tuple[str, str]], look: str = "facts") -> str:
    """Terms with what is known of them."""
    said = "".join(f"<div><dt>{term}</dt><dd>{fact or MISSING}</dd></div>" for term, fact in facts)
    return f'<dl class="{look}">{said}</dl>'


def bullets(sentences: Iterable[str]) -> str:
    """A list of sentences."""
    return "<ul>" + "".join(f"<li>{sentence}</li>" for sentence in sentences) + "</ul>"
