"""Which index is the newest, and how well that is proven. The first half of a poll.

The proof is fetched first; it names the index by its digest, and that is all that is then fetched. Without a
full proof a phone goes on for as long as its last one is young (`proof_grace_seconds`), warns, and marks what
it reads; with the next full proof, whatever of that the log does not name is forgotten. What contradicts
something that was proven is refused at once, and kept as evidence.
"""

from dataclasses import replace
from hashlib import sha256

from registry.client.failures import (
    QuorumMissing,
    Rewritten,
    RolledBack,
    SequenceGap,
    SplitView,
    Throttled,
    Unlogged,
    UnloggedFile,
)
from registry.client.pinned import PinnedTrust, Tell
from registry.client.proof import IndexProof, ProofLimits, check_head, check_witnesses, open_index_proof
from registry.client.remembered import Evidence
from registry.client.sightings import CLOCK_TOLERANCE_SECONDS
from registry.client.store import PhoneStore
from registry.client.transport import Transport, unexpected
from registry.client.verify import check_index, spans_of
from registry.errors import BadSignature, Distrusted, FetchFailed, Malformed, UntrustedKey
from registry.protocol.index import Index, decode_index, index_digest_path, index_path, index_proof_path
from registry.protocol.proof import MAX_PROOF_BYTES
from registry.protocol.serving import known_tags

MAX_INDEX_BYTES = 16 * 2**20

_LACKS = (FetchFailed, Malformed, QuorumMissing)
"""What leaves a phone without a full proof, but contradicts nothing."""

_EVIDENT = (
    RolledBack,
    SplitView,
    Unlogged,
    UnloggedFile,
    UntrustedKey,
    BadSignature,
    Rewritten,
    SequenceGap,
)
"""What the registry signed, or claims to have, and must not have shown."""


