//! A provider's stream on its way to the caller: read as far as needed, passed on or translated, metered.
use super::join::{How, Join, Told};
use crate::{
    catalog::Deployment,
    chat,
    dialect::{Between, Decoder, Downstream, Encoder, Framing, Glance, MalformedFrame, Stamp},
    eventstream,
    fault::{Cause, UpstreamFault},
    money::Nanos,
    sse::{self, Frame, Malformed},
    usage::Usage,
};

/// Broken frames in a row that are skipped before the stream counts as broken.
const MALFORMED_MAX: u32 = 3;

/// What a frame has around its text. A longer frame holds more than one token.
const ENVELOPE_BYTES: usize = 320;

/// What a stream has told so far.
#[derive(Debug, Default)]
pub struct Meter {
    pub usage: Option<Usage>,
    /// Every answer that began, and as many as were asked for, told why it ended.
    pub finished: bool,
    /// The answers that began and those that ended, a bit each.
    begun: u64,
    ended_answers: u64,
    /// How many answers were asked for.
    wanted: u64,
    /// The provider's own terminator was seen.
    pub terminated: bool,
    /// Nothing more is to come: the terminator, or a clean close after the finish.
    pub ended: bool,
    pub fault: Option<UpstreamFault>,
    /// Something a caller would see.
    pub content: bool,
    /// The text so far: what a token at least takes.
    pub text_bytes: u64,
    /// The provider's own name for the answer.
    pub generation_id: String,
    frames: u64,
    /// The provider said why an answer ended.
    pub said_why: bool,
    /// It ended of its own accord.
    stopped: bool,
    /// An answer was cut off, filtered or given up; and whether it was its bound that cut it.
    fell_short: bool,
    pub cut_short: bool,
    malformed: u32,
}

impl Meter {
    /// What a whole answer would have told as a stream.
    pub fn of(response: &chat::Response) -> Self {
        let mut meter = Self::default();
        for event in response.clone().into_events() {
            meter.note(&event);
        }
        meter
    }

    /// Output tokens that were surely made: one a frame, and hardly any tokenizer makes tokens of more than eight bytes on average.
    pub fn output_tokens_sure(&self) -> u64 {
        self.frames.max(self.text_bytes / 8)
    }

    /// Output tokens seen, where the provider did not count them: at least one a frame, about four bytes a token.
    pub fn output_tokens_seen(&self) -> u64 {
        self.frames.max(self.text_bytes.div_ceil(4))
    }

    /// Whether the provider's counts are its last word: some tell a first count at the beginning.
    pub fn counted(&self) -> bool {
        self.usage.is_some() && self.finished
    }

    fn note(&mut self, event: &chat::Event) {
        self.note_choice(event);
        match event {
            chat::Event::Start { id, .. } => self.generation_id.clone_from(id),
            chat::Event::Text { text, .. }
            | chat::Event::Refusal { text, .. }
            | chat::Event::Reasoning { text, .. } => {
                self.saw(text.len());
            }
            chat::Event::ToolArguments { fragment, .. } => self.saw(fragment.len()),
            chat::Event::ToolStart { name, .. } => self.saw(name.len()),
            chat::Event::Signature { .. } | chat::Event::RedactedReasoning { .. } => self.content = true,
            chat::Event::Finish { finish, native, .. } => {
                self.content = true;
                self.said_why |= says_why(*finish, native.as_ref());
                self.stopped |= *finish == chat::Finish::Stop;
                self.cut_short |= *finish == chat::Finish::Length;
                self.fell_short |= !matches!(finish, chat::Finish::Stop | chat::Finish::ToolCalls);
                self.finished = self.all_finished();
            }
            chat::Event::Usage(usage) => self.usage = Some(*usage),
            chat::Event::Fault(fault) => self.fault = Some(fault.clone()),
            chat::Event::End => {
                self.terminated = true;
                self.ended = true;
            }
        }
    }

    /// Notes which answer an event is about.
    fn note_choice(&mut self, event: &chat::Event) {
        match event {
            chat::Event::Finish { choice, .. } => self.ended_answers |= bit(*choice),
            chat::Event::Text { choice, .. }
            | chat::Event::Refusal { choice, .. }
            | chat::Event::Reasoning { choice, .. }
            | chat::Event::ToolStart { choice, .. } => self.begun |= bit(*choice),
            _ => {}
        }
    }

