//! What a push may contain.

use std::time::Duration;

/// Largest [`PushLimits::max_streams`]: each costs some 50 bytes.
pub(crate) const STREAMS_MAX: usize = 20_000;

/// Limits of pushes, named and set as Loki's where Loki has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushLimits {
    /// `max_recv_msg_size`: bytes of a body, as it comes and unpacked. All bodies that are arriving may take twice this
    /// together. Default 6 MiB: as much as the default burst lets through. Loki's 100 MiB would not fit a small node.
    pub max_body_bytes: usize,
    /// `ingestion_rate_mb`, bytes a second of lines and structured metadata. Default 4 MiB.
    pub ingestion_rate: u64,
    /// `ingestion_burst_size_mb`, bytes. Default 6 MiB.
    pub ingestion_burst: u64,
    /// `per_stream_rate_limit`, bytes a second. Default 3 MiB.
    pub stream_rate: u64,
    /// `per_stream_rate_limit_burst`, bytes. Default 15 MiB.
    pub stream_burst: u64,
    /// `max_global_streams_per_user`: streams that were pushed to in the last half hour. Default 5000; 0 and more than
    /// 20,000 mean 20,000.
    pub max_streams: usize,
    /// `max_line_size`, bytes; 0 for what fits into the head. Default 256 KiB.
    pub max_line_size: usize,
    /// `max_line_size_truncate`: longer lines are cut, not refused. Default off.
    pub max_line_size_truncate: bool,
    /// `max_label_names_per_series`, `service_name` not counted. Default 15.
    pub max_label_names: usize,
    /// `max_label_name_length`, bytes. Default 1024.
    pub max_label_name_length: usize,
    /// `max_label_value_length`, bytes. Default 2048.
    pub max_label_value_length: usize,
    /// `reject_old_samples`. Default on.
    pub reject_old: bool,
    /// `reject_old_samples_max_age`. Default one week.
    pub max_age: Duration,
    /// `creation_grace_period`: how far ahead of the clock an entry may be. Default 10 min.
    pub creation_grace_period: Duration,
    /// Half of `max_chunk_age`: how far behind its stream's newest entry an entry may be. Default 1 h.
    pub max_behind: Duration,
    /// `allow_structured_metadata`. Without it there is no `detected_level` either. Default on.
    pub allow_structured_metadata: bool,
    /// `max_structured_metadata_size`, bytes; 0 for what fits. Default 64 KiB.
    pub max_metadata_size: usize,
    /// `max_structured_metadata_entries_count`; 0 for any. Default 128.
    pub max_metadata_count: usize,
    /// `discover_service_name`: labels that may name the service; none turns it off.
    pub discover_service_name: Vec<String>,
    /// `discover_log_levels`. Default on.
    pub discover_log_levels: bool,
}

impl Default for PushLimits {
    fn default() -> Self {
        PushLimits {
            max_body_bytes: 6 << 20,
            ingestion_rate: 4 << 20,
            ingestion_burst: 6 << 20,
            stream_rate: 3 << 20,
            stream_burst: 15 << 20,
            max_streams: 5000,
            max_line_size: 256 << 10,
            max_line_size_truncate: false,
            max_label_names: 15,
            max_label_name_length: 1024,
            max_label_value_length: 2048,
            reject_old: true,
            max_age: Duration::from_secs(7 * 86_400),
            creation_grace_period: Duration::from_secs(600),
            max_behind: Duration::from_secs(3600),
            allow_structured_metadata: true,
            max_metadata_size: 64 << 10,
            max_metadata_count: 128,
            discover_service_name: logql::level::SERVICE_LABELS.map(str::to_owned).to_vec(),
            discover_log_levels: true,
        }
    }
}
