//! An isolate that drives one exchange, as the shell does: effects become calls, answers become events. It may die at any
//! moment; then nobody closes its hold.
use crate::{
    books::{Books, must},
    chance::Chance,
    letters::{PEPPER, key, tail},
    provider::{Opening, PROVIDERS, Pipe, Then, Upstream, catalog, provider_of, upstream},
};
use megarouter::{
    access::{self, Tenant},
    account::letter::{Letter, PostLetter, PostOutcome},
    catalog::When,
    endpoint::{Headers, Surface},
    exchange::{
        Exchange, Inbound,
        event::{self, Effect, Event, PipeEnd, ReplyBody},
    },
    money::Nanos,
    payment::Purse,
    price,
    time::Millis,
    world::{Credential, Reach, Settings, TenantView, World, views},
};
use serde_json::json;
use std::rc::Rc;

thread_local! {
    static WORLD: World = World {
        catalog: Rc::new(catalog()),
        settings: Rc::new(Settings {
            reach: PROVIDERS.map(|id| (id.to_owned(), reach(id))).into_iter().collect(),
            x402: None,
        }),
        ..World::default()
    };
}

fn reach(provider: &str) -> Reach {
    let credential = Credential::Named(provider.to_uppercase());
    Reach { base_url: format!("https://{provider}.test"), credentials: vec![credential] }
}

const ATTEMPTS: [&str; 5] = ["first attempt", "second attempt", "third attempt", "fourth attempt", "fifth attempt"];

/// After an answer's end or a hang-up the platform lets an isolate work on for this long.
const WAIT_UNTIL_MS: u64 = 30_000;

/// How often a posting that nobody answers is sent.
const POSTS: usize = 7;

/// What an isolate wants of the simulated world.
pub enum Want {
    /// Nothing: it tells what was met.
    Seen(&'static str),
    Mail(Box<Letter>),
    Later(u64, Event),
    /// A pipe's end, unless it ends before in another way.
    PipeEnds {
        after: u64,
        attempt: usize,
        pipe: u32,
    },
    /// The platform ends the isolate's work.
    Dies(u64),
}

pub struct Isolate {
    pub request_id: String,
    /// None once it is dead or done.
    exchange: Option<Exchange>,
    upstreams: Vec<Upstream>,
    stream: bool,
    output_bound: u64,
    hangs_up: Millis,
    storm: u64,
    /// An answer took its time in a pipe from here on.
    piping_since: Millis,
    posts: Vec<PostLetter>,
    explains: bool,
    /// What it was told last of its hold: that it is granted, or nothing.
    may_hold: bool,
    knows_gone: bool,
    acknowledged: bool,
}

/// How a call is put.
pub struct Ask {
    pub key: usize,
    pub request_id: String,
    pub session: String,
    pub now: Millis,
    pub hangs_up: Millis,
    pub storm: u64,
    pub tenant: Option<Tenant>,
    /// What the key was told last.
    pub policies: Option<Tenant>,
}

impl Isolate {
    pub fn open(ask: Ask, chance: &mut Chance, books: &Books) -> Result<(Self, Vec<Want>), String> {
        let surface =
            *chance.of(&[Surface::ChatCompletions, Surface::ChatCompletions, Surface::Messages, Surface::Responses]);
        let stream = !chance.one_in(3);
        let output_bound = *chance.of(&[16, 60, 300, 2_000, 9_000, 20_000]);
        let explains = chance.one_in(25);
        let body = body(chance, surface, stream, output_bound, explains, &ask.session);
        // What is to be checked is asked for in one piece.
        let stream = stream && body["megarouter"]["escalate"] != true;
        let inbound = Inbound {
            surface,
            url: "https://edge.test/v1".to_owned(),
            headers: Headers::default(),
            knock: access::knock(Some(&key(ask.key).text), PEPPER),
            body: body.to_string().into_bytes(),
            request_id: ask.request_id.clone(),
            purse: Purse::default(),
        };
        let mut world = World { retries: Rc::default(), ..WORLD.with(World::clone) };
        world.tenant = ask.tenant.map(|tenant| Rc::new(TenantView::new(tenant)));
        world.policies = ask.policies.and_then(|told| views(&told)?.1);
        let (exchange, effects) = Exchange::open(inbound, world, ask.now, chance.below(u64::MAX));
        let mut isolate = Self {
            request_id: ask.request_id,
            exchange: Some(exchange),
            upstreams: Vec::new(),
            stream,
            output_bound,
            hangs_up: ask.hangs_up,
            storm: ask.storm,
            piping_since: ask.now,
            posts: Vec::new(),
            explains,
            may_hold: false,
            knows_gone: false,
            acknowledged: false,
        };
        let wants = isolate.carry_out(effects, ask.now, chance, books)?;
        Ok((isolate, wants))
    }

