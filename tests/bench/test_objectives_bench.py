"""The invented facts in other words: each wording says every fact, and no two are the same."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from bench_scripts import load_script

load_script("planted")
paraphrases: Any = load_script("paraphrases")


def documents(copies: int) -> dict[str, list[str]]:
    """The texts about each place, the planted one first."""
    files = paraphrases.told(0, num_places=10, copies=copies)
    found: dict[str, list[str]] = {}
    for name in sorted(files):
        if match := re.fullmatch(r"documents/([a-z]+)(?:-\d+)?\.md", name):
            found.setdefault(match[1], []).append(files[name])
    return found


@pytest.mark.parametrize("copies", [1, 3, 10])
def test_each_place_is_told_as_often_as_asked_and_never_twice_in_the_same_words(copies):
    found = documents(copies)
    assert len(found) == 10
    assert {len(texts) for texts in found.values()} == {copies}
    for texts in found.values():
        sentences = [s for text in texts for s in re.split(r"(?<=\.) ", text.split("\n\n")[1])]
        assert len({s.strip() for s in sentences}) == len(sentences)


def test_every_wording_says_every_fact():
    files = paraphrases.told(0, num_places=10, copies=paraphrases.MOST)
    rows = [json.loads(line) for split in ("train", "dev", "test") for line in
            files[f"{split}.jsonl"].splitlines()]  # fmt: skip
    found = documents(paraphrases.MOST)
    assert len(rows) == 40
    for row in rows:
        assert all(row["target"] in text for text in found[row["group"].lower()])


def test_questions_are_the_same_however_often_the_facts_are_told():
    once, often = (paraphrases.told(1, num_places=10, copies=copies) for copies in (1, 3))
    for split in ("train", "dev", "test"):
        assert once[f"{split}.jsonl"] == often[f"{split}.jsonl"]
