//! Matrix products: `out = a * b`, many at a time, over strided operands.
//!
//! `a` is read in place, row by row; `b` is packed into panels of a few
//! vectors of columns, block by block, so that whatever can fill a panel (a
//! strided matrix, the windows of a convolution) is an operand without having
//! to exist in memory. Of two matrices the one that is re-used more should be
//! `a`; a product may be written transposed, so the caller can choose.
//!
//! Every element of the result is a sum over `k` in one fixed order, whatever
//! the number of threads.

use std::cell::RefCell;
use std::ops::Range;

use super::float::Float;
use super::parallel;

/// Rows of `a` that a micro kernel takes at once.
pub(crate) const ROWS: usize = 8;

/// Columns of the widest panel: three of the widest vectors.
const PANEL: usize = 48;

/// Columns of the narrowest panel; others are multiples of it.
const UNIT: usize = 16;

/// Columns of `b` that are packed together.
const BLOCK_COLS: usize = 10 * PANEL;

/// Elements of `b` that are packed together: half of a second-level cache.
const BLOCK: usize = 1 << 18;

/// Elements of `b` that are packed once for all tasks, if they are no more.
const SHARED: usize = 1 << 21;

/// Multiply-adds below which one thread is faster.
const SERIAL: usize = 1 << 17;

/// What products need of a float type beside arithmetic.
pub(crate) trait Factor: Float {
    /// Adds nothing up: writes to `out[i * WIDTH + j]` the sum over `p` of
    /// `a[i][p] * b[p * WIDTH + j]`.
    fn tile<S: pulp::Simd, const WIDTH: usize>(
        simd: S,
        a: [&[Self]; ROWS],
        b: &[Self],
        out: &mut [Self; ROWS * PANEL],
    );

    /// The thread's buffer for packed panels; put back by swapping again.
    fn swap_buffer(buffer: &mut Vec<Self>);

    /// Does the work with the vectors of this CPU, if models compute in this
    /// type.
    fn dispatch(work: impl pulp::WithSimd<Output = ()>);
}

impl Factor for f32 {
    #[inline(always)]
    fn tile<S: pulp::Simd, const WIDTH: usize>(
        simd: S,
        a: [&[f32]; ROWS],
        b: &[f32],
        out: &mut [f32; ROWS * PANEL],
    ) {
        // As many sums as fit in the vector registers, with a row of `b`.
        match (S::F32_LANES, WIDTH) {
            (16, 48) => rows::<S, 8, 3, WIDTH>(simd, a, b, 0, out),
            (16, 32) => rows::<S, 8, 2, WIDTH>(simd, a, b, 0, out),
            (16, _) => rows::<S, 8, 1, WIDTH>(simd, a, b, 0, out),
            (8, 48) => {
                rows::<S, 4, 3, WIDTH>(simd, a, b, 0, out);
                rows::<S, 4, 3, WIDTH>(simd, a, b, 24, out);
            }
            (8, 32) => {
                rows::<S, 4, 2, WIDTH>(simd, a, b, 0, out);
                rows::<S, 4, 2, WIDTH>(simd, a, b, 16, out);
            }
            (8, _) => rows::<S, 4, 2, WIDTH>(simd, a, b, 0, out),
            (4, _) => {
                for col in (0..WIDTH).step_by(8) {
                    rows::<S, 4, 2, WIDTH>(simd, a, b, col, out);
                }
            }
            _ => plain::<f32, WIDTH>(a, b, out),
        }
    }

    fn swap_buffer(buffer: &mut Vec<f32>) {
        thread_local!(static BUFFER: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) });
        BUFFER.with_borrow_mut(|own| std::mem::swap(own, buffer));
    }

    fn dispatch(work: impl pulp::WithSimd<Output = ()>) {
        pulp::Arch::new().dispatch(work);
    }
}

impl Factor for f64 {
    #[inline(always)]
    fn tile<S: pulp::Simd, const WIDTH: usize>(
        _simd: S,
        a: [&[f64]; ROWS],
        b: &[f64],
        out: &mut [f64; ROWS * PANEL],
    ) {
        plain::<f64, WIDTH>(a, b, out);
    }

    fn swap_buffer(buffer: &mut Vec<f64>) {
        thread_local!(static BUFFER: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) });
        BUFFER.with_borrow_mut(|own| std::mem::swap(own, buffer));
    }

    fn dispatch(work: impl pulp::WithSimd<Output = ()>) {
        work.with_simd(pulp::Scalar::new());
    }
}

