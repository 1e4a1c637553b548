//! From a request to what can be judged: every field checked, every complaint collected.
//!
//! A complaint names the field, what was given, and what to do.

use std::fmt::Write as _;

use domain::Texts;
use domain::judge::Request;
use domain::submission::{Resources, Retention, Retry};

use crate::duration::Duration;
use crate::given::{Given, Word};
use crate::labels::{self, OBJECT_NAME, shorten};
use crate::limits::{
    ATTEMPTS_MAX, BACKOFF_MS_MAX, BATCH_RUNS_MAX, COMMAND_ARGS_MAX, COMMAND_BYTES_MAX,
    CPU_MILLI_MAX, CPU_MILLI_MIN, ENTRIES_MAX, ENV_BYTES_MAX, ENV_MAX, ENV_NAME_MAX, GPU_MAX,
    IDEMPOTENCY_KEY_MAX, MAX_AGE_MS_MAX, MEM_MB_MAX, MEM_MB_MIN, METADATA_BYTES_MAX,
    METADATA_KEY_MAX, METADATA_VALUE_MAX, PRIORITY_MAX, RUN_TEXT_MAX, STDIN_MAX, TTL_MS_MAX,
    TTL_MS_MIN,
};
use crate::placement::text_bytes;
use crate::problem::{Problem, code};
use crate::run::{Batch, RunRequest};

/// A well-formed request that is not valid: 422. Never without a complaint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .complaints.join("; "))]
pub struct Invalid {
    complaints: Vec<String>,
}

impl Invalid {
    /// One complaint.
    pub fn one(complaint: impl Into<String>) -> Self {
        Self { complaints: vec![complaint.into()] }
    }

    /// Every complaint, in the order of the fields.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        let detail = match &*invalid.complaints {
            [only] => only.clone(),
            all => format!("{} things are wrong: {}", all.len(), all.join("; ")),
        };
        Self::new(422, code::INVALID, detail).with_reasons(invalid.complaints)
    }
}

/// Complaints as they are found.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Vec<String>);

/// A request full of mistakes is answered with the first so many, not with all of them.
const COMPLAINTS_MAX: usize = 32;

impl Complaints {
    pub(crate) fn add(&mut self, complaint: impl FnOnce() -> String) {
        if self.0.len() < COMPLAINTS_MAX {
            self.0.push(complaint());
        }
    }

    pub(crate) fn finish<T>(self, value: T) -> Result<T, Invalid> {
        if self.0.is_empty() { Ok(value) } else { Err(Invalid { complaints: self.0 }) }
    }

    /// A number within bounds, as the narrower type.
    pub(crate) fn number<T: TryFrom<i64>>(
        &mut self,
        field: &str,
        given: Option<i64>,
        least: u32,
        most: u32,
    ) -> Option<T> {
        let number = given?;
        let narrow = (i64::from(least)..=i64::from(most))
            .contains(&number)
            .then(|| T::try_from(number).ok())
            .flatten();
        if narrow.is_none() {
            self.add(|| format!("{field} is {number}: give {least} to {most}"));
        }
        narrow
    }

    /// A known word.
    pub(crate) fn word<T: Word>(&mut self, field: &str, given: Option<Given<T>>) -> Option<T> {
        match given? {
            Given::Known(value) => Some(value),
            Given::Unknown(word) => {
                let hint = T::read(&word).err().unwrap_or_default();
                self.add(|| format!("{field} is {:?}: {hint}", shorten(&word)));
                None
            }
        }
    }

    /// A duration within bounds, in milliseconds.
    pub(crate) fn span(
        &mut self,
        field: &str,
        given: Option<Given<Duration>>,
        least_ms: u64,
        most_ms: u64,
    ) -> Option<u64> {
        let span = self.word(field, given)?;
        if (least_ms..=most_ms).contains(&span.as_millis()) {
            return Some(span.as_millis());
        }
        let (least, most) = (Duration::from_millis(least_ms), Duration::from_millis(most_ms));
        self.add(|| format!("{field} is {span}: give {least} to {most}"));
        None
    }

    /// Text without the byte that C ends strings with.
    pub(crate) fn no_nul(&mut self, field: impl FnOnce() -> String, text: &str) {
        if text.as_bytes().contains(&0) {
            self.add(|| format!("{} contains a NUL byte: leave it out", field()));
        }
    }

    pub(crate) fn count(&mut self, field: &str, count: usize, most: usize) {
        if count > most {
            self.add(|| format!("{field} has {count} entries: give at most {most}"));
        }
    }

    pub(crate) fn bytes(&mut self, field: &str, bytes: usize, most: usize) {
        if bytes > most {
            self.add(|| format!("{field} is {bytes} bytes: give at most {most}"));
        }
    }

    pub(crate) fn name(&mut self, field: &str, name: &str) {
        if !labels::is_object_name(name) {
            self.add(|| format!("{field} is {:?}: {OBJECT_NAME}", shorten(name)));
        }
    }

