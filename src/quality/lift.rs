//! What choosing is worth: requests the router chose for beside those that somebody was drawn for, whatever they said.
//!
//! Every request counts by one over the chance it had to come to its side, so that both stand for the same traffic, whatever share of
//! it is drawn by which key. Who is drawn was chosen lately for other requests. What the drawn side tells of one deployment, each
//! request counted by one over the chance that this one was drawn, also tells what the best static mix of them would cost: shares of
//! two at most, on the lower edge of their cost and quality. Intervals are of 95 %, from a thousand draws of all means around what was
//! seen, with a fixed seed: the same sums give the same report. The least of several uncertain costs is likely to be one that looks
//! cheaper than it is: where little is known, that counts against the router.
use crate::{
    id::Dice,
    json::json,
    ledger::Arm,
    money::Nanos,
    quality::packed::{Unpack, put_text},
};
use serde_json::Value;

/// How the requests of one side did that were meant for one deployment, in one period.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArmRow {
    /// Which one, by its number.
    pub period: u64,
    pub arm: Arm,
    /// `provider/model`.
    pub deployment: String,
    /// For its side: what the caller got.
    pub side: Tally,
    /// For the deployment: what it answered itself.
    pub own: Tally,
}

/// Means of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// In US dollars, a request each, all its attempts together.
    pub cost: Sums,
    /// 0 to 1, of those somebody judged.
    pub score: Sums,
    /// Whether it held, of those that could be checked.
    pub passed: Sums,
}

/// What a weighted mean and its error are made of: how many, and the sums of weights, of weighted values, and of the squares of weights
/// times nothing, the value, and its square.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums([f64; 6]);

/// A mean and its standard error.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    mean: f64,
    error: f64,
}

impl Sums {
    pub fn take(&mut self, value: f64, weight: f64) {
        let square = weight * weight;
        self.add(&Self([1.0, weight, weight * value, square, square * value, square * value * value]));
    }

    fn add(&mut self, more: &Self) {
        self.0.iter_mut().zip(more.0).for_each(|(sum, more)| *sum += more);
    }

    fn count(&self) -> f64 {
        self.0[0]
    }

    /// As many of equal weight would tell as much.
    fn worth(&self) -> f64 {
        let [_, weight, _, square, ..] = self.0;
        weight * weight / square.max(f64::MIN_POSITIVE)
    }

    fn mean(&self) -> Mean {
        let [count, weight, sum, square, square_value, square_values] = self.0;
        let mean = sum / weight.max(f64::MIN_POSITIVE);
        let spread = (square_values - 2.0 * mean * square_value + mean * mean * square).max(0.0);
        // As with the usual correction, one request tells nothing of its error: that is told apart by the count.
        let spread = spread * count / (count - 1.0).max(1.0);
        Mean { mean, error: spread.sqrt() / weight.max(f64::MIN_POSITIVE) }
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.0.iter().flat_map(|number| number.to_le_bytes()));
    }

    fn read(rest: &mut Unpack<'_>) -> Option<Self> {
        let mut sums = Self::default();
        for number in &mut sums.0 {
            *number = rest.f64()?;
        }
        Some(sums)
    }
}

impl Mean {
    /// One that might have been as well.
    fn drawn(self, dice: &mut Dice) -> f64 {
        self.mean + normal(dice) * self.error
    }

    /// The same of what cannot be below zero.
    fn drawn_above_zero(self, dice: &mut Dice) -> f64 {
        let normal = normal(dice);
        if self.mean <= 0.0 {
            return 0.0;
        }
        let spread = (1.0 + (self.error / self.mean).powi(2)).ln();
        self.mean * (normal * spread.sqrt() - spread / 2.0).exp()
    }

    /// Drawn towards the mean of all, by as much as it is in doubt.
    fn shrunk(self, worth: f64, all: Self) -> Self {
        let share = worth / (worth + DOUBT);
        Self {
            mean: share * self.mean + (1.0 - share) * all.mean,
            error: share * self.error + (1.0 - share) * all.error,
        }
    }
}

