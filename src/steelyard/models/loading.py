"""Reading a model's weights and tokenizer into memory, as they are run here.

GGUF weights are dequantised once and kept as safetensors under the cache folder, named by the
hash of the file they came from. Nothing here runs code that comes with a model, and weights are
read from safetensors only.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from steelyard.core import digest
from steelyard.errors import ModelError, need
from steelyard.models.hub import only_cached
from steelyard.models.places import cache_folder, file_hash, locate


def load(place: str) -> Any:
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
    local = only_cached(source)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            source, trust_remote_code=False, local_files_only=local, **gguf
        )
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            source,
            dtype=dtype,
            trust_remote_code=False,
            local_files_only=local,
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


def gguf_tokenizer(gguf: Path, own: str | None) -> Any:
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
    name = file_hash(gguf)
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


def weights_folder(source: str) -> str:
    """The folder, or hub id, of a base model's safetensors weights."""
    place = locate(source)
    return str(_dequantised(Path(place))) if place.endswith(".gguf") else place


def _dequantised(gguf: Path) -> Path:
    """The folder with the safetensors of a .gguf file, written once."""
    folder = cache_folder() / "models" / file_hash(gguf)
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
        return digest([file_hash(path), dtype])
    if path.is_dir():
        # Config and templates decide the answers as much as the weights do.
        files = sorted(f for f in path.iterdir() if f.suffix in (".safetensors", ".json", ".jinja"))
        return digest([[file_hash(file) for file in files], dtype])
    commit = getattr(model.config, "_commit_hash", None)
    return digest([place, commit, dtype])
