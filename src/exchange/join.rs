//! Where the answer of another attempt joins what the caller has already got, so that no text comes twice or is lost.
use crate::chat::Event;

/// A repeated end of so many bytes is no accident.
const OVERLAP_BYTES: usize = 8;
/// How much of the end is looked for in a continuation.
const TAIL_BYTES: usize = 400;

/// What the caller has of an answer.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub text: String,
    pub tools: Vec<Tool>,
    /// Reasoning was shown: it is not shown twice.
    pub reasoned: bool,
}

/// A call of a tool, as far as it is told.
#[derive(Clone, Debug, Default)]
pub struct Tool {
    index: u32,
    /// Its number in the answer that repeats it.
    theirs: Option<u32>,
    name: String,
    arguments: String,
}

impl Told {
    pub fn is_nothing(&self) -> bool {
        self.text.is_empty() && self.tools.is_empty()
    }

    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Text { text, .. } => self.text.push_str(text),
            Event::Reasoning { .. } | Event::Signature { .. } | Event::RedactedReasoning { .. } => self.reasoned = true,
            Event::ToolStart { index, name, .. } => {
                self.tools.push(Tool { index: *index, name: name.clone(), ..Tool::default() });
            }
            Event::ToolArguments { index, fragment, .. } => {
                if let Some(tool) = self.tools.iter_mut().rev().find(|tool| tool.index == *index) {
                    tool.arguments.push_str(fragment);
                }
            }
            _ => {}
        }
    }
}

/// How the next attempt goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Its answer begins with what there is: the provider takes the beginning as given.
    Prefill,
    /// It answers anew, and what it repeats exactly is left out.
    Restart,
    /// It is told to go on, and an end that it repeats is left out.
    Instructed,
}

/// Lets through what is new.
#[derive(Debug)]
pub struct Join {
    how: How,
    /// What is still expected to be repeated.
    text: String,
    tools: Vec<Tool>,
    /// What came and is not decided upon.
    held: String,
    reasoned: bool,
}

impl Join {
    pub fn new(how: How, told: &Told) -> Self {
        let (text, tools) = match how {
            How::Restart => (told.text.clone(), told.tools.clone()),
            // A beginning may not end in white space: what was cut off may come again.
            How::Prefill => (told.text.get(told.text.trim_end().len()..).unwrap_or_default().to_owned(), Vec::new()),
            How::Instructed => (tail(&told.text).to_owned(), Vec::new()),
        };
        Self { how, text, tools, held: String::new(), reasoned: told.reasoned || !told.is_nothing() }
    }

    /// The events the caller is to see of one. `None` when the answer goes another way.
    pub fn pass(&mut self, event: Event) -> Option<Vec<Event>> {
        match event {
            Event::Start { .. } => Some(Vec::new()),
            Event::Reasoning { .. } | Event::Signature { .. } | Event::RedactedReasoning { .. } if self.reasoned => {
                Some(Vec::new())
            }
            Event::Text { choice, text } => {
                let new = self.text(text)?;
                Some(if new.is_empty() { Vec::new() } else { vec![Event::Text { choice, text: new }] })
            }
            Event::ToolStart { index, name, .. } if self.tools.iter().any(|tool| tool.theirs.is_none()) => {
                let tool = self.tools.iter_mut().find(|tool| tool.theirs.is_none())?;
                tool.theirs = Some(index);
                (self.text.is_empty() && tool.name == name).then(Vec::new)
            }
            Event::ToolArguments { choice, index, fragment } => {
                let Some(tool) = self.tools.iter_mut().find(|tool| tool.theirs == Some(index)) else {
                    return Some(vec![Event::ToolArguments { choice, index, fragment }]);
                };
                let fragment = repeated(&mut tool.arguments, &fragment)?.to_owned();
                let event = Event::ToolArguments { choice, index: tool.index, fragment };
                let is_new = !matches!(&event, Event::ToolArguments { fragment, .. } if fragment.is_empty());
                Some(is_new.then_some(event).into_iter().collect())
            }
            Event::Finish { choice, .. } => {
                let untold = |tool: &Tool| tool.theirs.is_none() || !tool.arguments.is_empty();
                let open = self.how == How::Restart && (!self.text.is_empty() || self.tools.iter().any(untold));
                (!open).then_some(())?;
                let rest = self.undecided();
                let text = (!rest.is_empty()).then_some(Event::Text { choice, text: rest });
                Some(text.into_iter().chain([event]).collect())
            }
            other => Some(vec![other]),
        }
    }

    /// What of a text is new.
    fn text(&mut self, text: String) -> Option<String> {
        match self.how {
            How::Restart => repeated(&mut self.text, &text).map(str::to_owned),
            How::Prefill => {
                let space = std::mem::take(&mut self.text);
                Some(text.strip_prefix(&space).map_or(text.clone(), str::to_owned))
            }
            How::Instructed if self.text.is_empty() => Some(text),
            How::Instructed => {
                self.held.push_str(&text);
                Some(if self.held.len() < self.text.len() { String::new() } else { self.undecided() })
            }
        }
    }

