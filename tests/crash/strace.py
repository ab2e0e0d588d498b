"""strace, to see a process's file system calls and to spoil one of them.

Only the main thread of the process that it is given is watched. An error takes the place of the call; a kill
comes before the call, so that to be killed after a call is to be killed before the next.
"""

import re
import subprocess
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self

CALLS = (
    *("openat", "mkdir", "rename", "link", "unlink", "rmdir", "ftruncate", "fallocate", "fchmod"),
    *("write", "pwrite64", "fsync", "fdatasync", "read", "pread64", "getdents64", "lseek", "fcntl", "flock"),
    *("newfstatat", "fstat", "access", "mmap", "close"),
)
"""Every call by which the publisher, Python's and SQLite's code in it, reach files."""

_CALL = re.compile(r"^(\w+)\(")


@dataclass(frozen=True)
class Call:
    """The `number`-th call of this name that a process makes, from 1 on; `line` is what strace said of it."""

    name: str
    number: int
    line: str


class Unwatchable(Exception):
    """strace may not watch that process here."""


class Strace:
    """strace at work on one process, writing to `output`. Ends with the process."""

    def __init__(self, program: str, pid: int, output: Path, *options: str) -> None:
        command = [program, "-y", "-s", "0", "-o", str(output), *options, "-p", str(pid)]
        self.output = output
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        said = self._process.stderr.readline()
        if "ttached" not in said:
            self._process.kill()
            self._process.communicate()
            raise Unwatchable(said.strip())
        # Nobody reads on, and a full pipe would hold strace up.
        self._reader = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._reader.start()

    @classmethod
    def listing(cls, program: str, pid: int, output: Path) -> Self:
        """Only watch."""
        return cls(program, pid, output, "-e", f"trace={','.join(CALLS)}")

    @classmethod
    def injecting(cls, program: str, pid: int, output: Path, call: Call, fault: str) -> Self:
        """Spoil one call by `fault`, such as `error=EIO`."""
        return cls(program, pid, output, "-e", f"inject={call.name}:{fault}:when={call.number}")

    def lines(self) -> list[str]:
        """What it said, once the process is gone."""
        self._process.wait()
        self._reader.join()
        return self.output.read_text(errors="replace").splitlines()


def calls_in(lines: list[str], folder: Path) -> list[Call]:
    """The calls that have to do with `folder`, each numbered among all of its name."""
    counts: Counter[str] = Counter()
    found = []
    for line in lines:
        if match := _CALL.match(line):
            name = match[1]
            counts[name] += 1
            if str(folder) in line:
                found.append(Call(name, counts[name], line))
    return found


def was_injected(lines: list[str]) -> bool:
    """Whether the process came to the call that was to be spoilt."""
    return any("(INJECTED)" in line or line.startswith("+++ killed by") for line in lines)
