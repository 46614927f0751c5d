//! The commands, as one table: what a row says is how it is parsed, what is sent, what is shown, and what its help is.
use crate::arg::{Arg, Kind, To, file, flag, may, need};

/// Whose credential a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// The admin key of the organisation.
    Admin,
    /// The operator's token.
    Operator,
    /// The invite that is the command's first argument.
    Invite,
}

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// One request. A list in its answer is shown as a table of these columns; without any, of all there are.
    Http {
        method: &'static str,
        path: &'static str,
        credential: As,
        columns: &'static [&'static str],
    },
    Export,
    Verify,
    Doctor,
}

/// A row of the table.
#[derive(Debug)]
pub struct Command {
    /// What it is called by, like `group list`.
    pub words: &'static str,
    pub act: Act,
    pub args: &'static [Arg],
    pub help: &'static str,
}

impl Command {
    /// What it takes, in a line.
    pub fn usage(&self) -> String {
        let mut line = self.words.to_owned();
        for arg in self.args {
            line.push_str(&arg.usage());
        }
        line
    }
}

const fn row(
    words: &'static str,
    method: &'static str,
    path: &'static str,
    args: &'static [Arg],
    columns: &'static [&'static str],
    help: &'static str,
) -> Command {
    let act = Act::Http { method, path, credential: As::Admin, columns };
    Command { words, act, args, help }
}

const fn operator(
    words: &'static str,
    method: &'static str,
    path: &'static str,
    args: &'static [Arg],
    help: &'static str,
) -> Command {
    let act = Act::Http { method, path, credential: As::Operator, columns: &[] };
    Command { words, act, args, help }
}

const fn own(words: &'static str, act: Act, args: &'static [Arg], help: &'static str) -> Command {
    Command { words, act, args, help }
}

const ID: Arg = need("ID", To::Path("id"), Kind::Text, "the id, as its list tells it");
const NAME_ID: Arg = need("NAME", To::Path("id"), Kind::Text, "the name it is called by");
const SCOPE: Arg =
    need("SCOPE", To::Path("scope"), Kind::Scope, "organization, group:grp_…, member:mem_… or key:key_…");
const MAY_SCOPE: Arg =
    may("SCOPE", To::Path("scope"), Kind::Scope, "group:grp_…, member:mem_… or key:key_…; organization if left out");
const WINDOW: Arg = need("WINDOW", To::Path("window"), Kind::Window, "day, week, month, quarter, lifetime or session");
const NAME: Arg = need("NAME", To::Body("name"), Kind::Text, "a name for people");
const NEW_NAME: Arg = flag("name", To::Body("name"), Kind::Text, "another name");
const EMAIL: Arg = flag("email", To::Body("email"), Kind::Text, "an address");
const GROUP: Arg = flag("group", To::Body("group_id"), Kind::Text, "the group it stands in");
const ROLES: Arg = flag("roles", To::Body("roles"), Kind::Roles, "owner,auditor,group_admin@grp_…; none for none");
const MODELS: Arg = flag("models", To::Body("model_allowlist"), Kind::List, "models it may call, with commas");
const PROVIDERS: Arg =
    flag("providers", To::Body("provider_allowlist"), Kind::List, "providers it may call, with commas");
const RPM: Arg = flag("rpm", To::Body("rpm"), Kind::Number, "requests a minute; none for no limit");
const TPM: Arg = flag("tpm", To::Body("tpm"), Kind::Number, "tokens a minute; none for no limit");
const CONCURRENCY: Arg = flag("concurrency", To::Body("concurrency"), Kind::Number, "calls at once; none for no limit");
const EXPIRES: Arg = flag("expires", To::Body("expires_in_seconds"), Kind::Seconds, "a time from now, like 90d or 12h");
const STATUS: Arg = flag("status", To::Body("status"), Kind::Text, "active or disabled");
const EVENTS: Arg = flag("events", To::Body("events"), Kind::List, "types, with commas: budget.*,wallet.low_balance");
const DESCRIPTION: Arg = flag("description", To::Body("description"), Kind::Text, "what it is for");
const LIMIT: Arg = flag("limit", To::Query("limit"), Kind::Text, "rows of a page, 1 to 100");
const AFTER: Arg = flag("after", To::Query("after"), Kind::Text, "the last id of the page before");
const FROM: Arg = flag("from", To::Query("from"), Kind::Text, "the first moment, like 2026-11-01T00:00:00Z");
const TO: Arg = flag("to", To::Query("to"), Kind::Text, "the moment it ends at");
const DOCUMENT: Arg = file("FILE", To::Whole, "a file of JSON; - for standard input");

