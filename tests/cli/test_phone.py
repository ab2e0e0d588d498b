"""`registry phone` as a person types it: two phones on one desk, from set-up to an orange card."""

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry.cli.phone import phone
from registry.cli.phone_surroundings import Surroundings
from registry.client import Answer, PhoneStore
from registry.client.failures import NoAnswer
from registry.client.remembered import KeptReceipt
from registry.client.texts import CARD_TEXTS, PHONE_TEXTS, UPLOAD_TEXTS
from registry.protocol.codes import is_well_formed, new_code
from registry.protocol.encoding import decode_base64
from registry.protocol.index import EXPOSURES
from registry.protocol.trust_note import fingerprint
from tests.clock import FakeClock
from tests.protocol.note_signers import ed25519_signer
from tests.simulated_log import FINGERPRINT, ROOT
from tests.simulator import BASE_URL, Simulator, answer_json

CODE = new_code(lambda limit: 9_876_543_210_987 % limit)
DAY = 86_400

Type = Callable[..., Result]


@pytest.fixture
def demo(clock: FakeClock) -> Simulator:
    """A demonstration registry that has given out one code."""
    return Simulator(clock, profile="demo", codes={CODE: "confirmed"})


@pytest.fixture
def first_run(tmp_path: Path) -> Path:
    """The file that a registry's first start leaves."""
    path = tmp_path / "first-run.json"
    members = {"device_api_key": "device-key", "health_authority_id": "authority", "region": "XA"}
    path.write_text(json.dumps(members))
    return path


@pytest.fixture
def type_in(demo: Simulator, clock: FakeClock, tmp_path: Path) -> Type:
    """Function from a phone's name and words to what the command does."""

    def run(name: str, *words: str, keyboard: str | None = None, expect: int = 0) -> Result:
        result = CliRunner().invoke(
            phone,
            ["--store", str(tmp_path / f"{name}.db"), *words],
            obj=Surroundings(demo, clock),
            input=keyboard,
        )
        assert result.exit_code == expect, result.output
        return result

    return run


@pytest.fixture
def two_phones(type_in: Type, first_run: Path) -> None:
    """a.db and b.db, both staged."""
    for name in ("a", "b"):
        type_in(name, "init", BASE_URL, "--demo", "--staged", "--api-key-file", str(first_run))


def release(demo: Simulator, clock: FakeClock) -> None:
    """The registry publishes what was uploaded and is no longer embargoed."""
    demo.publish([key for key in demo.uploaded if key.end_interval_number * 600 + 7200 <= clock()])


@pytest.mark.usefixtures("two_phones")
def test_from_a_staged_meeting_to_an_orange_card(
    type_in: Type, demo: Simulator, clock: FakeClock, tmp_path: Path
) -> None:
    demo.publish_nothing()
    type_in("b", "poll")
    assert CARD_TEXTS["en"]["green"] in type_in("b", "card").output

    meeting = tmp_path / "a.csv"
    meeting.write_text(type_in("a", "advertise").stdout)
    assert meeting.read_text().startswith("time,rpi,aem,rssi\n2026-06-13T12:00:00Z,")
    assert "New sightings: 6." in type_in("b", "observe", str(meeting)).output

    uploaded = type_in("a", "upload", CODE, keyboard="y\n").output
    assert "2026-06-01: one key" in uploaded
    assert "2026-06-15 (today)" in uploaded
    assert UPLOAD_TEXTS["en"]["staged"] in uploaded
    assert "kind of your result, and how many days before or after your first symptoms" in uploaded
    assert "Keys taken in: 15." in uploaded
    assert CODE not in uploaded

    release(demo, clock)
    polled = type_in("b", "poll").output
    assert "Files read: 1, with 14 keys." in polled
    assert "near a person found positive on: 2026-06-13" in polled
    card = type_in("b", "card").output
    for text in ("orange", "advice", "demonstration", "staged"):
        assert CARD_TEXTS["en"][text] in card
    assert "2026-06-13" in card
    assert CARD_TEXTS["zh"]["orange"] in type_in("b", "card", "--lang", "zh").output
    members = json.loads(type_in("b", "card", "--json").stdout)
    assert (members["state"], members["exposed_on"], members["staged"]) == ("orange", "2026-06-13", True)
    clock.advance(2 * DAY + 1)
    stale = type_in("b", "card").output
    assert CARD_TEXTS["en"]["orange"] in stale
    assert CARD_TEXTS["en"]["not_checked"] in stale


