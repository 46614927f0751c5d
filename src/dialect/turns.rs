//! Turns of two sides: how providers want a conversation that know no role for the results of tools.
//!
//! Consecutive messages of one side are one turn, the results of tools stand apart from what is beside them, and it is a
//! user who speaks first.
use super::carried::short_id;
use crate::{
    catalog::sha256_hex,
    chat::{Part, Request, Role},
    fault::Fault,
    json::{json, put},
    table::Table,
};
use serde_json::{Map, Value};

/// Consecutive messages of one side.
#[derive(Default)]
pub(super) struct Turn {
    pub assistant: bool,
    /// What tools gave back. It goes before the rest.
    pub results: Vec<Value>,
    pub blocks: Vec<Value>,
}

impl Turn {
    /// The turn as a message whose results and blocks are one list.
    pub(super) fn message(mut self) -> Value {
        self.results.append(&mut self.blocks);
        let role = if self.assistant { "assistant" } else { "user" };
        with(json!({ "role": role }), "content", self.results.into())
    }
}

/// An object with one more member. What may be megabytes is moved, where `json!` would copy it.
pub(super) fn with(mut object: Value, name: &str, value: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        put(members, name, value);
    }
    object
}

/// A dialect's words for the parts of messages.
pub(super) trait Words {
    /// Appends a part of the message at `place` to its turn, if it says anything there.
    ///
    /// # Errors
    /// A 400 that names the message.
    fn part(&mut self, part: &Part, place: usize, turn: &mut Turn) -> Result<(), Fault>;
}

/// The hub's messages: the blocks of the system's that stand in front, and the turns.
pub(super) fn of(request: &Request, words: &mut dyn Words) -> Result<(Vec<Value>, Vec<Turn>), Fault> {
    let (mut system, mut turns) = (Vec::new(), Vec::<Turn>::new());
    for (place, message) in request.messages.iter().enumerate() {
        let mut turn = Turn { assistant: message.role == Role::Assistant, ..Turn::default() };
        for part in &message.parts {
            words.part(part, place, &mut turn)?;
        }
        // Between turns only the newest models know a system message; the user's turn says it to all.
        if message.role == Role::System && turns.is_empty() {
            system.append(&mut turn.blocks);
        }
        if turn.results.is_empty() && turn.blocks.is_empty() {
            continue;
        }
        match turns.last_mut().filter(|last| last.assistant == turn.assistant) {
            Some(last) => {
                last.results.append(&mut turn.results);
                last.blocks.append(&mut turn.blocks);
            }
            None => turns.push(turn),
        }
    }
    if turns.is_empty() {
        // A system message alone is a prompt elsewhere; here a user has to speak.
        let blocks = std::mem::take(&mut system);
        if blocks.is_empty() {
            return Err(Fault::parameter("messages", "`messages` holds no text. Say something."));
        }
        turns.push(Turn { blocks, ..Turn::default() });
    }
    if turns.first().is_some_and(|turn| turn.assistant) {
        let mut turn = Turn::default();
        words.part(&Part::text("Continue."), 0, &mut turn)?;
        turns.insert(0, turn);
    }
    // A prefill may not end in white space.
    if let Some(turn) = turns.last_mut().filter(|turn| turn.assistant)
        && let Some(Value::String(text)) = turn.blocks.last_mut().and_then(|block| block.get_mut("text"))
    {
        text.truncate(text.trim_end().len());
    }
    Ok((system, turns))
}

/// The tools a history names, each once.
pub(super) fn called(request: &Request) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for part in request.messages.iter().flat_map(|message| &message.parts) {
        if let Part::ToolCall { name, .. } = part
            && !names.contains(&name.as_str())
        {
            names.push(name);
        }
    }
    names
}

/// Ids of calls in the letters and the length providers allow: the same for a call and its result, different for
/// different calls.
#[derive(Default)]
pub(super) struct Ids {
    ours: Table<String, String>,
    taken: Table<String, u32>,
}

impl Ids {
    pub(super) fn of(&mut self, theirs: &str) -> String {
        let theirs = short_id(theirs);
        if let Some(ours) = self.ours.get(theirs) {
            return ours.clone();
        }
        let mut ours = allowed_id(theirs);
        if ours.len() > 64 {
            ours = sha256_hex(theirs.as_bytes());
        }
        let mut uses = 0;
        self.taken.change(&ours, |taken| {
            *taken += 1;
            uses = *taken;
        });
        if uses > 1 {
            ours = format!("{ours}_{uses}");
        }
        self.ours.insert(theirs.to_owned(), ours.clone());
        ours
    }
}

/// A call's id in the letters `a-zA-Z0-9_-`.
pub(super) fn allowed_id(id: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let id: String = id.chars().map(allowed).collect();
    if id.is_empty() { "toolu_0".to_owned() } else { id }
}

/// A call's arguments as the object these providers want. Text that is no object is kept whole inside one.
pub(super) fn input_object(arguments: &str) -> Value {
    if arguments.trim().is_empty() {
        return Value::Object(Map::new());
    }
    let told = serde_json::from_str(arguments).ok().filter(Value::is_object);
    told.unwrap_or_else(|| json!({ "arguments": arguments }))
}

/// A part the provider cannot take.
#[cold]
#[inline(never)]
pub(super) fn not_taken(place: usize, what: &str) -> Fault {
    let path = format!("messages[{place}].content");
    let message =
        format!("`{path}` holds {what}, which the chosen model's provider does not take. Name another model.");
    Fault::invalid("unsupported_parameter", message).with_param(&path)
}

/// What is said of media that only another provider can find.
pub(super) const BY_ID: &str = "a file known to another provider by its id";
pub(super) const BY_ADDRESS: &str = "the address of a file instead of its bytes (send them as base64)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_and_stay_apart() {
        let mut ids = Ids::default();
        assert_eq!(ids.of("f.a:0__sig_QQ"), "f_a_0");
        assert_eq!(ids.of("f.a:0"), "f_a_0", "the call and its result");
        assert_eq!(ids.of("f_a_0"), "f_a_0_2", "another call");
        assert_eq!(ids.of(""), "toolu_0");
        let long = ids.of(&"x".repeat(65));
        assert!(long.len() == 64 && long != ids.of(&"x".repeat(66)));
    }

    #[test]
    fn arguments_are_always_an_object() {
        assert_eq!(input_object(" "), json!({}));
        assert_eq!(input_object("{\"x\":1}"), json!({"x": 1}));
        assert_eq!(input_object("[1]"), json!({"arguments": "[1]"}));
    }
}
