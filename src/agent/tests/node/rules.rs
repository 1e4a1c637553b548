//! The rules of the session, as far as they show on the wire and in the processes of this machine.

use std::process::Stdio;

use agent::StartError;
use agent::discovery::{Find, Redis};
use api::session::{
    Action, FromAgent, PROTOCOL, RefusalCode, Refused, ReportKind, ToAgent, WINDOW_BYTES,
};
use domain::event::ExitCause;
use domain::submission::OnLost;
use secret::Secret;
use tokio::io::AsyncBufReadExt;
use uuid::Uuid;

use crate::olympus::{CLUSTER, Mute, Olympus, Said, Work, short_terms, terms};
use crate::{Agent, Needs, Test, at, config};

pub(crate) const TESTS: &[Test] = &[
    ("the hello says who and what the node is", Needs::Nothing, || Box::pin(hello())),
    ("reports and output are sent again from where olympus says", Needs::Nothing, || {
        Box::pin(sent_again())
    }),
    ("an end is told until it is acknowledged", Needs::Nothing, || Box::pin(end_told())),
    ("a refused report is forgotten and its work killed", Needs::Nothing, || Box::pin(refused())),
    ("a stop ends it as canceled", Needs::Nothing, || Box::pin(stopped())),
    ("what is not wanted is killed", Needs::Nothing, || Box::pin(unwanted())),
    ("cut off it kills retryable work before the node is lost", Needs::Nothing, || {
        Box::pin(fence())
    }),
    ("heartbeats that are not acknowledged are no sign of life", Needs::Nothing, || {
        Box::pin(unacknowledged())
    }),
    ("a lower epoch is not obeyed not even after a restart", Needs::Nothing, || Box::pin(epoch())),
    ("a refusal leads to the leader", Needs::Nothing, || Box::pin(not_leader())),
    ("a refusal for good ends the agent", Needs::Nothing, || Box::pin(for_good())),
    ("output waits for acknowledgements and heartbeats do not", Needs::Nothing, || {
        Box::pin(window())
    }),
    ("an agent that stops kills its work and says goodbye", Needs::Nothing, || Box::pin(goodbye())),
    ("a dropped handle stops the agent", Needs::Nothing, || Box::pin(dropped())),
    ("a data directory has one agent", Needs::Nothing, || Box::pin(one_agent())),
    ("the leader is found through redis", Needs::Redis, || Box::pin(through_redis())),
];

async fn hello() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let session = olympus.hello().await;
    assert_eq!(session.bearer.as_deref(), Some("Bearer s3cret"));
    let hello = session.hello();
    assert_eq!(hello.protocol, PROTOCOL);
    assert_eq!(hello.node.as_str(), "n1");
    assert_eq!(hello.labels.get("zone"), Some("a"));
    assert_eq!(hello.capacity.cpu_milli, 4_000);
    assert_eq!(&*hello.runtime, "embedded");
    assert!(hello.isolation.iter().any(|feature| &**feature == "seccomp"), "{hello:?}");
    assert_eq!((hello.cluster, hello.highest_epoch), (None, 0));
    assert!(hello.attempts.is_empty());
    let boot = hello.boot;
    drop(session);
    assert_eq!(olympus.hello().await.hello().boot, boot, "a new session is no new boot");
    agent.stop(()).await;
}

async fn sent_again() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(terms()).await;
    session.mute(Mute::Reports);
    let work = Work::shell("echo 0; read go; echo 1; echo 2 >&2");
    session.wants(&[(&work, Action::Run)]).await;
    session.started(&work).await;
    let first = session.chunk(&work).await;
    drop(session);

    // Nothing is known here: all from the first chunk.
    let mut session = olympus.welcome(terms()).await;
    assert_eq!(session.hello().attempts, [work.of]);
    session.output_ack(work.of, 0).await;
    session.wants(&[(&work, Action::Run)]).await;
    session.mute(Mute::Reports);
    session.started(&work).await;
    assert_eq!(session.chunk(&work).await, first);
    let ended = session
        .until("the end", |said| match said {
            Said::Text(FromAgent::Finished(finished)) => Some(finished.clone()),
            _ => None,
        })
        .await;
    assert_eq!(ended.output.stdout_bytes + ended.output.stderr_bytes, 6);
    let chunks = ended.output.chunks;
    drop(session);

    // All but the last are known here.
    let mut session = olympus.welcome(terms()).await;
    session.output_ack(work.of, chunks - 1).await;
    assert_eq!(session.chunk(&work).await.number, chunks - 1);
    let again = session
        .until("the end", |said| match said {
            Said::Text(FromAgent::Finished(finished)) => Some(finished.clone()),
            _ => None,
        })
        .await;
    assert_eq!(again, ended);
    agent.stop(session).await;
}

