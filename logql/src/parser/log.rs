//! Selectors and pipeline stages.

use super::{MAX_DEPTH, Parser, too_deep};
use crate::ParseError;
use crate::ast::{
    Extract, FilterOp, FormatValue, LabelFilter, LogExpr, Named, Number, Operand, Stage,
};
use crate::error::{not_a_number, plain};
use crate::format::parse_float;
use crate::lexer::Tok;
use crate::matcher::{MatchOp, Matcher};

/// What may begin a label filter, as error messages list it inside one.
const FILTER_START: [&str; 2] = ["IDENTIFIER", "("];

fn filter_op(word: &str) -> Option<FilterOp> {
    Some(match word {
        "|=" => FilterOp::Contains,
        "!=" => FilterOp::NotContains,
        "|~" => FilterOp::Regex,
        "!~" => FilterOp::NotRegex,
        "|>" => FilterOp::Pattern,
        "!>" => FilterOp::NotPattern,
        _ => return None,
    })
}

fn match_op(word: &str) -> Option<MatchOp> {
    Some(match word {
        "=" => MatchOp::Equal,
        "!=" => MatchOp::NotEqual,
        "=~" => MatchOp::Regex,
        "!~" => MatchOp::NotRegex,
        _ => return None,
    })
}

impl Parser<'_> {
    /// A selector whose `{` is taken, and the stages after it.
    pub(super) fn log_after_brace(&mut self) -> Result<LogExpr, ParseError> {
        let matchers = self.matchers_after_brace()?;
        let stages = self.pipeline()?;
        Ok(LogExpr { matchers, stages })
    }

    pub(super) fn matchers_after_brace(&mut self) -> Result<Vec<Matcher>, ParseError> {
        let mut matchers = Vec::new();
        if self.eat("}") {
            return Ok(matchers);
        }
        let mut name = self.ident(&["IDENTIFIER", "}"])?;
        loop {
            matchers.push(self.matcher_after_name(name)?);
            if self.eat("}") {
                return Ok(matchers);
            }
            if let Err(error) = self.expect_ahead(",", &["}", ","]) {
                // Loki's grammar goes on as if the selector were closed, and what cannot be compiled further right
                // counts for more.
                self.lexer.keep(error);
                return Ok(matchers);
            }
            name = self.ident(&["IDENTIFIER"])?;
        }
    }

    fn matcher_after_name(&mut self, name: String) -> Result<Matcher, ParseError> {
        let token = self.next();
        let op = match token.tok {
            Tok::Word(word) => match_op(word),
            _ => None,
        };
        let Some(op) = op else {
            return Err(self.unexpected(&token, &["=", "=~", "!~", "!="]));
        };
        let value = self.string(&["STRING"])?;
        self.matcher(name, op, value)
    }

    /// Compiles a matcher. A bad regex is reported at once, before any syntax error further right.
    fn matcher(
        &mut self,
        name: String,
        op: MatchOp,
        value: Vec<u8>,
    ) -> Result<Matcher, ParseError> {
        Matcher::new(name, op, value, &mut self.regexes).map_err(plain)
    }

    fn filter_matcher(
        &mut self,
        name: String,
        op: MatchOp,
        value: Vec<u8>,
    ) -> Result<Matcher, ParseError> {
        Matcher::of_filter(name, op, value, &mut self.regexes).map_err(plain)
    }

    pub(super) fn pipeline(&mut self) -> Result<Vec<Stage>, ParseError> {
        let mut stages = Vec::new();
        loop {
            let Tok::Word(word) = *self.peek() else {
                return Ok(stages);
            };
            if word == "|" {
                if self.in_range && matches!(self.nth(1), Tok::Word("unwrap")) {
                    return Ok(stages);
                }
                self.next();
                stages.push(self.stage()?);
                continue;
            }
            let Some(op) = filter_op(word) else {
                return Ok(stages);
            };
            self.next();
            let operands = self.operands()?;
            if op.is_negative() {
                // None of them: a filter for each.
                stages.extend(operands.into_iter().map(|o| Stage::Line(op, vec![o])));
            } else {
                stages.push(Stage::Line(op, operands));
            }
        }
    }

    /// What follows the operator of a line filter.
    fn operands(&mut self) -> Result<Vec<Operand>, ParseError> {
        let mut operands = Vec::new();
        loop {
            let token = self.next();
            operands.push(match token.tok {
                Tok::Str(text) => Operand { ip: false, text },
                Tok::Word("ip") => Operand {
                    ip: true,
                    text: self.ip_argument()?,
                },
                _ => return Err(self.unexpected(&token, &["STRING", "ip"])),
            });
            if !self.eat("or") {
                return Ok(operands);
            }
        }
    }

    fn ip_argument(&mut self) -> Result<Vec<u8>, ParseError> {
        self.expect("(", &["("])?;
        let text = self.string(&["STRING"])?;
        self.expect(")", &[")"])?;
        Ok(text)
    }

    /// A stage whose `|` is taken.
    fn stage(&mut self) -> Result<Stage, ParseError> {
        let word = match self.peek() {
            Tok::Word(word) => *word,
            Tok::Ident(_) => "(",
            _ => return self.fail(&[]),
        };
        if word == "(" {
            return Ok(Stage::Label(self.label_filter(&[])?));
        }
        let token = self.next();
        match word {
            "json" => Ok(Stage::Json(self.extracts()?)),
            "logfmt" => self.logfmt(),
            "regexp" => {
                let text = self.string(&["STRING"])?;
                self.regexes.check_captures(&text).map_err(plain)?;
                Ok(Stage::Regexp(text))
            }
            "pattern" => {
                let text = self.string(&["STRING"])?;
                crate::pattern::check_parser(&text).map_err(plain)?;
                Ok(Stage::Pattern(text))
            }
            "unpack" => Ok(Stage::Unpack),
            "line_format" => Ok(Stage::LineFormat(self.string(&["STRING"])?)),
            "label_format" => self.label_format(),
            "decolorize" => Ok(Stage::Decolorize),
            "drop" => Ok(Stage::Drop(self.named()?)),
            "keep" => Ok(Stage::Keep(self.named()?)),
            _ => Err(self.unexpected(&token, &[])),
        }
    }

    fn logfmt(&mut self) -> Result<Stage, ParseError> {
        let (mut strict, mut keep_empty) = (false, false);
        while let Tok::Flag(flag) = *self.peek() {
            self.next();
            strict |= flag == "--strict";
            keep_empty |= flag == "--keep-empty";
        }
        Ok(Stage::Logfmt {
            strict,
            keep_empty,
            extracts: self.extracts()?,
        })
    }

    fn extracts(&mut self) -> Result<Vec<Extract>, ParseError> {
        let mut extracts = Vec::new();
        if !matches!(self.peek(), Tok::Ident(_)) {
            return Ok(extracts);
        }
        loop {
            let name = self.ident(&["IDENTIFIER"])?;
            let path = if self.eat("=") {
                self.string(&["STRING"])?
            } else {
                name.clone().into_bytes()
            };
            extracts.push(Extract { name, path });
            if !self.eat(",") {
                return Ok(extracts);
            }
        }
    }

    fn label_format(&mut self) -> Result<Stage, ParseError> {
        let mut formats = Vec::new();
        loop {
            let name = self.ident(&["IDENTIFIER"])?;
            self.expect("=", &["="])?;
            let token = self.next();
            let value = match token.tok {
                Tok::Ident(from) => FormatValue::Rename(from),
                Tok::Str(text) => FormatValue::Template(text),
                _ => return Err(self.unexpected(&token, &["IDENTIFIER", "STRING"])),
            };
            formats.push((name, value));
            if !self.eat(",") {
                return Ok(Stage::LabelFormat(formats));
            }
        }
    }

    fn named(&mut self) -> Result<Vec<Named>, ParseError> {
        let mut all = Vec::new();
        loop {
            let name = self.ident(&["IDENTIFIER"])?;
            let is_matcher = matches!(self.peek(), Tok::Word(word) if match_op(word).is_some());
            all.push(if is_matcher {
                Named::Matcher(self.matcher_after_name(name)?)
            } else {
                Named::Name(name)
            });
            if !self.eat(",") {
                return Ok(all);
            }
        }
    }

    /// Label filters joined by `and`, `or`, `,` or nothing.
    pub(super) fn label_filter(&mut self, expecting: &[&str]) -> Result<LabelFilter, ParseError> {
        Ok(self.filters(expecting, 0)?.filter)
    }

    /// The comma and juxtaposition take everything to their right first; `and` and `or` associate to the left, `and`
    /// more strongly.
    fn filters(&mut self, expecting: &[&str], depth: u32) -> Result<Filters, ParseError> {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        let mut any: Option<Filters> = None;
        let mut all: Option<Filters> = None;
        let mut last = self.single_filter(expecting, depth)?;
        loop {
            if self.eat("and") {
                all = Some(Filters::and(all, last)?);
                last = self.single_filter(&FILTER_START, depth)?;
            } else if self.eat("or") {
                any = Some(Filters::or(any, Filters::and(all.take(), last)?)?);
                last = self.single_filter(&FILTER_START, depth)?;
            } else {
                if self.at(",") || self.at("(") || matches!(self.peek(), Tok::Ident(_)) {
                    self.eat(",");
                    let rest = self.filters(&FILTER_START, depth + 1)?;
                    last = Filters::and(Some(last), rest)?;
                }
                return Filters::or(any, Filters::and(all, last)?);
            }
        }
    }

    fn single_filter(&mut self, expecting: &[&str], depth: u32) -> Result<Filters, ParseError> {
        if self.eat("(") {
            let inner = self.filters(&FILTER_START, depth + 1)?;
            self.expect(")", &[])?;
            return Ok(inner);
        }
        let filter = self.comparison(expecting)?;
        Ok(Filters { filter, height: 1 })
    }

    fn comparison(&mut self, expecting: &[&str]) -> Result<LabelFilter, ParseError> {
        let name = self.ident(expecting)?;
        let token = self.next();
        let Tok::Word(op @ ("=" | "==" | "!=" | ">" | ">=" | "<" | "<=" | "=~" | "!~")) = token.tok
        else {
            return Err(self.unexpected(&token, &[]));
        };
        if let Some(op @ (MatchOp::Regex | MatchOp::NotRegex)) = match_op(op) {
            let value = self.string(&["STRING"])?;
            return Ok(LabelFilter::Matcher(self.filter_matcher(name, op, value)?));
        }
        self.compared(name, op)
    }

    /// What follows a name and an operator that is none of regexes.
    fn compared(&mut self, name: String, op: &'static str) -> Result<LabelFilter, ParseError> {
        let token = self.next();
        let equality = match_op(op);
        // For what is no text both are the same.
        let op = if op == "=" { "==" } else { op };
        match (&token.tok, equality) {
            (Tok::Str(value), Some(op)) => {
                let matcher = self.filter_matcher(name, op, value.clone())?;
                Ok(LabelFilter::Matcher(matcher))
            }
            (Tok::Word("ip"), Some(op)) => Ok(LabelFilter::Ip {
                name,
                negated: op == MatchOp::NotEqual,
                pattern: self.ip_argument()?,
            }),
            (Tok::Duration(ns), _) => Ok(LabelFilter::Duration(name, op, *ns)),
            (Tok::Bytes(bytes), _) => Ok(LabelFilter::Bytes(name, op, *bytes)),
            (Tok::Number(text), _) => filter_number(name, op, parse_float(text)),
            (Tok::Word(sign @ ("+" | "-")), _) => {
                let value = self.number()?;
                let value = value.map(|v| if *sign == "-" { -v } else { v });
                filter_number(name, op, value)
            }
            _ => Err(self.unexpected(&token, &[])),
        }
    }
}

