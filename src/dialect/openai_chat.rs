//! `OpenAI` chat completions, and the many hosts that imitate them.
//!
//! <https://platform.openai.com/docs/api-reference/chat/create>, streams
//! <https://platform.openai.com/docs/api-reference/chat-streaming>; members only imitators know are marked where they are read.
//!
//! Tokens: `prompt_tokens` holds the cached and cache-written part (`prompt_tokens_details`), `completion_tokens` holds the
//! reasoning (`completion_tokens_details`). So input = prompt - cached - written, output = completion, except for
//! deployments marked `output_excludes_reasoning` (xAI: output = completion + reasoning) and `output_total_minus_prompt`
//! (Google: output = total - prompt).
use super::{Call, Decoder, Downstream, Encoder, Order, Stamp, Upstream};
use crate::json::json;
use crate::{
    body::Body,
    catalog::Deployment,
    chat::{Finish, Request, Response},
    fault::{Cause, Fault, UpstreamFault},
};
use serde_json::Value;

mod call;
mod decoder;
mod encoder;
mod fault;
mod history;
mod request;
mod response;
mod usage;

// Cohere has the same messages and tools.
pub(super) use call::tool;
pub(super) use history::encode as messages;
pub use usage::of_generation as generation_usage;

pub(super) struct OpenaiChat;

impl Upstream for OpenaiChat {
    fn encode_request(&self, request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
        call::encode(request, order)
    }

    fn forward(&self, body: &Body, request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
        call::forward(body, request, order)
    }

    fn decode_response(&self, bytes: &[u8], deployment: &Deployment) -> Result<Response, UpstreamFault> {
        response::decode(bytes, deployment)
    }

    fn decoder(&self, deployment: &Deployment) -> Box<dyn Decoder> {
        Box::new(decoder::ChatDecoder::new(deployment))
    }
}

impl Downstream for OpenaiChat {
    fn decode_request(&self, body: &Body) -> Result<Request, Fault> {
        request::decode(body)
    }

    fn encode_response(&self, response: &Response, stamp: &Stamp) -> Vec<u8> {
        response::encode(response, stamp)
    }

    fn relay_response(&self, bytes: &[u8], stamp: &Stamp) -> Option<Vec<u8>> {
        response::relay(bytes, stamp)
    }

    fn encoder(&self, stamp: Stamp) -> Box<dyn Encoder> {
        Box::new(encoder::ChatEncoder::new(&stamp))
    }

    fn encode_fault(&self, fault: &Fault, _request_id: &str) -> Vec<u8> {
        fault::encode(fault)
    }

    fn encode_stream_fault(&self, fault: &Fault, _request_id: &str, _number: u64) -> Vec<u8> {
        fault::encode_in_stream(fault)
    }

    fn terminator(&self) -> &'static [u8] {
        b"data: [DONE]\n\n"
    }
}

/// A host's word for the end of an answer. Words nobody knows are a stop: the raw one is kept beside.
fn finish_of(word: &str) -> Finish {
    match word {
        "length"
        | "max_tokens"
        | "MAX_TOKENS"
        | "model_length"
        | "model_context_window_exceeded"
        | "max_output_tokens" => Finish::Length,
        "tool_calls" | "function_call" | "tool_use" | "TOOL_CALL" => Finish::ToolCalls,
        "content_filter" | "content_filtered" | "refusal" | "sensitive" | "SAFETY" | "RECITATION" | "BLOCKLIST"
        | "PROHIBITED_CONTENT" | "SPII" => Finish::ContentFilter,
        "error"
        | "ERROR"
        | "network_error"
        | "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "MALFORMED_RESPONSE" => Finish::Error,
        _ => Finish::Stop,
    }
}

/// Our word. Strict clients know no others than `OpenAI`'s.
fn finish_word(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter => "content_filter",
        // Not in OpenAI's set, and meant to be noticed. Whole answers and streams become faults before it is written.
        Finish::Error => "error",
    }
}

/// A finish that says the answer failed.
fn gave_up(word: Option<&str>) -> UpstreamFault {
    UpstreamFault::new(200, Cause::Server, format!("The provider gave up: {}.", word.unwrap_or("error")))
}

/// Whether the caller used the deprecated functions, and reads calls in that form.
fn reads_functions(stamp: &Stamp) -> bool {
    stamp.asked.set("functions").is_some()
}

/// The id of an answer of ours.
fn answer_id(request_id: &str) -> String {
    format!("chatcmpl-{}", request_id.strip_prefix("req_").unwrap_or(request_id))
}

/// Mistral's `thinking`: text, or a list of text pieces.
fn thinking_text(thinking: &Value) -> String {
    match thinking {
        Value::String(text) => text.clone(),
        Value::Array(pieces) => pieces.iter().filter_map(|piece| piece.get("text").unwrap_or(piece).as_str()).collect(),
        _ => String::new(),
    }
}

fn call_object(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

/// `OpenRouter`'s form of reasoning that must come back unchanged: the chat format has no field of its own.
fn signed_detail(text: &str, signature: &str) -> Value {
    json!({"type": "reasoning.text", "text": text, "signature": signature})
}

fn redacted_detail(data: &str) -> Value {
    json!({"type": "reasoning.encrypted", "data": data})
}

#[cfg(test)]
mod fixtures {
    //! For the tests of these rooms.
    use crate::catalog::Deployment;
    pub(super) use crate::dialect::fixtures::*;
    use std::rc::Rc;

    /// A deployment with these quirks (JSON array) and abilities (JSON array).
    pub(super) fn deployment(quirks: &str, supports: &str) -> Rc<Deployment> {
        deployment_of("openai_chat", "m-1", 1_000, &format!(r#""quirks":{quirks},"supports":{supports}"#))
    }
}
