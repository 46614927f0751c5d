//! What of the hold covers what: the attempt under way, those before it that may still be billed, and an answer that grows.
use super::{Effect, Event, Exchange, Phase, Settled, Streaming};
use crate::{
    account::letter::{ExtendLetter, Grant},
    fault::{Cause, UpstreamFault},
    money::Nanos,
    route::{Candidate, OUTPUT_TOKENS_MIN, SLICE_TOKENS},
    time::Millis,
};

/// A connection that fails sooner was never made; one that fails later may have carried the request.
const CONNECT_MS: u64 = 3_000;
/// No tokenizer makes tokens that are longer on average: an answer with more bytes than this per token it may have is too long.
const BYTES_PER_TOKEN_MAX: u64 = 16;

/// Frames beside the text that a stream under a ceiling may have.
const OVERSHOOT_TOKENS: u64 = 32;

/// Whether a candidate's call is covered.
pub(super) enum Cover {
    Ready {
        output_tokens_max: u64,
        quote: Nanos,
    },
    /// Not yet: this has to be asked for.
    Ask(ExtendLetter),
    Never,
}

/// How far a stream may go with what is held.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    /// The bytes that are surely paid for: a token has at least one. `None` where the hold covers the whole answer.
    bytes_covered: Option<u64>,
    asking: bool,
    /// There is no more to be had.
    at_end: bool,
}

impl Exchange {
    /// What earlier attempts may still be billed.
    pub(super) fn at_risk(&self) -> Nanos {
        let risks = self.attempts.iter().filter(|attempt| attempt.at_risk).map(|attempt| attempt.quote);
        risks.fold(Nanos::ZERO, Nanos::plus)
    }

    /// What is held for the attempt under way.
    pub(super) fn held_here(&self) -> Nanos {
        self.held().minus(self.at_risk()).max(Nanos::ZERO)
    }

    /// What is held for the whole request.
    pub(super) fn held(&self) -> Nanos {
        self.grant.as_ref().map_or(Nanos::ZERO, |grant| grant.amount)
    }

    /// Puts aside what the attempt under way was seen to use: of the hold it keeps what that cost, or all it may cost where that is
    /// not known.
    pub(super) fn leave_behind(&mut self, (settled, known): (Settled, bool)) {
        let held = self.held_here();
        if let Some(attempt) = self.attempt_mut() {
            (attempt.at_risk, attempt.seen) = (true, Some((settled, known)));
            attempt.quote = if known { settled.cost } else { attempt.quote.min(held) };
        }
    }

    /// Whether the next attempt, at this place of the plan, is covered beside everything before it.
    pub(super) fn cover(&self, place: usize) -> Cover {
        let Some(candidate) = self.candidate_at(place) else { return Cover::Never };
        let (mut output_tokens_max, mut quote) = (candidate.output_tokens_max, candidate.quote);
        let (risk, free) = (self.at_risk(), self.held_here());
        if let Some(ceiling) = self.ceiling().map(|ceiling| ceiling.minus(risk))
            && quote > ceiling
        {
            output_tokens_max = self.output_within(candidate, ceiling);
            quote = match self.quoted(candidate, output_tokens_max) {
                Some(quote) if output_tokens_max >= OUTPUT_TOKENS_MIN => quote,
                _ => return Cover::Never,
            };
        }
        let least = if candidate.least > Nanos::ZERO { candidate.least.min(quote) } else { quote };
        if free >= least {
            return Cover::Ready { output_tokens_max, quote };
        }
        if self.asked == Some(place) {
            return Cover::Never;
        }
        let request_id = self.case.request_id.clone();
        Cover::Ask(ExtendLetter { request_id, to: risk.plus(quote), least: risk.plus(least) })
    }

    fn quoted(&self, candidate: &Candidate, output_tokens: u64) -> Option<Nanos> {
        candidate.quote_of(output_tokens, self.case.signals.choices)
    }

    /// The output bound of a candidate that an amount covers.
    pub(super) fn output_within(&self, candidate: &Candidate, amount: Nanos) -> u64 {
        candidate.output_within(amount, self.case.signals.choices)
    }

    /// The account told what it holds now. A hold never shrinks: what it told before and comes later is no news.
    pub(super) fn holds(&mut self, held: &Grant) {
        if let Some(grant) = &mut self.grant {
            grant.amount = grant.amount.max(held.amount);
        }
    }

