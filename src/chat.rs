//! The hub: one canonical form of a chat request, its answer and its stream, between all dialects.
//!
//! It holds what at least two dialects can say. What only the caller's dialect knows stays in [`Request::rest`] and goes
//! on only to providers that speak the same dialect.
use crate::{json, usage::Usage};
use serde::Serialize;
use serde_json::{Map, Value};

/// One turn of a conversation, asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The model's name as the caller wrote it.
    pub model: String,
    pub messages: Vec<Message>,
    /// Each message is a prompt of its own, as in embeddings: a context has to hold the longest of them, not all.
    pub separate: bool,
    pub tools: Vec<Tool>,
    pub tool_choice: Option<ToolChoice>,
    pub parallel_tool_calls: Option<bool>,
    pub format: Format,
    /// The caller's bound on output tokens, reasoning included.
    pub max_output_tokens: Option<u64>,
    pub sampling: Sampling,
    pub effort: Option<Effort>,
    pub service_tier: Option<ServiceTier>,
    /// How many answers (OpenAI's `n`).
    pub choices: Option<u32>,
    pub stream: bool,
    /// Whether a streamed answer shall end with usage. Always true where the dialect always tells it.
    pub wants_usage: bool,
    /// An opaque end-user id for the provider's abuse control.
    pub user: Option<String>,
    /// Headers that go on to providers of the caller's own dialect.
    pub headers: Vec<(&'static str, String)>,
    /// The types of tools that were left out because a provider would run them.
    pub hosted: Vec<String>,
    /// Members without a place in the hub.
    pub rest: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// OpenAI's `system` and `developer`.
    System,
    User,
    Assistant,
    /// The results of tool calls. Dialects without this role carry them in the user's turn.
    Tool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub role: Role,
    pub parts: Vec<Part>,
    pub name: Option<String>,
}

/// A piece of a message or of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Text {
        text: String,
        cache: Option<CacheMark>,
    },
    Image {
        source: Media,
        detail: Option<String>,
        cache: Option<CacheMark>,
    },
    Audio {
        /// Base64.
        data: String,
        format: String,
    },
    File {
        source: Media,
        name: Option<String>,
        cache: Option<CacheMark>,
    },
    Refusal(String),
    Reasoning {
        text: String,
        /// What the provider wants back unchanged.
        signature: Option<String>,
    },
    /// Reasoning the provider hides but wants back unchanged.
    RedactedReasoning(String),
    ToolCall {
        id: String,
        name: String,
        /// JSON text as the model wrote it; may be empty or broken.
        arguments: String,
    },
    ToolResult {
        id: String,
        parts: Vec<Part>,
        is_error: bool,
        cache: Option<CacheMark>,
    },
}

impl Part {
    /// Text without a cache mark.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), cache: None }
    }
}

/// Where the bytes of an image or a file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    Url(String),
    Base64 {
        media_type: String,
        data: String,
    },
    /// An id at the provider.
    Id(String),
}

/// A prompt-cache breakpoint after the part it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMark {
    /// `5m`, `1h`; absent is the provider's default.
    pub ttl: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Tool {
    Function {
        name: String,
        description: Option<String>,
        /// JSON Schema of the arguments.
        parameters: Option<Value>,
        strict: Option<bool>,
        cache: Option<CacheMark>,
    },
    /// A tool only its own dialect knows, as it came.
    Native(Value),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    Auto,
    None,
    Required,
    Named(String),
}

/// The form of the answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    #[default]
    Text,
    JsonObject,
    JsonSchema {
        name: String,
        description: Option<String>,
        schema: Value,
        strict: Option<bool>,
    },
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<u64>,
    pub frequency_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub seed: Option<i64>,
    pub stop: Vec<String>,
}

/// How much a model shall reason before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

json::words!(Effort {
    None = "none",
    Minimal = "minimal",
    Low = "low",
    Medium = "medium",
    High = "high",
    XHigh = "xhigh",
    Max = "max",
});

