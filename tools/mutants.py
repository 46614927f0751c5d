"""Breaks the account's transitions one by one, and demands that a test notices.

    tools/mutants.py [WORD...]    only mutants whose name holds one of the words
    SEEDS=3000                    seeds of the simulator per mutant
    KEEP=folder                   where the copy and its build stay for the next run

A mutant is one textual change of one file. The tree is copied, each change is made in the copy, and the simulator of
tests/simulate.rs runs against it; where that does not notice, the tests of the rooms do. One that nobody notices is a hole
in the tests; one whose text is not found any more is a mutant to be written anew. Both fail.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ACCOUNT, HOLD, ENDED = "src/account.rs", "src/account/hold.rs", "src/account/ended.rs"
TREE, BOOKS, ACT = "src/account/tree.rs", "src/account/books.rs", "src/account/act.rs"
BUDGET, LEDGER = "src/budget.rs", "src/ledger.rs"
CLOSE, ADMIT, COVER = "src/exchange/close.rs", "src/exchange/admit.rs", "src/exchange/cover.rs"
HEDGE = "src/exchange/hedge.rs"

# name, file, what stands there once, what stands there instead, what that breaks.
MUTANTS = [
    # A hold is made.
    ("wallet not held", ACCOUNT, "self.wallet.held = self.wallet.held.plus(amount);", "",
     "a hold does not count in the wallet"),
    ("budgets not held", ACCOUNT, "self.budgets.hold(counted, amount, at);", "let _ = (counted, at);",
     "a hold does not count in any budget"),
    ("one layer counted", HOLD, "let counted = self.budgets.counted(place);",
     "let counted: Vec<_> = self.budgets.counted(place).into_iter().take(1).collect();",
     "a hold is asked and counted for its narrowest layer only"),
    ("last layer not held", ACCOUNT, "self.budgets.hold(counted, amount, at);",
     "self.budgets.hold(&counted[..counted.len().min(1)], amount, at);", "a hold counts in one layer, not in all"),
    ("groups left out", TREE, "path.extend(self.ancestors(group).into_iter().map(Scope::Group));",
     "path.extend(self.ancestors(group).into_iter().take(1).map(Scope::Group));", "only the nearest group's budgets count"),
    ("member left out", TREE, "path.push(Scope::Member(id.clone()));", "", "a member's budgets do not count"),
    ("wallet not asked", HOLD, "let room = self.budgets.room(counted, place.at).min(self.wallet.available());",
     "let room = self.budgets.room(counted, place.at);", "the wallet is overspent"),
    ("room off by one", HOLD, "let room = self.budgets.room(counted, place.at).min(self.wallet.available());",
     "let room = self.budgets.room(counted, place.at).min(self.wallet.available()).minus(Nanos(1));",
     "the last nano-dollar cannot be spent"),
    ("cap off by one", BUDGET, "ceiling.minus(posted).minus(held)", "ceiling.minus(posted).minus(held).plus(Nanos(1))",
     "a budget is passed by a nano-dollar"),
    ("held not asked", BUDGET, "ceiling.minus(posted).minus(held)", "ceiling.minus(posted).minus(Nanos(held.0 * 0))",
     "calls in flight do not count against a cap"),
    ("soft and hard swapped", BUDGET, "(budget.limit.mode == Enforcement::Hard)", "(budget.limit.mode == Enforcement::Soft)",
     "a hard budget only warns"),
    ("override for ever", BUDGET, "self.extra.filter(|extra| at < extra.until)", "self.extra.filter(|_| at > Millis(0))",
     "an override does not end"),
    ("override ignored", BUDGET, "self.limit.limit_usd.plus(extra)", "self.limit.limit_usd.plus(Nanos(extra.0 * 0))",
     "an override adds nothing"),
    ("cheapest held", HOLD, "grant.amount = grant.amount.max(amount);", "grant.amount = amount;",
     "the hold is not the dearest bid that may answer"),
    ("hold not idempotent", HOLD, "            Some(Booking::Held(hold) | Booking::Suspense { hold, .. }) => {\n                return Turn",
     "            Some(Booking::Held(_) | Booking::Suspense { .. }) if !letter.dry => {}\n            Some(Booking::Held(hold) | Booking::Suspense { hold, .. }) => {\n                return Turn",
     "a repeated letter holds twice"),
    ("late letter granted", HOLD, "            Some(Booking::Posted { .. }) => return Turn::refused(Refusal::Closed),\n",
     "            Some(Booking::Posted { .. }) => {}\n", "a letter that comes after the posting holds again"),
    ("later letter granted", ENDED, "!self.has(id) && !is_late(id, now)", "!is_late(id, now)", "a letter that comes after the journal has the entry holds again"),
    ("old letter granted", ENDED, "!self.has(id) && !is_late(id, now)", "{\n            let _ = now;\n            !self.has(id)\n        }", "an id of long ago begins something"),
    ("another hold posted", HOLD, "if held_at.is_some_and(|held_at| held_at != hold.grant.at) =>", "if held_at == Some(Millis(1)) =>",
     "a posting of a hold that was forgotten charges another one"),
    ("forgotten at once", ENDED, "now.since(*at) >= KEPT_MS", "now.since(*at) >= 1", "what ended is forgotten at once"),
    ("entries forgotten with memory", ACCOUNT, "                    self.ended.insert(id, entry.at);\n", "                    drop(id);\n",
     "a restart forgets what the journal had"),
    ("journaled rows sent again", ACCOUNT, "Booking::Posted { entry, .. } if entry.seq > journaled =>",
     "Booking::Posted { entry, .. } if entry.seq > journaled.min(0) =>", "what the journal has is sent to it after a restart"),
    ("void leaves no mark", HOLD, "                self.end(id, now)\n",
     "                self.take(&id);\n                Write::Booking { id, body: None }\n",
     "a letter that comes after the void holds again"),
    ("early void leaves no mark", HOLD, "open.then(|| self.end(request_id, now)).into_iter().collect();", "None::<Write>.filter(|_| open).into_iter().collect();",
     "a hold that comes after its void is made"),
    ("journaled leaves no mark", ACCOUNT, "                self.ended.insert(id, entry.at);\n            }\n        }\n",
     "                let _ = entry;\n                writes.push(Write::Booking { id, body: None });\n            }\n        }\n",
     "a letter that comes after the journal has the entry holds again"),
    ("old bids granted", HOLD, "if letter.tenant_version != self.tenant.version {",
     "if letter.tenant_version > self.tenant.version {", "bids of old rows are granted"),
    ("revoked key granted", ACCOUNT, "if key.revoked {", "if key.revoked && key.digest.is_empty() {",
     "a revoked key spends on"),
    ("disabled member granted", ACCOUNT, "if owner.is_some_and(|owner| owner.disabled) {",
     "if owner.is_some_and(|owner| owner.disabled && owner.owner) {", "a disabled member's key spends on"),
    # Rates.
    ("calls at once off by one", HOLD, "|most| open >= most)", "|most| open > most)", "one call too many at once"),
    ("calls at once not given back", ACCOUNT, "self.count_open(&hold.scopes(), -1);", "",
     "a closed call counts as one in flight"),
    ("requests not refunded", HOLD, "                rates.requests.refund(1, rpm);\n            }\n            Refusal::Tpm",
     "                let _ = rpm;\n            }\n            Refusal::Tpm", "a call refused for its tokens takes a request"),
    ("layers not refunded", HOLD, "self.give_back(scope, *own, 1, tokens);", "let _ = (scope, own);",
     "a call refused by one layer takes from those before it"),
    ("tokens not refunded", HOLD, "rates.tokens.refund(tokens, tpm);", "let _ = (tpm, tokens);",
     "tokens that were not used are gone"),
    ("tokens refunded twice", HOLD, "if matches!(self.bookings.get(&request_id), Some(Booking::Held(_))) {",
     "if self.bookings.contains_key(&request_id) {", "a suspense that is resolved gives tokens back again"),
    ("rates forgotten", ACCOUNT, "                .take(COUNTERS_PER_ROW)\n                .collect(),", "                .take(0)\n                .collect(),",
     "a restart forgets the rates of the checkpoint"),
    # A hold grows.
    ("growth not counted", HOLD, "self.count_hold(&hold.counted, amount.minus(held), now);", "",
     "what a hold grows by does not count"),
    ("growth not asked", HOLD, "let amount = letter.to.min(held.plus(room.max(Nanos::ZERO)));",
     "let amount = letter.to.max(room.minus(room));", "a hold grows beyond what there is room for"),
    ("growth not idempotent", HOLD, "if amount <= held || amount < letter.least {", "if amount < letter.least {", "a repeated letter makes a hold smaller"),
    ("growth not kept", HOLD, "hold.grant.amount = amount;\n", "let _ = amount;\n", "what a hold grew by is never given back"),
    ("growth too small", HOLD, "if amount <= held || amount < letter.least {", "if amount <= held {",
     "a hold that cannot grow enough is said to have grown"),
    # A hold is closed.
    ("release keeps the budget", HOLD, "self.budgets.post(&hold.counted, hold.grant.amount, Nanos::ZERO, now);", "let _ = now;",
     "a hold that is given back stays in the budgets"),
    ("release keeps the wallet", HOLD, "self.wallet.held = self.wallet.held.minus(hold.grant.amount);", "",
     "a hold that is given back stays in the wallet"),
    ("void keeps all", HOLD, "self.release(&hold, now);", "", "a void releases nothing"),
    ("void releases twice", HOLD, "self.release(&hold, now);",
     "self.release(&hold, now);\n                self.release(&hold, now);",
     "a void releases twice what was held"),
    ("void keeps its row", ACCOUNT, "Write::Booking { id, body: Some(now.0.to_string()) }",
     "Write::Booking { id: format!(\"{id}?\"), body: None }", "a void leaves the hold's row, and a restart the hold"),
    ("posting keeps the hold", ACCOUNT, "budgets.post(counted, held, paid, entry.at);",
     "let _ = held;\n            budgets.post(counted, Nanos::ZERO, paid, entry.at);", "a posting does not release the budgets"),
    ("posting keeps the wallet's hold", ACCOUNT, "self.wallet.held = self.wallet.held.minus(held);", "",
     "a posting does not release the wallet"),
    ("posting not counted", ACCOUNT, "budgets.post(counted, held, paid, entry.at);",
     "budgets.post(counted, held, Nanos::ZERO, entry.at);", "what is posted does not count against budgets"),
    ("posting not paid", ACCOUNT, "wallet.posted = wallet.posted.plus(paid);", "",
     "what is posted does not leave the wallet"),
    ("posted to today", HOLD, "self.book(entry, hold.counted, hold.grant.amount, now)",
     "let path = hold.scopes();\n        let zone = self.organization.zone.clone();\n"
     "        let place = Place { path: &path, session: &hold.session, at: now, zone: &zone };\n"
     "        let counted = self.budgets.counted(place);\n        self.book(entry, counted, hold.grant.amount, now)",
     "a posting counts in today's window, not in its hold's"),
    ("posting not idempotent", HOLD, "            Some(Booking::Posted { .. }) => return Turn::told(Answer::Posted),\n",
     "            Some(Booking::Posted { counted, .. }) => (Hold { key_id: String::new(), path: Vec::new(), session: String::new(),\n"
     "                grant: Grant::default(), counted: counted.clone(), at: now, settle_by: now, tokens: 0 }, true, now),\n",
     "a repeated posting is posted twice"),
    ("overrun not marked", HOLD, "call.overrun = charge > hold.grant.amount;", "call.overrun = false;",
     "a charge above its hold is not marked"),
    ("suspense voided", HOLD, "PostOutcome::Suspense { metered } => self.put(id, Booking::Suspense { hold, metered, call, until }),",
     "PostOutcome::Suspense { metered: _ } => {\n                drop((call, until));\n"
     "                self.budgets.post(&hold.counted, hold.grant.amount, Nanos(0), now);\n"
     "                self.wallet.held = self.wallet.held.minus(hold.grant.amount);\n"
     "                self.end(id, now)\n            }",
     "an unknown outcome releases the hold"),
    ("suspense put again", HOLD, "if told && matches!(outcome, PostOutcome::Suspense { .. }) {",
     "if told && matches!(outcome, PostOutcome::Void) {", "a repeated suspense replaces the first, and its void is not heard"),
    ("suspense begins its day anew", HOLD, "(hold.clone(), !call.provider.is_empty(), *until)",
     "(hold.clone(), !call.provider.is_empty(), { let _ = until; now.after(SUSPENSE_MS) })",
     "what is said of a hold that ran out keeps it for another day"),
    ("late word not heard", HOLD, "(hold.clone(), !call.provider.is_empty(), *until)", "(hold.clone(), call.overrun || !call.task.is_empty() || *until > Millis(0), *until)",
     "what is said of a hold after it ran out is not heard"),
    ("others released", HOLD, "hold.grant.amount = hold.grant.amount.minus(other.amount);",
     "hold.grant.amount = hold.grant.amount.minus(other.amount);\n"
     "                self.budgets.post(&hold.counted, other.amount, Nanos(0), now);\n"
     "                self.wallet.held = self.wallet.held.minus(other.amount).plus(Nanos(0));",
     "what covers another attempt is no longer held"),
    ("others beyond the hold", HOLD, "other.amount = other.amount.min(hold.grant.amount.minus(used)).max(Nanos::ZERO);",
     "other.amount = other.amount.max(Nanos(used.0 * 0));", "other attempts are covered by more than the hold has left"),
    ("others not taken from the hold", HOLD, "hold.grant.amount = hold.grant.amount.minus(other.amount);", "",
     "what covers another attempt stays in the hold as well"),
    ("others held twice", HOLD, "hold.grant.amount = hold.grant.amount.minus(other.amount);",
     "hold.grant.amount = hold.grant.amount.minus(other.amount);\n"
     "                self.count_hold(&hold.counted, other.amount, now);", "what covers another attempt is held twice"),
    ("others booked as one", HOLD, 'self.close(format!("{request_id}#{number}"), hold, outcome, call, until, now)',
     'self.close(format!("{request_id}#{}", number.min(1)), hold, outcome, call, until, now)', "two other attempts have one id"),
    ("others repeated", HOLD, "        if !told {\n            let used", "        if !told || !others.is_empty() {\n            let used",
     "a resolved suspense books the other attempts again"),
    # Time passes.
    ("expiry voids", HOLD, "writes.push(self.put(id, Booking::Suspense { hold, metered, call, until }));",
     "drop((metered, call, until));\n"
     "                    self.budgets.post(&hold.counted, hold.grant.amount, Nanos(0), now);\n"
     "                    self.wallet.held = self.wallet.held.minus(hold.grant.amount).plus(Nanos(0));\n"
     "                    writes.push(self.end(id, now));", "a hold that nobody closed is released"),
    ("expiry not kept", HOLD, "writes.push(self.put(id, Booking::Suspense { hold, metered, call, until }));",
     "drop(self.put(id, Booking::Suspense { hold, metered, call, until }));", "a hold that ran out is not written"),
    ("suspense not re-armed", ACCOUNT, "if !matches!(booking, Booking::Posted { .. }) {",
     "if matches!(booking, Booking::Held(_)) {", "a suspense never ends"),
    ("deadlines do not wake", ACCOUNT, "[self.flush_at, deadline]", "[self.flush_at, deadline.filter(|_| false)]",
     "nothing rings when a hold runs out"),
    ("suspense posts the hold", HOLD, "self.post_usage(id, hold, metered, call, now)",
     "{ let all = hold.grant.amount; let _ = metered; self.post_usage(id, hold, all, call, now) }",
     "a suspense that ran out bills what was never proven"),
    ("windows never reset", BUDGET, "calendar => Some(calendar.id(self.at, self.zone)),", 'calendar => Some(calendar.word().to_owned()),',
     "yesterday's counter counts today"),
    ("windows of another zone", BUDGET, "calendar => Some(calendar.id(self.at, self.zone)),",
     "calendar => Some(calendar.id(self.at, &Zone::default())),", "a day begins when it begins in another zone"),
    ("sessions are one", BUDGET, "(!self.session.is_empty()).then(|| self.session.to_owned())",
     '(!self.session.is_empty()).then(|| "s".to_owned())', "all sessions share one budget"),
    ("sessions forgotten", BUDGET, "at.since(counter.at) < SESSION_IDLE_MS", "at.since(counter.at) < 1_000",
     "a session that pauses begins anew"),
    ("sessions never forgotten", BUDGET, "at.since(counter.at) < SESSION_IDLE_MS", "at.since(counter.at) < u64::MAX",
     "rows of old sessions stay"),
    # The outbox and the journal.
    ("one entry too many dropped", ACCOUNT, "self.outbox.split_off(&(through + 1))", "self.outbox.split_off(&(through + 2))",
     "an entry the journal does not have is dropped"),
    ("entries not dropped", ACCOUNT, "writes.extend(self.ended.forget(now).into_iter().map(|id| Write::Booking { id, body: None }));",
     "drop(self.ended.forget(now));", "rows of what ended stay for ever"),
    ("rest not flushed", ACCOUNT, "self.flush_at = (!self.outbox.is_empty()).then_some(now);", "self.flush_at = None;\n        let _ = now;",
     "entries that came meanwhile wait for the next call"),
    ("flush not armed", ACCOUNT, "self.flush_at.get_or_insert(now.after(self.terms.outbox_flush_ms));", "",
     "an entry does not set the alarm"),
    ("failure not tried again", ACCOUNT, "self.flush_at = Some(now.after(1_000 << self.flush_failures));", "self.flush_at = None;\n        let _ = now;",
     "a journal that failed is not tried again"),
    ("first entry skipped", ACCOUNT, ".take(JOURNAL_BATCH).filter_map(entry)", ".skip(1).take(JOURNAL_BATCH).filter_map(entry)",
     "the journal gets a gap"),
    ("sequence stands", ACCOUNT, "        self.seq = entry.seq;\n        self.head", "        self.head",
     "two entries have one number"),
    ("hash not chained", ACCOUNT, "        self.head.clone_from(&entry.hash);\n        self.wallet.held",
     "        self.wallet.held", "an entry is sealed over an older one than its predecessor"),
    ("entry not sealed", ACCOUNT, "note, prev_hash, hash }.sealed()", "note, prev_hash, hash }", "an entry has no seal"),
    ("legs do not balance", LEDGER, "Leg { account: from, amount_usd: Nanos(-amount.0) }", "Leg { account: from, amount_usd: amount }",
     "an entry makes money"),
    ("credit not idempotent", BOOKS, "if self.given.get(&credit.id).is_some() {", "if credit.id.is_empty() {",
     "a repeated grant of credit counts twice"),
    ("refund not idempotent", BOOKS, "if let Some(earlier) = self.given.get(&of) {", "if let Some(earlier) = self.given.get(&of).filter(|_| id.is_empty()) {",
     "a charge is given back twice"),
    ("refund not kept", BOOKS, "Turn { answer: self.wallet_told(200), writes: vec![write, booked] }",
     "drop(write);\n        Turn { answer: self.wallet_told(200), writes: vec![booked] }", "a restart forgets what was given back"),
    ("adjustment not asked", BOOKS, "if credit.amount.0 < 0 && self.wallet.available().plus(credit.amount) < Nanos::ZERO {",
     "if credit.amount.0 < 0 && self.wallet.credits.plus(credit.amount) < Nanos::ZERO {", "an adjustment takes what calls hold"),
    ("refund pays in", LEDGER, "matches!(self, Self::Credit | Self::Adjustment)", "!matches!(self, Self::Usage)",
     "what is given back counts as paid in"),
    ("summary ahead", BOOKS, "(head, seq, waiting_since) = (entry.prev_hash.clone(), entry.seq - 1, entry.at);",
     "(head, seq, waiting_since) = (entry.hash.clone(), entry.seq, entry.at);",
     "the reconciler is told of an entry the journal may not have"),
    ("deadline not told", HOLD, 'resolved_by: "deadline".to_owned(), ', "", "an entry does not tell how its charge came to be"),
    # The object restarts.
    ("checkpoint forgets postings", ACCOUNT, "counters: kept.counters,", "counters: Vec::new(),",
     "a restart empties the budgets' counters"),
    ("checkpoint not written", ACCOUNT, "        self.checkpoint(now, &mut writes);\n", "", "a restart forgets what was journaled"),
    ("sessions not written", ACCOUNT, "for (counted, row) in kept.sessions {", "for (counted, row) in kept.sessions.into_iter().take(0) {",
     "a restart forgets what sessions spent"),
    ("counters of open calls forgotten", BUDGET, "let stays = counter.held != Nanos::ZERO || limited && current && !empty;",
     "let stays = limited && current && !empty;", "a checkpoint forgets windows that open calls count in"),
    ("deleted budget comes back", ACT, "self.checkpoint(now, &mut writes);\n        Turn", "let _ = now;\n        Turn",
     "a restart finds the counters of a budget that was deleted and put again"),
    ("deleted budget goes on", BUDGET, "(counter.posted, counter.changed) = (Nanos::ZERO, at.window == Window::Session);",
     "counter.changed = at.window == Window::Session;", "a budget that is put again counts what the one before did"),
    ("checkpoint lags", ACCOUNT, "        let checkpoint = Checkpoint {\n            seq: self.seq,",
     "        let checkpoint = Checkpoint {\n            seq: self.seq.saturating_sub(1),", "a restart counts an entry twice"),
    ("replay counts twice", ACCOUNT, "if seq > self.seq {", "if seq > 0 {", "a restart counts entries of the checkpoint again"),
    ("replay counts nothing", ACCOUNT, "if seq > self.seq {", "if seq > self.seq.saturating_add(1_000) {",
     "a restart forgets what waits for the journal"),
    ("replay forgets holds", ACCOUNT, "self.count_hold(&hold.counted, hold.grant.amount, hold.at);", "let _ = hold;",
     "a restart forgets what is held"),
    ("replay forgets deadlines", ACCOUNT, "                    self.deadlines.insert((deadline(&booking), id.clone()));\n                }",
     "                }", "a restart forgets when holds run out"),
    ("replay forgets calls at once", ACCOUNT, "                        self.count_open(&hold.scopes(), 1);\n                    }\n                    self.deadlines",
     "                        let _ = hold;\n                    }\n                    self.deadlines", "a restart forgets which calls are in flight"),
    ("replay does not flush", ACCOUNT, "self.flush_at = Some(Millis(0));", "", "a restart forgets that the journal waits"),
    # The exchange closes its hold.
    ("estimate above the hold", CLOSE, "if estimated { charge.min(held) } else { charge }", "{ let _ = held; charge }",
     "what is not known for sure is charged beyond the hold"),
    ("failure not closed", CLOSE, "None => self.close_charged(Settled::default(), status, effects),", "None => {}",
     "a call that failed leaves its hold to run out"),
    ("posting not repeated", CLOSE, "Event::Unreachable if tries >= POST_TRIES => {}", "Event::Unreachable if tries >= 1 => {}",
     "a posting that was not heard is not sent again"),
    ("unknown charged", CLOSE, "self.post(PostOutcome::Suspense { metered: settled.cost }, call, Some(self.current), effects);",
     "self.post(PostOutcome::Charge(settled.cost), call, Some(self.current), effects);",
     "what a provider may still bill is posted as if it were known"),
    ("earlier attempts forgotten", CLOSE, "others.filter(|(number, attempt)| attempt.at_risk && Some(*number) != of)",
     "others.filter(|(number, attempt)| attempt.at_risk && Some(*number) == of && of.is_none())",
     "earlier attempts that may be billed are not booked"),
    ("failures never billed", COVER, "Cause::Timeout | Cause::Malformed | Cause::Diverged => true,",
     "Cause::Timeout | Cause::Malformed | Cause::Diverged => false,",
     "an attempt that got no answer in time is taken for free"),
    ("earlier attempts not covered", COVER, "risks.fold(Nanos::ZERO, Nanos::plus)", "risks.fold(Nanos::ZERO, |sum, risk| sum.plus(risk).minus(risk))",
     "the hold does not cover what earlier attempts may be billed"),
    ("rival not covered", HEDGE, "self.put_at_risk(true);\n        let before", "let before",
     "of two attempts at once only one is covered by the hold"),
    ("hedge beyond the hold", HEDGE, "if self.held() >= both {", "if self.held() >= quote {",
     "a second attempt is made beside a first one that needs the hold for itself"),
    ("hedge beyond the ceiling", HEDGE, "is_some_and(|ceiling| both > ceiling)", "is_some_and(|ceiling| quote > ceiling)",
     "two attempts at once may cost more than max_cost_usd"),
    ("loser for free", HEDGE, "self.leave_behind((settled, self.drain_ms() == 0));", "self.leave_behind((Settled { cost: Nanos::ZERO, ..settled }, true));",
     "who was let go of for a faster one is taken for free"),
    ("unheard hold not voided", ADMIT, "if !self.only_explains() {\n                    self.void(effects);\n                }", "",
     "a hold that may have been made is left to run out"),
    ("explanation voided", ADMIT, "if !self.only_explains() {\n                    self.void", "if self.held_at == now || !self.only_explains() || self.only_explains() {\n                    self.void",
     "an explanation voids what it never held"),
    ("sent for nobody", ADMIT, "                if self.gone {\n                    return self.void(effects);\n                }\n", "",
     "a call is made for a caller who had left"),
    ("told usage ignored", CLOSE, "let mut usage = told.unwrap_or_else(|| self.prompt_alone());",
     "let mut usage = told.map_or_else(|| self.prompt_alone(), |_| self.prompt_alone());",
     "what the provider counted is not what is charged"),
    ("empty answer charged", CLOSE, "return Settled { cost: Nanos::ZERO, absorbed, ..settled };", "drop(absorbed);",
     "an answer of no tokens is charged"),
]


def copy(target):
    """The tree as it is, without what git ignores."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        source, place = os.path.join(ROOT, name), os.path.join(target, name)
        if not os.path.isfile(source):
            continue
        os.makedirs(os.path.dirname(place), exist_ok=True)
        # One that did not change keeps its time, so that it is not built again.
        if not os.path.exists(place) or open(source, "rb").read() != open(place, "rb").read():
            shutil.copyfile(source, place)


