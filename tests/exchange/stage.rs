//! The stage: a small world, the calls made in it, what its providers say, and the words a story is told in.
use megarouter::{
    access::{self, Key, KeyKind, Tenant},
    account::letter::{Bid, ExtendLetter, Grant, PostLetter, PostOutcome, Refusal},
    catalog::Catalog,
    endpoint::{Headers, Surface},
    exchange::{
        Exchange, Inbound,
        event::{Effect, Event, Head, PipeEnd, Reply, ReplyBody, Timer},
    },
    health::Outcome,
    money::Nanos,
    payment::{self, Payment, Scheme, asset::network_of, evm::Address, facilitator::Known},
    time::Millis,
    world::{Credential, Reach, Settings, World},
};
use serde_json::{Value, json};
use std::rc::Rc;

pub const REQUEST: &str = "req_01kayz0000000000000000000r";
pub const MORNING: Millis = Millis(1_795_562_448_000);
const ORG: &str = "org_01kayz0000000000000000000a";
const KEY: &str = "key_01kayz0000000000000000000b";

/// Four providers of one model: two of each dialect, one of which stops billing when the connection is closed.
pub const CATALOG: &str = r#"{"version":1,"providers":[
    {"id":"alpha","name":"Alpha","dialect":"openai_chat","base_url":"https://alpha.test","credential":"A","abort_stops_billing":"yes"},
    {"id":"beta","name":"Beta","dialect":"openai_chat","base_url":"https://beta.test","credential":"B","abort_stops_billing":"no"},
    {"id":"gamma","name":"Gamma","dialect":"anthropic","base_url":"https://gamma.test","credential":"C","abort_stops_billing":"yes"},
    {"id":"delta","name":"Delta","dialect":"anthropic","base_url":"https://delta.test","credential":"D"}],
    "models":[
    {"provider":"alpha","id":"m","context_length":200000,"max_output_tokens":100000,"input_usd_per_mtok":"1","output_usd_per_mtok":"2"},
    {"provider":"beta","id":"m","context_length":200000,"max_output_tokens":100000,"input_usd_per_mtok":"1","output_usd_per_mtok":"2"},
    {"provider":"gamma","id":"m","context_length":200000,"max_output_tokens":100000,"input_usd_per_mtok":"1","output_usd_per_mtok":"2"},
    {"provider":"delta","id":"m","context_length":200000,"max_output_tokens":100000,"input_usd_per_mtok":"1","output_usd_per_mtok":"2"}]}"#;

pub const PROVIDERS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

thread_local! {
    static WORLD: World = World {
        catalog: Rc::new(Catalog::parse(CATALOG).expect("the catalog is valid")),
        settings: Rc::new(Settings {
            reach: PROVIDERS.map(|id| (id.to_owned(), reach(id))).into_iter().collect(),
            x402: Some(Rc::new(payment_terms())),
        }),
        ..World::default()
    };
}

fn reach(provider: &str) -> Reach {
    let credential = Credential::Named(provider.to_uppercase());
    Reach { base_url: format!("https://{provider}.test"), credentials: vec![credential] }
}

// The caller.

/// A call, as its caller would put it.
#[derive(Clone, Debug)]
pub struct Ask {
    pub surface: Surface,
    pub key: Option<String>,
    pub stream: bool,
    /// Ask for usage at the end of a stream (chat completions only; messages always have it).
    pub usage: bool,
    pub output_tokens: u64,
    /// How many answers (chat completions only; no member of other endpoints).
    pub answers: u32,
    /// The model asked for, and the members of `megarouter`.
    pub model: String,
    pub wishes: Value,
    /// Further members of the body.
    pub more: Value,
    /// What pays for it, where no key does.
    pub pays: Option<Payment>,
}

/// A keyed call that goes to these providers, in this order.
pub fn call(surface: Surface, providers: &[&str]) -> Ask {
    let key = Key::mint(KeyKind::Inference, ORG, KEY, [7; 20], b"pepper");
    Ask {
        surface,
        key: Some(key.reveal().to_owned()),
        stream: false,
        usage: false,
        output_tokens: 1_000,
        answers: 1,
        model: "m".to_owned(),
        wishes: json!({"providers": {"only": providers, "order": providers}}),
        more: json!({}),
        pays: None,
    }
}

