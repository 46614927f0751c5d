//! The blocks of a request's turns, written from the hub.
use super::{
    super::{
        carried::{BEDROCK, is_bare},
        turns::{BY_ADDRESS, BY_ID, Ids, Turn, Words, allowed_id, input_object, not_taken, with},
    },
    Maker,
};
use crate::{
    chat::{CacheMark, Media, Part, Request, Tool},
    fault::Fault,
    json::{json, put},
};
use serde_json::Value;

/// Marks of the prompt cache: the latest of the request's, as many as there may be.
pub(super) struct Marks {
    maker: Maker,
    /// How many come too early.
    skip: usize,
}

impl Marks {
    pub(super) fn of(request: &Request, maker: Maker) -> Self {
        const MARKS_MAX: usize = 4;
        let marked = |part: &&Part| match part {
            Part::Text { cache, .. }
            | Part::Image { cache, .. }
            | Part::File { cache, .. }
            | Part::ToolResult { cache, .. } => cache.is_some(),
            _ => false,
        };
        let marks_tools = maker == Maker::Anthropic;
        let tools =
            request.tools.iter().filter(|tool| matches!(tool, Tool::Function { cache: Some(_), .. } if marks_tools));
        let tools = tools.count();
        let parts = request.messages.iter().flat_map(|message| &message.parts).filter(marked).count();
        Self { maker, skip: (tools + parts).saturating_sub(MARKS_MAX) }
    }

    /// Appends a mark after what stands there, where the model has a cache.
    pub(super) fn put(&mut self, mark: Option<&CacheMark>, out: &mut Vec<Value>) {
        let Some(mark) = mark else { return };
        if self.skip > 0 {
            self.skip -= 1;
        } else if matches!(self.maker, Maker::Anthropic | Maker::Amazon) {
            let mut point = json!({"type": "default"});
            if let (Some("1h"), Some(members)) = (mark.ttl.as_deref(), point.as_object_mut())
                && self.maker == Maker::Anthropic
            {
                put(members, "ttl", "1h".into());
            }
            out.push(json!({ "cachePoint": point }));
        }
    }
}

pub(super) struct Blocks {
    maker: Maker,
    marks: Marks,
    ids: Ids,
    /// How many documents there were: no two may have one name.
    documents: u32,
}

impl Blocks {
    pub(super) fn new(maker: Maker, marks: Marks) -> Self {
        Self { maker, marks, ids: Ids::default(), documents: 0 }
    }

    fn result(&mut self, id: &str, parts: &[Part], is_error: bool, place: usize) -> Result<Value, Fault> {
        let mut content = Vec::new();
        for part in parts {
            content.extend(self.content(part, place)?);
        }
        if content.is_empty() {
            // Blank texts are refused, and so is none.
            content.push(json!({"text": "(empty)"}));
        }
        let status = if is_error { "error" } else { "success" };
        let result = with(json!({"toolUseId": self.ids.of(id), "status": status}), "content", content.into());
        Ok(with(json!({}), "toolResult", result))
    }

    /// What stands in messages and in results alike. Blank texts are refused, so there is none.
    fn content(&mut self, part: &Part, place: usize) -> Result<Option<Value>, Fault> {
        let told = match part {
            Part::Text { text, .. } | Part::Refusal(text) if text.chars().all(|c| c.is_whitespace() || c == '\0') => {
                None
            }
            // A zero byte is refused.
            Part::Text { text, .. } | Part::Refusal(text) => Some(json!({ "text": text.replace('\0', "") })),
            Part::Image { source, .. } => {
                let (kind, data) = bytes(source, place)?;
                let format = kind.strip_prefix("image/").unwrap_or_default();
                let format = if format == "jpg" { "jpeg" } else { format };
                if !["png", "jpeg", "gif", "webp"].contains(&format) {
                    return Err(not_taken(place, "an image that is no PNG, JPEG, GIF or WebP"));
                }
                Some(json!({"image": {"format": format, "source": {"bytes": data}}}))
            }
            Part::File { source, name, .. } => {
                let (kind, data) = bytes(source, place)?;
                let Some(format) = document(kind) else {
                    return Err(not_taken(place, "a file of a kind it cannot read"));
                };
                self.documents += 1;
                let name = document_name(name.as_deref().unwrap_or_default(), self.documents);
                Some(json!({"document": {"format": format, "name": name, "source": {"bytes": data}}}))
            }
            Part::Audio { .. } => return Err(not_taken(place, "sound")),
            Part::Reasoning { .. } | Part::RedactedReasoning(_) | Part::ToolCall { .. } | Part::ToolResult { .. } => {
                None
            }
        };
        Ok(told)
    }
}

