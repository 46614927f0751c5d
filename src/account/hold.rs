//! Holds: made, made larger, closed, and what becomes of those that nobody closes.
use super::{
    Account, Booking, Hold, Rates, Turn, Write,
    letter::{
        Answer, Bid, Caller, ExtendLetter, Grant, HoldLetter, KeySpec, OtherAttempt, PostLetter, PostOutcome, Refusal,
    },
};
use crate::{
    access::{KeyKind, Member},
    budget::{Counted, Place, RateLimits},
    id::Scope,
    ledger::{CallRecord, EntryKind, transfer},
    money::Nanos,
    time::Millis,
};

/// How long a suspense keeps its budget before what was metered is posted.
const SUSPENSE_MS: u64 = 86_400_000;
/// Entries the journal may lag behind before new holds are refused: all of them are in memory, a kilobyte or two each.
const OUTBOX_MAX: usize = 20_000;
/// Of how many of them how they were decided is kept, two kilobytes each.
const DECISIONS_MAX: usize = 2_000;
/// How often ended sessions are looked for when there are as many as may be.
const SESSIONS_SWEPT_MS: u64 = 60_000;

/// How long a prompt is taken to stay in a provider's cache: the shortest time that one promises,
/// <https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching>.
const WARM_MS: u64 = 300_000;
/// Sessions that are remembered for it, in memory alone.
const WARM_MAX: usize = 10_000;

/// What a call has cost with all its attempts. None where it came to nothing: not a word was charged, and the caller saw a fault.
fn spent(outcome: &PostOutcome, call: &CallRecord, others: &[OtherAttempt], held: Nanos) -> Option<Nanos> {
    let most = |call: &CallRecord, used: Nanos, held: Nanos| if call.estimated { used.min(held) } else { used };
    let elsewhere = others.iter().map(|other| most(&other.call, other.outcome.used(), other.amount));
    let here = others.iter().map(|other| other.amount).fold(held, Nanos::minus);
    let spent = elsewhere.fold(most(call, outcome.used(), here), Nanos::plus);
    let failed = matches!(outcome, PostOutcome::Charge(Nanos::ZERO)) && call.status >= 400;
    let nothing = *outcome == PostOutcome::Void || failed && spent == Nanos::ZERO;
    (!nothing).then_some(spent)
}

impl PostOutcome {
    fn used(&self) -> Nanos {
        match self {
            Self::Charge(amount) | Self::Suspense { metered: amount } => *amount,
            Self::Void => Nanos::ZERO,
        }
    }

    fn take_as_metered(&mut self) {
        if let Self::Suspense { metered } = *self {
            *self = Self::Charge(metered);
        }
    }
}

/// What a hold is made of.
struct Begun {
    path: Vec<Scope>,
    counted: Vec<Counted>,
    grant: Grant,
    /// What its payment promises.
    promise: Nanos,
}

impl Hold {
    /// What the wallet covers of it: a payment's promise covers the rest.
    pub(super) fn of_wallet(&self) -> Nanos {
        self.grant.amount.minus(self.promised)
    }

    /// The scopes it counts in.
    pub(super) fn scopes(&self) -> Vec<Scope> {
        match self.path.as_slice() {
            // Rows of the first version had no path.
            [] => vec![Scope::ApiKey(self.key_id.clone()), Scope::Organization],
            path => path.to_vec(),
        }
    }
}

impl Rates {
    fn take(&mut self, scope: &Scope, limits: RateLimits, tokens: u64, now: Millis) -> Result<(), Refusal> {
        if let Some(rpm) = limits.rpm {
            let refused = |retry_after_s| Refusal::Rpm { scope: scope.clone(), retry_after_s };
            self.requests.take(1, rpm, now).map_err(refused)?;
        }
        let Some(tpm) = limits.tpm else { return Ok(()) };
        self.tokens.take(tokens, tpm, now).map_err(|retry_after_s| {
            if let Some(rpm) = limits.rpm {
                self.requests.refund(1, rpm);
            }
            Refusal::Tpm { scope: scope.clone(), retry_after_s }
        })
    }
}

