//! From bytes to a request's shape, and words for bytes that have none.
//!
//! The path of good requests parses once. Only what fails is parsed again, with the path of each
//! value tracked, to say where.

use std::marker::PhantomData;

use serde::{Deserialize, Deserializer};

use crate::labels::shorten;
use crate::problem::{Problem, code};

/// Bytes that are not what the path takes: 400, or 413.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// There is nothing.
    #[error("the body is empty: send a JSON object")]
    Empty,
    /// It is not JSON (or YAML).
    #[error("the body is not {format}: {error}")]
    Syntax {
        /// What was expected.
        format: &'static str,
        /// What the parser said, with its place.
        error: String,
    },
    /// A field that there is not.
    #[error("unknown field {field:?}: {}", hint(.nearest.as_deref(), .known))]
    UnknownField {
        /// Path of the field.
        field: String,
        /// The known field that looks most like it.
        nearest: Option<String>,
        /// Every field there is, with commas.
        known: String,
    },
    /// A field that must be there.
    #[error("{field} is missing: give it")]
    Missing {
        /// Path of the field.
        field: String,
    },
    /// A value of another type, or a field given twice.
    #[error("{field}: {error}")]
    Value {
        /// Path of the field.
        field: String,
        /// What is wrong.
        error: String,
    },
    /// More bytes than the path takes.
    #[error("the body is over {limit} bytes: {advice}")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// What to do.
        advice: &'static str,
    },
}

fn hint(nearest: Option<&str>, known: &str) -> String {
    match nearest {
        Some(nearest) => format!("did you mean {nearest:?}? Known here: {known}"),
        None if known.is_empty() => "no fields are known here".to_owned(),
        None => format!("known here: {known}"),
    }
}

impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        let (status, code) = match malformed {
            Malformed::TooLarge { .. } => (413, code::TOO_LARGE),
            Malformed::Empty
            | Malformed::Syntax { .. }
            | Malformed::UnknownField { .. }
            | Malformed::Missing { .. }
            | Malformed::Value { .. } => (400, code::MALFORMED),
        };
        Self::new(status, code, malformed.to_string())
    }
}

/// Parses a JSON body.
///
/// # Errors
/// It is empty, not JSON, or not of the shape of `T`; the error names the field.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Malformed> {
    match body.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{') => {
            // Whether it is text is asked once, and not of each string in it.
            let parsed = match std::str::from_utf8(body) {
                Ok(text) => serde_json::from_str(text),
                Err(_) => serde_json::from_slice(body),
            };
            parsed.map_err(|error| explain::<T>(body, &error))
        }
        Some(_) => Err(no_object(body)),
        None => Err(Malformed::Empty),
    }
}

/// Serde would read a struct from a list, field by field in order: that is not the contract.
#[cold]
fn no_object(body: &[u8]) -> Malformed {
    match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(value) => expected_object(&value),
        Err(error) => Malformed::Syntax { format: "JSON", error: error.to_string() },
    }
}

/// Words for a whole body of another type.
pub(crate) fn expected_object(value: &serde_json::Value) -> Malformed {
    let given = match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "a list",
        serde_json::Value::Object(_) => "an object",
    };
    Malformed::Value {
        field: "the body".to_owned(),
        error: format!("it is {given}: send an object"),
    }
}

/// Reads an object into a struct; a list is refused.
pub(crate) struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(serde::de::value::MapAccessDeserializer::new(map))
            }
        }
        from.deserialize_map(Visitor(PhantomData)).map(Self)
    }
}

/// `deserialize_with` for a part that is an object, or null.
pub(crate) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(from)?.map(|Object(value)| value))
}

/// `deserialize_with` for a list of objects.
pub(crate) fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    struct Visitor<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of objects")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(Object(value)) = seq.next_element()? {
                all.push(value);
            }
            Ok(all)
        }
    }
    from.deserialize_seq(Visitor(PhantomData))
}

/// `deserialize_with` for a list of objects, or null.
pub(crate) fn some_objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let all = Option::<Vec<Object<T>>>::deserialize(from)?;
    Ok(all.map(|all| all.into_iter().map(|Object(value)| value).collect()))
}

#[cold]
fn explain<'a, T: Deserialize<'a>>(body: &'a [u8], error: &serde_json::Error) -> Malformed {
    if !error.is_data() {
        return Malformed::Syntax { format: "JSON", error: error.to_string() };
    }
    let mut from = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, T>(&mut from) {
        Err(error) => shape(&error.path().to_string(), &error.inner().to_string()),
        Ok(_) => Malformed::Syntax { format: "JSON", error: error.to_string() },
    }
}

