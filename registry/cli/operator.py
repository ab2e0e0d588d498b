"""What an operator does: publish, retire, officials' links.

Secrets are read from files and printed to files or the terminal, never taken as arguments.
"""

import json
import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from threading import Event

import click
from prometheus_client import Counter, Gauge
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.app import TO_THE_SECOND, Publisher, check_folder, configure_logging, publisher
from registry.cli.faults import told_plainly
from registry.cli.first_run import sign_in_url
from registry.config import read_settings
from registry.errors import PublishingFailed, RegistryError
from registry.lifecycle.publish import PublishOutcome
from registry.models import (
    Official,
    open_database,
)

log = logging.getLogger("registry.publisher")

RETIRE_EVERY_SECONDS = 3600
LONGEST_WAIT_SECONDS = 10.0

last_success = Gauge(
    "registry_publish_last_success_timestamp_seconds",
    "When publishing last succeeded",
    multiprocess_mode="max",
)
batches_total = Counter("registry_batches_published", "Batches published")
failures_total = Counter("registry_publish_failures", "Runs of the publisher that failed")


@click.command()
@click.option("--loop", is_flag=True, help="Go on until stopped; also retires every hour.")
@click.option("--holder", help="Name in the lease. Under the name of a publisher that died, go on at once.")
@told_plainly
def publish(*, loop: bool, holder: str | None) -> None:
    """Publish what is due: once, for a timer, or for ever with --loop."""
    configure_logging(when=TO_THE_SECOND)
    worker = publisher(read_settings(), holder=holder)
    if loop:
        _publish_for_ever(worker)
    else:
        _publish_once(worker)


def _publish_once(worker: Publisher) -> None:
    try:
        outcome = worker.publish()
    except PublishingFailed as failure:
        # What went out in the other regions is told all the same.
        _tell(failure.outcome)
        raise
    _tell(outcome)
    if not outcome.busy:
        last_success.set_to_current_time()


def _tell(outcome: PublishOutcome) -> None:
    if outcome.busy:
        log.info("another publisher is at work")
    if outcome.clock_behind:
        log.warning("the clock is behind the last window: nothing is sealed until it has caught up")
    for batch in outcome.batches:
        log.info("published %s window %d in %d file(s)", batch.region, batch.sequence, len(batch.files))
    batches_total.inc(len(outcome.batches))


def _publish_for_ever(worker: Publisher) -> None:
    """Publish at every window's end, and retire every hour, until a signal."""
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    retire_due = 0.0
    while not stop.is_set():
        with _told("not published"):
            _publish_once(worker)
        # Apart from publishing: what must be forgotten is forgotten, whatever holds publishing up.
        if worker.clock() >= retire_due:
            with _told("not retired"):
                _, collecting_gone = worker.retire()
                if not collecting_gone.busy:
                    retire_due = worker.clock() + RETIRE_EVERY_SECONDS
        stop.wait(_pause(worker))


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Outlive every fault of the block and say it: the next round tries again, and recovery is a round."""
    try:
        yield
    except Exception as error:
        failures_total.inc()
        # The kind alone of a fault that is not ours: a message or a traceback could quote a row.
        reason = str(error) if isinstance(error, RegistryError) else _kind(error)
        log.error("%s: %s", what, reason)  # noqa: TRY400


def _kind(error: Exception) -> str:
    named = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return type(error).__qualname__ + named


def _pause(worker: Publisher) -> float:
    window = worker.settings.window_seconds
    return min(window - worker.clock() % window + 0.05, LONGEST_WAIT_SECONDS)


@click.command()
@told_plainly
def retire() -> None:
    """Forget the keys, files, codes and tokens whose time has come."""
    configure_logging(when=TO_THE_SECOND)
    forgotten = publisher(read_settings()).retire()
    issuing_gone, collecting_gone = forgotten
    for name, half in (("issuing", asdict(issuing_gone)), ("collecting", asdict(collecting_gone))):
        counts = [f"{count} {kind.replace('_', ' ')}" for kind, count in half.items() if kind != "busy"]
        click.echo(f"{name}: {', '.join(counts)}")
    if collecting_gone.busy:
        click.echo("A publisher is at work: keys and files wait for the next time.")


@click.group()
def official() -> None:
    """Officials and their sign-in links."""


@official.command()
@click.option("--id", "official_id", help="Whose link; the first official's without it.")
@told_plainly
def link(official_id: str | None) -> None:
    """Print a fresh one-time sign-in link. It is good for a day."""
    settings = read_settings()
    check_folder(settings)
    engine = open_database(settings.issuing_database_url)
    with Session(engine) as session:
        wanted = select(Official.id).where(Official.disabled.is_(False))
        found = session.scalars(wanted.where(Official.id == official_id) if official_id else wanted).first()
    if found is None:
        raise click.ClickException("no such official who may sign in: run `make run` once, or check --id")
    url = sign_in_url(settings, engine, found, int(time.time()))
    if settings.first_run_path.exists():
        # The registry that runs in this folder may have another port than this command's settings.
        base_url = json.loads(settings.first_run_path.read_text())["base_url"]
        url = url.replace(settings.base_url, base_url, 1)
    click.echo(url)
