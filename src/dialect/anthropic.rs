//! Stub.
use super::{Call, Decoder, Encoder, Grammar, Order, Stamp};
use crate::{body::Body, catalog::Deployment, chat, fault::{Fault, UpstreamFault}};

pub struct Anthropic;

impl Grammar for Anthropic {
    fn decode_request(&self, _: &Body) -> Result<chat::Request, Fault> { unimplemented!() }
    fn encode_request(&self, _: &chat::Request, _: &Order<'_>) -> Result<Call, Fault> { unimplemented!() }
    fn forward(&self, _: &Body, _: &chat::Request, _: &Order<'_>) -> Call { unimplemented!() }
    fn decode_response(&self, _: &[u8], _: &Deployment) -> Result<chat::Response, UpstreamFault> { unimplemented!() }
    fn encode_response(&self, _: &chat::Response, _: &Stamp) -> Vec<u8> { unimplemented!() }
    fn relay_response(&self, _: &[u8], _: &Stamp) -> Option<Vec<u8>> { unimplemented!() }
    fn decoder(&self, _: &Deployment) -> Box<dyn Decoder> { unimplemented!() }
    fn encoder(&self, _: Stamp) -> Box<dyn Encoder> { unimplemented!() }
    fn decode_fault(&self, _: u16, _: &[u8], _: Option<&str>) -> UpstreamFault { unimplemented!() }
    fn encode_fault(&self, _: &Fault, _: &str) -> Vec<u8> { unimplemented!() }
    fn encode_stream_fault(&self, _: &Fault, _: &str) -> Vec<u8> { unimplemented!() }
    fn credential_header(&self) -> (&'static str, &'static str) { unimplemented!() }
}