/// Words for an error of shape at `path`, from serde's own.
pub(crate) fn shape(path: &str, error: &str) -> Malformed {
    let whole = path.is_empty() || path == ".";
    let error = error.rfind(" at line ").map_or(error, |end| &error[..end]);
    if let Some((unknown, rest)) =
        error.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'))
    {
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let place = path.strip_suffix(unknown).unwrap_or(path).trim_end_matches('.');
        let field = if whole || place.is_empty() || place == "." {
            shorten(unknown)
        } else {
            format!("{}.{}", shorten(place), shorten(unknown))
        };
        return Malformed::UnknownField {
            field,
            nearest: nearest(unknown, &known).map(str::to_owned),
            known: known.join(", "),
        };
    }
    if let Some(twice) = error.strip_prefix("duplicate field `").and_then(|e| e.strip_suffix('`')) {
        let field = if whole { twice.to_owned() } else { shorten(path) };
        return Malformed::Value { field, error: "it is given twice: give it once".to_owned() };
    }
    if let Some(missing) = error.strip_prefix("missing field `").and_then(|e| e.strip_suffix('`')) {
        let field = if whole { missing.to_owned() } else { format!("{}.{missing}", shorten(path)) };
        return Malformed::Missing { field };
    }
    let field = if whole { "the body".to_owned() } else { shorten(path) };
    Malformed::Value { field, error: plain(error) }
}

/// The known name that a wrong one was most likely meant to be.
pub fn nearest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    let wrong = shorten(wrong).to_lowercase();
    let half = |name: &&&str| wrong.len() >= 3 && name.starts_with(&wrong);
    if let Some(whole) = known.iter().find(half) {
        return Some(whole);
    }
    // Two slips of the finger, or a third of a longer word.
    let slips = (wrong.chars().count() / 3).max(2);
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong, &name.to_lowercase()), *name))
        .filter(|(distance, name)| *distance <= slips && *distance < name.len())
        .min()
        .map(|(_, name)| name)
}

/// Serde's words in ours: no Rust types, no grammar of parsers.
fn plain(error: &str) -> String {
    let error = error
        .replace("expected i64", "expected an integer")
        .replace("expected u64", "expected an integer of at least 0")
        .replace("expected u32", "expected an integer of at least 0")
        .replace("expected a boolean", "expected true or false")
        .replace("a map", "an object")
        .replace("map, expected", "object, expected")
        .replace("sequence, expected", "list, expected")
        .replace("expected a sequence", "expected a list");
    match error.find("expected struct ") {
        Some(at) => format!("{}expected an object", &error[..at]),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Batch, RunRequest};

    fn error(body: &str) -> String {
        parse::<RunRequest>(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (body, words) in [
            ("", "the body is empty: send a JSON object"),
            ("  \n", "the body is empty: send a JSON object"),
            ("{", "the body is not JSON: EOF while parsing an object at line 1 column 1"),
            ("[]", "the body: it is a list: send an object"),
            ("42", "the body: it is a number: send an object"),
            ("nope", "the body is not JSON: expected ident at line 1 column 2"),
            (r#"{"resources": [1, 2]}"#, "resources: invalid type: list, expected an object"),
            (
                r#"{"resources": "small"}"#,
                "resources: invalid type: string \"small\", expected an object",
            ),
            (r#"{"template": 1}"#, "template: invalid type: integer `1`, expected a string"),
            (
                r#"{"resources": {"ttl": 30}}"#,
                "resources.ttl: invalid type: integer `30`, expected a duration such as \"30s\"",
            ),
            (r#"{"command": "ls"}"#, "command: invalid type: string \"ls\", expected a list"),
            (
                r#"{"command": ["ls", 1]}"#,
                "command[1]: invalid type: integer `1`, expected a string",
            ),
            (
                r#"{"priority": 1.5}"#,
                "priority: invalid type: floating point `1.5`, expected an integer",
            ),
            (
                r#"{"priority": 99999999999999999999}"#,
                "priority: invalid type: floating point `1e+20`, expected an integer",
            ),
            (
                r#"{"metadata": {"quarantine": true}}"#,
                "metadata.quarantine: invalid type: boolean `true`, expected a string",
            ),
            (r#"{"template": "a", "template": "b"}"#, "template: it is given twice: give it once"),
        ] {
            assert_eq!(error(body), words, "{body}");
        }
    }

    #[test]
    fn an_unknown_field_comes_with_the_nearest_known_one() {
        assert_eq!(
            error(r#"{"resources": {"memory_mb": 64}}"#),
            "unknown field \"resources.memory_mb\": did you mean \"mem_mb\"? \
             Known here: cpu_milli, mem_mb, gpu, ttl"
        );
        let far = error(r#"{"image": "python"}"#);
        assert!(far.starts_with("unknown field \"image\": known here: template, command"), "{far}");
        let body = br#"{"runs": [{"template": "host"}, {"tempalte": "host"}]}"#;
        let nested = parse::<Batch>(body).unwrap_err().to_string();
        assert!(
            nested.starts_with("unknown field \"runs[1].tempalte\": did you mean \"template\"?"),
            "{nested}"
        );
    }

    #[test]
    fn a_hostile_name_does_not_flood_the_answer() {
        let body = format!(r#"{{"{}": 1}}"#, "x".repeat(100_000));
        assert!(error(&body).len() < 400);
    }
}
