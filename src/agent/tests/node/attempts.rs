//! What becomes of one attempt.

use api::session::{Action, Terms};
use domain::event::ExitCause;
use domain::law::RootFs;
use domain::submission::Resources;

use crate::olympus::{Olympus, Work, terms};
use crate::{Agent, Needs, Test};

pub(crate) const TESTS: &[Test] = &[
    ("output and exit code are told", Needs::Nothing, || Box::pin(output_and_exit_code())),
    ("env and stdin reach the program", Needs::Nothing, || Box::pin(env_and_stdin())),
    ("a program that is not there is not executable", Needs::Nothing, || Box::pin(not_there())),
    ("a template that is not there is the nodes failure", Needs::Nothing, || {
        Box::pin(no_template())
    }),
    ("a directory is a root", Needs::Nothing, || Box::pin(directory())),
    ("time that is up ends it", Needs::Nothing, || Box::pin(timed_out())),
    ("a program that ignores sigterm is killed after the grace", Needs::Nothing, || {
        Box::pin(ignores_sigterm())
    }),
    ("memory that is used up ends it", Needs::Root, || Box::pin(out_of_memory())),
    ("output past the limit is cut and does not stop the program", Needs::Nothing, || {
        Box::pin(output_limit())
    }),
    ("many small writes arrive in order and whole", Needs::Nothing, || Box::pin(small_writes())),
    ("many attempts run at once", Needs::Nothing, || Box::pin(many())),
];

async fn output_and_exit_code() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(terms()).await;
    let work = Work::shell("echo out; echo err >&2; exit 7");
    session.wants(&[(&work, Action::Run)]).await;
    session.started(&work).await;
    let ended = session.finish(&work).await;
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("out\n", "err\n"));
    let exit = &ended.finished.exit;
    assert_eq!((exit.cause, exit.code, exit.signal), (ExitCause::Exited, Some(7), None));
    assert!(!ended.finished.output.truncated);

    let killed = Work::shell("kill -SEGV $$");
    session.wants(&[(&killed, Action::Run)]).await;
    let exit = session.finish(&killed).await.finished.exit;
    assert_eq!((exit.cause, exit.code, exit.signal), (ExitCause::Exited, None, Some(11)));
    agent.stop(session).await;
}

async fn env_and_stdin() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(terms()).await;
    let mut work = Work::shell("cat; echo $WORD");
    work.spec.stdin = "line\n".into();
    work.spec.env.insert("WORD".into(), "mountain".into());
    session.wants(&[(&work, Action::Run)]).await;
    assert_eq!(session.finish(&work).await.stdout, "line\nmountain\n");
    agent.stop(session).await;
}

async fn not_there() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(terms()).await;
    let work = Work::new(&["no-such-program"]);
    session.wants(&[(&work, Action::Run)]).await;
    let exit = session.finish(&work).await.finished.exit;
    assert_eq!((exit.cause, exit.code), (ExitCause::NotExecutable, Some(127)));
    let message = exit.message.unwrap();
    assert!(message.contains("no-such-program"), "{message}");
    agent.stop(session).await;
}

async fn no_template() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(terms()).await;
    let mut work = Work::new(&["true"]);
    work.spec.template.rootfs = RootFs::Archive("python.tar".into());
    session.wants(&[(&work, Action::Run)]).await;
    let exit = session.finish(&work).await.finished.exit;
    assert_eq!(exit.cause, ExitCause::SandboxFailed);
    let message = exit.message.unwrap();
    assert!(message.contains("python.tar"), "{message}");
    agent.stop(session).await;
}

async fn directory() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let image = agent.dir.path().join("images/base");
    std::fs::create_dir_all(&image).unwrap();
    let mut session = olympus.welcome(terms()).await;
    let mut work = Work::new(&["/nothing-here"]);
    work.spec.template.rootfs = RootFs::Directory("base".into());
    session.wants(&[(&work, Action::Run)]).await;
    // An empty root starts, and has no program: that is the submission's fault, not the node's.
    let exit = session.finish(&work).await.finished.exit;
    assert_eq!((exit.cause, exit.code), (ExitCause::NotExecutable, Some(127)));
    agent.stop(session).await;
}

