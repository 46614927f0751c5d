//! Typed values to JSON text, the same bytes as `serde_json`'s own.
//!
//! Nothing that is written here can fail, so no member's code has to look whether the one before did, and all that knows no
//! type is called, not repeated: `serde_json`'s writer is four times as much code in the upload, for eighty types.
use serde::{
    Serialize,
    ser::{
        self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant, Serializer,
    },
};
use std::fmt::{self, Write as _};

/// A value's JSON.
#[must_use]
pub fn write<T: Serialize + ?Sized>(value: &T) -> String {
    let mut out = Out(String::with_capacity(128));
    // Plain data always can be written; what could not would be nothing.
    if value.serialize(&mut out).is_err() { String::new() } else { out.0 }
}

/// An object of texts; of one name the last counts.
#[must_use]
pub fn object(members: &[(&str, String)]) -> String {
    let mut out = Out(String::with_capacity(512));
    out.0.push('{');
    for (name, value) in members {
        out.next();
        out.string(name);
        out.0.push(':');
        out.string(value);
    }
    out.0.push('}');
    out.0
}

/// A value's JSON as bytes.
#[must_use]
pub fn write_bytes<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write(value).into_bytes()
}

/// A type said that it cannot be written: none of ours does.
#[derive(Debug)]
struct Unwritable;

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot be written as JSON")
    }
}

impl std::error::Error for Unwritable {}

impl ser::Error for Unwritable {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

type Written = Result<(), Unwritable>;

/// What is written so far. An object or a list has begun with its brace or bracket, so that the last byte tells whether what
/// comes is its first: no value ends with one that opens. It is text from the beginning, that nobody has to look at it again.
struct Out(String);

impl Out {
    /// The comma before a member or an item, but for the first.
    #[inline(never)]
    fn next(&mut self) {
        if !matches!(self.0.as_bytes().last(), Some(b'{' | b'[')) {
            self.0.push(',');
        }
    }

    /// A member's name.
    #[inline(never)]
    fn name(&mut self, name: &str) {
        self.next();
        self.string(name);
        self.0.push(':');
    }

    /// The beginning of a variant that holds something, which begins with `open`.
    #[inline(never)]
    fn variant(&mut self, name: &str, open: &str) {
        self.0.push('{');
        self.name(name);
        self.put(open);
    }

    #[inline(never)]
    fn put(&mut self, plain: &str) {
        self.0.push_str(plain);
    }

    #[inline(never)]
    fn string(&mut self, text: &str) {
        self.0.reserve(text.len() + 2);
        self.0.push('"');
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
            let (plain, from) = rest.split_at(at);
            let (special, after) = from.split_at(1);
            self.0.push_str(plain);
            self.special(special);
            rest = after;
        }
        self.0.push_str(rest);
        self.0.push('"');
    }

    /// A character that does not stand in a string as it is.
    #[inline(never)]
    fn special(&mut self, one: &str) {
        let short = match one {
            "\"" => "\\\"",
            "\\" => "\\\\",
            "\n" => "\\n",
            "\r" => "\\r",
            "\t" => "\\t",
            "\u{8}" => "\\b",
            "\u{c}" => "\\f",
            _ => {
                let code = one.bytes().next().unwrap_or_default();
                // Text takes all that is written.
                let _ = write!(self.0, "\\u{code:04x}");
                return;
            }
        };
        self.0.push_str(short);
    }

    #[inline(never)]
    fn whole(&mut self, number: u64) {
        let _ = write!(self.0, "{number}");
    }

    #[inline(never)]
    fn signed(&mut self, number: i64) {
        let _ = write!(self.0, "{number}");
    }

    #[inline(never)]
    fn float(&mut self, number: f64) {
        self.put(&serde_json::to_string(&number).unwrap_or_default());
    }
}

/// Writes plain values, each by one of [`Out`]'s.
macro_rules! plain {
    ($($method:ident($type:ty) |$out:ident, $value:ident| $how:expr;)*) => {$(
        fn $method(self, $value: $type) -> Written {
            let $out = self;
            $how;
            Ok(())
        }
    )*};
}

