//! `OpenAI` Responses, with nothing stored: `store` is false whatever a caller says.
//!
//! <https://platform.openai.com/docs/api-reference/responses/create>, streams
//! <https://platform.openai.com/docs/api-reference/responses-streaming>, and what other hosts agreed on
//! <https://www.openresponses.org/specification>.
//!
//! Tokens: `input_tokens` holds the cached and cache-written part (`input_tokens_details`), `output_tokens` holds the
//! reasoning (`output_tokens_details`), at every host. So input = `input_tokens` - cached - written.
use super::{
    Call, Decoder, Downstream, Encoder, Order, Stamp, Upstream,
    carried::{BEDROCK, GEMINI},
    openai_chat::OpenaiChat,
};
use crate::{
    body::Body,
    catalog::Deployment,
    chat::{Request, Response},
    fault::{Fault, UpstreamFault},
};
use serde_json::Value;

mod call;
mod decoder;
mod encoder;
mod envelope;
mod fault;
mod history;
mod items;
mod request;
mod response;
mod usage;

pub(super) struct OpenaiResponses;

impl Upstream for OpenaiResponses {
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
        Box::new(decoder::ResponseDecoder::default())
    }
}

impl Downstream for OpenaiResponses {
    fn decode_request(&self, body: &Body) -> Result<Request, Fault> {
        request::decode(body)
    }

    fn encode_response(&self, response: &Response, stamp: &Stamp) -> Vec<u8> {
        encoder::whole(response, stamp)
    }

    fn relay_response(&self, bytes: &[u8], stamp: &Stamp) -> Option<Vec<u8>> {
        // Both surfaces have the model's name and usage in the same places.
        OpenaiChat.relay_response(bytes, stamp)
    }

    fn encoder(&self, stamp: Stamp) -> Box<dyn Encoder> {
        Box::new(encoder::ResponseEncoder::new(stamp))
    }

    fn encode_fault(&self, fault: &Fault, request_id: &str) -> Vec<u8> {
        OpenaiChat.encode_fault(fault, request_id)
    }

    fn encode_stream_fault(&self, fault: &Fault, _request_id: &str, number: u64) -> Vec<u8> {
        fault::encode_in_stream(fault, number)
    }

    fn terminator(&self) -> &'static [u8] {
        // The last event carries the whole answer.
        b""
    }
}

/// Signed reasoning is for its maker alone. In the hub the maker's name stands before the signature; Anthropic's, the
/// first there was, has none. Callers get what this dialect's providers made as it is, and all else under its maker's name.
const OURS: &str = "openai.";
const ANTHROPIC: &str = "anthropic.";
const REDACTED: &str = "anthropic_redacted.";
const FOREIGN: [&str; 4] = [ANTHROPIC, REDACTED, GEMINI, BEDROCK];

/// A signature of the hub as `encrypted_content` for callers.
fn sealed(signature: &str) -> String {
    match signature.strip_prefix(OURS) {
        Some(plain) => plain.to_owned(),
        None if is_foreign(signature) => signature.to_owned(),
        None => format!("{ANTHROPIC}{signature}"),
    }
}

/// `encrypted_content` as a signature of the hub.
fn unsealed(content: &str) -> String {
    match content.strip_prefix(ANTHROPIC) {
        Some(plain) => plain.to_owned(),
        None if is_foreign(content) => content.to_owned(),
        None => format!("{OURS}{content}"),
    }
}

/// Whether `encrypted_content` was made in another dialect.
fn is_foreign(content: &str) -> bool {
    FOREIGN.iter().any(|maker| content.starts_with(maker))
}

/// A function of a namespace by one name, as other dialects have it. Their names end at 64 letters.
fn flat_name(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(space) if space.len() + name.len() <= 62 => format!("{space}__{name}"),
        _ => name.to_owned(),
    }
}

/// The type of a call's item, and its member for the arguments.
fn call_words(custom: bool) -> (&'static str, &'static str) {
    if custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") }
}

/// The input of a tool that takes text, from the arguments of the function it was to others.
fn input_of(arguments: &str) -> String {
    match serde_json::from_str::<Value>(arguments) {
        Ok(Value::Object(mut members)) if members.len() == 1 => match members.remove("input") {
            Some(Value::String(input)) => input,
            _ => arguments.to_owned(),
        },
        _ => arguments.to_owned(),
    }
}

#[cfg(test)]
mod fixtures {
    //! For the tests of these rooms.
    use crate::catalog::Deployment;
    pub(super) use crate::dialect::fixtures::*;
    use std::rc::Rc;

    /// A deployment with these quirks (JSON array) and abilities (JSON array).
    pub(super) fn deployment(quirks: &str, supports: &str) -> Rc<Deployment> {
        deployment_of("openai_responses", "r-1", 1_000, &format!(r#""quirks":{quirks},"supports":{supports}"#))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_comes_back_as_it_was() {
        for (hub, wire) in
            [("openai.gAAA", "gAAA"), ("EqQB", "anthropic.EqQB"), ("gemini.x", "gemini.x"), ("bedrock.y", "bedrock.y")]
        {
            assert_eq!((sealed(hub).as_str(), unsealed(wire).as_str()), (wire, hub));
            assert_eq!(is_foreign(wire), hub != "openai.gAAA");
        }
    }

    #[test]
    fn a_namespace_stands_before_the_name_where_there_is_room() {
        assert_eq!(flat_name(Some("agents"), "spawn"), "agents__spawn");
        assert_eq!(
            (flat_name(None, "spawn"), flat_name(Some(&"n".repeat(60)), "spawn")),
            ("spawn".into(), "spawn".into())
        );
    }
}
