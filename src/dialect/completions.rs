//! Legacy completions in `OpenAI`'s form, passed on as they are: only deployments that serve this endpoint are called.
//!
//! <https://platform.openai.com/docs/api-reference/completions>. Answers, streams and faults are those of chat completions
//! but for `choices[].text`, so its reader and its relay serve here too.
//!
//! Tokens: as in chat completions. Each of `best_of` answers to each of several prompts is billed.
use super::{
    Call, Decoder, Downstream, Encoder, Order, Stamp, Upstream, openai_chat::OpenaiChat, prompts, reading, routed,
};
use crate::{
    body::{Body, quoted},
    catalog::{Deployment, Quirk},
    chat::{Part, Request, Response},
    fault::{Fault, UpstreamFault},
};

/// What this endpoint writes where nobody says how much.
const MAX_TOKENS: u64 = 16;
/// What a suffix may take in all, once for each prompt.
const SUFFIXES_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) struct Completions;

impl Upstream for Completions {
    fn encode_request(&self, _request: &Request, _order: &Order<'_>) -> Result<Call, Fault> {
        Err(prompts::untranslated())
    }

    fn forward(&self, body: &Body, request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
        let usage_on_request = request.stream && !order.deployment.has(Quirk::NoStreamOptions);
        let body = routed(
            body,
            vec![
                ("model", Some(quoted(&order.deployment.model).into())),
                ("max_tokens", Some(order.max_output_tokens.to_string().into())),
                ("stream_options", usage_on_request.then(|| r#"{"include_usage":true}"#.into())),
            ],
        );
        Ok(Call { path: "/completions".to_owned(), headers: Vec::new(), body })
    }

    fn decode_response(&self, bytes: &[u8], deployment: &Deployment) -> Result<Response, UpstreamFault> {
        OpenaiChat.decode_response(bytes, deployment)
    }

    fn decoder(&self, deployment: &Deployment) -> Box<dyn Decoder> {
        OpenaiChat.decoder(deployment)
    }
}

impl Downstream for Completions {
    fn decode_request(&self, body: &Body) -> Result<Request, Fault> {
        reading::decode(body, |fields| {
            let model = fields.needed_text("model");
            let (mut messages, prompts) = prompts::read(fields, "prompt", "<|endoftext|>");
            if let Some(suffix) = fields.text("suffix") {
                if suffix.len().saturating_mul(messages.len()) > SUFFIXES_BYTES_MAX {
                    fields.must_be("suffix", "shorter, or beside fewer prompts", &suffix.into());
                } else {
                    // It is read with each prompt, and billed like it.
                    for message in &mut messages {
                        message.parts.push(Part::text(suffix.clone()));
                    }
                }
            }
            let answers = fields.count("n", 0).unwrap_or(1).max(fields.count("best_of", 0).unwrap_or(1)).max(1);
            let choices = answers.saturating_mul(prompts);
            if choices > 2_048 {
                fields.must_be("n", "small enough for 2,048 answers to all prompts", &answers.into());
            }
            let max_tokens = fields.count("max_tokens", 0).unwrap_or(MAX_TOKENS);
            fields.number("temperature", 0, 2);
            let mut wants_usage = None;
            fields.nested("stream_options", &mut |options| wants_usage = options.flag("include_usage"));
            Request {
                model,
                messages,
                separate: true,
                service_tier: fields.service_tier(),
                user: fields.text("user"),
                max_output_tokens: Some(max_tokens.max(1)),
                choices: u32::try_from(choices).ok(),
                stream: fields.flag("stream").unwrap_or(false),
                wants_usage: wants_usage.unwrap_or(false),
                rest: fields.rest(),
                ..Request::default()
            }
        })
    }

    fn encode_response(&self, response: &Response, stamp: &Stamp) -> Vec<u8> {
        OpenaiChat.encode_response(response, stamp)
    }

    fn relay_response(&self, bytes: &[u8], stamp: &Stamp) -> Option<Vec<u8>> {
        OpenaiChat.relay_response(bytes, stamp)
    }

    fn encoder(&self, stamp: Stamp) -> Box<dyn Encoder> {
        OpenaiChat.encoder(stamp)
    }

    fn encode_fault(&self, fault: &Fault, request_id: &str) -> Vec<u8> {
        OpenaiChat.encode_fault(fault, request_id)
    }

    fn encode_stream_fault(&self, fault: &Fault, request_id: &str, number: u64) -> Vec<u8> {
        OpenaiChat.encode_stream_fault(fault, request_id, number)
    }

    fn terminator(&self) -> &'static [u8] {
        OpenaiChat.terminator()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, Fault> {
        Completions.decode_request(&Body::parse(text.as_bytes().to_vec()).expect("an object"))
    }

    #[test]
    fn what_is_billed_and_what_it_costs_is_read() {
        let told = read(r#"{"model":"m","prompt":["a","b"],"suffix":"end","service_tier":"flex"}"#).expect("valid");
        assert_eq!(told.service_tier, Some(crate::chat::ServiceTier::Flex));
        assert!(told.messages.len() == 2 && told.messages.iter().all(|one| one.parts[1] == Part::text("end")));
        assert!(told.rest.is_empty());
        let refused = read(r#"{"model":"m","service_tier":"scale"}"#).err().and_then(|fault| fault.into_inner().param);
        assert_eq!(refused.as_deref(), Some("service_tier"));
        let many =
            format!(r#"{{"model":"m","prompt":["a"{}],"suffix":"{}"}}"#, r#","b""#.repeat(999), "s".repeat(5_000));
        assert!(read(&many).is_err_and(|fault| fault.param.as_deref() == Some("suffix")));
    }

    #[test]
    fn every_billed_answer_is_counted() {
        let told = |text: &str| read(text).map(|request| (request.choices, request.max_output_tokens));
        assert_eq!(told(r#"{"model":"m"}"#), Ok((Some(1), Some(16))));
        assert_eq!(
            told(r#"{"model":"m","prompt":["a","b"],"n":2,"best_of":3,"max_tokens":5}"#),
            Ok((Some(6), Some(5)))
        );
        assert_eq!(told(r#"{"model":"m","prompt":[[1,2],[3]]}"#), Ok((Some(2), Some(16))));
        assert!(told(r#"{"model":"m","prompt":["a","b"],"n":2000}"#).is_err_and(|f| f.param.as_deref() == Some("n")));
        assert!(told(r#"{"model":"m","prompt":{}}"#).is_err_and(|fault| fault.param.as_deref() == Some("prompt")));
    }
}