impl Effort {
    pub const ALL: [Self; 7] = [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh, Self::Max];

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.word() == word)
    }
}

/// How urgently a provider serves a call, where it sells that apart. Absent is the standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    Flex,
    Priority,
}

json::words!(ServiceTier { Flex = "flex", Priority = "priority" });

impl ServiceTier {
    /// The tier of that word; `None` for the standard one.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Flex, Self::Priority].into_iter().find(|tier| tier.word() == word)
    }

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Priority => "priority",
        }
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
    /// The provider gave up; never shown as a stop.
    Error,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// The provider's id of the answer.
    pub id: String,
    /// The provider's name of the model.
    pub model: String,
    pub choices: Vec<Choice>,
    /// `None` where the provider told nothing: not the same as zero.
    pub usage: Option<Usage>,
}

impl Response {
    /// Whether it came to its end and there is nothing in it, for no reason.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let nothing = |part: &Part| matches!(part, Part::Text { text, .. } if text.is_empty());
        self.choices.iter().all(|choice| choice.finish == Finish::Stop && choice.parts.iter().all(nothing))
    }

    /// The same answer as a stream would have told it: for a provider that answers whole where a stream was asked for.
    #[must_use]
    pub fn into_events(self) -> Vec<Event> {
        let mut events = vec![Event::Start { id: self.id, model: self.model }];
        for (choice, answer) in (0..).zip(self.choices) {
            let mut calls = 0;
            for part in answer.parts {
                part_events(part, choice, &mut calls, &mut events);
            }
            events.push(Event::Finish { choice, finish: answer.finish, native: answer.native_finish });
        }
        events.extend(self.usage.map(Event::Usage));
        events.push(Event::End);
        events
    }
}

fn part_events(part: Part, choice: u32, calls: &mut u32, events: &mut Vec<Event>) {
    match part {
        Part::Text { text, .. } => events.push(Event::Text { choice, text }),
        Part::Refusal(text) => events.push(Event::Refusal { choice, text }),
        Part::Reasoning { text, signature } => {
            events.push(Event::Reasoning { choice, text });
            events.extend(signature.map(|signature| Event::Signature { choice, signature }));
        }
        Part::RedactedReasoning(data) => events.push(Event::RedactedReasoning { choice, data }),
        Part::ToolCall { id, name, arguments } => {
            let index = *calls;
            *calls += 1;
            events.push(Event::ToolStart { choice, index, id, name });
            events.push(Event::ToolArguments { choice, index, fragment: arguments });
        }
        // A model answers with none of these.
        Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::ToolResult { .. } => {}
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub parts: Vec<Part>,
    pub finish: Finish,
    /// The provider's own word for it.
    pub native_finish: Option<String>,
}

/// One step of a streamed answer. Tool calls are numbered from 0 without gaps within a choice, whatever a provider sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// First, once.
    Start {
        id: String,
        model: String,
    },
    Text {
        choice: u32,
        text: String,
    },
    Refusal {
        choice: u32,
        text: String,
    },
    Reasoning {
        choice: u32,
        text: String,
    },
    /// Closes the reasoning before it.
    Signature {
        choice: u32,
        signature: String,
    },
    RedactedReasoning {
        choice: u32,
        data: String,
    },
    /// Id and name are known and not empty.
    ToolStart {
        choice: u32,
        index: u32,
        id: String,
        name: String,
    },
    ToolArguments {
        choice: u32,
        index: u32,
        fragment: String,
    },
    Finish {
        choice: u32,
        finish: Finish,
        native: Option<String>,
    },
    /// Cumulative: the last one counts.
    Usage(Usage),
    /// A failure inside a stream that had begun with 200.
    Fault(crate::fault::UpstreamFault),
    /// The provider's own terminator. Its absence means the stream was cut.
    End,
}
