"""What the face is given when it is put together. It reads no setting and no clock by itself."""

from collections.abc import Callable
from dataclasses import dataclass, field

from flask import current_app

from registry.delivery.messages import SmsMaker
from registry.lifecycle.authorize import IssuingPolicy
from registry.protocol.intervals import Clock

_EXTENSION = "registry_person"


@dataclass(frozen=True)
class PersonFace:
    """The issuing half, its clocks, and what a person's own report needs."""

    database_url: str
    clock: Clock
    lookup_key: bytes = field(repr=False)
    profile: str
    """`demo` marks every page as a demonstration."""
    policy: IssuingPolicy
    sms: SmsMaker
    sleep: Callable[[float], None]
    monotonic: Callable[[], float]
    hold_milliseconds: int = 300
    """Answers at /report leave this long after arrival, or at a multiple of it."""

    def attach(self, extensions: dict[str, object]) -> None:
        """Let the views of an application find this."""
        extensions[_EXTENSION] = self


def this_face() -> PersonFace:
    """The face whose request is under way."""
    face = current_app.extensions[_EXTENSION]
    if not isinstance(face, PersonFace):
        raise TypeError("the application was not put together by create_person_app")
    return face
