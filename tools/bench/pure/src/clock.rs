//! Times small functions in turn, by the CPU time of this thread, and counts what they allocate.
use nix::time::{ClockId, clock_gettime};
use pure::Case;
use serde_json::{Value, json};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The system's allocator, counted: on a noisy machine counts stay true where times do not.
struct Counted;

static CALLS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counted = Counted;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Relaxed);
        BYTES.fetch_add(size.saturating_sub(layout.size()) as u64, Relaxed);
        unsafe { System.realloc(block, layout, size) }
    }
}

const ROUNDS: usize = 15;
/// How long one case runs in one round.
const TURN: Duration = Duration::from_millis(15);

/// Medians and quartiles in nanoseconds for one piece of work, over rounds in which each case has its turn.
pub fn measure(mut cases: Vec<Case>) -> Value {
    let runs: Vec<u32> = cases.iter_mut().map(runs_in_a_turn).collect();
    let mut times = vec![Vec::new(); cases.len()];
    let mut counts = vec![(0.0, 0.0); cases.len()];
    for _ in 0..ROUNDS {
        for (place, case) in cases.iter_mut().enumerate() {
            let (calls, bytes, begun) = (CALLS.load(Relaxed), BYTES.load(Relaxed), now());
            for _ in 0..runs[place] {
                (case.run)();
            }
            let pieces = f64::from(runs[place]) * f64::from(case.of);
            times[place].push((now() - begun).as_nanos() as f64 / pieces);
            let each = |counter: &AtomicU64, before| (counter.load(Relaxed) - before) as f64 / pieces;
            counts[place] = (each(&CALLS, calls), each(&BYTES, bytes));
        }
    }
    let rows = cases.iter().zip(times).zip(counts).map(|((case, mut ns), (allocations, bytes))| {
        ns.sort_by(f64::total_cmp);
        let [low, median, high] = [ROUNDS / 4, ROUNDS / 2, ROUNDS * 3 / 4].map(|place| ns[place]);
        json!({"name": case.name, "ns": median, "low": low, "high": high, "allocations": allocations, "bytes": bytes})
    });
    rows.collect()
}

/// What this thread has computed so far.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has it").into()
}

fn runs_in_a_turn(case: &mut Case) -> u32 {
    (case.run)();
    let mut runs = 1;
    loop {
        let begun = now();
        for _ in 0..runs {
            (case.run)();
        }
        if now() - begun >= TURN {
            return runs;
        }
        runs *= 2;
    }
}
