//! Routing policies: what an organisation, its groups, members and keys lay down for the requests under them.
//!
//! A key stands under the policies of its whole path. Its default mode and weights are the narrowest ones; every rule of every
//! policy holds, so that one more can only narrow what is allowed.
use super::{allows_model, allows_provider};
use crate::{
    catalog::{Deployment, Provider, Rates},
    endpoint::{MaxPrice, Weights},
    id::Scope,
    json,
    mode::Mode,
    money::Nanos,
};
use serde_json::Value;

/// What one scope lays down. Absent members leave what is laid down above in force.
#[derive(Debug, Default)]
pub struct RoutingPolicy {
    /// For requests that name none.
    pub mode: Option<Mode>,
    /// What `balanced` weighs, for requests that do not say.
    pub weights: Option<Weights>,
    /// Patterns as in a key's `model_allowlist`: nothing else may be used.
    pub allow: Option<Vec<String>>,
    /// Such patterns: what they name may not be used.
    pub deny: Vec<String>,
    pub data_policy: DataPolicy,
    pub max_price: MaxPrice,
    /// For one request.
    pub max_cost_usd: Option<Nanos>,
    /// Where the router chooses among models: those less likely to answer well are left out.
    pub min_quality: f64,
    /// The share of requests that another model than the best is asked for, to learn of it.
    pub explore: Option<f64>,
    /// The share for which one is drawn at random, to learn what choosing is worth.
    pub control: Option<f64>,
}

json::members!(strict default RoutingPolicy {
    mode, weights, allow, deny, data_policy, max_price, max_cost_usd, min_quality, explore, control,
});

/// What providers may do with what they are sent.
#[derive(Debug, Default)]
pub struct DataPolicy {
    pub training: Training,
    pub retention: Retention,
    /// Where it may be processed.
    pub regions: Option<Vec<String>>,
}

json::members!(strict default DataPolicy { training, retention, regions });

/// Whether models may be trained on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Training {
    #[default]
    Allow,
    Deny,
}

json::words!(Training { Allow = "allow", Deny = "deny" });

/// Whether it may be kept after the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    #[default]
    Allow,
    Zero,
}

json::words!(Retention { Allow = "allow", Zero = "zero" });

impl DataPolicy {
    /// Whether a provider is known to keep it: what is not known does not pass.
    fn is_kept_by(&self, provider: &Provider) -> bool {
        let elsewhere = |allowed: &Vec<String>| {
            provider.regions.is_empty() || provider.regions.iter().any(|region| !allowed.contains(region))
        };
        (self.training == Training::Allow || provider.trains_on_data == Some(false))
            && (self.retention == Retention::Allow || provider.retains_data == Some(false))
            && !self.regions.as_ref().is_some_and(elsewhere)
    }
}

/// How every reason begins that is a rule of a policy; then the rule's member.
pub const RULED_OUT: &str = "left out by the routing policy: ";
/// A deployment of which the cheapest answer costs more than a policy lets a request cost.
pub const OVER_MAX_COST: &str = "left out by the routing policy: max_cost_usd";
/// A choice of the router that is likely to be worse than a policy wants.
pub const BELOW_MIN_QUALITY: &str = "left out by the routing policy: min_quality";
/// Good enough for every policy.
pub const ANY_QUALITY: f64 = 1.0;
const DENIED: &str = "left out by the routing policy: deny";

/// Whether a list names a model to be denied. A provider's bare name counts too: as a model it would name nothing, and what was
/// to be denied would pass.
fn denies(list: &[String], provider: &str, model: &str) -> bool {
    allows_model(list, provider, model) || allows_provider(list, provider)
}

impl RoutingPolicy {
    /// Whether its lists let a model pass.
    #[must_use]
    pub fn permits(&self, provider: &str, model: &str) -> bool {
        !self.denies(provider, model) && self.allow.as_ref().is_none_or(|list| allows_model(list, provider, model))
    }

    fn denies(&self, provider: &str, model: &str) -> bool {
        denies(&self.deny, provider, model)
    }

