//! The record of a decision, and requests whose deployment is drawn: what is told of them, and what is kept.
use crate::stage::{Ask, CATALOG, CHAT, CHAT_WHOLE, JSON, SSE, Story, bytes, chat, head, piped, whole, world};
use megarouter::{
    access::Tenant,
    account::letter::Grant,
    catalog::Catalog,
    exchange::event::{Event, PipeEnd, Timer},
    ledger::{Arm, CallRecord},
    money::Nanos,
    quality::{
        learner::Learner,
        seen::{self, Seen},
        taught::Taught,
    },
    route::record::Record,
    world::World,
};
use serde_json::{Value, json};
use std::rc::Rc;

fn auto() -> Ask {
    Ask { model: "auto".into(), wishes: json!({}), ..chat(&[]) }
}

/// A world under a routing policy of its organisation.
fn under(policy: Value) -> World {
    let told = json!({"organization": "org_a", "version": 1, "providers": {}, "routes": {},
        "policies": [{"scope": "organization", "name": "Acme", "written": policy}]});
    let mut world = world();
    assert!(world.learn(&serde_json_of::<Tenant>(told)));
    world
}

fn serde_json_of<T: megarouter::json::Read>(value: Value) -> T {
    megarouter::json::from_value(value).expect("readable")
}

/// A grant that tells what was chosen lately.
fn with_pool(story: &Story, pool: &[(&str, u64)]) -> Event {
    let bids = story.held_for();
    let amount = bids.iter().map(|bid| bid.amount).max().unwrap_or(Nanos::ZERO);
    let pool = pool.iter().map(|(id, times)| ((*id).to_owned(), *times)).collect();
    Event::Held(Grant { amount, allowed: (0..bids.len()).collect(), pool, ..Grant::default() })
}

fn arm_of(call: &CallRecord) -> Option<Arm> {
    call.comparison.as_ref().map(|comparison| comparison.arm)
}

/// The answered call, by whoever was asked.
fn answered(ask: &Ask, world: World, seed: u64, pool: &[(&str, u64)]) -> (Story, CallRecord) {
    let story = Story::drawn(ask, world, seed);
    let grant = with_pool(&story, pool);
    let story = story.hears(grant).hears(head(0, 200, JSON)).hears(whole(0, CHAT_WHOLE));
    let call = story.posted().call.clone();
    (story, call)
}

#[test]
fn a_decision_is_kept_and_can_be_made_again() {
    let ask = Ask { model: "m".into(), wishes: json!({"session": "s", "providers": {"order": ["beta"]}}), ..chat(&[]) };
    for (ask, narrowed) in [(&auto(), false), (&ask, true)] {
        let (story, call) = answered(ask, world(), 7, &[]);
        let record = Record::of_text(&call.decision).expect("a record");
        assert_eq!(record.candidates[0].id, format!("{}/m", call.provider));
        assert_eq!(record.replayed(), (record.candidates.clone(), Some(record.choice)));
        assert_eq!((record.terms.seed, record.terms.mode.word()), (7, call.mode.as_str()));
        assert_eq!((record.asked.narrowed, record.candidates.len()), (narrowed, 4));
        let arm = (!narrowed).then_some(Arm::Alone);
        assert_eq!((arm_of(&call), story.header("x-megarouter-reason")), (arm, Some("mode")));
    }
    let pinned = Ask { model: "alpha/m".into(), ..auto() };
    let (_, call) = answered(&pinned, world(), 7, &[]);
    assert_eq!((call.decision.as_str(), call.reason.as_str()), ("", "pinned"), "nothing was decided");
}

#[test]
fn a_share_is_drawn_from_what_was_chosen_lately_and_says_so() {
    let policy = json!({"control": 0.2});
    let (mut drawn, mut routed) = (0, 0);
    for seed in 0..200 {
        let (story, call) = answered(&auto(), under(policy.clone()), seed, &[("beta/m", 3)]);
        match story.header("x-megarouter-reason") {
            Some("control") => {
                assert_eq!((call.provider.as_str(), arm_of(&call)), ("beta", Some(Arm::Control)));
                let told = call.comparison.as_ref().expect("a comparison");
                assert_eq!((told.weight, told.own_weight, told.passed), (5_000, 5_000, Some(true)));
                assert_eq!((told.deployment.as_str(), told.cost_usd), ("beta/m", Nanos(17_000)));
                drawn += 1;
            }
            other => {
                assert_eq!((other, arm_of(&call)), (Some("mode"), Some(Arm::Routed)));
                assert_eq!(call.comparison.as_ref().map(|told| told.weight), Some(1_250));
                routed += 1;
            }
        }
        let record = Record::of_text(&call.decision).expect("a record");
        assert_eq!(record.replayed(), (record.candidates.clone(), Some(record.choice)));
    }
    assert!((20..60).contains(&drawn) && drawn + routed == 200, "{drawn}");
}

