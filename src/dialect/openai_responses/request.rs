//! A caller's request for a response to the hub.
use super::{
    super::reading::{self, Fields},
    flat_name,
    items::{self, Asked},
};
use crate::json::{json, put};
use crate::{
    body::{Body, quoted},
    chat::{Format, Part, Request, Role, Sampling, Tool, ToolChoice},
    fault::Fault,
};
use serde_json::Value;

/// Tools the caller runs, at no price beside the tokens', that only models of this dialect know. They go on to these and
/// are left out elsewhere.
const RUN_BY_CALLERS: [&str; 5] = ["apply_patch", "computer", "computer_use_preview", "local_shell", "tool_search"];

pub(super) fn decode(body: &Body) -> Result<Request, Fault> {
    reading::decode(body, request)
}

fn request(fields: &mut Fields<'_>) -> Request {
    let model = fields.needed_text("model");
    let mut asked = Asked::default();
    if let Some(text) = fields.text("instructions") {
        asked.push(Role::System, Part::text(text));
    }
    nothing_stored(fields);
    items::read(fields, &mut asked);
    fields.each("tools", &mut |fields| tool(fields, None, &mut asked));
    let tool_choice = tool_choice(fields, &mut asked.tools);
    let format = format(fields);
    let mut effort = None;
    fields.nested("reasoning", &mut |fields| {
        effort = fields.effort("effort");
        fields.text("summary");
    });
    let (user, safety_identifier) = (fields.text("user"), fields.text("safety_identifier"));
    let mut request = Request {
        model,
        messages: asked.messages,
        tools: asked.tools,
        hosted: asked.hosted,
        tool_choice,
        parallel_tool_calls: fields.flag("parallel_tool_calls"),
        format,
        max_output_tokens: fields.count("max_output_tokens", 1),
        sampling: Sampling {
            temperature: fields.number("temperature", 0, 2),
            top_p: fields.number("top_p", 0, 1),
            frequency_penalty: fields.number("frequency_penalty", -2, 2),
            presence_penalty: fields.number("presence_penalty", -2, 2),
            ..Sampling::default()
        },
        effort,
        service_tier: fields.service_tier(),
        stream: fields.flag("stream").unwrap_or(false),
        wants_usage: true,
        user: safety_identifier.or(user),
        rest: fields.rest(),
        ..Request::default()
    };
    let included = request.rest.get("include").and_then(Value::as_array);
    if included.is_some_and(|names| names.iter().any(|name| name == "message.output_text.logprobs")) {
        // Under the name by which they are refused where a dialect has none.
        put(&mut request.rest, "logprobs", true.into());
    }
    request
}

/// Members that name what a provider would have stored.
fn nothing_stored(fields: &mut Fields<'_>) {
    const INSTEAD: [(&str, &str); 4] = [
        ("previous_response_id", "the whole conversation as items in `input`, with `store` false"),
        ("conversation", "the whole conversation as items in `input`, with `store` false"),
        ("prompt", "its text in `instructions` and `input`"),
        ("background", "the request without it, and `stream` true where the answer takes long"),
    ];
    for (name, instead) in INSTEAD {
        if fields.take(name).is_some_and(|value| value != Value::Bool(false)) {
            let message = format!("`{name}` needs something stored, and nothing is stored here. Send {instead}.");
            fields.wrong(Fault::invalid("unsupported_parameter", message).with_param(name));
        }
    }
}

pub(super) fn tool(fields: &mut Fields<'_>, namespace: Option<&str>, asked: &mut Asked) {
    let kind = fields.text("type");
    match kind.as_deref().unwrap_or("function") {
        "function" => {
            let tool = Tool::Function {
                name: flat_name(namespace, &fields.needed_text("name")),
                description: fields.text("description"),
                parameters: fields.object("parameters").map(Value::Object),
                strict: fields.flag("strict"),
                cache: None,
            };
            asked.tools.push(tool);
        }
        "custom" => {
            let name = flat_name(namespace, &fields.needed_text("name"));
            let description = custom_description(fields);
            let parameters =
                json!({"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]});
            asked.tools.push(Tool::Function {
                name,
                description,
                parameters: Some(parameters),
                strict: None,
                cache: None,
            });
        }
        "namespace" => {
            let name = fields.needed_text("name");
            fields.each("tools", &mut |fields| tool(fields, Some(&name), asked));
        }
        kind if RUN_BY_CALLERS.contains(&kind) => {}
        kind => asked.hosted.push(kind.to_owned()),
    }
}

/// A tool with free input is a function with one text elsewhere: the form of the text stands in its description.
fn custom_description(fields: &mut Fields<'_>) -> Option<String> {
    let mut description = fields.text("description");
    fields.nested("format", &mut |fields| {
        if let (Some(syntax), Some(definition)) = (fields.text("syntax"), fields.text("definition")) {
            let text = description.get_or_insert_default();
            text.push_str("\n\n`input` follows this grammar (");
            text.push_str(&syntax);
            text.push_str("):\n");
            text.push_str(&definition);
        }
    });
    description
}

/// A choice among allowed tools is that many tools.
fn tool_choice(fields: &mut Fields<'_>, tools: &mut Vec<Tool>) -> Option<ToolChoice> {
    const NAME: &str = "tool_choice";
    match fields.take(NAME)? {
        Value::String(word) => fields.choice_word(NAME, &word),
        value => {
            let mut choice = None;
            fields.object_in(NAME, value, &mut |fields| choice = choice_object(fields, tools));
            choice
        }
    }
}

fn choice_object(fields: &mut Fields<'_>, tools: &mut Vec<Tool>) -> Option<ToolChoice> {
    let kind = fields.needed_text("type");
    match kind.as_str() {
        "function" | "custom" => Some(ToolChoice::Named(chosen_name(fields))),
        "allowed_tools" => {
            let mode = fields.text("mode");
            let choice = fields.choice_word("mode", mode.as_deref().unwrap_or("auto"));
            let mut names = Vec::new();
            fields.each("tools", &mut |fields| {
                // Hosted tools and such have none.
                if let Some("function" | "custom") = fields.text("type").as_deref() {
                    names.push(chosen_name(fields));
                }
            });
            tools.retain(|tool| matches!(tool, Tool::Function { name, .. } if names.contains(name)));
            choice
        }
        _ => {
            let message = format!(
                "`tool_choice` wants {}, which only a provider can run, at a price nobody can bound. \
                 Choose a function, or leave it out.",
                quoted(&kind)
            );
            fields.wrong(Fault::invalid("unsupported_parameter", message).with_param("tool_choice"));
            None
        }
    }
}

fn chosen_name(fields: &mut Fields<'_>) -> String {
    let name = fields.needed_text("name");
    flat_name(fields.text("namespace").as_deref(), &name)
}

fn format(fields: &mut Fields<'_>) -> Format {
    let mut format = Format::Text;
    fields.nested("text", &mut |fields| {
        fields.nested("format", &mut |fields| {
            let kind = fields.needed_text("type");
            match kind.as_str() {
                "text" => {}
                "json_object" => format = Format::JsonObject,
                "json_schema" => format = fields.json_schema(),
                _ => fields.must_be_one_of("type", &["text", "json_object", "json_schema"], &kind),
            }
        });
    });
    format
}

#[cfg(test)]
mod tests;
