//! The choice itself: figures of candidates in, an order and the first to be asked out.
//!
//! Nothing but sums, products and comparisons of stored figures happens here, and every draw comes from the seed: the same figures
//! and the same seed give the same choice on any machine, bit for bit. That is how a decision is replayed from its [`super::record`].
use super::{availability, balanced, cost, latency};
use crate::{endpoint::Weights, id::Dice, mode::Mode, money::Nanos, quality::sketch::Fnv};

/// What a choice rests on, of one candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Features {
    /// Its place among the models asked for: 0 for the first, then the fallbacks in order.
    pub rank: usize,
    /// Its provider's place among those the request would rather have.
    pub wish: usize,
    /// What it is expected to cost.
    pub expected: Nanos,
    /// The logarithms of that, of the same if the prompt is still in its cache, and of the milliseconds until the answer is whole.
    pub log_cost: f64,
    pub log_cost_warm: f64,
    pub log_time: f64,
    /// The share of a perfect answer that is expected of it.
    pub quality: f64,
    /// The share of good answers lately.
    pub success: f64,
    /// Its circuit is open.
    pub open: bool,
    /// The share of calls it had better be spared.
    pub throttled: f64,
}

/// What was made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Judged {
    /// What the mode made of it; higher is better.
    pub score: f64,
    /// What the mode would make of it with the prompt in its cache; the same where no session may stay.
    pub score_warm: f64,
    /// It comes last: its circuit is open, or it is spared this call.
    pub shut: bool,
    /// Its answer is likely to be worse than the mode lets pass: others come before it.
    pub poor: bool,
}

/// A candidate as the choice sees it.
pub trait Standing {
    /// `provider/model`.
    fn id(&self) -> &str;
    fn features(&self) -> &Features;
    fn judged(&self) -> &Judged;
    fn judge(&mut self, judged: Judged);

    fn provider(&self) -> &str {
        self.id().split_once('/').map_or_default(|(provider, _)| provider)
    }
}

/// What the modes compare within: the extremes of the field and the request's own wishes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// The lowest and the highest logarithm.
    pub cost: (f64, f64),
    pub time: (f64, f64),
    /// The best quality there is.
    pub quality: f64,
    pub weights: Weights,
}

impl Field {
    pub fn of(candidates: &[impl Standing], weights: Weights) -> Self {
        let span = |value: fn(&Features) -> f64| {
            let values = candidates.iter().map(|candidate| value(candidate.features()));
            values.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)))
        };
        let (cost, time) = (span(|of| of.log_cost), span(|of| of.log_time));
        Self { cost, time, quality: span(|of| of.quality).1, weights }
    }

    /// Where a value lies in a span: 0 at its low end, 1 at its high end.
    pub(super) fn place((low, high): (f64, f64), value: f64) -> f64 {
        if high > low { (value - low) / (high - low) } else { 0.0 }
    }
}

/// What is chosen by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    pub mode: Mode,
    pub field: Field,
    pub seed: u64,
    /// The order is the caller's, not the mode's.
    pub in_given_order: bool,
    /// A session may stay where its prompt is cached.
    pub stays: bool,
    /// The shares of requests that another candidate is asked for, to learn of it, and that one is drawn for whatever the request
    /// says, to learn what choosing is worth. 0 where the router does not choose.
    pub explore: f64,
    pub control: f64,
}

/// What the account added.
#[derive(Clone, Copy, Debug)]
pub struct Hints<'a> {
    /// The places that may be asked, best first.
    pub allowed: &'a [usize],
    /// The deployment that has the session's prompt in its cache; empty for none.
    pub warm: &'a str,
    /// What was chosen lately in this mode, and how often.
    pub pool: &'a [(String, u64)],
}

/// Why that one is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Best,
    /// The session's last answer came from there, and its cache is worth more than a better choice.
    Warm,
    Explored,
    /// Drawn from what was chosen for other requests.
    Control,
}

/// Who is asked first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    pub place: usize,
    pub why: Why,
    /// The chance that it had.
    pub propensity: f64,
    /// A choice at random was possible: the request counts when the two are compared. Then the chance of being drawn for, or not;
    /// and of this one, if so.
    pub compares: bool,
    pub side: f64,
    pub drawn: f64,
}

/// Another candidate is asked to learn of it only where it costs at most so many times the first one.
const EXPLORE_COST_TIMES: i64 = 4;

impl Terms {
    /// A number from 0 to below 1, by the seed and what it is for.
    fn draw(&self, what: &str) -> f64 {
        let mut hash = Fnv::default();
        what.bytes().for_each(|byte| hash.byte(byte));
        Dice::new(self.seed ^ u64::from(hash.0)).share()
    }

    /// Judges candidates and puts them in order, best first.
    pub fn rank<S: Standing>(&self, candidates: &mut [S]) {
        let (score, floor): (fn(&Features, &Field) -> f64, f64) = match self.mode {
            Mode::Balanced => (balanced::score, balanced::FLOOR),
            Mode::CostFirst => (cost::score, cost::FLOOR),
            Mode::LatencyFirst => (latency::score, latency::FLOOR),
            Mode::AvailabilityFirst => (availability::score, availability::FLOOR),
        };
        for candidate in candidates.iter_mut() {
            let features = *candidate.features();
            let cold = score(&features, &self.field);
            let warm = || score(&Features { log_cost: features.log_cost_warm, ..features }, &self.field);
            let spared = features.throttled > 0.0 && self.draw(candidate.id()) < features.throttled;
            candidate.judge(Judged {
                score: cold,
                score_warm: if self.stays { warm() } else { cold },
                shut: features.open || spared,
                poor: !self.in_given_order && features.quality < floor * self.field.quality,
            });
        }
        candidates.sort_by(|a, b| {
            let key = |one: &S| (one.judged().shut, one.features().rank, one.features().wish, one.judged().poor);
            let by_score = b.judged().score.total_cmp(&a.judged().score);
            key(a).cmp(&key(b)).then(if self.in_given_order { std::cmp::Ordering::Equal } else { by_score })
        });
    }

