//! What a program that wrote an export knew of events, and what it could therefore say of them.
//!
//! A later version of an event says more, and a record of an older one is lifted to it: so a later program
//! shows more of the same record. An export says which versions its writer knew; what came later is left
//! out when its lines are made again, which come out the same, to the byte.

use std::collections::BTreeMap;

use journal::catalog::{ADDED, EventType, TYPES};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The newest version of each type, by its name; a type that is not there has one.
pub type Versions = BTreeMap<String, u16>;

/// What this program knows.
pub fn known() -> Versions {
    let newer = TYPES.iter().filter(|of| of.version > 1);
    newer.map(|of| (of.name.to_owned(), of.version)).collect()
}

/// What those knew whose exports do not say it.
pub(crate) fn unsaid() -> Versions {
    let newer = ["run.admitted", "run.rejected", "run.lost", "policy.put"];
    newer.map(|name| (name.to_owned(), 2)).into()
}

/// What has to be left out of events, by the number of their type.
#[derive(Debug, Default)]
pub(crate) struct LeftOut(Vec<(u16, &'static [&'static str])>);

impl LeftOut {
    /// What came after these versions.
    pub(crate) fn after(versions: &Versions) -> Self {
        let knew = |kind| {
            let of = TYPES.iter().find(|of: &&EventType| of.kind == kind);
            of.map_or(u16::MAX, |of| versions.get(of.name).copied().unwrap_or(1))
        };
        let later = ADDED.iter().filter(|(kind, version, _)| *version > knew(*kind));
        Self(later.map(|(kind, _, path)| (*kind, *path)).collect())
    }

    pub(crate) fn concerns(&self, kind: u16) -> bool {
        self.0.iter().any(|(of, _)| *of == kind)
    }

    /// The line of an event without it.
    pub(crate) fn of(&self, kind: u16, line: &[u8]) -> serde_json::Result<Vec<u8>> {
        let mut event: Json = serde_json::from_slice(line)?;
        if let Some(data) = event.member("data") {
            for (_, path) in self.0.iter().filter(|(of, _)| *of == kind) {
                data.remove(path);
            }
        }
        serde_json::to_vec(&event)
    }
}

/// JSON whose members stay in their order.
enum Json {
    Object(Vec<(String, Json)>),
    List(Vec<Json>),
    Plain(serde_json::Value),
}

impl Json {
    fn member(&mut self, name: &str) -> Option<&mut Self> {
        match self {
            Self::Object(members) => {
                members.iter_mut().find(|(key, _)| key == name).map(|(_, value)| value)
            }
            Self::List(_) | Self::Plain(_) => None,
        }
    }

    fn remove(&mut self, path: &[&str]) {
        match (path, self) {
            ([last], Self::Object(members)) => members.retain(|(key, _)| key != last),
            ([next, rest @ ..], of) => {
                if let Some(member) = of.member(next) {
                    member.remove(rest);
                }
            }
            ([], _) => {}
        }
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Object(members) => {
                let mut map = to.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
            Self::List(items) => {
                let mut list = to.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Self::Plain(value) => value.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Json;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Plain(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Plain(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Plain(serde_json::Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = from.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_later_is_left_out_and_all_else_stays_as_it_is() {
        let line =
            br#"{"z":1,"data":{"b":-1,"key":null,"a":["x",true,{"key":2}],"reads_level":1}}"#;
        let left_out = LeftOut::after(&Versions::new());
        assert!(left_out.concerns(1) && !left_out.concerns(5));
        let then = left_out.of(1, line).expect("JSON");
        assert_eq!(then, br#"{"z":1,"data":{"b":-1,"a":["x",true,{"key":2}]}}"#);
        assert_eq!(left_out.of(5, line).expect("JSON"), line, "nothing was ever added to it");
        assert!(TYPES.iter().all(|of| !LeftOut::after(&known()).concerns(of.kind)));
    }
}
