//! The agent's clocks.
//!
//! Owns:   nothing.
//! Says:   milliseconds since the machine's boot, and since 1970.
//! Never:  measures an attempt's time (tokio's clock does).

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the machine's boot, time asleep included (`CLOCK_BOOTTIME`): an agent whose
/// machine was suspended must see that its time is up when it wakes.
pub(crate) fn since_boot_ms() -> u64 {
    read(ClockId::Boottime)
}

/// Wall clock in milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    read(ClockId::Realtime)
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1_000 + nanos / 1_000_000
}
