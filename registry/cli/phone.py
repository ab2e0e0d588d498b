"""`registry phone`: a phone in one local file, for demonstrations, tests and people without a phone.

Shows and asks; what a phone does stands in `registry.client`. Secrets are read from files and prompts, never
from arguments, and never printed.
"""

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TextIO

import click

from registry.cli.phone_init import init
from registry.cli.phone_report import progress_bar, show_evidence, show_receipt, show_report
from registry.cli.phone_surroundings import Surroundings, language_option, with_surroundings
from registry.client import Phone, card_lines, card_members, read_code, read_sightings, write_sightings
from registry.client.failures import Mistyped, UploadRefused
from registry.client.phone import NEAR_RSSI
from registry.client.receipts import receipt_members
from registry.client.texts import PHONE_TEXTS, UPLOAD_TEXTS, Language, refusal_advice
from registry.errors import FetchFailed
from registry.protocol.codes import group, new_code

DEFAULT_MINUTES = 30
MAX_ADVERTISED_MINUTES = 24 * 60
COLOURS = {"green": "green", "orange": "bright_yellow", "stale": "bright_black"}


@click.group()
@click.option(
    "--store",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("phone.db"),
    show_default=True,
    envvar="REGISTRY_PHONE_STORE",
    show_envvar=True,
    help="The phone's file; `init` makes it, with mode 0600.",
)
@language_option
@click.pass_context
def phone(context: click.Context, store: Path, language: Language | None) -> None:
    """Be a phone: keep keys and sightings, upload, take back, poll, show the card."""
    surroundings = context.ensure_object(Surroundings)
    surroundings.store = store
    surroundings.language = language or "en"


phone.add_command(init)


@phone.command()
@click.option("--at", help="ISO time with its offset, e.g. 2026-06-13T12:00:00Z.")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Noon UTC of this day.")
@click.option(
    "--minutes",
    type=click.IntRange(1, MAX_ADVERTISED_MINUTES),
    default=DEFAULT_MINUTES,
    show_default=True,
    help="For how long.",
)
@click.option(
    "--rssi", type=click.IntRange(-127, 20), default=NEAR_RSSI, show_default=True, help="Received power, dBm."
)
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@with_surroundings
def advertise(
    surroundings: Surroundings, at: str | None, day: datetime | None, minutes: int, rssi: int, form: str
) -> None:
    """Print what a phone beside this one would receive.

    Without --at or --day: the last minutes until now; on a staged phone, noon of the day before yesterday.
    Give the output to another phone's `observe`, and the two have met.
    """
    if at and day:
        raise click.UsageError("--at and --day exclude each other")
    with surroundings.open() as opened:
        start = opened.staged_noon() or surroundings.clock() - minutes * 60
        if at:
            start = _unix_seconds(at)
        if day:
            start = opened.noon_of(date(day.year, day.month, day.day))
        for line in write_sightings(opened.advertise(at=start, minutes=minutes, rssi=rssi), form):
            click.echo(line)