/// A number that is normal around 0, nearly: twelve numbers from 0 to 1 have a variance of 1 together.
fn normal(dice: &mut Dice) -> f64 {
    (0..12).map(|_| dice.share()).sum::<f64>() - 6.0
}

impl Tally {
    fn add(&mut self, more: &Self) {
        self.cost.add(&more.cost);
        self.score.add(&more.score);
        self.passed.add(&more.passed);
    }
}

impl ArmRow {
    /// Puts it behind other bytes.
    pub fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.period.to_le_bytes());
        bytes.push(u8::from(self.arm == Arm::Control));
        put_text(bytes, &self.deployment);
        for tally in [&self.side, &self.own] {
            for sums in [&tally.cost, &tally.score, &tally.passed] {
                sums.put(bytes);
            }
        }
    }

    /// Reads what [`Self::put`] put.
    pub fn read(rest: &mut Unpack<'_>) -> Option<Self> {
        let (period, arm) = (rest.u64()?, if rest.u8()? == 1 { Arm::Control } else { Arm::Routed });
        let deployment = rest.text()?.to_owned();
        let mut tally = || Some(Tally { cost: Sums::read(rest)?, score: Sums::read(rest)?, passed: Sums::read(rest)? });
        Some(Self { period, arm, deployment, side: tally()?, own: tally()? })
    }
}

/// What a deployment's own quality has to outweigh, in requests.
const DOUBT: f64 = 8.0;
/// Judged requests that each side needs before quality is compared.
const JUDGED_MIN: f64 = 30.0;
/// Requests of a deployment from which its cost is known at all.
const OWN_MIN: f64 = 5.0;
const DRAWS: usize = 1_000;

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

/// The report on some periods: what each side cost and was worth, and what routing saves against the best static mix.
#[must_use]
pub fn report(rows: &[ArmRow]) -> Value {
    let of = |arm: Arm| rows.iter().filter(move |row| row.arm == arm);
    let side = |arm: Arm| {
        of(arm).fold(Tally::default(), |mut all, row| {
            all.add(&row.side);
            all
        })
    };
    let (routed, control) = (side(Arm::Routed), side(Arm::Control));
    let enough =
        |sums: fn(&Tally) -> &Sums| [&routed, &control].into_iter().all(|side| sums(side).count() >= JUDGED_MIN);
    let (basis, quality): (_, fn(&Tally) -> &Sums) = match (enough(|side| &side.score), enough(|side| &side.passed)) {
        (true, _) => (Some("feedback"), |side| &side.score),
        (false, true) => (Some("checks"), |side| &side.passed),
        _ => (None, |side| &side.score),
    };
    let (own, rare) = own(rows);
    let points: Vec<[Mean; 2]> = own
        .iter()
        .map(|(_, tally)| {
            let (good, all) = (quality(tally), quality(&control).mean());
            [tally.cost.mean(), good.mean().shrunk(good.worth(), all)]
        })
        .collect();
    let basis = basis.filter(|_| !points.is_empty());
    let (cost, good) = (routed.cost.mean(), quality(&routed).mean());
    let (mut dice, mut saved, mut gained) = (Dice::new(1), Vec::new(), Vec::new());
    for _ in 0..if basis.is_some() { DRAWS } else { 0 } {
        let drawn: Vec<(f64, f64)> =
            points.iter().map(|[cost, good]| (cost.drawn_above_zero(&mut dice), good.drawn(&mut dice))).collect();
        let (cost, good) = (cost.drawn_above_zero(&mut dice), good.drawn(&mut dice));
        saved.push(saving(cost, static_mix(&drawn, good)));
        gained.push(good - quality(&control).mean().drawn(&mut dice));
    }
    let means: Vec<(f64, f64)> = points.iter().map(|[cost, good]| (cost.mean, good.mean)).collect();
    let mix = basis.map(|_| static_mix(&means, good.mean));
    let (saved, gained) = (interval(&mut saved), interval(&mut gained));
    json!({
        "object": "router_lift",
        "routed": told(&routed, quality),
        "control": told(&control, quality),
        "quality_from": basis,
        "static_mix_cost_usd": mix.map(usd),
        "saved": mix.map(|mix| rounded(saving(cost.mean, mix))),
        "saved_interval": saved.map(both),
        "quality_gained_interval": gained.map(both),
        "distinguishable": saved.is_some_and(|(low, high)| low > 0.0 || high < 0.0),
        "control_deployments": own.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        "too_rare_to_count": rare,
    })
}

