//! Time as an argument: milliseconds since 1970 UTC, and the calendar windows of budgets. Nothing here reads a clock.
use crate::json;
use serde::Serialize;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

json::inside!(Millis);

const DAY_MS: u64 = 86_400_000;

impl Millis {
    /// This moment and `ms` more.
    #[must_use]
    pub fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; 0 if the clock went backwards.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The beginning of 1970: what stands where no moment was written down.
    #[must_use]
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde asks with")]
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// Whole seconds since 1970: the unit of OpenAI's `created`.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1_000
    }

    /// The minute of the day in UTC.
    #[must_use]
    pub fn minute_of_day(self) -> u64 {
        self.0 % DAY_MS / 60_000
    }

    /// Saturday or Sunday in UTC. The first day of 1970 was a Thursday.
    #[must_use]
    pub fn is_weekend(self) -> bool {
        (self.0 / DAY_MS + 3) % 7 >= 5
    }

    /// 00:00 UTC of a date like `2027-01-31`. `None` for what is no date from 1970 to 9999.
    #[must_use]
    pub fn of_date(text: &str) -> Option<Self> {
        let mut parts = text.split('-').map(|part| part.parse::<u64>().ok());
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        if text.len() != 10 || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day)
        {
            return None;
        }
        // Years begin in March, so that the leap day is their last:
        // https://howardhinnant.github.io/date_algorithms.html#days_from_civil
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
        // The thirty-first of a month that has thirty days would be another date.
        Some(Self(days * DAY_MS)).filter(|date| date.rfc3339().starts_with(text))
    }

    /// A moment in RFC 3339, like `2026-12-01T00:00:00Z` or `2026-12-01T01:00:00+01:00`. Fractions of a second are left out.
    #[must_use]
    pub fn of_rfc3339(text: &str) -> Option<Self> {
        let (date, rest) = text.split_once(['T', 't', ' '])?;
        let (clock, ahead) = if let Some(clock) = rest.strip_suffix(['Z', 'z']) {
            (clock, 0)
        } else {
            let (clock, offset) = rest.split_at_checked(rest.rfind(['+', '-'])?)?;
            let minutes = clock_seconds(offset.get(1..)?)? / 60;
            (clock, if offset.starts_with('-') { -minutes } else { minutes })
        };
        let clock = clock.split_once('.').map_or(clock, |(seconds, _)| seconds);
        let seconds = u64::try_from(clock_seconds(clock)?).ok()?;
        let local = Self::of_date(date)?.after(seconds * 1_000);
        Some(Self(local.0.checked_add_signed(-ahead * 60_000)?))
    }

    /// The same with milliseconds, like `2026-12-01T00:00:00.123Z`.
    #[must_use]
    pub fn rfc3339_ms(self) -> String {
        let told = self.rfc3339();
        format!("{}.{:03}Z", told.trim_end_matches('Z'), self.0 % 1_000)
    }

    /// A date of HTTP, `Wed, 25 Nov 2026 13:05:00 GMT`: the form of RFC 9110, section 5.6.7, that is sent today.
    #[must_use]
    pub fn of_http_date(text: &str) -> Option<Self> {
        const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
        let (_, date) = text.trim().split_once(", ")?;
        let mut parts = date.strip_suffix(" GMT")?.split(' ');
        let (day, month, year, clock) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let month = MONTHS.find(month).filter(|at| month.len() == 3 && at % 3 == 0)? / 3 + 1;
        let seconds = u64::try_from(clock_seconds(clock)?).ok()?;
        Some(Self::of_date(&format!("{year}-{month:02}-{day}"))?.after(seconds * 1_000))
    }

    /// RFC 3339 in UTC, to the second.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let date = Date::of_day(self.0 / DAY_MS);
        let second = self.0 % DAY_MS / 1_000;
        let (hour, minute) = (second / 3_600, second / 60 % 60);
        format!("{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{:02}Z", date.year, date.month, date.day, second % 60)
    }
}

/// Seconds since midnight of `hh:mm` or `hh:mm:ss`.
fn clock_seconds(text: &str) -> Option<i64> {
    let part = |part: &str| if part.len() == 2 { part.parse::<i64>().ok() } else { None };
    let parts: Option<Vec<i64>> = text.split(':').map(part).collect();
    match parts?.as_slice() {
        [hour @ 0..=23, minute @ 0..=59] => Some(hour * 3_600 + minute * 60),
        [hour @ 0..=23, minute @ 0..=59, second @ 0..=60] => Some(hour * 3_600 + minute * 60 + second),
        _ => None,
    }
}

/// A time zone: how many minutes its clocks are ahead of UTC, from which moment on, in order. An empty one is UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Zone(pub Vec<(Millis, i64)>);

json::inside!(Zone);

impl Zone {
    /// What the zone's clocks show at a moment, as if they were UTC's.
    fn local(&self, at: Millis) -> Millis {
        let minutes =
            self.0.iter().rev().find(|(from, _)| *from <= at).or(self.0.first()).map_or(0, |(_, ahead)| *ahead);
        Millis(at.0.saturating_add_signed(minutes.saturating_mul(60_000)))
    }