impl Words for Blocks {
    fn part(&mut self, part: &Part, place: usize, turn: &mut Turn) -> Result<(), Fault> {
        let block = match part {
            Part::ToolResult { id, parts, is_error, cache } => {
                let result = self.result(id, parts, *is_error, place)?;
                turn.results.push(result);
                self.marks.put(cache.as_ref(), &mut turn.results);
                return Ok(());
            }
            Part::ToolCall { id, name, arguments } => {
                let call = json!({"toolUseId": self.ids.of(id), "name": tool_name(name)});
                let call = with(call, "input", input_object(arguments));
                Some(with(json!({}), "toolUse", call))
            }
            // Claude's signatures are the same everywhere; what other models thought they do not want back.
            Part::Reasoning { text, signature: Some(signature) }
                if self.maker == Maker::Anthropic && is_bare(signature) =>
            {
                Some(json!({"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}))
            }
            Part::RedactedReasoning(data) => {
                let sealed = data.strip_prefix(BEDROCK).and_then(|data| data.strip_prefix(self.maker.mark()));
                sealed.map(|data| json!({"reasoningContent": {"redactedContent": data}}))
            }
            Part::Image { .. } | Part::Audio { .. } | Part::File { .. } if turn.assistant => None,
            part => self.content(part, place)?,
        };
        if let Some(block) = block {
            turn.blocks.push(block);
            if let Part::Text { cache, .. } | Part::Image { cache, .. } | Part::File { cache, .. } = part {
                self.marks.put(cache.as_ref(), &mut turn.blocks);
            }
        }
        Ok(())
    }
}

/// A tool's name in the letters that are allowed: models call tools that are none, and callers bring those calls back.
pub(super) fn tool_name(name: &str) -> String {
    let mut told = allowed_id(name);
    told.truncate(64);
    told
}

fn bytes(source: &Media, place: usize) -> Result<(&str, &str), Fault> {
    match source {
        Media::Base64 { media_type, data } => Ok((media_type, data)),
        Media::Url(_) => Err(not_taken(place, BY_ADDRESS)),
        Media::Id(_) => Err(not_taken(place, BY_ID)),
    }
}

fn document(kind: &str) -> Option<&'static str> {
    const KINDS: [(&str, &str); 10] = [
        ("application/pdf", "pdf"),
        ("text/csv", "csv"),
        ("text/html", "html"),
        ("text/markdown", "md"),
        ("application/msword", "doc"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
        ("application/vnd.ms-excel", "xls"),
        ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
        ("application/json", "txt"),
        ("text/", "txt"),
    ];
    KINDS.iter().find(|(known, _)| kind.starts_with(known)).map(|(_, format)| *format)
}

/// A document's name in the letters that are allowed, with its number: none is given twice.
fn document_name(name: &str, number: u32) -> String {
    const CHARS_MAX: usize = 160;
    let mut told = String::new();
    for c in name.chars().take(CHARS_MAX) {
        let allowed = c.is_ascii_alphanumeric() || "-()[]".contains(c);
        match c {
            c if allowed => told.push(c),
            // White space may not stand twice in a row.
            _ if told.ends_with(' ') || told.is_empty() => {}
            _ => told.push(' '),
        }
    }
    if told.is_empty() {
        told.push_str("document ");
    } else if !told.ends_with(' ') {
        told.push(' ');
    }
    told + &number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_documents_have_allowed_letters_and_are_never_alike() {
        for (name, told) in [
            ("report.pdf", "report pdf 1"),
            ("Report -  Final", "Report - Final 1"),
            ("résumé (2)[x]", "r sum (2)[x] 1"),
            ("분기보고서", "document 1"),
            ("", "document 1"),
            ("a\tb ", "a b 1"),
        ] {
            assert_eq!(document_name(name, 1), told);
        }
        assert!(document_name(&"x".repeat(500), u32::MAX).len() <= 200);
    }
}
