//! Callers of the account without an exchange between: cheap, and free to say what no exchange of today says. What they do
//! is what a worker of another version may do.
use crate::{books::Books, chance::Chance, isolate::Want, letters, provider::PROVIDERS};
use megarouter::{
    account::letter::{Bid, ExtendLetter, HoldLetter, Letter, OtherAttempt, PostLetter, PostOutcome},
    catalog::{Catalog, When},
    exchange::event::{Event, Timer},
    ledger::CallRecord,
    money::Nanos,
    price,
    time::Millis,
    usage::Usage,
};

pub struct Client {
    request_id: String,
    key: usize,
    session: String,
    bids: Vec<Bid>,
    tokens: u64,
    tries: u32,
    held: bool,
    held_at: Option<Millis>,
    /// What it will say, in this order.
    script: Vec<Letter>,
    /// The time between two of its letters.
    works_ms: u64,
}

/// Who asks, for what.
pub struct Asker {
    pub request_id: String,
    pub key: usize,
    pub session: String,
    /// The amount it asks for, where it is not any.
    pub exactly: Option<Nanos>,
}

impl Client {
    pub fn new(asker: Asker, catalog: &Catalog, now: Millis, chance: &mut Chance) -> Self {
        let Asker { request_id, key, session, exactly } = asker;
        let mut bids: Vec<Bid> = (0..=chance.below(3)).map(|_| any_bid(chance)).collect();
        if let Some(amount) = exactly {
            bids.truncate(1);
            bids[0].amount = amount;
            bids[0].least = Nanos::ZERO;
        }
        let tokens = chance.between(1, 400);
        let works_ms = chance.span(&[100, 3_000, 3_000, 60_000, 1_500_000]);
        let script = Vec::new();
        let mut client =
            Self { request_id, key, session, bids, tokens, tries: 0, held: false, held_at: None, script, works_ms };
        client.write_script(catalog, now, chance);
        client
    }

    fn write_script(&mut self, catalog: &Catalog, now: Millis, chance: &mut Chance) {
        for _ in 0..chance.below(3) {
            if chance.one_in(2) {
                let to = self.most().0 + amount(chance);
                let least = if chance.one_in(2) { to / 2 } else { to };
                let request_id = self.request_id.clone();
                self.script.push(Letter::Extend(ExtendLetter { request_id, to: Nanos(to), least: Nanos(least) }));
            }
        }
        let first = self.posting(catalog, now, chance);
        match chance.below(8) {
            // Nobody closes it.
            0 => {}
            // The same once more, or another outcome that is learned later.
            1 => self.script.extend([first.clone(), first]),
            2 => {
                let second = self.posting(catalog, now, chance);
                self.script.extend([first, second]);
            }
            _ => self.script.push(first),
        }
    }

    fn most(&self) -> Nanos {
        self.bids.iter().map(|bid| bid.amount).max().unwrap_or_default()
    }

    fn posting(&self, catalog: &Catalog, now: Millis, chance: &mut Chance) -> Letter {
        // The least that may be held: an estimate never goes beyond the hold.
        let least = self.bids.iter().map(|bid| if bid.least.0 > 0 { bid.least } else { bid.amount }).min();
        let (outcome, call) = self.outcome(self.most(), least.unwrap_or_default(), catalog, now, chance);
        let mut others = Vec::new();
        if outcome != PostOutcome::Void && chance.one_in(4) {
            let mut left = least.unwrap_or_default().0;
            for number in 1..=1 + chance.below(2) {
                left /= 3;
                let amount = Nanos(left);
                let (outcome, call) = self.outcome(amount, amount, catalog, now, chance);
                others.push(OtherAttempt { number, amount, outcome, call });
            }
        }
        let (request_id, tokens) = (self.request_id.clone(), chance.between(0, self.tokens));
        Letter::Post(PostLetter {
            request_id,
            held_at: None,
            outcome,
            call,
            tokens,
            others,
            observed: String::new(),
            paid: None,
        })
    }

