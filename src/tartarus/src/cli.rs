//! The command line: what can be asked, in the words of the help.

use std::str::FromStr;

use api::given::Word;
use api::placement::PreferenceDocument;
use api::{Duration, Heat, OnLost, Pool, Status, Strategy};
use clap::{Args, Parser, Subcommand};

mod past;
mod policy;
mod queue;
mod record;
#[cfg(test)]
mod tests;
mod trust;

pub use past::{
    AtArgs, AuditVerb, DiffArgs, ExportArgs, ReplayVerb, RevealArgs, ShowArgs, SourceArgs,
    StepArgs, TargetArgs, WhenArgs, WhyArgs,
};
pub use policy::{GateArgs, Limit, PolicyApplyArgs, PolicyDiffArgs, PolicyVerb, WhatIfArgs};
pub use queue::{DeadArgs, QueueVerb, RedriveArgs};
pub use record::LevelVerb;
pub use trust::TrustArgs;

use crate::logging::Kind;
use crate::print::Format;

/// Runs untrusted code in sandboxes on a fleet of nodes, and can prove afterwards what it did.
#[derive(Debug, Parser)]
#[command(name = "tartarus", version, about, max_term_width = 100)]
pub struct Cli {
    /// Where Olympus is: one or more URLs with commas between, tried in turn [default:
    /// http://127.0.0.1:8080]
    #[arg(long, global = true, env = "TARTARUS_ADDR", value_name = "URL[,URL]")]
    pub addr: Option<String>,
    /// How data is shown
    #[arg(short = 'o', long, global = true, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Say nothing but errors on stderr
    #[arg(short, long, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start Olympus and an agent in one process
    Dev(DevArgs),
    /// Start the control plane
    Olympus,
    /// Start a node's agent
    Agent,
    /// Run a command in a sandbox, stream its output, and exit as it does
    #[command(after_help = RUN_HELP)]
    Run(Box<RunArgs>),
    /// List runs, newest first
    Ps(Box<PsArgs>),
    /// Show one run whole
    Inspect {
        /// Id of the run
        id: String,
        #[command(flatten)]
        when: WhenArgs,
    },
    /// Tell why a run is where it is: judges, heat, pool, place in line, nodes, nearest miss
    Explain {
        /// Id of the run
        id: String,
        #[command(flatten)]
        when: WhenArgs,
    },
    /// Tell what led to what: from the last event of a run back to who asked and which law
    Why(WhyArgs),
    /// Print a run's output
    Logs(LogsArgs),
    /// Print what has happened, event by event, from the journal's first on
    Events(EventsArgs),
    /// Cancel runs
    Kill {
        /// Ids of the runs
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Look at the fleet, drain nodes and label them
    #[command(subcommand)]
    Node(NodeVerb),
    /// Look at the waiting line, and at the runs that are out of attempts
    #[command(subcommand)]
    Queue(QueueVerb),
    /// Look at what is quarantined, and let it go or reject it
    #[command(subcommand)]
    Quarantine(QuarantineVerb),
    /// Show the thresholds of heat and what is learned, or set them
    Heat {
        #[command(subcommand)]
        verb: Option<HeatVerb>,
    },
    /// Manage what sandboxes start from
    #[command(subcommand)]
    Template(TemplateVerb),
    /// Manage what submissions may ask for
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Verify the journal, and look at the past: without a server, and writing nothing
    #[command(subcommand)]
    Replay(ReplayVerb),
    /// Take the journal away in a form that anyone can verify
    #[command(subcommand)]
    Audit(AuditVerb),
    /// List the keys that the journal was signed with: what to pin (--key)
    Keys,
    /// Show what programs the journal is written for, or raise that
    Level {
        #[command(subcommand)]
        verb: Option<LevelVerb>,
    },
    /// Check this machine, its configuration and its Redis
    Doctor,
    /// Ask a URL, and fail unless it answers 200: what a container's health check calls
    #[command(hide = true)]
    Healthcheck {
        /// Such as http://127.0.0.1:8080/readyz
        url: String,
    },
    /// Print a completion script for a shell
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

const RUN_HELP: &str = "\
Without --addr and TARTARUS_ADDR, an Olympus of its own is started for this run.

Exit codes: the program's own; 124 its time ran out, 125 Tartarus itself failed,
126 refused or not placed, 127 no such command, 128+n ended by signal n.";

impl Command {
    /// What the process is for.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Dev(_) | Self::Olympus | Self::Agent => Kind::Server,
            Self::Run(_)
            | Self::Ps(_)
            | Self::Inspect { .. }
            | Self::Explain { .. }
            | Self::Why(_)
            | Self::Logs(_)
            | Self::Events(_)
            | Self::Kill { .. }
            | Self::Node(_)
            | Self::Queue(_)
            | Self::Quarantine(_)
            | Self::Heat { .. }
            | Self::Template(_)
            | Self::Policy(_)
            | Self::Replay(_)
            | Self::Audit(_)
            | Self::Keys
            | Self::Level { .. }
            | Self::Doctor
            | Self::Healthcheck { .. }
            | Self::Completion { .. } => Kind::Client,
        }
    }
}

