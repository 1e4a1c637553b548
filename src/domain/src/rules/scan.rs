//! The first look at a rule: limits and syntax, in one pass without recursion, before any parser.
//!
//! The parser behind it needs stack for every level of nesting and has a history of failing badly
//! on text that is no CEL; what comes through here is small, shallow and well-formed.

use super::{MAX_BYTES, MAX_NESTING, MAX_NODES, Wrong};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Name,
    Literal,
    Symbol,
}

#[derive(Clone, Copy, Debug)]
struct Token<'s> {
    kind: Kind,
    text: &'s str,
    at: usize,
}

/// What is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Group,
    Call,
    List,
    Index,
    /// A `?` whose `:` has not come yet.
    If,
    /// What follows that `:`; ends with whatever is around it.
    Else,
}

/// Longest first, so that `<=` is not read as `<`.
const SYMBOLS: [&str; 22] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",",
    "(", ")", "[", "]",
];

const BINARY: [&str; 14] =
    ["==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "in"];

/// Words that CEL keeps for itself (language definition, "reserved").
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Whether `source` may be handed to the parser.
pub(super) fn scan(source: &str) -> Result<(), Wrong> {
    let bytes = source.len();
    if bytes > MAX_BYTES {
        return Err(Wrong::new(
            0,
            format!(
                "the rule has {bytes} bytes, and at most {MAX_BYTES} are allowed: divide it into several rules"
            ),
        ));
    }
    if let Some((at, c)) = source.char_indices().find(|(_, c)| unseen(*c)) {
        return Err(Wrong::new(
            at,
            format!(
                "the invisible character U+{:04X} can make a rule look like another one: in a text write \\u{:04x}, elsewhere remove it",
                c as u32, c as u32
            ),
        ));
    }
    let mut shape = Shape { open: Vec::new(), nodes: 0, last: None, want: true };
    let mut rest = Cursor { source, at: 0, negative: false };
    while let Some(token) = rest.next()? {
        shape.take(token)?;
    }
    shape.end(source)
}

/// Characters that a reader does not see and that change what the others look like.
fn unseen(c: char) -> bool {
    let control = c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    control
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

struct Cursor<'s> {
    source: &'s str,
    at: usize,
    /// Whether a `-` came last: there is one number more below zero than above.
    negative: bool,
}

impl<'s> Cursor<'s> {
    fn next(&mut self) -> Result<Option<Token<'s>>, Wrong> {
        self.skip_blanks();
        let (source, at) = (self.source, self.at);
        let rest = &source[at..];
        let Some(first) = rest.chars().next() else { return Ok(None) };
        let (kind, length) = if let Some((prefix, quote)) = opening(rest) {
            (Kind::Literal, text_length(rest, at, prefix, quote)?)
        } else if first.is_ascii_alphabetic() || first == '_' {
            let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
            let length = rest.bytes().take_while(is_word).count();
            (Kind::Name, length)
        } else if first.is_ascii_digit() {
            (Kind::Literal, number_length(rest, at, self.negative)?)
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            (Kind::Symbol, symbol.len())
        } else {
            return Err(Wrong::new(at, unknown_character(first)));
        };
        self.at += length;
        let text = &source[at..self.at];
        self.negative = text == "-";
        let kind = if matches!(text, "true" | "false") { Kind::Literal } else { kind };
        Ok(Some(Token { kind, text, at }))
    }

    /// Spaces and `//` comments.
    fn skip_blanks(&mut self) {
        loop {
            let rest = &self.source[self.at..];
            let blanks = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
            let comment = if rest[blanks..].starts_with("//") {
                rest[blanks..].find('\n').unwrap_or(rest.len() - blanks)
            } else {
                0
            };
            if blanks + comment == 0 {
                return;
            }
            self.at += blanks + comment;
        }
    }
}

