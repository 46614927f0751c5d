//! What a machine can tell of an answer: whether its calls and its JSON are what was asked for, and whether it is there at all.
use super::schema::{COMPARED_MAX, fits};
use crate::{
    chat::{Choice, Finish, Format, Part, Request, Response, Tool},
    json,
};
use serde::Serialize;
use serde_json::Value;

/// What an answer can be checked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// It was cut off, filtered, given up, or says nothing.
    Finish,
    /// The model refused, and says so where refusals are said.
    Refusal,
    /// A call names no tool that was offered, or its arguments do not fit.
    ToolSchema,
    /// The text is not the JSON that was asked for.
    JsonSchema,
    /// Another model did not come to the same answer.
    Agreement,
}

json::words!(Check {
    Finish = "finish", Refusal = "refusal", ToolSchema = "tool_schema", JsonSchema = "json_schema", Agreement = "agreement",
});

impl Check {
    const ALL: [Self; 4] = [Self::Finish, Self::Refusal, Self::ToolSchema, Self::JsonSchema];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Finish => "finish",
            Self::Refusal => "refusal",
            Self::ToolSchema => "tool_schema",
            Self::JsonSchema => "json_schema",
            Self::Agreement => "agreement",
        }
    }

    fn passes(self, choice: &Choice, request: &Request) -> bool {
        match self {
            Self::Finish => matches!(choice.finish, Finish::Stop | Finish::ToolCalls) && says_something(choice),
            Self::Refusal => {
                let refuses = |part: &Part| matches!(part, Part::Refusal(_));
                choice.native_finish.as_deref() != Some("refusal") && !choice.parts.iter().any(refuses)
            }
            Self::ToolSchema => {
                let calls = choice.parts.iter().filter_map(|part| match part {
                    Part::ToolCall { name, arguments, .. } => Some((name, arguments)),
                    _ => None,
                });
                calls.take(COMPARED_MAX).all(|(name, arguments)| calls_well(name, arguments, &request.tools))
            }
            Self::JsonSchema => is_as_asked(choice, &request.format),
            // It takes two answers.
            Self::Agreement => true,
        }
    }
}

/// A set of checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks(u8);

impl Checks {
    /// All that say something of the answer to a request.
    #[must_use]
    pub fn of_request(request: &Request) -> Self {
        let mut checks = vec![Check::Finish, Check::Refusal];
        checks.extend((!request.tools.is_empty()).then_some(Check::ToolSchema));
        checks.extend((request.format != Format::Text).then_some(Check::JsonSchema));
        Self::of(&checks)
    }

    /// These checks.
    #[must_use]
    pub fn of(checks: &[Check]) -> Self {
        Self(checks.iter().fold(0, |all, check| all | 1 << *check as u8))
    }

    /// Those that are in both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether that one is among them.
    #[must_use]
    pub fn has(self, check: Check) -> bool {
        self.0 & 1 << check as u8 != 0
    }

    /// The set with one more.
    #[must_use]
    pub fn with(self, check: Check) -> Self {
        Self(self.0 | 1 << check as u8)
    }

    /// Whether calls or JSON are looked at.
    #[must_use]
    pub fn see_structure(self) -> bool {
        self.has(Check::ToolSchema) || self.has(Check::JsonSchema)
    }

    /// Whether nothing is checked.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The first check that an answer fails, by any of its choices.
    #[must_use]
    pub fn failed(self, request: &Request, response: &Response) -> Option<Check> {
        let fails = |check: &Check| {
            self.has(*check)
                && (response.choices.is_empty()
                    || !response.choices.iter().take(COMPARED_MAX).all(|one| check.passes(one, request)))
        };
        Check::ALL.into_iter().find(fails)
    }
}

/// Whether two answers come to the same: the same calls with the same arguments, the same JSON, or texts that end alike.
#[must_use]
pub fn agree(one: &Response, other: &Response) -> bool {
    let mut pairs = one.choices.iter().zip(&other.choices).take(COMPARED_MAX);
    // Two that refuse, or say nothing, confirm nothing.
    let says =
        |choice: &Choice| says_something(choice) && !choice.parts.iter().any(|part| matches!(part, Part::Refusal(_)));
    one.choices.len() == other.choices.len()
        && pairs.all(|(one, other)| says(one) && says(other) && conclusion(one) == conclusion(other))
}

