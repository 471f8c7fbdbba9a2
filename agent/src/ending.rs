//! Containers that ended: what the sink has of them is to outlive their files, which kubelet may remove at any time.
//!
//! An instance has ended when its writer closed the live file, a later instance exists, or its directory is gone; it is
//! told to the sink when everything there is was read, all that ended in one wake-up together. One that is written to
//! again (its runtime was restarted) is told again, each time after twice as long a pause.
//!
//! Some pods live for a second, and their end may have been missed (the file was found closed). So a file that was written
//! to lately when it was found counts as ended once it is quiet, the first time; unless it is seen to be written to, because
//! then its end will be seen too.

use std::rc::Rc;
use std::time::{Duration, Instant};

use wire::{LabelSet, Secure};

use crate::config::Config;
use crate::instance::Instance;
use crate::labels::{InstanceLabels, PodName};
use crate::sink::Sink;

/// Pause between the first two times that an instance is told of.
const PAUSE_MIN: Duration = Duration::from_secs(60);
/// A young file that has not grown for this long may be the whole of a short life.
const YOUNG_QUIET: Duration = Duration::from_millis(250);
/// A file is young for this long.
const YOUNG: Duration = Duration::from_secs(10);
/// Instances told of in one call: their labels take 1.5 KiB each.
const TOLD_MAX: usize = 256;

/// What an instance remembers for this.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Lines were taken that the sink was not told to secure.
    pub(crate) unsecured: bool,
    /// In the list of those that end.
    listed: bool,
    /// Not told of again before this.
    next: Option<(Instant, Duration)>,
    /// Found young: until when it is.
    young: Option<Instant>,
}

impl Told {
    /// A file was found that was written to lately.
    pub(crate) fn found_young(&mut self, now: Instant) {
        self.young = Some(now + YOUNG);
    }

    /// There was an event of its writing: that of its closing is still to come.
    pub(crate) fn is_written_to(&mut self) {
        self.young = None;
    }

    /// Whether [`Ending`] has to look at it.
    pub(crate) fn is_young(&self) -> bool {
        self.young.is_some() && !self.listed
    }
}

/// Who is told of.
#[derive(Debug)]
pub(crate) struct Ended {
    key: Rc<[u8]>,
    pod: Rc<PodName>,
    container: Rc<str>,
    restart: u32,
}

/// The list.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    listed: Vec<usize>,
    /// Those that were forgotten meanwhile.
    forgotten: Vec<Ended>,
    /// When one that pauses may be told of.
    next: Option<Instant>,
}

impl Ended {
    fn of(instance: &Instance) -> Ended {
        Ended {
            key: instance.key.clone(),
            pod: instance.pod.clone(),
            container: instance.container_name.clone(),
            restart: instance.restart,
        }
    }
}

impl Ending {
    /// Something happened that may be the end of an instance.
    pub(crate) fn list(&mut self, iid: usize, instance: &mut Instance) {
        if !instance.told.listed {
            instance.told.listed = true;
            self.listed.push(iid);
        }
    }

    /// An instance is forgotten: the last chance to tell of it.
    pub(crate) fn forget(&mut self, instance: &Instance) {
        if instance.told.unsecured {
            self.forgotten.push(Ended::of(instance));
        }
    }

    /// When [`Ending::due`] has more to say, if nothing changes.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Those to tell of now.
    pub(crate) fn due(&mut self, instances: &mut [Option<Instance>], now: Instant) -> Vec<Ended> {
        let mut due = std::mem::take(&mut self.forgotten);
        self.next = None;
        self.listed.retain(|iid| {
            // Another one may have taken its place in the list of instances.
            let instance = instances[*iid].as_mut().filter(|i| i.told.listed);
            let Some(instance) = instance else {
                return false;
            };
            match instance.ending(now) {
                Verdict::Not => instance.told.listed = false,
                Verdict::Event => return true,
                Verdict::At(at) => {
                    self.next = Some(self.next.map_or(at, |next| next.min(at)));
                    return true;
                }
                Verdict::Ended => {
                    due.push(Ended::of(instance));
                    instance.tell(now);
                }
            }
            false
        });
        due
    }
}

/// Whether an instance is to be told of.
enum Verdict {
    /// Not before something else happens to it, of which there will be news.
    Not,
    /// After the next event.
    Event,
    /// Then, perhaps.
    At(Instant),
    /// Now.
    Ended,
}

impl Instance {
    fn ending(&self, now: Instant) -> Verdict {
        let told = &self.told;
        if !self.is_read() {
            return Verdict::Event;
        }
        if self.has_ended() {
            let at = told.next.map(|(at, _)| at).filter(|at| *at > now);
            return match at {
                _ if !told.unsecured => Verdict::Not,
                Some(at) if !(self.gone || self.over) => Verdict::At(at),
                _ => Verdict::Ended,
            };
        }
        if told.young.is_none_or(|until| until <= now) {
            return Verdict::Not;
        }
        let grown = self.files.iter().map(|f| f.grown).max().unwrap_or(now);
        match grown + YOUNG_QUIET {
            _ if !told.unsecured => Verdict::Event,
            quiet if quiet > now => Verdict::At(quiet),
            _ => Verdict::Ended,
        }
    }

    /// It is told of now.
    fn tell(&mut self, now: Instant) {
        let next = match self.has_ended() {
            true => {
                let pause = self.told.next.map_or(PAUSE_MIN, |(_, pause)| pause * 2);
                Some((now + pause, pause))
            }
            false => self.told.next,
        };
        self.told = Told {
            next,
            ..Told::default()
        };
    }
}

/// Tells the sink.
pub(crate) fn tell<S: Sink>(sink: &mut S, ended: &[Ended], config: &Config) {
    for part in ended.chunks(TOLD_MAX) {
        let labels = part
            .iter()
            .map(|e| InstanceLabels::new(&e.pod, &e.container, e.restart, config));
        let labels: Vec<InstanceLabels> = labels.collect();
        let streams: Vec<[&LabelSet; 2]> =
            labels.iter().map(|l| [l.stream(0), l.stream(1)]).collect();
        let identities: Vec<LabelSet> = labels.iter().map(InstanceLabels::identity).collect();
        let sources = part.iter().zip(&streams).zip(&identities);
        let sources: Vec<Secure<'_>> = sources
            .map(|((ended, streams), identity)| Secure {
                key: &ended.key,
                streams,
                metadata: identity.as_ref(),
            })
            .collect();
        sink.secure(&sources);
    }
}
