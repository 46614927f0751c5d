//! What it cost, and the posting that closes the hold.
use super::{Effect, Event, Exchange, Outcome, Phase, Settled, event::Timer};
use crate::{
    account::letter::{PostLetter, PostOutcome},
    health,
    ledger::{AttemptRecord, CallRecord},
    money::Nanos,
    price,
    usage::Usage,
};

/// Times a posting is tried; then the hold runs out into suspense, and the account settles it by itself.
const POST_TRIES: u32 = 4;
const REPOST_MS: u64 = 250;
/// What providers add to a prompt, or overshoot an answer's bound by, at most.
const ABSURD_TOKENS: u64 = 8_192;

impl Exchange {
    /// The charge: by the provider's counts if they are its last, else by ours where they are higher.
    pub(super) fn settled(&self, told: Option<Usage>, last: bool, output_seen: u64) -> Settled {
        let Some(candidate) = self.candidate() else {
            return Settled { usage: Usage::default(), estimated: false, cost: Nanos::ZERO };
        };
        let bound = candidate.output_tokens_max.saturating_mul(self.case.signals.choices);
        // More than twice what was sent or asked for, and some: counts no call can have.
        let absurd = told.is_some_and(|told| {
            let over = |count: u64, most: u64| count > most.saturating_mul(2).saturating_add(ABSURD_TOKENS);
            over(told.output, bound) || over(told.prompt(), self.case.signals.prompt_tokens_max)
        });
        let estimated = told.is_none() || !last || absurd;
        let prompt = Usage { input: self.case.signals.prompt_tokens, ..Usage::default() };
        let mut usage = told.unwrap_or(prompt);
        if estimated {
            usage.output = usage.output.max(output_seen.min(bound));
        }
        let charge = price::charge(&candidate.deployment.rates, self.case.when(), &usage);
        // What is not known for sure, or cannot be, is not charged beyond the hold.
        let held = self.grant.as_ref().map_or(Nanos::ZERO, |grant| grant.amount);
        let cost = charge.map_or(held, |charge| if estimated { charge.min(held) } else { charge });
        Settled { usage, estimated, cost }
    }

    /// Nothing was sent: the hold goes.
    pub(super) fn void(&mut self, effects: &mut Vec<Effect>) {
        let call = self.call_record(&Settled { usage: Usage::default(), estimated: false, cost: Nanos::ZERO }, 499);
        self.post(PostOutcome::Void, call, 0, effects);
    }

    /// Every attempt failed: nothing is charged, and the attempts stand in the ledger.
    pub(super) fn close_failed(&mut self, effects: &mut Vec<Effect>) {
        if self.grant.is_none() {
            return;
        }
        if self.attempts.is_empty() {
            return self.void(effects);
        }
        if self.hurried {
            return self.close_seen(0, 504, effects);
        }
        let nothing = Settled { usage: Usage::default(), estimated: false, cost: Nanos::ZERO };
        self.close_charged(nothing, 502, effects);
    }

    /// Only the prompt and what was seen are known. That is the charge where closing the connection stops the bill; the
    /// rest is unknown elsewhere.
    fn close_seen(&mut self, output_seen: u64, status: u16, effects: &mut Vec<Effect>) {
        let settled = self.settled(None, false, output_seen);
        if self.drain_ms() == 0 {
            self.close_charged(settled, status, effects);
        } else {
            self.close_unknown(settled, effects);
        }
    }

    pub(super) fn close_charged(&mut self, settled: Settled, status: u16, effects: &mut Vec<Effect>) {
        if !settled.estimated && settled.usage.prompt() > 0 {
            let estimated = self.case.signals.prompt_tokens;
            self.note(health::Outcome::Counted { estimated, told: settled.usage.prompt() }, self.now, effects);
        }
        let call = self.call_record(&settled, status);
        let tokens = settled.usage.prompt().saturating_add(settled.usage.output);
        self.post(PostOutcome::Charge(settled.cost), call, tokens, effects);
    }