    fn all_finished(&self) -> bool {
        self.begun & !self.ended_answers == 0 && u64::from(self.ended_answers.count_ones()) >= self.wanted.min(64)
    }

    fn saw(&mut self, bytes: usize) {
        self.content = true;
        self.frames += 1;
        self.text_bytes += bytes as u64;
    }

    /// Whether it ended as an answer should, and says something.
    pub fn is_good(&self) -> bool {
        !self.fell_short && self.frames > 0
    }

    /// Whether it came to its end and there is nothing in it, for no reason.
    pub fn is_empty(&self) -> bool {
        self.stopped && self.frames == 0
    }

    fn diverge(&mut self) {
        let fault =
            UpstreamFault::new(200, Cause::Diverged, "the provider did not go on with the answer that had begun");
        self.fault = Some(fault);
    }

    fn over(&self) -> bool {
        self.ended || self.fault.is_some()
    }
}

/// Whether the provider says that an answer ended, and why: then it may be empty for a reason that is no failure.
pub fn says_why(finish: chat::Finish, native: Option<&String>) -> bool {
    finish != chat::Finish::Error && native.is_some()
}

/// An answer's bit; those beyond the last share it.
fn bit(choice: u32) -> u64 {
    1 << choice.min(63)
}

/// One stream of one attempt.
pub struct Relay {
    pub meter: Meter,
    parser: Parser,
    decoder: Box<dyn Decoder>,
    encoder: Box<dyn Encoder>,
    /// Caller and provider speak the same dialect: frames pass as they are.
    verbatim: bool,
    names: Names,
    events: Vec<chat::Event>,
    /// Where it goes on with an answer that broke.
    join: Option<Join>,
    /// What the caller has got; noted where it may be needed.
    told: Option<Told>,
}

/// Cuts a provider's bytes into frames.
enum Parser {
    Sse(sse::Parser),
    EventStream(eventstream::Parser),
}

impl Default for Parser {
    fn default() -> Self {
        Self::Sse(sse::Parser::default())
    }
}

impl Parser {
    fn of(framing: Framing) -> Self {
        match framing {
            Framing::Sse => Self::default(),
            Framing::EventStream => Self::EventStream(eventstream::Parser::default()),
        }
    }

    /// Takes the next bytes, or that there are no more.
    fn push(&mut self, bytes: Option<&[u8]>, each: &mut dyn FnMut(Frame<'_>)) -> Result<(), Malformed> {
        match (self, bytes) {
            (Self::Sse(parser), Some(bytes)) => parser.push(bytes, each),
            (Self::Sse(parser), None) => parser.finish(each),
            (Self::EventStream(parser), Some(bytes)) => parser.push(bytes, each),
            (Self::EventStream(parser), None) => parser.finish(each),
        }
    }
}

/// The model's name as the provider tells it and as the caller gets it, each as the member of a frame.
#[derive(Debug, Default)]
struct Names {
    theirs: Vec<u8>,
    ours: String,
}

impl Names {
    /// Puts our name for theirs in what was appended after `at`. In the text of an answer the quotes would be escaped, so
    /// that only the member itself is found.
    fn put(&self, out: &mut Vec<u8>, at: usize) {
        let appended = out.get(at..).unwrap_or_default();
        if !self.theirs.is_empty()
            && self.theirs != self.ours.as_bytes()
            && let Some(found) = memchr::memchr_iter(b'"', appended)
                .find(|quote| appended.get(*quote..).is_some_and(|rest| rest.starts_with(&self.theirs)))
        {
            let start = at + found;
            out.splice(start..start + self.theirs.len(), self.ours.bytes());
        }
    }
}

impl Relay {
    /// `wanted` is how many answers the stream is to hold.
    pub fn new(from: Between, to: &dyn Downstream, deployment: &Deployment, wanted: u64, stamp: Stamp) -> Self {
        let names = Names { theirs: Vec::new(), ours: member_of(&stamp.model) };
        let (decoder, encoder) = (from.upstream.decoder(deployment), to.encoder(stamp));
        let (meter, parser, events) =
            (Meter { wanted, ..Meter::default() }, Parser::of(from.upstream.framing()), Vec::new());
        Self { meter, parser, decoder, encoder, verbatim: from.same, names, events, join: None, told: None }
    }

