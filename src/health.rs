//! How deployments do lately: samples folded into scores, and the circuit that keeps calls away from one that fails.
//!
//! Scores are hints. Losing them costs a slower choice, never a wrong charge.
use crate::{fault::Cause, json, table::Table, time::Millis};
use serde::Serialize;
use std::cell::Cell;

/// One observation of an attempt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// `provider/model`.
    pub deployment: String,
    pub at: Millis,
    pub outcome: Outcome,
}

json::members!(Sample { deployment, at, outcome });

/// What an isolate tells the others of its region. It hears what they saw since.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub since: Millis,
    pub samples: Vec<Sample>,
}

json::members!(Report { since, samples });

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A call that finds out whether a deployment has recovered is on its way: others keep away until it is back.
    Probed,
    /// Milliseconds from send to the first content of a stream.
    Answered { ttft_ms: u64 },
    /// Milliseconds from send to a whole answer.
    AnsweredWhole { ms: u64 },
    Failed {
        fault: FailedAs,
        /// The provider's own wish, where it told one.
        retry_after_ms: Option<u64>,
    },
    /// The call that was to find out has found out nothing.
    Unjudged,
    /// Nothing had come when another was sooner.
    Outrun { ms: u64, whole: bool },
    /// How many tokens the provider counted in a prompt that we had estimated.
    Counted { estimated: u64, told: u64 },
    /// How many tokens a stream wrote, from its first byte to its last.
    Wrote { tokens: u64, ms: u64 },
}

json::variants!(Outcome, Self::Answered { ttft_ms: 0 }, {
    Probed = "probed",
    Answered { ttft_ms } = "answered",
    AnsweredWhole { ms } = "answered_whole",
    Failed { fault, retry_after_ms } = "failed",
    Unjudged = "unjudged",
    Outrun { ms, whole } = "outrun",
    Counted { estimated, told } = "counted",
    Wrote { tokens, ms } = "wrote",
});

/// The classes of failure that a circuit treats apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailedAs {
    RateLimited,
    Overloaded,
    Credential,
    UnknownModel,
    Fault,
}

json::words!(FailedAs {
    RateLimited = "rate_limited",
    Overloaded = "overloaded",
    Credential = "credential",
    UnknownModel = "unknown_model",
    Fault = "fault",
});

impl FailedAs {
    #[must_use]
    pub fn of(cause: Cause) -> Self {
        match cause {
            Cause::RateLimited => Self::RateLimited,
            Cause::Overloaded => Self::Overloaded,
            Cause::Credential | Cause::OutOfFunds => Self::Credential,
            Cause::UnknownModel => Self::UnknownModel,
            _ => Self::Fault,
        }
    }
}

/// A quantile in the middle and one near the end of what was seen lately. Each sample moves them a little, by a share of
/// themselves, up or down, so that they come to rest where so many samples lie below; old samples fade.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    pub p50: f64,
    pub p95: f64,
    /// Samples so far, up to [`SAMPLES_ENOUGH`].
    pub seen: u32,
}

json::members!(Spread { p50, p95, seen });

/// From so many samples on a spread is believed, and each sample weighs the same.
const SAMPLES_ENOUGH: u32 = 20;

impl Spread {
    fn add(&mut self, value: f64) {
        let value = value.max(1.0);
        if self.seen == 0 {
            (self.p50, self.p95) = (value, value);
        }
        self.seen = (self.seen + 1).min(SAMPLES_ENOUGH);
        let step = 4.0 / f64::from(self.seen + 10);
        let moved = |quantile: f64, share: f64| {
            let toward = if value > quantile { share } else { share - 1.0 };
            // Not beyond the sample itself.
            let to = quantile * (1.0 + step * toward);
            if value > quantile { to.min(value) } else { to.max(value) }
        };
        (self.p50, self.p95) = (moved(self.p50, 0.5), moved(self.p95, 0.95));
        self.p95 = self.p95.max(self.p50);
    }

    /// It would have taken longer than this. That tells something only where this is long: else nobody would ever learn that
    /// it has become slow.
    fn outrun(&mut self, value: f64) {
        if self.seen > 0 && value > self.p95 {
            self.add(value);
        }
    }

    /// What 95 of 100 samples do not reach, once enough were seen.
    #[must_use]
    pub fn high(&self) -> Option<f64> {
        (self.seen >= SAMPLES_ENOUGH).then_some(self.p95)
    }
}

