//! Label names, label values and series: which streams have data in a range.

use std::collections::{BTreeMap, BTreeSet};

use logql::eval::EvalError;
use logql::format;
use logql::matcher::Matcher;
use wire::LabelSet;

use super::View;
use super::select::{HeadPart, NONE, Selected, Streams};
use crate::api::Cancel;
use crate::segment::{SegmentEntry, SegmentError};

/// Bytes that a listing may hold.
const LISTING_BYTES_MAX: usize = 32 << 20;

/// Names of labels of streams with data that may overlap `[start, end]` (whole segments count), sorted.
pub(crate) fn label_names(
    view: &dyn View,
    matchers: &[Matcher],
    (start, end): (i64, i64),
    cancel: &Cancel,
) -> Result<Vec<String>, EvalError> {
    list(
        view,
        matchers,
        (start, end),
        cancel,
        |ids| view.index().names(ids),
        |set, out| {
            for (name, _) in set.as_ref().iter() {
                insert(out, name);
            }
        },
    )
}

/// Values of one label, likewise.
pub(crate) fn label_values(
    view: &dyn View,
    name: &str,
    matchers: &[Matcher],
    (start, end): (i64, i64),
    cancel: &Cancel,
) -> Result<Vec<String>, EvalError> {
    list(
        view,
        matchers,
        (start, end),
        cancel,
        |ids| view.index().values(name, ids),
        |set, out| {
            if let Some(value) = set.as_ref().get(name) {
                insert(out, value);
            }
        },
    )
}

fn insert(out: &mut BTreeSet<String>, text: &str) {
    if !out.contains(text) {
        out.insert(text.to_owned());
    }
}

/// Collects text from the index where it knows a segment's streams, and from label sets otherwise.
fn list(
    view: &dyn View,
    matchers: &[Matcher],
    (start, end): (i64, i64),
    cancel: &Cancel,
    from_index: impl FnOnce(&[u32]) -> Option<Vec<String>>,
    from_set: impl Fn(&LabelSet, &mut BTreeSet<String>),
) -> Result<Vec<String>, EvalError> {
    cancel.check()?;
    let mut out = BTreeSet::new();
    let mut streams = Streams::new(view.index(), matchers);
    let head = HeadPart::take(view, &mut streams, (start, end), false, LISTING_BYTES_MAX)?;
    let mut ids = BTreeSet::new();
    let mut rest = Vec::new();
    for segment in &head.snapshot.segments {
        cancel.check()?;
        match (streams.ids(), view.index().segment(segment.into())) {
            (Some(selected), Some(all)) => {
                ids.extend(
                    all.into_iter()
                        .filter(|id| selected.binary_search(id).is_ok()),
                );
            }
            _ => rest.push(*segment),
        }
    }
    let ids: Vec<u32> = ids.into_iter().collect();
    if let Some(found) = (!ids.is_empty()).then(|| from_index(&ids)).flatten() {
        out.extend(found);
    } else if !ids.is_empty() {
        // The index failed between two questions.
        rest.clone_from(&head.snapshot.segments);
    }
    for segment in rest {
        cancel.check()?;
        let read = view
            .open(&segment)
            .and_then(|reader| streams.by_reading(&reader));
        if let Err(e) = read {
            view.damage().segment(segment.sequence, e)?;
        }
        check(&streams)?;
    }
    for set in streams.sets() {
        from_set(set, &mut out);
    }
    Ok(out.into_iter().collect())
}

fn check(streams: &Streams<'_>) -> Result<(), EvalError> {
    if streams.memory() <= LISTING_BYTES_MAX {
        return Ok(());
    }
    Err(EvalError::Limit(format!(
        "label sets of more than {LISTING_BYTES_MAX} bytes match: select fewer streams or a shorter range"
    )))
}

/// Streams that match any of the groups (none: all) with a chunk that touches `[start, end]`, sorted by their text.
pub(crate) fn series(
    view: &dyn View,
    groups: &[Vec<Matcher>],
    (start, end): (i64, i64),
    cancel: &Cancel,
) -> Result<Vec<LabelSet>, EvalError> {
    let all = [Vec::new()];
    let groups = if groups.is_empty() { &all } else { groups };
    let mut found = BTreeMap::new();
    for matchers in groups {
        for set in matching(view, matchers, (start, end), cancel)? {
            found.insert(format::label_set(set.as_ref().iter()), set);
        }
    }
    Ok(found.into_values().collect())
}

fn matching(
    view: &dyn View,
    matchers: &[Matcher],
    (start, end): (i64, i64),
    cancel: &Cancel,
) -> Result<Vec<LabelSet>, EvalError> {
    cancel.check()?;
    let mut streams = Streams::new(view.index(), matchers);
    let head = HeadPart::take(view, &mut streams, (start, end), false, LISTING_BYTES_MAX)?;
    let mut hit: BTreeSet<u32> = BTreeSet::new();
    let chunks = head.snapshot.chunks.iter().map(|c| c.chunk.stream);
    let raw = head.snapshot.raw.iter().map(|r| r.stream);
    hit.extend(chunks.chain(raw).map(|s| head.map[s as usize]));
    for segment in &head.snapshot.segments {
        cancel.check()?;
        let read = if segment.min_ts >= start && segment.max_ts <= end {
            whole(view, segment, &mut streams, &mut hit)
        } else {
            partly(view, segment, &mut streams, (start, end), &mut hit)
        };
        if let Err(e) = read {
            view.damage().segment(segment.sequence, e)?;
        }
        check(&streams)?;
    }
    Ok(hit.into_iter().map(|s| streams.labels(s).clone()).collect())
}

/// A segment inside the range: every stream of it has a chunk there.
fn whole(
    view: &dyn View,
    segment: &SegmentEntry,
    streams: &mut Streams<'_>,
    hit: &mut BTreeSet<u32>,
) -> Result<(), SegmentError> {
    let map = match streams.by_index(segment) {
        Some(map) => map,
        None => {
            let reader = view.open(segment)?;
            streams.by_reading(&reader)?
        }
    };
    hit.extend(map.into_iter().filter(|s| *s != NONE));
    Ok(())
}

fn partly(
    view: &dyn View,
    segment: &SegmentEntry,
    streams: &mut Streams<'_>,
    (start, end): (i64, i64),
    hit: &mut BTreeSet<u32>,
) -> Result<(), SegmentError> {
    if let Some(selected) = Selected::open(view, segment, streams)? {
        let rows = selected.chunks.iter();
        hit.extend(rows.filter_map(|c| selected.stream(c, start, end)));
    }
    Ok(())
}
