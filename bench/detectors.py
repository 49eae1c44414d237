"""How well the detectors of `steelyard check` find what was planted, and how much else they call.

    python bench/detectors.py

One line a detector and a set: precision (of what it calls, the share that is right) and recall
(of what was planted, the share that it calls). Sets from ../shared are left out, with a word,
where they are not there. Look-alikes that the questions of banking77 have among themselves are
not judged: nobody says which of them are copies.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from faker import Faker

from steelyard.audit.alike import SIMILARITY, near_pairs, normal
from steelyard.audit.labels import suspects
from steelyard.audit.leakage import by_text
from steelyard.audit.personal import find
from steelyard.audit.sheet import Placed, Sheet
from steelyard.core import SPLITS, Example, Output, Task

SHARED = Path(__file__).parents[2] / "shared" / "data"
Pairs = set[tuple[int, int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--curve", action="store_true", help="near copies at other thresholds too")
    options = parser.parse_args()
    print("| detector | set | planted | called | precision | recall | seconds |")
    print("|---|---|---|---|---|---|---|")
    thresholds = (0.4, 0.5, 0.6, 0.7, 0.8) if options.curve else (SIMILARITY,)
    for bench in (
        near_copies,
        febrl,
        leaked_texts,
        wrong_labels,
        personal_data,
        other_names,
        resumes,
    ):
        for row in bench(options.shared, random.Random(options.seed), thresholds):
            print(row, flush=True)


def line(name: str, on: str, truth: set[Any], called: set[Any], seconds: float) -> str:
    right = len(truth & called)
    precision = f"{right / len(called):.3f}" if called else "–"
    recall = f"{right / len(truth):.3f}" if truth else "–"
    return (
        f"| {name} | {on} | {len(truth):,} | {len(called):,} | {precision} | {recall} "
        f"| {seconds:.1f} |"
    )


def read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        print(f"left out: {path.parent.name} is not there", file=sys.stderr)
        return []
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]


# ---------------------------------------------------------------- near copies


def _typo(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text))
    return text[:at] + rng.choice("abcdefghijklmnopqrstuvwxyz") + text[at + 1 :]


def _without_a_word(rng: random.Random, text: str) -> str:
    words = text.split()
    words.pop(rng.randrange(len(words)))
    return " ".join(words)


def _with_a_word(rng: random.Random, text: str) -> str:
    words = text.split()
    words.insert(rng.randrange(len(words) + 1), rng.choice(["really", "please", "now", "just"]))
    return " ".join(words)


def _swapped(rng: random.Random, text: str) -> str:
    words = text.split()
    at = rng.randrange(len(words) - 1)
    words[at : at + 2] = words[at + 1], words[at]
    return " ".join(words)


EDITS: dict[str, Callable[[random.Random, str], str]] = {
    "case and marks": lambda _, text: text.upper().replace(",", "") + " !!",
    "one letter": _typo,
    "three letters": lambda rng, text: _typo(rng, _typo(rng, _typo(rng, text))),
    "a word less": _without_a_word,
    "a word more": _with_a_word,
    "two words swapped": _swapped,
    "a greeting before": lambda _, text: f"Hello there, {text}",
}


def near_copies(shared: Path, rng: random.Random, thresholds: Sequence[float]) -> Iterator[str]:
    """Questions of banking77, one in ten with a planted copy."""
    rows = read(shared / "banking77" / "train.jsonl")
    unique = {normal(r["text"]): r["text"] for r in rows if len(r["text"].split()) >= 6}
    base = rng.sample(list(unique.values()), min(len(unique), 2000))
    if not base:
        return
    natural = {pair[:2] for pair in near_pairs(base)}
    texts, kinds = list(base), []
    for place in rng.sample(range(len(base)), len(base) // 10):
        kind = rng.choice(list(EDITS))
        kinds.append((kind, (place, len(texts))))
        texts.append(EDITS[kind](rng, base[place]))
    for threshold in thresholds:
        started = time.perf_counter()
        called = {pair[:2] for pair in near_pairs(texts, similarity=threshold)}
        seconds = time.perf_counter() - started
        of_planted = {pair for pair in called if pair[1] >= len(base)} - natural
        # A planted copy is a copy of its source's natural look-alikes as well.
        own = {pair for pair in of_planted if _is_kin(pair, kinds, natural)}
        truth = {pair for _, pair in kinds}
        yield line(f"near copies ≥ {threshold:g}", "banking77, planted", truth, own, seconds)
        if threshold == SIMILARITY:
            for kind in EDITS:
                wanted = {pair for name, pair in kinds if name == kind}
                yield line("", kind, wanted, wanted & called, 0.0)


def _is_kin(
    pair: tuple[int, int], kinds: Sequence[tuple[str, tuple[int, int]]], natural: Pairs
) -> bool:
    """Whether a called pair is judged: not when it joins a copy to its source's own look-alike."""
    source = {copy: place for _, (place, copy) in kinds}
    a, b = (source.get(n, n) for n in pair)
    return a == b or (min(a, b), max(a, b)) not in natural


