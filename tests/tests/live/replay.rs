//! The past, without a server: `tartarus replay` and `tartarus audit`.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use tests::http::{host, id};
use tests::{Finished, House, RedisServer};

fn tartarus(args: &str) -> Finished {
    tests::tartarus(&args.split_whitespace().collect::<Vec<_>>(), &[])
}

fn lines(said: &Finished) -> Vec<Value> {
    said.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn the_past_is_verified_shown_and_taken_away_without_a_server() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let agent = house.agent("n1").start(&house.api).await;
    let mut failing = host(&["sh", "-c", "exit 3"]);
    failing["metadata"] = json!({"tenant": "acme"});
    let run = id(&house.api.submit(&failing).await);
    let ended = house.api.ended(&run).await;
    let mut greedy = host(&["true"]);
    greedy["resources"] = json!({"mem_mb": 1024});
    house.api.post("/v1/runs", &greedy).await.expect(403);
    let policy = json!({"match": {"templates": ["*"]}, "limits": {"mem_mb": 1024}});
    house.api.put("/v1/policies/open", &policy).await.expect(201);
    house.olympus.restart().await;
    house.api.ended(&id(&house.api.submit(&greedy).await)).await;
    let shown: Vec<Value> = house.api.all(&format!("/v1/runs/{run}/events")).await;

    // While Olympus runs, and after it is gone.
    let redis = house.redis.as_ref().expect("a redis").addr();
    let verify = format!("replay verify --redis {redis} -o json");
    let living = tartarus(&verify).expect(0).json();
    assert_eq!((&living["good"], &living["findings"]), (&json!(true), &json!([])), "{living:#}");
    assert!(living["judgements"] == 3 && living["assignments"] == 2, "{living:#}");
    drop(agent);
    house.olympus.process.kill();
    let report = tartarus(&verify).expect(0).json();
    assert_eq!(report["good"], true, "{report:#}");
    assert!(
        tartarus(&format!("replay verify --redis {redis}")).expect(0).stdout.contains("good: ")
    );

    let said = tartarus(&format!("replay show --redis {redis} --run {run} -o json")).expect(0);
    assert_eq!(lines(&said), shown, "the same as the feed showed");
    let said = tartarus(&format!("replay show --redis {redis} --tenant acme")).expect(0);
    assert_eq!(said.stdout.lines().count(), shown.len(), "{}", said.stdout);
    let said =
        tartarus(&format!("replay show --redis {redis} --type policy.put -o json")).expect(0);
    let [put] = lines(&said).try_into().expect("one policy was put");
    let (put, born) = (put["sequence"].as_u64().expect("a number"), &shown[0]["sequence"]);

    let all = tartarus(&format!("replay show --redis {redis} -o json")).expect(0);
    let first = lines(&all).swap_remove(0);
    let at =
        |point: &str| tartarus(&format!("replay at {point} --redis {redis} --run {run} -o json"));
    assert_eq!(at(&born.to_string()).expect(0).json()["status"], "PENDING");
    let then = at(&ended["index"].to_string()).expect(0).json();
    assert_eq!(then, ended, "as it was answered then");
    assert!(at("1").expect(1).stderr.contains("was not known"));
    assert!(at("999999").expect(1).stderr.contains("it ends with entry"));
    let before = tartarus(&format!("replay at 2020-01-01T00:00:00Z --redis {redis}")).expect(1);
    let begins = format!("the journal begins at {}, with entry 2", first["time"].as_str().unwrap());
    assert!(before.stderr.contains(&begins), "{}", before.stderr);
    let state = tartarus(&format!("replay at {put} --redis {redis} -o json")).expect(0).json();
    assert_eq!((&state["revision"], &state["policies"]), (&json!(1), &json!({"open": 1})));
    assert_eq!(state["nodes"][0]["id"], "n1");
    let diff = format!("replay diff {} {put} --redis {redis}", put - 1);
    assert!(tartarus(&diff).expect(0).stdout.contains("policy    open: added as v1"));
    let backwards = tartarus(&format!("replay diff 5 4 --redis {redis}")).expect(2);
    assert!(backwards.stderr.contains("give the earlier point first"));

    let file = house.path("export");
    let path = file.display();
    let export = format!("audit export --redis {redis} --output");
    tartarus(&format!("{export} {path}")).expect(0);
    let kept = std::fs::read_to_string(&file).expect("text");
    let taken = tartarus(&format!("{export} {path}")).expect(1).stderr;
    assert!(taken.contains("is there already: give another name, or --overwrite"), "{taken}");
    assert_eq!(std::fs::read_to_string(&file).expect("text"), kept);
    tartarus(&format!("{export} {path} --overwrite")).expect(0);
    let nowhere = house.path("nowhere").join("export");
    let said = tartarus(&format!("{export} {}", nowhere.display())).expect(1).stderr;
    let dir = house.path("nowhere");
    assert!(said.ends_with(&format!("there is no directory {}\n", dir.display())), "{said}");
    let good = tartarus(&format!("audit verify {path} -o json")).expect(0).json();
    assert_eq!((&good["entries"], &good["last"]), (&report["entries"], &report["last"]));
    let again = tartarus(&format!("replay verify --file {path} -o json")).expect(0).json();
    assert_eq!(again["digest"], report["digest"]);
    let mut text = std::fs::read_to_string(&file).expect("text");
    let lie = text.find("exit 3").expect("the command in the open");
    text.replace_range(lie..lie + 6, "exit 0");
    std::fs::write(&file, text).expect("written");
    let bad = tartarus(&format!("audit verify {path}")).expect(1);
    assert!(bad.stdout.contains("is not what the bytes of entry"), "{}", bad.stdout);
}

