//! Which deployments can serve a request, what each would cost, and why the others cannot.
use super::{
    Candidate, Question, Selection,
    decision::{Features, Judged},
};
use crate::{
    access::{ANY_QUALITY, BELOW_MIN_QUALITY, OVER_MAX_COST, RULED_OUT, allows_model, allows_provider},
    analysis::{Depth, Needs},
    body::quoted,
    catalog::{Ability, AbortStopsBilling, Deployment, Kind, Modality, When},
    chat::{Effort, ServiceTier},
    endpoint::{Priority, Surface},
    fault::Fault,
    health::Score,
    money::Nanos,
    price,
    quality::ability,
    table::Table,
    world::World,
};
use std::rc::Rc;

/// A deployment that was looked at, and why it was left out.
#[derive(Clone, Debug)]
pub struct Considered {
    pub deployment: Rc<Deployment>,
    pub why: Option<&'static str>,
}

const LEFT_OUT: &str = "left out by providers";
/// Output bounds where neither the caller nor the model sets a lower one. They are sent, so the provider keeps them.
const OUTPUT_TOKENS_MAX: u64 = 4_096;
const OUTPUT_TOKENS_MAX_REASONING: u64 = 16_384;
/// An answer shorter than this is not worth a call.
pub const OUTPUT_TOKENS_MIN: u64 = 16;
/// What a hold that grows begins with, and grows by.
pub const SLICE_TOKENS: u64 = 4_096;
/// Expectations before the first answer: a middling time, and more for models that reason first.
const TTFT_MS: f64 = 800.0;
const TTFT_MS_REASONING: f64 = 3_000.0;
/// And a middling speed.
const TOKENS_PER_S: f64 = 60.0;

/// Sorts the deployments of a selection into candidates and the rest.
pub fn sift(question: &Question<'_>, selection: &Selection, world: &World) -> (Vec<Candidate>, Vec<Considered>) {
    let (mut candidates, mut considered) = (Vec::new(), Vec::new());
    for (rank, deployment) in &selection.deployments {
        let free = selection.free.get(*rank) == Some(&true);
        let why = match candidate(question, *rank, free, deployment, world) {
            Ok(candidate) => {
                candidates.push(candidate);
                None
            }
            Err(why) => Some(why),
        };
        considered.push(Considered { deployment: Rc::clone(deployment), why });
    }
    (candidates, considered)
}

fn candidate(
    question: &Question<'_>,
    rank: usize,
    free: bool,
    deployment: &Rc<Deployment>,
    world: &World,
) -> Result<Candidate, &'static str> {
    permitted(question, free, deployment, world)?;
    if !world.can_reach(&deployment.provider.id) {
        return Err("no credential for the provider");
    }
    if let Some(lack) = unfit(question, deployment).or_else(|| lack(question.signals.needs, deployment)) {
        return Err(lack);
    }
    unwanted(question, deployment)?;
    let when = when(question, deployment);
    let score = world.health.score(&world.health_name(deployment, when.tier));
    // A tier has its own times and circuit; how tokens are counted, and whether anybody answers there, is the deployment's.
    let all = world.health.score(&world.health_name(deployment, None));
    let likely = |estimated| all.map_or(estimated, |score| score.prompt_tokens(estimated));
    let prompt_tokens = likely(question.signals.prompt_tokens);
    if likely(question.signals.longest_prompt_tokens) > deployment.context_length {
        return Err("prompt longer than the context");
    }
    let (prompt_tokens_max, whole, output_tokens_max, quote) = bound(question, deployment, when, world)?;
    let reasons = deployment.can(Ability::Reasoning) && question.signals.depth != Depth::None;
    let prior = if reasons { TTFT_MS_REASONING } else { TTFT_MS };
    let ttft_ms = score.and_then(Score::usual_ms).unwrap_or(prior);
    let first_content = score.filter(|score| score.ttft_ms.seen > 0).map_or(prior, |score| score.ttft_ms.p50);
    if question.overrides.max_ttft_ms.is_some_and(|cap| first_content > millis(cap)) {
        return Err("slower than max_ttft_ms");
    }
    let signals = question.signals;
    let times = if reasons { signals.depth.tokens_times() } else { 1 };
    let wanted = signals.output_tokens * signals.choices * times;
    let usual = wanted.min(output_tokens_max * signals.choices);
    // A ceiling that cuts its answer short makes a deployment no cheaper and no faster: it is judged by the whole one.
    let whole = whole * signals.choices;
    let stretch = f64::from(world.taught.stretch(signals.case.cluster, &deployment.model));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "tokens, above 0")]
    let output_tokens = ((millis(wanted.min(whole)) * stretch) as u64).clamp(1, whole.max(1));
    let expected = price::expected(&deployment.rates, when, prompt_tokens, output_tokens);
    let warm = |_| price::expected_warm(&deployment.rates, when, prompt_tokens, output_tokens);
    let expected_warm = question.overrides.session.as_ref().map_or(expected, warm);
    Ok(Candidate {
        deployment: Rc::clone(deployment),
        features: Features {
            rank,
            wish: wish(question, deployment),
            expected,
            log_cost: log_cost(expected),
            log_cost_warm: log_cost(expected_warm),
            log_time: log_time(ttft_ms, output_tokens, score.and_then(Score::tokens_per_s).unwrap_or(TOKENS_PER_S)),
            quality: quality(question, deployment, world),
            success: score.map_or(1.0, |score| score.success),
            open: [score, all].into_iter().flatten().any(|score| score.is_open(question.now)),
            throttled: score.map_or(0.0, Score::throttled),
        },
        judged: Judged::default(),
        output_tokens_max,
        prompt_tokens_max,
        quote,
        least: least(question, deployment, when, prompt_tokens_max, output_tokens_max),
        when,
        effort: effort(question, free, deployment),
        ttft_ms,
        output_tokens,
        output_tokens_usual: usual,
    })
}

