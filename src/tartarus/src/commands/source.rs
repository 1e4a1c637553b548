//! Where a journal is read that no server stands in front of.

use olympus::config::{Config, Program};
use replay::{Archive, Source};

use crate::cli::SourceArgs;
use crate::exit::Failure;

/// The file, the archive, the Redis, or the journal that Olympus would use here.
///
/// # Errors
/// The configuration is wrong, or names no journal; the file is no export.
pub fn open(args: &SourceArgs) -> Result<Source, Failure> {
    if let Some(path) = &args.file {
        return Ok(Source::file(path)?);
    }
    let archive = args.archive.as_deref().map(Archive::open).transpose();
    let archive = archive.map_err(|error| Failure::Usage(error.to_string()))?;
    let named = args.redis.is_some() || std::env::var("REDIS_ADDR").is_ok_and(|at| !at.is_empty());
    if let Some(archive) = archive.clone().filter(|_| !named) {
        return Ok(Source::archive(archive));
    }
    let env = |name: &str| match (&args.redis, name) {
        (Some(address), "REDIS_ADDR") => Some(address.clone()),
        (_, _) => std::env::var(name).ok(),
    };
    let config = Config::read(Program::Olympus, &env, std::iter::empty());
    let config = config.map_err(|error| Failure::Usage(error.to_string()))?;
    match config.redis_config() {
        Some(redis) => {
            let name = if args.redis.is_some() { "--redis" } else { "REDIS_ADDR" };
            let source = Source::redis(redis, name);
            Ok(match archive {
                Some(archive) => source.beside(archive),
                None => source,
            })
        }
        None => Err(Failure::Usage(
            "REDIS_ADDR is empty, and a journal in memory ends with its process: give --redis \
             HOST:PORT or --file FILE"
                .to_owned(),
        )),
    }
}