/// What an answer comes to: its calls, else its JSON, else the last thing its text says.
fn conclusion(choice: &Choice) -> (Vec<(&str, Value)>, Value) {
    let read = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    let calls = choice.parts.iter().filter_map(|part| match part {
        Part::ToolCall { name, arguments, .. } => Some((name.as_str(), read(arguments))),
        _ => None,
    });
    let calls: Vec<_> = calls.collect();
    if !calls.is_empty() {
        return (calls, Value::Null);
    }
    let text: String = choice.parts.iter().filter_map(text_of).collect();
    // A bare number or word is a text like any other.
    let read = serde_json::from_str::<Value>(&text).ok().filter(|read| read.is_object() || read.is_array());
    (calls, read.unwrap_or_else(|| Value::from(last_said(&text))))
}

/// A text in which two closing phrases may be the same by chance.
const LONG_BYTES: usize = 400;

/// The number or single letter that a text ends in; else its last line without case and punctuation, or of a longer text all of it.
fn last_said(text: &str) -> String {
    let line = text.lines().rev().find(|line| line.chars().any(spells)).unwrap_or_default();
    let part_of_word = |c: char| spells(c) || "-.,/%".contains(c);
    let words = line.split(|c: char| !part_of_word(c)).map(|word| word.trim_matches(|c: char| !spells(c) && c != '-'));
    let words: Vec<String> = words.filter(|word| !word.is_empty()).map(lower).collect();
    match words.last() {
        Some(last) if last.len() == 1 || last.bytes().any(|byte| byte.is_ascii_digit()) => last.replace(',', ""),
        _ if text.len() > LONG_BYTES => lower(text),
        _ => words.join(" "),
    }
}

/// Whether words and numbers are made with it. The standard library's tables of all letters are 3 kB of the upload; here it is enough to
/// know the blocks of signs: spaces, punctuation, currencies, arrows, pictures.
fn spells(c: char) -> bool {
    match c {
        '\0'..'\u{80}' => c.is_ascii_alphanumeric(),
        'ª' | '²' | '³' | 'µ' | '¹' | 'º' | '¼'..='¾' => true,
        '\u{80}'..='¿'
        | '×'
        | '÷'
        | '՚'..='՟'
        | '־'
        | '،'
        | '؛'
        | '؟'
        | '٪'..='٭'
        | '۔'
        | '।'
        | '॥'
        | '\u{2000}'..='\u{206f}'
        | '\u{20a0}'..='\u{20cf}'
        | '\u{2190}'..='\u{245f}'
        | '\u{2500}'..='\u{2bff}'
        | '\u{2e00}'..='\u{2e7f}'
        | '\u{3000}'..='〄'
        | '〈'..='〠'
        | '〰'
        | '・'
        | '\u{fe10}'..='\u{fe6f}'
        | '！'..='／'
        | '：'..='＠'
        | '［'..='｀'
        | '｛'..='･'
        | '\u{1f000}'..='\u{1faff}' => false,
        _ => true,
    }
}

/// A text without case. Unlike `str::to_lowercase` it takes a sigma for the same at the end of a word.
fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).map(|c| if c == 'ς' { 'σ' } else { c }).collect()
}

fn says_something(choice: &Choice) -> bool {
    choice.parts.iter().any(|part| match part {
        Part::Text { text, .. } => !text.trim_ascii().is_empty(),
        Part::Reasoning { .. } | Part::RedactedReasoning(_) => false,
        _ => true,
    })
}

