//! What a draft would have changed: asked of Olympus, of the journal beside it, and before it is
//! put into force.

use reqwest::Method;
use serde_json::{Value, json};
use tests::http::id;
use tests::{Finished, House, RedisServer};

fn policy(mem_mb: u32) -> Value {
    json!({"name": "open", "match": {"templates": ["*"]}, "limits": {"mem_mb": mem_mb}})
}

fn asks_for(mem_mb: u32, tenant: &str) -> Value {
    json!({"template": "host", "command": ["true"], "resources": {"mem_mb": mem_mb},
           "metadata": {"tenant": tenant}})
}

fn tartarus(house: &House, args: &str) -> Finished {
    let args: Vec<&str> = args.split_whitespace().collect();
    tests::tartarus(&args, &[("TARTARUS_ADDR", &house.api.url)])
}

/// A house that has let in four submissions, three of them large, and refused one.
async fn lived() -> House {
    let house = House::with(Some(RedisServer::durable()), &[]).await;
    house.api.put("/v1/policies/open", &policy(1024)).await.expect(201);
    for (mem_mb, tenant) in [(512, "acme"), (64, "acme"), (512, "acme"), (600, "other")] {
        house.api.submit(&asks_for(mem_mb, tenant)).await;
    }
    house.api.post("/v1/runs", &asks_for(2048, "acme")).await.problem(403, "policy_rejected");
    house
}

#[tokio::test]
async fn the_recorded_submissions_are_judged_under_a_draft_beside_what_became_of_them() {
    let house = lived().await;
    let ask = |draft: Value| json!({"policy": draft, "since": "168h"});
    let before = house.api.get("/v1/policies").await.index();
    let report = house.api.post("/v1/policies/open/what-if", &ask(policy(256))).await.expect(200);
    let report = report.json();
    let counts = &report["counts"];
    assert_eq!((&counts["submissions"], &counts["judged"]), (&json!(5), &json!(5)), "{report:#}");
    assert_eq!(counts["newly_rejected"], json!({"count": 3, "of": 5, "percent": "60.000"}));
    assert_eq!((&report["flips_total"], &report["truncated"]), (&json!(3), &json!(false)));
    let flip = &report["flips"][2];
    assert_eq!((&flip["old_verdict"], &flip["new_verdict"]), (&json!("accept"), &json!("reject")));
    assert_eq!((&flip["rule"], &flip["tenant"]), (&json!("limits.mem_mb"), &json!("other")));
    let run = house.api.run(flip["run_id"].as_str().expect("an id")).await;
    assert_eq!(run["resources"]["mem_mb"], 600);
    assert_eq!(report["by_tenant"][0], json!({"name": "acme", "flips": 2}));

    // The other way, and a policy that is not there yet.
    let wider = house.api.post("/v1/policies/open/what-if", &ask(policy(4096))).await.expect(200);
    assert_eq!(wider.json()["counts"]["newly_accepted"]["count"], 1, "{wider}");
    let new = json!({"match": {"templates": ["host"]}, "limits": {"mem_mb": 1024},
        "rules": [{"name": "acme-aside", "when": "request.metadata.tenant == \"acme\"",
                   "verdict": "quarantine", "reason": "a look first"}]});
    let new = house.api.post("/v1/policies/new/what-if", &json!({"policy": new})).await;
    let new = new.expect(200).json();
    assert_eq!(new["counts"]["newly_quarantined"]["count"], 3, "{new:#}");
    assert_eq!(new["by_rule"], json!([{"name": "acme-aside", "flips": 3}]));
    let same = house.api.post("/v1/policies/open/what-if", &ask(policy(1024))).await.expect(200);
    assert_eq!((&same.json()["flips_total"], &same.json()["flips"]), (&json!(0), &json!([])));
    let nothing = json!({"policy": policy(64), "since": "0s"});
    let nothing = house.api.post("/v1/policies/open/what-if", &nothing).await.expect(200).json();
    assert_eq!(nothing["counts"]["submissions"], 0);

    let tied = json!({"match": {"templates": ["*"]}});
    let tied = house.api.post("/v1/policies/tied/what-if", &json!({"policy": tied})).await;
    tied.problem(409, "conflict");
    assert_eq!(house.api.get("/v1/policies").await.index(), before, "nothing is written");
    house.api.get("/v1/policies/new").await.problem(404, "not_found");
}

