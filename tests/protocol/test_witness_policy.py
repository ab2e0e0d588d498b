"""Policies: every rule of the format, and who is enough."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.note import KeyKind, VerifierKey
from registry.protocol.witness_policy import (
    MAX_POLICY_BYTES,
    PolicyGroup,
    PolicyLog,
    PolicyWitness,
    WitnessPolicy,
    decode_policy,
    encode_policy,
)
from tests.protocol.log_vectors import load

MALFORMED: dict[str, str] = load("formats/malformed.json")["policies"]


def log_key(number: int, kind: KeyKind = KeyKind.ED25519) -> VerifierKey:
    size = 1312 if kind == KeyKind.ML_DSA_44 else 32
    return VerifierKey(f"example.org/log{number}", kind, number.to_bytes(2, "big").ljust(size, b"l"))


def witness_key(number: int, kind: KeyKind = KeyKind.COSIGNATURE_V1) -> VerifierKey:
    size = 1312 if kind == KeyKind.ML_DSA_44 else 32
    return VerifierKey(f"witness{number}.example", kind, number.to_bytes(2, "big").ljust(size, b"w"))


LOG = log_key(0).vkey
W = [witness_key(number) for number in range(8)]
V = [key.vkey for key in W]


def read(text: str) -> WitnessPolicy:
    return decode_policy(text.encode("utf-8", "surrogateescape"))


def witnesses(*names: str) -> str:
    return "".join(f"witness {name} {V[number]}\n" for number, name in enumerate(names))


# ------------------------------------------------------------- who is enough

TWO_LEVELS = (
    f"log {LOG}\n\n"
    + witnesses("X1", "X2", "X3", "Y1", "Y2", "Y3")
    + "group X-witnesses 2 X1 X2 X3\n"
    + "group Y-witnesses any Y1 Y2 Y3\n"
    + "group X-and-Y all X-witnesses Y-witnesses\n"
    + "quorum X-and-Y\n"
)


def test_the_specification_s_example_asks_for_two_of_three_and_one_of_three() -> None:
    policy = read(TWO_LEVELS)
    for count in range(7):
        for some in combinations(range(6), count):
            wanted = sum(number < 3 for number in some) >= 2 and any(number >= 3 for number in some)
            assert policy.is_met([W[number] for number in some]) is wanted


def test_a_single_witness_may_be_the_quorum() -> None:
    policy = read(witnesses("A", "B") + "quorum B\n")
    assert policy.is_met([W[1]])
    assert not policy.is_met([W[0]])
    assert not policy.is_met([])


def test_no_witness_at_all_may_be_asked_for() -> None:
    assert read("quorum none\n").is_met([])
    assert read(witnesses("A") + "quorum none\n").is_met([])


@pytest.mark.parametrize(("threshold", "needed"), [("any", 1), ("1", 1), ("2", 2), ("all", 3), ("3", 3)])
def test_thresholds(threshold: str, needed: int) -> None:
    policy = read(witnesses("A", "B", "C") + f"group G {threshold} A B C\nquorum G\n")
    assert policy.groups == (PolicyGroup("G", needed, ("A", "B", "C")),)
    for count in range(4):
        assert policy.is_met(W[:count]) is (count >= needed)


def test_keys_count_by_all_that_they_are() -> None:
    policy = read(witnesses("A", "B") + "group G 2 A B\nquorum G\n")
    renamed = VerifierKey("another.example", W[1].kind, W[1].public_key)
    assert not policy.is_met([W[0], W[0], renamed])
    assert policy.is_met([W[0], W[1], renamed])


def test_groups_nest_deep() -> None:
    lines = witnesses("W0") + "".join(f"group W{level + 1} all W{level}\n" for level in range(200))
    policy = read(lines + "quorum W200\n")
    assert policy.is_met([W[0]])
    assert not policy.is_met([W[1]])


def test_only_witnesses_below_the_quorum_count() -> None:
    policy = read(
        witnesses("A", "B", "C", "D")
        + "group G 1 A B\n"
        + "group H all G\n"
        + "group outside any C\n"
        + "quorum H\n"
    )
    assert [witness.name for witness in policy.counted()] == ["A", "B"]
    assert not policy.is_met([W[2], W[3]])
    assert [witness.name for witness in read(witnesses("A", "B") + "quorum B\n").counted()] == ["B"]
    assert read(witnesses("A") + "quorum none\n").counted() == ()


# ----------------------------------------------------------------- the file


def test_white_space_comments_and_addresses() -> None:
    policy = read(
        "# a policy\n"
        "\n"
        " \t \n"
        f"\tlog \t{LOG}   https://example.org/log/  \n"
        "   # more\n"
        f"witness\tA\t{V[0]}\thttps://witness.example/prefix\n"
        f" witness   B {V[1]}\t\n"
        "#group ignored\n"
        "group\tG  any\tA B\t\n"
        "\tquorum G \n"
    )
    assert policy == WitnessPolicy(
        logs=(PolicyLog(log_key(0), "https://example.org/log/"),),
        witnesses=(PolicyWitness("A", W[0], "https://witness.example/prefix"), PolicyWitness("B", W[1])),
        groups=(PolicyGroup("G", 1, ("A", "B")),),
        quorum="G",
    )


def test_only_spaces_and_tabs_part_items() -> None:
    # A no-break space and an ideographic one belong to the name that they stand in.
    policy = read(f"witness a\u00a0b\u3000c {V[0]}\nquorum a\u00a0b\u3000c\n")
    assert policy.witnesses[0].name == "a\u00a0b\u3000c"


def test_names_are_octets() -> None:
    # K and the Kelvin sign are two names, and so are octets that are no UTF-8.
    content = (
        b"witness K " + V[0].encode() + b"\nwitness \xe2\x84\xaa " + V[1].encode()
        + b"\nwitness \xff\xfe " + V[2].encode() + b"\ngroup G all K \xff\xfe\nquorum G\n"
    )  # fmt: skip
    policy = decode_policy(content)
    assert [witness.name.encode("utf-8", "surrogateescape") for witness in policy.witnesses] == [
        b"K",
        b"\xe2\x84\xaa",
        b"\xff\xfe",
    ]
    assert policy.is_met([W[0], W[2]])
    assert decode_policy(encode_policy(policy)) == policy


def test_quorum_and_definitions_stand_in_any_order_that_defines_before_use() -> None:
    policy = read(witnesses("A") + "quorum A\n" + f"witness B {V[1]}\nlog {LOG}\ngroup G any A B\n")
    assert policy.quorum == "A"
    assert len(policy.groups) == len(policy.logs) == 1


def test_logs_and_witnesses_may_have_post_quantum_keys() -> None:
    log, witness = log_key(1, KeyKind.ML_DSA_44), witness_key(1, KeyKind.ML_DSA_44)
    policy = read(f"log {LOG}\nlog {log.vkey}\nwitness A {V[0]}\nwitness B {witness.vkey}\nquorum B\n")
    assert [one.key for one in policy.logs] == [log_key(0), log]
    assert policy.is_met([witness])


def test_policies_far_larger_than_must_be_read_are_read() -> None:
    lines = [f"log {log_key(number).vkey}\n" for number in range(40)]
    lines += [f"witness w{number} {witness_key(number).vkey}\n" for number in range(200)]
    lines += [f"group g{number} all w{number}\n" for number in range(200)]
    lines += ["group top 200 " + " ".join(f"g{number}" for number in range(200)) + "\n", "quorum top\n"]
    policy = read("".join(lines))
    assert policy.is_met(witness_key(number) for number in range(200))
    assert not policy.is_met(witness_key(number) for number in range(199))


A, B = f"witness A {V[0]}\n", f"witness B {V[1]}\n"


@pytest.mark.parametrize(
    ("why", "text"),
    [
        ("nothing at all", ""),
        ("no quorum", A),
        ("only comments", "# quorum none\n"),
        ("two quorums", A + "quorum A\nquorum A\n"),
        ("two quorums of none", "quorum none\nquorum none\n"),
        ("a quorum that is not defined", "quorum A\n"),
        ("a quorum that is defined later", "quorum A\n" + A),
        ("a quorum without a name", "quorum\n"),
        ("a quorum of two names", A + B + "quorum A B\n"),
        ("a word that is none", A + "quorom A\n"),
        ("a keyword in large letters", A + "QUORUM A\n"),
        ("a comment behind a line", A + "quorum A #the quorum\n"),
        ("a log without a key", "log\nquorum none\n"),
        ("a log with too much", f"log {LOG} url more\nquorum none\n"),
        ("a log whose key is none", "log example.org/log\nquorum none\n"),
        ("a log twice", f"log {LOG}\nlog {LOG}\nquorum none\n"),
        (
            "a log's key under another name",
            f"log {LOG}\nlog {VerifierKey('x', 1, log_key(0).public_key).vkey}\nquorum none\n",
        ),
        ("a witness's kind of key for a log", f"log {V[0]}\nquorum none\n"),
        ("a witness without a key", "witness A\nquorum none\n"),
        ("a witness with too much", f"witness A {V[0]} url more\nquorum none\n"),
        ("a witness with a log's kind of key", f"witness A {LOG}\nquorum none\n"),
        ("a name twice", A + f"witness A {V[1]}\nquorum A\n"),
        ("a witness's key twice", A + f"witness B {V[0]}\nquorum A\n"),
        (
            "a witness's key under another key name",
            A + f"witness B {VerifierKey('x', 4, W[0].public_key).vkey}\nquorum A\n",
        ),
        ("a witness called none", f"witness none {V[0]}\nquorum none\n"),
        ("a group called none", A + "group none any A\nquorum A\n"),
        ("a group that has none for a member", A + "group G any A none\nquorum G\n"),
        ("a group without members", A + "group G any\nquorum A\n"),
        ("a group without a threshold", A + "group G A\nquorum G\n"),
        ("a group with a witness's name", A + B + "group A any B\nquorum A\n"),
        ("a group's name twice", A + B + "group G any A\ngroup G any B\nquorum G\n"),
        ("a group that is its own member", A + "group G any A G\nquorum G\n"),
        ("a member that is defined later", "group G any A\n" + A + "quorum G\n"),
        ("a member twice in one group", A + "group G any A A\nquorum G\n"),
        ("a member of two groups", A + B + "group G any A B\ngroup H any A\nquorum G\n"),
        ("a threshold of 0", A + "group G 0 A\nquorum G\n"),
        ("a threshold below 0", A + "group G -1 A\nquorum G\n"),
        ("a threshold with a sign", A + "group G +1 A\nquorum G\n"),
        ("a threshold above the members", A + B + "group G 3 A B\nquorum G\n"),
        ("a threshold that is a fraction", A + B + "group G 1.5 A B\nquorum G\n"),
        ("a threshold beyond all numbers", A + B + f"group G {'9' * 10_000} A B\nquorum G\n"),
        ("a threshold just beyond what is read", A + B + "group G 00000000001x A B\nquorum G\n"),
        ("a threshold in other digits", A + "group G ١ A\nquorum G\n"),
        ("a threshold in large letters", A + "group G ALL A\nquorum G\n"),
        ("line ends of another system", A.replace("\n", "\r\n") + "quorum A\r\n"),
        ("a last line without an end", A + "quorum A"),
        ("a form feed", A + "\fquorum A\n"),
        ("a zero octet in a comment", "# \0\n" + A + "quorum A\n"),
        ("octet 127", "# \x7f\n" + A + "quorum A\n"),
        ("an escape", "# \x1b\n" + A + "quorum A\n"),
        ("a key name that is no UTF-8", f"log \udcff{LOG}\nquorum none\n"),
        ("too much of everything", "#" * MAX_POLICY_BYTES + "\nquorum none\n"),
    ],
)
def test_every_fault_is_refused(why: str, text: str) -> None:
    with pytest.raises(Malformed):
        read(text)


@pytest.mark.parametrize("text", list(MALFORMED.values()), ids=list(MALFORMED))
def test_published_malformed_policies_are_refused(text: str) -> None:
    with pytest.raises(Malformed):
        read(text)


def test_a_refusal_names_the_line_and_can_be_printed() -> None:
    with pytest.raises(Malformed, match=r"line 3: .*B") as refused:
        read("# two\n" + A + "quorum B\n")
    assert str(refused.value).encode()
    with pytest.raises(Malformed) as refused:
        read("quorum \udcff\n")
    assert str(refused.value).encode(), "an octet that is no UTF-8 does not break the one who prints it"


# --------------------------------------------------------------- round trip


@st.composite
def policies(draw: st.DrawFn) -> WitnessPolicy:
    """Any policy: some logs, some witnesses, groups of what is still free, one of all as the quorum."""
    name = st.text("abcXYZ-_0123456789é\u3000", min_size=1, max_size=6).filter(lambda text: text != "none")
    names = draw(st.lists(name, unique=True, max_size=12))
    split = draw(st.integers(0, len(names)))
    url = st.none() | st.sampled_from(["https://a.example/", "x"])
    logs = [PolicyLog(log_key(number), draw(url)) for number in range(draw(st.integers(0, 3)))]
    seen = [PolicyWitness(name, witness_key(number), draw(url)) for number, name in enumerate(names[:split])]
    free, groups = names[:split], []
    for group in names[split:]:
        if not free:
            break
        members = draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
        groups.append(PolicyGroup(group, draw(st.integers(1, len(members))), tuple(members)))
        free = [one for one in free if one not in members] + [group]
    defined = names[:split] + [group.name for group in groups]
    quorum = draw(st.sampled_from([*defined, "none"]))
    return WitnessPolicy(tuple(logs), tuple(seen), tuple(groups), quorum)


@given(policies())
def test_every_policy_is_read_as_it_was_written(policy: WitnessPolicy) -> None:
    assert decode_policy(encode_policy(policy)) == policy


def met(policy: WitnessPolicy, name: str, keys: list[VerifierKey]) -> bool:
    """The specification's definition, from the top down."""
    for group in policy.groups:
        if group.name == name:
            return sum(met(policy, member, keys) for member in group.members) >= group.threshold
    return any(witness.name == name and witness.key in keys for witness in policy.witnesses)


