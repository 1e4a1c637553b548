//! `/metrics`: numbers in the text format of Prometheus (version 0.0.4).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpResponse, web};
use olympus_actors::quarantine::CountQuarantine;
use olympus_actors::queue::GetDepth;
use olympus_actors::view::Summarize;

use super::{AppState, Open, read};
use crate::house::Role;

/// Upper bounds of the latency histogram, in microseconds: from a read of the view to a run that
/// is waited for.
const BOUNDS_US: [u64; 10] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 5_000_000];

/// What is counted of answers.
#[derive(Debug, Default)]
pub struct Meter {
    /// By the first digit of the status, from 1.
    classes: [AtomicU64; 5],
    /// By the bound that each is below; the last is above all.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Meter {
    /// Counts an answer.
    pub fn count(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.classes[class].fetch_add(1, Relaxed);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    fn write(&self, text: &mut Text) {
        text.head("tartarus_http_responses_total", "counter", "Answers by class of status.");
        for (class, count) in (1..).zip(&self.classes) {
            text.line(
                &format!("tartarus_http_responses_total{{class=\"{class}xx\"}}"),
                count.load(Relaxed),
            );
        }
        let name = "tartarus_http_response_seconds";
        text.head(name, "histogram", "Time from request to the head of its answer.");
        let mut total = 0;
        for (i, count) in self.buckets.iter().enumerate() {
            total += count.load(Relaxed);
            let bound = BOUNDS_US.get(i).map_or("+Inf".to_owned(), |us| seconds(*us));
            text.line(&format!("{name}_bucket{{le=\"{bound}\"}}"), total);
        }
        text.line(&format!("{name}_sum"), seconds(self.sum_us.load(Relaxed)));
        text.line(&format!("{name}_count"), total);
    }
}

/// Microseconds as seconds, exactly.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, "gauge", help);
        self.line(name, value);
    }
}

/// See the module.
pub async fn get(state: web::Data<AppState>) -> HttpResponse {
    let mut text = Text(String::with_capacity(8 * 1024));
    let open = state.open().ok();
    let leads = open.as_ref().is_some_and(|open| matches!(open.role, Role::Leader));
    text.gauge("tartarus_leader", "Whether this instance leads.", u8::from(leads));
    state.meter.write(&mut text);
    let (open_now, help) = (state.ingress.connections(), "Connections of clients and agents.");
    text.gauge("tartarus_connections", help, open_now);
    let (name, help) = ("tartarus_shed_total", "Requests turned away for want of room.");
    text.head(name, "counter", help);
    text.line(name, state.ingress.shed());
    let dangers = state.standing.borrow().dangers.len();
    let help = "Settings of Redis that endanger the journal: the log says which.";
    text.gauge("tartarus_journal_dangers", help, dangers);
    if let Some(open) = open {
        house(&open, &mut text).await;
    }
    HttpResponse::Ok()
        .insert_header((
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
        ))
        .body(text.0)
}

async fn house(open: &Open, text: &mut Text) {
    let (items, bytes) = open.undurable.load();
    text.gauge("tartarus_undurable_commands", "Commands on their way to the journal.", items);
    text.gauge("tartarus_undurable_bytes", "Bytes on their way to the journal.", bytes);
    let usable = open.health.borrow().accepts();
    text.gauge("tartarus_journal_usable", "Whether the journal takes writes.", u8::from(usable));
    let live = open.output.live_attempts();
    text.gauge("tartarus_output_live", "Attempts whose output is written or followed.", live);
    let name = "tartarus_witness_conflicts_total";
    text.head(name, "counter", "Entries that agents saw and the journal does not have.");
    text.line(name, open.witnesses.told().0);
    if let Ok(summary) = read::get(&open.view, Summarize).await {
        text.gauge("tartarus_journal_index", "Last entry applied.", summary.index);
        let kept = &summary.kept;
        let snapshot = kept.snapshots().next_back().map_or(0, |taken| taken.index);
        text.gauge("tartarus_snapshot_index", "Entry of the newest snapshot.", snapshot);
        text.gauge("tartarus_archived_index", "Last entry in the archive.", kept.archived());
        text.gauge("tartarus_journal_first", "First entry that stays in Redis.", kept.first());
        text.gauge("tartarus_epoch", "Epoch of the leader.", summary.epoch);
        text.gauge("tartarus_policy_revision", "Revision of the law.", summary.revision);
        text.head("tartarus_runs", "gauge", "Runs that are remembered, by status.");
        for (status, count) in &summary.runs {
            text.line(&format!("tartarus_runs{{status=\"{}\"}}", status.as_str()), count);
        }
        text.head("tartarus_nodes", "gauge", "Nodes, by status.");
        text.line("tartarus_nodes{status=\"READY\"}", summary.nodes_ready);
        text.line("tartarus_nodes{status=\"DRAINING\"}", summary.nodes_draining);
        text.line("tartarus_nodes{status=\"LOST\"}", summary.nodes_lost);
    }
    if let Ok(quarantine) = read::get(&open.quarantine, CountQuarantine).await {
        text.head("tartarus_quarantine", "gauge", "Runs in the quarantine ledger, by state.");
        for (stand, count) in &quarantine.runs {
            text.line(&format!("tartarus_quarantine{{state=\"{}\"}}", stand.as_str()), count);
        }
        let help = "Runs sent to quarantine since this instance leads.";
        text.head("tartarus_quarantine_runs_total", "counter", help);
        text.line("tartarus_quarantine_runs_total", quarantine.sent);
        let help = "Quarantine nodes that take work.";
        text.gauge("tartarus_quarantine_nodes", help, quarantine.nodes);
    }
    if let Ok(queue) = read::get(&open.queue, GetDepth).await {
        let queue = queue.value;
        let paused = u8::from(queue.paused);
        text.gauge("tartarus_queue_paused", "Whether assignments are paused.", paused);
        text.head("tartarus_queue_depth", "gauge", "Runs that wait, by the pool they prefer.");
        for pool in api::Pool::ALL {
            let waiting = queue.depth.pools.get(&pool).copied().unwrap_or(0);
            text.line(&format!("tartarus_queue_depth{{pool=\"{}\"}}", pool.as_str()), waiting);
        }
        let oldest_ms = queue.oldest.map_or(0, |since| open.clock.now().since(since));
        text.gauge(
            "tartarus_queue_oldest_wait_seconds",
            "How long the run has waited that waits longest.",
            seconds(oldest_ms.saturating_mul(1_000)),
        );
        let help = "Runs out of attempts that wait for a redrive.";
        text.gauge("tartarus_dead_letters", help, queue.dead);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_class_and_time() {
        let meter = Meter::default();
        for (status, us) in [(202, 200), (202, 250), (404, 251), (503, 9_000_000), (101, 0)] {
            meter.count(status, Duration::from_micros(us));
        }
        let mut text = Text(String::new());
        meter.write(&mut text);
        for line in [
            "tartarus_http_responses_total{class=\"2xx\"} 2",
            "tartarus_http_responses_total{class=\"4xx\"} 1",
            "tartarus_http_responses_total{class=\"5xx\"} 1",
            "tartarus_http_response_seconds_bucket{le=\"0.000250\"} 3",
            "tartarus_http_response_seconds_bucket{le=\"0.000500\"} 4",
            "tartarus_http_response_seconds_bucket{le=\"+Inf\"} 5",
            "tartarus_http_response_seconds_sum 9.000701",
            "tartarus_http_response_seconds_count 5",
        ] {
            assert!(text.0.lines().any(|found| found == line), "{line} is not in\n{}", text.0);
        }
    }
}
