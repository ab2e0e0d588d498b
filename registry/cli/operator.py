"""What an operator does: publish, retire, keys, officials' links, other authorities.

Secrets are read from files and printed to files or the terminal, never taken as arguments.
"""

import logging
import signal
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import click
from prometheus_client import Counter, Gauge
from rich.console import Console
from rich.table import Table
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.app import TO_THE_SECOND, Publisher, configure_logging, publisher
from registry.cli.first_run import YEAR, create_export_key, sign_in_url
from registry.config import DAY, read_settings
from registry.errors import RegistryError
from registry.models import (
    ExportSigningKey,
    HealthAuthority,
    HealthAuthorityKey,
    Official,
    open_database,
    transaction,
)
from registry.protocol.certificate import load_public_key

log = logging.getLogger("registry.publisher")

RETIRE_EVERY_SECONDS = 3600
LONGEST_WAIT_SECONDS = 10.0
OVERLAP_DAYS = 21

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
def publish(*, loop: bool, holder: str | None) -> None:
    """Publish what is due: once, for a timer, or for ever with --loop."""
    configure_logging(when=TO_THE_SECOND)
    worker = publisher(read_settings(), holder=holder)
    if loop:
        _publish_for_ever(worker)
        return
    try:
        _publish_once(worker)
    except RegistryError as error:
        raise click.ClickException(str(error)) from error


def _publish_once(worker: Publisher) -> None:
    outcome = worker.publish()
    if outcome.busy:
        log.info("another publisher is at work")
        return
    for batch in outcome.batches:
        log.info("published %s window %d in %d file(s)", batch.region, batch.sequence, len(batch.files))
    batches_total.inc(len(outcome.batches))
    last_success.set_to_current_time()


def _publish_for_ever(worker: Publisher) -> None:
    """Publish at every window's end until a signal. A failure is told and tried again: recovery is a run."""
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    retire_due = 0.0
    while not stop.is_set():
        try:
            _publish_once(worker)
            if worker.clock() >= retire_due:
                worker.retire()
                retire_due = worker.clock() + RETIRE_EVERY_SECONDS
        except Exception as error:  # the loop outlives every fault and says each one
            failures_total.inc()
            reason = str(error) if isinstance(error, RegistryError) else type(error).__qualname__
            log.error("not published: %s", reason)  # noqa: TRY400  # a traceback could quote a row
        stop.wait(_pause(worker))


def _pause(worker: Publisher) -> float:
    window = worker.settings.window_seconds
    return min(window - worker.clock() % window + 0.05, LONGEST_WAIT_SECONDS)


@click.command()
def retire() -> None:
    """Forget the keys, files, codes and tokens whose time has come."""
    configure_logging(when=TO_THE_SECOND)
    try:
        forgotten = publisher(read_settings()).retire()
    except RegistryError as error:
        raise click.ClickException(str(error)) from error
    for half in forgotten:
        for kind, count in asdict(half).items():
            click.echo(f"{kind}: {count}")


@click.group()
def official() -> None:
    """Officials and their sign-in links."""


@official.command()
@click.option("--id", "official_id", help="Whose link; the first official's without it.")
def link(official_id: str | None) -> None:
    """Print a fresh one-time sign-in link. It is good for a day."""
    settings = read_settings()
    engine = open_database(settings.issuing_database_url)
    with Session(engine) as session:
        wanted = select(Official.id).where(Official.disabled.is_(False))
        found = session.scalars(wanted.where(Official.id == official_id) if official_id else wanted).first()
    if found is None:
        raise click.ClickException("no such official: run `make run` once, or check --id")
    click.echo(sign_in_url(settings, engine, found, int(time.time())))


@click.group()
def keys() -> None:
    """Export signing keys: list them, rotate them."""


@keys.command("list")
def list_keys() -> None:
    """Which export signing keys sign now, and until when phones trust them."""
    settings = read_settings()
    now = int(time.time())
    table = Table("key", "from", "until", "state", "signing key")
    with Session(open_database(settings.collecting_database_url)) as session:
        for row in session.scalars(select(ExportSigningKey).order_by(ExportSigningKey.not_before)):
            name = f"{row.key_id}-{row.key_version}"
            live = row.not_before <= now < row.not_after
            here = (settings.keys_dir / "export" / f"{name}.pem").exists()
            table.add_row(
                name, _utc(row.not_before), _utc(row.not_after), "live" if live else "not live",
                "here" if here else "missing",
            )  # fmt: skip
    Console().print(table)


@keys.command()
@click.option(
    "--overlap-days", default=OVERLAP_DAYS, show_default=True, help="How long old keys go on signing."
)
def rotate(overlap_days: int) -> None:
    """Make a new export signing key. Old ones sign beside it until the overlap has ended.

    The overlap must be longer than phones stay offline, or they meet files that no key they know signed.
    """
    settings = read_settings()
    now = int(time.time())
    engine = open_database(settings.collecting_database_url)
    name = create_export_key(settings, engine, now, now + YEAR)
    new_version = name.rsplit("-", 1)[1]
    end = now + overlap_days * DAY
    with Session(engine) as session, transaction(session):
        for row in session.scalars(select(ExportSigningKey).where(ExportSigningKey.not_after > end)):
            if row.key_version != new_version:
                row.not_after = end
    click.echo(f"{name} signs from now on; older keys sign beside it until {_utc(end)}.")


@click.group()
def authority() -> None:
    """Health authorities whose verification certificates are accepted."""


@authority.command()
@click.argument("health_authority_id")
@click.option("--issuer", required=True, help="`iss` of its certificates.")
@click.option("--audience", required=True, help="`aud` of its certificates.")
@click.option(
    "--region", "regions", multiple=True, required=True, help="Region of its keys; may be repeated."
)
@click.option("--public-key", "public_keys", multiple=True, required=True, metavar="KID=FILE",
              help="A P-256 public key as PEM, by its key id; may be repeated.")  # fmt: skip
def add(health_authority_id: str, issuer: str, audience: str, regions: tuple[str, ...],
        public_keys: tuple[str, ...]) -> None:  # fmt: skip
    """Accept the certificates of another authority, under the public keys given."""
    settings = read_settings()
    pems = dict(_read_public_key(pair) for pair in public_keys)
    now = int(time.time())
    with Session(open_database(settings.collecting_database_url)) as session, transaction(session):
        session.merge(
            HealthAuthority(
                id=health_authority_id,
                certificate_issuer=issuer,
                certificate_audience=audience,
                regions=sorted({region.upper() for region in regions}),
            )
        )
        session.flush()
        for key_id, pem in pems.items():
            session.merge(
                HealthAuthorityKey(
                    health_authority_id=health_authority_id,
                    key_id=key_id,
                    public_key_pem=pem,
                    not_before=now,
                    not_after=now + YEAR,
                )
            )
    click.echo(f"{health_authority_id}: {len(pems)} key(s), regions {', '.join(sorted(set(regions)))}")


def _read_public_key(pair: str) -> tuple[str, str]:
    key_id, _, name = pair.partition("=")
    try:
        pem = Path(name).read_text()
        load_public_key(pem)
    except (OSError, RegistryError) as error:
        raise click.BadParameter(f"{pair}: {error}", param_hint="--public-key") from error
    return key_id, pem


def _utc(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
