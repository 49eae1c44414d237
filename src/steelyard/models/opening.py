"""Opening base models: what a source names (places.py), read (loading.py) once per process.

A URL, the fake and llama.cpp are opened here too, and a model that is not there is said early.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.core import Limits, ModelSpec, digest
from steelyard.errors import ModelError, need
from steelyard.models import loading
from steelyard.models.account import Account
from steelyard.models.base import Backend, Embedder
from steelyard.models.fake import FakeBackend, FakeEmbedder
from steelyard.models.hub import only_cached
from steelyard.models.places import (
    cache_folder,
    embedder_folder,
    file_hash,
    is_fake,
    locate,
    need_torch,
)

if TYPE_CHECKING:
    from steelyard.models.llama_backend import LlamaBackend

LLAMA_CONTEXT_TOKENS = 4_096  # of each slot, where the task says nothing. Source: ours

_loaded: dict[str, Any] = {}  # base models of this process, by the folder they were read from


def check_model(spec: ModelSpec) -> None:
    """Say early, without loading any weights, that a model could not be run.

    Raises:
        ModelError: it is not there, with what would be.
        MissingExtraError: the torch extra is not installed.
    """
    if spec.url is not None:
        open_backend(spec)  # asks nothing yet
    elif spec.engine == "llama.cpp":
        need("xllamacpp", "llama")
        _gguf(spec)
    elif not is_fake(spec.source):
        place = locate(spec.source)
        need_torch()
        if not Path(place).exists():
            _check_hub(place)


def check_quantising() -> None:
    """Say early that no base can be quantised here, and why.

    Raises:
        ModelError: there is no CUDA GPU.
        MissingExtraError: bitsandbytes is not installed.
    """
    need_torch()
    import torch

    if not torch.cuda.is_available():
        raise ModelError(
            'weights of method "qlora" need a CUDA GPU, and torch finds none here; '
            'expected one, or method = "lora", which learns the same beside the whole base'
        )
    need("bitsandbytes", "qlora")


def embedder_of(spec: ModelSpec) -> str:
    """The source of the embedder that goes with a base model: the default one with a URL."""
    return spec.source if spec.url is None and spec.engine == "torch" else "default"


def check_embedder(source: str) -> None:
    """Say early that the embedder that goes with a base model is not there.

    Raises:
        ModelError: its package is not installed.
    """
    if not is_fake(source):
        embedder_folder(source)


def _check_hub(source: str) -> None:
    """Ask the hub, or its cache on this machine, for the model's configuration alone."""
    transformers = need("transformers", "torch")
    local = only_cached(source)
    try:
        transformers.AutoConfig.from_pretrained(
            source, trust_remote_code=False, local_files_only=local
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f'model "{source}": its config.json cannot be read ({str(error).splitlines()[0]}); '
            "expected a causal language model that transformers knows"
        ) from error


def open_backend(
    spec: ModelSpec,
    *,
    memory_gb: float = Limits().memory_gb,
    account: Account | None = None,
) -> Backend:
    """The base model of `spec`, loaded once per process.

    `memory_gb` bounds the keys and values that it holds while it answers; `account` pays for a
    model behind a URL.

    Raises:
        ModelError: the model is not there or cannot be read.
        MissingExtraError: the torch extra is not installed.
    """
    if spec.url is not None:
        from steelyard.models.url_backend import UrlBackend

        return UrlBackend(spec, account)
    if spec.engine == "llama.cpp":
        return open_llama(spec)
    if is_fake(spec.source):
        return FakeBackend(spec.source)
    place = locate(spec.source)
    need_torch()
    from steelyard.models.torch_backend import TorchBackend

    if place not in _loaded:
        _loaded[place] = loading.load(place)
    return TorchBackend(spec.source, _loaded[place], memory_bytes=int(memory_gb * 1e9))


def _gguf(spec: ModelSpec) -> Path:
    place = Path(locate(spec.source))
    if place.suffix != ".gguf" or not place.is_file():
        raise ModelError(
            f'model "{spec.name}": llama.cpp runs .gguf files, and {spec.source} is none; expected '
            'one, such as those of steelyard export, or engine = "torch"'
        )
    return place


def open_llama(spec: ModelSpec) -> LlamaBackend:
    """The model under llama.cpp: one process of it for all that open it here.

    Raises:
        ModelError: it is no .gguf file, or one whose tokenizer cannot be read.
        MissingExtraError: the llama extra is not installed.
    """
    from steelyard.models.llama_backend import LlamaBackend, LlamaModel
    from steelyard.models.llama_process import LlamaProcess, best_threads
    from steelyard.models.llama_server import Child, Settings
    from steelyard.models.render import Renderer

    place = _gguf(spec)
    key = f"llama.cpp {place} {spec.context_tokens} {spec.concurrency}"
    if key not in _loaded:
        llama: Any = need("xllamacpp", "llama")
        settings = Settings(
            str(place),
            context_tokens=spec.context_tokens or LLAMA_CONTEXT_TOKENS,
            slots=spec.concurrency,
        )
        threads = best_threads(settings, cache_folder(), Child)
        fingerprint = digest(["llama.cpp", file_hash(place), str(llama.BUILD_INFO)])
        _loaded[key] = LlamaModel(
            spec.source,
            LlamaProcess(replace(settings, threads=threads), start=Child),
            Renderer(loading.gguf_tokenizer(place, spec.tokenizer)),
            fingerprint,
        )
    return LlamaBackend(_loaded[key])


def open_folder(folder: Path) -> Any:
    """A model that was trained here, for a backend of its own; whoever asked for it holds it.

    Raises:
        ModelError: it cannot be read.
    """
    return loading.load(str(folder))


def open_embedder(source: str, *, url: str | None = None, key_env: str | None = None) -> Embedder:
    """The sentence embedder that `source` names, loaded once per process.

    A sentence-transformers folder (it has a modules.json) is itself one; the fake goes with hashed
    words; with any other base model goes all-MiniLM-L6-v2. With a `url`, `source` is the name of
    a model there, behind OpenAI's /embeddings, and `key_env` the variable that holds its key.

    Raises:
        ModelError: the embedder is not there or cannot be read.
    """
    if url is not None:
        from steelyard.models.embeddings_url import UrlEmbedder

        return UrlEmbedder(url, source, key_env=key_env)
    if is_fake(source):
        return FakeEmbedder()
    folder = embedder_folder(source)
    need_torch()
    from steelyard.models.embedder import SentenceEmbedder

    if (key := f"embedder {folder}") not in _loaded:
        _loaded[key] = SentenceEmbedder(folder, loading.number_type())
    embedder: Embedder = _loaded[key]
    return embedder
