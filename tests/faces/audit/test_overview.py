"""The overview: what it says of a log in order, and of one that is not."""

import re

from registry.protocol.note import Note
from registry.protocol.trust_note import fingerprint
from tests.clock import FakeClock
from tests.faces.audit.conftest import BASE_URL, Reading
from tests.public_tree import DAY, HOUR, PublicTree

MINUTES = 60


def words(page: str) -> str:
    """The page's text, without marks."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_a_log_in_order_has_size_root_quorum_ages_and_no_alarm(reading: Reading, tree: PublicTree) -> None:
    tree.clock.advance(25 * MINUTES)
    page = reading.get("/audit/")
    said = words(page)
    assert "No alarms" in said
    assert f"{len(tree.shard.entries)} leaves" in said
    assert tree.origin in said
    assert "25 minutes old" in said
    assert "2 of 3 met" in said
    assert "a split view takes 1 dishonest witness" in said
    assert fingerprint(tree.root.key.vkey) in said
    assert f"registry audit follow {BASE_URL} --state" in page
    for region in tree.regions:
        assert f'href="/exposures/{region}/index.json.tlog-proof"' in page


def test_the_root_is_the_one_that_the_checkpoint_signs(reading: Reading, tree: PublicTree) -> None:
    checkpoint = tree.files["log/checkpoint"].decode().split("\n")
    assert checkpoint[2] in reading.get("/audit/")


def test_a_new_checkpoint_is_seen_at_once(reading: Reading, tree: PublicTree) -> None:
    before = len(tree.shard.entries)
    assert f"{before} leaves" in words(reading.get("/audit/"))
    tree.next_window()
    assert f"{len(tree.shard.entries)} leaves" in words(reading.get("/audit/"))
    assert len(tree.shard.entries) > before


def test_what_was_read_is_not_read_again(reading: Reading, tree: PublicTree) -> None:
    reading.get("/audit/")
    reading.storage.reads.clear()
    reading.get("/audit/batches")
    assert not [path for path in reading.storage.reads if "/tile/" in path or "/manifest/" in path]


def test_an_old_cosignature_is_late_and_then_an_alarm(reading: Reading, tree: PublicTree) -> None:
    tree.clock.advance(5 * HOUR)
    assert "The newest cosignature or index is too old" not in reading.get("/audit/")
    tree.clock.advance(3 * DAY)
    page = reading.get("/audit/")
    assert "The newest cosignature or index is too old" in page
    assert "No alarms" not in page


def test_a_missing_quorum_is_an_alarm(clock: FakeClock) -> None:
    tree = PublicTree(clock)
    for witness in tree.witnesses[:2]:
        witness.awake = False
    tree.next_window()
    said = words(Reading(tree).get("/audit/"))
    assert "The witnesses’ quorum is missing" in said
    assert "2 of 3 missing" in said


def test_a_policy_without_witnesses_is_called_what_it_is(clock: FakeClock) -> None:
    tree = PublicTree(clock, witnesses=0, quorum=0)
    tree.next_window()
    said = words(Reading(tree).get("/audit/"))
    assert "no witnesses a split view is seen only by comparing two views" in said
    assert "The policy asks for no witness." in Reading(tree).get("/audit/witnesses")


def test_a_listed_file_that_is_gone_is_an_alarm(reading: Reading, tree: PublicTree) -> None:
    (gone, *_) = tree.names("-00001.zip")
    del tree.files[gone]
    page = reading.get("/audit/")
    assert "A listed file is missing or different" in page
    assert gone in page


def test_trust_material_about_to_expire_is_told_beforehand(reading: Reading, tree: PublicTree) -> None:
    assert tree.trust_note is not None
    tree.clock.advance(tree.trust_note.expires_at - tree.clock() - 6 * DAY)
    tree.heartbeat()
    assert "The trust note expires soon" in reading.get("/audit/")


def test_a_forged_cosignature_condemns_the_checkpoint(clock: FakeClock) -> None:
    def forge(note: Note) -> Note:
        *lines, last = note.signatures
        forged = last.signature[:-1] + bytes([last.signature[-1] ^ 1])
        return Note(note.text, (*lines, type(last)(last.name, last.key_id, forged)))

    tree = PublicTree(clock, bend={"cosignatures": forge})
    tree.next_window()
    answer = Reading(tree).client.get("/audit/")
    assert answer.status_code == 503
    assert "The log cannot be shown" in answer.text
    assert "does not verify" in answer.text


def test_before_the_first_checkpoint_the_page_says_so(clock: FakeClock) -> None:
    tree = PublicTree(clock)
    tree.files.clear()
    answer = Reading(tree).client.get("/audit/")
    assert answer.status_code == 503
    assert "Nothing has been published yet" in answer.text


def test_a_damaged_log_is_no_blank_page(clock: FakeClock) -> None:
    tree = PublicTree(clock)
    tree.next_window()
    (bundle,) = [path for path in tree.files if f"tile/entries/000.p/{len(tree.shard.entries)}" in path]
    tree.files[bundle] = tree.files[bundle].replace(b'"v":1', b'"v":2', 1)
    answer = Reading(tree).client.get("/audit/")
    assert answer.status_code == 503
    assert "The log cannot be shown" in answer.text


def test_charts_have_titles_descriptions_and_the_same_numbers_in_a_table(
    reading: Reading, tree: PublicTree
) -> None:
    page = reading.get("/audit/")
    assert page.count('role="img"') == 4
    for name in ("batches", "keys", "sizes", "delays"):
        assert f'aria-labelledby="chart-{name}-title chart-{name}-desc"' in page
        assert f'<title id="chart-{name}-title">' in page
    # Three and twelve keys on one day; two of eight windows held any.
    assert "2026-06-15: keys 15" in page
    assert "<td>15</td>" in page
    assert "2026-06-15: with keys 2" in page
    assert "2026-06-15: without keys 6" in page