async fn end_told() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let work = Work::shell("exit 3");
    let mut session = olympus.welcome(terms()).await;
    session.mute(Mute::Reports);
    session.wants(&[(&work, Action::Run)]).await;
    session.finish(&work).await;
    drop(session);

    let mut session = olympus.welcome(terms()).await;
    assert_eq!(session.hello().attempts, [work.of]);
    session.output_ack(work.of, 0).await;
    let exit = session.finish(&work).await.finished.exit;
    assert_eq!((exit.cause, exit.code), (ExitCause::Exited, Some(3)));
    // Wanted still: the set was made before the end was recorded. It does not start again, and what
    // is asked for behind it comes first.
    let next = Work::shell("exit 4");
    session.wants(&[(&work, Action::Run), (&next, Action::Run)]).await;
    let first = session
        .until("a start", |said| match said {
            Said::Text(FromAgent::Started(of)) => Some(*of),
            _ => None,
        })
        .await;
    assert_eq!(first, next.of);
    session.finish(&next).await;
    drop(session);
    assert_eq!(olympus.hello().await.hello().attempts, []);
    agent.stop(()).await;
}

async fn refused() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(terms()).await;
    session.mute(Mute::Reports);
    let work = Work::sleeper();
    session.wants(&[(&work, Action::Run)]).await;
    session.started(&work).await;
    session.chunk(&work).await;
    assert!(work.alive());
    session.report_ack(work.of, ReportKind::Started, false).await;
    work.dies().await;
    drop(session);
    assert_eq!(olympus.hello().await.hello().attempts, []);
    agent.stop(()).await;
}

async fn stopped() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(terms()).await;
    let work = Work::sleeper();
    session.wants(&[(&work, Action::Run)]).await;
    session.wants(&[(&work, Action::Stop)]).await;
    let exit = session.finish(&work).await.finished.exit;
    assert_eq!(exit.cause, ExitCause::Canceled);
    assert!(!work.alive());

    let never = Work::sleeper();
    session.wants(&[(&never, Action::Stop)]).await;
    session.gone(&never).await;
    agent.stop(session).await;
}

async fn unwanted() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(terms()).await;
    let (kept, work) = (Work::sleeper(), Work::sleeper());
    session.wants(&[(&kept, Action::Run), (&work, Action::Run)]).await;
    session.chunk(&work).await;
    session.wants(&[(&kept, Action::Run)]).await;
    work.dies().await;
    drop(session);
    let mut session = olympus.welcome(terms()).await;
    assert_eq!(session.hello().attempts, [kept.of]);
    assert!(kept.alive());
    session.wants(&[]).await;
    kept.dies().await;
    agent.stop(session).await;
}

async fn fence() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(short_terms()).await;
    let work = Work::sleeper();
    let mut once = Work::sleeper();
    once.spec.on_lost = OnLost::Fail;
    let wants = [(&work, Action::Run), (&once, Action::Run)];
    session.wants(&wants).await;
    let mut up = std::collections::BTreeSet::new();
    while up.len() < 2 {
        if let Said::Chunk(chunk) = session.next().await {
            up.insert(chunk.of);
        }
    }
    drop(session);
    // Olympus is there, and does not answer.
    let mut silent = olympus.hello().await;
    work.dies().await;
    assert!(once.alive(), "what must not run twice goes on");
    silent.welcome(1, short_terms()).await;
    let mut session = silent;
    session.output_ack(once.of, 1).await;
    session.wants(&wants).await;
    session.gone(&work).await;
    session.wants(&[]).await;
    once.dies().await;
    agent.stop(session).await;
}

