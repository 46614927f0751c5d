//! A second attempt beside one that takes its time: whoever has the first content is the answer, the other is let go.
use super::{Effect, Event, Exchange, Outcome, Phase, Settled, Stage, event::Timer, next::ATTEMPTS_MAX};
use crate::{
    account::letter::ExtendLetter,
    health::{self, Spread},
    money::Nanos,
    time::Millis,
};

/// The attempt that is not looked at while another one is.
pub(super) struct Rival {
    number: usize,
    stage: Stage,
}

/// How far an exchange is with its second attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hedge {
    /// None was made.
    None,
    /// The account was asked to hold the candidate at this place as well, beside this attempt.
    Asked { place: usize, attempt: usize },
    /// The attempt of this number was begun beside another.
    Begun(usize),
}

impl Stage {
    /// Whether a provider is waited for that has not said anything that counts.
    fn waits(&self) -> bool {
        matches!(self, Self::Sent | Self::First(_) | Self::Answering { .. })
    }
}

/// What it takes to begin beside another attempt.
enum Beside {
    Ready(Nanos),
    Ask(ExtendLetter),
    Never,
}

impl Exchange {
    /// Arms the timer of a second attempt, where one is wished for and somebody is there to make it.
    pub(super) fn arm_hedge(&self, effects: &mut Vec<Effect>) {
        let conduct = self.conduct();
        // Where answers are checked, the others are there for those that fail.
        let may = conduct.hedge && conduct.fallback && conduct.checks.is_empty();
        let wished = may && self.broken.is_none() && self.hedge == Hedge::None;
        if wished && !self.queue.is_empty() {
            effects.push(Effect::Wait { timer: Timer::Hedge(self.current), ms: self.hedge_ms() });
        }
    }

    /// What 95 of 100 calls of the deployment take; half the time it has where that is not known.
    fn hedge_ms(&self) -> u64 {
        let streams = self.case.request.stream;
        let spread = self.score().map(|score| if streams { &score.ttft_ms } else { &score.whole_ms });
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds above 0")]
        let measured = spread.and_then(Spread::high).map(|high| high as u64);
        measured.unwrap_or_else(|| self.head_within(self.first_token_ms()) / 2)
    }

    /// The attempt under way is late: another is made beside it if all of it can be held, and if the isolate may.
    pub(super) fn hedge(&mut self, stage: Stage, now: Millis, effects: &mut Vec<Effect>) {
        let place = self.queue.last().copied().filter(|_| self.hedge == Hedge::None && stage.waits());
        self.phase = Phase::Attempting(stage);
        let Some(place) = place else { return };
        match self.beside(place) {
            Beside::Never => {}
            Beside::Ready(_) | Beside::Ask(_) if !self.case.world.retries.take(now) => {}
            Beside::Ready(quote) => self.begin_beside(place, quote, now, effects),
            Beside::Ask(letter) => {
                self.hedge = Hedge::Asked { place, attempt: self.current };
                effects.push(Effect::Extend(letter));
            }
        }
    }

    /// Takes the account's answer to the wish for a second attempt, wherever the exchange is by now: place and attempt of the
    /// wish.
    pub(super) fn hedge_answered(&mut self, event: &Event) -> Option<(usize, usize)> {
        let Hedge::Asked { place, attempt } = self.hedge else { return None };
        if !matches!(event, Event::Held(_) | Event::Refused(_) | Event::Unreachable) {
            return None;
        }
        self.hedge = Hedge::None;
        Some((place, attempt))
    }

    /// More is held. The attempt that was late may be so no more.
    pub(super) fn hedge_held(&mut self, (place, attempt): (usize, usize), now: Millis, effects: &mut Vec<Effect>) {
        let waits = matches!(&self.phase, Phase::Attempting(stage) if stage.waits());
        if waits
            && attempt == self.current
            && !self.gone
            && self.queue.last() == Some(&place)
            && let Beside::Ready(quote) = self.beside(place)
        {
            self.begin_beside(place, quote, now, effects);
        }
    }

