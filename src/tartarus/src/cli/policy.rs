//! The command line of the law's authors: policies, their history, and what a draft would change.

use std::path::PathBuf;

use api::time::Moment;
use api::what_if::Share;
use clap::{Args, Subcommand};

use super::{SourceArgs, VERSION, WhenArgs, whole};

const APPLY_HELP: &str = "\
With --what-if the draft is tried first, as `tartarus policy what-if` does, and is applied only
where nothing flips or every gate holds; the history then names the report.";

const WHAT_IF_HELP: &str = "\
A limit is a number (10) or a share of what was judged (0.5%). Without any, one flip is enough for
exit code 1; with one, flips below it are none.

Asks Olympus; with --redis or --export it is answered here, and Olympus is not asked.";

#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// List all policies
    List(WhenArgs),
    /// Print a policy
    Get {
        /// Its name
        name: String,
        #[command(flatten)]
        when: WhenArgs,
    },
    /// Create or replace policies from files
    #[command(after_help = APPLY_HELP)]
    Apply(PolicyApplyArgs),
    /// Delete a policy
    Delete {
        /// Its name
        name: String,
    },
    /// List every version of a policy
    History {
        /// Its name
        name: String,
    },
    /// Show what is different between two versions of a policy, or a file and the current one;
    /// exit with 1 where something is
    Diff(PolicyDiffArgs),
    /// Judge the recorded submissions under a draft, beside what really became of them; exit with 1
    /// where one flips, or a gate is exceeded
    #[command(after_help = WHAT_IF_HELP)]
    WhatIf(WhatIfArgs),
    /// Put a version of a policy into force again, as a new version
    Restore {
        /// Its name
        name: String,
        /// Number of the version
        #[arg(value_parser = whole::<u64>(VERSION))]
        version: u64,
        /// Only if this version is the current one
        #[arg(long, value_name = "VERSION", value_parser = whole::<u64>(VERSION))]
        if_version: Option<u64>,
    },
}

#[derive(Debug, Args)]
pub struct PolicyDiffArgs {
    /// Name of the policy; with --file it may be left out
    #[arg(required_unless_present = "file")]
    pub name: Option<String>,
    /// The older version [default: the one before the newer]
    #[arg(value_name = "OLD", conflicts_with = "file", value_parser = whole::<u64>(VERSION))]
    pub old: Option<u64>,
    /// The newer version [default: the current one]
    #[arg(value_name = "NEW", conflicts_with = "file", value_parser = whole::<u64>(VERSION))]
    pub new: Option<u64>,
    /// Compare the current version with this file; - is stdin
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct PolicyApplyArgs {
    /// YAML or JSON; - is stdin
    #[arg(short, long, required = true, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// Only if this version is the current one
    #[arg(long, value_name = "VERSION", value_parser = whole::<u64>(VERSION))]
    pub if_version: Option<u64>,
    /// Try it first, and apply it only where nothing flips or every gate holds
    #[arg(long)]
    pub what_if: bool,
    #[command(flatten)]
    pub gates: GateArgs,
}

#[derive(Debug, Args)]
pub struct WhatIfArgs {
    /// The draft, YAML or JSON; - is stdin
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Name of the policy that the draft is to replace [default: the draft's own]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub gates: GateArgs,
    #[command(flatten)]
    pub beside: BesideArgs,
}

/// What a what-if may find without being a failure.
#[derive(Debug, Args)]
pub struct GateArgs {
    /// Submissions since a time (RFC 3339), or since so long ago [default: 7d]
    #[arg(long, value_name = "WHEN")]
    pub since: Option<Moment>,
    /// Most that were let in and would be turned away
    #[arg(long, value_name = "LIMIT")]
    pub max_newly_rejected: Option<Limit>,
    /// Most that were not in quarantine and would be
    #[arg(long, value_name = "LIMIT")]
    pub max_newly_quarantined: Option<Limit>,
    /// Most whose outcome would be another
    #[arg(long, value_name = "LIMIT")]
    pub max_flips: Option<Limit>,
    /// Most that can't be judged again
    #[arg(long, value_name = "LIMIT")]
    pub max_not_replayed: Option<Limit>,
}

/// Where the journal is, when Olympus is not to be asked.
#[derive(Debug, Args)]
pub struct BesideArgs {
    /// The journal in this Redis; REDIS_DB, REDIS_PASSWORD and TARTARUS_KEY_PREFIX count
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "export")]
    pub redis: Option<String>,
    /// A file that `tartarus audit export` wrote
    #[arg(long, value_name = "FILE", conflicts_with = "archive")]
    pub export: Option<PathBuf>,
    /// What has left Redis: a directory, or s3://BUCKET/PREFIX
    #[arg(long, value_name = "PLACE")]
    pub archive: Option<String>,
    /// Read to this entry alone: what a report of then has at its head
    #[arg(long, value_name = "ENTRY", value_parser = whole::<u64>(", the sequence of an entry"))]
    pub until: Option<u64>,
}

impl BesideArgs {
    /// Where to read, where that is said.
    pub fn source(&self) -> Option<SourceArgs> {
        let Self { redis, export, archive, .. } = self;
        let source =
            SourceArgs { redis: redis.clone(), file: export.clone(), archive: archive.clone() };
        let named = source.redis.is_some() || source.file.is_some() || source.archive.is_some();
        named.then_some(source)
    }
}

/// A limit of a gate: a number, or thousandths of a percent of what was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many.
    Count(u64),
    /// Such a share, in thousandths of a percent.
    Share(u64),
}

impl Limit {
    /// Whether it holds.
    pub fn holds(self, count: u64, of: u64) -> bool {
        match self {
            Self::Count(limit) => count <= limit,
            Self::Share(limit) => u128::from(count) * 100_000 <= u128::from(limit) * u128::from(of),
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(limit) => write!(f, "{limit}"),
            Self::Share(limit) => write!(f, "{}%", Share::new(*limit, 100_000).percent),
        }
    }
}

impl std::str::FromStr for Limit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "give a number such as 10, or a share such as 0.5%, to three places";
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let Some(percent) = text.strip_suffix('%') else {
            return text.parse().ok().filter(|_| digits(text)).map(Self::Count).ok_or(FORM);
        };
        let (whole, places) = percent.split_once('.').unwrap_or((percent, "0"));
        if !digits(whole) || !digits(places) || places.len() > 3 {
            return Err(FORM);
        }
        let thousandths = format!("{whole}{places:0<3}").parse().map_err(|_| FORM)?;
        if thousandths > 100_000 { Err("give 0% to 100%") } else { Ok(Self::Share(thousandths)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_a_share_of_what_was_judged() {
        for (text, count, of, holds) in [
            ("0", 0, 100, true),
            ("0", 1, 100, false),
            ("10", 10, 10, true),
            ("0.5%", 5, 1_000, true),
            ("0.5%", 6, 1_000, false),
            ("0.125%", 1, 800, true),
            ("0.124%", 1, 800, false),
            ("100%", 7, 7, true),
            ("0%", 0, 0, true),
            ("1.5%", u64::MAX / 100, u64::MAX, true),
        ] {
            let limit: Limit = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(limit.holds(count, of), holds, "{count} of {of} within {text}");
        }
        for text in ["", "%", "-1", "+1", "0.5", ".5%", "5.%", "0.1234%", "101%", "100.001%", "1 %"]
        {
            assert!(text.parse::<Limit>().is_err(), "{text:?}");
        }
        assert_eq!("0.5%".parse::<Limit>().map(|limit| limit.to_string()), Ok("0.500%".into()));
    }
}
