//! The hub's events to a stream of named events, and a provider's own passed on.
use super::{
    super::{Encoder, Stamp, priced, turns::allowed_id},
    fault, response, stop_reason, usage,
};
use crate::json::{json, written};
use crate::{
    body::{Body, quoted},
    chat::{Event, Finish},
    fault::{Cause, UpstreamFault},
    money::Nanos,
    sse::{self, Frame},
    usage::Usage,
};
use serde_json::Value;

pub(super) struct MessageEncoder {
    stamp: Stamp,
    started: bool,
    /// How many blocks there were, and which is open.
    blocks: usize,
    open: Option<Open>,
    /// The block of each tool call, by the call's number.
    calls: Vec<(u32, usize)>,
    reason: Option<&'static str>,
    usage: Option<Usage>,
    /// A failure was told: nothing may look complete after it.
    broken: bool,
    /// The last `message_delta` of a relayed stream.
    held: Option<(Vec<u8>, Option<Body>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    Tool,
}

impl MessageEncoder {
    pub(super) fn new(stamp: Stamp) -> Self {
        Self {
            stamp,
            started: false,
            blocks: 0,
            open: None,
            calls: Vec::new(),
            reason: None,
            usage: None,
            broken: false,
            held: None,
        }
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        // What is not known yet is zero; `message_delta` corrects it.
        let usage = usage::write(&self.usage.unwrap_or_default(), None);
        let message = response::message(&self.stamp, Vec::new(), None, usage);
        say("message_start", &json!({"type": "message_start", "message": message}), out);
    }

    fn open(&mut self, kind: Open, block: &Value, out: &mut Vec<u8>) {
        self.start(out);
        self.shut(out);
        let index = self.blocks;
        say(
            "content_block_start",
            &json!({"type": "content_block_start", "index": index, "content_block": block}),
            out,
        );
        self.open = Some(kind);
        self.blocks += 1;
    }

    fn shut(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            let index = self.blocks.saturating_sub(1);
            say("content_block_stop", &json!({"type": "content_block_stop", "index": index}), out);
        }
    }

    /// A fragment of the open block, which is opened if it is of another kind.
    fn fragment(&mut self, kind: Open, member: &str, text: &str, out: &mut Vec<u8>) {
        if self.open != Some(kind) {
            let block = match kind {
                Open::Text => json!({"type": "text", "text": "", "citations": null}),
                Open::Thinking | Open::Tool => json!({"type": "thinking", "thinking": "", "signature": ""}),
            };
            self.open(kind, &block, out);
        }
        delta(self.blocks.saturating_sub(1), member, text, out);
    }

    fn give_up(&mut self, out: &mut Vec<u8>) {
        let gave_up = UpstreamFault::new(200, Cause::Server, "").to_fault();
        out.extend_from_slice(&fault::encode_in_stream(&gave_up, &self.stamp.request_id));
        self.broken = true;
    }

    fn release(&mut self, cost: Option<Nanos>, out: &mut Vec<u8>) {
        let Some((raw, body)) = self.held.take() else { return };
        let usage =
            body.as_ref().and_then(|body| body.set("usage")).zip(cost).and_then(|(usage, cost)| priced(usage, cost));
        match (body, usage) {
            (Some(body), Some(usage)) => {
                sse::write_event(out, "message_delta", &body.rewritten(&[("usage", Some(usage.into()))]));
            }
            _ => out.extend_from_slice(&raw),
        }
    }
}

/// A fragment; `member` is `text`, `thinking`, `signature` or `partial_json`.
fn delta(index: usize, member: &str, text: &str, out: &mut Vec<u8>) {
    let kind = if member == "partial_json" { "input_json" } else { member };
    let text = quoted(text);
    let data = format!(
        r#"{{"type":"content_block_delta","index":{index},"delta":{{"type":"{kind}_delta","{member}":{text}}}}}"#
    );
    sse::write_event(out, "content_block_delta", data.as_bytes());
}

fn say(event: &str, data: &Value, out: &mut Vec<u8>) {
    sse::write_event(out, event, written(data).as_bytes());
}

impl Encoder for MessageEncoder {
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.broken {
            return;
        }
        match event {
            Event::Usage(usage) => self.usage = Some(*usage),
            // This dialect's callers cannot ask for more than one choice.
            Event::Text { choice: 0, text } | Event::Refusal { choice: 0, text } => {
                self.fragment(Open::Text, "text", text, out);
            }
            Event::Reasoning { choice: 0, text } => self.fragment(Open::Thinking, "thinking", text, out),
            Event::Signature { choice: 0, signature } => {
                self.fragment(Open::Thinking, "signature", signature, out);
                self.shut(out);
            }
            Event::RedactedReasoning { choice: 0, data } => {
                self.open(Open::Thinking, &json!({"type": "redacted_thinking", "data": data}), out);
                self.shut(out);
            }
            Event::ToolStart { choice: 0, index, id, name } => {
                let block = json!({"type": "tool_use", "id": allowed_id(id), "name": name, "input": {}, "caller": {"type": "direct"}});
                self.open(Open::Tool, &block, out);
                self.calls.push((*index, self.blocks.saturating_sub(1)));
            }
            Event::ToolArguments { choice: 0, index, fragment } => {
                // Fragments of calls that are told in turns go to their own block: nothing is lost.
                if let Some((_, block)) = self.calls.iter().find(|(call, _)| call == index) {
                    delta(*block, "partial_json", fragment, out);
                }
            }
            Event::Finish { finish: Finish::Error, .. } => self.give_up(out),
            Event::Finish { choice: 0, finish, native } => self.reason = Some(stop_reason(*finish, native.as_deref())),
            _ => {}
        }
    }

    fn finish(&mut self, usage: Option<&Usage>, cost: Option<Nanos>, out: &mut Vec<u8>) {
        if self.broken {
            return;
        }
        self.start(out);
        self.shut(out);
        let reason = self.reason.unwrap_or(if self.calls.is_empty() { "end_turn" } else { "tool_use" });
        let usage = usage::write(&usage.copied().or(self.usage).unwrap_or_default(), cost);
        let delta = json!({"stop_reason": reason, "stop_sequence": null, "stop_details": null});
        say("message_delta", &json!({"type": "message_delta", "delta": delta, "usage": usage}), out);
        say("message_stop", &json!({"type": "message_stop"}), out);
    }

    fn relay(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        let kind = kind_of(frame);
        match kind {
            Some("message_stop") => {}
            // The charge goes into its usage, and is known only at the end.
            Some("message_delta") => {
                self.release(None, out);
                self.held = Some((frame.raw.to_vec(), Body::parse(frame.data.as_bytes().to_vec()).ok()));
            }
            _ => out.extend_from_slice(frame.raw),
        }
    }

    fn finish_relayed(&mut self, cost: Option<Nanos>, out: &mut Vec<u8>) {
        self.release(cost, out);
        say("message_stop", &json!({"type": "message_stop"}), out);
    }
}

/// The event's name, which imitators may leave to the data.
fn kind_of(frame: &Frame<'_>) -> Option<&'static str> {
    ["message_stop", "message_delta"].into_iter().find(|kind| {
        frame.event == *kind
            || (frame.event.is_empty()
                && serde_json::from_str::<Value>(frame.data)
                    .is_ok_and(|told| told.get("type").and_then(Value::as_str) == Some(kind)))
    })
}

#[cfg(test)]
mod tests;
