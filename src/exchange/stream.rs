//! The answer on its way: chunks, their end, and everything that can end them early.
use super::{
    Effect, Event, Exchange, Growth, Outcome, Phase, Settled, Streaming,
    event::{PipeEnd, Timer},
    relay::final_comment,
};
use crate::{
    chat,
    fault::{Cause, Fault, UpstreamFault},
    quality::Check,
    time::Millis,
};

/// How long the last word is waited for once an answer has told why it ended.
const LAST_WORD_MS: u64 = 2_000;
/// Over how long the speed of a stream is taken.
const SPEED_MS: u64 = 5_000;

impl Exchange {
    /// Gives the caller what there is, or asks for more.
    pub(super) fn carry_on(&mut self, mut streaming: Streaming, mut out: Vec<u8>, effects: &mut Vec<Effect>) {
        if streaming.relay.meter.ended {
            return self.finish_stream(streaming, out, effects);
        }
        if !self.gone && self.is_spent(&streaming) {
            return self.cut_stream(streaming, out, effects);
        }
        if let Some(kept) = &mut streaming.kept {
            kept.append(&mut out);
        }
        if out.is_empty() || self.gone {
            return self.read_on(streaming, effects);
        }
        effects.push(Effect::Chunk(out));
        self.phase = Phase::Relaying(Streaming { writing: true, ..streaming });
    }

    /// Asks for the next bytes, unless that was done already or what is held covers no more.
    pub(super) fn read_on(&mut self, mut streaming: Streaming, effects: &mut Vec<Effect>) {
        let attempt = self.current;
        if !self.gone && self.grow(&mut streaming, effects) {
            self.phase = Phase::Relaying(streaming);
            return;
        }
        if !std::mem::replace(&mut streaming.reading, true) {
            streaming.owed_since = self.now;
            if streaming.relay.meter.finished {
                effects.push(Effect::Wait { timer: Timer::Stall(attempt), ms: LAST_WORD_MS });
            }
            effects.push(Effect::Read { attempt, whole: false });
        }
        self.phase = Phase::Relaying(streaming);
    }

    pub(super) fn relaying(&mut self, mut streaming: Streaming, event: Event, now: Millis, effects: &mut Vec<Effect>) {
        let current = self.current;
        let wished = self.hedge_answered(&event).is_some();
        match event {
            Event::Bytes { attempt, bytes } if attempt == current => {
                streaming.reading = false;
                let mut out = Vec::with_capacity(bytes.len() + 64);
                self.keep(&mut streaming, &bytes);
                streaming.relay.feed(&bytes, &mut out);
                let slow = self.crawls(&mut streaming).then(crawled);
                match streaming.relay.meter.fault.take().or(slow) {
                    Some(fault) => self.break_stream(streaming, &fault, out, effects),
                    None => self.carry_on(streaming, out, effects),
                }
            }
            Event::Written if !streaming.piped => {
                streaming.writing = false;
                self.read_on(streaming, effects);
            }
            Event::Held(_) | Event::Refused(_) | Event::Unreachable if streaming.growth.is_asking() && !wished => {
                self.grown(streaming, event, effects);
            }
            // Asked for before this stream began.
            Event::Held(grant) => {
                self.holds(&grant);
                self.phase = Phase::Relaying(streaming);
            }
            Event::End { attempt } if attempt == current => {
                let mut out = Vec::new();
                streaming.closed = true;
                streaming.relay.close(&mut out);
                if streaming.relay.meter.ended {
                    return self.finish_stream(streaming, out, effects);
                }
                let fault = streaming.relay.meter.fault.take().unwrap_or_else(ended_early);
                self.break_stream(streaming, &fault, out, effects);
            }
            Event::Broke { attempt } if attempt == current => {
                self.break_stream(streaming, &cut_off(), Vec::new(), effects);
            }
            Event::Piped { attempt, bytes, end } if attempt == current && streaming.piped => {
                self.piped(streaming, &bytes, end, effects);
            }
            Event::Elapsed(timer) => self.elapsed_streaming(streaming, timer, now, effects),
            // A pipe tells how it ended. It only notices a caller who left when it has something to give.
            Event::Gone if streaming.piped => {
                if !std::mem::replace(&mut self.gone, true) {
                    effects.push(match self.drain_ms() {
                        0 => Effect::Abort { attempt: current },
                        ms => Effect::Wait { timer: Timer::Drain, ms },
                    });
                }
                self.phase = Phase::Relaying(streaming);
            }
            Event::Gone => self.gone_streaming(streaming, effects),
            _ => self.phase = Phase::Relaying(streaming),
        }
    }

