//! Stages that cannot run.

fn check(stages: &str, expected: &str) {
    let query = format!("{{a=\"b\"}} {stages}");
    let error = crate::parse(&query).expect_err(stages);
    assert_eq!(error.message, format!("parse error : stage '{expected}"));
}

#[test]
fn causes() {
    check(
        "|~ \"(\"",
        "|~ \"(\"' : error parsing regexp: missing closing ): `(`",
    );
    check(
        "|= \"x\" | json != \"y\" or \"z\" !~ \"*\"",
        "|= \"x\" != \"y\" != \"z\" !~ \"*\"' : error parsing regexp: missing argument to repetition operator: `*`",
    );
    check("|= ip(\"x\")", "|= ip(\"x\")' : ip: invalid pattern: \"x\"");
    check(
        "|~ ip(\"10.0.0.1\")",
        "|~ ip(\"10.0.0.1\")' : ip: invalid operation",
    );
    check(
        "| x=ip(\"10.0.0.0/99\")",
        "| x=ip(\"10.0.0.0/99\")' : ip: invalid pattern: \"10.0.0.0/99\"",
    );
    check(
        "|> \"<name>\"",
        "|> \"<name>\"' : named captures are not allowed: found '<name>'",
    );
    check(
        "|> \"<_><name>\"",
        "|> \"<_><name>\"' : found consecutive capture '<_><name>': invalid expression",
    );
    check(
        "| json x=\"a..b\"",
        "| json x=\"a..b\"' : cannot parse expression [a..b]: syntax error: unexpected DOT, expecting FIELD",
    );
    check(
        "| json y, x=\"\"",
        "| json y=\"y\",x=\"\"' : cannot parse expression []: syntax error: unexpected $end, expecting LSB or FIELD",
    );
    check(
        "| logfmt x=\"a.b\"",
        "| logfmt x=\"a.b\"' : cannot parse expression [a.b]: unexpected char .",
    );
    check(
        "| logfmt x=\"a b\"",
        "| logfmt x=\"a b\"' : cannot parse expression [a b]: syntax error: unexpected KEY",
    );
    check(
        "| logfmt x=\".\"",
        "| logfmt x=\".\"' : cannot parse expression [.]: syntax error: unexpected $end, expecting STRING or KEY",
    );
    check(
        "| label_format x=\"1\",x=y",
        "| label_format x=\"1\",x=y' : multiple label name 'x' not allowed in a single format operation",
    );
    check(
        "| label_format __error__=x",
        "| label_format __error__=x' : __error__ cannot be formatted",
    );
}

#[test]
fn odd_expressions_are_fine() {
    for stages in [
        "| logfmt x=\"\\\"a b\\\"\"",
        "| logfmt x=\"\\\"\\\"\"",
        "| json x=\"[\\\"\\\"]\"",
        "| x=ip(\"bad\") or y=\"1\"",
    ] {
        crate::parse(format!("{{a=\"b\"}} {stages}")).expect(stages);
    }
}
