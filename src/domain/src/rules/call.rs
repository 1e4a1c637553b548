//! The functions a rule may call: a closed set, each with a known cost.

use super::Wrong;
use super::calendar::{self, Part};
use super::check::{Scope, Type, Typed};
use super::eval::{Find, Node};
use super::parse::{Kind, Tree};

const MACROS: [&str; 6] = ["all", "exists", "exists_one", "filter", "map", "has"];
const ON_TEXT: [(&str, Find); 3] =
    [("startsWith", Find::Start), ("endsWith", Find::End), ("contains", Find::Anywhere)];

/// What CEL has and this language leaves out, and what to write instead.
const LEFT_OUT: [(&str, &str); 7] = [
    (
        "matches",
        "regular expressions are left out, since nothing bounds their cost: use startsWith, endsWith, contains, or `in` with a list",
    ),
    ("double", "numbers are whole here: compare them as they are"),
    ("uint", "every number has a sign here: remove uint()"),
    ("bytes", "there are no bytes here: compare the text"),
    ("string", "there are no conversions to text here: compare with a number"),
    ("duration", "durations are whole numbers of milliseconds here: an hour is 3600000"),
    ("dyn", "every value has its kind here: remove dyn()"),
];

/// Gives a call its meaning.
pub(super) fn check<'t>(
    scope: Scope<'t>,
    name: &str,
    on: Option<&'t Tree>,
    arguments: &'t [Tree],
    at: usize,
) -> Result<Typed, Wrong> {
    if let Some((_, instead)) = LEFT_OUT.iter().find(|(left_out, _)| *left_out == name) {
        return Err(Wrong::new(at, *instead));
    }
    match (name, on, arguments) {
        ("size", Some(of), []) | ("size", None, [of]) => size(scope, of),
        ("size", ..) => Err(Wrong::new(at, "size takes one thing: write size(request.command)")),
        ("timestamp", None, [of]) => match &of.kind {
            Kind::Text(text) => match calendar::parse(text) {
                Some(ms) => Ok((Type::Time, Node::Int(ms))),
                None => Err(Wrong::new(
                    of.at,
                    "this is no time: write one such as \"2030-01-31T00:00:00Z\"",
                )),
            },
            _ => Err(Wrong::new(
                of.at,
                "timestamp takes a time in quotes, such as timestamp(\"2030-01-31T00:00:00Z\")",
            )),
        },
        ("int", None, [of]) => match scope.typed(of)? {
            (Type::Time, node) => Ok((Type::Int, Node::Seconds(Box::new(node)))),
            (Type::Int, node) => Ok((Type::Int, node)),
            (ty, _) => Err(Wrong::new(of.at, format!("int takes a time, and this is {ty}"))),
        },
        _ if MACROS.contains(&name) => Err(Wrong::new(at, usage(name))),
        (_, Some(of), arguments) => method(scope, name, of, arguments, at),
        (_, None, _) => {
            let method =
                ON_TEXT.iter().map(|(name, _)| *name).chain(Part::ALL.map(|(name, _)| name));
            if let Some(method) = method.into_iter().find(|method| *method == name) {
                let of = if method.starts_with("get") { "now" } else { "text" };
                return Err(Wrong::new(at, format!("write it behind a dot: {of}.{method}(…)")));
            }
            let known = ["size", "has", "int", "timestamp"];
            let near = did_you_mean(name, "", known.into_iter());
            Err(Wrong::new(
                at,
                format!("there is no function `{name}`{near} There are {}", known.join(", ")),
            ))
        }
    }
}

fn size<'t>(scope: Scope<'t>, of: &'t Tree) -> Result<Typed, Wrong> {
    match scope.typed(of)? {
        (Type::Text | Type::List(_), node) => Ok((Type::Int, Node::Size(Box::new(node)))),
        (Type::Map(map), _) => Ok((Type::Int, Node::Count(map))),
        (ty @ (Type::Bool | Type::Int | Type::Time | Type::Group(_)), _) => {
            Err(Wrong::new(of.at, format!("size takes a text, a list or a map, and this is {ty}")))
        }
    }
}

fn method<'t>(
    scope: Scope<'t>,
    name: &str,
    of: &'t Tree,
    arguments: &'t [Tree],
    at: usize,
) -> Result<Typed, Wrong> {
    let (ty, node) = scope.typed(of)?;
    if let Some((_, find)) = ON_TEXT.iter().find(|(known, _)| *known == name) {
        let [part] = arguments else {
            return Err(Wrong::new(at, format!("{name} takes one text: write text.{name}(\"…\")")));
        };
        if let (Type::List(_), Find::Anywhere) = (ty, find) {
            return Err(Wrong::new(
                at,
                "contains looks into a text: for a list write element in list",
            ));
        }
        if !matches!(ty, Type::Text) {
            return Err(Wrong::new(at, format!("{name} is for texts, and this is {ty}")));
        }
        let part = scope.must(part, Type::Text, name)?;
        return Ok((Type::Bool, Node::Find(*find, Box::new([node, part]))));
    }
    if let Some((_, part)) = Part::ALL.iter().find(|(known, _)| *known == name) {
        if !matches!(ty, Type::Time) {
            return Err(Wrong::new(
                at,
                format!("{name} is for times, and this is {ty}: write now.{name}()"),
            ));
        }
        if !arguments.is_empty() {
            return Err(Wrong::new(
                at,
                format!("times are in UTC: write {name}() without a time zone"),
            ));
        }
        return Ok((Type::Int, Node::Part(*part, Box::new(node))));
    }
    let texts = ["size", "startsWith", "endsWith", "contains"];
    let known: Vec<&str> = match ty {
        Type::Text => texts.to_vec(),
        Type::Time => Part::ALL.iter().map(|(name, _)| *name).collect(),
        Type::List(_) | Type::Map(_) => [&["size"], &MACROS[..5]].concat(),
        Type::Bool | Type::Int | Type::Group(_) => {
            return Err(Wrong::new(at, format!("{ty} has no methods: there is no `{name}`")));
        }
    };
    let near = did_you_mean(name, "", known.iter().copied());
    Err(Wrong::new(at, format!("{ty} has no method `{name}`{near} It has {}", known.join(", "))))
}

pub(super) fn usage(name: &str) -> String {
    match name {
        "has" => "has takes one field: write has(request.metadata.origin)".to_owned(),
        "map" => "map goes through a list: write list.map(x, value of x)".to_owned(),
        _ => format!(
            "{name} goes through a list or the keys of a map: write list.{name}(x, condition on x)"
        ),
    }
}

/// `; did you mean x?` when one of `known` begins so or is near enough to be meant, else a full stop.
pub(super) fn did_you_mean<'k>(
    name: &str,
    path: &str,
    known: impl Iterator<Item = &'k str>,
) -> String {
    let distance = |known: &str| {
        let begins = name.len() > 1 && known.starts_with(name);
        if begins { 0 } else { strsim::osa_distance(name, known) }
    };
    let near = known.map(|known| (distance(known), known)).min();
    match near {
        Some((distance, known)) if distance <= known.len().div_ceil(3) => {
            let dot = if path.is_empty() { "" } else { "." };
            format!("; did you mean {path}{dot}{known}?")
        }
        Some(_) | None => ".".to_owned(),
    }
}
