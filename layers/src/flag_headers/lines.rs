//! The header lines: made once per switchboard, or per subject where a percentage decides.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderValue;

use crate::{
    dictionary,
    switchboard::{
        Switchboard,
        flag::{Evaluation, Flag},
    },
};

/// The flags that a layer tells of, with the lines of the newest switchboard that it has seen.
#[derive(Debug, Default)]
pub(super) struct Told {
    flags: Vec<Name>,
    newest: ArcSwapOption<Lines>,
}

#[derive(Debug, Clone)]
struct Name {
    flag: Box<str>,
    key: Box<str>,
}

/// What one switchboard says of the told flags.
#[derive(Debug)]
struct Lines {
    number: u64,
    revision: HeaderValue,
    /// Held so that its address can't be taken by other flags while it is compared.
    of: Arc<[Flag]>,
    flags: Flags,
}

#[derive(Debug)]
enum Flags {
    /// The same for everybody; nothing where no told flag is declared.
    Same(Option<HeaderValue>),
    /// To be evaluated for each subject: a flag's place in `of`, and its key. Whoever has no subject gets the same as
    /// everybody else without one.
    PerSubject { told: Vec<(usize, Box<str>)>, nobody: Option<HeaderValue> },
}

impl Told {
    pub(super) fn and<N: AsRef<str>>(&self, names: impl IntoIterator<Item = N>) -> Self {
        let more = names.into_iter().map(|name| Name {
            flag: name.as_ref().into(),
            key: dictionary::key_or_panic(name.as_ref()).into(),
        });
        Self {
            flags: self.flags.iter().cloned().chain(more).collect(),
            newest: ArcSwapOption::empty(),
        }
    }

    /// Whether there is nothing to tell.
    pub(super) const fn is_empty(&self) -> bool {
        self.flags.is_empty()
    }

    /// The flags of this switchboard for a subject, and its revision.
    ///
    /// Requests that pinned different switchboards may replace each other's lines for a moment. That costs a little work
    /// and nothing else, because lines are only ever used for the very switchboard that they were made of.
    pub(super) fn say(
        &self,
        board: &Switchboard,
        subject: Option<&str>,
    ) -> (Option<HeaderValue>, HeaderValue) {
        if let Some(lines) = &*self.newest.load()
            && lines.are_of(board)
        {
            return lines.say(subject);
        }
        let lines = Arc::new(Lines::of(board, &self.flags));
        self.newest.store(Some(lines.clone()));
        lines.say(subject)
    }
}

impl Lines {
    fn of(board: &Switchboard, names: &[Name]) -> Self {
        let declared = |name: &Name| {
            let place = board.flags().iter().position(|flag| *flag.key == *name.flag)?;
            Some((place, name.key.clone()))
        };
        let told: Vec<_> = names.iter().filter_map(declared).collect();
        let of = board.shared_flags();
        let same = told.iter().all(|&(place, _)| of[place].is_static());
        let nobody = line(&of, &told, None);
        let flags = if same { Flags::Same(nobody) } else { Flags::PerSubject { told, nobody } };
        Self { number: board.revision(), revision: HeaderValue::from(board.revision()), of, flags }
    }

    /// The revision alone would not do: switchboards with different flags may share one, such as before and after a
    /// reload of the configuration.
    fn are_of(&self, board: &Switchboard) -> bool {
        self.number == board.revision() && std::ptr::eq(&raw const *self.of, board.flags())
    }

    fn say(&self, subject: Option<&str>) -> (Option<HeaderValue>, HeaderValue) {
        let flags = match &self.flags {
            Flags::Same(line) => line.clone(),
            Flags::PerSubject { nobody, .. } if subject.is_none() => nobody.clone(),
            Flags::PerSubject { told, .. } => line(&self.of, told, subject),
        };
        (flags, self.revision.clone())
    }
}

/// A dictionary, or nothing where it would be empty: RFC 9651 has no empty header line.
fn line(flags: &[Flag], told: &[(usize, Box<str>)], subject: Option<&str>) -> Option<HeaderValue> {
    let mut line =
        String::with_capacity(told.iter().map(|(_, key)| key.len() + MEMBER_BYTES).sum());
    for (place, key) in told {
        let Evaluation { on, reason } = flags[*place].evaluate(subject);
        dictionary::push(&mut line, key);
        line.push_str(if on { ";v=on;r=" } else { "=?0;v=off;r=" });
        line.push_str(reason.as_str());
    }
    let value = || HeaderValue::try_from(line).expect("keys were checked when the layer was built");
    (!told.is_empty()).then(value)
}

/// What a member takes beside its key: `, `, `=?0;v=off;r=` and the longest reason.
const MEMBER_BYTES: usize = 2 + 12 + 8;
