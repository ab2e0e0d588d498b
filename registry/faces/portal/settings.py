"""What the portal is handed when it is put together. It reads no setting and no clock by itself."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from flask import current_app

from registry.delivery.messages import SmsMaker
from registry.faces.portal.openid import OpenIdProvider
from registry.lifecycle.authorize import IssuingPolicy
from registry.lifecycle.passkeys import RelyingParty
from registry.protocol.intervals import Clock

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
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
    idle_seconds: int = 0
    """After how long without a request a session is locked; 0 for never."""
    openid: OpenIdProvider | None = None
    """The organisation's OpenID provider, where it has one."""

    @property
    def relying_party(self) -> RelyingParty | None:
        """Who asks for passkeys here. None where browsers know none: at a bare IP address.

        Browsers take no IP address for one, so a registry on this machine is `localhost` to them.
        """
        parts = urlsplit(self.address)
        host = parts.hostname or ""
        if host in LOOPBACK:
            port = f":{parts.port}" if parts.port else ""
            return RelyingParty("localhost", f"{parts.scheme}://localhost{port}")
        if not host or re.fullmatch(r"[0-9.]+", host) or ":" in host:
            return None
        return RelyingParty(host, f"{parts.scheme}://{parts.netloc}")

    def attach(self, extensions: dict[str, object]) -> None:
        """Let the views of an application find this."""
        extensions[_EXTENSION] = self


def this_face() -> PortalFace:
    """The face whose request is under way."""
    face = current_app.extensions[_EXTENSION]
    if not isinstance(face, PortalFace):
        raise TypeError("the application was not put together by create_portal_app")
    return face
