//! Templates and what they give for the labels and the line of [`sample`]. The tables are files: a line with the
//! template, a line with the answer (`= output` or `! fault`, both Go's), a blank line; `~` stands for a line end.

mod limits;

use super::*;

/// An entry to run templates on.
#[derive(Debug)]
struct Sample {
    /// In name order.
    labels: Vec<(String, Vec<u8>)>,
    line: Vec<u8>,
    timestamp: i64,
}

impl Context for Sample {
    fn label(&self, name: &str) -> Option<&[u8]> {
        let found = self.labels.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_slice())
    }

    fn visit<'s>(&'s self, visit: &mut dyn FnMut(&'s str, &'s [u8])) {
        for (name, value) in &self.labels {
            visit(name, value);
        }
    }

    fn line(&self) -> &[u8] {
        &self.line
    }

    fn timestamp(&self) -> i64 {
        self.timestamp
    }

    fn now(&self) -> i64 {
        1_700_000_000_000_000_000
    }
}

fn sample() -> Sample {
    let labels = [
        ("app", "shop"),
        ("empty", ""),
        (
            "j",
            r#"{"list":[3,2.5,"x",null,false],"none":null,"name":"t","big":1e21,"in":{"k":"v"}}"#,
        ),
        ("level", "Warn"),
        ("n", "42"),
        ("text", "hello World"),
        ("uni", "h\u{e9}llo"),
    ];
    Sample {
        labels: labels
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
            .to_vec(),
        line: b"GET /cart took=12ms".to_vec(),
        timestamp: 1_700_000_000_123_456_789,
    }
}

fn parse(template: &[u8]) -> Result<Template, String> {
    Template::parse(template, "line", &mut Budget::default())
}

fn run_on(template: &str, sample: &Sample, scratch: &mut Scratch) -> Result<String, String> {
    let mut out = b"before ".to_vec();
    let result = parse(template.as_bytes())?.execute(sample, &mut out, scratch);
    let out = String::from_utf8_lossy(&out).into_owned();
    let out = out.strip_prefix("before ").expect("what was there stays");
    match result {
        Ok(()) => Ok(out.to_owned()),
        Err(error) => {
            assert_eq!(out, "", "a fault leaves no output: {template}");
            Err(error)
        }
    }
}

fn run(template: &str) -> Result<String, String> {
    run_on(template, &sample(), &mut Scratch::default())
}

/// Runs the templates of a table, twice, with one scratch space.
fn check(table: &str) {
    let sample = sample();
    let mut scratch = Scratch::default();
    let lines: Vec<&str> = table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("# "))
        .collect();
    assert_eq!(lines.len() % 2, 0);
    for _ in 0..2 {
        for case in lines.chunks(2) {
            let template = case[0].replace('~', "\n");
            let got = match run_on(&template, &sample, &mut scratch) {
                Ok(text) => format!("= {text}"),
                Err(error) => format!("! {error}"),
            };
            assert_eq!(got.replace('\n', "~"), case[1], "{}", case[0]);
        }
    }
}

#[test]
fn syntax_is_gos() {
    check(include_str!("tests/syntax.txt"));
}

#[test]
fn execution_is_gos() {
    check(include_str!("tests/exec.txt"));
}

#[test]
fn functions_are_lokis() {
    check(include_str!("tests/functions.txt"));
}

#[test]
fn values_print_as_gos() {
    check(include_str!("tests/printing.txt"));
}

