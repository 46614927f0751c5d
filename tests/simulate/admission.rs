//! Whether the account was right to grant a hold, to make it larger, or to refuse it. Its order of questions is its own
//! business: a grant must pass all of them, a refusal must have a true reason.
use crate::{
    books::{Books, Call, Cell, State, must},
    letters::tail,
};
use megarouter::{
    account::letter::{Answer, Bid, ExtendLetter, Grant, HoldLetter, KeySpec, Refusal},
    budget::Blocked,
    id::Scope,
    money::Nanos,
    time::Millis,
};

/// What stands in the way of an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Free,
    /// Calls in flight.
    Held,
    /// What is spent.
    Spent,
}

impl Books {
    pub fn judge_hold(&mut self, letter: &HoldLetter, now: Millis, answer: &Answer) -> Result<(), String> {
        match answer {
            Answer::Held(grant) => self.judge_grant(letter, grant, now),
            Answer::Refused(refusal) => {
                self.judge_refusal(letter, refusal, now).map_err(|why| format!("refused wrongly, {why}: {refusal:?}"))
            }
            _ => Err(format!("a hold is granted or refused: {answer:?}")),
        }
    }

    fn judge_grant(&mut self, letter: &HoldLetter, grant: &Grant, now: Millis) -> Result<(), String> {
        let (id, key_id) = (&letter.request_id, &letter.caller.key_id);
        let key = self.keys.get(key_id).ok_or("a key nobody made was granted a hold")?;
        let good = key.digest == letter.caller.digest && !key.revoked && !self.is_disabled(key);
        must(good, || "a bad key was granted a hold".into())?;
        if let Some(call) = self.calls.get(id).filter(|call| !call.is_closed()) {
            let again = (call.amount, &call.allowed, call.held_at) == (grant.amount, &grant.allowed, grant.at);
            return must(again, || "a repeated letter got another grant".into());
        }
        must(!self.has_ended(id) || self.is_forgotten(id), || {
            format!("a call that ended was granted a hold: {}", tail(id))
        })?;
        must(!Self::is_late(id, now), || format!("an old call was granted a hold: {}", tail(id)))?;
        let current = (self.version, self.policies_version(key_id));
        must((letter.tenant_version, letter.policies_version) == current, || "old bids were granted a hold".into())?;
        let spec = key.spec.clone();
        let path = self.path(key_id);
        let cells = self.cells(&path, &letter.session, now);
        let room = self.room(&cells, now);
        let fitting = self.allowed(letter, &spec, &path).filter_map(|(place, bid)| Some((place, within(bid, room)?)));
        let (places, amounts): (Vec<usize>, Vec<Nanos>) = fitting.unzip();
        must(!places.is_empty(), || format!("a hold of {} goes over a cap: {}", grant.amount, self.caps(&cells, now)))?;
        let most = amounts.into_iter().max().unwrap_or_default();
        let amount = if letter.dry { Nanos::ZERO } else { most };
        must((grant.amount, &grant.allowed) == (amount, &places), || {
            format!("granted {grant:?}, but {places:?} fit and need {amount}: {}", self.caps(&cells, now))
        })?;
        if letter.dry {
            return Ok(());
        }
        let limited = self.limited(&path, key_id);
        self.buckets.take(&limited, letter.tokens, now)?;
        must(grant.at == now, || "a grant tells when it was made".into())?;
        self.shelve(id);
        let call = Call {
            held_at: grant.at,
            key_id: key_id.clone(),
            path,
            session: letter.session.clone(),
            amount: grant.amount,
            allowed: grant.allowed.clone(),
            tokens: letter.tokens,
            cells: cells.clone(),
            state: State::Open { settle_by: self.settle_by(now) },
        };
        self.calls.insert(id.clone(), call);
        self.check_caps(&cells, now)
    }

