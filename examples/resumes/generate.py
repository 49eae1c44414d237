"""Writes the resumes example: invented people, their resumes and the values to extract.

    python examples/resumes/generate.py                 # the committed files, byte for byte
    python examples/resumes/generate.py --seed 8 --out other/

Needs Faker, for the names only. Every e-mail address ends in a domain reserved for examples and
every telephone number lies in a range kept for fiction.
"""

from __future__ import annotations

import argparse
import json
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path

from faker import Faker
from house import (
    THIS_YEAR,
    TRADES,
    UK_MOBILE_PREFIX,
    UK_PREFIXES,
    US_AREA_CODES,
    Trade,
    seniority,
)
from layouts import CITIES, Person, resume

MAX_ROWS = 5000
LOCALES = ("en_GB", "en_US", "en_IN", "de_DE", "es_ES")
DOMAINS = ("example.com", "example.org", "example.net")
NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen"),
)
MANAGES = (
    "Led a team of {n}.",
    "Line manager for {n} people.",
    "Supervised {n} staff.",
    "Ran the section with {n} direct reports.",
    "Managed {n} colleagues day to day.",
)
DOES_NOT_MANAGE = (
    "Worked in a team of {n}.",
    "Reported to the manager of {n} people.",
    "Member of a section of {n} staff.",
    "One of {n} people under a supervisor.",
    "Shared the work with {n} colleagues.",
)


class People:
    """Draws people, no two with the same name, e-mail address or telephone number."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.fakers = [Faker(locale) for locale in LOCALES]
        for number, faker in enumerate(self.fakers):
            faker.seed_instance(seed + number)
        self.taken: set[str] = set()

    def unused(self, draw: Callable[[], str]) -> str:
        """The first draw that nobody has been given yet."""
        while (value := draw()) in self.taken:
            pass
        self.taken.add(value)
        return value

    def draw(self) -> Person:
        rng = self.rng
        trade = rng.choice(TRADES)
        title, former_title = rng.sample(trade.titles, 2)
        name = self.unused(self.full_name)
        email = self.unused(lambda: address(rng, name)) if rng.random() < 0.85 else None
        digits = self.unused(lambda: telephone(rng)) if rng.random() < 0.75 else None
        num_years = rng.randint(1, 14)
        manages = rng.random() < 0.5
        skills = rng.sample(list(trade.skills), rng.choices((2, 3, 4), (35, 45, 20))[0])
        people = rng.choice(MANAGES if manages else DOES_NOT_MANAGE).format(n=rng.randint(3, 15))
        return Person(
            target={
                "name": name,
                "email": email,
                "phone": digits and digits.replace(" ", ""),
                "title": title,
                "skills": skills,
                "years": num_years,
                "seniority": seniority(num_years, manages=manages),
            },
            email=email and written_email(rng, email),
            phone=digits and written_phone(rng, digits),
            city=rng.choice(CITIES),
            firm=self.firm(trade),
            former_title=former_title,
            former_firm=self.firm(trade),
            years=written_years(rng, num_years),
            people=people,
            skills=[rng.choice(trade.skills[skill]) for skill in skills],
        )

    def full_name(self) -> str:
        faker = self.rng.choices(self.fakers, (4, 4, 2, 1, 1))[0]
        return f"{faker.first_name().split()[0]} {faker.last_name().split()[0]}"

    def firm(self, trade: Trade) -> str:
        return f"{self.fakers[0].last_name()} {self.rng.choice(trade.firms)}"


def address(rng: random.Random, name: str) -> str:
    """An e-mail address for this name.

    >>> address(random.Random(0), "Zoë Hill").split("@")[1] in DOMAINS
    True
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    first, last = ("".join(filter(str.isalnum, part)) for part in plain.split())
    number = rng.randint(2, 98)
    local = rng.choice(
        (f"{first}.{last}", f"{first[0]}{last}", f"{last}{number}", f"{first}{number}")
    )
    return f"{local}@{rng.choice(DOMAINS)}"


def telephone(rng: random.Random) -> str:
    """A number nobody has, in groups: "+44 20 7946 0123" or "+1 212 555 0123"."""
    if rng.random() < 0.6:
        prefix = rng.choice((*UK_PREFIXES, UK_MOBILE_PREFIX))
        return f"+44 {prefix}{rng.randrange(1000):03}"
    return f"+1 {rng.choice(US_AREA_CODES)} 555 01{rng.randrange(100):02}"


def written_phone(rng: random.Random, digits: str) -> str:
    """The number as people write it: "+44 20 7946 0123" → "(020) 7946-0123"."""
    country, area, *rest = digits.split()
    if country == "+44":
        forms = (
            "0{a} {b}",
            "(0{a}) {b}",
            "0{a}-{c}",
            "+44 {a} {b}",
            "0044 {a} {b}",
            "+44 (0){a} {b}",
        )
    else:
        forms = ("({a}) {c}", "{a}-{c}", "{a}.{d}", "+1 {a} {b}", "1-{a}-{c}", "001 {a} {b}")
    b, c, d = (separator.join(rest) for separator in " -.")
    return rng.choice(forms).format(a=area, b=b, c=c, d=d)


def written_email(rng: random.Random, email: str) -> str:
    return email.replace("@", " (at) ") if rng.random() < 0.1 else email


def written_years(rng: random.Random, num_years: int) -> str:
    """So many years of work, as people put it: 7 → "seven years", "2011-2018", "since 2018"."""
    start, end = THIS_YEAR - num_years, rng.randint(2016, 2024)
    unit = "year" if num_years == 1 else "years"
    stated = (f"{num_years} {unit}", f"{NUMBER_WORDS[num_years]} {unit}", f"{num_years} yrs")
    dashed = (f"{end - num_years}-{end}", f"{end - num_years} to {end}")
    still = (f"since {start}", f"{start} to present", f"{start}-present")
    return rng.choice(rng.choices((stated, dashed, still), (60, 15, 25))[0])


def write_rows(path: Path, *, people: People, split: str, num_rows: int) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for number in range(num_rows):
            person = people.draw()
            row = {
                "id": f"{split}-{number:03}",
                "text": resume(people.rng, person),
                "output": person.target,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--train", type=int, default=240, help="number of rows")
    parser.add_argument("--dev", type=int, default=80, help="number of rows")
    parser.add_argument("--test", type=int, default=160, help="number of rows")
    args = parser.parse_args()
    if args.train + args.dev + args.test > MAX_ROWS:
        parser.error(f"at most {MAX_ROWS} rows in all: the telephone numbers for fiction run out")
    args.out.mkdir(parents=True, exist_ok=True)
    people = People(args.seed)
    for split in ("train", "dev", "test"):
        num_rows = getattr(args, split)
        write_rows(args.out / f"{split}.jsonl", people=people, split=split, num_rows=num_rows)


if __name__ == "__main__":
    main()
