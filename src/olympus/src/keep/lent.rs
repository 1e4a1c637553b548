//! A snapshot from the leader, for an instance that its own snapshots and the archive do not bring to
//! what is left in Redis: a new one, one that was away for long, one that lost its disk.
//!
//! Never:  believes it: it must be whole, and the journal itself must name its entry and its digest
//!         (`snapshot.taken`).
//! Fails:  says whether it may be had in a moment, or nobody has one.
//! Proof:  `an_instance_without_a_past_is_lent_one_and_needs_nobody_then` in `tests/tests/kept`.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::Event;
use domain::ids::{Digest, Sequence};
use futures_util::StreamExt as _;
use journal::limits::LEASE_TTL;
use journal::{Cursor, Journal, ReadError, Trouble, catalog};
use replay::snapshot::{Found, Incoming};
use reqwest::Response;
use tokio::time::{Instant, sleep};

use super::Keeping;
use crate::aside::aside;

/// Where the leader lends it.
pub const PATH: &str = "/v1/snapshots/newest";
/// A leader that is there answers the connection at once.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// Each part of the answer takes less.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// While leaders change there is none for as long as the key lives, and a moment.
const LEADER_WITHIN: Duration = LEASE_TTL.saturating_mul(2);
const LOOK: Duration = Duration::from_millis(100);

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum NotLent {
    /// It may be had in a moment.
    #[error("{0}")]
    Now(String),
    /// The journal could not be asked.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// Nobody has one that can be used.
    #[error("{0}")]
    AtAll(String),
}

/// Asks the leader for its newest snapshot, verifies it, and puts it with the others.
///
/// # Errors
/// See [`NotLent`].
pub async fn fetch(
    keeping: &Keeping,
    journal: &Arc<dyn Journal>,
    over: &AtomicBool,
) -> Result<Found, NotLent> {
    let (leader, incoming) = ask(keeping, journal, over).await?;
    let loading = aside(move || incoming.load().map(|loaded| (incoming, loaded)));
    let loaded = loading.await.map_err(now)?;
    let of = |what: String| NotLent::AtAll(format!("the snapshot of {leader}: {what}"));
    let (incoming, loaded) = loaded.map_err(|bad| of(bad.to_string()))?;
    let tail = loaded.tail();
    let (index, id) = (tail.position.seq, tail.position.id());
    if named(journal, Cursor::at(tail), index).await? != Some(loaded.digest) {
        return Err(of(format!(
            "it is of entry {index} and has the digest {}, which the journal does not say of that \
             entry",
            loaded.digest
        )));
    }
    let found = incoming.adopt(id).map_err(|error| not_kept(keeping, error))?;
    log::info!(index, leader = leader.as_str(), path:% = found.path.display(); "take a lent snapshot");
    Ok(found)
}

fn now(error: impl Display) -> NotLent {
    NotLent::Now(error.to_string())
}

/// A disk that takes nothing takes nothing the next time.
fn not_kept(keeping: &Keeping, error: impl Display) -> NotLent {
    let dir = keeping.snapshots.dir().display();
    NotLent::AtAll(format!("what was lent can't be kept in {dir}: {error}"))
}

/// Asks whoever leads, until somebody is there; what comes back is not looked at yet.
async fn ask(
    keeping: &Keeping,
    journal: &Arc<dyn Journal>,
    over: &AtomicBool,
) -> Result<(String, Incoming), NotLent> {
    let client = tls::http()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_WITHIN)
        .read_timeout(READ_WITHIN)
        .build()
        .map_err(now)?;
    let until = Instant::now() + LEADER_WITHIN;
    let (mut asked, mut silent) = (String::new(), None);
    while Instant::now() < until {
        // The key of a process that is gone lives on for a moment; also of this one's before.
        let leader = journal.leader().await?.map(|claim| claim.url);
        let leader = leader.filter(|url| *url != keeping.url);
        silent.clone_from(&leader);
        if let Some(leader) = leader {
            if asked != leader {
                log::info!(leader = leader.as_str(); "ask for a snapshot");
                asked.clone_from(&leader);
            }
            if tls::bares(&keeping.url, &leader) {
                return Err(NotLent::AtAll(tls::BARE.into()));
            }
            let mut request = client.get(format!("{}{PATH}", leader.trim_end_matches('/')));
            if let Some(token) = &keeping.token {
                request = request.bearer_auth(token.reveal());
            }
            match request.send().await {
                Ok(answer) => {
                    let incoming = receive(keeping, &leader, answer, over).await?;
                    return Ok((leader, incoming));
                }
                Err(error) if error.is_connect() => tls::complain(&leader, &error),
                Err(error) => return Err(now(error)),
            }
        }
        sleep(LOOK).await;
    }
    Err(match silent {
        Some(leader) => now(format!("{leader} leads, and can't be reached")),
        None => NotLent::AtAll("no other instance leads, which could lend one".into()),
    })
}

