//! The life of a request, told as stories first; then the machine's own table of transitions against wild runs of it; then
//! its promises against a simulated shell that answers in any order and providers that fail in every way.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]
#[path = "exchange/decision.rs"]
mod decision;
#[path = "exchange/escalation.rs"]
mod escalation;
#[path = "exchange/paying.rs"]
mod paying;
#[path = "exchange/shell.rs"]
mod shell;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "exchange/stage.rs"]
mod stage;

use megarouter::{
    account::letter::{Grant, PostOutcome, Refusal},
    budget::Blocked,
    exchange::event::{Event, PipeEnd, Timer},
    id::{Dice, Scope},
    money::Nanos,
    time::Window,
};
use proptest::{
    collection::vec,
    prelude::any,
    test_runner::{Config, TestCaseError, TestRunner},
};
use serde_json::{Value, json};
use shell::{Manners, Transition, run};
use stage::{
    Ask, CHAT, CHAT_WHOLE, COST, JSON, MESSAGES, REQUEST, SSE, Story, bytes, chat, head, held, messages, not_allowed,
    piped, stale, whole,
};
use std::collections::BTreeSet;

// Stories that end well.

#[test]
fn a_stream_from_its_hold_to_its_posting() {
    Story::opens(&chat(&["alpha"]).streamed())
        .does(&["Hold for 1"])
        .hears(held(&[0]))
        .does(&["Wait Total", "Send 0 to alpha", "Wait Head(0)"])
        .hears(head(0, 200, SSE))
        .does(&["Wait FirstToken(0)", "Read 0"])
        .hears(bytes(0, CHAT.opening))
        .does(&["Read 0"])
        .hears(bytes(0, CHAT.hello))
        .does(&["Note alpha/m good", "Reply 200 stream", "Wait Stall(0)", "Chunk"])
        .hears(Event::Written)
        .does(&["Read 0"])
        .hears(bytes(0, CHAT.rest()))
        .does(&["Abort 0", "Chunk", "Finish", "Post 0.000017"])
        .hears(Event::Posted)
        .does(&[])
        .is("Done");
}

#[test]
fn a_whole_answer_from_its_hold_to_its_posting() {
    let story = Story::opens(&chat(&["alpha"]))
        .does(&["Hold for 1"])
        .hears(held(&[0]))
        .does(&["Wait Total", "Send 0 to alpha", "Wait Head(0)"])
        .hears(head(0, 200, JSON))
        .does(&["Wait FirstToken(0)", "Read 0 whole"])
        .hears(whole(0, CHAT_WHOLE))
        .does(&["Note alpha/m good", "Reply 200", "Post 0.000017"])
        .hears(Event::Posted)
        .does(&[])
        .is("Done");
    assert_eq!(story.body()["choices"][0]["message"]["content"], "Hello, world.");
    let told =
        ["x-megarouter-provider", "x-megarouter-cost-usd", "x-megarouter-attempts"].map(|name| story.header(name));
    assert_eq!(told, [Some("alpha"), Some(COST), Some("1")]);
    assert_eq!(story.posted().request_id, REQUEST);
    assert!(!story.posted().call.estimated);
    assert_eq!(story.did("Note alpha/m counted"), 1, "what its prompt had in tokens is learned");
}

#[test]
fn one_answer_of_two_that_ended_does_not_end_the_stream() {
    let chunk = |index: u32, text: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"c\",\"model\":\"m\",\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"{text}\"}},\
             \"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let streamed = |last: &str| {
        let all =
            [chunk(0, "whole", "null"), chunk(1, "half", "null"), chunk(0, "", "\"stop\""), last.to_owned()].concat();
        Story::sent(&chat(&["alpha"]).streamed().answers(2), &[0])
            .hears(head(0, 200, SSE))
            .hears(bytes(0, &all))
            .hears(Event::End { attempt: 0 })
    };
    let cut = streamed("");
    assert!(cut.text().contains("not complete") && !cut.text().contains("[DONE]"), "{}", cut.text());
    let whole = streamed(&chunk(1, "", "\"stop\""));
    assert!(whole.text().contains("[DONE]") && !whole.text().contains("not complete"), "{}", whole.text());
}

#[test]
fn a_member_that_asks_for_answers_elsewhere_asks_for_none_here() {
    let story = Story::streaming(&messages(&["alpha"]).streamed().answers(2), &CHAT)
        .hears(Event::Written)
        .hears(bytes(0, CHAT.rest()));
    assert!(!story.posted().call.estimated, "the Messages API has no `n`: the one answer is whole");
}

#[test]
fn counts_no_call_can_have_are_not_charged_beyond_the_hold() {
    let absurd = CHAT_WHOLE.replace("\"completion_tokens\":", "\"completion_tokens\":30000000");
    let story = Story::sent(&chat(&["alpha"]), &[0]).hears(head(0, 200, JSON)).hears(whole(0, &absurd));
    let call = &story.posted().call;
    assert!(call.estimated && call.usage.output >= 30_000_000, "{call:?}");
    let PostOutcome::Charge(cost) = story.posted().outcome else { panic!("{:?}", story.posted().outcome) };
    assert_eq!(cost, Nanos(10_000_000), "the whole hold, and no more");
}

#[test]
fn a_stream_of_the_same_dialect_is_piped_when_nothing_must_change() {
    let story = Story::sent(&chat(&["alpha"]).streamed().with_usage(), &[0])
        .hears(head(0, 200, SSE))
        .hears(bytes(0, CHAT.opening))
        .hears(bytes(0, CHAT.hello))
        .does(&["Note alpha/m good", "Reply 200 stream", "Pipe 0"])
        .hears(piped(0, CHAT.all(), PipeEnd::Whole))
        .does(&["Chunk", "Finish", "Post 0.000017"]);
    let text = story.text();
    assert!(text.starts_with(": megarouter {") && text.contains(COST), "only the comment is ours: {text}");
}

