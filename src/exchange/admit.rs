//! From the request to a granted hold: who knocks, what it may cost, whether the account lets it pass.
use super::{Effect, Event, Exchange, Phase, event::Timer};
use crate::{
    access::Knock,
    account::letter::{Bid, Caller, Claim, Grant, HoldLetter, Refusal, Unfit},
    endpoint::Overrides,
    fault::Fault,
    payment::UNDERPAID,
    route::{Allowed, decision::Hints},
    time::Millis,
};

/// Asks of the account before we give up: the hold is idempotent by the request's id.
const HOLD_TRIES: u32 = 3;
/// A call that has not begun so long after the money was asked for does not begin any more.
const START_BY_MS: u64 = 15_000;
/// Times a plan is made again because the organisation's rows or the key's lists were not known.
const REPLANS: u32 = 3;

/// What a grant tells of whom to choose.
pub(super) fn hints(grant: &Grant) -> Hints<'_> {
    Hints { allowed: &grant.allowed, warm: &grant.warm, pool: &grant.pool }
}

impl Exchange {
    /// The first step: a stranger is told the price, a key is asked about.
    pub(super) fn admit(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        match &self.case.knock {
            Knock::Known(..) => self.ask(0, now, effects),
            Knock::Stranger | Knock::Forged => match self.case.purse.refused.take() {
                None if self.case.purse.payment.is_some() && self.case.plan.is_ok() => {
                    // It may have bought its answer when that was cheaper: that is the account's to say.
                    if self.underpaid()
                        && let Some(payment) = &mut self.case.purse.payment
                    {
                        UNDERPAID.clone_into(&mut payment.doubt);
                    }
                    self.ask(0, now, effects);
                }
                Some(mut malformed) if malformed.status != 402 => {
                    // Another try of a client that pays would be another payment.
                    malformed.should_retry = false;
                    self.refuse(&malformed, effects);
                }
                refused => self.ask_for_payment(refused, effects),
            },
        }
    }

    fn ask(&mut self, tries: u32, now: Millis, effects: &mut Vec<Effect>) {
        let purse = &self.case.purse;
        let (caller, claim) = match (&self.case.knock, &purse.payment) {
            (Knock::Known(key, digest), _) => (Caller::of(key, digest), None),
            (_, Some(payment)) => {
                let claim = Claim { payment: payment.clone(), request_hash: purse.claimed_for(payment) };
                (Caller::of_payer(&payment.payer, &purse.organization), Some(Box::new(claim)))
            }
            _ => return,
        };
        let plan = self.plan();
        let bids = plan.map_or_else(Vec::new, |plan| {
            let bid = |candidate: &crate::route::Candidate| Bid {
                provider: candidate.deployment.provider.id.clone(),
                model: candidate.deployment.model.clone(),
                amount: candidate.quote,
                least: candidate.least,
            };
            plan.candidates.iter().map(bid).collect()
        });
        let output = plan.and_then(|plan| plan.candidates.iter().map(|c| c.output_tokens_max).max()).unwrap_or(0);
        let letter = HoldLetter {
            request_id: self.case.request_id.clone(),
            caller,
            tenant_version: self.case.world.tenant_version(),
            dry: bids.is_empty() || self.only_explains(),
            bids,
            tokens: self.case.signals.prompt_tokens.saturating_add(output.saturating_mul(self.case.signals.choices)),
            session: self.case.overrides.session.clone().unwrap_or_default(),
            claim,
            policies_version: self.case.world.policies().version,
            taught: self.case.world.taught.version.clone(),
            draws: plan
                .filter(|plan| plan.terms.control > 0.0)
                .map_or_default(|plan| plan.terms.mode.word().to_owned()),
        };
        self.held_at = now;
        self.phase = Phase::Holding { tries };
        effects.push(Effect::Hold(letter));
    }

    pub(super) fn only_explains(&self) -> bool {
        self.case.overrides.explains_only()
    }

