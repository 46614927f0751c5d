use super::{
    super::fixtures::{self, asking, deployment, said},
    *,
};
use crate::chat::{CacheMark, Media, Part, Role, Sampling, ServiceTier};

fn sent_with(request: &Request, quirks: &str, efforts: &str, max: u64) -> Result<Call, Fault> {
    encode(request, &Order { deployment: &deployment(quirks, efforts), max_output_tokens: max })
}

fn sent(request: &Request, quirks: &str) -> Value {
    fixtures::sent(sent_with(request, quirks, "[]", 2_000))
}

fn param(request: &Request, quirks: &str) -> String {
    fixtures::param(sent_with(request, quirks, "[]", 50))
}

fn function(name: &str, parameters: Option<Value>) -> Tool {
    Tool::Function { name: name.into(), description: Some("d".into()), parameters, strict: Some(true), cache: None }
}

fn call_of(id: &str, arguments: &str) -> Part {
    Part::ToolCall { id: id.into(), name: "f".into(), arguments: arguments.into() }
}

fn result_of(id: &str, parts: Vec<Part>, is_error: bool) -> Part {
    Part::ToolResult { id: id.into(), parts, is_error, cache: None }
}

#[test]
fn the_path_says_model_and_verb() {
    let path =
        |quirks: &str, stream| sent_with(&Request { stream, ..asking() }, quirks, "[]", 9).expect("sayable").path;
    assert_eq!(path("[]", false), "/v1beta/models/gemini-x:generateContent");
    assert_eq!(path("[]", true), "/v1beta/models/gemini-x:streamGenerateContent?alt=sse");
    let vertex = r#"["vertex_paths"]"#;
    assert_eq!(path(vertex, false), "/publishers/google/models/gemini-x:generateContent");
    let header = |quirks: &str| {
        use super::super::super::Upstream;
        super::super::Gemini.credential_header(&deployment(quirks, "[]"))
    };
    assert_eq!((header("[]"), header(vertex)), (("x-goog-api-key", ""), ("authorization", "Bearer ")));
    let tier = Request { service_tier: Some(ServiceTier::Flex), ..asking() };
    assert_eq!(sent(&tier, "[]")["serviceTier"], "flex");
    let call = sent_with(&tier, vertex, "[]", 9).expect("sayable");
    assert_eq!(call.headers, [("x-vertex-ai-llm-shared-request-type", "flex".to_owned())]);
}

#[test]
fn a_plain_request_is_short() {
    let told = sent(&Request { user: Some("u".into()), parallel_tool_calls: Some(false), ..asking() }, "[]");
    assert_eq!(
        told,
        json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 2000}})
    );
}

#[test]
fn turns_are_merged_and_results_come_alone() {
    let request = Request {
        messages: vec![
            said(Role::System, vec![Part::text("s"), Part::text("")]),
            said(Role::User, vec![Part::text("go")]),
            said(Role::User, vec![Part::text(""), Part::text("on")]),
            said(Role::Assistant, vec![Part::text("ok")]),
            said(Role::Assistant, vec![call_of("a", "{\"x\":1}"), call_of("b", "")]),
            said(Role::System, vec![Part::text("later")]),
            said(Role::Tool, vec![result_of("b", vec![Part::text("{\"y\":2}")], false)]),
            said(Role::Tool, vec![result_of("a", vec![Part::text("r"), Part::text("s")], false)]),
            said(Role::User, vec![Part::text("and?")]),
            said(Role::Assistant, vec![Part::text("")]),
            said(Role::User, vec![Part::text("hm")]),
        ],
        ..Request::default()
    };
    let told = sent(&request, "[]");
    assert_eq!(told["systemInstruction"], json!({"parts": [{"text": "s"}]}));
    assert_eq!(
        told["contents"],
        json!([
            {"role": "user", "parts": [{"text": "go"}, {"text": "on"}]},
            {"role": "model", "parts": [{"text": "ok"},
                {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}, "thoughtSignature": "skip_thought_signature_validator"},
                {"functionCall": {"id": "b", "name": "f", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"id": "b", "name": "f", "response": {"y": 2}}},
                {"functionResponse": {"id": "a", "name": "f", "response": {"output": "r\n\ns"}}}]},
            {"role": "user", "parts": [{"text": "later"}, {"text": "and?"}, {"text": "hm"}]}
        ])
    );
    let older = sent(&request, r#"["thinking_budget"]"#);
    assert!(older["contents"][1]["parts"][1].get("thoughtSignature").is_none(), "Gemini 2 asks for none");
}

