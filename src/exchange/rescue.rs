//! A stream that broke after its first byte: another deployment writes the rest, and the caller gets one whole answer.
use super::{
    Attempt, Effect, Exchange, First, Growth, Outcome, Settled, Streaming,
    event::Timer,
    join::{How, Told},
    relay::{Relay, final_comment},
    stream::stream_fault,
};
use crate::{
    catalog::{Ability, Deployment},
    chat::{Message, Part, Request, Role},
    dialect::{Between, Encoder},
    endpoint::Rescue,
    fault::{Cause, UpstreamFault},
    health::{FailedAs, Outcome as Seen},
    sse::{FRAME_BYTES_MAX, write_comment},
    time::Millis,
};

/// The longest stream that can be read once more: four megabytes, and a frame that never ended.
const RAW_BYTES_MAX: usize = 4 * 1024 * 1024 + FRAME_BYTES_MAX;
/// How long a caller is shown nothing.
const QUIET_MS: u64 = 15_000;
/// What a model is told that cannot be given the beginning of its answer.
const GO_ON: &str = "Your answer was cut off. Continue it exactly where it stops. Repeat nothing, comment on nothing.";

/// An answer that broke, while another attempt is made to go on with it.
pub(super) struct Broken {
    /// The caller's side of it.
    encoder: Box<dyn Encoder>,
    told: Told,
    /// What the caller is told if nobody can go on.
    fault: UpstreamFault,
    /// How the attempt under way goes on.
    how: How,
    /// An answer that was made anew went another way: nobody is asked for that again.
    diverged: bool,
    /// The provider under way would not take a beginning.
    refuses_prefill: bool,
}

impl Broken {
    fn how(&self, deployment: &Deployment) -> How {
        let whole = self.told.is_nothing() || !self.told.tools.is_empty();
        if !whole && deployment.can(Ability::Prefill) && !self.refuses_prefill {
            How::Prefill
        } else if whole || !self.diverged {
            How::Restart
        } else {
            How::Instructed
        }
    }

    /// The request that goes on with it.
    fn request(&self, how: How, asked: &Request) -> Request {
        let mut request = asked.clone();
        let mut say = |role, text: &str| {
            let parts = vec![Part::Text { text: text.to_owned(), cache: None }];
            request.messages.push(Message { role, parts, name: None });
        };
        match how {
            How::Restart => {}
            How::Prefill => say(Role::Assistant, self.told.text.trim_end()),
            How::Instructed => {
                say(Role::Assistant, self.told.text.trim_end());
                say(Role::User, GO_ON);
            }
        }
        request
    }
}

impl Exchange {
    pub(super) fn rescue_mode(&self) -> Rescue {
        if self.case.surface.is_chat() && self.case.signals.choices == 1 { self.conduct().rescue } else { Rescue::Off }
    }

    /// Keeps what a provider sends, as long as it may be needed.
    pub(super) fn keep(&self, streaming: &mut Streaming, bytes: &[u8]) {
        if self.rescue_mode() == Rescue::Continue && streaming.raw.len() <= RAW_BYTES_MAX {
            streaming.raw.extend_from_slice(bytes);
        }
    }

