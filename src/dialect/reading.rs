//! Reads what a caller wrote, strictly: a value of the wrong type is a 400 that names the parameter, never a guess.
use crate::{body::Body, fault::Fault};
use serde_json::{Map, Value};
use std::fmt;

/// Members that are the router's, on every chat endpoint: never decoded here, never sent on.
pub(super) const OURS: [&str; 2] = ["megarouter", "models"];

/// Where a value stands in the body. Rendered only when something is wrong with it.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
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

    pub(super) fn member<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Member(name) }
    }

    pub(super) fn item(&self, place: usize) -> Path<'_> {
        Path { parent: Some(self), step: Step::Item(place) }
    }

    /// A value of the wrong type or out of bounds. `wanted` completes "must be".
    pub(super) fn must_be(&self, wanted: &str, found: &Value) -> Fault {
        let found = match found {
            Value::Null => "null".to_owned(),
            Value::Bool(_) | Value::Number(_) => found.to_string(),
            Value::String(text) if text.len() <= 40 => found.to_string(),
            Value::String(_) => "a string".to_owned(),
            Value::Array(_) => "an array".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        self.fault(format!("`{self}` must be {wanted}, not {found}."))
    }

    pub(super) fn missing(&self, wanted: &str) -> Fault {
        self.fault(format!("`{self}` is missing: give {wanted}."))
    }

    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::parameter(&self.to_string(), message)
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

/// The members of an object, taken out one by one; what is left was not understood. `null` is as good as absent.
pub(super) struct Fields<'a> {
    left: Map<String, Value>,
    path: &'a Path<'a>,
}

impl Fields<'static> {
    /// The members of a request that are not the router's.
    pub(super) fn body(body: &Body) -> Result<Self, Fault> {
        let mut left = Map::new();
        for name in body.names().filter(|name| !OURS.contains(name)) {
            let Some(raw) = body.set(name) else { continue };
            let value = serde_json::from_str(raw)
                .map_err(|error| Fault::parameter(name, format!("`{name}` cannot be read as JSON: {error}.")))?;
            left.insert(name.to_owned(), value);
        }
        // OpenRouter's routing wishes are an object; anything else under that name is not ours to judge.
        if left.get("provider").is_some_and(Value::is_object) {
            left.remove("provider");
        }
        Ok(Self { left, path: &Path::ROOT })
    }
}

impl<'a> Fields<'a> {
    pub(super) fn of(value: Value, path: &'a Path<'a>) -> Result<Self, Fault> {
        match value {
            Value::Object(left) => Ok(Self { left, path }),
            other => Err(path.must_be("an object", &other)),
        }
    }

    pub(super) fn path(&self) -> &'a Path<'a> {
        self.path
    }

    /// What nobody took.
    pub(super) fn rest(self) -> Map<String, Value> {
        self.left
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.path.member(name).must_be("a string", &other)),
        }
    }

    /// A string that must be there and not empty.
    pub(super) fn needed_text(&mut self, name: &str) -> Result<String, Fault> {
        let text = self.text(name)?.ok_or_else(|| self.path.member(name).missing("a string"))?;
        if text.is_empty() {
            Err(self.path.member(name).fault(format!("`{}` is empty.", self.path.member(name))))
        } else {
            Ok(text)
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(self.path.member(name).must_be("true or false", &other)),
        }
    }

    /// A whole number of at least `least`.
    pub(super) fn count(&mut self, name: &str, least: u64) -> Result<Option<u64>, Fault> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match whole(&value).filter(|count| *count >= least) {
            Some(count) => Ok(Some(count)),
            None => Err(self.path.member(name).must_be(&format!("a whole number of at least {least}"), &value)),
        }
    }

    pub(super) fn number(&mut self, name: &str, least: f64, most: f64) -> Result<Option<f64>, Fault> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_f64().filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.path.member(name).must_be(&format!("a number from {least} to {most}"), &value)),
        }
    }

    pub(super) fn integer(&mut self, name: &str) -> Result<Option<i64>, Fault> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => Err(self.path.member(name).must_be("a whole number within 64 bits", &value)),
        }
    }

    pub(super) fn list(&mut self, name: &str) -> Result<Option<Vec<Value>>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(self.path.member(name).must_be("an array", &other)),
        }
    }

    pub(super) fn object(&mut self, name: &str) -> Result<Option<Map<String, Value>>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(members)),
            Some(other) => Err(self.path.member(name).must_be("an object", &other)),
        }
    }

    /// Reads an object that may be absent with `read`.
    pub(super) fn nested<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Fields<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let path = self.path.member(name);
        read(Fields::of(value, &path)?).map(Some)
    }

    /// Reads each item of an array of objects with `read`; absent is empty.
    pub(super) fn each<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(Fields<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let items = self.list(name)?.unwrap_or_default();
        let path = self.path.member(name);
        let mut told = Vec::with_capacity(items.len());
        for (place, item) in items.into_iter().enumerate() {
            told.push(read(Fields::of(item, &path.item(place))?)?);
        }
        Ok(told)
    }

    /// A string or an array of strings; absent is empty.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>, Fault> {
        let path = self.path.member(name);
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(items)) => items
                .into_iter()
                .enumerate()
                .map(|(place, item)| match item {
                    Value::String(text) => Ok(text),
                    other => Err(path.item(place).must_be("a string", &other)),
                })
                .collect(),
            Some(other) => Err(path.must_be("a string or an array of strings", &other)),
        }
    }
}

/// A whole number, also where a client wrote it with a fraction of zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be whole, not negative and small"
)]
fn whole(value: &Value) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let by_fraction = || value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..EXACT).contains(n)).map(|n| n as u64);
    value.as_u64().or_else(by_fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields<'static> {
        Fields::body(&Body::parse(text.as_bytes().to_vec()).expect("an object")).expect("readable")
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
        let told = |fault: Fault| (fault.param.unwrap_or_default(), fault.message);
        assert_eq!(
            fields(r#"{"n":"2"}"#).count("n", 1).map_err(told),
            Err(("n".into(), "`n` must be a whole number of at least 1, not \"2\".".into()))
        );
        assert!(fields(r#"{"n":0}"#).count("n", 1).is_err() && fields(r#"{"n":1.5}"#).count("n", 1).is_err());
        assert_eq!(fields(r#"{"n":2.0}"#).count("n", 1), Ok(Some(2)));
        assert_eq!(fields(r#"{"n":null}"#).count("n", 1), Ok(None));
        assert!(fields(r#"{"s":["a",1]}"#).texts("s").is_err_and(|fault| fault.param.as_deref() == Some("s[1]")));
    }

    #[test]
    fn what_json_allows_but_we_cannot_hold_is_a_fault() {
        let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
        for text in [deep.as_str(), r#"{"x":1e999}"#, r#"{"x":"\ud800"}"#] {
            let body = Body::parse(text.as_bytes().to_vec()).expect("syntax is fine");
            assert!(Fields::body(&body).is_err_and(|fault| fault.param.as_deref() == Some("x")), "{text}");
        }
    }

    #[test]
    fn the_router_keeps_its_own_members() {
        let left = fields(r#"{"megarouter":{},"models":[],"provider":{"only":[]},"other":1}"#).rest();
        assert_eq!(left.keys().collect::<Vec<_>>(), ["other"]);
        assert!(fields(r#"{"provider":"x"}"#).rest().contains_key("provider"));
    }
}