async fn unacknowledged() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(short_terms()).await;
    session.mute(Mute::Heartbeats);
    let work = Work::sleeper();
    session.wants(&[(&work, Action::Run)]).await;
    session.chunk(&work).await;
    // Each heartbeat is answered with words, and not acknowledged; also while it is being killed, which
    // takes its time.
    loop {
        match session.next().await {
            Said::Text(FromAgent::Heartbeat { .. }) => {
                session.wants(&[(&work, Action::Run)]).await;
            }
            Said::Text(FromAgent::Gone(of)) if of == work.of => break,
            Said::Text(_) | Said::Chunk(_) => {}
            Said::Closed => panic!("closed before it was gone"),
        }
    }
    assert!(!work.alive(), "gone is said of what has ended");
    agent.stop(session).await;
}

async fn epoch() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.hello().await;
    session.welcome(5, terms()).await;
    let work = Work::sleeper();
    session.wants(&[(&work, Action::Run)]).await;
    session.chunk(&work).await;
    drop(session);

    let mut session = olympus.hello().await;
    assert_eq!(session.hello().cluster, Some(CLUSTER));
    assert_eq!(session.hello().highest_epoch, 5);
    session.welcome(4, terms()).await;
    session.wants(&[]).await;
    session.closed().await;
    assert!(work.alive(), "a deposed leader kills nothing");

    let dir = agent.stop(session).await;
    let again = agent::start(config(at(&olympus), dir.path())).await.unwrap();
    let session = loop {
        // Connections of the first agent may still be in the queue.
        let session = olympus.hello().await;
        if session.hello().attempts.is_empty() {
            break session;
        }
    };
    assert_eq!(session.hello().highest_epoch, 5);
    drop(again);
}

async fn not_leader() {
    let (follower, leader) = (Olympus::new().await, Olympus::new().await);
    let agent = Agent::new(&follower).await;
    let mut session = follower.hello().await;
    session
        .say(ToAgent::Refused(Refused {
            code: RefusalCode::NotLeader,
            detail: "not the leader".into(),
            leader: Some(leader.url().into()),
        }))
        .await;
    session.closed().await;
    leader.hello().await;
    agent.stop(session).await;
}

async fn for_good() {
    let olympus = Olympus::new().await;
    let mut agent = Agent::new(&olympus).await;
    let mut session = olympus.hello().await;
    let detail = "the label x is not for this token";
    session
        .say(ToAgent::Refused(Refused {
            code: RefusalCode::BadHello,
            detail: detail.into(),
            leader: None,
        }))
        .await;
    let fatal = agent.handle.ended().await.unwrap_err();
    assert!(fatal.to_string().contains(detail), "{fatal}");
}

async fn window() {
    const BYTES: u64 = 4 << 20;
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session =
        olympus.welcome(api::session::Terms { ttl_ms: 60_000, ..short_terms() }).await;
    session.mute(Mute::Output);
    let work = Work::shell(&format!("head -c {BYTES} /dev/zero"));
    session.wants(&[(&work, Action::Run)]).await;
    let (mut bytes, mut next, mut heartbeats) = (0, 0, 0);
    // Heartbeats are acknowledged, output is not; it has stopped long before the third of them.
    while heartbeats < 3 {
        match session.next().await {
            Said::Chunk(chunk) => {
                assert_eq!(chunk.number, next);
                next += 1;
                bytes += chunk.data.len();
            }
            Said::Text(FromAgent::Heartbeat { .. }) => heartbeats += 1,
            Said::Text(_) => {}
            Said::Closed => panic!("closed"),
        }
    }
    assert!(bytes <= WINDOW_BYTES && bytes > WINDOW_BYTES / 2, "{bytes}");
    session.unmute(Mute::Output);
    session.output_ack(work.of, next).await;
    let mut bytes = bytes as u64;
    loop {
        match session.next().await {
            Said::Chunk(chunk) => bytes += chunk.data.len() as u64,
            Said::Text(FromAgent::Finished(finished)) => {
                assert_eq!((bytes, finished.output.stdout_bytes), (BYTES, BYTES));
                break;
            }
            Said::Text(_) => {}
            Said::Closed => panic!("closed"),
        }
    }
    agent.stop(session).await;
}

async fn goodbye() {
    let olympus = Olympus::new().await;
    let mut agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(terms()).await;
    let work = Work::sleeper();
    session.wants(&[(&work, Action::Run)]).await;
    session.chunk(&work).await;
    agent.handle.stop();
    let is = |said: &Said| matches!(said, Said::Text(FromAgent::Goodbye {})).then_some(());
    session.until("goodbye", is).await;
    assert!(!work.alive(), "it is dead before it is given away");
    session.closed().await;
    agent.stop(session).await;
}

