"""How a resume may look: eight layouts over the same facts, and what scanners do to them."""

from __future__ import annotations

import random
from dataclasses import dataclass

MIN_WORDS = 50
CITIES = ("Leeds", "York", "Bath", "Derby", "Boston", "Denver", "Austin", "Cardiff", "Perth")
REMARKS = (
    "Clean driving licence.",
    "References on request.",
    "Certified first aider since {year}.",
    "Free to start in two weeks.",
    "Enjoys hill walking and singing in a local choir.",
    "Calm under pressure and always on time.",
    "Moved to {city} in {year}.",
    "Happy to work evenings and some weekends.",
    "Took a night course in {year}.",
    "Looking for a steady job close to home.",
    "Won the staff prize in {year}.",
    "Likes to learn and to help new people settle in.",
)


@dataclass(frozen=True)
class Person:
    """What a resume is written from: the target's values, and the same as this person puts them."""

    target: dict[str, object]
    email: str | None
    phone: str | None
    city: str
    firm: str
    former_title: str
    former_firm: str
    years: str
    people: str
    skills: list[str]

    @property
    def name(self) -> str:
        return str(self.target["name"])

    @property
    def title(self) -> str:
        return str(self.target["title"])

    @property
    def contacts(self) -> list[str]:
        return [contact for contact in (self.email, self.phone) if contact]


def header_block(person: Person, remarks: str) -> str:
    capitals = person.name.upper()  # only where the usual spelling can be read off them
    return "\n".join(
        (
            capitals if capitals.title() == person.name else person.name,
            " | ".join((*person.contacts, person.city)),
            "",
            f"EXPERIENCE ({person.years})",
            f"{person.title}, {person.firm}",
            f"before: {person.former_title}, {person.former_firm}",
            person.people,
            "",
            "SKILLS " + " / ".join(person.skills),
            remarks,
        )
    )


def prose(person: Person, remarks: str) -> str:
    skills = ", ".join(person.skills[:-1]) + " and " + person.skills[-1]
    reach = f" Reach me at {' or '.join(person.contacts)}." if person.contacts else ""
    return (
        f"My name is {person.name} and I live in {person.city}. I am now {person.title} at "
        f"{person.firm}; earlier I was {person.former_title} at {person.former_firm}. "
        f"Time in the trade: {person.years}. {person.people} I know {skills}. {remarks}{reach}"
    )


def bullets(person: Person, remarks: str) -> str:
    items = (
        f"Now {person.title} with {person.firm}",
        f"Previously {person.former_title} with {person.former_firm}",
        f"Experience: {person.years}",
        person.people,
        "Good at " + ", ".join(person.skills),
        *(f"Contact: {contact}" for contact in person.contacts),
        remarks,
    )
    return f"{person.name}, {person.city}\n" + "\n".join(f"• {item}" for item in items)


def key_value(person: Person, remarks: str) -> str:
    pairs = (
        ("Candidate", person.name),
        ("Town", person.city),
        ("Mail", person.email or "-"),
        ("Tel", person.phone or "-"),
        ("Current post", f"{person.title} ({person.firm})"),
        ("Last post", f"{person.former_title} ({person.former_firm})"),
        ("Working life", person.years),
        ("Duties", person.people),
        ("Skills", "; ".join(person.skills)),
        ("Notes", remarks),
    )
    return "\n".join(f"{key}: {value}" for key, value in pairs)


def table(person: Person, remarks: str) -> str:
    rows = (
        ("Name", person.name),
        ("Job", "Employer"),
        (person.title, person.firm),
        (f"{person.former_title} (old)", person.former_firm),
        ("Years", person.years),
        ("Skills", ", ".join(person.skills)),
        *(("Contact", contact) for contact in person.contacts),
    )
    lines = (f"| {left} | {right} |" for left, right in rows)
    return "\n".join((*lines, f"{person.people} {remarks}"))


def mail_with_signature(person: Person, remarks: str) -> str:
    return "\n".join(
        (
            "Dear hiring team,",
            f"I should like to apply. Work so far: {person.years}, at first as "
            f"{person.former_title} at {person.former_firm}. {person.people} "
            f"I bring {', '.join(person.skills)}. {remarks}",
            "Kind regards,",
            "-- ",
            person.name,
            f"{person.title}, {person.firm}, {person.city}",
            *person.contacts,
        )
    )


def recruiter_note(person: Person, remarks: str) -> str:
    contact = ", ".join(person.contacts) or "via agency"
    return (
        f"Spoke to {person.name} ({contact}) today. In post as {person.title} with {person.firm}, "
        f"formerly {person.former_title}, {person.former_firm}. Career {person.years}. "
        f"{person.people} Strong on {' + '.join(person.skills)}. Lives in {person.city}. {remarks}"
    )


def form_dump(person: Person, remarks: str) -> str:
    fields = (
        f"[{person.name}]",
        *person.contacts,
        f"{person.title} @ {person.firm}",
        f"ex {person.former_title} @ {person.former_firm}",
        f"exp {person.years}",
        f"skills={','.join(person.skills)}",
        f"{person.people} {remarks}",
        person.city,
    )
    return " ; ".join(fields)


LAYOUTS = (
    header_block,
    prose,
    bullets,
    key_value,
    table,
    mail_with_signature,
    recruiter_note,
    form_dump,
)


def resume(rng: random.Random, person: Person) -> str:
    """The resume in one of the layouts, with as many remarks as `MIN_WORDS` asks for."""
    layout = rng.choice(LAYOUTS)
    pool = rng.sample(REMARKS, len(REMARKS))
    year, city = rng.randint(2003, 2014), rng.choice(CITIES)
    num_remarks = 1
    while True:
        remarks = " ".join(pool[:num_remarks]).format(year=year, city=city)
        text = layout(person, remarks)
        if len(text.split()) >= MIN_WORDS:
            return smudge(rng, text)
        num_remarks += 1


def smudge(rng: random.Random, text: str) -> str:
    """The text as a scanner or a copy from a PDF might leave it; no value to extract is touched."""
    smudges = (
        lambda: text.replace("• ", rng.choice(("▪ ", "* ", "– ", "· "))),
        lambda: text.replace("first", "ﬁrst").replace("Certified", "Certiﬁed"),
        lambda: text.replace(". ", ".  "),
        lambda: text.replace("\n", " \n"),
        lambda: f"{text}\nPage 1 of 1",
        lambda: f"CV\n{text}",
    )
    return rng.choice(smudges)() if rng.random() < 0.5 else text
