"""`registry authority`: other health authorities whose certificates are accepted, and how our own works."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import click
import requests
from sqlalchemy import delete
from sqlalchemy.orm import Session

from registry.app import check_folder
from registry.cli.faults import told_plainly
from registry.cli.first_run import accepted_authority, create_certificate_key, issuing_authority
from registry.cli.rotation import YEAR
from registry.config import LOOPBACK, read_settings
from registry.errors import RegistryError
from registry.lifecycle.activity import record_operators_act
from registry.lifecycle.outside_keys import replace_keys
from registry.lifecycle.publish.decoys import keep_sets_served
from registry.models import Authority, HealthAuthority, HealthAuthorityKey, open_database, transaction
from registry.protocol.activity import ActKind
from registry.protocol.certificate import load_public_key
from registry.protocol.codes import CodeForm
from registry.protocol.jwks import LARGEST_SET_BYTES, read_key_set
from registry.protocol.regions import check_region

NAME = re.compile(r"[a-z0-9._-]{1,64}")
FETCH_SECONDS = 20
"""For a whole key set, however slowly it comes."""


@click.group()
def authority() -> None:
    """Health authorities: whose certificates are accepted, and how ours hand out codes."""


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


@authority.command()
@click.argument("authority_id", metavar="ID")
@click.argument("name")
@click.option(
    "--region", "regions", multiple=True, required=True, help="Region of its keys; may be repeated."
)
@told_plainly
def host(authority_id: str, name: str, regions: tuple[str, ...]) -> None:
    """Let one more authority's officials and systems issue codes here, with a certificate key of its own.

    Then: `registry official add`, `registry apikey create` and what `registry authority` changes, each with
    --authority ID. Apps name the ID as `healthAuthorityID`.
    """
    settings = read_settings()
    check_folder(settings)
    hosted, now = authority_id.lower(), int(time.time())
    if not NAME.fullmatch(hosted):
        raise click.BadParameter("takes 1 to 64 of a-z, 0-9, dot, hyphen, underscore", param_hint="ID")
    issuing, collecting = (
        open_database(url) for url in (settings.issuing_database_url, settings.collecting_database_url)
    )
    with Session(issuing) as session:
        is_known = session.get(Authority, hosted) is not None
    with Session(collecting) as session, transaction(session):
        accepted = session.get(HealthAuthority, hosted)
        # One that a crash left here has our issuer's name, and its hosting goes on.
        if is_known or (accepted and accepted.certificate_issuer != f"{hosted}/certificates"):
            raise click.ClickException(f"{hosted} is registered already")
        session.merge(accepted_authority(hosted, _read_regions(regions)))
    with Session(issuing) as session, transaction(session):
        # A crash before this commit leaves an authority that nobody issues for: the same command goes on.
        session.add(issuing_authority(hosted, name))
        record_operators_act(session, ActKind.AUTHORITY_ADDED, {"authority": hosted}, now)
    key = create_certificate_key(settings, hosted, issuing, collecting, now - now % 3600, now + YEAR)
    click.echo(f"{hosted}: certificate key {key}, regions {', '.join(sorted(set(regions)))}")


@authority.command()
@click.argument("state", type=click.Choice(["on", "off"]))
@click.option("--authority", "authority_id", help="Another authority of this registry than its first one.")
@told_plainly
def maintenance(state: str, authority_id: str | None) -> None:
    """Stop issuing and taking codes (on), or go on (off). Certificates and uploads are not stopped.

    Callers get 429 `maintenance_mode` from their next call on; no code is used up.
    """
    is_on = state == "on"
    with _own_authority(authority_id) as (session, found):
        found.maintenance = is_on
        detail: dict[str, str | int] = {"authority": found.id, "on": int(is_on)}
        record_operators_act(session, ActKind.MAINTENANCE_CHANGED, detail, time.time())
        click.echo(f"{found.id}: maintenance {state}")


@authority.command()
@click.argument("form", type=click.Choice([form.value for form in CodeForm]))
@click.option("--authority", "authority_id", help="Another authority of this registry than its first one.")
@told_plainly
def codes(form: str, authority_id: str | None) -> None:
    """Which form spoken codes have from now on; those that were handed out stay as they are.

    digits: 14 and a check digit. letters: 10 that are told apart on the telephone, and a check character.
    short: 8 digits, good for an hour at most, for apps that take no more; such codes can be guessed.
    """
    with _own_authority(authority_id) as (session, found):
        found.code_form = form
        detail: dict[str, str | int] = {"authority": found.id, "form": form}
        record_operators_act(session, ActKind.CODE_FORM_CHANGED, detail, time.time())
        click.echo(f"{found.id}: codes of the form {form}")


@authority.command("sms")
@click.option("--generate/--no-generate", default=None, help="Let its systems have the texts of SMS.")
@click.option("--signed/--no-signed", default=None, help="Sign its SMS; `registry keys sms` makes the key.")
@click.option("--authority", "authority_id", help="Another authority of this registry than its first one.")
@told_plainly
def sms(*, generate: bool | None, signed: bool | None, authority_id: str | None) -> None:
    """What an authority does by SMS. Without options: how it stands."""
    wanted = {"generate_sms_allowed": generate, "sms_signed": signed}
    changes = {name: value for name, value in wanted.items() if value is not None}
    with _own_authority(authority_id) as (session, found):
        for name, value in changes.items():
            setattr(found, name, value)
        if changes:
            detail: dict[str, str | int] = {"authority": found.id}
            detail |= {name: int(value) for name, value in changes.items()}
            record_operators_act(session, ActKind.AUTHORITY_CHANGED, detail, time.time())
        for name in wanted:
            click.echo(f"{name}: {'yes' if getattr(found, name) else 'no'}")


@authority.command()
@click.argument("health_authority_id")
@click.argument("file_or_url")
@told_plainly
def jwks(health_authority_id: str, file_or_url: str) -> None:
    """Take up the key set that an authority publishes: FILE_OR_URL, `-` for standard input.

    From now on its certificates are taken under the keys in it. Keys that are in it no more end within an
    hour. A set without a key that could sign certificates is refused, and nothing changes.
    """
    settings = read_settings()
    check_folder(settings)
    name, now = health_authority_id.lower(), int(time.time())
    public_keys = read_key_set(_read_set(file_or_url))
    with Session(open_database(settings.collecting_database_url)) as session, transaction(session):
        changed = replace_keys(session, name, public_keys, now=now, not_after=now + YEAR)
        session.flush()
        # Before this commit: a crash leaves an act without a deed, never the other way round.
        with Session(open_database(settings.issuing_database_url)) as issuing, transaction(issuing):
            detail: dict[str, str | int] = {
                "authority": name,
                "keys_new": len(changed.new),
                "keys_kept": len(changed.kept),
                "keys_ended": len(changed.ended),
            }
            record_operators_act(issuing, ActKind.AUTHORITY_CHANGED, detail, now)
    for what, key_ids in (("new", changed.new), ("kept", changed.kept), ("ends", changed.ended)):
        for key_id in key_ids:
            click.echo(f"{what}: {key_id}")


@contextmanager
def _own_authority(authority_id: str | None) -> Iterator[tuple[Session, Authority]]:
    """An authority that issues codes here, to be changed in one transaction with the act that says so."""
    settings = read_settings()
    check_folder(settings)
    wanted = authority_id or settings.health_authority_id
    with Session(open_database(settings.issuing_database_url)) as session, transaction(session):
        found = session.get(Authority, wanted)
        if found is None:
            raise click.ClickException(f"{wanted} issues no codes here")
        yield session, found


def _read_set(file_or_url: str) -> bytes:
    """At most one byte more than is allowed, so that the reader refuses it. Raises ClickException."""
    try:
        if re.match(r"https?://", file_or_url):
            return _fetch_set(file_or_url)
        with click.open_file(file_or_url, "rb") as file:
            content: bytes = file.read(LARGEST_SET_BYTES + 1)
            return content
    except (OSError, requests.RequestException) as error:
        raise click.ClickException(f"the key set cannot be read: {type(error).__name__}") from error


def _fetch_set(url: str) -> bytes:
    # Whoever is in between could name keys of their own, and follow us elsewhere by a redirect.
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise click.ClickException("the key set's address must begin with https://")
    content, ends = b"", time.monotonic() + FETCH_SECONDS
    with requests.get(url, timeout=(5, 10), stream=True, allow_redirects=False) as answer:
        if answer.status_code != requests.codes.ok:
            raise click.ClickException(f"the key set's address answers {answer.status_code}")
        for piece in answer.iter_content(8192):
            content += piece
            if len(content) > LARGEST_SET_BYTES:
                break
            if time.monotonic() > ends:
                raise click.ClickException(f"the key set did not come within {FETCH_SECONDS} seconds")
    return content


@authority.command("self-report")
@click.option("--on/--off", "wanted", default=None, help="Let people report by themselves, or no longer.")
@click.option("--a-day", type=click.IntRange(1, 1_000_000), help="How many SMS of theirs a UTC day may have.")
@click.option("--authority", "authority_id", help="Another authority of this registry than its first one.")
@told_plainly
def self_report(*, wanted: bool | None, a_day: int | None, authority_id: str | None) -> None:
    """Whether people may report by themselves. Without options: how it stands."""
    with _own_authority(authority_id) as (session, own):
        own.self_report = own.self_report if wanted is None else wanted
        own.self_reports_a_day = a_day or own.self_reports_a_day
        session.flush()
        if wanted is not None or a_day is not None:
            detail: dict[str, str | int] = {
                "authority": own.id,
                "self_report": int(own.self_report),
                "self_reports_a_day": own.self_reports_a_day,
            }
            record_operators_act(session, ActKind.AUTHORITY_CHANGED, detail, time.time())
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
