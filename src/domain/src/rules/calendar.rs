//! Days and hours of a moment in UTC, by arithmetic alone.
//!
//! The conversion between days and dates is the published one of Howard Hinnant
//! (`days_from_civil`, `civil_from_days`): exact for the proleptic Gregorian calendar.

const DAY_MS: i64 = 86_400_000;

/// What can be asked of a moment; the names and the counting are those of CEL (language definition,
/// "date/time functions"): months, days of the year and `getDayOfMonth` count from 0, `getDate`
/// from 1, and Sunday is day 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    FullYear,
    Month,
    Date,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

impl Part {
    pub const ALL: [(&'static str, Self); 10] = [
        ("getFullYear", Self::FullYear),
        ("getMonth", Self::Month),
        ("getDate", Self::Date),
        ("getDayOfMonth", Self::DayOfMonth),
        ("getDayOfWeek", Self::DayOfWeek),
        ("getDayOfYear", Self::DayOfYear),
        ("getHours", Self::Hours),
        ("getMinutes", Self::Minutes),
        ("getSeconds", Self::Seconds),
        ("getMilliseconds", Self::Milliseconds),
    ];

    /// The part of the moment `ms` milliseconds after 1970 began.
    pub fn of(self, ms: i64) -> i64 {
        let (days, in_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
        match self {
            Self::FullYear => civil(days).0,
            Self::Month => civil(days).1 - 1,
            Self::Date => civil(days).2,
            Self::DayOfMonth => civil(days).2 - 1,
            // 1 January 1970 was a Thursday.
            Self::DayOfWeek => (days + 4).rem_euclid(7),
            Self::DayOfYear => days - days_from_civil(civil(days).0, 1, 1),
            Self::Hours => in_day / 3_600_000,
            Self::Minutes => in_day / 60_000 % 60,
            Self::Seconds => in_day / 1_000 % 60,
            Self::Milliseconds => in_day % 1_000,
        }
    }
}

/// Year, month and day, the last two from 1.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Milliseconds since 1970 of a text such as `2026-11-27T12:30:00Z` (RFC 3339; a fraction of up to
/// three digits; `Z` or an offset).
pub(super) fn parse(text: &str) -> Option<i64> {
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
    };
    let mark = |at: usize, marks: &[u8]| text.as_bytes().get(at).is_some_and(|b| marks.contains(b));
    let shaped = mark(4, b"-") && mark(7, b"-") && mark(10, b"Tt") && mark(13, b":");
    if !(shaped && mark(16, b":")) {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    let days = days_from_civil(year, month, day);
    let real = (1..=12).contains(&month) && day >= 1 && civil(days) == (year, month, day);
    if !real || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (mut at, mut ms) = (19, 0);
    if mark(19, b".") {
        let length = text[20..].bytes().take_while(u8::is_ascii_digit).count();
        ms = match length {
            1 => digits(20, 21)? * 100,
            2 => digits(20, 22)? * 10,
            3 => digits(20, 23)?,
            _ => return None,
        };
        at = 20 + length;
    }
    let ahead_min = if mark(at, b"Zz") && text.len() == at + 1 {
        0
    } else if mark(at, b"+-") && mark(at + 3, b":") && text.len() == at + 6 {
        let (hours, minutes) = (digits(at + 1, at + 3)?, digits(at + 4, at + 6)?);
        let offset = hours * 60 + minutes;
        if hours > 23 || minutes > 59 {
            return None;
        }
        if mark(at, b"-") { -offset } else { offset }
    } else {
        return None;
    };
    Some(days * DAY_MS + ((hour * 60 + minute - ahead_min) * 60 + second) * 1_000 + ms)
}
