//! Workers: each has one call, and does with its payment what the exchange does.
use super::{
    Asker, HOUR_MS, Step, World,
    chain::{PAYER, signature},
};
use megarouter::{
    account::{
        letter::{
            Answer, Bid, Caller, Claim, ExtendLetter, Grant, HoldLetter, Letter, OtherAttempt, PostLetter, PostOutcome,
            Refusal, Unfit,
        },
        payments::Inquiry,
    },
    ledger::CallRecord,
    money::Nanos,
    payment::{
        Payment, Scheme,
        facilitator::{Outcome, Tries, Verb, outcome},
        units_of,
    },
    time::Millis,
};

const START_BY_MS: u64 = 15_000;
const HOLD_TRIES: u32 = 3;
const POST_TRIES: u32 = 7;

pub enum Heard {
    Answer(u64, Box<Answer>),
    Nothing(u64),
    Paid {
        ask: u64,
        status: u16,
        body: Vec<u8>,
    },
    WorkDone,
    Grows,
    /// What its call cost is known after all.
    Resolved,
    Dies,
}

enum Phase {
    Holding { tries: u32 },
    Paying(Tries),
    Working,
    Closing { letter: Box<PostLetter>, tries: u32 },
    Done,
}

pub struct Worker {
    id: String,
    payment: Payment,
    /// Which of the payer's payments it is.
    number: usize,
    body: String,
    bid: i64,
    phase: Phase,
    held_at: Millis,
    grant: Option<Grant>,
    paid: Option<Outcome>,
    /// Its last question.
    ask: u64,
    dead: bool,
    left: Option<i64>,
}

fn verb(payment: &Payment) -> Verb {
    let deposits = payment.voucher.as_ref().is_some_and(|voucher| voucher.deposit > 0);
    if payment.is_upfront() || deposits { Verb::Settle } else { Verb::Verify }
}

impl World {
    /// A request comes to a worker, whose door looks at its time first.
    pub(super) fn arrives(&mut self, payment: Payment, number: usize, body: &str, bid: i64) {
        let now = self.now.seconds();
        if payment.valid_before < now + 10 {
            return;
        }
        let id = megarouter::id::mint("req", self.now, self.workers.len() as u128);
        self.note(|| format!("{id} is to be paid by {} {} of {}", payment.scheme.word(), payment.nonce, payment.units));
        self.workers.push(Worker {
            id,
            payment,
            number,
            body: body.to_owned(),
            bid,
            phase: Phase::Holding { tries: 0 },
            held_at: self.now,
            grant: None,
            paid: None,
            ask: 0,
            dead: false,
            left: None,
        });
        let number = self.workers.len() - 1;
        self.hold(number, 0);
        if self.chance.one_in(self.weather.death) {
            let ms = self.chance.span(&[200, 2_000, 20_000, 200_000]);
            self.after(ms, Step::Worker(number, Heard::Dies));
        }
    }

    fn hold(&mut self, number: usize, tries: u32) {
        let now = self.now;
        let worker = &mut self.workers[number];
        (worker.phase, worker.held_at) = (Phase::Holding { tries }, now);
        let claim = Claim { payment: worker.payment.clone(), request_hash: worker.body.clone() };
        let letter = HoldLetter {
            request_id: worker.id.clone(),
            caller: Caller::of_payer(&PAYER, ""),
            tenant_version: 0,
            bids: vec![Bid {
                provider: "acme".into(),
                model: "m".into(),
                amount: Nanos(worker.bid),
                least: Nanos::ZERO,
            }],
            tokens: 10,
            dry: false,
            session: String::new(),
            policies_version: 0,
            taught: String::new(),
            draws: String::new(),
            claim: Some(Box::new(claim)),
        };
        self.ask_account(number, Letter::Hold(letter));
    }