/// The micro kernel: for all rows, `MR` at a time, the columns from `col` on,
/// `NV` vectors of them.
#[inline(always)]
fn rows<S: pulp::Simd, const MR: usize, const NV: usize, const WIDTH: usize>(
    simd: S,
    a: [&[f32]; ROWS],
    b: &[f32],
    col: usize,
    out: &mut [f32; ROWS * PANEL],
) {
    let b = b.as_chunks::<WIDTH>().0;
    let k = b.len();
    let lanes = S::F32_LANES;
    for top in (0..ROWS).step_by(MR) {
        let a: [&[f32]; MR] = std::array::from_fn(|i| &a[top + i][..k]);
        let mut sums = [[simd.splat_f32s(0.0); NV]; MR];
        for (p, b) in b.iter().enumerate() {
            let b = S::as_simd_f32s(&b[col..col + NV * lanes]).0;
            for (sums, a) in sums.iter_mut().zip(&a) {
                let x = simd.splat_f32s(a[p]);
                for (sum, &y) in sums.iter_mut().zip(b) {
                    *sum = simd.mul_add_e_f32s(x, y, *sum);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            let at = (top + i) * WIDTH + col;
            let out = S::as_mut_simd_f32s(&mut out[at..at + NV * lanes]).0;
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = *sum;
            }
        }
    }
}

/// The micro kernel without vectors of a fixed type.
#[inline(always)]
fn plain<T: Factor, const WIDTH: usize>(a: [&[T]; ROWS], b: &[T], out: &mut [T; ROWS * PANEL]) {
    out.fill(T::ZERO);
    for (p, b) in b.as_chunks::<WIDTH>().0.iter().enumerate() {
        for (out, a) in out.chunks_exact_mut(WIDTH).zip(&a) {
            let x = a[p];
            for (out, &y) in out.iter_mut().zip(b) {
                *out += x * y;
            }
        }
    }
}

/// A matrix that is packed on the way: `k` rows and `n` columns.
pub(crate) trait Panels<T>: Sync {
    /// Writes columns `cols` of the rows `rows` to `out`, `width` to a row;
    /// columns past `cols` stay as they are.
    fn pack(&self, rows: Range<usize>, cols: Range<usize>, width: usize, out: &mut [T]);
}

/// A matrix in memory: element (p, j) is `data[p * row + j * col]`.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) row: usize,
    pub(crate) col: usize,
}

impl<T: Factor> Panels<T> for Strided<'_, T> {
    #[inline(always)]
    fn pack(&self, rows: Range<usize>, cols: Range<usize>, width: usize, out: &mut [T]) {
        if rows.is_empty() {
            // There may be no data, not even of length 0 at the places below.
            return;
        }
        let count = cols.len();
        if self.col == 1 {
            for (p, out) in rows.zip(out.chunks_exact_mut(width)) {
                let at = p * self.row + cols.start;
                out[..count].copy_from_slice(&self.data[at..at + count]);
            }
        } else if self.row == 1 {
            // Part by part, so that what is written stays in the first cache.
            const PART: usize = 64;
            let parts = rows.step_by(PART).zip(out.chunks_mut(PART * width));
            for (first, out) in parts {
                let part = out.len() / width;
                for (c, j) in cols.clone().enumerate() {
                    let column = &self.data[j * self.col + first..][..part];
                    for (out, &x) in out[c..].iter_mut().step_by(width).zip(column) {
                        *out = x;
                    }
                }
            }
        } else {
            for (p, out) in rows.zip(out.chunks_exact_mut(width)) {
                for (out, j) in out.iter_mut().zip(cols.clone()) {
                    *out = self.data[p * self.row + j * self.col];
                }
            }
        }
    }
}

/// What is added to a product.
#[derive(Clone, Copy)]
pub(crate) enum Bias<'a, T> {
    None,
    /// One number a row of `a`.
    Rows(&'a [T]),
    /// One number a column of `b`.
    Cols(&'a [T]),
}

/// One product of an `m * k` and a `k * n` matrix.
pub(crate) struct Product<'a, T, B> {
    pub(crate) m: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
    /// Row `i` of the first matrix starts at `i * a_stride`.
    pub(crate) a: &'a [T],
    pub(crate) a_stride: usize,
    pub(crate) b: B,
    pub(crate) bias: Bias<'a, T>,
    /// The result, row-major, or column-major if `transposed`; all of it is
    /// overwritten.
    pub(crate) out: &'a mut [T],
    pub(crate) transposed: bool,
}

/// A rectangle of a product.
struct Task<'a, 'b, T, B> {
    k: usize,
    a: &'a [T],
    a_stride: usize,
    b: &'b B,
    /// All panels of `b`, each for the whole of `k`; empty if the task is to
    /// pack those that it needs.
    packed: &'b [T],
    bias: Bias<'a, T>,
    i: Range<usize>,
    j: Range<usize>,
    /// The rows of the result that the task writes (its columns if
    /// `transposed`).
    out: Vec<&'b mut [T]>,
    transposed: bool,
}

