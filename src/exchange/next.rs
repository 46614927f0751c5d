//! What follows a failed attempt: the same deployment once more, the next one, or the end.
use super::{Effect, Exchange, Hedge, Outcome, Phase, Stage, cover::Cover, event::Timer};
use crate::{
    endpoint::Priority,
    fault::{Cause, Fault, UpstreamFault},
    health::{self, FailedAs, Sample},
    mode::Mode,
    time::Millis,
};

/// Attempts of one request at most, and at one deployment.
pub(super) const ATTEMPTS_MAX: usize = 5;
const ATTEMPTS_MAX_HERE: usize = 3;
/// How long after a failure in passing a deployment is asked again, at least, and by how much that varies.
const PAUSE_MS: u64 = 100;
const PAUSE_MS_SPREAD: u64 = 200;
/// A rate limit that is over so soon is waited out.
const RATE_LIMIT_MS_MAX: u64 = 3_000;
/// The same for work that can wait.
const RATE_LIMIT_MS_MAX_LOW: u64 = 30_000;

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Ask the same deployment again, so many milliseconds later.
    Again(u64),
    /// Ask it at once, in another way: with another credential, or for an answer from its beginning.
    WithAnother,
    Next,
    /// Nobody would answer this, or nobody waits for it.
    Stop,
}

impl Exchange {
    /// Begins the next attempt, or ends the request with what the last one said.
    pub(super) fn next_attempt(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if self.leave_to_rival() {
            return;
        }
        let mut unsayable: Option<Fault> = None;
        while self.attempts.len() < ATTEMPTS_MAX
            && let Some(place) = self.queue.last().copied()
        {
            let (output_tokens_max, quote) = match self.cover(place) {
                Cover::Ready { output_tokens_max, quote } => (output_tokens_max, quote),
                Cover::Ask(letter) => {
                    self.phase = Phase::Attempting(Stage::Covering);
                    if matches!(self.hedge, Hedge::Asked { .. }) {
                        // The answer to that wish is still to come, and may do.
                        return;
                    }
                    self.asked = Some(place);
                    return effects.push(Effect::Extend(letter));
                }
                Cover::Never => {
                    self.queue.pop();
                    continue;
                }
            };
            self.queue.pop();
            let (credential, going_on) = (self.credential(place, now), self.rescue_request(place));
            let most = output_tokens_max.saturating_sub(self.written()).max(1);
            match self.call(place, credential, most, going_on.as_ref()) {
                Ok(Some(call)) => {
                    return self.send((place, credential), call, (output_tokens_max, quote), now, effects);
                }
                Ok(None) => {}
                // What one dialect cannot say, another may.
                Err(fault) => unsayable = Some(fault),
            }
        }
        if let Some(kept) = self.kept.take_if(|_| !self.gone) {
            return self.give_kept(*kept, now, effects);
        }
        let fault = match (self.last_failure(), unsayable) {
            (Some(failure), _) => failure.to_fault(),
            (None, Some(fault)) => fault,
            (None, None) => {
                Fault::unavailable("no_eligible_provider", "No provider can serve this request at the moment.")
            }
        };
        let status = match (self.gone, self.broken.take()) {
            (true, _) => 499,
            (false, Some(broken)) => {
                self.give_up(&broken, effects);
                502
            }
            (false, None) => {
                self.refuse(&fault, effects);
                fault.status
            }
        };
        self.close_failed(status, effects);
    }

    /// The failure that is told: one that says what is wrong with the request, else the last.
    fn last_failure(&self) -> Option<&UpstreamFault> {
        let failures = || {
            self.attempts.iter().rev().filter_map(|attempt| match &attempt.outcome {
                Outcome::Failed(fault) => Some(fault),
                Outcome::Pending | Outcome::Answered { .. } | Outcome::Rejected { .. } | Outcome::Cancelled => None,
            })
        };
        failures().find(|fault| !fault.cause.may_fall_back()).or_else(|| failures().next())
    }

