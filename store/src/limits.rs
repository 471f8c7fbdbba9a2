//! Limits of the store's write path: what breaks when one is raised, and what happens above it.

/// Smallest pool. A smaller `head_bytes` is raised to this: below it a batch of 256 KiB would not fit.
pub const HEAD_BYTES_MIN: usize = 1 << 20;
/// Largest pool: nursery offsets are 32 bits wide with room to spare. A larger `head_bytes` is lowered to this.
pub const HEAD_BYTES_MAX: usize = 1 << 30;
/// Most raw bytes of a block of one stream. Larger blocks compress a little better and make every query that needs
/// one entry pay for more.
pub const BLOCK_RAW_BYTES: usize = 256 << 10;
/// Most raw bytes of a block that several streams share in the head. A flush reads one of each seal at a time.
pub const SHARED_RAW_BYTES: usize = 64 << 10;
/// Most raw bytes of a block that several streams share on disk. The streams' runs of a whole flush are joined there,
/// and lines of similar services side by side compress the better the more they are.
pub const MERGED_SHARED_RAW_BYTES: usize = 128 << 10;
/// A stream with fewer raw bytes than this since the last flush goes to shared blocks.
pub const SMALL_STREAM_BYTES: usize = 32 << 10;
/// Most bytes of labels and metadata sets that a block is allowed to refer to before it is cut.
pub const BLOCK_SETS_BYTES: usize = 1 << 20;
/// Longest line. A longer one is refused; it is also refused when it does not fit into the nursery.
pub const LINE_BYTES_MAX: usize = 4 << 20;
/// Longest canonical label set or metadata set. An entry with more is refused. Loki's limit for structured metadata is
/// 64 KiB of names and values; their lengths and `detected_level` come on top.
pub const LABELS_BYTES_MAX: usize = 72 << 10;
/// Longest key of a source position.
pub const POSITION_KEY_BYTES_MAX: usize = 1024;
/// Longest position.
pub const POSITION_BYTES_MAX: usize = 64 << 10;
/// Most bytes of all positions together, two copies of which are in every segment. A batch that would go above it is
/// refused.
pub const POSITIONS_BYTES_MAX: usize = 8 << 20;
/// Smallest file of the push log. A smaller `push_log_size` is raised to this.
pub const PUSH_LOG_BYTES_MIN: usize = 64 << 10;
/// Largest one: it is read at the start after a crash. A larger `push_log_size` is lowered to this.
pub const PUSH_LOG_BYTES_MAX: usize = 1 << 30;
/// Chunks with more distinct metadata sets have no minute table: it would be as large as the column.
pub const MINUTE_SETS_MAX: usize = 64;
/// Chunks with more cells have no minute table.
pub const MINUTE_CELLS_MAX: usize = 4096;
/// Level of zstd: 1 compresses logs as well as 3 (reference numbers in docs/FORMAT.md).
pub const ZSTD_LEVEL: i32 = 1;

const _: () = assert!(LINE_BYTES_MAX < crate::block::RAW_BYTES_MAX);
const _: () =
    assert!(BLOCK_SETS_BYTES + 2 * LABELS_BYTES_MAX < crate::block::METADATA_BYTES_MAX / 2);
const _: () = assert!(BLOCK_RAW_BYTES < crate::block::ENTRIES_MAX + 1);
const _: () = assert!(SHARED_RAW_BYTES <= BLOCK_RAW_BYTES);
