//! How much of two providers' failures their callers see: bursts of errors, circuits that open, fallback and rescue, in virtual time.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "exchange/stage.rs"]
mod stage;

use megarouter::{
    exchange::{
        Exchange,
        event::{Effect, Event, Timer},
    },
    health::Health,
    id::Dice,
    time::Millis,
    world::World,
};
use stage::{CHAT, JSON, MORNING, SSE, bytes, chat, head, held, whole, world};
use std::rc::Rc;

/// Five requests a second.
const EVERY_MS: u64 = 200;
/// While nobody is in a burst, one request stands for so many.
const CALM_STRIDE: u64 = 20;
/// A burst of errors lasts so long on average; nine of ten calls fail in it, two of a thousand outside.
const BURST_MS: f64 = 120_000.0;
const ERRORS_IN_BURST: f64 = 0.9;
const ERRORS_OUTSIDE: f64 = 0.002;

/// What comes and goes in bursts, for this share of the time.
struct Bursts {
    share: f64,
    in_burst: bool,
    until: f64,
    /// How many there were.
    seen: u32,
}

impl Bursts {
    fn new(share: f64) -> Self {
        Self { share, in_burst: true, until: if share > 0.0 { 0.0 } else { f64::INFINITY }, seen: 0 }
    }

    fn at(&mut self, now: f64, dice: &mut Dice) -> bool {
        while self.until <= now {
            self.in_burst = !self.in_burst;
            self.seen += u32::from(self.in_burst);
            let mean = if self.in_burst { BURST_MS } else { BURST_MS * (1.0 - self.share) / self.share };
            self.until += -mean * (1.0 - dice.share()).ln();
        }
        self.in_burst && self.share > 0.0
    }
}

/// Whether a call fails, and how: before the first byte, or one in twenty in the middle.
#[derive(Clone, Copy, PartialEq)]
enum Call {
    Good,
    Refused,
    Cut,
}

fn call(in_burst: bool, dice: &mut Dice) -> Call {
    let failed = dice.share() < if in_burst { ERRORS_IN_BURST } else { ERRORS_OUTSIDE };
    match failed {
        false => Call::Good,
        true if dice.share() < 0.05 => Call::Cut,
        true => Call::Refused,
    }
}

/// One streamed request; whether its caller got a whole answer.
fn request(now: Millis, health: &mut Health, down: [bool; 2], shared: &World, dice: &mut Dice) -> bool {
    let world = World { health: Rc::new(health.clone()), ..shared.clone() };
    let (mut exchange, first) = Exchange::open(chat(&["alpha", "beta"]).streamed().inbound(), world, now, dice.roll());
    let (mut effects, mut waiting, mut text) = (first, Vec::new(), Vec::new());
    loop {
        for effect in std::mem::take(&mut effects) {
            match effect {
                Effect::Hold(_) | Effect::Extend(_) => waiting.push(held(&[0, 1])),
                Effect::Send { attempt, call: sent } => {
                    let provider = usize::from(sent.url.starts_with("https://beta."));
                    waiting.extend(match call(down[provider], dice) {
                        Call::Good => vec![head(attempt, 200, SSE), bytes(attempt, CHAT.all())],
                        Call::Refused => vec![head(attempt, 503, JSON), whole(attempt, "{}")],
                        Call::Cut => {
                            let begun = [CHAT.opening, CHAT.hello].concat();
                            vec![head(attempt, 200, SSE), bytes(attempt, begun), Event::End { attempt }]
                        }
                    });
                }
                Effect::Wait { timer: timer @ Timer::Retry(_), .. } => waiting.push(Event::Elapsed(timer)),
                Effect::Chunk(more) => text.extend(more),
                Effect::Note(sample) => health.observe(&sample),
                Effect::Post { .. } => waiting.push(Event::Posted),
                _ => {}
            }
        }
        if waiting.is_empty() {
            return String::from_utf8_lossy(&text).contains("data: [DONE]");
        }
        effects = exchange.on(waiting.remove(0), now);
    }
}

/// The share of requests that callers see answered, of providers that are each this available. Of `shared` of their bursts they
/// suffer together.
fn seen(availability: f64, shared_bursts: f64, requests: u64) -> (f64, u32) {
    let mut dice = Dice::new(11);
    let bursts = (1.0 - availability - ERRORS_OUTSIDE) / (ERRORS_IN_BURST - ERRORS_OUTSIDE);
    let own = || Bursts::new(bursts * (1.0 - shared_bursts));
    let (mut alpha, mut beta, mut both) = (own(), own(), Bursts::new(bursts * shared_bursts));
    let (mut health, shared) = (Health::default(), world());
    let (mut number, mut answered) = (0, 0);
    while number < requests {
        let at = number * EVERY_MS;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of some days")]
        let now = at as f64;
        let together = both.at(now, &mut dice);
        let down = [alpha.at(now, &mut dice) || together, beta.at(now, &mut dice) || together];
        let quiet = alpha.until.min(beta.until).min(both.until);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of some days")]
        let calm = down == [false, false] && quiet > now + (CALM_STRIDE * EVERY_MS) as f64;
        let stands_for = if calm { CALM_STRIDE } else { 1 };
        answered += stands_for * u64::from(request(MORNING.after(at), &mut health, down, &shared, &mut dice));
        number += stands_for;
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let share = answered as f64 / number as f64;
    (share, alpha.seen + beta.seen + both.seen)
}

#[test]
fn two_providers_at_99_percent_are_seen_as_more_than_99_95() {
    let (share, bursts) = seen(0.99, 0.0, 400_000);
    assert!(share >= 0.9995 && bursts >= 8, "{share} in {bursts} bursts");
    assert!(seen(0.5, 1.0, 2_000).0 < 0.9, "what fails together is seen");
}

/// For `make bench`: a line of JSON for each setting, of which only the first has a goal.
#[test]
#[ignore = "prints figures"]
fn figures() {
    std::thread::scope(|scope| {
        let settings = [(0.99, 0.0), (0.99, 0.05), (0.99, 0.1)];
        let runs = settings.map(|(each, shared)| (each, shared, scope.spawn(move || seen(each, shared, 16_000_000))));
        for (each, shared, run) in runs {
            let (seen, bursts) = run.join().expect("it ran");
            println!("{}", serde_json::json!({"each": each, "shared": shared, "seen": seen, "bursts": bursts}));
        }
    });
}