impl Serializer for &mut Out {
    type Ok = ();
    type Error = Unwritable;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    plain! {
        serialize_bool(bool) |out, value| out.put(if value { "true" } else { "false" });
        serialize_i8(i8) |out, value| out.signed(value.into());
        serialize_i16(i16) |out, value| out.signed(value.into());
        serialize_i32(i32) |out, value| out.signed(value.into());
        serialize_i64(i64) |out, value| out.signed(value);
        serialize_u8(u8) |out, value| out.whole(value.into());
        serialize_u16(u16) |out, value| out.whole(value.into());
        serialize_u32(u32) |out, value| out.whole(value.into());
        serialize_u64(u64) |out, value| out.whole(value);
        serialize_f32(f32) |out, value| out.put(&serde_json::to_string(&value).unwrap_or_default());
        serialize_f64(f64) |out, value| out.float(value);
        serialize_char(char) |out, value| out.string(value.encode_utf8(&mut [0; 4]));
        serialize_str(&str) |out, value| out.string(value);
        serialize_bytes(&[u8]) |out, value| out.put(&serde_json::to_string(value).unwrap_or_default());
        serialize_unit_struct(&'static str) |out, _name| out.put("null");
    }

    fn serialize_none(self) -> Written {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Written {
        self.put("null");
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Written {
        self.string(variant);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Written {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Written {
        self.variant(variant, "");
        value.serialize(&mut *self)?;
        self.put("}");
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Unwritable> {
        self.put("[");
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Unwritable> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Unwritable> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, Unwritable> {
        self.variant(variant, "[");
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Unwritable> {
        self.put("{");
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Unwritable> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, Unwritable> {
        self.variant(variant, "{");
        Ok(self)
    }
}

/// Writes what has items without names.
macro_rules! items {
    ($($trait:ident $method:ident $end:literal)*) => {$(
        impl $trait for &mut Out {
            type Ok = ();
            type Error = Unwritable;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
                self.next();
                value.serialize(&mut **self)
            }

            fn end(self) -> Written {
                self.put($end);
                Ok(())
            }
        }
    )*};
}
items! {
    SerializeSeq serialize_element "]"
    SerializeTuple serialize_element "]"
    SerializeTupleStruct serialize_field "]"
    SerializeTupleVariant serialize_field "]}"
}

/// Writes what has members with names that are known.
macro_rules! fields {
    ($($trait:ident $end:literal)*) => {$(
        impl $trait for &mut Out {
            type Ok = ();
            type Error = Unwritable;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Written {
                self.name(name);
                value.serialize(&mut **self)
            }

            fn end(self) -> Written {
                self.put($end);
                Ok(())
            }
        }
    )*};
}
fields! { SerializeStruct "}" SerializeStructVariant "}}" }

impl SerializeMap for &mut Out {
    type Ok = ();
    type Error = Unwritable;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Written {
        self.next();
        let start = self.0.len();
        key.serialize(&mut **self)?;
        // A name is a string whatever it was.
        if self.0.as_bytes().get(start) != Some(&b'"') {
            self.0.insert(start, '"');
            self.0.push('"');
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        self.put(":");
        value.serialize(&mut **self)
    }

    fn end(self) -> Written {
        self.put("}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};
    use std::collections::BTreeMap;

    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Word,
        Inner(Vec<u8>),
        Pair(i8, f32),
        Named { a: Option<char>, b: () },
    }

    #[derive(Serialize)]
    struct Unit;

    #[derive(Serialize)]
    struct Inside(u16);

    #[derive(Serialize)]
    struct Two(i16, i32);

    #[derive(Serialize)]
    struct Flat {
        x: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        y: Option<u32>,
    }

    #[derive(Serialize)]
    struct Whole {
        kinds: Vec<Kind>,
        #[serde(skip_serializing_if = "String::is_empty")]
        none: String,
        units: (Unit, Inside, Two),
        by_name: BTreeMap<String, bool>,
        by_number: BTreeMap<i64, Vec<Value>>,
        #[serde(flatten)]
        flat: Flat,
        floats: [f64; 6],
        numbers: (u64, i64),
    }

    /// All that a type of ours may hold.
    fn whole(name: &str, y: Option<u32>) -> Whole {
        Whole {
            kinds: vec![
                Kind::Word,
                Kind::Inner(vec![]),
                Kind::Inner(vec![1, 2]),
                Kind::Pair(-1, 0.1),
                Kind::Named { a: Some('"'), b: () },
                Kind::Named { a: None, b: () },
            ],
            none: String::new(),
            units: (Unit, Inside(3), Two(-4, 5)),
            by_name: [(name.to_owned(), true), ("{".to_owned(), false), ("[".to_owned(), true)].into(),
            by_number: [(-7, vec![json!([]), json!({}), json!(null)]), (8, vec![])].into(),
            flat: Flat { x: 1.0, y },
            floats: [0.0, -0.0, 1e300, 0.1 + 0.2, f64::NAN, f64::INFINITY],
            numbers: (u64::MAX, i64::MIN),
        }
    }

    #[test]
    fn every_shape_is_written_as_serde_json_writes_it() {
        for (name, y) in [
            ("", None),
            ("\u{0}\u{8}\u{9}\u{a}\u{c}\u{d}\u{1f}\u{7f}\u{80}", Some(1)),
            ("é\u{1}\"\\/\u{2028}", Some(9)),
            ("}", Some(0)),
        ] {
            let whole = whole(name, y);
            assert_eq!(write(&whole), serde_json::to_string(&whole).expect("plain data"));
        }
        assert_eq!(
            (write(&Unit), write("[{"), write_bytes(&[0_u8; 0])),
            ("null".into(), "\"[{\"".into(), b"[]".to_vec())
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_is_written_as_serde_json_writes_it(value in values()) {
            prop_assert_eq!(write(&value), serde_json::to_string(&value).expect("plain data"));
        }
    }
}
