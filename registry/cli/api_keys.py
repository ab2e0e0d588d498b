"""`registry apikey`: the keys with which apps, labs and dashboards call the API."""

import time

import click
from sqlalchemy.orm import Session

from registry.app import check_folder, read_secret
from registry.cli.faults import told_plainly
from registry.config import Settings, read_settings
from registry.errors import NoSuchApiKey
from registry.lifecycle.api_keys import (
    LONGEST_NAME,
    ApiKeyKind,
    ApiKeyWanted,
    api_keys_of,
    make_api_key,
    switch_api_key,
)
from registry.models import Authority, open_database, transaction

SHOWN_OF_ID = 12
authority_option = click.option(
    "--authority", "authority_id", help="Whose key; the authority of the settings without it."
)


@click.group()
def apikey() -> None:
    """API keys of apps (device), labs (admin) and dashboards (stats)."""


@apikey.command()
@click.argument("kind", type=click.Choice([kind.value for kind in ApiKeyKind]))
@click.argument("name")
@authority_option
@told_plainly
def create(kind: str, name: str, authority_id: str | None) -> None:
    """Make a key of KIND for whoever NAME says, and print it: now, and never again."""
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise click.BadParameter(f"takes 1 to {LONGEST_NAME} characters", param_hint="NAME")
    settings, now = _settings(), time.time()
    with Session(open_database(settings.issuing_database_url)) as session, transaction(session):
        owner = authority_id or settings.health_authority_id
        if session.get(Authority, owner) is None:
            raise click.ClickException(f"no authority {owner} issues codes here")
        api_key = make_api_key(
            session,
            ApiKeyWanted(ApiKeyKind(kind), name.strip()),
            owner,
            lookup_key=read_secret(settings.keys_dir / "lookup.key"),
            by=None,
            now=now,
        )
    click.echo(api_key)


@apikey.command("list")
@authority_option
@told_plainly
def list_keys(authority_id: str | None) -> None:
    """List all keys: id, kind, first characters, since when, for whom."""
    settings = _settings()
    with Session(open_database(settings.issuing_database_url)) as session:
        for key in api_keys_of(session, authority_id or settings.health_authority_id):
            state = "disabled" if key.disabled else "enabled"
            made = key.made_on.isoformat() if key.made_on else "-"
            shown = key.key_hash.hex()[:SHOWN_OF_ID]
            click.echo(f"{shown}  {key.kind:6}  {key.preview}…  {state:8}  {made:10}  {key.name}")


@apikey.command()
@click.argument("key_id")
@authority_option
@told_plainly
def disable(key_id: str, authority_id: str | None) -> None:
    """Let the key open nothing any more, from the next call on. KEY_ID as `list` shows it."""
    _switch(key_id, authority_id, disabled=True)


@apikey.command()
@click.argument("key_id")
@authority_option
@told_plainly
def enable(key_id: str, authority_id: str | None) -> None:
    """Let a disabled key open again what it did. KEY_ID as `list` shows it."""
    _switch(key_id, authority_id, disabled=False)


def _switch(key_id: str, authority_id: str | None, *, disabled: bool) -> None:
    settings, now = _settings(), time.time()
    owner = authority_id or settings.health_authority_id
    with Session(open_database(settings.issuing_database_url)) as session, transaction(session):
        meant = [
            key.key_hash
            for key in api_keys_of(session, owner)
            if len(key_id) >= SHOWN_OF_ID and key.key_hash.hex().startswith(key_id.lower())
        ]
        if len(meant) != 1:
            raise NoSuchApiKey("there is no such API key: take its id from `registry apikey list`")
        switch_api_key(session, meant[0], owner, disabled=disabled, by=None, now=now)
    click.echo(f"{key_id} is {'disabled' if disabled else 'enabled'}.")


def _settings() -> Settings:
    settings = read_settings()
    check_folder(settings)
    return settings
