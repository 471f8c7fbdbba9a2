//! The pods of the demo node and what each writes. Every line is invented.

use super::lines::{self, Rng};

/// One log line.
#[derive(Debug)]
pub(super) struct Line {
    /// Whether it goes to stderr.
    pub(super) stderr: bool,
    /// Without line feed.
    pub(super) text: String,
}

/// Appends the lines of one moment, given how many moments this instance has seen; true when the container ends.
pub(super) type Write = fn(&mut Rng, u32, &mut Vec<Line>) -> bool;

/// A pod with one container.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    pub(super) container: &'static str,
    /// Mean distance of two moments in milliseconds.
    pub(super) every_ms: u64,
    pub(super) write: Write,
}

const fn pod(
    namespace: &'static str,
    name: &'static str,
    container: &'static str,
    every_ms: u64,
    write: Write,
) -> Pod {
    Pod {
        namespace,
        name,
        container,
        every_ms,
        write,
    }
}

/// The node's pods, the chattiest first.
pub(super) const PODS: &[Pod] = &[
    pod(
        "web",
        "storefront-6c8f9d7b54-x2k4q",
        "nginx",
        220,
        lines::nginx,
    ),
    pod(
        "kube-system",
        "traefik-7d9f8c6b5-m8w2z",
        "traefik",
        400,
        lines::traefik,
    ),
    pod(
        "shop",
        "orders-5b7c9d8f66-qv9tx",
        "orders",
        450,
        lines::orders,
    ),
    pod(
        "shop",
        "payments-79fd6b4c8d-4kzpl",
        "payments",
        900,
        lines::payments,
    ),
    pod(
        "shop",
        "recommender-66d8b7f9c4-hs2rw",
        "recommender",
        2500,
        lines::recommender,
    ),
    pod("shop", "postgres-0", "postgres", 1800, lines::postgres),
    pod(
        "kube-system",
        "coredns-6f6b679f8f-vh7gd",
        "coredns",
        1500,
        lines::coredns,
    ),
    pod(
        "kube-system",
        "metrics-server-5d7c8f9b6-tt5nk",
        "metrics-server",
        7000,
        lines::metrics_server,
    ),
    pod(
        "cert-manager",
        "cert-manager-84c9bf7d5-z6jqs",
        "cert-manager-controller",
        5000,
        lines::cert_manager,
    ),
    pod(
        "home",
        "home-assistant-0",
        "home-assistant",
        2200,
        lines::home_assistant,
    ),
    pod("home", "mosquitto-0", "mosquitto", 1700, lines::mosquitto),
    pod(
        "monitoring",
        "node-exporter-r4mxb",
        "node-exporter",
        9000,
        lines::node_exporter,
    ),
    pod(
        "batch",
        "nightly-report-29384400-wd5lq",
        "report",
        700,
        lines::report,
    ),
];
