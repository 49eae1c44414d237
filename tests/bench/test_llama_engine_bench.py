"""The benchmark of llama.cpp through us: both sides are asked the same, in turn."""

from __future__ import annotations

from typing import Any

import pytest

from bench_scripts import load_script
from llama_stand_in import stand_in
from steelyard.models import llama_server
from steelyard.models.llama_backend import LlamaBackend, LlamaModel
from steelyard.models.llama_process import LlamaProcess
from steelyard.models.llama_server import Settings

pytest.importorskip("torch")
load_script("rounds")
bench = load_script("llama_engine")


def test_both_are_asked_the_same_prompt_in_turn(tiny: Any) -> None:
    with stand_in() as llama:
        llama.answer = lambda _: "a| b| c"
        process = LlamaProcess(Settings("m.gguf"), start=llama_server.Child)
        backend = LlamaBackend(LlamaModel("m.gguf", process, tiny.loaded.renderer, "f"))
        found = bench.measure(backend, 2, 3)
        bodies = [body for _, _, body in llama.server.asked]
    assert len(found["ratios"]) == 2
    assert found["ratio"] > 0
    assert len(bodies) == 6  # of which the first two warm up
    assert len({tuple(body["prompt"]) for body in bodies}) == 1
    assert {body["n_predict"] for body in bodies} == {3}
    ours = ["timings_per_token" in body for body in bodies]
    assert ours == [True, False, False, True, True, False]
    assert len(llama.children) == 2
