//! What has ended: a message that comes again, or late, must not open it once more.
use crate::{id, table::Queue, time::Millis};
use std::collections::HashSet;

/// How long an id is remembered after it ended: a letter takes seconds.
const KEPT_MS: u64 = 120_000;
/// Ids kept over a checkpoint. Their rows are read when the object starts, a kilobyte or two each.
const KEPT_MAX: usize = 5_000;
/// Ids forgotten with one checkpoint: each is a row to delete.
const FORGOTTEN_AT_ONCE: usize = 1_000;
/// An id that was made so long ago begins nothing. A worker's clock may be ten minutes off, as for windows.
const LATE_MS: u64 = 900_000;

/// The ids that ended lately, with the time. Each has a row that is deleted when the id is forgotten.
#[derive(Debug, Default)]
pub(super) struct Ended {
    ids: HashSet<String>,
    order: Queue<(Millis, String)>,
}

/// Whether an id is too old to begin anything; what is no id of ours is.
fn is_late(id: &str, now: Millis) -> bool {
    id::made_at(id).is_none_or(|at| now.since(at) >= LATE_MS)
}

impl Ended {
    /// Whether an id may still begin something.
    pub(super) fn may_begin(&self, id: &str, now: Millis) -> bool {
        !self.has(id) && !is_late(id, now)
    }

    fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    pub(super) fn insert(&mut self, id: String, at: Millis) {
        if self.ids.insert(id.clone()) {
            self.order.insert((at, id));
        }
    }

    /// Whether a checkpoint is due only to forget.
    pub(super) fn is_full(&self) -> bool {
        self.order.len() >= KEPT_MAX + FORGOTTEN_AT_ONCE
    }

    /// Forgets those whose time is over, and the oldest of too many. Their rows have to be deleted.
    pub(super) fn forget(&mut self, now: Millis) -> Vec<String> {
        let mut gone = Vec::new();
        while gone.len() < FORGOTTEN_AT_ONCE
            && let Some((at, _)) = self.order.first()
            && (now.since(*at) >= KEPT_MS || self.order.len() > KEPT_MAX)
            && let Some((_, id)) = self.order.take_first(|_| true)
        {
            self.ids.remove(&id);
            gone.push(id);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_795_562_448_000);

    #[test]
    fn an_id_is_kept_for_a_while_after_it_ended() {
        let mut ended = Ended::default();
        ended.insert("one".into(), NOW);
        ended.insert("one".into(), NOW.after(5));
        assert!(ended.has("one") && !ended.has("two"));
        assert_eq!(ended.forget(NOW.after(KEPT_MS - 1)), [""; 0]);
        assert_eq!(ended.forget(NOW.after(KEPT_MS)), ["one"]);
        assert!(!ended.has("one"));
    }

    #[test]
    fn of_too_many_the_first_to_end_are_forgotten() {
        let mut ended = Ended::default();
        for number in 0..(KEPT_MAX + FORGOTTEN_AT_ONCE) as u64 {
            assert!(!ended.is_full());
            ended.insert(number.to_string(), NOW.after(number));
        }
        assert!(ended.is_full());
        assert_eq!(ended.forget(NOW).len(), FORGOTTEN_AT_ONCE);
        assert_eq!(ended.forget(NOW), [""; 0]);
        assert!(!ended.has("999") && ended.has("1000"));
    }

    #[test]
    fn old_ids_and_strange_ones_begin_nothing() {
        let id = id::mint("req", NOW, 1);
        assert!(!is_late(&id, Millis(NOW.0 - 600_000)) && !is_late(&id, NOW.after(LATE_MS - 1)));
        assert!(is_late(&id, NOW.after(LATE_MS)) && is_late("req_1", NOW));
    }
}
