//! Dice: where random bytes come from.
//!
//! Says:   bytes that nobody can foresee, and none twice; or, in a simulation, those of its seed.
//! Fails:  without randomness neither ids nor tokens are safe to give out: the process ends.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// Bytes drawn from the operating system at a time: one system call for some 200 ids.
const DRAWN: usize = 2_048;

/// See the module.
#[derive(Clone)]
pub struct Dice(Arc<Throw>);

type Throw = dyn Fn(&mut [u8]) + Send + Sync;

impl Dice {
    /// The operating system's.
    pub fn of_the_system() -> Self {
        Self::thrown_by(of_the_system)
    }

    /// Dice of which `fill` says how they fall.
    pub fn thrown_by(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    /// So many random bytes.
    pub fn draw<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.0)(&mut bytes);
        bytes
    }
}

impl fmt::Debug for Dice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dice")
    }
}

fn of_the_system(bytes: &mut [u8]) {
    thread_local! {
        static DRAW: RefCell<(usize, [u8; DRAWN])> = const { RefCell::new((DRAWN, [0; DRAWN])) };
    }
    DRAW.with_borrow_mut(|(used, drawn)| {
        if *used + bytes.len() > DRAWN {
            getrandom::fill(drawn).expect("the operating system gives random bytes");
            *used = 0;
        }
        let taken = &mut drawn[*used..*used + bytes.len()];
        bytes.copy_from_slice(taken);
        // A token that was given out must not be found here again.
        taken.fill(0);
        *used += bytes.len();
    });
}
