//! The bookkeeping of labels against a simple model, and hostile lines.
