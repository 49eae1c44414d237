"""From an answer and its target to a score in [0, 1].

    exact       1 when both are the same: strings after stripping, JSON values as JSON
    label       1 when the label is right; macro-F1 beside the accuracy
    fields      micro-F1 over the fields of a JSON object (fields.py)
    tokens_f1   F1 over bags of words, as SQuAD counts them
    rouge_l     ROUGE-L F1 of one text against one text
    chrf        chrF / 100
    contains    1 when the target, or every item of a list target, occurs as whole words
    python:module:function   the user's own, f(answer_value, target) → a number in [0, 1]

Every scorer gives an invalid answer 0: it is a wrong answer, and `valid` in each summary says
how many there were. An answer without value because it failed is never scored at all.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from steelyard.core import Answer, Json, Output, Score, Scorer
from steelyard.errors import TaskError, TrialError, unknown
from steelyard.measure.fields import FieldsScorer, share
from steelyard.measure.normalise import (
    UNSPACED,
    as_text,
    bare_words,
    collapse,
    is_too_deep,
    text,
    words,
)

PYTHON = "python:module:function"


def get_scorer(name: str, output: Output) -> Scorer:
    """The scorer of that name, for answers of that output type.

    Raises:
        TaskError: the name is not known, the scorer does not fit the output type, or the user's
            function cannot be imported or called with an answer and a target.
    """
    if name.startswith("python:"):
        return FunctionScorer(name, user_function(name))
    if name not in SCORERS:
        raise TaskError(unknown("scorer", name, [*SCORERS, PYTHON]))
    if output.type not in OUTPUT_TYPES.get(name, (output.type,)):
        raise TaskError(
            f'scorer "{name}" needs an output of type {" or ".join(OUTPUT_TYPES[name])}, and this '
            f'task\'s is "{output.type}". Choose another scorer, or change [output] type.'
        )
    return SCORERS[name]


# ---------------------------------------------------------------- an answer against its target


def exact(answer: Json, target: Json) -> float:
    """1 when both are the same: strings after stripping, other JSON values as JSON.

    >>> exact(" yes", "yes"), exact({"a": 1.0}, {"a": 1}), exact(True, 1)
    (1.0, 1.0, 0.0)
    """
    if isinstance(answer, str) and isinstance(target, str):
        return float(answer.strip() == target.strip())
    return float(_same(answer, target))


def _same(a: Json, b: Json) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return bool(a == b)


def tokens_f1(answer: Json, target: Json) -> float:
    """F1 over the bags of words of answer and target.

    >>> tokens_f1("The cat sat.", "a cat sat down")
    0.8

    Source: Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250 (its F1 metric).
    """
    ours, theirs = bare_words(as_text(answer)), bare_words(as_text(target))
    if not ours or not theirs:
        return float(ours == theirs)
    common = (Counter(ours) & Counter(theirs)).total()
    return 2 * common / (len(ours) + len(theirs))


def rouge_l(answer: Json, target: Json) -> float:
    """F1 over the longest common subsequence of words.

    >>> rouge_l("police killed the gunman", "police kill the gunman")
    0.75

    Source: Lin 2004, https://aclanthology.org/W04-1013, section 3.1, with beta = 1.
    """
    ours, theirs = words(as_text(answer)), words(as_text(target))
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * common_subsequence(ours, theirs) / (len(ours) + len(theirs))


def common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of the longest common subsequence, a row of the table at a time in one integer.

    A zero bit in `row` marks a position of `a` where the length grows by one.

    Source: Hyyrö 2004, Bit-parallel LCS-length computation revisited.
    """
    places: dict[str, int] = {}
    for place, token in enumerate(a):
        places[token] = places.get(token, 0) | 1 << place
    everywhere = (1 << len(a)) - 1
    row = everywhere
    for token in b:
        met = row & places.get(token, 0)
        row = (row + met | row - met) & everywhere
    return len(a) - row.bit_count()


def chrf(answer: Json, target: Json) -> float:
    """chrF of one text against one text, in [0, 1].

    Source: Popović 2015, https://aclanthology.org/W15-3049, as sacrebleu computes it.
    """
    from sacrebleu.metrics import CHRF

    ours, theirs = as_text(answer), as_text(target)
    if ours.strip() == theirs.strip():  # sacrebleu gives two empty texts 0
        return 1.0
    return min(1.0, float(CHRF().sentence_score(ours, [theirs]).score) / 100)


def contains(answer: Json, target: Json) -> float:
    """1 when the target, or every item of a list target, occurs in the answer as whole words.

    "no" does not occur in "I know". Nothing expected is met by an empty answer only.

    >>> contains("It's Paris, in France.", ["paris", "France"]), contains("I know", "no")
    (1.0, 0.0)
    """
    place = collapse(as_text(answer))
    wanted = [text(as_text(item)) for item in (target if isinstance(target, list) else [target])]
    if not any(wanted):
        return float(not place)
    return float(all(_occurs(item, place) for item in wanted))


