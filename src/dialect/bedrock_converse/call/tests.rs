use super::{
    super::fixtures::{self, CLAUDE, asking, deployment, said},
    *,
};
use crate::chat::{CacheMark, Media, Part, Role, Sampling, ServiceTier};

const NOVA: &str = "us.amazon.nova-2-lite-v1:0";
const LLAMA: &str = "us.meta.llama-x";

fn call(request: &Request, model: &str, quirks: &str, max: u64) -> Result<Call, Fault> {
    encode(request, &Order { deployment: &deployment(model, quirks), max_output_tokens: max })
}

fn sent(request: &Request, model: &str, quirks: &str) -> Value {
    fixtures::sent(call(request, model, quirks, 20_000))
}

fn param(request: &Request, model: &str) -> String {
    fixtures::param(call(request, model, "[]", 50))
}

fn function(name: &str) -> Tool {
    Tool::Function { name: name.into(), description: None, parameters: None, strict: Some(true), cache: None }
}

fn call_of(id: &str) -> Part {
    Part::ToolCall { id: id.into(), name: "f".into(), arguments: "{\"x\":1}".into() }
}

fn result_of(id: &str, parts: Vec<Part>) -> Part {
    Part::ToolResult { id: id.into(), parts, is_error: false, cache: None }
}

/// A request with one call and its result.
fn looped() -> Request {
    let mut request = asking();
    request.messages.push(said(Role::Assistant, vec![call_of("a")]));
    request.messages.push(said(Role::Tool, vec![result_of("a", vec![Part::text("r")])]));
    request
}

#[test]
fn a_plain_request_is_short() {
    let request = Request { user: Some("u".into()), service_tier: Some(ServiceTier::Priority), ..asking() };
    let told = call(&request, CLAUDE, "[]", 50).expect("sayable");
    assert_eq!((told.path.as_str(), told.headers.len()), ("/model/us.anthropic.claude-x-v1%3A0/converse", 0));
    assert_eq!(
        serde_json::from_slice::<Value>(&told.body).expect("JSON"),
        json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}], "inferenceConfig": {"maxTokens": 50},
            "serviceTier": {"type": "priority"}})
    );
    let streamed = call(&Request { stream: true, ..asking() }, CLAUDE, "[]", 50).expect("sayable");
    assert_eq!(streamed.path, "/model/us.anthropic.claude-x-v1%3A0/converse-stream");
    assert_eq!(streamed.headers, [("accept", "application/vnd.amazon.eventstream".to_owned())]);
    assert_eq!(param(&Request { choices: Some(2), ..asking() }, CLAUDE), "n");
}

#[test]
fn turns_are_merged_and_results_come_first() {
    let request = Request {
        messages: vec![
            said(Role::System, vec![Part::text("s")]),
            said(Role::User, vec![Part::text("go")]),
            said(Role::User, vec![Part::text(" ")]),
            said(Role::Assistant, vec![Part::text("ok"), call_of("functions.f:0__sig_QQ")]),
            said(Role::Assistant, vec![call_of(&"x".repeat(65))]),
            said(Role::User, vec![Part::text("wait")]),
            said(Role::Tool, vec![result_of("functions.f:0__sig_QQ", vec![Part::text("r")])]),
            said(Role::Tool, vec![Part::ToolResult { id: "x".repeat(65), parts: vec![], is_error: true, cache: None }]),
        ],
        tools: vec![function("f")],
        ..Request::default()
    };
    let told = sent(&request, CLAUDE, "[]");
    assert_eq!(told["system"], json!([{"text": "s"}]));
    let long = told["messages"][1]["content"][2]["toolUse"]["toolUseId"].clone();
    assert_eq!(long.as_str().map(str::len), Some(64));
    let used = |id: &Value| json!({"toolUse": {"toolUseId": id, "name": "f", "input": {"x": 1}}});
    let result = |id: &Value, text: &str, status: &str| json!({"toolResult": {"toolUseId": id, "content": [{"text": text}], "status": status}});
    let id = json!("functions_f_0");
    assert_eq!(
        told["messages"],
        json!([
            {"role": "user", "content": [{"text": "go"}]},
            {"role": "assistant", "content": [{"text": "ok"}, used(&id), used(&long)]},
            {"role": "user", "content": [result(&id, "r", "success"), result(&long, "(empty)", "error"), {"text": "wait"}]}
        ])
    );
}

