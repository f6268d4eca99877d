//! Weights that change their layout: constants when the pass runs, compressed
//! ones when the program does.

use half::f16;
use milwright_ir::{BlobSource, ConstData, Constant, DataType, TensorType, ValueId};

use crate::error::Error;
use crate::replacement::{Part, Replacement};

/// A constant tensor on its way to another layout.
#[derive(Clone, Debug)]
pub(super) struct Weight {
    pub(super) dtype: DataType,
    pub(super) shape: Vec<u64>,
    data: Data,
}

#[derive(Clone, Debug)]
enum Data {
    /// As in the file: the elements and their order are still the same.
    Kept(ConstData),
    /// Rearranged elements.
    Made(Vec<u8>),
    /// The result of a `constexpr` operation, or of one that rearranges it.
    /// Decompressing it here would make the file larger.
    Computed(ValueId),
}

impl Weight {
    /// A constant of the program.
    pub(super) fn of(constant: &Constant, shape: Vec<u64>) -> Self {
        Self {
            dtype: constant.tensor_type().map_or(DataType::Float32, |t| t.dtype),
            shape,
            data: Data::Kept(constant.data.clone()),
        }
    }

    /// A compressed constant.
    pub(super) fn computed(value: ValueId, dtype: DataType, shape: Vec<u64>) -> Self {
        Self {
            dtype,
            shape,
            data: Data::Computed(value),
        }
    }

