//! Every limit of a request, with its reason.

use crate::parse::Malformed;

/// Bytes of a request that carries one run: an event of the journal holds it whole, and events
/// stay below 256 KiB so that one run never delays the batch it shares.
pub const RUN_BODY_MAX: usize = 256 * 1024;
/// Bytes of a batch: it becomes one journal entry, and entries end at 4 MiB.
pub const BATCH_BODY_MAX: usize = 4 * 1024 * 1024;
/// Runs of a batch: one turn of the decider, a few milliseconds.
pub const BATCH_RUNS_MAX: usize = 1_000;
/// Bytes of a policy or template: every judge and follower holds all of them in memory.
pub const DOCUMENT_BODY_MAX: usize = 64 * 1024;

/// Bytes of all text of one run, where a batch carries it: what [`RUN_BODY_MAX`] is to one alone,
/// with room for what admission adds.
pub const RUN_TEXT_MAX: usize = 224 * 1024;
const _: () = assert!(RUN_TEXT_MAX + 16 * 1024 < RUN_BODY_MAX);

/// Program and arguments: far beyond what a person writes, far below what a shell's glob makes.
pub const COMMAND_ARGS_MAX: usize = 1_024;
/// Bytes of program and arguments together: Linux takes 128 KiB for a single one
/// (`MAX_ARG_STRLEN`, execve(2)).
pub const COMMAND_BYTES_MAX: usize = 128 * 1024;
/// Variables of `env`.
pub const ENV_MAX: usize = 256;
/// Bytes of a variable's name.
pub const ENV_NAME_MAX: usize = 256;
/// Bytes of `env`, names and values: with the command it stays within what Linux gives arguments
/// and environment at the least (a quarter of an 8 MiB stack would be 2 MiB; this leaves room for
/// the template's own).
pub const ENV_BYTES_MAX: usize = 64 * 1024;
/// Bytes of `stdin`: larger input belongs into a template, not into the record.
pub const STDIN_MAX: usize = 64 * 1024;

/// Entries of `metadata`, and of `labels`: kept with every finished run, which is promised to cost
/// 1 KiB in memory when it is ordinary.
pub const ENTRIES_MAX: usize = 32;
/// Bytes of a metadata key.
pub const METADATA_KEY_MAX: usize = 128;
/// Bytes of a metadata value.
pub const METADATA_VALUE_MAX: usize = 1_024;
/// Bytes of all metadata.
pub const METADATA_BYTES_MAX: usize = 8 * 1024;

/// Characters of the name of a policy, template or tenant: a DNS label (RFC 1123), so that it may
/// become part of a key, a path or a host name.
pub const NAME_MAX: usize = 63;
/// Bytes of the prefix of a label key: a DNS subdomain, as Kubernetes has it.
pub const LABEL_PREFIX_MAX: usize = 253;
/// Bytes of the name part of a label key, and of a label value, as Kubernetes has it.
pub const LABEL_NAME_MAX: usize = 63;

/// Least `cpu_milli`: the kernel's smallest quota is 1 ms in each period of at most 1 s.
pub const CPU_MILLI_MIN: u32 = 1;
/// Most `cpu_milli`: 1,024 cores, beyond any machine, below any overflow.
pub const CPU_MILLI_MAX: u32 = 1_024_000;
/// Least `mem_mb`: what a sandbox needs before the program's first page.
pub const MEM_MB_MIN: u32 = 4;
/// Most `mem_mb`: 16 TiB.
pub const MEM_MB_MAX: u32 = 16 * 1024 * 1024;
/// Most `gpu`: as many as one machine holds.
pub const GPU_MAX: u32 = 64;
/// Least `ttl`.
pub const TTL_MS_MIN: u64 = 1;
/// Most `ttl`: 7 days; what runs longer is a service, not a run.
pub const TTL_MS_MAX: u64 = 7 * 86_400_000;
/// Most `priority`.
pub const PRIORITY_MAX: u8 = 100;
/// Most `retry.max_attempts`.
pub const ATTEMPTS_MAX: u32 = 100;
/// Most `retry.backoff`: a pause never grows beyond this either.
pub const BACKOFF_MS_MAX: u64 = domain::submission::Retry::MAX_BACKOFF_MS;
/// Most `retention.max_age`: ten years, the longest that records are commonly kept by law.
pub const MAX_AGE_MS_MAX: u64 = 3_650 * 86_400_000;

