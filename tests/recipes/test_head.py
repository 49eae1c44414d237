"""A linear head: right on data whose answer can be seen, calibrated, stored without pickle."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import log_softmax, softmax

from fake_tasks import WORDS, example, make_task, recipe, rows_of
from steelyard.core import Output, Query, Recipe, Weights
from steelyard.errors import StoreError
from steelyard.measure.grading import Grader
from steelyard.models import open_embedder
from steelyard.recipes import Workshop, build, presets
from steelyard.recipes.head import (
    FACTS_FILE,
    WEIGHTS_FILE,
    Calibration,
    Head,
    HeadSystem,
    expected_calibration_error,
    fit_head,
    head_key,
    load_head,
    save_head,
    temperature_of,
)
from steelyard.store import Artefacts, Database

EMBEDDER = open_embedder("fake")
ROWS = [example(f"e{n}", row["text"], row["target"]) for n, row in enumerate(rows_of("label", 120))]
NEW = rows_of("label", 60, seed=2, noise=0.0)
TASK = make_task(ROWS, Output("label", tuple(sorted(WORDS))), hash="1" * 64)
HEAD = Recipe("head", "fake", weights=Weights("head"))


def system(rows: Any, seed: int = 0) -> HeadSystem:
    return HeadSystem(HEAD, fit_head(rows, EMBEDDER, seed=seed), EMBEDDER)


def test_a_head_learns_labels_from_features():
    answers = system(ROWS).answer_many([Query(row["text"]) for row in NEW])
    right = [a.value == row["target"] for a, row in zip(answers, NEW, strict=True)]
    assert sum(right) / len(right) > 0.9
    assert all(a.text == a.value and a.valid and a.error is None for a in answers)
    assert system(ROWS).answer_many([]) == []


def test_probabilities_sum_to_one_and_the_answer_is_the_likeliest():
    head = system(ROWS)
    found = head.probabilities([row["text"] for row in NEW])
    assert found.shape == (60, 3)
    assert found.sum(axis=1) == pytest.approx(1)
    best = [head.head.labels[place] for place in found.argmax(axis=1)]
    assert best == [a.value for a in head.answer_many([Query(row["text"]) for row in NEW])]


def test_probabilities_are_calibrated_on_rows_that_were_not_learned():
    head = system(ROWS)  # a tenth of its labels is wrong, so it must not be sure
    found = head.probabilities([row["text"] for row in rows_of("label", 400, seed=3)])
    targets = [row["target"] for row in rows_of("label", 400, seed=3)]
    right = np.array([head.head.labels[p] for p in found.argmax(axis=1)]) == np.array(targets)
    assert expected_calibration_error(found.max(axis=1), right) < 0.08
    own = head.calibration
    assert own["num_examples"] == 120
    assert own["ece"] < 0.15
    assert own["ece"] < own["ece_before"]


def test_two_labels_are_a_head_as_well():
    rows = [example(f"e{n}", text, text[0]) for n, text in enumerate(["a cat", "b dog"] * 10)]
    head = system(rows)
    assert [a.value for a in head.answer_many([Query("a cat"), Query("dog")])] == ["a", "b"]
    assert head.probabilities(["a cat", "dog"]).shape == (2, 2)


def test_one_label_is_answered_for_sure():
    head = system([example("e0", "cat", "x"), example("e1", "dog", "x")])
    assert head.answer("bird").value == "x"
    assert head.probabilities(["bird"]).tolist() == [[1.0]]
    assert head.calibration is None


def test_a_label_of_one_row_is_learned_too():
    rows = [*ROWS, example("odd", "zebra crossing", "zoo")]
    assert system(rows).answer("zebra crossing").value == "zoo"


def test_the_same_rows_give_the_same_head_and_other_rows_another_key():
    first, second = (fit_head(ROWS, EMBEDDER, seed=0) for _ in range(2))
    assert np.array_equal(first.weights, second.weights)
    keys = {
        head_key(ROWS, EMBEDDER, 0),
        head_key(ROWS[1:], EMBEDDER, 0),
        head_key(ROWS, EMBEDDER, 1),
    }
    assert len(keys) == 3


# ---------------------------------------------------------------- temperature and calibration


def test_the_calibration_error_by_hand():
    sure = np.array([0.95, 0.95, 0.55, 0.55])
    right = np.array([True, False, True, True])
    assert expected_calibration_error(sure, right) == pytest.approx((0.9 + 0.9) / 4)
    assert expected_calibration_error(np.array([1.0]), np.array([True])) == 0.0


def test_the_temperature_that_scores_were_made_with_is_found():
    chance = np.random.default_rng(0)
    scores = chance.normal(0, 2, (4000, 5))
    places = np.array([chance.choice(5, p=row) for row in softmax(scores, axis=1)])
    assert temperature_of(scores, places) == pytest.approx(1, abs=0.1)
    assert temperature_of(scores * 3, places) == pytest.approx(3, abs=0.3)


@given(arrays.arrays(float, (12, 3), elements=st.floats(-20, 20)), st.integers(0, 2))
def test_a_temperature_never_raises_the_loss(scores, place):
    places = np.full(12, place)

    def loss(temperature):
        return -log_softmax(scores / temperature, axis=1)[np.arange(12), places].mean()

    assert loss(temperature_of(scores, places)) <= loss(1.0) + 1e-4


# ---------------------------------------------------------------- stored


def test_a_saved_head_comes_back_as_it_was(tmp_path):
    calibration = Calibration(0.9, 0.02, 0.05, 1.1, 30)
    head = Head(("a", "b"), np.array([[0.1, 0.2], [1e-9, 4]]), np.array([0.5, -1]), calibration)
    save_head(head, tmp_path)
    found = load_head(tmp_path)
    assert (found.labels, found.calibration) == (head.labels, head.calibration)
    assert np.array_equal(found.weights, head.weights)
    assert np.array_equal(found.biases, head.biases)
    assert {f.name for f in tmp_path.iterdir()} == {WEIGHTS_FILE, FACTS_FILE}


def test_a_head_whose_numbers_stand_column_by_column_comes_back_too(tmp_path):
    head = Head(("a", "b", "c"), np.asfortranarray(np.arange(6.0).reshape(3, 2)), np.zeros(3))
    save_head(head, tmp_path)
    assert load_head(tmp_path).weights.tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("file", [WEIGHTS_FILE, FACTS_FILE])
def test_a_damaged_head_is_an_error(tmp_path, file):
    save_head(fit_head(ROWS, EMBEDDER, seed=0), tmp_path)
    (tmp_path / file).write_bytes(b"{")
    with pytest.raises(StoreError, match="no head that can be read there"):
        load_head(tmp_path)


@pytest.fixture
def workshop(tmp_path: Path) -> Any:
    database = Database(tmp_path / "steelyard.db")
    grade = Grader.of(TASK).grade
    yield Workshop(database, Artefacts(tmp_path / "artefacts"), tmp_path / "jobs", 0, grade)
    database.close()


def test_a_second_build_uses_the_stored_head(workshop, monkeypatch):
    module: Any = sys.modules[build.__module__]
    fitted = []
    monkeypatch.setattr(module, "fit_head", lambda *a, **k: fitted.append(1) or fit_head(*a, **k))
    first, second = (build(presets_head(), TASK, workshop) for _ in range(2))
    assert len(fitted) == 1
    assert first.fingerprint == second.fingerprint
    assert first.setup_seconds == second.setup_seconds > 0
    queries = [Query(row["text"]) for row in NEW]
    for built in (first, second):
        answers = built.system.answer_many(queries)
        right = [a.value == row["target"] for a, row in zip(answers, NEW, strict=True)]
        assert sum(right) / len(right) > 0.9
    [spoilt] = workshop.artefacts.root.glob(f"*/{FACTS_FILE}")
    spoilt.write_text(json.dumps({"labels": []}))
    build(presets_head(), TASK, workshop)
    assert len(fitted) == 2


def presets_head() -> Recipe:
    from dataclasses import replace

    return replace(presets(TASK)["head"], model="fake")


def test_only_label_tasks_have_a_head():
    assert "head" in presets(TASK)
    for output in (Output("text"), Output("json", schema={"type": "object"})):
        assert "head" not in presets(make_task(ROWS, output))
    assert recipe("x", weights=Weights("head")).embeds
