//! Typed values from parsed JSON: a blank value is made first, then filled member by member.
//!
//! The work is done by a few functions that know no type; a type adds a table of names and the places to fill. Derived
//! readers are ten times as much code in the upload, and there are sixty types.
use crate::table::Table;
use serde_json::{Map, Value};
use std::fmt;

/// Why a value does not fit, and where. One word, so that handing it on costs little.
#[derive(Debug)]
pub struct Wrong(Box<Told>);

#[derive(Debug)]
struct Told {
    /// As `models.0.id`; empty for the value as a whole.
    path: String,
    why: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.path.is_empty() {
            write!(f, "{}: ", self.0.path)?;
        }
        f.write_str(&self.0.why)
    }
}

pub type Filled = Result<(), Wrong>;

/// What can be read.
pub trait Read {
    /// A value to be filled: what it holds stays only where a member may be absent.
    fn blank() -> Self
    where
        Self: Sized;

    /// Takes over what JSON tells.
    ///
    /// # Errors
    /// What does not fit. The value is of no use then.
    fn fill(&mut self, value: Value) -> Filled;

    /// Whether a member of this type may always be left out.
    fn may_be_absent(&self) -> bool {
        false
    }
}

/// A member's name, and whether it may be left out whatever its type.
pub type Member = (&'static str, bool);

/// Makes a struct readable. An unknown member is refused with `strict` and passed over without. A member with `= value`
/// may be left out, as may one whose type is an `Option`; with `default` every one may, and is then as in `Default`. What
/// stands `beside` is not read. What is `flat` in a member stands on the wire beside the others.
macro_rules! members {
    (strict default $type:ident { $($name:ident),* $(,)? }) => {
        $crate::json::members!(@read $type, true, Self::default(), $(($name, true))*);
    };
    (default $type:ident { $($name:ident),* $(,)? }) => {
        $crate::json::members!(@read $type, false, Self::default(), $(($name, true))*);
    };
    ($type:ident { $($name:ident),* $(,)? } beside { $($beside:ident: $value:expr),* }) => {
        $crate::json::members!(
            @read $type, false, Self { $($name: $crate::json::Read::blank(),)* $($beside: $value),* }, $(($name, false))*
        );
    };
    (strict $type:ident { $($name:ident $(= $absent:expr)?),* $(,)? } flat $holder:ident { $($flat:ident),* $(,)? }) => {
        $crate::json::members!(
            @read $type, true,
            Self { $($name: $crate::json::members!(@blank $($absent)?),)* $holder: $crate::json::Read::blank() },
            $(($name, $crate::json::members!(@optional $($absent)?)))* $(($flat in $holder, false))*
        );
    };
    (strict $type:ident { $($members:tt)* }) => { $crate::json::members!(@list $type, true, $($members)*); };
    ($type:ident { $($members:tt)* }) => { $crate::json::members!(@list $type, false, $($members)*); };
    (@list $type:ident, $strict:literal, $($name:ident $(= $absent:expr)?),* $(,)?) => {
        $crate::json::members!(
            @read $type, $strict, Self { $($name: $crate::json::members!(@blank $($absent)?),)* },
            $(($name, $crate::json::members!(@optional $($absent)?)))*
        );
    };
    (@blank) => { $crate::json::Read::blank() };
    (@blank $absent:expr) => { $absent };
    (@optional) => { false };
    (@optional $absent:expr) => { true };
    (@read $type:ident, $strict:literal, $blank:expr, $(($name:ident $(in $holder:ident)?, $optional:expr))*) => {
        impl $crate::json::Read for $type {
            fn blank() -> Self {
                $blank
            }

            fn fill(&mut self, value: serde_json::Value) -> $crate::json::Filled {
                const MEMBERS: &[$crate::json::Member] = &[$((stringify!($name), $optional)),*];
                $crate::json::fill_members(value, $strict, MEMBERS, &mut [$(&mut self.$($holder.)?$name),*])
            }
        }
    };
}

/// Makes a struct readable that is nothing but what it holds.
macro_rules! inside {
    ($type:ident) => {
        impl $crate::json::Read for $type {
            fn blank() -> Self {
                Self($crate::json::Read::blank())
            }

            fn fill(&mut self, value: serde_json::Value) -> $crate::json::Filled {
                $crate::json::Read::fill(&mut self.0, value)
            }
        }
    };
}

/// Makes an enum readable that is a plain word.
macro_rules! words {
    ($type:ident { $first:ident = $first_word:literal $(, $variant:ident = $word:literal)* $(,)? }) => {
        impl $crate::json::Read for $type {
            fn blank() -> Self {
                Self::$first
            }

            fn fill(&mut self, value: serde_json::Value) -> $crate::json::Filled {
                const ALL: &[$type] = &[$type::$first $(, $type::$variant)*];
                let place = $crate::json::word(value, &[$first_word $(, $word)*])?;
                if let Some(found) = ALL.get(place) {
                    *self = *found;
                }
                // A word for every variant.
                match self {
                    Self::$first $(| Self::$variant)* => Ok(()),
                }
            }
        }
    };
}

/// Makes an enum readable whose variants are `"word"` or `{"word": content}`; its blank is said in front.
macro_rules! variants {
    ($type:ident, $blank:expr, {
        $($variant:ident $(($inner:ident))? $({ $($name:ident),* $(,)? })? = $word:literal),* $(,)?
    }) => {
        impl $crate::json::Read for $type {
            fn blank() -> Self {
                $blank
            }

            fn fill(&mut self, value: serde_json::Value) -> $crate::json::Filled {
                const BLANKS: &[fn() -> $type] = &[$(
                    || $type::$variant $(($crate::json::variants!(@blank $inner)))? $({ $($name: $crate::json::Read::blank()),* })?
                ),*];
                let (place, content) = $crate::json::variant(value, &[$($word),*])?;
                if let Some(blank) = BLANKS.get(place) {
                    *self = blank();
                }
                match self {
                    $(Self::$variant $(($inner))? $({ $($name),* })? =>
                        $crate::json::variants!(@fill content $(, $inner)? $({ $($name),* })?),)*
                }
            }
        }
    };
    (@blank $inner:ident) => { $crate::json::Read::blank() };
    (@fill $content:ident) => { $crate::json::nothing(&$content) };
    (@fill $content:ident, $inner:ident) => { $inner.fill($content) };
    (@fill $content:ident { $($name:ident),* }) => {{
        const MEMBERS: &[$crate::json::Member] = &[$((stringify!($name), false)),*];
        $crate::json::fill_members($content, false, MEMBERS, &mut [$($name),*])
    }};
}
pub(crate) use {inside, members, variants, words};

/// What is said of a value that does not fit.
#[cold]
#[inline(never)]
pub fn wrong(why: String) -> Wrong {
    Wrong(Box::new(Told { path: String::new(), why }))
}

/// What is said of a value of another kind.
#[cold]
#[inline(never)]
pub fn unlike(value: &Value, expected: &str) -> Wrong {
    wrong(match value {
        Value::Array(_) => format!("expected {expected}, found a list"),
        Value::Object(_) => format!("expected {expected}, found an object"),
        plain => format!("expected {expected}, found {}", super::written(plain)),
    })
}

#[cold]
#[inline(never)]
fn unknown(what: &str, name: &str, known: &mut dyn Iterator<Item = &'static str>) -> Wrong {
    let mut why = format!("unknown {what} `{name}`, expected one of");
    for (place, name) in known.enumerate() {
        why.push_str(if place == 0 { " `" } else { ", `" });
        why.push_str(name);
        why.push('`');
    }
    wrong(why)
}

#[cold]
#[inline(never)]
fn within(name: &str, mut wrong: Wrong) -> Wrong {
    if !wrong.0.path.is_empty() {
        wrong.0.path.insert(0, '.');
    }
    wrong.0.path.insert_str(0, name);
    wrong
}

/// Fills the members of an object, each place by the name that stands at the same index.
///
/// # Errors
/// No object, an unknown member where that is refused, a missing one, or one that does not fit.
#[inline(never)]
pub fn fill_members(value: Value, strict: bool, members: &[Member], places: &mut [&mut dyn Read]) -> Filled {
    let mut given = object(value)?;
    if strict && let Some(name) = given.keys().find(|name| !members.iter().any(|member| member.0 == name.as_str())) {
        return Err(unknown("field", name, &mut members.iter().map(|member| member.0)));
    }
    for ((name, optional), place) in members.iter().zip(places) {
        match given.swap_remove(*name) {
            Some(value) => place.fill(value).map_err(|wrong| within(name, wrong))?,
            None if *optional || place.may_be_absent() => {}
            None => return Err(wrong(format!("missing field `{name}`"))),
        }
    }
    Ok(())
}

fn object(value: Value) -> Result<Map<String, Value>, Wrong> {
    match value {
        Value::Object(members) => Ok(members),
        other => Err(unlike(&other, "an object")),
    }
}

/// A text.
///
/// # Errors
/// Something else.
pub fn text(value: Value) -> Result<String, Wrong> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(unlike(&other, "a string")),
    }
}

