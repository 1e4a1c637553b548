//! Ends that are a death, and ends that are none.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::*;

/// Longer than the leader's key lives, and than all pauses of the wire. The clock of these tests
/// jumps where everybody waits.
const LONG: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq)]
enum Answers {
    As(Role),
    /// Once, and then nothing more.
    OnceAsLeader,
    /// Once, and hangs up.
    AndHangsUp,
}

/// A process that listens, until it is dropped.
struct Process {
    url: String,
    asked: Arc<AtomicUsize>,
    listening: JoinHandle<()>,
}

impl Process {
    async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let listening = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, answers, counted.clone()));
            }
        });
        Self { url, asked, listening }
    }

    async fn until_asked(&self, times: usize) {
        while self.asked.load(Ordering::Relaxed) < times {
            sleep(Duration::from_millis(1)).await;
        }
    }

    async fn kill(self) {
        self.listening.abort();
        let _ = self.listening.await;
    }
}

async fn serve(mut stream: TcpStream, answers: Answers, asked: Arc<AtomicUsize>) {
    let mut head = [0; 1_024];
    let mut answered = false;
    while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
        asked.fetch_add(1, Ordering::Relaxed);
        let role = match answers {
            Answers::As(role) => role,
            Answers::OnceAsLeader if answered => continue,
            Answers::OnceAsLeader | Answers::AndHangsUp => Role::Leader,
        };
        answered = true;
        let body = serde_json::json!({
            "role": role, "epoch": 1, "applied_index": 1, "policy_revision": 1, "journal_lag": 0,
            "leader": null, "durability": "fsync",
        });
        let body = body.to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.expect("written");
        if answers == Answers::AndHangsUp {
            return;
        }
    }
}

async fn lives(url: &str) {
    let began = Instant::now();
    let gone = timeout(LONG, tcp(false)(url)).await;
    assert!(gone.is_err(), "taken for gone after {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_process_ends_is_gone() {
    let process = Process::start(Answers::As(Role::Leader)).await;
    let gone = tokio::spawn(tcp(false)(&process.url));
    process.until_asked(1).await;
    // It is asked again and again, and lives.
    process.until_asked(3).await;
    assert!(!gone.is_finished());
    process.kill().await;
    timeout(LONG, gone).await.expect("it is noticed").expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_never_answered_tells_nothing() {
    let process = Process::start(Answers::As(Role::Leader)).await;
    let url = process.url.clone();
    process.kill().await;
    lives(&url).await;
}

#[tokio::test(start_paused = true)]
async fn an_address_where_another_than_the_leader_answers_tells_nothing() {
    let process = Process::start(Answers::As(Role::Follower)).await;
    let url = process.url.clone();
    let gone = tokio::spawn(tcp(false)(&url));
    process.until_asked(2).await;
    process.kill().await;
    assert!(timeout(LONG, gone).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn silence_is_no_death() {
    let process = Process::start(Answers::OnceAsLeader).await;
    lives(&process.url).await;
    assert!(process.asked.load(Ordering::Relaxed) > 1, "it was asked, and said nothing");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_is_no_death_while_others_are_taken() {
    let process = Process::start(Answers::AndHangsUp).await;
    lives(&process.url).await;
    assert!(process.asked.load(Ordering::Relaxed) > 1, "the wire was taken up again");
}

#[tokio::test]
async fn who_hangs_up_on_every_answer_is_not_stormed() {
    let process = Process::start(Answers::AndHangsUp).await;
    let began = Instant::now();
    let asking = tokio::spawn(tcp(false)(&process.url));
    process.until_asked(4).await;
    assert!(began.elapsed() >= RETRY.0 * 3, "four times in {:?}", began.elapsed());
    asking.abort();
}

#[test]
fn only_a_url_that_leads_to_the_process_itself_is_watched() {
    let at = |host: &str, port| Some((host.to_owned(), port));
    assert_eq!(own("http://10.0.0.1:8080", false), at("10.0.0.1", 8080));
    assert_eq!(own("http://olympus-1/", false), at("olympus-1", 80));
    assert_eq!(own("http://[::1]:9", false), at("::1", 9));
    assert_eq!(own("https://olympus-1", true), at("olympus-1", 443));
    for other in ["https://olympus.example", "olympus-1:8080", ""] {
        assert_eq!(own(other, false), None, "{other}");
    }
    assert_eq!(own("http://olympus-1", true), None, "a proxy's");
}

#[tokio::test(start_paused = true)]
async fn a_process_is_taken_for_gone_once_and_never_again() {
    let mut watch = Watch::new(Arc::new(|_| Box::pin(std::future::ready(()))), "http://me");
    let holder = |url: &str| Claim { boot: Uuid::new_v4(), url: url.into() };
    let (one, other, me) = (holder("http://one"), holder("http://other"), holder("http://me"));
    let mut dies = async |claim: &Claim| {
        watch.watch(&claim.to_string());
        let gone = timeout(Duration::ZERO, watch.until_gone()).await.is_ok();
        assert_eq!(watch.gone(), gone.then_some(claim));
        watch.settle();
        assert_eq!(watch.gone(), None);
        gone
    };
    assert!(dies(&one).await);
    assert!(dies(&other).await);
    assert!(!dies(&one).await, "it was taken for gone, and is there");
    assert!(dies(&holder("http://one")).await, "another process");
    assert!(!dies(&me).await, "this one knows about itself");
    let late = holder("http://late");
    watch.watch(&late.to_string());
    watch.until_gone().await;
    tokio::time::advance(LEASE_TTL).await;
    assert_eq!(watch.gone(), None, "who has its key still has renewed it");
    watch.watch(&late.to_string());
    assert!(timeout(Duration::ZERO, watch.until_gone()).await.is_err(), "and is there");
    watch.watch("what an operator wrote into the key");
    assert!(timeout(Duration::ZERO, watch.until_gone()).await.is_err());
}