#[test]
fn a_stream_is_translated_between_dialects() {
    let story =
        Story::streaming(&messages(&["alpha"]).streamed(), &CHAT).hears(Event::Written).hears(bytes(0, CHAT.rest()));
    let story = story.does(&["Abort 0", "Chunk", "Finish", "Post 0.000017"]);
    for part in ["event: message_start", "Hello, ", "world.", "end_turn", "event: message_stop", ": megarouter {"] {
        assert!(story.text().contains(part), "{part} is missing in {}", story.text());
    }
    let story = Story::streaming(&chat(&["gamma"]).streamed(), &MESSAGES)
        .hears(Event::Written)
        .hears(bytes(0, MESSAGES.rest()));
    let story = story.does(&["Abort 0", "Chunk", "Finish", "Post 0.000017"]);
    for part in ["Hello, ", "world.", "\"finish_reason\":\"stop\"", "data: [DONE]", ": megarouter {"] {
        assert!(story.text().contains(part), "{part} is missing in {}", story.text());
    }
}

#[test]
fn a_whole_answer_where_a_stream_was_asked_for_becomes_a_stream() {
    let story = Story::sent(&chat(&["alpha"]).streamed(), &[0])
        .hears(head(0, 200, JSON))
        .does(&["Wait FirstToken(0)", "Read 0 whole"])
        .hears(whole(0, CHAT_WHOLE))
        .does(&["Note alpha/m good", "Reply 200 stream", "Abort 0", "Chunk", "Finish", "Post 0.000017"]);
    assert!(story.text().contains("Hello, world.") && story.text().contains("[DONE]"));
}

#[test]
fn what_one_provider_fails_another_answers() {
    let story = Story::sent(&chat(&["alpha", "beta"]), &[0, 1])
        .hears(head(0, 503, JSON))
        .does(&["Wait FirstToken(0)", "Read 0 whole"])
        .hears(whole(0, "{}"))
        .does(&["Abort 0", "Note alpha/m bad", "Send 1 to beta", "Wait Head(1)"])
        .hears(head(1, 200, JSON))
        .hears(whole(1, CHAT_WHOLE))
        .does(&["Note beta/m good", "Reply 200", "Post 0.000017"]);
    let told = ["x-megarouter-provider", "x-megarouter-reason", "x-megarouter-attempts"].map(|name| story.header(name));
    assert_eq!(told, [Some("beta"), Some("fallback"), Some("2")]);
    let call = &story.posted().call;
    let attempts: Vec<(&str, &str)> =
        call.attempts.iter().map(|one| (one.provider.as_str(), one.outcome.as_str())).collect();
    assert_eq!(attempts.len(), 2);
    assert_eq!((attempts[0].0, attempts[1]), ("alpha", ("beta", "answered")));
    assert_eq!(call.reason, "fallback");
}

#[test]
fn no_request_makes_more_than_five_attempts() {
    let mut story = Story::sent(&chat(&["alpha", "beta", "gamma", "delta"]), &[0, 1, 2, 3]);
    for attempt in 0..5 {
        story = story.hears(Event::Broke { attempt });
        if [0, 2].contains(&attempt) {
            story = story.elapses(Timer::Retry(attempt));
        }
    }
    let story = story.does(&["Abort 4", "Note gamma/m bad", "Reply 503", "Post 0"]);
    assert_eq!((story.did("Send"), story.header("x-megarouter-attempts")), (5, Some("5")));
    assert_eq!(story.body()["error"]["code"], "upstream_unreachable");
}

#[test]
fn a_request_that_is_wrong_is_not_tried_elsewhere() {
    let refusal =
        r#"{"error":{"message":"temperature is too high","type":"invalid_request_error","param":"temperature"}}"#;
    let story = Story::sent(&chat(&["alpha", "beta"]), &[0, 1]).hears(head(0, 400, JSON)).hears(whole(0, refusal));
    let story = story.does(&["Abort 0", "Reply 400", "Post 0"]);
    assert_eq!(story.body()["error"]["message"], "temperature is too high");
}

// Stories that end at the door.

#[test]
fn a_stranger_is_told_the_price_in_both_generations() {
    let story = Story::opens(&chat(&["alpha"]).keyed(None)).does(&["Reply 402"]).is("Done");
    let body = story.body();
    assert_eq!((&body["x402Version"], &body["error"]["code"]), (&json!(1), &json!("x402_payment_required")));
    let offer = &body["accepts"][0];
    assert_eq!(
        (&offer["network"], &offer["payTo"]),
        (&json!("base-sepolia"), &json!("0x90f79bf6eb2c4f870365e785982e1f101e93b906"))
    );
    assert_eq!(offer["resource"], "https://edge.test/v1/chat/completions");
    let header = story.header("payment-required").expect("the header of version 2");
    assert!(header.len() > 100 && story.header("cache-control") == Some("no-store"));
    let story = Story::opens(&messages(&["gamma"]).keyed(None)).does(&["Reply 402"]);
    assert_eq!((&story.body()["type"], &story.body()["x402Version"]), (&json!("error"), &json!(1)));
}

#[test]
fn a_forged_key_wakes_no_account() {
    let mut forged = chat(&["alpha"]).key.expect("a key");
    let last = forged.pop();
    forged.push(if last == Some('0') { '1' } else { '0' });
    for key in [forged.as_str(), "mr_sk_short", "mr_"] {
        let story = Story::opens(&chat(&["alpha"]).keyed(Some(key))).does(&["Reply 401"]).is("Done");
        assert_eq!(story.body()["error"]["code"], "invalid_key", "{key}");
    }
}

#[test]
fn a_name_nobody_serves_is_told_once_the_key_is_proven() {
    let mut unknown = chat(&[]);
    unknown.model = "no-such-model".to_owned();
    let story =
        Story::opens(&unknown).does(&["Hold dry"]).hears(not_allowed(None, None)).does(&["Reply 404"]).is("Done");
    assert_eq!(story.body()["error"]["code"], "model_not_found");
}