const GROUPS: &[&str] = &["id", "name", "parent_id", "cost_center", "status"];
const MEMBERS: &[&str] = &["id", "name", "kind", "group_id", "roles", "status"];
const KEYS: &[&str] =
    &["id", "name", "kind", "owner_member_id", "redacted_value", "status", "expires_at", "last_used_at"];
const INVITES: &[&str] = &["id", "name", "email", "roles", "group_id", "status", "expires_at"];
const BUDGETS: &[&str] =
    &["window", "limit_usd", "mode", "state.posted_usd", "state.held_usd", "override.extra_usd", "state.resets_at"];
const REQUESTS: &[&str] =
    &["id", "at", "amount_usd", "api_key_id", "provider", "model", "reason", "status", "duration_ms"];
const OWN_PROVIDERS: &[&str] = &["id", "dialect", "base_url", "has_credential"];
const ROUTES: &[&str] = &["id", "targets", "mode", "fallback"];
const WEBHOOKS: &[&str] = &["id", "url", "events", "group_id", "status"];
const ALERTS: &[&str] = &["id", "at", "type", "deliveries", "data"];
const AUDIT: &[&str] =
    &["seq", "at", "type", "decision", "actor.member_id", "actor.api_key_id", "resource.type", "resource.id", "id"];

const NONE: &[Arg] = &[];
const ALL: &[&str] = &[];

