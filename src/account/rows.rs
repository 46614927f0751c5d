//! An account made again from its rows.
use super::{Account, Booking, Checkpoint, Queue, Row, StoredBudget, StoredRates, apply, deadline};
use crate::{
    budget::{Budget, Posted},
    json::{self, Rows},
    money::Nanos,
    time::Millis,
};

impl Account {
    /// The rows of a kind, where they are read one by one and nothing else is to be done.
    fn rows_of(&mut self, kind: &str) -> Option<&mut dyn Rows> {
        Some(match kind {
            "key" | "invite" => &mut self.keys,
            "refund" | "credit" => &mut self.given,
            "group" => &mut self.groups,
            "member" => &mut self.members,
            "webhook" => &mut self.webhooks,
            "alert" => &mut self.alerts,
            "fired" => &mut self.fired,
            "once" => &mut self.once,
            "payment" => &mut self.payments.claims,
            "channel" => &mut self.payments.channels,
            "provider" => &mut self.tenant.providers,
            "route" => &mut self.tenant.routes,
            _ => return None,
        })
    }

    pub(super) fn restore(&mut self, row: &Row, checkpoint: &mut Option<Checkpoint>) -> serde_json::Result<()> {
        if let Some(rows) = self.rows_of(&row.kind) {
            return json::read_row(rows, &row.id, &row.body);
        }
        match row.kind.as_str() {
            "organization" => self.organization = json::read(&row.body)?,
            "budget" => {
                let StoredBudget { scope, window, limit, extra } = json::read(&row.body)?;
                self.budgets.put(scope, window, Budget { limit, extra });
            }
            "counters" => {
                self.budgets.restore(&json::read::<Vec<Posted>>(&row.body)?);
                self.counter_rows += 1;
            }
            "session" => self.budgets.restore(&[json::read(&row.body)?]),
            "rates" => {
                let StoredRates { scope, limits } = json::read(&row.body)?;
                self.rate_limits.insert(scope, limits);
            }
            "routing_policy" => self.policies.insert(json::from_value(row.id.as_str().into())?, json::read(&row.body)?),
            "lesson" => self.lessons.restore(row)?,
            "member_defaults" => {
                self.defaults.insert(json::from_value(row.id.as_str().into())?, json::read(&row.body)?);
            }
            "used" => {
                let at = json::read(&row.body)?;
                self.used.insert(row.id.clone(), (at, at));
            }
            "wallet" => self.wallet_terms = json::read(&row.body)?,
            "auto_topup" => self.auto_topup = json::read(&row.body)?,
            "trail" => self.trail = json::read(&row.body)?,
            "audit" => self.audits.push(json::read(&row.body)?),
            "tenant" => self.tenant.version = json::read(&row.body)?,
            "checkpoint" => *checkpoint = Some(json::read(&row.body)?),
            // A newer version's row: it knows what to do with it, we leave it alone.
            _ => {}
        }
        self.tenant.organization.clone_from(&self.organization.id);
        Ok(())
    }

    pub(super) fn replay(&mut self, rows: Vec<Row>, journaled: u64) -> Result<(), String> {
        let mut entries = Queue::default();
        for Row { id, body, .. } in rows {
            if let Ok(at) = body.parse() {
                self.ended.insert(id, Millis(at));
                continue;
            }
            let booking: Booking = json::read(&body).map_err(|error| format!("booking {id}: {error}"))?;
            match &booking {
                Booking::Held(hold) | Booking::Suspense { hold, .. } => {
                    self.count_hold(hold);
                    if let Booking::Held(hold) = &booking {
                        self.count_open(&hold.scopes(), 1);
                    }
                    self.deadlines.insert((deadline(&booking), id.clone()));
                }
                Booking::Posted { entry, .. } if entry.seq > journaled => entries.insert((entry.seq, id.clone())),
                Booking::Posted { entry, .. } => {
                    self.ended.insert(id, entry.at);
                    continue;
                }
            }
            self.bookings.insert(id, booking);
        }
        for (seq, id) in entries.iter() {
            self.flush_at = Some(Millis(0));
            let Some(Booking::Posted { entry, counted }) = self.bookings.get(id) else { continue };
            if *seq > self.seq {
                apply(&mut self.wallet, &mut self.budgets, entry, counted, Nanos::ZERO);
                if let Some(call) = &entry.call {
                    self.arms.note(call, entry.at);
                }
                self.seq = *seq;
                self.head.clone_from(&entry.hash);
            }
        }
        self.outbox = entries;
        Ok(())
    }
}
