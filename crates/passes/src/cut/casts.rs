//! `cast` operations between what a program computes and what a feature holds.

use milwright_ir::{Arg, Constant, Op, OpId, Program, Value, ValueDef, ValueId, ValueType};

/// A name that no value has: `wish`, or `wish` with a number behind it.
pub(crate) fn free_name(program: &Program, wish: &str) -> String {
    let values = &program.values;
    let taken = |name: &str| values.ids().any(|v| values[v].name == name);
    let mut name = wish.to_owned();
    let mut counter = 0;
    while taken(&name) {
        counter += 1;
        name = format!("{wish}_{counter}");
    }
    name
}

/// Makes `to = cast(x = from)`, a constant called `parameter` for its `dtype`,
/// and returns both for the list of a block; nothing when `to` is no tensor.
pub(crate) fn add(
    program: &mut Program,
    from: ValueId,
    to: ValueId,
    parameter: String,
) -> Vec<OpId> {
    let dtype = match &program.values[to].ty {
        ValueType::Tensor(t) => t.dtype.name(),
        _ => return Vec::new(),
    };
    let constant = Constant::string(dtype);
    let value = program.values.push(Value {
        name: parameter.clone(),
        ty: constant.ty.clone(),
        def: ValueDef::Undefined,
    });
    let mut named = Op::new("const");
    named.attributes = vec![
        ("name".to_owned(), Constant::string(parameter)),
        ("val".to_owned(), constant),
    ];
    let mut cast = Op::new("cast");
    cast.inputs = vec![
        ("x".to_owned(), vec![Arg::Value(from)]),
        ("dtype".to_owned(), vec![Arg::Value(value)]),
    ];
    let name = program.values[to].name.clone();
    cast.attributes = vec![("name".to_owned(), Constant::string(name))];
    let mut define = |mut op: Op, output: ValueId| {
        op.outputs = vec![output];
        let id = program.ops.push(op);
        program.values[output].def = ValueDef::Op(id, 0);
        id
    };
    vec![define(named, value), define(cast, to)]
}