    /// Whether the provider writes more slowly than the route lets it. Time the caller takes does not count.
    fn crawls(&self, streaming: &mut Streaming) -> bool {
        let Some(least) = self.conduct().min_tokens_per_s.filter(|_| !self.gone) else { return false };
        streaming.waited_ms += self.now.since(streaming.owed_since);
        if streaming.waited_ms < SPEED_MS || streaming.relay.meter.finished {
            return false;
        }
        let waited_ms = std::mem::take(&mut streaming.waited_ms);
        let tokens = streaming.relay.meter.output_tokens_seen();
        let written = tokens.saturating_sub(std::mem::replace(&mut streaming.tokens_then, tokens));
        written.saturating_mul(1_000) < u64::from(least).saturating_mul(waited_ms)
    }

    fn elapsed_streaming(&mut self, mut streaming: Streaming, timer: Timer, now: Millis, effects: &mut Vec<Effect>) {
        let current = self.current;
        match timer {
            Timer::Stall(attempt) if attempt == current && !streaming.piped => {
                let stall_ms = self.stall_ms();
                let stall_ms = if streaming.relay.meter.finished { stall_ms.min(LAST_WORD_MS) } else { stall_ms };
                // While the caller takes its time, nothing is asked of the provider.
                let silent = if streaming.reading { now.since(streaming.owed_since) } else { 0 };
                if silent < stall_ms {
                    effects.push(Effect::Wait { timer, ms: stall_ms - silent });
                    self.phase = Phase::Relaying(streaming);
                    return;
                }
                self.break_stream(streaming, &fell_silent(), Vec::new(), effects);
            }
            // A pipe is let go: it tells what it saw when it has ended.
            Timer::Total | Timer::Drain if streaming.piped => {
                effects.push(Effect::Abort { attempt: current });
                self.queue.clear();
                streaming.overdue = timer == Timer::Total;
                self.phase = Phase::Relaying(streaming);
            }
            Timer::Total => {
                self.queue.clear();
                streaming.overdue = true;
                self.break_stream(streaming, &overdue(), Vec::new(), effects);
            }
            Timer::Drain => {
                effects.push(Effect::Abort { attempt: current });
                let settled = self.settle(&streaming.relay.meter);
                // Only its last word is missing.
                self.close_as(streaming.relay.meter.counted(), settled, 499, effects);
            }
            Timer::Head(_)
            | Timer::FirstToken(_)
            | Timer::Stall(_)
            | Timer::Repost
            | Timer::Retry(_)
            | Timer::Hedge(_)
            | Timer::Quiet => {
                self.phase = Phase::Relaying(streaming);
            }
        }
    }

    fn gone_streaming(&mut self, streaming: Streaming, effects: &mut Vec<Effect>) {
        if self.gone {
            self.phase = Phase::Relaying(streaming);
            return;
        }
        self.gone = true;
        let attempt = self.current;
        match self.drain_ms() {
            // Closing the connection stops the bill: what was seen is what it cost.
            0 => {
                effects.push(Effect::Abort { attempt });
                let settled = self.settle(&streaming.relay.meter);
                self.close_charged(settled, 499, effects);
            }
            ms => {
                effects.push(Effect::Wait { timer: Timer::Drain, ms });
                self.read_on(streaming, effects);
            }
        }
    }