    /// Goes on with an answer that broke.
    pub fn rescuing(from: Between, deployment: &Deployment, encoder: Box<dyn Encoder>, told: Told, how: How) -> Self {
        Self {
            meter: Meter { wanted: 1, ..Meter::default() },
            parser: Parser::of(from.upstream.framing()),
            decoder: from.upstream.decoder(deployment),
            encoder,
            verbatim: false,
            names: Names::default(),
            events: Vec::new(),
            join: Some(Join::new(how, &told)),
            told: Some(told),
        }
    }

    /// What the caller has got of it, and who goes on telling; itself where nobody can. `raw` is all that the provider sent.
    pub fn broken(
        mut self: Box<Self>,
        raw: &[u8],
        again: impl FnOnce() -> Option<Self>,
    ) -> Result<(Box<dyn Encoder>, Told), Box<Self>> {
        if let Some(told) = self.told.take() {
            return Ok((self.encoder, told));
        }
        // Frames that passed as they are were not looked at: all of it is read once more.
        let Some(again) = again() else { return Err(self) };
        let mut again = Self { verbatim: false, told: Some(Told::default()), ..again };
        again.feed(raw, &mut Vec::new());
        match again.told {
            // Of a head that passed, and nothing after it, the encoder knows nothing: it would write another.
            Some(told) if !self.verbatim || again.meter.content => Ok((again.encoder, told)),
            _ => Err(self),
        }
    }

    /// Takes the next bytes of the provider, appends what the caller shall see of them.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut parser = std::mem::take(&mut self.parser);
        let taken = parser.push(Some(bytes), &mut |frame| self.take(&frame, out));
        self.parser = parser;
        if taken.is_err() {
            self.meter.fault.get_or_insert_with(malformed);
        }
    }

    /// The provider closed the stream: takes what was left in it.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        let mut parser = std::mem::take(&mut self.parser);
        if parser.push(None, &mut |frame| self.take(&frame, out)).is_err() {
            self.meter.fault.get_or_insert_with(malformed);
        }
        self.events.clear();
        self.decoder.close(&mut self.events);
        for event in &self.events {
            self.meter.note(event);
        }
        if !self.verbatim {
            self.tell(out);
        }
        // Everything was told but the last word: the answer is whole, and the caller gets the last word from us.
        self.meter.ended |= self.meter.finished && self.meter.fault.is_none();
    }

    /// Takes a whole answer where a stream was expected.
    pub fn take_whole(&mut self, response: chat::Response, out: &mut Vec<u8>) {
        self.verbatim = false;
        self.events = response.into_events();
        for event in &self.events {
            self.meter.note(event);
        }
        self.tell(out);
    }

    /// Tells the caller what is new of the events.
    fn tell(&mut self, out: &mut Vec<u8>) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            let Some(join) = &mut self.join else {
                self.give(&event, out);
                continue;
            };
            match join.pass(event) {
                Some(passed) => passed.iter().for_each(|event| self.give(event, out)),
                None => return self.meter.diverge(),
            }
        }
        self.events = events;
    }

    fn give(&mut self, event: &chat::Event, out: &mut Vec<u8>) {
        if let Some(told) = &mut self.told {
            told.note(event);
        }
        self.encoder.encode(event, out);
    }

    /// The number of the caller's next event.
    pub fn number(&self) -> u64 {
        self.encoder.number()
    }

    /// Whether frames pass as they are.
    pub fn is_verbatim(&self) -> bool {
        self.verbatim
    }

    /// Ends the answers that are not yet ended, for want of length.
    pub fn cut(&mut self, out: &mut Vec<u8>) {
        let begun = self.meter.begun.max(1);
        let open = (0..64).filter(|choice| begun & !self.meter.ended_answers & bit(*choice) != 0);
        for choice in open.collect::<Vec<_>>() {
            let event = chat::Event::Finish { choice, finish: chat::Finish::Length, native: None };
            self.meter.note(&event);
            self.encoder.encode(&event, out);
        }
    }

    /// Appends the end of the caller's stream.
    pub fn finish(&mut self, usage: Option<&Usage>, cost: Option<Nanos>, out: &mut Vec<u8>) {
        if self.verbatim {
            let at = out.len();
            self.encoder.finish_relayed(cost, out);
            self.names.put(out, at);
        } else {
            self.encoder.finish(usage, cost, out);
        }
    }

    fn take(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        // A comment or a lone blank line keeps a connection awake and is no content; the caller's stream has its own.
        if self.meter.over() || (frame.data.is_empty() && frame.event.is_empty()) {
            return;
        }
        let at = out.len();
        // Until there is content all is read: the head goes out with it, and not for a ping.
        if self.verbatim && self.meter.content && self.decoder.glance(frame) == Glance::Pass {
            self.meter.saw(frame.data.len().saturating_sub(ENVELOPE_BYTES));
            self.meter.malformed = 0;
            out.extend_from_slice(frame.raw);
            return self.names.put(out, at);
        }
        self.events.clear();
        if self.decoder.decode(frame, &mut self.events) == Err(MalformedFrame) {
            self.meter.malformed += 1;
            if self.meter.malformed > MALFORMED_MAX {
                self.meter.fault = Some(malformed());
            }
            return;
        }
        self.meter.malformed = 0;
        for event in &self.events {
            self.meter.note(event);
            if let chat::Event::Start { model, .. } = event {
                self.names.theirs = member_of(model).into_bytes();
            }
        }
        if self.meter.fault.is_some() {
            return;
        }
        if self.verbatim {
            self.encoder.relay(frame, out);
            return self.names.put(out, at);
        }
        self.tell(out);
    }
}

