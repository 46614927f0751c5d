//! Budgets: what may still be spent by each layer of a path in each window, and the wallet they draw from.
//!
//! Invariant: at the moment a hold is made, posted + held + hold is within every hard limit on its path and within the
//! wallet's credits. Holds are never part of what is posted. A window is named, not reset: a counter of another name than
//! today's simply counts no more.
use crate::{
    id::Scope,
    json,
    money::Nanos,
    table::Table,
    time::{Millis, Window, Zone},
};
use serde::Serialize;

/// A session's counter is forgotten when this long nothing was counted there.
const SESSION_IDLE_MS: u64 = 86_400_000;
/// How far the clocks of two machines may be apart.
const CLOCKS_DIFFER_MS: u64 = 600_000;
/// Sessions that may be counted at once.
pub const SESSIONS_MAX: usize = 10_000;

/// What a budget does when it is spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    #[default]
    Hard,
    /// Counts, stops nothing.
    Soft,
}

json::words!(Enforcement { Hard = "hard", Soft = "soft" });

/// A limit as an admin puts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    pub limit_usd: Nanos,
    pub mode: Enforcement,
    /// Percentages that alert, each once in a window.
    pub thresholds: Vec<u8>,
}

json::members!(strict Limit { limit_usd, mode = Enforcement::Hard, thresholds = vec![50, 80, 90, 100] });

/// What is added to a limit for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Extra {
    pub extra_usd: Nanos,
    pub until: Millis,
}

json::members!(Extra { extra_usd, until });

/// A limit in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub limit: Limit,
    pub extra: Option<Extra>,
}

impl Budget {
    /// What may be spent at a moment.
    #[must_use]
    pub fn ceiling(&self, at: Millis) -> Nanos {
        let extra = self.extra.filter(|extra| at < extra.until).map_or(Nanos::ZERO, |extra| extra.extra_usd);
        self.limit.limit_usd.plus(extra)
    }
}

/// Where and when money is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The narrowest scope first.
    pub path: &'a [Scope],
    /// The caller's name for what belongs together; empty for none.
    pub session: &'a str,
    pub at: Millis,
    /// The organisation's.
    pub zone: &'a Zone,
}

impl Place<'_> {
    /// The name of the window that counts here; `None` where there is none.
    pub fn window_id(&self, window: Window) -> Option<String> {
        match window {
            Window::Session => (!self.session.is_empty()).then(|| self.session.to_owned()),
            calendar => Some(calendar.id(self.at, self.zone)),
        }
    }

    pub fn resets_at(&self, window: Window) -> Option<String> {
        window.ends(self.at, self.zone).map(Millis::rfc3339)
    }
}

/// The window of a budget that a hold was counted in; its posting goes there too, even after the window ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Counted {
    pub scope: Scope,
    pub window: Window,
    pub window_id: String,
}

json::members!(Counted { scope, window, window_id });

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counter {
    posted: Nanos,
    held: Nanos,
    /// When something was last counted.
    at: Millis,
    /// Not as the last checkpoint has it.
    changed: bool,
}

/// A counter as it is kept in the checkpoint: held sums are made again from the holds themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Posted {
    pub counted: Counted,
    pub posted: Nanos,
    /// When something was last counted there.
    #[serde(skip_serializing_if = "Millis::is_zero")]
    pub at: Millis,
}

json::members!(Posted { counted, posted, at = Millis(0) });

/// What has to be kept of the counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// All of the calendar.
    pub counters: Vec<Posted>,
    /// The sessions that changed; `None` for one that is forgotten.
    pub sessions: Vec<(Counted, Option<Posted>)>,
}

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
    /// What admins call it.
    pub scope_name: String,
    pub window: Window,
    pub limit_usd: Nanos,
    pub posted_usd: Nanos,
    pub held_usd: Nanos,
    pub estimate_usd: Nanos,
    pub resets_at: Option<String>,
}

json::members!(Blocked {
    scope, scope_name = String::new(), window, limit_usd, posted_usd, held_usd, estimate_usd, resets_at,
});

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

    /// What is left when nothing is in flight.
    #[must_use]
    pub fn left(&self) -> Nanos {
        self.limit_usd.minus(self.posted_usd)
    }
}

