//! The tree of pods: which directories and files there are, and which of them changed.
//!
//! ```text
//! ROOT/<namespace>_<pod>_<uid>/<container>/<restart>.log[.<time>[.gz]]
//! ```
//!
//! One watch on each directory of the three levels. A watch is added *before* its directory is listed, so that nothing
//! falls between; finding a thing twice is normal. Where the kernel refuses watches, scanning stands in. Other
//! directories and files are passed over.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use inotify::{EventMask, WatchDescriptor};

use crate::config::Config;
use crate::ending::Ending;
use crate::files::{self, Found, Rank};
use crate::instance::{Env, Instance, Need, Source};
use crate::labels::{InstanceLabels, PodName, is_container_name};
use crate::pace::Pacer;
use crate::position;
use crate::stats::{add, set};
use crate::watch::{EVENT_BYTES, Watcher};

/// Instances that keep their labels ready: about 1.5 KiB each, and a few microseconds to make again.
const LABELLED_MAX: usize = 128;
/// Shortest time between two log lines about the same standing trouble.
const REPEAT: std::time::Duration = std::time::Duration::from_secs(600);

#[derive(Debug)]
struct Pod {
    name: Rc<PodName>,
    wd: Option<WatchDescriptor>,
    containers: Vec<usize>,
}

#[derive(Debug)]
struct Container {
    pod: Rc<str>,
    name: Rc<str>,
    wd: Option<WatchDescriptor>,
    /// Directories that links lead to (Docker), with their watches.
    targets: Vec<(PathBuf, Option<WatchDescriptor>)>,
    instances: Vec<usize>,
}

/// What a watch is on.
#[derive(Debug, Clone)]
enum Watched {
    Root,
    Pod(Rc<str>),
    Container(usize),
    Target(usize),
}

/// What has to be listed again after a round of events.
#[derive(Debug, Default)]
struct Todo {
    all: bool,
    pods: Vec<Rc<str>>,
    containers: Vec<usize>,
}

/// A stored position without an instance; forgotten when it has been so for long.
#[derive(Debug)]
struct Orphan {
    position: Vec<u8>,
    since: Instant,
}

/// Trouble that lasts, said once in a while.
#[derive(Debug, Default)]
struct Nag(Option<Instant>);

impl Nag {
    fn due(&mut self, now: Instant) -> bool {
        let due = self.0.is_none_or(|at| now.duration_since(at) >= REPEAT);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

/// Everything known of the tree.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) config: Rc<Config>,
    pub(crate) watcher: Option<Watcher>,
    root: Option<(u64, u64)>,
    root_wd: Option<WatchDescriptor>,
    watches: HashMap<WatchDescriptor, Watched>,
    refused: bool,
    retry_watches: Instant,
    pods: HashMap<Rc<str>, Pod>,
    containers: Vec<Option<Container>>,
    pub(crate) instances: Vec<Option<Instance>>,
    /// Instances with something to read, in turn.
    pub(crate) queue: VecDeque<usize>,
    /// Instances that need another look after a while.
    pub(crate) waiting: Vec<usize>,
    orphans: HashMap<Vec<u8>, Orphan>,
    /// Instances that hold their labels, oldest first; one that is gone may be among them.
    labelled: VecDeque<usize>,
    next_id: u64,
    /// Descriptors that may still be opened ahead of reading.
    may_open: usize,
    /// The tree has been listed once.
    listed: bool,
    pub(crate) next_rescan: Instant,
    pub(crate) ending: Ending,
    events: Vec<u8>,
    nag_root: Nag,
    nag_watch: Nag,
}

impl World {
    /// An empty tree; `stored` are the sink's positions.
    pub(crate) fn new(config: Rc<Config>, stored: Vec<(Vec<u8>, Vec<u8>)>, now: Instant) -> World {
        let config_open = config.max_open_files;
        let orphans = stored
            .into_iter()
            .filter(|(key, _)| key.starts_with(b"pods/"))
            .map(|(key, position)| {
                (
                    key,
                    Orphan {
                        position,
                        since: now,
                    },
                )
            })
            .collect();
        World {
            config,
            watcher: None,
            root: None,
            root_wd: None,
            watches: HashMap::new(),
            refused: false,
            retry_watches: now,
            pods: HashMap::new(),
            containers: Vec::new(),
            instances: Vec::new(),
            queue: VecDeque::new(),
            waiting: Vec::new(),
            orphans,
            labelled: VecDeque::new(),
            next_id: 0,
            may_open: config_open,
            listed: false,
            next_rescan: now,
            ending: Ending::default(),
            events: vec![0; EVENT_BYTES],
            nag_root: Nag::default(),
            nag_watch: Nag::default(),
        }
    }

