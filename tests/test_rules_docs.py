"""`docs/rules.md` is true: its examples give their figures, and it leaves no key or word out.

What there is to say is read from the models of the ruleset file and from the presets, never listed
here.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import margrave as mg
from margrave.ruleset import RulesFile, Rung, TierRow, WeightRow
from test_cases import assert_engine, assert_oracle, keys_set, read, unmoved_keys

TEXT = (Path(__file__).parent.parent / "docs" / "rules.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
EXAMPLES = [block for block in BLOCKS if "expect" in tomllib.loads(block)]

#: The sections of keys, and the tables with the model of their rows.
SECTIONS: dict[str, type[BaseModel]] = {
    name: field.annotation
    for name, field in RulesFile.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
ROWS: dict[str, type[BaseModel]] = {"ladder": Rung, "tiers": TierRow, "weights": WeightRow}

FIELDS: dict[str, FieldInfo] = {
    f"{section}.{key}": field
    for section, model in SECTIONS.items()
    for key, field in model.model_fields.items()
}
WORDS: dict[str, tuple[Any, ...]] = {
    path: get_args(field.annotation)
    for path, field in FIELDS.items()
    if get_origin(field.annotation) is Literal
}


def title(example: str) -> str:
    return str(tomllib.loads(example)["title"])


def part(heading: str) -> str:
    """Return what stands under a heading, up to the next one of its rank or above."""
    rank = heading.split(" ")[0]
    found = re.search(
        rf"^{re.escape(heading)}.*?$(.*?)(?=^#{{2,{len(rank)}}} |\Z)", TEXT, re.M | re.S
    )
    assert found, f"docs/rules.md has no heading {heading!r}"
    return found[1]


def table(text: str) -> dict[str, list[str]]:
    """Return the other cells of the first table in a text by its first cell."""
    rows = re.findall(r"^\|(.*)\|$", text.split("```")[0], re.MULTILINE)
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in rows[2:]]
    return {row[0]: row[1:] for row in cells}


def in_code(value: object) -> str:
    """Return a default as the page writes it: text in quotes, whole numbers of tables as such."""
    return f'`"{value}"`' if isinstance(value, str) else f"`{value!r}`"


@pytest.mark.parametrize("example", EXAMPLES, ids=title)
def test_an_example_gives_its_figures_in_engine_and_oracle(example: str) -> None:
    exchange, expect = read(example)
    assert_oracle(exchange, expect)
    assert_engine(exchange, expect)


@pytest.mark.parametrize("example", EXAMPLES, ids=title)
def test_an_example_fails_where_a_key_that_it_sets_is_ignored(example: str) -> None:
    assert not unmoved_keys(*read(example))


@pytest.mark.parametrize("example", EXAMPLES, ids=title)
def test_an_example_has_its_arithmetic_beside_it(example: str) -> None:
    assert re.search(r"#.*\d", example[example.index("expect") :])


def test_examples_have_titles_of_their_own() -> None:
    assert len(EXAMPLES) >= 20
    assert len({title(example) for example in EXAMPLES}) == len(EXAMPLES)


def test_the_file_at_its_defaults_is_an_empty_file() -> None:
    (whole,) = (block for block in BLOCKS if block not in EXAMPLES)
    content = tomllib.loads(whole)
    file = RulesFile.model_validate(content)
    assert file == RulesFile()
    assert set(content) == {"id", *SECTIONS}
    written = {f"{name}.{key}" for name in SECTIONS for key in content[name]}
    assert written == set(FIELDS)


def test_headings_are_the_keys_in_order() -> None:
    keys = re.findall(r"^### `(\w+\.\w+)`$", TEXT, re.MULTILINE)
    assert keys == list(FIELDS)
    parts = re.findall(r"^## `\[\[?(\w+)\]\]?`", TEXT, re.MULTILINE)
    assert parts == [*SECTIONS, *ROWS]


def test_the_file_s_own_keys_have_their_defaults() -> None:
    after = part("## The file at its defaults").split("```")[2]
    rows = {key.strip("`"): cells[0] for key, cells in table(after).items()}
    assert list(rows) == [key for key in RulesFile.model_fields if key not in SECTIONS | ROWS]
    for key, default in rows.items():
        value = RulesFile.model_fields[key].get_default(call_default_factory=True)
        assert default == ("none" if value is None else in_code(value)), key


@pytest.mark.parametrize("path", WORDS)
def test_a_key_s_words_are_in_its_table_the_default_first(path: str) -> None:
    default = FIELDS[path].default
    rows = list(table(part(f"### `{path}`")))
    assert rows[0] == f"`{default}` (default)"
    assert rows == [f"`{word}`" + " (default)" * (word == default) for word in WORDS[path]]


@pytest.mark.parametrize("path", [path for path in FIELDS if path not in WORDS])
def test_a_number_or_name_has_its_default(path: str) -> None:
    assert f"Default: {in_code(FIELDS[path].default)}" in part(f"### `{path}`")


@pytest.mark.parametrize("name", ROWS)
def test_a_table_s_columns_are_there_with_their_defaults(name: str) -> None:
    rows = {key.strip("`"): cells[0] for key, cells in table(part(f"## `[[{name}]]`")).items()}
    assert list(rows) == list(ROWS[name].model_fields)
    for column, field in ROWS[name].model_fields.items():
        assert (rows[column] == "required") == field.is_required(), column
        if isinstance(field.default, float):
            assert rows[column] == f"`{field.default:g}`", column


def presets() -> dict[str, dict[str, Any]]:
    """Return the content of every preset, defaults filled in."""
    return {name: tomllib.loads(mg.Rules.preset(name).to_toml()) for name in mg.Rules.presets()}


@pytest.mark.parametrize("path", WORDS)
def test_the_presets_named_beside_a_word_are_those_that_use_it(path: str) -> None:
    section, key = path.split(".")
    told = {row.split("`")[1]: cells[-1] for row, cells in table(part(f"### `{path}`")).items()}
    using: dict[str, list[str]] = {word: [] for word in told}
    for name, content in presets().items():
        using[content[section][key]].append(f"`{name}`")
    assert list(told.values()).count("the others") == 1
    for word, cell in told.items():
        if cell == "the others":
            assert using[word], f"{path} = {word!r}: no preset is left"
        else:
            assert cell == (", ".join(using[word]) or "none"), f"{path} = {word!r}"


@pytest.mark.parametrize("path", [path for path in FIELDS if path not in WORDS])
def test_the_presets_named_beside_a_number_or_name_are_those_that_have_it(path: str) -> None:
    (section, key), default = path.split("."), FIELDS[path].default
    text = part(f"### `{path}`").split("Presets: ")[1].split("Elsewhere")[0]
    unlike = {
        name: content[section][key]
        for name, content in presets().items()
        if content[section][key] != default
    }
    assert dict(re.findall(r"`(\w+)` `([\w.]+)`", text)) == {k: str(v) for k, v in unlike.items()}
    assert f"`{default}`" in text


def test_the_presets_named_beside_the_ladder_are_those_that_have_one() -> None:
    text = part("## `[[ladder]]`").split("Presets: ")[1].split("Elsewhere")[0]
    ladders = {
        name: content["ladder"] for name, content in presets().items() if "ladder" in content
    }
    names = {name: ", ".join(rung["name"] for rung in rungs) for name, rungs in ladders.items()}
    assert dict(re.findall(r"`(\w+)` \(`(\w+)`\)", text)) == names


def test_every_word_but_defaults_and_every_other_key_is_in_an_example() -> None:
    shown: dict[str, set[Any]] = {path: set() for path in FIELDS}
    tables: dict[str, set[str]] = {name: set() for name in ROWS}
    for example in EXAMPLES:
        rules = tomllib.loads(example)["rules"]
        for section, key in keys_set(rules):
            if section in SECTIONS:
                shown[f"{section}.{key}"].add(rules[section][key])
        if "valuation_asset" in rules.get("buckets", {}):
            shown["buckets.valuation_asset"].add(rules["buckets"]["valuation_asset"])
        for name in ROWS:
            tables[name] |= {column for row in rules.get(name, []) for column in row}
    for path, words in WORDS.items():
        assert shown[path] == set(words) - {FIELDS[path].default}, path
    assert [path for path, values in shown.items() if not values] == []
    assert tables == {name: set(model.model_fields) for name, model in ROWS.items()}


def test_tables_in_files_beside_are_the_same_ruleset(tmp_path: Path) -> None:
    (named,) = re.findall(r"^```\n(.*?)^```$", part("## `[[tiers]]`"), re.DOTALL | re.MULTILINE)
    (tiers,), (weights,) = re.findall(r'"(.+\.csv)"', named), re.findall(r'"(.+\.parquet)"', named)
    in_rows = mg.Rules.load(tomllib.loads(EXAMPLES[0])["rules"])
    in_rows.tiers.write_csv(tmp_path / tiers)
    in_rows.weights.write_parquet(tmp_path / weights)
    (tmp_path / "my.toml").write_text(named, encoding="utf-8")
    assert mg.Rules.load(tmp_path / "my.toml").hash == in_rows.hash


def test_the_calls_at_the_top_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (whole,) = (block for block in BLOCKS if block not in EXAMPLES)
    (tmp_path / "my.toml").write_text(whole, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    tiers = mg.Rules.preset("dydx_v4").tiers
    names: dict[str, Any] = {"mg": mg, "frame": tiers}
    exec(block, names)
    assert names["rules"].id == "hyperliquid"
    assert names["rules"].tiers.equals(tiers)


def test_links_on_the_page_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", TEXT)) <= anchors
