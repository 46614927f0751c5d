//! The training of the prior: ridge regression of hardness on words and figures, solved by conjugate gradients.
use crate::data::{Data, Row};
use megarouter::quality::{
    KINDS, Prior, USUAL_HARDNESS, kind,
    sketch::{BUCKETS, FIGURES, Rarity, Sketch},
};

/// The ridge, and what a figure weighs beside the words.
const RIDGE: f64 = 120.0;
const FIGURE: f32 = 0.4;
/// What a text e times as long as usual gains, on a scale from 0 to 1. On tasks that no training saw, length is what a text has to say.
/// Where tools are on offer it says more: what has to be filled in is a large part of it.
const LENGTH: [f32; KINDS] = [0.3, 0.1, 0.1, 0.1, 0.1];
/// Tiers of models, from the weakest to the strongest.
const TIERS: usize = 4;
/// A request with tools, in bytes without spaces: no training data has any.
const USUAL_TOOLS_BYTES: f32 = 900.0;

/// One prompt to learn from.
pub struct Lesson {
    pub sketch: Sketch,
    /// How much the stronger half of the models gained over the weaker one. How many failed is left out: where all fail, nobody
    /// gains.
    pub target: f32,
    /// What it is about; lessons of one domain share a weight.
    pub domain: String,
}

/// The lessons of a file. Models are put in tiers by their mean score.
pub fn lessons(name: &str, data: &Data, rarity: &Rarity) -> Vec<Lesson> {
    let tiers = tiers(data);
    let target = |row: &Row| {
        let means: Vec<f32> = tiers.iter().map(|tier| tier_mean(row, tier)).collect();
        let half = |tiers: &[f32]| tiers.iter().sum::<f32>();
        half(&means[TIERS / 2..]) - half(&means[..TIERS / 2])
    };
    let lesson = |row: &Row| Lesson {
        sketch: row.sketch(rarity),
        target: target(row),
        domain: if row.category.is_empty() { name.to_owned() } else { format!("{name}/{}", row.category) },
    };
    data.rows.iter().map(lesson).collect()
}

fn tiers(data: &Data) -> Vec<Vec<usize>> {
    let mean = |model: usize| {
        let scores: Vec<f32> = data.rows.iter().filter_map(|row| row.scores[model]).collect();
        crate::score::mean(&scores)
    };
    let mut models: Vec<(f64, usize)> = (0..data.models.len()).map(|model| (mean(model), model)).collect();
    models.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let size = models.len().div_ceil(TIERS);
    let mut tiers: Vec<Vec<usize>> =
        models.chunks(size).map(|tier| tier.iter().map(|(_, model)| *model).collect()).collect();
    while tiers.len() < TIERS {
        tiers.push(tiers.last().cloned().unwrap_or_default());
    }
    tiers
}

fn tier_mean(row: &Row, tier: &[usize]) -> f32 {
    let scores: Vec<f32> = tier.iter().filter_map(|model| row.scores[*model]).collect();
    scores.iter().sum::<f32>() / scores.len().max(1) as f32
}

/// How rare each bucket is among texts: 0.2 for one in every text, 1.2 for one in none, times 128.
pub fn rarity(lessons: &[&Lesson]) -> Box<Rarity> {
    let mut seen = vec![0.0_f32; BUCKETS];
    for lesson in lessons {
        lesson.sketch.words.iter().for_each(|(bucket, _)| seen[usize::from(*bucket)] += 1.0);
    }
    let whole = (1.0 + lessons.len() as f32).ln();
    let mut rarity = Box::new([0_u8; BUCKETS]);
    for (byte, seen) in rarity.iter_mut().zip(seen) {
        let rare = 0.2 + (whole - (1.0 + seen).ln()) / whole;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let rare = (rare * 128.0).round().clamp(0.0, 255.0) as u8;
        *byte = rare;
    }
    rarity
}

/// The prior those lessons teach. Sketches were made with `rarity`.
pub fn train(lessons: &[&Lesson], rarity: &Rarity) -> Prior {
    let mut prior = Prior { rarity: Box::new(*rarity), length: LENGTH, ..Prior::blank() };
    measure(lessons, &mut prior);
    let weights = domain_weights(lessons);
    let rows: Vec<Vec<(usize, f64)>> = lessons.iter().map(|lesson| features(&prior, &lesson.sketch)).collect();
    let whole: f64 = weights.iter().sum();
    let mean = lessons.iter().zip(&weights).map(|(lesson, w)| f64::from(lesson.target) * w).sum::<f64>() / whole;
    let targets: Vec<f64> = lessons.iter().map(|lesson| f64::from(lesson.target) - mean).collect();
    let solution = solve(&rows, &targets, &weights);
    store(&solution, &mut prior);
    let predicted: f64 = rows.iter().zip(&weights).map(|(row, w)| dot(row, &solution) * w).sum::<f64>() / whole;
    #[expect(clippy::cast_possible_truncation, reason = "about 0.35")]
    let bias = USUAL_HARDNESS - predicted as f32;
    prior.bias = bias;
    prior
}

