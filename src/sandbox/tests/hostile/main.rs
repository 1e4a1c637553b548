//! Hostile programs, in real sandboxes of every runtime on this machine.
//!
//! The test program is three things: the tests, the keeper of their sandboxes, and (shown inside as
//! [`SELF`]) the hostile programs themselves, so that the suite needs nothing installed. What this
//! machine lacks for a test is in that test's name, which is then reported as ignored.

mod inside;

use std::{
    fs,
    future::Future,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use libtest_mimic::{Arguments, Trial};
use sandbox::{
    Ended, Home, Isolation, LaunchError, Limits, RootFs, Runtime, SELF, Sandbox, Spec,
    remove_leftovers, runtime,
};
use tokio::{io::AsyncReadExt, time::timeout};

/// Nothing here takes a second; a test that hangs must end.
const PATIENCE: Duration = Duration::from_secs(60);

const SECRET: &str = "the-agents-own-secret-4711";

/// The argument with which the test program becomes an agent, to be killed.
const AGENT: &str = "agent";

fn main() {
    sandbox::init_hook();
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(inside::ARGUMENT) => std::process::exit(inside::run(&arguments[2], &arguments[3..])),
        Some(AGENT) => block_on(agent(&arguments[2], &arguments[3])),
        // Again, with a secret in the environment it was started with, as an agent has.
        _ if std::env::var_os("AGENT_TOKEN").is_none() => {
            let mut again = Command::new("/proc/self/exe");
            let error = again.args(&arguments[1..]).env("AGENT_TOKEN", SECRET).exec();
            panic!("{error}");
        }
        _ => {}
    }
    let root = rustix::process::geteuid().is_root();
    let mut trials = vec![
        trial("", "an unknown runtime is refused by name", true, "", |_| unknown_runtime()),
        trial(
            "",
            "leftovers of this agent are removed and of no other",
            root,
            "needs root",
            |_| leftovers(),
        ),
    ];
    // Not within itself.
    if root {
        let what = "an ordinary user gets everything but control groups";
        trials.push(trial("", what, true, "", |_| ordinary_user()));
    }
    for name in ["embedded", "runc", "crun"] {
        let there = name == "embedded" || installed(name) && root;
        let lacks = if installed(name) { "needs root" } else { "not installed" };
        for (what, test) in EVERYWHERE {
            trials.push(trial(name, what, there, lacks, *test));
        }
        let what = "a probe says what is not enforced, and why";
        trials.push(trial(name, what, there, lacks, honest_probe));
        let lacks = if there { "needs root for control groups" } else { lacks };
        for (what, test) in LIMITED {
            trials.push(trial(name, what, there && root, lacks, *test));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

type Test = fn(&str);

fn trial(name: &str, what: &str, able: bool, lacks: &str, test: Test) -> Trial {
    let title = what.replace(' ', "_");
    let title = if able { title } else { format!("{title}__{}", lacks.replace(' ', "_")) };
    let title = if name.is_empty() { title } else { format!("{name}::{title}") };
    let name = name.to_owned();
    let run = move || {
        let done = std::panic::catch_unwind(|| test(&name));
        done.map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            text.unwrap_or_else(|| "panicked".to_owned()).into()
        })
    };
    Trial::test(title, run).with_ignored_flag(!able)
}

fn installed(name: &str) -> bool {
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"]
        .iter()
        .any(|dir| Path::new(dir).join(name).is_file())
}

/// What must hold at every privilege.
const EVERYWHERE: &[(&str, Test)] = &[
    ("nothing can be traced", |r| none(harmless(r, &["trace"]))),
    ("nothing can be mounted", |r| none(harmless(r, &["mount"]))),
    ("there is a loopback device and nothing else", |r| {
        let (out, _) = harmless(r, &["sockets"]);
        assert!(out.contains("loopback=true"), "{out}");
    }),
    ("there are no new namespaces, but there are threads", |r| {
        let (out, _) = harmless(r, &["namespaces"]);
        assert!(out.contains("thread=true"), "{out}");
    }),
    ("calls that reach past namespaces are refused", |r| none(harmless(r, &["kernel-calls"]))),
    ("other tables of calls are closed", |r| none(harmless(r, &["other-tables"]))),
    ("neither the machine's files nor the agent's secrets can be read", |r| {
        let (out, _) = harmless(r, &["steal", &SECRET[..SECRET.len() - 5]]);
        assert!(!out.contains("looked=0"), "{out}");
    }),
    ("proc gives nothing away and takes nothing", |r| none(harmless(r, &["proc"]))),
    ("the root can not be written", |r| none(harmless(r, &["write-root"]))),
    ("links lead nowhere", |r| none(harmless(r, &["links"]))),
    ("nobody becomes root", |r| none(harmless(r, &["become-root"]))),
    ("nobody outside can be killed", |r| {
        let pid = std::process::id().to_string();
        let (out, _) = harmless(r, &["kill-outside", &pid]);
        assert!(out.contains("alive"), "{out}");
    }),
    ("control groups are out of reach", |r| none(harmless(r, &["escape-groups"]))),
    ("a process that lets its parent die does not outlive the sandbox", outlive),
    ("a flood nobody reads can be stopped", flood),
    ("a command that ignores SIGTERM is killed after the grace", ignore_term),
    ("stop may be asked twice, and only an earlier end counts", stop_twice),
    ("dropping a sandbox kills it", dropped),
    ("the end of the agent is the end of its sandboxes", agent_killed),
    ("the end of the keeper is the end of its sandbox", keeper_killed),
    ("tmp is bounded in bytes", fill_tmp),
    ("tmp is bounded in names", fill_tmp_with_names),
    ("input, environment, directory and exit code are what was asked for", plain),
    ("a command that is not there is the submission's fault", not_there),
    ("an image that is a directory is the root, read-only", image),
    ("sixteen at once do not meet", many),
];

/// What needs control groups.
const LIMITED: &[(&str, Test)] = &[
    ("a fork bomb stays within its limit and ends with the command", fork_bomb),
    ("a memory bomb ends out of memory", memory_bomb),
    ("a memory bomb in a child is told too", memory_bomb_in_a_child),
    ("a spinning command gets its share of a processor", spin),
    ("the smallest limits still run a command", smallest),
    ("a probe proves every feature", probe),
];

/// A data directory, a runtime on it, and the promise that nothing remains.
struct Node {
    home: Arc<Home>,
    runtime: Box<dyn Runtime>,
    dir: tempfile::TempDir,
}

fn node(name: &str) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path(), "test").unwrap();
    let runtime = runtime(name, Arc::clone(&home)).unwrap();
    Node { home, runtime, dir }
}

