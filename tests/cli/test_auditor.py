"""`registry audit` as an auditor types it: on a true registry, on its folder, and on tampered copies."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from registry.app import publisher
from registry.cli.auditor import audit
from registry.cli.auditor_surroundings import Auditing
from registry.client import Answer
from registry.client.failures import NoAnswer
from registry.client.monitor.faults import FaultKind
from registry.models import ActivityEvent, Batch, IssuingCount, Receipt, open_database, transaction
from registry.protocol.encoding import encode_base64
from registry.protocol.index import LOG_CHECKPOINT_PATH, LOG_POLICY_PATH, manifest_path
from registry.protocol.receipt import LEAVES_GRAIN
from registry.protocol.trust_note import fingerprint
from tests.app_of_old import fresh_keys
from tests.client.monitor.conftest import flipped, publish_one, unsigned
from tests.client.monitor.web import Web
from tests.clock import FakeClock
from tests.public_tree import DAY, PublicTree
from tests.running import Running
from tests.world import World

HOME = "https://registry.example"
TURN_OF_2027 = 1_798_761_600


@dataclass
class Desk:
    """An auditor at a terminal, in an empty folder."""

    folder: Path
    clock: FakeClock
    web: Web = field(default_factory=lambda: Web({}))

    def __call__(self, *words: object, expect: int = 0) -> str:
        """Type `registry audit ...`; what it says on standard output."""
        return self.run(*words, expect=expect).stdout

    def run(self, *words: object, expect: int | None = 0) -> Result:
        """All that it says; with None for `expect` whatever it ends with."""
        auditing = Auditing(self.web, self.clock, lambda seconds: None)
        result = CliRunner().invoke(audit, [str(word) for word in words], obj=auditing)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert expect in (None, result.exit_code), result.output
        return result


@pytest.fixture
def desk(tmp_path: Path, clock: FakeClock) -> Desk:
    (tmp_path / "desk").mkdir()
    return Desk(tmp_path / "desk", clock)


@pytest.fixture
def tree(clock: FakeClock) -> PublicTree:
    """An honest registry with two windows that hold keys, in two regions."""
    made = PublicTree(clock)
    for number in range(1, 6):
        publish_one(made, number)
    return made


@pytest.fixture
def archive(tree: PublicTree, desk: Desk) -> Path:
    """Its public folder, archived."""
    return tree.write(desk.folder / "archive")


def public(world: World) -> Path:
    return world.settings.public_dir


# ---------------------------------------------------------------- on a true registry


def test_a_true_registry_is_good_by_every_command(world: World, desk: Desk) -> None:
    state, bundle = desk.folder / "state", desk.folder / "bundle"
    world.next_window()
    desk("follow", public(world), "--state", state)
    for _ in range(3):
        assert world.app().upload(world.issue()["code"], fresh_keys(world.clock())).status == 200
    world.next_window()
    file = public(world) / "exposures" / world.file_names()[0]

    said = desk("follow", public(world), "--state", state)
    assert "leaves more than at the last visit" in said
    assert "2 listed files are as announced (2 fetched now)" in said, "a window in two formats"
    said = desk("verify", file)
    held = {key.key_data for key in world.file(world.file_names()[0]).keys}
    assert len(held - world.decoys()) == 39
    assert f"holds {len(held)} keys" in said
    assert "phones are told to read it" in said
    assert "computed anew" in desk("recheck", public(world))
    assert "sha256sums names them all" in desk("export", public(world), bundle)
    shutil.copytree(public(world), desk.folder / "earlier")
    world.clock.advance(DAY)
    world.next_window()
    sequence = next(window["sequence"] for window in world.index()["windows"] if window["files"])
    publisher(world.settings, world.clock).withdraw("XA", sequence, "wrong_keys", "a laboratory's mistake")
    world.next_window()
    kept = bundle / "exposures" / world.settings.region / file.name
    # Its manifest is gone: nothing says any more that the leaf was about this very file.
    assert "withdrew that batch" in desk("verify", kept, "--registry", public(world), expect=1)
    assert "by a consistency proof" in desk("compare", public(world), desk.folder / "earlier")
    assert "by a consistency proof" in desk("compare", bundle, public(world))
    desk("follow", public(world), "--state", state)


def test_seven_weeks_across_the_years_turn_are_good_every_day(world: World, desk: Desk) -> None:
    world.clock.now = TURN_OF_2027 - 21.0 * DAY
    world.settings = replace(world.settings, window_seconds=DAY)
    for day in range(50):
        if day % 9 == 0:
            world.app().upload(world.issue()["code"], fresh_keys(world.clock()))
        world.next_window()
        publisher(world.settings, world.clock).retire()
        if day % 7 == 0:
            said = desk("follow", public(world), "--state", desk.folder / "state")
    assert "keys/2027" in said
    assert said.count("batches without a gap") == 1

    found = json.loads(desk("recheck", public(world), "--json"))
    assert len(found["proven"]) == 2, "both years' shards"
    anchors = re.search(r"(\d+) anchors stand in the log, (\d+) in the database", desk(*reconcile(world)))
    assert anchors is not None
    assert int(anchors[1]) == int(anchors[2]) >= 50


def test_an_evidence_bundle_stands_by_itself(world: World, desk: Desk) -> None:
    world.app().upload(world.issue()["code"], fresh_keys(world.clock()))
    world.next_window()
    desk("export", public(world), desk.folder / "bundle")
    shutil.rmtree(public(world))
    desk.clock.advance(400 * DAY)
    bundle = desk.folder / "bundle"

    assert "computed anew" in desk("recheck", bundle)
    file = next((bundle / "exposures").rglob("*.zip"))
    said = desk("verify", file)
    assert "As of" in said or "as of 2026-06-15 12:01:00 UTC" in said
    assert "show the same" in desk("compare", bundle, bundle)
    digest = sha256(file.read_bytes()).hexdigest()
    assert f"{digest}  exposures/" in (bundle / "sha256sums").read_text()
    proof = next((bundle / "proofs").rglob("*.tlog-proof")).read_bytes()
    assert proof.startswith(b"c2sp.org/tlog-proof@v1\nextra ")

    file.write_bytes(flipped(file.read_bytes()))
    assert "is not the file that was put into the bundle" in desk(
        "recheck", bundle, expect=FaultKind.FILE.exit_code
    )


def test_reconcile_holds_the_books_against_what_was_published(world: World, desk: Desk) -> None:
    for _ in range(3):
        world.app().upload(world.issue()["code"], fresh_keys(world.clock()))
    world.issue()
    world.next_window()
    world.clock.advance(DAY)
    world.next_window()

    said = desk(*reconcile(world))
    assert "4 issued, 3 redeemed, 3 certified, 3 uploaded, 3 published" in said
    found = re.search(r"3 receipts and (\d+) decoys in 2 manifests", said)
    assert found is not None
    assert (3 + int(found[1])) % LEAVES_GRAIN == 0
    assert "3 receipts name an attestation that is on record" in said
    assert "unbroken" in said
    members = json.loads(desk(*reconcile(world), "--json"))
    assert members["counts"]["certified"] == 3
    assert members["good"]


def reconcile(world: World) -> tuple[object, ...]:
    settings = world.settings
    urls = ("--issuing", settings.issuing_database_url, "--collecting", settings.collecting_database_url)
    return ("reconcile", public(world), *urls)


def a_receipt_is_lost(issuing: Session, collecting: Session) -> None:
    collecting.execute(delete(Receipt))


def a_receipt_is_rewritten(issuing: Session, collecting: Session) -> None:
    collecting.execute(update(Receipt).values(content=b"{}"))


def a_seed_is_another(issuing: Session, collecting: Session) -> None:
    collecting.execute(update(Batch).values(seed=bytes(32)))


def codes_are_struck_from_the_books(issuing: Session, collecting: Session) -> None:
    issuing.execute(update(IssuingCount).where(IssuingCount.kind == "issued").values(n=0))


def an_act_is_changed(issuing: Session, collecting: Session) -> None:
    issuing.execute(update(ActivityEvent).values(content=b"{}"))


def the_acts_are_struck(issuing: Session, collecting: Session) -> None:
    issuing.execute(delete(ActivityEvent).where(ActivityEvent.number > 1))


def a_batch_is_sealed_and_never_published(issuing: Session, collecting: Session) -> None:
    batch = collecting.scalars(select(Batch).order_by(Batch.sequence.desc())).first()
    assert batch is not None
    left_out = Batch(
        region=batch.region,
        sequence=batch.sequence + 1,
        window_start=batch.window_end - 2 * int(DAY),
        window_end=batch.window_end - int(DAY) - 60,
        state="sealed",
    )
    collecting.add(left_out)
    collecting.flush()
    collecting.execute(update(Receipt).values(batch_id=left_out.id))


def receipts_wait_in_a_region_that_has_no_windows(issuing: Session, collecting: Session) -> None:
    collecting.execute(update(Receipt).values(batch_id=None, region="QQ"))


Tamper = Callable[[Session, Session], None]

BOOKS: dict[Tamper, FaultKind] = {
    a_receipt_is_lost: FaultKind.RECEIPTS,
    a_receipt_is_rewritten: FaultKind.RECEIPTS,
    a_seed_is_another: FaultKind.RECEIPTS,
    codes_are_struck_from_the_books: FaultKind.COUNTS,
    an_act_is_changed: FaultKind.ACTIVITY,
    the_acts_are_struck: FaultKind.ACTIVITY,
    a_batch_is_sealed_and_never_published: FaultKind.RECEIPTS,
    receipts_wait_in_a_region_that_has_no_windows: FaultKind.RECEIPTS,
}


@pytest.mark.parametrize("tamper", BOOKS, ids=lambda tamper: tamper.__name__)
def test_books_that_were_tampered_with_do_not_fit(tamper: Tamper, world: World, desk: Desk) -> None:
    world.app().upload(world.issue()["code"], fresh_keys(world.clock()))
    world.issue()
    world.next_window()
    tampered(world, tamper)

    said = json.loads(desk.run(*reconcile(world), "--json", expect=None).stdout)
    assert BOOKS[tamper].word in {fault["kind"] for fault in said["faults"]}


def tampered(world: World, tamper: Tamper) -> None:
    settings = world.settings
    engines = [
        open_database(url) for url in (settings.issuing_database_url, settings.collecting_database_url)
    ]
    with transaction(Session(engines[0])) as issuing, transaction(Session(engines[1])) as collecting:
        tamper(issuing, collecting)
    for engine in engines:
        engine.dispose()


def test_books_that_nothing_could_be_compared_with_are_not_good(world: World, desk: Desk) -> None:
    """Every manifest is taken away: while they are young that is a fault, later on the tool cannot tell."""
    world.app().upload(world.issue()["code"], fresh_keys(world.clock()))
    world.next_window()
    desk(*reconcile(world))
    for manifest in (public(world) / "exposures").rglob("manifest/*.json"):
        manifest.unlink()

    assert "is not there, though the batch has not expired" in desk(
        *reconcile(world), expect=FaultKind.MANIFEST.exit_code
    )
    world.clock.advance(10 * DAY)
    world.next_window()
    desk(*reconcile(world), expect=FaultKind.MANIFEST.exit_code)
    world.clock.advance(12 * DAY)
    world.next_window()
    said = json.loads(desk(*reconcile(world), "--json", expect=1))
    assert (said["good"], said["complete"]) == (False, False)
    assert any("Not checked: 1 receipts of batch" in sentence for sentence in said["not_proven"])


def test_receipts_that_wait_are_missed_when_no_window_is_closed_any_more(world: World, desk: Desk) -> None:
    world.next_window()
    world.app().upload(world.issue()["code"], fresh_keys(world.clock()))
    desk(*reconcile(world))
    at = datetime.fromtimestamp(world.clock() + 2 * DAY, UTC).isoformat()
    said = json.loads(desk.run(*reconcile(world), "--at", at, "--json", expect=None).stdout)

    assert "pending receipts of XA" in [one["where"] for one in said["faults"] if one["kind"] == "receipts"]


def test_without_databases_reconcile_says_what_is_missing(world: World, desk: Desk) -> None:
    world.next_window()
    assert "Neither database was given" in desk("reconcile", public(world), expect=1)
    url = world.settings.collecting_database_url
    said = desk("reconcile", public(world), "--collecting", url, expect=1)
    assert "the issuing database was not given (--issuing)" in said
    assert "receipts" in said
    wrong = desk.run("reconcile", public(world), "--issuing", "sqlite:////nowhere/at/all", expect=1)
    assert "cannot be read" in wrong.stderr


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    # Longer than the looks of one visit lie apart, so that no two of them meet a publisher at work.
    registry = Running(tmp_path / "var", REGISTRY_WINDOW_SECONDS="15")
    yield registry
    if registry.process is not None and registry.process.poll() is None:
        registry.stop()


def test_a_running_registry_is_followed_over_http(running: Running, tmp_path: Path) -> None:
    running.start()
    home = f"http://127.0.0.1:{running.port}"
    shown = running.first_run["trust_fingerprint"]

    def typed(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "registry.cli", "audit", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    follow = ("follow", home, "--once", "--state", str(tmp_path / "state"), "--fingerprint", shown, "--json")
    for _ in range(2):
        done = typed(*follow)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["good"]
    running.wait_until(lambda: b'"sequence":0' not in running.get("/exposures/XA/index.json"))
    for words in (
        ("recheck", home),
        ("export", home, str(tmp_path / "bundle")),
        ("compare", str(tmp_path / "bundle"), home),
    ):
        done = typed(*words)
        assert done.returncode == 0, done.stdout + done.stderr
    assert typed("recheck", str(tmp_path / "bundle")).returncode == 0
    wrong = typed("follow", home, "--state", str(tmp_path / "other"), "--fingerprint", "0" * 32)
    assert wrong.returncode == FaultKind.SIGNATURE.exit_code
    running.stop()
    silent = typed("recheck", home)
    assert silent.returncode == 1
    assert "Traceback" not in silent.stderr


# ---------------------------------------------------------------- codes, words, JSON


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("verify",),
        ("follow", "x"),
        ("follow", "x", "--state", "y", "--once", "--every", "60"),
        ("follow", "x", "--state", "y", "--every", "0"),
        ("frob",),
        ("verify", "no-such-file"),
        ("compare", "a"),
        ("--frob",),
        ("recheck", "no-such-folder"),
        ("recheck", "https://"),
        ("recheck", "x", "--policy", "nothing"),
        ("recheck", "x", "--at", "yesterday"),
        ("recheck", "x", "--at", "2026-06-13T12:00:00"),
        ("recheck", "x", "--at", "0001-01-01T00:00:00+14:00"),
        ("recheck", "x", "--at", "1969-12-31T23:59:59Z"),
        ("recheck", "x", "--at", "9999-12-31T23:59:59Z"),
    ],
    ids=str,
)
def test_wrong_use_ends_with_1(words: tuple[str, ...], desk: Desk) -> None:
    result = CliRunner().invoke(audit, list(words), obj=Auditing(desk.web, desk.clock))
    assert result.exit_code in ((0, 1, 2) if not words else (1,)), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    "words",
    [
        ("recheck", "no-such-folder"),
        ("follow", "no-such-folder", "--state", "s"),
        ("recheck", "https://"),
        ("recheck", "x", "--at", "yesterday"),
        ("export", "ARCHIVE", "ARCHIVE"),
        ("verify", "ARCHIVE/log/checkpoint", "--registry", "no-such-folder"),
    ],
    ids=str,
)
def test_programs_are_told_that_nothing_can_be_told(
    words: tuple[str, ...], archive: Path, desk: Desk
) -> None:
    typed = [word.replace("ARCHIVE", str(archive)) for word in words]
    result = desk.run(*typed, "--json", expect=1)
    said = json.loads(result.stdout)

    assert (said["command"], said["exit_code"]) == (words[0], 1)
    assert not said["good"]
    assert said["reason"] in result.stderr
    assert len(result.stdout.splitlines()) == 1


def test_a_past_year_that_is_gone_is_found_by_every_command(tree: PublicTree, desk: Desk) -> None:
    content = tree.files[tree.names(".zip")[0]]
    tree.clock.advance(200 * DAY)
    publish_one(tree, 6)
    folder = tree.write(desk.folder / "archive")
    desk("recheck", folder)
    shutil.copytree(folder, desk.folder / "tampered")
    bundle = next((desk.folder / "tampered/log/2026/tile/entries/000.p").iterdir())
    bundle.write_bytes(b"")
    assert str(bundle.relative_to(desk.folder / "tampered")) in desk(
        "recheck", desk.folder / "tampered", expect=FaultKind.DAMAGED_LOG.exit_code
    )
    shutil.rmtree(folder / "log/2026")
    (desk.folder / "a.zip").write_bytes(content)
    for words in (
        ("recheck", folder),
        ("follow", folder, "--state", desk.folder / "state"),
        ("export", folder, desk.folder / "bundle"),
        ("verify", desk.folder / "a.zip", "--registry", folder),
    ):
        desk(*words, expect=FaultKind.DAMAGED_LOG.exit_code)
    assert "log/2026/checkpoint" in desk("recheck", folder, expect=FaultKind.DAMAGED_LOG.exit_code)


def test_recheck_reads_the_names_of_foreign_tools_too(tree: PublicTree, desk: Desk) -> None:
    name = next(name for name in tree.names(f".p/{tree.shard.size}") if "tile/0/" in name)
    alias = name.replace("/2026", "", 1)
    tree.files[alias] = flipped(tree.files[name])

    assert alias in desk("recheck", tree.write(desk.folder / "bad"), expect=FaultKind.DAMAGED_LOG.exit_code)


def test_a_bundle_of_a_registry_that_holds_something_back_is_made_and_says_so(
    tree: PublicTree, desk: Desk
) -> None:
    tree.clock.advance(5 * DAY)
    tree.heartbeat()
    publish_one(tree, 7)
    withheld = manifest_path("XA", sha256(tree.batches["XA"][0].manifest_bytes).hexdigest())
    gone = Answer(500, {}, b"")
    desk.web = Web({HOME: tree.read}, {f"{HOME}/{withheld}": [Answer(404, {}, b""), *[gone] * 4]})
    out = desk.folder / "bundle"
    said = desk("export", HOME, out, expect=1)

    assert f"{withheld} was not given out" in said
    assert (out / "sha256sums").is_file()
    assert not json.loads((out / "report.json").read_text())["complete"]


def test_a_fault_is_told_with_its_class_and_its_code(archive: Path, desk: Desk) -> None:
    name = next((archive / "exposures").rglob("*.zip"))
    name.unlink()
    result = desk.run("follow", archive, "--state", desk.folder / "state", expect=FaultKind.FILE.exit_code)

    assert f"file: {name.relative_to(archive).as_posix()}: is listed and is not there" in result.stdout
    assert "exit code 13" in result.stdout
    (fault,) = json.loads(
        desk("follow", archive, "--state", desk.folder / "state", "--json", expect=FaultKind.FILE.exit_code)
    )["faults"]
    assert (fault["kind"], fault["exit_code"]) == ("file", 13)


def test_several_faults_are_all_told_and_the_gravest_decides(tree: PublicTree, desk: Desk) -> None:
    tree.bend["batch"] = lambda leaf: leaf.__class__(
        **{name: getattr(leaf, name) for name in leaf.__slots__ if name != "previous"}, previous=bytes(32)
    )
    publish_one(tree, 7)
    del tree.files[tree.names(".zip")[0]]
    folder = tree.write(desk.folder / "bad")
    found = json.loads(
        desk("follow", folder, "--state", desk.folder / "s", "--json", expect=FaultKind.GAP.exit_code)
    )

    assert {fault["kind"] for fault in found["faults"]} == {"gap", "file"}


@pytest.mark.parametrize("what", ["entries", "tile/0/", "checkpoint"])
def test_recheck_names_the_file_with_the_flipped_byte(what: str, tree: PublicTree, desk: Desk) -> None:
    names = (
        [f"log/2026/{what}"]
        if what == "checkpoint"
        else [name for name in tree.names(f".p/{tree.shard.size}") if what in name]
    )
    tree.files[names[0]] = (
        unsigned(tree.files[names[0]]) if what == "checkpoint" else flipped(tree.files[names[0]], 3)
    )
    folder = tree.write(desk.folder / "bad")
    kind = FaultKind.SIGNATURE if what == "checkpoint" else FaultKind.DAMAGED_LOG

    assert names[0] in desk("recheck", folder, expect=kind.exit_code)


def test_conflicting_notes_are_printed_and_kept_as_evidence(tree: PublicTree, desk: Desk) -> None:
    one = tree.write(desk.folder / "one")
    other = PublicTree(FakeClock())
    for number in range(1, 6):
        other.next_window({"XA": other.keys(number)})
    second = other.write(desk.folder / "other")
    assert other.shard.size == tree.shard.size
    evidence = desk.folder / "evidence"
    said = desk("compare", one, second, "--evidence", evidence, expect=FaultKind.SPLIT_VIEW.exit_code)

    for note in (tree.shard.note, other.shard.note):
        assert note.decode().splitlines()[2] in said
    kept = sorted(evidence.iterdir())
    assert [path.read_bytes() for path in kept] == [tree.shard.note, other.shard.note]
    policy = desk.folder / "policy"
    policy.write_bytes(tree.files[LOG_POLICY_PATH])
    desk("compare", *kept, "--policy", policy, expect=FaultKind.SPLIT_VIEW.exit_code)
    assert "--policy" in desk.run("compare", *kept, expect=1).stderr


def test_an_own_policy_and_a_fingerprint_are_heeded(tree: PublicTree, archive: Path, desk: Desk) -> None:
    strict = desk.folder / "strict"
    content = tree.files[LOG_POLICY_PATH].decode()
    strict.write_text(content.replace("group witnesses 2", "group witnesses 3"))
    state = ("--state", desk.folder / "state")
    desk("follow", archive, *state, "--policy", strict, "--fingerprint", fingerprint(tree.root.key.vkey))
    desk("follow", archive, *state, "--fingerprint", "0" * 32, expect=FaultKind.SIGNATURE.exit_code)
    strict.write_text("quorum nobody\n")
    assert "not defined" in desk.run("follow", archive, *state, "--policy", strict, expect=1).stderr


def test_ages_are_judged_as_of_the_time_that_is_given(archive: Path, desk: Desk) -> None:
    desk.clock.advance(100 * DAY)

    desk("follow", archive, "--state", desk.folder / "a", expect=FaultKind.TRUST.exit_code)
    desk("follow", archive, "--state", desk.folder / "b", "--at", "2026-06-15T17:00:00Z")


# ---------------------------------------------------------------- following


def test_hooks_are_told_of_each_new_fault_once(archive: Path, desk: Desk) -> None:
    hooks = desk.folder / "hooks"
    hooks.mkdir()
    (hooks / "tell").write_text(f"#!/bin/sh\ncat >> {desk.folder / 'told'}\n")
    (hooks / "tell").chmod(0o755)
    (hooks / "broken").write_text("#!/bin/sh\nexit 3\n")
    (hooks / "broken").chmod(0o755)
    (hooks / "not-a-program").write_text("x")
    words = ("follow", archive, "--state", desk.folder / "state", "--hooks", hooks)
    desk(*words)
    assert not (desk.folder / "told").exists()
    next((archive / "exposures").rglob("*.zip")).unlink()
    for _ in range(2):
        result = desk.run(*words, expect=FaultKind.FILE.exit_code)
    told = [json.loads(line) for line in (desk.folder / "told").read_text().splitlines()]

    assert [one["kind"] for one in told] == ["file"]
    assert told[0]["source"] == str(archive)
    assert "broken" not in result.stderr


def test_metrics_say_size_age_lag_and_gaps(clock: FakeClock, desk: Desk) -> None:
    tree = PublicTree(clock, monitoring=True)
    publish_one(tree, 2)
    tree.witnesses[2].awake = False
    publish_one(tree, 4)
    desk.web = Web({HOME: tree.read, **{f"https://{one.name}": one.read for one in tree.witnesses}})
    clock.advance(120)
    metrics = desk.folder / "metrics.prom"
    desk("follow", HOME, "--state", desk.folder / "state", "--metrics", metrics)
    lines = metrics.read_text().splitlines()

    assert f'registry_audit_tree_size{{year="2026"}} {tree.shard.size}' in lines
    assert "registry_audit_cosignature_age_seconds 120" in lines
    assert 'registry_audit_witness_lag{witness="w3"} 3' in lines
    assert "registry_audit_seq_gap_total 0" in lines
    assert 'registry_audit_faults{kind="gap"} 0' in lines


def test_following_goes_on_until_it_is_interrupted(tree: PublicTree, desk: Desk) -> None:
    desk.web = Web({HOME: tree.read})
    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt
        publish_one(tree, 5 + len(waits))

    auditing = Auditing(desk.web, desk.clock, pause)
    words = ["follow", HOME, "--state", str(desk.folder / "state"), "--every", "60", "--json"]
    result = CliRunner().invoke(audit, words, obj=auditing)
    visits = [json.loads(line) for line in result.stdout.splitlines()]

    assert result.exit_code == 0
    assert waits == [60.0] * 3
    assert [visit["new_leaves"] for visit in visits] == [tree.shard.size - 6, 3, 3]


def test_following_outlives_a_registry_that_is_down(tree: PublicTree, desk: Desk) -> None:
    desk.web = Web({HOME: tree.read}, {f"{HOME}/.well-known/exposure-registry.json": [NoAnswer("down")] * 4})
    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        if waits.count(60.0) == 2:
            raise KeyboardInterrupt

    words = ["follow", HOME, "--state", str(desk.folder / "state"), "--every", "60", "--json"]
    result = CliRunner().invoke(audit, words, obj=Auditing(desk.web, desk.clock, pause))

    assert result.exit_code == 0
    assert "down" in result.stderr
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["good"], first["exit_code"]) == (False, 1)
    assert second["good"]


# ---------------------------------------------------------------- one file, one receipt


def test_verify_needs_to_know_whose_file_it_is(tree: PublicTree, archive: Path, desk: Desk) -> None:
    file = desk.folder / "a.zip"
    file.write_bytes(tree.files[tree.names(".zip")[0]])

    assert "--registry" in desk.run("verify", file, expect=1).stderr
    assert "Good" in desk("verify", file, "--registry", archive)
    desk.web = Web({HOME: tree.read})
    assert "Good" in desk("verify", file, "--registry", HOME)
    (desk.folder / "proof").write_bytes(tree.files["exposures/CN-HB/index.json.tlog-proof"])
    assert "Good" in desk("verify", file, "--registry", archive, "--proof", desk.folder / "proof")
    file.write_bytes(b"PK no zip")
    desk("verify", file, "--registry", archive, expect=FaultKind.MALFORMED.exit_code)


def test_a_receipt_is_looked_for(tree: PublicTree, archive: Path, desk: Desk) -> None:
    content = tree.batches["XA"][1].receipts[0]
    printed = {"content": content.decode(), "commitment": encode_base64(sha256(content).digest())}
    file = desk.folder / "receipts.json"
    file.write_text(json.dumps({"receipts": [printed]}))

    assert "in batch 2 of XA" in desk("receipt", file, archive)
    other = content.replace(b'"consent_version":"1"', b'"consent_version":"2"')
    printed = {"content": other.decode(), "commitment": encode_base64(sha256(other).digest())}
    file.write_text(json.dumps(printed))
    assert "No manifest" in desk("receipt", file, archive, expect=1)
    file.write_text("{}")
    assert "receipt" in desk.run("receipt", file, archive, expect=1).stderr


def test_an_export_goes_into_an_empty_folder_only(archive: Path, desk: Desk) -> None:
    assert "not empty" in desk.run("export", archive, archive, expect=1).stderr
    (archive / LOG_CHECKPOINT_PATH).unlink()
    desk("export", archive, desk.folder / "bundle", expect=FaultKind.DAMAGED_LOG.exit_code)
    assert not (desk.folder / "bundle").exists()