    /// From half to single precision, which changes no value.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn widened(&self, blobs: &dyn BlobSource) -> Result<Self, String> {
        let bytes = self.bytes(blobs).map_err(|e| e.to_string())?;
        let halves = bytes.as_chunks::<2>().0.iter();
        let wide = halves.flat_map(|b| f16::from_le_bytes(*b).to_f32().to_le_bytes());
        Ok(Self {
            dtype: DataType::Float32,
            shape: self.shape.clone(),
            data: Data::Made(wide.collect()),
        })
    }

    fn bytes(&self, blobs: &dyn BlobSource) -> Result<Vec<u8>, milwright_ir::ConstError> {
        match &self.data {
            Data::Made(bytes) => Ok(bytes.clone()),
            Data::Kept(data) => {
                let constant = Constant::new(self.ty(), data.clone());
                Ok(constant.bytes(blobs)?.into_owned())
            }
            Data::Computed(_) => Ok(Vec::new()),
        }
    }

    fn ty(&self) -> TensorType {
        TensorType::fixed(self.dtype, &self.shape)
    }

    /// What became of it, for people.
    pub(super) fn fate(&self) -> &'static str {
        match self.data {
            Data::Kept(_) => "same bytes",
            Data::Made(_) => "rearranged",
            Data::Computed(_) => "compressed as before, rearranged when the program runs",
        }
    }

    /// The same elements with another shape.
    pub(super) fn reshape(
        mut self,
        r: &mut Replacement<'_, '_>,
        shape: &[u64],
    ) -> Result<Self, Error> {
        if let Data::Computed(value) = self.data {
            let sizes: Vec<Option<u64>> = shape.iter().map(|&d| Some(d)).collect();
            self.data = Data::Computed(r.reshape(value, &sizes)?);
        }
        self.shape = shape.to_vec();
        Ok(self)
    }

    /// Its dimensions in another order.
    pub(super) fn transpose(
        mut self,
        r: &mut Replacement<'_, '_>,
        perm: &[usize],
    ) -> Result<Self, Error> {
        // Dimensions of one element may go anywhere.
        let moved = |w: &Self| {
            let long = perm.iter().filter(|&&p| w.shape[p] > 1);
            long.clone().is_sorted()
        };
        let shape: Vec<u64> = perm.iter().map(|&p| self.shape[p]).collect();
        if moved(&self) {
            return self.reshape(r, &shape);
        }
        self.data = match self.data {
            Data::Computed(value) => Data::Computed(r.transpose(value, perm)?),
            _ => {
                let bytes = self.read(r)?;
                Data::Made(permuted(&bytes, &self.shape, perm, self.width()))
            }
        };
        self.shape = shape;
        Ok(self)
    }

    /// A range of one dimension.
    pub(super) fn slice(
        mut self,
        r: &mut Replacement<'_, '_>,
        axis: usize,
        from: u64,
        to: u64,
    ) -> Result<Self, Error> {
        if (from, to) == (0, self.shape[axis]) {
            return Ok(self);
        }
        self.data = match self.data {
            Data::Computed(value) => {
                let mut parts = vec![Part::All; self.shape.len()];
                parts[axis] = Part::Range(from, to);
                Data::Computed(r.slice(value, &parts)?)
            }
            _ => {
                let bytes = self.read(r)?;
                let inner = self.inner(axis);
                let row = self.shape[axis] as usize * inner;
                let part = from as usize * inner..to as usize * inner;
                let rows = bytes.chunks_exact(row.max(1));
                Data::Made(rows.flat_map(|row| &row[part.clone()]).copied().collect())
            }
        };
        self.shape[axis] = to - from;
        Ok(self)
    }

    /// Zeros behind one dimension, up to `size` elements.
    pub(super) fn pad_to(
        mut self,
        r: &mut Replacement<'_, '_>,
        axis: usize,
        size: u64,
    ) -> Result<Self, Error> {
        let more = size - self.shape[axis];
        if more == 0 {
            return Ok(self);
        }
        self.data = match self.data {
            Data::Computed(value) => {
                let mut amounts = vec![(0, 0); self.shape.len()];
                amounts[axis].1 = more;
                Data::Computed(r.pad(value, &amounts)?)
            }
            _ => {
                let bytes = self.read(r)?;
                let inner = self.inner(axis);
                let row = self.shape[axis] as usize * inner;
                let mut padded = Vec::with_capacity(bytes.len() / row.max(1) * size as usize * inner);
                for row in bytes.chunks_exact(row.max(1)) {
                    padded.extend_from_slice(row);
                    padded.resize(padded.len() + more as usize * inner, 0);
                }
                Data::Made(padded)
            }
        };
        self.shape[axis] = size;
        Ok(self)
    }

    /// Adds it to the program.
    pub(super) fn value(self, r: &mut Replacement<'_, '_>, hint: &str) -> Result<ValueId, Error> {
        let ty = self.ty();
        match self.data {
            Data::Kept(data) => r.constant(hint, Constant::new(ty, data)),
            Data::Made(bytes) => r.tensor_of(hint, ty, bytes),
            Data::Computed(value) => Ok(value),
        }
    }

    fn read(&self, r: &Replacement<'_, '_>) -> Result<Vec<u8>, Error> {
        self.bytes(r.rewriter().blobs()).map_err(|cause| {
            Error::Ir(milwright_ir::Error::Const {
                location: r.location(),
                cause,
            })
        })
    }

    fn width(&self) -> usize {
        self.dtype.byte_len(1).unwrap_or(1) as usize
    }

    /// Bytes of everything behind one position of a dimension.
    fn inner(&self, axis: usize) -> usize {
        self.shape[axis + 1..].iter().product::<u64>() as usize * self.width()
    }
}

/// The elements in the order of the permuted dimensions.
fn permuted(bytes: &[u8], shape: &[u64], perm: &[usize], width: usize) -> Vec<u8> {
    let mut steps = vec![width; shape.len()];
    for i in (1..shape.len()).rev() {
        steps[i - 1] = steps[i] * shape[i] as usize;
    }
    let sizes: Vec<usize> = perm.iter().map(|&p| shape[p] as usize).collect();
    let steps: Vec<usize> = perm.iter().map(|&p| steps[p]).collect();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = vec![0; sizes.len()];
    let mut at = 0;
    for _ in 0..bytes.len() / width.max(1) {
        out.extend_from_slice(&bytes[at..at + width]);
        for d in (0..sizes.len()).rev() {
            index[d] += 1;
            at += steps[d];
            if index[d] < sizes[d] {
                break;
            }
            at -= steps[d] * sizes[d];
            index[d] = 0;
        }
    }
    out
}