#[test]
fn new_rows_of_the_organisation_make_a_new_plan() {
    let mut ask = chat(&[]);
    ask.model = "fast".to_owned();
    Story::opens(&ask).does(&["Hold dry"]).hears(stale(4, "beta")).does(&["Hold for 1"]).hears(held(&[0])).does(&[
        "Wait Total",
        "Send 0 to beta",
        "Wait Head(0)",
    ]);
}

#[test]
fn routing_policies_that_were_not_known_make_a_new_plan() {
    let under = |policies: Value| {
        let rows = json!({"organization": "org", "version": 7, "providers": {}, "routes": {}, "policies": policies});
        Event::Refused(Refusal::Stale(Box::new(megarouter::json::from_value(rows).expect("rows of an organisation"))))
    };
    let deny = |model: &str| json!([{"scope": "member:mem_a", "name": "Ada", "written": {"deny": [model]}}]);
    let story = Story::opens(&chat(&["alpha", "beta"])).does(&["Hold for 2"]).hears(under(deny("alpha/*")));
    story.does(&["Hold for 1"]).hears(held(&[0])).does(&["Wait Total", "Send 0 to beta", "Wait Head(0)"]);
    // What rules it out is told only to a key that was proven; and what no longer does is learned the same way.
    let denied = Story::opens(&chat(&["alpha"])).does(&["Hold for 1"]).hears(under(deny("m"))).does(&["Hold dry"]);
    let refused = denied.hears(not_allowed(None, None)).does(&["Reply 403"]).is("Done");
    let error = &refused.body()["error"];
    assert_eq!(error["code"], "routing_policy_denied");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("deny \"m\" of the member \"Ada\"")), "{error}");
    let denied = Story::opens(&chat(&["alpha"])).does(&["Hold for 1"]).hears(under(deny("m"))).does(&["Hold dry"]);
    denied.hears(under(Value::Null)).does(&["Hold for 1"]);
    // A rule that this worker does not know is not passed over.
    let newer = under(json!([{"scope": "organization", "name": "Acme", "written": {"curfew": "22:00"}}]));
    Story::opens(&chat(&["alpha"])).does(&["Hold for 1"]).hears(newer).does(&["Reply 503"]).is("Done");
}

#[test]
fn rows_that_never_settle_end_the_request() {
    let mut story = Story::opens(&chat(&["alpha"]));
    for version in 1..=3 {
        story = story.hears(stale(version, "beta")).does(&["Hold for 1"]);
    }
    story.hears(stale(4, "beta")).does(&["Reply 503"]).is("Done");
}

#[test]
fn a_narrow_key_gets_another_plan_once() {
    let story = Story::opens(&chat(&["alpha", "beta"]).wishing("providers", json!({})))
        .does(&["Hold for 4"])
        .hears(not_allowed(None, Some(&["gamma"])))
        .does(&["Hold for 1"])
        .hears(not_allowed(None, Some(&["gamma"])))
        .does(&["Reply 403"])
        .is("Done");
    assert_eq!(story.body()["error"]["code"], "provider_not_allowed");
    Story::opens(&chat(&["alpha"]).wishing("providers", json!({})))
        .hears(not_allowed(Some(&["other"]), None))
        .does(&["Hold dry"])
        .hears(not_allowed(Some(&["other"]), None))
        .does(&["Reply 403"]);
}

#[test]
fn a_spent_budget_says_whose_and_until_when() {
    let blocked = Blocked {
        scope_name: String::new(),
        scope: Scope::Organization,
        window: Window::Day,
        limit_usd: Nanos(5_000_000_000),
        posted_usd: Nanos(4_999_000_000),
        held_usd: Nanos(0),
        estimate_usd: Nanos(2_000_000),
        resets_at: Some("2026-11-25T00:00:00Z".to_owned()),
    };
    let refused = Event::Refused(Refusal::Budget(Box::new(blocked)));
    let story = Story::opens(&chat(&["alpha"])).hears(refused).does(&["Reply 403"]).is("Done");
    let error = &story.body()["error"];
    assert_eq!(error["code"], "organization_budget_exceeded");
    assert_eq!(error["metadata"]["resets_at"], "2026-11-25T00:00:00Z");
}

#[test]
fn an_account_with_too_much_to_do_is_asked_once() {
    let story = Story::opens(&chat(&["alpha"])).hears(Event::Refused(Refusal::Overloaded));
    let story = story.does(&["Reply 503"]).is("Done");
    assert_eq!(story.body()["error"]["code"], "budget_unavailable");
    let seconds = story.header("retry-after").and_then(|text| text.parse::<u64>().ok());
    assert!(seconds.is_some_and(|seconds| (1..=3).contains(&seconds)), "{seconds:?}");
}

#[test]
fn an_account_out_of_reach_costs_nothing() {
    Story::opens(&chat(&["alpha"]))
        .hears(Event::Unreachable)
        .does(&["Hold for 1"])
        .hears(Event::Unreachable)
        .does(&["Hold for 1"])
        .hears(Event::Unreachable)
        .does(&["Reply 503", "Post void"])
        .hears(Event::Posted)
        .is("Done");
}

#[test]
fn explain_only_decides_and_does_nothing_else() {
    let ask = chat(&["alpha", "gamma"]).wishing("explain", "only".into());
    let story = Story::opens(&ask).does(&["Hold dry"]).hears(held(&[0, 1])).does(&["Reply 200"]).is("Done");
    let told = &story.body()["megarouter"];
    let candidates = told["candidates"].as_array().expect("a list").iter();
    let eligible: Vec<&Value> = candidates.filter(|one| one["eligible"] == true).map(|one| &one["provider"]).collect();
    assert_eq!(eligible, ["alpha", "gamma"]);
}

// Stories of time.

