"""The programs outside Python that the suite compares the registry with, and what each is for.

Run as a module it lists them as present or missing. A missing one skips its tests with a reason, or fails
them where REGISTRY_TEST_REQUIRE_SYSTEM_TOOLS=1 (as in CI): never silently.
"""

import os
import shutil

REQUIRE_VARIABLE = "REGISTRY_TEST_REQUIRE_SYSTEM_TOOLS"

PURPOSES = {
    "chromium": "drives the portal's pages as an official's browser does",
    "protoc": "decodes export files with a protobuf implementation that is not ours",
    "openssl": "verifies signatures with an implementation that is not ours",
    "unzip": "opens export files with an implementation that is not ours",
    "curl": "follows the auditors' recipe with a client that is not ours",
    "strace": "shows what is on the disk before an answer leaves; spoils a publish at each of its calls",
    "nginx": "serves the public folder as deploy/nginx says, instead of our own face",
    "wrk": "polls nginx in the bench, fast enough not to be the limit itself",
    "softhsm2-util": "makes the PKCS#11 tokens that hold signing keys instead of files",
}

OTHER_NAMES = {"chromium": ("chromium-browser", "google-chrome")}


def find(tool: str) -> str | None:
    """Path of `tool`, a key of PURPOSES, or None if the machine lacks it."""
    candidates = (shutil.which(name) for name in (tool, *OTHER_NAMES.get(tool, ())))
    return next((path for path in candidates if path), None)


def missing() -> list[str]:
    """The tools of PURPOSES that this machine lacks, in the order of the list."""
    return [tool for tool in PURPOSES if find(tool) is None]


def required() -> bool:
    """Whether a missing tool is a failure instead of a skip."""
    return os.environ.get(REQUIRE_VARIABLE, "") == "1"


def listing() -> str:
    """A line a tool: where it is, or that it is missing, and what it is for."""
    lines = [f"  {tool:<13} {find(tool) or 'MISSING':<28} {purpose}" for tool, purpose in PURPOSES.items()]
    verdict = (
        "a missing one fails its tests" if required() else "a missing one skips its tests, with a reason"
    )
    return "\n".join([f"System tools ({verdict}):", *lines])


if __name__ == "__main__":
    print(listing())
