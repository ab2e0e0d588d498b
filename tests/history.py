"""Thirty days of a registry's life in a few minutes: `python -m tests.history DIR [--days 30]`.

Makes a data folder as `registry run` does, and lets an injected clock go through the days up to now: hourly
windows in three regions, uploads on most days, a rotation of the export key, a withdrawn batch, a day
without uploads, three witnesses of whom one is slow to wake. `registry run` then goes on from there.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from rich.progress import Progress
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.test import Client

from registry.app import Publisher, begin_own_witness, publisher
from registry.cli.rotation import carry_out, plan_rotation, registered_keys
from registry.config import Settings
from registry.errors import FetchFailed
from registry.faces.witness import WitnessFace, create_witness_app
from registry.lifecycle.activity import record_operators_act
from registry.models import Batch, ExportFile, HealthAuthority, transaction
from registry.models.log import Withdrawal
from registry.protocol.activity import ActKind
from registry.protocol.note import VerifierKey, decode_vkey
from registry.protocol.trust import decode_trust
from registry.protocol.witness_policy import PolicyGroup, PolicyWitness, WitnessPolicy, encode_policy
from registry.transparency.witnesses import WitnessAnswer
from tests.app_of_old import fresh_keys
from tests.clock import FakeClock
from tests.world import World

HOUR = 3600
DAY = 86_400
REGIONS = ["XA", "XB"]
"""Where the demonstration authority's keys go out."""
EMPTY_REGION = "XC"
"""Another authority's, of whom nobody uploads."""
WITNESSES = 3
QUORUM = 2
FIRST_WITNESS_PORT = 8101
UPLOADS_A_DAY = (2, 7)
LATE_SECONDS = (2, 45)
"""How long after its window's end a batch goes out."""


class Witnesses:
    """Three of our own witnesses, each in a folder of its own, asked without a network."""

    def __init__(self, settings: Settings, clock: FakeClock, names: int = WITNESSES) -> None:
        self.clients: dict[str, Client] = {}
        self.keys: dict[str, VerifierKey] = {}
        self.asleep: set[str] = set()
        self._makers = []
        for number in range(1, names + 1):
            folder = settings.data_dir / "witnesses" / str(number)
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (folder / "keys").mkdir(exist_ok=True, mode=0o700)
            own = begin_own_witness(replace(settings, data_dir=folder), f"witness-{number}.invalid/w")
            address = f"http://127.0.0.1:{FIRST_WITNESS_PORT + number - 1}/witness"
            self.clients[address] = Client(create_witness_app(WitnessFace(lambda own=own: own, clock)))
            self.keys[address] = own.keys[0]
            self._makers.append(own)

    def know(self, vkeys: tuple[str, ...]) -> None:
        """Cosign the logs of these keys from now on."""
        for own in self._makers:
            for vkey in vkeys:
                own.add_log(decode_vkey(vkey))

    def policy(self) -> WitnessPolicy:
        """Two of the three."""
        listed = tuple(
            PolicyWitness(f"w{number}", self.keys[address], address)
            for number, address in enumerate(self.keys, start=1)
        )
        group = PolicyGroup("witnesses", QUORUM, tuple(witness.name for witness in listed))
        return WitnessPolicy((), listed, (group,), "witnesses")

    def send(self, url: str, body: bytes) -> WitnessAnswer:
        """A `SendToWitness`."""
        address = next(address for address in self.clients if url.startswith(address))
        if address in self.asleep:
            raise FetchFailed(f"{address} sleeps")
        answer = self.clients[address].post(urlsplit(url).path, data=body)
        return WitnessAnswer(answer.status_code, answer.headers.get("Content-Type", ""), answer.get_data())


