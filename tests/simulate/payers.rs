//! The money of a wallet that pays call by call, under everything that can go wrong, as a function of a seed: workers, letters and
//! rows as elsewhere here; and beside them a chain of its own, facilitators that fail and lie, a node that knows little, and a payer
//! who pays twice, cancels, runs out of money and leaves.
#[path = "payers_books.rs"]
mod books;
#[path = "payers_chain.rs"]
mod chain;
#[path = "payers_facilitator.rs"]
mod facilitator;
#[path = "payers_object.rs"]
mod object;
#[path = "payers_purse.rs"]
mod purse;
#[path = "payers_worker.rs"]
mod worker;

use crate::{chance::Chance, seen::Seen, world::Failure};
use books::{Books, must};
use chain::{Chain, OPERATOR, Order, bare};
use megarouter::{
    account::{
        Terms, Write,
        letter::{Answer, Letter, Refusal, Unfit},
        payments::{Inquiry, Settlers},
    },
    time::Millis,
};
use object::Object;
use purse::Purse;
use std::collections::BTreeMap;
use worker::{Heard, Worker};

const TERMS: Terms = Terms {
    hold_settle_ms: books::SETTLE_MS,
    outbox_flush_ms: 1_000,
    claim_after_ms: 21_600_000,
    private_upstreams: false,
};
const BEGIN: Millis = Millis(1_795_562_448_000);
const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;
const NODE: &str = "https://node.test";
const FACILITATORS: [&str; 2] = ["https://first.test", "https://second.test"];
/// More steps than any seed needs.
const STEPS_MAX: usize = 30_000;
/// Alarms that fail in one world, at most.
const FAILURES_MAX: u32 = 20;

/// All of these must be met in some thousand seeds.
const ALL: &[&str] = &[
    "alarm late",
    "alarm thrown",
    "alarm twice",
    "answer late",
    "answer lost",
    "answer twice",
    "balance",
    "batch-settlement",
    "busy",
    "cancelled",
    "channel is being left",
    "channel left",
    "channel left by hand",
    "channel mismatch",
    "charge",
    "claimed",
    "credited",
    "credits",
    "dead",
    "drained",
    "exact",
    "exit",
    "exit begun",
    "exposed",
    "facilitator down",
    "facilitator early",
    "facilitator fails",
    "facilitator garbles",
    "facilitator late",
    "facilitator lies",
    "facilitator lies of a failure",
    "facilitator lies of another's",
    "facilitator silent",
    "failed at every provider",
    "first attempt beside",
    "hold grew",
    "in flight",
    "journal commits and fails",
    "journal down",
    "letter late",
    "letter lost",
    "letter twice",
    "mined in vain",
    "mined later",
    "node behind",
    "node busy",
    "node down",
    "node fails",
    "node tells",
    "node tells nothing",
    "other body",
    "overrun",
    "pending",
    "posted late",
    "refund",
    "refund returned",
    "refused by 200",
    "refused by 400",
    "replay",
    "restart",
    "settled",
    "settlement pending",
    "settlement pending for ever",
    "settlement refused",
    "suspense",
    "taken back",
    "a lie is believed",
    "top-up",
    "turn thrown",
    "upto",
    "used",
    "void",
    "worker died",
    "worker died between hold and settle",
    "worker died between settle and post",
];

/// What of them was not met.
pub fn missing(seen: &Seen) -> Vec<&'static str> {
    ALL.iter().copied().filter(|what| !seen.0.contains_key(what)).collect()
}

/// How often things happen that must not matter: one in so many, never for 0.
struct Weather {
    lost: u64,
    late: u64,
    late_ms: u64,
    twice: u64,
    throws: u64,
    restart: u64,
    death: u64,
    journal: u64,
    alarm: u64,
    facilitator: u64,
    lies: bool,
    node: u64,
}

impl Weather {
    fn of(chance: &mut Chance) -> Self {
        let calm = chance.one_in(8);
        let mut often = |most: u64| if calm || chance.one_in(3) { 0 } else { chance.between(3, most) };
        let (lost, late, twice, throws) = (often(30), often(30), often(20), often(40));
        let (restart, death, journal, alarm) = (often(8), often(12), often(10), often(20));
        let (facilitator, node) = (often(8), often(6));
        let late_ms = *chance.of(&[5_000, 5_000, 60_000, 900_000, 4_000_000]);
        Self {
            lost,
            late,
            late_ms,
            twice,
            throws,
            restart,
            death,
            journal,
            alarm,
            facilitator,
            lies: chance.one_in(2),
            node,
        }
    }
}

