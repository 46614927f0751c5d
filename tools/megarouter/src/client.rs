//! Requests and answers over HTTP.
use crate::config::is_open;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use ureq::{
    Agent, Body,
    http::{Request, Response},
    tls::{Certificate, RootCerts, TlsConfig},
};

/// The longest answer that is read: exports are read in pages, a catalog has 4 MiB.
const BYTES_MAX: u64 = 64 << 20;
const TIMEOUT: Duration = Duration::from_mins(1);

/// A request.
#[derive(Clone, Copy, Default)]
pub struct Ask<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub token: Option<&'a str>,
    pub headers: &'a [(&'static str, String)],
    pub body: Option<&'a str>,
}

/// An answer, whatever its status.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub text: String,
    pub headers: Vec<(String, String)>,
}

impl Answer {
    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null for another.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// Whether it was done.
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What an error says of itself, in a line.
    pub fn error(&self) -> String {
        let body = self.json();
        let told = |name: &str| body.pointer(&format!("/error/{name}")).and_then(Value::as_str).unwrap_or_default();
        let line = match (told("code"), told("message")) {
            (_, "") => format!("{}, which is no error of MegaRouter's", self.status),
            ("", message) => format!("{}: {message}", self.status),
            (code, message) => format!("{} {code}: {message}", self.status),
        };
        match self.header("x-request-id") {
            Some(id) => format!("{line} ({id})"),
            None => line,
        }
    }
}

/// Whoever answers requests: a deployment, or a test.
pub type Server<'a> = &'a dyn Fn(&Ask<'_>) -> Result<Answer, String>;

/// A deployment at its URL.
pub struct Client {
    base_url: String,
    agent: Agent,
}

impl Client {
    /// A client of a deployment.
    pub fn new(base_url: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A key is for one host.
            .max_redirects(0)
            .user_agent(concat!("megarouter-cli/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(TIMEOUT));
        let config = if base_url.starts_with("https:") { config.tls_config(tls()) } else { config };
        Self { base_url: base_url.to_owned(), agent: config.build().into() }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// No answer came, or none that can be read; or a key would travel in the open.
    pub fn ask(&self, ask: &Ask<'_>) -> Result<Answer, String> {
        let Self { base_url, agent } = self;
        if ask.token.is_some() && is_open(base_url) {
            return Err(format!("{base_url} is plain http on a public host: no key is sent there. Use https."));
        }
        let mut request = Request::builder().method(ask.method).uri(format!("{base_url}{}", ask.path));
        if let Some(token) = ask.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in ask.headers {
            request = request.header(*name, value);
        }
        let unmade = |error: ureq::http::Error| format!("The request cannot be made: {error}");
        let answer = if let Some(body) = ask.body {
            request = request.header("content-type", "application/json");
            agent.run(request.body(body.to_owned()).map_err(unmade)?)
        } else {
            agent.run(request.body(()).map_err(unmade)?)
        };
        let unanswered = |error: ureq::Error| format!("{base_url} does not answer: {error}");
        read(answer.map_err(unanswered)?).map_err(unanswered)
    }
}

fn read(mut response: Response<Body>) -> Result<Answer, ureq::Error> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())));
    let headers = headers.collect();
    let bytes = response.body_mut().with_config().limit(BYTES_MAX).read_to_vec()?;
    Ok(Answer { status: response.status().as_u16(), text: text(&bytes), headers })
}

/// The machine's own roots, and ring's cryptography.
fn tls() -> TlsConfig {
    let roots = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<Certificate<'static>> =
        roots.iter().map(|root| Certificate::from_der(root.as_ref()).to_owned()).collect();
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader, Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    /// Answers one request with this text, and returns what was asked.
    fn once(answer: &'static str) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            let mut reader = BufReader::new(stream.try_clone().expect("the same stream"));
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let mut line = String::new();
                reader.read_line(&mut line).expect("a line");
                head.push_str(&line);
                if let Some(count) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = count.trim().parse().expect("a number");
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("the body");
            stream.write_all(answer.as_bytes()).expect("written");
            head + &String::from_utf8(body).expect("text")
        });
        (url, served)
    }

    #[test]
    fn a_refusal_is_an_answer() {
        let (url, served) = once(
            "HTTP/1.1 403 Forbidden\r\nX-Request-Id: req_1\r\nContent-Length: 54\r\n\r\n\
             {\"error\":{\"code\":\"role_required\",\"message\":\"not you\"}}",
        );
        let headers = [("if-match", "\"e\"".to_owned())];
        let ask = Ask { method: "PUT", path: "/x?y=1", token: Some("mr_ak_x"), headers: &headers, body: Some("{}") };
        let answer = Client::new(&url).ask(&ask).expect("an answer");
        assert_eq!((answer.status, answer.error().as_str()), (403, "403 role_required: not you (req_1)"));
        let asked = served.join().expect("served").to_ascii_lowercase();
        for due in [
            "put /x?y=1 http/1.1\r\n",
            "authorization: bearer mr_ak_x\r\n",
            "if-match: \"e\"\r\n",
            "application/json\r\n",
            "\r\n\r\n{}",
        ] {
            assert!(asked.contains(due), "{due}: {asked}");
        }
    }

    #[test]
    fn a_key_does_not_follow_a_redirect() {
        let (url, served) = once("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
        let answer = Client::new(&url).ask(&Ask { method: "GET", path: "/", token: Some("mr_ak_x"), ..Ask::default() });
        assert_eq!(answer.expect("the redirect itself").status, 302);
        served.join().expect("served");
    }

    #[test]
    fn no_key_travels_in_the_open() {
        let ask = Ask { method: "GET", path: "/", token: Some("mr_ak_x"), ..Ask::default() };
        let why = Client::new("http://a.example").ask(&ask).expect_err("refused");
        assert!(why.contains("plain http") && !why.contains("mr_ak_x"));
    }
}
