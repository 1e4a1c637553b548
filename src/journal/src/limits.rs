//! Numbers of the journal, each with its reason.

use std::time::Duration;

/// Smallest `proto-max-bulk-len` of a usable Redis, in bytes: above it Redis closes the connection
/// instead of answering, which would look like a lost reply for ever.
pub const MIN_PROTO_MAX_BULK_LEN: u64 = 8 << 20;
/// Largest page of a read, in bytes: an entry fits, and Redis is busy with it for a few
/// milliseconds only.
pub const PAGE_BYTES: usize = 4 << 20;
/// Time to live of the leader's key.
pub const LEASE_TTL: Duration = Duration::from_millis(1_500);
/// How often the leader renews it.
pub const LEASE_RENEW: Duration = Duration::from_millis(300);
/// A lease counts for this long from before its renewal was sent: it must end here before it can
/// end in Redis, whatever the two clocks do in so short a time.
pub const LEASE_VALIDITY: Duration = Duration::from_millis(1_200);
/// Time to wait for a reply of Redis before the connection is given up.
pub const REPLY_TIMEOUT: Duration = Duration::from_millis(2_000);
/// Time to wait for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
/// First and longest pause after an append whose outcome is unknown.
pub const UNKNOWN_BACKOFF: (Duration, Duration) =
    (Duration::from_millis(5), Duration::from_millis(250));
/// First and longest pause after an append that Redis surely did not execute.
pub const REFUSED_BACKOFF: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_millis(1_000));
/// Longest wait for Redis at start, where `TARTARUS_REDIS_WAIT` says nothing else.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(5);
/// Members that one projection script changes: Lua's `unpack` fails at 8,000 values, and Redis
/// serves nobody while a script runs.
pub const PROJECT_CHUNK: usize = 1_000;
/// Entries that leave Redis in one step: it serves nobody meanwhile, some milliseconds.
pub const TRIM_STEP: u64 = 5_000;
/// Sealed entries kept to tell a rollback of Redis from another history, in bytes.
pub const RING_BYTES: usize = 64 << 20;

// A leader that misses two renewals still holds a lease that is valid here.
const _: () = assert!(LEASE_RENEW.as_millis() * 3 < LEASE_VALIDITY.as_millis());
const _: () = assert!(LEASE_VALIDITY.as_millis() < LEASE_TTL.as_millis());
