//! Deployments, requests and answers for the tests of the dialects.
use super::Call;
use crate::{
    body::Body,
    catalog::{Catalog, Deployment},
    chat::{Message, Part, Request, Role},
    fault::Fault,
};
use serde_json::Value;
use std::rc::Rc;

/// A deployment of a catalog that has no other. `members` are further ones of its row.
pub(super) fn deployment_of(dialect: &str, model: &str, max_output_tokens: u64, members: &str) -> Rc<Deployment> {
    let text = format!(
        r#"{{"version":1,"providers":[{{"id":"acme","name":"Acme","dialect":"{dialect}",
        "base_url":"https://api.acme.test/v1","credential":"ACME_API_KEY"}}],"models":[{{"provider":"acme","id":"{model}",
        "context_length":1000000,"max_output_tokens":{max_output_tokens},"input_usd_per_mtok":"1","output_usd_per_mtok":"2",
        {members}}}]}}"#
    );
    Catalog::parse(&text).expect("valid").deployments()[0].clone()
}

pub(super) fn body(text: &str) -> Body {
    Body::parse(text.as_bytes().to_vec()).expect("an object")
}

pub(super) fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

/// What a provider would be sent.
pub(super) fn sent(call: Result<Call, Fault>) -> Value {
    json(&call.expect("sayable").body)
}

/// The parameter that cannot be said.
pub(super) fn param(call: Result<Call, Fault>) -> String {
    let fault = call.expect_err("unsayable");
    assert_eq!(fault.status, 400);
    fault.into_inner().param.expect("a name")
}

pub(super) fn said(role: Role, parts: Vec<Part>) -> Message {
    Message { role, parts, name: None }
}

pub(super) fn asking() -> Request {
    Request { messages: vec![said(Role::User, vec![Part::text("hi")])], ..Request::default() }
}
