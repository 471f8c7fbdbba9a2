//! Hostile templates end, with an error, before they cost much.

use proptest::prelude::*;

use super::{Sample, parse, run, run_on, sample};
use crate::regexes::Budget;
use crate::template::{FAULT_PART, Scratch, Template};

/// What a fault's text can be at most: three parts that are cut, and what is around them.
const FAULT_MAX: usize = 3 * FAULT_PART + 100;

fn fails_with(template: &str, expected: &str) {
    let error = run(template).expect_err(template);
    assert!(error.contains(expected), "{template}: {error}");
}

#[test]
fn p9_long_results_are_refused() {
    for template in [
        "{{ repeat 1000000000 .app }}",
        "{{ repeat 9223372036854775807 .app }}",
        "{{ alignLeft 1000000000 .app }}",
        "{{ alignRight 9223372036854775807 .app }}",
        "{{ indent 9223372036854775807 .app }}",
        "{{ nindent 1000000000 .app }}",
        r#"{{ printf "%999999999d" 1 | printf "%2000000s" }}"#,
        r#"{{ printf "%2000000d|%.2000000d" 1 1 }}"#,
        r#"{{ printf "%.2000000f" 1.5 }}"#,
        r#"{{ printf "%*d" 1000000 1 | printf "%s%s" "padding of 48577 bytes more" | repeat 2 }}"#,
        r#"{{ $x := repeat 1000000 "x" }}{{ replace "x" "xx" $x }}"#,
        r#"{{ $x := repeat 1000000 "x" }}{{ regexReplaceAll "x" $x "$0$0$0" }}"#,
        r#"{{ $x := repeat 1000000 "x" }}{{ print $x $x }}"#,
        r#"{{ $x := repeat 1000000 "x" }}{{ html $x "<" $x }}"#,
        r#"{{ $x := repeat 1000000 "x" }}{{ b64enc $x }}"#,
        r#"{{ $x := repeat 1000000 "/" }}{{ urlencode $x }}"#,
    ] {
        fails_with(template, "is longer than 1048576 bytes");
    }
    fails_with(
        r#"{{ range 100 }}{{ repeat 60000 "x" }}{{ end }}"#,
        "the output is longer than 1048576 bytes",
    );
}

#[test]
fn p9_the_limit_is_the_callers() {
    let mut scratch = Scratch::with_limit(10);
    let mut run = |template: &str| run_on(template, &sample(), &mut scratch);
    assert_eq!(run("{{.app}}{{.level}}.."), Ok("shopWarn..".to_owned()));
    for template in [
        "{{.app}}{{.level}}...",
        "{{ print .app .level }}...",
        "{{ repeat 11 \"x\" }}",
    ] {
        let error = run(template).expect_err(template);
        assert!(error.ends_with("is longer than 10 bytes"), "{error}");
    }
}

#[test]
fn p9_endless_loops_end() {
    let work = "the template does more than 1048576 units of work";
    for template in [
        "{{ range 9223372036854775807 }}{{ end }}",
        "{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}",
        "{{ range 10000 }}{{ $x := repeat 100000 \"x\" }}{{ end }}",
        "{{ range 10000 }}{{ $x := fromJson $.j }}{{ end }}",
        "{{ range $i := 1000 }}{{ $x := regexReplaceAll (printf \"a%d\" $i) $.text \"\" }}{{ end }}",
        "{{ define \"t\" }}{{ range 100 }}{{ template \"t\" }}{{ end }}{{ end }}{{ template \"t\" }}",
    ] {
        let error = run(template).expect_err(template);
        let deep = error.contains("exceeded maximum template depth (400)");
        assert!(error.contains(work) || deep, "{template}: {error}");
    }
}

