"""What to try before anything is measured: rules of published evidence as data, and who was right.

`facts.toml` lists what may be known of a task, `rules.toml` what follows from it. Nothing here
runs a model; the verb in `lifecycle` asks for what only a model can tell.
"""

from steelyard.advice.facts import QUESTIONS, Facts, Question, facts_of, parse_fact, with_derived
from steelyard.advice.given import Advice, advise_on
from steelyard.advice.hindsight import compared, track_record
from steelyard.advice.rules import RULES, Rule

__all__ = [
    "QUESTIONS",
    "RULES",
    "Advice",
    "Facts",
    "Question",
    "Rule",
    "advise_on",
    "compared",
    "facts_of",
    "parse_fact",
    "track_record",
    "with_derived",
]
