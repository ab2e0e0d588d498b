"""`registry run`: the embedded registry, whole. Web server, publisher and metrics under one supervisor.

The supervisor holds no state. A child that dies is started again; SIGINT or SIGTERM ends all of them.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.request import ProxyHandler, build_opener

import click
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector
from rich.console import Console

from registry.cli.faults import told_plainly
from registry.cli.first_run import embedded_holder, prepare
from registry.config import Settings, read_settings
from registry.errors import ConfigurationError

PATIENCE_SECONDS = 15.0
STARTING_SECONDS = 60.0
RESTART_PAUSE_SECONDS = 1.0
PR_SET_PDEATHSIG = 1  # prctl(2)
SIGTERM = int(signal.SIGTERM)
UNPROXIED = build_opener(ProxyHandler({}))
"""What runs here is asked directly, whatever proxy this machine uses."""
LIBC: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
"""Only Linux can tell a child of its parent's death; elsewhere Ctrl-C ends all as ever."""


@click.command()
@told_plainly
def run() -> None:
    """Start the embedded registry and say where its doors are. Ctrl-C ends it."""
    settings = read_settings()
    with _only_one(settings):
        supervise(settings)


def supervise(settings: Settings) -> None:
    """Prepare the data folder, start everything, wait for a signal, end everything."""
    _refuse_taken_port(settings)
    first_run = prepare(settings, time.time)
    metrics_dir = Path(tempfile.mkdtemp(prefix="registry-metrics-"))
    environment = {
        **os.environ,
        "REGISTRY_DATA_DIR": str(settings.data_dir),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics_dir),
    }
    children = [
        Child("web", web_command(settings), environment),
        Child("publisher", publish_command(), environment),
    ]
    stop = StopSignal()
    try:
        if settings.metrics_port is not None:
            _serve_metrics(settings.host, settings.metrics_port, metrics_dir)
        for child in children:
            child.start()
        _wait_until_ready(settings, children[0], stop)
        if not stop.came:
            _print_doors(settings, first_run)
        while not stop.came:
            for child in children:
                child.revive()
            time.sleep(0.2)
    finally:
        for child in children:
            # A terminal's Ctrl-C has reached the children too: a second signal on top would hurry them.
            child.end(wait_first=2.0 if stop.number == signal.SIGINT else 0.0)
        shutil.rmtree(metrics_dir, ignore_errors=True)
    Console(stderr=True).print("Stopped. The same folder goes on where it was.")


def _wait_until_ready(settings: Settings, web: "Child", stop: "StopSignal") -> None:
    """Return when the web server answers or a signal came; ConfigurationError if it ends or never answers."""
    deadline = time.monotonic() + STARTING_SECONDS
    while not _answers(settings) and not stop.came:
        if not web.is_alive() or time.monotonic() > deadline:
            raise ConfigurationError("the web server did not start; what it said stands above")
        time.sleep(0.1)


def _answers(settings: Settings) -> bool:
    try:
        with UNPROXIED.open(f"http://{settings.host}:{settings.port}/readyz", timeout=5):
            return True
    except OSError:
        return False


def publish_command() -> list[str]:
    """The publisher's command line. Its name is the folder's, since one supervisor has one publisher: after a
    kill the next takes the lease back at once. Were there two, the fencing number would stop the older.
    """
    return [sys.executable, "-m", "registry.cli", "publish", "--loop", "--holder", embedded_holder()]


def web_command(settings: Settings) -> list[str]:
    """The web server's command line; no secret stands in it."""
    return [
        *(sys.executable, "-m", "gunicorn", "registry.app:embedded()"),
        *("--bind", f"{settings.host}:{settings.port}", "--workers", str(settings.web_processes)),
        *_concurrency(settings),
        *("--keep-alive", "5", "--graceful-timeout", "3", "--timeout", "60", "--no-control-socket"),
        *("--log-level", "warning", "--logger-class", "registry.cli.web_log.WebLog"),
        *("--config", "python:registry.cli.web_hooks"),
    ]


