//! A node for a test, and what it must look like afterwards.

use std::{fs, future::Future, path::Path, sync::Arc, time::Duration};

use sandbox::{Ended, Home, Limits, RootFs, Runtime, SELF, Sandbox, Spec, runtime};
use tokio::{io::AsyncReadExt, time::timeout};

use crate::inside;

/// Nothing here takes a second; a test that hangs must end.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A data directory, a runtime on it, and the promise that nothing remains.
pub struct Node {
    pub home: Arc<Home>,
    pub runtime: Box<dyn Runtime>,
    pub dir: tempfile::TempDir,
}

pub fn node(name: &str) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path(), "test").unwrap();
    let runtime = runtime(name, Arc::clone(&home)).unwrap();
    Node { home, runtime, dir }
}

impl Node {
    pub async fn launch(&self, spec: Spec) -> Sandbox {
        self.runtime.launch(spec).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until all is over and looks for what should not be there.
    pub async fn nothing_remains(self) {
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

pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

pub fn spec(words: &[&str]) -> Spec {
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
pub async fn finish(node: &Node, spec: Spec) -> (String, Ended) {
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

pub fn run(name: &str, spec: Spec) -> (String, Ended) {
    block_on(async {
        let node = node(name);
        let done = finish(&node, spec).await;
        node.nothing_remains().await;
        done
    })
}

/// Runs a program that looks for ways to do harm, which must find none and end well.
pub fn harmless(name: &str, words: &[&str]) -> (String, Ended) {
    let (out, ended) = run(name, spec(words));
    assert!(!out.contains("HARM"), "{out}");
    assert_eq!(ended.exit_code, Some(0), "{ended:?} {out}");
    (out, ended)
}

pub async fn first_line(sandbox: &mut Sandbox) -> String {
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
pub fn none<T>(_: T) {}

pub fn number(out: &str, name: &str) -> u64 {
    let line = out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no {name} in {out}"))
}

pub fn groups(tag: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let dirs =
        points.filter_map(|line| line.split(' ').nth(4)).map(|point| Path::new(point).join(tag));
    dirs.filter(|dir| dir.exists()).map(|dir| dir.display().to_string()).collect()
}

pub fn files(dir: &Path) -> Vec<String> {
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
pub fn processes_with(marker: &str) -> Vec<i32> {
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

pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