#[test]
fn silence_before_the_head_or_the_first_word_is_another_providers_chance() {
    let ask = chat(&["alpha", "gamma"]).streamed();
    let another = ["Abort 0", "Note alpha/m bad", "Send 1 to gamma", "Wait Head(1)"];
    Story::sent(&ask, &[0, 1]).elapses(Timer::Head(0)).does(&another);
    Story::sent(&ask, &[0, 1])
        .hears(head(0, 200, SSE))
        .elapses(Timer::Head(0))
        .does(&[])
        .elapses(Timer::FirstToken(0))
        .does(&another);
}

#[test]
fn a_stream_that_falls_silent_is_ended_aloud() {
    let story = Story::streaming(&chat(&["alpha", "beta"]).streamed().long(), &CHAT)
        .hears(Event::Written)
        .after(9_000)
        .elapses(Timer::Stall(0))
        .does(&["Wait Stall(0)"])
        .after(2_000)
        .elapses(Timer::Stall(0))
        .is("Closing");
    assert!(story.text().contains("upstream_stalled") && !story.text().contains("[DONE]"), "{}", story.text());
    assert!(matches!(story.posted().outcome, PostOutcome::Charge(cost) if cost > Nanos::ZERO));
}

#[test]
fn a_slow_reader_is_not_a_silent_provider() {
    let story = Story::streaming(&chat(&["alpha"]).streamed(), &CHAT).after(11_000).elapses(Timer::Stall(0));
    let story = story.does(&["Wait Stall(0)"]).hears(Event::Written).does(&["Read 0"]);
    let story = story.after(9_000).elapses(Timer::Stall(0)).is("Relaying");
    story.after(10_000).elapses(Timer::Stall(0)).is("Closing");
}

#[test]
fn the_total_deadline_runs_from_the_arrival_and_ends_every_phase() {
    let ask = chat(&["alpha", "beta"]).streamed().wishing("deadline_ms", 10_000.into());
    let story = Story::opens(&ask).after(4_000).hears(held(&[0, 1]));
    assert_eq!(story.waits(Timer::Total), Some(6_000), "the hold took 4 s of the 10 s");
    let story = story.elapses(Timer::Total).is("Closing");
    assert_eq!((story.did("Send"), story.reply().status), (1, 504));
    let story =
        Story::streaming(&ask, &CHAT).elapses(Timer::Total).does(&["Abort 0", "Chunk", "Finish", "Post 0.000011"]);
    assert!(story.text().contains("upstream_stalled"));
    // A pipe is let go, and tells what it saw.
    let story = Story::streaming(&ask.with_usage(), &CHAT).elapses(Timer::Total).does(&["Abort 0"]).is("Relaying");
    let story = story.hears(piped(0, [CHAT.opening, CHAT.hello].concat(), PipeEnd::Broke)).is("Closing");
    assert!(story.text().starts_with("\n\n") && story.text().contains("upstream_stalled"));
}

#[test]
fn the_callers_own_deadline_is_no_stain_on_a_provider() {
    let ask = chat(&["alpha"]).wishing("deadline_ms", 5.into());
    let story = Story::sent(&ask, &[0]).elapses(Timer::Total);
    assert_eq!(story.did("Note"), 0, "health is shared: a caller in a hurry must not open another's circuit");
    let story = Story::sent(&ask, &[0]).elapses(Timer::Total);
    assert!(
        matches!(story.posted().outcome, PostOutcome::Charge(cost) if cost > Nanos::ZERO),
        "and no free ride: the prompt was sent"
    );
    let ask = chat(&["beta"]).wishing("deadline_ms", 5.into());
    let story = Story::sent(&ask, &[0]).elapses(Timer::Total);
    assert!(matches!(story.posted().outcome, PostOutcome::Suspense { .. }), "beta may bill on");
}

#[test]
fn what_is_late_does_not_touch_the_next_attempt() {
    let ask = chat(&["alpha", "beta"]).streamed();
    let mut story = Story::sent(&ask, &[0, 1]).hears(head(0, 200, SSE)).hears(Event::Broke { attempt: 0 });
    story = story.elapses(Timer::Retry(0)).does(&["Send 1 to alpha", "Wait Head(1)"]);
    let late = [
        head(0, 200, SSE),
        bytes(0, CHAT.all()),
        whole(0, CHAT_WHOLE),
        Event::End { attempt: 0 },
        Event::Broke { attempt: 0 },
        piped(0, CHAT.all(), PipeEnd::Whole),
        Event::Elapsed(Timer::Head(0)),
        Event::Elapsed(Timer::FirstToken(0)),
        Event::Elapsed(Timer::Stall(0)),
        Event::Written,
        held(&[0]),
    ];
    for event in late.clone() {
        story = story.hears(event).does(&[]);
    }
    story = story.hears(head(1, 200, SSE)).hears(bytes(1, CHAT.hello)).is("Relaying");
    for event in late.into_iter().filter(|event| *event != Event::Written) {
        story = story.hears(event).does(&[]);
    }
    story.hears(Event::Written).hears(bytes(1, CHAT.rest())).is("Closing");
}

// Stories of callers who leave.

#[test]
fn a_hang_up_before_the_hold_is_granted_voids_it() {
    let story = Story::opens(&chat(&["alpha"])).hears(Event::Gone).does(&[]).hears(held(&[0])).does(&["Post void"]);
    assert_eq!(story.posting().1, None, "nothing is booked");
    story.hears(Event::Posted).is("Done");
}

#[test]
fn a_hang_up_while_a_provider_thinks_is_settled_by_how_it_bills() {
    Story::sent(&chat(&["alpha", "beta"]), &[0, 1]).hears(Event::Gone).does(&["Abort 0", "Post 0.000007"]);
    // Where closing the connection stops nothing, the answer is waited for: it tells what it cost.
    let drained = Story::sent(&chat(&["beta", "alpha"]), &[0, 1]).hears(Event::Gone).does(&["Wait Drain"]);
    drained.hears(head(0, 200, JSON)).hears(whole(0, CHAT_WHOLE)).does(&["Note beta/m good", "Post 0.000017"]);
    let unknown = Story::sent(&chat(&["beta"]), &[0]).hears(Event::Gone).elapses(Timer::Drain);
    unknown.does(&["Abort 0", "Post suspense 0.000007"]).hears(Event::Posted).is("Done");
}