/// What the drawn side tells of each deployment that was drawn often enough, and the names of the others.
fn own(rows: &[ArmRow]) -> (Vec<(&str, Tally)>, Vec<&str>) {
    let mut own: Vec<(&str, Tally)> = Vec::new();
    for row in rows.iter().filter(|row| row.arm == Arm::Control) {
        match own.iter_mut().find(|(name, _)| *name == row.deployment) {
            Some((_, tally)) => tally.add(&row.own),
            None => own.push((&row.deployment, row.own)),
        }
    }
    own.sort_unstable_by_key(|(name, _)| *name);
    let rare = own.iter().filter(|(_, tally)| tally.cost.count() < OWN_MIN).map(|(name, _)| *name).collect();
    own.retain(|(_, tally)| tally.cost.count() >= OWN_MIN);
    (own, rare)
}

/// The part of another cost that one saves; what it costs more is below zero, not more than a thousand times.
fn saving(cost: f64, other: f64) -> f64 {
    (1.0 - cost / other.max(f64::MIN_POSITIVE)).max(-1_000.0)
}

fn told(side: &Tally, quality: fn(&Tally) -> &Sums) -> Value {
    let judged = quality(side);
    json!({
        "requests": whole(side.cost.count()),
        "mean_cost_usd": usd(side.cost.mean().mean),
        "judged": whole(judged.count()),
        "mean_quality": (judged.count() > 0.0).then(|| rounded(judged.mean().mean)),
    })
}

fn both((low, high): (f64, f64)) -> [f64; 2] {
    [rounded(low), rounded(high)]
}

