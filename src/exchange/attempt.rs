//! One attempt after another, until an answer begins or nothing is left to try.
use super::{
    Attempt, DRAIN_MS, Effect, Event, Exchange, First, Growth, Outcome, Phase, STALL_MS, Stage, Streaming,
    event::{Head, Pipe, Timer, UpstreamCall},
    filled,
    relay::Relay,
};
use crate::{
    catalog::{Ability, AbortStopsBilling, Quirk},
    chat::{Request, ServiceTier},
    dialect::{Between, Call, Order, between, translatable},
    endpoint::{Priority, Rescue, Surface},
    fault::{Cause, Fault, UpstreamFault},
    health::{self, Sample, Score},
    money::Nanos,
    time::Millis,
    world::Credential,
};

/// Time to the first content of a stream, for models that answer at once and for those that reason first.
const FIRST_TOKEN_MS: u64 = 10_000;
const FIRST_TOKEN_MS_REASONING: u64 = 60_000;
/// How many times as long a call of the flex tier may take to begin: it waits its turn at the provider, for minutes where that is busy,
/// <https://platform.openai.com/docs/guides/flex-processing>.
const FLEX_TIMES: u64 = 6;
/// A deployment that is known to be faster gets so many times what 95 of 100 calls took, and no less than this.
const FIRST_TOKEN_MARGIN: f64 = 4.0;
const FIRST_TOKEN_MS_MIN: u64 = 2_000;
/// The slowest writing that is waited for where an answer comes in one piece, and the longest wait.
const MS_PER_TOKEN_MAX: u64 = 25;
const WHOLE_MS_MAX: u64 = 300_000;
/// A native pipe keeps a copy of the answer in memory until it ends: answers that may grow above this are pumped.
pub const PIPED_BYTES_MAX: u32 = 8 * 1024 * 1024;
/// The types of streams.
const STREAMS: [&str; 2] = ["text/event-stream", "application/vnd.amazon.eventstream"];
/// The longest name of an answer that is kept.
const GENERATION_ID_MAX: usize = 256;
/// How long the body of a refusal is waited for: its status says nearly all.
const REFUSAL_MS: u64 = 5_000;
/// What a provider may send before the first content.
const OPENING_BYTES_MAX: usize = 1024 * 1024;
/// What one output token takes in a stream at most, envelope included.
const BYTES_PER_TOKEN: u64 = 400;

impl Exchange {
    /// The call of a candidate; `None` where its provider can no longer be reached.
    pub(super) fn call(
        &self,
        place: usize,
        credential: usize,
        max_output_tokens: u64,
        going_on: Option<&Request>,
    ) -> Result<Option<UpstreamCall>, Fault> {
        let case = &self.case;
        let Some(candidate) = self.candidate_at(place) else { return Ok(None) };
        let deployment = candidate.deployment.as_ref();
        let Some(reach) = case.world.reach(&deployment.provider.id) else { return Ok(None) };
        let Between { upstream, same } = between(case.surface, deployment);
        let order = Order { deployment, max_output_tokens };
        let Call { path, headers, body } = if let Some(request) = going_on {
            translatable(request)?;
            upstream.encode_request(&filled(request, candidate), &order)?
        } else if same {
            let (body, request) = case.filled(candidate);
            upstream.forward(&body, &request, &order)?
        } else {
            translatable(&case.request)?;
            upstream.encode_request(&filled(&case.request, candidate), &order)?
        };
        Ok(Some(UpstreamCall {
            url: format!("{}{path}", reach.base_url),
            headers,
            credential_header: upstream.credential_header(deployment),
            credential: reach.credentials.into_iter().nth(credential).unwrap_or(Credential::None),
            body,
        }))
    }

