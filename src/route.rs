//! From a model name to deployments in the order they will be tried.
//!
//! Three steps, each pure: [`select`] says which deployments a name means, [`eligible`] leaves out what cannot serve the
//! request and prices the rest, and the mode orders them. One file per mode; a mode is one function, its score.
use crate::{
    access::Deadlines,
    analysis::Signals,
    catalog::{Deployment, When},
    chat::Effort,
    endpoint::{Overrides, Priority, Rescue, Surface, Weights},
    fault::Fault,
    id::Dice,
    mode::Mode,
    money::Nanos,
    price,
    quality::Checks,
    time::Millis,
    world::World,
};
use std::rc::Rc;

mod availability;
mod balanced;
mod cost;
mod eligible;
mod latency;
mod select;

pub use eligible::{Considered, OUTPUT_TOKENS_MIN, SLICE_TOKENS};
pub use select::Selection;

/// Candidates beyond these are not offered to the account: no request makes more attempts.
const CANDIDATES_MAX: usize = 8;

/// A deployment that can serve the request, with what its choice rests on.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub deployment: Rc<Deployment>,
    /// Its place among the models asked for: 0 for the first, then the fallbacks in order.
    pub rank: usize,
    /// The bound on output tokens that is held for and sent.
    pub output_tokens_max: u64,
    /// The prompt as it is held for.
    pub prompt_tokens_max: u64,
    /// What its prices depend on: the request's moment, and its tier.
    pub when: When,
    /// The reasoning effort that is asked for because the caller left it open.
    pub effort: Option<Effort>,
    /// The most it can cost.
    pub quote: Nanos,
    /// What is enough to begin with, where the hold can grow with the answer; 0 where it cannot.
    pub least: Nanos,
    /// What it is expected to cost.
    pub expected: Nanos,
    /// The same, if the prompt is still in its cache.
    pub expected_warm: Nanos,
    /// The share of a perfect answer that is expected of it.
    pub quality: f64,
    /// Output tokens to expect, hidden ones too.
    pub output_tokens: u64,
    pub tokens_per_s: f64,
    pub ttft_ms: f64,
    pub success: f64,
    /// Its circuit is open: it comes last.
    pub open: bool,
    /// The share of calls it had better be spared.
    pub throttled: f64,
    /// What the mode made of it; higher is better.
    pub score: f64,
    /// What the mode would make of it with the prompt in its cache.
    pub score_warm: f64,
    /// Its answer is likely to be worse than the mode lets pass: others come before it.
    pub poor: bool,
}

/// The answer to "who may serve this, in which order".
#[derive(Clone, Debug)]
pub struct Plan {
    pub candidates: Vec<Candidate>,
    /// Everything that was looked at, for `explain`.
    pub considered: Vec<Considered>,
    pub mode: Mode,
    pub reason: Reason,
    pub conduct: Conduct,
}

/// How the attempts of a request are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conduct {
    /// Whether a failed attempt may go on to the next candidate.
    pub fallback: bool,
    /// How often a deployment is asked again that failed in passing.
    pub retries: usize,
    pub deadlines: Deadlines,
    /// A stream that is slower for a while counts as broken.
    pub min_tokens_per_s: Option<u32>,
    pub rescue: Rescue,
    /// Whether another attempt is made beside one whose first content is late.
    pub hedge: bool,
    /// What an answer is checked for before the caller sees it.
    pub checks: Checks,
    /// The candidates stand in an order that somebody gave.
    pub in_given_order: bool,
}

impl Default for Conduct {
    fn default() -> Self {
        Self {
            fallback: true,
            retries: 1,
            deadlines: Deadlines::default(),
            min_tokens_per_s: None,
            rescue: Rescue::default(),
            hedge: false,
            checks: Checks::default(),
            in_given_order: false,
        }
    }
}

/// Why the first candidate is first: the `x-megarouter-reason` of a request that needed no rescue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Pinned,
    Alias,
    Mode,
    /// The session's last answer came from there, and its cache is worth more than a better choice.
    Affinity,
}

