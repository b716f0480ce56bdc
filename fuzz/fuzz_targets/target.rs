//! Any bytes as a target, an authority, a path, a query and a date: spans stay inside, normal paths stay
//! normal, and nothing panics.
//!
//! The first byte chooses the method and the size of the output, the rest is the target.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peregrine_parser::{
    Method, Plus, TargetForm, host_matches, list_items, normalize_path, parse_authority, parse_imf_fixdate,
    parse_target, path_needs_normalizing, percent_decode, query_pairs, write_imf_fixdate,
};

fn check_path(path: &[u8]) {
    let mut out = vec![0xee; path.len().max(1)];
    match normalize_path(path, &mut out) {
        Ok(len) => {
            let normal = &out[..len];
            assert_eq!(normal[0], b'/');
            assert!(!normal.split(|&byte| byte == b'/').any(|segment| segment == b"." || segment == b".."));
            if !path.is_empty() && !path_needs_normalizing(path) {
                assert_eq!(normal, path);
            }
        }
        Err(_) => assert!(path[0] != b'/' || path_needs_normalizing(path)),
    }
}

fuzz_target!(|data: &[u8]| {
    let [choice, bytes @ ..] = data else { return };
    let method = [Method::Get, Method::Options, Method::Connect, Method::Other][usize::from(choice % 4)];
    if let Ok(target) = parse_target(method, bytes) {
        for span in [target.scheme, target.authority, target.path, target.query.unwrap_or_default()] {
            assert!(span.end() as usize <= bytes.len());
        }
        let authority = target.authority.of(bytes);
        match target.form {
            TargetForm::Origin => assert_eq!(bytes[0], b'/'),
            TargetForm::Asterisk => assert_eq!((bytes, method), (&b"*"[..], Method::Options)),
            TargetForm::Absolute | TargetForm::Authority => assert!(host_matches(authority, authority, 80)),
        }
        if matches!(target.form, TargetForm::Origin | TargetForm::Absolute) {
            let query = target.query.map_or(0, |query| query.len + 1);
            assert_eq!((target.path.end() + query) as usize, bytes.len());
            check_path(target.path.of(bytes));
        }
        for (key, value) in target.query.map(|query| query_pairs(query.of(bytes))).into_iter().flatten() {
            let mut out = vec![0; key.len().max(value.len())];
            let _ = percent_decode(key, &mut out, Plus::Space);
            let _ = percent_decode(value, &mut out, Plus::Literal);
        }
    }
    check_path(bytes);
    let mut short = [0; 8];
    let _ = normalize_path(bytes, &mut short[..usize::from(choice % 9)]);
    let _ = percent_decode(bytes, &mut short[..usize::from(choice % 9)], Plus::Space);
    if let Some(authority) = parse_authority(bytes) {
        assert!(!authority.host.is_empty() && authority.host.end() as usize <= bytes.len());
    }
    assert!(list_items(bytes).all(|item| item.trim_ascii_start().len() <= item.len()));
    if let Some(seconds) = parse_imf_fixdate(bytes) {
        let mut out = [0; 29];
        write_imf_fixdate(seconds, &mut out);
        assert_eq!(out, bytes);
    }
});
