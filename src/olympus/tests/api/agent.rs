//! A scripted agent on a real session.

use api::session::{
    AttemptRef, Finished, FromAgent, Hello, Output, OutputSummary, PROTOCOL, RefusalCode, Stream,
    ToAgent, Wants, chunk_header,
};
use domain::NodeId;
use domain::event::{Exit, ExitCause, Usage};
use domain::ids::Hex;
use domain::submission::Demand;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use uuid::Uuid;

use crate::support::{House, PATIENCE, hello};

/// An agent.
pub struct Agent {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

pub fn introduce(node: &str, boot: u128) -> Hello {
    Hello {
        protocol: PROTOCOL,
        node: NodeId::new(node),
        boot: Uuid::from_u128(boot),
        labels: Default::default(),
        capacity: Demand { cpu_milli: 4_000, mem_mb: 4_096, gpu: 0 },
        isolation: vec!["pids".into()],
        runtime: "scripted".into(),
        version: "0.0.0".into(),
        cluster: None,
        highest_epoch: 0,
        attempts: Vec::new(),
        seen: None,
    }
}

impl Agent {
    /// Connects and says hello.
    pub async fn greet(house: &House, hello: Hello) -> Self {
        let url = house.served.url.replace("http://", "ws://") + api::session::PATH;
        let (socket, _) = tokio_tungstenite::connect_async(url).await.expect("a session");
        let mut agent = Self { socket };
        agent.say(&FromAgent::Hello(Box::new(hello))).await;
        agent
    }

    /// An agent that was welcomed and has heard its first wants.
    pub async fn welcome(house: &House, node: &str) -> Self {
        let mut agent = Self::welcome_to(house, node).await;
        assert!(matches!(agent.hear().await, ToAgent::Wants(_)));
        agent
    }

    /// An agent that was welcomed, and has not heard yet what it should do.
    pub async fn welcome_to(house: &House, node: &str) -> Self {
        let mut agent = Self::greet(house, introduce(node, 1)).await;
        assert!(matches!(agent.hear().await, ToAgent::Welcome(_)));
        agent
    }

    pub async fn say(&mut self, word: &FromAgent) {
        let text = serde_json::to_string(word).expect("a message");
        self.socket.send(Message::text(text)).await.expect("sent");
    }

    pub async fn write(&mut self, of: AttemptRef, number: u32, stream: Stream, data: &str) {
        let time_ms = 1_700_000_000_000 + u64::from(number);
        let chunk = Output { of, number, stream, time_ms, data: data.as_bytes() };
        self.socket.send(Message::binary(chunk.to_frame())).await.expect("sent");
    }

    /// The next message; the session is still open.
    pub async fn hear(&mut self) -> ToAgent {
        let heard = tokio::time::timeout(PATIENCE, async {
            loop {
                match self.socket.next().await.expect("open").expect("whole") {
                    Message::Text(text) => return serde_json::from_str(&text).expect("a message"),
                    Message::Close(_) => panic!("the session was closed"),
                    _ => {}
                }
            }
        });
        heard.await.expect("heard in time")
    }

    /// The next message that `pick` takes; others are passed over.
    pub async fn until<T>(&mut self, mut pick: impl FnMut(ToAgent) -> Option<T>) -> T {
        loop {
            if let Some(picked) = pick(self.hear().await) {
                return picked;
            }
        }
    }

    /// The attempt that is wanted next.
    pub async fn assigned(&mut self) -> AttemptRef {
        self.until(|word| match word {
            ToAgent::Wants(Wants { attempts, .. }) => {
                attempts.iter().find(|want| want.spec.is_some()).map(|want| want.of)
            }
            _ => None,
        })
        .await
    }

