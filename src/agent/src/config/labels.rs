//! Labels that are good ones, and do not do what whoever wrote them will have meant.
//!
//! Says:   a sentence about each.
//! Never:  refuses one: what a label means to policies is theirs to say.
//! Proof:  the test below.

use domain::Texts;
use domain::fleet::{HIGH_COMPUTE_LABEL, QUARANTINE_LABEL};

/// What every label begins with that the program itself heeds.
const OWN: &str = "tartarus.io/";

/// What is odd about a node's labels, as far as they decide its pool.
#[must_use]
pub fn odd_labels(labels: &Texts) -> Vec<String> {
    let mut odd: Vec<String> =
        labels.iter().filter_map(|(key, value)| is_odd(key, value)).collect();
    let set = |key: &str| labels.get(key) == Some("true");
    if set(HIGH_COMPUTE_LABEL) && set(QUARANTINE_LABEL) {
        odd.push(format!(
            "{HIGH_COMPUTE_LABEL} has no effect beside {QUARANTINE_LABEL}: this node takes \
             quarantined work alone"
        ));
    }
    odd
}

fn is_odd(key: &str, value: &str) -> Option<String> {
    let pools = [(HIGH_COMPUTE_LABEL, "hot"), (QUARANTINE_LABEL, "quarantined")];
    if let Some((_, work)) = pools.iter().find(|(label, _)| *label == key) {
        let plain = matches!(value, "true" | "false");
        return (!plain)
            .then(|| format!("{key} is {value:?}, and only \"true\" brings a node {work} work"));
    }
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    let meant = pools.iter().find(|(label, _)| {
        label.strip_prefix(OWN).is_some_and(|own| own.eq_ignore_ascii_case(name))
    });
    match meant {
        Some((label, work)) => {
            Some(format!("{key} brings a node no {work} work: write {label}=true where it should"))
        }
        None if key.starts_with(OWN) => Some(format!(
            "{key} means nothing to this program, which knows {HIGH_COMPUTE_LABEL} and \
             {QUARANTINE_LABEL}"
        )),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_decides_no_pool_and_looks_as_if_it_did_is_told_of() {
        for (labels, words) in [
            ("", &[][..]),
            ("zone=a,example.com/tier=true", &[]),
            ("tartarus.io/phlegethon=true,zone=a", &[]),
            ("tartarus.io/typhon=true,tartarus.io/phlegethon=false", &[]),
            ("tartarus.io/phlegethon=yes", &["phlegethon is \"yes\", and only \"true\""]),
            ("tartarus.io/typhon=", &["brings a node quarantined work"]),
            ("typhon=true", &["write tartarus.io/typhon=true"]),
            ("tartarus.io/Phlegethon=true", &["write tartarus.io/phlegethon=true"]),
            ("example.com/typhon=true", &["write tartarus.io/typhon=true"]),
            ("tartarus.io/phlegeton=true", &["tartarus.io/phlegeton means nothing"]),
            (
                "tartarus.io/typhon=true,tartarus.io/phlegethon=true",
                &["phlegethon has no effect beside"],
            ),
            ("tartarus.io/a=,tartarus.io/typhon=1", &["tartarus.io/a means", "typhon is \"1\""]),
        ] {
            let found = odd_labels(&api::labels::parse_list(labels).unwrap());
            let told = found.len() == words.len()
                && words.iter().zip(&found).all(|(words, found)| found.contains(words));
            assert!(told, "{labels}: {found:?}");
        }
    }
}