    /// A native pipe has ended: what went through it is read for the first time.
    fn piped(&mut self, mut streaming: Streaming, bytes: &[u8], end: PipeEnd, effects: &mut Vec<Effect>) {
        let mut unseen = Vec::new();
        streaming.relay.feed(bytes, &mut unseen);
        streaming.relay.close(&mut unseen);
        let meter = &streaming.relay.meter;
        self.gone |= matches!(end, PipeEnd::Gone { .. });
        if self.gone {
            let settled = self.settle(meter);
            let whole = matches!(end, PipeEnd::Whole | PipeEnd::Gone { drained: true }) && meter.ended;
            // The whole answer came, or the provider stops billing with the connection: nothing is unknown.
            self.close_as(whole || meter.counted() || self.drain_ms() == 0, settled, 499, effects);
        } else if meter.ended {
            self.finish_piped(&streaming, bytes, effects);
        } else {
            streaming.closed = end == PipeEnd::Whole;
            let cut = match end {
                _ if streaming.overdue => overdue(),
                PipeEnd::Stalled => fell_silent(),
                PipeEnd::Whole => ended_early(),
                PipeEnd::Broke | PipeEnd::Gone { .. } => cut_off(),
            };
            let told = streaming.relay.meter.fault.take();
            // An error that the provider told went to the caller as it was: nobody can go on after it.
            if told.is_none() {
                self.keep(&mut streaming, bytes);
            }
            let fault = told.unwrap_or(cut);
            // Half a frame may have gone out: a blank line ends it, so that the error is a frame of its own.
            self.break_stream(streaming, &fault, b"\n\n".to_vec(), effects);
        }
    }

    /// The caller has the provider's own end, or gets it from us; the cost goes into the comment.
    fn finish_piped(&mut self, streaming: &Streaming, bytes: &[u8], effects: &mut Vec<Effect>) {
        self.look_at_end(&streaming.relay.meter);
        let settled = self.settle(&streaming.relay.meter);
        let mut out = Vec::new();
        if !bytes.ends_with(b"\n\n") && !bytes.ends_with(b"\r\n\r\n") {
            out.extend_from_slice(b"\n\n");
        }
        if !streaming.relay.meter.terminated {
            out.extend_from_slice(self.case.grammar.terminator());
        }
        final_comment(&self.comment(&self.with_seen(settled), true), &mut out);
        effects.push(Effect::Chunk(out));
        effects.push(Effect::Finish);
        self.close_charged(settled, 200, effects);
    }

    fn finish_stream(&mut self, mut streaming: Streaming, mut out: Vec<u8>, effects: &mut Vec<Effect>) {
        let attempt = self.current;
        self.look_at_end(&streaming.relay.meter);
        let settled = self.settle(&streaming.relay.meter);
        effects.push(Effect::Abort { attempt });
        if !self.gone {
            self.open_reply(&mut streaming, &mut out, effects);
            let told = self.with_seen(settled);
            streaming.relay.finish(Some(&told.usage), Some(told.cost), &mut out);
            final_comment(&self.comment(&told, true), &mut out);
            effects.push(Effect::Chunk(out));
            effects.push(Effect::Finish);
        }
        self.close_charged(settled, if self.gone { 499 } else { 200 }, effects);
    }

    /// Begins a reply that waited for the whole answer, with all that was kept of it.
    fn open_reply(&mut self, streaming: &mut Streaming, out: &mut Vec<u8>, effects: &mut Vec<Effect>) {
        if let Some(mut kept) = streaming.kept.take() {
            self.reply_stream(effects);
            kept.append(out);
            *out = kept;
        }
    }

    /// Ends an answer that has used all that could be held for it.
    pub(super) fn cut_stream(&mut self, mut streaming: Streaming, mut out: Vec<u8>, effects: &mut Vec<Effect>) {
        if streaming.relay.is_verbatim() {
            let fault = UpstreamFault::new(200, Cause::Malformed, "the provider wrote more than it was asked for");
            return self.break_stream(streaming, &fault, out, effects);
        }
        let attempt = self.current;
        effects.push(Effect::Abort { attempt });
        let settled = Settled { cut: true, ..self.settle(&streaming.relay.meter) };
        let told = self.with_seen(settled);
        self.open_reply(&mut streaming, &mut out, effects);
        streaming.relay.cut(&mut out);
        streaming.relay.finish(Some(&told.usage), Some(told.cost), &mut out);
        final_comment(&self.comment(&told, true), &mut out);
        effects.push(Effect::Chunk(out));
        effects.push(Effect::Finish);
        self.close_charged(settled, 200, effects);
    }

