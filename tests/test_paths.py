"""Frames from Parquet and CSV files: a CSV has no types, so its ids take those of the others."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import margrave as mg
from faulty import refused
from margrave.schema import FRAMES
from small_night import Frames, frames, rules_of, sweep

BALANCES = "account_id,asset_id,amount\n"


def as_files(night: Frames, folder: Path, suffix: str, *only: str) -> Frames:
    """Return the night with frames written to files, and paths in their place."""
    paths = dict(night)
    for name in only or tuple(night):
        paths[name] = folder / f"{name}{suffix}"
        if suffix == ".csv":
            night[name].write_csv(paths[name])
        else:
            night[name].write_parquet(paths[name])
    return paths


def with_csv(folder: Path, name: str, text: str) -> Frames:
    """Return the small night with one frame in a CSV of this text."""
    path = folder / f"{name}.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return {**frames(), name: path}


def integers() -> Frames:
    """Return a night of balances alone, with integers for ids."""
    return {
        **frames(),
        "positions": frames()["positions"].clear(),
        "balances": pl.DataFrame({"account_id": [5, 7], "asset_id": ["USD"] * 2, "amount": [1, 2]}),
        "accounts": pl.DataFrame({"account_id": [9]}),
    }


# Files


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("make", [Path, str])
def test_a_night_of_files_is_the_night(suffix: str, make: Any, tmp_path: Path) -> None:
    paths = {name: make(path) for name, path in as_files(frames(), tmp_path, suffix).items()}
    result, small = sweep(paths), sweep(frames())
    assert {**result.manifest, "seconds": 0} == {**small.manifest, "seconds": 0}
    assert result.accounts.equals(small.accounts)


@pytest.mark.parametrize("name", frames())
def test_one_frame_may_be_a_csv(name: str, tmp_path: Path) -> None:
    result = sweep(as_files(frames(), tmp_path, ".csv", name))
    assert result.manifest["result_digest"] == sweep(frames()).manifest["result_digest"]


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_rows_of_several_files_count_on(suffix: str, tmp_path: Path) -> None:
    night, paths = frames(), []
    night["positions"] = night["positions"].with_columns(
        quantity=pl.Series([1.0, 2, 3, float("nan"), 5])
    )
    for number, part in enumerate(night["positions"].iter_slices(2)):
        (tmp_path / str(number)).mkdir()
        files = as_files({"positions": part}, tmp_path / str(number), suffix)
        paths.append(files["positions"])
    night["positions"] = paths
    rejects = sweep(night, on_error="quarantine").rejects
    assert rejects.rows() == [("positions", 3, "quantity", "NaN", "NaN")]


def test_a_name_with_wildcards_is_one_file(tmp_path: Path) -> None:
    for suffix in (".csv", ".parquet"):
        as_files(frames(), tmp_path, suffix, "balances")
        odd = tmp_path / f"b[a]*?{suffix}"
        (tmp_path / f"balances{suffix}").rename(odd)
        assert sweep({**frames(), "balances": odd}).manifest["balances"] == 5
        odd.unlink()
        assert str(odd) in refused(mg.SchemaError, partial(sweep, {**frames(), "balances": odd}))


@pytest.mark.parametrize(
    "name", ["x.parquet", "x.csv", "x.txt", "x", "", "x\0.csv", "y" * 300 + ".csv"]
)
@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"\xff\xfe,\x80\n1"])
def test_what_is_no_file_of_rows_is_refused(
    name: str, content: bytes | None, tmp_path: Path
) -> None:
    path = f"{tmp_path}/{name}"
    if content is not None and name.startswith("x") and "\0" not in name:
        Path(path).write_bytes(content)
    message = refused(mg.SchemaError, partial(sweep, {**frames(), "balances": path}))
    assert message.startswith("balances")
    assert str(Path(path)) in message or "balances." in message


def test_files_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    as_files(frames(), tmp_path, ".csv", "balances", "assets")
    paths = [tmp_path / "balances.csv", tmp_path / "assets.csv"]
    message = refused(mg.SchemaError, partial(sweep, {**frames(), "balances": paths}))
    assert message.startswith("balances.account_id: not in all files")


def parts(folder: Path, *frames: pl.DataFrame) -> list[Path]:
    paths = [folder / f"{number}.parquet" for number in range(len(frames))]
    for path, frame in zip(paths, frames, strict=True):
        frame.write_parquet(path)
    return paths


def test_a_column_is_of_one_kind_in_all_files(tmp_path: Path) -> None:
    whole = frames()["balances"]
    for column, other in (("account_id", pl.int_range(pl.len())), ("amount", pl.lit(True))):
        split = parts(tmp_path, whole[:2], whole[2:].with_columns(other.alias(column)))
        message = refused(mg.SchemaError, partial(sweep, {**frames(), "balances": split}))
        assert message.startswith(f"balances.{column}: not of one kind in all files")


def test_files_may_differ_in_order_of_columns_and_in_enums(tmp_path: Path) -> None:
    whole = frames()["balances"]
    one = whole[:2].with_columns(pl.col("asset_id").cast(pl.Enum(sorted(set(whole["asset_id"])))))
    split = parts(tmp_path, one, whole[2:].select(reversed(whole.columns)))
    result = sweep({**frames(), "balances": split})
    assert result.accounts.equals(sweep(frames()).accounts)


def test_carried_columns_of_a_csv_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "accounts.csv"
    path.write_text(
        "account_id,owner_id,lei,desk,limit,vip\na,007,0012,1,1.50,true\nb,7,99,2,,false\n"
    )
    listed = sweep({**frames(), "accounts": path}).accounts.filter(
        pl.col("account_id").is_in(["a", "b"])
    )
    assert listed["owner_id"].to_list() == ["007", "7"]
    assert listed["lei"].to_list() == ["0012", "99"]
    assert listed["desk"].to_list() == [1, 2]
    assert listed["limit"].to_list() == [1.5, None]
    assert listed["vip"].to_list() == [True, False]


# Ids of a CSV


@pytest.mark.parametrize(
    "dtype", [pl.Int8, pl.UInt16, pl.Int64, pl.String, pl.Categorical], ids=str
)
def test_ids_of_a_csv_take_the_type_of_the_others(dtype: Any, tmp_path: Path) -> None:
    positions = frames()["positions"][:1].with_columns(account_id=pl.lit("7"))
    night = {**integers(), "positions": positions, "accounts": None}
    night["balances"] = night["balances"].with_columns(
        pl.col("account_id").cast(pl.String).cast(dtype)
    )
    night = as_files(night, tmp_path, ".csv", "positions")
    result = sweep(night)
    assert result.accounts["account_id"].to_list() == (
        ["7", "5"] if dtype in (pl.String, pl.Categorical) else [7, 5]
    )
    assert result.accounts.schema["account_id"] == result.positions.schema["account_id"] == dtype


def test_a_csv_brings_an_id_that_the_type_of_the_others_cannot_hold(tmp_path: Path) -> None:
    text = BALANCES + "1000,USD,1\n5,USD,2\n"
    night = {**integers(), **{"balances": with_csv(tmp_path, "balances", text)["balances"]}}
    night["accounts"] = pl.DataFrame({"account_id": pl.Series([5], dtype=pl.Int8)})
    accounts = sweep(night).accounts
    assert accounts.schema["account_id"] == pl.Int64
    assert accounts["account_id"].to_list() == [1000, 5]
    night["accounts"] = pl.DataFrame({"account_id": pl.Series(["5"], dtype=pl.Enum(["5", "6"]))})
    assert sweep(night).accounts.schema["account_id"] == pl.String


@pytest.mark.parametrize("dtype", [pl.UInt64, pl.Int128, pl.UInt128])
@pytest.mark.parametrize("csv", ["positions", "balances"])
def test_ids_of_a_csv_are_as_large_as_those_of_the_other_frames(
    csv: str, dtype: Any, tmp_path: Path
) -> None:
    large = {"a": 2**63, "b": 2**64 - 1, "c": 7, "d": 0, "e": 1}
    night = frames()
    for name in ("positions", "balances", "accounts"):
        ids = pl.col("account_id").replace_strict(large, return_dtype=dtype)
        night[name] = night[name].with_columns(ids)
    result = sweep(as_files(night, tmp_path, ".csv", csv))
    assert result.accounts["account_id"].to_list() == list(large.values())
    assert result.accounts.schema["account_id"] == dtype
    assert result.totals.equals(sweep(night).totals)
    text = (tmp_path / f"{csv}.csv").read_text(encoding="utf-8")
    (tmp_path / f"{csv}.csv").write_text(text.replace("\n7,", "\n07,"), encoding="utf-8")
    message = refused(mg.SchemaError, partial(sweep, {**night, csv: tmp_path / f"{csv}.csv"}))
    assert f"{csv}.account_id: '07' in row {3 if csv == 'positions' else 2} is no int" in message


CANONICAL = [["0", "-1", "10"], ["9223372036854775807", "-9223372036854775808"]]
TEXT = ["007", "-0", "+1", "9223372036854775808", " 1", "1 ", "1.0", "1e3", "x", "-", "٣", '""']


@pytest.mark.parametrize("ids", CANONICAL)
def test_ids_of_csvs_alone_are_integers_where_all_are_written_canonically(
    ids: list[str], tmp_path: Path
) -> None:
    text = BALANCES + "".join(f"{i},USD,1\n" for i in ids)
    night = {**with_csv(tmp_path, "balances", text), "accounts": None}
    night = as_files(
        {**night, "positions": frames()["positions"].clear()}, tmp_path, ".csv", "positions"
    )
    assert sweep(night).accounts["account_id"].to_list() == [int(i) for i in ids]
    assert sweep(night).accounts.schema["account_id"] == pl.Int64


@pytest.mark.parametrize("odd", TEXT)
def test_ids_of_csvs_alone_are_text_otherwise(odd: str, tmp_path: Path) -> None:
    night = {
        **with_csv(tmp_path, "balances", f"{BALANCES}1,USD,1\n{odd},USD,2\n"),
        "accounts": None,
    }
    night["positions"] = frames()["positions"].clear()
    accounts = sweep(night).accounts
    assert accounts["account_id"].to_list() == ["1", odd.strip('"')]


@pytest.mark.parametrize("odd", TEXT)
def test_an_account_in_a_csv_that_is_no_integer_as_the_others_are_is_refused(
    odd: str, tmp_path: Path
) -> None:
    night = integers()
    night["balances"] = with_csv(tmp_path, "balances", f"{BALANCES}1,USD,1\n{odd},USD,2\n")[
        "balances"
    ]
    for mode in ("raise", "quarantine"):
        message = refused(mg.SchemaError, partial(sweep, night, on_error=mode))
        assert message.startswith("balances.account_id: ")
        assert "row 1" in message


def test_an_instrument_or_asset_in_a_csv_that_is_no_integer_is_simply_not_found(
    tmp_path: Path,
) -> None:
    positions = frames()["positions"][:3].with_columns(instrument_id=pl.Series(["1", "01", "x"]))
    night = as_files({**frames(), "positions": positions}, tmp_path, ".csv", "positions")
    night["instruments"] = frames()["instruments"][:1].with_columns(
        instrument_id=pl.lit(1, pl.Int8)
    )
    message = refused(mg.UnknownInstrument, partial(sweep, night))
    assert "'01', 'x' (2 rows" in message
    result = sweep(night, on_error="quarantine")
    assert result.positions["instrument_id"].to_list() == ["1", "01", "x"]
    assert [row[1:4] for row in result.rejects.rows()] == [
        (1, "instrument_id", "01"),
        (2, "instrument_id", "x"),
    ]
    assert result.accounts["status"].to_list()[:2] == ["healthy", "indeterminate"]


def test_table_names_in_a_csv_are_text(tmp_path: Path) -> None:
    night = frames()
    names = {"BTC": "0056", "alt": "55"}
    for name in ("tiers", "positions", "instruments"):
        night[name] = night[name].with_columns(pl.col("tier_table").replace(names))
    result = sweep(as_files(night, tmp_path, ".csv"))
    assert result.manifest["result_digest"] == sweep(frames()).manifest["result_digest"]
    assert rules_of(as_files(night, tmp_path, ".csv")).tiers["tier_table"].to_list() == [
        "0056",
        "0056",
        "55",
    ]


# Values of a CSV


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        ("nan", "nan", "NaN"),
        ("-inf", "-inf", "infinite"),
        ("1e400", "1e400", "infinite"),
        ("2e18", "2e18", "beyond 1e18 in size"),
        ("1234567890123456789012345678901234567890", None, "beyond 1e18 in size"),
        ("", "", "null"),
        ('""', "", "null"),
    ],
)
def test_a_bad_value_is_set_aside_as_it_is_written(
    text: str, value: str | None, reason: str, tmp_path: Path
) -> None:
    night = with_csv(tmp_path, "balances", f"{BALANCES}a,USD,100\nb,USD,{text}\nc,BTC,1.5\n")
    (row,) = sweep(night, on_error="quarantine").rejects.rows()
    assert row[:3] == ("balances", 1, "amount")
    assert (row[3] or "") == (text if value is None else value)
    assert row[4] == reason
    assert "balances.amount: 1 value is" in refused(mg.DataError, partial(sweep, night))


@pytest.mark.parametrize("text", ["1_000", " 5", "0x10", "one", '"1,5"', "true", "1d", "--1"])
def test_a_number_that_is_text_is_refused_with_its_row(text: str, tmp_path: Path) -> None:
    night = with_csv(tmp_path, "balances", f"{BALANCES}a,USD,100\nb,USD,{text}\n")
    for mode in ("raise", "quarantine"):
        message = refused(mg.SchemaError, partial(sweep, night, on_error=mode))
        assert "balances.amount: 1 values are not numbers" in message
        assert "rows 1)" in message


@pytest.mark.parametrize(
    "text", ["1", "+1", "1.", "1e0", "1.0000000000000000000001", "10e-1", "01"]
)
def test_a_number_may_be_written_in_any_way(text: str, tmp_path: Path) -> None:
    night = with_csv(tmp_path, "balances", f"{BALANCES}a,USD,{text}\n")
    night["positions"] = frames()["positions"].clear()
    assert sweep(night).accounts["equity"].to_list()[0] == 1.0


def test_flags_of_a_csv_are_true_or_false(tmp_path: Path) -> None:
    header = "asset_id,price,weight_table,is_stable\n"
    night = with_csv(tmp_path, "assets", f"{header}USD,1,USD,True\nBTC,100,BTC,false\n")
    assert sweep(night).manifest["input_digest"] == sweep(frames()).manifest["input_digest"]
    night = with_csv(tmp_path, "assets", f"{header}USD,1,USD,1\nBTC,100,,false\n")
    assert "assets.is_stable: 1 values are not true or false" in refused(
        mg.SchemaError, partial(sweep, night)
    )


@pytest.mark.parametrize("name", [n for n in FRAMES if n not in ("accounts", "scenarios")])
def test_columns_of_a_csv_without_a_value_say_nothing(name: str, tmp_path: Path) -> None:
    optional = [
        c.name
        for c in FRAMES[name]
        if not c.required and c.name not in ("margin_mode", "isolated_margin")
    ]
    night = frames()
    if name == "weights":
        night[name] = night[name][-2:].with_columns(floor=0.0)
    empty = night[name].with_columns(pl.lit(None, pl.String).alias(c) for c in optional)
    kept = night[name].drop(optional)
    result = sweep(as_files({**night, name: empty}, tmp_path, ".csv", name)) if optional else None
    if result is not None:
        assert (
            result.manifest["result_digest"]
            == sweep({**night, name: kept}).manifest["result_digest"]
        )


def test_carried_columns_of_a_csv_have_types(tmp_path: Path) -> None:
    text = ",desk,account_id,note,rate\n0,7,a,x,1.5\n1,8,e,,\n"  # Polars names the first
    accounts = sweep(with_csv(tmp_path, "accounts", text)).accounts[:, -4:]
    assert accounts.columns == ["column_0", "desk", "note", "rate"]
    assert accounts.dtypes == [pl.Int64, pl.Int64, pl.String, pl.Float64]


@pytest.mark.parametrize(
    "text",
    ["account_id,asset_id,amount,amount\na,USD,1,2\n", "account_id,asset_id,amount\na,USD,1,9\n"],
)
def test_a_csv_that_says_something_twice_is_refused(text: str, tmp_path: Path) -> None:
    message = refused(mg.SchemaError, partial(sweep, with_csv(tmp_path, "balances", text)))
    assert message.startswith("balances: ")


def test_a_csv_may_have_a_mark_of_its_encoding_and_other_ends_of_lines(tmp_path: Path) -> None:
    text = "\ufeff" + BALANCES + "a,USD,1\nb,USD,2\n"
    night = with_csv(tmp_path, "balances", text.replace("\n", "\r\n"))
    assert sweep(night).manifest["balances"] == 2