/// What a text in base64 says.
fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let (mut bits, mut have, mut bytes) = (0_u32, 0, Vec::new());
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        (bits, have) = (bits << 6 | u32::from(digit(byte)), have + 6);
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have) as u8);
        }
    }
    bytes
}

#[tokio::test]
async fn an_export_without_secrets_is_verified_like_any_other() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let _agent = house.agent("n1").start(&house.api).await;
    let mut secretive = host(&["sh", "-c", "test ${#SECRET} -eq 7 && cat"]);
    secretive["env"] = json!({"SECRET": "hunter2"});
    secretive["stdin"] = json!("psst-psst");
    let ended = house.api.ended(&id(&house.api.submit(&secretive).await)).await;
    assert_eq!(ended["status"], "SUCCEEDED", "{ended:#}");
    house.olympus.process.kill();

    let redis = house.redis.as_ref().expect("a redis").addr();
    let file = house.path("export");
    let path = file.display();
    let export = |redact: &str| {
        let args = format!("audit export --redis {redis} --overwrite --output {path} {redact}");
        let said = tartarus(&args).expect(0).stderr;
        (said, std::fs::read_to_string(&file).expect("text"))
    };
    let (said, whole) = export("");
    assert!(said.contains("it holds the values of env, stdin and"), "{said}");
    assert!(whole.contains("hunter2") && whole.contains("psst-psst"));
    let last = tartarus(&format!("audit verify {path} -o json")).expect(0).json();
    for (kinds, names, env, stdin) in [
        ("all", json!(["env", "stdin"]), false, false),
        ("env", json!(["env"]), false, true),
        ("stdin", json!(["stdin"]), true, false),
    ] {
        let (_, text) = export(&format!("--redact {kinds}"));
        let in_bytes = |secret: &str| {
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let entries = lines.filter_map(|line| line["bytes"].as_str().map(base64));
            entries
                .into_iter()
                .any(|bytes| bytes.windows(secret.len()).any(|w| w == secret.as_bytes()))
        };
        assert_eq!((text.contains("hunter2"), text.contains("psst-psst")), (env, stdin), "{kinds}");
        assert_eq!((in_bytes("hunter2"), in_bytes("psst-psst")), (env, stdin), "{kinds}");
        assert!(text.contains("SECRET\":"), "its name stays");
        let said = tartarus(&format!("audit verify {path} -o json")).expect(0).json();
        assert_eq!((&said["redacted"], &said["last"]), (&names, &last["last"]), "the same entries");
        let audit = tartarus(&format!("replay verify --file {path}")).expect(0).stdout;
        assert!(
            audit.contains("good: ") && audit.contains("0 judgements not made again"),
            "{audit}"
        );
    }
    let none = tartarus(&format!("audit export --redis {redis} --redact tokens")).expect(2);
    assert!(none.stderr.contains("give env, stdin"), "{}", none.stderr);

    // What was taken out is shown to whoever may see it, and a file that is there stays.
    let (opening, run) = (house.path("opening"), id(&ended));
    let opening = opening.display();
    let reveal = format!("audit reveal {run} --show stdin --redis {redis} --output {opening}");
    tartarus(&reveal).expect(0);
    let mode = std::fs::metadata(opening.to_string()).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for the eyes of its owner");
    let again = tartarus(&reveal.replace("--show stdin", "--show env")).expect(1).stderr;
    assert!(again.contains("is there already: give another name, or --overwrite"), "{again}");
    let verify = format!("audit verify {path} --opening {opening}");
    assert!(tartarus(&verify).expect(0).stdout.contains("psst-psst"));
    tartarus(&format!("{} --overwrite", reveal.replace("--show stdin", "--show env"))).expect(0);
    let said = tartarus(&verify).expect(0).stdout;
    assert!(said.contains("hunter2") && !said.contains("psst-psst"), "{said}");
}

