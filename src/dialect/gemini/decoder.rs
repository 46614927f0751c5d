//! A provider's stream to the hub's events. A whole answer is a stream of one event.
use super::{
    super::{
        Decoder, Glance, MalformedFrame,
        carried::{GEMINI, made_up_id, signed_id},
        gathered, lenient, refusal,
    },
    usage,
};
use crate::{
    chat::{Event, Finish, Response},
    fault::{Cause, UpstreamFault},
    json::{read_bytes, written},
    sse::Frame,
};
use serde_json::{Map, Value};

#[derive(Default)]
pub(super) struct ContentDecoder {
    started: bool,
    over: bool,
    id: String,
    choices: Vec<Choice>,
}

/// What is known of one candidate so far.
struct Choice {
    index: u32,
    calls: u32,
    /// The call whose arguments come in pieces, and what they came to.
    open: Option<(u32, Value)>,
    /// Thoughts were told.
    thought: bool,
    finished: bool,
}

/// A whole answer.
pub(super) fn whole(bytes: &[u8]) -> Result<Response, UpstreamFault> {
    let told: Value = read_bytes(bytes)
        .map_err(|_| UpstreamFault::new(200, Cause::Server, "The provider's answer is no content."))?;
    let (mut decoder, mut events) = (ContentDecoder::default(), Vec::new());
    decoder.answer(&told, &mut events);
    gathered::response(events)
}

fn finish_of(word: &str) -> Finish {
    match word {
        "STOP" | "FINISH_REASON_UNSPECIFIED" => Finish::Stop,
        "MAX_TOKENS" => Finish::Length,
        "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MISSING_THOUGHT_SIGNATURE"
        | "MALFORMED_RESPONSE" => Finish::Error,
        // SAFETY, RECITATION, LANGUAGE, IMAGE_SAFETY and the like; what is newer than this code is no plain stop either.
        _ => Finish::ContentFilter,
    }
}

impl ContentDecoder {
    fn answer(&mut self, told: &Value, events: &mut Vec<Event>) {
        if refusal::error_of(told).is_some() {
            self.over = true;
            events.push(Event::Fault(refusal::classify_inside(told)));
            return;
        }
        if !std::mem::replace(&mut self.started, true) {
            let text = |name: &str| lenient::text(told, name).unwrap_or_default().to_owned();
            self.id = text("responseId");
            events.push(Event::Start { id: self.id.clone(), model: text("modelVersion") });
        }
        let candidates = lenient::list(told, "candidates");
        for (place, candidate) in candidates.iter().enumerate() {
            self.candidate(candidate, place, events);
        }
        let feedback = told.get("promptFeedback").unwrap_or(&Value::Null);
        if let Some(reason) = lenient::text(feedback, "blockReason").filter(|_| candidates.is_empty()) {
            // The prompt itself was refused: there is no candidate to say so.
            let choice = 0;
            let message = lenient::text(feedback, "blockReasonMessage");
            events.extend(message.map(|text| Event::Refusal { choice, text: text.to_owned() }));
            if let Some(choice) = self.choice(choice) {
                choice.finish(Finish::ContentFilter, reason, events);
            }
        }
        events.extend(usage::read(told).map(Event::Usage));
    }

    fn choice(&mut self, index: u32) -> Option<&mut Choice> {
        let place = self.choices.iter().position(|choice| choice.index == index).unwrap_or(self.choices.len());
        if place == self.choices.len() {
            self.choices.push(Choice { index, calls: 0, open: None, thought: false, finished: false });
        }
        self.choices.get_mut(place)
    }

    fn candidate(&mut self, told: &Value, place: usize, events: &mut Vec<Event>) {
        let index = told.get("index").and_then(Value::as_u64).unwrap_or(place as u64);
        let id = self.id.clone();
        let Some(choice) = self.choice(u32::try_from(index).unwrap_or(u32::MAX)) else { return };
        for part in told.get("content").map_or(&[][..], |content| lenient::list(content, "parts")) {
            choice.part(part, &id, events);
        }
        let Some(word) = lenient::text(told, "finishReason") else { return };
        choice.shut(events);
        match finish_of(word) {
            // A model that gave up has not finished: another may.
            Finish::Error => {
                let why = lenient::text(told, "finishMessage").unwrap_or(word);
                let fault = UpstreamFault::new(200, Cause::Server, format!("The provider gave up: {why:.200}."));
                self.over = true;
                events.push(Event::Fault(fault));
            }
            Finish::Stop if choice.calls > 0 => choice.finish(Finish::ToolCalls, word, events),
            finish => choice.finish(finish, word, events),
        }
    }
}

