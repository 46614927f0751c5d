//! JSON text to typed values, by way of one small deserializer.
//!
//! Every type that is read costs code in the upload once per deserializer and shape. So there is one deserializer, over a
//! parsed [`Value`], and it takes a struct only from an object. That makes the Wasm a quarter smaller than reading each
//! type straight from text; what is hot and large (callers' bodies) does not come through here.
use serde::Serialize;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde_json::{Error, Map, Value};

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

/// A value as JSON. Plain data always can be; what could not would be null.
#[inline(never)]
pub fn told<T: Serialize + ?Sized>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Adds a member.
#[inline(never)]
pub fn put(members: &mut Map<String, Value>, name: &str, value: Value) {
    members.insert(name.to_owned(), value);
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
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    from_value(serde_json::from_str(text)?)
}

/// Reads a typed value from bytes.
///
/// # Errors
/// As [`read`].
pub fn read_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::custom("not UTF-8"))?;
    read(text)
}

/// Reads a typed value from parsed JSON.
///
/// # Errors
/// JSON of another shape.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(Reader(value))
}

struct Reader(Value);

impl Reader {
    fn unlike<T>(&self, expected: &dyn de::Expected) -> Result<T, Error> {
        let found = match &self.0 {
            Value::Null => Unexpected::Other("null"),
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Number(_) => Unexpected::Other("a number"),
            Value::String(text) => Unexpected::Str(text),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
        };
        Err(Error::invalid_type(found, expected))
    }
}

/// Types that are told by one kind of JSON value.
macro_rules! by_kind {
    ($($method:ident: $pattern:pat => $visit:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0 {
                $pattern => $visit(visitor),
                _ => self.unlike(&visitor),
            }
        }
    )*};
}

/// Numbers and other kinds where the visitor itself says what it takes.
macro_rules! by_any {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.deserialize_any(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => number.deserialize_any(visitor),
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            Value::Object(members) => visitor.visit_map(Members::of(members)),
        }
    }

    by_any! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char deserialize_bytes deserialize_byte_buf
    }

    by_kind! {
        deserialize_bool: Value::Bool(value) => |visitor: V| visitor.visit_bool(value);
        deserialize_str: Value::String(text) => |visitor: V| visitor.visit_string(text);
        deserialize_string: Value::String(text) => |visitor: V| visitor.visit_string(text);
        deserialize_identifier: Value::String(text) => |visitor: V| visitor.visit_string(text);
        deserialize_seq: Value::Array(items) => |visitor: V| visitor.visit_seq(Items(items.into_iter()));
        deserialize_map: Value::Object(members) => |visitor: V| visitor.visit_map(Members::of(members));
        deserialize_unit: Value::Null => |visitor: V| visitor.visit_unit();
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(variant) => visitor.visit_enum(Variant { variant, content: None }),
            Value::Object(members) if members.len() == 1 => match members.into_iter().next() {
                Some((variant, content)) => visitor.visit_enum(Variant { variant, content: Some(content) }),
                None => Err(Error::custom("an empty object")),
            },
            _ => self.unlike(&visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

struct Items(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|value| seed.deserialize(Reader(value))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Members {
    rest: serde_json::map::IntoIter,
    value: Option<Value>,
}

impl Members {
    fn of(members: Map<String, Value>) -> Self {
        Self { rest: members.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Members {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(Reader(Value::String(name))).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(Reader(self.value.take().unwrap_or_default()))
    }
}

struct Variant {
    variant: String,
    content: Option<Value>,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = Error;
    type Variant = Reader;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Reader), Error> {
        let variant = seed.deserialize(Reader(Value::String(self.variant)))?;
        Ok((variant, Reader(self.content.unwrap_or_default())))
    }
}

impl<'de> VariantAccess<'de> for Reader {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        if self.0.is_null() { Ok(()) } else { self.unlike(&"a word alone") }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Whole {
        number: u64,
        signed: i64,
        share: f64,
        text: String,
        maybe: Option<u8>,
        list: Vec<(String, bool)>,
        map: BTreeMap<String, Kind>,
        #[serde(default)]
        absent: Option<String>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Plain,
        One(u32),
        Many { a: bool },
    }

    #[test]
    fn what_is_written_reads_back() {
        let map = [("x", Kind::Plain), ("y", Kind::One(7)), ("z", Kind::Many { a: true })];
        let whole = Whole {
            number: u64::MAX,
            signed: -5,
            share: 0.25,
            text: "é".into(),
            maybe: Some(3),
            list: vec![("a".into(), true)],
            map: map.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect(),
            absent: None,
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
        assert!(why("\"odd\"").contains("unknown variant `odd`"));
        assert!(why("{\"one\":\"x\"}").contains("string \"x\""));
        assert!(why("{\"many\":[1]}").contains("sequence"));
        assert!(why("{\"plain\":1}").contains("a word alone"));
        assert!(read::<Kind>("{").expect_err("cut").is_eof());
        assert!(read::<Whole>("{\"odd\":1}").expect_err("unknown").is_data());
    }
}
