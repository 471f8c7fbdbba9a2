//! Where to push and as whom: what a configuration says, checked.
//!
//! Secrets have no `Display`, and their `Debug` is a row of asterisks: they reach the wire and nothing else.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use disk::Disk;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::Authority;

/// Where Loki takes pushes.
const PUSH_PATH: &str = "/loki/api/v1/push";
/// Largest secret in a file, bytes: service account tokens have some 1,200.
const SECRET_MAX: u64 = 64 << 10;

/// A text that is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// As it is.
    Text(String),
    /// In a file, read again for each connection, so that it may change; a line feed at its end is left out.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Text(_) => f.write_str("********"),
            Secret::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

impl Secret {
    fn read(&self, disk: &dyn Disk) -> io::Result<String> {
        let path = match self {
            Secret::Text(text) => return Ok(text.clone()),
            Secret::File(path) => path,
        };
        let bytes = disk::atomic::read(disk, path, SECRET_MAX).map_err(|e| {
            io::Error::new(
                e.kind(),
                format!("cannot read secret `{}`: {e}", path.display()),
            )
        })?;
        let text = String::from_utf8(bytes).map_err(|_| {
            let text = format!("secret `{}` is not text", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        Ok(text.trim_end_matches(['\n', '\r']).to_owned())
    }
}

/// As whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Nobody.
    None,
    /// User and password.
    Basic {
        /// User.
        username: String,
        /// Password.
        password: Secret,
    },
    /// A token.
    Bearer(Secret),
}

/// How a server's certificate is checked. Nothing of it is loaded without `https`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// PEM file with the authorities to trust instead of Mozilla's.
    pub ca_file: Option<PathBuf>,
    /// Trust everybody. For tests of a setup only.
    pub insecure_skip_verify: bool,
}

/// One server to push to. Names and defaults are Promtail's.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// `http://` or `https://`, host, port, path; without a path, Loki's own is meant.
    pub url: String,
    /// Tenant, sent as `X-Scope-OrgID`.
    pub tenant_id: Option<String>,
    /// As whom.
    pub auth: Auth,
    /// Certificates.
    pub tls: Tls,
    /// Longest that an entry waits for others. Default 1 s.
    pub batch_wait: Duration,
    /// Bytes of a batch before compression; one is filled while another is on its way. Default 1 MiB.
    pub batch_size: usize,
    /// Longest that a request takes, connecting included. Default 10 s.
    pub timeout: Duration,
    /// First wait after a failure. Default 500 ms.
    pub min_period: Duration,
    /// Longest wait. Default 5 min.
    pub max_period: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Client");
        shown
            .field("url", &self::shown(&self.url))
            .field("auth", &self.auth);
        shown.finish_non_exhaustive()
    }
}

impl Client {
    /// A client with defaults.
    #[must_use]
    pub fn new(url: &str) -> Client {
        Client {
            url: url.to_owned(),
            tenant_id: None,
            auth: Auth::None,
            tls: Tls::default(),
            batch_wait: Duration::from_secs(1),
            batch_size: 1 << 20,
            timeout: Duration::from_secs(10),
            min_period: Duration::from_millis(500),
            max_period: Duration::from_secs(300),
        }
    }

