//! What it cost, and the posting that closes the hold.
use super::{Attempt, Effect, Event, Exchange, Outcome, Phase, Settled, admit::hints, escalate::Verdict, event::Timer};
use crate::{
    account::letter::{OtherAttempt, PostLetter, PostOutcome},
    health,
    ledger::{Arm, AttemptRecord, CallRecord, Comparison},
    money::Nanos,
    price,
    quality::{
        Check, ability,
        case::EVERYWHERE,
        expected,
        seen::{self, CAUGHT_BY_END, CAUGHT_BY_STRUCTURE, Observed, gain},
    },
    route::decision::{Choice, Why},
    usage::Usage,
};

/// A thousand over a chance, in whole numbers: what is kept is hashed.
fn thousand_over(chance: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "chances are above a millionth")]
    let whole = (1e3 / chance.max(1e-6)).round() as u64;
    whole
}

/// The logarithm of how many times as much one is as the other.
fn ln_ratio(tokens: u64, usual: u64) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "tokens of one answer")]
    let ratio = tokens.max(1) as f32 / usual.max(1) as f32;
    ratio.ln()
}

/// Times a posting is tried; then the hold runs out into suspense, and the account settles it by itself.
const POST_TRIES: u32 = 7;
const REPOST_MS: u64 = 250;
/// An answer of so many tokens tells how fast its deployment writes.
const TOKENS_TELLING: u64 = 50;
/// What providers add to a prompt at most, and by how much they overshoot an answer's bound.
const PROMPT_TOKENS_MORE: u64 = 8_192;
const OUTPUT_TOKENS_MORE: u64 = 64;

impl Exchange {
    /// The charge of the attempt under way: by the provider's counts if they are its last, else by ours where they are higher.
    pub(super) fn settled(&self, told: Option<Usage>, last: bool, output_seen: u64) -> Settled {
        let (Some(candidate), Some(attempt)) = (self.candidate(), self.attempt()) else {
            return Settled::default();
        };
        let answers = self.case.signals.choices;
        let bound = attempt.output_tokens_max.saturating_mul(answers);
        // More than twice what was sent or asked for, and some: counts no call can have.
        let absurd = told.is_some_and(|told| {
            let over = |count: u64, most: u64, more| count > most.saturating_mul(2).saturating_add(more);
            over(told.output, bound, OUTPUT_TOKENS_MORE)
                || over(told.prompt(), self.case.signals.prompt_tokens_max, PROMPT_TOKENS_MORE)
        });
        let estimated = told.is_none() || !last || absurd;
        let mut usage = told.unwrap_or_else(|| self.prompt_alone());
        if estimated {
            usage.output = usage.output.max(output_seen.min(bound));
        }
        let charge = price::charge(&candidate.deployment.rates, candidate.when, &usage);
        // What is not known for sure, or cannot be, is not charged beyond the hold.
        let held = self.held_here();
        let cost = charge.map_or(held, |charge| if estimated { charge.min(held) } else { charge });
        // A ceiling is the caller's last word, whatever a provider counts.
        let capped = if self.ceiling().is_some() { cost.min(held) } else { cost };
        Settled { usage, estimated, cost: capped, absorbed: cost.minus(capped), ..Settled::default() }
    }

    /// An answer of no tokens that nobody says was ended is none: what the provider takes for it is not the caller's. Scores of
    /// a prompt and embeddings have none by their nature.
    pub(super) fn insured(&self, settled: Settled) -> Settled {
        if self.case.surface.is_chat() && !settled.estimated && settled.usage.output == 0 {
            let absorbed = settled.absorbed.plus(settled.cost);
            return Settled { cost: Nanos::ZERO, absorbed, ..settled };
        }
        settled
    }

    fn prompt_alone(&self) -> Usage {
        Usage { input: self.case.signals.prompt_tokens, ..Usage::default() }
    }

    /// Nothing was sent: the hold goes.
    pub(super) fn void(&mut self, effects: &mut Vec<Effect>) {
        let call = self.call_record(self.current, &Settled::default(), 499);
        self.post(PostOutcome::Void, call, None, effects);
    }

