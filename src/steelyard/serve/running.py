"""The verb `serve`: opens a home folder's models and answers until it is told to end."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import uvicorn

from steelyard.errors import InputError
from steelyard.lifecycle import uploads
from steelyard.lifecycle.engine import Engine
from steelyard.lifecycle.home import DEFAULT_HOME, Home, open_home
from steelyard.lifecycle.recording import Recorder
from steelyard.lifecycle.tuning import Tuner
from steelyard.lifecycle.vector_stores import Stores
from steelyard.serve.app import create_app
from steelyard.serve.catalogue import Catalogue
from steelyard.serve.gate import LOOPBACK
from steelyard.serve.metrics import Labels
from steelyard.serve.protocol import Protocol
from steelyard.serve.service import Service, Settings
from steelyard.serve.tracing import open_tracing
from steelyard.serve.waiting import waiting_embedder
from steelyard.store.traffic import Traffic
from steelyard.store.tuning import ACTIVE

CLOSE_SECONDS = 10.0  # for what is left when connections are drained
SWITCH_SECONDS = 0.0005  # that a thread keeps Python to itself: a tenth of its default


@contextmanager
def open_service(home: Home, settings: Settings) -> Iterator[Service]:
    """A service over an open home folder, its models loaded.

    Raises:
        SteelyardError: there is nothing to serve, or it cannot be opened.
        InputError: it would be open to others without a key.
    """
    engine = Engine(most_waiting=settings.most_waiting)
    catalogue = Catalogue(home, engine, settings.names, settings.bases)
    traffic = Traffic(home.traffic)
    recorder = Recorder(traffic, settings.retention)
    tuner = Tuner(home, catalogue.put, catalogue.take)
    stores = Stores(home, partial(waiting_embedder, catalogue, engine))
    service = Service(settings, home, engine, catalogue, recorder, tuner, stores)
    _measure(service)
    try:
        service.tracing = open_tracing(settings.trace)
        service.read_keys()
        if settings.host not in LOOPBACK and not service.needs_key:
            raise InputError(
                f"--host {settings.host}: others could ask, and there is no key; make one with: "
                "steelyard keys add NAME"
            )
        catalogue.load()
        uploads.clear_partial(home)
        tuner.start()
        stores.start()
        yield service
    finally:
        tuner.close(CLOSE_SECONDS)
        stores.close(CLOSE_SECONDS)
        engine.close(CLOSE_SECONDS)
        recorder.close(CLOSE_SECONDS)
        traffic.close()
        if service.tracing is not None:
            service.tracing.close()


def _measure(service: Service) -> None:
    """Have `/metrics` show what is as it is now."""
    home, engine, recorder = service.home, service.engine, service.recorder
    gauges = service.metrics.gauges
    gauges["steelyard_waiting"] = ("Requests in the queue.", lambda: engine.num_waiting)
    gauges["steelyard_lost_records"] = ("Records not written.", lambda: recorder.lost)
    gauges["steelyard_engine_busy_seconds"] = (
        "How long the call that runs has been running.",
        lambda: engine.busy_seconds,
    )
    gauges["steelyard_tuning_jobs"] = (
        "Fine-tuning jobs that wait or run.",
        lambda: len(home.tuning.all(*ACTIVE)),
    )
    gauges["steelyard_problems"] = (
        "Releases that could not be opened.",
        lambda: len(service.catalogue.problems),
    )
    gauges["steelyard_refresh_running"] = (
        "1 while this server refreshes something.",
        lambda: float(service.refresher.is_running),
    )
    service.metrics.labelled["steelyard_refresh_due_seconds"] = (
        "Until the task file of each name has it refreshed.",
        service.refresher.seconds_left,
    )
    service.metrics.labelled["steelyard_drift_p_value"] = (
        "Of each sign of drift, as it was last looked at.",
        lambda: {key: p for key, (p, _) in _signs(home).items() if p is not None},
    )
    service.metrics.labelled["steelyard_drift_alarm"] = (
        "1 where a sign of drift was there.",
        lambda: {key: float(alarm) for key, (_, alarm) in _signs(home).items()},
    )


def serve(
    settings: Settings,
    *,
    home: Path = DEFAULT_HOME,
    ready: Callable[[Service, str], None] = lambda _service, _url: None,
) -> None:
    """Serve the releases of a home folder until SIGTERM or Ctrl-C, which let requests finish.

    Raises:
        HomeError: another process serves this home folder.
        InputError: there is nothing to serve, or it would be open to others without a key.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    with (
        open_home(home, create=bool(settings.bases), lock="serve") as opened,
        open_service(opened, settings) as service,
    ):
        listening = listen(settings)
        host, port = listening.getsockname()[:2]
        server = _Server(config_of(service))
        shown = f"[{host}]" if ":" in host else host
        server.ready = lambda: ready(service, f"http://{shown}:{port}")
        server.run([listening])


def _signs(home: Home) -> dict[Labels, tuple[float | None, bool]]:
    """The p value of each sign of drift of each release, and whether it was an alarm."""
    return {
        (("release", release), ("sign", sign["name"])): (sign["p_value"], sign["alarm"])
        for release, found in home.refreshes.drift().items()
        for sign in found["signs"]
    }


class _Server(uvicorn.Server):
    """Says when it takes requests."""

    ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            self.ready()


def listen(settings: Settings) -> socket.socket:
    """A socket at the host and port.

    Raises:
        InputError: they cannot be had.
    """
    try:
        listening = socket.create_server(
            (settings.host, settings.port),
            family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET,
            backlog=2048,
        )
        # Connections inherit it. asyncio leaves it out for sockets that it did not make, and each
        # piece of a stream would wait 40 ms for the one before it to be acknowledged.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise InputError(
            f"{settings.host}:{settings.port} cannot be listened at ({error.strerror}); "
            "name another with --host and --port"
        ) from error


def config_of(service: Service) -> uvicorn.Config:
    """How uvicorn runs a service: no access log, in which paths and users would stand."""
    settings = service.settings
    return uvicorn.Config(
        create_app(service),
        http=Protocol,
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=int(settings.drain_s),
        timeout_keep_alive=60,
    )