class NewestIndex:
    """The newest index of one poll.

    `proof` is what proves it, perhaps without a quorum; `is_proven` says that nothing is lacking. `path` is
    the file that is being dealt with, for whoever catches what `fetch` raises.
    """

    def __init__(
        self, store: PhoneStore, transport: Transport, pinned: PinnedTrust, *, now: float, warn: Tell
    ) -> None:
        self._store = store
        self._transport = transport
        self._pinned = pinned
        self._now = now
        self._warn = warn
        self._state = store.poll_state()
        self._proof_path = index_proof_path(pinned.region)
        self._proof_content = b""
        self.path = self._proof_path
        self.proof: IndexProof | None = None
        self.is_proven = False
        self.has_changed = False

    def fetch(self) -> Index:
        """The newest index, checked and remembered, so that an older one is never believed afterwards.

        Raises `FetchFailed`, `Malformed` or `Distrusted`; then nothing of this poll is to be believed.
        """
        try:
            self._fetch_proof()
        except Throttled:
            raise
        except _LACKS as error:
            if not self._is_within_grace():
                raise
            self._warn(self._proof_path, error)
        self.path = index_path(self._pinned.region)
        try:
            content = self._fetch_plain() if self.proof is None else self._fetch_proven(self.proof)
            index = self._check(content)
        except Distrusted as error:
            if self.proof is not None:
                self.keep_evidence(error)
            raise
        self._remember(index, content)
        return index

    # The proof

    def _fetch_proof(self) -> None:
        """Sets `proof` once nothing contradicts it, and `is_proven` if it lacks nothing either."""
        known = self._state.proof
        # Computed, not echoed, and never of a proof that could have been made for this phone alone.
        headers = {"If-None-Match": known_tags(known)} if known else {}
        answer = self._transport.get(f"{self._pinned.base_url}/{self._proof_path}", headers, MAX_PROOF_BYTES)
        if answer.status == 304 and known:
            content = known
        elif answer.status == 200:
            content = answer.body
        else:
            raise unexpected(answer, "the log's proof", self._now)
        self._proof_content = content
        limits = ProofLimits.of(self._pinned.trust)
        try:
            proof = self._open(content)
            if not proof.has_quorum and self._pinned.refresh():
                proof = self._open(content)  # the registry may have other witnesses now
            old = check_witnesses(proof, limits, now=self._now)
        except QuorumMissing:
            self.proof = proof
            raise
        except Distrusted as error:
            self.keep_evidence(error)
            raise
        if old:
            self._warn(self._proof_path, old)
        self.proof, self.is_proven = proof, True

    def _open(self, content: bytes) -> IndexProof:
        try:
            proof = self._read(content)
        except UntrustedKey:
            # The next year's key, perhaps.
            if not self._pinned.refresh():
                raise
            proof = self._read(content)
        check_head(proof.head, self._store.log_head(), log_origin=self._pinned.trust.log_origin)
        return proof

    def _read(self, content: bytes) -> IndexProof:
        return open_index_proof(content, self._pinned.trust, region=self._pinned.region, now=self._now)

    def _is_within_grace(self) -> bool:
        proven_at = self._state.proven_at
        if proven_at is None:
            return False
        # A proof of the future means that the clock was moved: then its age is not known.
        grace = ProofLimits.of(self._pinned.trust).grace
        return -CLOCK_TOLERANCE_SECONDS <= self._now - proven_at <= grace

    # The index

    def _fetch_proven(self, proof: IndexProof) -> bytes:
        """The index that the proof names: one that is here already, or that of this digest and no other."""
        for known in (self._state.index_content, self._state.proven_index):
            if known and sha256(known).hexdigest() == proof.index_sha256:
                return known
        path = index_digest_path(self._pinned.region, proof.index_sha256)
        answer = self._transport.get(f"{self._pinned.base_url}/{path}", {}, MAX_INDEX_BYTES)
        if answer.status != 200:
            raise unexpected(answer, "the index", self._now)
        if sha256(answer.body).hexdigest() != proof.index_sha256:
            raise Unlogged("the index that is offered is not the one that the log's newest leaf names")
        return answer.body

    def _fetch_plain(self) -> bytes:
        """The index under its own name, believed for its files' signatures alone."""
        known = self._state.index_content
        headers = {"If-None-Match": known_tags(known)} if known else {}
        url = f"{self._pinned.base_url}/{index_path(self._pinned.region)}"
        answer = self._transport.get(url, headers, MAX_INDEX_BYTES)
        if answer.status == 304 and known:
            return known
        if answer.status == 200:
            return answer.body
        raise unexpected(answer, "the index", self._now)

    def _check(self, content: bytes) -> Index:
        index = decode_index(content)
        # An index that says what it said before stays; and a registry's clock may step back a little.
        if self.proof and index.issued_at > self.proof.leaf.issued_at + CLOCK_TOLERANCE_SECONDS:
            raise Unlogged("the index was issued after the log's leaf that names it")
        # What was proven is measured by what was proven: a forged index must not stand in its way.
        before = self._state.proven_index if self.is_proven else self._state.index_content
        check_index(
            index,
            region=self._pinned.region,
            previous=decode_index(before) if before else None,
            now=self._now,
        )
        return index

    def _remember(self, index: Index, content: bytes) -> None:
        self.has_changed = content != self._state.index_content
        state = replace(self._state, index_content=content)
        if not self.is_proven or self.proof is None:
            if self.has_changed:
                with self._store.all_or_nothing():
                    self._store.put_poll_state(state)
            return
        listed = [file.sha256 for span in spans_of(index) for file in span.files]
        unlogged = self._store.unproven_files() - set(listed)
        with self._store.all_or_nothing():
            self._store.put_poll_state(
                replace(
                    state,
                    proof=self._proof_content if self.proof.is_plain else None,
                    proven_index=content,
                    proven_at=self._now,
                )
            )
            self._store.put_log_head(self.proof.head)
            if unlogged:
                # A crash before the commit: found again by the next poll. After it: all is read anew.
                self._store.forget_what_was_read()
            else:
                self._store.forget_files(except_for=listed)
        if unlogged:
            self._tell_of_unlogged(unlogged)

    def _tell_of_unlogged(self, unlogged: set[str]) -> None:
        found = UnloggedFile(
            f"{len(unlogged)} files that were believed without a proof are not in the log: what they said is "
            f"forgotten, and all is read again. Their SHA-256: {', '.join(sorted(unlogged))}"
        )
        self._warn(self._proof_path, found)
        self.keep_evidence(found)

    def keep_evidence(self, error: Distrusted) -> None:
        """Keeps this poll's proof, and the checkpoint that was believed, if `error` speaks against them."""
        if not isinstance(error, _EVIDENT) or not self._proof_content:
            return
        seen = self._store.log_head()
        with self._store.all_or_nothing():
            self._store.keep_evidence(
                Evidence(
                    found_at=self._now,
                    kind=type(error).__name__,
                    words=str(error),
                    believed=seen.checkpoint if seen else None,
                    offered=self._proof_content,
                )
            )
