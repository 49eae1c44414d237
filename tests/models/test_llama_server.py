"""llama.cpp as a child: not installed, not loadable, and answering."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import pytest

from steelyard.errors import MissingExtraError, WorkError
from steelyard.models.llama_server import LlamaServer, llama_server

INSTALLED = importlib.util.find_spec("xllamacpp") is not None
needs_llama = pytest.mark.skipif(not INSTALLED, reason="llama.cpp (extra llama) is not installed")


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with (
        pytest.raises(MissingExtraError, match=r"xllamacpp .* pip install 'steelyard\[llama\]'"),
        llama_server(tmp_path / "model.gguf"),
    ):
        pass


@needs_llama
def test_a_file_that_is_no_model_is_an_error_with_what_it_said(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"no model")
    with (
        pytest.raises(WorkError, match=r"llama.cpp could not load .*model.gguf; it said"),
        llama_server(tmp_path / "model.gguf"),
    ):
        pass


def test_a_server_that_is_gone_is_an_error() -> None:
    with pytest.raises(WorkError, match=r"llama.cpp did not answer /tokenize"):
        LlamaServer("http://127.0.0.1:1").tokens("x")
