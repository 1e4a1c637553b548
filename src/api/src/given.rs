//! A word that was given, which may be none that is known.
//!
//! Parsing keeps a bad word instead of failing on it, so that one answer can name everything that
//! is wrong with a request.

use std::fmt;

use domain::law::{FailMode, HeatSource, OnExceeded, Poison};
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::{Heat, Network, OnLost, OnViolation, Strategy, Verdict};

/// A value that is written as one word.
pub trait Word: Sized {
    /// What may be written, for messages.
    const KNOWN: &'static str;

    /// The value a word stands for.
    ///
    /// # Errors
    /// The word is unknown; the text says what may be written.
    fn read(word: &str) -> Result<Self, String>;

    /// The word for a value.
    fn write(&self) -> String;
}

impl Word for Duration {
    const KNOWN: &'static str = "a duration such as \"30s\"";

    fn read(word: &str) -> Result<Self, String> {
        word.parse().map_err(|e: crate::duration::NotDuration| e.to_string())
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

macro_rules! words {
    ($($type:ty: $known:literal { $($word:literal => $value:path),+ $(,)? })+) => {$(
        impl Word for $type {
            const KNOWN: &'static str = $known;

            fn read(word: &str) -> Result<Self, String> {
                match word {
                    $($word => Ok($value),)+
                    _ => Err(format!("give {}", Self::KNOWN)),
                }
            }

            fn write(&self) -> String {
                match self {
                    $($value => $word.to_owned(),)+
                }
            }
        }
    )+};
}

words! {
    Heat: "cold, warm, hot or inferno" {
        "cold" => Heat::Cold, "warm" => Heat::Warm, "hot" => Heat::Hot, "inferno" => Heat::Inferno,
    }
    Network: "none, the only profile there is" { "none" => Network::None }
    OnLost: "retry or fail" { "retry" => OnLost::Retry, "fail" => OnLost::Fail }
    FailMode: "closed or open" { "closed" => FailMode::Closed, "open" => FailMode::Open }
    HeatSource: "table or learned" {
        "table" => HeatSource::Table, "learned" => HeatSource::Learned,
    }
    OnExceeded: "throttle or reject" {
        "throttle" => OnExceeded::Throttle, "reject" => OnExceeded::Reject,
    }
    OnViolation: "reject or quarantine" {
        "reject" => OnViolation::Reject, "quarantine" => OnViolation::Quarantine,
    }
    Poison: "dead_letter or quarantine" {
        "dead_letter" => Poison::DeadLetter, "quarantine" => Poison::Quarantine,
    }
    Strategy: "spread or pack" { "spread" => Strategy::Spread, "pack" => Strategy::Pack }
    Verdict: "accept, quarantine or reject" {
        "accept" => Verdict::Accept, "quarantine" => Verdict::Quarantine,
        "reject" => Verdict::Reject,
    }
}

/// What was given where a word is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given<T> {
    /// A known word.
    Known(T),
    /// Any other.
    Unknown(Box<str>),
}

impl<T> From<T> for Given<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: Word> Serialize for Given<T> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(value) => to.serialize_str(&value.write()),
            Self::Unknown(word) => to.serialize_str(word),
        }
    }
}

impl<'de, T: Word> Deserialize<'de> for Given<T> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<T: Word> serde::de::Visitor<'_> for Visitor<T> {
            type Value = Given<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::KNOWN)
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Given<T>, E> {
                Ok(match T::read(word) {
                    Ok(value) => Given::Known(value),
                    Err(_) => Given::Unknown(word.into()),
                })
            }
        }
        from.deserialize_str(Visitor(std::marker::PhantomData))
    }
}
