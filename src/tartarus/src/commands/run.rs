//! `tartarus run`: submits, streams the output, and exits as the program did.
//!
//! Owns:   the life of one run as its caller sees it.
//! Says:   the program's stdout on stdout, its stderr on stderr; messages on stderr.
//! Never:  leaves a run behind that its caller gave up, unless the caller does so twice.
//! Fails:  with 125 where Tartarus did, 126 where the run was refused or not placed.

use std::future::pending;
use std::io::Read;
use std::time::Duration;

use api::limits::STDIN_MAX;
use api::placement::PlacementDocument;
use api::query::LogsQuery;
use api::run::{ResourcesRequest, RetentionRequest, RetryRequest, RunRequest};
use api::{Given, Run, Status};
use client::{Client, Error, Patience};
use domain::Texts;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::logs::pump;
use crate::cli::RunArgs;
use crate::connect::{block_on, client};
use crate::exit::{self, DONE, Failure, REFUSED};
use crate::print::{self, Columns, Format, print, print_document};
use crate::servers::Embedded;
use crate::terminal::{Progress, Terminal};

/// A run that waits longer than this gets a word about why.
const PATIENCE: Duration = Duration::from_secs(2);
/// A run that has ended has all its output readable: what has not come by then does not come.
const LAST_OUTPUT: Duration = Duration::from_secs(10);
/// A run that is under way outlives a fail-over, and so does its caller.
const PERSEVERANCE: Patience = Patience(Duration::from_secs(60));
/// Reason of a run that is too large for every node there is.
const NEVER_FITS: &str = "NeverFits";

/// Runs a command, with the Olympus at `addr`, else with one of its own.
///
/// # Errors
/// As [`exit`] says.
pub fn run(
    addr: Option<&str>,
    args: RunArgs,
    format: Format,
    terminal: &Terminal,
) -> Result<u8, Failure> {
    let request = request(&args)?;
    // What the contract alone refuses needs no server.
    domain::judge::Request::try_from(request.clone()).map_err(|e| Failure::Usage(e.to_string()))?;
    let format = if args.json { Format::Json } else { format };
    if let Some(addr) = addr {
        let client = client(Some(addr))?;
        let caller = Caller { client, embedded: false, args, request, format, terminal };
        return block_on(caller.go()).map_err(Failure::of_run);
    }
    if args.detach {
        return Err(Failure::Usage(
            "--detach needs a server that outlives this command: start `tartarus dev`, and set \
             TARTARUS_ADDR"
                .to_owned(),
        ));
    }
    let progress = terminal.progress();
    progress.say("starting an embedded Olympus");
    Embedded::with(terminal, |client| async move {
        drop(progress);
        let caller = Caller { client, embedded: true, args, request, format, terminal };
        caller.go().await
    })
    .map_err(Failure::of_run)
}

/// The submission that the arguments describe.
fn request(args: &RunArgs) -> Result<RunRequest, Failure> {
    let mut env = Texts::default();
    for item in &args.env {
        let (name, value) = match item.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (
                item.as_str(),
                std::env::var(item).map_err(|_| {
                    Failure::Usage(format!(
                        "--env {item}: there is no such variable here, or it is not text: write \
                     {item}=VALUE"
                    ))
                })?,
            ),
        };
        env.insert(name.into(), value.into());
    }
    let map = |pairs: &[(String, String)]| -> Texts {
        pairs.iter().map(|(k, v)| (k.as_str().into(), v.as_str().into())).collect()
    };
    let some = |map: Texts| (!map.is_empty()).then_some(map);
    let resources = ResourcesRequest {
        cpu_milli: args.cpu_milli,
        mem_mb: args.mem_mb,
        gpu: args.gpu,
        ttl: args.ttl.map(Given::Known),
    };
    let retry =
        RetryRequest { max_attempts: args.max_attempts, backoff: args.backoff.map(Given::Known) };
    let placement = PlacementDocument {
        require: args.require.as_ref().map(|selector| selector.to_string().into()),
        prefer: (!args.prefer.is_empty()).then(|| args.prefer.clone()),
        isolation: (!args.isolation.is_empty())
            .then(|| args.isolation.iter().map(|name| name.as_str().into()).collect()),
        strategy: args.strategy.map(Given::Known),
    };
    Ok(RunRequest {
        template: Some(args.template.as_str().into()),
        command: (!args.command.is_empty())
            .then(|| args.command.iter().map(|arg| arg.as_str().into()).collect()),
        env: some(env),
        stdin: if args.stdin { Some(read_stdin()?.into()) } else { None },
        resources: (resources != ResourcesRequest::default()).then_some(resources),
        network: None,
        heat: args.heat.map(Given::Known),
        priority: args.priority,
        retry: (retry != RetryRequest::default()).then_some(retry),
        on_lost: args.on_lost.map(Given::Known),
        retention: args.max_age.map(|max_age| RetentionRequest {
            max_age: Some(Given::Known(max_age)),
            keep_output: None,
        }),
        metadata: some(map(&args.metadata)),
        labels: some(map(&args.label)),
        placement: (placement != PlacementDocument::default()).then_some(placement),
    })
}

