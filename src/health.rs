//! How deployments do lately: samples folded into scores, and the circuit that keeps calls away from one that fails.
//!
//! Scores are hints. Losing them costs a slower choice, never a wrong charge.
use crate::{fault::Cause, json, table::Table, time::Millis};
use serde::Serialize;

/// One observation of an attempt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// `provider/model`.
    pub deployment: String,
    pub at: Millis,
    pub outcome: Outcome,
}

json::members!(Sample { deployment, at, outcome });

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Milliseconds from send to the first byte of the answer.
    Answered { ttft_ms: u64 },
    Failed {
        fault: FailedAs,
        /// The provider's own wish, where it told one.
        retry_after_ms: Option<u64>,
    },
    /// How many tokens the provider counted in a prompt that we had estimated.
    Counted { estimated: u64, told: u64 },
}

json::variants!(Outcome, Self::Answered { ttft_ms: 0 }, {
    Answered { ttft_ms } = "answered",
    Failed { fault, retry_after_ms } = "failed",
    Counted { estimated, told } = "counted",
});

/// The classes of failure that a circuit treats apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailedAs {
    RateLimited,
    Credential,
    UnknownModel,
    Fault,
}

json::words!(FailedAs {
    RateLimited = "rate_limited",
    Credential = "credential",
    UnknownModel = "unknown_model",
    Fault = "fault",
});

impl FailedAs {
    #[must_use]
    pub fn of(cause: Cause) -> Self {
        match cause {
            Cause::RateLimited => Self::RateLimited,
            Cause::Credential | Cause::OutOfFunds => Self::Credential,
            Cause::UnknownModel => Self::UnknownModel,
            _ => Self::Fault,
        }
    }
}

/// The folded score of one deployment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Share of good answers, 0 to 1; old samples fade.
    pub success: f64,
    /// Milliseconds to the first byte; `None` until one answer came.
    pub ttft_ms: Option<f64>,
    pub failures_in_a_row: u32,
    /// How often the circuit opened without a good answer in between.
    pub opened: u32,
    /// No calls before this moment, while another deployment can answer.
    pub open_until: Millis,
    pub last: Millis,
    /// What the provider counts of a prompt beside our estimate, in tokens: its own frame around messages and tools.
    pub prompt_offset: f64,
    /// What it counts for each token of a long one.
    pub prompt_scale: f64,
}

json::members!(Score {
    success, ttft_ms, failures_in_a_row, opened, open_until, last, prompt_offset = 0.0, prompt_scale = 1.0,
});

impl Default for Score {
    fn default() -> Self {
        Self {
            success: 1.0,
            ttft_ms: None,
            failures_in_a_row: 0,
            opened: 0,
            open_until: Millis(0),
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
/// Failures in a row that open the circuit, its first pause and the longest one: Envoy's outlier detection defaults,
/// <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier>.
const FAILURES_TO_OPEN: u32 = 5;
const PAUSE_MS: u64 = 30_000;
const PAUSE_MS_MAX: u64 = 300_000;
/// A rate limit without a wish of the provider.
const RATE_LIMIT_PAUSE_MS: u64 = 10_000;
const CREDENTIAL_PAUSE_MS: u64 = 60_000;
const UNKNOWN_MODEL_PAUSE_MS: u64 = 600_000;

impl Score {
    fn observe(&mut self, sample: &Sample) {
        self.last = self.last.max(sample.at);
        match &sample.outcome {
            Outcome::Answered { ttft_ms } => {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of one request")]
                let ttft = *ttft_ms as f64;
                self.success += FADE * (1.0 - self.success);
                self.ttft_ms = Some(self.ttft_ms.map_or(ttft, |known| known + FADE * (ttft - known)));
                self.failures_in_a_row = 0;
                self.opened = 0;
                self.open_until = Millis(0);
            }
            Outcome::Counted { estimated, told } => self.count(tokens(*estimated), tokens(*told)),
            Outcome::Failed { fault, retry_after_ms } => {
                self.success -= FADE * self.success;
                self.failures_in_a_row += 1;
                let pause = match fault {
                    FailedAs::RateLimited => retry_after_ms.unwrap_or(RATE_LIMIT_PAUSE_MS).min(PAUSE_MS_MAX),
                    FailedAs::Credential => CREDENTIAL_PAUSE_MS,
                    FailedAs::UnknownModel => UNKNOWN_MODEL_PAUSE_MS,
                    FailedAs::Fault if self.failures_in_a_row >= FAILURES_TO_OPEN => {
                        (PAUSE_MS * u64::from(self.opened + 1)).min(PAUSE_MS_MAX)
                    }
                    FailedAs::Fault => return,
                };
                self.opened += 1;
                self.open_until = self.open_until.max(sample.at.after(pause));
            }
        }
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
        now < self.open_until
    }
}

#[expect(clippy::cast_precision_loss, reason = "tokens of one prompt")]
fn tokens(count: u64) -> f64 {
    count as f64
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
                    ours.clone_from(theirs);
                }
            });
        }
    }

    #[must_use]
    pub fn score(&self, deployment: &str) -> Option<&Score> {
        self.scores.get(deployment)
    }

    /// Drops what nobody called since `before`.
    pub fn forget(&mut self, before: Millis) {
        self.scores.retain(|_, score| score.last >= before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: u64, outcome: Outcome) -> Sample {
        Sample { deployment: "p/m".into(), at: Millis(at), outcome }
    }

    fn failed(at: u64, fault: FailedAs) -> Sample {
        sample(at, Outcome::Failed { fault, retry_after_ms: None })
    }

    #[test]
    fn five_failures_open_the_circuit_and_one_answer_closes_it() {
        let mut health = Health::default();
        for n in 0..4 {
            health.observe(&failed(n, FailedAs::Fault));
        }
        assert!(!health.score("p/m").expect("known").is_open(Millis(5)));
        health.observe(&failed(4, FailedAs::Fault));
        assert!(
            health.score("p/m").expect("known").is_open(Millis(5))
                && !health.score("p/m").expect("known").is_open(Millis(4 + PAUSE_MS))
        );
        health.observe(&sample(10, Outcome::Answered { ttft_ms: 100 }));
        assert!(!health.score("p/m").expect("known").is_open(Millis(11)));
    }

    #[test]
    fn a_rate_limit_opens_at_once_for_as_long_as_asked() {
        let mut health = Health::default();
        health.observe(&sample(0, Outcome::Failed { fault: FailedAs::RateLimited, retry_after_ms: Some(2_000) }));
        assert!(
            health.score("p/m").expect("known").is_open(Millis(1_999))
                && !health.score("p/m").expect("known").is_open(Millis(2_000))
        );
    }

    #[test]
    fn the_newer_sight_wins() {
        let (mut ours, mut theirs) = (Health::default(), Health::default());
        theirs.observe(&failed(5, FailedAs::Credential));
        ours.observe(&sample(9, Outcome::Answered { ttft_ms: 7 }));
        ours.merge(&theirs);
        assert_eq!(ours.score("p/m").expect("known").ttft_ms, Some(7.0));
        theirs.observe(&failed(20, FailedAs::Credential));
        ours.merge(&theirs);
        assert!(ours.score("p/m").expect("known").is_open(Millis(21)));
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
