//! Requests to a deployment: a caller's own passed on with what must change, or written anew from the hub.
use super::{
    super::{
        Call, Order, routed,
        sayable::{native_tool, one_answer, segment},
        schema::constrain,
        turns::called,
        without_hosted,
    },
    history, thinking,
    thinking::Thinking,
    version,
};
use crate::json::{json, put, put_text, written};
use crate::{
    body::Body,
    catalog::{Ability, Deployment, Quirk},
    chat::{Format, Request, Tool, ToolChoice},
    fault::Fault,
};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Members that need a beta header.
const BETA_MEMBERS: [&str; 2] = ["context_management", "diagnostics"];

pub(in crate::dialect) const JSON_ONLY: &str = "Answer with one JSON object and nothing else: no prose, no code fence.";

pub(super) fn forward(body: &Body, request: &Request, order: &Order<'_>) -> Call {
    let deployment = order.deployment;
    let text = |value: Value| Some(Cow::Owned(written(&value)));
    let mut changes: Vec<(&str, Option<Cow<'_, str>>)> = vec![("max_tokens", text(order.max_output_tokens.into()))];
    changes.extend(named(deployment).map(|(name, value)| (name, value.and_then(text))));
    without_hosted(body, request, &mut changes);
    // Clouds refuse betas they do not know, and with them whole requests.
    let mut headers = request.headers.clone();
    if !deployment.has(Quirk::Betas) {
        headers.retain(|(name, _)| *name != version::BETA);
        changes.extend(BETA_MEMBERS.map(|name| (name, None)));
    }
    if deployment.has(Quirk::NoSampling) {
        changes.extend(["temperature", "top_p", "top_k"].map(|name| (name, None)));
    }
    if deployment.has(Quirk::OneSampling) && request.sampling.temperature.is_some() {
        changes.push(("top_p", None));
    }
    let forced = matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    if deployment.has(Quirk::NoForcedTool) && forced {
        changes.push(("tool_choice", tool_choice(&ToolChoice::Auto, request.parallel_tool_calls).and_then(text)));
    }
    let asked = thinking::changes(body, request, order);
    changes.extend(asked.into_iter().map(|(name, value)| (name, value.and_then(text))));
    if let Some(mended) = history::mended(body, request, deployment) {
        changes.push(("messages", Some(mended.into())));
    }
    if headers.is_empty() {
        headers.push((version::VERSION, version::OURS.to_owned()));
    }
    call(routed(body, changes), headers, request, deployment)
}

/// Where the model's name stands: on Vertex in the path, with the version in the body in its place.
fn named(deployment: &Deployment) -> [(&'static str, Option<Value>); 2] {
    let (model, version) = if deployment.has(Quirk::VertexPaths) {
        (None, Some("vertex-2023-10-16".into()))
    } else {
        (Some(deployment.model.as_str().into()), None)
    };
    [("model", model), ("anthropic_version", version)]
}

fn call(body: Vec<u8>, headers: Vec<(&'static str, String)>, request: &Request, deployment: &Deployment) -> Call {
    if !deployment.has(Quirk::VertexPaths) {
        return Call { path: "/v1/messages".to_owned(), headers, body };
    }
    let verb = if request.stream { ":streamRawPredict" } else { ":rawPredict" };
    let path = ["/publishers/anthropic/models/", &segment(&deployment.model), verb].concat();
    Call { path, headers: Vec::new(), body }
}

pub(super) fn encode(request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
    // Hints (penalties, seed, logit bias) are let go.
    one_answer(request)?;
    let thinking = Thinking::of(request, order);
    let mut members = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            put(&mut members, name, value);
        }
    };
    for (name, value) in named(order.deployment) {
        put(name, value);
    }
    put("max_tokens", Some(order.max_output_tokens.into()));
    put("stream", request.stream.then_some(Value::Bool(true)));
    let (mut system, mut messages) = history::encode(request)?;
    if request.format == Format::JsonObject {
        system.push(json!({"type": "text", "text": JSON_ONLY}));
    }
    let mut tools = tools(request, order)?;
    cap_cache_marks(&mut tools, &mut system, &mut messages);
    put("system", (!system.is_empty()).then(|| system.into()));
    put("tool_choice", choice(request, order, thinking, !tools.is_empty()));
    put("tools", (!tools.is_empty()).then(|| tools.into()));
    put("messages", Some(messages.into()));
    put("thinking", thinking.value());
    put("output_config", output_config(request, thinking));
    sampling(request, order, thinking, &mut put);
    put("metadata", request.user.as_ref().map(|user| json!({ "user_id": user })));
    let headers = vec![(version::VERSION, version::OURS.to_owned())];
    Ok(call(written(&Value::Object(members)).into_bytes(), headers, request, order.deployment))
}

fn sampling(request: &Request, order: &Order<'_>, thinking: Thinking, put: &mut impl FnMut(&str, Option<Value>)) {
    let asked = &request.sampling;
    // Whitespace alone is refused here, though other dialects take it.
    let stop: Vec<&str> = asked.stop.iter().map(String::as_str).filter(|text| !text.trim().is_empty()).collect();
    put("stop_sequences", (!stop.is_empty()).then(|| stop.into()));
    // A thinking model takes no sampling.
    if thinking != Thinking::Off || order.deployment.has(Quirk::NoSampling) {
        return;
    }
    // The scale ends at 1 here, at 2 elsewhere.
    put("temperature", asked.temperature.map(|t| t.min(1.0).into()));
    let one = order.deployment.has(Quirk::OneSampling) && asked.temperature.is_some();
    put("top_p", asked.top_p.filter(|_| !one).map(Value::from));
    put("top_k", asked.top_k.map(Value::from));
}

fn tools(request: &Request, order: &Order<'_>) -> Result<Vec<Value>, Fault> {
    let strict_ok = order.deployment.can(Ability::JsonSchema);
    let mut told = Vec::with_capacity(request.tools.len());
    for (place, asked) in request.tools.iter().enumerate() {
        told.push(tool(place, asked, strict_ok)?);
    }
    if told.is_empty() {
        // A history with calls is refused without the tools it names.
        let stub = |name| json!({"name": name, "input_schema": {"type": "object"}});
        told.extend(called(request).into_iter().map(stub));
    }
    Ok(told)
}

fn tool(place: usize, tool: &Tool, strict_ok: bool) -> Result<Value, Fault> {
    match tool {
        Tool::Function { name, description, parameters, strict, cache } => {
            let mut told = Map::new();
            put_text(&mut told, "name", name.as_str());
            if let Some(description) = description {
                put_text(&mut told, "description", description.as_str());
            }
            let strict = *strict == Some(true) && strict_ok;
            let mut schema = parameters.clone().unwrap_or_else(|| json!({"type": "object", "properties": {}}));
            if let Some(members) = schema.as_object_mut() {
                members.entry("type").or_insert_with(|| "object".into());
            }
            if strict {
                constrain(&mut schema);
                put(&mut told, "strict", true.into());
            }
            put(&mut told, "input_schema", schema);
            if let Some(mark) = cache {
                put(&mut told, "cache_control", history::cache_control(mark));
            }
            Ok(Value::Object(told))
        }
        Tool::Native(native) => Err(native_tool(place, native)),
    }
}

fn choice(request: &Request, order: &Order<'_>, thinking: Thinking, any_tools: bool) -> Option<Value> {
    if !any_tools {
        return None;
    }
    if request.tools.is_empty() {
        // The tools are only there for the history's sake.
        return Some(json!({"type": "none"}));
    }
    let forced = matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    let unforceable = thinking != Thinking::Off || order.deployment.has(Quirk::NoForcedTool);
    match &request.tool_choice {
        Some(_) if forced && unforceable => tool_choice(&ToolChoice::Auto, request.parallel_tool_calls),
        Some(choice) => tool_choice(choice, request.parallel_tool_calls),
        None => tool_choice(&ToolChoice::Auto, Some(request.parallel_tool_calls.filter(|parallel| !parallel)?)),
    }
}

pub(in crate::dialect) fn tool_choice(choice: &ToolChoice, parallel: Option<bool>) -> Option<Value> {
    let mut told = match choice {
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::None => return Some(json!({"type": "none"})),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Named(name) => json!({"type": "tool", "name": name}),
    };
    if let (Some(parallel), Some(members)) = (parallel, told.as_object_mut()) {
        put(members, "disable_parallel_tool_use", (!parallel).into());
    }
    Some(told)
}

fn output_config(request: &Request, thinking: Thinking) -> Option<Value> {
    let mut config = Map::new();
    if let Thinking::Adaptive(effort) = thinking {
        put(&mut config, "effort", effort.into());
    }
    if let Format::JsonSchema { schema, .. } = &request.format {
        let mut schema = schema.clone();
        constrain(&mut schema);
        put(&mut config, "format", json!({"type": "json_schema", "schema": schema}));
    }
    (!config.is_empty()).then_some(Value::Object(config))
}

/// The API takes four breakpoints: the latest cover the most.
fn cap_cache_marks(tools: &mut [Value], system: &mut [Value], messages: &mut [Value]) {
    const MARKS_MAX: usize = 4;
    let content = messages.iter_mut().filter_map(|message| message.get_mut("content")?.as_array_mut()).flatten();
    let marked = tools.iter_mut().chain(system).chain(content).filter(|block| block.get("cache_control").is_some());
    let marked: Vec<&mut Value> = marked.collect();
    let excess = marked.len().saturating_sub(MARKS_MAX);
    for block in marked.into_iter().take(excess) {
        if let Some(members) = block.as_object_mut() {
            members.shift_remove("cache_control");
        }
    }
}

#[cfg(test)]
mod tests;
