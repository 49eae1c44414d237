"""Personal data in texts: found by shape and check digits, and put out of sight consistently.

    "Dear Ann Lee, call +44 20 7946 0382"  →  "Dear [NAME_1], call [PHONE_1]"

Numbers that carry check digits are believed only when these are right, and bare digits only
beside a word that says what they are. How names are found is in `names.py`; some are missed, and
docs/log/2026-11-27-names-and-parts.md says how many.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from steelyard.audit.findings import Finding, percent
from steelyard.audit.names import Span, names
from steelyard.audit.national import IBAN_LENGTHS, NATIONAL, card, digits, iban
from steelyard.audit.sheet import Sheet
from steelyard.core import Example, Json
from steelyard.tasks.wording import count

LOOK_BACK = 30  # letters before bare digits, where a word says what they are. Source: ours
NUMBERS = ("card", "iban", *NATIONAL)  # what nobody should train on. Source: ours


@dataclass(frozen=True, slots=True)
class Found:
    """Personal data of a kind, at `text[start:end]`."""

    kind: str
    start: int
    end: int


def find(text: str) -> list[Found]:
    """What stands in a text, in its order; where two kinds overlap, the surer one."""
    found: list[Found] = []
    for kind, detect in DETECTORS.items():
        for start, end in detect(text):
            if all(end <= other.start or start >= other.end for other in found):
                found.append(Found(kind, start, end))
    return sorted(found, key=lambda one: one.start)


@dataclass
class Redactor:
    """Puts the same placeholder wherever the same data stands."""

    names: dict[tuple[str, str], str] = field(default_factory=dict)
    numbers: Counter[str] = field(default_factory=Counter)

    def redact(self, text: str) -> tuple[str, list[str]]:
        """The text without personal data, and the placeholders that it got."""
        parts, used, at = [], [], 0
        for one in find(text):
            placeholder = self._placeholder(one.kind, text[one.start : one.end])
            parts += [text[at : one.start], placeholder]
            used.append(placeholder)
            at = one.end
        return "".join([*parts, text[at:]]), used

    def redact_json(self, value: Json) -> tuple[Json, list[str]]:
        """The same for every text in a JSON value; keys stay."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, dict):
            pairs = {key: self.redact_json(item) for key, item in value.items()}
            used = [name for _, names in pairs.values() for name in names]
            return {key: item for key, (item, _) in pairs.items()}, used
        if isinstance(value, list):
            items = [self.redact_json(item) for item in value]
            return [item for item, _ in items], [name for _, names in items for name in names]
        return value, []

    def _placeholder(self, kind: str, text: str) -> str:
        """One for each kind and value, however the value is spelt."""
        value = re.sub(r"[\W_]+", "", text).casefold()
        if kind == "phone" and text.lstrip().startswith("00"):
            value = value.removeprefix("00")
        if (kind, value) not in self.names:
            self.numbers[kind] += 1
            self.names[kind, value] = f"[{kind.upper()}_{self.numbers[kind]}]"
        return self.names[kind, value]


def personal(sheet: Sheet) -> list[Finding]:
    """A finding for each kind of personal data, with the examples that hold it."""
    holders: defaultdict[str, list[str]] = defaultdict(list)
    times: Counter[str] = Counter()
    for row in sheet.rows:
        kinds = Counter(one.kind for text in texts_of(row.example) for one in find(text))
        times.update(kinds)
        for kind in kinds:
            holders[kind].append(row.id)
    return [
        Finding(
            "severe" if kind in NUMBERS else "warning",
            f"personal-{kind.replace('_', '-')}",
            f"{WORDS[kind]}: {times[kind]:,} in {count(len(rows), 'example')} "
            f"({percent(len(rows), len(sheet.rows))}), such as in {rows[0]}.",
            "Use a copy without: steelyard check --fix DIR puts the same placeholder wherever the "
            "same data stands, in inputs and targets.",
            tuple(rows),
        )
        for kind, rows in holders.items()
    ]


def texts_of(example: Example) -> Iterator[str]:
    """All texts of an example: input, targets, and the columns that the model does not see."""
    yield example.input
    for value in (example.target, *example.also, *example.metadata.values()):
        yield from _texts(value)


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


# ---------------------------------------------------------------- the detectors

