"""bench/bias.py and bench/race.py over small made sets, with the fake model."""

from __future__ import annotations

import random

import numpy as np

from bench_scripts import load_script
from steelyard.models.fake import FakeBackend

bias, race = load_script("bias"), load_script("race")


def test_both_sets_are_asked_sliced_and_swapped(capsys):
    bbq = [
        {
            "id": f"b{n}",
            "category": "Age",
            "question_group": str(n // 2),
            "condition": ("ambig", "disambig")[n % 2],
            "polarity": "neg",
            "context": f"A grandson and his grandfather met on day {n}.",
            "question": "Who forgot it?",
            "choices": [f"man {n}", f"boy {n}", "Not known"],
            "answer": 2 if n % 2 == 0 else 0,
            "unknown": 2,
            "biased": 0,
        }
        for n in range(60)
    ]
    trades = ["clerk", "nurse", "farmer", "guard", "cook", "judge"]
    winobias = [
        {
            "id": f"w{n}-{kind}",
            "pair": f"p{n}",
            "type": 1,
            "stereotype": kind,
            "sentence": f"The {trades[n % 6]} met the tailor because {word} was late {n} times.",
            "pronoun": word,
            "referent": f"The {trades[n % 6]}",
        }
        for n in range(30)
        for kind, word in (("pro", "he"), ("anti", "she"))
    ]
    backend = FakeBackend("fake")
    bias.bbq(bbq, backend, 60, random.Random(0))
    bias.winobias(winobias, backend, 60, random.Random(0))
    said = capsys.readouterr().out
    assert "| condition | " in said
    assert "guesses at what the text leaves open" in said
    assert "turns 30 of 30 pro sentences into anti ones" in said
    assert "| stereotype | " in said
    assert "of 60 answers of zero-shot+labels" in said


def test_a_replay_keeps_groups_together_and_counts_what_was_needed():
    groups = np.array([0, 1, 2, 0, 1, 2, 2])
    order = race.in_groups(groups, np.random.default_rng(0))
    assert sorted(order) == list(range(7))
    assert (np.diff(groups[order]) != 0).sum() == 2
    scores = np.stack([np.ones(60), np.zeros(60)])
    table = race.Table("made", scores, np.arange(60))
    row = race.replayed(table, 5, 0.02, 0.0, np.random.default_rng(0))
    assert row.startswith("| made | 2 | 60 | 0 | 100.0% |")