/// The place of its provider among those the request would rather have.
fn wish(question: &Question<'_>, deployment: &Deployment) -> usize {
    let order = &question.overrides.providers.order;
    order.iter().position(|provider| *provider == deployment.provider.id).unwrap_or(order.len())
}

/// Whether a deployment was left out for something else than what the request needs.
pub fn is_narrowing(why: &str) -> bool {
    why.starts_with(RULED_OUT) || why == LEFT_OUT || why.contains("for this key") || why.contains("max_")
}

/// The logarithm of the milliseconds until an answer is whole.
fn log_time(ttft_ms: f64, output_tokens: u64, tokens_per_s: f64) -> f64 {
    (ttft_ms.max(1.0) + millis(output_tokens) * 1_000.0 / tokens_per_s.max(1.0)).ln()
}

fn log_cost(expected: Nanos) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rank, not an amount")]
    let nanos = expected.0 as f64;
    nanos.max(1.0).ln()
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds or tokens of one request")]
fn millis(ms: u64) -> f64 {
    ms as f64
}

/// What a deployment's prices depend on: work that can wait takes the cheaper tier where there is one.
fn when(question: &Question<'_>, deployment: &Deployment) -> When {
    let waits = question.signals.priority == Priority::Low && question.surface.is_chat();
    let flex = waits && question.signals.tier_is_open && deployment.rates.offers(ServiceTier::Flex);
    When { tier: question.when.tier.or(flex.then_some(ServiceTier::Flex)), ..question.when }
}

/// Where the router chose the model and the caller left open how much it thinks, as much as the request looks to need.
fn effort(question: &Question<'_>, free: bool, deployment: &Deployment) -> Option<Effort> {
    let open = free && question.signals.effort.is_none() && question.surface.is_chat();
    let takes = deployment.can(Ability::Reasoning) && !deployment.efforts.is_empty();
    (open && takes).then(|| deployment.nearest_effort(question.signals.depth.effort()))
}

/// How good its answer is likely to be.
fn quality(question: &Question<'_>, deployment: &Deployment, world: &World) -> f64 {
    f64::from(world.taught.estimate(&question.signals.case, &deployment.model, ability(deployment)))
}

