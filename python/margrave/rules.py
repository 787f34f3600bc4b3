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
from margrave.errors import RulesError, SchemaError
from margrave.frames import check, pick, shown
from margrave.ids import in_type
from margrave.ruleset import RulesFile, beside, parse, table_mistakes
from margrave.schema import FRAMES

__all__ = ["Rules"]

#: The largest ruleset file that is read, bytes.
MAX_BYTES = 64 * 2**20

#: How many mistakes of a table a message names.
LINES_SHOWN = 100


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
            return cls._of(source, "ruleset", None)
        if not isinstance(source, (str, Path)):
            raise RulesError(f"rules: {type(source).__name__} is neither a path nor a mapping")
        path = Path(source)
        return cls._of(_read_toml(path), str(path), path.parent)

    @classmethod
    def preset(cls, id: str) -> Rules:  # noqa: A002 - the contract's word
        """Return the ruleset that ships under this id.

        Raises:
            RulesError: There is none; the message lists those there are.
        """
        if id not in cls.presets():
            raise RulesError(f"rules: no preset {id!r}; there are {', '.join(cls.presets())}")
        content = tomllib.loads(_presets().joinpath(f"{id}.toml").read_text(encoding="utf-8"))
        return cls._of(content, f"preset {id}", None)

    @staticmethod
    def presets() -> list[str]:
        """Return the ids of the rulesets that ship with the package, sorted."""
        names = (entry.name for entry in _presets().iterdir())
        return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))

    @classmethod
    def _of(cls, content: Mapping[str, object], origin: str, folder: Path | None) -> Rules:
        file = parse(content, origin, folder)
        tables = {name: _table(name, file, folder) for name in ("tiers", "weights")}
        _check(tables)
        return cls(file, **tables)

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
        given = {"tiers": tiers, "weights": weights}
        frames = {name: _frame(name, table) for name, table in given.items() if table is not None}
        kept = {"tiers": self._tiers, "weights": self._weights}
        _check(frames)
        return Rules(self._file, **(kept | frames))

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
        return self._tiers.clone()

    @property
    def weights(self) -> pl.DataFrame:
        """The weight tables, defaults filled in; weights and rates are fractions."""
        return self._weights.clone()

    @cached_property
    def hash(self) -> str:
        """64 hex digits over every key and row, so that equal rulesets have equal hashes.

        `title`, `source`, `as_of` and published deductions do not count.
        """
        tables = {"tiers": self._tiers, "weights": self._weights}
        sections = {
            section: {k: v if isinstance(v, str) else v + 0.0 for k, v in keys.items()}
            for section, keys in self._file.sections().items()
        }
        rows = {name: _hashed(table) for name, table in tables.items()}
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
            raise OSError(f"it may hold {MAX_BYTES // 2**20} MB at most")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RulesError(f"{path}: the ruleset file cannot be read: {error}") from error
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise RulesError(f"{path}: no TOML: {error}") from error


def _hashed(table: pl.DataFrame) -> list[list[object]]:
    """Return the rows of a table by name and floor, without deductions; -0 as 0."""
    columns = [column for column in table.columns if column != "deduction"]
    rows = pick(table, columns).rows()
    plain = ([v if isinstance(v, str) else v + 0.0 for v in row] for row in rows)
    return sorted(plain, key=lambda row: row[:2])


def _table(name: str, file: RulesFile, folder: Path | None) -> pl.DataFrame:
    """Return a table given as rows, or in a file beside the ruleset."""
    content = file.tiers if name == "tiers" else file.weights
    if isinstance(content, str):
        path = beside(content, folder or Path())
        try:
            return _frame(name, path)
        except SchemaError as error:
            raise RulesError(f"{path}: {error}") from error
    types = {c.name: pl.Float64 if c.kind == "number" else pl.String for c in FRAMES[name]}
    return _frame(name, pl.DataFrame([row.model_dump() for row in content], schema=types))


def _frame(name: str, source: object) -> pl.DataFrame:
    """Return a table in the columns of the schema, defaults filled in.

    Raises:
        SchemaError: A column is missing or mistyped, or a key occurs twice.
    """
    known = check(name, source).known
    columns = {column.name: column for column in known}
    key = FRAMES[name][0].name
    columns[key] = in_type(columns[key], pl.String())
    for column in FRAMES[name]:
        if column.default is not None and column.name not in columns:
            full = pl.Series(column.name, [column.default], dtype=pl.Float64)
            columns[column.name] = full.new_from_index(0, known.height)
    if name == "weights":
        maintenance = columns["maintenance_weight"].alias("initial_weight")
        initial = columns.get("initial_weight", maintenance)
        columns["initial_weight"] = initial.zip_with(initial.is_not_null(), maintenance)
    table = pl.DataFrame([columns[c.name].rechunk() for c in FRAMES[name] if c.name in columns])
    _require_unique_rows(name, table)
    return table


def _require_unique_rows(name: str, table: pl.DataFrame) -> None:
    key = FRAMES[name][0].name
    rows: dict[tuple[object, ...], list[int]] = {}
    for number, row in enumerate(pick(table, (key, "floor")).iter_rows()):
        if None not in row:
            rows.setdefault(row, []).append(number)
    twice = [(row, numbers) for row, numbers in rows.items() if len(numbers) > 1]
    if twice:
        (label, floor), numbers = twice[0]
        raise SchemaError(
            f"{name}.{key}, {name}.floor: {len(twice)} keys occur more than once (first: "
            f"{shown(label)} at {floor}, rows {', '.join(map(str, numbers[:5]))}); keep one row "
            "of each"
        )


def _check(tables: Mapping[str, pl.DataFrame]) -> None:
    """Refuse wrong values in tables, all at once.

    Raises:
        RulesError: Values are null or out of range, floors don't rise, a deduction is wrong.
    """
    lines = []
    for name, table in tables.items():
        for column in table.columns:
            rows = () if column == "deduction" else table[column].is_null().arg_true()
            lines += [f"{name}.{column}: null in row {row}; fill it in" for row in rows]
        mistakes = table_mistakes(name, list(table.iter_rows(named=True)))
        lines += [f"{name}.{column}: row {row}: {text}" for row, column, text in mistakes]
    if len(lines) > LINES_SHOWN:
        lines[LINES_SHOWN:] = [f"and {len(lines) - LINES_SHOWN} more mistakes"]
    if lines:
        raise RulesError("\n".join(lines))


def _toml(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