/// The index of a word.
///
/// # Errors
/// No word, or none of these.
#[inline(never)]
pub fn word(value: Value, words: &'static [&'static str]) -> Result<usize, Wrong> {
    let word = text(value)?;
    words.iter().position(|known| *known == word).ok_or_else(|| unknown("variant", &word, &mut words.iter().copied()))
}

/// The index of a variant's word, and the content it has.
///
/// # Errors
/// No variant, or none of these.
#[inline(never)]
pub fn variant(value: Value, words: &'static [&'static str]) -> Result<(usize, Value), Wrong> {
    match value {
        Value::Object(members) if members.len() == 1 => match members.into_iter().next() {
            Some((name, content)) => Ok((word(Value::String(name), words)?, content)),
            None => Err(unlike(&Value::Null, "a word")),
        },
        Value::String(_) => Ok((word(value, words)?, Value::Null)),
        other => Err(unlike(&other, "a word, or an object with one member")),
    }
}

/// The content of a variant that has none.
///
/// # Errors
/// It has.
pub fn nothing(content: &Value) -> Filled {
    if content.is_null() { Ok(()) } else { Err(unlike(content, "a word alone")) }
}

/// Hands on the items of a list.
#[inline(never)]
fn each(value: Value, take: &mut dyn FnMut(Value) -> Filled) -> Filled {
    let Value::Array(items) = value else { return Err(unlike(&value, "a list")) };
    for (place, item) in items.into_iter().enumerate() {
        take(item).map_err(|wrong| within(&place.to_string(), wrong))?;
    }
    Ok(())
}

