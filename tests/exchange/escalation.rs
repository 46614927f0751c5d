//! Answers that are checked before anybody sees them, and what follows when they fail.
use crate::stage::{Ask, CATALOG, CHAT_WHOLE, JSON, MESSAGES_WHOLE, Story, chat, head, held, messages, whole, world};
use megarouter::{
    access::Tenant,
    account::letter::{Grant, PostOutcome, Refusal},
    catalog::Catalog,
    exchange::event::{Event, Timer},
    money::Nanos,
    world::{TenantView, World},
};
use serde_json::{Value, json};
use std::rc::Rc;

/// It was cut off: nine tokens in at $1 and four out at $2 per million, as all of them.
fn cut_off() -> String {
    CHAT_WHOLE.replace("\"stop\"", "\"length\"")
}

fn checked(ask: &Ask) -> Ask {
    ask.clone().wishing("escalate", true.into()).wishing("explain", true.into())
}

/// All that was asked for is held.
fn grows(story: Story) -> Story {
    let amount = story.extended().to;
    story.hears(Event::Held(Grant { amount, allowed: vec![0], ..Grant::default() }))
}

fn attempts(story: &Story) -> Vec<(String, String, String, String)> {
    let told = story.body()["megarouter"]["attempts"].clone();
    let word = |one: &Value, member: &str| one[member].as_str().unwrap_or_default().to_owned();
    let one = |one: &Value| (word(one, "provider"), word(one, "outcome"), word(one, "verdict"), word(one, "cost_usd"));
    told.as_array().expect("a list").iter().map(one).collect()
}

fn is(attempts: &[(String, String, String, String)], told: &[[&str; 4]]) {
    let attempts: Vec<[&str; 4]> =
        attempts.iter().map(|(a, b, c, d)| [a.as_str(), b.as_str(), c.as_str(), d.as_str()]).collect();
    assert_eq!(attempts, told);
}

/// Up to the moment the first answer has failed and the account is asked to cover both: no more is held than the first needs.
fn tight(ask: &Ask) -> Story {
    let amount = Story::opens(ask).held_for()[0].amount;
    let one = Event::Held(Grant { amount, allowed: vec![0, 1], ..Grant::default() });
    let story = Story::opens(ask).hears(one).hears(head(0, 200, JSON)).hears(whole(0, cut_off()));
    story.does(&["Note alpha/m good", "Extend"])
}

#[test]
fn an_answer_that_passes_is_given_at_once() {
    let story = Story::sent(&checked(&chat(&["alpha", "beta"])), &[0, 1])
        .hears(head(0, 200, JSON))
        .hears(whole(0, CHAT_WHOLE))
        .does(&["Note alpha/m good", "Reply 200", "Post 0.000017"]);
    is(&attempts(&story), &[["alpha", "answered", "passed", "0.000017"]]);
    assert_eq!(story.posted().call.attempts[0].verdict, "passed");
    assert_eq!(story.header("x-megarouter-reason"), Some("mode"));
}

#[test]
fn an_answer_that_fails_is_paid_for_and_another_is_asked() {
    let ask = checked(&chat(&["alpha", "beta"]));
    let story = tight(&ask);
    let (letter, bids) = (story.extended(), story.held_for());
    assert_eq!((letter.to, letter.least), (bids[1].amount.plus(Nanos(17_000)), bids[1].amount.plus(Nanos(17_000))));
    let story = grows(story).does(&["Send 1 to beta", "Wait Head(1)"]);
    let story = story.hears(head(1, 200, JSON)).hears(whole(1, CHAT_WHOLE));
    let story = story.does(&["Note beta/m good", "Reply 200", "Post 0.000017"]).hears(Event::Posted).is("Done");
    let told = ["x-megarouter-provider", "x-megarouter-reason", "x-megarouter-attempts", "x-megarouter-cost-usd"];
    assert_eq!(told.map(|name| story.header(name)), [Some("beta"), Some("escalation"), Some("2"), Some("0.000034")]);
    let body = story.body();
    assert_eq!((&body["usage"]["cost_usd"], &body["usage"]["completion_tokens"]), (&json!("0.000034"), &json!(4)));
    assert_eq!(body["megarouter"]["reason"], "escalation");
    is(&attempts(&story), &[["alpha", "rejected", "finish", "0.000017"], ["beta", "answered", "passed", "0.000017"]]);
    let letter = story.posted();
    assert_eq!((letter.call.reason.as_str(), letter.others.len()), ("escalation", 1));
    let other = &letter.others[0];
    assert_eq!((other.number, &other.outcome, other.amount), (1, &PostOutcome::Charge(Nanos(17_000)), Nanos(17_000)));
    assert_eq!(
        (other.call.provider.as_str(), other.call.status, other.call.recomputed()),
        ("alpha", 200, Nanos(17_000))
    );
}

