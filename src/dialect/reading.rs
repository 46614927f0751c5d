//! Reads what a caller wrote, strictly: a value of the wrong type is a 400 that names the parameter, never a guess.
//!
//! Readers note the first fault and go on with nothing in its place; it is looked at once, at the end. Decoders are long,
//! and a return for each of their members would be most of their code.
use crate::{
    body::Body,
    chat::{CacheMark, Effort, Format, Media, Part, Request, ServiceTier, ToolChoice},
    fault::Fault,
    json::written,
};
use serde_json::{Map, Value};
use std::{cell::Cell, fmt};

/// Members that are the router's, on every chat endpoint: never decoded here, never sent on.
pub(super) const OURS: [&str; 2] = ["megarouter", "models"];

/// The members of a request, by way of `read`.
pub(super) fn decode(body: &Body, read: fn(&mut Fields<'_>) -> Request) -> Result<Request, Fault> {
    let wrong = Wrong::default();
    let request = read(&mut Fields { left: members_of(body)?, path: &Path::ROOT, wrong: &wrong });
    wrong.verdict(request)
}

/// The members of a request that are not the router's.
fn members_of(body: &Body) -> Result<Map<String, Value>, Fault> {
    let mut left = Map::new();
    for name in body.names() {
        if OURS.contains(&name) {
            continue;
        }
        let Some(raw) = body.set(name) else { continue };
        match serde_json::from_str(raw) {
            Ok(value) => left.insert(name.to_owned(), value),
            Err(error) => return Err(Fault::parameter(name, format!("`{name}` cannot be read as JSON: {error}."))),
        };
    }
    // OpenRouter's routing wishes are an object; anything else under that name is not ours to judge.
    if left.get("provider").is_some_and(Value::is_object) {
        left.remove("provider");
    }
    Ok(left)
}

/// The first fault that was found.
#[derive(Default)]
struct Wrong(Cell<Option<Box<Fault>>>);

impl Wrong {
    #[cold]
    #[inline(never)]
    fn note(&self, fault: Fault) {
        let first = self.0.take().unwrap_or_else(|| Box::new(fault));
        self.0.set(Some(first));
    }

    fn verdict<T>(self, told: T) -> Result<T, Fault> {
        match self.0.into_inner() {
            None => Ok(told),
            Some(fault) => Err(*fault),
        }
    }
}

/// Where a value stands in the body. Rendered only when something is wrong with it.
#[derive(Clone, Copy)]
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Member(&'a str),
    Item(usize),
}

impl Path<'_> {
    const ROOT: Path<'static> = Path { parent: None, step: Step::Member("") };

    fn member<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Member(name) }
    }

    fn item(&self, place: usize) -> Path<'_> {
        Path { parent: Some(self), step: Step::Item(place) }
    }

    /// A value of the wrong type or out of bounds. `wanted` completes "must be".
    #[cold]
    #[inline(never)]
    fn must_be(&self, wanted: &str, found: &Value) -> Fault {
        let found = match found {
            Value::Null => "null".to_owned(),
            Value::Bool(_) | Value::Number(_) => written(found),
            Value::String(text) if text.len() <= 40 => written(found),
            Value::String(_) => "a string".to_owned(),
            Value::Array(_) => "an array".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        Fault::parameter(&self.to_string(), format!("`{self}` must be {wanted}, not {found}."))
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(f)?;
        match self.step {
            Step::Member(name) if parent.parent.is_none() => f.write_str(name),
            Step::Member(name) => write!(f, ".{name}"),
            Step::Item(place) => write!(f, "[{place}]"),
        }
    }
}

/// The members of an object, taken out one by one; what is left was not understood. `null` is as good as absent, and so
/// is, once it was noted, what is wrong.
pub(super) struct Fields<'a> {
    left: Map<String, Value>,
    path: &'a Path<'a>,
    wrong: &'a Wrong,
}

