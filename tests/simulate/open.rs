//! What the account does not keep yet, as the simulator found it. Each of these is a promise: it is switched on, and its
//! line deleted, with the change that keeps it.

/// A letter that comes again more than a minute after its call ended, or after a restart, finds no trace of it.
pub const LATE_LETTERS: bool = false;
/// A deleted budget is forgotten in memory but comes back from the checkpoint with a restart.
pub const BUDGETS_PUT_AGAIN: bool = false;
/// An explanation that did not reach the account voids the hold it never wanted.
pub const DRY_VOIDS_NOTHING: bool = true;
/// What another attempt may have cost is posted after a day even where the hold left nothing for it.
pub const ESTIMATES_WITHIN_THE_HOLD: bool = true;
/// A hold that cannot grow because it is itself in the way is told to wait.
pub const OWN_HOLD_STAYS: bool = false;
/// A clock that goes back over midnight, because the object lives on another machine now: the next checkpoint forgets what
/// was posted to the day that had begun.
pub const CLOCKS_GO_BACK: bool = false;
