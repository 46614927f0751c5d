//! What choosing is worth: requests the router chose for beside those that somebody was drawn for, whatever they said.
//!
//! Who is drawn was chosen lately for other requests, so both sides ask the same deployments equally often, and only which request went
//! where differs. What the drawn side tells of each deployment also tells what the best static mix would cost: shares of two of
//! them at most, on the lower edge of their cost and quality. Intervals are of 95 %, from a thousand draws of all means around what was
//! seen, with a fixed seed: the same sums give the same report.
use crate::{
    id::Dice,
    json::{self, json},
    ledger::Arm,
    money::Nanos,
};
use serde::Serialize;
use serde_json::Value;

/// How the requests of one arm did that one deployment answered, in one period.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ArmRow {
    /// Which one, by its number.
    pub period: u64,
    pub arm: Arm,
    /// `provider/model`.
    pub deployment: String,
    /// In US dollars, a request each.
    pub cost: Sums,
    /// 0 to 1, of those somebody judged.
    pub score: Sums,
    /// Whether it passed, of those that could be checked.
    pub passed: Sums,
}

json::members!(default ArmRow { period, arm, deployment, cost, score, passed });

/// What a mean and its error are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sums {
    pub count: f64,
    pub sum: f64,
    pub square: f64,
}

json::members!(default Sums { count, sum, square });

impl Sums {
    pub fn take(&mut self, value: f64) {
        self.add(Self { count: 1.0, sum: value, square: value * value });
    }

    fn add(&mut self, more: Self) {
        self.count += more.count;
        self.sum += more.sum;
        self.square += more.square;
    }

    fn mean(self) -> f64 {
        self.sum / self.count.max(1.0)
    }

    /// The standard error of the mean.
    fn error(self) -> f64 {
        let spread = (self.square / self.count.max(1.0) - self.mean() * self.mean()).max(0.0);
        (spread / (self.count - 1.0).max(1.0)).sqrt()
    }

    /// A mean that might have been as well.
    fn drawn(self, dice: &mut Dice) -> f64 {
        // Twelve numbers from 0 to 1 sum to nearly a normal one around 6, of variance 1.
        let normal: f64 = (0..12).map(|_| dice.share()).sum::<f64>() - 6.0;
        self.mean() + normal * self.error()
    }

    /// Drawn towards the mean of all, by as much as it is in doubt.
    fn shrunk(mut self, all: Self) -> Self {
        let doubt = DOUBT / all.count.max(1.0);
        self.add(Self { count: all.count * doubt, sum: all.sum * doubt, square: all.square * doubt });
        self
    }
}

/// What a deployment's own quality has to outweigh, in requests.
const DOUBT: f64 = 8.0;
/// Judged requests that each arm needs before quality is compared.
const JUDGED_MIN: f64 = 30.0;
const DRAWS: usize = 1_000;

#[derive(Clone, Copy, Debug, Default)]
struct Side {
    cost: Sums,
    quality: Sums,
}

/// The least cost of a mix of deployments, each at a cost and a quality, that is as good; where none is, that of the best.
fn static_mix(points: &[(f64, f64)], quality: f64) -> f64 {
    let mut least = f64::MAX;
    for (cost, good) in points.iter().filter(|(_, good)| *good >= quality) {
        least = least.min(*cost);
        for (cheap, poor) in points.iter().filter(|(cheap, poor)| *poor < quality && cheap < cost) {
            let share = (quality - poor) / (good - poor);
            least = least.min(cheap + share * (cost - cheap));
        }
    }
    let best = points.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    if least < f64::MAX { least } else { best.map_or(0.0, |(cost, _)| *cost) }
}

fn total<'a>(rows: impl Iterator<Item = &'a ArmRow>, quality: fn(&ArmRow) -> Sums) -> Side {
    rows.fold(Side::default(), |mut side, row| {
        side.cost.add(row.cost);
        side.quality.add(quality(row));
        side
    })
}