impl Node {
    async fn launch(&self, spec: Spec) -> Sandbox {
        self.runtime.launch(spec).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until all is over and looks for what should not be there.
    async fn nothing_remains(self) {
        let tag = self.home.tag().to_owned();
        timeout(PATIENCE, self.home.idle()).await.expect("a sandbox does not end");
        let Node { home, runtime, dir } = self;
        drop(runtime);
        assert_eq!(Arc::strong_count(&home), 1, "someone still holds the home");
        drop(home);
        assert_eq!(groups(&tag), Vec::<String>::new(), "control groups remain");
        let mut left = files(&dir.path().join("sandbox"));
        left.retain(|path| !["lock", "program"].iter().any(|name| path.ends_with(name)));
        assert_eq!(left, Vec::<String>::new(), "files remain");
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn spec(words: &[&str]) -> Spec {
    let program = [SELF, inside::ARGUMENT].iter().chain(words);
    Spec {
        id: "test".to_owned(),
        rootfs: RootFs::HostAndSelf,
        argv: program.map(|word| (*word).to_owned()).collect(),
        env: vec![("LANG".to_owned(), "C".to_owned())],
        cwd: String::new(),
        stdin: Vec::new(),
        limits: Limits { cpu_milli: 2_000, mem_mb: 64, pids: 32, tmp_mb: 8 },
    }
}

/// Runs to the end, with all the output.
async fn finish(node: &Node, spec: Spec) -> (String, Ended) {
    let mut sandbox = node.launch(spec).await;
    let (mut stdout, mut stderr) = (sandbox.take_stdout().unwrap(), sandbox.take_stderr().unwrap());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let all = async {
        tokio::join!(stdout.read_to_end(&mut out), stderr.read_to_end(&mut err), sandbox.wait())
    };
    let (_, _, ended) = timeout(PATIENCE, all).await.expect("it does not end");
    let text = format!("{}{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
    (text, ended.unwrap_or_else(|lost| panic!("{lost}")))
}

fn run(name: &str, spec: Spec) -> (String, Ended) {
    block_on(async {
        let node = node(name);
        let done = finish(&node, spec).await;
        node.nothing_remains().await;
        done
    })
}

/// Runs a program that looks for ways to do harm, which must find none and end well.
fn harmless(name: &str, words: &[&str]) -> (String, Ended) {
    let (out, ended) = run(name, spec(words));
    assert!(!out.contains("HARM"), "{out}");
    assert_eq!(ended.exit_code, Some(0), "{ended:?} {out}");
    (out, ended)
}

async fn first_line(sandbox: &mut Sandbox) -> String {
    let mut stdout = sandbox.take_stdout().unwrap();
    let mut line = String::new();
    let read = async {
        while !line.ends_with('\n') {
            let byte = stdout.read_u8().await.expect("the output ended");
            line.push(byte.into());
        }
    };
    timeout(PATIENCE, read).await.expect("it says nothing");
    line
}

/// For tests that want to know nothing else.
fn none<T>(_: T) {}

fn number(out: &str, name: &str) -> u64 {
    let line = out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no {name} in {out}"))
}

fn groups(tag: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let dirs =
        points.filter_map(|line| line.split(' ').nth(4)).map(|point| Path::new(point).join(tag));
    dirs.filter(|dir| dir.exists()).map(|dir| dir.display().to_string()).collect()
}

fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

/// Processes of this machine whose command line holds `marker`.
fn processes_with(marker: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if line.windows(marker.len()).any(|window| window == marker.as_bytes()) {
            found.push(pid);
        }
    }
    found
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

fn fork_bomb(name: &str) {
    let (out, ended) = run(name, spec(&["fork-bomb"]));
    assert!(number(&out, "processes") <= 34, "{out}");
    assert_eq!(ended.exit_code, Some(0), "{ended:?}");
}

fn memory_bomb(name: &str) {
    let (out, ended) = run(name, spec(&["memory-bomb"]));
    assert!(ended.out_of_memory, "{ended:?} {out}");
    assert_eq!(ended.signal, Some(9), "{ended:?} {out}");
    assert!((32..=64).contains(&ended.usage.max_rss_mb), "{ended:?}");
}

fn memory_bomb_in_a_child(name: &str) {
    let (out, ended) = run(name, spec(&["memory-bomb-in-a-child"]));
    assert!(ended.out_of_memory, "{ended:?} {out}");
    // Where the kernel kills one process, the command goes on; where it kills the group, not.
    assert!(ended.exit_code == Some(3) || ended.signal == Some(9), "{ended:?}");
}

fn smallest(name: &str) {
    let mut small = spec(&["exit", "5"]);
    // OCI runtimes do their own work within the limits, and need a little more.
    let (mem_mb, pids) = if name == "embedded" { (Limits::MIN_MEM_MB, 1) } else { (16, 16) };
    small.limits = Limits { cpu_milli: 50, mem_mb, pids, tmp_mb: 1 };
    let (out, ended) = run(name, small);
    assert_eq!(ended.exit_code, Some(5), "{ended:?} {out}");
}

fn spin(name: &str) {
    let mut slow = spec(&["spin"]);
    slow.limits.cpu_milli = 200;
    let (_, ended) = run(name, slow);
    // It spins for 600 ms of the clock: 120 ms of a processor are its share, setting up included.
    assert!(ended.usage.cpu_ms <= 300, "{ended:?}");
    assert_eq!(ended.exit_code, Some(0), "{ended:?}");
}

fn probe(name: &str) {
    block_on(async {
        let node = node(name);
        let isolation = sandbox::probe(node.runtime.as_ref()).await;
        assert!(isolation.complete(), "{:?}", isolation.missing);
        assert_eq!(isolation.enforced, Isolation::FEATURES);
        node.nothing_remains().await;
    });
}

fn fill_tmp(name: &str) {
    let (out, ended) = run(name, spec(&["fill-tmp"]));
    // OCI runtimes can't make /dev/shm a part of /tmp: there it has the same bound again.
    let bound = if name == "embedded" { 8 } else { 16 };
    assert!((1..=bound).contains(&number(&out, "mb")), "{out}");
    assert_eq!(ended.exit_code, Some(0), "{ended:?}");
}

fn fill_tmp_with_names(name: &str) {
    let mut wide = spec(&["fill-tmp-with-names"]);
    wide.limits.mem_mb = 128;
    let (out, ended) = run(name, wide);
    assert!((1..20_000).contains(&number(&out, "names")), "{out}");
    assert_eq!(ended.exit_code, Some(0), "{ended:?}");
}

fn outlive(name: &str) {
    // That the output ends is the proof: the survivor would hold it open.
    let (out, ended) = run(name, spec(&["outlive"]));
    assert_eq!((out.trim(), ended.exit_code), ("parent ends", Some(0)));
}

fn flood(name: &str) {
    block_on(async {
        let node = node(name);
        let sandbox = node.launch(spec(&["flood"])).await;
        sandbox.stop(Duration::from_millis(50));
        let ended = timeout(PATIENCE, sandbox.wait()).await.expect("it does not end").unwrap();
        assert!(matches!(ended.signal, Some(9 | 15)), "{ended:?}");
        drop(sandbox);
        node.nothing_remains().await;
    });
}

fn ignore_term(name: &str) {
    block_on(async {
        let node = node(name);
        let mut sandbox = node.launch(spec(&["ignore-term"])).await;
        assert_eq!(first_line(&mut sandbox).await, "ready\n");
        sandbox.stop(Duration::from_millis(50));
        let ended = timeout(PATIENCE, sandbox.wait()).await.expect("it does not end").unwrap();
        assert_eq!((ended.exit_code, ended.signal), (None, Some(9)));
        drop(sandbox);
        node.nothing_remains().await;
    });
}

fn stop_twice(name: &str) {
    block_on(async {
        let node = node(name);
        let mut sandbox = node.launch(spec(&["ignore-term"])).await;
        first_line(&mut sandbox).await;
        let sandbox = Arc::new(sandbox);
        let waiter = tokio::spawn({
            let sandbox = Arc::clone(&sandbox);
            async move { sandbox.wait().await }
        });
        sandbox.stop(Duration::from_secs(3_600));
        sandbox.stop(Duration::from_millis(20));
        sandbox.stop(Duration::from_secs(3_600));
        let ended = timeout(PATIENCE, sandbox.wait()).await.expect("it does not end").unwrap();
        assert_eq!(ended.signal, Some(9));
        assert_eq!(waiter.await.unwrap().unwrap(), ended);
        sandbox.stop(Duration::ZERO);
        assert_eq!(sandbox.wait().await.unwrap(), ended);
        drop(sandbox);
        node.nothing_remains().await;
    });
}

fn dropped(name: &str) {
    block_on(async {
        let node = node(name);
        let mut sandbox = node.launch(spec(&["wait"])).await;
        first_line(&mut sandbox).await;
        drop(sandbox);
        node.nothing_remains().await;
    });
}

/// The life of an agent that gets killed.
async fn agent(name: &str, marker: &str) {
    let node = node(name);
    let mut sandbox = node.launch(spec(&["wait", marker])).await;
    first_line(&mut sandbox).await;
    println_ready(node.home.tag());
    let _ = sandbox.wait().await;
}

#[allow(clippy::print_stdout)]
fn println_ready(tag: &str) {
    println!("{tag}");
}

fn agent_killed(name: &str) {
    let marker = format!("marker-{name}-{}", std::process::id());
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Command::new("/proc/self/exe")
        .args([AGENT, name, &marker])
        .env("TMPDIR", dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut tag = String::new();
    BufReader::new(agent.stdout.take().unwrap()).read_line(&mut tag).unwrap();
    assert!(!tag.is_empty(), "the agent did not start");
    let inside = processes_with(&marker);
    assert!(inside.len() >= 2, "the agent and what it runs: {inside:?}");
    agent.kill().unwrap();
    agent.wait().unwrap();
    block_on(until("its sandbox is gone", || processes_with(&marker).is_empty()));
    let tag = tag.trim().to_owned();
    // The keeper removes the groups of the sandbox; the agent's own are for the next agent.
    block_on(until("its control groups are gone", || {
        groups(&tag).iter().all(|dir| files_and_dirs(dir) == 0)
    }));
    for group in groups(&tag) {
        fs::remove_dir(group).unwrap();
    }
}

fn files_and_dirs(dir: &str) -> usize {
    fs::read_dir(dir).unwrap().flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).count()
}

fn keeper_killed(name: &str) {
    block_on(async {
        let node = node(name);
        let marker = format!("keeper-{name}-{}", std::process::id());
        let mut sandbox = node.launch(spec(&["wait", &marker])).await;
        first_line(&mut sandbox).await;
        let keepers: Vec<i32> = processes_with("sandbox-keeper")
            .into_iter()
            .filter(|pid| parent(*pid) == Some(std::process::id() as i32))
            .collect();
        assert!(!keepers.is_empty());
        // Of this test only: others run beside it in threads of this process.
        let command = processes_with(&marker)[0];
        let keeper = ancestors(command).into_iter().find(|pid| keepers.contains(pid)).unwrap();
        let pid = rustix::process::Pid::from_raw(keeper).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let lost = timeout(PATIENCE, sandbox.wait()).await.expect("it does not end");
        assert!(lost.is_err(), "{lost:?}");
        until("its sandbox is gone", || processes_with(&marker).is_empty()).await;
        drop(sandbox);
        node.nothing_remains().await;
    });
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn ancestors(pid: i32) -> Vec<i32> {
    let mut all = vec![pid];
    while let Some(next) = all.last().and_then(|pid| parent(*pid)).filter(|pid| *pid > 0) {
        all.push(next);
    }
    all
}

fn plain(name: &str) {
    let mut exact = spec(&["environment"]);
    exact.env =
        vec![("B".to_owned(), "2 2".to_owned()), ("PATH".to_owned(), "/usr/bin".to_owned())];
    exact.cwd = "/usr".to_owned();
    let (out, _) = run(name, exact);
    assert_eq!(out, "B=2 2\nHOME=/tmp\nPATH=/usr/bin\nTMPDIR=/tmp\ncwd=/usr\n");

    let mut input = spec(&["cat"]);
    // More than any pipe holds.
    input.stdin = vec![b'i'; 3 << 20];
    let (out, ended) = run(name, input);
    assert_eq!((out.len(), ended.exit_code), (3 << 20, Some(0)));

    let (out, ended) = run(name, spec(&["cat"]));
    assert_eq!((out.as_str(), ended.exit_code), ("", Some(0)));
    assert_eq!(run(name, spec(&["exit", "7"])).1.exit_code, Some(7));
    // The first process of a namespace has no default actions, and OCI runtimes make the command it.
    if name == "embedded" {
        let (_, ended) = run(name, spec(&["die"]));
        assert_eq!((ended.exit_code, ended.signal), (None, Some(libc::SIGUSR1)));
    }
}

fn not_there(name: &str) {
    const CASES: [(&str, i32); 4] = [
        ("no-such-command", 127),
        ("/usr/bin/no-such-command", 127),
        ("/etc/passwd", 126),
        ("/tmp", 126),
    ];
    block_on(async {
        let node = node(name);
        for (command, code) in CASES {
            let mut spec = spec(&[]);
            spec.argv = vec![command.to_owned()];
            match node.runtime.launch(spec).await {
                Err(LaunchError::Command { exit_code, message }) => {
                    assert_eq!(exit_code, code, "{message}");
                    assert!(message.contains(command), "{message}");
                }
                other => panic!("{command}: {other:?}"),
            }
        }
        let mut nowhere = spec(&["exit", "0"]);
        nowhere.cwd = "/no/such/directory".to_owned();
        let refused = node.runtime.launch(nowhere).await;
        assert!(matches!(refused, Err(LaunchError::Command { .. })), "{refused:?}");
        node.nothing_remains().await;
    });
}

fn image(name: &str) {
    block_on(async {
        let node = node(name);
        let images = sandbox::Images::open(node.dir.path()).unwrap();
        let root = node.dir.path().join("images/tiny");
        // A root of nothing but this program and what it is linked with; and traps.
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy("/proc/self/exe", root.join("bin/program")).unwrap();
        for library in libraries() {
            let place = root.join(library.trim_start_matches('/'));
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(&library, place).unwrap();
        }
        std::os::unix::fs::symlink("/", root.join("proc")).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("tmp")).unwrap();
        for words in [["write-root", ""], ["steal", "nothing-like-this"], ["escape-groups", ""]] {
            let mut spec = spec(&[]);
            spec.rootfs = RootFs::Dir(images.resolve("tiny").unwrap());
            spec.argv =
                ["/bin/program", inside::ARGUMENT, words[0], words[1]].map(str::to_owned).to_vec();
            let (out, ended) = finish(&node, spec).await;
            assert!(!out.contains("HARM"), "{out}");
            assert_eq!(ended.exit_code, Some(0), "{ended:?} {out}");
        }
        node.nothing_remains().await;
    });
}

/// What this program is linked with, by its own memory map.
fn libraries() -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut paths: Vec<String> = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.contains(".so"))
        .map(str::to_owned)
        .collect();
    // The loader is named by its other path, too.
    for loader in ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"] {
        if Path::new(loader).exists() {
            paths.push(loader.to_owned());
        }
    }
    paths.sort();
    paths.dedup();
    paths
}

fn many(name: &str) {
    block_on(async {
        let node = Arc::new(node(name));
        let mut running = tokio::task::JoinSet::new();
        for n in 0..16 {
            let node = Arc::clone(&node);
            running.spawn(async move {
                let mut spec = spec(&["say", &format!("number {n}")]);
                spec.id = format!("test-{n}");
                let (out, ended) = finish(&node, spec).await;
                assert_eq!((out, ended.exit_code), (format!("number {n}\n"), Some(0)));
            });
        }
        while let Some(done) = running.join_next().await {
            done.unwrap();
        }
        Arc::into_inner(node).unwrap().nothing_remains().await;
    });
}

fn unknown_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path(), "test").unwrap();
    let error = runtime("no-such-runtime", home).map(|r| r.name().to_owned()).unwrap_err();
    assert!(error.to_string().contains("no-such-runtime"), "{error}");
}

