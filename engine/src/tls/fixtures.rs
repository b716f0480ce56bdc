//! Files for tests: folders that go when they are dropped, certificates by rcgen, and what only OpenSSL makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationList, CertificateRevocationListParams,
    CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig,
    ServerConnection,
};

use super::Certificate;

/// A folder of one test.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("peregrine-tls-{}-{number}", process::id()));
        fs::create_dir(&path).expect("a new folder");
        Self(path)
    }

    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a written file");
        path
    }

    /// Runs `openssl` in the folder.
    pub(super) fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(&self.0)
            .output()
            .expect("openssl is installed");
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Writes a pair as `NAME.pem` and `NAME.key`.
    pub(super) fn pair(&self, name: &str, pair: &Pair) -> Certificate {
        self.write(&format!("{name}.pem"), &pair.chain);
        self.write(&format!("{name}.key"), &pair.key);
        self.path_pair(name)
    }

    /// The pair that is there under a name.
    pub(super) fn path_pair(&self, name: &str) -> Certificate {
        Certificate::pem(self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A certificate and its key, both PEM.
pub(super) struct Pair {
    pub(super) chain: String,
    pub(super) key: String,
}

/// What to issue: for servers, from 2020 to 2999, with no usage named.
pub(super) fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2999, 1, 1);
    params
}

pub(super) fn signed_by_itself(params: &CertificateParams) -> Pair {
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    Pair { chain: certificate.pem(), key: key.serialize_pem() }
}

/// A certificate for one name, signed by itself.
pub(super) fn pair(name: &str) -> Pair {
    signed_by_itself(&params(name))
}

pub(super) type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.subject_alt_names.clear();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        rcgen::KeyUsagePurpose::KeyCertSign,
        rcgen::KeyUsagePurpose::CrlSign,
        rcgen::KeyUsagePurpose::DigitalSignature,
    ];
    params
}

pub(super) fn authority(name: &str) -> Authority {
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(authority_params(name), key).expect("an authority")
}

pub(super) fn authority_under(name: &str, above: &Authority) -> Authority {
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::signed_by(authority_params(name), key, above).expect("an authority")
}

/// A certificate of an authority for one client or server.
pub(super) fn issue(name: &str, authority: &Authority, usage: ExtendedKeyUsagePurpose) -> Pair {
    let mut params = params(name);
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    Pair { chain: certificate.pem(), key: key.serialize_pem() }
}

/// A client that trusts some certificates, and has one of its own if it is given one.
pub(super) fn client(trusted: &[&str], own: Option<&Pair>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for text in trusted {
        for der in CertificateDer::pem_slice_iter(text.as_bytes()) {
            roots.add(der.expect("PEM")).expect("a root");
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    match own {
        Some(pair) => {
            let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).map(|der| der.expect("PEM"));
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(chain.collect(), key).expect("a pair")
        }
        None => builder.with_no_client_auth(),
    }
}

/// What a handshake came to.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) kind: HandshakeKind,
    pub(super) version: ProtocolVersion,
    pub(super) suite: rustls::CipherSuite,
    pub(super) alpn: Option<Vec<u8>>,
    /// The certificates that the server had from the client.
    pub(super) shown: usize,
}

/// A client and a server shake hands in memory. An error is the server's if it has one.
pub(super) fn meet(
    client: &Arc<ClientConfig>,
    name: &str,
    server: Arc<ServerConfig>,
) -> Result<Met, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::clone(client), name)?;
    let mut server = ServerConnection::new(server)?;
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory takes all");
        }
        let mut unread = &bytes[..];
        while !unread.is_empty() {
            server.read_tls(&mut unread).expect("memory gives all");
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("memory takes all");
        }
        let mut unread = &bytes[..];
        while !unread.is_empty() {
            client.read_tls(&mut unread).expect("memory gives all");
            client.process_new_packets()?;
        }
    }
    assert!(!server.is_handshaking() && !client.is_handshaking());
    Ok(Met {
        kind: server.handshake_kind().expect("a handshake"),
        version: server.protocol_version().expect("a version"),
        suite: server.negotiated_cipher_suite().expect("a suite").suite(),
        alpn: server.alpn_protocol().map(<[u8]>::to_vec),
        shown: server.peer_certificates().map_or(0, <[_]>::len),
    })
}

/// A list of what an authority has revoked.
pub(super) fn revocation(authority: &Authority, revoked: &[&Pair]) -> CertificateRevocationList {
    let revoked = revoked.iter().map(|pair| RevokedCertParams {
        serial_number: serial_number(pair),
        revocation_time: date_time_ymd(2021, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2021, 1, 1),
        next_update: date_time_ymd(2999, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(authority).expect("a list")
}

fn serial_number(pair: &Pair) -> SerialNumber {
    let der = CertificateDer::from_pem_slice(pair.chain.as_bytes()).expect("PEM");
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).expect("a certificate");
    SerialNumber::from_slice(certificate.raw_serial())
}
