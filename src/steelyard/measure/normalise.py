"""One spelling for what means the same, so that answers and targets compare with `==`.

    "  ACME   Inc. "   → ("text", "acme inc")
    1200, "1,200.0"    → ("number", 1200)
    "12 %"             → ("percent", 12)        a percentage equals only a percentage
    "5 March 2021"     → ("date", "2021-03-05")
    "+442074960382"    → ("text", "+442074960382")
    null, "", "  "     → None: nothing is there

Rules, in their order:

- Text is NFKC-normalised and case-folded, its white space collapsed, its trailing punctuation
  dropped (unless it is nothing but punctuation).
- A string is a number only when it is plainly one: ASCII digits with an optional minus sign,
  commas between groups of three, a decimal point. A leading zero, a plus sign, an exponent or
  more than 15 digits (what a float holds exactly) make it an identifier, which stays text. So
  "007" is not 7, and neither is a phone number a quantity; "3.10" and "3.1" are one number.
- Booleans are not numbers, and the string "true" is not a boolean.
- A date is read only where it can be read in one way: year first, or an English month in
  letters. "03/04/2021" stays text. A month with a year, "March 2021", is a date too.
- Units and currencies are left in the text: "$5" is not 5.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from datetime import date

from steelyard.core import Json

Scalar = tuple[str, str | int | float | bool]

MAX_DEPTH = 64  # a JSON value nested deeper is no answer; far below what recursion can bear
MAX_DIGITS = 15  # Source: IEEE 754, a double holds every decimal of 15 significant digits

TRAILING = " .,;:!?。、"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    r"sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>[0-9]{4})"
_DATES = [
    re.compile(rf"{_YEAR}(?P<sign>[-/])(?P<month>[0-9]{{1,2}})(?:(?P=sign)(?P<day>[0-9]{{1,2}}))?"),
    re.compile(rf"{_DAY}[ -]{_MONTH},?[ -]{_YEAR}"),
    re.compile(rf"{_MONTH} {_DAY},? {_YEAR}"),
    re.compile(rf"{_MONTH},?[ -]{_YEAR}"),
]
_NUMBER = re.compile(
    r"(?P<number>-?(?:0|[1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]*)(?:\.[0-9]+)?)(?P<percent> ?%)?"
)

# Scripts written without spaces: Thai and Lao, Myanmar, Khmer, kana, Han.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_TOKEN = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
ARTICLES = {"a", "an", "the"}


def fold(text: str) -> str:
    """The text without differences of case or of Unicode spelling.

    >>> fold("ＣＡＦÉ"), fold("cafe\u0301")
    ('café', 'café')
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def collapse(value: str) -> str:
    """The text folded, with every run of white space as one space and none around it.

    >>> collapse("  ACME \\n Inc. ")
    'acme inc.'
    """
    return " ".join(fold(value).split())


def text(value: str) -> str:
    """The text collapsed, without its trailing punctuation, unless it is nothing else.

    >>> text("  ACME   Inc. "), text("...")
    ('acme inc', '...')
    """
    collapsed = collapse(value)
    return collapsed.rstrip(TRAILING) or collapsed


def scalar(value: Json) -> Scalar | None:
    """A JSON string, number, boolean or null as a tagged value, or None where nothing is there.

    >>> scalar("1,200.0") == scalar(1200)
    True
    >>> scalar("007"), scalar(True), scalar(" ")
    (('text', '007'), ('bool', True), None)
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, float) and not math.isfinite(value):
        return ("text", str(value))  # as a number NaN would not equal itself
    if isinstance(value, int | float):
        return ("number", value)
    plain = text(value)
    if not plain:
        return None
    return _as_number(plain) or _as_date(plain) or ("text", plain)


def _as_number(plain: str) -> Scalar | None:
    match = _NUMBER.fullmatch(plain)
    if match is None:
        return None
    digits = match["number"].replace(",", "")
    if sum(character.isdigit() for character in digits) > MAX_DIGITS:
        return None
    return ("percent" if match["percent"] else "number", float(digits))


def _as_date(plain: str) -> Scalar | None:
    match = next(filter(None, (form.fullmatch(plain) for form in _DATES)), None)
    if match is None:
        return None
    found = match.groupdict()
    name = found["month"]
    month = int(name) if name.isdigit() else MONTHS.index(name[:3]) + 1
    try:
        day = date(int(found["year"]), month, int(found.get("day") or 1))
    except ValueError:  # the 31st of June is no date
        return None
    return ("date", day.isoformat() if found.get("day") else day.isoformat()[:7])


def words(value: str) -> list[str]:
    """Runs of letters and digits, folded; in scripts without spaces every character by itself.

    Text without any letter or digit is kept as it is, so that it still equals itself.

    >>> words("Don't re-use 東京!")
    ['don', 't', 're', 'use', '東', '京']
    """
    folded = fold(value)
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    return _TOKEN.findall(kept) or folded.split()


def bare_words(value: str) -> list[str]:
    """Words as SQuAD counts them: folded, punctuation deleted, articles dropped.

    What would leave nothing is not dropped: the band The The keeps its name.

    >>> bare_words("The U.S. re-used a $5 note"), bare_words("The")
    (['us', 'reused', '5', 'note'], ['the'])

    Source: Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250 (its F1 metric).
    """
    folded = fold(value)
    tokens = _TOKEN.findall("".join(c for c in folded if not _is_punctuation(c)))
    return [token for token in tokens if token not in ARTICLES] or tokens or folded.split()


def _is_punctuation(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "P" or category in ("Sc", "Sk", "Sm")  # not emoji, which are "So"


def as_text(value: Json) -> str:
    """A JSON value as the text that text scorers read: a list is its items, line by line.

    >>> as_text(["Paris", 5]), as_text({"b": None, "a": "é"}), as_text(None)
    ('Paris\\n5', '{"a": "é", "b": null}', '')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(as_text(item) for item in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def is_too_deep(value: Json, limit: int = MAX_DEPTH) -> bool:
    """Whether lists and objects are nested more than `limit` deep, found without recursion.

    >>> is_too_deep([[1]], limit=1), is_too_deep([[1]], limit=2)
    (True, False)
    """
    level = [value]
    for _ in range(limit + 1):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return False
    return True