fn read_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let most = STDIN_MAX as u64 + 1;
    std::io::stdin()
        .lock()
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::Usage(format!("stdin can't be read: {e}")))?;
    if bytes.len() > STDIN_MAX {
        return Err(Failure::Usage(format!(
            "stdin is over {STDIN_MAX} bytes: put large input into a template"
        )));
    }
    String::from_utf8(bytes).map_err(|_| {
        Failure::Usage("stdin is not UTF-8 text, and the record keeps text: encode it".to_owned())
    })
}

/// One who runs a command and waits for it.
struct Caller<'t> {
    client: Client,
    embedded: bool,
    args: RunArgs,
    request: RunRequest,
    format: Format,
    terminal: &'t Terminal,
}

/// What a caller's signals ask for.
struct Signals {
    int: Signal,
    term: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|e| Failure::failed(format!("cannot listen for signals: {e}")))
        };
        Ok(Self { int: listen(SignalKind::interrupt())?, term: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}

impl Caller<'_> {
    async fn go(mut self) -> Result<u8, Failure> {
        if self.args.dry_run {
            return self.dry_run().await;
        }
        let mut signals = Signals::new()?;
        let progress = self.terminal.progress();
        progress.say("submitting");
        let given = self.args.idempotency_key.clone();
        let key = given.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let submitted = tokio::select! {
            submitted = self.submit(&key) => submitted?,
            () = signals.next() => {
                progress.clear();
                let again = again(&key);
                self.terminal.error(&format!("left, and the run may be made all the same; {again}"));
                return Ok(exit::INTERRUPTED);
            }
        };
        if self.args.detach {
            drop(progress);
            match self.format {
                Format::Table | Format::Wide => {
                    print::write(format!("{}\n", submitted.id).as_bytes())?;
                }
                Format::Json | Format::Yaml => print_document(self.format, &submitted)?,
            }
            return Ok(DONE);
        }
        self.client = self.client.with_patience(PERSEVERANCE);
        let (run, interrupted) = match self.attend(&submitted, &progress, &mut signals).await? {
            Attended::Ended(run, interrupted) => (run, interrupted),
            Attended::Left => return Ok(exit::INTERRUPTED),
        };
        drop(progress);
        let left = run.status == Status::Canceled && interrupted;
        match self.format {
            Format::Table | Format::Wide => self.say_how_it_ended(&run, left),
            Format::Json | Format::Yaml => print_document(self.format, &run)?,
        }
        Ok(if left { exit::INTERRUPTED } else { exit::of_run(&run) })
    }

    async fn submit(&self, key: &str) -> Result<Run, Failure> {
        let submitted = match self.client.submit_with_key(&self.request, key).await {
            Ok(submitted) => submitted,
            Err(error @ Error::Unknown { .. }) => {
                return Err(Failure::failed(format!("{error}; {}", again(key))));
            }
            Err(error) => return Err(error.into()),
        };
        if submitted.repeated {
            self.terminal
                .note(&format!("this key was used before: it is run {}", submitted.run.id));
        }
        Ok(submitted.run)
    }

    async fn dry_run(&self) -> Result<u8, Failure> {
        let said = self.client.dry_run(&self.request).await?;
        print(self.format, &said, || Columns {
            head: vec!["VERDICT", "POLICY", "HEAT", "POOL", "REASONS"],
            narrow: 5,
            rows: vec![vec![
                api::given::Word::write(&said.verdict),
                format!("{}@{}", said.policy.name, said.policy.version),
                said.heat.as_str().to_owned(),
                said.pool.as_str().to_owned(),
                said.reasons.join("; "),
            ]],
        })?;
        Ok(if said.verdict == api::Verdict::Reject { REFUSED } else { DONE })
    }

    /// Streams the output and watches the run until it has ended.
    async fn attend(
        &self,
        submitted: &Run,
        progress: &Progress,
        signals: &mut Signals,
    ) -> Result<Attended, Failure> {
        let id = &submitted.id;
        let mut output = std::pin::pin!(self.output(id, progress));
        let mut ending = std::pin::pin!(self.ending(submitted, progress));
        let mut cancel = std::pin::pin!(pending_or(None));
        let (mut ended, mut interrupted) = (None, false);
        let mut streaming = true;
        let mut last_output = std::pin::pin!(pending_or(None));
        loop {
            tokio::select! {
                outcome = &mut output, if streaming => {
                    streaming = false;
                    if let Err(failure) = outcome {
                        // Whoever read the output is gone: nobody wants the rest.
                        let _ = self.client.cancel(id).await;
                        return Err(failure);
                    }
                }
                run = &mut ending, if ended.is_none() => {
                    ended = Some(run?);
                    last_output.set(pending_or(Some(LAST_OUTPUT)));
                }
                () = &mut last_output, if streaming && ended.is_some() => {
                    self.terminal.note("the end of the output did not come: `tartarus logs` may \
                                        have it");
                    streaming = false;
                }
                () = signals.next() => {
                    if interrupted {
                        self.terminal.note(&format!("left; run {id} is being cancelled"));
                        return Ok(Attended::Left);
                    }
                    interrupted = true;
                    progress.clear();
                    self.terminal.note("cancelling; once more leaves at once");
                    cancel.set(pending_or(Some(Duration::ZERO)));
                }
                () = &mut cancel => {
                    cancel.set(pending_or(None));
                    match self.cancel(id).await {
                        Ok(()) => {}
                        Err(failure) => return Err(failure),
                    }
                }
            }
            match ended.take() {
                Some(run) if !streaming => return Ok(Attended::Ended(Box::new(run), interrupted)),
                unfinished => ended = unfinished,
            }
        }
    }

    async fn cancel(&self, id: &str) -> Result<(), Failure> {
        match self.client.cancel(id).await {
            Ok(_) => Ok(()),
            // It has ended by itself in the meantime.
            Err(error) if error.is_status(409) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Streams the output; nothing where a document is to be printed instead.
    async fn output(&self, id: &str, progress: &Progress) -> Result<(), Failure> {
        match self.format {
            Format::Json | Format::Yaml => return Ok(()),
            Format::Table | Format::Wide => {}
        }
        let query = LogsQuery { follow: true, ..LogsQuery::default() };
        match self.client.logs(id, query).await {
            Ok(mut logs) => pump(&mut logs, || progress.clear()).await,
            Err(error @ Error::Refused(_)) if error.is_status(410) => {
                self.terminal.note(&format!("no output: {error}"));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the end, saying why it takes long; gives up where no node takes the run.
    async fn ending(&self, submitted: &Run, progress: &Progress) -> Result<Run, Failure> {
        let id = &submitted.id;
        let mut deadline = std::pin::pin!(pending_or(self.args.place_within.map(|d| d.to_std())));
        let mut impatient = std::pin::pin!(pending_or(Some(PATIENCE)));
        let mut said = None;
        let mut run = submitted.clone();
        loop {
            match run.status {
                Status::Pending => {
                    progress.say(waiting(&run));
                    if self.embedded && self.never_fits(&run).await? {
                        return self.not_placed(&run).await;
                    }
                }
                Status::Scheduled => progress.say("starting"),
                // What a program does not print is silence, not progress.
                Status::Running => progress.clear(),
                Status::Succeeded | Status::Failed | Status::Canceled | Status::Rejected => {
                    return Ok(run);
                }
            }
            let placed = run.status != Status::Pending;
            run = tokio::select! {
                changed = self.client.changed(id, run.index) => changed?,
                () = &mut deadline, if !placed => return self.not_placed(&run).await,
                () = &mut impatient, if !placed => {
                    impatient.set(pending_or(Some(PATIENCE)));
                    let now = self.client.run(id).await?;
                    // On a terminal the moving line says it.
                    if now.status == Status::Pending && now.reason != said
                        && !self.terminal.is_live()
                    {
                        self.terminal.note(&format!("run {id}: {}", waiting(&now)));
                    }
                    said.clone_from(&now.reason);
                    now
                }
            };
        }
    }

    /// Whether the one node there is will never be large enough.
    async fn never_fits(&self, run: &Run) -> Result<bool, Failure> {
        if run.reason.as_deref() != Some(NEVER_FITS) {
            return Ok(false);
        }
        Ok(!self.client.nodes().await?.is_empty())
    }

    async fn not_placed(&self, run: &Run) -> Result<Run, Failure> {
        // Why it waits now; afterwards it only says that it was cancelled.
        let run = &self.client.run(&run.id).await?;
        self.cancel(&run.id).await?;
        // It may have been taken in the last moment, and then ends as it ends.
        let last = self.client.wait(&run.id).await?;
        if last.status == Status::Canceled && last.attempt == 0 {
            let message = format!("no node took it: {}", waiting(run));
            return Err(Failure::Code { code: REFUSED, message });
        }
        Ok(last)
    }

    /// A word on every end that the program itself did not choose.
    fn say_how_it_ended(&self, run: &Run, wanted: bool) {
        if run.output.is_some_and(|output| output.truncated) {
            self.terminal.note("the program wrote more than is kept: its output was cut");
        }
        let reason = run.reason.as_deref();
        if run.status == Status::Succeeded || reason == Some("NonZeroExit") {
            return;
        }
        let words: Vec<&str> = [reason, run.message.as_deref()].into_iter().flatten().collect();
        let words = words.join(": ");
        if wanted { self.terminal.note(&words) } else { self.terminal.error(&words) }
    }
}

/// How attending ended.
enum Attended {
    /// The run has ended; whether the caller wanted it to.
    Ended(Box<Run>, bool),
    /// The caller did not wait for it.
    Left,
}

/// What to do where it is not known whether a run was made.
fn again(key: &str) -> String {
    format!(
        "repeat the command with `--idempotency-key {key}` within 24 hours, which makes the run if it \
         was not made, and goes on with it if it was"
    )
}

/// Why a run waits.
fn waiting(run: &Run) -> String {
    match (run.reason.as_deref(), run.message.as_deref()) {
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => "waiting for a node".to_owned(),
    }
}

/// Sleeps so long, or for ever.
async fn pending_or(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn parsed(line: &str) -> RunArgs {
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Run(args) = cli.command else { panic!("not a run") };
        *args
    }

    #[test]
    fn arguments_become_the_request_and_nothing_more() {
        let request = request(&parsed(
            "tartarus run --cpu-milli 100 --mem-mb 64 --ttl 5s -e A=b=c --heat cold --priority 9 \
             --max-attempts 2 --on-lost fail -l team=ml -m tenant=acme -- echo hi",
        ))
        .unwrap();
        assert_eq!(
            serde_json::to_value(&request).unwrap(),
            serde_json::json!({
                "template": "host", "command": ["echo", "hi"], "env": {"A": "b=c"},
                "resources": {"cpu_milli": 100, "mem_mb": 64, "ttl": "5s"}, "heat": "cold",
                "priority": 9, "retry": {"max_attempts": 2}, "on_lost": "fail",
                "metadata": {"tenant": "acme"}, "labels": {"team": "ml"}
            })
        );
        let bare = super::request(&parsed("tartarus run -- true")).unwrap();
        assert_eq!(
            serde_json::to_value(&bare).unwrap(),
            serde_json::json!({"template": "host", "command": ["true"]})
        );
    }

    #[test]
    fn a_variable_that_is_not_there_is_a_usage_error() {
        let error = request(&parsed("tartarus run -e TARTARUS_TEST_NO_SUCH -- true")).unwrap_err();
        assert_eq!(error.code(), 2);
        assert!(error.to_string().contains("TARTARUS_TEST_NO_SUCH=VALUE"), "{error}");
    }
}
