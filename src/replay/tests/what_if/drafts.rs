//! Drafts, and what they would have changed.

use api::what_if::{FLIPS_MAX, Flip, Outcome, WhatIfReport};
use domain::Timestamp;
use domain::command::{Command, Guard};
use domain::event::{ExitCause, Usage};
use domain::judge::{ExternalAnswer, ExternalOutcome, Request};
use domain::law::{
    ExternalJudge, FailMode, HeatSource, Limits, OnExceeded, OnViolation, Policy, Quotas, Required,
    Rule, Verdict,
};
use domain::submission::{Heat, Placement, Strategy};
use journal::{Batch, Chain, Journal as _, Kinds, MemoryJournal, Receipt, Record, Secrets};
use replay::export::Export;
use replay::fold;
use replay::source::{Over, Source};
use replay::what_if::{Question, of_draft, of_report, what_if};

use crate::day::{journal, source};
use crate::lived::{Lived, asked_of};
use crate::support::*;

fn rule(name: &str, when: &str, verdict: Verdict) -> Rule {
    Rule { name: name.into(), when: when.into(), verdict, reason: "said so".into() }
}

fn ruled(rules: &[(&str, &str, Verdict)]) -> Policy {
    let rules = rules.iter().map(|(name, when, verdict)| rule(name, when, *verdict)).collect();
    Policy { rules, ..policy("open", &["*"]) }
}

fn limited(mem_mb: u32) -> Policy {
    let open = policy("open", &["*"]);
    Policy { limits: Limits { mem_mb: Some(mem_mb), ..open.limits }, ..open }
}

fn asking(mem_mb: u32, metadata: &[(&str, &str)]) -> Request {
    Request { mem_mb: Some(mem_mb), metadata: map(metadata), ..request() }
}

/// Old and new outcome, who objects, and to what.
type Told<'r> = (&'r str, &'r str, &'r str, &'r str);

fn flips(report: &WhatIfReport) -> Vec<Told<'_>> {
    fn outcome<'r>(verdict: &'r str, code: Option<&'r str>) -> &'r str {
        code.filter(|code| *code != "policy_rejected").unwrap_or(verdict)
    }
    fn told(flip: &Flip) -> Told<'_> {
        let old = outcome(&flip.old_verdict, flip.old_code.as_deref());
        let new = outcome(&flip.new_verdict, flip.new_code.as_deref());
        let (judge, rule) = (flip.judge.as_deref(), flip.rule.as_deref());
        (old, new, judge.unwrap_or("-"), rule.unwrap_or("-"))
    }
    report.flips.iter().map(told).collect()
}

fn reasons(report: &WhatIfReport) -> Vec<(&str, u64)> {
    report.not_replayed.reasons.iter().map(|b| (&*b.reason, b.count)).collect()
}