#[derive(Debug, Args)]
pub struct DevArgs {
    /// Where to listen; port 0 picks a free one [default: TARTARUS_LISTEN_ADDR, else 127.0.0.1:8080]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// What the sandbox starts from
    #[arg(short, long, default_value = domain::law::HOST_TEMPLATE)]
    pub template: String,
    /// Thousandths of a core
    #[arg(
        long, value_name = "N",
        value_parser = whole::<i64>(" of thousandths of a core, such as 500")
    )]
    pub cpu_milli: Option<i64>,
    /// Memory in MiB
    #[arg(long, value_name = "N", value_parser = whole::<i64>(" of MiB, such as 64"))]
    pub mem_mb: Option<i64>,
    /// Whole GPUs
    #[arg(long, value_name = "N", value_parser = whole::<i64>(" of GPUs, such as 1"))]
    pub gpu: Option<i64>,
    /// Wall clock of one attempt, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = Duration::read)]
    pub ttl: Option<Duration>,
    /// Set a variable of the program; without =VALUE, to what it is here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Feed stdin to the program (64 KiB of text at most)
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// cold, warm, hot or inferno
    #[arg(long, value_parser = Heat::read)]
    pub heat: Option<Heat>,
    /// 0 to 100, higher goes first
    #[arg(long, value_name = "N", value_parser = whole::<i64>(" from 0 to 100"))]
    pub priority: Option<i64>,
    /// Attempts in all, when the program fails by itself
    #[arg(long, value_name = "N", value_parser = whole::<i64>(" of attempts, such as 3"))]
    pub max_attempts: Option<i64>,
    /// Pause before the second attempt; it doubles with each further one
    #[arg(long, value_name = "DURATION", value_parser = Duration::read)]
    pub backoff: Option<Duration>,
    /// What losing the node means: retry or fail
    #[arg(long, value_parser = OnLost::read)]
    pub on_lost: Option<OnLost>,
    /// How long the run is remembered after its end
    #[arg(long, value_name = "DURATION", value_parser = Duration::read)]
    pub max_age: Option<Duration>,
    /// A label for selection
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = pair)]
    pub label: Vec<(String, String)>,
    /// Who and why; tenant and quarantine mean something
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = pair)]
    pub metadata: Vec<(String, String)>,
    /// Only nodes with these labels: a=b,c!=d,e in (f,g),!h
    #[arg(long, value_name = "SELECTOR")]
    pub require: Option<api::Selector>,
    /// Rather nodes with these labels; weight 1 to 100, 50 where none is given
    #[arg(long, value_name = "SELECTOR[:WEIGHT]", value_parser = preference)]
    pub prefer: Vec<PreferenceDocument>,
    /// Only nodes that enforce this, such as seccomp; may be repeated
    #[arg(long, value_name = "NAME")]
    pub isolation: Vec<String>,
    /// spread or pack
    #[arg(long, value_parser = Strategy::read)]
    pub strategy: Option<Strategy>,
    /// The caller's own name for this submission: repeated within 24 hours, it gives the same run
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Give up (126) when no node has taken it by then
    #[arg(long, value_name = "DURATION", value_parser = Duration::read)]
    pub place_within: Option<Duration>,
    /// Submit, print the id, and leave
    #[arg(short, long, conflicts_with = "place_within")]
    pub detach: bool,
    /// Ask what the judges would say, and run nothing
    #[arg(long, conflicts_with = "detach")]
    pub dry_run: bool,
    /// The same as --format json
    #[arg(long)]
    pub json: bool,
    /// Program and arguments; without, the template's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct PsArgs {
    /// Only of this status; may be repeated
    #[arg(short, long, value_parser = status)]
    pub status: Vec<Status>,
    /// Only from this template
    #[arg(short, long)]
    pub template: Option<String>,
    /// Only of this tenant
    #[arg(long)]
    pub tenant: Option<String>,
    /// Only on this node
    #[arg(long)]
    pub node: Option<String>,
    /// Only of this heat
    #[arg(long, value_parser = Heat::read)]
    pub heat: Option<Heat>,
    /// Only of this pool: standard, high_compute or quarantine
    #[arg(long, value_parser = pool)]
    pub pool: Option<Pool>,
    /// Only with these labels: a=b,c!=d,e in (f,g),!h
    #[arg(short, long, value_name = "SELECTOR")]
    pub label: Option<api::Selector>,
    /// Only since a time (RFC 3339), or since so long ago
    #[arg(long, value_name = "WHEN")]
    pub since: Option<api::time::Moment>,
    /// Only before a time, or before so long ago
    #[arg(long, value_name = "WHEN")]
    pub until: Option<api::time::Moment>,
    /// So many at most
    #[arg(
        short = 'n', long, default_value_t = 100, value_name = "N",
        value_parser = whole::<usize>(FROM_0)
    )]
    pub limit: usize,
    #[command(flatten)]
    pub when: WhenArgs,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Id of the run
    pub id: String,
    /// Go on until the run has ended
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last so many lines
    #[arg(short = 'n', long, value_name = "N", value_parser = whole::<u64>(FROM_0))]
    pub tail: Option<u64>,
    /// Only stdout, or only stderr
    #[arg(long, value_parser = stream)]
    pub stream: Option<api::Stream>,
}

