//! A store for the service's tests: the query says what happens.

use logql::plan::Plan;

/// A plan for the tests that only look at its kind.
pub(super) fn plan(query: &str) -> Plan {
    logql::parse(query).unwrap()
}