enum Step {
    /// A letter reaches the account; whoever waits hears of it, or not.
    Deliver {
        mail: usize,
        heard: bool,
    },
    /// A worker hears something.
    Worker(usize, Heard),
    /// A request of a worker, or of the account, reaches a facilitator or the node.
    Asked(Asker, Inquiry),
    /// An answer reaches the account.
    Answered {
        asked: Inquiry,
        status: u16,
        body: Vec<u8>,
    },
    Errand(String),
    Mined {
        order: Box<Order>,
        hash: String,
    },
    Payer,
    /// The payer pays again, or for the first time.
    Pays(usize),
    /// It has money again.
    Refilled(u64),
    Exit(String),
    Restart,
    Alarm(u32),
    Journaled {
        handler: u32,
        through: Option<u64>,
        due: Vec<Inquiry>,
    },
    Nudge,
}

impl Step {
    fn is_alarm(&self) -> bool {
        matches!(self, Self::Alarm(_) | Self::Journaled { .. } | Self::Asked(Asker::Account, _) | Self::Answered { .. })
    }
}

#[derive(Clone, Copy)]
enum Asker {
    Account,
    Worker(usize, u64),
}

struct Mail {
    letter: Letter,
    /// Who waits for its answer, and for which of its questions.
    from: Option<(usize, u64)>,
}

pub struct World {
    chance: Chance,
    weather: Weather,
    now: Millis,
    /// By when, then in the order they were put there.
    queue: BTreeMap<(Millis, u64), Step>,
    number: u64,
    /// Steps in the queue that are not the alarm's.
    others: usize,
    object: Object,
    chain: Chain,
    books: Books,
    purse: Purse,
    workers: Vec<Worker>,
    mails: Vec<Mail>,
    settlers: Settlers,
    alarm_set: u32,
    alarm_at: Option<Millis>,
    ringing: Option<u32>,
    handlers: u32,
    failures: u32,
    seen: Seen,
    trace: Option<Vec<String>>,
}

/// Plays a seed to its end.
pub fn run(seed: u64, traced: bool) -> Result<Seen, Failure> {
    let mut world = World::new(seed, traced);
    match world.play() {
        Ok(()) => {
            world.seen.add(&world.books.seen);
            Ok(world.seen)
        }
        Err(why) => Err(Failure { why, trace: world.trace.unwrap_or_default() }),
    }
}

impl World {
    fn new(seed: u64, traced: bool) -> Self {
        let mut chance = Chance::new(seed ^ 0x7061_7965_7273);
        let mut weather = Weather::of(&mut chance);
        let looks = !chance.one_in(12);
        if !looks {
            // Without a node only facilitators can tell: what they do not tell in time is given up.
            (weather.facilitator, weather.lost, weather.late, weather.alarm, weather.throws) = Default::default();
        }
        let rpc_urls = if looks { vec![("eip155:84532".to_owned(), NODE.to_owned())] } else { Vec::new() };
        let facilitators = FACILITATORS.map(str::to_owned).to_vec();
        let chain = Chain::new(*chance.of(&[2_000_000, 30_000_000]), 1_000_000);
        Self {
            weather,
            now: BEGIN,
            queue: BTreeMap::new(),
            number: 0,
            others: 0,
            object: Object::new(TERMS),
            chain,
            books: Books::new(looks),
            purse: Purse::default(),
            workers: Vec::new(),
            mails: Vec::new(),
            settlers: Settlers { facilitators, rpc_urls, pay_to: OPERATOR },
            alarm_set: 0,
            alarm_at: None,
            ringing: None,
            handlers: 0,
            failures: 0,
            seen: Seen::default(),
            trace: traced.then(Vec::new),
            chance,
        }
    }

