"""What a release is served through, where that is not what it was weighed with.

    llama.cpp   its weights as GGUF, over the base's own GGUF file or one that is written
    a table     [models.NAME]: a .gguf under llama.cpp as the base, or a model behind a URL, which
                whoever runs that server has put there

The weights are written from the model that was measured; `publish` then asks rows of dev through
what reads them (publishing.py).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.core import ModelSpec, Recipe, Serving, Task
from steelyard.errors import InputError, need, unknown
from steelyard.lifecycle.home import Home
from steelyard.models import Backend, is_fake, locate, open_backend, open_llama
from steelyard.recipes import why_not
from steelyard.recipes.presets import model_of

if TYPE_CHECKING:
    from steelyard.models.torch_backend import TorchBackend

LLAMA = "llama.cpp"
ADAPTER, WHOLE, SMALL = "gguf-adapter", "gguf", "gguf-q8_0"
FORMATS = (ADAPTER, WHOLE, SMALL)  # of weights that llama.cpp reads
PARTIAL = ".engine-"  # a folder that weights are written into


def prepare(
    wanted: Serving, recipe: Recipe, task: Task, artefacts: Sequence[str], home: Home
) -> Serving:
    """Have a recipe's system ready to be served through an engine, its weights written for it.

    Of what is `wanted`, the engine is looked at, and the format, which is chosen where it is "".

    Raises:
        InputError: there is no such engine, or it cannot serve this recipe.
        ModelError: its model is not there.
        MissingExtraError: the llama extra is not installed.
    """
    engine, format = wanted.engine, wanted.format
    if format and format not in FORMATS:
        raise InputError(f"--format: {unknown('format', format, FORMATS)}")
    if recipe.model == recipe.name or recipe.weights.method == "head":
        raise InputError(
            f"--engine {engine}: {recipe.name} asks no language model; leave --engine out"
        )
    spec, own = _spec(engine, task), model_of(task, recipe)
    _check_recipe(recipe, task, spec or replace(own, engine="llama.cpp"))
    if spec is not None and spec.url is not None:
        if format:
            raise InputError(f"--format {format}: nothing is written for a model behind a URL")
        made = Serving(engine)
    else:
        made = _written(wanted, spec, recipe, task, artefacts, home)
    return replace(made, fingerprint=backend_of(made, recipe, task, home).fingerprint)


def backend_of(serving: Serving, recipe: Recipe, task: Task, home: Home) -> Backend:
    """The model of a release, with its weights, in the engine that serves it.

    Raises:
        InputError: the task has no such table any more.
        ModelError: its model is not there.
        StoreError: its weights are gone, or not what was published.
    """
    spec = _spec(serving.engine, task)
    if spec is not None and spec.url is not None:
        return open_backend(spec)
    if serving.weights is not None and serving.format != ADAPTER:
        like = spec or model_of(task, recipe)
        return open_llama(_in(home.artefacts.get(serving.weights), like))
    base = open_llama(_base(serving, recipe, task, home))
    return base if serving.weights is None else base.loaded(home.artefacts.get(serving.weights))


def base_of(serving: Serving, recipe: Recipe, task: Task, home: Home) -> Backend | None:
    """The base model alone, where the engine that serves a release has it here."""
    spec = _spec(serving.engine, task)
    is_elsewhere = spec is not None and spec.url is not None
    if is_elsewhere or (serving.weights is not None and serving.format != ADAPTER):
        return None
    return open_llama(_base(serving, recipe, task, home))


def _spec(engine: str, task: Task) -> ModelSpec | None:
    """The table that an engine is; None for llama.cpp over the recipe's own base.

    Raises:
        InputError: there is none of that name that can serve.
    """
    if engine == LLAMA:
        return None
    tables = {one.name: one for one in task.engines if one.url is not None or one.engine == LLAMA}
    if engine not in tables:
        raise InputError(f"--engine: {unknown('engine', engine, (LLAMA, *tables))}")
    return tables[engine]


def _check_recipe(recipe: Recipe, task: Task, spec: ModelSpec) -> None:
    """Refuse a recipe that needs more of a model than the engine tells.

    Raises:
        InputError: it does.
    """
    if spec.url is None:
        need("xllamacpp", "llama")
    asked = replace(recipe, model=spec.name, weights=type(recipe.weights)())
    why = why_not(asked, replace(task, models=(spec,)))
    if why is not None:
        raise InputError(f"{recipe.name} cannot be served so: {why}; leave --engine out")


def _base(serving: Serving, recipe: Recipe, task: Task, home: Home) -> ModelSpec:
    """The base under llama.cpp: a table's own file, one that was written, or the recipe's."""
    spec, own = _spec(serving.engine, task), model_of(task, recipe)
    if serving.base is not None:
        return _in(home.artefacts.get(serving.base), own)
    return spec or _alone(own)


def _in(folder: Path, like: ModelSpec) -> ModelSpec:
    """A model in an artefact: a .gguf beside its tokenizer."""
    [file] = folder.glob("*.gguf")
    return replace(_alone(like), source=str(file), tokenizer=str(folder))


def _alone(spec: ModelSpec) -> ModelSpec:
    """Under llama.cpp; one at a time where no table says otherwise, so that an answer depends on
    nobody else's."""
    return spec if spec.engine == LLAMA else replace(spec, engine="llama.cpp", concurrency=1)


