//! The contract of the HTTP API, held by a server in this process over a journal in memory.

mod agent;
mod auth;
mod bad_requests;
mod dead;
mod edge;
mod events;
mod heat;
mod ingress;
mod law;
mod lists;
mod logs;
mod past;
mod quarantine;
mod shut;
mod submit;
mod support;