    fn ask_account(&mut self, number: usize, letter: Letter) {
        let worker = &mut self.workers[number];
        worker.ask += 1;
        let ask = worker.ask;
        self.send(letter, Some((number, ask)));
        self.after(10_000, Step::Worker(number, Heard::Nothing(ask)));
    }

    pub(super) fn worker(&mut self, number: usize, heard: Heard) -> Result<(), String> {
        let worker = &mut self.workers[number];
        if let Heard::Resolved = heard {
            return self.resolve(number);
        }
        if worker.dead {
            return Ok(());
        }
        let current = worker.ask;
        match (std::mem::replace(&mut worker.phase, Phase::Done), heard) {
            (phase, Heard::Dies) => {
                worker.dead = true;
                self.seen.count("worker died");
                let at = match phase {
                    Phase::Paying(_) => "worker died between hold and settle",
                    Phase::Working | Phase::Closing { .. } => "worker died between settle and post",
                    _ => return Ok(()),
                };
                self.note(|| at.to_owned());
                self.seen.count(at);
            }
            (Phase::Holding { tries }, Heard::Nothing(ask)) if ask == current => {
                if tries + 1 < HOLD_TRIES {
                    self.hold(number, tries + 1);
                } else {
                    self.void(number);
                }
            }
            (Phase::Holding { .. }, Heard::Answer(ask, answer)) if ask == current => self.held(number, *answer)?,
            (Phase::Paying(tries), Heard::Paid { ask, status, body }) if ask == current => {
                self.paid(number, tries, status, &body)?;
            }
            (Phase::Working, Heard::WorkDone) => self.work_done(number),
            (Phase::Working, Heard::Grows) => {
                worker.phase = Phase::Working;
                let to = Nanos(worker.grant.as_ref().map_or(0, |grant| grant.amount.0) + 100_000_000);
                let letter = ExtendLetter { request_id: worker.id.clone(), to, least: Nanos(1) };
                self.ask_account(number, Letter::Extend(letter));
            }
            (Phase::Working, Heard::Answer(ask, answer)) if ask == current => {
                worker.phase = Phase::Working;
                if let (Answer::Held(grant), Some(known)) = (*answer, &mut worker.grant)
                    && grant.amount > known.amount
                {
                    known.amount = grant.amount;
                    self.seen.count("hold grew");
                }
            }
            (Phase::Closing { .. }, Heard::Answer(ask, _)) if ask == current => {}
            (Phase::Closing { letter, tries }, Heard::Nothing(ask)) if ask == current && tries < POST_TRIES => {
                worker.phase = Phase::Closing { letter: letter.clone(), tries: tries + 1 };
                self.ask_account(number, Letter::Post(*letter));
            }
            (phase, _) => worker.phase = phase,
        }
        Ok(())
    }

    fn held(&mut self, number: usize, answer: Answer) -> Result<(), String> {
        match answer {
            Answer::Held(_) if self.now.since(self.workers[number].held_at) > START_BY_MS => self.void(number),
            Answer::Held(grant) => {
                let pays = grant.pays;
                self.workers[number].grant = Some(grant);
                if pays {
                    self.ask_facilitator(number, Tries::default());
                } else {
                    self.seen.count("credited");
                    return self.begin(number);
                }
            }
            Answer::Refused(refusal) => self.refused(number, &refusal),
            _ => {}
        }
        Ok(())
    }

    fn refused(&mut self, number: usize, refusal: &Refusal) {
        let worker = &self.workers[number];
        let payment = worker.number;
        match refusal {
            Refusal::Payment(Unfit::Channel { told, .. }) => {
                let charged =
                    told["channelState"]["chargedCumulativeAmount"].as_str().and_then(|text| text.parse().ok());
                self.purse.corrected(payment, charged.unwrap_or_default());
                if self.chance.one_in(2) {
                    let ms = self.chance.span(&[500, 60_000]);
                    self.after(ms, Step::Pays(payment));
                }
            }
            Refusal::Payment(Unfit::Busy | Unfit::Pending) if self.chance.one_in(2) => {
                let ms = self.chance.span(&[500, 10_000, 600_000]);
                self.after(ms, Step::Pays(payment));
            }
            _ => {}
        }
    }

