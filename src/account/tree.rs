//! The tree of an organisation: groups, members, and the path a key stands under.
use super::{
    Account, StoredRates, Turn, Write,
    act::{ROWS_MAX, missing, page, told, too_many},
    ask::{GroupAsk, MemberAsk},
    letter::{Conflict, KeySpec, Refusal},
    record,
    told::{group_told, member_told, rates_told},
};
use crate::{
    access::{
        GROUP_DEPTH_MAX, Group, KeyKind, Member, MemberKind,
        role::{Actor, Grants, Permission, Role, RoleGrant},
    },
    budget::{Place, RateLimits},
    id::Scope,
    time::Millis,
};

impl Account {
    /// The scopes a key stands under, narrowest first.
    pub(super) fn path(&self, key_id: &str, spec: &KeySpec) -> Vec<Scope> {
        let mut path = vec![Scope::ApiKey(key_id.to_owned())];
        if let Some(id) = &spec.owner_member_id {
            path.push(Scope::Member(id.clone()));
            let group = self.members.get(id).and_then(|member| member.group_id.as_deref());
            path.extend(self.ancestors(group).into_iter().map(Scope::Group));
        }
        path.push(Scope::Organization);
        path
    }

    /// Where and when money is asked for, in the organisation's zone.
    pub(super) fn place<'a>(&'a self, path: &'a [Scope], session: &'a str, at: Millis) -> Place<'a> {
        Place { path, session, at, zone: &self.organization.zone }
    }

    /// A group and the groups above it, deepest first.
    pub(super) fn ancestors(&self, group: Option<&str>) -> Vec<String> {
        let mut found = Vec::new();
        let mut next = group;
        while let Some((id, group)) = next.and_then(|id| Some((id, self.groups.get(id)?))) {
            found.push(id.to_owned());
            next = group.parent_id.as_deref().filter(|_| found.len() < GROUP_DEPTH_MAX);
        }
        found
    }

    /// What admins call a scope.
    pub(super) fn name_of(&self, scope: &Scope) -> String {
        let name = match scope {
            Scope::Organization => Some(&self.organization.name),
            Scope::Group(id) => self.groups.get(id).map(|group| &group.name),
            Scope::Member(id) => self.members.get(id).map(|member| &member.name),
            Scope::ApiKey(id) => self.keys.get(id).map(|key| &key.spec.name),
        };
        name.cloned().unwrap_or_default()
    }

    /// The rate limits of a scope, where it has any.
    pub(super) fn rates_of(&self, scope: &Scope, spec: &KeySpec) -> Option<RateLimits> {
        let limits = match scope {
            Scope::ApiKey(_) => RateLimits { rpm: spec.rpm, tpm: spec.tpm, concurrency: spec.concurrency },
            _ => self.rate_limits.get(scope).copied()?,
        };
        (limits != RateLimits::default()).then_some(limits)
    }

    /// The answer where there is no such scope.
    pub(super) fn absent(&self, scope: &Scope) -> Option<Turn> {
        let there = match scope {
            Scope::Organization => true,
            Scope::Group(id) => self.groups.contains_key(id),
            Scope::Member(id) => self.members.contains_key(id),
            Scope::ApiKey(id) => self.keys.contains_key(id),
        };
        (!there).then(|| missing(scope.word()))
    }

    /// The answer where there is no such scope, or none that the actor may see.
    fn unseen(&self, actor: &Actor, scope: &Scope) -> Option<Turn> {
        let seen = *scope == Scope::Organization || actor.may(Permission::Read, &self.path_of(scope), false);
        self.absent(scope).or_else(|| (!seen).then(|| missing(scope.word())))
    }

    pub(super) fn put_rates(&mut self, scope: &Scope, limits: RateLimits) -> Turn {
        if let Some(turn) = self.absent(scope) {
            return turn;
        }
        let write = if let Scope::ApiKey(id) = scope {
            let Some(key) = self.keys.get_mut(id) else { return missing(scope.word()) };
            (key.spec.rpm, key.spec.tpm, key.spec.concurrency) = (limits.rpm, limits.tpm, limits.concurrency);
            record("key", id, Some(&*key))
        } else {
            self.rate_limits.insert(scope.clone(), limits);
            let stored = StoredRates { scope: scope.clone(), limits };
            record("rates", &String::from(scope.clone()), Some(&stored))
        };
        told(200, rates_told(scope, limits)).with(vec![write])
    }

    pub(super) fn get_rates(&self, scope: &Scope) -> Turn {
        if let Some(turn) = self.absent(scope) {
            return turn;
        }
        let spec = match scope {
            Scope::ApiKey(id) => self.keys.get(id).map(|key| key.spec.clone()),
            _ => None,
        };
        told(200, rates_told(scope, self.rates_of(scope, &spec.unwrap_or_default()).unwrap_or_default()))
    }

    pub(super) fn put_group(&mut self, actor: &Actor, id: &str, ask: GroupAsk, new: bool, now: Millis) -> Turn {
        if new
            && let Err(turn) = self.gate_new(actor, Permission::WriteGroup, &self.group_path(ask.parent_id.as_deref()))
        {
            return turn;
        }
        let old = self.groups.get(id);
        if !new && old.is_none() {
            return missing("group");
        }
        if new && self.groups.len() >= ROWS_MAX {
            return too_many("groups");
        }
        if let Some(parent) = &ask.parent_id {
            match self.groups.get(parent) {
                None => return missing("group"),
                Some(group) if group.archived => return conflict(Conflict::GroupArchived),
                Some(_) if self.ancestors(Some(parent)).len() >= GROUP_DEPTH_MAX => {
                    return conflict(Conflict::GroupDepth);
                }
                Some(_) => {}
            }
        }
        let mut group = old.cloned().unwrap_or(Group { created_at: now, ..Group::default() });
        group.name = ask.name.unwrap_or(group.name);
        group.parent_id = ask.parent_id.or(group.parent_id);
        let stays = !ask.gone.iter().any(|name| name == "cost_center");
        group.cost_center = ask.cost_center.or(group.cost_center.filter(|_| stays));
        self.keep_group(id, group, if new { 201 } else { 200 })
    }

    fn keep_group(&mut self, id: &str, group: Group, status: u16) -> Turn {
        let write = record("group", id, Some(&group));
        self.groups.insert(id.to_owned(), group);
        self.restated(status, told(status, self.group_told(id)).with(vec![write]))
    }

    pub(super) fn group_told(&self, id: &str) -> serde_json::Value {
        let path = self.ancestors(Some(id));
        self.groups.get(id).map_or_default(|group| group_told(id, group, &path))
    }

    pub(super) fn archive_group(&mut self, id: &str) -> Turn {
        let Some(group) = self.groups.get(id) else { return missing("group") };
        let here = Some(id);
        let occupied = self.groups.values().any(|group| !group.archived && group.parent_id.as_deref() == here)
            || self.members.values().any(|member| !member.disabled && member.group_id.as_deref() == here);
        if occupied {
            return conflict(Conflict::GroupNotEmpty);
        }
        let group = Group { archived: true, ..group.clone() };
        self.keep_group(id, group, 200)
    }

    /// Moves a group with all that is in it. What was booked stays booked on the old path; budgets of the new one count from the next call.
    pub(super) fn move_group(&mut self, actor: &Actor, id: &str, parent: Option<String>) -> Turn {
        if let Err(turn) = self.gate_new(actor, Permission::WriteGroup, &self.group_path(parent.as_deref())) {
            return turn;
        }
        let above = self.ancestors(parent.as_deref());
        let Some(group) = self.groups.get(id) else { return missing("group") };
        match parent.as_ref().map(|parent| self.groups.get(parent)) {
            Some(None) => return missing("group"),
            Some(Some(parent)) if parent.archived => return conflict(Conflict::GroupArchived),
            _ if above.iter().any(|one| one == id) => return conflict(Conflict::GroupCycle),
            _ if above.len() + self.height(id) > GROUP_DEPTH_MAX => return conflict(Conflict::GroupDepth),
            _ => {}
        }
        let group = Group { parent_id: parent, ..group.clone() };
        self.keep_group(id, group, 200)
    }

    /// How many levels a group and those in it take.
    fn height(&self, id: &str) -> usize {
        let depth = |other: &str| self.ancestors(Some(other)).iter().position(|above| above == id);
        self.groups.iter().filter_map(|(other, _)| depth(other)).max().unwrap_or_default() + 1
    }

    pub(super) fn list_groups(&self, actor: &Actor) -> Turn {
        let shown = self.groups.iter().filter(|(id, _)| actor.may(Permission::Read, &self.group_path(Some(id)), false));
        page(shown.map(|(id, _)| self.group_told(id)))
    }

    pub(super) fn list_members(&self, actor: &Actor, services: bool) -> Turn {
        let path = |id: &str| self.path_of(&Scope::Member(id.to_owned()));
        let shown = self.members.iter().filter(|(id, _)| actor.may(Permission::Read, &path(id), false));
        let shown = shown.filter(|(_, member)| !services || member.kind == MemberKind::ServiceAccount);
        page(shown.map(|(id, member)| member_told(id, member)))
    }

    pub(super) fn put_member(&mut self, actor: &Actor, id: &str, ask: MemberAsk, new: bool, now: Millis) -> Turn {
        let old = self.members.get(id).cloned();
        let member = match self.drafted(actor, old.as_ref(), ask) {
            Ok(member) => member,
            Err(turn) => return turn,
        };
        let Some(before) = old else {
            return if new { self.keep_new_member(id, member, now) } else { missing("member") };
        };
        if before.owner && !member.owner && !before.disabled && self.is_last_owner(id, now) {
            return conflict(Conflict::LastOwner);
        }
        // Who made its admin keys could give what it was, not what it becomes.
        let rises = member.all_roles().iter().any(|grant| !before.all_roles().contains(grant));
        let revoked = if rises && actor.member != id { self.revoke_admin_keys(id) } else { Vec::new() };
        let mut turn = self.keep_member(id, member, 200);
        turn.writes.extend(revoked);
        turn
    }

    /// Whether there is room for one more member, in its group.
    pub(super) fn admits(&self, member: &Member) -> Option<Turn> {
        if self.members.len() >= 10 * ROWS_MAX {
            return Some(too_many("members"));
        }
        match member.group_id.as_ref().map(|id| self.groups.get(id)) {
            Some(None) => Some(missing("group")),
            Some(Some(group)) if group.archived => Some(conflict(Conflict::GroupArchived)),
            _ => None,
        }
    }

    /// A member as it would be with what is asked, where the actor may make it so.
    pub(super) fn drafted(&self, actor: &Actor, old: Option<&Member>, ask: MemberAsk) -> Result<Member, Turn> {
        let into = ask.group_id.as_deref();
        let stays = |name: &str| !ask.gone.iter().any(|gone| gone == name);
        let moves = old.is_none() || into.is_some() || !stays("group_id");
        if moves {
            self.gate_new(actor, Permission::WriteMember, &self.group_path(into))?;
        }
        let mut member = old.cloned().unwrap_or_default();
        member.name = ask.name.unwrap_or(member.name);
        member.kind = ask.kind.unwrap_or(member.kind);
        member.email = ask.email.or(member.email.filter(|_| stays("email")));
        member.group_id = ask.group_id.or(member.group_id.filter(|_| stays("group_id")));
        member.wallet = ask.wallet.or(member.wallet.filter(|_| stays("wallet")));
        let taken = |(_, other): (&String, &Member)| other.wallet == member.wallet && Some(other) != old;
        if member.wallet.is_some() && self.members.iter().any(taken) {
            let message = "Another member has this wallet.".to_owned();
            return Err(Turn::refused(Refusal::Invalid { param: "wallet".into(), message }));
        }
        let before = member.clone();
        if let Some(roles) = ask.roles {
            if let Some(turn) = roles.iter().find_map(|grant| self.unseen(actor, &grant.scope())) {
                return Err(turn);
            }
            member.owner = roles.iter().any(|grant| grant.role == Role::Owner);
            let mut granted: Vec<RoleGrant> = Vec::new();
            for grant in roles {
                if grant.role != Role::Owner && !granted.contains(&grant) {
                    granted.push(grant);
                }
            }
            member.roles = Grants(granted);
        }
        // Neither who has more than the actor is changed, nor is anybody given more.
        self.gate_roles(actor, &before)?;
        self.gate_roles(actor, &member)?;
        self.admits(&member).filter(|_| moves).map_or(Ok(member), Err)
    }

    /// A new member, with the limits that new ones get there.
    pub(super) fn keep_new_member(&mut self, id: &str, member: Member, now: Millis) -> Turn {
        let defaults = self.defaults_for(member.group_id.as_deref());
        let mut turn = self.keep_member(id, Member { created_at: now, ..member }, 201);
        if let Some(defaults) = defaults {
            let writes = self.give_defaults(&Scope::Member(id.to_owned()), defaults, now);
            turn.writes.extend(writes);
        }
        turn
    }

    fn revoke_admin_keys(&mut self, member: &str) -> Vec<Write> {
        let mut writes = Vec::new();
        for (id, key) in self.keys.iter_mut() {
            let its = key.spec.owner_member_id.as_deref() == Some(member);
            if its && key.kind == KeyKind::Admin && !key.revoked {
                key.revoked = true;
                writes.push(record("key", id, Some(&*key)));
            }
        }
        writes
    }

    /// Whether nobody else could make owners: no other is one, or none of the others has a key.
    fn is_last_owner(&self, id: &str, now: Millis) -> bool {
        self.owners() == 1 || self.owner_keys(Some(id), now) == 0
    }

    fn owners(&self) -> usize {
        self.members.values().filter(|member| member.owner && !member.disabled).count()
    }

    fn keep_member(&mut self, id: &str, member: Member, status: u16) -> Turn {
        let write = record("member", id, Some(&member));
        let body = member_told(id, &member);
        self.members.insert(id.to_owned(), member);
        self.restated(status, told(status, body).with(vec![write]))
    }

    pub(super) fn disable_member(&mut self, actor: &Actor, id: &str, now: Millis) -> Turn {
        let Some(member) = self.members.get(id) else { return missing("member") };
        if let Err(turn) = self.gate_roles(actor, member) {
            return turn;
        }
        if member.owner && !member.disabled && self.is_last_owner(id, now) {
            return conflict(Conflict::LastOwner);
        }
        let member = Member { disabled: true, ..member.clone() };
        self.keep_member(id, member, 200)
    }

    /// The owner a new key gets when none is named: the organisation's first.
    pub(super) fn first_owner(&self) -> Option<String> {
        self.members.iter().find(|(_, member)| member.owner && !member.disabled).map(|(id, _)| id.clone())
    }
}

fn conflict(conflict: Conflict) -> Turn {
    Turn::refused(Refusal::Conflict(conflict))
}
