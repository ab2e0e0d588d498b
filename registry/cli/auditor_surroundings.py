"""What `registry audit` commands are handed, and how they end: never with a traceback, wrong use with 1."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import update_wrapper
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from registry.cli.auditor_report import AuditReport, bars, show, show_nothing
from registry.client.monitor.faults import CANNOT_TELL, fault_of
from registry.client.monitor.moments import is_moment
from registry.client.monitor.rules import check_view
from registry.client.monitor.source import Source, open_source
from registry.client.monitor.view import LogView, read_log
from registry.client.monitor.visit import Demands, check_pin
from registry.client.monitor.witnesses import MAX_CHECKPOINT_BYTES
from registry.client.texts import printable
from registry.client.transport import HttpTransport, Transport, unexpected
from registry.errors import Distrusted, Malformed, RegistryError
from registry.protocol.index import LOG_CHECKPOINT_PATH
from registry.protocol.intervals import Clock
from registry.protocol.witness_policy import WitnessPolicy, decode_policy

WITH_ACCESS = {"reconcile": "registry.cli.auditor_access:reconcile"}
"""Commands that read the databases: loaded when they are called, so that all others load no server."""


class AuditGroup(click.Group):
    """A group whose wrong use ends with 1: the greater codes say what was found."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order in which an auditor comes to need them."""
        return [*self.commands, *WITH_ACCESS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called `cmd_name`, or none."""
        if cmd_name not in WITH_ACCESS:
            return super().get_command(ctx, cmd_name)
        module, _, name = WITH_ACCESS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """See `click.Command`."""
        with _wrong_use_is_one():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """See `click.Command`."""
        with _wrong_use_is_one():
            return super().invoke(ctx)


@contextmanager
def _wrong_use_is_one() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        vars(error)["exit_code"] = CANNOT_TELL
        raise


@dataclass
class Auditing:
    """What the commands are handed: words or JSON, demands, and, replaceable by tests, the surroundings."""

    transport: Transport
    clock: Clock = time.time
    pause: Callable[[float], None] = time.sleep
    as_json: bool = False
    demands: Demands = field(default_factory=Demands)
    own_policy: bytes | None = None
    at: float | None = None

    def source(self, text: str) -> Source:
        """The source that `text` names."""
        return open_source(text, self.transport, clock=self.clock, pause=self.pause)

    def now(self, source: Source) -> float:
        """The moment as of which a source is judged: as told, an archive's own, or now."""
        if self.at is not None:
            return self.at
        taken = source.taken_at()
        return self.clock() if taken is None else taken

    def fetch_checkpoint(self, url: str) -> bytes | None:
        """A witness's checkpoint at its own address."""
        answer = self.transport.get(url, {}, MAX_CHECKPOINT_BYTES)
        if answer.status == 200:
            return answer.body
        if answer.status in (404, 410):
            return None
        raise unexpected(answer, url, self.clock())

    def read_whole_log(self, source: Source, report: AuditReport) -> LogView:
        """The log that `source` serves, its faults in the report; ends the command if it cannot be read."""
        with bars() as bar:
            try:
                view = read_log(source.read, policy=self.demands.policy, progress=bar("log"))
            except (Malformed, Distrusted) as error:
                report.faults.append(fault_of(error, LOG_CHECKPOINT_PATH))
                self.finish(report)
        report.faults += [*check_pin(view, self.demands), *check_view(view, report.at)]
        return view

    def finish(self, report: AuditReport) -> NoReturn:
        """Show the report and end with its code."""
        show(report, as_json=self.as_json)
        raise SystemExit(report.exit_code)


_OPTIONS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object."),
    click.option(
        "--policy",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Your own tlog-policy, in place of the registry's.",
    ),
    click.option("--fingerprint", help="The registry's fingerprint, as you were given it elsewhere."),
    click.option("--at", help="Judge ages as of this ISO time, e.g. 2026-06-13T12:00:00Z; for archives."),
)


def with_auditing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Hand the command its `Auditing`, prepared by the options that all of them have.

    Turns what keeps a command from telling into one line and status 1, never a traceback; with --json also
    into an object that says so.
    """

    def wrapped(
        context: click.Context,
        /,
        *args: Any,
        as_json: bool,
        policy: Path | None,
        fingerprint: str | None,
        at: str | None,
        **kwargs: Any,
    ) -> Any:
        auditing = context.find_object(Auditing) or Auditing(HttpTransport())
        auditing.as_json = as_json
        try:
            with _told_in_one_line():
                own, auditing.own_policy = read_own_policy(policy)
                auditing.demands = Demands(own, fingerprint)
                auditing.at = read_moment(at) if at else None
                return command(auditing, *args, **kwargs)
        except click.ClickException as error:
            if as_json:
                show_nothing(context.info_name or "", error.format_message(), auditing.clock())
            raise

    handed: Callable[..., Any] = update_wrapper(click.pass_context(wrapped), command)
    for option in reversed(_OPTIONS):
        handed = option(handed)
    return handed


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """What keeps a command from telling, as click shows it."""
    try:
        yield
    except BrokenPipeError:
        raise
    except RegistryError as error:
        raise click.ClickException(printable(str(error), longest=4_000)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'input or output'}: {error.strerror}") from error


def read_own_policy(path: Path | None) -> tuple[WitnessPolicy | None, bytes | None]:
    """The policy in a file that the auditor named, and its bytes. Raises click's BadParameter."""
    if path is None:
        return None, None
    try:
        content = path.read_bytes()
        content.decode()
        return decode_policy(content), content
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{path} is not UTF-8 text", param_hint="--policy") from error
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", param_hint="--policy") from error
    except Malformed as error:
        raise click.BadParameter(printable(str(error)), param_hint="--policy") from error


def read_moment(text: str) -> float:
    """Unix seconds of an ISO time with its offset. Raises click's BadParameter."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise click.BadParameter("has no offset from UTC; end it with Z", param_hint="--at")
        seconds = moment.timestamp()
        if not is_moment(seconds):
            raise click.BadParameter("is before 1970 or after 9998", param_hint="--at")
        return seconds
    except (ValueError, OverflowError) as error:
        raise click.BadParameter("is not like 2026-06-13T12:00:00Z", param_hint="--at") from error