/// Whether a call names a tool that was offered, with arguments that fit its schema.
fn calls_well(called: &str, arguments: &str, tools: &[Tool]) -> bool {
    let offered = tools.iter().find_map(|tool| match tool {
        Tool::Function { name, parameters, .. } => (name == called).then_some(parameters),
        Tool::Native(_) => None,
    });
    let Some(schema) = offered else {
        // What only its own dialect knows may be called by any name, with any text.
        return tools.iter().any(|tool| matches!(tool, Tool::Native(_)));
    };
    // Some models leave them empty where a tool takes none.
    let arguments = if arguments.trim_ascii().is_empty() { "{}" } else { arguments };
    let read = serde_json::from_str::<Value>(arguments);
    read.is_ok_and(|read| read.is_object() && schema.as_ref().is_none_or(|schema| fits(schema, &read)))
}

/// Whether the text is the JSON that was asked for. A choice that calls tools has not answered yet.
fn is_as_asked(choice: &Choice, format: &Format) -> bool {
    if *format == Format::Text || choice.parts.iter().any(|part| matches!(part, Part::ToolCall { .. })) {
        return true;
    }
    let text: String = choice.parts.iter().filter_map(text_of).collect();
    let read = serde_json::from_str::<Value>(&text);
    read.is_ok_and(|read| match format {
        Format::JsonSchema { schema, .. } => fits(schema, &read),
        Format::JsonObject | Format::Text => read.is_object(),
    })
}