pub fn chat(providers: &[&str]) -> Ask {
    call(Surface::ChatCompletions, providers)
}

pub fn messages(providers: &[&str]) -> Ask {
    call(Surface::Messages, providers)
}

impl Ask {
    pub fn streamed(self) -> Self {
        Self { stream: true, ..self }
    }

    pub fn answers(self, answers: u32) -> Self {
        Self { answers, ..self }
    }

    pub fn with_usage(self) -> Self {
        Self { usage: true, ..self }
    }

    /// An answer that may be too long to be kept: it is pumped, not piped.
    pub fn long(self) -> Self {
        Self { output_tokens: 50_000, ..self }
    }

    pub fn keyed(self, key: Option<&str>) -> Self {
        Self { key: key.map(str::to_owned), ..self }
    }

    /// The same call of who has no key, and pays for it.
    pub fn paid(self, scheme: Scheme, units: u64) -> Self {
        let pays = Payment {
            scheme,
            network: "eip155:84532".to_owned(),
            units,
            nonce: "n".to_owned(),
            valid_before: MORNING.seconds() + 900,
            version: 2,
            payload: "{}".to_owned(),
            requirements: "{}".to_owned(),
            facilitators: if scheme == Scheme::Upto { vec![FACILITATORS[0].to_owned()] } else { Vec::new() },
            ..Payment::default()
        };
        Self { key: None, pays: Some(pays), ..self }
    }

    pub fn wishing(mut self, member: &str, value: Value) -> Self {
        self.wishes[member] = value;
        self
    }

    pub fn inbound(&self) -> Inbound {
        let mut body = json!({"model": self.model, "messages": [{"role": "user", "content": "Say hello."}],
            "stream": self.stream, "megarouter": self.wishes});
        let (path, bound) = match self.surface {
            Surface::ChatCompletions => ("/v1/chat/completions", "max_completion_tokens"),
            Surface::Messages => ("/v1/messages", "max_tokens"),
            Surface::Responses => ("/v1/responses", "max_output_tokens"),
            Surface::Completions => ("/v1/completions", "max_tokens"),
            Surface::Embeddings => ("/v1/embeddings", "max_tokens"),
        };
        if self.surface == Surface::Responses {
            body["input"] = "Say hello.".into();
        }
        body[bound] = self.output_tokens.into();
        if self.answers > 1 {
            body["n"] = self.answers.into();
        }
        if self.usage && self.surface == Surface::ChatCompletions {
            body["stream_options"] = json!({"include_usage": true});
        }
        for (name, value) in self.more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        Inbound {
            surface: self.surface,
            url: format!("https://edge.test{path}"),
            headers: Headers::default(),
            knock: access::knock(self.key.as_deref(), b"pepper"),
            body: body.to_string().into_bytes(),
            request_id: REQUEST.to_owned(),
            purse: payment::Purse {
                payment: self.pays.clone(),
                target: format!("POST {path}"),
                body_hash: "ab".repeat(32),
                ..payment::Purse::default()
            },
        }
    }
}

/// Who settles, in the order they are asked.
pub const FACILITATORS: [&str; 2] = ["https://facilitator.test", "https://second.test"];

/// Base Sepolia, and a facilitator that settles `upto` too.
pub fn payment_terms() -> payment::Terms {
    let mut known = Known::default();
    let facilitator = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    let extra = json!({"facilitatorAddress": facilitator});
    known.learn(FACILITATORS[0], &json!({"kinds": [{"scheme": "upto", "network": "eip155:84532", "extra": extra}]}));
    payment::Terms {
        networks: network_of("eip155:84532").into_iter().collect(),
        pay_to: Address::parse("0x90F79bf6EB2c4f870365E785982E1f101E93b906").expect("an address"),
        facilitators: FACILITATORS.map(str::to_owned).to_vec(),
        rpc_urls: Vec::new(),
        authorizers: Vec::new(),
        secret: [7; 32],
        known,
    }
}

