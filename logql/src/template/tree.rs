//! Parsed templates, and how their parts print in errors.

use std::fmt::Write as _;
use std::fmt::{Display, Formatter, Result};

use super::call::Function;
use crate::format::quote;

/// A named template.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) name: Box<[u8]>,
    pub(super) list: Vec<Stmt>,
}

impl Tree {
    /// Nothing but blanks: such a definition gives way to another one.
    pub(super) fn is_empty(&self) -> bool {
        self.list
            .iter()
            .all(|stmt| matches!(&stmt.kind, StmtKind::Text(text) if text.trim_ascii().is_empty()))
    }
}

#[derive(Debug)]
pub(super) struct Stmt {
    /// Offset in the source, for error texts.
    pub(super) at: usize,
    pub(super) kind: StmtKind,
}

#[derive(Debug)]
pub(super) enum StmtKind {
    Text(Box<[u8]>),
    Action(Pipe, Short),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template(Box<[u8]>, Option<Pipe>),
    Break,
    Continue,
}

/// Actions so common that they are run without the machinery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Short {
    /// `{{.name}}`
    Field,
    /// `{{__line__}}`
    Line,
    No,
}

#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) list: Vec<Stmt>,
    pub(super) otherwise: Option<Vec<Stmt>>,
}

/// `$x := first | second`
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) at: usize,
    /// `=` instead of `:=`
    pub(super) assigns: bool,
    pub(super) variables: Vec<Box<str>>,
    pub(super) commands: Vec<Command>,
}

#[derive(Debug)]
pub(super) struct Command {
    pub(super) at: usize,
    pub(super) args: Vec<Expr>,
}

#[derive(Debug)]
pub(super) struct Expr {
    pub(super) at: usize,
    pub(super) kind: ExprKind,
}

#[derive(Debug)]
pub(super) enum ExprKind {
    Bool(bool),
    Dot,
    Nil,
    Number(Number),
    Str {
        /// As written.
        quoted: Box<[u8]>,
        value: Box<[u8]>,
    },
    Function(&'static Function),
    Field(Vec<Box<str>>),
    /// Name with its `$`, and fields.
    Variable(Box<str>, Vec<Box<str>>),
    Chain(Box<Expr>, Vec<Box<str>>),
    Pipe(Pipe),
}

/// A numeric constant is whatever its text can be read as.
#[derive(Debug, Clone)]
pub(super) struct Number {
    pub(super) text: Box<str>,
    pub(super) int: Option<i64>,
    pub(super) float: Option<f64>,
    /// Only for text with an imaginary part.
    pub(super) complex: Option<(f64, f64)>,
}

impl Display for Pipe {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if !self.variables.is_empty() {
            let sign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.variables.join(", "))?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            if i > 0 {
                f.write_str(" | ")?;
            }
            command.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (i, arg) in self.args.iter().enumerate() {
            if i > 0 {
                f.write_char(' ')?;
            }
            match &arg.kind {
                ExprKind::Pipe(pipe) => write!(f, "({pipe})")?,
                _ => arg.fmt(f)?,
            }
        }
        Ok(())
    }
}

fn fields(f: &mut Formatter<'_>, names: &[Box<str>]) -> Result {
    names.iter().try_for_each(|name| write!(f, ".{name}"))
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.kind {
            ExprKind::Bool(value) => value.fmt(f),
            ExprKind::Dot => f.write_char('.'),
            ExprKind::Nil => f.write_str("nil"),
            ExprKind::Number(number) => f.write_str(&number.text),
            ExprKind::Str { quoted, .. } => f.write_str(&String::from_utf8_lossy(quoted)),
            ExprKind::Function(function) => f.write_str(function.name),
            ExprKind::Field(names) => fields(f, names),
            ExprKind::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            ExprKind::Chain(base, names) => {
                match &base.kind {
                    ExprKind::Pipe(pipe) => write!(f, "({pipe})")?,
                    _ => base.fmt(f)?,
                }
                fields(f, names)
            }
            ExprKind::Pipe(pipe) => pipe.fmt(f),
        }
    }
}

impl Display for Stmt {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.kind {
            StmtKind::Text(text) => f.write_str(&String::from_utf8_lossy(text)),
            StmtKind::Action(pipe, _) => write!(f, "{{{{{pipe}}}}}"),
            StmtKind::If(branch) => branch.fmt("if", f),
            StmtKind::With(branch) => branch.fmt("with", f),
            StmtKind::Range(branch) => branch.fmt("range", f),
            StmtKind::Template(name, None) => write!(f, "{{{{template {}}}}}", quote(name)),
            StmtKind::Template(name, Some(pipe)) => {
                write!(f, "{{{{template {} {pipe}}}}}", quote(name))
            }
            StmtKind::Break => f.write_str("{{break}}"),
            StmtKind::Continue => f.write_str("{{continue}}"),
        }
    }
}

impl Branch {
    fn fmt(&self, word: &str, f: &mut Formatter<'_>) -> Result {
        write!(f, "{{{{{word} {}}}}}", self.pipe)?;
        self.list.iter().try_for_each(|stmt| stmt.fmt(f))?;
        if let Some(otherwise) = &self.otherwise {
            f.write_str("{{else}}")?;
            otherwise.iter().try_for_each(|stmt| stmt.fmt(f))?;
        }
        f.write_str("{{end}}")
    }
}