class History:
    """A registry in `folder` whose clock begins `days` before `now`."""

    def __init__(self, folder: Path, days: int, now: float) -> None:
        self.random = random.Random(7)
        # Nothing may have happened later than now, also if the last publication was late.
        self.end = int(now - LATE_SECONDS[1]) // HOUR * HOUR
        self.clock = FakeClock(self.end - days * DAY)
        self.world = World(
            folder,
            f"sqlite:///{folder.absolute() / 'issuing.sqlite'}",
            f"sqlite:///{folder.absolute() / 'collecting.sqlite'}",
            self.clock,
        )
        self.days = days
        self.witnesses = Witnesses(self.world.settings, self.clock)
        self.publisher = self._publisher()
        self._more_regions()
        self.uploads = 0

    def hours(self) -> int:
        """How many windows there are to live through."""
        return (self.end - int(self.clock())) // HOUR

    def live(self, told: Callable[[], None]) -> None:
        """All windows up to now; `told` after each."""
        first = int(self.clock())
        for hour in range(self.hours()):
            day = hour // 24
            self._morning(hour, day)
            # Within the hour, so that its window has not ended yet.
            self.clock.now = first + hour * HOUR + HOUR / 2
            for _ in range(self._uploads_in(hour, day)):
                self._upload()
            self.clock.now = first + (hour + 1) * HOUR + self.random.randint(*LATE_SECONDS)
            self.publisher.publish()
            told()

    def _morning(self, hour: int, day: int) -> None:
        if hour % 24 == 3:
            self.publisher.retire()
        # One witness sleeps through a day, and the quorum holds without it.
        asleep = {list(self.witnesses.clients)[2]} if day == self.days * 2 // 3 else set()
        self.witnesses.asleep = asleep
        if hour == self.days * 24 * 3 // 5:
            self._rotate()
        if hour == self.days * 24 * 4 // 5:
            self._withdraw()

    def _uploads_in(self, hour: int, day: int) -> int:
        if day == self.days // 2 or not 7 <= hour % 24 <= 20:
            return 0
        return sum(self.random.random() < 1 / 14 for _ in range(self.random.randint(*UPLOADS_A_DAY)))

    def _upload(self) -> None:
        code = self.world.issue(days_ago=self.random.randint(1, 3))["code"]
        if self.random.random() < 0.1:
            return  # somebody who got a code and thought better of it
        keys = fresh_keys(self.clock(), self.random.randint(5, 14), today=False)
        answer = self.world.app().upload(code, keys)
        assert answer.status == 200, answer.body
        self.uploads += 1

    def _rotate(self) -> None:
        made, now = self.publisher, int(self.clock())
        plan = plan_rotation(
            registered_keys(made.collecting_engine), region=REGIONS[0], now=now, overlap_days=21
        )

        def record() -> None:
            with Session(made.issuing_engine) as session, transaction(session):
                record_operators_act(session, ActKind.KEY_ROTATED, {"key": plan.name}, now)

        carry_out(plan, made.key_ring, made.collecting_engine, record)

    def _withdraw(self) -> None:
        """Take back the newest batch that has a file."""
        now = int(self.clock())
        with self.publisher.new_session() as session, transaction(session):
            newest = select(Batch).join(ExportFile).order_by(Batch.window_end.desc()).limit(1)
            batch = session.scalars(newest).one()
            batch.is_withdrawn = True
            session.add(
                Withdrawal(
                    region=batch.region,
                    sequence=batch.sequence,
                    reason="error",
                    salt=self.random.randbytes(32),
                    reference="A laboratory's samples were mixed up; order 17 of the authority.",
                )
            )
            place = {"region": batch.region, "sequence": batch.sequence}
        with Session(self.publisher.issuing_engine) as session, transaction(session):
            record_operators_act(session, ActKind.BATCH_WITHDRAWN, place, now)

    def _publisher(self) -> Publisher:
        made = publisher(self.world.settings, self.clock)
        trust = decode_trust(self.world.get("/.well-known/exposure-registry.json"))
        self.witnesses.know(trust.log_vkeys)
        policy = self.witnesses.policy()
        (self.world.settings.data_dir / "witness-policy").write_bytes(encode_policy(policy))
        return replace(made, log=replace(made.log, policy=policy, send=self.witnesses.send))

    def _more_regions(self) -> None:
        with self.publisher.new_session() as session, transaction(session):
            session.scalars(select(HealthAuthority)).one().regions = REGIONS
            session.add(
                HealthAuthority(
                    id="org.example.neighbour",
                    certificate_issuer="org.example.neighbour/certificates",
                    certificate_audience="positive-key-registry",
                    regions=[EMPTY_REGION],
                )
            )


def main() -> None:
    """Make the folder, with a bar, and say how to go on."""
    parser = argparse.ArgumentParser(prog="python -m tests.history", description=__doc__)
    parser.add_argument("folder", type=Path, help="a new data folder")
    parser.add_argument("--days", type=int, default=30)
    asked = parser.parse_args()
    if asked.folder.exists() and any(asked.folder.iterdir()):
        sys.exit(f"{asked.folder} is not empty: name a new folder")
    os.environ["REGISTRY_WINDOW_SECONDS"] = str(HOUR)
    began = time.monotonic()
    history = History(asked.folder, asked.days, time.time())
    with Progress() as progress:
        bar = progress.add_task("windows", total=history.hours())
        history.live(lambda: progress.advance(bar))
    took = time.monotonic() - began
    print(f"{asked.days} days, {history.uploads} uploads, in {took:.0f} seconds. Go on with:")
    print(commands(asked.folder))


def commands(folder: Path) -> str:
    """What goes on from `folder`: the witnesses, each a process of its own, and the registry."""
    lines = [
        f"REGISTRY_DATA_DIR={folder}/witnesses/{number} \\\n"
        f"  .venv/bin/registry witness serve --port {FIRST_WITNESS_PORT + number - 1} &"
        for number in range(1, WITNESSES + 1)
    ]
    lines.append(
        f"REGISTRY_DATA_DIR={folder} REGISTRY_WITNESS_POLICY_FILE={folder}/witness-policy \\\n"
        f"  REGISTRY_WINDOW_SECONDS={HOUR} .venv/bin/registry run"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
