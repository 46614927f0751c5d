//! Anthropic Messages, versions 2023-06-01 and 2026-10-21; on Vertex where `vertex_paths` says so.
//!
//! <https://platform.claude.com/docs/en/api/messages>, streams <https://platform.claude.com/docs/en/build-with-claude/streaming>.
//!
//! Tokens: `input_tokens` holds neither `cache_read_input_tokens` nor `cache_creation_input_tokens`, of which
//! `cache_creation.ephemeral_1h_input_tokens` is the part written for an hour; `output_tokens` holds the thinking. So
//! input = `input_tokens`, prompt = the sum of all three. A stream tells them in `message_start` and again, cumulative, in
//! `message_delta`: of each member the last that is told counts.
use super::{Call, Decoder, Downstream, Encoder, Order, Stamp, Upstream};
use crate::{
    body::Body,
    catalog::{Deployment, Quirk},
    chat::{Finish, Request, Response},
    endpoint::Headers,
    fault::{Fault, UpstreamFault},
};

mod call;
mod decoder;
mod encoder;
mod fault;
mod history;
mod request;
mod response;
mod thinking;
mod usage;
mod version;

// Bedrock asks Claude in its own words, and Cohere thinks on budgets too.
pub(super) use call::{JSON_ONLY, tool_choice};
pub(super) use thinking::{Thinking, budget_of};

pub(super) struct Anthropic;

impl Upstream for Anthropic {
    fn encode_request(&self, request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
        call::encode(request, order)
    }

    fn forward(&self, body: &Body, request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
        Ok(call::forward(body, request, order))
    }

    fn decode_response(&self, bytes: &[u8], _deployment: &Deployment) -> Result<Response, UpstreamFault> {
        response::decode(bytes)
    }

    fn decoder(&self, _deployment: &Deployment) -> Box<dyn Decoder> {
        Box::new(decoder::MessageDecoder::default())
    }

    fn credential_header(&self, deployment: &Deployment) -> (&'static str, &'static str) {
        if deployment.has(Quirk::VertexPaths) { ("authorization", "Bearer ") } else { ("x-api-key", "") }
    }
}

impl Downstream for Anthropic {
    fn decode_request(&self, body: &Body) -> Result<Request, Fault> {
        request::decode(body)
    }

    fn decode_headers(&self, headers: &Headers, body: &Body, request: &mut Request) -> Result<(), Fault> {
        version::read(headers, body, request)
    }

    fn encode_response(&self, response: &Response, stamp: &Stamp) -> Vec<u8> {
        response::encode(response, stamp)
    }

    fn relay_response(&self, bytes: &[u8], stamp: &Stamp) -> Option<Vec<u8>> {
        response::relay(bytes, stamp)
    }

    fn encoder(&self, stamp: Stamp) -> Box<dyn Encoder> {
        Box::new(encoder::MessageEncoder::new(stamp))
    }

    fn encode_fault(&self, fault: &Fault, request_id: &str) -> Vec<u8> {
        fault::encode(fault, request_id)
    }

    fn encode_stream_fault(&self, fault: &Fault, request_id: &str, _number: u64) -> Vec<u8> {
        fault::encode_in_stream(fault, request_id)
    }

    fn terminator(&self) -> &'static [u8] {
        b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
    }
}

/// The provider's word for the end of an answer.
fn finish_of(word: &str) -> Finish {
    match word {
        // A paused turn waits for more of the caller's, which no other dialect can say.
        "max_tokens" | "model_context_window_exceeded" | "pause_turn" | "compaction" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::ContentFilter,
        "error" => Finish::Error,
        _ => Finish::Stop,
    }
}

/// Our word for it.
fn stop_reason(finish: Finish, native: Option<&str>) -> &'static str {
    match finish {
        Finish::Stop if native == Some("stop_sequence") => "stop_sequence",
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
        Finish::ContentFilter => "refusal",
        // Whole answers and streams become faults before it is written.
        Finish::Error => "error",
    }
}

/// The id of an answer of ours.
fn answer_id(request_id: &str) -> String {
    format!("msg_{}", request_id.strip_prefix("req_").unwrap_or(request_id))
}

#[cfg(test)]
mod fixtures {
    //! For the tests of these rooms.
    use crate::catalog::Deployment;
    pub(super) use crate::dialect::fixtures::*;
    use std::rc::Rc;

    /// A deployment with these quirks (JSON array) and abilities (JSON array).
    pub(super) fn deployment(quirks: &str, supports: &str) -> Rc<Deployment> {
        deployment_of("anthropic", "c-1", 1_000, &format!(r#""quirks":{quirks},"supports":{supports}"#))
    }
}
