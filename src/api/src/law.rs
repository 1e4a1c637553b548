//! Policies and templates as documents.

mod demands;

pub use demands::{JudgeDocument, LossesDocument, QuotasDocument, RequireDocument};

use domain::Texts;
use domain::event::Principal;
use domain::ids::Digest;
use domain::law::{HeatSource, Limits, OnViolation, Policy, RootFs, Rule, Template, Version};
use serde::{Deserialize, Serialize};

use crate::check::{Complaints, Invalid};
use crate::duration::Duration;
use crate::given::Given;
use crate::labels::{OBJECT_NAME, is_object_name, shorten};
use crate::limits::{
    CPU_MILLI_MAX, CPU_MILLI_MIN, GPU_MAX, LABEL_NAME_MAX, MAX_AGE_MS_MAX, MEM_MB_MAX, MEM_MB_MIN,
    PATTERNS_MAX, RULE_WHEN_MAX, RULES_MAX, TTL_MS_MAX, TTL_MS_MIN,
};
use crate::parse::{object, some_objects};
use crate::placement::PlacementDocument;
use crate::time::Time;
use crate::{Heat, Network, Verdict};

/// A policy. `version` and `revision` are told, never taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyDocument {
    /// Its name; may be left out where the path names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The revision of the law that it made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// What it applies to.
    #[serde(
        rename = "match",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "object"
    )]
    pub matches: Option<Match>,
    /// Highest resources.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub limits: Option<LimitsDocument>,
    /// Network profiles a request may ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Vec<Given<Network>>>,
    /// Longest retention.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub retention: Option<RetentionLimit>,
    /// What breaking limits or network means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_violation: Option<Given<OnViolation>>,
    /// Rules.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "some_objects")]
    pub rules: Option<Vec<RuleDocument>>,
    /// What a request must say of itself.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub require: Option<RequireDocument>,
    /// What its tenant may have.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub quotas: Option<QuotasDocument>,
    /// Judges elsewhere that are asked too.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "some_objects")]
    pub judges: Option<Vec<JudgeDocument>>,
    /// Where heat comes from, when nobody gives a hint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heat: Option<Given<HeatSource>>,
    /// What the nodes of its runs must and should be like, beside what each run asks.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub placement: Option<PlacementDocument>,
    /// What becomes of a run that is lost with its nodes again and again.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub on_lost: Option<LossesDocument>,
    /// Free words for the owners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Texts>,
}

/// `match` of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Template names, and globs with `*` and `?`.
    pub templates: Vec<Box<str>>,
}

/// `limits` of a policy; what is left out is not limited, save `gpu`, which is then 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsDocument {
    /// Thousandths of a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_milli: Option<i64>,
    /// MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_mb: Option<i64>,
    /// Whole GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<i64>,
    /// Wall clock of one attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Given<Duration>>,
}

/// `retention` of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionLimit {
    /// Longest age after a run's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Given<Duration>>,
}

/// A rule of a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleDocument {
    /// Its name.
    pub name: Box<str>,
    /// CEL over the request.
    pub when: Box<str>,
    /// The verdict when it holds.
    pub verdict: Given<Verdict>,
    /// Said to the caller.
    #[serde(default)]
    pub reason: Box<str>,
}

/// Whether text is a template name in which `*` and `?` stand for others.
fn is_pattern(text: &str) -> bool {
    let literal: String =
        text.chars().map(|c| if matches!(c, '*' | '?') { 'x' } else { c }).collect();
    is_object_name(&literal)
}

/// The name of a document: its own, the path's, and the same where both are there.
fn named(found: &mut Complaints, own: Option<Box<str>>, path: Option<&str>) -> Box<str> {
    let name = match (own, path) {
        (Some(own), Some(path)) if *own != *path => {
            found.add(|| {
                format!(
                    "name is {:?}, the path says {:?}: make them the same, or leave name out",
                    shorten(&own),
                    shorten(path)
                )
            });
            return own;
        }
        (Some(own), _) => own,
        (None, Some(path)) => path.into(),
        (None, None) => {
            found.add(|| format!("name is missing: {OBJECT_NAME}"));
            return "".into();
        }
    };
    found.name("name", &name);
    name
}