impl Account {
    pub(super) fn hold(&mut self, letter: HoldLetter, now: Millis) -> Turn {
        let spec = match self.spec_of(&letter.caller, now) {
            Ok(spec) => spec,
            Err(refusal) => return Turn::refused(refusal),
        };
        match self.bookings.get(&letter.request_id) {
            Some(Booking::Held(hold) | Booking::Suspense { hold, .. }) => {
                return Turn::told(Answer::Held(hold.grant.clone()));
            }
            // A letter that was long on its way: its call has ended.
            Some(Booking::Posted { .. }) => return Turn::refused(Refusal::Closed),
            None if !self.ended.may_begin(&letter.request_id, now) => return Turn::refused(Refusal::Closed),
            None => {}
        }
        let path = self.path(&letter.caller.key_id, &spec);
        if (letter.tenant_version, letter.policies_version) != (self.tenant.version, self.policies_version(&path)) {
            return Turn::refused(Refusal::Stale(Box::new(self.tenant_of(&path))));
        }
        if self.outbox.len() >= OUTBOX_MAX {
            return Turn::refused(Refusal::Backpressure);
        }
        let place = self.place(&path, &letter.session, now);
        let counted = self.budgets.counted(place);
        if self.budgets.is_full(&counted) {
            let mut turn = Turn::refused(Refusal::Sessions);
            // Sessions that ended are forgotten with a checkpoint; where nothing is booked, there is none.
            if now.since(self.checkpointed) > SESSIONS_SWEPT_MS {
                self.checkpoint(now, &mut turn.writes);
            }
            return turn;
        }
        let promise = match self.admits_payment(letter.claim.as_deref(), now) {
            Ok(promise) => promise,
            Err(refusal) => return Turn::refused(refusal),
        };
        let grant = match self.affordable(&letter, &spec, &counted, place, promise) {
            Ok(grant) => grant,
            Err(refusal) => {
                if let Refusal::Budget(blocked) = &refusal
                    && !letter.dry
                {
                    self.watch_refusal(blocked, now);
                }
                return Turn::refused(refusal);
            }
        };
        if letter.dry {
            let grant = self.with_hints(grant, &letter, now);
            return Turn::told(Answer::Held(Grant { amount: Nanos::ZERO, ..grant }));
        }
        if let Err(refusal) = self.take_rates(&path, &spec, letter.tokens, now) {
            return Turn::refused(refusal);
        }
        self.note_use(&letter.caller.key_id, now);
        self.begin(letter, Begun { path, counted, grant, promise }, now)
    }

    /// The hold is made.
    fn begin(&mut self, letter: HoldLetter, begun: Begun, now: Millis) -> Turn {
        let Begun { path, counted, mut grant, promise } = begun;
        let mut told = self.with_hints(grant.clone(), &letter, now);
        let HoldLetter { request_id, caller, session, tokens, claim, .. } = letter;
        let (key_id, settle_by) = (caller.key_id, now.after(self.terms.hold_settle_ms));
        let promised = promise.min(grant.amount);
        let nonce = claim.as_ref().map_or_default(|claim| claim.payment.nonce.clone());
        if let Some(claim) = claim {
            (told.pays, told.channel) = self.begin_payment(*claim, &request_id, settle_by, now);
            // Who asks again hears the same.
            (grant.pays, grant.channel) = (told.pays, told.channel);
        }
        let hold = Hold { key_id, path, session, grant, counted, at: now, settle_by, tokens, claim: nonce, promised };
        self.count_hold(&hold);
        let write = self.put(request_id, Booking::Held(hold));
        Turn::told(Answer::Held(told)).with(vec![write])
    }

    /// What a key allows; a wallet that has signed is bound by nothing but what it pays.
    fn spec_of(&self, caller: &Caller, now: Millis) -> Result<KeySpec, Refusal> {
        if caller.kind == KeyKind::Payer {
            return self.payer_spec(caller);
        }
        self.prove(caller, KeyKind::Inference, now).map(|key| key.spec.clone())
    }

