//! The standing evaluation: every pair of the data of this folder, with weights that never saw the file they are judged on.
use crate::{
    data::{Data, Failure, Prices, Row, load},
    judge::{Asked, judge, rounded},
    report, table,
    train::{Lesson, lessons, rarity, train},
};
use megarouter::quality::{Prior, sketch::BUCKETS};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// What the shipped weights are trained on, and nothing else.
pub const TRAINING: [&str; 4] = ["mmlu_pro_nonmmlu", "zeroeval_crux", "zeroeval_math_l5", "zeroeval_numersense"];

/// File, weak model, strong model, labels through the feedback path.
const PAIRS: [(&str, &str, &str); 8] = [
    ("mmlu_pro_nonmmlu", "Meta-Llama-3_1-8B-Instruct", "gemini-1.5-flash-002"),
    ("mmlu_pro_nonmmlu", "Mixtral-8x7B-Instruct-v0.1", "Meta-Llama-3_1-70B-Instruct"),
    ("zeroeval_crux", "Meta-Llama-3.1-8B-Instruct", "gpt-4o-2024-08-06"),
    ("zeroeval_crux", "gpt-4o-mini-2024-07-18", "o1-mini-2024-09-12"),
    ("zeroeval_math_l5", "claude-3-haiku-20240307", "claude-3-5-sonnet-20240620"),
    ("zeroeval_math_l5", "gpt-4o-mini-2024-07-18", "o1-mini-2024-09-12"),
    ("zeroeval_numersense", "Meta-Llama-3-8B-Instruct", "gpt-4o-2024-05-13"),
    ("mmlu_gold1500", "mixtral-8x7b-instruct", "gpt-4-1106-preview"),
];

