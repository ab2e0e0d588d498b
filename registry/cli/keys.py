"""`registry keys`: the keys that sign export files and verification certificates: list them, rotate them."""

import time
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from registry.app import check_folder
from registry.cli.faults import told_plainly
from registry.cli.first_run import YEAR, create_certificate_key, create_export_key
from registry.config import DAY, Settings, read_settings
from registry.models import (
    CertificateKey,
    ExportSigningKey,
    HealthAuthorityKey,
    open_database,
    transaction,
)

OVERLAP_DAYS = 21


@click.group()
def keys() -> None:
    """Signing keys: list them, rotate them."""


@keys.command("list")
@told_plainly
def list_keys() -> None:
    """Which export signing keys sign now, and until when phones trust them."""
    settings = _settings()
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
    "--overlap-days",
    type=click.IntRange(0, 365),
    default=OVERLAP_DAYS,
    show_default=True,
    help="How long old keys go on signing.",
)
@told_plainly
def rotate(overlap_days: int) -> None:
    """Make a new export signing key. Old ones sign beside it until the overlap has ended.

    The overlap must be longer than phones stay offline, or they meet files that no key they know signed.
    """
    settings = _settings()
    now = int(time.time())
    engine = open_database(settings.collecting_database_url)
    name = create_export_key(settings, engine, now, now + YEAR)
    end = now + max(1, overlap_days * DAY)
    with Session(engine) as session, transaction(session):
        for row in session.scalars(select(ExportSigningKey).where(ExportSigningKey.not_after > end)):
            if f"{row.key_id}-{row.key_version}" != name:
                row.not_after = max(end, row.not_before + 1)
    click.echo(f"{name} signs from now on; older keys sign beside it until {_utc(end)}.")


@keys.command("rotate-certificate")
@told_plainly
def rotate_certificate() -> None:
    """Make a new key for verification certificates. It signs within a minute; the old one ends in a day."""
    settings = _settings()
    now = int(time.time())
    issuing, collecting = (
        open_database(url) for url in (settings.issuing_database_url, settings.collecting_database_url)
    )
    name = create_certificate_key(settings, issuing, collecting, now, now + YEAR)
    # Certificates live a quarter of an hour, and what was signed must be accepted for as long.
    ends = {"not_after": now + DAY}
    with Session(issuing) as session, transaction(session):
        others = (CertificateKey.key_id != name, CertificateKey.not_after > now + DAY)
        session.execute(
            update(CertificateKey)
            .where(CertificateKey.authority_id == settings.health_authority_id, *others)
            .values(ends)
        )
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


def _settings() -> Settings:
    settings = read_settings()
    check_folder(settings)
    return settings


def _utc(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
