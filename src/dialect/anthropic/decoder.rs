//! A provider's stream to the hub's events.
use super::{
    super::{Decoder, Glance, MalformedFrame, lenient, refusal},
    finish_of,
    usage::Counts,
};
use crate::{
    chat::{Event, Finish},
    fault::{Cause, UpstreamFault},
    sse::Frame,
};
use serde_json::Value;

/// There is one choice in this dialect.
const CHOICE: u32 = 0;

#[derive(Default)]
pub(super) struct MessageDecoder {
    started: bool,
    over: bool,
    finished: bool,
    counts: Counts,
    begun_calls: u32,
    /// The tool call being written, by its block's index.
    calls: Vec<ToolCall>,
}

struct ToolCall {
    block: u64,
    index: u32,
    /// Arguments given whole with the start: used if no fragments come.
    whole: String,
    any: bool,
}

impl MessageDecoder {
    fn start(&mut self, message: &Value, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            let text = |name: &str| lenient::text(message, name).unwrap_or_default().to_owned();
            events.push(Event::Start { id: text("id"), model: text("model") });
        }
    }

    fn usage(&mut self, told: Option<&Value>, events: &mut Vec<Event>) {
        if self.counts.take(told) {
            events.push(Event::Usage(self.counts.usage()));
        }
    }

    fn event(&mut self, kind: &str, told: &Value, events: &mut Vec<Event>) {
        let block = told.get("index").and_then(Value::as_u64).unwrap_or(0);
        match kind {
            "message_start" => {
                let message = told.get("message").unwrap_or(&Value::Null);
                self.start(message, events);
                self.usage(message.get("usage"), events);
            }
            "content_block_start" => self.block_start(block, told.get("content_block").unwrap_or(&Value::Null), events),
            "content_block_delta" => self.block_delta(block, told.get("delta").unwrap_or(&Value::Null), events),
            "content_block_stop" => self.block_stop(block, events),
            "message_delta" => {
                self.start(&Value::Null, events);
                self.usage(told.get("usage"), events);
                let native = told.get("delta").and_then(|delta| lenient::text(delta, "stop_reason"));
                if let Some(native) = native.filter(|_| !std::mem::replace(&mut self.finished, true)) {
                    let finish = match finish_of(native) {
                        // A provider that gave up has not finished: another may.
                        Finish::Error => {
                            self.over = true;
                            let fault = UpstreamFault::new(200, Cause::Server, "The provider gave up.");
                            events.push(Event::Fault(fault));
                            return;
                        }
                        Finish::Stop if self.begun_calls > 0 => Finish::ToolCalls,
                        finish => finish,
                    };
                    events.push(Event::Finish { choice: CHOICE, finish, native: Some(native.to_owned()) });
                }
            }
            "message_stop" => {
                self.over = true;
                events.push(Event::End);
            }
            // Pings, and what is newer than this code.
            _ => {}
        }
    }

    fn block_start(&mut self, block: u64, told: &Value, events: &mut Vec<Event>) {
        self.start(&Value::Null, events);
        let text = |name: &str| lenient::text(told, name).map(str::to_owned);
        match lenient::text(told, "type").unwrap_or_default() {
            "text" => events.extend(text("text").map(|text| Event::Text { choice: CHOICE, text })),
            "thinking" => {
                events.extend(text("thinking").map(|text| Event::Reasoning { choice: CHOICE, text }));
                events.extend(text("signature").map(|signature| Event::Signature { choice: CHOICE, signature }));
            }
            "redacted_thinking" => {
                events.extend(text("data").map(|data| Event::RedactedReasoning { choice: CHOICE, data }));
            }
            "tool_use" => {
                let Some(name) = text("name") else { return };
                let index = self.begun_calls;
                self.begun_calls += 1;
                let id = text("id").unwrap_or_else(|| format!("toolu_{index}"));
                let whole =
                    told.get("input").filter(|input| input.as_object().is_some_and(|members| !members.is_empty()));
                self.calls.push(ToolCall { block, index, whole: lenient::arguments(whole), any: false });
                events.push(Event::ToolStart { choice: CHOICE, index, id, name });
            }
            _ => {}
        }
    }

    fn block_delta(&mut self, block: u64, delta: &Value, events: &mut Vec<Event>) {
        let text = |name: &str| lenient::text(delta, name).map(str::to_owned);
        match lenient::text(delta, "type").unwrap_or_default() {
            "text_delta" => events.extend(text("text").map(|text| Event::Text { choice: CHOICE, text })),
            "thinking_delta" => events.extend(text("thinking").map(|text| Event::Reasoning { choice: CHOICE, text })),
            "signature_delta" => {
                events.extend(text("signature").map(|signature| Event::Signature { choice: CHOICE, signature }));
            }
            "input_json_delta" => {
                // Blocks of the provider's own tools have fragments, too, but no call of the caller's.
                let call = self.calls.iter_mut().rfind(|call| call.block == block);
                if let (Some(call), Some(fragment)) = (call, text("partial_json")) {
                    call.any = true;
                    events.push(Event::ToolArguments { choice: CHOICE, index: call.index, fragment });
                }
            }
            _ => {}
        }
    }

    fn block_stop(&mut self, block: u64, events: &mut Vec<Event>) {
        let Some(place) = self.calls.iter().rposition(|call| call.block == block) else { return };
        let call = self.calls.swap_remove(place);
        if !call.any {
            // Elsewhere a call without arguments still carries an object.
            let fragment = if call.whole.is_empty() { "{}".to_owned() } else { call.whole };
            events.push(Event::ToolArguments { choice: CHOICE, index: call.index, fragment });
        }
    }
}

impl Decoder for MessageDecoder {
    fn glance(&self, frame: &Frame<'_>) -> Glance {
        if frame.data.is_empty() && frame.event != "error" {
            return Glance::Pass;
        }
        // Imitators leave the name out, or put an error under another: those are read.
        let content =
            matches!(frame.event, "content_block_delta" | "content_block_start" | "content_block_stop" | "ping");
        let pass = self.started && content && !frame.data.contains("\"error\"");
        if pass { Glance::Pass } else { Glance::Read }
    }

    fn decode(&mut self, frame: &Frame<'_>, events: &mut Vec<Event>) -> Result<(), MalformedFrame> {
        let Some(told) = refusal::named_event(frame, &|_, _| frame.event == "error", &mut self.over, events)? else {
            return Ok(());
        };
        let kind = lenient::kind(&told, frame);
        self.event(kind, &told, events);
        Ok(())
    }

    fn close(&mut self, _events: &mut Vec<Event>) {
        // Every event is told as it comes, and only `message_stop` is an end.
    }
}

#[cfg(test)]
mod tests;
