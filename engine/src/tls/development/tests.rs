//! The development certificate in folders of its own.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::*;

/// A folder that is not there yet; removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> (Self, DevCertificates) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = env::temp_dir().join(format!("peregrine-development-{}-{number}", process::id()));
        let store = DevCertificates::at(root.join("a/b"));
        (Self(root), store)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn why(found: Found) -> String {
    found.valid_or_why().unwrap_err().to_string()
}

#[test]
fn the_first_variable_that_says_something_names_the_folder() {
    let folder = |variables: &[(&str, &str)]| {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        folder_by(|name| find(name).map(|(_, value)| OsString::from(value)))
    };
    let home = ("HOME", "/home/a");
    assert_eq!(folder(&[]), None);
    assert_eq!(folder(&[home]), Some("/home/a/.local/share/peregrine/dev-certs".into()));
    assert_eq!(folder(&[home, ("XDG_DATA_HOME", "")]), folder(&[home]));
    assert_eq!(folder(&[home, ("XDG_DATA_HOME", "relative")]), folder(&[home]));
    assert_eq!(folder(&[home, ("XDG_DATA_HOME", "/data")]), Some("/data/peregrine/dev-certs".into()));
    let stated = ("PEREGRINE_DEV_CERTS", "/certs");
    assert_eq!(folder(&[home, ("XDG_DATA_HOME", "/data"), stated]), Some("/certs".into()));
}

#[test]
fn it_is_made_once_and_found_again() {
    let (_scratch, store) = Scratch::new();
    assert_eq!(store.look().unwrap(), Found::Nothing);
    assert!(!store.remove().unwrap());
    let made = store.find_or_create().unwrap();
    assert_eq!(store.find().unwrap().as_ref(), Some(&made), "what was made is what is read");
    assert_eq!(store.find_or_create().unwrap(), made);
    assert!((made.not_after - now() - (365 * 24 - 1) * 60 * 60).abs() < 60);
    assert_eq!((made.thumbprint.len(), made.short_thumbprint()), (64, &made.thumbprint[..8]));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&made.key), mode(store.folder())), (0o600, 0o700));
    assert_ne!(store.create().unwrap().thumbprint, made.thumbprint);
    assert!(store.remove().unwrap());
    assert_eq!(store.look().unwrap(), Found::Nothing);
    assert_eq!(fs::read_dir(store.folder()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn it_says_that_it_is_a_server_on_this_host_and_no_authority() {
    let (certificate, _) = generate(SystemTime::now()).unwrap();
    let pem = Pem::iter_from_buffer(certificate.as_bytes()).next().unwrap().unwrap();
    let x509 = pem.parse_x509().unwrap();
    assert_eq!(
        (x509.subject().to_string(), x509.issuer().to_string()),
        ("CN=localhost".into(), "CN=localhost".into())
    );
    assert!(!x509.basic_constraints().unwrap().expect("it says so").value.ca);
    assert!(x509.extended_key_usage().unwrap().unwrap().value.server_auth);
    let usage = x509.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign());
    let names = &x509.subject_alternative_name().unwrap().unwrap().value.general_names;
    for name in NAMES {
        assert!(names.contains(&GeneralName::DNSName(name)), "{name}");
    }
    assert!(names.contains(&GeneralName::IPAddress(&[127, 0, 0, 1])));
    assert!(names.contains(&GeneralName::IPAddress(&Ipv6Addr::LOCALHOST.octets())));
}

#[test]
fn one_that_is_not_valid_now_is_replaced() {
    let (_scratch, store) = Scratch::new();
    let day = Duration::from_secs(24 * 60 * 60);
    for time in [SystemTime::now() - 366 * day, SystemTime::now() + day] {
        let old = store.create_as_of(time).unwrap();
        assert!(matches!(store.look().unwrap(), Found::Expired(_)));
        assert_eq!(store.find().unwrap(), None);
        let new = store.find_or_create().unwrap();
        assert_ne!(new.thumbprint, old.thumbprint);
        assert_eq!(store.find().unwrap(), Some(new));
    }
}

#[test]
fn files_that_do_not_belong_together_count_as_not_there() {
    let (_scratch, store) = Scratch::new();
    let (_other_scratch, other) = Scratch::new();
    let made = store.create().unwrap();
    fs::copy(other.create().unwrap().key, &made.key).unwrap();
    assert_eq!(why(store.look().unwrap()), "The private key is not that of the certificate");
    fs::write(&made.key, "no key").unwrap();
    assert!(why(store.look().unwrap()).starts_with("The private key cannot be used"));
    fs::remove_file(&made.key).unwrap();
    assert!(why(store.look().unwrap()).ends_with("localhost-key.pem is missing"));
    store.create().unwrap();
    fs::write(&made.certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert_eq!(why(store.look().unwrap()), "The certificate is damaged");
    fs::write(&made.certificate, "").unwrap();
    assert_eq!(why(store.look().unwrap()), "There is no certificate in PEM");
    fs::remove_file(&made.certificate).unwrap();
    assert!(why(store.look().unwrap()).ends_with("localhost.pem is missing"));
    assert!(matches!(store.look().unwrap(), Found::Invalid(_)));
    let new = store.find_or_create().unwrap();
    assert_eq!(store.find().unwrap(), Some(new));
}

#[test]
fn only_certificates_for_localhost_are_adopted() {
    let (_scratch, store) = Scratch::new();
    let (_other_scratch, other) = Scratch::new();
    let made = other.create().unwrap();
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    let adopted = store.adopt(&text(&made.certificate), &text(&made.key)).unwrap();
    assert_eq!(adopted.thumbprint, made.thumbprint);
    assert_eq!(store.find().unwrap(), Some(adopted.clone()));

    let key = KeyPair::generate().unwrap();
    let elsewhere = CertificateParams::new(["example.com".to_owned()]).unwrap().self_signed(&key).unwrap();
    let refused = store.adopt(&elsewhere.pem(), &key.serialize_pem()).unwrap_err();
    assert_eq!(refused.to_string(), "The certificate is not for localhost");
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let client = params.self_signed(&key).unwrap();
    let refused = store.adopt(&client.pem(), &key.serialize_pem()).unwrap_err();
    assert_eq!(refused.to_string(), "The certificate is not for servers");
    assert_eq!(store.find().unwrap(), Some(adopted), "a refusal changes nothing");
}

#[test]
fn several_at_once_make_one_pair() {
    let (_scratch, store) = Scratch::new();
    let made: Vec<DevCertificate> = thread::scope(|scope| {
        let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| store.find_or_create().unwrap())).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert!(made.iter().all(|each| each == &made[0]), "{made:?}");
    assert_eq!(store.find().unwrap().as_ref(), Some(&made[0]));
}

#[test]
fn whoever_looks_while_it_is_replaced_finds_a_whole_pair() {
    let (_scratch, store) = Scratch::new();
    store.create().unwrap();
    thread::scope(|scope| {
        let replacer = scope.spawn(|| (0..50).for_each(|_| drop(store.create().unwrap())));
        while !replacer.is_finished() {
            let found = store.look().unwrap();
            assert!(matches!(found, Found::Valid(_)), "{found:?}");
        }
    });
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let (scratch, store) = Scratch::new();
    fs::write(&scratch.0, "a file in the way").unwrap();
    let refusal = store.find_or_create().unwrap_err().to_string();
    assert!(refusal.contains(store.folder().to_str().unwrap()), "{refusal}");
    fs::remove_file(&scratch.0).unwrap();
}
