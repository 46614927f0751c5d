//! Arguments: the command they name, and what of them goes where in its request.
use crate::table::{COMMANDS, Command, GLOBALS};
use megarouter::{money::Nanos, time::Window};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fs, io::Read as _};

/// Where a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Into the path, in place of `{name}`.
    Path(&'static str),
    Query(&'static str),
    /// A switch that adds this pair to the query.
    Fixed(&'static str, &'static str),
    /// A member of the body.
    Body(&'static str),
    /// The body itself, from a file.
    Whole,
    Header(&'static str),
    /// A switch that asks for this type of answer.
    Accept(&'static str),
    /// The credential.
    Bearer,
    /// Stays here.
    Local(&'static str),
}

/// How a value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// There or not, without a value.
    Switch,
    Number,
    /// Whole numbers with commas between.
    Numbers,
    /// US dollars.
    Money,
    /// Texts with commas between.
    List,
    /// A length of time in seconds.
    Seconds,
    /// What a limit stands at.
    Scope,
    /// A time that a budget counts over.
    Window,
    Roles,
    File,
    /// A text, or `-` for standard input, so that it stands in no list of processes.
    Secret,
}

/// An argument of a command: a flag, or one of those without a name.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// In capitals for one that is told by its place.
    pub name: &'static str,
    pub to: To,
    pub kind: Kind,
    pub must: bool,
    pub help: &'static str,
}

/// A flag, which may be left out.
pub const fn flag(name: &'static str, to: To, kind: Kind, help: &'static str) -> Arg {
    Arg { name, to, kind, must: false, help }
}

/// An argument by its place that must be there.
pub const fn need(name: &'static str, to: To, kind: Kind, help: &'static str) -> Arg {
    Arg { name, to, kind, must: true, help }
}

/// An argument by its place that may be left out.
pub const fn may(name: &'static str, to: To, kind: Kind, help: &'static str) -> Arg {
    Arg { name, to, kind, must: false, help }
}

/// The name of a file.
pub const fn file(name: &'static str, to: To, help: &'static str) -> Arg {
    Arg { name, to, kind: Kind::File, must: true, help }
}

impl Arg {
    /// Whether it is told by its place.
    pub fn is_placed(&self) -> bool {
        self.name.starts_with(|c: char| c.is_ascii_uppercase())
    }

    /// How it stands in a line of usage, with a space before.
    pub fn usage(&self) -> String {
        match (self.kind, self.is_placed(), self.must) {
            (_, true, true) => format!(" {}", self.name),
            (_, true, false) => format!(" [{}]", self.name),
            (Kind::Switch, ..) => format!(" [--{}]", self.name),
            _ => format!(" [--{} …]", self.name),
        }
    }
}

/// What was asked for, ready to be sent.
#[derive(Debug)]
pub struct Asked {
    pub command: &'static Command,
    pub values: Values,
}

/// The values of a command, each where it goes.
#[derive(Debug, Default, PartialEq)]
pub struct Values {
    pub path: BTreeMap<&'static str, String>,
    pub query: Vec<(&'static str, String)>,
    pub headers: Vec<(&'static str, String)>,
    pub body: Map<String, Value>,
    /// A file whose text is the body.
    pub whole: Option<String>,
    pub bearer: Option<String>,
    pub local: BTreeMap<&'static str, String>,
}

impl Values {
    /// A value that stays here.
    pub fn local(&self, name: &str) -> Option<&str> {
        self.local.get(name).map(String::as_str)
    }

    /// Whether flags say which deployment is meant.
    pub fn names_a_deployment(&self) -> bool {
        self.local("url").or(self.local("state")).is_some()
    }

    /// The path with its places filled, and the query.
    pub fn path(&self, template: &str) -> String {
        let fill = |path: String, (name, value): (&&str, &String)| path.replace(&format!("{{{name}}}"), value);
        let path = self.path.iter().fold(template.to_owned(), fill);
        let pairs: Vec<String> = self.query.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        if pairs.is_empty() { path } else { format!("{path}?{}", pairs.join("&")) }
    }
}

/// What the arguments come to.
#[derive(Debug)]
pub enum Parsed {
    Command(Box<Asked>),
    /// Help was asked for, of commands that begin with these words.
    Help(Vec<String>),
}

/// Reads the arguments.
///
/// # Errors
/// What is wrong with them, and how the command is used.
pub fn parse(arguments: &[String]) -> Result<Parsed, String> {
    let (words, flags) = split(arguments)?;
    if words.is_empty()
        || words.first().is_some_and(|word| word == "help")
        || flags.iter().any(|(name, _)| name == "help")
    {
        return Ok(Parsed::Help(words.into_iter().skip_while(|word| word == "help").collect()));
    }
    let (command, given) = named(&words)?;
    let mut values = Values::default();
    let mut places = command.args.iter().filter(|arg| arg.is_placed());
    for value in given {
        let arg = places.next().ok_or_else(|| wrong(command, &format!("{value:?} is one argument too many")))?;
        put(&mut values, arg, value).map_err(|why| wrong(command, &why))?;
    }
    if let Some(missing) = places.find(|arg| arg.must) {
        return Err(wrong(command, &format!("{} is missing: {}", missing.name, missing.help)));
    }
    for (name, value) in &flags {
        let arg = command.args.iter().chain(GLOBALS).find(|arg| arg.name == name);
        let arg = arg.ok_or_else(|| wrong(command, &format!("it takes no --{name}")))?;
        put(&mut values, arg, value).map_err(|why| wrong(command, &format!("--{name}: {why}")))?;
    }
    for arg in command.args {
        // Scopes that may be left out are the organisation.
        if let (Kind::Scope, To::Path(name)) = (arg.kind, arg.to) {
            values.path.entry(name).or_insert_with(|| "organization".into());
        }
    }
    Ok(Parsed::Command(Box::new(Asked { command, values })))
}

fn wrong(command: &Command, why: &str) -> String {
    format!("{why}\nusage: megarouter {}", command.usage())
}

/// Arguments by place, and flags with their values.
type Split = (Vec<String>, Vec<(String, String)>);

/// Tells them apart. A flag means the same kind in every command, so that this needs no command.
fn split(arguments: &[String]) -> Result<Split, String> {
    let (mut words, mut flags) = (Vec::new(), Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(name) = argument.strip_prefix("--") else {
            match argument.as_str() {
                "-h" => flags.push(("help".to_owned(), String::new())),
                dashed if dashed.starts_with('-') && dashed != "-" => {
                    return Err(format!("{dashed} is no flag. They begin with --."));
                }
                word => words.push(word.to_owned()),
            }
            continue;
        };
        if name.is_empty() {
            words.extend(rest.by_ref().cloned());
            break;
        }
        let (name, value) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value.to_owned())));
        let arg = all_args().find(|arg| arg.name == name).ok_or_else(|| format!("There is no flag --{name}."))?;
        let value = match (arg.kind, value) {
            (Kind::Switch, None) => String::new(),
            (Kind::Switch, Some(_)) => return Err(format!("--{name} takes no value.")),
            (_, Some(value)) => value,
            (_, None) => rest.next().cloned().ok_or_else(|| format!("--{name} needs a value: {}.", arg.help))?,
        };
        flags.push((name.to_owned(), value));
    }
    Ok((words, flags))
}

fn all_args() -> impl Iterator<Item = &'static Arg> {
    COMMANDS.iter().flat_map(|command| command.args).chain(GLOBALS)
}

/// The command with the most words of those that the arguments begin with, and what comes after it.
fn named(words: &[String]) -> Result<(&'static Command, &[String]), String> {
    let begins = |command: &&Command| {
        let mut given = words.iter();
        command.words.split(' ').all(|word| given.next().is_some_and(|one| one == word))
    };
    let count = |command: &&Command| command.words.split(' ').count();
    let found = COMMANDS.iter().filter(begins).max_by_key(count);
    let Some(command) = found else {
        let first = words.first().map_or_default(String::as_str);
        let near: Vec<&str> =
            COMMANDS.iter().map(|one| one.words).filter(|one| one.split(' ').next() == Some(first)).collect();
        return Err(match near.as_slice() {
            [] => format!("There is no command {first:?}. `megarouter help` lists all."),
            near => format!("After {first:?} comes one of: {}.", near.join(", ")),
        });
    };
    Ok((command, words.get(count(&command)..).unwrap_or_default()))
}

fn put(values: &mut Values, arg: &Arg, text: &str) -> Result<(), String> {
    match arg.to {
        To::Path(name) if arg.kind == Kind::Scope => drop(values.path.insert(name, scope(text)?)),
        To::Path(_) if text.is_empty() => return Err(format!("{} is empty", arg.name)),
        To::Path(_) if arg.kind == Kind::Window && Window::of_word(text).is_none() => {
            return Err(format!("{text:?} is no window: {}", arg.help));
        }
        To::Path(name) => drop(values.path.insert(name, escaped(text))),
        To::Query(name) => values.query.push((name, text.to_owned())),
        To::Fixed(name, value) => values.query.push((name, value.to_owned())),
        To::Body(member) => drop(values.body.insert(member.to_owned(), value(arg.kind, text)?)),
        To::Whole => values.whole = Some(text.to_owned()),
        To::Header(name) => values.headers.push((name, text.to_owned())),
        To::Accept(kind) => values.headers.push(("accept", kind.to_owned())),
        To::Bearer => values.bearer = Some(text.to_owned()),
        To::Local(name) => drop(values.local.insert(name, text.to_owned())),
    }
    Ok(())
}

/// A member's value. `none` takes away what can be taken away.
fn value(kind: Kind, text: &str) -> Result<Value, String> {
    let list = || text.split(',').map(str::trim).filter(|one| !one.is_empty());
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no whole number"));
    match kind {
        Kind::Number | Kind::Money | Kind::List | Kind::Seconds if text == "none" => Ok(Value::Null),
        Kind::Number => Ok(number(text)?.into()),
        Kind::Numbers => Ok(Value::Array(list().map(|one| number(one).map(Value::from)).collect::<Result<_, _>>()?)),
        Kind::Money => match Nanos::parse_usd(text.trim_start_matches('$')) {
            Ok(amount) => Ok(amount.to_string().into()),
            Err(why) => Err(format!("the amount {text:?} {why}")),
        },
        Kind::List => Ok(list().map(Value::from).collect::<Vec<_>>().into()),
        Kind::Seconds => Ok(seconds(text)?.into()),
        Kind::Roles if text == "none" => Ok(Value::Array(Vec::new())),
        Kind::Roles => Ok(Value::Array(list().map(role).collect())),
        _ => Ok(text.into()),
    }
}

/// `group_admin@grp_…` or `auditor`.
fn role(text: &str) -> Value {
    let mut grant = Map::new();
    let (role, scope) = text.split_once('@').map_or((text, None), |(role, scope)| (role, Some(scope)));
    grant.insert("role".into(), role.into());
    if let Some(scope) = scope {
        grant.insert("scope".into(), scope.into());
    }
    Value::Object(grant)
}

/// `90`, `90s`, `15m`, `12h`, `30d`.
fn seconds(text: &str) -> Result<u64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
    let (digits, unit) =
        units.into_iter().find_map(|(unit, length)| Some((text.strip_suffix(unit)?, length))).unwrap_or((text, 1));
    let count = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    count.ok_or_else(|| format!("{text:?} is no length of time, like 90d, 12h, 15m or 30s"))
}

/// The part of a path that names a scope.
fn scope(text: &str) -> Result<String, String> {
    let (word, id) = text.split_once(':').unwrap_or((text, ""));
    let under = match word {
        "organization" | "org" if id.is_empty() => return Ok("organization".into()),
        "group" => "groups",
        "member" => "members",
        "key" | "api_key" => "api_keys",
        _ => "",
    };
    if under.is_empty() || id.is_empty() {
        return Err(format!("{text:?} is no scope: organization, group:grp_…, member:mem_… or key:key_…"));
    }
    Ok(format!("{under}/{}", escaped(id)))
}

/// A text as it may stand in a path or a query.
pub fn escaped(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A file's text; `-` is standard input.
///
/// # Errors
/// That it cannot be read.
pub fn contents(path: &str) -> Result<String, String> {
    if path == "-" {
        let mut text = String::new();
        return std::io::stdin()
            .read_to_string(&mut text)
            .map(|_| text)
            .map_err(|error| format!("standard input: {error}"));
    }
    fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))
}

#[cfg(test)]
#[path = "arg_tests.rs"]
mod tests;
