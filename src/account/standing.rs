//! The organisation itself: made, renamed, and by the operator suspended, resumed and closed.
use super::{
    Account, Turn,
    act::missing,
    ask as asks,
    letter::{Answer, Conflict, NewCredit, NewKey, Organization, Refusal, Standing},
    record,
};
use crate::{access::Member, fault::Fault, json::json, time::Millis};
use serde_json::Value;

impl Account {
    pub(super) fn found(
        &mut self,
        organization: Organization,
        mut admin: NewKey,
        credit: Option<NewCredit>,
        owner: Option<(String, Member)>,
        now: Millis,
    ) -> Turn {
        if self.organization.id == organization.id {
            return Turn::told(Answer::Posted);
        }
        self.organization = organization;
        self.tenant.organization.clone_from(&self.organization.id);
        let mut writes = vec![record("organization", "", Some(&self.organization))];
        if let Some((id, member)) = owner {
            writes.push(record("member", &id, Some(&member)));
            self.members.insert(id.clone(), member);
            admin.spec.owner_member_id = Some(id);
        }
        writes.push(self.keep_key(admin, now));
        writes.push(self.founded(now));
        if let Some(credit) = credit {
            writes.extend(self.credit(credit, now).into_inner().writes);
        }
        Turn::told(Answer::Posted).with(writes)
    }

    pub(super) fn organization_told(&self) -> Value {
        let Organization { id, name, timezone, created_at, payment_challenge, status, .. } = &self.organization;
        json!({
            "object": "organization",
            "id": id,
            "name": name,
            "timezone": timezone,
            "status": status,
            "payment_challenge": payment_challenge,
            "created_at": Millis(created_at * 1_000).rfc3339(),
        })
    }

    /// Whether the organisation may do anything but read.
    pub(super) fn stands(&self) -> Result<(), Refusal> {
        if self.is_active() { Ok(()) } else { Err(Refusal::Suspended) }
    }

    pub(super) fn is_active(&self) -> bool {
        self.organization.status == Standing::Active
    }

    /// The organisation as the operator sees it, and lets it stand from now on. Calls under way end as they would.
    pub(super) fn standing(&mut self, wanted: Option<Standing>, now: Millis) -> Turn {
        if self.organization.id.is_empty() {
            return missing("organization");
        }
        let before = self.organization.status;
        let wanted = wanted.unwrap_or(before);
        let mut writes = Vec::new();
        if wanted != before {
            if before == Standing::Closed {
                return Turn::refused(Refusal::Conflict(Conflict::Closed));
            }
            self.organization.status = wanted;
            writes.push(record("organization", "", Some(&self.organization)));
            writes.push(self.by_operator(
                "organization.updated",
                json!({"status": before}),
                json!({"status": wanted}),
                now,
            ));
        }
        Turn::told(Answer::Told { status: 200, body: self.organization_told() }).with(writes)
    }

