//! What has ended: a message that comes again, or late, must not open it once more.
use crate::{id, time::Millis};
use std::collections::BTreeSet;

/// How long an id is kept after it was made. A letter takes seconds; a worker's clock may be as far behind as the rest.
const KEPT_MS: u64 = 60_000;
/// Ids kept over a checkpoint. Their rows are read when the object starts, a kilobyte or two each.
const KEPT_MAX: usize = 5_000;
/// Ids forgotten with one checkpoint: each is a row to delete.
const FORGOTTEN_AT_ONCE: usize = 1_000;

/// The ids that ended lately. Each has a row that is deleted when the id is forgotten.
#[derive(Debug, Default)]
pub(super) struct Ended {
    ids: BTreeSet<(Millis, String)>,
    /// The youngest that was forgotten before its time: what is as old as that opens nothing.
    forgotten: Millis,
}

impl Ended {
    /// As a checkpoint kept it.
    pub(super) fn since(forgotten: Millis) -> Self {
        Self { ids: BTreeSet::new(), forgotten }
    }

    pub(super) fn forgotten(&self) -> Millis {
        self.forgotten
    }

    pub(super) fn has(&self, id: &str) -> bool {
        let at = made_at(id);
        let mut same_time = self.ids.range((at, String::new())..).take_while(|(made, _)| *made == at);
        same_time.any(|(_, ended)| ended == id)
    }

    /// Whether an id may still begin something: it did not end, and nothing as young was forgotten.
    pub(super) fn may_begin(&self, id: &str) -> bool {
        made_at(id) > self.forgotten && !self.has(id)
    }

    /// Takes an id in, if that is still of use.
    pub(super) fn insert(&mut self, id: &str) -> bool {
        let at = made_at(id);
        let kept = at > self.forgotten;
        if kept {
            self.ids.insert((at, id.to_owned()));
        }
        kept
    }

    /// Takes an id in of which there is a row.
    pub(super) fn restore(&mut self, id: String) {
        self.ids.insert((made_at(&id), id));
    }

    /// Whether a checkpoint is due only to forget.
    pub(super) fn is_full(&self) -> bool {
        self.ids.len() >= KEPT_MAX + FORGOTTEN_AT_ONCE
    }

    /// Forgets the oldest ids, those whose time is over and those that are too many. What it returns has to be deleted, and
    /// [`Ended::forgotten`] kept, in the same turn.
    pub(super) fn forget(&mut self, now: Millis) -> Vec<String> {
        let mut gone = Vec::new();
        while gone.len() < FORGOTTEN_AT_ONCE
            && let Some((at, _)) = self.ids.first()
            && (now.since(*at) >= KEPT_MS || self.ids.len() > KEPT_MAX)
            && let Some((at, id)) = self.ids.pop_first()
        {
            self.forgotten = self.forgotten.max(at);
            gone.push(id);
        }
        gone
    }
}

/// What is no id of ours is as old as can be.
fn made_at(id: &str) -> Millis {
    id::made_at(id).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_795_562_448_000);

    fn req(at: Millis, chance: u128) -> String {
        id::mint("req", at, chance)
    }

    #[test]
    fn an_id_that_ended_begins_nothing_whether_kept_or_forgotten() {
        let mut ended = Ended::default();
        let (one, same_time, younger) = (req(NOW, 1), req(NOW, 2), req(NOW.after(1), 3));
        assert!(ended.may_begin(&one) && ended.insert(&one));
        assert!(!ended.may_begin(&one) && ended.may_begin(&same_time));
        assert!(!ended.may_begin("req_1") && !ended.insert("req_1"), "no id of ours");
        assert_eq!(ended.forget(NOW.after(KEPT_MS - 1)), [""; 0]);
        assert_eq!(ended.forget(NOW.after(KEPT_MS)), std::slice::from_ref(&one));
        let mut restarted = Ended::since(ended.forgotten());
        for ended in [&mut ended, &mut restarted] {
            assert!(!ended.may_begin(&one) && !ended.insert(&one), "it is not kept again");
            assert!(!ended.may_begin(&same_time) && ended.may_begin(&younger));
        }
    }

    #[test]
    fn of_too_many_the_oldest_are_forgotten() {
        let mut ended = Ended::default();
        let ids: Vec<String> = (0..(KEPT_MAX + FORGOTTEN_AT_ONCE) as u64).map(|ms| req(NOW.after(ms), 0)).collect();
        for id in &ids {
            assert!(!ended.is_full() && ended.insert(id));
        }
        assert!(ended.is_full());
        assert_eq!(ended.forget(NOW), ids[..FORGOTTEN_AT_ONCE]);
        assert_eq!(ended.forget(NOW), [""; 0]);
        assert!(!ended.may_begin(&ids[0]) && !ended.may_begin(&req(NOW, 7)) && ended.has(&ids[FORGOTTEN_AT_ONCE]));
    }
}
