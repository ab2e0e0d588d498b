"""What the auditors' face is handed when it is put together. It reads no setting and no clock by itself."""

from collections.abc import Callable
from dataclasses import dataclass, field

from flask import current_app
from sqlalchemy.orm import Session

from registry.protocol.intervals import Clock
from registry.storage import Storage

_EXTENSION = "registry_audit"


@dataclass(frozen=True)
class ReceiptsAccess:
    """What the page of receipts needs beyond public files: a look into both halves, and who may take it."""

    issuing: Callable[[], Session]
    """Opens a session on the issuing half: who is signed in, counts, acts."""
    collecting: Callable[[], Session]
    """Opens a session on the collecting half: receipts, batches."""
    form_secret: bytes = field(repr=False)
    """Signs the cookie that guards forms against forgery. Who is signed in is decided by the database."""


@dataclass(frozen=True)
class AuditFace:
    """The public files, the clock, and whether this is a demonstration.

    `receipts` is None where this face is kept away from the databases: then that one page says so.
    """

    storage: Storage
    profile: str
    base_url: str
    """Where the registry is found, without a slash at its end: commands and feeds name it."""
    clock: Clock
    receipts: ReceiptsAccess | None = None

    def attach(self, extensions: dict[str, object]) -> None:
        """Let the views of an application find this."""
        extensions[_EXTENSION] = self


def this_face() -> AuditFace:
    """The face whose request is under way."""
    face = current_app.extensions[_EXTENSION]
    if not isinstance(face, AuditFace):
        raise TypeError("the application was not put together by create_audit_app")
    return face