@pytest.mark.usefixtures("two_phones")
def test_a_person_takes_back_what_was_shared(type_in: Type, demo: Simulator) -> None:
    assert "uploaded nothing" in type_in("a", "withdraw", "--yes", expect=1).output
    type_in("a", "upload", CODE, "--yes")
    declined = type_in("a", "withdraw", keyboard="n\n", expect=1).output
    assert PHONE_TEXTS["en"]["withdraw_declined"] in declined
    assert demo.acts[-1] != "v1/withdraw"
    told = type_in("a", "withdraw", keyboard="y\n").output
    for text in ("withdraw_meaning", "withdraw_done"):
        assert PHONE_TEXTS["en"][text] in told
    assert demo.acts[-1] == "v1/withdraw"
    assert PHONE_TEXTS["zh"]["withdraw_done"] in type_in("a", "withdraw", "--yes", "--lang", "zh").output


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_phone_makes_a_code_for_an_official_to_make_good(
    type_in: Type, demo: Simulator, two_phones: None, language: str
) -> None:
    said = type_in("a", "code", "--lang", language).output.splitlines()
    made = said[0].replace(" ", "")
    assert is_well_formed(made)
    assert said[1] == UPLOAD_TEXTS[language]["show_code"]
    assert made != type_in("a", "code").output.splitlines()[0].replace(" ", "")
    type_in("a", "upload", made, "--yes", expect=1)
    type_in("a", "upload", "--abandon")
    demo.codes[made] = "confirmed"
    type_in("a", "upload", said[0], "--yes")


def test_two_phones_that_are_not_staged_meet_today(
    type_in: Type, demo: Simulator, clock: FakeClock, first_run: Path
) -> None:
    for name in ("a", "b"):
        type_in(name, "init", BASE_URL, "--demo", "--api-key-file", str(first_run))
    lines = type_in("a", "advertise", "--minutes", "10", "--format", "jsonl").stdout
    assert [json.loads(line)["time"] for line in lines.splitlines()] == [
        "2026-06-15T11:50:00Z",
        "2026-06-15T11:55:00Z",
    ]
    type_in("b", "observe", "-", keyboard=lines)
    type_in("a", "upload", CODE, "--yes")
    clock.advance(14 * 3600)
    release(demo, clock)
    type_in("b", "poll")
    assert json.loads(type_in("b", "card", "--json").stdout)["exposed_on"] == "2026-06-15"
    assert CARD_TEXTS["en"]["staged"] not in type_in("b", "card").output


def other_fingerprint() -> str:
    return FINGERPRINT[:-1] + ("0" if FINGERPRINT[-1] != "0" else "1")


def test_a_fingerprint_that_was_given_is_compared(type_in: Type, demo: Simulator) -> None:
    told = FINGERPRINT.upper().replace("-", " ")
    said = type_in("a", "init", BASE_URL, "--demo", "--fingerprint", told).output
    assert PHONE_TEXTS["en"]["fingerprint"].format(fingerprint=FINGERPRINT) in said
    assert "NOT COMPARED" not in said
    refused = type_in("b", "init", BASE_URL, "--demo", "--fingerprint", other_fingerprint(), expect=1).output
    assert f"has the fingerprint {FINGERPRINT}, not the one that was given" in refused
    assert "not set up" in type_in("b", "card", expect=1).output