    pub fn is_alive(&self) -> bool {
        self.exchange.is_some()
    }

    pub fn dies(&mut self) {
        self.exchange = None;
    }

    pub fn phase(&self) -> &'static str {
        self.exchange.as_ref().map_or("dead", Exchange::phase)
    }

    /// Tells the exchange, if it lives, and does what it wants.
    pub fn tell(&mut self, event: Event, now: Millis, chance: &mut Chance, books: &Books) -> Result<Vec<Want>, String> {
        let Some(exchange) = &mut self.exchange else { return Ok(Vec::new()) };
        match &event {
            Event::Held(_) => self.may_hold = true,
            Event::Refused(_) if exchange.phase() == "Holding" => self.may_hold = false,
            Event::Unreachable if exchange.phase() == "Holding" => self.may_hold = true,
            Event::Gone | Event::Piped { end: PipeEnd::Gone { .. }, .. } => self.knows_gone = true,
            Event::Posted => self.acknowledged = true,
            _ => {}
        }
        let effects = exchange.on(event, now);
        let done = exchange.is_done();
        let wants = self.carry_out(effects, now, chance, books)?;
        if done {
            self.exchange = None;
            self.check_done()?;
        }
        Ok(wants)
    }

    pub fn pipe_ends(
        &mut self,
        attempt: usize,
        pipe: u32,
        now: Millis,
        chance: &mut Chance,
        books: &Books,
    ) -> Result<Vec<Want>, String> {
        let current = self.upstreams[attempt].pipe.is_some_and(|under_way| under_way.number == pipe);
        if !current {
            return Ok(Vec::new());
        }
        let event = self.end_pipe(attempt, now);
        self.tell(event, now, chance, books)
    }

    fn carry_out(
        &mut self,
        effects: Vec<Effect>,
        now: Millis,
        chance: &mut Chance,
        books: &Books,
    ) -> Result<Vec<Want>, String> {
        let mut wants = Vec::new();
        for effect in effects {
            self.effect(effect, now, chance, books, &mut wants)?;
        }
        Ok(wants)
    }

    fn effect(
        &mut self,
        effect: Effect,
        now: Millis,
        chance: &mut Chance,
        books: &Books,
        wants: &mut Vec<Want>,
    ) -> Result<(), String> {
        match effect {
            Effect::Hold(letter) => wants.push(Want::Mail(Box::new(Letter::Hold(letter)))),
            Effect::Extend(letter) => {
                wants.push(Want::Seen("exchange grows"));
                wants.push(Want::Mail(Box::new(Letter::Extend(letter))));
            }
            Effect::Post { letter, .. } => {
                self.check_post(&letter, books)?;
                wants.push(Want::Seen(met(&letter, books)));
                wants.extend((!letter.others.is_empty()).then_some(Want::Seen("exchange books others")));
                let outrun = letter.call.attempts.iter().any(|attempt| attempt.outcome == "cancelled");
                wants.extend(outrun.then_some(Want::Seen("exchange hedges")));
                let rejected = letter.call.attempts.iter().any(|one| one.outcome == "rejected");
                wants.extend(rejected.then_some(Want::Seen("exchange rejects")));
                wants.extend(letter.call.budget_cut.then_some(Want::Seen("exchange cuts")));
                wants.push(Want::Mail(Box::new(Letter::Post(*letter))));
            }
            Effect::Send { attempt, call } => {
                self.check_send(books, &call.url)?;
                let upstream = upstream(chance, &call.url, self.stream, self.output_bound, self.storm);
                self.upstreams.push(upstream);
                wants.push(Want::Seen(ATTEMPTS[attempt]));
                self.begin(attempt, wants);
            }
            Effect::Wait { timer, ms } => wants.push(Want::Later(ms, Event::Elapsed(timer))),
            Effect::Read { attempt, whole } => self.read(attempt, whole, wants),
            Effect::Pipe { attempt, pipe } => {
                let event::Pipe { prefix, drain_ms, .. } = pipe;
                must(prefix == self.upstreams[attempt].heard, || "a pipe begins with all that was read".into())?;
                wants.push(Want::Seen("pipe"));
                self.begin_pipe(attempt, drain_ms, now, wants);
            }
            Effect::Abort { attempt } => self.abort(attempt, now, wants),
            Effect::Reply(reply) => {
                if let ReplyBody::Whole(_) = reply.body {
                    wants.push(Want::Dies(WAIT_UNTIL_MS));
                }
            }
            Effect::Chunk(_) if now >= self.hangs_up => wants.push(Want::Later(1, Event::Gone)),
            Effect::Chunk(_) => wants.push(Want::Later(chance.span(&[2, 20, 5_000]), Event::Written)),
            Effect::Finish => wants.push(Want::Dies(WAIT_UNTIL_MS)),
            // Callers of this simulation have keys.
            Effect::Pay(_) | Effect::Note(_) => {}
        }
        Ok(())
    }