    pub(super) fn send(
        &mut self,
        (candidate, credential): (usize, usize),
        call: UpstreamCall,
        (output_tokens_max, quote): (u64, Nanos),
        now: Millis,
        effects: &mut Vec<Effect>,
    ) {
        self.attempts.push(Attempt {
            candidate,
            credential,
            sent: now,
            first_byte: None,
            first_content: None,
            outcome: Outcome::Pending,
            simulated: false,
            output_tokens_max,
            quote,
            at_risk: false,
            seen: None,
            broke_off: false,
            verdict: None,
            cut_short: false,
            probes: false,
            generation_id: String::new(),
        });
        self.asked = None;
        let attempt = self.attempts.len().saturating_sub(1);
        self.current = attempt;
        if attempt == 0 {
            self.case.world.retries.begun();
        }
        self.probe(now, effects);
        self.phase = Phase::Attempting(Stage::Sent);
        effects.push(Effect::Send { attempt, call });
        effects.push(Effect::Wait { timer: Timer::Head(attempt), ms: self.head_ms() });
        self.arm_hedge(effects);
    }

    /// Tells the others to wait where this call finds out whether a deployment has recovered.
    fn probe(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if self.score().is_some_and(|score| score.is_half_open(now)) {
            self.note(health::Outcome::Probed, now, effects);
            if let Some(attempt) = self.attempt_mut() {
                attempt.probes = true;
            }
        }
    }

    fn reasons(&self) -> bool {
        self.candidate().is_some_and(|candidate| candidate.deployment.can(Ability::Reasoning))
    }

    /// A whole answer's head comes when the answer is whole.
    fn head_ms(&self) -> u64 {
        self.conduct().deadlines.head_ms.unwrap_or_else(|| self.head_within(self.first_token_ms()))
    }

    pub(super) fn head_within(&self, first_token_ms: u64) -> u64 {
        if self.case.request.stream { first_token_ms } else { self.whole_within(first_token_ms) }
    }

    /// Until the first content: as the route or the request says, else as usual.
    pub(super) fn first_token_ms(&self) -> u64 {
        // Who is in a hurry does not wait as long: that is nobody's fault.
        let patience = if self.case.signals.priority == Priority::High { 2 } else { 1 };
        self.conduct().deadlines.first_token_ms.unwrap_or_else(|| self.usual_ms() / patience)
    }

    /// A usual time to the first content, or less where the deployment is known to be faster.
    fn usual_ms(&self) -> u64 {
        let flex = self.candidate().is_some_and(|candidate| candidate.when.tier == Some(ServiceTier::Flex));
        let usual = if self.reasons() { FIRST_TOKEN_MS_REASONING } else { FIRST_TOKEN_MS };
        let usual = if flex { usual * FLEX_TIMES } else { usual };
        let high = self.score().and_then(|score| score.ttft_ms.high());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds above 0")]
        let measured = high.map(|high| (high * FIRST_TOKEN_MARGIN) as u64);
        measured.map_or(usual, |ms| ms.clamp(FIRST_TOKEN_MS_MIN, usual))
    }

    fn whole_within(&self, first_token_ms: u64) -> u64 {
        let longest = self.attempt().map_or(0, |attempt| attempt.output_tokens_max);
        first_token_ms.saturating_add(longest.saturating_mul(MS_PER_TOKEN_MAX)).min(WHOLE_MS_MAX)
    }

    /// What is known of the deployment of the attempt under way.
    pub(super) fn score(&self) -> Option<&Score> {
        let (candidate, world) = (self.candidate()?, &self.case.world);
        world.health.score(&world.health_name(&candidate.deployment, candidate.when.tier))
    }

    pub(super) fn stall_ms(&self) -> u64 {
        self.conduct().deadlines.stall_ms.unwrap_or(STALL_MS)
    }

