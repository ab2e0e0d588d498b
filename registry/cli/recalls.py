"""`registry recall`: ask, by command, for all of somebody's statements of some days to be recalled.

Asks and no more: an official must still approve it at the portal. A single statement is recalled there too.
"""

import time
from datetime import datetime

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.app import check_folder
from registry.cli.faults import told_plainly
from registry.config import Settings, read_settings
from registry.lifecycle.recall_orders import RecallSelector, ask_recall
from registry.models import ApiKey, Official, open_database, transaction
from registry.models.recall import RecallReason

DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def recall() -> None:
    """Recalls of uploads: asked for here, approved by an official at the portal."""


@recall.command("all")
@click.option("--official", "official_id", help="All that this official stated, by id.")
@click.option("--api-key", help="All through this API key: its first characters, or its hash in hex.")
@click.option("--issuer", "external_issuer_id", help="All of this outside issuer (`externalIssuerID`).")
@click.option("--from", "first", type=DAY, required=True, help="First day (UTC), inclusive.")
@click.option("--to", "last", type=DAY, required=True, help="Last day (UTC), inclusive.")
@click.option("--reason", type=click.Choice([reason.value for reason in RecallReason]), required=True)
@told_plainly
def recall_all(
    official_id: str | None,
    api_key: str | None,
    external_issuer_id: str | None,
    first: datetime,
    last: datetime,
    reason: str,
) -> None:
    """Ask for everything to be recalled that somebody stated between two days.

    Of a statement the day is kept and no hour: whole days (UTC) are recalled, right statements with wrong.
    """
    if sum(name is not None for name in (official_id, api_key, external_issuer_id)) != 1:
        raise click.UsageError("give one of --official, --api-key and --issuer")
    if last < first:
        raise click.UsageError("--to is before --from")
    settings = read_settings()
    check_folder(settings)
    with Session(open_database(settings.issuing_database_url)) as session, transaction(session):
        selector = RecallSelector(
            official_id=None if official_id is None else _official(session, settings, official_id),
            api_key_hash=None if api_key is None else _api_key(session, settings, api_key),
            external_issuer_id=external_issuer_id,
            stated_from=first.date(),
            stated_to=last.date(),
        )
        order_id = ask_recall(
            session,
            selector,
            RecallReason(reason),
            authority_id=settings.health_authority_id,
            asked_by=None,
            now=time.time(),
        )
    click.echo(f"Asked for. An official must approve it: {settings.base_url}/portal/recalls/{order_id}")


def _official(session: Session, settings: Settings, official_id: str) -> str:
    found = session.scalar(
        select(Official.id).filter_by(id=official_id, authority_id=settings.health_authority_id)
    )
    if found is None:
        raise click.BadParameter("there is no such official", param_hint="--official")
    return found


def _api_key(session: Session, settings: Settings, named: str) -> bytes:
    keys = session.scalars(select(ApiKey).filter_by(authority_id=settings.health_authority_id))
    found = [key.key_hash for key in keys if named in (key.preview, key.key_hash.hex())]
    if len(found) != 1:
        told = f"{len(found)} API keys are called so: give the hash"
        raise click.BadParameter(told, param_hint="--api-key")
    return found[0]
