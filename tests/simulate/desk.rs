//! What admins and the operator do: first an organisation with its tree, keys, budgets and credit, then changes at any time.
use crate::{
    books::Books,
    chance::Chance,
    client::amount,
    letters::{Deed, KEYS, OWNER, key},
};
use megarouter::{
    account::letter::KeySpec,
    budget::RateLimits,
    id::{Scope, mint},
    money::Nanos,
    time::{Millis, Window, Zone},
};

/// How deep groups lie at most.
const DEPTH: usize = 4;

/// Everything an organisation begins with.
pub fn founding(chance: &mut Chance, zone: Zone) -> Vec<Deed> {
    let credit = Nanos(amount(chance) * *chance.of(&[2, 10, 60, 600]));
    let owned = !chance.one_in(5);
    let mut deeds = vec![Deed::Found { credit, zone, owned }];
    let depth = if owned { chance.place(DEPTH + 1) } else { 0 };
    for level in 1..=depth {
        let parent = (level > 1).then(|| group(level - 1));
        deeds.push(Deed::MakeGroup { id: group(level), parent });
    }
    let members = if owned { chance.place(3) } else { 0 };
    for number in 1..=members {
        let lies = chance.place(depth + 1);
        deeds.push(Deed::MakeMember { id: member(number), group: (lies > 0).then(|| group(lies)) });
    }
    for place in 0..KEYS {
        let owner = chance.place(members + 1);
        let owner_member_id = (owner > 0).then(|| member(owner));
        deeds.push(Deed::PutKey { place, spec: KeySpec { owner_member_id, ..spec(chance) } });
    }
    // Some organisations limit rates, and then on many layers.
    if chance.one_in(3) {
        let mut scopes = vec![Scope::Organization];
        scopes.extend((1..=depth).map(|level| Scope::Group(group(level))));
        scopes.extend((1..=members).map(|number| Scope::Member(member(number))));
        scopes.extend((0..KEYS).map(|place| Scope::ApiKey(key(place).id.clone())));
        for scope in scopes {
            if chance.one_in(2) {
                deeds.push(Deed::PutRates { scope, limits: rates(chance) });
            }
        }
    }
    deeds
}

fn group(level: usize) -> String {
    format!("grp_{level}")
}

fn member(number: usize) -> String {
    format!("mem_{number}")
}

fn spec(chance: &mut Chance) -> KeySpec {
    let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let RateLimits { rpm, tpm, concurrency } = if chance.one_in(2) { rates(chance) } else { RateLimits::default() };
    KeySpec {
        name: "k".to_owned(),
        model_allowlist: if chance.one_in(10) { list(&["beta/m", "gamma/m"]) } else { None },
        provider_allowlist: if chance.one_in(10) { list(&["alpha", "beta"]) } else { None },
        rpm,
        tpm,
        concurrency,
        ..KeySpec::default()
    }
}

fn rates(chance: &mut Chance) -> RateLimits {
    RateLimits {
        rpm: chance.one_in(2).then(|| chance.between(1, 9)),
        tpm: chance.one_in(2).then(|| chance.span(&[400, 1_000, 40_000])),
        concurrency: chance.one_in(2).then(|| chance.between(1, 4)),
    }
}

fn any_scope(chance: &mut Chance, books: &Books) -> Scope {
    let groups: Vec<&String> = books.groups.keys().collect();
    let members: Vec<&String> = books.members.keys().collect();
    match chance.below(4) {
        0 if !groups.is_empty() => Scope::Group((*chance.of(&groups)).clone()),
        1 if !members.is_empty() => Scope::Member((*chance.of(&members)).clone()),
        2 => Scope::ApiKey(key(chance.place(KEYS)).id.clone()),
        _ => Scope::Organization,
    }
}

pub fn any_budget(chance: &mut Chance, books: &Books) -> Deed {
    let (scope, window) = (any_scope(chance, books), *chance.of(&Window::ALL));
    budget(chance, scope, window)
}

