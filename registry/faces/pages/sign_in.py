"""Coming in by a one-time link, staying for a shift, and leaving: officials by it, and auditors.

Opening a link burns nothing, because mail scanners open links: its button does. The session lives in the
database and is looked up on every request, so whoever was disabled is out at once. Each face has its own
cookie and its own role: a link or a session of one opens nothing at the other.
"""

import hmac
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import flask
from flask import Blueprint, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from registry.lifecycle.activity import actor_of, record_act
from registry.models import transaction
from registry.models.official import (
    SESSION_LIFE_SECONDS,
    Official,
    Permission,
    Role,
    end_session,
    official_of_session,
    redeem_sign_in_link,
)
from registry.protocol.activity import ActKind


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who is signed in, for the length of a request."""

    official_id: str
    """Of the row in `official`, where auditors are too."""
    name: str
    authority_id: str
    permissions: frozenset[Permission]
    secret: bytes = field(repr=False)
    """32 bytes that this browser's session alone can tell: the table holds another hash of its token."""


_SECRET_LABEL = b"exposure-registry secret of a session"


@dataclass(frozen=True)
class Entrance:
    """The door of one face: its pages are /`face`/sign-in/…, its templates lie in the folder `face`."""

    face: str
    role: Role
    start: str
    """Endpoint of the page that one comes in to."""
    open_session: Callable[[], AbstractContextManager[Session]]
    """On the issuing half."""
    clock: Callable[[], float]
    """The time of the request under way, unix seconds."""

    def signed_in(self) -> SignedIn | None:
        """Who came with the request under way; None for nobody, or one whose session has ended."""
        token = request.cookies.get(self._cookie)
        if not token:
            return None
        with self.open_session() as session:
            official = self._official(session, token)
            if official is None:
                return None
            secret = hmac.digest(token.encode("utf-8", "surrogatepass"), _SECRET_LABEL, "sha256")
            return SignedIn(official.id, official.name, official.authority_id, official.permissions, secret)

    def offer(self, token: str) -> ResponseReturnValue:
        """A page with one button. Reads and writes nothing."""
        return render_template(f"{self.face}/sign_in.html", token=token)

    def come_in(self, token: str) -> ResponseReturnValue:
        """Burn the link and open a session."""
        with self.open_session() as session, transaction(session):
            # A crash after this commit leaves a burnt link and a session that nobody holds: a new link.
            session_token = redeem_sign_in_link(session, token, self.clock(), self.role)
            if session_token is not None:
                self._record(session, session_token)
        if session_token is None:
            if self.signed_in() is not None:
                # The button was pressed twice.
                return redirect(url_for(self.start), 303)
            return render_template(f"{self.face}/link_spent.html"), 410
        flask.session.clear()
        response = redirect(url_for(self.start), 303)
        response.set_cookie(
            self._cookie,
            session_token,
            max_age=SESSION_LIFE_SECONDS,
            path=f"/{self.face}",
            httponly=True,
            secure=request.is_secure,
            samesite="Strict",
        )
        return response

    def leave(self) -> ResponseReturnValue:
        """Forget the session, on both ends."""
        with self.open_session() as session, transaction(session):
            end_session(session, request.cookies.get(self._cookie, ""))
        flask.session.clear()
        response = make_response(redirect(url_for("sign_in.left"), 303))
        response.delete_cookie(self._cookie, path=f"/{self.face}", httponly=True, samesite="Strict")
        return response

    def left(self) -> ResponseReturnValue:
        """Says that it is done."""
        return render_template(f"{self.face}/signed_out.html", by_choice=True)

    def pages(self, import_name: str) -> Blueprint:
        """All of the above but `signed_in`, as views."""
        pages = Blueprint("sign_in", import_name, url_prefix=f"/{self.face}")
        pages.get("/sign-in/<token>", endpoint="offer")(self.offer)
        pages.post("/sign-in/<token>", endpoint="come_in")(self.come_in)
        pages.post("/sign-out", endpoint="leave")(self.leave)
        pages.get("/signed-out", endpoint="left")(self.left)
        return pages

    @property
    def _cookie(self) -> str:
        return f"{self.face}_session"

    def _official(self, session: Session, session_token: str) -> Official | None:
        return official_of_session(session, session_token, self.clock(), self.role)

    def _record(self, session: Session, session_token: str) -> None:
        official = self._official(session, session_token)
        if official is None:
            raise RuntimeError("a session that was opened a moment ago is gone")
        actor = actor_of(official_id=official.id, api_key_hash=None, authority_id=official.authority_id)
        record_act(
            session,
            chain=official.authority_id,
            kind=ActKind.SIGN_IN,
            actor=actor,
            detail={},
            now=self.clock(),
        )
