//! Amazon Bedrock's Converse.
//!
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>, streams
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>.
//!
//! Tokens: `inputTokens` holds neither `cacheReadInputTokens` nor `cacheWriteInputTokens`, of which `cacheDetails` tells the
//! part written for an hour; `outputTokens` holds the reasoning, whose part is told nowhere. A stream tells them at its end.
//!
//! One grammar for the models of many makers, whose own members go in `additionalModelRequestFields`: whose a model is, its
//! id says.
use super::{Call, Decoder, Framing, Order, Upstream};
use crate::{
    catalog::Deployment,
    chat::{Request, Response},
    fault::{Fault, UpstreamFault},
};

mod call;
mod decoder;
mod history;

pub(super) struct BedrockConverse;

impl Upstream for BedrockConverse {
    fn encode_request(&self, request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
        call::encode(request, order)
    }

    fn decode_response(&self, bytes: &[u8], deployment: &Deployment) -> Result<Response, UpstreamFault> {
        decoder::whole(bytes, deployment)
    }

    fn decoder(&self, deployment: &Deployment) -> Box<dyn Decoder> {
        Box::new(decoder::ConverseDecoder::new(deployment))
    }

    fn framing(&self) -> Framing {
        Framing::EventStream
    }
}

/// Whose models want members of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    Amazon,
    Anthropic,
    Openai,
    Other,
}

impl Maker {
    /// By an id like `us.anthropic.claude-…`, which may stand in an ARN.
    fn of(deployment: &Deployment) -> Self {
        let id = deployment.model.as_str();
        let known = [(Self::Anthropic, "anthropic."), (Self::Openai, "openai."), (Self::Amazon, "amazon.")];
        known.into_iter().find(|(_, name)| id.contains(name)).map_or(Self::Other, |(maker, _)| maker)
    }

    /// Before what Bedrock sealed of its models' reasoning: another's would not be read.
    fn mark(self) -> &'static str {
        match self {
            Self::Amazon => "amazon.",
            Self::Anthropic => "anthropic.",
            Self::Openai => "openai.",
            Self::Other => "other.",
        }
    }
}

#[cfg(test)]
mod fixtures {
    //! For the tests of these rooms.
    use crate::catalog::Deployment;
    pub(super) use crate::dialect::fixtures::*;
    use std::rc::Rc;

    pub(super) const CLAUDE: &str = "us.anthropic.claude-x-v1:0";

    /// A deployment of a model that reasons, with these quirks (JSON array).
    pub(super) fn deployment(model: &str, quirks: &str) -> Rc<Deployment> {
        deployment_of("bedrock_converse", model, 64_000, &format!(r#""quirks":{quirks},"supports":["reasoning"]"#))
    }
}
