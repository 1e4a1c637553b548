//! What policy may be asked.

use std::sync::Arc;

use actix::Message;
use domain::law::{Law, LawBook, Policy, Template, Version};

use crate::view::Seen;

/// The law in force.
#[derive(Debug, Message)]
#[rtype(result = "Seen<Arc<Law>>")]
pub struct GetLaw;

/// The law and all of its history.
#[derive(Debug, Message)]
#[rtype(result = "Seen<LawBook>")]
pub struct GetBook;

/// Every version of a policy, oldest first.
#[derive(Debug, Message)]
#[rtype(result = "Seen<Vec<Version<Policy>>>")]
pub struct PolicyHistory(pub Box<str>);

/// Every version of a template, oldest first.
#[derive(Debug, Message)]
#[rtype(result = "Seen<Vec<Version<Template>>>")]
pub struct TemplateHistory(pub Box<str>);

/// Checks a draft against the law in force: what enacting it would say, with nothing written.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), domain::Refusal>")]
pub struct CheckPolicy(pub Box<Policy>);