    /// The first moment after `at` when the zone's clocks show `local` or more.
    fn first_showing(&self, local: Millis, at: Millis) -> Millis {
        let starts = std::iter::once(at).chain(self.0.iter().map(|(from, _)| *from).filter(|from| *from > at));
        for start in starts {
            let missing = local.since(self.local(start));
            let end = self.0.iter().map(|(from, _)| *from).find(|from| *from > start);
            if end.is_none_or(|end| start.after(missing) < end) {
                return start.after(missing);
            }
        }
        local
    }
}

/// A budget's window: of the calendar in the organisation's time zone, its lifetime, or one session. Weeks begin on Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    Day,
    Week,
    Month,
    Quarter,
    Lifetime,
    /// What one session of a caller may spend, by the name it gives it.
    Session,
}

json::words!(Window {
    Day = "day", Week = "week", Month = "month", Quarter = "quarter", Lifetime = "lifetime", Session = "session",
});

impl Window {
    pub const ALL: [Self; 6] = [Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Lifetime, Self::Session];

    /// The word of the contract: `day`, `week`, …
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Lifetime => "lifetime",
            Self::Session => "session",
        }
    }

    /// The window of that word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.word() == word)
    }

    /// Names the window that holds `at`: `2026-11-22`, `2026-W47`, `2026-11`, `2026-Q4`, `life`. Sessions have names of their
    /// own; here theirs is empty.
    #[must_use]
    pub fn id(self, at: Millis, zone: &Zone) -> String {
        let day = zone.local(at).0 / DAY_MS;
        let date = Date::of_day(day);
        match self {
            Self::Day => format!("{:04}-{:02}-{:02}", date.year, date.month, date.day),
            Self::Week => {
                // ISO 8601: a week belongs to the year that holds its Thursday.
                let thursday = day + 3 - weekday(day);
                let year = Date::of_day(thursday).year;
                let first_day = Date { year, month: 1, day: 1 }.day_number();
                format!("{year:04}-W{:02}", (thursday - first_day) / 7 + 1)
            }
            Self::Month => format!("{:04}-{:02}", date.year, date.month),
            Self::Quarter => format!("{:04}-Q{}", date.year, (date.month - 1) / 3 + 1),
            Self::Lifetime => "life".to_owned(),
            Self::Session => String::new(),
        }
    }

    /// When the window that holds `at` ends; `None` for a lifetime and for a session.
    #[must_use]
    pub fn ends(self, at: Millis, zone: &Zone) -> Option<Millis> {
        let day = zone.local(at).0 / DAY_MS;
        let date = Date::of_day(day);
        let next = match self {
            Self::Day => day + 1,
            Self::Week => day + 7 - weekday(day),
            Self::Month => date.first_of_month_after(1),
            Self::Quarter => date.first_of_month_after(3 - (date.month - 1) % 3),
            Self::Lifetime | Self::Session => return None,
        };
        Some(zone.first_showing(Millis(next * DAY_MS), at))
    }
}

/// Days after Monday. 1970-01-01 was a Thursday.
fn weekday(day: u64) -> u64 {
    (day + 3) % 7
}

struct Date {
    year: u64,
    month: u64,
    day: u64,
}

