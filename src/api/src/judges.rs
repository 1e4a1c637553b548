//! What an external judge is sent, and what it answers: see `docs/judges.md`.

use domain::Submission;
use domain::judge::Case;
use domain::tenants::Holdings;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::given::Given;
use crate::law::PolicyDocument;
use crate::limits::JUDGE_REASON_MAX;
use crate::run::{ResourcesRequest, RetentionRequest, RetryRequest, RunRequest};
use crate::{Malformed, Verdict};

/// The question: may this run?
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JudgeQuestion {
    /// The submission, its defaults filled in.
    pub request: RunRequest,
    /// The policy that applies to it.
    pub policy: PolicyDocument,
    /// What its tenant has.
    pub tenant: TenantView,
}

/// What a tenant has, as rules read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantView {
    /// Its name.
    pub name: Box<str>,
    /// Runs on nodes.
    pub running: u32,
    /// Runs in line.
    pub pending: u32,
    /// Thousandths of a core that its runs on nodes hold.
    pub cpu_milli: u32,
    /// MiB that they hold.
    pub mem_mb: u32,
    /// GPUs that they hold.
    pub gpu: u32,
}

impl TenantView {
    /// What a tenant of that name has.
    pub fn new(name: &str, held: Holdings) -> Self {
        let Holdings { running, pending, in_use, .. } = held;
        let (cpu_milli, mem_mb, gpu) = (in_use.cpu_milli, in_use.mem_mb, in_use.gpu);
        Self { name: name.into(), running, pending, cpu_milli, mem_mb, gpu }
    }
}

impl JudgeQuestion {
    /// The question about a case whose tenant has `held`.
    pub fn new(case: &Case, held: Holdings) -> Self {
        let (submission, statute) = (case.submission(), case.statute());
        Self {
            request: RunRequest::from(submission),
            policy: PolicyDocument::from_policy(
                statute.policy(),
                statute.version(),
                statute.revision(),
            ),
            tenant: TenantView::new(submission.tenant(), held),
        }
    }
}

impl From<&Submission> for RunRequest {
    /// What would be sent to ask for the same with nothing left out.
    fn from(s: &Submission) -> Self {
        let span = |ms| Some(Given::Known(Duration::from_millis(ms)));
        let (asked, retry, kept) = (s.resources, s.retry, s.retention);
        Self {
            template: Some(s.template.clone()),
            command: Some(s.command.clone()),
            env: Some(s.env.clone()),
            stdin: Some(s.stdin.clone()),
            resources: Some(ResourcesRequest {
                cpu_milli: Some(asked.cpu_milli.into()),
                mem_mb: Some(asked.mem_mb.into()),
                gpu: Some(asked.gpu.into()),
                ttl: span(asked.ttl_ms),
            }),
            network: Some(Given::Known(s.network)),
            heat: s.heat_hint.map(Given::Known),
            priority: Some(s.priority.into()),
            retry: Some(RetryRequest {
                max_attempts: Some(retry.max_attempts.into()),
                backoff: span(retry.backoff_ms),
            }),
            on_lost: Some(Given::Known(s.on_lost)),
            retention: Some(RetentionRequest {
                max_age: span(kept.max_age_ms),
                keep_output: Some(kept.keep_output),
            }),
            metadata: Some(s.metadata.clone()),
            labels: Some(s.labels.clone()),
            placement: crate::placement::PlacementDocument::from_placement(&s.placement),
        }
    }
}

/// The answer. Fields that are not known here are the judge's own affair.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct JudgeAnswer {
    /// Its verdict.
    pub verdict: Verdict,
    /// Why, for the caller and the record.
    #[serde(default)]
    pub reason: Box<str>,
}

impl JudgeAnswer {
    /// Reads an answer; a reason is cut at [`JUDGE_REASON_MAX`] bytes.
    ///
    /// # Errors
    /// It is not an object with a known verdict.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut answer: Self = crate::parse(body)?;
        if answer.reason.len() > JUDGE_REASON_MAX {
            let end = (0..=JUDGE_REASON_MAX).rev().find(|end| answer.reason.is_char_boundary(*end));
            answer.reason = answer.reason[..end.unwrap_or(0)].into();
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_verdict_with_or_without_a_reason() {
        let read = |body: &str| JudgeAnswer::read(body.as_bytes()).ok();
        let said = |verdict, reason: &str| Some(JudgeAnswer { verdict, reason: reason.into() });
        for (body, expected) in [
            (r#"{"verdict": "accept"}"#, said(Verdict::Accept, "")),
            (r#"{"verdict": "reject", "reason": "no"}"#, said(Verdict::Reject, "no")),
            (r#"{"verdict": "quarantine", "score": 0.7}"#, said(Verdict::Quarantine, "")),
            (r#"{"verdict": "maybe"}"#, None),
            (r#"{"verdict": "accept", "reason": 7}"#, None),
            (r#"{"reason": "no"}"#, None),
            (r#"["accept"]"#, None),
            ("accept", None),
            ("", None),
        ] {
            assert_eq!(read(body), expected, "{body}");
        }
        let long = format!(r#"{{"verdict": "reject", "reason": "{}"}}"#, "ü".repeat(5_000));
        let cut = read(&long).expect("an answer").reason;
        assert!((JUDGE_REASON_MAX - 1..=JUDGE_REASON_MAX).contains(&cut.len()), "{}", cut.len());
    }
}