    pub(crate) fn command(&mut self, command: &[Box<str>]) {
        match command.first() {
            None => self.add(|| {
                "command is empty: name a program, or leave it out to take the template's".into()
            }),
            Some(program) if program.is_empty() => {
                self.add(|| "command[0] is empty: name a program".into());
            }
            Some(_) => {}
        }
        self.count("command", command.len(), COMMAND_ARGS_MAX);
        self.bytes("command", command.iter().map(|arg| arg.len()).sum(), COMMAND_BYTES_MAX);
        for (i, arg) in command.iter().enumerate() {
            self.no_nul(|| format!("command[{i}]"), arg);
        }
    }

    pub(crate) fn env(&mut self, env: &Texts) {
        self.count("env", env.len(), ENV_MAX);
        self.bytes("env", map_bytes(env), ENV_BYTES_MAX);
        for (name, value) in env {
            if !is_env_name(name) {
                self.add(|| {
                    format!(
                        "env has the name {:?}: use 1 to {ENV_NAME_MAX} letters, digits, \"_\", \
                         \"-\" or \".\", not beginning with a digit",
                        shorten(name)
                    )
                });
            }
            self.no_nul(|| format!("env.{}", shorten(name)), value);
        }
    }

    pub(crate) fn labels(&mut self, field: &str, given: &Texts) {
        self.count(field, given.len(), ENTRIES_MAX);
        for (key, value) in given {
            if let Err(error) = labels::check_key(key) {
                self.add(|| format!("{field}: {error}"));
            }
            if let Err(error) = labels::check_value(value) {
                self.add(|| format!("{field}.{}: {error}", shorten(key)));
            }
        }
    }

    fn metadata(&mut self, given: &Texts) {
        self.count("metadata", given.len(), ENTRIES_MAX);
        self.bytes("metadata", map_bytes(given), METADATA_BYTES_MAX);
        for (key, value) in given {
            if !is_metadata_key(key) {
                self.add(|| {
                    format!(
                        "metadata has the key {:?}: use 1 to {METADATA_KEY_MAX} letters, digits, \
                         \"_\", \"-\", \".\" or \"/\"",
                        shorten(key)
                    )
                });
            }
            if value.len() > METADATA_VALUE_MAX {
                let bytes = value.len();
                self.add(|| {
                    format!(
                        "metadata.{} is {bytes} bytes: give at most {METADATA_VALUE_MAX}",
                        shorten(key)
                    )
                });
            }
            self.no_nul(|| format!("metadata.{}", shorten(key)), value);
        }
        if let Some(tenant) = given.get("tenant") {
            self.name("metadata.tenant", tenant);
        }
        // Anything but the two words would read as "no" to the judge and as "yes" to its author.
        if let Some(word) = given.get("quarantine")
            && !matches!(word, "true" | "false")
        {
            self.add(|| {
                format!("metadata.quarantine is {:?}: give \"true\" or \"false\"", shorten(word))
            });
        }
    }
}

fn map_bytes(map: &Texts) -> usize {
    map.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// The names Kubernetes takes: `-` and `.` are legal in an environment, though not in a shell.
fn is_env_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (1..=ENV_NAME_MAX).contains(&name.len())
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(inner)
}

pub(crate) fn is_metadata_key(key: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/');
    (1..=METADATA_KEY_MAX).contains(&key.len()) && key.bytes().all(inner)
}

impl TryFrom<RunRequest> for Request {
    type Error = Invalid;

    /// Takes the request apart without copying its text.
    fn try_from(given: RunRequest) -> Result<Self, Invalid> {
        let mut found = Complaints::default();

        match &given.template {
            Some(name) => found.name("template", name),
            None => found.add(|| "template is missing: name one, such as \"host\"".into()),
        }
        if let Some(command) = &given.command {
            found.command(command);
        }
        if let Some(env) = &given.env {
            found.env(env);
        }
        if let Some(stdin) = &given.stdin {
            found.bytes("stdin", stdin.len(), STDIN_MAX);
        }
        let asked = given.resources.unwrap_or_default();
        let cpu_milli =
            found.number("resources.cpu_milli", asked.cpu_milli, CPU_MILLI_MIN, CPU_MILLI_MAX);
        let mem_mb = found.number("resources.mem_mb", asked.mem_mb, MEM_MB_MIN, MEM_MB_MAX);
        let gpu = found.number("resources.gpu", asked.gpu, 0, GPU_MAX);
        let ttl_ms = found.span("resources.ttl", asked.ttl, TTL_MS_MIN, TTL_MS_MAX);
        let network = found.word("network", given.network);
        let heat = found.word("heat", given.heat);
        let priority = found.number("priority", given.priority, 0, PRIORITY_MAX.into());
        let retry = given.retry.map(|retry| Retry {
            max_attempts: found
                .number("retry.max_attempts", retry.max_attempts, 1, ATTEMPTS_MAX)
                .unwrap_or(Retry::DEFAULT.max_attempts),
            backoff_ms: found
                .span("retry.backoff", retry.backoff, 0, BACKOFF_MS_MAX)
                .unwrap_or(Retry::DEFAULT.backoff_ms),
        });
        let on_lost = found.word("on_lost", given.on_lost);
        let retention = given.retention.map(|retention| Retention {
            max_age_ms: found
                .span("retention.max_age", retention.max_age, 0, MAX_AGE_MS_MAX)
                .unwrap_or(Retention::DEFAULT.max_age_ms),
            keep_output: retention.keep_output.unwrap_or(Retention::DEFAULT.keep_output),
        });
        let metadata = given.metadata.unwrap_or_default();
        found.metadata(&metadata);
        let labels = given.labels.unwrap_or_default();
        found.labels("labels", &labels);
        let placement = given.placement.unwrap_or_default().into_placement(&mut found);

        let request = Self {
            template: given.template.unwrap_or_default(),
            command: given.command.unwrap_or_default(),
            env: given.env.unwrap_or_default(),
            stdin: given.stdin.unwrap_or_default(),
            cpu_milli,
            mem_mb,
            gpu,
            ttl_ms,
            network: network.unwrap_or_default(),
            heat,
            priority,
            retry,
            on_lost: on_lost.unwrap_or_default(),
            retention,
            metadata,
            labels,
            placement,
        };
        let text = request.command.iter().map(|arg| arg.len()).sum::<usize>()
            + request.stdin.len()
            + map_bytes(&request.env)
            + map_bytes(&request.metadata)
            + text_bytes(&request.placement);
        found.bytes("the text of the run", text, RUN_TEXT_MAX);
        found.finish(request)
    }
}

