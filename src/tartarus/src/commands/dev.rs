//! `tartarus dev`: Olympus and an agent in one process.

use crate::cli::DevArgs;
use crate::exit::Failure;
use crate::print;
use crate::servers;

/// Serves until it is told to stop.
///
/// # Errors
/// The configuration is bad, or something it needs is not there.
pub fn run(args: &DevArgs) -> Result<u8, Failure> {
    servers::dev(args.listen.as_deref(), |url| {
        let words = format!(
            "Olympus and an agent are ready at {url}\n\n\
             \x20 curl -s '{url}/v1/runs?wait=30s' -H 'content-type: application/json' \
             -d '{{\"template\": \"host\", \"command\": [\"echo\", \"hello\"]}}'\n\
             \x20 TARTARUS_ADDR={url} tartarus run -- echo hello\n"
        );
        print::write(words.as_bytes())
    })
}