impl Reason {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Alias => "alias",
            Self::Mode => "mode",
            Self::Affinity => "affinity",
        }
    }
}

/// What a key narrows the choice to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    pub models: Option<Vec<String>>,
    pub providers: Option<Vec<String>>,
}

impl Plan {
    /// The place of the deployment that answered last in the session, where staying there is worth more than going to the first of
    /// those that may be used: its cache makes the prompt cheaper.
    #[must_use]
    pub fn stay(&self, warm: &str, allowed: &[usize]) -> Option<usize> {
        let place =
            *allowed.iter().find(|place| self.candidates.get(**place).is_some_and(|c| c.deployment.id == warm))?;
        let (first, last) = (self.candidates.get(*allowed.first()?)?, self.candidates.get(place)?);
        let fit = !last.open && !last.poor && last.rank == first.rank;
        (self.reason == Reason::Mode && fit && last.score_warm >= first.score).then_some(place)
    }
}

/// Plans a request.
///
/// # Errors
/// 404 for a name nobody serves; 400 where every deployment of it lacks something the request needs; 403 where the key may
/// use none of them.
pub fn plan(question: &Question<'_>, world: &World, dice: &mut Dice) -> Result<Plan, Fault> {
    known_providers(question, world)?;
    let selection = Selection::of(question, world)?;
    let (mode, checks) = (selection.mode, selection.checks(question));
    // What is to be checked comes in one piece: a hold for its beginning alone would not do.
    let question = &Question { stream: question.stream && checks.is_empty(), ..*question };
    let (mut candidates, considered) = eligible::sift(question, &selection, world);
    if candidates.is_empty() {
        return Err(eligible::none_left(question, world, &considered));
    }
    order(&mut candidates, question, world, &selection, dice);
    candidates.truncate(CANDIDATES_MAX);
    let reason =
        if selection.reason == Reason::Mode && considered.len() == 1 { Reason::Pinned } else { selection.reason };
    let mut conduct = selection.conduct;
    (conduct.checks, conduct.in_given_order) = (checks, selection.in_given_order);
    conduct.rescue = question.overrides.rescue.unwrap_or(conduct.rescue);
    let urgent = question.signals.priority == Priority::High;
    conduct.hedge = question.overrides.hedge.unwrap_or(conduct.hedge || urgent);
    conduct.deadlines.total_ms = question.overrides.deadline_ms.or(conduct.deadlines.total_ms);
    conduct.deadlines.first_token_ms = question.overrides.max_ttft_ms.or(conduct.deadlines.first_token_ms);
    Ok(Plan { candidates, considered, mode, reason, conduct })
}

/// Refuses a wish for a provider nobody knows: a slip would leave out everything.
fn known_providers(question: &Question<'_>, world: &World) -> Result<(), Fault> {
    for name in &question.overrides.providers.only {
        // Before the account has told them, an organisation's own providers are not known.
        let unknown = world.tenant.is_some() && !world.is_own(name) && world.catalog.provider(name).is_none();
        if unknown {
            let text = format!("There is no provider {name:?}. GET /v1/models names them, before the slash.");
            return Err(Fault::parameter("providers.only", text));
        }
    }
    Ok(())
}

/// What is asked of the router.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub model: &'a str,
    pub signals: &'a Signals,
    pub overrides: &'a Overrides,
    pub allowed: &'a Allowed,
    /// The caller's own bound on output tokens.
    pub output_cap: Option<u64>,
    pub surface: Surface,
    /// The answer is to be streamed.
    pub stream: bool,
    /// What its answer can be checked for.
    pub checks: Checks,
    /// What prices depend on.
    pub when: When,
    pub now: Millis,
}

/// What the modes compare within: the extremes of the field and the request's own wishes.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub cost: (f64, f64),
    pub time: (f64, f64),
    /// The best quality there is.
    pub quality: f64,
    pub weights: Weights,
}

