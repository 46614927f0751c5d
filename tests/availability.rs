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
/// A burst of errors lasts so long on average; nine of ten calls fail in it, two of a thousand outside.
const BURST_MS: f64 = 120_000.0;
const ERRORS_IN_BURST: f64 = 0.9;
const ERRORS_OUTSIDE: f64 = 0.002;

/// A provider that is well or in a burst, independently of all others but for a shared part.
struct Provider {
    in_burst: bool,
    until: f64,
}

impl Provider {
    fn at(&mut self, now: f64, availability: f64, dice: &mut Dice) -> bool {
        let share = (1.0 - availability - ERRORS_OUTSIDE) / (ERRORS_IN_BURST - ERRORS_OUTSIDE);
        if share <= 0.0 {
            return false;
        }
        while self.until <= now {
            self.in_burst = !self.in_burst;
            let mean = if self.in_burst { BURST_MS } else { BURST_MS * (1.0 - share) / share };
            self.until += -mean * (1.0 - dice.share()).ln();
        }
        self.in_burst
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
fn seen(availability: f64, shared_bursts: f64, requests: u64) -> f64 {
    let mut dice = Dice::new(11);
    let own = 1.0 - (1.0 - availability) * (1.0 - shared_bursts);
    let common = 1.0 - (1.0 - availability) * shared_bursts;
    let fresh = || Provider { in_burst: true, until: 0.0 };
    let (mut alpha, mut beta, mut both) = (fresh(), fresh(), fresh());
    let (mut health, shared, mut answered) = (Health::default(), world(), 0_u32);
    for number in 0..requests {
        let at = number * EVERY_MS;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of some days")]
        let now = at as f64;
        let together = shared_bursts > 0.0 && both.at(now, common, &mut dice);
        let down = [alpha.at(now, own, &mut dice) || together, beta.at(now, own, &mut dice) || together];
        answered += u32::from(request(MORNING.after(at), &mut health, down, &shared, &mut dice));
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let share = f64::from(answered) / requests as f64;
    share
}

#[test]
fn two_providers_at_99_percent_are_seen_as_more_than_99_95() {
    let share = seen(0.99, 0.0, 20_000);
    assert!(share >= 0.9995, "{share}");
    assert!(seen(0.5, 1.0, 2_000) < 0.9, "what fails together is seen");
}

/// `cargo test --release --test availability -- --ignored --nocapture`
#[test]
#[ignore = "prints figures"]
fn figures() {
    for shared in [0.0, 0.05, 0.1] {
        println!(
            "two at 99 %, {} % of downtime shared: {:.3} %",
            shared * 100.0,
            seen(0.99, shared, 2_000_000) * 100.0
        );
    }
}
