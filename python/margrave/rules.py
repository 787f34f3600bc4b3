"""Rulesets: what must be held, read from a TOML file, a mapping or a preset."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path

import polars as pl

from margrave import engine
from margrave.errors import RulesError
from margrave.frames import check, read
from margrave.ruleset import RulesFile, parse

__all__ = ["Rules"]

#: The largest ruleset file that is read, bytes.
MAX_BYTES = 64 * 2**20


class Rules:
    """A ruleset: a venue's conventions and its tables of tiers and weights.

    Make one by `Rules.load` or `Rules.preset`; it never changes. `tiers` and `weights` are
    frames, `hash` tells two rulesets apart by content.

    Example:
        >>> rules = Rules.load({"id": "mine", "trigger": {"compare": "le"}})
        >>> rules.tiers.height
        0
    """

    def __init__(self, file: RulesFile, tiers: pl.DataFrame, weights: pl.DataFrame) -> None:
        """Take checked parts; users call `load` or `preset`."""
        self._file = file
        self._tiers = tiers
        self._weights = weights
        self._core = engine.build_rules(tiers, weights, file.conventions())

    @classmethod
    def load(cls, source: str | Path | Mapping[str, object]) -> Rules:
        """Return the ruleset of a TOML file, or of a mapping with the same content.

        Args:
            source: A path, or what `tomllib` makes of such a file. Tables are rows in it, or
                the name of a Parquet or CSV file in the ruleset's folder.

        Raises:
            RulesError: The file cannot be read, or has mistakes: all of them are in the
                message, each after its path.
        """
        if isinstance(source, Mapping):
            return cls._of(parse(source, "ruleset"), None)
        path = Path(source)
        return cls._of(parse(_read_toml(path), str(path)), path)

    @classmethod
    def preset(cls, id: str) -> Rules:  # noqa: A002 - the contract's word
        """Return the ruleset that ships under this id.

        Raises:
            RulesError: There is none; the message lists those there are.
        """
        if id not in cls.presets():
            raise RulesError(f"rules: no preset {id!r}; there are {', '.join(cls.presets())}")
        content = tomllib.loads(_presets().joinpath(f"{id}.toml").read_text(encoding="utf-8"))
        return cls._of(parse(content, f"preset {id}"), None)

    @staticmethod
    def presets() -> list[str]:
        """Return the ids of the rulesets that ship with the package, sorted."""
        names = (entry.name for entry in _presets().iterdir())
        return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))

    @classmethod
    def _of(cls, file: RulesFile, path: Path | None) -> Rules:
        tiers = _table("tiers", file.tiers, path)
        weights = _table("weights", file.weights, path)
        return cls(file, tiers, weights)

    def with_tables(self, *, tiers: object = None, weights: object = None) -> Rules:
        """Return the same conventions with other tables.

        Args:
            tiers: A frame (or path) of the columns of `tiers`, which replaces them all; None
                keeps them.
            weights: The same for `weights`.

        Raises:
            SchemaError: A column is missing or has the wrong type.
            RulesError: A rate, a floor or a deduction is wrong.
        """
        return Rules(
            self._file,
            self._tiers if tiers is None else _frame("tiers", tiers),
            self._weights if weights is None else _frame("weights", weights),
        )

    @property
    def id(self) -> str:
        """The ruleset's id."""
        return self._file.id

    @property
    def title(self) -> str:
        """What the ruleset is called; its id where the file has no title."""
        return self._file.title or self._file.id

    @property
    def valuation_asset(self) -> str:
        """The asset that money is stated in."""
        return self._file.buckets.valuation_asset

    @property
    def tiers(self) -> pl.DataFrame:
        """The tier tables: tier_table, floor, maintenance_rate, initial_rate (fractions)."""
        return self._tiers

    @property
    def weights(self) -> pl.DataFrame:
        """The weight tables, defaults filled in; weights and rates are fractions."""
        return self._weights

    @cached_property
    def hash(self) -> str:
        """64 hex digits over every key and row, so that equal rulesets have equal hashes.

        `title`, `source`, `as_of` and published deductions do not count.
        """
        tables = {
            "tiers": self._tiers.select(pl.exclude("deduction")).sort("tier_table", "floor"),
            "weights": self._weights.sort("weight_table", "floor"),
        }
        sections = {
            section: {k: v if isinstance(v, str) else float(v) for k, v in keys.items()}
            for section, keys in self._file.sections().items()
        }
        rows = {name: [list(row) for row in table.rows()] for name, table in tables.items()}
        content = {"id": self.id, **sections, "ladder": [], **rows}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_toml(self, *, tiers: str | None = None, weights: str | None = None) -> str:
        """Return the ruleset as the text of a file that `load` reads.

        Args:
            tiers: Name of a file beside it that holds the tiers; rows are written without.
            weights: The same for the weights.
        """
        file = self._file
        about = {"id": file.id, "title": file.title, "as_of": file.as_of, "source": file.source}
        top = [f"{key} = {_toml(value)}" for key, value in about.items() if value is not None]
        named = {"tiers": tiers, "weights": weights}
        top += [f"{key} = {_toml(name)}" for key, name in named.items() if name is not None]
        for section, keys in file.sections().items():
            top += ["", f"[{section}]", *(f"{key} = {_toml(v)}" for key, v in keys.items())]
        for name, table in (("tiers", self._tiers), ("weights", self._weights)):
            for row in table.iter_rows(named=True) if named[name] is None else ():
                cells = [f"{key} = {_toml(v)}" for key, v in row.items() if v is not None]
                top += ["", f"[[{name}]]", *cells]
        return "\n".join(top) + "\n"

    def __repr__(self) -> str:
        tables = self._tiers["tier_table"].n_unique(), self._weights["weight_table"].n_unique()
        return (
            f"Rules({self.id!r}, {tables[0]} tier tables, {tables[1]} weight tables, "
            f"valued in {self.valuation_asset}, hash {self.hash[:12]})"
        )

    def __eq__(self, other: object) -> bool:
        return self.hash == other.hash if isinstance(other, Rules) else NotImplemented

    def __hash__(self) -> int:
        return int(self.hash[:16], 16)

    def __reduce__(self) -> tuple[type[Rules], tuple[RulesFile, pl.DataFrame, pl.DataFrame]]:
        return Rules, (self._file, self._tiers, self._weights)


