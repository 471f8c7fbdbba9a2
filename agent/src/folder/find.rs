//! From the directory that a user names to the pods in it.
//!
//! It may be the folder of pods itself (`/var/log/pods`), one above it (`/var/log`, the root of a mounted card), a pod's
//! own folder or a container's.

use std::io;
use std::path::{Path, PathBuf};

use crate::files;
use crate::labels::{PodName, is_container_name};

/// Where the folder of pods is below directories that people take for it.
const BELOW: [&str; 3] = ["pods", "log/pods", "var/log/pods"];

/// Why a directory cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be listed.
    #[error("cannot read pods directory `{}`", dir.display())]
    Unreadable {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No pod's folder is in it, nor is it one.
    #[error("`{}` holds no pod's folder (NAMESPACE_POD_UID)", dir.display())]
    NoPods {
        /// The directory.
        dir: PathBuf,
    },
    /// There are pods' folders, but no log files.
    #[error("`{}` holds {pods} pod folders, but no log file in them (CONTAINER/0.log)", dir.display())]
    NoLogs {
        /// The directory.
        dir: PathBuf,
        /// Folders of pods.
        pods: usize,
    },
    /// More files than the memory of a query has room for.
    #[error("`{}` holds more log files than fit into {limit} bytes of memory (query_memory)", dir.display())]
    TooMany {
        /// The directory.
        dir: PathBuf,
        /// The limit.
        limit: usize,
    },
}

/// The folder of pods, and what of it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) root: PathBuf,
    /// Names of pods' folders, sorted.
    pub(super) pods: Vec<String>,
    /// Only this container.
    pub(super) container: Option<String>,
}

impl Place {
    /// # Errors
    /// [`FolderError::Unreadable`], [`FolderError::NoPods`].
    pub(super) fn find(dir: &Path) -> Result<Place, FolderError> {
        let unreadable = |source| FolderError::Unreadable {
            dir: dir.to_owned(),
            source,
        };
        let pods = pods_in(dir).map_err(unreadable)?;
        if !pods.is_empty() {
            return Ok(Place {
                root: dir.to_owned(),
                pods,
                container: None,
            });
        }
        for below in BELOW {
            let root = dir.join(below);
            if let Ok(pods) = pods_in(&root)
                && !pods.is_empty()
            {
                return Ok(Place {
                    root,
                    pods,
                    container: None,
                });
            }
        }
        Place::inside(dir).ok_or_else(|| FolderError::NoPods {
            dir: dir.to_owned(),
        })
    }

    /// The directory is a pod's, or a container's of one.
    fn inside(dir: &Path) -> Option<Place> {
        let dir = std::fs::canonicalize(dir).ok()?;
        let name = |dir: &Path| Some(dir.file_name()?.to_str()?.to_owned());
        let own = name(&dir)?;
        if PodName::parse(&own).is_some() {
            return Some(Place {
                root: dir.parent()?.to_owned(),
                pods: vec![own],
                container: None,
            });
        }
        let pod = dir.parent()?;
        let above = name(pod)?;
        PodName::parse(&above)?;
        Some(Place {
            root: pod.parent()?.to_owned(),
            pods: vec![above],
            container: Some(own).filter(|name| is_container_name(name)),
        })
    }
}

/// Names of pods' folders in a directory.
fn pods_in(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = files::list_names(dir)?;
    names.retain(|name| PodName::parse(name).is_some() && dir.join(name).is_dir());
    names.sort_unstable();
    Ok(names)
}