    pub(super) fn attempting(&mut self, stage: Stage, event: Event, now: Millis, effects: &mut Vec<Effect>) {
        let stage = self.turn_to(event.attempt(), stage);
        let wish = self.hedge_answered(&event);
        let current = self.current;
        if let Stage::First(first) = &stage {
            self.generated(&first.relay.meter.generation_id);
        }
        match (stage, event) {
            (Stage::Covering, event @ (Event::Held(_) | Event::Refused(_) | Event::Unreachable)) => {
                self.covered(event, now, effects);
            }
            // Nothing is under way that could be waited for.
            (Stage::Covering | Stage::Pausing, Event::Gone) => {
                self.gone = true;
                self.queue.clear();
                self.next_attempt(now, effects);
            }
            (stage @ (Stage::Covering | Stage::Pausing), Event::Elapsed(timer)) => {
                self.paused(stage, timer, now, effects);
            }
            (Stage::Pausing, Event::Held(grant)) => {
                self.holds(&grant);
                self.phase = Phase::Attempting(Stage::Pausing);
            }
            (stage @ (Stage::Covering | Stage::Pausing), _) => self.phase = Phase::Attempting(stage),
            (Stage::Sent, Event::Head { attempt, head }) if attempt == current => self.head(head, now, effects),
            (Stage::Failing { status, retry_after }, Event::Whole { attempt, bytes }) if attempt == current => {
                let fault = self.refusal(status, &bytes, retry_after.as_deref());
                self.failed(fault, now, effects);
            }
            (Stage::Answering { status }, Event::Whole { attempt, bytes }) if attempt == current => {
                self.answered_whole(status, &bytes, now, effects);
            }
            (Stage::First(first), Event::Bytes { attempt, bytes }) if attempt == current => {
                self.first_bytes(first, &bytes, now, effects);
            }
            (Stage::First(first), Event::End { attempt }) if attempt == current => {
                self.ended_early(first, now, effects);
            }
            (Stage::Failing { status, retry_after }, Event::Broke { attempt }) if attempt == current => {
                self.refused_unread(status, retry_after, now, effects);
            }
            (_, Event::Broke { attempt } | Event::End { attempt }) if attempt == current => {
                self.failed(UpstreamFault::new(0, Cause::Connection, "the connection failed"), now, effects);
            }
            (stage, Event::Elapsed(timer)) => self.elapsed(stage, timer, now, effects),
            (stage, Event::Gone) => self.gone_waiting(stage, now, effects),
            // Asked for by a stream that has broken since, or for another attempt beside this one.
            (stage, Event::Held(grant)) => {
                self.holds(&grant);
                self.phase = Phase::Attempting(stage);
                if let Some(wish) = wish {
                    self.hedge_held(wish, now, effects);
                }
            }
            (stage, _) => self.phase = Phase::Attempting(stage),
        }
    }

    /// What is spoken in the attempt under way.
    pub(super) fn spoken(&self) -> Option<Between> {
        self.candidate().map(|candidate| between(self.case.surface, &candidate.deployment))
    }

    /// A provider's refusal.
    pub(super) fn refusal(&self, status: u16, bytes: &[u8], retry_after: Option<&str>) -> UpstreamFault {
        self.spoken().map_or_else(
            || UpstreamFault::new(status, Cause::Server, "nobody was asked"),
            |spoken| spoken.upstream.decode_fault(status, bytes, retry_after),
        )
    }

    fn head(&mut self, head: Head, now: Millis, effects: &mut Vec<Effect>) {
        let attempt = self.current;
        if let Some(attempt) = self.attempt_mut() {
            attempt.simulated = head.simulated;
            attempt.first_byte = Some(now);
        }
        let ok = (200..300).contains(&head.status);
        let stage = if !ok {
            // A date means as many seconds as are left until then.
            let seconds = |text: String| {
                let date = Millis::of_http_date(&text);
                date.map_or(text, |date| date.since(now).div_ceil(1_000).to_string())
            };
            Stage::Failing { status: head.status, retry_after: head.retry_after.map(seconds) }
        } else if self.case.request.stream && STREAMS.iter().any(|kind| head.content_type.starts_with(kind)) {
            let left = self.first_token_ms().saturating_sub(now.since(self.sent()));
            effects.push(Effect::Wait { timer: Timer::FirstToken(attempt), ms: left.max(1) });
            let Some(relay) = self.relay() else { return self.next_attempt(now, effects) };
            Stage::First(Box::new(First { relay, raw: Vec::new(), out: Vec::new() }))
        } else {
            Stage::Answering { status: head.status }
        };
        let whole = !matches!(stage, Stage::First(_));
        if whole {
            let left = self.first_token_ms().max(self.head_ms()).saturating_sub(now.since(self.sent()));
            let left = if ok { left } else { left.min(REFUSAL_MS) };
            effects.push(Effect::Wait { timer: Timer::FirstToken(attempt), ms: left.max(1) });
        }
        self.phase = Phase::Attempting(stage);
        effects.push(Effect::Read { attempt, whole });
    }

