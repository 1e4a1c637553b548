//! `tartarus node`: the fleet.

use std::time::Duration;

use agent::config::odd_labels;
use api::fleet::Overlay;
use api::{Node, Time};
use client::Client;
use domain::Texts;

use crate::cli::NodeVerb;
use crate::connect::{block_on, clock};
use crate::exit::{DONE, Failure};
use crate::print::{Columns, Format, age, now, print};
use crate::terminal::Terminal;

/// Between two looks at a node that is to become empty.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Does what the verb says.
///
/// # Errors
/// Olympus can't be reached.
pub fn run(
    client: &Client,
    verb: NodeVerb,
    format: Format,
    terminal: &Terminal,
) -> Result<u8, Failure> {
    match verb {
        NodeVerb::List(when) => {
            let client = client.clone().at(when.at);
            let (nodes, now) = block_on(async {
                let nodes = client.nodes().await?;
                Ok((nodes, clock(&client, when.at, format).await?))
            })?;
            print(format, &nodes, || columns(&nodes, now))?;
        }
        NodeVerb::Drain { id, deadline, wait } => {
            let node = block_on(async {
                let node = client.drain(&id, deadline).await?;
                if wait { emptied(client, node).await } else { Ok(node) }
            })?;
            show(format, node)?;
        }
        NodeVerb::Undrain { id } => {
            show(format, block_on(async { Ok(client.undrain(&id).await?) })?)?;
        }
        NodeVerb::Label { id, labels } => {
            let node = block_on(async {
                let known = client.node(&id).await?;
                Ok(client.label(&id, &overlay(known, labels)).await?)
            })?;
            let labels = node.labels.iter().map(|(k, v)| (k.as_str().into(), v.as_str().into()));
            let labels: Texts = labels.collect();
            odd_labels(&labels).iter().for_each(|odd| terminal.note(odd));
            show(format, node)?;
        }
    }
    Ok(DONE)
}

fn show(format: Format, node: Node) -> Result<(), Failure> {
    print(format, &node, || columns(std::slice::from_ref(&node), now()))
}

/// The node, once nothing runs there.
async fn emptied(client: &Client, mut node: Node) -> Result<Node, Failure> {
    while node.runs > 0 {
        if node.drain.is_none() {
            return Err(Failure::failed(format!("node {} was undrained meanwhile", node.id)));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        node = client.node(&node.id).await?;
    }
    Ok(node)
}

/// The operators' labels of a node, changed as asked.
fn overlay(node: Node, changes: Vec<(String, Option<String>)>) -> Overlay {
    let mut labels = node.operator_labels;
    for (key, value) in changes {
        let set_here = labels.get(&key).is_some_and(Option::is_some);
        if value.is_none() && set_here {
            labels.remove(&key);
        } else {
            labels.insert(key, value);
        }
    }
    labels.into_iter().map(|(key, value)| (key.into(), value.map(Into::into))).collect()
}

fn columns(nodes: &[Node], now: Time) -> Columns {
    let row = |node: &Node| {
        let (has, gave) = (&node.capacity, &node.allocated);
        let labels: Vec<String> = node.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        vec![
            node.id.clone(),
            node.status.as_str().to_owned(),
            node.pool.as_str().to_owned(),
            format!("{}/{}", gave.cpu_milli, has.cpu_milli),
            format!("{}/{}", gave.mem_mb, has.mem_mb),
            format!("{}/{}", gave.gpu, has.gpu),
            node.runs.to_string(),
            node.last_seen.map_or("-".to_owned(), |seen| age(seen, now)),
            node.runtime.clone(),
            node.version.clone(),
            labels.join(","),
            node.isolation.join(","),
        ]
    };
    Columns {
        head: vec![
            "ID",
            "STATUS",
            "POOL",
            "CPU",
            "MEM_MB",
            "GPU",
            "RUNS",
            "SEEN",
            "RUNTIME",
            "VERSION",
            "LABELS",
            "ISOLATION",
        ],
        narrow: 8,
        rows: nodes.iter().map(row).collect(),
    }
}
