//! Times bare launches: `latency [COUNT] [RUNTIME…]`, by default 200 of every runtime installed.

use std::{error::Error, time::Duration};

use sandbox::Home;

fn main() -> Result<(), Box<dyn Error>> {
    sandbox::init_hook();
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().map_or(Ok(200), |n| n.parse::<usize>())?.max(1);
    let mut names: Vec<String> = arguments.collect();
    if names.is_empty() {
        names = ["embedded", "runc", "crun"].map(str::to_owned).to_vec();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for name in names {
            let dir = tempfile::tempdir()?;
            let home = Home::open(dir.path(), "latency")?;
            match sandbox::runtime(&name, home.clone()) {
                Ok(runtime) => {
                    sandbox::bare_launches(runtime.as_ref(), count.div_ceil(10)).await?;
                    report(&name, &sandbox::bare_launches(runtime.as_ref(), count).await?);
                }
                Err(error) => report(&error.to_string(), &[]),
            }
            home.idle().await;
        }
        Ok(())
    })
}

#[allow(clippy::print_stdout)]
fn report(name: &str, times: &[Duration]) {
    if times.is_empty() {
        return println!("{name}");
    }
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1_000.0;
    let (n, low, median, high) = (times.len(), at(0), at(50), at(95));
    println!("{name:9} {n} launches: least {low:.1} ms, median {median:.1} ms, 95 % {high:.1} ms");
}