/// A comparison with a number. What is none is reported at once, before any syntax error further right.
fn filter_number(name: String, op: &'static str, value: Number) -> Result<LabelFilter, ParseError> {
    let value = value.map_err(|e| plain(not_a_number(&e)))?;
    Ok(LabelFilter::Number(name, op, value))
}

/// A tree of label filters and its height, which is bounded: everything that walks the tree takes stack for it.
struct Filters {
    filter: LabelFilter,
    height: u32,
}

impl Filters {
    fn and(left: Option<Filters>, right: Filters) -> Result<Filters, ParseError> {
        Self::join(left, right, LabelFilter::And)
    }

    fn or(left: Option<Filters>, right: Filters) -> Result<Filters, ParseError> {
        Self::join(left, right, LabelFilter::Or)
    }

    fn join(
        left: Option<Filters>,
        right: Filters,
        node: fn(Box<LabelFilter>, Box<LabelFilter>) -> LabelFilter,
    ) -> Result<Filters, ParseError> {
        let Some(left) = left else {
            return Ok(right);
        };
        let height = left.height.max(right.height) + 1;
        if height > MAX_DEPTH {
            return Err(too_deep());
        }
        let filter = node(Box::new(left.filter), Box::new(right.filter));
        Ok(Filters { filter, height })
    }
}