    /// Goes on with a stream that broke, if somebody can; else gives it back.
    pub(super) fn rescue(
        &mut self,
        streaming: Streaming,
        fault: &UpstreamFault,
        out: Vec<u8>,
        effects: &mut Vec<Effect>,
    ) -> Option<(Streaming, Vec<u8>)> {
        let kept = streaming.raw.len() <= RAW_BYTES_MAX;
        let whole_frames = !streaming.piped || streaming.raw.ends_with(b"\n\n") || streaming.raw.ends_with(b"\r\n\r\n");
        let diverged = fault.cause == Cause::Diverged;
        if self.gone || self.rescue_mode() != Rescue::Continue || !kept || !whole_frames || !self.has_another(fault) {
            return Some((streaming, out));
        }
        let seen = self.seen(&streaming, fault);
        let Streaming { relay, raw, piped, overdue, .. } = streaming;
        let cause = fault.cause;
        let (encoder, told) = match relay.broken(&raw, || self.relay_that(false)) {
            Ok(parts) => parts,
            Err(relay) => {
                let streaming = Streaming::new(*relay, Growth::default(), self.now);
                return Some((Streaming { piped, ..streaming }, out));
            }
        };
        self.lose(seen, fault, effects);
        self.blame(overdue, fault, effects);
        if !out.is_empty() && !piped {
            effects.push(Effect::Chunk(out));
        }
        let fault = if diverged { overtaken(fault) } else { fault.clone() };
        let broken = Broken { encoder, told, fault, how: How::Restart, diverged, refuses_prefill: false };
        self.broken = Some(Box::new(broken));
        effects.push(Effect::Wait { timer: Timer::Quiet, ms: QUIET_MS });
        if diverged {
            // The same deployment knows how to answer; it only has to be told to go on.
            self.queue.extend(self.place());
        }
        self.leave_out(cause);
        self.next_attempt(self.now, effects);
        None
    }

    /// Whether somebody may go on. Who broke off in passing is the last of them.
    fn has_another(&mut self, fault: &UpstreamFault) -> bool {
        if !fault.cause.may_fall_back() {
            return false;
        }
        if !self.conduct().fallback {
            self.queue.clear();
        }
        if matches!(fault.cause, Cause::Server | Cause::Connection)
            && self.may_repeat(self.now)
            && let Some(place) = self.place()
        {
            self.queue.insert(0, place);
        }
        !self.queue.is_empty() || fault.cause == Cause::Diverged
    }

    /// A caller who waits for somebody to go on is shown that the connection lives.
    pub(super) fn stay_awake(&self, effects: &mut Vec<Effect>) {
        if self.broken.is_some() && !self.gone {
            let mut comment = Vec::new();
            write_comment(&mut comment, b"keep-alive");
            effects.push(Effect::Chunk(comment));
            effects.push(Effect::Wait { timer: Timer::Quiet, ms: QUIET_MS });
        }
    }

    /// A stream broke of which the caller has nothing: another is as good.
    pub(super) fn begin_again(&mut self, streaming: &Streaming, fault: &UpstreamFault, effects: &mut Vec<Effect>) {
        self.has_another(fault);
        self.lose(self.seen(streaming, fault), fault, effects);
        self.blame(streaming.overdue, fault, effects);
        self.leave_out(fault.cause);
        self.next_attempt(self.now, effects);
    }

    /// What a stream that broke was seen to use, and whether that is all.
    pub(super) fn seen(&self, streaming: &Streaming, fault: &UpstreamFault) -> (Settled, bool) {
        let meter = &streaming.relay.meter;
        let ended = !self.gone && (streaming.closed || !fault.cause.leaves_open());
        (self.settle(meter), ended || meter.counted() || self.drain_ms() == 0)
    }

    /// Books what an attempt was seen to use beside the one that goes on for it.
    fn lose(&mut self, seen: (Settled, bool), fault: &UpstreamFault, effects: &mut Vec<Effect>) {
        self.leave_behind(seen);
        self.end_attempt(fault, effects);
        if let Some(attempt) = self.attempt_mut() {
            attempt.broke_off = true;
        }
    }

    /// Health hears of a stream that broke, but for one that ran into the request's own deadline.
    pub(super) fn blame(&self, overdue: bool, fault: &UpstreamFault, effects: &mut Vec<Effect>) {
        if !self.gone && !overdue && fault.cause.blames_deployment() {
            self.note(Seen::Failed { fault: FailedAs::of(fault.cause), retry_after_ms: None }, self.now, effects);
        }
    }