#[test]
fn somebody_always_speaks_to_the_model() {
    let told = |messages| sent(&Request { messages, ..Request::default() }, "[]");
    let alone = told(vec![said(Role::System, vec![Part::text("s")])]);
    assert_eq!(alone["contents"], json!([{"role": "user", "parts": [{"text": "s"}]}]));
    assert!(alone.get("systemInstruction").is_none());
    let opened = told(vec![said(Role::Assistant, vec![Part::text("I ")]), said(Role::User, vec![Part::text("?")])]);
    assert_eq!(opened["contents"][0], json!({"role": "user", "parts": [{"text": "Continue."}]}));
    assert_eq!(
        param(&Request { messages: vec![said(Role::User, vec![Part::text("")])], ..Request::default() }, "[]"),
        "messages"
    );
}

#[test]
fn signatures_come_back_where_they_were() {
    use super::super::super::carried::signed_id;
    let (a, b) = (signed_id("a", Some("sigA")), signed_id("b", Some("sigB")));
    let thought = |text: &str, signature: Option<&str>| Part::Reasoning {
        text: text.into(),
        signature: signature.map(str::to_owned),
    };
    let request = Request {
        messages: vec![
            said(Role::User, vec![Part::text("go")]),
            said(
                Role::Assistant,
                vec![
                    thought("mine", Some("gemini.sigT")),
                    thought("", Some("gemini.sigE")),
                    thought("nobody's", None),
                    thought("theirs", Some("EqQB")),
                    Part::RedactedReasoning("x".into()),
                    call_of(&a, "{}"),
                    call_of(&b, "{}"),
                ],
            ),
            // The caller knows calls by their long ids or by their short ones.
            said(Role::Tool, vec![result_of(&a, vec![], true)]),
            said(Role::Tool, vec![result_of("b", vec![], false)]),
        ],
        ..Request::default()
    };
    let told = sent(&request, "[]");
    assert_eq!(
        told["contents"][1]["parts"],
        json!([
            {"text": "mine", "thoughtSignature": "sigT", "thought": true},
            {"text": "", "thoughtSignature": "sigE"},
            {"functionCall": {"id": "a", "name": "f", "args": {}}, "thoughtSignature": "sigA"},
            {"functionCall": {"id": "b", "name": "f", "args": {}}, "thoughtSignature": "sigB"}
        ])
    );
    assert_eq!(
        told["contents"][2]["parts"],
        json!([{"functionResponse": {"id": "a", "name": "f", "response": {"error": ""}}},
            {"functionResponse": {"id": "b", "name": "f", "response": {"output": ""}}}])
    );
    let orphan =
        Request { messages: vec![said(Role::Tool, vec![result_of("c", vec![], false)])], ..Request::default() };
    assert_eq!(sent(&orphan, "[]")["contents"][0]["parts"][0]["functionResponse"]["name"], "c");
}

