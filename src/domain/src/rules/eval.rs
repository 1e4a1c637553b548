//! What a rule means: one walk over its nodes, with a limit on the steps.
//!
//! Never:  panics, recurses deeper than a rule has nodes, or takes more than
//!         [`MAX_STEPS`](super::MAX_STEPS); iterates in an order that is not written down.
//! Fails:  as [`RuleFault`] says. `&&`, `||`, `all` and `exists` follow CEL: an operand that decides
//!         the answer alone hides the fault of another; cost is never hidden.
//! Proof:  `tests.rs`, `hostile.rs`.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::calendar::Part;
use super::facts::{Facts, IntField, MapField, Optional, TextField};
use super::{MAX_STEPS, RuleFault};

/// A checked rule, and each part of one. `check.rs` makes it, and gives every node its type.
#[derive(Debug)]
pub(super) enum Node {
    Bool(bool),
    Int(i64),
    Text(Box<str>),
    IntField(IntField),
    TextField(TextField),
    KeepOutput,
    Command,
    Now,
    /// The element a fold is at.
    Item,
    Get(MapField, Box<str>),
    Lookup(MapField, Box<Node>),
    HasKey(MapField, Box<Node>),
    Has(Optional),
    Keys(MapField),
    Count(MapField),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    If(Box<[Node; 3]>),
    Arithmetic(Arithmetic, Box<[Node; 2]>),
    Join(Box<[Node; 2]>),
    Compare(Compare, Box<[Node; 2]>),
    InList(Box<[Node; 2]>),
    At(Box<[Node; 2]>),
    List(Box<[Node]>),
    Size(Box<Node>),
    Find(Find, Box<[Node; 2]>),
    Part(Part, Box<Node>),
    /// Whole seconds of a moment, as CEL's `int(timestamp)`.
    Seconds(Box<Node>),
    Fold(Box<Fold>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Compare {
    pub fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Find {
    Start,
    End,
    Anywhere,
}

#[derive(Debug)]
pub(super) struct Fold {
    pub kind: FoldKind,
    pub over: Node,
    pub body: Node,
}

#[derive(Debug)]
pub(super) enum FoldKind {
    All,
    Exists,
    ExistsOne,
    /// Elements for which the condition holds (all of them without one), each through the body.
    Map {
        only: Option<Node>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Bool(bool),
    Int(i64),
    Text(Cow<'a, str>),
    List(List<'a>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum List<'a> {
    /// As the request holds it.
    Texts(&'a [Box<str>]),
    Values(Vec<Value<'a>>),
}

impl<'a> List<'a> {
    fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Values(values) => values.len(),
        }
    }

    fn get(&self, at: usize) -> Option<Value<'a>> {
        match self {
            Self::Texts(texts) => texts.get(at).map(|text| Value::Text(Cow::Borrowed(text))),
            Self::Values(values) => values.get(at).cloned(),
        }
    }
}

/// One evaluation.
pub(super) struct Machine<'a> {
    facts: Facts<'a>,
    steps_left: u32,
    item: Option<Value<'a>>,
}

impl<'a> Machine<'a> {
    pub fn new(facts: &Facts<'a>) -> Self {
        Self { facts: *facts, steps_left: MAX_STEPS, item: None }
    }

    /// The answer of a node that is a condition.
    pub fn holds(&mut self, node: &'a Node) -> Result<bool, RuleFault> {
        match self.value(node)? {
            Value::Bool(value) => Ok(value),
            Value::Int(_) | Value::Text(_) | Value::List(_) => mistyped(),
        }
    }

    fn int(&mut self, node: &'a Node) -> Result<i64, RuleFault> {
        match self.value(node)? {
            Value::Int(value) => Ok(value),
            Value::Bool(_) | Value::Text(_) | Value::List(_) => mistyped(),
        }
    }

    fn text(&mut self, node: &'a Node) -> Result<Cow<'a, str>, RuleFault> {
        match self.value(node)? {
            Value::Text(value) => Ok(value),
            Value::Bool(_) | Value::Int(_) | Value::List(_) => mistyped(),
        }
    }

    fn list(&mut self, node: &'a Node) -> Result<List<'a>, RuleFault> {
        match self.value(node)? {
            Value::List(value) => Ok(value),
            Value::Bool(_) | Value::Int(_) | Value::Text(_) => mistyped(),
        }
    }

    fn value(&mut self, node: &'a Node) -> Result<Value<'a>, RuleFault> {
        self.spend(1)?;
        Ok(match node {
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(value) => Value::Int(*value),
            Node::Text(value) => Value::Text(Cow::Borrowed(value)),
            Node::IntField(field) => Value::Int(self.facts.int(*field)),
            Node::TextField(field) => Value::Text(Cow::Borrowed(self.facts.text(*field))),
            Node::KeepOutput => Value::Bool(self.facts.request.retention.keep_output),
            Node::Command => Value::List(List::Texts(&self.facts.request.command)),
            Node::Now => Value::Int(i64::try_from(self.facts.now.0).unwrap_or(i64::MAX)),
            Node::Item => self.current()?,
            Node::Get(map, key) => self.get(*map, key),
            Node::Lookup(map, key) => {
                let key = self.key(key)?;
                self.get(*map, &key)
            }
            Node::HasKey(map, key) => {
                let key = self.key(key)?;
                Value::Bool(self.facts.map(*map).contains_key(&key))
            }
            Node::Has(optional) => Value::Bool(self.facts.has(*optional)),
            Node::Keys(map) => {
                let keys = self.facts.map(*map);
                self.spend(keys.len())?;
                let keys = keys.keys().map(|key| Value::Text(Cow::Borrowed(key)));
                Value::List(List::Values(keys.collect()))
            }
            Node::Count(map) => length(self.facts.map(*map).len()),
            Node::Not(of) => Value::Bool(!self.holds(of)?),
            Node::Negate(of) => Value::Int(self.int(of)?.checked_neg().ok_or(RuleFault::Overflow)?),
            Node::And(of) => Value::Bool(self.decided_by(false, of)?),
            Node::Or(of) => Value::Bool(self.decided_by(true, of)?),
            Node::If(of) => {
                let [condition, this, that] = &**of;
                return if self.holds(condition)? { self.value(this) } else { self.value(that) };
            }
            Node::Arithmetic(operator, of) => {
                let (left, right) = (self.int(&of[0])?, self.int(&of[1])?);
                Value::Int(arithmetic(*operator, left, right)?)
            }
            Node::Join(of) => self.join(of)?,
            Node::Compare(compare, of) => {
                let (left, right) = (self.value(&of[0])?, self.value(&of[1])?);
                Value::Bool(self.compare(*compare, &left, &right)?)
            }
            Node::InList(of) => {
                let (wanted, list) = (self.value(&of[0])?, self.list(&of[1])?);
                Value::Bool(self.contains(&list, &wanted)?)
            }
            Node::At(of) => {
                let (list, at) = (self.list(&of[0])?, self.int(&of[1])?);
                let at = usize::try_from(at).map_err(|_| RuleFault::OutOfRange)?;
                list.get(at).ok_or(RuleFault::OutOfRange)?
            }
            Node::List(of) => {
                let values: Result<Vec<_>, _> = of.iter().map(|node| self.value(node)).collect();
                Value::List(List::Values(values?))
            }
            Node::Size(of) => match self.value(of)? {
                // In characters: CEL, "size".
                Value::Text(text) => {
                    self.look_at(text.len())?;
                    length(text.chars().count())
                }
                Value::List(list) => length(list.len()),
                Value::Bool(_) | Value::Int(_) => return mistyped(),
            },
            Node::Find(find, of) => {
                let (text, part) = (self.text(&of[0])?, self.text(&of[1])?);
                Value::Bool(match find {
                    Find::Start => self.look_at(part.len()).map(|()| text.starts_with(&*part))?,
                    Find::End => self.look_at(part.len()).map(|()| text.ends_with(&*part))?,
                    Find::Anywhere => {
                        self.look_at(text.len() + part.len())?;
                        text.contains(&*part)
                    }
                })
            }
            Node::Part(part, of) => Value::Int(part.of(self.int(of)?)),
            Node::Seconds(of) => Value::Int(self.int(of)?.div_euclid(1_000)),
            Node::Fold(fold) => self.fold(fold)?,
        })
    }

    fn spend(&mut self, steps: usize) -> Result<(), RuleFault> {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        let left = self.steps_left.checked_sub(steps);
        // What did not suffice once must not suffice for something smaller behind an `||`.
        self.steps_left = left.unwrap_or(0);
        left.map(|_| ()).ok_or(RuleFault::TooCostly)
    }

    fn look_at(&mut self, bytes: usize) -> Result<(), RuleFault> {
        self.spend(bytes / 16)
    }

    fn current(&mut self) -> Result<Value<'a>, RuleFault> {
        let Some(item) = &self.item else { return mistyped() };
        let item = item.clone();
        if let Value::Text(Cow::Owned(text)) = &item {
            self.look_at(text.len())?;
        }
        Ok(item)
    }

    /// A key that is not written in the rule: a map compares it with some twenty of its own.
    fn key(&mut self, node: &'a Node) -> Result<Cow<'a, str>, RuleFault> {
        let key = self.text(node)?;
        self.spend(key.len() / 4)?;
        Ok(key)
    }

    fn get(&self, map: MapField, key: &str) -> Value<'a> {
        Value::Text(Cow::Borrowed(self.facts.map(map).get(key).map_or("", |value| value)))
    }

    /// `||` is decided by true, `&&` by false; what decides hides a fault on either side.
    fn decided_by(&mut self, decider: bool, of: &'a [Node; 2]) -> Result<bool, RuleFault> {
        match self.holds(&of[0]) {
            Ok(value) if value == decider => Ok(decider),
            Ok(_) => self.holds(&of[1]),
            Err(RuleFault::TooCostly) => Err(RuleFault::TooCostly),
            Err(fault) => match self.holds(&of[1]) {
                Ok(value) if value == decider => Ok(decider),
                Err(RuleFault::TooCostly) => Err(RuleFault::TooCostly),
                Ok(_) | Err(_) => Err(fault),
            },
        }
    }

    fn join(&mut self, of: &'a [Node; 2]) -> Result<Value<'a>, RuleFault> {
        match (self.value(&of[0])?, self.value(&of[1])?) {
            (Value::Text(left), Value::Text(right)) => {
                self.look_at(left.len() + right.len())?;
                Ok(Value::Text(left + right))
            }
            (Value::List(left), Value::List(right)) => {
                let all = self.values(left)?.into_iter().chain(self.values(right)?);
                Ok(Value::List(List::Values(all.collect())))
            }
            _ => mistyped(),
        }
    }

    fn values(&mut self, list: List<'a>) -> Result<Vec<Value<'a>>, RuleFault> {
        self.spend(list.len())?;
        Ok(match list {
            List::Texts(texts) => {
                texts.iter().map(|text| Value::Text(Cow::Borrowed(&**text))).collect()
            }
            List::Values(values) => values,
        })
    }

    fn compare(
        &mut self,
        compare: Compare,
        left: &Value<'a>,
        right: &Value<'a>,
    ) -> Result<bool, RuleFault> {
        let order = match (left, right) {
            (Value::Int(left), Value::Int(right)) => left.cmp(right),
            (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
            (Value::Text(left), Value::Text(right)) => {
                self.look_at(left.len().min(right.len()))?;
                left.cmp(right)
            }
            (Value::List(left), Value::List(right)) => {
                if self.equal_lists(left, right)? {
                    Ordering::Equal
                } else {
                    Ordering::Less
                }
            }
            _ => return mistyped(),
        };
        Ok(compare.holds(order))
    }

    fn equal_lists(&mut self, left: &List<'a>, right: &List<'a>) -> Result<bool, RuleFault> {
        if left.len() != right.len() {
            return Ok(false);
        }
        for at in 0..left.len() {
            self.spend(1)?;
            let (Some(left), Some(right)) = (left.get(at), right.get(at)) else {
                return mistyped();
            };
            if !self.compare(Compare::Equal, &left, &right)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn contains(&mut self, list: &List<'a>, wanted: &Value<'a>) -> Result<bool, RuleFault> {
        for at in 0..list.len() {
            self.spend(1)?;
            let Some(value) = list.get(at) else { return mistyped() };
            if self.compare(Compare::Equal, &value, wanted)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn fold(&mut self, fold: &'a Fold) -> Result<Value<'a>, RuleFault> {
        let list = self.list(&fold.over)?;
        let answer = self.fold_over(fold, &list);
        self.item = None;
        answer
    }

    fn fold_over(&mut self, fold: &'a Fold, list: &List<'a>) -> Result<Value<'a>, RuleFault> {
        let (mut fault, mut found, mut kept) = (None, 0, Vec::new());
        for at in 0..list.len() {
            self.spend(1)?;
            self.item = list.get(at);
            match &fold.kind {
                kind @ (FoldKind::All | FoldKind::Exists) => {
                    let decider = matches!(kind, FoldKind::Exists);
                    match self.holds(&fold.body) {
                        Ok(value) if value == decider => return Ok(Value::Bool(decider)),
                        Ok(_) => {}
                        Err(RuleFault::TooCostly) => return Err(RuleFault::TooCostly),
                        Err(other) => fault = fault.or(Some(other)),
                    }
                }
                FoldKind::ExistsOne => found += usize::from(self.holds(&fold.body)?),
                FoldKind::Map { only } => {
                    let wanted = match only {
                        Some(only) => self.holds(only)?,
                        None => true,
                    };
                    if wanted {
                        kept.push(self.value(&fold.body)?);
                    }
                }
            }
        }
        match (&fold.kind, fault) {
            (_, Some(fault)) => Err(fault),
            (FoldKind::All, None) => Ok(Value::Bool(true)),
            (FoldKind::Exists, None) => Ok(Value::Bool(false)),
            (FoldKind::ExistsOne, None) => Ok(Value::Bool(found == 1)),
            (FoldKind::Map { .. }, None) => Ok(Value::List(List::Values(kept))),
        }
    }
}

fn arithmetic(operator: Arithmetic, left: i64, right: i64) -> Result<i64, RuleFault> {
    if right == 0 && matches!(operator, Arithmetic::Divide | Arithmetic::Modulo) {
        return Err(RuleFault::DivisionByZero);
    }
    match operator {
        Arithmetic::Add => left.checked_add(right),
        Arithmetic::Subtract => left.checked_sub(right),
        Arithmetic::Multiply => left.checked_mul(right),
        Arithmetic::Divide => left.checked_div(right),
        Arithmetic::Modulo => left.checked_rem(right),
    }
    .ok_or(RuleFault::Overflow)
}

fn length(of: usize) -> Value<'static> {
    Value::Int(i64::try_from(of).unwrap_or(i64::MAX))
}

/// `check.rs` builds no node with an operand of another type. Were it wrong, the rule has no answer
/// and the judge fails closed; the tests stop here.
fn mistyped<T>() -> Result<T, RuleFault> {
    debug_assert!(false, "a node with an operand of another type");
    Err(RuleFault::OutOfRange)
}