/// What the endpoint, the tier and the day leave out.
fn unfit(question: &Question<'_>, deployment: &Deployment) -> Option<&'static str> {
    let serves = match question.surface {
        Surface::ChatCompletions | Surface::Responses | Surface::Messages => deployment.kind == Kind::Chat,
        Surface::Completions => deployment.kind == Kind::Completion || deployment.can(Ability::Completions),
        Surface::Embeddings => deployment.kind == Kind::Embedding,
    };
    if !serves {
        return Some("not served on this endpoint");
    }
    if question.when.tier.is_some_and(|tier| !deployment.rates.offers(tier)) {
        return Some("does not sell this service tier");
    }
    deployment.retires.is_some_and(|day| question.now >= day).then_some("retired")
}

fn lack(needs: Needs, deployment: &Deployment) -> Option<&'static str> {
    let takes = |modality| deployment.input.contains(&modality);
    let lacks = [
        (needs.tools && !deployment.can(Ability::Tools), "no tools"),
        (needs.vision && !takes(Modality::Image), "no image input"),
        (needs.audio && !takes(Modality::Audio), "no audio input"),
        (needs.files && !takes(Modality::File), "no file input"),
        (needs.json_schema && !deployment.can(Ability::JsonSchema), "no JSON schema"),
    ];
    lacks.into_iter().find_map(|(lacks, why)| lacks.then_some(why))
}