#[test]
fn the_last_answer_is_given_whatever_it_says() {
    let story = Story::sent(&checked(&chat(&["alpha"])), &[0]).hears(head(0, 200, JSON)).hears(whole(0, cut_off()));
    let story = story.does(&["Note alpha/m good", "Reply 200", "Post 0.000017"]);
    is(&attempts(&story), &[["alpha", "answered", "finish", "0.000017"]]);
    // And no more than two are rejected.
    let mut story = Story::sent(&checked(&chat(&["alpha", "beta", "gamma", "delta"])), &[0, 1, 2, 3]);
    for (attempt, answer) in [cut_off(), cut_off(), MESSAGES_WHOLE.replace("end_turn", "max_tokens")].iter().enumerate()
    {
        story = story.hears(head(attempt, 200, JSON)).hears(whole(attempt, answer));
    }
    assert_eq!((story.did("Send"), story.header("x-megarouter-provider")), (3, Some("gamma")));
    assert_eq!((story.header("x-megarouter-cost-usd"), story.posted().others.len()), (Some("0.000051"), 2));
}

#[test]
fn an_answer_in_hand_is_given_where_no_better_one_can_be_had() {
    let ask = checked(&chat(&["alpha", "beta"]));
    let given = |story: Story| {
        let told = ["x-megarouter-provider", "x-megarouter-reason"].map(|name| story.header(name));
        assert_eq!(told, [Some("alpha"), Some("mode")]);
        assert_eq!(story.body()["choices"][0]["finish_reason"], "length");
        assert_eq!(attempts(&story)[0].1, "answered");
        assert_eq!(attempts(&story)[0].2, "finish");
        story
    };
    for no in [Event::Refused(Refusal::InFlight), Event::Unreachable] {
        let story = given(tight(&ask).hears(no).does(&["Reply 200", "Post 0.000017"]));
        assert_eq!((story.posted().others.len(), story.did("Send")), (0, 1));
    }
    // A refusal costs nothing; what may be billed stays open beside the answer.
    let refused = grows(tight(&ask)).hears(head(1, 503, JSON)).hears(whole(1, "{}"));
    let refused = given(refused.does(&["Abort 1", "Note beta/m bad", "Reply 200", "Post 0.000017"]));
    assert_eq!(refused.posted().others.len(), 0);
    for timer in [Timer::Head(1), Timer::Total] {
        let late = given(grows(tight(&ask)).after(60_000).elapses(timer));
        let letter = late.posted();
        assert!(matches!(letter.others[0].outcome, PostOutcome::Suspense { .. }), "{:?}", letter.others);
        assert_eq!((letter.outcome, letter.others[0].number), (PostOutcome::Charge(Nanos(17_000)), 2));
    }
    // One that says nothing is no better.
    let blank = CHAT_WHOLE.replace("Hello, world.", "");
    let empty = given(grows(tight(&ask)).hears(head(1, 200, JSON)).hears(whole(1, blank)));
    assert_eq!(attempts(&empty)[1].2, "finish");
}