/// The folded score of one deployment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Share of good answers, 0 to 1; old samples fade.
    pub success: f64,
    /// Milliseconds to the first content of a stream.
    pub ttft_ms: Spread,
    /// Milliseconds to a whole answer.
    pub whole_ms: Spread,
    /// Output tokens of a stream in a hundred seconds.
    pub tokens_per_100s: Spread,
    /// Calls lately, and those that were not turned away for want of capacity; both fade.
    pub asked: f64,
    pub accepted: f64,
    pub failures_in_a_row: u32,
    /// How often the circuit opened without a good answer in between.
    pub opened: u32,
    /// No calls before this moment, while another deployment can answer.
    pub open_until: Millis,
    /// Nor before this one: a call is finding out.
    pub probed_until: Millis,
    pub last: Millis,
    /// What the provider counts of a prompt beside our estimate, in tokens: its own frame around messages and tools.
    pub prompt_offset: f64,
    /// What it counts for each token of a long one.
    pub prompt_scale: f64,
}

json::members!(Score {
    success, ttft_ms = Spread::default(), whole_ms = Spread::default(), tokens_per_100s = Spread::default(), asked = 0.0, accepted = 0.0,
    failures_in_a_row, opened, open_until, probed_until = Millis(0), last, prompt_offset = 0.0, prompt_scale = 1.0,
});

impl Default for Score {
    fn default() -> Self {
        Self {
            success: 1.0,
            ttft_ms: Spread::default(),
            whole_ms: Spread::default(),
            tokens_per_100s: Spread::default(),
            asked: 0.0,
            accepted: 0.0,
            failures_in_a_row: 0,
            opened: 0,
            open_until: Millis(0),
            probed_until: Millis(0),
            last: Millis(0),
            prompt_offset: 0.0,
            prompt_scale: 1.0,
        }
    }
}

/// An estimate from which a prompt counts as long, in tokens.
const PROMPT_LONG: f64 = 1_000.0;
/// The weight of a new sample: about the last twenty matter.
const FADE: f64 = 0.1;
/// Failures in a row that open the circuit: Envoy's default of outlier detection,
/// <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier>.
const FAILURES_TO_OPEN: u32 = 5;
/// The first pause of an open circuit, and the longest: half a minute after it recovered, a deployment is found out at the latest.
const PAUSE_MS: u64 = 5_000;
const PAUSE_MS_MAX: u64 = 30_000;
/// How long a probe may take before the next one.
const PROBE_MS: u64 = 15_000;
/// A rate limit without a wish of the provider, and the longest wish that is heeded.
const RATE_LIMIT_PAUSE_MS: u64 = 10_000;
const RATE_LIMIT_PAUSE_MS_MAX: u64 = 300_000;
const CREDENTIAL_PAUSE_MS: u64 = 60_000;
const UNKNOWN_MODEL_PAUSE_MS: u64 = 600_000;
/// How fast asked and accepted calls fade, and how many may be asked for one accepted: "client-side throttling",
/// <https://sre.google/sre-book/handling-overload/>.
const ASKED_FADE_MS: f64 = 60_000.0;
const ASKED_PER_ACCEPTED: f64 = 2.0;

impl Score {
    fn observe(&mut self, sample: &Sample) {
        let since = millis(sample.at.since(self.last));
        self.last = self.last.max(sample.at);
        match &sample.outcome {
            Outcome::Probed => self.probed_until = sample.at.after(PROBE_MS),
            Outcome::Answered { ttft_ms } => {
                self.answered(since);
                self.ttft_ms.add(millis(*ttft_ms));
            }
            Outcome::AnsweredWhole { ms } => {
                self.answered(since);
                self.whole_ms.add(millis(*ms));
            }
            Outcome::Unjudged => self.probed_until = Millis(0),
            Outcome::Outrun { ms, whole: true } => self.whole_ms.outrun(millis(*ms)),
            Outcome::Outrun { ms, whole: false } => self.ttft_ms.outrun(millis(*ms)),
            Outcome::Counted { estimated, told } => self.count(tokens(*estimated), tokens(*told)),
            Outcome::Wrote { tokens: wrote, ms } => {
                self.tokens_per_100s.add(tokens(*wrote) * 100_000.0 / millis(*ms).max(1.0));
            }
            Outcome::Failed { fault, retry_after_ms } => self.failed(*fault, *retry_after_ms, since, sample.at),
        }
    }

    fn answered(&mut self, since: f64) {
        self.asked(since, true);
        self.success += FADE * (1.0 - self.success);
        (self.failures_in_a_row, self.opened) = (0, 0);
        (self.open_until, self.probed_until) = (Millis(0), Millis(0));
    }

