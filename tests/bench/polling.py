"""How many phones nginx can tell in a second that nothing is new, under the configuration that is shipped."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import requests

from registry.protocol.serving import file_time, known_tags, serving_of
from registry.storage.served_folder import ServedFolder
from tests import system_tools
from tests.bench.measure import Measurement, Pair, Target
from tests.nginx import free_port, lay_out, serving

INDEX = "exposures/XA/index.json"
CONTENT = Random(1).randbytes(30_000).hex().encode()
"""As long as an index of 14 days of hours."""
CONNECTIONS = 32
SECONDS = 3

STATIC = """
    server {{
        listen 127.0.0.1:{port};
        access_log off;
        root {public};
    }}
"""


@contextmanager
def _polls() -> Iterator[Pair]:
    """One nginx of one process with two hosts: ours, and a plain one for the same folder."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="registry-bench-")))
        public = folder / "public"
        storage = ServedFolder(
            public, file_time=file_time, is_compressed=lambda path: serving_of(path).compressed
        )
        storage.replace(INDEX, CONTENT)
        ours, plain = free_port(), free_port()
        main = lay_out(folder, public, ours, more=STATIC.format(port=plain, public=public))
        stack.enter_context(serving(_tool("nginx"), main, ours))
        url = f"http://127.0.0.1:{plain}/{INDEX}"
        own_tag = requests.get(url, timeout=10, headers={"Accept-Encoding": "identity"}).headers["ETag"]
        yield Pair(
            partial(_answers_a_second, f"http://127.0.0.1:{ours}/{INDEX}", known_tags(CONTENT)),
            partial(_answers_a_second, url, own_tag),
        )


def _answers_a_second(url: str, tag: str) -> float:
    """304s a second to as many connections as are open, each asking again once it is answered."""
    headers = {"If-None-Match": tag, "Accept-Encoding": "gzip"}
    status = requests.get(url, headers=headers, timeout=10).status_code
    if status != 304:
        raise RuntimeError(f"{url} answers {status}, not 304")
    command = [_tool("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    said = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s*([0-9.]+)", said)
    if found is None or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"wrk: {said}")
    return float(found[1])


def _tool(name: str) -> str:
    path = system_tools.find(name)
    if path is None:
        raise RuntimeError(f"{name} is not installed: it {system_tools.PURPOSES[name]}")
    return path


MEASUREMENTS = (
    Measurement(
        name="index_poll_nginx_304_per_second",
        unit="answers/s",
        against=(
            f"the same nginx (one process), a plain host for the same folder, its own ETag; wrk, "
            f"{CONNECTIONS} connections. Ours: the shipped configuration, the tags that a phone computes"
        ),
        target=Target(0.9),
        prepare=_polls,
        # One run of either differs from the next by a tenth and more.
        runs=11,
        full=True,
    ),
)
