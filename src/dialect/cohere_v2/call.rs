//! Requests to a deployment: chat completions' messages and tools with other members around them.
//!
//! Let go, because a model answers as well without them: `parallel_tool_calls`, `strict`, marks of the prompt cache, the end
//! user's id, and what other models thought.
use super::super::{
    Call, Order, anthropic, carried, openai_chat, sayable,
    sayable::{may_reason, nothing_like, one_answer, put},
    turns::{BY_ADDRESS, not_taken},
};
use crate::{
    catalog::{Deployment, Quirk},
    chat::{Effort, Format, Media, Part, Request, Tool, ToolChoice},
    fault::Fault,
    json::{json, written},
};
use serde_json::{Map, Value};

pub(super) fn encode(request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
    one_answer(request)?;
    let deployment = order.deployment;
    let mut members = Map::new();
    put(&mut members, "model", Some(deployment.model.as_str().into()));
    put(&mut members, "stream", Some(request.stream.into()));
    put(&mut members, "messages", Some(messages(request, deployment)?.into()));
    let choice = sayable::choice(request, deployment);
    let mut tools = tools(request, choice)?;
    if request.format != Format::Text {
        if *choice == ToolChoice::None {
            tools.clear();
        }
        // A form is not kept beside tools.
        if !tools.is_empty() {
            return Err(nothing_like("response_format", "Leave it out beside tools"));
        }
        put(&mut members, "response_format", format(&request.format));
    }
    let word = match choice {
        _ if tools.is_empty() => None,
        ToolChoice::Auto => None,
        ToolChoice::None => Some("NONE"),
        ToolChoice::Required | ToolChoice::Named(_) => Some("REQUIRED"),
    };
    put(&mut members, "tools", (!tools.is_empty()).then(|| tools.into()));
    put(&mut members, "tool_choice", word.map(Value::from));
    put(&mut members, "max_tokens", Some(order.max_output_tokens.into()));
    sayable::sampling(request, deployment, ["temperature", "p", "k"], &mut members);
    sayable::penalties(request, deployment, ["frequency_penalty", "presence_penalty"], &mut members);
    // The scales are shorter here.
    for (name, least, most) in
        [("p", 0.01, 0.99), ("k", 0.0, 500.0), ("frequency_penalty", 0.0, 1.0), ("presence_penalty", 0.0, 1.0)]
    {
        let asked = members.get(name).and_then(Value::as_f64).filter(|asked| !(least..=most).contains(asked));
        put(&mut members, name, asked.map(|asked| asked.max(least).min(most).into()));
    }
    put(&mut members, "seed", request.sampling.seed.map(|seed| (seed & i64::MAX).into()));
    put(&mut members, "stop_sequences", sayable::stops(request, deployment, 5)?);
    put(&mut members, "thinking", thinking(request, order));
    Ok(Call { path: "/v2/chat".to_owned(), headers: Vec::new(), body: written(&Value::Object(members)).into_bytes() })
}

fn messages(request: &Request, deployment: &Deployment) -> Result<Vec<Value>, Fault> {
    for (place, message) in request.messages.iter().enumerate() {
        taken(&message.parts, place, deployment)?;
    }
    let mut told = openai_chat::messages(request)?;
    for message in told.iter_mut().filter_map(Value::as_object_mut) {
        carried::shorten(message);
        message.shift_remove("reasoning_content");
        let refusal = message.shift_remove("refusal");
        if message.get("content").is_some_and(Value::is_null) {
            message.shift_remove("content");
            put(message, "content", refusal);
        }
    }
    Ok(told)
}

/// Refuses what is neither text nor picture.
fn taken(parts: &[Part], place: usize, deployment: &Deployment) -> Result<(), Fault> {
    for part in parts {
        match part {
            Part::Audio { .. } => return Err(not_taken(place, "sound")),
            Part::File { .. } => return Err(not_taken(place, "a file")),
            Part::Image { source: Media::Url(_), .. } if deployment.has(Quirk::InlineImages) => {
                return Err(not_taken(place, BY_ADDRESS));
            }
            Part::ToolResult { parts, .. } => taken(parts, place, deployment)?,
            _ => {}
        }
    }
    Ok(())
}

fn tools(request: &Request, choice: &ToolChoice) -> Result<Vec<Value>, Fault> {
    let mut told = Vec::new();
    for (place, tool) in request.tools.iter().enumerate() {
        // One is named by being the only one.
        if let (ToolChoice::Named(chosen), Tool::Function { name, .. }) = (choice, tool)
            && chosen != name
        {
            continue;
        }
        let mut tool = openai_chat::tool(place, tool)?;
        if let Some(function) = tool.get_mut("function").and_then(Value::as_object_mut) {
            function.shift_remove("strict");
        }
        told.push(tool);
    }
    Ok(told)
}

fn format(format: &Format) -> Option<Value> {
    match format {
        Format::Text => None,
        Format::JsonObject => Some(json!({"type": "json_object"})),
        Format::JsonSchema { schema, .. } => Some(json!({"type": "json_object", "json_schema": schema})),
    }
}

fn thinking(request: &Request, order: &Order<'_>) -> Option<Value> {
    let effort = request.effort.filter(|_| may_reason(order.deployment))?;
    if effort == Effort::None {
        return Some(json!({"type": "disabled"}));
    }
    let mut told = Map::new();
    put(&mut told, "type", Some("enabled".into()));
    put(&mut told, "token_budget", anthropic::budget_of(effort, order.max_output_tokens).map(Value::from));
    Some(told.into())
}

#[cfg(test)]
mod tests;
