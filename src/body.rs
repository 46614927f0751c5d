//! A JSON object whose members stay raw text, so that what nobody has to change is never rebuilt.
//!
//! A caller's 200 kB prompt is scanned once here, decoded once by its dialect, and copied, not serialised, on its way out.
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt, ops::Range};

/// A request has about forty members, with short names. Each name is compared with all before it: the bounds on both keep a
/// stranger's body from taking seconds.
const MEMBERS_MAX: usize = 500;
const NAME_BYTES_MAX: usize = 256;

/// The text of a JSON object and where each member's value lies in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    text: String,
    members: Vec<(String, Range<usize>)>,
}

/// Why bytes are no [`Body`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Not UTF-8, not JSON, not an object, or out of all bounds; the text says where.
    Malformed(String),
    /// A member that decides money or routing stands there twice.
    Duplicate(String),
}

impl Body {
    /// Reads a whole JSON object.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BodyError> {
        let text = String::from_utf8(bytes).map_err(|_| BodyError::Malformed("the body is not UTF-8".into()))?;
        let members = {
            let mut reader = serde_json::Deserializer::from_str(&text);
            let raw = reader.deserialize_map(Members).map_err(|e| BodyError::Malformed(e.to_string()))?;
            reader.end().map_err(|e| BodyError::Malformed(e.to_string()))?;
            let origin = text.as_ptr() as usize;
            let mut members: Vec<(String, Range<usize>)> = Vec::with_capacity(raw.len());
            for (name, value) in raw {
                let start = value.get().as_ptr() as usize - origin;
                if members.iter().any(|(known, _)| *known == name) {
                    return Err(BodyError::Duplicate(name.into_owned()));
                }
                members.push((name.into_owned(), start..start + value.get().len()));
            }
            members
        };
        Ok(Self { text, members })
    }

    /// The raw JSON of a member.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, range) = self.members.iter().find(|(known, _)| known == name)?;
        self.text.get(range.clone())
    }

    /// A member that is there and not `null`.
    #[must_use]
    pub fn set(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|raw| *raw != "null")
    }

    /// The names of all members, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(name, _)| name.as_str())
    }

    /// The whole text as it came.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The object again, with some members replaced (`Some`), added or left out (`None`).
    #[must_use]
    pub fn rewritten(&self, changes: &[(&str, Option<Cow<'_, str>>)]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len() + 128);
        out.push(b'{');
        for (name, range) in &self.members {
            match changes.iter().find(|(changed, _)| changed == name) {
                Some((_, Some(value))) => push_member(&mut out, name, value),
                Some((_, None)) => {}
                None => push_member(&mut out, name, self.text.get(range.clone()).unwrap_or("null")),
            }
        }
        for (name, value) in changes {
            if let Some(value) = value
                && self.get(name).is_none()
            {
                push_member(&mut out, name, value);
            }
        }
        out.push(b'}');
        out
    }
}

fn push_member(out: &mut Vec<u8>, name: &str, raw: &str) {
    if out.len() > 1 {
        out.push(b',');
    }
    out.extend_from_slice(quoted(name).as_bytes());
    out.push(b':');
    out.extend_from_slice(raw.as_bytes());
}

/// A JSON string literal.
#[must_use]
pub fn quoted(text: &str) -> String {
    crate::json::write(text)
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key_seed(Name)? {
            if members.len() == MEMBERS_MAX || name.len() > NAME_BYTES_MAX {
                return Err(de::Error::custom("it has more than 500 members, or one with a name above 256 bytes"));
            }
            members.push((name, map.next_value::<&RawValue>()?));
        }
        Ok(members)
    }
}

/// Borrows a name without escapes, owns one with.
struct Name;

impl<'de> de::DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Result<Body, BodyError> {
        Body::parse(text.as_bytes().to_vec())
    }

    #[test]
    fn members_stay_as_they_were_written() {
        let body = body(r#" {"model" : "a", "n":1.50, "x\u0041":[1, 2], "gone":{}} "#).expect("an object");
        assert_eq!(body.get("n"), Some("1.50"));
        assert_eq!(body.get("xA"), Some("[1, 2]"));
        let out = body.rewritten(&[("model", Some("\"b\"".into())), ("gone", None), ("new", Some("true".into()))]);
        assert_eq!(String::from_utf8(out).as_deref(), Ok(r#"{"model":"b","n":1.50,"xA":[1, 2],"new":true}"#));
    }

    #[test]
    fn what_is_no_object_says_so() {
        for text in ["", "[]", "1", "{", "{}x", "{\"a\":}", "\"{}\""] {
            assert!(matches!(body(text), Err(BodyError::Malformed(_))), "{text}");
        }
        assert_eq!(body(r#"{"a":1,"a":2}"#).err(), Some(BodyError::Duplicate("a".into())));
        assert!(matches!(Body::parse(vec![0xff]), Err(BodyError::Malformed(_))));
    }

    #[test]
    fn more_than_any_request_has_is_refused_at_once() {
        let with = |members: usize, letters: usize| {
            let all: Vec<String> = (0..members).map(|n| format!("\"{n:0letters$}\":0")).collect();
            body(&format!("{{{}}}", all.join(",")))
        };
        assert!(with(500, 256).is_ok());
        for (members, letters) in [(501, 3), (60_000, 5), (1, 257)] {
            let told = with(members, letters);
            assert!(
                matches!(&told, Err(BodyError::Malformed(why)) if why.contains("more than 500 members")),
                "{members} members of {letters} letters"
            );
        }
    }
}
