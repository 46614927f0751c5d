//! The hub's events to a stream of named events, and a provider's own passed on.
//!
//! Clients build the answer from the events, so that: each item is added once, before any event that names it; items are
//! closed in the order of their indexes; the last event repeats what was closed, and nothing else.
use super::{
    super::{Encoder, Stamp, priced},
    REDACTED, call_words,
    envelope::Envelope,
    fault, input_of, sealed, usage,
};
use crate::{
    body::{Body, quoted},
    chat::{Event, Finish, Response},
    fault::{Cause, UpstreamFault},
    json::written,
    money::Nanos,
    sse::{self, Frame},
    usage::Usage,
};
use std::{cell::OnceCell, fmt::Write as _};

pub(super) struct ResponseEncoder {
    stamp: Stamp,
    /// Not made for answers that are passed on.
    envelope: OnceCell<Envelope>,
    /// What the ids of items end with, but for their index.
    id: String,
    /// The number of the next event.
    sequence: u64,
    items: Vec<Item>,
    /// How many of them are closed, and those as JSON.
    closed: usize,
    output: String,
    finish: Finish,
    /// A failure was told: nothing may look complete after it.
    broken: bool,
    /// The last event of a relayed stream.
    held: Option<(&'static str, Body)>,
}

/// An item of the answer.
struct Item {
    id: String,
    /// `"item_id"` and `"output_index"`, as most events begin.
    place: String,
    kind: Kind,
    /// The form of the part being written.
    form: Option<&'static Form>,
    /// The part being written, or a call's arguments.
    text: String,
    /// The parts that are whole, as JSON.
    parts: String,
    parts_count: usize,
}

enum Kind {
    Message,
    /// JSON, or nothing.
    Reasoning {
        sealed: String,
    },
    /// `number` is the hub's; `names` is JSON: the call's id, name and namespace.
    Call {
        number: u32,
        names: String,
        custom: bool,
    },
}

/// How a text is told in parts.
struct Form {
    part: &'static str,
    index: &'static str,
    event: &'static str,
    kind: &'static str,
    member: &'static str,
    /// What stands beside it in a part and in an event.
    beside: &'static str,
    beside_event: &'static str,
}

static TEXT: Form = Form {
    part: "content_part",
    index: "content_index",
    event: "output_text",
    kind: "output_text",
    member: "text",
    beside: r#","annotations":[],"logprobs":[]"#,
    beside_event: r#","logprobs":[]"#,
};
static REFUSAL: Form = Form {
    part: "content_part",
    index: "content_index",
    event: "refusal",
    kind: "refusal",
    member: "refusal",
    beside: "",
    beside_event: "",
};
static SUMMARY: Form = Form {
    part: "reasoning_summary_part",
    index: "summary_index",
    event: "reasoning_summary_text",
    kind: "summary_text",
    member: "text",
    beside: "",
    beside_event: "",
};

impl Form {
    fn json(&self, text: &str) -> String {
        format!(r#"{{"type":"{}","{}":{}{}}}"#, self.kind, self.member, quoted(text), self.beside)
    }
}

impl Item {
    fn is_call(&self) -> bool {
        matches!(self.kind, Kind::Call { .. })
    }

