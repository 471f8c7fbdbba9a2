//! Tokens to trees: accepts what Go's `text/template` accepts and fails with its words.
//!
//! Bound: parentheses and blocks nest at most [`NESTING_MAX`] deep, as parsing, printing and running them recurses.

use super::call;
use super::lexer::{Kind, Token, Word, tokens};
use super::numbers;
use super::tree::{Branch, Command, Expr, ExprKind, Pipe, Short, Stmt, StmtKind, Tree};
use crate::format::quote;

/// Deepest nesting of parentheses and of blocks together. More is an error of the stage.
const NESTING_MAX: usize = 200;

/// What ended a list of statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ender {
    Else,
    End,
}

impl Ender {
    fn text(self) -> &'static str {
        match self {
            Ender::Else => "{{else}}",
            Ender::End => "{{end}}",
        }
    }
}

enum Parsed {
    Stmt(Stmt),
    Ender(Ender),
}

/// Parses a template named `name`. The first tree is the one to run.
pub(super) fn parse(source: &[u8], name: &str) -> Result<Vec<Tree>, String> {
    let mut parser = Parser {
        name,
        tokens: tokens(source),
        next: 0,
        furthest: 0,
        variables: vec!["$".into()],
        ranges: 0,
        action_line: 0,
        nesting: 0,
        trees: Vec::new(),
    };
    let list = parser.top()?;
    parser.define(name.as_bytes(), list)?;
    let mut trees = parser.trees;
    let main = trees
        .iter()
        .position(|tree| *tree.name == *name.as_bytes())
        .unwrap_or(0);
    trees.swap(0, main);
    Ok(trees)
}

type Parse<T> = Result<T, String>;

struct Parser<'s> {
    name: &'s str,
    tokens: Vec<Token<'s>>,
    /// Index of the next token.
    next: usize,
    /// The furthest token looked at: errors show its line.
    furthest: usize,
    /// Variables in scope.
    variables: Vec<Box<str>>,
    /// How many `range` blocks are open.
    ranges: usize,
    /// Line of the action that is being parsed; 0 outside.
    action_line: usize,
    nesting: usize,
    trees: Vec<Tree>,
}

impl<'s> Parser<'s> {
    fn fail<T>(&self, message: &str) -> Parse<T> {
        let line = self.tokens[self.furthest].line;
        Err(format!("template: {}:{line}: {message}", self.name))
    }

