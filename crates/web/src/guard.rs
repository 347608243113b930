//! Who may come in: the `Host` check, the token, and the headers on every answer.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{
            AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, COOKIE, HOST,
            LOCATION, REFERRER_POLICY, SET_COOKIE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
            X_FRAME_OPTIONS,
        },
        uri::{Authority, Uri},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use samara_node::api::ErrorKind;

use crate::{
    WebOptions, api,
    limits::MAX_REQUEST_BYTES,
    node::{Failure, Node},
    pages,
};

/// The style sheet; open to all, so that the page that asks for the token has it.
pub(crate) const STYLE_PATH: &str = "/style.css";

/// No script at all, nothing from elsewhere: what a newsletter's author writes can
/// neither run nor report that it was read.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What is checked of every request.
pub(crate) struct Guard {
    node: Arc<dyn Node>,
    bound: SocketAddr,
    allowed: Vec<String>,
    cookie: String,
}

impl Guard {
    pub(crate) fn new(node: Arc<dyn Node>, bound: SocketAddr, options: &WebOptions) -> Self {
        Self {
            node,
            bound,
            allowed: options.allowed_hosts.iter().map(|n| canonical(n)).collect(),
            // Cookies do not know ports: two nodes of one machine need two names.
            cookie: format!("samara-{}", bound.port()),
        }
    }

    /// Whether every name by which the request calls us is ours. RFC 9112 section
    /// 3.2: exactly one Host field; an absolute target goes before it.
    fn permits(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let Ok(host) = Authority::try_from(host.as_bytes()) else {
            return false;
        };
        self.permits_name(&host) && uri.authority().is_none_or(|named| self.permits_name(named))
    }

    fn permits_name(&self, authority: &Authority) -> bool {
        if authority.as_str().contains('@') {
            return false;
        }
        let name = canonical(authority.host());
        let literal = name.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = literal.parse::<IpAddr>() {
            // An address cannot be rebound to another one. On a wildcard address
            // any of this machine's addresses is the bound one.
            let bound = self.bound.ip();
            return ip.is_loopback() || bound.is_unspecified() || ip == bound;
        }
        name == "localhost" || self.allowed.contains(&name)
    }

    fn is_token(&self, given: &str) -> bool {
        // Comparing hashes takes the same time wherever the texts differ.
        !self.node.token().is_empty()
            && blake3::hash(given.as_bytes()) == blake3::hash(self.node.token().as_bytes())
    }

    fn has_bearer(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()) else {
            return false;
        };
        let Some((scheme, token)) = value.split_once(' ') else {
            return false;
        };
        scheme.eq_ignore_ascii_case("bearer") && self.is_token(token.trim())
    }

    fn has_cookie(&self, headers: &HeaderMap) -> bool {
        let wanted = blake3::hash(self.cookie_value().as_bytes());
        headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .any(|(name, value)| name == self.cookie && blake3::hash(value.as_bytes()) == wanted)
    }

    /// Not the token itself: a browser shows cookies to every port of a host, and
    /// the cookie opens reading only.
    fn cookie_value(&self) -> String {
        blake3::Hash::from(blake3::derive_key(
            "samara web 2026 cookie of the pages",
            self.node.token().as_bytes(),
        ))
        .to_hex()
        .to_string()
    }

    fn let_in(&self, request: &Request) -> Entry {
        let path = request.uri().path();
        if matches!(path, "/metrics" | "/healthz" | STYLE_PATH) {
            return Entry::Open;
        }
        if self.has_bearer(request.headers()) {
            return Entry::Open;
        }
        let reading = matches!(*request.method(), Method::GET | Method::HEAD);
        if reading
            && path == "/"
            && let Some(token) = query_token(request.uri())
        {
            return if self.is_token(token) {
                Entry::GiveCookie
            } else {
                Entry::Shut
            };
        }
        // Pages of other ports of this host count as the same site, so a cookie
        // must not be able to change anything.
        if reading && self.has_cookie(request.headers()) {
            return Entry::Open;
        }
        Entry::Shut
    }
}