impl Choice {
    fn part(&mut self, part: &Value, answer: &str, events: &mut Vec<Event>) {
        let choice = self.index;
        let signature = lenient::text(part, "thoughtSignature");
        if let Some(call) = part.get("functionCall") {
            return self.call(call, signature, answer, events);
        }
        let signed = signature.map(|signature| Event::Signature { choice, signature: format!("{GEMINI}{signature}") });
        let text = lenient::text(part, "text").map(str::to_owned);
        if part.get("thought").and_then(Value::as_bool) == Some(true) {
            self.thought = true;
            events.extend(text.map(|text| Event::Reasoning { choice, text }));
            events.extend(signed);
        } else {
            // What signs a text closes the thoughts before it. Without any it need not come back, and callers who did not
            // ask for thoughts expect none.
            events.extend(signed.filter(|_| self.thought));
            events.extend(text.map(|text| Event::Text { choice, text }));
        }
    }

    /// A call whole, or in pieces that go on until one does not say so.
    fn call(&mut self, told: &Value, signature: Option<&str>, answer: &str, events: &mut Vec<Event>) {
        let choice = self.index;
        if let Some(name) = lenient::text(told, "name") {
            self.shut(events);
            let index = self.calls;
            self.calls += 1;
            let id = lenient::text(told, "id")
                .map_or_else(|| made_up_id(answer, choice as usize, index as usize), str::to_owned);
            events.push(Event::ToolStart { choice, index, id: signed_id(&id, signature), name: name.to_owned() });
            let arguments = told.get("args").filter(|args| args.is_object()).cloned();
            self.open = Some((index, arguments.unwrap_or_else(|| Map::new().into())));
        }
        if let Some((_, arguments)) = &mut self.open {
            for piece in lenient::list(told, "partialArgs") {
                put_at(arguments, piece);
            }
        }
        if told.get("willContinue").and_then(Value::as_bool) != Some(true) {
            self.shut(events);
        }
    }

    fn shut(&mut self, events: &mut Vec<Event>) {
        let open = self.open.take();
        let choice = self.index;
        events.extend(open.map(|(index, told)| Event::ToolArguments { choice, index, fragment: written(&told) }));
    }

    fn finish(&mut self, finish: Finish, word: &str, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.finished, true) {
            events.push(Event::Finish { choice: self.index, finish, native: Some(word.to_owned()) });
        }
    }
}

/// Puts a piece of arguments where its path says; texts grow.
fn put_at(arguments: &mut Value, piece: &Value) {
    const STEPS_MAX: usize = 64;
    let Some(path) = lenient::text(piece, "jsonPath").and_then(|path| path.strip_prefix("$")) else { return };
    let steps = path.split(['.', '[', ']']).map(|step| step.trim_matches(['\'', '"'])).filter(|step| !step.is_empty());
    let mut at = arguments;
    for step in steps.take(STEPS_MAX) {
        at = match step.parse::<usize>() {
            Ok(place) if !at.is_object() => {
                if !at.is_array() {
                    *at = Value::Array(Vec::new());
                }
                let Some(items) = at.as_array_mut() else { return };
                if place == items.len() {
                    items.push(Value::Null);
                }
                let Some(item) = items.get_mut(place) else { return };
                item
            }
            _ => {
                if !at.is_object() {
                    *at = Map::new().into();
                }
                let Some(members) = at.as_object_mut() else { return };
                members.entry(step).or_insert(Value::Null)
            }
        };
    }
    match (piece.get("stringValue"), at) {
        (Some(Value::String(more)), Value::String(text)) => text.push_str(more),
        (Some(text), at) => *at = text.clone(),
        (None, at) => *at = piece.get("numberValue").or_else(|| piece.get("boolValue")).cloned().unwrap_or_default(),
    }
}

impl Decoder for ContentDecoder {
    fn glance(&self, _frame: &Frame<'_>) -> Glance {
        Glance::Read
    }

    fn decode(&mut self, frame: &Frame<'_>, events: &mut Vec<Event>) -> Result<(), MalformedFrame> {
        let data = frame.data.trim();
        if data.is_empty() || self.over {
            return Ok(());
        }
        let told: Value = serde_json::from_str(data).map_err(|_| MalformedFrame)?;
        if !told.is_object() && refusal::error_of(&told).is_none() {
            return Err(MalformedFrame);
        }
        self.answer(&told, events);
        Ok(())
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        // The connection's end is the stream's, once every candidate said why it ended.
        if !self.over && !self.choices.is_empty() && self.choices.iter().all(|choice| choice.finished) {
            events.push(Event::End);
        }
    }
}

#[cfg(test)]
mod tests;