    pub(super) fn sent(&self) -> Millis {
        self.attempt().map_or(self.case.arrived, |attempt| attempt.sent)
    }

    pub(super) fn relay(&self) -> Option<Relay> {
        self.relay_that(!self.may_be_cut())
    }

    /// A relay of the attempt under way, that passes frames as they are or none.
    pub(super) fn relay_that(&self, passes: bool) -> Option<Relay> {
        let (deployment, wanted) = (&self.candidate()?.deployment, self.case.signals.choices);
        let spoken = self.spoken()?;
        let from = Between { same: spoken.same && passes, ..spoken };
        Some(Relay::new(from, self.case.grammar, deployment, wanted, self.stamp()))
    }

    fn first_bytes(&mut self, mut first: Box<First>, bytes: &[u8], now: Millis, effects: &mut Vec<Effect>) {
        first.relay.feed(bytes, &mut first.out);
        first.raw.extend_from_slice(bytes);
        if let Some(fault) = first.relay.meter.fault.take() {
            return self.failed(fault, now, effects);
        }
        if !first.relay.meter.content && first.raw.len() > OPENING_BYTES_MAX {
            let fault = UpstreamFault::new(200, Cause::Server, "the provider's stream does not begin");
            return self.failed(fault, now, effects);
        }
        if self.is_useless(first.relay.meter.is_empty()) {
            return self.failed(empty(), now, effects);
        }
        if first.relay.meter.content || first.relay.meter.ended {
            return self.begin_stream(*first, now, effects);
        }
        let attempt = self.current;
        self.phase = Phase::Attempting(Stage::First(first));
        effects.push(Effect::Read { attempt, whole: false });
    }

    /// The provider closed a stream before it said anything that counts.
    fn ended_early(&mut self, mut first: Box<First>, now: Millis, effects: &mut Vec<Effect>) {
        first.relay.close(&mut first.out);
        if let Some(fault) = first.relay.meter.fault.take() {
            return self.failed(fault, now, effects);
        }
        if first.relay.meter.ended {
            let last = self.current;
            self.begin_stream(*first, now, effects);
            return match std::mem::replace(&mut self.phase, Phase::Done) {
                Phase::Relaying(streaming) => self.relaying(streaming, Event::End { attempt: last }, now, effects),
                other => self.phase = other,
            };
        }
        self.failed(
            UpstreamFault::new(200, Cause::Server, "the provider closed the stream without an answer"),
            now,
            effects,
        );
    }

    /// The first content is there: the caller gets the head, and from here on this attempt is the answer.
    fn begin_stream(&mut self, first: First, now: Millis, effects: &mut Vec<Effect>) {
        if self.broken.is_some() {
            return self.join_stream(&first, now, effects);
        }
        let attempt = self.current;
        self.answered(200, now, effects);
        let First { relay, raw, out } = first;
        self.generated(&relay.meter.generation_id);
        if self.gone {
            return self.carry_on(Streaming::new(relay, self.growth(), now), Vec::new(), effects);
        }
        let whole_first = self.rescue_mode() == Rescue::Buffer;
        if !whole_first {
            self.reply_stream(effects);
        }
        if !whole_first && self.may_pipe(&relay) {
            let pipe = Pipe { prefix: raw, drain_ms: self.drain_ms(), stall_ms: self.stall_ms() };
            effects.push(Effect::Pipe { attempt, pipe });
            // The pipe shows everything once more when it ends.
            let Some(relay) = self.relay() else { return };
            let streaming = Streaming { piped: true, ..Streaming::new(relay, Growth::default(), now) };
            self.phase = Phase::Relaying(streaming);
            return;
        }
        effects.push(Effect::Wait { timer: Timer::Stall(attempt), ms: self.stall_ms() });
        let mut streaming = Streaming::new(relay, self.growth(), now);
        self.keep(&mut streaming, &raw);
        streaming.kept = whole_first.then(Vec::new);
        self.carry_on(streaming, out, effects);
    }

