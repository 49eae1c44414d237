"""A classifier on frozen features: seconds to train, nothing to generate.

    input ─ embedder ─→ features ─ W x + b ─→ one number per label ─ softmax ─→ probabilities

The features are what an embedder makes of an input, and nothing of it is trained. The linear model
is a logistic regression; its temperature is fitted to rows that were held out, so that the
probabilities mean what they say.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.core import Answer, Example, Json, Query, Recipe, digest
from steelyard.errors import StoreError, need
from steelyard.models import Embedder

Floats = NDArray[np.float64]

WEIGHTS_FILE, FACTS_FILE = "head.safetensors", "head.json"
FITTING = 2  # counts changes to how a head is fitted that make old ones stale
STRENGTH = 30.0  # C of scikit-learn. Source: ours, docs/log/2026-11-26-head-and-export.md
TOLERANCE = 1e-3  # of the fit. Source: ours, same page
FOLDS = 5
BINS = 10  # of equal width. Source: Guo et al. 2017, arXiv:1706.04599, who use 15 for 10,000 rows
UNSEEN = -30.0  # the score of a label that no row of a fold has: as good as none


@dataclass(frozen=True)
class Calibration:
    """How good the probabilities are, by rows that neither numbers nor temperature came from.

    `ece` is the expected calibration error, with the temperature and `ece_before` without it.
    """

    accuracy: float
    ece: float
    ece_before: float
    temperature: float
    num_examples: int


@dataclass(frozen=True)
class Head:
    """The numbers of a linear model. Shapes: weights [L, D], biases [L], in order of `labels`."""

    labels: tuple[str, ...]
    weights: Floats
    biases: Floats
    calibration: Calibration | None = None

    def log_probs(self, features: Floats) -> Floats:
        """Natural-log probabilities of the labels. Shapes: [N, D] → [N, L]."""
        from scipy.special import log_softmax

        found: Floats = log_softmax(features @ self.weights.T + self.biases, axis=1)
        return found


class HeadSystem:
    """A head and its embedder as a System."""

    def __init__(self, recipe: Recipe, head: Head, embedder: Embedder) -> None:
        self.recipe = recipe
        self.head = head
        self._embedder = embedder

    @property
    def calibration(self) -> Json:
        """How good its probabilities are, as plain values; None where that was not measured."""
        found = self.head.calibration
        return None if found is None else asdict(found)

    def answer(self, input: str, *, user: str | None = None, time: str | None = None) -> Answer:
        """The likeliest label for one input, whoever asks and whenever."""
        return self.answer_many([Query(input, user, time)])[0]

    def answer_many(self, queries: Sequence[Query]) -> list[Answer]:
        """The likeliest label for each query."""
        if not queries:
            return []
        best = self.probabilities([query.input for query in queries]).argmax(axis=1)
        labels = [self.head.labels[place] for place in best]
        return [Answer(value=label, text=label) for label in labels]

    def probabilities(self, inputs: Sequence[str]) -> Floats:
        """How likely each label is. Shapes: N inputs → [N, L], in the order of the labels."""
        features = self._embedder.embed(inputs).astype(np.float64)
        found: Floats = np.exp(self.head.log_probs(features))
        return found


def head_key(rows: Sequence[Example], embedder: Embedder, seed: int) -> str:
    """Names a head before it exists."""
    told = [[row.input, row.target, row.group] for row in rows]
    return digest(["head", FITTING, embedder.fingerprint, seed, told])


def fit_head(rows: Sequence[Example], embedder: Embedder, *, seed: int) -> Head:
    """Learn a head from labelled rows.

    Heads of all folds but one say of every row what a head says that has not seen it: from that
    come the temperature, and how good the probabilities are. The head that is returned has learned
    from all rows.
    """
    features = embedder.embed([row.input for row in rows]).astype(np.float64)
    labels = tuple(sorted({row.target for row in rows}))
    if len(labels) == 1:
        return Head(labels, np.zeros((1, features.shape[1])), np.zeros(1))
    places = np.array([labels.index(row.target) for row in rows])
    folds = _folds([row.group for row in rows], seed)
    scores = _unseen_scores(features, places, folds, len(labels))
    # Of a row whose label no other fold has nothing could be said.
    told = scores[np.arange(len(places)), places] != UNSEEN
    temperature, calibration = 1.0, None
    if told.any():
        temperature = temperature_of(scores[told], places[told])
        calibration = _calibration(scores[told], places[told], folds[told])
    weights, biases = _fit(features, places)
    return Head(labels, weights / temperature, biases / temperature, calibration)


def save_head(head: Head, folder: Path) -> None:
    """Write a head as safetensors and JSON."""
    numbers = need("safetensors.numpy", "torch")
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"weights": head.weights, "biases": head.biases}
    # A file holds an array's bytes as they stand in memory, also where that is column by column.
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    numbers.save_file(whole, folder / WEIGHTS_FILE)
    facts = {
        "labels": head.labels,
        "calibration": None if head.calibration is None else asdict(head.calibration),
    }
    (folder / FACTS_FILE).write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")


def load_head(folder: Path) -> Head:
    """The head that was saved in a folder.

    Raises:
        StoreError: there is none that can be read.
    """
    numbers, safetensors = (need(n, "torch") for n in ("safetensors.numpy", "safetensors"))
    try:
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        arrays = numbers.load_file(folder / WEIGHTS_FILE)
        calibration = facts["calibration"]
        return Head(
            tuple(facts["labels"]),
            arrays["weights"],
            arrays["biases"],
            None if calibration is None else Calibration(**calibration),
        )
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise StoreError(
            f"{folder}: no head that can be read there ({error}); weigh the task again"
        ) from error


def expected_calibration_error(confidences: Floats, right: NDArray[np.bool_]) -> float:
    """The mean distance between how sure the answers of a bin are and how many of it are right.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3. Shapes: [N], [N].
    """
    bins = np.minimum((confidences * BINS).astype(int), BINS - 1)
    gaps = [abs(confidences[bins == b].sum() - right[bins == b].sum()) for b in np.unique(bins)]
    return float(sum(gaps) / len(confidences))


def temperature_of(scores: Floats, places: NDArray[np.int64]) -> float:
    """The number to divide scores by for the least log-loss (Guo et al. 2017).

    Shapes: scores [N, L], places [N]: the right label of each row.
    """

    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    def loss(log_temperature: float) -> float:
        found = log_softmax(scores / np.exp(log_temperature), axis=1)
        return float(-found[np.arange(len(places)), places].mean())

    best: Any = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    return float(np.exp(best.x))


def _fit(features: Floats, places: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Weights and biases, a row for each different place in their order."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=STRENGTH, tol=TOLERANCE, max_iter=1000)
    model.fit(features, places)
    if len(model.classes_) == 2:  # scikit-learn keeps the second label's numbers alone
        weights = np.vstack([-model.coef_, model.coef_]) / 2
        return weights, np.hstack([-model.intercept_, model.intercept_]) / 2
    return model.coef_, model.intercept_


def _folds(groups: Sequence[str], seed: int) -> NDArray[np.int64]:
    """The number of each row's fold; a group is in one."""
    return np.array([int(digest([seed, group])[:8], 16) % FOLDS for group in groups])


