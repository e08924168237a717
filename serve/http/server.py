"""The server's life: listen, load, answer, drain. Started by `svfit serve`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from serve.access import Access, load_access
from serve.batching.scheduler import Scheduler
from serve.bundle import Bundle
from serve.config import ServeConfig
from serve.errors import UsageError
from serve.http.app import create_app
from serve.http.exchange import Exchange
from serve.http.loading import load, open_bundle
from serve.http.logs import Log, LogHandler
from serve.runtime import Runtime
from serve.service import Service
from serve.site.store import Site
from serve.site.switch import CLOSE_SECONDS, Switch

LOGGERS = ("uvicorn.error", "serve")
BACKLOG = 2048
KEEP_ALIVE_SECONDS = 65  # more than the 60 that proxies wait, so that it is they who close a connection
STOPS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Started:
    """A server that answers: where, with what."""

    url: str
    grpc: str | None
    bundle: str
    variant: str
    adapters: int


def run(
    bundle: Path | None,
    config: ServeConfig,
    *,
    environment: Mapping[str, str],
    announce: Callable[[Started], None],
) -> None:
    """Serve a bundle, or a site's current release, until SIGTERM or SIGINT; then finish what is under way within
    `drain_seconds`.

    `bundle` may be None where `config.site` has a release. `announce` is called once, when requests are taken. It
    listens before it loads, so that `live` and `ready` tell the truth meanwhile. Raises UsageError (an address, keys,
    TLS files), InputError (the bundle), Conflict (the site is another process's).
    """
    log = Log(config.log)
    access = load_access(config.host, config.api_keys_file, config.admin_keys_file, environment)
    _check_tls(config)
    _warn(access, config, log)
    with listen(config.host, config.port) as listening, _logging_to(log):
        asyncio.run(_serve(bundle, config, access, log, listening, announce))


async def _serve(
    bundle: Path | None,
    config: ServeConfig,
    access: Access,
    log: Log,
    listening: socket.socket,
    announce: Callable[[Started], None],
) -> None:
    service = Service(None, None, config, access=access)
    app = create_app(service, log=log)
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, round(config.drain_seconds)),
            ssl_certfile=config.tls_cert,
            ssl_keyfile=None if config.tls_key is None else str(config.tls_key),
        )
    )
    told = asyncio.Event()
    url = _url("http" if config.tls_cert is None else "https", listening)

    def observe(exchange: Exchange) -> None:
        log.request(exchange)
        app.state.metrics.request(exchange, exchange.path)

    def stop() -> None:
        if service.state == "draining":
            server.force_exit = True
            return
        log.event("stopping", waiting=service.waiting)
        service.state = "draining"
        server.should_exit = True
        told.set()

    with _on_signals(stop):
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        log.event("loading", bundle=str(bundle or config.site), url=url)
        site: Site | None = None
        doors: list[Any] = []

        def loaded(opened: Bundle, state: Path | None) -> tuple[Runtime, Scheduler]:
            return load(opened, state, config, app.state.metrics.batch)

        try:
            site, opened, state = await asyncio.to_thread(open_bundle, bundle, config, log)
            service.open(*await asyncio.to_thread(loaded, opened, state))
            if site is not None:
                service.site = Switch(site, service, loaded, log.event)
            grpc = await _open_grpc(service, config, doors, observe)
            if service.state == "ready":
                runtime = service.runtime
                adapters = len(await service.call(runtime.list))
                announce(Started(url, grpc, runtime.bundle.manifest.name, runtime.variant.name, adapters))
                now = None if site is None else site.history.now
                released = {} if now is None else {"release": now.release}
                log.event("ready", url=url, grpc=grpc, adapters=adapters, **released)
            await asyncio.wait({serving, asyncio.create_task(told.wait())}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            service.state = "draining"
            server.should_exit = True
            told.set()
            await asyncio.gather(serving, *(door.stop(config.drain_seconds) for door in doors))
            if service.site is not None:
                await service.site.close()
            elif site is not None:
                site.close()
            service.close()
            if service.parts is not None:
                await asyncio.to_thread(service.parts.close, CLOSE_SECONDS)
            log.event("stopped")


class _Server(uvicorn.Server):
    """uvicorn's server, but for its signals: it would end by the signal itself, and so not with exit code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs it."""
        yield


async def _open_grpc(
    service: Service, config: ServeConfig, doors: list[Any], observe: Callable[[Exchange], None]
) -> str | None:
    if config.grpc_port is None:
        return None
    from serve.rpc.server import start

    tls = None if config.tls_cert is None or config.tls_key is None else (config.tls_cert, config.tls_key)
    door = await start(service, config.host, config.grpc_port, tls, observe)
    doors.append(door)
    return f"{_bracketed(config.host)}:{door.port}"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UsageError.

    It is made as TCP by name (create_server leaves the protocol open), as only then asyncio turns Nagle's algorithm
    off, which holds the second packet of an answer back for 40 ms.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
        except BaseException:
            listening.close()
            raise
        return listening
    except OSError as error:
        raise UsageError(f"can't listen on {host} port {port} ({error.strerror or error}); try --port 0") from error


def _url(scheme: str, listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"{scheme}://{_bracketed(host)}:{port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _check_tls(config: ServeConfig) -> None:
    if config.tls_cert is None or config.tls_key is None:
        return
    for path in (config.tls_cert, config.tls_key):
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(config.tls_cert, config.tls_key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise UsageError(
            f"tls_cert {config.tls_cert} and tls_key {config.tls_key} can't be used ({error}); "
            "they must be PEM, belong together, and have no password"
        ) from error


def _warn(access: Access, config: ServeConfig, log: Log) -> None:
    if access.local:
        return
    if not access.api_keys:
        log.event("anyone who reaches this address may ask for answers; set SVFIT_API_KEY or api_keys_file", "warning")
    elif config.tls_cert is None:
        log.event("keys travel unencrypted; set tls_cert and tls_key, or put a proxy with TLS before it", "warning")
    if not access.admin_keys:
        log.event("adapters can't be changed over the network; set SVFIT_ADMIN_KEY or admin_keys_file", "warning")


@contextlib.contextmanager
def _on_signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in STOPS}
    for number in STOPS:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _logging_to(log: Log) -> Iterator[None]:
    """What libraries and the parts of `serve` warn of goes to the log."""
    handler = LogHandler(log)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
            logger.propagate = True
