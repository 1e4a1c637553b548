//! Tartarus: the one binary. Control plane, agent, and the command line over them.
//!
//! Owns:   the start of a process: hooks, arguments, logs; and its exit code.
//! Hears:  arguments and the environment.
//! Says:   data on stdout, messages and logs on stderr.
//! Never:  starts a thread before the sandbox's own entry has been ruled out.
//! Fails:  with the exit codes of [`exit`]; a panic aborts.
//! Proof:  `tests/cli.rs`, and the tables beside the code.

mod cli;
mod commands;
mod connect;
mod diff;
mod exit;
mod logging;
mod print;
mod servers;
mod terminal;

use std::process::ExitCode;

/// glibc gives memory back to the kernel and takes it again with every submission, a system call
/// each (`mprotect`); this one keeps it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::exit::Failure;
use crate::terminal::Terminal;

fn main() -> ExitCode {
    // A sandbox's keeper is this program, executed again: nothing of the rest concerns it.
    sandbox::init_hook();
    abort_on_panic();
    let cli = Cli::parse();
    let terminal = Terminal::of_process(cli.quiet);
    if let Err(failure) = logging::start(cli.command.kind()) {
        return failure.report(&terminal);
    }
    match believe().and_then(|()| dispatch(cli, &terminal)) {
        Ok(code) => code.into(),
        Err(failure) => failure.report(&terminal),
    }
}

/// Believes the authorities of `TARTARUS_CA_FILE` from here on.
fn believe() -> Result<(), Failure> {
    match std::env::var_os(tls::CA_FILE).filter(|file| !file.is_empty()) {
        Some(file) => tls::believe(file.as_ref()).map_err(|bad| Failure::Usage(bad.to_string())),
        None => Ok(()),
    }
}

/// A program that has panicked knows nothing of its state any more; the next start replays.
fn abort_on_panic() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        std::process::abort();
    }));
}

fn dispatch(cli: Cli, terminal: &Terminal) -> Result<u8, Failure> {
    let Cli { addr, format, quiet: _, command } = cli;
    let addr = addr.filter(|addr| !addr.trim().is_empty());
    let connected = || connect::client(addr.as_deref());
    match command {
        Command::Dev(args) => commands::dev::run(&args),
        Command::Olympus => servers::olympus(),
        Command::Agent => servers::agent(),
        Command::Run(args) => commands::run::run(addr.as_deref(), *args, format, terminal),
        Command::Ps(args) => commands::ps::run(&connected()?, *args, format, terminal),
        Command::Inspect { id, when } => {
            commands::inspect::run(&connected()?.at(when.at), &id, format)
        }
        Command::Explain { id, when } => {
            commands::explain::run(&connected()?.at(when.at), &id, format)
        }
        Command::Why(args) => commands::why::run(&connected()?, &args, format, terminal),
        Command::Logs(args) => commands::logs::run(&connected()?, args, format, terminal),
        Command::Events(args) => commands::events::run(&connected()?, args, format),
        Command::Kill { ids } => commands::kill::run(&connected()?, &ids, format),
        Command::Node(verb) => commands::node::run(&connected()?, verb, format, terminal),
        Command::Queue(verb) => commands::queue::run(&connected()?, verb, format, terminal),
        Command::Quarantine(verb) => commands::quarantine::run(&connected()?, verb, format),
        Command::Heat { verb } => commands::heat::run(&connected()?, verb, format),
        Command::Template(verb) => commands::template::run(&connected()?, verb, format, terminal),
        Command::Policy(verb) => commands::policy::run(&connected()?, verb, format, terminal),
        Command::Replay(verb) => commands::replay::run(verb, format, terminal),
        Command::Audit(verb) => commands::audit::run(verb, format, terminal),
        Command::Keys => commands::record::keys(&connected()?, format),
        Command::Level { verb } => commands::record::level(&connected()?, verb, format),
        Command::Doctor => commands::doctor::run(addr.as_deref(), format, terminal),
        Command::Healthcheck { url } => commands::healthcheck::run(&url),
        Command::Completion { shell } => commands::completion::run(shell),
    }
}
