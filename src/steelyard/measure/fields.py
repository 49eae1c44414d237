"""Extraction, scored field by field.

Target and answer become **leaves**: a dotted path and a normalised value (`normalise.scalar`).

    target {"name": "Ann Lee", "phone": null, "skills": ["SQL", "Go"],
            "jobs": [{"title": "Nurse", "year": 2018}, {"title": "Tutor", "year": 2020}]}
    answer {"name": "ann lee.", "phone": "0123", "skills": ["Go", "R"],
            "jobs": [{"title": "Tutor", "year": "2020"}]}

    field        expected        answered   tp  fp  fn  empty
    name         ann lee         ann lee     1   0   0   0
    phone        (nothing)       0123        0   1   0   0     something where nothing is
    skills       sql, go         go, r       1   1   1   0     a wrong value is both fp and fn
    jobs.title   nurse, tutor    tutor       1   0   1   1     missing
    jobs.year    2018, 2020      2020        1   0   1   1     missing

    score = 2·tp / (2·tp + fp + fn) = 8 / (8 + 2 + 3) = 0.615…

- null, "", [] and {} are nothing. Nothing on both sides is right and is not counted; when both
  sides are empty altogether the score is 1.
- A list is a multiset, matched one to one whatever its order. Objects in lists are matched one
  to one so that as many leaves as possible agree. One value is the same as a list of that value.
- A list in a list is an object whose only field is called "[]", and so is a list that is the
  whole answer.
- A key that the target does not have is a false positive, known to the schema or not.
- An answer that is invalid, or is no object where the target is one, scores 0.

Why this number. Every leaf the answer has is tp or fp, every leaf the target has is tp or fn, so
score = 2·tp / (answered + expected), where only tp depends on the matching and the matching
makes it as large as possible. Hence it lies in [0, 1], is 1 only when all leaves agree, does not
depend on the order of lists, and is the same with answer and target exchanged. Putting one field
right never lowers it: filling a missing leaf adds 2 above and 1 below, correcting a wrong one
adds 2 above, removing an invented one takes 1 from below. (Lists that leave more than
MAX_PAIRS pairs to compare are paired in sorted order after their equal items, and only there
the matching may miss the best.)

Source: micro-averaged F1 over slots, Chinchor 1992, https://aclanthology.org/M92-1002; the
one-to-one matching is the assignment problem (Kuhn 1955), solved by scipy.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from steelyard.core import Answer, Json, Score
from steelyard.errors import TrialError
from steelyard.measure.normalise import MAX_DEPTH, Scalar, is_too_deep, scalar

UNNAMED = "[]"
MAX_PAIRS = 500 * 500  # about 0.2 s for flat objects; longer lists come from a looping model

COUNTS = ("tp", "fp", "fn", "empty", "expected")  # the order of the counts in Score.parts


class Node(NamedTuple):
    """One JSON object: its leaves (key, value, how many equal ones before) and its objects."""

    leaves: tuple[tuple[str, Scalar, int], ...] = ()
    children: tuple[tuple[str, tuple[Node, ...]], ...] = ()


NOTHING = Node()


def node(value: Mapping[str, Json]) -> Node:
    """A JSON object in its one normalised form, whatever the order of its keys and lists.

    >>> node({"b": ["x", "X."], "a": None, "c": {"d": 1}})  # doctest: +NORMALIZE_WHITESPACE
    Node(leaves=(('b', ('text', 'x'), 0), ('b', ('text', 'x'), 1)),
         children=(('c', (Node(leaves=(('d', ('number', 1), 0),), children=()),)),))
    """
    leaves: list[tuple[str, Scalar]] = []
    children: defaultdict[str, list[Node]] = defaultdict(list)
    for key, content in value.items():
        for item in content if isinstance(content, list) else [content]:
            if isinstance(item, dict | list):
                child = node(item if isinstance(item, dict) else {UNNAMED: item})
                if child != NOTHING:
                    children[key].append(child)
            elif (leaf := scalar(item)) is not None:
                leaves.append((key, leaf))
    numbered = [
        (key, leaf, repeat)
        for (key, leaf), times in Counter(leaves).items()
        for repeat in range(times)
    ]
    return Node(
        tuple(sorted(numbered)),
        tuple((key, tuple(sorted(nodes))) for key, nodes in sorted(children.items())),
    )


def agreement(answer: Node, target: Node) -> int:
    """How many leaves agree when the objects in lists are matched as well as they can be."""
    total = len(set(answer.leaves).intersection(target.leaves))
    if answer.children and target.children:
        theirs = dict(target.children)
        for key, nodes in answer.children:
            total += sum(agreement(*pair) for pair in _pair(nodes, theirs.get(key, ())))
    return total


def _pair(answers: Sequence[Node], targets: Sequence[Node]) -> list[tuple[Node, Node]]:
    """Objects matched one to one for the most agreement; what is left over meets NOTHING.

    Equal objects are taken out first, which loses nothing: were `a` = `t` matched elsewhere, to
    `t'` and from `a'`, then matching `a` to `t` and `a'` to `t'` agrees on as many leaves.
    """
    from scipy.optimize import linear_sum_assignment

    equal = Counter(answers) & Counter(targets)
    pairs = [(same, same) for same in equal.elements()]
    # still in the order of node(), so ties are broken in one way whatever the order of the lists
    rest = list((Counter(answers) - equal).elements())
    wanted = list((Counter(targets) - equal).elements())
    shorter = min(len(rest), len(wanted))
    rows, columns = list(range(shorter)), list(range(shorter))
    if 1 < len(rest) * len(wanted) <= MAX_PAIRS:
        agreements = np.array([[agreement(a, t) for t in wanted] for a in rest])
        best = linear_sum_assignment(agreements, maximize=True)
        rows, columns = best[0].tolist(), best[1].tolist()
    pairs += [(rest[row], wanted[column]) for row, column in zip(rows, columns, strict=True)]
    pairs += [(rest[row], NOTHING) for row in sorted(set(range(len(rest))) - set(rows))]
    pairs += [(NOTHING, wanted[c]) for c in sorted(set(range(len(wanted))) - set(columns))]
    return pairs


def count(answer: Node, target: Node) -> dict[str, list[int]]:
    """Per field, by dotted path: [tp, fp, fn, empty, expected]."""
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(COUNTS))
    _count_into(counts, answer, target, "")
    return dict(sorted(counts.items()))


def _count_into(counts: dict[str, list[int]], answer: Node, target: Node, prefix: str) -> None:
    answered = Counter(key for key, _, _ in answer.leaves)
    expected = Counter(key for key, _, _ in target.leaves)
    agreed = Counter(key for key, _, _ in set(answer.leaves).intersection(target.leaves))
    for key in answered | expected:
        num_answered, num_expected, tp = answered[key], expected[key], agreed[key]
        empty = max(0, num_expected - num_answered)
        seen = (tp, num_answered - tp, num_expected - tp, empty, num_expected)
        field = f"{prefix}{key}"
        counts[field] = [total + more for total, more in zip(counts[field], seen, strict=True)]
    ours, theirs = dict(answer.children), dict(target.children)
    for key in ours | theirs:
        for pair in _pair(ours.get(key, ()), theirs.get(key, ())):
            _count_into(counts, *pair, f"{prefix}{key}.")


@dataclass(frozen=True)
class FieldsScorer:
    """Micro-F1 over the fields of one example; see the top of this file."""

    name: str = "fields"

    def score(self, answer: Answer, target: Json) -> Score:
        """The example's score, with its counts per field, `valid` and `exact` in `parts`.

        Raises:
            TrialError: the target is nested too deep for any answer to be compared with it.
        """
        if is_too_deep(target):
            raise TrialError(f"a target is nested more than {MAX_DEPTH} deep; flatten it")
        wanted = _whole(target)
        valid = (
            answer.valid
            and isinstance(answer.value, dict) == isinstance(target, dict)
            and not is_too_deep(answer.value)
        )
        counts = count(_whole(answer.value) if valid else NOTHING, wanted)
        tp, fp, fn = (sum(row[column] for row in counts.values()) for column in range(3))
        value = share(2 * tp, 2 * tp + fp + fn)
        exact = valid and fp == fn == 0
        return Score(
            (1.0 if value is None else value) if valid else 0.0,
            {"valid": valid, "exact": exact, "fields": counts},
        )

    def summarise(self, scores: Sequence[Score]) -> dict[str, Json]:
        """Validity, correctness and emptiness, and the figures of every field seen.

        `empty` is the share of expected leaves that came back with nothing, among valid answers;
        an invalid answer lowers `recall` and `valid` instead. A field's `accuracy` is the share
        of all answers that have it right, which includes nothing where nothing is expected. A
        figure without a denominator is None.
        """
        valid = [score for score in scores if score.parts["valid"]]
        num_exact = sum(score.parts["exact"] for score in scores)
        fields = sorted({field for score in scores for field in score.parts["fields"]})
        return {
            "valid": share(len(valid), len(scores)),
            "score_given_valid": share(sum(score.value for score in valid), len(valid)),
            "valid_but_wrong": share(len(valid) - num_exact, len(scores)),
            "exact": share(num_exact, len(scores)),
            "empty": _empty(valid, fields),
            "fields": {field: _summarise_field(field, scores) for field in fields},
        }


def _whole(value: Json) -> Node:
    return node(value if isinstance(value, dict) else {UNNAMED: value})


def share(part: float, whole: float) -> float | None:
    """A part of a whole, or None where there is no whole: never 0 and never NaN.

    >>> share(1, 4), share(0, 0)
    (0.25, None)
    """
    return part / whole if whole else None


def _counts_of(field: str, scores: Sequence[Score]) -> list[list[int]]:
    nothing = [0] * len(COUNTS)
    return [score.parts["fields"].get(field, nothing) for score in scores]


def _empty(valid: Sequence[Score], fields: Sequence[str]) -> float | None:
    counts = [row for field in fields for row in _counts_of(field, valid)]
    return share(sum(row[3] for row in counts), sum(row[4] for row in counts))


def _summarise_field(field: str, scores: Sequence[Score]) -> dict[str, Json]:
    counts = _counts_of(field, scores)
    tp, fp, fn, _, support = (sum(column) for column in zip(*counts, strict=True))
    right = sum(
        score.parts["valid"] and row[1] == row[2] == 0
        for score, row in zip(scores, counts, strict=True)
    )
    return {
        "precision": share(tp, tp + fp),
        "recall": share(tp, tp + fn),
        "f1": share(2 * tp, 2 * tp + fp + fn),
        "accuracy": share(right, len(scores)),
        "support": support,
        "empty": _empty([score for score in scores if score.parts["valid"]], [field]),
    }