impl PolicyDocument {
    /// The policy it describes; `path` is the name it is put under.
    ///
    /// # Errors
    /// Every field that is not valid. Whether a rule compiles is not asked here.
    pub fn into_policy(self, path: Option<&str>) -> Result<Policy, Invalid> {
        let mut found = Complaints::default();
        let name = named(&mut found, self.name, path);

        let templates = self.matches.unwrap_or_default().templates;
        if templates.is_empty() {
            found.add(|| {
                "match.templates is empty: list template names or globs, such as [\"*\"]".into()
            });
        }
        found.count("match.templates", templates.len(), PATTERNS_MAX);
        for pattern in &templates {
            if !is_pattern(pattern) {
                found.add(|| {
                    format!(
                        "match.templates has {:?}: a template name, where * stands for any \
                         characters and ? for one",
                        shorten(pattern)
                    )
                });
            }
        }

        let limits = self.limits.unwrap_or_default();
        let limits = Limits {
            cpu_milli: found.number("limits.cpu_milli", limits.cpu_milli, 0, CPU_MILLI_MAX),
            mem_mb: found.number("limits.mem_mb", limits.mem_mb, 0, MEM_MB_MAX),
            gpu: found.number("limits.gpu", limits.gpu, 0, GPU_MAX).unwrap_or(0),
            ttl_ms: found.span("limits.ttl", limits.ttl, TTL_MS_MIN, TTL_MS_MAX),
        };
        let network = match self.network {
            None => vec![Network::None],
            Some(profiles) => profiles
                .into_iter()
                .filter_map(|profile| found.word("network", Some(profile)))
                .collect(),
        };
        let max_age = self.retention.and_then(|retention| retention.max_age);
        let max_age_ms = found.span("retention.max_age", max_age, 0, MAX_AGE_MS_MAX);
        let on_violation = found.word("on_violation", self.on_violation).unwrap_or_default();

        let given = self.rules.unwrap_or_default();
        found.count("rules", given.len(), RULES_MAX);
        let mut rules: Vec<Rule> = Vec::with_capacity(given.len());
        for (i, rule) in given.into_iter().enumerate() {
            found.name(&format!("rules[{i}].name"), &rule.name);
            if rules.iter().any(|other| other.name == rule.name) {
                found.add(|| format!("rules has {:?} twice", shorten(&rule.name)));
            }
            if rule.when.trim().is_empty() || rule.when.len() > RULE_WHEN_MAX {
                let bytes = rule.when.len();
                found
                    .add(|| format!("rules[{i}].when is {bytes} bytes: give 1 to {RULE_WHEN_MAX}"));
            }
            if let Some(verdict) = found.word(&format!("rules[{i}].verdict"), Some(rule.verdict)) {
                rules.push(Rule { name: rule.name, when: rule.when, verdict, reason: rule.reason });
            }
        }
        check_rules(&mut found, &rules);
        let placement = self.placement.unwrap_or_default().into_placement(&mut found);
        let tags = self.tags.unwrap_or_default();
        found.labels("tags", &tags);

        let policy = Policy {
            name,
            templates,
            limits,
            network,
            max_age_ms,
            on_violation,
            rules,
            tags,
            require: self.require.unwrap_or_default().check(&mut found),
            quotas: self.quotas.unwrap_or_default().check(&mut found),
            judges: demands::judges(&mut found, self.judges.unwrap_or_default()),
            heat: found.word("heat", self.heat).unwrap_or_default(),
            placement,
            on_lost: self.on_lost.unwrap_or_default().check(&mut found),
        };
        found.finish(policy)
    }

    /// A policy as a document, every default written out.
    pub fn from_policy(policy: &Policy, version: u64, revision: u64) -> Self {
        let span = |ms| Given::Known(Duration::from_millis(ms));
        Self {
            name: Some(policy.name.clone()),
            version: Some(version),
            revision: Some(revision),
            matches: Some(Match { templates: policy.templates.clone() }),
            limits: Some(LimitsDocument {
                cpu_milli: policy.limits.cpu_milli.map(i64::from),
                mem_mb: policy.limits.mem_mb.map(i64::from),
                gpu: Some(policy.limits.gpu.into()),
                ttl: policy.limits.ttl_ms.map(span),
            }),
            network: Some(policy.network.iter().map(|n| Given::Known(*n)).collect()),
            retention: policy
                .max_age_ms
                .map(|max_age| RetentionLimit { max_age: Some(span(max_age)) }),
            on_violation: Some(Given::Known(policy.on_violation)),
            rules: Some(
                policy
                    .rules
                    .iter()
                    .map(|rule| RuleDocument {
                        name: rule.name.clone(),
                        when: rule.when.clone(),
                        verdict: Given::Known(rule.verdict),
                        reason: rule.reason.clone(),
                    })
                    .collect(),
            ),
            require: RequireDocument::of(&policy.require),
            quotas: QuotasDocument::of(&policy.quotas),
            judges: (!policy.judges.is_empty())
                .then(|| policy.judges.iter().map(JudgeDocument::from).collect()),
            heat: Some(Given::Known(policy.heat)),
            placement: PlacementDocument::from_placement(&policy.placement),
            on_lost: LossesDocument::of(&policy.on_lost),
            tags: Some(policy.tags.clone()),
        }
    }
}

