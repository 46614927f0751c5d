//! Calls one gateway in one way, and prints one JSON object of figures. `bench.mjs` decides what is called when.
//!
//!   client closed --url URL --connections 32 --seconds 0.6 --warm 0.2      as fast as answers come
//!   client open   --url URL --per-second 100 --seconds 1 --warm 0.2        at a fixed pace, whatever the answers do
//!   client stream --url URL --streams 8 --repeat 1 --mock n=500,g=2 --usage yes
//!   client start  --url URL -- PROGRAM ARGUMENT…       starts the program; how long until its first 200
//!
//! Everywhere: `--pid` of the process whose CPU time counts, `--key`, `--model`, `--prompt` bytes.
//! One thread and connections of its own: nothing is pooled behind our back.
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use load::{STAMP, STAMP_DIGITS, nanoseconds, now_ns};
use memchr::memmem;
use nix::{time::clock_getcpuclockid, unistd::Pid};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::task::{JoinSet, LocalSet};

/// Work that goes on after the answer (settling, closing) still belongs to it.
const SETTLE: Duration = Duration::from_millis(100);

struct Options(HashMap<String, String>);

impl Options {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn number(&self, name: &str, default: f64) -> f64 {
        self.text(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("--{name} {text} is no number")))
    }

    fn count(&self, name: &str, default: u32) -> u32 {
        self.text(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("--{name} {text} is no count")))
    }

    fn seconds(&self, name: &str, default: f64) -> Duration {
        Duration::from_secs_f64(self.number(name, default))
    }
}

/// Whom we call, with what.
struct Target {
    host: String,
    path: String,
    key: String,
    pid: Option<Pid>,
    body: Bytes,
    /// Whether the stream must end with usage, and must not where this is false.
    usage: bool,
}

impl Target {
    fn of(options: &Options, stream: bool, manner: &str) -> Self {
        let url = options.text("url").and_then(|url| url.strip_prefix("http://")).expect("--url http://…");
        let (host, path) = url.split_once('/').expect("a path in the URL");
        let usage = stream && options.text("usage") != Some("no");
        let filler = "The quick brown fox jumps over the lazy dog. ";
        let text: String =
            manner.chars().chain(filler.chars().cycle()).take(options.count("prompt", 200) as usize).collect();
        let mut body = json!({
            "model": options.text("model").unwrap_or("mock"),
            "messages": [{"role": "system", "content": "You are terse."}, {"role": "user", "content": text}],
        });
        if stream {
            body["stream"] = true.into();
        }
        if usage {
            body["stream_options"] = json!({"include_usage": true});
        }
        Self {
            host: host.to_owned(),
            path: format!("/{path}"),
            key: options.text("key").unwrap_or("none").to_owned(),
            pid: options.text("pid").map(|pid| Pid::from_raw(pid.parse().expect("--pid is a number"))),
            body: Bytes::from(body.to_string()),
            usage,
        }
    }

    fn request(&self) -> Request<Full<Bytes>> {
        Request::post(&self.path)
            .header("host", &self.host)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.key))
            .body(Full::new(self.body.clone()))
            .expect("a valid request")
    }

    /// CPU time of the gateway so far, in nanoseconds, ended threads included.
    fn cpu_ns(&self) -> u64 {
        self.pid.and_then(|pid| clock_getcpuclockid(pid).ok()).map_or(0, nanoseconds)
    }
}

type Sender = SendRequest<Full<Bytes>>;

async fn connect(host: &str) -> Result<Sender, String> {
    let socket = tokio::net::TcpStream::connect(host).await.map_err(|error| error.to_string())?;
    socket.set_nodelay(true).map_err(|error| error.to_string())?;
    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(|error| error.to_string())?;
    // Its end shows in the sender.
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(sender)
}

/// One whole answer over a kept connection, in milliseconds. Only a 200 with the provider's stamp counts.
async fn call(connection: &mut Option<Sender>, target: &Target) -> Result<f64, String> {
    let mut sender = match connection.take().filter(|sender| !sender.is_closed()) {
        Some(sender) => sender,
        None => connect(&target.host).await?,
    };
    sender.ready().await.map_err(|error| error.to_string())?;
    let begun = Instant::now();
    let response = sender.send_request(target.request()).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    let ms = milliseconds(begun.elapsed());
    if status != StatusCode::OK || memmem::find(&body, STAMP.as_bytes()).is_none() {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(300)])));
    }
    *connection = Some(sender);
    Ok(ms)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What concurrent callers found.