async fn timed_out() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(terms()).await;
    let mut work = Work::sleeper();
    work.spec.resources.ttl_ms = 150;
    session.wants(&[(&work, Action::Run)]).await;
    let ended = session.finish(&work).await;
    assert_eq!(ended.finished.exit.cause, ExitCause::TimedOut);
    assert_eq!(ended.stdout, "up\n", "what it wrote before is kept");
    assert!(ended.finished.usage.wall_ms >= 150);
    assert!(!work.alive());
    agent.stop(session).await;
}

async fn ignores_sigterm() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(Terms { grace_ms: 200, ..terms() }).await;
    let work = Work::shell("trap '' TERM; echo up; while :; do sleep 0.01; done");
    session.wants(&[(&work, Action::Run)]).await;
    session.chunk(&work).await;
    session.wants(&[(&work, Action::Stop)]).await;
    // Output came before: the checks of `finish` need it from the first chunk.
    let finished = session
        .until("the end", |said| match said {
            crate::olympus::Said::Text(api::session::FromAgent::Finished(finished)) => {
                Some(finished.clone())
            }
            _ => None,
        })
        .await;
    assert_eq!(finished.exit.cause, ExitCause::Canceled);
    assert_eq!(finished.exit.signal, Some(9));
    agent.stop(session).await;
}

async fn out_of_memory() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(terms()).await;
    // Keeps everything it reads, as it waits for the end of the last line.
    let mut work = Work::new(&["tail", "/dev/zero"]);
    work.spec.resources = Resources { mem_mb: 32, ..work.spec.resources };
    session.wants(&[(&work, Action::Run)]).await;
    let finished = session.finish(&work).await.finished;
    assert_eq!(finished.exit.cause, ExitCause::OutOfMemory);
    assert!((16..=33).contains(&finished.usage.max_rss_mb), "{:?}", finished.usage);
    agent.stop(session).await;
}

async fn output_limit() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(Terms { output_max_bytes: 100_000, ..terms() }).await;
    let work = Work::shell("head -c 3000000 /dev/zero; echo done >&2; exit 3");
    session.wants(&[(&work, Action::Run)]).await;
    let ended = session.finish(&work).await;
    assert_eq!(ended.finished.exit.code, Some(3), "it ran to its end");
    assert_eq!(ended.finished.output.stdout_bytes + ended.finished.output.stderr_bytes, 100_000);
    assert!(ended.finished.output.truncated);
    agent.stop(session).await;
}

async fn small_writes() {
    const LINES: usize = 3_000;
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(terms()).await;
    let work = Work::shell(&format!("i=0; while [ $i -lt {LINES} ]; do echo $i; i=$((i+1)); done"));
    session.wants(&[(&work, Action::Run)]).await;
    let ended = session.finish(&work).await;
    let expected: String = (0..LINES).map(|n| format!("{n}\n")).collect();
    assert_eq!(ended.stdout, expected);
    agent.stop(session).await;
}

async fn many() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(terms()).await;
    let work: Vec<Work> = (0..40).map(|n| Work::shell(&format!("echo {n}; exit {n}"))).collect();
    let wants: Vec<(&Work, Action)> = work.iter().map(|work| (work, Action::Run)).collect();
    session.wants(&wants).await;
    let all: Vec<&Work> = work.iter().collect();
    let ended = session.finish_all(&all).await;
    for (n, work) in work.iter().enumerate() {
        let ended = &ended[&work.of];
        assert_eq!(ended.stdout, format!("{n}\n"));
        assert_eq!(ended.finished.exit.code, Some(n as i32));
    }
    agent.stop(session).await;
}