    /// Checks what can be checked without the network.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn endpoint(&self) -> Result<Endpoint, UrlError> {
        let fail = |reason: &'static str| UrlError {
            url: shown(&self.url),
            reason,
        };
        if !self.url.starts_with("http://") && !self.url.starts_with("https://") {
            return Err(fail("it must begin with http:// or https://"));
        }
        if self.url.contains('#') {
            return Err(fail("it must not have a fragment"));
        }
        let uri: Uri = self.url.parse().map_err(|_| fail("it is not a URL"))?;
        let authority = uri.authority().ok_or_else(|| fail("it names no host"))?;
        let host = authority.host();
        if host.is_empty() || host == "[]" {
            return Err(fail("it names no host"));
        }
        // `Uri` takes any digits, and none.
        let rest = authority.as_str().rsplit('@').next().unwrap_or_default();
        let https = uri.scheme_str() == Some("https");
        let port = match rest.strip_prefix(host) {
            Some("") | None => {
                if https {
                    443
                } else {
                    80
                }
            }
            Some(_) => authority
                .port_u16()
                .ok_or_else(|| fail("its port is not a number from 1 to 65535"))?,
        };
        let auth = match user_info(authority.as_str()) {
            None => self.auth.clone(),
            Some(_) if self.auth != Auth::None => {
                return Err(fail(
                    "it has a user, and basic_auth or bearer_token is set too; leave one of them",
                ));
            }
            Some(info) => {
                let (user, password) = info.split_once(':').unwrap_or((info, ""));
                let decode = |t| {
                    percent_decode(t)
                        .ok_or_else(|| fail("its user or password is not percent-encoded text"))
                };
                Auth::Basic {
                    username: decode(user)?,
                    password: Secret::Text(decode(password)?),
                }
            }
        };
        let path = uri
            .path_and_query()
            .map_or("/", hyper::http::uri::PathAndQuery::as_str);
        let added_path = path == "/";
        let path = if added_path { PUSH_PATH } else { path };
        let tenant = self.tenant_id.as_deref().filter(|t| !t.is_empty());
        let tenant = tenant
            .map(HeaderValue::from_str)
            .transpose()
            .map_err(|_| fail("tenant_id is not printable text"))?;
        Ok(Endpoint {
            shown: format!("{}://{rest}{path}", if https { "https" } else { "http" }),
            https,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            host_header: HeaderValue::from_str(rest).map_err(|_| fail("it names no host"))?,
            path: path.parse().map_err(|_| fail("its path is no path"))?,
            added_path,
            tenant,
            auth,
        })
    }
}

/// A URL that cannot be pushed to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot push to `{url}`: {reason}")]
pub struct UrlError {
    /// Without user and password.
    url: String,
    reason: &'static str,
}

/// A checked client.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The URL without user and password.
    pub shown: String,
    /// Whether Loki's path was added.
    pub added_path: bool,
    pub(crate) https: bool,
    /// Name or address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) host_header: HeaderValue,
    pub(crate) path: Uri,
    pub(crate) tenant: Option<HeaderValue>,
    auth: Auth,
}

