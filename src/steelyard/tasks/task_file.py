"""`task.toml` → TaskSpec: every key checked, nothing read but the file itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

from steelyard.core import SPLITS, Limits, ModelSpec, Refresh, Search
from steelyard.errors import TaskError, nearest, unknown
from steelyard.tasks.knowledge import KEYS as KNOWLEDGE_KEYS
from steelyard.tasks.knowledge import KnowledgeSpec, parse_knowledge
from steelyard.tasks.toml_table import Table
from steelyard.tasks.wording import shown

OutputType = Literal["text", "label", "json"]

# Which output types each scorer can compare. `python:module:function` fits them all.
_FITS: dict[str, tuple[OutputType, ...]] = {
    "exact": ("text", "label", "json"),
    "label": ("label",),
    "fields": ("json",),
    "tokens_f1": ("text",),
    "rouge_l": ("text",),
    "chrf": ("text",),
    "contains": ("text",),
}
SCORERS: tuple[str, ...] = tuple(_FITS)
DEFAULT_SCORERS: dict[OutputType, str] = {
    "label": "label",
    "json": "fields",
    "text": "tokens_f1",
}
_PYTHON_SCORER = re.compile(r"python:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")

_KEYS: dict[str, tuple[str, ...]] = {
    "": (
        *("name", "instruction", "instructions"),
        *("data", "output", "knowledge", "search", "score", "models", "limits", "refresh"),
    ),
    "data": (
        *("files", "train", "dev", "test", "input", "target"),
        *(
            "group",
            "user",
            "time",
            "id",
            "split",
            "seed",
            "unlabelled",
            "preferences",
            "usd_per_label",
        ),
    ),
    "output": ("type", "schema"),
    "knowledge": KNOWLEDGE_KEYS,
    "search": ("examples", "reflection"),
    "score": ("scorer", "tolerance", "retention"),
    "models": ("base", "usd_per_machine_hour"),
    "refresh": ("every_hours", "on_drift", "rollback", "canary"),
    "limits": ("minutes", "usd", "usd_per_1k", "p95_ms", "too_long", "memory_gb"),
}
_MODEL_KEYS = (
    *("url", "model", "key_env"),
    *("usd_per_1m_input", "usd_per_1m_cached", "usd_per_1m_output"),
    *("context_tokens", "concurrency", "timeout_s", "tokenizer", "plain_http", "engine"),
)
_ENGINES = ("torch", "llama.cpp")  # what can run a model that is here
_ENGINE_KEYS = ("engine", "model", "context_tokens", "concurrency")
_SPEC = ModelSpec("", "")  # what holds where nothing is said


@dataclass(frozen=True, slots=True)
class DataSpec:
    """Where the rows are and what their columns mean.

    `files` maps each given split to its file, or "all" to the files to be split.
    """

    files: dict[str, tuple[Path, ...]]
    input: str
    target: str
    group: str | None = None
    user: str | None = None
    time: str | None = None
    id: str | None = None
    split: tuple[float, float, float] = (0.6, 0.2, 0.2)
    seed: int = 0
    unlabelled: Path | None = None
    preferences: Path | None = None
    usd_per_label: float = 0.0


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task file, read and checked. The tables stay for complaints about columns."""

    path: Path
    name: str
    instruction: str
    data: DataSpec
    data_table: Table
    output_type: OutputType
    schema: Path | None
    scorer: str
    tolerance: float
    models: tuple[ModelSpec, ...]
    usd_per_machine_hour: float
    limits: Limits
    knowledge: KnowledgeSpec
    knowledge_table: Table
    instructions: tuple[str, ...] = ()
    search: Search = Search()
    retention: tuple[Path, ...] = ()
    refresh: Refresh = Refresh()
    engines: tuple[ModelSpec, ...] = ()
    notes: tuple[str, ...] = field(default=())