#[test]
fn a_hang_up_while_a_refusal_is_read_costs_nothing() {
    let story = Story::sent(&chat(&["alpha"]), &[0]).hears(head(0, 503, JSON)).hears(Event::Gone);
    story.does(&["Abort 0", "Note alpha/m bad", "Post 0"]);
}

#[test]
fn a_hang_up_in_mid_stream_is_settled_by_how_the_provider_bills() {
    let now = Story::streaming(&chat(&["alpha"]).streamed(), &CHAT).hears(Event::Gone);
    now.does(&["Abort 0", "Post 0.000011"]).hears(Event::Written).does(&[]).hears(Event::Posted).is("Done");
    let drained =
        Story::streaming(&chat(&["beta"]).streamed(), &CHAT).hears(Event::Gone).does(&["Wait Drain", "Read 0"]);
    drained.hears(bytes(0, CHAT.rest())).does(&["Abort 0", "Post 0.000017"]);
    let unknown = Story::streaming(&chat(&["beta"]).streamed(), &CHAT).hears(Event::Gone).elapses(Timer::Drain);
    unknown.does(&["Abort 0", "Post suspense 0.000011"]);
}

#[test]
fn a_hang_up_while_bytes_are_awaited_does_not_ask_for_them_twice() {
    let reading = Story::streaming(&chat(&["beta"]).streamed(), &CHAT).hears(Event::Written).does(&["Read 0"]);
    reading.hears(Event::Gone).does(&["Wait Drain"]).hears(bytes(0, CHAT.world)).does(&["Read 0"]);
}

#[test]
fn a_hang_up_of_a_piped_caller_comes_with_what_was_seen() {
    let seen = [CHAT.opening, CHAT.hello].concat();
    let piping = |provider| Story::streaming(&chat(&[provider]).streamed().with_usage(), &CHAT).hears(Event::Gone);
    piping("alpha").does(&["Abort 0"]).hears(Event::Gone).does(&[]);
    piping("beta").does(&["Wait Drain"]).elapses(Timer::Drain).does(&["Abort 0"]);
    piping("alpha").hears(piped(0, &seen, PipeEnd::Gone { drained: false })).does(&["Post 0.000011"]);
    piping("beta").hears(piped(0, &seen, PipeEnd::Gone { drained: false })).does(&["Post suspense 0.000011"]);
    piping("beta").hears(piped(0, CHAT.all(), PipeEnd::Gone { drained: true })).does(&["Post 0.000017"]);
    // The deadline lets the pipe go before it has noticed.
    let late = || piping("beta").elapses(Timer::Total).does(&["Abort 0"]);
    late().hears(piped(0, &seen, PipeEnd::Broke)).does(&["Post suspense 0.000011"]);
    late().hears(piped(0, CHAT.all(), PipeEnd::Whole)).does(&["Post 0.000017"]);
}

#[test]
fn who_is_let_go_of_in_the_middle_may_write_on_and_bill_it() {
    let ask = |provider| chat(&[provider]).streamed().wishing("rescue", "off".into());
    for (provider, post) in [("alpha", "Post 0.000011"), ("beta", "Post suspense 0.000011")] {
        let blamed = format!("Note {provider}/m bad");
        let silent = Story::streaming(&ask(provider), &CHAT).hears(Event::Written).after(10_000);
        silent.elapses(Timer::Stall(0)).does(&["Abort 0", &blamed, "Chunk", "Finish", post]);
        let late = Story::streaming(&ask(provider), &CHAT).elapses(Timer::Total);
        late.does(&["Abort 0", "Chunk", "Finish", post]);
        let lost = Story::streaming(&ask(provider), &CHAT).hears(Event::Written).hears(Event::Broke { attempt: 0 });
        lost.does(&["Abort 0", &blamed, "Chunk", "Finish", post]);
        let piping = Story::streaming(&ask(provider).with_usage(), &CHAT);
        let silent = piping.hears(piped(0, [CHAT.opening, CHAT.hello].concat(), PipeEnd::Stalled));
        assert!(silent.text().contains("upstream_stalled"));
        silent.does(&["Abort 0", &blamed, "Chunk", "Finish", post]);
    }
    // Who ended by itself knows what it wrote.
    let cut = Story::streaming(&ask("beta"), &CHAT).hears(Event::Written).hears(Event::End { attempt: 0 });
    cut.does(&["Abort 0", "Note beta/m bad", "Chunk", "Finish", "Post 0.000011"]);
}

#[test]
fn a_count_that_no_call_can_have_is_not_charged_beyond_the_hold() {
    let told = |ask: &Ask, tokens: &str| {
        let answer = CHAT_WHOLE.replace("\"completion_tokens\":4", &format!("\"completion_tokens\":{tokens}"));
        let story = Story::sent(ask, &[0]).hears(head(0, 200, JSON)).hears(whole(0, answer));
        (story.posted().outcome, story.posted().call.estimated)
    };
    let short = Ask { output_tokens: 16, ..chat(&["alpha"]) };
    assert_eq!(told(&short, "96"), (PostOutcome::Charge(Nanos(201_000)), false), "twice the bound, and some");
    assert_eq!(told(&short, "8000"), (PostOutcome::Charge(Nanos(10_000_000)), true), "what was held");
}

