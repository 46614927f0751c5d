//! Requests to a deployment.
//!
//! Let go, because a model answers as well without them: `parallel_tool_calls`, `strict`, marks of the prompt cache, and the
//! end user's id.
use super::{
    super::{
        Call, Order, sayable,
        sayable::{level, may_reason, native_tool, nothing_like, put, segment},
        schema::{GROWTH_MAX, inlined},
    },
    history,
};
use crate::{
    catalog::{Deployment, Quirk},
    chat::{Effort, Format, Request, Tool, ToolChoice},
    fault::Fault,
    json::{json, written},
};
use serde_json::{Map, Value};

/// Efforts in tokens, as Google's own OpenAI-compatible address translates them.
const BUDGETS: [(Effort, u64); 3] = [(Effort::Low, 1_024), (Effort::Medium, 8_192), (Effort::Max, 24_576)];
/// The least that every model with a budget takes.
const BUDGET_MIN: u64 = 512;

pub(super) fn encode(request: &Request, order: &Order<'_>) -> Result<Call, Fault> {
    let deployment = order.deployment;
    let (system, contents) = history::encode(request, deployment)?;
    let mut growth = GROWTH_MAX;
    let tools = tools(request, &mut growth)?;
    let choice = sayable::choice(request, deployment);
    let mut config = Map::new();
    let forced = !tools.is_empty() && matches!(choice, ToolChoice::Required | ToolChoice::Named(_));
    // An answer that is a call has no other form.
    if !forced {
        format(request, deployment, !tools.is_empty(), &mut growth, &mut config)?;
    }
    generation(request, order, &mut config)?;
    let mut members = Map::new();
    put(&mut members, "systemInstruction", (!system.is_empty()).then(|| json!({ "parts": system })));
    put(&mut members, "contents", Some(contents.into()));
    if !tools.is_empty() {
        put(&mut members, "toolConfig", calling(choice));
        put(&mut members, "tools", Some(json!([{"functionDeclarations": tools}])));
    }
    put(&mut members, "generationConfig", Some(config.into()));
    let vertex = deployment.has(Quirk::VertexPaths);
    let mut headers = Vec::new();
    if let Some(tier) = request.service_tier {
        if vertex {
            headers.push(("x-vertex-ai-llm-shared-request-type", tier.word().to_owned()));
        } else {
            put(&mut members, "serviceTier", Some(tier.word().into()));
        }
    }
    let before = if vertex { "/publishers/google/models/" } else { "/v1beta/models/" };
    let verb = if request.stream { ":streamGenerateContent?alt=sse" } else { ":generateContent" };
    let path = [before, &segment(&deployment.model), verb].concat();
    Ok(Call { path, headers, body: written(&Value::Object(members)).into_bytes() })
}

fn tools(request: &Request, growth: &mut usize) -> Result<Vec<Value>, Fault> {
    let mut told = Vec::new();
    for (place, tool) in request.tools.iter().enumerate() {
        match tool {
            Tool::Function { name, description, parameters, .. } => {
                let mut function = Map::new();
                put(&mut function, "name", Some(name.as_str().into()));
                put(&mut function, "description", description.as_deref().map(Value::from));
                put(&mut function, "parametersJsonSchema", parameters.as_ref().map(|schema| inlined(schema, growth)));
                told.push(function.into());
            }
            Tool::Native(native) => return Err(native_tool(place, native)),
        }
    }
    Ok(told)
}

fn calling(choice: &ToolChoice) -> Option<Value> {
    let config = match choice {
        ToolChoice::Auto => return None,
        ToolChoice::None => json!({"mode": "NONE"}),
        ToolChoice::Required => json!({"mode": "ANY"}),
        ToolChoice::Named(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    };
    Some(json!({ "functionCallingConfig": config }))
}

fn format(
    request: &Request,
    deployment: &Deployment,
    tools: bool,
    growth: &mut usize,
    config: &mut Map<String, Value>,
) -> Result<(), Fault> {
    if request.format == Format::Text {
        return Ok(());
    }
    // "Function calling with a response mime type: 'application/json' is unsupported"
    if tools && deployment.has(Quirk::ThinkingBudget) {
        return Err(nothing_like("response_format", "Leave it out beside tools"));
    }
    put(config, "responseMimeType", Some("application/json".into()));
    if let Format::JsonSchema { schema, .. } = &request.format {
        put(config, "responseJsonSchema", Some(inlined(schema, growth)));
    }
    Ok(())
}

fn generation(request: &Request, order: &Order<'_>, config: &mut Map<String, Value>) -> Result<(), Fault> {
    let deployment = order.deployment;
    put(config, "maxOutputTokens", Some(order.max_output_tokens.into()));
    put(config, "candidateCount", request.choices.filter(|n| *n > 1).map(Value::from));
    sayable::sampling(request, deployment, ["temperature", "topP", "topK"], config);
    sayable::penalties(request, deployment, ["frequencyPenalty", "presencePenalty"], config);
    put(config, "stopSequences", sayable::stops(request, deployment, 5)?);
    // 32 bits with a sign.
    put(config, "seed", request.sampling.seed.map(|seed| (seed & i64::from(i32::MAX)).into()));
    put(config, "thinkingConfig", thinking(request, order));
    Ok(())
}

fn thinking(request: &Request, order: &Order<'_>) -> Option<Value> {
    let deployment = order.deployment;
    let asked = request.effort.filter(|_| may_reason(deployment))?;
    let mut config = Map::new();
    if deployment.has(Quirk::ThinkingBudget) {
        let (_, tokens) = BUDGETS.iter().find(|(most, _)| asked <= *most)?;
        let budget = match asked {
            // Not every model takes none at all.
            Effort::None if deployment.efforts.contains(&Effort::None) => 0,
            Effort::None => BUDGET_MIN,
            // A quarter stays for the answer itself.
            _ => (*tokens).min(order.max_output_tokens / 4 * 3).max(BUDGET_MIN),
        };
        put(&mut config, "thinkingBudget", Some(budget.into()));
    } else {
        put(&mut config, "thinkingLevel", Some(level(deployment, asked).word().into()));
    }
    put(&mut config, "includeThoughts", (asked > Effort::None).then_some(Value::Bool(true)));
    Some(config.into())
}

#[cfg(test)]
mod tests;
