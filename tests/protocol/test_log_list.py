"""Lists of logs ("logs/v0"): read as specified, and refused with the line that is wrong."""

import pytest

from registry.errors import Malformed
from registry.protocol.log_list import MAX_LIST_BYTES, ListedLog, decode_log_list
from tests.protocol.note_signers import ed25519_signer, ml_dsa_signer, witness_signer

# Seeds, for keys stand in the tests' names, and workers that collect apart must find the same names.
FOO = ed25519_signer("tlog.foo.example", bytes(31) + b"\1").key
BAR = ml_dsa_signer("bar.example/tlog", bytes(31) + b"\2").key
A_WITNESS = witness_signer("w.example", bytes(31) + b"\3").key

LIST = f"""\
#
# List:      10qps-100klogs
# Revision:  123
#
logs/v0

# 1st
vkey {FOO.vkey}
qpd 86400
contact https://tlog.foo.example/contact

# 2nd
vkey {BAR.vkey}
origin something-else
\tqpd 24
 \tcontact sysadmin (at) bar.example \t
"""


def test_a_list_is_read() -> None:
    assert decode_log_list(LIST.encode()) == [
        ListedLog("tlog.foo.example", FOO, 86400, "https://tlog.foo.example/contact"),
        ListedLog("something-else", BAR, 24, "sysadmin (at) bar.example"),
    ]


def test_a_list_may_be_empty_and_its_last_line_open() -> None:
    assert decode_log_list(b"logs/v0") == []
    assert len(decode_log_list(LIST.rstrip().encode())) == 2


ONE = f"logs/v0\nvkey {FOO.vkey}\nqpd 1\ncontact x\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "begins with"),
        ("logs/v1\n", "begins with"),
        (ONE.removeprefix("logs/v0\n"), "begins with"),
        (ONE.replace("vkey ", "key "), "line 2"),
        (ONE.replace("qpd 1\n", ""), "qpd"),
        (ONE.replace("contact x\n", ""), "contact"),
        (ONE.replace("contact x", "contact"), "contact"),
        (ONE.replace("qpd 1", "qpd 0"), "qpd"),
        (ONE.replace("qpd 1", "qpd 01"), "qpd"),
        (ONE.replace("qpd 1", "qpd 2147483648"), "qpd"),
        (ONE.replace("qpd 1", "qpd many"), "qpd"),
        (ONE.replace("qpd 1\ncontact x", "contact x\nqpd 1"), "qpd"),
        (ONE.replace("contact x\n", "contact x\norigin late\n"), "line 5"),
        (ONE.replace(FOO.vkey, FOO.vkey[:-4]), "line 2"),
        (ONE.replace(FOO.vkey, A_WITNESS.vkey), "not a log's"),
        (ONE + ONE.removeprefix("logs/v0\n"), "twice"),
    ],
)
def test_a_list_that_breaks_a_rule_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        decode_log_list(text.encode())


def test_a_list_that_is_no_text_or_too_long_is_refused() -> None:
    for content in (b"logs/v0\n# \xff", b"#" * (MAX_LIST_BYTES + 1)):
        with pytest.raises(Malformed):
            decode_log_list(content)