/// Centre and spread of each figure, and the usual length of each kind.
fn measure(lessons: &[&Lesson], prior: &mut Prior) {
    let count = lessons.len() as f32;
    for figure in 0..FIGURES {
        let values: Vec<f32> = lessons.iter().map(|lesson| lesson.sketch.shape[figure]).collect();
        let centre = values.iter().sum::<f32>() / count;
        let spread = (values.iter().map(|value| (value - centre).powi(2)).sum::<f32>() / count).sqrt();
        // A figure that never differs says nothing yet; one that hardly does must not shout when it does.
        (prior.centre[figure], prior.spread[figure]) = (centre, spread.max(0.05));
    }
    for (place, usual) in prior.usual.iter_mut().enumerate() {
        let of_kind = lessons.iter().filter(|lesson| kind(&lesson.sketch.shape) == place);
        let lengths: Vec<f32> = of_kind.map(|lesson| lesson.sketch.shape[0]).collect();
        *usual = match (place, lengths.len()) {
            (0, _) => USUAL_TOOLS_BYTES.ln(),
            (_, 0) => prior.centre[0],
            (_, count) => lengths.iter().sum::<f32>() / count as f32,
        };
    }
    debug_assert_eq!(prior.usual.len(), KINDS);
}

/// Each domain counts by the square root of its size.
fn domain_weights(lessons: &[&Lesson]) -> Vec<f64> {
    let size = |domain: &str| lessons.iter().filter(|lesson| lesson.domain == domain).count() as f64;
    let mut known = std::collections::HashMap::new();
    let weights: Vec<f64> = lessons
        .iter()
        .map(|lesson| *known.entry(lesson.domain.as_str()).or_insert_with(|| size(&lesson.domain).powf(-0.5)))
        .collect();
    let mean = weights.iter().sum::<f64>() / weights.len() as f64;
    weights.into_iter().map(|weight| weight / mean).collect()
}

fn features(prior: &Prior, sketch: &Sketch) -> Vec<(usize, f64)> {
    let words = sketch.words.iter().map(|(bucket, value)| (usize::from(*bucket), f64::from(*value)));
    let figures = prior.normal(&sketch.shape);
    let figures = figures.iter().enumerate().map(|(place, figure)| (BUCKETS + place, f64::from(figure * FIGURE)));
    words.chain(figures).collect()
}

fn dot(row: &[(usize, f64)], weights: &[f64]) -> f64 {
    row.iter().map(|(place, value)| value * weights[*place]).sum()
}

/// Conjugate gradients on the normal equations (Hestenes and Stiefel 1952).
fn solve(rows: &[Vec<(usize, f64)>], targets: &[f64], weights: &[f64]) -> Vec<f64> {
    let width = BUCKETS + FIGURES;
    let spread = |values: &[f64]| {
        let mut sum = vec![0.0; width];
        for ((row, value), weight) in rows.iter().zip(values).zip(weights) {
            for (place, feature) in row {
                sum[*place] += feature * value * weight;
            }
        }
        sum
    };
    let product = |vector: &[f64]| {
        let through: Vec<f64> = rows.iter().map(|row| dot(row, vector)).collect();
        let mut sum = spread(&through);
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += RIDGE * value);
        sum
    };
    let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let mut solution = vec![0.0; width];
    let mut rest = spread(targets);
    let mut direction = rest.clone();
    let mut size = inner(&rest, &rest);
    for _ in 0..300 {
        let through = product(&direction);
        let step = size / inner(&direction, &through);
        solution.iter_mut().zip(&direction).for_each(|(value, along)| *value += step * along);
        rest.iter_mut().zip(&through).for_each(|(value, along)| *value -= step * along);
        let next = inner(&rest, &rest);
        if next < 1e-12 {
            break;
        }
        direction.iter_mut().zip(&rest).for_each(|(along, rest)| *along = rest + next / size * *along);
        size = next;
    }
    solution
}

/// Words in 1/127 of the largest.
fn store(solution: &[f64], prior: &mut Prior) {
    let most = solution[..BUCKETS].iter().fold(0.0_f64, |most, weight| most.max(weight.abs())).max(1e-9);
    #[expect(clippy::cast_possible_truncation, reason = "weights")]
    {
        prior.scale = (most / 127.0) as f32;
        for (byte, weight) in prior.words.iter_mut().zip(solution) {
            *byte = (weight / most * 127.0).round() as i8;
        }
        for (figure, weight) in prior.figures.iter_mut().zip(&solution[BUCKETS..]) {
            *figure = *weight as f32 * FIGURE;
        }
    }
}
