//! The cases: what the pure half of the worker does for a request, piece by piece. `main.rs` times them natively, `worker.js` runs
//! them in workerd.
use megarouter::{
    access::KeyKind,
    account::{
        Account, Led, Terms,
        letter::{
            self, AdminAsk, Answer as Told, Bid, Caller, HoldLetter, KeySpec, Letter, MadeKey, NewCredit, NewKey,
            Organization, PostLetter, PostOutcome,
        },
    },
    analysis::analyse,
    body::Body,
    catalog::{Catalog, Deployment, Dialect, When},
    chat,
    dialect::{Order, downstream, upstream},
    endpoint::Overrides,
    endpoint::Surface,
    id::{self, Dice},
    ledger::CallRecord,
    money::Nanos,
    price,
    route::{Allowed, Question, plan},
    usage::Usage,
    world::World,
};
use std::{hint::black_box, rc::Rc};

mod play;
#[cfg(target_arch = "wasm32")]
mod worker;

use play::{Answer, NOW, inbound, play, world};

/// A function to time. One run of it does `of` pieces of work.
pub struct Case {
    pub name: &'static str,
    pub of: u32,
    pub run: Box<dyn FnMut()>,
}

/// Content chunks of a stream; so many that its ends do not count.
const CHUNKS: u32 = 1_000;

pub fn cases() -> Vec<Case> {
    let world = Rc::new(world());
    let mut cases = requests(&world);
    cases.extend(choices(&world));
    cases.extend(exchanges(&world));
    cases.push(account());
    cases
}

/// A chat request of about so many bytes, in twelve turns, with one tool.
fn chat_body(model: &str, bytes: usize, stream: &str) -> String {
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(bytes / 12 / 45);
    let turns: Vec<String> = (0..12)
        .map(|turn| format!(r#"{{"role":"{}","content":"{text}"}}"#, if turn % 2 == 0 { "user" } else { "assistant" }))
        .chain([r#"{"role":"user","content":"And now?"}"#.into()])
        .collect();
    format!(
        r#"{{"model":"{model}","messages":[{}],"temperature":0.2,"max_tokens":500{stream},"tools":[{{"type":"function","function":
        {{"name":"find","description":"Finds a place.","parameters":{{"type":"object","properties":{{"q":{{"type":"string"}}}}}}}}}}]}}"#,
        turns.join(",")
    )
}

/// The first deployment of a dialect that offers tools: no case depends on a model's name.
fn deployment(world: &World, dialect: Dialect) -> Rc<Deployment> {
    let fits = |one: &&Rc<Deployment>| one.provider.dialect == dialect && one.can(megarouter::catalog::Ability::Tools);
    Rc::clone(world.catalog.deployments().iter().find(fits).expect("the catalog has one"))
}

fn decoded(text: &str) -> (Body, chat::Request) {
    let body = Body::parse(text.into()).expect("a body");
    let request = downstream(Surface::ChatCompletions).decode_request(&body).expect("a request");
    (body, request)
}

fn requests(world: &World) -> Vec<Case> {
    let openai = upstream(Dialect::OpenaiChat);
    let text = chat_body("m", 16_384, "");
    let (body, request) = decoded(&text);
    let (same, other) = (deployment(world, Dialect::OpenaiChat), deployment(world, Dialect::Anthropic));
    let (asked, encoded, signalled, prior) = (request.clone(), request.clone(), request, Rc::clone(&world.prior));
    vec![
        Case { name: "decode a 16 kB request", of: 1, run: Box::new(move || drop(black_box(decoded(&text)))) },
        Case {
            name: "read its signals",
            of: 1,
            run: Box::new(move || {
                black_box(analyse(&signalled, &Overrides::default(), &prior));
            }),
        },
        Case {
            name: "forward it, same dialect",
            of: 1,
            run: Box::new(move || {
                drop(black_box(openai.forward(&body, &asked, &Order { deployment: &same, max_output_tokens: 500 })));
            }),
        },
        Case {
            name: "encode it for Anthropic",
            of: 1,
            run: Box::new(move || {
                let order = Order { deployment: &other, max_output_tokens: 500 };
                drop(black_box(upstream(Dialect::Anthropic).encode_request(&encoded, &order)));
            }),
        },
    ]
}