    /// Whether an attempt at this place is covered beside the one under way, each at its full bound.
    fn beside(&self, place: usize) -> Beside {
        let (Some(candidate), Some(attempt)) = (self.candidate_at(place), self.attempt()) else { return Beside::Never };
        let quote = candidate.quote;
        let both = self.at_risk().plus(attempt.quote).plus(quote);
        let too_dear = self.ceiling().is_some_and(|ceiling| both > ceiling);
        if too_dear || self.attempts.len() >= ATTEMPTS_MAX || self.rival.is_some() || self.grows() {
            return Beside::Never;
        }
        if self.held() >= both {
            return Beside::Ready(quote);
        }
        let request_id = self.case.request_id.clone();
        Beside::Ask(ExtendLetter { request_id, to: both, least: both })
    }

    fn begin_beside(&mut self, place: usize, quote: Nanos, now: Millis, effects: &mut Vec<Effect>) {
        let Some(most) = self.candidate_at(place).map(|candidate| candidate.output_tokens_max) else { return };
        let credential = self.credential(place, now);
        let Ok(Some(call)) = self.call(place, credential, most, None) else { return };
        let Phase::Attempting(stage) = std::mem::replace(&mut self.phase, Phase::Done) else { return };
        self.queue.pop();
        self.rival = Some(Box::new(Rival { number: self.current, stage }));
        self.put_at_risk(true);
        self.hedge = Hedge::Begun(self.attempts.len());
        self.send((place, credential), call, (most, quote), now, effects);
    }

    /// Where an event is about the rival, it is looked at from now on, and the attempt under way waits.
    pub(super) fn turn_to(&mut self, number: Option<usize>, stage: Stage) -> Stage {
        let Some(rival) = self.rival.take_if(|rival| Some(rival.number) == number) else { return stage };
        let number = self.look_at(rival.number);
        self.rival = Some(Box::new(Rival { number, stage }));
        rival.stage
    }

    /// Turns to another attempt. The one under way counts as at risk meanwhile: the rest of the hold is the other's.
    fn look_at(&mut self, number: usize) -> usize {
        self.put_at_risk(true);
        let before = std::mem::replace(&mut self.current, number);
        self.put_at_risk(false);
        before
    }

    fn put_at_risk(&mut self, at_risk: bool) {
        if let Some(attempt) = self.attempt_mut() {
            attempt.at_risk = at_risk;
        }
    }

    /// The attempt under way has failed: the other goes on alone. Whether there is one.
    pub(super) fn leave_to_rival(&mut self) -> bool {
        let Some(rival) = self.rival.take() else { return false };
        self.current = rival.number;
        self.put_at_risk(false);
        self.phase = Phase::Attempting(rival.stage);
        true
    }

    /// Lets go of the rival: the attempt under way is the answer, or nobody waits for one. It is booked by what it is known to
    /// have cost, and stays open where the provider may bill on.
    pub(super) fn drop_rival(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let Some(rival) = self.rival.take() else { return };
        let Rival { number, stage } = *rival;
        let current = self.look_at(number);
        match stage {
            Stage::Failing { status, retry_after } => {
                let fault = self.refusal(status, b"", retry_after.as_deref());
                self.book_failure(&fault, now, effects);
                self.current = current;
                return self.put_at_risk(false);
            }
            Stage::First(first) => {
                self.generated(&first.relay.meter.generation_id);
                self.cancel(self.settle(&first.relay.meter), effects);
            }
            _ => self.cancel(self.settled(None, false, 0), effects),
        }
        let (ms, whole) = (now.since(self.sent()), !self.case.request.stream);
        self.note(health::Outcome::Outrun { ms, whole }, now, effects);
        self.unjudged(now, effects);
        self.look_at(current);
    }

    fn cancel(&mut self, settled: Settled, effects: &mut Vec<Effect>) {
        effects.push(Effect::Abort { attempt: self.current });
        self.leave_behind((settled, self.drain_ms() == 0));
        if let Some(attempt) = self.attempt_mut() {
            attempt.outcome = Outcome::Cancelled;
        }
    }
}
