-- The journal: what every account booked, for good. Filled from the accounts' outboxes, read by admins and reconcilers.
-- One row per transaction; its legs sum to zero. Amounts are nano-dollars and cross the binding as text.
CREATE TABLE entry (
  account TEXT NOT NULL,
  seq INTEGER NOT NULL CHECK (seq > 0),
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  at INTEGER NOT NULL,
  amount INTEGER NOT NULL CHECK (abs(amount) <= 9007199254740991),
  legs TEXT NOT NULL CHECK (json_valid(legs)),
  call TEXT CHECK (call IS NULL OR json_valid(call)),
  note TEXT,
  prev_hash TEXT NOT NULL,
  hash TEXT NOT NULL,
  PRIMARY KEY (account, seq)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER entry_is_never_changed BEFORE UPDATE ON entry
BEGIN
  SELECT RAISE(ABORT, 'a ledger entry is never changed; book another one');
END;

CREATE TRIGGER entry_is_never_deleted BEFORE DELETE ON entry
BEGIN
  SELECT RAISE(ABORT, 'a ledger entry is never deleted; book another one');
END;

-- REPLACE deletes without asking the trigger above: an entry that is there stays as it is.
CREATE TRIGGER entry_is_never_replaced BEFORE INSERT ON entry
WHEN EXISTS (SELECT 1 FROM entry WHERE account = NEW.account AND seq = NEW.seq)
BEGIN
  SELECT RAISE(IGNORE);
END;

-- The accounts there are, so that a watchdog can walk them.
CREATE TABLE organization (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
