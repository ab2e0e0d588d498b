"""`registry keys`: what signs export files, log, trust material and certificates: list it, rotate it."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console
from rich.table import Column, Table
from sqlalchemy import update
from sqlalchemy.orm import Session

from registry.app import check_folder, sms_key_version
from registry.cli.faults import told_plainly
from registry.cli.first_run import create_certificate_key
from registry.cli.rehearsal import rehearse as play_through
from registry.cli.rehearsal_report import tell_rehearsal
from registry.cli.rotation import YEAR, RotationPlan, carry_out, plan_rotation, registered_keys
from registry.config import DAY, Settings, read_settings
from registry.lifecycle.activity import record_operators_act
from registry.models import (
    Authority,
    CertificateKey,
    HealthAuthorityKey,
    open_database,
    transaction,
)
from registry.protocol.activity import ActKind
from registry.signing.file_key import FileKey, create_key_file
from registry.signing.key_place import open_key_ring

OVERLAP_DAYS = 21


@click.group()
def keys() -> None:
    """Signing keys: list them, rotate them."""


@keys.command("list")
@told_plainly
def list_keys() -> None:
    """Which export signing keys sign now, and until when; all other signing keys; where each of them lies."""
    settings = _settings()
    now = int(time.time())
    places = open_key_ring(settings.keys_dir, settings.token).places()
    table = Table(
        *(Column(name, overflow="fold") for name in ("key", "from", "until", "state", "signing key"))
    )
    for key in registered_keys(open_database(settings.collecting_database_url)):
        state = "live" if key.is_live(now) else "not live"
        place = _place(settings, places.get(f"export-{key.name}"))
        table.add_row(key.name, _utc(key.not_before), _utc(key.not_after), state, place)
    table.add_section()
    for label in _expected_labels(now, places):
        year = label.split("-")[1] if label.startswith("log-") else None
        begins, ends = (_utc(_new_year(int(year))), _utc(_new_year(int(year) + 1))) if year else ("", "")
        table.add_row(label, begins, ends, "", _place(settings, places.get(label)))
    Console().print(table)


@keys.command()
@click.option(
    "--overlap-days",
    type=click.IntRange(0, 365),
    default=OVERLAP_DAYS,
    show_default=True,
    help="How long old keys go on signing.",
)
@click.option(
    "--rehearse", is_flag=True, help="Change nothing: play it through on a stage, with real clients."
)
@told_plainly
def rotate(overlap_days: int, rehearse: bool) -> None:
    """Make a new export signing key. Old ones sign beside it until the overlap has ended.

    The overlap must be longer than phones stay offline, or they meet files that no key they know signed.
    Rehearse it first: the answer is a table of who reads what, and status 1 if somebody is left out.
    """
    settings = _settings()
    now = int(time.time())
    engine = open_database(settings.collecting_database_url)
    ring = open_key_ring(settings.keys_dir, settings.token)
    known = registered_keys(engine)
    plan = plan_rotation(known, region=settings.region, now=now, overlap_days=overlap_days)
    _tell_plan(settings, plan)
    if rehearse:
        with TemporaryDirectory(prefix="registry-rehearsal-") as folder:
            outcome = play_through(settings, known, ring, plan, Path(folder))
        tell_rehearsal(outcome, Console())
        raise SystemExit(0 if outcome.safe else 1)
    carry_out(plan, ring, engine, lambda: _record(settings, ActKind.KEY_ROTATED, plan.name, now))
    click.echo(f"{plan.name} signs from now on; older keys sign beside it until {_utc(plan.overlap_end)}.")


def _tell_plan(settings: Settings, plan: RotationPlan) -> None:
    where = "in a file" if settings.token is None else f"in the token {settings.token.label}"
    click.echo(f"The plan: {plan.name}, made {where}, signs from {_utc(plan.begins)} to {_utc(plan.ends)}.")
    for key in plan.shortened:
        click.echo(f"  {key.name} ends {_utc(plan.end_of(key))} instead of {_utc(key.not_after)}.")


def _expected_labels(now: int, places: Mapping[str, str]) -> list[str]:
    """What must be there besides export keys, and whatever else is: logs of years that are over."""
    this_year = datetime.fromtimestamp(now, UTC).year
    logs = [f"log-{year}{half}" for year in (this_year, this_year + 1) for half in ("", "-mldsa44")]
    found = {label for label in places if not label.startswith("export-")}
    return sorted(found | {*logs, "trust"})


def _place(settings: Settings, place: str | None) -> str:
    return "missing" if place is None else place.replace(f"{settings.data_dir}/", "")


def _new_year(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp())


@keys.command("rotate-certificate")
@click.option("--authority", "authority_id", help="Whose key; the settings' authority without it.")
@told_plainly
def rotate_certificate(authority_id: str | None) -> None:
    """Make a new key for verification certificates. It signs within a minute; the old one ends in a day."""
    settings = _settings()
    now = int(time.time())
    issuing, collecting = (
        open_database(url) for url in (settings.issuing_database_url, settings.collecting_database_url)
    )
    owner = authority_id or settings.health_authority_id
    with Session(issuing) as session:
        if session.get(Authority, owner) is None:
            raise click.ClickException(f"{owner} issues no codes here")
    name = create_certificate_key(settings, owner, issuing, collecting, now, now + YEAR)
    # Certificates live a quarter of an hour, and what was signed must be accepted for as long.
    ends = {"not_after": now + DAY}
    with Session(issuing) as session, transaction(session):
        others = (CertificateKey.key_id != name, CertificateKey.not_after > now + DAY)
        session.execute(
            update(CertificateKey).where(CertificateKey.authority_id == owner, *others).values(ends)
        )
        record_operators_act(session, ActKind.CERTIFICATE_KEY_ROTATED, {"key": name}, now)
    with Session(collecting) as session, transaction(session):
        session.execute(
            update(HealthAuthorityKey)
            .where(
                HealthAuthorityKey.health_authority_id == settings.health_authority_id,
                HealthAuthorityKey.key_id != name,
                HealthAuthorityKey.not_after > now + DAY,
            )
            .values(ends)
        )
    click.echo(f"{name} signs certificates from now on; the older key ends {_utc(now + DAY)}.")


@keys.command("sms")
@told_plainly
def make_sms_key() -> None:
    """Make a new key for signing the authority's SMS. It signs once the processes have been started again.

    Whether SMS are signed is for `registry authority sms --signed`. The public half is told: phones need it.
    """
    settings = _settings()
    folder, authority_id = settings.keys_dir / "sms", settings.health_authority_id
    known = [sms_key_version(path) for path in folder.glob(f"{authority_id}~v*.pem")]
    name = f"v{max(known, default=0) + 1}"
    path = folder / f"{authority_id}~{name}.pem"
    create_key_file(path)
    # After the file: a crash in between leaves a key that signs and no act; the file itself tells of it.
    _record(settings, ActKind.SMS_KEY_MADE, f"{authority_id}/{name}", int(time.time()))
    click.echo(f"{name} signs SMS of {authority_id} from the next start on. Its public key:\n")
    click.echo(FileKey.load(path, name, "1").public_key_pem, nl=False)


def _record(settings: Settings, kind: ActKind, key: str, now: int) -> None:
    with Session(open_database(settings.issuing_database_url)) as session, transaction(session):
        record_operators_act(session, kind, {"key": key}, now)


def _settings() -> Settings:
    settings = read_settings()
    check_folder(settings)
    return settings


def _utc(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
