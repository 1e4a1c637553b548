//! What judges want to see before they judge: facts of the view, the time, and what external
//! judges say. Asked only where a policy wants it: the others never come here.
//!
//! Never:  judges. What was seen is handed to the judge on this thread, which is pure.

use std::collections::BTreeSet;
use std::time::Duration;

use api::judges::JudgeQuestion;
use bytes::Bytes;
use domain::judge::{Case, ExternalAnswer};
use domain::law::ExternalJudge;
use domain::{Inputs, Sequence};
use futures_util::StreamExt as _;
use futures_util::stream;
use olympus_actors::view::{Facts, JudgingFacts};
use tokio::time::Instant;

use super::problem::Fault;
use super::submit::DECIDED_WITHIN;
use super::{Open, read};
use crate::external;

/// External judges of one call are asked no longer than this, all of them together: what is left
/// of the time of a command goes to the journal.
const ASKED_WITHIN: Duration = Duration::from_millis(4_500);
const _: () = assert!(ASKED_WITHIN.as_millis() < DECIDED_WITHIN.as_millis());
/// So many questions of one call are under way at once: a batch of a thousand must not open a
/// thousand connections to a judge.
const ASKED_AT_ONCE: usize = 64;

/// One call's view of the world, kept while the law changes under it and it is judged again.
pub struct Witness {
    until: Instant,
    answers: Vec<Kept>,
}

/// An external judge's answer, and to what.
struct Kept {
    position: u32,
    judge: ExternalJudge,
    about: blake3::Hash,
    answer: ExternalAnswer,
}

/// A question that is to be asked.
struct Question {
    position: u32,
    judge: ExternalJudge,
    about: blake3::Hash,
    body: Bytes,
}

impl Witness {
    /// Of a call that begins now.
    pub fn new() -> Self {
        Self { until: Instant::now() + ASKED_WITHIN, answers: Vec::new() }
    }

    /// What each case wants to be seen.
    pub async fn see(
        &mut self,
        open: &Open,
        quarantine_on: bool,
        cases: Vec<(u32, Case)>,
    ) -> Result<Vec<(u32, Case, Inputs)>, Fault> {
        let (facts, index) = facts(open, cases.iter().map(|(_, case)| case)).await?;
        self.ask(&cases, &facts).await;
        let seen = cases.into_iter().map(|(position, case)| {
            let (wants, tenant) = (case.wants(), case.submission().tenant());
            let tenant = facts.tenants.get(tenant).copied().filter(|_| wants.tenant);
            let template = &case.submission().template;
            let inputs = Inputs {
                quarantine_on,
                at: if wants.now || wants.tenant { facts.at } else { Default::default() },
                index: if wants.tenant || wants.learned { index } else { 0 },
                tenant: tenant.unwrap_or_default(),
                learned: facts.learned.get(template).copied().filter(|_| wants.learned),
                external: self.answers_to(position, &case),
            };
            (position, case, inputs)
        });
        Ok(seen.collect())
    }

    /// Asks every external judge that has not answered this question yet, all at once.
    async fn ask(&mut self, cases: &[(u32, Case)], facts: &Facts) {
        let mut questions = Vec::new();
        for (position, case) in cases.iter().filter(|(_, case)| case.wants().external) {
            let held = facts.tenants.get(case.submission().tenant()).copied().unwrap_or_default();
            let question = JudgeQuestion::new(case, held);
            let about = about(&question);
            let body = Bytes::from(serde_json::to_vec(&question).unwrap_or_default());
            // An answer to an older question, or of a judge that was changed, counts no more.
            let judges = &case.statute().policy().judges;
            self.answers.retain(|kept| {
                kept.position != *position || kept.about == about && judges.contains(&kept.judge)
            });
            let answered = |judge: &ExternalJudge| {
                self.answers.iter().any(|k| k.position == *position && k.judge == *judge)
            };
            let open = judges.iter().filter(|judge| !answered(judge)).map(|judge| Question {
                position: *position,
                judge: judge.clone(),
                about,
                body: body.clone(),
            });
            questions.extend(open);
        }
        let until = self.until;
        let asked = stream::iter(questions).map(|question| async move {
            let Question { position, judge, about, body } = question;
            let answer = external::ask(&judge, body, until).await;
            Kept { position, judge, about, answer }
        });
        let answers: Vec<Kept> = asked.buffer_unordered(ASKED_AT_ONCE).collect().await;
        self.answers.extend(answers);
    }

    /// In the order of the policy.
    fn answers_to(&self, position: u32, case: &Case) -> Vec<ExternalAnswer> {
        let judges = case.statute().policy().judges.iter();
        let answer = |judge: &ExternalJudge| {
            let mut kept = self.answers.iter();
            let found = kept.find(|kept| kept.position == position && kept.judge == *judge);
            found.map(|kept| kept.answer.clone())
        };
        judges.filter_map(answer).collect()
    }
}

/// What a question is about: the request and the policy. What the tenant has changes all the time,
/// and does not make an answer an old one.
fn about(question: &JudgeQuestion) -> blake3::Hash {
    let mut hash = blake3::Hasher::new();
    for part in [serde_json::to_vec(&question.request), serde_json::to_vec(&question.policy)] {
        let part = part.unwrap_or_default();
        hash.update(&(part.len() as u64).to_le_bytes()).update(&part);
    }
    hash.finalize()
}

/// The facts that cases want, all of one moment, and the entry they were read at; just the time,
/// where none wants more.
async fn facts<'c>(
    open: &Open,
    cases: impl Iterator<Item = &'c Case>,
) -> Result<(Facts, Sequence), Fault> {
    let (mut tenants, mut templates) = (BTreeSet::new(), BTreeSet::new());
    for case in cases {
        let (wants, submission) = (case.wants(), case.submission());
        if wants.tenant || wants.external {
            tenants.insert(submission.tenant().into());
        }
        if wants.learned {
            templates.insert(submission.template.clone());
        }
    }
    let tenants: Vec<Box<str>> = tenants.into_iter().collect();
    let templates: Vec<Box<str>> = templates.into_iter().collect();
    if tenants.is_empty() && templates.is_empty() {
        return Ok((Facts { at: open.clock.now(), ..Facts::default() }, 0));
    }
    let seen = read::get(&open.view, JudgingFacts { tenants, templates }).await?;
    Ok((seen.value, seen.mark.index))
}
