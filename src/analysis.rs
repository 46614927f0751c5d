//! What a request tells of itself before any model is called: its needs, its size, its task, how hard it looks.
//!
//! Needs and bounds are facts and decide what may be called. What kind of request it is (its *cluster*) and how hard it looks are
//! for choosing: they say what to learn from, and how much an abler model is likely to be worth.
use crate::{
    chat::{Effort, Format, Media, Part, Request, Role, Tool},
    endpoint::{Overrides, Priority},
    json::written,
    quality::{
        Prior,
        case::Case,
        sketch::{Fnv, Rarity, Reader, Sketch},
    },
};

mod tokens;

pub use tokens::estimate;

/// What a deployment must be able to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub tools: bool,
    pub vision: bool,
    pub audio: bool,
    pub files: bool,
    pub json_schema: bool,
    pub prefill: bool,
}

/// The kind of work, by structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    Chat,
    /// Tools are offered.
    Agent,
    /// The answer has a schema.
    Extraction,
    Vision,
    Code,
    LongContext,
}

impl Task {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Agent => "agent",
            Self::Extraction => "extraction",
            Self::Vision => "vision",
            Self::Code => "code",
            Self::LongContext => "long_context",
        }
    }
}

/// How much thinking a request is likely to need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    None,
    Low,
    High,
}