    /// Milliseconds until something of an answer is there, in the middle; whole answers tell it where there were no streams.
    #[must_use]
    pub fn usual_ms(&self) -> Option<f64> {
        [&self.ttft_ms, &self.whole_ms].into_iter().find(|spread| spread.seen > 0).map(|spread| spread.p50)
    }

    /// Output tokens in a second, in the middle.
    #[must_use]
    pub fn tokens_per_s(&self) -> Option<f64> {
        (self.tokens_per_100s.seen > 0).then(|| self.tokens_per_100s.p50 / 100.0)
    }

    fn failed(&mut self, fault: FailedAs, retry_after_ms: Option<u64>, since: f64, at: Millis) {
        self.asked(since, !matches!(fault, FailedAs::RateLimited | FailedAs::Overloaded));
        self.success -= FADE * self.success;
        self.failures_in_a_row += 1;
        self.probed_until = Millis(0);
        let pause = match fault {
            FailedAs::RateLimited => retry_after_ms.unwrap_or(RATE_LIMIT_PAUSE_MS).min(RATE_LIMIT_PAUSE_MS_MAX),
            FailedAs::Credential => CREDENTIAL_PAUSE_MS,
            FailedAs::UnknownModel => UNKNOWN_MODEL_PAUSE_MS,
            FailedAs::Overloaded | FailedAs::Fault if self.opened > 0 || self.failures_in_a_row >= FAILURES_TO_OPEN => {
                (PAUSE_MS << self.opened.min(8)).min(PAUSE_MS_MAX)
            }
            FailedAs::Overloaded | FailedAs::Fault => return,
        };
        // Calls that were under way when it opened tell nothing new.
        if at < self.open_until {
            return self.open_until = self.open_until.max(at.after(if retry_after_ms.is_some() { pause } else { 0 }));
        }
        self.opened += 1;
        self.open_until = self.open_until.max(at.after(pause));
    }

    fn asked(&mut self, since: f64, accepted: bool) {
        let kept = ASKED_FADE_MS / (ASKED_FADE_MS + since);
        self.asked = self.asked * kept + 1.0;
        self.accepted = self.accepted * kept + f64::from(u8::from(accepted));
    }

    /// Short prompts show what stands around them, long ones how fine the tokens are.
    fn count(&mut self, estimated: f64, told: f64) {
        if estimated >= PROMPT_LONG {
            let scale = ((told - self.prompt_offset) / estimated).clamp(0.25, 4.0);
            self.prompt_scale += FADE * (scale - self.prompt_scale);
        } else {
            let offset = (told - estimated * self.prompt_scale).clamp(-PROMPT_LONG, 10.0 * PROMPT_LONG);
            self.prompt_offset += FADE * (offset - self.prompt_offset);
        }
    }

    /// What the provider is likely to count of a prompt.
    #[must_use]
    pub fn prompt_tokens(&self, estimated: u64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate above 0")]
        let likely = (tokens(estimated) * self.prompt_scale + self.prompt_offset).max(1.0) as u64;
        likely
    }

    /// Whether calls shall keep away.
    #[must_use]
    pub fn is_open(&self, now: Millis) -> bool {
        now < self.open_until.max(self.probed_until)
    }

    /// Whether the next call finds out if it has recovered: it pauses no more, and no good answer has come since.
    #[must_use]
    pub fn is_half_open(&self, now: Millis) -> bool {
        self.opened > 0 && !self.is_open(now)
    }

    /// The share of calls that it would be better not to trouble it with, 0 to 1.
    #[must_use]
    pub fn throttled(&self) -> f64 {
        ((self.asked - ASKED_PER_ACCEPTED * self.accepted) / (self.asked + 1.0)).max(0.0)
    }
}

#[expect(clippy::cast_precision_loss, reason = "tokens of one prompt")]
fn tokens(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds between two calls")]
fn millis(ms: u64) -> f64 {
    ms as f64
}

/// How often an isolate may ask a deployment again that has just failed: a fifth of its requests, and one a second. A provider
/// that fails them all is then asked 1.2 times as often, not twice.
#[derive(Debug)]
pub struct RetryBudget {
    /// Thousandths of a retry.
    left: Cell<u64>,
    filled: Cell<Millis>,
}

const RETRY: u64 = 1_000;
const RETRY_PER_REQUEST: u64 = RETRY / 5;
const RETRIES_MAX: u64 = 10 * RETRY;

impl Default for RetryBudget {
    fn default() -> Self {
        Self { left: Cell::new(RETRIES_MAX), filled: Cell::new(Millis(0)) }
    }
}

impl RetryBudget {
    /// Another request has begun.
    pub fn begun(&self) {
        self.left.set((self.left.get() + RETRY_PER_REQUEST).min(RETRIES_MAX));
    }

    /// Takes a retry out, if there is one.
    #[must_use]
    pub fn take(&self, now: Millis) -> bool {
        // A retry a second: a thousandth a millisecond.
        let filled = now.since(self.filled.replace(self.filled.get().max(now)));
        let left = self.left.get().saturating_add(filled).min(RETRIES_MAX);
        self.left.set(left.checked_sub(RETRY).unwrap_or(left));
        left >= RETRY
    }
}

/// The scores of all deployments that were called.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Health {
    /// When it was published, as text; empty for what an isolate saw by itself.
    pub id: String,
    pub scores: Table<String, Score>,
}

