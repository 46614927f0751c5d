//! Cohere's chat, version 2.
//!
//! <https://docs.cohere.com/reference/chat>, streams <https://docs.cohere.com/reference/chat-stream>.
//!
//! Tokens: `billed_units` are what is billed; `tokens` hold a preamble of Cohere's own besides, and `cached_tokens` is a part
//! of those. So input = `billed_units.input_tokens`, output = `billed_units.output_tokens`, and nothing was read from a cache.
//!
//! Citations are not read: no other dialect's callers ask for them.
use super::{Call, Decoder, Order, Upstream};
use crate::{
    catalog::Deployment,
    chat::{Request, Response},
    fault::{Fault, UpstreamFault},
};

mod call;
mod decoder;

pub(super) struct CohereV2;

impl Upstream for CohereV2 {
    fn encode_request(&self, request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
        call::encode(request, order)
    }

    fn decode_response(&self, bytes: &[u8], _deployment: &Deployment) -> Result<Response, UpstreamFault> {
        decoder::whole(bytes)
    }

    fn decoder(&self, _deployment: &Deployment) -> Box<dyn Decoder> {
        Box::new(decoder::MessageDecoder::default())
    }
}
