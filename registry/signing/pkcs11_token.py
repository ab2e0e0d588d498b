"""A PKCS#11 token that this process is logged in to: it signs with its keys, and they cannot leave it.

A login belongs to the whole process (PKCS#11 v3.0, 5.6.8), so there is one token and one session a
process, and one thread at a time speaks to it. A session that was lost, by a fork or because the token
went away and came back, is opened anew. Needs the package python-pkcs11.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, TokenFlag

from registry.errors import ConfigurationError, Unavailable

Answer = TypeVar("Answer")

_PIN_REFUSED = (
    pkcs11.PinIncorrect,
    pkcs11.PinInvalid,
    pkcs11.PinLenRange,
    pkcs11.PinLocked,
    pkcs11.PinExpired,
)
_LAST_TRY = TokenFlag.USER_PIN_FINAL_TRY | TokenFlag.USER_PIN_LOCKED


@dataclass(frozen=True)
class TokenCurve:
    """How a token is asked for keys of one curve, and for signatures by them."""

    name: str
    key_type: KeyType
    parameters: bytes
    """DER of CKA_EC_PARAMS: the curve's OID, or its name where it has none (PKCS#11 v3.0, 2.3.3)."""
    generation: Mechanism
    signing: Mechanism
    """Over a digest that we made (ECDSA), for tokens refuse to hash too; over the message itself (EdDSA)."""
    point_bytes: int
    """Length of the public point inside CKA_EC_POINT."""


P256 = TokenCurve(
    "ECDSA P-256",
    KeyType.EC,
    bytes.fromhex("06082a8648ce3d030107"),
    Mechanism.EC_KEY_PAIR_GEN,
    Mechanism.ECDSA,
    65,
)
EDWARDS25519 = TokenCurve(
    "Ed25519",
    KeyType.EC_EDWARDS,
    b"\x13\x0cedwards25519",
    Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
    Mechanism.EDDSA,
    32,
)