/// Hands on the members of an object whose names are data.
#[inline(never)]
fn each_member(value: Value, take: &mut dyn FnMut(&str, Value) -> Filled) -> Filled {
    for (name, value) in object(value)? {
        take(&name, value).map_err(|wrong| within(&name, wrong))?;
    }
    Ok(())
}

impl Read for Value {
    fn blank() -> Self {
        Self::Null
    }

    fn fill(&mut self, value: Value) -> Filled {
        *self = value;
        Ok(())
    }
}

impl Read for String {
    fn blank() -> Self {
        Self::new()
    }

    fn fill(&mut self, value: Value) -> Filled {
        *self = text(value)?;
        Ok(())
    }
}

impl Read for bool {
    fn blank() -> Self {
        false
    }

    fn fill(&mut self, value: Value) -> Filled {
        *self = value.as_bool().ok_or_else(|| unlike(&value, "true or false"))?;
        Ok(())
    }
}

impl Read for f64 {
    fn blank() -> Self {
        0.0
    }

    fn fill(&mut self, value: Value) -> Filled {
        *self = value.as_f64().ok_or_else(|| unlike(&value, "a number"))?;
        Ok(())
    }
}

macro_rules! whole_numbers {
    ($($type:ident)*) => {$(
        impl Read for $type {
            fn blank() -> Self {
                0
            }

            fn fill(&mut self, value: Value) -> Filled {
                let number = value.as_u64().and_then(|number| Self::try_from(number).ok());
                *self = number.ok_or_else(|| unlike(&value, concat!("a whole number (", stringify!($type), ")")))?;
                Ok(())
            }
        }
    )*};
}
whole_numbers!(u8 u16 u32 u64 usize);

impl Read for i64 {
    fn blank() -> Self {
        0
    }

    fn fill(&mut self, value: Value) -> Filled {
        *self = value.as_i64().ok_or_else(|| unlike(&value, "a whole number (i64)"))?;
        Ok(())
    }
}

impl<T: Read> Read for Option<T> {
    fn blank() -> Self {
        None
    }

    fn fill(&mut self, value: Value) -> Filled {
        if value.is_null() {
            *self = None;
            return Ok(());
        }
        self.insert(T::blank()).fill(value)
    }

    fn may_be_absent(&self) -> bool {
        true
    }
}

impl<T: Read> Read for Box<T> {
    fn blank() -> Self {
        Self::new(T::blank())
    }

    fn fill(&mut self, value: Value) -> Filled {
        T::fill(self, value)
    }
}

impl<T: Read> Read for Vec<T> {
    fn blank() -> Self {
        Self::new()
    }

    fn fill(&mut self, value: Value) -> Filled {
        self.clear();
        each(value, &mut |item| {
            self.push(T::blank());
            self.last_mut().map_or(Ok(()), |last| last.fill(item))
        })
    }
}

impl<T: Read> Read for Table<String, T> {
    fn blank() -> Self {
        Self::default()
    }

    fn fill(&mut self, value: Value) -> Filled {
        each_member(value, &mut |name, value| self.take_in(name, value))
    }
}

/// Rows by name, of whatever type.
pub trait Rows {
    /// Takes over what JSON tells of one.
    ///
    /// # Errors
    /// What does not fit.
    fn take_in(&mut self, name: &str, value: Value) -> Filled;
}

impl<T: Read> Rows for Table<String, T> {
    fn take_in(&mut self, name: &str, value: Value) -> Filled {
        let mut row = T::blank();
        row.fill(value)?;
        self.insert(name.to_owned(), row);
        Ok(())
    }
}

/// A pair is a list of two.
impl<A: Read, B: Read> Read for (A, B) {
    fn blank() -> Self {
        (A::blank(), B::blank())
    }

    fn fill(&mut self, value: Value) -> Filled {
        let places: [&mut dyn Read; 2] = [&mut self.0, &mut self.1];
        let mut places = places.into_iter();
        let mut filled = 0;
        each(value, &mut |item| {
            filled += 1;
            match places.next() {
                Some(place) => place.fill(item),
                None => Err(unlike(&item, "the end of a pair")),
            }
        })?;
        if filled == 2 { Ok(()) } else { Err(wrong("expected two items".to_owned())) }
    }
}
