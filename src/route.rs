//! From a model name to deployments in the order they will be tried.
//!
//! Three steps, each pure: [`select`] says which deployments a name means, [`eligible`] leaves out what cannot serve the
//! request and prices the rest, and the mode orders them. One file per mode; a mode is one function, its score.
use crate::{
    access::Deadlines,
    analysis::Signals,
    body::quoted,
    catalog::{Deployment, When},
    chat::Effort,
    endpoint::{Overrides, Priority, Rescue, Surface},
    fault::Fault,
    id::Dice,
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
pub mod decision;
mod eligible;
mod latency;
pub mod record;
mod select;

pub use eligible::{Considered, OUTPUT_TOKENS_MIN, SLICE_TOKENS};
pub use select::Selection;

use decision::{Choice, Features, Field, Hints, Judged, Standing, Terms, Why};
use record::{Asked, Kept, Record};

/// Candidates beyond these are not offered to the account: no request makes more attempts.
const CANDIDATES_MAX: usize = 8;

/// The shares of requests that another candidate is asked for to learn of it, and for which one is drawn at random, unless a routing
/// policy says otherwise.
const EXPLORE: f64 = 0.01;
const CONTROL: f64 = 0.01;

/// A deployment that can serve the request, with what its choice rests on.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub deployment: Rc<Deployment>,
    /// What its choice rests on, and what was made of it.
    pub features: Features,
    pub judged: Judged,
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
    /// Output tokens to expect, hidden ones too; and what would be without the answers seen so far.
    pub output_tokens: u64,
    pub output_tokens_usual: u64,
    pub ttft_ms: f64,
}

/// The answer to "who may serve this, in which order".
#[derive(Clone, Debug)]
pub struct Plan {
    pub candidates: Vec<Candidate>,
    /// Everything that was looked at, for `explain`.
    pub considered: Vec<Considered>,
    pub reason: Reason,
    pub conduct: Conduct,
    pub terms: Terms,
    /// Who is asked first, once the account has said who may be.
    pub choice: Option<Choice>,
    /// The mode put the candidates in order: more than one.
    pub is_a_choice: bool,
    /// More than the request's needs narrows it.
    narrowed: bool,
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
    /// Another than the best, to learn of it.
    Explore,
    /// Drawn at random, to learn what choosing is worth.
    Control,
}

impl Reason {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Alias => "alias",
            Self::Mode => "mode",
            Self::Affinity => "affinity",
            Self::Explore => "explore",
            Self::Control => "control",
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
    /// Chooses among those that may be asked. Returns the place of the one to begin with.
    pub fn choose(&mut self, hints: &Hints<'_>) -> Option<usize> {
        self.choice = self.terms.choose(&self.candidates, hints);
        let choice = self.choice?;
        match choice.why {
            Why::Best => {}
            Why::Warm => self.reason = Reason::Affinity,
            Why::Explored => self.reason = Reason::Explore,
            Why::Control => self.reason = Reason::Control,
        }
        Some(choice.place)
    }

    /// The decision as it is kept; `None` where the router did not choose.
    #[must_use]
    pub fn record(&self, signals: &Signals, world: &World, hints: &Hints<'_>) -> Option<Record> {
        let choice = self.choice.filter(|_| self.is_a_choice)?;
        let kept = |candidate: &Candidate| Kept {
            id: candidate.deployment.id.clone(),
            features: candidate.features,
            judged: candidate.judged,
            output_tokens: candidate.output_tokens,
        };
        Some(Record {
            terms: self.terms,
            asked: Asked::of(signals, self.narrowed),
            health_id: world.health.id.clone(),
            taught_id: world.taught.version.clone(),
            candidates: self.candidates.iter().map(kept).collect(),
            allowed: hints.allowed.to_vec(),
            warm: hints.warm.to_owned(),
            pool: hints.pool.to_vec(),
            choice,
        })
    }
}

impl Standing for Candidate {
    fn id(&self) -> &str {
        &self.deployment.id
    }

    fn features(&self) -> &Features {
        &self.features
    }

    fn judged(&self) -> &Judged {
        &self.judged
    }

    fn judge(&mut self, judged: Judged) {
        self.judged = judged;
    }

