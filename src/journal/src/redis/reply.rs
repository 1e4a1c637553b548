//! What the replies of Redis mean. The one place that tells "not executed" from "unknown".
//!
//! Source: `docs/journal.md` 4, and Redis 7's `server.c` (`processCommand`, pre-checks before a
//! script starts). What is in no list is unknown, and is treated as if it may have happened.

use std::sync::Arc;

use ::redis::{RedisError, Value};

use crate::port::{Appended, Refused, Trouble};

/// What an error says about the command it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No script of that digest: not executed.
    NoScript,
    /// Refused before it started, for a reason that passes.
    Busy(Arc<str>),
    /// Refused before it started: the server is a replica.
    ReadOnly(Arc<str>),
    /// Refused before it started: who this connection spoke for is gone. Another one may be let in.
    LoggedOut(Arc<str>),
    /// Refused for a reason that does not pass.
    Denied(Arc<str>),
    /// Any other reply, or none: the connection is of no more use.
    Unknown(Arc<str>),
}

impl Failure {
    pub(super) fn of(error: &RedisError) -> Self {
        let text = || -> Arc<str> { describe(error).into() };
        match error.code() {
            Some("NOSCRIPT") => Self::NoScript,
            Some("LOADING" | "BUSY" | "MASTERDOWN" | "OOM" | "MISCONF" | "NOREPLICAS") => {
                Self::Busy(text())
            }
            Some("READONLY") => Self::ReadOnly(text()),
            Some("NOAUTH" | "WRONGPASS") => Self::LoggedOut(text()),
            Some("WRONGTYPE" | "NOPERM") => Self::Denied(text()),
            Some(_) | None => Self::Unknown(text()),
        }
    }

    /// As the outcome of a call that changes nothing, or may be repeated.
    pub(super) fn trouble(self) -> Trouble {
        match self {
            Self::NoScript => Trouble::Busy("the server has forgotten a script".into()),
            Self::Busy(text) => Trouble::Busy(text),
            Self::ReadOnly(text) => Trouble::WrongServer(text),
            Self::LoggedOut(text) | Self::Denied(text) => Trouble::Denied(text),
            Self::Unknown(text) => Trouble::Unreachable(text),
        }
    }

    /// As the outcome of an append that was sent.
    pub(super) fn appended(self) -> Appended {
        match self {
            Self::NoScript => Appended::Busy("the server has forgotten the script".into()),
            Self::Busy(text) => Appended::Busy(text),
            Self::ReadOnly(text) => Appended::WrongServer(text),
            Self::LoggedOut(text) => Appended::Unreachable(text),
            Self::Denied(text) => Appended::Damaged(Refused::Reply(text)),
            Self::Unknown(text) => Appended::Unknown(text),
        }
    }
}

/// What the append script answered.
pub(super) fn appended(reply: &Value) -> Appended {
    let Some(text) = text(reply) else {
        return Appended::Unknown(format!("an unexpected reply: {reply:?}").into());
    };
    let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
    match (word, rest.parse()) {
        ("OK", _) => Appended::Committed { duplicate: false },
        ("DUP", _) => Appended::Committed { duplicate: true },
        ("CONFLICT", Ok(head)) => Appended::Conflict { head },
        // A head that is no id of ours was written by hand.
        ("NOHEAD" | "NOSTREAM" | "REJECTED" | "CONFLICT", _) => {
            Appended::Damaged(Refused::Reply(text.as_str().into()))
        }
        (_, _) => Appended::Unknown(format!("an unexpected reply: {text}").into()),
    }
}

/// A text as it is; one that somebody wrote by hand need not be UTF-8, and is shown, not trusted.
pub(super) fn text(reply: &Value) -> Option<String> {
    match reply {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Okay => Some("OK".into()),
        _ => None,
    }
}

/// The texts of a list; none where it has something else.
pub(super) fn texts(reply: &Value) -> Vec<Option<String>> {
    match reply {
        Value::Array(items) => items.iter().map(text).collect(),
        _ => Vec::new(),
    }
}

/// An error in the server's own words where it has some.
pub(super) fn describe(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.into(),
        (None, _) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::EntryId;

    fn check(reply: &str, expected: Appended) {
        assert_eq!(appended(&Value::BulkString(reply.into())), expected, "{reply}");
    }

    #[test]
    fn the_script_has_six_answers_and_anything_else_is_unknown() {
        check("OK", Appended::Committed { duplicate: false });
        check("DUP", Appended::Committed { duplicate: true });
        check("CONFLICT 7-9", Appended::Conflict { head: EntryId { seq: 7, h64: 9 } });
        for text in ["NOHEAD", "NOSTREAM", "REJECTED ERR id is too small", "CONFLICT by hand"] {
            check(text, Appended::Damaged(Refused::Reply(text.into())));
        }
        for text in ["", "ok", "QUEUED", "OKAY"] {
            assert!(matches!(appended(&Value::BulkString(text.into())), Appended::Unknown(_)));
        }
        for value in [Value::Nil, Value::Int(1), Value::Array(vec![])] {
            assert!(matches!(appended(&value), Appended::Unknown(_)), "{value:?}");
        }
    }
}
