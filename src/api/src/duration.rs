//! Durations as people write them: an integer and a unit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A span of time in whole milliseconds, written as an integer with `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    ms: u64,
}

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

impl Duration {
    /// So many milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self { ms }
    }

    /// So many seconds, held at the longest duration there is.
    pub const fn from_secs(secs: u64) -> Self {
        Self { ms: secs.saturating_mul(SECOND_MS) }
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.ms
    }

    /// As the standard library counts it.
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.ms)
    }
}

impl From<std::time::Duration> for Duration {
    fn from(span: std::time::Duration) -> Self {
        Self { ms: u64::try_from(span.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// The largest unit that divides it; a single day reads as `24h`, as the contract writes it.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, unit) = match self.ms {
            0 => (SECOND_MS, "s"),
            ms if ms > DAY_MS && ms.is_multiple_of(DAY_MS) => (DAY_MS, "d"),
            ms if ms.is_multiple_of(HOUR_MS) => (HOUR_MS, "h"),
            ms if ms.is_multiple_of(MINUTE_MS) => (MINUTE_MS, "m"),
            ms if ms.is_multiple_of(SECOND_MS) => (SECOND_MS, "s"),
            _ => (1, "ms"),
        };
        write!(f, "{}{unit}", self.ms / size)
    }
}

/// Text that is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDuration {
    /// It does not begin with digits.
    #[error("a duration is an integer with ms, s, m, h or d, such as \"30s\"")]
    NoNumber,
    /// There is a number alone.
    #[error("the unit is missing: write ms, s, m, h or d after the number, such as \"30s\"")]
    NoUnit,
    /// What follows the number is no unit.
    #[error("unknown unit: use ms, s, m, h or d, such as \"30s\"; no fractions, no sums")]
    UnknownUnit,
    /// More milliseconds than 64 bits can count.
    #[error("the duration is too long")]
    TooLong,
}

impl FromStr for Duration {
    type Err = NotDuration;

    fn from_str(text: &str) -> Result<Self, NotDuration> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(NotDuration::NoNumber);
        }
        let unit_ms = match unit {
            "ms" => 1,
            "s" => SECOND_MS,
            "m" => MINUTE_MS,
            "h" => HOUR_MS,
            "d" => DAY_MS,
            "" => return Err(NotDuration::NoUnit),
            _ => return Err(NotDuration::UnknownUnit),
        };
        let number: u64 = number.parse().map_err(|_| NotDuration::TooLong)?;
        let ms = number.checked_mul(unit_ms).ok_or(NotDuration::TooLong)?;
        Ok(Self { ms })
    }
}

impl Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"30s\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(|e| E::custom(format_args!("{text:?}: {e}")))
            }
        }
        from.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_integer_and_a_unit_are_read() {
        for (text, ms) in [
            ("0s", 0),
            ("1ms", 1),
            ("30s", 30_000),
            ("10m", 600_000),
            ("168h", 604_800_000),
            ("7d", 604_800_000),
            ("007d", 604_800_000),
        ] {
            assert_eq!(text.parse(), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        for (text, error) in [
            ("", NotDuration::NoNumber),
            ("s", NotDuration::NoNumber),
            ("-1s", NotDuration::NoNumber),
            (" 1s", NotDuration::NoNumber),
            ("30", NotDuration::NoUnit),
            ("30 s", NotDuration::UnknownUnit),
            ("1.5s", NotDuration::UnknownUnit),
            ("1h30m", NotDuration::UnknownUnit),
            ("1S", NotDuration::UnknownUnit),
            ("1w", NotDuration::UnknownUnit),
            ("99999999999999999999s", NotDuration::TooLong),
            ("18446744073709551615d", NotDuration::TooLong),
        ] {
            assert_eq!(text.parse::<Duration>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn it_is_written_in_the_largest_unit_that_divides_it() {
        for (ms, text) in [
            (0, "0s"),
            (1, "1ms"),
            (1_500, "1500ms"),
            (30_000, "30s"),
            (90_000, "90s"),
            (600_000, "10m"),
            (86_400_000, "24h"),
            (172_800_000, "2d"),
        ] {
            assert_eq!(Duration::from_millis(ms).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(ms: u64) {
            let span = Duration::from_millis(ms);
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }
    }
}
