//! `tartarus policy`: what submissions may ask for.

use api::PolicyDocument;
use client::Client;

use super::documents::{name_of, read};
use crate::cli::{ApplyArgs, PolicyVerb};
use crate::connect::block_on;
use crate::exit::{DONE, Failure};
use crate::print::{Columns, Format, print, print_document};
use crate::terminal::Terminal;

/// Does what the verb says.
///
/// # Errors
/// A document is not valid, or Olympus refuses it or can't be reached.
pub fn run(
    client: &Client,
    verb: PolicyVerb,
    format: Format,
    terminal: &Terminal,
) -> Result<u8, Failure> {
    match verb {
        PolicyVerb::List => {
            let all = block_on(async { Ok(client.policies().await?) })?;
            print(format, &all, || columns(&all))?;
        }
        PolicyVerb::Get { name } => {
            let document = block_on(async { Ok(client.policy(&name).await?) })?;
            print_document(format, &document)?;
        }
        PolicyVerb::Apply(args) => {
            let applied = apply(client, &args)?;
            print(format, &applied, || columns(&applied))?;
        }
        PolicyVerb::Delete { name } => {
            block_on(async { Ok(client.delete_policy(&name).await?) })?;
            terminal.note(&format!("deleted policy {name}"));
        }
    }
    Ok(DONE)
}

/// Every file is read, and checked, before the first is sent.
fn apply(client: &Client, args: &ApplyArgs) -> Result<Vec<PolicyDocument>, Failure> {
    if args.if_version.is_some() && args.file.len() > 1 {
        return Err(Failure::Usage("--if-version is for one file: give one".to_owned()));
    }
    let mut documents = Vec::with_capacity(args.file.len());
    for path in &args.file {
        let document: PolicyDocument = read(path)?;
        let name = name_of(document.name.as_deref(), path)?;
        document
            .clone()
            .into_policy(Some(&name))
            .map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))?;
        documents.push((name, document));
    }
    block_on(async {
        let mut applied = Vec::with_capacity(documents.len());
        for (name, document) in &documents {
            applied.push(client.put_policy(name, document, args.if_version).await?);
        }
        Ok(applied)
    })
}

fn columns(all: &[PolicyDocument]) -> Columns {
    let row = |document: &PolicyDocument| {
        let limits = document.limits.clone().unwrap_or_default();
        let number = |n: Option<i64>| n.map_or("-".to_owned(), |n| n.to_string());
        let ttl = match limits.ttl {
            Some(api::Given::Known(span)) => span.to_string(),
            Some(api::Given::Unknown(_)) | None => "-".to_owned(),
        };
        let templates = document.matches.clone().unwrap_or_default().templates;
        vec![
            document.name.as_deref().unwrap_or_default().to_owned(),
            document.version.map_or("-".to_owned(), |version| version.to_string()),
            templates.join(","),
            number(limits.cpu_milli),
            number(limits.mem_mb),
            number(limits.gpu),
            ttl,
            document.rules.as_ref().map_or(0, Vec::len).to_string(),
            document.revision.map_or("-".to_owned(), |revision| revision.to_string()),
        ]
    };
    Columns {
        head: vec![
            "NAME",
            "VERSION",
            "TEMPLATES",
            "CPU_MILLI",
            "MEM_MB",
            "GPU",
            "TTL",
            "RULES",
            "REVISION",
        ],
        narrow: 8,
        rows: all.iter().map(row).collect(),
    }
}
