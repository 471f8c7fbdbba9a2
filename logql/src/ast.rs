//! The syntax tree of the whole language, as written: nothing is reordered or left out. Only operations of literals are
//! folded, and negated chains of line filters split, because both show when a query is printed.

use crate::matcher::Matcher;

/// A query, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Log(LogExpr),
    Range(Box<RangeExpr>),
    Vector(Box<VectorExpr>),
    Binary(Box<BinaryExpr>),
    LabelReplace(Box<LabelReplace>),
    /// A number, sign applied.
    Literal(Number),
    /// `vector(n)`
    VectorOf(Number),
}

/// A number's value, or why its text is none: that is reported only after syntax errors.
pub(crate) type Number = Result<f64, String>;

/// A number and how it is written.
#[derive(Debug, Clone)]
pub(crate) struct Param {
    pub(crate) text: String,
    pub(crate) value: Number,
}

/// `03` is `3`.
impl PartialEq for Param {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogExpr {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) stages: Vec<Stage>,
}

/// How a line filter compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilterOp {
    Contains,
    NotContains,
    Regex,
    NotRegex,
    Pattern,
    NotPattern,
}

impl FilterOp {
    pub(crate) fn text(self) -> &'static str {
        match self {
            FilterOp::Contains => "|=",
            FilterOp::NotContains => "!=",
            FilterOp::Regex => "|~",
            FilterOp::NotRegex => "!~",
            FilterOp::Pattern => "|>",
            FilterOp::NotPattern => "!>",
        }
    }

    pub(crate) fn is_negative(self) -> bool {
        matches!(
            self,
            FilterOp::NotContains | FilterOp::NotRegex | FilterOp::NotPattern
        )
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operand {
    /// `ip("...")`
    pub(crate) ip: bool,
    pub(crate) text: Vec<u8>,
}

/// `x="path"`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Extract {
    pub(crate) name: String,
    pub(crate) path: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FormatValue {
    Rename(String),
    Template(Vec<u8>),
}

/// An operand of `drop` and `keep`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Named {
    Name(String),
    Matcher(Matcher),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stage {
    /// A chain `|= "a" or "b"`.
    Line(FilterOp, Vec<Operand>),
    Json(Vec<Extract>),
    Logfmt {
        strict: bool,
        keep_empty: bool,
        extracts: Vec<Extract>,
    },
    Regexp(Vec<u8>),
    Pattern(Vec<u8>),
    Unpack,
    Label(LabelFilter),
    LineFormat(Vec<u8>),
    LabelFormat(Vec<(String, FormatValue)>),
    Decolorize,
    Drop(Vec<Named>),
    Keep(Vec<Named>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LabelFilter {
    Matcher(Matcher),
    Ip {
        name: String,
        negated: bool,
        pattern: Vec<u8>,
    },
    Number(String, &'static str, f64),
    Duration(String, &'static str, i64),
    Bytes(String, &'static str, u64),
    And(Box<LabelFilter>, Box<LabelFilter>),
    Or(Box<LabelFilter>, Box<LabelFilter>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unwrap {
    pub(crate) label: String,
    /// `bytes`, `duration`, `duration_seconds`
    pub(crate) conversion: Option<&'static str>,
    pub(crate) filters: Vec<LabelFilter>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogRange {
    pub(crate) log: LogExpr,
    pub(crate) unwrap: Option<Unwrap>,
    /// Nanoseconds.
    pub(crate) range: i64,
    /// Nanoseconds.
    pub(crate) offset: i64,
}

/// `by (...)`, `without (...)`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grouping {
    pub(crate) without: bool,
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RangeExpr {
    /// Lower case name of the operation.
    pub(crate) op: &'static str,
    pub(crate) param: Option<Param>,
    pub(crate) range: LogRange,
    pub(crate) grouping: Option<Grouping>,
}

#[derive(Debug, Clone)]
pub(crate) struct VectorExpr {
    /// Lower case name of the operation.
    pub(crate) op: &'static str,
    pub(crate) param: Option<Param>,
    pub(crate) inner: Expr,
    pub(crate) grouping: Option<Grouping>,
}

impl VectorExpr {
    /// The grouping, if it says anything: `by ()` does not.
    pub(crate) fn groups(&self) -> Option<&Grouping> {
        let grouping = self.grouping.as_ref()?;
        (grouping.without || !grouping.names.is_empty()).then_some(grouping)
    }
}

impl PartialEq for VectorExpr {
    fn eq(&self, other: &Self) -> bool {
        (self.op, &self.param, self.groups(), &self.inner)
            == (other.op, &other.param, other.groups(), &other.inner)
    }
}

/// Which side of a binary operation may have several samples for one of the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cardinality {
    OneToOne,
    /// `group_left(labels)`
    Left(Vec<String>),
    /// `group_right(labels)`
    Right(Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matching {
    /// `on` (true) or `ignoring`, and its names.
    pub(crate) on: bool,
    pub(crate) names: Vec<String>,
    pub(crate) cardinality: Cardinality,
}

#[derive(Debug, Clone)]
pub(crate) struct BinaryExpr {
    pub(crate) op: &'static str,
    pub(crate) bool_result: bool,
    pub(crate) matching: Option<Matching>,
    pub(crate) left: Expr,
    pub(crate) right: Expr,
}

impl BinaryExpr {
    /// The matching, if it says anything: `ignoring ()` does not.
    fn matches(&self) -> Option<&Matching> {
        self.matching.as_ref().filter(|matching| {
            matching.on
                || !matching.names.is_empty()
                || matching.cardinality != Cardinality::OneToOne
        })
    }
}

impl PartialEq for BinaryExpr {
    fn eq(&self, other: &Self) -> bool {
        (self.op, self.bool_result, self.matches())
            == (other.op, other.bool_result, other.matches())
            && (&self.left, &self.right) == (&other.left, &other.right)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LabelReplace {
    pub(crate) inner: Expr,
    pub(crate) dst: Vec<u8>,
    pub(crate) replacement: Vec<u8>,
    pub(crate) src: Vec<u8>,
    pub(crate) regex: Vec<u8>,
}
