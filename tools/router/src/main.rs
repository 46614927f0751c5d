//! `router train` makes the weights; `router eval` judges a file of labelled prompts and prints the verdict as JSON, or without one
//! the data of this folder, and prints tables (JSON with `OUT=file` or `OUT=-`).
use megarouter::quality::Prior;
use router::{data, judge, protocol};
use std::{env, fs, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let done = match env::args().nth(1).as_deref() {
        Some("train") => make_weights(),
        Some("eval") => evaluate(),
        _ => Err("router train | router eval".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn make_weights() -> Result<(), data::Failure> {
    let prior = protocol::trained(&protocol::TRAINING)?;
    let path = protocol::folder().join("../../../schema/quality.bin");
    fs::write(&path, prior.write()).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("schema/quality.bin: {} bytes, trained on {}", prior.write().len(), protocol::TRAINING.join(", "));
    Ok(())
}

/// A variable that is set and not empty.
fn given(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str) -> Result<u64, data::Failure> {
    given(name).map_or(Ok(0), |text| text.parse().map_err(|_| format!("{name} is a number, not {text:?}")))
}

fn evaluate() -> Result<(), data::Failure> {
    let whole = given("DATA").is_none();
    let told = match given("DATA") {
        None => protocol::run(number("SEED")?.max(1))?,
        Some(path) => {
            let (models, strong) = match (given("WEAK"), given("STRONG"), given("POOL"), given("TARGET")) {
                (Some(weak), Some(strong), None, None) => (vec![weak, strong.clone()], strong),
                (None, None, Some(pool), Some(target)) => {
                    let mut models: Vec<String> = pool.split(',').map(|name| name.trim().to_owned()).collect();
                    if !models.contains(&target) {
                        models.push(target.clone());
                    }
                    (models, target)
                }
                _ => return Err("Say WEAK= and STRONG=, or POOL=a,b,… and TARGET=.".to_owned()),
            };
            let asked = judge::Asked {
                models,
                strong,
                labels: usize::try_from(number("LABELS")?).unwrap_or(usize::MAX),
                escalate: number("ESCALATE")? > 0,
                seed: number("SEED")?,
                shuffled: false,
            };
            let prior = Prior::shipped();
            judge::judge(&asked, &data::load(Path::new(&path))?, &|_| &prior, &data::Prices::listed())?
        }
    };
    let text = serde_json::to_string_pretty(&told).map_err(|error| error.to_string())?;
    match given("OUT").as_deref() {
        // The figures were printed as they came.
        None if whole => {}
        None | Some("json" | "-") => println!("{text}"),
        Some(path) => fs::write(path, text + "\n").map_err(|error| format!("{path}: {error}"))?,
    }
    Ok(())
}
