"""The README says what happens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_first_example_runs_and_its_arithmetic_holds() -> None:
    first, stressed, second = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert first.count("\n") <= 15
    names: dict[str, Any] = {}
    exec(first, names)
    accounts, positions = names["night"].accounts, names["night"].positions
    assert accounts["status"].to_list() == ["healthy", "below_initial"]
    assert accounts["margin_balance"].to_list() == [17_000.0, 2_000.0]
    assert accounts["maintenance_margin"].to_list() == pytest.approx([387.5, 1_550.0])
    assert accounts["initial_margin"][1] == pytest.approx(3_100.0)
    prices: pl.Series = positions["liquidation_price"]
    assert prices.to_list() == pytest.approx([14_000 / 0.49375, 126_000 / 2.025])
    exec(stressed, names)
    falls = names["falls"].scenarios
    assert falls["liquidatable_accounts"].to_list() == [0, 0, 1]
    book, market, rules = names["book"], names["market"], names["rules"]
    breach = book.breach(market, rules, "up")
    assert breach["breach_shock"].to_list() == [None, pytest.approx(126_000 / 2.025 / 62_000 - 1)]
    reached = book.reverse_stress(market, rules, "up", bad_debt=10_000)
    assert reached.shock == pytest.approx(68_000 / 62_000 - 1)
    exec(second, names)
    buffers = names["change"].accounts["margin_buffer_change"].to_list()
    assert buffers == pytest.approx([-0.1 * 387.5, -0.1 * 1_550.0])


def test_both_commands_stand_where_the_pipeline_reads_them() -> None:
    commands = re.findall(r"<!-- (setup|tests) -->\n```sh\n(.+)\n```", README)
    assert [name for name, _ in commands] == ["setup", "tests"]
    assert all(command for _, command in commands)