    fn ask_facilitator(&mut self, number: usize, tries: Tries) {
        let worker = &mut self.workers[number];
        let payment = &worker.payment;
        let Some(url) = tries.asks(payment, &self.settlers.facilitators) else {
            return self.not_settled(number, tries.nobody());
        };
        let call = payment.call(verb(payment), url, payment.units);
        worker.ask += 1;
        worker.phase = Phase::Paying(tries);
        let asked = Inquiry { nonce: payment.nonce.clone(), step: "pay", url: call.url, body: call.body, signer: None };
        let ask = worker.ask;
        let ms = self.chance.between(5, 300);
        self.after(ms, Step::Asked(Asker::Worker(number, ask), asked));
    }

    fn paid(&mut self, number: usize, mut tries: Tries, status: u16, body: &[u8]) -> Result<(), String> {
        let worker = &mut self.workers[number];
        let verb = verb(&worker.payment);
        match tries.hears(verb, outcome(verb, status, body)) {
            None => self.ask_facilitator(number, tries),
            Some(done @ Outcome::Done { .. }) => {
                let tells = verb == Verb::Settle || matches!(done, Outcome::Done { channel: Some(_), .. });
                let leaves = matches!(&done, Outcome::Done { channel: Some(channel), .. } if channel.leaving > 0);
                worker.paid = tells.then_some(done);
                if leaves {
                    // Its payer may be gone with it before this call is claimed.
                    self.seen.count("channel is being left");
                    self.void(number);
                } else if self.chance.one_in(15) {
                    // Its caller has left.
                    self.void(number);
                } else {
                    return self.begin(number);
                }
            }
            Some(other) => self.not_settled(number, other),
        }
        Ok(())
    }

    fn not_settled(&mut self, number: usize, outcome: Outcome) {
        let worker = &mut self.workers[number];
        let upfront = verb(&worker.payment) == Verb::Settle;
        worker.paid = (upfront || outcome != Outcome::Unknown).then_some(outcome);
        let payment = worker.number;
        self.void(number);
        if self.chance.one_in(2) {
            let ms = self.chance.span(&[2_000, 60_000, HOUR_MS]);
            self.after(ms, Step::Pays(payment));
        }
    }

    fn begin(&mut self, number: usize) -> Result<(), String> {
        let worker = &mut self.workers[number];
        worker.phase = Phase::Working;
        let grant = worker.grant.clone().unwrap_or_default();
        let told = matches!(worker.paid, Some(Outcome::Done { .. }));
        let (id, payment) = (worker.id.clone(), worker.payment.clone());
        self.note(|| format!("{id} begins"));
        self.books.begins(&id, told, &grant, &self.chain)?;
        let mut ms = self.chance.span(&[2_000, 20_000, 20_000, 600_000]);
        if payment.scheme == Scheme::Upto {
            let left = Millis(payment.valid_before * 1_000).since(self.now).saturating_sub(30_000).max(1);
            ms = ms.min(left);
        }
        if self.chance.one_in(8) && payment.scheme != Scheme::Upto {
            // A long answer: its hold is made larger as it goes.
            ms = self.chance.between(600_000, 2_300_000);
            self.after(ms / 2, Step::Worker(number, Heard::Grows));
        }
        self.after(ms, Step::Worker(number, Heard::WorkDone));
        Ok(())
    }

    fn letter(&self, number: usize, outcome: PostOutcome, call: CallRecord) -> PostLetter {
        let worker = &self.workers[number];
        PostLetter {
            request_id: worker.id.clone(),
            held_at: worker.grant.as_ref().map(|grant| grant.at),
            outcome,
            call,
            tokens: 10,
            others: Vec::new(),
            observed: String::new(),
            paid: worker.paid.clone(),
        }
    }

