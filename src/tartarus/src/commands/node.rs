//! `tartarus node`: the fleet.

use api::Node;
use client::Client;

use crate::cli::NodeVerb;
use crate::connect::block_on;
use crate::exit::{DONE, Failure};
use crate::print::{Columns, Format, age, now, print};

/// Does what the verb says.
///
/// # Errors
/// Olympus can't be reached.
pub fn run(client: &Client, verb: NodeVerb, format: Format) -> Result<u8, Failure> {
    match verb {
        NodeVerb::List => {
            let nodes = block_on(async { Ok(client.nodes().await?) })?;
            print(format, &nodes, || columns(&nodes))?;
        }
    }
    Ok(DONE)
}

fn columns(nodes: &[Node]) -> Columns {
    let now = now();
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
