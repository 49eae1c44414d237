"""Facts → advice: which rules hold, what they add up to, and what else would be worth knowing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from steelyard.advice.facts import QUESTIONS, Facts, with_derived
from steelyard.advice.rules import RULES, STRENGTHS, Rule
from steelyard.core import Json
from steelyard.measure.sentences import minimum_difference

FIRST = 4  # recipes that a plan begins with
# The ways to adapt, from the one that asks least to the one that asks most.
WAYS = (
    *("zero-shot", "tfidf", "few-shot", "head", "nearest-shot", "gepa", "searched-shot", "rag"),
    *("history", "rag+shots", "lora", "lora+rag", "distil", "tapt+lora", "lora+dpo"),
    *("cpt+lora", "full"),
)
NEEDS_DOCUMENTS = ("rag", "rag+shots", "lora+rag", "cpt+lora")


@dataclass(frozen=True, slots=True)
class Advice:
    """A plan before measuring. `first` and `skip` are recipes, the best bet first.

    `rules` hold, each a line of reasons; `unknown` are questions whose answer may add a rule.
    """

    facts: Facts
    rules: tuple[Rule, ...]
    first: tuple[str, ...]
    skip: tuple[str, ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def bet(self) -> str | None:
        """The recipe that is expected to be chosen."""
        return self.first[0] if self.first else None

    @property
    def sentence(self) -> str:
        """The plan in words."""
        if not self.first:
            return "Nothing that is known speaks for one recipe over another: weigh them all."
        rest = f", then {_listed(self.first[1:])}" if len(self.first) > 1 else ""
        left = f" Leave out {_listed(self.skip)} at first." if self.skip else ""
        return f"Try {self.first[0]} first{rest}.{left} Then measure: it overrides all of this."

    def to_json(self) -> dict[str, Json]:
        """The machine-readable result; docs/advise.md describes every key."""
        return {
            "sentence": self.sentence,
            "bet": self.bet,
            "first": list(self.first),
            "skip": list(self.skip),
            "reasons": [
                {
                    "rule": rule.name,
                    "about": rule.about,
                    "say": rule.say,
                    "try": list(rule.first),
                    "skip": list(rule.skip),
                    "strength": rule.strength,
                    "source": rule.source,
                }
                for rule in self.rules
            ],
            "facts": dict(self.facts),
            "unknown": [{"fact": f, "question": QUESTIONS[f].question} for f in self.unknown],
            "notes": list(self.notes),
        }


def advise_on(facts: Facts, *, fitting: Collection[str] | None = None) -> Advice:
    """What the rules add up to. `fitting` are the recipes that a task has, where there is one.

    A recipe's points are those of the rules that say to try it, less those that say to skip it;
    of equals the one that asks least comes first.
    """
    facts = with_derived(facts)
    holding = tuple(rule for rule in RULES if rule.holds(facts))
    known = _possible(facts, fitting)
    points = dict.fromkeys(known, 0)
    for rule in holding:
        for names, sign in ((rule.first, 1), (rule.skip, -1)):
            for name in names:
                if name in points:
                    points[name] += sign * STRENGTHS[rule.strength]
    first = sorted((n for n in known if points[n] > 0), key=lambda n: (-points[n], known.index(n)))
    skip = [n for n in known if points[n] < 0]
    hanging = [name for rule in RULES if rule.holds(facts) is None for name in rule.when]
    unknown = [name for name in QUESTIONS if name in hanging and name not in facts]
    return Advice(
        facts=facts,
        rules=holding,
        first=tuple(first[:FIRST]),
        skip=tuple(skip),
        unknown=tuple(unknown),
        notes=_notes(facts),
    )


def _possible(facts: Facts, fitting: Collection[str] | None) -> list[str]:
    """The recipes that may be had, those of a suffix beside their plain form."""
    ways = [
        way + suffix
        for way in WAYS
        for suffix in ("", "+constrained")
        if not suffix or facts.get("output") == "json"
    ]
    if fitting is not None:
        return [way for way in ways if way in fitting]
    if facts.get("documents") is False:
        ways = [way for way in ways if way.removesuffix("+constrained") not in NEEDS_DOCUMENTS]
    if facts.get("output") != "label":
        ways = [way for way in ways if way != "head"]
    if facts.get("users") is not True:
        ways = [way for way in ways if not way.startswith("history")]
    return ways


def _notes(facts: Facts) -> tuple[str, ...]:
    """What a measurement on these rows will be able to tell."""
    dev = facts.get("dev")
    if isinstance(dev, bool | str) or dev is None or dev < 1:
        return ()
    smallest = minimum_difference(int(dev))
    said = (
        f"With {int(dev):,} examples to measure on, differences under {smallest:.2f} are likely to "
        "go unseen, if two recipes disagree on three in ten"
    )
    few = ": expect “cannot tell” for less than that, and take the cheaper one."
    return (said + (few if smallest > 0.10 else "."),)


def _listed(names: Collection[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
