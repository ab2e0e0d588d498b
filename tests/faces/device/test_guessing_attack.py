"""10,000 guesses from 200 networks at 5,000 live codes of eight digits: what is looked at, who is kept out.

In process and without HTTP, so that it takes seconds: the counts of two processes, before the very function
that `/api/verify` looks at codes with. What the answers are then is `test_guessing_bound`'s affair.
"""

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from registry.errors import Refusal
from registry.faces.device.guesses import Guesses, TooManyGuesses
from registry.lifecycle.authorize import IssuingPolicy, hash_code
from registry.lifecycle.certify import verify_code
from registry.models import Authorization, VerificationCode, open_database, transaction
from registry.protocol.codes import CodeForm, new_code
from registry.protocol.guessing import (
    COUNTED_SECONDS,
    GuessBudget,
    expected_hits,
    most_looked_at,
    network_of,
)
from tests.authority import AUTHORITY, LOOKUP_KEY, RECALL_KEY, MadeSigner, found_issuing
from tests.clock import FakeClock

LIVE, GUESSES, NETWORKS = 5_000, 10_000, 200
PROCESSES = 2
HONEST, SHARING = 500, 5
"""People who redeem a code meanwhile, and how many of them share a network with the attacker."""
SIGNER = MadeSigner("t1")


@pytest.fixture
def session(tmp_path: Path, sqlite_templates: dict[str, Path]) -> Iterator[Session]:
    """On SQLite alone: no table's behaviour is at stake."""
    path = tmp_path / "issuing"
    shutil.copyfile(sqlite_templates["issuing"], path)
    engine = open_database(f"sqlite:///{path}")
    with Session(engine) as session:
        found_issuing(session, SIGNER)
        yield session
    engine.dispose()


def lay_codes(session: Session, codes: list[str], now: float) -> None:
    """Codes of eight digits that can be used, as one transaction."""
    statement: dict[str, Any] = {
        "authority_id": AUTHORITY,
        "report_type": "confirmed",
        "stated_on": date(2026, 6, 15),
    }
    rows = [
        {
            "uuid": f"u{number}",
            "authorization_id": f"a{number}",
            "authority_id": AUTHORITY,
            "code_hash": hash_code(LOOKUP_KEY, AUTHORITY, code),
            "code_form": CodeForm.SHORT.value,
            "report_type": "confirmed",
            "expires_at": int(now) + 3600,
        }
        for number, code in enumerate(codes)
    ]
    with transaction(session):
        session.execute(insert(Authorization), [{"id": row["authorization_id"], **statement} for row in rows])
        session.execute(insert(VerificationCode), rows)


def outcome_of(process: Guesses, session: Session, code: str, address: str, now: float) -> str:
    """What a try comes to: taken, wrong, or not looked at."""
    try:
        with (
            process.looked_at(code, authority_id=AUTHORITY, network=network_of(address)),
            transaction(session),
        ):
            verify_code(
                session,
                body=code.encode(),
                code=code,
                padding=b"",
                accept=frozenset({"confirmed"}),
                authority_id=AUTHORITY,
                lookup_key=LOOKUP_KEY,
                token_signer=SIGNER,
                recall_public_key=RECALL_KEY.public_key(),
                policy=IssuingPolicy(),
                now=now,
            )
    except TooManyGuesses:
        return "not looked at"
    except Refusal:
        return "wrong"
    return "taken"


def test_ten_thousand_guesses_from_200_networks_stay_under_the_bound_and_keep_nobody_out(
    session: Session, clock: FakeClock
) -> None:
    chance, budget = random.Random(4711), GuessBudget()
    drawn = {new_code(chance.randrange, CodeForm.SHORT) for _ in range(LIVE + 50)}
    codes = sorted(drawn)[:LIVE]
    chance.shuffle(codes)
    lay_codes(session, codes, clock())
    processes = [Guesses(budget.share(PROCESSES), clock) for _ in range(PROCESSES)]
    callers = ["attacker"] * GUESSES + ["clean"] * (HONEST - SHARING) + ["sharing"] * SHARING
    chance.shuffle(callers)
    found = Counter[tuple[str, str]]()
    kept_out = []
    for number, caller in enumerate(callers):
        attacked = f"10.1.{chance.randrange(NETWORKS)}.{chance.randrange(256)}"
        address = f"10.{2 + number % 200}.{number % 256}.9" if caller == "clean" else attacked
        code = f"{chance.randrange(10**8):08d}" if caller == "attacker" else codes.pop()
        outcome = outcome_of(chance.choice(processes), session, code, address, clock())
        found[caller, outcome] += 1
        if caller == "sharing" and outcome != "taken":
            kept_out.append(code)

    looked_at = found["attacker", "wrong"] + found["attacker", "taken"]
    most = most_looked_at(budget, networks=NETWORKS, processes=PROCESSES)
    assert 1000 < looked_at <= most == 1800, "an attack, and the bound of it"
    assert expected_hits(most, {CodeForm.SHORT: LIVE}) == pytest.approx(0.09)
    assert found["attacker", "taken"] <= 1, "with this seed; two of them have a chance of 1 in 250"
    assert found["clean", "taken"] == HONEST - SHARING, "not one who is on a network of their own is kept out"
    assert found["clean", "taken"] + found["sharing", "taken"] >= 0.99 * HONEST
    # Whoever is kept out by the neighbours has a code that is still good, and the next hour.
    clock.advance(COUNTED_SECONDS - clock() % COUNTED_SECONDS)
    with transaction(session):
        session.execute(update(VerificationCode).values(expires_at=int(clock()) + 3600))
    for code in kept_out:
        assert outcome_of(processes[0], session, code, "10.1.7.9", clock()) == "taken"
