//! The journal in D1: rows that are only added, one per account and sequence number.
use crate::books::{Books, must};
use megarouter::{
    catalog::{Catalog, When},
    ledger::{Entry, GENESIS},
    money::Nanos,
    price,
};

#[derive(Default)]
pub struct Journal {
    pub rows: Vec<Entry>,
}

impl Journal {
    /// Appends what is not there yet. An account that sends another entry under a number that is taken, or leaves a number
    /// out, has lost or doubled something.
    pub fn append(&mut self, entries: &[Entry], books: &Books) -> Result<(), String> {
        for entry in entries {
            let place = usize::try_from(entry.seq).expect("few entries");
            if let Some(row) = self.rows.get(place.wrapping_sub(1)) {
                must(row == entry, || format!("an entry is in the journal as another one: {entry:?}"))?;
                continue;
            }
            must(place == self.rows.len() + 1, || format!("an entry leaves a gap: {entry:?}"))?;
            let head = self.rows.last().map_or(GENESIS, |last| last.hash.as_str());
            must(entry.prev_hash == head, || format!("an entry is not chained to the one before: {entry:?}"))?;
            books.check_entry(entry)?;
            self.rows.push(entry.clone());
        }
        Ok(())
    }

    /// Everything that was booked, and nothing else; every charge follows from its entry.
    pub fn check_whole(&self, books: &Books, catalog: &Catalog) -> Result<(), String> {
        must(self.rows.len() == books.entries.len(), || {
            format!("{} entries are in the journal, {} were booked", self.rows.len(), books.entries.len())
        })?;
        let sum = |paid_in: bool| -> Nanos {
            let entries = self.rows.iter().filter(move |entry| entry.kind.pays_in() == paid_in);
            entries.map(|entry| entry.amount_usd).sum()
        };
        let (credits, posted, wallet) = (sum(true), Nanos(-sum(false).0), books.wallet());
        must((credits, posted) == (wallet.credits, wallet.posted), || {
            format!("the journal's sums {credits}, {posted} are not the wallet's: {wallet:?}")
        })?;
        self.rows.iter().try_for_each(|entry| recomputes(entry, books, catalog))
    }
}

fn recomputes(entry: &Entry, books: &Books, catalog: &Catalog) -> Result<(), String> {
    let Some(call) = &entry.call else { return Ok(()) };
    let charged = Nanos(-entry.amount_usd.0);
    let held = books.held_for(&entry.id, charged).ok_or("an entry without a hold")?;
    must(call.overrun == (charged > held), || format!("an overrun is marked: {entry:?}"))?;
    let name = format!("{}/{}", call.provider, call.model);
    let computed = match catalog.deployment(&name) {
        // A call that was none costs nothing, not even its fee.
        Some(_) if call.rates.is_none() => Nanos::ZERO,
        Some(row) => {
            let charge =
                price::charge(&row.rates, When { at: call.priced_at, tier: None }, &call.usage).ok_or("too much")?;
            // The fee of a call is owed once it is known that there was one.
            charge.minus(row.rates.request).plus(call.request_fee_usd)
        }
        // A hold that ran out: nothing is known of its call.
        None => Nanos::ZERO,
    };
    let computed = if call.estimated { computed.min(call.held_usd) } else { computed }.minus(call.absorbed_usd);
    // What is not known for sure stays within the hold.
    let within = !call.estimated || charged <= held;
    must(within, || format!("an estimate is within its hold of {held}: {entry:?}"))?;
    must(computed == charged, || format!("the charge follows from the catalog, {computed}: {entry:?}"))?;
    must(call.recomputed() == charged, || format!("the charge follows from its entry: {entry:?}"))
}
