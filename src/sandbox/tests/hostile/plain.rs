//! What an honest command may rely on, and how far its limits reach.

use std::{fs, path::Path, sync::Arc};

use sandbox::{Isolation, LaunchError, Limits, RootFs};

use crate::{
    inside,
    support::{block_on, finish, node, number, run, spec},
};

pub fn fork_bomb(name: &str) {
    let (out, ended) = run(name, spec(&["fork-bomb"]));
    assert!(number(&out, "processes") <= 34, "{out}");
    assert_eq!(ended.exit_code, Some(0), "{ended:?}");
}

pub fn memory_bomb(name: &str) {
    let (out, ended) = run(name, spec(&["memory-bomb"]));
    assert!(ended.out_of_memory, "{ended:?} {out}");
    assert_eq!(ended.signal, Some(9), "{ended:?} {out}");
    assert!((32..=64).contains(&ended.usage.max_rss_mb), "{ended:?}");
}

pub fn memory_bomb_in_a_child(name: &str) {
    let (out, ended) = run(name, spec(&["memory-bomb-in-a-child"]));
    assert!(ended.out_of_memory, "{ended:?} {out}");
    // Where the kernel kills one process, the command goes on; where it kills the group, not.
    assert!(ended.exit_code == Some(3) || ended.signal == Some(9), "{ended:?}");
}

pub fn smallest(name: &str) {
    let mut small = spec(&["exit", "5"]);
    // OCI runtimes do their own work within the limits, and need a little more.
    let (mem_mb, pids) = if name == "embedded" { (Limits::MIN_MEM_MB, 1) } else { (16, 16) };
    small.limits = Limits { cpu_milli: 50, mem_mb, pids, tmp_mb: 1 };
    let (out, ended) = run(name, small);
    assert_eq!(ended.exit_code, Some(5), "{ended:?} {out}");
}

pub fn spin(name: &str) {
    let mut slow = spec(&["spin"]);
    slow.limits.cpu_milli = 200;
    let (_, ended) = run(name, slow);
    // It spins for 600 ms of the clock: 120 ms of a processor are its share, setting up included.
    assert!(ended.usage.cpu_ms <= 300, "{ended:?}");
    assert_eq!(ended.exit_code, Some(0), "{ended:?}");
}

pub fn probe(name: &str) {
    block_on(async {
        let node = node(name);
        let isolation = sandbox::probe(node.runtime.as_ref()).await;
        assert!(isolation.complete(), "{:?}", isolation.missing);
        assert_eq!(isolation.enforced, Isolation::FEATURES);
        node.nothing_remains().await;
    });
}

pub fn fill_tmp(name: &str) {
    let (out, ended) = run(name, spec(&["fill-tmp"]));
    // OCI runtimes can't make /dev/shm a part of /tmp: there it has the same bound again.
    let bound = if name == "embedded" { 8 } else { 16 };
    assert!((1..=bound).contains(&number(&out, "mb")), "{out}");
    assert_eq!(ended.exit_code, Some(0), "{ended:?}");
}

pub fn fill_tmp_with_names(name: &str) {
    let mut wide = spec(&["fill-tmp-with-names"]);
    wide.limits.mem_mb = 128;
    let (out, ended) = run(name, wide);
    assert!((1..20_000).contains(&number(&out, "names")), "{out}");
    assert_eq!(ended.exit_code, Some(0), "{ended:?}");
}

pub fn plain(name: &str) {
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

pub fn not_there(name: &str) {
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

pub fn image(name: &str) {
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
pub fn libraries() -> Vec<String> {
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

pub fn many(name: &str) {
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
