//! A provider of OpenAI chat completions that costs next to nothing and does as it is told.
//!
//! It prints its address and serves until it is killed. The text of the prompt may hold `mock:t=5,g=2,n=500,s=8`:
//! milliseconds before the head, milliseconds between chunks (0: back to back, still one write each), content chunks,
//! bytes of padding in each. Words in the prompt pass through every gateway; headers would not.
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use load::{STAMP, now_ns};
use memchr::memmem;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

#[derive(Clone, Copy)]
struct Manner {
    head_delay: Duration,
    gap: Duration,
    chunks: u64,
    padding: usize,
}

impl Manner {
    fn asked(body: &[u8]) -> Self {
        let mut manner = Self { head_delay: Duration::ZERO, gap: Duration::ZERO, chunks: 20, padding: 8 };
        let Some(at) = memmem::find(body, b"mock:") else { return manner };
        let end =
            body[at..].iter().position(|byte| matches!(byte, b' ' | b'"')).map_or(body.len(), |length| at + length);
        for word in String::from_utf8_lossy(&body[at + 5..end]).split(',') {
            let Some((name, Ok(value))) = word.split_once('=').map(|(name, value)| (name, value.parse())) else {
                continue;
            };
            match name {
                "t" => manner.head_delay = Duration::from_millis(value),
                "g" => manner.gap = Duration::from_millis(value),
                "n" => manner.chunks = value,
                "s" => manner.padding = usize::try_from(value).unwrap_or(0),
                _ => {}
            }
        }
        manner
    }
}

enum Answer {
    Whole(Option<Bytes>),
    Stream(Box<Stream>),
}

struct Stream {
    manner: Manner,
    /// Whether usage was asked for, and so is told in a chunk of its own.
    usage: bool,
    sent: u64,
    due: Instant,
    gap: Option<Pin<Box<Sleep>>>,
    yielded: bool,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(stream) => {
                if stream.poll_turn(cx).is_pending() {
                    return Poll::Pending;
                }
                Poll::Ready(stream.next().map(|chunk| Ok(Frame::data(Bytes::from(chunk)))))
            }
        }
    }
}

impl Stream {
    /// Waits for the next content chunk's time. With no gap it yields once, so that each chunk leaves in its own write.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.sent == 0 || self.sent >= self.manner.chunks {
            return Poll::Ready(());
        }
        if self.manner.gap.is_zero() {
            self.yielded = !self.yielded;
            if self.yielded {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(());
        }
        let (due, gap) = (&mut self.due, self.manner.gap);
        let wait = self.gap.get_or_insert_with(|| {
            *due += gap;
            Box::pin(sleep_until(*due))
        });
        let turn = wait.as_mut().poll(cx);
        if turn.is_ready() {
            self.gap = None;
        }
        turn
    }

    /// Content chunks, the finish, usage if it was asked for, the terminator.
    fn next(&mut self) -> Option<String> {
        let (place, last) = (self.sent, self.manner.chunks);
        self.sent += 1;
        let usage = if self.usage { ",\"usage\":null" } else { "" };
        let choice = match place.checked_sub(last) {
            None => {
                let role = if place == 0 { "\"role\":\"assistant\"," } else { "" };
                let padding = "x".repeat(self.manner.padding);
                let content = format!("{{{role}\"content\":{STAMP}{:016x}{padding}\"}}", now_ns());
                format!("[{{\"index\":0,\"delta\":{content},\"logprobs\":null,\"finish_reason\":null}}]{usage}")
            }
            Some(0) => format!("[{{\"index\":0,\"delta\":{{}},\"logprobs\":null,\"finish_reason\":\"stop\"}}]{usage}"),
            Some(1) if self.usage => format!("[],\"usage\":{}", usage_of(last)),
            Some(step) if step == 1 + u64::from(self.usage) => return Some("data: [DONE]\n\n".into()),
            Some(_) => return None,
        };
        Some(format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"mock\",\
             \"choices\":{choice}}}\n\n"
        ))
    }
}

fn usage_of(completion: u64) -> String {
    format!(
        "{{\"prompt_tokens\":12,\"completion_tokens\":{completion},\"total_tokens\":{},\
         \"prompt_tokens_details\":{{\"cached_tokens\":0}},\"completion_tokens_details\":{{\"reasoning_tokens\":0}}}}",
        completion + 12
    )
}

fn whole(manner: Manner) -> String {
    format!(
        "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1790000000,\"model\":\"mock\",\"choices\":[\
         {{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":{STAMP}{:016x}{}\",\"refusal\":null}},\
         \"logprobs\":null,\"finish_reason\":\"stop\"}}],\"usage\":{}}}",
        now_ns(),
        "x".repeat(manner.padding),
        usage_of(8)
    )
}

async fn answer(request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    // A caller that hangs up in the middle of its request gets an answer nobody reads.
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let manner = Manner::asked(&body);
    let says = |text: &str| memmem::find(&body, text.as_bytes()).is_some();
    let (kind, answer) = if says("\"stream\":true") {
        let usage = says("\"include_usage\":true");
        let stream =
            Stream { manner, usage, sent: 0, due: Instant::now() + manner.head_delay, gap: None, yielded: false };
        ("text/event-stream; charset=utf-8", Answer::Stream(Box::new(stream)))
    } else {
        ("application/json", Answer::Whole(Some(Bytes::from(whole(manner)))))
    };
    if !manner.head_delay.is_zero() {
        sleep(manner.head_delay).await;
    }
    let mut response = Response::new(answer);
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(kind));
    Ok(response)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        // A connection that breaks is the client's to count.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(answer)));
    }
}
