//! What a provider does wrong, row by row, and what the caller and the account see of it. The numbers are those of
//! docs/faults.md.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "exchange/stage.rs"]
mod stage;

use megarouter::{
    account::letter::{Grant, PostOutcome, Refusal},
    endpoint::Surface,
    exchange::event::{Event, Timer},
    health::{FailedAs, Health, Outcome, Sample},
    money::Nanos,
    time::Millis,
    world::{Credential, World},
};
use serde_json::json;
use stage::{CHAT, CHAT_WHOLE, JSON, MESSAGES, MORNING, SSE, Story, bytes, chat, head, held, whole, world};
use std::rc::Rc;

const BOTH: [&str; 2] = ["alpha", "beta"];
const HTML: &str = "text/html; charset=utf-8";

/// A call of two providers whose first was sent.
fn sent() -> Story {
    Story::sent(&chat(&BOTH), &[0, 1])
}

/// The first provider refuses in full.
fn refused(status: u16, body: &str) -> Story {
    sent().hears(head(0, status, JSON)).hears(whole(0, body))
}

/// As `refused`, with a wish when to come back.
fn refused_until(status: u16, body: &str, retry_after: &str) -> Story {
    let Event::Head { attempt, head } = head(0, status, JSON) else { panic!("a head") };
    let head = megarouter::exchange::event::Head { retry_after: Some(retry_after.to_owned()), ..head };
    sent().hears(Event::Head { attempt, head }).hears(whole(0, body))
}

const ELSEWHERE: [&str; 4] = ["Abort 0", "Note alpha/m bad", "Send 1 to beta", "Wait Head(1)"];
const AGAIN: [&str; 3] = ["Abort 0", "Note alpha/m bad", "Wait Retry(0)"];

/// Nothing of the first attempt stays open.
fn answered_by(provider: &str, story: Story) -> Story {
    let attempt = story.did("Send") - 1;
    let story = story.hears(head(attempt, 200, JSON)).hears(whole(attempt, CHAT_WHOLE));
    assert_eq!(story.header("x-megarouter-provider"), Some(provider));
    story
}

// Before the first byte.

#[test]
fn u1_a_connection_that_fails_is_made_again_once_and_then_elsewhere() {
    let story = sent().hears(Event::Broke { attempt: 0 }).does(&AGAIN);
    let pause = story.waits(Timer::Retry(0)).expect("a pause");
    assert!((100..300).contains(&pause), "{pause}");
    let story = story.elapses(Timer::Retry(0)).does(&["Send 1 to alpha", "Wait Head(1)"]);
    let story = story.hears(Event::Broke { attempt: 1 });
    let story = story.does(&["Abort 1", "Note alpha/m bad", "Send 2 to beta", "Wait Head(2)"]);
    let story = answered_by("beta", story);
    assert_eq!(
        (story.posted().others.len(), story.header("x-megarouter-attempts")),
        (0, Some("3")),
        "it was never made"
    );
}

#[test]
fn u1_a_connection_nobody_can_make_is_told_as_such() {
    let mut story = sent();
    for (attempt, again) in [(0, true), (1, false), (2, true), (3, false)] {
        story = story.hears(Event::Broke { attempt });
        if again {
            story = story.elapses(Timer::Retry(attempt));
        }
    }
    assert_eq!((story.reply().status, &story.body()["error"]["code"]), (503, &json!("upstream_unreachable")));
    assert_eq!(story.posted().call.status, 503, "what the caller saw is booked");
}

#[test]
fn u4_a_silent_route_is_left_for_good_and_covered_while_the_next_one_runs() {
    let story = answered_by("beta", sent().after(60_000).elapses(Timer::Head(0)).does(&ELSEWHERE));
    assert_eq!((story.posted().others.len(), story.did("Send")), (1, 2), "it may be billed");
    let nobody = Story::sent(&chat(&["alpha"]), &[0]).after(60_000).elapses(Timer::Head(0));
    assert_eq!((nobody.reply().status, nobody.did("Send")), (504, 1), "and is not asked again");
}

#[test]
fn u5_a_head_without_content_is_as_silent() {
    let story = Story::sent(&chat(&BOTH).streamed(), &[0, 1]).hears(head(0, 200, SSE)).hears(bytes(0, CHAT.opening));
    assert_eq!(story.waits(Timer::FirstToken(0)), Some(10_000));
    let story = answered_by("beta", story.after(10_000).elapses(Timer::FirstToken(0)).does(&ELSEWHERE));
    assert_eq!(story.posted().others.len(), 1);
    let late = Story::sent(&chat(&["alpha"]).streamed(), &[0]).hears(head(0, 200, SSE)).after(7_000);
    assert_eq!(late.hears(bytes(0, CHAT.all())).posted().call.ttft_ms, Some(7_000), "the first content, not the head");
}

#[test]
fn u5_a_head_and_a_ping_of_messages_are_no_content() {
    let ask = stage::call(Surface::Messages, &["gamma", "delta"]).streamed();
    let begun = || Story::opens(&ask).hears(held(&[0, 1])).hears(head(0, 200, SSE)).hears(bytes(0, MESSAGES.opening));
    let silent = begun().does(&["Read 0"]).after(10_000).elapses(Timer::FirstToken(0));
    for story in [silent, begun().hears(Event::End { attempt: 0 }), begun().hears(Event::Broke { attempt: 0 })] {
        assert_eq!(story.did("Reply"), 0, "the caller has nothing of it");
        let story = if story.did("Wait Retry") == 1 { story.elapses(Timer::Retry(0)) } else { story };
        let last = story.did("Send") - 1;
        let story = story.hears(head(last, 200, SSE)).hears(bytes(last, MESSAGES.all())).hears(Event::Written);
        assert_eq!(story.is("Closing").text().matches("event: message_start").count(), 1);
    }
}

