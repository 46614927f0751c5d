//! What failed at the platform. The one of `worker` knows thirty kinds of failure, and whoever hands one on carries them all.
use std::fmt;
use wasm_bindgen::prelude::*;

pub enum Error {
    /// What is wrong with what the platform gave.
    Said(String),
    /// What JavaScript threw, as it was thrown.
    Thrown(JsValue),
}

pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said(text) => f.write_str(text),
            Self::Thrown(thrown) => match (thrown.dyn_ref::<js_sys::Error>(), thrown.as_string()) {
                (Some(error), _) => f.write_str(&String::from(error.to_string())),
                (None, Some(text)) => f.write_str(&text),
                (None, None) => f.write_str("something was thrown that is no error"),
            },
        }
    }
}

impl From<&str> for Error {
    fn from(text: &str) -> Self {
        Self::Said(text.to_owned())
    }
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Self::Said(text)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Said(error.to_string())
    }
}

impl From<JsValue> for Error {
    fn from(thrown: JsValue) -> Self {
        Self::Thrown(thrown)
    }
}

impl From<Error> for JsValue {
    fn from(error: Error) -> Self {
        match error {
            Error::Said(text) => js_sys::Error::new(&text).into(),
            Error::Thrown(thrown) => thrown,
        }
    }
}
