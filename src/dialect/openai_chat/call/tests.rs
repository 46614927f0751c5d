use super::{
    super::{fixtures::*, request},
    *,
};
use crate::chat::{CacheMark, Media, Part, Role};

fn forwarded(text: &str, quirks: &str, supports: &str) -> Value {
    let (deployment, body) = (deployment(quirks, supports), body(text));
    let request = request::decode(&body).expect("valid");
    json(&forward(&body, &request, &Order { deployment: &deployment, max_output_tokens: 50 }).expect("sayable").body)
}

fn encoded(request: &Request, quirks: &str) -> Result<Value, Fault> {
    let deployment = deployment(quirks, r#"["reasoning","tools"]"#);
    encode(request, &Order { deployment: &deployment, max_output_tokens: 50 }).map(|call| json(&call.body))
}

#[test]
fn what_need_not_change_is_copied() {
    let text = r#"{"model":"x","messages" : [ {"role":"user","content":"a\u00e9","odd":1.50} ],"extra":{"a":1e3},"megarouter":{},"models":[],"provider":{}}"#;
    let (deployment, body) = (deployment("[]", "[]"), body(text));
    let request = request::decode(&body).expect("valid");
    let call = forward(&body, &request, &Order { deployment: &deployment, max_output_tokens: 50 }).expect("sayable");
    assert_eq!(
        String::from_utf8_lossy(&call.body),
        r#"{"model":"m-1","messages":[ {"role":"user","content":"a\u00e9","odd":1.50} ],"extra":{"a":1e3},"max_completion_tokens":50}"#
    );
    assert_eq!((call.path.as_str(), call.headers.len()), ("/chat/completions", 0));
}

#[test]
fn usage_is_always_asked_for() {
    const HI: &str = r#""model":"x","messages":[{"role":"user","content":"a"}]"#;
    let asked =
        |members: &str, quirks| forwarded(&format!("{{{HI},{members}}}"), quirks, "[]")["stream_options"].clone();
    assert_eq!(asked(r#""stream":true"#, "[]"), json!({"include_usage": true}));
    let merged = asked(r#""stream":true,"stream_options":{"include_usage":false,"include_obfuscation":false}"#, "[]");
    assert_eq!(merged, json!({"include_usage": true, "include_obfuscation": false}));
    assert_eq!(asked(r#""stream":true,"stream_options":{}"#, r#"["no_stream_options"]"#), Value::Null);
    assert_eq!(asked(r#""stream_options":{"include_usage":true}"#, "[]"), Value::Null, "refused without a stream");
}

#[test]
fn quirks_change_what_a_deployment_refuses() {
    const ALL: &str = r#"{"model":"x","messages":[{"role":"user","content":"a"}],"max_tokens":9,"max_completion_tokens":8,
        "temperature":1,"top_p":1,"stop":[],"presence_penalty":1,"frequency_penalty":1,"logit_bias":{},"logprobs":false,
        "top_logprobs":0,"prediction":{"type":"content","content":"p"},"service_tier":"standard","store":true,"metadata":{},"reasoning_effort":"high","seed":3,"tool_choice":"required",
        "tools":[{"type":"function","function":{"name":"f"}}]}"#;
    let gone = |quirk: &str, names: &[&str]| {
        let told = forwarded(ALL, &format!("[\"{quirk}\"]"), r#"["reasoning"]"#);
        for name in names {
            assert!(told.get(*name).is_none(), "{quirk} {name}");
        }
        told
    };
    assert_eq!(gone("max_tokens", &["max_completion_tokens"])["max_tokens"], 50);
    assert_eq!(gone("no_sampling", &["temperature", "top_p"])["max_completion_tokens"], 50);
    gone("one_sampling", &["top_p"]);
    gone("no_stop", &["stop", "max_tokens", "prediction", "service_tier"]);
    gone("no_penalties", &["presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"]);
    gone("no_store", &["store", "metadata"]);
    gone("no_reasoning_effort", &["reasoning_effort"]);
    assert_eq!(gone("random_seed", &["seed"])["random_seed"], 3);
    assert_eq!(gone("no_forced_tool", &[])["tool_choice"], "auto");
    assert_eq!(gone("tools_without_reasoning", &[])["reasoning_effort"], "none");
    assert!(forwarded(ALL, "[]", "[]").get("reasoning_effort").is_none(), "a model that does not reason");
}

#[test]
fn what_would_change_the_answer_is_refused() {
    let param = |members: &str, quirk: &str| {
        let body = body(&format!(r#"{{"model":"x","messages":[{{"role":"user","content":"a"}}],{members}}}"#));
        let (deployment, request) = (deployment(&format!("[{quirk:?}]"), "[]"), request::decode(&body).expect("valid"));
        let order = Order { deployment: &deployment, max_output_tokens: 50 };
        let told = forward(&body, &request, &order).err().and_then(|fault| fault.into_inner().param);
        assert_eq!(told, encode(&request, &order).err().and_then(|fault| fault.into_inner().param), "{members}");
        told.unwrap_or_default()
    };
    assert_eq!(param(r#""stop":["a"]"#, "no_stop"), "stop");
    assert_eq!(param(r#""logprobs":true"#, "no_penalties"), "logprobs");
    assert_eq!(param(r#""stop":"a","logprobs":true,"top_logprobs":2"#, "no_store"), "");
    assert_eq!(param(r#""stop":"","logprobs":false"#, "no_stop"), "");
    let mut many = Request::default();
    many.sampling.stop = (0..5).map(|n| n.to_string()).collect();
    assert_eq!(encoded(&many, "[]").expect_err("one too many").param.as_deref(), Some("stop"));
}

#[test]
fn only_messages_that_must_change_do() {
    const TALK: &str = r#"{"model":"x","messages":[{"role":"developer","content":"d","x":1.0},{"role":"user","content":"a"},
        {"role":"assistant","content":null,"reasoning":"why","tool_calls":[{"id":"call_abcdef","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"call_abcdef","content":"r"},{"role":"assistant","content":"pre"}]}"#;
    let told = |quirks| forwarded(TALK, quirks, "[]")["messages"].clone();
    assert_eq!(told("[]")[0]["role"], "developer");
    assert!(told("[]")[2].get("reasoning").is_none(), "most hosts refuse it");
    assert_eq!(told(r#"["no_developer_role"]"#)[0], json!({"role": "system", "content": "d", "x": 1.0}));
    let replayed = told(r#"["reasoning_replay"]"#);
    assert_eq!((&replayed[2]["reasoning_content"], &replayed[4]["reasoning_content"]), (&json!("why"), &json!("")));
    let nine = told(r#"["tool_id_9"]"#);
    let id = nine[2]["tool_calls"][0]["id"].as_str().expect("an id");
    assert!(id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()) && nine[3]["tool_call_id"] == id);
    assert_eq!(told(r#"["prefill_prefix"]"#)[4], json!({"role": "assistant", "content": "pre", "prefix": true}));
    assert!(told(r#"["prefill_prefix"]"#)[2].get("prefix").is_none());
}

#[test]
fn an_own_provider_gets_what_its_callers_write() {
    let mut own = (*deployment("[]", "[]")).clone();
    own.provider = std::rc::Rc::new(crate::catalog::Provider { credential: None, ..(*own.provider).clone() });
    let body = body(
        r#"{"model":"x","reasoning_effort":"low","messages":[{"role":"assistant","content":"a","reasoning":"r"},{"role":"user","content":"b"}]}"#,
    );
    let request = request::decode(&body).expect("valid");
    let told =
        json(&forward(&body, &request, &Order { deployment: &own, max_output_tokens: 5 }).expect("sayable").body);
    assert_eq!((&told["reasoning_effort"], &told["messages"][0]["reasoning"]), (&json!("low"), &json!("r")));
}

#[test]
fn results_come_first_and_nothing_beside_them_is_lost() {
    let image = Part::Image {
        source: Media::Base64 { media_type: "image/png".into(), data: "AA".into() },
        detail: None,
        cache: Some(CacheMark { ttl: None }),
    };
    let result =
        Part::ToolResult { id: "c1".into(), parts: vec![Part::text("4"), image], is_error: false, cache: None };
    let call = Part::ToolCall { id: "c1".into(), name: "f".into(), arguments: String::new() };
    let thought = Part::Reasoning { text: "hm".into(), signature: Some("s".into()) };
    let request = Request {
        messages: vec![
            said(Role::System, vec![Part::text("a"), Part::text("b")]),
            said(Role::User, vec![Part::text("go")]),
            said(Role::Assistant, vec![thought, call]),
            said(Role::User, vec![Part::text("and?"), result]),
        ],
        stream: true,
        effort: Some(Effort::Max),
        ..Request::default()
    };
    let told = encoded(&request, "[]").expect("sayable");
    assert_eq!(
        told["messages"],
        json!([
            {"role": "system", "content": "a\n\nb"},
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": null,
             "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "4"},
            {"role": "user", "content": [{"type": "text", "text": "and?"},
             {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]}
        ])
    );
    assert_eq!((&told["model"], &told["stream_options"]["include_usage"]), (&json!("m-1"), &json!(true)));
    assert_eq!((&told["reasoning_effort"], &told["max_completion_tokens"]), (&json!("high"), &json!(50)));
    let replayed = encoded(&request, r#"["reasoning_replay"]"#).expect("sayable");
    assert_eq!(replayed["messages"][2]["reasoning_content"], "hm");
}

#[test]
fn what_cannot_be_said_is_named() {
    let param = |request: &Request| encoded(request, "[]").expect_err("refused").into_inner().param.unwrap_or_default();
    let native = Request { tools: vec![Tool::Native(json!({"type": "web_search_20250305"}))], ..Request::default() };
    assert_eq!(param(&native), "tools[0].type");
    let file = Part::File { source: Media::Id("file_1".into()), name: None, cache: None };
    assert_eq!(
        param(&Request { messages: vec![said(Role::User, vec![file])], ..Request::default() }),
        "messages[0].content"
    );
}

#[test]
fn what_another_maker_signed_stays_here() {
    let told = forwarded(
        r#"{"model":"x","messages":[{"role":"user","content":"call__sig_QQ"},
        {"role":"assistant","content":null,"tool_calls":[{"id":"a__sig_QQ","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"a__sig_QQ","content":"r"}]}"#,
        "[]",
        "[]",
    );
    assert_eq!(
        (&told["messages"][1]["tool_calls"][0]["id"], &told["messages"][2]["tool_call_id"]),
        (&json!("a"), &json!("a"))
    );
    assert_eq!(told["messages"][0]["content"], "call__sig_QQ");
    let call = Part::ToolCall { id: "a__sig_QQ".into(), name: "f".into(), arguments: String::new() };
    let result = Part::ToolResult { id: "a__sig_QQ".into(), parts: vec![], is_error: false, cache: None };
    let messages = vec![said(Role::Assistant, vec![call]), said(Role::Tool, vec![result])];
    let told = encoded(&Request { messages, ..Request::default() }, "[]").expect("sayable");
    assert_eq!(
        (&told["messages"][0]["tool_calls"][0]["id"], &told["messages"][1]["tool_call_id"]),
        (&json!("a"), &json!("a"))
    );
}
