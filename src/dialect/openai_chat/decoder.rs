//! A provider's stream to the hub's events.
//!
//! Hosts differ most here. What is relied on: a chunk is a JSON object, `choices[].delta` holds fragments, `[DONE]` ends.
//! Everything else (ids, indexes, roles, the number of finishes, where usage rides) is read as it comes.
use super::{
    super::{Decoder, Glance, MalformedFrame, carried::made_up_id, lenient, refusal},
    finish_of, thinking_text,
    usage::Counting,
};
use crate::{
    catalog::Deployment,
    chat::{Event, Finish},
    sse::Frame,
};
use serde_json::Value;

/// Names of members, from behind their first quote, that a chunk is read for.
const MARKS: [&[u8]; 3] = [b"usage\"", b"finish_reason\"", b"error\""];

pub(super) struct ChatDecoder {
    counting: Counting,
    started: bool,
    over: bool,
    id: String,
    choices: Vec<Choice>,
}

/// What is known of one choice so far.
struct Choice {
    index: u32,
    calls: Vec<ToolCall>,
    begun_calls: u32,
    finished: bool,
    /// A plain reasoning member came, so the details only repeat it.
    plain_reasoning: bool,
}

/// A tool call in the making.
struct ToolCall {
    /// The provider's number, where it gives one.
    key: Option<u64>,
    id: Option<String>,
    /// Our number and whether the name is known: then it is told.
    begun: Option<u32>,
    /// Arguments that came before the name.
    early: String,
}

impl ChatDecoder {
    pub(super) fn new(deployment: &Deployment) -> Self {
        Self { counting: Counting::of(deployment), started: false, over: false, id: String::new(), choices: Vec::new() }
    }

    fn start(&mut self, chunk: &Value, events: &mut Vec<Event>) {
        if self.started {
            return;
        }
        let (id, model) = (lenient::text(chunk, "id"), lenient::text(chunk, "model"));
        // Azure opens with a placeholder: no id, no model, no choices. It tells nothing.
        if lenient::list(chunk, "choices").is_empty() && (id.is_none() || model.is_none()) {
            return;
        }
        self.started = true;
        id.unwrap_or_default().clone_into(&mut self.id);
        events.push(Event::Start { id: self.id.clone(), model: model.unwrap_or_default().to_owned() });
    }

    fn choice(&mut self, told: &Value, place: usize, failed: bool, events: &mut Vec<Event>) {
        let number = told.get("index").and_then(Value::as_u64).unwrap_or(place as u64);
        let index = u32::try_from(number).unwrap_or(u32::MAX);
        let found = self.choices.iter().position(|choice| choice.index == index).unwrap_or(self.choices.len());
        if found == self.choices.len() {
            self.choices.push(Choice {
                index,
                calls: Vec::new(),
                begun_calls: 0,
                finished: false,
                plain_reasoning: false,
            });
        }
        let Some(choice) = self.choices.get_mut(found) else { return };
        if let Some(delta) = told.get("delta").filter(|delta| delta.is_object()) {
            choice.delta(delta, &self.id, events);
        }
        // Legacy completions have no delta.
        if let Some(text) = lenient::text(told, "text") {
            events.push(Event::Text { choice: choice.index, text: text.to_owned() });
        }
        if let Some(word) = lenient::text(told, "finish_reason")
            && !failed
        {
            choice.finish(Some(word), events);
        }
    }
}

impl Choice {
    fn delta(&mut self, delta: &Value, answer: &str, events: &mut Vec<Event>) {
        let choice = self.index;
        self.reasoning(delta, events);
        match delta.get("content") {
            Some(Value::String(text)) if !text.is_empty() => events.push(Event::Text { choice, text: text.clone() }),
            Some(Value::Array(pieces)) => {
                for piece in pieces {
                    let thinking = piece.get("thinking").map(thinking_text).filter(|text| !text.is_empty());
                    events.extend(thinking.map(|text| Event::Reasoning { choice, text }));
                    events
                        .extend(lenient::text(piece, "text").map(|text| Event::Text { choice, text: text.to_owned() }));
                }
            }
            _ => {}
        }
        events.extend(lenient::text(delta, "refusal").map(|text| Event::Refusal { choice, text: text.to_owned() }));
        for call in lenient::list(delta, "tool_calls").iter().filter(|call| call.is_object()) {
            self.tool_call(call, answer, events);
        }
        if let Some(call) = delta.get("function_call").filter(|call| call.is_object()) {
            // The deprecated form: one call, no id, no index.
            let call = crate::json::json!({"index": 0, "function": call});
            self.tool_call(&call, answer, events);
        }
    }

    fn reasoning(&mut self, delta: &Value, events: &mut Vec<Event>) {
        let choice = self.index;
        if let Some(text) = lenient::text(delta, "reasoning_content").or_else(|| lenient::text(delta, "reasoning")) {
            self.plain_reasoning = true;
            events.push(Event::Reasoning { choice, text: text.to_owned() });
        }
        for detail in lenient::list(delta, "reasoning_details") {
            let text = lenient::text(detail, "text").or_else(|| lenient::text(detail, "summary"));
            if let Some(text) = text.filter(|_| !self.plain_reasoning) {
                events.push(Event::Reasoning { choice, text: text.to_owned() });
            }
            let signature = lenient::text(detail, "signature");
            events.extend(signature.map(|text| Event::Signature { choice, signature: text.to_owned() }));
            let data = lenient::text(detail, "data");
            events.extend(data.map(|text| Event::RedactedReasoning { choice, data: text.to_owned() }));
        }
    }

