"""One base in memory, an adapter for every request."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import pytest

from steelyard.models import Sampling
from tiny import ask, open_in_float32, some_texts, write_adapter

COUNT = 50


@pytest.fixture(scope="module")
def folders(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Adapters, written by a base that is then forgotten."""
    folder, base = tmp_path_factory.mktemp("adapters"), open_in_float32(tiny_folder)
    return [write_adapter(folder / str(seed), base, seed=seed) for seed in range(COUNT)]


def answer(backend: Any, text: str) -> Any:
    return round(backend.score_labels([ask(text)], ["card"])[0].log_probs[0], 4)


def written(backend: Any, text: str) -> Any:
    return backend.generate([ask(text)], Sampling(4))[0].text, answer(backend, text)


def test_fifty_adapters_answer_interleaved_requests_as_each_would_alone(
    tiny_folder: Path, folders: list[Path]
) -> None:
    [text] = some_texts(1, seed=5)
    alone = {}
    for seed in range(0, COUNT, 10):  # each on a base of its own, that no other adapter was on
        alone[seed] = answer(open_in_float32(tiny_folder).adapted(folders[seed]), text)
    base = open_in_float32(tiny_folder)
    before = answer(base, text)
    adapted = [base.adapted(folder) for folder in folders]
    assert {id(one.loaded.decoder) for one in adapted} == {id(base.loaded.decoder)}
    expected = {seed: answer(one, text) for seed, one in enumerate(adapted)}
    assert {seed: expected[seed] for seed in alone} == alone
    assert len(set(expected.values())) == COUNT  # adapters differ, so that a wrong one shows
    order = random.Random(0).sample(range(COUNT), COUNT)
    assert {seed: answer(adapted[seed], text) for seed in order} == expected
    assert answer(base, text) == before


def test_threads_that_ask_different_adapters_each_hear_their_own(
    tiny_folder: Path, folders: list[Path]
) -> None:
    base = open_in_float32(tiny_folder)
    adapted = [base.adapted(folder) for folder in folders[:4]]
    [text] = some_texts(1, seed=6)
    expected = [written(one, text) for one in adapted]
    heard: list[list[Any]] = [[] for _ in adapted]

    def ask_often(place: int) -> None:
        heard[place] = [written(adapted[place], text) for _ in range(3)]

    threads = [threading.Thread(target=ask_often, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == [[one] * 3 for one in expected]


def test_an_adapter_opened_twice_is_held_once(tiny_folder: Path, folders: list[Path]) -> None:
    base = open_in_float32(tiny_folder)
    first, second = base.adapted(folders[0]), base.adapted(folders[0])
    assert first.fingerprint == second.fingerprint
    names = [name for name, _ in base.loaded.decoder.model.named_parameters() if "adapters" in name]
    assert len(names) == 2 * 2 * 7  # A and B of seven layers of each of two blocks