/// The report on some periods: what each side cost and was worth, and what routing saves against the best static mix.
#[must_use]
pub fn report(rows: &[ArmRow]) -> Value {
    let of = |arm: Arm| rows.iter().filter(move |row| row.arm == arm);
    let enough = |quality: fn(&ArmRow) -> Sums| {
        [Arm::Routed, Arm::Control].into_iter().all(|arm| total(of(arm), quality).quality.count >= JUDGED_MIN)
    };
    let (basis, quality): (_, fn(&ArmRow) -> Sums) = match (enough(|row| row.score), enough(|row| row.passed)) {
        (true, _) => (Some("feedback"), |row| row.score),
        (false, true) => (Some("checks"), |row| row.passed),
        _ => (None, |row| row.score),
    };
    let (routed, control) = (total(of(Arm::Routed), quality), total(of(Arm::Control), quality));
    let mut names: Vec<&str> = of(Arm::Control).map(|row| row.deployment.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let side = |name: &&str| {
        let side = total(of(Arm::Control).filter(|row| row.deployment == **name), quality);
        Side { quality: side.quality.shrunk(control.quality), cost: side.cost.shrunk(control.cost) }
    };
    let sides: Vec<Side> = names.iter().map(side).collect();
    let mut dice = Dice::new(1);
    let point = |side: &Side, dice: &mut Dice| (side.cost.drawn(dice), side.quality.drawn(dice));
    let mut saved: Vec<f64> = Vec::new();
    let mut gained: Vec<f64> = Vec::new();
    for _ in 0..if basis.is_some() { DRAWS } else { 0 } {
        let points: Vec<(f64, f64)> = sides.iter().map(|side| point(side, &mut dice)).collect();
        let (cost, good) = point(&routed, &mut dice);
        saved.push(1.0 - cost / static_mix(&points, good).max(f64::MIN_POSITIVE));
        gained.push(good - control.quality.drawn(&mut dice));
    }
    let points: Vec<(f64, f64)> = sides.iter().map(|side| (side.cost.mean(), side.quality.mean())).collect();
    let mix = basis.map(|_| static_mix(&points, routed.quality.mean()));
    let saving = mix.map(|mix| 1.0 - routed.cost.mean() / mix.max(f64::MIN_POSITIVE));
    let interval = interval(&mut saved);
    let apart = interval.is_some_and(|(low, high)| low > 0.0 || high < 0.0);
    json!({
        "object": "router_lift",
        "routed": told(routed),
        "control": told(control),
        "quality_from": basis,
        "static_mix_cost_usd": mix.map(usd),
        "saved": saving.map(rounded),
        "saved_interval": interval.map(|(low, high)| vec![rounded(low), rounded(high)]),
        "quality_gained_interval": self::interval(&mut gained).map(|(low, high)| vec![rounded(low), rounded(high)]),
        "distinguishable": apart,
        "control_deployments": names,
    })
}

fn told(side: Side) -> Value {
    let judged = side.quality.count > 0.0;
    json!({
        "requests": whole(side.cost.count),
        "mean_cost_usd": usd(side.cost.mean()),
        "judged": whole(side.quality.count),
        "mean_quality": judged.then(|| rounded(side.quality.mean())),
    })
}

/// Where 95 % of what was drawn lies.
fn interval(drawn: &mut [f64]) -> Option<(f64, f64)> {
    drawn.sort_by(f64::total_cmp);
    let at = |permille: usize| drawn.get((drawn.len() * permille / 1_000).min(drawn.len().checked_sub(1)?)).copied();
    Some((at(25)?, at(975)?))
}

/// A count, which a sum holds as it holds all else.
fn whole(count: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of requests")]
    let whole = count as u64;
    whole
}

fn usd(amount: f64) -> Nanos {
    #[expect(clippy::cast_possible_truncation, reason = "a mean of amounts")]
    let nanos = (amount * 1e9).round() as i64;
    Nanos(nanos)
}

fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two deployments: a cheap one that is good for one half of the requests, a dear one that is good for all.
    fn rows(routed_well: bool, requests: u64, seed: u64) -> Vec<ArmRow> {
        let mut rows: Vec<ArmRow> = Vec::new();
        let mut dice = Dice::new(seed);
        for number in 0..requests {
            let (arm, hard) = (if number % 10 == 0 { Arm::Control } else { Arm::Routed }, dice.share() < 0.5);
            let dear = if routed_well && arm == Arm::Routed { hard } else { dice.share() < 0.5 };
            let deployment = if dear { "a/dear" } else { "b/cheap" };
            let place = rows.iter().position(|row| row.arm == arm && row.deployment == deployment);
            let place = place.unwrap_or_else(|| {
                rows.push(ArmRow { arm, deployment: deployment.into(), ..ArmRow::default() });
                rows.len() - 1
            });
            rows[place].cost.take(if dear { 0.01 } else { 0.001 } * (0.5 + dice.share()));
            rows[place].score.take(if dear || !hard { 1.0 } else { 0.0 });
        }
        rows
    }

    #[test]
    fn what_choosing_saves_is_found() {
        let told = report(&rows(true, 4_000, 1));
        // All answers are good; a static mix has to ask the dear one for all of them, the router for one half.
        let saved = told["saved"].as_f64().expect("a figure");
        assert!((saved - 0.45).abs() < 0.05, "{told}");
        assert_eq!((told["distinguishable"].as_bool(), told["quality_from"].as_str()), (Some(true), Some("feedback")));
        assert!(told["quality_gained_interval"][0].as_f64() > Some(0.15), "{told}");
    }

    #[test]
    fn choosing_at_random_is_not_told_from_chance() {
        // One in twenty such intervals is beside the truth.
        let apart = (0..20).filter(|seed| report(&rows(false, 3_000, 100 + seed))["distinguishable"] == true).count();
        assert!(apart <= 3, "{apart}");
    }

    #[test]
    fn nothing_is_claimed_of_a_few() {
        for rows in [Vec::new(), rows(true, 1, 1), rows(true, 100, 1)] {
            let told = report(&rows);
            assert!(told["saved"].is_null() && told["distinguishable"] == false, "{told}");
        }
        assert_eq!(report(&rows(true, 4_000, 2)), report(&rows(true, 4_000, 2)));
    }

    #[test]
    fn a_static_mix_lies_on_the_lower_edge() {
        let points = [(1.0, 0.5), (5.0, 0.6), (9.0, 0.9)];
        assert!((static_mix(&points, 0.7) - 5.0).abs() < 1e-9, "half of the first and half of the last");
        assert!((static_mix(&points, 0.4) - 1.0).abs() < 1e-9);
        assert!((static_mix(&points, 0.95) - 9.0).abs() < 1e-9, "the best there is");
    }
}
