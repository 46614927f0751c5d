use super::*;

fn told(text: &str) -> Result<Response, UpstreamFault> {
    decode(text.as_bytes())
}

#[test]
fn an_answer_is_read_item_by_item() {
    let response = told(
        r#"{"id":"resp_1","model":"m","status":"completed","output":[
        {"type":"reasoning","summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}],"encrypted_content":"gAAA"},
        {"type":"reasoning","summary":[{"text":"short"}],"content":[{"type":"reasoning_text","text":"long"}]},
        {"type":"reasoning","id":"rs_1","summary":[],"content":[]},
        {"type":"web_search_call","id":"ws_1"},
        {"type":"message","content":[{"type":"output_text","text":"Hi"},{"type":"refusal","refusal":"no"},{"type":"odd"}]},
        {"type":"function_call","call_id":"c","name":"f","arguments":""},
        {"type":"custom_tool_call","call_id":"d","name":"t","input":"x\"y"},
        {"type":"function_call","call_id":"e"}],
        "usage":{"input_tokens":3,"output_tokens":4}}"#,
    )
    .expect("an answer");
    let reasoning = |text: &str, signature: Option<&str>| Part::Reasoning {
        text: text.into(),
        signature: signature.map(str::to_owned),
    };
    let call = |id: &str, name: &str, arguments: &str| Part::ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    assert_eq!(
        response.choices[0].parts,
        [
            reasoning("a\n\nb", Some("openai.gAAA")),
            reasoning("long", None),
            Part::text("Hi"),
            Part::Refusal("no".into()),
            call("c", "f", "{}"),
            call("d", "t", r#"{"input":"x\"y"}"#),
        ]
    );
    assert_eq!((response.id.as_str(), response.model.as_str()), ("resp_1", "m"));
    assert_eq!((response.choices[0].finish, response.usage.map(|usage| usage.output)), (Finish::ToolCalls, Some(4)));
}

#[test]
fn what_is_no_answer_is_a_fault() {
    for (text, cause) in [
        ("", Cause::Server),
        ("{}", Cause::Server),
        (r#"{"output":"x"}"#, Cause::Server),
        (r#"{"error":{"message":"This model's maximum context length is 9","code":null}}"#, Cause::ContextLength),
        (r#"{"status":"failed","error":{"code":"server_error","message":"x"},"output":[]}"#, Cause::Server),
        (r#"{"status":"cancelled","output":[]}"#, Cause::Server),
    ] {
        assert_eq!(told(text).map_err(|fault| fault.cause), Err(cause), "{text}");
    }
    let cut =
        told(r#"{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"error":null,"output":[]}"#);
    let choice = cut.expect("an answer").choices.remove(0);
    assert_eq!((choice.finish, choice.native_finish.as_deref()), (Finish::Length, Some("max_output_tokens")));
}
