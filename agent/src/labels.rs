//! Labels and structured metadata from a log file's place.
//!
//! Everything is encoded once per container instance, so that a line costs a table look-up.

use std::cell::OnceCell;

use logql::level;
use wire::{LabelSet, Labels};

use crate::config::{Config, ConfigError};

/// Label names on one stream that Loki takes by default.
pub(crate) const MAX_LABELS: usize = 15;
/// Bytes of a label value that Loki takes by default.
pub(crate) const MAX_VALUE_BYTES: usize = 2048;

/// Labels that every stream has of itself (without `node`).
const OWN: [&str; 7] = [
    "namespace",
    "pod",
    "container",
    "job",
    "stream",
    "app",
    "service_name",
];
/// Levels that a line can show.
pub(crate) const LEVELS: [&str; 8] = [
    "unknown", "trace", "debug", "info", "warn", "error", "critical", "fatal",
];

/// A pod directory's name: `<namespace>_<pod>_<uid>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodName {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
}

impl PodName {
    /// Splits the name; `None` for a directory that is not a pod's. The separator occurs in none of the parts.
    pub(crate) fn parse(name: &str) -> Option<PodName> {
        let mut parts = name.split('_');
        let (namespace, pod, uid) = (parts.next()?, parts.next()?, parts.next()?);
        let dns = |s: &str, max: usize| {
            !s.is_empty()
                && s.len() <= max
                && s.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        };
        let uid_ok = !uid.is_empty()
            && uid.len() <= 64
            && uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let ok = parts.next().is_none() && dns(namespace, 63) && dns(pod, 253) && uid_ok;
        ok.then(|| PodName {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            uid: uid.to_owned(),
        })
    }
}

/// Whether `name` can be a container's directory.
pub(crate) fn is_container_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 63
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Labels and metadata of one container instance.
#[derive(Debug)]
pub(crate) struct InstanceLabels {
    base: Vec<(String, String)>,
    streams: [OnceCell<LabelSet>; 2],
    uid: String,
    restart: String,
    fixed_level: Option<String>,
    metadata: [OnceCell<LabelSet>; LEVELS.len()],
}

impl InstanceLabels {
    /// Labels of container `container` of `pod` after `restart` restarts.
    pub(crate) fn new(pod: &PodName, container: &str, restart: u32, config: &Config) -> Self {
        let app = app_name(&pod.pod, &config.node_name);
        let mut base: Vec<(String, String)> = vec![
            ("namespace".into(), pod.namespace.clone()),
            ("pod".into(), pod.pod.clone()),
            ("container".into(), container.to_owned()),
            ("job".into(), format!("{}/{container}", pod.namespace)),
            ("app".into(), app.to_owned()),
        ];
        if !config.node_name.is_empty() {
            base.push(("node".into(), config.node_name.clone()));
        }
        for (name, value) in &config.labels {
            base.retain(|(n, _)| n != name);
            base.push((name.clone(), value.clone()));
        }
        if !base.iter().any(|(n, _)| n == "service_name") {
            let service = level::service_name(&pairs(&base)).to_owned();
            base.push(("service_name".into(), service));
        }
        let fixed_level = level::from_stream(&pairs(&base)).map(std::borrow::Cow::into_owned);
        InstanceLabels {
            base,
            streams: Default::default(),
            uid: pod.uid.clone(),
            restart: restart.to_string(),
            fixed_level,
            metadata: Default::default(),
        }
    }

    /// The stream's labels: 0 is stdout, 1 stderr.
    pub(crate) fn stream(&self, stream: usize) -> &LabelSet {
        self.streams[stream].get_or_init(|| {
            let name = ["stdout", "stderr"][stream];
            let pairs = self.base.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            // Extra labels come first here, so that a configured `stream` wins, as every configured label does.
            LabelSet::from_pairs(std::iter::once(("stream", name)).chain(pairs))
                .expect("label parts were checked with the configuration and the path")
        })
    }

    /// What the metadata of every line has, and of no other instance's lines in the same streams.
    pub(crate) fn identity(&self) -> LabelSet {
        LabelSet::from_pairs([("pod_uid", &self.uid), ("restart", &self.restart)])
            .expect("names are constant, parts are bounded by file name limits")
    }

    /// Whether lines must be looked at for their level.
    pub(crate) fn wants_level(&self) -> bool {
        self.fixed_level.is_none()
    }

    /// The metadata of a line with the level of this index ([`level_index`]).
    pub(crate) fn metadata(&self, level: u8) -> Labels<'_> {
        self.metadata[usize::from(level)]
            .get_or_init(|| {
                let level = self
                    .fixed_level
                    .as_deref()
                    .unwrap_or(LEVELS[usize::from(level)]);
                LabelSet::from_pairs([
                    ("detected_level", level),
                    ("pod_uid", &self.uid),
                    ("restart", &self.restart),
                ])
                .expect("names are constant, parts are bounded by file name limits")
            })
            .as_ref()
    }
}

/// Index of a level that the detector found; an unknown word counts as `unknown`.
pub(crate) fn level_index(level: &str) -> u8 {
    match level {
        "info" => 3,
        "error" => 5,
        "warn" => 4,
        "debug" => 2,
        "trace" => 1,
        "critical" => 6,
        "fatal" => 7,
        _ => 0,
    }
}

/// Borrowed pairs in name order, as the language crate sees labels.
fn pairs(labels: &[(String, String)]) -> Vec<(&str, &str)> {
    let mut pairs: Vec<(&str, &str)> = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    pairs.sort_unstable();
    pairs
}

