"""Who may import whom: data flow one way, and each room knows only what it must."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "margrave"
CORE = ROOT / "rust" / "core"

#: Python files in the order of the flow: a file imports only from those before it.
PYTHON_FLOW = [
    "errors",
    "schema",
    "exact",
    "memory",
    "engine",
    "digits",
    "files",
    "frames",
    "ids",
    "faults",
    "moves",
    "notebook",
    "tables",
    "ruleset",
    "difference",
    "rules",
    "ccxt",
    "market",
    "history",
    "scenarios",
    "curve",
    "sweep",
    "parts",
    "comparison",
    "stress",
    "breach",
    "held",
    "book",
    "generate",
    "__init__",
    "report",
    "sources",
    "night",
    "manifest",
    "proof",
    "swap",
    "locks",
    "replaceable",
    "publish",
    "shards",
    "sharded",
    "ledger",
    "sharded_night",
    "checks",
    "ages",
    "hygiene",
    "exits",
    "gates",
    "events",
    "terminal",
    "options",
    "delivery",
    "sharded_cli",
    "check_cli",
    "shard_cli",
    "rules_cli",
    "scenario_cli",
    "proof_cli",
    "cli",
    "__main__",
]

#: Rust files of the core in the order of the flow.
RUST_FLOW = [
    "error",
    "memory",
    "slabs",
    "columns",
    "batch",
    "bits",
    "exact",
    "digest",
    "keys",
    "names",
    "shards",
    "hashes",
    "partition",
    "accounts",
    "trigger",
    "conventions",
    "tiers",
    "weights",
    "rules",
    "holdings",
    "block",
    "draft",
    "records",
    "builder",
    "intake",
    "book",
    "market",
    "scenarios",
    "marks",
    "asked",
    "pools",
    "labels",
    "bankruptcy",
    "sizes",
    "collateral",
    "conclusion",
    "plain",
    "margin",
    "piece",
    "curve",
    "single",
    "liquidation",
    "shared",
    "plain_shares",
    "shares",
    "results",
    "staged",
    "totals",
    "overflow",
    "sweep",
    "lanes",
    "standing",
    "fused",
    "heap",
    "screen",
    "tallies",
    "worst",
    "pass",
    "stress",
    "form",
    "roots",
    "contract",
    "bends",
    "path",
    "outlook",
    "trail",
    "bending",
    "onset",
    "straight",
    "spans",
    "breach",
    "reverse",
    "control",
    "rows",
    "positions",
    "synthetic_draws",
    "synthetic_market",
    "synthetic_book",
    "synthetic",
]


def python_imports(name: str) -> set[str]:
    """Return the files of the package that a file imports, wherever in it."""
    tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "margrave":
            names = {alias.name for alias in node.names}
            files = {n for n in names if (PACKAGE / f"{n}.py").exists() or n == "_core"}
            found |= files or {"__init__"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("margrave."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "margrave":
                    found.add("__init__")
                elif alias.name.startswith("margrave."):
                    found.add(alias.name.split(".")[1])
    return found


def rust_imports(name: str) -> set[str]:
    """Return the files of the core that a file names, its own tests apart."""
    text = (CORE / f"{name}.rs").read_text(encoding="utf-8").split("#[cfg(test)]")[0]
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("//"))
    grouped = re.findall(r"crate::\{([^}]*)\}", code)
    names = {part.split("::")[0].strip() for group in grouped for part in group.split(",")}
    return (names | set(re.findall(r"crate::(\w+)", code))) & set(RUST_FLOW)


def test_every_file_has_its_place_in_the_flow() -> None:
    assert len(set(RUST_FLOW)) == len(RUST_FLOW)
    assert len(set(PYTHON_FLOW)) == len(PYTHON_FLOW)
    assert {path.stem for path in PACKAGE.glob("*.py")} == set(PYTHON_FLOW)
    assert {path.stem for path in CORE.glob("*.rs")} - {"lib"} == set(RUST_FLOW)


@pytest.mark.parametrize("name", PYTHON_FLOW)
def test_python_files_import_only_what_comes_before_them(name: str) -> None:
    before = set(PYTHON_FLOW[: PYTHON_FLOW.index(name)])
    assert python_imports(name) - {"_core"} <= before


@pytest.mark.parametrize("name", RUST_FLOW)
def test_rust_files_import_only_what_comes_before_them(name: str) -> None:
    before = set(RUST_FLOW[: RUST_FLOW.index(name)])
    assert rust_imports(name) - {name} <= before


def test_only_the_engine_knows_the_compiled_core() -> None:
    knowing = {path.stem for path in PACKAGE.glob("*.py") if "_core" in python_imports(path.stem)}
    assert knowing == {"engine"}


def test_schema_and_errors_import_nothing_of_ours() -> None:
    assert python_imports("schema") == python_imports("errors") == set()


def test_the_report_knows_result_frames_alone() -> None:
    assert python_imports("report") <= {"schema", "errors"}


def test_the_kernel_knows_neither_columns_nor_results_nor_threads() -> None:
    for name in ("sizes", "margin", "liquidation"):
        assert not rust_imports(name) & {"columns", "results", "batch", "totals", "sweep"}


def test_only_batch_starts_threads() -> None:
    starting = {
        path.stem for path in CORE.glob("*.rs") if "thread::" in path.read_text(encoding="utf-8")
    }
    assert starting == {"batch"}


def test_the_core_depends_on_no_frame_library_and_has_no_unsafe_code() -> None:
    manifest = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    dependencies = manifest.split("[dependencies]")[1].split("[dev-dependencies]")[0]
    assert not re.search(r"pyo3|arrow|polars|rayon", dependencies)
    assert "#![forbid(unsafe_code)]" in (CORE / "lib.rs").read_text(encoding="utf-8")


def test_unsafe_code_stands_in_one_file_and_says_why_it_is_sound() -> None:
    for path in (ROOT / "rust" / "bindings").glob("*.rs"):
        lines = path.read_text(encoding="utf-8").splitlines()
        blocks = [i for i, line in enumerate(lines) if re.search(r"\bunsafe\s*[{f]", line)]
        assert not blocks or path.name == "arrow.rs"
        for block in blocks:
            assert any("SAFETY" in line for line in lines[max(0, block - 6) : block])
