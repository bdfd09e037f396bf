//! The tags of a repository, page by page.

use kiln_oci::ImageRef;
use reqwest::header::LINK;
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use crate::auth::scope::Scopes;
use crate::call::{CallTarget, RegistryCall};
use crate::error::Error;
use crate::origin::leaves_tls;
use crate::redirect::location_of;
use crate::refusal::Action;
use crate::session::RegistrySession;
use crate::url_text::authority;

/// Bytes. A page of a thousand tags of the greatest length is about an eighth of it.
const LARGEST_PAGE: usize = 1 << 20;
/// A registry that has more pages than this is going round in circles.
const MOST_PAGES: usize = 10_000;

#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<String>>,
}

impl RegistrySession {
    pub(crate) fn list_tags(&self, repository: &ImageRef) -> Result<Vec<String>, Error> {
        let endpoint = self.upstream(repository)?;
        let scopes = Scopes::pull(&endpoint.repository);
        let path = format!("/v2/{}/tags/list?n=1000", endpoint.repository);
        let mut target = CallTarget::Path(path);
        let mut tags = Vec::new();
        for _ in 0..MOST_PAGES {
            let mut answer = self.call(&RegistryCall {
                target,
                ..RegistryCall::new(&endpoint, Method::GET, String::new(), &scopes)
            })?;
            if answer.status != StatusCode::OK {
                return Err(answer
                    .into_refusal(Action::Tags(endpoint.familiar()))
                    .into());
            }
            let body = answer.body.read_up_to(LARGEST_PAGE)?;
            let page: Page = serde_json::from_slice(&body).map_err(|_| Error::Protocol {
                host: authority(&answer.url),
                problem: "answered with something else than a list of tags",
            })?;
            tags.extend(page.tags.unwrap_or_default());
            match answer.header(LINK).and_then(next_page) {
                Some(next) => {
                    let next = location_of(&answer.url, next)?;
                    if leaves_tls(&answer.url, &next) {
                        return Err(Error::Protocol {
                            host: authority(&answer.url),
                            problem: "leads from HTTPS to plain HTTP",
                        });
                    }
                    target = CallTarget::Url(next);
                }
                None => return Ok(tags),
            }
        }
        Err(Error::Protocol {
            host: endpoint.host,
            problem: "has pages of tags without end",
        })
    }
}

/// Finds the URL of `<url>; rel="next"` in a `Link` header (RFC 8288).
fn next_page(link: &str) -> Option<&str> {
    let mut rest = link;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (url, after) = after.split_once('>')?;
        let end = after.find('<').unwrap_or(after.len());
        let is_next = after[..end].split([';', ',']).any(|parameter| {
            let parameter = parameter.trim().to_ascii_lowercase();
            parameter
                .strip_prefix("rel=")
                .is_some_and(|relation| relation.trim_matches('"') == "next")
        });
        if is_next {
            return Some(url);
        }
        rest = &after[end..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        for (link, expected) in [
            (
                r#"</v2/a/tags/list?last=b>; rel="next""#,
                Some("/v2/a/tags/list?last=b"),
            ),
            (r#"<a>; rel="prev", <b,c>; title=x; REL=next"#, Some("b,c")),
            (r#"<a>; rel="prev""#, None),
            ("nonsense", None),
        ] {
            assert_eq!(next_page(link), expected, "{link}");
        }
    }
}