/// One version of a policy, in its history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// Its number; a deletion repeats the number of what it deleted.
    pub version: u64,
    /// The revision of the law that it made.
    pub revision: u64,
    /// When, in log time.
    pub at: Time,
    /// Who.
    pub by: Principal,
    /// Whether this is the end of the one before.
    pub deleted: bool,
    /// The policy; none for a deletion.
    pub document: Option<PolicyDocument>,
    /// Digest of the report on what it would have changed, where one was made first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what_if: Option<Digest>,
}

impl From<&Version<Policy>> for PolicyVersion {
    fn from(version: &Version<Policy>) -> Self {
        let Version { version, revision, at, by, body, what_if } = version;
        let document =
            body.as_ref().map(|body| PolicyDocument::from_policy(body, *version, *revision));
        Self {
            version: *version,
            revision: *revision,
            at: (*at).into(),
            by: by.clone(),
            deleted: body.is_none(),
            document,
            what_if: *what_if,
        }
    }
}

/// Complaints about rules that this version does not take: the rule, where in it, and what to write.
fn check_rules(found: &mut Complaints, rules: &[Rule]) {
    for (i, rule) in rules.iter().enumerate() {
        if let Err(error) = domain::rules::compile(&rule.when) {
            found.add(|| format!("rules[{i}] {:?} {error}", shorten(&rule.name)));
        }
    }
}

/// Checks that every rule of a policy can be applied by this version: an old one that is to be in
/// force again may have been written for another.
///
/// # Errors
/// Every rule that can't.
pub fn check_policy(policy: &Policy) -> Result<(), Invalid> {
    let mut found = Complaints::default();
    check_rules(&mut found, &policy.rules);
    found.finish(())
}

/// A template. `version` and `revision` are told, never taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateDocument {
    /// Its name; may be left out where the path names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// Its version; 0 is built in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The revision of the law that it made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Its root filesystem.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub rootfs: Option<RootFsDocument>,
    /// Default command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<Box<str>>>,
    /// Set before the request's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Texts>,
    /// Default resources.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub resources: Option<LimitsDocument>,
    /// The template's word on heat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heat: Option<Given<Heat>>,
}

/// `rootfs` of a template: exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RootFsDocument {
    /// A read-only view of the node's programs: `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<bool>,
    /// A directory below `TARTARUS_DATA_DIR/images` of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<Box<str>>,
    /// A tar archive below `TARTARUS_DATA_DIR/images` of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<Box<str>>,
}

impl RootFsDocument {
    fn into_rootfs(self, found: &mut Complaints) -> RootFs {
        let (field, path) = match (self.host, self.directory, self.archive) {
            (Some(true), None, None) => return RootFs::Host,
            (None, Some(path), None) => ("rootfs.directory", path),
            (None, None, Some(path)) => ("rootfs.archive", path),
            _ => {
                found.add(|| {
                    "rootfs names not exactly one source: give {\"directory\": \"…\"}, \
                     {\"archive\": \"….tar\"} or {\"host\": true}"
                        .into()
                });
                return RootFs::Host;
            }
        };
        if !is_image_path(&path) {
            found.add(|| {
                format!(
                    "{field} is {:?}: give a path below TARTARUS_DATA_DIR/images of the node, \
                     relative and without \"..\"",
                    shorten(&path)
                )
            });
        }
        if field == "rootfs.directory" { RootFs::Directory(path) } else { RootFs::Archive(path) }
    }
}

/// A relative path that can't leave its directory. The agent checks again, with symlinks resolved.
fn is_image_path(path: &str) -> bool {
    const PATH_MAX: usize = 1_024;
    (1..=PATH_MAX).contains(&path.len())
        && !path.as_bytes().contains(&0)
        && path
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && part.len() <= 4 * LABEL_NAME_MAX)
}

