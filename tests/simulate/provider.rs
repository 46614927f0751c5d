//! Providers that fail in every way they are known to, and callers' questions to them.
use crate::chance::Chance;
use megarouter::{catalog::Catalog, exchange::event::Head, usage::Usage};
use std::collections::VecDeque;

/// Four providers of one model at four prices: two of each dialect, of which two stop billing when the connection is closed.
pub const CATALOG: &str = r#"{"version":1,"providers":[
    {"id":"alpha","name":"Alpha","dialect":"openai_chat","base_url":"https://alpha.test","credential":"A","abort_stops_billing":"yes"},
    {"id":"beta","name":"Beta","dialect":"openai_chat","base_url":"https://beta.test","credential":"B","abort_stops_billing":"no"},
    {"id":"gamma","name":"Gamma","dialect":"anthropic","base_url":"https://gamma.test","credential":"C","abort_stops_billing":"yes"},
    {"id":"delta","name":"Delta","dialect":"anthropic","base_url":"https://delta.test","credential":"D"}],
    "models":[
    {"provider":"alpha","id":"m","context_length":200000,"max_output_tokens":100000,"input_usd_per_mtok":"1","output_usd_per_mtok":"2"},
    {"provider":"beta","id":"m","context_length":200000,"max_output_tokens":100000,"input_usd_per_mtok":"3","output_usd_per_mtok":"15"},
    {"provider":"gamma","id":"m","context_length":200000,"max_output_tokens":100000,"input_usd_per_mtok":"0.5","output_usd_per_mtok":"1.505"},
    {"provider":"delta","id":"m","context_length":200000,"max_output_tokens":100000,"input_usd_per_mtok":"2","output_usd_per_mtok":"7","request_usd":"0.0000123"}]}"#;

pub const PROVIDERS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

pub fn catalog() -> Catalog {
    Catalog::parse(CATALOG).expect("the catalog is valid")
}

/// The provider that an address belongs to.
pub fn provider_of(url: &str) -> &str {
    url.trim_start_matches("https://").split('.').next().unwrap_or_default()
}

const SSE: &str = "text/event-stream";
const JSON: &str = "application/json";
const HTML: &str = "text/html";

pub enum Opening {
    Head {
        after: u64,
        head: Head,
    },
    /// No connection.
    Broke {
        after: u64,
    },
    Silence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Ends,
    Breaks,
    Hangs,
}

/// One attempt's connection.
pub struct Upstream {
    pub provider: String,
    pub opening: Opening,
    /// Pieces of the body, each with the time it takes.
    pub pieces: VecDeque<(u64, Vec<u8>)>,
    pub then: Then,
    pub aborted: bool,
    /// What went to the exchange so far.
    pub heard: Vec<u8>,
    /// What a good answer tells of its usage; nothing for one that is not whole or tells nonsense.
    pub truth: Option<Usage>,
    /// Something was asked of it that it does not answer.
    pub hanging: bool,
    /// The pipe under way: which one, and when it began.
    pub pipe: Option<Pipe>,
    pub pipes: u32,
}

impl Upstream {
    /// It took the call, and did not end its answer.
    fn took(&self) -> bool {
        match &self.opening {
            Opening::Head { head, .. } => head.status == 200 && head.content_type != HTML,
            Opening::Silence => true,
            Opening::Broke { .. } => false,
        }
    }

    pub fn is_unheard(&self) -> bool {
        self.took() && (self.then != Then::Ends || matches!(self.opening, Opening::Silence))
    }

    /// Whether it has still to tell what it used.
    pub fn counts_to_come(&self) -> bool {
        self.pieces.iter().any(|(_, piece)| counts(piece))
    }

    /// Whether its last word of what it used was heard.
    pub fn has_counted(&self) -> bool {
        counts(&self.heard) && !self.counts_to_come()
    }
}

fn counts(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).contains("_tokens\":")
}

#[derive(Clone, Copy)]
pub struct Pipe {
    pub number: u32,
}

/// What a provider tells it used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    Sane,
    Zero,
    /// More than was asked for, yet not more than can be believed.
    Over,
    Absurd,
    Missing,
}

