"""Asks witnesses to cosign our newest checkpoint (C2SP tlog-witness), all of them at the same time.

A witness that lags is sent a proof from where it stands; one that is ahead of us, or that holds another
tree, is reported and never argued with. No cosignature counts that the policy's own key does not verify.
Remembers nothing: what each witness holds is the caller's to keep, and when to try again is its to say.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue

from registry.errors import BadSignature, FetchFailed, Malformed, RegistryError
from registry.protocol.checkpoint import Checkpoint, cosignatures, decode_checkpoint
from registry.protocol.note import (
    Note,
    NoteSignature,
    VerifierKey,
    decode_note,
    decode_signatures,
    encode_note,
)
from registry.protocol.witness_policy import PolicyLog, PolicyWitness, WitnessPolicy
from registry.protocol.witness_request import SIZE_TYPE, decode_size, encode_request

LIMIT_SECONDS = 5.0
"""For all witnesses together. They are asked within a run of the publisher, which phones wait for."""
MAX_ANSWER_BYTES = 64 * 1024
MAX_PROOFS = 3
"""Sent to one witness in a run: the first, and two more from sizes that it names."""
MAX_AHEAD_SECONDS = 300
"""How far a witness's clock may be ahead of ours."""
_TIME_BYTES = 8

_WORDS = {
    400: "it calls our request malformed: look at both sides' versions",
    403: "it does not know the key that signed: have the witness's operator add this shard's key",
    404: "it does not know this log: have the witness's operator add its origin and key",
    413: "it finds our request too large: have the witness's operator raise the limit to 16 KiB",
    429: "it asks for a pause, and is asked again later",
    500: "it has a fault of its own, or does not know the key that signed; it is asked again",
    503: "it is not available; it is asked again",
}


@dataclass(frozen=True, slots=True)
class WitnessAnswer:
    """An HTTP answer: status, the Content-Type as it was sent (empty without one), body."""

    status: int
    content_type: str
    body: bytes


SendToWitness = Callable[[str, bytes], WitnessAnswer]
"""POSTs the body to the address; raises FetchFailed if no answer comes. Called in threads."""


@dataclass(frozen=True, slots=True)
class WitnessReport:
    """What one witness of the policy, by its name there, made of our checkpoint.

    `size` is what it holds by its own word, None if it did not say; `lines` its verified cosignatures;
    `error` in words for the operator, None when it cosigned; `ahead` the size that it holds beyond ours: our
    database is older than what we published; `conflict`: it holds another tree than ours. Either of the two
    means: sign nothing more.
    """

    name: str
    size: int | None
    lines: tuple[NoteSignature, ...] = ()
    error: str | None = None
    ahead: int | None = None
    conflict: bool = False


def ask_witnesses(
    *,
    note: bytes,
    policy: WitnessPolicy,
    sizes: Mapping[str, int],
    prove: Callable[[int], list[bytes]],
    send: SendToWitness,
    now: float,
    only: Collection[str] | None = None,
    limit_seconds: float = LIMIT_SECONDS,
    monotonic: Callable[[], float] = time.monotonic,
) -> list[WitnessReport]:
    """A report for each witness of the policy (or of `only`, by name), in its order; none of them raises.

    `note` is the log's signed checkpoint; only the log's own lines are sent on, never other witnesses'.
    `sizes` is what each witness held when last heard of, by name; 0 is assumed for others, and our own size
    makes it a heartbeat. `prove` gives the consistency proof from a size to ours and is called in the
    caller's own thread. `now` in unix seconds judges the cosignatures' times. Raises Malformed for a note
    that is no checkpoint.
    """
    asked = _Asked.of(note, prove, now)
    chosen = [witness for witness in policy.witnesses if only is None or witness.name in only]
    doors = _doors(chosen, sizes, asked.checkpoint.size)
    answers: SimpleQueue[tuple[_Door, WitnessAnswer | FetchFailed]] = SimpleQueue()
    deadline = monotonic() + limit_seconds
    waiting = [door for door in doors if asked.knock(door, send, answers)]
    while waiting:
        try:
            door, answer = answers.get(timeout=max(0.0, deadline - monotonic()))
        except Empty:
            break
        waiting.remove(door)
        if isinstance(answer, FetchFailed):
            door.error = f"{answer}; it is asked again"
        elif asked.judge(door, answer) and asked.knock(door, send, answers):
            waiting.append(door)
    for door in waiting:
        door.error = f"no answer within {limit_seconds:g} seconds; it is asked again"
    found = {report.name: report for door in doors for report in asked.reports(door)}
    return [found.get(witness.name, _without_address(witness)) for witness in chosen]


def published_policy(policy: WitnessPolicy, log_keys: Iterable[VerifierKey]) -> WitnessPolicy:
    """The policy for phones and auditors: the operator's witnesses and quorum, and our own log keys alone."""
    return replace(policy, logs=tuple(PolicyLog(key) for key in log_keys))


@dataclass(eq=False)
class _Door:
    """One address under which one or more of the policy's witnesses answer: one state, perhaps many keys."""

    url: str
    witnesses: list[PolicyWitness]
    old_size: int
    proofs_sent: int = 0
    held: int | None = None
    lines: dict[str, NoteSignature] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    ahead: int | None = None
    conflict: bool = False


def _doors(witnesses: Iterable[PolicyWitness], sizes: Mapping[str, int], ours: int) -> list[_Door]:
    doors: dict[str, _Door] = {}
    for witness in witnesses:
        if witness.url is None:
            continue
        # A size beyond ours is not asked about but found out: the witness's own word counts.
        known = min(sizes.get(witness.name, 0), ours)
        door = doors.setdefault(witness.url.rstrip("/"), _Door(witness.url.rstrip("/"), [], known))
        door.witnesses.append(witness)
        door.old_size = max(door.old_size, known)
    return list(doors.values())


