"""Which signatures make a checkpoint good (C2SP tlog-policy): logs, witnesses, groups of them, one quorum.

Read as octets: names are compared byte by byte. Must never count a witness twice.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from registry.errors import Malformed
from registry.protocol.note import KeyKind, VerifierKey, decode_vkey

MAX_POLICY_BYTES = 1_000_000
NO_QUORUM = "none"

_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_LOG_KINDS = (KeyKind.ED25519, KeyKind.ML_DSA_44)
_WITNESS_KINDS = (KeyKind.COSIGNATURE_V1, KeyKind.ML_DSA_44)


@dataclass(frozen=True, slots=True)
class PolicyLog:
    """A log whose checkpoints are accepted."""

    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyWitness:
    """A witness under the name that the policy gives it. `url` is its submission prefix."""

    name: str
    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """Witnessed when `threshold` of its members (witnesses or groups) are."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WitnessPolicy:
    """`quorum` is the name of a witness or a group, or `none`."""

    logs: tuple[PolicyLog, ...] = ()
    witnesses: tuple[PolicyWitness, ...] = ()
    groups: tuple[PolicyGroup, ...] = ()
    quorum: str = NO_QUORUM

    def is_met(self, cosigners: Iterable[VerifierKey]) -> bool:
        """Whether valid cosignatures by these keys are enough."""
        if self.quorum == NO_QUORUM:
            return True
        keys = set(cosigners)
        witnessed = {witness.name for witness in self.witnesses if witness.key in keys}
        for group in self.groups:  # each names only what stands before it
            if sum(member in witnessed for member in group.members) >= group.threshold:
                witnessed.add(group.name)
        return self.quorum in witnessed

    def counted(self) -> tuple[PolicyWitness, ...]:
        """The witnesses that can make a difference to the quorum."""
        wanted = {self.quorum}
        for group in reversed(self.groups):
            if group.name in wanted:
                wanted.update(group.members)
        return tuple(witness for witness in self.witnesses if witness.name in wanted)


@dataclass(frozen=True, slots=True)
class QuorumStrength:
    """What a quorum gives. `shared` is how many of the policy's witnesses any two quorums have in common.

    `prevents` says whether no two trees of one size can both have a quorum while at most `dishonest`
    witnesses cosign both. `words` says it for people, in English.
    """

    shared: int
    dishonest: int
    prevents: bool
    words: str


def quorum_strength(policy: WitnessPolicy, *, dishonest: int = 1) -> QuorumStrength:
    """Whether the quorum prevents split views or only helps to detect them (k > (n+m)/2, nested or not).

    An honest witness cosigns one of two trees only, so that both reach a quorum by honest and dishonest
    witnesses alone if two quorums share no more witnesses than are dishonest. Who holds several keys of
    the policy under one name counts with all of them, which errs towards less.
    """
    if policy.quorum == NO_QUORUM:
        words = "No witness is needed: nothing shows a phone that others are shown another tree."
        return QuorumStrength(0, dishonest, False, words)
    shared = {witness.name: 1 for witness in policy.witnesses}
    for group in policy.groups:  # each names only what stands before it
        # With k of n members each, two quorums meet in 2k - n of them at the least.
        least = max(0, 2 * group.threshold - len(group.members))
        shared[group.name] = sum(sorted(shared[member] for member in group.members)[:least])
    found = shared[policy.quorum]
    held = Counter(witness.key.name for witness in policy.counted())
    bought = sum(count for _, count in held.most_common(dishonest))
    if found > bought:
        words = f"The quorum prevents split views even if {_witnesses(dishonest)} cosigned both."
    elif found:
        words = (
            f"The quorum prevents split views while every witness is honest; {_witnesses(dishonest)} that "
            "cosigned both would make one possible, and it is then detected by whoever reads all witnesses."
        )
    else:
        words = (
            "The quorum only detects split views: honest witnesses can be shown different trees, and whoever "
            "reads all witnesses sees it."
        )
    return QuorumStrength(found, dishonest, found > bought, words)


def _witnesses(count: int) -> str:
    return "one witness" if count == 1 else f"{count} witnesses"


def encode_policy(policy: WitnessPolicy) -> bytes:
    """The policy file. Raises Malformed for what could not be read back."""
    lines = [_line("log", log.key.vkey, log.url) for log in policy.logs]
    lines += [_line("witness", one.name, one.key.vkey, one.url) for one in policy.witnesses]
    lines += [_line("group", group.name, str(group.threshold), *group.members) for group in policy.groups]
    content = "".join([*lines, _line("quorum", policy.quorum)]).encode("utf-8", "surrogateescape")
    if decode_policy(content) != policy:
        raise Malformed("the witness policy cannot be written as a file")
    return content


