//! Words: the argument text of an instruction cut at blanks.

/// Characters that separate an instruction's name and plain arguments.
pub(crate) const BLANKS: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

/// Splits at the first run of blanks; the second part is `None` if there is none.
pub(crate) fn split_first(text: &str) -> (&str, Option<&str>) {
    match text.find(BLANKS) {
        Some(end) => (&text[..end], Some(text[end..].trim_start_matches(BLANKS))),
        None => (text, None),
    }
}

/// Splits at runs of blanks; quotes mean nothing here.
pub(crate) fn plain(text: &str) -> Vec<&str> {
    text.split(BLANKS).filter(|word| !word.is_empty()).collect()
}

/// Splits at blanks outside quotes; quotes and escapes stay in the words.
///
/// An unterminated quote runs to the end of the text, and a lone escape token there is dropped:
/// expansion reports the former and would drop the latter too.
pub(crate) fn quoted(text: &str, escape: char) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (end, ending) = quoted_word_end(rest, escape);
        let (word, behind) = rest.split_at(end);
        let word = match ending {
            Ending::Whole => without_lone_escape(word, escape),
            // No line could end in the blank that stood in front of the escape token.
            Ending::InQuotes => without_lone_escape(word, escape).trim_end(),
        };
        if !word.is_empty() {
            words.push(word);
        }
        rest = behind.trim_start();
    }
    words
}

/// Whether a word's quotes are closed where it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Whole,
    InQuotes,
}

fn quoted_word_end(text: &str, escape: char) -> (usize, Ending) {
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match quote {
            None if character.is_whitespace() => return (index, Ending::Whole),
            None if matches!(character, '\'' | '"') => quote = Some(character),
            Some(open) if character == open => quote = None,
            // Nothing can be escaped between single quotes.
            Some('\'') => {}
            _ if character == escape => {
                characters.next();
            }
            _ => {}
        }
    }
    let ending = match quote {
        None => Ending::Whole,
        Some(_) => Ending::InQuotes,
    };
    (text.len(), ending)
}

fn without_lone_escape(word: &str, escape: char) -> &str {
    let Some(shorter) = word.strip_suffix(escape) else {
        return word;
    };
    let mut quote = None;
    let mut escaped = false;
    for character in shorter.chars() {
        match quote {
            _ if escaped => escaped = false,
            Some('\'') if character != '\'' => {}
            Some(open) if character == open => quote = None,
            None if matches!(character, '\'' | '"') => quote = Some(character),
            _ => escaped = character == escape,
        }
    }
    if escaped || quote == Some('\'') {
        word
    } else {
        shorter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_ignore_quotes() {
        assert_eq!(plain(" a  \"b c\"\t"), ["a", "\"b", "c\""]);
        assert_eq!(split_first("a \t b c"), ("a", Some("b c")));
        assert_eq!(split_first("a"), ("a", None));
    }

    #[test]
    fn quoted_words_keep_their_blanks() {
        #[track_caller]
        fn check(text: &str, expected: &[&str]) {
            assert_eq!(quoted(text, '\\'), expected);
        }
        check(r#"a="b c" d='e f'"#, &[r#"a="b c""#, "d='e f'"]);
        check(r"a=b\ c d", &[r"a=b\ c", "d"]);
        check(r#"a="b\" c" d"#, &[r#"a="b\" c""#, "d"]);
        check(r"a='b\' c", &[r"a='b\'", "c"]);
        check(r#"a="b c"#, &[r#"a="b c"#]);
        check(r"a b\", &["a", "b"]);
        check(r"a b\\", &["a", r"b\\"]);
        check(r"a '\", &["a", r"'\"]);
        check(r"a '\'\", &["a", r"'\'"]);
        check(r"a \", &["a"]);
        check("", &[]);
        check("é=ü", &["é=ü"]);
    }

    #[test]
    fn df_014_backtick_escapes() {
        assert_eq!(quoted(r"B=c:\foo` x y", '`'), [r"B=c:\foo` x", "y"]);
    }
}
