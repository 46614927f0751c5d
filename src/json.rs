//! JSON text to typed values and back.
//!
//! Text is parsed into a [`Value`] by the one reader there is for it, and the value fills a type by way of [`Read`]. What
//! is hot and large (callers' bodies) does not come through here.
use serde::{Serialize, de::Error as _};
use serde_json::{Error, Map, Value};

mod read;
mod write;
pub use read::{Filled, Member, Read, Rows, Wrong, fill_members, nothing, text, unlike, variant, word, wrong};
pub(crate) use read::{inside, members, variants, words};
pub use write::{object, write, write_bytes};

/// Writes a [`Value`] as JSON is written, like `serde_json::json!`, with a call per member instead of its code in place:
/// there are hundreds of members.
macro_rules! json {
    (null) => { serde_json::Value::Null };
    ([ $($items:tt)* ]) => { serde_json::Value::Array($crate::json::json!(@items [] $($items)*)) };
    ({ $($members:tt)* }) => {{
        #[allow(unused_mut, reason = "an object may be empty")]
        let mut members = serde_json::Map::new();
        $crate::json::json!(@members members $($members)*);
        serde_json::Value::Object(members)
    }};
    (@members $map:ident) => {};
    (@members $map:ident $name:tt : null $(, $($rest:tt)*)?) => {
        $crate::json::put(&mut $map, $name, serde_json::Value::Null);
        $($crate::json::json!(@members $map $($rest)*);)?
    };
    (@members $map:ident $name:tt : { $($inner:tt)* } $(, $($rest:tt)*)?) => {
        $crate::json::put(&mut $map, $name, $crate::json::json!({ $($inner)* }));
        $($crate::json::json!(@members $map $($rest)*);)?
    };
    (@members $map:ident $name:tt : [ $($inner:tt)* ] $(, $($rest:tt)*)?) => {
        $crate::json::put(&mut $map, $name, $crate::json::json!([ $($inner)* ]));
        $($crate::json::json!(@members $map $($rest)*);)?
    };
    (@members $map:ident $name:tt : $value:expr $(, $($rest:tt)*)?) => {
        $crate::json::put_told(&mut $map, $name, &$value);
        $($crate::json::json!(@members $map $($rest)*);)?
    };
    (@items [$($done:expr,)*]) => { vec![$($done,)*] };
    (@items [$($done:expr,)*] null $(, $($rest:tt)*)?) => {
        $crate::json::json!(@items [$($done,)* serde_json::Value::Null,] $($($rest)*)?)
    };
    (@items [$($done:expr,)*] { $($inner:tt)* } $(, $($rest:tt)*)?) => {
        $crate::json::json!(@items [$($done,)* $crate::json::json!({ $($inner)* }),] $($($rest)*)?)
    };
    (@items [$($done:expr,)*] [ $($inner:tt)* ] $(, $($rest:tt)*)?) => {
        $crate::json::json!(@items [$($done,)* $crate::json::json!([ $($inner)* ]),] $($($rest)*)?)
    };
    (@items [$($done:expr,)*] $value:expr $(, $($rest:tt)*)?) => {
        $crate::json::json!(@items [$($done,)* $crate::json::told(&$value),] $($($rest)*)?)
    };
    ($value:expr) => { $crate::json::told(&$value) };
}
pub(crate) use json;

/// A page of rows, in the form of every list of ours. Rows carry an `id`.
#[must_use]
pub fn list_of(rows: Vec<Value>, has_more: bool) -> Value {
    let id = |row: Option<&Value>| row.and_then(|row| row.get("id")).cloned().unwrap_or_default();
    let (first_id, last_id) = (id(rows.first()), id(rows.last()));
    json!({"object": "list", "data": rows, "first_id": first_id, "last_id": last_id, "has_more": has_more})
}

/// A value as JSON. Plain data always can be; what could not would be null.
#[inline(never)]
pub fn told<T: Serialize + ?Sized>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// A value as JSON by way of its text: for large types that are written as text anyway, whose second writer would only weigh.
#[must_use]
pub fn told_by_text<T: Serialize + ?Sized>(value: &T) -> Value {
    serde_json::from_str(&write(value)).unwrap_or_default()
}

/// A value's text. `Value::to_string` goes through the formatter: a slower writer, and 3 kB more of code if it is linked too.
#[must_use]
pub fn written(value: &Value) -> String {
    write(value)
}

/// Adds a member.
#[inline(never)]
pub fn put(members: &mut Map<String, Value>, name: &str, value: Value) {
    members.insert(name.to_owned(), value);
}

/// Adds a member that is text.
#[inline(never)]
pub fn put_text(members: &mut Map<String, Value>, name: &str, text: &str) {
    put(members, name, text.into());
}

/// Adds a member from plain data.
#[inline(never)]
pub fn put_told<T: Serialize + ?Sized>(members: &mut Map<String, Value>, name: &str, value: &T) {
    put(members, name, told(value));
}