/// All commands, in the order of the help.
#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    own("doctor", Act::Doctor, NONE, "check the deployment: what is wrong, and what to do about it"),
    row("org", "GET", "/admin/v1/organization", NONE, ALL, "the organisation"),
    row("org rename", "PATCH", "/admin/v1/organization", &[NAME], ALL, "give it another name"),

    row("group list", "GET", "/admin/v1/groups", NONE, GROUPS, "all groups"),
    row("group create", "POST", "/admin/v1/groups", &[NAME,
        flag("parent", To::Body("parent_id"), Kind::Text, "the group above it"),
        flag("cost-center", To::Body("cost_center"), Kind::Text, "a cost center")], GROUPS, "make a group"),
    row("group update", "PATCH", "/admin/v1/groups/{id}", &[ID, NEW_NAME,
        flag("cost-center", To::Body("cost_center"), Kind::Text, "a cost center")], GROUPS, "change a group"),
    row("group move", "POST", "/admin/v1/groups/{id}/move", &[ID,
        flag("parent", To::Body("parent_id"), Kind::Text, "the group above it; to the top without")],
        GROUPS, "move a group with all in it"),
    row("group archive", "POST", "/admin/v1/groups/{id}/archive", &[ID], GROUPS, "archive an empty group"),

    row("member list", "GET", "/admin/v1/members", NONE, MEMBERS, "all members"),
    row("member create", "POST", "/admin/v1/members", &[NAME, EMAIL, GROUP, ROLES,
        flag("kind", To::Body("kind"), Kind::Text, "user or service_account")], MEMBERS, "make a member"),
    row("member invite", "POST", "/admin/v1/invites", &[
        may("NAME", To::Body("name"), Kind::Text, "a name for people"), EMAIL, GROUP, ROLES, EXPIRES],
        INVITES, "make an invite, a secret to hand on"),
    row("member update", "PATCH", "/admin/v1/members/{id}", &[ID, NEW_NAME, EMAIL, GROUP], MEMBERS, "change a member, or move it"),
    row("member roles", "PATCH", "/admin/v1/members/{id}", &[ID,
        need("ROLES", To::Body("roles"), Kind::Roles, "all that are granted: owner,group_admin@grp_…; none for none")],
        MEMBERS, "say all roles of a member"),
    row("member disable", "POST", "/admin/v1/members/{id}/disable", &[ID], MEMBERS, "shut a member out, with all its keys"),
    row("invite list", "GET", "/admin/v1/invites", NONE, INVITES, "all invites"),
    row("invite revoke", "DELETE", "/admin/v1/invites/{id}", &[ID], INVITES, "take an invite back"),
    own("invite accept", Act::Http { method: "POST", path: "/admin/v1/invites/accept", credential: As::Invite, columns: ALL }, &[
        need("SECRET", To::Bearer, Kind::Secret, "mr_in_…; - for standard input"), NEW_NAME], "become a member, and get an admin key"),

    row("key list", "GET", "/admin/v1/api_keys", NONE, KEYS, "all keys"),
    row("key create", "POST", "/admin/v1/api_keys", &[NAME,
        flag("kind", To::Body("kind"), Kind::Text, "inference or admin"),
        flag("owner", To::Body("owner_member_id"), Kind::Text, "the member it belongs to"),
        MODELS, PROVIDERS, RPM, TPM, CONCURRENCY, EXPIRES], KEYS, "make a key"),
    row("key update", "PATCH", "/admin/v1/api_keys/{id}", &[ID, NEW_NAME, MODELS, PROVIDERS, RPM, TPM, CONCURRENCY, EXPIRES, STATUS],
        KEYS, "change a key"),
    row("key rotate", "POST", "/admin/v1/api_keys/{id}/rotate", &[ID,
        flag("grace", To::Body("grace_seconds"), Kind::Seconds, "how long the old secret works, up to 1d")],
        KEYS, "give a key a new secret"),
    row("key revoke", "DELETE", "/admin/v1/api_keys/{id}", &[ID], KEYS, "end a key for good"),

    row("budget list", "GET", "/admin/v1/{scope}/budgets", &[MAY_SCOPE], BUDGETS, "budgets of a scope"),
    row("budget set", "PUT", "/admin/v1/{scope}/budgets/{window}", &[SCOPE, WINDOW,
        need("USD", To::Body("limit_usd"), Kind::Money, "the limit"),
        flag("mode", To::Body("mode"), Kind::Text, "hard or soft"),
        flag("thresholds", To::Body("thresholds"), Kind::Numbers, "percentages that alert, with commas")], BUDGETS, "set a budget"),
    row("budget lift", "PUT", "/admin/v1/{scope}/budgets/{window}/override", &[SCOPE, WINDOW,
        need("USD", To::Body("extra_usd"), Kind::Money, "so much more"),
        need("UNTIL", To::Body("until"), Kind::Text, "a moment, like 2026-12-01T00:00:00Z")], BUDGETS, "lift a budget for a while"),
    row("budget delete", "DELETE", "/admin/v1/{scope}/budgets/{window}", &[SCOPE, WINDOW], BUDGETS, "take a budget away"),
    row("limits", "GET", "/admin/v1/{scope}/rate_limits", &[MAY_SCOPE], ALL, "rate limits of a scope"),
    row("limits set", "PUT", "/admin/v1/{scope}/rate_limits", &[SCOPE, RPM, TPM, CONCURRENCY], ALL, "set rate limits: those left out end"),
    row("defaults", "GET", "/admin/v1/{scope}/member_defaults", &[MAY_SCOPE], ALL, "budgets and limits each new member is given"),
    row("defaults put", "PUT", "/admin/v1/{scope}/member_defaults", &[SCOPE, DOCUMENT], ALL, "set them"),
    row("defaults delete", "DELETE", "/admin/v1/{scope}/member_defaults", &[SCOPE], ALL, "take them away"),

    row("wallet", "GET", "/admin/v1/wallet", NONE, ALL, "money left"),
    row("wallet alert", "PATCH", "/admin/v1/wallet", &[
        need("USD", To::Body("low_balance_alert_usd"), Kind::Money, "the balance; none for no alert")], ALL, "alert when less is left"),
    row("topup", "POST", "/admin/v1/wallet/topups", &[
        need("METHOD", To::Body("method"), Kind::Text, "card"), need("USD", To::Body("amount_usd"), Kind::Money, "how much"),
        flag("return-url", To::Body("return_url"), Kind::Text, "where whoever paid is led back to")], ALL, "a page to pay at"),
    row("usage", "GET", "/admin/v1/costs", &[
        flag("by", To::Query("group_by"), Kind::Text, "group,member,api_key,model,provider: one or several"),
        flag("from", To::Query("start_time"), Kind::Text, "the first moment or date; 30 days ago if left out"),
        flag("to", To::Query("end_time"), Kind::Text, "the moment or date it ends at"),
        flag("width", To::Query("bucket_width"), Kind::Text, "of a bucket: 1m, 1h or 1d"),
        flag("csv", To::Accept("text/csv"), Kind::Switch, "as a table for spreadsheets")], ALL, "what was used and spent"),
    row("requests", "GET", "/admin/v1/requests", &[LIMIT, AFTER,
        flag("model", To::Query("model"), Kind::Text, "only of a model"),
        flag("key", To::Query("key"), Kind::Text, "only of a key"),
        flag("reason", To::Query("reason"), Kind::Text, "only with this reason")], REQUESTS, "the last calls, without content"),

    row("provider list", "GET", "/admin/v1/providers", NONE, OWN_PROVIDERS, "own providers"),
    row("provider put", "PUT", "/admin/v1/providers/{id}", &[NAME_ID, DOCUMENT], OWN_PROVIDERS, "set an own provider"),
    row("provider delete", "DELETE", "/admin/v1/providers/{id}", &[NAME_ID], OWN_PROVIDERS, "take it away"),
    row("route list", "GET", "/admin/v1/routes", NONE, ROUTES, "named routes"),
    row("route put", "PUT", "/admin/v1/routes/{id}", &[NAME_ID, DOCUMENT], ROUTES, "set a named route"),
    row("route delete", "DELETE", "/admin/v1/routes/{id}", &[NAME_ID], ROUTES, "take it away"),
    row("policy get", "GET", "/admin/v1/{scope}/routing_policy", &[MAY_SCOPE], ALL, "the routing policy of a scope"),
    row("policy put", "PUT", "/admin/v1/{scope}/routing_policy", &[SCOPE, DOCUMENT], ALL, "set a routing policy"),
    row("policy delete", "DELETE", "/admin/v1/{scope}/routing_policy", &[SCOPE], ALL, "take it away"),

    row("webhook list", "GET", "/admin/v1/webhook_endpoints", NONE, WEBHOOKS, "where events are sent"),
    row("webhook create", "POST", "/admin/v1/webhook_endpoints", &[
        need("URL", To::Body("url"), Kind::Text, "where to"), EVENTS, DESCRIPTION,
        flag("group", To::Body("group_id"), Kind::Text, "only events of a group")], WEBHOOKS, "send events somewhere"),
    row("webhook update", "PATCH", "/admin/v1/webhook_endpoints/{id}", &[ID,
        flag("to-url", To::Body("url"), Kind::Text, "where to"), EVENTS, DESCRIPTION, STATUS], WEBHOOKS, "change where and what"),
    row("webhook test", "POST", "/admin/v1/webhook_endpoints/{id}/test", &[ID], WEBHOOKS, "send an event of type test"),
    row("webhook rotate", "POST", "/admin/v1/webhook_endpoints/{id}/rotate_secret", &[ID], WEBHOOKS,
        "a new secret; the old one signs for a day"),
    row("webhook delete", "DELETE", "/admin/v1/webhook_endpoints/{id}", &[ID], WEBHOOKS, "send nothing there any more"),
    row("alerts", "GET", "/admin/v1/alerts", &[
        flag("failed", To::Fixed("status", "failed"), Kind::Switch, "only those that could not be delivered")],
        ALERTS, "the last events"),
    row("alert resend", "POST", "/admin/v1/alerts/{id}/resend", &[ID], ALERTS, "deliver an event again"),

    row("audit list", "GET", "/admin/v1/audit_logs", &[LIMIT, AFTER, FROM, TO,
        flag("type", To::Query("event_type"), Kind::Text, "only this type, like api_key.created"),
        flag("actor", To::Query("actor_id"), Kind::Text, "only what this member or key did"),
        flag("resource", To::Query("resource_id"), Kind::Text, "only what was done to this")], AUDIT, "who did what, newest first"),
    own("audit export", Act::Export, &[file("FILE", To::Local("file"), "where to write; - for standard output"), FROM],
        "write the log as JSON lines, oldest first, with its signed checkpoint"),
    own("audit verify", Act::Verify, &[file("FILE", To::Local("file"), "what was exported; - for standard input"),
        flag("partial", To::Local("partial"), Kind::Switch, "rows may be missing: exported from a moment on, or of some scopes"),
        flag("keys", To::Local("keys"), Kind::Text, "a file or URL of public keys, or none; the deployment's if left out")],
        "check seals, order and signature of an exported log, here"),

    operator("catalog show", "GET", "/platform/v1/catalog", NONE, "the catalog in force (operator)"),
    operator("catalog validate", "POST", "/platform/v1/catalog/validate", &[DOCUMENT], "check a catalog (operator)"),
    operator("catalog put", "PUT", "/platform/v1/catalog", &[DOCUMENT,
        flag("force", To::Fixed("force", "true"), Kind::Switch, "also where a price changes by more than five times")],
        "put a catalog in force (operator)"),
];

/// Flags that every command takes.
pub const GLOBALS: &[Arg] = &[
    flag("json", To::Local("json"), Kind::Switch, "print what the API answers, as it is"),
    flag("url", To::Local("url"), Kind::Text, "base URL, without /v1"),
    flag("state", To::Local("state"), Kind::Text, "folder of a `make run`: URL and keys are in its run.json"),
    flag("idempotency-key", To::Header("idempotency-key"), Kind::Text, "a request that comes twice is done once"),
    flag("if-match", To::Header("if-match"), Kind::Text, "only if the resource still has this ETag"),
    flag("help", To::Local("help"), Kind::Switch, "this; of a command with its flags"),
];