    /// Decides upon what is held: without the end of the told text that it repeats.
    fn undecided(&mut self) -> String {
        let (tail, held) = (std::mem::take(&mut self.text), std::mem::take(&mut self.held));
        let word = tail.len() - tail.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let meant = |bytes: usize| bytes >= OVERLAP_BYTES || bytes == word && bytes > 1 || bytes == tail.len();
        let ends = held.char_indices().map(|(at, char)| at + char.len_utf8());
        let repeats = |bytes: &usize| held.get(..*bytes).is_some_and(|start| tail.ends_with(start)) && meant(*bytes);
        let overlap = ends.filter(repeats).max().unwrap_or(0);
        held.get(overlap..).unwrap_or_default().to_owned()
    }
}

/// What of a text goes beyond what is expected, which it must repeat exactly. `None` where it does not.
fn repeated<'a>(expected: &mut String, text: &'a str) -> Option<&'a str> {
    if let Some(new) = text.strip_prefix(expected.as_str()) {
        expected.clear();
        return Some(new);
    }
    let rest = expected.strip_prefix(text)?.to_owned();
    *expected = rest;
    Some("")
}

/// The end of a text.
fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(TAIL_BYTES);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Finish;

    fn told(text: &str) -> Told {
        Told { text: text.into(), ..Told::default() }
    }

    /// What the caller gets of an answer that comes in these pieces.
    fn joined(how: How, told: &Told, pieces: &[&str]) -> Option<String> {
        let mut join = Join::new(how, told);
        let texts = pieces.iter().map(|text| Event::Text { choice: 0, text: (*text).to_owned() });
        let mut out = told.text.clone();
        for event in texts.chain([Event::Finish { choice: 0, finish: Finish::Stop, native: None }]) {
            for event in join.pass(event)? {
                if let Event::Text { text, .. } = event {
                    out.push_str(&text);
                }
            }
        }
        Some(out)
    }

    #[test]
    fn a_restart_repeats_exactly_or_not_at_all() {
        let whole = Some("one two three".to_owned());
        for pieces in
            [&["one two three"][..], &["one", " t", "wo", " three"], &["one two", " three"], &["o", "ne two three"]]
        {
            assert_eq!(joined(How::Restart, &told("one two"), pieces), whole, "{pieces:?}");
        }
        assert_eq!(joined(How::Restart, &told("one two"), &["one too"]), None);
        assert_eq!(joined(How::Restart, &told("one two"), &["one"]), None, "it ended too soon");
        assert_eq!(joined(How::Restart, &told(""), &["one"]).as_deref(), Some("one"));
        assert_eq!(joined(How::Restart, &told("é"), &["é", "è"]).as_deref(), Some("éè"));
    }

    #[test]
    fn a_prefilled_answer_goes_on() {
        assert_eq!(joined(How::Prefill, &told("one two"), &[" three"]).as_deref(), Some("one two three"));
        assert_eq!(joined(How::Prefill, &told("one two "), &[" three"]).as_deref(), Some("one two three"));
        assert_eq!(joined(How::Prefill, &told("one two "), &["three", " four"]).as_deref(), Some("one two three four"));
    }

    #[test]
    fn an_instructed_answer_may_repeat_the_end() {
        let begun = told("The quick brown fox jumps over the la");
        for pieces in [&["zy dog"][..], &["over the lazy dog"], &["fox jumps over", " the lazy dog"], &["la", "zy dog"]]
        {
            let whole = "The quick brown fox jumps over the lazy dog";
            assert_eq!(joined(How::Instructed, &begun, pieces).as_deref(), Some(whole), "{pieces:?}");
        }
        let coincidence = joined(How::Instructed, &told("a banana"), &["a and b"]);
        assert_eq!(coincidence.as_deref(), Some("a bananaa and b"), "one letter means nothing");
        let long = "word ".repeat(500);
        let again = format!("{}end", "word ".repeat(60));
        assert_eq!(joined(How::Instructed, &told(&long), &[&again]).as_deref(), Some(&*format!("{long}end")));
    }

    #[test]
    fn a_tool_call_is_repeated_exactly_and_goes_on_under_its_old_name() {
        let start = |index, id: &str| Event::ToolStart { choice: 0, index, id: id.into(), name: "find".into() };
        let fragment = |index, text: &str| Event::ToolArguments { choice: 0, index, fragment: text.into() };
        let mut told = Told::default();
        for event in [start(0, "old"), fragment(0, "{\"a\":")] {
            told.note(&event);
        }
        let mut join = Join::new(How::Restart, &told);
        assert_eq!(join.pass(start(1, "new")), Some(Vec::new()));
        assert_eq!(join.pass(fragment(1, "{\"a")), Some(Vec::new()));
        assert_eq!(join.pass(fragment(1, "\":1")), Some(vec![fragment(0, "1")]));
        assert_eq!(join.pass(fragment(1, "}")), Some(vec![fragment(0, "}")]));
        let mut join = Join::new(How::Restart, &told);
        assert_eq!(join.pass(start(0, "new")), Some(Vec::new()));
        assert_eq!(join.pass(fragment(0, "{\"b")), None);
        let mut join = Join::new(How::Restart, &told);
        assert_eq!(join.pass(Event::ToolStart { choice: 0, index: 0, id: "x".into(), name: "other".into() }), None);
        let finish = Event::Finish { choice: 0, finish: Finish::ToolCalls, native: None };
        assert_eq!(Join::new(How::Restart, &told).pass(finish), None, "the arguments are not whole");
    }
}
