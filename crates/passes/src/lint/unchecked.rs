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
    un(
        "FLX11",
        "one operation keeps a whole flexible program off the Neural Engine",
        "a message of the compiler; `flexible-range` says what is known",
    ),
    un(
        "ST11",
        "compression of models with states or several functions",
        "happens in the converter, before there is a file",
    ),
    un(
        "SZ08",
        "minutes of compiling on devices of little memory",
        "the memory of a device and the working set are not in the file",
    ),
    un(
        "SZ09",
        "deep decoders in one program",
        "one report of one model, and no number",
    ),
    un(
        "SZ13",
        "the first load takes minutes",
        "true of every model",
    ),
    un(
        "SZ14",
        "packages are compiled at every load",
        "true of every `.mlpackage`; ship a `.mlmodelc`",
    ),
    un(
        "SZ15",
        "sizes at which memory is read slowly",
        "the source does not say which sizes its formula means",
    ),
    un(
        "Q12",
        "int8 weights of conformers crash on GPU and Neural Engine",
        "one model; what it is about conformers is not known",
    ),
    un(
        "Q15",
        "which compressed weights stay compressed in memory",
        "seen through a private interface only",
    ),
    un(
        "MPS05",
        "rewrites of convolutions in PyTorch are undone",
        "happens in the converter; rewrite the model with `convert --passes`",
    ),
    un(
        "MPS07",
        "an old system without the GPU's serialization",
        "a fault of the system, whatever the model is",
    ),
    un(
        "MPS08",
        "a beta of macOS 15.2",
        "a fault of the system, whatever the model is",
    ),
    un(
        "MPS10",
        "textures wider than 16384",
        "of neural networks before ML Programs",
    ),
    un(
        "CPU02",
        "fp16 additions crash on M4 and M5",
        "a fault of the system, whatever the model is",
    ),
    un(
        "CPU04",
        "int8 on the CPU of an M5 Max",
        "one report, and no predicate",
    ),
    un(
        "RT02",
        "all compute units are slower than some",
        "measure each choice",
    ),
    un(
        "RT03",
        "a refusal of the compiler is silent",
        "true of every model: look at the compute plan",
    ),
    un(
        "RT04",
        "the Neural Engine sleeps after 5.7 s",
        "not in the file",
    ),
    un(
        "RT05",
        "virtual machines have no Neural Engine",
        "not in the file",
    ),
    un(
        "RT06",
        "the compiler's service keeps deleted files open",
        "not in the file",
    ),
    un(
        "RT08",
        "which devices run ML Programs on the Neural Engine",
        "older than every target here",
    ),
    un(
        "RT09",
        "which unit is fastest differs by chip",
        "measure on each",
    ),
    un(
        "RT10",
        "SigLIP 2 is wrong on the Neural Engine",
        "one model, and no predicate: compare the numbers of each unit",
    ),
    un(
        "RT11",
        "SenseVoice is right on the Neural Engine only",
        "one model, and no predicate: compare the numbers of each unit",
    ),
];
