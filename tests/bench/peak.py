"""`python -m tests.bench.peak COMMAND...`: runs it and prints the most memory that it ever held, in bytes.

A process of its own, and a small one: to the system the child of a large process has been as large as that
(Linux, getrusage(2)), however little it then needs itself.
"""

import os
import subprocess
import sys


def main() -> int:
    """Status of the command; prints nothing unless it is 0."""
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status == 0:
        print(used.ru_maxrss * 1024)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
