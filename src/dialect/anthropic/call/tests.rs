use super::{
    super::{super::Upstream, fixtures::*, request},
    *,
};
use crate::chat::{CacheMark, Effort, Media, Part, Role, Sampling};

fn forwarded(text: &str, quirks: &str, supports: &str) -> Value {
    let (deployment, body) = (deployment(quirks, supports), body(text));
    let request = request::decode(&body).expect("valid");
    json(&forward(&body, &request, &Order { deployment: &deployment, max_output_tokens: 50 }).body)
}

fn sent(request: &Request, quirks: &str, max: u64) -> Value {
    let deployment = deployment(quirks, r#"["reasoning","tools","json_schema"]"#);
    let call = encode(request, &Order { deployment: &deployment, max_output_tokens: max }).expect("sayable");
    assert_eq!(
        (call.path.as_str(), &call.headers[..]),
        ("/v1/messages", &[("anthropic-version", "2023-06-01".to_owned())][..])
    );
    json(&call.body)
}

fn function(name: &str) -> Tool {
    Tool::Function { name: name.into(), description: None, parameters: None, strict: None, cache: None }
}

fn call_of(id: &str) -> Part {
    Part::ToolCall { id: id.into(), name: "f".into(), arguments: String::new() }
}

fn result_of(id: &str) -> Part {
    Part::ToolResult { id: id.into(), parts: vec![Part::text("r")], is_error: false, cache: None }
}

#[test]
fn what_need_not_change_is_copied() {
    let text = r#"{"model":"x","max_tokens":99,"messages": [ {"role":"user","content":"a\u00e9","odd":1.50} ],"x":1e3,"context_management":{},"megarouter":{}}"#;
    let (deployment, body) = (deployment("[]", "[]"), body(text));
    let request = request::decode(&body).expect("valid");
    let call = forward(&body, &request, &Order { deployment: &deployment, max_output_tokens: 50 });
    assert_eq!(
        String::from_utf8_lossy(&call.body),
        r#"{"model":"c-1","max_tokens":50,"messages":[ {"role":"user","content":"a\u00e9","odd":1.50} ],"x":1e3}"#
    );
}

#[test]
fn quirks_change_what_a_deployment_refuses() {
    const ALL: &str = r#"{"model":"x","max_tokens":9,"temperature":1,"top_p":1,"top_k":1,"messages":[{"role":"user","content":"a"}],
        "tools":[{"name":"f"}],"tool_choice":{"type":"any","disable_parallel_tool_use":true}}"#;
    let told = forwarded(ALL, r#"["no_sampling","no_forced_tool"]"#, "[]");
    assert!(["temperature", "top_p", "top_k"].iter().all(|name| told.get(*name).is_none()));
    assert_eq!(told["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));
    let told = forwarded(ALL, r#"["one_sampling"]"#, "[]");
    assert!(told.get("top_p").is_none() && told["temperature"] == 1);
}

#[test]
fn system_between_turns_becomes_the_users_and_foreign_thinking_goes() {
    let told = forwarded(
        r#"{"model":"x","max_tokens":9,"system":"s","messages":[{"role":"user","content":"a"},{"role":"system","content":"m"},
        {"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":""},{"type":"tool_use","id":"a","name":"f","input":{}}]},
        {"role":"system","content":"n"},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"r"}]},
        {"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"openai.gAAA"}]}]}"#,
        "[]",
        "[]",
    );
    assert_eq!(
        told["messages"],
        json!([
            {"role": "user", "content": "a"},
            {"role": "user", "content": "m"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "r"}]},
            {"role": "user", "content": "n"}
        ]),
        "results stay right behind their calls"
    );
    assert_eq!(told["system"], "s");
}

