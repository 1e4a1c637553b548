//! From text to a tree, by the parser of the `cel` crate: the only file that knows that crate.
//!
//! Hears:  text that `scan.rs` let through: small, shallow, well-formed.
//! Says:   our own [`Tree`], in which macros are macros again and every node knows its place.
//! Never:  evaluates with that crate, or lets one of its types out.

use std::panic;
use std::thread;

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SourceInfo};
use cel::parser::{ParseErrors, Parser};

use super::{MAX_NESTING, Wrong, call};

/// The parser is generated, and takes some twenty frames for a level of nesting: the worst mix of
/// 24 levels needs 4 to 5 MiB where nothing is optimised, and less than 512 KiB where all is
/// (measured). Only what is used becomes memory, and the thread ends with the rule.
const STACK_BYTES: usize = 64 << 20;
const _: () = assert!(STACK_BYTES >= 4 * MAX_NESTING * 220 * 1_024);

/// A rule as it is written.
#[derive(Debug)]
pub(super) struct Tree {
    /// Where it begins, in bytes: a call at its name, an operator at its sign.
    pub at: usize,
    pub kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Bool(bool),
    Int(i64),
    Text(String),
    Name(String),
    Select {
        of: Box<Tree>,
        field: String,
    },
    Has {
        of: Box<Tree>,
        field: String,
    },
    Operator {
        sign: Sign,
        of: Vec<Tree>,
    },
    Call {
        name: String,
        on: Option<Box<Tree>>,
        arguments: Vec<Tree>,
    },
    List(Vec<Tree>),
    Fold {
        name: &'static str,
        over: Box<Tree>,
        item: String,
        only: Option<Box<Tree>>,
        body: Box<Tree>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    If,
    And,
    Or,
    Not,
    Negate,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Index,
}

impl Sign {
    /// The crate's name of it, how many operands it has, and how it is written.
    const ALL: [(&'static str, Self, usize, &'static str); 18] = [
        ("_?_:_", Self::If, 3, "?:"),
        ("_&&_", Self::And, 2, "&&"),
        ("_||_", Self::Or, 2, "||"),
        ("!_", Self::Not, 1, "!"),
        ("-_", Self::Negate, 1, "-"),
        ("_+_", Self::Add, 2, "+"),
        ("_-_", Self::Subtract, 2, "-"),
        ("_*_", Self::Multiply, 2, "*"),
        ("_/_", Self::Divide, 2, "/"),
        ("_%_", Self::Modulo, 2, "%"),
        ("_==_", Self::Equal, 2, "=="),
        ("_!=_", Self::NotEqual, 2, "!="),
        ("_<_", Self::Less, 2, "<"),
        ("_<=_", Self::LessOrEqual, 2, "<="),
        ("_>_", Self::Greater, 2, ">"),
        ("_>=_", Self::GreaterOrEqual, 2, ">="),
        ("@in", Self::In, 2, "in"),
        ("_[_]", Self::Index, 2, "[]"),
    ];

    pub fn written(self) -> &'static str {
        Self::ALL.iter().find(|(_, sign, ..)| *sign == self).map_or("", |(.., written)| written)
    }
}

/// Parses a rule, and hands the tree to `check`, on a thread of its own: trees are as deep as their
/// text allows. The thread is a larger stack and nothing else: it is joined at once, and what it
/// makes depends on the text alone.
pub(super) fn parse<T: Send>(
    source: &str,
    check: fn(&Tree) -> Result<T, Wrong>,
) -> Result<T, Wrong> {
    thread::scope(|scope| {
        let larger = thread::Builder::new().stack_size(STACK_BYTES).name("rule".to_owned());
        let parsing =
            larger.spawn_scoped(scope, || match Parser::new().parse_with_source_info(source) {
                Ok((expr, places)) => check(&Lift { source, places: &places }.tree(expr)?),
                Err(errors) => Err(refused(source, &errors)),
            });
        // Not a verdict on the rule: a verdict that came from a full machine could not be repeated.
        let parsing =
            parsing.unwrap_or_else(|error| panic!("no thread to parse a rule on: {error}"));
        parsing.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    })
}

/// What `scan.rs` let through and the grammar does not: there is little of it.
fn refused(source: &str, errors: &ParseErrors) -> Wrong {
    let Some(first) = errors.errors.first() else {
        return Wrong::new(0, "this is not a CEL expression");
    };
    let (line, column) = first.pos;
    let skipped = usize::try_from(line - 1).unwrap_or(0);
    let start: usize = source.split_inclusive('\n').take(skipped).map(str::len).sum();
    let line = source[start..].char_indices();
    let place = line.skip(usize::try_from(column - 1).unwrap_or(0)).map(|(at, _)| at).next();
    if first.msg.contains("has() macro") {
        return Wrong::new(start + place.unwrap_or(0), call::usage("has"));
    }
    if first.msg.contains("simple name") {
        let message = "all, exists, exists_one, filter and map first take a name for the element: write list.all(x, condition on x)";
        return Wrong::new(start + place.unwrap_or(0), message);
    }
    let said = first.msg.trim_start_matches("Syntax error: ");
    Wrong::new(start + place.unwrap_or(0), format!("this is not a CEL expression: {said}"))
}

