//! Simulates: some seeds, or one with all that happened in it.
//!
//! Says:   what was found, each with the command that shows it again.

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

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
    /// Says how far it has come after so many seeds.
    #[arg(long, default_value_t = 1_000)]
    every: u64,
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

/// What was lived so far.
#[derive(Default)]
struct Lived {
    seeds: u64,
    found: u64,
    ms: u64,
    submissions: usize,
    done: usize,
    runs: usize,
    moved: usize,
    programs: usize,
    take_overs: usize,
    lost: usize,
    faults: BTreeMap<&'static str, u64>,
}

impl Lived {
    fn add(&mut self, report: &Report) {
        let counts = report.counts;
        self.seeds += 1;
        self.found += u64::from(!report.findings.is_empty());
        self.ms += counts.ms;
        self.submissions += counts.submissions;
        self.done += counts.done;
        self.runs += counts.runs;
        self.moved += counts.moved;
        self.programs += counts.programs;
        // The first who leads takes over from nobody.
        self.take_overs += counts.reigns.saturating_sub(1);
        self.lost += counts.lost;
        for (fault, times) in &report.faults {
            *self.faults.entry(fault).or_default() += times;
        }
    }

    fn so_far(&self, from: u64, began: Instant) -> String {
        let Self { seeds, found, ms, .. } = self;
        let (seconds, resident) = (began.elapsed().as_secs(), resident_mb());
        format!(
            "{seeds} seeds from {from}: {found} with findings; {} s simulated in {seconds} s, \
             {resident} MiB resident",
            ms / 1_000
        )
    }

    fn all(&self) -> String {
        let Self { submissions, done, runs, moved, programs, take_overs, lost, .. } = self;
        let faults = self.faults.iter().map(|(fault, times)| format!("{fault}: {times}"));
        let faults: Vec<String> = faults.collect();
        format!(
            "{submissions} submissions, {done} operations acknowledged, {runs} runs, {programs} \
             programs, {take_overs} take-overs, {lost} nodes lost, {moved} attempts to be moved\n\
             faults: {}",
            faults.join(", ")
        )
    }
}

/// What this process has in memory; 0 where nobody says so.
fn resident_mb() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    resident.unwrap_or(0) * 4 / 1_024
}

fn main() -> ExitCode {
    let args = Args::parse();
    let dir = args.dir.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("tartarus-sim-{}", std::process::id()))
    });
    let (from, seeds) = args.seed.map_or((args.from, args.seeds), |seed| (seed, 1));
    let (mut lived, began) = (Lived::default(), Instant::now());
    for seed in from..from.saturating_add(seeds) {
        let report = run(Plan::of(seed, args.planted), &dir, args.trace);
        // What it wrote is of no use to the next.
        let _ = std::fs::remove_dir_all(&dir);
        show(&report, &args);
        lived.add(&report);
        if args.seed.is_some() {
            println!("seed {seed}: hash {:016x}, {:?}", report.hash, report.counts);
        }
        if !report.findings.is_empty() && args.first {
            break;
        }
        if lived.seeds.is_multiple_of(args.every.max(1)) {
            println!("{}", lived.so_far(from, began));
        }
    }
    println!("{}\n{}", lived.so_far(from, began), lived.all());
    if lived.found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
