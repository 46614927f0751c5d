//! What provider and client have in common: a clock, and a time stamp inside every piece of content.
use nix::time::ClockId;

/// Stands before the stamp's digits, at the start of a JSON string.
pub const STAMP: &str = "\"@";
/// A stamp in hexadecimal.
pub const STAMP_DIGITS: usize = 16;

/// Nanoseconds of the machine's monotonic clock, the same in every process.
#[must_use]
pub fn now_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC)
}

/// Nanoseconds of a clock, 0 for one that is gone.
#[must_use]
pub fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock.now().map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec());
    u64::try_from(now).unwrap_or(0)
}
