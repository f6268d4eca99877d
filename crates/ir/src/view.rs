//! An operation seen through its op-table entry: parameters by name, with
//! constants resolved and defaults applied.

use crate::arena::{OpId, ValueId};
use crate::constant::{BlobSource, ConstError, Constant};
use crate::ops::{Default, Param, Presence};
use crate::program::{Arg, Op, Program};
use crate::sizes::Sizes;
use crate::types::{DataType, Dim, TensorType, ValueType};

/// What is wrong with a parameter of an operation.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ParamError {
    /// A required parameter is not given.
    #[error("parameter `{param}` is missing")]
    Missing {
        /// Its name.
        param: String,
    },
    /// The parameter has another type than the operation takes.
    #[error("parameter `{param}` must be {wanted}, found {found}")]
    Type {
        /// Its name.
        param: String,
        /// What the operation takes.
        wanted: String,
        /// What is given.
        found: String,
    },
    /// The value is outside of what the operation takes.
    #[error("parameter `{param}`: {problem}")]
    Value {
        /// Its name.
        param: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The operands do not go together.
    #[error("{0}")]
    Mismatch(String),
    /// Its constant could not be read.
    #[error("parameter `{param}`: {cause}")]
    Const {
        /// Its name.
        param: String,
        /// Why.
        cause: ConstError,
    },
}

impl ParamError {
    /// [`ParamError::Value`] of `param`.
    pub fn value(param: &str, problem: impl Into<String>) -> Self {
        Self::Value {
            param: param.to_owned(),
            problem: problem.into(),
        }
    }
}

/// How a parameter is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Given<T> {
    /// Not given, and the op table has no default.
    Absent,
    /// Given as a value that is known only when the program runs.
    Runtime,
    /// Known from the file or the op table.
    Known(T),
}

impl<T> Given<T> {
    /// The known value.
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Runtime => None,
        }
    }

    /// The known value, `absent` if it is not given; `None` at run time only.
    pub fn known_or(self, absent: T) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent => Some(absent),
            Self::Runtime => None,
        }
    }
}

/// An operation of a program, with its parameters.
#[derive(Clone, Copy)]
pub struct OpView<'p> {
    /// The program it is part of.
    pub program: &'p Program,
    /// Its id.
    pub id: OpId,
    /// The operation.
    pub op: &'p Op,
    blobs: &'p dyn BlobSource,
    sizes: Option<&'p Sizes>,
}

impl<'p> OpView<'p> {
    /// A view of operation `id`; constants in weight files come from `blobs`.
    pub fn new(program: &'p Program, id: OpId, blobs: &'p dyn BlobSource) -> Self {
        Self {
            program,
            id,
            op: &program.ops[id],
            blobs,
            sizes: None,
        }
    }

    /// The same with the types, and the integers computed from sizes, that
    /// values have at given input shapes, in place of what the file declares.
    #[must_use]
    pub fn with_sizes(self, sizes: &'p Sizes) -> Self {
        Self {
            sizes: Some(sizes),
            ..self
        }
    }

