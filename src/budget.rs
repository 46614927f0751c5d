//! Budgets: what may still be spent by an organisation and a key in each window, and the wallet they draw from.
//!
//! Invariant: at the moment a hold is made, posted + held + hold is within every hard limit on its path and within the
//! wallet's credits. Holds are never part of what is posted. A window is named, not reset: a counter of another window id
//! than today's simply counts no more.
use crate::{
    id::Scope,
    json,
    money::Nanos,
    table::Table,
    time::{Millis, Window},
};
use serde::Serialize;

/// What a budget does when it is spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    #[default]
    Hard,
    /// Counts and warns, stops nothing.
    Soft,
}

json::words!(Enforcement { Hard = "hard", Soft = "soft" });

/// A limit as an admin puts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    pub limit_usd: Nanos,
    pub mode: Enforcement,
    /// Percentages that alert.
    pub thresholds: Vec<u8>,
}

json::members!(strict Limit { limit_usd, mode = Enforcement::Hard, thresholds = vec![50, 80, 90, 100] });

/// The window of a budget that a hold was counted in; its posting goes there too, even after the window ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    pub scope: Scope,
    pub window: Window,
    pub window_id: String,
}

json::members!(Counted { scope, window, window_id });

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counter {
    window_id: String,
    posted: Nanos,
    held: Nanos,
}

/// A counter as it is kept in the checkpoint: held sums are made again from the holds themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Posted {
    pub counted: Counted,
    pub posted: Nanos,
}

json::members!(Posted { counted, posted });

/// The state that a budget shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetState {
    pub window_id: String,
    pub posted_usd: Nanos,
    pub held_usd: Nanos,
    pub resets_at: Option<String>,
}

json::members!(BudgetState { window_id, posted_usd, held_usd, resets_at });

/// Which limit does not let an amount pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blocked {
    pub scope: Scope,
    pub window: Window,
    pub limit_usd: Nanos,
    pub posted_usd: Nanos,
    pub held_usd: Nanos,
    pub estimate_usd: Nanos,
    pub resets_at: Option<String>,
}

json::members!(Blocked { scope, window, limit_usd, posted_usd, held_usd, estimate_usd, resets_at });

impl Blocked {
    /// It would pass if nothing else were in flight.
    #[must_use]
    pub fn only_by_holds(&self) -> bool {
        self.posted_usd.plus(self.estimate_usd) <= self.limit_usd
    }

    /// It would not pass in an untouched window either.
    #[must_use]
    pub fn never_fits(&self) -> bool {
        self.estimate_usd > self.limit_usd
    }
}

/// All limits of an account and what counts against them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budgets {
    limits: Table<(Scope, Window), Limit>,
    counters: Table<(Scope, Window), Counter>,
}

impl Budgets {
    /// Sets a limit. What was spent in its window so far is kept.
    pub fn put(&mut self, scope: Scope, window: Window, limit: Limit) {
        self.limits.insert((scope, window), limit);
    }

    /// Removes a limit; `false` if there was none. Its counter stays while holds that were counted there are open.
    pub fn remove(&mut self, scope: &Scope, window: Window) -> bool {
        let key = (scope.clone(), window);
        let was_there = self.limits.remove(&key).is_some();
        self.forget_idle(&key);
        was_there
    }

    fn forget_idle(&mut self, key: &(Scope, Window)) {
        let idle = self.counters.get(key).is_some_and(|counter| counter.held == Nanos::ZERO);
        if idle && !self.limits.contains_key(key) {
            self.counters.remove(key);
        }
    }

    #[must_use]
    pub fn limit(&self, scope: &Scope, window: Window) -> Option<&Limit> {
        self.limits.get(&(scope.clone(), window))
    }

    /// What a limit's window holds now.
    #[must_use]
    pub fn state(&self, scope: &Scope, window: Window, now: Millis) -> BudgetState {
        let window_id = window.id(now);
        let counter = self.counters.get(&(scope.clone(), window)).filter(|counter| counter.window_id == window_id);
        let (posted_usd, held_usd) =
            counter.map_or((Nanos::ZERO, Nanos::ZERO), |counter| (counter.posted, counter.held));
        BudgetState { window_id, posted_usd, held_usd, resets_at: window.ends(now).map(Millis::rfc3339) }
    }

