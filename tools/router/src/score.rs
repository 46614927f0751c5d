//! The figures of the protocol: area under the gain over the share of strong calls, shares and costs that a quality takes.
use megarouter::id::Dice;

/// Two models on every row: what each scored.
#[derive(Clone, Debug)]
pub struct Pair {
    pub weak: Vec<f32>,
    pub strong: Vec<f32>,
}

impl Pair {
    pub fn rows(&self) -> usize {
        self.weak.len()
    }

    pub fn gap(&self) -> f64 {
        mean(&self.strong) - mean(&self.weak)
    }
}

pub fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len().max(1) as f64
}

/// Rows in the order they would go to the strong model. Rows that score the same come in an order drawn once, so that a constant
/// is chance.
pub fn order(scores: &[f32], seed: u64) -> Vec<usize> {
    let mut dice = Dice::new(seed);
    let draws: Vec<u64> = scores.iter().map(|_| dice.roll()).collect();
    let mut rows: Vec<usize> = (0..scores.len()).collect();
    rows.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(draws[*a].cmp(&draws[*b])));
    rows
}

/// APGR: the mean, over all shares of strong calls from none to all, of the part of the gap that is gained. 0.5 is chance.
pub fn apgr(pair: &Pair, order: &[usize]) -> f64 {
    weighted_apgr(pair, order, &vec![1.0; order.len()])
}

/// The same with rows that count more than once: a resample.
fn weighted_apgr(pair: &Pair, order: &[usize], times: &[f64]) -> f64 {
    let gain = |row: usize| f64::from(pair.strong[row]) - f64::from(pair.weak[row]);
    let (mut sum, mut area, mut seen) = (0.0, 0.0, 0.0);
    for row in order {
        let weight = times[*row];
        area += weight * (sum + weight * gain(*row) / 2.0);
        sum += weight * gain(*row);
        seen += weight;
    }
    area / seen / sum
}

/// 95 % of a thousand resamples lie between these.
pub fn interval(pair: &Pair, order: &[usize], seed: u64) -> (f64, f64) {
    let mut dice = Dice::new(seed ^ 0xB007);
    let mut found: Vec<f64> = (0..1_000)
        .map(|_| {
            let mut times = vec![0.0; order.len()];
            for _ in 0..order.len() {
                times[usize::try_from(dice.roll() % order.len() as u64).unwrap_or(0)] += 1.0;
            }
            weighted_apgr(pair, order, &times)
        })
        .collect();
    found.sort_by(f64::total_cmp);
    (found[24], found[974])
}

/// CPT: the smallest share of strong calls that gains this part of the gap.
pub fn share_for(pair: &Pair, order: &[usize], part: f64) -> Option<f64> {
    let wanted = part * pair.gap() * pair.rows() as f64;
    let mut sum = 0.0;
    for (taken, row) in order.iter().enumerate() {
        if sum >= wanted {
            return Some(taken as f64 / pair.rows() as f64);
        }
        sum += f64::from(pair.strong[*row]) - f64::from(pair.weak[*row]);
    }
    (sum >= wanted - 1e-9).then_some(1.0)
}

/// A point a policy reaches: its cost and its quality, as parts of the strong model's.
pub type Point = (f64, f64);

/// The smallest cost at which a policy is at least that good; `None` where it never is.
pub fn cost_at(points: &[Point], quality: f64) -> Option<f64> {
    let reached = points.iter().filter(|(_, reached)| *reached >= quality - 1e-9).map(|(cost, _)| *cost);
    reached.min_by(f64::total_cmp)
}

/// The smallest cost of a mixture of two points that is at least that good: what a static mix of single models can do.
pub fn mixed_cost_at(points: &[Point], quality: f64) -> Option<f64> {
    let alone = cost_at(points, quality);
    let mixes = points.iter().flat_map(|below| points.iter().map(move |above| (below, above)));
    let mixed = mixes.filter(|((_, low), (_, high))| *low < quality && *high >= quality).map(|(below, above)| {
        let share = (quality - below.1) / (above.1 - below.1);
        below.0 + share * (above.0 - below.0)
    });
    mixed.chain(alone).min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_a_half_and_the_best_order_is_more() {
        let pair = Pair { weak: vec![0.0, 1.0, 0.0, 1.0], strong: vec![1.0; 4] };
        let best = apgr(&pair, &[0, 2, 1, 3]);
        let worst = apgr(&pair, &[1, 3, 0, 2]);
        assert!((best - 0.75).abs() < 1e-9 && (worst - 0.25).abs() < 1e-9, "{best} {worst}");
        assert_eq!(share_for(&pair, &[0, 2, 1, 3], 0.5), Some(0.25));
    }

    #[test]
    fn a_mix_lies_between_its_points() {
        let points = [(0.1, 0.8), (1.0, 1.0)];
        assert_eq!(cost_at(&points, 0.9), Some(1.0));
        assert!((mixed_cost_at(&points, 0.9).expect("a mix") - 0.55).abs() < 1e-9);
        assert_eq!(mixed_cost_at(&points, 1.1), None);
    }
}
