//! The command line against Olympus and an agent in processes of their own. What needs neither is
//! in `src/tartarus/tests`.

use serde_json::{Value, json};
use tests::http::id;
use tests::{Finished, House};

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
        (&["--", "sh", "-c", "kill -TERM $$"], 143, "", ""),
        (&["--ttl", "300ms", "--", "sleep", "60"], 124, "", ""),
        (&["--mem-mb", "4096", "--", "true"], 126, "", "4096"),
        (&["--", "no-such-program"], 127, "", "no-such-program"),
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