/// Bytes of an `Idempotency-Key`: room for two UUIDs and a word, kept for 24 hours each.
pub const IDEMPOTENCY_KEY_MAX: usize = 128;
/// Objects of a page.
pub const PAGE_MAX: u32 = 1_000;
/// Objects of a page where the caller does not say.
pub const PAGE_DEFAULT: u32 = 100;
/// Longest `wait`; longer is clamped. Proxies commonly cut idle connections after more.
pub const WAIT_MS_MAX: u64 = 300_000;
/// Requirements of one selector in `placement`: each is asked of nodes again and again.
pub const REQUIREMENTS_MAX: usize = 16;
/// Entries of `placement.prefer`, for the same reason.
pub const PREFERENCES_MAX: usize = 8;
/// Longest `deadline` of a drain: no run lasts longer.
pub const DRAIN_DEADLINE_MS_MAX: u64 = TTL_MS_MAX;
/// Bytes of a label selector.
pub const SELECTOR_MAX: usize = 4 * 1024;
/// Patterns of one policy: each is held against every pattern of every other, to refuse a tie.
pub const PATTERNS_MAX: usize = 64;
/// Rules of one policy: all are evaluated for every submission, and the costliest takes 3 ms.
pub const RULES_MAX: usize = 64;
/// Most of any quota: beyond any fleet, below any overflow.
pub const QUOTA_MAX: u32 = 4_000_000_000;
/// External judges of one policy: each is a wait before every submission, and all are asked at once.
pub const JUDGES_MAX: usize = 4;
/// Bytes of an external judge's URL.
pub const JUDGE_URL_MAX: usize = 1_024;
/// Least time of an external judge: one round trip in a room.
pub const JUDGE_TIMEOUT_MS_MIN: u64 = 10;
/// Most time of an external judge: a write is *unknown* after 5 s, and the journal needs its part.
pub const JUDGE_TIMEOUT_MS_MAX: u64 = 4_000;
/// Time of an external judge where the policy does not say.
pub const JUDGE_TIMEOUT_MS: u64 = 2_000;
/// Bytes of an external judge's reason that are kept: a paragraph, in the record for ever.
pub const JUDGE_REASON_MAX: usize = 1_024;
/// Bytes of a rule's expression.
pub const RULE_WHEN_MAX: usize = domain::rules::MAX_BYTES;

/// Bytes of an operator's reason: a sentence or two, kept with the run.
pub const REASON_MAX: usize = 1_024;
/// Bytes of a request that carries a reason alone, with room for how JSON escapes it.
pub const REASON_BODY_MAX: usize = 8 * REASON_MAX;

/// Checks the size of a request that carries a reason.
///
/// # Errors
/// It is over [`REASON_BODY_MAX`].
pub fn check_reason_body(bytes: usize) -> Result<(), Malformed> {
    check_body(bytes, REASON_BODY_MAX, "say it in fewer words")
}

/// Checks the size of a request that carries one run.
///
/// # Errors
/// It is over [`RUN_BODY_MAX`].
pub fn check_run_body(bytes: usize) -> Result<(), Malformed> {
    let advice = "put large input into a template, not into the request";
    check_body(bytes, RUN_BODY_MAX, advice)
}

/// Checks the size of a batch.
///
/// # Errors
/// It is over [`BATCH_BODY_MAX`].
pub fn check_batch_body(bytes: usize) -> Result<(), Malformed> {
    check_body(bytes, BATCH_BODY_MAX, "send fewer runs at a time")
}

/// Checks the size of a policy or template.
///
/// # Errors
/// It is over [`DOCUMENT_BODY_MAX`].
pub fn check_document_body(bytes: usize) -> Result<(), Malformed> {
    check_body(bytes, DOCUMENT_BODY_MAX, "split it")
}

fn check_body(bytes: usize, limit: usize, advice: &'static str) -> Result<(), Malformed> {
    if bytes > limit { Err(Malformed::TooLarge { limit, advice }) } else { Ok(()) }
}
