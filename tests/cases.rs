//! Every portfolio of `cases/` and `cases/venues/` through the core. Python reads the same files.
//!
//! The figures in the files were worked by hand from the rules, with the arithmetic beside
//! them. What a venue published for its example stands in a table that Python looks at.

#[path = "night/rows.rs"]
mod rows;
#[path = "night/shown.rs"]
mod shown;

use std::path::{Path, PathBuf};

use margrave_core::conventions::{Conventions, Rung};
use margrave_core::sweep::Sweep;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use rows::Night;
use shown::{Figure, Frame};

/// The tables of a case file; `published` is a venue's own.
const PARTS: [&str; 9] = [
    "title",
    "rules",
    "instruments",
    "assets",
    "positions",
    "balances",
    "accounts",
    "expect",
    "published",
];

#[test]
fn every_case_gives_the_figures_worked_by_hand() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let files = [case_files(&folder), case_files(&folder.join("venues"))].concat();
    assert!(files.len() >= 150, "{} case files in {}", files.len(), folder.display());
    let wrong: Vec<String> = files.iter().flat_map(|path| differences(path)).collect();
    assert!(wrong.is_empty(), "{} figures are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn case_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of cases");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

/// Every figure of a case file that the core does not give, one line each.
fn differences(path: &Path) -> Vec<String> {
    let name = path.file_stem().expect("a file").to_string_lossy();
    let text = std::fs::read_to_string(path).expect("readable");
    let case: Table = text.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
    for key in case.keys() {
        assert!(PARTS.contains(&key.as_str()), "{name}: {key} is no part of a case");
    }
    let night = night(&case);
    let (book, market, rules) = (night.book(1), night.market(), night.rules());
    assert!(book.faults.is_empty(), "{name}: {:?}", book.faults);
    let sweep = Sweep::run(&book, &market, &rules, false, 1)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(sweep.faults.is_empty(), "{name}: {:?}", sweep.faults);

    let expect = case["expect"].as_table().expect("expect is a table");
    let mut wrong = Vec::new();
    for (frame, expected) in expect {
        let mut shown = match frame.as_str() {
            "accounts" => shown::accounts(&night, &book, &sweep),
            "buckets" => shown::buckets(&night, &book, &sweep, &rules),
            "positions" => shown::positions(&night, &book, &sweep, &rules),
            "totals" => shown::totals(&sweep),
            _ => panic!("{name}: no frame {frame}"),
        };
        if frame == "accounts" {
            carry(&mut shown, &case, &book.account_row);
        }
        let expected = match expected {
            Value::Array(rows) => rows.clone(),
            row => vec![row.clone()],
        };
        wrong.extend(compare(&format!("{name}: {frame}"), &shown, &expected));
    }
    wrong
}

fn night(case: &Table) -> Night {
    let rules = case["rules"].as_table().expect("rules is a table");
    Night {
        positions: rows(case, "positions"),
        balances: rows(case, "balances"),
        accounts: case.contains_key("accounts").then(|| rows(case, "accounts")),
        instruments: rows(case, "instruments"),
        assets: rows(case, "assets"),
        conventions: conventions(rules),
        tiers: rows(rules, "tiers"),
        weights: rows(rules, "weights"),
    }
}

fn rows<T: DeserializeOwned>(table: &Table, name: &str) -> Vec<T> {
    let Some(rows) = table.get(name) else {
        return Vec::new();
    };
    rows.clone().try_into().unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The conventions of a ruleset's file.
fn conventions(rules: &Table) -> Conventions {
    let mut conventions = Conventions::default();
    for (section, keys) in rules {
        match section.as_str() {
            "id" | "title" | "as_of" | "source" | "tiers" | "weights" => continue,
            "ladder" => {
                conventions.ladder = keys.as_array().expect("rungs").iter().map(rung).collect();
                continue;
            }
            _ => {}
        }
        for (key, value) in keys.as_table().unwrap_or_else(|| panic!("{section} is no section")) {
            match key.as_str() {
                "valuation_asset" => {}
                "profit_weight" => conventions.profit_weight = number(value).expect("a share"),
                "level" => conventions.level = number(value).expect("a number"),
                _ => conventions
                    .set(key, value.as_str().expect("a word"))
                    .unwrap_or_else(|error| panic!("{section}: {error}")),
            }
        }
    }
    conventions
}

fn rung(row: &Value) -> Rung {
    let name = row["name"].as_str().expect("a name").to_owned();
    Rung { name, margin_level_below: number(&row["margin_level_below"]).expect("a number") }
}

/// Adds the columns that the accounts frame brings along.
fn carry(shown: &mut Frame, case: &Table, account_row: &[u32]) {
    let carried = case.get("accounts").and_then(Value::as_array).cloned().unwrap_or_default();
    let columns = carried.iter().filter_map(Value::as_table).flat_map(Table::keys);
    let columns: Vec<&String> = columns.filter(|column| *column != "account_id").collect();
    for (row, from) in shown.iter_mut().zip(account_row) {
        for column in &columns {
            let value = carried.get(*from as usize).and_then(|from| from.get(column.as_str()));
            row.push(((*column).clone(), value.map_or(Figure::Null, Figure::from)));
        }
    }
}

fn compare(frame: &str, shown: &Frame, expected: &[Value]) -> Vec<String> {
    if shown.len() != expected.len() {
        return vec![format!("{frame} has {} rows, expected {}", shown.len(), expected.len())];
    }
    let mut wrong = Vec::new();
    for (i, (row, expected)) in shown.iter().zip(expected).enumerate() {
        for (column, expected) in expected.as_table().expect("rows are tables") {
            match row.iter().find(|(name, _)| name == column) {
                None => wrong.push(format!("{frame}.{i} has no {column}")),
                Some((_, figure)) if !is_same(figure, expected) => {
                    wrong.push(format!("{frame}.{i}.{column} is {figure:?}, expected {expected}"));
                }
                Some(_) => {}
            }
        }
    }
    wrong
}

/// Numbers to 1e-12, relative or near 0 absolute; everything else exactly.
fn is_same(figure: &Figure, expected: &Value) -> bool {
    match (figure, expected) {
        (Figure::Null, Value::String(word)) => word == "null",
        (Figure::Number(actual), Value::Float(expected)) => {
            let near = 1e-12 * actual.abs().max(expected.abs()).max(1.0);
            actual == expected || (actual - expected).abs() <= near
        }
        (figure, expected) => *figure == Figure::from(expected),
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|integer| integer as f64))
}