/// The whole suite of the embedded runtime again, and a probe, by somebody without privileges.
fn ordinary_user() {
    const NOBODY: u32 = 65_534;
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    fs::copy("/proc/self/exe", &program).unwrap();
    let owner = std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY));
    owner.unwrap();
    let done = Command::new(&program)
        .args(["embedded::", "--test-threads", "2"])
        .env("TMPDIR", dir.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{out}");
    let wanted = format!("{} passed; 0 failed", EVERYWHERE.len() + 1);
    assert!(out.contains(&wanted), "not {wanted}: {out}");
}

/// What an ordinary user's node must be able to say of itself.
fn honest_probe(name: &str) {
    const GROUPS: [&str; 3] = ["cgroup-cpu", "cgroup-memory", "cgroup-pids"];
    block_on(async {
        let node = node(name);
        let isolation = sandbox::probe(node.runtime.as_ref()).await;
        let missing: Vec<&str> = isolation.missing.iter().map(|(what, _)| what.as_str()).collect();
        assert!(missing.iter().all(|what| GROUPS.contains(what)), "{:?}", isolation.missing);
        assert!(isolation.missing.iter().all(|(_, why)| !why.is_empty()));
        assert_eq!(isolation.enforced.len() + missing.len(), Isolation::FEATURES.len());
        node.nothing_remains().await;
    });
}

