//! Requests to a deployment: a caller's own passed on with what must change, or written anew from the hub.
use super::{
    super::{Call, Order, routed, without_hosted},
    history,
};
use crate::json::{json, put};
use crate::{
    body::Body,
    catalog::{Ability, Quirk},
    chat::{Effort, Format, Request, Tool, ToolChoice},
    fault::Fault,
};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Where nothing is stored, reasoning comes along sealed.
const SEALED: &str = "reasoning.encrypted_content";

/// The least bound on output tokens that `OpenAI` takes.
const OUTPUT_MIN: u64 = 16;

/// Members set (`Some`) or left out (`None`), whatever the caller wrote there.
type Changes = Vec<(&'static str, Option<Value>)>;

pub(super) fn forward(body: &Body, request: &Request, order: &Order<'_>) -> Call {
    let mut changes: Vec<(&str, Option<Cow<'_, str>>)> = Vec::new();
    for (name, value) in adjustments(request, order) {
        changes.push((name, value.map(|value| value.to_string().into())));
    }
    if order.deployment.can(Ability::Reasoning) {
        changes.push(("include", Some(including(body.set("include")).into())));
    }
    without_hosted(body, request, &mut changes);
    if !request.hosted.is_empty()
        && let Some(choice) = body.set("tool_choice").and_then(without_unnamed)
        && !changes.iter().any(|(name, _)| *name == "tool_choice")
    {
        changes.push(("tool_choice", Some(choice.into())));
    }
    if let Some(mended) = body.set("input").and_then(history::mended) {
        changes.push(("input", Some(mended.into())));
    }
    call(routed(body, changes))
}

/// A caller's `include` with the reasoning sealed.
fn including(raw: Option<&str>) -> String {
    let told: Value = raw.and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
    let mut names = match told {
        Value::Array(names) => names,
        _ => Vec::new(),
    };
    if !names.iter().any(|name| name == SEALED) {
        names.push(SEALED.into());
    }
    Value::Array(names).to_string()
}

/// A choice among allowed tools without the hosted ones, which are gone. They have no names.
fn without_unnamed(raw: &str) -> Option<String> {
    let mut choice: Map<String, Value> = serde_json::from_str(raw).ok()?;
    choice.get_mut("tools")?.as_array_mut()?.retain(|tool| tool.get("name").is_some());
    Some(Value::Object(choice).to_string())
}

pub(super) fn encode(request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
    unsayable(request, order)?;
    let mut members = plain(request, order)?;
    for (name, change) in adjustments(request, order) {
        match change {
            Some(value) => put(&mut members, name, value),
            None => drop(members.shift_remove(name)),
        }
    }
    Ok(call(Value::Object(members).to_string().into_bytes()))
}

fn call(body: Vec<u8>) -> Call {
    Call { path: "/responses".to_owned(), headers: Vec::new(), body }
}

/// What a caller asked for and this dialect has no word for. Hints (penalties, seed, logit bias) are let go.
fn unsayable(request: &Request, order: &Order<'_>) -> Result<(), Fault> {
    let (name, advice) = if request.choices.is_some_and(|n| n > 1) {
        ("n", "Ask once for each answer")
    } else if !request.sampling.stop.is_empty() && !order.deployment.has(Quirk::NoStop) {
        ("stop", "Leave it out")
    } else if order.max_output_tokens < OUTPUT_MIN {
        ("max_tokens", "Allow at least 16 tokens")
    } else {
        return Ok(());
    };
    let message =
        format!("The chosen model's provider has nothing like this `{name}`. {advice}, or name another model.");
    Err(Fault::invalid("unsupported_parameter", message).with_param(name))
}

/// All a deployment wants otherwise than the caller may have written it, the items aside.
fn adjustments(request: &Request, order: &Order<'_>) -> Changes {
    let deployment = order.deployment;
    let mut changes: Changes = vec![
        ("model", Some(deployment.model.as_str().into())),
        ("max_output_tokens", Some(order.max_output_tokens.into())),
        ("store", (!deployment.has(Quirk::NoStore)).then_some(Value::Bool(false))),
    ];
    if deployment.has(Quirk::NoStore) {
        changes.push(("metadata", None));
    }
    if deployment.has(Quirk::NoSampling) {
        changes.extend([("temperature", None), ("top_p", None)]);
    }
    if deployment.has(Quirk::OneSampling) && request.sampling.temperature.is_some() {
        changes.push(("top_p", None));
    }
    let forced = matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    if deployment.has(Quirk::NoForcedTool) && forced {
        changes.push(("tool_choice", Some("auto".into())));
    }
    // An organisation's own provider (without a credential of ours) cannot say that it reasons: its callers know.
    let reasons = deployment.can(Ability::Reasoning) || deployment.provider.credential.is_none();
    if !reasons || deployment.has(Quirk::NoReasoningEffort) {
        changes.push(("reasoning", None));
    }
    changes
}

/// The request in the dialect's own words, before any deployment's wishes.
fn plain(request: &Request, order: &Order<'_>) -> Result<Map<String, Value>, Fault> {
    let mut members = Map::new();
    let mut told = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            put(&mut members, name, value);
        }
    };
    // Its place; the value comes with the adjustments.
    told("model", Some(Value::Null));
    let system = if order.deployment.has(Quirk::NoDeveloperRole) { "system" } else { "developer" };
    let (instructions, items) = history::encode(request, system)?;
    told("instructions", (!instructions.is_empty()).then(|| instructions.into()));
    told("input", Some(items.into()));
    let mut tools = Vec::new();
    for (place, one) in request.tools.iter().enumerate() {
        tools.push(tool(place, one)?);
    }
    let any_tools = !tools.is_empty();
    told("tools", any_tools.then(|| tools.into()));
    told("tool_choice", request.tool_choice.as_ref().filter(|_| any_tools).map(|choice| tool_choice(choice, request)));
    told("parallel_tool_calls", request.parallel_tool_calls.filter(|_| any_tools).map(Value::from));
    told("text", format(&request.format).map(|format| json!({ "format": format })));
    told("temperature", request.sampling.temperature.map(Value::from));
    told("top_p", request.sampling.top_p.map(Value::from));
    told("reasoning", request.effort.and_then(effort).map(|effort| json!({ "effort": effort })));
    told("include", order.deployment.can(Ability::Reasoning).then(|| json!([SEALED])));
    told("service_tier", request.service_tier.map(|tier| tier.word().into()));
    told("stream", request.stream.then_some(Value::Bool(true)));
    told("user", request.user.as_deref().map(Value::from));
    Ok(members)
}

