"""Planted worlds: tasks made up so that the right way to adapt is known before measuring.

A world is a function from a seed to the files of a task folder, by their names; `write` puts them
somewhere. The same seed gives the same bytes. docs/worlds.md says what each must come to.

    knowledge       facts that no model has seen stand in documents     passages
    convention      a house rule that no word conveys, 500 examples     weights
    knows_already   what everybody knows, ten examples to learn from    the plain prompt
    nothing         labels thrown by dice                               nothing works
    twins           any task, each model under two names                no winner
    moving          a third of the facts change, then it is asked       passages, not weights
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

Files = dict[str, str]  # what stands in each file of a task folder
Row = dict[str, Any]

START, CHANGE = date(2025, 9, 1), date(2026, 3, 1)  # of the facts of `moving`


def write(files: Mapping[str, str], folder: Path) -> Path:
    """The files below a folder; its task file comes back."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    return folder / "task.toml"


def _task(  # the same for all worlds, but for what stands here
    name: str, instruction: str, splits: Mapping[str, Sequence[Row]], *, output: str, more: str = ""
) -> Files:
    files = {f"{split}.jsonl": _lines(rows) for split, rows in splits.items()}
    columns = [key for key in ("group", "time") if key in splits["train"][0]]
    lines = [
        f'name = "{name}"',
        f'instruction = "{instruction}"',
        "\n[data]",
        *(f'{split} = "{split}.jsonl"' for split in splits),
        'input = "text"',
        'target = "target"',
        *(f'{key} = "{key}"' for key in columns),
        "\n[output]",
        f'type = "{output}"',
        "\n[score]",
        f'scorer = "{"label" if output == "label" else "contains"}"',
        more,
    ]
    return {"task.toml": "\n".join(lines), **files}


