"""Witnesses, changes and downloads."""

import re

from registry.protocol.log_list import decode_log_list
from registry.protocol.note import KeyKind, decode_vkey
from registry.protocol.trust_note import fingerprint
from tests.clock import FakeClock
from tests.faces.audit.conftest import Reading
from tests.public_tree import PublicTree, log_signers


def test_each_witness_stands_there_with_key_size_and_lag(reading: Reading, tree: PublicTree) -> None:
    tree.clock.advance(600)
    page = reading.get("/audit/witnesses")
    for witness in tree.witnesses:
        assert witness.signer.key.vkey in page
    assert page.count(f"<td>{tree.shard.size}</td>") == 3
    assert page.count("<td>10 minutes</td>") == 3
    assert "2 of 3 witnesses must cosign" in page
    assert "Any two quorums share at least 1 witness." in page


def test_a_witness_that_did_not_cosign_is_named_as_such(clock: FakeClock) -> None:
    tree = PublicTree(clock)
    tree.witnesses[1].awake = False
    tree.next_window()
    page = Reading(tree).get("/audit/witnesses")
    assert page.count("has not cosigned the newest checkpoint") == 1
    assert "For the newest one they have." in page


def test_a_quorum_that_only_detects_is_not_called_more(clock: FakeClock) -> None:
    tree = PublicTree(clock, witnesses=5, quorum=2)
    tree.next_window()
    assert "detects a split view, and does not prevent it" in Reading(tree).get("/audit/witnesses")


def test_changes_tell_every_key_and_every_policy(reading: Reading, tree: PublicTree) -> None:
    tree.rotate_exporter()
    page = reading.get("/audit/changes")
    changes = [n for n, entry in enumerate(tree.shard.entries) if re.search(rb'"type":"(key|policy)"', entry)]
    shown = [int(n) for n in re.findall(r'<th scope="row"><a href="/audit/leaf/2026/(\d+)">', page)]
    assert shown == changes[::-1]
    assert "XA_export-2" in page


def test_the_fingerprint_is_shown_to_be_compared(reading: Reading, tree: PublicTree) -> None:
    assert fingerprint(tree.root.key.vkey) in reading.get("/audit/downloads")


def test_the_keys_and_the_log_list_are_those_of_the_trust_material(
    reading: Reading, tree: PublicTree
) -> None:
    keys = [decode_vkey(line) for line in reading.get("/audit/vkeys.txt").split()]
    assert keys == tree.log_keys()
    listed = decode_log_list(reading.get("/audit/log-list.txt").encode())
    assert [log.key for log in listed] == [key for key in keys if key.kind == KeyKind.ED25519]
    assert listed[0].origin == log_signers(2026)[0].name
    assert listed[0].queries_per_day >= 144


def test_what_is_linked_is_there(reading: Reading, tree: PublicTree) -> None:
    """Every link of every page leads to a page of this face or to a public file."""
    seen, waiting = set(), ["/audit/"]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        answer = reading.client.get(path)
        assert answer.status_code in (200, 403), path
        if not answer.headers["Content-Type"].startswith("text/html"):
            continue
        for link in re.findall(r'(?:href|src)="(/[^"#]*)"', answer.text):
            if link.startswith("/audit") and link not in seen | set(waiting):
                waiting.append(link)
            elif not link.startswith("/audit") and link not in ("/", "/portal/"):
                assert link.lstrip("/") in tree.files, f"{path} links to {link}"
    assert len(seen) > 40