/// All limits of an account and what counts against them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budgets {
    limits: Table<(Scope, Window), Budget>,
    counters: Table<Counted, Counter>,
}

impl Budgets {
    /// Sets a limit. What was spent in its window so far is kept.
    pub fn put(&mut self, scope: Scope, window: Window, budget: Budget) {
        self.limits.insert((scope, window), budget);
    }

    /// Removes a limit; `false` if there was none. Its counters stay while holds that were counted there are open.
    pub fn remove(&mut self, scope: &Scope, window: Window) -> bool {
        let was_there = self.limits.remove(&(scope.clone(), window)).is_some();
        let here = |at: &Counted| was_there && at.scope == *scope && at.window == window;
        for (at, counter) in self.counters.iter_mut().filter(|(at, _)| here(at)) {
            // What another limit counts begins with it.
            (counter.posted, counter.changed) = (Nanos::ZERO, at.window == Window::Session);
        }
        was_there
    }

    #[must_use]
    pub fn budget(&self, scope: &Scope, window: Window) -> Option<&Budget> {
        self.limits.get(&(scope.clone(), window))
    }

    /// What is posted in a window.
    #[must_use]
    pub fn posted(&self, counted: &Counted) -> Nanos {
        self.counts(counted).0
    }

    /// What a limit's window holds now.
    #[must_use]
    pub fn state(&self, scope: &Scope, window: Window, place: Place<'_>) -> BudgetState {
        let counted = Counted { scope: scope.clone(), window, window_id: place.window_id(window).unwrap_or_default() };
        let (posted_usd, held_usd) = self.counts(&counted);
        BudgetState { window_id: counted.window_id, posted_usd, held_usd, resets_at: place.resets_at(window) }
    }

    fn counts(&self, counted: &Counted) -> (Nanos, Nanos) {
        let counter = self.counters.get(counted);
        counter.map_or((Nanos::ZERO, Nanos::ZERO), |counter| (counter.posted, counter.held))
    }

    /// What every hard limit of these windows leaves at a moment. Below 0 where a limit was lowered.
    #[must_use]
    pub fn room(&self, counted: &[Counted], at: Millis) -> Nanos {
        let left = self.hard(counted, at).map(|(counted, ceiling)| {
            let (posted, held) = self.counts(counted);
            ceiling.minus(posted).minus(held)
        });
        left.min().unwrap_or(Nanos(crate::money::NANOS_MAX))
    }

    /// The hard limit that does not let an amount pass, and the narrowest if there are several; one that would not let it
    /// pass without holds either comes before those that would.
    #[must_use]
    pub fn blocked(&self, counted: &[Counted], amount: Nanos, place: Place<'_>) -> Option<Box<Blocked>> {
        let mut found: Option<Box<Blocked>> = None;
        for (counted, limit_usd) in self.hard(counted, place.at) {
            let (posted_usd, held_usd) = self.counts(counted);
            if posted_usd.plus(held_usd).plus(amount) <= limit_usd {
                continue;
            }
            let blocked = Blocked {
                scope: counted.scope.clone(),
                scope_name: String::new(),
                window: counted.window,
                limit_usd,
                posted_usd,
                held_usd,
                estimate_usd: amount,
                resets_at: place.resets_at(counted.window),
            };
            if found.as_ref().is_none_or(|found| found.only_by_holds() && !blocked.only_by_holds()) {
                found = Some(Box::new(blocked));
            }
        }
        found
    }