/// A call opened in the world of this stage.
pub fn open(ask: &Ask, seed: u64) -> (Exchange, Vec<Effect>) {
    Exchange::open(ask.inbound(), world(), MORNING, seed)
}

/// A world in which nothing has happened yet.
pub fn world() -> World {
    World { retries: Rc::default(), ..WORLD.with(World::clone) }
}

// The account.

pub fn held(places: &[usize]) -> Event {
    Event::Held(Grant { amount: Nanos(10_000_000), allowed: places.to_vec(), ..Grant::default() })
}

/// New rows of the organisation, in which `fast` is a route to a provider.
pub fn stale(version: u64, provider: &str) -> Event {
    let route = json!({"targets": [{"provider": provider, "model": "m"}]});
    let rows = json!({"organization": ORG, "version": version, "providers": {}, "routes": {"fast": route}});
    let tenant: Tenant = megarouter::json::from_value(rows).expect("rows of an organisation");
    Event::Refused(Refusal::Stale(Box::new(tenant)))
}

pub fn not_allowed(models: Option<&[&str]>, providers: Option<&[&str]>) -> Event {
    let owned = |names: Option<&[&str]>| names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    Event::Refused(Refusal::NotAllowed { models: owned(models), providers: owned(providers) })
}

// The providers.

pub const SSE: &str = "text/event-stream; charset=utf-8";
pub const JSON: &str = "application/json";

pub fn head(attempt: usize, status: u16, content_type: &str) -> Event {
    let head = Head { status, content_type: content_type.to_owned(), ..Head::default() };
    Event::Head { attempt, head }
}

pub fn bytes(attempt: usize, bytes: impl AsRef<[u8]>) -> Event {
    Event::Bytes { attempt, bytes: bytes.as_ref().to_vec() }
}

pub fn whole(attempt: usize, bytes: impl AsRef<[u8]>) -> Event {
    Event::Whole { attempt, bytes: bytes.as_ref().to_vec() }
}

pub fn piped(attempt: usize, bytes: impl AsRef<[u8]>, end: PipeEnd) -> Event {
    Event::Piped { attempt, bytes: bytes.as_ref().to_vec(), end }
}

/// What a provider's stream consists of, frame by frame.
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    pub opening: &'static str,
    pub hello: &'static str,
    pub world: &'static str,
    pub finish: &'static str,
    pub usage: &'static str,
    pub end: &'static str,
    pub fault: &'static str,
}

impl Frames {
    /// From the second word on.
    pub fn rest(&self) -> String {
        [self.world, self.finish, self.usage, self.end].concat()
    }

    pub fn all(&self) -> String {
        [self.opening, self.hello, &self.rest()].concat()
    }
}

macro_rules! chunk {
    ($rest:literal) => {
        concat!(
            "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",",
            $rest,
            "}\n\n"
        )
    };
}

