"""Stories of taking back: what is sent, when nothing is, and that it may be said again."""

import json

import pytest

from registry.client import Answer
from registry.client.failures import NoAnswer, NothingToUpload, UploadRefused, UploadUnderWay
from registry.client.upload import BODY_BYTES
from registry.errors import Malformed
from registry.protocol.codes import new_code
from tests.client.conftest import MakePhone
from tests.simulator import Simulator, answer_json

CODE = new_code(lambda limit: 12_345_678_901_234 % limit)


def shared(make_phone: MakePhone, simulator: Simulator) -> None:
    """Alice's phone has uploaded."""
    simulator.codes[CODE] = "confirmed"
    alice = make_phone("alice")
    alice.agree(CODE)
    alice.upload()


def test_the_token_is_sent_in_a_request_like_every_other(make_phone: MakePhone, simulator: Simulator) -> None:
    shared(make_phone, simulator)
    alice = make_phone("alice")
    alice.withdraw()
    (request,) = simulator.fetched("v1/withdraw")
    members = json.loads(request.body)
    assert set(members) == {"revisionToken", "padding"}
    assert members["revisionToken"] == alice.store.revision_token()
    (upload,) = simulator.fetched("v1/publish")
    assert len(request.body) == len(upload.body) == BODY_BYTES
    assert request.headers == upload.headers, "no API key either"


def test_a_lost_reply_costs_nothing(make_phone: MakePhone, simulator: Simulator) -> None:
    shared(make_phone, simulator)
    simulator.lost_replies.append("v1/withdraw")
    with pytest.raises(NoAnswer):
        make_phone("alice").withdraw()
    make_phone("alice").withdraw()
    assert simulator.acts[-2:] == ["v1/withdraw"] * 2


def test_a_phone_that_shared_nothing_sends_nothing(make_phone: MakePhone, simulator: Simulator) -> None:
    with pytest.raises(NothingToUpload):
        make_phone("alice").withdraw()
    assert simulator.fetched("v1/withdraw") == []


def test_an_upload_under_way_is_finished_first(make_phone: MakePhone, simulator: Simulator) -> None:
    simulator.codes[CODE] = "confirmed"
    simulator.lost_replies.append("v1/publish")
    alice = make_phone("alice")
    alice.agree(CODE)
    with pytest.raises(NoAnswer):
        alice.upload()
    with pytest.raises(UploadUnderWay):
        alice.withdraw()
    alice.upload()
    alice.withdraw()
    assert simulator.acts[-1] == "v1/withdraw"


def test_what_is_refused_is_told_with_its_code(make_phone: MakePhone, simulator: Simulator) -> None:
    shared(make_phone, simulator)
    alice = make_phone("alice")
    alice.store.put_revision_token("another registry's")
    with pytest.raises(UploadRefused) as refused:
        alice.withdraw()
    assert refused.value.code == "invalid_revision_token"


def test_an_answer_that_is_none_is_not_taken_for_one(make_phone: MakePhone, simulator: Simulator) -> None:
    shared(make_phone, simulator)
    simulator.faults["v1/withdraw"] = answer_json(200, {})
    make_phone("alice").withdraw()
    simulator.faults["v1/withdraw"] = Answer(200, {}, b"<html>")
    with pytest.raises(Malformed):
        make_phone("alice").withdraw()