#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on with what is to come
    #[arg(short, long)]
    pub follow: bool,
    /// Only what comes after an event (17.3) or an entry of the journal (17)
    #[arg(long, value_name = "S.N")]
    pub after: Option<api::event::Place>,
    /// Only events of this type, such as run.finished; may be repeated
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Only events of this run
    #[arg(long, value_name = "ID", value_parser = past::run_id)]
    pub run: Option<uuid::Uuid>,
    /// So many at most
    #[arg(
        short = 'n', long, value_name = "N",
        value_parser = whole::<std::num::NonZeroU64>(" from 1 on, such as 100")
    )]
    pub limit: Option<std::num::NonZeroU64>,
}

#[derive(Debug, Subcommand)]
pub enum NodeVerb {
    /// List all nodes
    List(WhenArgs),
    /// Let no more work go to a node; what runs there finishes
    Drain {
        /// Its id
        id: String,
        /// Move what still runs after so long, such as 10m
        #[arg(long, value_name = "DURATION", value_parser = Duration::read)]
        deadline: Option<Duration>,
        /// Wait until nothing runs there
        #[arg(short, long)]
        wait: bool,
    },
    /// Let work go to a node again
    Undrain {
        /// Its id
        id: String,
    },
    /// Lay labels over those of a node's agent
    #[command(after_help = LABEL_HELP)]
    Label {
        /// The node's id
        id: String,
        /// key=value sets a label, key- takes it away
        #[arg(required = true, value_name = "LABEL", value_parser = label)]
        labels: Vec<(String, Option<String>)>,
    },
}