    /// Once more, from the whole list: no cap is passed and the wallet reaches.
    fn check_caps(&self, cells: &[Cell], now: Millis) -> Result<(), String> {
        for cell in cells {
            let (posted, held) = self.counted(cell);
            let within = self.ceiling(cell, now).is_none_or(|ceiling| posted + held <= ceiling.0);
            must(within, || format!("{posted} posted and {held} held are over the cap of {cell:?}"))?;
        }
        must(self.wallet().available >= Nanos::ZERO, || format!("the wallet is overspent: {:?}", self.wallet()))
    }

    fn judge_refusal(&self, letter: &HoldLetter, refusal: &Refusal, now: Millis) -> Result<(), String> {
        let key_id = &letter.caller.key_id;
        let Some(key) = self.keys.get(key_id).filter(|key| key.digest == letter.caller.digest) else {
            return must(*refusal == Refusal::UnknownKey, || "the key is unknown".into());
        };
        if key.revoked {
            return must(*refusal == Refusal::RevokedKey, || "the key is revoked".into());
        }
        if self.is_disabled(key) {
            return must(*refusal == Refusal::MemberDisabled, || "the key's owner is disabled".into());
        }
        let id = &letter.request_id;
        let late = Self::is_late(id, now);
        if *refusal == Refusal::Closed {
            return must(self.has_ended(id) || late, || "it comes in time".into());
        }
        let known = self.has_ended(id) && !self.is_forgotten(id);
        must(!known && !late, || "its call is closed".into())?;
        must(self.calls.get(id).is_none_or(Call::is_closed), || "a repeated letter is granted what it was".into())?;
        let path = self.path(key_id);
        let cells = self.cells(&path, &letter.session, now);
        let cheapest = self.allowed(letter, &key.spec, &path).map(|(_, bid)| least(bid)).min();
        let way = cheapest.map(|amount| self.way(&cells, amount, now));
        match refusal {
            Refusal::Stale(tenant) => {
                let current = (self.version, self.policies_version(key_id));
                let old = (letter.tenant_version, letter.policies_version) != current;
                must(old && tenant.version == self.version && tenant.policies.is_null() == (current.1 == 0), || {
                    format!("rows of versions {current:?} are current")
                })
            }
            Refusal::NotAllowed { .. } => must(cheapest.is_none(), || "a bid is on the key's lists".into()),
            Refusal::InFlight | Refusal::Credits { .. } | Refusal::Budget(_) => {
                self.judge_money(refusal, &cells, cheapest.unwrap_or_default(), way, now)
            }
            rate => self.buckets.judge(&self.limited(&path, key_id), letter.tokens, rate, now),
        }
    }

    /// A refusal for money: 429 where only calls in flight stand in the way, else what is spent, with its figures.
    fn judge_money(
        &self,
        refusal: &Refusal,
        cells: &[Cell],
        amount: Nanos,
        way: Option<Way>,
        now: Millis,
    ) -> Result<(), String> {
        match refusal {
            Refusal::InFlight => must(way == Some(Way::Held), || {
                format!("only calls in flight stand in the way, not {way:?}: {}", self.caps(cells, now))
            }),
            Refusal::Credits { available, estimate } => {
                let wallet = self.wallet();
                let told = *available == wallet.available && *estimate == amount;
                must(told && *estimate > wallet.credits.minus(wallet.posted), || {
                    format!("the wallet does not reach: {wallet:?}")
                })
            }
            Refusal::Budget(blocked) => {
                must(way == Some(Way::Spent), || format!("a budget is spent: {}", self.caps(cells, now)))?;
                self.judge_blocked(cells, blocked, amount, now)
            }
            _ => Err("a refusal nobody expects".into()),
        }
    }

    fn judge_blocked(&self, cells: &[Cell], blocked: &Blocked, amount: Nanos, now: Millis) -> Result<(), String> {
        let found = cells.iter().find(|cell| (&cell.scope, cell.window) == (&blocked.scope, blocked.window));
        let (cell, ceiling) =
            found.and_then(|cell| Some((cell, self.ceiling(cell, now)?))).ok_or("there is no such budget")?;
        let (posted, held) = self.counted(cell);
        let told = (blocked.posted_usd.0, blocked.held_usd.0, blocked.limit_usd, blocked.estimate_usd)
            == (posted, held, ceiling, amount);
        must(told && posted + amount.0 > ceiling.0, || {
            format!("{posted} posted and {held} held in {cell:?} of {ceiling}, asked {amount}")
        })
    }