def _concurrency(settings: Settings) -> list[str]:
    """Green threads on PostgreSQL, whose driver lets others run while it waits: thousands of held answers
    cost a process no thread. SQLite waits for its lock and the disk without a word to anybody, and would hold
    up every other caller; so there each request has a thread.
    """
    urls = (settings.issuing_database_url, settings.collecting_database_url)
    if all(url.startswith("postgresql") for url in urls):
        # Loaded by each worker for itself: only once it is green itself may it import what is to be green.
        return ["--worker-class", "gevent", "--worker-connections", str(settings.web_connections)]
    # Loaded once and forked, a killed worker is back at once. No connection is open by then.
    return ["--worker-class", "gthread", "--threads", str(settings.web_threads), "--preload"]


class StopSignal:
    """Set by SIGINT or SIGTERM; `number` says by which."""

    def __init__(self) -> None:
        self.came = False
        self.number: int | None = None
        signal.signal(signal.SIGINT, self._note)
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.came, self.number = True, number


@dataclass
class Child:
    """A process that is kept alive until it is ended."""

    name: str
    command: list[str]
    environment: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = field(default=None)
    started_at: float = 0.0

    def start(self) -> None:
        """Start it. It shares our process group, so that one signal from a terminal reaches all."""
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603  # our own command
            self.command, env=self.environment, preexec_fn=_end_with_parent if LIBC else None
        )

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def revive(self) -> None:
        """Start it again if it died, with a pause between starts."""
        if self.process is None or self.is_alive():
            return
        if time.monotonic() - self.started_at >= RESTART_PAUSE_SECONDS:
            click.echo(
                f"{self.name} ended with status {self.process.returncode}; starting it again", err=True
            )
            self.start()

    def end(self, *, wait_first: float) -> None:
        """Wait, in seconds, for it to end by itself; then ask it to, wait, and kill it if it does not."""
        if self.process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(wait_first)
        if not self.is_alive():
            return
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _end_with_parent() -> None:
    """Runs in the child before its program: it gets SIGTERM when the supervisor dies, however that dies,
    so that nothing is left which holds the port. A system call and nothing else: no lock can be held here.
    """
    LIBC.prctl(PR_SET_PDEATHSIG, SIGTERM)


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """One embedded registry a folder. The lock ends with the process, however it ends."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(settings.data_dir / "run.lock", os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"a registry is running in {settings.data_dir} already: stop it, or set REGISTRY_DATA_DIR"
            ) from error
        yield


def _refuse_taken_port(settings: Settings) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise ConfigurationError(
                f"{settings.host}:{settings.port} cannot be used ({error.strerror}): set REGISTRY_PORT"
            ) from error


def _serve_metrics(host: str, port: int, folder: Path) -> None:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    start_http_server(port, addr=host, registry=registry)


def _print_doors(settings: Settings, first_run: dict[str, str]) -> None:
    url = settings.base_url
    console = Console(soft_wrap=True, highlight=False)
    console.print("\n[bold]The positive-key registry is running.[/bold] Ctrl-C ends it.")
    if settings.profile == "demo":
        console.print("This is a demonstration. It is not for real people.")
    console.print(f"\n  Everyone   {url}/")
    console.print(f"  Officials  {first_run['portal_sign_in_url']}   (signs one official in, once)")
    console.print(f"  Phones     {url}/.well-known/exposure-registry.json")
    console.print(f"  Auditors   {url}/audit/")
    console.print("\n  Fingerprint of its trust key, to be compared by phones and auditors:")
    console.print(f"  {first_run['trust_fingerprint']}")
    console.print("\nNext: open the officials' link, record a result, and hand the code to a phone:\n")
    registry = Path(sys.executable).parent / "registry"
    shown = os.path.relpath(registry)
    keys = _near(settings.first_run_path)
    console.print(f"  {shown} phone --store a.db init {url} --demo --staged --api-key-file {keys} \\")
    console.print(f"    --fingerprint {first_run['trust_fingerprint']}")
    console.print(f"  {shown} phone --store a.db upload\n")
    console.print(f"README.md has the whole walk. API keys stand in {keys}\n")


def _near(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