    fn json(&self, status: &str) -> String {
        let (id, parts) = (&self.id, &self.parts);
        match &self.kind {
            Kind::Message => format!(
                r#"{{"id":"{id}","type":"message","status":"{status}","role":"assistant","content":[{parts}]}}"#
            ),
            Kind::Reasoning { sealed } => {
                let seal = if sealed.is_empty() { "" } else { r#","encrypted_content":"# };
                format!(r#"{{"id":"{id}","type":"reasoning","summary":[{parts}]{seal}{sealed}}}"#)
            }
            Kind::Call { names, custom, .. } => {
                let (kind, member) = call_words(*custom);
                let text = quoted(&self.text);
                format!(r#"{{"id":"{id}","type":"{kind}","status":"{status}",{names},"{member}":{text}}}"#)
            }
        }
    }
}

/// Writes events and numbers them.
struct Pen<'a> {
    sequence: &'a mut u64,
    out: &'a mut Vec<u8>,
}

impl Pen<'_> {
    /// `members` is what follows the type and the number.
    fn say(&mut self, event: &str, members: &str) {
        let data = format!(r#"{{"type":"response.{event}","sequence_number":{},{members}}}"#, self.sequence);
        sse::write_event(self.out, &format!("response.{event}"), data.as_bytes());
        *self.sequence += 1;
    }

    fn open_part(&mut self, item: &mut Item, form: &'static Form) {
        self.close_part(item);
        item.form = Some(form);
        let (place, count, part) = (&item.place, item.parts_count, form.json(""));
        self.say(&format!("{}.added", form.part), &format!(r#"{place},"{}":{count},"part":{part}"#, form.index));
    }

    fn close_part(&mut self, item: &mut Item) {
        let Some(form) = item.form.take() else { return };
        let part = form.json(&item.text);
        let place = format!(r#"{},"{}":{}"#, item.place, form.index, item.parts_count);
        let (member, text, beside) = (form.member, quoted(&item.text), form.beside_event);
        self.say(&format!("{}.done", form.event), &format!(r#"{place},"{member}":{text}{beside}"#));
        self.say(&format!("{}.done", form.part), &format!(r#"{place},"part":{part}"#));
        if item.parts_count > 0 {
            item.parts.push(',');
        }
        item.parts.push_str(&part);
        item.parts_count += 1;
        item.text.clear();
    }

    fn close_call(&mut self, item: &mut Item, custom: bool) {
        if custom {
            item.text = input_of(&item.text);
        } else if item.text.is_empty() {
            "{}".clone_into(&mut item.text);
            self.say("function_call_arguments.delta", &format!(r#"{},"delta":"{{}}""#, item.place));
        }
        let (place, text) = (&item.place, quoted(&item.text));
        if custom {
            self.say("custom_tool_call_input.delta", &format!(r#"{place},"delta":{text}"#));
            self.say("custom_tool_call_input.done", &format!(r#"{place},"input":{text}"#));
        } else {
            self.say("function_call_arguments.done", &format!(r#"{place},"arguments":{text}"#));
        }
    }
}

impl ResponseEncoder {
    pub(super) fn new(stamp: Stamp) -> Self {
        Self {
            id: stamp.request_id.strip_prefix("req_").unwrap_or(&stamp.request_id).to_owned(),
            stamp,
            envelope: OnceCell::new(),
            sequence: 0,
            items: Vec::new(),
            closed: 0,
            output: String::new(),
            finish: Finish::Stop,
            broken: false,
            held: None,
        }
    }

    fn envelope(&self) -> &Envelope {
        self.envelope.get_or_init(|| Envelope::new(&self.stamp))
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if self.sequence > 0 {
            return;
        }
        let response = self.envelope().object("in_progress", None, "", "null");
        let mut pen = Pen { sequence: &mut self.sequence, out };
        for event in ["created", "in_progress"] {
            pen.say(event, &format!(r#""response":{response}"#));
        }
    }

    /// Closes items, in order: all, or those before the first call that may still be written to.
    fn settle(&mut self, all: bool, out: &mut Vec<u8>) {
        let cut = all && self.incomplete().is_some();
        let count = self.items.len();
        while let Some(item) = self.items.get_mut(self.closed).filter(|item| all || !item.is_call()) {
            let mut pen = Pen { sequence: &mut self.sequence, out };
            match item.kind {
                Kind::Call { custom, .. } => pen.close_call(item, custom),
                _ => pen.close_part(item),
            }
            let json = item.json(if cut && self.closed + 1 == count { "incomplete" } else { "completed" });
            pen.say("output_item.done", &format!(r#""output_index":{},"item":{json}"#, self.closed));
            if self.closed > 0 {
                self.output.push(',');
            }
            self.output.push_str(&json);
            self.closed += 1;
        }
    }

    fn open(&mut self, kind: Kind, out: &mut Vec<u8>) {
        self.start(out);
        self.settle(false, out);
        let index = self.items.len();
        let word = match &kind {
            Kind::Message => "msg",
            Kind::Reasoning { .. } => "rs",
            Kind::Call { custom, .. } => {
                if *custom {
                    "ctc"
                } else {
                    "fc"
                }
            }
        };
        let id = format!("{word}_{}_{index}", self.id);
        let place = format!(r#""item_id":"{id}","output_index":{index}"#);
        let (text, parts) = (String::new(), String::new());
        let item = Item { id, place, kind, form: None, text, parts, parts_count: 0 };
        let members = format!(r#""output_index":{index},"item":{}"#, item.json("in_progress"));
        self.items.push(item);
        Pen { sequence: &mut self.sequence, out }.say("output_item.added", &members);
    }

    /// The newest item, if it can still be written to and is one that `wanted` knows.
    fn newest(&mut self, wanted: fn(&Kind) -> bool) -> Option<&mut Item> {
        if self.items.len() == self.closed {
            return None;
        }
        self.items.last_mut().filter(|item| wanted(&item.kind))
    }

    fn text(&mut self, form: &'static Form, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        let reasons = std::ptr::eq(form, &raw const SUMMARY);
        let wanted: fn(&Kind) -> bool = if reasons { is_open_reasoning } else { is_message };
        if self.newest(wanted).is_none() {
            let kind = if reasons { Kind::Reasoning { sealed: String::new() } } else { Kind::Message };
            self.open(kind, out);
        }
        let Some(item) = self.items.last_mut() else { return };
        let mut pen = Pen { sequence: &mut self.sequence, out };
        if !item.form.is_some_and(|open| std::ptr::eq(open, form)) {
            pen.open_part(item, form);
        }
        item.text.push_str(text);
        let (place, count, text, beside) = (&item.place, item.parts_count, quoted(text), form.beside_event);
        let members = format!(r#"{place},"{}":{count},"delta":{text}{beside}"#, form.index);
        pen.say(&format!("{}.delta", form.event), &members);
    }

    /// Closes the reasoning with what its maker wants back.
    fn seal(&mut self, content: &str, out: &mut Vec<u8>) {
        if self.newest(is_open_reasoning).is_none() {
            self.open(Kind::Reasoning { sealed: String::new() }, out);
        }
        if let Some(Item { kind: Kind::Reasoning { sealed }, .. }) = self.items.last_mut() {
            *sealed = quoted(content);
        }
    }

    fn call(&mut self, number: u32, id: &str, name: &str, out: &mut Vec<u8>) {
        let declared = self.envelope().declared(name);
        let (name, custom) = declared.map_or((name, false), |tool| (tool.name.as_str(), tool.custom));
        let mut names = format!(r#""call_id":{},"name":{}"#, quoted(id), quoted(name));
        if let Some(space) = declared.and_then(|tool| tool.namespace.as_ref()) {
            let _ = write!(names, r#","namespace":{}"#, quoted(space));
        }
        self.open(Kind::Call { number, names, custom }, out);
    }

    fn arguments(&mut self, wanted: u32, fragment: &str, out: &mut Vec<u8>) {
        for item in self.items.iter_mut().skip(self.closed) {
            if let Kind::Call { number, custom, .. } = item.kind
                && number == wanted
            {
                item.text.push_str(fragment);
                // Text comes out of its object only when that is whole.
                if !custom && !fragment.is_empty() {
                    let members = format!(r#"{},"delta":{}"#, item.place, quoted(fragment));
                    Pen { sequence: &mut self.sequence, out }.say("function_call_arguments.delta", &members);
                }
            }
        }
    }

    fn incomplete(&self) -> Option<&'static str> {
        match self.finish {
            Finish::Length => Some("max_output_tokens"),
            Finish::ContentFilter => Some("content_filter"),
            // Calls are output like any other.
            Finish::Stop | Finish::ToolCalls | Finish::Error => None,
        }
    }

    /// The end of the answer: its status, and the response around it.
    fn end(&self, usage: Option<&Usage>, cost: Option<Nanos>) -> (&'static str, String) {
        let incomplete = self.incomplete();
        let status = if incomplete.is_some() { "incomplete" } else { "completed" };
        let usage = usage.map_or_else(|| "null".to_owned(), |usage| written(&usage::write(usage, cost)));
        (status, self.envelope().object(status, incomplete, &self.output, &usage))
    }
}

fn is_message(kind: &Kind) -> bool {
    matches!(kind, Kind::Message)
}

fn is_open_reasoning(kind: &Kind) -> bool {
    matches!(kind, Kind::Reasoning { sealed } if sealed.is_empty())
}

/// A whole answer: the items its stream would have had.
pub(super) fn whole(response: &Response, stamp: &Stamp) -> Vec<u8> {
    let (mut encoder, mut unsaid) = (ResponseEncoder::new(stamp.clone()), Vec::new());
    for event in response.clone().into_events() {
        encoder.encode(&event, &mut unsaid);
    }
    encoder.settle(true, &mut unsaid);
    let (_, told) = encoder.end(response.usage.as_ref(), stamp.cost);
    told.into_bytes()
}

impl Encoder for ResponseEncoder {
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.broken {
            return;
        }
        match event {
            // This dialect's callers cannot ask for more than one choice.
            Event::Text { choice: 0, text } => self.text(&TEXT, text, out),
            Event::Refusal { choice: 0, text } => self.text(&REFUSAL, text, out),
            Event::Reasoning { choice: 0, text } => self.text(&SUMMARY, text, out),
            Event::Signature { choice: 0, signature } => self.seal(&sealed(signature), out),
            Event::RedactedReasoning { choice: 0, data } => self.seal(&format!("{REDACTED}{data}"), out),
            Event::ToolStart { choice: 0, index, id, name } => self.call(*index, id, name, out),
            Event::ToolArguments { choice: 0, index, fragment } => self.arguments(*index, fragment, out),
            Event::Finish { finish: Finish::Error, .. } => {
                let gave_up = UpstreamFault::new(200, Cause::Server, "").to_fault();
                out.extend_from_slice(&fault::encode_in_stream(&gave_up, self.sequence));
                self.broken = true;
            }
            Event::Finish { choice: 0, finish, .. } => {
                self.finish = *finish;
                self.settle(true, out);
            }
            _ => {}
        }
    }

    fn finish(&mut self, usage: Option<&Usage>, cost: Option<Nanos>, out: &mut Vec<u8>) {
        if self.broken {
            return;
        }
        self.start(out);
        self.settle(true, out);
        let (status, response) = self.end(usage, cost);
        Pen { sequence: &mut self.sequence, out }.say(status, &format!(r#""response":{response}"#));
    }

    fn number(&self) -> u64 {
        self.sequence
    }

    fn relay(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        // Some hosts end like chat completions.
        if frame.data == "[DONE]" {
            return;
        }
        let ends = |name: &&str| frame.event == *name || (frame.event.is_empty() && frame.data.contains(&quoted(name)));
        let name = ["response.completed", "response.incomplete"].into_iter().find(ends);
        match name.zip(Body::parse(frame.data.as_bytes().to_vec()).ok()) {
            // The charge goes into its usage, and is known only at the end.
            Some(held) => self.held = Some(held),
            None => out.extend_from_slice(frame.raw),
        }
    }

    fn finish_relayed(&mut self, cost: Option<Nanos>, out: &mut Vec<u8>) {
        let Some((name, event)) = self.held.take() else { return };
        let priced = |cost| {
            let response = Body::parse(event.set("response")?.as_bytes().to_vec()).ok()?;
            let usage = priced(response.set("usage")?, cost)?;
            String::from_utf8(response.rewritten(&[("usage", Some(usage.into()))])).ok()
        };
        let changes: Vec<_> =
            cost.and_then(priced).map(|response| ("response", Some(response.into()))).into_iter().collect();
        sse::write_event(out, name, &event.rewritten(&changes));
    }
}

#[cfg(test)]
mod tests;