/// Computes all `products`, on all cores.
pub(crate) fn run<T: Factor, B: Panels<T>>(products: &mut [Product<'_, T, B>]) {
    let threads = parallel::threads();
    let work = |p: &Product<'_, T, B>| p.m.saturating_mul(p.n).saturating_mul(p.k);
    let total = products.iter().map(work).fold(0, usize::saturating_add);
    let wanted = if total < SERIAL || threads == 1 {
        1
    } else {
        threads * 4
    };
    let share = (total / wanted).max(SERIAL / 2);
    let cuts: Vec<Cut> = products
        .iter()
        .map(|p| Cut::new(p.m, p.n, (work(p) / share).max(1)))
        .collect();
    let packed: Vec<Vec<T>> = products
        .iter()
        .zip(&cuts)
        .map(|(product, cut)| match cut.rows < product.m {
            true => pack_all(product),
            false => Vec::new(),
        })
        .collect();
    let mut tasks = Vec::new();
    for ((product, cut), packed) in products.iter_mut().zip(cuts).zip(&packed) {
        split(product, cut, packed, &mut tasks);
    }
    let least = if wanted == 1 { usize::MAX } else { 1 };
    parallel::chunks(&mut tasks, 1, least, &|_, tasks| {
        for task in tasks {
            T::dispatch(task);
        }
    });
}

/// The largest rectangle of a product that is one task.
struct Cut {
    rows: usize,
    cols: usize,
}

impl Cut {
    /// Cuts into at least `pieces` rectangles where the product is large enough.
    fn new(m: usize, n: usize, pieces: usize) -> Self {
        // Columns first: a block of them is packed for all rows at once.
        let col_blocks = n.div_ceil(BLOCK_COLS).max(1);
        let cols = n.div_ceil(col_blocks).next_multiple_of(PANEL);
        let row_blocks = pieces.div_ceil(col_blocks).min(m.div_ceil(4 * ROWS)).max(1);
        let rows = m.div_ceil(row_blocks).next_multiple_of(ROWS);
        Self { rows, cols }
    }
}

/// Every panel of `b`, one after the other; nothing if that is too much.
fn pack_all<T: Factor, B: Panels<T>>(product: &Product<'_, T, B>) -> Vec<T> {
    let Product { k, n, ref b, .. } = *product;
    let padded = n.next_multiple_of(UNIT);
    let Some(len) = padded.checked_mul(k).filter(|&len| len <= SHARED) else {
        return Vec::new();
    };
    let mut panels = vec![T::ZERO; len];
    parallel::chunks(&mut panels, PANEL * k.max(1), 1, &|index, panel| {
        let first = index * PANEL;
        let width = PANEL.min(padded - first);
        b.pack(0..k, first..(first + width).min(n), width, panel);
    });
    panels
}

/// Adds the tasks of a product.
fn split<'b, T: Factor, B: Panels<T>>(
    product: &'b mut Product<'_, T, B>,
    cut: Cut,
    packed: &'b [T],
    tasks: &mut Vec<Task<'b, 'b, T, B>>,
) {
    let Product { m, k, n, .. } = *product;
    if m == 0 || n == 0 {
        return;
    }
    // Without a sum there is nothing to read.
    let (a, a_stride) = match k {
        0 => (&product.a[..0], 0),
        _ => (product.a, product.a_stride),
    };
    let Cut { rows, cols } = cut;
    let (outer, inner, outer_step, inner_step) = match product.transposed {
        false => (m, n, rows, cols),
        true => (n, m, cols, rows),
    };
    let mut lines = product.out.chunks_exact_mut(inner);
    for start in (0..outer).step_by(outer_step) {
        let outer_range = start..(start + outer_step).min(outer);
        let pieces = inner.div_ceil(inner_step);
        let mut parts: Vec<Vec<&'b mut [T]>> = (0..pieces)
            .map(|_| Vec::with_capacity(outer_range.len()))
            .collect();
        for line in lines.by_ref().take(outer_range.len()) {
            for (part, piece) in parts.iter_mut().zip(line.chunks_mut(inner_step)) {
                part.push(piece);
            }
        }
        for (index, out) in parts.into_iter().enumerate() {
            let start = index * inner_step;
            let inner_range = start..(start + inner_step).min(inner);
            let (i, j) = match product.transposed {
                false => (outer_range.clone(), inner_range),
                true => (inner_range, outer_range.clone()),
            };
            tasks.push(Task {
                k,
                a,
                a_stride,
                b: &product.b,
                packed,
                bias: product.bias,
                i,
                j,
                out,
                transposed: product.transposed,
            });
        }
    }
}

