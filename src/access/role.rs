//! Who may do what: the roles of an organisation and one table of what each opens.
//!
//! A role is held at a scope and reaches what lies under it: the organisation, or one group with all below. The table is the whole
//! rule; the account asks it about the object it has loaded, never about a path of a URL.
use crate::{id::Scope, json};
use serde::Serialize;
use serde_json::Value;

/// What a member may be. The first four are granted; the last two follow from what kind of member it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Owner,
    Admin,
    Billing,
    GroupAdmin,
    Auditor,
    Member,
    ServiceAccount,
}

json::words!(Role {
    Owner = "owner", Admin = "admin", Billing = "billing", GroupAdmin = "group_admin", Auditor = "auditor", Member = "member",
    ServiceAccount = "service_account",
});

impl Role {
    pub const ALL: [Self; 7] =
        [Self::Owner, Self::Admin, Self::Billing, Self::GroupAdmin, Self::Auditor, Self::Member, Self::ServiceAccount];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Billing => "billing",
            Self::GroupAdmin => "group_admin",
            Self::Auditor => "auditor",
            Self::Member => "member",
            Self::ServiceAccount => "service_account",
        }
    }
}

/// A role at a scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoleGrant {
    pub role: Role,
    /// `organization`, or a group's id.
    pub scope: String,
}

json::members!(strict RoleGrant { role, scope = ORGANIZATION.to_owned() });

const ORGANIZATION: &str = "organization";

impl RoleGrant {
    /// A role of the whole organisation.
    #[must_use]
    pub fn of_all(role: Role) -> Self {
        Self { role, scope: ORGANIZATION.to_owned() }
    }

    /// Where it is held.
    #[must_use]
    pub fn scope(&self) -> Scope {
        if self.scope == ORGANIZATION { Scope::Organization } else { Scope::Group(self.scope.clone()) }
    }

    /// Whether it can be granted there.
    #[must_use]
    pub fn is_grantable(&self) -> bool {
        let of_all = self.scope() == Scope::Organization;
        match self.role {
            Role::Owner | Role::Admin | Role::Billing => of_all,
            Role::GroupAdmin => !of_all,
            Role::Auditor => true,
            Role::Member | Role::ServiceAccount => false,
        }
    }
}

/// The roles of a member as they are stored. What a newer version granted, and this one does not know, opens nothing here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Grants(pub Vec<RoleGrant>);

impl json::Read for Grants {
    fn blank() -> Self {
        Self::default()
    }

    fn fill(&mut self, value: Value) -> json::Filled {
        let grants = value.as_array().into_iter().flatten();
        self.0 = grants.filter_map(|grant| json::from_value(grant.clone()).ok()).collect();
        Ok(())
    }
}

impl Grants {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is done, as roles see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Groups and members as they are, own providers, routes and policies.
    Read,
    /// Groups: made, changed, archived.
    WriteGroup,
    /// Members: made, changed, disabled.
    WriteMember,
    ReadKey,
    WriteKey,
    /// Keys of this plane.
    WriteAdminKey,
    /// Own providers with their credentials, and named routes.
    WriteProvider,
    WritePolicy,
    ReadBudget,
    /// Budgets and rate limits.
    WriteBudget,
    /// Wallet, ledger, requests, and what routing is worth.
    ReadUsage,
    /// Who changed what.
    ReadAudit,
    /// Where alerts are sent.
    WriteAlert,
    /// Money into the wallet.
    TopUp,
}

impl Permission {
    pub const ALL: [Self; 14] = [
        Self::Read,
        Self::WriteGroup,
        Self::WriteMember,
        Self::ReadKey,
        Self::WriteKey,
        Self::WriteAdminKey,
        Self::WriteProvider,
        Self::WritePolicy,
        Self::ReadBudget,
        Self::WriteBudget,
        Self::ReadUsage,
        Self::ReadAudit,
        Self::WriteAlert,
        Self::TopUp,
    ];

    /// Whether it only shows.
    #[must_use]
    pub fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadKey | Self::ReadBudget | Self::ReadUsage | Self::ReadAudit)
    }

    /// What it opens, in a sentence.
    #[must_use]
    pub fn plain(self) -> &'static str {
        match self {
            Self::Read => "read this",
            Self::WriteGroup => "change groups here",
            Self::WriteMember => "change members here",
            Self::ReadKey => "see keys here",
            Self::WriteKey => "change keys here",
            Self::WriteAdminKey => "change admin keys",
            Self::WriteProvider => "change providers and routes",
            Self::WritePolicy => "change routing policies here",
            Self::ReadBudget => "see budgets here",
            Self::WriteBudget => "set budgets and limits here",
            Self::ReadUsage => "see what was spent here",
            Self::ReadAudit => "see who changed what",
            Self::WriteAlert => "change alerts here",
            Self::TopUp => "top up the wallet",
        }
    }
}