    fn objection(&self, deployment: &Deployment, own: bool, rates: &Rates, quality: f64) -> Option<&'static str> {
        let (provider, model) = (&deployment.provider, &deployment.model);
        if self.denies(&provider.id, model) {
            Some(DENIED)
        } else if !self.permits(&provider.id, model) {
            Some("left out by the routing policy: allow")
        } else if !own && !self.data_policy.is_kept_by(provider) {
            // What an organisation's own provider may do is between the two of them.
            Some("left out by the routing policy: data_policy")
        } else if self.max_price.is_below(rates.input, rates.output) {
            Some("left out by the routing policy: max_price")
        } else {
            (quality < self.min_quality).then_some(BELOW_MIN_QUALITY)
        }
    }
}

/// A policy as it was written, and as it is read.
#[derive(Debug)]
pub struct Written {
    pub text: Value,
    pub policy: RoutingPolicy,
}

impl json::Read for Written {
    fn blank() -> Self {
        Self { text: Value::Null, policy: RoutingPolicy::default() }
    }

    fn fill(&mut self, value: Value) -> json::Filled {
        self.text = value.clone();
        self.policy.fill(value)
    }
}

/// The policy of one scope, and whose it is.
#[derive(Debug)]
pub struct Layer {
    pub scope: Scope,
    /// What admins call the scope.
    pub name: String,
    pub written: Written,
}

json::members!(Layer { scope, name, written });

/// The policies a key stands under, narrowest first.
#[derive(Debug)]
pub struct Policies {
    /// The tenant's when they were told; 0 for none.
    pub version: u64,
    pub layers: Vec<Layer>,
}

impl Policies {
    fn nearest<T>(&self, member: fn(&RoutingPolicy) -> Option<T>) -> Option<T> {
        self.layers.iter().find_map(|layer| member(&layer.written.policy))
    }

    /// The mode of requests that name none.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.nearest(|policy| policy.mode)
    }

    /// The weights of requests that name none.
    #[must_use]
    pub fn weights(&self) -> Option<Weights> {
        self.nearest(|policy| policy.weights)
    }

    /// Whether one of them wants nothing kept of requests.
    #[must_use]
    pub fn keep_nothing(&self) -> bool {
        self.layers.iter().any(|layer| layer.written.policy.data_policy.retention == Retention::Zero)
    }

    /// The share of requests that is explored with.
    #[must_use]
    pub fn explore(&self) -> Option<f64> {
        self.nearest(|policy| policy.explore)
    }

    /// The share of requests that is drawn at random.
    #[must_use]
    pub fn control(&self) -> Option<f64> {
        self.nearest(|policy| policy.control)
    }

    /// The most a request may cost that asks for this ceiling, or for none.
    #[must_use]
    pub fn ceiling(&self, asked: Option<Nanos>) -> Option<Nanos> {
        self.layers.iter().filter_map(|layer| layer.written.policy.max_cost_usd).chain(asked).min()
    }

    /// Why a deployment may not be used, and whose rule that is. `quality` is what it is likely to be worth; [`ANY_QUALITY`] where
    /// the caller chose it.
    #[must_use]
    pub fn objection(
        &self,
        deployment: &Deployment,
        own: bool,
        rates: &Rates,
        quality: f64,
    ) -> Option<(&'static str, &Layer)> {
        let why = |layer: &Layer| layer.written.policy.objection(deployment, own, rates, quality);
        self.layers.iter().find_map(|layer| Some((why(layer)?, layer)))
    }

    /// The narrowest of those that set the ceiling.
    #[must_use]
    pub fn setter_of_ceiling(&self) -> Option<&Layer> {
        let ceiling = self.ceiling(None);
        self.layers.iter().find(|layer| layer.written.policy.max_cost_usd == ceiling)
    }
}

