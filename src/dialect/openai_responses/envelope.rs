//! The response object: around an answer, what the request asked for. Strict clients want its members present, set or null.
use super::{
    super::{Stamp, writing::member},
    flat_name,
};
use crate::body::{Body, quoted};
use serde_json::{Value, value::RawValue};
use std::borrow::Cow;

/// Members that repeat the request's own, and what they are where it has none.
const REPEATED: [(&str, &str); 15] = [
    ("frequency_penalty", "0"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("presence_penalty", "0"),
    ("prompt_cache_key", "null"),
    ("safety_identifier", "null"),
    ("temperature", "1"),
    ("tool_choice", "\"auto\""),
    ("top_logprobs", "0"),
    ("top_p", "1"),
    ("truncation", "\"disabled\""),
    ("user", "null"),
];

/// A tool that other dialects know otherwise than the caller declared it.
pub(super) struct Declared {
    flat: String,
    pub name: String,
    pub namespace: Option<String>,
    /// Its input is text, not an object.
    pub custom: bool,
}

pub(super) struct Envelope {
    /// Begins with the brace, ends within the object.
    head: String,
    /// Ends with the brace.
    tail: String,
    created: u64,
    declared: Vec<Declared>,
}

impl Envelope {
    pub(super) fn new(stamp: &Stamp) -> Self {
        let asked = stamp.asked.as_ref();
        let id = stamp.request_id.strip_prefix("req_").unwrap_or(&stamp.request_id);
        let head = format!(
            r#"{{"id":{},"object":"response","created_at":{},"model":{},"error":null"#,
            quoted(&format!("resp_{id}")),
            stamp.created,
            quoted(&stamp.model),
        );
        let mut envelope = Self { head, tail: String::new(), created: stamp.created, declared: Vec::new() };
        let tools = asked.set("tools").map_or_else(|| "[]".to_owned(), |raw| envelope.declare(raw, None));
        envelope.declare_later_ones(asked);
        let tier = asked.set("service_tier").filter(|raw| ["\"flex\"", "\"priority\""].contains(raw));
        let tail = &mut envelope.tail;
        for (name, absent) in REPEATED {
            member(tail, name, asked.set(name).unwrap_or(absent));
        }
        member(tail, "background", "false");
        member(tail, "previous_response_id", "null");
        member(tail, "service_tier", tier.unwrap_or("\"default\""));
        member(tail, "store", "false");
        member(tail, "reasoning", &filled(asked.set("reasoning"), &[("effort", "null"), ("summary", "null")]));
        member(
            tail,
            "text",
            &filled(asked.set("text"), &[("format", r#"{"type":"text"}"#), ("verbosity", "\"medium\"")]),
        );
        member(tail, "tools", &tools);
        tail.push('}');
        envelope
    }

    /// The whole object; `output` is the items, `usage` JSON, `incomplete` why the answer is not whole.
    pub(super) fn object(&self, status: &str, incomplete: Option<&str>, output: &str, usage: &str) -> String {
        let (head, tail) = (&self.head, &self.tail);
        let at = if status == "completed" { self.created.to_string() } else { "null".to_owned() };
        let why = incomplete.map_or_else(|| "null".to_owned(), |reason| format!(r#"{{"reason":"{reason}"}}"#));
        format!(
            r#"{head},"status":"{status}","completed_at":{at},"incomplete_details":{why},"output":[{output}],"usage":{usage},{tail}"#
        )
    }

    /// How the caller declared a tool of that name, where that differs.
    pub(super) fn declared(&self, flat: &str) -> Option<&Declared> {
        self.declared.iter().find(|tool| tool.flat == flat)
    }

    /// Notes the tools of a list, which comes back with the members strict clients want.
    fn declare(&mut self, raw: &str, namespace: Option<&str>) -> String {
        let mut told = String::from("[");
        for item in serde_json::from_str::<Vec<&RawValue>>(raw).unwrap_or_default() {
            let item = item.get();
            let tool = Body::parse(item.as_bytes().to_vec()).unwrap_or_default();
            let (kind, name) = (text(&tool, "type"), text(&tool, "name"));
            if told.len() > 1 {
                told.push(',');
            }
            match kind.as_str() {
                "function" => {
                    told.push_str(&filled(
                        Some(item),
                        &[("description", "null"), ("parameters", "null"), ("strict", "null")],
                    ));
                }
                _ => told.push_str(item),
            }
            let custom = kind == "custom";
            if kind == "namespace" {
                self.declare(tool.set("tools").unwrap_or_default(), Some(&name));
            } else if custom || namespace.is_some() {
                let (flat, namespace) = (flat_name(namespace, &name), namespace.map(str::to_owned));
                self.declared.push(Declared { flat, name, namespace, custom });
            }
        }
        told.push(']');
        told
    }

    /// Tools that came in the middle of the conversation.
    fn declare_later_ones(&mut self, asked: &Body) {
        const KINDS: [&str; 2] = ["\"additional_tools\"", "\"tool_search_output\""];
        let input = asked.set("input").unwrap_or_default();
        if !KINDS.iter().any(|kind| input.contains(kind)) {
            return;
        }
        for item in serde_json::from_str::<Vec<&RawValue>>(input).unwrap_or_default() {
            let item = Body::parse(item.get().as_bytes().to_vec()).unwrap_or_default();
            if let Some(tools) = item.set("tools") {
                self.declare(tools, None);
            }
        }
    }
}

fn text(body: &Body, name: &str) -> String {
    match body.set(name).map(serde_json::from_str) {
        Some(Ok(Value::String(text))) => text,
        _ => String::new(),
    }
}

/// An object with the members it lacks, or has as null.
fn filled(raw: Option<&str>, lacking: &[(&'static str, &'static str)]) -> String {
    let body = Body::parse(raw.unwrap_or("{}").as_bytes().to_vec()).unwrap_or_default();
    let mut changes = Vec::new();
    for (name, value) in lacking {
        if body.set(name).is_none() {
            changes.push((*name, Some(Cow::Borrowed(*value))));
        }
    }
    String::from_utf8(body.rewritten(&changes)).unwrap_or_default()
}