    fn hard<'a>(&'a self, counted: &'a [Counted], at: Millis) -> impl Iterator<Item = (&'a Counted, Nanos)> + 'a {
        counted.iter().filter_map(move |counted| {
            let budget = self.budget(&counted.scope, counted.window)?;
            (budget.limit.mode == Enforcement::Hard).then(|| (counted, budget.ceiling(at)))
        })
    }

    /// The windows a hold counts in.
    #[must_use]
    pub fn counted(&self, place: Place<'_>) -> Vec<Counted> {
        self.on(place).map(|(counted, _)| counted).collect()
    }

    /// The limits of a place.
    pub fn on<'a>(&'a self, place: Place<'a>) -> impl Iterator<Item = (Counted, &'a Budget)> + 'a {
        place.path.iter().flat_map(move |scope| {
            Window::ALL.into_iter().filter_map(move |window| {
                let budget = self.budget(scope, window)?;
                let window_id = place.window_id(window)?;
                Some((Counted { scope: scope.clone(), window, window_id }, budget))
            })
        })
    }

    /// Whether a hold would begin to count a session although there are as many as there may be.
    #[must_use]
    pub fn is_full(&self, counted: &[Counted]) -> bool {
        let new = |at: &&Counted| at.window == Window::Session && !self.counters.contains_key(*at);
        counted.iter().any(|at| new(&at))
            && self.counters.iter().filter(|(at, _)| at.window == Window::Session).count() >= SESSIONS_MAX
    }

    /// Counts a new hold, or more of one.
    pub fn hold(&mut self, counted: &[Counted], amount: Nanos, at: Millis) {
        self.change(counted, Nanos::ZERO, amount, at);
    }

    /// Takes a hold back and counts what is posted in its place.
    pub fn post(&mut self, counted: &[Counted], held: Nanos, posted: Nanos, at: Millis) {
        self.change(counted, posted, Nanos(-held.0), at);
    }

    fn change(&mut self, counted: &[Counted], posted: Nanos, held: Nanos, at: Millis) {
        for key in counted {
            self.counters.change(key, |counter| {
                counter.posted = counter.posted.plus(posted);
                counter.held = counter.held.plus(held);
                counter.at = counter.at.max(at);
                counter.changed = true;
            });
        }
    }

    /// What a checkpoint has to keep. Counters that can count no more are forgotten.
    pub fn checkpoint(&mut self, at: Millis, zone: &Zone) -> Kept {
        let mut kept = Kept::default();
        // Machines' clocks differ by minutes, and the account may move to one that is behind: a window is kept a little longer.
        let lately = Millis(at.0.saturating_sub(CLOCKS_DIFFER_MS));
        let today = Place { path: &[], session: "", at: lately, zone };
        let limits = &self.limits;
        self.counters.retain(|counted, counter| {
            let session = counted.window == Window::Session;
            let current = if session {
                at.since(counter.at) < SESSION_IDLE_MS
            } else {
                // One that is yet to come was counted by a clock that was ahead: names of a kind are in the order of time.
                today.window_id(counted.window).is_some_and(|today| counted.window_id >= today)
            };
            let limited = limits.contains_key(&(counted.scope.clone(), counted.window));
            let empty = session && counter.posted == Nanos::ZERO;
            let stays = counter.held != Nanos::ZERO || limited && current && !empty;
            let row = || Posted { counted: counted.clone(), posted: counter.posted, at: counter.at };
            if session && (counter.changed || !stays) {
                kept.sessions.push((counted.clone(), stays.then(row)));
            } else if stays && !session {
                kept.counters.push(row());
            }
            counter.changed = false;
            stays
        });
        kept
    }

    /// Takes the counters of a checkpoint over.
    pub fn restore(&mut self, rows: &[Posted]) {
        for row in rows {
            self.change(std::slice::from_ref(&row.counted), row.posted, Nanos::ZERO, row.at);
            if let Some(counter) = self.counters.get_mut(&row.counted) {
                counter.changed = false;
            }
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

/// How often and how much at once. Absent for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RateLimits {
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Tokens per minute, prompt and output.
    pub tpm: Option<u64>,
    /// Calls in flight.
    pub concurrency: Option<u64>,
}

json::members!(strict default RateLimits { rpm, tpm, concurrency });

/// A rate as GCRA keeps it: one moment, the theoretical arrival time of the next unit.
/// <https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gcra {
    /// Nanoseconds since 1970, so that a unit of a large rate is not rounded away. They fit for five hundred years.
    arrival: u64,
}

const MINUTE_NS: u64 = 60_000_000_000;

impl Gcra {
    /// A rate whose next unit is due at that moment, in nanoseconds since 1970.
    #[must_use]
    pub fn at(arrival: u64) -> Self {
        Self { arrival }
    }

    /// When the next unit is due, if that is still to come.
    #[must_use]
    pub fn due(&self, now: Millis) -> Option<u64> {
        (self.arrival > nanoseconds(now)).then_some(self.arrival)
    }

