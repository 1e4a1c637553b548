//! The command line of the waiting line and the dead letters.

use clap::{Args, Subcommand};

use super::{FROM_0, WhenArgs, whole};

#[derive(Debug, Subcommand)]
pub enum QueueVerb {
    /// Depth by pool, heat and tenant; the oldest wait; how many runs are out of attempts
    Status(WhenArgs),
    /// Give no more runs to nodes; what runs goes on
    Pause,
    /// Give runs to nodes again
    Resume,
    /// List runs that are out of attempts, newest first
    Dead(DeadArgs),
    /// Have runs that are out of attempts judged again, and made new runs
    #[command(after_help = REDRIVE_HELP)]
    Redrive(RedriveArgs),
}

const REDRIVE_HELP: &str = "\
What was submitted is judged by the law of today, from the template of today. What is refused stays
where it is, and the exit code is 1.";

#[derive(Debug, Args)]
pub struct DeadArgs {
    /// Only from this template
    #[arg(short, long)]
    pub template: Option<String>,
    /// Only of this tenant
    #[arg(long)]
    pub tenant: Option<String>,
    /// Those that were redriven, and the runs that they became
    #[arg(long)]
    pub redriven: bool,
    /// So many at most
    #[arg(
        short = 'n', long, default_value_t = 100, value_name = "N",
        value_parser = whole::<usize>(FROM_0)
    )]
    pub limit: usize,
}

#[derive(Debug, Args)]
pub struct RedriveArgs {
    /// Ids of the runs
    #[arg(required_unless_present = "all", value_name = "ID")]
    pub ids: Vec<String>,
    /// All that there are, without a question
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
    /// With --all: only from this template
    #[arg(short, long, requires = "all", conflicts_with = "ids")]
    pub template: Option<String>,
    /// With --all: only of this tenant
    #[arg(long, requires = "all", conflicts_with = "ids")]
    pub tenant: Option<String>,
}
