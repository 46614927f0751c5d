//! Requests to a deployment: a caller's own passed on with what must change, or written anew from the hub.
use super::{
    super::{Call, Order, routed, without_hosted},
    history,
};
use crate::json::{json, put};
use crate::{
    body::{Body, quoted},
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

/// All members of the original, <https://platform.openai.com/docs/api-reference/responses/create>.
const MEMBERS: &str = " access_programs background client_metadata context_management image include input instructions \
    max_output_tokens max_tool_calls metadata model moderation parallel_tool_calls prompt_cache_key prompt_cache_options \
    prompt_cache_retention reasoning safety_identifier service_tier store stream stream_options temperature text \
    tool_choice tools top_logprobs top_p truncation user ";

pub(super) fn forward(body: &Body, request: &Request, order: &Order<'_>) -> Call {
    let deployment = order.deployment;
    let mut changes: Vec<(&str, Option<Cow<'_, str>>)> = vec![
        ("model", Some(quoted(&deployment.model).into())),
        ("max_output_tokens", Some(order.max_output_tokens.to_string().into())),
        ("store", (!deployment.has(Quirk::NoStore)).then_some("false".into())),
    ];
    let forced = matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    if deployment.has(Quirk::NoForcedTool) && forced {
        changes.push(("tool_choice", Some("\"auto\"".into())));
    }
    without_hosted(body, request, &mut changes);
    if !request.hosted.is_empty()
        && let Some(choice) = body.set("tool_choice").and_then(without_unnamed)
    {
        changes.push(("tool_choice", Some(choice.into())));
    }
    reasoning(body, request, order, &mut changes);
    if let Some(mended) = body.set("input").and_then(history::mended) {
        changes.push(("input", Some(mended.into())));
    }
    let refused: [(Quirk, &[&'static str]); 3] = [
        (Quirk::NoStore, &["metadata"]),
        (Quirk::NoSampling, &["temperature", "top_p"]),
        (Quirk::OneSampling, if request.sampling.temperature.is_some() { &["top_p"] } else { &[] }),
    ];
    for (quirk, names) in refused {
        if deployment.has(quirk) {
            changes.extend(names.iter().map(|name| (*name, None)));
        }
    }
    if deployment.has(Quirk::KnownMembers) {
        let unknown = |name: &&str| !MEMBERS.contains(&format!(" {name} "));
        changes.extend(body.names().filter(unknown).map(|name| (name, None)));
    }
    Call { path: "/responses".to_owned(), headers: Vec::new(), body: routed(body, changes) }
}

/// What becomes of `reasoning` and of what is to be included of it.
fn reasoning(body: &Body, request: &Request, order: &Order<'_>, changes: &mut Vec<(&str, Option<Cow<'_, str>>)>) {
    const NAME: &str = "reasoning";
    let deployment = order.deployment;
    let known = deployment.can(Ability::Reasoning);
    if known {
        changes.push(("include", Some(including(body.set("include")).into())));
    }
    // An organisation's own provider (without a credential of ours) cannot say that it reasons: its callers know.
    if !(known || deployment.provider.credential.is_none()) || deployment.has(Quirk::NoReasoningEffort) {
        changes.push((NAME, None));
    } else if let Some(effort) = request.effort.filter(|_| !deployment.efforts.is_empty()) {
        let told = Body::parse(body.set(NAME).unwrap_or("{}").as_bytes().to_vec()).unwrap_or_default();
        let word = quoted(deployment.nearest_effort(effort).word());
        let told = String::from_utf8(told.rewritten(&[("effort", Some(word.into()))]));
        changes.push((NAME, told.ok().map(Cow::Owned)));
    }
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
    let mut choice: Value = serde_json::from_str(raw).ok()?;
    choice.get_mut("tools")?.as_array_mut()?.retain(|tool| tool.get("name").is_some());
    Some(choice.to_string())
}

pub(super) fn encode(request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
    let members = plain(request, order)?;
    // From here on it is like a caller's own.
    let body = Body::parse(Value::Object(members).to_string().into_bytes()).unwrap_or_default();
    Ok(forward(&body, request, order))
}

/// What a caller asked for and this dialect has no word for. Hints (penalties, seed, logit bias) are let go.
fn unsayable(request: &Request, order: &Order<'_>) -> Option<(&'static str, &'static str)> {
    if request.choices.is_some_and(|n| n > 1) {
        return Some(("n", "Ask once for each answer"));
    }
    if !request.sampling.stop.is_empty() && !order.deployment.has(Quirk::NoStop) {
        return Some(("stop", "Leave it out"));
    }
    (order.max_output_tokens < OUTPUT_MIN).then_some(("max_tokens", "Allow at least 16 tokens"))
}

/// The request in the dialect's own words, before any deployment's wishes.
fn plain(request: &Request, order: &Order<'_>) -> Result<Map<String, Value>, Fault> {
    if let Some((name, advice)) = unsayable(request, order) {
        let message =
            format!("The chosen model's provider has nothing like this `{name}`. {advice}, or name another model.");
        return Err(Fault::invalid("unsupported_parameter", message).with_param(name));
    }
    let system = if order.deployment.has(Quirk::NoDeveloperRole) { "system" } else { "developer" };
    let (instructions, items) = history::encode(request, system)?;
    let mut tools = Vec::new();
    for (place, one) in request.tools.iter().enumerate() {
        match tool(one) {
            Some(tool) => tools.push(Value::Object(tool)),
            None => return Err(hosted(one, place)),
        }
    }
    let mut members = Map::new();
    put_some(&mut members, "instructions", instructions.map(Value::String));
    put(&mut members, "input", items.into());
    if !tools.is_empty() {
        put(&mut members, "tools", tools.into());
        put_some(&mut members, "tool_choice", request.tool_choice.as_ref().map(|choice| tool_choice(choice, request)));
        put_some(&mut members, "parallel_tool_calls", request.parallel_tool_calls.map(Value::Bool));
    }
    put_some(&mut members, "text", format(&request.format).map(|format| json!({ "format": format })));
    put_some(&mut members, "temperature", request.sampling.temperature.map(Value::from));
    put_some(&mut members, "top_p", request.sampling.top_p.map(Value::from));
    put_some(&mut members, "reasoning", request.effort.and_then(effort).map(|effort| json!({ "effort": effort })));
    put_some(&mut members, "service_tier", request.service_tier.map(|tier| tier.word().into()));
    put_some(&mut members, "stream", request.stream.then_some(Value::Bool(true)));
    put_some(&mut members, "user", request.user.as_deref().map(Value::from));
    Ok(members)
}

#[inline(never)]
fn put_some(members: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        put(members, name, value);
    }
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

#[cold]
fn hosted(tool: &Tool, place: usize) -> Fault {
    let kind = match tool {
        Tool::Native(native) => native.get("type").and_then(Value::as_str).unwrap_or("?"),
        Tool::Function { .. } => "function",
    };
    let path = format!("tools[{place}].type");
    let message = format!(
        "`{path}` {kind:?} is a tool only its own provider can run. Leave it out, or name a model of that provider."
    );
    Fault::invalid("unsupported_parameter", message).with_param(&path)
}

/// `None` for a tool only its own dialect knows.
fn tool(tool: &Tool) -> Option<Map<String, Value>> {
    let mut told = Map::new();
    match tool {
        Tool::Function { name, description, parameters, strict, cache: _ } => {
            put(&mut told, "type", "function".into());
            put(&mut told, "name", name.as_str().into());
            put_some(&mut told, "description", description.as_deref().map(Value::from));
            let nothing = || json!({"type": "object", "properties": {}});
            put(&mut told, "parameters", parameters.clone().unwrap_or_else(nothing));
            // Here it is true where nothing is said, elsewhere false.
            put(&mut told, "strict", strict.unwrap_or(false).into());
        }
        Tool::Native(native) => {
            // A chat completion's tool with free input is one level deeper, and its grammar two.
            told.clone_from(native.get("custom")?.as_object()?);
            put(&mut told, "type", "custom".into());
            if let Some(format) = told.get_mut("format")
                && let Some(Value::Object(grammar)) = format.get_mut("grammar").map(Value::take)
            {
                *format = Value::Object(grammar);
                put(format.as_object_mut()?, "type", "grammar".into());
            }
        }
    }
    Some(told)
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
            put_some(&mut told, "description", description.as_deref().map(Value::from));
            put_some(&mut told, "strict", strict.map(Value::Bool));
            Some(Value::Object(told))
        }
    }
}

#[cfg(test)]
mod tests;
