"""What an operator does: publish, retire, officials' and auditors' links.

Secrets are read from files and printed to files or the terminal, never taken as arguments.
"""

import json
import logging
import signal
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from threading import Event
from typing import TextIO

import click
from prometheus_client import Counter, Gauge
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.app import TO_THE_SECOND, Publisher, check_folder, configure_logging, publisher
from registry.cli.faults import told_plainly
from registry.cli.first_run import sign_in_url
from registry.config import Settings, read_settings
from registry.errors import PublishingFailed, RegistryError
from registry.lifecycle.activity import record_operators_act
from registry.lifecycle.publish import PublishOutcome
from registry.models import Authority, Official, open_database, transaction
from registry.models.official import (
    USUAL_PERMISSIONS,
    Permission,
    Role,
    new_sign_in_link,
    permission_text,
)
from registry.protocol.activity import ActKind
from registry.protocol.committed import WITHDRAW_REASONS, WithdrawReason

log = logging.getLogger("registry.publisher")

RETIRE_EVERY_SECONDS = 3600
LONGEST_WAIT_SECONDS = 10.0
UNWITNESSED_WAIT_SECONDS = 2.0
"""Until witnesses are asked again while phones wait for their quorum."""

last_success = Gauge(
    "registry_publish_last_success_timestamp_seconds",
    "When publishing last succeeded",
    multiprocess_mode="max",
)
batches_total = Counter("registry_batches_published", "Batches published")
failures_total = Counter("registry_publish_failures", "Runs of the publisher that failed")
tree_size = Gauge(
    "registry_log_tree_size", "Leaves under the newest signed checkpoint", multiprocess_mode="mostrecent"
)
cosignature_age = Gauge(
    "registry_log_cosignature_age_seconds",
    "Age of the newest cosignature of a witness",
    multiprocess_mode="mostrecent",
)
witness_lag = Gauge(
    "registry_log_witness_lag",
    "Leaves that a witness has not cosigned",
    ["witness"],
    multiprocess_mode="mostrecent",
)


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
        _tell_claims(worker)
        _publish_once(worker)


def _publish_once(worker: Publisher) -> PublishOutcome:
    try:
        outcome = worker.publish()
    except PublishingFailed as failure:
        # What went out in the other regions is told all the same.
        _tell(failure.outcome)
        raise
    _tell(outcome)
    if not outcome.busy:
        last_success.set_to_current_time()
    return outcome


def _tell_claims(worker: Publisher) -> None:
    # Apart from publishing, like retiring: officials are told whatever holds publishing up.
    with _told("used codes not told"):
        worker.tell_claims()
    with _told("figures not made"):
        worker.release_figures()


def _measure(worker: Publisher) -> None:
    state = worker.log_state()
    tree_size.set(state.size)
    if state.cosigned_at is not None:
        cosignature_age.set(max(0.0, worker.clock() - state.cosigned_at))
    for name, lag in state.lags.items():
        witness_lag.labels(name).set(lag)


def _tell(outcome: PublishOutcome) -> None:
    if outcome.busy:
        log.info("another publisher is at work")
    if outcome.clock_behind:
        log.warning(
            "the clock is behind what was published: nothing is sealed or logged until it has caught up"
        )
    if outcome.unwitnessed:
        log.warning("the newest checkpoint has not its witnesses' quorum: phones are not pointed to it yet")
    if outcome.failed_open:
        log.warning("the newest checkpoint went out without its witnesses' quorum: they did not sign in time")
    for batch in outcome.batches:
        log.info("published %s window %d in %d file(s)", batch.region, batch.sequence, len(batch.files))
    batches_total.inc(len(outcome.batches))


def _publish_for_ever(worker: Publisher) -> None:
    """Publish at every window's end, tell officials of used codes every quarter of an hour, and retire every
    hour, until a signal."""
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    retire_due = 0.0
    while not stop.is_set():
        pause = LONGEST_WAIT_SECONDS
        with _told("not published"):
            pause = UNWITNESSED_WAIT_SECONDS if _publish_once(worker).unwitnessed else pause
        with _told("not measured"):
            _measure(worker)
        _tell_claims(worker)
        # Apart from publishing: what must be forgotten is forgotten, whatever holds publishing up.
        if worker.clock() >= retire_due:
            with _told("not retired"):
                _, collecting_gone = worker.retire()
                if not collecting_gone.busy:
                    retire_due = worker.clock() + RETIRE_EVERY_SECONDS
        stop.wait(_pause(worker, pause))


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


def _pause(worker: Publisher, longest: float) -> float:
    window = worker.settings.window_seconds
    return min(window - worker.clock() % window + 0.05, longest)