def febrl(shared: Path, _: random.Random, thresholds: Sequence[float]) -> Iterator[str]:
    """Five hundred persons, each with one record full of errors."""
    rows = read(shared / "febrl" / "dedup_1k.jsonl")
    if not rows:
        return
    texts = [" ".join(str(value) for value in row["record"].values() if value) for row in rows]
    homes: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        homes.setdefault(row["entity"], []).append(place)
    truth = {pair for places in homes.values() for pair in combinations(places, 2)}
    for threshold in thresholds:
        started = time.perf_counter()
        called = {pair[:2] for pair in near_pairs(texts, similarity=threshold)}
        seconds = time.perf_counter() - started
        yield line(f"near copies ≥ {threshold:g}", "febrl dedup_1k", truth, called, seconds)


# ---------------------------------------------------------------- leaks and labels


def _sheet(rows: Mapping[str, Sequence[tuple[str, str]]], kind: str) -> Sheet:
    examples = {
        split: tuple(Example(f"{split}-{n}", x, y, f"{split}-{n}") for n, (x, y) in enumerate(some))
        for split, some in rows.items()
    }
    labels = tuple(sorted({e.target for some in examples.values() for e in some}))
    output = Output("label", labels=labels) if kind == "label" else Output("text")
    parts = [examples.get(split, ()) for split in SPLITS]
    task = Task("bench", "", output, "exact", 0.02, *parts, hash="0" * 64)
    placed = tuple(Placed(e, split) for split in SPLITS for e in task.split(split))
    return Sheet(task, placed, {})


