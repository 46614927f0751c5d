//! Writes JSON as text, member by member: what is written once and sent on need not be a tree first.
use crate::body::quoted;

/// Begins the next object or array, where there can be one.
pub(super) fn open(out: &mut String, bracket: char) {
    comma(out);
    out.push(bracket);
}

/// Writes the next member of an object; `raw` is JSON.
pub(super) fn member(out: &mut String, name: &str, raw: &str) {
    comma(out);
    out.push('"');
    out.push_str(name);
    out.push_str("\":");
    out.push_str(raw);
}

/// Writes the next member of an object, a string.
pub(super) fn text(out: &mut String, name: &str, text: &str) {
    member(out, name, &quoted(text));
}

fn comma(out: &mut String) {
    if !out.is_empty() && !out.ends_with(['{', '[', ':']) {
        out.push(',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_stand_between() {
        let mut out = String::new();
        open(&mut out, '{');
        text(&mut out, "a", "{\"[");
        member(&mut out, "b", "[");
        open(&mut out, '{');
        out.push('}');
        open(&mut out, '{');
        member(&mut out, "c", "1");
        out.push_str("}]}");
        assert_eq!(out, r#"{"a":"{\"[","b":[{},{"c":1}]}"#);
    }
}