#[test]
fn u5_who_is_known_to_be_fast_is_waited_for_less_long() {
    let mut health = Health::default();
    for at in 0..30 {
        let outcome = Outcome::Answered { ttft_ms: 900 };
        health.observe(&Sample { deployment: "alpha/m".into(), at: Millis(MORNING.0 - 1_000 + at), outcome });
    }
    let known = World { health: Rc::new(health), ..world() };
    let ask = chat(&BOTH).streamed();
    let wait = |story: Story| story.waits(Timer::Head(0)).expect("a deadline");
    assert_eq!(wait(Story::opens_in(&ask, known.clone()).hears(held(&[0, 1]))), 3_600);
    assert_eq!(wait(Story::opens(&ask).hears(held(&[0, 1]))), 10_000);
    let patient = ask.clone().wishing("max_ttft_ms", 25_000.into());
    assert_eq!(wait(Story::opens_in(&patient, known).hears(held(&[0, 1]))), 25_000, "the request has the last word");
}

#[test]
fn u10_an_error_inside_a_200_is_taken_for_what_it_says() {
    for (body, does) in [
        (r#"{"error":{"message":"slow down","code":429}}"#, &ELSEWHERE),
        (r#"{"error":{"message":"overloaded","type":"overloaded_error"}}"#, &ELSEWHERE),
        (r#"{"error":{"message":"no such key","type":"authentication_error"}}"#, &ELSEWHERE),
    ] {
        answered_by("beta", sent().hears(head(0, 200, JSON)).hears(whole(0, body)).does(does));
    }
    let wrong = r#"{"error":{"message":"temperature is too high","type":"invalid_request_error"}}"#;
    let story = sent().hears(head(0, 200, JSON)).hears(whole(0, wrong)).does(&["Abort 0", "Reply 400", "Post 0"]);
    assert_eq!(story.body()["error"]["message"], "temperature is too high");
    let streamed = Story::sent(&chat(&BOTH).streamed(), &[0, 1]).hears(head(0, 200, SSE));
    streamed.hears(bytes(0, CHAT.fault)).is("Attempting");
}

#[test]
fn u10_an_answer_with_nothing_in_it_is_asked_for_elsewhere() {
    let nothing = CHAT_WHOLE.replace("Hello, world.", "");
    answered_by("beta", sent().hears(head(0, 200, JSON)).hears(whole(0, &nothing)).does(&ELSEWHERE));
    let streamed = Story::sent(&chat(&BOTH).streamed(), &[0, 1]).hears(head(0, 200, SSE));
    streamed.hears(bytes(0, [CHAT.opening, CHAT.finish].concat())).does(&ELSEWHERE);
    // Where nobody is left, it is what there is; and a filter or a bound is a reason.
    let alone = Story::sent(&chat(&["alpha"]), &[0]).hears(head(0, 200, JSON)).hears(whole(0, &nothing));
    assert_eq!(alone.reply().status, 200);
    let filtered = nothing.replace("\"stop\"", "\"content_filter\"");
    assert_eq!(sent().hears(head(0, 200, JSON)).hears(whole(0, filtered)).reply().status, 200);
}

#[test]
fn u11_a_page_is_no_answer() {
    answered_by("beta", sent().hears(head(0, 200, HTML)).hears(whole(0, "<html>hello</html>")).does(&ELSEWHERE));
}

#[test]
fn u13_what_is_wrong_with_the_request_is_told_by_the_first() {
    for status in [400, 422] {
        let story = refused(status, r#"{"error":{"message":"top_k is no number","param":"top_k"}}"#);
        let story = story.does(&["Abort 0", "Reply 400", "Post 0"]);
        assert_eq!((&story.body()["error"]["param"], story.posted().call.status), (&json!("top_k"), 400));
    }
    let flagged =
        r#"{"error":{"message":"The prompt was flagged by our content policy.","code":"content_policy_violation"}}"#;
    let story = refused(400, flagged).does(&["Abort 0", "Reply 400", "Post 0"]);
    assert_eq!(story.body()["error"]["message"], "The prompt was flagged by our content policy.", "with its reason");
}

#[test]
fn u14_a_prompt_that_is_too_long_goes_only_where_there_is_more_room() {
    let long = r#"{"error":{"message":"This model's maximum context length is 200000 tokens.","code":"context_length_exceeded"}}"#;
    let story = refused(400, long).does(&["Abort 0", "Reply 400", "Post 0"]);
    assert_eq!(story.body()["error"]["code"], "context_length_exceeded", "beta's is no longer");
    let row = r#"{"provider":"beta","id":"m","context_length":200000,"#;
    let longer = megarouter::catalog::Catalog::parse(&stage::CATALOG.replace(row, &row.replace("200000", "900000")));
    let larger = World { catalog: Rc::new(longer.expect("valid")), ..world() };
    let story = Story::opens_in(&chat(&BOTH), larger).hears(held(&[0, 1])).hears(head(0, 400, JSON));
    answered_by("beta", story.hears(whole(0, long)).does(&["Abort 0", "Send 1 to beta", "Wait Head(1)"]));
}

#[test]
fn u15_a_credential_that_is_refused_is_never_the_callers_fault() {
    for status in [401, 403] {
        answered_by("beta", refused(status, "{}").does(&ELSEWHERE));
        let story = Story::sent(&chat(&["alpha"]), &[0]).hears(head(0, status, JSON)).hears(whole(0, "{}"));
        assert_eq!((story.reply().status, &story.body()["error"]["code"]), (502, &json!("upstream_auth_failed")));
    }
}

/// A world in which the first provider has three credentials.
fn several() -> World {
    let mut settings = (*world().settings).clone();
    let names = ["A", "A_2", "A_3"].map(|name| Credential::Named(name.into()));
    settings.reach.get_mut("alpha").expect("there").credentials = names.into();
    World { settings: Rc::new(settings), ..world() }
}

#[test]
fn u15_another_credential_of_the_same_provider_is_tried_and_the_bad_one_set_aside() {
    let mut story = Story::opens_in(&chat(&BOTH), several()).hears(held(&[0, 1]));
    let mut used = Vec::new();
    for attempt in 0..3 {
        used.push(story.credential(attempt));
        story = story.hears(head(attempt, 401, JSON)).hears(whole(attempt, "{}"));
    }
    for name in ["A", "A_2", "A_3"] {
        assert_eq!(
            used.iter().filter(|used| **used == Credential::Named(name.into())).count(),
            1,
            "{name} in {used:?}"
        );
    }
    let story = story.does(&["Abort 2", "Note alpha/m bad", "Send 3 to beta", "Wait Head(3)"]);
    answered_by("beta", story);
    let mut health = Health::default();
    for name in ["alpha#1", "alpha#3"] {
        let outcome = Outcome::Failed { fault: FailedAs::Credential, retry_after_ms: None };
        health.observe(&Sample { deployment: name.into(), at: MORNING, outcome });
    }
    let known = World { health: Rc::new(health), ..several() };
    let story = Story::opens_in(&chat(&BOTH), known).hears(held(&[0, 1]));
    assert_eq!(story.credential(0), Credential::Named("A_2".into()), "the others were refused lately");
}

#[test]
fn u20_another_credential_has_a_rate_of_its_own() {
    let story = Story::opens_in(&chat(&BOTH), several()).hears(held(&[0, 1]));
    let first = story.credential(0);
    let story = story.hears(head(0, 429, JSON)).hears(whole(0, "{}"));
    let Credential::Named(name) = &first else { panic!("a name") };
    let number = name.strip_prefix("A_").unwrap_or("1");
    let noted = format!("Note alpha#{number} bad");
    let story = story.does(&["Abort 0", &noted, "Send 1 to alpha", "Wait Head(1)"]);
    assert_ne!(story.credential(1), first);
    answered_by("alpha", story);
}

#[test]
fn u16_an_empty_account_is_left_alone() {
    for (status, body) in
        [(402, "{}"), (429, r#"{"error":{"code":"insufficient_quota","message":"You exceeded your quota"}}"#)]
    {
        answered_by("beta", refused_until(status, body, "1").does(&ELSEWHERE));
    }
}

#[test]
fn u17_a_model_that_is_not_there_is_asked_for_elsewhere() {
    answered_by("beta", refused(404, "{}").does(&ELSEWHERE));
    let story = Story::sent(&chat(&["alpha"]), &[0]).hears(head(0, 404, JSON)).hears(whole(0, "{}"));
    assert_eq!(story.reply().status, 404);
}

#[test]
fn u18_timeouts_and_conflicts_go_elsewhere() {
    answered_by("beta", refused(409, "{}").does(&ELSEWHERE));
    let late = answered_by("beta", refused(408, "{}").does(&ELSEWHERE));
    assert!(matches!(late.posted().others[0].outcome, PostOutcome::Suspense { .. }), "it may have been worked on");
}

#[test]
fn u19_a_body_that_is_too_large_goes_to_another_provider() {
    let story = refused(413, "{}").does(&["Abort 0", "Send 1 to beta", "Wait Head(1)"]);
    let story = story.hears(head(1, 413, JSON)).hears(whole(1, "{}"));
    assert_eq!(story.reply().status, 413);
}

#[test]
fn u20_a_rate_limit_is_waited_out_once_if_it_is_short() {
    for (retry_after, ms) in [("3", 3_000), ("0.25", 250), ("700ms", 700), ("0", 1)] {
        let story = refused_until(429, "{}", retry_after).does(&AGAIN);
        assert_eq!(story.waits(Timer::Retry(0)), Some(ms), "{retry_after}");
        let story = story.elapses(Timer::Retry(0)).does(&["Send 1 to alpha", "Wait Head(1)"]);
        let story = story.hears(head(1, 429, JSON)).hears(whole(1, "{}"));
        answered_by("beta", story.does(&["Abort 1", "Note alpha/m bad", "Send 2 to beta", "Wait Head(2)"]));
    }
    let date = MORNING.after(2_000);
    assert_eq!(date.rfc3339(), "2026-11-24T23:20:50Z");
    let story = refused_until(429, "{}", "Tue, 24 Nov 2026 23:20:50 GMT").does(&AGAIN);
    assert_eq!(story.waits(Timer::Retry(0)), Some(2_000), "a date");
    for long in ["4", "60", "Tue, 24 Nov 2026 23:30:00 GMT", "soon"] {
        refused_until(429, "{}", long).does(&ELSEWHERE);
    }
    refused(429, "{}").does(&ELSEWHERE);
}

#[test]
fn u20_who_is_in_a_hurry_waits_for_no_rate_limit() {
    let ask = chat(&BOTH).wishing("mode", "latency-first".into());
    let Event::Head { attempt, head } = head(0, 429, JSON) else { panic!("a head") };
    let head = megarouter::exchange::event::Head { retry_after: Some("1".into()), ..head };
    Story::sent(&ask, &[0, 1]).hears(Event::Head { attempt, head }).hears(whole(0, "{}")).does(&ELSEWHERE);
}

#[test]
fn u20_when_all_limit_our_rate_the_caller_is_told_when_to_come_back() {
    let story = refused_until(429, "{}", "9").hears(head(1, 429, JSON)).hears(whole(1, "{}"));
    assert_eq!((story.reply().status, story.header("retry-after")), (429, Some("1")));
}

#[test]
fn u21_a_failure_in_passing_is_tried_again_once() {
    for status in [500, 502] {
        let story =
            refused(status, "{}").does(&AGAIN).elapses(Timer::Retry(0)).does(&["Send 1 to alpha", "Wait Head(1)"]);
        answered_by("alpha", story);
        let story = refused(status, "{}").elapses(Timer::Retry(0)).hears(head(1, status, JSON)).hears(whole(1, "{}"));
        answered_by("beta", story.does(&["Abort 1", "Note alpha/m bad", "Send 2 to beta", "Wait Head(2)"]));
    }
    refused(504, "{}").does(&ELSEWHERE);
}

#[test]
fn u21_a_pause_ends_with_the_caller_and_with_the_deadline() {
    let story = refused(500, "{}").does(&AGAIN).hears(Event::Gone).is("Closing");
    assert_eq!(story.did("Send"), 1);
    let late = refused(500, "{}").does(&AGAIN).elapses(Timer::Total).is("Closing");
    assert_eq!((late.did("Send"), late.reply().status), (1, 502));
    let hurried = Story::sent(&chat(&BOTH).wishing("deadline_ms", 50.into()), &[0, 1]);
    hurried.hears(head(0, 500, JSON)).hears(whole(0, "{}")).does(&ELSEWHERE);
}

#[test]
fn u22_who_is_overloaded_is_not_pressed() {
    for status in [503, 529] {
        answered_by("beta", refused(status, "{}").does(&ELSEWHERE));
    }
}

#[test]
fn u23_a_redirect_is_not_followed() {
    answered_by("beta", refused(302, "").does(&ELSEWHERE));
}

#[test]
fn u31_a_provider_that_fails_them_all_is_not_asked_twice_as_often() {
    let (shared, mut sends) = (world(), 0);
    for _ in 0..1_000 {
        let mut story = Story::opens_in(&chat(&["alpha"]), shared.clone()).hears(held(&[0]));
        story = story.hears(head(0, 500, JSON)).hears(whole(0, "{}"));
        if story.waits(Timer::Retry(0)).is_some() {
            story = story.elapses(Timer::Retry(0)).hears(head(1, 500, JSON)).hears(whole(1, "{}"));
        }
        sends += story.did("Send");
    }
    assert!((1_150..=1_250).contains(&sends), "{sends} calls for 1000 requests");
}

#[test]
fn u32_when_all_are_ejected_they_are_asked_all_the_same() {
    let mut health = Health::default();
    for name in ["alpha/m", "beta/m"] {
        for _ in 0..5 {
            let outcome = Outcome::Failed { fault: FailedAs::Fault, retry_after_ms: None };
            health.observe(&Sample { deployment: name.into(), at: MORNING, outcome });
        }
    }
    let dark = World { health: Rc::new(health), ..world() };
    answered_by("alpha", Story::opens_in(&chat(&BOTH), dark).hears(held(&[0, 1])));
}

#[test]
fn a_deployment_that_comes_back_is_found_out_by_one_call() {
    let mut health = Health::default();
    for _ in 0..5 {
        let outcome = Outcome::Failed { fault: FailedAs::Fault, retry_after_ms: None };
        health.observe(&Sample { deployment: "alpha/m".into(), at: Millis(MORNING.0 - 5_000), outcome });
    }
    let rested = World { health: Rc::new(health.clone()), ..world() };
    let probe = Story::opens_in(&chat(&BOTH), rested).hears(held(&[0, 1]));
    let probe = probe.does(&["Wait Total", "Note alpha/m probed", "Send 0 to alpha", "Wait Head(0)"]);
    health.observe(&probe.noted());
    let probed = World { health: Rc::new(health), ..world() };
    Story::opens_in(&chat(&BOTH), probed).hears(held(&[0, 1])).does(&["Wait Total", "Send 0 to beta", "Wait Head(0)"]);
}

// In the middle of a stream.

type Break = (&'static str, fn(Story) -> Story, &'static str);

/// How streams break, and what the caller is told where nobody goes on.
fn breaks() -> Vec<Break> {
    vec![
        ("u6 falls silent", |story| story.after(10_000).elapses(Timer::Stall(0)), "upstream_stalled"),
        ("u7 is cut", |story| story.hears(Event::End { attempt: 0 }), "upstream_truncated"),
        ("u7 is reset", |story| story.hears(Event::Broke { attempt: 0 }), "upstream_truncated"),
        ("u8 is garbage", |story| story.hears(bytes(0, "data: {\n\n".repeat(5))), "upstream_truncated"),
        ("u9 has no end of a line", |story| story.hears(bytes(0, "x".repeat(17 << 20))), "upstream_truncated"),
        ("u10 tells an error", |story| story.hears(bytes(0, CHAT.fault)), "upstream_truncated"),
    ]
}

/// The first provider has said its first word.
fn begun(ask: &stage::Ask) -> Story {
    Story::opens(ask)
        .hears(held(&[0, 1]))
        .hears(head(0, 200, SSE))
        .hears(bytes(0, CHAT.opening))
        .hears(bytes(0, CHAT.hello))
        .hears(Event::Written)
}

#[test]
fn u6_to_u9_without_rescue_end_with_an_error_in_the_stream() {
    for (what, breaks, code) in breaks() {
        let story = breaks(begun(&chat(&BOTH).streamed().wishing("rescue", "off".into())));
        assert_eq!((story.said().as_str(), story.did("Send"), story.did("Post")), ("Hello, ", 1, 1), "{what}");
        let made = &story.posted().call.attempts[0];
        assert!(made.outcome != "answered" && made.cost_usd > Nanos(0), "{what}: {made:?}");
        assert!(story.text().contains(code) && !story.text().contains("[DONE]"), "{what}: {}", story.text());
        assert!(story.text().contains("\"rescued\":false"), "{what}");
    }
}

#[test]
fn u6_to_u9_another_provider_writes_the_rest_and_both_are_paid() {
    for (what, breaks, _) in breaks() {
        let story = breaks(begun(&chat(&BOTH).streamed())).is("Attempting");
        let story = if story.did("Send") == 1 { story.hears(held_more()) } else { story };
        let story = story.hears(head(1, 200, SSE)).hears(bytes(1, CHAT.all())).hears(Event::Written).is("Closing");
        assert_eq!(story.said(), "Hello, world.", "{what}");
        assert_eq!(story.text().matches("[DONE]").count(), 1, "{what}");
        let posted = story.posted();
        assert_eq!(
            (posted.call.provider.as_str(), posted.call.reason.as_str(), posted.others.len()),
            ("beta", "rescue", 1)
        );
        assert!(posted.others[0].call.usage.output > 0, "{what}: what was seen of the first");
        let whole = "\"provider\":\"beta\",\"model\":\"m\",\"attempts\":2,\"cost_usd\":\"0.000028\",\"rescued\":true";
        assert!(story.text().contains(whole), "{what}: {}", story.text());
        assert!(!story.text().contains("error"), "{what}");
    }
}

#[test]
fn u6_to_u9_what_the_provider_did_not_end_stays_open_where_it_bills_on() {
    let both = ["beta", "alpha"];
    for (what, breaks, _) in breaks() {
        let story = Story::opens(&chat(&both).streamed()).hears(held(&[0, 1])).hears(head(0, 200, SSE));
        let story = story.hears(bytes(0, CHAT.opening)).hears(bytes(0, CHAT.hello)).hears(Event::Written);
        let story = breaks(story);
        let story = if story.did("Send") == 1 { story.hears(held_more()) } else { story };
        let story = story.hears(head(1, 200, SSE)).hears(bytes(1, CHAT.all())).is("Closing");
        let ended = ["u7 is cut", "u10 tells an error"].contains(&what);
        let open = matches!(story.posted().others[0].outcome, PostOutcome::Suspense { .. });
        assert_eq!(open, !ended, "{what}");
    }
}

#[test]
fn an_answer_that_goes_another_way_is_let_go_and_not_blamed() {
    let other = [CHAT.opening, CHAT.hello].concat().replace("Hello, ", "Good day, ");
    let story = begun_in(world()).hears(Event::Broke { attempt: 0 }).hears(head(1, 200, SSE)).hears(bytes(1, other));
    assert_eq!(story.noted().outcome, Outcome::Answered { ttft_ms: 0 }, "the last that was noted of it");
    let story = if story.did("Send") == 2 { story.hears(held_more()) } else { story };
    let story = story.hears(head(2, 200, SSE)).hears(bytes(2, CHAT.all())).is("Closing");
    assert!(matches!(story.posted().others[1].outcome, PostOutcome::Suspense { .. }), "beta may have written on");
}

#[test]
fn u6_to_u9_nothing_is_sent_before_the_answer_is_whole() {
    for (what, breaks, _) in breaks() {
        let ask = chat(&BOTH).streamed().wishing("rescue", "buffer".into());
        let story = breaks(begun(&ask));
        assert_eq!((story.did("Reply"), story.did("Chunk")), (0, 0), "{what}");
        let story = if story.did("Send") == 1 { story.hears(held_more()) } else { story };
        let whole = CHAT.all().replace("Hello, ", "Good day, ");
        let story = story.hears(head(1, 200, SSE)).hears(bytes(1, whole));
        assert_eq!((story.said().as_str(), story.did("Reply")), ("Good day, world.", 1), "{what}");
        assert_eq!(story.header("x-megarouter-reason"), Some("rescue"), "{what}");
        assert!(story.text().contains("\"rescued\":true") && story.posted().others.len() == 1, "{what}");
    }
}

#[test]
fn u7_who_broke_off_in_passing_is_asked_once_more_when_nobody_else_is_left() {
    for rescue in ["continue", "buffer"] {
        let ask = chat(&["alpha"]).streamed().wishing("rescue", rescue.into());
        let begun = Story::opens(&ask).hears(held(&[0])).hears(head(0, 200, SSE));
        let begun = begun.hears(bytes(0, [CHAT.opening, CHAT.hello].concat())).hears(Event::Written);
        let story = begun.hears(Event::Broke { attempt: 0 }).is("Attempting");
        let story = story.hears(head(1, 200, SSE)).hears(bytes(1, [CHAT.opening, CHAT.hello].concat()));
        let story = story.hears(Event::Written).hears(Event::Broke { attempt: 1 }).is("Closing");
        assert_eq!(story.did("Send"), 2, "{rescue}: and no more");
    }
    let silent = Story::streaming(&chat(&["alpha"]).streamed(), &CHAT).hears(Event::Written);
    let silent = silent.after(10_000).elapses(Timer::Stall(0));
    assert_eq!(silent.is("Closing").did("Send"), 1, "a silent one is not");
}

fn held_more() -> Event {
    Event::Held(megarouter::account::letter::Grant {
        amount: megarouter::money::Nanos(20_000_000),
        ..Default::default()
    })
}

/// A world in which the second provider takes the beginning of an answer.
fn prefilling() -> World {
    let row = r#"{"provider":"beta","id":"m","context_length":200000,"#;
    let with = row.replace("\"id\"", "\"supports\":[\"prefill\"],\"id\"");
    let catalog = megarouter::catalog::Catalog::parse(&stage::CATALOG.replace(row, &with)).expect("valid");
    World { catalog: Rc::new(catalog), ..world() }
}

fn begun_in(world: World) -> Story {
    let story = Story::opens_in(&chat(&BOTH).streamed(), world).hears(held(&[0, 1])).hears(head(0, 200, SSE));
    story.hears(bytes(0, CHAT.opening)).hears(bytes(0, CHAT.hello)).hears(Event::Written)
}

#[test]
fn a_rescue_gives_the_beginning_to_who_takes_it() {
    let story = begun_in(prefilling()).hears(Event::Broke { attempt: 0 });
    let last = story.sent_body(1)["messages"].as_array().expect("messages").last().cloned();
    assert_eq!(last, Some(json!({"role": "assistant", "content": "Hello,"})));
    let rest = CHAT.all().replace(CHAT.hello, "").replace("world.", " world.");
    let story = story.hears(head(1, 200, SSE)).hears(bytes(1, rest)).is("Closing");
    assert_eq!(story.said(), "Hello, world.");
}

#[test]
fn a_target_that_rejects_a_beginning_answers_anew_and_its_400_is_not_told() {
    let story = begun_in(prefilling()).hears(Event::Broke { attempt: 0 }).hears(head(1, 400, JSON));
    let story = story.hears(whole(1, r#"{"error":{"message":"does not support assistant message prefill"}}"#));
    let story = story.does(&["Abort 1", "Send 2 to beta", "Wait Head(2)"]);
    assert_eq!(story.sent_body(2)["messages"].as_array().map(Vec::len), Some(1));
    let story = story.hears(head(2, 200, SSE)).hears(bytes(2, CHAT.all())).is("Closing");
    assert_eq!(story.said(), "Hello, world.");
}

#[test]
fn an_answer_that_goes_another_way_is_told_to_go_on_instead() {
    let other = CHAT.all().replace("Hello, ", "Good day, ");
    let story = begun_in(world()).hears(Event::Broke { attempt: 0 }).hears(head(1, 200, SSE)).hears(bytes(1, other));
    let story = if story.did("Send") == 2 { story.hears(held_more()) } else { story };
    let messages = story.sent_body(2)["messages"].as_array().expect("messages").clone();
    assert_eq!(messages[1], json!({"role": "assistant", "content": "Hello,"}));
    assert_eq!((messages.len(), &messages[2]["role"]), (3, &json!("user")));
    let story = story.hears(head(2, 200, SSE)).hears(bytes(2, CHAT.all())).is("Closing");
    assert_eq!(story.said(), "Hello, world.", "the repeated end is left out");
    assert_eq!(story.posted().others.len(), 2, "both that did not come to the end are booked");
}

#[test]
fn an_answer_that_ends_sooner_than_what_was_told_is_no_whole_one() {
    let short = [CHAT.opening, CHAT.hello, CHAT.finish, CHAT.usage, CHAT.end].concat().replace("Hello, ", "Hel");
    let one_frame =
        CHAT.hello.replace("Hello, ", "Bye.").replace("\"finish_reason\":null", "\"finish_reason\":\"stop\"");
    for (answer, kind) in [
        (short, SSE),
        ([CHAT.opening, &one_frame, CHAT.end].concat(), SSE),
        (CHAT_WHOLE.replace("Hello, world.", "Bye."), JSON),
    ] {
        let story = begun_in(world()).hears(Event::Broke { attempt: 0 }).hears(head(1, 200, kind));
        let story = if kind == SSE { story.hears(bytes(1, &answer)) } else { story.hears(whole(1, &answer)) };
        assert!(!story.text().contains("[DONE]"), "{}", story.text());
        let story = if story.did("Send") == 2 { story.hears(held_more()) } else { story };
        let story = story.hears(head(2, 200, SSE)).hears(bytes(2, CHAT.all())).is("Closing");
        assert_eq!(story.said(), "Hello, world.");
    }
}

#[test]
fn when_nobody_can_go_on_the_caller_is_told_in_the_stream() {
    let story = begun_in(world()).hears(Event::Broke { attempt: 0 }).hears(head(1, 503, JSON)).hears(whole(1, "{}"));
    let story = story.hears(head(2, 503, JSON)).hears(whole(2, "{}"));
    assert_eq!(story.said(), "Hello, ");
    let text = story.is("Closing").text();
    assert!(
        text.contains("upstream_truncated") && text.contains("\"attempts\":3") && !text.contains("[DONE]"),
        "{text}"
    );
    let late = begun_in(world()).hears(Event::Broke { attempt: 0 }).elapses(Timer::Total).is("Closing");
    assert!(late.text().contains("\"error\""), "{}", late.text());
    let deadline = begun_in(world()).elapses(Timer::Total).is("Closing");
    assert_eq!(deadline.did("Send"), 1, "after the deadline nobody is asked");
}

#[test]
fn a_refusal_in_the_middle_is_told_and_not_asked_of_another() {
    let flagged = r#"data: {"error":{"message":"flagged","type":"invalid_request_error","code":400}}"#;
    let story = begun(&chat(&BOTH).streamed()).hears(bytes(0, format!("{flagged}\n\n"))).is("Closing");
    assert_eq!(story.did("Send"), 1);
}

#[test]
fn a_caller_who_waits_for_a_rescue_is_kept_awake() {
    let story = begun_in(world()).hears(Event::Broke { attempt: 0 });
    assert_eq!(story.waits(Timer::Quiet), Some(15_000));
    let story = story.after(15_000).elapses(Timer::Quiet).does(&["Chunk", "Wait Quiet"]);
    let story = story.hears(head(1, 200, SSE)).hears(bytes(1, CHAT.all()));
    assert!(story.text().contains(": keep-alive\n\n") && story.said() == "Hello, world.", "{}", story.text());
    story.elapses(Timer::Quiet).does(&[]);
}

#[test]
fn a_stream_that_crawls_counts_as_broken_where_the_route_says_so() {
    let mut tenant = megarouter::access::Tenant { version: 1, ..Default::default() };
    let route = json!({"targets": [{"provider": "alpha", "model": "m"}, {"provider": "beta", "model": "m"}], "min_tokens_per_s": 2});
    tenant.routes.insert("steady".into(), megarouter::json::from_value(route).expect("a route"));
    let ask = stage::Ask { model: "steady".into(), wishes: json!({}), ..chat(&[]) }.streamed().with_usage();
    let with_route = || World { tenant: Some(Rc::new(megarouter::world::TenantView::new(tenant.clone()))), ..world() };
    let begin = || {
        let story = Story::opens_in(&ask, with_route()).hears(held(&[0, 1])).hears(head(0, 200, SSE));
        story.hears(bytes(0, [CHAT.opening, CHAT.hello].concat())).hears(Event::Written)
    };
    let words =
        |story: Story, words: usize| story.after(5_000).hears(bytes(0, CHAT.hello.repeat(words))).hears(Event::Written);
    let steady = words(words(begin(), 12), 12).is("Relaying");
    words(steady, 3).is("Attempting");
    // What the caller takes its time over is not held against the provider.
    let slow_reader = begin().hears(bytes(0, CHAT.hello.repeat(2))).after(20_000).hears(Event::Written);
    slow_reader.hears(bytes(0, CHAT.hello.repeat(2))).is("Relaying");
}

#[test]
fn a_caller_who_leaves_ends_the_rescue() {
    let story =
        begun_in(world()).hears(Event::Broke { attempt: 0 }).hears(Event::Gone).elapses(Timer::Drain).is("Closing");
    assert_eq!((story.did("Send"), story.posted().others.len()), (2, 1));
}

#[test]
fn a_missing_last_word_is_added_promptly() {
    let finished = [CHAT.world, CHAT.finish, CHAT.usage].concat();
    let story = begun(&chat(&BOTH).streamed()).hears(bytes(0, finished)).hears(Event::Written);
    assert_eq!(story.waits(Timer::Stall(0)), Some(2_000));
    for end in [Event::Broke { attempt: 0 }, Event::End { attempt: 0 }, Event::Elapsed(Timer::Stall(0))] {
        let finished = [CHAT.world, CHAT.finish, CHAT.usage].concat();
        let story =
            begun(&chat(&BOTH).streamed()).hears(bytes(0, finished)).hears(Event::Written).after(2_000).hears(end);
        assert!(story.text().contains("data: [DONE]"), "{}", story.text());
        story.does(&["Abort 0", "Chunk", "Finish", "Post 0.000017"]);
    }
}

// A second attempt beside a slow one.

fn hedged() -> stage::Ask {
    chat(&BOTH).streamed().wishing("hedge", true.into())
}

/// The account holds the dearest bid, and not a nano-dollar more.
fn begun_racing(ask: &stage::Ask) -> Story {
    let story = Story::opens(ask);
    let amount = story.held_for().iter().map(|bid| bid.amount).max().expect("a bid");
    story.hears(Event::Held(Grant { amount, allowed: vec![0, 1], ..Grant::default() }))
}

/// The first provider is late, more was held, and the second one is asked as well.
fn racing() -> Story {
    let story = begun_racing(&hedged());
    assert_eq!(story.waits(Timer::Hedge(0)), Some(5_000), "half of the limit, where nothing is known");
    let story = story.after(5_000).elapses(Timer::Hedge(0)).does(&["Extend"]);
    let story = story.hears(held_more());
    story.does(&["Send 1 to beta", "Wait Head(1)"])
}

#[test]
fn who_is_late_gets_a_rival_and_the_first_content_is_the_answer() {
    let story = racing().hears(head(1, 200, SSE)).hears(bytes(1, [CHAT.opening, CHAT.hello].concat()));
    let story =
        story.does(&["Abort 0", "Note alpha/m slow", "Note beta/m good", "Reply 200 stream", "Wait Stall(1)", "Chunk"]);
    assert_eq!(
        (story.header("x-megarouter-reason"), story.header("x-megarouter-attempts")),
        (Some("hedge"), Some("2"))
    );
    let story = story.hears(head(0, 200, SSE)).does(&[]);
    let rest = [CHAT.world, CHAT.finish, CHAT.usage, CHAT.end].concat();
    let story = story.hears(Event::Written).hears(bytes(1, rest)).is("Closing");
    let posted = story.posted();
    assert_eq!((posted.call.provider.as_str(), posted.outcome), ("beta", PostOutcome::Charge(Nanos(17_000))));
    let lost = &posted.others[0];
    assert_eq!((lost.call.provider.as_str(), lost.call.status, lost.call.usage.output), ("alpha", 499, 0));
    let PostOutcome::Charge(prompt) = lost.outcome else { panic!("it stops billing: {lost:?}") };
    assert!(prompt > Nanos(0) && lost.amount == prompt, "its prompt is owed");
    let told = format!("\"cost_usd\":\"{}\",\"rescued\":false", prompt.plus(Nanos(17_000)));
    assert!(story.text().contains(&told), "{}", story.text());
    assert_eq!(
        posted.call.attempts.iter().map(|one| one.outcome.as_str()).collect::<Vec<_>>(),
        ["cancelled", "answered"]
    );
}

#[test]
fn a_rival_that_is_later_is_let_go_and_stays_open_where_it_bills_on() {
    let story = racing().hears(head(0, 200, SSE)).hears(bytes(0, [CHAT.opening, CHAT.hello].concat()));
    assert_eq!(
        (story.did("Abort 1"), story.header("x-megarouter-reason")),
        (1, Some("mode")),
        "the first was the plan's"
    );
    let rest = [CHAT.world, CHAT.finish, CHAT.usage, CHAT.end].concat();
    let story = story.hears(Event::Written).hears(bytes(0, rest)).is("Closing");
    assert!(matches!(story.posted().others[0].outcome, PostOutcome::Suspense { .. }), "beta bills on");
    assert_eq!(story.posted().call.provider, "alpha");
}

#[test]
fn when_one_of_two_fails_the_other_goes_on_and_nobody_else_is_asked() {
    for (fails, goes_on) in [(0, 1), (1, 0)] {
        let story = racing().hears(Event::Broke { attempt: fails });
        assert_eq!((story.did("Send"), story.did("Wait Retry")), (2, 0));
        let story = story.hears(head(goes_on, 200, SSE)).hears(bytes(goes_on, CHAT.all())).is("Closing");
        assert_eq!(story.said(), "Hello, world.");
        let refused = racing().hears(head(fails, 400, JSON)).hears(whole(fails, "{}")).hears(head(goes_on, 503, JSON));
        let refused = refused.hears(whole(goes_on, "{}")).is("Closing");
        assert_eq!((refused.reply().status, refused.did("Send")), (400, 2), "what can be mended is told");
    }
}

#[test]
fn a_second_attempt_is_made_only_if_the_hold_covers_both() {
    let late = |ask: &stage::Ask| begun_racing(ask).after(5_000).elapses(Timer::Hedge(0));
    let story = late(&hedged());
    let (wish, one) = (story.extended(), story.held_for()[0].amount);
    assert_eq!((wish.to, wish.least), (one.plus(one), one.plus(one)), "each at its full bound");
    let story = story.hears(Event::Refused(Refusal::InFlight)).does(&[]);
    let story = story.hears(head(0, 200, SSE)).hears(bytes(0, CHAT.all())).is("Closing");
    assert_eq!((story.did("Send"), story.posted().others.len()), (1, 0), "the first one goes on alone");
    late(&hedged().wishing("max_cost_usd", one.plus(one).minus(Nanos(1)).to_string().into())).does(&[]);
    late(&hedged().wishing("max_cost_usd", one.plus(one).to_string().into())).does(&["Extend"]);
    let unwished = chat(&BOTH).streamed();
    assert_eq!(Story::opens(&unwished).hears(held(&[0, 1])).waits(Timer::Hedge(0)), None, "it is opt-in");
    let sooner = late(&hedged()).hears(head(0, 200, SSE)).hears(bytes(0, CHAT.hello)).hears(held_more());
    assert_eq!(sooner.did("Send"), 1, "the content was sooner than the hold");
}

#[test]
fn a_second_attempt_comes_after_what_95_of_100_calls_take() {
    let mut health = Health::default();
    for at in 0..30 {
        for outcome in [Outcome::Answered { ttft_ms: 900 }, Outcome::AnsweredWhole { ms: 2_500 }] {
            health.observe(&Sample { deployment: "alpha/m".into(), at: Millis(MORNING.0 - 1_000 + at), outcome });
        }
    }
    let known = World { health: Rc::new(health), ..world() };
    for (ask, ms) in [(hedged(), 900), (chat(&BOTH).wishing("hedge", true.into()), 2_500)] {
        let story = Story::opens_in(&ask, known.clone()).hears(held(&[0, 1]));
        assert_eq!(story.waits(Timer::Hedge(0)), Some(ms));
    }
}

#[test]
fn whole_answers_race_as_well() {
    let ask = chat(&BOTH).wishing("hedge", true.into());
    let story = Story::opens(&ask).hears(held(&[0, 1])).after(20_000).elapses(Timer::Hedge(0)).hears(held_more());
    let story = story.hears(head(0, 200, JSON)).hears(head(1, 200, JSON)).hears(whole(1, CHAT_WHOLE)).is("Closing");
    assert_eq!((story.did("Abort 0"), story.header("x-megarouter-reason")), (1, Some("hedge")));
    let PostOutcome::Charge(lost) = story.posted().others[0].outcome else { panic!("known") };
    let PostOutcome::Charge(own) = story.posted().outcome else { panic!("known") };
    assert_eq!(story.header("x-megarouter-cost-usd"), Some(lost.plus(own).to_string().as_str()));
}

#[test]
fn a_race_ends_with_the_caller_and_with_the_deadline() {
    let late = racing().elapses(Timer::Total).is("Closing");
    assert_eq!((late.did("Abort"), late.reply().status, late.posted().others.len()), (2, 504, 1));
    let left = racing().hears(Event::Gone);
    assert_eq!(left.did("Abort 0"), 1);
    let left = left.elapses(Timer::Drain).is("Closing");
    assert_eq!((left.did("Abort 1"), left.did("Send"), left.posted().others.len()), (1, 2, 1));
}

#[test]
fn what_the_account_says_to_a_wish_for_a_second_attempt_is_heard_once_wherever_it_comes() {
    let wished = || begun_racing(&hedged()).after(5_000).elapses(Timer::Hedge(0)).does(&["Extend"]);
    let covering = ["Abort 0", "Note alpha/m bad", "Extend"];
    for no in [Event::Refused(Refusal::InFlight), Event::Unreachable] {
        // The answer was no; when the first attempt is silent, the next one asks for itself.
        wished().hears(no.clone()).after(60_000).elapses(Timer::Head(0)).does(&covering);
        // And where it is still to come, it may do.
        let pending = wished().after(60_000).elapses(Timer::Head(0)).does(&covering[..2]);
        pending.hears(no).does(&["Extend"]).hears(held_more()).does(&["Send 1 to beta", "Wait Head(1)"]);
    }
    let pausing = wished().after(4_000).hears(Event::Broke { attempt: 0 }).hears(held_more()).does(&[]);
    pausing.elapses(Timer::Retry(0)).does(&["Send 1 to alpha", "Wait Head(1)", "Wait Hedge(1)"]);
}

#[test]
fn u4_a_limit_of_the_callers_own_says_nothing_about_the_provider() {
    let hurried = chat(&BOTH).streamed().wishing("max_ttft_ms", 1_500.into());
    let story = Story::opens(&hurried).hears(held(&[0, 1])).after(1_500).elapses(Timer::Head(0));
    let story = story.does(&["Abort 0", "Send 1 to beta", "Wait Head(1)"]);
    let story = story.hears(head(1, 200, SSE)).hears(bytes(1, CHAT.all())).is("Closing");
    let owed = &story.posted().others[0];
    let PostOutcome::Charge(prompt) = owed.outcome else { panic!("alpha stops billing: {owed:?}") };
    assert!(
        prompt > Nanos(0) && story.text().contains(&prompt.plus(Nanos(17_000)).to_string()),
        "its prompt is owed, and told"
    );
    let patient = chat(&BOTH).streamed().wishing("max_ttft_ms", 25_000.into());
    Story::opens(&patient).hears(held(&[0, 1])).after(25_000).elapses(Timer::Head(0)).does(&ELSEWHERE);
}

#[test]
fn u22_a_refusal_whose_body_breaks_or_never_ends_is_what_its_status_says() {
    let begun = || sent().hears(head(0, 503, JSON));
    assert_eq!(begun().waits(Timer::FirstToken(0)), Some(5_000));
    for event in [Event::Broke { attempt: 0 }, Event::Elapsed(Timer::FirstToken(0))] {
        let story = answered_by("beta", begun().hears(event).does(&ELSEWHERE));
        assert_eq!(story.posted().others.len(), 0, "nothing is owed for it");
    }
}

// What is counted.

/// The charge of a stream of these frames, and what its caller was told of it.
fn counted(frames: &[&str]) -> (Nanos, Story) {
    let story = Story::opens(&chat(&["alpha"]).streamed()).hears(held(&[0])).hears(head(0, 200, SSE));
    let story = story.hears(bytes(0, frames.concat())).is("Closing");
    let PostOutcome::Charge(cost) = story.posted().outcome else { panic!("a charge") };
    (cost, story)
}

#[test]
fn u24_to_u30_a_stream_is_charged_once_by_the_providers_last_counts() {
    let stage::Frames { opening, hello, world, finish, usage, end, .. } = CHAT;
    let (once, _) = counted(&[opening, hello, world, finish, usage, end]);
    let first = usage.replace("\"completion_tokens\":4", "\"completion_tokens\":2");
    let (twice, _) = counted(&[opening, hello, &first, world, finish, usage, end]);
    assert_eq!((once, twice), (Nanos(17_000), Nanos(17_000)), "u27: the last counts");
    let (estimated, story) = counted(&[opening, hello, world, finish, end]);
    assert!(estimated > Nanos(0) && story.posted().call.estimated, "u24: by what was seen");
    assert!(story.text().contains("\"estimated\":true"), "and it is told so");
    let zero = usage.replace(":9", ":0").replace(":4", ":0").replace(":13", ":0");
    assert_eq!(counted(&[opening, hello, world, finish, &zero, end]).0, Nanos(0), "u26: a zero is a count");
    let filtered = finish.replace("\"stop\"", "\"content_filter\"");
    assert_eq!(counted(&[opening, hello, &filtered, usage, end]).0, Nanos(17_000), "u28: as the provider counts");
    let (repeated, story) = counted(&[opening, hello, hello, world, finish, usage, end]);
    assert_eq!((repeated, story.said().as_str()), (Nanos(17_000), "Hello, Hello, world."), "u30: passed on as it came");
}
