"""Names of persons in a text: a capitalised pair, and something that says that it is a person.

    "Dear Zoë O'Neil"  "Patient: Ana Lima"  "I spoke with Kofi Boateng"      what stands before it
    "Kofi Boateng, 34,"  "Kofi Boateng, who"                                 what stands after it
    "Sarah Novak"  "Kofi Smith"  "Ruud van Nistel"                           its words
    "Erin MALONE … erin.malone@example.com"                                  an address

Words that places, firms and days have make no name, whatever stands beside them
(`word_lists/not-persons.txt`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence

from steelyard.audit.lists import read_swaps, read_words

Span = tuple[int, int]
LEAST_SURNAME = 4  # letters, to be looked for in an e-mail address. Source: ours
LOOK_BACK = 48  # letters before a pair, where a word says that it is a person. Source: ours

_WORD = r"[A-ZÀ-ÖØ-ÞĀ-ŽȘ-Ț][\w’'-]*[a-zß-ÿāăąćčďēęěğīįłńňōőřśşšţťūůűųźżžșț]"
_PARTICLE = (
    r"(?:van der|van den|van de|von der|de la|dos|das|van|von|zu|ter|bin|al|della|de|da|di|del)"
)
_FULL = rf"{_WORD}(?:(?: [A-Z]\.)?(?: {_PARTICLE})? {_WORD}){{1,3}}"
_NAME = rf"{_WORD}(?: (?:[A-Z]\.|{_PARTICLE}|{_WORD})){{0,3}}"

_TITLES = (
    r"(?<!\w)(?:Mr|Mrs|Ms|Miss|Mx|Dr|Dra|Prof|Professor|Sir|Dame|Madam|Reverend|Rev|Capt|Captain|"
    r"Herrn?|Frau|Señora?|Srta?|Sra?|Doña?|Mme|Mlle|Monsieur|Madame|Dott|Dottoressa|Sig|Signora?|"
    r"Sig\.ra|Pani?|Panią|Dhr|Mevr|Mevrouw|Meneer|Dipl\.-Ing|Ing|Univ\.Prof|Fru|Fröken)\.? "
)
_SAYS = (
    r"(?:(?<!\w)(?:my name is|my name's|my name’s|i am called|named|name\s*[:=]|full name\s*[:=]|"
    r"dear|sincerely,?|regards,?|yours,?|signed,?|signed by|in the name of|by the name of|"
    r"ich hei(?:ß|ss)e|mein name ist|je m'appelle|me llamo|mi chiamo|meu nome é|nazywam się|"
    r"mijn naam is|jag heter|sehr geehrte[rs]?|liebe[rs]?|cher|chère|estimad[oa]|querid[oa]|"
    r"gentile|egregio|caro|cara|prezad[oa]|beste|geachte|kära|hej)\s+)"
)
_SIGNED = (
    r"(?:(?i:regards|wishes|best|sincerely|faithfully|truly|cheers|thanks|thank you|cordially|"
    r"respectfully|love|gr(?:ü|ue)(?:ß|ss)en?|gruß|cordialement|saludos|atentamente|saluti|abraços|"
    r"atenciosamente|poważaniem|groet(?:en)?|hälsning(?:ar)?)[,.!]?[ \t]*\n\s*)"
)
_AFTER = re.compile(rf"(?:{_TITLES}|(?i:{_SAYS})|{_SIGNED})(?P<name>{_NAME})")

_PEOPLE = (
    r"friend|wife|husband|son|daughter|brother|sister|mother|father|mum|mom|dad|uncle|aunt|cousin|"
    r"partner|boss|colleague|neighbou?r|doctor|lawyer|landlord|tenant|agent|nurse|teacher|patient|"
    r"client|customer|applicant|candidate|employee|passenger|guest|author|witness"
)
_BEFORE = re.compile(
    r"(?:(?<!\w)(?:met|meet|meeting|phoned|e-?mailed|texted|interviewed|hired|married|introduced|"
    r"(?:sp(?:o|ea)ke?n?|talk(?:ed|ing)?|chat(?:ted)?|speaking) (?:to|with)|ask for|is called|"
    r"was called|written by|prepared by|signed by|approved by|reported by|taken by|assigned to|"
    r"on behalf of|care of|c/o|(?:in|under) the name of|booked (?:by|under|for)|"
    rf"{_PEOPLE}),? +|"
    r"(?<!\w)(?:attn|attention|cc|bcc|from|to|contact(?: person)?|cardholder|account holder|"
    r"beneficiary|recipient|sender|insured|driver|tenant|signed|nombre|nom|vorname|nachname|nome|"
    rf"naam|namn|kontakt|ansprechpartner(?:in)?|{_PEOPLE})\"?\s*[:=]\s*\"?)$",
    re.I,
)
_BEHIND = re.compile(
    r" ?(?:, (?:aged? )?[1-9]\d(?=,| |$)|\((?:aged? )?[1-9]\d\)|, who\b|, born\b|\(born\b|"
    r" was born\b| lives (?:in|at)\b| works as\b| and (?:his|her) \w|"
    r"[’']s (?:wife|husband|son|daughter|mother|father|brother|sister)\b)"
)
_PAIR = re.compile(
    rf"(?<![\w’'-])(?={_WORD} )(?P<name>{_FULL})(?![\w’'-])|(?<![\w’'-])(?P<one>{_WORD})(?![\w’'-])"
)
_SURE_PARTICLE = re.compile(r" (?:van|von|van der|van den|von der|ter|bin|dos|zu) ")
_SAINTS = re.compile(r"(?:\b(?:St\.?|Saint|San|Santa|São|Fort|Port|Lake|Mount)) $")
# What follows a firm's name that is made of persons'.
_FIRM = re.compile(
    r",? (?:S\. ?[A-Z]|s\.r\.l|S\.?A\b|SAS\b|SARL\b|SE\b|SpA\b|KGaA\b|KG\b|AG\b|GmbH\b|OHG\b|"
    r"e\.V\.|BV\b|NV\b|AB\b|Oy\b|A/S\b|Ltda\b|PLC\b|plc\b|et (?:Fils|Associés)|e Figli|"
    r"[ey] Hijos|&|and (?:Sons|Associates))"
)
# Overlapping pairs: after each first word, the second is looked at again.
_TWO_WORDS = re.compile(
    r"(?<![\w’'-])(?P<first>[A-ZÀ-ÖØ-Þ][\w’'-]+)(?= (?P<last>[A-ZÀ-ÖØ-Þ][\w’'-]+)(?![\w’'-]))"
)


def names(text: str, addresses: Sequence[str] = ()) -> Iterator[Span]:
    """Where persons are named; `addresses` are the e-mail addresses in the text."""
    for match in _AFTER.finditer(text):
        if match["name"].split()[0].casefold() not in _words("not-names"):
            yield match.span("name")
    yield from _by_pairs(text)
    accounts = [address.partition("@")[0].casefold() for address in addresses]
    for match in _TWO_WORDS.finditer(text) if accounts else ():
        surname = match["last"].casefold()
        if len(surname) >= LEAST_SURNAME and any(surname in account for account in accounts):
            yield match.start("first"), match.end("last")


def _by_pairs(text: str) -> Iterator[Span]:
    """Runs of capitalised words; of each, the part from the first word that begins a person."""
    for match in _PAIR.finditer(text):
        if match["name"] is None:
            before = _before(text, match.start())
            if _is_given(match["one"]) and _BEFORE.search(before) and ", " not in before[-2:]:
                yield match.span("one")
            continue
        start, end = match.span("name")
        words = [(start + w.start(), w[0]) for w in re.finditer(r"\S+", match["name"])]
        known = [at for at, (_, word) in enumerate(words) if not _is_no_person(word)]
        # A thing named after somebody is not that person, and neither is a saint's town.
        if len(known) < len(words) and _is_no_person(words[-1][1]):
            continue
        if _SAINTS.search(_before(text, start)) or _FIRM.match(text, end) or not known:
            continue
        first = known[0]
        while len([word for _, word in words[first:] if word[0].isupper()]) >= 2:
            begins = words[first][0]
            if _is_person(text, begins, end):
                yield begins, end
                break
            first += 1


def _is_person(text: str, start: int, end: int) -> bool:
    """Whether a run of two capitalised words and more is somebody's name."""
    run = text[start:end]
    words = [word for word in run.split() if word[0].isupper() and not word.endswith(".")]
    if len(words) < 2 or any(map(_is_no_person, words)):
        return False
    return (
        _is_given(words[0])
        or words[-1].casefold() in _words("surnames")
        or words[-1].rpartition("-")[2].casefold() in _words("surnames")
        or _SURE_PARTICLE.search(run) is not None
        or _BEFORE.search(_before(text, start)) is not None
        or _BEHIND.match(text, end) is not None
    )


def _before(text: str, place: int) -> str:
    """What stands just before a place: so much that the work grows with the text and not faster."""
    return text[max(0, place - LOOK_BACK) : place]


def _is_given(word: str) -> bool:
    """A given name, or several with a hyphen."""
    return all(part in _given_names() for part in word.casefold().split("-"))


def _is_no_person(word: str) -> bool:
    return word.casefold() in _words("not-names") or word.casefold() in _words("not-persons")


@functools.cache
def _given_names() -> frozenset[str]:
    return _words("given-names") | frozenset(read_swaps("names"))


@functools.cache
def _words(name: str) -> frozenset[str]:
    return frozenset(word.casefold() for word in read_words(name))