_EMAIL = re.compile(
    r"(?<![\w.+%-])[\w+%-][\w.+%-]{0,63}@(?:[^\W_](?:[\w-]{0,61}\w)?\.){1,4}[a-z]{2,24}(?!\w)", re.I
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}[A-Z0-9 ]{11,36}")
_CARD = re.compile(
    r"(?<![\w.-])(?:\d{13,19}|\d{4}(?:[ -]\d{4}){3}(?:[ -]\d{3})?|\d{4}[ -]\d{6}[ -]\d{4,5})"
    r"(?![\w-]|\.\d)"
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")
_VERSION = re.compile(r"(?:version|release|ver|v)\.? *$", re.I)
_PHONE = re.compile(
    r"(?<![\w.,:/#-])(?:\+|\(\+?)?\d[\d ()./-]{5,20}\d(?:\s?(?:x|ext\.?) ?\d{1,5})?(?!\w|-\d)"
)
_DATE = re.compile(
    r"\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}|\d{4} ?[-/] ?\d{4}"
)
_CALL = re.compile(
    r"(?:tel|phone|call|cell|mobile|fax|handy|telefon|t[ée]l[ée]phone|tel[ée]fono|number is|"
    r"whatsapp|sms|dial|reach (?:me|us) (?:at|on))\W*(?:\w+\W+){0,2}$",
    re.I,
)
_ABROAD = re.compile(r"\(?(?:\+|00(?=\d{1,3}[ ()./-]))[1-9]")  # not 0012345678905, an article
_TRUNK = re.compile(r"\(?0[1-9](?:[ ()./-]*\d){7,9}$")  # a national number of 9 to 11 digits
_US = re.compile(r"(?:1[ .-]?)?(?:\(\d{3}\) ?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}")


def _emails(text: str) -> Iterator[Span]:
    if "@" in text:
        yield from (match.span() for match in _EMAIL.finditer(text))


def _ibans(text: str) -> Iterator[Span]:
    for match in _IBAN.finditer(text):
        length = IBAN_LENGTHS.get(match[0][:2])
        places = [at for at, sign in enumerate(match[0]) if sign != " "]
        if length is None or len(places) < length:
            continue
        end = places[length - 1] + 1
        if iban(match[0][:end]):
            yield match.start(), match.start() + end


def _cards(text: str) -> Iterator[Span]:
    yield from (match.span() for match in _CARD.finditer(text) if card(match[0]))


def _ips(text: str) -> Iterator[Span]:
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            if _is_address(match[0]) and not _VERSION.search(text[: match.start()][-LOOK_BACK:]):
                yield match.span()


def _is_address(text: str) -> bool:
    """An IP address; of IPv6 one with three groups, so that "::" and a time are none."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "." in text or len([group for group in text.split(":") if group]) >= 3


def _national(kind: str, text: str) -> Iterator[Span]:
    known = NATIONAL[kind]
    for match in _shape(kind).finditer(text):
        near = text[max(0, match.start() - LOOK_BACK) : match.start()]
        if known.near is not None and not re.search(known.near, near, re.I):
            continue
        if known.is_valid(match[0]):
            yield match.span()


@functools.cache
def _shape(kind: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-])(?:{NATIONAL[kind].shape})(?![\w-])")


def _phones(text: str) -> Iterator[Span]:
    for match in _PHONE.finditer(text):
        found = match[0]
        if not 7 <= len(digits(re.split(r"x|ext", found)[0])) <= 15 or _DATE.fullmatch(found):
            continue
        said = _CALL.search(text[: match.start()][-LOOK_BACK:]) is not None
        bare = found if ")" in found else found.lstrip("(")
        if said or any(shape.match(bare) for shape in (_ABROAD, _TRUNK, _US)):
            yield match.end() - len(bare), match.end()


def _names(text: str) -> Iterator[Span]:
    yield from names(text, [text[start:end] for start, end in _emails(text)])


# The surest first: what one has found is no other's.
DETECTORS: dict[str, Callable[[str], Iterator[Span]]] = {
    "email": _emails,
    "iban": _ibans,
    **{kind: functools.partial(_national, kind) for kind in NATIONAL},
    "card": _cards,
    "ip": _ips,
    "phone": _phones,
    "name": _names,
}
WORDS = {
    "email": "E-mail addresses",
    "iban": "Bank accounts",
    "card": "Payment cards",
    "ip": "IP addresses",
    "phone": "Phone numbers",
    "name": "Names of persons",
    "us_ssn": "US social security numbers",
    "gb_nhs": "UK NHS numbers",
    "gb_nino": "UK national insurance numbers",
    "es_dni": "Spanish DNI and NIE",
    "it_codice_fiscale": "Italian codici fiscali",
    "fr_nir": "French social security numbers",
    "de_steuer_id": "German tax numbers",
    "pl_pesel": "Polish PESEL",
    "br_cpf": "Brazilian CPF",
    "se_personnummer": "Swedish personnummer",
}
