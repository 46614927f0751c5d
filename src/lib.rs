//! MegaRouter: one OpenAI-compatible URL at the edge in front of every model provider.
//!
//! The rooms and the law between them are in `ARCHITECTURE.md`; `tests/tidy.rs` keeps both true.
pub mod access;
pub mod account;
pub mod analysis;
pub mod audit;
pub mod base64;
pub mod body;
pub mod budget;
pub mod catalog;
pub mod chat;
pub mod dialect;
pub mod endpoint;
pub mod eventstream;
pub mod exchange;
pub mod fault;
pub mod health;
pub mod id;
pub mod json;
pub mod ledger;
pub mod mode;
pub mod money;
pub mod payment;
pub mod price;
pub mod quality;
pub mod receipt;
pub mod route;
pub mod sse;
pub mod table;
pub mod time;
pub mod usage;
pub mod world;

#[cfg(target_arch = "wasm32")]
mod edge;
