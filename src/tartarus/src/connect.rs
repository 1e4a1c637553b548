//! Where Olympus is, for the commands that talk to it.

use std::path::Path;
use std::time::Duration;

use api::Time;
use api::event::Place;
use api::query::At;
use client::{Client, DEFAULT_ADDR, Patience};
use secret::Secret;

use crate::exit::Failure;
use crate::print::{self, Format};

/// A person waits no longer than this for an Olympus that is not there; one that restarts may be
/// back by then.
const PATIENCE: Patience = Patience(Duration::from_secs(3));

/// A client for the address given, else the default one, with the token of the environment.
///
/// # Errors
/// The address is none, or the token can't be read.
pub fn client(addr: Option<&str>) -> Result<Client, Failure> {
    let token = token()?;
    let client = Client::new(addr.unwrap_or(DEFAULT_ADDR), token.as_deref())?;
    Ok(client.with_patience(PATIENCE))
}

/// `TARTARUS_TOKEN`, or the content of `TARTARUS_TOKEN_FILE`. Never an argument: others can read
/// those.
///
/// # Errors
/// The file can't be read, both are set, or no header can carry it.
pub fn token() -> Result<Option<String>, Failure> {
    let direct = std::env::var("TARTARUS_TOKEN").ok().filter(|token| !token.is_empty());
    let file = std::env::var("TARTARUS_TOKEN_FILE").ok().filter(|path| !path.is_empty());
    let token = match (direct, &file) {
        (Some(_), Some(_)) => {
            return Err(Failure::Usage(
                "TARTARUS_TOKEN and TARTARUS_TOKEN_FILE are both set: set one of them".to_owned(),
            ));
        }
        (None, Some(path)) => match Secret::of_file(Path::new(path)) {
            Ok(token) => Some(token.reveal().to_owned()),
            Err(why) => {
                return Err(Failure::Usage(format!("TARTARUS_TOKEN_FILE={path:?}: {why}")));
            }
        },
        (direct, None) => direct,
    };
    if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        let name = secret::said_by("TARTARUS_TOKEN", file.as_deref().map(Path::new));
        return Err(Failure::Usage(format!(
            "{name} holds a character that can't be sent: use visible ASCII"
        )));
    }
    Ok(token)
}

/// The moment that ages in a table are counted to: now, or the one that is looked at.
///
/// # Errors
/// Olympus can't be reached.
pub async fn clock(client: &Client, at: Option<At>, format: Format) -> Result<Time, Failure> {
    let now = print::now();
    match (at, format) {
        (None, _) | (Some(_), Format::Json | Format::Yaml) => Ok(now),
        (Some(At::Time(time)), _) => Ok(time),
        (Some(At::Sequence(sequence)), _) => {
            match client.event(Place { sequence, n: Some(0) }).await {
                // Before the first entry there is nothing that could have an age.
                Ok(event) => Ok(event.map_or(now, |event| event.time)),
                // The table itself may be read from the archive, of which no single event is served.
                Err(client::Error::Refused(_)) => Ok(now),
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// Runs a command's requests on an event loop of its own.
///
/// # Errors
/// What the command fails with, or there is no event loop.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("cannot start an event loop: {e}")))?;
    runtime.block_on(work)
}