class Pkcs11Token:
    """The token of this process. Threads may share it; a child of a fork opens its own session at need."""

    _of_process: ClassVar["Pkcs11Token | None"] = None
    _lock: ClassVar[threading.RLock] = threading.RLock()

    def __init__(self, module: Path, label: str, pin: str) -> None:
        self._module = module
        self.label = label
        self._pin = pin
        self._pin_refused = False
        self._session: pkcs11.Session | None = None
        self._private_keys: dict[tuple[str, KeyType], Any] = {}

    @classmethod
    def open(cls, module: Path, token_label: str, pin: str) -> "Pkcs11Token":
        """Log in to the token called `token_label`; a second call for the same token gives the same object.

        Raises ConfigurationError, saying what to do, for a module that does not load, a token that is not
        there, a PIN that the token refuses, and if this process has another token open.
        """
        with cls._lock:
            known = cls._of_process
            if known is None:
                known = cls(module, token_label, pin)
                known._open_session()
                cls._of_process = known
        if (known._module, known.label, known._pin) != (module, token_label, pin):
            raise ConfigurationError(
                f"this process has the token {known.label} open, under its own PIN, and no second one"
            )
        return known

    def close(self) -> None:
        """End the session, and with it the process's login. What was made from it may not be used again."""
        with self._lock:
            # A token that went away has logged us out by itself, and says so.
            with contextlib.suppress(pkcs11.PKCS11Error):
                pkcs11.lib(str(self._module)).finalize()
            self._forget_session()
            Pkcs11Token._of_process = None

    def labels(self) -> list[str]:
        """Labels of the token's private keys, sorted. Raises Unavailable if it does not answer."""

        def ask(session: pkcs11.Session) -> list[str]:
            # A token that was taken away lists nothing and raises nothing; asking for itself does.
            session.token.slot.get_token()
            keys = session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})
            return sorted(str(key[Attribute.LABEL]) for key in keys)

        return self._use(ask)

    def public_point(self, label: str, curve: TokenCurve) -> bytes:
        """The public point of the key called `label`: uncompressed (P-256, 65 bytes), or Ed25519's 32.

        Raises ConfigurationError if there is no such key, more than one, or one that could be taken out
        of the token; Unavailable if the token does not answer.
        """

        def ask(session: pkcs11.Session) -> bytes:
            if self._private_key(session, label, curve)[Attribute.EXTRACTABLE]:
                raise ConfigurationError(
                    f"the key {label} can be taken out of the token {self.label}: make another, "
                    "with CKA_EXTRACTABLE false"
                )
            found = _only(session, label, curve, ObjectClass.PUBLIC_KEY, self.label)
            point = bytes(found[Attribute.EC_POINT])
            # A DER octet string by the standard; some tokens give the bare point.
            wrapped = len(point) == curve.point_bytes + 2
            return point[2:] if wrapped else point

        point = self._use(ask)
        if len(point) != curve.point_bytes:
            raise ConfigurationError(f"the key {label} of the token {self.label} is no {curve.name} key")
        return point

    def sign(self, label: str, curve: TokenCurve, message: bytes) -> bytes:
        """The raw signature of the key called `label`, two numbers of 32 bytes.

        `message` is a SHA-256 digest for P-256. Raises Unavailable if the token fails, also at a second try
        in a new session, and ConfigurationError if it has no such key any more.
        """
        return self._use(
            lambda session: bytes(
                self._private_key(session, label, curve).sign(message, mechanism=curve.signing)
            )
        )

    def create_key(self, label: str, curve: TokenCurve) -> None:
        """Make a key pair in the token, called `label`: sensitive, not extractable, good for signing alone.

        The token makes both halves or none. Raises ConfigurationError if a key has this label already, or
        if the token cannot make such a key.
        """
        with self._lock:
            if label in self.labels():
                raise ConfigurationError(f"the token {self.label} has a key {label} already")
            # Never tried twice: an answer that was lost may have left a key.
            try:
                with self._live_session().token.open(rw=True) as session:
                    session.create_domain_parameters(
                        curve.key_type, {Attribute.EC_PARAMS: curve.parameters}, local=True
                    ).generate_keypair(
                        id=label.encode(),
                        label=label,
                        store=True,
                        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
                        mechanism=curve.generation,
                        private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
                    )
            except pkcs11.MechanismInvalid as error:
                raise ConfigurationError(
                    f"the token {self.label} can make no {curve.name} keys: keep these keys in files"
                ) from error
            except pkcs11.PKCS11Error as error:
                raise Unavailable(self._failed("making a key", error)) from error

    def _use(self, act: Callable[[pkcs11.Session], Answer]) -> Answer:
        """`act` in the session, and once more in a new one if the token failed: for what may run twice."""
        with self._lock:
            try:
                return act(self._live_session())
            except pkcs11.PKCS11Error:
                self._forget_session()
            try:
                return act(self._live_session())
            except pkcs11.PKCS11Error as error:
                self._forget_session()
                raise Unavailable(self._failed("answering", error)) from error

    def _failed(self, doing: str, error: pkcs11.PKCS11Error) -> str:
        return f"the token {self.label} fails at {doing} ({type(error).__name__}): see that it is plugged in"

    def _live_session(self) -> pkcs11.Session:
        if self._session is None:
            try:
                self._open_session()
            except ConfigurationError as error:
                # It was there when we started.
                raise Unavailable(f"the token {self.label} was lost: {error}") from error
        if self._session is None:
            raise Unavailable(f"the token {self.label} gave no session")
        return self._session

    def _open_session(self) -> None:
        if self._pin_refused:
            raise ConfigurationError(
                f"the token {self.label} has refused the PIN and is not asked again, for it would lock: "
                "put the right one into REGISTRY_PKCS11_PIN_FILE and restart"
            )
        try:
            token = self._find()
        except (pkcs11.NoSuchToken, pkcs11.MultipleTokensReturned) as error:
            raise ConfigurationError(
                f"{self._module} shows not exactly one token called {self.label}: "
                "plug it in, or set REGISTRY_PKCS11_TOKEN to a label that it has"
            ) from error
        except pkcs11.PKCS11Error as error:
            raise ConfigurationError(
                f"the PKCS#11 module {self._module} cannot be used ({str(error) or type(error).__name__}): "
                "set REGISTRY_PKCS11_MODULE to the token's library and see that its settings are in order"
            ) from error
        if token.flags & _LAST_TRY:
            # A publisher that a timer starts would try again and again, and lock the token for good.
            raise ConfigurationError(
                f"the token {self.label} has refused the PIN so often that one more try would lock it: "
                "log in once by hand with the right one, and see REGISTRY_PKCS11_PIN_FILE"
            )
        try:
            self._session = token.open(user_pin=self._pin)
        except _PIN_REFUSED as error:
            self._pin_refused = True
            raise ConfigurationError(
                f"the token {self.label} refuses the PIN ({type(error).__name__}): "
                "see REGISTRY_PKCS11_PIN_FILE"
            ) from error
        except pkcs11.PKCS11Error as error:
            raise ConfigurationError(
                f"cannot log in to the token {self.label} ({type(error).__name__})"
            ) from error

    def _find(self) -> pkcs11.Token:
        """The token, by a module that this very process initialised and that knows what is there now."""
        module = pkcs11.lib(str(self._module))
        # After a fork, or with a token that is gone, there may be nothing left to end: as good as ended.
        with contextlib.suppress(pkcs11.PKCS11Error):
            module.finalize()
        module.initialize()
        return module.get_token(token_label=self.label)

    def _forget_session(self) -> None:
        """The session is lost or not ours. Its handles mean nothing in the next one."""
        self._session = None
        self._private_keys.clear()

    def _private_key(self, session: pkcs11.Session, label: str, curve: TokenCurve) -> Any:
        known = self._private_keys.get((label, curve.key_type))
        if known is None:
            known = _only(session, label, curve, ObjectClass.PRIVATE_KEY, self.label)
            self._private_keys[label, curve.key_type] = known
        return known

    @classmethod
    def _in_child_of_a_fork(cls) -> None:
        """The child has its parent's handles, and perhaps a lock held by a thread that it lacks."""
        if cls._of_process is not None:
            cls._lock = threading.RLock()
            cls._of_process._forget_session()


def _only(session: pkcs11.Session, label: str, curve: TokenCurve, half: ObjectClass, token: str) -> Any:
    """The one object. Its methods come from its attributes, so that its type says little."""
    wanted = {Attribute.CLASS: half, Attribute.LABEL: label, Attribute.KEY_TYPE: curve.key_type}
    found = list(session.get_objects(wanted))
    if len(found) != 1:
        number = "more than one" if found else "no"
        raise ConfigurationError(
            f"the token {token} has {number} {curve.name} key called {label} ({half.name.lower()})"
        )
    return found[0]


os.register_at_fork(after_in_child=Pkcs11Token._in_child_of_a_fork)