    /// What an attempt came to that could cost `most`; what is not known for sure stays within `least`.
    fn outcome(
        &self,
        most: Nanos,
        least: Nanos,
        catalog: &Catalog,
        now: Millis,
        chance: &mut Chance,
    ) -> (PostOutcome, CallRecord) {
        let provider = (*chance.of(&PROVIDERS)).to_owned();
        let row = catalog.deployment(&format!("{provider}/m")).expect("a row of the catalog");
        let tokens = u64::try_from(most.0).unwrap_or_default() / 2_000;
        let usage = Usage { input: chance.between(0, 20), output: chance.between(0, tokens), ..Usage::default() };
        let charge = price::charge(&row.rates, When { at: now, tier: None }, &usage).expect("fits");
        let small = charge <= least;
        let outcome = match chance.below(6) {
            0 => return (PostOutcome::Void, CallRecord::default()),
            1 | 2 if small => PostOutcome::Suspense { metered: charge },
            _ => PostOutcome::Charge(charge),
        };
        let estimated = small && chance.one_in(3);
        let (model, priced_at) = ("m".to_owned(), now);
        let when = When { at: now, tier: None };
        let call = CallRecord {
            provider,
            model,
            usage,
            priced_at,
            estimated,
            rates: Some(*row.rates.at(usage.prompt(), when)),
            request_fee_usd: row.rates.request,
            // What is estimated is within it: it need not be the whole hold.
            held_usd: least,
            ..CallRecord::default()
        };
        (outcome, call)
    }

    pub fn ask(&self, books: &Books) -> Letter {
        Letter::Hold(HoldLetter {
            request_id: self.request_id.clone(),
            caller: letters::key(self.key).caller(),
            tenant_version: books.version,
            bids: self.bids.clone(),
            tokens: self.tokens,
            dry: false,
            session: self.session.clone(),
            policies_version: books.policies_version(&letters::key(self.key).id),
            taught: String::new(),
            draws: String::new(),
            claim: None,
        })
    }

    /// What it does about an answer.
    pub fn tell(&mut self, event: &Event, books: &Books) -> Vec<Want> {
        let wait = vec![Want::Later(self.works_ms, Event::Elapsed(Timer::Repost))];
        match event {
            Event::Held(grant) if !self.held => {
                (self.held, self.held_at) = (true, Some(grant.at));
                wait
            }
            Event::Held(_) | Event::Posted | Event::Refused(_) if self.held && !self.script.is_empty() => {
                self.script.remove(0);
                wait
            }
            Event::Elapsed(_) => self.next(),
            Event::Unreachable if self.tries < 4 => {
                self.tries += 1;
                if self.held { self.next() } else { vec![Want::Mail(Box::new(self.ask(books)))] }
            }
            Event::Unreachable if !self.held => {
                self.held = true;
                let (request_id, call) = (self.request_id.clone(), CallRecord::default());
                let (outcome, tokens, others) = (PostOutcome::Void, 0, Vec::new());
                self.script.clear();
                let held_at = None;
                let letter = PostLetter {
                    request_id,
                    held_at,
                    outcome,
                    call,
                    tokens,
                    others,
                    observed: String::new(),
                    paid: None,
                };
                vec![Want::Mail(Box::new(Letter::Post(letter)))]
            }
            _ => Vec::new(),
        }
    }

    fn next(&self) -> Vec<Want> {
        let mut letter = self.script.first().cloned();
        if let Some(Letter::Post(post)) = &mut letter {
            post.held_at = self.held_at;
        }
        letter.map(|letter| Want::Mail(Box::new(letter))).into_iter().collect()
    }
}

fn any_bid(chance: &mut Chance) -> Bid {
    let (provider, amount) = ((*chance.of(&PROVIDERS)).to_owned(), amount(chance));
    // Some calls can begin with less and grow.
    let least = if chance.one_in(4) { amount / 4 } else { 0 };
    Bid { provider, model: "m".to_owned(), amount: Nanos(amount), least: Nanos(least) }
}

/// Sizes of money that meet each other: small limits bind.
pub fn amount(chance: &mut Chance) -> i64 {
    let scale = *chance.of(&[20_000_u64, 500_000, 8_000_000]);
    i64::try_from(chance.between(1, scale)).expect("small")
}
