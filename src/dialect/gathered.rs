//! A whole answer from the events that tell it: dialects that read a whole answer as a stream of one event need no second
//! reader.
use crate::{
    chat::{Choice, Event, Finish, Part, Response},
    fault::{Cause, UpstreamFault},
};

/// The answer the events tell.
///
/// # Errors
/// The fault they tell, or that they tell no answer.
pub(super) fn response(events: Vec<Event>) -> Result<Response, UpstreamFault> {
    let mut response = Response::default();
    let mut choices: Vec<(u32, Choice)> = Vec::new();
    for event in events {
        let number = match event {
            Event::Start { id, model } => {
                (response.id, response.model) = (id, model);
                continue;
            }
            Event::Usage(usage) => {
                response.usage = Some(usage);
                continue;
            }
            Event::Fault(fault) => return Err(fault),
            Event::End => continue,
            Event::Text { choice, .. }
            | Event::Refusal { choice, .. }
            | Event::Reasoning { choice, .. }
            | Event::Signature { choice, .. }
            | Event::RedactedReasoning { choice, .. }
            | Event::ToolStart { choice, .. }
            | Event::ToolArguments { choice, .. }
            | Event::Finish { choice, .. } => choice,
        };
        let place = choices.iter().position(|(known, _)| *known >= number).unwrap_or(choices.len());
        if choices.get(place).is_none_or(|(known, _)| *known != number) {
            choices.insert(place, (number, Choice { parts: Vec::new(), finish: Finish::Stop, native_finish: None }));
        }
        if let Some((_, choice)) = choices.get_mut(place) {
            grow(choice, event);
        }
    }
    if choices.is_empty() {
        return Err(UpstreamFault::new(200, Cause::Server, "The provider's answer is no answer."));
    }
    response.choices = choices.into_iter().map(|(_, choice)| choice).collect();
    Ok(response)
}

fn grow(choice: &mut Choice, event: Event) {
    let parts = &mut choice.parts;
    let part = match (event, parts.last_mut()) {
        (Event::Text { text, .. }, Some(Part::Text { text: known, .. }))
        | (Event::Reasoning { text, .. }, Some(Part::Reasoning { text: known, signature: None })) => {
            known.push_str(&text);
            return;
        }
        (Event::Signature { signature, .. }, _) => {
            // It may come after the text that followed from the reasoning.
            let open = parts.iter_mut().rev().find_map(|part| match part {
                Part::Reasoning { signature: open @ None, .. } => Some(open),
                _ => None,
            });
            match open {
                Some(open) => *open = Some(signature),
                None => parts.push(Part::Reasoning { text: String::new(), signature: Some(signature) }),
            }
            return;
        }
        (Event::ToolArguments { index, fragment, .. }, _) => {
            let mut calls = parts.iter_mut().filter_map(|part| match part {
                Part::ToolCall { arguments, .. } => Some(arguments),
                _ => None,
            });
            if let Some(arguments) = calls.nth(index as usize) {
                arguments.push_str(&fragment);
            }
            return;
        }
        (Event::Finish { finish, native, .. }, _) => {
            (choice.finish, choice.native_finish) = (finish, native);
            return;
        }
        (Event::Text { text, .. }, _) => Part::text(text),
        (Event::Refusal { text, .. }, _) => Part::Refusal(text),
        (Event::Reasoning { text, .. }, _) => Part::Reasoning { text, signature: None },
        (Event::RedactedReasoning { data, .. }, _) => Part::RedactedReasoning(data),
        (Event::ToolStart { id, name, .. }, _) => Part::ToolCall { id, name, arguments: String::new() },
        // These are no part of a choice.
        (Event::Start { .. } | Event::Usage(_) | Event::Fault(_) | Event::End, _) => return,
    };
    parts.push(part);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Usage;

    #[test]
    fn an_answer_is_what_its_events_tell() {
        let call =
            |id: &str, arguments: &str| Part::ToolCall { id: id.into(), name: "f".into(), arguments: arguments.into() };
        let parts = vec![
            Part::Reasoning { text: "why".into(), signature: Some("s".into()) },
            Part::Reasoning { text: "more".into(), signature: None },
            Part::RedactedReasoning("x".into()),
            Part::text("hi"),
            Part::Refusal("no".into()),
            call("a", "{}"),
            call("b", "{\"x\":1}"),
        ];
        let choice = |parts| Choice { parts, finish: Finish::ToolCalls, native_finish: Some("STOP".into()) };
        let whole = Response {
            id: "r".into(),
            model: "m".into(),
            choices: vec![choice(parts), choice(vec![Part::text("other")])],
            usage: Some(Usage { input: 1, ..Usage::default() }),
        };
        assert_eq!(response(whole.clone().into_events()), Ok(whole));
    }

    #[test]
    fn pieces_grow_together_and_choices_come_in_order() {
        let text = |choice, text: &str| Event::Text { choice, text: text.into() };
        let thought = |choice| Event::Reasoning { choice, text: "t".into() };
        let signed = |choice| Event::Signature { choice, signature: "s".into() };
        let events = vec![thought(7), text(7, "b"), text(0, "a"), text(7, "c"), signed(0), signed(7)];
        let told = response(events).expect("an answer");
        let parts: Vec<Vec<Part>> = told.choices.into_iter().map(|choice| choice.parts).collect();
        let signed = |text: &str| Part::Reasoning { text: text.into(), signature: Some("s".into()) };
        assert_eq!(parts, [vec![Part::text("a"), signed("")], vec![signed("t"), Part::text("bc")]]);
    }

    #[test]
    fn a_fault_is_no_answer_and_neither_is_nothing() {
        let fault = UpstreamFault::new(200, Cause::Overloaded, "busy");
        let events = vec![Event::Text { choice: 0, text: "a".into() }, Event::Fault(fault.clone())];
        assert_eq!(response(events), Err(fault));
        assert!(response(vec![Event::End]).is_err());
    }
}
