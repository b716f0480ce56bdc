//! What a router refuses to start with.

use crate::app::{Handler, Methods, ROOT, Registry, RouteError, RouteLimits};
use crate::http::Method;

const LIMITS: RouteLimits = RouteLimits {
    max_request_body_size: None,
    min_request_body_data_rate: None,
    min_response_data_rate: None,
};

fn refused(templates: &[&str]) -> Option<RouteError> {
    let mut registry = Registry::default();
    for template in templates {
        registry.add(ROOT, Methods::One(Method::Get), template, (|| ()).endpoint());
    }
    registry.compile(LIMITS).err()
}

#[test]
fn routes_that_can_not_work_are_refused_with_the_reason() {
    for (templates, problem) in [
        (&["/a", "/users/{id"][..], "has no end to the parameter that begins at byte 7"),
        (&["/a", "a"], r#"must begin with "/""#),
        (&["/a/{b:int}", "/a/{c:int}"], r#"matches the same paths as "/a/{b:int}""#),
        (
            &["/{a:int}", "/{b:int:max(3)}"],
            r#"can not be reached: "/{a:int}" matches all of its paths first"#,
        ),
        (&["/{a}", "/{a}"], "is registered twice for the same method"),
    ] {
        let template = templates.last().map_or_else(String::new, |last| (*last).to_owned());
        assert_eq!(refused(templates), Some(RouteError { template, problem: problem.into() }));
    }
    assert_eq!(refused(&["/", "/{a:int}", "/{a}", "/{a}/{b?}", "/{*rest}"]), None);
}
