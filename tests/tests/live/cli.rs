//! The command line against Olympus and an agent in processes of their own. What needs neither is
//! in `src/tartarus/tests`.

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::http::id;
use tests::{Finished, House, RedisServer};

const TOKEN: &str = "a-token-for-this-test-alone";

/// Runs the command line beside the tasks of this test.
pub async fn cli(house: &House, args: &[&str], env: &[(&str, &str)]) -> Finished {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let mut env: Vec<_> = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    env.push(("TARTARUS_ADDR".to_owned(), house.api.url.clone()));
    let run = move || {
        let args: Vec<&str> = args.iter().map(|arg| &**arg).collect();
        let env: Vec<_> = env.iter().map(|(k, v)| (&**k, &**v)).collect();
        tests::tartarus(&args, &env)
    };
    tokio::task::spawn_blocking(run).await.expect("the command")
}

#[tokio::test]
async fn a_run_prints_what_its_program_prints_and_exits_as_it_does() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    for (args, code, stdout, stderr) in [
        (&["--", "echo", "hello"][..], 0, "hello\n", ""),
        (&["--", "sh", "-c", "echo oops >&2; exit 7"], 7, "", "oops\n"),
        (&["--", "sh", "-c", "kill -TERM $$"], 143, "", "error: Signaled"),
        (&["--ttl", "300ms", "--", "sleep", "60"], 124, "", "error: TimedOut"),
        (&["--mem-mb", "4096", "--", "true"], 126, "", "error: policy"),
        (&["--", "no-such-program"], 127, "", "error: NotExecutable"),
        (&["-e", "A=b c", "--", "sh", "-c", "printf %s \"$A\""], 0, "b c", ""),
        (&["--max-attempts", "2", "--backoff", "10ms", "--", "sh", "-c", "exit 3"], 3, "", ""),
    ] {
        let said = cli(&house, &[&["run"], args].concat(), &[]).await.expect(code);
        assert_eq!(said.stdout, stdout, "{args:?}");
        assert!(said.stderr.contains(stderr), "{args:?}: {}", said.stderr);
    }
}

#[tokio::test]
async fn tables_are_for_people_and_json_is_what_the_api_says() {
    let house = House::memory().await;
    let _agent = house.agent("n1").start(&house.api).await;
    let run = id(&house.api.submit_command(&["echo", "hello"]).await);
    let ended = house.api.ended(&run).await;
    for (args, head, cell) in [
        (&["ps"][..], "ID", &*run),
        (&["node", "list"], "ID", "n1"),
        (&["queue", "status"], "QUEUE", "depth"),
    ] {
        let table = cli(&house, args, &[]).await.expect(0).stdout;
        assert!(table.starts_with(head) && table.contains(cell), "{args:?}:\n{table}");
        assert!(!table.contains('\u{1b}'), "no colour where there is no terminal");
    }
    let ps = cli(&house, &["ps", "-o", "json"], &[]).await.expect(0).json();
    assert_eq!(ps, json!([ended]));
    let inspected = cli(&house, &["inspect", &run, "-o", "json"], &[]).await.expect(0).json();
    assert_eq!(inspected, ended);
    let nodes = cli(&house, &["node", "list", "-o", "json"], &[]).await.expect(0).json();
    assert_eq!(nodes[0]["id"], "n1");
    let queue = cli(&house, &["queue", "status", "-o", "json"], &[]).await.expect(0).json();
    assert_eq!(queue["depth"], 0);
    assert_eq!(cli(&house, &["logs", &run], &[]).await.expect(0).stdout, "hello\n");
    let killed = cli(&house, &["kill", &run], &[]).await.expect(1);
    assert!(killed.stderr.contains("has ended"), "{}", killed.stderr);
}

#[tokio::test]
async fn a_token_is_needed_where_olympus_asks_for_one() {
    let env = [("TARTARUS_AUTH", "token"), ("TARTARUS_BOOTSTRAP_TOKEN", TOKEN)];
    let house = House::with(None, &env).await;
    let refused = cli(&house, &["ps"], &[]).await.expect(1);
    assert!(refused.stderr.contains("TARTARUS_TOKEN"), "{}", refused.stderr);
    let refused =
        cli(&house, &["ps"], &[("TARTARUS_TOKEN", "another-token-altogether")]).await.expect(1);
    assert!(!refused.stderr.contains("another-token"), "{}", refused.stderr);
    let shown = cli(&house, &["ps", "-o", "json"], &[("TARTARUS_TOKEN", TOKEN)]).await.expect(0);
    assert_eq!(shown.json(), Value::Array(Vec::new()));
}

