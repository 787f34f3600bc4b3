"""What manifest.json says of a run: what was asked, what was read, what was written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import margrave as mg
from command_line import FRAMES, TABLES, assert_refused, harness, make_night, margrave
from margrave import engine, manifest

#: BLAKE3 of no bytes, as its authors published it.
EMPTY = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"

SCENARIOS = "scenario_id,factor,price_shock\nhalf,*,-0.5\n"


@pytest.fixture
def night(tmp_path: Path) -> Path:
    return make_night(tmp_path / "night")


def facts(out: Path) -> dict[str, Any]:
    """Return the manifest of a folder, which must be as it was written."""
    found, is_intact = manifest.load(out)
    assert is_intact
    return found


def of(*arguments: object, folder: Path) -> dict[str, Any]:
    """Return the manifest of a run of `margrave` into a new folder."""
    out = folder / f"out-{len(list(folder.glob('out-*')))}"
    ran = margrave(*arguments, "--out", out, "--quiet", folder=folder)
    assert ran.code == 0, ran.err
    return facts(out)


def apart(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key != "seconds"}


# The whole


@pytest.mark.parametrize(
    "command",
    [("sweep",), ("stress", "--scenarios", "2020-03-12"), ("breach", "--direction", "BTC=-1")],
    ids=lambda command: command[0],
)
def test_it_is_equal_but_for_the_seconds(night: Path, command: tuple[str, ...]) -> None:
    name, *options = command
    one = margrave(name, night, *options, "--out", "one", "--threads", "1", "--json")
    two = margrave(name, night.name, *options, "--threads=2", "--out", night.parent / "two",
                   folder=night.parent)  # fmt: skip
    assert (one.code, two.code) == (0, 0)
    files = [night.parent / out / manifest.NAME for out in ("one", "two")]
    texts = [file.read_text(encoding="utf-8") for file in files]
    lines = [[x for x in text.splitlines() if not x.startswith('  "seconds"')] for text in texts]
    assert lines[0] == lines[1]
    assert one.out == texts[0]


def test_what_stands_apart_stands_last(night: Path) -> None:
    found = of("sweep", night, folder=night.parent)
    assert list(found)[-4:] == ["files", "seconds", "machine", "manifest_digest"]
    assert list(found)[:2] == ["run_id", "command"]
    assert set(found["machine"]) == {"cpu", "cores", "platform", "python", "polars"}
    assert found["machine"]["polars"] == pl.__version__
    assert found["machine"]["cores"] == engine.cores() >= 1
    assert found["machine"]["cpu"]


def test_results_are_the_digests_of_the_tables(night: Path) -> None:
    found = of("sweep", night, folder=night.parent)
    assert list(found["results"]) == list(TABLES)
    totals = engine.digests([("totals", pl.read_parquet(night.parent / "out-0/totals.parquet"))])
    assert found["results"]["totals"] == totals[0] == totals[1]["totals"]
    positions, balances, instruments, assets = (night / f"{name}.parquet" for name in FRAMES)
    rules = mg.Rules.load(night / "rules.toml")
    swept = mg.sweep(positions, balances, instruments, assets, rules)
    assert swept.manifest["results"] == found["results"]


# The command


def test_a_command_is_one_however_it_is_typed(night: Path) -> None:
    (night.parent / "moves.csv").write_text(SCENARIOS, encoding="utf-8")
    base = night.parent
    events = mg.scenarios.names()[:2]
    wanted = [
        *("stress", str(night), "--scenarios", str(base / "moves.csv")),
        *("--scenarios", events[0], "--scenarios", events[1]),
        *("--rules", str(night / "rules.toml"), "--max-rejects", "3", "--on-error", "quarantine"),
    ]
    options = ("--scenarios", "moves.csv", "--scenarios", ", ".join(events))
    one = of("stress", "night", *options, "--max-rejects", "3", folder=base)
    rules = ("--rules", "night/rules.toml", "--on-error=quarantine", "--debug", "--overwrite")
    two = of("stress", "--max-rejects=3", *rules, *options, night, folder=base)
    assert one["command"] == two["command"] == wanted
    assert one["run_id"] == two["run_id"]


def test_a_command_has_what_its_result_depends_on(night: Path) -> None:
    base = night.parent
    given = of("breach", "night", "--direction", "BTC=-1,ETH=-2", folder=base)["command"]
    assert given[:4] == ["breach", str(night), "--direction", "BTC=-1,ETH=-2"]
    pl.DataFrame({"factor": ["*"], "beta": [-1.0]}).write_csv(base / "along.csv")
    along = of("breach", "night", "--direction", "along.csv", folder=base)
    assert along["command"][3] == str(base / "along.csv")
    assert [file["path"] for file in along["inputs"]["direction"]] == [str(base / "along.csv")]


def test_a_run_is_named_by_what_determines_it(night: Path) -> None:
    base = night.parent
    first = of("sweep", night, folder=base)
    assert len(first["run_id"]) == 32
    assert int(first["run_id"], 16)
    others = [
        of("sweep", night, "--max-rejects", "1", folder=base),
        of("breach", night, folder=base),
        of("sweep", shutil.copytree(night, base / "other"), folder=base),
    ]
    file = night / "balances.parquet"
    pl.read_parquet(file).write_parquet(file, compression="uncompressed")
    others.append(of("sweep", night, folder=base))
    assert others[-1]["input_digest"] == first["input_digest"]
    assert len({first["run_id"], *(other["run_id"] for other in others)}) == 5


# What was read


def test_inputs_are_the_files_that_were_read(night: Path) -> None:
    (night / "positions").mkdir()
    frame = pl.read_parquet(night / "positions.parquet")
    (night / "positions.parquet").unlink()
    for number in range(2):
        frame.slice(2 * number, 2).write_parquet(night / "positions" / f"{number}.parquet")
    (night / "positions" / "_SUCCESS").touch()
    pl.DataFrame({"account_id": [1]}).write_csv(night / "accounts.csv")
    inputs = of("sweep", night, folder=night.parent)["inputs"]
    paths = {name: [file["path"] for file in files] for name, files in inputs.items()}
    assert paths == {
        "positions": [str(night / "positions" / f"{number}.parquet") for number in range(2)],
        **{name: [str(night / f"{name}.parquet")] for name in ("balances", "instruments")},
        "assets": [str(night / "assets.parquet")],
        "accounts": [str(night / "accounts.csv")],
        "rules": [str(night / "rules.toml")],
    }
    for file in (file for files in inputs.values() for file in files):
        size, digest = engine.digest_file(Path(file["path"]))
        assert (file["bytes"], file["blake3"]) == (size, digest)
        assert size == Path(file["path"]).stat().st_size


def test_tables_of_the_rules_are_inputs(tmp_path: Path) -> None:
    margrave("generate", "--accounts", "50", "--out", "night", folder=tmp_path)
    night = tmp_path / "night"
    own = of("sweep", night, folder=tmp_path)["inputs"]
    assert [file["path"] for file in own["tiers"]] == [str(night / "tiers.parquet")]
    assert [file["path"] for file in own["weights"]] == [str(night / "weights.parquet")]
    shutil.copy(night / "tiers.parquet", tmp_path / "mine.parquet")
    found = of("sweep", night, "--tiers", "mine.parquet", folder=tmp_path)
    paths = [file["path"] for file in found["inputs"]["tiers"]]
    assert paths == [str(night / "tiers.parquet"), str(tmp_path / "mine.parquet")]
    assert "--tiers" in found["command"]
    assert str(tmp_path / "mine.parquet") in found["command"]


def test_the_ruleset_is_there_byte_for_byte(night: Path) -> None:
    file = night / "rules.toml"
    text = "\ufeff# é\r\n" + file.read_text(encoding="utf-8")
    file.write_bytes(text.encode())
    ruleset = of("sweep", night, folder=night.parent)["ruleset"]
    assert ruleset["text"].encode() == file.read_bytes()
    assert ruleset["preset"] is None
    rules = mg.Rules.load(file)
    _, tables = engine.digests([("tiers", rules.tiers), ("weights", rules.weights)])
    assert ruleset["tables"] == tables


def test_a_preset_is_there_by_its_text(night: Path) -> None:
    tiers = {"tier_table": ["BTC", "ETH"], "floor": [0, 0]}
    rates = {"maintenance_rate": [0.1, 0.1], "initial_rate": [0.1, 0.1]}
    pl.DataFrame(tiers | rates).write_csv(night / "tiers.csv")
    given = ("--rules", "hyperliquid", "--tiers", night / "tiers.csv")
    found = of("sweep", night, *given, folder=night.parent)
    assert found["ruleset"]["preset"] == "hyperliquid"
    assert mg.Rules.preset("hyperliquid").title in found["ruleset"]["text"]
    assert "rules" not in found["inputs"]
    assert found["command"][2:4] == ["--rules", "hyperliquid"]


def test_a_demo_reads_nothing(tmp_path: Path) -> None:
    found = of("demo", "--accounts", "100", folder=tmp_path)
    assert found["command"] == ["demo", "--accounts", "100", "--seed", "7"]
    assert found["inputs"] == {}
    assert found["ruleset"]["preset"] is found["ruleset"]["text"] is None


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("file.write_bytes(file.read_bytes() + b' ')", "changed while it was read"),
        ("os.replace(shutil.copy(file, 'copy'), file)", "changed while it was read"),
        ("file.unlink()", "No such file"),
    ],
)
@pytest.mark.parametrize("name", ["balances.parquet", "rules.toml"])
def test_an_input_that_changes_meanwhile_is_3(
    night: Path, name: str, change: str, word: str
) -> None:
    code = (
        "import os, pathlib, shutil\nfrom margrave import cli, delivery\n"
        "whole = delivery.of_sweep\ndef spoil(*given, **more):\n"
        f"    file = pathlib.Path('night/{name}')\n    {change}\n    return whole(*given, **more)\n"
        "delivery.of_sweep = spoil\ncli.main()"
    )
    ran = harness(code, "sweep", "night", "--out", "out", folder=night.parent)
    assert_refused(ran, 3, name, word)


# What was written


def test_files_are_those_of_the_folder(night: Path) -> None:
    found = of("sweep", night, folder=night.parent)
    out = night.parent / "out-0"
    assert set(found["files"]) == {path.name for path in out.iterdir()} - {manifest.NAME}
    for name, file in found["files"].items():
        size, digest = engine.digest_file(out / name)
        assert file == {"bytes": size, "blake3": digest}


def test_without_a_folder_there_are_no_files(tmp_path: Path) -> None:
    ran = margrave("demo", "--accounts", "100", "--json", folder=tmp_path)
    printed = json.loads(ran.out)
    assert printed["files"] == {}
    assert printed["exit_code"] == 0


# Digests of files


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.touch()
    assert engine.digest_file(file) == (0, EMPTY)
    file.write_bytes(b"abc")
    known = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
    assert engine.digest_file(file) == (3, known)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No such file") as caught:
        engine.digest_file(tmp_path / "none")
    assert Path(caught.value.filename) == tmp_path / "none"
    with pytest.raises(IsADirectoryError) as caught_other:
        engine.digest_file(tmp_path)
    assert Path(caught_other.value.filename) == tmp_path


def test_each_frame_has_the_digest_that_it_has_alone() -> None:
    frames = [("a", pl.DataFrame({"x": [1.0, None]})), ("b", pl.DataFrame({"y": ["z"]}))]
    whole, parts = engine.digests(frames)
    assert parts == {name: engine.digests([(name, frame)])[0] for name, frame in frames}
    assert whole not in parts.values()
    assert engine.digests([]) == (EMPTY, {})


# Dates


def test_a_date_is_said_and_names_the_run(night: Path) -> None:
    base = night.parent
    plain = of("sweep", night, folder=base)
    assert "business_date" not in plain
    dated = []
    for date in ("2026-12-25", "2026-12-26"):
        ran = margrave("sweep", night, "--out", "dated", "--date", date, folder=base)
        assert ran.code == 0, ran.err
        dated.append(facts(base / "dated" / f"business_date={date}"))
    assert [found["business_date"] for found in dated] == ["2026-12-25", "2026-12-26"]
    assert len({found["run_id"] for found in (plain, *dated)}) == 3
    assert all(found["command"] == plain["command"] for found in dated)
    for command in ("verify", "replay"):
        assert margrave(command, "dated/business_date=2026-12-26", folder=base).code == 0
        ran = margrave(command, "dated", folder=base)
        assert ran.code == 3
        assert "hint: name one of its dates, dated/business_date=2026-12-26" in ran.err
