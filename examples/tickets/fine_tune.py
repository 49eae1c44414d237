"""Fine-tunes a model on tickets by OpenAI's API, and asks the new model about others.

It is written for the hosted API and knows nothing of Steelyard. To have it run here:

    steelyard serve --base gpt-4o-mini=default
    OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=none \
        python examples/tickets/fine_tune.py --model gpt-4o-mini
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import time
from pathlib import Path
from typing import Any

from openai import OpenAI

TICKETS = Path(__file__).parent / "tickets.csv"
INSTRUCTION = "Decide which queue of our shop's support this message belongs to."
ENDED = ("succeeded", "failed", "cancelled")


def prompt(ticket: dict[str, str]) -> list[Any]:
    """What the model is asked about a ticket."""
    return [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": ticket["message"]},
    ]


def upload(client: OpenAI, tickets: list[dict[str, str]], name: str) -> str:
    """Tickets and their queues as a file of chats; its id."""
    lines = [
        json.dumps({"messages": [*prompt(t), {"role": "assistant", "content": t["queue"]}]})
        for t in tickets
    ]
    content = io.BytesIO("\n".join(lines).encode())
    return client.files.create(file=(name, content), purpose="fine-tune").id


def wait(client: OpenAI, id: str, seconds: float) -> Any:
    """The job once it has ended; its events are printed as they come."""
    told: set[str] = set()
    while True:
        job = client.fine_tuning.jobs.retrieve(id)
        for event in reversed(list(client.fine_tuning.jobs.list_events(id, limit=100))):
            if event.id not in told:
                told.add(event.id)
                print(event.message)
        if job.status in ENDED:
            return job
        time.sleep(seconds)


def main() -> None:
    """Files, job, events, and then the new model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gpt-4o-mini")
    parser.add_argument("--rows", type=int, default=60, help="tickets to learn from")
    parser.add_argument("--asked", type=int, default=40, help="tickets to ask about")
    parser.add_argument("--epochs", type=int, help="as the server chooses, unless it is given")
    parser.add_argument("--poll", type=float, default=2.0, help="seconds between two looks")
    options = parser.parse_args()

    with TICKETS.open(encoding="utf-8", newline="") as file:
        tickets = list(csv.DictReader(file))
    random.Random(1).shuffle(tickets)
    asked, tickets = tickets[: options.asked], tickets[options.asked :]
    customers = {ticket["customer"] for ticket in asked}
    tickets = [ticket for ticket in tickets if ticket["customer"] not in customers]
    training, validation = tickets[: options.rows], tickets[options.rows :][: options.rows // 4]

    client = OpenAI()
    job = client.fine_tuning.jobs.create(
        model=options.model,
        training_file=upload(client, training, "train.jsonl"),
        validation_file=upload(client, validation, "valid.jsonl"),
        suffix="tickets",
        seed=1,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": options.epochs or "auto"}},
        },
    )
    job = wait(client, job.id, options.poll)
    if job.fine_tuned_model is None:
        raise SystemExit(f"{job.status}: {job.error.message if job.error else ''}")

    right = 0
    for ticket in asked:
        reply = client.chat.completions.create(
            model=job.fine_tuned_model, messages=prompt(ticket), temperature=0, max_tokens=12
        )
        right += reply.choices[0].message.content == ticket["queue"]
    print(f"{job.fine_tuned_model} names the queue of {right} of {len(asked)} other tickets")


if __name__ == "__main__":
    main()