/// The part of a pod's name that its owner gave it.
///
/// Cut off, at most once each: the node's name (static pods); else the five-character suffix of ReplicaSets,
/// DaemonSets and Jobs, and before it a ReplicaSet's hash or a CronJob's minute; else a StatefulSet's ordinal. What
/// does not look like one of these stays: a wrong cut would mix two apps.
pub(crate) fn app_name<'a>(pod: &'a str, node: &str) -> &'a str {
    if !node.is_empty()
        && let Some(app) = pod.strip_suffix(node).and_then(|p| p.strip_suffix('-'))
        && !app.is_empty()
    {
        return app;
    }
    let Some((rest, last)) = pod.rsplit_once('-') else {
        return pod;
    };
    if rest.is_empty() {
        return pod;
    }
    if let Some((app, hash)) = rest.rsplit_once('-')
        && !app.is_empty()
        && last.len() == 5
        && (is_safe(last) || is_hex(last))
        && (is_template_hash(hash) || is_minute(hash))
    {
        return app;
    }
    if last.len() == 5 && is_safe(last) {
        return rest;
    }
    if last.len() <= 4 && last.bytes().all(|b| b.is_ascii_digit()) {
        return rest;
    }
    pod
}

/// Kubernetes' alphabet for generated names: no vowels, no digits that look like one.
fn is_safe(s: &str) -> bool {
    s.bytes()
        .all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b))
}

fn is_hex(s: &str) -> bool {
    s.bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A ReplicaSet's hash. Nearly all have eight to ten characters; shorter ones must hold a digit to be told from words.
fn is_template_hash(s: &str) -> bool {
    let digit = s.bytes().any(|b| b.is_ascii_digit());
    match s.len() {
        8..=10 => is_safe(s) || (digit && is_hex(s)),
        1..=7 => digit && is_safe(s),
        _ => false,
    }
}

/// A CronJob's scheduled minute, since 1970.
fn is_minute(s: &str) -> bool {
    (8..=10).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit())
}

/// Checks configured labels: names, values, and how many there will be in all.
pub(crate) fn check_extra(extra: &[(String, String)], node: bool) -> Result<(), ConfigError> {
    let mut names: Vec<&str> = OWN.to_vec();
    if node {
        names.push("node");
    }
    for (name, value) in extra {
        let first = name.bytes().next().unwrap_or(b'0');
        let word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if first.is_ascii_digit() || !word || name.starts_with("__") {
            return Err(ConfigError::LabelName(name.clone()));
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(ConfigError::LabelValue {
                name: name.clone(),
                found: value.len(),
            });
        }
        if !value.is_empty() && !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    if names.len() > MAX_LABELS {
        let configured: Vec<&str> = extra.iter().map(|(n, _)| n.as_str()).collect();
        return Err(ConfigError::TooManyLabels {
            found: names.len(),
            names: configured.join(", "),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_lose_what_their_owner_appended() {
        for (pod, want) in [
            ("web-5d4f8c7b96-x2x4b", "web"),
            ("json-api-0a1b2c3d4-0fe12", "json-api"),
            ("coredns-674b8bbfcf-7qk2z", "coredns"),
            ("node-exporter-b7kzx", "node-exporter"),
            ("backup-29387520-p9w4d", "backup"),
            ("redis-0", "redis"),
            ("redis-master-12", "redis-master"),
            ("kube-apiserver-pi-1", "kube-apiserver"),
            ("pi-1", "pi"),
            ("nginx", "nginx"),
            ("my-frontend1-proxy", "my-frontend1-proxy"),
            ("db-backup-nightly", "db-backup-nightly"),
            ("-0", "-0"),
            ("", ""),
        ] {
            assert_eq!(app_name(pod, "pi-1"), want, "{pod}");
        }
    }

    #[test]
    fn pod_directories_split_exactly() {
        let ok = PodName::parse("kube-system_coredns-674b8bbfcf-7qk2z_0123-4567").unwrap();
        assert_eq!(
            (ok.namespace.as_str(), ok.uid.as_str()),
            ("kube-system", "0123-4567")
        );
        for bad in [
            "",
            "a",
            "a_b",
            "a_b_c_d",
            "_b_c",
            "a__c",
            "a_b_",
            "A_b_c",
            "a_b_../x",
            "lost+found",
        ] {
            assert_eq!(PodName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn streams_and_metadata_are_complete() {
        let config = Config {
            node_name: "pi-1".into(),
            labels: vec![("cluster".into(), "home".into())],
            ..Config::default()
        };
        let pod = PodName::parse("shop_web-5d4f8c7b96-x2x4b_u-1").unwrap();
        let labels = InstanceLabels::new(&pod, "nginx", 3, &config);
        assert_eq!(
            labels.stream(1).to_string(),
            r#"{app="web", cluster="home", container="nginx", job="shop/nginx", namespace="shop", node="pi-1", pod="web-5d4f8c7b96-x2x4b", service_name="web", stream="stderr"}"#
        );
        assert_eq!(
            labels.metadata(level_index("warn")).to_string(),
            r#"{detected_level="warn", pod_uid="u-1", restart="3"}"#
        );
    }

    #[test]
    fn too_many_labels_are_named() {
        let extra: Vec<(String, String)> =
            (0..9).map(|i| (format!("l{i}"), "v".to_owned())).collect();
        assert!(check_extra(&extra[..8], false).is_ok());
        let e = check_extra(&extra, false).unwrap_err().to_string();
        assert!(e.contains("16 labels") && e.contains("l8"), "{e}");
        for bad in ["", "1a", "a-b", "__x"] {
            assert!(check_extra(&[(bad.into(), "v".into())], false).is_err());
        }
    }
}
