//! Decisions, made again from what the ledger keeps of them.
use megarouter::{
    json,
    ledger::CallRecord,
    money::Nanos,
    route::{decision::Standing, record::Record},
    time::Millis,
};
use serde_json::Value;

pub mod backtest;

/// A request of which the ledger keeps how its deployment was chosen.
#[derive(Clone, Debug)]
pub struct Decided {
    pub id: String,
    pub at: Millis,
    /// What it cost.
    pub cost: Nanos,
    pub call: CallRecord,
    pub record: Record,
}

/// What a row of the ledger tells.
#[derive(Clone, Debug)]
pub enum Row {
    Decided(Box<Decided>),
    /// Nothing was decided: the caller named the deployment, or money moved otherwise.
    Undecided,
    /// A decision of another version, or no row of a ledger.
    Unreadable(String),
}

/// Reads a row of `GET /admin/v1/ledger/entries`.
pub fn row(text: &str) -> Row {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return Row::Unreadable("no JSON".to_owned()) };
    let word = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let id = word("id");
    let call = match value.get("call") {
        None | Some(Value::Null) => return Row::Undecided,
        Some(call) => match json::from_value::<CallRecord>(call.clone()) {
            Ok(call) => call,
            Err(error) => return Row::Unreadable(format!("{id}: {error}")),
        },
    };
    if call.decision.is_empty() {
        return Row::Undecided;
    }
    match (Record::of_text(&call.decision), Millis::of_rfc3339(&word("at"))) {
        (Some(record), Some(at)) => {
            let cost = Nanos::parse_usd(word("amount_usd").trim_start_matches('-')).unwrap_or_default();
            Row::Decided(Box::new(Decided { id, at, cost, call, record }))
        }
        _ => Row::Unreadable(format!("{id}: its decision is of another version")),
    }
}

/// Makes a decision again. Returns what is told of it, and whether it came out the same, bit for bit.
pub fn replay(decided: &Decided) -> (String, bool) {
    let Decided { id, call, record, .. } = decided;
    let (candidates, choice) = record.replayed();
    let same = candidates == record.candidates && choice == Some(record.choice);
    let mut told = vec![format!(
        "{id}: mode {}, catalog {}, seed {}",
        record.terms.mode.word(),
        call.catalog_id,
        record.terms.seed
    )];
    for (place, candidate) in candidates.iter().enumerate() {
        let (features, judged) = (candidate.features(), candidate.judged());
        let marks = [
            (choice.is_some_and(|choice| choice.place == place), "chosen"),
            (!record.allowed.contains(&place), "not allowed or not affordable"),
            (judged.shut, "resting"),
            (judged.poor, "below the quality floor"),
        ];
        let marks: Vec<&str> = marks.into_iter().filter_map(|(is, word)| is.then_some(word)).collect();
        told.push(format!(
            "  {} {:40} score {:.6}  quality {:.3}  cost {} USD  time {:.0} ms  {}",
            place + 1,
            candidate.id,
            judged.score,
            features.quality,
            features.expected,
            features.log_time.exp(),
            marks.join(", "),
        ));
    }
    if let Some(choice) = choice {
        told.push(format!("  first: {:?}, with a chance of {:.4}", choice.why, choice.propensity));
    }
    told.push(if same {
        "  made again: the same, bit for bit".to_owned()
    } else {
        format!("  made again: ANOTHER; kept was {:?} of {:?}", record.choice, record.candidates)
    });
    (told.join("\n"), same)
}
