//! A provider's stream to the hub's events.
use super::{
    super::{Decoder, Glance, MalformedFrame, lenient, refusal},
    response, usage,
};
use crate::{
    body::quoted,
    chat::{Event, Part},
    sse::Frame,
};
use serde_json::Value;
use std::cell::Cell;

/// There is one choice in this dialect.
const CHOICE: u32 = 0;

#[derive(Default)]
pub(super) struct ResponseDecoder {
    started: bool,
    over: bool,
    /// Fragments were passed on unread, so that what they were is told nowhere else.
    unread: Cell<bool>,
    begun_calls: u32,
    items: Vec<Item>,
}

/// What is known of an item so far.
#[derive(Default)]
struct Item {
    index: u64,
    /// Our number of the call it is, and whether its input is text.
    call: Option<u32>,
    custom: bool,
    /// The events that told something of it.
    told: Option<Told>,
    over: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Text,
    /// Reasoning is told in a summary or in full; where in both, the first counts.
    Summary,
    Full,
    Arguments,
}

impl ResponseDecoder {
    fn start(&mut self, response: &Value, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            let text = |name: &str| lenient::text(response, name).unwrap_or_default().to_owned();
            events.push(Event::Start { id: text("id"), model: text("model") });
        }
    }

    /// The item of an index; there is one.
    fn item(&mut self, index: u64) -> Option<&mut Item> {
        if !self.items.iter().any(|item| item.index == index) {
            self.items.push(Item { index, ..Item::default() });
        }
        self.items.iter_mut().find(|item| item.index == index)
    }

    fn event(&mut self, kind: &str, told: &Value, events: &mut Vec<Event>) {
        let index = told.get("output_index").and_then(Value::as_u64).unwrap_or(0);
        let part = |name: &str| told.get(name).unwrap_or(&Value::Null);
        if !matches!(kind, "created" | "in_progress" | "queued") {
            self.start(part("response"), events);
        }
        match kind {
            "created" | "in_progress" | "queued" => self.start(part("response"), events),
            "output_item.added" => self.begin(index, part("item"), events),
            "output_item.done" => self.whole(index, part("item"), events),
            "output_text.delta" | "refusal.delta" => self.fragment(kind, index, Told::Text, told, events),
            "reasoning_summary_text.delta" => self.fragment(kind, index, Told::Summary, told, events),
            "reasoning_text.delta" => self.fragment(kind, index, Told::Full, told, events),
            "reasoning_summary_part.added" => {
                // Parts are paragraphs.
                if self.item(index).is_some_and(|item| item.told == Some(Told::Summary)) {
                    events.push(Event::Reasoning { choice: CHOICE, text: "\n\n".to_owned() });
                }
            }
            "function_call_arguments.delta" | "custom_tool_call_input.delta" => self.arguments(index, told, events),
            "completed" | "incomplete" | "failed" | "cancelled" => self.end(kind, part("response"), events),
            // What repeats the fragments, what hosted tools do, and what is newer than this code.
            _ => {}
        }
    }

    /// Calls are told as soon as they are named.
    fn begin(&mut self, index: u64, told: &Value, events: &mut Vec<Event>) {
        let next = self.begun_calls;
        let kind = lenient::text(told, "type").unwrap_or_default();
        let Some(item) = self.item(index) else { return };
        if item.call.is_some() || !matches!(kind, "function_call" | "custom_tool_call") {
            return;
        }
        let id = lenient::text(told, "call_id").or_else(|| lenient::text(told, "id"));
        if let (Some(id), Some(name)) = (id, lenient::text(told, "name")) {
            item.call = Some(next);
            item.custom = kind == "custom_tool_call";
            events.push(Event::ToolStart { choice: CHOICE, index: next, id: id.to_owned(), name: name.to_owned() });
            self.begun_calls += 1;
        }
    }

    fn fragment(&mut self, kind: &str, index: u64, form: Told, told: &Value, events: &mut Vec<Event>) {
        let Some(text) = lenient::text(told, "delta") else { return };
        let Some(item) = self.item(index) else { return };
        if *item.told.get_or_insert(form) != form {
            return;
        }
        let text = text.to_owned();
        events.push(match (form, kind) {
            (Told::Text, "refusal.delta") => Event::Refusal { choice: CHOICE, text },
            (Told::Text, _) => Event::Text { choice: CHOICE, text },
            _ => Event::Reasoning { choice: CHOICE, text },
        });
    }

    fn arguments(&mut self, index: u64, told: &Value, events: &mut Vec<Event>) {
        let Some(text) = lenient::text(told, "delta") else { return };
        let Some(item) = self.item(index) else { return };
        let Some(call) = item.call else { return };
        let first = item.told.replace(Told::Arguments).is_none();
        let fragment = match (item.custom, first) {
            (false, _) => text.to_owned(),
            // Input that is text stands in an object, as for a function.
            (true, true) => format!("{{\"input\":\"{}", escaped(text)),
            (true, false) => escaped(text),
        };
        events.push(Event::ToolArguments { choice: CHOICE, index: call, fragment });
    }

    /// An item's end tells it once more, whole: what was not told before is told now.
    fn whole(&mut self, index: u64, told: &Value, events: &mut Vec<Event>) {
        let unread = self.unread.get();
        self.begin(index, told, events);
        let Some(item) = self.item(index) else { return };
        if std::mem::replace(&mut item.over, true) {
            return;
        }
        let (silent, call) = (item.told.is_none() && !unread, item.call);
        if let Some(index) = call
            && item.custom
            && item.told.is_some()
        {
            events.push(Event::ToolArguments { choice: CHOICE, index, fragment: "\"}".to_owned() });
        }
        let mut parts = Vec::new();
        response::read_item(told, &mut parts);
        for part in parts {
            match part {
                Part::Text { text, .. } if silent => events.push(Event::Text { choice: CHOICE, text }),
                Part::Refusal(text) if silent => events.push(Event::Refusal { choice: CHOICE, text }),
                Part::ToolCall { arguments: fragment, .. } if silent => {
                    events.extend(call.map(|index| Event::ToolArguments { choice: CHOICE, index, fragment }));
                }
                Part::Reasoning { text, signature } => {
                    if silent && !text.is_empty() {
                        events.push(Event::Reasoning { choice: CHOICE, text });
                    }
                    events.extend(signature.map(|signature| Event::Signature { choice: CHOICE, signature }));
                }
                _ => {}
            }
        }
    }

    fn end(&mut self, kind: &str, response: &Value, events: &mut Vec<Event>) {
        self.over = true;
        if matches!(kind, "failed" | "cancelled") || response::has_failed(response) {
            events.push(Event::Fault(refusal::classify_inside(response)));
            return;
        }
        if self.items.is_empty() {
            // A host that streams in one event.
            for (index, item) in (0..).zip(lenient::list(response, "output")) {
                self.whole(index, item, events);
            }
        }
        let (finish, native) = response::finish(response, self.begun_calls > 0);
        events.extend(usage::read(response).map(Event::Usage));
        events.push(Event::Finish { choice: CHOICE, finish, native: Some(native) });
        events.push(Event::End);
    }
}