#[test]
fn tools_and_choices_translate() {
    let tools = || vec![function("f")];
    let told = sent(&Request { tools: tools(), ..asking() }, CLAUDE, "[]");
    let spec = json!({"toolSpec": {"name": "f", "inputSchema": {"json": {"properties": {}, "type": "object"}}}});
    assert_eq!(told["toolConfig"], json!({"tools": [spec]}));
    for (choice, wanted) in [
        (ToolChoice::Auto, Value::Null),
        (ToolChoice::Required, json!({"any": {}})),
        (ToolChoice::Named("f".into()), json!({"tool": {"name": "f"}})),
    ] {
        let request = Request { tools: tools(), tool_choice: Some(choice), ..asking() };
        assert_eq!(sent(&request, CLAUDE, "[]")["toolConfig"]["toolChoice"], wanted);
        assert_eq!(sent(&request, CLAUDE, r#"["no_forced_tool"]"#)["toolConfig"]["toolChoice"], Value::Null);
        let thinking = Request { effort: Some(Effort::High), ..request };
        assert_eq!(sent(&thinking, CLAUDE, "[]")["toolConfig"]["toolChoice"], Value::Null);
    }
    let none = |request: Request| Request { tools: tools(), tool_choice: Some(ToolChoice::None), ..request };
    assert!(sent(&none(asking()), LLAMA, "[]").get("toolConfig").is_none(), "no tools are none");
    let told = sent(&none(looped()), CLAUDE, "[]");
    assert_eq!(told["additionalModelRequestFields"]["tool_choice"], json!({"type": "none"}));
    assert_eq!(told["toolConfig"], json!({"tools": [spec]}));
    assert_eq!(param(&none(looped()), LLAMA), "tool_choice");
    assert_eq!(
        sent(&looped(), LLAMA, "[]")["toolConfig"],
        json!({"tools": [spec]}),
        "a history with calls needs tools"
    );
    let single = Request { tools: tools(), parallel_tool_calls: Some(false), ..asking() };
    assert_eq!(
        sent(&single, CLAUDE, "[]")["additionalModelRequestFields"]["tool_choice"],
        json!({"type": "auto", "disable_parallel_tool_use": true})
    );
    assert!(sent(&single, NOVA, "[]").get("additionalModelRequestFields").is_none());
    let native = Request { tools: vec![Tool::Native(json!({"type": "custom"}))], ..asking() };
    assert_eq!(param(&native, CLAUDE), "tools[0].type");
}

#[test]
fn what_models_made_up_is_sent_back_in_allowed_letters() {
    let made_up = |name: String| Part::ToolCall { id: "a".into(), name, arguments: String::new() };
    let mut request = looped();
    request.messages[1].parts = vec![made_up("look it up!".into()), Part::text("a\0b")];
    let told = sent(&request, CLAUDE, "[]");
    assert_eq!(told["messages"][1]["content"][0]["toolUse"]["name"], "look_it_up_");
    assert_eq!(told["messages"][1]["content"][1]["text"], "ab");
    assert_eq!(told["toolConfig"]["tools"][0]["toolSpec"]["name"], "look_it_up_");
    request.messages[1].parts = vec![made_up("x".repeat(99))];
    let told = sent(&request, CLAUDE, "[]");
    assert_eq!(told["messages"][1]["content"][0]["toolUse"]["name"], "x".repeat(64));
}

#[test]
fn media_are_bytes() {
    let bytes = |kind: &str| Media::Base64 { media_type: kind.into(), data: "AA==".into() };
    let image = |source| Part::Image { source, detail: None, cache: None };
    let file = |source, name: Option<&str>| Part::File { source, name: name.map(str::to_owned), cache: None };
    let with = |parts| Request { messages: vec![said(Role::User, parts)], ..Request::default() };
    let content = |request: &Request| sent(request, CLAUDE, "[]")["messages"][0]["content"].clone();
    assert_eq!(
        content(&with(vec![image(bytes("image/jpg"))])),
        json!([{"image": {"format": "jpeg", "source": {"bytes": "AA=="}}}])
    );
    let document =
        |format: &str, name: &str| json!({"document": {"format": format, "name": name, "source": {"bytes": "AA=="}}});
    assert_eq!(
        content(&with(vec![file(bytes("application/pdf"), Some("a.pdf")), file(bytes("text/x"), None)])),
        json!([document("pdf", "a pdf 1"), document("txt", "document 2"), {"text": "Read the document."}])
    );
    let mut seen = looped();
    seen.messages[2].parts = vec![result_of("a", vec![image(bytes("image/png")), file(bytes("text/csv"), None)])];
    assert_eq!(
        sent(&seen, CLAUDE, "[]")["messages"][2]["content"][0]["toolResult"]["content"],
        json!([{"image": {"format": "png", "source": {"bytes": "AA=="}}}, document("csv", "document 1")])
    );
    for part in [
        image(Media::Url("https://x.test/a.png".into())),
        image(Media::Id("file-1".into())),
        image(bytes("image/heic")),
        file(Media::Url("https://x.test/a.pdf".into()), None),
        file(bytes("video/mp4"), None),
        Part::Audio { data: "AA==".into(), format: "wav".into() },
    ] {
        assert_eq!(param(&with(vec![part]), CLAUDE), "messages[0].content");
    }
}

#[test]
fn marks_of_the_cache_stand_behind_what_they_mark() {
    let mark = |ttl: Option<&str>| Some(CacheMark { ttl: ttl.map(str::to_owned) });
    let text = |text: &str, cache| Part::Text { text: text.into(), cache };
    let tool =
        Tool::Function { name: "f".into(), description: None, parameters: None, strict: None, cache: mark(None) };
    let request = Request {
        tools: vec![tool],
        messages: vec![
            said(Role::System, vec![text("s", mark(Some("1h")))]),
            said(
                Role::User,
                vec![text("a", mark(Some("5m"))), text(" ", mark(None)), text("b", None), text("c", mark(None))],
            ),
        ],
        ..Request::default()
    };
    let point = json!({"cachePoint": {"type": "default"}});
    let told = sent(&request, CLAUDE, "[]");
    // Five marks: the first goes.
    assert_eq!(told["toolConfig"]["tools"].as_array().map(Vec::len), Some(1));
    assert_eq!(told["system"], json!([{"text": "s"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]));
    assert_eq!(told["messages"][0]["content"], json!([{"text": "a"}, point, {"text": "b"}, {"text": "c"}, point]));
    let nova = sent(&request, NOVA, "[]");
    assert_eq!(nova["system"], json!([{"text": "s"}, point]));
    assert_eq!(sent(&request, LLAMA, "[]")["system"], json!([{"text": "s"}]), "others have no cache");
    let mut few = request;
    few.messages.truncate(1);
    assert_eq!(sent(&few, CLAUDE, "[]")["toolConfig"]["tools"][1], point);
    assert_eq!(sent(&few, NOVA, "[]")["toolConfig"]["tools"].as_array().map(Vec::len), Some(1));
}

#[test]
fn reasoning_goes_back_to_who_signed_it() {
    let thought =
        |signature: Option<&str>| Part::Reasoning { text: "t".into(), signature: signature.map(str::to_owned) };
    let sealed = |data: &str| Part::RedactedReasoning(data.into());
    let mut request = looped();
    request.messages[1].parts.splice(
        0..0,
        [
            thought(Some("EqQB")),
            thought(Some("gemini.x")),
            thought(None),
            sealed("bedrock.anthropic.abc"),
            sealed("bedrock.openai.def"),
            sealed("ghi"),
        ],
    );
    let told = |model: &str| {
        let told = sent(&request, model, "[]");
        let blocks = told["messages"][1]["content"].as_array().expect("blocks").clone();
        blocks.into_iter().filter(|block| block.get("reasoningContent").is_some()).collect::<Vec<_>>()
    };
    let redacted = |data: &str| json!({"reasoningContent": {"redactedContent": data}});
    assert_eq!(
        told(CLAUDE),
        [json!({"reasoningContent": {"reasoningText": {"text": "t", "signature": "EqQB"}}}), redacted("abc")]
    );
    assert_eq!(told("openai.gpt-oss-120b-1:0"), [redacted("def")]);
    assert_eq!(told(LLAMA), [] as [Value; 0]);
}

#[test]
fn effort_is_said_in_each_makers_words() {
    let extra = |model: &str, quirks: &str, effort| {
        let told = sent(&Request { effort: Some(effort), ..asking() }, model, quirks);
        told.get("additionalModelRequestFields").cloned().unwrap_or_default()
    };
    assert_eq!(extra(CLAUDE, "[]", Effort::High), json!({"thinking": {"type": "enabled", "budget_tokens": 15_000}}));
    assert_eq!(
        extra(CLAUDE, r#"["adaptive_thinking"]"#, Effort::Max),
        json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}})
    );
    assert_eq!(extra("openai.gpt-oss-120b-1:0", "[]", Effort::Max), json!({"reasoning_effort": "high"}));
    assert_eq!(extra("us.openai.gpt-5.5", "[]", Effort::Low), json!({"reasoning": {"effort": "low"}}));
    assert_eq!(
        extra(NOVA, "[]", Effort::High),
        json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}})
    );
    for model in [CLAUDE, NOVA, "us.openai.gpt-5.5"] {
        assert_eq!(extra(model, "[]", Effort::None), Value::Null);
        assert!(!extra(model, "[]", Effort::Low).is_null());
    }
    assert_eq!(extra(LLAMA, "[]", Effort::High), Value::Null);
    assert_eq!(extra(NOVA, r#"["no_reasoning_effort"]"#, Effort::High), Value::Null);
}

#[test]
fn forms_and_sampling_translate() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}});
    let format = Format::JsonSchema { name: "n".into(), description: Some("d".into()), schema, strict: Some(true) };
    let told = sent(&Request { format, ..asking() }, CLAUDE, "[]")["outputConfig"]["textFormat"].clone();
    let constrained = r#"{"type":"object","properties":{"n":{"type":"integer","description":"(minimum: 1)"}},"additionalProperties":false}"#;
    assert_eq!(
        told,
        json!({"type": "json_schema", "structure": {"jsonSchema": {"schema": constrained, "name": "n", "description": "d"}}})
    );
    let told = sent(&Request { format: Format::JsonObject, ..asking() }, CLAUDE, "[]");
    assert_eq!(told["system"], json!([{"text": JSON_ONLY}]));
    let sampling = Sampling {
        temperature: Some(1.5),
        top_p: Some(0.9),
        top_k: Some(7),
        frequency_penalty: Some(1.0),
        seed: Some(3),
        stop: vec!["a".into(), " ".into()],
        ..Sampling::default()
    };
    let request = Request { sampling, ..asking() };
    let told = sent(&request, CLAUDE, "[]");
    assert_eq!(
        told["inferenceConfig"],
        json!({"maxTokens": 20_000, "temperature": 1, "topP": 0.9, "stopSequences": ["a"]})
    );
    assert_eq!(told["additionalModelRequestFields"], json!({"top_k": 7}));
    assert_eq!(sent(&request, NOVA, "[]")["additionalModelRequestFields"], json!({"inferenceConfig": {"topK": 7}}));
    assert!(sent(&request, LLAMA, "[]").get("additionalModelRequestFields").is_none());
    assert!(sent(&request, CLAUDE, r#"["one_sampling"]"#)["inferenceConfig"].get("topP").is_none());
    let bound = json!({"maxTokens": 20_000});
    let mut request = request;
    request.sampling.stop.clear();
    assert_eq!(sent(&request, CLAUDE, r#"["no_sampling","no_stop"]"#)["inferenceConfig"], bound);
    let thinking = Request { effort: Some(Effort::Low), ..request };
    assert_eq!(
        sent(&thinking, CLAUDE, r#"["no_stop"]"#)["inferenceConfig"],
        bound,
        "a thinking model takes no sampling"
    );
}