def read_task_text(path: Path) -> str:
    """The text of a task file.

    Raises:
        TaskError: there is no such file, or it is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise TaskError(
            f"{path}:{line}: byte 0x{error.object[error.start]:02x} is not UTF-8. "
            "Expected a TOML file in UTF-8. Save it as UTF-8."
        ) from None
    except OSError as error:
        raise TaskError(
            f"{path}: the task file cannot be read ({error.strerror}). "
            "Expected a task.toml. Correct the path."
        ) from error


def parse_task(path: Path, text: str) -> TaskSpec:
    """The task file `path` whose content is `text`, every key checked.

    Raises:
        TaskError: an unknown key, a value of the wrong kind, a file that is not there.
    """
    top = Table.parse(path, text)
    top.known_only(_KEYS[""], _KEYS)
    data, output, score, limits = (top.table(key) for key in ("data", "output", "score", "limits"))
    knowledge, search = top.table("knowledge"), top.table("search")
    refresh = top.table("refresh")
    for table in (data, output, knowledge, search, score, limits, refresh):
        table.known_only(_KEYS[table.at[0]], _KEYS)
    name = top.required("name", "tickets")
    instruction = top.required("instruction", "Name the intent of the ticket.").strip()
    output.required("type", "label")
    output_type = cast(OutputType, output.choice("type", DEFAULT_SCORERS))
    schema = output.string("schema")
    if schema is not None and output_type != "json":
        raise output.error(
            "schema", f'is for type = "json", and the type is "{output_type}". Remove one of them.'
        )
    asked = {"reflection": search, "paraphrase": knowledge}
    models, writers, engines, notes = _models(top.table("models"), asked)
    tolerance = score.number("tolerance", high=1.0)
    hourly = top.table("models").number("usd_per_machine_hour")
    return TaskSpec(
        path=path,
        name=name,
        instruction=instruction,
        data=_data(data),
        data_table=data,
        output_type=output_type,
        schema=None if schema is None else output.file_at("schema", schema),
        scorer=_scorer(score, output_type),
        tolerance=0.02 if tolerance is None else tolerance,
        models=models,
        usd_per_machine_hour=0.10 if hourly is None else hourly,
        limits=_limits(limits, (*models, *writers.values())),
        knowledge=replace(
            parse_knowledge(knowledge, output_type, has_users="user" in data.values),
            paraphrase=writers.get("paraphrase"),
        ),
        knowledge_table=knowledge,
        instructions=_variants(top, instruction),
        search=Search(search.switch("examples"), writers.get("reflection")),
        retention=tuple(
            score.file_at("retention", name)
            for name in score.strings("retention", '["arc_easy.jsonl"]') or ()
        ),
        refresh=Refresh(
            every_hours=refresh.number("every_hours", low_is_in=False),
            on_drift=refresh.switch("on_drift"),
            rollback="rollback" not in refresh.values or refresh.switch("rollback"),
            canary=refresh.number("canary", high=1.0, low_is_in=False),
        ),
        engines=engines,
        notes=notes,
    )


def _data(data: Table) -> DataSpec:
    given = {name: data.string(name) for name in SPLITS}
    listed = data.strings("files", '["tickets.jsonl"]')
    files: dict[str, tuple[Path, ...]] = {}
    if listed is not None:
        both = [name for name in SPLITS if given[name] is not None]
        if both:
            raise data.error(
                both[0], f"and files are both given. Expected one of them. Remove {both[0]}."
            )
        files["all"] = tuple(data.file_at("files", name) for name in listed)
    elif given["train"] is None:
        raise TaskError(
            f"{data.where()}: [data] names no file to learn from. Expected files or train. "
            'Add a line such as files = ["tickets.jsonl"] under [data].'
        )
    for name, file in given.items():
        if file is not None:
            files[name] = (data.file_at(name, file),)
    if len(files) == len(SPLITS):
        for key in ("split", "seed"):
            if key in data.values:
                raise data.error(
                    key, "has nothing to split: train, dev and test are given. Remove it."
                )
    return DataSpec(
        files=files,
        input=data.required("input", "text"),
        target=data.required("target", "label"),
        group=data.string("group"),
        user=data.string("user"),
        time=data.string("time"),
        id=data.string("id"),
        split=_shares(data),
        seed=data.whole("seed") or 0,
        unlabelled=_file(data, "unlabelled"),
        preferences=_file(data, "preferences"),
        usd_per_label=data.number("usd_per_label") or 0.0,
    )


def _file(data: Table, key: str) -> Path | None:
    name = data.string(key, "a data file such as more.jsonl")
    return None if name is None else data.file_at(key, name)


def _shares(data: Table) -> tuple[float, float, float]:
    shares = data.values.get("split", [0.6, 0.2, 0.2])
    fits = isinstance(shares, list) and len(shares) == len(SPLITS)
    if not fits or not all(type(share) in (int, float) and 0 < share < 1 for share in shares):
        fits = False
    if not fits or abs(sum(shares) - 1) > 1e-6:
        raise data.error(
            "split",
            f"is {shown(shares)}. Expected the shares of train, dev and test: three numbers "
            "above 0 that sum to 1, such as [0.6, 0.2, 0.2]. Change it.",
        )
    return (shares[0], shares[1], shares[2])


def _scorer(score: Table, output_type: OutputType) -> str:
    name = score.string("scorer")
    if name is None:
        return DEFAULT_SCORERS[output_type]
    if _PYTHON_SCORER.fullmatch(name):
        return name
    known = (*SCORERS, "python:module:function")
    if name == "judge":
        raise score.error(
            "scorer", f'"judge" is not available in this version. Choose one of {", ".join(known)}.'
        )
    if name not in _FITS:
        raise TaskError(f"{score.where('scorer')}: {unknown('scorer', name, known)}")
    if output_type not in _FITS[name]:
        fitting = [scorer for scorer, types in _FITS.items() if output_type in types]
        raise score.error(
            "scorer",
            f'"{name}" compares {" or ".join(_FITS[name])}, and [output] type is "{output_type}". '
            f"Expected one of {', '.join(fitting)}, python:module:function. Change one of the two.",
        )
    return name


def _variants(top: Table, instruction: str) -> tuple[str, ...]:
    """Other wordings of the instruction, each to be weighed beside it."""
    listed = top.strings("instructions", '["Which queue is it for?"]') or ()
    variants = tuple(text.strip() for text in listed)
    if len({instruction, *variants}) <= len(variants):
        raise top.error(
            "instructions",
            "repeats the instruction or itself. Expected other wordings, as the instruction is "
            "weighed anyway. Remove the repeats.",
        )
    return variants


_WRITTEN = {"reflection": "the instruction is rewritten", "paraphrase": "documents are rewritten"}


def _models(
    models: Table, asked: dict[str, Table]
) -> tuple[tuple[ModelSpec, ...], dict[str, ModelSpec], tuple[ModelSpec, ...], tuple[str, ...]]:
    """The models to weigh, those that `asked` names in other tables for what they write, and all
    that tables describe."""
    tables = {
        key: models.table(key)
        for key, value in models.values.items()
        if isinstance(value, dict) and key not in _KEYS["models"]
    }
    models.known_only((*_KEYS["models"], *tables), _KEYS)
    remote = {
        name: _local(table) if "engine" in table.values else _remote(table)
        for name, table in tables.items()
    }
    base = models.strings("base", '["default"]') or ("default",)
    writers: dict[str, ModelSpec] = {}
    for key, table in asked.items():
        writer = table.string(key, "the name of a [models.NAME] table")
        if writer is None:
            continue
        if writer not in remote:
            raise table.error(
                key,
                f"is {shown(writer)}, and there is no table [models.{writer}]. Expected the "
                f"name of one, as {_WRITTEN[key]} by a model behind a URL. Add it."
                + nearest(writer, remote),
            )
        writers[key] = remote[writer]
    named = {*base, *(spec.name for spec in writers.values())}
    notes = tuple(
        f"[models.{name}] is not in [models] base, so it is not weighed."
        for name in remote
        if name not in named
    )
    local = models.file.parent
    specs = tuple(remote.get(n) or ModelSpec(n, _source(local, n)) for n in base)
    return specs, writers, tuple(remote.values()), notes


def _source(folder: Path, name: str) -> str:
    """A path when the name is spelt like one or stands beside the task file; else as it is."""
    if name == "default":
        return name
    path = folder / Path(name).expanduser()
    spelt_as_path = name.startswith((".", "/", "~")) or name.endswith(".gguf")
    return str(path.absolute()) if spelt_as_path or path.exists() else name


def _local(table: Table) -> ModelSpec:
    """A model that is here, with what runs it."""
    table.known_only(_MODEL_KEYS, _KEYS)
    engine = cast(Literal["torch", "llama.cpp"], table.choice("engine", _ENGINES))
    for key in table.values:
        if key not in _ENGINE_KEYS:
            raise table.error(
                key,
                "is of a model behind a URL, and engine says that this one is here. Remove one.",
            )
    name = table.at[-1]
    return ModelSpec(
        name=name,
        source=_source(table.file.parent, table.string("model") or name),
        context_tokens=_at_least_one(table, "context_tokens"),
        concurrency=_at_least_one(table, "concurrency") or 1,
        engine=engine,
    )


def _remote(table: Table) -> ModelSpec:
    table.known_only(_MODEL_KEYS, _KEYS)
    url = table.required("url", "http://localhost:8000/v1")
    if not re.match(r"https?://[^\s/]", url):
        raise table.error("url", f"is {shown(url)}. Expected http://… or https://…. Change it.")
    key_env = table.string("key_env")
    if key_env is not None and not re.fullmatch(r"[A-Za-z_]\w*", key_env, re.ASCII):
        # the value is not repeated: it may be the key itself
        raise table.error(
            "key_env",
            "is not the name of an environment variable. Expected a name such as OPENAI_API_KEY, "
            "not the key. Put the key into the environment and its name here.",
        )
    name = table.at[-1]
    return ModelSpec(
        name=name,
        source=table.string("model") or name,
        url=url,
        key_env=key_env,
        usd_per_1m_input=table.number("usd_per_1m_input"),
        usd_per_1m_cached=table.number("usd_per_1m_cached"),
        usd_per_1m_output=table.number("usd_per_1m_output"),
        context_tokens=_at_least_one(table, "context_tokens"),
        concurrency=_at_least_one(table, "concurrency") or _SPEC.concurrency,
        timeout_s=table.number("timeout_s", low_is_in=False) or _SPEC.timeout_s,
        tokenizer=_tokenizer(table),
        plain_http=table.switch("plain_http"),
    )


def _at_least_one(table: Table, key: str) -> int | None:
    number = table.whole(key)
    if number == 0:
        raise table.error(key, "is 0. Expected a whole number of at least 1. Change it.")
    return number


def _tokenizer(table: Table) -> str | None:
    name = table.string("tokenizer", "a folder with tokenizer.json")
    return None if name is None else str(table.path_at("tokenizer", name).absolute())


def _limits(limits: Table, models: Sequence[ModelSpec]) -> Limits:
    usd = limits.number("usd", low_is_in=False)
    for model in models:
        prices = (model.usd_per_1m_input, model.usd_per_1m_output)
        if usd is not None and model.url is not None and None in prices:
            raise limits.error(
                "usd",
                f"bounds what is paid, and [models.{model.name}] does not say what its tokens "
                "cost. Add usd_per_1m_input and usd_per_1m_output there; 0 is a price.",
            )
    too_long = limits.choice("too_long", ("error", "truncate")) or "error"
    return Limits(
        minutes=limits.number("minutes", low_is_in=False),
        usd=usd,
        usd_per_1k=limits.number("usd_per_1k", low_is_in=False),
        p95_ms=limits.number("p95_ms", low_is_in=False),
        too_long=cast(Literal["error", "truncate"], too_long),
        memory_gb=limits.number("memory_gb", low_is_in=False) or Limits().memory_gb,
    )