impl Field {
    fn of(candidates: &[Candidate], question: &Question<'_>, world: &World) -> Self {
        let span = |value: fn(&Candidate) -> f64| {
            candidates.iter().map(value).fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)))
        };
        let usual = || balanced::weights(question.signals.priority);
        Self {
            cost: span(Candidate::log_cost),
            time: span(Candidate::log_time),
            quality: span(|candidate| candidate.quality).1,
            weights: question.overrides.weights.or(world.policies().weights()).unwrap_or_else(usual),
        }
    }

    /// Where a value lies in a span: 0 at its low end, 1 at its high end.
    fn place((low, high): (f64, f64), value: f64) -> f64 {
        if high > low { (value - low) / (high - low) } else { 0.0 }
    }
}

impl Candidate {
    /// The most it can cost with another output bound.
    #[must_use]
    pub fn quote_of(&self, output_tokens: u64, answers: u64) -> Option<Nanos> {
        let output = output_tokens.saturating_mul(answers);
        price::quote(&self.deployment.rates, self.when, self.prompt_tokens_max, output)
    }

    /// The output bound that an amount covers, at most its own.
    #[must_use]
    pub fn output_within(&self, amount: Nanos, answers: u64) -> u64 {
        let (rates, most) = (&self.deployment.rates, self.output_tokens_max);
        price::output_within(rates, self.when, self.prompt_tokens_max, answers, most, amount)
    }

    /// The logarithm of the time until the answer is whole.
    fn log_time(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "tokens of one answer")]
        let writing_ms = self.output_tokens as f64 * 1_000.0 / self.tokens_per_s.max(1.0);
        (self.ttft_ms.max(1.0) + writing_ms).ln()
    }

    fn log_cost(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rank, not an amount")]
        let nanos = self.expected.0 as f64;
        nanos.max(1.0).ln()
    }
}

fn order(
    candidates: &mut Vec<Candidate>,
    question: &Question<'_>,
    world: &World,
    selection: &Selection,
    dice: &mut Dice,
) {
    let field = Field::of(candidates, question, world);
    let (score, floor): (fn(&Candidate, &Field) -> f64, f64) = match selection.mode {
        Mode::Balanced => (balanced::score, balanced::FLOOR),
        Mode::CostFirst => (cost::score, cost::FLOOR),
        Mode::LatencyFirst => (latency::score, latency::FLOOR),
        Mode::AvailabilityFirst => (availability::score, availability::FLOOR),
    };
    for candidate in candidates.iter_mut() {
        candidate.score = score(candidate, &field);
        if question.overrides.session.is_some() {
            let warm = Candidate { expected: candidate.expected_warm, ..candidate.clone() };
            candidate.score_warm = score(&warm, &field);
        }
        candidate.poor = !selection.in_given_order && candidate.quality < floor * field.quality;
        candidate.open |= candidate.throttled > 0.0 && dice.share() < candidate.throttled;
    }
    let wish = |candidate: &Candidate| {
        let order = &question.overrides.providers.order;
        order.iter().position(|provider| *provider == candidate.deployment.provider.id).unwrap_or(order.len())
    };
    candidates.sort_by(|a, b| {
        let by_score = if selection.in_given_order { std::cmp::Ordering::Equal } else { b.score.total_cmp(&a.score) };
        (a.open, a.rank, wish(a), a.poor).cmp(&(b.open, b.rank, wish(b), b.poor)).then(by_score)
    });
    if let Some(first) = selection.weighted_first(candidates, dice) {
        let chosen = candidates.remove(first);
        candidates.insert(0, chosen);
    }
    if !selection.in_given_order {
        spread(candidates);
    }
}

/// Brings a candidate of another provider to the second place: providers fail as wholes.
fn spread(candidates: &mut Vec<Candidate>) {
    let Some(first) = candidates.first() else { return };
    let (provider, rank) = (first.deployment.provider.id.clone(), first.rank);
    let other = candidates.iter().position(|c| !c.open && c.rank == rank && c.deployment.provider.id != provider);
    if let Some(place) = other.filter(|place| *place > 1) {
        let moved = candidates.remove(place);
        candidates.insert(1, moved);
    }
}

#[cfg(test)]
mod tests;
