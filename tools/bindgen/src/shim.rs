//! What wasm-bindgen's JavaScript does for every browser and this platform does faster otherwise.

/// How an import begins and ends: each call of it makes a function and a list of its arguments.
const BEGINS: (&str, &str) = ("function() { return wrapError(function ", " {\n");
const ENDS: &str = "}, arguments); },\n";
/// The function that calls it, and what it does where that throws: Wasm catches nothing but its own kind of exception.
const WRAPS: &str =
    "function wrapError(f, args) {\n    try {\n        return f.apply(this, args);\n    } catch (e) {\n";
const CATCHES: &str = "function raised(e) {\n    {\n";

/// What is written otherwise, and why.
const CHANGES: [(&str, &str); 5] = [
    (WRAPS, CATCHES),
    // The platform's own queue goes through its C++; a promise's does not.
    ("            queueMicrotask(arg0);\n", "            Promise.resolve().then(arg0);\n"),
    // Closures belong to Rust, which drops them; none is left to JavaScript's garbage.
    ("            CLOSURE_DTORS.unregister(state);\n", ""),
    ("    CLOSURE_DTORS.register(real, state, state);\n", ""),
    (
        "const CLOSURE_DTORS = (typeof FinalizationRegistry === 'undefined')\n    ? { register: () => {}, unregister: () => {} }\n    : \
         new FinalizationRegistry(state => {\n    if (state.instance === __wbg_instance_id) {\n        \
         wasm.__wbindgen_destroy_closure(state.a, state.b);\n    }\n});\n",
        "",
    ),
];

/// The text with imports that are called directly.
///
/// # Errors
/// Where the text is not as it was when this was written: another wasm-bindgen.
pub fn direct(text: &str) -> Result<String, String> {
    let mut text = text.to_owned();
    for (old, new) in CHANGES {
        if text.matches(old).count() != 1 {
            return Err(format!("wasm-bindgen writes something else than {old:?}"));
        }
        text = text.replacen(old, new, 1);
    }
    let mut parts = text.split(BEGINS.0);
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (parameters, rest) = part.split_once(BEGINS.1).ok_or("an import has no body")?;
        let (body, after) = rest.split_once(ENDS).ok_or("an import has no end")?;
        whole.extend(["function", parameters, " { try {\n", body, "} catch (e) { raised(e); } },\n", after]);
    }
    if whole.contains("wrapError") { Err("an import is of another form".to_owned()) } else { Ok(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_called_directly() {
        let import = "        w1: function() { return wrapError(function (arg0) {\n            return arg0.x();\n        }, arguments); },\n";
        let rest: String = CHANGES.iter().map(|(old, _)| *old).collect();
        let text = direct(&format!("{rest}{import}{import}")).expect("changed");
        let expected =
            "        w1: function(arg0) { try {\n            return arg0.x();\n        } catch (e) { raised(e); } },\n";
        assert!(text.ends_with(&format!("{expected}{expected}")), "{text}");
        assert!(text.starts_with(CATCHES) && !text.contains("queueMicrotask") && !text.contains("CLOSURE_DTORS"));
    }

    #[test]
    fn another_form_is_noticed() {
        let rest: String = CHANGES.iter().map(|(old, _)| *old).collect();
        assert!(direct("").is_err() && direct(&format!("{rest}{rest}")).is_err());
        assert!(direct(&format!("{rest}w1: function() {{ return wrapError((arg0) => 1, arguments); }},\n")).is_err());
    }
}