/// The words every reasoning model of this dialect takes; the finer ones differ from model to model.
fn effort(effort: Effort) -> Option<&'static str> {
    match effort {
        Effort::None => None,
        Effort::Minimal | Effort::Low => Some("low"),
        Effort::Medium => Some("medium"),
        Effort::High | Effort::XHigh | Effort::Max => Some("high"),
    }
}

fn tool(place: usize, tool: &Tool) -> Result<Value, Fault> {
    let mut told = Map::new();
    match tool {
        Tool::Function { name, description, parameters, strict, cache: _ } => {
            put(&mut told, "type", "function".into());
            put(&mut told, "name", name.as_str().into());
            if let Some(description) = description {
                put(&mut told, "description", description.as_str().into());
            }
            let nothing = || json!({"type": "object", "properties": {}});
            put(&mut told, "parameters", parameters.clone().unwrap_or_else(nothing));
            // Here it is true where nothing is said, elsewhere false.
            put(&mut told, "strict", strict.unwrap_or(false).into());
        }
        Tool::Native(native) => {
            // A chat completion's tool with free input is one level deeper.
            let Some(Value::Object(custom)) = native.get("custom") else {
                let kind = native.get("type").and_then(Value::as_str).unwrap_or("?");
                let path = format!("tools[{place}].type");
                let message = format!(
                    "`{path}` {kind:?} is a tool only its own provider can run. Leave it out, or name a model of that provider."
                );
                return Err(Fault::invalid("unsupported_parameter", message).with_param(&path));
            };
            put(&mut told, "type", "custom".into());
            for (name, value) in custom {
                let grammar = value.get("grammar").and_then(Value::as_object);
                let value = match grammar.filter(|_| name == "format") {
                    Some(grammar) => {
                        let mut format = grammar.clone();
                        put(&mut format, "type", "grammar".into());
                        Value::Object(format)
                    }
                    None => value.clone(),
                };
                put(&mut told, name, value);
            }
        }
    }
    Ok(Value::Object(told))
}

fn tool_choice(choice: &ToolChoice, request: &Request) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => {
            let custom = request.tools.iter().any(|tool| history::is_custom(tool, name));
            json!({"type": if custom { "custom" } else { "function" }, "name": name})
        }
    }
}

fn format(format: &Format) -> Option<Value> {
    match format {
        Format::Text => None,
        Format::JsonObject => Some(json!({"type": "json_object"})),
        Format::JsonSchema { name, description, schema, strict } => {
            let mut told = Map::new();
            put(&mut told, "type", "json_schema".into());
            put(&mut told, "name", name.as_str().into());
            put(&mut told, "schema", schema.clone());
            if let Some(description) = description {
                put(&mut told, "description", description.as_str().into());
            }
            if let Some(strict) = strict {
                put(&mut told, "strict", (*strict).into());
            }
            Some(Value::Object(told))
        }
    }
}

#[cfg(test)]
mod tests;