    /// Whether scanning stands in for events.
    fn scanning(&self) -> bool {
        self.watcher.is_none() || self.refused
    }

    /// Lists everything and compares sizes. Heals whatever events missed.
    pub(crate) fn rescan(&mut self, now: Instant) {
        let stats = self.config.stats.clone();
        add(&stats.scans, 1);
        if now >= self.retry_watches {
            self.retry_watches = now + self.config.timing.rescan;
            self.refused = false;
            self.make_watcher(now);
        }
        let timing = self.config.timing;
        match self.list_root(now) {
            Ok(names) => {
                set(&stats.unreadable, 0);
                self.nag_root = Nag::default();
                self.visit_pods(&names, now);
                self.listed = true;
                let interval = if self.scanning() {
                    timing.scan
                } else {
                    timing.rescan
                };
                self.next_rescan = now + interval;
            }
            Err(e) => {
                set(&stats.unreadable, 1);
                self.next_rescan = now + timing.scan;
                if self.nag_root.due(now) {
                    self.say_root(&e);
                }
            }
        }
        set(&stats.scanning, u64::from(self.scanning()));
        self.close_idle(now);
        self.gauges();
    }

    fn say_root(&self, e: &io::Error) {
        let dir = self.config.pods_dir.display();
        match e.kind() {
            io::ErrorKind::NotFound => {
                tracing::warn!(%dir, "pods directory does not exist; waiting for it");
            }
            io::ErrorKind::PermissionDenied => {
                tracing::error!(%dir, "pods directory is not readable: run with group 0, as root, or with \
                    CAP_DAC_READ_SEARCH; trying again");
            }
            _ => tracing::error!(%dir, error = %e, "pods directory cannot be listed; trying again"),
        }
    }

    fn make_watcher(&mut self, now: Instant) {
        if self.watcher.is_some() {
            return;
        }
        match Watcher::new(self.config.faults.clone()) {
            Ok(w) => {
                if self.nag_watch.0.take().is_some() {
                    tracing::info!("inotify is available again");
                }
                self.watcher = Some(w);
            }
            Err(e) => {
                if self.nag_watch.due(now) {
                    tracing::warn!(
                        error = %e,
                        "no inotify instance (all of this user's are in use: raise the sysctl \
                         fs.inotify.max_user_instances); scanning every second instead"
                    );
                }
            }
        }
    }