#[test]
fn turns_are_merged_and_results_come_first() {
    let broken = Part::ToolCall { id: "a".into(), name: "g".into(), arguments: "{\"x\":".into() };
    let request = Request {
        messages: vec![
            said(Role::System, vec![Part::text("s")]),
            said(Role::User, vec![Part::text("go")]),
            said(Role::User, vec![Part::text(" ")]),
            said(Role::Assistant, vec![Part::Reasoning { text: "foreign".into(), signature: None }, Part::text("ok")]),
            said(Role::Assistant, vec![call_of("functions.f:0"), broken]),
            said(Role::System, vec![Part::text("later")]),
            said(Role::Tool, vec![result_of("functions.f:0")]),
            said(Role::Tool, vec![result_of("a")]),
            said(Role::User, vec![Part::text("and?")]),
        ],
        ..Request::default()
    };
    let told = sent(&request, "[]", 50);
    assert_eq!(told["system"], json!([{"type": "text", "text": "s"}]));
    let result =
        |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": [{"type": "text", "text": "r"}]});
    assert_eq!(
        told["messages"],
        json!([
            {"role": "user", "content": [{"type": "text", "text": "go"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "ok"},
                {"type": "tool_use", "id": "functions_f_0", "name": "f", "input": {}},
                {"type": "tool_use", "id": "a", "name": "g", "input": {"arguments": "{\"x\":"}}]},
            {"role": "user", "content": [result("functions_f_0"), result("a"), {"type": "text", "text": "later"},
                {"type": "text", "text": "and?"}]}
        ])
    );
    assert_eq!(told["tool_choice"], json!({"type": "none"}), "the tools stand there for the history alone");
    assert_eq!(told["tools"].as_array().map(Vec::len), Some(2));
}

#[test]
fn ids_that_become_alike_stay_apart() {
    let calls = said(Role::Assistant, vec![call_of("a.b"), call_of("a:b"), call_of("")]);
    let results = said(Role::Tool, vec![result_of("a:b"), result_of("a.b"), result_of("")]);
    let request =
        Request { messages: vec![said(Role::User, vec![Part::text("x")]), calls, results], ..Request::default() };
    let told = sent(&request, "[]", 50);
    let ids = |place: usize, member: &str| -> Vec<String> {
        told["messages"][place]["content"]
            .as_array()
            .expect("blocks")
            .iter()
            .map(|b| b[member].as_str().expect("id").to_owned())
            .collect()
    };
    assert_eq!(ids(1, "id"), ["a_b", "a_b_2", "toolu_0"]);
    assert_eq!(ids(2, "tool_use_id"), ["a_b_2", "a_b", "toolu_0"]);
}

#[test]
fn somebody_always_speaks_to_the_model() {
    let only_system = Request { messages: vec![said(Role::System, vec![Part::text("s")])], ..Request::default() };
    assert_eq!(
        sent(&only_system, "[]", 50)["messages"],
        json!([{"role": "user", "content": [{"type": "text", "text": "s"}]}])
    );
    let prefill = Request { messages: vec![said(Role::Assistant, vec![Part::text("{ ")])], ..Request::default() };
    let told = sent(&prefill, "[]", 50);
    assert_eq!(
        (&told["messages"][0]["role"], &told["messages"][1]["content"][0]["text"]),
        (&json!("user"), &json!("{"))
    );
    let blank = Request { messages: vec![said(Role::User, vec![Part::text("\n")])], ..Request::default() };
    let deployment = deployment("[]", "[]");
    assert!(encode(&blank, &Order { deployment: &deployment, max_output_tokens: 5 }).is_err());
}

