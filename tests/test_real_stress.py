"""`docs/real-stress.md` is true: what it prints of real accounts is what stands on the page."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import real_accounts

TEXT = (Path(__file__).parent.parent / "docs" / "real-stress.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(
    r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE
)
BARS = real_accounts.DATA / "prices" / "ohlcv_crash_windows.parquet"

# A skip hides in a row of dots; the warning stands in the summary, also where warnings are errors.
pytestmark = pytest.mark.filterwarnings("default:the real accounts are absent")


@pytest.fixture(scope="module")
def data() -> None:
    """Skip what needs the real accounts and prices where they are absent, and say so."""
    absent = [path for path in (*real_accounts.missing(), BARS) if not path.exists()]
    if absent:
        reason = (
            "the real accounts are absent, no stress was compared with what became of them: "
            f"{', '.join(path.name for path in absent)} below {real_accounts.DATA}"
        )
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)


def test_the_page_prints_what_stands_on_it(data: None, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for block, printed in BLOCKS:
        exec(block, names)
        assert capsys.readouterr().out == printed
    found = names["found"]
    assert found.height == 960
    assert found["account_id"].n_unique() == 227
    assert found["snapshot"].n_unique() == 7


def test_each_block_of_the_page_has_its_output() -> None:
    assert len(BLOCKS) == TEXT.count("```python\n") == TEXT.count("```text\n") == 3


def test_the_counts_in_the_words_are_those_of_the_table() -> None:
    rows = re.findall(r"(\d+) gone, (\d+) cut, (\d+) kept, (\d+) not seen", BLOCKS[0][1])
    flagged, others, unknown, _ = [[int(count) for count in row] for row in rows]
    words = " ".join(TEXT.split())
    assert flagged[2] == 0
    assert sum(flagged[:2]) == 5
    assert f"of {sum(flagged)} (8 different accounts), five had given up half or more" in words
    assert f"{flagged[3]} were not in the sample any more" in words
    assert f"{others[2]} of the {sum(others[:3])} that were seen again" in words
    assert f"({others[2] / sum(others[:3]):.0%}".replace("%", " %)") in words
    assert f"{others[3]} of {sum(others)} were not seen" in words
    lost = f"({others[3] / sum(others):.0%}, against {flagged[3] / sum(flagged):.0%})"
    assert lost.replace("%", " %") in words
    assert f"{sum(others[:2])} accounts gave up half or more without a flag" in words
    assert unknown[2] == 2, "two flagged accounts kept everything"
    assert BLOCKS[2][1].count("\n") == 8