    /// Nothing is sent to a provider before the account holds the money for it.
    fn check_send(&self, books: &Books, url: &str) -> Result<(), String> {
        let call = books.calls.get(&self.request_id);
        let name = format!("{}/m", provider_of(url));
        must(call.is_some(), || format!("{} was sent to {name} without a hold", tail(&self.request_id)))?;
        must(!self.knows_gone, || format!("{} was sent for a caller who had left", tail(&self.request_id)))
    }

    /// One that lives to its end has closed its hold, or has tried often enough.
    fn check_done(&self) -> Result<(), String> {
        let posted = self.posts.len();
        let closed = posted > 0 || !self.may_hold || self.explains;
        must(closed, || format!("a hold is left to run out: {}", tail(&self.request_id)))?;
        must(posted == 0 || self.acknowledged || posted >= POSTS, || {
            format!("a posting that nobody heard is given up after {posted}: {}", tail(&self.request_id))
        })
    }

    fn check_post(&mut self, letter: &PostLetter, books: &Books) -> Result<(), String> {
        must(letter.request_id == self.request_id, || "a posting carries its request's id".into())?;
        must(!self.explains, || "nothing is posted where nothing was held".into())?;
        must(self.posts.first().is_none_or(|first| first == letter), || "all postings say the same".into())?;
        let void = letter.outcome == PostOutcome::Void;
        must(void == self.upstreams.is_empty(), || "a hold is voided exactly when nothing was sent".into())?;
        if let (PostOutcome::Charge(amount), Some(usage)) = (letter.outcome, self.answered(letter)) {
            let upstream = self.answerer(letter).ok_or("nothing was sent")?;
            let name = format!("{}/m", upstream.provider);
            let world = WORLD.with(World::clone);
            let row = world.catalog.deployment(&name).ok_or("no such deployment")?;
            let charge = price::charge(&row.rates, When { at: letter.call.priced_at, tier: None }, &usage);
            must(charge == Some(amount) && !letter.call.estimated, || {
                format!("{usage:?} of {name} costs {charge:?}, posted is {letter:?}")
            })?;
        }
        if self.posts.is_empty() {
            self.check_first_post(letter, books)?;
        }
        self.posts.push(letter.clone());
        Ok(())
    }

    /// What holds for the first of all postings: the account has not heard of it.
    fn check_first_post(&self, letter: &PostLetter, books: &Books) -> Result<(), String> {
        let suspense = matches!(letter.outcome, PostOutcome::Suspense { .. });
        must(suspense || !self.bills_on(letter), || {
            format!("what nobody heard may be billed all the same: {letter:?}")
        })?;
        let held = books.calls.get(&self.request_id).map_or(Nanos::ZERO, |call| call.amount);
        let within = match letter.outcome {
            PostOutcome::Void => true,
            PostOutcome::Charge(amount) => amount <= held || !letter.call.estimated,
            PostOutcome::Suspense { metered } => metered <= held,
        };
        must(within, || format!("what is not known for sure is within the hold of {held}: {letter:?}"))?;
        let others: i64 = letter.others.iter().map(|other| other.amount.0).sum();
        must(others <= held.0, || format!("other attempts are covered by the hold of {held}: {letter:?}"))?;
        // Every attempt that got through and was not heard to its end may be billed. One of them is what the posting is about.
        let unheard = |(place, upstream): (usize, &Upstream)| upstream.is_unheard().then_some(place);
        let unheard: Vec<usize> = self.upstreams.iter().enumerate().filter_map(unheard).collect();
        let (main, last) = (unheard.last().copied(), answering(letter));
        for place in unheard {
            let booked = letter.others.iter().any(|other| other.number == place as u64 + 1);
            // One that was broken off after its last counts is charged by them, and by nothing else.
            let charged = letter.call.attempts.get(place).map(|attempt| PostOutcome::Charge(attempt.cost_usd));
            let counted = self.upstreams[place].has_counted() && charged == Some(letter.outcome);
            let told = Some(place) == last || Some(place) == main && (suspense || counted);
            must(booked || told || letter.call.estimated, || {
                format!("an attempt that may be billed is not booked: {place} {letter:?}")
            })?;
        }
        Ok(())
    }

