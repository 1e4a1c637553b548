//! What the heat router may be asked.

use actix::Message;
use domain::line::Class;
use domain::placement::Route;
use domain::submission::{Demand, Pool};

use crate::view::Seen;

/// The pools a workload would be tried in now, in order.
#[derive(Debug, Message)]
#[rtype(result = "Seen<Vec<Route>>")]
pub struct GetRoutes(pub Class);

/// How the pools stand.
#[derive(Debug, Message)]
#[rtype(result = "Seen<Vec<PoolState>>")]
pub struct GetPools;

/// How one pool stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// The pool.
    pub pool: Pool,
    /// Nodes that take work.
    pub ready: usize,
    /// What they have.
    pub capacity: Demand,
    /// What is set aside on them.
    pub allocated: Demand,
}
