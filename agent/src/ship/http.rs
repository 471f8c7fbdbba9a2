//! One connection to one endpoint: HTTP/1.1, kept alive, one request at a time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use disk::Disk;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::endpoint::{Endpoint, Tls};
use super::status::Reason;
use super::tls;

/// Largest head of an answer, bytes.
const HEAD_MAX: usize = 64 << 10;
/// How much of an answer's body is read: Loki names ten refused entries at most. More costs the connection.
const BODY_MAX: usize = 64 << 10;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    /// Its beginning.
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer, in words for the user.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) reason: Reason,
    pub(crate) text: String,
    pub(crate) advice: &'static str,
}

/// Pushes to an endpoint.
#[derive(Debug)]
pub(crate) struct Http {
    endpoint: Endpoint,
    tls: Tls,
    timeout: Duration,
    disk: Arc<dyn Disk>,
    connector: Option<Connector>,
    connection: Option<Connection>,
}

struct Connector(TlsConnector);

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    authorization: Option<HeaderValue>,
    /// Requests answered on it.
    answered: u64,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Http {
    pub(crate) fn new(
        endpoint: Endpoint,
        tls: Tls,
        timeout: Duration,
        disk: Arc<dyn Disk>,
    ) -> Http {
        Http {
            endpoint,
            tls,
            timeout,
            disk,
            connector: None,
            connection: None,
        }
    }

    /// The URL to show.
    pub(crate) fn shown(&self) -> &str {
        &self.endpoint.shown
    }

    /// Sends a body; all of it, connecting included, within the timeout. After a fault the connection is given up; the
    /// server may have stored the body.
    ///
    /// # Errors
    /// See [`Fault`].
    pub(crate) async fn push(&mut self, body: Bytes) -> Result<Answer, Fault> {
        let deadline = Instant::now() + self.timeout;
        let kept = self.connection.take().filter(|c| !c.sender.is_closed());
        if let Some(connection) = kept {
            match self.exchange(connection, body.clone(), deadline).await {
                // A server may close a connection that was idle just when the next request goes out: that says nothing
                // about the server.
                Err(fault) if fault.reason == Reason::Disconnected => {}
                result => return result,
            }
        }
        let connection = match timeout_at(deadline, self.connect(deadline)).await {
            Ok(connected) => connected?,
            Err(_) => {
                return Err(self.unreachable(
                    "no connection in time".to_owned(),
                    "is the address right, and the way to it open?",
                ));
            }
        };
        self.exchange(connection, body, deadline).await
    }

    /// Closes the connection, so that the next request reads secrets and asks for addresses again.
    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }

    async fn exchange(
        &mut self,
        mut connection: Connection,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Answer, Fault> {
        let request = self.request(&connection, body);
        let answered = async {
            connection.sender.ready().await?;
            let response = connection.sender.send_request(request).await?;
            read(response).await
        };
        match timeout_at(deadline, answered).await {
            Ok(Ok((answer, whole))) => {
                if whole {
                    connection.answered += 1;
                    self.connection = Some(connection);
                }
                Ok(answer)
            }
            Ok(Err(e)) => {
                let often = if connection.answered > 0 {
                    "kept"
                } else {
                    "new"
                };
                Err(Fault {
                    reason: Reason::Disconnected,
                    text: format!(
                        "the {often} connection to {} broke: {}",
                        self.endpoint.shown,
                        chain(&e)
                    ),
                    advice: "the server or something before it closed it",
                })
            }
            Err(_) => Err(Fault {
                reason: Reason::Timeout,
                text: format!(
                    "no answer from {} within {:?}",
                    self.endpoint.shown, self.timeout
                ),
                advice: "it is overloaded, or something on the way swallows packets",
            }),
        }
    }

    fn request(&self, connection: &Connection, body: Bytes) -> Request<Full<Bytes>> {
        const TENANT: hyper::header::HeaderName =
            hyper::header::HeaderName::from_static("x-scope-orgid");
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = self.endpoint.path.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.endpoint.host_header.clone());
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("drupelet/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some(tenant) = &self.endpoint.tenant {
            headers.insert(TENANT, tenant.clone());
        }
        if let Some(authorization) = &connection.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }

    async fn connect(&mut self, deadline: Instant) -> Result<Connection, Fault> {
        let authorization = self
            .endpoint
            .authorization(&*self.disk)
            .map_err(|e| Fault {
                reason: Reason::Credentials,
                text: e.to_string(),
                advice: "check the file of the secret and who may read it",
            })?;
        let tcp = self.connect_tcp(deadline).await?;
        if !self.endpoint.https {
            return self.handshake(tcp, authorization).await;
        }
        let connector = self.connector()?;
        let name = ServerName::try_from(self.endpoint.host.clone());
        let name = name.map_err(|_| {
            self.unreachable(
                "the host's name cannot be in a certificate".to_owned(),
                "check the URL",
            )
        })?;
        let tls = connector.connect(name, tcp).await;
        let tls = tls.map_err(|e| {
            let advice = "certificates: tls_config.ca_file names the authority of a private one; is it https at all?";
            self.unreachable(format!("TLS: {e}"), advice)
        })?;
        self.handshake(tls, authorization).await
    }

    fn connector(&mut self) -> Result<TlsConnector, Fault> {
        if let Some(connector) = &self.connector {
            return Ok(connector.0.clone());
        }
        let made = tls::connector(&self.tls, &*self.disk);
        let made = made.map_err(|e| self.unreachable(e.to_string(), "check tls_config"))?;
        self.connector = Some(Connector(made.clone()));
        Ok(made)
    }

    /// Asks for the addresses of the host and tries them in turn, each with a fair share of the time.
    async fn connect_tcp(&self, deadline: Instant) -> Result<TcpStream, Fault> {
        let (host, port) = (self.endpoint.host.as_str(), self.endpoint.port);
        let found = tokio::net::lookup_host((host, port)).await;
        let found: Vec<SocketAddr> = match found {
            Ok(found) => found.take(8).collect(),
            Err(e) => {
                let advice = "check the name; in Kubernetes it is SERVICE.NAMESPACE.svc";
                return Err(
                    self.unreachable(format!("the name `{host}` has no address: {e}"), advice)
                );
            }
        };
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for (i, address) in found.iter().enumerate() {
            let now = Instant::now();
            let share = deadline.saturating_duration_since(now) / (found.len() - i) as u32;
            match timeout_at(now + share, TcpStream::connect(address)).await {
                // A port of the range for outgoing connections, where nobody listens: it met itself.
                Ok(Ok(stream)) if stream.local_addr().ok() == Some(*address) => {
                    last = io::ErrorKind::ConnectionRefused.into();
                }
                Ok(Ok(stream)) => {
                    // One write a request: waiting for more to come only delays it.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(e)) => last = e,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        let advice = match last.kind() {
            io::ErrorKind::ConnectionRefused => {
                "nothing listens on that port: is the server running, is the port right?"
            }
            _ => "is the address right, and the way to it open (firewall, NetworkPolicy)?",
        };
        Err(self.unreachable(format!("cannot connect to {host}:{port}: {last}"), advice))
    }

    async fn handshake<S>(
        &self,
        stream: S,
        authorization: Option<HeaderValue>,
    ) -> Result<Connection, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_MAX);
        let shaken = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            shaken.map_err(|e| self.unreachable(chain(&e), "is it an HTTP server?"))?;
        let task = tokio::spawn(async move {
            // Its error reaches the request that was under way.
            let _ = connection.await;
        });
        Ok(Connection {
            sender,
            task,
            authorization,
            answered: 0,
        })
    }

    fn unreachable(&self, text: String, advice: &'static str) -> Fault {
        Fault {
            reason: Reason::Unreachable,
            text: format!("cannot reach {}: {text}", self.endpoint.shown),
            advice,
        }
    }
}

/// Reads an answer; whether its body was read to the end.
async fn read(response: Response<Incoming>) -> Result<(Answer, bool), hyper::Error> {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER);
    let retry_after = retry_after.and_then(|v| v.to_str().ok()).map(str::to_owned);
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    let mut whole = true;
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        let room = BODY_MAX - body.len();
        body.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            whole = false;
            break;
        }
    }
    let answer = Answer {
        status,
        retry_after,
        body,
    };
    Ok((answer, whole))
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