    fn note(&mut self, told: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{} +{:03} {}", now.rfc3339(), now.0 % 1_000, told()));
        }
    }

    fn after(&mut self, ms: u64, step: Step) {
        self.number += 1;
        self.others += usize::from(!step.is_alarm());
        self.queue.insert((self.now.after(ms), self.number), step);
    }

    fn play(&mut self) -> Result<(), String> {
        let mut at = 0;
        for _ in 0..self.chance.between(4, 16) {
            if self.chance.one_in(3) {
                at += self.chance.span(&[2_000, 60_000, 600_000, 4_000_000, DAY_MS]);
            }
            let soon = self.chance.below(1_500);
            self.after(at + soon, Step::Payer);
        }
        for _ in 0..if self.weather.restart > 0 { self.chance.below(6) } else { 0 } {
            let at = self.chance.below(at + 20_000);
            self.after(at, Step::Restart);
        }
        self.until(|world| world.others == 0)?;
        self.come_to_rest()
    }

    fn until(&mut self, over: impl Fn(&Self) -> bool) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            if over(self) {
                return Ok(());
            }
            let Some(((at, _), step)) = self.queue.pop_first() else { return Ok(()) };
            self.others -= usize::from(!step.is_alarm());
            self.now = self.now.max(at);
            self.step(step)?;
            must(self.chain.outrage.is_none(), || format!("{:?}", self.chain.outrage))?;
        }
        Err("this world does not come to rest".to_owned())
    }

    /// Everything has its time, and nothing fails any more.
    fn come_to_rest(&mut self) -> Result<(), String> {
        let w = &mut self.weather;
        (w.lost, w.late, w.twice, w.throws, w.restart, w.death, w.journal, w.alarm, w.facilitator, w.node) =
            Default::default();
        self.note(|| "nothing fails any more".to_owned());
        self.after(HOUR_MS, Step::Nudge);
        self.after(3 * DAY_MS, Step::Nudge);
        self.until(|world| world.queue.is_empty())?;
        self.object.restart();
        let told = self.object.told(self.now)?;
        self.note(|| format!("{told:?}"));
        self.books.check(&told.balance)?;
        self.books.check_end(&self.chain, &told.balance)?;
        must(self.alarm_at.is_none(), || "the alarm still rings".to_owned())
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Deliver { mail, heard } => return self.deliver(mail, heard),
            Step::Worker(number, heard) => return self.worker(number, heard),
            Step::Asked(asker, asked) => self.asked(asker, asked),
            Step::Answered { asked, status, body } => return self.answered(&asked, status, &body),
            Step::Errand(body) => {
                let ask = serde_json::from_str(&body).expect("JSON");
                self.errand(&ask);
            }
            Step::Mined { order, hash } => facilitator::mined(self, &order, &hash, self.now),
            Step::Payer => self.payer(),
            Step::Pays(number) => self.pays(number),
            Step::Refilled(units) => self.chain.payer += units,
            Step::Exit(id) => self.exit(&id),
            Step::Restart => {
                self.note(|| "restart".to_owned());
                self.seen.count("restart");
                self.object.restart();
            }
            Step::Alarm(set) => return self.alarm(set),
            Step::Journaled { handler, through, due } => return self.journaled(handler, through, due),
            Step::Nudge => {
                self.mails.push(Mail { letter: Letter::Nudge, from: None });
                return self.deliver(self.mails.len() - 1, false);
            }
        }
        Ok(())
    }

    // Letters.

    /// Sends a letter: it may be lost, late or come twice, and so may its answer.
    fn send(&mut self, letter: Letter, from: Option<(usize, u64)>) {
        let begins = matches!(letter, Letter::Hold(_));
        self.mails.push(Mail { letter, from });
        let mail = self.mails.len() - 1;
        let mut ms = self.chance.between(2, 80);
        if self.chance.one_in(self.weather.lost) {
            self.seen.count("letter lost");
            return;
        }
        if self.chance.one_in(self.weather.late) {
            self.seen.count("letter late");
            ms = self.chance.span(&[self.weather.late_ms]);
            if begins {
                // What ended is remembered for two minutes.
                ms = ms.min(100_000);
            }
        }
        let heard = !self.chance.one_in(self.weather.lost);
        if !heard {
            self.seen.count("answer lost");
        }
        self.after(ms, Step::Deliver { mail, heard });
        if self.chance.one_in(self.weather.twice) {
            self.seen.count("letter twice");
            let again = self.chance.span(&[100, 10_000, self.weather.late_ms]);
            let ms = ms + if begins { again.min(10_000) } else { again };
            self.after(ms, Step::Deliver { mail, heard: false });
        }
    }

    fn deliver(&mut self, mail: usize, heard: bool) -> Result<(), String> {
        let Mail { letter, from } = &self.mails[mail];
        let (letter, from) = (letter.clone(), *from);
        let throws = self.chance.one_in(self.weather.throws);
        let told = self.object.call(letter.clone(), self.now, throws);
        let Some((answer, writes)) = told else {
            self.seen.count("turn thrown");
            self.note(|| "a turn throws".to_owned());
            self.rearm();
            if let Some((worker, ask)) = from.filter(|_| heard) {
                self.after(5, Step::Worker(worker, Heard::Nothing(ask)));
            }
            return Ok(());
        };
        self.note(|| format!("{letter:?}\n    -> {answer:?}"));
        let now = self.now;
        match (&letter, &answer) {
            (Letter::Hold(hold), Answer::Held(grant)) => {
                self.seen.count(hold.claim.as_ref().map_or("", |claim| claim.payment.scheme.word()));
                self.books.held(hold, grant, now)?;
            }
            (Letter::Extend(extend), Answer::Held(grant)) => self.books.extended(extend, grant, now)?,
            (Letter::Post(post), Answer::Posted) => self.books.posted(post, now)?,
            (Letter::Withdraw { id, payment }, Answer::Told { .. }) => {
                let nonce = bare(&payment.nonce).to_owned();
                self.books.refunds.insert(nonce, (id.clone(), payment.units));
            }
            (Letter::Leave(_), Answer::Told { status: 202, .. }) => self.seen.count("channel left by hand"),
            (Letter::Refundable(_), Answer::Told { body, .. }) => {
                let units = body["units"].as_u64().unwrap_or_default();
                if heard {
                    self.withdraw(units);
                }
            }
            (_, Answer::Refused(refusal)) => self.seen.count(word(refusal)),
            _ => {}
        }
        self.kept(&writes)?;
        if let Some((worker, ask)) = from.filter(|_| heard) {
            let ms = self.chance.between(2, 80);
            self.after(ms, Step::Worker(worker, Heard::Answer(ask, Box::new(answer))));
        }
        Ok(())
    }

    /// What was written is held against the books; now and then the account is made again from its rows.
    fn kept(&mut self, writes: &[Write]) -> Result<(), String> {
        self.books.written(writes, &self.chain)?;
        self.rearm();
        if self.object.rows.records.is_empty() {
            return Ok(());
        }
        if !writes.is_empty() && self.chance.one_in(3) {
            let told = self.object.told(self.now)?;
            self.books.check(&told.balance)?;
            if self.chance.one_in(4) {
                let again = self.object.told_by_rows(self.now)?;
                must(told == again, || format!("a restart changes {told:?}\nto {again:?}"))?;
            }
        }
        Ok(())
    }

    // The alarm.

    fn rearm(&mut self) {
        self.object.arm(self.now);
        if self.object.alarm != self.alarm_at {
            self.alarm_at = self.object.alarm;
            self.alarm_set += 1;
            let Some(at) = self.alarm_at else { return };
            let late = self.alarm_fails();
            let late = if late {
                self.seen.count("alarm late");
                self.chance.span(&[500, 60_000, 7_200_000])
            } else {
                0
            };
            let set = self.alarm_set;
            self.after(at.since(self.now) + late, Step::Alarm(set));
        }
    }

    fn alarm_fails(&mut self) -> bool {
        let fails = self.failures < FAILURES_MAX && self.chance.one_in(self.weather.alarm);
        self.failures += u32::from(fails);
        fails
    }

    fn alarm(&mut self, set: u32) -> Result<(), String> {
        if set != self.alarm_set {
            return Ok(());
        }
        if self.ringing.is_some() {
            self.after(50, Step::Alarm(set));
            return Ok(());
        }
        (self.object.alarm, self.alarm_at) = (None, None);
        let throws = self.alarm_fails();
        let rung = self.object.ring(self.now, &self.settlers, throws);
        let Some((due, writes)) = rung else {
            self.seen.count("alarm thrown");
            self.note(|| "the alarm throws".to_owned());
            self.rearm();
            return Ok(());
        };
        self.note(|| {
            format!("the alarm rings: {:?}", due.iter().map(|due| (&due.nonce, due.step)).collect::<Vec<_>>())
        });
        self.books.written(&writes, &self.chain)?;
        self.handlers += 1;
        let handler = self.handlers;
        self.ringing = Some(handler);
        let entries = self.object.due(self.now);
        let down = self.chance.one_in(self.weather.journal);
        let commits = !down || self.chance.one_in(2);
        if commits {
            self.books.journaled(&entries)?;
        }
        if down && !entries.is_empty() {
            self.seen.count(if commits { "journal commits and fails" } else { "journal down" });
        }
        let through = match entries.last() {
            None => Some(0),
            Some(_) if down => None,
            Some(last) => Some(last.seq),
        };
        let ms = self.chance.span(&[5, 50, 9_000]);
        self.after(ms, Step::Journaled { handler, through, due });
        Ok(())
    }

    fn journaled(&mut self, handler: u32, through: Option<u64>, due: Vec<Inquiry>) -> Result<(), String> {
        if self.ringing != Some(handler) {
            return Ok(());
        }
        self.ringing = None;
        let throws = self.alarm_fails();
        let Some(writes) = self.object.sent(through, self.now, throws) else {
            self.seen.count("alarm thrown");
            self.note(|| "the alarm throws after the journal".to_owned());
            self.rearm();
            return Ok(());
        };
        for asked in due {
            let ms = self.chance.between(5, 500);
            self.after(ms, Step::Asked(Asker::Account, asked));
        }
        self.kept(&writes)?;
        if self.alarm_at.is_none() && self.alarm_fails() {
            self.seen.count("alarm twice");
            self.alarm_set += 1;
            let set = self.alarm_set;
            self.after(10, Step::Alarm(set));
        }
        Ok(())
    }

    // What is asked of others.

    fn asked(&mut self, asker: Asker, asked: Inquiry) {
        let (status, body) = if asked.url == NODE {
            let (status, told, how) =
                chain::node(&self.chain, &mut self.chance, self.weather.node, &asked.body, self.now);
            self.note(|| format!("{how}: {} {} -> {told}", asked.step, asked.nonce));
            self.seen.count(how);
            (status, told.to_string())
        } else {
            let told = self.facilitator(&asked.url, &asked.body);
            self.note(|| format!("{} {} -> {told:?}", asked.step, asked.nonce));
            told.map_or((0, String::new()), |(status, told)| (status, told.to_string()))
        };
        let late = self.chance.one_in(self.weather.late);
        // Who waited so long hears that there was nothing.
        let none = status == 0 || late;
        let ms = if none { facilitator::PATIENCE_MS } else { self.chance.between(5, 900) };
        if late {
            self.seen.count("answer late");
        }
        let (status, body) = if none { (0, Vec::new()) } else { (status, body.into_bytes()) };
        match asker {
            Asker::Worker(worker, ask) => self.after(ms, Step::Worker(worker, Heard::Paid { ask, status, body })),
            Asker::Account => {
                if self.chance.one_in(self.weather.lost) {
                    self.seen.count("answer lost");
                    return;
                }
                // A channel has one question at a time, and hears one answer to it.
                if !asked.nonce.starts_with("channel:") && self.chance.one_in(self.weather.twice) {
                    self.seen.count("answer twice");
                    // Nobody waits for an answer longer than for the next question.
                    let ms = ms + self.chance.span(&[100, 10_000, 30_000]);
                    self.after(ms, Step::Answered { asked: asked.clone(), status, body: body.clone() });
                }
                self.after(ms, Step::Answered { asked, status, body });
            }
        }
    }

    fn answered(&mut self, asked: &Inquiry, status: u16, body: &[u8]) -> Result<(), String> {
        let throws = self.chance.one_in(self.weather.throws);
        self.note(|| format!("the account hears {} of {}", asked.step, asked.nonce));
        let Some(writes) = self.object.answered(asked, (status, body), self.now, throws) else {
            self.seen.count("turn thrown");
            self.rearm();
            return Ok(());
        };
        self.kept(&writes)
    }
}

/// What a refusal is counted as.
fn word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Payment(Unfit::Busy) => "busy",
        Refusal::Payment(Unfit::Pending) => "pending",
        Refusal::Payment(Unfit::Used { .. }) => "used",
        Refusal::Payment(Unfit::Other) => "other body",
        Refusal::Payment(Unfit::Dead { .. }) => "dead",
        Refusal::Payment(Unfit::Exposed) => "exposed",
        Refusal::Payment(Unfit::Channel { .. }) => "channel mismatch",
        Refusal::Credits { .. } => "credits",
        Refusal::InFlight => "in flight",
        Refusal::Closed => "closed",
        _ => "refused otherwise",
    }
}
