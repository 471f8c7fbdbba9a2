//! A data directory served on a loopback port for the length of one command.

use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;

use store::api::{OpenError, Store};
use store::http::State;
use tokio::sync::watch;

use crate::appliance::{ended, open_store, service};
use crate::config::Config;

/// Serves until dropped.
pub(crate) struct LocalServer {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    store: Store,
}

impl LocalServer {
    /// Opens the store and serves it on a free port.
    ///
    /// # Errors
    /// See [`OpenError`]; a port that cannot be had is reported as an I/O error on the directory.
    pub(crate) fn open(dir: &Path) -> Result<LocalServer, OpenError> {
        let io = |source| OpenError::Io {
            action: "serve",
            path: dir.to_owned(),
            source,
        };
        let mut config = Config::defaults(&crate::environment);
        config.data_dir = dir.to_owned();
        let store = open_store(&config, None)?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        let addr = listener.local_addr().map_err(io)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(io)?;
        let (stop, stopped) = watch::channel(false);
        let service = service(&config, &store, None, std::sync::Arc::default());
        service.set_state(State::Ready);
        let serve = move || -> std::io::Result<()> {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                store::http::serve(listener, service, ended(stopped)).await
            })
        };
        let thread = std::thread::Builder::new().name("drupelet-ask".to_owned());
        let thread = thread.spawn(serve).map_err(io)?;
        Ok(LocalServer {
            addr,
            stop,
            thread: Some(thread),
            store,
        })
    }

    /// Where it is served.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // Nothing was appended, so there is nothing that closing could fail to write.
        let _ = self.store.close();
    }
}