/// Reads a typed value.
///
/// # Errors
/// Not JSON ([`Error::is_syntax`], [`Error::is_eof`]), or JSON of another shape ([`Error::is_data`]).
pub fn read<T: Read>(text: &str) -> Result<T, Error> {
    read_bytes(text.as_bytes())
}

/// Reads a row in among others.
///
/// # Errors
/// As [`read`].
#[inline(never)]
pub fn read_row(rows: &mut dyn Rows, name: &str, text: &str) -> Result<(), Error> {
    rows.take_in(name, serde_json::from_str(text)?).map_err(Error::custom)
}

/// Reads a typed value from bytes.
///
/// # Errors
/// As [`read`].
pub fn read_bytes<T: Read>(bytes: &[u8]) -> Result<T, Error> {
    let mut read = T::blank();
    fill_from_bytes(&mut read, bytes)?;
    Ok(read)
}

/// Reads a typed value from parsed JSON.
///
/// # Errors
/// JSON of another shape.
pub fn from_value<T: Read>(value: Value) -> Result<T, Error> {
    let mut read = T::blank();
    fill_from(&mut read, value)?;
    Ok(read)
}

// What is the same for every type stands once.

#[inline(never)]
fn fill_from_bytes(read: &mut dyn Read, bytes: &[u8]) -> Result<(), Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::custom("not UTF-8"))?;
    fill_from(read, serde_json::from_str(text)?)
}

#[inline(never)]
fn fill_from(read: &mut dyn Read, value: Value) -> Result<(), Error> {
    read.fill(value).map_err(Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;
    use serde::Serialize;

    #[derive(Debug, PartialEq, Serialize)]
    struct Whole {
        number: u64,
        share: f64,
        text: String,
        maybe: Option<u8>,
        list: Vec<(String, bool)>,
        map: Table<String, Kind>,
        absent: Option<String>,
        said: u8,
    }

    members!(strict Whole { number, share, text, maybe, list, map, absent, said = 7 });

    #[derive(Debug, PartialEq, Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Plain,
        One(u32),
        Many { a: bool },
    }

    variants!(Kind, Self::Plain, {
        Plain = "plain",
        One(inner) = "one",
        Many { a } = "many",
    });

    #[test]
    fn what_is_written_reads_back() {
        let mut map = Table::default();
        for (name, kind) in [("x", Kind::Plain), ("y", Kind::One(7)), ("z", Kind::Many { a: true })] {
            map.insert(name.to_owned(), kind);
        }
        let whole = Whole {
            number: u64::MAX,
            share: 0.25,
            text: "é".into(),
            maybe: Some(3),
            list: vec![("a".into(), true)],
            map,
            absent: None,
            said: 9,
        };
        let text = serde_json::to_string(&whole).expect("plain data");
        assert_eq!(read::<Whole>(&text).expect("reads back"), whole);
        assert_eq!(read_bytes::<Whole>(text.as_bytes()).expect("reads back"), whole);
    }

    #[test]
    fn json_is_written_as_it_reads() {
        let (name, list) = ("n", vec![1, 2]);
        let ours = json!({"a": 1, "b": {"c": [null, name, [true], {"d": 2.5}]}, "e": null, "f": list.len() + 1, "g": list, "h": [], "i": {}});
        let theirs = serde_json::json!({"a": 1, "b": {"c": [null, "n", [true], {"d": 2.5}]}, "e": null, "f": 3, "g": [1, 2], "h": [], "i": {}});
        assert_eq!(ours, theirs);
        assert_eq!((json!(null), json!("x"), json!([1,])), (Value::Null, Value::from("x"), serde_json::json!([1])));
    }

    #[test]
    fn what_does_not_fit_says_why() {
        let why = |text: &str| read::<Kind>(text).map_err(|error| error.to_string()).expect_err("does not fit");
        assert_eq!(why("\"odd\""), "unknown variant `odd`, expected one of `plain`, `one`, `many`");
        assert_eq!(why("{\"one\":\"x\"}"), "expected a whole number (u32), found \"x\"");
        assert_eq!(why("{\"many\":[1]}"), "expected an object, found a list");
        assert_eq!(why("{\"many\":{}}"), "missing field `a`");
        assert_eq!(why("{\"plain\":1}"), "expected a word alone, found 1");
        assert!(read::<Kind>("{").expect_err("cut").is_eof());
        let whole = |text: &str| read::<Whole>(text).expect_err("does not fit");
        assert!(whole("{\"odd\":1}").is_data());
        assert!(whole("{\"odd\":1}").to_string().starts_with("unknown field `odd`, expected one of `number`, `share`"));
        let inside = whole("{\"number\":1,\"share\":1,\"text\":\"\",\"list\":[[\"a\",1]],\"map\":{}}");
        assert_eq!(inside.to_string(), "list.0.1: expected true or false, found 1");
    }

    #[test]
    fn what_may_be_absent_is_as_said() {
        let whole: Whole = read("{\"number\":1,\"share\":1,\"text\":\"\",\"list\":[],\"map\":{}}").expect("whole");
        assert_eq!((whole.maybe, whole.absent, whole.said), (None, None, 7));
    }
}