#[test]
fn tools_and_choices_translate() {
    let with = |choice, parallel, quirks| {
        let request =
            Request { tools: vec![function("f")], tool_choice: choice, parallel_tool_calls: parallel, ..asking() };
        sent(&request, quirks, 50)
    };
    let told = with(None, None, "[]");
    assert_eq!(told["tools"], json!([{"name": "f", "input_schema": {"type": "object", "properties": {}}}]));
    assert!(told.get("tool_choice").is_none());
    assert_eq!(
        with(None, Some(false), "[]")["tool_choice"],
        json!({"type": "auto", "disable_parallel_tool_use": true})
    );
    assert_eq!(with(Some(ToolChoice::Required), None, "[]")["tool_choice"], json!({"type": "any"}));
    assert_eq!(with(Some(ToolChoice::None), Some(false), "[]")["tool_choice"], json!({"type": "none"}));
    assert_eq!(
        with(Some(ToolChoice::Named("f".into())), None, "[]")["tool_choice"],
        json!({"type": "tool", "name": "f"})
    );
    assert_eq!(with(Some(ToolChoice::Required), None, r#"["no_forced_tool"]"#)["tool_choice"], json!({"type": "auto"}));
    let thinking = Request {
        tools: vec![function("f")],
        tool_choice: Some(ToolChoice::Required),
        effort: Some(Effort::Low),
        ..asking()
    };
    assert_eq!(sent(&thinking, "[]", 5_000)["tool_choice"], json!({"type": "auto"}), "refused together with thinking");
}

#[test]
fn effort_becomes_thinking() {
    let with = |effort, quirks, max| {
        sent(
            &Request {
                effort: Some(effort),
                sampling: Sampling { temperature: Some(0.5), ..Sampling::default() },
                ..asking()
            },
            quirks,
            max,
        )
    };
    let adaptive = with(Effort::XHigh, r#"["adaptive_thinking"]"#, 50);
    assert_eq!(
        (&adaptive["thinking"], &adaptive["output_config"]),
        (&json!({"type": "adaptive"}), &json!({"effort": "high"}))
    );
    assert!(adaptive.get("temperature").is_none());
    assert_eq!(with(Effort::Medium, "[]", 20_000)["thinking"], json!({"type": "enabled", "budget_tokens": 8_192}));
    let small = with(Effort::High, "[]", 1_000);
    assert!(small.get("thinking").is_none() && small["temperature"] == 0.5, "no room");
    assert!(with(Effort::None, "[]", 20_000).get("thinking").is_none());
    let mut looped = Request { effort: Some(Effort::High), ..asking() };
    looped.messages.extend([said(Role::Assistant, vec![call_of("a")]), said(Role::Tool, vec![result_of("a")])]);
    assert!(sent(&looped, "[]", 20_000).get("thinking").is_none(), "calls without their signed thinking");
    let signed = |signature: &str| Part::Reasoning { text: "t".into(), signature: Some(signature.into()) };
    looped.messages[1].parts.insert(0, signed("openai.gAAA"));
    let told = sent(&looped, "[]", 20_000);
    assert!(
        told.get("thinking").is_none() && told["messages"][1]["content"][0]["type"] == "tool_use",
        "another maker's"
    );
    looped.messages[1].parts.insert(0, signed("s"));
    let told = sent(&looped, "[]", 20_000);
    assert_eq!(told["thinking"]["budget_tokens"], 15_000);
    assert_eq!(told["messages"][1]["content"][0], json!({"type": "thinking", "thinking": "t", "signature": "s"}));
}

#[test]
fn forms_and_hints_translate() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "description": "how many"},
        "minimum": {"type": "string", "maxLength": 3}, "l": {"type": "array", "minItems": 2, "items": {"type": "object"}}}});
    let format = Format::JsonSchema { name: "x".into(), description: None, schema, strict: None };
    let told = sent(&Request { format, ..asking() }, "[]", 50);
    assert_eq!(
        told["output_config"]["format"],
        json!({"type": "json_schema", "schema": {"type": "object", "additionalProperties": false, "properties": {
            "n": {"type": "integer", "description": "how many (minimum: 1)"},
            "minimum": {"type": "string", "description": "(maxLength: 3)"},
            "l": {"type": "array", "items": {"type": "object", "additionalProperties": false}, "description": "(minItems: 2)"}}}})
    );
    let json_only = sent(&Request { format: Format::JsonObject, ..asking() }, "[]", 50);
    assert!(json_only["system"][0]["text"].as_str().is_some_and(|text| text.contains("JSON")));
    let sampling = Sampling {
        temperature: Some(1.7),
        top_p: Some(0.5),
        seed: Some(1),
        frequency_penalty: Some(1.0),
        stop: vec!["\n".into(), "END".into()],
        ..Sampling::default()
    };
    let told = sent(&Request { sampling, user: Some("u".into()), stream: true, ..asking() }, r#"["one_sampling"]"#, 50);
    assert_eq!((&told["temperature"], &told["stop_sequences"]), (&json!(1.0), &json!(["END"])));
    assert!(told.get("top_p").is_none() && told.get("seed").is_none() && told.get("frequency_penalty").is_none());
    assert_eq!(
        (&told["metadata"], &told["stream"], &told["max_tokens"]),
        (&json!({"user_id": "u"}), &json!(true), &json!(50))
    );
}