/// Where 95 % of what was drawn lies.
fn interval(drawn: &mut [f64]) -> Option<(f64, f64)> {
    drawn.sort_unstable_by(f64::total_cmp);
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

    /// One key's traffic: how much of it is drawn, how much larger its prompts are, and how well it is routed.
    struct Key {
        control: f64,
        size: f64,
        routed_well: bool,
        requests: u32,
    }

    const KEY: Key = Key { control: 0.1, size: 1.0, routed_well: true, requests: 4_000 };

    /// Two deployments: a cheap one that is good for one half of the requests, a dear one that is good for all; each is chosen for
    /// one half.
    fn rows(keys: &[Key], seed: u64) -> Vec<ArmRow> {
        let (mut rows, mut dice): (Vec<ArmRow>, _) = (Vec::new(), Dice::new(seed));
        for key in keys {
            for _ in 0..key.requests {
                let (drawn, hard) = (dice.share() < key.control, dice.share() < 0.5);
                let dear = if key.routed_well && !drawn { hard } else { dice.share() < 0.5 };
                let arm = if drawn { Arm::Control } else { Arm::Routed };
                let deployment = if dear { "a/dear" } else { "b/cheap" };
                let place = rows.iter().position(|row| row.arm == arm && row.deployment == deployment);
                let place = place.unwrap_or_else(|| {
                    rows.push(ArmRow { arm, deployment: deployment.into(), ..ArmRow::default() });
                    rows.len() - 1
                });
                let weight = 1.0 / if drawn { key.control } else { 1.0 - key.control };
                let row = &mut rows[place];
                let cost = key.size * if dear { 0.01 } else { 0.001 } * (0.5 + dice.share());
                let score = if dear || !hard { 1.0 } else { 0.0 };
                for (tally, weight) in [(&mut row.side, weight), (&mut row.own, 2.0 * weight)] {
                    tally.cost.take(cost, weight);
                    tally.score.take(score, weight);
                }
            }
        }
        rows
    }

    #[test]
    fn what_choosing_saves_is_found() {
        let told = report(&rows(&[KEY], 1));
        // All answers are good; a static mix has to ask the dear one for all of them, the router for one half.
        let saved = told["saved"].as_f64().expect("a figure");
        assert!((saved - 0.45).abs() < 0.08, "{told}");
        assert_eq!((told["distinguishable"].as_bool(), told["quality_from"].as_str()), (Some(true), Some("feedback")));
        assert!(told["quality_gained_interval"][0].as_f64() > Some(0.1), "{told}");
    }

    #[test]
    fn choosing_at_random_is_not_told_from_chance_whatever_share_is_drawn_by_whom() {
        let chance = |control: f64, size: f64| Key { control, size, routed_well: false, requests: 2_000 };
        // One in twenty such intervals is beside the truth.
        let apart = (0..20).filter(|seed| {
            let keys = [chance(0.2, 1.0), chance(0.02, 0.01), chance(0.05, 3.0)];
            report(&rows(&keys, 100 + seed))["distinguishable"] == true
        });
        assert!(apart.count() <= 3);
    }

    /// A deployment that is as good and costs a tenth is hardly ever drawn: the interval has to hold what it would save.
    #[test]
    fn a_cheap_one_that_is_rarely_drawn_is_not_taken_for_dear() {
        let mut holds = 0;
        for seed in 0..20 {
            let (mut rows, mut dice): (Vec<ArmRow>, _) = (Vec::new(), Dice::new(seed));
            for (arm, requests, own) in [(Arm::Routed, 2_000, 1.0), (Arm::Control, 400, 1.0)] {
                let mut sides = [("a/usual", 0.01), ("b/cheap", 0.001)]
                    .map(|(name, cost)| (ArmRow { arm, deployment: name.into(), ..ArmRow::default() }, cost));
                for _ in 0..requests {
                    let rare = dice.share() < 0.03;
                    let (row, cost) = &mut sides[usize::from(rare)];
                    let (cost, weight) = (*cost * 2.0 * dice.share(), if rare { 1.0 / 0.03 } else { 1.0 / 0.97 });
                    for (tally, weight) in [(&mut row.side, own), (&mut row.own, weight)] {
                        tally.cost.take(cost, weight);
                        tally.passed.take(1.0, weight);
                    }
                }
                rows.extend(sides.map(|(row, _)| row));
            }
            let told = report(&rows);
            let truth = 1.0 - 0.01 * 0.973 / 0.001;
            let (low, high) = (told["saved_interval"][0].as_f64(), told["saved_interval"][1].as_f64());
            assert!(high < Some(0.0), "{told}");
            holds += u32::from(low < Some(truth) && high > Some(truth));
        }
        // A dozen requests of the rare one do not tell its spread well.
        assert!(holds >= 16, "{holds} of 20");
    }

    #[test]
    fn nothing_is_claimed_of_a_few() {
        let few = |requests| rows(&[Key { requests, ..KEY }], 1);
        for rows in [Vec::new(), few(1), few(100)] {
            let told = report(&rows);
            assert!(told["saved"].is_null() && told["distinguishable"] == false, "{told}");
        }
        assert_eq!(report(&rows(&[KEY], 2)), report(&rows(&[KEY], 2)));
    }

    #[test]
    fn a_static_mix_lies_on_the_lower_edge() {
        let points = [(1.0, 0.5), (5.0, 0.6), (9.0, 0.9)];
        assert!((static_mix(&points, 0.7) - 5.0).abs() < 1e-9, "half of the first and half of the last");
        assert!((static_mix(&points, 0.4) - 1.0).abs() < 1e-9);
        assert!((static_mix(&points, 0.95) - 9.0).abs() < 1e-9, "the best there is");
    }

    #[test]
    fn rows_travel_as_bytes() {
        let (rows, mut bytes) = (rows(&[KEY], 3), Vec::new());
        for row in &rows {
            row.put(&mut bytes);
        }
        let mut rest = Unpack(&bytes);
        let read: Vec<ArmRow> = std::iter::from_fn(|| ArmRow::read(&mut rest)).collect();
        assert_eq!(read, rows);
    }
}
