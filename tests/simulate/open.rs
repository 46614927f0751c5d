//! What the account does not keep yet, as the simulator found it. Each of these is a promise: it is switched on, and its
//! line deleted, with the change that keeps it.

/// A letter that comes again more than a minute after its call ended, or after a restart, finds no trace of it.
pub const LATE_LETTERS: bool = false;
/// A hold that cannot grow because it is itself in the way is told to wait.
pub const OWN_HOLD_STAYS: bool = false;