#[test]
fn bytes_that_are_not_utf8_pass() {
    let mut sample = sample();
    sample.labels[0].1 = b"a\xffb\xc3".to_vec();
    sample.line = b"\xfe=1".to_vec();
    let check = |template: &str, expected: &[u8]| {
        let mut out = Vec::new();
        let template = parse(template.as_bytes()).expect(template);
        let result = template.execute(&sample, &mut out, &mut Scratch::default());
        assert_eq!(result, Ok(()));
        assert_eq!(
            out.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    };
    check("{{.app}}|{{__line__}}", b"a\xffb\xc3|\xfe=1");
    check("{{upper .app}}", "A\u{fffd}B\u{fffd}".as_bytes());
    check(
        "{{trunc 2 .app}}|{{alignLeft 5 .app}}|",
        b"a\xff|a\xffb\xc3 |",
    );
    check("{{alignLeft 2 .app}}", "a\u{fffd}".as_bytes());
    check(
        "{{printf \"%q %x\" .app .app}}",
        b"\"a\\xffb\\xc3\" 61ff62c3",
    );
    check("{{urlencode .app}}", b"a%FFb%C3");
    check("{{Replace .app \"\" \"-\" -1}}", b"-a-\xff-b-\xc3-");
    check("{{count \"b\" .app}}", b"1");
    check(
        "{{fromJson (printf \"\\\"%s\\\"\" .app)}}",
        "a\u{fffd}b\u{fffd}".as_bytes(),
    );
}

#[test]
fn what_is_read_is_known() {
    let reads = |template: &str| {
        let template = parse(template.as_bytes()).expect(template);
        let fields: Vec<&str> = template.fields().iter().map(AsRef::as_ref).collect();
        let mut flags = String::new();
        for (flag, set) in [
            ('l', template.uses_line()),
            ('t', template.uses_timestamp()),
            ('a', template.reads_any_label()),
        ] {
            flags.extend(set.then_some(flag));
        }
        format!("{} {flags}", fields.join(","))
    };
    assert_eq!(reads("text"), " ");
    assert_eq!(
        reads("{{.b}}{{.a}}{{if .c}}{{upper .b}}{{else}}{{.d}}{{end}}"),
        "a,b,c,d "
    );
    assert_eq!(
        reads("{{__line__ | upper}}{{__timestamp__.Unix}}{{now}}"),
        " lt"
    );
    assert_eq!(reads("{{range $k, $v := .}}{{$k}}{{end}}"), " a");
    assert_eq!(reads("{{$.a}}"), " a");
    assert_eq!(reads("{{index . \"a\"}}"), " a");
    assert_eq!(
        reads("{{with .a}}{{.}}{{end}}{{range 3}}{{.}}{{end}}"),
        "a "
    );
    assert_eq!(
        reads("{{define \"t\"}}{{.x}}{{end}}{{template \"t\" .a}}"),
        " a"
    );
    assert_eq!(reads("{{(fromJson .j).in.k}}"), "j ");
    assert_eq!(reads("{{date \"2006\" .a}}"), "a ");
}

#[test]
fn simple_templates_are_recognised() {
    let template = |text: &str| parse(text.as_bytes()).expect(text);
    assert_eq!(template("").as_text(), Some(&b""[..]));
    assert_eq!(template("plain").as_text(), Some(&b"plain"[..]));
    assert_eq!(
        template("{{/* only a comment */}}").as_text(),
        Some(&b""[..])
    );
    assert_eq!(template("{{.a}}").as_text(), None);
    assert_eq!(template("{{ .a }}").as_field(), Some("a"));
    assert_eq!(template("{{- .a -}}").as_field(), Some("a"));
    assert_eq!(template("{{.a.b}}").as_field(), None);
    assert_eq!(template("{{.a}}!").as_field(), None);
    assert_eq!(template("{{$x := .a}}").as_field(), None);
    assert!(template("{{__line__}}").is_line());
    assert!(!template("{{__line__ | upper}}").is_line());
}

#[test]
fn names_and_places_of_faults() {
    let fault = Template::parse(b"{{", "label", &mut Budget::default()).expect_err("no template");
    assert_eq!(fault, "template: label:1: unclosed action");
    assert_eq!(
        run("one\n two {{ .app | trunc 1 | div 1 }}"),
        Err(
            "template: line:2:25: executing \"line\" at <div 1>: error calling div: \
             runtime error: integer divide by zero"
                .to_owned()
        )
    );
}

#[test]
fn padding_of_base64_is_repaired() {
    for (text, expected) in [
        ("aGk", "hi"),
        ("aGkh", "hi!"),
        ("aA", "h"),
        ("aGkh\\n", "hi!"),
        ("a", "illegal base64 data at input byte 0"),
        ("aGkha", "illegal base64 data at input byte 4"),
        ("aG=k", "illegal base64 data at input byte 2"),
        ("aG=", "h"),
    ] {
        let template = format!("{{{{ b64dec \"{text}\" }}}}");
        assert_eq!(run(&template), Ok(expected.to_owned()));
    }
}
