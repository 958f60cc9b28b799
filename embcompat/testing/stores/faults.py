"""Killing a migration: a child process that converts a gallery and is killed at a chosen point."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embcompat.migration import RunOptions, cut_over, job_of, run_migration
from embcompat.runtime import OnnxAligner
from embcompat.stores import GalleryStore, open_store
from embcompat.testing.stores.check import StoreBench, converted, require, require_gallery

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

KILL_POINTS: Final = {
    "prepared": "when the target side was made",
    "writing": "in the middle of the second write",
    "written": "when the third write was done",
    "switching": "in the middle of the cutover",
    "switched": "when the cutover was done",
}

QUICK_KILL_POINTS: Final = ("writing", "switching", "switched")
"""Points of every run [ours]: a child takes seconds to start; `check_random_kills` begins with all points."""

RANDOM_KILLS: Final = 30
_BATCHES = 7
_MIDDLE_SECONDS = 0.002


def check_kill_points(bench: StoreBench, *, points: Sequence[str] = QUICK_KILL_POINTS) -> None:
    """A migration that is killed at fixed points, one after the other, resumes each time and ends right."""
    old = bench.gallery()
    new = converted(bench.shrink, old)
    url = bench.harness.create(old)
    notes = bench.harness.notes(url)
    for point in points:
        code = run_child(url, bench.shrink.artifact.path, point)
        require(code == -signal.SIGKILL, f"the child must be killed {KILL_POINTS[point]}. It ended with code {code}")
        cut = _is_cut_over(bench, url)
        require(cut or point != "switched", "a cutover that has returned must hold")
        require(not cut or point in ("switching", "switched"), f"{point}: nothing may be switched yet")
        require_gallery(
            bench.harness.get(url), new if cut else old, bench.harness.tolerance, f"in service after {point}"
        )
        if cut:
            break
    require(bench.harness.notes(url) == notes, "kills must change nothing beside the vectors")


def check_random_kills(bench: StoreBench, *, kills: int = RANDOM_KILLS, seed: int = 0) -> None:
    """A migration that is killed at random times, again and again, ends right. Too long for the checks of every run."""
    check_kill_points(bench, points=tuple(KILL_POINTS))
    rng = random.Random(seed)
    killed = 0
    while killed < kills:
        old = bench.gallery(seed=killed)
        url = bench.harness.create(old)
        while not _is_cut_over(bench, url):
            code = run_child(url, bench.shrink.artifact.path, f"after:{rng.uniform(0.0, 0.5):.4f}")
            killed += code == -signal.SIGKILL
            require(code in (0, -signal.SIGKILL), f"a child must end well or be killed. It ended with code {code}")
        require_gallery(bench.harness.get(url), converted(bench.shrink, old), bench.harness.tolerance, "after kills")


def _is_cut_over(bench: StoreBench, url: str) -> bool:
    with bench.store(url) as store:
        return store.state(job_of(bench.shrink.artifact)).phase == "cut_over"


def run_child(url: str, artifact: str | Path, point: str) -> int:
    """Migrate a gallery and cut over in a child process that kills itself with SIGKILL at a point.

    Args:
        url: Address of the gallery.
        artifact: Directory of the artifact.
        point: One of `KILL_POINTS`, ``after:SECONDS``, or ``never``.

    Returns:
        The exit code: ``-SIGKILL`` where the child was killed.
    """
    child = _children().Process(target=_migrate, args=(url, str(artifact), point, dict(os.environ)))
    child.start()
    child.join()
    return child.exitcode or 0


@cache
def _children() -> ForkServerContext:
    """Return what starts children: forks of a server that has loaded this module, a process without threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _set_trap(store: GalleryStore, method: str, *, call: int, inside: bool) -> None:
    """Kill this process in the middle of, or after, a certain call of a method."""
    original: Callable[..., Any] = getattr(store, method)
    calls = 0

    def trapped(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and inside:
            threading.Timer(_MIDDLE_SECONDS, _kill).start()
        result = original(*arguments, **options)
        if calls == call:
            _kill()
        return result

    setattr(store, method, trapped)


_TRAPS: Final[dict[str, dict[str, Any]]] = {
    "prepared": {"method": "prepare", "call": 1, "inside": False},
    "writing": {"method": "write", "call": 2, "inside": True},
    "written": {"method": "write", "call": 3, "inside": False},
    "switching": {"method": "cutover", "call": 1, "inside": True},
    "switched": {"method": "cutover", "call": 1, "inside": False},
}


def _migrate(url: str, artifact: str, point: str, environment: dict[str, str]) -> None:
    """Migrate and cut over, and be killed at the point."""
    os.environ.update(environment)  # the server keeps the one of its own start
    aligner = OnnxAligner(artifact, threads=1)
    with closing(open_store(url)) as store:
        if point.startswith("after:"):
            threading.Timer(float(point.removeprefix("after:")), _kill).start()
        elif point in _TRAPS:
            _set_trap(store, **_TRAPS[point])
        batch_size = max(1, store.coverage(job_of(aligner.artifact)).rows // _BATCHES)
        run_migration(aligner, store, options=RunOptions(batch_size=batch_size))
        cut_over(aligner, store)
    os._exit(0)  # without waiting for the timer
