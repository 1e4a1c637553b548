//! `tartarus keys` and `tartarus level`: what the journal says of itself.

use api::record::{Level, Signer};
use client::Client;

use crate::cli::LevelVerb;
use crate::connect::block_on;
use crate::exit::{DONE, Failure};
use crate::print::{Columns, Format, print};

/// Lists every key that checkpoints were signed with.
///
/// # Errors
/// Olympus can't be reached.
pub fn keys(client: &Client, format: Format) -> Result<u8, Failure> {
    let keys = block_on(async { Ok(client.keys().await?) })?;
    print(format, &keys, || signers(&keys))?;
    Ok(DONE)
}

fn signers(keys: &[Signer]) -> Columns {
    let epochs = |signer: &Signer| match (signer.first_epoch, signer.last_epoch) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first} to {last}"),
    };
    let row = |signer: &Signer| {
        let (since, url) = (signer.since.to_string(), signer.url.clone());
        vec![signer.key.clone(), epochs(signer), url, since, signer.version.clone()]
    };
    Columns {
        head: vec!["KEY", "EPOCHS", "INSTANCE", "SINCE", "VERSION"],
        narrow: 3,
        rows: keys.iter().map(row).collect(),
    }
}

/// Does what the verb says; without one, shows the level in force.
///
/// # Errors
/// There is no such level, or Olympus can't be reached.
pub fn level(client: &Client, verb: Option<LevelVerb>, format: Format) -> Result<u8, Failure> {
    let level = block_on(async {
        Ok(match verb {
            None => client.level().await?,
            Some(LevelVerb::Raise { level, force }) => client.raise_level(level, force).await?,
        })
    })?;
    print(format, &level, || columns(&level))?;
    Ok(DONE)
}

fn columns(level: &Level) -> Columns {
    let mut rows = vec![
        vec!["in force".to_owned(), level.level.to_string()],
        vec!["known here".to_owned(), level.known.to_string()],
    ];
    rows.extend(level.instances.iter().map(|instance| {
        let reads = format!("reads {}, version {}", instance.reads_level, instance.version);
        vec![instance.url.clone(), reads]
    }));
    Columns { head: vec!["LEVEL", "VALUE"], narrow: 2, rows }
}