/// Mixed traffic: from each file as many prompts, weak and strong model.
type Mix = (&'static str, &'static [(&'static str, &'static str, &'static str)]);
const MIXES: [Mix; 3] = [
    (
        "zeroeval, Llama-3-8B → gpt-4o",
        &[
            ("zeroeval_crux", "Meta-Llama-3-8B-Instruct", "gpt-4o-2024-05-13"),
            ("zeroeval_math_l5", "Meta-Llama-3-8B-Instruct", "gpt-4o-2024-05-13"),
            ("zeroeval_numersense", "Meta-Llama-3-8B-Instruct", "gpt-4o-2024-05-13"),
        ],
    ),
    (
        "zeroeval, gpt-4o-mini → o1-mini",
        &[
            ("zeroeval_crux", "gpt-4o-mini-2024-07-18", "o1-mini-2024-09-12"),
            ("zeroeval_math_l5", "gpt-4o-mini-2024-07-18", "o1-mini-2024-09-12"),
        ],
    ),
    (
        "all files, a small model → a large one",
        &[
            ("mmlu_gold1500", "mixtral-8x7b-instruct", "gpt-4-1106-preview"),
            ("mmlu_pro_nonmmlu", "Mixtral-8x7B-Instruct-v0.1", "gemini-1.5-flash-002"),
            ("zeroeval_crux", "Mixtral-8x7B-Instruct-v0.1", "gpt-4-turbo-2024-04-09"),
            ("zeroeval_math_l5", "claude-3-haiku-20240307", "gpt-4-turbo-2024-04-09"),
            ("zeroeval_numersense", "Meta-Llama-3-8B-Instruct", "gpt-4o-2024-05-13"),
        ],
    ),
];
/// Rows of each file of a mix.
const MIX_ROWS: usize = 500;
/// A pool with the answers of six models, and the one whose quality is to be reached.
const POOL: [&str; 6] = [
    "gpt-3.5-turbo-0125",
    "gpt-4o-mini-2024-07-18",
    "gemini-1.5-flash",
    "gemini-1.5-pro",
    "claude-3-5-sonnet-20240620",
    "gpt-4o-2024-05-13",
];

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}

/// Loads a file of this folder.
///
/// # Errors
/// What is wrong with it.
pub fn own(name: &str) -> Result<Data, Failure> {
    load(&folder().join(format!("{name}.jsonl.gz")))
}

/// Weights trained on these files. Rarity is counted over all training texts, which needs no label.
///
/// # Errors
/// A file that cannot be read.
pub fn trained(files: &[&str]) -> Result<Prior, Failure> {
    let data = TRAINING.iter().map(|name| Ok((*name, own(name)?))).collect::<Result<Vec<_>, Failure>>()?;
    let flat: Vec<Lesson> = data.iter().flat_map(|(name, data)| lessons(name, data, &[128; BUCKETS])).collect();
    let rare = rarity(&flat.iter().collect::<Vec<_>>());
    let kept = data.iter().filter(|(name, _)| files.contains(name));
    let all: Vec<Lesson> = kept.flat_map(|(name, data)| lessons(name, data, &rare)).collect();
    Ok(train(&all.iter().collect::<Vec<_>>(), &rare))
}

/// Rows that reveal their scores.
const LABELS: [usize; 3] = [0, 130, 500];

/// Judges every pair, every mix and the pool, and prints what comes out. The seed is the first of those
/// that draw which rows reveal their scores.
///
/// # Errors
/// A file that cannot be read, a model of the table that the catalog has not.
pub fn run(seed: u64) -> Result<Value, Failure> {
    let prices = Prices::listed();
    // The weights that never saw a file; those of a file that is not trained on have seen all others.
    let mut priors = HashMap::new();
    for (file, ..) in PAIRS {
        let others: Vec<&str> = TRAINING.into_iter().filter(|name| *name != file).collect();
        priors.insert(file, trained(&others)?);
    }
    let mut told = Vec::new();
    report::heading();
    for (file, weak, strong) in PAIRS {
        let data = own(file)?;
        report::subject(&format!("{file}: {weak} → {strong}"));
        for labels in LABELS {
            let names = [weak, strong];
            let found = drawn(labels, seed, &|seed| {
                judge(&asked(names, &data, labels, seed), &data, &|_| &priors[file], &prices)
            })?;
            report::line(&found);
            told.push(
                json!({"kind": "pair", "data": file, "left_out": [file], "labels_asked": labels, "result": found}),
            );
        }
    }
    for (name, parts) in MIXES {
        let files: Vec<&str> = parts.iter().map(|(file, ..)| *file).collect();
        let data = mixed(parts)?;
        report::subject(&format!("mix: {name}"));
        for labels in LABELS {
            let names = ["weak", "strong"];
            // Each row by the weights that never saw its file.
            let prior = |row: &Row| &priors[row.category.as_str()];
            let found = drawn(labels, seed, &|seed| judge(&asked(names, &data, labels, seed), &data, &prior, &prices))?;
            report::line(&found);
            told.push(json!({"kind": "mix", "data": name, "left_out": files, "labels_asked": labels, "result": found}));
        }
    }
    pool(&prices, seed, &mut told)?;
    let summary = report::summary(&told);
    report::print_summary(&summary);
    let table = table::table(&told)?;
    table::print(&table);
    Ok(json!({"verdicts": told, "summary": summary, "table": table}))
}

/// How often the rows that reveal their scores are drawn: which they are matters as much as how many.
const DRAWS: u64 = 5;

/// The mean of the verdicts on several draws, from the seed on. Where nothing is revealed one is enough.
fn drawn(labels: usize, seed: u64, judge: &dyn Fn(u64) -> Result<Value, Failure>) -> Result<Value, Failure> {
    let seeds = seed..seed + if labels > 0 { DRAWS } else { 1 };
    let verdicts = seeds.map(judge).collect::<Result<Vec<_>, _>>()?;
    let mut told = averaged(&verdicts.iter().collect::<Vec<_>>());
    let of = if told["apgr"].is_number() { "apgr" } else { "held" };
    told["draws"] = verdicts.iter().map(|verdict| verdict[of].clone()).collect::<Vec<_>>().into();
    Ok(told)
}

/// Each number is the mean of those in its place, where there are any; all else is as in the first.
fn averaged(values: &[&Value]) -> Value {
    match values {
        [Value::Object(first), ..] => {
            let of = |name: &String| averaged(&values.iter().map(|value| &value[name]).collect::<Vec<_>>());
            first.keys().map(|name| (name.clone(), of(name))).collect::<serde_json::Map<_, _>>().into()
        }
        [Value::Array(first), ..] => {
            let of = |place: usize| averaged(&values.iter().map(|value| &value[place]).collect::<Vec<_>>());
            (0..first.len()).map(of).collect::<Vec<_>>().into()
        }
        [first, ..] => {
            let numbers: Vec<f64> = values.iter().filter_map(|value| value.as_f64()).collect();
            let same = values.iter().all(|value| value == first);
            if same || numbers.is_empty() {
                return (*first).clone();
            }
            rounded(numbers.iter().sum::<f64>() / numbers.len() as f64).into()
        }
        [] => Value::Null,
    }
}

/// The question about a pair: at most half of the rows reveal their scores.
fn asked(models: [&str; 2], data: &Data, labels: usize, seed: u64) -> Asked {
    Asked {
        strong: models[1].to_owned(),
        models: models.map(str::to_owned).into(),
        labels: if labels * 2 > data.rows.len() { data.rows.len() / 2 } else { labels },
        escalate: false,
        seed,
        shuffled: true,
    }
}

/// Rows of several files, each with its own pair of models.
fn mixed(parts: &[(&str, &str, &str)]) -> Result<Data, Failure> {
    let mut rows = Vec::new();
    for (file, weak, strong) in parts {
        let data = own(file)?;
        let column = |name: &str| data.models.iter().position(|model| model == name).ok_or(name.to_owned());
        let columns = [column(weak)?, column(strong)?];
        let chosen = crate::score::order(&vec![0.0; data.rows.len()], 3);
        let mut of_file: Vec<_> = data.rows.into_iter().map(Some).collect();
        for place in chosen.into_iter().take(MIX_ROWS) {
            if let Some(row) = of_file[place].take() {
                rows.push(row.narrowed(&columns, file));
            }
        }
    }
    Ok(Data { models: vec!["weak".to_owned(), "strong".to_owned()], rows })
}

fn pool(prices: &Prices, seed: u64, told: &mut Vec<Value>) -> Result<(), Failure> {
    let files = ["zeroeval_crux", "zeroeval_math_l5", "zeroeval_numersense"];
    let prior = trained(&["mmlu_pro_nonmmlu"])?;
    let mut rows = Vec::new();
    for file in files {
        let data = own(file)?;
        let column = |name: &&str| data.models.iter().position(|model| model == name).ok_or((*name).to_owned());
        let columns = POOL.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        rows.extend(data.rows.into_iter().map(|row| row.narrowed(&columns, file)));
    }
    let data = Data { models: POOL.iter().map(|name| (*name).to_owned()).collect(), rows };
    report::pool_heading(&POOL);
    for (target, labels, escalate) in [
        ("gpt-4o-2024-05-13", 0, false),
        ("gpt-4o-2024-05-13", 200, false),
        ("gpt-4o-2024-05-13", 200, true),
        ("claude-3-5-sonnet-20240620", 200, false),
        ("claude-3-5-sonnet-20240620", 200, true),
    ] {
        let models = data.models.clone();
        let asked =
            |seed| Asked { models: models.clone(), strong: target.to_owned(), labels, escalate, seed, shuffled: true };
        let found = drawn(labels, seed, &|seed| judge(&asked(seed), &data, &|_| &prior, prices))?;
        report::pool_line(target, labels, escalate, &found);
        told.push(json!({"kind": "pool", "data": files, "left_out": files, "labels_asked": labels, "result": found}));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_keeps_the_shape_and_leaves_out_what_is_missing() {
        let of = |values: [Value; 2]| averaged(&values.iter().collect::<Vec<_>>());
        let one = json!({"a": 0.2, "b": [1, null], "name": "x", "n": 7});
        let two = json!({"a": 0.4, "b": [2, 0.5], "name": "x", "n": 7});
        assert_eq!(of([one, two]), json!({"a": 0.3, "b": [1.5, 0.5], "name": "x", "n": 7}));
    }
}
