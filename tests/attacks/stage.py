"""A stage for attacks: a whole registry with real keys, three of our own witnesses, a phone, an auditor.

Everything on it is what people run: publisher, faces, witnesses, SDK, `registry audit`. A hostile operator is
the same publisher with the same keys on a copy of everything, who no longer cares for witnesses' answers;
whoever sits between is a `Wire` that gives some of its users other bytes.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from werkzeug.test import Client

from registry.client import Enrolment, Phone
from registry.faces.public import create_public_app
from registry.protocol.index import (
    TRUST_PATH,
)
from registry.protocol.note import NoteSigner
from registry.protocol.trust import decode_trust
from registry.protocol.witness_policy import encode_policy
from registry.signing.key_place import open_key_ring
from registry.storage.local import LocalStorage
from tests.attacks.operators import HOUR, REGION, Operator, ignored
from tests.attacks.readers import MIRROR_URL, Auditor, Wire
from tests.clock import FakeClock
from tests.history import Witnesses


class Stage:
    """An honest registry of two windows, hourly, that a phone and an auditor have both seen and found good.

    `quorum` of the three witnesses must cosign; 0 is a policy that asks for none.
    """

    def __init__(self, folder: Path, clock: FakeClock, *, quorum: int = 2) -> None:
        self.folder = folder
        self.clock = clock
        self._draw = random.Random(5)
        self._phones: list[Phone] = []
        self.operator = Operator(folder / "registry", clock, policy=None, send=ignored)
        self.witnesses = self._witnesses(quorum)
        base_url = self.operator.world.settings.base_url
        self.fingerprint = self.operator.world.first_run["trust_fingerprint"]
        places = {base_url: self.operator.world.client, **self._witness_places()}
        self.wire = Wire(dict(places))
        self.auditor = Auditor(folder / "auditor", Wire(dict(places)), clock, base_url, self.fingerprint)
        self.base_url = base_url
        self.operator.publish()
        for _ in range(2):
            self.window()
        self.bob = self.phone("bob")
        assert self.bob.poll().is_proven
        assert self.auditor.follow().code == 0

    def _witnesses(self, quorum: int) -> Witnesses:
        settings = replace(self.operator.world.settings, data_dir=self.folder)
        made = Witnesses(settings, self.clock)
        trust = decode_trust(self.operator.read(TRUST_PATH))
        made.know(trust.log_vkeys)
        if quorum:
            policy = made.policy()
            group = replace(policy.groups[0], threshold=quorum)
            policy = replace(policy, groups=(group,))
            (self.operator.folder / "witness-policy").write_bytes(encode_policy(policy))
            self.operator.obey(policy, made.send)
        return made

    def _witness_places(self) -> dict[str, Client]:
        return {address.removesuffix("/witness"): at for address, at in self.witnesses.clients.items()}

    def witness_signer(self, number: int) -> NoteSigner:
        """The private Ed25519 key of witness `number` (1, 2, 3), should it fall for somebody."""
        ring = open_key_ring(self.folder / "witnesses" / str(number) / "keys", None)
        return ring.witness_signers(f"witness-{number}.invalid/w")[0]

    def phone(self, name: str, *, staged: bool = False) -> Phone:
        """A phone that is set up with this registry, over the phones' wire; `staged`: with past keys."""
        phone = Phone.open(
            self.folder / f"{name}.db", self.wire, clock=self.clock, random_bytes=self._draw.randbytes
        )
        self._phones.append(phone)
        first_run = self.operator.world.first_run
        phone.set_up(
            Enrolment(
                self.base_url,
                region=REGION,
                health_authority_id=first_run["health_authority_id"],
                device_api_key=first_run["device_api_key"],
                demonstration=True,
                staged=staged,
                fingerprint=self.fingerprint,
            )
        )
        return phone

    def close(self) -> None:
        """Let the phones' files go."""
        for phone in self._phones:
            phone.__exit__(None, None, None)

    def window(self, *operators: Operator, uploads: int = 1) -> list[bytes]:
        """An hour goes by in which somebody uploads; every operator named publishes (ours, if none is)."""
        keys = [key for _ in range(uploads) for key in self.operator.upload()]
        self.clock.advance(HOUR - self.clock() % HOUR)
        for operator in operators or (self.operator,):
            operator.publish()
        return keys

    def fork(self, name: str = "fork") -> Operator:
        """A second set of everything in the operator's hands, which asks no witness."""
        other = self.operator.fork(self.folder / name)
        other.disobey()
        return other

    def show_phones(self, folder: Path | None) -> None:
        """Phones read this public folder from now on; None for the registry's own."""
        self.wire.places[self.base_url] = self._client(folder)

    def show_auditor(self, folder: Path | None) -> None:
        """The same for the auditor."""
        self.auditor.wire.places[self.base_url] = self._client(folder)

    def mirror(self, folder: Path) -> None:
        """The auditor can read this folder too, at `MIRROR_URL`."""
        self.auditor.wire.places[MIRROR_URL] = self._client(folder)

    def _client(self, folder: Path | None) -> Client:
        if folder is None:
            return self.operator.world.client
        return Client(create_public_app(LocalStorage(folder)))


@contextmanager
def staged(folder: Path, clock: FakeClock, *, quorum: int = 2) -> Iterator[Stage]:
    """A stage, closed in the end."""
    made = Stage(folder, clock, quorum=quorum)
    try:
        yield made
    finally:
        made.close()