/// How far a role reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    No,
    /// The member's own: itself and its keys.
    Own,
    /// Its keys alone.
    OwnKeys,
    /// What lies under its scope, but the scope itself and the member: nobody sets its own limits.
    Below,
    /// Its scope and all under it.
    Inside,
}

/// One line a permission, one column a role, in the order of [`Role::ALL`].
#[rustfmt::skip]
const TABLE: [[Reach; 7]; 14] = {
    use Reach::{Below as B, Inside as I, No as N, Own as O, OwnKeys as K};
    //  owner admin billing group_admin auditor member service_account
    [
        [I, I, I, I, I, O, N], // Read
        [I, I, N, B, N, N, N], // WriteGroup
        [I, I, N, B, N, N, N], // WriteMember
        [I, I, N, I, I, O, N], // ReadKey
        [I, I, N, I, N, K, N], // WriteKey
        [I, I, N, N, N, N, N], // WriteAdminKey
        [I, I, N, N, N, N, N], // WriteProvider
        [I, I, N, B, N, K, N], // WritePolicy
        [I, I, I, I, I, O, O], // ReadBudget
        [I, I, N, B, N, N, N], // WriteBudget
        [I, I, I, I, I, O, O], // ReadUsage
        [I, I, N, I, I, N, N], // ReadAudit
        [I, I, I, I, N, N, N], // WriteAlert
        [I, N, I, N, N, N, N], // TopUp
    ]
};

/// How far a role reaches for a permission.
#[must_use]
pub fn reach(role: Role, permission: Permission) -> Reach {
    let row = TABLE.get(permission as usize);
    row.and_then(|row| row.get(role as usize)).copied().unwrap_or(Reach::No)
}

/// A member as the table sees it.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The member's id; empty where nobody in particular acts.
    pub member: String,
    pub roles: Vec<RoleGrant>,
}

impl Actor {
    /// Whether a permission opens an object, by its path: the object itself first, the organisation last. A new object stands under
    /// the path it is made in.
    #[must_use]
    pub fn may(&self, permission: Permission, path: &[Scope], new: bool) -> bool {
        let own =
            |from: usize| path.iter().skip(from).any(|one| matches!(one, Scope::Member(id) if *id == self.member));
        self.roles.iter().any(|grant| match reach(grant.role, permission) {
            Reach::No => false,
            Reach::Own => own(0),
            Reach::OwnKeys => own(usize::from(!new)),
            // Nobody sets its own limits, wherever it sits.
            Reach::Below if own(0) => false,
            Reach::Below if !new => path.iter().skip(1).any(|above| *above == grant.scope()),
            Reach::Below | Reach::Inside => path.contains(&grant.scope()),
        })
    }

