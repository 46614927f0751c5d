//! Wire grammars. One file of `dialect/` each, all of the same shape; [`upstream`] and
//! [`downstream`] find them by name.
//!
//! Architecture invariant: a dialect knows no provider, no price and no HTTP client. What differs between providers of one
//! dialect is data: [`Quirk`] words of the catalog.
use crate::{
    body::{Body, quoted},
    catalog::{Deployment, Dialect},
    chat,
    endpoint::{Headers, Surface},
    fault::{Fault, UpstreamFault},
    json::written,
    money::Nanos,
    sse::Frame,
    usage::Usage,
};
use std::{borrow::Cow, rc::Rc};

pub use foreign::translatable;
pub use openai_chat::generation_usage;

mod anthropic;
mod bedrock_converse;
mod carried;
mod cohere_v2;
mod completions;
mod embeddings;
#[cfg(test)]
mod fixtures;
mod foreign;
mod gathered;
mod gemini;
mod lenient;
mod openai_chat;
mod openai_responses;
mod prompts;
mod reading;
mod refusal;
mod sayable;
mod schema;
mod turns;
mod writing;

/// How a dialect is spoken to providers: the same functions for every dialect, each a pure translation.
pub trait Upstream {
    /// Writes the request for a deployment from the hub form.
    ///
    /// # Errors
    /// A 400 naming what this dialect cannot say.
    fn encode_request(&self, request: &chat::Request, order: &Order<'_>) -> Result<Call, Fault>;

    /// Passes a caller's request of the same dialect on, changing only what must change. Dialects that no caller speaks
    /// have nothing to pass on.
    ///
    /// # Errors
    /// As [`Upstream::encode_request`].
    fn forward(&self, _body: &Body, request: &chat::Request, order: &Order<'_>) -> Result<Call, Fault> {
        self.encode_request(request, order)
    }

    /// Reads a provider's whole answer.
    ///
    /// # Errors
    /// The fault inside a 200, or a body that is no answer.
    fn decode_response(&self, bytes: &[u8], deployment: &Deployment) -> Result<chat::Response, UpstreamFault>;

    /// Reads a provider's stream.
    fn decoder(&self, deployment: &Deployment) -> Box<dyn Decoder>;

    /// Reads a provider's error answer. `retry_after` is the header's value.
    fn decode_fault(&self, status: u16, bytes: &[u8], retry_after: Option<&str>) -> UpstreamFault {
        refusal::classify(status, bytes, retry_after)
    }

    /// How its streams are cut into frames.
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    /// The name of the header that carries a credential to a provider, and what stands before it.
    fn credential_header(&self, _deployment: &Deployment) -> (&'static str, &'static str) {
        ("authorization", "Bearer ")
    }
}

/// How a provider cuts its streams into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Sse,
    EventStream,
}

/// How a dialect is spoken to callers.
pub trait Downstream {
    /// Reads a caller's request.
    ///
    /// # Errors
    /// A 400 that names the parameter.
    fn decode_request(&self, body: &Body) -> Result<chat::Request, Fault>;

    /// Takes in what a request says in its headers.
    ///
    /// # Errors
    /// A 400 that names the header or the member it forbids.
    fn decode_headers(&self, _headers: &Headers, _body: &Body, _request: &mut chat::Request) -> Result<(), Fault> {
        Ok(())
    }

    /// Writes a whole answer for the caller.
    fn encode_response(&self, response: &chat::Response, stamp: &Stamp) -> Vec<u8>;

    /// Adapts a provider's whole answer of the same dialect: our model name and the cost.
    fn relay_response(&self, bytes: &[u8], stamp: &Stamp) -> Option<Vec<u8>>;

    /// Writes a stream for the caller.
    fn encoder(&self, stamp: Stamp) -> Box<dyn Encoder>;

    /// Writes a fault for the caller, as a whole body.
    fn encode_fault(&self, fault: &Fault, request_id: &str) -> Vec<u8>;

