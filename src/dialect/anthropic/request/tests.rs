use super::{super::fixtures::body, *};

fn read(text: &str) -> Result<Request, Fault> {
    decode(&body(text))
}

fn asking(members: &str) -> Result<Request, Fault> {
    read(&format!(r#"{{"model":"c","max_tokens":9,"messages":[{{"role":"user","content":"hi"}}],{members}}}"#))
}

fn param<T: std::fmt::Debug>(told: Result<T, Fault>) -> String {
    told.expect_err("refused").into_inner().param.unwrap_or_default()
}

#[test]
fn every_member_has_its_place() {
    let request = asking(
        r#""system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"temperature":1,"top_p":0.5,"top_k":3,
        "stop_sequences":["a"],"stream":true,"metadata":{"user_id":"u"},"thinking":{"type":"enabled","budget_tokens":9000},
        "output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}},
        "tools":[{"name":"f","input_schema":{"type":"object"}},{"type":"web_search_20250305","name":"web_search"}],
        "tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true},"context_management":{"edits":[]}"#,
    )
    .expect("valid");
    assert_eq!((request.max_output_tokens, request.wants_usage, request.stream), (Some(9), true, true));
    assert_eq!(request.messages[0].role, Role::System);
    assert_eq!(request.messages[0].parts, [Part::Text { text: "s".into(), cache: Some(CacheMark { ttl: None }) }]);
    assert_eq!((request.sampling.temperature, request.sampling.top_k), (Some(1.0), Some(3)));
    assert_eq!(request.sampling.stop, ["a"]);
    assert_eq!((request.user.as_deref(), request.effort), (Some("u"), Some(Effort::Medium)));
    assert!(matches!(request.format, Format::JsonSchema { .. }));
    assert!(
        matches!(&request.tools[..], [Tool::Function { .. }, Tool::Native(native)] if native["name"] == "web_search")
    );
    assert_eq!((request.tool_choice, request.parallel_tool_calls), (Some(ToolChoice::Named("f".into())), Some(false)));
    assert_eq!(request.rest.keys().collect::<Vec<_>>(), ["context_management"]);
    let effort = |members: &str| asking(members).expect("valid").effort;
    assert_eq!(effort(r#""thinking":{"type":"adaptive"},"output_config":{"effort":"max"}"#), Some(Effort::Max));
    assert_eq!(effort(r#""thinking":{"type":"adaptive"}"#), Some(Effort::High));
    assert_eq!(effort(r#""thinking":{"type":"disabled"}"#), Some(Effort::None));
    assert_eq!(effort(r#""top_k":1"#), None);
}

#[test]
fn wrong_types_name_the_parameter() {
    assert_eq!(param(read(r#"{"model":"c","messages":[{"role":"user","content":"x"}]}"#)), "max_tokens");
    assert_eq!(param(read(r#"{"model":"c","max_tokens":1,"messages":[]}"#)), "messages");
    for (members, name) in [
        (r#""temperature":1.5"#, "temperature"),
        (r#""speed":"fast""#, "speed"),
        (r#""inference_geo":"us""#, "inference_geo"),
        (r#""tools":[{"input_schema":{}}]"#, "tools[0].name"),
        (r#""tool_choice":{"type":"required"}"#, "tool_choice.type"),
        (r#""thinking":{"budget_tokens":1}"#, "thinking.type"),
        (r#""output_config":{"effort":"huge"}"#, "output_config.effort"),
        (r#""output_config":{"format":{"type":"xml"}}"#, "output_config.format.type"),
        (r#""system":[{"type":"image"}]"#, "system[0].type"),
    ] {
        assert_eq!(param(asking(members)), name, "{members}");
    }
    let saying = |messages: &str| read(&format!(r#"{{"model":"c","max_tokens":1,"messages":[{messages}]}}"#));
    for (messages, name) in [
        (r#"{"role":"tool","content":"x"}"#, "messages[0].role"),
        (r#"{"role":"user"}"#, "messages[0].content"),
        (r#"{"role":"user","content":[{"text":"x"}]}"#, "messages[0].content[0].type"),
        (r#"{"role":"user","content":[{"type":"text"}]}"#, "messages[0].content[0].text"),
        (r#"{"role":"user","content":[{"type":"image","source":{"type":"x"}}]}"#, "messages[0].content[0].source.type"),
        (r#"{"role":"user","content":[{"type":"tool_result","content":"x"}]}"#, "messages[0].content[0].tool_use_id"),
    ] {
        assert_eq!(param(saying(messages)), name, "{messages}");
    }
}

#[test]
fn blocks_become_parts() {
    let request = read(
        r#"{"model":"c","max_tokens":1,"messages":[
        {"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"redacted_thinking","data":"d"},
          {"type":"thinking","thinking":"u","signature":""},{"type":"tool_use","id":"a","name":"f","input":{"x":1}},
          {"type":"server_tool_use","id":"srv","name":"web_search","input":{}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"a","is_error":true,"content":[{"type":"text","text":"4"},
          {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA"}}]},
          {"type":"document","title":"T","source":{"type":"text","media_type":"text/plain","data":"body"}},
          {"type":"document","title":"P","source":{"type":"url","url":"https://x.test/a.pdf"}}]},
        {"role":"system","content":"between"}]}"#,
    )
    .expect("valid");
    let [asked, answered, between] = &request.messages[..] else { panic!("three messages") };
    assert_eq!(
        asked.parts[..4],
        [
            Part::Reasoning { text: "t".into(), signature: Some("s".into()) },
            Part::RedactedReasoning("d".into()),
            Part::Reasoning { text: "u".into(), signature: None },
            Part::ToolCall { id: "a".into(), name: "f".into(), arguments: r#"{"x":1}"#.into() },
        ]
    );
    assert!(
        matches!(&asked.parts[4], Part::Text { text, .. } if text.contains("server_tool_use") && text.contains("srv"))
    );
    let Part::ToolResult { id, parts, is_error: true, .. } = &answered.parts[0] else { panic!("a result") };
    assert_eq!((id.as_str(), parts.len()), ("a", 2));
    assert_eq!(answered.parts[1..3], [Part::text("T"), Part::text("body")]);
    assert!(matches!(&answered.parts[3], Part::File { name: Some(name), source: Media::Url(_), .. } if name == "P"));
    assert_eq!((between.role, &between.parts[..]), (Role::System, &[Part::text("between")][..]));
}
