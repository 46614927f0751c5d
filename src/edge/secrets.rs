//! The worker's variables and secrets. No secret leaves this room but into a header of the call it belongs to.
use super::{payer, vault};
use crate::{
    access::Secret,
    access::mac,
    account::Terms,
    account::payments::Settlers,
    catalog::Catalog,
    fault::Fault,
    payment::{Terms as PaymentTerms, asset::network_of, evm::Address, facilitator::Known},
    world::{Credential, Reach, Settings},
};
use std::rc::Rc;
use worker::Env;

/// A variable or secret; an empty one counts as absent. It is read each time: an isolate may outlive a secret that was replaced.
pub fn variable(env: &Env, name: &str) -> Option<String> {
    js_sys::Reflect::get(env, &name.into()).ok()?.as_string().filter(|value| !value.is_empty())
}

fn number(env: &Env, name: &str, default: u64) -> u64 {
    variable(env, name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What API keys are sealed with. `None` on an installation that was not set up: then no key can be good or bad.
pub fn pepper(env: &Env) -> Option<Vec<u8>> {
    variable(env, "KEY_PEPPER").map(String::into_bytes)
}

/// 503: the operator has to set the pepper first.
pub fn no_pepper() -> Fault {
    Fault::unavailable("unavailable", "This installation has no KEY_PEPPER. Its operator has to set it.")
}

/// The text of a credential.
pub async fn reveal(credential: &Credential, env: &Env) -> Option<String> {
    match credential {
        Credential::Named(name) => variable(env, name),
        Credential::Own { secret, organization, provider } => vault::open(&secret.0, organization, provider, env).await,
        Credential::None => None,
    }
}

/// An address with its `{NAME}`s filled in from the worker's variables. `None` while one of them is not set.
fn placed(base_url: &str, env: &Env) -> Option<String> {
    let mut told = String::new();
    let mut rest = base_url;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}')?;
        told.push_str(before);
        told.push_str(&variable(env, name)?);
        rest = behind;
    }
    told.push_str(rest);
    Some(told)
}

/// Which pages of other origins may read our answers: `*`, or a list with commas. `None` where none may.
pub fn cors_origin(env: &Env, origin: &str) -> Option<String> {
    let allowed = variable(env, "CORS_ORIGINS")?;
    let listed = allowed.split(',').map(str::trim).any(|one| one == "*" || one == origin);
    listed.then(|| if allowed.trim() == "*" { allowed.trim().to_owned() } else { origin.to_owned() })
}

/// The times of accounts.
pub fn terms(env: &Env) -> Terms {
    Terms {
        hold_settle_ms: number(env, "HOLD_SETTLE_BY_S", 1_200).saturating_mul(1_000),
        outbox_flush_ms: number(env, "OUTBOX_FLUSH_MS", 1_000),
        // A payer that leaves by itself waits for a day.
        claim_after_ms: number(env, "X402_CLAIM_AFTER_S", 21_600).min(43_200).saturating_mul(1_000),
        private_upstreams: variable(env, "PRIVATE_UPSTREAMS").as_deref() == Some("allow"),
    }
}

/// How long an isolate believes a snapshot.
pub fn snapshot_ttl_ms(env: &Env) -> u64 {
    number(env, "SNAPSHOT_TTL_S", 30).saturating_mul(1_000)
}

/// A provider's credentials: the secret of that name, and `NAME_2` to `NAME_9`.
fn named(env: &Env, name: &str) -> Vec<Credential> {
    let further = (2..=9).map(|number| format!("{name}_{number}"));
    let set = std::iter::once(name.to_owned()).chain(further).filter(|name| variable(env, name).is_some());
    set.map(Credential::Named).collect()
}

/// What this worker can reach: real providers whose credential is set, the sandbox for the rest where there is one.
pub fn settings(env: &Env, catalog: &Catalog) -> Settings {
    let sandbox = variable(env, "SANDBOX_URL");
    let mut settings = Settings::default();
    for provider in &catalog.providers {
        let named = provider.credential.as_ref().map_or_else(Vec::new, |name| named(env, name));
        let real = placed(&provider.base_url, env).filter(|_| !named.is_empty());
        let reach = match (real, &sandbox) {
            (Some(base_url), _) => Some(Reach { base_url, credentials: named }),
            (None, Some(sandbox)) => {
                let (secret, organization) = (Secret("sandbox".to_owned()), String::new());
                let credential = Credential::Own { secret, organization, provider: provider.id.clone() };
                Some(Reach { base_url: format!("{sandbox}/{}", provider.id), credentials: vec![credential] })
            }
            (None, None) => None,
        };
        if let Some(reach) = reach {
            settings.reach.insert(provider.id.clone(), reach);
        }
    }
    settings.x402 = payment_terms(env).map(Rc::new);
    settings
}

/// Who settles payments, and who is paid.
pub fn settlers(env: &Env) -> Settlers {
    let list = |name: &str| variable(env, name).unwrap_or_default();
    let trimmed = |url: &str| url.trim().trim_end_matches('/').to_owned();
    let networks: Vec<String> = list("X402_NETWORK").split(',').map(trimmed).collect();
    Settlers {
        facilitators: list("X402_FACILITATORS").split(',').map(trimmed).filter(|url| !url.is_empty()).collect(),
        rpc_urls: networks.into_iter().zip(list("X402_RPC_URL").split(',').map(trimmed)).collect(),
        pay_to: Address::parse(&list("X402_PAY_TO")).unwrap_or_default(),
    }
}

/// What unpaid agents may pay by: nothing where a network, an address to be paid at, a facilitator or the pepper is missing.
fn payment_terms(env: &Env) -> Option<PaymentTerms> {
    let networks: Vec<_> =
        variable(env, "X402_NETWORK")?.split(',').filter_map(|network| network_of(network.trim())).collect();
    let Settlers { facilitators, rpc_urls, pay_to } = settlers(env);
    let secret = mac(b"x402 quotes", &pepper(env)?);
    let whole = !networks.is_empty() && !facilitators.is_empty() && pay_to != Address::default();
    let authorizers = payer::authorizers(env);
    let known = Known::default();
    whole.then_some(PaymentTerms { networks, pay_to, facilitators, rpc_urls, authorizers, secret, known })
}
