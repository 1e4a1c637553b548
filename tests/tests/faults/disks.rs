//! Files of Redis that are full, flipped, holed, restored and of another history.

use std::cell::RefCell;
use std::path::Path;
use std::process::Command;

use redis::Connection;
use rustix::process::Signal;
use tests::http::{host, id};
use tests::{Fsync, OlympusPlan, RedisServer, until, until_sync};

use crate::instances::all_but;
use crate::journal::{ask, stopped};
use crate::trio::Trio;
use crate::{row, spread, times};

#[tokio::test]
async fn f23_a_leader_comes_back_to_another_history() {
    let (mut trio, times, mut exported) = (Trio::start().await, times(), 0);
    let mut orphans = Vec::new();
    for _ in 0..times {
        let leader = trio.leader().await;
        trio.write(&[leader]).await;
        trio.until_read(leader).await;
        let (kept, lost) = (trio.redis.written(), trio.dir(leader).join("lost"));
        let files = || std::fs::read_dir(&lost).map_or(0, |files| files.flatten().count());
        let before_it = files();
        // What only the leader has read.
        all_but(leader).into_iter().for_each(|place| trio.signal(place, Signal::STOP));
        let before = trio.acknowledged.clone();
        for _ in 0..1 + trio.dice.below(4) {
            trio.write(&[leader]).await;
        }
        orphans.extend(trio.acknowledged.difference(&before).cloned());
        trio.acknowledged = before;
        trio.signal(leader, Signal::STOP);
        trio.redis.kill();
        trio.redis.cut(kept);
        trio.redis.restart();
        all_but(leader).into_iter().for_each(|place| trio.signal(place, Signal::CONT));
        for _ in 0..1 + trio.dice.below(4) {
            trio.write(&all_but(leader)).await;
        }
        trio.signal(leader, Signal::CONT);
        trio.write(&[0, 1, 2]).await;
        trio.leader().await;
        let kept = format!("what was lost to be kept (seed {})", trio.seed);
        until(&kept, || async { (files() > before_it).then_some(()) }).await;
        exported += 1;
    }
    trio.check().await;
    let seen = format!(
        "{} acknowledged in the history that goes on, 0 lost; of {} in the other none came back, \
         and the one that wrote it kept it {exported} times",
        trio.acknowledged.len(),
        orphans.len()
    );
    row("F23", "Redis loses what only a paused leader had read, others go on", times, &seen);
}

