//! security.toml: the secrets and certificates of a cluster.
//!
//! One file serves all of SeaweedFS's programs, so most of it is none of our
//! business and is ignored; what a client needs is read here, and what a server needs
//! that stands in for a volume server. Every value can
//! be given in the environment instead, which wins: `grpc.ca` as
//! `WEED_GRPC_CA`. Settings that would leave a connection less protected than
//! they seem to ask for are errors.

mod document;

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::jwt::SigningKey;
use document::Document;

/// What a client takes from security.toml. By default nothing: plain connections, no tokens.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// The file it was read from, if there was one.
    pub source: Option<PathBuf>,
    /// Mutual TLS for gRPC.
    pub grpc: Option<GrpcTls>,
    /// HTTPS for data.
    pub https: Option<HttpsClient>,
    /// HTTPS as the volume server serves it.
    pub https_volume: Option<HttpsServer>,
    /// Servers look at the address of who asks (`guard.white_list`).
    pub has_white_list: bool,
    /// Signs writes to volume servers.
    pub write_key: Option<SigningKey>,
    /// Signs reads from volume servers.
    pub read_key: Option<SigningKey>,
    /// Signs writes to a filer by HTTP.
    pub filer_write_key: Option<SigningKey>,
    /// Signs reads from a filer by HTTP.
    pub filer_read_key: Option<SigningKey>,
}

/// Mutual TLS for gRPC: `grpc.ca`, `grpc.client.*` and `tls.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcTls {
    /// PEM file of the authority.
    pub ca: PathBuf,
    /// PEM file of our certificate.
    pub certificate: PathBuf,
    /// PEM file of our private key.
    pub key: PathBuf,
    /// Versions to speak.
    pub versions: TlsVersions,
}

/// HTTPS for data: `https.client.*` and `tls.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsClient {
    /// PEM file of the authority; nothing for those the system trusts.
    pub ca: Option<PathBuf>,
    /// PEM files of our certificate and its private key, for servers that want to see one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Believe any certificate. For experiments.
    pub insecure_skip_verify: bool,
    /// Versions to speak.
    pub versions: TlsVersions,
}

/// HTTPS of a server: `https.volume.*` and `tls.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsServer {
    /// PEM file of its certificate.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
    /// PEM file of the authority that clients' certificates must lead to; nothing when they
    /// need none.
    pub client_ca: Option<PathBuf>,
    /// Versions to speak.
    pub versions: TlsVersions,
}

/// The oldest and the newest version of TLS to speak, where limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TlsVersions {
    /// `tls.min_version`.
    pub min: Option<TlsVersion>,
    /// `tls.max_version`.
    pub max: Option<TlsVersion>,
}

