//! A kernel's view of the operation that it executes.

use std::borrow::Cow;

use candle_core::DType;
use milwright_ir::ops::{Given, Opset};
use milwright_ir::{Arg, DataType, OpView, ParamError, ValueType};

use crate::error::KernelError;
use crate::lane::Scope;
use crate::precision::Precision;
use crate::value::{List, Tensor, Value};

/// What a kernel returns: a value per output of the operation.
pub(crate) type Outputs = Result<Vec<Value>, KernelError>;

/// A kernel: computes an operation's outputs from its parameters.
pub(crate) type Kernel = fn(&Call<'_>) -> Outputs;

/// An operation with its run-time arguments. Parameters that the program does
/// not give have the op table's default.
pub(crate) struct Call<'a> {
    /// The operation in the program.
    pub(crate) view: OpView<'a>,
    /// The opset of the function, where it is known; decides what an operation
    /// means when opsets differ.
    pub(crate) opset: Opset,
    /// How floats are held; [`Precision::storage`] is for results that are not
    /// made from a float operand.
    pub(crate) precision: Precision,
    /// Which execution of a random operation this is.
    pub(crate) draw: u64,
    pub(crate) scope: &'a Scope<'a>,
}

impl<'a> Call<'a> {
    /// Whether the program gives the parameter.
    pub(crate) fn is_given(&self, param: &str) -> bool {
        self.view.is_given(param)
    }

    /// A required tensor.
    ///
    /// # Errors
    /// It is missing or no tensor of numbers.
    pub(crate) fn tensor(&self, param: &str) -> Result<Tensor, KernelError> {
        self.opt_tensor(param)?.ok_or_else(|| {
            KernelError::Param(ParamError::Missing {
                param: param.to_owned(),
            })
        })
    }

    /// A tensor that need not be given.
    ///
    /// # Errors
    /// It is given and no tensor of numbers.
    pub(crate) fn opt_tensor(&self, param: &str) -> Result<Option<Tensor>, KernelError> {
        match self.opt_value(param)? {
            None => Ok(None),
            Some(value) => tensor_of(param, value).map(Some),
        }
    }

    /// The tensors of a parameter that takes several.
    ///
    /// # Errors
    /// There is none, or one is no tensor of numbers.
    pub(crate) fn tensors(&self, param: &str) -> Result<Vec<Tensor>, KernelError> {
        let args = self.view.op.args(param);
        if args.is_empty() {
            return Err(KernelError::Param(ParamError::Missing {
                param: param.to_owned(),
            }));
        }
        args.iter()
            .map(|arg| tensor_of(param, self.scope.arg(arg)?))
            .collect()
    }

    /// Any value that need not be given.
    ///
    /// # Errors
    /// It is given and cannot be read.
    pub(crate) fn opt_value(&self, param: &str) -> Result<Option<Value>, KernelError> {
        if let Some(arg) = self.view.arg(param) {
            return self.scope.arg(arg).map(Some);
        }
        match self.view.op.attribute(param) {
            Some(constant) => self.scope.constant(constant).map(Some),
            None => Ok(None),
        }
    }

    /// A list.
    ///
    /// # Errors
    /// The parameter is missing or something else.
    pub(crate) fn list(&self, param: &str) -> Result<List, KernelError> {
        match self.opt_value(param)? {
            Some(Value::List(list)) => Ok(list),
            Some(_) => Err(wrong(param, "a list", "another value".into())),
            None => Err(KernelError::Param(ParamError::Missing {
                param: param.to_owned(),
            })),
        }
    }

    /// Integers, from the program, from a tensor computed at run time, or the
    /// default; `None` when not given and without default.
    ///
    /// # Errors
    /// The parameter is no tensor of integers.
    pub(crate) fn ints(&self, param: &str) -> Result<Option<Vec<i64>>, KernelError> {
        match self.view.ints(param)? {
            Given::Known(v) => Ok(Some(v)),
            Given::Absent => Ok(None),
            Given::Runtime => {
                let t = self.tensor(param)?.data.flatten_all()?;
                match t.dtype() {
                    DType::U8 | DType::I32 | DType::I64 => {
                        Ok(Some(t.to_dtype(DType::I64)?.to_vec1()?))
                    }
                    other => Err(wrong(param, "integers", format!("{other:?}"))),
                }
            }
        }
    }

    /// The first integer of each argument of a parameter that takes several;
    /// `None` when one is something else, such as the name of a size.
    ///
    /// # Errors
    /// An argument cannot be read.
    pub(crate) fn each_int(&self, param: &str) -> Result<Option<Vec<i64>>, KernelError> {
        let first = |arg: &Arg| match self.view.arg_ints(arg) {
            Some(known) => Ok(known.first().copied()),
            None => match self.scope.arg(arg)? {
                Value::Tensor(t)
                    if matches!(t.data.dtype(), DType::U8 | DType::I32 | DType::I64) =>
                {
                    let all = t.data.flatten_all()?.to_dtype(DType::I64)?;
                    Ok(all.to_vec1()?.first().copied())
                }
                _ => Ok(None),
            },
        };
        self.view.op.args(param).iter().map(first).collect()
    }

