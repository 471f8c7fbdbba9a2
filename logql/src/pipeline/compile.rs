//! From stages as written to stages as run: what is left out, in which order they run, and what of an entry's labels
//! they need.

use super::captures::Captures;
use super::decolorize::Decolorizer;
use super::filter::Filter;
use super::format::{LabelFormats, LineFormat};
use super::ip::Addresses;
use super::json_path::Paths;
use super::line::LineFilter;
use super::logfmt::{Logfmt, Picks};
use super::regexp::Regexp;
use super::stage::Stage;
use super::unwrap::Unwrap;
use super::wanted::{Hints, Output};
use super::{Around, Pipeline, Read};
use crate::ParseError;
use crate::ast;
use crate::ast::{FilterOp, LabelFilter, LogExpr, Operand};
use crate::error::plain;
use crate::print;
use crate::regexes::Budget;

/// The failure of a stage that only shows when the query runs.
fn fail(stage: &str, cause: &str) -> ParseError {
    plain(format!("stage '{stage}' : {cause}"))
}

impl Pipeline {
    /// Compiles the stages for what stands around them.
    pub(crate) fn compile(
        log: &LogExpr,
        around: &Around<'_>,
        budget: &mut Budget,
    ) -> Result<Self, ParseError> {
        let mut lowering = Lowering {
            budget,
            stages: Vec::new(),
            required: Vec::new(),
            early: Vec::new(),
            regexps: 0,
        };
        for part in order(used(&log.stages, around.lines)) {
            lowering.part(&part)?;
        }
        let unwrap = around.unwrap.map(Unwrap::new).transpose().map_err(plain)?;
        if let Some(unwrap) = &unwrap {
            lowering.unwrap(unwrap);
        }
        Ok(lowering.finish(around, unwrap))
    }
}

/// Stages without `line_format`s whose line nobody reads.
fn used(stages: &[ast::Stage], lines: bool) -> Vec<&ast::Stage> {
    let last_reader = stages.iter().rposition(|stage| {
        matches!(
            stage,
            ast::Stage::Line(..)
                | ast::Stage::Json(_)
                | ast::Stage::Logfmt { .. }
                | ast::Stage::Regexp(_)
                | ast::Stage::Pattern(_)
                | ast::Stage::Unpack
        )
    });
    let is_read = |i: usize| lines || last_reader.is_some_and(|last| i < last);
    let stages = stages.iter().enumerate();
    let used = stages.filter(|(i, s)| !matches!(s, ast::Stage::LineFormat(_)) || is_read(*i));
    used.map(|(_, stage)| stage).collect()
}

/// Line filters that run one after the other, or another stage.
enum Part<'q> {
    Lines(Vec<(FilterOp, &'q [Operand])>),
    Other(&'q ast::Stage),
}

/// Line filters move in front of what stands between them and the last label filter, `line_format` or `unpack`.
fn order(stages: Vec<&ast::Stage>) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut lines: Vec<(FilterOp, &[Operand])> = Vec::new();
    let mut others: Vec<Part<'_>> = Vec::new();
    let flush = |lines: &mut Vec<_>, others: &mut Vec<_>, parts: &mut Vec<_>| {
        if !lines.is_empty() {
            parts.push(Part::Lines(std::mem::take(lines)));
        }
        parts.append(others);
    };
    for stage in stages {
        match stage {
            ast::Stage::Line(op, operands) => lines.push((*op, operands)),
            ast::Stage::Label(_) => {
                flush(&mut lines, &mut others, &mut parts);
                parts.push(Part::Other(stage));
            }
            ast::Stage::LineFormat(_) | ast::Stage::Unpack => {
                others.push(Part::Other(stage));
                flush(&mut lines, &mut others, &mut parts);
            }
            _ => others.push(Part::Other(stage)),
        }
    }
    flush(&mut lines, &mut others, &mut parts);
    parts
}

struct Lowering<'b> {
    budget: &'b mut Budget,
    stages: Vec<Stage>,
    /// Names of labels that stages read.
    required: Vec<String>,
    /// Label filters by the only name that they concern.
    early: Vec<(String, Filter)>,
    /// How many stages need space for a match.
    regexps: usize,
}

