"""When witnesses are asked, what is remembered of their answers, and whether a checkpoint has its quorum.

A witness that holds more than we do, or another tree, stops the log: nothing is signed until that is
explained. One that merely does not answer stops nothing that its policy does not make it stop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import LogForked, LogSetBack
from registry.models import LogShard, WitnessState
from registry.models.log import newest_shard
from registry.protocol.checkpoint import Cosignature, cosignatures, decode_checkpoint
from registry.protocol.merkle import consistency_path
from registry.protocol.note import Note, NoteSignature, decode_note, decode_signatures, encode_signature
from registry.protocol.witness_policy import WitnessPolicy
from registry.transparency.layout import stored_nodes
from registry.transparency.run import LogRun
from registry.transparency.witnesses import WitnessReport, ask_witnesses


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What witnesses have made of one signed checkpoint."""

    lines: tuple[NoteSignature, ...] = ()
    """All newest cosignature lines, to be put under the checkpoint."""
    cosignatures: tuple[Cosignature, ...] = ()
    is_met: bool = False
    """Whether the policy's quorum cosigned it."""


@dataclass(frozen=True, slots=True)
class LogState:
    """Where the log stands: leaves signed, when the newest cosignature came, how far each witness lags."""

    size: int
    cosigned_at: int | None
    lags: Mapping[str, int]
    """Leaves, by the witness's name in the policy."""


def log_state(session: Session, policy: WitnessPolicy) -> LogState:
    """For whoever watches over the registry."""
    shard = newest_shard(session)
    if shard is None:
        return LogState(0, None, {})
    states = {state.name: state for state in session.scalars(select(WitnessState))}
    held = {name: state.size if state.year == shard.year else 0 for name, state in states.items()}
    names = [witness.name for witness in policy.witnesses]
    times = [states[name].cosigned_at for name in names if name in states and states[name].cosigned_at]
    return LogState(
        size=shard.size,
        cosigned_at=max(times, default=None),
        lags={name: shard.size - held.get(name, 0) for name in names},
    )


def ask(run: LogRun, shard: LogShard) -> None:
    """Send the shard's signed checkpoint to every witness of the policy and remember what each says.

    Raises LogSetBack if one has seen a larger tree than ours, LogForked if one refuses ours: after all
    answers were stored. A crash before that only means that they are asked once more.
    """
    run.has_asked_witnesses = True
    if not run.log.policy.witnesses or not shard.size:
        return
    sizes = {
        state.name: state.size
        for state in run.session.scalars(select(WitnessState))
        if state.year == shard.year
    }
    run.session.rollback()  # no transaction stays open while others are waited for
    nodes = stored_nodes(run.storage, shard.year, shard.size)
    reports = ask_witnesses(
        note=shard.checkpoint,
        policy=run.log.policy,
        sizes=sizes,
        prove=lambda old_size: consistency_path(old_size, shard.size, nodes),
        send=run.log.send,
        now=run.now,
    )
    with run.fenced() as session:
        for report in reports:
            state = session.get(WitnessState, report.name) or WitnessState(
                name=report.name, year=shard.year, size=0, lines="", cosigned_at=0
            )
            session.add(state)
            _remember(state, report, shard, run.now)
        known = {witness.name for witness in run.log.policy.witnesses}
        for state in session.scalars(select(WitnessState).where(WitnessState.name.not_in(known))):
            session.delete(state)
    _judge(reports, shard)


def ask_before_signing(run: LogRun, shard: LogShard) -> None:
    """Ask once in this run, with the head that is signed already, so that no older tree is ever extended."""
    if not run.has_asked_witnesses:
        ask(run, shard)


def ask_if_due(run: LogRun, shard: LogShard) -> None:
    """Ask when the newest checkpoint lacks its quorum, or when the last answers are a heartbeat old."""
    if not run.log.policy.witnesses or not shard.size:
        return
    states = _states(run, shard)
    asked_at = max((state.asked_at for state in states if state.asked_size == shard.size), default=0)
    is_old = not asked_at <= run.now < asked_at + run.log.heartbeat_seconds
    if is_old or not witnessed(run, shard).is_met:
        ask(run, shard)


def witnessed(run: LogRun, shard: LogShard) -> Witnessed:
    """The stored cosignatures of exactly the shard's signed checkpoint, verified by the policy's keys."""
    lines: list[NoteSignature] = []
    for state in _states(run, shard):
        if state.size == shard.size and state.lines:
            lines += decode_signatures(state.lines)
    note = decode_note(shard.checkpoint)
    note = Note(note.text, tuple(lines))
    keys = [witness.key for witness in run.log.policy.witnesses]
    found = cosignatures(note, decode_checkpoint(note.text), keys)
    return Witnessed(tuple(lines), tuple(found), run.log.policy.is_met(cosigner.key for cosigner in found))


def has_failed_open(run: LogRun, shard: LogShard) -> bool:
    """Whether phones have waited for a checkpoint with a quorum for as long as they may."""
    return run.now >= shard.waiting_since + run.log.fail_open_seconds


def _states(run: LogRun, shard: LogShard) -> list[WitnessState]:
    """Rows of the policy's witnesses about this shard, by name."""
    names = [witness.name for witness in run.log.policy.witnesses]
    states = list(
        run.session.scalars(
            select(WitnessState)
            .where(WitnessState.name.in_(names), WitnessState.year == shard.year)
            .order_by(WitnessState.name)
        )
    )
    run.session.expunge_all()
    run.session.rollback()
    return states


def _remember(state: WitnessState, report: WitnessReport, shard: LogShard, now: float) -> None:
    if state.year != shard.year:
        state.year, state.size, state.lines = shard.year, 0, ""
    state.asked_at, state.asked_size = int(now), shard.size
    state.error = report.error
    state.halted = report.conflict
    if report.lines:
        state.size, state.cosigned_at = shard.size, int(now)
        state.lines = "".join(map(encode_signature, report.lines))
    elif report.size is not None and report.size <= shard.size and report.size != state.size:
        # By its own word it is elsewhere than we thought: the next proof begins there.
        state.size, state.lines = report.size, ""


def _judge(reports: Sequence[WitnessReport], shard: LogShard) -> None:
    for report in reports:
        if report.conflict:
            raise LogForked(
                f"witness {report.name} refuses the checkpoint of {shard.origin} at size {shard.size}: "
                f"{report.error}. Nothing is signed until it takes it or is taken out of the witness policy"
            )
    for report in reports:
        if report.ahead is not None:
            raise LogSetBack(
                f"witness {report.name} has cosigned {report.ahead} leaves of {shard.origin}, the database "
                f"and the public files are at {shard.size}: both are older than what was published. Nothing "
                "is signed: bring back newer public files (log, exposures), or the newest database"
            )
