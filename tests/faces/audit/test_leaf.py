"""A page per leaf: its bytes, its words, every hash to the root; and commands that really do it."""

import html
import re
import subprocess
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from werkzeug.serving import make_server

from registry.protocol.merkle import check_inclusion, leaf_hash
from registry.protocol.proof import decode_proof
from tests.clock import FakeClock
from tests.faces.audit.conftest import Reading
from tests.public_tree import DAY, PublicTree
from tests.running import free_port


def signed_root(tree: PublicTree) -> bytes:
    """The root in the newest checkpoint."""
    return b64decode(tree.files["log/checkpoint"].split(b"\n")[2])


def commands_of(page: str) -> str:
    """The commands with foreign tools, as they are copied."""
    found = re.search(r'<pre tabindex="0" id="foreign">(.*?)</pre>', page, re.S)
    assert found
    return html.unescape(found[1])


def test_every_leaf_has_a_page_that_ends_at_the_root(reading: Reading, tree: PublicTree) -> None:
    root = tree.files["log/checkpoint"].decode().split("\n")[2]
    for number, entry in enumerate(tree.shard.entries):
        page = reading.get(f"/audit/leaf/2026/{number}")
        assert "This is the root that the checkpoint signs." in page
        assert root in page
        assert leaf_hash(entry).hex() in page
    assert reading.status(f"/audit/leaf/2026/{len(tree.shard.entries)}") == 404
    assert reading.status("/audit/leaf/2025/0") == 404


def test_the_bytes_are_the_very_bytes(reading: Reading, tree: PublicTree) -> None:
    page = reading.get("/audit/leaf/2026/3")
    dump = re.search(r'<pre class="dump" tabindex="0">(.*?)</pre>', page, re.S)
    assert dump
    lines = html.unescape(dump[1]).splitlines()
    assert b"".join(bytes.fromhex(line[6:53]) for line in lines) == tree.shard.entries[3]


def test_the_bytes_lie_where_the_page_says(reading: Reading, tree: PublicTree) -> None:
    for number, entry in enumerate(tree.shard.entries):
        page = reading.get(f"/audit/leaf/2026/{number}")
        place = re.search(r'byte (\d+) of\s+<a href="/(log/[^"]+)">', page)
        assert place
        content = tree.files[place[2]]
        assert content[int(place[1]) :].startswith(entry)


def test_the_proof_file_is_a_proof_of_the_leaf(reading: Reading, tree: PublicTree) -> None:
    answer = reading.client.get("/audit/leaf/2026/5.tlog-proof")
    proof = decode_proof(answer.get_data())
    assert proof.extra == tree.shard.entries[5]
    assert proof.checkpoint == tree.files["log/checkpoint"]
    leaf = leaf_hash(tree.shard.entries[5])
    check_inclusion(index=5, size=tree.shard.size, leaf=leaf, path=proof.path, root=signed_root(tree))


def test_a_damaged_tile_is_never_shown_as_a_proof(clock: FakeClock) -> None:
    tree = PublicTree(clock)
    tree.next_window()
    (tile,) = [path for path in tree.files if "/tile/0/" in path and path.endswith(f"/{tree.shard.size}")]
    tree.files[tile] = bytes(len(tree.files[tile]))
    assert Reading(tree).status("/audit/leaf/2026/3") == 503


def test_a_leaf_of_an_earlier_year_is_proven_in_that_years_log(clock: FakeClock) -> None:
    clock.advance((365 - 167) * DAY)
    tree = PublicTree(clock)
    while tree.year == 2026:
        tree.next_window()
    reading = Reading(tree)
    last = len(tree.shards[2026].entries) - 1
    assert "end of the year’s log" in reading.get(f"/audit/leaf/2026/{last}")
    assert "beginning of the year’s log" in reading.get("/audit/leaf/2027/0")
    assert "This is the root that the checkpoint signs." in reading.get("/audit/leaf/2026/7")


@contextmanager
def served(tree: PublicTree) -> Iterator[Reading]:
    """The pages at an address of their own."""
    port = free_port()
    reading = Reading(tree, f"http://127.0.0.1:{port}")
    server = make_server("127.0.0.1", port, reading.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield reading
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("place", ["first", "in between", "last"])
def test_the_commands_with_curl_and_openssl_arrive_at_the_signed_root(
    tree: PublicTree, tmp_path: Path, system_tool: Callable[[str], str], place: str
) -> None:
    for tool in ("curl", "openssl"):
        system_tool(tool)
    number = {"first": 0, "in between": 9, "last": tree.shard.size - 1}[place]
    with served(tree) as reading:
        commands = commands_of(reading.get(f"/audit/leaf/2026/{number}"))
        # The log goes on while somebody reads the page.
        tree.next_window()
        done = run(commands, tmp_path)
    computed, signed, verdict = done.stdout.split("\n", 2)
    assert computed == signed == signed_root(tree).hex()
    assert "Signature Verified Successfully" in verdict


def test_the_commands_notice_another_leaf(
    tree: PublicTree, tmp_path: Path, system_tool: Callable[[str], str]
) -> None:
    for tool in ("curl", "openssl"):
        system_tool(tool)
    with served(tree) as reading:
        commands = commands_of(reading.get("/audit/leaf/2026/9"))
        lie = "sed -i 's/^extra ..../extra AAAA/' proof\n"
        first, rest = commands.split("\n", 1)
        done = run(f"{first}\n{lie}{rest}", tmp_path)
    computed, signed, _ = done.stdout.split("\n", 2)
    assert computed != signed


def run(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The commands as somebody pastes them into a shell."""
    return subprocess.run(["bash", "-uc", commands], cwd=folder, capture_output=True, text=True)
