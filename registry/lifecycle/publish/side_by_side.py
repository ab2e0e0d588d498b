"""Several regions' files, and the two formats of each, are made side by side; only one asks the database.

What a region needs done is a `Work`: it reads and records rows itself, and hands over as jobs what asks the
database nothing. Jobs run in threads: most of their time goes into compressing, hashing and waiting for the
storage, in which threads do not hold each other up. No session ever gets into a thread of these.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from registry.lifecycle.publish.apart import Failures
from registry.protocol.manifest import ManifestFile

MOST_JOBS_AT_ONCE = 2
"""A job may hold a whole file of existing phones a few times over: more of them cost more than they win."""

_REGIONS_AT_ONCE = MOST_JOBS_AT_ONCE + 1
"""How many regions' keys lie spooled: the next one's are read while files of these are made."""

Job = Callable[[], list[ManifestFile]]
Work = Generator[Sequence[Job], list[ManifestFile], None]
"""Yields jobs, and gets the files that they made, in the jobs' order, or what the first that failed raised.
No transaction is open at a yield."""


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A region's work that waits for its jobs."""

    region: str
    work: Work
    jobs: Sequence[Future[list[ManifestFile]]]

    def go_on(self) -> Sequence[Job]:
        """Let the work have what its jobs came to; what it wants done next, or StopIteration."""
        try:
            files = [file for job in self.jobs for file in job.result()]
        except BaseException as failure:  # whatever it is, the work must let go of what it holds
            return self.work.throw(failure)
        return self.work.send(files)


def carry_out(works: Iterable[tuple[str, Work]], failures: Failures) -> None:
    """Carry out all works, each named by its region, and each region's in the order of its yields.

    What goes wrong in one is kept, ends that one and no other. What `Failures` does not keep is raised, once
    no job runs any more. A crash leaves what the works say that it leaves.
    """
    at_once = min(MOST_JOBS_AT_ONCE, len(os.sched_getaffinity(0)))
    under_way: deque[_UnderWay] = deque()
    pool = ThreadPoolExecutor(at_once, "files")
    # A single core has nothing to win by a second thread.
    start = pool.submit if at_once > 1 else _run_now

    def proceed(region: str, work: Work, go_on: Callable[[], Sequence[Job]]) -> None:
        with failures.kept(region):
            try:
                jobs = go_on()
            except StopIteration:
                return
            under_way.append(_UnderWay(region, work, [start(job) for job in jobs]))

    def settle_oldest() -> None:
        oldest = under_way[0]
        # All of them before the work goes on, for it then takes away what they read.
        wait(oldest.jobs)
        under_way.popleft()
        proceed(oldest.region, oldest.work, oldest.go_on)

    try:
        for region, work in works:
            while len(under_way) >= _REGIONS_AT_ONCE:
                settle_oldest()
            proceed(region, work, work.__next__)
        while under_way:
            settle_oldest()
    finally:
        pool.shutdown(cancel_futures=True)
        for one in under_way:
            one.work.close()


def _run_now(job: Job) -> Future[list[ManifestFile]]:
    done: Future[list[ManifestFile]] = Future()
    try:
        done.set_result(job())
    except BaseException as failure:  # as a thread of the pool does it: told where the result is asked for
        done.set_exception(failure)
    return done
