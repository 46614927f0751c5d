//! A provider's stream on its way to the caller: read as far as needed, passed on or translated, metered.
use crate::{
    catalog::Deployment,
    chat,
    dialect::{Decoder, Encoder, Glance, Grammar, MalformedFrame, Stamp},
    fault::{Cause, UpstreamFault},
    money::Nanos,
    sse::{self, Frame, Parser},
    usage::Usage,
};

/// Broken frames in a row that are skipped before the stream counts as broken.
const MALFORMED_MAX: u32 = 3;

/// What a stream has told so far.
#[derive(Debug, Default)]
pub struct Meter {
    pub usage: Option<Usage>,
    /// A finish reason was told.
    pub finished: bool,
    /// The provider's own terminator was seen.
    pub terminated: bool,
    /// Nothing more is to come: the terminator, or a clean close after the finish.
    pub ended: bool,
    pub fault: Option<UpstreamFault>,
    /// Something a caller would see.
    pub content: bool,
    text_bytes: u64,
    frames: u64,
    malformed: u32,
}

impl Meter {
    /// Output tokens seen, where the provider did not count them: at least one a frame, about four bytes a token.
    pub fn output_tokens_seen(&self) -> u64 {
        self.frames.max(self.text_bytes.div_ceil(4))
    }

    /// Whether the provider's counts are its last word: some tell a first count at the beginning.
    pub fn counted(&self) -> bool {
        self.usage.is_some() && self.finished
    }

    fn note(&mut self, event: &chat::Event) {
        match event {
            chat::Event::Start { .. } => {}
            chat::Event::Text { text, .. }
            | chat::Event::Refusal { text, .. }
            | chat::Event::Reasoning { text, .. } => {
                self.saw(text.len());
            }
            chat::Event::ToolArguments { fragment, .. } => self.saw(fragment.len()),
            chat::Event::ToolStart { name, .. } => self.saw(name.len()),
            chat::Event::Signature { .. } | chat::Event::RedactedReasoning { .. } => self.content = true,
            chat::Event::Finish { .. } => {
                self.content = true;
                self.finished = true;
            }
            chat::Event::Usage(usage) => self.usage = Some(*usage),
            chat::Event::Fault(fault) => self.fault = Some(fault.clone()),
            chat::Event::End => {
                self.terminated = true;
                self.ended = true;
            }
        }
    }

    fn saw(&mut self, bytes: usize) {
        self.content = true;
        self.frames += 1;
        self.text_bytes += bytes as u64;
    }

    fn over(&self) -> bool {
        self.ended || self.fault.is_some()
    }
}

/// One stream of one attempt.
pub struct Relay {
    pub meter: Meter,
    parser: Parser,
    decoder: Box<dyn Decoder>,
    encoder: Box<dyn Encoder>,
    /// Caller and provider speak the same dialect: frames pass as they are.
    verbatim: bool,
    events: Vec<chat::Event>,
}

impl Relay {
    pub fn new(from: &dyn Grammar, to: &dyn Grammar, deployment: &Deployment, stamp: Stamp, verbatim: bool) -> Self {
        let (decoder, encoder) = (from.decoder(deployment), to.encoder(stamp));
        let (meter, parser, events) = (Meter::default(), Parser::default(), Vec::new());
        Self { meter, parser, decoder, encoder, verbatim, events }
    }

    /// Takes the next bytes of the provider, appends what the caller shall see of them.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let Self { meter, parser, decoder, encoder, verbatim, events } = self;
        let taken = parser.push(bytes, |frame| {
            frame_taken(&frame, meter, decoder.as_mut(), encoder.as_mut(), *verbatim, events, out);
        });
        if taken.is_err() {
            meter.fault.get_or_insert_with(malformed);
        }
    }

    /// The provider closed the stream: takes what was left in it.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        let Self { meter, parser, decoder, encoder, verbatim, events } = self;
        let taken = parser.finish(|frame| {
            frame_taken(&frame, meter, decoder.as_mut(), encoder.as_mut(), *verbatim, events, out);
        });
        if taken.is_err() {
            meter.fault.get_or_insert_with(malformed);
        }
        events.clear();
        decoder.close(events);
        for event in events.drain(..) {
            meter.note(&event);
            if !*verbatim {
                encoder.encode(&event, out);
            }
        }
        // Everything was told but the last word: the answer is whole, and the caller gets the last word from us.
        meter.ended |= meter.finished && meter.fault.is_none();
    }

    /// Takes a whole answer where a stream was expected.
    pub fn take_whole(&mut self, response: chat::Response, out: &mut Vec<u8>) {
        self.verbatim = false;
        for event in response.into_events() {
            self.meter.note(&event);
            self.encoder.encode(&event, out);
        }
    }

    /// Appends the end of the caller's stream.
    pub fn finish(&mut self, usage: Option<&Usage>, cost: Option<Nanos>, out: &mut Vec<u8>) {
        if self.verbatim {
            self.encoder.finish_relayed(cost, out);
        } else {
            self.encoder.finish(usage, cost, out);
        }
    }
}

fn frame_taken(
    frame: &Frame<'_>,
    meter: &mut Meter,
    decoder: &mut dyn Decoder,
    encoder: &mut dyn Encoder,
    verbatim: bool,
    events: &mut Vec<chat::Event>,
    out: &mut Vec<u8>,
) {
    if meter.over() {
        return;
    }
    if frame.data.is_empty() && frame.event.is_empty() {
        // A comment or a lone blank line: keeps a connection awake, is no content. The caller's stream has comments of its own.
        return;
    }
    if verbatim && decoder.glance(frame) == Glance::Pass {
        meter.saw(0);
        meter.malformed = 0;
        out.extend_from_slice(frame.raw);
        return;
    }
    events.clear();
    if decoder.decode(frame, events) == Err(MalformedFrame) {
        meter.malformed += 1;
        if meter.malformed > MALFORMED_MAX {
            meter.fault = Some(malformed());
        }
        return;
    }
    meter.malformed = 0;
    for event in events.iter() {
        meter.note(event);
    }
    if meter.fault.is_some() {
        return;
    }
    if verbatim {
        encoder.relay(frame, out);
    } else {
        for event in events.iter() {
            encoder.encode(event, out);
        }
    }
}

fn malformed() -> UpstreamFault {
    UpstreamFault::new(200, Cause::Server, "the provider's stream is malformed")
}

/// Appends the comment every stream of ours ends with.
pub fn final_comment(members: &serde_json::Value, out: &mut Vec<u8>) {
    sse::write_comment(out, format!("megarouter {members}").as_bytes());
}
