//! `POST /v1/feedback`: how good an answer was, by whoever can tell. The account learns from it.
use super::{
    account_object::{account_of, ask},
    control::{self, Told},
    now, receipts, snapshot,
};
use crate::{
    account::{
        lessons::{Judged, Lesson},
        letter::{Answer, Caller, Letter},
    },
    analysis::analyse,
    body::Body,
    catalog::Catalog,
    endpoint::{Headers, Overrides, Surface},
    fault::Fault,
    json,
    quality::{ability, learner::MODELS_MAX},
    time::Millis,
};
use serde_json::Value;
use worker::Env;

/// What is asked: one of the two.
#[derive(Debug, Default)]
struct Ask {
    request_id: Option<String>,
    score: Option<f64>,
    /// A request as an application would send it; nothing is called.
    request: Option<Value>,
    outcomes: Vec<Scored>,
}

json::members!(strict default Ask { request_id, score, request, outcomes });

#[derive(Debug, Default)]
struct Scored {
    model: String,
    score: f64,
}

json::members!(strict Scored { model, score });

/// Takes in a verdict.
///
/// # Errors
/// 400 for a body that says nothing; 404 for a request that is not known, or not of this key.
pub async fn take(headers: &Headers, body: &[u8], env: &Env) -> Told {
    let (organization, caller) = control::inference_of(headers, env)?;
    let account = account_of(&organization);
    let ask = json::read_bytes::<Ask>(body)
        .map_err(|error| Fault::invalid("invalid_parameter", format!("The feedback cannot be read: {error}.")))?;
    let (id, lesson) = match ask {
        Ask { request_id: Some(id), score: Some(score), request: None, outcomes } if outcomes.is_empty() => {
            let lesson = of_call(&account, caller.clone(), &id, in_range(score)?, env).await?;
            (id, lesson)
        }
        Ask { request_id: None, score: None, request: Some(request), outcomes } if !outcomes.is_empty() => {
            (format!("fb_{}", control::fresh(now())?), of_request(&request, headers, outcomes)?)
        }
        _ => {
            let text =
                "Send {\"request_id\",\"score\"} about a call, or {\"request\",\"outcomes\":[{\"model\",\"score\"}]}.";
            return Err(Fault::invalid("invalid_parameter", text));
        }
    };
    let told = json::json!({"object": "feedback", "id": id, "outcomes": lesson.outcomes.len()});
    match self::ask(env, &account, &Letter::Learn { caller, id, lesson }).await {
        Ok(Answer::Refused(refusal)) => Err(refusal.to_fault()),
        Ok(_) => Ok((202, told)),
        Err(error) => Err(control::unavailable("The account", error)),
    }
}

fn in_range(score: f64) -> Result<f64, Fault> {
    let text = "A score is a number from 0, of no use, to 1, as good as can be.";
    if (0.0..=1.0).contains(&score) { Ok(score) } else { Err(Fault::parameter("score", text)) }
}

/// The verdict on a call that was made.
async fn of_call(account: &str, caller: Caller, id: &str, score: f64, env: &Env) -> Result<Lesson, Fault> {
    let entry = receipts::entry(account, caller.clone(), id, env).await?;
    let call = entry.and_then(|entry| entry.call).filter(|call| caller.sees(&call.api_key_id));
    let call = call.filter(|call| !call.case.is_empty()).ok_or_else(|| {
        Fault::not_found(
            "not_found",
            format!("There is no answered call {id:.60} of this key, or a policy had nothing kept of it."),
        )
        .with_param("request_id")
    })?;
    let (catalog, _) = snapshot::catalog();
    let outcome = judged(&catalog, &format!("{}/{}", call.provider, call.model), score);
    Ok(Lesson { at: Millis(0), case: call.case, outcomes: vec![outcome], comparison: call.comparison })
}

/// Verdicts on answers that were made elsewhere.
fn of_request(request: &Value, headers: &Headers, outcomes: Vec<Scored>) -> Result<Lesson, Fault> {
    if outcomes.len() > MODELS_MAX {
        return Err(Fault::parameter("outcomes", format!("At most {MODELS_MAX} outcomes at once.")));
    }
    let unread = |_| Fault::parameter("request", "request is the body of a chat completion.");
    let body = Body::parse(json::written(request).into_bytes()).map_err(unread)?;
    let overrides = Overrides::read(&body, headers)?;
    let request = crate::dialect::downstream(Surface::ChatCompletions).decode_request(&body)?;
    let case = analyse(&request, &overrides, &snapshot::prior()).case.to_text();
    let (catalog, _) = snapshot::catalog();
    let outcomes = outcomes.into_iter().map(|one| Ok(judged(&catalog, &one.model, in_range(one.score)?)));
    let outcomes = outcomes.collect::<Result<_, Fault>>()?;
    Ok(Lesson { at: Millis(0), case, outcomes, comparison: None })
}

/// The outcome of a model by its name: it is the model that is learned about, whoever serves it.
fn judged(catalog: &Catalog, name: &str, score: f64) -> Judged {
    let known = catalog.deployment(name).or_else(|| catalog.serving(name).next());
    let model = known.map_or_else(|| name.split_once('/').map_or(name, |(_, model)| model), |found| &found.model);
    let ability = known.map_or(0.5, |found| f64::from(ability(found)));
    Judged { model: model.to_owned(), ability, score }
}