    /// In its own account a wallet is bound by nothing but what it has. In an organisation's it calls in its member's name.
    fn payer_spec(&self, caller: &Caller) -> Result<KeySpec, Refusal> {
        if caller.digest.is_empty() {
            return Ok(KeySpec::default());
        }
        self.stands()?;
        let is_its = |member: &Member| member.wallet.as_ref() == Some(&caller.key_id) && !member.disabled;
        let member =
            self.members.iter().find(|(_, member)| is_its(member)).filter(|_| caller.digest == self.organization.id);
        let message = "This wallet is none of the organisation's members'. An admin sets it: PATCH /admin/v1/members/{id} {\"wallet\"}.";
        let (id, _) = member.ok_or_else(|| Refusal::Role { message: message.to_owned() })?;
        Ok(KeySpec { owner_member_id: Some(id.clone()), ..KeySpec::default() })
    }

    /// A grant with what helps to choose. None of it is kept with the hold.
    fn with_hints(&self, grant: Grant, letter: &HoldLetter, now: Millis) -> Grant {
        let warm = self.warm.get(&letter.session).filter(|(_, at)| now.since(*at) <= WARM_MS);
        let warm = warm.map_or_default(|(deployment, _)| deployment.clone());
        self.with_pool(Grant { warm, taught: self.lessons.news(&letter.taught), ..grant }, &letter.draws)
    }

    /// Remembers where a session's prompt was read last.
    fn note_warm(&mut self, call: &CallRecord, now: Millis) {
        if call.session.is_empty() || call.usage.prompt() == 0 {
            return;
        }
        if self.warm.len() >= WARM_MAX {
            self.warm.retain(|_, (_, at)| now.since(*at) <= WARM_MS);
        }
        if self.warm.len() < WARM_MAX {
            self.warm.insert(call.session.clone(), (format!("{}/{}", call.provider, call.model), now));
        }
    }

    /// The bids the key may use and the money reaches for, and what to hold: the dearest of them.
    fn affordable(
        &self,
        letter: &HoldLetter,
        spec: &KeySpec,
        counted: &[Counted],
        place: Place<'_>,
        promise: Nanos,
    ) -> Result<Grant, Refusal> {
        let allows = |bid: &Bid| {
            spec.allows(&bid.provider, &bid.model) && self.policies_permit(place.path, &bid.provider, &bid.model)
        };
        let allowed = || letter.bids.iter().enumerate().filter(|(_, bid)| allows(bid));
        let Some(cheapest) = allowed().map(|(_, bid)| bid.enough()).min() else {
            let (models, providers) = (spec.model_allowlist.clone(), spec.provider_allowlist.clone());
            return Err(Refusal::NotAllowed { models, providers });
        };
        // What is paid before the work is not for debts of earlier calls: else nobody who has one could ever pay again.
        let upfront = letter.claim.as_ref().is_some_and(|claim| claim.payment.is_upfront());
        let there = if upfront { self.spendable().max(Nanos::ZERO) } else { self.spendable() };
        let room = self.budgets.room(counted, place.at).min(there.plus(promise));
        let mut grant = Grant { at: place.at, ..Grant::default() };
        for (number, bid) in allowed() {
            if let Some(amount) = bid.within(room) {
                grant.amount = grant.amount.max(amount);
                grant.allowed.push(number);
            }
        }
        // The refusal of the cheapest bid says the most.
        if grant.allowed.is_empty() { Err(self.too_dear(cheapest, counted, place)) } else { Ok(grant) }
    }

    /// What is there to be held: what is about to be settled covers its own charge.
    fn spendable(&self) -> Nanos {
        self.wallet.available().plus(self.owed())
    }

    /// Why an amount that there is no room for is refused.
    fn too_dear(&self, amount: Nanos, counted: &[Counted], place: Place<'_>) -> Refusal {
        let available = self.spendable();
        match self.budgets.blocked(counted, amount, place) {
            Some(mut blocked) if !blocked.only_by_holds() => {
                blocked.scope_name = self.name_of(&blocked.scope);
                Refusal::Budget(blocked)
            }
            _ if amount > available.plus(self.wallet.held) => Refusal::Credits { available, estimate: amount },
            _ => Refusal::InFlight,
        }
    }

