//! The hub's events to a stream of chunks, and a provider's own chunks passed on.
use super::{
    super::{Encoder, Stamp, priced},
    fault, finish_word, usage,
};
use crate::{
    body::{Body, quoted},
    chat::{Event, Finish},
    fault::{Cause, UpstreamFault},
    json::written,
    money::Nanos,
    sse::{self, Frame},
    usage::Usage,
};
use serde_json::Value;
use std::borrow::Cow;

pub(super) struct ChatEncoder {
    /// What every chunk begins with: id, object, created, model.
    head: String,
    wants_usage: bool,
    legacy_functions: bool,
    choices: Vec<Choice>,
    /// A failure was told: nothing may look complete after it.
    broken: bool,
    /// The last chunk of a relayed stream that held usage.
    held: Option<Body>,
}

struct Choice {
    index: u32,
    calls: bool,
    finished: bool,
    /// The reasoning since the last signature, which has to come back with it.
    reasoning: String,
}

impl ChatEncoder {
    pub(super) fn new(stamp: &Stamp) -> Self {
        let head = format!(
            r#"{{"id":{},"object":"chat.completion.chunk","created":{},"model":{}"#,
            quoted(&super::answer_id(&stamp.request_id)),
            stamp.created,
            quoted(&stamp.model)
        );
        Self {
            head,
            wants_usage: stamp.wants_usage,
            legacy_functions: super::reads_functions(stamp),
            choices: Vec::new(),
            broken: false,
            held: None,
        }
    }

    /// A chunk of one choice; `delta` is JSON.
    fn chunk(&self, choice: u32, delta: &str, finish: Option<Finish>, out: &mut Vec<u8>) {
        let word = |finish| match finish {
            Finish::ToolCalls if self.legacy_functions => "function_call",
            finish => finish_word(finish),
        };
        let finish = finish.map_or_else(|| "null".to_owned(), |finish| quoted(word(finish)));
        let usage = if self.wants_usage { ",\"usage\":null" } else { "" };
        let head = &self.head;
        let text = format!(
            r#"{head},"choices":[{{"index":{choice},"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]{usage}}}"#
        );
        sse::write_data(out, text.as_bytes());
    }

