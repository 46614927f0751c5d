//! Chance from the platform, for secrets and ids.
use crate::fault::Fault;

/// Fills with random bytes.
///
/// # Errors
/// 503: without chance no secret may be made.
pub fn fill(bytes: &mut [u8]) -> Result<(), Fault> {
    getrandom::fill(bytes)
        .map_err(|_| Fault::unavailable("unavailable", "The platform gave no random bytes. Try again."))
}

/// 128 random bits, for an id.
///
/// # Errors
/// As [`fill`].
pub fn chance() -> Result<u128, Fault> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes))
}
