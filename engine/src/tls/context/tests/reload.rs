//! Files that change under a running server, in each way that tools change them.

use std::fs;
use std::os::unix::fs::symlink;

use rcgen::date_time_ymd;

use super::*;

const DAY: i64 = 24 * 60 * 60;

fn lines(context: &Context) -> Vec<String> {
    context.refresh().iter().map(ToString::to_string).collect()
}

/// The subject of the one certificate in use.
fn subject(context: &Context) -> String {
    context.snapshot().certificates()[0].subject.clone()
}

fn is_replaced(lines: &[String], new: &str, old: &str) {
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with(&format!("Certificate CN={new} (SHA-256 ")), "{lines:?}");
    assert!(lines[0].contains(&format!(", until 2999-01-01) replaces CN={old} (SHA-256 ")), "{lines:?}");
}

#[test]
fn files_that_stay_change_nothing() {
    let folder = Folder::new();
    let pair = fixtures::pair("one");
    let context = context(&options(folder.pair("a", &pair)));
    let before = context.snapshot();
    assert!(context.refresh().is_empty());
    // The same bytes again, and other files with the same bytes.
    folder.pair("a", &pair);
    assert!(context.refresh().is_empty());
    folder.write("new", &pair.chain);
    fs::rename(folder.path("new"), folder.path("a.pem")).unwrap();
    assert!(context.refresh().is_empty());
    assert!(Arc::ptr_eq(&before, &context.snapshot()));
}

#[test]
fn files_written_in_place_are_taken() {
    let folder = Folder::new();
    let context = context(&options(folder.pair("a", &fixtures::pair("one"))));
    let before = context.snapshot();
    folder.pair("a", &fixtures::pair("two"));
    is_replaced(&lines(&context), "two", "one");
    assert!(context.refresh().is_empty(), "it is told once");
    assert_eq!(subject(&context), "CN=two");
    assert_eq!(before.certificates()[0].subject, "CN=one", "what has begun goes on");
}

#[test]
fn files_renamed_into_place_are_taken() {
    let folder = Folder::new();
    let context = context(&options(folder.pair("a", &fixtures::pair("one"))));
    folder.pair("new", &fixtures::pair("two"));
    for ending in ["pem", "key"] {
        fs::rename(folder.path(&format!("new.{ending}")), folder.path(&format!("a.{ending}"))).unwrap();
    }
    is_replaced(&lines(&context), "two", "one");
    assert_eq!(subject(&context), "CN=two");
}

#[test]
fn links_that_lead_elsewhere_are_followed() {
    let folder = Folder::new();
    // As Kubernetes mounts secrets: a link to the folder of now, and a link to each file through that.
    for (version, name) in [("v1", "one"), ("v2", "two")] {
        let pair = fixtures::pair(name);
        fs::create_dir(folder.path(version)).unwrap();
        folder.write(&format!("{version}/tls.crt"), pair.chain);
        folder.write(&format!("{version}/tls.key"), pair.key);
    }
    symlink("v1", folder.path("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), folder.path(file)).unwrap();
    }
    let context = context(&options(Certificate::pem(folder.path("tls.crt"), folder.path("tls.key"))));
    assert_eq!(subject(&context), "CN=one");
    symlink("v2", folder.path("..new")).unwrap();
    fs::rename(folder.path("..new"), folder.path("..data")).unwrap();
    is_replaced(&lines(&context), "two", "one");
    assert_eq!(subject(&context), "CN=two");
}

#[test]
fn a_certificate_and_its_key_may_be_written_apart() {
    let folder = Folder::new();
    let context = context(&options(folder.pair("a", &fixtures::pair("one"))));
    let two = fixtures::pair("two");
    folder.write("a.pem", &two.chain);
    let said = lines(&context);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with(
            "Changed files for TLS are not used, what was loaded before stays. The private key in "
        ) && said[0].contains("a.key does not belong to the certificate in "),
        "{said:?}"
    );
    assert!(context.refresh().is_empty(), "it is told once");
    assert_eq!(subject(&context), "CN=one");
    folder.write("a.key", &two.key);
    is_replaced(&lines(&context), "two", "one");
    assert_eq!(subject(&context), "CN=two");
}

