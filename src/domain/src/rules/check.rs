//! Names and types: what can be known to fail is refused here, and what is left is a [`Node`].
//!
//! Owns:   the type of everything a rule can say.
//! Says:   where it is wrong, and what to write instead.
//! Never:  evaluates.
//! Proof:  `refusals.rs`.

use std::fmt;

use super::call::{self, did_you_mean};
use super::eval::{Arithmetic, Compare, Fold, FoldKind, Node};
use super::facts::{Entry, Group, MapField, Optional, ROOT};
use super::parse::{Kind, Sign, Tree};
use super::{MAX_DEPTH, Wrong};

/// What a part of a rule is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Type {
    Bool,
    Int,
    Text,
    Time,
    /// Of what; nothing is known of an empty one.
    List(Option<Element>),
    Map(MapField),
    Group(&'static Group),
}

/// What a list holds: lists of lists are left out, so that the cost of an element is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Bool,
    Int,
    Text,
}

impl Element {
    fn ty(self) -> Type {
        match self {
            Self::Bool => Type::Bool,
            Self::Int => Type::Int,
            Self::Text => Type::Text,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("a condition"),
            Self::Int => f.write_str("a number"),
            Self::Text => f.write_str("a text"),
            Self::Time => f.write_str("a time"),
            Self::List(None) => f.write_str("an empty list"),
            Self::List(Some(Element::Bool)) => f.write_str("a list of conditions"),
            Self::List(Some(Element::Int)) => f.write_str("a list of numbers"),
            Self::List(Some(Element::Text)) => f.write_str("a list of texts"),
            Self::Map(_) => f.write_str("a map"),
            Self::Group(group) => write!(f, "a group of fields ({})", names(group)),
        }
    }
}

/// The type that both have, when they have one.
fn common(left: Type, right: Type) -> Option<Type> {
    match (left, right) {
        (Type::Bool, Type::Bool)
        | (Type::Int, Type::Int)
        | (Type::Text, Type::Text)
        | (Type::Time, Type::Time) => Some(left),
        (Type::List(None), Type::List(_)) => Some(right),
        (Type::List(_), Type::List(None)) => Some(left),
        (Type::List(a), Type::List(b)) if a == b => Some(left),
        _ => None,
    }
}

pub(super) type Typed = (Type, Node);

/// The loop a part of a rule stands in.
#[derive(Clone, Copy)]
pub(super) struct Scope<'t> {
    item: Option<(&'t str, Element)>,
    depth: usize,
}

/// Gives a rule its meaning.
pub(super) fn check(tree: &Tree) -> Result<Node, Wrong> {
    let (ty, node) = Scope { item: None, depth: 0 }.typed(tree)?;
    match ty {
        Type::Bool => Ok(node),
        Type::Int | Type::Text | Type::Time | Type::List(_) | Type::Map(_) | Type::Group(_) => {
            Err(Wrong::new(
                tree.at,
                format!("a rule is a condition, and this is {ty}: compare it with something"),
            ))
        }
    }
}

impl<'t> Scope<'t> {
    pub fn typed(self, tree: &'t Tree) -> Result<Typed, Wrong> {
        if self.depth == MAX_DEPTH {
            return Err(Wrong::new(
                tree.at,
                format!(
                    "more than {MAX_DEPTH} operations inside one another: divide the rule into several"
                ),
            ));
        }
        self.deeper().kind(tree)
    }

