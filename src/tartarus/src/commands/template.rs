//! `tartarus template`: what sandboxes start from.

use api::TemplateDocument;
use client::Client;

use super::documents::{name_of, read};
use crate::cli::{ApplyArgs, TemplateVerb};
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
    verb: TemplateVerb,
    format: Format,
    terminal: &Terminal,
) -> Result<u8, Failure> {
    match verb {
        TemplateVerb::List => {
            let all = block_on(async { Ok(client.templates().await?) })?;
            print(format, &all, || columns(&all))?;
        }
        TemplateVerb::Get { name } => {
            let document = block_on(async { Ok(client.template(&name).await?) })?;
            print_document(format, &document)?;
        }
        TemplateVerb::Apply(args) => {
            let applied = apply(client, &args)?;
            print(format, &applied, || columns(&applied))?;
        }
        TemplateVerb::Delete { name } => {
            block_on(async { Ok(client.delete_template(&name).await?) })?;
            terminal.note(&format!("deleted template {name}"));
        }
    }
    Ok(DONE)
}

/// Every file is read, and checked, before the first is sent.
fn apply(client: &Client, args: &ApplyArgs) -> Result<Vec<TemplateDocument>, Failure> {
    if args.if_version.is_some() {
        return Err(Failure::Usage("--if-version is for policies: leave it out".to_owned()));
    }
    let mut documents = Vec::with_capacity(args.file.len());
    for path in &args.file {
        let document: TemplateDocument = read(path)?;
        let name = name_of(document.name.as_deref(), path)?;
        document
            .clone()
            .into_template(Some(&name))
            .map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))?;
        documents.push((name, document));
    }
    block_on(async {
        let mut applied = Vec::with_capacity(documents.len());
        for (name, document) in &documents {
            applied.push(client.put_template(name, document).await?);
        }
        Ok(applied)
    })
}

fn columns(all: &[TemplateDocument]) -> Columns {
    let row = |document: &TemplateDocument| {
        let rootfs = document.rootfs.clone().unwrap_or_default();
        let source = match (&rootfs.directory, &rootfs.archive) {
            (Some(path), _) => format!("directory {path}"),
            (None, Some(path)) => format!("archive {path}"),
            (None, None) => "host".to_owned(),
        };
        vec![
            document.name.as_deref().unwrap_or_default().to_owned(),
            document.version.map_or("-".to_owned(), |version| version.to_string()),
            source,
            document.command.as_deref().unwrap_or_default().join(" "),
        ]
    };
    Columns {
        head: vec!["NAME", "VERSION", "ROOTFS", "COMMAND"],
        narrow: 4,
        rows: all.iter().map(row).collect(),
    }
}
