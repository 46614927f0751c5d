//! What an admin key may do: what the roles of its owner open, asked about the object that was loaded.
use super::{
    Account, StoredKey, Turn,
    act::{self, missing},
    letter::{Caller, KeySpec, NewKey, Refusal},
};
use crate::{
    access::{
        KeyKind, Member, MemberKind,
        role::{Actor, Permission, Reach, Role, RoleGrant, reach},
    },
    endpoint::Admin,
    id::Scope,
    time::Millis,
};

/// Keys of one member, revoked ones too, where it or its group admin makes them: all of an organisation's are in memory.
const KEYS_MAX_MEMBER: usize = 100;

impl Member {
    /// All roles of a member: those it was granted, and what it is by its kind.
    #[must_use]
    pub fn all_roles(&self) -> Vec<RoleGrant> {
        let kind = match self.kind {
            MemberKind::User => Role::Member,
            MemberKind::ServiceAccount => Role::ServiceAccount,
        };
        let owner = self.owner.then(|| RoleGrant::of_all(Role::Owner));
        owner.into_iter().chain(self.roles.0.iter().cloned()).chain([RoleGrant::of_all(kind)]).collect()
    }
}

impl Account {
    /// Who acts with an admin key: its owner. A key of the time before keys had owners is the organisation's own.
    pub(super) fn actor(&self, caller: &Caller) -> Actor {
        if caller.kind == KeyKind::Invite {
            // Whoever holds an invite is nobody yet.
            return Actor { member: String::new(), roles: Vec::new() };
        }
        let owner = self.keys.get(&caller.key_id).and_then(|key| key.spec.owner_member_id.as_deref());
        self.actor_of(owner.unwrap_or_default())
    }

    /// What a member may do now, by its id; empty for the organisation itself.
    pub(super) fn actor_of(&self, member: &str) -> Actor {
        let roles = match self.members.get(member) {
            None if member.is_empty() => vec![RoleGrant::of_all(Role::Owner)],
            Some(found) if !found.disabled => found.all_roles(),
            None | Some(_) => Vec::new(),
        };
        Actor { member: member.to_owned(), roles }
    }

    /// The path of a scope: itself first, the organisation last.
    pub(super) fn path_of(&self, scope: &Scope) -> Vec<Scope> {
        match scope {
            Scope::Organization => vec![Scope::Organization],
            Scope::Group(id) => self.group_path(Some(id)),
            Scope::Member(id) => {
                let owned = KeySpec { owner_member_id: Some(id.clone()), ..KeySpec::default() };
                self.path("", &owned).split_off(1)
            }
            Scope::ApiKey(id) => match self.keys.get(id) {
                Some(key) => self.path(id, &key.spec),
                None => vec![scope.clone(), Scope::Organization],
            },
        }
    }

    /// The path that stands over what is made in a group, or in none.
    pub(super) fn group_path(&self, group: Option<&str>) -> Vec<Scope> {
        let groups = self.ancestors(group).into_iter().map(Scope::Group);
        groups.chain([Scope::Organization]).collect()
    }

    /// Refuses what the actor's roles do not open. What it may not even see is not there.
    pub(super) fn gate(&self, actor: &Actor, permission: Permission, scope: &Scope) -> Result<(), Turn> {
        let path = self.path_of(scope);
        if actor.may(permission, &path, false) {
            // Nor does anybody act on who has more.
            return if permission.reads() { Ok(()) } else { self.gate_member(actor, &path) };
        }
        let sees = [Permission::Read, Permission::ReadKey, Permission::ReadBudget];
        if *scope != Scope::Organization && !sees.into_iter().any(|reads| actor.may(reads, &path, false)) {
            return Err(missing(scope.word()));
        }
        Err(denied(actor, permission))
    }

    /// Refuses to act on what belongs to a member whose roles open more than the actor's.
    fn gate_member(&self, actor: &Actor, path: &[Scope]) -> Result<(), Turn> {
        let other = path.iter().find_map(|scope| match scope {
            Scope::Member(id) if *id != actor.member => self.members.get(id),
            _ => None,
        });
        other.map_or(Ok(()), |member| self.gate_roles(actor, member))
    }

    /// Refuses what the actor's roles do not open for something new under a path.
    pub(super) fn gate_new(&self, actor: &Actor, permission: Permission, path: &[Scope]) -> Result<(), Turn> {
        if actor.may(permission, path, true) { Ok(()) } else { Err(denied(actor, permission)) }
    }

