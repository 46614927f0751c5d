use super::{super::fixtures::body, *};
use crate::chat::Effort;

fn read(text: &str) -> Result<Request, Fault> {
    decode(&body(text))
}

fn asking(members: &str) -> Result<Request, Fault> {
    read(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],{members}}}"#))
}

fn saying(messages: &str) -> Result<Vec<Message>, Fault> {
    read(&format!(r#"{{"model":"m","messages":[{messages}]}}"#)).map(|request| request.messages)
}

fn param<T: std::fmt::Debug>(told: Result<T, Fault>) -> String {
    told.expect_err("refused").into_inner().param.unwrap_or_default()
}

#[test]
fn every_member_has_its_place() {
    let request = asking(
        r#""temperature":0.5,"top_p":1,"frequency_penalty":-1,"presence_penalty":0,"seed":7,"stop":"END","n":2,
        "max_tokens":10,"max_completion_tokens":20,"stream":true,"stream_options":{"include_usage":true},"user":"u",
        "reasoning_effort":"xhigh","parallel_tool_calls":false,"response_format":{"type":"json_schema","json_schema":
        {"name":"x","schema":{"type":"object"},"strict":true}},"logit_bias":{"1":2},"metadata":{"a":"b"},"store":null,
        "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}},{"type":"custom","custom":{"name":"c"}}],
        "tool_choice":{"type":"function","function":{"name":"f"}},"megarouter":{"mode":"auto"},"models":["a"],"provider":{}"#,
    )
    .expect("valid");
    assert_eq!(request.max_output_tokens, Some(20), "the newer name wins");
    assert_eq!((request.choices, request.stream, request.wants_usage), (Some(2), true, true));
    assert_eq!(request.effort, Some(Effort::XHigh));
    assert_eq!(request.sampling.stop, ["END"]);
    assert_eq!((request.sampling.temperature, request.sampling.seed), (Some(0.5), Some(7)));
    assert_eq!(request.tool_choice, Some(ToolChoice::Named("f".into())));
    assert_eq!(request.parallel_tool_calls, Some(false));
    assert!(matches!(&request.format, Format::JsonSchema { name, strict: Some(true), .. } if name == "x"));
    assert!(matches!(&request.tools[..], [Tool::Function { .. }, Tool::Native(native)] if native["type"] == "custom"));
    assert_eq!(request.user.as_deref(), Some("u"));
    let mut rest: Vec<&str> = request.rest.keys().map(String::as_str).collect();
    rest.sort_unstable();
    assert_eq!(rest, ["logit_bias", "metadata"], "the router's own and nulls are gone, the rest stays");
}

#[test]
fn wrong_types_name_the_parameter() {
    for (members, name) in [
        (r#""temperature":"hot""#, "temperature"),
        (r#""temperature":3"#, "temperature"),
        (r#""n":0"#, "n"),
        (r#""n":129"#, "n"),
        (r#""max_tokens":-1"#, "max_tokens"),
        (r#""stop":[1]"#, "stop[0]"),
        (r#""stream":"yes""#, "stream"),
        (r#""stream_options":{"include_usage":1}"#, "stream_options.include_usage"),
        (r#""reasoning_effort":"huge""#, "reasoning_effort"),
        (r#""response_format":{"type":"xml"}"#, "response_format.type"),
        (r#""response_format":{"type":"json_schema"}"#, "response_format.json_schema"),
        (r#""tools":{}"#, "tools"),
        (r#""tools":[{"type":"function"}]"#, "tools[0].function"),
        (r#""tools":[{"type":"function","function":{}}]"#, "tools[0].function.name"),
        (r#""tool_choice":"always""#, "tool_choice"),
        (r#""tool_choice":{"type":"magic"}"#, "tool_choice.type"),
        (r#""service_tier":"scale""#, "service_tier"),
    ] {
        assert_eq!(param(asking(members)), name, "{members}");
    }
    assert_eq!(param(read(r#"{"messages":[]}"#)), "model");
    assert_eq!(param(read(r#"{"model":"m"}"#)), "messages");
    assert_eq!(param(read(r#"{"model":"m","messages":[]}"#)), "messages");
    for (messages, name) in [
        (r#""hi""#, "messages[0]"),
        (r#"{"content":"x"}"#, "messages[0].role"),
        (r#"{"role":"robot","content":"x"}"#, "messages[0].role"),
        (r#"{"role":"user"}"#, "messages[0].content"),
        (r#"{"role":"user","content":7}"#, "messages[0].content"),
        (
            r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"video_url"}]}"#,
            "messages[0].content[1].type",
        ),
        (r#"{"role":"user","content":[{"type":"image_url"}]}"#, "messages[0].content[0].image_url"),
        (
            r#"{"role":"system","content":[{"type":"image_url","image_url":{"url":"x"}}]}"#,
            "messages[0].content[0].type",
        ),
        (r#"{"role":"tool","content":"x"}"#, "messages[0].tool_call_id"),
        (r#"{"role":"assistant","tool_calls":[{"id":"a","function":{}}]}"#, "messages[0].tool_calls[0].function.name"),
    ] {
        assert_eq!(param(saying(messages)), name, "{messages}");
    }
}

#[test]
fn a_conversation_with_tools_is_read() {
    let told = saying(
        r#"{"role":"developer","content":"be brief"},
        {"role":"user","name":"ann","content":[{"type":"text","text":"look","cache_control":{"type":"ephemeral","ttl":"1h"}},
          {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}},
          {"type":"input_audio","input_audio":{"data":"BB","format":"wav"}},
          {"type":"file","file":{"file_data":"data:application/pdf;base64,CC","filename":"a.pdf"}}]},
        {"role":"assistant","content":null,"refusal":null,"tool_calls":[
          {"id":"c1","type":"function","function":{"name":"f","arguments":""}},
          {"id":"c2","type":"custom","custom":{"name":"g","input":"x=1"}}]},
        {"role":"tool","tool_call_id":"c1","content":[{"type":"text","text":"4"}]}"#,
    )
    .expect("valid");
    assert_eq!(
        told.iter().map(|message| message.role).collect::<Vec<_>>(),
        [Role::System, Role::User, Role::Assistant, Role::Tool]
    );
    assert_eq!(told[1].name.as_deref(), Some("ann"));
    assert_eq!(told[1].parts[0], Part::Text { text: "look".into(), cache: Some(CacheMark { ttl: Some("1h".into()) }) });
    let png = Media::Base64 { media_type: "image/png".into(), data: "AAAA".into() };
    assert!(
        matches!(&told[1].parts[1], Part::Image { source, detail: Some(detail), .. } if *source == png && detail == "low")
    );
    assert!(matches!(&told[1].parts[3], Part::File { name: Some(name), .. } if name == "a.pdf"));
    assert_eq!(told[2].parts[0], Part::ToolCall { id: "c1".into(), name: "f".into(), arguments: String::new() });
    assert_eq!(
        told[2].parts[1],
        Part::ToolCall { id: "c2".into(), name: "g".into(), arguments: r#"{"input":"x=1"}"#.into() }
    );
    assert!(
        matches!(&told[3].parts[..], [Part::ToolResult { id, parts, .. }] if id == "c1" && parts == &[Part::text("4")])
    );
}

#[test]
fn calls_bring_back_what_google_signed() {
    let signed = |extra: &str| {
        let call = format!(r#"{{"id":"c1","type":"function","function":{{"name":"f"}}{extra}}}"#);
        let told = saying(&format!(r#"{{"role":"assistant","tool_calls":[{call}]}}"#)).expect("valid");
        let Part::ToolCall { id, .. } = &told[0].parts[0] else { panic!("{told:?}") };
        id.clone()
    };
    assert_eq!(signed(r#","extra_content":{"google":{"thought_signature":"s/g"}}"#), "c1__sig_cy9n");
    assert_eq!(signed(r#","extra_content":{"google":{}}"#), "c1");
    assert_eq!(signed(""), "c1");
}

#[test]
fn deprecated_functions_are_tools() {
    let request = read(
        r#"{"model":"m","functions":[{"name":"f","parameters":{}}],"function_call":{"name":"f"},"messages":[
        {"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},
        {"role":"function","name":"f","content":"4"}]}"#,
    )
    .expect("valid");
    assert_eq!(request.tool_choice, Some(ToolChoice::Named("f".into())));
    let Part::ToolCall { id: asked, .. } = &request.messages[0].parts[0] else { panic!("a call") };
    assert!(matches!(&request.messages[1].parts[0], Part::ToolResult { id, .. } if id == asked));
}

#[test]
fn allowed_tools_are_the_tools() {
    let tools = r#""tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}],
        "tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"g"}}]}}"#;
    let request = asking(tools).expect("valid");
    assert_eq!(request.tool_choice, Some(ToolChoice::Required));
    assert!(matches!(&request.tools[..], [Tool::Function { name, .. }] if name == "g"));
}

#[test]
fn reasoning_of_earlier_turns_is_read_under_any_name() {
    let first = |members: &str| {
        saying(&format!(r#"{{"role":"assistant","content":"a",{members}}}"#)).expect("valid").remove(0).parts
    };
    let plain = Part::Reasoning { text: "t".into(), signature: None };
    let signed = Part::Reasoning { text: "t".into(), signature: Some("s".into()) };
    assert_eq!(first(r#""reasoning_content":"t""#)[0], plain);
    assert_eq!(first(r#""reasoning":"t""#)[0], plain);
    assert_eq!(
        first(r#""reasoning_content":"t","reasoning_details":[{"type":"reasoning.text","text":"t","signature":"s"}]"#)
            [0],
        signed
    );
    let pieces =
        r#""reasoning_details":[{"type":"reasoning.text","text":"t"},{"type":"reasoning.text","signature":"s"}]"#;
    assert_eq!(first(pieces)[..2], [signed.clone(), Part::text("a")]);
    let blocks = r#""thinking_blocks":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"redacted_thinking","data":"d"}]"#;
    assert_eq!(first(blocks)[..2], [signed.clone(), Part::RedactedReasoning("d".into())]);
    let late = r#""reasoning":"t","reasoning_details":[{"type":"reasoning.text","signature":"s"}]"#;
    assert_eq!(first(late)[0], signed);
}
