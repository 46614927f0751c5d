//! `GET /v1/models`: the whole catalog for everybody, what a key may use for its holder.
use super::{
    account_object::{account_of, ask},
    control, secrets, snapshot,
};
use crate::json::{json, put, put_text, told_by_text};
use crate::{
    access::{ANY_QUALITY, Digest, Key, KeyKind, Knock, Tenant, knock},
    account::letter::{Answer, Caller, KeySpec, Letter},
    catalog::{Ability, Deployment, When},
    endpoint::Headers,
    fault::Fault,
    json::list_of,
    world::World,
};
use serde_json::Value;
use std::rc::Rc;
use worker::{Context, Env};

/// The deployments a caller may see, by id.
async fn visible(headers: &Headers, env: &Env, ctx: &Context) -> Result<Vec<Rc<Deployment>>, Fault> {
    let (pepper, now) = (secrets::pepper(env).unwrap_or_default(), When { at: super::now(), tier: None });
    let (spec, world) = match knock(headers.credential(), &pepper) {
        Knock::Stranger => (Box::<KeySpec>::default(), snapshot::world(env, ctx, None).await),
        Knock::Known(key, digest) if key.kind == KeyKind::Inference => {
            let (spec, _) = asked(&key, &digest, env).await?;
            (spec, snapshot::world(env, ctx, Some(&key)).await)
        }
        other => return Err(control::not_a_key_of_ours(&other)),
    };
    let seen = |deployment: &&Rc<Deployment>| {
        let (provider, rates) = (&deployment.provider.id, deployment.rates.at(0, now));
        spec.allows(provider, &deployment.model)
            && world.policies().objection(deployment, world.is_own(provider), rates, ANY_QUALITY).is_none()
    };
    let mut deployments: Vec<_> = all(&world).filter(seen).cloned().collect();
    deployments.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    Ok(deployments)
}

/// Whether the organisation of a key has its callers told the price of what it does not pay for.
pub async fn challenges(key: &Key, digest: &Digest, env: &Env) -> Result<bool, Fault> {
    Ok(asked(key, digest, env).await?.1.payment_challenge)
}

/// What a key may, and what its organisation brings along, which the isolate knows afterwards.
async fn asked(key: &Key, digest: &Digest, env: &Env) -> Result<(Box<KeySpec>, Box<Tenant>), Fault> {
    match ask(env, &account_of(&key.organization()), &Letter::Whoami(Caller::of(key, digest))).await {
        Ok(Answer::Whoami { spec, tenant }) => {
            snapshot::remember(&tenant, &key.id());
            Ok((spec, tenant))
        }
        Ok(Answer::Refused(refusal)) => Err(refusal.to_fault()),
        Ok(_) | Err(_) => Err(Fault::unavailable("unavailable", "The account could not be reached. Try again.")),
    }
}

fn all(world: &World) -> impl Iterator<Item = &Rc<Deployment>> {
    let own = world.tenant.as_ref().into_iter().flat_map(|view| view.deployments());
    world.catalog.deployments().iter().chain(own)
}

/// The list.
pub async fn list(headers: &Headers, env: &Env, ctx: &Context) -> Result<Value, Fault> {
    let deployments = visible(headers, env, ctx).await?;
    let data: Vec<Value> = deployments.iter().map(|deployment| row(deployment, headers.of_anthropic())).collect();
    Ok(list_of(data, false))
}

/// One model, by its name.
pub async fn get(id: &str, headers: &Headers, env: &Env, ctx: &Context) -> Result<Value, Fault> {
    let deployments = visible(headers, env, ctx).await?;
    // The full name, or a bare one as `model` takes it.
    let by_name = |deployment: &&Rc<Deployment>| deployment.model == id;
    let found = deployments.iter().find(|deployment| deployment.id == id).or_else(|| deployments.iter().find(by_name));
    found.map(|deployment| row(deployment, headers.of_anthropic())).ok_or_else(|| {
        let text = format!("There is no model {}. GET /v1/models lists every model.", crate::body::quoted(id));
        Fault::not_found("model_not_found", text)
    })
}

/// A row in the shape of the caller's dialect, beside what both share.
fn row(deployment: &Deployment, anthropic: bool) -> Value {
    let rates = deployment.rates.at(0, When { at: super::now(), tier: None });
    let created = deployment.created.unwrap_or_default();
    let supports = deployment.supports.iter().filter(|ability| **ability != Ability::ParallelTools);
    let mut told = json!({
        "id": deployment.id,
        "object": "model",
        "created": created.seconds(),
        "owned_by": deployment.provider.id,
        "context_length": deployment.context_length,
        "max_output_tokens": deployment.max_output_tokens,
        "pricing": {
            "prompt": rates.input.usd_per_token(),
            "completion": rates.output.usd_per_token(),
            "cache_read": rates.cache_read.usd_per_token(),
            "cache_write": rates.cache_write.usd_per_token(),
        },
        "input": told_by_text(&deployment.input),
        "supports": told_by_text(&supports.collect::<Vec<_>>()),
        "shutdown_date": deployment.retires.map(|day| day.rfc3339().split('T').next().map(str::to_owned)),
    });
    if anthropic && let Some(members) = told.as_object_mut() {
        put_text(members, "type", "model");
        put_text(members, "display_name", deployment.model.as_str());
        put(members, "created_at", created.rfc3339().into());
        put(members, "max_input_tokens", deployment.context_length.into());
        put(members, "max_tokens", deployment.max_output_tokens.into());
    }
    told
}
