"""What the portal is handed when it is put together. It reads no setting and no clock by itself."""

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from flask import current_app

from registry.delivery.messages import SmsMaker
from registry.lifecycle.authorize import IssuingPolicy
from registry.protocol.intervals import Clock

_EXTENSION = "registry_portal"


@dataclass(frozen=True)
class PortalFace:
    """The issuing half, its clock and its rules, for the officials of one authority."""

    database_url: str
    clock: Clock
    session_secret: bytes = field(repr=False)
    """Signs the cookie that guards forms against forgery. Who is signed in is decided by the database."""
    lookup_key: bytes = field(repr=False)
    recall_key: X25519PrivateKey = field(repr=False)
    """Opens what leads to an upload, when two officials want it recalled. In no other process."""
    policy: IssuingPolicy
    authority_id: str
    profile: str
    """`demo` marks every page as a demonstration."""
    region: str
    address: str
    """Under which links to phones lie, without a slash at its end."""
    web_processes: int = 1
    """How many processes phones call: each counts wrong codes for itself."""
    sms: SmsMaker | None = None
    """What makes and sends SMS; without it none is."""
    time_zone: str = "Asia/Shanghai"
    """IANA name of the zone in which times are shown, beside UTC."""

    def attach(self, extensions: dict[str, object]) -> None:
        """Let the views of an application find this."""
        extensions[_EXTENSION] = self


def this_face() -> PortalFace:
    """The face whose request is under way."""
    face = current_app.extensions[_EXTENSION]
    if not isinstance(face, PortalFace):
        raise TypeError("the application was not put together by create_portal_app")
    return face
