"""How a witness comes into being: its state first, then its keys, then both bound to each other.

Keys without a state are those of a witness that forgot what it cosigned. It must never begin again under
them, whatever was lost by accident.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from registry.errors import ConfigurationError
from registry.protocol.note import KeyKind, NoteSigner, VerifierKey
from registry.witness.cosigner import Witness, identity
from registry.witness.state import bind_keys, create_state, has_state, read_identity

MAX_NAME_BYTES = 255
"""What an ML-DSA cosignature can name (C2SP tlog-cosignature)."""


def begin_witness(
    path: Path, name: str, *, has_keys: bool, make_keys: Callable[[], Sequence[NoteSigner]]
) -> Witness:
    """The witness called `name` with its state in `path`: made, or finished after a crash, or as it is.

    `has_keys` says whether any of its keys is there already; `make_keys` makes what is missing and gives the
    signers. Raises ConfigurationError where state or keys of an earlier witness are lost, and Malformed for a
    name that no key can have (spaces, plus).
    """
    if len(VerifierKey(name, KeyKind.COSIGNATURE_V1, bytes(32)).name.encode()) > MAX_NAME_BYTES:
        raise ConfigurationError(f"a witness's name has at most {MAX_NAME_BYTES} bytes")
    if not has_state(path):
        if has_keys:
            raise ConfigurationError(
                f"a witness's keys are here, and its state {path} is not: one that forgot what it cosigned "
                "must never cosign again. Tell the logs that it has ended, move its keys away and begin a "
                "new one under another name"
            )
        create_state(path, name)
    known, bound = read_identity(path)
    if known != name:
        raise ConfigurationError(f"{path} is the state of the witness {known}, not of {name}")
    if bound and not has_keys:
        raise ConfigurationError(f"the keys of the witness {name} are missing: put them back from a backup")
    # A crash up to here leaves a state without keys, which this function takes up again.
    signers = make_keys()
    bind_keys(path, identity(signers))
    return Witness(path, signers)