    fn deeper(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    fn kind(self, tree: &'t Tree) -> Result<Typed, Wrong> {
        match &tree.kind {
            Kind::Bool(value) => Ok((Type::Bool, Node::Bool(*value))),
            Kind::Int(value) => Ok((Type::Int, Node::Int(*value))),
            Kind::Text(value) => Ok((Type::Text, Node::Text(value.as_str().into()))),
            Kind::Name(name) => self.name(name, tree.at),
            Kind::Select { of, field } => self.select(of, field, tree.at),
            Kind::Has { of, field } => self.has(of, field, tree.at),
            Kind::List(elements) => self.list(elements),
            Kind::Operator { sign, of } => self.operator(*sign, of, tree.at),
            Kind::Call { name, on, arguments } => {
                call::check(self, name, on.as_deref(), arguments, tree.at)
            }
            Kind::Fold { name, over, item, only, body } => {
                self.fold(name, over, item, only.as_deref(), body, tree.at)
            }
        }
    }

    /// A part that must have one type.
    pub fn must(self, tree: &'t Tree, wanted: Type, what: &str) -> Result<Node, Wrong> {
        let (ty, node) = self.typed(tree)?;
        match common(ty, wanted) {
            Some(_) => Ok(node),
            None => Err(Wrong::new(tree.at, format!("{what} takes {wanted}, and this is {ty}"))),
        }
    }

    fn name(self, name: &str, at: usize) -> Result<Typed, Wrong> {
        if let Some((item, element)) = self.item
            && item == name
        {
            return Ok((element.ty(), Node::Item));
        }
        match ROOT.get(name) {
            Some(entry) => Ok(entry_typed(entry)),
            None => Err(Wrong::new(at, unknown(&ROOT, name))),
        }
    }

    fn select(self, of: &'t Tree, field: &str, at: usize) -> Result<Typed, Wrong> {
        match self.typed(of)?.0 {
            Type::Group(group) => match group.get(field) {
                Some(entry) => Ok(entry_typed(entry)),
                None => Err(Wrong::new(at, unknown(group, field))),
            },
            Type::Map(map) => Ok((Type::Text, Node::Get(map, field.into()))),
            ty @ (Type::Bool | Type::Int | Type::Text | Type::Time | Type::List(_)) => {
                Err(Wrong::new(at, format!("{ty} has no fields: remove `.{field}`")))
            }
        }
    }

    fn has(self, of: &'t Tree, field: &str, at: usize) -> Result<Typed, Wrong> {
        let group = match self.typed(of)?.0 {
            Type::Map(map) => {
                let key = Box::new(Node::Text(field.into()));
                return Ok((Type::Bool, Node::HasKey(map, key)));
            }
            Type::Group(group) => group,
            ty @ (Type::Bool | Type::Int | Type::Text | Type::Time | Type::List(_)) => {
                return Err(Wrong::new(
                    at,
                    format!(
                        "{ty} has no fields: has() takes a key of a map, such as has(request.metadata.origin)"
                    ),
                ));
            }
        };
        let optional = match (group.path, field) {
            ("request", "heat") => Optional::Heat,
            ("policy.limits", "cpu_milli") => Optional::LimitCpuMilli,
            ("policy.limits", "mem_mb") => Optional::LimitMemMb,
            ("policy.limits", "ttl") => Optional::LimitTtlMs,
            _ if group.get(field).is_some() => {
                return Err(Wrong::new(
                    at,
                    format!("{}.{field} is always there: compare it with something", group.path),
                ));
            }
            _ => return Err(Wrong::new(at, unknown(group, field))),
        };
        Ok((Type::Bool, Node::Has(optional)))
    }

    fn list(self, elements: &'t [Tree]) -> Result<Typed, Wrong> {
        let (mut of, mut nodes) = (None::<Element>, Vec::with_capacity(elements.len()));
        for tree in elements {
            let (ty, node) = self.typed(tree)?;
            let element = element(ty, tree.at)?;
            if let Some(of) = of
                && of != element
            {
                let of = of.ty();
                return Err(Wrong::new(
                    tree.at,
                    format!("a list holds one kind: this is {ty}, and the first element is {of}"),
                ));
            }
            of = Some(element);
            nodes.push(node);
        }
        Ok((Type::List(of), Node::List(nodes.into())))
    }

    fn operator(self, sign: Sign, of: &'t [Tree], at: usize) -> Result<Typed, Wrong> {
        let written = format!("`{}`", sign.written());
        match (sign, of) {
            (Sign::Not, [of]) => {
                Ok((Type::Bool, Node::Not(Box::new(self.must(of, Type::Bool, &written)?))))
            }
            (Sign::Negate, [of]) => {
                Ok((Type::Int, Node::Negate(Box::new(self.must(of, Type::Int, &written)?))))
            }
            (Sign::And | Sign::Or, [left, right]) => {
                let left = self.must(left, Type::Bool, &written)?;
                let of = Box::new([left, self.must(right, Type::Bool, &written)?]);
                Ok((Type::Bool, if sign == Sign::And { Node::And(of) } else { Node::Or(of) }))
            }
            (Sign::If, [condition, this, that]) => {
                let condition = self.must(condition, Type::Bool, "`?`")?;
                let ((this_ty, this), (that_ty, that_node)) =
                    (self.typed(this)?, self.typed(that)?);
                let ty = common(this_ty, that_ty).ok_or_else(|| {
                    Wrong::new(that.at, format!("both sides of `:` must be of one kind: this is {that_ty}, the other {this_ty}"))
                })?;
                Ok((ty, Node::If(Box::new([condition, this, that_node]))))
            }
            (
                Sign::Equal
                | Sign::NotEqual
                | Sign::Less
                | Sign::LessOrEqual
                | Sign::Greater
                | Sign::GreaterOrEqual,
                [left, right],
            ) => self.compare(sign, left, right, at),
            (
                Sign::Add | Sign::Subtract | Sign::Multiply | Sign::Divide | Sign::Modulo,
                [left, right],
            ) => self.arithmetic(sign, left, right, at),
            (Sign::In, [wanted, within]) => self.within(wanted, within, at),
            (Sign::Index, [of, index]) => self.index(of, index, at),
            // `parse.rs` counts the operands.
            _ => Err(Wrong::new(at, format!("{written} has not this many operands"))),
        }
    }

    fn compare(
        self,
        sign: Sign,
        left: &'t Tree,
        right: &'t Tree,
        at: usize,
    ) -> Result<Typed, Wrong> {
        let ((left_ty, left_node), (right_ty, right_node)) =
            (self.typed(left)?, self.typed(right)?);
        let (compare, ordering) = match sign {
            Sign::NotEqual => (Compare::NotEqual, false),
            Sign::Less => (Compare::Less, true),
            Sign::LessOrEqual => (Compare::LessOrEqual, true),
            Sign::Greater => (Compare::Greater, true),
            Sign::GreaterOrEqual => (Compare::GreaterOrEqual, true),
            _ => (Compare::Equal, false),
        };
        let written = sign.written();
        let Some(ty) = common(left_ty, right_ty) else {
            let help = match (left_ty, right_ty) {
                (Type::Map(_) | Type::Group(_), _) | (_, Type::Map(_) | Type::Group(_)) => {
                    "compare one of its fields".to_owned()
                }
                (Type::Time, _) | (_, Type::Time) => {
                    "write timestamp(\"2030-01-31T00:00:00Z\"), or ask for a part, such as now.getHours()".to_owned()
                }
                _ => numeral(left, right_ty, ordering)
                    .or_else(|| numeral(right, left_ty, ordering))
                    .unwrap_or_else(|| "both sides must be of one kind".to_owned()),
            };
            return Err(Wrong::new(
                at,
                format!("`{written}` can't compare {left_ty} with {right_ty}: {help}"),
            ));
        };
        if ordering && !matches!(ty, Type::Int | Type::Text | Type::Time) {
            return Err(Wrong::new(
                at,
                format!(
                    "`{written}` needs an order, and {ty} has none: use `==`, `!=`, `&&` or `||`"
                ),
            ));
        }
        Ok((Type::Bool, Node::Compare(compare, Box::new([left_node, right_node]))))
    }

    fn arithmetic(
        self,
        sign: Sign,
        left: &'t Tree,
        right: &'t Tree,
        at: usize,
    ) -> Result<Typed, Wrong> {
        let ((left_ty, left_node), (right_ty, right_node)) =
            (self.typed(left)?, self.typed(right)?);
        let operator = match sign {
            Sign::Subtract => Arithmetic::Subtract,
            Sign::Multiply => Arithmetic::Multiply,
            Sign::Divide => Arithmetic::Divide,
            Sign::Modulo => Arithmetic::Modulo,
            _ => Arithmetic::Add,
        };
        let both = Box::new([left_node, right_node]);
        match common(left_ty, right_ty) {
            Some(Type::Int) => {
                let divides = matches!(operator, Arithmetic::Divide | Arithmetic::Modulo);
                if divides && matches!(both[1], Node::Int(0)) {
                    return Err(Wrong::new(right.at, "division by zero"));
                }
                Ok((Type::Int, Node::Arithmetic(operator, both)))
            }
            Some(ty @ (Type::Text | Type::List(_))) if operator == Arithmetic::Add => {
                Ok((ty, Node::Join(both)))
            }
            _ => {
                let what = if sign == Sign::Add {
                    "two numbers, two texts or two lists"
                } else {
                    "two numbers"
                };
                Err(Wrong::new(
                    at,
                    format!(
                        "`{}` takes {what}, and this is {left_ty} and {right_ty}",
                        sign.written()
                    ),
                ))
            }
        }
    }

    fn within(self, wanted: &'t Tree, within: &'t Tree, at: usize) -> Result<Typed, Wrong> {
        let ((ty, node), (within_ty, within_node)) = (self.typed(wanted)?, self.typed(within)?);
        match within_ty {
            Type::Map(map) if matches!(ty, Type::Text) => {
                Ok((Type::Bool, Node::HasKey(map, Box::new(node))))
            }
            Type::Map(_) => {
                Err(Wrong::new(wanted.at, format!("the keys of a map are texts, and this is {ty}")))
            }
            Type::List(of) => {
                let kind = element(ty, wanted.at)?;
                if let Some(of) = of
                    && of != kind
                {
                    return Err(Wrong::new(at, format!("{ty} is never in {within_ty}")));
                }
                Ok((Type::Bool, Node::InList(Box::new([node, within_node]))))
            }
            Type::Text => Err(Wrong::new(
                at,
                "`in` looks into a list or a map: for a text write text.contains(part)",
            )),
            Type::Bool | Type::Int | Type::Time | Type::Group(_) => Err(Wrong::new(
                within.at,
                format!("`in` looks into a list or a map, and this is {within_ty}"),
            )),
        }
    }

    fn index(self, of: &'t Tree, index: &'t Tree, at: usize) -> Result<Typed, Wrong> {
        let (ty, node) = self.typed(of)?;
        match ty {
            Type::Map(map) => {
                let key = self.must(index, Type::Text, "the key of a map")?;
                Ok((
                    Type::Text,
                    match key {
                        Node::Text(key) => Node::Get(map, key),
                        key => Node::Lookup(map, Box::new(key)),
                    },
                ))
            }
            Type::List(of) => {
                let index_node = self.must(index, Type::Int, "the index of a list")?;
                let length =
                    if let Node::List(elements) = &node { elements.len() } else { usize::MAX };
                if let Node::Int(value) = index_node
                    && usize::try_from(value).map_or(true, |value| value >= length)
                {
                    return Err(Wrong::new(
                        index.at,
                        "the list has no such element: the first is 0",
                    ));
                }
                let Some(element) = of else {
                    return Err(Wrong::new(at, "an empty list has no elements"));
                };
                Ok((element.ty(), Node::At(Box::new([node, index_node]))))
            }
            Type::Group(group) => {
                let field = match &index.kind {
                    Kind::Text(text) if group.get(text).is_some() => text,
                    _ => group.fields[0].0,
                };
                let path = group.path;
                Err(Wrong::new(at, format!("{path} has fields, not keys: write {path}.{field}")))
            }
            Type::Bool | Type::Int | Type::Text | Type::Time => Err(Wrong::new(
                at,
                format!("`[…]` takes an element out of a list or a map, and this is {ty}"),
            )),
        }
    }

    fn fold(
        self,
        name: &str,
        over: &'t Tree,
        item: &'t str,
        only: Option<&'t Tree>,
        body: &'t Tree,
        at: usize,
    ) -> Result<Typed, Wrong> {
        if self.item.is_some() {
            return Err(Wrong::new(
                at,
                format!("{name} can't stand inside another one: divide the rule into several"),
            ));
        }
        if ROOT.get(item).is_some() {
            return Err(Wrong::new(
                at,
                format!("`{item}` is taken: give the element of {name} another name, such as x"),
            ));
        }
        let (over_ty, over_node) = self.typed(over)?;
        let (element_of, over) = match over_ty {
            // Nothing is in an empty list, so anything may be said of it.
            Type::List(of) => (of.unwrap_or(Element::Text), over_node),
            Type::Map(map) => (Element::Text, Node::Keys(map)),
            Type::Bool | Type::Int | Type::Text | Type::Time | Type::Group(_) => {
                return Err(Wrong::new(
                    over.at,
                    format!(
                        "{name} goes through a list or the keys of a map, and this is {over_ty}"
                    ),
                ));
            }
        };
        let inner = Scope { item: Some((item, element_of)), depth: self.depth };
        let (ty, kind, body) = match name {
            "all" => (Type::Bool, FoldKind::All, inner.must(body, Type::Bool, name)?),
            "exists" => (Type::Bool, FoldKind::Exists, inner.must(body, Type::Bool, name)?),
            "exists_one" => (Type::Bool, FoldKind::ExistsOne, inner.must(body, Type::Bool, name)?),
            _ => {
                let only = only.map(|only| inner.must(only, Type::Bool, name)).transpose()?;
                let (ty, node) = inner.typed(body)?;
                (Type::List(Some(element(ty, body.at)?)), FoldKind::Map { only }, node)
            }
        };
        Ok((ty, Node::Fold(Box::new(Fold { kind, over, body }))))
    }
}

fn entry_typed(entry: Entry) -> Typed {
    match entry {
        Entry::Int(field) => (Type::Int, Node::IntField(field)),
        Entry::Text(field) => (Type::Text, Node::TextField(field)),
        Entry::Command => (Type::List(Some(Element::Text)), Node::Command),
        Entry::KeepOutput => (Type::Bool, Node::KeepOutput),
        Entry::Now => (Type::Time, Node::Now),
        Entry::Map(map) => (Type::Map(map), Node::Keys(map)),
        // Has no value of its own: whoever takes a group takes a name out of it.
        Entry::Group(group) => (Type::Group(group), Node::Bool(false)),
    }
}

fn element(ty: Type, at: usize) -> Result<Element, Wrong> {
    match ty {
        Type::Bool => Ok(Element::Bool),
        Type::Int => Ok(Element::Int),
        Type::Text => Ok(Element::Text),
        Type::Time | Type::List(_) | Type::Map(_) | Type::Group(_) => Err(Wrong::new(
            at,
            format!("a list holds numbers, texts or conditions, and this is {ty}"),
        )),
    }
}

/// What to do about a number in quotes, or one that should be.
fn numeral(literal: &Tree, other: Type, ordering: bool) -> Option<String> {
    match (&literal.kind, other) {
        (Kind::Text(text), Type::Int) if text.parse::<i64>().is_ok() => {
            Some(format!("write {text} without quotes"))
        }
        (Kind::Int(_), Type::Text) if ordering => {
            Some("a text is not read as a number here".to_owned())
        }
        (Kind::Int(number), Type::Text) => Some(format!("write \"{number}\" to compare texts")),
        _ => None,
    }
}

fn names(group: &Group) -> String {
    let names: Vec<&str> = group.fields.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

fn unknown(group: &'static Group, name: &str) -> String {
    let near = did_you_mean(name, group.path, group.fields.iter().map(|(name, _)| *name));
    if group.path.is_empty() {
        return format!(
            "`{name}` does not exist{near} There are {} (a text needs quotes)",
            names(group)
        );
    }
    format!("{}.{name} does not exist{near} {} has {}", group.path, group.path, names(group))
}
