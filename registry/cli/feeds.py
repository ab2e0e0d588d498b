"""`registry feed`: which keys a region's feed takes, beside or instead of its own."""

import time

import click
from sqlalchemy.orm import Session

from registry.app import check_folder
from registry.cli.faults import told_plainly
from registry.config import read_settings
from registry.errors import Malformed
from registry.lifecycle.activity import record_operators_act
from registry.lifecycle.publish.decoys import keep_sets_served
from registry.models import RegionFeed, open_database, transaction
from registry.models.feed import feeds
from registry.protocol.activity import ActKind
from registry.protocol.feeds import Feed, check_feed


@click.group()
def feed() -> None:
    """Which keys go out in which region's files."""


@feed.command("set")
@click.argument("region")
@click.option("--include", multiple=True, help="Takes keys of this region; may be repeated.")
@click.option("--exclude", multiple=True, help="Takes no key of this region; may be repeated.")
@click.option("--travelers", is_flag=True, help="Takes keys of people who travelled, from anywhere.")
@told_plainly
def set_feed(region: str, include: tuple[str, ...], exclude: tuple[str, ...], travelers: bool) -> None:
    """Say what REGION's feed takes from now on. Uploads that came before stay where they are.

    It is on record among the operator's acts, by the region.
    """
    wanted = Feed(
        region.upper(),
        frozenset(code.upper() for code in include),
        frozenset(code.upper() for code in exclude),
        travelers,
    )
    try:
        check_feed(wanted)
    except Malformed as error:
        raise click.BadParameter(str(error)) from error
    settings = read_settings()
    check_folder(settings)
    with Session(open_database(settings.collecting_database_url)) as session, transaction(session):
        # First: what came before stays in the sets of the feeds as they are now.
        keep_sets_served(session)
        session.merge(
            RegionFeed(
                region=wanted.region,
                include=sorted(wanted.include),
                exclude=sorted(wanted.exclude),
                include_travelers=wanted.include_travelers,
            )
        )
        session.flush()
        # Before this commit: a crash leaves an act without a deed, never the other way round.
        with Session(open_database(settings.issuing_database_url)) as issuing, transaction(issuing):
            record_operators_act(issuing, ActKind.FEED_CHANGED, {"region": wanted.region}, time.time())
    click.echo(_told(wanted))


@feed.command("list")
@told_plainly
def list_feeds() -> None:
    """All feeds that something was said of; every other region takes its own keys."""
    settings = read_settings()
    check_folder(settings)
    with Session(open_database(settings.collecting_database_url)) as session:
        for one in sorted(feeds(session), key=lambda one: one.region):
            click.echo(_told(one))


def _told(one: Feed) -> str:
    takes = f"keys of {', '.join(sorted(one.include))}" if one.include else "no region's keys"
    if one.include_travelers:
        takes += ", and of people who travelled"
    if one.exclude:
        takes += f", but none of {', '.join(sorted(one.exclude))}"
    return f"{one.region}: {takes}"
