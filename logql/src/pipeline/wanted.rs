//! What is known about the labels that anybody will read, so that parsers need not extract the others, and the label
//! filters that run while a parser still reads.

use super::filter::Filter;
use super::labels::{ERROR, Labels};
use super::names::{EXTRACTED, is_sanitised};

/// Names that a parser looks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    names: Vec<Name>,
}

#[derive(Debug, Clone)]
struct Name {
    text: String,
    /// Whether a label of this name is wanted, or only one of this name with a suffix.
    real: bool,
    /// Where in the list the name with the suffix is.
    suffixed: Option<usize>,
}

impl Wanted {
    fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let mut wanted = Wanted { names: Vec::new() };
        for name in names {
            wanted.add(name, true);
            // A label that has to give way to another gets its suffix only after it was parsed.
            if let Some(stem) = name.strip_suffix(EXTRACTED) {
                wanted.add(stem, false);
            }
        }
        for i in 0..wanted.names.len() {
            let suffixed = format!("{}{EXTRACTED}", wanted.names[i].text);
            wanted.names[i].suffixed = wanted.names.iter().position(|n| n.text == suffixed);
        }
        wanted
    }

    fn add(&mut self, text: &str, real: bool) {
        match self.names.iter_mut().find(|n| n.text == text) {
            Some(name) => name.real |= real,
            None if text.is_empty() => {}
            None => self.names.push(Name {
                text: text.to_owned(),
                real,
                suffixed: None,
            }),
        }
    }

    /// The place of the name that a key has.
    #[inline]
    pub(super) fn of_key(&self, key: &[u8]) -> Option<usize> {
        self.names.iter().position(|n| is_sanitised(key, &n.text))
    }

    /// The place of a name.
    pub(super) fn of_name(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n.text == name)
    }

    /// Whether some name begins so.
    pub(super) fn has_prefix(&self, prefix: &str) -> bool {
        self.names.iter().any(|n| n.text.starts_with(prefix))
    }

    /// The name under which a label is set that was found under the name at this place, unless nobody wants that, and
    /// whether it has a suffix.
    pub(super) fn target(&self, at: usize, labels: &Labels<'_, '_, '_>) -> Option<(&str, bool)> {
        let name = &self.names[at];
        let collides = labels.collides(&name.text);
        let target = if collides {
            &self.names[name.suffixed?]
        } else {
            name
        };
        let is_free = target.real && !labels.is_extracted(&target.text);
        is_free.then_some((target.text.as_str(), collides))
    }

    /// Whether labels of all names were set.
    pub(super) fn is_complete(&self, labels: &Labels<'_, '_, '_>) -> bool {
        let mut real = self.names.iter().filter(|n| n.real);
        real.all(|n| labels.is_extracted(&n.text))
    }
}

/// Which labels of an entry are read after the pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Output {
    /// All, but for the one that was unwrapped.
    #[default]
    All,
    /// Those of these names, in order.
    Named(Vec<String>),
    /// None.
    Nothing,
}

/// Which names parsers extract.
#[derive(Debug, Clone, Default)]
enum Need {
    /// All.
    #[default]
    All,
    /// All; some have a filter that runs at once. A look for those comes first, as most lines may fail.
    Filtered(Wanted),
    /// These only.
    Named(Wanted),
    /// None: parsers do not run.
    Nothing,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Hints {
    need: Need,
    pub(super) output: Output,
    /// Filters by the one name that they concern.
    early: Vec<(String, Filter)>,
    preserve: bool,
}

/// What a parser has to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Task<'p> {
    /// Nothing.
    Skip,
    /// Labels of some names; then the line may be let be.
    Only(&'p Wanted),
    /// All labels, after those with filters of their own.
    All(Option<&'p Wanted>),
}

impl Hints {
    /// Hints for a pipeline whose stages read labels of the `required` names. Names are given once more with `names`
    /// by what stands around it.
    pub(super) fn new(output: Output, required: &[String], early: Vec<(String, Filter)>) -> Self {
        let named = || Wanted::new(required.iter().map(String::as_str));
        let need = match &output {
            Output::Nothing if required.is_empty() => Need::Nothing,
            Output::Nothing | Output::Named(_) => {
                // With a suffix or without, each must be found before parsers may stop.
                let mut wanted = named();
                wanted.names.iter_mut().for_each(|n| n.real = true);
                Need::Named(wanted)
            }
            Output::All if early.is_empty() => Need::All,
            Output::All => Need::Filtered(Wanted::new(early.iter().map(|(name, _)| name.as_str()))),
        };
        Hints {
            preserve: matches!(need, Need::Named(_)) && required.iter().any(|n| n == ERROR),
            early: match output {
                Output::Named(_) => Vec::new(),
                _ => early,
            },
            need,
            output,
        }
    }

    /// What a parser has to do on this line.
    pub(super) fn task(&self, labels: &Labels<'_, '_, '_>) -> Task<'_> {
        match &self.need {
            Need::All => Task::All(None),
            Need::Filtered(wanted) => Task::All(Some(wanted)),
            Need::Named(_) if labels.all_found() => Task::Skip,
            Need::Named(wanted) => Task::Only(wanted),
            Need::Nothing => Task::Skip,
        }
    }

    /// Whether parsers never run.
    pub(super) fn needs_nothing(&self) -> bool {
        matches!(self.need, Need::Nothing)
    }

    /// The names that parsers are confined to.
    pub(super) fn only(&self) -> Option<&Wanted> {
        match &self.need {
            Need::Named(wanted) => Some(wanted),
            _ => None,
        }
    }

    pub(super) fn is_needed(&self, name: &str) -> bool {
        self.only()
            .is_some_and(|wanted| wanted.of_name(name).is_some())
    }

    /// Whether `found` of the needed names are all of them.
    pub(super) fn is_complete(&self, found: usize) -> bool {
        self.only()
            .is_some_and(|wanted| found == wanted.names.len())
    }

    pub(super) fn groups_by_names(&self) -> bool {
        matches!(self.output, Output::Named(_))
    }

    pub(super) fn preserves_errors(&self) -> bool {
        self.preserve
    }

    pub(super) fn has_early_filters(&self) -> bool {
        !self.early.is_empty()
    }

    /// The filter that runs when a label of this name was set.
    pub(super) fn early_filter(&self, name: &str) -> Option<&Filter> {
        let mut early = self.early.iter();
        early.find(|(n, _)| n == name).map(|(_, filter)| filter)
    }
}
