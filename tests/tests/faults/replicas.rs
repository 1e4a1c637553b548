//! A primary with a replica that takes its place, by hand and by Sentinel.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use redis::Connection;
use reqwest::Method;
use rustix::process::Signal;
use tests::http::{host, id};
use tests::net::free_port;
use tests::process::Process;
use tests::{Api, RedisServer, until, until_sync};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::journal::ask;
use crate::trio::{Trio, ready};
use crate::{row, spread, times};

/// Every new connection to `from` goes to the port that `to` names then, as when an address moves. On
/// a thread of its own, so that a test may wait as it likes.
fn moved(from: &str, to: impl Fn() -> u16 + Send + 'static) {
    let listener = until_sync("the address to be free", || std::net::TcpListener::bind(from).ok());
    listener.set_nonblocking(true).expect("a listener");
    let forward = async move {
        let listener = TcpListener::from_std(listener).expect("a listener");
        while let Ok((mut near, _)) = listener.accept().await {
            let to = to();
            tokio::spawn(async move {
                if let Ok(mut far) = TcpStream::connect(("127.0.0.1", to)).await {
                    let _over = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    std::thread::spawn(move || runtime.expect("a runtime").block_on(forward));
}

fn replication(server: &RedisServer) -> String {
    redis::cmd("INFO").arg("replication").query(&mut server.connect(0)).expect("answered")
}

async fn follow(replica: &RedisServer, primary: u16) {
    let port = primary.to_string();
    ask(&mut replica.connect(0), &["REPLICAOF", "127.0.0.1", &port]);
    until("the replica to have everything", || async {
        replication(replica).contains("master_link_status:up").then_some(())
    })
    .await;
}

#[tokio::test]
async fn f24_the_primary_dies_and_its_replica_is_promoted() {
    // The third is bound before the instances: without a replica they take their time to stop.
    let [primary, replica, next] = std::array::from_fn(|_| RedisServer::durable());
    follow(&replica, primary.port()).await;
    let (addr, port) = (primary.addr(), replica.port());
    let env = [("TARTARUS_DURABILITY", "replicated")];
    let mut trio = Trio::with(primary, &[&addr, &addr, &addr], &env).await;
    for _ in 0..20 {
        trio.write(&[0, 1, 2]).await;
    }
    let api = trio.instances[0].api();
    assert_eq!(until("it to be ready", || ready(&api)).await["durability"], "replicated");
    trio.redis.kill();
    ask(&mut replica.connect(0), &["REPLICAOF", "NO", "ONE"]);
    moved(&addr, move || port);
    // What was promised of two servers is not promised of one.
    let alone = api.post("/v1/runs", &host(&["true"])).await;
    assert_eq!(alone.status, 503, "{alone}");
    // Nor is it shown; and who is deposed meanwhile opens its door without it.
    let leader = trio.instances[deposed(&trio, &replica).await].api();
    let seen = until("what is known to be shown", || async {
        let answer = leader.get("/v1/runs?limit=1000").await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(seen.ids().len(), trio.acknowledged.len());
    follow(&next, port).await;
    let took = trio.write(&[0, 1, 2]).await;
    let mut index = 0;
    for api in trio.apis() {
        let ready = until("it to be ready", || ready(&api)).await;
        index = index.max(ready["applied_index"].as_u64().expect("an index"));
    }
    for api in trio.apis() {
        let all = api.all(&format!("/v1/runs?limit=1000&min_index={index}&wait=60s")).await;
        let there = |run: &String| all.iter().any(|other| other["id"] == **run);
        assert!(trio.acknowledged.iter().all(there), "lost");
    }
    tests::tartarus(&["replay", "verify", "--redis", &replica.addr()], &[]).expect(0);
    let seen = format!(
        "{} acknowledged, 0 lost; alone it acknowledges nothing; writes again {} ms after it has a \
         replica of its own",
        trio.acknowledged.len(),
        took.as_millis()
    );
    let fault = "kill -9 of the primary, its replica promoted, TARTARUS_DURABILITY=replicated";
    row("F24", fault, 1, &seen);
}

/// Gives the key of the one that leads to another; which one led.
async fn deposed(trio: &Trio, primary: &RedisServer) -> usize {
    let holder = || -> Option<String> {
        redis::cmd("GET").arg("tartarus:leader").query(&mut primary.connect(0)).expect("answered")
    };
    let leads = holder();
    let stepped = |place: &usize| !trio.instances[*place].process.said("step down").is_empty();
    until("the leader to step down", || async {
        if holder() == leads {
            ask(&mut primary.connect(0), &["DEL", "tartarus:leader"]);
        }
        (0..trio.instances.len()).find(stepped)
    })
    .await
}

/// A Sentinel that watches a primary alone, and writes down where the primary is.
struct Sentinel {
    _process: Process,
    port: u16,
    dir: tempfile::TempDir,
}

impl Sentinel {
    /// Watches a primary that has a replica.
    fn of(primary: u16) -> Self {
        let (dir, port) = (tempfile::tempdir().expect("a directory"), free_port());
        let [config, script, place] =
            ["sentinel.conf", "moved", "port"].map(|f| dir.path().join(f));
        std::fs::write(&place, primary.to_string()).expect("a file");
        // What the script is given: name, role, state, and both addresses, of which the last moves.
        let moves =
            "#!/bin/sh\nset -e\ncd \"$(dirname \"$0\")\"\nprintf %s \"$7\" > new\nmv new port\n";
        std::fs::write(&script, moves).expect("a file");
        std::fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("a script");
        let script = script.display();
        let lines = format!(
            "port {port}\nbind 127.0.0.1\ndir {dir}\n\
             sentinel monitor house 127.0.0.1 {primary} 1\n\
             sentinel down-after-milliseconds house 500\n\
             sentinel failover-timeout house 5000\n\
             sentinel client-reconfig-script house {script}\n",
            dir = dir.path().display(),
        );
        std::fs::write(&config, lines).expect("a file");
        let mut command = Command::new("redis-server");
        let process = Process::spawn("sentinel", command.arg(&config).arg("--sentinel"));
        let sentinel = Self { _process: process, port, dir };
        until_sync("sentinel to know the replica", || {
            let mut connection = sentinel.connect()?;
            let known: String = redis::cmd("INFO").arg("sentinel").query(&mut connection).ok()?;
            known.contains("status=ok").then_some(())?;
            known.contains("slaves=1").then_some(())
        });
        sentinel
    }

    fn connect(&self) -> Option<Connection> {
        redis::Client::open(("127.0.0.1", self.port)).ok()?.get_connection().ok()
    }

    /// Where the port of the primary is written.
    fn place(&self) -> PathBuf {
        self.dir.path().join("port")
    }

    /// Has the primary replaced, as soon as there is one that can replace it.
    fn fail_over(&self) {
        until_sync("a replica that can take over", || {
            let mut connection = self.connect()?;
            redis::cmd("SENTINEL").arg("FAILOVER").arg("house").exec(&mut connection).ok()
        });
    }
}

fn port_in(place: &std::path::Path) -> u16 {
    std::fs::read_to_string(place).expect("a file").parse().expect("a port")
}

/// A run that is asked for without waiting; its id, if it is acknowledged.
fn submitted(api: Api) -> JoinHandle<Option<String>> {
    tokio::spawn(async move {
        let answer =
            api.try_send(api.request(Method::POST, "/v1/runs").json(&host(&["true"]))).await;
        answer.ok().filter(|answer| answer.status == 202).map(|answer| id(&answer.json()))
    })
}

/// What makes Sentinel replace a primary.
#[derive(Clone, Copy)]
enum Cause {
    Killed,
    Frozen,
    Asked,
}

#[tokio::test]
async fn r04_sentinel_replaces_the_primary() {
    let (first, mut second) = (RedisServer::durable(), RedisServer::durable());
    follow(&second, first.port()).await;
    let sentinel = Sentinel::of(first.port());
    let (addr, place) = (format!("127.0.0.1:{}", free_port()), sentinel.place());
    moved(&addr, move || port_in(&place));
    let env = [("TARTARUS_DURABILITY", "replicated")];
    let mut trio = Trio::with(first, &[&addr, &addr, &addr], &env).await;
    let (times, mut took) = (times().div_ceil(3), Vec::new());
    for _ in 0..times {
        for cause in [Cause::Killed, Cause::Frozen, Cause::Asked] {
            for _ in 0..5 {
                trio.write(&[0, 1, 2]).await;
            }
            let old = port_in(&sentinel.place());
            // On their way while the primary goes: whoever has acknowledged one must have it.
            let under_way: Vec<_> = trio.apis().into_iter().map(submitted).collect();
            let began = Instant::now();
            let primary = if trio.redis.port() == old { &mut trio.redis } else { &mut second };
            match cause {
                Cause::Killed => primary.kill(),
                Cause::Frozen => primary.signal(Signal::STOP),
                Cause::Asked => sentinel.fail_over(),
            }
            until("the address to have moved", || async {
                (port_in(&sentinel.place()) != old).then_some(())
            })
            .await;
            // Nobody mends anything but who starts again what has ended.
            match cause {
                Cause::Killed => primary.restart(),
                Cause::Frozen => {
                    tokio::time::sleep(Duration::from_millis(trio.dice.below(3_000))).await;
                    primary.signal(Signal::CONT);
                }
                Cause::Asked => {}
            }
            trio.write(&[0, 1, 2]).await;
            took.push(began.elapsed());
            for submission in under_way {
                trio.acknowledged.extend(submission.await.expect("it was asked"));
            }
        }
    }
    trio.kept().await;
    tests::tartarus(&["replay", "verify", "--redis", &addr], &[]).expect(0);
    let seen = format!(
        "{} acknowledged, 0 lost; no operator; writes again after {}",
        trio.acknowledged.len(),
        spread(took)
    );
    let fault = "Sentinel replaces a primary that is killed, that freezes and wakes as a primary, and \
                 because it is asked to, and its client-reconfig-script moves the address; \
                 TARTARUS_DURABILITY=replicated";
    row("R04", fault, 3 * times, &seen);
}