/// What the request itself does not want, and then what it may not have.
fn permitted(question: &Question<'_>, free: bool, deployment: &Deployment, world: &World) -> Result<(), &'static str> {
    let provider = &deployment.provider.id;
    let (only, ignore) = (&question.overrides.providers.only, &question.overrides.providers.ignore);
    if (!only.is_empty() && !only.contains(provider)) || ignore.contains(provider) {
        return Err(LEFT_OUT);
    }
    if world.policies.is_none() {
        return Ok(());
    }
    let rates = deployment.rates.at(question.signals.prompt_tokens, question.when);
    let quality = if free { quality(question, deployment, world) } else { ANY_QUALITY };
    world.policies().objection(deployment, world.is_own(provider), rates, quality).map_or(Ok(()), |(why, _)| Err(why))
}

fn unwanted(question: &Question<'_>, deployment: &Deployment) -> Result<(), &'static str> {
    let (overrides, allowed) = (question.overrides, question.allowed);
    let provider = &deployment.provider.id;
    if allowed.models.as_ref().is_some_and(|list| !allows_model(list, provider, &deployment.model)) {
        return Err("model not allowed for this key");
    }
    if allowed.providers.as_ref().is_some_and(|list| !allows_provider(list, provider)) {
        return Err("provider not allowed for this key");
    }
    let rates = deployment.rates.at(question.signals.prompt_tokens, question.when);
    if overrides.max_price.is_below(rates.input, rates.output) {
        return Err("dearer than max_price");
    }
    Ok(())
}

/// The bounds of prompt, of a whole output, and of the one within the request's ceiling, and the quote under it.
fn bound(
    question: &Question<'_>,
    deployment: &Deployment,
    when: When,
    world: &World,
) -> Result<(u64, u64, u64, Nanos), &'static str> {
    let (signals, rates) = (question.signals, &deployment.rates);
    // Several prompts may fill a context each.
    let several = !question.surface.is_chat();
    let most = if several { u64::MAX } else { deployment.context_length };
    let prompt_max = signals.prompt_tokens_max.min(most);
    let usual = if deployment.can(Ability::Reasoning) { OUTPUT_TOKENS_MAX_REASONING } else { OUTPUT_TOKENS_MAX };
    let output_max = question.output_cap.unwrap_or(usual).min(deployment.max_output_tokens).max(1);
    let quoted = |output: u64| {
        price::quote(rates, when, prompt_max, output.saturating_mul(signals.choices))
            .ok_or("costs more than can be held")
    };
    let quote = quoted(output_max)?;
    let asked = question.overrides.max_cost_usd;
    let Some(ceiling) = world.policies().ceiling(asked).filter(|ceiling| quote > *ceiling) else {
        return Ok((prompt_max, output_max, output_max, quote));
    };
    let output = price::output_within(rates, when, prompt_max, signals.choices, output_max, ceiling);
    match output {
        ..OUTPUT_TOKENS_MIN if asked == Some(ceiling) => Err("dearer than max_cost_usd"),
        ..OUTPUT_TOKENS_MIN => Err(OVER_MAX_COST),
        _ => Ok((prompt_max, output_max, output, quoted(output)?)),
    }
}

/// What a growing hold begins with. It may grow where all of the answer is seen, so that what it has used is known, and where
/// the provider stops billing when the answer is cut off.
fn least(question: &Question<'_>, deployment: &Deployment, when: When, prompt_max: u64, output_max: u64) -> Nanos {
    let grows = question.stream
        && question.surface.is_chat()
        && output_max > SLICE_TOKENS
        // A call of a tool takes more tokens than its text has bytes.
        && !question.signals.needs.tools
        && !deployment.can(Ability::Reasoning)
        && deployment.provider.abort_stops_billing == AbortStopsBilling::Yes;
    let output = SLICE_TOKENS.saturating_mul(question.signals.choices);
    let quote = price::quote(&deployment.rates, when, prompt_max, output);
    quote.filter(|_| grows).unwrap_or_default()
}

/// The refusal when nothing can serve a request: the reasons, most frequent first.
pub fn none_left(question: &Question<'_>, world: &World, considered: &[Considered]) -> Fault {
    let (model, surface) = (question.model, question.surface);
    let mut counts: Table<&'static str, usize> = Table::default();
    for why in considered.iter().filter_map(|one| one.why) {
        counts.change(&why, |count| *count += 1);
    }
    let mut reasons: Vec<_> = counts.iter().collect();
    reasons.sort_unstable_by_key(|(why, count)| (std::cmp::Reverse(**count), **why));
    // What the request itself left out says nothing about the rest.
    let others: Vec<&str> = reasons.iter().map(|(why, _)| **why).filter(|why| *why != LEFT_OUT).collect();
    if others.iter().all(|why| why.starts_with(RULED_OUT)) {
        let ruled = considered.iter().find_map(|one| Some((&one.deployment, one.why.filter(|why| *why != LEFT_OUT)?)));
        if let Some(fault) = ruled.and_then(|(deployment, why)| ruled_out(question, world, deployment, why)) {
            return fault;
        }
    }
    let named = quoted(model);
    let only = |why: &str| !others.is_empty() && others.iter().all(|other| *other == why);
    if only("model not allowed for this key") || only("provider not allowed for this key") {
        let code = if only("model not allowed for this key") { "model_not_allowed" } else { "provider_not_allowed" };
        let text =
            format!("This key may not use {named}. Ask an admin to widen its allowlist, or choose another model.");
        return Fault::forbidden(code, text).with_param("model");
    }
    if only("prompt longer than the context") {
        let text = format!(
            "The prompt is longer than the context of {named}. Shorten it, or choose a model with a larger one."
        );
        return Fault::invalid("context_length_exceeded", text).with_param(match surface {
            Surface::ChatCompletions | Surface::Messages => "messages",
            Surface::Responses | Surface::Embeddings => "input",
            Surface::Completions => "prompt",
        });
    }
    if only("no credential for the provider") {
        let text = format!("This installation has no credential for the provider of {named}. Choose another model.");
        let mut fault = Fault::unavailable("no_eligible_provider", text).with_param("model");
        fault.should_retry = false;
        return fault;
    }
    let told: Vec<String> = reasons.iter().map(|(why, count)| format!("{why} ({count})")).collect();
    let text = if told.is_empty() {
        format!("{named} names no deployment. Its targets may have been removed.")
    } else {
        format!("No deployment of {named} can serve this request: {}.", told.join(", "))
    };
    Fault::invalid("no_eligible_deployment", text).with_param("model")
}

/// The refusal for a rule of a routing policy: which, and whose.
fn ruled_out(question: &Question<'_>, world: &World, deployment: &Deployment, why: &str) -> Option<Fault> {
    let rates = deployment.rates.at(question.signals.prompt_tokens, question.when);
    let own = world.is_own(&deployment.provider.id);
    // A narrower policy may ask for quality of what is left to the router: that is not why a named model was left out.
    let quality = if why == BELOW_MIN_QUALITY { quality(question, deployment, world) } else { ANY_QUALITY };
    let layer = match why {
        OVER_MAX_COST => world.policies().setter_of_ceiling()?,
        _ => world.policies().objection(deployment, own, rates, quality)?.1,
    };
    let rule = layer.rule(why, &deployment.provider.id, &deployment.model);
    let (model, whose, name) = (question.model, layer.scope.plain(), &layer.name);
    let text = format!(
        "{} is ruled out by a routing policy: {rule} of the {whose} {}. Choose another model, or ask an admin to \
         change the policy.",
        quoted(model),
        quoted(name)
    );
    Some(
        Fault::forbidden("routing_policy_denied", text)
            .with_param("model")
            .with("rule", rule)
            .set_by(&layer.scope, name),
    )
}