pub fn upstream(chance: &mut Chance, url: &str, stream: bool, output_bound: u64, storm: u64) -> Upstream {
    let provider = provider_of(url).to_owned();
    let chat = provider == "alpha" || provider == "beta";
    let counts = match chance.below(8 + 8 * storm) {
        8..16 => Counts::Zero,
        16..19 => Counts::Over,
        19..22 => Counts::Absurd,
        22..25 => Counts::Missing,
        _ => Counts::Sane,
    };
    let (input, output) = match counts {
        Counts::Sane | Counts::Missing => (chance.between(1, 12), chance.between(1, output_bound)),
        Counts::Zero => (0, 0),
        Counts::Over => (9, output_bound * 2),
        Counts::Absurd => (9, 400_000_000),
    };
    // Now and then an answer is so long that its hold has to grow.
    let (words, word) = if stream && output_bound > 5_000 && chance.one_in(2) {
        (2 + chance.place(8), "word ".repeat(chance.place(1_000)))
    } else {
        (chance.place(6), "word ".to_owned())
    };
    let output =
        if word.len() > 5 { output.max(words as u64 * word.len() as u64 / 8).min(output_bound * 2) } else { output };
    let told = (counts != Counts::Missing).then_some((input, output));
    let good: Vec<String> = match (chat, stream) {
        (true, true) => chat_frames(told, words, &word),
        (false, true) => messages_frames(told, words, &word),
        (true, false) => vec![chat_whole(told)],
        (false, false) => vec![messages_whole(told)],
    };
    // Some are cut off, which a check finds.
    let cut_off = !stream && chance.one_in(3);
    let short = |text: String| text.replace(r#""stop""#, r#""length""#).replace("end_turn", "max_tokens");
    let good: Vec<String> = if cut_off { good.into_iter().map(short).collect() } else { good };
    let whole = if chat { chat_whole(told) } else { messages_whole(told) };
    let cut: Vec<String> = good.iter().take(chance.place(good.len())).cloned().collect();
    let fault = if chat { CHAT_FAULT } else { MESSAGES_FAULT };
    let kind = if chance.below(4) < storm { chance.below(16) } else { 15 };
    let ok = if stream { (200, SSE) } else { (200, JSON) };
    let ((status, content_type), sent, then) = match kind {
        0 => ((503, JSON), vec!["{}".to_owned()], Then::Ends),
        1 => ((429, JSON), vec!["slow down".to_owned()], Then::Ends),
        2 => ((400, JSON), vec![r#"{"error":{"message":"no","type":"invalid_request_error"}}"#.to_owned()], Then::Ends),
        3 => ((500, HTML), vec!["<html>".to_owned()], Then::Hangs),
        4 => ((401, JSON), vec![], Then::Breaks),
        5 | 6 => (ok, cut, Then::Breaks),
        7 => (ok, cut, Then::Ends),
        8 | 9 => (ok, cut, Then::Hangs),
        10 if stream => (ok, [cut, vec![fault.to_owned()]].concat(), Then::Ends),
        10 => (ok, vec![r#"{"error":{"message":"boom","code":500}}"#.to_owned()], Then::Ends),
        11 => ((200, JSON), vec![whole], Then::Ends),
        12 => ((200, HTML), vec!["<html>".to_owned()], Then::Ends),
        _ => (ok, good, Then::Ends),
    };
    let is_whole = then == Then::Ends && (kind == 11 || kind > 12);
    let truth = (is_whole && matches!(counts, Counts::Sane | Counts::Zero)).then_some(Usage {
        input,
        output,
        ..Usage::default()
    });
    let head = Head { status, content_type: content_type.to_owned(), ..Head::default() };
    let after = chance.span(&[200, 2_000, 20_000]);
    let opening = match kind {
        13 => Opening::Broke { after },
        14 => Opening::Silence,
        _ => Opening::Head { after, head },
    };
    let pieces = sent.into_iter().map(|piece| (chance.span(&[5, 50, 8_000]), piece.into_bytes())).collect();
    let truth = truth.filter(|_| matches!(opening, Opening::Head { .. }));
    let (aborted, heard, hanging, pipe, pipes) = (false, Vec::new(), false, None, 0);
    Upstream { provider, opening, pieces, then, aborted, heard, truth, hanging, pipe, pipes }
}

// What they say.

const CHAT_FAULT: &str = "data: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\",\"code\":500}}\n\n";
const MESSAGES_FAULT: &str =
    "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"boom\"}}\n\n";

fn chat_usage((input, output): (u64, u64)) -> String {
    let total = input + output;
    format!(r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{total}}}"#)
}

fn chat_chunk(choices: &str, usage: &str) -> String {
    format!(
        "data: {{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":{choices},\"usage\":{usage}}}\n\n"
    )
}

fn chat_frames(told: Option<(u64, u64)>, words: usize, word: &str) -> Vec<String> {
    let delta = |delta: &str, finish: &str| format!(r#"[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]"#);
    let mut frames = vec![chat_chunk(&delta(r#"{"role":"assistant","content":""}"#, "null"), "null")];
    frames.extend((0..=words).map(|_| chat_chunk(&delta(&format!(r#"{{"content":"{word}"}}"#), "null"), "null")));
    frames.push(chat_chunk(&delta("{}", "\"stop\""), "null"));
    frames.extend(told.map(|told| chat_chunk("[]", &chat_usage(told))));
    frames.push("data: [DONE]\n\n".to_owned());
    frames
}

fn chat_whole(told: Option<(u64, u64)>) -> String {
    let usage = told.map_or_else(String::new, |told| format!(",\"usage\":{}", chat_usage(told)));
    format!(
        r#"{{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"word"}},"finish_reason":"stop"}}]{usage}}}"#
    )
}

fn messages_frames(told: Option<(u64, u64)>, words: usize, word: &str) -> Vec<String> {
    let event = |name: &str, rest: &str| format!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n");
    let (input, output) = told.unwrap_or((9, 1));
    let begun = if told.is_some() {
        format!(r#","usage":{{"input_tokens":{input},"output_tokens":{}}}"#, output.min(1))
    } else {
        String::new()
    };
    let start = format!(
        r#","message":{{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null{begun}}}"#
    );
    let mut frames = vec![
        event("message_start", &start),
        event("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
    ];
    let word = format!(r#","index":0,"delta":{{"type":"text_delta","text":"{word}"}}"#);
    frames.extend((0..=words).map(|_| event("content_block_delta", &word)));
    frames.push(event("content_block_stop", r#","index":0"#));
    let ended = if told.is_some() { format!(r#","usage":{{"output_tokens":{output}}}"#) } else { String::new() };
    frames
        .push(event("message_delta", &format!(r#","delta":{{"stop_reason":"end_turn","stop_sequence":null}}{ended}"#)));
    frames.push(event("message_stop", ""));
    frames
}

fn messages_whole(told: Option<(u64, u64)>) -> String {
    let usage = told.map_or_else(String::new, |(input, output)| {
        format!(r#","usage":{{"input_tokens":{input},"output_tokens":{output}}}"#)
    });
    format!(
        r#"{{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{{"type":"text","text":"word"}}],"stop_reason":"end_turn","stop_sequence":null{usage}}}"#
    )
}