/// A version of TLS. There are older ones in the format, which nobody should speak any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl Security {
    /// Reads the first security.toml of those places where weed looks for it: `config_dir` if
    /// it is given, the working directory, `~/.seaweedfs`, `/usr/local/etc/seaweedfs` and
    /// `/etc/seaweedfs`. No file is fine, there may still be the environment.
    ///
    /// # Errors
    /// When the file cannot be read or makes no sense.
    pub fn load(config_dir: Option<&Path>) -> Result<Self, SecurityError> {
        let home = env::var_os("HOME").map(PathBuf::from);
        let variable = |name: &str| env::var(name).ok();
        for path in candidates(config_dir, home.as_deref()) {
            match read(&path) {
                Ok(text) => return Self::parse(&text, Some(&path), &variable),
                Err(error) if is_absent(&error) => {}
                Err(source) => return Err(SecurityError::Read { path, source }),
            }
        }
        Self::parse("", None, &variable)
    }

    /// Reads the text of a security.toml. `source` is for errors; `variable` looks up a
    /// variable of the environment.
    ///
    /// # Errors
    /// When the text makes no sense.
    pub fn parse(
        text: &str,
        source: Option<&Path>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, SecurityError> {
        let document = Document::parse(text, source, variable)?;
        let versions = versions(&document)?;
        Ok(Self {
            source: source.map(Path::to_owned),
            grpc: grpc(&document, versions)?,
            https: https(&document, versions)?,
            https_volume: https_server(&document, "https.volume", versions)?,
            has_white_list: document.text("guard.white_list")?.is_some(),
            write_key: signing_key(&document, "jwt.signing", WRITE_LIFETIME)?,
            read_key: signing_key(&document, "jwt.signing.read", READ_LIFETIME)?,
            filer_write_key: signing_key(&document, "jwt.filer_signing", WRITE_LIFETIME)?,
            filer_read_key: signing_key(&document, "jwt.filer_signing.read", READ_LIFETIME)?,
        })
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// The file is there but cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not TOML.
    #[error("{origin}: {reason}")]
    Syntax {
        /// The file.
        origin: String,
        /// Where it goes wrong and how; values are not repeated, since they may be secret.
        reason: String,
    },
    /// A value is of the wrong kind, or does not go together with another.
    #[error("{origin}: {key}: {reason}")]
    Value {
        /// The file, or the variable of the environment.
        origin: String,
        /// The setting.
        key: String,
        /// What is expected.
        reason: String,
    },
}

const FILE: &str = "security.toml";
/// Longest file that is read; the commented template has 8 KiB.
const MAX_FILE: u64 = 1 << 20;
/// How long a token for writing is good when nothing is configured.
const WRITE_LIFETIME: u64 = 10;
/// The same for reading.
const READ_LIFETIME: u64 = 60;

fn candidates(config_dir: Option<&Path>, home: Option<&Path>) -> Vec<PathBuf> {
    let home = home.map(|home| home.join(".seaweedfs"));
    let fixed = ["/usr/local/etc/seaweedfs", "/etc/seaweedfs"].map(PathBuf::from);
    let given = config_dir.map(Path::to_owned);
    let places = given
        .into_iter()
        .chain([PathBuf::from(".")])
        .chain(home)
        .chain(fixed);
    places.map(|place| place.join(FILE)).collect()
}

fn read(path: &Path) -> io::Result<String> {
    let too_long = || io::Error::other(format!("is longer than {MAX_FILE} bytes"));
    let mut text = String::new();
    let mut file = io::Read::take(fs::File::open(path)?, MAX_FILE + 1);
    io::Read::read_to_string(&mut file, &mut text)?;
    if text.len() as u64 > MAX_FILE {
        Err(too_long())
    } else {
        Ok(text)
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn grpc(document: &Document<'_>, versions: TlsVersions) -> Result<Option<GrpcTls>, SecurityError> {
    let ca = document.path("grpc.ca")?;
    match (ca, identity(document, "grpc.client")?) {
        // A server's own file names the authority and no client.
        (_, None) => Ok(None),
        (Some(ca), Some((certificate, key))) => Ok(Some(GrpcTls {
            ca,
            certificate,
            key,
            versions,
        })),
        (None, Some(_)) => {
            Err(document.wrong("grpc.ca", "must be set along with grpc.client.cert"))
        }
    }
}

fn https(
    document: &Document<'_>,
    versions: TlsVersions,
) -> Result<Option<HttpsClient>, SecurityError> {
    if !document.flag("https.client.enabled")? {
        return Ok(None);
    }
    Ok(Some(HttpsClient {
        ca: document.path("https.client.ca")?,
        identity: identity(document, "https.client")?,
        insecure_skip_verify: document.flag("https.client.insecure_skip_verify")?,
        versions,
    }))
}

fn https_server(
    document: &Document<'_>,
    section: &str,
    versions: TlsVersions,
) -> Result<Option<HttpsServer>, SecurityError> {
    let Some((certificate, key)) = identity(document, section)? else {
        return Ok(None);
    };
    Ok(Some(HttpsServer {
        certificate,
        key,
        client_ca: document.path(&format!("{section}.ca"))?,
        versions,
    }))
}

/// Certificate and key of a section: both or none.
fn identity(
    document: &Document<'_>,
    section: &str,
) -> Result<Option<(PathBuf, PathBuf)>, SecurityError> {
    let [cert, key] = ["cert", "key"].map(|name| format!("{section}.{name}"));
    match (document.path(&cert)?, document.path(&key)?) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, Some(_)) => Err(document.wrong(&cert, format!("must be set along with {key}"))),
        (Some(_), None) => Err(document.wrong(&key, format!("must be set along with {cert}"))),
    }
}

fn versions(document: &Document<'_>) -> Result<TlsVersions, SecurityError> {
    let expected = "expected \"TLS 1.2\" or \"TLS 1.3\"";
    let version = |key: &str| {
        let Some(text) = document.text(key)? else {
            return Ok(None);
        };
        let number = text
            .trim()
            .trim_start_matches(['T', 'L', 'S', 't', 'l', 's', 'v', ' ']);
        match number {
            "1.2" => Ok(Some(TlsVersion::Tls12)),
            "1.3" => Ok(Some(TlsVersion::Tls13)),
            // As the oldest they allow all that is spoken here.
            "1.0" | "1.1" | "3" if key == MIN_VERSION => Ok(None),
            _ => Err(document.wrong(key, format!("{text:?}: {expected}"))),
        }
    };
    let versions = TlsVersions {
        min: version(MIN_VERSION)?,
        max: version(MAX_VERSION)?,
    };
    match versions {
        TlsVersions {
            min: Some(min),
            max: Some(max),
        } if min > max => Err(document.wrong(MIN_VERSION, "is newer than tls.max_version")),
        versions => Ok(versions),
    }
}

const MIN_VERSION: &str = "tls.min_version";
const MAX_VERSION: &str = "tls.max_version";

fn signing_key(
    document: &Document<'_>,
    section: &str,
    lifetime: u64,
) -> Result<Option<SigningKey>, SecurityError> {
    let seconds = document.number(&format!("{section}.expires_after_seconds"))?;
    let seconds = seconds.unwrap_or(lifetime);
    // 0 makes tokens without end, as it does for weed.
    let lifetime = (seconds > 0).then(|| Duration::from_secs(seconds));
    let secret = document.text(&format!("{section}.key"))?;
    Ok(secret.map(|secret| SigningKey::new(secret.as_bytes(), lifetime)))
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        })
    }
}

#[cfg(test)]
mod tests;
