"""What every scorer must keep to, ours or a user's, as a check to run in a test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from steelyard.core import Answer, Json, Score, Scorer


def check_scorer(scorer: Scorer, pairs: Sequence[tuple[Answer, Json]]) -> None:
    """Score every answer against its target and check what the rest of Steelyard relies on.

    - A score is in [0, 1], the same every time, and can be stored as JSON.
    - The target itself, given as an answer, scores at least as much as any other answer.
    - The same answer marked invalid scores, and not more.
    - A summary can be stored as JSON, for no scores too, and has the share of valid answers.

    >>> from steelyard.measure.scorers import SCORERS
    >>> check_scorer(SCORERS["exact"], [(Answer("yes"), "yes"), (Answer(None), "no")])

    Raises:
        AssertionError: with the scorer, the answer and the target in the message.
    """
    scores = []
    for answer, target in pairs:
        where = f"{scorer.name} on answer {answer.value!r} and target {target!r}"
        score = _checked(scorer.score(answer, target), where)
        assert score == scorer.score(answer, target), f"{where}: two scores differ"
        best = _checked(scorer.score(Answer(target), target), where)
        assert best.value >= score.value, f"{where}: the target itself scores less, {best.value}"
        invalid = _checked(scorer.score(replace(answer, valid=False), target), where)
        assert invalid.value <= score.value, f"{where}: invalid scores more, {invalid.value}"
        scores += [score, best, invalid]
    for seen in ([], scores):
        summary = scorer.summarise(seen)
        json.dumps(summary, allow_nan=False)
        assert "valid" in summary, f"{scorer.name}: a summary without the share of valid answers"


def _checked(score: Score, where: str) -> Score:
    assert 0 <= score.value <= 1, f"{where}: {score.value} is not in [0, 1]"
    json.dumps(dict(score.parts), allow_nan=False)
    return score
