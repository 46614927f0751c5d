//! Verified escalation: an answer is checked before the caller sees any of it, and where it fails an abler model is asked.
use super::{Attempt, Case, Effect, Exchange, Outcome};
use crate::{
    body::Body,
    chat,
    quality::{Check, Checks, agree},
    time::Millis,
};
use std::rc::Rc;

/// How often an answer is rejected in one request: the next one is given, whatever it says.
const ESCALATIONS_MAX: usize = 2;

/// What the checks made of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    Failed(Check),
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(check) => check.word(),
        }
    }
}

/// An answer that was rejected, with all that is needed to give it after all.
pub(super) struct Kept {
    /// The attempt that brought it.
    number: usize,
    status: u16,
    response: chat::Response,
    bytes: Vec<u8>,
}

impl Case {
    /// What the answer can be checked for.
    pub(super) fn checks(&self) -> Checks {
        if self.surface.is_chat() { Checks::of_request(&self.request) } else { Checks::default() }
    }

    /// Asks providers for an answer in one piece where it has to be checked: the caller is streamed it afterwards.
    pub(super) fn ask_whole(&mut self) {
        let checked = self.plan.as_ref().is_ok_and(|plan| !plan.conduct.checks.is_empty());
        self.request.stream = self.streams && !checked;
        self.forwarded = Rc::clone(&self.body);
        if self.streams && checked {
            let whole = Body::parse(self.body.rewritten(&[("stream", None), ("stream_options", None)]));
            self.forwarded = whole.map_or_else(|_| Rc::clone(&self.body), Rc::new);
        }
    }
}

impl Exchange {
    /// Checks an answer, and says whether another is asked for in its place.
    pub(super) fn rejects(&mut self, response: &chat::Response) -> bool {
        let checks = self.conduct().checks;
        // Where the router chose, it is looked at all the same: to learn from.
        let looked_at = if checks.is_empty() && self.chose() { self.case.checks() } else { checks };
        if looked_at.is_empty() || self.gone {
            return false;
        }
        if let Some(attempt) = self.attempt_mut() {
            attempt.cut_short = response.choices.iter().any(|choice| choice.finish == chat::Finish::Length);
        }
        let failed = looked_at.failed(&self.case.request, response).or_else(|| self.unconfirmed(checks, response));
        self.find(failed);
        if failed.is_none() || checks.is_empty() || !self.conduct().fallback {
            return false;
        }
        let last = self.queue.is_empty() || self.rejected().count() >= ESCALATIONS_MAX;
        if last && self.kept_was_sound() {
            // Nobody confirmed the answer in hand, but it held where this one does not.
            self.queue.clear();
            return failed != Some(Check::Agreement);
        }
        !last
    }

    /// Whether the answer in hand held all that one answer can be checked for.
    fn kept_was_sound(&self) -> bool {
        let attempt = self.kept.as_ref().and_then(|kept| self.attempts.get(kept.number));
        attempt.is_some_and(|attempt| attempt.verdict == Some(Verdict::Failed(Check::Agreement)))
    }

    /// Where two answers are to agree: whether this one has no other, or another that it does not agree with. The last one that may be
    /// asked for needs none.
    fn unconfirmed(&mut self, checks: Checks, response: &chat::Response) -> Option<Check> {
        if !checks.has(Check::Agreement) || self.rejected().count() >= ESCALATIONS_MAX {
            return None;
        }
        let waits = |attempt: &&mut Attempt| attempt.verdict == Some(Verdict::Failed(Check::Agreement));
        let kept = self.kept.as_ref().and_then(|kept| Some((kept, self.attempts.get_mut(kept.number).filter(waits)?)));
        match kept {
            Some((kept, attempt)) if agree(&kept.response, response) => {
                attempt.verdict = Some(Verdict::Passed);
                None
            }
            _ => Some(Check::Agreement),
        }
    }