    /// Whether the report that was sent last is recorded.
    pub async fn recorded(&mut self) -> bool {
        self.until(|word| match word {
            ToAgent::ReportAck(ack) => Some(ack.recorded),
            _ => None,
        })
        .await
    }
}

/// The end of an attempt that wrote these chunks.
pub fn finished(of: AttemptRef, code: i32, chunks: &[(Stream, &str)]) -> FromAgent {
    let mut hash = blake3::Hasher::new();
    let mut output = OutputSummary { chunks: chunks.len() as u32, ..Default::default() };
    for (stream, data) in chunks {
        hash.update(&chunk_header(*stream, data.len() as u32)).update(data.as_bytes());
        match stream {
            Stream::Stdout => output.stdout_bytes += data.len() as u64,
            Stream::Stderr => output.stderr_bytes += data.len() as u64,
        }
    }
    output.digest = (!chunks.is_empty()).then(|| Hex(*hash.finalize().as_bytes()));
    FromAgent::Finished(Box::new(Finished {
        of,
        exit: Exit { cause: ExitCause::Exited, code: Some(code), signal: None, message: None },
        usage: Usage { cpu_ms: 5, max_rss_mb: 2, wall_ms: 7 },
        output,
    }))
}

#[actix_web::test]
async fn a_run_goes_all_the_way() {
    let house = House::new().await;
    let mut agent = Agent::welcome(&house, "n1").await;
    let node = house.get("/v1/nodes/n1").await.expect(200).json();
    assert_eq!(node["status"], "READY");
    assert!(node["last_seen"].is_string());
    assert_eq!(house.get("/v1/nodes").await.json()["items"][0]["id"], "n1");

    let id = house.run(&hello()).await;
    let of = agent.assigned().await;
    assert_eq!(of.run.to_string(), id);
    agent.say(&FromAgent::Started(of)).await;
    assert!(agent.recorded().await);
    let running = house.get(&format!("/v1/runs/{id}")).await.json();
    assert_eq!((&running["status"], &running["node"]), (&"RUNNING".into(), &"n1".into()));
    agent.write(of, 0, Stream::Stdout, "hello\n").await;
    agent.say(&finished(of, 0, &[(Stream::Stdout, "hello\n")])).await;
    assert!(agent.recorded().await);
    let run = house.get(&format!("/v1/runs/{id}?wait=5s")).await.expect(200).json();
    assert_eq!((&run["status"], &run["exit_code"]), (&"SUCCEEDED".into(), &0.into()));
    assert_eq!(run["usage"]["wall_ms"], 7);
    assert_eq!(run["output"]["stdout_bytes"], 6);
    assert_eq!(house.get(&format!("/v1/runs/{id}/logs")).await.text, "hello\n");

    agent.say(&FromAgent::Heartbeat { n: 1, seen: None }).await;
    let n = agent.until(|word| match word {
        ToAgent::HeartbeatAck { n, .. } => Some(n),
        _ => None,
    });
    assert_eq!(n.await, 1);
    house.stop().await;
}

#[actix_web::test]
async fn an_end_waits_for_all_its_output() {
    let house = House::new().await;
    let mut agent = Agent::welcome(&house, "n1").await;
    let id = house.run(&hello()).await;
    let of = agent.assigned().await;
    agent.say(&FromAgent::Started(of)).await;
    assert!(agent.recorded().await);
    let chunks = [(Stream::Stdout, "a"), (Stream::Stderr, "b")];
    agent.write(of, 0, Stream::Stdout, "a").await;
    agent.say(&finished(of, 0, &chunks)).await;
    let wanted = agent.until(|word| match word {
        ToAgent::OutputAck(ack) if ack.next == 1 => Some(ack.next),
        ToAgent::ReportAck(_) => panic!("an end was recorded before its output was kept"),
        _ => None,
    });
    assert_eq!(wanted.await, 1);
    assert_eq!(house.get(&format!("/v1/runs/{id}")).await.json()["status"], "RUNNING");
    agent.write(of, 1, Stream::Stderr, "b").await;
    agent.say(&finished(of, 0, &chunks)).await;
    assert!(agent.recorded().await);
    assert_eq!(house.get(&format!("/v1/runs/{id}/logs")).await.text, "ab");
    house.stop().await;
}

#[actix_web::test]
async fn a_cancelled_run_is_stopped_by_its_node() {
    let house = House::new().await;
    let mut agent = Agent::welcome(&house, "n1").await;
    let id = house.run(&hello()).await;
    let of = agent.assigned().await;
    agent.say(&FromAgent::Started(of)).await;
    assert!(agent.recorded().await);
    let cancel = format!("/v1/runs/{id}/cancel");
    let answer = house.post(&cancel, &serde_json::json!({})).await.expect(202).json();
    assert_eq!((&answer["status"], &answer["reason"]), (&"RUNNING".into(), &"Canceling".into()));
    agent
        .until(|word| match word {
            ToAgent::Wants(wants) => {
                let stop = wants.attempts.iter().any(|w| w.action == api::session::Action::Stop);
                stop.then_some(())
            }
            _ => None,
        })
        .await;
    agent.say(&finished(of, 143, &[])).await;
    assert!(agent.recorded().await);
    let run = house.get(&format!("/v1/runs/{id}?wait=5s")).await.json();
    assert_eq!(run["status"], "CANCELED");
    house.stop().await;
}

#[actix_web::test]
async fn another_process_can_not_take_the_node_of_a_living_one() {
    let house = House::new().await;
    let _agent = Agent::welcome(&house, "n1").await;
    let mut other = Agent::greet(&house, introduce("n1", 2)).await;
    let ToAgent::Refused(refused) = other.hear().await else { panic!("not refused") };
    assert_eq!(refused.code, RefusalCode::DuplicateNode);
    house.stop().await;
}

#[actix_web::test]
async fn a_session_that_breaks_the_rules_is_ended() {
    let house = House::new().await;
    let mut newer = introduce("n1", 1);
    newer.protocol = PROTOCOL + 1;
    let mut nameless = introduce("a b", 1);
    nameless.node = NodeId::new("a b");
    for (hello, code) in [(newer, RefusalCode::Version), (nameless, RefusalCode::BadHello)] {
        let mut agent = Agent::greet(&house, hello).await;
        let ToAgent::Refused(refused) = agent.hear().await else { panic!("not refused") };
        assert_eq!(refused.code, code);
    }
    let mut agent = Agent::welcome(&house, "n1").await;
    agent.socket.send(Message::text("{\"type\":\"sing\"}")).await.expect("sent");
    let code = agent.until(|word| match word {
        ToAgent::Refused(refused) => Some(refused.code),
        _ => None,
    });
    assert_eq!(code.await, RefusalCode::Protocol);
    house.get("/v1/agent/session").await.problem(400, "malformed");
    house.stop().await;
}

#[actix_web::test]
async fn an_agent_that_leaves_is_lost_at_once() {
    let house = House::new().await;
    let mut agent = Agent::welcome(&house, "n1").await;
    agent.say(&FromAgent::Goodbye {}).await;
    let lost = async {
        while house.get("/v1/nodes/n1").await.json()["status"] != "LOST" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, lost).await.expect("lost in time");
    house.stop().await;
}
