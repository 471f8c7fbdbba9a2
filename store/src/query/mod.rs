//! Queries over the head and the segments.
mod budget;
mod chunk;
mod labels;
mod top;
