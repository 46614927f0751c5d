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

/// Resamples of every bootstrap.
const RESAMPLES: usize = 1_000;

/// How often each row is drawn, for every resample.
fn resamples(rows: usize, seed: u64) -> impl Iterator<Item = Vec<f64>> {
    let mut dice = Dice::new(seed ^ 0xB007);
    (0..RESAMPLES).map(move |_| {
        let mut times = vec![0.0; rows];
        for _ in 0..rows {
            times[usize::try_from(dice.roll() % rows as u64).unwrap_or(0)] += 1.0;
        }
        times
    })
}

/// 95 % of the values lie between these.
fn middle(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let cut = values.len() / 40;
    (values[cut.max(1) - 1], values[values.len() - cut - 1])
}

/// The 95 % interval of an order's APGR.
pub fn interval(pair: &Pair, order: &[usize], seed: u64) -> (f64, f64) {
    middle(resamples(order.len(), seed).map(|times| weighted_apgr(pair, order, &times)).collect())
}

/// The 95 % interval of how far one order's APGR is above another's, on the same resamples.
pub fn interval_between(pair: &Pair, order: &[usize], other: &[usize], seed: u64) -> (f64, f64) {
    let between = |times: Vec<f64>| weighted_apgr(pair, order, &times) - weighted_apgr(pair, other, &times);
    middle(resamples(order.len(), seed).map(between).collect())
}

/// What a share of strong calls does on rows it was not set on. Means over resamples.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Shares that go to the strong model: of calls, input tokens, output tokens.
    pub calls: f64,
    pub input: f64,
    pub output: f64,
    /// Quality, as a part of the strong model's.
    pub quality: f64,
    /// The share of calls at random that is as good.
    pub mix: f64,
    /// The 95 % interval of how much more of the gap is gained than by the same share at random.
    pub ahead: (f64, f64),
}

/// Sets the smallest share that reaches a part of the strong model's quality on each resample, and holds it to the rows that the
/// resample left out. `tokens` are each row's input and output.
pub fn held(pair: &Pair, order: &[usize], tokens: &[(f64, f64)], quality: f64, seed: u64) -> Held {
    let gain = |row: usize| f64::from(pair.strong[row]) - f64::from(pair.weak[row]);
    let mut told = Held::default();
    let mut ahead = Vec::with_capacity(RESAMPLES);
    for times in resamples(order.len(), seed) {
        let score = |row: usize| quality * f64::from(pair.strong[row]) - f64::from(pair.weak[row]);
        let mut missing: f64 = order.iter().map(|row| times[*row] * score(*row)).sum();
        // Calls, input, output, gain: those that go to the strong model, and all; then the strong model's score.
        let (mut taken, mut all, mut best) = ([0.0; 4], [0.0; 4], 0.0);
        for row in order {
            let strong = missing > 1e-9;
            missing -= times[*row] * gain(*row);
            if times[*row] > 0.0 {
                continue;
            }
            let of_row = [1.0, tokens[*row].0, tokens[*row].1, gain(*row)];
            all.iter_mut().zip(of_row).for_each(|(sum, more)| *sum += more);
            best += f64::from(pair.strong[*row]);
            if strong {
                taken.iter_mut().zip(of_row).for_each(|(sum, more)| *sum += more);
            }
        }
        let share = |place: usize| taken[place] / all[place];
        let sums = [&mut told.calls, &mut told.input, &mut told.output];
        sums.into_iter().enumerate().for_each(|(place, sum)| *sum += share(place) / RESAMPLES as f64);
        told.quality += (best - all[3] + taken[3]) / best / RESAMPLES as f64;
        ahead.push(share(3) - share(0));
    }
    let alone = mean(&pair.weak) / mean(&pair.strong);
    told.mix = ((told.quality - alone) / (1.0 - alone)).clamp(0.0, 1.0);
    told.ahead = middle(ahead);
    told
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

/// What a policy does with each row: what it pays, and how good the answer is.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    pub paid: Vec<f32>,
    pub scores: Vec<f32>,
}

impl Policy {
    /// Its cost and quality as parts of another's, over the rows that count.
    pub fn point(&self, of: &Self, counts: impl Fn(usize) -> bool) -> Point {
        let sum = |values: &[f32]| -> f64 {
            let counted = values.iter().enumerate().filter(|(row, _)| counts(*row));
            counted.map(|(_, value)| f64::from(*value)).sum()
        };
        (sum(&self.paid) / sum(&of.paid), sum(&self.scores) / sum(&of.scores))
    }
}

/// Cost and quality of the policy that is the cheapest to be so good on one half of the rows, on the other half; the strong model
/// alone where none is. Means over halves drawn at random.
pub fn chosen(policies: &[Policy], strong: &Policy, quality: f64, seed: u64) -> Point {
    const DRAWS: usize = 20;
    let mut dice = Dice::new(seed ^ 0x4A1F);
    let (mut cost, mut kept) = (0.0, 0.0);
    for _ in 0..DRAWS {
        let first: Vec<bool> = strong.paid.iter().map(|_| dice.roll() % 2 == 0).collect();
        let on_first = |policy: &&Policy| policy.point(strong, |row| first[row]);
        let good = policies.iter().filter(|policy| on_first(policy).1 >= quality - 1e-9);
        let cheapest = good.min_by(|a, b| on_first(a).0.total_cmp(&on_first(b).0)).unwrap_or(strong);
        let held = cheapest.point(strong, |row| !first[row]);
        cost += held.0 / DRAWS as f64;
        kept += held.1 / DRAWS as f64;
    }
    (cost, kept)
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
    fn a_share_that_is_held_to_other_rows_is_chance_by_chance_and_small_by_the_truth() {
        let mut dice = Dice::new(3);
        let mut draw = |share: f64| if dice.share() < share { 1.0 } else { 0.0 };
        let weak: Vec<f32> = (0..2_000).map(|_| draw(0.5)).collect();
        let pair = Pair { strong: weak.iter().map(|score| score.max(draw(0.6))).collect(), weak };
        let tokens = vec![(2.0, 1.0); 2_000];
        let chance = held(&pair, &order(&[0.0; 2_000], 5), &tokens, 0.9, 1);
        assert!((chance.calls - chance.mix).abs() < 0.05 && (chance.input - chance.calls).abs() < 1e-6, "{chance:?}");
        assert!((chance.quality - 0.9).abs() < 0.02 && chance.ahead.0 < 0.0 && chance.ahead.1 > 0.0, "{chance:?}");
        let gains: Vec<f32> = pair.strong.iter().zip(&pair.weak).map(|(strong, weak)| strong - weak).collect();
        let truth = held(&pair, &order(&gains, 5), &tokens, 0.9, 1);
        assert!(truth.calls < 0.3 && truth.mix > 0.6 && truth.ahead.0 > 0.3, "{truth:?}");
    }

    #[test]
    fn a_mix_lies_between_its_points() {
        let points = [(0.1, 0.8), (1.0, 1.0)];
        assert_eq!(cost_at(&points, 0.9), Some(1.0));
        assert!((mixed_cost_at(&points, 0.9).expect("a mix") - 0.55).abs() < 1e-9);
        assert_eq!(mixed_cost_at(&points, 1.1), None);
    }
}
