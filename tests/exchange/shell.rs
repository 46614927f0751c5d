//! A shell made of chance. It carries effects out as the real one does, but answers in any order, late or not at all where
//! a provider hangs; its callers hang up at any moment; its providers fail in every way they are known to. While it runs
//! it checks what an exchange promises. A run is a script of bytes: the same script is the same run.
use crate::stage::{
    Ask, CHAT, CHAT_WHOLE, Frames, JSON, MESSAGES, MESSAGES_WHOLE, MORNING, PROVIDERS, REQUEST, SSE, bytes, call,
    chunk, head, held, not_allowed, open, piped, speaks_chat, stale, told, whole,
};
use megarouter::{
    account::letter::{Bid, ExtendLetter, Grant, HoldLetter, PostLetter, PostOutcome, Refusal, Unfit},
    endpoint::Surface,
    exchange::{
        Exchange,
        event::{Effect, Event, Head, Pipe, PipeEnd, Reply, ReplyBody, Timer},
    },
    id::Scope,
    money::Nanos,
    payment::{
        Scheme,
        facilitator::{Outcome, Verb},
    },
    time::Millis,
};
use std::collections::{BTreeMap, BTreeSet};

/// A phase, an event's name and the next phase, where the event changed anything.
pub type Transition = (&'static str, &'static str, &'static str);

/// How far from the real shell a run may stray.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// Every event answers an effect. All promises are kept.
    Good,
    /// As good, and the hold covers only the beginning of a long answer.
    Growing,
    /// Events nobody asked for come between. What has to do with money and phases is still kept.
    None,
}

/// Enough for the longest run of good manners; a machine that needs more goes in circles.
const STEPS_MAX: usize = 1_500;

/// Runs a script to its end.
pub fn run(script: &[u8], manners: Manners) -> Result<BTreeSet<Transition>, String> {
    let mut chance = Chance { script, at: 0 };
    let mut ask = any_ask(&mut chance);
    if manners == Manners::Growing {
        ask = call(ask.surface, &["alpha", "gamma"]).streamed().long();
    }
    let (exchange, effects) = open(&ask, 1);
    let mut shell = Shell {
        chance,
        manners,
        surface: ask.surface,
        stream: ask.stream,
        explains: ask.wishes["explain"] == "only",
        pays: ask.pays.as_ref().map(|paid| if paid.is_upfront() { Verb::Settle } else { Verb::Verify }),
        exchange,
        now: MORNING,
        under_way: Vec::new(),
        timers: Vec::new(),
        providers: Vec::new(),
        version: 0,
        hung_up: false,
        hedges: ask.wishes["hedge"] == true,
        checks: ask.wishes["escalate"] == true,
        grows: manners == Manners::Growing,
        seen: BTreeSet::new(),
        so_far: SoFar::default(),
        trace: vec![format!("{ask:?}")],
    };
    match shell.play(effects) {
        Ok(()) => Ok(shell.seen),
        Err(why) => Err(format!("{why}\n  {}\nscript: {script:?}", shell.trace.join("\n  "))),
    }
}

struct Chance<'a> {
    script: &'a [u8],
    at: usize,
}

impl Chance<'_> {
    /// One of `n`; the first, the harmless one, once the script is over.
    fn pick(&mut self, n: usize) -> usize {
        let byte = self.script.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        usize::from(byte) % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.pick(n) == n - 1
    }
}

fn any_ask(chance: &mut Chance<'_>) -> Ask {
    let mut providers = PROVIDERS;
    providers.rotate_left(chance.pick(4));
    if chance.one_in(2) {
        providers.reverse();
    }
    let surface = [Surface::ChatCompletions, Surface::Messages, Surface::Responses][chance.pick(3)];
    let mut ask = call(surface, &providers);
    ask.stream = !chance.one_in(4);
    ask.usage = chance.one_in(2);
    if chance.one_in(2) {
        ask = ask.long();
    }
    match chance.pick(6) {
        4 => ask = ask.paid(Scheme::Exact, 50_000_000),
        5 => ask = ask.paid(Scheme::Upto, 50_000_000),
        _ => {}
    }
    match chance.pick(16) {
        10..=12 => ask.wishing("hedge", true.into()),
        13..=15 => ask.wishing("escalate", true.into()),
        7 => ask.wishing("explain", true.into()),
        8 => ask.wishing("explain", "only".into()),
        9 => ask.wishing("deadline_ms", 20_000.into()),
        _ => ask,
    }
}

// Providers.

struct Provider {
    head: Answer,
    pieces: Vec<Vec<u8>>,
    then: Then,
    /// The exchange let go of it.
    aborted: bool,
    /// It was heard to its end.
    over: bool,
    /// Told counts that cost more than any hold.
    greedy: bool,
    /// What went to the exchange so far.
    heard: Vec<u8>,
}

enum Answer {
    Head(Head),
    NoConnection,
    Silence,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Ends,
    Breaks,
    Hangs,
}

impl Provider {
    /// The next of what it sends, or how it stops.
    fn next(&mut self) -> Result<Vec<u8>, Then> {
        if self.aborted {
            return Err(Then::Breaks);
        }
        if self.pieces.is_empty() { Err(self.then) } else { Ok(self.pieces.remove(0)) }
    }