#[derive(Default)]
struct Tally {
    ms: Vec<f64>,
    errors: u64,
    first_error: Option<String>,
}

impl Tally {
    fn add(&mut self, result: Result<f64, String>) {
        match result {
            Ok(ms) => self.ms.push(ms),
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }
}

async fn call_until(target: &Rc<Target>, connections: u32, time: Duration) -> Tally {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let end = Instant::now() + time;
    let mut callers = JoinSet::new();
    for _ in 0..connections {
        let (target, tally) = (Rc::clone(target), Rc::clone(&tally));
        callers.spawn_local(async move {
            let mut connection = None;
            while Instant::now() < end {
                let result = call(&mut connection, &target).await;
                if result.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                tally.borrow_mut().add(result);
            }
        });
    }
    callers.join_all().await;
    tally.take()
}

async fn closed(options: &Options) -> Value {
    let target = Rc::new(Target::of(options, false, ""));
    let connections = options.count("connections", 32);
    call_until(&target, connections, options.seconds("warm", 0.2)).await;
    tokio::time::sleep(SETTLE).await;
    let (cpu, begun) = (target.cpu_ns(), Instant::now());
    let tally = call_until(&target, connections, options.seconds("seconds", 0.6)).await;
    let elapsed = begun.elapsed();
    tokio::time::sleep(SETTLE).await;
    let requests = tally.ms.len() as f64;
    json!({
        "requests": tally.ms.len(), "errors": tally.errors, "first_error": tally.first_error,
        "requests_per_s": requests / elapsed.as_secs_f64(),
        "cpu_ms_per_request": (target.cpu_ns() - cpu) as f64 / 1e6 / requests,
    })
}

async fn open(options: &Options) -> Value {
    let target = Rc::new(Target::of(options, false, ""));
    call_until(&target, 2, options.seconds("warm", 0.2)).await;
    let per_second = options.number("per-second", 100.0);
    let calls = (options.number("seconds", 1.0) * per_second) as u32;
    let tally = Rc::new(RefCell::new(Tally::default()));
    let idle = Rc::new(RefCell::new(Vec::new()));
    let begun = tokio::time::Instant::now();
    let mut callers = JoinSet::new();
    for place in 0..calls {
        tokio::time::sleep_until(begun + Duration::from_secs_f64(f64::from(place) / per_second)).await;
        let (target, tally, idle) = (Rc::clone(&target), Rc::clone(&tally), Rc::clone(&idle));
        callers.spawn_local(async move {
            let mut connection = idle.borrow_mut().pop();
            let result = call(&mut connection, &target).await;
            tally.borrow_mut().add(result);
            idle.borrow_mut().extend(connection);
        });
    }
    callers.join_all().await;
    let tally = tally.take();
    json!({"latency_ms": tally.ms, "errors": tally.errors, "first_error": tally.first_error})
}

/// What one stream brought.
#[derive(Default)]
struct Stream {
    first_ms: Option<f64>,
    /// From the provider's write to our read, in microseconds, of every chunk.
    transit_us: Vec<f64>,
    reads: u64,
    done: bool,
    usage: bool,
}

impl Stream {
    fn line(&mut self, line: &[u8], begun: Instant, now: u64) {
        if !line.starts_with(b"data:") {
            return;
        }
        let stamp = memmem::find(line, STAMP.as_bytes()).map(|at| at + STAMP.len()).and_then(|at| {
            let digits = std::str::from_utf8(line.get(at..at + STAMP_DIGITS)?).ok()?;
            u64::from_str_radix(digits, 16).ok()
        });
        if let Some(sent) = stamp {
            self.first_ms.get_or_insert_with(|| milliseconds(begun.elapsed()));
            self.transit_us.push(now.saturating_sub(sent) as f64 / 1e3);
        } else if memmem::find(line, b"[DONE]").is_some() {
            self.done = true;
        } else if memmem::find(line, b"\"prompt_tokens\"").is_some() {
            self.usage = true;
        }
    }
}

/// One stream on a connection of its own. Only a whole one counts: every chunk, usage as asked, the terminator.
async fn read_stream(target: &Target, chunks: usize) -> Result<Stream, String> {
    let mut sender = connect(&target.host).await?;
    sender.ready().await.map_err(|error| error.to_string())?;
    let begun = Instant::now();
    let response = sender.send_request(target.request()).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let mut body = response.into_body();
    let (mut stream, mut rest) = (Stream::default(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("broken after {} chunks: {error}", stream.transit_us.len()))?;
        let Some(bytes) = frame.data_ref() else { continue };
        let now = now_ns();
        stream.reads += 1;
        rest.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(length) = memchr::memchr(b'\n', &rest[from..]) {
            stream.line(&rest[from..from + length], begun, now);
            from += length + 1;
        }
        rest.drain(..from);
    }
    if status != StatusCode::OK {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&rest)));
    }
    let (came, done, usage) = (stream.transit_us.len(), stream.done, stream.usage);
    if came != chunks || !done || usage != target.usage {
        return Err(format!(
            "not whole: {came} of {chunks} chunks, terminator {done}, usage {usage} (wanted {})",
            target.usage
        ));
    }
    Ok(stream)
}

