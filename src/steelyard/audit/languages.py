"""Which languages the inputs are in, by their script and their commonest words.

A light look for an audit, not a library of language models: it tells scripts apart, and languages
in Latin letters that the table below has. A text of few words stays "unknown".
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from steelyard.audit.findings import Finding, percent
from steelyard.audit.sheet import Sheet
from steelyard.core import SPLITS
from steelyard.tasks.wording import count

# The commonest function words. Source: ours, from the heads of public word frequency lists.
COMMON_WORDS = {
    "en": "the of and to a in is that it for you was on are with as i be this have not my how what "
    "can do from at or your we do does where when an me has but they if will there",
    "de": "der die und das ist nicht ich zu in den von mit sie es ein eine auf für dem sich des im "
    "wie kann auch als an werden aus er hat dass wir oder mein meine bei nach noch was",
    "fr": "le la les de des et un une est en que pour dans je pas qui ne sur au ce il avec plus "
    "mon ma vous nous par du se sont comment être mes à ou mais si",
    "es": "el la los las de que y en un una es no por con para se del lo como mi más al pero su me "
    "ya está qué cómo hay puedo son o si este esta muy",
    "it": "il la le di che e un una è per non in con sono del della mi si come i gli lo ma da ho "
    "alla dei nel più questo anche al o se mio mia posso",
    "pt": "o a os as de que e em um uma é não para com do da se por no na mais meu minha como mas "
    "ao eu está dos das foi são ou você posso",
    "nl": "de het een en van in is dat op te niet voor met zijn ik mijn die er aan ook als om maar "
    "bij hoe kan wat naar heb deze wij of uit",
    "sv": "och att det i en som är på för av med inte till jag den ett om har min hur kan de vi "
    "men var från så när eller",
    "da": "og at det i en som er på for af med ikke til jeg den et om har min hvordan kan de vi "
    "men var fra så når eller",
    "pl": "i w na się nie z do to jest że jak mam czy po o za od dla moje mój ale co przez są tego "
    "jestem być lub",
    "tr": "ve bir bu için ile ne da de mi nasıl çok ben daha olarak var değil ama gibi kadar benim "
    "olan veya",
    "id": "yang dan di untuk dengan ini itu tidak dari ke saya apa bagaimana ada pada adalah akan "
    "bisa atau",
}
_OF_WORD: dict[str, list[str]] = {}
for _language, _words in COMMON_WORDS.items():
    for _word in set(_words.split()):
        _OF_WORD.setdefault(_word, []).append(_language)
# Scripts by the beginning of their letters' Unicode names, and the language named for each.
SCRIPTS = {
    "CYRILLIC": "cyrillic",
    "GREEK": "el",
    "ARABIC": "arabic",
    "HEBREW": "he",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CJK": "zh",
    "DEVANAGARI": "devanagari",
    "BENGALI": "bn",
    "THAI": "th",
}
LEAST_HITS = 2  # common words. Source: ours
FOREIGN = 0.005  # of the rows; fewer are not worth a word. Source: ours
_WORD = re.compile(r"[^\W\d_]+")


def language(text: str) -> str:
    """A language's code, a script's name, or "unknown".

    >>> language("Where is the card that I ordered?"), language("Wo ist die Karte, die ich will?")
    ('en', 'de')
    >>> language("12345"), language("カードはどこですか")
    ('unknown', 'ja')
    """
    words = _WORD.findall(text.casefold())
    script = _script("".join(words))
    if script is not None:
        return script
    hits = Counter(name for word in words for name in _OF_WORD.get(word, ()))
    if not hits:
        return "unknown"
    (best, most), *rest = hits.most_common(2)
    is_clear = not rest or most > rest[0][1]
    return best if most >= LEAST_HITS and is_clear else "unknown"


def _script(letters: str) -> str | None:
    """The script of most letters, unless that is Latin; kana make Han letters Japanese."""
    names = Counter(unicodedata.name(letter, "").split(" ")[0].split("-")[0] for letter in letters)
    others = {name: number for name, number in names.items() if name in SCRIPTS}
    if sum(others.values()) <= len(letters) / 2:
        return None
    if others.get("HIRAGANA") or others.get("KATAKANA"):
        return "ja"
    return SCRIPTS[max(others, key=lambda name: others[name])]


def languages(sheet: Sheet) -> list[Finding]:
    """The languages of the inputs, and those that only measured rows have."""
    spoken = {row.id: language(row.example.input) for row in sheet.rows}
    numbers = {
        split: Counter(spoken[example.id] for example in sheet.examples(split)) for split in SPLITS
    }
    total = sum(numbers.values(), Counter[str]())
    shares = ", ".join(f"{name} {percent(n, total.total())}" for name, n in total.most_common(5))
    findings = [
        Finding(
            "note",
            "languages",
            f"Languages of the inputs, by their commonest words: {shares}.",
            "Nothing, if these are the ones that will be used.",
            figures={split: dict(numbers[split]) for split in SPLITS},
        )
    ]
    known = {name for name in total if name != "unknown" and total[name] >= FOREIGN * len(spoken)}
    new = sorted(known - set(numbers["train"]))
    if new:
        rows = [id_ for id_, name in spoken.items() if name in new]
        findings.insert(
            0,
            Finding(
                "warning",
                "languages-not-in-train",
                f"{count(len(rows), 'row')} of dev and test are in a language that train does not "
                f"have: {', '.join(new)}.",
                "Add training rows in it, or take the rows out.",
                tuple(rows),
            ),
        )
    return findings
