//! The object's alarm as the platform rings it: late, twice, again after a throw and then no more; and the journal that its
//! handler writes to.
use super::{Step, World};

/// The platform tries a failed alarm again after 2 s, 4 s, … and then no more.
const ALARM_TRIES: u32 = 6;

/// Alarms that fail in one world, at most.
const FAILURES_MAX: u32 = 30;

impl World {
    /// Notices that the alarm was set.
    pub(super) fn rearmed(&mut self) {
        if self.object.alarm != self.alarm_at {
            self.alarm_at = self.object.alarm;
            self.alarm_set += 1;
            let Some(at) = self.alarm_at else { return };
            let late = if self.alarm_fails(self.weather.alarm) {
                self.seen.count("alarm late");
                self.chance.span(&[500, 60_000, 7_200_000])
            } else {
                0
            };
            let set = self.alarm_set;
            self.after(at.since(self.clock()) + late, Step::Alarm(set));
        }
    }

    /// The platform tries a failed alarm again, a few times. What the handler has set itself stays.
    pub(super) fn ring_again(&mut self) {
        self.failures += 1;
        if self.failures > ALARM_TRIES || self.chance.one_in(4) {
            self.seen.count("alarm given up");
            self.failures = 0;
            return self.rearmed();
        }
        let ms = 1_000 << self.failures;
        self.alarm_set += 1;
        self.alarm_at = Some(self.now.after(ms));
        self.object.alarm = self.alarm_at;
        let set = self.alarm_set;
        self.after(ms, Step::Alarm(set));
    }

    /// Some alarms do nothing but fail; each is heard some day.
    fn alarm_fails(&mut self, one_in: u64) -> bool {
        let fails = self.alarms_failed < FAILURES_MAX && self.chance.one_in(one_in);
        self.alarms_failed += u32::from(fails);
        fails
    }

    pub(super) fn alarm(&mut self, set: u32) -> Result<(), String> {
        if set != self.alarm_set {
            return Ok(());
        }
        if self.ringing.is_some() {
            // One handler at a time.
            self.after(50, Step::Alarm(set));
            return Ok(());
        }
        (self.object.alarm, self.alarm_at) = (None, None);
        let throws = self.alarm_fails(self.weather.alarm);
        if !self.object.ring(self.clock(), throws) {
            self.note(|| "the alarm throws".to_owned());
            self.seen.count("alarm thrown");
            self.books.restarted();
            self.object.arm(self.clock());
            self.ring_again();
            return Ok(());
        }
        self.books.expire(self.clock());
        self.note(|| "the alarm rings".to_owned());
        self.compare_some()?;
        self.handlers += 1;
        let handler = self.handlers;
        self.ringing = Some(handler);
        let due = self.object.due(self.clock());
        let down = self.chance.one_in(self.weather.journal_down);
        let ms = self.chance.span(&[5, 50, 9_000]);
        let commits = !down || self.chance.one_in(2);
        if commits {
            self.journal.append(&due, &self.books)?;
        }
        let through = match due.last() {
            None => Some(0),
            Some(_) if down => None,
            Some(last) => Some(last.seq),
        };
        if down && !due.is_empty() {
            self.seen.count(if commits { "journal commits and fails" } else { "journal down" });
        }
        self.after(ms, Step::Journaled { handler, through });
        Ok(())
    }

    pub(super) fn journaled(&mut self, handler: u32, through: Option<u64>) -> Result<(), String> {
        if self.ringing != Some(handler) {
            return Ok(());
        }
        self.ringing = None;
        let throws = self.alarm_fails(self.weather.alarm * 2);
        if !self.object.sent(through, self.clock(), throws) {
            self.note(|| "the alarm throws after the journal".to_owned());
            self.books.restarted();
            self.object.arm(self.clock());
            self.ring_again();
            return Ok(());
        }
        self.note(|| format!("the journal has {through:?}"));
        self.failures = 0;
        if let Some(through) = through.filter(|through| *through > 0) {
            self.books.journaled(through, self.clock());
        }
        self.object.arm(self.clock());
        self.rearmed();
        self.compare_some()?;
        if self.alarm_at.is_none() && self.alarm_fails(self.weather.alarm) {
            // An alarm that rings twice.
            self.seen.count("alarm twice");
            self.alarm_set += 1;
            let set = self.alarm_set;
            self.after(10, Step::Alarm(set));
        }
        Ok(())
    }
}