def cargo(tree, *arguments):
    """What a run of cargo came to: whether it passed, and what it said."""
    env = {**os.environ, "CARGO_TARGET_DIR": os.path.join(os.path.dirname(tree), "target"), "SEEDS": SEEDS,
           "CARGO_PROFILE_DEV_DEBUG": "0", "RUST_BACKTRACE": "0"}
    # A mutant's warnings are its own affair.
    env["RUSTFLAGS"] = "-Awarnings"
    try:
        run = subprocess.run(["cargo", *arguments], cwd=tree, env=env, capture_output=True, text=True, timeout=600,
                             errors="replace")
    except subprocess.TimeoutExpired:
        return False, "it hangs"
    return run.returncode == 0, run.stdout + run.stderr


def verdict(tree):
    """Who noticed, and how it was said; nobody is an empty name."""
    passed, told = cargo(tree, "test", "--locked", "--test", "simulate", "--no-run")
    if not passed:
        return "", "it does not compile: " + next((line for line in told.splitlines() if line.startswith("error")), "")
    passed, told = cargo(tree, "test", "--locked", "--test", "simulate")
    if not passed:
        why = re.search(r"^seed \d+: .*|^in \d+ seeds .*|it hangs|panicked at src.*\n.*", told, re.MULTILINE)
        return "simulator", (why.group(0) if why else told[-200:]).replace("\n", " ")
    passed, told = cargo(tree, "test", "--locked", "--lib", "--test", "exchange", "--test", "faults", "--no-fail-fast")
    if not passed:
        failed = re.findall(r"^test (\S+) \.\.\. FAILED", told, re.MULTILINE)
        return "tests", " ".join(failed) or told[-200:]
    return "", "nobody noticed"


