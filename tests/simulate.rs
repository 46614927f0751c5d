//! The money of an account under everything that can go wrong, as a function of a seed: one account, many calls at once,
//! providers, callers, letters, storage, alarms and a journal that fail in every way they are known to, in virtual time.
//! Books of our own are kept beside it and compared after every step. See `make simulate`.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]
#[path = "simulate/admission.rs"]
mod admission;
#[path = "simulate/books.rs"]
mod books;
#[path = "simulate/buckets.rs"]
mod buckets;
#[path = "simulate/chance.rs"]
mod chance;
#[path = "simulate/client.rs"]
mod client;
#[path = "simulate/desk.rs"]
mod desk;
#[path = "simulate/isolate.rs"]
mod isolate;
#[path = "simulate/journal.rs"]
mod journal;
#[path = "simulate/letters.rs"]
mod letters;
#[path = "simulate/object.rs"]
mod object;
#[path = "simulate/payers.rs"]
mod payers;
#[path = "simulate/provider.rs"]
mod provider;
#[path = "simulate/seen.rs"]
mod seen;
#[path = "simulate/weather.rs"]
mod weather;
#[path = "simulate/world.rs"]
mod world;

use seen::Seen;
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};
use world::Failure;

const SEEDS: u64 = 10_000;
/// Steps that are told of a seed that failed.
const STEPS_TOLD: usize = 80;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

#[test]
fn no_seed_breaks_a_promise() {
    play(world::run, (SEEDS, 2_000), Seen::missing);
}

#[test]
fn no_seed_breaks_a_promise_to_a_payer() {
    play(payers::run, (1_000, 1_000), payers::missing);
}

/// A world, by its seed.
type Run = fn(u64, bool) -> Result<Seen, Failure>;

/// Plays so many seeds; from `enough` on, they meet everything there is.
fn play(run: Run, (seeds, enough): (u64, u64), missing: fn(&Seen) -> Vec<&'static str>) {
    if let Some(seed) = number("SEED") {
        return replay(run, seed);
    }
    let (from, seeds) = (number("FROM").unwrap_or(0), number("SEEDS").unwrap_or(seeds));
    // ALL=1 goes on after a failure and tells how many seeds break which promise.
    let all = number("ALL").is_some();
    let (next, stop) = (AtomicU64::new(from), AtomicBool::new(false));
    let (broken, seen) = (Mutex::new(Broken::new()), Mutex::new(Seen::default()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                let mut own = Seen::default();
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        break;
                    }
                    match run(seed, false) {
                        Ok(one) => own.add(&one),
                        Err(Failure { why, .. }) => {
                            broken.lock().unwrap().entry(words(&why)).or_default().insert(seed);
                            stop.store(!all, Ordering::Relaxed);
                        }
                    }
                }
                seen.lock().unwrap().add(&own);
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    if all {
        for (why, seeds) in &broken {
            eprintln!("{} seeds, {:?}: {why}", seeds.len(), seeds.iter().take(5).collect::<Vec<_>>());
        }
    }
    if let Some(seed) = broken.values().flatten().min() {
        return replay(run, *seed);
    }
    let seen = seen.into_inner().unwrap();
    let missing = missing(&seen);
    assert!(seeds < enough || missing.is_empty(), "in {seeds} seeds there was no {missing:?}: {:?}", seen.0);
    eprintln!("{seeds} seeds: {:?}", seen.0);
}

/// The seeds that break a promise, by its words.
type Broken = BTreeMap<String, BTreeSet<u64>>;

/// A reason without its figures.
fn words(why: &str) -> String {
    why.split([':', '{', '[']).next().unwrap_or_default().replace(|c: char| c.is_ascii_digit(), "")
}

/// One seed, with what happened in it.
fn replay(run: Run, seed: u64) {
    if let Err(Failure { why, trace }) = run(seed, true) {
        let told = if env::var("SEED").is_ok() { 0 } else { trace.len().saturating_sub(STEPS_TOLD) };
        panic!("{}\nseed {seed}: {why}\nagain, and whole: make simulate SEED={seed}", trace[told..].join("\n"));
    }
}
