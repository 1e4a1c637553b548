//! Who vouches for a journal, in words.

use std::fmt::Write as _;

use replay::vouched::Vouching;

use crate::print::many;

/// What was found good, and what it does not prove.
pub fn told(vouching: &Vouching) -> String {
    let Vouching { pinned, checkpoints, last_signed, unsigned, out_of_reach, receipts, .. } =
        vouching;
    let mut text = String::new();
    let whose = if *pinned > 0 { "a pinned key" } else { "the keys that the record itself names" };
    match last_signed {
        Some(last) => {
            let _ = writeln!(
                text,
                "signed: {} by {whose}, up to entry {last}; entries behind it that nobody vouches \
                 for: {unsigned}",
                many(*checkpoints, "checkpoint", "checkpoints")
            );
        }
        None => {
            let _ = writeln!(
                text,
                "signed: no checkpoint vouches for any of {} here",
                many(*unsigned, "entry", "entries")
            );
        }
    }
    if *out_of_reach > 0 {
        let _ = writeln!(
            text,
            "signed: {} of entries before the first here",
            many(*out_of_reach, "checkpoint is", "checkpoints are")
        );
    }
    if *pinned == 0 {
        text.push_str(
            "no key was pinned: this proves that nothing was changed by accident, and nothing about \
             whoever can write the journal; give --key with what `tartarus keys` showed, kept elsewhere\n",
        );
    }
    if *receipts > 0 {
        let are = many(*receipts, "is of an entry", "are of entries");
        let _ = writeln!(text, "receipts: {are} here");
    } else {
        text.push_str(
            "whether entries are missing at the end only a receipt can tell: give --receipt with one \
             that a client was given\n",
        );
    }
    text
}
