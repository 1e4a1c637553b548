//! Where a journal is read that no server stands in front of.

use olympus::config::{Config, Program};
use replay::Source;

use crate::cli::SourceArgs;
use crate::exit::Failure;

/// The file, the Redis, or the journal that Olympus would use here.
///
/// # Errors
/// The configuration is wrong, or names no journal; the file is no export.
pub fn open(args: &SourceArgs) -> Result<Source, Failure> {
    if let Some(path) = &args.file {
        return Ok(Source::file(path)?);
    }
    let env = |name: &str| match (&args.redis, name) {
        (Some(address), "REDIS_ADDR") => Some(address.clone()),
        (_, _) => std::env::var(name).ok(),
    };
    let config = Config::read(Program::Olympus, &env, std::iter::empty());
    let config = config.map_err(|error| Failure::Usage(error.to_string()))?;
    match config.redis_config() {
        Some(redis) => Ok(Source::redis(redis)),
        None => Err(Failure::Usage(
            "REDIS_ADDR is empty, and a journal in memory ends with its process: give --redis \
             HOST:PORT or --file FILE"
                .to_owned(),
        )),
    }
}