enum Entry {
    Open,
    GiveCookie,
    Shut,
}

/// The middleware around every route.
pub(crate) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = if !guard.permits(request.uri(), request.headers()) {
        (
            StatusCode::MISDIRECTED_REQUEST,
            "The Host header does not name this machine. Use an IP address or localhost, or \
             add the name to http_allowed_hosts in samara's config.toml.\n",
        )
            .into_response()
    } else if announced_length(request.headers()) > MAX_REQUEST_BYTES as u64 {
        // Said before the body comes; one that does not announce itself is cut while it is read.
        (StatusCode::PAYLOAD_TOO_LARGE, "The request is too large.\n").into_response()
    } else {
        match guard.let_in(&request) {
            Entry::Open => next.run(request).await,
            Entry::GiveCookie => {
                let cookie = format!(
                    "{}={}; Path=/; HttpOnly; SameSite=Strict",
                    guard.cookie,
                    guard.cookie_value()
                );
                (
                    StatusCode::SEE_OTHER,
                    [(SET_COOKIE, cookie), (LOCATION, "/".to_owned())],
                )
                    .into_response()
            }
            Entry::Shut => {
                let mut response = if request.uri().path().starts_with("/api/") {
                    api::failure(Failure::new(
                        ErrorKind::Denied,
                        "the token is missing or wrong: send `Authorization: Bearer` with \
                         what stands in the file `token` of the data directory",
                    ))
                } else {
                    pages::locked()
                };
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                response
                    .headers_mut()
                    .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                response
            }
        }
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

fn canonical(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_suffix('.').map(str::to_owned).unwrap_or(name)
}

fn announced_length(headers: &HeaderMap) -> u64 {
    headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or(0)
}

/// The token consists of letters and digits, so nothing needs decoding.
fn query_token(uri: &Uri) -> Option<&str> {
    uri.query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::Canned;

    fn permits(bound: &str, allowed: &[&str], host: &str) -> bool {
        let options = WebOptions {
            allowed_hosts: allowed.iter().map(|&n| n.to_owned()).collect(),
        };
        let guard = Guard::new(
            Arc::new(Canned::default()),
            bound.parse().unwrap(),
            &options,
        );
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        guard.permits(&Uri::from_static("/"), &headers)
    }

    #[test]
    fn names_of_this_machine_are_permitted() {
        for host in [
            "localhost",
            "LOCALHOST:7422",
            "localhost.",
            "127.0.0.1:7422",
            "127.8.9.1",
            "[::1]:7422",
        ] {
            assert!(permits("127.0.0.1:7422", &[], host), "{host}");
        }
        assert!(permits("192.0.2.7:1", &[], "192.0.2.7:1"));
        assert!(permits("0.0.0.0:1", &[], "192.0.2.7:1"));
        assert!(permits("127.0.0.1:1", &["Node.Example"], "node.example:80"));
    }

    #[test]
    fn foreign_names_are_refused() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "192.0.2.8",
            "[2001:db8::1]",
        ] {
            assert!(
                !permits("127.0.0.1:7422", &["node.example"], host),
                "{host}"
            );
        }
        assert!(!permits("0.0.0.0:1", &[], "evil.example"));
    }

    #[test]
    fn no_host_two_hosts_and_a_foreign_absolute_target_are_refused() {
        let guard = Guard::new(
            Arc::new(Canned::default()),
            "127.0.0.1:1".parse().unwrap(),
            &WebOptions::default(),
        );
        let mut headers = HeaderMap::new();
        assert!(!guard.permits(&Uri::from_static("/"), &headers));
        headers.append(HOST, HeaderValue::from_static("localhost"));
        assert!(!guard.permits(&Uri::from_static("http://evil.example/"), &headers));
        assert!(guard.permits(&Uri::from_static("http://localhost/"), &headers));
        headers.append(HOST, HeaderValue::from_static("localhost"));
        assert!(!guard.permits(&Uri::from_static("/"), &headers));
    }
}