def _unix_seconds(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise click.BadParameter("has no offset from UTC; end it with Z", param_hint="--at")
        return moment.timestamp()
    except (ValueError, OverflowError) as error:
        raise click.BadParameter("is not like 2026-06-13T12:00:00Z", param_hint="--at") from error


@phone.command()
@click.argument("file", type=click.File("r", encoding="utf-8"))
@with_surroundings
def observe(surroundings: Surroundings, file: TextIO) -> None:
    """Take in sightings from FILE (- for standard input), CSV or JSON lines: time, rpi, aem, rssi.

    All or nothing: bad lines are named, and then none is taken in.
    """
    with surroundings.open() as opened:
        observed = opened.observe(read_sightings(_text(file), now=surroundings.clock()))
        texts = surroundings.texts
        click.echo(texts["sightings"].format(count=observed.kept))
        for name, count in (
            ("known", observed.known),
            ("own", observed.own),
            ("too_old", observed.too_old),
        ):
            if count:
                click.echo(texts[name].format(count=count))
        if observed.staged:
            click.echo(texts["staged_meeting"])


def _text(file: TextIO) -> str:
    try:
        return file.read()
    except UnicodeDecodeError as error:
        raise click.ClickException("the file is not UTF-8 text") from error


@phone.command()
@click.argument("code", required=False)
@click.option("--yes", is_flag=True, help="Do not ask: the person has agreed to what is shown.")
@click.option("--abandon", is_flag=True, help="Forget an upload that is not finished.")
@click.option(
    "--leave-out",
    multiple=True,
    type=click.DateTime(["%Y-%m-%d"]),
    help="A day (UTC) whose key stays on this phone; may be repeated.",
)
@language_option
@with_surroundings
def upload(
    surroundings: Surroundings,
    code: str | None,
    yes: bool,
    abandon: bool,
    leave_out: Sequence[datetime],
    language: Language | None,
) -> None:
    """Share this phone's keys, with the CODE from a health official.

    Asks for the code if it is not given, shows day by day what will be shared, and asks before it sends
    anything. An upload that was broken off is gone on with, from where it stopped, by the same command or
    without a code.
    """
    language = language or surroundings.language
    texts = UPLOAD_TEXTS[language]
    with surroundings.open() as opened:
        if abandon:
            click.echo(texts["abandoned" if opened.abandon_upload() else "nothing_to_abandon"])
            return
        if opened.store.pending_upload() is None:
            opened.check_can_upload()
            kept = _days_kept(opened, leave_out)
            code = read_code(code) if code else _ask_for_code(texts)
            if not _person_agrees(opened, texts, yes, kept):
                click.echo(texts["declined"])
                raise SystemExit(1)
            opened.agree(code, leave_out=kept, language=language)
        else:
            if code:
                opened.agree(code)
            click.echo(texts["resumed"])
        try:
            receipt = opened.upload()
        except UploadRefused as refused:
            raise click.ClickException(f"{refused}\n{refusal_advice(refused.code, language)}") from refused
        except FetchFailed as failed:
            raise click.ClickException(f"{failed}\n{texts['again']}") from failed
        show_receipt(receipt, texts)


@phone.command("code")
@language_option
@with_surroundings
def show_code(surroundings: Surroundings, language: Language | None) -> None:
    """Make a code on this phone, for a health official to make it good.

    Show it or read it out. Once the official has entered it, `upload` with this code goes on; it is kept
    nowhere but on the screen.
    """
    made = new_code(secrets.randbelow)
    click.echo(" ".join(group(made)))
    click.echo(UPLOAD_TEXTS[language or surroundings.language]["show_code"])


def _ask_for_code(texts: Mapping[str, str]) -> str:
    """The code as it is sent; asks again until it can be one."""

    def read(typed: str) -> str:
        try:
            return read_code(typed)
        except Mistyped as slip:
            raise click.BadParameter(texts["mistyped"]) from slip

    return str(click.prompt(texts["code"], value_proc=read))


def _days_kept(opened: Phone, leave_out: Sequence[datetime]) -> frozenset[date]:
    kept = frozenset(date(day.year, day.month, day.day) for day in leave_out)
    if unknown := sorted(kept - {shared.day for shared in opened.days_to_share()}):
        raise click.BadParameter(f"this phone has no key of {unknown[0]}", param_hint="--leave-out")
    return kept


def _person_agrees(opened: Phone, texts: Mapping[str, str], yes: bool, kept: Collection[date]) -> bool:
    """Shows what will be shared, day by day, and asks unless `yes`. The days in `kept` are not shared."""
    click.echo(texts["heading"])
    for shared in opened.days_to_share():
        if shared.day in kept:
            continue
        click.echo("  " + texts["today" if shared.is_today else "day"].format(day=shared.day.isoformat()))
    click.echo(texts["details"])
    click.echo(texts["meaning"])
    if opened.store.registration().staged:
        click.echo(texts["staged"])
    return yes or click.confirm(texts["question"])


@phone.command()
@click.option("--yes", is_flag=True, help="Do not ask: the person has said so.")
@language_option
@with_surroundings
def withdraw(surroundings: Surroundings, yes: bool, language: Language | None) -> None:
    """Take back everything that this phone has shared. Needs no code and nobody's leave.

    What was not published yet never will be; what was is revoked in the next files. It cannot be undone.
    """
    language = language or surroundings.language
    texts = PHONE_TEXTS[language]
    with surroundings.open() as opened:
        click.echo(texts["withdraw_meaning"])
        if not yes and not click.confirm(texts["withdraw_question"]):
            click.echo(texts["withdraw_declined"])
            raise SystemExit(1)
        try:
            opened.withdraw()
        except UploadRefused as refused:
            raise click.ClickException(f"{refused}\n{refusal_advice(refused.code, language)}") from refused
        click.echo(texts["withdraw_done"])


@phone.command()
@click.option("--forget", is_flag=True, help="Forget them all. They cannot be had again.")
@with_surroundings
def receipt(surroundings: Surroundings, forget: bool) -> None:
    """Print, as JSON, the receipts of this phone's uploads: proof of what was agreed to and published.

    They stay for 21 days after the newest key. Show one to nobody who need not see it: it says which days
    were shared.
    """
    with surroundings.open() as opened:
        if forget:
            click.echo(surroundings.texts["receipts_forgotten"].format(count=opened.forget_receipts()))
            return
        shown = [receipt_members(kept) for kept in opened.receipts()]
    click.echo(json.dumps({"receipts": shown}, indent=2, ensure_ascii=False))


@phone.command()
@with_surroundings
def poll(surroundings: Surroundings) -> None:
    """Fetch what is new, verify it, and look whether this phone has met any of it.

    Ends with status 1 if anything could not be had or believed; what could be read is read all the same.
    """
    with surroundings.open() as opened:
        with progress_bar() as progress:
            report = opened.poll(progress)
        show_report(report, surroundings.texts)
        if not report.good:
            raise SystemExit(1)


@phone.command()
@with_surroundings
def evidence(surroundings: Surroundings) -> None:
    """Print what this phone was shown that must not be: conflicting notes, proofs of what is not logged."""
    with surroundings.open() as opened:
        show_evidence(opened.evidence(), surroundings.texts)


@phone.command()
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object.")
@language_option
@with_surroundings
def card(surroundings: Surroundings, as_json: bool, language: Language | None) -> None:
    """Show the card: green, orange with the day and what to do, or out of date."""
    with surroundings.open() as opened:
        drawn = opened.card()
    if as_json:
        click.echo(json.dumps(card_members(drawn)))
        return
    headline, *lines = card_lines(drawn, language or surroundings.language)
    click.secho(headline, fg=COLOURS[drawn.state], bold=True)
    for line in lines:
        click.echo(line)