pub const CHAT: Frames = Frames {
    opening: chunk!(
        r#""choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null"#
    ),
    hello: chunk!(r#""choices":[{"index":0,"delta":{"content":"Hello, "},"finish_reason":null}],"usage":null"#),
    world: chunk!(r#""choices":[{"index":0,"delta":{"content":"world."},"finish_reason":null}],"usage":null"#),
    finish: chunk!(r#""choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null"#),
    usage: chunk!(r#""choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}"#),
    end: "data: [DONE]\n\n",
    fault: "data: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\",\"code\":500}}\n\n",
};

pub const MESSAGES: Frames = Frames {
    opening: concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",",
        "\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    ),
    hello: "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello, \"}}\n\n",
    world: "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"world.\"}}\n\n",
    finish: "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    usage: "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":4}}\n\n",
    end: "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    fault: "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"boom\"}}\n\n",
};

pub const CHAT_WHOLE: &str = r#"{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello, world."},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}"#;
pub const MESSAGES_WHOLE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"Hello, world."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":4}}"#;
/// 9 tokens in at $1 and 4 out at $2 per million.
pub const COST: &str = "0.000017";

/// What a provider speaks, by the address it is called at.
pub fn speaks_chat(url: &str) -> bool {
    url.starts_with("https://alpha.") || url.starts_with("https://beta.")
}

// The story.

/// An exchange and what it did, told step by step.
pub struct Story {
    exchange: Exchange,
    now: Millis,
    last: Vec<Effect>,
    all: Vec<Effect>,
}

impl Story {
    pub fn opens(ask: &Ask) -> Self {
        Self::opens_in(ask, world())
    }

    pub fn opens_in(ask: &Ask, world: World) -> Self {
        Self::drawn(ask, world, 7)
    }

    pub fn drawn(ask: &Ask, world: World, seed: u64) -> Self {
        let (exchange, effects) = Exchange::open(ask.inbound(), world, MORNING, seed);
        Self { exchange, now: MORNING, all: effects.clone(), last: effects }
    }

    pub fn hears(mut self, event: Event) -> Self {
        self.last = self.exchange.on(event, self.now);
        self.all.extend(self.last.iter().cloned());
        self
    }

    pub fn after(mut self, ms: u64) -> Self {
        self.now = self.now.after(ms);
        self
    }

    pub fn elapses(self, timer: Timer) -> Self {
        self.hears(Event::Elapsed(timer))
    }

    /// What the last event led to.
    pub fn does(self, words: &[&str]) -> Self {
        // What a prompt had in tokens is learned beside every charge: no story is about that.
        let told: Vec<String> = self.last.iter().map(told).filter(|words| !words.ends_with(" counted")).collect();
        assert_eq!(told, words, "in {}", self.exchange.phase());
        self
    }

    pub fn is(self, phase: &str) -> Self {
        assert_eq!(self.exchange.phase(), phase);
        self
    }

    /// The ways up to an answer's head.
    pub fn sent(ask: &Ask, places: &[usize]) -> Self {
        Self::opens(ask).hears(held(places)).is("Attempting")
    }

    /// Up to the first content of a stream.
    pub fn streaming(ask: &Ask, frames: &Frames) -> Self {
        let story = Self::sent(ask, &[0]).hears(head(0, 200, SSE)).hears(bytes(0, frames.opening));
        story.hears(bytes(0, frames.hello)).is("Relaying")
    }

    pub fn reply(&self) -> &Reply {
        let reply = self.all.iter().find_map(|effect| match effect {
            Effect::Reply(reply) => Some(reply),
            _ => None,
        });
        reply.expect("an answer was given")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.reply().headers.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The whole answer.
    pub fn body(&self) -> Value {
        match &self.reply().body {
            ReplyBody::Whole(bytes) => serde_json::from_slice(bytes).expect("JSON"),
            ReplyBody::Stream => panic!("the answer is a stream"),
        }
    }

    /// Everything the caller was streamed by us.
    pub fn text(&self) -> String {
        self.all.iter().filter_map(chunk).map(String::from_utf8_lossy).collect()
    }

    /// What the last wish for a larger hold was.
    pub fn extended(&self) -> ExtendLetter {
        let letter = self.all.iter().rev().find_map(|effect| match effect {
            Effect::Extend(letter) => Some(letter.clone()),
            _ => None,
        });
        letter.expect("more was asked for")
    }

    /// What was bid when the hold was asked for.
    pub fn held_for(&self) -> Vec<Bid> {
        let letter = self.all.iter().find_map(|effect| match effect {
            Effect::Hold(letter) => Some(letter.bids.clone()),
            _ => None,
        });
        letter.expect("a hold was asked for")
    }

    /// Whom it asked about its payment.
    pub fn pays(&self) -> Vec<String> {
        let url = |effect: &Effect| match effect {
            Effect::Pay(call) => Some(call.url.clone()),
            _ => None,
        };
        self.all.iter().filter_map(url).collect()
    }

    /// The body an attempt was made with.
    pub fn sent_body(&self, number: usize) -> Value {
        let sent = self.all.iter().find_map(|effect| match effect {
            Effect::Send { attempt, call } if *attempt == number => serde_json::from_slice(&call.body).ok(),
            _ => None,
        });
        sent.expect("an attempt of that number")
    }

    /// The text the caller was streamed, of chat completions.
    pub fn said(&self) -> String {
        let text = self.text();
        let frames = text.split("\n\n").filter_map(|frame| frame.trim_start().strip_prefix("data: "));
        let chunks = frames.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        chunks.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
    }

    /// The credential an attempt was made with.
    pub fn credential(&self, number: usize) -> Credential {
        let sent = self.all.iter().find_map(|effect| match effect {
            Effect::Send { attempt, call } if *attempt == number => Some(call.credential.clone()),
            _ => None,
        });
        sent.expect("an attempt of that number")
    }

    /// What was noted last.
    pub fn noted(&self) -> megarouter::health::Sample {
        let noted = self.all.iter().rev().find_map(|effect| match effect {
            Effect::Note(sample) => Some(sample.clone()),
            _ => None,
        });
        noted.expect("something was noted")
    }

    /// What was posted last.
    pub fn posted(&self) -> &PostLetter {
        self.posting().0
    }

    /// What was posted last, and the request whose hash it is to carry.
    pub fn posting(&self) -> (&PostLetter, Option<&str>) {
        let posting = self.all.iter().rev().find_map(|effect| match effect {
            Effect::Post { letter, request } => Some((&**letter, request.as_ref().map(|body| body.text()))),
            _ => None,
        });
        posting.expect("a posting was made")
    }

    /// How long a timer was last set to.
    pub fn waits(&self, timer: Timer) -> Option<u64> {
        self.all.iter().rev().find_map(|effect| match effect {
            Effect::Wait { timer: set, ms } if *set == timer => Some(*ms),
            _ => None,
        })
    }

    pub fn did(&self, words: &str) -> usize {
        self.all.iter().filter(|effect| told(effect).starts_with(words)).count()
    }
}

pub fn chunk(effect: &Effect) -> Option<&[u8]> {
    match effect {
        Effect::Chunk(bytes) => Some(bytes),
        _ => None,
    }
}

/// An effect in a few words.
pub fn told(effect: &Effect) -> String {
    match effect {
        Effect::Hold(letter) if letter.dry => "Hold dry".to_owned(),
        Effect::Hold(letter) => format!("Hold for {}", letter.bids.len()),
        Effect::Extend(_) => "Extend".to_owned(),
        Effect::Send { attempt, call } => {
            let host = call.url.trim_start_matches("https://").split('.').next().unwrap_or_default();
            format!("Send {attempt} to {host}")
        }
        Effect::Wait { timer, .. } => format!("Wait {timer:?}"),
        Effect::Read { attempt, whole: true } => format!("Read {attempt} whole"),
        Effect::Read { attempt, .. } => format!("Read {attempt}"),
        Effect::Pipe { attempt, .. } => format!("Pipe {attempt}"),
        Effect::Abort { attempt } => format!("Abort {attempt}"),
        Effect::Reply(Reply { status, body: ReplyBody::Stream, .. }) => format!("Reply {status} stream"),
        Effect::Reply(Reply { status, .. }) => format!("Reply {status}"),
        Effect::Chunk(_) => "Chunk".to_owned(),
        Effect::Finish => "Finish".to_owned(),
        Effect::Pay(call) => format!("Pay {}", call.url.rsplit('/').next().unwrap_or_default()),
        Effect::Post { letter, .. } => match letter.outcome {
            PostOutcome::Void => "Post void".to_owned(),
            PostOutcome::Charge(cost) => format!("Post {cost}"),
            PostOutcome::Suspense { metered } => format!("Post suspense {metered}"),
        },
        Effect::Note(sample) => match sample.outcome {
            Outcome::Answered { .. } | Outcome::AnsweredWhole { .. } => format!("Note {} good", sample.deployment),
            Outcome::Failed { .. } => format!("Note {} bad", sample.deployment),
            Outcome::Unjudged => format!("Note {} unjudged", sample.deployment),
            Outcome::Outrun { .. } => format!("Note {} slow", sample.deployment),
            Outcome::Probed => format!("Note {} probed", sample.deployment),
            Outcome::Wrote { .. } => format!("Note {} wrote", sample.deployment),
            Outcome::Counted { .. } => format!("Note {} counted", sample.deployment),
        },
    }
}
