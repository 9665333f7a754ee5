//! TLS with certificates, by the file names that nbdkit, qemu and libnbd know.

use crate::link::Link;
use crate::wire::Wire;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no such thing.
    #[error("\"{}\": {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The directory is one for pre-shared keys.
    #[error(
        "\"{}\" holds pre-shared keys, which are not supported: certificates are needed \
         (server-cert.pem, server-key.pem, and ca-cert.pem to ask clients for theirs)",
        path.display()
    )]
    PreSharedKeys {
        /// The directory.
        path: PathBuf,
    },
    /// They do not fit together.
    #[error("the certificates in \"{}\": {source}", path.display())]
    Unfit {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The certificates of a server.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    config: Arc<ServerConfig>,
    asks_clients: bool,
}

impl TlsFiles {
    /// Reads `server-cert.pem` and `server-key.pem` of a directory. Where `ca-cert.pem` is there too, clients must have a certificate that
    /// it has signed.
    ///
    /// # Errors
    /// Any [`TlsError`].
    pub fn read(dir: &Path) -> Result<Self, TlsError> {
        let [cert, key, ca] = ["server-cert.pem", "server-key.pem", "ca-cert.pem"].map(|n| dir.join(n));
        if !cert.exists() && dir.join("keys.psk").exists() {
            return Err(TlsError::PreSharedKeys { path: dir.to_owned() });
        }
        let chain = certificates(&cert)?;
        let key =
            PrivateKeyDer::from_pem_file(&key).map_err(|source| TlsError::File { path: key, source })?;
        let asks_clients = ca.exists();
        let unfit = |source| TlsError::Unfit { path: dir.to_owned(), source };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| unfit(e.into()))?;
        let builder = if asks_clients {
            let mut roots = RootCertStore::empty();
            for root in certificates(&ca)? {
                roots.add(root).map_err(|e| unfit(e.into()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|e| unfit(e.into()))?)
        } else {
            builder.with_no_client_auth()
        };
        let config = builder.with_single_cert(chain, key).map_err(|e| unfit(e.into()))?;
        Ok(Self { config: Arc::new(config), asks_clients })
    }

    /// Whether clients must have a certificate.
    pub fn asks_clients(&self) -> bool {
        self.asks_clients
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    let found = found.map_err(failed)?;
    if found.is_empty() { Err(failed(rustls::pki_types::pem::Error::NoItemsFound)) } else { Ok(found) }
}

/// Bytes received at a time: a record and its head.
const RECORD: usize = 18 << 10;

/// A connection under TLS.
pub(crate) struct TlsWire {
    link: Link,
    tls: Mutex<ServerConnection>,
    /// Whose turn it is to encrypt and send: records must go out in the order they were made.
    turn: Mutex<()>,
    /// What has been decrypted and not been taken, and from where on. Only the receiving thread has it.
    plain: Mutex<(Vec<u8>, usize)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn broken(e: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {e}"))
}

impl TlsWire {
    /// Shakes hands.
    pub(crate) fn accept(link: Link, files: &TlsFiles, deadline: Option<Instant>) -> io::Result<Self> {
        let mut tls = ServerConnection::new(Arc::clone(&files.config)).map_err(broken)?;
        tls.set_buffer_limit(None);
        let wire =
            Self { link, tls: Mutex::new(tls), turn: Mutex::default(), plain: Mutex::new((Vec::new(), 0)) };
        while lock(&wire.tls).is_handshaking() {
            if !wire.more(deadline)? {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "TLS: the client went away"));
            }
        }
        Ok(wire)
    }

    /// Receives once, and decrypts what there is. False at the end.
    fn more(&self, deadline: Option<Instant>) -> io::Result<bool> {
        let mut raw = [0; RECORD];
        let n = self.link.receive(&mut raw, deadline)?;
        let mut rest = &raw[..n];
        let mut failed = None;
        while !rest.is_empty() && failed.is_none() {
            let mut tls = lock(&self.tls);
            if tls.read_tls(&mut rest)? == 0 {
                break;
            }
            failed = tls.process_new_packets().err();
            let mut plain = lock(&self.plain);
            match tls.reader().read_to_end(&mut plain.0) {
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
                _ => {}
            }
        }
        // Its part of a handshake, or word of what is wrong.
        self.flush()?;
        match failed {
            Some(e) => Err(broken(e)),
            None => Ok(n > 0),
        }
    }

    /// Sends what TLS itself has to say.
    fn flush(&self) -> io::Result<()> {
        if lock(&self.tls).wants_write() { self.send(&[]) } else { Ok(()) }
    }
}

impl Wire for TlsWire {
    fn receive(&self, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        loop {
            {
                let mut plain = lock(&self.plain);
                let (bytes, from) = &mut *plain;
                let n = (bytes.len() - *from).min(buf.len());
                if n > 0 || buf.is_empty() {
                    buf[..n].copy_from_slice(&bytes[*from..*from + n]);
                    *from += n;
                    return Ok(n);
                }
                bytes.clear();
                *from = 0;
            }
            if !self.more(deadline)? {
                return Ok(0);
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let _turn = lock(&self.turn);
        let mut records = Vec::with_capacity(bytes.len() + 512);
        {
            let mut tls = lock(&self.tls);
            tls.writer().write_all(bytes)?;
            while tls.wants_write() {
                tls.write_tls(&mut records)?;
            }
        }
        // Without the state: while the client does not take this, what it sends can be decrypted.
        self.link.send(&records)
    }

    fn close(&self) {
        lock(&self.tls).send_close_notify();
        // It may be gone.
        let _ = self.flush();
    }
}
