//! The world around one account, in virtual time: a queue of what happens when. All of it follows from a seed.
#[path = "alarm.rs"]
mod alarm;

use crate::{
    books::{Books, must},
    chance::Chance,
    client::{Asker, Client},
    desk,
    isolate::{Ask, Isolate, Want},
    journal::Journal,
    letters::{Deed, KEYS, brief, key, tail},
    object::Object,
    provider::catalog,
    seen::Seen,
    weather::{CALM, Weather, beginning, weather},
};
use megarouter::{
    access::Tenant,
    account::{
        Terms,
        letter::{Answer, Letter, PostOutcome, Refusal},
    },
    catalog::Catalog,
    exchange::event::Event,
    id::{Scope, mint},
    money::Nanos,
    time::{Millis, Window, Zone},
};
use std::{collections::BTreeMap, rc::Rc};

thread_local! {
    static CATALOG: Rc<Catalog> = Rc::new(catalog());
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Isolate(usize),
    Client(usize),
    /// Admins and the operator, who do not wait.
    Desk,
}

enum Step {
    /// A letter reaches the object.
    Deliver {
        mail: usize,
        fate: Fate,
    },
    /// A caller of the account hears of its letter, or of the world.
    Tell {
        to: From,
        event: Event,
    },
    PipeEnds {
        isolate: usize,
        attempt: usize,
        pipe: u32,
    },
    Dies(usize),
    HangsUp(usize),
    Arrives,
    Knocks,
    Act,
    Order(Box<Deed>),
    Restart,
    /// The alarm's time has come, if it was not set anew since.
    Alarm(u32),
    /// The journal has answered.
    Journaled {
        handler: u32,
        through: Option<u64>,
    },
}

impl Step {
    fn is_alarm(&self) -> bool {
        matches!(self, Self::Alarm(_) | Self::Journaled { .. })
    }
}

/// What becomes of a delivered letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    /// The turn throws before it is committed.
    Thrown,
    /// Nobody hears of it.
    Unheard,
}

struct Mail {
    from: From,
    letter: Letter,
    /// What it does, where an admin or the operator wrote it.
    deed: Option<Deed>,
}

pub struct World {
    chance: Chance,
    weather: Weather,
    now: Millis,
    /// How far the object's clock is ahead: it may live on another machine after a restart.
    skew_ms: i64,
    /// By when, then in the order they were put there.
    queue: BTreeMap<(Millis, u64), Step>,
    number: u64,
    /// Steps in the queue that are not the alarm's: it may ring for ever while it fails.
    others: usize,
    object: Object,
    journal: Journal,
    books: Books,
    mails: Vec<Mail>,
    isolates: Vec<Isolate>,
    clients: Vec<Client>,
    tenant: Option<Tenant>,
    /// What each key was told last.
    policies: BTreeMap<String, Tenant>,
    /// The alarm's handler between its two turns.
    ringing: Option<u32>,
    handlers: u32,
    /// Which of the alarms that were set is in force.
    alarm_set: u32,
    alarm_at: Option<Millis>,
    /// How often the handler failed in a row.
    failures: u32,
    alarms_failed: u32,
    deeds: u32,
    zone: Zone,
    /// Names of sessions, and when each was last used: one that was idle for half a day is not used again.
    sessions: Vec<(String, Millis)>,
    pub seen: Seen,
    trace: Option<Vec<String>>,
}

const TERMS: Terms =
    Terms { hold_settle_ms: 1_200_000, outbox_flush_ms: 1_000, claim_after_ms: 21_600_000, private_upstreams: false };
const DAY_MS: u64 = 86_400_000;
/// An hour: how often the watchdog nudges every account.
const WATCHDOG_MS: u64 = 3_600_000;
/// What is left at the end: what admins set, and the checkpoint.
const RECORDS: [&str; 16] = [
    "routing_policy",
    "credit",
    "organization",
    "used",
    "trail",
    "alert",
    "fired",
    "key",
    "budget",
    "rates",
    "group",
    "member",
    "tenant",
    "route",
    "refund",
    "checkpoint",
];
/// More steps than any seed needs; a world that needs more goes in circles.
const STEPS_MAX: usize = 20_000;

