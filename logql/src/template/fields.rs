//! What a template reads, found without running it.

use super::call;
use super::tree::{Branch, Command, Expr, ExprKind, Pipe, Stmt, StmtKind, Tree};

/// What a template may read.
#[derive(Debug, Default)]
pub(super) struct Reads {
    pub(super) line: bool,
    pub(super) timestamp: bool,
    /// Sorted, none twice.
    pub(super) fields: Vec<Box<str>>,
    pub(super) any_label: bool,
}

/// Finds what templates read, and the constant patterns in them.
pub(super) fn analyse(trees: &[Tree]) -> (Reads, Vec<&[u8]>) {
    let mut walk = Walk {
        reads: Reads::default(),
        patterns: Vec::new(),
        main: true,
        dot_is_root: true,
    };
    for (i, tree) in trees.iter().enumerate() {
        walk.main = i == 0;
        walk.list(&tree.list);
    }
    walk.reads.fields.sort_unstable();
    walk.reads.fields.dedup();
    (walk.reads, walk.patterns)
}

struct Walk<'t> {
    reads: Reads,
    patterns: Vec<&'t [u8]>,
    /// In the template that is run, not in a definition.
    main: bool,
    /// Dot may be the labels.
    dot_is_root: bool,
}

impl<'t> Walk<'t> {
    fn list(&mut self, list: &'t [Stmt]) {
        for stmt in list {
            match &stmt.kind {
                StmtKind::Text(_) | StmtKind::Break | StmtKind::Continue => {}
                StmtKind::Action(pipe, _) => self.pipe(pipe),
                StmtKind::If(branch) => self.branch(branch, true),
                StmtKind::With(branch) | StmtKind::Range(branch) => self.branch(branch, false),
                StmtKind::Template(_, pipe) => {
                    if let Some(pipe) = pipe {
                        // Loki does not look at the argument of a template, nor into definitions.
                        let main = std::mem::replace(&mut self.main, false);
                        self.pipe(pipe);
                        self.main = main;
                    }
                }
            }
        }
    }

    /// A block. One that sets dot can set it to the labels only by naming them, which is noticed there.
    fn branch(&mut self, branch: &'t Branch, keeps_dot: bool) {
        self.pipe(&branch.pipe);
        let outside = self.dot_is_root;
        self.dot_is_root &= keeps_dot;
        self.list(&branch.list);
        self.dot_is_root = outside;
        if let Some(otherwise) = &branch.otherwise {
            self.list(otherwise);
        }
    }

    fn pipe(&mut self, pipe: &'t Pipe) {
        for command in &pipe.commands {
            self.command(command);
        }
    }

    fn command(&mut self, command: &'t Command) {
        if let [
            Expr {
                kind: ExprKind::Function(function),
                ..
            },
            first,
            ..,
        ] = &command.args[..]
            && call::takes_pattern(function)
            && let ExprKind::Str { value, .. } = &first.kind
            && !self.patterns.contains(&&**value)
        {
            self.patterns.push(value);
        }
        for arg in &command.args {
            self.expr(arg);
        }
    }

    fn expr(&mut self, expr: &'t Expr) {
        match &expr.kind {
            ExprKind::Bool(_) | ExprKind::Nil | ExprKind::Number(_) | ExprKind::Str { .. } => {}
            ExprKind::Dot => self.reads.any_label |= self.dot_is_root,
            ExprKind::Function(function) => match function.name {
                call::LINE => self.reads.line = true,
                call::TIMESTAMP => self.reads.timestamp = true,
                _ => {}
            },
            ExprKind::Field(names) if self.main => self.reads.fields.extend(names.iter().cloned()),
            ExprKind::Field(_) => self.reads.any_label = true,
            ExprKind::Variable(name, _) => self.reads.any_label |= &**name == "$",
            ExprKind::Chain(base, _) => self.expr(base),
            ExprKind::Pipe(pipe) => self.pipe(pipe),
        }
    }
}
