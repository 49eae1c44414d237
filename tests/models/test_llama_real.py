"""A real llama.cpp: as a server behind a URL, and as the engine of a model that is here."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from steelyard.core import ModelSpec
from steelyard.models import Message, Sampling, open_backend
from steelyard.models.base import too_long
from steelyard.models.contracts import SCHEMA, check_backend
from steelyard.models.llama_server import llama_server
from steelyard.models.loading import weights_folder
from steelyard.models.places import locate

INSTALLED = importlib.util.find_spec("xllamacpp") is not None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INSTALLED, reason="llama.cpp (extra llama) is not installed"),
]
PROMPT = (Message("system", "Name the colour."), Message("user", "a ripe banana"))


def test_llama_cpp_behind_a_url_keeps_the_contract() -> None:
    folder = weights_folder("default")  # the tokenizer is there as well
    with llama_server(Path(locate("default")), context_tokens=512) as server:
        url = f"{server.address}/v1"
        spec = ModelSpec("small", "small", url, context_tokens=512, tokenizer=folder)
        backend = open_backend(spec)
        check_backend(backend)
        [found] = backend.generate([PROMPT], Sampling(9))
        assert found.usage.prompt_tokens == backend.count_tokens(PROMPT) == 21
        assert not found.usage.estimated
        estimating = open_backend(ModelSpec("small", "small", url))
        [again] = estimating.generate([PROMPT], Sampling(9))
        assert again.text == found.text
        assert not again.usage.estimated


def test_llama_cpp_as_an_engine_answers_as_its_tokens_say_and_comes_back_after_a_crash() -> None:
    spec = ModelSpec("small", "default", context_tokens=512, concurrency=1, engine="llama.cpp")
    backend: Any = open_backend(spec)
    assert backend.count_tokens(PROMPT) == 21
    long = (Message("user", "why " * 512),)
    before, failed = backend.generate([PROMPT, long], Sampling(9))
    assert before.text.startswith("A ripe banana")
    assert (before.complete, before.usage.prompt_tokens) == (False, 21)
    assert failed.error == too_long(backend.count_tokens(long) + 9, 512)
    [json_text] = backend.generate([PROMPT], Sampling(64, SCHEMA))
    assert json.loads(json_text.text)["kind"] in ("card", "cash")
    [choice] = backend.choose_labels([PROMPT], ["red", "yellow"])
    assert (choice.label, choice.error) == (1, None)
    backend.model.process._child._process.kill()
    [after] = backend.generate([PROMPT], Sampling(9))
    assert (after.text, after.error) == (before.text, None)
    backend.model.process.close()
