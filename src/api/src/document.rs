//! Documents that people write: YAML or JSON in, YAML or JSON out.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::parse::{Malformed, parse};

/// Parses a document from YAML, or from JSON where it begins like JSON.
///
/// # Errors
/// It is empty, neither YAML nor JSON, or not of the shape of `T`; the error names the field.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    let first = body.iter().find(|b| !b.is_ascii_whitespace());
    match first {
        None => Err(Malformed::Empty),
        Some(b'{') => parse(body),
        Some(_) => yaml(body),
    }
}

/// Parses YAML.
fn yaml<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    let syntax = |error: String| Malformed::Syntax { format: "YAML", error };
    let text = std::str::from_utf8(body).map_err(|e| syntax(e.to_string()))?;
    // Through JSON's model, so that both formats have one meaning and the same words for mistakes.
    let value: serde_json::Value =
        serde_saphyr::from_str(text).map_err(|e| syntax(first_line(&e.to_string())))?;
    if !value.is_object() {
        return Err(crate::parse::expected_object(&value));
    }
    serde_path_to_error::deserialize(value)
        .map_err(|e| crate::parse::shape(&e.path().to_string(), &e.inner().to_string()))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Writes a value as YAML.
///
/// # Errors
/// The value has no YAML form (a map whose keys are not text).
pub fn to_yaml<T: Serialize>(value: &T) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{PolicyDocument, TemplateDocument};

    const PUBLISHED: &str = r#"
name: python-default
match: {templates: [python, python-*]}       # the most specific match applies
limits: {cpu_milli: 2000, mem_mb: 1024, gpu: 0, ttl: 10m}
network: [none]
retention: {max_age: 24h}
on_violation: reject
rules:
  - name: external-origin
    when: request.metadata.origin == "external"
    verdict: quarantine
    reason: code from outside runs in quarantine
tags: {owner: platform}
"#;

    #[test]
    fn the_published_policy_is_read() {
        let document: PolicyDocument = read(PUBLISHED.as_bytes()).unwrap();
        let policy = document.into_policy(Some("python-default")).unwrap();
        assert_eq!(policy.limits.ttl_ms, Some(600_000));
        assert_eq!(policy.templates, ["python".into(), "python-*".into()]);
        assert_eq!(&*policy.rules[0].when, r#"request.metadata.origin == "external""#);
    }

    #[test]
    fn a_policy_written_reads_back_in_both_formats() {
        let document: PolicyDocument = read(PUBLISHED.as_bytes()).unwrap();
        let policy = document.into_policy(None).unwrap();
        let shown = PolicyDocument::from_policy(&policy, 3, 7);
        for text in [to_yaml(&shown).unwrap(), serde_json::to_string(&shown).unwrap()] {
            let again: PolicyDocument = read(text.as_bytes()).unwrap();
            assert_eq!(again.into_policy(None).unwrap(), policy, "{text}");
        }
    }

    #[test]
    fn mistakes_in_yaml_are_named_as_in_json() {
        for (text, words) in [
            ("", "the body is empty: send a JSON object"),
            (
                "limits: {cpu: 1}",
                "unknown field \"limits.cpu\": did you mean \"cpu_milli\"? Known here: cpu_milli, mem_mb, gpu, ttl",
            ),
            (
                "limits: {ttl: 10}",
                "limits.ttl: invalid type: integer `10`, expected a duration such as \"30s\"",
            ),
            ("just text", "the body: it is a string: send an object"),
        ] {
            assert_eq!(read::<PolicyDocument>(text.as_bytes()).unwrap_err().to_string(), words);
        }
        let broken = read::<PolicyDocument>(b"limits: [").unwrap_err().to_string();
        assert!(broken.starts_with("the body is not YAML: "), "{broken}");
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            let before = format!("*a{}", i - 1);
            bomb += &format!("a{i}: &a{i} [{}]\n", vec![before; 10].join(","));
        }
        assert!(read::<PolicyDocument>(bomb.as_bytes()).is_err());
    }

    #[test]
    fn a_template_names_one_source_within_the_images() {
        let check = |text: &str| {
            read::<TemplateDocument>(text.as_bytes()).unwrap().into_template(Some("t"))
        };
        assert!(check("rootfs: {directory: python/3.12}").is_ok());
        assert!(check("rootfs: {archive: python.tar}").is_ok());
        assert!(check("rootfs: {host: true}").is_ok());
        for bad in [
            "{}",
            "rootfs: {}",
            "rootfs: {host: false}",
            "rootfs: {host: true, archive: a.tar}",
            "rootfs: {directory: /etc}",
            "rootfs: {directory: ../x}",
            "rootfs: {directory: a/../../x}",
            "rootfs: {archive: ''}",
            "name: other\nrootfs: {host: true}",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