    fn answerer(&self, letter: &PostLetter) -> Option<&Upstream> {
        self.upstreams.get(answering(letter)?)
    }

    /// What the provider told, where its answer was good and was heard to its end.
    fn answered(&self, letter: &PostLetter) -> Option<megarouter::usage::Usage> {
        let upstream = self.answerer(letter)?;
        let heard = upstream.pieces.is_empty() && letter.call.status == 200 && !letter.call.budget_cut;
        upstream.truth.filter(|_| heard)
    }

    /// The caller left an answer whose usage was still to come, at a provider that bills on when the connection is closed.
    fn bills_on(&self, letter: &PostLetter) -> bool {
        let Some(upstream) = self.answerer(letter).filter(|_| self.knows_gone) else { return false };
        let bills = upstream.provider == "beta" || upstream.provider == "delta";
        let answers = match &upstream.opening {
            Opening::Head { head, .. } => head.status == 200,
            Opening::Silence => true,
            Opening::Broke { .. } => false,
        };
        bills && answers && (upstream.counts_to_come() || upstream.hanging)
    }

    fn begin(&mut self, attempt: usize, wants: &mut Vec<Want>) {
        let upstream = &mut self.upstreams[attempt];
        match &upstream.opening {
            Opening::Head { after, head } => {
                wants.push(Want::Later(*after, Event::Head { attempt, head: head.clone() }));
            }
            Opening::Broke { after } => wants.push(Want::Later(*after, Event::Broke { attempt })),
            Opening::Silence => upstream.hanging = true,
        }
    }

    fn read(&mut self, attempt: usize, whole: bool, wants: &mut Vec<Want>) {
        let upstream = &mut self.upstreams[attempt];
        if upstream.aborted {
            return wants.push(Want::Later(1, Event::Broke { attempt }));
        }
        if !whole && let Some((ms, bytes)) = upstream.pieces.pop_front() {
            upstream.heard.extend(&bytes);
            return wants.push(Want::Later(ms, Event::Bytes { attempt, bytes }));
        }
        let (mut ms, mut bytes) = (1, Vec::new());
        for (more, piece) in upstream.pieces.drain(..) {
            ms += more;
            bytes.extend(piece);
        }
        match upstream.then {
            Then::Ends if whole => wants.push(Want::Later(ms, Event::Whole { attempt, bytes })),
            Then::Ends => wants.push(Want::Later(ms, Event::End { attempt })),
            Then::Breaks => wants.push(Want::Later(ms, Event::Broke { attempt })),
            Then::Hangs => upstream.hanging = true,
        }
    }

    fn abort(&mut self, attempt: usize, now: Millis, wants: &mut Vec<Want>) {
        let upstream = &mut self.upstreams[attempt];
        if std::mem::replace(&mut upstream.aborted, true) {
            return;
        }
        if std::mem::take(&mut upstream.hanging) {
            wants.push(Want::Later(1, Event::Broke { attempt }));
        }
        if upstream.pipe.is_some() {
            upstream.then = Then::Breaks;
            let event = self.end_pipe(attempt, now);
            wants.push(Want::Later(1, event));
        }
    }

