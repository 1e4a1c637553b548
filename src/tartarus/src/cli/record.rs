//! The command line of what the journal says of itself.

use clap::Subcommand;

use super::whole;

#[derive(Debug, Subcommand)]
pub enum LevelVerb {
    /// Let events be written that older programs do not read: there is no way back
    #[command(after_help = RAISE_HELP)]
    Raise {
        /// To this level
        #[arg(value_parser = whole::<u32>(", such as 3"))]
        level: u32,
        /// Also where an instance lives that does not read it: it stops
        #[arg(long)]
        force: bool,
    },
}

const RAISE_HELP: &str = "\
Raise it when every instance runs a version that reads it, and no older one is needed any more.
It is refused while an instance lives that says that it reads less; those from before level 3 do not
say that they live.
Checkpoints are signed from the next start of Olympus on, which announces its key.";
