//! Words with variables, quotes and escapes.

use kiln_parser::{Quoting, expand};

use super::choice_and_text;

/// Expands a word. Its first byte chooses the escape token and what quotes mean.
pub fn substitution(data: &[u8]) {
    let (choice, word) = choice_and_text(data);
    let escape = if choice & 1 == 0 { '\\' } else { '`' };
    let quoting = match choice & 6 {
        0 => Quoting::Word,
        4 => Quoting::Shown,
        _ => Quoting::HeredocBody,
    };
    match expand(&word, escape, quoting, &lookup) {
        Ok(expansion) => {
            let mut seen = std::collections::HashSet::new();
            for name in &expansion.undefined {
                assert!(lookup(name).is_none() && seen.insert(name), "{name}");
            }
            if !word.contains(['$', '\'', '"', '\\', '`']) {
                assert_eq!(expansion.value, word);
            }
        }
        Err(error) => {
            assert!(word.is_char_boundary(error.offset), "{error:?}");
            assert!(error.message.starts_with("failed to process \""));
        }
    }
    // With an escape token in front of each character, all of them mean themselves.
    let token = if quoting == Quoting::HeredocBody {
        '\\'
    } else {
        escape
    };
    let escaped: String = word
        .chars()
        .flat_map(|character| [token, character])
        .collect();
    let expansion = expand(&escaped, escape, quoting, &lookup).expect("nothing is special");
    assert_eq!(expansion.value, word);
}

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "a" => "A B",
        "e" => "",
        "P" => "/a/b/c.tar.gz",
        "L" => "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
        "U" => "é*?\\/}",
        _ => return None,
    };
    Some(value.to_owned())
}