    /// Takes `units` from a rate of `per_minute`, which may be spent in one burst.
    ///
    /// # Errors
    /// Whole seconds to wait, at least one.
    pub fn take(&mut self, units: u64, per_minute: u64, now: Millis) -> Result<(), u64> {
        let now = nanoseconds(now);
        let arrival = self.arrival.max(now).saturating_add(cost(units, per_minute));
        if arrival > now.saturating_add(MINUTE_NS) {
            return Err((arrival - now - MINUTE_NS).div_ceil(1_000_000_000).clamp(1, 60));
        }
        self.arrival = arrival;
        Ok(())
    }

    /// Takes units that were used already.
    pub fn spend(&mut self, units: u64, per_minute: u64, now: Millis) {
        if units > 0 {
            let now = nanoseconds(now);
            self.arrival =
                self.arrival.max(now).saturating_add(cost(units, per_minute)).min(now.saturating_add(MINUTE_NS));
        }
    }

    /// Gives unused units back.
    pub fn refund(&mut self, units: u64, per_minute: u64) {
        self.arrival = self.arrival.saturating_sub(cost(units, per_minute));
    }
}

/// A moment in nanoseconds since 1970.
fn nanoseconds(at: Millis) -> u64 {
    at.0.saturating_mul(1_000_000)
}

