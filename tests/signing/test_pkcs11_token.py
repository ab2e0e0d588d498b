"""A token that holds keys: who may use it, what it says when something is missing, how it survives losses."""

import os
import signal
import threading
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from pkcs11 import Attribute, ObjectClass, TokenFlag

from registry.errors import ConfigurationError, Unavailable
from registry.signing.pkcs11_token import EDWARDS25519, P256, Pkcs11Token, TokenCurve
from tests.softhsm import LABEL, PIN, SoftToken


def verify(token: Pkcs11Token, label: str, message: bytes, signature: bytes) -> None:
    public_key = ed25519.Ed25519PublicKey.from_public_bytes(token.public_point(label, EDWARDS25519))
    public_key.verify(signature, message)


# ------------------------------------------------------------- what it makes


def test_a_new_token_holds_nothing_and_a_key_that_was_made_is_listed(open_token: Pkcs11Token) -> None:
    assert open_token.labels() == []
    open_token.create_key("log-2026", EDWARDS25519)
    open_token.create_key("export-XA_export-1", P256)
    assert open_token.labels() == ["export-XA_export-1", "log-2026"]


@pytest.mark.parametrize("curve", [P256, EDWARDS25519], ids=lambda curve: str(curve.name))
def test_no_key_can_be_read_out_or_do_anything_but_sign(
    open_token: Pkcs11Token, soft_token: SoftToken, curve: TokenCurve
) -> None:
    open_token.create_key("k", curve)
    slot_token = pkcs11.lib(str(soft_token.place.module)).get_token(token_label=LABEL)
    with slot_token.open() as session:
        [key] = session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})
        assert key[Attribute.SENSITIVE]
        assert key[Attribute.NEVER_EXTRACTABLE]
        assert [key[a] for a in (Attribute.SIGN, Attribute.DECRYPT, Attribute.DERIVE, Attribute.UNWRAP)] == [
            True, False, False, False,
        ]  # fmt: skip
        with pytest.raises(pkcs11.AttributeSensitive):
            _ = key[Attribute.VALUE]


def test_a_label_is_never_given_twice(open_token: Pkcs11Token) -> None:
    open_token.create_key("log-2026", EDWARDS25519)
    before = open_token.public_point("log-2026", EDWARDS25519)
    for curve in (EDWARDS25519, P256):
        with pytest.raises(ConfigurationError, match="has a key log-2026 already"):
            open_token.create_key("log-2026", curve)
    assert open_token.public_point("log-2026", EDWARDS25519) == before


def test_a_key_that_could_leave_the_token_is_refused(open_token: Pkcs11Token, soft_token: SoftToken) -> None:
    slot_token = pkcs11.lib(str(soft_token.place.module)).get_token(token_label=LABEL)
    with slot_token.open(rw=True) as session:
        session.create_domain_parameters(
            P256.key_type, {Attribute.EC_PARAMS: P256.parameters}, local=True
        ).generate_keypair(label="loose", store=True, private_template={Attribute.EXTRACTABLE: True})
    with pytest.raises(ConfigurationError, match="can be taken out"):
        open_token.public_point("loose", P256)


def test_a_missing_key_and_one_of_another_curve_are_named(open_token: Pkcs11Token) -> None:
    open_token.create_key("log-2026", EDWARDS25519)
    with pytest.raises(ConfigurationError, match="no Ed25519 key called log-2027"):
        open_token.public_point("log-2027", EDWARDS25519)
    with pytest.raises(ConfigurationError, match="no ECDSA P-256 key called log-2026"):
        open_token.sign("log-2026", P256, bytes(32))


def test_two_keys_under_one_label_are_refused(open_token: Pkcs11Token, soft_token: SoftToken) -> None:
    open_token.create_key("log-2026", EDWARDS25519)
    slot_token = pkcs11.lib(str(soft_token.place.module)).get_token(token_label=LABEL)
    with slot_token.open(rw=True) as session:
        session.create_domain_parameters(
            EDWARDS25519.key_type, {Attribute.EC_PARAMS: EDWARDS25519.parameters}, local=True
        ).generate_keypair(mechanism=EDWARDS25519.generation, label="log-2026", store=True)
    with pytest.raises(ConfigurationError, match="more than one Ed25519 key called log-2026"):
        open_token.sign("log-2026", EDWARDS25519, b"m")