    /// The request as an attempt at a deployment makes it: the caller's own, or what goes on with a broken answer.
    pub(super) fn rescue_request(&mut self, place: usize) -> Option<Request> {
        let deployment = self.candidate_at(place)?.deployment.clone();
        let broken = self.broken.as_mut()?;
        broken.how = broken.how(&deployment);
        Some(broken.request(broken.how, &self.case.request))
    }

    /// The provider refused the request that goes on: a beginning is not given to it again. Whether to ask it once more.
    pub(super) fn refused_rescue(&mut self) -> bool {
        let Some(broken) = &mut self.broken else { return false };
        let again = broken.how == How::Prefill && !broken.refuses_prefill;
        broken.refuses_prefill = again;
        again
    }

    /// The first content of an attempt that goes on: it joins what the caller has.
    pub(super) fn join_stream(&mut self, first: &First, now: Millis, effects: &mut Vec<Effect>) {
        self.answered(200, now, effects);
        let Some(mut relay) = self.rescuing() else { return };
        let mut out = Vec::new();
        relay.feed(&first.raw, &mut out);
        let attempt = self.current;
        let mut streaming = Streaming::new(relay, self.growth(), now);
        if let Some(fault) = streaming.relay.meter.fault.take() {
            return self.break_stream(streaming, &fault, out, effects);
        }
        effects.push(Effect::Wait { timer: Timer::Stall(attempt), ms: self.stall_ms() });
        self.keep(&mut streaming, &first.raw);
        self.carry_on(streaming, out, effects);
    }

    /// The relay that goes on with the broken answer.
    pub(super) fn rescuing(&mut self) -> Option<Relay> {
        let Broken { encoder, told, how, .. } = *self.broken.take()?;
        let from = Between { same: false, ..self.spoken()? };
        Some(Relay::rescuing(from, &self.candidate()?.deployment, encoder, told, how))
    }

    /// Nobody could go on: the caller is told, in the stream.
    pub(super) fn give_up(&mut self, broken: &Broken, effects: &mut Vec<Effect>) {
        let told = stream_fault(&broken.fault);
        let (id, number) = (&self.case.request_id, broken.encoder.number());
        let mut out = self.case.grammar.encode_stream_fault(&told, id, number);
        final_comment(&self.comment(&self.with_seen(Settled::default()), false), &mut out);
        if self.gone {
            return;
        }
        effects.push(Effect::Chunk(out));
        effects.push(Effect::Finish);
    }

    /// What the caller is told: the cost of the attempt under way and of those let go of for it, and the usage of those whose
    /// answer it goes on with.
    pub(super) fn with_seen(&self, settled: Settled) -> Settled {
        let seen = self.attempts.iter().filter_map(|attempt| Some((attempt.seen?.0, attempt.broke_off)));
        seen.fold(settled, |all, (one, broke_off)| Settled {
            usage: if broke_off { all.usage.plus(one.usage) } else { all.usage },
            cost: all.cost.plus(one.cost),
            estimated: all.estimated || one.estimated,
            ..all
        })
    }

    /// What an answer that is gone on with has already of its length.
    pub(super) fn written(&self) -> u64 {
        let goes_on = self.broken.as_ref().is_some_and(|broken| broken.how != How::Restart);
        let told = |attempt: &&Attempt| {
            let diverged = matches!(&attempt.outcome, Outcome::Failed(fault) if fault.cause == Cause::Diverged);
            goes_on && attempt.broke_off && !diverged
        };
        let seen = self.attempts.iter().filter(told).filter_map(|attempt| attempt.seen);
        seen.fold(0, |all, (settled, _)| all.saturating_add(settled.usage.output))
    }

    pub(super) fn is_rescued(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.broke_off)
            && matches!(self.attempt().map(|attempt| &attempt.outcome), Some(Outcome::Answered { .. }))
    }
}

/// What is told of an answer nobody could go on with.
fn overtaken(fault: &UpstreamFault) -> UpstreamFault {
    let mut overtaken = fault.clone();
    "the provider broke off, and no other could go on".clone_into(&mut overtaken.message);
    overtaken
}
