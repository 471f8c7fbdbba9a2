//! Functions: what they are called, what they take, and the values they are given.

use std::sync::Arc;

use super::scratch::{Compiled, Scratch};
use super::time::Time;
use super::value::{IntType, Text, Value};
use super::{BYTES_PER_UNIT, Context, Inner, builtins, funcs};

/// The function that gives the line.
pub(super) const LINE: &str = "__line__";
/// The function that gives the entry's time.
pub(super) const TIMESTAMP: &str = "__timestamp__";

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Param {
    Text,
    Int,
    Float,
    /// `interface {}`
    Any,
    /// Any, and told apart whether there is a value at all (Go's `reflect.Value`).
    Reflect,
    Time,
    Duration,
}

impl Param {
    /// Go's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Param::Text => "string",
            Param::Int => "int",
            Param::Float => "float64",
            Param::Any => "interface {}",
            Param::Reflect => "reflect.Value",
            Param::Time => "time.Time",
            Param::Duration => "time.Duration",
        }
    }
}

/// What a call gives.
pub(super) type Outcome<'a> = Result<Value<'a>, String>;
/// The code of a function.
pub(super) type Native = for<'a> fn(&mut Env<'a, '_>, &mut Args<'a>) -> Outcome<'a>;

/// What happens when a function is called.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    Native(Native),
    /// `and` (false) and `or`: operands are evaluated until one decides.
    Logic(bool),
    /// `call`, which finds nothing that it could call.
    Call,
    /// A method of Go that a template may not call, and why.
    Refused(&'static str),
}

/// A function or method.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) params: &'static [Param],
    /// The type of any number of further arguments.
    pub(super) rest: Option<Param>,
    pub(super) body: Body,
}

/// A function with a fixed number of arguments.
pub(super) const fn fixed(
    name: &'static str,
    params: &'static [Param],
    native: Native,
) -> Function {
    Function {
        name,
        params,
        rest: None,
        body: Body::Native(native),
    }
}

/// A function that takes further arguments of one type.
pub(super) const fn variadic(
    name: &'static str,
    params: &'static [Param],
    rest: Param,
    native: Native,
) -> Function {
    Function {
        name,
        params,
        rest: Some(rest),
        body: Body::Native(native),
    }
}

/// The function of a name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    let groups: [&'static [Function]; 7] = [
        &funcs::TEXT,
        &funcs::ENCODING,
        &funcs::REGEX,
        &funcs::NUMBERS,
        &funcs::DATES,
        &funcs::OTHERS,
        &builtins::BUILTINS,
    ];
    groups
        .into_iter()
        .flatten()
        .find(|function| function.name == name)
}

/// Whether the first argument is a regular expression.
pub(super) fn takes_pattern(function: &Function) -> bool {
    funcs::REGEX.iter().any(|f| std::ptr::eq(f, function))
}

/// What functions may use.
pub(super) struct Env<'a, 's> {
    pub(super) context: &'a dyn Context,
    pub(super) template: &'a Inner,
    pub(super) scratch: &'s mut Scratch,
    /// Units of work left.
    pub(super) work: u64,
}

impl Env<'_, '_> {
    /// Takes units of work.
    #[inline]
    pub(super) fn charge(&mut self, units: u64) -> Result<(), String> {
        match self.work.checked_sub(units) {
            Some(left) => {
                self.work = left;
                Ok(())
            }
            None => Err(exhausted()),
        }
    }

    /// Takes the work of handling some bytes.
    #[inline]
    pub(super) fn charge_bytes(&mut self, bytes: usize) -> Result<(), String> {
        self.charge((bytes / BYTES_PER_UNIT) as u64)
    }

    /// Refuses a string that would be too long.
    pub(super) fn check_length(&self, bytes: usize) -> Result<(), String> {
        let limit = self.scratch.limit;
        if bytes > limit {
            return Err(format!("the result is longer than {limit} bytes"));
        }
        Ok(())
    }

