use super::{super::fixtures::*, *};
use crate::catalog::Deployment;
use crate::chat::{Effort, Media, Message, Part, Role, ServiceTier};
use serde_json::Value;

fn sent(text: &str, quirks: &str, supports: &str) -> Value {
    let (deployment, body) = (deployment(quirks, supports), body(text));
    let request = super::super::request::decode(&body).expect("valid");
    let call = forward(&body, &request, &Order { deployment: &deployment, max_output_tokens: 99 });
    assert_eq!(call.path, "/responses");
    json(&call.body)
}

fn written(request: &Request, quirks: &str, supports: &str) -> Result<Value, Fault> {
    let deployment = deployment(quirks, supports);
    encode(request, &Order { deployment: &deployment, max_output_tokens: 99 }).map(|call| json(&call.body))
}

fn asking(messages: Vec<Message>) -> Request {
    Request { model: "m".into(), messages, ..Request::default() }
}

#[test]
fn a_forwarded_request_changes_where_it_must() {
    let told = sent(
        r#"{"model":"x","input":"hi","store":true,"megarouter":{},"models":["y"],"provider":{"only":[]},"odd":{"kept":1.50}}"#,
        "[]",
        "[]",
    );
    let expected = crate::json::json!({"model": "r-1", "input": "hi", "store": false, "odd": {"kept": 1.5}, "max_output_tokens": 99});
    assert_eq!(told, expected);
}

