"""Margrave: batch margin risk for whole exchanges.

Which accounts no longer cover what they must hold, by how much, and what would push the
others over? A `Book` (who holds what), a `Market` (what it is worth) and `Rules` (what must
be held) make a `Sweep`: one row per account.
"""

from margrave import scenarios
from margrave.book import Book, sweep
from margrave.breach import ReverseStress
from margrave.ccxt import tiers_from_ccxt
from margrave.comparison import Comparison
from margrave.curve import liquidation_curve
from margrave.engine import release_memory
from margrave.engine import version as _version
from margrave.errors import (
    DataError,
    InternalError,
    MargraveError,
    RulesError,
    SchemaError,
    UnknownAsset,
    UnknownInstrument,
)
from margrave.generate import Exchange, generate
from margrave.market import Market
from margrave.rules import Rules
from margrave.stress import Stress
from margrave.sweep import Sweep

__all__ = [
    "Book",
    "Comparison",
    "DataError",
    "Exchange",
    "InternalError",
    "MargraveError",
    "Market",
    "ReverseStress",
    "Rules",
    "RulesError",
    "SchemaError",
    "Stress",
    "Sweep",
    "UnknownAsset",
    "UnknownInstrument",
    "generate",
    "liquidation_curve",
    "release_memory",
    "scenarios",
    "sweep",
    "tiers_from_ccxt",
]

__version__ = _version()