async fn dropped() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let mut session = olympus.welcome(terms()).await;
    let work = Work::sleeper();
    session.wants(&[(&work, Action::Run)]).await;
    session.chunk(&work).await;
    drop(agent);
    session.closed().await;
    work.dies().await;
}

async fn one_agent() {
    let olympus = Olympus::new().await;
    let agent = Agent::new(&olympus).await;
    let error = agent::start(config(at(&olympus), agent.dir.path())).await.unwrap_err();
    assert!(matches!(error, StartError::Home(_)), "{error}");
    assert!(error.to_string().contains("TARTARUS_DATA_DIR"), "{error}");
    let dir = agent.stop(()).await;
    agent::start(config(at(&olympus), dir.path())).await.unwrap();
}

async fn through_redis() {
    let dir = tempfile::tempdir().unwrap();
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port().to_string()
    };
    let mut server = tokio::process::Command::new("redis-server")
        .args(["--port", &port, "--bind", "127.0.0.1", "--requirepass", "hunter2", "--save", ""])
        .args(["--dir", dir.path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::BufReader::new(server.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains("Ready to accept connections") {
            break;
        }
    }
    let olympus = Olympus::new().await;
    let set = async |value: String| {
        let client = redis::Client::open(format!("redis://:hunter2@127.0.0.1:{port}/3")).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let set = redis::cmd("SET").arg("x:leader").arg(value).to_owned();
        set.exec_async(&mut connection).await.unwrap();
    };
    let redis = Redis {
        host: "127.0.0.1".into(),
        port: port.parse().unwrap(),
        db: 3,
        username: None,
        password: Some(Secret::new("hunter2")),
        password_file: None,
        prefix: "x:".into(),
    };
    let wrong = Redis { password: Some(Secret::new("wrong")), ..redis.clone() };
    let error = Find::Through(wrong).leader(0).await.unwrap_err().to_string();
    assert!(error.contains("refuses REDIS_PASSWORD (") && !error.contains("wrong"), "{error}");
    let file = dir.path().join("password");
    std::fs::write(&file, "wrong\n").unwrap();
    let wrong = Redis { password_file: Some(file.clone()), ..redis.clone() };
    let error = Find::Through(wrong).leader(0).await.unwrap_err().to_string();
    assert!(error.contains(&format!("refuses REDIS_PASSWORD_FILE {file:?} (")), "{error}");
    let beyond = Redis { db: 99, ..redis.clone() };
    let error = Find::Through(beyond).leader(0).await.unwrap_err().to_string();
    assert!(error.contains("refuses REDIS_DB 99 ("), "{error}");
    for db in [0, 3] {
        let none = Redis { password: None, db, ..redis.clone() };
        let error = Find::Through(none).leader(0).await.unwrap_err().to_string();
        assert!(error.contains("set REDIS_PASSWORD (or REDIS_PASSWORD_FILE)"), "{error}");
    }
    let error = Find::Through(redis.clone()).leader(0).await.unwrap_err().to_string();
    assert!(error.contains("x:leader"), "{error}");

    // One who may read the key alone may find who leads.
    let client = redis::Client::open(format!("redis://:hunter2@127.0.0.1:{port}")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let narrow = ["SETUSER", "narrow", "on", ">narrow", "~x:leader", "+get"];
    redis::cmd("ACL").arg(&narrow).exec_async(&mut connection).await.unwrap();
    let (username, password) = (Some("narrow".to_owned()), Some(Secret::new("narrow")));
    let narrow = Redis { db: 0, username, password, ..redis.clone() };
    let error = Find::Through(narrow).leader(0).await.unwrap_err().to_string();
    assert!(error.contains("x:leader"), "{error}");

    // It comes up without a leader, and finds one when there is one; and the next one.
    let agent = Agent::with(Find::Through(redis), |_| {}).await;
    set(format!("{} {}", Uuid::new_v4(), olympus.url())).await;
    let session = olympus.hello().await;
    let next = Olympus::new().await;
    set(format!("{} {}", Uuid::new_v4(), next.url())).await;
    drop((session, olympus));
    next.hello().await;
    agent.stop(()).await;
    server.kill().await.unwrap();
}