impl Date {
    /// The date of a day number; the algorithm of <https://howardhinnant.github.io/date_algorithms.html>, for days since 1970.
    fn of_day(day: u64) -> Self {
        let z = day + 719_468;
        let era = z / 146_097;
        let doe = z % 146_097;
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let shifted = (5 * doy + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = yoe + era * 400 + u64::from(month <= 2);
        Self { year, month, day: doy - (153 * shifted + 2) / 5 + 1 }
    }

    fn day_number(&self) -> u64 {
        let year = self.year - u64::from(self.month <= 2);
        let era = year / 400;
        let yoe = year % 400;
        let shifted = if self.month > 2 { self.month - 3 } else { self.month + 9 };
        let doy = (153 * shifted + 2) / 5 + self.day - 1;
        era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
    }

    fn first_of_month_after(&self, months: u64) -> u64 {
        let index = self.year * 12 + self.month - 1 + months;
        Self { year: index / 12, month: index % 12 + 1, day: 1 }.day_number()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-24T23:20:48Z, a Tuesday.
    const TUESDAY: Millis = Millis(1_795_562_448_000);

    #[test]
    fn dates_of_http_are_read() {
        let read = |text| Millis::of_http_date(text).map(Millis::rfc3339);
        assert_eq!(read("Wed, 25 Nov 2026 13:05:09 GMT").as_deref(), Some("2026-11-25T13:05:09Z"));
        for wrong in
            ["", "12", "Wed, 25 Nov 2026 13:05:09", "Wed, 31 Nov 2026 13:05:09 GMT", "Wed, 25 anF 2026 13:05:09 GMT"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn dates_are_read_and_written_alike() {
        for date in ["1970-01-01", "2000-02-29", "2026-11-25", "2027-01-01", "2100-03-01"] {
            assert_eq!(Millis::of_date(date).map(Millis::rfc3339), Some(format!("{date}T00:00:00Z")));
        }
        for text in ["2026-13-01", "2026-1-1", "2026-11-25T00", "x", "", "1969-01-01", "2026-11-2é", "2026-02-31"] {
            assert_eq!(Millis::of_date(text), None, "{text}");
        }
        let weekend: Vec<bool> = (0..7).map(|day| TUESDAY.after(day * DAY_MS).is_weekend()).collect();
        assert_eq!(weekend, [false, false, false, false, true, true, false]);
        assert_eq!(TUESDAY.minute_of_day(), 23 * 60 + 20);
        for text in ["2026-11-24T23:20:48Z", "2026-11-25T00:20:48.5+01:00", "2026-11-24t20:50:48-02:30"] {
            assert_eq!(Millis::of_rfc3339(text), Some(TUESDAY), "{text}");
        }
        for text in [
            "2026-11-24",
            "2026-11-24T23:20:48",
            "2026-11-24T24:00Z",
            "2026-11-24T1:20Z",
            "Tx+",
            "1970-01-01T00:00+01:00",
        ] {
            assert_eq!(Millis::of_rfc3339(text), None, "{text}");
        }
    }

    static UTC: Zone = Zone(Vec::new());

    fn zone(changes: &[(&str, u64, i64)]) -> Zone {
        let change = |(date, hour, ahead): &(&str, u64, i64)| {
            (Millis::of_date(date).expect("a date").after(hour * 3_600_000), ahead * 60)
        };
        Zone(changes.iter().map(change).collect())
    }

    fn berlin() -> Zone {
        zone(&[("2026-10-25", 1, 1), ("2027-03-28", 1, 2), ("2027-10-31", 1, 1)])
    }

    fn santiago() -> Zone {
        zone(&[("2026-09-06", 4, -3), ("2027-04-04", 3, -4), ("2027-09-05", 4, -3)])
    }

    #[test]
    fn windows_have_ids_and_ends() {
        let told: Vec<String> = Window::ALL.iter().map(|w| w.id(TUESDAY, &UTC)).collect();
        assert_eq!(told, ["2026-11-24", "2026-W48", "2026-11", "2026-Q4", "life", ""]);
        let ends: Vec<Option<String>> =
            Window::ALL.iter().map(|w| w.ends(TUESDAY, &UTC).map(Millis::rfc3339)).collect();
        let midnight = |date: &str| Some(format!("{date}T00:00:00Z"));
        assert_eq!(
            ends,
            [
                midnight("2026-11-25"),
                midnight("2026-11-30"),
                midnight("2026-12-01"),
                midnight("2027-01-01"),
                None,
                None
            ]
        );
    }

    #[test]
    fn a_week_belongs_to_the_year_of_its_thursday() {
        // 2027-01-01 is a Friday: it lies in the last week of 2026.
        assert_eq!(Window::Week.id(Millis(1_798_761_600_000), &UTC), "2026-W53");
        assert_eq!(Window::Week.id(Millis(0), &UTC), "1970-W01");
    }

    #[test]
    fn a_window_ends_where_the_next_begins() {
        for zone in [UTC.clone(), berlin(), santiago()] {
            for window in [Window::Day, Window::Week, Window::Month, Window::Quarter] {
                let mut at = TUESDAY;
                for _ in 0..400 {
                    let end = window.ends(at, &zone).expect("it ends");
                    assert_eq!(window.id(Millis(end.0 - 1), &zone), window.id(at, &zone));
                    assert_ne!(window.id(end, &zone), window.id(at, &zone));
                    at = end;
                }
            }
        }
    }

    #[test]
    fn days_are_those_of_the_zone() {
        let told = |at: &str, zone: &Zone| {
            let at = Millis::of_rfc3339(at).expect("a moment");
            (Window::Day.id(at, zone), Window::Day.ends(at, zone).expect("it ends").rfc3339())
        };
        // Winter, the day that has 23 hours, the day that has 25.
        for (at, day, ends) in [
            ("2026-11-24 23:00Z", "2026-11-25", "2026-11-25T23:00:00Z"),
            ("2027-03-28 12:00Z", "2027-03-28", "2027-03-28T22:00:00Z"),
            ("2027-10-31 12:00Z", "2027-10-31", "2027-10-31T23:00:00Z"),
        ] {
            assert_eq!(told(at, &berlin()), (day.to_owned(), ends.to_owned()), "{at}");
        }
        // Midnight itself is left out: the day begins at one o'clock.
        assert_eq!(
            told("2027-09-04 12:00Z", &santiago()),
            ("2027-09-04".to_owned(), "2027-09-05T04:00:00Z".to_owned())
        );
        assert_eq!(
            told("2027-04-04 03:00Z", &santiago()),
            ("2027-04-03".to_owned(), "2027-04-04T04:00:00Z".to_owned())
        );
    }

    #[test]
    fn dates_are_told_to_the_second() {
        assert_eq!(TUESDAY.rfc3339(), "2026-11-24T23:20:48Z");
        assert_eq!(Millis(951_782_400_000).rfc3339(), "2000-02-29T00:00:00Z");
    }
}