    /// Every attempt failed, and the caller saw this status: nothing is charged, and the attempts stand in the ledger. What the
    /// last of those that may be billed used stays open until it is known.
    pub(super) fn close_failed(&mut self, status: u16, effects: &mut Vec<Effect>) {
        if self.grant.is_none() {
            return;
        }
        if self.attempts.is_empty() {
            return self.void(effects);
        }
        match self.attempts.iter().rposition(|attempt| attempt.at_risk) {
            Some(number) => {
                let (outcome, call) = self.unknown(number);
                self.post(outcome, CallRecord { status, ..call }, Some(number), effects);
            }
            None => self.close_charged(Settled::default(), status, effects),
        }
    }

    /// What is known of an attempt that came to nothing and may be billed.
    fn unknown(&self, number: usize) -> (PostOutcome, CallRecord) {
        let attempt = self.attempts.get(number);
        let status = match attempt.map(|attempt| (&attempt.outcome, attempt.broke_off)) {
            Some((Outcome::Rejected { status }, _)) => *status,
            Some((Outcome::Cancelled, _)) => 499,
            Some((_, true)) => 502,
            _ => 504,
        };
        let nothing = (Settled { estimated: true, ..Settled::default() }, false);
        let (settled, known) = attempt.and_then(|attempt| attempt.seen).unwrap_or(nothing);
        let metered = settled.cost;
        let outcome = if known { PostOutcome::Charge(metered) } else { PostOutcome::Suspense { metered } };
        (outcome, self.call_record(number, &settled, status))
    }

    /// Only the prompt and what was seen are known. That is the charge where closing the connection stops the bill; the
    /// rest is unknown elsewhere.
    fn close_seen(&mut self, output_seen: u64, status: u16, effects: &mut Vec<Effect>) {
        let settled = self.settled(None, false, output_seen);
        self.close_as(self.drain_ms() == 0, settled, status, effects);
    }

    /// Charges what is known, and leaves open what is not.
    pub(super) fn close_as(&mut self, known: bool, settled: Settled, status: u16, effects: &mut Vec<Effect>) {
        if known {
            self.close_charged(settled, status, effects);
        } else {
            self.close_unknown(settled, status, effects);
        }
    }

    pub(super) fn close_charged(&mut self, settled: Settled, status: u16, effects: &mut Vec<Effect>) {
        if !settled.estimated && settled.usage.prompt() > 0 {
            let estimated = self.case.signals.prompt_tokens;
            self.note(health::Outcome::Counted { estimated, told: settled.usage.prompt() }, self.now, effects);
            self.note_speed(settled.usage.output, effects);
        }
        let call = self.call_record(self.current, &settled, status);
        self.post(PostOutcome::Charge(settled.cost), call, Some(self.current), effects);
    }

    /// How fast a stream was written, where it was long enough to tell.
    fn note_speed(&self, tokens: u64, effects: &mut Vec<Effect>) {
        let first_byte = self.attempt().and_then(|attempt| attempt.first_byte);
        if let Some(first_byte) = first_byte.filter(|_| self.case.request.stream && tokens >= TOKENS_TELLING) {
            let ms = self.now.since(first_byte);
            self.note(health::Outcome::Wrote { tokens, ms }, self.now, effects);
        }
    }

    /// The provider may bill more than we saw: the budget stays held until it is known.
    fn close_unknown(&mut self, settled: Settled, status: u16, effects: &mut Vec<Effect>) {
        let call = self.call_record(self.current, &settled, status);
        self.post(PostOutcome::Suspense { metered: settled.cost }, call, Some(self.current), effects);
    }

    /// Nobody waits for the answer and it did not come.
    pub(super) fn abandon(&mut self, effects: &mut Vec<Effect>) {
        let attempt = self.current;
        effects.push(Effect::Abort { attempt });
        self.unjudged(self.now, effects);
        self.close_seen(0, 499, effects);
    }

