"""A run that the system fails, or that another run overtakes: one whole night stays readable.

The first calls of a sweep, each with every fault; all calls of `sweep` and `stress` fail in
`make faults`. Whether the alarms ring is seen by planting what they watch for.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest

from faults.calls import FAULTS, Call, why_not
from faults.loop import Case, judge, prepared
from faults.plants import PLANTS
from faults.race import race

#: How many of the first calls fail here, and how many around the publishing step.
FIRST = 20
AROUND = 6

#: Calls that change what is on the disk.
CHANGING = ("write", "fsync", "rename", "renameat2", "unlinkat", "rmdir")

traced = pytest.mark.skipif(
    bool(why_not()) or sys.platform != "linux",
    reason=f"NO FAULT WAS TRIED: {why_not() or 'strace is for Linux'}",
)


@pytest.fixture(scope="module")
def sweep() -> Iterator[Case]:
    with prepared("sweep") as case:
        yield case


@traced
@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_that_fails_at_any_of_its_first_calls_leaves_a_whole_night(
    sweep: Case, fault: str
) -> None:
    calls = under_fault(sweep)
    for at in range(FIRST):
        _, wrong = judge(sweep, fault, calls, at)
        assert not wrong, f"{calls[at]}: {wrong}"


@traced
@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_that_fails_around_the_publishing_step_leaves_the_old_or_the_new_night(
    sweep: Case, fault: str
) -> None:
    calls = under_fault(sweep)
    step = publishing(calls)
    nights = []
    for at in range(step - AROUND, step + AROUND):
        word, wrong = judge(sweep, fault, calls, at)
        assert not wrong, f"{calls[at]}: {wrong}"
        nights.append(word.split(", ")[1])
    if fault == "SIGKILL":  # before its call
        assert nights == ["old"] * (AROUND + 1) + ["new"] * (AROUND - 1)


@traced
def test_every_file_and_folder_is_on_the_disk_before_and_the_manifest_is_the_last(
    sweep: Case,
) -> None:
    assert not unsafe(under_fault(sweep), sweep)


@traced
@pytest.mark.parametrize(
    "plant", ["written in place", "moved file by file", "the old one goes first", "success claimed"]
)
def test_the_loop_finds_a_planted_fault(plant: str) -> None:
    with prepared("sweep", PLANTS[plant]) as case:
        fault = "EIO" if plant == "success claimed" else "SIGKILL"
        calls = under_fault(case)
        told = [at for at, call in enumerate(calls) if call.name in CHANGING]
        assert any(judge(case, fault, calls, at)[1] for at in reversed(told))


@traced
def test_the_loop_finds_what_a_killed_run_left_if_nobody_tidies() -> None:
    with prepared("stress", PLANTS["nobody tidies"]) as case:
        calls = under_fault(case)
        _, wrong = judge(case, "SIGKILL", calls, publishing(calls))
        assert "the next run" in wrong


@traced
@pytest.mark.parametrize("plant", ["nothing synced", "manifest first"])
def test_an_unsafe_order_is_found(plant: str) -> None:
    with prepared("sweep", PLANTS[plant]) as case:
        assert unsafe(under_fault(case), case)


def test_of_two_runs_at_once_exactly_one_wins() -> None:
    won = race(90)
    assert won.total() == 90


@pytest.mark.parametrize("plant", ["no second look", "a second look without a lock"])
def test_the_race_finds_a_planted_fault(plant: str) -> None:
    with pytest.raises(AssertionError, match="round "):
        race(90, PLANTS[plant])


def under_fault(case: Case) -> list[Call]:
    """Return the calls of a run over the old night."""
    case.reset()
    return case.run.calls()


def publishing(calls: Sequence[Call]) -> int:
    """Return which call puts the new night in place."""
    return next(at for at, call in enumerate(calls) if call.name.startswith("rename"))


def unsafe(calls: Sequence[Call], case: Case) -> list[str]:
    """Return what is not durable before it is published, or comes in the wrong order."""
    step = publishing(calls)
    stage = str(case.run.paths[3])
    before, after = calls[:step], calls[step:]

    def synced(path: str, among: Sequence[Call]) -> int:
        return last(among, lambda call: call.name == "fsync" and path in call.paths)

    def written(path: str) -> int:
        return last(before, lambda call: call.name == "write" and path in call.paths)

    files = [f"{stage}/{name}" for name in case.run.files]
    wrong = [f"{path} is not synced" for path in files if synced(path, before) < written(path)]
    if synced(stage, before) < max(map(written, files)):
        wrong.append("the folder is not synced")
    if synced(str(case.run.place.parent), after) < 0:
        wrong.append("the folder around it is not synced")
    manifest = next(path for path in files if re.search(r"manifest\.json$", path))
    if written(manifest) < max(map(written, files)):
        wrong.append("the manifest is not written last")
    return wrong


def last(calls: Sequence[Call], which: Callable[[Call], bool]) -> int:
    return max((at for at, call in enumerate(calls) if which(call)), default=-1)