fn cost(units: u64, per_minute: u64) -> u64 {
    let nanoseconds = u128::from(MINUTE_NS) * u128::from(units) / u128::from(per_minute.max(1));
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_795_562_448_000);

    static UTC: Zone = Zone(Vec::new());

    fn put(budgets: &mut Budgets, scope: Scope, window: Window, usd: &str, mode: Enforcement) {
        let limit_usd = Nanos::parse_usd(usd).expect("an amount");
        let limit = Limit { limit_usd, mode, thresholds: Vec::new() };
        budgets.put(scope, window, Budget { limit, extra: None });
    }

    fn limited(usd: &str, mode: Enforcement) -> Budgets {
        let mut budgets = Budgets::default();
        put(&mut budgets, Scope::Organization, Window::Day, usd, mode);
        budgets
    }

    fn key() -> [Scope; 2] {
        [Scope::ApiKey("key_a".into()), Scope::Organization]
    }

    fn at(path: &[Scope], at: Millis) -> Place<'_> {
        Place { path, session: "", at, zone: &UTC }
    }

    #[test]
    fn a_limit_holds_to_the_nano() {
        let mut budgets = limited("1", Enforcement::Hard);
        let path = key();
        let place = at(&path, NOW);
        let counted = budgets.counted(place);
        budgets.hold(&counted, Nanos(600_000_000), NOW);
        assert_eq!(budgets.room(&counted, NOW), Nanos(400_000_000));
        assert!(budgets.blocked(&counted, Nanos(400_000_000), place).is_none());
        let blocked = budgets.blocked(&counted, Nanos(400_000_001), place).expect("one nano over");
        assert!(blocked.only_by_holds() && !blocked.never_fits());
        budgets.post(&counted, Nanos(600_000_000), Nanos(600_000_000), NOW);
        let blocked = budgets.blocked(&counted, Nanos(400_000_001), place).expect("one nano over");
        assert!(!blocked.only_by_holds());
        assert!(budgets.blocked(&counted, Nanos(1_000_000_001), place).expect("over").never_fits());
        assert!(limited("0", Enforcement::Soft).blocked(&counted, Nanos(5), place).is_none());
    }

    #[test]
    fn what_no_waiting_helps_is_told_first() {
        let mut budgets = limited("1", Enforcement::Hard);
        let path = key();
        let place = at(&path, NOW);
        put(&mut budgets, Scope::ApiKey("key_a".into()), Window::Day, "2", Enforcement::Hard);
        let counted = budgets.counted(place);
        budgets.hold(&counted, Nanos(900_000_000), NOW);
        let blocked = |amount| {
            budgets
                .blocked(&counted, Nanos(amount), place)
                .map(|blocked| (blocked.scope.word(), blocked.only_by_holds()))
        };
        assert_eq!(blocked(1_000_000_000), Some(("organization", true)));
        assert_eq!(blocked(1_500_000_000), Some(("organization", false)), "the key only waits for a hold");
        assert_eq!(blocked(2_500_000_000), Some(("api_key", false)), "both refuse: the narrowest is told");
    }

    #[test]
    fn a_posting_goes_to_the_window_of_its_hold() {
        let mut budgets = limited("1", Enforcement::Hard);
        let path = [Scope::Organization];
        let yesterday = budgets.counted(at(&path, NOW));
        budgets.hold(&yesterday, Nanos(10), NOW);
        let tomorrow = NOW.after(86_400_000);
        let today = budgets.counted(at(&path, tomorrow));
        budgets.hold(&today, Nanos(7), tomorrow);
        assert_eq!(budgets.checkpoint(tomorrow, &UTC).counters.len(), 2, "a hold keeps its window alive");
        budgets.post(&yesterday, Nanos(10), Nanos(10), tomorrow);
        let state = budgets.state(&Scope::Organization, Window::Day, at(&path, tomorrow));
        assert_eq!((state.posted_usd, state.held_usd), (Nanos(0), Nanos(7)), "never negative, never counted twice");
        assert_eq!(budgets.checkpoint(tomorrow, &UTC).counters.len(), 1, "yesterday is over");
    }

    #[test]
    fn a_limit_put_again_in_mid_flight_counts_nothing_twice() {
        let mut budgets = limited("1", Enforcement::Hard);
        let path = [Scope::Organization];
        let place = at(&path, NOW);
        let counted = budgets.counted(place);
        budgets.hold(&counted, Nanos(10), NOW);
        assert!(budgets.remove(&Scope::Organization, Window::Day));
        put(&mut budgets, Scope::Organization, Window::Day, "0.000000005", Enforcement::Hard);
        budgets.post(&counted, Nanos(10), Nanos(3), NOW);
        let state = budgets.state(&Scope::Organization, Window::Day, place);
        assert_eq!((state.posted_usd, state.held_usd), (Nanos(3), Nanos(0)));
        assert!(budgets.blocked(&counted, Nanos(3), place).is_some());
    }

    #[test]
    fn an_override_ends_by_itself() {
        let mut budgets = limited("1", Enforcement::Hard);
        let path = [Scope::Organization];
        let limit = budgets.budget(&Scope::Organization, Window::Day).expect("put").limit.clone();
        let extra = Extra { extra_usd: Nanos(500_000_000), until: NOW.after(1_000) };
        budgets.put(Scope::Organization, Window::Day, Budget { limit, extra: Some(extra) });
        let counted = budgets.counted(at(&path, NOW));
        assert_eq!(budgets.room(&counted, NOW), Nanos(1_500_000_000));
        assert_eq!(budgets.room(&counted, NOW.after(1_000)), Nanos(1_000_000_000));
    }

    #[test]
    fn a_session_is_counted_by_its_name_and_forgotten_when_idle() {
        let mut budgets = Budgets::default();
        let path = key();
        put(&mut budgets, Scope::ApiKey("key_a".into()), Window::Session, "1", Enforcement::Hard);
        let of = |session, at| Place { path: &path, session, at, zone: &UTC };
        let counted = budgets.counted(of("s1", NOW));
        budgets.hold(&counted, Nanos(1_000_000_000), NOW);
        budgets.post(&counted, Nanos(1_000_000_000), Nanos(1_000_000_000), NOW);
        let room = |session, at| room_at(&budgets, of(session, at));
        assert_eq!((room("s1", NOW), room("s2", NOW)), (Nanos(0), Nanos(1_000_000_000)));
        assert!(budgets.counted(of("", NOW)).is_empty(), "no session, nothing to count");
        let kept = budgets.checkpoint(NOW, &UTC);
        assert!(
            kept.counters.is_empty()
                && matches!(kept.sessions.as_slice(), [(_, Some(row))] if row.posted == Nanos(1_000_000_000))
        );
        assert!(budgets.checkpoint(NOW, &UTC).sessions.is_empty(), "nothing changed");
        let later = NOW.after(SESSION_IDLE_MS);
        assert!(matches!(budgets.checkpoint(later, &UTC).sessions.as_slice(), [(_, None)]));
        assert_eq!(room_at(&budgets, of("s1", later)), Nanos(1_000_000_000));
    }

    fn room_at(budgets: &Budgets, place: Place<'_>) -> Nanos {
        budgets.room(&budgets.counted(place), place.at)
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
