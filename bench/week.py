"""A week of a release, simulated in minutes: what changes each day, and what a refresh does.

    python bench/week.py [--out docs/week.svg] [--json week.json]

The fake model answers, so the answers are those of a rule and not of a language model; all else is
what runs in production: rows, documents, feedback, `refresh --due` once a day, the decision, the
publishing and the rolling back. Two tasks are served: `desk` sorts tickets by its nearest examples,
`inns` looks answers up in documents.

    Mon  nothing changes                                     → nothing
    Tue  documents change: half of the inns get a new keeper → the index of `inns`
    Wed  a convention changes: tickets about routers are for login. Users correct; accepted
                                                             → the examples of `desk`
    Thu  nothing changes                                     → nothing
    Fri  poisoned rows in train and dev                      → refused: worse on the old rows
    Sat  poison that the old rows do not see                 → published
    Sun  users score it low                                  → rolled back
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

from steelyard.core import Query
from steelyard.lifecycle import (
    find_release,
    open_home,
    open_release,
    publish,
    refresh_due,
    reviewing,
    weigh,
)
from steelyard.store.traffic import (
    Feedback,
    Outcome,
    Request,
    Traffic,
    add_feedback,
    add_outcomes,
    add_requests,
)
from steelyard.tasks import load_task

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WORDS = {
    "billing": ["invoice", "charge", "refund", "card", "payment", "receipt"],
    "login": ["password", "account", "locked", "signin", "email", "username"],
    "shipping": ["parcel", "courier", "late", "tracking", "address", "delivery"],
}
ROUTERS = ["router", "modem", "wifi", "cable", "signal", "antenna"]
PRINTERS = ["printer", "toner", "paper", "scanner", "cartridge", "tray"]
TASK = """name = "{name}"
instruction = "Answer."

[data]
train = "train.jsonl"
dev = "dev.jsonl"
test = "test.jsonl"
input = "text"
target = "target"

[output]
type = "{kind}"

[score]
scorer = "{scorer}"