impl Endpoint {
    /// The `Authorization` header, its secrets read from their files.
    ///
    /// # Errors
    /// A secret that cannot be read, or cannot be sent.
    pub fn authorization(&self, disk: &dyn Disk) -> io::Result<Option<HeaderValue>> {
        let text = match &self.auth {
            Auth::None => return Ok(None),
            Auth::Basic { username, password } => {
                let pair = format!("{username}:{}", password.read(disk)?);
                format!(
                    "Basic {}",
                    base64::engine::general_purpose::STANDARD.encode(pair)
                )
            }
            Auth::Bearer(token) => format!("Bearer {}", token.read(disk)?),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the bearer token is not printable text",
            )
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// A URL without user and password, whatever else is wrong with it.
#[must_use]
pub fn shown(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let parsed = url.parse::<Uri>().ok();
    // A port that is no number is more likely a password with a slash in it.
    let sound = |a: &&Authority| a.as_str().ends_with(a.host()) || a.port_u16().is_some();
    let authority = parsed.as_ref().and_then(Uri::authority).filter(sound);
    let end = match authority {
        Some(authority) => start + authority.as_str().len(),
        // What is no URL may have an unescaped password with anything in it.
        None => url.len(),
    };
    match url.get(start..end).and_then(user_info) {
        Some(info) => format!("{}{}", &url[..start], &url[start + info.len() + 1..]),
        None => url.to_owned(),
    }
}

fn user_info(authority: &str) -> Option<&str> {
    authority.rsplit_once('@').map(|(info, _)| info)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        out.push((digit()? << 4 | digit()?) as u8);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use disk::real::RealDisk;

    fn endpoint(url: &str) -> Result<Endpoint, UrlError> {
        Client::new(url).endpoint()
    }

    #[test]
    fn urls() {
        let check = |url: &str, want: &str, host: &str, port: u16| {
            let got = endpoint(url).unwrap();
            assert_eq!(
                (got.shown.as_str(), got.host.as_str(), got.port),
                (want, host, port),
                "{url}"
            );
        };
        check("http://loki", "http://loki/loki/api/v1/push", "loki", 80);
        check(
            "http://loki:3100/",
            "http://loki:3100/loki/api/v1/push",
            "loki",
            3100,
        );
        check(
            "https://l.example/x/push?a=b",
            "https://l.example/x/push?a=b",
            "l.example",
            443,
        );
        check(
            "http://[::1]:3100",
            "http://[::1]:3100/loki/api/v1/push",
            "::1",
            3100,
        );
        check("http://[::1]", "http://[::1]/loki/api/v1/push", "::1", 80);
        check(
            "http://u:p@loki:1",
            "http://loki:1/loki/api/v1/push",
            "loki",
            1,
        );
        assert_eq!(shown("http://u:p@loki:1/a@b"), "http://loki:1/a@b");
        assert_eq!(shown("http://loki:1/a@b"), "http://loki:1/a@b");
        assert!(endpoint("http://loki").unwrap().added_path);
        assert!(!endpoint("http://loki/x").unwrap().added_path);
    }

    #[test]
    fn wrong_urls_say_what_is_wrong_and_show_no_password() {
        let check = |url: &str, want: &str| {
            let got = endpoint(url).unwrap_err().to_string();
            assert!(
                got.contains(want) && !got.contains("hunter2"),
                "{url}: {got}"
            );
        };
        check("loki:3100", "must begin with http://");
        check("ftp://u:hunter2@loki", "must begin with http://");
        check("http://", "not a URL");
        check("http://u:hunter2@", "");
        check("http://u:hunter2@lo ki", "not a URL");
        check("http://u:hunter2/3@loki", "");
        check("http://u:hunter2.x/3@loki", "");
        check("http://u:hunter2@loki/#x", "fragment");
        check("http://loki:99999", "port");
        check("http://loki:/x", "port");
        check("http://u:%zz@loki", "percent-encoded");
        let mut both = Client::new("http://u:hunter2@loki");
        both.auth = Auth::Bearer(Secret::Text("hunter2".to_owned()));
        let got = both.endpoint().unwrap_err().to_string();
        assert!(
            got.contains("leave one of them") && !got.contains("hunter2"),
            "{got}"
        );
        assert!(!format!("{both:?}").contains("hunter2"));
    }

    #[test]
    fn authorization_is_made_from_texts_and_files() {
        let disk = RealDisk::new();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let header = |client: &Client| {
            let header = client.endpoint().unwrap().authorization(&disk);
            header.map(|h| h.map(|h| h.to_str().unwrap().to_owned()))
        };
        let mut client = Client::new("http://al%3Ae:p%40ss@loki");
        // `printf 'al:e:p@ss' | base64`
        assert_eq!(header(&client).unwrap().unwrap(), "Basic YWw6ZTpwQHNz");
        client = Client::new("http://loki");
        assert_eq!(header(&client).unwrap(), None);
        client.auth = Auth::Bearer(Secret::File(path.clone()));
        let missing = header(&client).unwrap_err().to_string();
        assert!(
            missing.contains("cannot read secret") && missing.contains("token"),
            "{missing}"
        );
        let file = disk
            .open(&path, disk::Mode::CreateNew, disk::Purpose::State)
            .unwrap();
        file.write_at(b"abc\n", 0).unwrap();
        assert_eq!(header(&client).unwrap().unwrap(), "Bearer abc");
        client.auth = Auth::Bearer(Secret::Text("a\nb".to_owned()));
        assert!(header(&client).is_err());
    }
}
