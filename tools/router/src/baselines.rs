//! What the router is held against: chance, length, keywords, neighbours, the task's own mean, and the truth.
use crate::{
    data::Row,
    judge::{Judged, PriorOf, case, prior_gain},
    score::Pair,
};
use megarouter::{id::Dice, quality::sketch::Sketch};
use std::collections::HashMap;

/// Neighbours that vote.
const NEIGHBOURS: usize = 40;
/// Words that gateways' rules look for.
const KEYWORDS: [&str; 24] = [
    "analyze",
    "prove",
    "derive",
    "explain",
    "why",
    "compare",
    "design",
    "algorithm",
    "optimize",
    "calculate",
    "step by step",
    "code",
    "function",
    "implement",
    "debug",
    "theorem",
    "equation",
    "evaluate",
    "reason",
    "complex",
    "integral",
    "matrix",
    "architecture",
    "refactor",
];

fn length(row: &Row) -> f32 {
    let tools: usize = row.tools.iter().map(|tool| tool.to_string().len()).sum();
    (row.prompt.len() + tools) as f32
}

fn keywords(row: &Row) -> f32 {
    let text = row.prompt.to_lowercase();
    let hits = KEYWORDS.iter().filter(|word| text.contains(*word)).count();
    (hits as f32 / 4.0).min(1.0) + 0.5 * (length(row).ln() / 8.0) + 0.2 * f32::from(u8::from(text.contains("```")))
}

/// The scores by which each would send rows to the strong model.
pub fn pair(judged: &Judged<'_>, pair: &Pair, prior: PriorOf<'_>) -> Vec<(&'static str, Vec<f32>)> {
    let mut dice = Dice::new(7);
    let gains: Vec<f32> = pair.strong.iter().zip(&pair.weak).map(|(strong, weak)| strong - weak).collect();
    #[expect(clippy::cast_possible_truncation, reason = "0 to 1")]
    let random = judged.rows.iter().map(|_| dice.share() as f32).collect();
    let by_row = |score: fn(&Row) -> f32| judged.rows.iter().map(|row| score(row)).collect();
    let prior_alone = judged.rows.iter().map(|row| prior_gain(&case(row, prior(row)), &judged.field)).collect();
    let mut all = vec![
        ("random", random),
        ("length", by_row(length)),
        ("keyword", by_row(keywords)),
        ("prior_alone", prior_alone),
        ("task_mean", task_means(&judged.rows, &gains, &judged.rows)),
        ("oracle", gains),
    ];
    if !judged.labelled.is_empty() {
        let column = |model: usize| judged.field.columns[model];
        let (weak, strong) = (column(1 - judged.field.strong), column(judged.field.strong));
        let gain = |row: &&Row| row.scores[strong].unwrap_or_default() - row.scores[weak].unwrap_or_default();
        let labels: Vec<f32> = judged.labelled.iter().map(gain).collect();
        all.push(("task_mean_from_labels", task_means(&judged.labelled, &labels, &judged.rows)));
        let neighbours = neighbours(judged, prior);
        let voted = |near: &Vec<usize>| near.iter().map(|place| labels[*place]).sum::<f32>() / near.len().max(1) as f32;
        all.push(("knn", neighbours.iter().map(voted).collect()));
    }
    all
}

/// The estimates of each model by which each would choose from a pool.
pub fn pool(judged: &Judged<'_>) -> Vec<(&'static str, Vec<Vec<f32>>)> {
    let models = 0..judged.field.columns.len();
    let scores = |rows: &[&Row], model: usize| -> Vec<f32> {
        rows.iter().map(|row| row.scores[judged.field.columns[model]].unwrap_or_default()).collect()
    };
    let by_model = |known: &[&Row]| -> Vec<Vec<f32>> {
        let columns: Vec<Vec<f32>> =
            models.clone().map(|model| task_means(known, &scores(known, model), &judged.rows)).collect();
        (0..judged.rows.len()).map(|place| columns.iter().map(|column| column[place]).collect()).collect()
    };
    let truth: Vec<Vec<f32>> = models.clone().map(|model| scores(&judged.rows, model)).collect();
    let truth = (0..judged.rows.len()).map(|place| truth.iter().map(|column| column[place]).collect()).collect();
    let mut all = vec![("task_mean", by_model(&judged.rows)), ("oracle", truth)];
    if !judged.labelled.is_empty() {
        all.push(("task_mean_from_labels", by_model(&judged.labelled)));
    }
    all
}

/// For each row the mean of its task among the known ones.
fn task_means(known: &[&Row], values: &[f32], rows: &[&Row]) -> Vec<f32> {
    let mut sums: HashMap<&str, (f32, f32)> = HashMap::new();
    for (row, value) in known.iter().zip(values) {
        let sum = sums.entry(row.category.as_str()).or_default();
        *sum = (sum.0 + value, sum.1 + 1.0);
    }
    let overall = values.iter().sum::<f32>() / values.len().max(1) as f32;
    let mean = |row: &&Row| sums.get(row.category.as_str()).map_or(overall, |(sum, count)| sum / count);
    rows.iter().map(mean).collect()
}

/// The labelled rows nearest to each judged one, by the cosine of their words.
fn neighbours(judged: &Judged<'_>, prior: PriorOf<'_>) -> Vec<Vec<usize>> {
    let mut index: HashMap<u16, Vec<(usize, f32)>> = HashMap::new();
    for (place, row) in judged.labelled.iter().enumerate() {
        for (bucket, value) in row.sketch(&prior(row).rarity).words {
            index.entry(bucket).or_default().push((place, value));
        }
    }
    let near = |sketch: &Sketch| {
        let mut likeness = vec![0.0_f32; judged.labelled.len()];
        for (bucket, value) in &sketch.words {
            for (place, other) in index.get(bucket).into_iter().flatten() {
                likeness[*place] += value * other;
            }
        }
        let mut places: Vec<usize> = (0..likeness.len()).collect();
        places.sort_by(|a, b| likeness[*b].total_cmp(&likeness[*a]));
        places.truncate(NEIGHBOURS);
        places
    };
    judged.rows.iter().map(|row| near(&row.sketch(&prior(row).rarity))).collect()
}