#[tokio::test]
async fn the_journal_alone_gives_the_report_that_olympus_gave() {
    let mut house = lived().await;
    let draft = house.path("draft.yaml");
    std::fs::write(&draft, "name: open\nmatch: {templates: ['*']}\nlimits: {mem_mb: 256}\n")
        .expect("written");
    let draft = draft.display();
    let said = tartarus(&house, &format!("policy what-if -f {draft} --since 1h -o json")).expect(1);
    let report = said.json();
    house.api.submit(&asks_for(700, "late")).await;
    house.olympus.process.kill();
    let (since, head) = (report["since"].as_str(), report["head"].as_str());
    let (since, head) = (since.expect("a time"), head.expect("a receipt"));
    let until = head.split_once('-').expect("a sequence").0;
    let redis = house.redis.as_ref().expect("a redis").addr();
    let beside = format!("policy what-if -f {draft} --since {since} -o json --redis {redis}");
    let again = tartarus(&house, &format!("{beside} --until {until}")).expect(1).json();
    assert_eq!(again["digest"], report["digest"], "{again:#}\n{report:#}");
    let later = tartarus(&house, &beside).expect(1).json();
    assert_eq!((&later["flips_total"], &report["flips_total"]), (&json!(4), &json!(3)));
    let file = house.path("export");
    let export = format!("audit export --redis {redis} --until {until} --output");
    tartarus(&house, &format!("{export} {}", file.display())).expect(0);
    let export = format!("policy what-if -f {draft} --since {since} -o json --export");
    let exported = tartarus(&house, &format!("{export} {}", file.display())).expect(1).json();
    assert_eq!(exported["digest"], report["digest"]);
}

#[tokio::test]
async fn a_draft_that_would_change_too_much_is_not_applied_and_one_that_is_says_what_was_seen() {
    let house = lived().await;
    let draft = house.path("draft.yaml");
    std::fs::write(&draft, "name: open\nmatch: {templates: ['*']}\nlimits: {mem_mb: 256}\n")
        .expect("written");
    let draft = draft.display();
    let what_if = format!("policy what-if -f {draft} --since 7d");
    let said = tartarus(&house, &what_if).expect(1);
    for words in ["3 (60.000 %) newly", "WOULD BE", "limits.mem_mb", "judged      5 of 5"] {
        assert!(said.stdout.contains(words), "{words}: {}", said.stdout);
    }
    assert!(said.stderr.contains("tartarus explain RUN"), "{}", said.stderr);
    for (gates, code, words) in [
        ("--max-newly-rejected 60%", 0, ""),
        ("--max-newly-rejected 59.999%", 1, "newly rejected: 3 of 5 (60.000 %), the limit is"),
        ("--max-newly-rejected 3 --max-flips 2", 1, "flips: 3 of 5"),
        ("--max-newly-quarantined 0", 0, ""),
        ("--max-not-replayed 0", 0, ""),
        ("--max-newly-rejected lots", 2, "give a number such as 10, or a share"),
        ("--until 3", 2, "--until is for a journal that is read here"),
    ] {
        let said = tartarus(&house, &format!("{what_if} {gates}")).expect(code);
        assert!(said.stderr.contains(words), "{gates}: {}", said.stderr);
    }
    let apply = format!("policy apply -f {draft}");
    assert!(
        tartarus(&house, &format!("{apply} --max-flips 3")).expect(2).stderr.contains("--what-if")
    );
    let said = tartarus(&house, &format!("{apply} --what-if")).expect(1);
    assert!(said.stderr.contains("policy open is as it was"), "{}", said.stderr);
    assert_eq!(house.api.get("/v1/policies/open").await.json()["version"], 1);
    let gates = "--what-if --since 7d --max-newly-rejected 60%";
    tartarus(&house, &format!("{apply} {gates}")).expect(0);

    let versions = house.api.get("/v1/policies/open/versions").await.expect(200).json();
    let digest = versions["items"][1]["what_if"].as_str().unwrap_or_default().to_owned();
    assert_eq!(digest.len(), 64, "{versions:#}");
    assert_eq!(versions["items"][0].get("what_if"), None, "{versions:#}");
    let said = tartarus(&house, "policy history open").expect(0);
    assert!(said.stdout.contains(&digest[..12]), "{}", said.stdout);
    let redis = house.redis.as_ref().expect("a redis").addr();
    let shown = format!("replay show --redis {redis} --type policy.put -o json");
    let shown = tartarus(&house, &shown).expect(0);
    assert!(shown.stdout.contains(&digest), "{}", shown.stdout);
    assert!(
        tartarus(&house, &format!("replay verify --redis {redis}"))
            .expect(0)
            .stdout
            .contains("good")
    );

    // A digest counts for exactly the policy that it is of, and where it was made.
    let ask = json!({"policy": policy(512)});
    let report = house.api.post("/v1/policies/open/what-if", &ask).await.expect(200).json();
    let path = format!("/v1/policies/open?what_if={}", report["digest"].as_str().expect("hex"));
    let put = |body: Value| house.api.request(Method::PUT, &path).json(&body);
    let other = house.api.send(put(policy(500))).await.problem(409, "conflict");
    assert!(other["detail"].as_str().is_some_and(|d| d.contains("is of another draft")), "{other}");
    house.api.send(put(policy(512))).await.expect(200);
    let last = id(&house.api.submit(&asks_for(512, "acme")).await);
    assert_eq!(house.api.run(&last).await["policy"]["version"], 3);
}
