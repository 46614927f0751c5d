use super::{super::fixtures::body, *};
use crate::chat::{CacheMark, Effort, Media, Message, ServiceTier};

fn read(text: &str) -> Result<Request, Fault> {
    decode(&body(text))
}

fn asking(members: &str) -> Result<Request, Fault> {
    read(&format!(r#"{{"model":"m","input":"hi",{members}}}"#))
}

fn saying(items: &str) -> Result<Vec<Message>, Fault> {
    read(&format!(r#"{{"model":"m","input":[{items}]}}"#)).map(|request| request.messages)
}

fn parts(items: &str) -> Vec<Part> {
    saying(items).expect("valid").into_iter().flat_map(|message| message.parts).collect()
}

fn param<T: std::fmt::Debug>(told: Result<T, Fault>) -> String {
    told.expect_err("refused").into_inner().param.unwrap_or_default()
}

fn names(request: &Request) -> Vec<&str> {
    let mut names = Vec::new();
    for tool in &request.tools {
        let Tool::Function { name, .. } = tool else { panic!("{tool:?}") };
        names.push(name.as_str());
    }
    names
}

#[test]
fn every_member_has_its_place() {
    let request = asking(
        r#""instructions":"be brief","temperature":0.5,"top_p":1,"max_output_tokens":20,"stream":true,"user":"u","store":true,
        "safety_identifier":"s","reasoning":{"effort":"high","summary":"auto"},"parallel_tool_calls":false,"service_tier":"flex",
        "text":{"format":{"type":"json_schema","name":"x","schema":{"type":"object"},"strict":true},"verbosity":"low"},
        "metadata":{"a":"b"},"truncation":"auto","include":["reasoning.encrypted_content"],"previous_response_id":null,
        "background":false,"stream_options":{"include_obfuscation":false},"max_tool_calls":3,"client_metadata":{"x":"y"},
        "tools":[{"type":"function","name":"f","parameters":{"type":"object"},"strict":false}],
        "tool_choice":{"type":"function","name":"f"},"megarouter":{"mode":"auto"},"models":["a"],"provider":{}"#,
    )
    .expect("valid");
    let system = Message { role: Role::System, parts: vec![Part::text("be brief")], name: None };
    let user = Message { role: Role::User, parts: vec![Part::text("hi")], name: None };
    assert_eq!(request.messages, [system, user]);
    assert_eq!((request.max_output_tokens, request.stream, request.wants_usage), (Some(20), true, true));
    assert_eq!((request.effort, request.service_tier), (Some(Effort::High), Some(ServiceTier::Flex)));
    assert_eq!((request.sampling.temperature, request.sampling.top_p), (Some(0.5), Some(1.0)));
    assert_eq!(
        (&request.tool_choice, request.parallel_tool_calls),
        (&Some(ToolChoice::Named("f".into())), Some(false))
    );
    assert!(matches!(&request.format, Format::JsonSchema { name, strict: Some(true), .. } if name == "x"));
    assert_eq!((names(&request), request.user.as_deref()), (vec!["f"], Some("s")));
    let mut rest: Vec<&str> = request.rest.keys().map(String::as_str).collect();
    rest.sort_unstable();
    let told = ["client_metadata", "include", "max_tool_calls", "metadata", "store", "stream_options", "truncation"];
    assert_eq!(rest, told, "the router's own and nulls are gone, the rest stays");
    assert!(asking(r#""include":["message.output_text.logprobs"]"#).expect("valid").rest.contains_key("logprobs"));
}

#[test]
fn wrong_types_name_the_parameter() {
    for (members, name) in [
        (r#""temperature":3"#, "temperature"),
        (r#""max_output_tokens":0"#, "max_output_tokens"),
        (r#""stream":"yes""#, "stream"),
        (r#""reasoning":{"effort":"huge"}"#, "reasoning.effort"),
        (r#""reasoning":{"summary":false}"#, "reasoning.summary"),
        (r#""text":{"format":{"type":"xml"}}"#, "text.format.type"),
        (r#""text":{"format":{"type":"json_schema"}}"#, "text.format.name"),
        (r#""tools":{}"#, "tools"),
        (r#""tools":[{"type":"function"}]"#, "tools[0].name"),
        (r#""tools":[{"type":"namespace","name":"n","tools":[{}]}]"#, "tools[0].tools[0].name"),
        (r#""tool_choice":"always""#, "tool_choice"),
        (r#""tool_choice":{"type":"function"}"#, "tool_choice.name"),
        (r#""tool_choice":{"type":"web_search"}"#, "tool_choice"),
        (r#""tool_choice":{"type":"allowed_tools","mode":"never"}"#, "tool_choice.mode"),
        (r#""service_tier":"scale""#, "service_tier"),
        (r#""previous_response_id":"resp_1""#, "previous_response_id"),
        (r#""conversation":{"id":"conv_1"}"#, "conversation"),
        (r#""prompt":{"id":"pmpt_1"}"#, "prompt"),
        (r#""background":true"#, "background"),
    ] {
        assert_eq!(param(asking(members)), name, "{members}");
    }
    assert_eq!(param(read(r#"{"input":[]}"#)), "model");
    for (input, name) in
        [("", "input"), (r#","input":[]"#, "input"), (r#","input":7"#, "input"), (r#","input":[7]"#, "input[0]")]
    {
        assert_eq!(param(read(&format!(r#"{{"model":"m"{input}}}"#))), name, "{input}");
    }
    for (item, name) in [
        (r#"{"content":"x"}"#, "input[0].role"),
        (r#"{"role":"critic","content":"x"}"#, "input[0].role"),
        (r#"{"role":"user"}"#, "input[0].content"),
        (r#"{"role":"user","content":[{"text":"x"}]}"#, "input[0].content[0].type"),
        (r#"{"role":"user","content":[{"type":"input_text"}]}"#, "input[0].content[0].text"),
        (r#"{"role":"user","content":[{"type":"input_image"}]}"#, "input[0].content[0]"),
        (r#"{"type":"function_call","name":"f"}"#, "input[0].call_id"),
        (r#"{"type":"function_call_output","call_id":"c"}"#, "input[0].output"),
        (r#"{"type":"item_reference","id":"msg_1"}"#, "input[0].id"),
    ] {
        assert_eq!(param(saying(item)), name, "{item}");
    }
}

#[test]
fn a_turn_is_one_message() {
    let told = saying(
        r#"{"role":"developer","content":"rules"},
        {"role":"user","content":[{"type":"input_text","text":"look","prompt_cache_breakpoint":{"mode":"explicit","ttl":"30m"}},
          {"type":"input_image","image_url":"data:image/png;base64,AA","detail":"low"},{"type":"input_image","file_id":"file-1"},
          {"type":"input_file","file_data":"data:application/pdf;base64,BB","filename":"a.pdf"},
          {"type":"input_file","file_url":"https://x.test/a.pdf"},{"type":"input_video","video_url":"x"}]},
        {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"s1"},{"type":"summary_text","text":"s2"}],
          "encrypted_content":"gAAA"},
        {"type":"message","id":"msg_1","role":"assistant","phase":"commentary","content":[{"type":"output_text","text":"Let me.",
          "annotations":[]},{"type":"refusal","refusal":"no"}]},
        {"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},
        {"type":"custom_tool_call","call_id":"c2","name":"spawn","namespace":"agents","input":"x=\"1\""},
        {"type":"function_call_output","call_id":"c1","output":"4"},
        {"type":"custom_tool_call_output","call_id":"c2","output":[{"type":"input_text","text":"5"}]}"#,
    )
    .expect("valid");
    let [system, user, assistant, results] = &told[..] else { panic!("four messages: {told:?}") };
    assert_eq!(
        (system.role, user.role, assistant.role, results.role),
        (Role::System, Role::User, Role::Assistant, Role::Tool)
    );
    assert_eq!(user.parts.len(), 5, "what is newer than this code is left out");
    assert_eq!(user.parts[0], Part::Text { text: "look".into(), cache: Some(CacheMark { ttl: Some("30m".into()) }) });
    assert!(matches!(&user.parts[1], Part::Image { source: Media::Base64 { .. }, detail: Some(_), .. }));
    assert!(matches!(&user.parts[2], Part::Image { source: Media::Id(id), .. } if id == "file-1"));
    assert!(
        matches!(&user.parts[3], Part::File { source: Media::Base64 { .. }, name: Some(name), .. } if name == "a.pdf")
    );
    assert!(matches!(&user.parts[4], Part::File { source: Media::Url(_), .. }));
    let call = |id: &str, name: &str, arguments: &str| Part::ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    assert_eq!(
        assistant.parts,
        [
            Part::Reasoning { text: "s1\n\ns2".into(), signature: Some("openai.gAAA".into()) },
            Part::text("Let me."),
            Part::Refusal("no".into()),
            call("c1", "f", "{}"),
            call("c2", "agents__spawn", r#"{"input":"x=\"1\""}"#),
        ]
    );
    let result = |id: &str, text| Part::ToolResult {
        id: id.into(),
        parts: vec![Part::text(text)],
        is_error: false,
        cache: None,
    };
    assert_eq!(results.parts, [result("c1", "4"), result("c2", "5")]);
}

#[test]
fn reasoning_knows_its_maker() {
    let reasoning = |text: &str, signature: Option<&str>| {
        vec![Part::Reasoning { text: text.into(), signature: signature.map(str::to_owned) }]
    };
    let full = r#""content":[{"type":"reasoning_text","text":"full"}]"#;
    for (members, told) in [
        (r#""encrypted_content":"anthropic.EqQB""#.to_owned(), reasoning("", Some("EqQB"))),
        (r#""encrypted_content":"gemini.x""#.to_owned(), reasoning("", Some("gemini.x"))),
        (r#""encrypted_content":"anthropic_redacted.D""#.to_owned(), vec![Part::RedactedReasoning("D".into())]),
        (format!(r#""encrypted_content":null,{full}"#), reasoning("full", None)),
        (format!(r#""summary":[{{"type":"summary_text","text":"s"}}],{full}"#), reasoning("full", None)),
        (r#""id":"rs_1""#.to_owned(), vec![]),
    ] {
        assert_eq!(
            parts(&format!(r#"{{"role":"user","content":"x"}},{{"type":"reasoning",{members}}}"#))[1..],
            told,
            "{members}"
        );
    }
}

#[test]
fn items_of_other_tools_never_break_a_request() {
    let after = |items: &str| parts(&format!(r#"{{"role":"user","content":"x"}},{items}"#)).split_off(1);
    for item in [
        r#"{"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search","query":"q"}}"#,
        r#"{"type":"image_generation_call","id":"ig_1","result":"AAAA"}"#,
        r#"{"type":"compaction","encrypted_content":"gAAA"}"#,
        r#"{"type":"mcp_list_tools","id":"m","tools":[]}"#,
        r#"{"type":"tool_search_call","call_id":null,"arguments":{}}"#,
        r#"{"type":"program_output","call_id":"p_1","result":7}"#,
        r#"{"type":"of_the_future","text":{"odd":[1]}}"#,
        r#"{"type":"additional_tools","tools":[]}"#,
    ] {
        assert_eq!(after(item), [], "{item}");
    }
    assert_eq!(after(r#"{"type":"mcp_call","id":"m","name":"n","output":"found"}"#), [Part::text("found")]);
    let shell = after(
        r#"{"type":"local_shell_call","id":"l","call_id":"c","status":"completed","action":{"type":"exec","command":["ls"]}},
        {"type":"local_shell_call_output","call_id":"c","output":"a.txt"}"#,
    );
    let [Part::ToolCall { id, name, arguments }, Part::ToolResult { id: answered, parts, .. }] = &shell[..] else {
        panic!("{shell:?}")
    };
    assert_eq!((id, answered, name.as_str()), (&"c".to_owned(), &"c".to_owned(), "local_shell"));
    assert_eq!(arguments, r#"{"action":{"type":"exec","command":["ls"]}}"#);
    assert_eq!(parts, &[Part::text("a.txt")]);
    let screen = after(
        r#"{"type":"computer_call","call_id":"c","action":{"type":"click"}},{"type":"computer_call_output","call_id":"c",
        "output":{"type":"computer_screenshot","image_url":"data:image/png;base64,AA"}}"#,
    );
    assert!(matches!(&screen[1], Part::ToolResult { parts, .. } if matches!(parts[..], [Part::Image { .. }])));
}

#[test]
fn mixed_tools_are_functions_or_left_out() {
    // As Codex sends them.
    let request = read(
        r#"{"model":"m","input":[{"role":"developer","content":[{"type":"input_text","text":"a"}]},
        {"role":"user","content":[{"type":"input_text","text":"b"}]},
        {"type":"additional_tools","role":"developer","tools":[{"type":"function","name":"late"}]}],
        "tools":[{"type":"function","name":"shell","description":"d","strict":false,"parameters":{"type":"object"}},
          {"type":"custom","name":"apply_patch","description":"Edits.","format":{"type":"grammar","syntax":"lark","definition":"start: X"}},
          {"type":"namespace","name":"multi_agent_v1","description":"n","tools":[{"type":"function","name":"spawn","parameters":{}}]},
          {"type":"web_search"},{"type":"local_shell"},{"type":"tool_search","execution":"client"},{"type":"of_the_future"}],
        "tool_choice":"auto","parallel_tool_calls":true,"reasoning":{"summary":"auto"},"store":false,
        "include":["reasoning.encrypted_content"],"prompt_cache_key":"t","client_metadata":{},"stream":true}"#,
    )
    .expect("valid");
    assert_eq!(names(&request), ["late", "shell", "apply_patch", "multi_agent_v1__spawn"]);
    assert_eq!(request.hosted, ["web_search", "of_the_future"], "those that providers run");
    let Tool::Function { description: Some(description), parameters: Some(parameters), .. } = &request.tools[2] else {
        panic!("a described function")
    };
    assert!(description.starts_with("Edits.") && description.ends_with("(lark):\nstart: X"), "{description}");
    assert_eq!(parameters["properties"]["input"]["type"], "string");
}

#[test]
fn choices_are_read_in_every_form() {
    const TOOLS: &str = r#""tools":[{"type":"function","name":"f"},{"type":"custom","name":"c"},{"type":"web_search"},
        {"type":"namespace","name":"n","tools":[{"type":"function","name":"g"}]}],"tool_choice":"#;
    let told = |choice: &str| {
        let request = asking(&format!("{TOOLS}{choice}")).expect("valid");
        (request.tool_choice.clone(), names(&request).len())
    };
    let named = |name: &str| (Some(ToolChoice::Named(name.into())), 3);
    assert_eq!(told(r#""required""#), (Some(ToolChoice::Required), 3));
    assert_eq!(told(r#"{"type":"function","name":"f"}"#), named("f"));
    assert_eq!(told(r#"{"type":"custom","name":"c"}"#), named("c"));
    assert_eq!(told(r#"{"type":"function","name":"g","namespace":"n"}"#), named("n__g"));
    let allowed =
        r#"{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"},{"type":"web_search"}]}"#;
    assert_eq!(told(allowed), (Some(ToolChoice::Required), 1));
}