    /// Whether the rest may go through unread: nothing has to be changed, and a copy of it fits into memory.
    fn may_pipe(&self, relay: &Relay) -> bool {
        let (Some(candidate), Some(attempt)) = (self.candidate(), self.attempt()) else { return false };
        self.case.request.wants_usage
            && !self.may_be_cut()
            && self.conduct().min_tokens_per_s.is_none()
            && self.spoken().is_some_and(|spoken| spoken.same)
            && !relay.meter.ended
            // Its usage rides on the last chunk of content: the caller is owed a chunk of its own.
            && !candidate.deployment.has(Quirk::NoStreamOptions)
            && attempt.output_tokens_max.saturating_mul(BYTES_PER_TOKEN) <= u64::from(PIPED_BYTES_MAX)
    }

    /// How long to read on after a hang-up: not at all where closing the connection stops the bill.
    pub(super) fn drain_ms(&self) -> u64 {
        let billing = self.candidate().map(|candidate| candidate.deployment.provider.abort_stops_billing);
        if billing == Some(AbortStopsBilling::Yes) { 0 } else { DRAIN_MS }
    }

    fn answered_whole(&mut self, status: u16, bytes: &[u8], now: Millis, effects: &mut Vec<Effect>) {
        let (Some(candidate), Some(spoken)) = (self.candidate(), self.spoken()) else { return };
        match spoken.upstream.decode_response(bytes, &candidate.deployment) {
            Ok(_) if self.case.request.stream && self.case.surface == Surface::Completions => {
                let whole =
                    UpstreamFault::new(200, Cause::Server, "the provider answered whole where a stream was asked for");
                self.failed(whole, now, effects);
            }
            Ok(response) if self.rejects(&response) => self.escalate(status, response, bytes, now, effects),
            Ok(response) if self.is_useless(response.is_empty()) => self.failed(empty(), now, effects),
            Ok(response) => {
                self.answered(status, now, effects);
                self.give_whole(response, bytes, now, effects);
            }
            Err(fault) => self.failed(fault, now, effects),
        }
    }

    /// Whether an answer has nothing in it that another might have. Nobody may be left to say more.
    fn is_useless(&self, empty: bool) -> bool {
        let another = !self.queue.is_empty() || self.rival.is_some() || self.kept.is_some();
        self.case.surface.is_chat() && empty && another && self.broken.is_none() && !self.gone
    }

    /// Notes a good attempt.
    pub(super) fn answered(&mut self, status: u16, now: Millis, effects: &mut Vec<Effect>) {
        self.drop_rival(now, effects);
        let sent = self.sent();
        let streams = self.case.request.stream;
        if let Some(attempt) = self.attempt_mut() {
            attempt.outcome = Outcome::Answered { status };
            attempt.first_content = Some(now);
        }
        let ms = now.since(sent);
        let outcome =
            if streams { health::Outcome::Answered { ttft_ms: ms } } else { health::Outcome::AnsweredWhole { ms } };
        self.note(outcome, now, effects);
    }

    /// Keeps the provider's own name for the answer: by it, its cost can be asked for later.
    pub(super) fn generated(&mut self, id: &str) {
        if let Some(attempt) = self.attempt_mut().filter(|_| id.len() <= GENERATION_ID_MAX) {
            id.clone_into(&mut attempt.generation_id);
        }
    }