#[test]
fn a_ceiling_that_covers_one_answer_gets_one() {
    let bids = Story::opens(&checked(&chat(&["alpha", "beta"]))).held_for();
    let ceiling = Nanos(bids[0].amount.0);
    let ask = checked(&chat(&["alpha", "beta"]).wishing("max_cost_usd", ceiling.to_string().into()));
    let story =
        Story::opens(&ask).hears(Event::Held(Grant { amount: ceiling, allowed: vec![0, 1], ..Grant::default() }));
    let story = story.hears(head(0, 200, JSON)).hears(whole(0, cut_off()));
    // The second may cost what the first left, so that both stay below.
    let story = story.does(&["Note alpha/m good", "Send 1 to beta", "Wait Head(1)"]);
    let bound = |number| story.sent_body(number)["max_completion_tokens"].as_u64().expect("a bound");
    assert!(bound(1) < bound(0) && bound(1) > 900, "{} {}", bound(0), bound(1));
}

#[test]
fn a_caller_who_leaves_pays_for_both() {
    let ask = chat(&["alpha", "beta"]);
    // Beta bills on: its answer is waited for, and not checked any more.
    let gone = grows(tight(&checked(&ask))).hears(Event::Gone).does(&["Wait Drain"]);
    let gone = gone.hears(head(1, 200, JSON)).hears(whole(1, cut_off())).does(&["Note beta/m good", "Post 0.000017"]);
    let letter = gone.posted();
    assert_eq!((letter.call.status, letter.others.len(), letter.call.attempts[1].verdict.as_str()), (499, 1, ""));
    let never = grows(tight(&checked(&ask))).hears(Event::Gone).elapses(Timer::Drain);
    assert!(matches!(never.posted().outcome, PostOutcome::Suspense { .. }));
    assert_eq!(never.posted().others[0].outcome, PostOutcome::Charge(Nanos(17_000)));
    // Before the second was sent, only the first is owed.
    let early = tight(&checked(&ask)).hears(Event::Gone).does(&["Post 0.000017"]);
    assert_eq!((early.posted().call.status, early.posted().others.len()), (499, 0));
}

#[test]
fn a_stream_is_asked_for_whole_and_told_as_a_stream() {
    for ask in [chat(&["alpha", "beta"]).streamed().with_usage(), messages(&["alpha", "beta"]).streamed()] {
        let story = grows(tight(&checked(&ask)));
        for number in [0, 1] {
            let sent = story.sent_body(number);
            assert!(sent.get("stream").is_none_or(|stream| stream == false), "{sent}");
            assert!(sent.get("stream_options").is_none(), "{sent}");
        }
        let story = story.hears(head(1, 200, JSON)).hears(whole(1, CHAT_WHOLE));
        let story =
            story.does(&["Note beta/m good", "Reply 200 stream", "Abort 1", "Chunk", "Finish", "Post 0.000017"]);
        let text = story.text();
        assert!(text.contains("Hello, world.") && text.contains("\"cost_usd\":\"0.000034\""), "{text}");
        assert!(text.contains("\"verdict\":\"finish\"") && text.contains("\"attempts\":2"), "{text}");
        let story = tight(&checked(&ask)).hears(Event::Unreachable);
        let story = story.does(&["Reply 200 stream", "Abort 0", "Chunk", "Finish", "Post 0.000017"]);
        assert!(story.text().contains("\"cost_usd\":\"0.000017\""), "{}", story.text());
    }
    // A long one is held for as a whole.
    let long = Story::opens(&checked(&chat(&["alpha"]).streamed().long()));
    assert_eq!(long.held_for()[0].least, Nanos(0));
    let plain = Story::opens(&chat(&["alpha"]).streamed().long());
    assert!(plain.held_for()[0].least > Nanos(0) && plain.held_for()[0].amount == long.held_for()[0].amount);
}

