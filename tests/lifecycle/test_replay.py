"""Answers are found and opened by the request alone, for a day, and given once."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from registry.lifecycle.replay import (
    SEALED_GRAIN,
    answer_name_and_key,
    claim_answer,
    collected_answers,
    earlier_answer,
    issued_answers,
    keep_answer,
    seal,
    unseal,
)
from registry.models import open_database, transaction
from tests.clock import FakeClock

REQUEST = b"a request with enough padding in it"


@given(
    request=st.binary(max_size=200), answer=st.binary(max_size=3000).filter(lambda text: text[-1:] != b" ")
)
def test_what_is_sealed_opens_with_the_same_request(request: bytes, answer: bytes) -> None:
    name, key = answer_name_and_key(b"test", request)
    sealed = seal(name, key, answer)
    assert unseal(name, key, sealed).rstrip(b" ") == answer
    assert (len(sealed) - 28) % SEALED_GRAIN == 0


def test_another_request_purpose_or_row_opens_nothing() -> None:
    name, key = answer_name_and_key(b"test", REQUEST)
    sealed = seal(name, key, b"answer")
    others = (answer_name_and_key(b"test", REQUEST + b" "), answer_name_and_key(b"verify", REQUEST))
    for other_name, other_key in others:
        assert other_name != name
        with pytest.raises(InvalidTag):
            unseal(name, other_key, sealed)
        with pytest.raises(InvalidTag):
            unseal(other_name, key, sealed)
    with pytest.raises(InvalidTag):
        unseal(name, key, sealed[:-1] + bytes([sealed[-1] ^ 1]))


@given(now=st.floats(min_value=1.7e9, max_value=2.0e9))
def test_answers_live_a_day_to_two_hours_more_and_end_on_the_hour(now: float) -> None:
    issued, collected = issued_answers(now), collected_answers(now)
    assert issued.expires % 3600 == 0
    assert 86_400 <= issued.expires - now <= 90_000
    assert collected.expires % 6 == 0
    assert 86_400 <= collected.expires * 600 - now <= 86_400 + 3600 + 600


def test_an_answer_is_claimed_once_a_day(collecting_session: Session, clock: FakeClock) -> None:
    session = collecting_session
    name, key = answer_name_and_key(b"test", REQUEST)
    with transaction(session):
        assert claim_answer(session, collected_answers(clock()), name)
        keep_answer(session, collected_answers(clock()), name, key, b"first")
    clock.advance(86_400)
    with transaction(session):
        assert not claim_answer(session, collected_answers(clock()), name)
        assert (earlier_answer(session, collected_answers(clock()), name, key) or b"").startswith(b"first ")
    clock.advance(7200)
    with transaction(session):
        assert earlier_answer(session, collected_answers(clock()), name, key) is None
        assert claim_answer(session, collected_answers(clock()), name)
        keep_answer(session, collected_answers(clock()), name, key, b"second")
    assert (earlier_answer(session, collected_answers(clock()), name, key) or b"").startswith(b"second ")


def test_of_two_at_once_one_answers_and_the_other_reads_it(collecting_url: str, clock: FakeClock) -> None:
    name, key = answer_name_and_key(b"test", REQUEST)

    def answer(mine: bytes) -> bytes:
        engine = open_database(collecting_url)
        with Session(engine) as session, transaction(session):
            shelf = collected_answers(clock())
            if claim_answer(session, shelf, name):
                keep_answer(session, shelf, name, key, mine)
            given_out = earlier_answer(session, shelf, name, key)
        engine.dispose()
        return given_out or b""

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(answer, (b"%d" % n for n in range(8))))
    assert len(answers) == 1
    assert answers != {b""}


def test_a_claim_that_is_rolled_back_leaves_nothing(collecting_session: Session, clock: FakeClock) -> None:
    session, shelf = collecting_session, collected_answers(clock())
    name, _key = answer_name_and_key(b"test", REQUEST)

    def claimed_in_vain() -> None:
        with transaction(session):
            claim_answer(session, shelf, name)
            raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"):
        claimed_in_vain()
    with transaction(session):
        assert claim_answer(session, shelf, name)
