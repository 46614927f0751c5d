use super::{super::fixtures::*, *};
use crate::{money::Nanos, usage::Usage};

fn stamp() -> Stamp {
    Stamp {
        request_id: "req_1".into(),
        model: "acme/c".into(),
        created: 5,
        wants_usage: true,
        cost: Some(Nanos(2_000)),
        ..Stamp::default()
    }
}

#[test]
fn blocks_become_parts() {
    let told = decode(
        br#"{"id":"msg_x","type":"message","model":"c","content":[{"type":"thinking","thinking":"t","signature":"s"},
        {"type":"server_tool_use","id":"x","name":"y","input":{}},{"type":"text","text":"hi"},
        {"type":"tool_use","id":"a","name":"f","input":{"x":1}}],"stop_reason":"end_turn",
        "usage":{"input_tokens":4,"cache_creation_input_tokens":426,"cache_read_input_tokens":14210,"output_tokens":290,
        "cache_creation":{"ephemeral_1h_input_tokens":400,"ephemeral_5m_input_tokens":26},"output_tokens_details":{"thinking_tokens":15}}}"#,
    )
    .expect("an answer");
    let usage = Usage {
        input: 4,
        cache_read: 14_210,
        cache_write: 26,
        cache_write_1h: 400,
        output: 290,
        reasoning: 15,
        ..Usage::default()
    };
    assert_eq!((told.usage, told.choices[0].finish), (Some(usage), Finish::ToolCalls));
    assert_eq!(
        told.choices[0].parts,
        [
            Part::Reasoning { text: "t".into(), signature: Some("s".into()) },
            Part::text("hi"),
            Part::ToolCall { id: "a".into(), name: "f".into(), arguments: r#"{"x":1}"#.into() },
        ]
    );
    let finish = |reason: &str| {
        decode(format!(r#"{{"content":[],"stop_reason":{reason}}}"#).as_bytes()).expect("an answer").choices[0].finish
    };
    assert_eq!(finish("\"max_tokens\""), Finish::Length);
    assert_eq!(
        (finish("\"refusal\""), finish("\"pause_turn\""), finish("null")),
        (Finish::ContentFilter, Finish::Length, Finish::Stop)
    );
}

#[test]
fn failures_inside_a_200_are_faults() {
    let cause = |text: &str| decode(text.as_bytes()).expect_err("a fault").cause;
    assert_eq!(
        cause(r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#),
        Cause::Overloaded
    );
    assert_eq!((cause("{}"), cause("<html>")), (Cause::Server, Cause::Server));
}

#[test]
fn our_answer_has_the_whole_shape() {
    let parts = vec![
        Part::Reasoning { text: "t".into(), signature: None },
        Part::text("hi"),
        Part::ToolCall { id: "f:0".into(), name: "f".into(), arguments: "{".into() },
    ];
    let choices = vec![Choice { parts, finish: Finish::ToolCalls, native_finish: Some("tool_calls".into()) }];
    let usage = Some(Usage { input: 3, cache_read: 4, output: 5, ..Usage::default() });
    let told = json(&encode(&Response { choices, usage, ..Response::default() }, &stamp()));
    assert_eq!(
        told,
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "acme/c", "content": [
            {"type": "thinking", "thinking": "t", "signature": ""}, {"type": "text", "text": "hi", "citations": null},
            {"type": "tool_use", "id": "f_0", "name": "f", "input": {"arguments": "{"},
                "caller": {"type": "direct"}}],
            "stop_reason": "tool_use", "stop_sequence": null, "stop_details": null, "container": null, "usage": {
            "input_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}, "output_tokens": 5,
            "output_tokens_details": {"thinking_tokens": 0}, "server_tool_use": null, "service_tier": "standard",
            "inference_geo": null, "cost_usd": "0.000002"}})
    );
}

#[test]
fn a_passed_on_answer_keeps_its_bytes() {
    let told = relay(br#"{"model":"c","content":[ ],"usage":{"input_tokens":1}}"#, &stamp()).expect("an object");
    assert_eq!(
        String::from_utf8_lossy(&told),
        r#"{"model":"acme/c","content":[ ],"usage":{"input_tokens":1,"cost_usd":"0.000002"}}"#
    );
    assert_eq!(relay(b"1", &stamp()), None);
}
