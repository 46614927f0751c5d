//! `megarouter`: what an admin does every day. `megarouter help` lists it. The exit code is 0 when it was done, 1 when it was
//! refused or something is wrong, 2 when the command line is.
#![forbid(unsafe_code)]
use crate::{
    arg::{Asked, Parsed, To, Values, contents, parse},
    client::{Answer, Ask, Client},
    config::Config,
    doctor::{Level, gather, judge},
    table::{Act, As},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

mod arg;
mod audit;
mod client;
mod config;
mod doctor;
mod help;
mod show;
mod table;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|one| one.to_string_lossy().into_owned()).collect();
    let asked = match parse(&arguments) {
        Ok(Parsed::Command(asked)) => asked,
        Ok(Parsed::Help(words)) => {
            print(&help::help(&words));
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let env = |name: &str| std::env::var(name).ok();
    let config = Config::of(&asked.values, env, |path: &Path| fs::read_to_string(path).ok());
    // A file is verified also where no deployment is named.
    let config = match config {
        Err(_) if asked.command.act == Act::Verify && !asked.values.names_a_deployment() => Ok(Config::default()),
        config => config,
    };
    let done = config
        .map_err(|why| (why, 2))
        .and_then(|config| run(&asked, &config).map_err(|why| (config.redacted(&why), 1)));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err((why, code)) => {
            eprintln!("{}", show::plain(&why));
            ExitCode::from(code)
        }
    }
}

/// Does it. Returns whether all is well.
fn run(asked: &Asked, config: &Config) -> Result<bool, String> {
    let client = Client::new(&config.base_url);
    match asked.command.act {
        Act::Http { method, path, credential, columns } => {
            let answer = request(asked, config, &client, (method, path, credential))?;
            tell(&asked.values, columns, &answer)
        }
        Act::Export => export(&asked.values, config, &client),
        Act::Verify => verify(&asked.values, config),
        Act::Doctor => Ok(examine(&asked.values, config, &client)),
    }
}

fn request(asked: &Asked, config: &Config, client: &Client, of: (&str, &str, As)) -> Result<Answer, String> {
    let ((method, path, credential), values) = (of, &asked.values);
    let read; // the invite, where it comes by standard input
    let token = match credential {
        As::Admin => admin_key(config)?,
        As::Operator => {
            config.operator_token.as_deref().ok_or("This takes the operator's token: set MEGAROUTER_OPERATOR_TOKEN.")?
        }
        As::Invite => match values.bearer.as_deref().unwrap_or_default() {
            "-" => {
                read = contents("-")?;
                read.trim()
            }
            given => given,
        },
    };
    let body = match &values.whole {
        Some(file) => Some(contents(file)?),
        None if asked.command.args.iter().any(|arg| matches!(arg.to, To::Body(_))) => {
            Some(Value::Object(values.body.clone()).to_string())
        }
        None => (method == "POST").then(String::new),
    };
    let path = values.path(path);
    client.ask(&Ask { method, path: &path, token: Some(token), headers: &values.headers, body: body.as_deref() })
}

fn admin_key(config: &Config) -> Result<&str, String> {
    config.admin_key.as_deref().ok_or_else(|| "This takes an admin key: set MEGAROUTER_ADMIN_KEY.".to_owned())
}

/// Prints an answer, and says so where it holds what is not told again.
fn tell(values: &Values, columns: &[&str], answer: &Answer) -> Result<bool, String> {
    let as_json = values.local("json").is_some();
    if !answer.is_good() {
        if as_json {
            print(&format!("{}\n", answer.text.trim_end()));
        }
        return Err(answer.error());
    }
    let told = answer.json();
    if as_json || !told.is_object() && !answer.text.is_empty() {
        print(&format!("{}\n", answer.text.trim_end()));
    } else if told.is_object() {
        print(&show::shown(&told, columns));
        if let Some(tag) = answer.header("etag").filter(|_| told.get("data").is_none()) {
            print(&format!("etag: {}\n", show::plain(tag)));
        }
    } else {
        print("done\n");
    }
    if told.get("secret").or_else(|| told.pointer("/admin_key/secret")).is_some() {
        eprintln!("The secret is shown this once: keep it now.");
    }
    Ok(true)
}

fn export(values: &Values, config: &Config, client: &Client) -> Result<bool, String> {
    let from = values.query.iter().find(|(name, _)| *name == "from").map(|(_, value)| value.as_str());
    let audit::Exported { lines, rows, notes } = audit::export(&|ask| client.ask(ask), admin_key(config)?, from)?;
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    let file = values.local("file").unwrap_or("-");
    if file == "-" {
        print(&text);
    } else {
        fs::write(file, text).map_err(|error| format!("{file} cannot be written: {error}"))?;
        let end = if lines.len() > rows { " and the checkpoint" } else { "" };
        print(&format!("{rows} rows{end} are in {file}\n"));
    }
    for note in notes {
        eprintln!("{note}");
    }
    Ok(true)
}

fn verify(values: &Values, config: &Config) -> Result<bool, String> {
    let file = contents(values.local("file").unwrap_or("-"))?;
    let partial = values.local("partial").is_some();
    for line in audit::verify(&file, partial, &keys(values, config)?)? {
        print(&format!("{line}\n"));
    }
    Ok(true)
}

/// The public keys: those that are named, or the deployment's. Those that are named must be there.
fn keys(values: &Values, config: &Config) -> Result<audit::Keys, String> {
    const PUBLISHED: &str = "/.well-known/megarouter-keys.json";
    let fetched = |base: &str, path: &str| {
        let answer = Client::new(base).ask(&Ask { method: "GET", path, ..Ask::default() })?;
        if answer.is_good() { Ok(answer.json()) } else { Err(format!("{base}{path} answers {}", answer.status)) }
    };
    match values.local("keys") {
        Some("none") => Ok(audit::Keys::Unknown("as was asked for".to_owned())),
        Some(url) if url.contains("://") => Ok(audit::Keys::Known(fetched(url, "")?)),
        Some(file) => {
            let keys = serde_json::from_str(&contents(file)?).map_err(|_| format!("{file} is not JSON"))?;
            Ok(audit::Keys::Known(keys))
        }
        None if config.base_url.is_empty() => Ok(audit::Keys::Unknown("for want of --keys".to_owned())),
        None => Ok(match fetched(&config.base_url, PUBLISHED) {
            Ok(keys) => audit::Keys::Known(keys),
            Err(why) => audit::Keys::Unknown(format!("there are no public keys ({why})")),
        }),
    }
}

/// Whether nothing fails.
fn examine(values: &Values, config: &Config, client: &Client) -> bool {
    let clock = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or_default()
    };
    let findings = judge(&gather(&|ask| client.ask(ask), config, &clock));
    if values.local("json").is_some() {
        let told =
            |found: &doctor::Finding| json!({"level": found.level.word(), "what": found.what, "todo": found.todo});
        print(&format!("{}\n", Value::Array(findings.iter().map(told).collect())));
    } else {
        for found in &findings {
            let todo = if found.todo.is_empty() { String::new() } else { format!("        → {}\n", found.todo) };
            print(&format!("{:4}  {}\n{todo}", found.level.word(), show::plain(&config.redacted(&found.what))));
        }
    }
    findings.iter().all(|found| found.level != Level::Fail)
}

/// Prints a text. Whoever reads it may stop to listen: that is no fault.
fn print(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().write_all(text.as_bytes());
}