    pub(super) fn holding(&mut self, tries: u32, event: Event, now: Millis, effects: &mut Vec<Effect>) {
        match event {
            // Nobody can tell whether a hold that took so long is still there: it is given back.
            Event::Held(_) if now.since(self.held_at) > START_BY_MS => {
                let text = "The account took too long to answer. Nothing was charged. Try again in a moment.";
                self.refuse(&Fault::unavailable("budget_unavailable", text), effects);
                self.void(effects);
            }
            Event::Held(grant) => {
                self.queue = grant.allowed.iter().rev().copied().collect();
                self.begin_with_the_chosen(&grant);
                if self.only_explains() {
                    return self.explain_only(effects);
                }
                self.grant = Some(grant);
                if self.gone {
                    return self.void(effects);
                }
                if !self.pay(effects) {
                    self.begin(now, effects);
                }
            }
            Event::Refused(refusal) => self.refused(refusal, tries, now, effects),
            Event::Unreachable if tries + 1 < HOLD_TRIES => self.ask(tries + 1, now, effects),
            Event::Unreachable => {
                let text = "The account could not be reached. Nothing was charged. Try again in a moment.";
                self.refuse(&Fault::unavailable("budget_unavailable", text), effects);
                // A hold may have been made all the same: it is voided, or runs out by itself.
                if !self.only_explains() {
                    self.void(effects);
                }
            }
            Event::Gone => {
                self.gone = true;
                self.phase = Phase::Holding { tries };
            }
            _ => self.phase = Phase::Holding { tries },
        }
    }

    /// The money is there: the first attempt is made.
    pub(super) fn begin(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        effects.push(Effect::Wait { timer: Timer::Total, ms: self.left_ms() });
        self.next_attempt(now, effects);
    }

    /// Asks first whom the plan chooses among those that may be asked.
    fn begin_with_the_chosen(&mut self, grant: &Grant) {
        let Ok(plan) = &mut self.case.plan else { return };
        if let Some(place) = plan.choose(&hints(grant)) {
            self.queue.retain(|other| *other != place);
            self.queue.push(place);
        }
    }

    fn refused(&mut self, refusal: Refusal, tries: u32, now: Millis, effects: &mut Vec<Effect>) {
        let again = match &refusal {
            Refusal::Stale(tenant) => self.case.world.learn(tenant),
            Refusal::NotAllowed { models, providers } => {
                let allowed = Allowed { models: models.clone(), providers: providers.clone() };
                let narrower = allowed != self.case.allowed;
                self.case.allowed = allowed;
                narrower && self.case.plan.is_ok()
            }
            _ => false,
        };
        if again && tries < REPLANS {
            self.case.replan(now);
            return self.ask(tries + 1, now, effects);
        }
        // Where there was no plan, its own fault says more than the account's.
        let fault = match (&refusal, &self.case.plan) {
            (Refusal::NotAllowed { .. }, Err(fault)) => fault.clone(),
            // They shall not all come back at once.
            (Refusal::Overloaded, _) => {
                let mut fault = refusal.to_fault();
                fault.retry_after_s = Some(1 + self.case.dice.roll() % 3);
                fault
            }
            _ => refusal.to_fault(),
        };
        let fault = self.with_what_fits(fault, &refusal);
        match refusal {
            Refusal::Payment(Unfit::Used { request_id, transaction }) => {
                self.tell_receipt(&request_id, transaction, effects);
            }
            Refusal::Payment(Unfit::Channel { told, .. }) => {
                self.mismatch = Some(told);
                self.ask_for_payment(Some(fault), effects);
            }
            Refusal::Credits { .. } | Refusal::Budget(_) if self.may_pay_itself() => {
                self.pay_itself(fault, now, effects);
            }
            Refusal::Credits { available, estimate } if self.case.purse.payment.is_some() => {
                let text = format!("This wallet has {available} USD here, and the call may cost {estimate} USD.");
                self.ask_for_payment(Some(Fault::new(402, "payment_required", "insufficient_credits", text)), effects);
            }
            // Another payment would do.
            _ if fault.status == 402 && self.case.purse.payment.is_some() => self.ask_for_payment(Some(fault), effects),
            _ => self.refuse(&fault, effects),
        }
    }

    /// Says how long an answer may be that a budget still covers.
    fn with_what_fits(&self, fault: Fault, refusal: &Refusal) -> Fault {
        let (Refusal::Budget(blocked), Some(plan)) = (refusal, self.plan()) else { return fault };
        let fits = plan.candidates.iter().map(|candidate| self.output_within(candidate, blocked.left()));
        let most = fits.max().unwrap_or_default();
        fault.with("max_affordable_output_tokens", most)
    }
}

impl Overrides {
    fn explains_only(&self) -> bool {
        self.explain == crate::endpoint::Explain::Only
    }
}
