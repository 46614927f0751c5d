use super::*;
use crate::table::Act;
use megarouter::endpoint::Endpoint;
use serde_json::json;
use std::collections::BTreeSet;

fn asked(line: &str) -> Result<Asked, String> {
    let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
    match parse(&arguments)? {
        Parsed::Command(asked) => Ok(*asked),
        Parsed::Help(words) => Err(format!("help of {words:?}")),
    }
}

/// Method, path and body of a line.
fn request(line: &str) -> (&'static str, String, Value) {
    let Asked { command, values } = asked(line).expect(line);
    let Act::Http { method, path, .. } = command.act else { panic!("{line}: no request") };
    (method, values.path(path), Value::Object(values.body))
}

#[test]
fn arguments_become_requests() {
    let admin = "/admin/v1";
    for (line, method, path, body) in [
        ("org", "GET", "/organization", json!({})),
        ("group create Labs --parent grp_1", "POST", "/groups", json!({"name": "Labs", "parent_id": "grp_1"})),
        ("group move grp_2", "POST", "/groups/grp_2/move", json!({})),
        (
            "member roles mem_1 owner,group_admin@grp_1",
            "PATCH",
            "/members/mem_1",
            json!({"roles": [{"role": "owner"}, {"role": "group_admin", "scope": "grp_1"}]}),
        ),
        ("member roles mem_1 none", "PATCH", "/members/mem_1", json!({"roles": []})),
        (
            "key create --rpm=60 app --models openai/*,acme/m1 --expires 90d",
            "POST",
            "/api_keys",
            json!({"name": "app", "rpm": 60, "model_allowlist": ["openai/*", "acme/m1"], "expires_in_seconds": 7_776_000}),
        ),
        (
            "key update key_1 --rpm none --models none",
            "PATCH",
            "/api_keys/key_1",
            json!({"rpm": null, "model_allowlist": null}),
        ),
        ("key rotate key_1 --grace 1h", "POST", "/api_keys/key_1/rotate", json!({"grace_seconds": 3_600})),
        ("budget list", "GET", "/organization/budgets", json!({})),
        (
            "budget set key:key_1 day 5.50 --thresholds 50,80 --mode soft",
            "PUT",
            "/api_keys/key_1/budgets/day",
            json!({"limit_usd": "5.5", "thresholds": [50, 80], "mode": "soft"}),
        ),
        ("limits group:grp_1", "GET", "/groups/grp_1/rate_limits", json!({})),
        ("limits set org --tpm 9", "PUT", "/organization/rate_limits", json!({"tpm": 9})),
        ("wallet alert none", "PATCH", "/wallet", json!({"low_balance_alert_usd": null})),
        ("topup card 25", "POST", "/wallet/topups", json!({"method": "card", "amount_usd": "25"})),
        ("usage --by group,member --csv", "GET", "/costs?group_by=group%2Cmember", json!({})),
        ("alerts --failed", "GET", "/alerts?status=failed", json!({})),
        ("route delete a/../b", "DELETE", "/routes/a%2F..%2Fb", json!({})),
    ] {
        assert_eq!(request(line), (method, format!("{admin}{path}"), body), "{line}");
    }
    assert_eq!(asked("usage --csv").expect("good").values.headers, [("accept", "text/csv".to_owned())]);
    assert_eq!(asked("catalog put - --force").expect("good").values.whole.as_deref(), Some("-"));
    assert_eq!(asked("invite accept mr_in_x").expect("good").values.bearer.as_deref(), Some("mr_in_x"));
}

#[test]
fn what_is_wrong_is_said() {
    for (line, why) in [
        ("nonsense", "no command"),
        ("key", "key list"),
        ("key rotate", "ID is missing"),
        ("key list extra", "too many"),
        ("key list --rpm 5", "takes no --rpm"),
        ("key create a --rpm many", "no whole number"),
        ("key create a --expires soon", "no length of time"),
        ("key create a --rpm", "needs a value"),
        ("key create a --jsn", "no flag --jsn"),
        ("wallet --json=yes", "takes no value"),
        ("wallet -j", "no flag"),
        ("budget set folder:1 day 5", "no scope"),
        ("budget set group: day 5", "no scope"),
        ("budget set org day five", "decimal"),
        ("budget set org fortnight 5", "\"fortnight\" is no window: day, week"),
    ] {
        let told = asked(line).expect_err(line);
        assert!(told.contains(why), "{line}: {told}");
    }
    assert!(matches!(parse(&[]), Ok(Parsed::Help(words)) if words.is_empty()));
    assert!(asked("budget set --help").expect_err("help").contains("\"budget\", \"set\""));
    assert_eq!(asked("group create -- --odd").expect("a name with dashes").values.body["name"], "--odd");
}

#[test]
fn every_row_fits_what_is_served_and_asks_for_all_its_path_needs() {
    let mut seen = BTreeSet::new();
    for command in COMMANDS {
        assert!(seen.insert(command.words), "{}: is there twice", command.words);
        assert_ne!(command.help, "");
        let must: Vec<bool> = command.args.iter().filter(|arg| arg.is_placed()).map(|arg| arg.must).collect();
        assert!(must.is_sorted_by(|a, b| a >= b), "{}: what may be left out comes last", command.words);
        let Act::Http { method, path, .. } = command.act else { continue };
        let mut filled = path.to_owned();
        for arg in command.args {
            if let To::Path(name) = arg.to {
                assert!(filled.contains(&format!("{{{name}}}")), "{}: {name} is nowhere in {path}", command.words);
                let value = if name == "scope" {
                    "groups/grp_1"
                } else if name == "window" {
                    "day"
                } else {
                    "x"
                };
                filled = filled.replace(&format!("{{{name}}}"), value);
            }
        }
        assert!(!filled.contains('{'), "{}: {filled} is not filled", command.words);
        assert!(Endpoint::of(method, &filled).is_ok(), "{}: nobody serves {method} {filled}", command.words);
    }
}

/// Flags are read before the command is known.
#[test]
fn a_flag_is_a_switch_everywhere_or_nowhere() {
    for arg in all_args() {
        let alike = |other: &&Arg| other.name == arg.name;
        assert!(
            all_args().filter(alike).all(|other| (other.kind == Kind::Switch) == (arg.kind == Kind::Switch)),
            "{}",
            arg.name
        );
        let of_body = matches!(arg.to, To::Fixed(..) | To::Accept(_));
        assert!(!of_body || arg.kind == Kind::Switch, "{}", arg.name);
    }
}

#[test]
fn the_help_tells_every_command_and_flag() {
    let all = crate::help::help(&[]);
    for command in COMMANDS {
        assert!(all.contains(command.words) && all.contains(command.help), "{}", command.words);
        let words: Vec<String> = command.words.split(' ').map(str::to_owned).collect();
        let one = crate::help::help(&words);
        assert!(command.args.iter().all(|arg| one.contains(arg.name) && one.contains(arg.help)), "{}", command.words);
    }
}