    /// The rest of an answer flows natively: when it will end is known at once, unless it is let go.
    fn begin_pipe(&mut self, attempt: usize, drain_ms: u64, now: Millis, wants: &mut Vec<Want>) {
        self.piping_since = now;
        let gone_after = self.hangs_up.since(now).saturating_add(drain_ms);
        let upstream = &mut self.upstreams[attempt];
        upstream.pipes += 1;
        let pipe = Pipe { number: upstream.pipes };
        upstream.pipe = Some(pipe);
        let whole_after: u64 = upstream.pieces.iter().map(|(ms, _)| *ms).sum::<u64>() + 1;
        let hangs = upstream.then == Then::Hangs;
        let after = if hangs { gone_after } else { whole_after.min(gone_after) };
        // One that hangs while its caller stays ends when it is let go.
        if !hangs || self.hangs_up < Millis(u64::MAX) {
            wants.push(Want::PipeEnds { after, attempt, pipe: pipe.number });
        }
    }

    /// What went through a pipe until now.
    fn end_pipe(&mut self, attempt: usize, now: Millis) -> Event {
        let (mut left, gone) = (now.since(self.piping_since), now >= self.hangs_up);
        let upstream = &mut self.upstreams[attempt];
        upstream.pipe = None;
        let mut bytes = upstream.heard.clone();
        while let Some((ms, _)) = upstream.pieces.front()
            && *ms <= left
        {
            left -= ms;
            bytes.extend(upstream.pieces.pop_front().map_or_default(|(_, piece)| piece));
        }
        upstream.heard.clone_from(&bytes);
        let ended = upstream.pieces.is_empty();
        let end = match upstream.then {
            Then::Breaks if ended || upstream.aborted => PipeEnd::Broke,
            Then::Ends if ended && !gone => PipeEnd::Whole,
            then if gone => PipeEnd::Gone { drained: ended && then == Then::Ends },
            _ => PipeEnd::Broke,
        };
        Event::Piped { attempt, bytes, end }
    }

    /// What was told to the exchange after its hang-up is none of the caller's: the platform ends its work.
    pub fn hangs_up(&self) -> Vec<Want> {
        vec![Want::Later(0, Event::Gone), Want::Dies(WAIT_UNTIL_MS)]
    }
}

/// What kind of a posting it is.
fn met(letter: &PostLetter, books: &Books) -> &'static str {
    let held = books.calls.get(&letter.request_id).map_or(Nanos::ZERO, |call| call.amount);
    match letter.outcome {
        PostOutcome::Void => "exchange voids",
        PostOutcome::Suspense { .. } => "exchange does not know",
        PostOutcome::Charge(amount) if amount > held => "exchange overruns",
        PostOutcome::Charge(_) if letter.call.estimated => "exchange estimates",
        PostOutcome::Charge(Nanos::ZERO) => "exchange charges nothing",
        PostOutcome::Charge(_) => "exchange charges",
    }
}

/// The attempt a posting is about: the one that answered, or the last that was not let go of for a faster one.
fn answering(letter: &PostLetter) -> Option<usize> {
    let attempts = &letter.call.attempts;
    let answered = attempts.iter().rposition(|attempt| attempt.outcome == "answered");
    answered.or_else(|| attempts.iter().rposition(|attempt| attempt.outcome != "cancelled"))
}

fn body(
    chance: &mut Chance,
    surface: Surface,
    stream: bool,
    output_bound: u64,
    explains: bool,
    session: &str,
) -> serde_json::Value {
    let mut order = PROVIDERS.to_vec();
    order.rotate_left(chance.place(4));
    order.truncate(1 + chance.place(4));
    let mut wishes = json!({"providers": {"only": order, "order": order}});
    if !session.is_empty() {
        wishes["session"] = session.into();
    }
    if explains {
        wishes["explain"] = "only".into();
    }
    if chance.one_in(4) {
        wishes["hedge"] = true.into();
    }
    if chance.one_in(5) {
        wishes["escalate"] = true.into();
    }
    if chance.one_in(6) {
        wishes["deadline_ms"] = (*chance.of(&[900_u64, 5_000, 20_000])).into();
    }
    let (member, bound) = match surface {
        Surface::ChatCompletions => ("messages", "max_completion_tokens"),
        Surface::Responses => ("input", "max_output_tokens"),
        _ => ("messages", "max_tokens"),
    };
    let said = json!([{"role": "user", "content": "Say hello."}]);
    let mut body = json!({"model": "m", member: said, "stream": stream, "megarouter": wishes, bound: output_bound});
    if surface == Surface::ChatCompletions && stream && !chance.one_in(3) {
        body["stream_options"] = json!({"include_usage": true});
    }
    body
}