fn unknown_character(c: char) -> String {
    match c {
        '=' => "`=` is no operator: write `==` to compare".to_owned(),
        '&' | '|' => format!("`{c}` is no operator: write `{c}{c}`"),
        '{' | '}' => {
            "maps and messages can't be written in a rule: compare their fields one by one"
                .to_owned()
        }
        _ => format!("`{c}` means nothing here: remove it, or put it in quotes"),
    }
}

/// The prefix and the quote of a text that begins here.
fn opening(rest: &str) -> Option<(&str, &str)> {
    let prefix = rest.bytes().take_while(|b| matches!(b, b'r' | b'R' | b'b' | b'B')).count();
    let quotes = ["\"\"\"", "'''", "\"", "'"];
    let quote = quotes.into_iter().find(|quote| rest[prefix..].starts_with(*quote))?;
    (prefix <= 2).then(|| (&rest[..prefix], quote))
}

fn text_length(rest: &str, at: usize, prefix: &str, quote: &str) -> Result<usize, Wrong> {
    if prefix.contains(['b', 'B']) {
        return Err(Wrong::new(
            at,
            "bytes can't be compared with anything here: write a text, without the `b`",
        ));
    }
    if prefix.len() > 1 {
        return Err(Wrong::new(at, "one `r` before a quote is enough"));
    }
    let (raw, long) = (!prefix.is_empty(), quote.len() == 3);
    let mut i = prefix.len() + quote.len();
    while let Some(c) = rest[i..].chars().next() {
        if rest[i..].starts_with(quote) {
            return Ok(i + quote.len());
        }
        match c {
            '\n' | '\r' if !long => break,
            '\\' if !raw => i += escape_length(&rest[i..], at + i)?,
            _ => i += c.len_utf8(),
        }
    }
    Err(Wrong::new(at, format!("the text that begins here never ends: close it with {quote}")))
}

/// The length of an escape (language definition, "string and bytes values").
fn escape_length(rest: &str, at: usize) -> Result<usize, Wrong> {
    let wrong = || {
        let shown: String = rest.chars().take(2).collect();
        Wrong::new(
            at,
            format!(
                "`{shown}` is no escape: write \\\\ for a backslash; there are \\n \\t \\r \\\" \\' \\xHH \\uHHHH \\UHHHHHHHH"
            ),
        )
    };
    let (length, radix, digits) = match rest.as_bytes().get(1) {
        Some(
            b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'\\' | b'?' | b'"' | b'\'' | b'`',
        ) => {
            return Ok(2);
        }
        Some(b'x' | b'X') => (4, 16, 2),
        Some(b'u') => (6, 16, 2),
        Some(b'U') => (10, 16, 2),
        Some(b'0'..=b'3') => (4, 8, 1),
        _ => return Err(wrong()),
    };
    let digits = rest.get(digits..length).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
    let code = digits.and_then(|digits| u32::from_str_radix(digits, radix).ok());
    code.and_then(char::from_u32).map(|_| length).ok_or_else(wrong)
}