impl Depth {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::High => "high",
        }
    }

    /// By what the caller asked for, else by how hard it looks.
    fn of(asked: Option<Effort>, difficulty: f32) -> Self {
        match asked {
            Some(Effort::None | Effort::Minimal) => Self::None,
            Some(Effort::Low | Effort::Medium) => Self::Low,
            None if difficulty < DEPTH_LOW => Self::None,
            None if difficulty < DEPTH_HIGH => Self::Low,
            Some(Effort::High | Effort::XHigh | Effort::Max) | None => Self::High,
        }
    }

    /// The effort that is asked for in its place.
    #[must_use]
    pub fn effort(self) -> Effort {
        match self {
            Self::None => Effort::Minimal,
            Self::Low => Effort::Low,
            Self::High => Effort::High,
        }
    }

    /// How many times its visible answer a model that reasons is likely to write. 1, 2 and 6: the rough middle of what providers
    /// tell of efforts none, low and high.
    #[must_use]
    pub fn tokens_times(self) -> u64 {
        match self {
            Self::None => 1,
            Self::Low => 2,
            Self::High => 6,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Signals {
    pub needs: Needs,
    pub task: Task,
    /// The request as quality is estimated of it: its text, its cluster, and how hard it looks.
    pub case: Case,
    pub depth: Depth,
    /// How much reasoning the caller asked for; `None` leaves it open.
    pub effort: Option<Effort>,
    /// The caller named no service tier, not even the usual one.
    pub tier_is_open: bool,
    pub priority: Priority,
    /// Prompt tokens, as estimated: for ranking.
    pub prompt_tokens: u64,
    /// Those of the longest of several prompts, which a context has to hold.
    pub longest_prompt_tokens: u64,
    /// Prompt tokens, never fewer than any tokenizer counts: for holds.
    pub prompt_tokens_max: u64,
    /// Output tokens, as expected: for ranking.
    pub output_tokens: u64,
    pub choices: u64,
}

/// A byte-level tokenizer never makes more tokens than bytes. What providers add around messages and tools comes on top;
/// the additions measured on recorded exchanges were at most 870 tokens, with tools 1,400.
const OVERHEAD_TOKENS: u64 = 1_024;
const OVERHEAD_TOKENS_TOOLS: u64 = 2_048;
const OVERHEAD_TOKENS_MESSAGE: u64 = 16;
/// The most any provider counts for one image at its finest setting, rounded up: gpt-4o-mini with 2,833 and 5,667 for each
/// of eight tiles, <https://platform.openai.com/docs/guides/images-vision>.
const IMAGE_TOKENS_MAX: u64 = 50_000;
const IMAGE_TOKENS: u64 = 1_000;
/// A file: its pages are counted, not its bytes.
const FILE_TOKENS_MAX: u64 = 200_000;
/// Prompt length from which the length itself is the task.
const LONG_CONTEXT_TOKENS: u64 = 60_000;
/// An answer's expected length where nothing bounds it.
const OUTPUT_TOKENS: u64 = 500;
/// Difficulties from which a request is taken to need some thinking, and much.
const DEPTH_LOW: f32 = 0.45;
const DEPTH_HIGH: f32 = 0.65;
/// What of the instructions tells one application from another: their beginning, without digits, which are dates and ids.
const INSTRUCTIONS_BYTES: usize = 512;

#[derive(Default)]
struct Tally {
    bytes: u64,
    tokens: f64,
    images: u64,
    media_bytes: u64,
    files_count: u64,
    code_marks: u64,
    audio: bool,
    files: bool,
}

impl Tally {
    fn text(&mut self, text: &str) {
        self.bytes += text.len() as u64;
        self.tokens += tokens::estimate(text);
        self.code_marks += fences(text);
    }

    fn media(&mut self, source: &Media) {
        match source {
            Media::Base64 { data, .. } => self.media_bytes += data.len() as u64,
            Media::Url(url) if url.starts_with("data:") => self.media_bytes += url.len() as u64,
            Media::Url(_) | Media::Id(_) => {}
        }
    }

    fn part(&mut self, part: &Part) {
        match part {
            Part::Text { text, .. } | Part::Refusal(text) => self.text(text),
            Part::Reasoning { text, signature } => {
                self.text(text);
                // Sealed reasoning is read by the provider, and billed.
                self.bytes += signature.as_ref().map_or(0, String::len) as u64;
            }
            Part::RedactedReasoning(data) => self.bytes += data.len() as u64,
            Part::Image { .. } => self.images += 1,
            Part::Audio { data, .. } => {
                self.audio = true;
                self.media_bytes += data.len() as u64;
            }
            Part::File { source, .. } => {
                self.files = true;
                self.files_count += 1;
                self.media(source);
            }
            Part::ToolCall { id, name, arguments } => {
                // An id may carry a signature.
                self.bytes += id.len() as u64;
                self.text(name);
                self.text(arguments);
            }
            Part::ToolResult { parts, .. } => parts.iter().for_each(|part| self.part(part)),
        }
    }
}

/// How often a block of code begins or ends.
fn fences(text: &str) -> u64 {
    let (mut rest, mut count) = (text, 0);
    while let Some((_, after)) = rest.split_once('`') {
        let fence = after.strip_prefix("``");
        count += u64::from(fence.is_some());
        rest = fence.unwrap_or(after);
    }
    count
}

/// Reads the signals of a request.
#[must_use]
pub fn analyse(request: &Request, overrides: &Overrides, prior: &Prior) -> Signals {
    let (mut tally, mut longest) = (Tally::default(), 0.0_f64);
    for message in &request.messages {
        let before = tally.tokens;
        message.parts.iter().for_each(|part| tally.part(part));
        longest = longest.max(tally.tokens - before);
    }
    // What the hub has no word for goes on to providers of the same dialect.
    let rest: u64 = request.rest.values().map(|value| written(value).len() as u64).sum();
    let schemas: u64 = request.tools.iter().map(tool_bytes).sum::<u64>() + format_bytes(&request.format);
    let messages = request.messages.len() as u64;
    let overhead = if request.tools.is_empty() { OVERHEAD_TOKENS } else { OVERHEAD_TOKENS_TOOLS };
    let prompt_tokens =
        whole(tally.tokens) + schemas / 4 + tally.images * IMAGE_TOKENS + tally.media_bytes / 8 + messages * 4;
    let prompt_tokens_max = tally.bytes
        + rest
        + schemas
        + tally.media_bytes
        + tally.images * IMAGE_TOKENS_MAX
        + tally.files_count * FILE_TOKENS_MAX
        + messages * OVERHEAD_TOKENS_MESSAGE
        + overhead;
    let needs = Needs {
        tools: !request.tools.is_empty(),
        vision: tally.images > 0,
        audio: tally.audio,
        files: tally.files,
        json_schema: matches!(request.format, Format::JsonSchema { .. }),
        prefill: request.messages.last().is_some_and(|message| message.role == Role::Assistant),
    };
    let sketch = sketch(request, &prior.rarity);
    let case = Case::new(prior, &sketch, structure(request), cluster(request, overrides));
    Signals {
        needs,
        task: task(needs, prompt_tokens, tally.code_marks),
        depth: Depth::of(request.effort, case.hardness),
        effort: request.effort,
        tier_is_open: request.service_tier.is_none(),
        case,
        priority: overrides.priority,
        prompt_tokens,
        longest_prompt_tokens: if request.separate { whole(longest) } else { prompt_tokens },
        prompt_tokens_max,
        output_tokens: request.max_output_tokens.map_or(OUTPUT_TOKENS, |cap| cap.min(OUTPUT_TOKENS)),
        choices: u64::from(request.choices.unwrap_or(1).max(1)),
    }
}

/// What the text of a request looks like: its last turn by the user, and the names of its tools. Earlier turns and instructions
/// say what the traffic is, which the cluster says better.
#[must_use]
pub fn sketch(request: &Request, rarity: &Rarity) -> Sketch {
    let mut reader = Reader::default();
    let said = request.messages.iter().rev().find(|message| message.role == Role::User);
    for part in said.iter().flat_map(|message| &message.parts) {
        if let Part::Text { text, .. } = part {
            reader.text(text);
        }
    }
    for tool in &request.tools {
        match tool {
            Tool::Function { name, .. } => reader.tool(name, usize::try_from(tool_bytes(tool)).unwrap_or_default()),
            Tool::Native(_) => reader.tool("", 0),
        }
    }
    reader.finish(rarity)
}

fn task(needs: Needs, prompt_tokens: u64, code_marks: u64) -> Task {
    if needs.vision {
        Task::Vision
    } else if prompt_tokens >= LONG_CONTEXT_TOKENS {
        Task::LongContext
    } else if needs.tools {
        Task::Agent
    } else if needs.json_schema {
        Task::Extraction
    } else if code_marks > 0 {
        Task::Code
    } else {
        Task::Chat
    }
}

/// How hard a request looks by what stands around its text, 0 to 1: the effort asked for, tools to choose from, turns so far.
fn structure(request: &Request) -> f32 {
    let effort = match request.effort.unwrap_or(Effort::None) {
        Effort::None | Effort::Minimal => 0.0,
        Effort::Low => 0.2,
        Effort::Medium => 0.4,
        Effort::High | Effort::XHigh | Effort::Max => 0.7,
    };
    let tools = 0.2 * ratio(request.tools.len(), 10).min(1.0);
    let turns = 0.2 * ratio(request.messages.len(), 20).min(1.0);
    1.0 - (1.0 - effort) * (1.0 - tools) * (1.0 - turns)
}

/// What kind of request it is by everything but its text: requests of one application are alike, whatever they ask. The name
/// asked for, the caller's word for the task, the beginning of the instructions, the tools, the form of the answer.
fn cluster(request: &Request, overrides: &Overrides) -> u32 {
    let mut hash = Fnv::default();
    hash.take(&request.model);
    hash.take(overrides.task.as_deref().unwrap_or_default());
    let instructions = request.messages.iter().take_while(|message| message.role == Role::System);
    for part in instructions.flat_map(|message| &message.parts) {
        if let Part::Text { text, .. } = part {
            text.bytes()
                .take(INSTRUCTIONS_BYTES)
                .filter(|byte| !byte.is_ascii_digit())
                .for_each(|byte| hash.byte(byte));
        }
    }
    for tool in &request.tools {
        if let Tool::Function { name, .. } = tool {
            hash.take(name);
        }
    }
    match &request.format {
        Format::Text => {}
        Format::JsonObject => hash.take("json"),
        Format::JsonSchema { schema, .. } => hash.take(&written(schema)),
    }
    // 0 stands for all clusters together.
    hash.0.max(1)
}

#[expect(clippy::cast_precision_loss, reason = "counts of one request")]
fn ratio(count: usize, of: usize) -> f32 {
    count as f32 / of as f32
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate above 0")]
fn whole(tokens: f64) -> u64 {
    tokens.ceil() as u64
}

fn tool_bytes(tool: &Tool) -> u64 {
    match tool {
        Tool::Function { name, description, parameters, .. } => {
            let schema = parameters.as_ref().map_or(0, |schema| written(schema).len());
            (name.len() + description.as_ref().map_or(0, String::len) + schema) as u64 + OVERHEAD_TOKENS_MESSAGE
        }
        Tool::Native(tool) => written(tool).len() as u64 + OVERHEAD_TOKENS,
    }
}

fn format_bytes(format: &Format) -> u64 {
    match format {
        Format::JsonSchema { schema, .. } => written(schema).len() as u64,
        Format::Text | Format::JsonObject => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Message;

    fn asking(text: &str) -> Request {
        let parts = vec![Part::text(text)];
        Request { messages: vec![Message { role: Role::User, parts, name: None }], ..Request::default() }
    }

    fn signals(request: &Request) -> Signals {
        analyse(request, &Overrides::default(), &Prior::shipped())
    }

    #[test]
    fn the_bound_is_never_below_the_bytes() {
        for text in ["", "hello", "こんにちは", &"x".repeat(10_000)] {
            let signals = signals(&asking(text));
            assert!(
                signals.prompt_tokens_max >= text.len() as u64 && signals.prompt_tokens_max >= signals.prompt_tokens
            );
        }
    }

    #[test]
    fn fences_are_counted_one_after_the_other() {
        for text in ["", "`", "a ``` b", "````", "``````", "`` ```rust", "``a``` ````` `", "日```本```"] {
            assert_eq!(fences(text), text.matches("```").count() as u64, "{text}");
        }
    }

    #[test]
    fn needs_follow_the_parts() {
        let mut request = asking("what is this?");
        let image = Part::Image { source: Media::Url("https://x.test/a.png".into()), detail: None, cache: None };
        request.messages[0].parts.push(image);
        request.tools.push(Tool::Native(crate::json::json!({"type": "web_search"})));
        let told = signals(&request);
        assert!(told.needs.vision && told.needs.tools && !told.needs.prefill);
        assert_eq!(told.task, Task::Vision);
    }

    #[test]
    fn nothing_that_is_sent_escapes_the_bound() {
        let bare = signals(&asking("hi")).prompt_tokens_max;
        let big = "x".repeat(5_000);
        let mut sealed = asking("hi");
        sealed.messages[0].parts.push(Part::Reasoning { text: String::new(), signature: Some(big.clone()) });
        let mut signed = asking("hi");
        signed.messages[0].parts.push(Part::ToolCall { id: big.clone(), name: "f".into(), arguments: "{}".into() });
        let mut unknown = asking("hi");
        unknown.rest.insert("prediction".into(), crate::json::json!({"content": big}));
        for request in [sealed, signed, unknown] {
            assert!(signals(&request).prompt_tokens_max >= bare + 5_000);
        }
    }

    #[test]
    fn of_several_prompts_the_longest_must_fit() {
        let mut request = asking(&"word ".repeat(100));
        request.messages = vec![request.messages[0].clone(); 30];
        let together = signals(&request);
        assert_eq!(together.longest_prompt_tokens, together.prompt_tokens);
        request.separate = true;
        let apart = signals(&request);
        assert!(
            apart.longest_prompt_tokens * 29 < apart.prompt_tokens && apart.prompt_tokens == together.prompt_tokens
        );
    }

    #[test]
    fn harder_looking_requests_score_higher() {
        let easy = signals(&asking("hi"));
        let mut hard = asking(&"Prove that the kernel of a continuous functional is closed. ".repeat(20));
        let text = signals(&hard);
        hard.effort = Some(Effort::High);
        let asked = signals(&hard);
        assert!(easy.case.hardness < text.case.hardness && text.case.hardness < asked.case.hardness);
        assert_eq!((easy.depth, asked.depth), (Depth::None, Depth::High));
    }

    #[test]
    fn a_cluster_is_an_application_not_a_question() {
        let of = |model: &str, system: &str, text: &str| {
            let mut request = asking(text);
            request.model = model.to_owned();
            let parts = vec![Part::text(system)];
            request.messages.insert(0, Message { role: Role::System, parts, name: None });
            signals(&request).case.cluster
        };
        let one = of("auto", "You sort mail. Today is 2026-11-28.", "Sort this.");
        assert_eq!(one, of("auto", "You sort mail. Today is 2027-01-02.", "And this, please!"));
        for other in [
            of("triage", "You sort mail. Today is 2026-11-28.", "Sort this."),
            of("auto", "You write mail.", "Sort this."),
        ] {
            assert_ne!(one, other);
        }
        let mut schema = asking("Sort this.");
        schema.format = Format::JsonObject;
        assert_ne!(signals(&schema).case.cluster, signals(&asking("Sort this.")).case.cluster);
    }
}