async fn stream(options: &Options) -> Value {
    let manner = options.text("mock").unwrap_or("n=20");
    let chunks = manner.split(',').find_map(|word| word.strip_prefix("n=")?.parse().ok()).expect("--mock n=…");
    let target = Rc::new(Target::of(options, true, &format!("mock:{manner} ")));
    let warm = Target::of(options, true, "mock:n=200 ");
    let warmed = read_stream(&warm, 200).await;
    tokio::time::sleep(SETTLE).await;
    let (streams, repeat) = (options.count("streams", 8), options.count("repeat", 1));
    let cpu = target.cpu_ns();
    let mut readers = JoinSet::new();
    for _ in 0..streams {
        let target = Rc::clone(&target);
        readers.spawn_local(async move {
            let mut results = Vec::new();
            for _ in 0..repeat {
                results.push(read_stream(&target, chunks).await);
            }
            results
        });
    }
    let results: Vec<_> =
        readers.join_all().await.into_iter().flatten().chain([warmed.map(|_| Stream::default())]).collect();
    tokio::time::sleep(SETTLE).await;
    let cpu_us = (target.cpu_ns() - cpu) as f64 / 1e3;
    let error = results.iter().find_map(|result| result.as_ref().err());
    let whole: Vec<&Stream> = results.iter().flatten().collect();
    let first: Vec<f64> = whole.iter().filter_map(|stream| stream.first_ms).collect();
    let mut transit: Vec<f64> = whole.iter().flat_map(|stream| &stream.transit_us).copied().collect();
    transit.sort_by(f64::total_cmp);
    let count = transit.len() as f64;
    json!({
        "errors": results.len() - whole.len(), "first_error": error,
        "first_chunk_ms": first,
        "cpu_us_per_chunk": cpu_us / count,
        "reads_per_chunk": whole.iter().map(|stream| stream.reads).sum::<u64>() as f64 / count,
        "transit_p50_us": transit.get(transit.len() / 2),
    })
}

async fn start(options: &Options, program: &[String]) -> Value {
    let target = Target::of(options, false, "");
    let (name, arguments) = program.split_first().expect("a program after --");
    let begun = Instant::now();
    let mut child = std::process::Command::new(name).args(arguments).spawn().expect("the program starts");
    let mut last = String::new();
    let ms = loop {
        match call(&mut None, &target).await {
            Ok(_) => break Some(milliseconds(begun.elapsed())),
            Err(error) => last = error,
        }
        if begun.elapsed() > Duration::from_secs(20) {
            break None;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    // It has nothing to lose, and it has not ended by itself.
    child.kill().and_then(|()| child.wait()).expect("the program ends");
    json!({"first_answer_ms": ms, "errors": u8::from(ms.is_none()), "first_error": ms.is_none().then_some(last)})
}

async fn measure() -> Value {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let program = match arguments.iter().position(|argument| argument == "--") {
        Some(at) => arguments.split_off(at).split_off(1),
        None => Vec::new(),
    };
    let pairs = arguments.get(1..).unwrap_or_default().chunks(2);
    let options = Options(pairs.map(|pair| (pair[0].trim_start_matches('-').to_owned(), pair[1].clone())).collect());
    match arguments.first().map(String::as_str) {
        Some("closed") => closed(&options).await,
        Some("open") => open(&options).await,
        Some("stream") => stream(&options).await,
        Some("start") => start(&options, &program).await,
        _ => panic!("closed, open, stream or start"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("{}", LocalSet::new().run_until(measure()).await);
}
