//! `replay one` and `replay backtest`: rows of the ledger on standard input, a line each, as `GET /admin/v1/ledger/entries` tells them.
use megarouter::{catalog::Catalog, mode::Mode};
use replay::{Decided, Row, backtest::backtest, replay, row};
use std::{fs, io, process::ExitCode, rc::Rc};

const USAGE: &str = "\
usage: replay one <rows.jsonl
       replay backtest CATALOG.json [MODE] [OUT.json] <rows.jsonl";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["one"] => rows().and_then(|(rows, undecided)| all_the_same(&rows, undecided)),
        ["backtest", catalog] => tested(catalog, "", ""),
        ["backtest", catalog, mode] => tested(catalog, mode, ""),
        ["backtest", catalog, mode, out] => tested(catalog, mode, out),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

/// The decisions, and how many rows have none.
fn rows() -> Result<(Vec<Decided>, usize), String> {
    let (mut rows, mut undecided) = (Vec::new(), 0);
    for line in io::stdin().lines() {
        match row(&line.map_err(|error| format!("the rows cannot be read: {error}"))?) {
            Row::Decided(decided) => rows.push(*decided),
            Row::Undecided => undecided += 1,
            Row::Unreadable(why) => eprintln!("left out: {why}"),
        }
    }
    Ok((rows, undecided))
}

fn all_the_same(rows: &[Decided], undecided: usize) -> Result<bool, String> {
    if rows.is_empty() {
        return Err(format!(
            "No decision is kept of it ({undecided} rows): the caller named the deployment, only one could be asked, or nobody answered."
        ));
    }
    let mut all = true;
    for decided in rows {
        let (text, same) = replay(decided);
        println!("{text}");
        all &= same;
    }
    Ok(all)
}

fn tested(catalog: &str, mode: &str, out: &str) -> Result<bool, String> {
    let mode = match mode {
        "" => None,
        word => Some(
            Mode::of_word(word)
                .ok_or_else(|| format!("{word:?} is no mode: {}", Mode::ALL.map(Mode::word).join(", ")))?,
        ),
    };
    let text = fs::read_to_string(catalog).map_err(|error| format!("{catalog} cannot be read: {error}"))?;
    let catalog = Rc::new(Catalog::parse(&text).map_err(|error| format!("{catalog} is no catalog: {error:?}"))?);
    let (rows, undecided) = rows()?;
    let report = backtest(&rows, &catalog, mode);
    print!("{}", report.to_text(undecided));
    if !out.is_empty() {
        fs::write(out, format!("{:#}\n", report.to_json()))
            .map_err(|error| format!("{out} cannot be written: {error}"))?;
    }
    Ok(true)
}