# --------------------------------------------------------------- who gets in


def test_a_wrong_pin_is_named_but_never_repeated(soft_token: SoftToken) -> None:
    with pytest.raises(ConfigurationError, match=r"refuses the PIN.*REGISTRY_PKCS11_PIN_FILE") as refusal:
        Pkcs11Token.open(soft_token.place.module, LABEL, "1357-wrong")
    assert "1357" not in str(refusal.value)
    # And the right one still opens it.
    token = Pkcs11Token.open(soft_token.place.module, LABEL, PIN)
    assert token.labels() == []
    token.close()


@pytest.mark.parametrize("flag", [TokenFlag.USER_PIN_FINAL_TRY, TokenFlag.USER_PIN_LOCKED])
def test_the_last_try_of_a_pin_is_left_to_a_person(
    soft_token: SoftToken, monkeypatch: pytest.MonkeyPatch, flag: TokenFlag
) -> None:
    class NearlyLocked:
        flags = TokenFlag.TOKEN_INITIALIZED | flag

        def open(self, **_: object) -> None:
            pytest.fail("the PIN was tried")

    monkeypatch.setattr(Pkcs11Token, "_find", lambda _: NearlyLocked())
    with pytest.raises(ConfigurationError, match="log in once by hand"):
        Pkcs11Token.open(soft_token.place.module, LABEL, PIN)


def test_a_missing_token_and_a_missing_module_say_which_setting_to_mend(
    soft_token: SoftToken, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="REGISTRY_PKCS11_TOKEN"):
        Pkcs11Token.open(soft_token.place.module, "another", PIN)
    with pytest.raises(ConfigurationError, match="REGISTRY_PKCS11_MODULE"):
        Pkcs11Token.open(tmp_path / "libnothing.so", LABEL, PIN)


def test_a_module_whose_settings_are_broken_is_no_crash(
    soft_token: SoftToken, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "nowhere.conf"))
    with pytest.raises(ConfigurationError, match="REGISTRY_PKCS11_MODULE"):
        Pkcs11Token.open(soft_token.place.module, LABEL, PIN)


def test_a_process_has_one_token_and_one_session(open_token: Pkcs11Token, soft_token: SoftToken) -> None:
    assert Pkcs11Token.open(soft_token.place.module, LABEL, PIN) is open_token
    for label, pin in ((LABEL, "other"), ("other", PIN)):
        with pytest.raises(ConfigurationError, match="no second one"):
            Pkcs11Token.open(soft_token.place.module, label, pin)


# ------------------------------------------------------------ threads, losses