    fn peek(&mut self) -> &Token<'s> {
        // The last token, an end or a fault, is never passed.
        let at = self.next.min(self.tokens.len() - 1);
        self.furthest = self.furthest.max(at);
        &self.tokens[at]
    }

    fn take(&mut self) -> Token<'s> {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn peek_past_space(&mut self) -> &Token<'s> {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
        self.peek()
    }

    fn take_past_space(&mut self) -> Token<'s> {
        self.peek_past_space();
        self.take()
    }

    fn unexpected<T>(&self, token: &Token<'_>, context: &str) -> Parse<T> {
        if token.kind != Kind::Error {
            return self.fail(&format!("unexpected {} in {context}", token.describe()));
        }
        let mut message = token.describe();
        if self.action_line != 0 && self.action_line != token.line {
            if !message.ends_with(" action") {
                message.push_str(" in action");
            }
            message.push_str(&format!(" started at {}:{}", self.name, self.action_line));
        }
        self.fail(&message)
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parse<Token<'s>> {
        let token = self.take_past_space();
        if token.kind == kind {
            Ok(token)
        } else {
            self.unexpected(&token, context)
        }
    }

    /// Keeps a definition. An empty one gives way.
    fn define(&mut self, name: &[u8], list: Vec<Stmt>) -> Parse<()> {
        let tree = Tree {
            name: name.into(),
            list,
        };
        match self.trees.iter_mut().find(|old| *old.name == *name) {
            None => self.trees.push(tree),
            Some(old) if old.is_empty() => *old = tree,
            Some(_) if tree.is_empty() => {}
            Some(_) => {
                let name = quote(name);
                return self.fail(&format!("template: multiple definition of template {name}"));
            }
        }
        Ok(())
    }

    fn top(&mut self) -> Parse<Vec<Stmt>> {
        let mut list = Vec::new();
        while self.peek().kind != Kind::Eof {
            if self.peek().kind == Kind::LeftDelim {
                let start = self.next;
                self.take();
                if self.take_past_space().kind == Kind::Word(Word::Define) {
                    self.definition()?;
                    continue;
                }
                self.next = start;
            }
            match self.text_or_action()? {
                Parsed::Stmt(stmt) => list.push(stmt),
                Parsed::Ender(ender) => {
                    return self.fail(&format!("unexpected {}", ender.text()));
                }
            }
        }
        Ok(list)
    }

    fn definition(&mut self) -> Parse<()> {
        const CONTEXT: &str = "define clause";
        let token = self.take_past_space();
        let name = self.template_name(&token, CONTEXT)?;
        self.expect(Kind::RightDelim, CONTEXT)?;
        let list = self.inner_template(CONTEXT)?;
        self.define(&name, list)
    }

    /// The body of `define` or `block`, which knows nothing of what is around it.
    fn inner_template(&mut self, context: &str) -> Parse<Vec<Stmt>> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let ranges = std::mem::take(&mut self.ranges);
        let action_line = std::mem::take(&mut self.action_line);
        let (list, ender) = self.list()?;
        if ender != Ender::End {
            return self.fail(&format!("unexpected {} in {context}", ender.text()));
        }
        self.variables = variables;
        self.ranges = ranges;
        self.action_line = action_line;
        Ok(list)
    }

    fn template_name(&mut self, token: &Token<'_>, context: &str) -> Parse<Vec<u8>> {
        if !matches!(token.kind, Kind::Str | Kind::RawStr) {
            return self.unexpected(token, context);
        }
        self.string_value(token)
    }

    fn string_value(&self, token: &Token<'_>) -> Parse<Vec<u8>> {
        numbers::unquote(&token.text).map_or_else(|| self.fail("invalid syntax"), Ok)
    }

    fn enter(&mut self) -> Parse<()> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return self.fail(&format!("nested deeper than {NESTING_MAX} levels"));
        }
        Ok(())
    }

    /// Statements up to `end` or `else`.
    fn list(&mut self) -> Parse<(Vec<Stmt>, Ender)> {
        self.enter()?;
        let mut list = Vec::new();
        while self.peek_past_space().kind != Kind::Eof {
            match self.text_or_action()? {
                Parsed::Stmt(stmt) => list.push(stmt),
                Parsed::Ender(ender) => {
                    self.nesting -= 1;
                    return Ok((list, ender));
                }
            }
        }
        self.fail("unexpected EOF")
    }

    fn text_or_action(&mut self) -> Parse<Parsed> {
        let token = self.take_past_space();
        match token.kind {
            Kind::Text => Ok(Parsed::Stmt(Stmt {
                at: token.at,
                kind: StmtKind::Text(token.text.as_ref().into()),
            })),
            Kind::LeftDelim => {
                self.action_line = token.line;
                let parsed = self.action();
                self.action_line = 0;
                parsed
            }
            _ => self.unexpected(&token, "input"),
        }
    }

    fn action(&mut self) -> Parse<Parsed> {
        let token = self.peek_past_space().clone();
        let at = token.at;
        let Kind::Word(word) = token.kind else {
            let pipe = self.pipeline("command", Kind::RightDelim)?;
            let short = short_form(&pipe);
            let kind = StmtKind::Action(pipe, short);
            return Ok(Parsed::Stmt(Stmt { at, kind }));
        };
        if word == Word::Define {
            // Not at the top: no word of an action.
            return self.unexpected(&token, "command");
        }
        self.take();
        let kind = match word {
            Word::Block => return self.block(),
            Word::Break => self.jump("break", StmtKind::Break)?,
            Word::Continue => self.jump("continue", StmtKind::Continue)?,
            Word::Else => return self.else_control(),
            Word::End => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Parsed::Ender(Ender::End));
            }
            Word::If => StmtKind::If(self.control("if", Some(Word::If))?),
            Word::Range => StmtKind::Range(self.control("range", None)?),
            Word::With => StmtKind::With(self.control("with", Some(Word::With))?),
            Word::Template | Word::Define => return self.template_call(),
        };
        Ok(Parsed::Stmt(Stmt { at, kind }))
    }

    fn jump(&mut self, word: &str, kind: StmtKind) -> Parse<StmtKind> {
        let token = self.take_past_space();
        if token.kind != Kind::RightDelim {
            return self.unexpected(&token, &format!("{{{{{word}}}}}"));
        }
        if self.ranges == 0 {
            return self.fail(&format!("{{{{{word}}}}} outside {{{{range}}}}"));
        }
        Ok(kind)
    }

    /// `else`; what may follow it (`if`, `with`) is left to the block that it belongs to.
    fn else_control(&mut self) -> Parse<Parsed> {
        let next = self.peek_past_space().kind;
        if !matches!(next, Kind::Word(Word::If | Word::With)) {
            self.expect(Kind::RightDelim, "else")?;
        }
        Ok(Parsed::Ender(Ender::Else))
    }

    /// `if`, `with` or `range`; `chain` is the word that may follow its `else`.
    fn control(&mut self, context: &str, chain: Option<Word>) -> Parse<Branch> {
        let scope = self.variables.len();
        let is_range = usize::from(context == "range");
        let pipe = self.pipeline(context, Kind::RightDelim)?;
        self.ranges += is_range;
        let (list, ender) = self.list()?;
        self.ranges -= is_range;
        let mut otherwise = None;
        if ender == Ender::Else {
            let next = self.peek().clone();
            otherwise = match chain {
                Some(word) if next.kind == Kind::Word(word) => {
                    self.take();
                    self.enter()?;
                    let branch = self.control(context, chain)?;
                    self.nesting -= 1;
                    let kind = match word {
                        Word::With => StmtKind::With(branch),
                        _ => StmtKind::If(branch),
                    };
                    Some(vec![Stmt { at: next.at, kind }])
                }
                _ => Some(self.last_else()?),
            };
        }
        self.variables.truncate(scope);
        Ok(Branch {
            pipe,
            list,
            otherwise,
        })
    }

    fn last_else(&mut self) -> Parse<Vec<Stmt>> {
        let (list, ender) = self.list()?;
        if ender != Ender::End {
            return self.fail(&format!("expected end; found {}", ender.text()));
        }
        Ok(list)
    }

    fn block(&mut self) -> Parse<Parsed> {
        const CONTEXT: &str = "block clause";
        let token = self.take_past_space();
        let name = self.template_name(&token, CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, Kind::RightDelim)?;
        let list = self.inner_template(CONTEXT)?;
        self.define(&name, list)?;
        Ok(Parsed::Stmt(Stmt {
            at: token.at,
            kind: StmtKind::Template(name.into(), Some(pipe)),
        }))
    }

    fn template_call(&mut self) -> Parse<Parsed> {
        const CONTEXT: &str = "template clause";
        let token = self.take_past_space();
        let name = self.template_name(&token, CONTEXT)?;
        let mut pipe = None;
        if self.peek_past_space().kind == Kind::RightDelim {
            self.take();
        } else {
            pipe = Some(self.pipeline(CONTEXT, Kind::RightDelim)?);
        }
        Ok(Parsed::Stmt(Stmt {
            at: token.at,
            kind: StmtKind::Template(name.into(), pipe),
        }))
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Parse<Pipe> {
        self.enter()?;
        let mut pipe = Pipe {
            at: self.peek_past_space().at,
            assigns: false,
            variables: Vec::new(),
            commands: Vec::new(),
        };
        while self.declaration(context, &mut pipe)? {}
        loop {
            let token = self.peek_past_space().clone();
            match token.kind {
                kind if kind == end => {
                    self.take();
                    self.check_pipeline(&pipe, context)?;
                    self.nesting -= 1;
                    return Ok(pipe);
                }
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawStr
                | Kind::Str
                | Kind::Variable
                | Kind::LeftParen => pipe.commands.push(self.command()?),
                _ => return self.unexpected(&token, context),
            }
        }
    }

    /// `$x :=`, `$x =`, or `$i,` of a range, after which another variable may follow: then true.
    fn declaration(&mut self, context: &str, pipe: &mut Pipe) -> Parse<bool> {
        let start = self.next;
        let variable = self.peek_past_space().clone();
        if variable.kind != Kind::Variable {
            return Ok(false);
        }
        self.take();
        let next = self.peek_past_space().clone();
        let comma = next.kind == Kind::Char && *next.text == *b",";
        if !comma && !matches!(next.kind, Kind::Assign | Kind::Declare) {
            self.next = start;
            return Ok(false);
        }
        self.take();
        let name: Box<str> = String::from_utf8_lossy(&variable.text).into();
        self.variables.push(name.clone());
        pipe.variables.push(name);
        if !comma {
            pipe.assigns = next.kind == Kind::Assign;
            return Ok(false);
        }
        if context == "range" && pipe.variables.len() < 2 {
            return match self.peek_past_space().kind {
                Kind::Variable | Kind::RightDelim | Kind::RightParen => Ok(true),
                _ => self.fail("range can only initialize variables"),
            };
        }
        self.fail(&format!("too many declarations in {context}"))
    }

    fn check_pipeline(&self, pipe: &Pipe, context: &str) -> Parse<()> {
        if pipe.commands.is_empty() {
            return self.fail(&format!("missing value for {context}"));
        }
        for (i, command) in pipe.commands.iter().enumerate().skip(1) {
            let constant = matches!(
                command.args[0].kind,
                ExprKind::Bool(_)
                    | ExprKind::Dot
                    | ExprKind::Nil
                    | ExprKind::Number(_)
                    | ExprKind::Str { .. }
            );
            if constant {
                return self.fail(&format!(
                    "non executable command in pipeline stage {}",
                    i + 1
                ));
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Parse<Command> {
        let mut command = Command {
            at: self.peek_past_space().at,
            args: Vec::new(),
        };
        loop {
            self.peek_past_space();
            if let Some(operand) = self.operand()? {
                command.args.push(operand);
            }
            let token = self.peek().clone();
            match token.kind {
                Kind::Space => {
                    self.take();
                    continue;
                }
                Kind::RightDelim | Kind::RightParen => {}
                Kind::Pipe => {
                    self.take();
                }
                _ => {
                    self.take();
                    return self.unexpected(&token, "operand");
                }
            }
            break;
        }
        if command.args.is_empty() {
            return self.fail("empty command");
        }
        Ok(command)
    }

    /// A term and the fields behind it.
    fn operand(&mut self) -> Parse<Option<Expr>> {
        let Some(mut term) = self.term()? else {
            return Ok(None);
        };
        if self.peek().kind != Kind::Field {
            return Ok(Some(term));
        }
        let at = self.peek().at;
        let mut names = Vec::new();
        while self.peek().kind == Kind::Field {
            names.push(field_name(&self.take()));
        }
        match &mut term.kind {
            ExprKind::Field(own) | ExprKind::Variable(_, own) => {
                own.append(&mut names);
                term.at = at;
                Ok(Some(term))
            }
            ExprKind::Function(_) | ExprKind::Pipe(_) | ExprKind::Chain(..) => Ok(Some(Expr {
                at,
                kind: ExprKind::Chain(Box::new(term), names),
            })),
            _ => {
                let term = quote(term.to_string().as_bytes());
                self.fail(&format!("unexpected . after term {term}"))
            }
        }
    }

    fn term(&mut self) -> Parse<Option<Expr>> {
        let token = self.peek_past_space().clone();
        let text = || String::from_utf8_lossy(&token.text);
        let start = self.next;
        self.take();
        let kind = match token.kind {
            Kind::Identifier => match call::find(&text()) {
                Some(function) => ExprKind::Function(function),
                None => {
                    let name = quote(&token.text);
                    return self.fail(&format!("function {name} not defined"));
                }
            },
            Kind::Dot => ExprKind::Dot,
            Kind::Nil => ExprKind::Nil,
            Kind::Variable => {
                if !self.variables.iter().any(|name| **name == *text()) {
                    let name = quote(&token.text);
                    return self.fail(&format!("undefined variable {name}"));
                }
                ExprKind::Variable(text().into(), Vec::new())
            }
            Kind::Field => ExprKind::Field(vec![field_name(&token)]),
            Kind::Bool => ExprKind::Bool(*token.text == *b"true"),
            Kind::CharConstant | Kind::Complex | Kind::Number => self.number(&token)?,
            Kind::LeftParen => {
                ExprKind::Pipe(self.pipeline("parenthesized pipeline", Kind::RightParen)?)
            }
            Kind::Str | Kind::RawStr => ExprKind::Str {
                value: self.string_value(&token)?.into(),
                quoted: token.text.as_ref().into(),
            },
            _ => {
                self.next = start;
                return Ok(None);
            }
        };
        let at = match &kind {
            ExprKind::Pipe(pipe) => pipe.at,
            _ => token.at,
        };
        Ok(Some(Expr { at, kind }))
    }

    fn number(&self, token: &Token<'_>) -> Parse<ExprKind> {
        let text = String::from_utf8_lossy(&token.text);
        let number = match token.kind {
            Kind::CharConstant => numbers::char_constant(&token.text),
            Kind::Complex => numbers::complex_constant(&text),
            _ => numbers::constant(&text),
        };
        match number {
            Ok(number) => Ok(ExprKind::Number(number)),
            Err(message) => self.fail(&message),
        }
    }
}

/// The name of a field token, which begins with a dot.
fn field_name(token: &Token<'_>) -> Box<str> {
    String::from_utf8_lossy(&token.text[1..]).into()
}

fn short_form(pipe: &Pipe) -> Short {
    let ([command], []) = (pipe.commands.as_slice(), pipe.variables.as_slice()) else {
        return Short::No;
    };
    match command.args.as_slice() {
        [Expr { kind, .. }] => match kind {
            ExprKind::Field(names) if names.len() == 1 => Short::Field,
            ExprKind::Function(function) if function.name == call::LINE => Short::Line,
            _ => Short::No,
        },
        _ => Short::No,
    }
}
