//! The standing evaluation: every pair of the data of this folder, with weights that never saw the file they are judged on.
use crate::{
    data::{Data, Failure, Prices, Row, load},
    judge::{Asked, judge},
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

/// Judges every pair, every mix and the pool, and prints what comes out.
///
/// # Errors
/// A file that cannot be read, a model of the table that the catalog has not.
pub fn run() -> Result<Value, Failure> {
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
            let names = [weak.to_owned(), strong.to_owned()];
            let found = judge(&asked(names, &data, labels), &data, &|_| &priors[file], &prices)?;
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
            let names = ["weak".to_owned(), "strong".to_owned()];
            // Each row by the weights that never saw its file.
            let prior = |row: &Row| &priors[row.category.as_str()];
            let found = judge(&asked(names, &data, labels), &data, &prior, &prices)?;
            report::line(&found);
            told.push(json!({"kind": "mix", "data": name, "left_out": files, "labels_asked": labels, "result": found}));
        }
    }
    pool(&prices, &mut told)?;
    let summary = report::summary(&told);
    report::print_summary(&summary);
    let table = table::table(&told)?;
    table::print(&table);
    Ok(json!({"verdicts": told, "summary": summary, "table": table}))
}

/// The question about a pair: at most half of the rows reveal their scores.
fn asked(models: [String; 2], data: &Data, labels: usize) -> Asked {
    Asked {
        strong: models[1].clone(),
        models: models.into(),
        labels: if labels * 2 > data.rows.len() { data.rows.len() / 2 } else { labels },
        escalate: false,
        seed: 1,
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

fn pool(prices: &Prices, told: &mut Vec<Value>) -> Result<(), Failure> {
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
        let asked =
            Asked { models: data.models.clone(), strong: target.to_owned(), labels, escalate, seed: 1, shuffled: true };
        let found = judge(&asked, &data, &|_| &prior, prices)?;
        report::pool_line(target, labels, escalate, &found);
        told.push(json!({"kind": "pool", "data": files, "left_out": files, "labels_asked": labels, "result": found}));
    }
    Ok(())
}