    /// Adds a watch, unless there is one or the kernel refused lately.
    fn watch(
        &mut self,
        dir: &Path,
        what: Watched,
        now: Instant,
    ) -> io::Result<Option<WatchDescriptor>> {
        let Some(watcher) = self.watcher.as_mut().filter(|_| !self.refused) else {
            return Ok(None);
        };
        match watcher.add(dir) {
            Ok(wd) => {
                self.watches.insert(wd.clone(), what);
                Ok(Some(wd))
            }
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                self.refused = true;
                if self.nag_watch.due(now) {
                    tracing::warn!(
                        error = %e,
                        "no more inotify watches (this is not the disk: raise the sysctl \
                         fs.inotify.max_user_watches); scanning every second instead"
                    );
                }
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    fn unwatch(&mut self, wd: Option<WatchDescriptor>) {
        if let (Some(wd), Some(watcher)) = (wd, self.watcher.as_mut()) {
            self.watches.remove(&wd);
            watcher.remove(wd);
        }
    }

    fn list_root(&mut self, now: Instant) -> io::Result<Vec<String>> {
        let dir = self.config.pods_dir.clone();
        let meta = std::fs::metadata(&dir)?;
        let root = (meta.dev(), meta.ino());
        if self.root.is_some_and(|r| r != root) {
            tracing::info!(dir = %dir.display(), "pods directory was replaced");
            self.forget_watches();
        }
        self.root = Some(root);
        if self.root_wd.is_none() {
            self.root_wd = self.watch(&dir, Watched::Root, now)?;
        }
        files::list_names(&dir)
    }

    /// After the root was replaced (a mount over it), every watch is on a directory of the past.
    fn forget_watches(&mut self) {
        let all: Vec<WatchDescriptor> = self.watches.keys().cloned().collect();
        for wd in all {
            self.unwatch(Some(wd));
        }
        self.root_wd = None;
        for pod in self.pods.values_mut() {
            pod.wd = None;
        }
        for container in self.containers.iter_mut().flatten() {
            container.wd = None;
            container.targets.clear();
        }
    }

    fn visit_pods(&mut self, names: &[String], now: Instant) {
        for name in names {
            self.visit_pod(name, now);
        }
        let names: std::collections::HashSet<&str> = names.iter().map(String::as_str).collect();
        let gone: Vec<Rc<str>> = self
            .pods
            .keys()
            .filter(|k| !names.contains(&***k))
            .cloned()
            .collect();
        for key in gone {
            self.pod_gone(&key);
        }
    }

    fn visit_pod(&mut self, name: &str, now: Instant) {
        let Some(parsed) = PodName::parse(name) else {
            return;
        };
        let key: Rc<str> = match self.pods.get_key_value(name) {
            Some((key, _)) => key.clone(),
            None => name.into(),
        };
        let dir = self.config.pods_dir.join(name);
        let mut wd = self.pods.get(&key).and_then(|p| p.wd.clone());
        if wd.is_none() {
            wd = match self.watch(&dir, Watched::Pod(key.clone()), now) {
                Ok(wd) => wd,
                // Not a directory, or gone already.
                Err(_) => return self.pod_gone(&key),
            };
        }
        let Ok(names) = files::list_names(&dir) else {
            self.unwatch(wd);
            return self.pod_gone(&key);
        };
        let pod = self.pods.entry(key.clone()).or_insert_with(|| Pod {
            name: parsed.into(),
            wd: None,
            containers: Vec::new(),
        });
        pod.wd = wd;
        let known = pod.containers.clone();
        for name in names.iter().filter(|n| is_container_name(n)) {
            self.visit_container_named(&key, name, now);
        }
        for cid in known {
            let lost = |c: &Container| !names.iter().any(|n| **n == *c.name);
            if self.containers[cid].as_ref().is_some_and(lost) {
                self.container_gone(cid);
            }
        }
    }

    fn visit_container_named(&mut self, key: &Rc<str>, name: &str, now: Instant) {
        let Some(pod) = self.pods.get(key) else {
            return;
        };
        let has_name = |cid: &usize| {
            let c = self.containers[*cid].as_ref();
            c.is_some_and(|c| &*c.name == name)
        };
        let cid = match pod.containers.iter().copied().find(has_name) {
            Some(cid) => cid,
            None => {
                let container = Container {
                    pod: key.clone(),
                    name: name.into(),
                    wd: None,
                    targets: Vec::new(),
                    instances: Vec::new(),
                };
                let cid = put(&mut self.containers, container);
                self.pods
                    .get_mut(key)
                    .expect("looked up above")
                    .containers
                    .push(cid);
                cid
            }
        };
        self.visit_container(cid, now);
    }

    fn visit_container(&mut self, cid: usize, now: Instant) {
        let Some(container) = &self.containers[cid] else {
            return;
        };
        let pods_dir = &self.config.pods_dir;
        let dir = pods_dir.join(&*container.pod).join(&*container.name);
        if container.wd.is_none() {
            match self.watch(&dir, Watched::Container(cid), now) {
                Ok(wd) => self.containers[cid].as_mut().expect("checked above").wd = wd,
                Err(_) => return self.container_gone(cid),
            }
        }
        let Ok((found, targets)) = files::list_logs(&dir) else {
            return self.container_gone(cid);
        };
        self.watch_targets(cid, targets, now);
        let mut from = 0;
        let mut seen = Vec::new();
        while from < found.len() {
            let restart = found[from].restart;
            let to = from
                + found[from..]
                    .iter()
                    .take_while(|f| f.restart == restart)
                    .count();
            seen.push(self.visit_instance(cid, restart, &found[from..to], now));
            from = to;
        }
        let Some(container) = &self.containers[cid] else {
            return;
        };
        let mut all = container.instances.clone();
        let newest = |iid: &usize| self.instances[*iid].as_ref().map_or(0, |i| i.restart);
        all.sort_by_key(newest);
        for (n, iid) in all.iter().copied().enumerate() {
            let Some(instance) = &mut self.instances[iid] else {
                continue;
            };
            let over = n + 1 < all.len();
            let gone = !seen.contains(&iid);
            if gone || (over && !instance.over) {
                self.ending.list(iid, instance);
            }
            instance.over = over;
            if gone {
                instance.vanish(&self.config.stats, now + self.config.timing.rescan);
            }
            self.settle(iid, now);
        }
    }

    fn watch_targets(&mut self, cid: usize, targets: Vec<PathBuf>, now: Instant) {
        let container = self.containers[cid].as_ref();
        let old = container.map(|c| c.targets.clone()).unwrap_or_default();
        let mut new = Vec::new();
        for dir in targets {
            let wd = match old.iter().find(|(d, wd)| *d == dir && wd.is_some()) {
                Some((_, wd)) => wd.clone(),
                None => self.watch(&dir, Watched::Target(cid), now).unwrap_or(None),
            };
            new.push((dir, wd));
        }
        for (dir, wd) in old {
            if !new.iter().any(|(d, _)| *d == dir) {
                self.unwatch(wd);
            }
        }
        if let Some(container) = &mut self.containers[cid] {
            container.targets = new;
        }
    }

    fn visit_instance(&mut self, cid: usize, restart: u32, found: &[Found], now: Instant) -> usize {
        let container = self.containers[cid].as_ref().expect("the caller holds it");
        let known = container.instances.iter().copied().find(|iid| {
            let i = self.instances[*iid].as_ref();
            i.is_some_and(|i| i.restart == restart)
        });
        let iid = known.unwrap_or_else(|| self.new_instance(cid, restart));
        let mut env = Env {
            stats: &self.config.stats,
            timing: &self.config.timing,
            next_id: &mut self.next_id,
            start_at: self.config.start_at,
            first: !self.listed,
            may_open: &mut self.may_open,
            now,
        };
        let instance = self.instances[iid].as_mut().expect("found or made above");
        instance.gone = false;
        instance.reconcile(found, &mut env);
        if instance.told.is_young() {
            self.ending.list(iid, instance);
        }
        iid
    }

    fn new_instance(&mut self, cid: usize, restart: u32) -> usize {
        let container = self.containers[cid].as_ref().expect("the caller holds it");
        let pod = &self.pods[&container.pod];
        let key = format!("pods/{}/{}/{restart}", pod.name.uid, container.name).into_bytes();
        let (pod, name) = (pod.name.clone(), container.name.clone());
        let known = self.orphans.remove(&key).map(|o| {
            // Positions of newer versions were refused at the start.
            position::decode(&o.position).unwrap_or_default()
        });
        let instance = Instance::new(cid, restart, key, pod, name, known);
        let iid = put(&mut self.instances, instance);
        let container = self.containers[cid].as_mut().expect("the caller holds it");
        container.instances.push(iid);
        iid
    }

    fn pod_gone(&mut self, key: &Rc<str>) {
        let Some(pod) = self.pods.get(key) else {
            return;
        };
        let (wd, containers) = (pod.wd.clone(), pod.containers.clone());
        self.unwatch(wd);
        if let Some(pod) = self.pods.get_mut(key) {
            pod.wd = None;
        }
        for cid in containers {
            self.container_gone(cid);
        }
        self.drop_empty_pod(key);
    }

    fn drop_empty_pod(&mut self, key: &Rc<str>) {
        if self
            .pods
            .get(key)
            .is_some_and(|p| p.wd.is_none() && p.containers.is_empty())
        {
            self.pods.remove(key);
        }
    }

    fn container_gone(&mut self, cid: usize) {
        let Some(container) = &mut self.containers[cid] else {
            return;
        };
        let mut wds: Vec<_> = container.targets.drain(..).map(|(_, wd)| wd).collect();
        wds.push(container.wd.take());
        let instances = container.instances.clone();
        for wd in wds {
            self.unwatch(wd);
        }
        let now = Instant::now();
        for iid in instances {
            if let Some(i) = &mut self.instances[iid] {
                self.ending.list(iid, i);
                i.vanish(&self.config.stats, now + self.config.timing.rescan);
                self.settle(iid, now);
            }
        }
        self.drop_empty_container(cid);
    }

    fn drop_empty_container(&mut self, cid: usize) {
        let empty = |c: &Container| c.instances.is_empty() && c.wd.is_none();
        if self.containers[cid].as_ref().is_some_and(empty)
            && let Some(container) = self.containers[cid].take()
        {
            if let Some(pod) = self.pods.get_mut(&container.pod) {
                pod.containers.retain(|c| *c != cid);
            }
            self.drop_empty_pod(&container.pod);
        }
    }

    /// Decides what an instance needs next, and queues it for that.
    pub(crate) fn settle(&mut self, iid: usize, now: Instant) -> Need {
        let Some((instance, env)) = self.parts(iid, now) else {
            return Need::Nothing;
        };
        let need = instance.settle(&env);
        let queued = instance.queued;
        instance.queued |= matches!(need, Need::Read | Need::Flush);
        match need {
            Need::Read | Need::Flush => {
                if !queued {
                    self.queue.push_back(iid);
                }
            }
            Need::Time => {
                if !self.waiting.contains(&iid) {
                    self.waiting.push(iid);
                }
            }
            Need::Forget => self.forget(iid, now),
            Need::Nothing => {}
        }
        need
    }

    /// Looks again at instances that wait for time to pass.
    pub(crate) fn tick(&mut self, now: Instant) {
        for iid in std::mem::take(&mut self.waiting) {
            if let Some(i) = &mut self.instances[iid] {
                i.poll_deleted();
            }
            self.settle(iid, now);
        }
        self.bound_deleted();
        self.gauges();
    }

    /// An instance whose directory is gone and that is taken to its end. Its position is kept for a while: a
    /// directory may be gone only because its file system is not mounted just now.
    fn forget(&mut self, iid: usize, now: Instant) {
        let Some(instance) = self.instances[iid].take() else {
            return;
        };
        self.ending.forget(&instance);
        let mut position = Vec::new();
        instance.encode_position(&mut position);
        let orphan = Orphan {
            position,
            since: now,
        };
        self.orphans.insert(instance.key.to_vec(), orphan);
        let cid = instance.container;
        if let Some(container) = &mut self.containers[cid] {
            container.instances.retain(|i| *i != iid);
        }
        self.drop_empty_container(cid);
    }

    /// When [`World::expired`] has something to say, if nothing changes.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let oldest = self.orphans.values().map(|o| o.since).min()?;
        self.root.map(|_| oldest + self.config.timing.forget)
    }

    /// A key whose files have been gone for long, to be forgotten by the sink.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<Vec<u8>> {
        let timing = &self.config.timing;
        self.root?;
        let old = |o: &Orphan| now.duration_since(o.since) >= timing.forget;
        let key = self
            .orphans
            .iter()
            .find(|(_, o)| old(o))
            .map(|(k, _)| k.clone())?;
        self.orphans.remove(&key);
        Some(key)
    }

