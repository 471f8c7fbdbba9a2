//! The connection against servers of the test's own: TLS, keep-alive, and what failures are called.

use disk::real::RealDisk;
use disk::{Mode, Purpose};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::super::endpoint::Client;
use super::*;

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(test)
}

fn http(client: &Client) -> Http {
    let disk = Arc::new(RealDisk::new());
    Http::new(
        client.endpoint().unwrap(),
        client.tls.clone(),
        client.timeout,
        disk,
    )
}

/// Answers requests on a stream until its end; how many there were.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, answer: &str) -> usize {
    let (mut requests, mut got, mut buffer) = (0, Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer).await {
            Ok(n) if n > 0 => got.extend_from_slice(&buffer[..n]),
            _ => return requests,
        }
        // The test's bodies end so.
        if got.ends_with(b"!") {
            requests += 1;
            got.clear();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }
}

async fn push(http: &mut Http) -> Result<u16, Fault> {
    http.push(Bytes::from_static(b"body!"))
        .await
        .map(|a| a.status)
}

#[test]
fn certificates_are_checked_against_the_authorities() {
    run(async {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                // Clients that trust nobody end here.
                if let Ok(stream) = acceptor.accept(tcp).await {
                    tokio::spawn(async move { answer(stream, NO_CONTENT).await });
                }
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let disk = RealDisk::new();
        let file = disk.open(&path, Mode::CreateNew, Purpose::State).unwrap();
        file.write_at(cert.pem().as_bytes(), 0).unwrap();

        let check = async |url: &str, ca: bool, skip: bool| {
            let mut client = Client::new(&url.replace("PORT", &port.to_string()));
            client.tls.ca_file = ca.then(|| path.clone());
            client.tls.insecure_skip_verify = skip;
            let result = push(&mut http(&client)).await;
            result.map_err(|fault| {
                assert_eq!(fault.reason, Reason::Unreachable);
                fault.text
            })
        };
        assert_eq!(check("https://localhost:PORT", true, false).await, Ok(204));
        assert_eq!(check("https://127.0.0.1:PORT", false, true).await, Ok(204));
        let unknown = check("https://localhost:PORT", false, false)
            .await
            .unwrap_err();
        assert!(
            unknown.contains("TLS: invalid peer certificate"),
            "{unknown}"
        );
        let name = check("https://127.0.0.1:PORT", true, false)
            .await
            .unwrap_err();
        assert!(
            name.contains("TLS: invalid peer certificate: certificate not valid for name"),
            "{name}"
        );
    });
}

#[test]
fn a_connection_is_kept_and_a_stale_one_is_replaced_at_once() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut http = http(&Client::new(&format!(
            "http://{}",
            listener.local_addr().unwrap()
        )));
        let server = tokio::spawn(async move {
            let (mut first, _) = listener.accept().await.unwrap();
            let mut served = 0;
            let mut buffer = vec![0; 4096];
            while served < 2 {
                let n = first.read(&mut buffer).await.unwrap();
                if buffer[..n].ends_with(b"!") {
                    served += 1;
                    first.write_all(NO_CONTENT.as_bytes()).await.unwrap();
                }
            }
            // As a server that has waited long enough, when the next request is under way.
            let _ = first.read(&mut buffer).await.unwrap();
            drop(first);
            let (second, _) = listener.accept().await.unwrap();
            answer(second, NO_CONTENT).await
        });
        for _ in 0..3 {
            assert_eq!(push(&mut http).await.unwrap(), 204);
        }
        drop(http);
        assert_eq!(server.await.unwrap(), 1);
    });
}

#[test]
fn p9_hostile_answers_are_bounded() {
    let long = "x".repeat(BODY_MAX + 1);
    let cases = [
        ("SSH-2.0-server\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12", None),
        (&format!("HTTP/1.1 200 {}", "x".repeat(HEAD_MAX + 1)), None),
        (
            &format!(
                "HTTP/1.1 400 Bad\r\nContent-Length: {}\r\n\r\n{long}",
                long.len()
            ),
            Some((400, BODY_MAX)),
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", Some((204, 0))),
    ];
    run(async {
        for (text, want) in cases {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = Client::new(&format!("http://{}", listener.local_addr().unwrap()));
            client.timeout = Duration::from_secs(60);
            let text = text.to_owned();
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                // The client may have seen enough.
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
            let got = http(&client).push(Bytes::from_static(b"body!")).await;
            match (got, want) {
                (Ok(answer), Some(want)) => assert_eq!((answer.status, answer.body.len()), want),
                (Err(fault), None) => assert_eq!(fault.reason, Reason::Disconnected),
                (got, want) => panic!("{got:?}, not {want:?}"),
            }
            server.await.unwrap();
        }
    });
}