    /// Whether a verdict may be given: it counts as a request.
    pub(super) fn admits_lesson(&mut self, caller: &Caller, now: Millis) -> Result<(), Refusal> {
        let spec = self.prove(caller, KeyKind::Inference, now)?.spec.clone();
        let path = self.path(&caller.key_id, &spec);
        self.take_rates(&path, &spec, 0, now)
    }

    /// Takes a call from the rates of its whole path, or from none.
    fn take_rates(&mut self, path: &[Scope], spec: &KeySpec, tokens: u64, now: Millis) -> Result<(), Refusal> {
        let limits: Vec<(&Scope, RateLimits)> =
            path.iter().filter_map(|scope| Some((scope, self.rates_of(scope, spec)?))).collect();
        for (scope, limits) in &limits {
            let open = self.rates.get(*scope).map_or(0, |rates| rates.open);
            if limits.concurrency.is_some_and(|most| open >= most) {
                return Err(Refusal::Concurrency(Scope::clone(scope)));
            }
            if let Some(tpm) = limits.tpm.filter(|tpm| tokens > *tpm) {
                let whose = scope.plain();
                let message = format!(
                    "This call may use {tokens} tokens, more than the {tpm} a minute of its {whose}. Lower max_tokens."
                );
                return Err(Refusal::Invalid { param: "max_tokens".into(), message });
            }
        }
        for (place, (scope, own)) in limits.iter().enumerate() {
            if let Err(refusal) = self.take_rate(scope, *own, tokens, now) {
                for (scope, own) in limits.iter().take(place) {
                    self.give_back(scope, *own, 1, tokens);
                }
                return Err(refusal);
            }
        }
        Ok(())
    }

    fn take_rate(&mut self, scope: &Scope, limits: RateLimits, tokens: u64, now: Millis) -> Result<(), Refusal> {
        let mut taken = Ok(());
        self.rates.change(scope, |rates| taken = rates.take(scope, limits, tokens, now));
        taken
    }

    fn give_back(&mut self, scope: &Scope, limits: RateLimits, requests: u64, tokens: u64) {
        let Some(rates) = self.rates.get_mut(scope) else { return };
        if let Some(rpm) = limits.rpm {
            rates.requests.refund(requests, rpm);
        }
        if let Some(tpm) = limits.tpm {
            rates.tokens.refund(tokens, tpm);
        }
    }

    /// Makes a hold larger, in the windows it was made in, and tells what is held now: where there is no room for the least
    /// that is of use, what was held before.
    pub(super) fn extend(&mut self, letter: ExtendLetter, now: Millis) -> Turn {
        let Some(Booking::Held(hold)) = self.bookings.get(&letter.request_id) else {
            return Turn::refused(Refusal::Closed);
        };
        let mut hold = hold.clone();
        let held = hold.grant.amount;
        let room = self.budgets.room(&hold.counted, now).min(self.spendable());
        let amount = letter.to.min(held.plus(room.max(Nanos::ZERO)));
        if amount <= held || amount < letter.least {
            return Turn::told(Answer::Held(hold.grant));
        }
        let more = Grant { amount: amount.minus(held), ..Grant::default() };
        self.count_hold(&Hold { grant: more, at: now, promised: Nanos::ZERO, ..hold.clone() });
        hold.grant.amount = amount;
        hold.settle_by = now.after(self.terms.hold_settle_ms);
        let answer = Answer::Held(hold.grant.clone());
        let write = self.put(letter.request_id, Booking::Held(hold));
        Turn::told(answer).with(vec![write])
    }