    pub(super) fn note(&self, outcome: health::Outcome, at: Millis, effects: &mut Vec<Effect>) {
        if let Some(candidate) = self.candidate() {
            let deployment = self.case.world.health_name(&candidate.deployment, candidate.when.tier).into_owned();
            effects.push(Effect::Note(Sample { deployment, at, outcome }));
        }
    }

    fn elapsed(&mut self, stage: Stage, timer: Timer, now: Millis, effects: &mut Vec<Effect>) {
        let timeout = |text: &str| UpstreamFault::new(0, Cause::Timeout, text);
        let waits_for_head = matches!(stage, Stage::Sent);
        match timer {
            Timer::Head(attempt) if attempt == self.current && waits_for_head => {
                let own = self.head_ms() < self.head_within(self.usual_ms());
                self.too_late(timeout("no answer within the deadline"), own, now, effects);
            }
            Timer::FirstToken(attempt) if attempt == self.current && !waits_for_head => {
                if let Stage::Failing { status, retry_after } = stage {
                    return self.refused_unread(status, retry_after, now, effects);
                }
                let own = self.first_token_ms() < self.usual_ms();
                self.too_late(timeout("no content within the deadline"), own, now, effects);
            }
            Timer::Hedge(attempt) if attempt == self.current => self.hedge(stage, now, effects),
            Timer::Total => {
                self.queue.clear();
                self.drop_rival(now, effects);
                self.too_late(timeout("the request's deadline passed"), true, now, effects);
            }
            Timer::Drain => match stage {
                Stage::Covering | Stage::Pausing => self.phase = Phase::Attempting(stage),
                Stage::Failing { status, retry_after } => self.refused_unread(status, retry_after, now, effects),
                Stage::Sent | Stage::Answering { .. } | Stage::First(_) => self.abandon(effects),
            },
            Timer::Head(_)
            | Timer::FirstToken(_)
            | Timer::Stall(_)
            | Timer::Repost
            | Timer::Retry(_)
            | Timer::Hedge(_)
            | Timer::Quiet => {
                self.phase = Phase::Attempting(stage);
            }
        }
    }

    /// A deadline passed. One that the caller or the route set shorter says nothing about the provider.
    fn too_late(&mut self, fault: UpstreamFault, own: bool, now: Millis, effects: &mut Vec<Effect>) {
        if self.gone {
            return self.abandon(effects);
        }
        if !own {
            return self.failed(fault, now, effects);
        }
        // What it did until then is owed: its prompt, and no more where closing the connection stops the bill.
        let (held, seen) = (self.held_here(), (self.settled(None, false, 0), self.drain_ms() == 0));
        if let Some(attempt) = self.attempt_mut() {
            (attempt.at_risk, attempt.seen, attempt.quote) = (true, Some(seen), attempt.quote.min(held));
        }
        self.end_attempt(&fault, effects);
        self.unjudged(now, effects);
        if !self.conduct().fallback {
            self.queue.clear();
        }
        self.next_attempt(now, effects);
    }

    /// A refusal costs nothing, whatever its body would have said.
    fn refused_unread(&mut self, status: u16, retry_after: Option<String>, now: Millis, effects: &mut Vec<Effect>) {
        let fault = self.refusal(status, b"", retry_after.as_deref());
        self.failed(fault, now, effects);
    }

    /// The caller hung up before anything was there to give.
    fn gone_waiting(&mut self, stage: Stage, now: Millis, effects: &mut Vec<Effect>) {
        if self.gone {
            self.phase = Phase::Attempting(stage);
            return;
        }
        self.gone = true;
        self.queue.clear();
        self.drop_rival(now, effects);
        if let Stage::Failing { status, retry_after } = stage {
            return self.refused_unread(status, retry_after, now, effects);
        }
        let drain_ms = self.drain_ms();
        if drain_ms == 0 {
            return self.abandon(effects);
        }
        effects.push(Effect::Wait { timer: Timer::Drain, ms: drain_ms });
        self.phase = Phase::Attempting(stage);
    }
}

fn empty() -> UpstreamFault {
    UpstreamFault::new(200, Cause::Server, "the provider's answer is empty")
}