    fn can_answer(&self, under_way: &UnderWay) -> bool {
        let hangs = self.then == Then::Hangs && self.pieces.is_empty();
        self.aborted
            || match under_way {
                UnderWay::Head(_) => !matches!(self.head, Answer::Silence),
                UnderWay::Read { whole: false, .. } => !hangs,
                UnderWay::Read { .. } | UnderWay::Pipe { .. } => self.then != Then::Hangs,
                UnderWay::Account(_)
                | UnderWay::Extending(_)
                | UnderWay::Write
                | UnderWay::Posting
                | UnderWay::Paying(_) => true,
            }
    }
}

fn any_provider(chance: &mut Chance<'_>, chat: bool, stream: bool, grows: bool) -> Provider {
    let (frames, whole_answer) = if chat { (CHAT, CHAT_WHOLE) } else { (MESSAGES, MESSAGES_WHOLE) };
    let Frames { opening, hello, world, finish, usage, end, fault } = frames;
    let good = vec![opening, hello, world, finish, usage, end];
    let kind = if grows && !chance.one_in(4) { 16 } else { chance.pick(17) };
    let cut = chance.pick(good.len());
    let head = |status, content_type: &str| {
        Answer::Head(Head { status, content_type: content_type.to_owned(), ..Head::default() })
    };
    let many = whole_answer.replace("4}", "400000000}").replace("_tokens\":4,", "_tokens\":400000000,");
    let short = whole_answer.replace("\"stop\"", "\"length\"").replace("\"end_turn\"", "\"max_tokens\"");
    let many_told = usage.replace(":4}", ":400000000}").replace(":4,", ":400000000,");
    let (head, sent, then): (Answer, Vec<&str>, Then) = match (kind, stream) {
        (3, _) => (head(503, JSON), vec!["{}"], Then::Ends),
        (4, _) => {
            let limited = Head { status: 429, retry_after: Some("3".to_owned()), ..Head::default() };
            (Answer::Head(limited), vec!["slow down"], Then::Ends)
        }
        (5, _) => (head(400, JSON), vec![r#"{"error":{"message":"no","type":"invalid_request_error"}}"#], Then::Ends),
        (6, _) => (head(401, JSON), vec!["<html>"], Then::Breaks),
        (7, _) => (Answer::NoConnection, vec![], Then::Breaks),
        (8, _) => (Answer::Silence, vec![], Then::Hangs),
        (9, true) => (head(200, SSE), good[..cut].to_vec(), Then::Breaks),
        (9, false) => (head(200, JSON), vec![whole_answer], Then::Breaks),
        (10, true) => (head(200, SSE), good[..cut].to_vec(), Then::Ends),
        (10, false) => (head(200, JSON), vec!["{\"id\":"], Then::Ends),
        (11, true) => (head(200, SSE), good[..cut].to_vec(), Then::Hangs),
        (11, false) => (head(200, JSON), vec![], Then::Hangs),
        (12, true) => (head(200, SSE), [&good[..cut], &[fault]].concat(), Then::Ends),
        (12, false) => (head(200, JSON), vec![r#"{"error":{"message":"boom","code":500}}"#], Then::Ends),
        (13, true) => (head(200, SSE), [&good[..cut], &["data: {\"usage\":\n\n"; 5]].concat(), Then::Ends),
        (13, false) => (head(200, "text/html"), vec!["<html>"], Then::Ends),
        (14, true) => (head(200, SSE), vec![opening, hello, finish, many_told.as_str(), end], Then::Ends),
        (14, false) => (head(200, JSON), vec![many.as_str()], Then::Ends),
        (15, true) => (head(200, JSON), vec![whole_answer], Then::Ends),
        // Longer than a first slice covers.
        (16, true) => {
            let words = [hello; 320];
            (head(200, SSE), [&[opening], &words[..], &words, &[world, finish, usage, end]].concat(), Then::Ends)
        }
        (1, true) => (head(200, SSE), vec![opening, hello, world, finish, end], Then::Ends),
        (2, true) => (head(200, SSE), vec![opening, hello, world, finish, usage], Then::Ends),
        (0..=2, false) if cut > 2 => (head(200, JSON), vec![short.as_str()], Then::Ends),
        (_, true) | (15, false) => (head(200, SSE), good, Then::Ends),
        (_, false) => (head(200, JSON), vec![whole_answer], Then::Ends),
    };
    let pieces = match chance.pick(3) {
        0 if kind != 16 => sent.iter().map(|frame| frame.as_bytes().to_vec()).collect(),
        1 if kind != 16 => sent.concat().as_bytes().chunks(150).map(<[u8]>::to_vec).collect(),
        _ if kind == 16 => sent.concat().as_bytes().chunks(20_000).map(<[u8]>::to_vec).collect(),
        _ => Some(sent.concat().into_bytes()).filter(|all| !all.is_empty()).into_iter().collect(),
    };
    Provider { head, pieces, then, aborted: false, over: false, greedy: kind == 14, heard: Vec::new() }
}

// The shell.

/// What was begun and will answer with one event.
#[derive(Clone, Debug)]
enum UnderWay {
    Account(HoldLetter),
    Extending(ExtendLetter),
    Head(usize),
    Read {
        attempt: usize,
        whole: bool,
    },
    Pipe {
        attempt: usize,
        drain_ms: u64,
    },
    Write,
    Posting,
    /// A facilitator settles, or looks.
    Paying(Verb),
}

/// What a facilitator told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Done,
    Refused,
    Nothing,
}

/// Everything that facilitators are known to answer.
const ANSWERS: [(Verb, Told, u16, &str); 13] = [
    (Verb::Settle, Told::Done, 200, r#"{"success":true,"transaction":"0xabc","network":"eip155:84532"}"#),
    (Verb::Settle, Told::Refused, 400, r#"{"success":false,"errorReason":"insufficient_funds"}"#),
    (Verb::Settle, Told::Refused, 200, r#"{"success":false,"errorReason":"invalid_signature","transaction":""}"#),
    (Verb::Settle, Told::Nothing, 200, r#"{"success":false,"errorReason":"settlement_pending","transaction":"0xabc"}"#),
    (Verb::Settle, Told::Nothing, 500, r#"{"success":false,"errorReason":"unexpected_settle_error"}"#),
    (Verb::Settle, Told::Nothing, 200, r#"{"isValid":true}"#),
    (Verb::Settle, Told::Nothing, 502, "<html>"),
    (Verb::Settle, Told::Nothing, 0, ""),
    (Verb::Verify, Told::Done, 200, r#"{"isValid":true,"payer":"0x1"}"#),
    (Verb::Verify, Told::Refused, 200, r#"{"isValid":false,"invalidReason":"permit2_allowance_required"}"#),
    (Verb::Verify, Told::Nothing, 500, r#"{"isValid":false,"invalidReason":"unexpected_verify_error"}"#),
    (Verb::Verify, Told::Nothing, 200, r#"{"success":true,"transaction":"0xabc","network":"eip155:84532"}"#),
    (Verb::Verify, Told::Nothing, 0, ""),
];

struct Shell<'a> {
    chance: Chance<'a>,
    manners: Manners,
    surface: Surface,
    stream: bool,
    /// Only explains: its hold is dry.
    explains: bool,
    /// What a facilitator is asked about its payment, where it pays.
    pays: Option<Verb>,
    exchange: Exchange,
    now: Millis,
    under_way: Vec<UnderWay>,
    timers: Vec<(Timer, Millis)>,
    providers: Vec<Provider>,
    version: u64,
    hung_up: bool,
    /// Wishes for an attempt beside a slow one.
    hedges: bool,
    /// Answers are checked: none is streamed to us.
    checks: bool,
    /// The hold covers only the beginning of an answer.
    grows: bool,
    seen: BTreeSet<Transition>,
    so_far: SoFar,
    trace: Vec<String>,
}

/// What was done so far: what the promises are about.
#[derive(Default)]
struct SoFar {
    grant: Option<Grant>,
    /// The exchange knows that the caller left.
    knows_gone: bool,
    sends: usize,
    sent_to: BTreeMap<String, usize>,
    reply: Option<u16>,
    reply_streams: bool,
    told_cost: Option<String>,
    /// All the caller was streamed.
    text: Vec<u8>,
    finished: bool,
    posts: Vec<PostLetter>,
    /// What facilitators told, one after the other.
    told: Vec<Told>,
    /// What the account refused last.
    refused: Option<Refusal>,
}

impl SoFar {
    /// What became of the payment. Once nobody knows, only a success is believed.
    fn payment(&self) -> Option<Told> {
        match self.told.as_slice() {
            [] => None,
            [.., Told::Done] => Some(Told::Done),
            [Told::Refused] => Some(Told::Refused),
            _ => Some(Told::Nothing),
        }
    }

    fn has_to_be_paid(&self) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.pays)
    }
}

fn must(kept: bool, promise: &str) -> Result<(), String> {
    if kept { Ok(()) } else { Err(format!("broken: {promise}")) }
}

impl Shell<'_> {
    fn play(&mut self, first: Vec<Effect>) -> Result<(), String> {
        first.into_iter().try_for_each(|effect| self.carry_out(effect))?;
        for _ in 0..STEPS_MAX {
            if self.exchange.is_done() {
                self.check_end()?;
                return self.check_that_done_absorbs();
            }
            let event = self.next_event().ok_or("broken: every effect was answered, and the exchange is not done")?;
            self.tell(event)?;
        }
        Err("broken: an exchange ends".to_owned())
    }

    fn next_event(&mut self) -> Option<Event> {
        self.now = self.now.after([1, 40, 4_000][self.chance.pick(3)]);
        let step = self.chance.pick(16);
        match step {
            10 | 11 if !self.timers.is_empty() => {
                let place = self.chance.pick(self.timers.len());
                return Some(self.elapse(place));
            }
            12 if !self.hung_up => {
                self.hung_up = true;
                return Some(Event::Gone);
            }
            13 | 14 => {
                if let Some(event) = self.late() {
                    return Some(event);
                }
            }
            15 if self.manners == Manners::None => return Some(self.unasked()),
            _ => {}
        }
        let ready: Vec<usize> = (0..self.under_way.len()).filter(|place| self.is_ready(*place)).collect();
        if ready.is_empty() {
            let (place, _) = self.timers.iter().enumerate().min_by_key(|(_, (_, due))| *due)?;
            return Some(self.elapse(place));
        }
        let place = ready[self.chance.pick(ready.len())];
        let answered = self.under_way.remove(place);
        Some(self.answer(&answered))
    }

    fn is_ready(&self, place: usize) -> bool {
        let under_way = &self.under_way[place];
        match under_way {
            UnderWay::Pipe { .. } if self.hung_up => true,
            UnderWay::Head(attempt) | UnderWay::Read { attempt, .. } | UnderWay::Pipe { attempt, .. } => {
                self.providers[*attempt].can_answer(under_way)
            }
            UnderWay::Account(_)
            | UnderWay::Extending(_)
            | UnderWay::Write
            | UnderWay::Posting
            | UnderWay::Paying(_) => true,
        }
    }

    fn elapse(&mut self, place: usize) -> Event {
        let (timer, due) = self.timers.remove(place);
        self.now = self.now.max(due);
        Event::Elapsed(timer)
    }

    /// Something of an attempt that was given up, or told before.
    fn late(&mut self) -> Option<Event> {
        let earlier = 0..self.providers.len().saturating_sub(1);
        let piped = |attempt| {
            self.under_way.iter().any(|one| matches!(one, UnderWay::Pipe { attempt: piped, .. } if *piped == attempt))
        };
        let old: Vec<usize> = earlier.filter(|attempt| !self.is_live(*attempt) && !piped(*attempt)).collect();
        let attempt = *old.get(self.chance.pick(old.len().max(1)))?;
        let event = any_event(&mut self.chance, attempt);
        matches!(
            event,
            Event::Head { .. } | Event::Bytes { .. } | Event::Whole { .. } | Event::End { .. } | Event::Broke { .. }
        )
        .then_some(event)
    }

    /// Whether an attempt was begun and is neither over nor let go.
    fn is_live(&self, attempt: usize) -> bool {
        self.providers.get(attempt).is_some_and(|provider| !provider.aborted && !provider.over)
    }

    fn unasked(&mut self) -> Event {
        let attempt = self.chance.pick(3);
        any_event(&mut self.chance, attempt)
    }

    /// What a facilitator answers: done, refused, or nothing that tells; every second time it is done.
    fn facilitator(&mut self, verb: Verb) -> Event {
        let of_verb: Vec<_> = ANSWERS.iter().filter(|(of, ..)| *of == verb).collect();
        let place = if self.chance.one_in(2) { self.chance.pick(of_verb.len()) } else { 0 };
        let (_, _, status, body) = of_verb[place];
        Event::Paid { status: *status, body: body.as_bytes().to_vec() }
    }

    fn answer(&mut self, answered: &UnderWay) -> Event {
        match answered {
            UnderWay::Account(letter) => self.account(letter),
            UnderWay::Extending(letter) => self.more(letter),
            UnderWay::Posting if self.chance.one_in(2) => Event::Unreachable,
            UnderWay::Posting => Event::Posted,
            UnderWay::Paying(verb) => self.facilitator(*verb),
            UnderWay::Write if self.hung_up => Event::Gone,
            UnderWay::Write => Event::Written,
            UnderWay::Head(attempt) => {
                let attempt = *attempt;
                match &self.providers[attempt] {
                    Provider { aborted: false, head: Answer::Head(head), .. } => {
                        Event::Head { attempt, head: head.clone() }
                    }
                    _ => Event::Broke { attempt },
                }
            }
            UnderWay::Read { attempt, whole: true } => {
                let mut all = Vec::new();
                loop {
                    match self.providers[*attempt].next() {
                        Ok(piece) => all.extend(piece),
                        Err(Then::Ends) => return whole(*attempt, all),
                        Err(Then::Breaks | Then::Hangs) => return Event::Broke { attempt: *attempt },
                    }
                }
            }
            UnderWay::Read { attempt, .. } => match self.providers[*attempt].next() {
                Ok(piece) => {
                    self.providers[*attempt].heard.extend(&piece);
                    bytes(*attempt, piece)
                }
                Err(Then::Ends) => Event::End { attempt: *attempt },
                Err(Then::Breaks | Then::Hangs) => Event::Broke { attempt: *attempt },
            },
            UnderWay::Pipe { attempt, drain_ms } => self.pipe(*attempt, *drain_ms),
        }
    }

    fn pipe(&mut self, attempt: usize, drain_ms: u64) -> Event {
        let cut = if self.hung_up { self.chance.pick(4) } else { usize::MAX };
        let provider = &mut self.providers[attempt];
        let mut end = None;
        for _ in 0..=if drain_ms == 0 { cut } else { usize::MAX - 1 } {
            match provider.next() {
                Ok(piece) => provider.heard.extend(piece),
                Err(then) => {
                    end = Some(then);
                    break;
                }
            }
        }
        let copy = provider.heard.clone();
        match end {
            _ if self.hung_up => piped(attempt, copy, PipeEnd::Gone { drained: end == Some(Then::Ends) }),
            Some(Then::Ends) => piped(attempt, copy, PipeEnd::Whole),
            Some(Then::Breaks | Then::Hangs) | None => piped(attempt, copy, PipeEnd::Broke),
        }
    }

    fn account(&mut self, letter: &HoldLetter) -> Event {
        let kind = if self.grows { 3 } else { self.chance.pick(16) };
        let pays = letter.claim.is_some() && !letter.dry && !self.chance.one_in(4);
        match kind {
            8 | 9 => Event::Unreachable,
            10 => {
                self.version += 1;
                stale(self.version, PROVIDERS[self.chance.pick(4)])
            }
            11 => not_allowed(None, Some(&PROVIDERS[self.chance.pick(4)..])),
            12 => Event::Refused(Refusal::Rpm { scope: Scope::Organization, retry_after_s: 3 }),
            14 if letter.claim.is_some() => Event::Refused(Refusal::Payment(any_unfit(&mut self.chance))),
            15 if letter.claim.is_some() => {
                let estimate = letter.bids.first().map_or(Nanos::ZERO, |bid| bid.amount);
                Event::Refused(Refusal::Credits { available: Nanos::ZERO, estimate })
            }
            13..=15 => Event::Refused(Refusal::RevokedKey),
            _ if letter.bids.is_empty() => not_allowed(None, None),
            // There is only room for the first slice of what can grow.
            3..=6 if letter.bids.iter().any(|bid| bid.least > Nanos::ZERO) && !letter.dry => {
                let grows = |(place, bid): (usize, &Bid)| (bid.least > Nanos::ZERO).then_some((place, bid.least));
                let (allowed, amounts): (Vec<_>, Vec<_>) = letter.bids.iter().enumerate().filter_map(grows).unzip();
                self.grows = true;
                Event::Held(Grant {
                    amount: amounts.into_iter().max().unwrap_or_default(),
                    allowed,
                    pays,
                    ..Grant::default()
                })
            }
            _ => {
                let first = if kind == 7 { self.chance.pick(letter.bids.len()) } else { 0 };
                let allowed: Vec<usize> = (first..letter.bids.len()).collect();
                let most = letter.bids.iter().skip(first).map(|bid| bid.amount).max().unwrap_or_default();
                let amount = if letter.dry { Nanos::ZERO } else { most };
                Event::Held(Grant { amount, allowed, pays, ..Grant::default() })
            }
        }
    }

    /// The account makes a hold larger, or does not.
    fn more(&mut self, letter: &ExtendLetter) -> Event {
        let amount = match self.chance.pick(6) {
            4 => return Event::Unreachable,
            5 => return Event::Refused(Refusal::InFlight),
            3 => letter.least,
            // Less than was asked for at least: no account does that.
            2 if self.manners == Manners::None => Nanos::ZERO,
            _ => letter.to,
        };
        let grant = self.so_far.grant.clone().unwrap_or_default();
        Event::Held(Grant { amount: amount.max(grant.amount), allowed: grant.allowed, ..Grant::default() })
    }

    /// Tells the exchange, carries out what it wants, and keeps the books.
    fn tell(&mut self, event: Event) -> Result<(), String> {
        let before = self.exchange.phase();
        let old = |attempt: usize| attempt + 1 < self.so_far.sends && !self.is_live(attempt);
        // A pipe that was let go still tells what went through it.
        let late = attempt_of(&event).is_some_and(old) && !matches!(event, Event::Piped { .. });
        self.note(&event, before);
        let name = name(&event);
        self.trace.push(format!("{before}: {}", brief(&event)));
        let remembered = ["Holding", "Paying"].contains(&before) && event == Event::Gone;
        let effects = self.exchange.on(event, self.now);
        let after = self.exchange.phase();
        if before != after || !effects.is_empty() || remembered {
            self.seen.insert((before, name, after));
        }
        must(before != "Done" || effects.is_empty(), "Done absorbs")?;
        must(!late || (before == after && effects.is_empty()), "what is late does not touch the next attempt")?;
        effects.into_iter().try_for_each(|effect| self.carry_out(effect))?;
        self.check_that_it_waits(after)
    }

    /// Between two attempts something is under way, or a pause is: nobody waits for the last deadline.
    fn check_that_it_waits(&self, phase: &str) -> Result<(), String> {
        let asks = |one: &UnderWay| !matches!(one, UnderWay::Write | UnderWay::Posting);
        let pauses = self.timers.iter().any(|(timer, _)| matches!(timer, Timer::Retry(_)));
        let waits = self.under_way.iter().any(asks) || pauses;
        must(self.manners == Manners::None || phase != "Attempting" || waits, "an attempt waits for something")
    }

    fn note(&mut self, event: &Event, phase: &str) {
        let so_far = &mut self.so_far;
        match event {
            Event::Paid { status, body } if phase == "Paying" => {
                let is_it = |(verb, _, code, text): &&(Verb, Told, u16, &str)| {
                    Some(*verb) == self.pays && code == status && text.as_bytes() == body
                };
                so_far.told.push(ANSWERS.iter().find(is_it).map_or(Told::Nothing, |(_, told, ..)| *told));
            }
            Event::Refused(refusal) if phase == "Holding" => so_far.refused = Some(refusal.clone()),
            Event::Held(grant) if phase == "Holding" => so_far.grant = Some(grant.clone()),
            Event::Held(grant) => {
                let known = so_far.grant.get_or_insert_default();
                known.amount = known.amount.max(grant.amount);
            }
            Event::Gone if !self.under_way.iter().any(|one| matches!(one, UnderWay::Pipe { .. })) => {
                so_far.knows_gone = true;
            }
            Event::Piped { attempt, bytes, end } => {
                so_far.knows_gone |= matches!(end, PipeEnd::Gone { .. });
                so_far.text.extend(bytes);
                self.providers.get_mut(*attempt).into_iter().for_each(|provider| provider.over = true);
            }
            Event::Whole { attempt, .. } | Event::End { attempt } | Event::Broke { attempt } => {
                self.providers.get_mut(*attempt).into_iter().for_each(|provider| provider.over = true);
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), String> {
        self.trace.push(format!("    {}", told(&effect)));
        let good = self.manners != Manners::None;
        match effect {
            Effect::Hold(letter) => self.under_way.push(UnderWay::Account(letter)),
            Effect::Extend(letter) => {
                let held = self.so_far.grant.as_ref().map_or(Nanos::ZERO, |grant| grant.amount);
                must(!good || held < letter.least && letter.least <= letter.to, "a hold is only asked to grow")?;
                self.under_way.push(UnderWay::Extending(letter));
            }
            Effect::Send { attempt, call } => {
                must(self.so_far.grant.is_some(), "nothing is sent before a hold")?;
                let paid = self.so_far.payment() == Some(Told::Done);
                must(paid || !self.so_far.has_to_be_paid(), "nothing is sent before it is settled, or looked at")?;
                let goes_on = self.so_far.reply_streams && !self.so_far.finished;
                must(self.so_far.reply.is_none() || goes_on, "an attempt after the reply goes on with a stream")?;
                must(attempt == self.so_far.sends && attempt < 5, "attempts are numbered and at most five")?;
                let there = self.so_far.sent_to.entry(call.url.clone()).or_insert(0);
                *there += 1;
                must(*there <= 3, "and at most three at one deployment")?;
                self.so_far.sends += 1;
                let stream = self.stream && !self.checks;
                self.providers.push(any_provider(&mut self.chance, speaks_chat(&call.url), stream, self.grows));
                self.under_way.push(UnderWay::Head(attempt));
                let live = (0..self.providers.len()).filter(|attempt| self.is_live(*attempt)).count();
                must(
                    !good || live <= if self.hedges { 2 } else { 1 },
                    "an attempt waits for the end of the one before",
                )?;
            }
            Effect::Wait { timer, ms } => self.timers.push((timer, self.now.after(ms))),
            Effect::Read { attempt, whole } => {
                let reads = |one: &UnderWay| matches!(one, UnderWay::Read { attempt: read, .. } if *read == attempt);
                must(!good || !self.under_way.iter().any(reads), "bytes are asked for once at a time")?;
                must(!good || !self.providers[attempt].aborted, "nothing is read of what was let go")?;
                self.under_way.push(UnderWay::Read { attempt, whole });
            }
            Effect::Pipe { attempt, pipe } => {
                let Pipe { prefix, drain_ms, .. } = pipe;
                must(!good || prefix == self.providers[attempt].heard, "a pipe begins with all that was read")?;
                must(self.so_far.reply_streams, "a pipe needs a reply")?;
                self.under_way.push(UnderWay::Pipe { attempt, drain_ms });
            }
            Effect::Abort { attempt } => self.providers[attempt].aborted = true,
            Effect::Reply(reply) => {
                must(self.so_far.reply.is_none(), "there is one reply")?;
                must(!good || !self.so_far.knows_gone, "nobody is answered who left")?;
                must(
                    reply.headers.contains(&("x-request-id", REQUEST.to_owned())),
                    "every answer has its request's id",
                )?;
                self.check_paid_reply(&reply)?;
                let cost = reply.headers.iter().find(|(name, _)| *name == "x-megarouter-cost-usd");
                self.so_far.told_cost = cost.map(|(_, cost)| cost.clone());
                self.so_far.reply = Some(reply.status);
                self.so_far.reply_streams = reply.body == ReplyBody::Stream;
            }
            Effect::Chunk(ref bytes) => {
                must(
                    self.so_far.reply_streams && !self.so_far.finished,
                    "chunks come between a streamed reply and its end",
                )?;
                let piping = self.under_way.iter().any(|one| matches!(one, UnderWay::Pipe { .. }));
                must(!good || !piping, "a chunk waits for the end of the pipe")?;
                must(!good || !self.so_far.knows_gone, "nothing is written to a caller who left")?;
                must(chunk(&effect).is_some_and(|bytes| !bytes.is_empty()), "a chunk holds something")?;
                self.so_far.text.extend(bytes);
                self.under_way.push(UnderWay::Write);
            }
            Effect::Finish => {
                must(self.so_far.reply_streams && !self.so_far.finished, "a streamed reply ends once")?;
                self.so_far.finished = true;
            }
            Effect::Post { letter, .. } => self.check_post(*letter)?,
            Effect::Pay(call) => {
                must(
                    self.so_far.has_to_be_paid() && self.so_far.sends == 0,
                    "a payment follows its hold, before the work",
                )?;
                let verb = if call.url.ends_with("/settle") { Verb::Settle } else { Verb::Verify };
                must(self.pays == Some(verb), "what is paid upfront is settled, anything else is looked at")?;
                let undecided = self.so_far.told.iter().all(|told| *told == Told::Nothing);
                must(undecided, "who knows is not asked again")?;
                let asks = |one: &UnderWay| matches!(one, UnderWay::Paying(_));
                must(!good || !self.under_way.iter().any(asks), "one facilitator is asked at a time")?;
                self.under_way.push(UnderWay::Paying(verb));
            }
            Effect::Note(_) => {}
        }
        Ok(())
    }

    /// What is told of a payment in the head of an answer.
    fn check_paid_reply(&self, reply: &Reply) -> Result<(), String> {
        let has = |name: &str| reply.headers.iter().any(|(known, _)| *known == name);
        let Some(verb) = self.pays else {
            return must(!has("payment-response"), "of no payment nothing is told");
        };
        let again = reply.headers.contains(&("x-should-retry", "true".to_owned()));
        must(!again, "nobody who pays is told to try again by himself")?;
        must(has("payment-required") == (reply.status == 402), "a 402 says what to pay, nothing else does")?;
        match self.so_far.payment() {
            Some(Told::Refused) => {
                must(reply.status == 402 && has("payment-response"), "who is refused is told the price and why")
            }
            Some(Told::Nothing) => {
                must(reply.status == 503 && !has("payment-response"), "what nobody knows is told, and no price")
            }
            Some(Told::Done) if verb == Verb::Settle && reply.status < 300 => {
                must(has("payment-response"), "who has paid is told")
            }
            Some(Told::Done) => Ok(()),
            None => match &self.so_far.refused {
                Some(Refusal::Payment(Unfit::Used { .. })) if self.so_far.grant.is_none() => {
                    must(reply.status == 200 && has("payment-response"), "who has paid before gets the receipt")
                }
                Some(Refusal::Payment(Unfit::Busy | Unfit::Pending)) if self.so_far.grant.is_none() => {
                    must(reply.status == 503, "what is under way is not asked for again")
                }
                _ => Ok(()),
            },
        }
    }

    /// What the account is told of a payment.
    fn check_paid_post(&self, letter: &PostLetter) -> Result<(), String> {
        let voids = letter.outcome == PostOutcome::Void;
        let (kept, promise) = match (self.pays, self.so_far.payment()) {
            (None, _) | (_, None) => (letter.paid.is_none(), "of what nobody was asked for nothing is told"),
            (Some(Verb::Settle), Some(Told::Done)) => {
                let transaction = match &letter.paid {
                    Some(Outcome::Done { transaction, .. }) => transaction.as_str(),
                    _ => "",
                };
                (transaction == "0xabc", "what was settled is posted, whoever has left")
            }
            (Some(Verb::Verify), Some(Told::Done)) => (letter.paid.is_none(), "a look moves nothing"),
            (_, Some(Told::Refused)) => {
                (voids && matches!(letter.paid, Some(Outcome::Failed { .. })), "a refusal is posted as one")
            }
            (Some(Verb::Settle), Some(Told::Nothing)) => {
                (voids && letter.paid == Some(Outcome::Unknown), "that nobody knows is posted")
            }
            (Some(Verb::Verify), Some(Told::Nothing)) => {
                (voids && letter.paid.is_none(), "nothing is open after a look")
            }
        };
        must(kept, promise)
    }

    fn check_post(&mut self, letter: PostLetter) -> Result<(), String> {
        self.check_paid_post(&letter)?;
        let good = self.manners != Manners::None;
        let SoFar { grant, sends, posts, .. } = &mut self.so_far;
        must(letter.request_id == REQUEST, "a posting carries the request's id")?;
        must(posts.first().is_none_or(|first| *first == letter), "all postings say the same")?;
        must(letter.call.attempts.len() == *sends, "every attempt stands in the posting")?;
        must((letter.outcome == PostOutcome::Void) == (*sends == 0), "a hold is voided exactly when nothing was sent")?;
        let held = grant.as_ref().map_or(Nanos::ZERO, |grant| grant.amount);
        match letter.outcome {
            PostOutcome::Void => {}
            PostOutcome::Charge(amount) | PostOutcome::Suspense { metered: amount } => {
                must(grant.is_some(), "nothing is charged without a hold")?;
                let greedy = self.providers.iter().any(|provider| provider.greedy) && !letter.call.estimated;
                let within = Nanos::ZERO <= amount && (amount <= held || greedy);
                must(self.manners == Manners::None || within, "a charge above the hold is the provider's own count")?;
            }
        }
        let others: Nanos = letter.others.iter().map(|other| other.amount).sum();
        must(!good || others <= held, "other attempts are covered by the hold")?;
        posts.push(letter);
        self.under_way.push(UnderWay::Posting);
        Ok(())
    }

    fn check_end(&self) -> Result<(), String> {
        let SoFar { grant, knows_gone, sends, reply, reply_streams, told_cost, text, finished, posts, .. } =
            &self.so_far;
        must(grant.is_none() || self.explains || !posts.is_empty(), "a granted hold is closed")?;
        must(*sends == 0 || !posts.is_empty(), "what was sent is posted")?;
        if self.manners == Manners::None {
            return Ok(());
        }
        must(reply.is_some() || *knows_gone, "who stays is answered")?;
        must(!reply_streams || *finished || *knows_gone, "a streamed reply is finished")?;
        for provider in &self.providers {
            must(provider.aborted || provider.over, "every connection is let go or read to its end")?;
        }
        let Some(PostOutcome::Charge(cost)) = posts.first().map(|letter| letter.outcome) else { return Ok(()) };
        // With what others are known to have cost that were let go of for it: they broke off, or were not as fast.
        let seen = posts[0].others.iter().map(|other| match other.outcome {
            PostOutcome::Charge(amount) | PostOutcome::Suspense { metered: amount } => amount,
            PostOutcome::Void => Nanos::ZERO,
        });
        let seen = seen.fold(Nanos::ZERO, Nanos::plus);
        if let Some(told) = told_cost {
            must(*told == cost.plus(seen).to_string(), "the cost that is told is the cost that is posted")?;
        }
        if *finished {
            let text = String::from_utf8_lossy(text);
            let (end, fault) = match self.surface {
                Surface::ChatCompletions | Surface::Completions | Surface::Embeddings => {
                    ("data: [DONE]", "data: {\"error\":")
                }
                Surface::Messages => ("event: message_stop", "event: error"),
                Surface::Responses
                    if text.contains("\"budget_cut\":true")
                        || self.checks && text.contains("event: response.incomplete") =>
                {
                    ("event: response.incomplete", "event: error")
                }
                Surface::Responses => ("event: response.completed", "event: error"),
            };
            must(text.contains(end) != text.contains(fault), &format!("a stream ends whole or with a fault: {text}"))?;
            let told = cost.plus(seen);
            must(text.contains(&format!("\"cost_usd\":\"{told}\"")), "a stream's comment tells what is posted")?;
            let once = |word: &str| text.matches(word).count() <= 1;
            let heads = once("event: message_start") && once("event: response.created");
            must(heads, &format!("a stream has one head, whoever goes on with it: {text}"))?;
            must(text.ends_with("}\n\n") && text.contains("\n\n: megarouter {"), "the comment is a frame of its own")?;
        }
        Ok(())
    }

    fn check_that_done_absorbs(&mut self) -> Result<(), String> {
        for attempt in 0..3 {
            for kind in 0..EVENTS {
                let mut chance = Chance { script: &[u8::try_from(kind).unwrap_or_default()], at: 0 };
                self.tell(any_event(&mut chance, attempt))?;
            }
        }
        must(self.exchange.is_done(), "Done is the end")
    }
}

fn any_unfit(chance: &mut Chance<'_>) -> Unfit {
    match chance.pick(6) {
        0 => Unfit::Busy,
        1 => Unfit::Pending,
        2 => Unfit::Used { request_id: "req_earlier".to_owned(), transaction: "0xabc".to_owned() },
        3 => Unfit::Other,
        4 => Unfit::Dead { reason: "expired".to_owned() },
        _ => Unfit::Exposed,
    }
}

// Events.

const EVENTS: usize = 23;

/// Any event there is. What it holds is likely.
fn any_event(chance: &mut Chance<'_>, attempt: usize) -> Event {
    match chance.pick(EVENTS) {
        0 => held(&[0, 1, 2]),
        1 => held(&[9]),
        2 => Event::Refused(Refusal::UnknownKey),
        3 => stale(7, "alpha"),
        4 => not_allowed(None, Some(&["beta", "gamma"])),
        5 => Event::Unreachable,
        6 => head(attempt, 200, SSE),
        7 => head(attempt, 200, JSON),
        8 => head(attempt, 500, JSON),
        9 => bytes(attempt, CHAT.hello),
        10 => bytes(attempt, MESSAGES.all()),
        11 => whole(attempt, CHAT_WHOLE),
        12 => whole(attempt, "?"),
        13 => Event::End { attempt },
        14 => Event::Broke { attempt },
        15 => piped(attempt, CHAT.all(), PipeEnd::Whole),
        16 => piped(attempt, CHAT.hello, PipeEnd::Gone { drained: false }),
        17 => Event::Elapsed(Timer::FirstToken(attempt)),
        18 => Event::Elapsed([Timer::Head(attempt), Timer::Stall(attempt), Timer::Drain][chance.pick(3)]),
        19 => Event::Elapsed([Timer::Total, Timer::Repost][chance.pick(2)]),
        20 => Event::Written,
        21 => {
            let (_, _, status, body) = ANSWERS[chance.pick(ANSWERS.len())];
            Event::Paid { status, body: body.as_bytes().to_vec() }
        }
        _ => [Event::Gone, Event::Posted][chance.pick(2)].clone(),
    }
}

/// An event's name in the table.
pub fn name(event: &Event) -> &'static str {
    match event {
        Event::Held(_) => "Held",
        Event::Refused(_) => "Refused",
        Event::Unreachable => "Unreachable",
        Event::Head { .. } => "Head",
        Event::Bytes { .. } => "Bytes",
        Event::Whole { .. } => "Whole",
        Event::End { .. } => "End",
        Event::Broke { .. } => "Broke",
        Event::Piped { .. } => "Piped",
        Event::Elapsed(_) => "Elapsed",
        Event::Written => "Written",
        Event::Gone => "Gone",
        Event::Posted => "Posted",
        Event::Paid { .. } => "Paid",
    }
}

/// The attempt an event speaks of.
fn attempt_of(event: &Event) -> Option<usize> {
    match event {
        Event::Head { attempt, .. }
        | Event::Bytes { attempt, .. }
        | Event::Whole { attempt, .. }
        | Event::End { attempt }
        | Event::Broke { attempt }
        | Event::Piped { attempt, .. }
        | Event::Elapsed(Timer::Head(attempt) | Timer::FirstToken(attempt) | Timer::Stall(attempt)) => Some(*attempt),
        _ => None,
    }
}

fn brief(event: &Event) -> String {
    match event {
        Event::Bytes { attempt, bytes } | Event::Whole { attempt, bytes } => {
            format!("{} {attempt} ({:?})", name(event), String::from_utf8_lossy(bytes))
        }
        Event::Piped { attempt, bytes, end } => {
            format!("Piped {attempt} {end:?} ({:?})", String::from_utf8_lossy(bytes))
        }
        other => format!("{other:?}"),
    }
}