    /// The compiled form of a pattern: the template's own, or one that was compiled while running.
    pub(super) fn pattern(&mut self, text: &[u8]) -> Result<Arc<Compiled>, String> {
        /// Compiling is this much work: a loop over ever new patterns ends soon.
        const COMPILE: u64 = 1 << 14;
        if let Some(pattern) = self.template.patterns.iter().find(|p| *p.text == *text) {
            return pattern.result.clone();
        }
        let (result, known) = self.scratch.pattern(text);
        if !known {
            self.charge(COMPILE)?;
        }
        result
    }
}

#[cold]
fn exhausted() -> String {
    let most = super::WORK_MAX;
    format!("the template does more than {most} units of work")
}

/// How many arguments are held without an allocation.
const INLINE: usize = 4;

/// The arguments of a call, of the types that the function takes.
#[derive(Debug)]
pub(super) struct Args<'a> {
    inline: [Value<'a>; INLINE],
    count: usize,
    /// All of them, once there are more than fit.
    spilled: Vec<Value<'a>>,
}

impl<'a> Args<'a> {
    pub(super) fn new() -> Self {
        Args {
            inline: [const { Value::Nothing }; INLINE],
            count: 0,
            spilled: Vec::new(),
        }
    }

    #[inline]
    pub(super) fn push(&mut self, value: Value<'a>) {
        if self.count < INLINE {
            self.inline[self.count] = value;
        } else {
            if self.spilled.is_empty() {
                let inline =
                    std::mem::replace(&mut self.inline, [const { Value::Nothing }; INLINE]);
                self.spilled.extend(inline);
            }
            self.spilled.push(value);
        }
        self.count += 1;
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[Value<'a>] {
        if self.count > INLINE {
            &self.spilled
        } else {
            &self.inline[..self.count]
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    #[inline]
    fn slot(&mut self, index: usize) -> &mut Value<'a> {
        if self.count > INLINE {
            &mut self.spilled[index]
        } else {
            &mut self.inline[index]
        }
    }

    /// Takes an argument out.
    #[inline]
    pub(super) fn take(&mut self, index: usize) -> Value<'a> {
        std::mem::replace(self.slot(index), Value::Nothing)
    }

    /// A string argument.
    #[inline]
    pub(super) fn text(&self, index: usize) -> &[u8] {
        match self.as_slice().get(index) {
            Some(Value::Text(text)) => text,
            _ => b"",
        }
    }

    /// Takes a string argument out.
    pub(super) fn take_text(&mut self, index: usize) -> Text<'a> {
        match self.take(index) {
            Value::Text(text) => text,
            _ => Text::Borrowed(b""),
        }
    }

    /// An integer argument.
    pub(super) fn int(&self, index: usize) -> i64 {
        match self.as_slice().get(index) {
            Some(Value::Int(_, number)) => *number,
            _ => 0,
        }
    }

    /// A float argument.
    pub(super) fn float(&self, index: usize) -> f64 {
        match self.as_slice().get(index) {
            Some(Value::Float(number)) => *number,
            _ => 0.0,
        }
    }

    /// A time argument.
    pub(super) fn time(&self, index: usize) -> Time {
        match self.as_slice().get(index) {
            Some(Value::Time(time)) => time.clone(),
            _ => Time::zero(),
        }
    }

    /// Gives the buffers of what is left back.
    pub(super) fn recycle(mut self, scratch: &mut Scratch) {
        for i in 0..self.count {
            recycle(self.take(i), scratch);
        }
    }
}

/// Gives the buffer of a value back.
#[inline]
pub(super) fn recycle(value: Value<'_>, scratch: &mut Scratch) {
    if let Value::Text(Text::Owned(buffer)) = value {
        scratch.give(buffer);
    }
}

/// A plain `int`.
pub(super) fn int<'a>(number: i64) -> Outcome<'a> {
    Ok(Value::Int(IntType::Int, number))
}
