"""Asking witnesses: honest ones, slow ones, wrong ones and ones that know more than we do."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from registry.errors import FetchFailed, Malformed
from registry.protocol.checkpoint import cosign, sign_checkpoint
from registry.protocol.merkle import check_consistency
from registry.protocol.note import Note, NoteSignature, decode_note, encode_note, encode_signature
from registry.protocol.witness_policy import (
    PolicyGroup,
    PolicyLog,
    PolicyWitness,
    WitnessPolicy,
    decode_policy,
    encode_policy,
)
from registry.protocol.witness_request import MAX_SENT_BYTES, SIZE_TYPE, decode_request
from registry.transparency.witnesses import (
    MAX_AHEAD_SECONDS,
    MAX_ANSWER_BYTES,
    MAX_PROOFS,
    WitnessAnswer,
    WitnessReport,
    ask_witnesses,
    published_policy,
)
from tests.clock import NOON_OF_JUNE_15 as NOON
from tests.protocol.note_signers import MadeNoteSigner, ed25519_signer, ml_dsa_signer, witness_signer
from tests.witness.shown_log import ShownLog

URL = "https://w1.example/witness"
W1, W1_ML_DSA = witness_signer("w1.example"), ml_dsa_signer("w1.example")
W2 = witness_signer("w2.example")

Answering = Callable[["Asked"], WitnessAnswer]


@dataclass(frozen=True)
class Asked:
    """One request as a witness got it."""

    url: str
    body: bytes

    @property
    def old_size(self) -> int:
        return decode_request(self.body).old_size

    @property
    def note(self) -> Note:
        return decode_note(decode_request(self.body).note)


@dataclass
class Witnesses:
    """Everybody out there, by address; the sender that reaches them."""

    answering: Mapping[str, Answering]
    asked: list[Asked] = field(default_factory=list)

    def send(self, url: str, body: bytes) -> WitnessAnswer:
        request = Asked(url, body)
        self.asked.append(request)
        return self.answering[url](request)


def lines(*signatures: NoteSignature) -> WitnessAnswer:
    return WitnessAnswer(
        200, "text/plain; charset=utf-8", "".join(map(encode_signature, signatures)).encode()
    )


def cosigning(*signers: MadeNoteSigner, now: float = NOON) -> Answering:
    """Cosigns whatever it is sent."""
    return lambda asked: lines(*(cosign(asked.note, signer, now=now) for signer in signers))


def always(status: int, body: bytes = b"", content_type: str = "text/plain") -> Answering:
    return lambda asked: WitnessAnswer(status, content_type, body)


def size_is(held: int) -> WitnessAnswer:
    return WitnessAnswer(409, SIZE_TYPE, f"{held}\n".encode())


def policy_of(*witnesses: PolicyWitness) -> WitnessPolicy:
    return WitnessPolicy(witnesses=witnesses)


ONE = policy_of(PolicyWitness("one", W1.key, URL))


@pytest.fixture
def log() -> ShownLog:
    return ShownLog(20)


def ask(
    log: ShownLog,
    answering: Answering | Mapping[str, Answering],
    policy: WitnessPolicy = ONE,
    **sizes: int,
) -> tuple[list[WitnessReport], Witnesses]:
    by_url = answering if isinstance(answering, Mapping) else {f"{URL}/add-checkpoint": answering}
    witnesses = Witnesses(by_url)
    reports = ask_witnesses(
        note=encode_note(log.note()),
        policy=policy,
        sizes=sizes,
        prove=log.prove,
        send=witnesses.send,
        now=NOON,
    )
    return reports, witnesses


def ask_one(log: ShownLog, answering: Answering, **sizes: int) -> tuple[WitnessReport, Witnesses]:
    [report], witnesses = ask(log, answering, **sizes)
    return report, witnesses


# ------------------------------------------------------------------ all is well


def test_a_cosignature_is_brought_home_verified(log: ShownLog) -> None:
    report, witnesses = ask_one(log, cosigning(W1), one=12)
    assert report == WitnessReport("one", 20, report.lines)
    assert [line.name for line in report.lines] == ["w1.example"]
    assert [asked.url for asked in witnesses.asked] == [f"{URL}/add-checkpoint"]


def test_the_proof_begins_where_the_witness_was(log: ShownLog) -> None:
    _, witnesses = ask_one(log, cosigning(W1), one=12)
    request = decode_request(witnesses.asked[0].body)
    assert request.old_size == 12
    check_consistency(
        old_size=12,
        old_root=log.head(12).root,
        new_size=20,
        new_root=log.head().root,
        path=request.path,
    )


@pytest.mark.parametrize("known", [0, 20])
def test_a_first_request_and_a_heartbeat_need_no_proof(log: ShownLog, known: int) -> None:
    report, witnesses = ask_one(log, cosigning(W1), one=known)
    request = decode_request(witnesses.asked[0].body)
    assert (request.old_size, request.path, report.size) == (known, (), 20)


def test_a_witness_never_heard_of_is_asked_from_nothing(log: ShownLog) -> None:
    _, witnesses = ask_one(log, cosigning(W1))
    assert witnesses.asked[0].old_size == 0


def test_only_the_logs_own_signatures_are_sent(log: ShownLog) -> None:
    note = log.note()
    others = tuple(cosign(note, ml_dsa_signer(f"w{number}.example"), now=NOON) for number in range(9))
    witnesses = Witnesses({f"{URL}/add-checkpoint": cosigning(W1)})
    ask_witnesses(
        note=encode_note(Note(note.text, note.signatures + others)),
        policy=ONE,
        sizes={"one": 19},
        prove=log.prove,
        send=witnesses.send,
        now=NOON,
    )
    assert witnesses.asked[0].note.signatures == note.signatures
    assert len(witnesses.asked[0].body) < MAX_SENT_BYTES


def test_one_door_with_two_keys_is_asked_once(log: ShownLog) -> None:
    policy = policy_of(PolicyWitness("ed", W1.key, URL), PolicyWitness("pq", W1_ML_DSA.key, URL + "/"))
    reports, witnesses = ask(log, cosigning(W1, W1_ML_DSA, W2), policy, ed=3, pq=7)
    assert [asked.old_size for asked in witnesses.asked] == [7]
    assert [[len(line.signature) for line in report.lines] for report in reports] == [[8 + 64], [8 + 2420]]
    assert [report.error for report in reports] == [None, None]


def test_keys_that_the_policy_does_not_list_never_count(log: ShownLog) -> None:
    report, _ = ask_one(log, cosigning(W2, witness_signer("w1.example"), W1_ML_DSA))
    assert report.lines == ()
    assert "without a cosignature by the policy's key" in (report.error or "")


def test_the_newest_of_several_lines_is_kept(log: ShownLog) -> None:
    def answer(asked: Asked) -> WitnessAnswer:
        return lines(*(cosign(asked.note, W1, now=NOON - ago) for ago in (500, 0, 900)))

    report, _ = ask_one(log, answer)
    assert [int.from_bytes(line.signature[:8], "big") for line in report.lines] == [int(NOON)]


def test_the_published_policy_names_our_keys_and_keeps_the_rest() -> None:
    file = WitnessPolicy(
        logs=(PolicyLog(ed25519_signer("left.over").key),),
        witnesses=(PolicyWitness("one", W1.key, URL), PolicyWitness("two", W2.key)),
        groups=(PolicyGroup("both", 2, ("one", "two")),),
        quorum="both",
    )
    ours = [ed25519_signer(f"registry.example/keys/{year}").key for year in (2026, 2027)]
    published = published_policy(file, ours)
    assert [log.key for log in published.logs] == ours
    assert decode_policy(encode_policy(published)) == published
    assert (published.witnesses, published.groups, published.quorum) == (file.witnesses, file.groups, "both")


# ----------------------------------------------------------------- other sizes


def test_a_witness_that_lags_gets_a_proof_from_its_own_size(log: ShownLog) -> None:
    def answer(asked: Asked) -> WitnessAnswer:
        return cosigning(W1)(asked) if asked.old_size == 5 else size_is(5)

    report, witnesses = ask_one(log, answer, one=12)
    assert (report.size, report.error, len(report.lines)) == (20, None, 1)
    assert [asked.old_size for asked in witnesses.asked] == [12, 5]


def test_a_witness_that_has_our_size_gets_a_heartbeat(log: ShownLog) -> None:
    """The answer to an earlier run was lost: the witness cosigned, and we do not know."""

    def answer(asked: Asked) -> WitnessAnswer:
        return cosigning(W1)(asked) if asked.old_size == 20 else size_is(20)

    report, _ = ask_one(log, answer, one=12)
    assert (report.size, len(report.lines)) == (20, 1)


def test_a_witness_ahead_of_us_is_told_and_not_argued_with(log: ShownLog) -> None:
    report, witnesses = ask_one(log, lambda asked: size_is(21))
    assert (report.ahead, report.size, report.conflict, report.lines) == (21, 21, False, ())
    assert "older than what was published" in (report.error or "")
    assert len(witnesses.asked) == 1


def test_a_size_beyond_ours_that_we_remember_is_asked_about(log: ShownLog) -> None:
    """The database was restored: what it says of witnesses may be newer or older than its tree."""
    report, witnesses = ask_one(log, lambda asked: size_is(30), one=30)
    assert report.ahead == 30
    assert [asked.old_size for asked in witnesses.asked] == [20]


def test_a_witness_that_names_ever_other_sizes_is_left(log: ShownLog) -> None:
    report, witnesses = ask_one(log, lambda asked: size_is((asked.old_size + 1) % 20))
    assert len(witnesses.asked) == MAX_PROOFS
    assert (report.ahead, report.conflict) == (None, False)
    assert "another size after each" in (report.error or "")


def test_a_witness_that_refuses_the_size_it_names_is_left(log: ShownLog) -> None:
    report, witnesses = ask_one(log, lambda asked: size_is(asked.old_size), one=4)
    assert len(witnesses.asked) == 1
    assert "from size 4" in (report.error or "")


@pytest.mark.parametrize("body", [b"", b"many", b"-1\n", b"007\n", b"9223372036854775808\n", b"5\n5\n"])
def test_a_size_that_is_none_is_an_error(log: ShownLog, body: bytes) -> None:
    report, witnesses = ask_one(log, always(409, body, SIZE_TYPE))
    assert (report.size, report.ahead, report.conflict) == (None, None, False)
    assert "does not say from where" in (report.error or "")
    assert len(witnesses.asked) == 1


def test_a_content_type_may_have_parameters(log: ShownLog) -> None:
    report, _ = ask_one(log, always(409, b"21\n", "Text/X.tlog.size; charset=utf-8"))
    assert report.ahead == 21


def test_a_size_that_no_proof_can_be_made_for_stops_nothing(log: ShownLog) -> None:
    def prove(old: int) -> list[bytes]:
        if old == 3:
            raise Malformed("a tile is missing")
        return log.prove(old)

    policy = policy_of(PolicyWitness("one", W1.key, URL), PolicyWitness("two", W2.key, "https://w2.example"))
    witnesses = Witnesses(
        {f"{URL}/add-checkpoint": lambda _: size_is(3), "https://w2.example/add-checkpoint": cosigning(W2)}
    )
    one, two = ask_witnesses(
        note=encode_note(log.note()), policy=policy, sizes={}, prove=prove, send=witnesses.send, now=NOON
    )
    assert "from size 3" in (one.error or "")
    assert two.error is None


# ------------------------------------------------------------------- conflicts


@pytest.mark.parametrize(
    ("status", "content_type"), [(422, "text/plain"), (409, "text/plain"), (409, ""), (422, SIZE_TYPE)]
)
def test_a_witness_that_holds_another_tree_is_a_conflict(
    log: ShownLog, status: int, content_type: str
) -> None:
    """A deployed witness answers a fork at equal size with 409 and no size; others with 422."""
    report, witnesses = ask_one(log, always(status, b"5\n", content_type), one=5)
    assert (report.conflict, report.lines, report.ahead) == (True, (), None)
    assert "sign nothing more" in (report.error or "")
    assert len(witnesses.asked) == 1


# ------------------------------------------------------------- answers of no use


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (301, "redirect"),
        (307, "redirect"),
        (400, "malformed"),
        (403, "add this shard's key"),
        (404, "add its origin and key"),
        (413, "too large"),
        (429, "pause"),
        (500, "fault of its own"),
        (503, "not available"),
        (418, "no answer of a witness"),
        (204, "no answer of a witness"),
    ],
)
def test_an_error_says_what_to_do(log: ShownLog, status: int, advice: str) -> None:
    report, witnesses = ask_one(log, always(status))
    assert advice in (report.error or "")
    assert (report.lines, report.ahead, report.conflict, report.size) == ((), None, False, None)
    assert len(witnesses.asked) == 1


def test_no_answer_is_said_to_be_none(log: ShownLog) -> None:
    def gone(asked: Asked) -> WitnessAnswer:
        raise FetchFailed("no answer from w1: ConnectionError")

    report, _ = ask_one(log, gone)
    assert report.error == "no answer from w1: ConnectionError; it is asked again"


def test_a_bug_in_the_sender_costs_one_witness_and_not_all(log: ShownLog) -> None:
    def broken(asked: Asked) -> WitnessAnswer:
        raise ZeroDivisionError("text that nobody is to see")

    policy = policy_of(PolicyWitness("one", W1.key, URL), PolicyWitness("two", W2.key, "https://w2.example"))
    (one, two), _ = ask(
        log, {f"{URL}/add-checkpoint": broken, "https://w2.example/add-checkpoint": cosigning(W2)}, policy
    )
    assert one.error == "sending failed: ZeroDivisionError; it is asked again"
    assert len(two.lines) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"OK\n", b"\xff\xfe", b"\n", "\u2014 w1.example AAAA\n".encode(), "\u2014 w1.example".encode()],
)
def test_a_200_without_lines_is_an_error(log: ShownLog, body: bytes) -> None:
    report, _ = ask_one(log, always(200, body))
    assert "without cosignature lines" in (report.error or "")


def test_a_cosignature_of_another_tree_does_not_count(log: ShownLog) -> None:
    other = sign_checkpoint(log.head(19), log.signers, now=NOON)
    report, _ = ask_one(log, lambda asked: lines(cosign(other, W1, now=NOON)))
    assert report.lines == ()
    assert "does not verify" in (report.error or "")


def test_one_wrong_line_condemns_the_keys_others(log: ShownLog) -> None:
    other = sign_checkpoint(log.head(19), log.signers, now=NOON)
    report, _ = ask_one(
        log, lambda asked: lines(cosign(asked.note, W1, now=NOON), cosign(other, W1, now=NOON))
    )
    assert report.lines == ()


def test_a_wrong_line_of_one_key_leaves_the_others(log: ShownLog) -> None:
    other = sign_checkpoint(log.head(19), log.signers, now=NOON)
    policy = policy_of(PolicyWitness("ed", W1.key, URL), PolicyWitness("pq", W1_ML_DSA.key, URL))
    (ed, pq), _ = ask(
        log, lambda asked: lines(cosign(asked.note, W1, now=NOON), cosign(other, W1_ML_DSA, now=NOON)), policy
    )
    assert (len(ed.lines), ed.error) == (1, None)
    assert pq.lines == ()


@pytest.mark.parametrize(
    ("time", "counts"),
    [
        (NOON + MAX_AHEAD_SECONDS, True),
        (NOON + MAX_AHEAD_SECONDS + 1, False),
        (2**62, False),
        (NOON - 86_400, True),
        (0, False),
    ],
)
def test_a_time_in_the_far_future_does_not_count(log: ShownLog, time: float, counts: bool) -> None:
    """An old one does: whoever judges freshness reads the time in it."""
    report, _ = ask_one(log, cosigning(W1, now=time))
    assert (len(report.lines) == 1, report.error is None) == (counts, counts)


def test_a_huge_answer_is_not_read(log: ShownLog) -> None:
    report, _ = ask_one(log, always(200, b"x" * (MAX_ANSWER_BYTES + 1)))
    assert f"more than {MAX_ANSWER_BYTES}" in (report.error or "")


def test_a_witness_without_an_address_is_reported(log: ShownLog) -> None:
    policy = policy_of(PolicyWitness("silent", W2.key), PolicyWitness("one", W1.key, URL))
    (silent, one), _ = ask(log, {f"{URL}/add-checkpoint": cosigning(W1)}, policy)
    assert "no address" in (silent.error or "")
    assert one.error is None


def test_nobody_is_asked_where_the_policy_names_nobody(log: ShownLog) -> None:
    assert ask(log, {}, WitnessPolicy()) == ([], Witnesses({}))


# ----------------------------------------------------------------- all at once


def test_all_are_asked_at_the_same_time(log: ShownLog) -> None:
    """Each waits for all the others: asked one after the other, none would ever answer."""
    signers = [witness_signer(f"w{number}.example") for number in range(5)]
    together = threading.Barrier(len(signers), timeout=30)

    def meeting(signer: MadeNoteSigner) -> Answering:
        def answer(asked: Asked) -> WitnessAnswer:
            together.wait()
            return cosigning(signer)(asked)

        return answer

    policy = policy_of(*(PolicyWitness(one.name, one.key, f"https://{one.name}") for one in signers))
    reports, _ = ask(log, {f"https://{one.name}/add-checkpoint": meeting(one) for one in signers}, policy)
    assert [(report.name, report.error) for report in reports] == [(one.name, None) for one in signers]


def test_one_that_hangs_costs_only_itself(log: ShownLog) -> None:
    end = threading.Event()

    def hanging(asked: Asked) -> WitnessAnswer:
        end.wait(60)
        raise FetchFailed("too late")

    policy = policy_of(PolicyWitness("two", W2.key, "https://w2.example"), PolicyWitness("one", W1.key, URL))
    witnesses = Witnesses(
        {"https://w2.example/add-checkpoint": hanging, f"{URL}/add-checkpoint": cosigning(W1)}
    )
    # The time of the run, by a clock of the test: begun at 0, over as soon as somebody has answered.
    answered = threading.Event()

    def monotonic() -> float:
        return 1000.0 if answered.is_set() else 0.0

    def send(url: str, body: bytes) -> WitnessAnswer:
        answer = witnesses.send(url, body)
        answered.set()
        return answer

    two, one = ask_witnesses(
        note=encode_note(log.note()),
        policy=policy,
        sizes={},
        prove=log.prove,
        send=send,
        now=NOON,
        limit_seconds=5,
        monotonic=monotonic,
    )
    end.set()
    assert two.error == "no answer within 5 seconds; it is asked again"
    assert len(one.lines) == 1


def test_proofs_are_made_in_the_callers_own_thread(log: ShownLog) -> None:
    """They are read from its database session, which belongs to one thread."""
    threads = []

    def prove(old: int) -> list[bytes]:
        threads.append(threading.current_thread())
        return log.prove(old)

    answers = iter([size_is(5), size_is(9)])
    witnesses = Witnesses(
        {f"{URL}/add-checkpoint": lambda asked: next(answers, None) or cosigning(W1)(asked)}
    )
    ask_witnesses(
        note=encode_note(log.note()), policy=ONE, sizes={}, prove=prove, send=witnesses.send, now=NOON
    )
    assert threads == [threading.current_thread()] * 3


def test_what_is_no_checkpoint_is_sent_to_nobody() -> None:
    with pytest.raises(Malformed):
        ask_witnesses(note=b"nothing", policy=ONE, sizes={}, prove=lambda _: [], send=_never, now=NOON)


def _never(url: str, body: bytes) -> WitnessAnswer:
    raise AssertionError(url)