@pytest.mark.parametrize(("answer", "expect"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_without_one_it_is_shown_and_the_person_asked(
    answer: str, expect: int, type_in: Type, demo: Simulator
) -> None:
    demo.profile = "production"
    said = type_in("a", "init", BASE_URL, keyboard=answer, expect=expect).output
    for text in (FINGERPRINT, PHONE_TEXTS["en"]["compare"], PHONE_TEXTS["en"]["same"]):
        assert text in said
    if expect:
        assert "nothing was pinned" in said
        assert "not set up" in type_in("a", "card", expect=1).output


def test_where_nobody_can_be_asked_only_a_demonstration_goes_on(type_in: Type, demo: Simulator) -> None:
    said = type_in("a", "init", BASE_URL, "--demo").output
    assert PHONE_TEXTS["en"]["not_compared"] in said
    demo.profile = "production"
    refused = type_in("b", "init", BASE_URL, expect=1).output
    assert "give it with --fingerprint" in refused
    assert "not set up" in type_in("b", "card", expect=1).output


def test_a_root_key_that_is_pinned_is_not_asked_about_again(type_in: Type, demo: Simulator) -> None:
    demo.profile = "production"
    type_in("a", "init", BASE_URL, "--fingerprint", FINGERPRINT)
    again = type_in("a", "init", BASE_URL).output
    assert PHONE_TEXTS["en"]["same"] not in again
    assert "NOT COMPARED" not in again


def test_another_root_key_is_refused_until_its_fingerprint_is_given(type_in: Type, demo: Simulator) -> None:
    type_in("a", "init", BASE_URL, "--demo")
    demo.log.roots = [ed25519_signer(ROOT.name)]
    changed = fingerprint(demo.log.roots[0].key.vkey)
    assert "--fingerprint" in type_in("a", "init", BASE_URL, expect=1).output, "a demonstration's neither"
    said = type_in("a", "init", BASE_URL, "--fingerprint", changed).output
    assert changed in said
    assert "cosigned by 3 of 3 witnesses" in type_in("a", "poll").output


@pytest.mark.usefixtures("two_phones")
def test_a_poll_says_what_was_proven_and_warns_of_what_was_not(
    type_in: Type, demo: Simulator, clock: FakeClock
) -> None:
    demo.publish()
    said = type_in("b", "poll").output
    assert "Proven: the newest index of the registry's log, 2 leaves; cosigned by 3 of 3 witnesses" in said
    assert "at 2026-06-15 12:00 UTC" in said
    demo.log.awake("witness.example/0")
    clock.advance(60)
    demo.publish()
    polled = type_in("b", "poll")
    assert PHONE_TEXTS["en"]["not_proven"] in polled.stdout
    assert "index.json.tlog-proof: QuorumMissing: 1 of the log's 3 witnesses cosigned" in polled.stderr
    assert PHONE_TEXTS["zh"]["not_proven"] in type_in("b", "--lang", "zh", "poll").stdout


def test_a_log_without_witnesses_says_so(type_in: Type, demo: Simulator) -> None:
    demo.log.quorum = None
    type_in("a", "init", BASE_URL, "--demo")
    demo.publish()
    assert "Its policy asks for no witness." in type_in("a", "poll").output
    assert "其策略不要求见证方" in type_in("a", "--lang", "zh", "poll").output


@pytest.mark.usefixtures("two_phones")
def test_evidence_is_printed_to_the_line(type_in: Type, demo: Simulator) -> None:
    assert PHONE_TEXTS["en"]["no_evidence"] in type_in("b", "evidence").output
    demo.publish()
    type_in("b", "poll")
    believed = demo.log.proof()
    demo.log = demo.log.branch(1)
    demo.index_override = demo.index(expires_at=int(demo.clock()) + 3600)
    refused = type_in("b", "poll", expect=1).output
    assert "index.json.tlog-proof: SplitView:" in refused
    said = type_in("b", "evidence").output
    assert "2026-06-15 12:00 UTC, SplitView:" in said
    assert believed.decode().partition("\n\n")[2] in said
    assert demo.log.proof().decode() in said
    assert PHONE_TEXTS["zh"]["evidence_advice"] in type_in("b", "--lang", "zh", "evidence").output


def test_demonstration_trust_needs_the_word_for_it(type_in: Type, tmp_path: Path) -> None:
    refused = type_in("a", "init", BASE_URL, expect=1).output
    assert "demonstration" in refused
    assert "--demo" in refused
    assert "not set up" in type_in("a", "card", expect=1).output


@pytest.mark.usefixtures("two_phones")
def test_the_store_is_its_owners_alone(tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "a.db").stat().st_mode) == 0o600


def test_the_store_can_be_named_by_the_environment(
    demo: Simulator, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_PHONE_STORE", str(tmp_path / "mine.db"))
    result = CliRunner().invoke(phone, ["init", BASE_URL, "--demo"], obj=Surroundings(demo, clock))
    assert result.exit_code == 0
    assert (tmp_path / "mine.db").exists()


@pytest.mark.usefixtures("two_phones")
def test_a_bad_line_is_named_and_nothing_is_taken_in(type_in: Type) -> None:
    lines = type_in("a", "advertise").stdout.splitlines()
    lines[3] = lines[3].replace(",", ";")
    assert "line 4:" in type_in("b", "observe", "-", keyboard="\n".join(lines), expect=1).output
    lines[3] = lines[2]
    assert "New sightings: 5." in type_in("b", "observe", "-", keyboard="\n".join(lines)).output
    again = type_in("b", "observe", "-", keyboard="\n".join(lines)).output
    assert "known already: 6" in again
    assert "this phone's own: 6" in type_in("a", "observe", "-", keyboard="\n".join(lines)).output


@pytest.mark.usefixtures("two_phones")
def test_a_person_who_does_not_agree_shares_nothing(type_in: Type, demo: Simulator) -> None:
    sent = len(demo.requests)
    assert "Nothing was shared." in type_in("a", "upload", CODE, keyboard="n\n", expect=1).output
    assert len(demo.requests) == sent


@pytest.mark.usefixtures("two_phones")
def test_the_consent_is_asked_for_in_chinese_too_and_the_code_can_be_typed_at_the_prompt(
    type_in: Type, demo: Simulator
) -> None:
    output = type_in("a", "upload", "--lang", "zh", keyboard=f"{CODE}\ny\n").output
    steps = ("code", "heading", "details", "meaning", "question", "published")
    places = [output.index(UPLOAD_TEXTS["zh"][name]) for name in steps]
    assert places == sorted(places), "type the code, look, confirm"
    assert UPLOAD_TEXTS["zh"]["done"].format(count=15) in output


@pytest.mark.usefixtures("two_phones")
def test_a_slip_in_the_code_is_told_before_anything_is_asked(type_in: Type, demo: Simulator) -> None:
    slip = CODE[:-1] + str((int(CODE[-1]) + 1) % 10)
    output = type_in("a", "upload", slip, expect=1).output
    assert "check character" in output
    assert UPLOAD_TEXTS["en"]["question"] not in output


@pytest.mark.usefixtures("two_phones")
def test_a_slip_at_the_prompt_is_asked_for_again(type_in: Type, demo: Simulator) -> None:
    slip = CODE[:-1] + str((int(CODE[-1]) + 1) % 10)
    output = type_in("a", "upload", keyboard=f"{slip}\n{CODE}\nn\n", expect=1).output
    assert output.count(UPLOAD_TEXTS["en"]["code"]) == 2
    assert UPLOAD_TEXTS["en"]["mistyped"] in output
    assert output.index(UPLOAD_TEXTS["en"]["mistyped"]) < output.index(UPLOAD_TEXTS["en"]["heading"])
    assert demo.acts == []


@pytest.mark.usefixtures("two_phones")
def test_a_second_upload_says_that_it_changed_the_first(type_in: Type, demo: Simulator) -> None:
    first = type_in("a", "upload", CODE, "--yes").output
    assert UPLOAD_TEXTS["en"]["published"] in first
    assert UPLOAD_TEXTS["en"]["changed"] not in first
    demo.codes[CODE] = "negative"
    demo.faults["v1/publish"] = answer_json(200, {"revisionToken": "AAAA", "insertedExposures": 0})
    second = type_in("a", "upload", CODE, "--yes").output
    assert UPLOAD_TEXTS["en"]["changed"] in second
    assert UPLOAD_TEXTS["en"]["published"] not in second


@pytest.mark.usefixtures("two_phones")
@pytest.mark.parametrize("words", [["upload"], ["upload", CODE]])
def test_a_broken_upload_is_gone_on_with(words: list[str], type_in: Type, demo: Simulator) -> None:
    demo.lost_replies.append("v1/publish")
    broken = type_in("a", "upload", CODE, "--yes", expect=1).output
    assert UPLOAD_TEXTS["en"]["again"] in broken
    finished = type_in("a", *words).output
    assert UPLOAD_TEXTS["en"]["resumed"] in finished
    assert "Keys taken in: 15." in finished
    assert demo.acts.count("v1/publish") == 1


@pytest.mark.usefixtures("two_phones")
def test_a_day_that_the_person_leaves_out_stays_on_the_phone(type_in: Type, demo: Simulator) -> None:
    said = type_in(
        "a", "upload", CODE, "--yes", "--leave-out", "2026-06-10", "--leave-out", "2026-06-12"
    ).output
    assert "2026-06-11" in said
    assert "2026-06-10" not in said
    assert "2026-06-12" not in said
    assert "Keys taken in: 13." in said


@pytest.mark.usefixtures("two_phones")
def test_a_day_without_a_key_cannot_be_left_out(type_in: Type, demo: Simulator) -> None:
    said = type_in("a", "upload", CODE, "--yes", "--leave-out", "2026-01-01", expect=2).output
    assert "no key of 2026-01-01" in said
    assert demo.acts == []


@pytest.mark.usefixtures("two_phones")
def test_a_refusal_says_what_to_do(type_in: Type, demo: Simulator) -> None:
    demo.codes.clear()
    output = type_in("a", "upload", CODE, "--yes", expect=1).output
    assert "code_invalid" in output
    assert "Ask the health official for a new code" in output
    assert "请向卫生人员索取" in type_in("a", "upload", CODE, "--yes", "--lang", "zh", expect=1).output


@pytest.mark.usefixtures("two_phones")
def test_an_unfinished_upload_can_be_abandoned(type_in: Type, demo: Simulator) -> None:
    demo.faults["api/verify"] = NoAnswer("no network")
    type_in("a", "upload", CODE, "--yes", expect=1)
    assert UPLOAD_TEXTS["en"]["abandoned"] in type_in("a", "upload", "--abandon").output
    assert UPLOAD_TEXTS["en"]["nothing_to_abandon"] in type_in("a", "upload", "--abandon").output
    demo.faults.clear()
    assert UPLOAD_TEXTS["en"]["heading"] in type_in("a", "upload", CODE, "--yes").output


def test_a_refused_api_key_is_mended_without_losing_the_code(
    type_in: Type, demo: Simulator, tmp_path: Path
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("outdated\n")
    type_in(
        "a", "init", BASE_URL, "--demo", "--api-key-file", str(key_file), "--health-authority", "authority"
    )
    assert "--api-key-file" in type_in("a", "upload", CODE, "--yes", expect=1).output
    key_file.write_text("device-key\n")
    type_in("a", "init", BASE_URL, "--api-key-file", str(key_file))
    assert "Keys taken in: 1." in type_in("a", "upload").output


def test_without_an_api_key_a_phone_polls_but_cannot_upload(type_in: Type, demo: Simulator) -> None:
    type_in("a", "init", BASE_URL, "--demo")
    type_in("a", "poll")
    assert "--api-key-file" in type_in("a", "upload", CODE, "--yes", expect=1).output


def test_what_an_upload_lacks_is_told_before_anything_is_asked(type_in: Type, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("device-key\n")
    type_in("a", "init", BASE_URL, "--demo", "--api-key-file", str(key_file))
    output = type_in("a", "upload", expect=1).output
    assert "--health-authority" in output
    assert "--api-key-file" not in output
    assert UPLOAD_TEXTS["en"]["code"] not in output


@pytest.mark.usefixtures("two_phones")
def test_failures_of_a_poll_are_listed_by_kind_and_the_rest_is_read(type_in: Type, demo: Simulator) -> None:
    bad = f"{EXPOSURES}/{demo.publish()}"
    demo.publish()
    demo.files[bad] = b"x" + demo.files[bad][1:]
    result = type_in("b", "poll", expect=1)
    assert f"{bad}: HashMismatch:" in result.output
    assert "Files read: 1" in result.output
    assert "Files left for the next poll: 1" in result.output
    assert CARD_TEXTS["en"]["stale"] in type_in("b", "card").output
    demo.faults[bad] = answer_json(503, {}, retry_after="60")
    assert "left alone until 2026-06-15 12:01 UTC" in type_in("b", "poll", expect=1).output


@pytest.mark.usefixtures("two_phones")
def test_a_file_that_is_read_again_is_not_called_nothing_new(
    type_in: Type, demo: Simulator, clock: FakeClock
) -> None:
    meeting = type_in("a", "advertise").stdout
    type_in("a", "upload", CODE, "--yes")
    release(demo, clock)
    type_in("b", "poll")
    type_in("b", "observe", "-", keyboard=meeting)
    again = type_in("b", "poll").output  # the index has not changed
    assert "Nothing new." not in again
    assert "Files read: 1" in again
    assert "2026-06-13" in again


@pytest.mark.usefixtures("two_phones")
def test_without_files_to_fetch_there_is_no_bar(type_in: Type, demo: Simulator) -> None:
    demo.publish_nothing()
    assert type_in("b", "poll").stderr == ""
    demo.publish()
    assert "1/1" in type_in("b", "poll").stderr


@pytest.mark.usefixtures("two_phones")
def test_every_command_speaks_chinese(
    type_in: Type, demo: Simulator, clock: FakeClock, tmp_path: Path
) -> None:
    def said(name: str, *words: str, keyboard: str | None = None) -> str:
        return type_in(name, "--lang", "zh", *words, keyboard=keyboard).stdout

    meeting = type_in("a", "advertise").stdout
    assert "本机现属于" in said("b", "init", BASE_URL)
    assert "新收到的标识：6 个。" in said("b", "observe", "-", keyboard=meeting)
    assert UPLOAD_TEXTS["zh"]["details"] in said("a", "upload", CODE, "--yes")
    release(demo, clock)
    assert "本机曾在阳性者附近，日期：2026-06-13。" in said("b", "poll")
    assert CARD_TEXTS["zh"]["orange"] in said("b", "card")
    assert CARD_TEXTS["en"]["orange"] in said("b", "card", "--lang", "en")


@pytest.mark.usefixtures("two_phones")
def test_a_change_of_the_registrys_keys_is_told(type_in: Type, demo: Simulator) -> None:
    new = demo.new_key("2")
    demo.signers = [new]
    demo.trusted.append(new)
    demo.publish()
    assert "The registry's keys changed. New: XA_export-2; gone: none." in type_in("b", "poll").output
    assert "Nothing new." in type_in("b", "poll").output


@pytest.mark.usefixtures("two_phones")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--at", "noon"], "is not like"),
        (["--at", "2026-06-13T12:00:00"], "no offset"),
        (["--at", "2026-06-13T12:00:00Z", "--day", "2026-06-13"], "exclude each other"),
        (["--minutes", "0"], "minutes"),
    ],
)
def test_a_time_that_is_none_is_refused(words: list[str], message: str, type_in: Type) -> None:
    assert message in type_in("a", "advertise", *words, expect=2).output


@pytest.mark.usefixtures("two_phones")
def test_a_time_can_be_chosen(type_in: Type) -> None:
    assert "\n2026-06-03T12:00:00Z," in type_in("a", "advertise", "--day", "2026-06-03").stdout
    exact = type_in("a", "advertise", "--at", "2026-06-04T08:30:00+08:00", "--minutes", "1").stdout
    assert exact.count("\n") == 2
    assert "\n2026-06-04T00:30:00Z," in exact
    assert "no key then" in type_in("a", "advertise", "--day", "2026-05-03", expect=1).output


@pytest.mark.parametrize("content", ["", "two words", "{}", '{"device_api_key": 7}'])
def test_a_file_without_an_api_key_is_refused(content: str, type_in: Type, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    result = type_in("a", "init", BASE_URL, "--demo", "--api-key-file", str(path), expect=1)
    assert "Error:" in result.output


def test_a_file_that_is_no_text_holds_no_api_key(type_in: Type, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xff\xfe\x00")
    output = type_in("a", "init", BASE_URL, "--demo", "--api-key-file", str(path), expect=1).output
    assert f"{path} is not UTF-8 text" in output
    assert not (tmp_path / "a.db").exists()


def test_an_address_that_is_none_is_told(type_in: Type) -> None:
    assert "is not an address" in type_in("a", "init", "http://[::1", "--demo", expect=1).output


@pytest.mark.parametrize(
    "words", [["advertise"], ["observe", "-"], ["upload"], ["upload", "--abandon"], ["poll"], ["card"]]
)
def test_only_init_makes_a_phone_a_mistyped_name_makes_none(
    words: list[str], type_in: Type, tmp_path: Path
) -> None:
    output = type_in("mistyped", *words, keyboard="", expect=1).output
    assert f"no phone in {tmp_path / 'mistyped.db'}" in output
    assert list(tmp_path.glob("mistyped*")) == []


def test_a_reader_that_has_enough_is_no_fault(tmp_path: Path) -> None:
    store = str(tmp_path / "a.db")
    words = ["--store", store, "init", BASE_URL, "--demo", "--staged"]
    surroundings = Surroundings(Simulator(time.time, profile="demo"), time.time)
    assert CliRunner().invoke(phone, words, obj=surroundings).exit_code == 0
    reading, writing = os.pipe()
    os.close(reading)
    program = "from registry.cli import main; main()"
    outcome = subprocess.run(
        [sys.executable, "-c", program, "phone", "--store", store, "advertise"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert outcome.stderr == ""


def test_a_store_that_is_something_else_is_refused(type_in: Type, tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("my diary")
    assert "not a phone's store" in type_in("a", "card", expect=1).output
    assert (tmp_path / "a.db").read_text() == "my diary"


def test_no_network(type_in: Type, demo: Simulator) -> None:
    demo.faults[".well-known/exposure-registry.json"] = NoAnswer("no answer")
    assert "Error: no answer" in type_in("a", "init", BASE_URL, "--demo", expect=1).output
    demo.faults[".well-known/exposure-registry.json"] = Answer(500, {}, b"")
    assert "HTTP 500" in type_in("a", "init", BASE_URL, "--demo", expect=1).output


def test_a_phone_loads_no_server() -> None:
    program = (
        "import sys, registry.client, registry.cli.phone;"
        "servers = {'flask', 'sqlalchemy', 'werkzeug', 'psycopg', 'registry.models', 'registry.app'};"
        "print(sorted(servers & set(sys.modules)))"
    )
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (outcome.stdout, outcome.stderr) == ("[]\n", "")


@pytest.mark.usefixtures("two_phones")
def test_receipts_are_printed_for_programs_and_forgotten_when_the_person_wants_it(
    type_in: Type, clock: FakeClock, tmp_path: Path
) -> None:
    assert json.loads(type_in("a", "receipt").output) == {"receipts": []}
    content, record, salt = b'{"v":1}', b'{"language":"zh"}', bytes(range(32))
    with PhoneStore.open(tmp_path / "a.db", now=clock()) as store, store.all_or_nothing():
        newest_end = int(clock() // 600)
        store.keep_receipt(KeptReceipt(sha256(content).digest(), content, record, salt, newest_end))
    (shown,) = json.loads(type_in("a", "receipt").output)["receipts"]
    assert decode_base64(shown["commitment"]) == sha256(shown["content"].encode()).digest()
    hashed = decode_base64(shown["consent"]["salt"]) + shown["consent"]["record"].encode()
    assert decode_base64(shown["consent"]["hash"]) == sha256(hashed).digest()
    assert "forgotten: 1" in type_in("a", "receipt", "--forget").output
    assert json.loads(type_in("a", "receipt").output) == {"receipts": []}
    assert "0" in type_in("a", "--lang", "zh", "receipt", "--forget").output
