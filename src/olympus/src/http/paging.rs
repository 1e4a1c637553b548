//! Pages of things that have names.

use api::List;
use api::query::Page;

use super::problem::Fault;
use super::runs::bad_cursor;

/// The page of `items`, which come in the order of their names.
pub fn page<T>(items: impl Iterator<Item = (String, T)>, page: &Page) -> Result<List<T>, Fault> {
    let after = page.cursor.as_deref().map(|cursor| text_of(cursor).ok_or_else(bad_cursor));
    let after = after.transpose()?;
    let mut rest = items.filter(|(name, _)| after.as_ref().is_none_or(|after| name > after));
    let mut list = List { items: Vec::new(), next_cursor: None };
    let mut last = None;
    for (name, item) in rest.by_ref().take(page.limit as usize) {
        list.items.push(item);
        last = Some(name);
    }
    if rest.next().is_some() {
        list.next_cursor = last.map(|name| cursor_of(&name));
    }
    Ok(list)
}

/// A name in characters that a URL takes as they are.
fn cursor_of(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn text_of(cursor: &str) -> Option<String> {
    let digits: Option<Vec<u8>> =
        cursor.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    let bytes = digits.chunks_exact(2).map(|pair| pair[0] * 16 + pair[1]).collect();
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = ["a", "b", "c-1", "ü", "z"];

    fn all_by(limit: u32) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        let mut cursor = None;
        loop {
            let items = NAMES.iter().map(|name| ((*name).to_owned(), (*name).to_owned()));
            let mut sorted: Vec<_> = items.collect();
            sorted.sort();
            let list = page(sorted.into_iter(), &Page { limit, cursor }).expect("a page");
            pages.push(list.items);
            cursor = list.next_cursor;
            if cursor.is_none() {
                return pages;
            }
        }
    }

    #[test]
    fn pages_of_any_size_show_everything_once() {
        for limit in 1..7 {
            let pages = all_by(limit);
            assert_eq!(pages.concat().len(), NAMES.len(), "{limit}");
            assert_eq!(pages.len(), NAMES.len().div_ceil(limit as usize), "{limit}");
        }
    }

    #[test]
    fn a_cursor_of_our_own_alone_is_taken() {
        for cursor in ["x", "0", "0g", "ff", "+1"] {
            let page_at = Page { limit: 1, cursor: Some(cursor.into()) };
            assert!(page(std::iter::empty::<(String, ())>(), &page_at).is_err(), "{cursor}");
        }
    }
}