# ---------------------------------------------------------------- written


def _written(
    wanted: Serving,
    spec: ModelSpec | None,
    recipe: Recipe,
    task: Task,
    artefacts: Sequence[str],
    home: Home,
) -> Serving:
    own, weights = model_of(task, recipe), recipe.weights
    is_gguf = own.engine == LLAMA or (own.url is None and _is_gguf(own.source))
    if not artefacts and not wanted.format and (spec is not None or is_gguf):
        return Serving(wanted.engine)  # the file that is there
    if is_fake(own.source) or own.url is not None or own.engine == LLAMA:
        raise InputError(
            f"{recipe.name}: the weights of the model {own.name} are not on this machine in a form "
            "that can be written for llama.cpp; expected a model under torch"
        )
    is_adapter = weights.method in ("lora", "qlora") and not weights.dora
    format = wanted.format or (ADAPTER if is_adapter else WHOLE)
    if format == ADAPTER and not is_adapter:
        raise InputError(f"--format {ADAPTER}: {recipe.name} has no adapter of that kind")
    backend = _trained(own, task, artefacts, home)
    made = Serving(wanted.engine, format, _put(home, lambda to: _write(backend, format, to)))
    if format != ADAPTER or spec is not None or is_gguf:
        return made
    plain = _trained(own, task, (), home)
    return replace(made, base=_put(home, lambda to: _write(plain, WHOLE, to)))


def _is_gguf(source: str) -> bool:
    return not is_fake(source) and locate(source).endswith(".gguf")


def _trained(own: ModelSpec, task: Task, artefacts: Sequence[str], home: Home) -> TorchBackend:
    from steelyard.models.torch_backend import TorchBackend

    backend = open_backend(own, memory_gb=task.limits.memory_gb)
    for name in artefacts:
        backend = backend.adapted(home.artefacts.get(name))
    assert isinstance(backend, TorchBackend)
    return backend


def _write(backend: TorchBackend, format: str, folder: Path) -> None:
    from steelyard.training import export

    export.export(backend, format, folder)
    if format != ADAPTER:
        backend.renderer.tokenizer.save_pretrained(folder)


def _put(home: Home, write: Callable[[Path], None]) -> str:
    """The artefact of what `write` writes into a folder."""
    for left in home.path.glob(f"{PARTIAL}*"):  # by a kill; one process works in a home at a time
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=home.path, prefix=PARTIAL))
    try:
        write(folder)
        return home.artefacts.put(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