fn planned(world: &World, request: &chat::Request, model: &str) {
    let (overrides, allowed) = (Overrides::default(), Allowed::default());
    let signals = analyse(request, &overrides, &world.prior);
    let question = Question {
        model,
        signals: &signals,
        overrides: &overrides,
        allowed: &allowed,
        output_cap: Some(500),
        surface: Surface::ChatCompletions,
        stream: false,
        checks: megarouter::quality::Checks::default(),
        when: When::default(),
        seed: 1,
        now: NOW,
    };
    black_box(plan(&question, world, &mut Dice::new(1)).expect("a plan"));
}

fn choices(world: &Rc<World>) -> Vec<Case> {
    let (_, request) = decoded(&chat_body("m", 1_000, ""));
    let deployment = deployment(world, Dialect::OpenaiChat);
    let (one, any, id) = (Rc::clone(world), Rc::clone(world), deployment.id.clone());
    let named = request.clone();
    let parse = || {
        black_box(Catalog::bundled().expect("valid"));
    };
    vec![
        Case { name: "open the catalog", of: 1, run: Box::new(parse) },
        Case { name: "plan a named model", of: 1, run: Box::new(move || planned(&one, &named, &id)) },
        Case { name: "plan auto, whole catalog", of: 1, run: Box::new(move || planned(&any, &request, "auto")) },
        Case {
            name: "quote and charge",
            of: 1,
            run: Box::new(move || {
                let usage = Usage { input: 900, cache_read: 100, output: black_box(500), ..Usage::default() };
                black_box((
                    price::quote(&deployment.rates, When::default(), 1_000, 500),
                    price::charge(&deployment.rates, When::default(), &usage),
                ));
            }),
        },
    ]
}

