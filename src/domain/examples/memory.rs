//! What runs weigh in memory: `cargo run --release -p domain --example memory [runs]`.
//!
//! Counts every allocation of one World by the size glibc sets aside for it. Registry and view are
//! a World each, and the view forgets keys; the promise is 1 KiB for a finished run in both together.
//! A run that waits is in the lines of queue and placement too, and what was asked is kept once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

#[path = "../benches/house/mod.rs"]
mod house;

use domain::line::Line;
use domain::runs::Birth;
use domain::{Event, World};
use house::House;

struct Counting;

static SET_ASIDE: AtomicUsize = AtomicUsize::new(0);

/// What glibc's malloc takes for a request on a 64-bit machine: 8 bytes of its own, in steps of 16,
/// at least 32.
fn weight(layout: Layout) -> usize {
    (layout.size() + 8).next_multiple_of(16).max(32)
}

// SAFETY: every call is handed on to `System` unchanged; counting touches no memory of the caller.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        SET_ASIDE.fetch_add(weight(layout), Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        SET_ASIDE.fetch_sub(weight(layout), Ordering::Relaxed);
        // SAFETY: the caller's promise about `ptr` and `layout` is handed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes a run that `live` adds to a house.
fn bytes_a_run(runs: u64, mut live: impl FnMut(&mut House)) -> usize {
    let mut house = House::with_nodes(8);
    let empty = SET_ASIDE.load(Ordering::Relaxed);
    for _ in 0..runs {
        live(&mut house);
    }
    let full = SET_ASIDE.load(Ordering::Relaxed);
    (full - empty) / runs.max(1) as usize
}

#[allow(clippy::print_stdout, clippy::disallowed_methods)] // an example speaks to whoever runs it
fn main() {
    let asked = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let runs = asked.unwrap_or(100_000);
    println!("bytes a run in one World, {runs} runs");
    let finished = bytes_a_run(runs, |house| {
        let run = house.admit(house::typical());
        house.finish(run);
    });
    println!("finished            {finished:>6}");
    let keyed = bytes_a_run(runs, |house| {
        let run = house.admit_with_key(house::typical());
        house.finish(run);
    });
    println!("finished, with key  {keyed:>6}");
    let viewed = bytes_a_run(runs, |house| {
        let run = house.admit_with_key(house::typical());
        house.finish(run);
        house.world.keys.clear();
    });
    println!("  in the view       {viewed:>6}");
    let pending = bytes_a_run(runs, |house| {
        house.admit(house::typical());
    });
    println!("waiting             {pending:>6}");
    let (mut view, mut queue, mut placement) = (World::default(), Line::default(), Line::default());
    let everywhere = bytes_a_run(runs, |house| {
        let run = house.admit(house::typical());
        let waits = house.world.runs.live(run).expect("it waits");
        let Birth::Admitted(admitted) = &waits.birth else { return };
        let event = Event::RunAdmitted(admitted.clone());
        view.evolve(1, &event);
        queue.evolve(&event, |_| {});
        placement.evolve(&event, |_| {});
    });
    println!("  everywhere        {everywhere:>6}");
}