def decode_policy(content: bytes) -> WitnessPolicy:
    """The policy. Raises Malformed and names the line.

    1. Only tab and newline among control characters; every line ends with a newline.
    2. Key types fit the role; no public key twice among the logs, none twice among the witnesses.
    3. Names are defined once, and before they are used; each is a member of one group at most.
    4. A threshold is `any`, `all` or 1 to the number of members.
    5. Exactly one quorum line.
    """
    if len(content) > MAX_POLICY_BYTES:
        raise Malformed(f"a witness policy has at most {MAX_POLICY_BYTES} bytes")
    if _CONTROL.search(content):
        raise Malformed("the witness policy holds a control character")
    if content and not content.endswith(b"\n"):
        raise Malformed("the witness policy's last line has no end")
    reader = _Reader()
    for number, line in enumerate(content.decode("utf-8", "surrogateescape").split("\n"), start=1):
        # Only spaces and tabs part items: other white space is part of a name.
        items = [item for item in line.replace("\t", " ").split(" ") if item]
        if not items or items[0].startswith("#"):
            continue
        try:
            reader.read(items[0], items[1:])
        except Malformed as error:
            raise Malformed(f"witness policy, line {number}: {error}") from error
    return reader.policy()


class _Reader:
    """The policy as far as it has been read."""

    def __init__(self) -> None:
        self._logs: list[PolicyLog] = []
        self._witnesses: list[PolicyWitness] = []
        self._groups: list[PolicyGroup] = []
        self._quorum: str | None = None
        self._free: set[str] = set()
        """Names that are defined and no group's member yet."""
        self._names = {NO_QUORUM}

    def read(self, keyword: str, items: list[str]) -> None:
        if keyword == "log" and len(items) in (1, 2):
            self._logs.append(PolicyLog(_key(items[0], _LOG_KINDS), *items[1:]))
            _refuse_twice([log.key for log in self._logs])
        elif keyword == "witness" and len(items) in (2, 3):
            self._define(items[0])
            self._witnesses.append(PolicyWitness(items[0], _key(items[1], _WITNESS_KINDS), *items[2:]))
            _refuse_twice([witness.key for witness in self._witnesses])
        elif keyword == "group" and len(items) >= 3:
            self._read_group(items[0], items[1], tuple(items[2:]))
        elif keyword == "quorum" and len(items) == 1:
            self._read_quorum(items[0])
        else:
            raise Malformed("neither a log, a witness, a group nor a quorum as they must be written")

    def policy(self) -> WitnessPolicy:
        if self._quorum is None:
            raise Malformed("the witness policy has no quorum line")
        return WitnessPolicy(tuple(self._logs), tuple(self._witnesses), tuple(self._groups), self._quorum)

    def _define(self, name: str) -> None:
        if name in self._names:
            raise Malformed(f"the name {name!r} is taken")
        self._names.add(name)
        self._free.add(name)

    def _read_group(self, name: str, threshold: str, members: tuple[str, ...]) -> None:
        for member in members:
            if member not in self._free:
                raise Malformed(f"{member!r} is not defined before this line, or is a member already")
            self._free.remove(member)
        self._define(name)
        words = {"any": 1, "all": len(members)}
        if threshold not in words and not (threshold.isascii() and threshold.isdecimal()):
            raise Malformed("a threshold is a number, 'any' or 'all'")
        needed = words[threshold] if threshold in words else int(threshold[:10])
        if not 1 <= needed <= len(members):
            raise Malformed(f"a group of {len(members)} cannot need {threshold[:10]}")
        self._groups.append(PolicyGroup(name, needed, members))

    def _read_quorum(self, name: str) -> None:
        if self._quorum is not None:
            raise Malformed("there is a quorum line already")
        if name not in self._names:
            raise Malformed(f"{name!r} is not defined before this line")
        self._quorum = name


def _key(vkey: str, kinds: Collection[int]) -> VerifierKey:
    key = decode_vkey(vkey)
    if key.kind not in kinds:
        raise Malformed(f"a key of type {key.kind} has another role")
    return key


def _refuse_twice(keys: list[VerifierKey]) -> None:
    if keys[-1].public_key in [key.public_key for key in keys[:-1]]:
        raise Malformed(f"the public key of {keys[-1].name} is listed twice")


def _line(*items: str | None) -> str:
    return " ".join(item for item in items if item is not None) + "\n"
