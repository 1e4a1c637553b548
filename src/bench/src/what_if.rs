//! Submissions judged a second under a draft.

use std::sync::Arc;

use domain::law::{Limits, Policy, Rule, Verdict, lockdown_default};
use journal::{Journal, MemoryJournal, RedisConfig, RedisJournal};
use replay::Source;
use replay::what_if::{Question, what_if};

use crate::Failed;
use crate::replay::Replay;
use crate::servers::redis;
use crate::stats::median;

/// Arguments.
#[derive(clap::Args)]
pub struct WhatIf {
    /// Submissions in the journal; each ran, which is three more events.
    #[arg(long, default_value_t = 500_000)]
    runs: u32,
    /// Rules of the draft, of one test each.
    #[arg(long, default_value_t = 20)]
    rules: u32,
    /// Every submission flips.
    #[arg(long)]
    flip: bool,
    /// The draft has a quota, so that what tenants had is folded too.
    #[arg(long)]
    quota: bool,
    /// From a Redis; otherwise from memory.
    #[arg(long)]
    redis: bool,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

impl WhatIf {
    /// Measures and prints.
    pub async fn run(self) -> Result<(), Failed> {
        let server = if self.redis { Some(redis("everysec").await?) } else { None };
        let journal: Arc<dyn Journal> = match &server {
            Some(server) => Arc::new(RedisJournal::new(RedisConfig::at(server.address.parse()?))),
            None => Arc::new(MemoryJournal::default()),
        };
        let tail = journal.open(None).await?.tail;
        let bytes = Replay::lived(self.runs).fill(&journal, tail).await?.bytes;
        println!("{} submissions, {} MB of journal", self.runs, bytes / 1_000_000);
        let mut rates = Vec::new();
        for round in 1..=self.rounds {
            let mut source = Source::journal(journal.clone());
            let draft = self.draft();
            let question = Question { draft, since: api::Time(0), until: None, book: None };
            let report = what_if(&mut source, question, |_| {}).await?;
            let (judged, flips) = (report.counts.judged, report.flips_total);
            let due = if self.flip { u64::from(self.runs) } else { 0 };
            if judged != u64::from(self.runs) || report.counts.applied != judged || flips != due {
                return Err(format!("judged {judged} with {flips} flips").into());
            }
            let rate = judged as f64 * 1_000.0 / report.elapsed_ms.max(1) as f64;
            println!("{round:>5} {rate:>12.0} submissions/s");
            rates.push(rate);
        }
        println!("median: {:.0} submissions/s", median(&rates));
        Ok(())
    }

    fn draft(&self) -> Policy {
        let mut draft = Policy {
            name: "draft".into(),
            limits: Limits { cpu_milli: Some(4_000), mem_mb: Some(4_096), gpu: 0, ttl_ms: None },
            ..lockdown_default()
        };
        draft.rules = (0..self.rules)
            .map(|n| Rule {
                name: format!("rule-{n}").into(),
                when: format!("request.metadata.user == \"user-{n}\"").into(),
                verdict: Verdict::Reject,
                reason: "".into(),
            })
            .collect();
        if self.flip {
            draft.limits.mem_mb = Some(1);
        }
        if self.quota {
            draft.quotas.running = Some(1_000_000);
        }
        draft
    }
}