    /// Checks an amount against every hard limit on a path, narrowest scope first in the answer.
    ///
    /// # Errors
    /// The first limit that does not let it pass.
    pub fn admit(&self, path: &[Scope], amount: Nanos, now: Millis) -> Result<(), Box<Blocked>> {
        for (scope, window, limit) in self.on(path) {
            if limit.mode == Enforcement::Soft {
                continue;
            }
            let state = self.state(scope, window, now);
            if state.posted_usd.plus(state.held_usd).plus(amount) > limit.limit_usd {
                return Err(Box::new(Blocked {
                    scope: scope.clone(),
                    window,
                    limit_usd: limit.limit_usd,
                    posted_usd: state.posted_usd,
                    held_usd: state.held_usd,
                    estimate_usd: amount,
                    resets_at: state.resets_at,
                }));
            }
        }
        Ok(())
    }

    /// The windows a hold on this path counts in.
    #[must_use]
    pub fn counted(&self, path: &[Scope], now: Millis) -> Vec<Counted> {
        let counted = |(scope, window, _): (&Scope, Window, &Limit)| Counted {
            scope: scope.clone(),
            window,
            window_id: window.id(now),
        };
        self.on(path).map(counted).collect()
    }

    fn on<'a>(&'a self, path: &'a [Scope]) -> impl Iterator<Item = (&'a Scope, Window, &'a Limit)> {
        path.iter().flat_map(move |scope| {
            Window::ALL.into_iter().filter_map(move |window| Some((scope, window, self.limit(scope, window)?)))
        })
    }

    /// Counts a new hold.
    pub fn hold(&mut self, counted: &[Counted], amount: Nanos) {
        self.change(counted, Nanos::ZERO, amount);
    }

    /// Takes a hold back and counts what is posted in its place.
    pub fn post(&mut self, counted: &[Counted], held: Nanos, posted: Nanos) {
        self.change(counted, posted, Nanos(-held.0));
        for Counted { scope, window, .. } in counted {
            self.forget_idle(&(scope.clone(), *window));
        }
    }

    fn change(&mut self, counted: &[Counted], posted: Nanos, held: Nanos) {
        for Counted { scope, window, window_id } in counted {
            let key = (scope.clone(), *window);
            self.counters.change(&key, |counter| {
                if counter.window_id < *window_id {
                    *counter = Counter { window_id: window_id.clone(), ..Counter::default() };
                }
                if counter.window_id == *window_id {
                    counter.posted = counter.posted.plus(posted);
                    counter.held = counter.held.plus(held);
                }
            });
        }
    }

    /// The counters for a checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> Vec<Posted> {
        let posted = |((scope, window), counter): (&(Scope, Window), &Counter)| Posted {
            counted: Counted { scope: scope.clone(), window: *window, window_id: counter.window_id.clone() },
            posted: counter.posted,
        };
        let counts = |(key, counter): &(&(Scope, Window), &Counter)| {
            self.limits.contains_key(*key) || counter.held != Nanos::ZERO
        };
        self.counters.iter().filter(counts).map(posted).collect()
    }

    /// Takes the counters of a checkpoint over; limits are put before.
    pub fn restore(&mut self, rows: &[Posted]) {
        for row in rows {
            self.change(std::slice::from_ref(&row.counted), row.posted, Nanos::ZERO);
        }
    }
}

/// The money of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Wallet {
    pub credits: Nanos,
    pub posted: Nanos,
    #[serde(skip)]
    pub held: Nanos,
}

json::members!(Wallet { credits, posted } beside { held: Nanos::ZERO });

impl Wallet {
    #[must_use]
    pub fn available(&self) -> Nanos {
        self.credits.minus(self.posted).minus(self.held)
    }
}

/// A rate as GCRA keeps it: one moment, the theoretical arrival time of the next unit.
/// <https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gcra {
    /// Nanoseconds since 1970, so that a unit of a large rate is not rounded away.
    arrival: u128,
}

const MINUTE_NS: u128 = 60_000_000_000;