    pub(super) fn post(&mut self, letter: PostLetter, now: Millis) -> Turn {
        let PostLetter { request_id, held_at, mut outcome, call, tokens, others, observed, paid } = letter;
        let (mut hold, told, until) = match self.bookings.get(&request_id) {
            // Of an earlier hold of the same id, which ended so long ago that it was forgotten.
            Some(Booking::Held(hold) | Booking::Suspense { hold, .. })
                if held_at.is_some_and(|held_at| held_at != hold.grant.at) =>
            {
                return Turn::told(Answer::Posted);
            }
            Some(Booking::Held(hold)) => (hold.clone(), false, now.after(SUSPENSE_MS)),
            // Nobody had said anything of it when its time was over: what is said now counts.
            Some(Booking::Suspense { hold, call, until, .. }) => (hold.clone(), !call.provider.is_empty(), *until),
            // Closed before: a repeated letter changes nothing.
            Some(Booking::Posted { .. }) => return Turn::told(Answer::Posted),
            // Not held, or not yet: should the hold still be on its way, it comes too late.
            None => {
                let open = self.ended.may_begin(&request_id, now);
                let mut writes: Vec<Write> = open.then(|| self.end(request_id, now)).into_iter().collect();
                self.forget(now, &mut writes);
                return Turn::told(Answer::Posted).with(writes);
            }
        };
        if told && matches!(outcome, PostOutcome::Suspense { .. }) {
            return Turn::told(Answer::Posted);
        }
        // Tokens not used go back to the rates once, when the hold is left.
        if matches!(self.bookings.get(&request_id), Some(Booking::Held(_))) {
            self.correct_tokens(&hold, tokens, now);
        }
        let mut others = if told { Vec::new() } else { others };
        if !hold.claim.is_empty() && !self.is_organization() {
            // A wallet that pays call by call does not wait for a day until a charge is known: what was metered is the charge. Whatever
            // else a provider bills is the operator's.
            let outcomes = others.iter_mut().map(|other| &mut other.outcome).chain([&mut outcome]);
            outcomes.for_each(PostOutcome::take_as_metered);
        }
        let mut left = hold.grant.amount.minus(outcome.used());
        for other in &mut others {
            // What the answer has used of the hold cannot cover another attempt any more.
            other.amount = other.amount.min(left).max(Nanos::ZERO);
            left = left.minus(other.amount);
        }
        let mut writes = Vec::new();
        if !hold.claim.is_empty() {
            let spent = spent(&outcome, &call, &others, hold.grant.amount);
            writes = self.end_payment(&request_id, &mut hold, spent, paid, now);
        }
        if !told {
            self.watch_providers(&call, now);
            self.lessons.observe(&observed, &call.request_hash, now);
        }
        for other in others {
            // It stays held, under the other's id.
            hold.grant.amount = hold.grant.amount.minus(other.amount);
            let promised = hold.promised.min(other.amount);
            hold.promised = hold.promised.minus(promised);
            // The payment is its call's.
            let other_s = Hold { promised, claim: String::new(), ..hold.clone() };
            writes.push(self.close_other(&request_id, other_s, other, until, now));
        }
        writes.push(self.close(request_id, hold, outcome, call, until, now));
        self.forget(now, &mut writes);
        Turn::told(Answer::Posted).with(writes)
    }

    /// What ended is forgotten with a checkpoint; where nothing reaches the journal, there is none.
    fn forget(&mut self, now: Millis, writes: &mut Vec<Write>) {
        if self.ended.is_full() {
            self.checkpoint(now, writes);
        }
    }

    /// Gives a hold back.
    fn release(&mut self, hold: &Hold, now: Millis) {
        self.budgets.post(&hold.counted, hold.grant.amount, Nanos::ZERO, now);
        self.wallet.held = self.wallet.held.minus(hold.of_wallet());
    }

    /// Gives tokens that were not used back to the rates, or takes what was used beyond.
    fn correct_tokens(&mut self, hold: &Hold, used: u64, now: Millis) {
        let spec = self.keys.get(&hold.key_id).map_or_default(|key| key.spec.clone());
        for scope in hold.scopes() {
            if let Some(limits) = self.rates_of(&scope, &spec) {
                self.give_back(&scope, limits, 0, hold.tokens.saturating_sub(used));
                if let (Some(tpm), Some(rates)) = (limits.tpm, self.rates.get_mut(&scope)) {
                    rates.tokens.spend(used.saturating_sub(hold.tokens), tpm, now);
                }
            }
        }
    }

