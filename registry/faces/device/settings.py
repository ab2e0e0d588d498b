"""What the device face is given by whoever composes the process. It reads no setting and no key by itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from registry.delivery.messages import SmsMaker
from registry.lifecycle.authorize import IssuingPolicy
from registry.lifecycle.collect import CollectionPolicy
from registry.protocol.certificate import CertificateSigner
from registry.protocol.guessing import GuessBudget
from registry.protocol.intervals import Clock
from registry.protocol.lab_result import USUAL_TEST_CODES
from registry.protocol.revision_token import RevisionKeyRing


@dataclass(frozen=True)
class IssuingFace:
    """For `create_issuing_app`: codes, tokens, certificates."""

    database_url: str
    """The issuing half."""
    clock: Clock
    lookup_key: bytes = field(repr=False)
    """Keys the hashes under which codes and API keys are found."""
    token_signer: CertificateSigner
    token_public_keys: Mapping[str, EllipticCurvePublicKey]
    """By key id; the signer's own, and older ones whose tokens may still come back."""
    certificate_signers: Mapping[str, CertificateSigner]
    """By authority."""
    recall_public_key: X25519PublicKey
    """What leads to an upload is sealed to it. The private half must not be in this process."""
    policy: IssuingPolicy
    sleep: Callable[[float], None]
    monotonic: Callable[[], float]
    guess_budget: GuessBudget = field(default_factory=GuessBudget)
    """Wrong codes that this process looks at in an hour: its share of the registry's."""
    guess_room: GuessBudget | None = None
    """The same while no code of eight digits can be used; none for the same budget."""
    trusted_proxies: int = 0
    """How many proxies of ours a call passes before it comes here."""
    hold_milliseconds: int = 300
    """Answers leave this long after arrival, or at a multiple of it. 0 only for measuring."""
    sms: SmsMaker | None = None
    """What makes and sends SMS; without it none is."""
    test_codes: frozenset[str] = USUAL_TEST_CODES
    """LOINC codes of the tests whose results lead to a code when a laboratory's message brings them."""


@dataclass(frozen=True)
class CollectingFace:
    """For `create_collecting_app`: uploads."""

    database_url: str
    """The collecting half."""
    clock: Clock
    revision_keys: RevisionKeyRing
    policy: CollectionPolicy
    sleep: Callable[[float], None]
    monotonic: Callable[[], float]
    hold_milliseconds: int = 300
    """Answers leave this long after arrival, or at a multiple of it. 0 only for measuring."""
