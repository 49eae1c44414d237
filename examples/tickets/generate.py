"""Writes the tickets example: invented messages to a shop, each with the queue it belongs to.

python examples/tickets/generate.py                 # the committed file, byte for byte
python examples/tickets/generate.py --seed 8 --rows 300 --out other.csv
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path

# What happened, as customers put it. The words of one situation turn up in the others.
SITUATIONS: dict[str, tuple[str, ...]] = {
    "late": (
        "The {item} should have come on {day} and there is no sign of it.",
        "Tracking has said the same thing since {day}.",
        "It says handed over on {day}, but nobody here has seen a {item}.",
        "I am still waiting for the {item} I paid {amount} for.",
        "Where is my {item}?",
        "The driver never turned up on {day}.",
        "Half of my order came, the {item} did not.",
    ),
    "damaged": (
        "The {item} arrived in pieces.",
        "The box was open and the {item} inside was wet.",
        "I unpacked the {item} and the glass was broken.",
        "On {day} the driver brought a {item} with a bent frame.",
        "My new {item} came out of the parcel with a crack.",
        "The {item} was broken before I could use it once.",
        "Somebody must have dropped the parcel, the {item} is ruined.",
    ),
    "faulty": (
        "The {item} stopped working on {day}.",
        "After a year of use my {item} is broken.",
        "My {item} will not switch on any more.",
        "The {item} smells of burning after ten minutes.",
        "The {item} worked well for a month, now it starts again by itself.",
        "A button came off the {item} I have had since spring.",
        "My old {item} has the same fault again.",
    ),
    "unwanted": (
        "The {item} that came on {day} is fine, but it is too big.",
        "I do not need the {item} any more.",
        "We already own a {item}, this one was a gift.",
        "I changed my mind about the {item}.",
        "The colour of the {item} is not for us.",
        "The {item} is still in its box, we never used it.",
        "I took the {item} home on {day} and my wife does not like it.",
    ),
    "charged": (
        "I was charged {amount} twice for the {item}.",
        "My statement shows {amount}, but the {item} costs less.",
        "My card was refused and yet {amount} has gone.",
        "The discount was not taken off when I ordered the {item}.",
        "There is a payment of {amount} on {day} that I do not know.",
        "The invoice for the {item} says {amount}, that is not right.",
        "I sent the {item} back in spring and {amount} is missing on my card.",
    ),
    "locked": (
        "I cannot sign in to see my invoice for the {item}.",
        "The page says that I am locked out, so I cannot track the {item}.",
        "The link for a new password has not come since {day}.",
        "The code that you send to my phone is wrong.",
        "I want to cancel the {item} and the page does not know my password.",
        "Somebody else's orders show up when I open my page.",
        "My e-mail address has changed and the page does not take the new one.",
    ),
    "not sent": (
        "I ordered a {item} this morning.",
        "My order of a {item} has not left yet.",
        "You have not packed my {item} so far, I think.",
        "On {day} I paid {amount} for a {item} that is to go out next week.",
        "My {item} is still being prepared.",
        "The status of the {item} is open.",
        "I bought two of the {item} an hour ago.",
    ),
    "curious": (
        "Can I send the {item} back if it is too big?",
        "How long is the guarantee on the {item}, and who mends it?",
        "Can the {item} be paid in two parts of {amount}?",
        "If I order the {item} today, does it come by {day}?",
        "Does the {item} break easily when it is dropped?",
        "Do I need an account with a password to buy the {item}?",
        "Which {item} would you take for a small flat?",
    ),
}
# What they want, in words that fit any situation.
WISHES: dict[str, tuple[str, ...]] = {
    "refund": (
        "I want my money back.",
        "Please put the {amount} back on my card.",
        "Do not send another one, just the money.",
        "A refund will do.",
        "Can I have the {amount} again?",
        "I would like to be paid back, not a new one.",
    ),
    "another": (
        "Please send me another one.",
        "Can I have a different one instead?",
        "I do not want my money back, I want one that is right.",
        "Could you swap it for another {item}?",
        "No refund please, a new one.",
        "Could I get one in its place?",
    ),
    "advice": (
        "What happens now?",
        "What should I do?",
        "Please let me know.",
        "Can you look into it?",
        "How long will it take?",
        "Tell me more, please.",
    ),
    "answer": (
        "Please let me know.",
        "A short answer is enough.",
        "I would like to know before I buy.",
        "Tell me more, please.",
    ),
    "cancel": (
        "Please cancel it.",
        "I call the whole thing off.",
        "Do not send it to me.",
        "Take it off my list, please.",
    ),
    "change": (
        "Please send it to my office instead.",
        "I want one more of them.",
        "The house number has to be 14.",
        "Could it come a week later?",
    ),
    "complain": (
        "And the man on the phone was rude about it.",
        "I have explained this three times now.",
        "Nobody has answered since {day}.",
        "You promised to ring me on {day} and did not.",
        "I am let down by how you treat people.",
        "Your chat keeps sending me away.",
    ),
}
# How this shop sorts them. Neither half decides alone: something broken goes to one of four queues.
QUEUES: dict[tuple[str, str], str] = {
    ("late", "advice"): "Delivery",
    ("late", "another"): "Delivery",
    ("late", "refund"): "Returns and refunds",
    ("late", "cancel"): "Order changes",
    ("late", "complain"): "Complaints",
    ("damaged", "advice"): "Delivery",
    ("damaged", "another"): "Delivery",
    ("damaged", "refund"): "Returns and refunds",
    ("damaged", "complain"): "Complaints",
    ("faulty", "advice"): "Repairs",
    ("faulty", "another"): "Repairs",
    ("faulty", "refund"): "Returns and refunds",
    ("faulty", "complain"): "Complaints",
    ("unwanted", "advice"): "Returns and refunds",
    ("unwanted", "another"): "Order changes",
    ("unwanted", "refund"): "Returns and refunds",
    ("charged", "advice"): "Billing",
    ("charged", "refund"): "Billing",
    ("charged", "complain"): "Complaints",
    ("locked", "advice"): "Account access",
    ("locked", "complain"): "Complaints",
    ("not sent", "advice"): "Order changes",
    ("not sent", "cancel"): "Order changes",
    ("not sent", "change"): "Order changes",
    ("not sent", "refund"): "Billing",
    ("curious", "answer"): "Product advice",
}
ASIDES = (
    *("", "", "", "I called on {day}.", "I paid {amount} by card.", "The driver was quick."),
    *("I ordered on {day}.", "My last {item} broke.", "The guarantee runs until {day}."),
    *("The invoice was right.", "Thanks for the help so far.", "My account is new."),
)
ITEMS = (
    *("kettle", "desk lamp", "router", "backpack", "blender", "keyboard", "rain coat", "monitor"),
    *("bike light", "toaster", "office chair", "camera", "tent", "clock radio", "water filter"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "the 3rd", "the 14th")
AMOUNTS = ("£12.50", "£19", "£34.99", "£48", "£75", "£120")
OPENINGS = ("", "", "Hello,", "Hi there,", "Good morning,", "Dear team,", "hey,")
CLOSINGS = ("", "", "", "Thanks.", "Regards", "Bye")


def message(rng: random.Random, queue: str) -> str:
    """One message for this queue: what happened, perhaps an aside, what the customer wants."""
    situation, wish = rng.choice([pair for pair, to in QUEUES.items() if to == queue])
    parts = (
        rng.choice(OPENINGS),
        rng.choice(SITUATIONS[situation]),
        rng.choice(ASIDES),
        rng.choice(WISHES[wish]),
        rng.choice(CLOSINGS),
    )
    text = " ".join(part for part in parts if part)
    slots = {"item": rng.choice(ITEMS), "day": rng.choice(DAYS), "amount": rng.choice(AMOUNTS)}
    return hurried(rng, text.format(**slots))


def hurried(rng: random.Random, text: str) -> str:
    """A third of the messages as typed in a hurry: small letters, or two letters swapped."""
    if rng.random() < 0.15:
        return text.lower()
    if rng.random() < 0.2:
        at = rng.randrange(1, len(text) - 2)
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rows", type=int, default=600, help="number of messages")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("tickets.csv"))
    args = parser.parse_args()
    rng = random.Random(args.seed)
    queues = sorted(set(QUEUES.values()))
    num_customers = max(1, args.rows * 2 // 5)  # so that most write more than once
    taken: set[str] = set()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("ticket", "customer", "message", "queue"))
        for number in range(args.rows):
            queue = rng.choice(queues)
            while (text := message(rng, queue)) in taken:
                pass
            taken.add(text)
            writer.writerow((f"T{number:04}", f"C{rng.randrange(num_customers):04}", text, queue))


if __name__ == "__main__":
    main()