    fn close(&mut self, number: usize, letter: PostLetter) {
        self.workers[number].phase = Phase::Closing { letter: Box::new(letter.clone()), tries: 1 };
        self.ask_account(number, Letter::Post(letter));
    }

    fn void(&mut self, number: usize) {
        self.seen.count("void");
        let call = CallRecord { provider: "acme".into(), status: 499, ..CallRecord::default() };
        let letter = self.letter(number, PostOutcome::Void, call);
        self.close(number, letter);
    }

    fn work_done(&mut self, number: usize) {
        let held = self.workers[number].grant.as_ref().map_or(0, |grant| grant.amount.0);
        let part = |chance: &mut crate::chance::Chance, most: i64| {
            let most = u64::try_from(most.max(0)).expect("not below 0");
            i64::try_from(if chance.one_in(4) { most } else { chance.below(most + 1) }).expect("small")
        };
        let mut call = CallRecord { provider: "acme".into(), status: 200, ..CallRecord::default() };
        let mut others = Vec::new();
        let mut cost = part(&mut self.chance, held);
        let outcome = match self.chance.below(20) {
            0 | 1 => {
                self.seen.count("failed at every provider");
                (call.status, cost) = (503, 0);
                PostOutcome::Charge(Nanos::ZERO)
            }
            2 | 3 => {
                self.seen.count("suspense");
                call.estimated = true;
                self.workers[number].left = Some(part(&mut self.chance, held));
                PostOutcome::Suspense { metered: Nanos(cost) }
            }
            4 => {
                self.seen.count("overrun");
                cost = held + part(&mut self.chance, 50_000_000);
                PostOutcome::Charge(Nanos(cost))
            }
            5 | 6 => {
                self.seen.count("first attempt beside");
                let beside = part(&mut self.chance, held - cost);
                let outcome = PostOutcome::Charge(Nanos(beside));
                let other = CallRecord { provider: "other".into(), status: 504, ..CallRecord::default() };
                others.push(OtherAttempt { number: 1, amount: Nanos(beside), outcome, call: other });
                PostOutcome::Charge(Nanos(cost))
            }
            _ => {
                self.seen.count("charge");
                PostOutcome::Charge(Nanos(cost))
            }
        };
        let spent = cost + others.iter().map(|other| other.amount.0).sum::<i64>();
        let letter = PostLetter { others, ..self.letter(number, outcome, call) };
        // Its caller hears what of its channel was charged, if it still listens.
        let (worker, heard) = (&self.workers[number], !self.chance.one_in(6));
        if let (Some((charged, _)), true) = (worker.grant.as_ref().and_then(|grant| grant.channel), heard) {
            let units = units_of(Nanos(spent)).min(worker.payment.units);
            self.purse.corrected(worker.number, charged + units);
        }
        if self.workers[number].left.is_some() {
            let ms = self.chance.span(&[60_000, 2 * HOUR_MS, 40 * HOUR_MS]);
            self.after(ms, Step::Worker(number, Heard::Resolved));
        }
        self.close(number, letter);
    }

    /// A provider tells what a call has cost.
    fn resolve(&mut self, number: usize) -> Result<(), String> {
        let cost = self.workers[number].left.take().unwrap_or_default();
        let Some(mail) = self.mails.iter().rev().find_map(|mail| match &mail.letter {
            Letter::Post(post) if post.request_id == self.workers[number].id => Some(post.clone()),
            _ => None,
        }) else {
            return Ok(());
        };
        let call = CallRecord { resolved_by: "generation".into(), estimated: false, ..mail.call };
        let letter =
            PostLetter { outcome: PostOutcome::Charge(Nanos(cost)), call, others: Vec::new(), paid: None, ..mail };
        // A wallet does not wait for that.
        self.send(Letter::Post(letter), None);
        Ok(())
    }
}

/// What a payer signs for a channel.
pub fn signed(channel: &str, most: u64) -> String {
    signature(channel, most)
}
