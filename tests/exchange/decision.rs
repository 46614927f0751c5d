//! The record of a decision, and requests whose deployment is drawn: what is told of them, and what is kept.
use crate::stage::{Ask, CHAT_WHOLE, JSON, Story, chat, head, whole, world};
use megarouter::{
    access::Tenant,
    account::letter::Grant,
    exchange::event::Event,
    ledger::{Arm, CallRecord},
    money::Nanos,
    route::record::Record,
    world::World,
};
use serde_json::{Value, json};

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
        assert_eq!((call.arm, story.header("x-megarouter-reason")), (Arm::None, Some("mode")));
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
                assert_eq!((call.provider.as_str(), call.arm, call.reason.as_str()), ("beta", Arm::Control, "control"));
                drawn += 1;
            }
            other => {
                assert_eq!((other, call.arm), (Some("mode"), Arm::Routed));
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
            assert_eq!((call.arm, call.reason == "control"), (Arm::None, false), "{}", ask.model);
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
    assert_eq!((call.reason.as_str(), call.arm), ("fallback", Arm::Control), "it counts where it was to go");
    assert_eq!(call.attempts.len(), 2);
    let story = Story::sent(&auto(), &[1, 2]);
    let record = Record::of_text(&story.hears(head(0, 200, JSON)).hears(whole(0, CHAT_WHOLE)).posted().call.decision);
    assert_eq!(record.expect("a record").allowed, [1, 2]);
}
