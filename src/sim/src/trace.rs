//! The trace of a seed: what happened, in order, and its hash, which the same seed gives again.
//!
//! Hears:  the simulator; and the log of the house, as it is written.
//! Says:   the last lines, for whoever looks for a cause.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;

use log::kv::{Key, Value, VisitSource};
use tokio::time::Instant;

struct Trace {
    began: Instant,
    hash: u64,
    kept: Option<Vec<String>>,
    panic: Option<String>,
}

thread_local! {
    static TRACE: RefCell<Option<Trace>> = const { RefCell::new(None) };
    static WHO: Cell<&'static str> = const { Cell::new("sim") };
}

/// Begins the trace of this thread.
pub fn begin(keep: bool) {
    static HOUSE: House = House;
    // Set once a process; the second seed finds it set.
    if log::set_logger(&HOUSE).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let ours = TRACE.try_with(|trace| {
                let mut trace = trace.try_borrow_mut().ok()?;
                let trace = trace.as_mut()?;
                trace.panic.get_or_insert_with(|| info.to_string());
                Some(())
            });
            if !matches!(ours, Ok(Some(()))) {
                before(info);
            }
        }));
    }
    let kept = keep.then(Vec::new);
    let trace = Trace { began: Instant::now(), hash: 0xcbf2_9ce4_8422_2325, kept, panic: None };
    TRACE.set(Some(trace));
}

/// What a trace came to.
#[derive(Debug, Default)]
pub struct Traced {
    /// Its hash.
    pub hash: u64,
    /// They, where they were to be kept.
    pub kept: Vec<String>,
    /// The first panic.
    pub panic: Option<String>,
}

/// Ends it.
pub fn end() -> Traced {
    TRACE.take().map_or_else(Traced::default, |trace| Traced {
        hash: trace.hash,
        kept: trace.kept.unwrap_or_default(),
        panic: trace.panic,
    })
}

/// Does something in the name of an instance or a node.
pub fn within<T>(who: &'static str, what: impl FnOnce() -> T) -> T {
    let before = WHO.replace(who);
    let done = what();
    WHO.set(before);
    done
}

/// Milliseconds since the seed began.
pub fn now_ms() -> u64 {
    let began = TRACE.with_borrow(|trace| trace.as_ref().map(|trace| trace.began));
    began.map_or(0, |began| u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// Adds a line.
pub fn say(what: std::fmt::Arguments<'_>) {
    TRACE.with_borrow_mut(|trace| {
        let Some(trace) = trace.as_mut() else { return };
        let mut line = String::with_capacity(96);
        let at = trace.began.elapsed().as_micros();
        let _ = write!(line, "{:>10}.{:03} {} {what}", at / 1_000, at % 1_000, WHO.get());
        for byte in line.bytes() {
            trace.hash = (trace.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(kept) = &mut trace.kept {
            kept.push(line);
        }
    });
}

/// Adds a line to the trace.
macro_rules! trace_line {
    ($($what:tt)*) => { $crate::trace::say(format_args!($($what)*)) };
}
pub(crate) use trace_line;

/// The log of the house.
struct House;

struct Pairs(String);

impl<'kvs> VisitSource<'kvs> for Pairs {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        // Of this machine.
        if key.as_str() != "path" {
            let _ = write!(self.0, " {key}={value}");
        }
        Ok(())
    }
}

impl log::Log for House {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        TRACE.with_borrow(Option::is_some)
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut pairs = Pairs(String::new());
            let _ = record.key_values().visit(&mut pairs);
            say(format_args!("{}: {}{}", record.level(), record.args(), pairs.0));
        }
    }

    fn flush(&self) {}
}