@click.command()
@click.argument("region")
@click.argument("sequence", type=click.IntRange(min=1))
@click.option("--reason", type=click.Choice(WITHDRAW_REASONS), required=True)
@click.option(
    "--reference-file",
    type=click.File(encoding="utf-8"),
    required=True,
    help="Says why, in words: kept here; the log gets a salted commitment to it.",
)
@told_plainly
def withdraw(region: str, sequence: int, reason: WithdrawReason, reference_file: TextIO) -> None:
    """Take the files of window SEQUENCE of REGION away before their time. The log says so for ever."""
    configure_logging(when=TO_THE_SECOND)
    worker = publisher(read_settings())
    worker.withdraw(region, sequence, reason, reference_file.read())
    click.echo(f"Window {sequence} of {region} is withdrawn.")
    outcome = _publish_once(worker)
    if outcome.busy:
        click.echo("A publisher is at work: its next round takes the files out of the index.")
    elif outcome.unwitnessed:
        click.echo("The files go once the witnesses have cosigned that, or their time has run out.")
    else:
        click.echo("Its files are out of the index and deleted.")


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
@click.option(
    "--id", "official_id", help="Whose link; the first official's of the settings' authority without it."
)
@told_plainly
def link(official_id: str | None) -> None:
    """Print a fresh one-time sign-in link. It is good for a day."""
    settings = read_settings()
    check_folder(settings)
    engine = open_database(settings.issuing_database_url)
    with Session(engine) as session:
        wanted = select(Official.id).where(Official.disabled.is_(False), Official.role == Role.OFFICIAL.value)
        whose = (
            Official.id == official_id
            if official_id
            else Official.authority_id == settings.health_authority_id
        )
        found = session.scalars(wanted.where(whose)).first()
    if found is None:
        raise click.ClickException("no such official who may sign in: run `make run` once, or check --id")
    click.echo(_at_its_address(settings, sign_in_url(settings, engine, found, int(time.time()))))


@official.command("add")
@click.argument("name")
@click.option(
    "--may",
    "permissions",
    multiple=True,
    type=click.Choice([permission.value for permission in Permission]),
    help="What they may do; once for each. Without it: issue, recall, approve.",
)
@click.option("--authority", "authority_id", help="Whose official; the authority of the settings without it.")
@told_plainly
def add_official(name: str, permissions: tuple[str, ...], authority_id: str | None) -> None:
    """Let one more official in, under this NAME (shown to officials alone); prints their id."""
    settings = read_settings()
    check_folder(settings)
    with Session(open_database(settings.issuing_database_url)) as session, transaction(session):
        owner = authority_id or settings.health_authority_id
        if session.get(Authority, owner) is None:
            raise click.ClickException(f"{owner} issues no codes here")
        added = _new_person(session, owner, name, Role.OFFICIAL, permissions)
        # On record: two officials can recall, and whoever makes officials could be both.
        record_operators_act(session, ActKind.OFFICIAL_ADDED, {"official": added}, time.time())
    click.echo(added)


@click.group()
def auditor() -> None:
    """Auditors who may see the receipts, and their sign-in links."""


@auditor.command("link")
@click.option("--id", "auditor_id", help="Whose link; the first auditor's without it, made if need be.")
@told_plainly
def auditor_link(auditor_id: str | None) -> None:
    """Print a fresh one-time sign-in link to the receipts. It is good for a day."""
    settings = read_settings()
    check_folder(settings)
    now = time.time()
    with Session(open_database(settings.issuing_database_url)) as session, transaction(session):
        found = _auditor(session, settings, auditor_id)
        token = new_sign_in_link(session, found, now=now)
        record_operators_act(session, ActKind.AUDITOR_LINK, {"auditor": found}, now)
    click.echo(_at_its_address(settings, f"{settings.base_url}/audit/sign-in/{token}"))


@auditor.command("add")
@click.argument("name")
@told_plainly
def add_auditor(name: str) -> None:
    """Let one more auditor in, under this NAME (shown to them alone); prints their id."""
    settings = read_settings()
    check_folder(settings)
    with Session(open_database(settings.issuing_database_url)) as session, transaction(session):
        click.echo(_new_person(session, settings.health_authority_id, name, Role.AUDITOR))


def _auditor(session: Session, settings: Settings, auditor_id: str | None) -> str:
    """Id of the auditor who is meant. Raises ClickException for one who may not sign in."""
    wanted = select(Official.id).where(Official.role == Role.AUDITOR.value)
    if auditor_id is None and session.scalars(wanted).first() is None:
        return _new_person(session, settings.health_authority_id, "First auditor", Role.AUDITOR)
    allowed = wanted.where(Official.disabled.is_(False))
    found = session.scalars(allowed.where(Official.id == auditor_id) if auditor_id else allowed).first()
    if found is None:
        raise click.ClickException("no such auditor who may sign in: check --id, or `registry auditor add`")
    return found


def _new_person(
    session: Session, authority_id: str, name: str, role: Role, permissions: Iterable[str] = ()
) -> str:
    person_id = str(uuid.uuid4())
    held = frozenset(map(Permission, permissions)) or USUAL_PERMISSIONS
    session.add(
        Official(
            id=person_id,
            authority_id=authority_id,
            name=name,
            role=role.value,
            permission_text=permission_text(held),
        )
    )
    session.flush()
    return person_id


def _at_its_address(settings: Settings, url: str) -> str:
    """The registry that runs in this folder may have another port than this command's settings."""
    if not settings.first_run_path.exists():
        return url
    base_url: str = json.loads(settings.first_run_path.read_text())["base_url"]
    return url.replace(settings.base_url, base_url, 1)
