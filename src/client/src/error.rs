//! What can go wrong, in three words.

use std::time::Duration;

use api::problem::{Outcome, Problem};

/// An address that is not one of Olympus.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// It can't be read.
    #[error(
        "{given:?} is no address of Olympus: write it as \"http://host:port\", or several with commas \
         between"
    )]
    Form {
        /// What was given.
        given: String,
    },
    /// The token has characters that no header can carry.
    #[error("TARTARUS_TOKEN has characters that a header can't carry: give it in visible ASCII")]
    Token,
}

/// What is said behind the words for a connection that failed, where the call may have changed
/// something.
pub(crate) const UNKNOWN: &str = "; the outcome is unknown";

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Olympus said no; nothing was written, save the rejection of a run. Trying again is no use.
    #[error("{}", words(.0))]
    Refused(Box<Problem>),
    /// Surely nothing was written: try again later.
    #[error("{message}")]
    Unavailable {
        /// What happened and what to do.
        message: String,
        /// How long Olympus asks to wait.
        retry_after: Option<Duration>,
        /// The cause.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Maybe it was written: try again with the same key, or look.
    #[error("{message}")]
    Unknown {
        /// What happened and what to do.
        message: String,
        /// How long Olympus asks to wait.
        retry_after: Option<Duration>,
        /// The cause.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

fn words(problem: &Problem) -> String {
    if problem.detail.is_empty() {
        return format!("{} ({} {})", problem.code, problem.status, problem.title);
    }
    problem.detail.clone()
}

impl Error {
    /// The problem, where Olympus refused.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            Self::Unavailable { .. } | Self::Unknown { .. } => None,
        }
    }

    /// Whether Olympus refused with this status.
    pub fn is_status(&self, status: u16) -> bool {
        self.problem().is_some_and(|problem| problem.status == status)
    }

    /// How long Olympus asks to wait before another try.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(_) => None,
            Self::Unavailable { retry_after, .. } | Self::Unknown { retry_after, .. } => {
                *retry_after
            }
        }
    }

    /// The same failure of a call that comes after one of unknown outcome: what was unknown stays
    /// unknown, whatever a later try says about itself.
    pub(crate) fn after_unknown(self) -> Self {
        match self {
            Self::Unavailable { message, retry_after, source } => {
                Self::Unknown { message, retry_after, source }
            }
            Self::Refused(_) | Self::Unknown { .. } => self,
        }
    }

    /// The same failure of a call that changes nothing: it has no outcome to be unknown of.
    pub(crate) fn of_read(self) -> Self {
        match self {
            Self::Unknown { mut message, retry_after, source } => {
                message.truncate(message.trim_end_matches(UNKNOWN).len());
                Self::Unavailable { message, retry_after, source }
            }
            Self::Refused(_) | Self::Unavailable { .. } => self,
        }
    }

    /// From an answer of 503, or another that is not the law's.
    pub(crate) fn from_problem(problem: Problem, retry_after: Option<Duration>) -> Self {
        if problem.status < 500 {
            return Self::Refused(Box::new(problem));
        }
        let message = words(&problem);
        match problem.outcome {
            Some(Outcome::NotApplied) => Self::Unavailable { message, retry_after, source: None },
            // 500 or a 502 of a proxy says nothing about the write.
            Some(Outcome::Unknown) | None => Self::Unknown { message, retry_after, source: None },
        }
    }
}