/// A small disk, as long as it lives.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(dir.path());
        let mounted = mount.output().expect("mount runs");
        assert!(
            mounted.status.success(),
            "F29 mounts a tmpfs: run it as root (in a container: with CAP_SYS_ADMIN), or leave it out \
             as scripts/test does, and says, where nothing can be mounted: {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[tokio::test]
async fn f29_the_disk_of_redis_is_full() {
    let mut words = Vec::new();
    for fsync in [Fsync::Always, Fsync::EverySecond] {
        let disk = SmallDisk::mount();
        let dir = tempfile::tempdir_in(disk.path()).expect("a directory");
        let mut trio = Trio::planned(RedisServer::kept_in(dir, fsync, None), 3, |_, _| {}).await;
        trio.write(&[0, 1, 2]).await;
        let ballast = disk.path().join("ballast");
        // As much as there is room for.
        let of = format!("of={}", ballast.display());
        let mut fill = Command::new("dd");
        let full = fill.args(["if=/dev/zero", &of, "bs=64k", "status=none"]).output();
        let full = full.expect("dd runs");
        assert!(!full.status.success(), "the disk is full");
        let (api, mut n) = (trio.instances[trio.leader().await].api(), 0);
        let taken = RefCell::new(&mut trio.acknowledged);
        until("a write to be refused", || {
            n += 1;
            let (api, key, taken) = (api.clone(), format!("full-{n}"), &taken);
            async move {
                // Pages that are begun have room left: some are taken, and acknowledged.
                let answer = api.post_once("/v1/runs", &key, &host(&["true"])).await;
                if answer.status == 503 {
                    return Some(());
                }
                taken.borrow_mut().insert(id(&answer.expect(202).json()));
                None
            }
        })
        .await;
        let ended = trio.redis.process().ended().is_some();
        assert!(api.get("/v1/runs").await.status == 200, "reads go on");
        std::fs::remove_file(&ballast).expect("room");
        if ended {
            trio.redis.restart();
        }
        let took = trio.write(&[0, 1, 2]).await.as_millis();
        let leader = trio.leader().await;
        // The one that was refused was unknown where Redis ended, and may be there.
        let there = trio.instances[leader].api().all("/v1/runs?limit=1000").await;
        let there = there.iter().map(id).collect();
        assert!(trio.acknowledged.is_subset(&there), "lost (seed {})", trio.seed);
        assert!(there.len() <= trio.acknowledged.len() + 1, "more than was asked for");
        trio.acknowledged = there;
        trio.check().await;
        let end = if ended { "Redis ends, and is started again" } else { "Redis refuses" };
        words.push(format!("{fsync:?}: {end}, writes again {took} ms after there is room"));
    }
    row("F29", "the disk of Redis is full, and has room again", 2, &words.join("; "));
}

/// The journal as it is stored, and where it ends.
fn stored(connection: &mut Connection) -> (redis::Value, Option<String>) {
    let all = redis::cmd("XRANGE").arg(&["tartarus:journal", "-", "+"]).query(connection);
    let head = redis::cmd("GET").arg("tartarus:head").query(connection);
    (all.unwrap_or(redis::Value::Nil), head.unwrap_or_default())
}

#[tokio::test]
async fn f31_bits_of_the_append_only_file_flip() {
    let times = 10 * times();
    let mut trio = Trio::planned(RedisServer::durable(), 1, |_, _| {}).await;
    for _ in 0..20 {
        trio.write(&[0]).await;
    }
    trio.instances[0].process.stop();
    let as_it_was = stored(&mut trio.redis.connect(0));
    trio.redis.kill();
    let (file, mut found, mut refused, mut harmless) = (trio.redis.newest_file(), 0, 0, 0);
    let sound = std::fs::read(&file).expect("a file");
    for _ in 0..times {
        let (byte, bit) = (trio.dice.below(sound.len() as u64) as usize, trio.dice.below(8));
        let mut flipped = sound.clone();
        flipped[byte] ^= 1 << bit;
        std::fs::write(&file, flipped).expect("written");
        if trio.redis.try_restart().is_err() {
            refused += 1;
            continue;
        }
        if stored(&mut trio.redis.connect(0)) == as_it_was {
            harmless += 1;
        } else {
            let mut started = trio.instances[0].plan.spawn();
            let said = format!("bit {bit} of byte {byte} (seed {})", trio.seed);
            assert_eq!(
                started.process.exit_code(),
                Some(4),
                "{said}: {:?}",
                started.process.lines()
            );
            found += 1;
        }
        trio.redis.kill();
    }
    let seen = format!(
        "0 silent: {refused} Redis refused, {found} a start of Olympus refused (exit 4), {harmless} \
         left the journal as it was"
    );
    row("F31", "a bit of the append-only file flips while Redis is down", times, &seen);
}

#[tokio::test]
async fn f32_a_file_that_is_not_the_last_one_is_damaged() {
    let (times, mut harmless) = (times().div_ceil(3), 0);
    for _ in 0..times {
        let mut trio = Trio::start().await;
        trio.write(&[0, 1, 2]).await;
        let mut connection = trio.redis.connect(0);
        // A rewrite that does not end: what comes now is in a second file.
        ask(&mut connection, &["CONFIG", "SET", "rdb-key-save-delay", "10000000"]);
        for _ in 0..10 {
            trio.write(&[0, 1, 2]).await;
        }
        ask(&mut connection, &["BGREWRITEAOF"]);
        until_sync("a second file", || (trio.redis.files().len() > 1).then_some(()));
        for _ in 0..5 {
            trio.write(&[0, 1, 2]).await;
        }
        let as_it_was = stored(&mut connection);
        let pid = trio.redis.process().pid();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        trio.redis.kill();
        for child in children.split_whitespace() {
            let _ = Command::new("kill").args(["-9", child]).status();
        }
        let first = trio.redis.files().remove(0);
        let bytes = std::fs::metadata(&first).expect("a file").len();
        let cut = bytes - 1 - trio.dice.below(bytes / 4);
        let file = std::fs::OpenOptions::new().write(true).open(&first);
        file.and_then(|file| file.set_len(cut)).expect("a file that can be cut");
        // It refuses, and has cut the file to where it reads: then it starts, with a hole.
        let started = (0..5).any(|_| trio.redis.try_restart().is_ok());
        assert!(started, "Redis does not start (seed {})", trio.seed);
        if stored(&mut trio.redis.connect(0)) == as_it_was {
            trio.check().await;
            harmless += 1;
        } else {
            stopped("a hole", &trio).await;
        }
    }
    let seen = format!(
        "all three instances stop and say so on /healthz, nothing is written after; {harmless} cuts \
         took nothing of the journal"
    );
    row("F32", "a hole: the end of an append-only file that is not the last is lost", times, &seen);
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success());
}

#[tokio::test]
async fn f35_an_old_copy_of_redis_is_put_back() {
    let (mut trio, times, mut took) = (Trio::start().await, times(), Vec::new());
    let backup = tempfile::tempdir().expect("a directory");
    let (dir, kept) = (trio.redis.dir().join("appendonlydir"), backup.path().join("appendonlydir"));
    let put_back = |trio: &mut Trio| {
        trio.redis.kill();
        std::fs::remove_dir_all(&dir).expect("removed");
        copy(&kept, &dir);
        trio.redis.restart();
    };
    for _ in 0..times {
        trio.write(&[0, 1, 2]).await;
        trio.leader().await;
        trio.redis.kill();
        let _ = std::fs::remove_dir_all(&kept);
        copy(&dir, &kept);
        trio.redis.restart();
        for _ in 0..5 {
            trio.write(&[0, 1, 2]).await;
        }
        put_back(&mut trio);
        took.push(trio.write(&[0, 1, 2]).await);
        trio.leader().await;
    }
    trio.check().await;
    // Nobody is left who has read what is lost: it is told by whoever was given a receipt.
    let api = trio.instances[0].api();
    let answer = api.post("/v1/runs", &host(&["true"])).await.expect(202);
    let receipt = answer.header("x-tartarus-receipt").expect("a receipt");
    trio.instances.iter_mut().for_each(|instance| instance.process.kill());
    put_back(&mut trio);
    let verify = ["replay", "verify", "--redis", &trio.redis.addr(), "--receipt", receipt];
    tests::tartarus(&verify, &[]).expect(1);
    // And another Redis is refused by whoever remembers its cluster.
    let other = RedisServer::durable();
    let mut plan: OlympusPlan = trio.instances[0].plan.clone();
    plan.set("REDIS_ADDR", &other.addr());
    assert_eq!(plan.spawn().process.exit_code(), Some(4));
    let kept = trio.acknowledged.len();
    let seen = format!(
        "under living instances put back by the leader: {kept} acknowledged, 0 lost, writes again \
         after {}; with all of them killed a receipt tells (exit 1); another Redis is refused (exit 4)",
        spread(took)
    );
    row("F35", "an old copy of Redis' files is put in place; another Redis", times, &seen);
}