const LABEL_HELP: &str = "\
key- takes an operator's label away, so that the agent's own is seen again; where there is none, it
hides the agent's. A label that changes the node's pool is refused while the node has runs.";

#[derive(Debug, Subcommand)]
pub enum QuarantineVerb {
    /// List what is in quarantine, newest first
    List {
        /// Only what is waiting, running, ended, released or rejected
        #[arg(short, long, value_parser = api::query::stand)]
        status: Option<domain::ledger::Stand>,
        /// Only of this tenant
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        when: WhenArgs,
    },
    /// Have a waiting run judged again, and let it go
    Release(WordArgs),
    /// Reject a waiting run
    Reject(WordArgs),
}

#[derive(Debug, Args)]
pub struct WordArgs {
    /// Id of the run
    pub id: String,
    /// Why; kept with the run
    #[arg(short, long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum HeatVerb {
    /// Print the thresholds as a document
    Get,
    /// Set the thresholds from a file; what it leaves out is as published
    Apply(ApplyArgs),
    /// List every version of the thresholds
    History,
}

#[derive(Debug, Subcommand)]
pub enum TemplateVerb {
    /// List all templates
    List,
    /// Print a template
    Get {
        /// Its name
        name: String,
    },
    /// Create or replace templates from files
    Apply(ApplyArgs),
    /// Delete a template
    Delete {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// YAML or JSON; - is stdin
    #[arg(short, long, required = true, value_name = "FILE")]
    pub file: Vec<std::path::PathBuf>,
    /// Only if this version is the current one
    #[arg(long, value_name = "VERSION", value_parser = whole::<u64>(VERSION))]
    pub if_version: Option<u64>,
}

/// What a number of versions, and one that counts things, are to be.
const VERSION: &str = ", such as 3";
const FROM_0: &str = " from 0 on, such as 100";

/// Reads a number; a refusal says which.
fn whole<T: FromStr>(which: &'static str) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| text.parse().map_err(|_| format!("give a whole number{which}"))
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("write key=value".to_owned()),
    }
}

fn label(text: &str) -> Result<(String, Option<String>), String> {
    match (text.split_once('='), text.strip_suffix('-')) {
        (Some((key, value)), _) => Ok((key.to_owned(), Some(value.to_owned()))),
        (None, Some(key)) => Ok((key.to_owned(), None)),
        (None, None) => Err("write key=value, or key- to take it away".to_owned()),
    }
}

fn preference(text: &str) -> Result<PreferenceDocument, String> {
    // No selector has a colon.
    let (labels, weight) = match text.rsplit_once(':') {
        None => (text, None),
        Some((labels, weight)) => {
            let weight = weight.parse().map_err(|_| "write SELECTOR:WEIGHT".to_owned())?;
            (labels, Some(weight))
        }
    };
    labels.parse::<api::Selector>().map_err(|error| error.to_string())?;
    Ok(PreferenceDocument { labels: labels.into(), weight })
}

fn status(text: &str) -> Result<Status, String> {
    Status::read(text).ok_or_else(|| {
        format!("give one of {}", Status::ALL.map(Status::as_str).join(", ").to_lowercase())
    })
}

fn pool(text: &str) -> Result<Pool, String> {
    Pool::ALL
        .into_iter()
        .find(|pool| pool.as_str() == text)
        .ok_or_else(|| format!("give one of {}", Pool::ALL.map(Pool::as_str).join(", ")))
}

fn stream(text: &str) -> Result<api::Stream, String> {
    match text {
        "stdout" => Ok(api::Stream::Stdout),
        "stderr" => Ok(api::Stream::Stderr),
        _ => Err("give stdout or stderr".to_owned()),
    }
}