fn exchanges(world: &Rc<World>) -> Vec<Case> {
    let (same, other) = (deployment(world, Dialect::OpenaiChat), deployment(world, Dialect::Anthropic));
    let case = |name, of, model: &str, stream: &str, answer: Answer| {
        let (world, inbound) = (Rc::clone(world), inbound(&chat_body(model, 1_000, stream)));
        Case { name, of, run: Box::new(move || play(inbound.clone(), &world, &answer)) }
    };
    let with_usage = r#","stream":true,"stream_options":{"include_usage":true}"#;
    vec![
        case("a whole call, same dialect", 1, &same.id, "", chat_answer()),
        case("a chunk, metered after the pipe", CHUNKS, &same.id, with_usage, chat_stream()),
        case("a chunk, pumped verbatim", CHUNKS, &same.id, r#","stream":true"#, chat_stream()),
        case("a chunk, translated from Anthropic", CHUNKS, &other.id, with_usage, anthropic_stream()),
    ]
}

fn chat_answer() -> Answer {
    let text = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1790000000,"model":"m","choices":[{"index":0,"message":
        {"role":"assistant","content":"Hello there.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":
        {"prompt_tokens":12,"completion_tokens":8,"total_tokens":20}}"#;
    Answer { content_type: "application/json", pieces: vec![text.into()] }
}

fn chat_stream() -> Answer {
    let piece = |choices: &str, usage: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"m\",\
             \"choices\":{choices},\"usage\":{usage}}}\n\n"
        )
    };
    let chunk =
        piece(r#"[{"index":0,"delta":{"content":" word or two"},"logprobs":null,"finish_reason":null}]"#, "null");
    let end = piece(r#"[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]"#, "null");
    let usage = piece("[]", r#"{"prompt_tokens":12,"completion_tokens":1000,"total_tokens":1012}"#);
    let mut pieces = vec![chunk.into_bytes(); CHUNKS as usize];
    pieces.extend([end, usage, "data: [DONE]\n\n".into()].map(String::into_bytes));
    Answer { content_type: "text/event-stream", pieces }
}

fn anthropic_stream() -> Answer {
    let piece = |kind: &str, rest: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n").into_bytes();
    let start = r#","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,
        "stop_sequence":null,"usage":{"input_tokens":12,"output_tokens":1}}"#;
    // A line end inside data would end the field.
    let start = start.replace('\n', "");
    let mut pieces = vec![
        piece("message_start", &start),
        piece("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
    ];
    let chunk = piece("content_block_delta", r#","index":0,"delta":{"type":"text_delta","text":" word or two"}"#);
    pieces.extend(std::iter::repeat_n(chunk, CHUNKS as usize));
    pieces.extend([
        piece("content_block_stop", r#","index":0"#),
        piece(
            "message_delta",
            r#","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":1000}"#,
        ),
        piece("message_stop", ""),
    ]);
    Answer { content_type: "text/event-stream", pieces }
}

/// Hold and post, from letter bytes to answer bytes, with the journal taking what waits. The object's SQL is not in it.
fn account() -> Case {
    let (admin, key) = (new_key("key_admin", KeyKind::Admin), new_key("key_a", KeyKind::Inference));
    let caller = |key: &NewKey| Caller { key_id: key.id.clone(), digest: key.digest.clone(), kind: key.kind };
    let (boss, user) = (caller(&admin), caller(&key));
    let terms = Terms {
        hold_settle_ms: 1_200_000,
        outbox_flush_ms: 1_000,
        claim_after_ms: 21_600_000,
        private_upstreams: false,
    };
    let mut account = Account::load(terms, Vec::new(), Vec::new()).expect("an empty account");
    let organization = Organization { id: "org_a".into(), name: "A".into(), ..Organization::default() };
    let credit = NewCredit {
        id: id::mint("crd", NOW, 0),
        amount: Nanos(1_000_000_000_000_000),
        reason: "bench".into(),
        ..NewCredit::default()
    };
    account.turn(Letter::Found { organization, admin_key: admin, credit: Some(credit), owner: None }, NOW);
    let NewKey { id, digest, redacted, kind, .. } = key;
    let ask = AdminAsk {
        method: "POST".into(),
        path: "/admin/v1/api_keys".into(),
        body: r#"{"name":"a"}"#.into(),
        keys: vec![MadeKey { id, kind, digest, redacted }],
        ..AdminAsk::default()
    };
    account.turn(Letter::Admin { caller: boss, ask }, NOW);
    let mut call = 0_u64;
    let run = move || {
        call += 1;
        let now = NOW.after(call);
        let request_id = id::mint("req", now, 0);
        let bids =
            vec![Bid { provider: "mock".into(), model: "mock".into(), amount: Nanos(8_192_000), least: Nanos::ZERO }];
        let hold = HoldLetter {
            request_id: request_id.clone(),
            caller: user.clone(),
            tenant_version: 0,
            bids,
            tokens: 600,
            dry: false,
            session: String::new(),
            policies_version: 0,
            taught: String::new(),
            draws: String::new(),
            claim: None,
        };
        let held = answered(&mut account, &Letter::Hold(hold), now);
        assert!(matches!(held, Told::Held(_)), "{held:?}");
        let record = CallRecord { api_key_id: user.key_id.clone(), status: 200, ..CallRecord::default() };
        let outcome = PostOutcome::Charge(Nanos(28_000));
        let post = PostLetter {
            request_id,
            held_at: None,
            outcome,
            call: record,
            tokens: 20,
            others: Vec::new(),
            observed: String::new(),
            paid: None,
        };
        assert_eq!(answered(&mut account, &Letter::Post(post), now), Told::Posted);
        let due = account.due(now).last().map(|entry| entry.seq);
        if let Some(last) = due {
            black_box(account.journaled(last, now));
        }
    };
    Case { name: "an account's hold and post", of: 1, run: Box::new(run) }
}

fn new_key(id: &str, kind: KeyKind) -> NewKey {
    NewKey { id: id.into(), digest: "0".repeat(64), redacted: "mr_…".into(), kind, spec: KeySpec::default() }
}

fn answered(account: &mut Account, letter: &Letter, now: megarouter::time::Millis) -> Told {
    let letter = letter::read(&letter::write(letter)).expect("a letter");
    let Led { answer, writes } = account.turn(letter, now).into_inner();
    black_box(writes);
    letter::read(&letter::write(&answer)).expect("an answer")
}