    /// Reads all events that wait, and does what they ask for.
    pub(crate) fn drain_events(&mut self, now: Instant) {
        let mut todo = Todo::default();
        let mut buffer = std::mem::take(&mut self.events);
        while let Some(mut watcher) = self.watcher.take() {
            let events = watcher.read(&mut buffer);
            let more = matches!(events, Ok(Some(_)));
            match events {
                Ok(Some(events)) => self.take_events(events, &mut todo, now),
                Ok(None) => {}
                Err(e) => {
                    tracing::warn!(error = %e, "reading inotify events failed");
                    todo.all = true;
                }
            }
            self.watcher = Some(watcher);
            if !more {
                break;
            }
        }
        self.events = buffer;
        if self.config.faults.overflow.swap(false, Ordering::Relaxed) {
            todo = Todo {
                all: true,
                ..Todo::default()
            };
            add(&self.config.stats.overflows, 1);
        }
        if todo.all {
            return self.rescan(now);
        }
        for key in todo.pods {
            self.visit_pod(&key, now);
        }
        for cid in todo.containers {
            self.visit_container(cid, now);
        }
    }

    fn take_events(&mut self, events: inotify::Events<'_>, todo: &mut Todo, now: Instant) {
        let mut moved: Option<(u32, usize, String)> = None;
        for event in events {
            let mask = event.mask;
            if mask.contains(EventMask::Q_OVERFLOW) {
                add(&self.config.stats.overflows, 1);
                todo.all = true;
                continue;
            }
            let Some(watched) = self.watches.get(&event.wd).cloned() else {
                continue;
            };
            let name = event.name.and_then(OsStr::to_str);
            if mask.contains(EventMask::IGNORED) {
                self.watches.remove(&event.wd);
            }
            match watched {
                Watched::Root => self.root_event(mask, name, todo),
                Watched::Pod(key) => {
                    let name = &*key;
                    if !mask.intersects(EventMask::MODIFY | EventMask::CLOSE_WRITE) {
                        push_new(&mut todo.pods, name.into());
                    }
                    if mask.intersects(EventMask::IGNORED | EventMask::MOVE_SELF)
                        && let Some(pod) = self.pods.get_mut(&key)
                    {
                        pod.wd = None;
                    }
                }
                Watched::Container(cid) => {
                    if let Some(name) = name {
                        self.file_event(cid, mask, event.cookie, name, &mut moved, todo, now);
                    } else {
                        push_new(&mut todo.containers, cid);
                        if mask.contains(EventMask::IGNORED)
                            && let Some(c) = &mut self.containers[cid]
                        {
                            c.wd = None;
                        }
                    }
                }
                Watched::Target(cid) => push_new(&mut todo.containers, cid),
            }
        }
    }

