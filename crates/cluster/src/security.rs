//! The `security.toml` that all processes of one cluster share.

use std::fmt::Write;
use std::path::Path;

use crate::{READ_KEY, WRITE_KEY};

/// What the cluster protects itself with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Protection {
    pub(crate) jwt: bool,
    pub(crate) tls: bool,
}

impl Protection {
    /// The text of the file; `dir` holds the certificates. None when nothing is protected.
    pub(crate) fn security_toml(self, dir: &Path) -> Option<String> {
        let mut text = String::new();
        if self.jwt {
            for (section, key) in [("jwt.signing", WRITE_KEY), ("jwt.signing.read", READ_KEY)] {
                let _ = writeln!(
                    text,
                    "[{section}]\nkey = \"{key}\"\nexpires_after_seconds = 60"
                );
            }
        }
        if self.tls {
            let dir = dir.display();
            let _ = writeln!(text, "[grpc]\nca = \"{dir}/ca.crt\"");
            for server in ["master", "volume", "filer"] {
                let _ = writeln!(text, "[grpc.{server}]\n{}", pair(&dir, "server"));
                let _ = writeln!(
                    text,
                    "[https.{server}]\n{}\nca = \"{dir}/ca.crt\"",
                    pair(&dir, "server")
                );
            }
            let _ = writeln!(text, "[grpc.client]\n{}", pair(&dir, "client"));
            let _ = writeln!(
                text,
                "[https.client]\nenabled = true\n{}\nca = \"{dir}/ca.crt\"",
                pair(&dir, "client")
            );
        }
        (!text.is_empty()).then_some(text)
    }
}

fn pair(dir: &impl std::fmt::Display, name: &str) -> String {
    format!("cert = \"{dir}/{name}.crt\"\nkey = \"{dir}/{name}.key\"")
}