#[tokio::test]
async fn a_flip_names_what_it_was_what_it_would_be_and_the_rule() {
    use Verdict::{Quarantine, Reject};
    let external = r#"request.metadata.origin == "external""#;
    let require =
        |metadata: &str| Required { metadata: [metadata.into()].into(), ..Required::default() };
    let outside = || asking(64, &[("origin", "external")]);
    let rows: Vec<(Policy, Request, Policy, &[Told<'_>])> = vec![
        (
            limited(512),
            asking(256, &[]),
            limited(128),
            &[("accept", "reject", "rhadamanthus", "limits.mem_mb")],
        ),
        (
            limited(128),
            asking(256, &[]),
            limited(512),
            &[("reject", "accept", "rhadamanthus", "limits.mem_mb")],
        ),
        (
            ruled(&[]),
            outside(),
            ruled(&[("outside", external, Quarantine)]),
            &[("accept", "quarantine", "rhadamanthus", "outside")],
        ),
        (
            ruled(&[("outside", external, Quarantine)]),
            outside(),
            ruled(&[]),
            &[("quarantine", "accept", "rhadamanthus", "outside")],
        ),
        (
            ruled(&[("a", external, Quarantine)]),
            outside(),
            ruled(&[("a", external, Quarantine), ("b", external, Reject)]),
            &[("quarantine", "reject", "rhadamanthus", "b")],
        ),
        (
            ruled(&[]),
            outside(),
            Policy { require: require("user"), ..ruled(&[]) },
            &[("accept", "reject", "aeacus", "require.metadata.user")],
        ),
        (
            ruled(&[]),
            outside(),
            Policy {
                max_age_ms: Some(SECOND),
                on_violation: OnViolation::Quarantine,
                ..ruled(&[])
            },
            &[("accept", "quarantine", "aeacus", "retention.max_age")],
        ),
        (limited(128), asking(256, &[]), limited(64), &[]),
        (ruled(&[]), outside(), ruled(&[("friend", external, Verdict::Accept)]), &[]),
    ];
    for (then, request, draft, expected) in rows {
        let mut lived = Lived::open();
        lived.put(then);
        lived.submit(request);
        let report = lived.under(draft.clone()).await;
        assert_eq!(flips(&report), expected, "{draft:#?}");
        assert_eq!(report.flips_total, expected.len() as u64);
        assert_eq!((report.counts.judged, report.counts.applied), (1, 1));
        assert!(report.flips.iter().all(|flip| !flip.why.is_empty()), "{report:#?}");
    }
}

#[tokio::test]
async fn what_quarantine_could_not_take_then_it_could_not_take_under_the_draft() {
    let asked = || ruled(&[("all", "true", Verdict::Quarantine)]);
    // No node: what was refused for that stays refused; what was let in is taken to have a place.
    let mut lived = Lived::new();
    lived.put(asked());
    lived.submit(request());
    lived.put(ruled(&[]));
    lived.submit(request());
    let report = lived.under(ruled(&[])).await;
    let rule = ("quarantine_unavailable", "accept", "rhadamanthus", "all");
    assert_eq!(flips(&report), [rule]);
    let report = lived.under(asked()).await;
    assert_eq!(flips(&report), [("accept", "quarantine", "rhadamanthus", "all")]);
    let switched = rule_of(&mut Lived::open()).await;
    assert_eq!(flips(&switched), [("accept", "quarantine_disabled", "rhadamanthus", "all")]);
}

async fn rule_of(lived: &mut Lived) -> WhatIfReport {
    lived.quarantine_on = false;
    lived.put(ruled(&[("never", "now < timestamp(\"1999-01-01T00:00:00Z\")", Verdict::Reject)]));
    lived.submit(request());
    lived.under(ruled(&[("all", "true", Verdict::Quarantine)])).await
}

#[tokio::test]
async fn each_is_judged_under_the_law_of_its_moment() {
    let mut lived = Lived::open();
    lived.submit(asking(256, &[]));
    // Another policy takes the template: the draft of the first does not get it back.
    lived.put(Policy { name: "narrow".into(), templates: vec!["host".into()], ..limited(512) });
    lived.submit(asking(256, &[]));
    lived.ask(delete("narrow", Guard::None));
    lived.submit(asking(256, &[]));
    let report = lived.under(limited(128)).await;
    let ids: Vec<_> = report.flips.iter().map(|flip| flip.run_id).collect();
    assert_eq!(ids, [run(1), run(3)]);
    assert_eq!((report.counts.submissions, report.counts.applied), (3, 2));

    // A new one takes it from whoever had it.
    let new = Policy { name: "new".into(), templates: vec!["h*".into()], ..limited(128) };
    let report = lived.under(new).await;
    let ids: Vec<_> = report.flips.iter().map(|flip| flip.run_id).collect();
    assert_eq!(ids, [run(1), run(3)], "one that names it goes before a glob");
    assert_eq!((&*report.flips[0].old_policy, &*report.flips[0].new_policy), ("open", "new"));

    // One that gives its templates up leaves them to the others, or to lockdown.
    let gone = policy("open", &["other"]);
    let report = lived.under(gone).await;
    assert_eq!(report.flips_total, 2);
    assert_eq!(&*report.flips[0].new_policy, "lockdown-default");

    // A policy of then that claims the same: nobody can say which would have applied.
    let tied = Policy { templates: vec!["host".into()], ..limited(128) };
    let report = lived.under(tied).await;
    let why = "policy narrow claimed the same templates just as specifically then";
    assert_eq!(reasons(&report), [(why, 1)]);
    assert_eq!((report.flips_total, report.counts.judged), (2, 2));
}

#[tokio::test]
async fn heat_and_placement_move_a_run_and_flip_nothing() {
    let mut lived = Lived::open();
    lived.ask(Command::PutTemplate {
        template: domain::law::Template { heat: None, ..template("t") },
        guard: Guard::None,
        origin: origin(),
    });
    lived.ask(join("n1", 2, BIG_NODE, STANDARD));
    let busy = || Request { template: "t".into(), ..request() };
    for _ in 0..domain::heat::ENOUGH {
        let n = lived.submit(busy());
        lived.ask(assign(n, "n1"));
        let exit = exit(ExitCause::Exited, Some(0));
        let usage = Usage { cpu_ms: 400_000, max_rss_mb: 1, wall_ms: 100_000 };
        let output = Default::default();
        lived.ask(report(n, "n1", domain::command::Reported::Finished { exit, usage, output }));
    }
    lived.submit(busy());
    let draft = Policy { heat: HeatSource::Learned, ..policy("open", &["*"]) };
    let folded = lived.under(draft.clone()).await;
    assert_eq!((folded.flips_total, folded.moved.heat, folded.moved.pool), (0, 1, 1));
    assert_eq!(folded.moved.total, 1);
    assert_eq!(lived.world.profiles.learned("t").map(|l| l.p95_cpu_milli > 2_000), Some(true));
    let placement = Placement { strategy: Strategy::Pack, ..Placement::default() };
    let draft = Policy { placement, ..policy("open", &["*"]) };
    let placed = lived.under(draft).await;
    let all = domain::heat::ENOUGH + 1;
    assert_eq!((placed.moved.placement, placed.moved.total, placed.moved.heat), (all, all, 0));
    let hinted = Request { heat: Some(Heat::Hot), ..busy() };
    lived.submit(hinted);
    assert_eq!(lived.under(policy("open", &["*"])).await.moved.total, 0);
}

#[tokio::test]
async fn quotas_are_held_against_what_the_tenant_really_had() {
    let mut lived = Lived::open();
    for _ in 0..3 {
        lived.submit(of_tenant("acme"));
    }
    lived.submit(of_tenant("other"));
    let quotas = |on_exceeded| Quotas { pending: Some(2), on_exceeded, ..Quotas::default() };
    let draft = |quotas| Policy { quotas, ..policy("open", &["*"]) };
    let report = lived.under(draft(quotas(OnExceeded::Throttle))).await;
    assert_eq!(flips(&report), [("accept", "throttle", "minos", "quotas.pending")]);
    assert_eq!((report.flips[0].run_id, &*report.flips[0].tenant), (run(3), "acme"));
    assert_eq!((report.counts.newly_rejected.count, report.counts.newly_throttled.count), (1, 1));
    let report = lived.under(draft(quotas(OnExceeded::Reject))).await;
    assert_eq!(flips(&report), [("accept", "reject", "minos", "quotas.pending")]);
    let busy = "tenant.pending >= 1 && tenant.name == \"acme\"";
    let report = lived.under(ruled(&[("busy", busy, Verdict::Reject)])).await;
    assert_eq!(report.flips_total, 2);

    // Where the first entries are gone, it is not known; but where it was recorded.
    let journal = journal(&lived.entries).await;
    journal.store().remove(1);
    let book = || Some(lived.world.law.clone());
    let asked = draft(quotas(OnExceeded::Throttle));
    let report = asked_of(&journal, asked, T0, None, book()).await;
    assert_eq!(reasons(&report), [("what the tenant had then is not recorded", 4)]);
    let begins = report.begins.expect("it begins later");
    assert_eq!(begins.sequence, 2);
    let report = asked_of(&journal, limited(64), T0, None, book()).await;
    assert_eq!((report.flips_total, report.not_replayed.total), (4, 0));

    let mut lived = Lived::open();
    lived.put(draft(Quotas {
        pending: Some(1),
        on_exceeded: OnExceeded::Reject,
        ..Quotas::default()
    }));
    for _ in 0..3 {
        lived.submit(of_tenant("acme"));
    }
    let report = lived.under(draft(quotas(OnExceeded::Reject))).await;
    // The second of them was turned away then, and so was not there for the third.
    assert_eq!(flips(&report), [("reject", "accept", "minos", "quotas.pending"); 2]);
}

fn judge(name: &str, url: &str) -> ExternalJudge {
    ExternalJudge { name: name.into(), url: url.into(), timeout_ms: 100, fail: FailMode::Closed }
}

#[tokio::test]
async fn judges_elsewhere_are_not_asked_again() {
    let said = |verdict| ExternalOutcome::Said { verdict, reason: "so".into() };
    let with = |judges: &[ExternalJudge]| Policy { judges: judges.to_vec(), ..limited(512) };
    let mut lived = Lived::open();
    lived.put(with(&[judge("scanner", "http://a/")]));
    for outcome in [said(Verdict::Accept), said(Verdict::Quarantine), ExternalOutcome::TimedOut] {
        lived.answers = vec![ExternalAnswer { judge: "scanner".into(), outcome, latency_ms: 1 }];
        lived.submit(asking(256, &[]));
    }
    let same = lived.under(with(&[judge("scanner", "http://a/")])).await;
    assert_eq!((same.flips_total, same.counts.judged, same.counts.applied), (0, 3, 3));
    // Passed over, where it gives no answer: the same answers mean something else.
    let open = ExternalJudge { fail: FailMode::Open, ..judge("scanner", "http://a/") };
    let report = lived.under(with(&[open])).await;
    assert_eq!(flips(&report), [("reject", "accept", "scanner", "judges.scanner")]);
    let none = lived.under(limited(512)).await;
    assert_eq!(none.flips_total, 2, "{none:#?}");
    for (draft, judge, unknown) in [
        (with(&[judge("scanner", "http://b/")]), "scanner", 3),
        (with(&[judge("scanner", "http://a/"), judge("second", "http://a/")]), "second", 3),
        (with(&[ExternalJudge { timeout_ms: 200, ..judge("scanner", "http://a/") }]), "scanner", 1),
    ] {
        let report = lived.under(draft).await;
        let why = format!("external judge {judge} was not asked then");
        assert_eq!(reasons(&report), [(&*why, unknown)]);
    }
    // What is rejected here needs nobody elsewhere.
    let strict = Policy { judges: vec![judge("new", "http://a/")], ..limited(64) };
    let report = lived.under(strict).await;
    assert_eq!((report.not_replayed.total, report.flips_total), (0, 2));
}

#[tokio::test]
async fn the_same_question_has_the_same_digest_wherever_it_is_asked() {
    let mut lived = Lived::open();
    let mut since = T0;
    for n in 0..40 {
        if n == 20 {
            since = lived.at;
        }
        if n % 10 == 3 {
            lived.put(limited(100 + n));
        }
        lived.submit(asking(64 + n, &[("tenant", if n % 2 == 0 { "a" } else { "b" })]));
    }
    let journal = journal(&lived.entries).await;
    let draft = || limited(90);
    let whole = asked_of(&journal, draft(), since, None, None).await;
    assert_eq!(whole.counts.submissions, 20);
    let head = Receipt(journal.head().await.expect("a head"));
    assert_eq!(whole.digest, of_report(&whole));
    assert_eq!(whole.draft.digest, of_draft(&draft()));
    let known = Some(lived.world.law.clone());
    let skipped = asked_of(&journal, draft(), since, None, known.clone()).await;
    assert_eq!(skipped.digest, whole.digest);
    assert_eq!(whole.head.as_deref(), Some(&*head.to_string()));
    // What is written after the end that was asked about changes nothing.
    let until = lived.entries.len() as u64 + 1;
    lived.submit(asking(256, &[]));
    let longer = crate::day::journal(&lived.entries).await;
    let later = asked_of(&longer, draft(), since, Some(until), known.clone()).await;
    assert_eq!(later.counts, whole.counts);
    let other = asked_of(&longer, draft(), since, None, known).await;
    assert_eq!(other.counts.submissions, 21);
    assert_ne!(other.digest, later.digest);
    // Nothing has happened since.
    let nothing = lived.asked(draft(), lived.at, None, Some(lived.world.law.clone())).await;
    assert_eq!((nothing.counts.submissions, nothing.from), (0, None));
    assert!(nothing.head.is_some());
}

#[tokio::test]
async fn a_journal_without_its_beginning_needs_to_be_told_the_law() {
    let mut lived = Lived::open();
    lived.submit(request());
    let journal = journal(&lived.entries).await;
    journal.store().remove(1);
    let question = Question { draft: limited(64), since: api::Time(0), until: None, book: None };
    let refused = what_if(&mut source(&journal), question, |_| {}).await.unwrap_err();
    assert!(refused.to_string().contains("begins with entry 2"), "{refused}");
}

#[tokio::test]
async fn many_flips_are_counted_whole_and_listed_in_part() {
    let mut lived = Lived::open();
    for n in 0..FLIPS_MAX + 30 {
        let tenant = format!("t{}", n % 50);
        lived.submit(asking(256, &[("tenant", &tenant)]));
        let last = lived.entries.len() - 1;
        // One entry for all of them is enough.
        let event = lived.entries.remove(last);
        match lived.entries.last_mut().filter(|_| n > 0) {
            Some(entry) => entry.extend(event),
            None => lived.entries.push(event),
        }
        lived.ask(cancel(n as u64 + 1));
        let canceled = lived.entries.pop().expect("it happened");
        lived.entries.last_mut().expect("an entry").extend(canceled);
    }
    let report = lived.under(limited(64)).await;
    let all = FLIPS_MAX as u64 + 30;
    assert_eq!((report.flips_total, report.flips.len()), (all, FLIPS_MAX));
    assert!(report.truncated);
    assert_eq!(report.by_tenant.len(), 20);
    assert_eq!((&*report.by_tenant[0].name, report.by_tenant[0].flips), ("t0", 21));
    assert_eq!(report.by_rule.len(), 1);
    assert_eq!((&*report.by_template[0].name, report.by_template[0].flips), ("host", all));
    assert_eq!(&*report.counts.newly_rejected.percent, "100.000");
    assert_eq!(report.changes.len(), 1);
    assert_eq!((report.changes[0].old, report.changes[0].new), (Outcome::Accept, Outcome::Reject));
}

/// Records of the first versions, which held neither rules nor what they saw.
#[tokio::test]
async fn records_of_the_first_version_are_judged_as_far_as_they_go() {
    let store = MemoryJournal::default();
    let tail = store.open(None).await.expect("a journal").tail;
    let mut chain = Chain::lead_from(tail, uuid::Uuid::nil());
    let mut batch = Batch::new();
    let old: [(u16, &[u8]); 2] = [
        (2, include_bytes!("../../../journal/tests/golden/run.admitted/v1.bin")),
        (3, include_bytes!("../../../journal/tests/golden/run.rejected/v1.bin")),
    ];
    for (kind, mut rest) in old {
        // Framed as in an entry: type, version, flags, length.
        while let Some((frame, after)) = rest.split_first_chunk::<9>() {
            let length = u32::from_le_bytes([frame[5], frame[6], frame[7], frame[8]]) as usize;
            let (payload, after) = after.split_at(length);
            let (version, secrets) = (1, Secrets::NONE);
            batch.push(Record { kind, version, critical: true, payload, secrets });
            rest = after;
        }
    }
    let sealed = chain.seal(1_800_000_000_000, batch).expect("small");
    store.append(&sealed).await;
    let draft = || Policy { name: "p".into(), ..ruled(&[("all", "true", Verdict::Reject)]) };
    let report = asked_of(&store, draft(), Timestamp(0), None, None).await;
    assert_eq!((report.counts.submissions, report.counts.judged), (11, 11));
    assert_eq!(report.counts.newly_rejected.count, 8, "{report:#?}");
    let tenants = Policy { rules: Vec::new(), ..draft() };
    let rules = vec![rule("busy", "tenant.running > 0", Verdict::Reject)];
    let report = asked_of(&store, Policy { rules, ..tenants }, Timestamp(0), None, None).await;
    assert_eq!(report.counts.judged, 11, "what the tenant had is folded");
}

#[tokio::test]
async fn what_was_taken_out_of_an_export_is_nothing_to_judge_by() {
    let mut lived = Lived::open();
    lived.submit(Request { env: map(&[("A", "1")]), ..request() });
    lived.submit(request());
    let journal = journal(&lived.entries).await;
    let export = Export::new(Vec::new(), None, None).redacting(Kinds::ALL);
    let (export, over) = fold::run(&mut source(&journal), export, |_| {}).await;
    assert!(matches!(over, Over::End));
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), export.finish().expect("an export").0).expect("written");
    let asked = async |draft| {
        let mut copy = Source::file(file.path()).expect("an export");
        let question = Question { draft, since: api::Time(0), until: None, book: None };
        what_if(&mut copy, question, |_| {}).await.expect("a report")
    };
    let asks = || ruled(&[("a", "request.env.A == \"1\"", Verdict::Reject)]);
    let whole = asked_of(&journal, asks(), Timestamp(0), None, None).await;
    assert_eq!(flips(&whole), [("accept", "reject", "rhadamanthus", "a")]);
    let copy = asked(asks()).await;
    assert_eq!(reasons(&copy), [("its environment and input are not in this copy", 1)]);
    assert_eq!((copy.flips_total, copy.counts.judged), (0, 1), "the other one has none");
    let whole = asked_of(&journal, limited(64), Timestamp(0), None, None).await;
    assert_eq!((asked(limited(64)).await.digest, whole.flips_total), (whole.digest, 2));
}