impl Batch {
    /// Checks how many runs there are. Each run is checked, and answered, by itself.
    ///
    /// # Errors
    /// There is none, or more than [`BATCH_RUNS_MAX`].
    pub fn check(self) -> Result<Vec<RunRequest>, Invalid> {
        match self.runs.len() {
            0 => Err(Invalid::one(format!("runs is empty: give 1 to {BATCH_RUNS_MAX}"))),
            n if n > BATCH_RUNS_MAX => {
                Err(Invalid::one(format!("runs has {n} entries: give 1 to {BATCH_RUNS_MAX}")))
            }
            _ => Ok(self.runs),
        }
    }
}

/// Checks an `Idempotency-Key`: 1 to 128 visible ASCII characters.
///
/// # Errors
/// It is empty, too long, or has other characters.
pub fn idempotency_key(key: &[u8]) -> Result<&str, Invalid> {
    let text = std::str::from_utf8(key).ok();
    text.filter(|text| {
        (1..=IDEMPOTENCY_KEY_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic())
    })
    .ok_or_else(|| {
        let mut words = format!("Idempotency-Key is {} bytes", key.len());
        let _ = write!(
            words,
            ": give 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters, such as a UUID"
        );
        Invalid::one(words)
    })
}

// The published defaults are within the limits.
const _: () = {
    assert!(Resources::DEFAULT.cpu_milli >= CPU_MILLI_MIN);
    assert!(Resources::DEFAULT.mem_mb >= MEM_MB_MIN);
    assert!(Resources::DEFAULT.ttl_ms <= TTL_MS_MAX);
    assert!(Retention::DEFAULT.max_age_ms <= MAX_AGE_MS_MAX);
    assert!(Retry::DEFAULT.backoff_ms <= BACKOFF_MS_MAX);
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// JSON that looks like a request, with every kind of value in every place.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (0..200_i64).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z0-9./=-]{0,12}|\\PC{0,8}|[0-9]{1,4}(ms|s|m|h|d)".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(field(), inner, 0..6)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    fn field() -> impl Strategy<Value = String> {
        let known = prop::sample::select(vec![
            "template",
            "command",
            "env",
            "stdin",
            "resources",
            "cpu_milli",
            "mem_mb",
            "gpu",
            "ttl",
            "network",
            "heat",
            "priority",
            "retry",
            "max_attempts",
            "backoff",
            "on_lost",
            "retention",
            "max_age",
            "keep_output",
            "metadata",
            "tenant",
            "quarantine",
            "labels",
            "placement",
            "require",
            "prefer",
            "isolation",
            "strategy",
        ]);
        prop_oneof![9 => known.prop_map(str::to_owned), 1 => "\\PC{0,8}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn whatever_is_sent_gets_a_request_or_a_short_reason(
            fields in prop::collection::btree_map(field(), value(), 0..6),
        ) {
            let body = Value::from_iter(fields).to_string();
            let problem: Problem = match crate::parse::<RunRequest>(body.as_bytes()) {
                Err(malformed) => malformed.into(),
                Ok(parsed) => {
                    let text = serde_json::to_vec(&parsed).unwrap();
                    prop_assert_eq!(&crate::parse::<RunRequest>(&text).unwrap(), &parsed);
                    match Request::try_from(parsed) {
                        Ok(_) => return Ok(()),
                        Err(invalid) => invalid.into(),
                    }
                }
            };
            prop_assert!(matches!(problem.status, 400 | 422));
            prop_assert!((10..8_000).contains(&problem.detail.len()), "{}", problem.detail);
            // No Rust type and no parser's grammar reaches a caller.
            for word in ["struct", "i64", "u64", "RunRequest", "at line"] {
                prop_assert!(!problem.detail.contains(word), "{}", problem.detail);
            }
        }
    }
}
