"""When witnesses are asked, what is remembered of their answers, and whether a checkpoint has its quorum.

A witness that holds more than we do, or another tree, stops the log: nothing is signed until it cosigns
again or is taken out of the policy, however silent it becomes meanwhile. One that merely does not answer
stops nothing that its policy does not make it stop, and is asked more and more rarely.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import or_, select
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

FIRST_RETRY_SECONDS = 2
"""How long a witness that did not cosign is left alone; doubled with each failure, up to the heartbeat."""
_MOST_DOUBLINGS = 20


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


def ask(run: LogRun, shard: LogShard, names: Collection[str] | None = None) -> None:
    """Send the shard's signed checkpoint to every witness of the policy (or to `names`), keep what each says.

    Raises LogSetBack if one has seen a larger tree than ours, LogForked if one refuses ours, now or at any
    time since it cosigned last: after all answers were stored. A crash before that only means that they are
    asked once more.
    """
    run.has_asked_witnesses = run.has_asked_witnesses or names is None
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
        only=names,
        sizes=sizes,
        prove=lambda old_size: consistency_path(old_size, shard.size, nodes),
        send=run.log.send,
        now=run.now,
    )
    with run.fenced() as session:
        for report in reports:
            state = session.get(WitnessState, report.name) or WitnessState(
                name=report.name, year=shard.year, size=0, lines="", failures=0, cosigned_at=0, halted=False
            )
            session.add(state)
            _remember(state, report, shard, run.now)
            if not report.lines:
                run.unanswered.add(report.name)
        known = {witness.name for witness in run.log.policy.witnesses}
        for state in session.scalars(select(WitnessState).where(WitnessState.name.not_in(known))):
            session.delete(state)
    _judge(_halting(run), shard)


def check_not_halted(run: LogRun) -> None:
    """Ask whoever has stopped the log, when it is time to; raises as `ask` does while one stands by it.

    The rule of every run's beginning, before anything is sealed or signed: that a witness which holds more
    than we do, or another tree, has fallen silent since takes nothing back.
    """
    shard = run.shard()
    halting = _halting(run)
    if shard is None or not halting:
        return
    due = {state.name for state in halting if state.asked_size != shard.size or _is_rested(state, run)}
    if due:
        ask(run, shard, due)
    else:
        _judge(halting, shard)


def ask_before_signing(run: LogRun, shard: LogShard) -> None:
    """Ask once in this run, with the head that is signed already, so that no older tree is ever extended.

    Everybody, also who has not answered for long: it may have come back with a larger tree.
    """
    if not run.has_asked_witnesses:
        ask(run, shard)


def ask_if_due(run: LogRun, shard: LogShard) -> None:
    """Ask whoever has not cosigned the newest checkpoint, and all whose last answer is a heartbeat old.

    One that failed is left alone for a while, the longer the more often it did; for a whole heartbeat once
    the quorum is there without it.
    """
    if not run.log.policy.witnesses or not shard.size:
        return
    states = {state.name: state for state in _states(run, shard)}
    is_met = witnessed(run, shard).is_met
    due = {
        witness.name
        for witness in run.log.policy.witnesses
        if witness.name not in run.unanswered and _is_due(states.get(witness.name), shard, run, is_met=is_met)
    }
    if due:
        ask(run, shard, due)


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


def _halting(run: LogRun) -> list[WitnessState]:
    """Rows of the policy's witnesses that stop the log, by name; of whatever year they speak."""
    names = [witness.name for witness in run.log.policy.witnesses]
    states = list(
        run.session.scalars(
            select(WitnessState)
            .where(WitnessState.name.in_(names), or_(WitnessState.halted, WitnessState.ahead.is_not(None)))
            .order_by(WitnessState.name)
        )
    )
    run.session.expunge_all()
    run.session.rollback()
    return states


def _is_due(state: WitnessState | None, shard: LogShard, run: LogRun, *, is_met: bool) -> bool:
    if state is None:
        return True
    if state.failures and not is_met:
        return _is_rested(state, run)
    # Of one that failed while the others were enough, the new size is no reason to ask it: a heartbeat is.
    is_new = state.asked_size != shard.size and not state.failures
    return is_new or not state.asked_at <= run.now < state.asked_at + run.log.heartbeat_seconds


def _is_rested(state: WitnessState, run: LogRun) -> bool:
    """Whether a witness that failed has been left alone for long enough. Also if the clock went back."""
    doublings = min(max(state.failures - 1, 0), _MOST_DOUBLINGS)
    pause = min(run.log.heartbeat_seconds, FIRST_RETRY_SECONDS << doublings)
    return not state.asked_at <= run.now < state.asked_at + pause


def _remember(state: WitnessState, report: WitnessReport, shard: LogShard, now: float) -> None:
    if state.year != shard.year:
        state.year, state.size, state.lines = shard.year, 0, ""
    state.asked_at, state.asked_size = int(now), shard.size
    state.error = report.error
    if report.lines:
        # Its own verified cosignature over what we signed is all that takes an alarm of its back.
        state.failures, state.halted, state.ahead = 0, False, None
        state.size, state.cosigned_at = shard.size, int(now)
        state.lines = "".join(map(encode_signature, report.lines))
        return
    state.failures += 1
    state.halted = state.halted or report.conflict
    state.ahead = max(filter(None, (state.ahead, report.ahead)), default=None)
    if report.size is not None and report.size <= shard.size and report.size != state.size:
        # By its own word it is elsewhere than we thought: the next proof begins there.
        state.size, state.lines = report.size, ""


def _judge(halting: Collection[WitnessState], shard: LogShard) -> None:
    for state in halting:
        if state.halted:
            raise LogForked(
                f"witness {state.name} refuses the checkpoint of {shard.origin} at size {shard.size}; when "
                f"it was asked last: {state.error}. Nothing is signed until it takes it or is taken out of "
                "the witness policy"
            )
    for state in halting:
        raise LogSetBack(
            f"witness {state.name} has cosigned {state.ahead} leaves of {shard.origin}, the database "
            f"and the public files are at {shard.size}: both are older than what was published. Nothing "
            "is signed until it cosigns again: bring back newer public files (log, exposures), or the newest "
            f"database. When it was asked last: {state.error}"
        )