def test_threads_share_the_token_and_each_gets_its_own_signature(open_token: Pkcs11Token) -> None:
    open_token.create_key("log-2026", EDWARDS25519)
    open_token.create_key("log-2027", EDWARDS25519)
    signed: dict[tuple[str, int], bytes] = {}
    together = threading.Barrier(4)

    def sign(label: str, first: int) -> None:
        together.wait()
        for number in range(first, first + 50):
            signed[label, number] = open_token.sign(label, EDWARDS25519, b"%d" % number)

    work = [(label, first) for label in ("log-2026", "log-2027") for first in (0, 50)]
    threads = [threading.Thread(target=sign, args=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(signed) == 200
    for (label, number), signature in signed.items():
        verify(open_token, label, b"%d" % number, signature)


def test_a_lost_session_is_opened_anew(open_token: Pkcs11Token, soft_token: SoftToken) -> None:
    open_token.create_key("log-2026", EDWARDS25519)
    verify(open_token, "log-2026", b"before", open_token.sign("log-2026", EDWARDS25519, b"before"))
    # What a restart of the token's own software does to every process that had a session.
    pkcs11.lib(str(soft_token.place.module)).reinitialize()
    verify(open_token, "log-2026", b"after", open_token.sign("log-2026", EDWARDS25519, b"after"))


def test_a_token_that_was_taken_away_is_unavailable_until_it_is_back(
    open_token: Pkcs11Token, soft_token: SoftToken
) -> None:
    open_token.create_key("log-2026", EDWARDS25519)
    open_token.sign("log-2026", EDWARDS25519, b"before")
    away = soft_token.folder.rename(soft_token.folder.with_name("away"))
    for _ in range(2):
        with pytest.raises(Unavailable, match="token registry"):
            open_token.sign("log-2026", EDWARDS25519, b"without")
        with pytest.raises(Unavailable, match="token registry"):
            open_token.labels()
        with pytest.raises(Unavailable, match="token registry"):
            open_token.create_key("log-2027", EDWARDS25519)
    away.rename(soft_token.folder)
    assert open_token.labels() == ["log-2026"]
    verify(open_token, "log-2026", b"again", open_token.sign("log-2026", EDWARDS25519, b"again"))


def test_a_token_that_was_taken_away_is_not_an_empty_one(
    open_token: Pkcs11Token, soft_token: SoftToken
) -> None:
    open_token.create_key("log-2026", EDWARDS25519)
    soft_token.folder.rename(soft_token.folder.with_name("away"))
    with pytest.raises(Unavailable, match="token registry"):
        open_token.labels()


def test_threads_that_find_the_session_lost_open_one_anew_and_not_many(
    open_token: Pkcs11Token, soft_token: SoftToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_token.create_key("log-2026", EDWARDS25519)
    open_token.sign("log-2026", EDWARDS25519, b"before")
    opened: list[str] = []
    find = Pkcs11Token._find

    def counted(token: Pkcs11Token) -> pkcs11.Token:
        opened.append(token.label)
        return find(token)

    monkeypatch.setattr(Pkcs11Token, "_find", counted)
    pkcs11.lib(str(soft_token.place.module)).reinitialize()
    together = threading.Barrier(4)
    signed: list[bytes] = []

    def sign() -> None:
        together.wait()
        signed.append(open_token.sign("log-2026", EDWARDS25519, b"after"))

    threads = [threading.Thread(target=sign) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(signed) == 4
    for signature in signed:
        verify(open_token, "log-2026", b"after", signature)
    assert opened == [LABEL]


def test_a_pin_that_was_changed_is_tried_once_and_no_more(
    open_token: Pkcs11Token, soft_token: SoftToken
) -> None:
    module = pkcs11.lib(str(soft_token.place.module))
    open_token.create_key("log-2026", EDWARDS25519)
    open_token.sign("log-2026", EDWARDS25519, b"m")
    with module.get_token(token_label=LABEL).open(rw=True) as session:
        session.set_pin(PIN, "2468-new")
    module.reinitialize()
    with pytest.raises(Unavailable, match="refuses the PIN"):
        open_token.sign("log-2026", EDWARDS25519, b"m")
    with pytest.raises(Unavailable, match="not asked again"):
        open_token.sign("log-2026", EDWARDS25519, b"m")


def test_a_child_of_a_fork_signs_in_a_session_of_its_own(open_token: Pkcs11Token) -> None:
    open_token.create_key("log-2026", EDWARDS25519)
    open_token.sign("log-2026", EDWARDS25519, b"parent")
    read_end, write_end = os.pipe()
    # A thread that holds the lock while we fork is not there in the child to let it go.
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with Pkcs11Token._lock:
            held.set()
            let_go.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a child that waits for that lock would wait for ever
        try:
            # SoftHSM would let the parent's handles pass; the standard does not.
            own = b"own" if open_token._session is None else b"not"
            os.write(write_end, own + open_token.sign("log-2026", EDWARDS25519, b"child"))
        finally:
            os._exit(0)
    os.close(write_end)
    let_go.set()
    holder.join()
    with os.fdopen(read_end, "rb") as pipe:
        answer = pipe.read()
    assert answer[:3] == b"own"
    verify(open_token, "log-2026", b"child", answer[3:])
    os.waitpid(child, 0)
    verify(open_token, "log-2026", b"still", open_token.sign("log-2026", EDWARDS25519, b"still"))
