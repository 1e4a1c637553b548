//! Every number that is kept, counted again from what there is.

use std::collections::{BTreeMap, BTreeSet};

use domain::fleet::Node;
use domain::law::Quotas;
use domain::ledger::{Entry, Stand};
use domain::line::Class;
use domain::submission::{Demand, Pool};
use domain::tenants::{Holdings, Tenant};
use domain::{RunId, Status, Timestamp, World};

/// Every count kept is the count that counting gives.
pub fn agree(world: &World) {
    let mut tenants = BTreeMap::<String, Tenant>::new();
    let mut statuses = BTreeMap::<Status, u64>::new();
    let mut oldest: Option<Timestamp> = None;
    for (id, status) in world.runs.newest_first(None) {
        *statuses.entry(status).or_default() += 1;
        let Some(run) = world.runs.live(id) else { continue };
        let on_node = u32::from(status != Status::Pending);
        assert_eq!(
            run.attempt,
            run.failures + run.losses + run.moves + on_node,
            "each attempt counts once"
        );
        assert!(run.failures < run.submission().retry.max_attempts, "attempts come to an end");
        let item = world.line.item(id).expect("what has not ended is known to the line");
        let not_before = run.not_before.unwrap_or(run.created_at());
        assert!(status != Status::Pending || item.not_before == not_before);
        let tenant = tenants.entry(run.submission().tenant().to_owned()).or_default();
        tenant.asked.add(run.submission().resources.into());
        if status == Status::Pending {
            tenant.pending += 1;
            oldest = Some(oldest.map_or(run.created_at(), |oldest| oldest.min(run.created_at())));
        } else {
            tenant.running += 1;
            tenant.in_use = tenant.in_use.plus(run.submission().resources.into());
            let node = world.fleet.node(run.node.as_ref().expect("it is on a node"));
            let attempt = &node.expect("the node is known").attempts[&id];
            assert!(attempt.stop || !run.cancel_requested, "wants say what the run says");
            assert_eq!(attempt.attempt, run.attempt);
        }
    }
    for status in Status::ALL {
        let counted = statuses.get(&status).copied().unwrap_or(0);
        assert_eq!(world.runs.count(status), counted, "{status:?}");
    }
    for (name, kept) in world.tenants.iter() {
        let counted = tenants.remove(name).unwrap_or_default();
        assert_eq!(*kept, Tenant { last_tag: kept.last_tag, ..counted }, "{name}");
        let (idle, newcomer) = (kept.pending + kept.running == 0, world.tenants.next_tag("new"));
        assert!(!idle || kept.last_tag > newcomer, "{name} is kept for nothing");
    }
    assert!(tenants.is_empty(), "tenants with runs that nobody counts: {tenants:?}");
    let wishes: Vec<_> =
        world.line.items().filter_map(|(_, item)| item.class.placement.clone()).collect();
    for (pool, wish) in Pool::ALL.into_iter().flat_map(|pool| wishes.iter().map(move |w| (pool, w)))
    {
        let suits = |node: &Node| node.pool == pool && node.is_live() && node.suits(wish);
        let counted = world.fleet.nodes().iter().filter(|(_, node)| suits(node));
        let found: BTreeSet<_> = world.fleet.suited(pool, wish).map(|(id, _)| id).collect();
        assert_eq!(found, counted.map(|(id, _)| id).collect(), "{pool:?} {wish:?}");
    }
    let mut heads: Vec<_> = world.line.classes().values().filter_map(|c| c.iter().next()).collect();
    heads.sort();
    let kept: Vec<_> = world.line.heads(None).collect();
    assert!(kept.iter().map(|(place, run)| (place, run)).eq(heads), "the first of each class");
    for pool in Pool::ALL {
        let ready: Vec<_> = world.fleet.ready(pool).map(|(_, node)| node.joined.capacity).collect();
        assert_eq!(world.fleet.has_ready(pool), !ready.is_empty(), "{pool:?}");
        for demand in world.line.items().map(|(_, item)| item.class.demand).chain(ready.clone()) {
            let could_hold = ready.iter().any(|capacity| demand.fits(*capacity));
            let class = Class { pool, demand, placement: None, avoid: None };
            assert_eq!(world.fleet.could_hold(pool, &class), could_hold, "{class:?}");
        }
    }
    let (depth, line) = (world.line.depth(), &world.line);
    let pending = world.runs.count(Status::Pending) as usize;
    let sums = (
        depth.total,
        depth.pools.values().sum(),
        depth.heats.values().sum(),
        depth.tenants.values().sum(),
    );
    assert_eq!(sums, (pending, pending, pending, pending));
    assert_eq!(line.oldest(), oldest);
    for (place, (key, run)) in line.in_order().into_iter().enumerate() {
        let before = line.in_order()[..place].iter().filter(|(k, _)| k.pool == key.pool).count();
        assert_eq!(line.rank(run), Some(before), "a place is a rank");
    }
    let bytes: Vec<_> = line.in_order().iter().map(|(key, _)| key.to_bytes()).collect();
    assert!(bytes.is_sorted_by(|a, b| a < b), "the bytes of a key sort as the key does");
    for stand in Stand::ALL {
        let stands = |(run, entry): &(RunId, &Entry)| {
            let run = world.runs.get(*run).expect("the ledger outlives no run");
            let found = match (run.status, &run.released) {
                (_, Some(_)) => Stand::Released,
                (Status::Pending, None) => Stand::Waiting,
                (Status::Scheduled | Status::Running, None) => Stand::Running,
                (Status::Rejected, None) => Stand::Rejected,
                (Status::Succeeded | Status::Failed | Status::Canceled, None) => Stand::Ended,
            };
            assert_eq!(entry.stand, found, "{:?}", run.status);
            entry.stand == stand
        };
        let listed = world.ledger.newest_first(Some(stand), None).filter(stands).count();
        let counted = world.ledger.newest_first(None, None).filter(stands).count();
        assert_eq!((listed as u64, counted as u64), (world.ledger.count(stand), listed as u64));
    }
}

/// What a tenant has, counted from its runs; what it submitted is not known from them.
pub fn counted(world: &World, tenant: &str) -> Holdings {
    let mut held = Holdings::default();
    for (id, status) in world.runs.newest_first(None) {
        let Some(run) = world.runs.get(id) else { continue };
        if run.submission().tenant() != tenant {
            continue;
        }
        if status.is_terminal() {
            continue;
        }
        held.asked.add(run.submission().resources.into());
        match status {
            Status::Pending => held.pending += 1,
            _ => held.running += 1,
        }
    }
    held
}

/// The same without one that waits.
pub fn without(held: Holdings, demand: Demand) -> Holdings {
    let Holdings { pending, last_minute, mut asked, .. } = held;
    asked.remove(demand);
    Holdings { pending: pending - 1, last_minute: last_minute - 1, asked, ..held }
}

/// Whether one more would be over a quota, by the words of the contract.
pub fn over(quotas: &Quotas, held: Holdings, demand: Demand) -> bool {
    let beyond = |limit: Option<u64>, has: u64, more: u64| limit.is_some_and(|l| has + more > l);
    beyond(quotas.running.map(Into::into), held.running.into(), 1)
        || beyond(quotas.pending.map(Into::into), held.pending.into(), 1)
        || beyond(quotas.cpu_milli, held.asked.cpu_milli, demand.cpu_milli.into())
        || beyond(quotas.mem_mb, held.asked.mem_mb, demand.mem_mb.into())
        || beyond(quotas.per_minute.map(Into::into), held.last_minute.into(), 1)
}