impl Layer {
    /// One of its rules as it was written; of those that deny a model, the one that does.
    #[must_use]
    pub fn rule(&self, why: &str, provider: &str, model: &str) -> String {
        let hits = |pattern: &&String| denies(std::slice::from_ref(*pattern), provider, model);
        let denied = self.written.policy.deny.iter().find(hits).filter(|_| why == DENIED);
        let member = why.strip_prefix(RULED_OUT).unwrap_or_default();
        let told =
            denied.map_or_else(|| self.written.text.get(member).cloned(), |pattern| Some(pattern.as_str().into()));
        format!("{member} {:.200}", told.as_ref().map_or_default(json::written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::OwnProvider,
        catalog::{Catalog, When},
        json::json,
    };
    use proptest::{collection::vec, prop_assert, prop_assert_eq, proptest, sample::select};
    use std::rc::Rc;

    fn policies(layers: &[Value]) -> Policies {
        let scopes =
            [Scope::ApiKey("k".into()), Scope::Member("m".into()), Scope::Group("g".into()), Scope::Organization];
        let layer =
            |(scope, written): (Scope, &Value)| json!({"scope": scope, "name": scope.word(), "written": written});
        let layers: Vec<Value> = scopes.into_iter().zip(layers).map(layer).collect();
        Policies { version: 1, layers: json::from_value(layers.into()).expect("readable") }
    }

    fn catalog() -> Catalog {
        let facts = [
            ("open", json!({})),
            ("kind", json!({"trains_on_data": false, "retains_data": false, "regions": ["eu"]})),
            ("wide", json!({"trains_on_data": false, "retains_data": true, "regions": ["eu", "us"]})),
        ];
        let provider = |(id, facts): (&str, Value)| {
            let mut row = json!({"id": id, "name": id, "dialect": "openai_chat", "base_url": "https://x.test"});
            row.as_object_mut().expect("a row").extend(facts.as_object().cloned().expect("members"));
            row
        };
        let models = ["open", "kind", "wide"].map(|id| {
            json!({"provider": id, "id": "m", "context_length": 1_000, "input_usd_per_mtok": "1", "output_usd_per_mtok": "2"})
        });
        let document = json!({"version": 1, "providers": facts.map(provider).to_vec(), "models": models.to_vec()});
        Catalog::parse(&document.to_string()).expect("valid")
    }

    fn passing(policies: &Policies, quality: f64) -> Vec<String> {
        let catalog = catalog();
        let passes = |deployment: &&Rc<Deployment>| {
            policies.objection(deployment, false, deployment.rates.at(0, When::default()), quality).is_none()
        };
        catalog.deployments().iter().filter(passes).map(|deployment| deployment.provider.id.clone()).collect()
    }

    #[test]
    fn the_narrowest_default_counts_and_the_strictest_rule() {
        let policies = policies(&[
            json!({"max_cost_usd": "2", "weights": {"quality": 1, "cost": 0, "latency": 0}}),
            json!({"mode": "cost-first", "min_quality": 0.4}),
            json!({"mode": "balanced", "max_cost_usd": "1", "min_quality": 0.2}),
        ]);
        assert_eq!(policies.mode(), Some(Mode::CostFirst));
        assert_eq!(policies.weights().map(|weights| weights.quality), Some(1.0));
        let usd = |usd| Nanos::parse_usd(usd).ok();
        assert_eq!([None, usd("5"), usd("0.5")].map(|asked| policies.ceiling(asked)), [usd("1"), usd("1"), usd("0.5")]);
        assert_eq!(passing(&policies, 0.3), [""; 0]);
        assert_eq!(passing(&policies, 0.4).len(), 3);
        assert_eq!(passing(&policies, ANY_QUALITY).len(), 3, "where the router does not choose");
    }

    #[test]
    fn what_is_not_known_of_a_provider_does_not_pass() {
        for (data_policy, wanted) in [
            (json!({"training": "allow", "retention": "allow"}), &["open", "kind", "wide"][..]),
            (json!({"training": "deny"}), &["kind", "wide"]),
            (json!({"retention": "zero"}), &["kind"]),
            (json!({"regions": ["eu"]}), &["kind"]),
            (json!({"regions": ["us", "eu", "ch"]}), &["kind", "wide"]),
            (json!({"regions": []}), &[]),
        ] {
            let policies = policies(&[json!({"data_policy": data_policy})]);
            assert_eq!(passing(&policies, ANY_QUALITY), wanted, "{data_policy}");
            let own = catalog().deployments().iter().all(|deployment| {
                policies.objection(deployment, true, deployment.rates.at(0, When::default()), ANY_QUALITY).is_none()
            });
            assert!(own, "an own provider's terms are the organisation's");
        }
    }

    #[test]
    fn a_rule_is_named_with_whose_it_is() {
        let policies = policies(&[
            json!({"allow": ["*"], "max_cost_usd": "1"}),
            json!({"deny": ["other/*", "open/*"], "max_price": {"output": "1.5"}}),
            json!({"max_cost_usd": "0.5"}),
        ]);
        let catalog = catalog();
        let told = |id: &str, why: Option<&str>| {
            let deployment = catalog.deployment(id).expect("there");
            let rates = deployment.rates.at(0, When::default());
            let capped = why.and_then(|why| Some((why, policies.setter_of_ceiling()?)));
            let ruled = capped.or_else(|| policies.objection(deployment, false, rates, ANY_QUALITY));
            let (why, layer) = ruled.expect("ruled out");
            (layer.name.clone(), layer.rule(why, &deployment.provider.id, &deployment.model))
        };
        assert_eq!(told("open/m", None), ("member".to_owned(), "deny \"open/*\"".to_owned()));
        assert_eq!(told("kind/m", None), ("member".to_owned(), "max_price {\"output\":\"1.5\"}".to_owned()));
        assert_eq!(told("kind/m", Some(OVER_MAX_COST)), ("group".to_owned(), "max_cost_usd \"0.5\"".to_owned()));
    }

    #[test]
    fn a_denied_provider_needs_no_star() {
        assert_eq!(passing(&policies(&[json!({"deny": ["open", "m2"]})]), ANY_QUALITY), ["kind", "wide"]);
        assert_eq!(
            passing(&policies(&[json!({"allow": ["open"]})]), ANY_QUALITY),
            [""; 0],
            "allowed is only what is named in full"
        );
        assert_eq!(passing(&policies(&[json!({"allow": []})]), ANY_QUALITY), [""; 0]);
    }

    /// Any policy of a few rules.
    fn rules(kinds: &[usize]) -> Value {
        let all = [
            json!({"deny": ["open/*"]}),
            json!({"deny": ["m"]}),
            json!({"allow": ["kind/*", "wide/m"]}),
            json!({"allow": ["*"]}),
            json!({"data_policy": {"training": "deny"}}),
            json!({"data_policy": {"training": "allow", "regions": ["eu"]}}),
            json!({"max_price": {"input": "0.5"}}),
            json!({"max_price": {"output": "3"}}),
            json!({"max_cost_usd": "0.1"}),
            json!({"max_cost_usd": "9"}),
            json!({"min_quality": 0.5}),
            json!({"min_quality": 0}),
            json!({"mode": "balanced"}),
        ];
        let mut written = serde_json::Map::new();
        for rule in kinds.iter().filter_map(|kind| all.get(*kind)?.as_object().cloned()) {
            written.extend(rule);
        }
        written.into()
    }

    proptest! {
        #[test]
        fn another_policy_never_widens_what_is_allowed(
            above in vec(vec(0_usize..13, 0..4), 0..3),
            more in vec(0_usize..13, 0..4),
            place in 0_usize..4,
            quality in select(vec![ANY_QUALITY, 0.1, 0.7]),
        ) {
            let mut layers: Vec<Value> = above.iter().map(|kinds| rules(kinds)).collect();
            let before = policies(&layers);
            layers.insert(place.min(layers.len()), rules(&more));
            let after = policies(&layers);
            let allowed = passing(&before, quality);
            prop_assert!(passing(&after, quality).iter().all(|id| allowed.contains(id)));
            let cap = |policies: &Policies| policies.ceiling(None).map_or(i64::MAX, |cap| cap.0);
            prop_assert!(cap(&after) <= cap(&before));
            prop_assert_eq!(after.ceiling(Some(Nanos(1))), Some(Nanos(1)), "a request may ask for less");
        }
    }

    #[test]
    fn an_own_row_tells_nothing_of_its_data() {
        let own = json!({"provider": {"id": "acme", "name": "acme", "dialect": "openai_chat", "base_url": "https://x.test",
            "abort_stops_billing": "unknown"}, "models": [], "secret": null});
        let own: OwnProvider = json::from_value(own).expect("an own provider");
        assert!(!json::told_by_text(&own).to_string().contains("regions"));
    }
}