    /// Notes a failed attempt and goes on.
    pub(super) fn failed(&mut self, fault: UpstreamFault, now: Millis, effects: &mut Vec<Effect>) {
        self.book_failure(&fault, now, effects);
        let then = match (self.rival.is_some(), fault.cause.may_fall_back()) {
            (false, _) => self.then(&fault, now),
            (true, true) => Then::Next,
            (true, false) => Then::Stop,
        };
        match then {
            Then::WithAnother => self.queue.extend(self.place()),
            Then::Again(ms) => {
                self.phase = Phase::Attempting(Stage::Pausing);
                return effects.push(Effect::Wait { timer: Timer::Retry(self.current), ms });
            }
            Then::Next => self.leave_out(fault.cause),
            Then::Stop => self.queue.clear(),
        }
        self.next_attempt(now, effects);
    }

    /// Ends an attempt that failed: what it may be billed is no more than was held for it, and health hears of it.
    pub(super) fn book_failure(&mut self, fault: &UpstreamFault, now: Millis, effects: &mut Vec<Effect>) {
        let (at_risk, held) = (self.may_be_billed(fault, now), self.held_here());
        if let Some(attempt) = self.attempt_mut() {
            (attempt.at_risk, attempt.quote) = (at_risk, attempt.quote.min(held));
        }
        self.end_attempt(fault, effects);
        if !fault.cause.blames_deployment() {
            return self.unjudged(now, effects);
        }
        let outcome =
            health::Outcome::Failed { fault: FailedAs::of(fault.cause), retry_after_ms: fault.retry_after_ms };
        match self.refused_credential(fault.cause) {
            // Another credential opens the same door: it is the credential that failed, not the deployment.
            Some(deployment) if self.has_another_credential(now) => {
                effects.push(Effect::Note(Sample { deployment, at: now, outcome }));
            }
            _ => self.note(outcome, now, effects),
        }
    }

    fn has_another_credential(&self, now: Millis) -> bool {
        self.place().is_some_and(|place| !self.credentials(place, now).is_empty())
    }

    /// A call that was to find out whether its deployment has recovered has found out nothing: the next one may.
    pub(super) fn unjudged(&self, now: Millis, effects: &mut Vec<Effect>) {
        if self.attempt().is_some_and(|attempt| attempt.probes) {
            self.note(health::Outcome::Unjudged, now, effects);
        }
    }

    /// Lets go of an attempt that came to nothing.
    pub(super) fn end_attempt(&mut self, fault: &UpstreamFault, effects: &mut Vec<Effect>) {
        let attempt = self.current;
        effects.push(Effect::Abort { attempt });
        if let Some(attempt) = self.attempt_mut() {
            attempt.outcome = Outcome::Failed(fault.clone());
        }
    }

    fn then(&mut self, fault: &UpstreamFault, now: Millis) -> Then {
        if self.gone {
            return Then::Stop;
        }
        if !fault.cause.may_fall_back() {
            // What goes on with a broken answer is our request, not the caller's.
            return match self.broken.is_some() {
                true if self.refused_rescue() => Then::WithAnother,
                true => Then::Next,
                false => Then::Stop,
            };
        }
        let otherwise = if self.conduct().fallback { Then::Next } else { Then::Stop };
        let here = self.attempts_here();
        if here >= ATTEMPTS_MAX_HERE || self.attempts.len() >= ATTEMPTS_MAX {
            return otherwise;
        }
        if fault.cause.blames_credential() {
            let another = self.has_another_credential(now);
            if another || fault.cause != Cause::RateLimited {
                return if another { Then::WithAnother } else { otherwise };
            }
        }
        if here > self.conduct().retries {
            return otherwise;
        }
        let pause = PAUSE_MS + self.case.dice.roll() % PAUSE_MS_SPREAD;
        let ms = match (fault.cause, fault.status) {
            // In passing: a process that was restarted, a connection that was cut. A refusal that was told inside an answer is
            // not known well enough.
            (Cause::Server, 500 | 502) | (Cause::Connection, 0) => pause,
            (Cause::RateLimited, _) => match fault.retry_after_ms {
                Some(ms) if ms <= self.patience_ms() => ms.max(1),
                _ => return otherwise,
            },
            _ => return otherwise,
        };
        if ms < self.left_ms() && self.case.world.retries.take(now) { Then::Again(ms) } else { otherwise }
    }

