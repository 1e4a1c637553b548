//! `tartarus policy`: what submissions may ask for.

use api::PolicyDocument;
use client::Client;

use api::Given;
use api::law::PolicyVersion;
use domain::event::Principal;

use super::documents::{name_of, read};
use super::what_if;
use crate::cli::{PolicyApplyArgs, PolicyDiffArgs, PolicyVerb};
use crate::connect::block_on;
use crate::diff;
use crate::exit::{DONE, ERROR, Failure};
use crate::print::{self, Columns, Format, print, print_document};
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
        PolicyVerb::List(when) => {
            let client = client.clone().at(when.at);
            let all = block_on(async { Ok(client.policies().await?) })?;
            print(format, &all, || columns(&all))?;
        }
        PolicyVerb::Get { name, when } => {
            let client = client.clone().at(when.at);
            let document = block_on(async { Ok(client.policy(&name).await?) })?;
            print_document(format, &document)?;
        }
        PolicyVerb::Apply(args) => {
            let Some(applied) = apply(client, &args, terminal)? else { return Ok(ERROR) };
            print(format, &applied, || columns(&applied))?;
        }
        PolicyVerb::Delete { name } => {
            block_on(async { Ok(client.delete_policy(&name).await?) })?;
            terminal.note(&format!("deleted policy {name}"));
        }
        PolicyVerb::History { name } => {
            let all = block_on(async { Ok(client.policy_versions(&name).await?) })?;
            print(format, &all, || history(&all))?;
        }
        PolicyVerb::WhatIf(args) => return what_if::run(client, &args, format, terminal),
        PolicyVerb::Diff(args) => return compare(client, &args, terminal),
        PolicyVerb::Restore { name, version, if_version } => {
            let restored =
                block_on(async { Ok(client.restore_policy(&name, version, if_version).await?) })?;
            let restored = vec![restored];
            print(format, &restored, || columns(&restored))?;
        }
    }
    Ok(DONE)
}

/// Prints what is different between two documents, as lines of YAML.
fn compare(client: &Client, args: &PolicyDiffArgs, terminal: &Terminal) -> Result<u8, Failure> {
    let (old, new) = match &args.file {
        Some(path) => {
            let document: PolicyDocument = read(path)?;
            let own = args.name.as_deref().or(document.name.as_deref());
            let name = name_of(own, path)?;
            let policy = document
                .into_policy(Some(&name))
                .map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))?;
            let current = block_on(async { Ok(client.policy(&name).await?) })?;
            let label = format!("{name} version {}", current.version.unwrap_or(0));
            // As it would be shown, so that spelling out a default is no difference.
            let file = PolicyDocument::from_policy(&policy, 0, 0);
            ((label, current), (path.display().to_string(), file))
        }
        None => {
            let name = args.name.as_deref().unwrap_or_default();
            let all = block_on(async { Ok(client.policy_versions(name).await?) })?;
            two_of(name, all, args.old, args.new)?
        }
    };
    let text = |(label, document): (String, PolicyDocument)| {
        let bare = PolicyDocument { version: None, revision: None, ..document };
        Ok::<_, Failure>((label, print::yaml(&bare)?))
    };
    let ((old_label, old), (new_label, new)) = (text(old)?, text(new)?);
    let Some(lines) = diff::unified(&old_label, &old, &new_label, &new) else {
        terminal.note(&format!("{old_label} and {new_label} say the same"));
        return Ok(DONE);
    };
    print::write(diff::painted(&lines, print::is_colored()).as_bytes())?;
    Ok(ERROR)
}

type Labelled = (String, PolicyDocument);

/// The two versions that are asked for: without numbers, the current one and the one before.
fn two_of(
    name: &str,
    all: Vec<PolicyVersion>,
    old: Option<u64>,
    new: Option<u64>,
) -> Result<(Labelled, Labelled), Failure> {
    let kept: Vec<(u64, PolicyDocument)> =
        all.into_iter().filter_map(|v| Some((v.version, v.document?))).collect();
    let find = |version: u64| {
        let found = kept.iter().find(|(number, _)| *number == version);
        let (_, document) = found.ok_or_else(|| {
            Failure::error(format!(
                "policy {name} has no version {version}: `tartarus policy history {name}` lists them"
            ))
        })?;
        Ok::<_, Failure>((format!("{name} version {version}"), document.clone()))
    };
    let last = kept.last().map_or(0, |(number, _)| *number);
    let new = new.unwrap_or(last);
    let before = kept.iter().map(|(number, _)| *number).rfind(|number| *number < new);
    match old.or(before) {
        Some(old) => Ok((find(old)?, find(new)?)),
        None => Err(Failure::error(format!(
            "policy {name} has one version: there is nothing to compare it with"
        ))),
    }
}

fn history(all: &[PolicyVersion]) -> Columns {
    let now = print::now();
    let row = |version: &PolicyVersion| {
        let rules = version.document.as_ref().and_then(|d| d.rules.as_ref()).map_or(0, Vec::len);
        vec![
            version.version.to_string(),
            version.revision.to_string(),
            print::age(version.at, now),
            match &version.by {
                Principal::System => "system".to_owned(),
                Principal::Anonymous => "anonymous".to_owned(),
                Principal::Token(token) => format!("token {token}"),
                Principal::Node(node) => format!("node {node}"),
            },
            if version.deleted { "deleted".to_owned() } else { format!("{rules} rules") },
            version.what_if.map_or("-".to_owned(), |digest| print::cut(&digest.to_string(), 13)),
        ]
    };
    Columns {
        head: vec!["VERSION", "REVISION", "AGE", "BY", "WHAT", "WHAT-IF"],
        narrow: 6,
        rows: all.iter().rev().map(row).collect(),
    }
}

/// Every file is read, and checked, before the first is sent. None, where trying it first found
/// more than may be.
fn apply(
    client: &Client,
    args: &PolicyApplyArgs,
    terminal: &Terminal,
) -> Result<Option<Vec<PolicyDocument>>, Failure> {
    for (given, option) in
        [(args.if_version.is_some(), "--if-version"), (args.what_if, "--what-if")]
    {
        if given && args.file.len() > 1 {
            return Err(Failure::Usage(format!("{option} is for one file: give one")));
        }
    }
    if !args.what_if && (args.gates.since.is_some() || what_if::has_gates(&args.gates)) {
        return Err(Failure::Usage("--since and gates are for --what-if: give it too".to_owned()));
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
    let mut tried = None;
    if args.what_if
        && let [(name, document)] = documents.as_slice()
    {
        let report = what_if::ask(client, name, document, args.gates.since, terminal)?;
        if !what_if::passes(&report, &args.gates, terminal) {
            terminal.note(&format!("policy {name} is as it was: see `tartarus policy what-if`"));
            return Ok(None);
        }
        tried = Some(report.digest.to_string());
    }
    block_on(async {
        let mut applied = Vec::with_capacity(documents.len());
        for (name, document) in &documents {
            let put = client.put_policy(name, document, args.if_version, tried.as_deref());
            applied.push(put.await?);
        }
        Ok(Some(applied))
    })
}

fn columns(all: &[PolicyDocument]) -> Columns {
    let row = |document: &PolicyDocument| {
        let limits = document.limits.clone().unwrap_or_default();
        let number = |n: Option<i64>| n.map_or("-".to_owned(), |n| n.to_string());
        let ttl = match limits.ttl {
            Some(Given::Known(span)) => span.to_string(),
            Some(Given::Unknown(_)) | None => "-".to_owned(),
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
