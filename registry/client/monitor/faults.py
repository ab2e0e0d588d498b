"""The classes of fault that an auditor's tool can find, each with its exit code; the gravest comes first.

A fault is a finding about the registry. That nothing could be read at all is none: then there is nothing to
find, and the command ends with `CANNOT_TELL`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from registry.client.failures import (
    Frozen,
    HashMismatch,
    Outdated,
    QuorumMissing,
    Rewritten,
    RolledBack,
    SequenceGap,
    SplitView,
    TooEarly,
    TooLarge,
    TrustExpired,
    TrustRefused,
    Unlogged,
    UnloggedFile,
    WrongFile,
)
from registry.errors import BadSignature, Distrusted, Malformed, RegistryError, UntrustedKey, WrongProof

ALL_GOOD = 0
CANNOT_TELL = 1
"""Wrong use, no answer, or something missing on the auditor's own side."""


class NotThere(Distrusted):
    """A file that must be there is not."""


class WrongTree(Distrusted):
    """The log's own files do not hash to the root that its checkpoint signs."""


class TwoHistories(Distrusted):
    """Two notes that the log signed cannot both be of one history. `fault` says so, with both as evidence."""

    def __init__(self, fault: "Fault") -> None:
        super().__init__(f"{fault.where}: {fault.what}")
        self.fault = fault


class FaultKind(Enum):
    """A class of fault: (word for programs, exit code). A lower code is graver."""

    SPLIT_VIEW = ("split_view", 2)
    """Two signed checkpoints of one log and size with different roots: proof of two histories."""
    INCONSISTENT = ("inconsistent", 3)
    """A later signed checkpoint does not contain an earlier one: history was rewritten."""
    ROLLED_BACK = ("rolled_back", 4)
    """Something older is shown than was shown before: a checkpoint, an index, trust material."""
    SIGNATURE = ("signature", 5)
    """A signature does not verify, is missing, or is by a key that is not known."""
    DAMAGED_LOG = ("damaged_log", 6)
    """A tile, bundle or checkpoint is missing or does not hash to the signed root."""
    MALFORMED = ("malformed", 7)
    """Bytes that do not follow their format, a leaf that cannot be decoded among them."""
    UNLOGGED = ("unlogged", 8)
    """A file, an index or trust material that no leaf commits to."""
    TRUST = ("trust", 9)
    """The trust note has expired, or does not fit the trust material or the one before it."""
    GAP = ("gap", 10)
    """Sequences with a gap, windows that do not adjoin, links from leaf to leaf that do not hold."""
    INDEX_NOT_LAST = ("index_not_last", 11)
    """A published checkpoint does not end with an index leaf."""
    INDEX = ("index", 12)
    """An index lists other batches than exactly the unexpired and unwithdrawn ones."""
    FILE = ("file", 13)
    """A listed file is missing, not the one announced, or says what it must not."""
    MANIFEST = ("manifest", 14)
    """A manifest is missing, or does not fit its leaf, its files or the index."""
    RECEIPTS = ("receipts", 15)
    """A manifest's receipts do not lead to its root, or not to those that were kept."""
    COUNTS = ("counts", 16)
    """More was redeemed than issued, certified than redeemed, uploaded than certified, or published."""
    QUORUM = ("quorum", 17)
    """Fewer witnesses have cosigned than the policy demands."""
    FROZEN = ("frozen", 18)
    """The newest cosignature or index is older than the limit: the present may be held back."""
    TIMES = ("times", 19)
    """Times of one witness, or of issue, that go back or lie in the future."""
    ACTIVITY = ("activity", 20)
    """Officials' acts are not anchored for a day, or their chain is broken."""
    COUNTABLE = ("countable", 21)
    """Files tell padding from people, so that the people in them can be counted."""

    @property
    def word(self) -> str:
        """For JSON, metrics and feeds."""
        return str(self.value[0])

    @property
    def exit_code(self) -> int:
        """Of a command that found nothing graver."""
        return int(self.value[1])


@dataclass(frozen=True, slots=True)
class Fault:
    """One finding: its class, where (a public path, a leaf, a region), what is wrong, what to do next.

    `evidence` holds signed notes, as they were served, that prove it to third parties.
    """

    kind: FaultKind
    where: str
    what: str
    advice: str = ""
    evidence: tuple[bytes, ...] = ()

    @property
    def identity(self) -> tuple[str, str, str]:
        """Equal for the same fault found again."""
        return self.kind.word, self.where, self.what


FOR_EVER = frozenset({FaultKind.SPLIT_VIEW, FaultKind.INCONSISTENT, FaultKind.ROLLED_BACK})


def is_final(fault: Fault) -> bool:
    """Whether two signed notes prove the fault, so that nothing that is shown later can undo it."""
    return fault.kind in FOR_EVER and len(fault.evidence) > 1


def exit_code(faults: Iterable[Fault]) -> int:
    """That of the gravest; 0 for none."""
    return min((fault.kind.exit_code for fault in faults), default=ALL_GOOD)


_KINDS: tuple[tuple[type[RegistryError], FaultKind], ...] = (
    (SplitView, FaultKind.SPLIT_VIEW),
    (RolledBack, FaultKind.ROLLED_BACK),
    (Rewritten, FaultKind.INDEX),
    (Outdated, FaultKind.FROZEN),
    (Frozen, FaultKind.FROZEN),
    (QuorumMissing, FaultKind.QUORUM),
    (Unlogged, FaultKind.UNLOGGED),
    (UnloggedFile, FaultKind.UNLOGGED),
    (TrustExpired, FaultKind.TRUST),
    (TrustRefused, FaultKind.TRUST),
    (SequenceGap, FaultKind.GAP),
    (WrongTree, FaultKind.DAMAGED_LOG),
    (WrongProof, FaultKind.DAMAGED_LOG),
    (BadSignature, FaultKind.SIGNATURE),
    (UntrustedKey, FaultKind.SIGNATURE),
    (HashMismatch, FaultKind.FILE),
    (WrongFile, FaultKind.FILE),
    (TooEarly, FaultKind.FILE),
    (TooLarge, FaultKind.MALFORMED),
    (Malformed, FaultKind.MALFORMED),
)


def fault_of(error: RegistryError, where: str, *, missing: FaultKind = FaultKind.DAMAGED_LOG) -> Fault:
    """The fault that an error of reading or checking `where` is; `missing` if it is not there at all."""
    if isinstance(error, NotThere):
        return Fault(missing, where, str(error))
    if isinstance(error, TwoHistories):
        return error.fault
    for kind, fault in _KINDS:
        if isinstance(error, kind):
            return Fault(fault, where, str(error))
    raise error