struct Lift<'s> {
    source: &'s str,
    places: &'s SourceInfo,
}

impl Lift<'_> {
    fn at(&self, id: u64) -> usize {
        self.places.offset_for(id).map_or(0, |(start, _)| start as usize)
    }

    /// Where the name before a call's bracket begins: the parser keeps the bracket's place.
    fn name_before(&self, bracket: usize) -> usize {
        let before = self.source.get(..bracket).unwrap_or("").trim_end();
        before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len()
    }

    fn tree(&self, expr: IdedExpr) -> Result<Tree, Wrong> {
        let at = self.at(expr.id);
        let (at, kind) = match expr.expr {
            Expr::Ident(name) => (at, Kind::Name(name)),
            Expr::Literal(literal) => (at, literal_kind(&literal, at)?),
            Expr::List(list) => (at, Kind::List(self.trees(list.elements)?)),
            Expr::Select(select) if select.test => {
                let of = Box::new(self.tree(*select.operand)?);
                (self.name_before(at), Kind::Has { of, field: select.field })
            }
            Expr::Select(select) => {
                let of = Box::new(self.tree(*select.operand)?);
                let after = self.source.get(at + 1..).unwrap_or("");
                let field = after.find(&*select.field).unwrap_or(0);
                (at + 1 + field, Kind::Select { of, field: select.field })
            }
            Expr::Call(call) => self.call(call, at)?,
            Expr::Comprehension(fold) => (self.name_before(at), self.fold(*fold, at)?),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                return Err(Wrong::new(at, "maps and messages can't be written in a rule"));
            }
        };
        Ok(Tree { at, kind })
    }

    fn trees(&self, exprs: Vec<IdedExpr>) -> Result<Vec<Tree>, Wrong> {
        exprs.into_iter().map(|expr| self.tree(expr)).collect()
    }

    fn call(&self, call: CallExpr, at: usize) -> Result<(usize, Kind), Wrong> {
        let arguments = self.trees(call.args)?;
        let sign = Sign::ALL.iter().find(|(name, _, operands, _)| {
            *name == call.func_name && *operands == arguments.len() && call.target.is_none()
        });
        if let Some((_, sign, ..)) = sign {
            return Ok((at, Kind::Operator { sign: *sign, of: arguments }));
        }
        let on = call.target.map(|target| self.tree(*target)).transpose()?.map(Box::new);
        Ok((self.name_before(at), Kind::Call { name: call.func_name, on, arguments }))
    }

    /// The parser unfolds macros into loops with an accumulator. Each has a step of its own shape,
    /// given by the language definition ("macros"), and no other loop can be written.
    fn fold(&self, fold: ComprehensionExpr, at: usize) -> Result<Kind, Wrong> {
        let strange = || {
            Wrong::new(
                at,
                "this macro is not known here: there are all, exists, exists_one, filter and map",
            )
        };
        let Expr::Call(CallExpr { func_name, args, .. }) = fold.loop_step.expr else {
            return Err(strange());
        };
        let mut args = args.into_iter();
        let (first, second) = (args.next().ok_or_else(strange)?, args.next().ok_or_else(strange)?);
        let counts = matches!(fold.accu_init.expr, Expr::Literal(LiteralValue::Int(_)));
        let (name, only, body) = match &*func_name {
            "_&&_" => ("all", None, second),
            "_||_" => ("exists", None, second),
            "_?_:_" if counts => ("exists_one", None, first),
            // `filter(x, p)` and `map(x, p, x)` are the same loop.
            "_?_:_" => match only_element(second) {
                Some(body) => ("filter", Some(first), body),
                None => return Err(strange()),
            },
            "_+_" => match only_element_of(second) {
                Some(body) => ("map", None, body),
                None => return Err(strange()),
            },
            _ => return Err(strange()),
        };
        Ok(Kind::Fold {
            name,
            over: Box::new(self.tree(fold.iter_range)?),
            item: fold.iter_var,
            only: only.map(|only| self.tree(only)).transpose()?.map(Box::new),
            body: Box::new(self.tree(body)?),
        })
    }
}

/// `x` of `accumulator + [x]`.
fn only_element(expr: IdedExpr) -> Option<IdedExpr> {
    match expr.expr {
        Expr::Call(call) if call.func_name == "_+_" => {
            only_element_of(call.args.into_iter().nth(1)?)
        }
        _ => None,
    }
}

/// `x` of `[x]`.
fn only_element_of(expr: IdedExpr) -> Option<IdedExpr> {
    match expr.expr {
        Expr::List(list) => list.elements.into_iter().next(),
        _ => None,
    }
}

fn literal_kind(literal: &LiteralValue, at: usize) -> Result<Kind, Wrong> {
    match literal {
        LiteralValue::Boolean(value) => Ok(Kind::Bool(*value.inner())),
        LiteralValue::Int(value) => Ok(Kind::Int(*value.inner())),
        LiteralValue::String(value) => Ok(Kind::Text(value.inner().to_owned())),
        LiteralValue::Bytes(_)
        | LiteralValue::Double(_)
        | LiteralValue::UInt(_)
        | LiteralValue::Null => {
            Err(Wrong::new(at, "only whole numbers, texts, true and false can be written here"))
        }
    }
}
