//! Every kind of file that a certificate may come in, and every way in which it may be wrong.

use std::fs;

use rcgen::{ExtendedKeyUsagePurpose, SanType, date_time_ymd};

use super::*;
use crate::tls::fixtures::{self, Folder, Pair};

fn refusal(certificate: &Certificate) -> String {
    load(certificate).expect_err("a refusal").to_string()
}

#[test]
fn a_certificate_says_what_it_is_for() {
    let folder = Folder::new();
    let mut params = fixtures::params("www.example.org");
    params.subject_alt_names.push(SanType::IpAddress("192.0.2.7".parse().unwrap()));
    params.subject_alt_names.push(SanType::IpAddress("2001:db8::7".parse().unwrap()));
    params.not_after = date_time_ymd(2030, 6, 1);
    let loaded = load(&folder.pair("a", &fixtures::signed_by_itself(&params))).unwrap();
    assert_eq!(loaded.names, ["www.example.org", "192.0.2.7", "2001:db8::7"]);
    assert_eq!(loaded.subject, "CN=www.example.org");
    assert_eq!((loaded.not_before, loaded.not_after), (1_577_836_800, 1_906_502_400));
    assert_eq!(loaded.key.cert.len(), 1);

    folder.openssl("x509 -in a.pem -outform der -out a.der");
    folder.openssl("dgst -sha256 -out a.sum a.der");
    let sum = fs::read_to_string(folder.path("a.sum")).unwrap();
    assert!(sum.trim().ends_with(&format!("= {}", loaded.thumbprint)), "{sum} {}", loaded.thumbprint);
    let short = &loaded.thumbprint[..8];
    assert_eq!(loaded.to_string(), format!("CN=www.example.org (SHA-256 {short}…, until 2030-06-01)"));
}

#[test]
fn a_certificate_without_a_subject_is_called_by_its_name() {
    let mut params = fixtures::params("www.example.org");
    params.distinguished_name = rcgen::DistinguishedName::new();
    let folder = Folder::new();
    let loaded = load(&folder.pair("a", &fixtures::signed_by_itself(&params))).unwrap();
    assert_eq!(loaded.subject, "");
    assert!(loaded.to_string().starts_with("www.example.org (SHA-256 "), "{loaded}");
}

#[test]
fn validity_has_four_states() {
    let folder = Folder::new();
    let loaded = load(&folder.pair("a", &fixtures::pair("a"))).unwrap();
    let (start, end) = (loaded.not_before, loaded.not_after);
    assert_eq!(loaded.validity(start - 1), Validity::NotYet);
    assert_eq!(loaded.validity(start), Validity::Valid);
    assert_eq!(loaded.validity(end - 30 * DAY - 1), Validity::Valid);
    assert_eq!(loaded.validity(end - 30 * DAY), Validity::EndsSoon { days: 30 });
    assert_eq!(loaded.validity(end), Validity::EndsSoon { days: 0 });
    assert_eq!(loaded.validity(end + 1), Validity::Expired);
    assert!(loaded.is_valid(end) && !loaded.is_valid(end + 1) && !loaded.is_valid(start - 1));
}