/// Text as it stands within a JSON string.
fn escaped(text: &str) -> String {
    let mut told = quoted(text);
    told.pop();
    told.remove(0);
    told
}

impl Decoder for ResponseDecoder {
    fn glance(&self, frame: &Frame<'_>) -> Glance {
        if frame.data.is_empty() && frame.event != "error" {
            return Glance::Pass;
        }
        // Imitators leave the name out: those are read.
        let named = frame.event.strip_prefix("response.").and_then(|name| name.strip_suffix(".delta"));
        let pass = self.started && named.is_some();
        if pass {
            self.unread.set(true);
            Glance::Pass
        } else {
            Glance::Read
        }
    }

    fn decode(&mut self, frame: &Frame<'_>, events: &mut Vec<Event>) -> Result<(), MalformedFrame> {
        let data = frame.data.trim();
        if data.is_empty() || self.over || data == "[DONE]" {
            return Ok(());
        }
        let told: Value = serde_json::from_str(data).map_err(|_| MalformedFrame)?;
        let kind = lenient::text(&told, "type").unwrap_or(frame.event);
        if kind == "error" || frame.event == "error" || refusal::error_of(&told).is_some() {
            self.over = true;
            events.push(Event::Fault(refusal::classify_inside(&told)));
            return Ok(());
        }
        if !told.is_object() {
            return Err(MalformedFrame);
        }
        self.event(kind.strip_prefix("response.").unwrap_or(kind), &told, events);
        Ok(())
    }

    fn close(&mut self, _events: &mut Vec<Event>) {
        // Every event is told as it comes, and only the whole response is an end.
    }
}

#[cfg(test)]
mod tests;
