"""A short run of the fuzzing, and whether it rings: planted faults are found."""

from __future__ import annotations

import pytest

from fuzz.api import Counts
from fuzz.border import main
from fuzz.cases import run
from fuzz.draw import Draw
from fuzz.files import mutated
from fuzz.plants import PLANTS, found

#: Calls of the public API in the short run; `make fuzz` makes 100,000.
CALLS = 1500


def test_random_frames_give_a_result_or_an_error_of_the_family() -> None:
    counts = Counts()
    for number in range(CALLS):
        run("frames", 7, number, counts)
        if counts.calls >= CALLS:
            break
    assert counts.calls >= CALLS
    assert counts.sweeps >= counts.cases / 4  # most of the code is reached, not only refusals
    assert {"SchemaError", "DataError", "RulesError"} <= set(counts.errors)


def test_damaged_files_give_a_result_or_an_error_of_the_family(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--mode", "files", "--calls", "300", "--jobs", "1", "--seed", "7"]
    assert main([*arguments, "--seconds", "60"]) == 0, capsys.readouterr().out
    assert "sweeps judged" in capsys.readouterr().out


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(name: str) -> None:
    answer = found(PLANTS[name], 7)
    assert answer is not None, "the alarm does not ring"


def test_a_case_is_the_same_each_time() -> None:
    told: list[list[str]] = [[], []]
    for lines in told:
        run("frames", 7, 3, Counts(), talk=lines.append)
        lines.append(repr(mutated(Draw(7, 3), bytes(100))))
    assert told[0] == told[1]
    assert len(told[0]) > 2