    /// The answer to a larger hold, asked for before the next attempt.
    pub(super) fn covered(&mut self, event: Event, now: Millis, effects: &mut Vec<Effect>) {
        if let Event::Held(grant) = event {
            self.holds(&grant);
        }
        self.next_attempt(now, effects);
    }

    /// Whether what failed may be billed: what got no answer in time, and what broke off. A refusal that a provider gave in
    /// full is not.
    pub(super) fn may_be_billed(&self, fault: &UpstreamFault, now: Millis) -> bool {
        match fault.cause {
            Cause::Timeout | Cause::Malformed | Cause::Diverged => true,
            Cause::Connection if fault.status == 0 => self
                .attempt()
                .is_some_and(|attempt| attempt.first_byte.is_some() || now.since(attempt.sent) >= CONNECT_MS),
            Cause::Connection | Cause::Server => fault.status == 200,
            _ => false,
        }
    }

    /// How far the answer that begins now may go.
    pub(super) fn growth(&self) -> Growth {
        Growth { bytes_covered: self.bytes_covered(), ..Growth::default() }
    }

    /// Whether the answer has to be read as it comes and told in our own frames, because it may have to be cut.
    pub(super) fn may_be_cut(&self) -> bool {
        self.ceiling().is_some() || self.grows()
    }

    pub(super) fn grows(&self) -> bool {
        self.attempt().is_some_and(|attempt| self.held_here() < attempt.quote)
    }

    fn bytes_covered(&self) -> Option<u64> {
        let candidate = self.candidate().filter(|_| self.grows())?;
        Some(self.output_within(candidate, self.held_here()).saturating_mul(self.case.signals.choices))
    }

    /// Asks for more when half of the last slice is used. `true` while nothing more may be read.
    pub(super) fn grow(&self, streaming: &mut Streaming, effects: &mut Vec<Effect>) -> bool {
        let Growth { bytes_covered: Some(covered), asking, at_end } = streaming.growth else { return false };
        let seen = streaming.relay.meter.text_bytes;
        let (Some(candidate), Some(attempt)) = (self.candidate(), self.attempt()) else { return false };
        if seen.saturating_add(SLICE_TOKENS / 2) >= covered && !asking && !at_end {
            let answers = self.case.signals.choices;
            let tokens = (covered / answers.max(1)).saturating_add(SLICE_TOKENS).min(attempt.output_tokens_max);
            let more = self.quoted(candidate, tokens).unwrap_or(attempt.quote).min(attempt.quote);
            let (request_id, risk) = (self.case.request_id.clone(), self.at_risk());
            let held = self.held_here().plus(Nanos(1));
            effects.push(Effect::Extend(ExtendLetter { request_id, to: risk.plus(more), least: risk.plus(held) }));
            streaming.growth.asking = true;
        }
        seen >= covered && streaming.growth.asking
    }

    /// Whether an answer has used what there is, or is longer than it may be.
    pub(super) fn is_spent(&self, streaming: &Streaming) -> bool {
        let meter = &streaming.relay.meter;
        let Growth { bytes_covered, at_end, .. } = streaming.growth;
        let most = self.attempt().map_or(u64::MAX, |attempt| attempt.output_tokens_max);
        let most = most.saturating_mul(self.case.signals.choices);
        let ceiling = self.ceiling().is_some();
        ceiling && meter.output_tokens_sure() > most.saturating_add(OVERSHOOT_TOKENS)
            || meter.text_bytes > most.saturating_add(SLICE_TOKENS).saturating_mul(BYTES_PER_TOKEN_MAX)
            || at_end && bytes_covered.is_some_and(|covered| meter.text_bytes >= covered)
    }

    /// The account answered a stream's wish for more.
    pub(super) fn grown(&mut self, mut streaming: Streaming, event: Event, effects: &mut Vec<Effect>) {
        let held = self.held_here();
        if let Event::Held(grant) = &event {
            self.holds(grant);
        }
        streaming.growth.asking = false;
        streaming.growth.at_end |= self.held_here() <= held;
        if !streaming.growth.at_end {
            streaming.growth.bytes_covered = self.bytes_covered();
        }
        // Bytes that are under way, to us or to the caller, go on by themselves; and who left is cut off nothing.
        if streaming.reading || streaming.writing || self.gone {
            self.phase = Phase::Relaying(streaming);
        } else if self.is_spent(&streaming) {
            self.cut_stream(streaming, Vec::new(), effects);
        } else {
            self.read_on(streaming, effects);
        }
    }
}

impl Growth {
    pub(super) fn is_asking(&self) -> bool {
        self.asking
    }
}