impl TemplateDocument {
    /// The template it describes; `path` is the name it is put under.
    ///
    /// # Errors
    /// Every field that is not valid.
    pub fn into_template(self, path: Option<&str>) -> Result<Template, Invalid> {
        let mut found = Complaints::default();
        let name = named(&mut found, self.name, path);
        let rootfs = match self.rootfs {
            Some(rootfs) => rootfs.into_rootfs(&mut found),
            None => {
                found.add(|| {
                    "rootfs is missing: give {\"directory\": \"…\"}, {\"archive\": \"….tar\"} or \
                     {\"host\": true}"
                        .into()
                });
                RootFs::Host
            }
        };
        if let Some(command) = &self.command {
            found.command(command);
        }
        let env = self.env.unwrap_or_default();
        found.env(&env);
        let r = self.resources.unwrap_or_default();
        let template = Template {
            name,
            rootfs,
            command: self.command.unwrap_or_default(),
            env,
            cpu_milli: found.number(
                "resources.cpu_milli",
                r.cpu_milli,
                CPU_MILLI_MIN,
                CPU_MILLI_MAX,
            ),
            mem_mb: found.number("resources.mem_mb", r.mem_mb, MEM_MB_MIN, MEM_MB_MAX),
            gpu: found.number("resources.gpu", r.gpu, 0, GPU_MAX),
            ttl_ms: found.span("resources.ttl", r.ttl, TTL_MS_MIN, TTL_MS_MAX),
            heat: found.word("heat", self.heat),
        };
        found.finish(template)
    }

    /// A template as a document.
    pub fn from_template(template: &Template, version: u64, revision: Option<u64>) -> Self {
        let rootfs = match &template.rootfs {
            RootFs::Host => RootFsDocument { host: Some(true), ..RootFsDocument::default() },
            RootFs::Directory(path) => {
                RootFsDocument { directory: Some(path.clone()), ..RootFsDocument::default() }
            }
            RootFs::Archive(path) => {
                RootFsDocument { archive: Some(path.clone()), ..RootFsDocument::default() }
            }
        };
        Self {
            name: Some(template.name.clone()),
            version: Some(version),
            revision,
            rootfs: Some(rootfs),
            command: (!template.command.is_empty()).then(|| template.command.clone()),
            env: Some(template.env.clone()),
            resources: Some(LimitsDocument {
                cpu_milli: template.cpu_milli.map(i64::from),
                mem_mb: template.mem_mb.map(i64::from),
                gpu: template.gpu.map(i64::from),
                ttl: template.ttl_ms.map(|ms| Given::Known(Duration::from_millis(ms))),
            }),
            heat: template.heat.map(Given::Known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field a policy has, as a person writes it.
    const WHOLE: &str = r#"
name: python-default
match: {templates: [python, python-*]}
limits: {cpu_milli: 2000, mem_mb: 1024, gpu: 1, ttl: 10m}
network: [none]
retention: {max_age: 24h}
on_violation: quarantine
require: {metadata: [user], labels: [team, tartarus.io/cost-center]}
quotas: {running: 5, pending: 100, cpu_milli: 8000, mem_mb: 16384, per_minute: 60, on_exceeded: reject}
heat: learned
on_lost: {retries: 1, then: quarantine}
rules:
  - name: external-origin
    when: request.metadata.origin == "external" && tenant.running > 2
    verdict: quarantine
    reason: code from outside runs in quarantine
judges:
  - {name: scanner, url: "http://scanner:9000/judge", timeout: 500ms, fail: open}
  - {name: second, url: "http://[::1]:9001"}
tags: {owner: platform}
"#;

    #[test]
    fn a_policy_is_the_same_when_it_is_shown_and_read_again() {
        let read = |text: &str| crate::document::read::<PolicyDocument>(text.as_bytes());
        let policy = read(WHOLE).expect("a shape").into_policy(None).expect("a policy");
        assert_eq!(policy.judges[1].timeout_ms, crate::limits::JUDGE_TIMEOUT_MS);
        assert_eq!(policy.quotas.per_minute, Some(60));
        for policy in [policy, domain::law::lockdown_default()] {
            let shown = PolicyDocument::from_policy(&policy, 3, 7);
            for text in [
                serde_json::to_string(&shown).expect("JSON"),
                crate::document::to_yaml(&shown).expect("YAML"),
            ] {
                let again = read(&text).expect("a shape").into_policy(None).expect("a policy");
                assert_eq!(again, policy, "{text}");
            }
        }
    }

    #[test]
    fn a_rule_for_another_version_is_not_put_into_force_again() {
        let rule = |name: &str, when: &str| Rule {
            name: name.into(),
            when: when.into(),
            verdict: crate::Verdict::Reject,
            reason: "".into(),
        };
        let rules = vec![rule("fine", "true"), rule("old", "request.colour == \"red\"")];
        let policy = Policy { rules, ..domain::law::lockdown_default() };
        let refused = check_policy(&policy).expect_err("it does not compile").to_string();
        assert!(refused.contains("rules[1] \"old\" line 1, column"), "{refused}");
    }
}
