//! The body of `POST /loki/api/v1/push`.

pub mod encode;
