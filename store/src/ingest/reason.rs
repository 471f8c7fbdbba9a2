//! Why entries are not kept, and how many were not (promise P7).

use std::sync::atomic::{AtomicU64, Ordering};

/// Why entries of a push were not stored. Names are Loki's; the last ones are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    RateLimited,
    InvalidLabels,
    MissingLabels,
    TooManyLabels,
    LabelNameTooLong,
    LabelValueTooLong,
    DuplicateLabels,
    LineTooLong,
    MetadataDisallowed,
    MetadataTooLarge,
    MetadataTooMany,
    TooOld,
    TooNew,
    TooFarBehind,
    StreamRate,
    StreamLimit,
    /// Bytes only: nobody looked into the body.
    BodyTooLarge,
    /// Bytes only: the body cannot be read.
    Malformed,
    /// No room in the head within the time that a push may wait.
    Full,
    /// The store cannot write.
    Unavailable,
    /// The store refused a batch for good: none of the rules here allows one.
    Refused,
}

impl Reason {
    /// All, in order.
    pub(crate) const ALL: [(Reason, &'static str); 21] = [
        (Reason::RateLimited, "rate_limited"),
        (Reason::InvalidLabels, "invalid_labels"),
        (Reason::MissingLabels, "missing_labels"),
        (Reason::TooManyLabels, "max_label_names_per_series"),
        (Reason::LabelNameTooLong, "label_name_too_long"),
        (Reason::LabelValueTooLong, "label_value_too_long"),
        (Reason::DuplicateLabels, "duplicate_label_names"),
        (Reason::LineTooLong, "line_too_long"),
        (Reason::MetadataDisallowed, "disallowed_structured_metadata"),
        (Reason::MetadataTooLarge, "structured_metadata_too_large"),
        (Reason::MetadataTooMany, "structured_metadata_too_many"),
        (Reason::TooOld, "greater_than_max_sample_age"),
        (Reason::TooNew, "too_far_in_future"),
        (Reason::TooFarBehind, "too_far_behind"),
        (Reason::StreamRate, "per_stream_rate_limit"),
        (Reason::StreamLimit, "stream_limit"),
        (Reason::BodyTooLarge, "request_body_too_large"),
        (Reason::Malformed, "malformed_body"),
        (Reason::Full, "store_full"),
        (Reason::Unavailable, "store_unavailable"),
        (Reason::Refused, "store_refused"),
    ];
}

/// What came by push and what became of it. Bytes are those of lines and structured metadata as sent.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Entries stored.
    pub(crate) lines: AtomicU64,
    /// Bytes of entries stored, and of those dropped as duplicates.
    pub(crate) bytes: AtomicU64,
    /// Entries that the store had already.
    pub(crate) duplicates: AtomicU64,
    /// Lines cut to `max_line_size`, and the bytes cut.
    pub(crate) truncated_lines: AtomicU64,
    pub(crate) truncated_bytes: AtomicU64,
    /// Pairs of structured metadata left out because their name has no letter or digit.
    pub(crate) nameless: AtomicU64,
    /// Streams with state.
    pub(crate) streams: AtomicU64,
    discarded: [(AtomicU64, AtomicU64); Reason::ALL.len()],
}

impl Counters {
    pub(crate) fn discard(&self, reason: Reason, lines: u64, bytes: u64) {
        let (all_lines, all_bytes) = &self.discarded[reason as usize];
        all_lines.fetch_add(lines, Ordering::Relaxed);
        all_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Lines and bytes discarded, by reason.
    pub(crate) fn discarded(&self) -> impl Iterator<Item = (&'static str, u64, u64)> + '_ {
        let pairs = Reason::ALL.iter().zip(&self.discarded);
        pairs.map(|((_, name), (lines, bytes))| {
            let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
            (*name, get(lines), get(bytes))
        })
    }
}

const _: () = {
    let mut i = 0;
    while i < Reason::ALL.len() {
        assert!(Reason::ALL[i].0 as usize == i);
        i += 1;
    }
};