#[test]
fn what_is_of_no_use_changes_nothing_and_is_told_once() {
    let folder = Folder::new();
    let one = fixtures::pair("one");
    let context = context(&options(folder.pair("a", &one)));
    let before = context.snapshot();
    let failed = |reason: &str| {
        let changes = context.refresh();
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert!(changes[0].is_failure() && changes[0].to_string().contains(reason), "{changes:?}");
        assert!(context.refresh().is_empty() && context.refresh().is_empty());
        assert!(Arc::ptr_eq(&before, &context.snapshot()));
    };
    folder.write("a.pem", &one.chain[..99]);
    failed("a.pem is damaged: ");
    folder.write("a.pem", "nothing");
    failed("a.pem has no certificate.");
    fs::remove_file(folder.path("a.pem")).unwrap();
    failed("a.pem: No such file or directory (os error 2). Name a file that exists.");
    // What was there before is in use still.
    folder.write("a.pem", &one.chain);
    assert!(context.refresh().is_empty());
    folder.write("a.pem", "nothing");
    failed("a.pem has no certificate.");
    folder.pair("a", &fixtures::pair("two"));
    is_replaced(&lines(&context), "two", "one");
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_taken_when_it_is() {
    let folder = Folder::new();
    let mut params = fixtures::params("one");
    params.not_after = date_time_ymd(2900, 1, 1);
    let context = context(&options(folder.pair("a", &fixtures::signed_by_itself(&params))));
    let mut params = fixtures::params("two");
    params.not_before = date_time_ymd(2800, 6, 1);
    folder.pair("a", &fixtures::signed_by_itself(&params));
    let said = lines(&context);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("Certificate CN=two (SHA-256 "), "{said:?}");
    assert!(said[0].contains(" is not used before 2800-06-01, CN=one (SHA-256 "), "{said:?}");
    assert!(context.refresh().is_empty());
    assert_eq!(subject(&context), "CN=one");
    let start = params.not_before.unix_timestamp();
    assert!(context.refresh_at(start - 1).is_empty());
    let changes = context.refresh_at(start);
    assert!(matches!(&changes[..], [Change::Certificate { .. }]), "{changes:?}");
    assert_eq!(subject(&context), "CN=two");
}

#[test]
fn an_expired_certificate_replaces_none_that_is_valid() {
    let folder = Folder::new();
    let expired = |name| {
        let mut params = fixtures::params(name);
        params.not_after = date_time_ymd(2021, 1, 1);
        fixtures::signed_by_itself(&params)
    };
    let context = context(&options(folder.pair("a", &fixtures::pair("one"))));
    folder.pair("a", &expired("two"));
    let said = lines(&context);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains(", until 2021-01-01) has expired and is not used, CN=one "), "{said:?}");
    assert_eq!(subject(&context), "CN=one");

    // At the start it is taken, for there is no better one; and so it is in the place of another.
    let context = self::context(&options(folder.path_pair("a")));
    assert_eq!(subject(&context), "CN=two");
    folder.pair("a", &expired("three"));
    assert!(matches!(&context.refresh()[..], [Change::Certificate { .. }]));
    assert_eq!(subject(&context), "CN=three");
}

#[test]
fn the_certificate_of_one_name_changes_alone() {
    let folder = Folder::new();
    let mut options = options(folder.pair("a", &fixtures::pair("one")));
    options.names.push(TlsName::new("b.test", folder.pair("b", &fixtures::pair("two"))));
    let context = context(&options);
    folder.pair("b", &fixtures::pair("three"));
    is_replaced(&lines(&context), "three", "two");
    assert_eq!(subject(&context), "CN=one");
    assert_eq!(context.snapshot().certificates()[1].subject, "CN=three");
}

