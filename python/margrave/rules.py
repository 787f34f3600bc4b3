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

from margrave import difference, engine, notebook, tables
from margrave.errors import MargraveError, RulesError, SchemaError
from margrave.ruleset import TABLES, RulesFile, beside, parse, replaced
from margrave.schema import FRAMES

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
        self._core = engine.build_rules(tiers, weights, **file.conventions())

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
        frames = {name: _table(name, file, folder) for name in TABLES}
        tables.check(frames)
        return cls(file, **frames)

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
        frames = {name: tables.read(name, of) for name, of in given.items() if of is not None}
        tables.check(frames)
        return Rules(self._file, **(self._tables() | frames))

    def replace(self, **keys: object) -> Rules:
        """Return the same tables under other conventions.

        Args:
            keys: Values of keys by name, as a file has them: those of sections (`level`,
                `netting`), `ladder`, `id`, `title`, `as_of`, `source`, `differs`. None is the
                key's default.

        Raises:
            RulesError: There is no such key, or it cannot have that value; all are named.

        Example:
            >>> Rules.load({}).replace(level=1.05).diff(Rules.load({})).rows()
            [('trigger.level', '1.05', '1.0')]
        """
        return Rules(replaced(self._file, keys), **self._tables())

    def diff(self, other: Rules) -> pl.DataFrame:
        """Return where two rulesets differ: `path`, `left` (this one's value), `right`, as text.

        There is one row per key (`trigger.level`), part of a rung (`ladder.0.name`) and figure
        of a table (`tiers.BTC.150000.initial_rate`, by its floor); null is what a side lacks.
        What the hash leaves out is left out, so equal rulesets have no rows.
        """
        if not isinstance(other, Rules):
            raise MargraveError(f"other: {type(other).__name__} is no ruleset")
        return difference.difference(self._content(), other._content())

    @property
    def id(self) -> str:
        """The ruleset's id."""
        return self._file.id

    @property
    def title(self) -> str:
        """What the ruleset is called; its id where the file has no title."""
        return self._file.title or self._file.id

    @property
    def as_of(self) -> str | None:
        """The date of the ruleset's figures as text; None where the file has none."""
        return None if self._file.as_of is None else str(self._file.as_of)

    @property
    def source(self) -> str | None:
        """Where the figures were published; None where the file does not say."""
        return self._file.source

    @property
    def differs(self) -> list[str]:
        """What the venue does that no key can say, a sentence each."""
        return list(self._file.differs)

    @property
    def ladder(self) -> list[dict[str, str | float]]:
        """The rungs as a file has them, worst last: `name`, `margin_level_below`."""
        return [{"name": name, "margin_level_below": below} for name, below in self._file.rungs()]

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

    def table_files(self, folder: Path) -> dict[str, Path]:
        """Return the files of tables that the ruleset names, its own file being in `folder`."""
        named = {"tiers": self._file.tiers, "weights": self._file.weights}
        return {k: beside(name, folder) for k, name in named.items() if isinstance(name, str)}

    def sections(self) -> dict[str, dict[str, str | float]]:
        """Return every key of every section by name, defaults filled in."""
        return self._file.sections()

    @cached_property
    def hash(self) -> str:
        """64 hex digits over every key, rung and row: equal rulesets have equal hashes.

        `title`, `source`, `as_of`, `differs` and published deductions do not count.
        """
        text = json.dumps(self._content(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def _tables(self) -> dict[str, pl.DataFrame]:
        return {"tiers": self._tiers, "weights": self._weights}

    def _content(self) -> dict[str, object]:
        return difference.content(self._file, self._tables())

    def to_toml(self, *, tiers: str | None = None, weights: str | None = None) -> str:
        """Return the ruleset as the text of a file that `load` reads.

        Args:
            tiers: Name of a file beside it that holds the tiers; rows are written without.
            weights: The same for the weights.
        """
        file = self._file
        about = {"id": file.id, "title": file.title, "as_of": file.as_of, "source": file.source}
        top = [f"{key} = {_toml(value)}" for key, value in about.items() if value is not None]
        top += [f"differs = [{', '.join(map(_toml, file.differs))}]"] if file.differs else []
        named = {"tiers": tiers, "weights": weights}
        top += [f"{key} = {_toml(name)}" for key, name in named.items() if name is not None]
        for section, keys in file.sections().items():
            top += ["", f"[{section}]", *(f"{key} = {_toml(v)}" for key, v in keys.items())]
        rows = {name: table.iter_rows(named=True) for name, table in self._tables().items()}
        for name, table in {"ladder": self.ladder, **rows}.items():
            for row in table if named.get(name) is None else ():
                cells = [f"{key} = {_toml(v)}" for key, v in row.items() if v is not None]
                top += ["", f"[[{name}]]", *cells]
        return "\n".join(top) + "\n"

    def __repr__(self) -> str:
        counts = self._tiers["tier_table"].n_unique(), self._weights["weight_table"].n_unique()
        return (
            f"Rules({self.id!r}, {counts[0]} tier tables, {counts[1]} weight tables, "
            f"valued in {self.valuation_asset}, hash {self.hash[:12]})"
        )

    def _repr_html_(self) -> str:
        keys = {
            f"{section}.{key}": value
            for section, part in self.sections().items()
            for key, value in part.items()
        }
        rungs = {f"ladder.{rung['name']}": rung["margin_level_below"] for rung in self.ladder}
        rows = {"tiers, rows": self._tiers.height, "weights, rows": self._weights.height}
        about = {"id": self.id, "hash": self.hash[:12]}
        return notebook.table(self.title, {**about, **rows, **keys, **rungs})

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
        text = path.read_text(encoding="utf-8-sig")  # some editors begin files with a mark
    except (OSError, ValueError) as error:
        raise RulesError(f"{path}: the ruleset file cannot be read: {error}") from error
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise RulesError(f"{path}: no TOML: {error}") from error


def _table(name: str, file: RulesFile, folder: Path | None) -> pl.DataFrame:
    """Return a table given as rows, or in a file beside the ruleset."""
    content = file.tiers if name == "tiers" else file.weights
    if isinstance(content, str):
        path = beside(content, folder or Path())
        try:
            return tables.read(name, path)
        except SchemaError as error:
            raise RulesError(f"{path}: {error}") from error
    types = {c.name: pl.Float64 if c.kind == "number" else pl.String for c in FRAMES[name]}
    return tables.read(name, pl.DataFrame([row.model_dump() for row in content], schema=types))


def _toml(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
