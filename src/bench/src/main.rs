//! The load tool: what the house does in a second, beside the floor it can't beat.
//!
//! Owns:   nothing; it starts its own servers on loopback, in empty directories, and stops them by
//!         their pids.
//! Says:   medians of rounds that alternate between floor and house, and their ratio: machines are
//!         noisy, one number alone says little.
//! Never:  judges: what is promised stands in `docs/limits.md`.

#![allow(clippy::print_stdout)]

mod echo;
mod http;
mod launch;
mod replay;
mod restart;
mod servers;
mod stats;
mod submit;
mod what_if;

use clap::{Parser, Subcommand};

/// As the program that is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Tartarus Olympus beside the floor it can't beat.
#[derive(Parser)]
#[command(name = "tartarus-bench", version)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Submissions a second, beside a bare actix-web JSON echo and a raw Redis append.
    Submit(submit::Submit),
    /// Events replayed a second, from reading the journal to a folded World.
    Replay(replay::Replay),
    /// Submissions judged a second under a draft.
    WhatIf(what_if::WhatIf),
    /// A restart with a million runs in a snapshot and 100,000 events behind it.
    Restart(restart::Restart),
    /// From submission to first output on an idle node, beside the bare runtime's launch.
    Launch(launch::Launch),
    /// The echo server, for use by `submit`.
    #[command(hide = true)]
    Echo(echo::Echo),
}

/// Anything that keeps a measurement from being made.
pub type Failed = Box<dyn std::error::Error>;

fn main() -> std::process::ExitCode {
    sandbox::init_hook();
    let outcome = match Args::parse().what {
        What::Submit(submit) => actix_rt::System::new().block_on(submit.run()),
        What::Replay(replay) => actix_rt::System::new().block_on(replay.run()),
        What::WhatIf(what_if) => actix_rt::System::new().block_on(what_if.run()),
        What::Restart(restart) => actix_rt::System::new().block_on(restart.run()),
        What::Launch(launch) => actix_rt::System::new().block_on(launch.run()),
        What::Echo(echo) => echo.run(),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            println!("no result: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