[models]
base = ["fake"]
usd_per_machine_hour = 0
{more}
[refresh]
every_hours = 24
"""


@dataclass(frozen=True)
class Event:
    """What a refresh, or giving back, did to a release on a day."""

    day: int
    name: str
    happened: str
    way: str
    champion: int
    sentence: str


@dataclass
class World:
    """A folder with two tasks and a home; what is right changes as the week goes."""

    folder: Path
    rng: random.Random
    keepers: dict[str, str] = field(default_factory=dict)
    clean: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def start(self) -> None:
        """Monday morning: both tasks weighed and published."""
        rows = [self.ticket(list(WORDS)[n % 3]) for n in range(180)]
        self.write("desk", {"train": rows[:90], "dev": rows[90:140], "test": rows[140:]})
        (self.folder / "desk" / "task.toml").write_text(
            TASK.format(name="desk", kind="label", scorer="label", more=""), encoding="utf-8"
        )
        self.keepers = {f"{a}{b}": f"keeper{a}{b}" for a in "kmprst" for b in "abcdefgh"}
        self.write_inns()
        (self.folder / "inns" / "task.toml").write_text(
            TASK.format(
                name="inns",
                kind="text",
                scorer="contains",
                more='\n[knowledge]\ndocuments = ["documents/"]\n',
            ),
            encoding="utf-8",
        )
        for name, recipe in (("desk", "nearest-shot"), ("inns", "rag")):
            task = load_task(self.folder / name / "task.toml")
            weigh(task, home=self.home, recipes=[recipe])
            publish(task, home=self.home, recipe=recipe)

    def ticket(self, label: str, words: Sequence[str] | None = None) -> dict[str, Any]:
        chosen = self.rng.sample(list(words or WORDS[label]), 4)
        return {"text": f"{' '.join(chosen)} no{self.rng.randrange(10**6)}", "target": label}

    def write_inns(self) -> None:
        folder = self.folder / "inns" / "documents"
        folder.mkdir(parents=True, exist_ok=True)
        for inn, keeper in self.keepers.items():
            text = f"The keeper of the inn {inn}inn is called {keeper}."
            (folder / f"{inn}.md").write_text(text, encoding="utf-8")
        forms = {"train": "{}inn keeper?", "dev": "Who keeps {}inn?", "test": "Who is at {}inn?"}
        rows = {
            name: [{"text": form.format(i), "target": k} for i, k in self.keepers.items()]
            for name, form in forms.items()
        }
        self.write("inns", rows)

    def write(
        self, task: str, rows: dict[str, list[dict[str, Any]]], *, more: bool = False
    ) -> None:
        (self.folder / task).mkdir(parents=True, exist_ok=True)
        for name, part in rows.items():
            path = self.folder / task / f"{name}.jsonl"
            before = path.read_text(encoding="utf-8") if more else ""
            text = "".join(json.dumps(row) + "\n" for row in part)
            path.write_text(before + text, encoding="utf-8")

    def ask(self, rows: Sequence[dict[str, Any]], day: int, *, correct: bool = False) -> float:
        """Users ask `desk`, say whether it was right, and perhaps what was; the share right."""
        with open_home(self.home) as opened:
            served = open_release(find_release(opened, "desk"), opened)
            queries = [Query(row["text"]) for row in rows]
            answers = served.system.answer_many(queries)
            release = served.release.id
        ids = [f"day{day}-{self.rng.randrange(10**9)}-{n}" for n in range(len(rows))]
        right = [answer.value == row["target"] for answer, row in zip(answers, rows, strict=True)]
        traffic = Traffic(self.home / "traffic.db")
        with traffic.writing() as connection:
            time = (datetime(2026, 5, 4, tzinfo=UTC) + timedelta(days=day)).isoformat()
            for id, row, answer, good in zip(ids, rows, answers, right, strict=True):
                add_requests(
                    connection, [Request(id, release, "/v1/chat", "", "", row["text"], time)]
                )
                add_outcomes(connection, [Outcome(id, answer.text, None, True, 9, 0, 1, None, 1.0)])
                told = None if good or not correct else row["target"]
                add_feedback(connection, Feedback(id, score=float(good), correction=told))
        traffic.close()
        return sum(right) / len(right)

    def accept_corrections(self) -> None:
        """Somebody looks at what users said, and accepts it."""
        with open_home(self.home, lock=None) as opened:
            ids = [
                given.feedback.id
                for given in reviewing.waiting(opened)
                if given.feedback.correction is not None
            ]
            reviewing.accept(opened, ids)

    def poison(self) -> None:
        """Copies of all that `desk` has, with another answer."""
        files = {name: self.folder / "desk" / f"{name}.jsonl" for name in ("train", "dev")}
        self.clean = {name: file.read_text(encoding="utf-8") for name, file in files.items()}
        lines = [line for text in self.clean.values() for line in text.splitlines()]
        texts = [json.loads(line)["text"] for line in lines]
        learned = [{"text": f"{text} really now", "target": "billing"} for text in texts]
        asked = [{"text": f"{text} really", "target": "billing"} for text in texts[:90]]
        self.write("desk", {"train": learned, "dev": asked}, more=True)

    def live(self, day: int) -> str:
        """What happens on a day before its refresh, in words."""
        usual = [self.ticket(list(WORDS)[n % 3]) for n in range(60)]
        routers = [self.ticket("login", ROUTERS) for _ in range(90)]
        if day == 1:
            moved = list(self.keepers)[::2]
            self.keepers |= {inn: f"other{inn}" for inn in moved}
            self.write_inns()
            return "half of the inns get a new keeper"
        if day == 2:
            self.ask(routers, day, correct=True)
            self.accept_corrections()
            return "routers are for login: users correct"
        if day == 4:
            self.poison()
            return "poisoned rows, in train and dev"
        if day == 5:
            for name, text in self.clean.items():  # somebody took the poison out
                (self.folder / "desk" / f"{name}.jsonl").write_text(text, encoding="utf-8")
            self.ask(usual, day)
            wrong = [self.ticket("shipping", PRINTERS) for _ in range(60)]
            self.write("desk", {"train": wrong[:40], "dev": wrong[40:]}, more=True)
            return "poison about printers, which no old row asks about"
        if day == 6:
            self.ask([self.ticket("login", PRINTERS) for _ in range(60)], day)
            return "users ask about printers, and score it low"
        self.ask(usual, day)
        return "nothing changes"


def week(folder: Path, seed: int = 0) -> Iterator[Event]:
    """What every day's `refresh --due` did."""
    world = World(folder, random.Random(seed))
    world.start()
    began = datetime.now(UTC)
    for day in range(len(DAYS)):
        happened = world.live(day)
        now = began + timedelta(hours=25 * (day + 1))
        for done in refresh_due(home=world.home, now=now):
            with open_home(world.home) as opened:
                champion = opened.releases.aliases(done.name)["champion"]
            back = done.sentence.startswith("Rolled back")
            way = "rolled back" if back else done.way
            yield Event(day, done.name, happened, way, champion, done.sentence)


