"""Labels that are likely wrong: confident learning over out-of-fold predictions.

    every row is predicted by a bag of words and a linear model that did not see its group
    threshold of a label = the mean probability of that label over the rows that have it
    a row is suspect when another label reaches its threshold there, and is the likeliest to
    the most suspect first: by how much the other label is likelier than its own

Source: Northcutt, Jiang and Chuang 2021, "Confident Learning", arXiv 1911.00068, section 3.1;
rows ranked by the normalised margin, section 3.2.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.audit.findings import Finding, percent
from steelyard.audit.sheet import Placed, Sheet
from steelyard.recipes.controls import WORD
from steelyard.tasks.wording import count

FOLDS = 5
LEAST_ROWS = 5  # of a label, so that four folds hold some. Source: ours
MOST_ROWS = 20_000  # predicted in about a minute on one core. Source: ours
NUM_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row, the label that the others suggest, and by how much it is likelier (up to 1)."""

    row: Placed
    suggested: str
    margin: float


def wrong_labels(sheet: Sheet) -> list[Finding]:
    """Rows whose label the other rows speak against."""
    found = suspects(sheet)
    if not found:
        return []
    first = found[0]
    measured = sum(suspect.row.split != "train" for suspect in found)
    return [
        Finding(
            "warning",  # half of them may be right, so that no build should stop at them
            "likely-wrong-labels",
            f"{count(len(found), 'label')} ({percent(len(found), len(sheet.rows))}) are likely "
            f"wrong, {measured:,} of them in dev and test; the likeliest is {first.row.id}: "
            f"{first.row.example.target} rather than {first.suggested}?",
            "Look at them, the first ones first; a wrong label in dev or test costs every recipe "
            "the same points.",
            tuple(suspect.row.id for suspect in found),
            {
                "suspects": [
                    {
                        "id": suspect.row.id,
                        "target": suspect.row.example.target,
                        "suggested": suspect.suggested,
                        "margin": round(suspect.margin, 3),
                    }
                    for suspect in found[:NUM_SHOWN]
                ]
            },
        )
    ]


def suspects(sheet: Sheet) -> list[Suspect]:
    """The rows with a likely wrong label, the likeliest first; none where labels are too few."""
    if sheet.task.output.type != "label":
        return []
    numbers = Counter(str(row.example.target) for row in sheet.rows)
    rows = [row for row in sheet.rows if numbers[str(row.example.target)] >= LEAST_ROWS]
    rows = rows[:MOST_ROWS]
    if len({row.example.target for row in rows}) < 2:
        return []
    names, own = np.unique([str(row.example.target) for row in rows], return_inverse=True)
    probabilities = _out_of_fold(rows, own, len(names))
    known: NDArray[np.bool_] = np.asarray(np.isfinite(probabilities).all(axis=1))
    return [
        Suspect(rows[at], str(names[other]), margin)
        for at, other, margin in confident_errors(probabilities, own, known)
    ]


def confident_errors(
    probabilities: NDArray[np.float64], own: NDArray[np.int64], known: NDArray[np.bool_]
) -> list[tuple[int, int, float]]:
    """Row, likelier label and margin of the rows off the diagonal of the confident joint.

    Shapes: probabilities [N, labels], own and known [N].
    """
    place = np.arange(len(own))
    thresholds = np.ones(probabilities.shape[1])
    for label in np.unique(own[known]):
        thresholds[label] = probabilities[known & (own == label), label].mean()
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    confident[~known] = -1.0
    best = confident.argmax(axis=1)
    margins = probabilities[place, best] - probabilities[place, own]
    wrong = np.flatnonzero((confident[place, best] >= 0) & (best != own) & (margins > 0))
    order = wrong[np.argsort(-margins[wrong], kind="stable")]
    return [(int(at), int(best[at]), float(margins[at])) for at in order]


def _out_of_fold(
    rows: list[Placed], own: NDArray[np.int64], num_labels: int
) -> NDArray[np.float64]:
    """What a model that did not see a row's group makes of it. Shapes: [N, labels]."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    texts = [row.example.input for row in rows]
    groups = np.unique([row.example.group for row in rows], return_inverse=True)[1]
    probabilities = np.full((len(rows), num_labels), np.nan)
    if len(np.unique(groups)) < FOLDS:
        return probabilities
    folds: Any = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for learned, held_out in folds.split(texts, own, groups):
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD)
        # One against the rest: as good here as multinomial regression, and far faster for many
        # labels. Source: ours, docs/log/2026-11-26-compare-and-check.md
        model = SGDClassifier(loss="log_loss", alpha=1e-4, random_state=0)
        if len(np.unique(own[learned])) < 2:
            continue
        try:
            features = vectorizer.fit_transform([texts[at] for at in learned])
        except ValueError:  # no words at all
            continue
        model.fit(features, own[learned])
        found = model.predict_proba(vectorizer.transform([texts[at] for at in held_out]))
        probabilities[held_out] = 0.0
        probabilities[np.ix_(held_out, model.classes_)] = found
    return probabilities