#[test]
fn a_chain_or_a_response_may_change_alone() {
    let folder = Folder::new();
    let pair = fixtures::pair("one");
    let mut certificate = folder.pair("a", &pair);
    certificate.ocsp_response = Some(folder.write("ocsp", b"first"));
    let context = context(&options(certificate));
    folder.write("a.pem", format!("{}{}", pair.chain, fixtures::authority("root").pem()));
    let said = lines(&context);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].ends_with(" stays, its chain or its key file was taken anew."), "{said:?}");
    assert_eq!(context.snapshot().certificates()[0].key.cert.len(), 2);

    folder.write("ocsp", b"second");
    let said = lines(&context);
    assert_eq!(said, [format!("The OCSP response in {} was taken anew.", folder.path("ocsp").display())]);
    assert_eq!(context.snapshot().certificates()[0].key.ocsp.as_deref(), Some(&b"second"[..]));
}

#[test]
fn tickets_outlive_certificates_and_not_the_trust_in_clients() {
    let mut asking = Asking::new(ClientCertificates::Require);
    asking.options.client_crl =
        Some(asking.folder.write("crl", fixtures::revocation(&asking.root, &[]).pem().unwrap()));
    let known = issue("known", &asking.root, ClientAuth);
    let context = context(&asking.options);
    let mut other = fixtures::params("a.test");
    other.not_after = date_time_ymd(2998, 1, 1);
    let other = fixtures::signed_by_itself(&other);
    let client = Arc::new(client(&[&asking.server.chain, &other.chain], Some(&known)));
    let kind = || meet(&client, "a.test", single(&context)).map(|met| met.kind);
    assert_ne!(kind(), Ok(HandshakeKind::Resumed));
    asking.folder.pair("a", &other);
    assert!(matches!(&context.refresh()[..], [Change::Certificate { .. }]));
    assert_eq!(kind(), Ok(HandshakeKind::Resumed));

    asking.folder.write("crl", fixtures::revocation(&asking.root, &[&known]).pem().unwrap());
    let said = lines(&context);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("The revoked certificates in "), "{said:?}");
    assert!(kind().unwrap_err().to_string().contains("Revoked"));

    let stranger = fixtures::authority("stranger");
    asking.folder.write("crl", fixtures::revocation(&stranger, &[]).pem().unwrap());
    asking.folder.write("ca.pem", stranger.pem());
    let said = lines(&context);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("The authorities of clients in "), "{said:?}");
    assert!(kind().is_err());
}

#[test]
fn ends_are_told_once_a_day() {
    let folder = Folder::new();
    let mut params = fixtures::params("one");
    params.not_after = date_time_ymd(2030, 6, 1);
    let mut options = options(folder.pair("a", &fixtures::signed_by_itself(&params)));
    options.names.push(TlsName::new("b.test", folder.pair("b", &fixtures::pair("two"))));
    let context = context(&options);
    let end = params.not_after.unix_timestamp();
    assert_eq!(context.not_after(), Some(end));
    let ends = |now: i64| {
        let lines = context.warnings(now);
        assert!(
            lines.len() < 2 && lines.iter().all(|line| line.starts_with("Certificate CN=one ")),
            "{lines:?}"
        );
        lines.first().and_then(|line| line.split_once(") ").map(|(_, rest)| rest.to_owned()))
    };
    assert_eq!(ends(end - 40 * DAY), None);
    assert_eq!(ends(end - 29 * DAY).as_deref(), Some("ends in 29 days. Renew it."));
    assert_eq!(ends(end - 29 * DAY + 1), None);
    assert_eq!(ends(end - 28 * DAY - 1), None);
    assert_eq!(ends(end - 28 * DAY).as_deref(), Some("ends in 28 days. Renew it."));
    assert_eq!(ends(end - DAY).as_deref(), Some("ends in a day. Renew it."));
    assert_eq!(ends(end).as_deref(), Some("ends in less than a day. Renew it."));
    assert_eq!(ends(end + 1).as_deref(), Some("has expired: clients refuse it. Renew it."));
    let start = params.not_before.unix_timestamp();
    let early = context.warnings(start - 1);
    assert_eq!(early.len(), 2);
    assert!(early[0].ends_with(") is not valid before 2020-01-01: clients refuse it."), "{early:?}");
}