#[test]
fn nothing_is_drawn_for_whoever_does_not_want_it() {
    let urgent = auto().wishing("priority", "high".into());
    let named = Ask { model: "m".into(), ..auto() };
    let route = json!({"targets": [{"provider": "alpha", "model": "m"}, {"provider": "beta", "model": "m"}], "mode": "balanced"});
    let told = json!({"organization": "org_a", "version": 1, "providers": {}, "routes": {"mine": route},
        "policies": [{"scope": "organization", "name": "Acme", "written": {"control": 0.2}}]});
    let mut routes = world();
    assert!(routes.learn(&serde_json_of::<Tenant>(told)));
    let always = || under(json!({"control": 0.2}));
    let cases = [
        (urgent, always()),
        (named, always()),
        (Ask { model: "mine".into(), ..auto() }, routes),
        (auto(), under(json!({"control": 0}))),
    ];
    for (ask, world) in cases {
        for seed in 0..60 {
            let (_, call) = answered(&ask, world.clone(), seed, &[("beta/m", 1)]);
            assert_eq!((arm_of(&call), call.reason == "control"), (None, false), "{}", ask.model);
        }
    }
}

#[test]
fn a_draw_that_fails_falls_back_like_any_other() {
    let seed = (0..200).find(|seed| {
        let (_, call) = answered(&auto(), under(json!({"control": 0.2})), *seed, &[("beta/m", 1)]);
        call.reason == "control"
    });
    let story = Story::drawn(&auto(), under(json!({"control": 0.2})), seed.expect("one in five"));
    let grant = with_pool(&story, &[("beta/m", 1)]);
    let story = story.hears(grant).hears(head(0, 503, JSON)).hears(whole(0, "{}"));
    let story = story.hears(head(1, 200, JSON)).hears(whole(1, CHAT_WHOLE));
    let call = &story.posted().call;
    assert_eq!((call.reason.as_str(), arm_of(call)), ("fallback", Some(Arm::Control)));
    let told = call.comparison.as_ref().expect("a comparison");
    assert_eq!((told.deployment.as_str(), told.own_passed), ("beta/m", None), "it counts where it was to go");
    assert_eq!(call.attempts.len(), 2);
    let story = Story::sent(&auto(), &[1, 2]);
    let record = Record::of_text(&story.hears(head(0, 200, JSON)).hears(whole(0, CHAT_WHOLE)).posted().call.decision);
    assert_eq!(record.expect("a record").allowed, [1, 2]);
}

/// What the account is told of the answers to a call.
fn observed(story: &Story) -> Seen {
    let mut seen = Seen::default();
    seen.take(&story.posted().observed);
    seen
}

fn stretch(seen: &Seen) -> Option<f32> {
    seen.stretches().first().map(|(_, clusters)| clusters[0].1)
}

#[test]
fn every_answer_teaches_how_long_it_was_and_a_chosen_one_whether_it_held() {
    let auto = auto();
    let good = Story::sent(&auto, &[0]).hears(head(0, 200, JSON)).hears(whole(0, CHAT_WHOLE));
    let (seen, cut) = (observed(&good), CHAT_WHOLE.replace("\"stop\"", "\"length\""));
    assert_eq!(good.posted().call.attempts[0].verdict, "passed");
    assert!(seen.gain(0, "m") > 0.0 && stretch(&seen) < Some(-0.2), "four tokens are a short answer: {seen:?}");
    let short = Story::sent(&auto, &[0]).hears(head(0, 200, JSON)).hears(whole(0, &cut));
    assert_eq!(short.posted().call.attempts[0].verdict, "finish");
    assert_eq!(short.posted().observed, "", "it ended at a bound: that says nothing of the model");
    let filtered = CHAT_WHOLE.replace("\"stop\"", "\"content_filter\"");
    let filtered = Story::sent(&auto, &[0]).hears(head(0, 200, JSON)).hears(whole(0, filtered));
    assert!(observed(&filtered).gain(0, "m") < -0.01);
    assert_eq!(short.header("x-megarouter-attempts"), Some("1"), "nobody asked for checks: it is only learned from");
    let named = Story::sent(&Ask { model: "alpha/m".into(), ..auto.clone() }, &[0]);
    let named = named.hears(head(0, 200, JSON)).hears(whole(0, &cut));
    assert_eq!((named.posted().call.attempts[0].verdict.as_str(), observed(&named).gain(0, "m")), ("", 0.0));
    let named = Story::sent(&Ask { model: "alpha/m".into(), ..auto.clone() }, &[0]);
    let named = named.hears(head(0, 200, JSON)).hears(whole(0, CHAT_WHOLE));
    assert!(stretch(&observed(&named)) < Some(-0.2));
    for (finish, verdict) in
        [(CHAT.finish.to_owned(), "passed"), (CHAT.finish.replace("stop", "content_filter"), "finish")]
    {
        let frames = [CHAT.opening, CHAT.hello, CHAT.world, &finish, CHAT.usage, CHAT.end].concat();
        // More than a native pipe keeps, so that it is pumped; and one that goes through the pipe.
        for ask in [auto.clone().long().streamed().with_usage(), auto.clone().streamed()] {
            let story = Story::sent(&ask, &[0]).hears(head(0, 200, SSE));
            let story = if story.did("Pipe 0") > 0 {
                story.hears(piped(0, &frames, PipeEnd::Whole))
            } else {
                pump(story, &frames)
            };
            assert_eq!(story.posted().call.attempts[0].verdict, verdict);
            assert_eq!(observed(&story).gain(0, "m") > 0.0, verdict == "passed");
        }
    }
}