    /// A hold that grows, by as much as there is room for.
    pub fn judge_extension(&mut self, letter: &ExtendLetter, now: Millis, answer: &Answer) -> Result<(), String> {
        let ExtendLetter { request_id, to, least } = letter;
        let Some(call) = self.calls.get(request_id).filter(|call| call.is_open()) else {
            let closed = *answer == Answer::Refused(Refusal::Closed);
            return must(closed, || format!("only an open hold grows: {answer:?}"));
        };
        let (held, cells) = (call.amount, call.cells.clone());
        let room = self.room(&cells, now).max(Nanos::ZERO);
        let most = (*to).min(Nanos(held.0 + room.0)).max(held);
        let grown = if most < *least { held } else { most };
        match answer {
            Answer::Held(grant) => {
                self.seen.count(if grown > held { "hold grew" } else { "hold did not grow" });
                must(grant.amount == grown && grant.allowed == call.allowed, || {
                    format!("a hold of {held} grows to {grown}, not to {}: {}", grant.amount, self.caps(&cells, now))
                })?;
                let settle_by = self.settle_by(now);
                let Some(call) = self.calls.get_mut(request_id) else { return Ok(()) };
                if grown == held {
                    return Ok(());
                }
                (call.state, call.amount) = (State::Open { settle_by }, grown);
                self.check_caps(&cells, now)
            }
            _ => Err(format!("a hold grows or stays: {answer:?}")),
        }
    }

    fn allowed<'a>(
        &'a self,
        letter: &'a HoldLetter,
        spec: &'a KeySpec,
        path: &'a [Scope],
    ) -> impl Iterator<Item = (usize, &'a Bid)> {
        let may = |bid: &Bid| spec.allows(&bid.provider, &bid.model) && !self.denies(path, &bid.provider, &bid.model);
        letter.bids.iter().enumerate().filter(move |(_, bid)| may(bid))
    }

    fn way(&self, cells: &[Cell], amount: Nanos, now: Millis) -> Way {
        let wallet = self.wallet();
        let one = |posted: i64, held: i64, most: i64| {
            if posted + amount.0 > most {
                Way::Spent
            } else if posted + held + amount.0 > most {
                Way::Held
            } else {
                Way::Free
            }
        };
        let mut ways = vec![one(wallet.posted.0, wallet.held.0, wallet.credits.0)];
        ways.extend(cells.iter().filter_map(|cell| {
            let (posted, held) = self.counted(cell);
            Some(one(posted, held, self.ceiling(cell, now)?.0))
        }));
        // What is spent stays spent, whatever comes back from calls in flight.
        [Way::Spent, Way::Held].into_iter().find(|way| ways.contains(way)).unwrap_or(Way::Free)
    }

    /// The state of all that limits a call, for a message.
    fn caps(&self, cells: &[Cell], now: Millis) -> String {
        let told = |cell: &Cell| {
            let (posted, held) = self.counted(cell);
            let ceiling = self.ceiling(cell, now).map(|ceiling| ceiling.0);
            format!("{:?} {}: {posted} posted, {held} held of {ceiling:?}", cell.scope, cell.window_id)
        };
        format!("{:?}, {:?}", cells.iter().map(told).collect::<Vec<_>>(), self.wallet())
    }
}

/// The least that is enough to begin with.
fn least(bid: &Bid) -> Nanos {
    if bid.least > Nanos::ZERO { bid.least } else { bid.amount }
}

fn within(bid: &Bid, room: Nanos) -> Option<Nanos> {
    [bid.amount, least(bid)].into_iter().find(|amount| *amount <= room)
}