    /// What an act needs that says all of it by its path. Acts on members and what is new look at their bodies as well.
    pub(super) fn gate_act(&self, actor: &Actor, act: &Admin) -> Result<(), Turn> {
        let key = |id: &String| Scope::ApiKey(id.clone());
        let (permission, scope) = match act {
            Admin::GetKey(id) => (Permission::ReadKey, key(id)),
            Admin::UpdateKey(id) | Admin::RotateKey(id) | Admin::RevokeKey(id) => {
                (self.gate_of_key(actor, id)?, key(id))
            }
            Admin::PutBudget(scope, _)
            | Admin::DeleteBudget(scope, _)
            | Admin::PutOverride(scope, _)
            | Admin::DeleteOverride(scope, _)
            | Admin::PutRates(scope)
            | Admin::Defaults("PUT" | "DELETE", scope) => (Permission::WriteBudget, scope.clone()),
            Admin::GetBudget(scope, _)
            | Admin::ListBudgets(scope)
            | Admin::GetRates(scope)
            | Admin::Defaults(_, scope) => (Permission::ReadBudget, scope.clone()),
            Admin::GetInvite(id) | Admin::RevokeInvite(id) => return self.gate_invite(actor, id),
            Admin::UpdateOrganization => (Permission::WriteGroup, Scope::Organization),
            Admin::Policy("GET", scope) => (Permission::Read, scope.clone()),
            Admin::Policy(_, scope) => (Permission::WritePolicy, scope.clone()),
            Admin::UpdateGroup(id) | Admin::ArchiveGroup(id) | Admin::MoveGroup(id) => {
                (Permission::WriteGroup, Scope::Group(id.clone()))
            }
            Admin::GetGroup(id) => (Permission::Read, Scope::Group(id.clone())),
            Admin::UpdateMember(id) | Admin::DisableMember(id) => (Permission::WriteMember, Scope::Member(id.clone())),
            Admin::GetMember(id) => (Permission::Read, Scope::Member(id.clone())),
            Admin::GetWallet
            | Admin::GetLift
            | Admin::LedgerEntries
            | Admin::LedgerEntry(_)
            | Admin::Recompute(_)
            | Admin::Requests => (Permission::ReadUsage, Scope::Organization),
            Admin::GetWebhook(id)
            | Admin::UpdateWebhook(id)
            | Admin::DeleteWebhook(id)
            | Admin::TestWebhook(id)
            | Admin::RotateWebhook(id) => return self.gate_webhook(actor, id, matches!(act, Admin::GetWebhook(_))),
            Admin::UpdateWallet => (Permission::WriteAlert, Scope::Organization),
            Admin::TopUp => (Permission::TopUp, Scope::Organization),
            Admin::PutProvider(_) | Admin::DeleteProvider(_) | Admin::PutRoute(_) | Admin::DeleteRoute(_) => {
                (Permission::WriteProvider, Scope::Organization)
            }
            // Every member may see what it may call; lists show each what it may read.
            Admin::GetProvider(_)
            | Admin::ListProviders
            | Admin::GetRoute(_)
            | Admin::ListRoutes
            | Admin::Spend
            | Admin::AuditLogs
            | Admin::AuditCheckpoints
            | Admin::CreateWebhook
            | Admin::ListWebhooks
            | Admin::ListAlerts
            | Admin::ResendAlert(_)
            | Admin::ListKeys
            | Admin::ListGroups
            | Admin::ListMembers
            | Admin::GetOrganization
            | Admin::CreateInvite
            | Admin::ListInvites
            | Admin::AcceptInvite
            | Admin::CreateKey
            | Admin::CreateGroup
            | Admin::ListServiceAccounts
            | Admin::CreateServiceAccount
            | Admin::CreateMember => return Ok(()),
        };
        self.gate(actor, permission, &scope)
    }

    fn gate_invite(&self, actor: &Actor, id: &str) -> Result<(), Turn> {
        self.gate_new(actor, Permission::WriteMember, &self.invite_path(id))
    }

    /// What it takes to change a key. No invite is one.
    fn gate_of_key(&self, actor: &Actor, id: &str) -> Result<Permission, Turn> {
        match self.keys.get(id) {
            Some(key) if key.kind == KeyKind::Admin => {
                self.gate_owner(actor, key.spec.owner_member_id.as_ref())?;
                Ok(Permission::WriteAdminKey)
            }
            Some(key) if key.kind == KeyKind::Invite => Err(missing("key")),
            _ => Ok(Permission::WriteKey),
        }
    }