/// A budget of any size.
pub fn budget(chance: &mut Chance, scope: Scope, window: Window) -> Deed {
    let limit = Nanos(amount(chance) * *chance.of(&[0, 2, 6, 20, 60, 200]));
    Deed::PutBudget { scope, window, limit, soft: chance.one_in(6) }
}

/// Any change there is.
pub fn any_deed(chance: &mut Chance, books: &Books, now: Millis, number: u32) -> Deed {
    let place = chance.place(KEYS);
    let owners: Vec<&String> = books.members.keys().collect();
    let groups: Vec<&String> = books.groups.keys().collect();
    let there: Vec<&(Scope, Window)> = books.budgets.keys().collect();
    match chance.below(22) {
        20 | 21 => policy(chance, books),
        0..4 => any_budget(chance, books),
        4 | 5 if !there.is_empty() => {
            let (scope, window) = (*chance.of(&there)).clone();
            Deed::DeleteBudget { scope, window }
        }
        6 | 7 if !there.is_empty() => {
            let (scope, window) = (*chance.of(&there)).clone();
            let until = now.after(chance.span(&[3_000, 600_000, 100_000_000]));
            Deed::PutOverride { scope, window, extra: Nanos(amount(chance) * 4), until }
        }
        8 if !there.is_empty() => {
            let (scope, window) = (*chance.of(&there)).clone();
            Deed::DeleteOverride { scope, window }
        }
        9 | 10 => Deed::PutRates { scope: any_scope(chance, books), limits: rates(chance) },
        11 if chance.one_in(3) => Deed::RevokeKey(place),
        12 => {
            let owner_member_id = (!owners.is_empty()).then(|| (*chance.of(&owners)).clone());
            Deed::PutKey { place, spec: KeySpec { owner_member_id, ..spec(chance) } }
        }
        13 => Deed::PutRoute,
        14 if !groups.is_empty() && owners.len() > 1 => {
            let (id, group) = ((*chance.of(&owners)).clone(), (*chance.of(&groups)).clone());
            Deed::MoveMember { id, group }
        }
        15 if chance.one_in(3) => {
            let others: Vec<&String> = owners.into_iter().filter(|id| *id != OWNER).collect();
            if others.is_empty() { Deed::PutRoute } else { Deed::DisableMember((*chance.of(&others)).clone()) }
        }
        16 => refund(chance, books, number),
        17 => Deed::Credit { id: mint("adj", now, u128::from(number)), amount: Nanos(-amount(chance)), adjusts: true },
        _ => {
            Deed::Credit { id: mint("crd", now, u128::from(number)), amount: Nanos(amount(chance) * 4), adjusts: false }
        }
    }
}

/// A routing policy somewhere, or the end of one.
fn policy(chance: &mut Chance, books: &Books) -> Deed {
    let there: Vec<&Scope> = books.denied.keys().collect();
    if !there.is_empty() && chance.one_in(2) {
        return Deed::SetPolicy { scope: (*chance.of(&there)).clone(), deny: None };
    }
    let deny = *chance.of(&["alpha/*", "beta/m", "gamma", "m", "*"]);
    Deed::SetPolicy { scope: any_scope(chance, books), deny: Some(deny.to_owned()) }
}

/// Some charge, or a part of it, given back.
fn refund(chance: &mut Chance, books: &Books, number: u32) -> Deed {
    let charged: Vec<_> = books.entries.iter().filter(|entry| entry.amount.0 < 0 && entry.call.is_some()).collect();
    if charged.is_empty() {
        return Deed::PutRoute;
    }
    let entry = *chance.of(&charged);
    let most = entry.amount.0.unsigned_abs();
    let amount = if chance.one_in(2) { most } else { chance.between(1, most) };
    let amount = Nanos(i64::try_from(amount).expect("small"));
    Deed::Refund { id: format!("ref_{number}"), of: entry.id.clone(), amount }
}