#[test]
fn media_are_sent_as_bytes_or_as_addresses_google_fetches() {
    let image = |source| Part::Image { source, detail: None, cache: Some(CacheMark { ttl: None }) };
    let png = || Media::Base64 { media_type: "image/png".into(), data: "AA==".into() };
    let with = |part: Part| Request { messages: vec![said(Role::User, vec![part])], ..Request::default() };
    let part = |request: &Request| sent(request, "[]")["contents"][0]["parts"][0].clone();
    assert_eq!(part(&with(image(png()))), json!({"inlineData": {"mimeType": "image/png", "data": "AA=="}}));
    assert_eq!(
        part(&with(Part::Audio { data: "AA==".into(), format: "mp3".into() })),
        json!({"inlineData": {"mimeType": "audio/mp3", "data": "AA=="}})
    );
    for (url, kind) in [
        ("https://x.test/a.PNG?b=c.pdf", "image/png"),
        ("https://x.test/a", "image/jpeg"),
        ("gs://bucket/a.webp", "image/webp"),
    ] {
        let told = part(&with(image(Media::Url(url.into()))));
        assert_eq!(told, json!({"fileData": {"mimeType": kind, "fileUri": url}}));
    }
    let file = |source| Part::File { source, name: None, cache: None };
    let told = part(&with(file(Media::Url("https://x.test/a".into()))));
    assert_eq!(told["fileData"]["mimeType"], "application/pdf");
    let refused = [
        image(Media::Url("http://x.test/a.png".into())),
        image(Media::Id("file-1".into())),
        file(Media::Url("raw".into())),
    ];
    for part in refused {
        assert_eq!(param(&with(part), "[]"), "messages[0].content");
    }
    let remote = with(image(Media::Url("https://x.test/a.png".into())));
    assert_eq!(param(&remote, r#"["inline_images"]"#), "messages[0].content");
    // What a tool saw goes with its result, beside it for Gemini 2.
    let seen = Request {
        messages: vec![
            said(Role::User, vec![Part::text("look")]),
            said(Role::Assistant, vec![call_of("a", "")]),
            said(Role::Tool, vec![result_of("a", vec![image(png()), Part::text("seen")], false)]),
        ],
        ..Request::default()
    };
    let inline = json!({"inlineData": {"mimeType": "image/png", "data": "AA=="}});
    assert_eq!(sent(&seen, "[]")["contents"][2]["parts"][0]["functionResponse"]["parts"], json!([inline]));
    let older = sent(&seen, r#"["thinking_budget"]"#);
    assert_eq!(older["contents"][3], json!({"role": "user", "parts": [inline]}));
}

#[test]
fn tools_and_choices_translate() {
    let schema =
        json!({"type": "object", "$defs": {"A": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/A"}}});
    let tools = vec![function("f", Some(schema)), function("g", None)];
    let told = sent(&Request { tools: tools.clone(), ..asking() }, "[]");
    assert_eq!(
        told["tools"],
        json!([{"functionDeclarations": [
            {"name": "f", "description": "d",
                "parametersJsonSchema": {"type": "object", "properties": {"a": {"type": "string"}}}},
            {"name": "g", "description": "d"}]}])
    );
    assert!(told.get("toolConfig").is_none());
    for (choice, config) in [
        (ToolChoice::None, json!({"mode": "NONE"})),
        (ToolChoice::Required, json!({"mode": "ANY"})),
        (ToolChoice::Named("f".into()), json!({"mode": "ANY", "allowedFunctionNames": ["f"]})),
    ] {
        let request =
            Request { tools: tools.clone(), tool_choice: Some(choice), format: Format::JsonObject, ..asking() };
        let told = sent(&request, "[]");
        assert_eq!(told["toolConfig"]["functionCallingConfig"], config);
        let forced = config["mode"] == "ANY";
        assert_eq!(told["generationConfig"].get("responseMimeType").is_none(), forced, "a forced call has no form");
        let unforced = sent(&request, r#"["no_forced_tool"]"#);
        assert_eq!(unforced.get("toolConfig").is_none(), forced);
    }
    let native = Request { tools: vec![Tool::Native(json!({"type": "custom"}))], ..asking() };
    assert_eq!(param(&native, "[]"), "tools[0].type");
}

#[test]
fn generation_is_configured() {
    let sampling = Sampling {
        temperature: Some(0.5),
        top_p: Some(0.9),
        top_k: Some(7),
        frequency_penalty: Some(1.0),
        presence_penalty: Some(-1.0),
        seed: Some(-1),
        stop: vec!["a".into(), " ".into()],
    };
    let request = Request { sampling, choices: Some(2), ..asking() };
    assert_eq!(
        sent(&request, "[]")["generationConfig"],
        json!({"maxOutputTokens": 2000, "candidateCount": 2, "temperature": 0.5, "topP": 0.9, "topK": 7,
            "frequencyPenalty": 1.0, "presencePenalty": -1.0, "stopSequences": ["a"], "seed": i32::MAX})
    );
    assert_eq!(param(&request, r#"["no_stop"]"#), "stop");
    let quirks = r#"["no_sampling","no_penalties","no_stop"]"#;
    let mut request = request;
    request.sampling.stop = vec![String::new()];
    assert_eq!(
        sent(&request, quirks)["generationConfig"],
        json!({"maxOutputTokens": 2000, "candidateCount": 2, "seed": i32::MAX})
    );
    assert!(sent(&request, r#"["one_sampling"]"#)["generationConfig"].get("topP").is_none());
    let mut many = asking();
    many.sampling.stop = (0..6).map(|n| n.to_string()).collect();
    assert_eq!(param(&many, "[]"), "stop");
    let schema = json!({"type": "object"});
    let format = Format::JsonSchema { name: "n".into(), description: None, schema: schema.clone(), strict: None };
    let formed = Request { format, ..asking() };
    assert_eq!(
        sent(&formed, "[]")["generationConfig"],
        json!({"responseMimeType": "application/json", "responseJsonSchema": schema, "maxOutputTokens": 2000})
    );
    let with_tools = Request { tools: vec![function("f", None)], ..formed };
    assert_eq!(sent(&with_tools, "[]")["generationConfig"]["responseMimeType"], "application/json");
    assert_eq!(param(&with_tools, r#"["thinking_budget"]"#), "response_format");
}

#[test]
fn effort_becomes_a_level_or_a_budget() {
    let told = |effort, quirks: &str, efforts: &str, max| {
        let call = sent_with(&Request { effort: Some(effort), ..asking() }, quirks, efforts, max).expect("sayable");
        let body: Value = serde_json::from_slice(&call.body).expect("JSON");
        body["generationConfig"]["thinkingConfig"].clone()
    };
    for (effort, efforts, level) in [
        (Effort::Minimal, "[]", "low"),
        (Effort::Medium, "[]", "medium"),
        (Effort::Max, "[]", "high"),
        (Effort::Minimal, r#"["minimal","low","high"]"#, "minimal"),
        (Effort::XHigh, r#"["low","medium","high"]"#, "high"),
        (Effort::XHigh, r#"["high","xhigh"]"#, "xhigh"),
    ] {
        assert_eq!(told(effort, "[]", efforts, 9), json!({"thinkingLevel": level, "includeThoughts": true}));
    }
    assert_eq!(told(Effort::None, "[]", r#"["low","high"]"#, 9), json!({"thinkingLevel": "low"}));
    let budget = r#"["thinking_budget"]"#;
    for (effort, max, tokens) in [
        (Effort::Low, 64_000, 1_024),
        (Effort::Medium, 64_000, 8_192),
        (Effort::Max, 64_000, 24_576),
        (Effort::High, 4_000, 3_000),
        (Effort::High, 9, 512),
    ] {
        assert_eq!(told(effort, budget, "[]", max), json!({"thinkingBudget": tokens, "includeThoughts": true}));
    }
    assert_eq!(told(Effort::None, budget, "[]", 9_000), json!({"thinkingBudget": 512}));
    assert_eq!(told(Effort::None, budget, r#"["none","low"]"#, 9_000), json!({"thinkingBudget": 0}));
    assert_eq!(told(Effort::High, r#"["no_reasoning_effort"]"#, "[]", 9_000), Value::Null);
}