/// The `model` member of a frame.
fn member_of(model: &str) -> String {
    format!("\"model\":{}", crate::body::quoted(model))
}

fn malformed() -> UpstreamFault {
    UpstreamFault::new(200, Cause::Malformed, "the provider's stream is malformed")
}

/// Appends the comment every stream of ours ends with.
pub fn final_comment(members: &serde_json::Value, out: &mut Vec<u8>) {
    sse::write_comment(out, format!("megarouter {}", crate::json::written(members)).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{Catalog, Dialect},
        dialect::{downstream, upstream},
        endpoint::Surface,
    };

    const BINARY: &[u8] = include_bytes!(
        "../../tests/fixtures/bedrock/bedrock--converse-stream--openai.gpt-oss-120b-1-3a0--stream--40a12b.response.bin"
    );

    fn relay(surface: Surface) -> Relay {
        let text = r#"{"version":1,"providers":[{"id":"a","name":"A","dialect":"bedrock_converse","base_url":"https://a.test",
            "credential":"K"}],"models":[{"provider":"a","id":"m","context_length":1000,"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}]}"#;
        let catalog = Catalog::parse(text).expect("valid");
        let from = Between { upstream: upstream(Dialect::BedrockConverse), same: false };
        let deployment = &catalog.deployments()[0];
        Relay::new(from, downstream(surface), deployment, 1, Stamp::default())
    }

    /// What a caller of chat completions gets of a binary stream, and whether it ended well.
    fn relayed(chunks: &[&[u8]]) -> (String, bool) {
        let mut relay = relay(Surface::ChatCompletions);
        let mut out = Vec::new();
        for chunk in chunks {
            relay.feed(chunk, &mut out);
        }
        relay.close(&mut out);
        (String::from_utf8(out).expect("text"), relay.meter.ended && relay.meter.fault.is_none())
    }

    #[test]
    fn a_binary_stream_is_read_at_any_cut() {
        let whole = relayed(&[BINARY]);
        assert!(whole.1 && whole.0.contains("\"Hello! How can I help\"") && whole.0.contains("reasoning"), "{whole:?}");
        for cut in [1, 11, 12, 100, 700, BINARY.len() - 1] {
            let (head, tail) = BINARY.split_at(cut);
            assert_eq!(relayed(&[head, tail]), whole, "cut at {cut}");
        }
        assert!(!relayed(&[&BINARY[..BINARY.len() - 500]]).1, "it ended within a message");
        assert!(!relayed(&[b"data: {}\n\ndata: [DONE]\n\n"]).1, "it is none");
    }

    #[test]
    fn a_fault_is_numbered_like_what_came_before() {
        for (surface, numbered) in [(Surface::Responses, true), (Surface::ChatCompletions, false)] {
            let (mut relay, mut out) = (relay(surface), Vec::new());
            relay.feed(&BINARY[..BINARY.len() - 500], &mut out);
            let text = String::from_utf8(out).expect("text");
            let events = text.matches("\"sequence_number\":").count() as u64;
            assert_eq!((relay.number(), events > 2), (events, numbered));
            let fault = crate::fault::Fault::unavailable("x", "y");
            let told = downstream(surface).encode_stream_fault(&fault, "r", relay.number());
            assert_eq!(String::from_utf8_lossy(&told).contains(&format!("\"sequence_number\":{events},")), numbered);
        }
    }
}
