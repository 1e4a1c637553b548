//! The contract of the HTTP API, held by a server in this process over a journal in memory.

mod agent;
mod auth;
mod bad_requests;
mod edge;
mod events;
mod law;
mod lists;
mod logs;
mod shut;
mod submit;
mod support;