def leaked_texts(shared: Path, rng: random.Random, _: Sequence[float]) -> Iterator[str]:
    """Passages of squad1k as training texts, with a piece of some of them among the test rows."""
    rows = read(shared / "squad1k" / "corpus.jsonl")
    texts = [text for row in rows for text in [_longest(row)] if len(text.split()) >= 60]
    if len(texts) < 100:
        return
    train, rest = texts[: len(texts) // 2], texts[len(texts) // 2 :]
    test, truth = [], set()
    for number in range(200):
        words = rng.choice(train if number % 4 == 0 else rest).split()
        size = rng.randint(20, 40)
        at = rng.randrange(max(1, len(words) - size))
        if number % 4 == 0:
            truth.add(f"test-{number}")
        test.append(" ".join(words[at : at + size]))
    started = time.perf_counter()
    sheet = _sheet({"train": [(t, "") for t in train], "test": [(t, "") for t in test]}, "text")
    called = {id_ for finding in by_text(sheet) for id_ in finding.evidence}
    yield line("text in train", "squad1k, pieces", truth, called, time.perf_counter() - started)


def _longest(row: Mapping[str, Any]) -> str:
    return max((value for value in row.values() if isinstance(value, str)), key=len)


def wrong_labels(shared: Path, rng: random.Random, _: Sequence[float]) -> Iterator[str]:
    """Labels exchanged at random; some of banking77's own are known to be wrong as well."""
    for name, size, share in (("banking77", 3000, 0.05), ("banking77", 3000, 0.15)):
        rows = read(shared / name / "train.jsonl")
        if not rows:
            return
        labels = sorted({row["label"] for row in rows})
        drawn = rng.sample(rows, size)
        wrong = set(rng.sample(range(size), int(share * size)))
        pairs = [
            (r["text"], _other(labels, r["label"], rng) if n in wrong else r["label"])
            for n, r in enumerate(drawn)
        ]
        started = time.perf_counter()
        found = suspects(_sheet({"train": pairs}, "label"))
        seconds = time.perf_counter() - started
        truth = {f"train-{n}" for n in wrong}
        called = [s.row.id for s in found]
        yield line("wrong labels", f"{name}, {share:.0%} exchanged", truth, set(called), seconds)
        first = set(called[: len(truth)])
        yield line("", f"the {len(truth)} likeliest of them", truth, first, 0.0)


def _other(labels: Sequence[str], label: str, rng: random.Random) -> str:
    return rng.choice([other for other in labels if other != label])


# ---------------------------------------------------------------- personal data

LOCALES = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "pt_BR", "pl_PL", "nl_NL", "sv_SE")
MAKERS: dict[str, tuple[tuple[str, ...], str]] = {
    "email": (LOCALES, "email"),
    "phone": (LOCALES, "phone_number"),
    "card": (("en_US",), "credit_card_number"),
    "iban": (("en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "pl_PL"), "iban"),
    "ip": (("en_US",), "ipv4"),
    "us_ssn": (("en_US",), "ssn"),
    "es_dni": (("es_ES",), "nif"),
    "it_codice_fiscale": (("it_IT",), "ssn"),
    "fr_nir": (("fr_FR",), "ssn"),
    "br_cpf": (("pt_BR",), "cpf"),
    "pl_pesel": (("pl_PL",), "pesel"),
    "name": (LOCALES, "name"),
}
SENTENCES: dict[str, tuple[str, ...]] = {
    "phone": ("Please call me at {}.", "{} is where you reach me", "tel. {}, mornings", "({})"),
    "name": ("Dear {}, thank you.", "My name is {} and I wait.", "Regards, {}", "I met {} there."),
    "pl_pesel": ("PESEL: {}", "my PESEL is {} as you know"),
}
PLAIN = ("It is {}.", "I gave you {} last week, did I not?", "{}", "Use {} (mine), please")
DECOYS = (
    "Order 4471-2231-09 of 2024-11-03 came 12 days late.",
    "Version 10.2.0.14 fails where 9.8.7 did not.",
    "It costs 1,299.00 and weighs 3.141592653589793 kg.",
    "Invoice 20231105 over 12 345 678 units, see 2019-2023.",
    "The New York Times wrote about General Electric and Monte Carlo.",
    "Dear Customer, our Support Team in San Francisco is glad to help.",
    "sha 9f86d081884c7d659a2feaa0c55ad015 at 12:30:45, line 1024:7",
    "@home and a@b are no addresses; neither is foo@bar",
    "The ratio was 3:2:1 and then 10.5 / 11.5 / 12.5 / 13.5.",
    "ISBN 978-3-16-148410-0, article 0012345678905",
)


def personal_data(shared: Path, rng: random.Random, _: Sequence[float]) -> Iterator[str]:
    """A hundred sentences of each kind by Faker, and as many that only look like it."""
    called: dict[str, set[tuple[int, str]]] = {kind: set() for kind in MAKERS}
    truth: dict[str, set[tuple[int, str]]] = {kind: set() for kind in MAKERS}
    texts = []
    for kind, (locales, method) in MAKERS.items():
        for number in range(100):
            fake = Faker(locales[number % len(locales)])
            fake.seed_instance(rng.randrange(10**9))
            value = str(getattr(fake, method)()).replace("\n", " ")
            truth[kind].add((len(texts), value))
            texts.append(rng.choice(SENTENCES.get(kind, PLAIN)).format(value))
    banking = [row["text"] for row in read(shared / "banking77" / "test.jsonl")[:1000]]
    texts += [*DECOYS * 10, *banking]
    started = time.perf_counter()
    extra: Counter[str] = Counter()
    for place, text in enumerate(texts):
        for one in find(text):
            value = text[one.start : one.end]
            if one.kind in called:
                called[one.kind].add((place, value))
            else:
                extra[one.kind] += 1
    seconds = time.perf_counter() - started
    for kind in MAKERS:
        # Part of a name or a number is enough to be found, and a whole one to be redacted.
        right = {
            planted
            for planted in truth[kind]
            if any(at == planted[0] and _overlap(value, planted[1]) for at, value in called[kind])
        }
        wrong = {
            call
            for call in called[kind]
            if not any(call[0] == at and _overlap(call[1], value) for at, value in truth[kind])
        }
        yield line("personal data", kind, truth[kind], right | wrong, seconds)
    print(f"of other kinds, called wrongly: {dict(extra)}", file=sys.stderr)


# Sentences, countries and look-alikes that the detector of names was never tuned on: they were
# written down before its rules first ran, and what it misses of them is not to be looked at.
OTHER_LOCALES = (
    *("cs_CZ", "da_DK", "fi_FI", "no_NO", "ro_RO", "hu_HU", "hr_HR", "en_IN", "en_NG", "tr_TR"),
)
OTHER_SENTENCES = (
    "The invoice goes to {} at the front desk.",
    "{} signed the lease on Friday.",
    "Minutes taken by {}.",
    "Could you forward this to {}? Thanks.",
    "Patient: {}\nDiagnosis: asthma",
    "{}, 34, works as a nurse.",
    "Our new colleague is called {}.",
    "According to {}, the parcel was open.",
    "Best wishes\n{}\nSales",
    "I spoke with {} yesterday about the refund.",
    "cc: {}",
    "My husband {} ordered it.",
    "Then {} opened the door.",
    "Booked under {} for two nights",
)
OTHER_DECOYS = (
    "We flew British Airways from New York to Cape Town in March.",
    "Contact: Customer Service, open Monday to Friday",
    "I spoke with American Express about my Gold Card.",
    "From: Human Resources\nTo: All Staff",
    "Best regards\nThe Support Team",
    "The Johns Hopkins University hospital is near Druid Hill Park.",
    "Martin Luther King Boulevard is closed on Sunday.",
    "Ask for Extra Cheese at Pizza Hut.",
    "Robert Bosch GmbH and Siemens Energy answered first.",
    "Met Office warnings hold for Northern Ireland and West Yorkshire.",
    "We use Visual Studio Code with Apple Silicon and Red Hat Linux.",
    "He lives near Lake Victoria, north of Port Elizabeth.",
    "San Jose and Saint Paul are cities; so is Los Angeles.",
    "My bank is Banco Santander, before that Deutsche Bank.",
    "Thanks\nCredit Control",
    "Black Friday and Cyber Monday were busy at Best Buy.",
    "cc: Legal Department",
    "Booked under Premium Economy for two nights",
    "The Nobel Prize, the Eiffel Tower and the Golden Gate Bridge",
    "Dear Sir or Madam, Dear Hiring Manager, Dear Valued Customer",
    "Minutes taken by Finance Committee.",
    "According to Google Maps, Times Square is near Central Park.",
    "Windows Server, Power Point and Adobe Acrobat are installed.",
    "Author: World Health Organization",
)


def other_names(_: Path, rng: random.Random, __: Sequence[float]) -> Iterator[str]:
    """Names in sentences, and of countries, that nothing was tuned on."""
    for on, locales in (("ten countries", LOCALES), ("ten others", OTHER_LOCALES)):
        truth: set[tuple[int, str]] = set()
        texts: list[str] = []
        for number in range(20 * len(OTHER_SENTENCES)):
            fake = Faker(locales[number % len(locales)])
            fake.seed_instance(rng.randrange(10**9))
            name = str(fake.name())
            truth.add((number, name))
            texts.append(OTHER_SENTENCES[number % len(OTHER_SENTENCES)].format(name))
        texts += OTHER_DECOYS
        started = time.perf_counter()
        called = set()
        for place, text in enumerate(texts):
            for one in (found for found in find(text) if found.kind == "name"):
                value = text[one.start : one.end]
                same = [w for at, w in truth if at == place and _overlap(value, w)]
                called.add((place, same[0] if same else value))
        seconds = time.perf_counter() - started
        yield line("personal data", f"names, other sentences, {on}", truth, called, seconds)


def _overlap(a: str, b: str) -> bool:
    return a in b or b in a


def resumes(shared: Path, _: random.Random, __: Sequence[float]) -> Iterator[str]:
    """The resumes of resumes_synth, whose targets say what stands in them."""
    rows = read(shared / "resumes_synth" / "test.jsonl")
    for kind, field in (("email", "email"), ("phone", "phone"), ("name", "name")):
        truth, called = set(), set()
        started = time.perf_counter()
        for place, row in enumerate(rows):
            wanted = row["output"].get(field)
            held = [row["text"][f.start : f.end] for f in find(row["text"]) if f.kind == kind]
            key = _bare(wanted) if wanted else None
            if key and key in _bare(row["text"]):
                truth.add((place, key))
            for value in held:
                same = key is not None and (_bare(value) in key or key in _bare(value))
                called.add((place, key if same else _bare(value)))
        if rows:
            seconds = time.perf_counter() - started
            yield line("personal data", f"resumes_synth, {kind}", truth, called, seconds)


def _bare(text: str) -> str:
    return "".join(sign for sign in text.casefold() if sign.isalnum())


if __name__ == "__main__":
    main()