fn number_length(rest: &str, at: usize, negative: bool) -> Result<usize, Wrong> {
    let word = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let fraction =
        rest[word..].starts_with('.') && rest[word + 1..].starts_with(|c: char| c.is_ascii_digit());
    let text = &rest[..word];
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    if fraction || (hex.is_none() && text.contains(['e', 'E'])) {
        return Err(Wrong::new(
            at,
            "numbers are whole here: cores are counted in thousandths, memory in MiB, time in milliseconds",
        ));
    }
    if text.ends_with(['u', 'U']) {
        return Err(Wrong::new(
            at,
            format!("every number has a sign here: write {}", &text[..word - 1]),
        ));
    }
    let value = match hex {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match value {
        Ok(value) if value <= i64::MAX as u64 + u64::from(negative) => Ok(word),
        Ok(_) => Err(Wrong::new(at, format!("the number is too large: at most {}", i64::MAX))),
        Err(error) if *error.kind() == std::num::IntErrorKind::PosOverflow => {
            Err(Wrong::new(at, format!("the number is too large: at most {}", i64::MAX)))
        }
        Err(_) => Err(Wrong::new(
            at,
            format!("`{text}` is neither a number nor a name: put it in quotes"),
        )),
    }
}

/// Whether operands and operators take turns, and brackets match.
struct Shape<'s> {
    open: Vec<(Open, Token<'s>)>,
    nodes: usize,
    last: Option<Token<'s>>,
    /// Whether an operand must come next.
    want: bool,
}

impl<'s> Shape<'s> {
    fn take(&mut self, token: Token<'s>) -> Result<(), Wrong> {
        if !matches!(token.text, "(" | ")" | "]" | "," | "." | ":") {
            self.nodes += 1;
        }
        if self.nodes > MAX_NODES {
            return Err(Wrong::new(
                token.at,
                format!(
                    "more than {MAX_NODES} names, literals and operators: divide the rule into several"
                ),
            ));
        }
        let last = self.last.replace(token);
        if last.is_some_and(|last| last.text == "." && last.kind == Kind::Symbol) {
            return self.member(token);
        }
        match token.kind {
            Kind::Symbol => self.symbol(token, last),
            Kind::Name if token.text == "in" => self.binary(token, last),
            Kind::Name | Kind::Literal => self.operand(token, last),
        }
    }

    fn member(&mut self, token: Token<'s>) -> Result<(), Wrong> {
        if token.kind != Kind::Name || token.text == "in" {
            return Err(Wrong::new(
                token.at,
                "after `.` comes the name of a field; for any other key write [\"key\"]",
            ));
        }
        self.want = false;
        Ok(())
    }

    fn operand(&mut self, token: Token<'s>, last: Option<Token<'s>>) -> Result<(), Wrong> {
        let text = token.text;
        if !self.want {
            let before = last.map_or("", |last| last.text);
            return Err(Wrong::new(
                token.at,
                match text {
                    "and" | "AND" => "`and` is no operator: write `&&`".to_owned(),
                    "or" | "OR" => "`or` is no operator: write `||`".to_owned(),
                    "not" => "`not` is no operator: write `!(… in …)` or `!=`".to_owned(),
                    "is" => "`is` is no operator: write `==`".to_owned(),
                    _ => format!("an operator is missing between `{before}` and `{text}`"),
                },
            ));
        }
        if text == "not" {
            return Err(Wrong::new(token.at, "`not` is no operator: write `!`"));
        }
        if text == "null" {
            return Err(Wrong::new(
                token.at,
                "nothing is null here: what is absent reads as \"\", and has() tells the difference",
            ));
        }
        if RESERVED.contains(&text) {
            return Err(Wrong::new(
                token.at,
                format!("`{text}` is a reserved word of CEL: put it in quotes if it is a text"),
            ));
        }
        self.want = false;
        Ok(())
    }

    fn binary(&mut self, token: Token<'s>, last: Option<Token<'s>>) -> Result<(), Wrong> {
        if self.want {
            return Err(missing(token, last));
        }
        self.want = true;
        Ok(())
    }

    fn symbol(&mut self, token: Token<'s>, last: Option<Token<'s>>) -> Result<(), Wrong> {
        match token.text {
            "!" if !self.want => Err(Wrong::new(token.at, "an operator is missing before `!`")),
            "!" => Ok(()),
            "-" if self.want => Ok(()),
            "(" | "[" | "?" => self.opened(token, last),
            ")" | "]" => self.closed(token, last),
            "." if self.want => Err(missing(token, last)),
            "." => Ok(()),
            ":" => {
                if self.want {
                    return Err(missing(token, last));
                }
                self.end_of_else();
                match self.open.last_mut() {
                    Some((open @ Open::If, _)) => *open = Open::Else,
                    Some(_) | None => {
                        return Err(Wrong::new(token.at, "this `:` belongs to no `?`"));
                    }
                }
                self.want = true;
                Ok(())
            }
            "," => {
                if self.want {
                    return Err(missing(token, last));
                }
                self.end_of_else();
                match self.open.last() {
                    Some((Open::Call | Open::List, _)) => {
                        self.want = true;
                        Ok(())
                    }
                    Some((Open::Group | Open::Index | Open::If | Open::Else, _)) | None => {
                        Err(Wrong::new(
                            token.at,
                            "a `,` stands only in a list or between arguments: join conditions with `&&` or `||`",
                        ))
                    }
                }
            }
            other if BINARY.contains(&other) => self.binary(token, last),
            other => Err(Wrong::new(token.at, format!("`{other}` means nothing here"))),
        }
    }

    fn opened(&mut self, token: Token<'s>, last: Option<Token<'s>>) -> Result<(), Wrong> {
        let open = match (token.text, self.want) {
            ("(", true) => Open::Group,
            ("(", false) if last.is_some_and(|last| last.kind == Kind::Name) => Open::Call,
            ("(", false) => {
                return Err(Wrong::new(token.at, "an operator is missing before `(`"));
            }
            ("[", true) => Open::List,
            ("[", false) => Open::Index,
            (_, true) => return Err(missing(token, last)),
            (_, false) => Open::If,
        };
        if self.open.len() == MAX_NESTING {
            return Err(Wrong::new(
                token.at,
                format!("nested more than {MAX_NESTING} deep: divide the rule into several"),
            ));
        }
        self.open.push((open, token));
        self.want = true;
        Ok(())
    }

    fn closed(&mut self, token: Token<'s>, last: Option<Token<'s>>) -> Result<(), Wrong> {
        self.end_of_else();
        let Some((open, opener)) = self.open.pop() else {
            return Err(Wrong::new(
                token.at,
                format!("this `{}` closes nothing: remove it", token.text),
            ));
        };
        let closes = match open {
            Open::Group | Open::Call => ")",
            Open::List | Open::Index => "]",
            Open::If | Open::Else => {
                return Err(Wrong::new(
                    opener.at,
                    "this `?` has no `:`: write condition ? this : that",
                ));
            }
        };
        if closes != token.text {
            return Err(Wrong::new(
                token.at,
                format!("`{}` can't close `{}`: write `{closes}`", token.text, opener.text),
            ));
        }
        let empty = last.is_some_and(|last| last.at == opener.at);
        if self.want && !(empty && matches!(open, Open::Call | Open::List)) {
            return Err(missing(token, last));
        }
        self.want = false;
        Ok(())
    }

    fn end_of_else(&mut self) {
        while matches!(self.open.last(), Some((Open::Else, _))) {
            self.open.pop();
        }
    }

    fn end(mut self, source: &str) -> Result<(), Wrong> {
        let Some(last) = self.last else {
            return Err(Wrong::new(
                0,
                "the rule is empty: write a condition, such as request.priority > 50",
            ));
        };
        if last.text == "." && last.kind == Kind::Symbol {
            return Err(Wrong::new(last.at, "after `.` comes the name of a field"));
        }
        if self.want {
            return Err(Wrong::new(
                source.trim_end().len(),
                format!("the rule ends where something should follow `{}`", last.text),
            ));
        }
        self.end_of_else();
        match self.open.last() {
            None => Ok(()),
            Some((Open::If, opener)) => {
                Err(Wrong::new(opener.at, "this `?` has no `:`: write condition ? this : that"))
            }
            Some((_, opener)) => {
                Err(Wrong::new(opener.at, format!("this `{}` is never closed", opener.text)))
            }
        }
    }
}

fn missing(token: Token<'_>, last: Option<Token<'_>>) -> Wrong {
    let here = token.text;
    Wrong::new(
        token.at,
        match last {
            Some(last) => format!("something is missing between `{}` and `{here}`", last.text),
            None => format!("a rule can't begin with `{here}`"),
        },
    )
}
