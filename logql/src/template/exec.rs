//! Runs templates. Faults have Go's words and name the place where they happened.

use super::call::{Args, Body, Env, Function, Param, recycle};
use super::scratch::Scratch;
use super::tree::{Branch, Command, Expr, ExprKind, Number, Pipe, Short, Stmt, StmtKind, Tree};
use super::value::{IntType, Json, Text, Value, map_get};
use super::{BYTES_PER_UNIT, Context, DEPTH_MAX, FAULT_PART, Inner, WORK_MAX, gofmt, methods};
use crate::format::quote;

/// Runs the main template.
pub(super) fn run(
    template: &Inner,
    context: &dyn Context,
    out: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<(), String> {
    let tree = &template.trees[0];
    if template.plain {
        let start = out.len();
        let result = plain(template, &tree.list, context, out, scratch.limit);
        scratch.spend(out.len() - start);
        return result;
    }
    let limit = out.len().saturating_add(scratch.limit);
    let mut run = Run {
        template,
        tree,
        env: Env {
            context,
            template,
            scratch,
            work: WORK_MAX,
        },
        out,
        limit,
        variables: Vec::new(),
        frame: 0,
        root: Value::Labels(context),
        place: Place::Tree,
        depth: 0,
    };
    let result = run.list(&Value::Labels(context), &tree.list).map(drop);
    let units = usize::try_from(WORK_MAX - run.env.work).unwrap_or(usize::MAX);
    run.env.scratch.spend(units.saturating_mul(BYTES_PER_UNIT));
    result
}

/// Runs a template of text, labels and the line only, as most are.
fn plain(
    template: &Inner,
    list: &[Stmt],
    context: &dyn Context,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), String> {
    let end = out.len().saturating_add(limit);
    for stmt in list {
        let bytes = match &stmt.kind {
            StmtKind::Text(text) => text,
            StmtKind::Action(_, Short::Line) => context.line(),
            StmtKind::Action(pipe, _) => match &pipe.commands[0].args[0].kind {
                ExprKind::Field(names) => context.label(&names[0]).unwrap_or_default(),
                _ => b"",
            },
            _ => b"",
        };
        if bytes.len() > end - out.len() {
            let name = &template.name;
            return Err(format!(
                "template: {name}: the output is longer than {limit} bytes"
            ));
        }
        out.extend_from_slice(bytes);
    }
    Ok(())
}

/// A fault's whole text.
type Fault = String;

/// How a list of statements ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// What a fault is said to have happened in.
#[derive(Clone, Copy)]
enum Place<'a> {
    Tree,
    Stmt(&'a Stmt),
    Pipe(&'a Pipe),
    Command(&'a Command),
    Expr(&'a Expr),
}

struct Run<'a, 's> {
    template: &'a Inner,
    /// The template that is running.
    tree: &'a Tree,
    env: Env<'a, 's>,
    out: &'s mut Vec<u8>,
    /// Longest length of `out`.
    limit: usize,
    variables: Vec<(&'a str, Value<'a>)>,
    /// Where the variables of the running template begin.
    frame: usize,
    /// `$`
    root: Value<'a>,
    place: Place<'a>,
    depth: usize,
}

impl<'a> Run<'a, '_> {
    fn fault(&self, message: &str) -> Fault {
        let name = &self.template.name;
        let (at, context) = match self.place {
            Place::Tree => (0, String::new()),
            Place::Stmt(stmt) => (stmt.at, stmt.to_string()),
            Place::Pipe(pipe) => (pipe.at, pipe.to_string()),
            Place::Command(command) => (command.at, command.to_string()),
            Place::Expr(expr) => (expr.at, expr.to_string()),
        };
        let before = &self.template.source[..at];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let column = at - memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        let tree = shortened(quote(&self.tree.name));
        let (context, message) = (shortened(context), shortened(message.to_owned()));
        format!("template: {name}:{line}:{column}: executing {tree} at <{context}>: {message}")
    }

    #[cold]
    fn fail<T>(&self, message: &str) -> Result<T, Fault> {
        Err(self.fault(message))
    }

    #[inline]
    fn enter(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.fail(&format!("exceeded maximum template depth ({DEPTH_MAX})"));
        }
        Ok(())
    }

    /// Takes the work of a node, and of handling some bytes.
    #[inline]
    fn charge(&mut self, nodes: usize, bytes: usize) -> Result<(), Fault> {
        let units = nodes as u64 + (bytes / BYTES_PER_UNIT) as u64;
        match self.env.charge(units) {
            Ok(()) => Ok(()),
            Err(message) => self.fail(&message),
        }
    }

    fn list(&mut self, dot: &Value<'a>, list: &'a [Stmt]) -> Result<Flow, Fault> {
        self.enter()?;
        let mut flow = Flow::Next;
        for stmt in list {
            flow = self.stmt(dot, stmt)?;
            if flow != Flow::Next {
                break;
            }
        }
        self.depth -= 1;
        Ok(flow)
    }

    fn stmt(&mut self, dot: &Value<'a>, stmt: &'a Stmt) -> Result<Flow, Fault> {
        self.place = Place::Stmt(stmt);
        self.charge(1, 0)?;
        match &stmt.kind {
            StmtKind::Text(text) => self.write(text)?,
            StmtKind::Action(pipe, short) => self.action(dot, stmt, pipe, *short)?,
            StmtKind::If(branch) => return self.branch(dot, branch, false),
            StmtKind::With(branch) => return self.branch(dot, branch, true),
            StmtKind::Range(branch) => return self.range(dot, branch),
            StmtKind::Template(name, pipe) => self.template(dot, name, pipe.as_ref())?,
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.len() > self.limit - self.out.len() {
            return self.too_long();
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn too_long<T>(&self) -> Result<T, Fault> {
        let limit = self.env.scratch.limit;
        self.fail(&format!("the output is longer than {limit} bytes"))
    }

    fn action(
        &mut self,
        dot: &Value<'a>,
        stmt: &'a Stmt,
        pipe: &'a Pipe,
        short: Short,
    ) -> Result<(), Fault> {
        match (short, dot) {
            (Short::Line, _) => return self.write(self.env.context.line()),
            (Short::Field, Value::Labels(labels)) => {
                if let ExprKind::Field(names) = &pipe.commands[0].args[0].kind {
                    return self.write(labels.label(&names[0]).unwrap_or_default());
                }
            }
            _ => {}
        }
        let value = self.pipeline(dot, pipe)?;
        if pipe.variables.is_empty() {
            self.place = Place::Stmt(stmt);
            self.print(&value)?;
        }
        recycle(value, self.env.scratch);
        Ok(())
    }

    fn print(&mut self, value: &Value<'a>) -> Result<(), Fault> {
        if let Value::Text(text) = value {
            return self.write(text);
        }
        let before = self.out.len();
        gofmt::print_value(self.out, value);
        if self.out.len() > self.limit {
            return self.too_long();
        }
        self.charge(0, self.out.len() - before)
    }

    /// `if` and `with`.
    fn branch(
        &mut self,
        dot: &Value<'a>,
        branch: &'a Branch,
        sets_dot: bool,
    ) -> Result<Flow, Fault> {
        let scope = self.variables.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        let flow = if value.is_true() {
            self.list(if sets_dot { &value } else { dot }, &branch.list)?
        } else if let Some(otherwise) = &branch.otherwise {
            self.list(dot, otherwise)?
        } else {
            Flow::Next
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn range(&mut self, dot: &Value<'a>, branch: &'a Branch) -> Result<Flow, Fault> {
        let scope = self.variables.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        let mut done = false;
        let flow = match value {
            Value::List(list) => {
                let items = list
                    .iter()
                    .enumerate()
                    .map(|(i, item)| (Value::int(i), Value::Element(item.clone())));
                self.iterate(branch, items, &mut done)?
            }
            Value::Map(map) => {
                let items = map.iter().map(|(key, value)| {
                    let key = Value::Text(Text::Shared(key.clone()));
                    (key, Value::Element(value.clone()))
                });
                self.iterate(branch, items, &mut done)?
            }
            Value::Labels(labels) => {
                let mut items = Vec::new();
                labels.visit(&mut |name, value| {
                    items.push((Value::borrowed(name.as_bytes()), Value::borrowed(value)));
                });
                self.iterate(branch, items.into_iter(), &mut done)?
            }
            Value::Int(kind, count) => {
                if branch.pipe.variables.len() > 1 {
                    let count = gofmt::text_of(&value, 'v');
                    return self.fail(&format!(
                        "can't use {count} to iterate over more than one variable"
                    ));
                }
                let items = (0..count).map(|i| (Value::Nothing, Value::Int(kind, i)));
                self.iterate(branch, items, &mut done)?
            }
            Value::Nothing => Flow::Next,
            _ => {
                let value = gofmt::text_of(&value, 'v');
                return self.fail(&format!("range can't iterate over {value}"));
            }
        };
        let flow = match &branch.otherwise {
            Some(otherwise) if !done => self.list(dot, otherwise)?,
            _ => flow,
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    /// Runs a block for each item; `done` tells whether there was any.
    fn iterate(
        &mut self,
        branch: &'a Branch,
        items: impl Iterator<Item = (Value<'a>, Value<'a>)>,
        done: &mut bool,
    ) -> Result<Flow, Fault> {
        let scope = self.variables.len();
        for (index, item) in items {
            *done = true;
            self.charge(1, 0)?;
            match (branch.pipe.variables.as_slice(), branch.pipe.assigns) {
                ([], _) => {}
                ([name], true) => self.assign(name, item.clone())?,
                ([first, second, ..], true) => {
                    self.assign(first, index)?;
                    self.assign(second, item.clone())?;
                }
                ([_], false) => self.variables[scope - 1].1 = item.clone(),
                ([_, _, ..], false) => {
                    self.variables[scope - 2].1 = index;
                    self.variables[scope - 1].1 = item.clone();
                }
            }
            let flow = self.list(&item, &branch.list)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn template(
        &mut self,
        dot: &Value<'a>,
        name: &'a [u8],
        pipe: Option<&'a Pipe>,
    ) -> Result<(), Fault> {
        let Some(tree) = self.template.trees.iter().find(|tree| *tree.name == *name) else {
            return self.fail(&format!("template {} not defined", quote(name)));
        };
        let dot = match pipe {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Value::Nothing,
        };
        let scope = self.variables.len();
        let frame = std::mem::replace(&mut self.frame, scope);
        let root = std::mem::replace(&mut self.root, dot.clone());
        let outer = std::mem::replace(&mut self.tree, tree);
        self.list(&dot, &tree.list)?;
        self.variables.truncate(scope);
        self.frame = frame;
        self.root = root;
        self.tree = outer;
        Ok(())
    }

    /// The value of a pipeline, unwrapped, also given to its variables.
    fn pipeline(&mut self, dot: &Value<'a>, pipe: &'a Pipe) -> Result<Value<'a>, Fault> {
        self.enter()?;
        self.place = Place::Pipe(pipe);
        let mut last = None;
        for command in &pipe.commands {
            let value = self.command(dot, command, last)?;
            last = Some(value.unwrap());
        }
        let value = last.unwrap_or(Value::Nothing);
        for name in &pipe.variables {
            self.charge(0, owned_len(&value))?;
            if pipe.assigns {
                self.assign(name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        self.depth -= 1;
        Ok(value)
    }

    fn assign(&mut self, name: &str, value: Value<'a>) -> Result<(), Fault> {
        let frame = self.frame;
        let own = self.variables[frame..].iter_mut().rev();
        match own.into_iter().find(|(own, _)| *own == name) {
            Some(slot) => slot.1 = value,
            None if name == "$" => self.root = value,
            None => return self.fail(&format!("undefined variable: {name}")),
        }
        Ok(())
    }

    fn variable(&mut self, name: &str) -> Result<Value<'a>, Fault> {
        let own = self.variables[self.frame..].iter().rev();
        let value = match own.into_iter().find(|(own, _)| *own == name) {
            Some((_, value)) => value.clone(),
            None if name == "$" => self.root.clone(),
            None => return self.fail(&format!("undefined variable: {name}")),
        };
        self.charge(0, owned_len(&value))?;
        Ok(value)
    }

    fn command(
        &mut self,
        dot: &Value<'a>,
        command: &'a Command,
        last: Option<Value<'a>>,
    ) -> Result<Value<'a>, Fault> {
        self.charge(command.args.len(), 0)?;
        let (first, args) = (&command.args[0], &command.args[1..]);
        match &first.kind {
            ExprKind::Field(_) | ExprKind::Variable(..) | ExprKind::Chain(..) => {
                return self.access(dot, first, args, last);
            }
            ExprKind::Function(function) => {
                self.place = Place::Expr(first);
                let place = Place::Command(command);
                return self.call(dot, function, None, place, args, last);
            }
            ExprKind::Pipe(pipe) => {
                self.no_function(first, args, &last)?;
                return self.pipeline(dot, pipe);
            }
            _ => {}
        }
        self.place = Place::Expr(first);
        self.no_function(first, args, &last)?;
        match &first.kind {
            ExprKind::Nil => self.fail("nil is not a command"),
            _ => self.constant(dot, first),
        }
    }

    fn no_function(
        &self,
        first: &Expr,
        args: &[Expr],
        last: &Option<Value<'a>>,
    ) -> Result<(), Fault> {
        if args.is_empty() && last.is_none() {
            return Ok(());
        }
        self.fail(&format!("can't give argument to non-function {first}"))
    }

    /// The value of a word that is neither a call nor a field.
    fn constant(&mut self, dot: &Value<'a>, expr: &'a Expr) -> Result<Value<'a>, Fault> {
        Ok(match &expr.kind {
            ExprKind::Bool(value) => Value::Bool(*value),
            ExprKind::Dot => {
                self.charge(0, owned_len(dot))?;
                dot.clone()
            }
            ExprKind::Number(number) => {
                self.place = Place::Expr(expr);
                self.number(number)?
            }
            ExprKind::Str { value, .. } => Value::borrowed(value),
            _ => Value::Nothing,
        })
    }

    /// A number where any type will do.
    fn number(&self, number: &Number) -> Result<Value<'a>, Fault> {
        if let Some((real, imaginary)) = number.complex {
            return Ok(Value::Complex(real, imaginary));
        }
        let text = &*number.text;
        let character = text.starts_with('\'');
        let hexadecimal =
            (text.starts_with("0x") || text.starts_with("0X")) && !text.contains(['p', 'P']);
        let looks_float = text.contains(['.', 'e', 'E', 'p', 'P']) && !character && !hexadecimal;
        match (number.float, number.int) {
            (Some(float), _) if looks_float => Ok(Value::Float(float)),
            (_, Some(int)) => Ok(Value::Int(IntType::Int, int)),
            _ => self.fail(&format!("{text} overflows int")),
        }
    }

    /// A field of dot, of a variable, or of an expression; arguments go to the last name, which may be a method.
    fn access(
        &mut self,
        dot: &Value<'a>,
        expr: &'a Expr,
        args: &'a [Expr],
        last: Option<Value<'a>>,
    ) -> Result<Value<'a>, Fault> {
        self.place = Place::Expr(expr);
        let (mut value, names) = match &expr.kind {
            ExprKind::Field(names) => {
                if let (Value::Labels(labels), [name], [], None) =
                    (dot, names.as_slice(), args, &last)
                {
                    return Ok(Value::borrowed(labels.label(name).unwrap_or_default()));
                }
                (dot.clone(), names)
            }
            ExprKind::Variable(name, names) => {
                let value = self.variable(name)?;
                if names.is_empty() {
                    self.no_function(expr, args, &last)?;
                    return Ok(value);
                }
                (value, names)
            }
            ExprKind::Chain(base, names) => (self.arg(dot, None, base)?, names),
            _ => return Ok(Value::Nothing),
        };
        let (end, path) = names.split_last().expect("fields have names");
        for name in path {
            value = self.field(dot, expr, value, name, &[], None)?;
        }
        self.field(dot, expr, value, end, args, last)
    }

    fn field(
        &mut self,
        dot: &Value<'a>,
        expr: &'a Expr,
        receiver: Value<'a>,
        name: &'a str,
        args: &'a [Expr],
        last: Option<Value<'a>>,
    ) -> Result<Value<'a>, Fault> {
        let type_name = receiver.type_name();
        let receiver = match receiver {
            Value::Nothing => return Ok(Value::Nothing),
            Value::Element(Json::Null) => {
                return self.fail(&format!("nil pointer evaluating {type_name}.{name}"));
            }
            other => other.unwrap(),
        };
        if let Some(method) = methods::find(&receiver, name) {
            return self.call(dot, method, Some(receiver), Place::Expr(expr), args, last);
        }
        if let Value::Labels(_) | Value::Map(_) = receiver
            && !(args.is_empty() && last.is_none())
        {
            return self.fail(&format!("{name} is not a method but has arguments"));
        }
        match receiver {
            Value::Labels(labels) => Ok(Value::borrowed(labels.label(name).unwrap_or_default())),
            Value::Map(map) => Ok(Value::Element(map_get(&map, name.as_bytes()))),
            Value::Time(_) if matches!(name, "wall" | "ext" | "loc") => self.fail(&format!(
                "{name} is an unexported field of struct type {type_name}"
            )),
            _ => self.fail(&format!("can't evaluate field {name} in type {type_name}")),
        }
    }

    fn call(
        &mut self,
        dot: &Value<'a>,
        function: &'static Function,
        receiver: Option<Value<'a>>,
        place: Place<'a>,
        exprs: &'a [Expr],
        last: Option<Value<'a>>,
    ) -> Result<Value<'a>, Fault> {
        self.check_count(function, exprs, last.is_some())?;
        let native = match function.body {
            Body::Native(native) => native,
            Body::Refused(why) => return self.fail(why),
            Body::Logic(stop) => return self.logic(dot, stop, exprs, last),
            Body::Call => return self.call_nothing(dot, place, exprs, last),
        };
        let mut args = Args::new();
        if let Some(receiver) = receiver {
            args.push(receiver);
        }
        let param = |i: usize| function.params.get(i).copied().or(function.rest);
        for (i, expr) in exprs.iter().enumerate() {
            let arg = self.arg(dot, param(i), expr)?;
            args.push(given(arg, param(i)));
        }
        if let Some(last) = last {
            let param = param(exprs.len());
            let last = self.fit(last, param)?;
            args.push(given(last, param));
        }
        let result = native(&mut self.env, &mut args);
        args.recycle(self.env.scratch);
        result.map_err(|message| {
            self.place = place;
            self.fault(&format!("error calling {}: {message}", function.name))
        })
    }

    fn check_count(&self, function: &Function, exprs: &[Expr], piped: bool) -> Result<(), Fault> {
        let (name, want) = (function.name, function.params.len());
        let got = exprs.len() + usize::from(piped);
        if function.rest.is_some() {
            if got < want {
                let given = exprs.len();
                return self.fail(&format!(
                    "wrong number of args for {name}: want at least {want} got {given}"
                ));
            }
        } else if got != want {
            return self.fail(&format!(
                "wrong number of args for {name}: want {want} got {got}"
            ));
        }
        Ok(())
    }

    /// `and`, `or`: the first operand whose truth is `stop`, else the last one.
    fn logic(
        &mut self,
        dot: &Value<'a>,
        stop: bool,
        exprs: &'a [Expr],
        last: Option<Value<'a>>,
    ) -> Result<Value<'a>, Fault> {
        let mut value = Value::Nothing;
        for expr in exprs {
            value = self.arg(dot, Some(Param::Reflect), expr)?;
            if value.is_true() == stop {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    /// `call`: no value of a template is a function.
    fn call_nothing(
        &mut self,
        dot: &Value<'a>,
        place: Place<'a>,
        exprs: &'a [Expr],
        last: Option<Value<'a>>,
    ) -> Result<Value<'a>, Fault> {
        let mut first = None;
        for expr in exprs {
            let value = self.arg(dot, Some(Param::Reflect), expr)?;
            first.get_or_insert((value, expr.to_string()));
        }
        let (value, name) = match (first, last) {
            (Some(first), _) => first,
            (None, last) => {
                let last = last.unwrap_or(Value::Nothing);
                let name = gofmt::text_of(&last, 'v');
                (last, name)
            }
        };
        self.place = place;
        match value.unwrap() {
            Value::Nothing => self.fail("error calling call: call of nil"),
            value => {
                let kind = value.type_name();
                self.fail(&format!(
                    "error calling call: non-function {name} of type {kind}"
                ))
            }
        }
    }

    /// An argument as a parameter wants it; without one, any value.
    fn arg(
        &mut self,
        dot: &Value<'a>,
        param: Option<Param>,
        expr: &'a Expr,
    ) -> Result<Value<'a>, Fault> {
        self.place = Place::Expr(expr);
        let value = match &expr.kind {
            ExprKind::Nil => {
                return match param {
                    Some(Param::Any) => Ok(Value::Element(Json::Null)),
                    None | Some(Param::Reflect) => Ok(Value::Nothing),
                    Some(param) => self.fail(&format!("cannot assign nil to {}", param.name())),
                };
            }
            ExprKind::Dot => self.constant(dot, expr)?,
            ExprKind::Field(_) | ExprKind::Variable(..) | ExprKind::Chain(..) => {
                self.access(dot, expr, &[], None)?
            }
            ExprKind::Pipe(pipe) => self.pipeline(dot, pipe)?,
            ExprKind::Function(function) => {
                self.call(dot, function, None, Place::Expr(expr), &[], None)?
            }
            ExprKind::Bool(_) | ExprKind::Number(_) | ExprKind::Str { .. } => {
                return self.constant_arg(dot, param, expr);
            }
        };
        self.fit(value, param)
    }

    /// A constant as an argument: a number may become any numeric type.
    fn constant_arg(
        &mut self,
        dot: &Value<'a>,
        param: Option<Param>,
        expr: &'a Expr,
    ) -> Result<Value<'a>, Fault> {
        let expected = |run: &Self, what: &str| run.fail(&format!("expected {what}; found {expr}"));
        match (param, &expr.kind) {
            (None | Some(Param::Any | Param::Reflect), _) => self.constant(dot, expr),
            (Some(Param::Text), ExprKind::Str { value, .. }) => Ok(Value::borrowed(value)),
            (Some(Param::Text), _) => expected(self, "string"),
            (Some(param @ (Param::Int | Param::Duration)), kind) => match kind {
                ExprKind::Number(Number { int: Some(int), .. }) => {
                    let kind = if param == Param::Int {
                        IntType::Int
                    } else {
                        IntType::Duration
                    };
                    Ok(Value::Int(kind, *int))
                }
                _ => expected(self, "integer"),
            },
            (Some(Param::Float), kind) => match kind {
                ExprKind::Number(Number {
                    float: Some(float), ..
                }) => Ok(Value::Float(*float)),
                _ => expected(self, "float"),
            },
            (Some(Param::Time), _) => {
                self.fail(&format!("can't handle {expr} for arg of type time.Time"))
            }
        }
    }

    /// Checks the type of a value.
    fn fit(&self, value: Value<'a>, param: Option<Param>) -> Result<Value<'a>, Fault> {
        let Some(param) = param else {
            return Ok(value);
        };
        let value = match (param, value) {
            (Param::Any, Value::Nothing) => return Ok(Value::Element(Json::Null)),
            (Param::Any | Param::Reflect, value) => return Ok(value),
            (_, Value::Nothing) => {
                return self.fail(&format!("invalid value; expected {}", param.name()));
            }
            (_, null @ Value::Element(Json::Null)) => null,
            (_, value) => value.unwrap(),
        };
        let fits = matches!(
            (param, &value),
            (Param::Text, Value::Text(_))
                | (Param::Int, Value::Int(IntType::Int, _))
                | (Param::Float, Value::Float(_))
                | (Param::Time, Value::Time(_))
                | (Param::Duration, Value::Int(IntType::Duration, _))
        );
        if fits {
            return Ok(value);
        }
        self.fail(&format!(
            "wrong type for value; expected {}; got {}",
            param.name(),
            value.type_name()
        ))
    }
}

/// A part of a fault's text, cut if it is longer than any that a person reads.
fn shortened(mut text: String) -> String {
    if text.len() > FAULT_PART {
        text.truncate(text.floor_char_boundary(FAULT_PART));
        text.push_str("...");
    }
    text
}

/// An argument as the code of a function sees it: what goes as `interface {}` is unwrapped.
fn given(value: Value<'_>, param: Option<Param>) -> Value<'_> {
    match param {
        Some(Param::Any) => value.unwrap(),
        _ => value,
    }
}

/// The bytes that a copy of a value takes.
fn owned_len(value: &Value<'_>) -> usize {
    match value {
        Value::Text(Text::Owned(bytes)) => bytes.len(),
        _ => 0,
    }
}