    /// Closes the hold with the outcome of one attempt; others that may be billed are booked beside it.
    fn post(&mut self, outcome: PostOutcome, call: CallRecord, of: Option<usize>, effects: &mut Vec<Effect>) {
        let other = |(number, attempt): (usize, &Attempt)| {
            let (outcome, mut other) = self.unknown(number);
            other.attempts.clear();
            OtherAttempt { number: number as u64 + 1, amount: attempt.quote, outcome, call: other }
        };
        let others = self.attempts.iter().enumerate();
        let others = others.filter(|(number, attempt)| attempt.at_risk && Some(*number) != of).map(other).collect();
        let tokens = call.usage.prompt().saturating_add(call.usage.output);
        let request_id = self.case.request_id.clone();
        let held_at = self.grant.as_ref().map(|grant| grant.at);
        let observed = self.observed(&call);
        let paid = self.paid.clone();
        let letter = Box::new(PostLetter { request_id, held_at, outcome, call, tokens, others, observed, paid });
        effects.push(self.posting(&letter));
        self.phase = Phase::Closing { letter, tries: 1 };
    }

    fn posting(&self, letter: &PostLetter) -> Effect {
        let booked = letter.outcome != PostOutcome::Void;
        Effect::Post { letter: Box::new(letter.clone()), request: booked.then(|| self.case.body.clone()) }
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
                effects.push(self.posting(&letter));
                self.phase = Phase::Closing { letter, tries: tries + 1 };
            }
            _ => self.phase = Phase::Closing { letter, tries },
        }
    }

    /// What of the hold was there for an attempt.
    fn held_for(&self, number: usize) -> Nanos {
        match self.attempts.get(number) {
            Some(attempt) if attempt.at_risk => attempt.quote,
            _ => self.held_here(),
        }
    }

    fn call_record(&self, number: usize, settled: &Settled, status: u16) -> CallRecord {
        let candidate = self.candidate_of(number);
        let attempt = self.attempts.get(number);
        let ids = |pick: fn(&crate::catalog::Deployment) -> &String| {
            candidate.map_or_default(|candidate| pick(&candidate.deployment).clone())
        };
        let rates = candidate.map(|candidate| &candidate.deployment.rates);
        let when = candidate.map_or_else(|| self.case.when(), |candidate| candidate.when);
        // Where nobody answered there is no price, not even the fee of a call. What is not known yet may still get one.
        let known = settled.usage != Usage::default() || settled.cost != Nanos::ZERO || settled.absorbed != Nanos::ZERO;
        let used = known || settled.estimated;
        let prompt = if known { settled.usage.prompt() } else { self.case.signals.prompt_tokens };
        CallRecord {
            model_requested: self.case.request.model.clone(),
            provider: ids(|deployment| &deployment.provider.id),
            model: ids(|deployment| &deployment.model),
            mode: self.plan().map_or_default(|plan| plan.terms.mode.word().to_owned()),
            reason: self.reason().to_owned(),
            task: self.case.signals.task.word().to_owned(),
            catalog_id: self.case.world.catalog.id.clone(),
            usage: settled.usage,
            priced_at: self.case.arrived,
            service_tier: when.tier.map_or_default(|tier| tier.word().to_owned()),
            estimated: settled.estimated,
            rates: rates.filter(|_| used).map(|rates| *rates.at(prompt, when)),
            request_fee_usd: rates.filter(|_| known).map_or(Nanos::ZERO, |rates| rates.request),
            held_usd: self.held_for(number),
            absorbed_usd: settled.absorbed,
            budget_cut: settled.cut,
            generation_id: attempt.map_or_default(|attempt| attempt.generation_id.clone()),
            attempts: self.attempt_records(settled.cost),
            case: if number == self.current && used { self.kept_case() } else { String::new() },
            decision: if number == self.current { self.decision() } else { String::new() },
            comparison: if number == self.current && known { self.comparison(settled) } else { None },
            status,
            ttft_ms: attempt.and_then(|attempt| Some(attempt.first_content?.since(attempt.sent))),
            duration_ms: self.now.since(self.case.arrived),
            ..CallRecord::default()
        }
    }

    /// What answers told by themselves: of each that was looked at, whether it held; of the last, how long it was.
    fn observed(&self, call: &CallRecord) -> String {
        let case = &self.case.signals.case;
        // The cluster is made of the instructions: not where nothing is to be kept.
        let cluster = if self.case.world.policies().keep_nothing() { EVERYWHERE } else { case.cluster };
        let caught = if self.case.checks().see_structure() { CAUGHT_BY_STRUCTURE } else { CAUGHT_BY_END };
        let answers = self.attempts.iter().enumerate().filter_map(|(number, attempt)| {
            let candidate = self.candidate_at(attempt.candidate)?;
            let expected = expected(ability(&candidate.deployment), case.hardness);
            // What ended at a bound of the caller's or of ours says nothing of its model; and of two that do not agree nobody knows
            // which one is wrong.
            let tells = |verdict: &Verdict| !attempt.cut_short && *verdict != Verdict::Failed(Check::Agreement);
            let verdict = attempt.verdict.filter(tells);
            let gain = verdict.map(|verdict| gain(expected, caught, verdict == Verdict::Passed));
            let whole = !attempt.cut_short && !call.budget_cut && !call.estimated;
            let known = number == self.current && whole && call.usage.output > 0 && self.case.surface.is_chat();
            let stretch = known.then(|| ln_ratio(call.usage.output, candidate.output_tokens_usual));
            let told = gain.is_some() || stretch.is_some();
            told.then(|| Observed { cluster, model: &candidate.deployment.model, gain, stretch })
        });
        let answers: Vec<_> = answers.collect();
        if answers.is_empty() { String::new() } else { seen::told(&answers) }
    }

    /// The request as it was judged, as it is kept: it tells something of its words, so not where nothing is to be kept.
    fn kept_case(&self) -> String {
        if self.case.world.policies().keep_nothing() { String::new() } else { self.case.signals.case.to_text() }
    }

    /// The decision as it is kept; empty where the router had no choice.
    fn decision(&self) -> String {
        let record = self
            .plan()
            .zip(self.grant.as_ref())
            .and_then(|(plan, grant)| plan.record(&self.case.signals, &self.case.world, &hints(grant)));
        record.map_or_default(|record| record.to_text())
    }

    /// Where the request stands when choosing is compared with drawing.
    fn comparison(&self, settled: &Settled) -> Option<Box<Comparison>> {
        let plan = self.plan().filter(|plan| plan.terms.control > 0.0)?;
        let choice = plan.choice.filter(|choice| matches!(choice.why, Why::Best | Why::Control))?;
        let arm = match choice {
            Choice { compares: false, .. } => Arm::Alone,
            Choice { why: Why::Control, .. } => Arm::Control,
            _ => Arm::Routed,
        };
        let held = |attempt: Option<&Attempt>| {
            let verdict = attempt.filter(|attempt| !attempt.cut_short)?.verdict?;
            Some(verdict == Verdict::Passed)
        };
        let own = self.attempts.iter().find(|attempt| attempt.candidate == choice.place);
        Some(Box::new(Comparison {
            arm,
            deployment: plan.candidates.get(choice.place)?.deployment.id.clone(),
            weight: thousand_over(choice.side),
            own_weight: thousand_over(choice.side * choice.drawn),
            cost_usd: self.with_seen(*settled).cost,
            passed: held(self.attempt()),
            own_passed: held(own),
        }))
    }

    pub(super) fn attempt_records(&self, cost: Nanos) -> Vec<AttemptRecord> {
        let record = |(number, attempt): (usize, &Attempt)| {
            let deployment = self.candidate_of(number).map(|candidate| &candidate.deployment);
            let seen = attempt.seen.map_or(Nanos::ZERO, |(settled, _)| settled.cost);
            let (outcome, status, cost_usd) = match &attempt.outcome {
                Outcome::Pending => ("abandoned", 0, Nanos::ZERO),
                Outcome::Answered { status } => ("answered", *status, cost),
                Outcome::Rejected { status } => ("rejected", *status, seen),
                // Nobody went on with it: it is what the call cost.
                Outcome::Failed(fault) if attempt.broke_off && attempt.seen.is_none() => {
                    (fault.cause.word(), fault.status, cost)
                }
                Outcome::Failed(fault) => (fault.cause.word(), fault.status, seen),
                Outcome::Cancelled => ("cancelled", 0, seen),
            };
            AttemptRecord {
                provider: deployment.map_or_default(|deployment| deployment.provider.id.clone()),
                model: deployment.map_or_default(|deployment| deployment.model.clone()),
                outcome: outcome.to_owned(),
                status,
                cost_usd,
                verdict: attempt.verdict.map_or_default(|verdict| verdict.word().to_owned()),
            }
        };
        self.attempts.iter().enumerate().map(record).collect()
    }
}
