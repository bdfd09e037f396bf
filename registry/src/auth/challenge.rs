//! `WWW-Authenticate`: how a server says what it wants to see.
//!
//! RFC 9110, section 11.6.1. One header may hold several challenges, and commas separate challenges
//! as well as parameters, so a word is a new scheme when no `=` follows it.

/// A challenge that kiln can meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer(Bearer),
}

/// Where and for what to get a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bearer {
    pub(crate) realm: String,
    pub(crate) service: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) error: Option<String>,
}

/// Reads the values of all `WWW-Authenticate` headers and picks the best: Bearer before Basic.
pub(crate) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let challenges: Vec<Challenge> = headers
        .flat_map(parse)
        .filter_map(|raw| raw.understand())
        .collect();
    let bearer = challenges
        .iter()
        .find(|challenge| matches!(challenge, Challenge::Bearer(_)));
    bearer.or_else(|| challenges.first()).cloned()
}

/// A scheme with its parameters, names in lower case.
#[derive(Debug, Default, PartialEq, Eq)]
struct RawChallenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl RawChallenge {
    fn understand(self) -> Option<Challenge> {
        match self.scheme.as_str() {
            "basic" => Some(Challenge::Basic),
            "bearer" => {
                let mut bearer = Bearer::default();
                for (name, value) in self.parameters {
                    match name.as_str() {
                        "realm" => bearer.realm = value,
                        "service" => bearer.service = Some(value),
                        "scope" => bearer.scope = Some(value),
                        "error" => bearer.error = Some(value),
                        _ => {}
                    }
                }
                (!bearer.realm.is_empty()).then_some(Challenge::Bearer(bearer))
            }
            _ => None,
        }
    }
}

fn parse(header: &str) -> Vec<RawChallenge> {
    let mut challenges: Vec<RawChallenge> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = split_token(rest);
        if word.is_empty() {
            // The end, or a byte that belongs nowhere: what was read so far still counts.
            return challenges;
        }
        let value = after.trim_start();
        match (value.strip_prefix('='), challenges.last_mut()) {
            (Some(value), Some(challenge)) => {
                let (value, after) = split_value(value.trim_start());
                challenge
                    .parameters
                    .push((word.to_ascii_lowercase(), value));
                rest = after;
            }
            _ => {
                challenges.push(RawChallenge {
                    scheme: word.to_ascii_lowercase(),
                    parameters: Vec::new(),
                });
                rest = after;
            }
        }
    }
}

fn split_token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    text.split_at(end)
}

fn split_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: &str, scope: &str) -> Challenge {
        Challenge::Bearer(Bearer {
            realm: realm.to_owned(),
            service: Some(service.to_owned()),
            scope: (!scope.is_empty()).then(|| scope.to_owned()),
            error: None,
        })
    }

    #[test]
    fn commas_inside_quotes_belong_to_the_value() {
        let header =
            r#"Bearer realm="https://a.io/token",service="a.io",scope="repository:x:pull,push""#;
        assert_eq!(
            choose([header].into_iter()),
            Some(bearer(
                "https://a.io/token",
                "a.io",
                "repository:x:pull,push"
            ))
        );
    }

    #[test]
    fn several_challenges_in_one_or_many_headers() {
        let expected = Some(bearer("https://a.io/t", "a", ""));
        let one = r#"Basic realm="Registry, \"main\"", Bearer realm="https://a.io/t", service=a"#;
        assert_eq!(choose([one].into_iter()), expected);
        let two = [
            "Negotiate",
            "basic realm=x",
            r#"bearer Realm = "https://a.io/t" , SERVICE="a""#,
        ];
        assert_eq!(choose(two.into_iter()), expected);
    }

    #[test]
    fn unknown_challenges_are_ignored() {
        for header in [
            "Negotiate abc==",
            "Bearer service=x",
            "",
            ",,",
            "=",
            "\u{e9}",
        ] {
            assert_eq!(choose([header].into_iter()), None, "{header}");
        }
        let after_junk = ["Negotiate abc==, Basic realm=x"];
        assert_eq!(choose(after_junk.into_iter()), Some(Challenge::Basic));
    }

    #[test]
    fn mutilated_headers_do_no_harm() {
        let whole =
            r#"Basic realm="a\"é, b", Bearer realm="https://ä.io/t",scope="x:y:z", Negotiate ab=="#;
        let ends: Vec<usize> = whole.char_indices().map(|(at, _)| at).collect();
        for &from in &ends {
            for &to in ends.iter().filter(|&&to| to >= from) {
                // Whatever comes out, the part was read to its end.
                let _ = choose([&whole[from..to]].into_iter());
            }
        }
    }

    #[test]
    fn errors_are_read() {
        let header = r#"Bearer realm="r",error="insufficient_scope""#;
        let Some(Challenge::Bearer(bearer)) = choose([header].into_iter()) else {
            panic!("no challenge");
        };
        assert_eq!(bearer.error.as_deref(), Some("insufficient_scope"));
    }
}