#[test]
fn reasoning_comes_sealed_where_there_is_any() {
    const ASKED: &str =
        r#"{"model":"x","input":"hi","reasoning":{"effort":"low"},"include":["file_search_call.results"]}"#;
    let told = sent(ASKED, "[]", r#"["reasoning"]"#);
    assert_eq!(told["include"], crate::json::json!(["file_search_call.results", "reasoning.encrypted_content"]));
    assert_eq!(told["reasoning"]["effort"], "low");
    assert_eq!(sent(r#"{"model":"x","input":"hi"}"#, "[]", r#"["reasoning"]"#)["include"][0], SEALED);
    assert_eq!(sent(ASKED, "[]", "[]").get("reasoning"), None);
    assert_eq!(sent(ASKED, r#"["no_reasoning_effort"]"#, r#"["reasoning"]"#).get("reasoning"), None);
}

#[test]
fn quirks_change_a_request() {
    const ASKED: &str = r#"{"model":"x","input":"hi","temperature":1,"top_p":1,"metadata":{},"tools":[{"type":"function","name":"f"}],
        "tool_choice":"required"}"#;
    for (quirk, gone) in
        [("no_sampling", &["temperature", "top_p"][..]), ("one_sampling", &["top_p"]), ("no_store", &["metadata"])]
    {
        let told = sent(ASKED, &format!("[{quirk:?}]"), "[]");
        let all = ["temperature", "top_p", "metadata", "store", "tool_choice"];
        let left: Vec<&str> = all.into_iter().filter(|name| told.get(name).is_none()).collect();
        assert_eq!(left.len(), gone.len(), "{quirk}");
        assert!(gone.iter().all(|name| left.contains(name)), "{quirk}");
        assert_eq!(told["store"], false, "{quirk}: hosts store what nobody speaks of");
    }
    assert_eq!(sent(ASKED, r#"["no_forced_tool"]"#, "[]")["tool_choice"], "auto");
}

#[test]
fn hosted_tools_are_left_out() {
    let told = |tools: &str, choice: &str| {
        sent(&format!(r#"{{"model":"x","input":"hi","tools":[{tools}],"tool_choice":{choice}}}"#), "[]", "[]")
    };
    let own = r#"{"type":"function","name":"f"},{"type":"local_shell"},{"type":"namespace","name":"n","tools":[]}"#;
    let kinds = |told: &Value| -> Vec<String> {
        let tools = told["tools"].as_array().map_or(&[][..], Vec::as_slice);
        tools.iter().map(|tool| tool["type"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let mixed = told(&format!(r#"{own},{{"type":"web_search"}},{{"type":"mcp","server_url":"x"}}"#), "\"auto\"");
    assert_eq!(
        (kinds(&mixed), &mixed["tool_choice"]),
        (vec!["function".into(), "local_shell".into(), "namespace".into()], &"auto".into())
    );
    let nested = told(
        r#"{"type":"namespace","name":"n","tools":[{"type":"web_search"},{"type":"function","name":"g"}]}"#,
        "\"auto\"",
    );
    assert_eq!(nested["tools"][0]["tools"], crate::json::json!([{"type": "function", "name": "g"}]));
    let later = sent(
        r#"{"model":"x","input":[{"role":"user","content":"hi"},{"type":"additional_tools","tools":[{"type":"web_search"},
        {"type":"function","name":"h"}]}]}"#,
        "[]",
        "[]",
    );
    assert_eq!(later["input"][1]["tools"], crate::json::json!([{"type": "function", "name": "h"}]));
    let none = told(r#"{"type":"web_search"}"#, "\"auto\"");
    assert_eq!((none.get("tools"), none.get("tool_choice")), (None, None));
    let allowed =
        r#"{"type":"allowed_tools","mode":"auto","tools":[{"type":"web_search"},{"type":"function","name":"f"}]}"#;
    let chosen = told(&format!(r#"{own},{{"type":"web_search"}}"#), allowed);
    assert_eq!(chosen["tool_choice"]["tools"], crate::json::json!([{"type": "function", "name": "f"}]));
}

#[test]
fn reasoning_nobody_can_read_is_left_out() {
    let kept = |item: &str| {
        let told = sent(
            &format!(r#"{{"model":"x","input":[{{"role":"user","content":"\"reasoning\""}},{item}]}}"#),
            "[]",
            "[]",
        );
        told["input"].as_array().expect("items").len() == 2
    };
    for (members, stays) in [
        (r#""encrypted_content":"gAAA""#, true),
        (r#""encrypted_content":"anthropic.EqQB""#, false),
        (r#""encrypted_content":"gemini.x""#, false),
        (r#""encrypted_content":null,"content":[{"type":"reasoning_text","text":"t"}]"#, true),
        (r#""content":[]"#, false),
        ("\"id\":\"rs_1\"", false),
    ] {
        assert_eq!(kept(&format!(r#"{{"type":"reasoning","summary":[],{members}}}"#)), stays, "{members}");
    }
    assert!(kept(r#"{"role":"user","content":"\"type\":\"reasoning\""}"#));
}

#[test]
fn a_conversation_becomes_items() {
    let image = Part::Image { source: Media::Url("https://x.test/a.png".into()), detail: None, cache: None };
    let file = Part::File {
        source: Media::Base64 { media_type: "application/pdf".into(), data: "AA".into() },
        name: None,
        cache: None,
    };
    let sealed = |signature: &str| Part::Reasoning { text: "t".into(), signature: Some(signature.into()) };
    let call = |id: &str| Part::ToolCall { id: id.into(), name: "f".into(), arguments: String::new() };
    let result = |id: &str, parts| Part::ToolResult { id: id.into(), parts, is_error: false, cache: None };
    let request = asking(vec![
        said(Role::System, vec![Part::text("one")]),
        said(Role::System, vec![Part::text("two")]),
        said(Role::User, vec![Part::text("look"), image.clone(), file]),
        said(Role::Assistant, vec![sealed("openai.gAAA"), sealed("EqQB"), Part::text("Let me."), call("a"), call("b")]),
        said(Role::Tool, vec![result("a", vec![Part::text("4"), Part::text("5")]), result("b", vec![image])]),
        said(Role::System, vec![Part::text("between")]),
        said(Role::Assistant, vec![Part::Refusal("no".into()), sealed("openai.gBBB")]),
    ]);
    let told = written(&request, "[]", r#"["reasoning"]"#).expect("ours to say");
    assert_eq!(told["instructions"], "one\n\ntwo");
    let picture = crate::json::json!({"type": "input_image", "image_url": "https://x.test/a.png", "detail": "auto"});
    assert_eq!(
        told["input"],
        crate::json::json!([
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "look"}, picture,
                {"type": "input_file", "filename": "file", "file_data": "data:application/pdf;base64,AA"}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "gAAA"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me."}]},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "4\n\n5"},
            {"type": "function_call_output", "call_id": "b", "output": [picture]},
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "between"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        ])
    );
    assert_eq!((&told["store"], &told["include"]), (&false.into(), &crate::json::json!([SEALED])));
    let alone = written(&asking(vec![said(Role::System, vec![Part::text("do it")])]), "[]", "[]").expect("ours to say");
    assert_eq!((alone.get("instructions"), &alone["input"][0]["role"]), (None, &"user".into()));
    assert_eq!(alone.get("include"), None);
}

#[test]
fn every_member_is_said() {
    let function =
        Tool::Function { name: "f".into(), description: Some("d".into()), parameters: None, strict: None, cache: None };
    let custom = crate::json::json!({"type": "custom", "custom": {"name": "t", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}}});
    let mut request = asking(vec![
        said(Role::User, vec![Part::text("hi")]),
        said(
            Role::Assistant,
            vec![Part::ToolCall { id: "c".into(), name: "t".into(), arguments: r#"{"input":"x"}"#.into() }],
        ),
        said(Role::Tool, vec![Part::ToolResult { id: "c".into(), parts: vec![], is_error: false, cache: None }]),
    ]);
    request.tools = vec![function, Tool::Native(custom)];
    request.tool_choice = Some(ToolChoice::Named("t".into()));
    request.parallel_tool_calls = Some(false);
    request.format =
        Format::JsonSchema { name: "n".into(), description: None, schema: crate::json::json!({}), strict: Some(true) };
    request.sampling.temperature = Some(0.5);
    request.effort = Some(Effort::XHigh);
    request.service_tier = Some(ServiceTier::Priority);
    (request.stream, request.user) = (true, Some("u".into()));
    let told = written(&request, "[]", r#"["reasoning"]"#).expect("ours to say");
    for (name, value) in [
        (
            "tools",
            crate::json::json!([{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}, "strict": false},
                {"type": "custom", "name": "t", "format": {"syntax": "lark", "definition": "x", "type": "grammar"}}]),
        ),
        ("tool_choice", crate::json::json!({"type": "custom", "name": "t"})),
        ("parallel_tool_calls", false.into()),
        ("text", crate::json::json!({"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": true}})),
        ("reasoning", crate::json::json!({"effort": "high"})),
        ("service_tier", "priority".into()),
        ("max_output_tokens", 99.into()),
        ("stream", true.into()),
        ("user", "u".into()),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
    assert_eq!(
        told["input"][1],
        crate::json::json!({"type": "custom_tool_call", "call_id": "c", "name": "t", "input": "x"})
    );
    assert_eq!(told["input"][2]["type"], "custom_tool_call_output");
}

#[test]
fn what_cannot_be_said_is_named() {
    let hi = || asking(vec![said(Role::User, vec![Part::text("hi")])]);
    let param =
        |request: &Request| written(request, "[]", "[]").expect_err("refused").into_inner().param.unwrap_or_default();
    assert_eq!(param(&Request { choices: Some(2), ..hi() }), "n");
    let mut stopping = hi();
    stopping.sampling.stop = vec!["END".into()];
    assert_eq!(param(&stopping), "stop");
    assert!(written(&stopping, r#"["no_stop"]"#, "[]").is_err(), "wherever it goes");
    stopping.sampling.stop = vec![String::new()];
    assert_eq!(written(&stopping, r#"["no_store"]"#, "[]").expect("nothing to stop at")["store"], false);
    assert_eq!(
        param(&Request { tools: vec![Tool::Native(crate::json::json!({"type": "bash_1"}))], ..hi() }),
        "tools[0].type"
    );
    for part in [
        Part::Audio { data: "A".into(), format: "wav".into() },
        Part::Image { source: Media::Id("file-1".into()), detail: None, cache: None },
        Part::File { source: Media::Id("file-1".into()), name: None, cache: None },
    ] {
        assert_eq!(param(&asking(vec![said(Role::User, vec![part])])), "messages[0].content");
    }
    let deployment = deployment("[]", "[]");
    let few = encode(&hi(), &Order { deployment: &deployment, max_output_tokens: 15 });
    assert!(few.is_err_and(|fault| fault.param.as_deref() == Some("max_tokens")));
}

#[test]
fn efforts_and_members_are_those_the_model_takes() {
    const ASKED: &str =
        r#"{"model":"x","input":"hi","reasoning":{"effort":"xhigh","summary":"auto"},"odd":1,"user":"u"}"#;
    let told = sent(ASKED, r#"["known_members"]"#, r#"["reasoning"]"#);
    assert_eq!((told.get("odd"), &told["user"], &told["reasoning"]["effort"]), (None, &"u".into(), &"xhigh".into()));
    let mut deployment = Deployment::clone(&deployment("[]", r#"["reasoning"]"#));
    deployment.efforts = vec![Effort::Low, Effort::High];
    let order = Order { deployment: &deployment, max_output_tokens: 99 };
    let body = body(ASKED);
    let request = super::super::request::decode(&body).expect("valid");
    let effort = |call: Call| json(&call.body)["reasoning"].clone();
    let near = crate::json::json!({"effort": "high", "summary": "auto"});
    assert_eq!(effort(forward(&body, &request, &order)), near);
    let mut request = asking(vec![said(Role::User, vec![Part::text("hi")])]);
    request.effort = Some(Effort::None);
    assert_eq!(effort(encode(&request, &order).expect("ours to say")), crate::json::json!({"effort": "low"}));
}

#[test]
fn what_another_maker_signed_stays_here() {
    let told = sent(
        r#"{"model":"x","input":[{"role":"user","content":"a__sig_QQ"},{"type":"function_call","call_id":"a__sig_QQ","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"a__sig_QQ","output":"r"}]}"#,
        "[]",
        "[]",
    );
    assert_eq!(told["input"][0]["content"], "a__sig_QQ");
    assert_eq!((&told["input"][1]["call_id"], &told["input"][2]["call_id"]), (&"a".into(), &"a".into()));
    let call = Part::ToolCall { id: "a__sig_QQ".into(), name: "f".into(), arguments: String::new() };
    let result = Part::ToolResult { id: "a__sig_QQ".into(), parts: vec![], is_error: false, cache: None };
    let request = asking(vec![said(Role::Assistant, vec![call]), said(Role::Tool, vec![result])]);
    let told = written(&request, "[]", "[]").expect("sayable");
    assert_eq!((&told["input"][0]["call_id"], &told["input"][1]["call_id"]), (&"a".into(), &"a".into()));
}