#[test]
fn counts_told_at_the_beginning_are_not_the_bill() {
    // Messages open with a count of one output token. What came after it was made, too.
    let words = MESSAGES.hello.repeat(50);
    let story = Story::streaming(&messages(&["gamma"]).streamed().long(), &MESSAGES).hears(Event::Written);
    let story = story.hears(bytes(0, &words)).hears(Event::Gone).is("Closing");
    let call = &story.posted().call;
    assert!(call.usage.output >= 51 && call.usage.input == 9, "{:?}", call.usage);
    assert!(call.estimated);
    // At a provider that goes on billing, the cut is no full answer.
    let seen = [MESSAGES.opening, MESSAGES.hello].concat();
    let piping = Story::streaming(&messages(&["delta"]).streamed(), &MESSAGES);
    let cut = piping.hears(piped(0, seen, PipeEnd::Gone { drained: false }));
    assert!(matches!(cut.posted().outcome, PostOutcome::Suspense { .. }), "{:?}", cut.posted().outcome);
}

// Stories of what is held.

/// A grant of that many nano-dollars.
fn holds(amount: i64) -> Event {
    Event::Held(Grant { amount: Nanos(amount), allowed: vec![0], ..Grant::default() })
}

/// A stream of alpha's that may grow: its hold covers the prompt and some 4,900 tokens, which are at least as many bytes.
fn growing() -> Story {
    let story = Story::streaming(&chat(&["alpha"]).streamed().with_usage().long(), &CHAT);
    story.hears(Event::Written).hears(bytes(0, CHAT.hello.repeat(500))).does(&["Chunk"])
}

#[test]
fn a_hold_grows_while_its_answer_does() {
    let story = growing().hears(Event::Written).does(&["Extend", "Read 0"]);
    let asked = story.extended();
    assert!(asked.to.0 > 10_000_000 + 8_000_000 && asked.least.0 == 10_000_001, "a slice more: {asked:?}");
    let story = story.hears(holds(asked.to.0)).does(&[]).hears(bytes(0, CHAT.hello.repeat(400))).does(&["Chunk"]);
    let story = story.hears(Event::Written).does(&["Read 0"]);
    let story = story.hears(bytes(0, CHAT.rest())).does(&["Abort 0", "Chunk", "Finish", "Post 0.000017"]);
    assert!(!story.text().contains("budget_cut"));
    assert!(story.text().contains("\"finish_reason\":\"stop\""), "told in our own frames, and whole");
}

#[test]
fn an_answer_ends_where_no_more_can_be_held() {
    for no in [Event::Refused(Refusal::InFlight), Event::Unreachable, holds(10_000_000)] {
        let story = growing().hears(Event::Written).does(&["Extend", "Read 0"]).hears(no).does(&[]);
        let story =
            story.hears(bytes(0, CHAT.hello.repeat(300))).does(&["Abort 0", "Chunk", "Finish", "Post 0.002811"]);
        let text = story.text();
        assert!(text.contains("\"finish_reason\":\"length\"") && text.contains("\"budget_cut\":true"), "{text}");
        assert!(text.contains("data: [DONE]"), "{text}");
        let call = &story.posted().call;
        assert!(call.budget_cut && call.estimated && call.recomputed() == Nanos(2_811_000), "{call:?}");
    }
}

#[test]
fn nothing_is_read_beyond_what_is_covered() {
    let story = growing().hears(Event::Written).does(&["Extend", "Read 0"]);
    let story = story.hears(bytes(0, CHAT.hello.repeat(300))).does(&["Chunk"]).hears(Event::Written).does(&[]);
    let story = story.hears(holds(18_000_000)).does(&["Read 0"]).is("Relaying");
    story.hears(bytes(0, CHAT.rest())).does(&["Abort 0", "Chunk", "Finish", "Post 0.000017"]);
    let waiting = growing().hears(Event::Written).hears(bytes(0, CHAT.hello.repeat(300))).hears(Event::Written);
    waiting.hears(Event::Unreachable).does(&["Abort 0", "Chunk", "Finish", "Post 0.002811"]);
}

#[test]
fn only_answers_that_show_all_they_cost_may_grow() {
    for (ask, grows) in [
        (chat(&["alpha"]).streamed().long(), true),
        (messages(&["gamma"]).streamed().long(), true),
        (chat(&["alpha"]).long(), false),
        (chat(&["alpha"]).streamed(), false),
        (chat(&["beta"]).streamed().long(), false),
    ] {
        assert_eq!(Story::opens(&ask).held_for()[0].least > Nanos::ZERO, grows, "{ask:?}");
    }
}

#[test]
fn what_may_be_billed_stays_covered_beside_the_next_attempt() {
    let both = chat(&["alpha", "beta"]);
    let late = || {
        let one = Event::Held(Grant { amount: Nanos(3_200_000), allowed: vec![0, 1], ..Grant::default() });
        let story = Story::opens(&both).hears(one).elapses(Timer::Head(0));
        story.does(&["Abort 0", "Note alpha/m bad", "Extend"])
    };
    let asked = late().extended();
    assert!(asked.to > Nanos(0) && asked.least == asked.to, "both attempts, whole: {asked:?}");
    let story = late().hears(holds(20_000_000)).does(&["Send 1 to beta", "Wait Head(1)"]);
    let story = story.hears(head(1, 200, JSON)).hears(whole(1, CHAT_WHOLE));
    let letter = story.posted();
    assert_eq!((letter.call.provider.as_str(), letter.others.len()), ("beta", 1));
    let mut hashed = letter.clone();
    hashed.hashed("ab");
    assert_eq!([hashed.call.request_hash, hashed.others[0].call.request_hash.clone()], ["ab", "ab"]);
    let other = &letter.others[0];
    assert_eq!((other.number, other.call.provider.as_str()), (1, "alpha"));
    assert_eq!(other.outcome, PostOutcome::Suspense { metered: Nanos(0) }, "nobody pays for an answer that never came");
    // Without cover the chain ends, and what is unknown stays open.
    for no in [Event::Refused(Refusal::InFlight), Event::Unreachable] {
        let story = late().hears(no).does(&["Reply 504", "Post suspense 0"]);
        assert_eq!(story.posted().others, []);
    }
    let left = late().hears(Event::Gone).does(&["Post suspense 0"]);
    left.hears(holds(20_000_000)).does(&[]).hears(Event::Posted).is("Done");
}

