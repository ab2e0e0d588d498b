"""What one run of the publisher has at hand."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from registry.lifecycle.publish.policy import PublicationPolicy
from registry.protocol.export_signatures import TrustedKeys
from registry.protocol.trust import Profile
from registry.signing import Signer
from registry.transparency.run import LogRun


@dataclass(slots=True)
class Run(LogRun):
    """A run that may publish in `regions` under `policy`."""

    policy: PublicationPolicy
    profile: Profile | None
    """None for a run that issues no trust material."""
    regions: Collection[str]


@dataclass(frozen=True, slots=True)
class ExportKeys:
    """The registered public keys, and the signers that are live, newest first."""

    registered: TrustedKeys
    live: Sequence[Signer]
