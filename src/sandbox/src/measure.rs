//! How long a runtime takes, for the product's own benchmark and for this crate's example.
//!
//! Owns:   the definition of a bare launch: from the call to the first byte of the command's output.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;

use crate::{LaunchError, Limits, Lost, RootFs, Runtime, Spec};

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// A sandbox did not start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A sandbox was lost.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// A sandbox ended without a word.
    #[error("a sandbox ended without output")]
    Silent(#[source] std::io::Error),
}

/// One launch after the other, each until the first byte of `echo x` in the template `host`, and
/// then until the sandbox has ended. Returns the times to the first byte, in ascending order.
///
/// # Errors
/// When a launch fails.
pub async fn bare_launches(
    runtime: &dyn Runtime,
    count: usize,
) -> Result<Vec<Duration>, MeasureError> {
    let mut times = Vec::with_capacity(count);
    for n in 0..count {
        let spec = Spec {
            id: format!("measure-{}-{n}", std::process::id()),
            rootfs: RootFs::Host,
            argv: vec!["echo".to_owned(), "x".to_owned()],
            env: Vec::new(),
            cwd: String::new(),
            stdin: Vec::new(),
            limits: Limits::default(),
        };
        let start = Instant::now();
        let mut sandbox = runtime.launch(spec).await?;
        if let Some(mut stdout) = sandbox.take_stdout() {
            stdout.read_u8().await.map_err(MeasureError::Silent)?;
        }
        times.push(start.elapsed());
        sandbox.wait().await?;
    }
    times.sort();
    Ok(times)
}
