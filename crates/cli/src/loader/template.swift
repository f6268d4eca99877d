// Loads and runs the stages of @MODEL_TEXT@.
//
// Written by milwright. Put this file into an app, and the packages of the
// stages beside each other: into its bundle, where Xcode compiles them, or into
// any folder.
//
//     let model = try StagedModel(folder: Bundle.main.resourceURL!)
//     let results = try model.predictions(from: chunks)
//
// Loading compiles and blocks: keep it off the main thread. An instance is for
// one thread at a time.

import CoreML
import Foundation

//<stateful>
@available(macOS 15.0, iOS 18.0, tvOS 18.0, watchOS 11.0, visionOS 2.0, *)
//</stateful>
//<stateless>
@available(macOS 13.0, iOS 16.0, tvOS 16.0, watchOS 9.0, *)
//</stateless>
public final class StagedModel {
    /// One model of the sequence.
    private struct Stage {
        let name: String
        let package: String
        let computeUnits: MLComputeUnits
        let inputs: [String]
        let outputs: [String]
        /// Whether it keeps something from one prediction to the next.
        let stateful: Bool
    }

    /// What goes wrong here and not in Core ML.
    public enum Failure: Error {
        /// Neither the package nor its compiled form is in the folder.
        case missing(stage: String, package: String)
        /// A feature that a stage takes, or that is asked for, is not there.
        case feature(stage: String, name: String)
    }

    // The compute units are those that the pipeline manifest asks for. A model
    // file cannot carry them: Core ML takes them here, when it loads.
    private static let stages: [Stage] = [
@STAGES@
    ]

    /// What each chunk has to hold.
    public static let inputs: [String] = [@INPUTS@]
    /// What each result holds.
    public static let outputs: [String] = [@OUTPUTS@]

    private let folder: URL
    private let reloadInterval: Int
    private var compiled: [URL] = []
    private var models: [MLModel] = []
    /// Predictions of each loaded model since it was loaded.
    private var used: [Int] = []
//<stateful>
    private var states: [MLState?] = []
//</stateful>

    /// Loads all stages from a folder.
    ///
    /// - Parameter reloadInterval: after how many predictions a stage is loaded
    ///   afresh. Some systems leak an IOSurface with each prediction that reaches
    ///   the Neural Engine, and the process ends after about 500 of them; what a
    ///   model has leaked is given back when the model goes.
    public init(folder: URL, reloadInterval: Int = 300) throws {
        self.folder = folder
        self.reloadInterval = max(1, reloadInterval)
        for index in Self.stages.indices {
            compiled.append(try compiledStage(index))
            models.append(try load(index))
            used.append(0)
//<stateful>
            states.append(Self.stages[index].stateful ? models[index].makeState() : nil)
//</stateful>
        }
    }

    /// The result of one chunk.
    public func prediction(from chunk: MLFeatureProvider) throws -> MLFeatureProvider {
        let results = try predictions(from: [chunk])
        guard let result = results.first else {
            throw Failure.feature(stage: "caller", name: Self.outputs.first ?? "")
        }
        return result
    }

    /// The results of all chunks, in order.
    ///
    /// Chunks go through a stage as a batch, because a batch allocates and
    /// releases its buffers once: single predictions are what leaks.
    public func predictions(from chunks: [MLFeatureProvider]) throws -> [MLFeatureProvider] {
        var results: [MLFeatureProvider] = []
        var start = 0
        while start < chunks.count {
            let end = min(start + reloadInterval, chunks.count)
            // Core ML's own temporary objects go at the end of each round.
            let round = try autoreleasepool { try run(Array(chunks[start..<end])) }
            results.append(contentsOf: round)
            start = end
        }
        return results
    }

//<stateful>
    /// Forgets what the stages keep: the next chunk is the first of a sequence.
    public func resetStates() throws {
        for index in Self.stages.indices where Self.stages[index].stateful {
            // Only here: a state belongs to the model that made it, so loading
            // the model afresh in the middle of a sequence would lose it.
            if used[index] >= reloadInterval {
                try reload(index)
            }
            states[index] = models[index].makeState()
        }
    }

//</stateful>
    private func run(_ chunks: [MLFeatureProvider]) throws -> [MLFeatureProvider] {
        // Every feature by name, for each chunk: first the caller's, then what
        // the stages give. A later stage replaces what an earlier one gave, so
        // that each stage sees the nearest before it.
        var features: [[String: MLFeatureValue]] = try chunks.map { chunk in
            try Self.pick(Self.inputs, for: "caller") { chunk.featureValue(for: $0) }
        }
        for (index, stage) in Self.stages.enumerated() {
            let inputs = try features.map { known in
                let own = try Self.pick(stage.inputs, for: stage.name) { known[$0] }
                return try MLDictionaryFeatureProvider(dictionary: own)
            }
            let outputs = try predict(index, inputs)
            for (chunk, output) in outputs.enumerated() {
                let given = try Self.pick(stage.outputs, for: stage.name) { output.featureValue(for: $0) }
                features[chunk].merge(given) { _, new in new }
            }
        }
        return try features.map { known in
            let wanted = try Self.pick(Self.outputs, for: "caller") { known[$0] }
            return try MLDictionaryFeatureProvider(dictionary: wanted)
        }
    }

    private func predict(_ index: Int, _ inputs: [MLFeatureProvider]) throws -> [MLFeatureProvider] {
//<stateful>
        // Core ML has no batches with a state, and the order matters.
        if let state = states[index] {
            used[index] += inputs.count
            return try inputs.map { try models[index].prediction(from: $0, using: state) }
        }
//</stateful>
        if used[index] + inputs.count > reloadInterval {
            try reload(index)
        }
        used[index] += inputs.count
        let batch = MLArrayBatchProvider(array: inputs)
        let results = try models[index].predictions(fromBatch: batch)
        return (0..<results.count).map { results.features(at: $0) }
    }

    private func reload(_ index: Int) throws {
        models[index] = try load(index)
        used[index] = 0
    }

    private func load(_ index: Int) throws -> MLModel {
        let configuration = MLModelConfiguration()
        configuration.computeUnits = Self.stages[index].computeUnits
        return try MLModel(contentsOf: compiled[index], configuration: configuration)
    }

    /// The compiled form of a stage: the one that Xcode put into the bundle, or
    /// one made now, in the temporary folder, once for this instance.
    private func compiledStage(_ index: Int) throws -> URL {
        let stage = Self.stages[index]
        let package = folder.appendingPathComponent(stage.package)
        let ready = package.deletingPathExtension().appendingPathExtension("mlmodelc")
        if FileManager.default.fileExists(atPath: ready.path) {
            return ready
        }
        guard FileManager.default.fileExists(atPath: package.path) else {
            throw Failure.missing(stage: stage.name, package: stage.package)
        }
        return try MLModel.compileModel(at: package)
    }

    private static func pick(
        _ names: [String],
        for stage: String,
        _ find: (String) -> MLFeatureValue?
    ) throws -> [String: MLFeatureValue] {
        var found: [String: MLFeatureValue] = [:]
        for name in names {
            guard let value = find(name) else {
                throw Failure.feature(stage: stage, name: name)
            }
            found[name] = value
        }
        return found
    }
}
