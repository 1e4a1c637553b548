//! Points in time: RFC 3339 in UTC with milliseconds.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};
use serde::{Deserialize, Serialize};

use crate::duration::Duration;

/// Milliseconds since the Unix epoch, written as RFC 3339.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The last millisecond of the year 9999, the end of what RFC 3339 can write.
    pub const MAX: Self = Self(253_402_300_799_999);
}

impl From<domain::ids::Timestamp> for Time {
    fn from(at: domain::ids::Timestamp) -> Self {
        Self(at.0)
    }
}

/// As long as every time is when it is written.
const TEXT: &[u8; 24] = b"0000-00-00T00:00:00.000Z";

impl Time {
    /// The time as text, digit by digit: every answer has some, and chrono's own takes some
    /// thousand instructions for one.
    fn with_text<T>(self, then: impl FnOnce(&str) -> T) -> T {
        let ms = i64::try_from(self.0.min(Self::MAX.0)).unwrap_or(i64::MAX);
        let at = DateTime::<Utc>::from_timestamp_millis(ms).unwrap_or_default();
        let mut text = *TEXT;
        let mut put = |place: std::ops::Range<usize>, mut number: u32| {
            for digit in text[place].iter_mut().rev() {
                *digit += (number % 10) as u8;
                number /= 10;
            }
        };
        put(0..4, at.year().unsigned_abs());
        put(5..7, at.month());
        put(8..10, at.day());
        put(11..13, at.hour());
        put(14..16, at.minute());
        put(17..19, at.second());
        put(20..23, at.timestamp_subsec_millis());
        then(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

/// Text that is not a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time is written as RFC 3339, such as \"2026-01-31T12:00:00.000Z\", and not before 1970")]
pub struct NotTime;

impl FromStr for Time {
    type Err = NotTime;

    fn from_str(text: &str) -> Result<Self, NotTime> {
        let at = DateTime::parse_from_rfc3339(text).map_err(|_| NotTime)?;
        u64::try_from(at.timestamp_millis()).map(Self).map_err(|_| NotTime)
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| to.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse().map_err(|e| serde::de::Error::custom(format_args!("{text:?}: {e}")))
    }
}

/// A point in time, or how long ago: what `since=` and `until=` take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A point in time.
    At(Time),
    /// So long before now.
    Ago(Duration),
}

impl Moment {
    /// The point in time it means at `now`.
    pub fn resolve(self, now: Time) -> Time {
        match self {
            Self::At(time) => time,
            Self::Ago(span) => Time(now.0.saturating_sub(span.as_millis())),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => time.fmt(f),
            Self::Ago(span) => span.fmt(f),
        }
    }
}

/// Text that is neither a time nor a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write a time in RFC 3339, such as \"2026-01-31T12:00:00.000Z\", or how long ago, such as \"1h\""
)]
pub struct NotMoment;

impl FromStr for Moment {
    type Err = NotMoment;

    fn from_str(text: &str) -> Result<Self, NotMoment> {
        if let Ok(span) = text.parse() {
            return Ok(Self::Ago(span));
        }
        text.parse().map(Self::At).map_err(|NotTime| NotMoment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_is_utc_with_milliseconds() {
        assert_eq!(Time(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Time(1_767_225_600_123).to_string(), "2026-01-01T00:00:00.123Z");
        assert_eq!("2026-01-01T01:00:00.1239+01:00".parse(), Ok(Time(1_767_225_600_123)));
        assert_eq!("1969-12-31T23:59:59Z".parse::<Time>(), Err(NotTime));
        assert_eq!("yesterday".parse::<Time>(), Err(NotTime));
    }

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let now = Time(10_000);
        assert_eq!("4s".parse::<Moment>().map(|m| m.resolve(now)), Ok(Time(6_000)));
        assert_eq!("1h".parse::<Moment>().map(|m| m.resolve(now)), Ok(Time(0)));
        assert_eq!(
            "1970-01-01T00:00:02Z".parse::<Moment>().map(|m| m.resolve(now)),
            Ok(Time(2_000))
        );
        assert_eq!("soon".parse::<Moment>(), Err(NotMoment));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(ms in 0..=Time::MAX.0) {
            prop_assert_eq!(Time(ms).to_string().parse(), Ok(Time(ms)));
        }
    }
}
