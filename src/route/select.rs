//! Which deployments a model name means.
use super::{Candidate, Conduct, Question, Reason};
use crate::{
    access::NamedRoute,
    body::quoted,
    catalog::{Deployment, Quirk},
    fault::Fault,
    id::Dice,
    mode::Mode,
    quality::{Check, Checks},
    table::Table,
    world::World,
};
use std::rc::Rc;

/// The deployments of the name asked for and of its fallbacks, before anything is left out.
#[derive(Clone, Debug)]
pub struct Selection {
    /// With their rank: all deployments of one name share one.
    pub deployments: Vec<(usize, Rc<Deployment>)>,
    pub mode: Mode,
    pub reason: Reason,
    /// The order is the caller's, not the mode's.
    pub in_given_order: bool,
    pub conduct: Conduct,
    /// By rank, whether its name leaves the choice among models to the router.
    pub free: Vec<bool>,
    weights: Vec<(String, u32)>,
}

impl Selection {
    /// Resolves `provider/model`, a bare model, an alias, `auto` or `auto:<mode>`, and the fallbacks of the request.
    ///
    /// # Errors
    /// 404 for a name nobody serves, 400 for a mode that is none.
    pub fn of(question: &Question<'_>, world: &World) -> Result<Self, Fault> {
        let (name, asked) = mode_suffix(question.model)?;
        let mode = question.overrides.mode.or(asked);
        let mut selection = Self::of_name(name, mode, world)?;
        for (place, fallback) in question.overrides.models.iter().enumerate() {
            let (name, asked) = mode_suffix(fallback)?;
            let more = Self::of_name(name, mode.or(asked), world)?;
            selection.free.extend(more.free);
            selection.deployments.extend(more.deployments.into_iter().map(|(_, deployment)| (place + 1, deployment)));
        }
        if selection.reason == Reason::Alias || !question.overrides.models.is_empty() {
            // A deployment meant twice is tried where it is named first.
            let mut seen = Table::default();
            selection.deployments.retain(|(_, deployment)| {
                let first = !seen.contains_key(&deployment.id);
                seen.insert(deployment.id.clone(), ());
                first
            });
        }
        Ok(selection)
    }

    fn of_name(name: &str, mode: Option<Mode>, world: &World) -> Result<Self, Fault> {
        let alias = world.tenant.as_ref().and_then(|view| view.tenant.routes.get(name));
        if let Some(route) = alias {
            return Ok(Self::of_route(route, mode, world));
        }
        let usual = || mode.or(world.policies().mode()).unwrap_or_default();
        if name == "auto" {
            let all = world.catalog.deployments().iter().filter(|deployment| !deployment.has(Quirk::NotAuto));
            let all = all.map(|deployment| (0, Rc::clone(deployment))).collect();
            return Ok(Self { free: vec![true], ..Self::plain(all, usual(), Reason::Mode) });
        }
        if let Some(deployment) = world.deployment(name) {
            return Ok(Self::plain(vec![(0, Rc::clone(deployment))], usual(), Reason::Pinned));
        }
        let serving: Vec<_> = world.catalog.serving(name).map(|deployment| (0, Rc::clone(deployment))).collect();
        if serving.is_empty() {
            return Err(unknown(name));
        }
        Ok(Self::plain(serving, usual(), Reason::Mode))
    }

    fn of_route(route: &NamedRoute, mode: Option<Mode>, world: &World) -> Self {
        let deployments = route.targets.iter().filter_map(|target| world.deployment(&target.deployment()));
        let deployments: Vec<_> = deployments.map(|deployment| (0, Rc::clone(deployment))).collect();
        let mode = mode.or(route.mode);
        let weights = route.targets.iter().filter_map(|target| Some((target.deployment(), target.weight?))).collect();
        Self {
            in_given_order: mode.is_none(),
            free: vec![mode.is_some()],
            conduct: Conduct {
                fallback: route.fallback,
                retries: route.retries as usize,
                deadlines: route.deadlines,
                min_tokens_per_s: route.min_tokens_per_s,
                rescue: route.rescue.unwrap_or_default(),
                hedge: route.hedge,
                checks: route.escalation.as_ref().map_or_default(|escalation| Checks::of(&escalation.checks)),
                ..Conduct::default()
            },
            weights,
            ..Self::plain(deployments, mode.unwrap_or_default(), Reason::Alias)
        }
    }

    fn plain(deployments: Vec<(usize, Rc<Deployment>)>, mode: Mode, reason: Reason) -> Self {
        let (conduct, free, weights) = (Conduct::default(), vec![false], Vec::new());
        Self { deployments, mode, reason, in_given_order: false, conduct, free, weights }
    }

    /// What an answer is checked for: the route's checks, or all where the request asks and the route has none.
    pub(super) fn checks(&self, question: &Question<'_>) -> Checks {
        match question.overrides.escalate {
            Some(false) => Checks::default(),
            Some(true) if self.conduct.checks.is_empty() => question.checks,
            _ if question.checks.is_empty() => question.checks,
            // Any two answers can be compared.
            _ => self.conduct.checks.and(question.checks.with(Check::Agreement)),
        }
    }

    /// Whether the choice among models is the router's.
    pub(super) fn chooses(&self) -> bool {
        self.free.first() == Some(&true)
    }

    /// Whether a draw by weights says who is first.
    pub(super) fn is_weighted(&self) -> bool {
        !self.weights.is_empty()
    }

    /// The candidate a weighted draw puts first, among those that have a weight and a closed circuit.
    #[must_use]
    pub fn weighted_first(&self, candidates: &[Candidate], dice: &mut Dice) -> Option<usize> {
        let weight = |candidate: &Candidate| {
            let found = self.weights.iter().find(|(id, _)| *id == candidate.deployment.id);
            found.filter(|_| !candidate.judged.shut).map_or(0, |(_, weight)| u64::from(*weight))
        };
        let whole: u64 = candidates.iter().map(weight).sum();
        let mut drawn = dice.roll().checked_rem(whole)?;
        candidates.iter().position(|candidate| {
            let share = weight(candidate);
            let hit = drawn < share;
            drawn = drawn.saturating_sub(share);
            hit
        })
    }
}

/// Splits `auto:<mode>` and OpenRouter's `:floor` and `:nitro` from a name. Other colons are part of it.
fn mode_suffix(name: &str) -> Result<(&str, Option<Mode>), Fault> {
    match name.rsplit_once(':') {
        Some((name, "floor")) => Ok((name, Some(Mode::CostFirst))),
        Some((name, "nitro")) => Ok((name, Some(Mode::LatencyFirst))),
        Some(("auto", word)) => {
            if let Some(mode) = Mode::of_word(word) {
                Ok(("auto", Some(mode)))
            } else {
                let modes = Mode::ALL.map(Mode::word).join(", ");
                Err(Fault::parameter("model", format!("{} is no mode. The modes are {modes}.", quoted(word))))
            }
        }
        _ => Ok((name, None)),
    }
}

fn unknown(name: &str) -> Fault {
    let name = quoted(name);
    let text =
        format!("The model {name} is not known here. GET /v1/models lists every model; \"auto\" picks one for you.");
    Fault::not_found("model_not_found", text).with_param("model")
}