def _lines(rows: Iterable[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _take(rows: Sequence[Row], sizes: Mapping[str, int]) -> dict[str, list[Row]]:
    """The rows in a row: the first for train, then dev, then test."""
    ends = list(itertools.accumulate(sizes.values(), initial=0))
    return {
        split: [{"id": f"{split}-{number}", **row} for number, row in enumerate(rows[start:end])]
        for split, (start, end) in zip(sizes, itertools.pairwise(ends), strict=True)
    }


# ---------------------------------------------------------------- invented facts

BEGIN = ("Ba", "Cor", "Dre", "Fal", "Gri", "Hel", "Jor", "Kal", "Lum", "Mor", "Nev", "Or")
BEGIN += ("Pel", "Quin", "Ras", "Sel", "Tor", "Ul", "Ver", "Wen", "Yar", "Zel")
MIDDLE = ("a", "bi", "da", "en", "go", "la", "mi", "no", "ri", "so", "ta", "ve")
END = ("dor", "fen", "gard", "holm", "kis", "lund", "mar", "nath", "rak", "sund", "tis", "wick")


class _Inventor:
    """Names and numbers that were not given before."""

    def __init__(self, seed: str) -> None:
        self.rng = random.Random(seed)
        self._names = ["".join(parts) for parts in itertools.product(BEGIN, MIDDLE, END)]
        self._numbers = [str(number) for number in range(1201, 9800)]
        self.rng.shuffle(self._names)
        self.rng.shuffle(self._numbers)

    def name(self) -> str:
        return self._names.pop()

    def place(self) -> str:
        return self._names.pop() + self.rng.choice(("stead", "minster", "haven", "bridge"))

    def person(self) -> str:
        return f"{self.name()} {self.name()}"

    def number(self) -> str:
        return self._numbers.pop()


@dataclass(frozen=True)
class Kind:
    """A kind of fact: what draws its value, how a document says it, and how it is asked."""

    draw: str
    says: str
    asks: tuple[str, ...]


KINDS = (
    Kind(
        "person",
        "Its keeper is {value}.",
        (
            "Who keeps the {place} inn?",
            "Who is the keeper of the inn at {place}?",
            "What is the name of the keeper at {place}?",
        ),
    ),
    Kind(
        "name",
        "It has its beer from {value}.",
        (
            "From where does the {place} inn have its beer?",
            "Where does the beer of the inn at {place} come from?",
            "From which town is the beer at {place}?",
        ),
    ),
    Kind(
        "number",
        "The number to call is {value}.",
        (
            "Which number do I call for the {place} inn?",
            "What is the number of the inn at {place}?",
            "Under which number is {place} called?",
        ),
    ),
    Kind(
        "name",
        "The stable is led by {value}.",
        (
            "Who leads the stable of the {place} inn?",
            "By whom is the stable at {place} led?",
            "Whom do I ask for in the stable of the inn at {place}?",
        ),
    ),
)
ABOUT_DESKS = "Which desk of our shop does this message belong to?"
ABOUT_FACTS = "Answer the question about our inns with the name or number alone."


@dataclass(frozen=True)
class Place:
    """An invented inn and its facts, one of each kind."""

    name: str
    values: tuple[str, ...]

    def page(self, rng: random.Random) -> str:
        """What its document says, in any order."""
        said = [k.says.format(value=v) for k, v in zip(KINDS, self.values, strict=True)]
        rng.shuffle(said)
        return f"The {self.name} inn is one of ours. {' '.join(said)}"


def _places(inventor: _Inventor, count: int) -> list[Place]:
    return [
        Place(inventor.place(), tuple(getattr(inventor, kind.draw)() for kind in KINDS))
        for _ in range(count)
    ]


def knowledge(seed: int, num_places: int = 50) -> Files:
    """Four invented facts about each place stand in its document, and one question asks each.

    Places are train's, dev's or test's, so that no fact that is asked there was ever trained on.
    """
    inventor = _Inventor(f"knowledge:{seed}")
    rng = inventor.rng
    places = _places(inventor, num_places)
    documents = {
        f"documents/{place.name.lower()}.md": f"# {place.name}\n\n{place.page(rng)}\n"
        for place in places
    }
    rows = [
        {
            "text": rng.choice(kind.asks).format(place=place.name),
            "target": value,
            "group": place.name,
            "evidence": f"{place.name.lower()}.md",
        }
        for place in places
        for kind, value in zip(KINDS, place.values, strict=True)
    ]
    train, dev = (share * num_places // 10 * len(KINDS) for share in (3, 4))
    splits = _take(rows, {"train": train, "dev": dev, "test": len(rows) - train - dev})
    more = '\n[knowledge]\ndocuments = ["documents/"]\nevidence = "evidence"\n'
    return _task("knowledge", ABOUT_FACTS, splits, output="text", more=more) | documents


def moving(seed: int, num_places: int = 30) -> Files:
    """The facts of `knowledge` with dates: on one day a third of them change.

    Before it each of two facts in three was asked twice: train. After it every fact is asked once,
    in other words: dev and test. Documents have a version for each time. `outdated` is the answer
    that was right before, where it changed.
    """
    inventor = _Inventor(f"moving:{seed}")
    rng = inventor.rng
    places = _places(inventor, num_places)
    facts = [(place, number) for place in places for number in range(len(KINDS))]
    rng.shuffle(facts)
    changed = set(facts[: len(facts) // 3])
    later = {
        place: replace(
            place,
            values=tuple(
                getattr(inventor, kind.draw)() if (place, number) in changed else value
                for number, (kind, value) in enumerate(zip(KINDS, place.values, strict=True))
            ),
        )
        for place in places
    }
    documents = []
    for place in places:
        for version, since in ((place, START), (later[place], CHANGE)):
            if since == START or version != place:
                documents.append(
                    {
                        "id": place.name.lower(),
                        "title": place.name,
                        "text": version.page(rng),
                        "valid_from": since.isoformat(),
                    }
                )
    rng.shuffle(facts)
    known = facts[: 2 * len(facts) // 3]
    before = [_dated(rng, fact, fact[0], ask, START) for fact in known for ask in (0, 1)]
    rng.shuffle(before)
    rng.shuffle(facts)
    after = [_dated(rng, fact, later[fact[0]], 2, CHANGE) for fact in facts]
    num_dev = len(after) // 2
    sizes = {"train": len(before), "dev": num_dev, "test": len(after) - num_dev}
    splits = _take([*before, *after], sizes)
    more = '\n[knowledge]\ndocuments = ["documents.jsonl"]\nevidence = "evidence"\n'
    files = _task("moving", ABOUT_FACTS, splits, output="text", more=more)
    return files | {"documents.jsonl": _lines(documents)}


def _dated(rng: random.Random, fact: tuple[Place, int], now: Place, ask: int, since: date) -> Row:
    """A question about a fact, asked within some months, with the answer that is right then."""
    place, number = fact
    value, old = now.values[number], place.values[number]
    return {
        "text": KINDS[number].asks[ask].format(place=place.name),
        "target": value,
        "time": (since + timedelta(days=rng.randrange(1, 180))).isoformat(),
        "evidence": place.name.lower(),
        "outdated": None if value == old else old,
    }


# ---------------------------------------------------------------- labels

CODES = ("amber", "plum", "slate", "teal")
LETTERS = "ABDFHKLMPRTW"
THINGS = ("lamp", "chair", "desk", "shelf", "rug", "mirror", "clock", "vase", "sofa", "stool")
LOOKS = ("", "new ", "old ", "blue ", "large ", "small ")
MESSAGES = (
    "Article {number}, a {look}{thing}, has come too late.",
    "We ordered the {look}{thing} {number} and it does not fit.",
    "Where is my {look}{thing}? Its number is {number}.",
    "{number}: the {look}{thing} came broken.",
    "Can I give the {look}{thing} {number} back?",
    "Please send another {look}{thing} {number}, thank you.",
)


def _messages(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """Messages about articles, each with the letter that its article's number begins with.

    No number comes twice.
    """
    digits = rng.sample(range(1000, 10_000), count)
    letters = [rng.choice(LETTERS) for _ in range(count)]
    return [
        (
            rng.choice(MESSAGES).format(
                number=f"{letter}{number}", look=rng.choice(LOOKS), thing=rng.choice(THINGS)
            ),
            letter,
        )
        for letter, number in zip(letters, digits, strict=True)
    ]


def convention(seed: int, num_train: int = 500) -> Files:
    """The letter of an article's number says which desk it belongs to; who has what is arbitrary.

    Every number is a word of its own, so that words seen before say nothing.
    """
    rng = random.Random(f"convention:{seed}")
    shuffled = rng.sample(LETTERS, len(LETTERS))
    desk = {letter: CODES[place % len(CODES)] for place, letter in enumerate(shuffled)}
    sizes = {"train": num_train, "dev": num_train // 3, "test": num_train // 3}
    messages = _messages(rng, sum(sizes.values()))
    rows = [{"text": text, "target": desk[letter]} for text, letter in messages]
    return _task("convention", ABOUT_DESKS, _take(rows, sizes), output="label")


def nothing(seed: int, num_train: int = 200) -> Files:
    """The messages of `convention`, each with a label thrown by a die."""
    rng = random.Random(f"nothing:{seed}")
    sizes = {"train": num_train, "dev": num_train // 2, "test": num_train // 2}
    messages = _messages(rng, sum(sizes.values()))
    rows = [{"text": text, "target": rng.choice(CODES)} for text, _ in messages]
    return _task("nothing", ABOUT_DESKS, _take(rows, sizes), output="label")


# ---------------------------------------------------------------- what is known already

PEOPLE = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Jack", "Kate")
PEOPLE += ("Leo", "Mary", "Nina", "Oscar", "Paul", "Rosa", "Sam", "Tom", "Vera", "Walter")
TOWNS = ("Rome", "Paris", "London", "Berlin", "Madrid", "Vienna", "Dublin", "Oslo", "Lisbon")
TOWNS += ("Athens", "Boston", "Chicago", "Tokyo", "Sydney", "Cairo", "Moscow", "Prague", "Warsaw")
TOWNS += ("Geneva", "Toronto", "Milan", "Naples", "Lyon", "Munich", "Hamburg", "Seville")
NUM_SHOWN = 10


def knows_already(seed: int, num_asked: int = 150) -> Files:
    """Where somebody lives, asked right after saying it: nothing to learn and nothing to look up.

    Ten examples show the form of an answer; their towns are in no other answer.
    """
    rng = random.Random(f"knows_already:{seed}")
    towns = rng.sample(TOWNS, len(TOWNS))
    drawn = [(rng.choice(PEOPLE), town) for town in towns[:NUM_SHOWN]]
    drawn += rng.sample(list(itertools.product(PEOPLE, towns[NUM_SHOWN:])), 2 * num_asked)
    rows = [
        {
            "text": f"{name} lives in {town}. Where does {name} live?",
            "target": [f"{name} lives in {town}.", town],
        }
        for name, town in drawn
    ]
    splits = _take(rows, {"train": NUM_SHOWN, "dev": num_asked, "test": num_asked})
    return _task("knows_already", "Answer the question.", splits, output="text")


# ---------------------------------------------------------------- equals

TWINS = ("one", "two")


def twin_scores(
    rng: random.Random, num_examples: int, edge: float = 0.0
) -> dict[str, dict[str, float]]:
    """Right or wrong, by example, of two recipes and the commonest answer.

    Examples are hard or easy for both recipes alike, and each answers with luck of its own. The
    first is right more often by `edge`.
    """
    scores: dict[str, dict[str, float]] = {name: {} for name in (*TWINS, "majority")}
    for number in range(num_examples):
        ease = rng.betavariate(2, 1)
        for name, chance in zip(scores, (ease + edge, ease, 0.25), strict=True):
            scores[name][f"e{number}"] = float(rng.random() < chance)
    return scores
