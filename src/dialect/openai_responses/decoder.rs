//! A provider's stream to the hub's events.
use super::{
    super::{Decoder, Glance, MalformedFrame, lenient, refusal},
    call_words, response, usage,
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
    /// What was told of its text or arguments, and up to where that was told once more.
    sent: String,
    repeated: usize,
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

impl Item {
    /// Tells some of its text.
    fn say(&mut self, form: Told, refuses: bool, text: &str, events: &mut Vec<Event>) {
        if text.is_empty() || *self.told.get_or_insert(form) != form {
            return;
        }
        let first = self.sent.is_empty();
        self.sent.push_str(text);
        let text = text.to_owned();
        events.push(match (form, self.call) {
            (Told::Text, _) if refuses => Event::Refusal { choice: CHOICE, text },
            (Told::Text, _) => Event::Text { choice: CHOICE, text },
            (Told::Summary | Told::Full, _) => Event::Reasoning { choice: CHOICE, text },
            (Told::Arguments, None) => return,
            (Told::Arguments, Some(index)) => {
                let fragment = match (self.custom, first) {
                    (false, _) => text,
                    // Input that is text stands in an object, as for a function.
                    (true, true) => format!("{{\"input\":\"{}", escaped(&text)),
                    (true, false) => escaped(&text),
                };
                Event::ToolArguments { choice: CHOICE, index, fragment }
            }
        });
    }

    /// A part's end tells it once more: what was not told before is told now.
    fn repeat(&mut self, form: Told, refuses: bool, text: &str, events: &mut Vec<Event>) {
        if self.over || *self.told.get_or_insert(form) != form {
            return;
        }
        let mut seen = self.sent.get(self.repeated..).unwrap_or_default();
        let more = beyond(&mut seen, text);
        let left = seen.len();
        self.say(form, refuses, more, events);
        self.repeated = self.sent.len() - left;
    }

    /// Ends a call's arguments.
    fn close(&mut self, events: &mut Vec<Event>) {
        let Some(index) = self.call.filter(|_| !std::mem::replace(&mut self.over, true)) else { return };
        let fragment = match (self.custom, self.sent.is_empty()) {
            (false, false) => return,
            (false, true) => "{}",
            (true, false) => "\"}",
            (true, true) => r#"{"input":""}"#,
        };
        events.push(Event::ToolArguments { choice: CHOICE, index, fragment: fragment.to_owned() });
    }
}

/// What a text holds beyond what was told of it. Nothing where it is another one: what was told stands.
fn beyond<'a>(told: &mut &str, whole: &'a str) -> &'a str {
    match (told.strip_prefix(whole), whole.strip_prefix(*told)) {
        (Some(left), _) => {
            *told = left;
            ""
        }
        (None, Some(more)) => {
            *told = "";
            more
        }
        (None, None) => "",
    }
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
            "output_text.delta" => self.fragment(index, Told::Text, false, told, events),
            "refusal.delta" => self.fragment(index, Told::Text, true, told, events),
            "reasoning_summary_text.delta" => self.fragment(index, Told::Summary, false, told, events),
            "reasoning_text.delta" => self.fragment(index, Told::Full, false, told, events),
            "function_call_arguments.delta" | "custom_tool_call_input.delta" => {
                self.fragment(index, Told::Arguments, false, told, events);
            }
            "output_text.done" => self.repeat(index, Told::Text, false, part("text"), events),
            "refusal.done" => self.repeat(index, Told::Text, true, part("refusal"), events),
            "function_call_arguments.done" => self.repeat(index, Told::Arguments, false, part("arguments"), events),
            "custom_tool_call_input.done" => self.repeat(index, Told::Arguments, false, part("input"), events),
            "reasoning_summary_part.added" => {
                // Parts are paragraphs.
                if self.item(index).is_some_and(|item| item.told == Some(Told::Summary)) {
                    events.push(Event::Reasoning { choice: CHOICE, text: "\n\n".to_owned() });
                }
            }
            "completed" | "incomplete" | "failed" | "cancelled" => self.end(kind, part("response"), events),
            // What repeats the fragments, what hosted tools do, and what is newer than this code.
            _ => {}
        }
    }

    /// Calls are told as soon as they are named.
    fn begin(&mut self, index: u64, told: &Value, events: &mut Vec<Event>) {
        let next = self.begun_calls;
        let Some(item) = self.item(index) else { return };
        if item.call.is_some() || !is_call(told) {
            return;
        }
        let id = lenient::text(told, "call_id").or_else(|| lenient::text(told, "id"));
        if let (Some(id), Some(name)) = (id, lenient::text(told, "name")) {
            item.call = Some(next);
            item.custom = lenient::text(told, "type") == Some("custom_tool_call");
            events.push(Event::ToolStart { choice: CHOICE, index: next, id: id.to_owned(), name: name.to_owned() });
            self.begun_calls += 1;
        }
    }

    fn fragment(&mut self, index: u64, form: Told, refuses: bool, told: &Value, events: &mut Vec<Event>) {
        if let Some(text) = lenient::text(told, "delta")
            && let Some(item) = self.item(index)
            && (form != Told::Arguments || item.call.is_some())
        {
            item.say(form, refuses, text, events);
        }
    }

    fn repeat(&mut self, index: u64, form: Told, refuses: bool, text: &Value, events: &mut Vec<Event>) {
        if !self.unread.get()
            && let Some(text) = text.as_str()
            && let Some(item) = self.item(index)
            && (form != Told::Arguments || item.call.is_some())
        {
            item.repeat(form, refuses, text, events);
        }
    }

    /// An item's end tells it once more, whole: what was not told before is told now.
    fn whole(&mut self, index: u64, told: &Value, events: &mut Vec<Event>) {
        let unread = self.unread.get();
        self.begin(index, told, events);
        let Some(item) = self.item(index) else { return };
        if item.over {
            return;
        }
        item.repeated = 0;
        if item.call.is_some() {
            if !unread {
                let (_, name) = call_words(item.custom);
                item.repeat(Told::Arguments, false, &lenient::arguments(told.get(name)), events);
                item.close(events);
            }
            item.over = true;
            return;
        }
        let (silent, mut parts) = (item.told.is_none() && !unread, Vec::new());
        response::read_item(told, &mut parts);
        for part in parts {
            match part {
                Part::Text { text, .. } if !unread => item.repeat(Told::Text, false, &text, events),
                Part::Refusal(text) if !unread => item.repeat(Told::Text, true, &text, events),
                Part::Reasoning { text, signature } => {
                    if silent && !text.is_empty() {
                        events.push(Event::Reasoning { choice: CHOICE, text });
                    }
                    events.extend(signature.map(|signature| Event::Signature { choice: CHOICE, signature }));
                }
                _ => {}
            }
        }
        item.over = true;
    }

    fn end(&mut self, kind: &str, response: &Value, events: &mut Vec<Event>) {
        self.over = true;
        if matches!(kind, "failed" | "cancelled") || response::has_failed(response) {
            events.push(Event::Fault(refusal::classify_inside(response)));
            return;
        }
        // A host that streams in one event, or leaves items open.
        let at_once = self.items.is_empty();
        for (index, told) in (0..).zip(lenient::list(response, "output")) {
            let alike = |item: &Item| item.told.is_none() || item.call.is_some() == is_call(told);
            let open = |item: &Item| item.index == index && alike(item);
            if at_once || self.items.iter().any(open) {
                self.whole(index, told, events);
            }
        }
        if !self.unread.get() {
            self.items.iter_mut().for_each(|item| item.close(events));
        }
        let (finish, native) = response::finish(response, self.begun_calls > 0);
        events.extend(usage::read(response).map(Event::Usage));
        events.push(Event::Finish { choice: CHOICE, finish, native: Some(native) });
        events.push(Event::End);
    }
}

fn is_call(item: &Value) -> bool {
    matches!(lenient::text(item, "type"), Some("function_call" | "custom_tool_call"))
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
        let Some(told) = refusal::named_event(frame, &|_, _| frame.event == "error", &mut self.over, events)? else {
            return Ok(());
        };
        let kind = lenient::kind(&told, frame);
        self.event(kind.strip_prefix("response.").unwrap_or(kind), &told, events);
        Ok(())
    }

    fn close(&mut self, _events: &mut Vec<Event>) {
        // Every event is told as it comes, and only the whole response is an end.
    }
}

#[cfg(test)]
mod tests;