    fn root_event(&mut self, mask: EventMask, name: Option<&str>, todo: &mut Todo) {
        match name {
            Some(name) if mask.contains(EventMask::ISDIR) => push_new(&mut todo.pods, name.into()),
            Some(_) => {}
            None => {
                self.root_wd = self
                    .root_wd
                    .take()
                    .filter(|_| !mask.contains(EventMask::IGNORED));
                todo.all = true;
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "an event's parts; one call site")]
    fn file_event(
        &mut self,
        cid: usize,
        mask: EventMask,
        cookie: u32,
        name: &str,
        moved: &mut Option<(u32, usize, String)>,
        todo: &mut Todo,
        now: Instant,
    ) {
        let Some(restart) = files::Name::parse(name).map(|n| n.restart) else {
            return;
        };
        if mask.contains(EventMask::MOVED_FROM) {
            *moved = Some((cookie, cid, name.to_owned()));
        }
        let Some(iid) = self.instance_of(cid, restart) else {
            return push_new(&mut todo.containers, cid);
        };
        let instance = self.instances[iid].as_mut().expect("instance_of checks");
        if mask.intersects(EventMask::MODIFY | EventMask::CLOSE_WRITE) {
            let Some(file) = instance.by_name(name) else {
                return push_new(&mut todo.containers, cid);
            };
            if !matches!(file.source, Source::Gz(_)) && !file.gz {
                file.mark();
            }
            file.closed = mask.contains(EventMask::CLOSE_WRITE);
            match (file.closed, file.rank == Rank::Live) {
                (true, true) => self.ending.list(iid, instance),
                (false, true) => instance.told.is_written_to(),
                (_, false) => {}
            }
            self.settle(iid, now);
            return;
        }
        if mask.contains(EventMask::MOVED_TO)
            && let Some((_, _, from)) = moved.take_if(|(c, i, _)| *c == cookie && *i == cid)
        {
            instance.renamed(&from, name, now);
        }
        push_new(&mut todo.containers, cid);
    }

    fn instance_of(&self, cid: usize, restart: u32) -> Option<usize> {
        let container = self.containers[cid].as_ref()?;
        let same = |iid: &usize| {
            self.instances[*iid]
                .as_ref()
                .is_some_and(|i| i.restart == restart)
        };
        container.instances.iter().copied().find(same)
    }

    /// Opens the file that an instance reads next. `false` when it is not where it was expected: the directory has been
    /// listed again, and the instance queued anew if there is something to read.
    pub(crate) fn open_next(&mut self, iid: usize, index: usize, now: Instant) -> bool {
        let Some(instance) = &mut self.instances[iid] else {
            return false;
        };
        let f = &mut instance.files[index];
        if f.is_open() {
            return true;
        }
        let opened = files::open(&f.path).and_then(|file| {
            let same = files::identity(&file.metadata()?) == f.identity;
            same.then_some(file)
                .ok_or_else(|| io::ErrorKind::NotFound.into())
        });
        match opened {
            Ok(file) if f.gz => f.source = Source::Gz(Box::new(files::Gz::new(file))),
            Ok(file) => {
                self.may_open = self.may_open.saturating_sub(1);
                f.source = Source::Plain(file);
            }
            Err(e) => {
                if e.kind() != io::ErrorKind::NotFound {
                    add(&self.config.stats.read_errors, 1);
                    tracing::warn!(path = %f.path.display(), error = %e, "cannot open log file");
                }
                // The next rescan marks it again if it is still there.
                f.dirty = false;
                self.relist(iid, now);
                return false;
            }
        }
        true
    }

    /// Queues instances whose backlog may be read on.
    pub(crate) fn release(&mut self, pacer: &mut Pacer, now: Instant) {
        let instances = &self.instances;
        pacer.release(now, &mut self.queue, |iid| {
            let instance = instances.get(iid).and_then(Option::as_ref);
            instance.map_or(std::time::Duration::MAX, |i| i.age)
        });
    }

    /// Whether descriptors are to be closed as soon as a file is read to its end.
    pub(crate) fn is_tight(&self) -> bool {
        self.may_open == 0
    }

    /// The labels of an instance, made again if they were forgotten.
    pub(crate) fn labels(&mut self, iid: usize) -> Option<Rc<InstanceLabels>> {
        let instance = self.instances[iid].as_mut()?;
        if let Some(labels) = &instance.labels {
            return Some(labels.clone());
        }
        let (pod, name) = (&instance.pod, &instance.container_name);
        let labels = Rc::new(InstanceLabels::new(
            pod,
            name,
            instance.restart,
            &self.config,
        ));
        instance.labels = Some(labels.clone());
        self.labelled.push_back(iid);
        if self.labelled.len() > LABELLED_MAX
            && let Some(oldest) = self.labelled.pop_front()
            && let Some(instance) = &mut self.instances[oldest]
        {
            instance.labels = None;
        }
        Some(labels)
    }

    /// Surroundings and instance, apart.
    pub(crate) fn parts(&mut self, iid: usize, now: Instant) -> Option<(&mut Instance, Env<'_>)> {
        let instance = self.instances[iid].as_mut()?;
        let env = Env {
            stats: &self.config.stats,
            timing: &self.config.timing,
            next_id: &mut self.next_id,
            start_at: self.config.start_at,
            first: !self.listed,
            may_open: &mut self.may_open,
            now,
        };
        Some((instance, env))
    }

    /// Marks a container to be listed again: a file of it was not where it was expected.
    pub(crate) fn relist(&mut self, iid: usize, now: Instant) {
        if let Some(i) = &self.instances[iid] {
            self.visit_container(i.container, now);
        }
    }

    /// Closes files that have been quiet since the last rescan; they are opened again when they grow.
    fn close_idle(&mut self, now: Instant) {
        let idle = self.config.timing.rescan;
        for f in self
            .instances
            .iter_mut()
            .flatten()
            .flat_map(|i| &mut i.files)
        {
            let quiet = now.duration_since(f.grown) >= idle;
            if f.present && !f.dirty && quiet && f.cursor.long.is_none() {
                f.source = Source::Closed;
            }
        }
    }

    /// Lets go of deleted files when too many bytes of them are held.
    fn bound_deleted(&mut self) {
        let config = self.config.clone();
        loop {
            let (mut held, mut count) = (0, 0);
            let mut largest: Option<(usize, usize, u64)> = None;
            for (iid, i) in self.instances.iter().enumerate() {
                for (n, f) in i.iter().flat_map(|i| i.files.iter().enumerate()) {
                    if !f.present && f.is_open() {
                        held += f.size;
                        count += 1;
                        if largest.is_none_or(|(_, _, size)| f.size >= size) {
                            largest = Some((iid, n, f.size));
                        }
                    }
                }
            }
            set(&config.stats.deleted_bytes, held);
            let over = held > config.max_deleted_bytes || count > config.max_open_files;
            let Some((iid, n, bytes)) = largest.filter(|_| over) else {
                return;
            };
            let instance = self.instances[iid].as_mut().expect("found above");
            let file = instance.files.remove(n);
            instance.moved = true;
            add(&config.stats.let_go, 1);
            tracing::warn!(path = %file.path.display(), bytes, "let go of a deleted log file before it was read");
        }
    }

    fn gauges(&mut self) {
        let stats = &self.config.stats;
        let files = self.instances.iter().flatten().flat_map(|i| &i.files);
        let open = files.filter(|f| f.is_open()).count();
        self.may_open = self.config.max_open_files.saturating_sub(open);
        set(
            &stats.instances,
            self.instances.iter().flatten().count() as u64,
        );
        let files = self.instances.iter().flatten().map(|i| i.files.len());
        set(&stats.files, files.sum::<usize>() as u64);
        set(&stats.open_files, open as u64);
        let files = self.instances.iter().flatten().flat_map(|i| &i.files);
        let backlog = files.map(crate::instance::LogFile::backlog);
        set(&stats.backlog_bytes, backlog.sum());
        set(&stats.watches, self.watches.len() as u64);
    }
}

/// Puts a value into the first free place.
fn put<T>(slab: &mut Vec<Option<T>>, value: T) -> usize {
    match slab.iter().position(Option::is_none) {
        Some(at) => {
            slab[at] = Some(value);
            at
        }
        None => {
            slab.push(Some(value));
            slab.len() - 1
        }
    }
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}
