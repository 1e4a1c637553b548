//! Data on stdout, in the format that was asked for.

use std::io::{IsTerminal, Write};

use api::Time;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::exit::Failure;

/// So many of something.
pub fn many(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// How data is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people.
    Table,
    /// One JSON value.
    Json,
    /// YAML.
    Yaml,
    /// More columns.
    Wide,
}

/// Rows for people: the columns of `wide` come after the others.
#[derive(Debug)]
pub struct Columns {
    /// Headings.
    pub head: Vec<&'static str>,
    /// How many of the columns `table` shows.
    pub narrow: usize,
    /// The rows, as many cells each as there are headings.
    pub rows: Vec<Vec<String>>,
}

impl Columns {
    fn render(&self, wide: bool) -> String {
        let shown = if wide { self.head.len() } else { self.narrow };
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.head.iter().take(shown).copied());
        for row in &self.rows {
            table.add_row(row.iter().take(shown).map(|cell| one_line(cell)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let mut text = String::new();
        for line in table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A cell keeps to its line, and sends a terminal no orders.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Prints a value: as columns for people, or as it is for programs.
///
/// # Errors
/// Stdout can't be written to.
pub fn print<T: Serialize>(
    format: Format,
    value: &T,
    columns: impl FnOnce() -> Columns,
) -> Result<(), Failure> {
    let text = match format {
        Format::Table => columns().render(false),
        Format::Wide => columns().render(true),
        Format::Json => json(value)?,
        Format::Yaml => yaml(value)?,
    };
    write(text.as_bytes())
}

/// Prints a document, which is YAML for people.
///
/// # Errors
/// Stdout can't be written to.
pub fn print_document<T: Serialize>(format: Format, value: &T) -> Result<(), Failure> {
    let text = match format {
        Format::Json => json(value)?,
        Format::Table | Format::Wide | Format::Yaml => yaml(value)?,
    };
    write(text.as_bytes())
}

fn json<T: Serialize>(value: &T) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|e| Failure::error(format!("cannot write JSON: {e}")))
}

/// A value as YAML.
///
/// # Errors
/// It can't be written so.
pub fn yaml<T: Serialize>(value: &T) -> Result<String, Failure> {
    let mut text = api::document::to_yaml(value)
        .map_err(|e| Failure::error(format!("cannot write YAML: {e}")))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Writes to stdout, at once.
///
/// # Errors
/// Stdout can't be written to.
pub fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(())
}

/// Whether stdout is a terminal that shows colours (no-color.org).
pub fn is_colored() -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !plain
}

/// Now, by the clock of this machine.
pub fn now() -> Time {
    Time(u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0))
}

/// How long ago, in the two largest units: `3d4h`, `5m7s`, `2s`.
pub fn age(since: Time, now: Time) -> String {
    let secs = now.0.saturating_sub(since.0) / 1_000;
    let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs}s"),
        (0, 0, m) => format!("{m}m{}s", secs % 60),
        (0, h, m) => format!("{h}h{m}m"),
        (d, h, _) => format!("{d}d{h}h"),
    }
}

/// Text cut to a width, with a sign that it was.
pub fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        Some(_) => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_short() {
        for (secs, text) in
            [(0, "0s"), (59, "59s"), (61, "1m1s"), (3_660, "1h1m"), (90_000, "1d1h")]
        {
            assert_eq!(age(Time(1_000), Time(1_000 + secs * 1_000)), text);
        }
        assert_eq!(age(Time(5_000), Time(1_000)), "0s", "clocks may differ");
    }

    #[test]
    fn wide_shows_more_and_no_cell_breaks_its_line() {
        let columns = Columns {
            head: vec!["ID", "STATUS", "NODE"],
            narrow: 2,
            rows: vec![vec!["1".into(), "a\n\u{1b}[31mb".into(), "n".into()]],
        };
        assert_eq!(columns.render(false), "ID  STATUS\n1   a  [31mb\n");
        assert!(columns.render(true).starts_with("ID  STATUS    NODE\n"));
    }

    #[test]
    fn long_text_is_cut_with_a_sign() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("äöü", 3), "äöü");
    }
}
