//! Sandboxes: how untrusted code runs on a node.
//!
//! Owns:   the runtimes ([`runtime`]), the root filesystems ([`host`], [`Images`]), the limits, and
//!         what of them is left behind by an earlier life ([`Home`]).
//! Hears:  a [`Spec`] from the agent.
//! Says:   a running [`Sandbox`], its output, and how it [`Ended`].
//! Never:  knows runs, tenants, policies or the network; trusts anything inside a sandbox.
//! Fails:  [`LaunchError`] says whose fault it was; [`Lost`] that the keeper was killed.
//! Proof:  `tests/hostile.rs`, and [`probe`] on every node before it registers.
//!
//! # Use
//!
//! ```no_run
//! // First in `main`, before any thread: the program is its own keeper of sandboxes.
//! sandbox::init_hook();
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let home = sandbox::Home::open("/var/lib/tartarus".as_ref(), "node-1").unwrap();
//! let _ = sandbox::remove_leftovers(&home);
//! let runtime = sandbox::runtime("embedded", home).unwrap();
//! let spec = sandbox::Spec {
//!     id: "hello".into(),
//!     rootfs: sandbox::RootFs::Host,
//!     argv: vec!["echo".into(), "hello".into()],
//!     env: vec![],
//!     cwd: String::new(),
//!     stdin: vec![],
//!     limits: sandbox::Limits::default(),
//! };
//! let mut running = runtime.launch(spec).await.unwrap();
//! let out = running.take_stdout();
//! let ended = running.wait().await.unwrap();
//! assert_eq!(ended.exit_code, Some(0));
//! # drop(out); });
//! ```

mod cgroup;
mod home;
pub mod host;
mod images;
mod init;
mod keeper;
mod leftovers;
mod measure;
mod oci;
mod probe;
mod root;
mod running;
mod runtime;
mod seccomp;
mod spec;
mod sys;
mod wire;

pub use home::{Home, HomeError};
pub use host::SELF;
pub use images::{ImageError, Images};
pub use leftovers::{Leftovers, remove_leftovers};
pub use measure::{MeasureError, bare_launches};
pub use probe::probe;
pub use running::{Output, Sandbox};
pub use runtime::{Runtime, RuntimeError, runtime};
pub use spec::{Ended, Isolation, LaunchError, Limits, Lost, RootFs, Spec, Usage};

/// The hidden argument with which the program executes itself as the keeper of a sandbox.
pub(crate) const KEEPER: &str = "sandbox-keeper";

/// What every program that uses this crate calls first in `main`, before it starts a thread. When
/// the program was executed as a keeper of a sandbox (or as a probe inside one), this does that work
/// and does not return; otherwise it returns at once.
pub fn init_hook() {
    let mut arguments = std::env::args_os().skip(1);
    let Some(first) = arguments.next() else { return };
    if first == KEEPER {
        keeper::main();
    }
    if first == probe::ARGUMENT {
        let what = arguments.next();
        sys::exit(probe::main(what.as_deref().and_then(std::ffi::OsStr::to_str)));
    }
}