@given(policies(), st.sets(st.integers(0, 11)))
def test_a_quorum_is_met_as_its_definition_says(policy: WitnessPolicy, numbers: set[int]) -> None:
    keys = [witness_key(number) for number in numbers]
    assert policy.is_met(keys) is (policy.quorum == "none" or met(policy, policy.quorum, keys))
    counted = [witness.key for witness in policy.counted()]
    assert policy.is_met([key for key in keys if key in counted]) is policy.is_met(keys)


@pytest.mark.parametrize(
    "policy",
    [
        WitnessPolicy(quorum="A"),
        WitnessPolicy(quorum=""),
        WitnessPolicy(witnesses=(PolicyWitness("a b", W[0]),)),
        WitnessPolicy(witnesses=(PolicyWitness("a\nquorum", W[0]),)),
        WitnessPolicy(witnesses=(PolicyWitness("A", W[0], "two words"),)),
        WitnessPolicy(groups=(PolicyGroup("G", 1, ("A",)),)),
        WitnessPolicy(logs=(PolicyLog(W[0]),)),
    ],
)
def test_what_could_not_be_read_is_not_written(policy: WitnessPolicy) -> None:
    with pytest.raises(Malformed):
        encode_policy(policy)


def test_the_example_is_written_line_by_line() -> None:
    policy = read(TWO_LEVELS)
    keywords = [line.split()[0] for line in encode_policy(policy).decode().splitlines()]
    assert keywords == ["log"] + ["witness"] * 6 + ["group"] * 3 + ["quorum"]