/// Reads the members of one object of several.
type Reader<'r> = &'r mut dyn FnMut(&mut Fields<'_>);

impl Fields<'_> {
    /// What nobody took.
    pub(super) fn rest(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.left)
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    /// Notes a complaint of a decoder's own.
    pub(super) fn wrong(&self, fault: Fault) {
        self.wrong.note(fault);
    }

    /// Where a member stands, for such a complaint.
    #[cold]
    #[inline(never)]
    pub(super) fn path_of(&self, name: &str) -> String {
        self.path.member(name).to_string()
    }

    /// Notes a member of the wrong type or out of bounds. `wanted` completes "must be".
    #[cold]
    #[inline(never)]
    pub(super) fn must_be(&self, name: &str, wanted: &str, found: &Value) {
        self.wrong.note(self.path.member(name).must_be(wanted, found));
    }

    /// Notes a word that is none of `words`.
    #[cold]
    #[inline(never)]
    pub(super) fn must_be_one_of(&self, name: &str, words: &[&str], found: &str) {
        let mut wanted = String::new();
        for (place, word) in words.iter().enumerate() {
            wanted.push_str(match words.len() - place {
                _ if place == 0 => "",
                1 => " or ",
                _ => ", ",
            });
            wanted.push('"');
            wanted.push_str(word);
            wanted.push('"');
        }
        self.must_be(name, &wanted, &found.into());
    }

    #[cold]
    #[inline(never)]
    pub(super) fn missing(&self, name: &str, wanted: &str) {
        let path = self.path_of(name);
        self.wrong.note(Fault::parameter(&path, format!("`{path}` is missing: give {wanted}.")));
    }

    /// Notes that the object itself is not enough.
    #[cold]
    #[inline(never)]
    pub(super) fn lacks(&self, what: &str) {
        let path = self.path.to_string();
        self.wrong.note(Fault::parameter(&path, format!("`{path}` needs {what}.")));
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => return Some(text),
            other => self.must_be(name, "a string", &other),
        }
        None
    }

    /// A string that must be there; it may be empty.
    pub(super) fn any_text(&mut self, name: &str) -> String {
        let text = self.text(name);
        if text.is_none() {
            self.missing(name, "a string");
        }
        text.unwrap_or_default()
    }

    /// A string that must be there and not empty.
    pub(super) fn needed_text(&mut self, name: &str) -> String {
        let text = self.any_text(name);
        if text.is_empty() {
            let path = self.path_of(name);
            self.wrong.note(Fault::parameter(&path, format!("`{path}` is empty.")));
        }
        text
    }

    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(flag) => return Some(flag),
            other => self.must_be(name, "true or false", &other),
        }
        None
    }

    /// A whole number of at least `least`.
    pub(super) fn count(&mut self, name: &str, least: u64) -> Option<u64> {
        let value = self.take(name)?;
        let count = whole(&value).filter(|count| *count >= least);
        if count.is_none() {
            self.must_be(name, &format!("a whole number of at least {least}"), &value);
        }
        count
    }

    pub(super) fn number(&mut self, name: &str, least: i32, most: i32) -> Option<f64> {
        let value = self.take(name)?;
        let number = value.as_f64().filter(|number| (f64::from(least)..=f64::from(most)).contains(number));
        if number.is_none() {
            self.must_be(name, &format!("a number from {least} to {most}"), &value);
        }
        number
    }

    pub(super) fn integer(&mut self, name: &str) -> Option<i64> {
        let value = self.take(name)?;
        let number = value.as_i64();
        if number.is_none() {
            self.must_be(name, "a whole number within 64 bits", &value);
        }
        number
    }

    pub(super) fn effort(&mut self, name: &str) -> Option<Effort> {
        let word = self.text(name)?;
        let effort = Effort::of_word(&word);
        if effort.is_none() {
            self.must_be_one_of(name, &Effort::ALL.map(Effort::word), &word);
        }
        effort
    }

    /// Spoken input, as `OpenAI`'s dialects write it.
    pub(super) fn input_audio(&mut self) -> Part {
        let (mut data, mut format) = (String::new(), String::new());
        self.needed("input_audio", "an object with `data` and `format`", &mut |fields| {
            data = fields.needed_text("data");
            format = fields.needed_text("format");
        });
        Part::Audio { data, format }
    }

    /// The members of a wanted schema, as `OpenAI`'s dialects name them.
    pub(super) fn json_schema(&mut self) -> Format {
        Format::JsonSchema {
            name: self.needed_text("name"),
            description: self.text("description"),
            schema: Value::Object(self.object("schema").unwrap_or_default()),
            strict: self.flag("strict"),
        }
    }

    /// A mark with its life.
    pub(super) fn cache_mark(&mut self, name: &str) -> Option<CacheMark> {
        let mut ttl = None;
        self.nested(name, &mut |fields| ttl = fields.text("ttl")).then_some(CacheMark { ttl })
    }

    /// The tiers of which catalogs hold prices. Another would overrun the hold or be overcharged.
    pub(super) fn service_tier(&mut self) -> Option<ServiceTier> {
        const NAME: &str = "service_tier";
        let tier = self.text(NAME)?;
        match tier.as_str() {
            "flex" => return Some(ServiceTier::Flex),
            "priority" => return Some(ServiceTier::Priority),
            "auto" | "default" | "standard" => {}
            _ => self.must_be_one_of(NAME, &["auto", "default", "flex", "priority"], &tier),
        }
        None
    }

    /// How much a model shall use its tools.
    pub(super) fn choice_word(&self, name: &str, word: &str) -> Option<ToolChoice> {
        match word {
            "auto" => return Some(ToolChoice::Auto),
            "none" => return Some(ToolChoice::None),
            // Mistral's older word.
            "required" | "any" => return Some(ToolChoice::Required),
            _ => self.must_be(name, "\"auto\", \"none\", \"required\" or an object that names a tool", &word.into()),
        }
        None
    }

    pub(super) fn object(&mut self, name: &str) -> Option<Map<String, Value>> {
        match self.take(name)? {
            Value::Object(members) => return Some(members),
            other => self.must_be(name, "an object", &other),
        }
        None
    }

    /// A string or an array of strings; absent is empty.
    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        let mut texts = Vec::new();
        match self.take(name) {
            None => {}
            Some(Value::String(text)) => texts.push(text),
            Some(Value::Array(items)) => {
                for (place, item) in items.into_iter().enumerate() {
                    match item {
                        Value::String(text) => texts.push(text),
                        other => self.wrong.note(self.path.member(name).item(place).must_be("a string", &other)),
                    }
                }
            }
            Some(other) => self.must_be(name, "a string or an array of strings", &other),
        }
        texts
    }

    /// Reads an object that may be absent; whether it was there.
    pub(super) fn nested(&mut self, name: &str, read: Reader<'_>) -> bool {
        let value = self.take(name);
        let there = value.is_some();
        if let Some(value) = value {
            self.inside(&self.path.member(name), value, read);
        }
        there
    }

    /// Reads an object that must be there. `wanted` says what it is.
    pub(super) fn needed(&mut self, name: &str, wanted: &str, read: Reader<'_>) {
        if !self.nested(name, read) {
            self.missing(name, wanted);
        }
    }

    /// Reads each item of an array of objects; absent is empty.
    pub(super) fn each(&mut self, name: &str, read: Reader<'_>) {
        match self.take(name) {
            None => {}
            Some(Value::Array(items)) => self.items(name, items, read),
            Some(other) => self.must_be(name, "an array", &other),
        }
    }

    /// Reads each item of a member that was found to be an array.
    pub(super) fn items(&self, name: &str, items: Vec<Value>, read: Reader<'_>) {
        let path = self.path.member(name);
        for (place, item) in items.into_iter().enumerate() {
            self.inside(&path.item(place), item, read);
        }
    }

    /// Reads a member that was found to be no string.
    pub(super) fn object_in(&self, name: &str, value: Value, read: Reader<'_>) {
        self.inside(&self.path.member(name), value, read);
    }

    fn inside(&self, path: &Path<'_>, value: Value, read: Reader<'_>) {
        match value {
            Value::Object(left) => read(&mut Fields { left, path, wrong: self.wrong }),
            other => self.wrong.note(path.must_be("an object", &other)),
        }
    }
}

