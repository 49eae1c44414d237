"""A shop's customers ask about their own orders: what does a user's history bring, and whose is it?

    python bench/retail.py FOLDER                   some minutes on two cores
    python bench/retail.py FOLDER --rows 60 --json figures.json

FOLDER holds retail_orders.jsonl: order_id, user_id, status and items (name, price). From it one
task is made in a temporary folder, as docs/task-file.md has it, and weighed once:

    history    Order #W2611340, processed: Water Bottle 47.84 USD, Office Chair 488.81 USD
    row        user james_li_5688 asks: Which of my orders has the Office Chair?    #W2611340

Every customer with an order asks one question, about something that one of their orders has and no
other: which order it is in, or what it cost. Nobody can know that from the question. A customer's
rows are in one split, so that no row of theirs is among the examples.

`history` is given the four nearest of the customer's own records, `nearest-shot` the nearest
examples, which are questions of other customers and their answers, and `zero-shot` neither. Counted
too: the answers that name an order, of the customer or of somebody else.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import knowledge_bases
import rounds
from steelyard.core import Verdict
from steelyard.lifecycle import weigh
from steelyard.tasks import load_task

RECIPES = ("history", "nearest-shot")
ROWS = 438  # all customers with orders
SPLIT = (0.2, 0.4, 0.4)
WHOSE = ("own", "anothers", "nobodys")
ORDER = re.compile(r"#W\d+")


def record(order: Mapping[str, Any]) -> dict[str, str]:
    """An order as a record of its customer."""
    items = ", ".join(f"{item['name']} {item['price']:.2f} USD" for item in order["items"])
    text = f"Order {order['order_id']}, {order['status']}: {items}"
    return {"user": order["user_id"], "text": text}


def questions(orders: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """One question of each customer, by turns of either kind; those who cannot be asked are left
    out."""
    of_user: dict[str, list[tuple[str, str, float]]] = defaultdict(list)
    for order in orders:
        for item in order["items"]:
            of_user[order["user_id"]].append((item["name"], order["order_id"], item["price"]))
    rows = []
    for user, bought in sorted(of_user.items()):
        times = Counter(name for name, _, _ in bought)
        once = [one for one in bought if times[one[0]] == 1]
        if not once:
            continue
        name, order_id, price = random.Random(f"retail:{user}").choice(once)
        asked = (f"Which of my orders has the {name}?", order_id)
        if len(rows) % 2:
            asked = (f"What did I pay for the {name}?", f"{price:.2f}")
        rows.append({"id": user, "user": user, "question": asked[0], "answer": asked[1]})
    return rows


def prepare(source: Path, folder: Path, num_rows: int = ROWS) -> Path:
    """The task of these orders in an empty folder; its file comes back."""
    orders = knowledge_bases.read(source / "retail_orders.jsonl")
    _write(folder / "orders.jsonl", map(record, orders))
    _write(folder / "questions.jsonl", questions(orders)[:num_rows])
    task = folder / "task.toml"
    task.write_text(
        f"""name = "retail"
instruction = "Answer the customer's question about their orders in a few words."

[data]
files = ["questions.jsonl"]
input = "question"
target = "answer"
user = "user"
group = "user"
split = {list(SPLIT)}

[output]
type = "text"

[knowledge]
history = "orders.jsonl"

[score]
scorer = "contains"
""",
        encoding="utf-8",
    )
    return task


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(dict(row))}\n" for row in rows), encoding="utf-8")


def named_orders(home: Path, owners: Mapping[str, str]) -> dict[str, Counter[str]]:
    """For each recipe, how many answers name the customer's own order, another's, or one that is
    none; read from the stored answers of all splits."""
    query = "SELECT recipe, example_id, row FROM answer JOIN trial ON key = trial"
    with closing(sqlite3.connect(home / "steelyard.db")) as connection:
        answers = connection.execute(query).fetchall()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for recipe, user, row in answers:
        named = set(ORDER.findall(json.loads(row)["answer"]["text"]))
        whose = {
            "own" if owners.get(n) == user else "anothers" if n in owners else "nobodys"
            for n in named
        }
        counts[recipe].update(whose)
        counts[recipe]["answers"] += 1
    return counts


def print_verdict(verdict: Verdict, named: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """Print what was measured; the same comes back as records."""
    lines = [["recipe", "dev", "test", "prompt tokens", "names own order", "another's", "no one's"]]
    for recipe in verdict.recipes:
        own = named.get(recipe.name, {})
        scores = [
            "" if s is None else f"{s.score:.3f} [{s.interval[0]:.3f}, {s.interval[1]:.3f}]"
            for s in (recipe.dev, recipe.test)
        ]
        tokens = recipe.prompt_tokens
        lines.append(
            [
                recipe.name,
                *scores,
                "" if not tokens else f"{tokens:.0f}",
                *(f"{own.get(whose, 0)} of {own.get('answers', 0)}" for whose in WHOSE),
            ]
        )
    rounds.print_lines(verdict.task, lines)
    print(f"\n{verdict.reason}")
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with retail_orders.jsonl")
    parser.add_argument("--rows", type=int, default=ROWS, help="of all splits together")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    print(rounds.machine())
    orders = knowledge_bases.read(options.folder / "retail_orders.jsonl")
    owners = {order["order_id"]: order["user_id"] for order in orders}
    with tempfile.TemporaryDirectory() as folder:
        task = load_task(prepare(options.folder, Path(folder), options.rows))
        home = Path(folder) / "home"
        verdict = weigh(task, home=home, recipes=RECIPES)
        records = print_verdict(verdict, named_orders(home, owners))
    rounds.save(options.json, records)


if __name__ == "__main__":
    main()