def _unseen_scores(
    features: Floats, places: NDArray[np.int64], folds: NDArray[np.int64], num_labels: int
) -> Floats:
    """What heads say of rows that they have not seen; `UNSEEN` of labels not seen either.

    Shapes: [N, D] → [N, L].
    """
    scores = np.full((len(places), num_labels), UNSEEN)
    for fold in range(FOLDS):
        held = folds == fold
        known = np.unique(places[~held])
        if held.any() and len(known) > 1:
            weights, biases = _fit(features[~held], places[~held])
            scores[np.ix_(held, known)] = features[held] @ weights.T + biases
    return scores


def _calibration(
    scores: Floats, places: NDArray[np.int64], folds: NDArray[np.int64]
) -> Calibration | None:
    """Every fold judged with the temperature of the others; None where there is only one."""
    from scipy.special import log_softmax

    if len(np.unique(folds)) < 2:
        return None
    own = np.ones(len(places))
    for fold in np.unique(folds):
        own[folds == fold] = temperature_of(scores[folds != fold], places[folds != fold])
    right = scores.argmax(axis=1) == places
    plain, calibrated = (
        np.exp(log_softmax(scores / t, axis=1)).max(axis=1) for t in (1.0, own[:, None])
    )
    return Calibration(
        accuracy=float(right.mean()),
        ece=expected_calibration_error(calibrated, right),
        ece_before=expected_calibration_error(plain, right),
        temperature=temperature_of(scores, places),
        num_examples=len(places),
    )