#[test]
fn json_and_calls_are_checked_by_their_schemas() {
    let mut ask = checked(&chat(&["alpha", "beta"]));
    ask.more = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema":
        {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}}});
    let sent = |ask: &Ask| Story::opens_in(ask, able()).hears(held(&[0, 1])).hears(head(0, 200, JSON));
    let says = |text: &str| CHAT_WHOLE.replace("Hello, world.", text);
    for (text, sends) in [("{\\\"n\\\":1}", 1), ("{\\\"n\\\":\\\"1\\\"}", 2), ("Hello", 2)] {
        let story = sent(&ask).hears(whole(0, says(text)));
        assert_eq!(story.did("Send"), sends, "{text}");
    }
    ask.more = json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"required": ["n"]}}}]});
    let calls = |name: &str, arguments: &str| {
        let mut answer: Value = serde_json::from_str(CHAT_WHOLE).expect("JSON");
        let call = json!({"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}});
        answer["choices"][0]["message"] = json!({"role": "assistant", "content": null, "tool_calls": [call]});
        answer["choices"][0]["finish_reason"] = "tool_calls".into();
        answer.to_string()
    };
    for (name, arguments, sends) in [("f", "{\"n\":1}", 1), ("f", "{}", 2), ("f", "{\"n\":", 2), ("g", "{\"n\":1}", 2)]
    {
        let story = sent(&ask).hears(whole(0, calls(name, arguments)));
        assert_eq!(story.did("Send"), sends, "{name} {arguments}");
    }
}

/// The world, with models that can do all that is checked.
fn able() -> World {
    let more = r#""id":"m","supports":["tools","json_schema"]"#;
    let catalog = Catalog::parse(&CATALOG.replace(r#""id":"m""#, more)).expect("the catalog is valid");
    World { catalog: Rc::new(catalog), ..world() }
}

/// A world of three models, each dearer and likely better than the one before, and a route to them in another order.
fn ladder(members: &Value) -> World {
    let mut catalog: Value = serde_json::from_str(CATALOG).expect("JSON");
    let models = catalog["models"].as_array_mut().expect("a list");
    models.truncate(3);
    for (place, (name, price)) in [("small", "0.1"), ("middle", "1"), ("large", "10")].into_iter().enumerate() {
        models[place]["id"] = name.into();
        for member in ["input_usd_per_mtok", "output_usd_per_mtok"] {
            models[place][member] = price.into();
        }
    }
    let target = |provider: &str, model: &str| json!({"provider": provider, "model": model});
    let targets = [target("beta", "middle"), target("alpha", "small"), target("gamma", "large")];
    let mut route = json!({"targets": targets});
    for (name, value) in members.as_object().into_iter().flatten() {
        route[name] = value.clone();
    }
    let rows = json!({"organization": "org", "version": 1, "providers": {}, "routes": {"route": route}});
    let tenant: Tenant = megarouter::json::from_value(rows).expect("rows of an organisation");
    let catalog = Catalog::parse(&catalog.to_string()).expect("the catalog is valid");
    World { catalog: Rc::new(catalog), tenant: Some(Rc::new(TenantView::new(tenant))), ..world() }
}

#[test]
fn the_next_is_likely_to_be_better_unless_an_order_was_given() {
    let named = |model: &str| Ask { model: model.to_owned(), ..chat(&["beta", "alpha", "gamma"]) };
    let second = |ask: &Ask, route: &Value| {
        let much = Event::Held(Grant { amount: Nanos(100_000_000), allowed: vec![0, 1, 2], ..Grant::default() });
        let story = Story::opens_in(ask, ladder(route)).hears(much);
        let story = story.hears(head(0, 200, JSON)).hears(whole(0, cut_off()));
        let asked: Vec<&str> =
            ["alpha", "gamma"].into_iter().filter(|id| story.did(&format!("Send 1 to {id}")) > 0).collect();
        asked.first().copied().unwrap_or("none").to_owned()
    };
    let (plain, checks) = (json!({}), |word: &str| json!({"escalation": {"checks": [word]}}));
    assert_eq!(second(&checked(&named("auto")), &plain), "gamma", "alpha is the worst of them");
    assert_eq!(second(&checked(&named("route")), &plain), "alpha", "the next target");
    assert_eq!(second(&checked(&named("route")), &json!({"mode": "balanced"})), "gamma");
    // A route says itself what is checked; a request may ask for it, or leave it.
    assert_eq!(second(&named("route"), &plain), "none");
    assert_eq!(second(&named("route"), &checks("finish")), "alpha");
    assert_eq!(second(&named("route"), &checks("refusal")), "none");
    assert_eq!(second(&checked(&named("route")), &checks("refusal")), "none");
    assert_eq!(second(&named("route").wishing("escalate", false.into()), &checks("finish")), "none");
    // What cannot fail is streamed as ever.
    for (word, streams) in [("json_schema", true), ("tool_schema", true), ("finish", false), ("agreement", false)] {
        let story = Story::opens_in(&named("route").streamed(), ladder(&checks(word))).hears(held(&[0, 1]));
        assert_eq!(story.sent_body(0)["stream"] == true, streams, "{word}");
    }
}

/// Where two answers are to agree: a route to beta, alpha and gamma, in this order, asked with enough held for all.
fn opinions(answers: &[&str]) -> Story {
    let ask = Ask { model: "route".into(), ..chat(&["beta", "alpha", "gamma"]) }.wishing("explain", true.into());
    let much = Event::Held(Grant { amount: Nanos(100_000_000), allowed: vec![0, 1, 2], ..Grant::default() });
    let mut story = Story::opens_in(&ask, ladder(&json!({"escalation": {"checks": ["agreement"]}}))).hears(much);
    for (number, answer) in answers.iter().enumerate() {
        // The third provider speaks another dialect.
        let form = if number < 2 { CHAT_WHOLE } else { MESSAGES_WHOLE };
        story = story.hears(head(number, 200, JSON)).hears(whole(number, form.replace("Hello, world.", answer)));
    }
    story
}

#[test]
fn two_that_agree_are_believed_and_where_they_do_not_a_third_is_asked() {
    let story = opinions(&["It takes 42.", "The answer: 42"]);
    let verdicts =
        |story: &Story| attempts(story).into_iter().map(|(a, b, c, _)| [a, b, c].join(" ")).collect::<Vec<_>>();
    assert_eq!(verdicts(&story), ["beta rejected passed", "alpha answered passed"]);
    let told = ["x-megarouter-provider", "x-megarouter-reason", "x-megarouter-attempts"];
    assert_eq!(told.map(|name| story.header(name)), [Some("alpha"), Some("escalation"), Some("2")]);
    assert_eq!((story.did("Send"), story.posted().others.len()), (2, 1), "both are paid");
    let story = opinions(&["It takes 42.", "The answer: 43", "41"]);
    let third = ["beta rejected agreement", "alpha rejected agreement", "gamma answered passed"];
    assert_eq!(verdicts(&story), third, "who has the last word needs no other");
    assert_eq!(story.header("x-megarouter-provider"), Some("gamma"));
    let mut seen = megarouter::quality::seen::Seen::default();
    seen.take(&story.posted().observed);
    assert!(["small", "middle"].iter().all(|model| seen.gain(0, model).abs() < 1e-9), "nobody knows which was wrong");
}

#[test]
fn an_answer_that_holds_is_not_given_up_for_one_that_does_not() {
    // The first holds and waits for another; the second is cut off, and so is the third.
    let ask = Ask { model: "route".into(), ..chat(&["beta", "alpha", "gamma"]) }.wishing("explain", true.into());
    let much = || Event::Held(Grant { amount: Nanos(100_000_000), allowed: vec![0, 1, 2], ..Grant::default() });
    let route = json!({"escalation": {"checks": ["agreement", "finish"]}});
    let begun = || {
        let story = Story::opens_in(&ask, ladder(&route)).hears(much());
        let story = story.hears(head(0, 200, JSON)).hears(whole(0, CHAT_WHOLE));
        story.hears(head(1, 200, JSON)).hears(whole(1, cut_off().replace("Hello, world.", "Hello, wor")))
    };
    let cut = MESSAGES_WHOLE.replace("end_turn", "max_tokens");
    let story = begun().hears(head(2, 200, JSON)).hears(whole(2, cut));
    assert_eq!(story.header("x-megarouter-provider"), Some("beta"));
    assert_eq!(story.body()["choices"][0]["message"]["content"], "Hello, world.");
    let story = begun().hears(head(2, 503, JSON)).hears(whole(2, "{}"));
    assert_eq!(story.header("x-megarouter-provider"), Some("beta"), "also where the third cannot be reached");
}