    /// Whether an actor may make a key: for whom, and with a key of this plane nobody gets more than its maker has.
    pub(super) fn gate_key(&self, actor: &Actor, key: &NewKey) -> Result<(), Turn> {
        let owner = key.spec.owner_member_id.clone();
        let path =
            owner.as_ref().map_or_else(|| vec![Scope::Organization], |id| self.path_of(&Scope::Member(id.clone())));
        if key.kind == KeyKind::Inference {
            self.gate_new(actor, Permission::WriteKey, &path)?;
            let of_its_own = self.keys.values().filter(|known| known.spec.owner_member_id == owner).count();
            let bounded = !actor.may(Permission::WriteKey, &[Scope::Organization], true);
            return if bounded && of_its_own >= KEYS_MAX_MEMBER {
                Err(act::too_many("keys of this member"))
            } else {
                self.gate_member(actor, &path)
            };
        }
        self.gate_new(actor, Permission::WriteAdminKey, &path)?;
        self.gate_owner(actor, owner.as_ref())
    }

    /// Whether an actor may make or revoke an admin key of this owner. Whose it is that has none opens everything.
    fn gate_owner(&self, actor: &Actor, owner: Option<&String>) -> Result<(), Turn> {
        match owner.and_then(|id| self.members.get(id)) {
            Some(member) => self.gate_roles(actor, member),
            None if actor.is_owner() => Ok(()),
            None => Err(denied(actor, Permission::WriteAdminKey)),
        }
    }

    /// How many admin keys open everything now, those of one member aside: one has to stay, or nobody could make another.
    pub(super) fn owner_keys(&self, but_of: Option<&str>, now: Millis) -> usize {
        let of_others = |key: &&StoredKey| {
            let owner = key.spec.owner_member_id.as_deref();
            owner.is_none() || owner != but_of
        };
        self.keys.values().filter(of_others).filter(|key| self.opens_all(key, now)).count()
    }

    /// Whether a key opens everything now: an owner's, or the organisation's own.
    pub(super) fn opens_all(&self, key: &StoredKey, now: Millis) -> bool {
        let owner = key.spec.owner_member_id.as_deref();
        let owns = owner.is_none_or(|id| self.members.get(id).is_some_and(|member| member.owner && !member.disabled));
        key.kind == KeyKind::Admin && !key.revoked && !key.disabled && !key.spec.has_expired(now) && owns
    }

    /// Whether a caller may read the whole ledger. An inference key is shown its own calls, whoever owns it.
    pub(super) fn may_read_books(&self, caller: &Caller) -> Result<(), Turn> {
        if caller.kind == KeyKind::Inference {
            return Ok(());
        }
        self.gate(&self.actor(caller), Permission::ReadUsage, &Scope::Organization)
    }

    /// The scopes a permission to read opens for an actor: the organisation is all of it. The journal is asked by them.
    pub(super) fn scopes_seen(actor: &Actor, permission: Permission) -> Vec<Scope> {
        let mut scopes: Vec<Scope> = Vec::new();
        for grant in &actor.roles {
            scopes.extend(match reach(grant.role, permission) {
                Reach::Inside => Some(grant.scope()),
                Reach::Own => Some(Scope::Member(actor.member.clone())),
                Reach::No | Reach::OwnKeys | Reach::Below => None,
            });
        }
        scopes
    }

    /// Whether an actor may change a member that has these roles, or give it these: none that open more than its own do there.
    pub(super) fn gate_roles(&self, actor: &Actor, member: &Member) -> Result<(), Turn> {
        let too_much = member.all_roles().into_iter().find(|grant| {
            let implied = matches!(grant.role, Role::Member | Role::ServiceAccount);
            !implied && !actor.may_grant(grant, &self.path_of(&grant.scope()))
        });
        too_much.map_or(Ok(()), |grant| {
            let message = format!(
                "Your roles ({}) do not reach as far as {} of the {}. Ask an owner.",
                told(actor),
                grant.role.word(),
                grant.scope().plain()
            );
            Err(Turn::refused(Refusal::Role { message }))
        })
    }
}

fn told(actor: &Actor) -> String {
    let words: Vec<&str> = actor.roles.iter().map(|grant| grant.role.word()).collect();
    words.join(", ")
}

pub(super) fn denied(actor: &Actor, permission: Permission) -> Turn {
    let open = |role: &&Role| reach(**role, permission) != Reach::No;
    let who: Vec<&str> = Role::ALL.iter().filter(open).map(|role| role.word()).collect();
    let message =
        format!("Your roles ({}) may not {}. It takes one of {}.", told(actor), permission.plain(), who.join(", "));
    Turn::refused(Refusal::Role { message })
}
