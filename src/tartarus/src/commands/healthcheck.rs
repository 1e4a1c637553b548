//! `tartarus healthcheck`: whether Olympus says that it is ready, for containers without a shell.

use client::{Client, Error};

use crate::connect::block_on;
use crate::exit::{DONE, ERROR, Failure};

/// Asks once.
///
/// # Errors
/// Olympus is not ready, or not there.
pub fn run(url: &str) -> Result<u8, Failure> {
    let addr = url.strip_suffix("/readyz").unwrap_or(url);
    let client = Client::new(addr, None)?;
    let ready = block_on(async { Ok(client.readyz().await) })?;
    match ready {
        Ok((true, _)) => Ok(DONE),
        Ok((false, readyz)) => {
            let why = readyz.message.unwrap_or_else(|| "it does not say why".to_owned());
            Err(Failure::Code { code: ERROR, message: format!("not ready: {why}") })
        }
        Err(error @ (Error::Refused(_) | Error::Unavailable { .. } | Error::Unknown { .. })) => {
            Err(error.into())
        }
    }
}
