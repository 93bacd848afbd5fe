//! What is tried, one file each: which bytes it takes, and what must hold whatever they are.

mod answers;
mod bodies;
mod config;
mod fields;
mod heads;
mod http2;
mod path;
mod rig;
mod stack;
mod wire;

use fastrand::Rng;

/// A part of the gateway that takes bytes.
pub(crate) trait Target {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Inputs to begin with; good ones and bad ones.
    fn seeds(&self) -> Vec<Vec<u8>>;

    /// What its inputs are made of.
    fn words(&self) -> &'static [&'static [u8]];

    /// The longest input that makes sense.
    fn bytes_max(&self) -> usize {
        2048
    }

    /// Repairs what a change breaks too easily, such as a length, so that inputs get past the first check.
    fn mend(&self, _: &mut Rng, _: &mut Vec<u8>) {}

    /// Tries an input: how it was answered, in a word or two, or which promise it broke.
    fn attempt(&mut self, input: &[u8]) -> Result<String, String>;
}

/// All of them, the quick ones first.
pub(crate) fn all() -> Vec<Box<dyn Target>> {
    vec![
        Box::new(path::Path),
        Box::new(fields::Fields),
        Box::new(heads::Requests),
        Box::new(heads::Responses),
        Box::new(bodies::Bodies),
        Box::new(config::Config),
        Box::new(answers::Answers::new()),
        Box::new(http2::Http2::new()),
        Box::new(stack::Stack::new()),
    ]
}

/// The target of this name, as if nothing had been tried yet.
pub(crate) fn named(name: &str) -> Option<Box<dyn Target>> {
    all().into_iter().find(|target| target.name() == name)
}

/// `Err` with a sentence unless it holds.
fn must(holds: bool, promise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(promise()) }
}
