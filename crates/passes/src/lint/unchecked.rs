//! What the rule base knows and no file can show.

/// A rule of the collected rule base that has no rule here.
#[derive(Debug)]
pub struct Unchecked {
    /// Its number.
    pub id: &'static str,
    /// What it says, in short.
    pub what: &'static str,
    /// Why it is not checked.
    pub why: &'static str,
}

const fn un(id: &'static str, what: &'static str, why: &'static str) -> Unchecked {
    Unchecked { id, what, why }
}

/// Rules that are not checked, in the order of the rule base.
pub static UNCHECKED: &[Unchecked] = &[
    un(
        "SHP18",
        "inputs and outputs narrower than 32",
        "seen through a private interface only; Core ML pads them itself",
    ),
    un(
        "DT05",
        "element types of the Neural Engine",
        "a fact that other rules use",
    ),
    un(
        "DT11",
        "the converter's own RMS norm has a larger epsilon",
        "the epsilon that was meant is not in the file",
    ),
    un(
        "DT17",
        "outliers among activations",
        "needs a run on real inputs: `verify --precision half` shows their range",
    ),
    un(
        "DT20",
        "small attention weights are dropped",
        "depends on the inputs; the rule would name every attention",
    ),
    un(
        "DT21",
        "decoding one token at a time drifts in fp16",
        "how the host calls the model is not in the file",
    ),
    un(
        "DT25",
        "`silu` in single precision",
        "shown for another model format only",
    ),
    un(
        "OP25",
        "limits of the first Neural Engines",
        "superseded: the devices that have them are older than every target here",
    ),
    un(
        "OP40",
        "parts of a model that are refused for no known reason",
        "nobody knows the predicate: no finding does not mean that a device takes the model",
    ),
];