fn leftovers() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path(), "test").unwrap();
    let other_dir = tempfile::tempdir().unwrap();
    let other = Home::open(other_dir.path(), "test").unwrap();
    let mut sleepers = Vec::new();
    for tag in [home.tag(), other.tag()] {
        let sleeper = Command::new("/proc/self/exe")
            .args([inside::ARGUMENT, "wait"])
            .stdout(Stdio::null())
            .spawn();
        let sleeper = sleeper.unwrap();
        // Beside v1 trees, the tree of v2 has nothing that we limit by.
        for group in groups(tag).into_iter().filter(|group| !group.contains("/unified/")) {
            let left = Path::new(&group).join("left");
            fs::create_dir(&left).unwrap();
            fs::write(left.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
        }
        sleepers.push(sleeper);
    }
    // Buried here when it is killed, as a keeper would be by the system.
    let mut first = sleepers.remove(0);
    let burial = std::thread::spawn(move || first.wait().unwrap());
    let removed = remove_leftovers(&home);
    assert_eq!((removed.removed, removed.failed), (vec!["left".to_owned()], vec![]));
    assert!(!burial.join().unwrap().success());
    let mut second = sleepers.remove(0);
    assert_eq!(second.try_wait().unwrap(), None, "another agent's sandbox was killed");
    second.kill().unwrap();
    second.wait().unwrap();
    assert_eq!(remove_leftovers(&other).removed, ["left"]);
}
