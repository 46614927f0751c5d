//! The two versions of the API, and the beta features a caller asks for.
//!
//! <https://platform.claude.com/docs/en/api/versioning>: 2026-10-21 has no sampling members, takes no documents in an
//! assistant's message and no citations on a user's text. What we write ourselves is 2023-06-01, which has all of them.
use crate::{body::Body, chat::Request, endpoint::Headers, fault::Fault};

/// What every request of ours is written for.
pub(super) const OURS: &str = "2023-06-01";
const NEWER: &str = "2026-10-21";

pub(super) const VERSION: &str = "anthropic-version";
pub(super) const BETA: &str = "anthropic-beta";

/// Takes in version and betas, and refuses what the version does not have.
pub(super) fn read(headers: &Headers, body: &Body, request: &mut Request) -> Result<(), Fault> {
    let version = headers.get(VERSION).unwrap_or(OURS);
    if version != OURS && version != NEWER {
        let message = format!("`{VERSION}` {version:.40?} is not known here: send \"{OURS}\" or \"{NEWER}\".");
        return Err(Fault::parameter(VERSION, message));
    }
    if version == NEWER
        && let Some(name) = ["temperature", "top_p", "top_k"].into_iter().find(|name| body.get(name).is_some())
    {
        let message = format!("`{name}` is not part of version {NEWER}. Leave it out, or send `{VERSION}: {OURS}`.");
        return Err(Fault::parameter(name, message));
    }
    request.headers.push((VERSION, version.to_owned()));
    request.headers.extend(headers.get(BETA).map(|betas| (BETA, betas.to_owned())));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(version: Option<&str>, text: &str) -> Result<Vec<(&'static str, String)>, Option<String>> {
        let headers = version.map(|version| (VERSION.to_owned(), version.to_owned()));
        let headers = Headers(headers.into_iter().chain([(BETA.to_owned(), "a,b".to_owned())]).collect());
        let mut request = Request::default();
        let body = Body::parse(text.as_bytes().to_vec()).expect("an object");
        read(&headers, &body, &mut request).map(|()| request.headers).map_err(|fault| fault.into_inner().param)
    }

    #[test]
    fn both_versions_are_served() {
        let with = |version: &str| Ok(vec![(VERSION, version.to_owned()), (BETA, "a,b".to_owned())]);
        assert_eq!(told(None, r#"{"temperature":1}"#), with(OURS));
        assert_eq!(told(Some(NEWER), "{}"), with(NEWER));
        assert_eq!(told(Some(NEWER), r#"{"top_p":1}"#), Err(Some("top_p".into())));
        assert_eq!(told(Some("2025-01-01"), "{}"), Err(Some(VERSION.into())));
    }
}