/// Why a seed failed, and the way there.
pub struct Failure {
    pub why: String,
    pub trace: Vec<String>,
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
        let mut chance = Chance::new(seed);
        let weather = weather(&mut chance);
        let (now, zone) = beginning(&mut chance);
        Self {
            weather,
            now,
            skew_ms: 0,
            queue: BTreeMap::new(),
            number: 0,
            others: 0,
            object: Object::new(TERMS),
            journal: Journal::default(),
            books: Books::new(TERMS.hold_settle_ms),
            mails: Vec::new(),
            isolates: Vec::new(),
            clients: Vec::new(),
            tenant: None,
            policies: BTreeMap::new(),
            ringing: None,
            handlers: 0,
            alarm_set: 0,
            alarm_at: None,
            failures: 0,
            alarms_failed: 0,
            deeds: 0,
            zone,
            sessions: Vec::new(),
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

    /// The object's own clock.
    fn clock(&self) -> Millis {
        Millis(self.now.0.saturating_add_signed(self.skew_ms))
    }

    fn after(&mut self, ms: u64, step: Step) {
        self.number += 1;
        self.others += usize::from(!step.is_alarm());
        self.queue.insert((self.now.after(ms), self.number), step);
    }

    fn play(&mut self) -> Result<(), String> {
        self.found()?;
        self.schedule();
        self.until(|world| world.others == 0)?;
        self.come_to_rest()
    }

    // The beginning.

    fn found(&mut self) -> Result<(), String> {
        let zone = self.zone.clone();
        for deed in desk::founding(&mut self.chance, zone) {
            self.at_the_desk(deed)?;
        }
        for _ in 0..self.chance.below(7) {
            let deed = desk::any_budget(&mut self.chance, &self.books);
            self.at_the_desk(deed)?;
        }
        Ok(())
    }

    /// A letter that nothing befalls.
    fn at_the_desk(&mut self, deed: Deed) -> Result<(), String> {
        self.mails.push(Mail { from: From::Desk, letter: deed.letter(), deed: Some(deed) });
        self.deliver(self.mails.len() - 1, Fate::Answered)
    }

    /// Everything that will happen of itself: calls in bursts, admins, restarts.
    fn schedule(&mut self) {
        let mut burst = 0;
        let (isolates, clients) = (self.chance.between(1, 6), self.chance.between(4, 14));
        for number in 0..isolates + clients {
            if self.chance.one_in(5) {
                burst += self.chance.span(&[2_000, 120_000, 4_000_000, DAY_MS, 3 * DAY_MS]);
            }
            let at = burst + self.chance.below(1_500);
            self.after(at, if number < isolates { Step::Arrives } else { Step::Knocks });
        }
        for _ in 0..self.chance.below(8) {
            let at = self.chance.below(burst + 5_000);
            self.after(at, Step::Act);
        }
        if self.weather.restart > 0 {
            for _ in 0..self.chance.below(6) {
                let soon = self.chance.one_in(2);
                let at = self.chance.below(if soon { 4_000 } else { burst + 20_000 });
                self.after(at, Step::Restart);
            }
        }
    }

    fn until_empty(&mut self) -> Result<(), String> {
        self.until(|world| world.queue.is_empty())
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
        }
        Err("this world does not come to rest".to_owned())
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Deliver { mail, fate } => self.deliver(mail, fate),
            Step::Tell { to, event } => self.tell(to, event),
            Step::PipeEnds { isolate, attempt, pipe } => {
                let ended = &mut self.isolates[isolate];
                let wants = ended.pipe_ends(attempt, pipe, self.now, &mut self.chance, &self.books)?;
                self.want(From::Isolate(isolate), wants);
                Ok(())
            }
            Step::Dies(isolate) => {
                if self.isolates[isolate].is_alive() {
                    self.seen.count("isolate died");
                    let (id, phase) = (self.isolates[isolate].request_id.clone(), self.isolates[isolate].phase());
                    self.note(|| format!("the isolate of {} dies in {phase}", tail(&id)));
                }
                self.isolates[isolate].dies();
                Ok(())
            }
            Step::HangsUp(isolate) => {
                if self.isolates[isolate].is_alive() {
                    self.seen.count("hang-up");
                    let id = self.isolates[isolate].request_id.clone();
                    self.note(|| format!("the caller of {} hangs up", tail(&id)));
                }
                let wants = self.isolates[isolate].hangs_up();
                self.want(From::Isolate(isolate), wants);
                Ok(())
            }
            Step::Arrives => self.arrives(),
            Step::Knocks => {
                self.knocks();
                Ok(())
            }
            Step::Act => {
                self.deeds += 1;
                let deed = desk::any_deed(&mut self.chance, &self.books, self.now, self.deeds);
                if let Deed::DeleteBudget { scope, window } = &deed
                    && self.chance.one_in(2)
                {
                    // Put again while the calls that the old one counted are still open.
                    let again = desk::budget(&mut self.chance, scope.clone(), *window);
                    let ms = 500 + self.chance.below(3_000);
                    self.after(ms, Step::Order(Box::new(again)));
                }
                self.order(deed);
                Ok(())
            }
            Step::Order(deed) => {
                self.order(*deed);
                Ok(())
            }
            Step::Restart => self.restart(),
            Step::Alarm(set) => self.alarm(set),
            Step::Journaled { handler, through } => self.journaled(handler, through),
        }
    }

    // Callers.

    fn request_id(&mut self) -> String {
        let chance = self.chance.below(u64::MAX);
        mint("req", self.now, u128::from(chance))
    }

    /// A session's name, or none.
    fn session(&mut self) -> String {
        if !self.chance.one_in(3) {
            return String::new();
        }
        if self.chance.one_in(3) || self.sessions.last().is_none_or(|(name, _)| self.is_idle(name)) {
            self.sessions.push((format!("s{}", self.sessions.len()), self.now));
        }
        let (now, last) = (self.now, self.sessions.last_mut());
        last.map_or_else(String::new, |(name, used)| {
            *used = now;
            name.clone()
        })
    }

    fn is_idle(&self, session: &str) -> bool {
        let used = self.sessions.iter().find(|(name, _)| name == session).map(|(_, used)| *used);
        used.is_some_and(|used| self.now.since(used) >= DAY_MS / 2)
    }

    fn arrives(&mut self) -> Result<(), String> {
        let (request_id, place) = (self.request_id(), self.chance.place(KEYS));
        let hangs_up = if self.chance.one_in(self.weather.hang_up) {
            self.now.after(self.chance.span(&[100, 3_000, 30_000]))
        } else {
            Millis(u64::MAX)
        };
        // An isolate may know the organisation's rows as they were some time ago, or not at all.
        let tenant = self.tenant.clone().filter(|_| !self.chance.one_in(4));
        let (now, storm) = (self.now, self.weather.storm);
        self.note(|| format!("{} arrives with key {}", tail(&request_id), tail(&key(place).id)));
        let session = self.session();
        let policies = self.policies.get(&key(place).id).cloned();
        let ask = Ask { key: place, request_id, session, now, hangs_up, storm, tenant, policies };
        let (isolate, wants) = Isolate::open(ask, &mut self.chance, &self.books)?;
        let number = self.isolates.len();
        self.isolates.push(isolate);
        self.seen.count("exchange");
        if hangs_up < Millis(u64::MAX) {
            self.after(hangs_up.since(now), Step::HangsUp(number));
        }
        if self.chance.one_in(self.weather.death) {
            let ms = self.chance.span(&[50, 3_000, 40_000]);
            self.after(ms, Step::Dies(number));
        }
        self.want(From::Isolate(number), wants);
        Ok(())
    }

    fn knocks(&mut self) {
        let (request_id, place) = (self.request_id(), self.chance.place(KEYS));
        let catalog = CATALOG.with(Rc::clone);
        // Now and then somebody asks for exactly what is left, or for a nano-dollar more.
        let session = self.session();
        let path = self.books.path(&key(place).id);
        let left = self.books.room(&self.books.cells(&path, &session, self.clock()), self.clock());
        let exactly = (self.chance.one_in(6) && left.0 > 0).then(|| Nanos(left.0 + *self.chance.of(&[0, 0, 1])));
        let asker = Asker { request_id, key: place, session, exactly };
        let client = Client::new(asker, &catalog, self.now, &mut self.chance);
        let letter = client.ask(&self.books);
        self.clients.push(client);
        self.mail(From::Client(self.clients.len() - 1), letter);
    }

    fn tell(&mut self, to: From, event: Event) -> Result<(), String> {
        let wants = match to {
            From::Isolate(number) => {
                let isolate = &mut self.isolates[number];
                if !isolate.is_alive() {
                    return Ok(());
                }
                let (id, phase) = (isolate.request_id.clone(), isolate.phase());
                let told = self.trace.is_some().then(|| format!("{event:?}"));
                let wants = isolate.tell(event, self.now, &mut self.chance, &self.books)?;
                let after = self.isolates[number].phase();
                self.note(|| format!("{} {phase} -> {after}: {:.160}", tail(&id), told.unwrap_or_default()));
                wants
            }
            From::Client(number) => self.clients[number].tell(&event, &self.books),
            From::Desk => Vec::new(),
        };
        self.want(to, wants);
        Ok(())
    }

    fn want(&mut self, from: From, wants: Vec<Want>) {
        for want in wants {
            match want {
                Want::Mail(letter) => self.mail(from, *letter),
                Want::Seen(what) => self.seen.count(what),
                Want::Later(ms, event) => self.after(ms, Step::Tell { to: from, event }),
                Want::PipeEnds { after, attempt, pipe } => {
                    if let From::Isolate(isolate) = from {
                        self.after(after, Step::PipeEnds { isolate, attempt, pipe });
                    }
                }
                Want::Dies(ms) => {
                    if let From::Isolate(isolate) = from {
                        self.after(ms, Step::Dies(isolate));
                    }
                }
            }
        }
    }

    // The post.

    /// Sends a letter on its way, with all that can befall it.
    fn mail(&mut self, from: From, letter: Letter) {
        self.send(from, letter, None);
    }

    fn order(&mut self, deed: Deed) {
        self.send(From::Desk, deed.letter(), Some(deed));
    }

    fn send(&mut self, from: From, letter: Letter, deed: Option<Deed>) {
        self.mails.push(Mail { from, letter, deed });
        let mail = self.mails.len() - 1;
        let ms = self.chance.span(&[4, 40, 400]);
        let weather = self.weather;
        if self.chance.one_in(weather.lost) {
            self.seen.count("letter lost");
            return self.after(ms + 1_000, Step::Tell { to: from, event: Event::Unreachable });
        }
        if self.chance.one_in(weather.slow) {
            // Its sender has given up when it arrives.
            self.seen.count("letter slow");
            let late = 5_000 + self.chance.below(weather.late_ms);
            self.after(5_000, Step::Tell { to: from, event: Event::Unreachable });
            return self.after(late, Step::Deliver { mail, fate: Fate::Unheard });
        }
        if self.chance.one_in(weather.twice) {
            self.seen.count("letter twice");
            let late = ms + self.chance.below(weather.late_ms);
            self.after(late, Step::Deliver { mail, fate: Fate::Unheard });
        }
        let fate = if self.chance.one_in(weather.throws) {
            Fate::Thrown
        } else if self.chance.one_in(weather.reply_lost) {
            self.after(ms + 2_000, Step::Tell { to: from, event: Event::Unreachable });
            Fate::Unheard
        } else {
            Fate::Answered
        };
        self.after(ms, Step::Deliver { mail, fate });
    }

    /// A letter's turn.
    fn deliver(&mut self, mail: usize, fate: Fate) -> Result<(), String> {
        let Mail { from, letter, deed } = &self.mails[mail];
        let (from, letter, deed) = (*from, letter.clone(), deed.clone());
        // An idle session may be forgotten or not: nobody can say what is left of it.
        let idle = matches!(&letter, Letter::Hold(hold) if self.is_idle(&hold.session));
        if idle {
            self.after(10, Step::Tell { to: from, event: Event::Unreachable });
            return Ok(());
        }
        let back = self.chance.span(&[4, 40]);
        let Some(answer) = self.object.call(letter.clone(), self.clock(), fate == Fate::Thrown) else {
            self.note(|| format!("{}: the turn throws", brief(&letter)));
            self.seen.count("turn thrown");
            self.books.restarted();
            self.after(back, Step::Tell { to: from, event: Event::Unreachable });
            return Ok(());
        };
        self.note(|| format!("{} ({fate:?}): {}", brief(&letter), told(&answer)));
        self.count(&letter, &answer);
        self.books.take_in(&letter, deed.as_ref(), self.clock(), &answer)?;
        self.object.arm(self.clock());
        self.rearmed();
        self.compare_some()?;
        if fate == Fate::Answered {
            let event = match answer {
                Answer::Held(grant) => Event::Held(grant),
                Answer::Posted => Event::Posted,
                Answer::Refused(refusal) => {
                    if let (Refusal::Stale(tenant), Letter::Hold(hold)) = (&refusal, &letter) {
                        self.tenant = Some(Tenant::clone(tenant));
                        self.policies.insert(hold.caller.key_id.clone(), Tenant::clone(tenant));
                    }
                    Event::Refused(refusal)
                }
                Answer::Whoami { .. } | Answer::Told { .. } | Answer::Found { .. } | Answer::Summary(_) => {
                    return Ok(());
                }
            };
            self.after(back, Step::Tell { to: from, event });
        }
        Ok(())
    }

    fn count(&mut self, letter: &Letter, answer: &Answer) {
        let what = match (letter, answer) {
            (Letter::Hold(_), Answer::Held(_)) => "held",
            (Letter::Hold(_), Answer::Refused(refusal)) => match refusal {
                Refusal::Stale(_) => "stale",
                Refusal::NotAllowed { .. } => "not allowed",
                Refusal::Budget(_) => "budget spent",
                Refusal::Credits { .. } => "wallet empty",
                Refusal::InFlight => "in flight",
                Refusal::Rpm { .. } => "rpm",
                Refusal::Tpm { .. } => "tpm",
                Refusal::Concurrency(_) => "concurrency",
                Refusal::Closed => "closed",
                Refusal::MemberDisabled => "member disabled",
                Refusal::Suspended => "suspended",
                Refusal::RevokedKey => "revoked",
                _ => "refused otherwise",
            },
            (Letter::Post(post), _) => match post.outcome {
                PostOutcome::Void => "void",
                PostOutcome::Charge(_) => "charge",
                PostOutcome::Suspense { .. } => "suspense",
            },
            _ => "other letter",
        };
        self.seen.count(what);
    }

    // The object.

    /// Wallet and budgets are what our own books say, if the account is in memory.
    fn compare(&mut self) -> Result<(), String> {
        if !self.object.is_loaded() {
            return Ok(());
        }
        self.compare_wallet()?;
        let budgets: Vec<(Scope, Window)> = self.books.budgets.keys().cloned().collect();
        budgets.into_iter().try_for_each(|(scope, window)| self.compare_budget(&scope, window))
    }

    /// The same for the wallet or one budget: after every turn all of them would take most of the time.
    fn compare_some(&mut self) -> Result<(), String> {
        let budgets = self.books.budgets.len();
        match self.chance.below(24) {
            0 | 1 => return self.compare(),
            2 => {
                let (summary, now) = (self.object.summary(self.clock()), self.clock());
                return self.books.check_summary(&summary, &self.journal.rows, now);
            }
            3 if !self.books.calls.is_empty() => {
                let place = self.chance.place(self.books.calls.len());
                let id = self.books.calls.keys().nth(place).cloned().unwrap_or_default();
                // One that began again is found by what it is now.
                let id = id.split('~').next().unwrap_or_default().to_owned();
                let found = self.object.find(&id, self.clock());
                return self.books.check_found(&id, &found);
            }
            _ => {}
        }
        if budgets == 0 || self.chance.one_in(2) {
            return self.compare_wallet();
        }
        let place = self.chance.place(budgets);
        let Some((scope, window)) = self.books.budgets.keys().nth(place).cloned() else { return Ok(()) };
        self.compare_budget(&scope, window)
    }

    fn compare_wallet(&mut self) -> Result<(), String> {
        let (told, ours) = (self.object.wallet(self.clock()), self.books.wallet());
        must(told == ours, || format!("the wallet tells {told:?}, our books say {ours:?}"))
    }

    fn compare_budget(&mut self, scope: &Scope, window: Window) -> Result<(), String> {
        if window == Window::Session {
            return Ok(());
        }
        let told = self.object.budget(scope, window, self.clock());
        let ours = self.books.budget(scope, window, self.clock());
        must(told == ours, || format!("the budget of {scope:?} tells {told:?}, our books say {ours:?}"))
    }

    /// Memory goes, and with it the alarm's handler if it was under way: the platform rings again.
    fn restart(&mut self) -> Result<(), String> {
        self.note(|| "the object restarts".to_owned());
        self.seen.count("restart");
        self.object.restart();
        self.books.restarted();
        if self.weather.skew_ms > 0 {
            let skew_ms = self.chance.below(2 * self.weather.skew_ms + 1);
            self.skew_ms = i64::try_from(skew_ms).expect("small") - i64::try_from(self.weather.skew_ms).expect("small");
        }
        if self.ringing.take().is_some() {
            self.ring_again();
        }
        // What it tells is the same as before.
        let probe = self.chance.one_in(2);
        if probe {
            self.object.wallet(self.clock());
            self.compare()?;
            self.object.restart();
        }
        Ok(())
    }

    // The end.

    fn nudge(&mut self) -> Result<(), String> {
        self.mails.push(Mail { from: From::Desk, letter: Letter::Nudge, deed: None });
        self.deliver(self.mails.len() - 1, Fate::Answered)
    }

    /// Nothing fails any more, and time goes on until nothing is left to do.
    fn come_to_rest(&mut self) -> Result<(), String> {
        self.weather = CALM;
        self.note(|| "all is quiet".to_owned());
        for _ in 0..3 {
            // The watchdog: an alarm that was lost is set again.
            self.now = self.now.after(WATCHDOG_MS);
            self.nudge()?;
            self.until_empty()?;
        }
        let left = self.object.rows.bookings.keys().find(|id| !self.books.is_done(id));
        must(left.is_none(), || format!("a booking is left: {left:?}"))?;
        // Days later one more entry makes the account look over what it keeps.
        self.now = self.now.after(2 * DAY_MS);
        let last = mint("crd", self.now, 0);
        self.at_the_desk(Deed::Credit { id: last.clone(), amount: Nanos(1), adjusts: false })?;
        self.until_empty()?;
        let left = self.object.rows.bookings.keys().find(|id| **id != last);
        must(left.is_none(), || format!("a booking is left: {left:?}"))?;
        for (kind, id) in self.object.rows.records.keys() {
            let known = RECORDS.contains(&kind.as_str());
            must(known, || format!("a row is left: {kind} {id}"))?;
        }
        must(self.object.trail_is_whole(), || "the trail of admins has a gap".to_owned())?;
        self.books.check_quiet()?;
        self.object.restart();
        let told = self.object.wallet(self.clock());
        must(told.held.0 == 0, || format!("money is held at the end of all: {told:?}"))?;
        self.compare()?;
        let summary = self.object.summary(self.clock());
        self.books.check_summary(&summary, &self.journal.rows, self.clock())?;
        self.journal.check_whole(&self.books, &CATALOG.with(Rc::clone))
    }
}

fn told(answer: &Answer) -> String {
    match answer {
        Answer::Told { status, .. } => format!("{status}"),
        Answer::Refused(Refusal::Stale(_)) => "stale".to_owned(),
        other => format!("{other:?}"),
    }
}
