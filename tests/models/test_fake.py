from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from steelyard.core import Usage
from steelyard.errors import StoreError
from steelyard.models import Message, Sampling
from steelyard.models.fake import ROWS_FILE, FakeBackend, FakeEmbedder, emptiest
from tiny import ask

SHOTS = (
    *ask("I was charged twice", "Name the intent."),
    Message("assistant", "billing"),
    *ask("the page says wrong password"),
    Message("assistant", "login"),
)


def test_shown_examples_it_repeats_the_answer_of_the_nearest() -> None:
    asked = (*SHOTS, *ask("my password is wrong"))
    [found] = FakeBackend().generate([asked], Sampling(8))
    assert (found.text, found.complete) == ("login", True)
    assert found.usage == Usage(prompt_tokens=18, cached_tokens=0, completion_tokens=2)


def test_shown_nothing_it_repeats_the_message() -> None:
    [found] = FakeBackend().generate([ask("so be it", "Obey.")], Sampling(8))
    assert found.text == "so be it"


def test_the_token_limit_cuts_words_and_says_so() -> None:
    [found] = FakeBackend().generate([ask("a b c d")], Sampling(2))
    assert (found.text, found.complete) == ("a b", False)


def test_adapted_it_repeats_its_training_rows(tmp_path: Path) -> None:
    (tmp_path / ROWS_FILE).write_text(json.dumps([["lost card", "card"], ["late fee", "fee"]]))
    adapted = FakeBackend().adapted(tmp_path)
    [found] = adapted.generate([ask("a fee that came late")], Sampling(8))
    assert found.text == "fee"
    assert adapted.fingerprint != FakeBackend().fingerprint
    with pytest.raises(StoreError, match="no adapter there"):
        FakeBackend().adapted(tmp_path / "none")


def test_labels_are_scored_by_the_words_they_and_their_examples_share_with_the_input() -> None:
    labels = ["billing", "login", "other"]
    [found] = FakeBackend().score_labels([(*SHOTS, *ask("wrong password"))], labels)
    assert np.argmax(found.log_probs) == 1
    assert np.exp(found.log_probs).sum() == pytest.approx(1)
    [alone] = FakeBackend().score_labels([ask("login")], labels)
    assert alone.log_probs[1] - alone.log_probs[0] == pytest.approx(2)  # 10 · 0.2 · a full overlap


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}, {"a": ""}),
        ({"type": ["integer", "null"]}, None),
        ({"type": "number"}, 0),
        ({"type": "boolean"}, False),
        ({"type": "array", "items": {"type": "string"}}, []),
        ({"enum": ["x", "y"]}, "x"),
        ({"anyOf": [{"type": "array"}, {"type": "null"}]}, []),
    ],
)
def test_the_emptiest_value_of_a_schema(schema: dict[str, object], expected: object) -> None:
    assert emptiest(schema) == expected
    assert Draft202012Validator(schema).is_valid(expected)
    [found] = FakeBackend().generate([ask("hello")], Sampling(8, schema=schema))
    assert json.loads(found.text) == expected


def test_its_name_says_how_long_it_takes() -> None:
    started = time.perf_counter()
    FakeBackend("fake:20").generate([ask("a"), ask("b")], Sampling(8))
    assert time.perf_counter() - started >= 0.04


def test_fake_vectors_have_length_one_and_are_nearer_for_shared_words() -> None:
    vectors = FakeEmbedder().embed(["lost my card", "my card is lost", "a late parcel", ""])
    lengths = np.linalg.norm(vectors, axis=1)
    assert lengths == pytest.approx([1, 1, 1, 0])
    assert vectors[0] @ vectors[1] > 0.8 > vectors[0] @ vectors[2]
    assert FakeEmbedder().embed([]).shape == (0, 256)
