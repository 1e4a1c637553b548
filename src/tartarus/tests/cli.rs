//! The command line as a shell sees it: arguments, both outputs, exit codes, signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// The program, with nothing of this process' environment but the path.
fn tartarus(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tartarus"));
    command.args(args).env_clear().stdin(Stdio::null());
    for name in ["PATH", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

fn output(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command line, and checks its exit code and what both outputs contain.
#[track_caller]
fn check(command: &mut Command, code: i32, stdout: &str, stderr: &str) {
    let got = output(command);
    let (out, err) = (text(&got.stdout), text(&got.stderr));
    let words = format!("{command:?}\n--- stdout\n{out}\n--- stderr\n{err}");
    assert_eq!(got.status.code(), Some(code), "{words}");
    assert!(out.contains(stdout), "stdout lacks {stdout:?}: {words}");
    assert!(err.contains(stderr), "stderr lacks {stderr:?}: {words}");
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(status.expect("kill is there").success());
}

/// An address that nobody listens at: the port was free a moment ago.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("it is bound"))
}

#[test]
fn mistakes_end_with_their_code_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let empty = file("empty.yaml", "");
    let broken = file("broken.yaml", "limits: [");
    let unknown = file("unknown.yaml", "name: p\nlimts: {}\n");
    let nameless = file("nameless.yaml", "match: {templates: ['*']}\n");
    let wrong = file("wrong.yaml", "name: p\nmatch: {templates: ['*']}\non_violation: warn\n");
    let nobody = nowhere();
    let rows: &[(&[&str], i32, &str)] = &[
        (&[], 2, "Usage"),
        (&["fly"], 2, "unrecognized subcommand"),
        (&["run", "--ttl", "30", "--", "true"], 2, "the unit is missing"),
        (&["run", "--ttl", "8d", "--", "true"], 2, "resources.ttl is 8d: give 1ms to 7d"),
        (&["run", "--mem-mb", "1", "--", "true"], 2, "resources.mem_mb is 1: give 4 to"),
        (&["run", "--priority", "101", "--", "true"], 2, "priority is 101: give 0 to 100"),
        (&["run", "-e", "1A=x", "--", "true"], 2, "env has the name \"1A\""),
        (&["run", "-e", "NO_SUCH_VARIABLE", "--", "true"], 2, "write NO_SUCH_VARIABLE=VALUE"),
        (&["run", "-t", "../x", "--", "true"], 2, "template is \"../x\""),
        (&["run", "-m", "tenant=A B", "--", "true"], 2, "metadata.tenant is \"A B\""),
        (&["run", "--detach", "--", "true"], 2, "set TARTARUS_ADDR"),
        (&["--addr", "https//x", "ps"], 2, "is no address of Olympus"),
        (&["--addr", "ftp://x", "ps"], 2, "write it as \"http://host:port\""),
        (&["--addr", &nobody, "ps"], 1, "start it with `tartarus dev`, or set TARTARUS_ADDR"),
        (&["--addr", &nobody, "run", "--", "true"], 125, "cannot reach Olympus at"),
        (&["healthcheck", &format!("{nobody}/readyz")], 1, "cannot reach Olympus at"),
        (&["policy", "apply", "-f", "/no/such/file"], 2, "/no/such/file: can't be read"),
        (&["policy", "apply", "-f", &empty], 2, "the body is empty"),
        (&["policy", "apply", "-f", &broken], 2, "the body is not YAML"),
        (&["policy", "apply", "-f", &unknown], 2, "did you mean \"limits\"?"),
        (&["policy", "apply", "-f", &nameless], 2, "name is missing"),
        (&["policy", "apply", "-f", &wrong], 2, "give reject or quarantine"),
        (&["ps", "-s", "done"], 2, "give one of pending"),
        (&["ps", "-o", "xml"], 2, "possible values: table, json, yaml, wide"),
    ];
    for (args, code, stderr) in rows {
        check(&mut tartarus(args), *code, "", stderr);
    }
}

#[test]
fn bad_configurations_end_with_2_and_name_the_variable() {
    let dir = tempfile::tempdir().unwrap();
    let blanks = dir.path().join("token").display().to_string();
    std::fs::write(&blanks, "a token\n").unwrap();
    for (command, name, value, words) in [
        ("ps", "TARTARUS_ADDR", "nonsense::", "write it as \"http://host:port\""),
        ("ps", "TARTARUS_LOG_FORMAT", "xml", "TARTARUS_LOG_FORMAT=\"xml\": give text or json"),
        ("ps", "TARTARUS_TOKEN_FILE", "/no/such", "TARTARUS_TOKEN_FILE=\"/no/such\": it can't be"),
        ("ps", "TARTARUS_TOKEN_FILE", "/dev/zero", "it has more than 4096 bytes"),
        ("ps", "TARTARUS_TOKEN", "a\nb", "TARTARUS_TOKEN holds a character"),
        ("ps", "TARTARUS_TOKEN_FILE", &blanks, "TARTARUS_TOKEN_FILE \""),
        ("olympus", "TARTARUS_ENV", "prod", "TARTARUS_ENV"),
        ("olympus", "REDIS_ADDR", "redis://localhost:6379", "host:port"),
        ("olympus", "REDIS_ADDR", "localhost", "host:port"),
        ("olympus", "REDIS_DB", "many", "REDIS_DB"),
        ("olympus", "TARTARUS_NODE_TTL", "soon", "TARTARUS_NODE_TTL"),
        ("olympus", "TARTARUS_QUARANTINE", "maybe", "TARTARUS_QUARANTINE"),
        ("olympus", "TARTARUS_QUEUE_MAX", "0", "TARTARUS_QUEUE_MAX"),
        ("olympus", "TARTARUS_DURABILITY", "forever", "TARTARUS_DURABILITY"),
        ("olympus", "TARTARUS_AUTH", "none", "TARTARUS_AUTH"),
        ("dev", "TARTARUS_LISTEN_ADDR", "8080", "TARTARUS_LISTEN_ADDR"),
        ("agent", "HADES_LABEL", "typhon", "HADES_LABEL"),
        ("agent", "TARTARUS_NODE_CPU_MILLI", "0", "TARTARUS_NODE_CPU_MILLI"),
        ("agent", "TARTARUS_ENV", "prod", "TARTARUS_ENV"),
        ("agent", "TARTARUS_DATA_DIR", "here", "TARTARUS_DATA_DIR"),
    ] {
        let mut line = tartarus(&[command]);
        line.env("REDIS_ADDR", "").env("TARTARUS_DATA_DIR", "/nonexistent/tartarus");
        check(line.env(name, value), 2, "", words);
    }
}

#[test]
fn levels_under_which_nothing_is_logged_are_warned_of() {
    for (levels, words) in [
        ("loud", "RUST_LOG=\"loud\" names neither a level"),
        ("actix_server=debug", "such as RUST_LOG=info"),
    ] {
        let nobody = nowhere();
        let mut line = tartarus(&["--addr", &nobody, "ps"]);
        check(line.env("RUST_LOG", levels).env("TARTARUS_LOG_FORMAT", "text"), 1, "", words);
    }
}

#[test]
fn what_is_asked_for_goes_to_stdout() {
    check(&mut tartarus(&["--help"]), 0, "Usage: tartarus", "");
    check(&mut tartarus(&["--version"]), 0, env!("CARGO_PKG_VERSION"), "");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        check(&mut tartarus(&["completion", shell]), 0, "tartarus", "");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let mut child = tartarus(&["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut words = String::new();
    child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(141), "{words}");
    assert_eq!(words, "");
}

#[test]
fn a_run_needs_nothing_and_prints_what_its_program_prints() {
    let got = output(&mut tartarus(&["run", "--", "python3", "-c", "print(6*7)"]));
    assert_eq!(text(&got.stdout), "42\n", "{}", text(&got.stderr));
    assert_eq!(got.status.code(), Some(0));
    assert!(text(&got.stderr).contains("in memory"), "{}", text(&got.stderr));
}

#[test]
fn a_run_ends_as_its_program_does() {
    let rows: &[(&[&str], i32, &str, &str)] = &[
        (&["-q", "--", "sh", "-c", "echo out; echo oops >&2; exit 7"], 7, "out\n", "oops\n"),
        (&["-q", "-e", "A=b=c", "--", "sh", "-c", "echo $A"], 0, "b=c\n", ""),
        (&["--ttl", "300ms", "--", "sleep", "60"], 124, "", "TimedOut"),
        (&["--", "sh", "-c", "kill -SEGV $$"], 139, "", "Signaled"),
        (&["--", "/no/such/program"], 127, "", "NotExecutable"),
        (&["--mem-mb", "4096", "--", "true"], 126, "", "resources.mem_mb is 4096"),
        (&["-t", "nowhere", "--", "true"], 126, "", "template \"nowhere\" does not exist"),
        (&["-m", "quarantine=true", "--", "true"], 126, "", "tartarus.io/typhon=true"),
        (&["--dry-run", "--gpu", "1", "--", "true"], 126, "reject", ""),
        (&["--dry-run", "--", "true"], 0, "accept", ""),
        (&["-o", "json", "--", "sh", "-c", "exit 3"], 3, "\"exit_code\": 3", ""),
    ];
    for (args, code, stdout, stderr) in rows {
        let line: Vec<&str> = ["run"].iter().chain(*args).copied().collect();
        check(&mut tartarus(&line), *code, stdout, stderr);
    }
}

#[test]
fn a_run_that_never_fits_is_given_up() {
    let mut line = tartarus(&["run", "--cpu-milli", "500", "--", "true"]);
    check(line.env("TARTARUS_NODE_CPU_MILLI", "100"), 126, "", "NeverFits");
}

#[test]
fn stdin_is_fed_when_asked_for() {
    let mut child = tartarus(&["run", "-q", "-i", "--", "tr", "a-z", "A-Z"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    let got = child.wait_with_output().unwrap();
    assert_eq!((text(&got.stdout), got.status.code()), ("HELLO".to_owned(), Some(0)));
}

#[test]
fn ctrl_c_cancels_the_run_and_ends_with_130() {
    let mut child = tartarus(&["run", "--", "sh", "-c", "echo up; exec sleep 1000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    signal(&child, "-INT");
    let mut words = String::new();
    child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{words}");
    assert!(words.contains("cancelling"), "{words}");
}

/// A `tartarus dev` on a free port, stopped by its pid.
struct Dev {
    child: Child,
    url: String,
    dir: TempDir,
}

impl Dev {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = tartarus(&["dev", "--listen", "127.0.0.1:0"])
            .env("TARTARUS_DATA_DIR", dir.path())
            .env("TARTARUS_NODE_CPU_MILLI", "1000")
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("it says that it is ready").unwrap();
        let url = first.rsplit(' ').next().unwrap().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{first}");
        // What else it says is a curl line; the pipe must not fill.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url, dir }
    }

    fn line(&self, args: &[&str]) -> Command {
        let mut command = tartarus(args);
        command.env("TARTARUS_ADDR", &self.url);
        command
    }

    fn stop(mut self) {
        signal(&self.child, "-TERM");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // A test that failed must not leave it behind; after `stop` this does nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn who_leaves_before_there_is_an_answer_is_told_how_to_find_the_run() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let mut command = tartarus(&["--addr", &addr, "run", "--", "true"]);
    let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _asking = listener.accept().unwrap();
    signal(&run, "-INT");
    let got = run.wait_with_output().unwrap();
    let said = text(&got.stderr);
    assert_eq!(got.status.code(), Some(130), "{said}");
    assert!(said.contains("repeat the command with `--idempotency-key "), "{said}");
}

#[test]
fn a_server_is_asked_about_its_runs() {
    let dev = Dev::start();
    check(&mut dev.line(&["healthcheck", &format!("{}/readyz", dev.url)]), 0, "", "");
    check(&mut dev.line(&["run", "-l", "team=ml", "--", "echo", "hi"]), 0, "hi\n", "");

    let got = output(&mut dev.line(&["run", "-d", "--", "sh", "-c", "echo on; exec sleep 1000"]));
    assert_eq!(got.status.code(), Some(0), "{}", text(&got.stderr));
    let id = text(&got.stdout).trim().to_owned();
    assert_eq!(id.len(), 36, "{id}");

    check(&mut dev.line(&["ps"]), 0, &id, "");
    check(&mut dev.line(&["ps", "-l", "team=ml", "-o", "json"]), 0, "\"team\": \"ml\"", "");
    check(&mut dev.line(&["ps", "-n", "1"]), 0, &id, "there are more than 1");
    check(&mut dev.line(&["inspect", &id]), 0, "template: host", "");
    check(&mut dev.line(&["inspect", "nonsense"]), 1, "", "error:");
    check(&mut dev.line(&["node", "list"]), 0, "READY", "");
    check(&mut dev.line(&["queue", "status", "-o", "yaml"]), 0, "paused: false", "");
    check(&mut dev.line(&["template", "list"]), 0, "host", "");
    let doctor = ["doctor"];
    check(dev.line(&doctor).env("TARTARUS_DATA_DIR", dev.dir.path()), 0, "is ready", "");
    let late = ["run", "--cpu-milli", "1000", "--place-within", "300ms", "--", "true"];
    check(&mut dev.line(&late), 126, "", "no node took it: WaitingForCapacity");

    // Following ends with the run, and the run when it is killed.
    let mut follow = dev.line(&["logs", "-f", &id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(follow.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    assert_eq!(first, "on\n");
    check(&mut dev.line(&["kill", &id]), 0, &id, "");
    assert_eq!(follow.wait().unwrap().code(), Some(0));
    check(&mut dev.line(&["kill", &id]), 1, "", "error:");
    check(&mut dev.line(&["ps", "-s", "canceled"]), 0, &id, "");
    dev.stop();
}

#[test]
fn the_law_is_applied_from_files() {
    let dev = Dev::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.yaml");
    let policy = "name: roomy\nmatch: {templates: [host]}\nlimits: {mem_mb: 512, ttl: 10m}\n";
    std::fs::write(&path, policy).unwrap();
    let file = path.display().to_string();

    let large = ["run", "--mem-mb", "256", "--", "echo", "fits"];
    check(&mut dev.line(&large), 126, "", "256");
    check(&mut dev.line(&["policy", "apply", "-f", &file]), 0, "roomy", "");
    check(&mut dev.line(&large), 0, "fits\n", "");
    check(&mut dev.line(&["policy", "get", "roomy", "-o", "json"]), 0, "\"mem_mb\": 512", "");
    check(&mut dev.line(&["policy", "list"]), 0, "roomy", "");
    check(&mut dev.line(&["policy", "apply", "-f", &file, "--if-version", "9"]), 1, "", "error:");
    check(&mut dev.line(&["policy", "delete", "roomy"]), 0, "", "deleted policy roomy");
    check(&mut dev.line(&["policy", "delete", "roomy"]), 1, "", "error:");
    check(&mut dev.line(&large), 126, "", "256");

    let path = dir.path().join("template.yaml");
    std::fs::write(&path, "name: hello\nrootfs: {host: true}\ncommand: [echo, hello]\n").unwrap();
    let file = path.display().to_string();
    check(&mut dev.line(&["template", "apply", "-f", &file]), 0, "hello", "");
    check(&mut dev.line(&["run", "-t", "hello"]), 0, "hello\n", "");
    check(&mut dev.line(&["template", "delete", "hello"]), 0, "", "deleted template hello");
    check(&mut dev.line(&["template", "delete", "host"]), 1, "", "error:");
    dev.stop();
}