    /// Writes a fault into a stream that has begun, as one event. No terminator follows it. `number` is
    /// [`Encoder::number`] of that stream.
    fn encode_stream_fault(&self, fault: &Fault, request_id: &str, number: u64) -> Vec<u8>;

    /// The last frame of a stream, for a provider that leaves it out. Empty where no fixed frame ends a stream.
    fn terminator(&self) -> &'static [u8];
}

/// The dialect of a provider, by name.
#[must_use]
pub fn upstream(dialect: Dialect) -> &'static dyn Upstream {
    match dialect {
        Dialect::OpenaiChat => &openai_chat::OpenaiChat,
        Dialect::Anthropic => &anthropic::Anthropic,
        Dialect::OpenaiResponses => &openai_responses::OpenaiResponses,
        Dialect::Gemini => &gemini::Gemini,
        Dialect::BedrockConverse => &bedrock_converse::BedrockConverse,
        Dialect::CohereV2 => &cohere_v2::CohereV2,
    }
}

/// The dialect of a surface.
#[must_use]
pub fn downstream(surface: Surface) -> &'static dyn Downstream {
    match surface {
        Surface::ChatCompletions => &openai_chat::OpenaiChat,
        Surface::Messages => &anthropic::Anthropic,
        Surface::Responses => &openai_responses::OpenaiResponses,
        Surface::Completions => &completions::Completions,
        Surface::Embeddings => &embeddings::Embeddings,
    }
}

/// The dialect callers of a surface speak. `None` for the endpoints nobody translates.
fn of_surface(surface: Surface) -> Option<Dialect> {
    match surface {
        Surface::ChatCompletions => Some(Dialect::OpenaiChat),
        Surface::Messages => Some(Dialect::Anthropic),
        Surface::Responses => Some(Dialect::OpenaiResponses),
        Surface::Completions | Surface::Embeddings => None,
    }
}

/// What to speak with a deployment for a caller.
#[derive(Clone, Copy)]
pub struct Between {
    pub upstream: &'static dyn Upstream,
    /// It is the caller's own dialect: requests are forwarded and answers relayed.
    pub same: bool,
}

/// What to speak with a deployment: the caller's own dialect if it is understood there, so that nothing is lost in
/// translation, else the deployment's first.
#[must_use]
pub fn between(surface: Surface, deployment: &Deployment) -> Between {
    match (surface, of_surface(surface)) {
        (Surface::Completions, _) => Between { upstream: &completions::Completions, same: true },
        (Surface::Embeddings, _) => Between { upstream: &embeddings::Embeddings, same: true },
        (_, Some(own)) if deployment.speaks(own) => Between { upstream: upstream(own), same: true },
        _ => Between { upstream: upstream(deployment.dialect), same: false },
    }
}

/// What is wanted of one attempt.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    pub deployment: &'a Deployment,
    /// The bound on output tokens that the hold covers; always sent.
    pub max_output_tokens: u64,
}

/// A request to a provider, without its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Appended to the provider's base URL.
    pub path: String,
    /// Beside `content-type` and the credential.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// What our answers say of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Our request id; dialects derive the answer's id from it.
    pub request_id: String,
    /// The model name the caller gets back.
    pub model: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Whether a stream ends with usage.
    pub wants_usage: bool,
    /// The charge, once it is known.
    pub cost: Option<Nanos>,
    /// The caller's request: some answers repeat it, or take the form it asks for.
    pub asked: Rc<Body>,
}

/// What a frame of a stream means to a relay that passes bytes of the same dialect on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance {
    /// Nothing but content: pass it on unread.
    Pass,
    /// Read it: it may hold usage, an end, a fault or a finish.
    Read,
}