@dataclass(frozen=True)
class _Asked:
    """What all of them are asked for."""

    checkpoint: Checkpoint
    text: str
    note: bytes
    prove: Callable[[int], list[bytes]]
    now: float

    @classmethod
    def of(cls, content: bytes, prove: Callable[[int], list[bytes]], now: float) -> "_Asked":
        note = decode_note(content)
        checkpoint = decode_checkpoint(note.text)
        own = tuple(line for line in note.signatures if line.name == checkpoint.origin)
        return cls(checkpoint, note.text, encode_note(Note(note.text, own)), prove, now)

    def knock(
        self,
        door: _Door,
        send: SendToWitness,
        answers: "SimpleQueue[tuple[_Door, WitnessAnswer | FetchFailed]]",
    ) -> bool:
        """Send the request from a thread of its own; False, with the door's error, if none can be made."""
        door.proofs_sent += 1
        try:
            body = encode_request(door.old_size, self.prove(door.old_size), self.note)
        except RegistryError as error:
            door.error = f"no proof from size {door.old_size} could be made: {error}"
            return False

        def ask() -> None:
            answer: WitnessAnswer | FetchFailed
            try:
                answer = send(f"{door.url}/add-checkpoint", body)
            except FetchFailed as error:
                answer = error
            except Exception as error:  # a bug of the sender must not keep the others' cosignatures
                answer = FetchFailed(f"sending failed: {type(error).__qualname__}")
            answers.put((door, answer))

        # A daemon: one that hangs beyond the limit holds up neither this run nor the process's end.
        threading.Thread(target=ask, name="witness", daemon=True).start()
        return True

    def judge(self, door: _Door, answer: WitnessAnswer) -> bool:
        """Note down what the answer says; True if the witness wants a proof from another size."""
        if len(answer.body) > MAX_ANSWER_BYTES:
            door.error = f"it answered with more than {MAX_ANSWER_BYTES} bytes"
        elif answer.status == 200:
            self._read_lines(door, answer.body)
        elif answer.status == 409 and _media_type(answer.content_type) == SIZE_TYPE:
            return self._read_size(door, answer.body)
        elif answer.status in (409, 422):
            # A deployed witness tells a fork at equal size by a 409 without a size.
            door.conflict = True
            door.error = (
                f"it refuses our checkpoint as inconsistent with what it cosigned (HTTP {answer.status}): "
                "sign nothing more, and compare its last checkpoint with ours"
            )
        elif 300 <= answer.status < 400:
            door.error = (
                f"it answers with a redirect (HTTP {answer.status}), which is not followed: "
                "put the address that it leads to into the policy"
            )
        else:
            words = _WORDS.get(answer.status, "that is no answer of a witness; it is asked again")
            door.error = f"HTTP {answer.status}: {words}"
        return False

    def _read_size(self, door: _Door, body: bytes) -> bool:
        try:
            held = decode_size(body)
        except Malformed as error:
            door.error = f"it wants another proof but does not say from where ({error})"
            return False
        door.held = held
        if held > self.checkpoint.size:
            door.ahead = held
            door.error = (
                f"it has cosigned size {held} and we are at {self.checkpoint.size}: our database is older "
                "than what was published. Nothing may be signed before the missing leaves are back"
            )
        elif held == door.old_size:
            door.error = f"it asks for a proof from size {held} and refuses it; it is asked again"
        elif door.proofs_sent >= MAX_PROOFS:
            door.error = f"it named another size after each of {MAX_PROOFS} proofs; it is asked again"
        else:
            door.old_size = held
            return True
        return False

    def _read_lines(self, door: _Door, body: bytes) -> None:
        try:
            lines = decode_signatures(body.decode())
        except (UnicodeDecodeError, Malformed) as error:
            door.error = f"it answered 200 without cosignature lines ({error})"
            return
        for witness in door.witnesses:
            try:
                line = self._newest(lines, witness.key)
            except BadSignature as error:
                door.wrong[witness.name] = f"{error}: is its key in the policy still its key?"
                continue
            if line is None:
                door.wrong[witness.name] = "it answered without a cosignature by the policy's key"
            else:
                door.lines[witness.name] = line
        if door.lines:
            door.held = self.checkpoint.size

    def _newest(self, lines: tuple[NoteSignature, ...], key: VerifierKey) -> NoteSignature | None:
        """The key's newest line, verified; None if there is none."""
        own = [line for line in lines if line.is_by(key)]
        for line in own:
            found = cosignatures(Note(self.text, (line,)), self.checkpoint, [key])
            if not 0 < found[0].time <= self.now + MAX_AHEAD_SECONDS:
                raise BadSignature(f"the cosignature of {key.name} is of time {found[0].time}, not of now")
        return max(own, key=lambda line: line.signature[:_TIME_BYTES], default=None)

    def reports(self, door: _Door) -> list[WitnessReport]:
        """One for each name that the policy gives to who answers at this door."""
        return [
            WitnessReport(
                name=witness.name,
                size=door.held,
                lines=tuple(door.lines[name] for name in (witness.name,) if name in door.lines),
                error=door.error or door.wrong.get(witness.name),
                ahead=door.ahead,
                conflict=door.conflict,
            )
            for witness in door.witnesses
        ]


def _without_address(witness: PolicyWitness) -> WitnessReport:
    return WitnessReport(
        witness.name, None, error="the policy gives no address for it: add its submission prefix to its line"
    )


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
