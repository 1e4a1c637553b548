//! What a policy demands beside limits: identity, quotas, judges elsewhere.

use std::collections::BTreeSet;

use domain::law::{ExternalJudge, FailMode, Losses, OnExceeded, Poison, Quotas, Required};
use domain::submission::OnLost;
use serde::{Deserialize, Serialize};

use crate::check::{Complaints, is_metadata_key};
use crate::duration::Duration;
use crate::given::Given;
use crate::labels::{self, shorten};
use crate::limits::{
    ENTRIES_MAX, JUDGE_TIMEOUT_MS, JUDGE_TIMEOUT_MS_MAX, JUDGE_TIMEOUT_MS_MIN, JUDGE_URL_MAX,
    JUDGES_MAX, QUOTA_MAX,
};

/// `require` of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequireDocument {
    /// Keys of `metadata` that must be there and not empty.
    pub metadata: BTreeSet<Box<str>>,
    /// Keys of `labels` that must be there.
    pub labels: BTreeSet<Box<str>>,
}

impl RequireDocument {
    pub(super) fn check(self, found: &mut Complaints) -> Required {
        let Self { metadata, labels } = self;
        found.count("require.metadata", metadata.len(), ENTRIES_MAX);
        for key in metadata.iter().filter(|key| !is_metadata_key(key)) {
            found.add(|| {
                format!("require.metadata has {:?}: no such key can be given", shorten(key))
            });
        }
        found.count("require.labels", labels.len(), ENTRIES_MAX);
        for key in &labels {
            if let Err(error) = labels::check_key(key) {
                found.add(|| format!("require.labels: {error}"));
            }
        }
        Required { metadata, labels }
    }

    pub(super) fn of(required: &Required) -> Option<Self> {
        let Required { metadata, labels } = required.clone();
        let any = !metadata.is_empty() || !labels.is_empty();
        any.then_some(Self { metadata, labels })
    }
}

/// `quotas` of a policy; what is left out is not limited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotasDocument {
    /// Runs on nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<i64>,
    /// Runs in line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<i64>,
    /// Thousandths of a core asked for by all unfinished runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_milli: Option<i64>,
    /// MiB asked for by all unfinished runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_mb: Option<i64>,
    /// Submissions in 60 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_minute: Option<i64>,
    /// What going beyond them means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_exceeded: Option<Given<OnExceeded>>,
}

impl QuotasDocument {
    pub(super) fn check(self, found: &mut Complaints) -> Quotas {
        Quotas {
            running: found.number("quotas.running", self.running, 0, QUOTA_MAX),
            pending: found.number("quotas.pending", self.pending, 0, QUOTA_MAX),
            cpu_milli: found.number("quotas.cpu_milli", self.cpu_milli, 0, QUOTA_MAX),
            mem_mb: found.number("quotas.mem_mb", self.mem_mb, 0, QUOTA_MAX),
            per_minute: found.number("quotas.per_minute", self.per_minute, 0, QUOTA_MAX),
            on_exceeded: found.word("quotas.on_exceeded", self.on_exceeded).unwrap_or_default(),
        }
    }

    pub(super) fn of(quotas: &Quotas) -> Option<Self> {
        let wide = |limit: Option<u64>| limit.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        quotas.is_any().then(|| Self {
            running: quotas.running.map(i64::from),
            pending: quotas.pending.map(i64::from),
            cpu_milli: wide(quotas.cpu_milli),
            mem_mb: wide(quotas.mem_mb),
            per_minute: quotas.per_minute.map(i64::from),
            on_exceeded: Some(Given::Known(quotas.on_exceeded)),
        })
    }
}

/// `on_lost` of a policy: what becomes of a run that is lost with its nodes again and again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossesDocument {
    /// How many losses it is tried again after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<i64>,
    /// What becomes of it with the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<Given<Poison>>,
}

impl LossesDocument {
    pub(super) fn check(self, found: &mut Complaints) -> Losses {
        let most = OnLost::MAX_LOSSES;
        Losses {
            retries: found.number("on_lost.retries", self.retries, 0, most).unwrap_or(most),
            then: found.word("on_lost.then", self.then).unwrap_or_default(),
        }
    }