    /// The provider may bill more than we saw: the budget stays held until it is known.
    pub(super) fn close_unknown(&mut self, settled: Settled, effects: &mut Vec<Effect>) {
        let call = self.call_record(&settled, 499);
        let tokens = settled.usage.prompt().saturating_add(settled.usage.output);
        self.post(PostOutcome::Suspense { metered: settled.cost }, call, tokens, effects);
    }

    /// Nobody waits for the answer and it did not come.
    pub(super) fn abandon(&mut self, effects: &mut Vec<Effect>) {
        let attempt = self.current();
        effects.push(Effect::Abort { attempt });
        self.close_seen(0, 499, effects);
    }

    fn post(&mut self, outcome: PostOutcome, call: CallRecord, tokens: u64, effects: &mut Vec<Effect>) {
        let request_id = self.case.request_id.clone();
        let letter = Box::new(PostLetter { request_id, outcome, call, tokens, others: Vec::new() });
        effects.push(Effect::Post(letter.clone()));
        self.phase = Phase::Closing { letter, tries: 1 };
    }

    pub(super) fn closing(&mut self, letter: Box<PostLetter>, tries: u32, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Posted => {}
            Event::Unreachable if tries >= POST_TRIES => {}
            Event::Unreachable => {
                effects.push(Effect::Wait { timer: Timer::Repost, ms: REPOST_MS << tries });
                self.phase = Phase::Closing { letter, tries };
            }
            Event::Elapsed(Timer::Repost) => {
                effects.push(Effect::Post(letter.clone()));
                self.phase = Phase::Closing { letter, tries: tries + 1 };
            }
            _ => self.phase = Phase::Closing { letter, tries },
        }
    }

    fn call_record(&self, settled: &Settled, status: u16) -> CallRecord {
        let candidate = self.candidate();
        let ids = |pick: fn(&crate::catalog::Deployment) -> &String| {
            candidate.map_or_default(|candidate| pick(&candidate.deployment).clone())
        };
        let (sent, first) =
            self.attempts.last().map_or((None, None), |attempt| (Some(attempt.sent), attempt.first_byte));
        CallRecord {
            model_requested: self.case.request.model.clone(),
            provider: ids(|deployment| &deployment.provider.id),
            model: ids(|deployment| &deployment.model),
            mode: self.plan().map_or_default(|plan| plan.mode.word().to_owned()),
            reason: self.reason().to_owned(),
            task: self.case.signals.task.word().to_owned(),
            catalog_id: self.case.world.catalog.id.clone(),
            usage: settled.usage,
            priced_at: self.case.arrived,
            service_tier: self.case.request.service_tier.map_or_default(|tier| tier.word().to_owned()),
            estimated: settled.estimated,
            attempts: self.attempt_records(settled.cost),
            status,
            ttft_ms: first.zip(sent).map(|(first, sent)| first.since(sent)),
            duration_ms: self.now.since(self.case.arrived),
            ..CallRecord::default()
        }
    }

    pub(super) fn attempt_records(&self, cost: Nanos) -> Vec<AttemptRecord> {
        let record = |attempt: &super::Attempt| {
            let deployment = self.plan().and_then(|plan| plan.candidates.get(attempt.candidate)).map(|c| &c.deployment);
            let (outcome, status, cost_usd) = match &attempt.outcome {
                Outcome::Pending => ("abandoned", 0, Nanos::ZERO),
                Outcome::Answered { status } => ("answered", *status, cost),
                Outcome::Failed(fault) => (fault.cause.word(), fault.status, Nanos::ZERO),
            };
            AttemptRecord {
                provider: deployment.map_or_default(|deployment| deployment.provider.id.clone()),
                model: deployment.map_or_default(|deployment| deployment.model.clone()),
                outcome: outcome.to_owned(),
                status,
                cost_usd,
            }
        };
        self.attempts.iter().map(record).collect()
    }
}
