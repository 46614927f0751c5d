//! What a seed's world is like: how much fails in it, and when and where it begins.
use crate::chance::Chance;
use megarouter::time::{Millis, Zone};

const DAY_MS: u64 = 86_400_000;

/// How often things happen that must not matter: one in so many, never for 0.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// How badly providers behave, from 0 to 3.
    pub storm: u64,
    pub lost: u64,
    pub reply_lost: u64,
    pub slow: u64,
    pub twice: u64,
    pub throws: u64,
    pub restart: u64,
    pub death: u64,
    pub hang_up: u64,
    pub journal_down: u64,
    pub alarm: u64,
    /// How far the clocks of two machines are apart at most.
    pub skew_ms: u64,
    /// How long after a letter may still come, at most.
    pub late_ms: u64,
}

pub const CALM: Weather = Weather {
    storm: 0,
    lost: 0,
    reply_lost: 0,
    slow: 0,
    twice: 0,
    throws: 0,
    restart: 0,
    death: 0,
    hang_up: 0,
    journal_down: 0,
    alarm: 0,
    late_ms: 1,
    skew_ms: 0,
};

pub fn weather(chance: &mut Chance) -> Weather {
    if chance.one_in(8) {
        return CALM;
    }
    let mut often = |most: u64| if chance.one_in(3) { 0 } else { chance.between(3, most) };
    let (lost, reply_lost, slow, twice, throws) = (often(30), often(30), often(40), often(30), often(40));
    let (restart, death, hang_up, journal_down, alarm) = (often(4), often(12), often(12), often(12), often(20));
    let late_ms = *chance.of(&[2_000, 30_000, 300_000, 900_000, 2 * DAY_MS]);
    // Now and then every alarm fails: what is left is the watchdog, and the letters themselves.
    let alarm = if chance.one_in(40) { 1 } else { alarm };
    let skew_ms = *chance.of(&[0, 0, 2_000, 300_000]);
    let storm = chance.below(4);
    Weather {
        storm,
        lost,
        reply_lost,
        slow,
        twice,
        throws,
        restart,
        death,
        hang_up,
        journal_down,
        alarm,
        skew_ms,
        late_ms,
    }
}

/// Near the end of a day, a week, a month, a quarter or a year of the organisation's zone, or anywhere.
pub fn beginning(chance: &mut Chance) -> (Millis, Zone) {
    let midnight =
        ["2026-11-25", "2026-11-30", "2026-12-01", "2027-01-01", "2027-01-04", "2028-03-01"].map(Millis::of_date);
    let midnight = chance.of(&midnight).expect("a date");
    let ahead = *chance.of(&[0_i64, 0, 60, -300, 345]);
    let local = Millis(midnight.0.saturating_add_signed(-ahead * 60_000));
    let begins = Millis(local.0 - chance.span(&[500, 2_000, 2_000, 20_000, 100_000, DAY_MS]));
    let zone = match ahead {
        0 => Zone(Vec::new()),
        // Its clocks are put back an hour at that very midnight: the day before has an hour more.
        60 if chance.one_in(2) => Zone(vec![(Millis(0), 60), (local, 0)]),
        _ => Zone(vec![(Millis(0), ahead)]),
    };
    (begins, zone)
}
