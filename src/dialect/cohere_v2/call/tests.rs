use super::*;
use crate::{
    chat::{Role, Sampling},
    dialect::fixtures::{self, asking, deployment_of, said},
};

fn call(request: &Request, quirks: &str) -> Result<Call, Fault> {
    let members = format!(r#""quirks":{quirks},"supports":["reasoning"]"#);
    let deployment = deployment_of("cohere_v2", "command-x", 64_000, &members);
    encode(request, &Order { deployment: &deployment, max_output_tokens: 20_000 })
}

fn sent(request: &Request, quirks: &str) -> Value {
    fixtures::sent(call(request, quirks))
}

fn param(request: &Request, quirks: &str) -> String {
    fixtures::param(call(request, quirks))
}

fn function(name: &str) -> Tool {
    Tool::Function {
        name: name.into(),
        description: Some("d".into()),
        parameters: None,
        strict: Some(true),
        cache: None,
    }
}

#[test]
fn a_plain_request_is_short() {
    let request = Request { user: Some("u".into()), stream: true, ..asking() };
    assert_eq!(call(&request, "[]").expect("sayable").path, "/v2/chat");
    assert_eq!(
        sent(&request, "[]"),
        json!({"model": "command-x", "stream": true, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20_000})
    );
    assert_eq!(param(&Request { choices: Some(2), ..asking() }, "[]"), "n");
}

#[test]
fn a_conversation_is_that_of_chat_completions() {
    let call = Part::ToolCall { id: "a__sig_QQ".into(), name: "f".into(), arguments: String::new() };
    let result =
        Part::ToolResult { id: "a__sig_QQ".into(), parts: vec![Part::text("r")], is_error: false, cache: None };
    let thought = Part::Reasoning { text: "why".into(), signature: Some("s".into()) };
    let image = Media::Base64 { media_type: "image/png".into(), data: "AA==".into() };
    let request = Request {
        messages: vec![
            said(Role::System, vec![Part::text("s")]),
            said(Role::User, vec![Part::text("look"), Part::Image { source: image, detail: None, cache: None }]),
            said(Role::Assistant, vec![thought, call]),
            said(Role::Tool, vec![result]),
            said(Role::Assistant, vec![Part::Refusal("no".into())]),
        ],
        ..Request::default()
    };
    assert_eq!(
        sent(&request, "[]")["messages"],
        json!([
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "r"},
            {"role": "assistant", "content": "no"}
        ])
    );
}

#[test]
fn tools_choices_and_forms_translate() {
    let tools = || vec![function("f"), function("g")];
    let names = |told: &Value| {
        let list = told["tools"].as_array().cloned().unwrap_or_default();
        list.iter().map(|tool| tool["function"]["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let told = sent(&Request { tools: tools(), ..asking() }, "[]");
    let parameters = json!({"type": "object", "properties": {}});
    assert_eq!(
        told["tools"][0],
        json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": parameters}})
    );
    assert!(told.get("tool_choice").is_none());
    for (choice, word, offered) in [
        (ToolChoice::None, "NONE", &["f", "g"][..]),
        (ToolChoice::Required, "REQUIRED", &["f", "g"]),
        (ToolChoice::Named("g".into()), "REQUIRED", &["g"]),
    ] {
        let told = sent(&Request { tools: tools(), tool_choice: Some(choice), ..asking() }, "[]");
        assert_eq!(
            (told["tool_choice"].as_str(), &names(&told)[..]),
            (Some(word), &offered.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()[..])
        );
    }
    let schema = json!({"type": "object"});
    let form = || Format::JsonSchema { name: "n".into(), description: None, schema: schema.clone(), strict: None };
    let told = sent(&Request { format: form(), ..asking() }, "[]");
    assert_eq!(told["response_format"], json!({"type": "json_object", "json_schema": schema}));
    assert_eq!(
        sent(&Request { format: Format::JsonObject, ..asking() }, "[]")["response_format"],
        json!({"type": "json_object"})
    );
    let both = Request { format: form(), tools: tools(), ..asking() };
    assert_eq!(param(&both, "[]"), "response_format");
    let told = sent(&Request { tool_choice: Some(ToolChoice::None), ..both }, "[]");
    assert!(told.get("tools").is_none() && told.get("tool_choice").is_none());
    assert_eq!(
        param(&Request { tools: vec![Tool::Native(json!({"type": "custom"}))], ..asking() }, "[]"),
        "tools[0].type"
    );
}

#[test]
fn what_is_no_text_or_picture_is_refused_by_name() {
    let url = || Media::Url("https://x.test/a".into());
    let file = || Part::File { source: url(), name: None, cache: None };
    let result = Part::ToolResult { id: "a".into(), parts: vec![file()], is_error: false, cache: None };
    for part in [Part::Audio { data: "AA==".into(), format: "wav".into() }, file(), result] {
        let request = Request { messages: vec![said(Role::User, vec![part])], ..Request::default() };
        assert_eq!(param(&request, "[]"), "messages[0].content");
    }
    let image = Part::Image { source: url(), detail: None, cache: None };
    let request = Request { messages: vec![said(Role::User, vec![image])], ..Request::default() };
    assert_eq!(sent(&request, "[]")["messages"][0]["content"][0]["image_url"]["url"], "https://x.test/a");
    assert_eq!(param(&request, r#"["inline_images"]"#), "messages[0].content");
}

#[test]
fn sampling_and_thinking_fit_the_scales() {
    let sampling = Sampling {
        temperature: Some(0.5),
        top_p: Some(1.0),
        top_k: Some(900),
        frequency_penalty: Some(2.0),
        presence_penalty: Some(-1.0),
        seed: Some(-1),
        stop: vec!["a".into()],
    };
    let request = Request { sampling, effort: Some(Effort::Low), ..asking() };
    let told = sent(&request, "[]");
    let members =
        ["temperature", "p", "k", "frequency_penalty", "presence_penalty", "seed", "stop_sequences", "thinking"];
    assert_eq!(
        members.map(|name| told[name].clone()),
        [
            json!(0.5),
            json!(0.99),
            json!(500.0),
            json!(1.0),
            json!(0.0),
            json!(i64::MAX),
            json!(["a"]),
            json!({"type": "enabled", "token_budget": 2_048})
        ]
    );
    assert_eq!(param(&request, r#"["no_stop"]"#), "stop");
    let mut request = request;
    request.sampling.stop.clear();
    let quirks = r#"["no_sampling","no_penalties","no_stop","no_reasoning_effort"]"#;
    let told = sent(&request, quirks);
    assert_eq!(members.map(|name| told.get(name).is_some()), [false, false, false, false, false, true, false, false]);
    assert_eq!(
        sent(&Request { effort: Some(Effort::None), ..asking() }, "[]")["thinking"],
        json!({"type": "disabled"})
    );
    let mut many = asking();
    many.sampling.stop = (0..6).map(|n| n.to_string()).collect();
    assert_eq!(param(&many, "[]"), "stop");
}
