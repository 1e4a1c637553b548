//! Redis as it is: its scripts forgotten, its password changed, its data still loading.

use std::io::{Read as _, Write as _};

use redis::Connection;
use tests::http::host;
use tests::{RedisServer, until};

use crate::journal::ask;
use crate::trio::Trio;
use crate::{row, spread, times};

#[tokio::test]
async fn r01_scripts_are_forgotten_under_load() {
    let (mut trio, times, mut took) = (Trio::start().await, 10 * times(), Vec::new());
    let before = trio.epoch().await;
    for _ in 0..times {
        ask(&mut trio.redis.connect(0), &["SCRIPT", "FLUSH"]);
        took.push(trio.write(&[0, 1, 2]).await);
    }
    assert_eq!(trio.epoch().await, before, "the leader stays");
    trio.check().await;
    let seen = format!("the leader stays; a write takes {}", spread(took));
    row("R01", "SCRIPT FLUSH before each write", times, &seen);
}

/// Changes the password and ends every connection but this one.
fn rotate(connection: &mut Connection, password: &str) {
    ask(connection, &["CONFIG", "SET", "requirepass", password]);
    ask(connection, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
}

#[tokio::test]
async fn r02_the_password_is_changed() {
    let redis = RedisServer::with_password("first");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("password");
    std::fs::write(&file, "first\n").expect("a file");
    let (addr, path) = (redis.addr(), file.display().to_string());
    let env = [("REDIS_PASSWORD_FILE", &*path)];
    let mut trio = Trio::with(redis, &[&addr, &addr, &addr], &env).await;
    let mut connection = trio.redis.connect(0);
    let (times, mut took) = (times(), Vec::new());
    for n in 0..times {
        trio.leader().await;
        trio.write(&[0, 1, 2]).await;
        let password = format!("password-{n}");
        rotate(&mut connection, &password);
        for api in trio.apis() {
            until("writes to be refused", || async {
                let answer = api.post("/v1/runs", &host(&["true"])).await;
                assert!(answer.status == 503 || answer.status == 202, "{answer}");
                (answer.status == 503).then_some(())
            })
            .await;
            api.get("/v1/queue").await.expect(200);
            assert_eq!(api.get("/healthz").await.status, 200, "nothing is wrong with the journal");
        }
        std::fs::write(&file, password + "\n").expect("a file");
        took.push(trio.write(&[0, 1, 2]).await);
    }
    // More than was acknowledged: what was let in while it was refused elsewhere.
    trio.kept().await;
    ask(&mut connection, &["CONFIG", "SET", "requirepass", ""]);
    trio.verify().expect(0);
    let seen = format!(
        "{} acknowledged, 0 lost; writes 503 while the file has the old one, reads go on; then \
         writes again after {}, without a restart",
        trio.acknowledged.len(),
        spread(took)
    );
    row(
        "R02",
        "requirepass changed and every connection ended, REDIS_PASSWORD_FILE after",
        times,
        &seen,
    );
}

/// Whether it answers that it loads its data.
fn loads(port: u16) -> bool {
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    // `+PONG` and its line end are as long.
    let mut answer = [0; 7];
    let asked = stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut answer));
    asked.is_ok() && answer == *b"-LOADIN"
}

#[tokio::test]
async fn r03_redis_loads_its_data() {
    const KEYS: &str = "for i = 1, 1500000 do redis.call('set', 'filler:' .. i, i) end";
    let mut trio = Trio::start().await;
    trio.write(&[0, 1, 2]).await;
    ask(&mut trio.redis.connect(9), &["EVAL", KEYS, "0"]);
    trio.write(&[0, 1, 2]).await;
    trio.redis.kill();
    trio.redis.respawn();
    until("it to load", || async { loads(trio.redis.port()).then_some(()) }).await;
    let took = trio.write(&[0, 1, 2]).await;
    let all = trio
        .instances
        .iter()
        .flat_map(|instance| instance.process.said("the journal does not answer as it should yet"));
    let loading = all.filter(|said| said["reason"].to_string().contains("LOADING")).count();
    assert!(loading > 0, "nobody has met it");
    trio.redis.until_ready().expect("it has loaded");
    trio.check().await;
    let seen = format!(
        "0 lost; a write that is asked for meanwhile takes {} ms; {loading} lines in the logs of \
         three name LOADING",
        took.as_millis()
    );
    row("R03", "kill -9 of Redis that takes its time to load (LOADING)", 1, &seen);
}