    /// # Errors
    /// 400 for an empty or long name.
    pub(super) fn update_organization(&mut self, ask: asks::OrganizationAsk) -> Result<Turn, Fault> {
        let ask = ask.check()?;
        if let Some(name) = ask.name {
            self.organization.name = name;
        }
        let mut writes = Vec::new();
        if let Some(asked) = ask.payment_challenge.filter(|asked| *asked != self.organization.payment_challenge) {
            self.organization.payment_challenge = asked;
            writes.push(self.next_tenant());
        }
        writes.push(record("organization", "", Some(&self.organization)));
        let turn = Turn::told(Answer::Told { status: 200, body: self.organization_told() });
        Ok(self.restated(200, turn.with(writes)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        letter::{Letter, PostOutcome},
        tests::{ADMIN, KEY, Kept, caller, req, told_body},
    };
    use super::*;
    use crate::{access::KeyKind, money::Nanos};

    fn code(answer: &Answer) -> &'static str {
        match answer {
            Answer::Refused(refusal) => refusal.to_fault().code,
            _ => "ok",
        }
    }

    #[test]
    fn a_suspended_organisation_reads_and_ends_its_calls_and_nothing_else() {
        let mut kept = Kept::new("1");
        kept.hold(&req(1), 300);
        let told = kept.send(Letter::Standing(Some(Standing::Suspended)));
        assert_eq!(told_body(&told)["status"], "suspended");
        kept.account = kept.reloaded();
        assert_eq!(code(&kept.hold(&req(2), 300)), "org_suspended");
        let group = json!({"name": "Labs"});
        assert_eq!(code(&kept.admin("POST", "groups", &group)), "org_suspended");
        assert_eq!(told_body(&kept.admin("GET", "organization", &Value::Null))["status"], "suspended");
        assert_eq!(kept.post(&req(1), PostOutcome::Charge(Nanos(120))), Answer::Posted, "what was under way is booked");
        assert_eq!(kept.account.wallet.posted, Nanos(120));
        kept.send(Letter::Standing(Some(Standing::Active)));
        assert_eq!((code(&kept.hold(&req(3), 300)), code(&kept.admin("POST", "groups", &group))), ("ok", "ok"));
    }

    #[test]
    fn who_calls_is_told_the_price_where_the_organisation_wants_it_also_after_a_restart() {
        let mut kept = Kept::new("1");
        let whoami = |kept: &mut Kept| match kept.send(Letter::Whoami(caller(KEY, KeyKind::Inference))) {
            Answer::Whoami { tenant, .. } => (tenant.payment_challenge, tenant.version),
            other => panic!("{other:?}"),
        };
        let (wanted, version) = whoami(&mut kept);
        assert!(!wanted);
        let told = kept.admin("PATCH", "organization", &json!({"payment_challenge": true}));
        assert_eq!(told_body(&told)["payment_challenge"], true);
        kept.account = kept.reloaded();
        assert_eq!(whoami(&mut kept), (true, version + 1), "and isolates hear of it");
    }

    #[test]
    fn what_is_closed_stays_closed_and_every_step_is_in_the_trail() {
        let mut kept = Kept::new("1");
        for wanted in [Standing::Suspended, Standing::Suspended, Standing::Closed, Standing::Closed] {
            assert_eq!(code(&kept.send(Letter::Standing(Some(wanted)))), "ok");
        }
        for wanted in [Standing::Active, Standing::Suspended] {
            assert_eq!(code(&kept.send(Letter::Standing(Some(wanted)))), "organization_closed");
        }
        assert_eq!(told_body(&kept.send(Letter::Standing(None)))["status"], "closed");
        kept.now = kept.now.after(1_000);
        let notes: Vec<String> = kept.account.trail_due(kept.now).into_iter().filter_map(|entry| entry.note).collect();
        let steps: Vec<&String> = notes.iter().filter(|note| note.contains("organization.updated")).collect();
        assert_eq!(steps.len(), 2, "what changes nothing is no act");
        assert!(steps[1].contains(r#""before":{"status":"suspended"},"after":{"status":"closed"}"#), "{}", steps[1]);
    }

    #[test]
    fn who_listens_hears_of_what_the_operator_does() {
        let mut heard = Kept::new("1");
        let hook = json!({"url": "https://hooks.acme.test/in", "events": ["organization.updated"]});
        heard.ask(ADMIN, "POST", "webhook_endpoints", &hook, |ask| ask.fresh = "a".into());
        heard.send(Letter::Standing(Some(Standing::Suspended)));
        let told = heard.admin("GET", "alerts", &Value::Null);
        assert_eq!(told_body(&told)["data"][0]["type"], "organization.updated", "{told:?}");
    }

    #[test]
    fn nobody_is_suspended_who_is_not_there() {
        let mut kept = Kept::new("1");
        kept.account = Account::load(kept.account.terms, Vec::new(), Vec::new()).expect("empty");
        assert_eq!(code(&kept.send(Letter::Standing(Some(Standing::Suspended)))), "not_found");
    }
}