    /// The type of a value.
    pub fn value_type(&self, id: ValueId) -> &'p ValueType {
        match self.sizes {
            Some(sizes) => sizes.ty(id),
            None => &self.program.values[id].ty,
        }
    }

    /// The type of an argument.
    pub fn arg_type(&self, arg: &'p Arg) -> &'p ValueType {
        match arg {
            Arg::Const(constant) => &constant.ty,
            Arg::Value(id) => self.value_type(*id),
        }
    }

    /// Where constants in weight files come from.
    pub fn blobs(&self) -> &'p dyn BlobSource {
        self.blobs
    }

    /// Whether the file gives the parameter.
    pub fn is_given(&self, param: &str) -> bool {
        !self.op.args(param).is_empty() || self.op.attribute(param).is_some()
    }

    /// The type of a parameter's only argument.
    pub fn ty(&self, param: &str) -> Option<&'p ValueType> {
        match self.op.args(param).first() {
            Some(arg) => Some(self.arg_type(arg)),
            None => self.op.attribute(param).map(|c| &c.ty),
        }
    }

    /// The types of all arguments of a parameter.
    pub fn types(&self, param: &str) -> Vec<&'p ValueType> {
        let args = self.op.args(param);
        if args.is_empty() {
            return self.ty(param).into_iter().collect();
        }
        args.iter().map(|a| self.arg_type(a)).collect()
    }

    /// The tensor type of a required parameter.
    ///
    /// # Errors
    /// It is missing or no tensor.
    pub fn tensor(&self, param: &str) -> Result<&'p TensorType, ParamError> {
        self.opt_tensor(param)?.ok_or_else(|| missing(param))
    }

    /// The tensor type of an optional parameter.
    ///
    /// # Errors
    /// It is given and no tensor.
    pub fn opt_tensor(&self, param: &str) -> Result<Option<&'p TensorType>, ParamError> {
        match self.ty(param) {
            None => Ok(None),
            Some(ValueType::Tensor(t)) => Ok(Some(t)),
            Some(other) => Err(ParamError::Type {
                param: param.to_owned(),
                wanted: "a tensor".into(),
                found: other.to_string(),
            }),
        }
    }

    /// The tensor types of a parameter that takes several arguments.
    ///
    /// # Errors
    /// There is none, or one is no tensor.
    pub fn tensors(&self, param: &str) -> Result<Vec<&'p TensorType>, ParamError> {
        let types = self.types(param);
        if types.is_empty() {
            return Err(missing(param));
        }
        types
            .into_iter()
            .map(|ty| {
                ty.as_tensor().ok_or_else(|| ParamError::Type {
                    param: param.to_owned(),
                    wanted: "tensors".into(),
                    found: ty.to_string(),
                })
            })
            .collect()
    }

    /// The constant that a parameter is, refers to, or has as an attribute.
    pub fn constant(&self, param: &str) -> Option<&'p Constant> {
        match self.op.args(param) {
            [] => self.op.attribute(param),
            [arg] => self.program.const_arg(arg),
            _ => None,
        }
    }

    /// The argument of a parameter that takes one.
    pub fn arg(&self, param: &str) -> Option<&'p Arg> {
        self.op.args(param).first()
    }

    /// Integers (of any width) of a parameter; a scalar is one integer.
    ///
    /// # Errors
    /// The constant is of another type or cannot be read.
    pub fn ints(&self, param: &str) -> Result<Given<Vec<i64>>, ParamError> {
        self.given(
            param,
            |c| c.to_i64s(self.blobs),
            |d| match d {
                Default::Int(v) => Some(vec![*v]),
                Default::Ints(v) => Some(v.to_vec()),
                _ => None,
            },
        )
    }

    /// One integer.
    ///
    /// # Errors
    /// As [`OpView::ints`], or there is not exactly one element.
    pub fn int(&self, param: &str) -> Result<Given<i64>, ParamError> {
        one(param, self.ints(param)?)
    }

    /// Booleans of a parameter; a scalar is one.
    ///
    /// # Errors
    /// The constant is of another type or cannot be read.
    pub fn bools(&self, param: &str) -> Result<Given<Vec<bool>>, ParamError> {
        self.given(
            param,
            |c| c.to_bools(self.blobs),
            |d| match d {
                Default::Bool(v) => Some(vec![*v]),
                _ => None,
            },
        )
    }

    /// One boolean.
    ///
    /// # Errors
    /// As [`OpView::bools`], or there is not exactly one element.
    pub fn bool(&self, param: &str) -> Result<Given<bool>, ParamError> {
        one(param, self.bools(param)?)
    }

    /// Numbers of any float or integer type, as `f64`.
    ///
    /// # Errors
    /// The constant is of another type or cannot be read.
    pub fn floats(&self, param: &str) -> Result<Given<Vec<f64>>, ParamError> {
        self.given(
            param,
            |c| c.to_f64s(self.blobs),
            |d| match d {
                Default::Float(v) => Some(vec![*v]),
                Default::Int(v) => Some(vec![*v as f64]),
                _ => None,
            },
        )
    }

    /// One number.
    ///
    /// # Errors
    /// As [`OpView::floats`], or there is not exactly one element.
    pub fn float(&self, param: &str) -> Result<Given<f64>, ParamError> {
        one(param, self.floats(param)?)
    }

    /// A string.
    ///
    /// # Errors
    /// The constant is no string.
    pub fn string(&self, param: &str) -> Result<Given<String>, ParamError> {
        self.given(
            param,
            |c| match c.as_str() {
                Some(s) => Ok(s.to_owned()),
                None => Err(ConstError::Kind {
                    wanted: "a string",
                    ty: c.ty.to_string(),
                }),
            },
            |d| match d {
                Default::Str(v) => Some((*v).to_owned()),
                _ => None,
            },
        )
    }

    /// The element type that a string parameter such as `dtype` names.
    ///
    /// # Errors
    /// It is no string, or names no element type.
    pub fn dtype(&self, param: &str) -> Result<Given<DataType>, ParamError> {
        Ok(match self.string(param)? {
            Given::Known(name) => Given::Known(DataType::from_name(&name).ok_or_else(|| {
                ParamError::value(param, format!("{name:?} names no element type"))
            })?),
            Given::Absent => Given::Absent,
            Given::Runtime => Given::Runtime,
        })
    }

    /// The number of elements of a one-dimensional parameter, if it is fixed;
    /// a scalar counts as one.
    pub fn len(&self, param: &str) -> Option<u64> {
        let ty = self.ty(param)?.as_tensor()?;
        match ty.shape.as_slice() {
            [] => Some(1),
            [Dim::Known(n)] => Some(*n),
            _ => None,
        }
    }

    /// One integer (or boolean, as 0 or 1) from each argument of a parameter.
    ///
    /// # Errors
    /// An argument is no constant of one such element.
    pub fn each_int(&self, param: &str) -> Result<Vec<i64>, ParamError> {
        let args = self.op.args(param).iter();
        args.map(|arg| match self.arg_ints(arg).as_deref() {
            Some([one]) => Ok(*one),
            _ => Err(ParamError::value(
                param,
                "every argument must be one constant integer or boolean",
            )),
        })
        .collect()
    }

    /// The integers of an argument, if it is a constant of such.
    pub fn arg_ints(&self, arg: &Arg) -> Option<Vec<i64>> {
        let constant = self.program.const_arg(arg);
        let constant = constant.or_else(|| self.computed(arg))?;
        constant.to_i64s(self.blobs).ok()
    }

    /// What [`Sizes`] computed of an argument.
    fn computed<'a>(&'a self, arg: &Arg) -> Option<&'a Constant> {
        match arg {
            Arg::Value(id) => self.sizes?.constant(*id),
            Arg::Const(_) => None,
        }
    }

    /// The op table's entry for a parameter.
    pub fn param(&self, name: &str) -> Option<&'static Param> {
        self.op.def?.params.iter().find(|p| p.name == name)
    }

    fn given<T>(
        &self,
        param: &str,
        read: impl Fn(&Constant) -> Result<T, ConstError>,
        default: impl Fn(&'static Default) -> Option<T>,
    ) -> Result<Given<T>, ParamError> {
        let computed = || match self.op.args(param) {
            [arg] => self.computed(arg),
            _ => None,
        };
        if let Some(constant) = self.constant(param).or_else(computed) {
            return read(constant)
                .map(Given::Known)
                .map_err(|cause| ParamError::Const {
                    param: param.to_owned(),
                    cause,
                });
        }
        if self.is_given(param) {
            return Ok(Given::Runtime);
        }
        Ok(match self.param(param).map(|p| &p.presence) {
            Some(Presence::Default(d)) => default(d).map_or(Given::Absent, Given::Known),
            _ => Given::Absent,
        })
    }
}

fn missing(param: &str) -> ParamError {
    ParamError::Missing {
        param: param.to_owned(),
    }
}

fn one<T>(param: &str, given: Given<Vec<T>>) -> Result<Given<T>, ParamError> {
    Ok(match given {
        Given::Known(mut items) => match (items.pop(), items.len()) {
            (Some(item), 0) => Given::Known(item),
            (last, rest) => {
                let found = rest + usize::from(last.is_some());
                return Err(ParamError::value(
                    param,
                    format!("expected one element, found {found}"),
                ));
            }
        },
        Given::Absent => Given::Absent,
        Given::Runtime => Given::Runtime,
    })
}
