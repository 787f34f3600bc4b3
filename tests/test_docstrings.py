"""The examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import margrave

MODULES = [name for _, name, _ in pkgutil.iter_modules(margrave.__path__) if name != "__main__"]


@pytest.mark.parametrize("name", [name for name in MODULES if name != "_core"])
def test_examples_of_a_module_run(name: str) -> None:
    module = importlib.import_module(f"margrave.{name}")
    assert doctest.testmod(module, extraglobs={"Rules": margrave.Rules}).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    modules = [importlib.import_module(f"margrave.{name}") for name in MODULES]
    assert sum(len(test.examples) for m in modules for test in finder.find(m)) >= 10