#[tokio::test]
async fn what_was_changed_in_redis_is_found() {
    let mut house = House::redis().await;
    for _ in 0..5 {
        house.api.submit_command(&["true"]).await;
    }
    house.olympus.process.kill();
    let server = house.redis.as_ref().expect("a redis");
    let mut redis = server.connect(0);
    let verify = format!("replay verify --redis {}", server.addr());
    tartarus(&verify).expect(0);
    let head: String = redis::cmd("GET").arg("tartarus:head").query(&mut redis).expect("a head");
    let () = redis::cmd("DEL").arg("tartarus:head").query(&mut redis).expect("deleted");
    let said = tartarus(&verify).expect(1);
    assert!(said.stdout.contains("tartarus:head"), "{}", said.stdout);
    let () = redis::cmd("SET").arg(&["tartarus:head", &head]).query(&mut redis).expect("set");
    tartarus(&verify).expect(0);
    let _: u64 =
        redis::cmd("XDEL").arg(&["tartarus:journal", &head]).query(&mut redis).expect("deleted");
    let said = tartarus(&verify).expect(1);
    assert!(said.stdout.contains("nothing is there"), "{}", said.stdout);
    let (last, _) = head.split_once('-').expect("an id");
    let good = last.parse::<u64>().expect("a number") - 1;
    assert!(said.stdout.contains(&format!("good up to entry {good}")), "{}", said.stdout);
}

#[test]
fn where_no_journal_is_none_is_begun() {
    let server = RedisServer::start();
    for verb in ["verify", "show", "at 1", "diff 1 2"] {
        let said = tartarus(&format!("replay {verb} --redis {}", server.addr()));
        assert!(said.expect(1).stderr.contains("there is no journal here"), "{verb}");
    }
    assert_eq!(server.keys(0), Vec::<String>::new(), "nothing is written");
    let away = tests::tartarus(&["replay", "verify"], &[("REDIS_ADDR", "127.0.0.1:1")]).expect(1);
    assert!(away.stderr.contains("correct REDIS_ADDR"), "{}", away.stderr);
    let away = tartarus("replay verify --redis 127.0.0.1:1").expect(1);
    assert!(away.stderr.contains("Redis at 127.0.0.1:1: "), "{}", away.stderr);
    assert!(away.stderr.contains("correct --redis"), "{}", away.stderr);
    let none = tests::tartarus(&["replay", "verify"], &[("REDIS_ADDR", "")]).expect(2);
    assert!(none.stderr.contains("--file FILE"), "{}", none.stderr);
}