fn text_of(part: &Part) -> Option<&str> {
    match part {
        Part::Text { text, .. } => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(format: Format) -> Request {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
        let tool = |name: &str, parameters| Tool::Function {
            name: name.to_owned(),
            description: None,
            parameters,
            strict: None,
            cache: None,
        };
        Request { format, tools: vec![tool("weather", Some(schema)), tool("now", None)], ..Request::default() }
    }

    fn answer(parts: Vec<Part>, finish: Finish) -> Response {
        Response { choices: vec![Choice { parts, finish, native_finish: None }], ..Response::default() }
    }

    fn calls(name: &str, arguments: &str) -> Response {
        let call = Part::ToolCall { id: "c".into(), name: name.into(), arguments: arguments.into() };
        answer(vec![call], Finish::ToolCalls)
    }

    fn says(text: &str) -> Response {
        answer(vec![Part::text(text)], Finish::Stop)
    }

    fn failed_in(request: &Request, answer: &Response) -> Option<Check> {
        Checks::of_request(request).failed(request, answer)
    }

    #[test]
    fn what_says_nothing_of_an_answer_is_not_checked() {
        let plain = Checks::of_request(&Request::default());
        assert_eq!(plain, Checks::of(&[Check::Refusal, Check::Finish]));
        assert!(plain.and(Checks::of(&[Check::ToolSchema, Check::JsonSchema])).is_empty());
        let all = Checks::of_request(&request(Format::JsonObject));
        assert_eq!(all, Checks::of(&Check::ALL));
    }

    #[test]
    fn an_answer_that_is_none_fails() {
        let failed = |answer: &Response| failed_in(&request(Format::Text), answer);
        let thinks = Part::Reasoning { text: "hm".into(), signature: None };
        assert_eq!(failed(&says("Hello.")), None);
        for none in [
            says(" \n"),
            answer(vec![], Finish::Stop),
            answer(vec![thinks.clone()], Finish::Stop),
            answer(vec![Part::text("Hel")], Finish::Length),
            answer(vec![Part::text("x")], Finish::ContentFilter),
            answer(vec![Part::text("x")], Finish::Error),
            Response::default(),
        ] {
            assert_eq!(failed(&none), Some(Check::Finish), "{none:?}");
        }
        assert_eq!(failed(&answer(vec![Part::Refusal("No.".into())], Finish::Stop)), Some(Check::Refusal));
        assert_eq!(
            failed(&answer(vec![thinks, Part::text("I cannot help.")], Finish::Stop)),
            None,
            "words decide nothing"
        );
        let mut refused = says("");
        refused.choices[0].native_finish = Some("refusal".into());
        assert_eq!(Checks::of(&[Check::Refusal]).failed(&request(Format::Text), &refused), Some(Check::Refusal));
        let mut two = says("one");
        two.choices.extend(says("").choices);
        assert_eq!(failed(&two), Some(Check::Finish), "each choice counts");
    }

    #[test]
    fn a_call_fits_the_tool_it_names() {
        let mut asked = request(Format::JsonObject);
        let failed = |asked: &Request, answer: &Response| failed_in(asked, answer);
        for good in [calls("weather", "{\"city\":\"Bonn\"}"), calls("now", ""), calls("now", "{\"zone\":1}")] {
            assert_eq!(failed(&asked, &good), None, "{good:?}");
        }
        let bad = [
            calls("weather", "{\"city\":7}"),
            calls("weather", ""),
            calls("weather", "{\"city\":\"Bo"),
            calls("now", "[]"),
            calls("forecast", "{}"),
        ];
        for bad in &bad {
            assert_eq!(failed(&asked, bad), Some(Check::ToolSchema), "{bad:?}");
            assert_eq!(Checks::of(&[Check::Finish, Check::JsonSchema]).failed(&asked, bad), None);
        }
        asked.tools.push(Tool::Native(json!({"type": "custom", "name": "shell"})));
        assert_eq!(failed(&asked, &calls("shell", "ls -l")), None, "free text");
        assert_eq!(failed(&asked, &bad[0]), Some(Check::ToolSchema));
    }

    #[test]
    fn a_text_is_the_json_that_was_asked_for() {
        let schema = json!({"type": "object", "required": ["a"]});
        let asked = |format: &Format, text: &str| failed_in(&request(format.clone()), &says(text)).is_none();
        let shaped = Format::JsonSchema { name: "x".into(), description: None, schema, strict: None };
        for (format, text, fits) in [
            (&Format::Text, "Hello.", true),
            (&Format::JsonObject, " {\"b\":1}\n", true),
            (&Format::JsonObject, "[1]", false),
            (&Format::JsonObject, "```json\n{}\n```", false),
            (&shaped, "{\"a\":1}", true),
            (&shaped, "{\"b\":1}", false),
            (&shaped, "{\"a\":", false),
        ] {
            assert_eq!(asked(format, text), fits, "{format:?} {text}");
        }
        assert!(Checks::default().is_empty() && Checks::default().failed(&request(shaped), &says("")).is_none());
    }

    #[test]
    fn answers_agree_by_what_they_come_to() {
        for (one, other, same) in [
            ("42", "So it takes\n\n**42**.", true),
            ("The answer is 1,200.", "= 1200", true),
            ("The answer is 1,200.", "= 1201", false),
            ("I choose (B).", "b", true),
            ("I choose (B).", "I choose (C)", false),
            ("-3", "3", false),
            ("Paris", "paris!", true),
            ("It is Paris.", "It is Rome.", false),
            ("{\"a\": 1, \"b\": [2]}", "{\"b\":[2],\"a\":1}", true),
            ("{\"a\": 1}", "{\"a\": 2}", false),
            ("«Париж».", "париж 👍", true),
            ("答案是（巴黎）。", "答案是 巴黎", true),
            ("दिल्ली।", "दिल्ली", true),
            ("दिल्ली", "दिल्ल", false),
            ("", "", false),
            ("", "x", false),
        ] {
            assert_eq!(agree(&says(one), &says(other)), same, "{one} | {other}");
            assert_eq!(agree(&says(other), &says(one)), same, "{other} | {one}");
        }
        let closing = |text: &str| says(&format!("{} {text}\nLet me know if this helps.", "So it is. ".repeat(50)));
        assert!(!agree(&closing("Yes."), &closing("No.")) && agree(&closing("Yes."), &closing("Yes.")));
        let refuses = || answer(vec![Part::Refusal("no".into())], Finish::Stop);
        assert!(!agree(&refuses(), &refuses()));
        assert!(agree(&calls("now", "{\"a\":1, \"b\":2}"), &calls("now", "{\"b\":2,\"a\":1}")));
        assert!(!agree(&calls("now", "{\"a\":1}"), &calls("now", "{\"a\":2}")));
        assert!(!agree(&calls("now", "{}"), &calls("weather", "{}")) && !agree(&calls("now", "{}"), &says("{}")));
    }
}
