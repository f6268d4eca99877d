# Loads and runs the stages of @MODEL_TEXT@.
#
# Written by milwright. Needs macOS and coremltools. Put this file beside the
# packages of the stages.
#
#     model = StagedModel()
#     results = model.predict(chunks)

import os
import tempfile

import coremltools as ct

# What each chunk has to hold, and what each result holds.
INPUTS = [@INPUTS@]
OUTPUTS = [@OUTPUTS@]

# The compute units are those that the pipeline manifest asks for. A model file
# cannot carry them: Core ML takes them when it loads.
STAGES = [
@STAGES@
]


class StagedModel:
    """The stages, loaded from a folder; by default the one of this file.

    A stage is loaded afresh after `reload_interval` predictions. Some systems
    leak an IOSurface with each prediction that reaches the Neural Engine, and the
    process ends after about 500 of them; what a model has leaked is given back
    when the model goes.
    """

    def __init__(self, folder=None, reload_interval=300):
        here = os.path.dirname(os.path.abspath(__file__))
        self._folder = here if folder is None else folder
        self._reload_interval = max(1, reload_interval)
        self._scratch = tempfile.TemporaryDirectory()
        self._compiled = [self._compile(number) for number in range(len(STAGES))]
        self._models = [self._load(number) for number in range(len(STAGES))]
        # Predictions of each loaded model since it was loaded.
        self._used = [0] * len(STAGES)
        self._states = [None] * len(STAGES)
        self.reset()

    def predict(self, chunks):
        """The result of a chunk (a dictionary), or those of a list of chunks.

        Chunks go through a stage as a batch, because a batch allocates and
        releases its buffers once: single predictions are what leaks.
        """
        if isinstance(chunks, dict):
            return self.predict([chunks])[0]
        results = []
        for start in range(0, len(chunks), self._reload_interval):
            results += self._run(chunks[start : start + self._reload_interval])
        return results

    def reset(self):
        """Forgets states: the next chunk is the first of a sequence."""
        for number, stage in enumerate(STAGES):
            if stage["stateful"]:
                # Only here: a state belongs to the model that made it, so
                # loading the model afresh in the middle of a sequence would
                # lose it.
                if self._used[number] >= self._reload_interval:
                    self._reload(number)
                self._states[number] = self._models[number].make_state()

    def _run(self, chunks):
        # Every feature by name, for each chunk: first the caller's, then what
        # the stages give. A later stage replaces what an earlier one gave, so
        # that each stage sees the nearest before it.
        features = [self._pick(chunk, INPUTS, "the caller") for chunk in chunks]
        for number, stage in enumerate(STAGES):
            inputs = [self._pick(known, stage["inputs"], stage["name"]) for known in features]
            for known, given in zip(features, self._predict(number, inputs)):
                known.update(self._pick(given, stage["outputs"], stage["name"]))
        return [self._pick(known, OUTPUTS, "the caller") for known in features]

    def _predict(self, number, inputs):
        state = self._states[number]
        if state is not None:
            # Core ML has no batches with a state, and the order matters.
            self._used[number] += len(inputs)
            return [self._models[number].predict(one, state) for one in inputs]
        if self._used[number] + len(inputs) > self._reload_interval:
            self._reload(number)
        self._used[number] += len(inputs)
        return self._models[number].predict(inputs)

    def _reload(self, number):
        # Drop the old one first: two at a time may not fit in memory.
        self._models[number] = None
        self._models[number] = self._load(number)
        self._used[number] = 0

    def _load(self, number):
        units = STAGES[number]["compute_units"]
        return ct.models.CompiledMLModel(self._compiled[number], compute_units=units)

    def _compile(self, number):
        """The compiled form: beside the package, or made once for this object."""
        package = os.path.join(self._folder, *STAGES[number]["package"].split("/"))
        ready = os.path.splitext(package)[0] + ".mlmodelc"
        if os.path.isdir(ready):
            return ready
        target = os.path.join(self._scratch.name, "%d.mlmodelc" % number)
        return ct.models.utils.compile_model(package, target)

    @staticmethod
    def _pick(features, names, whose):
        missing = [name for name in names if name not in features]
        if missing:
            raise KeyError("%s: features are missing: %s" % (whose, ", ".join(missing)))
        return {name: features[name] for name in names}
