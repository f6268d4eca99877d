//! Making a model smaller while a failure stays.
//!
//! [`reduce`] proposes smaller models, and a check, which may be anything, says
//! of each whether the failure is still there. What is proposed, over and over
//! until nothing of it is accepted:
//!
//! * the function without some of its operations, first half of them, then
//!   quarters, down to single ones. What the others read of them becomes an
//!   input;
//! * fewer outputs, and only the operations that these need;
//! * the function without one operation, whose readers read its operand of the
//!   same type in its place;
//! * constants in the place of results that cannot be inputs, such as scalars;
//! * zeros instead of weights: of all, of half of them, down to single ones.
//!
//! Every proposal is a valid program; the order is always the same.

mod bypass;
mod candidate;
mod constants;
mod nodes;
mod weights;

use std::collections::HashSet;

use milwright_ir::{Model, Program};
use milwright_package::{Message, Spec, digest};

use crate::cut;

/// A smaller model to be checked. To be saved with
/// [`Model::save_as`] of the model that it was made of.
#[derive(Debug)]
pub struct Candidate {
    /// The program: one function, `main`.
    pub program: Program,
    /// What stands around it.
    pub spec: Spec,
    /// What was changed, in words.
    pub what: String,
    /// Operations that run when it is used.
    pub operations: usize,
    /// Its inputs and states.
    pub inputs: usize,
    /// Its outputs.
    pub outputs: usize,
}

/// What a check says of a candidate.
#[derive(Debug)]
pub enum Verdict {
    /// The failure is there; the candidate, opened again.
    Fails(Box<Model>),
    /// It is not.
    Passes,
    /// No more checks: the smallest model so far is the result.
    Stop,
}

/// What [`reduce`] ends with.
#[derive(Debug)]
pub struct Reduced {
    /// The smallest model that fails; `None` when no candidate did.
    pub model: Option<Box<Model>>,
    /// Whether there was no candidate left, and not the check that ended it.
    pub complete: bool,
}

/// What checks a candidate that was made of a model.
pub type Check<'c, E> = dyn FnMut(&Model, Candidate) -> Result<Verdict, E> + 'c;

/// Reduces a function of a model that fails. See the module.
///
/// # Errors
/// Those of the check; [`cut::Error`] when the function cannot be cut at all.
pub fn reduce<E: From<cut::Error>>(
    model: &Model,
    function: &str,
    check: &mut Check<'_, E>,
) -> Result<Reduced, E> {
    // Says at once when nothing can be cut.
    candidate::Base::new(model, function)?;
    let mut work = Work {
        original: model,
        function: function.to_owned(),
        model: None,
        check,
        seen: HashSet::new(),
        stopped: false,
    };
    let strategies: [Strategy<E>; 6] = [
        nodes::whole,
        nodes::nodes,
        nodes::outputs,
        bypass::bypass,
        constants::constants,
        weights::zeros,
    ];
    loop {
        let mut smaller = false;
        for strategy in strategies {
            smaller |= strategy(&mut work)?;
        }
        if !smaller || work.stopped {
            break;
        }
    }
    Ok(Reduced {
        model: work.model,
        complete: !work.stopped,
    })
}

/// Tries candidates of one kind; whether one was accepted.
type Strategy<E> = fn(&mut Work<'_, '_, E>) -> Result<bool, E>;

/// A reduction under way.
struct Work<'w, 'c, E> {
    original: &'w Model,
    /// Of the original; candidates have one, `main`.
    function: String,
    /// The smallest that fails, if it is not the original.
    model: Option<Box<Model>>,
    check: &'w mut Check<'c, E>,
    /// Digests of the candidates that were checked.
    seen: HashSet<String>,
    stopped: bool,
}

impl<E> Work<'_, '_, E> {
    /// The smallest model that fails, and its function.
    fn now(&self) -> (&Model, &str) {
        match &self.model {
            Some(model) => (model, "main"),
            None => (self.original, &self.function),
        }
    }

    /// Tries candidates with fewer and fewer changes at once: half of what
    /// there is, a quarter, single ones. `without` makes the one that changes
    /// `size` things from `start` on, and says how many there are; it lowers a
    /// size that is too large.
    fn in_halves(
        &mut self,
        without: impl Fn(&Self, usize, &mut usize) -> Result<(Option<Candidate>, usize), E>,
    ) -> Result<bool, E> {
        let mut smaller = false;
        let mut size = usize::MAX;
        loop {
            let mut start = 0;
            loop {
                let (candidate, count) = without(self, start, &mut size)?;
                if start >= count {
                    break;
                }
                if self.try_one(candidate)? {
                    // What followed stands here now.
                    smaller = true;
                } else {
                    start += size;
                }
                if self.stopped {
                    return Ok(smaller);
                }
            }
            if size <= 1 {
                return Ok(smaller);
            }
            size = size.div_ceil(2);
        }
    }

    /// Checks a candidate; whether it is the smallest model now.
    fn try_one(&mut self, candidate: Option<Candidate>) -> Result<bool, E> {
        let Some(candidate) = candidate.filter(|_| !self.stopped) else {
            return Ok(false);
        };
        let mut text = candidate.program.to_proto().encode_to_vec();
        text.extend_from_slice(&candidate.spec.description_bytes());
        if !self.seen.insert(digest(&text)) {
            return Ok(false);
        }
        let model = match &self.model {
            Some(model) => model,
            None => self.original,
        };
        match (self.check)(model, candidate)? {
            Verdict::Fails(model) => {
                self.model = Some(model);
                Ok(true)
            }
            Verdict::Passes => Ok(false),
            Verdict::Stop => {
                self.stopped = true;
                Ok(false)
            }
        }
    }
}