#[tokio::test]
async fn a_policy_has_a_history_that_can_be_compared_and_restored() {
    let house = House::memory().await;
    let file = house.path("p.yaml");
    let apply = async |mem_mb: u32| {
        let text = format!("name: p\nmatch: {{templates: [host]}}\nlimits: {{mem_mb: {mem_mb}}}\n");
        std::fs::write(&file, text).expect("a file");
        cli(&house, &["policy", "apply", "-f", &file.display().to_string()], &[]).await.expect(0);
    };
    apply(256).await;
    let alone = cli(&house, &["policy", "diff", "p"], &[]).await.expect(1);
    assert!(alone.stderr.contains("one version"), "{}", alone.stderr);
    apply(512).await;
    let told = cli(&house, &["policy", "diff", "p"], &[]).await.expect(1).stdout;
    assert!(told.starts_with("--- p version 1\n+++ p version 2\n@@ "), "{told}");
    let lines: Vec<&str> = told.lines().skip(2).filter(|l| l.starts_with(['-', '+'])).collect();
    assert_eq!(lines, ["-  mem_mb: 256", "+  mem_mb: 512"], "{told}");
    let back = cli(&house, &["policy", "diff", "p", "2", "1"], &[]).await.expect(1).stdout;
    assert!(back.contains("+  mem_mb: 256"), "{back}");
    let path = file.display().to_string();
    cli(&house, &["policy", "diff", "-f", &path], &[]).await.expect(0);
    std::fs::write(&file, "name: p\nmatch: {templates: [host]}\nlimits: {mem_mb: 1024}\n")
        .expect("a file");
    let draft = cli(&house, &["policy", "diff", "-f", &path], &[]).await.expect(1).stdout;
    assert!(draft.contains("+  mem_mb: 1024"), "{draft}");
    cli(&house, &["policy", "restore", "p", "1", "--if-version", "1"], &[]).await.expect(1);
    cli(&house, &["policy", "restore", "p", "1", "--if-version", "2"], &[]).await.expect(0);
    let shown = house.api.get("/v1/policies/p").await.expect(200).json();
    assert_eq!((&shown["version"], &shown["limits"]["mem_mb"]), (&json!(3), &json!(256)));
    let history = cli(&house, &["policy", "history", "p"], &[]).await.expect(0).stdout;
    assert!(history.starts_with("VERSION") && history.lines().count() == 4, "{history}");
    let json = cli(&house, &["policy", "history", "p", "-o", "json"], &[]).await.expect(0).json();
    let api = house.api.get("/v1/policies/p/versions").await.expect(200).json();
    assert_eq!(json, api["items"]);
    std::fs::write(&file, "name: p\nmatch: {templates: [host]}\nrules: [{name: r, when: request.colour, verdict: reject}]\n").expect("a file");
    let refused = cli(&house, &["policy", "apply", "-f", &path], &[]).await.expect(2);
    assert!(refused.stderr.contains("rules[0] \"r\" line 1, column"), "{}", refused.stderr);
    cli(&house, &["policy", "diff", "nobody"], &[]).await.expect(1);
}

#[tokio::test]
async fn where_a_call_of_the_api_would_help_the_command_is_named() {
    let house = House::memory().await;
    let nobody = "00000000-0000-7000-8000-000000000000";
    let run = id(&house.api.submit_command(&["true"]).await);
    for (args, words, command) in [
        (&["inspect", nobody][..], "does not exist", "tartarus ps"),
        (&["inspect", "nonsense"], "does not exist", "tartarus ps"),
        (&["explain", nobody], "does not exist", "tartarus ps"),
        (&["kill", nobody], "does not exist", "tartarus ps"),
        (&["policy", "get", "none"], "does not exist", "tartarus policy list"),
        (&["template", "get", "none"], "does not exist", "tartarus template list"),
        (&["node", "drain", "none"], "does not exist", "tartarus node list"),
        (&["queue", "redrive", &run], "is no dead letter", "tartarus queue dead"),
    ] {
        let said = cli(&house, args, &[]).await.expect(1);
        let said = said.stderr + &said.stdout;
        let named = format!("with `{command}`");
        assert!(said.contains(words) && said.contains(&named), "{args:?}: {said}");
        assert!(!said.contains("/v1/"), "{args:?}: {said}");
    }
    let env = [("TARTARUS_AUTH", "token"), ("TARTARUS_BOOTSTRAP_TOKEN", TOKEN)];
    let house = House::with(None, &env).await;
    let said = cli(&house, &["ps"], &[]).await.expect(1).stderr;
    assert!(
        said.contains("a token is needed: set TARTARUS_TOKEN or TARTARUS_TOKEN_FILE"),
        "{said}"
    );
}

#[tokio::test]
async fn a_run_of_unknown_outcome_is_told_with_the_key_to_repeat_it_by() {
    let mut house = House::with(Some(RedisServer::durable()), &[]).await;
    let run = ["run", "--detach", "--", "true"];
    house.redis_mut().signal(Signal::STOP);
    let unknown = cli(&house, &run, &[]).await.expect(125).stderr;
    house.redis_mut().signal(Signal::CONT);
    let (_, rest) = unknown.split_once("--idempotency-key ").expect(&unknown);
    let key = rest.split('`').next().expect("a key");
    let again = ["run", "--idempotency-key", key, "--detach", "--", "true"];
    let made = cli(&house, &again, &[]).await.expect(0).stdout;
    let runs = house.api.get("/v1/runs").await.expect(200).json();
    let ids: Vec<_> = runs["items"].as_array().into_iter().flatten().map(|r| &r["id"]).collect();
    assert_eq!(ids, [made.trim()], "once, whichever of the two made it");
}
