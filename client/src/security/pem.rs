//! Keys and certificates as PEM text, in files or in a config.

use std::path::PathBuf;
use std::{fmt, fs, io};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

/// Where PEM text is.
#[derive(Clone, PartialEq, Eq)]
pub enum PemSource {
    /// In a file.
    File(PathBuf),
    /// In the config itself.
    Text(String),
}

/// A key in the config stays out of logs.
impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PemSource::File(path) => write!(f, "{}", path.display()),
            PemSource::Text(_) => write!(f, "in the config"),
        }
    }
}

/// Why PEM text cannot be used. Each says what to do.
#[derive(Debug, Error)]
pub enum PemError {
    /// A file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Its text is not what it should be.
    #[error("{0:?} has no PEM certificate (BEGIN CERTIFICATE)")]
    NoCertificate(PemSource),
    /// Its text is not what it should be.
    #[error("{0:?} has no unencrypted PEM key (BEGIN PRIVATE KEY); `openssl pkey` takes a passphrase off")]
    NoKey(PemSource),
}

impl PemSource {
    /// The certificates, in their order: at least one.
    ///
    /// # Errors
    /// [`PemError::Read`], [`PemError::NoCertificate`].
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, PemError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.read()?).collect();
        found.ok().filter(|found| !found.is_empty()).ok_or_else(|| PemError::NoCertificate(self.clone()))
    }

    /// The first key.
    ///
    /// # Errors
    /// [`PemError::Read`], [`PemError::NoKey`].
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, PemError> {
        PrivateKeyDer::from_pem_slice(&self.read()?).map_err(|_| PemError::NoKey(self.clone()))
    }

    fn read(&self) -> Result<Vec<u8>, PemError> {
        match self {
            PemSource::Text(text) => Ok(text.clone().into_bytes()),
            PemSource::File(path) => {
                fs::read(path).map_err(|error| PemError::Read { path: path.clone(), error })
            }
        }
    }
}
