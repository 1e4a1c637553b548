//! Hostile programs, in real sandboxes of every runtime on this machine.
//!
//! The test program is three things: the tests, the keeper of their sandboxes, and (shown inside as
//! [`SELF`]) the hostile programs themselves, so that the suite needs nothing installed. What this
//! machine lacks for a test is in that test's name, which is then reported as ignored.

mod ends;
mod inside;
mod nodes;
mod plain;
mod support;

use std::{os::unix::process::CommandExt, path::Path, process::Command};

use libtest_mimic::{Arguments, Trial};

use crate::{
    ends::{
        agent, agent_killed, dropped, flood, ignore_term, keeper_killed, launch_dropped, outlive,
        stop_twice,
    },
    nodes::{honest_probe, leftovers, ordinary_user, unknown_runtime},
    plain::{
        fill_tmp, fill_tmp_with_names, fork_bomb, image, many, memory_bomb, memory_bomb_in_a_child,
        not_there, plain, probe, smallest, spin,
    },
    support::{block_on, harmless, none},
};

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
    ("dropping a launch leaves nothing, however far it came", launch_dropped),
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
