//! Values inside of a function become outputs.

use std::collections::HashSet;

use milwright_ir::features::Description;
use milwright_ir::{DataType, Function, Model, TensorType, Value, ValueDef, ValueId, ValueType};
use serde::Serialize;

use super::features::Features;
use super::{Edited, Error};
use crate::cut::{Graph, SeamTypes, casts, find_computed, io_type};
use crate::hint::Patterns;

/// A value that became an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExposedValue {
    /// The value.
    pub value: String,
    /// Its type in the program, as `fp32[1,?]`.
    #[serde(rename = "type")]
    pub ty: String,
    /// The output: the value itself, or what it is cast to.
    pub output: String,
    /// The type of the output's elements.
    pub output_dtype: String,
}

/// A model with more outputs.
#[derive(Debug)]
pub struct Exposed {
    /// The model.
    pub edited: Edited,
    /// The new outputs, in order.
    pub values: Vec<ExposedValue>,
    /// What patterns matched and cannot be an output, and why.
    pub skipped: Vec<(String, String)>,
}

/// Makes values outputs of a function: those of the given names, and those of
/// the operations that patterns match. Outputs have the types of their values;
/// truth values and small integers are cast to `int32`, and fp16 to fp32 before
/// specification version 7, which loses nothing.
///
/// # Errors
/// A name is no value that can be an output: it does not exist, is constant, is
/// computed inside of a nested block, or has a type or a shape that no feature
/// can have. Of what patterns match, such values are skipped; that nothing is
/// left is an error.
pub fn expose(
    model: &Model,
    function: &Function,
    names: &[String],
    patterns: Option<&Patterns>,
) -> Result<Exposed, Error> {
    let graph = Graph::new(model.program(), function)?;
    let mut description = model.spec().description()?;
    let signature = Description::from_proto(&description);
    let signature = signature.signature(&function.name);
    let types = SeamTypes::new(model.program(), function, model, signature)?;
    let version = model.spec().version();
    let outputs = &model.program().blocks[graph.body].outputs;

    let mut wanted: Vec<ValueId> = Vec::new();
    let mut skipped = Vec::new();
    for name in names {
        let refused = |why: &str| Error::Refused {
            name: name.clone(),
            why: why.to_owned(),
        };
        let is = |v: &&ValueId| graph.name(**v) == name;
        if function.inputs.iter().any(|v| is(&v)) {
            return Err(refused("it is an input of the function"));
        }
        if outputs.iter().any(|v| is(&v)) {
            return Err(refused("it is an output already"));
        }
        let value = find_computed(&graph, name)?;
        types.feature(value, name, version)?;
        if !wanted.contains(&value) {
            wanted.push(value);
        }
    }
    // Other functions have operations of that type too.
    let own: HashSet<ValueId> = model.program().values_of(function).into_iter().collect();
    for op in patterns.map_or(Ok(Vec::new()), |p| p.select(model.program()))? {
        for &value in &model.program().ops[op].outputs {
            if !own.contains(&value) || outputs.contains(&value) || wanted.contains(&value) {
                continue;
            }
            let name = graph.name(value);
            let possible = match find_computed(&graph, name) {
                Ok(found) if found == value => types.feature(value, name, version).map(|_| ()),
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            match possible {
                Ok(()) => wanted.push(value),
                Err(error) => skipped.push((name.to_owned(), error.to_string())),
            }
        }
    }
    if wanted.is_empty() {
        let why = match skipped.first() {
            Some((_, why)) => format!("none of the values can be an output: {why}"),
            None => "nothing new would be an output".to_owned(),
        };
        return Err(Error::Model(why));
    }

    let mut program = model.program().clone();
    let mut values = Vec::new();
    for value in wanted {
        let name = graph.name(value).to_owned();
        let Some(inside) = program.values[value].ty.as_tensor().cloned() else {
            continue;
        };
        let outside = io_type(inside.dtype, version).unwrap_or(inside.dtype);
        let output = if outside == inside.dtype {
            value
        } else {
            let feature = casts::free_name(&program, &format!("{name}_{outside}"));
            let parameter = casts::free_name(&program, &format!("{feature}_dtype"));
            let cast = program.values.push(Value {
                name: feature,
                ty: ValueType::Tensor(TensorType::new(outside, inside.shape.clone())),
                def: ValueDef::Undefined,
            });
            let ops = casts::add(&mut program, value, cast, parameter);
            program.block_mut(graph.body)?.ops.extend(ops);
            cast
        };
        program.block_mut(graph.body)?.outputs.push(output);
        let output = program.values[output].name.clone();
        let feature = types.feature(value, &output, version)?;
        let Some(features) = Features::of(&mut description, &function.name) else {
            return Err(Error::Model(format!(
                "the description does not list function `{}`",
                function.name
            )));
        };
        features.output.push(feature);
        values.push(ExposedValue {
            value: name,
            ty: inside.brief(),
            output,
            output_dtype: DataType::name(outside).to_owned(),
        });
    }
    Ok(Exposed {
        edited: Edited::new(model, program, &description)?,
        values,
        skipped,
    })
}
