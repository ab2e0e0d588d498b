"""`registry authority`: other health authorities whose verification certificates are accepted."""

import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import click
import requests
from sqlalchemy import delete
from sqlalchemy.orm import Session

from registry.app import check_folder
from registry.cli.faults import told_plainly
from registry.cli.rotation import YEAR
from registry.config import LOOPBACK, read_settings
from registry.errors import RegistryError
from registry.lifecycle.activity import record_operators_act
from registry.lifecycle.outside_keys import replace_keys
from registry.lifecycle.publish.decoys import keep_sets_served
from registry.models import HealthAuthority, HealthAuthorityKey, open_database, transaction
from registry.protocol.activity import ActKind
from registry.protocol.certificate import load_public_key
from registry.protocol.jwks import LARGEST_SET_BYTES, read_key_set
from registry.protocol.regions import check_region

NAME = re.compile(r"[a-z0-9._-]{1,64}")
FETCH_SECONDS = 20
"""For a whole key set, however slowly it comes."""


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