    fn attempts_here(&self) -> usize {
        self.attempts.iter().filter(|attempt| Some(attempt.candidate) == self.place()).count()
    }

    /// Whether the deployment of the attempt under way may be asked once more.
    pub(super) fn may_repeat(&self, now: Millis) -> bool {
        self.attempts_here() <= self.conduct().retries && self.case.world.retries.take(now)
    }

    /// The credentials of a place that were not refused, in this request or lately.
    fn credentials(&self, place: usize, now: Millis) -> Vec<usize> {
        let Some(candidate) = self.candidate_at(place) else { return Vec::new() };
        let provider = &candidate.deployment.provider.id;
        let number = self.case.world.reach(provider).map_or(0, |reach| reach.credentials.len());
        let refused = |credential: usize| {
            self.attempts.iter().enumerate().any(|(attempt, made)| {
                let there = self.candidate_of(attempt).is_some_and(|made| made.deployment.provider.id == *provider);
                let closed = matches!(&made.outcome, Outcome::Failed(fault)
                    if fault.cause.blames_credential());
                there && closed && made.credential == credential
            })
        };
        let set_aside = |credential: usize| number > 1 && self.case.world.is_set_aside(provider, credential, now);
        (0..number).filter(|credential| !refused(*credential) && !set_aside(*credential)).collect()
    }

    /// The credential of the next attempt at a place: any of those that are good, or the first.
    pub(super) fn credential(&mut self, place: usize, now: Millis) -> usize {
        let good = self.credentials(place, now);
        let drawn = self.case.dice.roll().checked_rem(good.len() as u64).unwrap_or_default();
        usize::try_from(drawn).ok().and_then(|drawn| good.get(drawn)).copied().unwrap_or_default()
    }

    /// The name of the credential that was refused.
    fn refused_credential(&self, cause: Cause) -> Option<String> {
        let attempt = self.attempt().filter(|_| cause.blames_credential())?;
        Some(self.case.world.credential_name(&self.candidate()?.deployment.provider.id, attempt.credential))
    }

    /// How long it waits its turn at a rate limit.
    fn patience_ms(&self) -> u64 {
        let hurried = self.plan().is_some_and(|plan| plan.terms.mode == Mode::LatencyFirst);
        match self.case.signals.priority {
            Priority::Low => RATE_LIMIT_MS_MAX_LOW,
            Priority::High => 0,
            Priority::Normal if hurried => 0,
            Priority::Normal => RATE_LIMIT_MS_MAX,
        }
    }

    /// The place in the plan of the attempt under way.
    pub(super) fn place(&self) -> Option<usize> {
        self.attempt().map(|attempt| attempt.candidate)
    }

    /// Takes candidates out of the queue that would fail for the same reason.
    pub(super) fn leave_out(&mut self, cause: Cause) {
        let Some(failed) = self.candidate() else { return };
        let failed = &failed.deployment;
        let useless = |place: &usize| {
            self.candidate_at(*place).is_some_and(|other| match cause {
                Cause::ContextLength => other.deployment.context_length <= failed.context_length,
                Cause::Credential | Cause::OutOfFunds | Cause::TooLarge => {
                    other.deployment.provider.id == failed.provider.id
                }
                _ => false,
            })
        };
        let kept = self.queue.iter().copied().filter(|place| !useless(place)).collect();
        self.queue = kept;
    }

    /// The pause before another attempt at the same deployment is over, or is cut short.
    pub(super) fn paused(&mut self, stage: Stage, timer: Timer, now: Millis, effects: &mut Vec<Effect>) {
        match timer {
            Timer::Retry(attempt) if attempt == self.current => {
                self.queue.extend(self.place());
                self.next_attempt(now, effects);
            }
            Timer::Total => {
                self.queue.clear();
                self.next_attempt(now, effects);
            }
            _ => self.phase = Phase::Attempting(stage),
        }
    }
}