/// The deepest that is let through fits the stack of a thread, in an unoptimised build too.
#[test]
fn p9_recursion_is_bounded() {
    fails_with(
        "{{ define \"t\" }}{{ template \"t\" . }}{{ end }}{{ template \"t\" . }}",
        "exceeded maximum template depth (400)",
    );
    fails_with(
        "{{ define \"t\" }}{{ if true }}{{ with 1 }}{{ range 1 }}{{ print (template2) }}{{ end }}\
         {{ end }}{{ end }}{{ end }}",
        "function \"template2\" not defined",
    );
    fails_with(
        "{{ define \"t\" }}{{ with 1 }}{{ range 1 }}{{ if (print (print (print .))) }}\
         {{ template \"t\" }}{{ end }}{{ end }}{{ end }}{{ end }}{{ template \"t\" }}",
        "exceeded maximum template depth (400)",
    );
    for (open, close) in [
        ("{{ if true }}", "{{ end }}"),
        ("{{ with 1 }}", "{{ end }}"),
        ("{{ range 1 }}", "{{ end }}"),
    ] {
        let nested = |depth: usize| format!("{}x{}", open.repeat(depth), close.repeat(depth));
        assert_eq!(run(&nested(190)), Ok("x".to_owned()));
        fails_with(&nested(10_000), "nested deeper than 200 levels");
    }
    let parens = |depth: usize| format!("{{{{ {}.app{} }}}}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(run(&parens(190)), Ok("shop".to_owned()));
    fails_with(&parens(10_000), "nested deeper than 200 levels");
    let calls = format!(
        "{{{{ {}1{} }}}}",
        "print (print ".repeat(90),
        ")".repeat(90)
    );
    assert_eq!(run(&calls), Ok("1".to_owned()));
    let chain = format!(
        "{{{{ if .empty }}}}{}{{{{ end }}}}",
        "{{ else if .empty }}x".repeat(1_000)
    );
    fails_with(&chain, "nested deeper than 200 levels");
}

#[test]
fn p9_deep_json_is_an_error() {
    let nested = |depth: usize| {
        format!(r#"{{{{ fromJson (print (repeat {depth} "[") (repeat {depth} "]")) }}}}"#)
    };
    assert!(run(&nested(128)).is_ok());
    fails_with(&nested(129), "JSON nests deeper than 128 levels");
}

#[test]
fn p9_decimals_are_bounded() {
    let long = format!("{{{{ addf {} }}}}", "1e308 1e-308 ".repeat(200));
    assert_eq!(run(&long), Ok("+Inf".to_owned()));
    let product = format!("{{{{ mulf {} }}}}", "1.234567890123456 ".repeat(1_000));
    fails_with(&product, "a decimal number has more than 4050 digits");
    let quotient = format!("{{{{ divf {} }}}}", "1e-300 ".repeat(1_000));
    fails_with(&quotient, "a decimal number has more than 4050 digits");
}

#[test]
fn p9_patterns_take_from_the_budget() {
    let source = br#"{{ count "[a-z]+" .text }}"#;
    let result = |budget: &mut Budget| {
        let template = Template::parse(source, "line", budget).expect("it parses");
        let mut out = Vec::new();
        template.execute(&sample(), &mut out, &mut Scratch::default())
    };
    assert_eq!(result(&mut Budget::default()), Ok(()));
    let error = result(&mut Budget::limited(0)).expect_err("no room");
    assert!(error.contains("expression too large"), "{error}");
    // A pattern that is only known while running has a bound of its own.
    fails_with(
        r#"{{ count (print "(\\pL{50}){20}") .text }}"#,
        "expression too large",
    );
}

#[test]
fn p9_faults_are_short() {
    let error = run(r#"{{ range repeat 1000000 "x" }}{{ end }}"#).expect_err("no list");
    assert!(error.len() <= FAULT_MAX, "{}", error.len());
    assert!(error.ends_with("xxx..."));
}

/// Pieces that templates are made of, whole and broken; two blanks stand between them.
const PIECES: &str = r#"{{  }}  {{-   -}}  {{/* c */}}  (  )  |  .  $  $x  $x :=  $x =  ,  if   else   {{else}}  {{end}}
with   range   range $i, $x :=   template "t"   define "t"   block "t" .  break  continue  nil  true  .app  .j  .n
.missing.x  "%d %s"  "("  `raw`  'a'  1  -3  2.5  1e300  0x1F  9223372036854775807  1i  __line__  __timestamp__
.Format   upper   printf   print   index   slice   fromJson   regexReplaceAll   repeat   alignLeft   divf   round
toDate   date   eq   substr   default  "#;

const FUNCTIONS: &str = "upper lower title trim trunc substr replace Replace Trim trimAll alignLeft alignRight indent
nindent repeat contains regexReplaceAll count urlencode urldecode b64enc b64dec bytes duration int float64 add sub mul
div mod addf subf mulf divf max minf ceil round fromJson default date toDate toDateInZone unixToTime unixEpoch print
printf println html js urlquery index slice len eq lt and or not call";

/// Arguments; two blanks stand between them.
const ARGUMENTS: &str = r#".app  .j  .n  .text  .  $  nil  true  1  -1  3  100  2.5  -1e300  1e-300
9223372036854775807  -9223372036854775807  ""  "x"  "[a-z]+"  "%v %5.2f %s %-9d"
"2006-01-02 15:04:05.999 MST Z07:00"  "2024-02-29 23:59:60"  "Europe/Berlin"  "\xff\xc3"  __line__  __timestamp__
__timestamp__.Month  (fromJson .j)  (fromJson .j).list  (index . "j")  (__timestamp__.Sub now)  1i  'a'"#;

/// One of the words of a list.
fn one_of(list: &'static str) -> impl Strategy<Value = &'static str> {
    let words: Vec<&str> = list.lines().flat_map(|line| line.split("  ")).collect();
    prop::sample::select(words)
}

fn templates() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => one_of(PIECES).prop_map(str::to_owned),
        1 => Just("\n".to_owned()),
        1 => "\\PC{0,3}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Templates that parse, more often than not.
fn calls() -> impl Strategy<Value = String> {
    let functions: Vec<&str> = FUNCTIONS.split_whitespace().collect();
    let arguments = prop::collection::vec(one_of(ARGUMENTS), 0..5);
    let call = (prop::sample::select(functions), arguments)
        .prop_map(|(function, arguments)| format!("{function} {}", arguments.join(" ")));
    let pipe = prop::collection::vec(call, 1..4).prop_map(|calls| calls.join(" | "));
    prop::collection::vec(pipe, 1..4).prop_map(|pipes| {
        let action = |pipe: &String| format!("{{{{ {pipe} }}}}");
        pipes.iter().map(action).collect()
    })
}

fn samples() -> impl Strategy<Value = Sample> {
    let value = prop::collection::vec(any::<u8>(), 0..40);
    let names = ["app", "j", "n", "text"];
    (prop::collection::vec(value, 5), any::<i64>()).prop_map(move |(mut values, timestamp)| {
        Sample {
            line: values.pop().unwrap_or_default(),
            labels: names.map(str::to_owned).into_iter().zip(values).collect(),
            timestamp,
        }
    })
}

/// Whatever the template, the labels and the limit: no panic, an end, and nothing beyond the limit.
fn survives(template: &[u8], sample: &Sample, limit: usize) {
    let Ok(template) = parse(template) else {
        return;
    };
    let mut scratch = Scratch::with_limit(limit);
    for _ in 0..2 {
        let mut out = b"..".to_vec();
        match template.execute(sample, &mut out, &mut scratch) {
            Ok(()) => assert!(out.len() <= limit + 2),
            Err(error) => {
                assert_eq!(out, b"..");
                assert!(error.starts_with("template: line") && error.len() <= FAULT_MAX);
            }
        }
    }
}

proptest! {
    #[test]
    fn p9_any_text_parses_or_errs(template in templates(), bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        survives(template.as_bytes(), &sample(), 4_096);
        survives(&bytes, &sample(), 4_096);
        let wrapped = [b"{{", bytes.as_slice(), b"}}"].concat();
        survives(&wrapped, &sample(), 4_096);
    }

    #[test]
    fn p9_any_call_ends_within_its_limits(template in calls(), sample in samples(), limit in 0usize..10_000) {
        survives(template.as_bytes(), &sample, limit);
    }
}
