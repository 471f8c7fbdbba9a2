//! Whose lines a part holds: stream labels and metadata as the pipeline sees them.

use logql::Pairs;
use logql::matcher::{Matcher, all_match};
use logql::pipeline::EntryView;

use super::reading::Line;
use super::tree::Instance;
use crate::config::Config;
use crate::labels::{InstanceLabels, LEVELS, level_index};

/// The labels of an instance.
#[derive(Debug)]
pub(super) struct Owner(InstanceLabels);

/// The same, borrowed as pairs.
#[derive(Debug)]
pub(super) struct Views<'o> {
    streams: [Vec<(&'o str, &'o str)>; 2],
    metadata: [Vec<(&'o str, &'o str)>; LEVELS.len()],
    /// Streams that satisfy the matchers.
    pub(super) wanted: [bool; 2],
    /// Whether lines differ in level.
    pub(super) leveled: bool,
    detect: fn(&[u8]) -> &'static str,
}

impl Owner {
    pub(super) fn new(instance: &Instance, config: &Config) -> Owner {
        let Instance {
            pod,
            container,
            restart,
            ..
        } = instance;
        Owner(InstanceLabels::new(pod, container, *restart, config))
    }

    /// `None` if no stream satisfies the matchers.
    pub(super) fn views(&self, matchers: &[Matcher], config: &Config) -> Option<Views<'_>> {
        let streams = [0, 1].map(|s| self.0.stream(s).as_ref().iter().collect::<Vec<_>>());
        let wanted = [0, 1].map(|s: usize| all_match(matchers, &streams[s]));
        if wanted == [false, false] {
            return None;
        }
        Some(Views {
            streams,
            metadata: std::array::from_fn(|level| self.0.metadata(level as u8).iter().collect()),
            wanted,
            leveled: self.0.wants_level(),
            detect: config.detect,
        })
    }
}

impl Views<'_> {
    pub(super) fn stream(&self, stream: usize) -> Pairs<'_> {
        &self.streams[stream]
    }

    pub(super) fn metadata(&self, level: u8) -> Pairs<'_> {
        &self.metadata[usize::from(level)]
    }

    /// A line as the pipeline sees it.
    #[inline]
    pub(super) fn entry<'v>(&'v self, line: &Line<'v>) -> EntryView<'v> {
        EntryView {
            ts: line.ts,
            line: line.bytes,
            stream: self.stream(line.stream),
            metadata: self.metadata(self.level(line)),
        }
    }

    /// The level of a line.
    #[inline]
    pub(super) fn level(&self, line: &Line<'_>) -> u8 {
        if self.leveled {
            level_index((self.detect)(line.bytes))
        } else {
            0
        }
    }
}

/// Whether any stream of an instance satisfies the matchers.
pub(super) fn is_selected(instance: &Instance, matchers: &[Matcher], config: &Config) -> bool {
    Owner::new(instance, config)
        .views(matchers, config)
        .is_some()
}
