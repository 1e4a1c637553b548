//! What a caller could ask for instead: the nearest miss of a simple rule.

use super::Program;
use super::eval::{Compare, Machine, Node};
use super::facts::{Facts, IntField};

/// For a rule that holds and compares a number of the request with something the request does not
/// change: a value with which it would not hold, such as `resources.mem_mb <= 1024`. Of several
/// comparisons joined by `&&` one is enough: the first that can be turned.
pub fn hint(program: &Program, facts: &Facts<'_>) -> Option<String> {
    let root = &program.inner.root;
    let holds = Machine::new(facts).holds(root) == Ok(true);
    if holds { turned(root) } else { None }
}

fn turned(node: &Node) -> Option<String> {
    match node {
        Node::And(of) => turned(&of[0]).or_else(|| turned(&of[1])),
        Node::Compare(compare, of) => match &**of {
            [Node::IntField(field), Node::Int(value)] => negated(*field, *compare, *value),
            [Node::Int(value), Node::IntField(field)] => {
                negated(*field, mirrored(*compare), *value)
            }
            _ => None,
        },
        _ => None,
    }
}

fn mirrored(compare: Compare) -> Compare {
    match compare {
        Compare::Less => Compare::Greater,
        Compare::LessOrEqual => Compare::GreaterOrEqual,
        Compare::Greater => Compare::Less,
        Compare::GreaterOrEqual => Compare::LessOrEqual,
        same @ (Compare::Equal | Compare::NotEqual) => same,
    }
}

fn negated(field: IntField, compare: Compare, value: i64) -> Option<String> {
    let name = field.in_request()?;
    let (sign, value) = match compare {
        Compare::Less => (">=", value),
        Compare::LessOrEqual => (">=", value.checked_add(1)?),
        Compare::Greater => ("<=", value),
        Compare::GreaterOrEqual => ("<=", value.checked_sub(1)?),
        Compare::Equal => ("!=", value),
        Compare::NotEqual => ("==", value),
    };
    // Nothing in a request is below zero.
    (value >= 0).then(|| format!("{name} {sign} {value}"))
}