    /// Opens a choice with its role, once. `content` is what stands beside it.
    fn open(&mut self, index: u32, content: &str, out: &mut Vec<u8>) {
        if self.choices.iter().any(|choice| choice.index == index) {
            return;
        }
        self.choices.push(Choice { index, calls: false, finished: false, reasoning: String::new() });
        self.chunk(index, &format!(r#"{{"role":"assistant","content":{content}}}"#), None, out);
    }

    fn member(&mut self, index: u32, name: &str, text: &str, out: &mut Vec<u8>) {
        self.open(index, "\"\"", out);
        self.chunk(index, &format!(r#"{{"{name}":{}}}"#, quoted(text)), None, out);
    }

    fn detail(&mut self, index: u32, detail: &Value, out: &mut Vec<u8>) {
        self.open(index, "\"\"", out);
        self.chunk(index, &format!(r#"{{"reasoning_details":[{}]}}"#, written(detail)), None, out);
    }

    /// The deprecated form knows one call.
    fn legacy_call(&self, choice: u32, index: u32, delta: &str, out: &mut Vec<u8>) {
        if index == 0 {
            self.chunk(choice, delta, None, out);
        }
    }

    fn find(&mut self, index: u32) -> Option<&mut Choice> {
        self.choices.iter_mut().find(|choice| choice.index == index)
    }

    fn finish_choice(&mut self, index: u32, finish: Finish, out: &mut Vec<u8>) {
        if finish == Finish::Error {
            let gave_up = UpstreamFault::new(200, Cause::Server, "").to_fault();
            out.extend_from_slice(&fault::encode_in_stream(&gave_up));
            self.broken = true;
            return;
        }
        self.open(index, "\"\"", out);
        let Some(choice) = self.find(index) else { return };
        if !std::mem::replace(&mut choice.finished, true) {
            self.chunk(index, "{}", Some(finish), out);
        }
    }
}

impl Encoder for ChatEncoder {
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.broken {
            return;
        }
        match event {
            Event::Start { .. } | Event::Usage(_) | Event::Fault(_) | Event::End => {}
            Event::Text { choice, text } => self.member(*choice, "content", text, out),
            Event::Refusal { choice, text } => self.member(*choice, "refusal", text, out),
            Event::Reasoning { choice, text } => {
                self.member(*choice, "reasoning_content", text, out);
                if let Some(choice) = self.find(*choice) {
                    choice.reasoning.push_str(text);
                }
            }
            Event::Signature { choice, signature } => {
                let text = self.find(*choice).map_or_default(|choice| std::mem::take(&mut choice.reasoning));
                self.detail(*choice, &super::signed_detail(&text, signature), out);
            }
            Event::RedactedReasoning { choice, data } => self.detail(*choice, &super::redacted_detail(data), out),
            Event::ToolStart { choice, index, id, name } => {
                self.open(*choice, "null", out);
                if let Some(choice) = self.find(*choice) {
                    choice.calls = true;
                }
                let (id, name) = (quoted(id), quoted(name));
                if self.legacy_functions {
                    let delta = format!(r#"{{"function_call":{{"name":{name},"arguments":""}}}}"#);
                    return self.legacy_call(*choice, *index, &delta, out);
                }
                let delta = format!(
                    r#"{{"tool_calls":[{{"index":{index},"id":{id},"type":"function","function":{{"name":{name},"arguments":""}}}}]}}"#
                );
                self.chunk(*choice, &delta, None, out);
            }
            Event::ToolArguments { choice, index, fragment } => {
                let fragment = quoted(fragment);
                if self.legacy_functions {
                    let delta = format!(r#"{{"function_call":{{"arguments":{fragment}}}}}"#);
                    return self.legacy_call(*choice, *index, &delta, out);
                }
                let delta = format!(r#"{{"tool_calls":[{{"index":{index},"function":{{"arguments":{fragment}}}}}]}}"#);
                self.chunk(*choice, &delta, None, out);
            }
            Event::Finish { choice, finish, .. } => self.finish_choice(*choice, *finish, out),
        }
    }

    fn finish(&mut self, usage: Option<&Usage>, cost: Option<Nanos>, out: &mut Vec<u8>) {
        if self.broken {
            return;
        }
        self.open(self.choices.first().map_or(0, |choice| choice.index), "\"\"", out);
        let owed: Vec<(u32, Finish)> = self
            .choices
            .iter()
            .filter(|choice| !choice.finished)
            .map(|choice| (choice.index, if choice.calls { Finish::ToolCalls } else { Finish::Stop }))
            .collect();
        for (index, finish) in owed {
            self.finish_choice(index, finish, out);
        }
        if let Some(usage) = usage.filter(|_| self.wants_usage) {
            let text = format!(r#"{},"choices":[],"usage":{}}}"#, self.head, written(&usage::write(usage, cost)));
            sse::write_data(out, text.as_bytes());
        }
        sse::write_data(out, b"[DONE]");
    }

    fn relay(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        if frame.data.trim() == "[DONE]" {
            return;
        }
        let body = Some(frame.data).filter(|data| data.contains("\"usage\"")).map(|data| data.as_bytes().to_vec());
        let Some(body) = body.and_then(|bytes| Body::parse(bytes).ok()).filter(|body| body.set("usage").is_some())
        else {
            out.extend_from_slice(frame.raw);
            return;
        };
        let alone = body.get("choices").is_none_or(|raw| raw.trim_matches(['[', ']', ' ']).is_empty());
        if !alone {
            // Usage that rides on a choice goes on its own at the end, or not at all.
            let usage = self.wants_usage.then_some(Cow::Borrowed("null"));
            sse::write_data(out, &body.rewritten(&[("usage", usage)]));
        }
        self.held = Some(body);
    }

    fn finish_relayed(&mut self, cost: Option<Nanos>, out: &mut Vec<u8>) {
        if let Some(body) = self.held.take().filter(|_| self.wants_usage) {
            let mut changes = vec![("choices", Some(Cow::Borrowed("[]")))];
            if let Some(usage) = body.get("usage").zip(cost).and_then(|(usage, cost)| priced(usage, cost)) {
                changes.push(("usage", Some(usage.into())));
            }
            sse::write_data(out, &body.rewritten(&changes));
        }
        sse::write_data(out, b"[DONE]");
    }
}

#[cfg(test)]
mod tests;