#[test]
fn a_refusal_in_full_is_not_billed() {
    for status in [429, 504, 503] {
        let story = Story::sent(&chat(&["alpha", "beta"]), &[0, 1]).hears(head(0, status, JSON)).hears(whole(0, "{}"));
        let story = story.does(&["Abort 0", "Note alpha/m bad", "Send 1 to beta", "Wait Head(1)"]);
        let story = story.hears(head(1, 200, JSON)).hears(whole(1, CHAT_WHOLE));
        assert_eq!(story.posted().others, [], "{status}");
    }
}

#[test]
fn a_ceiling_holds_for_the_whole_chain() {
    let ask = chat(&["alpha", "beta"]).wishing("max_cost_usd", "0.003".into());
    let story = Story::sent(&ask, &[0, 1]).elapses(Timer::Head(0));
    // What the first may be billed leaves next to nothing: the second is not asked at all.
    let story = story.does(&["Abort 0", "Note alpha/m bad", "Reply 504", "Post suspense 0"]);
    assert!(story.posted().call.held_usd <= Nanos(3_000_000));
    let refused = Story::sent(&ask, &[0, 1]).hears(head(0, 503, JSON)).hears(whole(0, "{}"));
    refused.does(&["Abort 0", "Note alpha/m bad", "Send 1 to beta", "Wait Head(1)"]);
}

#[test]
fn a_hold_that_comes_too_late_is_given_back() {
    let story = Story::opens(&chat(&["alpha"])).after(15_001).hears(held(&[0]));
    let story = story.does(&["Reply 503", "Post void"]);
    assert_eq!(story.body()["error"]["code"], "budget_unavailable");
}

#[test]
fn usage_that_never_came_is_estimated_and_never_given_back() {
    let story = Story::streaming(&chat(&["alpha"]).streamed(), &CHAT).hears(Event::Written);
    let story = story.hears(bytes(0, [CHAT.world, CHAT.finish, CHAT.end].concat()));
    let call = &story.posted().call;
    assert!(call.estimated && call.usage.output > 0 && call.usage.input > 0, "{call:?}");
    assert_eq!(story.posted().outcome, PostOutcome::Charge(call.recomputed()));
    assert!(call.recomputed() > Nanos(0));
}

#[test]
fn usage_below_nothing_is_no_usage() {
    let negative = CHAT_WHOLE.replace("\"completion_tokens\":4", "\"completion_tokens\":-400");
    let story = Story::sent(&chat(&["alpha"]), &[0]).hears(head(0, 200, JSON)).hears(whole(0, &negative));
    let PostOutcome::Charge(cost) = story.posted().outcome else { panic!("{:?}", story.posted().outcome) };
    assert!(cost > Nanos(0), "nobody is paid for asking");
}

#[test]
fn an_answer_of_no_tokens_costs_nothing() {
    let none = CHAT_WHOLE.replace("\"completion_tokens\":4", "\"completion_tokens\":0").replace("\"stop\"", "null");
    let answered = |text: &str| Story::sent(&chat(&["alpha"]), &[0]).hears(head(0, 200, JSON)).hears(whole(0, text));
    let story = answered(&none);
    let call = &story.posted().call;
    assert_eq!((story.posted().outcome, call.absorbed_usd), (PostOutcome::Charge(Nanos(0)), Nanos(9_000)));
    assert_eq!(call.recomputed(), Nanos(0));
    for why in ["content_filter", "length", "stop"] {
        let told = none.replace("\"finish_reason\":null", &format!("\"finish_reason\":\"{why}\""));
        assert_eq!(
            answered(&told).posted().outcome,
            PostOutcome::Charge(Nanos(9_000)),
            "{why}: it is empty for a reason"
        );
    }
}

#[test]
fn a_ceiling_is_the_last_word_whatever_is_counted() {
    let ask = chat(&["alpha"]).wishing("max_cost_usd", "0.003".into());
    let more = CHAT_WHOLE.replace("\"completion_tokens\":4", "\"completion_tokens\":2000");
    let one = Event::Held(Grant { amount: Nanos(3_000_000), allowed: vec![0], ..Grant::default() });
    let story = Story::opens(&ask).hears(one.clone()).hears(head(0, 200, JSON)).hears(whole(0, &more));
    let call = &story.posted().call;
    assert_eq!((story.posted().outcome, call.absorbed_usd), (PostOutcome::Charge(Nanos(3_000_000)), Nanos(1_009_000)));
    assert_eq!(call.recomputed(), Nanos(3_000_000));
    // A stream under a ceiling is never piped unseen, and is cut when it runs on.
    let story =
        Story::opens(&ask.streamed().with_usage()).hears(one).hears(head(0, 200, SSE)).hears(bytes(0, CHAT.opening));
    let story = story.hears(bytes(0, CHAT.hello.repeat(1_200)));
    assert!(story.text().contains("\"budget_cut\":true"), "{:.300}", story.text());
}

#[test]
fn a_timeout_keeps_what_its_charge_can_be_asked_and_computed_by() {
    let story = Story::sent(&chat(&["beta"]).streamed(), &[0]).hears(head(0, 200, SSE)).hears(bytes(0, CHAT.opening));
    let story = story.elapses(Timer::FirstToken(0));
    let call = &story.posted().call;
    assert_eq!(story.posted().outcome, PostOutcome::Suspense { metered: Nanos(0) });
    assert!(call.rates.is_some() && !call.generation_id.is_empty() && call.recomputed() == Nanos(0), "{call:?}");
}