    /// A stream broke. Where only its last word is missing it is ended well; where another deployment can go on with it, that is
    /// asked; else it ends with an error, never silently.
    pub(super) fn break_stream(
        &mut self,
        streaming: Streaming,
        fault: &UpstreamFault,
        out: Vec<u8>,
        effects: &mut Vec<Effect>,
    ) {
        if streaming.relay.meter.finished && fault.cause != Cause::Diverged && !streaming.piped {
            return self.finish_stream(streaming, out, effects);
        }
        if streaming.kept.is_some() && !self.gone {
            return self.begin_again(&streaming, fault, effects);
        }
        let Some((streaming, mut out)) = self.rescue(streaming, fault, out, effects) else { return };
        let attempt = self.current;
        effects.push(Effect::Abort { attempt });
        self.blame(streaming.overdue, fault, effects);
        let (settled, known) = self.seen(&streaming, fault);
        if let Some(attempt) = self.attempt_mut().filter(|_| streaming.relay.meter.content) {
            attempt.outcome = Outcome::Failed(fault.clone());
            attempt.broke_off = true;
        }
        if !self.gone {
            let told = stream_fault(fault);
            out.extend_from_slice(&self.case.grammar.encode_stream_fault(
                &told,
                &self.case.request_id,
                streaming.relay.number(),
            ));
            final_comment(&self.comment(&self.with_seen(settled), false), &mut out);
            effects.push(Effect::Chunk(out));
            effects.push(Effect::Finish);
        }
        // Whom we let go of, or lost, may write on and bill it.
        self.close_as(known, settled, 502, effects);
    }

    /// A provider that answered whole where a stream was asked for.
    pub(super) fn stream_whole(&mut self, response: chat::Response, now: Millis, effects: &mut Vec<Effect>) {
        let going_on = self.broken.is_some();
        let Some(mut relay) = (if going_on { self.rescuing() } else { self.relay() }) else { return };
        let mut out = Vec::new();
        relay.take_whole(response, &mut out);
        if !self.gone && !going_on {
            self.reply_stream(effects);
        }
        self.generated(&relay.meter.generation_id);
        let mut streaming = Streaming::new(relay, Growth::default(), now);
        match streaming.relay.meter.fault.take() {
            Some(fault) => self.break_stream(streaming, &fault, out, effects),
            None => self.finish_stream(streaming, out, effects),
        }
    }

    /// Of a stream that nobody checked, how it ended: to learn from.
    fn look_at_end(&mut self, meter: &super::relay::Meter) {
        if let Some(attempt) = self.attempt_mut() {
            attempt.cut_short |= meter.cut_short;
        }
        if self.chose() && self.attempt().is_some_and(|attempt| attempt.verdict.is_none()) {
            self.find((!meter.is_good()).then_some(Check::Finish));
        }
    }

    /// The charge of what a meter has seen.
    pub(super) fn settle(&self, meter: &super::relay::Meter) -> Settled {
        let settled = self.settled(meter.usage, meter.counted(), meter.output_tokens_seen());
        if meter.said_why { settled } else { self.insured(settled) }
    }
}

fn ended_early() -> UpstreamFault {
    UpstreamFault::new(200, Cause::Server, "the provider closed the stream in the middle of its answer")
}

fn cut_off() -> UpstreamFault {
    UpstreamFault::new(200, Cause::Connection, "the connection to the provider broke in the middle of its answer")
}

fn fell_silent() -> UpstreamFault {
    UpstreamFault::new(200, Cause::Timeout, "the provider fell silent in the middle of its answer")
}

fn crawled() -> UpstreamFault {
    UpstreamFault::new(200, Cause::Timeout, "the provider wrote too slowly")
}

fn overdue() -> UpstreamFault {
    UpstreamFault::new(200, Cause::Timeout, "the request's deadline passed in the middle of its answer")
}

pub(super) fn stream_fault(fault: &UpstreamFault) -> Fault {
    let code = match fault.cause {
        Cause::Timeout => "upstream_stalled",
        Cause::RateLimited => "upstream_rate_limited",
        Cause::Overloaded => "upstream_overloaded",
        _ => "upstream_truncated",
    };
    let text =
        format!("The answer is not complete: {}. What came before stands; ask again for the rest.", reason(fault));
    Fault::new(502, "upstream_error", code, text)
}

/// Our own words for what happened; a provider's text only where it speaks of the request.
fn reason(fault: &UpstreamFault) -> &str {
    match fault.cause {
        Cause::Malformed | Cause::Diverged => &fault.message,
        Cause::Timeout | Cause::Connection | Cause::Server if fault.message.starts_with("the ") => &fault.message,
        Cause::Overloaded => "the provider became overloaded",
        Cause::RateLimited => "the provider limited our rate",
        _ => "the provider failed in the middle of it",
    }
}