/// All frames at once, and what the caller has of them.
fn pump(story: Story, frames: &str) -> Story {
    story.hears(bytes(0, frames)).hears(Event::Written).hears(Event::Written)
}

#[test]
fn how_long_answers_were_changes_what_they_are_expected_to_cost() {
    let observed = seen::Observed { cluster: 0, model: "m", gain: None, stretch: Some(3.0) };
    let (mut seen, before) = (Seen::default(), expected_cost(world()));
    for _ in 0..50 {
        seen.take(&seen::told(&[observed]));
    }
    let taught = Taught::of_text(&Learner::default().taught(&seen).to_text()).expect("as it was written");
    let after = expected_cost(World { taught: Rc::new(taught), ..world() });
    assert!(after > 8 * before && after < 21 * before, "{before} {after}");
}

fn expected_cost(world: World) -> i64 {
    let (_, call) = answered(&Ask { output_tokens: 50_000, ..auto() }, world, 7, &[]);
    Record::of_text(&call.decision).expect("a record").candidates[0].features.expected.0
}

/// A world whose first provider sells the flex tier.
fn with_flex() -> World {
    let row = r#""provider":"alpha","id":"m","#;
    let sold =
        format!(r#"{row}"rates":[{{"service_tier":"flex","input_usd_per_mtok":"0.5","output_usd_per_mtok":"1"}}],"#);
    let catalog = Catalog::parse(&CATALOG.replace(row, &sold)).expect("the catalog is valid");
    World { catalog: Rc::new(catalog), ..world() }
}

#[test]
fn a_call_of_the_flex_tier_may_take_its_time_and_says_nothing_of_others() {
    let ask = Ask { model: "alpha/m".into(), ..auto() }.streamed();
    let waits = |ask: &Ask| {
        let story = Story::opens_in(ask, with_flex());
        let grant = with_pool(&story, &[]);
        let story = story.hears(grant);
        (story.waits(Timer::Head(0)).expect("a deadline"), story.hears(head(0, 200, SSE)).hears(bytes(0, CHAT.all())))
    };
    let ((usual, plain), (long, flex)) = (waits(&ask), waits(&ask.clone().wishing("priority", "low".into())));
    assert_eq!(long, 6 * usual);
    let noted = |story: &Story| story.noted().deployment;
    assert_eq!((noted(&plain).as_str(), noted(&flex).as_str()), ("alpha/m", "alpha/m@flex"));
}

#[test]
fn where_nothing_may_be_kept_the_words_are_not() {
    let (_, call) = answered(&auto(), world(), 7, &[]);
    assert_ne!(call.case, "");
    let mut catalog: Value = serde_json::from_str(CATALOG).expect("JSON");
    for provider in catalog["providers"].as_array_mut().expect("a list") {
        provider["retains_data"] = false.into();
    }
    let catalog = Rc::new(Catalog::parse(&catalog.to_string()).expect("the catalog is valid"));
    let world = World { catalog, ..under(json!({"data_policy": {"retention": "zero"}})) };
    let (_, call) = answered(&auto(), world, 7, &[]);
    assert_eq!((call.case.as_str(), call.decision.is_empty()), ("", false), "figures stay");
}
