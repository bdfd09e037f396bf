//! Who the user is for a server, from the build's secrets.
//!
//! BuildKit's names: `HTTP_AUTH_HEADER_<host>` and `HTTP_AUTH_TOKEN_<host>` for downloads,
//! `GIT_AUTH_HEADER` and `GIT_AUTH_TOKEN`, each also with `.<host>` behind it, for repositories. A
//! header is the whole value of `Authorization`, a token part of one. A name with a port counts
//! before one without.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kiln_parser::Address;
use kiln_registry::Secret;
use kiln_runtime::SecretBytes;
use kiln_solver::RemoteError;

use crate::remote_sources::sources::input;

/// The secrets of a build, by id.
pub(super) type Secrets = [(String, SecretBytes)];

/// Returns the `Authorization` for a download.
///
/// # Errors
/// When the secret cannot be in a header.
pub(super) fn for_download(url: &str, secrets: &Secrets) -> Result<Option<Secret>, RemoteError> {
    let address = Address::of(url);
    for host in [address.authority, address.host()] {
        if let Some(header) = text(secrets, &format!("HTTP_AUTH_HEADER_{host}"))? {
            return Ok(Some(Secret::new(header)));
        }
        if let Some(token) = text(secrets, &format!("HTTP_AUTH_TOKEN_{host}"))? {
            return Ok(Some(Secret::new(format!("Bearer {token}"))));
        }
    }
    Ok(address.login().map(of_login))
}

/// Returns the `Authorization` for a repository behind HTTP, and the URLs that it is for.
///
/// # Errors
/// When the secret cannot be in a header.
pub(super) fn for_repository(
    remote: &str,
    secrets: &Secrets,
) -> Result<Option<(String, Secret)>, RemoteError> {
    let address = Address::of(remote);
    if !matches!(address.scheme, "http" | "https") {
        return Ok(None);
    }
    let names = |name: &str| {
        [
            format!("{name}.{}", address.authority),
            format!("{name}.{}", address.host()),
            name.to_owned(),
        ]
    };
    let (headers, tokens) = (names("GIT_AUTH_HEADER"), names("GIT_AUTH_TOKEN"));
    for (header, token) in headers.iter().zip(&tokens) {
        if let Some(header) = text(secrets, header)? {
            return Ok(Some((token_scope(&address), Secret::new(header))));
        }
        if let Some(token) = text(secrets, token)? {
            return Ok(Some((
                token_scope(&address),
                basic("x-access-token", token),
            )));
        }
    }
    // As git itself has it, a password in the address is for everything on its server.
    let everything = format!("{}://{}/", address.scheme, address.authority);
    Ok(address.login().map(|login| (everything, of_login(login))))
}

/// Returns the URLs that a token is for: the remote's, and on GitHub, where submodules usually
/// belong to the same people, all.
// BuildKit: source/git/source.go, tokenScope.
fn token_scope(address: &Address<'_>) -> String {
    match (address.scheme, address.authority) {
        ("https", host @ ("github.com" | "www.github.com")) => format!("https://{host}/"),
        _ => address.without_password(),
    }
}

/// Makes a header of what stands before the `@` of a URL.
fn of_login((name, password): (String, String)) -> Secret {
    basic(&name, &password)
}

fn basic(name: &str, password: &str) -> Secret {
    let pair = BASE64_STANDARD.encode(format!("{name}:{password}"));
    Secret::new(format!("Basic {pair}"))
}

/// Finds a secret. Files with tokens end with a line end that is not meant.
fn text<'a>(secrets: &'a Secrets, id: &str) -> Result<Option<&'a str>, RemoteError> {
    let Some((_, value)) = secrets.iter().find(|(known, _)| known == id) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value.expose()).map(str::trim);
    match text {
        Ok(text) if !text.chars().any(char::is_control) => Ok(Some(text)),
        _ => Err(input(format!("secret {id} is not one line of text"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(pairs: &[(&str, &str)]) -> Vec<(String, SecretBytes)> {
        let secret = |(id, value): &(&str, &str)| {
            let value: Vec<u8> = value.as_bytes().to_vec();
            ((*id).to_owned(), SecretBytes::new(value))
        };
        pairs.iter().map(secret).collect()
    }

    #[test]
    fn downloads_are_authorized_by_host() {
        let known = secrets(&[
            ("HTTP_AUTH_TOKEN_h", "t\n"),
            ("HTTP_AUTH_HEADER_h:81", "Digest x"),
        ]);
        let of = |url| {
            for_download(url, &known)
                .unwrap()
                .map(|secret| secret.expose().to_owned())
        };
        assert_eq!(of("https://h/x").as_deref(), Some("Bearer t"));
        assert_eq!(of("https://h:82/x").as_deref(), Some("Bearer t"));
        assert_eq!(of("https://h:81/x").as_deref(), Some("Digest x"));
        assert_eq!(of("https://other/h"), None);
        assert_eq!(
            of("https://u:a%40b@other/").as_deref(),
            Some("Basic dTphQGI=")
        );
        let broken = secrets(&[("HTTP_AUTH_TOKEN_h", "a\nb")]);
        let error = for_download("http://h/", &broken).unwrap_err();
        assert_eq!(
            error.message,
            "secret HTTP_AUTH_TOKEN_h is not one line of text"
        );
    }

    #[test]
    fn repositories_are_authorized_by_host_first() {
        let known = secrets(&[("GIT_AUTH_TOKEN", "all"), ("GIT_AUTH_HEADER.h", "own")]);
        let of = |remote| {
            for_repository(remote, &known)
                .unwrap()
                .map(|(scope, secret)| (scope, secret.expose().to_owned()))
        };
        let is = |scope: &str, value: &str| Some((scope.to_owned(), value.to_owned()));
        assert_eq!(of("https://h/x.git"), is("https://h/x.git", "own"));
        // x-access-token:all
        let all = "Basic eC1hY2Nlc3MtdG9rZW46YWxs";
        assert_eq!(of("https://i/x.git"), is("https://i/x.git", all));
        let github = "https://github.com/a/b.git";
        assert_eq!(of(github), is("https://github.com/", all));
        assert_eq!(of("git@h:x.git"), None);
        let user = for_repository("https://u:p@h:1/x.git", &[]).unwrap();
        assert_eq!(user.unwrap().0, "https://h:1/");
    }
}