#[test]
fn media_and_marks_translate() {
    let mark = || Some(CacheMark { ttl: Some("24h".into()) });
    let parts = vec![
        Part::Image { source: Media::Url("https://x.test/a.png".into()), detail: None, cache: mark() },
        Part::Image {
            source: Media::Base64 { media_type: "image/png".into(), data: "AA".into() },
            detail: None,
            cache: mark(),
        },
        Part::File {
            source: Media::Base64 { media_type: "application/pdf".into(), data: "AA".into() },
            name: Some("a".into()),
            cache: mark(),
        },
        Part::File {
            source: Media::Base64 { media_type: "text/plain".into(), data: "aGk=".into() },
            name: None,
            cache: mark(),
        },
        Part::Text { text: "x".into(), cache: mark() },
    ];
    let told = sent(&Request { messages: vec![said(Role::User, parts)], ..Request::default() }, "[]", 50);
    let blocks = &told["messages"][0]["content"];
    assert_eq!(
        blocks[0],
        json!({"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}),
        "four marks at most"
    );
    assert_eq!(blocks[1]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
    assert_eq!((&blocks[2]["type"], &blocks[2]["title"]), (&json!("document"), &json!("a")));
    assert_eq!(blocks[3]["source"], json!({"type": "text", "media_type": "text/plain", "data": "hi"}));
}

#[test]
fn what_cannot_be_said_is_named() {
    let deployment = deployment("[]", "[]");
    let param = |request: Request| {
        let told = encode(&request, &Order { deployment: &deployment, max_output_tokens: 5 });
        told.expect_err("refused").into_inner().param.unwrap_or_default()
    };
    assert_eq!(param(Request { choices: Some(2), ..asking() }), "n");
    assert_eq!(param(Request { tools: vec![Tool::Native(json!({"type": "custom"}))], ..asking() }), "tools[0].type");
    let sound = Part::Audio { data: "A".into(), format: "wav".into() };
    assert_eq!(
        param(Request { messages: vec![said(Role::User, vec![sound])], ..Request::default() }),
        "messages[0].content"
    );
}

#[test]
fn what_another_maker_signed_stays_here() {
    let told = forwarded(
        r#"{"model":"x","max_tokens":9,"messages":[{"role":"user","content":"a"},
        {"role":"assistant","content":[{"type":"redacted_thinking","data":"bedrock.xyz"},{"type":"redacted_thinking","data":"xyz"},
            {"type":"tool_use","id":"a__sig_QQ","name":"f","input":{}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"a__sig_QQ","content":"r"}]}]}"#,
        "[]",
        "[]",
    );
    assert_eq!(
        told["messages"][1]["content"],
        json!([{"type": "redacted_thinking", "data": "xyz"}, {"type": "tool_use", "id": "a", "name": "f", "input": {}}])
    );
    assert_eq!(told["messages"][2]["content"][0]["tool_use_id"], "a");
    let mut request = asking();
    request
        .messages
        .push(said(Role::Assistant, vec![Part::RedactedReasoning("bedrock.xyz".into()), call_of("a__sig_QQ")]));
    request.messages.push(said(Role::Tool, vec![result_of("a__sig_QQ")]));
    let told = sent(&request, "[]", 50);
    assert_eq!(told["messages"][1]["content"], json!([{"type": "tool_use", "id": "a", "name": "f", "input": {}}]));
    assert_eq!(told["messages"][2]["content"][0]["tool_use_id"], "a");
}

#[test]
fn vertex_has_the_model_in_its_path() {
    let vertex = deployment(r#"["vertex_paths"]"#, "[]");
    let order = Order { deployment: &vertex, max_output_tokens: 50 };
    let told = |call: Call| (call.path, call.headers.len(), json(&call.body));
    for (stream, path) in [
        (false, "/publishers/anthropic/models/c-1:rawPredict"),
        (true, "/publishers/anthropic/models/c-1:streamRawPredict"),
    ] {
        let text =
            format!(r#"{{"model":"x","max_tokens":9,"stream":{stream},"messages":[{{"role":"user","content":"a"}}]}}"#);
        let body = body(&text);
        let mut request = request::decode(&body).expect("valid");
        request.headers.push((version::VERSION, version::OURS.to_owned()));
        let wanted = json!({"max_tokens": 50, "stream": stream, "messages": [{"role": "user", "content": "a"}],
            "anthropic_version": "vertex-2023-10-16"});
        assert_eq!(told(forward(&body, &request, &order)), (path.to_owned(), 0, wanted));
        let (found, headers, body) = told(encode(&request, &order).expect("sayable"));
        assert_eq!((found.as_str(), headers), (path, 0));
        assert_eq!((body.get("model"), &body["anthropic_version"]), (None, &json!("vertex-2023-10-16")));
    }
    assert_eq!(super::super::Anthropic.credential_header(&vertex), ("authorization", "Bearer "));
    assert_eq!(super::super::Anthropic.credential_header(&deployment("[]", "[]")), ("x-api-key", ""));
}
