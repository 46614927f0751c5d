//! A provider's stream to the hub's events. A whole answer is read as the stream that would have told it.
use super::{
    super::{Decoder, Glance, MalformedFrame, carried::BEDROCK, gathered, lenient, refusal},
    Maker,
};
use crate::{
    catalog::Deployment,
    chat::{Event, Finish, Response},
    fault::{Cause, UpstreamFault},
    json::read_bytes,
    sse::Frame,
    usage::Usage,
};
use serde_json::Value;

/// There is one choice in this dialect.
const CHOICE: u32 = 0;

pub(super) struct ConverseDecoder {
    maker: Maker,
    started: bool,
    finished: bool,
    over: bool,
    begun_calls: u32,
    calls: Vec<ToolCall>,
}

/// A call being written, by its block's index.
struct ToolCall {
    block: u64,
    index: u32,
    any: bool,
}

/// A whole answer.
pub(super) fn whole(bytes: &[u8], deployment: &Deployment) -> Result<Response, UpstreamFault> {
    let told: Value = read_bytes(bytes)
        .map_err(|_| UpstreamFault::new(200, Cause::Server, "The provider's answer is no message."))?;
    if let Some(error) = refusal::error_of(&told) {
        return Err(refusal::classify_inside(error));
    }
    let (mut decoder, mut events) = (ConverseDecoder::new(deployment), Vec::new());
    let message = told.get("output").and_then(|output| output.get("message")).unwrap_or(&Value::Null);
    for (place, block) in (0..).zip(lenient::list(message, "content")) {
        decoder.block_start(place, block, &mut events);
        decoder.block_delta(place, block, &mut events);
        decoder.block_stop(place, &mut events);
    }
    decoder.stop(&told, &mut events);
    decoder.metadata(&told, &mut events);
    gathered::response(events)
}

fn finish_of(word: &str) -> Finish {
    match word {
        "max_tokens" | "model_context_window_exceeded" | "pause_turn" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "guardrail_intervened" | "content_filtered" | "refusal" => Finish::ContentFilter,
        "malformed_model_output" | "malformed_tool_use" | "error" => Finish::Error,
        _ => Finish::Stop,
    }
}

/// The status an exception would have had before the stream began.
fn status_of(exception: &str) -> u16 {
    const KNOWN: [(&str, u16); 6] = [
        ("throttling", 429),
        ("serviceunavailable", 503),
        ("modeltimeout", 408),
        ("validation", 400),
        ("accessdenied", 403),
        ("resourcenotfound", 404),
    ];
    let name = exception.to_ascii_lowercase();
    KNOWN.iter().find(|(known, _)| name.starts_with(known)).map_or(500, |(_, status)| *status)
}

impl ConverseDecoder {
    pub(super) fn new(deployment: &Deployment) -> Self {
        let (maker, calls) = (Maker::of(deployment), Vec::new());
        Self { maker, started: false, finished: false, over: false, begun_calls: 0, calls }
    }