impl Gcra {
    /// Takes `units` from a rate of `per_minute`, which may be spent in one burst.
    ///
    /// # Errors
    /// Whole seconds to wait, at least one.
    pub fn take(&mut self, units: u64, per_minute: u64, now: Millis) -> Result<(), u64> {
        let now = u128::from(now.0) * 1_000_000;
        let cost = MINUTE_NS * u128::from(units) / u128::from(per_minute.max(1));
        let arrival = self.arrival.max(now) + cost;
        if arrival > now + MINUTE_NS {
            let wait = (arrival - now - MINUTE_NS).div_ceil(1_000_000_000);
            return Err(u64::try_from(wait).unwrap_or(u64::MAX).clamp(1, 60));
        }
        self.arrival = arrival;
        Ok(())
    }

    /// Gives unused units back.
    pub fn refund(&mut self, units: u64, per_minute: u64) {
        self.arrival = self.arrival.saturating_sub(MINUTE_NS * u128::from(units) / u128::from(per_minute.max(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_795_562_448_000);

    fn limited(usd: &str, mode: Enforcement) -> Budgets {
        let mut budgets = Budgets::default();
        let limit_usd = Nanos::parse_usd(usd).expect("an amount");
        budgets.put(Scope::Organization, Window::Day, Limit { limit_usd, mode, thresholds: Vec::new() });
        budgets
    }

    #[test]
    fn a_limit_holds_to_the_nano() {
        let mut budgets = limited("1", Enforcement::Hard);
        let path = [Scope::ApiKey("key_a".into()), Scope::Organization];
        let counted = budgets.counted(&path, NOW);
        budgets.hold(&counted, Nanos(600_000_000));
        assert!(budgets.admit(&path, Nanos(400_000_000), NOW).is_ok());
        let blocked = budgets.admit(&path, Nanos(400_000_001), NOW).expect_err("one nano over");
        assert!(blocked.only_by_holds() && !blocked.never_fits());
        budgets.post(&counted, Nanos(600_000_000), Nanos(600_000_000));
        let blocked = budgets.admit(&path, Nanos(400_000_001), NOW).expect_err("one nano over");
        assert!(!blocked.only_by_holds());
        assert!(budgets.admit(&path, Nanos(1_000_000_001), NOW).expect_err("over").never_fits());
        assert!(limited("0", Enforcement::Soft).admit(&path, Nanos(5), NOW).is_ok());
    }

    #[test]
    fn a_posting_goes_to_the_window_of_its_hold() {
        let mut budgets = limited("1", Enforcement::Hard);
        let yesterday = budgets.counted(&[Scope::Organization], NOW);
        budgets.hold(&yesterday, Nanos(10));
        let tomorrow = NOW.after(86_400_000);
        let today = budgets.counted(&[Scope::Organization], tomorrow);
        budgets.hold(&today, Nanos(7));
        budgets.post(&yesterday, Nanos(10), Nanos(10));
        let state = budgets.state(&Scope::Organization, Window::Day, tomorrow);
        assert_eq!((state.posted_usd, state.held_usd), (Nanos(0), Nanos(7)), "never negative, never counted twice");
    }

    #[test]
    fn a_limit_put_again_in_mid_flight_counts_nothing_twice() {
        let mut budgets = limited("1", Enforcement::Hard);
        let counted = budgets.counted(&[Scope::Organization], NOW);
        budgets.hold(&counted, Nanos(10));
        assert!(budgets.remove(&Scope::Organization, Window::Day));
        let limit = Limit { limit_usd: Nanos(5), mode: Enforcement::Hard, thresholds: Vec::new() };
        budgets.put(Scope::Organization, Window::Day, limit);
        budgets.post(&counted, Nanos(10), Nanos(3));
        let state = budgets.state(&Scope::Organization, Window::Day, NOW);
        assert_eq!((state.posted_usd, state.held_usd), (Nanos(3), Nanos(0)));
        assert!(budgets.admit(&[Scope::Organization], Nanos(3), NOW).is_err());
    }

    #[test]
    fn gcra_lets_a_burst_pass_and_then_the_rate() {
        let mut rate = Gcra::default();
        for _ in 0..60 {
            assert_eq!(rate.take(1, 60, NOW), Ok(()));
        }
        assert_eq!(rate.take(1, 60, NOW), Err(1));
        assert_eq!(rate.take(1, 60, NOW.after(1_000)), Ok(()));
        rate.refund(1, 60);
        assert_eq!(rate.take(1, 60, NOW.after(1_000)), Ok(()));
    }
}