    /// Brings a candidate of another provider to the second place: providers fail as wholes.
    pub fn spread<S: Standing>(&self, candidates: &mut [S]) {
        let Some(first) = candidates.first().filter(|_| !self.in_given_order) else { return };
        let other = candidates.iter().position(|one| {
            !one.judged().shut && one.features().rank == first.features().rank && one.provider() != first.provider()
        });
        if let Some(moved) = other.and_then(|place| candidates.get_mut(1..=place)) {
            moved.rotate_right(1);
        }
    }

    /// Who of those that may be asked is asked first. `None` where nobody may be.
    pub fn choose<S: Standing>(&self, candidates: &[S], hints: &Hints<'_>) -> Option<Choice> {
        let first = *hints.allowed.first()?;
        let best = Choice { place: first, why: Why::Best, propensity: 1.0, compares: false, side: 1.0, drawn: 1.0 };
        if let Some(place) = self.stay(candidates, hints) {
            return Some(Choice { place, why: Why::Warm, ..best });
        }
        let leader = candidates.get(first)?;
        // As good as the first in all that the request and its mode ask for.
        let fits = |place: &usize| {
            candidates.get(*place).is_some_and(|one| {
                let same = |one: &S| (one.features().rank, one.features().wish);
                !one.judged().shut && !one.judged().poor && same(one) == same(leader)
            })
        };
        let place_of = |id: &str| {
            hints.allowed.iter().copied().find(|place| candidates.get(*place).is_some_and(|one| one.id() == id))
        };
        let pool: Vec<(usize, u64)> =
            hints.pool.iter().filter_map(|(id, times)| Some((place_of(id).filter(fits)?, *times))).collect();
        let near = |place: &usize| {
            let cost = |place: usize| candidates.get(place).map_or(0, |one| one.features().expected.0);
            *place != first && fits(place) && cost(*place) / EXPLORE_COST_TIMES <= cost(first)
        };
        let others: Vec<(usize, u64)> = hints.allowed.iter().copied().filter(near).map(|place| (place, 1)).collect();
        Some(self.draw_from(best, &pool, &others))
    }

    fn draw_from(&self, best: Choice, pool: &[(usize, u64)], others: &[(usize, u64)]) -> Choice {
        let control = if pool.is_empty() { 0.0 } else { self.control };
        let explore = if others.is_empty() { 0.0 } else { self.explore };
        let drawn = self.draw("arm");
        let (place, why) = if drawn < control {
            (weighted(pool, self.draw("control")), Why::Control)
        } else if drawn < control + explore {
            (weighted(others, self.draw("explore")), Why::Explored)
        } else {
            (best.place, Why::Best)
        };
        let rest = if place == best.place { 1.0 - control - explore } else { 0.0 };
        let propensity = rest + control * share(pool, place) + explore * share(others, place);
        let (side, drawn) = match why {
            Why::Control => (control, share(pool, place)),
            _ => (1.0 - control - explore, 1.0),
        };
        Choice { place, why, propensity, compares: control > 0.0 && why != Why::Explored, side, drawn }
    }

    /// The place of the deployment that answered last in the session, where staying there is worth more than going to the first of
    /// those that may be used: its cache makes the prompt cheaper.
    fn stay<S: Standing>(&self, candidates: &[S], hints: &Hints<'_>) -> Option<usize> {
        let warm = |place: &&usize| candidates.get(**place).is_some_and(|one| one.id() == hints.warm);
        let place = *hints.allowed.iter().find(warm).filter(|_| self.stays)?;
        let (first, last) = (candidates.get(*hints.allowed.first()?)?, candidates.get(place)?);
        let fit = !last.judged().shut && !last.judged().poor && last.features().rank == first.features().rank;
        (fit && last.judged().score_warm >= first.judged().score).then_some(place)
    }
}

/// The place that a number from 0 to below 1 falls on.
fn weighted(places: &[(usize, u64)], drawn: f64) -> usize {
    let mut left = drawn * whole(places);
    let hit = places.iter().find(|(_, times)| {
        left -= count(*times);
        left < 0.0
    });
    hit.or(places.last()).map_or(0, |(place, _)| *place)
}

/// The share that a place has.
fn share(places: &[(usize, u64)], place: usize) -> f64 {
    let its = places.iter().filter(|(other, _)| *other == place).map(|(_, times)| count(*times)).sum::<f64>();
    if its > 0.0 { its / whole(places) } else { 0.0 }
}

fn whole(places: &[(usize, u64)]) -> f64 {
    places.iter().map(|(_, times)| count(*times)).sum()
}

#[expect(clippy::cast_precision_loss, reason = "some hundred")]
fn count(times: u64) -> f64 {
    times as f64
}
