//! A provider's stream to the hub's events. A whole answer is read as the stream that would have told it.
use super::super::{Decoder, Glance, MalformedFrame, gathered, lenient, reading::whole as number, refusal};
use crate::{
    chat::{Event, Finish, Response},
    fault::{Cause, UpstreamFault},
    json::read_bytes,
    sse::Frame,
    usage::Usage,
};
use serde_json::Value;

/// There is one choice in this dialect.
const CHOICE: u32 = 0;

#[derive(Default)]
pub(super) struct MessageDecoder {
    started: bool,
    over: bool,
    begun_calls: u32,
    /// The call being written.
    call: Option<ToolCall>,
}

struct ToolCall {
    index: u32,
    any: bool,
}

/// A whole answer.
pub(super) fn whole(bytes: &[u8]) -> Result<Response, UpstreamFault> {
    let told: Value = read_bytes(bytes)
        .map_err(|_| UpstreamFault::new(200, Cause::Server, "The provider's answer is no message."))?;
    let Some(message) = told.get("message").filter(|message| message.is_object()) else {
        return Err(refusal::classify_inside(&told));
    };
    let (mut decoder, mut events) = (MessageDecoder::default(), Vec::new());
    decoder.start(&told, &mut events);
    for item in lenient::list(message, "content") {
        content(item, &mut events);
    }
    plan(message, &mut events);
    for call in lenient::list(message, "tool_calls") {
        decoder.call_start(call, &mut events);
        decoder.call_end(&mut events);
    }
    decoder.end(&told, &mut events);
    gathered::response(events)
}

fn finish_of(word: &str) -> Finish {
    match word.to_ascii_uppercase().as_str() {
        "MAX_TOKENS" | "ERROR_LIMIT" => Finish::Length,
        "TOOL_CALL" => Finish::ToolCalls,
        "ERROR_TOXIC" | "CONTENT_BLOCKED" => Finish::ContentFilter,
        "ERROR" | "TIMEOUT" | "USER_CANCEL" => Finish::Error,
        _ => Finish::Stop,
    }
}

/// A piece of text or thought.
fn content(told: &Value, events: &mut Vec<Event>) {
    let choice = CHOICE;
    events.extend(lenient::text(told, "thinking").map(|text| Event::Reasoning { choice, text: text.to_owned() }));
    events.extend(lenient::text(told, "text").map(|text| Event::Text { choice, text: text.to_owned() }));
}

/// What a model is about to do with its tools: thoughts, told apart.
fn plan(message: &Value, events: &mut Vec<Event>) {
    let text = lenient::text(message, "tool_plan");
    events.extend(text.map(|text| Event::Reasoning { choice: CHOICE, text: text.to_owned() }));
}

fn usage(told: &Value) -> Option<Usage> {
    let told = told.get("usage")?;
    let count = |path: [&str; 2]| path.into_iter().try_fold(told, |told, name| told.get(name)).and_then(number);
    let billed = |name| count(["billed_units", name]).or_else(|| count(["tokens", name]));
    let (input, output) = (billed("input_tokens")?, billed("output_tokens")?);
    let reasoning = count(["tokens", "reasoning_tokens"]).unwrap_or(0).min(output);
    Some(Usage { input, output, reasoning, ..Usage::default() })
}

impl MessageDecoder {
    fn start(&mut self, told: &Value, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            // The model is not told.
            let id = lenient::text(told, "id").unwrap_or_default().to_owned();
            events.push(Event::Start { id, model: String::new() });
        }
    }

    fn call_start(&mut self, told: &Value, events: &mut Vec<Event>) {
        self.call_end(events);
        let function = told.get("function").unwrap_or(&Value::Null);
        let Some(name) = lenient::text(function, "name") else { return };
        let index = self.begun_calls;
        self.begun_calls += 1;
        let id = lenient::text(told, "id").map_or_else(|| format!("{name}_{index}"), str::to_owned);
        events.push(Event::ToolStart { choice: CHOICE, index, id, name: name.to_owned() });
        self.call = Some(ToolCall { index, any: false });
        self.call_delta(told, events);
    }

    fn call_delta(&mut self, told: &Value, events: &mut Vec<Event>) {
        let fragment = lenient::arguments(told.get("function").and_then(|function| function.get("arguments")));
        if let Some(call) = self.call.as_mut().filter(|_| !fragment.is_empty()) {
            call.any = true;
            events.push(Event::ToolArguments { choice: CHOICE, index: call.index, fragment });
        }
    }

    fn call_end(&mut self, events: &mut Vec<Event>) {
        if let Some(call) = self.call.take().filter(|call| !call.any) {
            // Elsewhere a call without arguments still carries an object.
            events.push(Event::ToolArguments { choice: CHOICE, index: call.index, fragment: "{}".to_owned() });
        }
    }

    /// The finish and the counts, which come together.
    fn end(&mut self, told: &Value, events: &mut Vec<Event>) {
        self.over = true;
        self.call_end(events);
        let word = lenient::text(told, "finish_reason").unwrap_or("COMPLETE");
        let finish = match finish_of(word) {
            // A model that gave up has not finished: another may.
            Finish::Error => {
                let cause = if word.eq_ignore_ascii_case("TIMEOUT") { Cause::Timeout } else { Cause::Server };
                let why = lenient::text(told, "error").unwrap_or(word);
                events.push(Event::Fault(UpstreamFault::new(200, cause, format!("The provider gave up: {why:.200}."))));
                return;
            }
            Finish::Stop if self.begun_calls > 0 => Finish::ToolCalls,
            finish => finish,
        };
        events.push(Event::Finish { choice: CHOICE, finish, native: Some(word.to_owned()) });
        events.extend(usage(told).map(Event::Usage));
        events.push(Event::End);
    }
}

impl Decoder for MessageDecoder {
    fn glance(&self, _frame: &Frame<'_>) -> Glance {
        Glance::Read
    }

    fn decode(&mut self, frame: &Frame<'_>, events: &mut Vec<Event>) -> Result<(), MalformedFrame> {
        // Its errors are no more than a message.
        let failed = |kind: &str, told: &Value| kind.is_empty() && lenient::text(told, "message").is_some();
        let Some(told) = refusal::named_event(frame, &failed, &mut self.over, events)? else { return Ok(()) };
        let kind = lenient::kind(&told, frame);
        let delta = told.get("delta").unwrap_or(&Value::Null);
        let message = delta.get("message").unwrap_or(&Value::Null);
        let inner = |name: &str| message.get(name).unwrap_or(&Value::Null);
        self.start(&told, events);
        match kind {
            "content-start" | "content-delta" => content(inner("content"), events),
            "tool-plan-delta" => plan(message, events),
            "tool-call-start" => self.call_start(inner("tool_calls"), events),
            "tool-call-delta" => self.call_delta(inner("tool_calls"), events),
            "tool-call-end" => self.call_end(events),
            "message-end" => self.end(delta, events),
            // Starts, ends and citations; what is newer than this code.
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, _events: &mut Vec<Event>) {
        // Every event is told as it comes, and only `message-end` is an end.
    }
}

#[cfg(test)]
mod tests;