def mutate(tree, file, old, new):
    """Makes the change; the text before it, or nothing where its place is not found once."""
    path = os.path.join(tree, file)
    with open(path) as source:
        text = source.read()
    if text.count(old) != 1:
        return None
    with open(path, "w") as source:
        source.write(text.replace(old, new))
    return text


def main(words):
    folder = os.environ.get("KEEP") or os.path.join(tempfile.gettempdir(), "megarouter-mutants")
    tree = os.path.join(folder, "tree")
    os.makedirs(tree, exist_ok=True)
    copy(tree)
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant[0] for word in words)]
    caught, why = verdict(tree)
    if caught or why != "nobody noticed":
        print(f"Without a mutant the tests must pass: {caught}: {why}")
        return 1
    failures, began = 0, time.monotonic()
    for name, file, old, new, broken in chosen:
        text = mutate(tree, file, old, new)
        if text is None:
            caught, why = "", f"its text does not stand once in {file}"
        else:
            caught, why = verdict(tree)
            with open(os.path.join(tree, file), "w") as source:
                source.write(text)
        failures += not caught
        word = f"killed by the {caught}" if caught else "SURVIVED"
        print(f"{word:<23} {name}: {broken}\n{'':<23} {why[:150]}", flush=True)
    minutes = (time.monotonic() - began) / 60
    print(f"{len(chosen) - failures} of {len(chosen)} mutants killed in {minutes:.0f} minutes, {SEEDS} seeds each")
    return 1 if failures or not chosen else 0


SEEDS = os.environ.get("SEEDS", "3000")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
