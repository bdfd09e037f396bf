//! Where answers send a request, and how far it is followed there.

use reqwest::header::{AUTHORIZATION, LOCATION};
use reqwest::{Method, Url};

use crate::answer::HttpAnswer;
use crate::call::FollowedRequest;
use crate::endpoint::{Endpoint, HostSecurity};
use crate::error::Error;
use crate::origin::{Along, leads_to, onward};
use crate::session::RegistrySession;
use crate::transport::HttpRequest;
use crate::trust::Trust;
use crate::url_text::authority;

/// As many as browsers and curl allow, roughly.
const MOST_REDIRECTS: usize = 10;

impl RegistrySession {
    /// Sends a request and follows redirects, as far as [`onward`] allows.
    pub(crate) fn follow(&self, request: FollowedRequest<'_>) -> Result<HttpAnswer, Error> {
        let FollowedRequest {
            method,
            mut url,
            mut headers,
            payload,
            endpoint,
            downgrade,
            answer_size,
        } = request;
        for _ in 0..=MOST_REDIRECTS {
            let request = HttpRequest {
                method: method.clone(),
                url: url.clone(),
                headers: headers.clone(),
                body: payload.open(&url)?,
                answer_size,
            };
            let answer = self.transport.send(&self.trust(&url, endpoint), request)?;
            let Some(next) = redirect(method, &answer)? else {
                return Ok(answer);
            };
            match onward(&url, &next, payload.is_some(), downgrade)? {
                Along::Everything => {}
                Along::Question => {
                    headers.remove(AUTHORIZATION);
                }
            }
            url = next;
        }
        Err(Error::Protocol {
            host: authority(&url),
            problem: "redirects without end",
        })
    }

    /// Returns whom to trust at a URL: a registry's own, or one that it named.
    fn trust(&self, url: &Url, endpoint: Option<&Endpoint>) -> Trust {
        if url.scheme() != "https" {
            return Trust::Plain;
        }
        let channels = match endpoint {
            Some(endpoint) if leads_to(url, &endpoint.host) => {
                self.channels(&endpoint.host, endpoint.security)
            }
            _ => {
                let host = authority(url);
                let insecure = self.registries.is_insecure(&host);
                self.channels(&host, HostSecurity::of(&host, insecure))
            }
        };
        channels
            .into_iter()
            .find(|channel| channel.scheme == "https")
            .map_or(Trust::System, |channel| channel.trust)
    }
}

/// Returns where an answer sends the client, if it does.
fn redirect(method: &Method, answer: &HttpAnswer) -> Result<Option<Url>, Error> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let redirects = match answer.status.as_u16() {
        301..=303 => reads,
        // These two keep the method and the body.
        307 | 308 => true,
        _ => false,
    };
    let Some(location) = answer.header(LOCATION).filter(|_| redirects) else {
        return Ok(None);
    };
    location_of(&answer.url, location).map(Some)
}

/// Resolves a `Location`, absolute or relative.
pub(crate) fn location_of(base: &Url, location: &str) -> Result<Url, Error> {
    let unusable = || Error::Protocol {
        host: authority(base),
        problem: "gave a location that is not a URL",
    };
    let url = base.join(location).map_err(|_| unusable())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(unusable()),
    }
}
