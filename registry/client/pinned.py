"""The trust material that a phone has pinned, and its renewal in the course of a poll: once at most.

It is renewed when something is signed by a key that it does not name, when a quorum is missing, and when the
note on it nears its end. Whatever is refused leaves what was pinned as it is.
"""

from collections.abc import Callable
from dataclasses import replace

from registry.client.failures import NotSetUp, TrustRefused
from registry.client.remembered import Evidence
from registry.client.store import PhoneStore
from registry.client.transport import Transport
from registry.client.trust import (
    KeyChange,
    SignedTrust,
    check_in_time,
    check_next_trust,
    fetch_signed_trust,
    is_of_the_future,
    open_signed_trust,
)
from registry.errors import Distrusted, FetchFailed, Malformed, RegistryError
from registry.protocol.index import TRUST_NOTE_PATH, TRUST_PATH
from registry.protocol.trust import TrustMaterial

Tell = Callable[[str, RegistryError], None]
"""Told of a path below the registry's address, and of what was wrong there."""

_LAST_SHARE = 4
"""A note is renewed from the last quarter of its life on."""


class PinnedTrust:
    """What one poll believes of the registry. Raises `NotSetUp` if this phone has pinned no root key."""

    def __init__(
        self, store: PhoneStore, transport: Transport, *, now: float, fail: Tell, warn: Tell
    ) -> None:
        self._store = store
        self._transport = transport
        self._now = now
        self._fail = fail
        self._warn = warn
        self._was_refreshed = False
        self._registration = store.registration()
        if self._registration.trust_note is None:
            raise NotSetUp(
                "this phone was set up before registries had a fingerprint to compare: run `init "
                f"{self._registration.base_url}` for it again; its keys and what it met stay as they are"
            )
        self._signed = open_signed_trust(self._registration.trust, self._registration.trust_note)
        self.base_url = self._registration.base_url
        self.region = self._registration.region
        self.key_change: KeyChange | None = None

    @property
    def trust(self) -> TrustMaterial:
        """As it is pinned now."""
        return self._signed.trust

    def keep_fresh(self) -> None:
        """Renews a note that nears its end. Warns once it has ended, raises `TrustExpired` a week later."""
        note = self._signed.note
        nears_end = self._now >= note.expires_at - (note.expires_at - note.issued_at) / _LAST_SHARE
        if nears_end or is_of_the_future(note, now=self._now):
            self.refresh()
        if expired := check_in_time(self._signed.note, now=self._now):
            self._warn(TRUST_NOTE_PATH, expired)

    def refresh(self) -> bool:
        """Whether newer trust material was fetched, accepted and pinned. Asks once, then says False."""
        if self._was_refreshed:
            return False
        self._was_refreshed = True
        try:
            return self._renew()
        except FetchFailed as error:
            # What asked for new material fails by itself, if it must.
            self._warn(TRUST_PATH, error)
        except (Malformed, Distrusted) as error:
            self._fail(TRUST_PATH, error)
        return False

    def _renew(self) -> bool:
        offered = fetch_signed_trust(self._transport, self.base_url, now=self._now, pinned=self._signed)
        try:
            change = check_next_trust(self._signed, offered, region=self.region)
        except Distrusted as error:
            self._keep_evidence(error, offered)
            raise
        if is_of_the_future(offered.note, now=self._now):
            raise TrustRefused("the registry's trust material is of the future: check this phone's clock")
        is_new = offered.content != self._signed.content
        registration = replace(self._registration, trust=offered.content, trust_note=offered.note_content)
        with self._store.all_or_nothing():
            self._store.put_registration(registration)
            if offered.trust.witness_policy != self.trust.witness_policy:
                # The time of a quorum is one thing by the old policy, and another by the new.
                self._store.forget_cosignature_time()
        self._registration, self._signed = registration, offered
        self.key_change = change if change.added or change.removed else None
        return is_new

    def _keep_evidence(self, error: Distrusted, offered: SignedTrust) -> None:
        with self._store.all_or_nothing():
            self._store.keep_evidence(
                Evidence(
                    found_at=self._now,
                    kind=type(error).__name__,
                    words=str(error),
                    believed=self._signed.note_content,
                    offered=offered.note_content,
                )
            )