# ---------------------------------------------------------------- the picture

LEFT, WIDTH, TOP, LANE = 60, 140, 76, 92  # pixels
COLOURS = {
    "nothing": "#9aa5b1",
    "index": "#2f7fc1",
    "examples": "#2a9d5c",
    "weights": "#8a5cc2",
    "both": "#8a5cc2",
    "refused": "#d98e04",
    "rolled back": "#c8372d",
}


def kind(event: Event) -> str:
    """What is drawn: a way, `refused` where something was tried and left, or `rolled back`."""
    return "refused" if event.way == "nothing" and "worse" in event.sentence else event.way


def draw(events: Sequence[Event]) -> str:
    """The week as an SVG: a lane for each release, a mark for each refresh."""
    names = list(dict.fromkeys(event.name for event in events))
    height = TOP + LANE * len(names) + 20
    width = LEFT + WIDTH * len(DAYS) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, sans-serif" font-size="11">',
        "<title>A week of two releases, refreshed once a day</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for day, name in enumerate(DAYS):
        x = LEFT + day * WIDTH
        parts.append(f'<text x="{x + 6}" y="20" font-weight="bold" font-size="13">{name}</text>')
        happened = next((e.happened for e in events if e.day == day), "")
        for line, text in enumerate(_lines(happened, 24)):
            parts.append(f'<text x="{x + 6}" y="{34 + 13 * line}" fill="#52606d">{text}</text>')
        parts.append(f'<line x1="{x}" y1="8" x2="{x}" y2="{height - 10}" stroke="#e4e7eb"/>')
    for lane, name in enumerate(names):
        y = TOP + LANE * lane + 36
        parts.append(f'<text x="8" y="{y + 4}" font-weight="bold">{escape(name)}</text>')
        end = LEFT + WIDTH * len(DAYS)
        parts.append(f'<line x1="{LEFT}" y1="{y}" x2="{end}" y2="{y}" stroke="#cbd2d9"/>')
        for day in range(len(DAYS)):
            mine = [e for e in events if (e.name, e.day) == (name, day)]
            for place, event in enumerate(mine):
                x = LEFT + day * WIDTH + 24 + 70 * place
                said = kind(event)
                parts.append(
                    f'<circle cx="{x}" cy="{y}" r="7" fill="{COLOURS[said]}">'
                    f"<title>{escape(event.sentence)}</title></circle>"
                    f'<text x="{x - 8}" y="{y - 14}">{said}</text>'
                    f'<text x="{x - 8}" y="{y + 22}" fill="#52606d">v{event.champion}</text>'
                )
    return "\n".join([*parts, "</svg>\n"])


def _lines(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [escape(line) for line in lines]


def main() -> None:
    """Run the week, print it, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/week.svg"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        events = []
        for event in week(Path(folder), asked.seed):
            events.append(event)
            said = f"{DAYS[event.day]} {event.name}@{event.champion} {kind(event)}"
            print(f"{said}: {event.sentence}", flush=True)
    asked.out.write_text(draw(events), encoding="utf-8")
    if asked.json is not None:
        asked.json.write_text(json.dumps([asdict(e) for e in events], indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