async fn receive(
    keeping: &Keeping,
    leader: &str,
    answer: Response,
    over: &AtomicBool,
) -> Result<Incoming, NotLent> {
    let none = |why: &str| NotLent::AtAll(format!("{leader} lends no snapshot: {why}"));
    match answer.status().as_u16() {
        200 => {}
        401 => return Err(none("it asks for a token: set its TARTARUS_BOOTSTRAP_TOKEN here too")),
        404 => return Err(none("it has none")),
        busy @ (429 | 500..) => return Err(now(format!("{leader} answered {busy}"))),
        other => {
            return Err(none(&format!("it answered {other}: look at its TARTARUS_ADVERTISE_URL")));
        }
    }
    let mut incoming = keeping.snapshots.receive().map_err(|error| not_kept(keeping, error))?;
    let mut parts = answer.bytes_stream();
    while let Some(part) = parts.next().await {
        if over.load(Ordering::Relaxed) {
            return Err(now("this instance has another role"));
        }
        let part = part.map_err(now)?;
        let written = aside(move || incoming.write(&part).map(|()| incoming)).await;
        incoming = written.map_err(now)?.map_err(|error| not_kept(keeping, error))?;
    }
    Ok(incoming)
}

/// The digest that the journal names for the state after an entry.
async fn named(
    journal: &Arc<dyn Journal>,
    mut after: Cursor,
    entry: Sequence,
) -> Result<Option<Digest>, NotLent> {
    loop {
        let page = journal.read(&after).await.map_err(|error| match error {
            ReadError::Trouble(trouble) => trouble.into(),
            ReadError::Damaged(damaged) => NotLent::AtAll(damaged.to_string()),
        })?;
        if page.entries.is_empty() {
            return Ok(None);
        }
        for event in page.entries.iter().flat_map(catalog::events).flatten() {
            if let (_, Event::SnapshotTaken(taken)) = event
                && taken.index == entry
            {
                return Ok(Some(taken.digest));
            }
        }
        after = page.next;
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{App, HttpResponse, HttpServer, web};
    use domain::World;
    use domain::event::SnapshotTaken;
    use domain::ids::Timestamp;
    use journal::{Appended, Chain, Claim, MemoryJournal, Tail};
    use replay::Snapshots;
    use replay::snapshot::encode;
    use uuid::Uuid;

    use super::*;
    use crate::keep::Keeping;

    /// A leader that lends these bytes; how others reach it.
    fn lender(file: Vec<u8>) -> String {
        let file = web::Bytes::from(file);
        let app = move || {
            let file = file.clone();
            App::new().route(PATH, web::get().to(move || std::future::ready(lend(&file))))
        };
        let server = HttpServer::new(app).workers(1).bind(("127.0.0.1", 0)).expect("an address");
        let url = format!("http://{}", server.addrs()[0]);
        actix_rt::spawn(server.run());
        url
    }

    fn lend(file: &web::Bytes) -> HttpResponse {
        HttpResponse::Ok().body(file.clone())
    }

    fn keeping(dir: &std::path::Path) -> Keeping {
        Keeping {
            snapshots: Snapshots::at(dir),
            archive: String::new(),
            trim: true,
            snapshot_bytes: 1,
            snapshot_every: Duration::MAX,
            archive_bytes: 1,
            url: "http://here".into(),
            token: None,
            turn: Arc::default(),
        }
    }

    fn file(tail: Tail, world: &World) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(tail, world, &mut bytes).expect("memory takes everything");
        bytes
    }

    #[actix_rt::test]
    async fn a_lent_snapshot_is_taken_only_where_it_is_whole_and_the_journal_names_it() {
        let memory = MemoryJournal::default();
        let tail = memory.open(None).await.expect("a journal").tail;
        let world = World::default();
        let (at, index, digest) = (Timestamp(1), tail.position.seq, world.digest());
        let event = Event::SnapshotTaken(SnapshotTaken { at, index, digest, bytes: 1, state: 0 });
        let batch = catalog::batch([&event]).expect("an entry");
        let mut chain = Chain::lead_from(tail, Uuid::new_v4());
        let sealed = chain.seal(1, batch).expect("sealed");
        assert_eq!(memory.append(&sealed).await, Appended::Committed { duplicate: false });
        let journal: Arc<dyn Journal> = Arc::new(memory);

        let good = file(tail, &world);
        let torn = good[..good.len() - 1].to_vec();
        let mut altered = World::default();
        altered.evolve(index, &event);
        let other_state = file(tail, &altered);
        let mut later = tail;
        later.position.seq += 1;
        let other_entry = file(later, &world);
        for (lent, wrong) in [
            (torn, "cut off"),
            (other_state, "the journal does not say of that entry"),
            (other_entry, "journal"),
            (good, ""),
        ] {
            let dir = tempfile::tempdir().expect("a directory");
            let keeping = keeping(dir.path());
            let claim = Claim { boot: Uuid::new_v4(), url: lender(lent) };
            journal.claim(&claim, None).await.expect("the key");
            let fetched = fetch(&keeping, &journal, &AtomicBool::new(false)).await;
            journal.release(&claim).await.expect("given back");
            let there = keeping.snapshots.list().expect("a directory");
            let files = std::fs::read_dir(dir.path()).expect("a directory").count();
            match fetched {
                Ok(found) => assert_eq!((wrong, there), ("", vec![found])),
                Err(why) => {
                    assert!(matches!(why, NotLent::AtAll(_)), "{why:?}");
                    let why = why.to_string();
                    assert!(!wrong.is_empty() && why.contains(wrong), "{wrong}: {why}");
                    assert_eq!((there.len(), files), (0, 0), "{why}");
                }
            }
        }
    }
}
