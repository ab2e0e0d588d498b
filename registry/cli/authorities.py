"""`registry authority`: other health authorities whose verification certificates are accepted."""

import re
import time
from pathlib import Path

import click
from sqlalchemy import delete
from sqlalchemy.orm import Session

from registry.app import check_folder
from registry.cli.faults import told_plainly
from registry.cli.rotation import YEAR
from registry.config import read_settings
from registry.errors import RegistryError
from registry.lifecycle.activity import record_operators_act
from registry.lifecycle.publish.decoys import keep_sets_served
from registry.models import Authority, HealthAuthority, HealthAuthorityKey, open_database, transaction
from registry.protocol.activity import ActKind
from registry.protocol.certificate import load_public_key
from registry.protocol.regions import check_region

NAME = re.compile(r"[a-z0-9._-]{1,64}")


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
@click.option(
    "--public-key",
    "public_keys",
    multiple=True,
    required=True,
    metavar="KID=FILE",
    help="A P-256 public key as PEM, by its key id; may be repeated.",
)
@click.option("--replace", is_flag=True, help="Change an authority that is registered already.")
@told_plainly
def add(
    health_authority_id: str,
    issuer: str,
    audience: str,
    regions: tuple[str, ...],
    public_keys: tuple[str, ...],
    replace: bool,
) -> None:
    """Accept the certificates of another authority, under the public keys given."""
    settings = read_settings()
    check_folder(settings)
    name = health_authority_id.lower()
    _check_words(name, issuer, audience)
    known_regions = _read_regions(regions)
    pems = dict(_read_public_key(pair) for pair in public_keys)
    now = int(time.time())
    times = {"not_before": now, "not_after": now + YEAR}
    with Session(open_database(settings.collecting_database_url)) as session, transaction(session):
        known = session.get(HealthAuthority, name) is not None
        if known and not replace:
            raise click.ClickException(f"{name} is registered already: --replace changes it")
        if known:
            # First: what came before stays in the sets of the regions as they are now.
            keep_sets_served(session)
        session.merge(
            HealthAuthority(
                id=name, certificate_issuer=issuer, certificate_audience=audience, regions=known_regions
            )
        )
        session.flush()
        session.execute(delete(HealthAuthorityKey).where(HealthAuthorityKey.health_authority_id == name))
        session.add_all(
            HealthAuthorityKey(health_authority_id=name, key_id=key_id, public_key_pem=pem, **times)
            for key_id, pem in pems.items()
        )
        session.flush()
        # Before this commit: a crash leaves an act without a deed, never the other way round.
        with Session(open_database(settings.issuing_database_url)) as issuing, transaction(issuing):
            kind = ActKind.AUTHORITY_CHANGED if known else ActKind.AUTHORITY_ADDED
            record_operators_act(issuing, kind, {"authority": name}, now)
    click.echo(f"{name}: {len(pems)} key(s), regions {', '.join(known_regions)}")


@authority.command("sms")
@click.option("--generate/--no-generate", default=None, help="Let its systems have the texts of SMS.")
@click.option("--signed/--no-signed", default=None, help="Sign its SMS; `registry keys sms` makes the key.")
@told_plainly
def sms(*, generate: bool | None, signed: bool | None) -> None:
    """What the registry's own authority does by SMS. Without options: how it stands."""
    settings = read_settings()
    check_folder(settings)
    wanted = {"generate_sms_allowed": generate, "sms_signed": signed}
    changes = {name: value for name, value in wanted.items() if value is not None}
    with Session(open_database(settings.issuing_database_url)) as session, transaction(session):
        own = session.get_one(Authority, settings.health_authority_id)
        for name, value in changes.items():
            setattr(own, name, value)
        session.flush()
        if changes:
            detail: dict[str, str | int] = {"authority": own.id}
            detail |= {name: int(value) for name, value in changes.items()}
            record_operators_act(session, ActKind.AUTHORITY_CHANGED, detail, int(time.time()))
        for name in wanted:
            click.echo(f"{name}: {'yes' if getattr(own, name) else 'no'}")


@authority.command("self-report")
@click.option("--on/--off", "wanted", default=None, help="Let people report by themselves, or no longer.")
@click.option("--a-day", type=click.IntRange(1, 1_000_000), help="How many SMS of theirs a UTC day may have.")
@told_plainly
def self_report(*, wanted: bool | None, a_day: int | None) -> None:
    """Whether people may report by themselves. Without options: how it stands."""
    settings = read_settings()
    check_folder(settings)
    with Session(open_database(settings.issuing_database_url)) as session, transaction(session):
        own = session.get_one(Authority, settings.health_authority_id)
        own.self_report = own.self_report if wanted is None else wanted
        own.self_reports_a_day = a_day or own.self_reports_a_day
        session.flush()
        if wanted is not None or a_day is not None:
            detail: dict[str, str | int] = {
                "authority": own.id,
                "self_report": int(own.self_report),
                "self_reports_a_day": own.self_reports_a_day,
            }
            record_operators_act(session, ActKind.AUTHORITY_CHANGED, detail, int(time.time()))
        state = "on" if own.self_report else "off"
        click.echo(f"self-reports: {state}, {own.self_reports_a_day} a day at the most")


def _check_words(name: str, issuer: str, audience: str) -> None:
    if not NAME.fullmatch(name):
        raise click.BadParameter("takes 1 to 64 of a-z, 0-9, dot, hyphen, underscore", param_hint="ID")
    for hint, word in (("--issuer", issuer), ("--audience", audience)):
        if not 1 <= len(word) <= 200:
            raise click.BadParameter("takes 1 to 200 characters", param_hint=hint)


def _read_regions(regions: tuple[str, ...]) -> list[str]:
    """A set, sorted. A code that is none would stop publishing and could stand in no file's name."""
    found = sorted({region.upper() for region in regions})
    for region in found:
        try:
            check_region(region)
        except RegistryError as error:
            raise click.BadParameter(str(error), param_hint="--region") from error
    return found


def _read_public_key(pair: str) -> tuple[str, str]:
    key_id, _, name = pair.partition("=")
    try:
        pem = Path(name).read_text()
        load_public_key(pem)
    except (OSError, UnicodeDecodeError, RegistryError) as error:
        raise click.BadParameter(f"{pair}: {error}", param_hint="--public-key") from error
    return key_id, pem
