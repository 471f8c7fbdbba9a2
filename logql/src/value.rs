//! Answers.

pub use crate::entry_labels::EntryLabels;

/// Label pairs of a result series, names in byte order.
pub type SeriesLabels = Vec<(String, String)>;

/// A series with points at some steps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Labels.
    pub labels: SeriesLabels,
    /// `(ns, value)` in time order; steps without data are left out. One a step, except after `label_replace`.
    pub points: Vec<(i64, f64)>,
}

/// Many series; those of an answer are in label order, each label set once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matrix {
    /// The series.
    pub series: Vec<Series>,
}

/// One entry of a log answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Nanoseconds since the epoch.
    pub ts: i64,
    /// The line.
    pub line: Vec<u8>,
    /// Index into [`Logs::label_sets`].
    pub labels: u32,
}

/// A log answer: entries in query order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logs {
    /// Distinct output label sets, names in byte order.
    pub label_sets: Vec<EntryLabels>,
    /// Entries, at most the limit.
    pub entries: Vec<LogEntry>,
}

/// What a query answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A log query.
    Logs(Logs),
    /// A range query.
    Matrix(Matrix),
    /// An instant query: one point a series; the order is the order of the answer.
    Vector(Vec<(SeriesLabels, i64, f64)>),
    /// A literal as an instant query.
    Scalar(i64, f64),
}