    fn close(
        &mut self,
        id: String,
        hold: Hold,
        outcome: PostOutcome,
        call: CallRecord,
        until: Millis,
        now: Millis,
    ) -> Write {
        match outcome {
            PostOutcome::Void => {
                self.release(&hold, now);
                self.end(id, now)
            }
            PostOutcome::Charge(charge) => self.post_usage(id, hold, charge, call, now),
            PostOutcome::Suspense { metered } => self.put(id, Booking::Suspense { hold, metered, call, until }),
        }
    }

    /// Books another attempt of a call under its own id, covered by a part of the call's hold.
    fn close_other(
        &mut self,
        request_id: &str,
        mut hold: Hold,
        other: OtherAttempt,
        until: Millis,
        now: Millis,
    ) -> Write {
        let OtherAttempt { number, amount, outcome, call } = other;
        hold.grant = Grant { amount, at: hold.grant.at, ..Grant::default() };
        self.close(format!("{request_id}#{number}"), hold, outcome, call, until, now)
    }

    fn post_usage(&mut self, id: String, hold: Hold, mut charge: Nanos, mut call: CallRecord, now: Millis) -> Write {
        if call.estimated {
            // What is not known for sure is not charged beyond what was held for it here.
            charge = charge.min(hold.grant.amount);
            call.held_usd = call.held_usd.min(hold.grant.amount);
        }
        call.api_key_id.clone_from(&hold.key_id);
        call.path = hold.scopes().into_iter().filter(|scope| *scope != Scope::Organization).collect();
        call.session.clone_from(&hold.session);
        // Of a request's other attempts, and of what is settled a day later, nothing is read from there next. What was left to
        // chance shall not be what a session stays with.
        let by_chance = ["control", "explore"].contains(&call.reason.as_str());
        if !id.contains('#') && call.resolved_by.is_empty() && !by_chance {
            self.note_warm(&call, now);
        }
        self.arms.note(&call, now);
        if self.outbox.len() > DECISIONS_MAX {
            // Where the journal cannot be reached for long, the entries fill the memory: this is what can be done without.
            call.decision.clear();
        }
        call.overrun = charge > hold.grant.amount;
        let payable = || format!("payable:provider:{}", call.provider);
        let mut legs = transfer(self.wallet_account(), payable(), charge);
        if call.absorbed_usd > Nanos::ZERO {
            legs.extend(transfer("expense:absorbed".to_owned(), payable(), call.absorbed_usd));
        }
        let amount = Nanos(-charge.0);
        self.take(&id);
        let entry = self.entry(id, EntryKind::Usage, amount, legs, Some(call), None, now);
        // What a promise covered was never the wallet's.
        self.wallet.held = self.wallet.held.plus(hold.promised);
        self.book(entry, hold.counted, hold.grant.amount, now)
    }

    /// Moves holds nobody closed to suspense, and posts the metered part of suspenses that ran out.
    pub fn expire(&mut self, now: Millis) -> Vec<Write> {
        let mut writes = Vec::new();
        while let Some((at, id)) = self.deadlines.first().cloned() {
            if at > now {
                break;
            }
            match self.bookings.get(&id).cloned() {
                Some(Booking::Held(hold)) => {
                    let (metered, until) = (Nanos::ZERO, now.after(SUSPENSE_MS));
                    let call = CallRecord { estimated: true, ..CallRecord::default() };
                    writes.push(self.put(id, Booking::Suspense { hold, metered, call, until }));
                }
                Some(Booking::Suspense { hold, metered, call, .. }) => {
                    let call = CallRecord { estimated: true, resolved_by: "deadline".to_owned(), ..call };
                    writes.push(self.post_usage(id, hold, metered, call, now));
                }
                Some(Booking::Posted { .. }) | None => drop(self.deadlines.take_first(|_| true)),
            }
        }
        writes.append(&mut self.news);
        writes
    }
}
