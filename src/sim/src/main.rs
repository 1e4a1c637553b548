//! Simulates: some seeds, or one with all that happened in it.
//!
//! Says:   what was found, each with the command that shows it again.

#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sim::{Plan, Planted, Report, run};

/// Lives seeds of the simulated house through, and holds each against the rules.
#[derive(Parser)]
#[command(name = "tartarus-sim", version)]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints all that happened.
    #[arg(long)]
    trace: bool,
    /// Plants a bug, which should be found.
    #[arg(long, value_parser = planted)]
    planted: Option<Planted>,
    /// Stops at the first seed in which something is found.
    #[arg(long)]
    first: bool,
    /// Where files of the simulated instances go.
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn planted(name: &str) -> Result<Planted, String> {
    let known = Planted::ALL.iter().find(|(known, _)| *known == name);
    let names = || Planted::ALL.map(|(name, _)| name).join(", ");
    known.map(|(_, planted)| *planted).ok_or_else(|| format!("one of {}", names()))
}

fn show(report: &Report, args: &Args) {
    for line in &report.trace {
        println!("{line}");
    }
    for finding in &report.findings {
        println!("seed {}: {}: {}", report.seed, finding.rule, finding.what);
    }
    if !report.findings.is_empty() {
        let named = Planted::ALL.iter().find(|(_, planted)| Some(*planted) == args.planted);
        let planted = named.map_or(String::new(), |(name, _)| format!(" --planted {name}"));
        println!("cargo run --release -p sim -- --seed {} --trace{planted}", report.seed);
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let dir = args.dir.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("tartarus-sim-{}", std::process::id()))
    });
    let (from, seeds) = args.seed.map_or((args.from, args.seeds), |seed| (seed, 1));
    let (mut found, mut sum) = (0_u64, [0_u64; 6]);
    let began = std::time::Instant::now();
    for seed in from..from.saturating_add(seeds) {
        let report = run(Plan::of(seed, args.planted), &dir, args.trace);
        // What it wrote is of no use to the next.
        let _ = std::fs::remove_dir_all(&dir);
        show(&report, &args);
        let counts = report.counts;
        let of = [counts.ms, counts.done as u64, counts.runs as u64, counts.reigns as u64];
        let of = of.into_iter().chain([counts.lost as u64, counts.programs as u64]);
        sum.iter_mut().zip(of).for_each(|(sum, count)| *sum += count);
        if args.seed.is_some() {
            println!("seed {seed}: hash {:016x}, {:?}", report.hash, report.counts);
        }
        if !report.findings.is_empty() {
            found += 1;
            if args.first {
                break;
            }
        }
        if (seed - from + 1) % 1_000 == 0 {
            println!("{} seeds, {found} with findings", seed - from + 1);
        }
    }
    let [ms, done, runs, reigns, lost, programs] = sum;
    println!(
        "{seeds} seeds from {from}: {found} with findings; {} s simulated in {} s; {done} operations \
         acknowledged, {runs} runs, {programs} programs, {reigns} reigns, {lost} nodes lost",
        ms / 1_000,
        began.elapsed().as_secs()
    );
    if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
