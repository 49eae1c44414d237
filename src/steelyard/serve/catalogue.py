"""What a server serves, by the name that requests give: releases, base models, embedders.

Releases are opened in the engine's thread and share their bases in memory. A promotion in the home
folder is taken up while the server runs.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from steelyard.core import ModelSpec, Release
from steelyard.errors import InputError, RequestError, SteelyardError
from steelyard.lifecycle.engine import Engine, Work
from steelyard.lifecycle.home import Home
from steelyard.lifecycle.releases import Served, find_release, open_release
from steelyard.models import Backend, Embedder, embedder_of, is_fake, open_backend, open_embedder
from steelyard.store.tuning import TuningJob

MOST_OPEN = 64  # releases in memory beside those with an alias, for want of a better bound
MOST_NAMED = 10  # models, where a request asked for another


@dataclass(frozen=True, eq=False)
class Plain:
    """A base model without a task, or, without a `spec`, what was fine-tuned from one."""

    name: str
    backend: Backend
    created: int
    spec: ModelSpec | None = None


@dataclass(frozen=True, eq=False)
class Embedding:
    """A sentence embedder, and what it was opened from."""

    name: str
    embedder: Embedder
    created: int
    source: str = "default"


Model = Served | Plain | Embedding


@dataclass
class Catalogue:
    """The models of a server. `names` are the releases to serve; all that there are when empty."""

    home: Home
    engine: Engine
    names: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    plain: dict[str, Plain] = field(default_factory=dict)
    embedders: dict[str, Embedding] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    _open: dict[str, Served] = field(default_factory=dict)
    _aliases: dict[str, str] = field(default_factory=dict)
    _shares: dict[str, tuple[str, float]] = field(default_factory=dict)
    _state: int = -1
    _lock: threading.Lock = field(default_factory=threading.Lock)  # of `put` and `take`

    def load(self) -> None:
        """Open all that has an alias, and the base models.

        Raises:
            SteelyardError: one that was named cannot be opened, or there is nothing to serve.
        """
        for name in self.names:
            find_release(self.home, name)
        self.look(first=True)
        now = int(time.time())
        specs = [named(base) for base in self.bases]
        for spec in specs:
            self.plain[spec.name] = Plain(spec.name, open_backend(spec), now, spec)
        for served in self._open.values():
            self._add_base(served)
        for job in self.home.tuning.all("succeeded"):
            self._reopen(job)
        if not self._open and not self.plain:
            raise InputError(
                f"{self.home.path}: nothing is published here yet; run: steelyard publish TASK, "
                "or serve a base model alone with --base NAME"
            )
        specs += [served.task.models[0] for served in self._open.values()]
        self._add_embedder(embedder_of(specs[0]) if specs else "default", now)

    def put(self, job: TuningJob, folder: Path) -> None:
        """Have the model of a fine-tuning job answer from now on.

        Raises:
            SteelyardError: its base or its weights cannot be opened.
        """
        backend = open_backend(ModelSpec(**job.asked["base"])).adapted(folder)
        made = Plain(job.model, backend, int(time.time()))
        # Another dict: whoever goes through this one is not disturbed.
        with self._lock:
            self.plain = {**self.plain, job.model: made}

    def take(self, name: str) -> None:
        """Have a model that was fine-tuned answer no more."""
        with self._lock:
            self.plain = {known: plain for known, plain in self.plain.items() if known != name}

    def look(self, *, first: bool = False) -> bool:
        """Take up what was promoted since the last look; whether there was anything.

        A release that cannot be opened leaves what is served as it was, with the reason in
        `problems`; at first, an error.
        """
        state = self.home.releases.state()
        if state == self._state:
            return False
        self._state = state
        names = self.names or dict.fromkeys(r.name for r in self.home.releases.all())
        aliases, shares = dict(self._aliases), {}
        for name in names:
            if (shared := self.home.releases.shared(name)) is not None:
                shares[name] = (f"{name}@{shared.version}", float(shared.evidence["share"]))
            of = self.home.releases.aliases(name)
            for release in self.home.releases.all(name):
                mine = [alias for alias, version in of.items() if version == release.version]
                if mine and self._opened(release, must=first):
                    aliases |= {f"{name}@{alias}": release.id for alias in mine}
                    if "champion" in mine:
                        aliases[name] = release.id
        self._aliases, self._shares = aliases, shares
        return True

    async def keep_up(self) -> None:
        """Take up what was promoted meanwhile, in the engine's thread."""
        if self.home.releases.state() != self._state:
            work = Work("look", None, lambda _items, _listen: [self.look()])
            await asyncio.wrap_future(self.engine.submit(work))

    async def find(self, name: str) -> Model:
        """What a name means: a release (`name`, `name@2`, `name@challenger`) or a base model.

        Raises:
            RequestError: nothing of that name is served.
        """
        id = self._aliases.get(name, name)
        if name in self._shares:
            challenger, share = self._shares[name]
            id = challenger if random.random() < share and challenger in self._open else id
        found = self._open.get(id)
        if found is not None:
            return found
        if name in self.plain:
            return self.plain[name]
        if name in self.embedders:
            return self.embedders[name]
        return await self._open_version(name)

    def listed(self) -> list[tuple[str, int, Model]]:
        """Every name with when it was made, in Unix seconds, and what it means."""
        rows: list[tuple[str, int, Model]] = []
        for name, id in [*self._aliases.items(), *((id, id) for id in self._open)]:
            served = self._open[id]
            rows.append((name, _unix(served.release.created_at), served))
        rows += [(p.name, p.created, p) for p in self.plain.values()]
        rows += [(e.name, e.created, e) for e in self.embedders.values()]
        return rows

    def stale(self) -> dict[str, tuple[str, ...]]:
        """The releases that are not as they were published, and why."""
        return {id: served.stale for id, served in self._open.items() if served.stale}

    async def _open_version(self, name: str) -> Served:
        base, at, version = name.partition("@")
        wanted = self.names or [base]
        if at and version.isdecimal() and base in wanted and len(self._open) < MOST_OPEN:
            for release in self.home.releases.all(base):
                if release.id == name:
                    work = Work(
                        f"open {name}",
                        release,
                        lambda items, _: [self._opened(items[0], must=True)],
                    )
                    await asyncio.wrap_future(self.engine.submit(work))
                    return self._open[name]
        served = list(dict.fromkeys(known for known, _, _ in self.listed()))
        more = f" and {len(served) - MOST_NAMED} more" if len(served) > MOST_NAMED else ""
        raise RequestError(
            f"The model `{name[:100]}` does not exist or you do not have access to it. Served: "
            f"{', '.join(served[:MOST_NAMED])}{more}.",
            status=404,
            code="model_not_found",
            param="model",
        )

    def _opened(self, release: Release, *, must: bool) -> bool:
        if release.id not in self._open:
            try:
                self._open[release.id] = open_release(release, self.home)
            except SteelyardError as error:
                if must:
                    raise
                self.problems[release.id] = str(error)
                return False
        self.problems.pop(release.id, None)
        return True

    def _add_base(self, served: Served) -> None:
        if served.base is not None:
            name, backend = served.base
            spec = ModelSpec(name, backend.source, engine="llama.cpp")
            self.plain.setdefault(name, Plain(name, backend, int(time.time()), spec))
        if served.release.serving is not None:
            return  # the models that it was weighed with are not loaded beside
        for spec in served.task.models:
            if spec.url is None and spec.name not in self.plain:
                backend = open_backend(spec, memory_gb=served.task.limits.memory_gb)
                self.plain[spec.name] = Plain(spec.name, backend, int(time.time()), spec)

    def _reopen(self, job: TuningJob) -> None:
        """Serve what was fine-tuned before; one that cannot be opened is a problem of its own."""
        if job.result.get("deleted"):
            return
        try:
            self.put(job, self.home.artefacts.get(job.result["artefact"]))
        except SteelyardError as error:
            self.problems[job.model] = str(error)

    def _add_embedder(self, source: str, now: int) -> None:
        name = "fake-embedder" if is_fake(source) else "all-MiniLM-L6-v2"
        try:
            opened = open_embedder(source)
            self.embedders[name] = Embedding(name, opened, now, source)
        except SteelyardError as error:  # its package is not installed: all else is served
            self.problems[name] = str(error)


def named(base: str) -> ModelSpec:
    """A base model of `--base`: a source, or NAME=SOURCE.

    >>> named("gpt-4o-mini=default").name, named("gpt-4o-mini=default").source
    ('gpt-4o-mini', 'default')
    >>> named("models/a=b").source
    'models/a=b'
    """
    name, is_named, source = base.partition("=")
    if is_named and source and re.fullmatch(r"[\w.:-]+", name):
        return ModelSpec(name, source)
    return ModelSpec(base, base)


def _unix(time_text: str) -> int:
    return int(datetime.fromisoformat(time_text).timestamp())