json::members!(Health { id = String::new(), scores });

impl Health {
    pub fn observe(&mut self, sample: &Sample) {
        self.scores.change(&sample.deployment, |score| score.observe(sample));
    }

    /// Takes over what others saw, where it is newer than what we saw ourselves.
    pub fn merge(&mut self, others: &Self) {
        self.id.clone_from(&others.id);
        for (deployment, theirs) in others.scores.iter() {
            self.scores.change(deployment, |ours| {
                if theirs.last > ours.last {
                    let own = ours.open_until;
                    ours.clone_from(theirs);
                    // Our own eyes first: what failed us rests as long as we thought.
                    ours.open_until = ours.open_until.max(own);
                }
            });
        }
    }

    #[must_use]
    pub fn score(&self, deployment: &str) -> Option<&Score> {
        self.scores.get(deployment)
    }

    /// The scores of what was called since `at`.
    #[must_use]
    pub fn since(&self, at: Millis) -> Self {
        let mut lately = self.clone();
        lately.forget(at);
        lately
    }

    /// Drops what nobody called since `before`.
    pub fn forget(&mut self, before: Millis) {
        self.scores.retain(|_, score| score.last >= before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Dice;

    fn sample(at: u64, outcome: Outcome) -> Sample {
        Sample { deployment: "p/m".into(), at: Millis(at), outcome }
    }

    fn failed(at: u64, fault: FailedAs) -> Sample {
        sample(at, Outcome::Failed { fault, retry_after_ms: None })
    }

    fn score(health: &Health) -> &Score {
        health.score("p/m").expect("known")
    }

    #[test]
    fn calls_that_were_under_way_make_no_pause_longer() {
        let mut health = Health::default();
        for at in 0..12 {
            health.observe(&failed(at, FailedAs::Fault));
        }
        assert!(
            score(&health).is_open(Millis(5_000)) && !score(&health).is_open(Millis(5_010)),
            "{:?}",
            score(&health)
        );
        health.observe(&sample(6_000, Outcome::Probed));
        assert!(score(&health).is_open(Millis(6_001)));
        health.observe(&sample(6_100, Outcome::Unjudged));
        assert!(score(&health).is_half_open(Millis(6_101)), "the next call may find out");
    }

    #[test]
    fn who_was_outrun_is_not_fast_for_that() {
        let mut health = Health::default();
        health.observe(&sample(1, Outcome::Outrun { ms: 100, whole: false }));
        assert_eq!(score(&health).ttft_ms, Spread::default(), "it tells nothing of one that is not known");
        for at in 0..30 {
            health.observe(&sample(at, Outcome::Answered { ttft_ms: 900 }));
        }
        health.observe(&sample(40, Outcome::Outrun { ms: 100, whole: false }));
        assert_eq!(score(&health).ttft_ms.p50, 900.0);
        health.observe(&sample(50, Outcome::Outrun { ms: 4_000, whole: false }));
        assert!(score(&health).ttft_ms.p95 > 900.0);
    }

    #[test]
    fn five_failures_open_the_circuit_and_one_answer_closes_it() {
        let mut health = Health::default();
        for n in 0..4 {
            health.observe(&failed(n, FailedAs::Fault));
        }
        assert!(!score(&health).is_open(Millis(5)));
        health.observe(&failed(4, FailedAs::Fault));
        assert!(score(&health).is_open(Millis(5)) && !score(&health).is_open(Millis(4 + PAUSE_MS)));
        health.observe(&sample(10, Outcome::Answered { ttft_ms: 100 }));
        assert!(!score(&health).is_open(Millis(11)) && !score(&health).is_half_open(Millis(11)));
    }

    #[test]
    fn after_each_pause_one_call_finds_out_and_no_pause_is_longer_than_half_a_minute() {
        let mut health = Health::default();
        let mut at = 0;
        for _ in 0..FAILURES_TO_OPEN {
            health.observe(&failed(at, FailedAs::Fault));
        }
        let mut pauses = Vec::new();
        for _ in 0..5 {
            let until = score(&health).open_until.0;
            pauses.push(until - at);
            at = until;
            assert!(score(&health).is_half_open(Millis(at)));
            health.observe(&sample(at, Outcome::Probed));
            assert!(score(&health).is_open(Millis(at)), "the others wait for the probe");
            health.observe(&failed(at, FailedAs::Fault));
        }
        assert_eq!(pauses, [5_000, 10_000, 20_000, 30_000, 30_000]);
        // A probe that never comes back does not keep everybody away for ever.
        let until = score(&health).open_until;
        health.observe(&sample(until.0, Outcome::Probed));
        assert!(score(&health).is_half_open(until.after(PROBE_MS)));
    }

    #[test]
    fn a_rate_limit_opens_at_once_for_as_long_as_asked() {
        let mut health = Health::default();
        health.observe(&sample(0, Outcome::Failed { fault: FailedAs::RateLimited, retry_after_ms: Some(2_000) }));
        assert!(score(&health).is_open(Millis(1_999)) && !score(&health).is_open(Millis(2_000)));
    }

    #[test]
    fn who_turns_calls_away_is_troubled_less() {
        let mut health = Health::default();
        for at in 0..60 {
            health.observe(&sample(at * 100, Outcome::Answered { ttft_ms: 9 }));
        }
        assert_eq!(score(&health).throttled(), 0.0);
        for at in 60..260 {
            health.observe(&failed(at * 100, FailedAs::Overloaded));
        }
        let busy = score(&health).throttled();
        assert!((0.3..0.8).contains(&busy), "{busy}");
        for at in 260..600 {
            health.observe(&sample(at * 100, Outcome::Answered { ttft_ms: 9 }));
        }
        assert_eq!(score(&health).throttled(), 0.0, "it takes calls again");
        for at in 600..800 {
            health.observe(&failed(at * 100, FailedAs::Fault));
        }
        assert_eq!(score(&health).throttled(), 0.0, "what is broken is not busy");
    }

    #[test]
    fn quantiles_come_to_rest_where_so_many_samples_lie_below() {
        let (mut spread, mut dice) = (Spread::default(), Dice::new(5));
        let mut draw = |most: u64| {
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let drawn = (dice.roll() % most) as f64;
            drawn
        };
        assert_eq!(spread.high(), None);
        for _ in 0..2_000 {
            spread.add(100.0 + draw(1_000));
        }
        assert!((400.0..800.0).contains(&spread.p50) && (900.0..1_100.0).contains(&spread.p95), "{spread:?}");
        for _ in 0..300 {
            spread.add(100.0 + draw(100));
        }
        assert!(spread.high().is_some_and(|high| (150.0..250.0).contains(&high)), "it forgets: {spread:?}");
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_tried_again() {
        let budget = RetryBudget::default();
        let at = Millis(5_000_000);
        let taken = |requests: u64| (0..requests).filter(|_| (budget.begun(), budget.take(at)).1).count();
        assert_eq!(taken(1_000), 209, "and ten");
        assert!(!budget.take(at) && budget.take(at.after(1_000)) && !budget.take(at.after(1_000)), "one a second");
    }

    #[test]
    fn the_newer_sight_wins() {
        let (mut ours, mut theirs) = (Health::default(), Health::default());
        theirs.observe(&failed(5, FailedAs::Credential));
        ours.observe(&sample(9, Outcome::Answered { ttft_ms: 7 }));
        ours.merge(&theirs);
        assert_eq!(score(&ours).ttft_ms.p50, 7.0);
        theirs.observe(&failed(20, FailedAs::Credential));
        ours.merge(&theirs);
        assert!(score(&ours).is_open(Millis(21)));
    }

    #[test]
    fn what_a_provider_counts_is_learned() {
        let mut health = Health::default();
        let mut told = |estimated, told| health.observe(&sample(1, Outcome::Counted { estimated, told }));
        for _ in 0..60 {
            told(20, 520);
            told(10_000, 12_500);
        }
        let score = health.score("p/m").expect("seen");
        assert!((505..=535).contains(&score.prompt_tokens(20)), "{score:?}");
        assert!((12_300..=12_700).contains(&score.prompt_tokens(10_000)), "{score:?}");
        assert_eq!(Score::default().prompt_tokens(7), 7);
        assert_eq!(score.success, 1.0);
    }
}
