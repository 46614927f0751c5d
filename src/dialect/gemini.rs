//! Google's Gemini, `generateContent`: at its own address, and on Vertex where `vertex_paths` says so.
//!
//! <https://ai.google.dev/api/generate-content>, Vertex
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference>, signatures
//! <https://ai.google.dev/gemini-api/docs/thought-signatures>.
//!
//! Tokens: `promptTokenCount` holds the cached part, `toolUsePromptTokenCount` is input beside it; `candidatesTokenCount`
//! leaves the `thoughtsTokenCount` out. So input = prompt + tool use - cached - spoken, output = candidates + thoughts. Every
//! event of a stream may tell them, cumulative.
//!
//! A stream is answers with parts of the text, each an event, and ends with the connection. Calls of tools that Google runs
//! (`executableCode`, `codeExecutionResult`, grounding) are not read: no request of ours offers them.
use super::{Call, Decoder, Order, Upstream};
use crate::{
    catalog::{Deployment, Quirk},
    chat::{Request, Response},
    fault::{Fault, UpstreamFault},
};

mod call;
mod decoder;
mod history;
mod usage;

pub(super) struct Gemini;

impl Upstream for Gemini {
    fn encode_request(&self, request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
        call::encode(request, order)
    }

    fn decode_response(&self, bytes: &[u8], _deployment: &Deployment) -> Result<Response, UpstreamFault> {
        decoder::whole(bytes)
    }

    fn decoder(&self, _deployment: &Deployment) -> Box<dyn Decoder> {
        Box::new(decoder::ContentDecoder::default())
    }

    fn credential_header(&self, deployment: &Deployment) -> (&'static str, &'static str) {
        if deployment.has(Quirk::VertexPaths) { ("authorization", "Bearer ") } else { ("x-goog-api-key", "") }
    }
}

#[cfg(test)]
mod fixtures {
    //! For the tests of these rooms.
    use crate::catalog::Deployment;
    pub(super) use crate::dialect::fixtures::*;
    use std::rc::Rc;

    /// A deployment that reasons, with these quirks and efforts (JSON arrays).
    pub(super) fn deployment(quirks: &str, efforts: &str) -> Rc<Deployment> {
        let members = format!(r#""quirks":{quirks},"efforts":{efforts},"supports":["reasoning"]"#);
        deployment_of("gemini", "gemini-x", 1_000, &members)
    }
}