    /// Whether the answer under way only waits for another one's opinion.
    fn waits_for_another(&self) -> bool {
        let unconfirmed = |attempt: &&Attempt| attempt.verdict == Some(Verdict::Failed(Check::Agreement));
        self.attempt().as_ref().is_some_and(unconfirmed) && self.rejected().filter(unconfirmed).count() == 1
    }

    /// Brings the next candidate of another model to the front: the same one elsewhere would only repeat itself.
    fn ask_another_model(&mut self) {
        let model = self.candidate().map_or_default(|candidate| candidate.deployment.model.clone());
        let other = |place: &usize| self.candidate_at(*place).is_some_and(|one| one.deployment.model != model);
        if let Some(place) = self.queue.iter().rposition(other) {
            let next = self.queue.remove(place);
            self.queue.push(next);
        }
    }

    /// Whether the router chose among deployments.
    pub(super) fn chose(&self) -> bool {
        self.plan().is_some_and(|plan| plan.is_a_choice)
    }

    /// Keeps what was found of the answer under way.
    pub(super) fn find(&mut self, failed: Option<Check>) {
        if let Some(attempt) = self.attempt_mut() {
            attempt.verdict = Some(failed.map_or(Verdict::Passed, Verdict::Failed));
        }
    }

    /// Puts a rejected answer aside, to be paid for all the same, and asks the next candidate.
    pub(super) fn escalate(
        &mut self,
        status: u16,
        response: chat::Response,
        bytes: &[u8],
        now: Millis,
        effects: &mut Vec<Effect>,
    ) {
        self.answered(status, now, effects);
        self.generated(&response.id);
        self.leave_behind((self.settled_whole(&response), true));
        if let Some(attempt) = self.attempt_mut() {
            attempt.outcome = Outcome::Rejected { status };
        }
        // Half an answer is better than none, and a whole one better than half.
        let worse = self.kept_was_sound() && !self.waits_for_another();
        if self.kept.is_none() || !response.is_empty() && !worse {
            self.kept = Some(Box::new(Kept { number: self.current, status, response, bytes: bytes.to_vec() }));
        }
        if self.waits_for_another() {
            self.ask_another_model();
        } else {
            self.leave_out_less_able();
        }
        self.next_attempt(now, effects);
    }

    /// Leaves those that are likely to answer better than the one that failed, where there are any and no order was given.
    fn leave_out_less_able(&mut self) {
        let rejected = self.rejected().filter_map(|attempt| self.candidate_at(attempt.candidate));
        let failed = rejected.map(|candidate| candidate.features.quality).fold(0.0, f64::max);
        let abler =
            |place: &usize| self.candidate_at(*place).is_some_and(|candidate| candidate.features.quality > failed);
        let abler: Vec<usize> = self.queue.iter().copied().filter(abler).collect();
        if !abler.is_empty() && !self.conduct().in_given_order {
            self.queue = abler;
        }
    }

    /// Gives an answer that was rejected: nobody had a better one.
    pub(super) fn give_kept(&mut self, kept: Kept, now: Millis, effects: &mut Vec<Effect>) {
        let Kept { number, status, response, bytes } = kept;
        self.current = number;
        if let Some(attempt) = self.attempt_mut() {
            (attempt.at_risk, attempt.seen, attempt.outcome) = (false, None, Outcome::Answered { status });
        }
        self.give_whole(response, &bytes, now, effects);
    }

    /// Gives a whole answer, as a stream where one was asked for.
    pub(super) fn give_whole(
        &mut self,
        response: chat::Response,
        bytes: &[u8],
        now: Millis,
        effects: &mut Vec<Effect>,
    ) {
        if self.case.streams {
            self.stream_whole(response, now, effects);
        } else {
            self.reply_whole(response, bytes, now, effects);
        }
    }

    fn rejected(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(|attempt| matches!(attempt.outcome, Outcome::Rejected { .. }))
    }

    /// Whether the attempt under way was made because an answer before it was rejected.
    pub(super) fn is_escalated(&self) -> bool {
        self.attempts.iter().take(self.current).any(|attempt| matches!(attempt.outcome, Outcome::Rejected { .. }))
    }
}