    fn provider(&self) -> &str {
        &self.deployment.provider.id
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
    let checks = selection.checks(question);
    // What is to be checked comes in one piece: a hold for its beginning alone would not do.
    let question = &Question { stream: question.stream && checks.is_empty(), ..*question };
    let (mut candidates, considered) = eligible::sift(question, &selection, world);
    if candidates.is_empty() {
        return Err(eligible::none_left(question, world, &considered));
    }
    let terms = Terms::of(&candidates, question, world, &selection);
    order(&mut candidates, &selection, &terms, dice);
    let reason =
        if selection.reason == Reason::Mode && considered.len() == 1 { Reason::Pinned } else { selection.reason };
    let mut conduct = selection.conduct;
    (conduct.checks, conduct.in_given_order) = (checks, selection.in_given_order);
    conduct.rescue = question.overrides.rescue.unwrap_or(conduct.rescue);
    let urgent = question.signals.priority == Priority::High;
    conduct.hedge = question.overrides.hedge.unwrap_or(conduct.hedge || urgent);
    conduct.deadlines.total_ms = question.overrides.deadline_ms.or(conduct.deadlines.total_ms);
    conduct.deadlines.first_token_ms = question.overrides.max_ttft_ms.or(conduct.deadlines.first_token_ms);
    let is_a_choice = candidates.len() > 1 && !terms.in_given_order && !selection.is_weighted();
    let narrowing = |one: &Considered| one.why.is_some_and(eligible::is_narrowing);
    let narrowed = !selection.chooses() || selection.reason != Reason::Mode || considered.iter().any(narrowing);
    Ok(Plan { candidates, considered, reason, conduct, terms, choice: None, is_a_choice, narrowed })
}

/// Refuses a wish for a provider nobody knows: a slip would leave out everything.
fn known_providers(question: &Question<'_>, world: &World) -> Result<(), Fault> {
    for name in &question.overrides.providers.only {
        // Before the account has told them, an organisation's own providers are not known.
        let unknown = world.tenant.is_some() && !world.is_own(name) && world.catalog.provider(name).is_none();
        if unknown {
            let text = format!("There is no provider {}. GET /v1/models names them, before the slash.", quoted(name));
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
    /// What is drawn is drawn by it.
    pub seed: u64,
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
}

/// Judges the candidates and puts them in order.
fn order(candidates: &mut Vec<Candidate>, selection: &Selection, terms: &Terms, dice: &mut Dice) {
    terms.rank(candidates);
    if let Some(first) = selection.weighted_first(candidates, dice) {
        let chosen = candidates.remove(first);
        candidates.insert(0, chosen);
    }
    terms.spread(candidates);
    candidates.truncate(CANDIDATES_MAX);
}

impl Terms {
    /// What a request is decided by.
    fn of(candidates: &[Candidate], question: &Question<'_>, world: &World, selection: &Selection) -> Self {
        let usual = || balanced::weights(question.signals.priority);
        let weights = question.overrides.weights.or(world.policies().weights()).unwrap_or_else(usual);
        let chooses = selection.chooses() && !selection.is_weighted();
        let (explore, control) = shares(question, world, selection);
        Self {
            mode: selection.mode,
            field: Field::of(candidates, weights),
            seed: question.seed,
            in_given_order: selection.in_given_order,
            stays: selection.reason == Reason::Mode && question.overrides.session.is_some(),
            explore: if chooses { explore } else { 0.0 },
            control: if chooses { control } else { 0.0 },
        }
    }
}

/// The shares of requests that are explored with and drawn at random. Neither where it is urgent: that is what can be done without.
fn shares(question: &Question<'_>, world: &World, selection: &Selection) -> (f64, f64) {
    if question.signals.priority == Priority::High {
        return (0.0, 0.0);
    }
    // Without verdicts nothing would be learned from it.
    let explore = if world.taught.judged { EXPLORE } else { 0.0 };
    let control = if selection.reason == Reason::Mode { CONTROL } else { 0.0 };
    let own = |own: Option<f64>, usual: f64| if usual > 0.0 { own.unwrap_or(usual) } else { 0.0 };
    (own(world.policies().explore(), explore), own(world.policies().control(), control))
}

#[cfg(test)]
mod tests;