    fn start(&mut self, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            // Neither is told.
            events.push(Event::Start { id: String::new(), model: String::new() });
        }
    }

    fn block_start(&mut self, block: u64, told: &Value, events: &mut Vec<Event>) {
        self.start(events);
        let Some(call) = told.get("toolUse") else { return };
        // A tool that the provider ran is no call of the caller's.
        if lenient::text(call, "type") == Some("server_tool_use") {
            return;
        }
        let Some(name) = lenient::text(call, "name") else { return };
        let index = self.begun_calls;
        self.begun_calls += 1;
        let id = lenient::text(call, "toolUseId").map_or_else(|| format!("tooluse_{index}"), str::to_owned);
        self.calls.push(ToolCall { block, index, any: false });
        events.push(Event::ToolStart { choice: CHOICE, index, id, name: name.to_owned() });
    }

    fn block_delta(&mut self, block: u64, delta: &Value, events: &mut Vec<Event>) {
        self.start(events);
        let (choice, owned) = (CHOICE, |text: &str| text.to_owned());
        events.extend(lenient::text(delta, "text").map(|text| Event::Text { choice, text: owned(text) }));
        if let Some(told) = delta.get("reasoningContent") {
            let open = told.get("reasoningText").unwrap_or(told);
            events.extend(lenient::text(open, "text").map(|text| Event::Reasoning { choice, text: owned(text) }));
            let signature = lenient::text(open, "signature");
            events.extend(signature.map(|text| Event::Signature { choice, signature: owned(text) }));
            let sealed = lenient::text(told, "redactedContent");
            let data = sealed.map(|data| [BEDROCK, self.maker.mark(), data].concat());
            events.extend(data.map(|data| Event::RedactedReasoning { choice, data }));
        }
        let input = delta.get("toolUse").map_or_default(|call| lenient::arguments(call.get("input")));
        if let Some(call) = self.calls.iter_mut().rfind(|call| call.block == block && !input.is_empty()) {
            call.any = true;
            events.push(Event::ToolArguments { choice, index: call.index, fragment: input });
        }
    }

    fn block_stop(&mut self, block: u64, events: &mut Vec<Event>) {
        let Some(place) = self.calls.iter().rposition(|call| call.block == block) else { return };
        let call = self.calls.swap_remove(place);
        if !call.any {
            // Elsewhere a call without arguments still carries an object.
            events.push(Event::ToolArguments { choice: CHOICE, index: call.index, fragment: "{}".to_owned() });
        }
    }

    fn stop(&mut self, told: &Value, events: &mut Vec<Event>) {
        let Some(word) = lenient::text(told, "stopReason") else { return };
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.start(events);
        let finish = match finish_of(word) {
            // A model that gave up has not finished: another may.
            Finish::Error => {
                self.over = true;
                let fault = UpstreamFault::new(200, Cause::Server, format!("The provider gave up: {word:.100}."));
                events.push(Event::Fault(fault));
                return;
            }
            Finish::Stop if self.begun_calls > 0 => Finish::ToolCalls,
            finish => finish,
        };
        events.push(Event::Finish { choice: CHOICE, finish, native: Some(word.to_owned()) });
    }

    fn metadata(&mut self, told: &Value, events: &mut Vec<Event>) {
        let Some(told) = told.get("usage") else { return };
        let number = |name: &str| lenient::count(told, &[name]);
        let (Some(input), Some(output)) = (number("inputTokens"), number("outputTokens")) else { return };
        let details = lenient::list(told, "cacheDetails").iter();
        let hours = details
            .filter(|detail| lenient::text(detail, "ttl").is_some_and(|ttl| ttl.contains("1h") || ttl.contains("1H")));
        let hour = hours.filter_map(|detail| lenient::count(detail, &["inputTokens"])).fold(0, u64::saturating_add);
        let written = number("cacheWriteInputTokens").unwrap_or(0);
        events.push(Event::Usage(Usage {
            input,
            cache_read: number("cacheReadInputTokens").unwrap_or(0),
            cache_write: written.saturating_sub(hour),
            cache_write_1h: hour.min(written),
            output,
            ..Usage::default()
        }));
    }
}

impl Decoder for ConverseDecoder {
    fn glance(&self, _frame: &Frame<'_>) -> Glance {
        Glance::Read
    }

    fn decode(&mut self, frame: &Frame<'_>, events: &mut Vec<Event>) -> Result<(), MalformedFrame> {
        if self.over {
            return Ok(());
        }
        if ["Exception", "Error", "Failure"].iter().any(|end| frame.event.ends_with(end)) {
            self.over = true;
            events.push(Event::Fault(refusal::classify(status_of(frame.event), frame.data.as_bytes(), None)));
            return Ok(());
        }
        let told: Value = serde_json::from_str(frame.data).map_err(|_| MalformedFrame)?;
        let block = told.get("contentBlockIndex").and_then(Value::as_u64).unwrap_or(0);
        let inner = |name: &str| told.get(name).unwrap_or(&Value::Null);
        match frame.event {
            "messageStart" => self.start(events),
            "contentBlockStart" => self.block_start(block, inner("start"), events),
            "contentBlockDelta" => self.block_delta(block, inner("delta"), events),
            "contentBlockStop" => self.block_stop(block, events),
            "messageStop" => self.stop(&told, events),
            "metadata" => {
                self.metadata(&told, events);
                if self.finished {
                    self.over = true;
                    events.push(Event::End);
                }
            }
            // What is newer than this code.
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        // The counts may be missing; the answer is whole all the same.
        if self.finished && !self.over {
            events.push(Event::End);
        }
    }
}

#[cfg(test)]
mod tests;