#[test]
fn keys_of_every_kind_are_taken() {
    let folder = Folder::new();
    let request = "req -x509 -days 90 -subj /CN=kinds -nodes";
    for (kind, make) in [
        ("rsa", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.p8"),
        ("p256", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out p256.p8"),
        ("p384", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out p384.p8"),
        ("ed25519", "genpkey -algorithm ed25519 -out ed25519.p8"),
    ] {
        folder.openssl(make);
        folder.openssl(&format!("{request} -key {kind}.p8 -out {kind}.pem"));
        let chain = folder.path(&format!("{kind}.pem"));
        let mut keys = vec![(folder.path(&format!("{kind}.p8")), "BEGIN PRIVATE KEY")];
        if kind != "ed25519" {
            // PKCS#1 for RSA, SEC1 for the others.
            folder.openssl(&format!("pkey -in {kind}.p8 -traditional -out {kind}.old"));
            let label = if kind == "rsa" { "BEGIN RSA PRIVATE KEY" } else { "BEGIN EC PRIVATE KEY" };
            keys.push((folder.path(&format!("{kind}.old")), label));
        }
        for (key, label) in keys {
            assert!(fs::read_to_string(&key).unwrap().contains(label), "{}", key.display());
            let loaded = load(&Certificate::pem(&chain, &key)).unwrap();
            assert_eq!(loaded.subject, "CN=kinds", "{}", key.display());
        }
    }
    // With the parameters of the curve in front, as `openssl ecparam` writes them.
    folder.openssl("ecparam -name prime256v1 -genkey -out parameters.key");
    folder.openssl(&format!("{request} -key parameters.key -out parameters.pem"));
    load(&Certificate::pem(folder.path("parameters.pem"), folder.path("parameters.key"))).unwrap();
}

#[test]
fn one_file_may_have_both() {
    let folder = Folder::new();
    let Pair { chain, key } = fixtures::pair("both");
    for text in [format!("{chain}{key}"), format!("A comment.\n{key}\n{chain}")] {
        let both = folder.write("both.pem", text);
        assert_eq!(load(&Certificate::pem(&both, &both)).unwrap().subject, "CN=both");
    }
}

#[test]
fn encrypted_keys_need_their_password() {
    let folder = Folder::new();
    let certificate = folder.pair("a", &fixtures::pair("a"));
    let chain = folder.path("a.pem");
    for (number, cipher) in
        ["-v2 aes-256-cbc", "-v2 aes-128-cbc -v2prf hmacWithSHA1", "-v2 des3", "-scrypt"].iter().enumerate()
    {
        folder.openssl(&format!("pkcs8 -topk8 -in a.key -out {number}.key {cipher} -passout pass:right"));
        let key = folder.path(&format!("{number}.key"));
        let sealed = Certificate::pem(&chain, &key);
        let right = load(&sealed.clone().with_password("right")).expect(cipher);
        assert_eq!(right.thumbprint, load(&certificate).unwrap().thumbprint);
        assert_eq!(
            refusal(&sealed.clone().with_password("wrong")),
            format!(
                "The password given for {} does not open it. Give the one that it was made with.",
                key.display()
            )
        );
        assert_eq!(
            refusal(&sealed),
            format!("The private key in {} is encrypted. Give its password.", key.display())
        );
    }
    // Both in one file, the certificate first.
    let both = format!(
        "{}{}",
        fs::read_to_string(&chain).unwrap(),
        fs::read_to_string(folder.path("0.key")).unwrap()
    );
    let both = folder.write("both.pem", both);
    load(&Certificate::pem(&both, &both).with_password("right")).unwrap();
}

#[test]
fn ciphers_that_are_not_supported_say_how_to_convert() {
    let folder = Folder::new();
    folder.pair("a", &fixtures::pair("a"));
    // PBES1, as very old tools wrote it.
    folder.openssl("pkcs8 -topk8 -in a.key -out old.key -v1 PBE-SHA1-3DES -passout pass:right");
    let (chain, key) = (folder.path("a.pem"), folder.path("old.key"));
    let text = refusal(&Certificate::pem(&chain, &key).with_password("right"));
    let begin = format!("The file {} is encrypted in a way that is not supported: ", key.display());
    let end = format!("Convert it: openssl pkcs8 -topk8 -in {} -out NEW_FILE", key.display());
    assert!(text.starts_with(&begin) && text.ends_with(&end), "{text}");
}

#[test]
fn keys_encrypted_in_the_old_form_say_how_to_convert() {
    let folder = Folder::new();
    folder.openssl("genrsa -traditional -out a.key 2048");
    folder.openssl("req -x509 -days 90 -subj /CN=a -key a.key -out a.pem");
    folder.openssl("rsa -in a.key -traditional -aes128 -out old.key -passout pass:right");
    let (chain, key) = (folder.path("a.pem"), folder.path("old.key"));
    let expected = |key: &Path| {
        format!(
            "The private key in {0} is encrypted in the old form of OpenSSL (Proc-Type: 4,ENCRYPTED), which is weak \
             and not supported. Convert it: openssl pkcs8 -topk8 -in {0} -out NEW_FILE",
            key.display()
        )
    };
    assert_eq!(refusal(&Certificate::pem(&chain, &key).with_password("right")), expected(&key));
    let both = format!("{}{}", fs::read_to_string(&chain).unwrap(), fs::read_to_string(&key).unwrap());
    let both = folder.write("both.pem", both);
    assert_eq!(refusal(&Certificate::pem(&both, &both)), expected(&both));
}

#[test]
fn archives_old_and_new_have_their_chain_in_order() {
    let folder = Folder::new();
    let root = fixtures::authority("root");
    let upper = fixtures::authority_under("upper", &root);
    let lower = fixtures::authority_under("lower", &upper);
    let leaf = fixtures::issue("leaf", &lower, ExtendedKeyUsagePurpose::ServerAuth);
    folder.pair("leaf", &leaf);
    // In a wrong order, and with one that has nothing to do with it.
    let stranger = fixtures::pair("stranger").chain;
    folder.write("more.pem", format!("{}{}{stranger}{}", root.pem(), upper.pem(), lower.pem()));
    for (number, form) in [
        "-legacy",
        "-certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES -macalg sha1 -legacy",
        "",
        "-certpbe AES-128-CBC -keypbe AES-256-CBC -macalg sha512",
        "-certpbe NONE -keypbe NONE",
        "-nomac",
    ]
    .iter()
    .enumerate()
    {
        folder.openssl(&format!(
            "pkcs12 -export -in leaf.pem -inkey leaf.key -certfile more.pem -out {number}.p12 {form} \
             -passout pass:right"
        ));
        let archive = Certificate::pkcs12(folder.path(&format!("{number}.p12")));
        let loaded = load(&archive.clone().with_password("right")).expect(form);
        assert_eq!(loaded.names, ["leaf"], "{form}");
        let subjects: Vec<String> = loaded
            .key
            .cert
            .iter()
            .map(|der| X509Certificate::from_der(der).unwrap().1.subject().to_string())
            .collect();
        assert_eq!(subjects, ["CN=leaf", "CN=lower", "CN=upper"], "{form}");
        // With no checksum there is nothing but the padding to know a wrong password by: some word will do.
        if !form.contains("-nomac") {
            let CertificateSource::Pkcs12(path) = &archive.source else { unreachable!("an archive") };
            let path = path.display();
            assert_eq!(
                refusal(&archive.clone().with_password("wrong")),
                format!(
                    "The password given for {path} does not open it. Give the one that it was made with."
                )
            );
            assert_eq!(
                refusal(&archive),
                format!("The private key in {path} is encrypted. Give its password.")
            );
        }
    }
}

#[test]
fn archives_without_a_password_a_key_or_a_certificate() {
    let folder = Folder::new();
    folder.pair("a", &fixtures::pair("a"));
    folder.pair("b", &fixtures::pair("b"));
    folder.openssl("pkcs12 -export -in a.pem -inkey a.key -out open.p12 -passout pass:");
    assert_eq!(load(&Certificate::pkcs12(folder.path("open.p12"))).unwrap().subject, "CN=a");
    folder.openssl("pkcs12 -export -in a.pem -nokeys -out no-key.p12 -passout pass:x");
    let text = refusal(&Certificate::pkcs12(folder.path("no-key.p12")).with_password("x"));
    assert!(text.contains("no-key.p12 has no private key. "), "{text}");
    folder.openssl("pkcs12 -export -nocerts -inkey a.key -out no-certificate.p12 -passout pass:x");
    let text = refusal(&Certificate::pkcs12(folder.path("no-certificate.p12")).with_password("x"));
    assert!(text.contains("no-certificate.p12 has no certificate. "), "{text}");
    let text = refusal(&Certificate::pkcs12(folder.path("a.pem")));
    assert!(text.starts_with("The archive in ") && text.contains("a.pem is damaged: "), "{text}");
}

#[test]
fn files_that_are_not_what_they_should_be() {
    let folder = Folder::new();
    let Pair { chain, key } = fixtures::pair("a");
    let good = folder.pair("a", &fixtures::pair("a"));
    let (chain_path, key_path) = (folder.path("a.pem"), folder.path("a.key"));
    let missing = folder.path("missing");
    let shown = missing.display();
    assert_eq!(
        refusal(&Certificate::pem(&missing, &key_path)),
        format!(
            "Cannot read the certificate {shown}: No such file or directory (os error 2). Name a file that exists."
        )
    );
    let text = refusal(&Certificate::pem(&chain_path, &missing));
    assert!(text.starts_with(&format!("Cannot read the private key {shown}: ")), "{text}");
    let text = refusal(&Certificate::pkcs12(&missing));
    assert!(text.starts_with(&format!("Cannot read the archive {shown}: ")), "{text}");
    let mut with_response = good.clone();
    with_response.ocsp_response = Some(missing.clone());
    let text = refusal(&with_response);
    assert!(text.starts_with(&format!("Cannot read the OCSP response {shown}: ")), "{text}");

    let text = refusal(&Certificate::pem(&key_path, &key_path));
    assert!(
        text.ends_with(
            "a.key has no certificate. Name one with the certificate of the server and its chain."
        )
    );
    let text = refusal(&Certificate::pem(&chain_path, &chain_path));
    assert!(text.ends_with("a.pem has no private key. Name one with the key of the certificate."), "{text}");
    folder.openssl("x509 -in a.pem -outform der -out a.der");
    let text = refusal(&Certificate::pem(folder.path("a.der"), &key_path));
    assert!(text.contains("it seems to be DER. Convert it: openssl x509 -inform der "), "{text}");
    folder.openssl("pkey -in a.key -outform der -out key.der");
    let text = refusal(&Certificate::pem(&chain_path, folder.path("key.der")));
    assert!(text.contains("it seems to be DER. Convert it: openssl pkey -inform der "), "{text}");

    // Cut, as while somebody writes it.
    let cut = folder.write("cut.pem", &chain[..chain.len() / 2]);
    let text = refusal(&Certificate::pem(&cut, &key_path));
    assert!(text.ends_with("is damaged: a section of PEM has no end. Get it anew from whoever issued it."));
    let cut = folder.write("cut.key", &key[..key.len() / 2]);
    let text = refusal(&Certificate::pem(&chain_path, &cut));
    assert!(text.contains("cut.key is damaged: "), "{text}");
    let noise =
        folder.write("noise.pem", "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n");
    let text = refusal(&Certificate::pem(&noise, &key_path));
    assert!(text.starts_with("The certificate 1 in ") && text.contains("is damaged: "), "{text}");
    let good_first = folder.write("second.pem", format!("{chain}{}", fs::read_to_string(&noise).unwrap()));
    let text = refusal(&Certificate::pem(&good_first, folder.write("first.key", &key)));
    assert!(text.starts_with("The certificate 2 in "), "{text}");
}

#[test]
fn keys_that_cannot_sign_are_refused() {
    let folder = Folder::new();
    folder.openssl("genrsa -out small.key 1024");
    folder.openssl("req -x509 -days 90 -subj /CN=small -key small.key -out small.pem");
    let text = refusal(&Certificate::pem(folder.path("small.pem"), folder.path("small.key")));
    assert!(text.contains("small.key cannot be used: ") && text.contains("Use ECDSA with P-256"), "{text}");
}

#[test]
fn the_key_must_be_that_of_the_first_certificate() {
    let folder = Folder::new();
    let (a, b) = (fixtures::pair("a"), fixtures::pair("b"));
    folder.pair("a", &a);
    folder.pair("b", &b);
    let (chain, key) = (folder.path("a.pem"), folder.path("b.key"));
    assert_eq!(
        refusal(&Certificate::pem(&chain, &key)),
        format!(
            "The private key in {} does not belong to the certificate in {}. Name the two files of one pair.",
            key.display(),
            chain.display()
        )
    );
    let two = folder.write("two.pem", format!("{}{}", a.chain, b.chain));
    let text = refusal(&Certificate::pem(&two, &key));
    assert!(
        text.contains("b.key belongs to certificate 2 in ") && text.contains("not to the first."),
        "{text}"
    );
}

#[test]
fn certificates_must_be_for_servers_if_they_say_for_whom() {
    let folder = Folder::new();
    let root = fixtures::authority("root");
    let client = fixtures::issue("somebody", &root, ExtendedKeyUsagePurpose::ClientAuth);
    let text = refusal(&folder.pair("client", &client));
    assert!(text.starts_with("The certificate CN=somebody in "), "{text}");
    assert!(text.contains("is not for servers: its extended key usage does not have serverAuth."), "{text}");
    for usage in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any] {
        load(&folder.pair("server", &fixtures::issue("a", &root, usage))).unwrap();
    }
}

#[test]
fn an_ocsp_response_goes_along() {
    let folder = Folder::new();
    let mut certificate = folder.pair("a", &fixtures::pair("a"));
    assert_eq!(load(&certificate).unwrap().key.ocsp, None);
    certificate.ocsp_response = Some(folder.write("a.ocsp", b"response"));
    assert_eq!(load(&certificate).unwrap().key.ocsp.as_deref(), Some(&b"response"[..]));
}

#[test]
fn nothing_secret_is_shown() {
    let folder = Folder::new();
    let certificate = folder.pair("a", &fixtures::pair("a")).with_password("hush");
    let shown = format!("{:?} {certificate:?}", load(&certificate).unwrap());
    assert!(!shown.contains("hush") && shown.contains("CN=a"), "{shown}");
}
