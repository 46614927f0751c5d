//! Where the deployment is, and by which keys it is asked.
use crate::arg::Values;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The deployment and the credentials for it. Prints nothing of them: there is no `Debug`.
#[derive(Default)]
pub struct Config {
    /// Without a slash at its end, and without `/v1`.
    pub base_url: String,
    pub admin_key: Option<String>,
    pub operator_token: Option<String>,
    pub inference_key: Option<String>,
    /// Whether `make run` said that a sandbox stands in for the providers.
    pub sandbox: bool,
}

/// Variables of the environment that hold keys, with the members of run.json they stand for. Keys are no arguments: those show in
/// lists of processes.
const KEYS: [(&str, &str); 3] = [
    ("MEGAROUTER_ADMIN_KEY", "admin_key"),
    ("MEGAROUTER_OPERATOR_TOKEN", "operator_token"),
    ("MEGAROUTER_KEY", "inference_key"),
];

impl Config {
    /// Reads it from flags, environment and run.json, in this order. Whoever names the URL names the keys too: those of run.json
    /// are for its own URL alone.
    ///
    /// # Errors
    /// A URL that cannot be used, a folder without run.json, or nothing at all.
    pub fn of(
        values: &Values,
        env: impl Fn(&str) -> Option<String>,
        read: impl Fn(&Path) -> Option<String>,
    ) -> Result<Self, String> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let keys = |of: &dyn Fn(&str, &str) -> Option<String>| KEYS.map(|(name, member)| of(name, member));
        if let Some(folder) = values.local("state") {
            let run = run_file(&Path::new(folder).join("run.json"), &read)?;
            let url = values.local("url").map(str::to_owned).or_else(|| member(&run, "base_url"));
            return Self::from(url, keys(&|_, name| member(&run, name)), sandboxed(&run));
        }
        let url = values.local("url").map(str::to_owned).or_else(|| env("MEGAROUTER_URL"));
        if url.is_some() {
            return Self::from(url, keys(&|name, _| env(name)), false);
        }
        let folder = env("STATE_DIR").map_or_else(|| PathBuf::from(".state"), PathBuf::from);
        let run = run_file(&folder.join("run.json"), &read).map_err(|why| {
            format!("Which deployment? Set MEGAROUTER_URL and MEGAROUTER_ADMIN_KEY, or give --state. ({why})")
        })?;
        let found = keys(&|name, of_run| env(name).or_else(|| member(&run, of_run)));
        Self::from(member(&run, "base_url"), found, sandboxed(&run))
    }

    fn from(url: Option<String>, keys: [Option<String>; 3], sandbox: bool) -> Result<Self, String> {
        let url = url.ok_or("run.json names no base_url")?;
        let [admin_key, operator_token, inference_key] = keys;
        Ok(Self { base_url: base_url(&url)?, admin_key, operator_token, inference_key, sandbox })
    }

    /// A text without the keys that may stand in it.
    pub fn redacted(&self, text: &str) -> String {
        let keys = [&self.admin_key, &self.operator_token, &self.inference_key];
        keys.into_iter().flatten().fold(text.to_owned(), |text, key| text.replace(key.as_str(), "…"))
    }
}

fn run_file(path: &Path, read: &impl Fn(&Path) -> Option<String>) -> Result<Value, String> {
    let text = read(path).ok_or_else(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_str(&text).map_err(|_| format!("{} is not JSON", path.display()))
}

fn member(run: &Value, name: &str) -> Option<String> {
    run.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn sandboxed(run: &Value) -> bool {
    run.get("sandbox_url").is_some_and(Value::is_string)
}

/// The URL without what is added to it.
fn base_url(url: &str) -> Result<String, String> {
    let trimmed = url.trim().trim_end_matches('/');
    let trimmed = trimmed.strip_suffix("/v1").unwrap_or(trimmed);
    let host = trimmed.strip_prefix("https://").or_else(|| trimmed.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['@', '?', '#', ' ']) => Ok(trimmed.to_owned()),
        _ => Err("The URL is like https://router.example.com, without a credential, query or fragment.".to_owned()),
    }
}

/// Whether keys would travel in the open: plain http to a host that is not of this machine or its private net.
pub fn is_open(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let private = match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
        Ok(std::net::IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        Err(_) => {
            let last = host.rsplit('.').next().unwrap_or_default();
            !host.contains('.') || ["localhost", "local", "internal"].contains(&last)
        }
    };
    !private
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = r#"{"base_url":"http://127.0.0.1:8787","admin_key":"mr_ak_run","operator_token":"tok","sandbox_url":"http://s"}"#;

    fn config(local: &[(&'static str, &str)], env: &[(&str, &str)]) -> Result<Config, String> {
        let local = local.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let values = Values { local, ..Values::default() };
        let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Config::of(&values, env, |path| path.starts_with(".state").then(|| RUN.to_owned()))
    }

    #[test]
    fn keys_of_one_place_do_not_go_to_another() {
        let of_run = config(&[], &[]).expect("run.json");
        assert_eq!(
            (of_run.base_url.as_str(), of_run.admin_key.as_deref()),
            ("http://127.0.0.1:8787", Some("mr_ak_run"))
        );
        assert!(of_run.sandbox);
        let named = config(&[], &[("MEGAROUTER_URL", "https://a.example/v1/")]).expect("a URL");
        assert_eq!((named.base_url.as_str(), named.admin_key), ("https://a.example", None));
        let mixed = config(&[], &[("MEGAROUTER_ADMIN_KEY", "mr_ak_env")]).expect("run.json");
        assert_eq!(mixed.admin_key.as_deref(), Some("mr_ak_env"));
        let explicit = config(&[("state", ".state")], &[("MEGAROUTER_ADMIN_KEY", "mr_ak_env")]).expect("run.json");
        assert_eq!(explicit.admin_key.as_deref(), Some("mr_ak_run"));
        assert!(config(&[("state", "elsewhere")], &[]).is_err());
        assert!(config(&[("url", "https://user:pw@a.example")], &[]).is_err());
    }

    #[test]
    fn no_key_is_told() {
        let config = config(&[], &[]).expect("run.json");
        assert_eq!(config.redacted("bad key mr_ak_run, tok"), "bad key …, …");
    }

    #[test]
    fn plain_http_is_for_private_hosts() {
        for open in ["http://a.example", "http://8.8.8.8:80/x", "http://[2001:db8::1]:80"] {
            assert!(is_open(open), "{open}");
        }
        for fine in [
            "https://a.example",
            "http://127.0.0.1:8787",
            "http://localhost",
            "http://router:80",
            "http://[::1]",
            "http://10.1.2.3",
        ] {
            assert!(!is_open(fine), "{fine}");
        }
    }
}