/// Reads a provider's stream, frame by frame.
pub trait Decoder {
    /// Whether the frame can hold anything but content. Cheap; must never answer `Pass` for usage, finish, fault or end.
    fn glance(&self, frame: &Frame<'_>) -> Glance;

    /// Appends the events of a frame. Frames that cannot be read count as malformed.
    ///
    /// # Errors
    /// The frame holds data that is no event of this dialect.
    fn decode(&mut self, frame: &Frame<'_>, events: &mut Vec<chat::Event>) -> Result<(), MalformedFrame>;

    /// The provider closed the stream: appends what is still owed, and [`chat::Event::End`] if a clean close is this
    /// dialect's way to end and everything was told.
    fn close(&mut self, events: &mut Vec<chat::Event>);
}

/// A frame's data is not what the dialect says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedFrame;

/// Writes a stream for a caller, event by event.
pub trait Encoder {
    /// Appends the bytes of an event. [`chat::Event::Usage`] is kept until [`Encoder::finish`].
    fn encode(&mut self, event: &chat::Event, out: &mut Vec<u8>);

    /// Appends what ends the stream: the finish if it is still owed, usage with its cost, the terminator.
    fn finish(&mut self, usage: Option<&Usage>, cost: Option<Nanos>, out: &mut Vec<u8>);

    /// A frame of the same dialect on its way through: appends it as the caller shall see it (usage removed for those who
    /// did not ask, or with its cost; the terminator held back for [`Encoder::finish_relayed`]).
    fn relay(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>);

    /// The number of the next event, in dialects that number those they write.
    fn number(&self) -> u64 {
        0
    }

    /// Appends what ends a relayed stream: the usage frame held back, with its cost, and the terminator.
    fn finish_relayed(&mut self, cost: Option<Nanos>, out: &mut Vec<u8>);
}

/// A caller's body on its way to a provider: with these changes, and without what is the router's.
fn routed(body: &Body, mut changes: Vec<(&str, Option<Cow<'_, str>>)>) -> Vec<u8> {
    changes.extend(reading::OURS.map(|name| (name, None)));
    if body.get("provider").is_some_and(|raw| raw.starts_with('{')) {
        changes.push(("provider", None));
    }
    // Callers' word for OpenAI's "default".
    if body.get("service_tier") == Some("\"standard\"") {
        changes.push(("service_tier", None));
    }
    body.rewritten(&changes)
}

/// A caller's tools without the hosted ones. `None` where there are none of these, or nothing but these.
fn own_tools(body: &Body, request: &chat::Request) -> Option<String> {
    if request.hosted.is_empty() {
        return None;
    }
    let mut tools: Vec<serde_json::Value> = serde_json::from_str(body.set("tools")?).ok()?;
    drop_tools(&mut tools, &|kind| request.hosted.iter().any(|hosted| hosted == kind));
    (!tools.is_empty()).then(|| written(&serde_json::Value::Array(tools)))
}

/// Leaves out tools of some kinds, also within namespaces.
fn drop_tools(tools: &mut Vec<serde_json::Value>, unwanted: &dyn Fn(&str) -> bool) {
    tools.retain(|tool| !tool.get("type").and_then(|kind| kind.as_str()).is_some_and(unwanted));
    for tool in tools {
        if let Some(serde_json::Value::Array(inner)) = tool.get_mut("tools") {
            drop_tools(inner, unwanted);
        }
    }
}

/// What becomes of a forwarded request's tools where some were hosted.
fn without_hosted(body: &Body, request: &chat::Request, changes: &mut Vec<(&str, Option<Cow<'_, str>>)>) {
    if !request.hosted.is_empty() {
        let own = own_tools(body, request);
        if own.is_none() {
            changes.push(("tool_choice", None));
        }
        changes.push(("tools", own.map(Cow::Owned)));
    }
}

/// A provider's usage object with the charge in it.
fn priced(usage: &str, cost: Nanos) -> Option<String> {
    let cost = quoted(&cost.to_string());
    let told = Body::parse(usage.as_bytes().to_vec()).ok()?.rewritten(&[("cost_usd", Some(cost.into()))]);
    String::from_utf8(told).ok()
}