    pub(super) fn of(losses: &Losses) -> Option<Self> {
        let Losses { retries, then } = *losses;
        let shown = Self { retries: Some(retries.into()), then: Some(Given::Known(then)) };
        (*losses != Losses::default()).then_some(shown)
    }
}

/// A judge elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeDocument {
    /// Its name.
    pub name: Box<str>,
    /// Where the question is sent.
    pub url: Box<str>,
    /// How long it has for an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Given<Duration>>,
    /// What no answer means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail: Option<Given<FailMode>>,
}

impl From<&ExternalJudge> for JudgeDocument {
    fn from(judge: &ExternalJudge) -> Self {
        Self {
            name: judge.name.clone(),
            url: judge.url.clone(),
            timeout: Some(Given::Known(Duration::from_millis(judge.timeout_ms))),
            fail: Some(Given::Known(judge.fail)),
        }
    }
}

/// The judges of the house, whose names stand in every record.
const OF_THE_HOUSE: [&str; 3] = ["aeacus", "rhadamanthus", "minos"];

pub(super) fn judges(found: &mut Complaints, given: Vec<JudgeDocument>) -> Vec<ExternalJudge> {
    found.count("judges", given.len(), JUDGES_MAX);
    let mut judges: Vec<ExternalJudge> = Vec::with_capacity(given.len().min(JUDGES_MAX));
    for (i, judge) in given.into_iter().enumerate() {
        let JudgeDocument { name, url, timeout, fail } = judge;
        found.name(&format!("judges[{i}].name"), &name);
        if OF_THE_HOUSE.contains(&&*name) {
            found.add(|| format!("judges[{i}].name is {name:?}: a judge of the house has it"));
        }
        if judges.iter().any(|other| other.name == name) {
            found.add(|| format!("judges has {:?} twice", shorten(&name)));
        }
        found.bytes(&format!("judges[{i}].url"), url.len(), JUDGE_URL_MAX);
        if let Err(advice) = check_url(&url) {
            found.add(|| format!("judges[{i}].url is {:?}: {advice}", shorten(&url)));
        }
        let field = format!("judges[{i}].timeout");
        let timeout = found.span(&field, timeout, JUDGE_TIMEOUT_MS_MIN, JUDGE_TIMEOUT_MS_MAX);
        let fail = found.word(&format!("judges[{i}].fail"), fail).unwrap_or_default();
        let timeout_ms = timeout.unwrap_or(JUDGE_TIMEOUT_MS);
        judges.push(ExternalJudge { name, url, timeout_ms, fail });
    }
    judges
}

/// A plain URL: no password in it, which would stand in the record and on every screen.
fn check_url(url: &str) -> Result<(), &'static str> {
    const FORM: &str = "give http://host:port/path, or https://";
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).ok_or(FORM)?;
    if !url.bytes().all(|b| b.is_ascii_graphic()) || url.contains('#') {
        return Err("give http://host:port/path in visible ASCII, without \"#\"");
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("leave user and password out: they would stand in every record");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']').ok_or(FORM)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| FORM)?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(FORM)?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(named) {
        return Err(FORM);
    }
    match port.map(str::parse::<u16>) {
        None | Some(Ok(1..)) => Ok(()),
        Some(Ok(0) | Err(_)) => Err(FORM),
    }
}

#[cfg(test)]
mod tests {
    use super::check_url;

    #[test]
    fn a_url_is_of_http_without_a_password() {
        for url in [
            "http://scanner:9000/judge",
            "http://127.0.0.1:1",
            "http://[::1]:80/a?b=c",
            "http://scanner.internal/",
            "http://scanner",
            "https://scanner.example/judge",
        ] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        for url in [
            "",
            "scanner:9000",
            "https://",
            "ftp://scanner/",
            "http://",
            "http:///judge",
            "http://a:b@scanner/",
            "http://scanner:0/",
            "http://scanner:99999/",
            "http://scanner:/",
            "http://[::1/",
            "http://[scanner]/",
            "http://[::1]x/",
            "http://scan ner/",
            "http://scänner/",
            "http://scanner/#judge",
            "http://scanner\n/",
        ] {
            assert!(check_url(url).is_err(), "{url}");
        }
    }
}