impl Lowering<'_> {
    fn part(&mut self, part: &Part<'_>) -> Result<(), ParseError> {
        let stage = match part {
            Part::Lines(filters) => return self.line_filters(filters),
            Part::Other(stage) => *stage,
        };
        let failed = |cause: String| fail(&print::stage(stage), &cause);
        let compiled = match stage {
            ast::Stage::Label(filter) => return self.label_filter(filter, &failed),
            ast::Stage::Json(extracts) if extracts.is_empty() => Stage::Json,
            ast::Stage::Json(extracts) => Stage::Paths(Paths::new(extracts).map_err(failed)?),
            ast::Stage::Logfmt {
                strict,
                keep_empty,
                extracts,
            } if extracts.is_empty() => Stage::Logfmt(Logfmt {
                strict: *strict,
                keep_empty: *keep_empty,
            }),
            ast::Stage::Logfmt {
                strict, extracts, ..
            } => Stage::Picks(Picks::new(extracts, *strict).map_err(failed)?),
            ast::Stage::Regexp(text) => {
                let regexp = Regexp::new(text, self.budget).map_err(failed)?;
                self.regexps += 1;
                Stage::Regexp(regexp, self.regexps - 1)
            }
            ast::Stage::Pattern(text) => Stage::Captures(Captures::new(text)),
            ast::Stage::Unpack => Stage::Unpack,
            ast::Stage::LineFormat(text) => {
                let format = LineFormat::new(text, self.budget).map_err(failed)?;
                format.names(&mut self.required);
                Stage::LineFormat(format)
            }
            ast::Stage::LabelFormat(formats) => {
                let formats = LabelFormats::new(formats, self.budget).map_err(failed)?;
                formats.names(&mut self.required);
                Stage::LabelFormat(formats)
            }
            ast::Stage::Decolorize => {
                Stage::Decolorize(Decolorizer::new(self.budget).map_err(failed)?)
            }
            ast::Stage::Drop(names) => Stage::Drop(names.clone()),
            ast::Stage::Keep(names) => Stage::Keep(names.clone()),
            // Collected by `order`.
            ast::Stage::Line(op, operands) => return self.line_filters(&[(*op, operands)]),
        };
        self.stages.push(compiled);
        Ok(())
    }

    fn line_filters(&mut self, filters: &[(FilterOp, &[Operand])]) -> Result<(), ParseError> {
        let mut compiled = Vec::new();
        for (op, operands) in filters {
            LineFilter::compile(*op, operands, self.budget, &mut compiled)
                .map_err(|cause| fail(&print_filters(filters), &cause))?;
        }
        self.stages.extend(compiled.into_iter().map(Stage::Line));
        Ok(())
    }

    fn label_filter(
        &mut self,
        filter: &LabelFilter,
        failed: &dyn Fn(String) -> ParseError,
    ) -> Result<(), ParseError> {
        if let LabelFilter::Ip { pattern, .. } = filter {
            Addresses::new(pattern).map_err(failed)?;
        }
        let filter = Filter::compile(filter).map_err(plain)?;
        filter.names(&mut self.required);
        if matches!(filter, Filter::Always) {
            return Ok(());
        }
        if let Some(name) = filter.single_name() {
            self.early.push((name.to_owned(), filter.clone()));
        }
        self.stages.push(Stage::Filter(filter));
        Ok(())
    }

    fn unwrap(&mut self, unwrap: &Unwrap) {
        unwrap.filter.names(&mut self.required);
        self.required.push(unwrap.name.clone());
        if let Some(name) = unwrap.filter.single_name() {
            self.early.push((name.to_owned(), unwrap.filter.clone()));
        }
    }

    fn finish(mut self, around: &Around<'_>, unwrap: Option<Unwrap>) -> Pipeline {
        let output = match around.labels {
            Read::All => Output::All,
            Read::Named(names) => {
                self.required.extend(names.iter().cloned());
                let mut names = names.to_vec();
                names.sort();
                names.dedup();
                Output::Named(names)
            }
            Read::Nothing => Output::Nothing,
        };
        let hints = Hints::new(output, &self.required, self.early);
        if hints.needs_nothing() {
            self.stages.retain(|stage| !stage.is_parser());
        }
        hoist(&mut self.stages);
        let leading = self
            .stages
            .iter()
            .take_while(|s| matches!(s, Stage::Line(_)));
        let leading = leading.count();
        let rest = self.stages.split_off(leading);
        let leading = self.stages.into_iter().filter_map(|stage| match stage {
            Stage::Line(filter) => Some(filter),
            _ => None,
        });
        Pipeline {
            leading: leading.collect(),
            stages: rest,
            hints,
            unwrap,
        }
    }
}

/// Line filters as one stage; a negated chain is one of several filters.
fn print_filters(filters: &[(FilterOp, &[Operand])]) -> String {
    let mut printed = Vec::new();
    for (op, operands) in filters {
        let parts = if op.is_negative() { 1 } else { operands.len() };
        printed.extend(operands.chunks(parts).map(|o| print::line_filter(*op, o)));
    }
    printed.join(" ")
}

/// Moves line filters as far to the front as the line stays the same: what they drop no other stage need look at.
fn hoist(stages: &mut Vec<Stage>) {
    let mut place = 0;
    for i in 0..stages.len() {
        if stages[i].changes_line() {
            place = i + 1;
        } else if matches!(stages[i], Stage::Line(_)) {
            let filter = stages.remove(i);
            stages.insert(place, filter);
            place += 1;
        }
    }
}
