//! Label names, label values and series: which streams have data in a range.

use std::collections::BTreeSet;

use logql::eval::EvalError;
use logql::format;
use logql::matcher::Matcher;
use wire::LabelSet;

use super::View;
use super::select::{HeadPart, NONE, Selected, Streams};
use crate::api::Cancel;
use crate::index::{IdSet, SegmentKey, Union};
use crate::segment::{SegmentEntry, SegmentError};

/// Bytes that a listing may hold.
const LISTING_BYTES_MAX: usize = 32 << 20;
/// Label sets that the index is asked for at once: a flush waits meanwhile, some milliseconds on a Pi.
const SETS_AT_ONCE: usize = 1024;

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
        |pairs| view.index().names(pairs),
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
        |pairs| view.index().values(name, pairs),
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
    from_index: impl FnOnce(&IdSet) -> Option<Vec<String>>,
    from_set: impl Fn(&LabelSet, &mut BTreeSet<String>),
) -> Result<Vec<String>, EvalError> {
    cancel.check()?;
    let mut streams = Streams::new(view.index(), matchers);
    let head = HeadPart::take(view, &mut streams, (start, end), false, LISTING_BYTES_MAX)?;
    let segments = with_streams(&head.snapshot.segments);
    let known = union(view, &mut streams, &segments, cancel, &mut |_| {})?;
    let listed = known.and_then(|known| match matchers {
        [] => from_index(&known.pairs),
        _ => from_index(&view.index().pairs(&known.streams)?),
    });
    if listed.is_none() {
        // Not usable, or it failed between two questions.
        for segment in &segments {
            read(view, segment, &mut streams, cancel)?;
        }
    }
    let listed = listed.unwrap_or_default();
    let mut out = BTreeSet::new();
    for set in streams.sets() {
        from_set(set, &mut out);
    }
    if out.is_empty() {
        return Ok(listed);
    }
    out.extend(listed);
    Ok(out.into_iter().collect())
}

/// Segments that have streams.
fn with_streams(segments: &[SegmentEntry]) -> Vec<SegmentEntry> {
    let some = segments.iter().filter(|segment| segment.entries > 0);
    some.copied().collect()
}

/// What the index knows of these segments (by sequence, each with streams): the selected streams that they have together,
/// and without matchers the pairs. Segments that it does not know are read into `streams`, and their streams by ordinal
/// handed to `other`. `None` when it is not usable: then it knows nothing.
fn union(
    view: &dyn View,
    streams: &mut Streams<'_>,
    segments: &[SegmentEntry],
    cancel: &Cancel,
    other: &mut dyn FnMut(Vec<u32>),
) -> Result<Option<Union>, EvalError> {
    if !streams.holds_ids() {
        return Ok(None);
    }
    let selected: Option<IdSet> = match streams.matchers() {
        [] => None,
        _ => match streams.ids() {
            Some(ids) => Some(ids.iter().copied().collect()),
            None => return Ok(None),
        },
    };
    let keys: Vec<SegmentKey> = segments.iter().map(SegmentKey::from).collect();
    let mut union = Union::default();
    let mut missing = |key: SegmentKey| {
        let at = keys.iter().position(|other| *other == key);
        let segment = &segments[at.expect("a key of these")];
        read(view, segment, streams, cancel).map(&mut *other)
    };
    view.index().union(&keys, &mut union, &mut missing)?;
    if let Some(selected) = selected {
        union.streams.keep(&selected);
    }
    Ok(Some(union))
}

/// Reads the streams of a segment; those by ordinal, none if it is damaged.
fn read(
    view: &dyn View,
    segment: &SegmentEntry,
    streams: &mut Streams<'_>,
    cancel: &Cancel,
) -> Result<Vec<u32>, EvalError> {
    cancel.check()?;
    let read = view
        .open(segment)
        .and_then(|reader| streams.by_reading(&reader));
    let map = match read {
        Ok(map) => map,
        Err(e) => {
            view.damage().segment(segment.sequence, e)?;
            Vec::new()
        }
    };
    check(streams.memory())?;
    Ok(map)
}

fn check(bytes: usize) -> Result<(), EvalError> {
    if bytes <= LISTING_BYTES_MAX {
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
    let mut found = Vec::new();
    for matchers in groups {
        for set in matching(view, matchers, (start, end), cancel)? {
            found.push((format::label_set(set.as_ref().iter()), set));
        }
    }
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    found.dedup_by(|a, b| a.0 == b.0);
    Ok(found.into_iter().map(|(_, set)| set).collect())
}

/// Streams found by one group of matchers; one may be there twice.
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
    // Every stream of a segment inside the range has a chunk there.
    let (whole, cut): (Vec<SegmentEntry>, Vec<SegmentEntry>) =
        with_streams(&head.snapshot.segments)
            .into_iter()
            .partition(|segment| segment.min_ts >= start && segment.max_ts <= end);
    let mut add = |map: Vec<u32>| hit.extend(map.into_iter().filter(|s| *s != NONE));
    let known = union(view, &mut streams, &whole, cancel, &mut add)?;
    let mut sets = Vec::new();
    let known = match known {
        Some(known) if label_sets(view, &known.streams, &mut sets, cancel)? => known.streams,
        _ => {
            sets.clear();
            for segment in &whole {
                add(read(view, segment, &mut streams, cancel)?);
            }
            IdSet::default()
        }
    };
    for segment in &cut {
        cancel.check()?;
        if adds_nothing(view, segment, &mut streams, &known) {
            continue;
        }
        if let Err(e) = partly(view, segment, &mut streams, (start, end), &mut hit) {
            view.damage().segment(segment.sequence, e)?;
        }
        check(streams.memory())?;
    }
    sets.extend(hit.into_iter().map(|s| streams.labels(s).clone()));
    Ok(sets)
}

/// Adds the label sets of streams in the index; false when it failed.
fn label_sets(
    view: &dyn View,
    ids: &IdSet,
    sets: &mut Vec<LabelSet>,
    cancel: &Cancel,
) -> Result<bool, EvalError> {
    let ids: Vec<u32> = ids.iter().collect();
    let mut bytes = 0;
    for some in ids.chunks(SETS_AT_ONCE) {
        cancel.check()?;
        let Some(more) = view.index().label_sets(some) else {
            return Ok(false);
        };
        bytes += more
            .iter()
            .map(|set| set.as_bytes().len() + 96)
            .sum::<usize>();
        check(bytes)?;
        sets.extend(more);
    }
    Ok(true)
}

/// Whether all selected streams of a segment are among those that are `known` to be in the range.
fn adds_nothing(
    view: &dyn View,
    segment: &SegmentEntry,
    streams: &mut Streams<'_>,
    known: &IdSet,
) -> bool {
    if known.is_empty() || !streams.holds_ids() {
        return false;
    }
    let Some(all) = view.index().segment(segment.into()) else {
        return false;
    };
    let new: Vec<u32> = all.into_iter().filter(|id| !known.contains(*id)).collect();
    if new.is_empty() || streams.matchers().is_empty() {
        return new.is_empty();
    }
    streams.ids().is_some_and(|selected| {
        let is_selected = |id: &u32| selected.binary_search(id).is_ok();
        !new.iter().any(is_selected)
    })
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