def _presets() -> resources.abc.Traversable:
    return resources.files("margrave").joinpath("presets")


def _read_toml(path: Path) -> dict[str, object]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RulesError(f"{path}: a ruleset file may hold {MAX_BYTES // 2**20} MB at most")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError(f"{path}: the ruleset file cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise RulesError(f"{path}: no TOML: {error}") from error


def _table(name: str, content: object, path: Path | None) -> pl.DataFrame:
    """Return a table given as rows, as the name of a file beside the ruleset, or not at all."""
    if isinstance(content, str):
        if path is None:
            raise RulesError(f"{name}: {content!r} names a file, but the ruleset is in none")
        return _frame(name, _beside(name, content, path))
    rows = [row.model_dump() for row in content] if isinstance(content, list) else []
    types = {c: pl.String if c.endswith("_table") else pl.Float64 for c in COLUMNS[name]}
    return _frame(name, pl.DataFrame(rows, schema=types))


def _beside(name: str, file: str, path: Path) -> Path:
    folder = path.parent.resolve()
    table = (folder / file).resolve()
    if not table.is_relative_to(folder):
        raise RulesError(f"{name}: {file!r} leaves the ruleset's folder; keep the table beside it")
    if not table.is_file():
        raise RulesError(f"{name}: {table} is no file")
    return table


COLUMNS = {
    "tiers": ("tier_table", "floor", "maintenance_rate", "initial_rate", "deduction"),
    "weights": (
        "weight_table",
        "floor",
        "maintenance_weight",
        "initial_weight",
        "liability_weight",
        "borrow_maintenance_rate",
        "borrow_initial_rate",
    ),
}
DEFAULTS = {
    "floor": 0.0,
    "liability_weight": 1.0,
    "borrow_maintenance_rate": 0.0,
    "borrow_initial_rate": 0.0,
}


def _frame(name: str, source: object) -> pl.DataFrame:
    """Return a table in its canonical columns, defaults filled in.

    Raises:
        RulesError: A required value is null.
    """
    known = check(name, read(name, source)).known
    key = COLUMNS[name][0]
    known = known.with_columns(pl.col(key).cast(pl.String))
    if name == "weights":
        fill = {c: pl.lit(v) for c, v in DEFAULTS.items() if c not in known.columns}
        known = known.with_columns(**fill)
        given = pl.col("initial_weight") if "initial_weight" in known.columns else pl.lit(None)
        initial = pl.coalesce(given, pl.col("maintenance_weight")).cast(pl.Float64)
        known = known.with_columns(initial_weight=initial)
    nulls = [
        f"{name}.{column}: null in row {known[column].is_null().arg_max()}; fill it in"
        for column in known.columns
        if column != "deduction" and known[column].null_count()
    ]
    if nulls:
        raise RulesError("\n".join(nulls))
    return known.select([column for column in COLUMNS[name] if column in known.columns])


def _toml(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