    /// Whether it is an owner.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.roles.iter().any(|grant| grant.role == Role::Owner)
    }

    /// Whether it may grant a role at a scope: none that opens more than its own roles do there.
    #[must_use]
    pub fn may_grant(&self, grant: &RoleGrant, path: &[Scope]) -> bool {
        let covers = |permission: &Permission| {
            let wanted = reach(grant.role, *permission);
            matches!(wanted, Reach::No | Reach::Own | Reach::OwnKeys) || self.reaches_as_far(*permission, wanted, path)
        };
        let writes = self.may(Permission::WriteMember, path, true);
        // Money that comes in does no harm: who may not pay itself still says who may.
        let asked = Permission::ALL.iter().filter(|permission| **permission != Permission::TopUp);
        (grant.role != Role::Owner || self.is_owner()) && writes && asked.into_iter().all(covers)
    }

    fn reaches_as_far(&self, permission: Permission, wanted: Reach, path: &[Scope]) -> bool {
        self.roles.iter().any(|held| {
            let as_far = match reach(held.role, permission) {
                Reach::Inside => true,
                Reach::Below => wanted == Reach::Below || path.first() != Some(&held.scope()),
                Reach::Own | Reach::OwnKeys | Reach::No => false,
            };
            as_far && path.contains(&held.scope())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: &str) -> Scope {
        Scope::Group(id.into())
    }

    /// organisation > research > labs; ada in labs with a key, bob in sales.
    fn path(of: &str) -> Vec<Scope> {
        let organization = Scope::Organization;
        match of {
            "organization" => vec![organization],
            "research" => vec![group("research"), organization],
            "labs" => vec![group("labs"), group("research"), organization],
            "sales" => vec![group("sales"), organization],
            "ada" => [vec![Scope::Member("ada".into())], path("labs")].concat(),
            "bob" => [vec![Scope::Member("bob".into())], path("sales")].concat(),
            "ada's key" => [vec![Scope::ApiKey("k".into())], path("ada")].concat(),
            "bob's key" => [vec![Scope::ApiKey("l".into())], path("bob")].concat(),
            other => panic!("{other}"),
        }
    }

    fn grant(role: Role, scope: &Scope) -> RoleGrant {
        RoleGrant { role, scope: scope.id().unwrap_or(ORGANIZATION).to_owned() }
    }

    fn actor(member: &str, role: Role, scope: Scope) -> Actor {
        Actor { member: member.into(), roles: vec![grant(role, &scope)] }
    }

    const OBJECTS: [&str; 8] = ["organization", "research", "labs", "sales", "ada", "bob", "ada's key", "bob's key"];

    /// Every cell, written out once more: what each role may touch of a whole organisation, by permission.
    #[test]
    fn every_cell_of_the_table_is_as_it_was_meant() {
        let all = &OBJECTS[..];
        let (none, own): (&[&str], &[&str]) = (&[], &["ada", "ada's key"]);
        let (inside, below): (&[&str], &[&str]) =
            (&["research", "labs", "ada", "ada's key"], &["labs", "ada", "ada's key"]);
        // Told apart here once more: the table is held against it.
        let reads = |permission| {
            use Permission::{Read, ReadAudit, ReadBudget, ReadKey, ReadUsage};
            [Read, ReadBudget, ReadUsage, ReadKey, ReadAudit].contains(&permission)
        };
        let meant = |role: Role, permission: Permission| match (role, permission) {
            (Role::Billing, Permission::ReadKey | Permission::ReadAudit)
            | (Role::ServiceAccount, Permission::Read | Permission::ReadKey)
            | (Role::Member | Role::ServiceAccount, Permission::ReadAudit)
            | (Role::GroupAdmin, Permission::WriteAdminKey | Permission::WriteProvider)
            | (Role::Admin | Role::GroupAdmin, Permission::TopUp) => none,
            (Role::GroupAdmin, Permission::WriteKey | Permission::WriteAlert) => inside,
            (Role::Member, Permission::WriteKey | Permission::WritePolicy) => &["ada's key"],
            (Role::GroupAdmin, permission) => {
                if reads(permission) {
                    inside
                } else {
                    below
                }
            }
            (Role::Owner | Role::Admin, _) | (Role::Billing, Permission::WriteAlert | Permission::TopUp) => all,
            (Role::Billing | Role::Auditor, permission) => {
                if reads(permission) {
                    all
                } else {
                    none
                }
            }
            (Role::Member | Role::ServiceAccount, permission) => {
                if reads(permission) {
                    own
                } else {
                    none
                }
            }
        };
        for role in Role::ALL {
            let scope = if role == Role::GroupAdmin { group("research") } else { Scope::Organization };
            // Who leads a group sits in it, and is not one of those it leads.
            let actor = actor(if role == Role::GroupAdmin { "eve" } else { "ada" }, role, scope);
            for permission in Permission::ALL {
                let may: Vec<&str> =
                    OBJECTS.into_iter().filter(|object| actor.may(permission, &path(object), false)).collect();
                assert_eq!(may, meant(role, permission), "{role:?} {permission:?}");
            }
        }
    }

    #[test]
    fn what_is_new_stands_under_where_it_is_made() {
        let admin = actor("eve", Role::GroupAdmin, group("research"));
        for (place, may) in [("research", true), ("labs", true), ("sales", false), ("organization", false)] {
            assert_eq!(admin.may(Permission::WriteGroup, &path(place), true), may, "{place}");
            assert_eq!(admin.may(Permission::WriteMember, &path(place), true), may, "{place}");
        }
        assert!(!admin.may(Permission::WriteGroup, &path("research"), false), "nobody changes its own scope");
    }

    #[test]
    fn nobody_grants_more_than_it_has() {
        let of = |scope: &Scope| match scope {
            Scope::Group(id) => path(id),
            _ => path("organization"),
        };
        let may = |actor: &Actor, role: Role, scope: Scope| actor.may_grant(&grant(role, &scope), &of(&scope));
        let owner = actor("o", Role::Owner, Scope::Organization);
        assert!(Role::ALL.into_iter().all(|role| may(&owner, role, Scope::Organization)));
        let admin = actor("a", Role::Admin, Scope::Organization);
        assert!(!may(&admin, Role::Owner, Scope::Organization) && may(&admin, Role::Admin, Scope::Organization));
        assert!(may(&admin, Role::GroupAdmin, group("sales")) && may(&admin, Role::Billing, Scope::Organization));
        let lead = actor("l", Role::GroupAdmin, group("research"));
        for (role, scope, can) in [
            (Role::GroupAdmin, group("labs"), true),
            (Role::GroupAdmin, group("research"), true),
            (Role::Auditor, group("labs"), true),
            (Role::Member, group("labs"), true),
            (Role::GroupAdmin, group("sales"), false),
            (Role::Auditor, Scope::Organization, false),
            (Role::Admin, group("labs"), false),
            (Role::Owner, group("labs"), false),
        ] {
            assert_eq!(may(&lead, role, scope.clone()), can, "{role:?} {scope:?}");
        }
        for role in [Role::Billing, Role::Auditor, Role::Member, Role::ServiceAccount] {
            let other = actor("x", role, Scope::Organization);
            assert!(!may(&other, Role::GroupAdmin, group("labs")) && !may(&other, Role::Admin, Scope::Organization));
        }
    }
}
