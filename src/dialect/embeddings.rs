//! Embeddings in `OpenAI`'s form, passed on as they are: only deployments that serve this endpoint are called.
//!
//! <https://platform.openai.com/docs/api-reference/embeddings/create>. The hub sees the texts, for their length, and usage.
//!
//! Tokens: `prompt_tokens` is the input, and there is no output. Where a host counts nothing, our estimate is charged.
use super::{
    Call, Decoder, Downstream, Encoder, Order, Stamp, Upstream, lenient, openai_chat::OpenaiChat, prompts, reading,
    refusal, routed,
};
use crate::{
    body::{Body, quoted},
    catalog::Deployment,
    chat::{Request, Response},
    fault::{Cause, Fault, UpstreamFault},
    json::read_bytes,
    usage::Usage,
};
use serde_json::Value;

mod vectors;

pub(super) struct Embeddings;

impl Upstream for Embeddings {
    fn encode_request(&self, _request: &Request, _order: &Order<'_>) -> Result<Call, Fault> {
        Err(prompts::untranslated())
    }

    fn forward(&self, body: &Body, _request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
        let body = routed(body, vec![("model", Some(quoted(&order.deployment.model).into()))]);
        Ok(Call { path: "/embeddings".to_owned(), headers: Vec::new(), body })
    }

    fn decode_response(&self, bytes: &[u8], _deployment: &Deployment) -> Result<Response, UpstreamFault> {
        // The vectors stay text: nobody here looks at them.
        let told = Body::parse(bytes.to_vec()).ok();
        let member = |name: &str| told.as_ref()?.set(name);
        if member("data").is_some_and(|data| data.starts_with('[')) {
            let usage: Value = member("usage").and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
            let prompt = lenient::count(&usage, &["prompt_tokens"]).or(lenient::count(&usage, &["total_tokens"]));
            let usage = prompt.map(|input| Usage { input, ..Usage::default() });
            return Ok(Response { usage, ..Response::default() });
        }
        let told: Value = read_bytes(bytes).unwrap_or_default();
        Err(refusal::error_of(&told).map_or_else(
            || UpstreamFault::new(200, Cause::Server, "The provider's answer is no list of embeddings."),
            refusal::classify_inside,
        ))
    }

    fn decoder(&self, deployment: &Deployment) -> Box<dyn Decoder> {
        OpenaiChat.decoder(deployment)
    }
}

impl Downstream for Embeddings {
    fn decode_request(&self, body: &Body) -> Result<Request, Fault> {
        reading::decode(body, |fields| {
            let model = fields.needed_text("model");
            let (messages, _) = prompts::read(fields, "input", "");
            fields.count("dimensions", 1);
            let format = fields.text("encoding_format").unwrap_or_default();
            if !["", "float", "base64"].contains(&format.as_str()) {
                fields.must_be_one_of("encoding_format", &["float", "base64"], &format);
            }
            Request {
                model,
                messages,
                separate: true,
                user: fields.text("user"),
                // Nothing is written: the least bound there is.
                max_output_tokens: Some(1),
                wants_usage: true,
                rest: fields.rest(),
                ..Request::default()
            }
        })
    }

    fn encode_response(&self, response: &Response, stamp: &Stamp) -> Vec<u8> {
        OpenaiChat.encode_response(response, stamp)
    }

    fn relay_response(&self, bytes: &[u8], stamp: &Stamp) -> Option<Vec<u8>> {
        let relayed = OpenaiChat.relay_response(bytes, stamp)?;
        // Official clients ask for base64 by themselves; hosts that never heard of it send numbers.
        match wants_base64(stamp).then(|| vectors::packed(&relayed)).flatten() {
            Some(packed) => Some(packed),
            None => Some(relayed),
        }
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
        b""
    }
}

fn wants_base64(stamp: &Stamp) -> bool {
    stamp.asked.get("encoding_format") == Some("\"base64\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    fn read(text: &str) -> Result<Request, Fault> {
        Embeddings.decode_request(&Body::parse(text.as_bytes().to_vec()).expect("an object"))
    }

    #[test]
    fn every_form_of_input_is_read() {
        for (input, count) in [(r#""hello""#, 1), (r#"["hello","you"]"#, 2), ("[1,2,3]", 1), ("[[1,2],[3]]", 2)] {
            let request = read(&format!(r#"{{"model":"m","input":{input}}}"#)).expect(input);
            assert_eq!(request.messages.len(), count, "{input}");
        }
        for input in ["null", "\"\"", "[]", "{}", "7", r#"["a",1]"#, "[-1]", r#"[""]"#] {
            let fault = read(&format!(r#"{{"model":"m","input":{input}}}"#)).expect_err(input);
            assert!(fault.into_inner().param.is_some_and(|param| param.starts_with("input")), "{input}");
        }
        assert!(read(r#"{"model":"m","input":"x","encoding_format":"hex"}"#).is_err());
        assert!(read(r#"{"model":"m","input":"x","encoding_format":"base64","x_new":1}"#).is_ok());
    }

    #[test]
    fn numbers_become_base64_where_it_was_asked_for() {
        let told = br#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0,-0.5]}],"model":"x",
            "usage":{"prompt_tokens":3,"total_tokens":3}}"#;
        let asked = |text: &str| Rc::new(Body::parse(text.into()).expect("an object"));
        let asked_for = asked(r#"{"encoding_format":"base64"}"#);
        let stamp = Stamp { model: "p/m".into(), asked: asked_for, ..Stamp::default() };
        let packed = String::from_utf8(Embeddings.relay_response(told, &stamp).expect("an answer")).expect("text");
        // 1.0 and -0.5 as 32-bit floats, little-endian.
        assert!(packed.contains(r#""embedding":"AACAPwAAAL8=""#) && packed.contains(r#""model":"p/m""#), "{packed}");
        let plain = Embeddings.relay_response(told, &Stamp { asked: asked("{}"), ..stamp.clone() }).expect("an answer");
        assert!(String::from_utf8(plain).expect("text").contains("[1.0,-0.5]"));
        let already = br#"{"data":[{"embedding":"AACAPw=="}]}"#;
        assert!(
            Embeddings.relay_response(already, &stamp).is_some_and(|told| told.windows(8).any(|w| w == b"AACAPw=="))
        );
    }
}
