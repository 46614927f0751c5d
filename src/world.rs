//! The immutable view a decision sees: catalog, health, the organisation's own rows, and what this worker can reach.
use crate::{
    access::{Policies, Secret, Tenant},
    catalog::{Catalog, Deployment},
    chat::ServiceTier,
    health::{Health, RetryBudget},
    json, payment,
    quality::{Prior, taught::Taught},
    table::Table,
    time::Millis,
};
use serde_json::Value;
use std::{borrow::Cow, rc::Rc};

/// Where a provider is called, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    pub base_url: String,
    /// One at least. They take turns, and those that were refused lately are passed over.
    pub credentials: Vec<Credential>,
}

/// What opens a provider's door. The shell puts the secret in last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A secret of the worker, by name.
    Named(String),
    /// A secret of an organisation, for one of its providers.
    Own {
        secret: Secret,
        organization: String,
        provider: String,
    },
    None,
}

/// Figures a deployment of the worker sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The providers of the catalog this worker has a credential or a sandbox for.
    pub reach: Table<String, Reach>,
    /// What unpaid agents may pay by.
    pub x402: Option<Rc<payment::Terms>>,
}

/// One organisation's rows, parsed.
#[derive(Clone, Debug, Default)]
pub struct TenantView {
    pub tenant: Tenant,
    deployments: Table<String, Rc<Deployment>>,
}

impl TenantView {
    #[must_use]
    pub fn new(tenant: Tenant) -> Self {
        let deployments = tenant.providers.values().flat_map(crate::access::OwnProvider::deployments);
        let deployments = deployments.map(|deployment| (deployment.id.clone(), deployment)).collect();
        Self { tenant, deployments }
    }

    /// The organisation's own deployments.
    pub fn deployments(&self) -> impl Iterator<Item = &Rc<Deployment>> {
        self.deployments.values()
    }
}

/// What an account told of its organisation, and of the key that asked. `None` where it cannot be read: a newer account may
/// know rules that this worker does not.
#[must_use]
pub fn views(told: &Tenant) -> Option<(Rc<TenantView>, Option<Rc<Policies>>)> {
    let mut tenant = told.clone();
    let policies = match tenant.policies.take() {
        Value::Null => None,
        layers => Some(Rc::new(Policies { version: told.version, layers: json::from_value(layers).ok()? })),
    };
    Some((Rc::new(TenantView::new(tenant)), policies))
}

#[derive(Clone, Debug, Default)]
pub struct World {
    pub catalog: Rc<Catalog>,
    pub health: Rc<Health>,
    /// What a text says of how hard it is, before anything was learned.
    pub prior: Rc<Prior>,
    /// What the organisation's outcomes taught.
    pub taught: Rc<Taught>,
    /// Of the isolate, not of a request.
    pub retries: Rc<RetryBudget>,
    pub settings: Rc<Settings>,
    pub tenant: Option<Rc<TenantView>>,
    /// What the key that asks stands under.
    pub policies: Option<Rc<Policies>>,
}

impl World {
    /// Takes in what an account told, if it can be read.
    pub fn learn(&mut self, told: &Tenant) -> bool {
        views(told).map(|(tenant, policies)| (self.tenant, self.policies) = (Some(tenant), policies)).is_some()
    }

    /// The routing policies that count.
    #[must_use]
    pub fn policies(&self) -> &Policies {
        static NONE: Policies = Policies { version: 0, layers: Vec::new() };
        self.policies.as_deref().unwrap_or(&NONE)
    }

    /// Whether a key's callers are told the price of a call that their organisation does not pay for; `None` while nobody knows.
    #[must_use]
    pub fn challenges(&self) -> Option<bool> {
        self.tenant.as_ref().map(|view| view.tenant.payment_challenge)
    }

    /// Whether a provider is the organisation's own.
    #[must_use]
    pub fn is_own(&self, provider: &str) -> bool {
        self.tenant.as_ref().is_some_and(|view| view.tenant.providers.get(provider).is_some())
    }

    /// The deployment `provider/model`, the organisation's own before the catalog's.
    #[must_use]
    pub fn deployment(&self, id: &str) -> Option<&Rc<Deployment>> {
        let own = self.tenant.as_ref().and_then(|view| view.deployments.get(id));
        own.or_else(|| self.catalog.deployment(id))
    }

    /// Whether a provider can be called at all.
    #[must_use]
    pub fn can_reach(&self, provider: &str) -> bool {
        self.is_own(provider) || self.settings.reach.contains_key(provider)
    }

    /// How to call a provider; `None` where neither a credential nor a sandbox is at hand.
    #[must_use]
    pub fn reach(&self, provider: &str) -> Option<Reach> {
        if let Some(view) = &self.tenant
            && let Some(own) = view.tenant.providers.get(provider)
        {
            let credential = |secret: &str| Credential::Own {
                secret: Secret(secret.to_owned()),
                organization: view.tenant.organization.clone(),
                provider: provider.to_owned(),
            };
            let mut credentials: Vec<Credential> = own.secrets().map(credential).collect();
            if credentials.is_empty() {
                credentials.push(Credential::None);
            }
            return Some(Reach { base_url: own.provider.base_url.clone(), credentials });
        }
        self.settings.reach.get(provider).cloned()
    }

    /// The name that the health of one of several credentials goes by: an organisation's own is nobody else's business.
    #[must_use]
    pub fn credential_name(&self, provider: &str, number: usize) -> String {
        let own = self.tenant.as_ref().filter(|view| view.tenant.providers.get(provider).is_some());
        let whose = own.map_or_default(|view| format!("{}/", view.tenant.organization));
        format!("{whose}{provider}#{}", number + 1)
    }

    /// Whether one of several credentials was refused lately.
    #[must_use]
    pub fn is_set_aside(&self, provider: &str, number: usize, now: Millis) -> bool {
        self.health.score(&self.credential_name(provider, number)).is_some_and(|score| score.is_open(now))
    }

    /// The name a deployment's health goes by. An organisation's own deployments are nobody else's business, and calls of the flex
    /// tier, which wait their turn at the provider, say nothing of others.
    #[must_use]
    pub fn health_name<'a>(&self, deployment: &'a Deployment, tier: Option<ServiceTier>) -> Cow<'a, str> {
        match &self.tenant {
            Some(view) if view.deployments.contains_key(&deployment.id) => {
                format!("{}/{}", view.tenant.organization, deployment.id).into()
            }
            _ if tier == Some(ServiceTier::Flex) => format!("{}@flex", deployment.id).into(),
            _ => deployment.id.as_str().into(),
        }
    }

    /// The version of the organisation's rows this world was made with; 0 for none.
    #[must_use]
    pub fn tenant_version(&self) -> u64 {
        self.tenant.as_ref().map_or(0, |view| view.tenant.version)
    }
}