impl<T: Factor, B: Panels<T>> pulp::WithSimd for &mut Task<'_, '_, T, B> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        let cols = self.j.len();
        let padded = cols.next_multiple_of(UNIT);
        let depth = (BLOCK / padded).next_multiple_of(UNIT).max(256);
        let depth = self.k.div_ceil(self.k.div_ceil(depth).max(1)).max(1);
        let mut buffer = Vec::new();
        T::swap_buffer(&mut buffer);
        if self.packed.is_empty() {
            buffer.resize((padded * depth).max(buffer.len()), T::ZERO);
        }
        let mut start = 0;
        loop {
            let end = (start + depth).min(self.k);
            self.block(simd, start..end, &mut buffer);
            start = end;
            if start == self.k {
                break;
            }
        }
        T::swap_buffer(&mut buffer);
    }
}

impl<T: Factor, B: Panels<T>> Task<'_, '_, T, B> {
    /// Adds the part of the sums over the rows `depth` of `b`.
    #[inline(always)]
    fn block<S: pulp::Simd>(&mut self, simd: S, depth: Range<usize>, buffer: &mut [T]) {
        let (rows, cols) = (self.i.len(), self.j.len());
        if self.packed.is_empty() {
            self.pack(depth.clone(), buffer);
        }
        // Where in the panels the depth begins and how far they are apart.
        let (panels, skip, pitch) = match self.packed {
            [] => (&*buffer, 0, depth.len()),
            all => (&all[self.j.start * self.k..], depth.start, self.k),
        };
        let mut tile = [T::ZERO; ROWS * PANEL];
        for top in (0..rows).step_by(ROWS) {
            let height = ROWS.min(rows - top);
            let a: [&[T]; ROWS] = std::array::from_fn(|r| {
                let i = self.i.start + top + r.min(height - 1);
                &self.a[i * self.a_stride..][depth.clone()]
            });
            let mut at = 0;
            let mut col = 0;
            while col < cols {
                let width = PANEL.min((cols - col).next_multiple_of(UNIT));
                let panel = &panels[at + width * skip..][..width * depth.len()];
                match width {
                    48 => T::tile::<S, 48>(simd, a, panel, &mut tile),
                    32 => T::tile::<S, 32>(simd, a, panel, &mut tile),
                    _ => T::tile::<S, 16>(simd, a, panel, &mut tile),
                }
                let count = width.min(cols - col);
                self.merge(
                    &tile,
                    width,
                    top..top + height,
                    col..col + count,
                    depth.start == 0,
                );
                at += width * pitch;
                col += count;
            }
        }
    }

    /// Packs the panels of the task's columns for the rows `depth` of `b`.
    #[inline(always)]
    fn pack(&self, depth: Range<usize>, buffer: &mut [T]) {
        let mut at = 0;
        for first in self.j.clone().step_by(PANEL) {
            let count = PANEL.min(self.j.end - first);
            let width = count.next_multiple_of(UNIT);
            let panel = &mut buffer[at..at + width * depth.len()];
            if count < width {
                panel.fill(T::ZERO);
            }
            self.b
                .pack(depth.clone(), first..first + count, width, panel);
            at += panel.len();
        }
    }

    /// Adds a tile to the result; the first one starts from the bias.
    #[inline(always)]
    fn merge(
        &mut self,
        tile: &[T; ROWS * PANEL],
        width: usize,
        rows: Range<usize>,
        cols: Range<usize>,
        first: bool,
    ) {
        if self.transposed {
            for (c, j) in cols.enumerate() {
                let out = &mut self.out[j][rows.clone()];
                let mut column = [T::ZERO; ROWS];
                for (x, line) in column.iter_mut().zip(tile.chunks_exact(width)) {
                    *x = line[c];
                }
                match (first, self.bias) {
                    (false, _) => add(out, &column),
                    (true, Bias::None) => out.copy_from_slice(&column[..out.len()]),
                    (true, Bias::Rows(bias)) => {
                        let bias = &bias[self.i.start + rows.start..];
                        sum(out, &column, bias);
                    }
                    (true, Bias::Cols(bias)) => offset(out, &column, bias[self.j.start + j]),
                }
            }
        } else {
            for (i, line) in rows.zip(tile.chunks_exact(width)) {
                let out = &mut self.out[i][cols.clone()];
                match (first, self.bias) {
                    (false, _) => add(out, line),
                    (true, Bias::None) => out.copy_from_slice(&line[..out.len()]),
                    (true, Bias::Rows(bias)) => offset(out, line, bias[self.i.start + i]),
                    (true, Bias::Cols(bias)) => {
                        sum(out, line, &bias[self.j.start + cols.start..]);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn add<T: Factor>(out: &mut [T], x: &[T]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out += x;
    }
}

#[inline(always)]
fn sum<T: Factor>(out: &mut [T], x: &[T], y: &[T]) {
    for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
        *out = x + y;
    }
}

#[inline(always)]
fn offset<T: Factor>(out: &mut [T], x: &[T], y: T) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = x + y;
    }
}
