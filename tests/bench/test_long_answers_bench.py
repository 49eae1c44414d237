"""bench/long_answers.py: its task, and what of an answer is supported."""

from __future__ import annotations

import json
from pathlib import Path

from bench_scripts import load_script
from steelyard.core import Answer, Section, Source
from steelyard.tasks import load_task

bench = load_script("long_answers")


def test_a_disease_with_many_answers_is_one_long_target(tmp_path: Path) -> None:
    kinds = [f"kind {n}" for n in range(bench.QUESTIONS)]
    rows = [
        {"focus": f"d{n}", "question_type": kind, "question": "?", "answer": f"{kind} of d{n}."}
        for n in range(9)
        for kind in (kinds if n else kinds[1:])  # d0 has too few
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "all.jsonl").write_text(text, encoding="utf-8")
    found = bench.diseases(tmp_path)
    assert list(found) == [f"d{n}" for n in range(1, 9)]
    task = load_task(bench.write_task(tmp_path, found, 4))
    assert (len(task.dev), len(task.test), len(task.train)) == (4, 2, 2)
    first = task.dev[0]
    assert first.input == "What should I know about d1?"
    assert first.target == "\n\n".join(f"{kind} of d1." for kind in kinds)
    assert first.evidence == tuple(f"d1/{kind}" for kind in kinds)


def test_thirds_are_judged_by_what_stood_in_front_of_them() -> None:
    sources = tuple(Source(f"{d}:0-1", d, f"known of {d}") for d in "xy")
    whole = Answer(text="Known of x. Known of y. Nothing here.", sources=sources)
    assert bench.thirds(whole) == [(1, 1), (1, 1), (0, 1)]
    parts = (Section("A", "Known of x. Known of y.", (1,)), Section("B", "Known of y.", (2,)))
    assert bench.thirds(Answer(text="…", sources=sources, sections=parts)) == [
        (1, 1),
        (0, 1),
        (1, 1),
    ]
    assert bench.supported([whole, whole]) == [1.0, 1.0, 0.0]