#[test]
fn a_budget_says_how_long_an_answer_it_still_covers() {
    let blocked = Blocked {
        scope: Scope::Organization,
        scope_name: String::new(),
        window: Window::Day,
        limit_usd: Nanos(2_000_000),
        posted_usd: Nanos(0),
        held_usd: Nanos(0),
        estimate_usd: Nanos(3_000_000),
        resets_at: None,
    };
    let story = Story::opens(&chat(&["alpha"])).hears(Event::Refused(Refusal::Budget(Box::new(blocked))));
    let most = story.body()["error"]["metadata"]["max_affordable_output_tokens"].as_u64().expect("told");
    assert!((300..500).contains(&most), "{most}");
}

#[test]
fn every_charge_can_be_computed_again() {
    let ask = chat(&["alpha"]);
    let whole = Story::sent(&ask, &[0]).hears(head(0, 200, JSON)).hears(whole(0, CHAT_WHOLE));
    let call = &whole.posted().call;
    assert_eq!(PostOutcome::Charge(call.recomputed()), whole.posted().outcome);
    assert_eq!(whole.posting().1.map(str::as_bytes), Some(&*ask.inbound().body), "it names the request");
    let cut = Story::streaming(&chat(&["alpha"]).streamed(), &CHAT).hears(Event::Gone);
    assert_eq!(PostOutcome::Charge(cut.posted().call.recomputed()), cut.posted().outcome);
}

// Stories of posting.

#[test]
fn a_posting_that_finds_nobody_is_made_again() {
    let mut story = Story::sent(&chat(&["alpha"]), &[0]).hears(head(0, 200, JSON)).hears(whole(0, CHAT_WHOLE));
    for _ in 0..6 {
        story = story.hears(Event::Unreachable).does(&["Wait Repost"]).elapses(Timer::Repost).does(&["Post 0.000017"]);
    }
    story.hears(Event::Unreachable).does(&[]).is("Done");
}

#[test]
fn a_posting_tells_how_long_the_call_took() {
    let story = Story::sent(&chat(&["alpha"]).streamed(), &[0]).after(100).hears(head(0, 200, SSE));
    let story =
        story.after(200).hears(bytes(0, CHAT.hello)).hears(Event::Written).after(700).hears(bytes(0, CHAT.rest()));
    assert_eq!(story.posted().call.duration_ms, 1_000);
}

#[test]
fn the_last_words_of_a_pipe_stand_on_lines_of_their_own() {
    let piping = || Story::streaming(&chat(&["alpha"]).streamed().with_usage(), &CHAT);
    let without = |text: &str| CHAT.all().replace(text, "");
    let story = piping().hears(piped(0, without(CHAT.end), PipeEnd::Whole));
    assert!(
        story.text().starts_with("data: [DONE]\n\n: megarouter"),
        "a missing end is ours to give: {}",
        story.text()
    );
    let cut = without(CHAT.end);
    let story = piping().hears(piped(0, cut.trim_end(), PipeEnd::Whole));
    assert!(story.text().starts_with("\n\ndata: [DONE]"), "the last frame had no blank line: {:?}", story.text());
    let quoting = without(CHAT.end).replace("world.", "it says [DONE].");
    let story = piping().hears(piped(0, quoting, PipeEnd::Whole));
    assert!(story.text().starts_with("data: [DONE]"), "a quoted end is no end: {:?}", story.text());
}

// The machine against its table, and its promises.

/// The table at the head of the machine's file: every cell, once.
fn table() -> BTreeSet<(String, String, String)> {
    let text = include_str!("../src/exchange.rs").split("//! ```").nth(1).expect("a block of text");
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! ")).filter(|line| !line.starts_with("phase"));
    let cells = rows.filter(|line| !line.starts_with("---")).flat_map(|row| {
        let mut words = row.split_whitespace().map(str::to_owned);
        let (phase, event) = (words.next().expect("a phase"), words.next().expect("an event"));
        words.map(move |next| (phase.clone(), event.clone(), next)).collect::<Vec<_>>()
    });
    cells.collect()
}

/// A script made of a number.
fn script(seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    (0..24).flat_map(|_| dice.roll().to_le_bytes()).collect()
}

#[test]
fn the_table_says_what_the_machine_does() {
    let mut seen: BTreeSet<Transition> = BTreeSet::new();
    for seed in 0..3_000 {
        let manners = match seed % 10 {
            9 => Manners::Growing,
            even if even % 2 == 0 => Manners::Good,
            _ => Manners::None,
        };
        match run(&script(seed), manners) {
            Ok(transitions) => seen.extend(transitions),
            Err(why) => panic!("{manners:?} {why}"),
        }
    }
    let owned = |(phase, event, next): Transition| (phase.to_owned(), event.to_owned(), next.to_owned());
    let seen: BTreeSet<_> = seen.into_iter().map(owned).collect();
    let table = table();
    assert!(table.len() > 20, "the table was not read");
    let missing: Vec<_> = seen.difference(&table).collect();
    assert!(missing.is_empty(), "these happen and stand not in the table of src/exchange.rs: {missing:?}");
    let never: Vec<_> = table.difference(&seen).collect();
    assert!(never.is_empty(), "these stand in the table of src/exchange.rs and never happen: {never:?}");
}

/// To see one run again: `EXCHANGE_SCRIPT=1,2,3 cargo test --test exchange promises`.
#[test]
fn an_exchange_keeps_its_promises() {
    if let Ok(script) = std::env::var("EXCHANGE_SCRIPT") {
        let bytes = script.split(',').map(|byte| byte.trim().parse().expect("a byte"));
        let script: Vec<u8> = bytes.collect();
        return assert_eq!(run(&script, Manners::Good).err(), None);
    }
    let mut runner = TestRunner::new(Config { cases: 3_000, failure_persistence: None, ..Config::default() });
    let ran = runner
        .run(&vec(any::<u8>(), 0..200), |script| run(&script, Manners::Good).map(drop).map_err(TestCaseError::fail));
    if let Err(failed) = ran {
        panic!("{failed}");
    }
}
