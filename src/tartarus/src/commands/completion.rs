//! `tartarus completion`: a script that completes commands in a shell.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::exit::{DONE, Failure};
use crate::print;

/// Prints the script.
///
/// # Errors
/// Stdout can't be written to.
pub fn run(shell: Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "tartarus", &mut script);
    print::write(&script)?;
    Ok(DONE)
}
