//! The command line of those who read the past: replay and audit.

use api::query::At;
use clap::{Args, Subcommand};

use super::trust::TrustArgs;

/// Where the journal is; without either, where Olympus would keep it (REDIS_ADDR)
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// The journal in this Redis; REDIS_DB, REDIS_PASSWORD and TARTARUS_KEY_PREFIX count
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "file")]
    pub redis: Option<String>,
    /// A file that `tartarus audit export` wrote
    #[arg(long, value_name = "FILE", conflicts_with = "archive")]
    pub file: Option<std::path::PathBuf>,
    /// What has left Redis: a directory, or s3://BUCKET/PREFIX; alone where no Redis is named
    #[arg(long, value_name = "PLACE")]
    pub archive: Option<String>,
}

/// The present, or the state as it was
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct WhenArgs {
    /// As it was after this entry (17), at this time (RFC 3339), or so long ago
    #[arg(long, value_name = "POINT", value_parser = at)]
    pub at: Option<At>,
}

impl SourceArgs {
    /// Whether the journal is to be read itself, and not a server asked.
    pub fn is_given(&self) -> bool {
        self.redis.is_some() || self.file.is_some() || self.archive.is_some()
    }
}

#[derive(Debug, Subcommand)]
pub enum ReplayVerb {
    /// Verify the chain and who vouches for it, and decide everything again; exit 1 where anything
    /// is wrong
    Verify {
        #[command(flatten)]
        source: SourceArgs,
        #[command(flatten)]
        trust: TrustArgs,
    },
    /// Print events
    Show(ShowArgs),
    /// Show the state, or a run, as it was
    At(AtArgs),
    /// Show what changed between two points
    Diff(DiffArgs),
    /// Walk through a run's life, event by event: what changed, who caused it and why
    Step(StepArgs),
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    /// Only events of this run
    #[arg(long, value_name = "ID", value_parser = run_id)]
    pub run: Option<uuid::Uuid>,
    /// Only events of this type, such as run.finished; may be repeated
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Only events of this tenant's runs
    #[arg(long)]
    pub tenant: Option<String>,
    /// From an entry (17), a time (RFC 3339) or so long ago on
    #[arg(long, value_name = "POINT", value_parser = point)]
    pub since: Option<replay::Point>,
    /// Up to an entry, a time or so long ago
    #[arg(long, value_name = "POINT", value_parser = point)]
    pub until: Option<replay::Point>,
}

#[derive(Debug, Args)]
pub struct AtArgs {
    /// After this entry (17), at this time (RFC 3339), or so long ago
    #[arg(value_parser = point)]
    pub point: replay::Point,
    /// This run, as it was then
    #[arg(long, value_name = "ID", value_parser = run_id)]
    pub run: Option<uuid::Uuid>,
    #[command(flatten)]
    pub source: SourceArgs,
}

#[derive(Debug, Args)]
pub struct StepArgs {
    /// Id of the run
    #[arg(value_parser = run_id)]
    pub run: uuid::Uuid,
    #[command(flatten)]
    pub source: SourceArgs,
}

#[derive(Debug, Args)]
pub struct WhyArgs {
    /// Id of a run, of an event (17.3), or of a node
    pub id: String,
    #[command(flatten)]
    pub source: SourceArgs,
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The earlier point: an entry (17), a time (RFC 3339), or so long ago
    #[arg(value_parser = point)]
    pub from: replay::Point,
    /// The later point
    #[arg(value_parser = point)]
    pub to: replay::Point,
    #[command(flatten)]
    pub source: SourceArgs,
}

#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// Write entries with their events: lines to read, and bytes to verify
    Export(ExportArgs),
    /// Verify an export, without a server and without Redis
    Verify {
        /// The file
        file: std::path::PathBuf,
        /// A file of `tartarus audit reveal`: shows what it holds where it belongs to this export
        #[arg(long = "opening", value_name = "FILE")]
        openings: Vec<std::path::PathBuf>,
        #[command(flatten)]
        trust: TrustArgs,
    },
    /// Show what a run or a template was given, and nothing else, to somebody who has a redacted
    /// export
    Reveal(RevealArgs),
}

#[derive(Debug, Args)]
pub struct RevealArgs {
    /// Id of a run, or of an event (17.3)
    pub id: String,
    /// What to show: env, stdin, or both with a comma between them
    #[arg(long, value_name = "KINDS", value_parser = secrets)]
    pub show: replay::Kinds,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub source: SourceArgs,
}

#[derive(Debug, Args)]
pub struct TargetArgs {
    /// Where to, under a name that is not taken yet; without, to stdout
    #[arg(long, value_name = "FILE")]
    pub output: Option<std::path::PathBuf>,
    /// Take the place of a file of that name, when what is written is whole
    #[arg(long, requires = "output")]
    pub overwrite: bool,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// From an entry (17), a time (RFC 3339) or so long ago on
    #[arg(long, value_name = "POINT", value_parser = point)]
    pub since: Option<replay::Point>,
    /// Up to an entry, a time or so long ago
    #[arg(long, value_name = "POINT", value_parser = point)]
    pub until: Option<replay::Point>,
    /// What to leave out: env, stdin, both with a comma between them, all, or none; what is left out
    /// can't be seen any more, and the export is verified all the same [default: none]
    #[arg(long, value_name = "KINDS", value_parser = kinds)]
    pub redact: Option<replay::Kinds>,
    #[command(flatten)]
    pub source: SourceArgs,
}

fn secrets(text: &str) -> Result<replay::Kinds, String> {
    let names: Vec<String> = text.split(',').map(Into::into).collect();
    replay::export::kinds(&names).ok_or_else(|| "give env, stdin, or env,stdin".to_owned())
}

fn kinds(text: &str) -> Result<replay::Kinds, String> {
    match text {
        "none" => Ok(replay::Kinds::NONE),
        "all" => Ok(replay::Kinds::ALL),
        _ => secrets(text).map_err(|_| "give env, stdin, env,stdin, all or none".to_owned()),
    }
}

fn at(text: &str) -> Result<At, String> {
    Ok(match point(text)? {
        replay::Point::Sequence(sequence) => At::Sequence(sequence),
        replay::Point::Time(time) => At::Time(time),
    })
}

fn point(text: &str) -> Result<replay::Point, String> {
    if let Ok(sequence) = text.parse() {
        return Ok(replay::Point::Sequence(sequence));
    }
    let moment = text.parse::<api::time::Moment>();
    let moment = moment.map_err(|e| format!("give the sequence of an entry, or {e}"))?;
    Ok(replay::Point::Time(moment.resolve(crate::print::now())))
}

pub(super) fn run_id(text: &str) -> Result<uuid::Uuid, String> {
    text.parse().map_err(|_| "give the id of a run, a UUID".to_owned())
}
