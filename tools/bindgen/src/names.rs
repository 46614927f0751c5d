//! Gives short names to what the Wasm and its JavaScript have between them. wasm-bindgen's own end in hashes, which no
//! compression makes smaller, and each stands in both.
use std::collections::HashMap;

use walrus::Module;

/// What an import's name begins with.
const IMPORT: &str = "__wb";
/// What the name of a closure's export begins with: it goes on with all its types.
const CLOSURE: &str = "wasm_bindgen_";

/// Renames in the module, and says what was called how.
pub fn shorten(module: &mut Module) -> HashMap<String, String> {
    let imports = module.imports.iter_mut().map(|import| &mut import.name).filter(|name| name.starts_with(IMPORT));
    let exports = module.exports.iter_mut().map(|export| &mut export.name).filter(|name| name.starts_with(CLOSURE));
    let mut short = HashMap::new();
    for (place, name) in imports.chain(exports).enumerate() {
        let long = std::mem::replace(name, format!("w{place}"));
        short.insert(long, name.clone());
    }
    short
}

/// The text with the names changed that stand in it.
pub fn renamed(text: &str, short: &HashMap<String, String>) -> String {
    let is_inside = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_inside) {
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(|c| !is_inside(c)).unwrap_or(from.len()));
        words.extend([before, short.get(word).map_or(word, String::as_str)]);
        rest = after;
    }
    words.push(rest);
    words.concat()
}
