//! A request on its way to a submission: defaults filled in by the template, then the published ones.

use super::Pinned;
use crate::law::{Current, Law, Template};
use crate::submission::{
    Heat, Network, OnLost, Placement, Resources, Retention, Retry, Submission,
};
use crate::texts::Texts;

/// What a caller sent: fields checked one by one, defaults not filled in yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Template name.
    pub template: Box<str>,
    /// Command; empty takes the template's.
    pub command: Vec<Box<str>>,
    /// Environment, laid over the template's.
    pub env: Texts,
    /// Standard input.
    pub stdin: Box<str>,
    /// Thousandths of a core.
    pub cpu_milli: Option<u32>,
    /// MiB.
    pub mem_mb: Option<u32>,
    /// GPUs.
    pub gpu: Option<u32>,
    /// Milliseconds.
    pub ttl_ms: Option<u64>,
    /// Network profile.
    pub network: Network,
    /// Heat.
    pub heat: Option<Heat>,
    /// Priority, 0 to 100.
    pub priority: Option<u8>,
    /// Retry.
    pub retry: Option<Retry>,
    /// On loss of the node.
    pub on_lost: OnLost,
    /// Retention.
    pub retention: Option<Retention>,
    /// Metadata.
    pub metadata: Texts,
    /// Labels.
    pub labels: Texts,
    /// Which nodes.
    pub placement: Placement,
}

/// Priority of a submission that names none.
pub const DEFAULT_PRIORITY: u8 = 50;

/// A request that the law could not be applied to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unjudgeable {
    /// There is no such template.
    #[error("template \"{name}\" does not exist; known templates: {known}")]
    UnknownTemplate {
        /// What was asked.
        name: Box<str>,
        /// What there is, with commas.
        known: String,
    },
    /// Neither the request nor the template has a command.
    #[error("command is missing, and template \"{template}\" has none of its own")]
    NoCommand {
        /// The template.
        template: Box<str>,
    },
}

fn find<'l>(law: &'l Law, name: &str) -> Result<&'l Current<Template>, Unjudgeable> {
    law.templates.get(name).ok_or_else(|| {
        let known: Vec<&str> = law.templates.keys().map(|name| &**name).collect();
        Unjudgeable::UnknownTemplate { name: name.into(), known: known.join(", ") }
    })
}

/// A template as it is now.
pub(super) fn pin(law: &Law, name: &str) -> Result<Pinned, Unjudgeable> {
    Ok(Pinned { name: name.into(), version: find(law, name)?.version })
}

/// A request as a submission: with the template it starts from, and that template's word on heat.
pub(super) fn resolve(
    law: &Law,
    request: Request,
) -> Result<(Submission, Pinned, Option<Heat>), Unjudgeable> {
    let found = find(law, &request.template)?;
    let template = &found.body;
    let pinned = Pinned { name: request.template.clone(), version: found.version };
    let command =
        if request.command.is_empty() { template.command.clone() } else { request.command };
    if command.is_empty() {
        return Err(Unjudgeable::NoCommand { template: request.template });
    }
    let env = template.env.clone().under(request.env);
    let published = Resources::DEFAULT;
    let submission = Submission {
        template: request.template,
        command,
        env,
        stdin: request.stdin,
        resources: Resources {
            cpu_milli: request.cpu_milli.or(template.cpu_milli).unwrap_or(published.cpu_milli),
            mem_mb: request.mem_mb.or(template.mem_mb).unwrap_or(published.mem_mb),
            gpu: request.gpu.or(template.gpu).unwrap_or(published.gpu),
            ttl_ms: request.ttl_ms.or(template.ttl_ms).unwrap_or(published.ttl_ms),
        },
        network: request.network,
        heat_hint: request.heat,
        priority: request.priority.unwrap_or(DEFAULT_PRIORITY),
        retry: request.retry.unwrap_or(Retry::DEFAULT),
        on_lost: request.on_lost,
        retention: request.retention.unwrap_or(Retention::DEFAULT),
        metadata: request.metadata,
        labels: request.labels,
        placement: request.placement.into(),
    };
    Ok((submission, pinned, template.heat))
}