    fn tool_call(&mut self, told: &Value, answer: &str, events: &mut Vec<Event>) {
        let function = told.get("function").or_else(|| told.get("custom")).unwrap_or(told);
        let (id, name) = (lenient::text(told, "id"), lenient::text(function, "name"));
        let key = told.get("index").and_then(Value::as_u64);
        let place = self.find(key, id, name).unwrap_or_else(|| {
            self.calls.push(ToolCall { key, id: None, begun: None, early: String::new() });
            self.calls.len() - 1
        });
        let (choice, next) = (self.index, self.begun_calls);
        let Some(call) = self.calls.get_mut(place) else { return };
        if call.id.is_none() {
            call.id = id.map(str::to_owned);
        }
        if let (None, Some(name)) = (call.begun, name) {
            call.begun = Some(next);
            self.begun_calls += 1;
            let id = call.id.get_or_insert_with(|| made_up_id(answer, choice as usize, next as usize)).clone();
            events.push(Event::ToolStart { choice, index: next, id, name: name.to_owned() });
        }
        let fragment = lenient::arguments(function.get("arguments").or_else(|| function.get("input")));
        match call.begun {
            None => call.early.push_str(&fragment),
            Some(index) => {
                let fragment = std::mem::take(&mut call.early) + &fragment;
                if !fragment.is_empty() {
                    events.push(Event::ToolArguments { choice, index, fragment });
                }
            }
        }
    }

    /// The call a fragment belongs to; `None` where it opens another.
    fn find(&self, key: Option<u64>, id: Option<&str>, name: Option<&str>) -> Option<usize> {
        let by_id = |id: &str| self.calls.iter().rposition(|call| call.id.as_deref() == Some(id));
        let Some(key) = key else {
            // No index: the id decides; without one a name opens a call, and the rest belongs to the newest.
            return match (id, name) {
                (Some(id), _) => by_id(id),
                (None, Some(_)) => None,
                (None, None) => self.calls.len().checked_sub(1),
            };
        };
        let place = self.calls.iter().rposition(|call| call.key == Some(key))?;
        let call = self.calls.get(place)?;
        // Some hosts give every call the same index: another id with a name is another call. An id that changes on a
        // nameless fragment is noise.
        let other = call.begun.is_some() && name.is_some() && id.is_some_and(|id| call.id.as_deref() != Some(id));
        if other { id.and_then(by_id) } else { Some(place) }
    }

    fn finish(&mut self, word: Option<&str>, events: &mut Vec<Event>) {
        // OpenRouter repeats the finish on its usage chunk.
        if self.finished {
            return;
        }
        self.finished = true;
        let finish = match word.map_or(Finish::Stop, finish_of) {
            // A provider that gave up has not finished: another may.
            Finish::Error => {
                events.push(Event::Fault(super::gave_up(word)));
                return;
            }
            Finish::Stop if self.begun_calls > 0 => Finish::ToolCalls,
            finish => finish,
        };
        events.push(Event::Finish { choice: self.index, finish, native: word.map(str::to_owned) });
    }
}

impl Decoder for ChatDecoder {
    fn glance(&self, frame: &Frame<'_>) -> Glance {
        let data = frame.data.as_bytes();
        if data.is_empty() && frame.event != "error" {
            return Glance::Pass;
        }
        // What is no object from end to end is broken, or the end.
        let object = data.starts_with(b"{") && data.trim_ascii_end().ends_with(b"}");
        if !self.started || !object || frame.event == "error" {
            return Glance::Read;
        }
        // A text that only quotes these words has its quotes escaped, so it does not match.
        let told = memchr::memchr_iter(b'"', data).any(|at| {
            let name = data.get(at + 1..).unwrap_or_default();
            MARKS.iter().find_map(|mark| name.strip_prefix(*mark)).is_some_and(|rest| {
                let value = rest.trim_ascii_start().strip_prefix(b":").unwrap_or(b"?").trim_ascii_start();
                !value.starts_with(b"null")
            })
        });
        if told { Glance::Read } else { Glance::Pass }
    }

    fn decode(&mut self, frame: &Frame<'_>, events: &mut Vec<Event>) -> Result<(), MalformedFrame> {
        let data = frame.data.trim();
        if data.is_empty() || self.over {
            return Ok(());
        }
        if data == "[DONE]" {
            self.over = true;
            // Some hosts (Snowflake) end without a finish.
            self.choices.iter_mut().for_each(|choice| choice.finish(None, events));
            events.push(Event::End);
            return Ok(());
        }
        let chunk: Value = serde_json::from_str(data).map_err(|_| MalformedFrame)?;
        let fault = refusal::error_of(&chunk).or_else(|| (frame.event == "error").then_some(&chunk));
        if fault.is_none() && !chunk.is_object() {
            return Err(MalformedFrame);
        }
        if fault.is_none() || lenient::text(&chunk, "id").is_some() {
            self.start(&chunk, events);
        }
        for (place, choice) in lenient::list(&chunk, "choices").iter().enumerate() {
            self.choice(choice, place, fault.is_some(), events);
        }
        events.extend(self.counting.read(&chunk).map(Event::Usage));
        self.over |= events.iter().any(|event| matches!(event, Event::Fault(_)));
        if let Some(fault) = fault {
            // OpenRouter sends `[DONE]` after it: no end for us.
            self.over = true;
            events.push(Event::Fault(refusal::classify_inside(fault)));
        }
        Ok(())
    }

    fn close(&mut self, _events: &mut Vec<Event>) {
        // Every event is told as it comes, and only `[DONE]` is an end.
    }
}

#[cfg(test)]
mod tests;