/// A data URL becomes its bytes; anything else is an address.
pub(super) fn media(mut url: String) -> Media {
    let found = url
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(";base64,"))
        .map(|(kind, data)| (kind.to_owned(), url.len() - data.len()));
    match found {
        Some((media_type, start)) => {
            // In place: the data may be megabytes.
            url.drain(..start);
            Media::Base64 { media_type, data: url }
        }
        None => Media::Url(url),
    }
}

/// A whole number, also where a client wrote it with a fraction of zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be whole, not negative and small"
)]
pub(super) fn whole(value: &Value) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let by_fraction = || value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..EXACT).contains(n)).map(|n| n as u64);
    value.as_u64().or_else(by_fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(text: &str, read: impl FnOnce(&mut Fields<'_>) -> T) -> Result<T, Fault> {
        let (body, wrong) = (Body::parse(text.as_bytes().to_vec()).expect("an object"), Wrong::default());
        let told = read(&mut Fields { left: members_of(&body)?, path: &Path::ROOT, wrong: &wrong });
        wrong.verdict(told)
    }

    #[test]
    fn paths_read_as_a_caller_would_write_them() {
        let messages = Path::ROOT.member("messages");
        let (third, content) = (messages.item(3), "content");
        let content = third.member(content);
        assert_eq!(content.item(1).member("text").to_string(), "messages[3].content[1].text");
    }

    #[test]
    fn wrong_types_are_named() {
        let told = |fault: Fault| (fault.param.clone().unwrap_or_default(), fault.into_inner().message);
        let n = |text: &str| read(text, |fields| fields.count("n", 1));
        assert_eq!(
            n(r#"{"n":"2"}"#).map_err(told),
            Err(("n".into(), "`n` must be a whole number of at least 1, not \"2\".".into()))
        );
        assert!(n(r#"{"n":0}"#).is_err() && n(r#"{"n":1.5}"#).is_err());
        assert_eq!(n(r#"{"n":2.0}"#), Ok(Some(2)));
        assert_eq!(n(r#"{"n":null}"#), Ok(None));
        let texts = read(r#"{"s":["a",1]}"#, |fields| fields.texts("s"));
        assert!(texts.is_err_and(|fault| fault.param.as_deref() == Some("s[1]")));
        let word = read(r#"{"w":"x"}"#, |fields| fields.must_be_one_of("w", &["a", "b", "c"], "x"));
        assert_eq!(word.expect_err("noted").message, "`w` must be \"a\", \"b\" or \"c\", not \"x\".");
    }

    #[test]
    fn the_first_fault_wins_wherever_it_is() {
        let first = |text: &str| {
            let told = read(text, |fields| {
                fields.each("list", &mut |fields| {
                    fields.nested("in", &mut |fields| drop(fields.needed_text("text")));
                });
                fields.needed("object", "an object", &mut |fields| drop(fields.text("flag")));
            });
            told.err().and_then(|fault| fault.into_inner().param)
        };
        assert_eq!(first(r#"{"list":[{},{"in":{}},{"in":1}],"object":7}"#).as_deref(), Some("list[1].in.text"));
        assert_eq!(first(r#"{"list":[{},1],"object":7}"#).as_deref(), Some("list[1]"));
        assert_eq!(first(r#"{"object":7}"#).as_deref(), Some("object"));
        assert_eq!(first(r#"{"object":{"flag":1}}"#).as_deref(), Some("object.flag"));
        assert_eq!(first(r#"{"list":null,"object":{}}"#), None);
    }

    #[test]
    fn what_json_allows_but_we_cannot_hold_is_a_fault() {
        let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
        for text in [deep.as_str(), r#"{"x":1e999}"#, r#"{"x":"\ud800"}"#] {
            assert!(read(text, |_| ()).is_err_and(|fault| fault.param.as_deref() == Some("x")), "{text}");
        }
    }

    #[test]
    fn the_router_keeps_its_own_members() {
        let rest =
            |text: &str| read(text, |fields| fields.rest().into_iter().map(|(name, _)| name).collect::<Vec<_>>());
        assert_eq!(
            rest(r#"{"megarouter":{},"models":[],"provider":{"only":[]},"other":1}"#),
            Ok(vec!["other".to_owned()])
        );
        assert_eq!(rest(r#"{"provider":"x"}"#), Ok(vec!["provider".to_owned()]));
    }
}