    /// One integer.
    ///
    /// # Errors
    /// As [`Call::ints`], or there is not exactly one.
    pub(crate) fn int(&self, param: &str) -> Result<Option<i64>, KernelError> {
        one(param, self.ints(param)?)
    }

    /// Booleans, one a dimension as a rule; `None` when not given and without
    /// default.
    ///
    /// # Errors
    /// The parameter is no tensor of `bool`.
    pub(crate) fn bools(&self, param: &str) -> Result<Option<Vec<bool>>, KernelError> {
        match self.view.bools(param)? {
            Given::Known(v) => Ok(Some(v)),
            Given::Absent => Ok(None),
            Given::Runtime => Ok(self
                .ints(param)?
                .map(|v| v.into_iter().map(|x| x != 0).collect())),
        }
    }

    /// One boolean.
    ///
    /// # Errors
    /// As [`Call::bools`], or there is not exactly one.
    pub(crate) fn bool(&self, param: &str) -> Result<Option<bool>, KernelError> {
        one(param, self.bools(param)?)
    }

    /// Numbers of any type, as `f64`; floats are rounded as the precision says.
    ///
    /// # Errors
    /// The parameter is no tensor of numbers.
    pub(crate) fn floats(&self, param: &str) -> Result<Option<Vec<f64>>, KernelError> {
        match self.view.floats(param)? {
            Given::Known(mut v) => {
                let ty = self.view.constant(param).and_then(|c| c.tensor_type());
                if ty.is_none_or(|ty| ty.dtype.is_float()) {
                    for value in &mut v {
                        *value = self.precision.parameter(*value);
                    }
                }
                Ok(Some(v))
            }
            Given::Absent => Ok(None),
            Given::Runtime => {
                let t = self.tensor(param)?.data.flatten_all()?;
                Ok(Some(t.to_dtype(DType::F64)?.to_vec1()?))
            }
        }
    }

    /// One number.
    ///
    /// # Errors
    /// As [`Call::floats`], or there is not exactly one.
    pub(crate) fn float(&self, param: &str) -> Result<Option<f64>, KernelError> {
        one(param, self.floats(param)?)
    }

    /// A string; `None` when not given and without default.
    ///
    /// # Errors
    /// The parameter is no string.
    pub(crate) fn string(&self, param: &str) -> Result<Option<Cow<'a, str>>, KernelError> {
        if let Some(s) = self.view.constant(param).and_then(|c| c.as_str()) {
            return Ok(Some(s.into()));
        }
        match self.view.string(param)? {
            Given::Known(s) => Ok(Some(s.into())),
            Given::Absent => Ok(None),
            Given::Runtime => match self.opt_value(param)? {
                Some(Value::Strings(mut s)) if s.len() == 1 => Ok(s.pop().map(Cow::Owned)),
                _ => Err(wrong(param, "one string", "another value".into())),
            },
        }
    }

    /// Element type that the program declares for output `index`.
    ///
    /// # Errors
    /// There is no such output or it is no tensor.
    pub(crate) fn output_dtype(&self, index: usize) -> Result<DataType, KernelError> {
        let id = self.view.op.outputs.get(index);
        match id.map(|&id| &self.view.program.values[id].ty) {
            Some(ValueType::Tensor(t)) => Ok(t.dtype),
            _ => Err(KernelError::mismatch(format!(
                "output {index} is not declared as a tensor"
            ))),
        }
    }

    /// A tensor for output `index`, of the element type that the program
    /// declares for it.
    ///
    /// # Errors
    /// `data` is not held as that type is.
    pub(crate) fn output(
        &self,
        index: usize,
        data: candle_core::Tensor,
    ) -> Result<Value, KernelError> {
        Tensor::new(self.output_dtype(index)?, data).map(Value::Tensor)
    }

    /// The outputs of an operation that has one.
    ///
    /// # Errors
    /// As [`Call::output`].
    pub(crate) fn one(&self, data: candle_core::Tensor) -> Outputs {
        Ok(vec![self.output(0, data)?])
    }
}

fn tensor_of(param: &str, value: Value) -> Result<Tensor, KernelError> {
    match value {
        Value::Tensor(t) => Ok(t),
        Value::Strings(_) => Err(wrong(param, "a tensor of numbers", "strings".into())),
        Value::List(_) => Err(wrong(param, "a tensor of numbers", "a list".into())),
        Value::Dict(_) => Err(wrong(param, "a tensor of numbers", "a dictionary".into())),
        Value::State(_) => Err(wrong(param, "a tensor of numbers", "a state".into())),
    }
}

fn wrong(param: &str, wanted: &str, found: String) -> KernelError {
    KernelError::Param(ParamError::Type {
        param: param.to_owned(),
        wanted: wanted.to_owned(),
        found,
    })
}

fn one<T>(param: &str, items: Option<Vec<T>>) -> Result<Option<T>, KernelError> {
    match items {
        None => Ok(None),
        Some(mut items) => match (items.pop(), items.len()) {
            (Some(item), 0) => Ok(Some(item)),
            (_, rest) => Err(KernelError::param(
                param,
                format!("expected one element, found {}", rest + 1),
            )),
        },
    }
}