_IN_WORD = rf"[^\W{UNSPACED}]"  # scripts without spaces have no edges of words


def _occurs(wanted: str, place: str) -> bool:
    before = rf"(?<!{_IN_WORD})" if re.match(_IN_WORD, wanted) else ""
    after = rf"(?!{_IN_WORD})" if re.search(rf"{_IN_WORD}\Z", wanted) else ""
    return re.search(before + re.escape(wanted) + after, place) is not None


# ---------------------------------------------------------------- the scorers


@dataclass(frozen=True)
class FunctionScorer:
    """What a function says of an answer's value and the target."""

    name: str
    function: Callable[[Json, Json], float]

    def score(self, answer: Answer, target: Json) -> Score:
        """The function's number; an invalid answer is 0 without asking it."""
        valid = answer.valid and not is_too_deep(answer.value)
        return Score(self.function(answer.value, target) if valid else 0.0, {"valid": valid})

    def summarise(self, scores: Sequence[Score]) -> dict[str, Json]:
        """The share of valid answers."""
        return {"valid": _valid_share(scores)}


@dataclass(frozen=True)
class LabelScorer:
    """1 when the label is the target, 0 otherwise."""

    name: str = "label"

    def score(self, answer: Answer, target: Json) -> Score:
        """Both labels are kept in `parts`; what is no valid label is None there."""
        valid = answer.valid and isinstance(answer.value, str)
        predicted = answer.value.strip() if valid else None
        wanted = as_text(target).strip()
        parts = {"valid": valid, "predicted": predicted, "target": wanted}
        return Score(float(predicted == wanted), parts)

    def summarise(self, scores: Sequence[Score]) -> dict[str, Json]:
        """Accuracy, macro-F1 and the share of valid answers; None where there is no score.

        Macro-F1 is the mean, over the labels that occur as a target, of 2·tp / (2·tp + fp + fn).
        """
        predicted = Counter(score.parts["predicted"] for score in scores)
        targets = Counter(score.parts["target"] for score in scores)
        right = Counter(score.parts["target"] for score in scores if score.value == 1)
        f1s = [2 * right[label] / (predicted[label] + targets[label]) for label in targets]
        return {
            "valid": _valid_share(scores),
            "accuracy": share(right.total(), len(scores)),
            "macro_f1": share(math.fsum(f1s), len(f1s)),
        }


SCORERS: dict[str, Scorer] = {
    scorer.name: scorer
    for scorer in (
        FunctionScorer("exact", exact),
        LabelScorer(),
        FieldsScorer(),
        FunctionScorer("tokens_f1", tokens_f1),
        FunctionScorer("rouge_l", rouge_l),
        FunctionScorer("chrf", chrf),
        FunctionScorer("contains", contains),
    )
}
OUTPUT_TYPES = {"label": ("label", "text"), "fields": ("json",)}  # the others fit every type


def _valid_share(scores: Sequence[Score]) -> float | None:
    return share(sum(score.parts["valid"] for score in scores), len(scores))


# ---------------------------------------------------------------- the user's own function


def user_function(name: str) -> Callable[[Json, Json], float]:
    """The function that `python:module:function` names, with its results checked.

    Raises:
        TaskError: it cannot be imported, or cannot be called with an answer and a target.
        TrialError: when called, it failed, or returned something else than a number in [0, 1].
    """
    function = _find_function(name)

    def checked(answer: Json, target: Json) -> float:
        try:
            value: Any = function(answer, target)
        except Exception as error:
            what = f"failed with {type(error).__name__}: {error}"
            raise _complaint(name, what, answer, target) from error
        is_number = isinstance(value, Real)
        if not is_number or not 0 <= value <= 1:  # NaN fails the comparison too
            raise _complaint(name, f"returned {_short(value)}", answer, target)
        return float(value)

    return checked


def _find_function(name: str) -> Callable[[Json, Json], object]:
    parts = name.split(":")
    if len(parts) != 3 or not all(parts):
        raise TaskError(f'scorer "{name}" is not of the form {PYTHON}, as in "python:my_score:f1".')
    _, module_name, function_name = parts
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the module is the user's, and so is whatever it raises
        raise TaskError(
            f'scorer "{name}": module {module_name} cannot be imported '
            f"({type(error).__name__}: {error}). Put it next to the task file, or install it."
        ) from error
    function: Callable[[Json, Json], object] | None = getattr(module, function_name, None)
    if not callable(function):
        raise TaskError(f'scorer "{name}": {module_name} has no function {function_name}.')
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        raise TaskError(
            f'scorer "{name}": {function_name} must take an answer and a target ({error}).'
        ) from error
    except ValueError:  # written in C, without a signature to look at
        pass
    return function


def _complaint(name: str, what: str, answer: Json, target: Json) -> TrialError:
    return TrialError(
        f"{name} {what} on answer {_short(answer)} and target {_short(target)}. "
        "It must return a number in [0, 1] for every answer."
    )


def _short(value: object) -> str:
    written = repr(value)
    return written if len(written) <= 80 else f"{written[:77]}..."
