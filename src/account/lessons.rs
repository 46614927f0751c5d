//! What outcomes taught an account: kept one by one, and told to whoever decides requests, with the next hold.
use super::{
    Account, Row, Turn,
    letter::{Answer, Caller, Refusal},
    record,
};
use crate::{
    json,
    ledger::Comparison,
    quality::{
        case::Case,
        learner::{Learner, MODELS_MAX, Outcome},
        seen::Seen,
    },
    time::Millis,
};
use serde::Serialize;
use std::collections::VecDeque;

/// How models did on a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lesson {
    /// When the account heard of it.
    pub at: Millis,
    /// The request, as [`Case::to_text`] writes it.
    pub case: String,
    pub outcomes: Vec<Judged>,
    /// Of a call: where it stands when choosing is compared with drawing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Box<Comparison>>,
}

json::members!(Lesson { at = Millis(0), case, outcomes, comparison });

/// What is kept of a lesson is a row of a few hundred bytes, or a few thousand.
const NAME_BYTES_MAX: usize = 200;
const CASE_BYTES_MAX: usize = 4_096;

impl Lesson {
    fn is_small(&self) -> bool {
        let names = self.outcomes.iter().all(|judged| judged.model.len() <= NAME_BYTES_MAX);
        names && self.outcomes.len() <= MODELS_MAX && self.case.len() <= CASE_BYTES_MAX
    }

    fn judged(&self) -> Vec<Outcome<'_>> {
        self.outcomes.iter().map(Judged::outcome).collect()
    }
}

/// How one model did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    pub model: String,
    /// What the market takes it to be able to, 0 to 1.
    pub ability: f64,
    /// 0 to 1.
    pub score: f64,
}

json::members!(Judged { model, ability, score });

impl Judged {
    #[expect(clippy::cast_possible_truncation, reason = "0 to 1")]
    fn outcome(&self) -> Outcome<'_> {
        Outcome { model: &self.model, ability: self.ability as f32, score: self.score as f32 }
    }
}

/// How many rounds over all examples are gone before what they teach is told.
const ROUNDS: usize = 2;

/// Who sends the same request so soon again may not have been content with its answer. It is a weak sign, and taken for little.
const REPEATED_MS: u64 = 120_000;
const REPEATED: f32 = -0.05;
const RECENT_MAX: usize = 64;

/// See the head of this room.
#[derive(Debug, Default)]
pub(super) struct Lessons {
    learner: Learner,
    pub seen: Seen,
    /// The requests answered last, each with the cluster and the model of its answer.
    recent: VecDeque<(String, (u32, String), Millis)>,
    /// What is told; empty where nothing was learned. It begins with its version.
    told: String,
    /// Lessons since it was made.
    since: usize,
    /// Lessons that were read and not learned yet, oldest first.
    waiting: Vec<(String, Lesson)>,
}

impl Lessons {
    /// Takes in a stored lesson. They are learned together, when all are there.
    pub fn restore(&mut self, row: &Row) -> serde_json::Result<()> {
        self.waiting.push((row.id.clone(), json::read(&row.body)?));
        Ok(())
    }

    /// Learns what was stored, in the order it came.
    /// Returns the verdicts on calls that are newer than a moment, for what was counted until then.
    pub fn learn_stored(&mut self, since: Millis) -> Vec<(Comparison, f64, Millis)> {
        let mut newer = Vec::new();
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_unstable_by(|(a, one), (b, other)| (one.at, a).cmp(&(other.at, b)));
        for (id, lesson) in waiting {
            let score = lesson.outcomes.first().map(|first| first.score);
            if let (Some(comparison), Some(score), true) = (&lesson.comparison, score, lesson.at > since) {
                newer.push((Comparison::clone(comparison), score, lesson.at));
            }
            if let Some(case) = Case::of_text(&lesson.case) {
                self.learner.recall(&id, case, &lesson.judged());
            }
        }
        self.settle();
        newer
    }

    /// Takes in what answers told by themselves, the last of them to a request of that hash.
    pub fn observe(&mut self, observed: &str, hash: &str, now: Millis) {
        let answered = self.seen.take(observed);
        let again = |(known, _, at): &(String, _, Millis)| known == hash && now.since(*at) < REPEATED_MS;
        if let Some(place) = self.recent.iter().position(again)
            && let Some((_, (cluster, model), _)) = self.recent.remove(place)
        {
            self.seen.note(cluster, &model, [Some(REPEATED), None]);
        }
        if let Some(answered) = answered.filter(|_| !hash.is_empty()) {
            self.recent.push_back((hash.to_owned(), answered, now));
            if self.recent.len() > RECENT_MAX {
                self.recent.pop_front();
            }
        }
        if self.seen.has_news() {
            self.tell();
        }
    }

    /// Returns the ids of lessons that are forgotten for it. One that cannot be read teaches nothing.
    fn learn(&mut self, id: &str, lesson: &Lesson) -> Vec<String> {
        Case::of_text(&lesson.case).map_or_default(|case| self.learner.learn(id, case, &lesson.judged()))
    }

    /// Makes anew what is told, with all examples gone over once more.
    fn settle(&mut self) {
        self.since = 0;
        self.learner.settle(ROUNDS);
        self.tell();
    }

    fn tell(&mut self) {
        let taught = self.learner.taught(&self.seen);
        if !taught.is_empty() {
            self.told = taught.to_text();
        }
    }

    /// What to tell someone who knows that version; empty where there is nothing new.
    pub fn news(&self, known: &str) -> String {
        let is_known = self.told.split_once('.').is_none_or(|(version, _)| version == known);
        if is_known { String::new() } else { self.told.clone() }
    }
}

impl Account {
    /// Learns how models did on a request.
    pub(super) fn learn(&mut self, caller: &Caller, id: &str, mut lesson: Lesson, now: Millis) -> Turn {
        lesson.at = now;
        let spec = self.keys.get(&caller.key_id).map_or_default(|key| key.spec.clone());
        if self.keep_nothing(&self.path(&caller.key_id, &spec)) {
            let message =
                "A routing policy over this key (data_policy.retention zero) has nothing kept of its requests: \
                           there is nothing to learn from."
                    .to_owned();
            return Turn::refused(Refusal::NoRetention { message });
        }
        if !lesson.is_small() {
            let text =
                format!("At most {MODELS_MAX} outcomes, with names of models of at most {NAME_BYTES_MAX} bytes.");
            return Turn::refused(Refusal::Invalid { param: "outcomes".into(), message: text });
        }
        if let (Some(first), Some(comparison)) = (lesson.outcomes.first(), &lesson.comparison)
            && !self.lessons.learner.knows(id)
        {
            self.arms.judge(comparison, first.score, now);
        }
        let forgotten = self.lessons.learn(id, &lesson);
        // The more is known, the less does one more change.
        self.lessons.since += 1;
        if self.lessons.since * 10 > self.lessons.learner.examples() {
            self.lessons.settle();
        }
        let mut writes = vec![record("lesson", id, Some(&lesson))];
        writes.extend(forgotten.into_iter().map(|oldest| record("lesson", &oldest, None::<&Lesson>)));
        Turn::told(Answer::Posted).with(writes)
    }
}
