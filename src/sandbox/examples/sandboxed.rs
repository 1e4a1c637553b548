//! Runs one command in a sandbox: `sandboxed RUNTIME COMMAND…`, with the host template.

use std::error::Error;

use sandbox::{Home, Limits, RootFs, Spec};
use tokio::io::copy;

fn main() -> Result<(), Box<dyn Error>> {
    sandbox::init_hook();
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("usage: sandboxed RUNTIME COMMAND…")?;
    let argv = arguments.collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let dir = std::env::temp_dir().join(format!("sandboxed-{}", std::process::id()));
        let home = Home::open(&dir, "example")?;
        let runtime = sandbox::runtime(&name, home.clone())?;
        let spec = Spec {
            id: "example".to_owned(),
            rootfs: RootFs::Host,
            argv,
            env: Vec::new(),
            cwd: String::new(),
            stdin: Vec::new(),
            limits: Limits::default(),
        };
        let mut sandbox = runtime.launch(spec).await?;
        let (mut out, mut err) = (tokio::io::stdout(), tokio::io::stderr());
        if let (Some(mut stdout), Some(mut stderr)) = (sandbox.take_stdout(), sandbox.take_stderr())
        {
            tokio::try_join!(copy(&mut stdout, &mut out), copy(&mut stderr, &mut err))?;
        }
        tokio::io::AsyncWriteExt::flush(&mut out).await?;
        let ended = sandbox.wait().await?;
        log::debug!("{ended:?}");
        eprint_ended(&format!("{ended:?} {:?}", sandbox.missing()));
        home.idle().await;
        std::fs::remove_dir_all(dir)?;
        Ok(())
    })
}

#[allow(clippy::print_stderr)]
fn eprint_ended(text: &str) {
    eprintln!("{text}");
}
